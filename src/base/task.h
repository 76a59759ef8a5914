/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * task: what is handed to anything that may take longer than 100 ms.
 *
 * The worker calls task_tick() between batches, layers or blocks of rows; a
 * front end shows the progress and sets cancel from any thread or signal
 * handler. A worker that sees false returns PARE_ECANCELED and leaves
 * everything as it was.
 */
#ifndef PARE_BASE_TASK_H
#define PARE_BASE_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct task {
	atomic_bool cancel;
	/* May be NULL. done of total in units of what, as "samples". Called
	 * from the thread that does the work; must be quick. */
	void (*tick)(struct task *task, double done, double total,
	    const char *what);
	void *ctx;
};

/* Reports progress; false when the work should stop. task may be NULL. */
bool task_tick(struct task *task, double done, double total, const char *what);

/* Only asks. task may be NULL. */
bool task_canceled(struct task *task);

/* Fills *err with the standard words and returns PARE_ECANCELED. */
enum pare_rc task_error(struct pare_err *err);

/* Seconds of a monotonic clock. */
double task_now(void);

#endif
