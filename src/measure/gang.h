/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gang: pieces of work over the threads of kernel_threads(), each computed by one
 * thread alone (its products run on that thread), so that none waits for another
 * at the end of every product. Results are taken in the order of the pieces, so
 * they do not depend on the number of threads.
 */
#ifndef PARE_MEASURE_GANG_H
#define PARE_MEASURE_GANG_H

#include <stdint.h>

#include "base/task.h"

struct gang {
	int64_t n;		/* pieces, 0 to n - 1 */
	/* Computes a piece; lanes are 0 to gang_lanes() - 1, one piece at a time
	 * each. */
	enum pare_rc (*run)(void *ctx, int lane, int64_t piece,
	    struct pare_err *err);
	/* Takes what came out, in the order of pieces and one at a time; the
	 * lane goes on only then. May be NULL. */
	void (*take)(void *ctx, int lane, int64_t piece);
	void *ctx;
	/* Ticked in the calling thread, between its pieces. */
	struct task *task;
	const char *what;	/* "batches" */
	double done, total;	/* pieces before these, and of all; total 0: n */
};

/* How many lanes gang_run() may use for n pieces. */
int gang_lanes(int64_t n);

/* PARE_ECANCELED, or the error of the first piece that failed. */
enum pare_rc gang_run(const struct gang *g, struct pare_err *err);

#endif
