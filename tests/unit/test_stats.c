/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats against hand calculation, enumeration and Pascal's triangle. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "measure/stats.h"

#define NEAR(a, b, eps) do { \
	double a_ = (a), b_ = (b); \
	if (!(fabs(a_ - b_) <= (eps))) \
		fail_msg("%s is %.12g, not %.12g", #a, a_, b_); \
} while (0)

/* The ends are the shares at which the observed one is 1.96 deviations off. */
static void
test_wilson(void **state)
{
	static const int64_t cases[][2] = { { 1, 10 }, { 5, 10 }, { 941, 1000 },
	    { 3, 3 }, { 0, 7 }, { 799, 872 } };
	double low, high;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		double n = (double)cases[i][1], p = (double)cases[i][0] / n;

		stats_wilson(cases[i][0], cases[i][1], &low, &high);
		if (cases[i][0] > 0)
			NEAR((p - low) / sqrt(low * (1 - low) / n), 1.959964,
			    1e-5);
		else
			NEAR(low, 0, 0);
		if (cases[i][0] < cases[i][1])
			NEAR((high - p) / sqrt(high * (1 - high) / n),
			    1.959964, 1e-5);
		else
			NEAR(high, 1, 0);
	}
	/* 5 of 10: centre 1/2, half width by hand 0.263406. */
	stats_wilson(5, 10, &low, &high);
	NEAR(low, 0.236593, 1e-6);
	NEAR(high, 0.763407, 1e-6);
	stats_wilson(0, 0, &low, &high);
	assert_true(isnan(low) && isnan(high));
}

/* Every pair up to 40 flips against sums of Pascal's triangle. */
static void
test_mcnemar(void **state)
{
	double row[41] = { 1 };

	for (int n = 1; n <= 40; n++) {
		for (int k = n; k > 0; k--)
			row[k] += row[k - 1];
		for (int k = 0; k <= n; k++) {
			int least = k < n - k ? k : n - k;
			double sum = 0;

			for (int i = 0; i <= least; i++)
				sum += row[i];
			sum = fmin(1, 2 * sum / pow(2, n));
			NEAR(stats_mcnemar(k, n - k) / sum, 1, 1e-12);
		}
	}
	NEAR(stats_mcnemar(0, 0), 1, 0);
	NEAR(stats_mcnemar(0, 5), 0.0625, 1e-15);
	NEAR(stats_mcnemar(6, 0), 0.03125, 1e-15);
	/* Large counts stay finite and near the normal approximation with
	 * continuity correction. */
	NEAR(stats_mcnemar(5200, 4800), erfc(399 / sqrt(10000.0) / sqrt(2)),
	    1e-5);
	assert_true(stats_mcnemar(0, 5000) >= 0);
}

static void
test_resolvable(void **state)
{
	NEAR(stats_resolvable(1000, 0), 0.006, 1e-15);
	NEAR(stats_resolvable(1000, 6), 0.006, 1e-15);
	/* Of 10 flips 9 to 1 is p = 22/1024, 8 to 2 is p = 112/1024. */
	NEAR(stats_resolvable(100, 10), 0.08, 1e-15);
	assert_true(isnan(stats_resolvable(0, 3)));
}

static void
test_f1_mcc(void **state)
{
	/* TP 3, FN 1, FP 2, TN 4. */
	static const int gold[] = { 1, 1, 1, 1, 0, 0, 0, 0, 0, 0 };
	static const int guess[] = { 1, 1, 1, 0, 1, 1, 0, 0, 0, 0 };
	static const int ones[] = { 1, 1, 1, 1 };
	static const int none[] = { 0, 0, 0, 0 };
	/* Three classes: confusion (2 1 0 / 0 2 1 / 1 0 3), by Gorodkin's
	 * formula (7 * 10 - 34) / sqrt((100 - 34) (100 - 34)) = 36 / 66. */
	static const int gold3[] = { 0, 0, 0, 1, 1, 1, 2, 2, 2, 2 };
	static const int guess3[] = { 0, 0, 1, 1, 1, 2, 0, 2, 2, 2 };

	NEAR(stats_f1(gold, guess, 10), 2.0 * 3 / (2 * 3 + 1 + 2), 1e-15);
	NEAR(stats_f1(gold, gold, 10), 1, 0);
	assert_true(isnan(stats_f1(none, none, 4)));
	NEAR(stats_mcc(gold, guess, 10), (3.0 * 4 - 2 * 1) /
	    sqrt((3.0 + 2) * (3 + 1) * (4 + 2) * (4 + 1)), 1e-15);
	NEAR(stats_mcc(gold, gold, 10), 1, 1e-15);
	assert_true(isnan(stats_mcc(ones, ones, 4)));
	assert_true(isnan(stats_mcc(ones, none, 4)));
	NEAR(stats_mcc(gold3, guess3, 10), 36.0 / 66, 1e-15);
}

