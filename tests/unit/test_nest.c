/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A low rank beside a base: against the singular values of what the base lacks;
 * `quantize residual=` and `share difference=` through the ops, with bytes, cuts,
 * and a save and open; and what is refused.
 */
#include "plain_obs.h"
#include "tiny_dir.h"

#include <math.h>

#include "ops/inputs.h"
#include "tensor/kernel.h"
#include "tensor/transform.h"

static const struct transform_ctx real = { .seed = 1 };
static const struct transform_ctx guess = { .estimate = true };

/* ---- the equation ---- */

enum { ROWS = 36, COLS = 28, RANK = 5 };

static struct tensor *
random_matrix(double scale)
{
	float *w;
	struct tensor *t = tensor_new_f32(2, ROWS, COLS, &w, NULL);
	struct rng r;

	assert_non_null(t);
	rng_seed(&r, 11);
	for (int i = 0; i < ROWS * COLS; i++)
		w[i] = (float)(scale * rng_normal(&r));
	return t;
}

static struct tensor *
lack_of(const struct tensor *t, const struct tensor *q)
{
	float *d, v[ROWS * COLS];
	struct tensor *lack = tensor_new_f32(2, ROWS, COLS, &d, NULL);

	assert_non_null(lack);
	tensor_decode(t, 0, ROWS, d);
	tensor_decode(q, 0, ROWS, v);
	for (int i = 0; i < ROWS * COLS; i++)
		d[i] -= v[i];
	return lack;
}

/* The squares of all singular values of lack from RANK on. */
static double
tail(const struct tensor *lack, const struct factor_metric *by)
{
	double sum = 0;
	int64_t n;
	float *s;

	assert_int_equal(tensor_spectrum_by(lack, by, &s, &n, NULL, NULL),
	    PARE_OK);
	for (int64_t i = RANK; i < n; i++)
		sum += (double)s[i] * s[i];
	free(s);
	return sum;
}

static void
check_loss(const struct tensor *t, const struct tensor *q,
    const struct factor_metric *by, const double *h, double scale)
{
	struct tensor *made = tensor_amend(q, t, RANK, by, &real, NULL);
	struct tensor *ghost = tensor_amend(q, t, RANK, by, &guess, NULL);
	struct tensor *lack = lack_of(t, q), *left;
	float zero[ROWS * COLS] = { 0 }, d[ROWS * COLS];
	double want = tail(lack, by), is;
	char text[64];

	assert_non_null(made);
	left = lack_of(t, made);
	tensor_decode(left, 0, ROWS, d);
	is = obs_error(d, zero, h, ROWS, COLS);
	if (!(fabs(is - want) <= 0.01 * want))
		fail_msg("%g is lost, not %g", is, want);
	assert_true(made->kid[0] == q);
	assert_int_equal(tensor_bytes(made), tensor_bytes(q) + 2 * RANK *
	    (ROWS + COLS));
	assert_int_equal(tensor_bytes(ghost), tensor_bytes(made));
	assert_int_equal(tensor_params(made), ROWS * COLS + RANK *
	    (ROWS + COLS));
	assert_int_equal(made->kid[1]->kid[0]->form, scale > 1e6 ? FORM_BF16 :
	    FORM_F16);
	tensor_describe(made, text, sizeof text);
	assert_string_equal(text, "int3+r5");
	tensor_unref(lack);
	tensor_unref(left);
	tensor_unref(made);
	tensor_unref(ghost);
}

