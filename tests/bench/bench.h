/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench: what the benchmark programs share. Each prints one line a figure, of
 * fields with tabs between; tests/bench/run makes the table and the JSON.
 */
#ifndef PARE_TESTS_BENCH_BENCH_H
#define PARE_TESTS_BENCH_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum bench_sense { BENCH_NONE, BENCH_AT_MOST, BENCH_AT_LEAST };

/* One figure. limit is what it should keep to; ignored for BENCH_NONE. */
static inline void
bench_figure(const char *name, double value, const char *unit,
    enum bench_sense sense, double limit)
{
	static const char *const word[] = { "", "<=", ">=" };

	printf("%s\t%.6g\t%s\t%s\t%.6g\n", name, value, unit, word[sense],
	    limit);
	fflush(stdout);
}

static inline double
bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int
bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts v in place. */
static inline double
bench_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), bench_compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#endif
