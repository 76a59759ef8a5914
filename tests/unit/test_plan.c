/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The knapsack of a plan against trying everything. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "measure/plan.h"

enum { UNITS = 5, OPTIONS = 6 };

struct case_of {
	struct plan_option option[UNITS][OPTIONS];
	struct plan_unit unit[UNITS];
};

/* Whole numbers, so that the buckets lose nothing. */
static void
draw(struct case_of *c, uint64_t seed, bool negative)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int i = 0; i < UNITS; i++) {
		c->unit[i] = (struct plan_unit){ OPTIONS, c->option[i] };
		for (int k = 0; k < OPTIONS; k++) {
			struct plan_option *o = &c->option[i][k];

			for (int u = 0; u < PLAN_USES; u++)
				o->use[u] = floor(100 * rng_uniform(&r)) -
				    (negative ? 90 : 0);
			o->loss = rng_uniform(&r);
			o->id = i * OPTIONS + k;
		}
	}
}

static int
all_choices(void)
{
	int n = 1;

	for (int i = 0; i < UNITS; i++)
		n *= OPTIONS;
	return n;
}

static void
nth_choice(int n, short *choice)
{
	for (int i = 0; i < UNITS; i++) {
		choice[i] = (short)(n % OPTIONS);
		n /= OPTIONS;
	}
}

/* The least loss within the limits; INFINITY: none. */
static double
brute(const struct case_of *c, const double limit[PLAN_USES])
{
	double best = INFINITY;

	for (int n = 0; n < all_choices(); n++) {
		double use[PLAN_USES], loss;
		short choice[UNITS];
		bool fine = true;

		nth_choice(n, choice);
		plan_sum(c->unit, UNITS, choice, use, &loss);
		for (int u = 0; u < PLAN_USES; u++)
			fine = fine && use[u] <= limit[u];
		if (fine && loss < best)
			best = loss;
	}
	return best;
}

static void
test_one_budget(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 12; seed++) {
		struct case_of c;
		struct plan_curve curve;

		draw(&c, seed, seed % 2 == 1);
		plan_curve_make(&curve, c.unit, UNITS, PLAN_BYTES, NULL);
		assert_true(curve.n > 1);
		for (int b = -500; b <= 500; b += 37) {
			double limit[PLAN_USES] = { b, INFINITY, INFINITY };
			double want = brute(&c, limit), use[PLAN_USES], loss;
			int i = plan_curve_find(&curve, b);

			if (!isfinite(want)) {
				assert_int_equal(i, -1);
				continue;
			}
			assert_true(i >= 0);
			assert_true(fabs(curve.loss[i] - want) < 1e-12);
			/* The options are those sums. */
			plan_sum(c.unit, UNITS, curve.choice + i * UNITS, use,
			    &loss);
			assert_true(fabs(loss - want) < 1e-12);
			assert_true(use[PLAN_BYTES] == curve.use[i]);
			assert_true(use[PLAN_BYTES] <= b);
		}
		for (int i = 1; i < curve.n; i++) {
			assert_true(curve.use[i] > curve.use[i - 1]);
			assert_true(curve.loss[i] < curve.loss[i - 1]);
		}
		plan_curve_free(&curve);
	}
}

/* Fractions: within the budget, and no worse than the best of a budget that is
 * smaller by a bucket a unit. */
static void
test_buckets(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 4; seed++) {
		struct case_of c;
		struct plan_curve curve;

		draw(&c, seed, false);
		for (int i = 0; i < UNITS; i++)
			for (int k = 0; k < OPTIONS; k++)
				c.option[i][k].use[PLAN_BYTES] *= 1234.567;
		plan_curve_make(&curve, c.unit, UNITS, PLAN_BYTES, NULL);
		for (double b = 50000; b < 600000; b += 33333) {
			double width = 500 * 1234.567 / PLAN_BUCKETS;
			double limit[PLAN_USES] = { b - UNITS * width,
				INFINITY, INFINITY };
			double want = brute(&c, limit);
			int i = plan_curve_find(&curve, b);

			if (!isfinite(want))
				continue;
			assert_true(i >= 0 && curve.use[i] <= b);
			assert_true(curve.loss[i] <= want + 1e-12);
		}
		plan_curve_free(&curve);
	}
}

