/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Codes with floats beside them: single outliers (gobo), a scale for each input
 * (awq). Against the formulas; through the ops, with bytes and outputs; and what
 * hostile files may not say.
 */
#include "plain_obs.h"

#include <math.h>

#include "ops/awq.h"
#include "ops/gobo.h"

/* Outliers are those beyond 3.29 deviations, and come back exactly; the rest is
 * coded as if they were not there. */
static void
test_gobo(void **state)
{
	enum { ROWS = 30, COLS = 40, N = ROWS * COLS };
	struct quant_spec spec = { QUANT_KMEANS, 3, 0, 0 };
	struct transform_ctx ctx = { .seed = 1 }, guess = { .estimate = true };
	struct pare_err err = { 0 };
	double mean = 0, deviation = 0;
	struct gobo g = { 0 }, h = { 0 };
	struct tensor *t, *made, *ghost;
	float *w, q[N];
	int64_t out = 0;
	struct rng r;

	rng_seed(&r, 3);
	t = tensor_new_f32(2, ROWS, COLS, &w, &err);
	for (int i = 0; i < N; i++)
		w[i] = 0.1f + rng_normal(&r) * (i % 200 == 7 ? 0.9f : 0.05f);
	for (int i = 0; i < N; i++)
		mean += w[i] / (double)N;
	for (int i = 0; i < N; i++)
		deviation += (w[i] - mean) * (w[i] - mean) / N;
	deviation = sqrt(deviation);
	made = gobo_code(&g, t, &spec, &ctx, &err);
	assert_non_null(made);
	assert_int_equal(made->form, FORM_SUM);
	tensor_decode(made, 0, ROWS, q);
	for (int i = 0; i < N; i++)
		if (fabs(w[i] - mean) > 3.29 * deviation) {
			assert_float_equal(q[i], w[i], 1e-6);
			out++;
		}
	assert_true(out > 2 && out < N / 20);
	assert_int_equal(out, g.outliers);
	assert_int_equal(made->kid[1]->stored, out);
	assert_true(g.now < 0.9 * g.plain);
	ghost = gobo_code(&h, t, &spec, &guess, &err);
	assert_true(ghost->ghost);
	assert_int_equal(tensor_bytes(ghost), tensor_bytes(made));
	assert_int_equal(tensor_params(made), N);
	tensor_unref(ghost);
	tensor_unref(made);
	tensor_unref(t);
}

/* x / s times the codes of W diag(s): with scales by hand, the best of them. */
static void
test_awq_search(void **state)
{
	enum { ROWS = 8, COLS = 16 };
	struct quant_spec spec = { QUANT_SYMMETRIC, 3, COLS, 0 };
	struct transform_ctx ctx = { .seed = 1 };
	struct pare_err err = { 0 };
	double gram[COLS * COLS], best = INFINITY, error, plain = 0;
	float by[COLS], q[ROWS * COLS], *w;
	struct tensor *t, *made[1];
	struct inputs x = { .cols = COLS, .seen = 1 };
	float *h;
	const float *ws[1];
	const struct tensor *ts[1];
	struct awq a = { .n = 1, .w = ws, .t = ts, .spec = &spec, .x = &x };
	struct rng r;

	rng_seed(&r, 8);
	t = tensor_new_f32(2, ROWS, COLS, &w, &err);
	for (int i = 0; i < ROWS * COLS; i++)
		w[i] = rng_normal(&r);
	memset(gram, 0, sizeof gram);
	for (int c = 0; c < COLS; c++)
		gram[c * (COLS + 1)] = c == 5 ? 0 : c % 4 == 0 ? 30 : 0.5;
	x.h = h = obs_floats(gram, COLS * COLS);
	ws[0] = w;
	ts[0] = t;
	assert_int_equal(awq_search(&a, &ctx, by, made, &err), PARE_OK);
	for (int k = 0; k < 20; k++) {
		float *data;
		struct tensor *f = tensor_new_f32(2, ROWS, COLS, &data, &err);
		struct tensor *c;

		for (int i = 0; i < ROWS * COLS; i++)
			data[i] = w[i] * (float)pow(i % COLS == 5 ? 0.5 :
			    gram[i % COLS * (COLS + 1)], k / 40.0);
		c = tensor_quantize(f, &spec, &ctx, &err);
		tensor_decode(c, 0, ROWS, q);
		for (int i = 0; i < ROWS * COLS; i++)
			q[i] *= w[i] == 0 ? 1 : w[i] / data[i];
		error = obs_error(w, q, gram, ROWS, COLS);
		plain = k == 0 ? error : plain;
		best = fmin(best, error);
		tensor_unref(c);
		tensor_unref(f);
	}
	tensor_decode(made[0], 0, ROWS, q);
	for (int i = 0; i < ROWS * COLS; i++)
		q[i] *= by[i % COLS];
	error = obs_error(w, q, gram, ROWS, COLS);
	assert_true(error < 0.9 * plain);
	assert_true(fabs(error - best) < 0.03 * best);
	free(h);
	tensor_unref(made[0]);
	tensor_unref(t);
}

