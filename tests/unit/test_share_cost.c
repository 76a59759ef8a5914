/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Groups of layers by cost: leads against all there are, costs against plain
 * sums, and the op: layers that are nearly equal come together.
 */
#include "made_data.h"

#include <math.h>
#include <stdio.h>

#include "measure/calibrate.h"
#include "ops/inputs.h"
#include "ops/share_cost.h"

enum { MOST = 8 };

/* By bit masks. */
static double
least_of_all(const double *cost, int n, int groups)
{
	double best = INFINITY;

	for (int set = 0; set < 1 << n; set++) {
		double sum = 0;

		if (__builtin_popcount((unsigned)set) != groups)
			continue;
		for (int a = 0; a < n; a++) {
			double near = INFINITY;

			for (int b = 0; b < n; b++)
				if (set >> b & 1)
					near = fmin(near, cost[a * n + b]);
			sum += near;
		}
		best = fmin(best, sum);
	}
	return best;
}

static void
leads_are_the_best(void **state)
{
	double cost[MOST * MOST], big[40 * 40], sum, check;
	int lead[40];
	struct rng r;

	rng_seed(&r, 6);
	for (int round = 0; round < 60; round++) {
		int n = 2 + (int)rng_below(&r, MOST - 1);
		int groups = 1 + (int)rng_below(&r, (uint64_t)n);

		for (int i = 0; i < n * n; i++)
			cost[i] = i % (n + 1) == 0 ? 0 : rng_uniform(&r);
		sum = share_cost_lead(cost, n, groups, lead);
		assert_true(fabs(sum - least_of_all(cost, n, groups)) < 1e-12);
		check = 0;
		for (int a = 0; a < n; a++) {
			assert_int_equal(lead[lead[a]], lead[a]);
			check += cost[a * n + lead[a]];
		}
		assert_true(fabs(check - sum) < 1e-12);
	}
	/* Forty in four clusters: too many ways for all. */
	for (int i = 0; i < 40 * 40; i++)
		big[i] = i % 41 == 0 ? 0 : i / 40 % 4 == i % 4 ? 1 : 100;
	sum = share_cost_lead(big, 40, 4, lead);
	assert_true(sum == 36);
	for (int a = 0; a < 40; a++)
		assert_int_equal(lead[a] % 4, a % 4);
}

static struct op_calib
gather(const struct model *m, const struct dataset *d)
{
	bool gram[3 * MOMENTS_PLACES];
	struct statistics *s;
	struct curvature *k;
	struct pare_err err = { 0 };

	memset(gram, 1, sizeof gram);
	assert_int_equal(calibrate_statistics(m, d, 0, gram, &s, NULL, &err),
	    PARE_OK);
	k = curvature_new(m, &err);
	assert_int_equal(calibrate_squares(m, d, 0, k, NULL, &err), PARE_OK);
	return (struct op_calib){ .statistics = s, .squares = k };
}

static void
release(const struct op_calib *c)
{
	statistics_free((struct statistics *)(uintptr_t)c->statistics);
	curvature_free((struct curvature *)(uintptr_t)c->squares);
}

/* Of one pair of layers in plain loops. */
static double
plain_cost(const struct model *m, const struct op_calib *c, int a, int b)
{
	static const enum slot slot[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W,
		SLOT_O_W, SLOT_UP_W, SLOT_DOWN_W };
	double sum = 0;

	for (int s = 0; s < 6; s++) {
		const struct tensor *t = m->layer[a].t[slot[s]];
		const struct tensor *u = m->layer[b].t[slot[s]];
		const struct moments *x = statistics_of(c->statistics,
		    (struct slot_ref){ a, slot[s] });
		const double *square = c->squares->square +
		    curvature_of(c->squares, t)->at;
		const float *v = tensor_f32(t), *w = tensor_f32(u);
		int64_t n = t->cols;
		double trace = 0;

		for (int64_t i = 0; i < n; i++)
			trace += x->gram[i * (n + 1)] / (double)x->rows;
		for (int64_t r = 0; r < t->rows; r++)
			for (int64_t i = 0; i < n * n; i++) {
				int64_t p = r * n + i / n, q = r * n + i % n;

				sum += square[r] / trace / 2 *
				    (x->gram[i] / (double)x->rows) *
				    ((double)v[p] - w[p]) *
				    ((double)v[q] - w[q]);
			}
	}
	return sum;
}

static void
costs_are_plain_sums(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(60);
	struct op_calib c = gather(m, d);
	struct op_input in = { .model = m, .calib = &c };
	static const int layer[] = { 0, 1, 2 };
	double cost[9];
	struct pare_err err = { 0 };

	assert_int_equal(share_cost_of(&in, layer, 3, UINT32_MAX >> 1, cost,
	    &err), PARE_OK);
	for (int a = 0; a < 3; a++)
		for (int b = 0; b < 3; b++) {
			double plain = plain_cost(m, &c, a, b);

			assert_true(fabs(cost[a * 3 + b] - plain) <=
			    1e-3 * plain + 1e-12);
			assert_true(a == b || plain > 0);
		}
	release(&c);
	made_data_free(d);
	model_unref(m);
}

/* L2 is a copy of L0 but for one matrix: of two groups those two are one. */
static void
near_layers_come_together(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *twin, *odd;
	struct dataset *d = made_data(60);
	struct sample_line l;
	struct op_calib c;
	struct op_result r;
	struct pare_err err = { 0 };

	twin = sample_do(m, "share L0 L2");
	odd = sample_do(twin, "quantize L2.up bits=8 activations=float");
	c = gather(odd, d);
	assert_int_equal(sample_parse("share L* groups=2 by=cost", &l, &err),
	    PARE_OK);
	if (op_apply(l.op, &(struct op_input){ .model = odd, .args = &l.args,
	    .calib = &c }, 16, &r, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_ptr_equal(r.model->layer[0].t[SLOT_UP_W],
	    r.model->layer[2].t[SLOT_UP_W]);
	assert_ptr_not_equal(r.model->layer[0].t[SLOT_UP_W],
	    r.model->layer[1].t[SLOT_UP_W]);
	assert_ptr_equal(r.model->layer[1].t[SLOT_UP_W],
	    odd->layer[1].t[SLOT_UP_W]);
	assert_non_null(strstr(r.note, "L0,2 as L"));
	op_result_free(&r);
	sample_line_free(&l);
	release(&c);
	sample_refuse(m, "share L* groups=2 by=cost", "role=calib");
	sample_refuse(m, "share L* groups=2 by=cost to=first", "by=cost");
	sample_refuse(m, "share L1.q to=L0.q by=cost", "by");
	made_data_free(d);
	model_unref(odd);
	model_unref(twin);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leads_are_the_best),
		cmocka_unit_test(costs_are_plain_sums),
		cmocka_unit_test(near_layers_come_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
