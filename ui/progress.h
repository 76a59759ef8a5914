/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * progress: one line on standard error while a task runs, when that is a
 * terminal: after 0.3 s, ten times a second at most, gone when the task ends.
 */
#ifndef PARE_UI_PROGRESS_H
#define PARE_UI_PROGRESS_H

#include "base/task.h"
#include "ui/look.h"

struct progress {
	struct look look;
	bool enabled;
	bool shown;
	double start, last;	/* of the clock; start of this kind of work */
	double start_done;
	const char *what;
};

/* Of standard error. */
void progress_init(struct progress *p, const struct look *l, bool enabled);
/* Makes task report to p; call before each task. */
void progress_attach(struct progress *p, struct task *task);
/* Erases the line; false when there was none. */
bool progress_end(struct progress *p);
/* The line itself, for tests: done of total of what after `seconds`, started at
 * start_done. */
void progress_line(struct str *b, const struct look *l, double done,
    double total, const char *what, double seconds, double start_done,
    bool canceling);

#endif
