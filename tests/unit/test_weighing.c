/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Low rank in a metric against the singular values of D W L by LAPACK, choices
 * against all there are, and the op against what its note says.
 */
#include "made_data.h"

#include <lapacke.h>
#include <math.h>
#include <stdio.h>

#include "measure/calibrate.h"
#include "ops/choose.h"
#include "ops/inputs.h"
#include "tensor/transform.h"

static const struct transform_ctx real = { .estimate = false };

/* ---- factors ---- */

struct made {
	int64_t rows, cols;
	struct tensor *w;
	float *second, *row, *col;
	double *l;		/* (cols, cols) */
};

/* Second moments of `seen` correlated rows; fewer than cols: singular. */
static void
make(struct made *m, int64_t rows, int64_t cols, int seen, bool whiten)
{
	struct rng r;
	float *p;

	rng_seed(&r, (uint64_t)(rows * 1000 + cols));
	*m = (struct made){ .rows = rows, .cols = cols };
	m->w = tensor_new_f32(2, rows, cols, &p, NULL);
	for (int64_t i = 0; i < rows * cols; i++)
		p[i] = rng_normal(&r);
	m->second = xcalloc((size_t)(cols * cols), sizeof(float));
	m->row = xcalloc((size_t)rows, sizeof(float));
	m->col = xcalloc((size_t)cols, sizeof(float));
	m->l = xcalloc((size_t)(cols * cols), sizeof(double));
	for (int s = 0; s < seen; s++) {
		double *x = xcalloc((size_t)cols, sizeof *x);
		double common = rng_normal(&r);

		for (int64_t c = 0; c < cols; c++)
			x[c] = (1 + (double)(c % 5)) * (rng_normal(&r) +
			    common);
		for (int64_t i = 0; i < cols * cols; i++)
			m->second[i] += (float)(x[i / cols] * x[i % cols] /
			    seen);
		free(x);
	}
	for (int64_t i = 0; i < rows; i++)
		m->row[i] = (float)(0.5 + rng_uniform(&r));
	for (int64_t i = 0; i < cols; i++)
		m->col[i] = (float)(0.5 + rng_uniform(&r));
	for (int64_t i = 0; i < cols && !whiten; i++)
		m->l[i * (cols + 1)] = m->col[i];
	if (whiten) {
		double mean = 0;

		for (int64_t i = 0; i < cols; i++)
			mean += m->second[i * (cols + 1)] / (double)cols;
		for (int64_t i = 0; i < cols * cols; i++)
			m->l[i] = m->second[i];
		for (int64_t i = 0; i < cols; i++)
			m->l[i * (cols + 1)] += FACTOR_DAMP * mean;
		assert_int_equal(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L',
		    (int)cols, m->l, (int)cols), 0);
		for (int64_t i = 0; i < cols; i++)
			for (int64_t j = i + 1; j < cols; j++)
				m->l[i * cols + j] = 0;
	}
}

static void
unmake(struct made *m)
{
	tensor_unref(m->w);
	free(m->second);
	free(m->row);
	free(m->col);
	free(m->l);
}

/* D (w - v) L in plain loops; v NULL: 0. */
static double *
in_metric(const struct made *m, const struct tensor *v, bool rows)
{
	size_t n = (size_t)(m->rows * m->cols);
	float *a = xcalloc(n, sizeof *a), *b = xcalloc(n, sizeof *b);
	double *out = xcalloc(n, sizeof *out);

	tensor_decode(m->w, 0, m->rows, a);
	if (v != NULL)
		tensor_decode(v, 0, m->rows, b);
	for (int64_t r = 0; r < m->rows; r++)
		for (int64_t c = 0; c < m->cols; c++)
			for (int64_t k = 0; k < m->cols; k++)
				out[r * m->cols + c] += (rows ? m->row[r] :
				    1) * ((double)a[r * m->cols + k] -
				    b[r * m->cols + k]) *
				    m->l[k * m->cols + c];
	free(a);
	free(b);
	return out;
}

/* The loss of rank k is that of the discarded singular values; so is what the
 * spectrum says. */
