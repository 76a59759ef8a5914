/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pin: binds the computing threads to a processor each while something is
 * measured, so that none wanders and no two share one, and lets them go again.
 *
 * The threads are those of the calling thread's OpenMP team; an OpenBLAS with
 * threads of its own keeps those unbound. One processor of each core comes
 * first, the other threads of a core last. Not to be called in a parallel
 * region.
 */
#ifndef PARE_MEASURE_PIN_H
#define PARE_MEASURE_PIN_H

#include <stdbool.h>

struct pin;
/* NULL when that cannot be: more threads than processors that the process may
 * use, or a system that refuses; all is as it was then. */
struct pin *pin_threads(int threads);
/* What each thread was allowed before. NULL is fine. */
void pin_restore(struct pin *p);

/* Seconds that a team of so many threads was ready to compute and had no
 * processor, in all its life and all threads together; NAN where the system does
 * not tell. Read twice for what happened in between. */
double pin_waited(int threads);

#endif
