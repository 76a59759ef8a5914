/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products with every form against decoding and multiplying in double
 * precision, within the tolerance its row of kernel_table[] names. */
#include "kernel_fix.h"

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

/* Both ways of putting a product, with the level of instructions of now. */
static void
check_level(const struct tensor *t, const char *name, int64_t n,
    const float *x, const double *want, const float *old, float *y)
{
	int64_t m = n * t->rows;
	float tolerance = kernel_of(t, n)->tolerance;
	double largest = 0;

	for (int64_t i = 0; i < m; i++)
		largest = fmax(largest, fabs(want[i]));
	for (int add = 0; add < 2; add++) {
		memcpy(y, old, (size_t)m * sizeof(*old));
		multiply(t, x, n, y, add != 0);
		for (int64_t i = 0; i < m; i++) {
			double d = want[i] + (add ? old[i] : 0) - y[i];
			double most = fmax(largest, add ? 4 : 0);

			if (!(fabs(d) <= tolerance * most))
				fail_msg("%s %lld x %lld, n %lld, %s: off by "
				    "%g of %g", name, (long long)t->rows,
				    (long long)t->cols, (long long)n,
				    cpu_level_name(cpu_level()), d, most);
		}
	}
}

/* With every level that is here. */
static void
check(const struct tensor *t, const char *name, int64_t n)
{
	float *w = naive_decode(t), *x = random_floats(n * t->cols, 3);
	double *want = naive_matmul(t, w, x, n);
	float *old = random_floats(n * t->rows, 4);
	float *y = malloc((size_t)(n * t->rows) * sizeof(*y));

	assert_non_null(y);
	for (int k = 0; k <= (int)cpu_detected(); k++) {
		cpu_limit((enum cpu_level)k);
		check_level(t, name, n, x, want, old, y);
	}
	cpu_limit(CPU_LEVELS - 1);
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

/* Every number of rows, of columns and of rows of x around what a kernel takes
 * at once. One thread: to wake another takes longer. */
static void
every_size_multiplies(void **state)
{
	int threads = kernel_threads();

	kernel_set_threads(1);
	for (int v = 0; v < FIX_VARIANTS; v++)
		for (int64_t k = 1; k <= 67; k++) {
			const struct fix_variant *f = &fix_variants[v];
			struct tensor *t = fix_make(f, k, 40, 6, NULL);

			check(t, f->name, 1 + k % 5);
			check(t, f->name, 29 + k % 7);
			tensor_unref(t);
			t = fix_make(f, 21, k, 6, NULL);
			check(t, f->name, 1 + k % 4);
			check(t, f->name, 33);
			tensor_unref(t);
		}
	kernel_set_threads(threads);
}

static void
every_count_multiplies(void **state)
{
	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 19, 36, 6, NULL);

		for (int64_t n = 1; n <= 67; n++)
			check(t, fix_variants[v].name, n);
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
		t = fix_make(&fix_variants[v], 301, 1040, 6, NULL);
		for (int k = 1; k <= 3; k += 2) {
			kernel_set_threads(k);
			assert_int_equal(kernel_threads(), k);
			check(t, fix_variants[v].name, 1);
			check(t, fix_variants[v].name, 7);
			check(t, fix_variants[v].name, 45);
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

/* ---- sparse ---- */

/* From almost nothing to almost all left, in matrices of several parts and
 * panels: every way to multiply them is met. */
static void
every_sparsity_multiplies(void **state)
{
	static const double share[] = { 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7,
		0.95 };
	static const int64_t n[] = { 1, 3, 4, 5, 12, 20, 29, 48, 96, 130 };
	static const enum form_kind cast[] = { FORM_F32, FORM_F16, FORM_BF16,
		FORM_F32 };
	const struct kernel *met[KERNEL_ROWS + 1] = { NULL };
	int threads = kernel_threads(), rows = 0;

	kernel_set_threads(1);
	for (int i = 0; i < 8 * 4; i++) {
		struct fix_variant v = { .name = "sparse",
			.share = share[i / 4], .cast = cast[i % 4],
			.quant.scheme = QUANT_SYMMETRIC,
			.quant.bits = i % 4 == 3 ? 8 : 0 };
		struct tensor *t;

		t = fix_make(&v, 53, 301 + i, 6, NULL);
		for (int k = 0; k < 10; k++) {
			const struct kernel *use = kernel_of(t, n[k]);
			int j = 0;

			check(t, v.name, n[k]);
			while (t->form == FORM_BITMAP && met[j] != NULL &&
			    met[j] != use)
				j++;
			met[j] = t->form == FORM_BITMAP ? use : met[j];
		}
		tensor_unref(t);
	}
	while (met[rows] != NULL)
		rows++;
	assert_true(rows >= (cpu_detected() == CPU_SCALAR ? 3 : 4));
	kernel_set_threads(threads);
}

/* Rows without a value, and a matrix without any. */
static void
empty_rows_multiply(void **state)
{
	uint8_t mask[40 * 70] = { 0 };
	struct tensor *f = fix_random(2, 40, 70, 1), *t;

	for (int k = 0; k < 2; k++) {
		t = tensor_sparsify(f, mask, 0, &fix_real, NULL);
		assert_non_null(t);
		check(t, "empty", 1);
		check(t, "empty", 6);
		check(t, "empty", 100);
		tensor_unref(t);
		for (int i = 0; i < 70; i++)
			mask[11 * 70 + i] = mask[39 * 70 + i] = 1;
	}
	tensor_unref(f);
}

/* ---- sets of products ---- */

/* Adds 1000 * row + col to each value, so that one that is met twice or never
 * is seen. */
static void
end_adds(const struct product_end *e, float *y, int64_t ldy, int64_t row,
    int64_t rows, int64_t col, int64_t cols)
{
	for (int64_t i = 0; i < rows; i++)
		for (int64_t c = 0; c < cols; c++)
			y[i * ldy + c] += (float)(1000 * (row + i) + col + c);
}

static const struct product_end adding = { end_adds };

/* y against the product alone and, where there was an end, what that adds. */
static void
check_set(const struct product *p, const float *x, int64_t n)
{
	int64_t rows = p->t->rows;
	float *w = naive_decode(p->t);
	double *want = naive_matmul(p->t, w, x, n);

	for (int64_t i = 0; i < n * rows; i++) {
		double add = p->end == NULL ? 0 : (double)(1000 * (i / rows) +
		    i % rows);

		if (fabs(want[i] + add - p->y[i]) > 1e-4 * (5 + add))
			fail_msg("%lld x %lld, n %lld: %g instead of %g",
			    (long long)rows, (long long)p->t->cols,
			    (long long)n, p->y[i], want[i] + add);
	}
	free(w);
	free(want);
}

static void
run_set(struct product *p, int count, int64_t n)
{
	const struct tensor *t[16];
	float *x = random_floats(n * p[0].t->cols, 8);
	void *scratch = NULL;
	size_t bytes;

	for (int i = 0; i < count; i++)
		t[i] = p[i].t;
	bytes = kernel_products_scratch(t, count, n);
	assert_int_equal(posix_memalign(&scratch, 64, bytes + 1), 0);
	kernel_products(p, count, x, n, scratch);
	for (int i = 0; i < count; i++)
		check_set(&p[i], x, n);
	free(scratch);
	free(x);
}

/* Tensors of several forms with one x: low-rank ones have a stage of their own,
 * more than eight take two rounds, and matrices of few rows are cut along x. */
static void
sets_multiply(void **state)
{
	static const char *const names[] = { "f32", "lowrank f32", "f16",
		"lowrank int8", "bitmap f32", "lowrank table4" };
	static const int64_t n[] = { 1, 5, 33, 300 };
	struct product p[11];

	for (int k = 0; k < 11; k++) {
		int v = 0;

		while (v < FIX_VARIANTS - 1 && strcmp(fix_variants[v].name,
		    names[k % 6]) != 0)
			v++;
		p[k].t = fix_make(&fix_variants[v], k % 4 == 1 ? 3 : 61 + k,
		    90, 6, NULL);
		p[k].y = malloc((size_t)(300 * p[k].t->rows) * sizeof(float));
		p[k].end = k % 3 == 2 ? NULL : &adding;
		assert_non_null(p[k].y);
	}
	for (int i = 0; i < 4; i++) {
		run_set(p, 11, n[i]);
		run_set(p + 1, 1, n[i]);
#pragma omp parallel num_threads(2)
		{
#pragma omp critical
			run_set(p, 3, n[i]);
		}
	}
	for (int k = 0; k < 11; k++) {
		tensor_unref((struct tensor *)p[k].t);
		free(p[k].y);
	}
}

/* Panels sum each value in one order, whatever the number of threads, of rows
 * of x and of instructions; so do dot products. */
static void
results_depend_on_numbers_alone(void **state)
{
	struct tensor *t = fix_random(2, 130, 1100, 3);
	float *x = random_floats(64 * 1100, 1);
	float *a = malloc(64 * 130 * 4), *b = malloc(64 * 130 * 4);
	int threads = kernel_threads();
	int64_t few[] = { 1, 3, 8 }, many[] = { 29, 40, 64 };

	if (cpu_detected() == CPU_SCALAR)
		skip();
	multiply(t, x, 8, a, false);
	for (int i = 0; i < 6; i++)
		for (int k = (int)CPU_AVX2; k <= (int)cpu_detected(); k++) {
			int64_t n = i < 3 ? few[i] : many[i - 3];

			if (i == 3)
				multiply(t, x, 64, a, false);
			kernel_set_threads(1 + k % 3);
			cpu_limit((enum cpu_level)k);
			multiply(t, x, n, b, false);
			assert_memory_equal(a, b, (size_t)(n * 130) * 4);
		}
	cpu_limit(CPU_LEVELS - 1);
	kernel_set_threads(threads);
	free(x);
	free(a);
	free(b);
	tensor_unref(t);
}

static void
levels_are_a_ladder(void **state)
{
	enum cpu_level have = cpu_detected();

	assert_int_equal(cpu_level(), have);
	assert_int_equal(cpu_limit(CPU_SCALAR), CPU_LEVELS - 1);
	assert_int_equal(cpu_level(), CPU_SCALAR);
	assert_int_equal(cpu_detected(), have);
	for (int i = 0; i < CPU_EXTRAS; i++)
		assert_false(cpu_has((enum cpu_extra)i));
	assert_int_equal(cpu_limit(CPU_LEVELS - 1), CPU_SCALAR);
	for (int i = 0; i < CPU_LEVELS; i++)
		assert_non_null(cpu_level_name((enum cpu_level)i));
}

/* At most a panel of the matrix is unpacked, and x is turned round once. */
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
			    (size_t)kernel_threads() * (400 << 10) +
			    (size_t)(t->kid[0] != NULL ? 2 : 1) *
			    ((size_t)(n[i] + 31) * 700 * 4 + (1 << 18)));
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
		cmocka_unit_test(every_size_multiplies),
		cmocka_unit_test(every_count_multiplies),
		cmocka_unit_test(tiles_join),
		cmocka_unit_test(results_repeat),
		cmocka_unit_test(every_sparsity_multiplies),
		cmocka_unit_test(empty_rows_multiply),
		cmocka_unit_test(sets_multiply),
		cmocka_unit_test(results_depend_on_numbers_alone),
		cmocka_unit_test(levels_are_a_ladder),
		cmocka_unit_test(scratch_is_a_tile),
		cmocka_unit_test(threads_stay_in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