static void
check(int64_t rows, int64_t cols, int seen, bool whiten, bool weigh,
    int64_t rank)
{
	struct made m;
	struct factor_metric by = { .second = NULL };
	int64_t s = rows < cols ? rows : cols, n;
	double *value = xcalloc((size_t)s, sizeof *value), *a, *e;
	double *rest = xcalloc((size_t)s, sizeof *rest);
	double least = 0, told = 0, loss = 0, all = 0;
	struct pare_err err = { 0 };
	struct tensor *v;
	float *told_value;

	make(&m, rows, cols, seen, whiten);
	by.second = whiten ? m.second : NULL;
	by.col = whiten ? NULL : m.col;
	by.row = weigh ? m.row : NULL;
	a = in_metric(&m, NULL, weigh);
	assert_int_equal(LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', (int)rows,
	    (int)cols, a, (int)cols, value, NULL, 1, NULL, 1, rest), 0);
	for (int64_t i = 0; i < s; i++) {
		all += value[i] * value[i];
		least += i < rank ? 0 : value[i] * value[i];
	}
	v = tensor_factorize_by(m.w, rank, &by, &real, &err);
	if (v == NULL)
		fail_msg("%s", err.msg);
	assert_int_equal(tensor_rank(v), rank);
	e = in_metric(&m, v, weigh);
	for (int64_t i = 0; i < rows * cols; i++)
		loss += e[i] * e[i];
	assert_int_equal(tensor_spectrum_by(m.w, &by, &told_value, &n, NULL,
	    &err), PARE_OK);
	assert_int_equal(n, s);
	for (int64_t i = rank; i < n; i++)
		told += (double)told_value[i] * told_value[i];
	/* 1.001 is what the search of a subspace allows itself. */
	if (!(loss <= 1.0012 * least + 1e-6 * all) ||
	    !(loss >= 0.998 * least - 1e-6 * all) ||
	    !(fabs(told - least) <= 2e-3 * least + 1e-6 * all))
		fail_msg("%lldx%lld rank %lld: loses %g, least %g, told %g of "
		    "%g", (long long)rows, (long long)cols, (long long)rank,
		    loss, least, told, all);
	free(told_value);
	free(value);
	free(rest);
	free(a);
	free(e);
	tensor_unref(v);
	unmake(&m);
}

static void
the_loss_is_that_of_discarded_values(void **state)
{
	static const int64_t shape[][3] = { { 12, 9, 4 }, { 9, 12, 4 },
		{ 1, 1, 1 }, { 20, 20, 20 }, { 40, 7, 6 }, { 7, 40, 3 },
		{ 130, 110, 20 }, { 110, 130, 20 }, { 150, 110, 80 } };

	for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
		for (int k = 0; k < 4; k++)
			check(shape[i][0], shape[i][1], 300, k & 1, k & 2,
			    shape[i][2]);
}

/* Three rows were seen of 12 columns: three ranks do. */
static void
singular_moments_do(void **state)
{
	struct made m;
	struct factor_metric by;
	struct pare_err err = { 0 };
	struct tensor *v;
	double *e, loss = 0, all = 0;

	for (int64_t rows = 6; rows < 20; rows += 10) {
		make(&m, rows, 12, 3, true);
		by = (struct factor_metric){ .second = m.second };
		v = tensor_factorize_by(m.w, 3, &by, &real, &err);
		assert_non_null(v);
		e = in_metric(&m, v, false);
		for (int64_t i = 0; i < rows * 12; i++)
			loss += e[i] * e[i];
		free(e);
		e = in_metric(&m, NULL, false);
		for (int64_t i = 0; i < rows * 12; i++)
			all += e[i] * e[i];
		assert_true(loss < 1e-3 * all);
		free(e);
		tensor_unref(v);
		memset(m.second, 0, 12 * 12 * sizeof(float));
		assert_null(tensor_factorize_by(m.w, 3, &by, &real, &err));
		assert_int_equal(err.rc, PARE_EUSER);
		assert_non_null(strstr(err.msg, "singular"));
		m.second[13] = NAN;
		assert_null(tensor_factorize_by(m.w, 3, &by, &real, &err));
		assert_int_equal(err.rc, PARE_EUSER);
		unmake(&m);
	}
}

/* ---- choices ---- */