static void
test_several_budgets(void **state)
{
	double worse = 0;
	int found = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct case_of c;

		draw(&c, seed + 100, false);
		for (int b = 100; b <= 350; b += 50) {
			double limit[PLAN_USES] = { b, b + 20, INFINITY };
			double want = brute(&c, limit), least[PLAN_USES];
			double use[PLAN_USES], loss;
			short choice[UNITS];
			bool ok = plan_solve(c.unit, UNITS, limit, choice,
			    least);

			if (!isfinite(want)) {
				assert_false(ok);
				continue;
			}
			if (!ok)
				continue;
			found++;
			plan_sum(c.unit, UNITS, choice, use, &loss);
			assert_true(use[PLAN_BYTES] <= b);
			assert_true(use[PLAN_MACS] <= b + 20);
			assert_true(loss >= want - 1e-12);
			worse += loss - want;
		}
	}
	/* Prices do not reach every choice, but come near. */
	assert_true(found > 30);
	assert_true(worse / found < 0.15);
}

static void
test_nearest(void **state)
{
	double limit[PLAN_USES] = { 1, INFINITY, INFINITY };
	double least[PLAN_USES];
	short choice[UNITS];
	struct case_of c;

	(void)state;
	draw(&c, 7, false);
	for (int i = 0; i < UNITS; i++)
		for (int k = 0; k < OPTIONS; k++)
			c.option[i][k].use[PLAN_BYTES] = 10 + k;
	assert_false(plan_solve(c.unit, UNITS, limit, choice, least));
	assert_true(least[PLAN_BYTES] == 50);
	limit[PLAN_BYTES] = 50;
	assert_true(plan_solve(c.unit, UNITS, limit, choice, least));
	for (int i = 0; i < UNITS; i++)
		assert_int_equal(choice[i], 0);
}

static void
test_dominated(void **state)
{
	struct plan_option o[] = {
		{ { 10, 5, 0 }, 0.5, 0 },	/* as good as the next: stays */
		{ { 10, 5, 9 }, 0.5, 1 },	/* an equal one */
		{ { 20, 9, 0 }, 0.2, 2 },
		{ { 21, 9, 0 }, 0.2, 3 },	/* more bytes, no better */
		{ { 30, 1, 0 }, 0.6, 4 },	/* only for its macs */
		{ { 5, 9, 0 }, 0.9, 5 },
	};
	struct plan_option two[6];
	int n;

	(void)state;
	memcpy(two, o, sizeof(o));
	n = plan_pareto(two, 6, 1u << PLAN_BYTES);
	assert_int_equal(n, 3);
	assert_int_equal(two[0].id, 5);
	assert_int_equal(two[1].id, 0);
	assert_int_equal(two[2].id, 2);
	n = plan_pareto(o, 6, 1u << PLAN_BYTES | 1u << PLAN_MACS);
	assert_int_equal(n, 4);
	assert_int_equal(o[3].id, 4);
}

static void
test_fit(void **state)
{
	const double x[] = { 0, 1, 2, 3, 4 };
	const double y[] = { 0, 0.4, 0.2, 0.6, 1 };
	struct plan_fit f;

	(void)state;
	plan_fit_make(&f, x, y, 5);
	/* 1 and 2 fall and are pooled: (1.5, 0.3). */
	assert_int_equal(f.n, 4);
	assert_true(fabs(plan_fit_at(&f, 1.5) - 0.3) < 1e-12);
	assert_true(fabs(plan_fit_at(&f, 0.75) - 0.15) < 1e-12);
	assert_true(fabs(plan_fit_at(&f, 3.5) - 0.8) < 1e-12);
	assert_true(fabs(plan_fit_at(&f, 9) - 1) < 1e-12);
	assert_true(plan_fit_at(&f, 0) == 0);
	for (double a = 0; a < 5; a += 0.1)
		assert_true(plan_fit_at(&f, a + 0.1) >= plan_fit_at(&f, a));
	plan_fit_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_budget),
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_several_budgets),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_dominated),
		cmocka_unit_test(test_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
