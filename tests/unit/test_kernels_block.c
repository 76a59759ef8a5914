/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products of GGUF's blocks: every type at odd sizes, with one and many rows of
 * x, on every level of instructions this machine has. Against a plain product of
 * the decoded blocks with x as it was rounded, whose integers are exact; against
 * exact x within the tolerance of the table; and with float activations.
 */
#include "tensor/kernel_block.h"
#include "kernel_fix.h"

/* Of the largest |y|: sums of floats in another order. */
static const double tight = 2e-5;

static const int64_t counts[] = { 1, 2, 3, 4, 5, 6, 7, 13, 33 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

/* Columns in blocks. */
struct shape {
	int64_t rows, blocks;
};
static const struct shape small_shapes[] = { { 1, 1 }, { 3, 2 }, { 33, 3 },
	{ 31, 8 }, { 70, 13 }, { 129, 24 }, { 5, 65 }, { 34, 130 } };
static const struct shape large_shapes[] = { { 1, 1 }, { 3, 2 }, { 33, 3 },
	{ 70, 5 }, { 31, 8 }, { 5, 9 }, { 34, 17 } };
enum {
	SMALL = sizeof(small_shapes) / sizeof(small_shapes[0]),
	LARGE = sizeof(large_shapes) / sizeof(large_shapes[0])
};

/* Where the float16 scales of a block are; -1: none. */
static const int halves[BLOCK_KINDS][2] = {
	[BLOCK_Q4_0] = { 0, -1 }, [BLOCK_Q4_1] = { 0, 2 },
	[BLOCK_Q5_0] = { 0, -1 }, [BLOCK_Q5_1] = { 0, 2 },
	[BLOCK_Q8_0] = { 0, -1 }, [BLOCK_Q2_K] = { 80, 82 },
	[BLOCK_Q3_K] = { 108, -1 }, [BLOCK_Q4_K] = { 0, 2 },
	[BLOCK_Q5_K] = { 0, 2 }, [BLOCK_Q6_K] = { 208, -1 },
	[BLOCK_IQ4_NL] = { 0, -1 }, [BLOCK_IQ4_XS] = { 0, -1 },
	[BLOCK_MXFP4] = { -1, -1 }, [BLOCK_IQ3_S] = { 0, -1 }
};

/* Blocks of random bits with scales of about 1 to 2. */
static void
fill_block(enum block_kind kind, struct rng *rng, uint8_t *p)
{
	for (int i = 0; i < block_table[kind].bytes; i++)
		p[i] = (uint8_t)rng_next(rng);
	for (int i = 0; i < 2; i++)
		if (halves[kind][i] >= 0) {
			uint16_t h = half_from_float((float)(1 +
			    rng_uniform(rng)));

			memcpy(p + halves[kind][i], &h, 2);
		}
	if (kind == BLOCK_MXFP4)
		p[0] = (uint8_t)(126 + p[0] % 4);
}

static struct tensor *
make(enum block_kind kind, struct shape s, int act)
{
	const struct block_facts *f = &block_table[kind];
	size_t bytes = (size_t)(s.rows * s.blocks * f->bytes);
	struct tensor facts = { .form = FORM_BLOCK, .values = FORM_BLOCK,
		.ndim = 2, .rows = s.rows, .cols = s.blocks * f->values,
		.stored = s.rows * s.blocks * f->values };
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, *t;
	uint8_t *p = malloc(bytes);
	struct pare_err err;
	struct rng rng;

	facts.code.block = (uint8_t)kind;
	facts.code.act = (uint8_t)act;
	atomic_init(&facts.nonzero, -1);
	rng_seed(&rng, (uint64_t)kind + 9);
	for (int64_t i = 0; i < s.rows * s.blocks; i++)
		fill_block(kind, &rng, p + i * f->bytes);
	parts[PART_DATA] = (struct part) { blob_heap(p, bytes), p, bytes };
	t = tensor_new(&facts, parts, kid, &err);
	if (t == NULL)
		fail_msg("%s", err.msg);
	assert_int_equal(t->code.act, act);
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

/* Rounded as the header says, by the C library. */
static float *
naive_round(const float *x, int64_t n)
{
	float *out = malloc((size_t)n * sizeof(*out));

	for (int64_t i = 0; i < n; i += BLOCK_X) {
		float most = 0;

		for (int64_t c = i; c < i + BLOCK_X; c++)
			most = fmaxf(most, fabsf(x[c]));
		for (int64_t c = i; c < i + BLOCK_X; c++)
			out[c] = most == 0 ? 0 : most / 127.0f *
			    nearbyintf(x[c] * (127.0f / most));
	}
	return out;
}

/* One kernel by itself, whatever would be chosen. */
static void
run_one(const struct kernel *k, const struct tensor *t, const float *x,
    int64_t n, float *y)
{
	struct kernel_x kx = { .f = x, .n = n, .cols = t->cols };
	void *scratch = NULL, *prep = NULL;

	assert_int_equal(posix_memalign(&scratch, 64, k->scratch(t, n)), 0);
	assert_int_equal(posix_memalign(&prep, 64,
	    prep_bytes(k->prep, n, t->cols)), 0);
	prep_point(k->prep, prep, &kx);
	prep_make(k->prep, &kx, 0, n);
	k->run(t, &kx, 0, t->rows, y, t->rows, false, scratch);
	free(scratch);
	free(prep);
}

/* One tensor with n rows of x on every level. */
static void
check(const struct tensor *t, const float *w, int64_t n)
{
	int64_t m = n * t->rows;
	float *x = random_x(n * t->cols, 3), *old = random_x(m, 4);
	float *q = naive_round(x, n * t->cols);
	double *want = naive_matmul(t, w, t->code.act == 8 ? q : x, n);
	double *whole = naive_matmul(t, w, x, n);
	float *y = malloc((size_t)m * sizeof(*y));

	for (int level = 0; level <= (int)cpu_detected(); level++) {
		const struct kernel *k;

		cpu_limit((enum cpu_level)level);
		k = kernel_of(t, n);
		assert_true((strstr(k->name, "int8") != NULL) ==
		    (t->code.act == 8));
		multiply(t, x, n, y, false);
		close_to(t, want, NULL, y, n, tight, k->name);
		if (m >= 16)	/* so that the largest |y| is a large one */
			close_to(t, whole, NULL, y, n, k->tolerance,
			    "exact x");
		memcpy(y, old, (size_t)m * sizeof(*y));
		multiply(t, x, n, y, true);
		close_to(t, want, old, y, n, tight, "added");
	}
	cpu_limit(CPU_LEVELS - 1);
	for (int i = 0; i < KERNEL_ROWS; i++) {
		const struct kernel *k = kernel_table[FORM_BLOCK][i];

		if (k == NULL || k->prep != PREP_INT8_32 ||
		    k->level > cpu_detected() || !k->fits(t, n))
			continue;
		run_one(k, t, x, n, y);
		if (t->code.act == 8)
			close_to(t, want, NULL, y, n, tight, k->name);
	}
	free(x);
	free(old);
	free(q);
	free(want);
	free(whole);
	free(y);
}

static bool
is_large(int kind)
{
	return block_table[kind].values == 256;
}

static void
every_type_multiplies(void **state)
{
	for (int k = 0; k < BLOCK_KINDS; k++)
		for (int s = 0; s < (is_large(k) ? LARGE : SMALL); s++) {
			struct shape shape = is_large(k) ? large_shapes[s] :
			    small_shapes[s];
			struct tensor *t = make((enum block_kind)k, shape, 8);
			float *w = fix_decode(t);
			bool few = t->cols > 2000;

			for (int c = 0; c < (few ? 3 : COUNTS); c++)
				check(t, w, counts[few ? 4 * c : c]);
			free(w);
			tensor_unref(t);
		}
}

static void
floats_meet_blocks(void **state)
{
	for (int k = 0; k < BLOCK_KINDS; k++) {
		struct tensor *t = make((enum block_kind)k,
		    (struct shape) { 33, 3 }, 0);
		float *w = fix_decode(t);

		check(t, w, 1);
		check(t, w, 5);
		free(w);
		tensor_unref(t);
	}
}

/* Codes and scales as block.c has them, and as the kernels do. */
static void
unpacking_agrees(void **state)
{
#if CPU_X86
	enum { BLOCKS = 5 };
	struct rng rng;

	if (cpu_detected() < CPU_AVX2)
		skip();
	rng_seed(&rng, 1);
	for (int k = 0; k < BLOCK_KINDS; k++) {
		const struct block_facts *f = &block_table[k];
		int values = BLOCKS * f->values, groups = values / f->group;
		uint8_t *p = malloc((size_t)(BLOCKS * f->bytes));
		uint8_t a[BLOCKS * 256], b[BLOCKS * 256];
		size_t size = (size_t)(groups * CODE_STRIP) * sizeof(float);
		float *step[2] = { malloc(size), malloc(size) };
		float *base[2] = { malloc(size), malloc(size) };

		for (int i = 0; i < BLOCKS; i++)
			fill_block((enum block_kind)k, &rng, p + i * f->bytes);
		block_level_scalar.unpack((enum block_kind)k, p, BLOCKS, 0, a,
		    step[0], base[0]);
		block_unpack_avx2((enum block_kind)k, p, BLOCKS, 0, b, step[1],
		    base[1]);
		assert_memory_equal(a, b, (size_t)values);
		for (int i = 0; i < values; i++)
			assert_true(a[i] <= f->most);
		for (int g = 0; g < groups; g++) {
			int at = g * CODE_STRIP;

			assert_true(step[0][at] == step[1][at]);
			if (f->zero == 0)
				assert_true(base[0][at] == base[1][at]);
			else
				assert_true(base[0][at] ==
				    -(float)f->zero * step[0][at]);
		}
		free(p);
		for (int i = 0; i < 2; i++) {
			free(step[i]);
			free(base[i]);
		}
	}
#endif
}

/* Several panels and pieces, by one thread and by three. */
static void
threads_give_the_same_bits(void **state)
{
	static const int64_t rows[] = { 1, 2, 29, 150 };
	int threads = kernel_threads();

	for (int k = 0; k < 8; k++) {
		struct tensor *t = make(k % 2 == 0 ? BLOCK_Q4_K : BLOCK_Q8_0,
		    (struct shape) { 333, k % 2 == 0 ? 3 : 21 }, 8);
		int64_t n = rows[k / 2], m = n * t->rows;
		float *x = random_x(n * t->cols, 8);
		float *a = malloc((size_t)m * 4), *b = malloc((size_t)m * 4);

		kernel_set_threads(1);
		multiply(t, x, n, a, false);
		kernel_set_threads(3);
		multiply(t, x, n, b, false);
		assert_memory_equal(a, b, (size_t)m * 4);
		free(x);
		free(a);
		free(b);
		tensor_unref(t);
	}
	kernel_set_threads(threads);
}

/* x that is rounded the same on every level; zeros, and what is not finite. */
static void
x_is_rounded(void **state)
{
	static const float odd[] = { 0, 1e-32f, NAN, INFINITY, 3e38f, 1 };
	float v[BLOCK_X];
	struct rng rng;

	rng_seed(&rng, 2);
	for (int i = 0; i < 200; i++) {
		float scale = 0, other;
		int8_t q[2][BLOCK_X];
		int16_t sum[2][2];

		for (int c = 0; c < BLOCK_X; c++)
			v[c] = i < 6 ? 0 : rng_normal(&rng) *
			    (float)(1 << i % 9);
		if (i < 6)
			v[i * 5] = odd[i];
		for (int level = 0; level <= (int)cpu_detected(); level++) {
			int to = level > 0;

			cpu_limit((enum cpu_level)level);
			other = block_round(v, q[to], sum[to]);
			if (level == 0)
				scale = other;
			assert_memory_equal(&scale, &other, 4);
			assert_memory_equal(q[0], q[to], BLOCK_X);
			assert_memory_equal(sum[0], sum[to], 4);
		}
		for (int h = 0; h < 2; h++) {
			int s = 0;

			for (int c = 16 * h; c < 16 * h + 16; c++)
				s += q[0][c];
			assert_int_equal(s, sum[0][h]);
		}
		if (i < 6)
			assert_true(isnan(scale) == !isfinite(odd[i]));
		if (i < 2)
			assert_true(scale == 0);
	}
	cpu_limit(CPU_LEVELS - 1);
}

/* Files may have any bits: nothing but the row with them is touched. */
static void
hostile_blocks_run(void **state)
{
	for (int k = 0; k < BLOCK_KINDS; k++) {
		struct tensor *t = make((enum block_kind)k,
		    (struct shape) { 9, 2 }, 8);
		uint8_t *p = (uint8_t *)t->part[PART_DATA].p;
		int64_t line = 2 * block_table[k].bytes;
		float *x = random_x(6 * t->cols, 3), y[6 * 9];

		memset(p + 4 * line, 0xff, (size_t)line);
		memset(p + 5 * line, 0x7f, (size_t)line);
		for (int level = 0; level <= (int)cpu_detected(); level++)
			for (int64_t n = 1; n <= 6; n += 5) {
				cpu_limit((enum cpu_level)level);
				multiply(t, x, n, y, false);
				for (int64_t i = 0; i < n * 9; i++)
					if (i % 9 != 4 && i % 9 != 5)
						assert_true(isfinite(y[i]));
			}
		cpu_limit(CPU_LEVELS - 1);
		free(x);
		tensor_unref(t);
	}
}

static void
activations_are_a_fact(void **state)
{
	struct tensor *t = make(BLOCK_Q4_K, (struct shape) { 4, 2 }, 8), *u, *v;
	struct pare_err err;
	char text[64];

	tensor_describe(t, text, sizeof(text));
	assert_string_equal(text, "q4_k a8");
	u = tensor_activations(t, 0, &err);
	tensor_describe(u, text, sizeof(text));
	assert_string_equal(text, "q4_k");
	assert_ptr_equal(u->part[PART_DATA].p, t->part[PART_DATA].p);
	assert_true(tensor_hash(u) != tensor_hash(t));
	v = tensor_activations(u, 8, &err);
	assert_true(tensor_hash(v) == tensor_hash(t));
	tensor_unref(v);
	tensor_unref(u);
	tensor_unref(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unpacking_agrees),
		cmocka_unit_test(every_type_multiplies),
		cmocka_unit_test(floats_meet_blocks),
		cmocka_unit_test(threads_give_the_same_bits),
		cmocka_unit_test(x_is_rounded),
		cmocka_unit_test(hostile_blocks_run),
		cmocka_unit_test(activations_are_a_fact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
