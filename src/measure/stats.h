/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stats: intervals and tests. Formulas and sources at each function. All
 * results are finite or NAN for "undefined", which front ends spell out.
 */
#ifndef PARE_MEASURE_STATS_H
#define PARE_MEASURE_STATS_H

#include <stdint.h>

#include "base/rng.h"

/* Wilson score interval of k successes in n trials, 95 % (Wilson 1927). */
void stats_wilson(int64_t k, int64_t n, double *low, double *high);

/* Exact two-sided McNemar p: binomial(fixed + broke, 1/2), doubled smaller tail,
 * at most 1; 1 when there are no flips. */
double stats_mcnemar(int64_t fixed, int64_t broke);

/* Fewest one-sided flips that would reach p < 0.05 (6), and the smallest
 * difference in share that n paired samples can resolve at that many flips. */
double stats_resolvable(int64_t n, int64_t flips);

double stats_f1(const int *gold, const int *predicted, int64_t n);
double stats_mcc(const int *gold, const int *predicted, int64_t n);
double stats_pearson(const double *x, const double *y, int64_t n);
double stats_spearman(const double *x, const double *y, int64_t n);

/* Percentile bootstrap interval, 95 %, of a statistic over samples drawn with
 * replacement; undefined draws are left out. */
typedef double stats_statistic(void *ctx, const int64_t *index, int64_t n);
void stats_bootstrap(stats_statistic *f, void *ctx, int64_t n, int rounds,
    uint64_t seed, double *low, double *high);

/* Student's t: the two-sided p of t with df degrees of freedom, and the t whose
 * p is 0.05. */
double stats_student(double t, double df);
double stats_student95(double df);

/* A ratio of sums over n clusters, as a mean over tokens that come in windows:
 * its 95 % interval by Student's t and the linearised variance, which counts
 * clusters as independent and nothing inside them (Cochran, Sampling
 * Techniques, 1977, section 6.3), and the p of a ratio of 0. low, high and p are
 * NAN for fewer than two clusters. */
struct stats_ratio {
	double value, low, high, p;
};
struct stats_ratio stats_ratio(const double *y, const double *x, int64_t n);

/* q in [0, 1] of unsorted v (sorted in place), linear interpolation. */
double stats_quantile(double *v, int64_t n, double q);

#endif