static void
test_correlation(void **state)
{
	static const double x[] = { 1, 2, 3, 4, 5 };
	static const double y[] = { 2, 1, 4, 3, 5 };
	static const double line[] = { -1, -3, -5, -7, -9 };
	static const double curve[] = { 1, 8, 27, 64, 125 };
	static const double flat[] = { 3, 3, 3, 3, 3 };
	/* Ranks 1, 2.5, 2.5, 4 against 1, 2, 3.5, 3.5: 3.75 / 4.5. */
	static const double tied_x[] = { 10, 20, 20, 30 };
	static const double tied_y[] = { 1, 2, 3, 3 };

	/* Deviations -2..2 and -1 -2 1 0 2: sum of products 8, of squares 10
	 * and 10. */
	NEAR(stats_pearson(x, y, 5), 0.8, 1e-15);
	NEAR(stats_pearson(x, line, 5), -1, 1e-15);
	assert_true(isnan(stats_pearson(x, flat, 5)));
	assert_true(isnan(stats_pearson(x, y, 1)));
	/* 1 - 6 (1 + 1 + 1 + 1 + 0) / (5 * 24) */
	NEAR(stats_spearman(x, y, 5), 0.8, 1e-15);
	NEAR(stats_spearman(x, curve, 5), 1, 1e-15);
	NEAR(stats_spearman(tied_x, tied_y, 4), 3.75 / 4.5, 1e-12);
	assert_true(isnan(stats_spearman(x, flat, 5)));
}

static void
test_quantile(void **state)
{
	double v[] = { 5, 1, 4, 2, 3 }, one[] = { 7 }, four[] = { 4, 1, 3, 2 };

	NEAR(stats_quantile(v, 5, 0.5), 3, 0);
	NEAR(stats_quantile(v, 5, 0), 1, 0);
	NEAR(stats_quantile(v, 5, 1), 5, 0);
	NEAR(stats_quantile(v, 5, 0.95), 4.8, 1e-12);
	NEAR(stats_quantile(four, 4, 0.5), 2.5, 1e-15);
	NEAR(stats_quantile(one, 1, 0.3), 7, 0);
	assert_true(isnan(stats_quantile(v, 0, 0.5)));
}

static double
mean(void *ctx, const int64_t *index, int64_t n)
{
	const double *v = ctx;
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += v[index[i]];
	return sum / (double)n;
}

static double
undefined(void *ctx, const int64_t *index, int64_t n)
{
	return NAN;
}

/* The interval of a mean is near mean +- 1.96 s / sqrt(n). */
static void
test_bootstrap(void **state)
{
	double v[400], low, high, low2, high2, sum = 0, sq = 0, s;
	struct rng r;

	rng_seed(&r, 3);
	for (int i = 0; i < 400; i++) {
		v[i] = (double)rng_normal(&r);
		sum += v[i] / 400;
	}
	for (int i = 0; i < 400; i++)
		sq += (v[i] - sum) * (v[i] - sum) / 400;
	s = sqrt(sq / 400);
	stats_bootstrap(mean, v, 400, 2000, 1, &low, &high);
	stats_bootstrap(mean, v, 400, 2000, 1, &low2, &high2);
	NEAR(low, sum - 1.96 * s, 0.25 * s);
	NEAR(high, sum + 1.96 * s, 0.25 * s);
	assert_true(low == low2 && high == high2);
	stats_bootstrap(undefined, v, 400, 50, 1, &low, &high);
	assert_true(isnan(low) && isnan(high));
	stats_bootstrap(mean, v, 0, 50, 1, &low, &high);
	assert_true(isnan(low));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wilson),
		cmocka_unit_test(test_mcnemar),
		cmocka_unit_test(test_resolvable),
		cmocka_unit_test(test_f1_mcc),
		cmocka_unit_test(test_correlation),
		cmocka_unit_test(test_quantile),
		cmocka_unit_test(test_bootstrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
