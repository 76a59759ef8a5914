/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Quantization: the formulas, error bounds, means, what is kept and refused. */
#include "tensor_fix.h"

static struct tensor *
quantize(const struct tensor *t, enum quant_scheme scheme, int bits,
    int64_t group)
{
	struct quant_spec spec = { scheme, bits, group, 0 };
	struct tensor *q = tensor_quantize(t, &spec, &fix_real, NULL);

	assert_non_null(q);
	return q;
}

static unsigned
code_at(const struct tensor *q, int64_t r, int64_t c)
{
	int64_t row = (q->cols * q->code.bits + 7) / 8 * 8;

	return naive_code(q->part[PART_DATA].p, r * row + c * q->code.bits,
	    q->code.bits);
}

static float
scale_at(const struct tensor *q, int64_t g)
{
	return (float)naive_half(((const uint16_t *)q->part[PART_SCALE].p)[g]) *
	    q->code.mult;
}

/* Q8BERT's symmetric rule: q = clamp(round(w M / max|w|), -M, M), with
 * M = 2^(b-1) - 1, the scale rounded to float16. */
static void
symmetric_follows_the_formula(void **state)
{
	struct tensor *t = fix_random(2, 31, 48, 1);
	const float *w = tensor_f32(t);

	for (int bits = 2; bits <= 8; bits++) {
		struct tensor *q = quantize(t, QUANT_SYMMETRIC, bits, 16);
		int top = (1 << (bits - 1)) - 1;

		for (int64_t g = 0; g < 31 * 3; g++) {
			float most = 0, step = scale_at(q, g);

			for (int i = 0; i < 16; i++)
				most = fmaxf(most, fabsf(w[g * 16 + i]));
			assert_true(fabs(step * top / most - 1) < 0x1p-11);
			for (int i = 0; i < 16; i++) {
				double x = rint(w[g * 16 + i] / step);
				int c = (int)code_at(q, g / 3,
				    g % 3 * 16 + i) - top - 1;

				x = fmax(-top, fmin(top, x));
				assert_int_equal(c, (int)x);
			}
		}
		tensor_unref(q);
	}
	tensor_unref(t);
}

static void
one_bit_is_sign_and_mean(void **state)
{
	struct tensor *t = fix_random(2, 5, 40, 2), *q;
	const float *w = tensor_f32(t);

	q = quantize(t, QUANT_SYMMETRIC, 1, -1);
	for (int r = 0; r < 5; r++) {
		double mean = 0;
		float row[40];

		for (int c = 0; c < 40; c++)
			mean += fabs(w[r * 40 + c]) / 40;
		tensor_decode(q, r, 1, row);
		for (int c = 0; c < 40; c++) {
			assert_true(signbit(row[c]) == signbit(w[r * 40 + c]));
			assert_true(fabs(fabs(row[c]) / mean - 1) < 0x1p-11);
		}
	}
	tensor_unref(q);
	tensor_unref(t);
}

/* Where the range is far from zero, its minimum must not be lost to rounding. */
static void
errors_stay_within_half_a_step(void **state)
{
	static const float shift[] = { 0, 1, -40, 3e4f, 1e-30f };
	static const float size[] = { 1, 0.01f, 1e-30f, 1e30f };

	for (int i = 0; i < 5 * 4 * 2 * 8; i++) {
		int bits = i % 8 + 1, affine = i / 8 % 2;
		struct tensor *t = fix_random(2, 6, 64, 3), *q;
		float *w = (float *)tensor_f32(t), row[64];

		if (!affine && bits == 1) {
			tensor_unref(t);
			continue;
		}
		for (int j = 0; j < 6 * 64; j++)
			w[j] = w[j] * size[i / 16 % 4] + shift[i / 64];
		q = quantize(t, affine ? QUANT_AFFINE : QUANT_SYMMETRIC, bits,
		    32);
		for (int r = 0; r < 6; r++) {
			tensor_decode(q, r, 1, row);
			for (int c = 0; c < 64; c++) {
				double step = scale_at(q, r * 2 + c / 32);
				double e = fabs((double)row[c] - w[r * 64 + c]);
				double eps = 4e-7 * fabs(w[r * 64 + c]);

				assert_true(e <= step * 0.5000001 + eps);
			}
		}
		tensor_unref(q);
		tensor_unref(t);
	}
}

