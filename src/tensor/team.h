/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * team: threads that stand by while one of them goes through a row of small
 * loops. A parallel region of OpenMP puts its threads to sleep and wakes them
 * again, which takes longer than many a product of a short batch; here they look
 * out for the next loop for a while before they sleep.
 *
 * A loop is handed out piece by piece to whoever comes, and is over when its
 * pieces are: a thread that is late, because something else runs on its
 * processor, is not waited for.
 */
#ifndef PARE_TENSOR_TEAM_H
#define PARE_TENSOR_TEAM_H

#include <stdint.h>

/*
 * Calls drive(arg) in the calling thread, with kernel_threads() - 1 others
 * standing by for the team_for() calls it makes; in a parallel region, with
 * none. Until it returns team_threads() stays what it is. Inside another
 * team_hold() a plain call.
 */
void team_hold(void (*drive)(void *arg), void *arg);

/*
 * run(arg, i, thread) for all i of [0, n), in any order, by the threads that
 * stand by, or by a parallel region for this loop alone where nobody does.
 * `thread`, below team_threads(), tells apart those that run at once. Where there
 * are several, a piece runs the loops it calls in its own thread. Returns when
 * all are done.
 */
void team_for(int64_t n, void (*run)(void *arg, int64_t i, int thread),
    void *arg);

/* How many threads team_for() could use when called here: 1 in a piece of
 * another loop and in parallel regions. */
int team_threads(void);

#endif
