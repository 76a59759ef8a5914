/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sequential: when a comparison on paired samples is decided before all of them
 * ran, although one looks again and again.
 *
 * Two models that are equally good make each flip (right in one only) a fair
 * coin. The exact McNemar test holds for one look; whoever looks after every
 * batch and stops at the first p below 0.05 is wrong far more often than that. So
 * the 5 % are split: 1 % for all looks on the way, 4 % for the test at the end.
 *
 * Different. The likelihood of the flips so far under a coin of unknown bias
 * (uniform) against a fair one,
 *
 *	odds = B(fixed + 1, broke + 1) * 2^(fixed + broke),
 *
 * is a martingale under the fair coin that begins at 1: the chance that it ever
 * reaches 100 is at most 1/100, however often one looks (Ville 1939; Robbins,
 * "Statistical methods related to the law of the iterated logarithm", 1970). The
 * comparison is decided when it does; 1 / odds is a p-value that holds at any
 * time. Eleven flips that all go one way are enough. Where it never does, the
 * exact McNemar test over the whole set has the rest of the 5 %.
 *
 * No difference to be seen. The chance that the test over the whole set will
 * find one, given what was seen: the share of flips among the samples that are
 * left and the coin's bias both with uniform priors (stochastic curtailment by
 * predictive probability: Spiegelhalter, Freedman and Blackburn, Controlled
 * Clinical Trials 7, 1986). Below 1 % it is not worth going on. Such a stop
 * claims no difference, so it can make no false one.
 */
#ifndef PARE_MEASURE_SEQUENTIAL_H
#define PARE_MEASURE_SEQUENTIAL_H

#include <stdint.h>

/* Decided as different from here on. */
#define SEQUENTIAL_ODDS 100.0
/* What is left for the test at the end. */
#define SEQUENTIAL_LEVEL 0.04
/* Not worth going on below. */
#define SEQUENTIAL_PROSPECT 0.01

double sequential_odds(int64_t fixed, int64_t broke);
/* n samples were compared, left are not yet. Takes longer the more flips are to
 * be expected: 10 ms for thousands. */
double sequential_prospect(int64_t fixed, int64_t broke, int64_t n,
    int64_t left);

#endif