static void
affine_spans_the_range(void **state)
{
	struct tensor *t = fix_random(2, 9, 64, 4), *q;
	float *w = (float *)tensor_f32(t);

	for (int i = 0; i < 9 * 64; i++)
		w[i] = fabsf(w[i]) + 0.2f;
	q = quantize(t, QUANT_AFFINE, 4, -1);
	for (int r = 0; r < 9; r++) {
		float lo = INFINITY, hi = -INFINITY, row[64];
		unsigned least = 15, most = 0;

		tensor_decode(q, r, 1, row);
		for (int c = 0; c < 64; c++) {
			unsigned k = code_at(q, r, c);

			lo = fminf(lo, w[r * 64 + c]);
			hi = fmaxf(hi, w[r * 64 + c]);
			least = k < least ? k : least;
			most = k > most ? k : most;
		}
		assert_int_equal(least, 0);
		assert_int_equal(most, 15);
		assert_true(fabs(scale_at(q, r) * 15 / (hi - lo) - 1) < 0.01);
	}
	tensor_unref(q);
	tensor_unref(t);
}

/* Quantizing what was quantized changes nothing. */
static void
symmetric_and_tables_are_idempotent(void **state)
{
	static const struct quant_spec spec[] = {
		{ QUANT_SYMMETRIC, 8, -1, 0 }, { QUANT_SYMMETRIC, 4, 16, 0 },
		{ QUANT_SYMMETRIC, 3, 0, 0 }, { QUANT_SYMMETRIC, 1, -1, 0 },
		{ QUANT_KMEANS, 4, 0, 0 }, { QUANT_KMEANS, 3, -1, 0 },
		{ QUANT_BINARY, 1, 0, 0 },
	};
	struct tensor *t = fix_random(2, 37, 48, 5);

	for (size_t i = 0; i < sizeof(spec) / sizeof(spec[0]); i++) {
		struct tensor *a, *b, *f;
		float *x, *y;

		a = tensor_quantize(t, &spec[i], &fix_real, NULL);
		f = tensor_to_f32(a, NULL);
		b = tensor_quantize(f, &spec[i], &fix_real, NULL);
		x = fix_decode(a);
		y = fix_decode(b);
		assert_memory_equal(x, y, 37 * 48 * 4);
		tensor_unref(b);
		free(y);
		/* Straight from codes to codes, too. */
		b = tensor_quantize(a, &spec[i], &fix_real, NULL);
		y = fix_decode(b);
		assert_memory_equal(x, y, 37 * 48 * 4);
		free(x);
		free(y);
		tensor_unref(a);
		tensor_unref(b);
		tensor_unref(f);
	}
	tensor_unref(t);
}

static double
square_error(const struct tensor *t, const struct tensor *q)
{
	float *a = fix_decode(t), *b = fix_decode(q);
	double e = 0;

	for (int64_t i = 0; i < t->rows * t->cols; i++)
		e += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	free(a);
	free(b);
	return e;
}

static void
more_bits_mean_less_error(void **state)
{
	struct tensor *t = fix_random(2, 64, 96, 6);

	for (int s = QUANT_SYMMETRIC; s <= QUANT_KMEANS; s++) {
		double last = INFINITY;

		for (int bits = 2; bits <= 8; bits++) {
			struct tensor *q = quantize(t, (enum quant_scheme)s,
			    bits, 0);
			double e = square_error(t, q);

			assert_true(e < last);
			last = e;
			tensor_unref(q);
		}
	}
	tensor_unref(t);
}

static void
means_beat_even_steps(void **state)
{
	struct tensor *t = fix_random(2, 100, 700, 7), *u, *k;

	u = quantize(t, QUANT_SYMMETRIC, 3, 0);
	k = quantize(t, QUANT_KMEANS, 3, 0);
	assert_true(square_error(t, k) < 0.6 * square_error(t, u));
	/* Eight means of a normal: the best quantizer's distortion is 0.03454
	 * of the variance. */
	assert_true(square_error(t, k) / (70000 * 0.0025) < 0.0365);
	tensor_unref(u);
	tensor_unref(k);
	tensor_unref(t);
}

