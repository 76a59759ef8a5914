/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPTQ against the plain method that it is a fast form of: one weight after the
 * other is fixed, and the rest takes up the loss by the inverse of the moments
 * of what is left, inverted anew each time.
 */
#include "plain_obs.h"

#include <math.h>

#include "ops/gptq.h"
#include "tensor/transform.h"

enum { ROWS = 6, COLS = 12, SEEN = 90 };

/* The value on the grid of row r that is nearest to v, by trying all. */
static double
nearest(const struct tensor *grid, int64_t r, int64_t c, double v, int *code)
{
	int bits = grid->code.bits;
	int64_t g = r * (COLS / grid->code.group) + c / grid->code.group;
	double best = INFINITY, value = 0, step, low;

	for (int k = 0; k < 1 << bits && grid->form == FORM_TABLE; k++) {
		double at = ((const float *)grid->part[PART_TABLE].p)[
		    (g << bits) + k];

		if (fabs(v - at) < best) {
			best = fabs(v - at);
			value = at;
			*code = k;
		}
	}
	if (grid->form == FORM_TABLE)
		return value;
	step = half_to_float(((const uint16_t *)
	    grid->part[PART_SCALE].p)[g]) * grid->code.mult;
	low = grid->code.scheme == CODE_AFFINE ? half_to_float(
	    ((const uint16_t *)grid->part[PART_MIN].p)[g]) *
	    grid->code.mult : 0;
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
		obs_eliminate(a, e, n);
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
	float *w, *f;

	rng_seed(&r, seed);
	t = tensor_new_f32(2, ROWS, COLS, &w, &err);
	for (int i = 0; i < ROWS * COLS; i++)
		w[i] = rng_normal(&r);
	obs_moments(&r, COLS, SEEN, 4, h);
	grid = tensor_quantize(t, &spec, &ctx, &err);
	assert_non_null(grid);
	f = obs_floats(h, COLS * COLS);
	assert_int_equal(gptq_solve(w, grid, f, code, &err), PARE_OK);
	free(f);
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
	if (changed <= 3 - 2 * (scheme >= QUANT_KMEANS))
		fail_msg("scheme %d: %d codes changed", scheme, changed);
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
		check(QUANT_KMEANS, 2, COLS, seed);
		check(QUANT_BINARY, 1, COLS, seed);
	}
}

/* Through the op: less error than rounding, on the same scales, in as many
 * bytes; and what cannot be is said. */
static void
test_op(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *rtn;
	struct statistics *s = obs_statistics(m, 80);
	struct op_result r;
	double was, is;

	sample_refuse(m, "quantize L* bits=3 method=gptq", "role=calib");
	sample_refuse(m, "quantize L* bits=16 method=gptq", "no codes");
	rtn = sample_do(m, "quantize all bits=3");
	obs_do(m, s, "quantize all bits=3 method=gptq", &r);
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