static void
test_nearest(void **state)
{
	struct quant_spec spec = { QUANT_SYMMETRIC, 3, COLS, 0 };
	double h[COLS * COLS], one[COLS * COLS] = { 0 };
	float second[COLS * COLS];
	struct factor_metric by = { .second = second };
	struct rng r;

	rng_seed(&r, 4);
	obs_moments(&r, COLS, 200, 3, h);
	for (int i = 0; i < COLS * COLS; i++)
		second[i] = (float)h[i];
	for (int i = 0; i < COLS; i++)
		one[i * (COLS + 1)] = 1;
	/* The damp counts in the loss that the singular values tell. */
	for (int i = 0; i < COLS; i++) {
		double mean = 0;

		for (int k = 0; k < COLS; k++)
			mean += second[k * (COLS + 1)] / COLS;
		h[i * (COLS + 1)] += FACTOR_DAMP * mean;
	}
	for (int k = 0; k < 2; k++) {
		struct tensor *t = random_matrix(k == 0 ? 0.1 : 1e12);
		struct tensor *q = tensor_quantize(t, &spec, &real, NULL);

		check_loss(t, q, NULL, one, k == 0 ? 0.1 : 1e12);
		if (k == 0)
			check_loss(t, q, &by, h, 0.1);
		tensor_unref(t);
		tensor_unref(q);
	}
}

/* Nothing lacks: what is beside is nothing too. */
static void
test_nothing_lacks(void **state)
{
	struct tensor *t = random_matrix(1);
	struct tensor *made = tensor_amend(t, t, RANK, NULL, &real, NULL);
	float a[ROWS * COLS], b[ROWS * COLS];

	assert_non_null(made);
	tensor_decode(t, 0, ROWS, a);
	tensor_decode(made, 0, ROWS, b);
	assert_memory_equal(a, b, sizeof a);
	tensor_unref(made);
	tensor_unref(t);
}

/* ---- products ---- */

enum { MOST_ROWS = 70, MOST_SIDE = 130 };

/* What the kernel of the base gives, and the low rank in double precision. */
static void
check_product(const struct tensor *t, int64_t n, const float *x, const float *y)
{
	const struct tensor *low = t->kid[1];
	float *base = xcalloc((size_t)(n * t->rows), sizeof *base), *w;
	void *scratch = NULL;
	double largest = 0;

	assert_int_equal(posix_memalign(&scratch, 64, kernel_scratch(t->kid[0],
	    n) + 64), 0);
	kernel_matmul(t->kid[0], x, n, base, false, scratch);
	free(scratch);
	w = xcalloc((size_t)(t->rows * t->cols), sizeof *w);
	tensor_decode(low, 0, t->rows, w);
	for (int64_t i = 0; i < n * t->rows; i++)
		largest = fmax(largest, fabs(y[i]));
	for (int64_t i = 0; i < n; i++)
		for (int64_t r = 0; r < t->rows; r++) {
			double s = base[i * t->rows + r];

			for (int64_t c = 0; c < t->cols; c++)
				s += (double)x[i * t->cols + c] *
				    w[r * t->cols + c];
			if (!(fabs(s - y[i * t->rows + r]) <=
			    kernel_of(t, n)->tolerance * largest))
				fail_msg("%lld x %lld, n %lld: %g, not %g",
				    (long long)t->rows, (long long)t->cols,
				    (long long)n, (double)y[i * t->rows + r],
				    s);
		}
	free(base);
	free(w);
}

static struct tensor *
amended(int64_t rows, int64_t cols, int bits, bool scaled, uint64_t seed)
{
	struct quant_spec spec = { QUANT_SYMMETRIC, bits, cols, 8 };
	struct tensor *t, *q, *made;
	float *w, by[MOST_SIDE];
	struct rng r;

	rng_seed(&r, seed);
	t = tensor_new_f32(2, rows, cols, &w, NULL);
	for (int64_t i = 0; i < rows * cols; i++)
		w[i] = rng_normal(&r);
	for (int64_t i = 0; i < cols; i++)
		by[i] = 0.5f + (float)(i % 3);
	q = tensor_quantize(t, &spec, &real, NULL);
	made = scaled ? tensor_scale(q, by, &real, NULL) : tensor_ref(q);
	tensor_unref(q);
	q = tensor_amend(made, t, rows < 9 ? rows - 1 : 8, NULL, &real, NULL);
	assert_non_null(q);
	tensor_unref(made);
	tensor_unref(t);
	return q;
}

/* Codes that meet int8 activations, scaled ones, and both with a plain matrix in
 * one set, of few rows and of many. */
