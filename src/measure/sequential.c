/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Probabilities of counts are beta-binomial, walked from term to term by their
 * ratio in logarithms, for a first term may be far below the smallest double.
 */
#include "measure/sequential.h"

#include <math.h>

#include "measure/stats.h"

static double
log_beta(double a, double b)
{
	return lgamma(a) + lgamma(b) - lgamma(a + b);
}

double
sequential_odds(int64_t fixed, int64_t broke)
{
	return exp(log_beta((double)fixed + 1, (double)broke + 1) +
	    (double)(fixed + broke) * M_LN2);
}

/* log P(k of n) under a beta-binomial with a and b. */
static double
log_chance(int64_t k, int64_t n, double a, double b)
{
	double x = (double)k, y = (double)(n - k);

	return -log((double)n + 1) - log_beta(x + 1, y + 1) +
	    log_beta(x + a, y + b) - log_beta(a, b);
}

/* P(at most k of n) under a beta-binomial with a and b. */
static double
at_most(int64_t k, int64_t n, double a, double b)
{
	double term, sum;

	if (k < 0)
		return 0;
	if (k >= n)
		return 1;
	/* Downwards from k, relative to its own chance. */
	term = sum = 1;
	for (int64_t i = k; i > 0 && term > 1e-12 * sum; i--) {
		double x = (double)i, y = (double)(n - i);

		term *= x * (y + b) / ((y + 1) * (x - 1 + a));
		sum += term;
	}
	return exp(log_chance(k, n, a, b)) * sum;
}

/* The most flips of the rarer kind among n with which the test still says that
 * there is a difference; from that of a smaller n. -1: none. */
static int64_t
critical(int64_t n, int64_t from)
{
	int64_t k = from;

	while (2 * (k + 1) < n && stats_mcnemar(k + 1, n - k - 1) <
	    SEQUENTIAL_LEVEL)
		k++;
	return k;
}

double
sequential_prospect(int64_t fixed, int64_t broke, int64_t n, int64_t left)
{
	int64_t flips = fixed + broke, most = -1;
	double a = (double)flips + 1, b = (double)(n - flips) + 1;
	double mean = (double)left * a / (a + b);
	double spread = sqrt(mean * (1 - a / (a + b)) *
	    (a + b + (double)left) / (a + b + 1));
	double begin = floor(mean - 8 * spread - 1);
	double end = ceil(mean + 12 * spread + 8), sum = 0;
	int64_t t = begin > 0 ? (int64_t)begin : 0;
	int64_t last = end < (double)left ? (int64_t)end : left;

	/* t: flips still to come. */
	for (; t <= last; t++) {
		double chance = exp(log_chance(t, left, a, b)), hit;

		most = critical(flips + t, most);
		hit = at_most(most - fixed, t, (double)fixed + 1,
		    (double)broke + 1) + at_most(most - broke, t,
		    (double)broke + 1, (double)fixed + 1);
		sum += chance * (hit < 1 ? hit : 1);
	}
	return sum < 1 ? sum : 1;
}
