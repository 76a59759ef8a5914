/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPTQ against the plain method that it is a fast form of: one weight after the
 * other is fixed, and the rest takes up the loss by the inverse of the moments
 * of what is left, inverted anew each time.
 */
#include "made_data.h"

#include <math.h>

#include "measure/calibrate.h"
#include "ops/gptq.h"
#include "tensor/transform.h"

enum { ROWS = 6, COLS = 12, SEEN = 90 };

/* X'X / n of correlated columns; one column is always 0. */
static void
fill_moments(struct rng *r, double *h)
{
	double x[COLS];

	memset(h, 0, COLS * COLS * sizeof *h);
	for (int s = 0; s < SEEN; s++) {
		double common = rng_normal(r);

		for (int c = 0; c < COLS; c++)
			x[c] = c == 4 ? 0 : (1 + c % 3) * (rng_normal(r) +
			    common);
		for (int i = 0; i < COLS * COLS; i++)
			h[i] += x[i / COLS] * x[i % COLS] / SEEN;
	}
}

/* Solves a y = b for n unknowns by elimination, in place. */
static void
eliminate(double *a, double *b, int n)
{
	for (int i = 0; i < n; i++) {
		for (int k = i + 1; k < n; k++) {
			double f = a[k * n + i] / a[i * n + i];

			for (int j = i; j < n; j++)
				a[k * n + j] -= f * a[i * n + j];
			b[k] -= f * b[i];
		}
	}
	for (int i = n - 1; i >= 0; i--) {
		for (int j = i + 1; j < n; j++)
			b[i] -= a[i * n + j] * b[j];
		b[i] /= a[i * n + i];
	}
}

/* The value on the grid of row r that is nearest to v, by trying all. */
static double
nearest(const struct tensor *grid, int64_t r, int64_t c, double v, int *code)
{
	int bits = grid->code.bits;
	int64_t g = r * (COLS / grid->code.group) + c / grid->code.group;
	double step = half_to_float(((const uint16_t *)
	    grid->part[PART_SCALE].p)[g]) * grid->code.mult;
	double low = grid->code.scheme == CODE_AFFINE ? half_to_float(
	    ((const uint16_t *)grid->part[PART_MIN].p)[g]) *
	    grid->code.mult : 0, best = INFINITY, value = 0;

	for (int k = grid->code.scheme == CODE_AFFINE ? 0 : 1; k < 1 << bits;
	    k++) {
		double at = grid->code.scheme == CODE_AFFINE ? low + step * k :
		    step * (k - (1 << (bits - 1)));

		if (fabs(v - at) < best) {
			best = fabs(v - at);
			value = at;
			*code = k;
		}
	}
	return value;
}

/* Fixing weight j of those not yet fixed: the others move by the column j of
 * their inverse moments. */
static void
plain_row(const float *w, const struct tensor *grid, const double *h,
    int64_t r, int *code)
{
	double v[COLS], mean = 0;
	bool fixed[COLS] = { false };

	for (int c = 0; c < COLS; c++) {
		mean += h[c * COLS + c] / COLS;
		v[c] = h[c * COLS + c] == 0 ? 0 : w[r * COLS + c];
	}
	for (int step = 0; step < COLS; step++) {
		double a[COLS * COLS], e[COLS] = { 0 }, loss;
		int left[COLS], n = 0, j = -1, at = 0;

		for (int c = 0; c < COLS; c++)
			if (!fixed[c] && (j < 0 || h[c * COLS + c] >
			    h[j * COLS + j]))
				j = c;
		for (int c = 0; c < COLS; c++)
			if (!fixed[c])
				left[n++] = c;
		for (int i = 0; i < n; i++) {
			for (int k = 0; k < n; k++)
				a[i * n + k] = h[left[i] * COLS + left[k]];
			a[i * n + i] += a[i * n + i] == 0 ? 1 : 0.01 * mean;
			at = left[i] == j ? i : at;
		}
		e[at] = 1;
		eliminate(a, e, n);
		loss = v[j] - nearest(grid, r, j, v[j], &code[j]);
		for (int i = 0; i < n; i++)
			v[left[i]] -= loss / e[at] * e[i];
		fixed[j] = true;
	}
}