static void
test_products(void **state)
{
	static const int64_t side[][2] = { { 3, 17 }, { 33, 40 }, { 129, 67 },
		{ 64, 130 } };
	static const int64_t count[] = { 1, 2, 7, 16, 33, MOST_ROWS };
	float x[MOST_ROWS * MOST_SIDE], *y[3];
	struct rng r;

	rng_seed(&r, 2);
	for (int i = 0; i < MOST_ROWS * MOST_SIDE; i++)
		x[i] = rng_normal(&r);
	for (int k = 0; k < 3; k++)
		y[k] = xcalloc((size_t)MOST_ROWS * MOST_SIDE, sizeof *y[k]);
	for (int i = 0; i < 4; i++) {
		struct tensor *t[3];

		for (int k = 0; k < 3; k++)
			t[k] = amended(side[i][0], side[i][1], 2 << k, k == 1,
			    (uint64_t)k);
		for (int c = 0; c < 6; c++) {
			size_t bytes = kernel_products_scratch((const struct
			    tensor *const *)t, 3, count[c]);
			struct product set[3] = { { t[0], y[0], NULL },
				{ t[1], y[1], NULL }, { t[2], y[2], NULL } };
			void *scratch = NULL;

			assert_int_equal(posix_memalign(&scratch, 64, bytes),
			    0);
			kernel_products(set, 3, x, count[c], scratch);
			free(scratch);
			for (int k = 0; k < 3; k++)
				check_product(t[k], count[c], x, y[k]);
		}
		for (int k = 0; k < 3; k++)
			tensor_unref(t[k]);
	}
	for (int k = 0; k < 3; k++)
		free(y[k]);
}

/* ---- what is no tensor ---- */

static void
test_hostile(void **state)
{
	struct quant_spec spec = { QUANT_SYMMETRIC, 4, 0, 0 };
	struct tensor *t = random_matrix(1), *v, *low, *wide, *sum, *q, *scaled;
	float by[COLS], *w;

	for (int i = 0; i < COLS; i++)
		by[i] = 1;
	q = tensor_quantize(t, &spec, &real, NULL);
	scaled = tensor_scale(q, by, &real, NULL);
	low = tensor_factorize(t, 3, &real, NULL);
	sum = tensor_amend(q, t, 3, NULL, &real, NULL);
	v = tensor_new_f32(1, 1, COLS, &w, NULL);
	memset(w, 0, COLS * sizeof *w);
	wide = tensor_new_f32(2, ROWS, COLS + 1, &w, NULL);
	memset(w, 0, ROWS * (COLS + 1) * sizeof *w);
	const struct {
		enum form_kind form;
		struct tensor *a, *b;
		bool good;
	} list[] = {
		{ FORM_SUM, t, low, true }, { FORM_SUM, scaled, low, true },
		{ FORM_SUM, q, low, true }, { FORM_SUM, sum, low, false },
		{ FORM_SUM, low, low, false }, { FORM_SUM, low, t, false },
		{ FORM_SUM, wide, low, false }, { FORM_SUM, v, low, false },
		{ FORM_SCALED, q, low, false }, { FORM_SCALED, sum, v, false },
		{ FORM_SUM, q, sum, false }, { FORM_SUM, q, scaled, false },
		{ FORM_LOWRANK, sum, t, false }, { FORM_SUM, scaled, t, false },
	};

	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct tensor facts = { .form = list[i].form, .ndim = 2,
			.rows = ROWS, .cols = COLS };
		struct tensor *kid[2] = { tensor_ref(list[i].a),
			tensor_ref(list[i].b) };
		struct pare_err err = { 0 };
		struct tensor *made = tensor_new(&facts, NULL, kid, &err);

		if ((made != NULL) != list[i].good)
			fail_msg("pair %zu: %s", i, err.msg);
		assert_true(made != NULL || err.rc == PARE_EFORMAT);
		tensor_unref(made);
	}
	assert_null(tensor_amend(sum, t, 3, NULL, &real, NULL));
	assert_null(tensor_amend(low, t, 3, NULL, &real, NULL));
	assert_null(tensor_amend(q, t, COLS, NULL, &real, NULL));
	tensor_unref(t);
	tensor_unref(q);
	tensor_unref(scaled);
	tensor_unref(low);
	tensor_unref(sum);
	tensor_unref(v);
	tensor_unref(wide);
}

