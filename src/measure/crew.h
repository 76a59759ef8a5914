/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * crew: the threads that compute, while something is measured: bound to a
 * processor each, so that none wanders and no two share one, and asked how long
 * they waited for one.
 *
 * They are those of the calling thread's OpenMP team; an OpenBLAS with threads
 * of its own keeps those unbound. One processor of each core is taken first, the
 * others of a core last. Not to be called in a parallel region.
 */
#ifndef PARE_MEASURE_CREW_H
#define PARE_MEASURE_CREW_H

#include <stdbool.h>

struct crew;
struct crew *crew_new(int threads);
/* Lets them go first. NULL is fine. */
void crew_free(struct crew *t);

/* False when that cannot be: more threads than processors that the process may
 * use, or a system that refuses; all is as it was then. */
bool crew_bind(struct crew *t);
/* Each thread may run where it might before. */
void crew_release(struct crew *t);
bool crew_bound(const struct crew *t);

/* Seconds that threads were ready to compute and had no processor, in all their
 * life and all together; NAN where the system does not tell. Read twice for what
 * happened in between. */
double crew_waited(const struct crew *t);

#endif
