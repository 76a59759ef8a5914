/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products of codes with int8 activations: every scheme, number of bits and kind
 * of group at odd sizes. Against a plain product with x as it was rounded, whose
 * integers are exact, on every level of instructions this machine has; the
 * levels against each other bit by bit; and against exact x within the tolerance
 * of the table.
 */
#include "tensor/kernel_code.h"
#include "tensor_fix.h"

/* Of the largest |y|: sums of floats in another order. */
static const double tight = 2e-5;

struct shape {
	int64_t rows, cols, group;	/* group -1: one a row */
};

static const struct shape shapes[] = {
	{ 1, 1, -1 }, { 3, 5, 0 }, { 7, 33, 11 }, { 33, 64, 1 },
	{ 31, 66, 2 }, { 40, 63, 3 }, { 5, 96, 32 }, { 70, 192, 64 },
	{ 17, 100, 20 }, { 129, 65, -1 }, { 2, 300, 100 }, { 64, 256, 128 },
	{ 35, 768, 64 }, { 65, 127, 0 }, { 9, 4100, -1 }, { 3, 9000, 4500 },
	{ 4, 8256, 16 }, { 3, 8235, 5 }, { 2, 5002, 2501 }, { 2, 4104, 2052 },
	{ 3, 520, 4 }, { 33, 1024, 512 }
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static const int64_t counts[] = { 1, 2, 3, 4, 5, 6, 7, 13, 33 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static struct tensor *
make(struct shape s, enum quant_scheme scheme, int bits, int act)
{
	struct tensor *f = fix_random(2, s.rows, s.cols, (uint64_t)bits + 11);
	struct quant_spec spec = { scheme, bits, s.group, act };
	struct tensor *t = tensor_quantize(f, &spec, &fix_real, NULL);

	assert_non_null(t);
	assert_int_equal(t->code.act, act);
	tensor_unref(f);
	return t;
}

static float *
random_x(int64_t n, uint64_t seed)
{
	float *p = malloc((size_t)n * sizeof(*p));
	struct rng rng;

	assert_non_null(p);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < n; i++)
		p[i] = rng_normal(&rng);
	return p;
}

/* Through the dispatcher, with scratch of exactly the size asked for. */
static void
multiply(const struct tensor *t, const float *x, int64_t n, float *y, bool add)
{
	size_t bytes = kernel_scratch(t, n);
	void *scratch = NULL;

	if (bytes > 0)
		assert_int_equal(posix_memalign(&scratch, 64, bytes), 0);
	kernel_matmul(t, x, n, y, add, scratch);
	free(scratch);
}

/* ---- the naive twin ---- */

/* Rounded as the header says, by the C library. */
static float *
naive_round(const float *x, int64_t n, int64_t cols)
{
	float *out = malloc((size_t)(n * cols) * sizeof(*out));

	assert_non_null(out);
	for (int64_t i = 0; i < n; i++) {
		float most = 0;

		for (int64_t c = 0; c < cols; c++)
			most = fmaxf(most, fabsf(x[i * cols + c]));
		for (int64_t c = 0; c < cols; c++)
			out[i * cols + c] = most / 127.0f *
			    nearbyintf(x[i * cols + c] * (127.0f / most));
	}
	return out;
}

/* Values as the product sees them: those of tables as int8 of the group's
 * largest. */
static void
round_tables(const struct tensor *t, float *w)
{
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++) {
			const float *table = (const float *)
			    t->part[PART_TABLE].p +
			    (naive_group(t, r, c) << t->code.bits);
			float most = 0, *at = w + r * t->cols + c;

			for (int i = 0; i < 1 << t->code.bits; i++)
				most = fmaxf(most, fabsf(table[i]));
			*at = most / 127.0f *
			    nearbyintf(*at * (127.0f / most));
		}
}

static double *
naive_matmul(const struct tensor *t, const float *w, const float *x, int64_t n)
{
	double *y = malloc((size_t)(n * t->rows) * sizeof(*y));

	assert_non_null(y);
	for (int64_t i = 0; i < n; i++)
		for (int64_t r = 0; r < t->rows; r++) {
			double s = 0;

			for (int64_t c = 0; c < t->cols; c++)
				s += (double)x[i * t->cols + c] *
				    w[r * t->cols + c];
			y[i * t->rows + r] = s;
		}
	return y;
}

