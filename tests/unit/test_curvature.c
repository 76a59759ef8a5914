/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with the Hessian, its largest eigenvalue and squared gradients against
 * the whole Hessian of a small matrix and single gradients of the trainer.
 */
#include "tiny_model.h"

#include "gradients.h"

#include <lapacke.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/curvature.h"

static struct tiny
small(void)
{
	struct tiny t = tiny_odd;

	t.hidden = t.embed = 14;
	t.layer[0] = (struct tiny_layer){ 4, 2, 3, 9 };
	return t;
}

static struct trainer *
trainer_of(const struct model *m)
{
	const struct train_options o = { .rate = 1e-3, .batch = 4,
	    .epochs = 1 };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);

	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

/* Row by row by differences of the trainer's gradients. */
static double *
dense_hessian(const struct model *m, struct slot_ref ref, const struct set *s)
{
	const float delta = 1e-2f;
	const struct tensor *t = model_slot(m, ref);
	int64_t n = t->rows * t->cols;
	struct trainer *tr = trainer_of(m);
	double *h = xcalloc((size_t)(n * n), sizeof *h);

	for (int64_t i = 0; i < n; i++)
		for (int side = 1; side >= -1; side -= 2) {
			trainer_nudge(tr, ref, i / t->cols, i % t->cols,
			    (float)side * delta);
			loss_now(tr, s);
			for (int64_t j = 0; j < n; j++)
				h[i * n + j] += side * trainer_gradient_at(tr,
				    ref, j / t->cols, j % t->cols) /
				    (2 * (double)delta);
			trainer_nudge(tr, ref, i / t->cols, i % t->cols,
			    (float)-side * delta);
		}
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < i; j++)
			h[i * n + j] = h[j * n + i] =
			    (h[i * n + j] + h[j * n + i]) / 2;
	trainer_free(tr);
	return h;
}

static int
number_of(const struct curvature *c, const struct tensor *t)
{
	const struct curve *k = curvature_of(c, t);

	assert_non_null(k);
	return (int)(k - c->of);
}

static void
check_product(struct differ *d, int k, const struct set *s, const double *h,
    int64_t n, const float *here)
{
	float *v = xcalloc((size_t)n, sizeof *v);
	float *out = xcalloc((size_t)n, sizeof *out);
	double error = 0, size = 0;
	struct pare_err err;
	struct rng r;

	rng_seed(&r, 8);
	for (int64_t i = 0; i < n; i++)
		v[i] = rng_normal(&r);
	assert_int_equal(differ_product(d, k, &s->d, order, SAMPLES, here, v,
	    out, NULL, &err), PARE_OK);
	for (int64_t i = 0; i < n; i++) {
		double sum = 0;

		for (int64_t j = 0; j < n; j++)
			sum += h[i * n + j] * v[j];
		error += (sum - out[i]) * (sum - out[i]);
		size += sum * sum;
	}
	if (!(sqrt(error) <= 0.02 * sqrt(size)))
		fail_msg("product off by %g of %g", sqrt(error), sqrt(size));
	free(v);
	free(out);
}

/* The eigenvalue of largest size of a dense matrix, which is spoilt. */
static double
top_of(double *h, int64_t n)
{
	double *w = xcalloc((size_t)n, sizeof *w), top;

	assert_int_equal(LAPACKE_dsyev(LAPACK_COL_MAJOR, 'N', 'U', (int)n, h,
	    (int)n, w), 0);
	top = fmax(fabs(w[0]), fabs(w[n - 1]));
	free(w);
	return top;
}

static void
check_matrix(const struct model *m, struct slot_ref ref)
{
	const struct tensor *t = model_slot(m, ref);
	int64_t n = t->rows * t->cols;
	struct set s;
	struct pare_err err;
	struct curvature *c = curvature_new(m, &err);
	struct differ *d = differ_new(c, m, &err);
	float *v = xcalloc((size_t)n, sizeof *v);
	float *g = xcalloc((size_t)curvature_weights(c), sizeof *g);
	double *h, top, found;
	struct rng r;

	assert_non_null(d);
	set_fill(&s, m);
	h = dense_hessian(m, ref, &s);
	check_product(d, number_of(c, t), &s, h, n, NULL);
	/* The weights are back where they were. */
	check_product(d, number_of(c, t), &s, h, n, NULL);
	assert_int_equal(differ_gradients(d, &s.d, order, SAMPLES, g, NULL,
	    &err), PARE_OK);
	check_product(d, number_of(c, t), &s, h, n, g +
	    curvature_weights_at(c, number_of(c, t)));
	top = top_of(h, n);
	rng_seed(&r, 1);
	for (int64_t i = 0; i < n; i++)
		v[i] = rng_normal(&r);
	assert_int_equal(differ_top(d, number_of(c, t), &s.d, order, SAMPLES,
	    NULL, 200, 0.01, v, &found, NULL, &err), PARE_OK);
	if (!(fabs(found - top) <= 0.06 * top))
		fail_msg("slot %d: largest eigenvalue %g, found %g",
		    (int)ref.slot, top, found);
	assert_true(top > 1e-6);
	/* With the gradient there half the passes tell the same. */
	assert_int_equal(differ_top(d, number_of(c, t), &s.d, order, SAMPLES,
	    g + curvature_weights_at(c, number_of(c, t)), 200, 0.01, v, &found,
	    NULL, &err), PARE_OK);
	if (!(fabs(found - top) <= 0.06 * top))
		fail_msg("slot %d: largest eigenvalue %g, by one pass %g",
		    (int)ref.slot, top, found);
	free(g);
	free(h);
	free(v);
	differ_free(d);
	curvature_free(c);
}

