/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products in bfloat16: on tiles of AMX in plain C, in plain C, and with
 * AVX-512 BF16 where that is, at odd sizes against double precision. One part
 * against the product of rounded x, two parts against that of the floats.
 */
#define CODE_TILE_PLAIN 1
#define bf16_tile_multiply plain_tile_multiply
#define bf16_tile_end plain_tile_end
#include "tensor/kernel_bf16_amx.c"

#include "kernel_fix.h"

/* Of sums in float32 of products of bfloat16, which are exact; and what split
 * products promise. */
#define SUM_TOLERANCE 2e-6
#define SPLIT_TOLERANCE 1e-5
/* Of one product at worst. */
#define SPLIT_WORST 0x1p-15

static const int64_t counts[] = { 1, 5, 16, 17, 32, 33, 70, 131 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static const struct {
	int64_t rows, cols;
} shapes[] = { { 1, 1 }, { 3, 31 }, { 12, 32 }, { 16, 33 }, { 17, 64 },
	{ 29, 127 }, { 32, 128 }, { 33, 129 }, { 45, 300 }, { 64, 1024 },
	{ 40, 1025 }, { 7, 2055 }, { 97, 96 } };
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void
put_plain(const float *sum, int64_t tokens, int64_t rows, float *y,
    int64_t ldy, bool add)
{
	bf16_level_scalar.put(sum, tokens, rows, y, ldy, add);
}

static const struct bf16_level tiles = {
	.rows = BF16_TILE_ROWS, .unit = 16, .multiply = plain_tile_multiply,
	.put = put_plain, .end = plain_tile_end
};

#if CPU_X86
static const struct bf16_level wide = {
	.rows = 12, .unit = 4, .multiply = bf16_multiply_avx512,
	.put = put_plain
};
#endif

/* Those that are here; NULL behind the last. */
static const struct bf16_level *
level_at(int i)
{
	if (i == 0)
		return &bf16_level_scalar;
	if (i == 1)
		return &tiles;
#if CPU_X86
	if (i == 2 && cpu_has(CPU_BF16))
		return &wide;
#endif
	return NULL;
}

static void *
lines(size_t bytes)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 64, bytes), 0);
	return p;
}

/* x as its first part alone. */
static float *
rounded(const float *x, int64_t n)
{
	float *out = malloc((size_t)n * sizeof(*out));

	assert_non_null(out);
	for (int64_t i = 0; i < n; i++)
		out[i] = bfloat_to_float(bfloat_from_float(x[i]));
	return out;
}

/* One level, one way, in the pieces that it wants. */
static void
check_run(const struct bf16_level *v, const struct tensor *t, int parts,
    const struct kernel_x *x, const double *want, const float *old)
{
	const double most = parts == 1 ? SUM_TOLERANCE :
	    t->cols >= BF16_COLS ? SPLIT_TOLERANCE : SPLIT_WORST;
	void *scratch = lines(bf16_scratch(v, t, parts));
	const int64_t panel = bf16_panel(v, t, parts);
	size_t n = (size_t)(x->n * t->rows);
	float *y = malloc(n * sizeof(*y));

	assert_non_null(y);
	for (int add = 0; add < 2; add++) {
		memcpy(y, old, n * sizeof(*y));
		for (int64_t r = 0; r < t->rows; r += panel)
			bf16_run(v, t, x, parts, r, r + panel < t->rows ?
			    r + panel : t->rows, y + r, t->rows, add != 0,
			    scratch);
		assert_false(bf16_configured);
		close_to(t, want, add ? old : NULL, y, x->n, most,
		    v == &tiles ? "tiles" : v == &bf16_level_scalar ? "plain" :
		    "AVX-512");
	}
	free(scratch);
	free(y);
}

static void
check(const struct tensor *t, int parts, int64_t n)
{
	enum prep_kind kind = parts == 1 ? PREP_BF16 : PREP_BF16_SPLIT;
	struct tensor *f = fix_random(2, n, t->cols, 9);
	struct tensor *old = fix_random(2, n, t->rows, 8);
	float *w = naive_decode(t), *r = rounded(tensor_f32(f), n * t->cols);
	struct kernel_x x = { .f = tensor_f32(f), .n = n, .cols = t->cols };
	void *prep = lines(prep_bytes(kind, n, t->cols));
	double *want = naive_matmul(t, w, parts == 1 ? r : x.f, n);

	prep_point(kind, prep, &x);
	prep_make(kind, &x, 0, n);
	for (int i = 0; level_at(i) != NULL; i++)
		check_run(level_at(i), t, parts, &x, want, tensor_f32(old));
	free(prep);
	free(want);
	free(w);
	free(r);
	tensor_unref(f);
	tensor_unref(old);
}

