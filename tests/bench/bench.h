/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench: what the benchmark programs share. Each prints one line a figure, of
 * fields with tabs between; tests/bench/run makes the table and the JSON:
 *
 *     name, median, unit, "<=" or ">=" or nothing, limit, low, high, n
 *
 * low and high are the quartiles of n measurements (their ends when n < 4); for
 * n = 1 a count that does not vary. A line "@key<tab>value" is a fact of the
 * machine or the build. Other lines are shown as they are.
 */
#ifndef PARE_TESTS_BENCH_BENCH_H
#define PARE_TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum bench_sense { BENCH_NONE, BENCH_AT_MOST, BENCH_AT_LEAST };

enum { BENCH_MOST = 256 };	/* measurements of one figure */

static inline void
bench_print(const char *name, double value, const char *unit,
    enum bench_sense sense, double limit, double low, double high, int n)
{
	static const char *const word[] = { "", "<=", ">=" };

	printf("%s\t%.6g\t%s\t%s\t%.6g\t%.6g\t%.6g\t%d\n", name, value, unit,
	    word[sense], limit, low, high, n);
	fflush(stdout);
}

/* A figure that is counted, not timed. limit is what it should keep to; ignored
 * for BENCH_NONE. */
static inline void
bench_figure(const char *name, double value, const char *unit,
    enum bench_sense sense, double limit)
{
	bench_print(name, value, unit, sense, limit, value, value, 1);
}

static inline void
bench_fact(const char *key, const char *value)
{
	printf("@%s\t%s\n", key, value);
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

/* The value below which a share of sorted v lies, between neighbours. */
static inline double
bench_quantile(const double *v, int n, double share)
{
	double at = share * (n - 1);
	int i = (int)at;

	return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

/* Sorts v in place. */
static inline double
bench_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), bench_compare);
	return bench_quantile(v, n, 0.5);
}

/* The figure that n measurements give, each times scale; sorts v. Nothing when
 * there are none. */
static inline void
bench_timed(const char *name, double *v, int n, double scale,
    const char *unit, enum bench_sense sense, double limit)
{
	double middle, low, high;

	if (n < 1)
		return;
	middle = bench_median(v, n);
	low = n < 4 ? v[0] : bench_quantile(v, n, 0.25);
	high = n < 4 ? v[n - 1] : bench_quantile(v, n, 0.75);
	bench_print(name, middle * scale, unit, sense, limit, low * scale,
	    high * scale, n);
}

/* How often to measure: usual, or what tests/bench/run -n asks for. */
static inline int
bench_rounds(int usual)
{
	const char *text = getenv("BENCH_ROUNDS");
	int n = text != NULL ? atoi(text) : 0;

	return n < 1 ? usual : n > BENCH_MOST ? BENCH_MOST : n;
}

#endif