/* The least loss of all combinations. */
static double
least_of_all(const struct choose_thing *t, int n, int64_t budget)
{
	double best = INFINITY;

	if (n == 0)
		return budget >= 0 ? 0 : INFINITY;
	for (int k = 0; k < t->n; k++)
		best = fmin(best, t->option[k].loss + least_of_all(t + 1,
		    n - 1, budget - t->option[k].cost));
	return best;
}

static void
choices_are_the_best_or_near(void **state)
{
	enum { THINGS = 5, OPTIONS = 5 };
	struct choose_option option[THINGS][OPTIONS];
	struct choose_thing thing[THINGS];
	struct pare_err err;
	int exact = 0, all = 0;
	struct rng r;

	rng_seed(&r, 3);
	for (int round = 0; round < 200; round++) {
		int64_t budget = 20 + (int64_t)rng_below(&r, 400), cost;
		int pick[THINGS];
		double loss, best;

		for (int i = 0; i < THINGS; i++) {
			for (int k = 0; k < OPTIONS; k++)
				option[i][k] = (struct choose_option){
					1 + (int64_t)rng_below(&r, 100),
					rng_uniform(&r) };
			thing[i] = (struct choose_thing){ 1 +
				(int)rng_below(&r, OPTIONS), option[i] };
		}
		if (round % 4 == 0) {	/* exactly the least */
			choose_least(thing, THINGS, 0, pick, &budget, &loss,
			    &err);
		}
		best = least_of_all(thing, THINGS, budget);
		assert_int_equal(choose_least(thing, THINGS, budget, pick,
		    &cost, &loss, &err), PARE_OK);
		if (isinf(best)) {
			assert_true(cost > budget);
			continue;
		}
		assert_true(cost <= budget);
		assert_true(loss >= best - 1e-9);
		all++;
		exact += loss <= best + 1e-9;
	}
	/* Buckets are finer than these costs. */
	assert_true(all > 100);
	assert_int_equal(exact, all);
}

/* Too many options for a table: along the hull, at most a step from the best. */
static void
many_choices_go_along_the_hull(void **state)
{
	enum { THINGS = 40, OPTIONS = 1000 };
	struct choose_thing thing[THINGS];
	int pick[THINGS];
	struct pare_err err;
	int64_t cost;
	double loss, last = INFINITY;

	for (int i = 0; i < THINGS; i++) {
		struct choose_option *o = xcalloc(OPTIONS, sizeof *o);

		for (int k = 0; k < OPTIONS; k++)
			o[k] = (struct choose_option){ (k + 1) * (i + 1),
				(i + 1) * exp(-0.01 * k) };
		thing[i] = (struct choose_thing){ OPTIONS, o };
	}
	for (int64_t budget = 5000; budget < 500000; budget += 45000) {
		assert_int_equal(choose_least(thing, THINGS, budget, pick,
		    &cost, &loss, &err), PARE_OK);
		assert_true(cost <= budget && cost > budget - 41);
		assert_true(loss < last);
		last = loss;
		/* All alike but for scale: so are the picks. */
		for (int i = 1; i < THINGS; i++)
			assert_true(abs(pick[i] - pick[0]) <= 41);
	}
	for (int i = 0; i < THINGS; i++)
		free((void *)(uintptr_t)thing[i].option);
}

/* ---- the op ---- */