static void
each_shape(bool cast, int parts)
{
	for (int i = 0; i < SHAPES; i++) {
		struct tensor *f = fix_random(2, shapes[i].rows,
		    shapes[i].cols, 5);
		struct tensor *t = cast ? tensor_cast(f, FORM_BF16, &fix_real,
		    NULL) : tensor_ref(f);

		assert_non_null(t);
		for (int c = 0; c < COUNTS; c++)
			check(t, parts, counts[c]);
		tensor_unref(t);
		tensor_unref(f);
	}
}

static void
one_part_is_exact_but_for_sums(void **state)
{
	each_shape(true, 1);
}

static void
two_parts_stay_within_their_bound(void **state)
{
	each_shape(false, 2);
}

/* Every number and what is left of it, in two parts: 2^-17 of it at most, on all
 * levels the same but for what is under the smallest normal number. */
static void
parts_add_up(void **state)
{
	enum { N = 4099 };
	float *v = malloc(N * sizeof(*v));
	uint16_t high[N], low[N];
	struct rng r;

	assert_non_null(v);
	rng_seed(&r, 3);
	for (int i = 0; i < N; i++)
		v[i] = ldexpf(rng_normal(&r), i % 80 - 40);
	v[7] = 0;
	for (int k = 0; k <= (int)cpu_detected(); k++) {
		cpu_limit((enum cpu_level)k);
		bf16_split(v, N, high, low);
		for (int i = 0; i < N; i++) {
			double a = bfloat_to_float(high[i]);
			double d = v[i] - a - bfloat_to_float(low[i]);

			assert_int_equal(high[i], bfloat_from_float(v[i]));
			assert_true(fabs(d) <= 0x1p-17 * fabs(v[i]));
		}
	}
	cpu_limit(CPU_LEVELS - 1);
	free(v);
}

/* The setting chooses: exact is the float32 product of BF16, fast is within the
 * tolerance of its kernel and, where there are instructions, another one. */
static void
precision_chooses(void **state)
{
	const int64_t n = 64, rows = 96, cols = 300;
	struct tensor *f = fix_random(2, rows, cols, 5);
	struct tensor *t = tensor_cast(f, FORM_BF16, &fix_real, NULL);
	struct tensor *x = fix_random(2, n, cols, 6);
	float *w = naive_decode(t), *y = malloc((size_t)(n * rows) * 4);
	double *want = naive_matmul(t, w, tensor_f32(x), n);
	uint64_t exact, fast;

	assert_int_equal(kernel_set_precision(KERNEL_EXACT), KERNEL_FAST);
	exact = kernel_ways();
	assert_true(kernel_of(t, n)->prep != PREP_BF16);
	multiply(t, tensor_f32(x), n, y, false);
	close_to(t, want, NULL, y, n, 2e-5, "exact");
	kernel_set_precision(KERNEL_FAST);
	fast = kernel_ways();
	multiply(t, tensor_f32(x), n, y, false);
	close_to(t, want, NULL, y, n, (double)kernel_of(t, n)->tolerance,
	    "fast");
	assert_int_equal(fast != exact, kernel_of(t, n)->prep == PREP_BF16);
	tensor_unref(t);
	tensor_unref(f);
	f = fix_random(2, rows, BF16_COLS - 1, 5);
	t = tensor_cast(f, FORM_BF16, &fix_real, NULL);
	assert_true(kernel_of(t, n)->prep != PREP_BF16);
	free(w);
	free(y);
	free(want);
	tensor_unref(f);
	tensor_unref(t);
	tensor_unref(x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_part_is_exact_but_for_sums),
		cmocka_unit_test(two_parts_stay_within_their_bound),
		cmocka_unit_test(parts_add_up),
		cmocka_unit_test(precision_chooses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