static void
check(enum quant_scheme scheme, int bits, int64_t group, uint64_t seed)
{
	struct quant_spec spec = { .scheme = scheme, .bits = bits,
		.group = group, .act = 8 };
	struct transform_ctx ctx = { .seed = 1 };
	struct pare_err err = { 0 };
	struct tensor *t, *grid;
	double h[COLS * COLS];
	uint8_t code[ROWS * COLS];
	int changed = 0;
	struct rng r;
	float *w;

	rng_seed(&r, seed);
	t = tensor_new_f32(2, ROWS, COLS, &w, &err);
	for (int i = 0; i < ROWS * COLS; i++)
		w[i] = rng_normal(&r);
	fill_moments(&r, h);
	grid = tensor_quantize(t, &spec, &ctx, &err);
	assert_non_null(grid);
	assert_int_equal(gptq_solve(w, grid, h, code, &err), PARE_OK);
	for (int64_t i = 0; i < ROWS; i++) {
		int want[COLS], plain;

		plain_row(w, grid, h, i, want);
		for (int c = 0; c < COLS; c++) {
			nearest(grid, i, c, w[i * COLS + c], &plain);
			changed += plain != want[c];
			if (code[i * COLS + c] != want[c])
				fail_msg("(%d, %d): %d, expected %d", (int)i,
				    c, code[i * COLS + c], want[c]);
		}
	}
	assert_true(changed > 3);
	tensor_unref(grid);
	tensor_unref(t);
}

static void
test_plain(void **state)
{
	for (uint64_t seed = 1; seed < 6; seed++) {
		check(QUANT_SYMMETRIC, 3, COLS, seed);
		check(QUANT_SYMMETRIC, 4, 4, seed);
		check(QUANT_AFFINE, 2, 6, seed);
	}
}

/* Through the op: less error than rounding, on the same scales, in as many
 * bytes; and what cannot be is said. */
static void
test_op(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *rtn;
	struct dataset *d = made_data(80);
	struct op_calib c = { 0 };
	struct statistics *s;
	struct sample_line l;
	struct pare_err err = { 0 };
	struct op_result r;
	bool gram[3 * MOMENTS_PLACES];
	double was, is;

	sample_refuse(m, "quantize L* bits=3 method=gptq", "role=calib");
	sample_refuse(m, "quantize L* bits=3 scheme=kmeans method=gptq",
	    "even grid");
	memset(gram, 1, sizeof gram);
	assert_int_equal(calibrate_statistics(m, d, 0, gram, &s, NULL, &err),
	    PARE_OK);
	c.statistics = s;
	rtn = sample_do(m, "quantize all bits=3");
	assert_int_equal(sample_parse("quantize all bits=3 method=gptq", &l,
	    &err), PARE_OK);
	assert_int_equal(op_apply(l.op, &(struct op_input){ .model = m,
	    .args = &l.args, .calib = &c }, 16, &r, &err), PARE_OK);
	sample_line_free(&l);
	if (sscanf(r.note, "output error of 18 matrices %lf %% rounded to "
	    "nearest, %lf %% now", &was, &is) != 2)
		fail_msg("%s", r.note);
	assert_true(is < 0.8 * was);
	assert_non_null(strstr(r.note, "inputs are not gathered"));
	for (int k = 0; k < SLOT_LAYER_COUNT; k++) {
		const struct tensor *a = rtn->layer[1].t[k];
		const struct tensor *b = r.model->layer[1].t[k];

		if (a == NULL || a->form != FORM_INT)
			continue;
		assert_int_equal(tensor_bytes(a), tensor_bytes(b));
		assert_memory_equal(a->part[PART_SCALE].p,
		    b->part[PART_SCALE].p, a->part[PART_SCALE].n);
		assert_true(tensor_hash(a) != tensor_hash(b));
	}
	op_result_free(&r);
	statistics_free(s);
	model_unref(rtn);
	made_data_free(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_op),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