/* Whatever was looked at before, a product is the same: what a pass takes over
 * from the one before is what it would have computed. */
static void
passes_take_over_only_what_is_the_same(void **state)
{
	static const struct slot_ref way[] = { { 3, SLOT_UP_W },
		{ 3, SLOT_Q_W }, { 0, SLOT_DOWN_W }, { 2, SLOT_O_W },
		{ -1, SLOT_HOUT_W }, { 0, SLOT_K_W }, { -1, SLOT_WORD },
		{ 1, SLOT_DOWN_W }, { -1, SLOT_POOL_W } };
	struct tiny t = small();
	struct model *m = tiny_model(&t);
	struct pare_err err;
	struct curvature *c = curvature_new(m, &err);
	struct differ *d = differ_new(c, m, &err);
	struct set s;

	set_fill(&s, m);
	for (size_t i = 0; i < sizeof(way) / sizeof(*way); i++) {
		const struct tensor *x = model_slot(m, way[i]);
		size_t n = (size_t)(x->rows * x->cols);
		struct differ *fresh = differ_new(c, m, &err);
		float *v = xcalloc(n, sizeof *v);
		float *a = xcalloc(n, sizeof *a), *b = xcalloc(n, sizeof *b);

		v[n / 2] = 1;
		v[0] = -1;
		assert_int_equal(differ_product(d, number_of(c, x), &s.d,
		    order, SAMPLES, NULL, v, a, NULL, &err), PARE_OK);
		assert_int_equal(differ_product(fresh, number_of(c, x), &s.d,
		    order, SAMPLES, NULL, v, b, NULL, &err), PARE_OK);
		assert_memory_equal(a, b, n * sizeof *a);
		/* Fewer samples at the same place are other samples. */
		if (i == 3)
			assert_int_equal(differ_product(d, number_of(c, x),
			    &s.d, order, SAMPLES - 1, NULL, v, a, NULL, &err),
			    PARE_OK);
		free(a);
		free(b);
		free(v);
		differ_free(fresh);
	}
	differ_free(d);
	curvature_free(c);
	model_unref(m);
}

static void
eigenvalues_are_those_of_the_dense_hessian(void **state)
{
	struct tiny t = small();
	struct model *m = tiny_model(&t);

	check_matrix(m, (struct slot_ref){ 0, SLOT_Q_W });
	check_matrix(m, (struct slot_ref){ 0, SLOT_O_W });
	check_matrix(m, (struct slot_ref){ 1, SLOT_DOWN_W });
	check_matrix(m, (struct slot_ref){ -1, SLOT_HOUT_W });
	check_matrix(m, (struct slot_ref){ -1, SLOT_TYPE });
	model_unref(m);
}

/* Layers that share a matrix bend as one. */
static void
tied_matrices_move_together(void **state)
{
	struct tiny t = small();
	struct model *m;

	t.type = "albert";
	t.embed = 9;
	t.tied = true;
	m = tiny_model(&t);
	check_matrix(m, (struct slot_ref){ 0, SLOT_V_W });
	model_unref(m);
}

static void
squares_are_sums_over_single_gradients(void **state)
{
	struct tiny t = small();
	struct model *m = tiny_model(&t);
	struct pare_err err;
	struct curvature *c = curvature_new(m, &err);
	struct differ *d = differ_new(c, m, &err);
	double *out = xcalloc((size_t)c->total, sizeof *out);
	double *plain = xcalloc((size_t)c->total, sizeof *plain);
	struct trainer *tr = trainer_of(m);
	struct slot_ref ref = SLOT_REF_START;
	struct set s;
	double loss;

	set_fill(&s, m);
	assert_int_equal(differ_squares(d, &s.d, order, SAMPLES, out, NULL,
	    &err), PARE_OK);
	for (int i = 0; i < SAMPLES; i++) {
		assert_int_equal(trainer_gradient(tr, &s.d, order + i, 1,
		    &loss, &err), PARE_OK);
		ref = (struct slot_ref)SLOT_REF_START;
		while (model_next_slot(m, &ref)) {
			const struct tensor *x = model_slot(m, ref);
			const struct curve *k = curvature_of(c, x);

			if (k == NULL)
				continue;
			for (int64_t j = 0; j < x->rows * x->cols; j++) {
				int64_t row = j / x->cols, col = j % x->cols;
				double g = trainer_gradient_at(tr, ref, row,
				    col);

				plain[k->at + row] += g * g;
				plain[k->at + x->rows + col] += g * g;
			}
		}
	}
	for (int64_t i = 0; i < c->total; i++)
		assert_true(fabs(out[i] - plain[i]) <= 1e-3 * plain[i] +
		    1e-12);
	trainer_free(tr);
	free(out);
	free(plain);
	differ_free(d);
	curvature_free(c);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eigenvalues_are_those_of_the_dense_hessian),
		cmocka_unit_test(tied_matrices_move_together),
		cmocka_unit_test(passes_take_over_only_what_is_the_same),
		cmocka_unit_test(squares_are_sums_over_single_gradients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