/* Each value has the nearest mean, each mean is the mean of its values. */
static void
means_are_a_fixed_point(void **state)
{
	struct tensor *t = fix_random(2, 20, 60, 8);

	for (int bits = 1; bits <= 5; bits++) {
		struct tensor *q = quantize(t, QUANT_KMEANS, bits, 0);
		const float *table = q->part[PART_TABLE].p;
		double sum[32] = { 0 };
		int64_t n[32] = { 0 };

		for (int64_t i = 0; i < 1200; i++) {
			float w = tensor_f32(t)[i];
			unsigned c = code_at(q, i / 60, i % 60);

			for (int k = 0; k < 1 << bits; k++)
				assert_true(fabsf(w - table[c]) <=
				    fabsf(w - table[k]) + 1e-8f);
			sum[c] += w;
			n[c]++;
		}
		for (int k = 0; k < 1 << bits; k++) {
			assert_true(k == 0 || table[k] >= table[k - 1]);
			if (n[k] > 0)
				assert_true(fabs(sum[k] / (double)n[k] -
				    table[k]) < 2e-4);
		}
		tensor_unref(q);
	}
	tensor_unref(t);
}

/* The error of the best split, by trying all of them. */
static double
brute_two_means(const float *v, int n)
{
	double best = INFINITY;

	for (int i = 0; i < n; i++) {
		double s[2] = { 0 }, q[2] = { 0 }, e = 0;
		int m[2] = { 0 };

		for (int j = 0; j < n; j++) {
			int k = v[j] > v[i];

			s[k] += v[j];
			q[k] += (double)v[j] * v[j];
			m[k]++;
		}
		for (int k = 0; k < 2; k++)
			if (m[k] > 0)
				e += q[k] - s[k] * s[k] / m[k];
		best = fmin(best, e);
	}
	return best;
}

static void
binary_is_the_best_split(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct tensor *t = fix_random(2, 1, 75, seed), *q;
		float *w = (float *)tensor_f32(t);
		double e;

		/* Lopsided, too: that is where Lloyd's steps get stuck. */
		for (int i = 0; i < 75 && seed % 2; i++)
			w[i] = expf(40 * w[i]);
		q = quantize(t, QUANT_BINARY, 1, 0);
		e = square_error(t, q);
		assert_true(e <= brute_two_means(w, 75) * (1 + 1e-5));
		tensor_unref(q);
		tensor_unref(t);
	}
}

/* Sizes around each way of sorting, and ties. */
static void
means_survive_any_size(void **state)
{
	static const int64_t size[] = { 1, 2, 3, 47, 49, 300, 16383, 16385,
		65537, 300000 };

	for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		struct tensor *t = fix_random(1, 1, size[i], 9), *q;
		float *w = (float *)tensor_f32(t);
		double e, plain;

		q = quantize(t, QUANT_KMEANS, 4, 0);
		e = square_error(t, q);
		tensor_unref(q);
		q = quantize(t, QUANT_SYMMETRIC, 4, 0);
		plain = square_error(t, q);
		assert_true(e <= plain + 1e-12);
		tensor_unref(q);
		for (int64_t j = 0; j < size[i]; j++)
			w[j] = (float)(j % 3) - 1;
		q = quantize(t, QUANT_KMEANS, 2, 0);
		assert_true(square_error(t, q) == 0);
		tensor_unref(q);
		tensor_unref(t);
	}
}

/* The number of threads sorts the same. */
static void
means_do_not_depend_on_threads(void **state)
{
	struct tensor *t = fix_random(2, 600, 1000, 10), *a, *b;
	int threads = kernel_threads();

	kernel_set_threads(1);
	a = quantize(t, QUANT_KMEANS, 5, 0);
	kernel_set_threads(3);
	b = quantize(t, QUANT_KMEANS, 5, 0);
	kernel_set_threads(threads);
	assert_true(tensor_hash(a) == tensor_hash(b));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(t);
}

