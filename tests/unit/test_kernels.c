/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products with every form against decoding and multiplying in double
 * precision, within the tolerance its row of kernel_table[] names. */
#include "tensor_fix.h"

static const int64_t counts[] = { 1, 2, 3, 4, 5, 33, 70 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static float *
random_floats(int64_t n, uint64_t seed)
{
	float *p = malloc((size_t)n * sizeof(*p));
	struct rng rng;

	assert_non_null(p);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < n; i++)
		p[i] = rng_normal(&rng);
	return p;
}

/* y = x W^T as tensor/kernel.h defines it. */
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

/* Scratch of exactly the size asked for, so that a sanitizer sees more. */
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

static void
check(const struct tensor *t, const char *name, int64_t n)
{
	float *w = naive_decode(t), *x = random_floats(n * t->cols, 3);
	double *want = naive_matmul(t, w, x, n), largest = 0;
	float *y = random_floats(n * t->rows, 4);
	float *old = malloc((size_t)(n * t->rows) * sizeof(*old));
	int64_t m = n * t->rows;

	memcpy(old, y, (size_t)m * sizeof(*old));
	for (int64_t i = 0; i < m; i++)
		largest = fmax(largest, fabs(want[i]));
	for (int add = 0; add < 2; add++) {
		multiply(t, x, n, y, add != 0);
		for (int64_t i = 0; i < m; i++) {
			double d = want[i] + (add ? old[i] : 0) - y[i];
			double most = fmax(largest, add ? 4 : 0);

			if (fabs(d) > kernel_of(t, n)->tolerance * most)
				fail_msg("%s %lld x %lld, n %lld: off by %g of "
				    "%g", name, (long long)t->rows,
				    (long long)t->cols, (long long)n, d, most);
		}
		memcpy(y, old, (size_t)m * sizeof(*old));
	}
	free(w);
	free(x);
	free(want);
	free(y);
	free(old);
}

static void
every_form_multiplies(void **state)
{
	for (int v = 0; v < FIX_VARIANTS; v++)
		for (int i = 0; i < FIX_SIZES; i++) {
			struct tensor *t = fix_make(&fix_variants[v],
			    fix_sizes[i].rows, fix_sizes[i].cols, 6, NULL);

			for (int c = 0; c < COUNTS; c++)
				check(t, fix_variants[v].name, counts[c]);
			tensor_unref(t);
		}
}

/* Matrices of several tiles, on one thread and on three. */
static void
tiles_join(void **state)
{
	int threads = kernel_threads();

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t;

		if (fix_variants[v].rank > 0)
			continue;
		t = fix_make(&fix_variants[v], 301, 520, 6, NULL);
		for (int k = 1; k <= 3; k += 2) {
			kernel_set_threads(k);
			assert_int_equal(kernel_threads(), k);
			check(t, fix_variants[v].name, 1);
			check(t, fix_variants[v].name, 7);
		}
		tensor_unref(t);
	}
	kernel_set_threads(threads);
}

/* The same call gives the same bits. */
static void
results_repeat(void **state)
{
	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 129, 65, 6, NULL);
		float *x = random_floats(33 * 65, 1);
		float *a = malloc(33 * 129 * 4), *b = malloc(33 * 129 * 4);

		for (int c = 0; c < 6; c++) {
			multiply(t, x, counts[c], a, false);
			multiply(t, x, counts[c], b, false);
			assert_memory_equal(a, b,
			    (size_t)(counts[c] * 129) * 4);
		}
		free(x);
		free(a);
		free(b);
		tensor_unref(t);
	}
}

/* At most a tile of the matrix is unpacked. */
static void
scratch_is_a_tile(void **state)
{
	static const int64_t n[] = { 1, 128, 4096 };

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t;

		if (fix_variants[v].rank > 0)
			continue;
		t = fix_make(&fix_variants[v], 600, 700, 6, NULL);
		for (int i = 0; i < 3; i++)
			assert_true(kernel_scratch(t, n[i]) <=
			    (size_t)kernel_threads() * (400 << 10) + (1 << 18));
		tensor_unref(t);
	}
}

static void
threads_stay_in_range(void **state)
{
	int threads = kernel_threads();

	assert_true(threads >= 1);
	kernel_set_threads(0);
	assert_int_equal(kernel_threads(), 1);
	kernel_set_threads(100000);
	assert_int_equal(kernel_threads(), 256);
	kernel_set_threads(threads);
	assert_non_null(strstr(kernel_blas_name(), "OpenBLAS"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_multiplies),
		cmocka_unit_test(tiles_join),
		cmocka_unit_test(results_repeat),
		cmocka_unit_test(scratch_is_a_tile),
		cmocka_unit_test(threads_stay_in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