static void
same_totals(const struct model *m, const struct op_result *r)
{
	struct totals t = { 0 };

	account_totals(r->model, 16, false, &t);
	assert_true(t.bytes == r->after.bytes);
	assert_true(r->model != m);
}

static void
test_ops(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *again;
	struct statistics *s = obs_statistics(m, 80);
	struct op_result r, guess;
	struct pare_err err = { 0 };
	double was, is;
	int n;

	sample_refuse(m, "quantize L* bits=3 method=awq", "role=calib");
	sample_refuse(m, "quantize L* scheme=gobo bits=3 method=gptq", "gobo");
	sample_refuse(m, "quantize L* scheme=kmeans method=awq", "grid");
	obs_refuse(m, s, "quantize emb.word bits=3 method=awq", "gathered");
	obs_do(m, s, "quantize L* bits=3 method=awq", &r);
	assert_int_equal(sscanf(r.note, "output error of %d matrices %lf %% "
	    "rounded to nearest, %lf %% now", &n, &was, &is), 3);
	assert_true(is < was);
	same_totals(m, &r);
	assert_int_equal(r.model->layer[1].t[SLOT_DOWN_W]->form, FORM_SCALED);
	/* Coded as asked already but for the scales: rounded a second time. */
	again = sample_do(r.model, "quantize L* bits=2");
	assert_int_equal(again->layer[1].t[SLOT_DOWN_W]->form, FORM_INT);
	model_unref(again);
	again = sample_do(r.model, "prune neurons 50% L1");
	model_unref(again);
	op_result_free(&r);
	assert_int_equal(sample_run(op_estimate, m,
	    "quantize L* bits=3 scheme=gobo", NULL, &guess, &err), PARE_OK);
	obs_do(m, s, "quantize L* bits=3 scheme=gobo", &r);
	assert_non_null(strstr(r.note, "stay floats"));
	assert_true(guess.after.bytes == r.after.bytes);
	same_totals(m, &r);
	again = sample_do(r.model, "prune heads 1 L0");
	model_unref(again);
	op_result_free(&guess);
	op_result_free(&r);
	obs_spoil(s, 0);
	obs_refuse(m, s, "quantize L* bits=3 method=awq", "are 0");
	statistics_free(s);
	model_unref(m);
}

/* What does not fit together is no tensor. */
static void
test_hostile(void **state)
{
	struct quant_spec spec = { QUANT_SYMMETRIC, 4, 6, 0 };
	struct transform_ctx ctx = { .seed = 1 };
	struct pare_err err = { 0 };
	float *w;
	struct tensor *t = tensor_new_f32(2, 4, 6, &w, &err), *v, *wide, *q;

	for (int i = 0; i < 24; i++)
		w[i] = (float)i;
	q = tensor_quantize(t, &spec, &ctx, &err);
	v = tensor_new_f32(1, 1, 6, &w, &err);
	memset(w, 0, 6 * sizeof *w);
	wide = tensor_new_f32(1, 1, 7, &w, &err);
	memset(w, 0, 7 * sizeof *w);
	const struct {
		enum form_kind form;
		struct tensor *a, *b;
		bool good;
	} list[] = {
		{ FORM_SUM, q, t, true }, { FORM_SCALED, q, v, true },
		{ FORM_SUM, q, v, false }, { FORM_SCALED, q, t, false },
		{ FORM_SUM, t, t, false }, { FORM_SCALED, v, v, false },
		{ FORM_SCALED, q, wide, false }, { FORM_SUM, q, q, false },
		{ FORM_SUM, q, NULL, false }, { FORM_SCALED, NULL, v, false },
	};

	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct tensor facts = { .form = list[i].form, .ndim = 2,
			.rows = 4, .cols = 6 };
		struct tensor *kid[2] = {
			list[i].a == NULL ? NULL : tensor_ref(list[i].a),
			list[i].b == NULL ? NULL : tensor_ref(list[i].b) };
		struct tensor *made = tensor_new(&facts, NULL, kid, &err);

		assert_int_equal(made != NULL, list[i].good);
		if (made == NULL)
			assert_int_equal(err.rc, PARE_EFORMAT);
		tensor_unref(made);
	}
	tensor_unref(t);
	tensor_unref(q);
	tensor_unref(v);
	tensor_unref(wide);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gobo),
		cmocka_unit_test(test_awq_search),
		cmocka_unit_test(test_ops),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