/* ---- the ops ---- */

/* A line, its estimate, and that they say the same of bytes and parameters. */
static struct model *
do_line(const struct model *m, const struct statistics *s, const char *line,
    char *note, size_t n)
{
	struct op_result r, est;
	struct pare_err err = { 0 };
	struct totals t;
	struct model *out;

	if (sample_run(op_estimate, m, line, NULL, &est, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	if (s != NULL)
		obs_do(m, s, line, &r);
	else if (sample_run(op_apply, m, line, NULL, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	account_totals(r.model, 16, true, &t);
	/* Scales that did not pay are left out. */
	if (strstr(line, "awq") == NULL ? est.after.bytes != t.bytes ||
	    est.after.params != t.params : est.after.bytes < t.bytes)
		fail_msg("%s: %lld bytes, estimated %lld", line,
		    (long long)t.bytes, (long long)est.after.bytes);
	assert_true(r.after.nonzero == t.nonzero && t.nonzero <= t.params);
	if (note != NULL)
		snprintf(note, n, "%s", r.note);
	out = model_ref(r.model);
	op_result_free(&est);
	op_result_free(&r);
	return out;
}

/* Saved, opened: the same model, ties and all, in as many bytes. */
static void
check_saved(const struct model *m)
{
	char *root = tiny_root(), *dir = str_format("%s/kept", root);
	struct model *back = NULL;
	struct pare_err err = { 0 };
	struct totals t;
	int64_t bytes = 0;

	if (file_save_model(m, dir, NULL, false, &bytes, NULL, NULL, &err) !=
	    PARE_OK || file_open_model(dir, NULL, &back, NULL, &err) !=
	    PARE_OK)
		fail_msg("%s", err.msg);
	assert_true(model_hash(back) == model_hash(m));
	account_totals(back, 16, false, &t);
	assert_int_equal(bytes, t.bytes);
	account_totals(m, 16, false, &t);
	assert_int_equal(bytes, t.bytes);
	model_unref(back);
	free(dir);
	tiny_root_free(root);
}

/* The errors that a note tells, in percent. */
static void
read_errors(const char *note, const char *fmt, double *was, double *is)
{
	int n;

	if (sscanf(note, fmt, &n, was, is) != 3)
		fail_msg("%s", note);
}

static void
test_residual(void **state)
{
	static const char *const how[] = { "", "weigh=inputs", "method=gptq",
	    "method=awq", "method=hqq", "clip=mse", "scheme=kmeans",
	    "scheme=kmeans weigh=inputs", "scheme=affine bias=correct",
	    "scheme=binary" };
	struct model *m = sample_real(&sample_models[0]), *made, *next;
	struct statistics *s = obs_statistics(m, 80);
	double was, is, plain = 0;
	char line[128], note[512];
	const struct tensor *t;

	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		bool weights = how[i][0] == '\0' || strstr(how[i], "hqq") ||
		    strcmp(how[i], "scheme=kmeans") == 0 ||
		    strcmp(how[i], "scheme=binary") == 0;

		snprintf(line, sizeof line, "quantize L* %s residual=4 %s",
		    strstr(how[i], "binary") ? "" : "bits=2", how[i]);
		made = do_line(m, s, line, note, sizeof note);
		read_errors(note, weights ? "squared error of %d matrices %lf "
		    "%% rounded to nearest, %lf %% now" : "output error of %d "
		    "matrices %lf %% rounded to nearest, %lf %% now", &was,
		    &is);
		assert_true(is < 0.95 * was);
		t = made->layer[1].t[SLOT_DOWN_W];
		assert_true(tensor_base(t) == t->kid[0]);
		assert_int_equal(tensor_rank(t->kid[1]), 4);
		check_saved(made);
		model_unref(made);
	}
	/* By what the outputs lose it is better for them than by the weights. */
	made = do_line(m, s, "quantize L* bits=2 residual=4 clip=mse", note,
	    sizeof note);
	read_errors(note, "output error of %d matrices %lf %% rounded to "
	    "nearest, %lf %% now", &was, &plain);
	model_unref(made);
	made = do_line(m, s, "quantize all bits=2 residual=4", NULL, 0);
	/* The head has two rows: codes alone. */
	assert_int_equal(made->t[SLOT_HOUT_W - SLOT_LAYER_COUNT]->form,
	    FORM_INT);
	check_saved(made);
	next = do_line(made, NULL, "prune heads 1 L0", NULL, 0);
	t = next->layer[0].t[SLOT_Q_W];
	assert_int_equal(t->rows, 24);
	assert_int_equal(t->kid[1]->kid[0]->rows, 24);
	model_unref(next);
	next = do_line(made, NULL, "prune neurons 50% L1", NULL, 0);
	t = next->layer[1].t[SLOT_DOWN_W];
	assert_int_equal(t->kid[1]->kid[1]->cols, 24);
	model_unref(next);
	/* Less is a second rounding; the codes that are there stay. */
	next = do_line(made, NULL, "quantize L* bits=1", NULL, 0);
	assert_int_equal(next->layer[0].t[SLOT_Q_W]->form, FORM_INT);
	model_unref(next);
	sample_refuse(made, "quantize L* bits=2", "smaller");
	sample_refuse(made, "factorize L0.q rank=2", "two tensors");
	next = do_line(made, NULL, "prune weights 50% L0", NULL, 0);
	model_unref(next);
	model_unref(made);
	statistics_free(s);
	model_unref(m);
}

/* m with zeros for half the weights of L0.q, in a matrix of floats as other
 * programs leave it. */
static struct model *
with_zeros(const struct model *m)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct model *out;
	struct tensor *t;
	float *w;

	t = tensor_new_f32(2, 32, 32, &w, NULL);
	for (int i = 0; i < 32 * 32; i++)
		w[i] = (float)(i % 2);
	edit_set(e, (struct slot_ref){ 0, SLOT_Q_W }, t);
	assert_int_equal(edit_commit(e, &out, NULL), PARE_OK);
	return out;
}

static void
test_residual_refused(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *made;

	sample_refuse(m, "quantize L* bits=16 residual=4", "cast");
	sample_refuse(m, "quantize L* bits=3 scheme=gobo residual=4", "gobo");
	sample_refuse(m, "quantize L* bits=3 residual=0", "residual");
	sample_refuse(m, "quantize L* bits=3 weigh=inputs", "kmeans");
	sample_refuse(m, "quantize L* bits=3 weigh=fisher residual=4",
	    "kmeans");
	sample_refuse(m, "quantize L* bits=3 weigh=inputs residual=4",
	    "role=calib");
	made = sample_do(m, "prune weights 70% L0.q");
	sample_refuse(made, "quantize L* bits=3 residual=4", "L0.attn.q");
	model_unref(made);
	made = with_zeros(m);
	sample_refuse(made, "quantize L* bits=3 residual=4", "sparse");
	model_unref(made);
	made = sample_do(m, "factorize L1.up rank=3");
	sample_refuse(made, "quantize L* bits=3 residual=4", "L1.ffn.up");
	model_unref(made);
	model_unref(m);
}

static bool
on_one_base(const struct model *m, enum slot slot)
{
	const struct tensor *base = tensor_base(m->layer[0].t[slot]);

	for (int l = 1; l < m->nlayers; l++)
		if (tensor_base(m->layer[l].t[slot]) != base)
			return false;
	return true;
}

static void
test_share(void **state)
{
	static const char *const lines[] = { "share L* difference=4",
	    "share L* difference=4 to=mean", "share L* difference=3 to=L1",
	    "share L* difference=4 part=ffn", "share L1.up to=L0.up "
	    "difference=4", "share L* difference=2 groups=2",
	    "share L* difference=4 weigh=inputs" };
	struct model *m = sample_real(&sample_models[0]), *made;
	struct statistics *s = obs_statistics(m, 80);
	struct totals before, after;
	double was, is;
	char note[512];

	account_totals(m, 16, false, &before);
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		made = do_line(m, s, lines[i], note, sizeof note);
		read_errors(note, strstr(lines[i], "weigh") != NULL ?
		    "output error of %d matrices %lf %% with shared weights "
		    "alone, %lf" : "squared error of %d matrices %lf %% with "
		    "shared weights alone, %lf", &was, &is);
		assert_true(is < was);
		if (i < 3)
			assert_true(on_one_base(made, SLOT_UP_W) &&
			    on_one_base(made, SLOT_Q_W));
		assert_true(made->layer[1].t[SLOT_UP_B] ==
		    m->layer[1].t[SLOT_UP_B]);
		check_saved(made);
		model_unref(made);
	}
	/* Bytes: of 3 layers of 4 matrices 32 x 32 and 2 of 48 x 32, one set
	 * and two of rank 4. */
	made = do_line(m, NULL, lines[0], NULL, 0);
	account_totals(made, 16, false, &after);
	assert_int_equal(before.bytes - after.bytes, 2 * (4 * (32 * 32 * 4 -
	    2 * 4 * 64) + 2 * (48 * 32 * 4 - 2 * 4 * 80)));
	model_unref(made);
	statistics_free(s);
	model_unref(m);
}

/* What is done to all alike leaves one base; the rest is said. */
static void
test_share_goes_on(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *made, *next;
	char note[512] = "";

	for (int k = 0; k < 2; k++) {
		made = sample_do(m, k == 0 ? "share L* difference=4" :
		    "share L* difference=4 to=mean");
		next = do_line(made, NULL, "quantize L* bits=4", NULL, 0);
		assert_true(on_one_base(next, SLOT_UP_W));
		assert_int_equal(tensor_base(next->layer[1].t[SLOT_UP_W])->
		    form, FORM_INT);
		check_saved(next);
		model_unref(next);
		next = do_line(made, NULL, "quantize L* bits=16", NULL, 0);
		assert_true(on_one_base(next, SLOT_UP_W));
		model_unref(next);
		next = do_line(made, NULL, "prune neurons 50%", NULL, 0);
		assert_true(on_one_base(next, SLOT_UP_W));
		assert_true(on_one_base(next, SLOT_DOWN_W));
		assert_int_equal(next->layer[2].t[SLOT_UP_W]->kid[1]->rows,
		    next->layer[2].ffn);
		check_saved(next);
		model_unref(next);
		next = do_line(made, NULL, "prune heads 1 L0", note,
		    sizeof note);
		assert_non_null(strstr(note, "no longer share"));
		check_saved(next);
		model_unref(next);
		sample_refuse(made, "quantize L* bits=3 method=hqq", "shared");
		sample_refuse(made, "quantize L* bits=3 residual=2", "shared");
		model_unref(made);
	}
	/* The base may be codes that were there before. */
	made = sample_do(m, "quantize L* bits=4");
	next = do_line(made, NULL, "share L* difference=2", NULL, 0);
	assert_true(on_one_base(next, SLOT_UP_W));
	check_saved(next);
	model_unref(next);
	sample_refuse(made, "share L* difference=30", "bytes");
	model_unref(made);
	sample_refuse(m, "share L* difference=32", "all there is");
	sample_refuse(m, "share L0.h1 to=L0.h0 difference=2", "heads");
	sample_refuse(m, "share L* weigh=inputs", "difference");
	sample_refuse(m, "share L* difference=2 weigh=inputs", "role=calib");
	made = sample_do(m, "quantize L* bits=2 residual=2");
	sample_refuse(made, "share L* difference=2", "beside");
	next = do_line(made, NULL, "share L*", NULL, 0);
	check_saved(next);
	model_unref(next);
	model_unref(made);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_nothing_lacks),
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_residual),
		cmocka_unit_test(test_residual_refused),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_share_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