static void
close_to(const struct tensor *t, const double *want, const float *old,
    const float *y, int64_t n, double tolerance, const char *what)
{
	double most = old != NULL ? 4 : 0;
	char text[64];

	tensor_describe(t, text, sizeof(text));
	for (int64_t i = 0; i < n * t->rows; i++)
		most = fmax(most, fabs(want[i]));
	for (int64_t i = 0; i < n * t->rows; i++) {
		double d = want[i] + (old != NULL ? old[i] : 0) - y[i];

		if (!(fabs(d) <= tolerance * most))
			fail_msg("%s of %lld x %lld, n %lld, %s: off by %g of "
			    "%g at %lld", text, (long long)t->rows,
			    (long long)t->cols, (long long)n, what, d, most,
			    (long long)i);
	}
}

/* ---- all kinds ---- */

struct kind {
	enum quant_scheme scheme;
	int bits;
};

static const struct kind kinds[] = {
	{ QUANT_SYMMETRIC, 1 }, { QUANT_SYMMETRIC, 2 }, { QUANT_SYMMETRIC, 3 },
	{ QUANT_SYMMETRIC, 4 }, { QUANT_SYMMETRIC, 5 }, { QUANT_SYMMETRIC, 6 },
	{ QUANT_SYMMETRIC, 7 }, { QUANT_SYMMETRIC, 8 }, { QUANT_AFFINE, 1 },
	{ QUANT_AFFINE, 2 }, { QUANT_AFFINE, 3 }, { QUANT_AFFINE, 4 },
	{ QUANT_AFFINE, 5 }, { QUANT_AFFINE, 6 }, { QUANT_AFFINE, 7 },
	{ QUANT_AFFINE, 8 }, { QUANT_BINARY, 1 }, { QUANT_KMEANS, 1 },
	{ QUANT_KMEANS, 2 }, { QUANT_KMEANS, 3 }, { QUANT_KMEANS, 4 },
	{ QUANT_KMEANS, 5 }, { QUANT_KMEANS, 6 }, { QUANT_KMEANS, 7 },
	{ QUANT_KMEANS, 8 }
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* One tensor with n rows of x on every level. */
static void
check(const struct tensor *t, const float *w, const float *exact, int64_t n)
{
	int64_t m = n * t->rows;
	float *x = random_x(n * t->cols, 3), *old = random_x(m, 4);
	float *q = naive_round(x, n, t->cols);
	double *want = naive_matmul(t, w, q, n);
	double *whole = naive_matmul(t, exact, x, n);
	float *y = malloc((size_t)m * sizeof(*y));
	float *first = malloc((size_t)m * 2 * sizeof(*y));

	for (int level = 0; level <= (int)cpu_detected(); level++) {
		cpu_limit((enum cpu_level)level);
		multiply(t, x, n, y, false);
		close_to(t, want, NULL, y, n, tight, cpu_level_name(level));
		if (m >= 16)	/* so that the largest |y| is a large one */
			close_to(t, whole, NULL, y, n,
			    kernel_of(t, n)->tolerance, "exact x");
		if (level == 0)
			memcpy(first, y, (size_t)m * sizeof(*y));
		assert_memory_equal(first, y, (size_t)m * sizeof(*y));
		memcpy(y, old, (size_t)m * sizeof(*y));
		multiply(t, x, n, y, true);
		close_to(t, want, old, y, n, tight, "added");
		if (level == 0)
			memcpy(first + m, y, (size_t)m * sizeof(*y));
		assert_memory_equal(first + m, y, (size_t)m * sizeof(*y));
	}
	cpu_limit(CPU_LEVELS - 1);
	free(x);
	free(old);
	free(q);
	free(want);
	free(whole);
	free(y);
	free(first);
}

static void
every_kind_multiplies(void **state)
{
	for (int k = 0; k < KINDS; k++)
		for (int s = 0; s < SHAPES; s++) {
			struct tensor *t = make(shapes[s], kinds[k].scheme,
			    kinds[k].bits, 8);
			float *w = naive_decode(t), *exact = naive_decode(t);
			bool few = shapes[s].cols > 2000;

			if (t->values == FORM_TABLE)
				round_tables(t, w);
			for (int c = 0; c < (few ? 3 : COUNTS); c++)
				check(t, w, exact, counts[few ? 3 * c : c]);
			free(w);
			free(exact);
			tensor_unref(t);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_multiplies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
