/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * console: a session and the three streams of a program that works in lines.
 * Results go to standard output, everything else to standard error. The batch
 * and the prompt are loops around console_run().
 */
#ifndef PARE_UI_CONSOLE_H
#define PARE_UI_CONSOLE_H

#include "session/session.h"
#include "ui/look.h"
#include "ui/options.h"
#include "ui/progress.h"

struct console {
	struct session *session;
	struct look out, err;
	struct progress progress;
	struct task task;	/* of the line that runs: not on the stack, for
				 * a late signal may still find it */
	bool json, quiet, no_state;
	bool interactive;	/* a person waits: hints on their own line */
	bool broken;		/* standard output is gone */
	bool failed;		/* for another reason than a reader who left */
	int saved;		/* state written last by `save`; -1: none */
	json_t *opened;		/* the document of a model opened quietly */
	const char *where;	/* "script.pare:3", put before messages; NULL */
};

/* A session with the settings of the options; PARE_OK or what was wrong. */
enum pare_rc console_init(struct console *c, const struct options *o,
    struct pare_err *err);
void console_free(struct console *c);

/* Runs a line and shows what comes of it. */
enum pare_rc console_run(struct console *c, const char *line);

/* Leaving now would lose a change. */
bool console_unsaved(const struct console *c);

/* That nothing can be kept between sessions although it should be, malloc'ed;
 * NULL. */
char *console_state_warning(const struct console *c);

/* Opens the model and loads the data that the options name. show: the line of
 * the model as well. */
enum pare_rc console_open(struct console *c, const struct options *o,
    bool show);

/* "calib=FILE" of an option as the line "data FILE role=calib"; malloc'ed. */
char *console_data_line(const char *text);

/* The line of the model that was opened quietly, if any. */
void console_summary(struct console *c);

void console_error(const struct console *c, const char *msg,
    const char *hint);
void console_warn(const struct console *c, const char *text);
/* To standard output, through the pager when a person would lose its top. */
void console_print(struct console *c, const struct str *text);
/* Status of the program after rc, signals considered. */
int console_exit_status(const struct console *c, enum pare_rc rc);

#endif