/* A sparse matrix keeps its mask; groups go by the original columns. */
static void
sparse_ones_keep_their_mask(void **state)
{
	struct tensor *t = fix_random(2, 12, 32, 11), *s, *q;
	uint8_t *mask = fix_mask(12 * 32, 0.5, 1);
	float out[32];

	memset(mask + 3 * 32, 0, 32);
	memset(mask + 5 * 32 + 8, 0, 8);
	s = tensor_sparsify(t, mask, 0, &fix_real, NULL);
	assert_int_equal(s->form, FORM_BITMAP);
	for (int affine = 0; affine < 2; affine++) {
		q = quantize(s, affine ? QUANT_AFFINE : QUANT_SYMMETRIC, 5, 8);
		assert_int_equal(q->form, FORM_BITMAP);
		assert_int_equal(q->values, FORM_INT);
		assert_int_equal(q->stored, s->stored);
		assert_ptr_equal(q->part[PART_MASK].p, s->part[PART_MASK].p);
		for (int r = 0; r < 12; r++) {
			tensor_decode(q, r, 1, out);
			for (int c = 0; c < 32; c++) {
				float w = tensor_f32(t)[r * 32 + c];
				double step = scale_at(q, r * 4 + c / 8);

				if (mask[r * 32 + c])
					assert_true(fabs(out[c] - w) <=
					    step * 0.500001 + 1e-8);
				else
					assert_true(out[c] == 0);
			}
		}
		/* Empty groups have a scale of nothing. */
		assert_true(scale_at(q, 5 * 4 + 1) == 0);
		tensor_unref(q);
	}
	q = quantize(s, QUANT_KMEANS, 3, 0);
	assert_true(square_error(s, q) < 0.05 * 12 * 16 * 0.0025);
	tensor_unref(q);
	tensor_unref(s);
	free(mask);
	tensor_unref(t);
}

static void
zeros_and_constants_are_exact(void **state)
{
	static const float value[] = { 0, -0.0f, 1, -3.5f, 1e-20f };

	for (int i = 0; i < 5 * 4; i++) {
		enum quant_scheme s = (enum quant_scheme)(i % 4);
		struct tensor *t = fix_random(2, 4, 8, 1), *q;
		float *w = (float *)tensor_f32(t), *out;

		for (int j = 0; j < 32; j++)
			w[j] = value[i / 4];
		q = quantize(t, s, s == QUANT_BINARY ? 1 : 4, -1);
		out = fix_decode(q);
		for (int j = 0; j < 32; j++)
			assert_true(fabsf(out[j] - w[j]) <=
			    fabsf(w[j]) * 0x1p-11f);
		free(out);
		tensor_unref(q);
		tensor_unref(t);
	}
}

/* The ends of float32 decode to something finite. */
static void
extremes_stay_finite(void **state)
{
	static const float big[] = { 3.4028235e38f, 1e38f, 1e-38f, 1e-44f };

	for (int i = 0; i < 4 * 3 * 8; i++) {
		enum quant_scheme s = (enum quant_scheme)(i % 3);
		struct tensor *t = fix_random(2, 2, 8, 1), *q;
		float *w = (float *)tensor_f32(t), *out;

		w[0] = big[i / 3 % 4];
		w[1] = -w[0];
		w[9] = w[0];
		q = quantize(t, s, i / 12 + 1, -1);
		out = fix_decode(q);
		for (int j = 0; j < 16; j++)
			assert_true(isfinite(out[j]));
		free(out);
		tensor_unref(q);
		tensor_unref(t);
	}
}

static void
what_cannot_be_coded_is_refused(void **state)
{
	static const struct quant_spec bad[] = {
		{ QUANT_SYMMETRIC, 0, -1, 0 }, { QUANT_SYMMETRIC, 9, -1, 0 },
		{ QUANT_BINARY, 2, -1, 0 }, { QUANT_AFFINE, 4, 7, 0 },
		{ QUANT_AFFINE, 4, 64, 0 }, { QUANT_AFFINE, 4, -2, 0 },
	};
	static const float infinite[] = { NAN, INFINITY, -INFINITY };
	struct tensor *t = fix_random(2, 6, 32, 1);
	struct pare_err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(tensor_quantize(t, &bad[i], &fix_real, &err));
		assert_int_equal(err.rc, PARE_EUSER);
		assert_null(tensor_quantize(t, &bad[i], &fix_guess, &err));
	}
	assert_null(tensor_quantize(t, &bad[3], &fix_real, &err));
	assert_non_null(strstr(err.msg, "6 x 32"));
	for (int i = 0; i < 3 * 8; i++) {
		struct quant_spec spec = { (enum quant_scheme)(i % 4), 1,
			i / 4 % 2 ? -1 : 0, 0 };

		((float *)tensor_f32(t))[100] = infinite[i / 8];
		assert_null(tensor_quantize(t, &spec, &fix_real, &err));
		assert_int_equal(err.rc, PARE_EUSER);
		assert_non_null(strstr(err.msg, "not finite"));
	}
	tensor_unref(t);
}

