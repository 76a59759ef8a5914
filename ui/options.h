/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * options: the table of command line options, from which parsing, --help and
 * the shell completions come, and what it parses into.
 */
#ifndef PARE_UI_OPTIONS_H
#define PARE_UI_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "ui/look.h"

enum option_id {
	OPTION_DATA, OPTION_COMMAND, OPTION_FILE, OPTION_INTERACTIVE,
	OPTION_REPL, OPTION_TUI, OPTION_PLAIN, OPTION_JSON, OPTION_DRY_RUN,
	OPTION_THREADS, OPTION_SEED, OPTION_COLOR, OPTION_ASCII,
	OPTION_NO_STATE, OPTION_QUIET, OPTION_HELP, OPTION_VERSION,
	OPTION_COUNT
};

struct option_spec {
	const char *name;	/* long, without the dashes */
	char letter;		/* 0: none */
	const char *arg;	/* name of its argument; NULL: none */
	const char *const *choices;	/* of the argument; NULL */
	const char *text;	/* for --help, no period */
};
extern const struct option_spec option_table[OPTION_COUNT];

enum front { FRONT_AUTO, FRONT_REPL, FRONT_TUI, FRONT_PLAIN };

/* A -c or a -f, in the order given. */
struct script {
	bool is_file;
	const char *text;	/* the line, or the path ("-": stdin) */
};

struct options {
	const char *model;	/* NULL: none */
	const char **data;	/* "FILE" or "ROLE=FILE", ndata of them */
	int ndata;
	struct script *script;
	int nscripts;
	enum front front;
	enum look_color color;
	bool interactive, json, dry_run, ascii, no_state, quiet;
	bool help, version;
	const char *threads, *seed;	/* as typed; NULL */
};

/* Strings are borrowed from argv. PARE_EUSAGE with one line. */
enum pare_rc options_parse(struct options *o, int argc, char **argv,
    struct pare_err *err);
void options_free(struct options *o);

/* The text of --help. */
void options_help(struct str *b, const struct look *l);

#endif
