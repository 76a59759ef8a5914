/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rules that may be asked again and again: against sums written out in full, and
 * against what they promise, over many runs of chance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "measure/sequential.h"
#include "measure/stats.h"

static void
near(double a, double b, double relative)
{
	if (!(fabs(a - b) <= relative * fabs(b) + 1e-15))
		fail_msg("%.12g is not %.12g", a, b);
}

static double
choose(int n, int k)
{
	double v = 1;

	for (int i = 1; i <= k; i++)
		v = v * (n - k + i) / i;
	return v;
}

/* B(k + 1, n - k + 1) is 1 / ((n + 1) choose(n, k)). */
static void
test_odds(void **state)
{
	for (int n = 0; n <= 40; n++)
		for (int k = 0; k <= n; k++)
			near(sequential_odds(k, n - k), ldexp(1, n) /
			    ((n + 1) * choose(n, k)), 1e-11);
	assert_true(sequential_odds(10, 0) < SEQUENTIAL_ODDS);
	assert_true(sequential_odds(0, 11) >= SEQUENTIAL_ODDS);
	assert_true(isfinite(sequential_odds(400, 100)));
}

/* Under a fair coin the mean of the odds stays 1: what Ville's bound is about. */
static void
test_martingale(void **state)
{
	for (int n = 1; n <= 60; n++) {
		double mean = 0;

		for (int k = 0; k <= n; k++)
			mean += ldexp(choose(n, k), -n) *
			    sequential_odds(k, n - k);
		near(mean, 1, 1e-10);
	}
}

/* Of 20,000 comparisons of equals, looked at after each of 500 flips: how often
 * a difference was found. By the rule under 1 in 100; by the test for one look
 * many times that. */
static void
test_error_rate(void **state)
{
	enum { RUNS = 20000, FLIPS = 500 };
	static uint8_t found[FLIPS + 1][FLIPS + 1], naive[FLIPS + 1][FLIPS + 1];
	int wrong = 0, wrong_naive = 0;
	struct rng r;

	for (int n = 1; n <= FLIPS; n++)
		for (int k = 0; k <= n; k++) {
			found[n][k] = sequential_odds(k, n - k) >=
			    SEQUENTIAL_ODDS;
			naive[n][k] = stats_mcnemar(k, n - k) < 0.05;
		}
	rng_seed(&r, 3);
	for (int i = 0; i < RUNS; i++) {
		bool a = false, b = false;

		for (int n = 1, k = 0; n <= FLIPS; n++) {
			k += (int)(rng_next(&r) >> 63);
			a = a || found[n][k];
			b = b || naive[n][k];
		}
		wrong += a;
		wrong_naive += b;
	}
	assert_true(wrong > 0 && wrong <= RUNS / 100);
	assert_true(wrong_naive > RUNS / 5);
}

/* The chance that the test at the end finds a difference, summed over all that
 * may come: flips and their kinds with the weights of the two uniform priors. */
static double
prospect(int fixed, int broke, int n, int left)
{
	int flips = fixed + broke;
	double sum = 0;

	for (int t = 0; t <= left; t++)
		for (int f = 0; f <= t; f++) {
			double a = flips + 1, b = n - flips + 1;
			double c = fixed + 1, d = broke + 1;
			double p = lgamma(left + 1) - lgamma(t + 1) -
			    lgamma(left - t + 1) + lgamma(a + t) +
			    lgamma(b + left - t) - lgamma(a + b + left) -
			    lgamma(a) - lgamma(b) + lgamma(a + b);

			p += lgamma(t + 1) - lgamma(f + 1) -
			    lgamma(t - f + 1) + lgamma(c + f) +
			    lgamma(d + t - f) - lgamma(c + d + t) -
			    lgamma(c) - lgamma(d) + lgamma(c + d);
			if (stats_mcnemar(fixed + f, broke + t - f) <
			    SEQUENTIAL_LEVEL)
				sum += exp(p);
		}
	return sum;
}

static void
test_prospect(void **state)
{
	static const int kinds[][2] = { { 0, 0 }, { 1, 0 }, { 0, 3 }, { 2, 2 },
		{ 9, 1 }, { 12, 15 }, { 30, 12 } };

	for (int i = 0; i < 7; i++)
		for (int n = 50; n <= 400; n += 175)
			for (int left = 0; left <= 120; left += 30)
				near(sequential_prospect(kinds[i][0],
				    kinds[i][1], n, left), prospect(
				    kinds[i][0], kinds[i][1], n, left), 1e-6);
	/* Nothing is left: it is certain. */
	assert_true(sequential_prospect(9, 0, 100, 0) == 1);
	assert_true(sequential_prospect(5, 4, 100, 0) == 0);
	/* Large numbers take no time and give a chance. */
	assert_true(sequential_prospect(500, 520, 20000, 80000) > 0);
	assert_true(sequential_prospect(500, 520, 20000, 80000) < 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_odds),
		cmocka_unit_test(test_martingale),
		cmocka_unit_test(test_error_rate),
		cmocka_unit_test(test_prospect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
