/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * team: the threads that compute, while something is measured: bound to a
 * processor each, so that none wanders and no two share one, and asked how long
 * they waited for one.
 *
 * They are those of the calling thread's OpenMP team; an OpenBLAS with threads
 * of its own keeps those unbound. One processor of each core is taken first, the
 * others of a core last. Not to be called in a parallel region.
 */
#ifndef PARE_MEASURE_TEAM_H
#define PARE_MEASURE_TEAM_H

#include <stdbool.h>

struct team;
struct team *team_new(int threads);
/* Lets them go first. NULL is fine. */
void team_free(struct team *t);

/* False when that cannot be: more threads than processors that the process may
 * use, or a system that refuses; all is as it was then. */
bool team_bind(struct team *t);
/* Each thread may run where it might before. */
void team_release(struct team *t);
bool team_bound(const struct team *t);

/* Seconds that threads were ready to compute and had no processor, in all their
 * life and all together; NAN where the system does not tell. Read twice for what
 * happened in between. */
double team_waited(const struct team *t);

#endif