static struct model *
apply(const struct model *m, const char *line, const struct op_calib *c,
    char *note, size_t n)
{
	struct sample_line l;
	struct pare_err err = { 0 };
	struct op_result r;
	struct model *out;

	assert_int_equal(sample_parse(line, &l, &err), PARE_OK);
	if (op_apply(l.op, &(struct op_input){ .model = m, .args = &l.args,
	    .calib = c }, 16, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	snprintf(note, n, "%s", r.note != NULL ? r.note : "");
	out = model_ref(r.model);
	op_result_free(&r);
	sample_line_free(&l);
	return out;
}

static void
gather(const struct model *m, const struct dataset *d, struct op_calib *c)
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
	*c = (struct op_calib){ .statistics = s, .squares = k };
}

static void
release(struct op_calib *c)
{
	statistics_free((struct statistics *)(uintptr_t)c->statistics);
	curvature_free((struct curvature *)(uintptr_t)c->squares);
}

/* tr(D H D') over matrices of layers, by plain loops, as a share of energy. */
static double
error_of(const struct model *m, const struct model *x,
    const struct statistics *s)
{
	struct slot_ref ref = SLOT_REF_START;
	double sum = 0, all = 0;

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		const struct tensor *u = model_slot(x, ref);
		const struct moments *k = t->ndim == 2 ? statistics_of(s,
		    ref) : NULL;
		size_t n = (size_t)(t->rows * t->cols);
		float *a, *b;

		if (k == NULL)
			continue;
		a = xcalloc(n, sizeof *a);
		b = xcalloc(n, sizeof *b);
		tensor_decode(t, 0, t->rows, a);
		tensor_decode(u, 0, t->rows, b);
		for (int64_t r = 0; r < t->rows; r++)
			for (int64_t i = 0; i < t->cols; i++)
				for (int64_t j = 0; j < t->cols; j++) {
					int64_t p = r * t->cols + i;
					int64_t q = r * t->cols + j;
					double h = k->gram[i * t->cols + j] /
					    (double)k->rows;

					sum += h * ((double)a[p] - b[p]) *
					    ((double)a[q] - b[q]);
					all += h * a[p] * a[q];
				}
		free(a);
		free(b);
	}
	return sum / all;
}

static void
notes_tell_the_errors(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *x;
	struct dataset *d = made_data(150);
	struct op_calib c;
	char note[512];
	double was, is, plain;

	gather(m, d, &c);
	sample_refuse(m, "factorize L* rank=5 method=whitened", "role=calib");
	x = sample_do(m, "factorize L* rank=5");
	plain = error_of(m, x, c.statistics);
	model_unref(x);
	for (int k = 0; k < 3; k++) {
		static const char *const line[] = {
			"factorize L* rank=5 method=whitened",
			"factorize L* rank=5 method=asvd",
			"factorize L* rank=5 method=fisher" };

		x = apply(m, line[k], &c, note, sizeof note);
		if (sscanf(note, "output error of 18 matrices %lf %% by plain "
		    "svd, %lf %% now", &was, &is) != 2)
			fail_msg("%s", note);
		assert_true(fabs(was / 100 - plain) < 0.01 * plain);
		assert_true(fabs(is / 100 - error_of(m, x, c.statistics)) <
		    0.01 * plain);
		assert_true(k > 0 || is < 0.8 * was);
		model_unref(x);
	}
	/* Embeddings are no inputs of anything that was seen. */
	x = apply(m, "factorize emb.word rank=5 method=whitened", &c, note,
	    sizeof note);
	assert_non_null(strstr(note, "did nothing for 1 matrices"));
	model_unref(x);
	release(&c);
	made_data_free(d);
	model_unref(m);
}

/* No more parameters than the even way, and less error. */
static void
ranks_are_spread(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *even, *x;
	struct dataset *d = made_data(150);
	struct op_calib c;
	struct totals a, b;
	char note[512];

	gather(m, d, &c);
	sample_refuse(m, "factorize L* rank=5 allocate=error", "ratio=");
	sample_refuse(m, "factorize L* ratio=1% allocate=error", "rank 1");
	for (int k = 0; k < 2; k++) {
		even = apply(m, k == 0 ? "factorize L* ratio=60% "
		    "method=whitened" : "factorize L*.attn ratio=80% "
		    "method=whitened", &c, note, sizeof note);
		x = apply(m, k == 0 ? "factorize L* ratio=60% method=whitened "
		    "allocate=error" : "factorize L*.attn ratio=80% "
		    "method=whitened allocate=error", &c, note, sizeof note);
		assert_non_null(strstr(note, "ranks from"));
		account_totals(even, 16, true, &a);
		account_totals(x, 16, true, &b);
		assert_true(b.params <= a.params + 18 * 80);
		assert_true(error_of(m, x, c.statistics) <
		    error_of(m, even, c.statistics));
		model_unref(even);
		model_unref(x);
	}
	release(&c);
	made_data_free(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_loss_is_that_of_discarded_values),
		cmocka_unit_test(singular_moments_do),
		cmocka_unit_test(choices_are_the_best_or_near),
		cmocka_unit_test(many_choices_go_along_the_hull),
		cmocka_unit_test(notes_tell_the_errors),
		cmocka_unit_test(ranks_are_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