static void
cancel_and_no_memory_leave_nothing(void **state)
{
	struct task task = { .cancel = true };
	struct transform_ctx ctx = { .task = &task };
	struct pare_err err;

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 7, 33, 4, NULL);

		for (int s = 0; s < 8; s++) {
			struct quant_spec spec = { (enum quant_scheme)(s % 4),
				1, s / 4 ? -1 : 0, 0 };
			struct tensor *q = NULL;
			long n;

			assert_null(tensor_quantize(t, &spec, &ctx, &err));
			assert_int_equal(err.rc, PARE_ECANCELED);
			for (n = 1; q == NULL; n++) {
				mem_fail_at(n);
				q = tensor_quantize(t, &spec, &fix_real, &err);
				mem_fail_at(0);
				if (q == NULL)
					assert_int_equal(err.rc, PARE_ENOMEM);
				assert_true(n < 20);
			}
			assert_true(n > 2);
			tensor_unref(q);
		}
		tensor_unref(t);
	}
}

static void
casts_convert_and_count(void **state)
{
	struct pare_err err;

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 7, 33, 4, NULL);

		for (int f = FORM_F32; f <= FORM_BF16; f++) {
			struct tensor *c, *g;
			float *a, *b;

			c = tensor_cast(t, (enum form_kind)f, &fix_real, &err);
			if (t->form == FORM_LOWRANK) {
				assert_null(c);
				assert_int_equal(err.rc, PARE_EUSER);
				continue;
			}
			g = tensor_cast(t, (enum form_kind)f, &fix_guess, &err);
			assert_non_null(c);
			fix_same_facts(g, c);
			/* A low rank beside floats stays. */
			if (tensor_base(c) != c) {
				assert_int_equal(tensor_base(c)->values, f);
				assert_true(c->kid[1] == t->kid[1]);
				tensor_unref(c);
				tensor_unref(g);
				continue;
			}
			assert_int_equal(c->values, f);
			a = fix_decode(t);
			b = fix_decode(c);
			for (int i = 0; i < 7 * 33; i++)
				assert_true(b[i] == (f == FORM_F16 ?
				    half_to_float(half_from_float(a[i])) :
				    f == FORM_BF16 ? bfloat_to_float(
				    bfloat_from_float(a[i])) : a[i]));
			free(a);
			free(b);
			tensor_unref(c);
			tensor_unref(g);
		}
		tensor_unref(t);
	}
}

/* What float16 rounds to zero is counted alike in estimates. */
static void
underflow_is_foreseen(void **state)
{
	struct tensor *t = fix_random(2, 8, 8, 1), *c, *g;
	float *w = (float *)tensor_f32(t);

	w[3] = 1e-10f;
	w[9] = -1e-20f;
	w[11] = 0;
	c = tensor_cast(t, FORM_F16, &fix_real, NULL);
	g = tensor_cast(t, FORM_F16, &fix_guess, NULL);
	assert_int_equal(tensor_nonzero(c), 61);
	fix_same_facts(g, c);
	tensor_unref(c);
	tensor_unref(g);
	/* A weight rounded to zero by codes is not a pruned one. */
	c = quantize(t, QUANT_SYMMETRIC, 2, 0);
	assert_int_equal(tensor_nonzero(c), 63);
	tensor_unref(c);
	tensor_unref(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symmetric_follows_the_formula),
		cmocka_unit_test(one_bit_is_sign_and_mean),
		cmocka_unit_test(errors_stay_within_half_a_step),
		cmocka_unit_test(affine_spans_the_range),
		cmocka_unit_test(symmetric_and_tables_are_idempotent),
		cmocka_unit_test(more_bits_mean_less_error),
		cmocka_unit_test(means_beat_even_steps),
		cmocka_unit_test(means_are_a_fixed_point),
		cmocka_unit_test(binary_is_the_best_split),
		cmocka_unit_test(means_survive_any_size),
		cmocka_unit_test(means_do_not_depend_on_threads),
		cmocka_unit_test(sparse_ones_keep_their_mask),
		cmocka_unit_test(zeros_and_constants_are_exact),
		cmocka_unit_test(extremes_stay_finite),
		cmocka_unit_test(what_cannot_be_coded_is_refused),
		cmocka_unit_test(cancel_and_no_memory_leave_nothing),
		cmocka_unit_test(casts_convert_and_count),
		cmocka_unit_test(underflow_is_foreseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
