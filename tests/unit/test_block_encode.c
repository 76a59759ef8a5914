/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Encoders of GGUF's blocks: what block.c decodes is near the values, nearer than
 * plain rounding comes, nearest where weights are large; edges of float16; and
 * what is refused.
 */
#include "tensor/block_encode.h"
#include "tensor_fix.h"

#include "tensor/kernel.h"

enum { ROWS = 7, COLS = 768, N = ROWS * COLS };

/* The root of the mean squared error of normal values, relative to theirs: a
 * bound a little above what the encoders reach. */
struct kind {
	enum block_kind kind;
	double bound;
	int bits;
	bool affine;
	int group;
};
static const struct kind kinds[] = {
	{ BLOCK_Q4_0, 0.090, 4, false, 32 },
	{ BLOCK_Q4_1, 0.078, 4, true, 32 },
	{ BLOCK_Q5_0, 0.046, 5, false, 32 },
	{ BLOCK_Q5_1, 0.039, 5, true, 32 },
	{ BLOCK_Q8_0, 0.0056, 8, false, 32 },
	{ BLOCK_Q4_K, 0.080, 4, true, 32 },
	{ BLOCK_Q5_K, 0.041, 5, true, 32 },
	{ BLOCK_Q6_K, 0.020, 6, false, 16 }
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void
random_values(float *x, uint64_t seed)
{
	struct rng rng;

	rng_seed(&rng, seed);
	for (int i = 0; i < N; i++)
		x[i] = rng_normal(&rng);
}

static void
there_and_back(enum block_kind kind, const float *x, const float *weight,
    float *out)
{
	const struct block_facts *f = &block_table[kind];
	size_t bytes = (size_t)block_bytes(kind, ROWS, COLS);
	uint8_t *p = malloc(bytes);
	struct pare_err err = { 0 };

	assert_int_equal(bytes, N / f->values * f->bytes);
	assert_true(block_can_encode(kind));
	memset(p, 0xa5, bytes);
	if (block_encode(kind, x, ROWS, COLS, weight, p, NULL, &err) !=
	    PARE_OK)
		fail_msg("%s", err.msg);
	for (int i = 0; i < N / f->values; i++)
		f->decode(p + i * f->bytes, out + i * f->values);
	free(p);
}

/* The root of the weighted mean squared error. */
static double
distance(const float *x, const float *y, const float *weight)
{
	double s = 0, w = 0;

	for (int i = 0; i < N; i++) {
		double d = (double)x[i] - y[i];
		double v = weight != NULL ? weight[i % COLS] : 1;

		s += v * d * d;
		w += v;
	}
	return sqrt(s / w);
}

/* Plain rounding in groups, with scales that need no bits at all. */
static void
round_plainly(const struct kind *k, const float *x, float *out)
{
	for (int i = 0; i < N; i += k->group) {
		float low = 0, high = 0, step;
		int most = (1 << k->bits) - 1;

		for (int j = i; j < i + k->group; j++) {
			low = fminf(low, x[j]);
			high = fmaxf(high, x[j]);
		}
		if (!k->affine) {
			high = fmaxf(high, -low);
			low = 0;
			most = (1 << (k->bits - 1)) - 1;
		}
		step = (high - low) / (float)most;
		for (int j = i; j < i + k->group; j++)
			out[j] = low + step * roundf((x[j] - low) / step);
	}
}

static void
errors_are_small(void **state)
{
	static float x[N], y[N], plain[N];

	for (int k = 0; k < KINDS; k++) {
		double have, naive;

		random_values(x, 3);
		there_and_back(kinds[k].kind, x, NULL, y);
		have = distance(x, y, NULL);
		round_plainly(&kinds[k], x, plain);
		naive = distance(x, plain, NULL);
		if (!(have < kinds[k].bound) || !(have < 1.001 * naive))
			fail_msg("%s: error %g, of plain rounding %g",
			    block_table[kinds[k].kind].name, have, naive);
	}
}

/* Where only the multiples of 16 columns matter, these come out better. */
static void
weights_matter(void **state)
{
	static float x[N], y[N], weight[COLS];

	random_values(x, 4);
	for (int i = 0; i < COLS; i++)
		weight[i] = i % 16 == 0 ? 1e20f : 1e15f;
	for (int k = 0; k < KINDS; k++) {
		double with, without;

		if (kinds[k].kind == BLOCK_Q8_0)
			continue;
		there_and_back(kinds[k].kind, x, NULL, y);
		without = distance(x, y, weight);
		there_and_back(kinds[k].kind, x, weight, y);
		with = distance(x, y, weight);
		if (!(with < 0.7 * without))
			fail_msg("%s: %g with weights, %g without",
			    block_table[kinds[k].kind].name, with, without);
	}
	/* Weights of a group, or all, may be 0: then they count alike. */
	for (int k = 0; k < KINDS; k++)
		for (int all = 0; all < 2; all++) {
			for (int i = 0; i < COLS; i++)
				weight[i] = !all && i < 512;
			there_and_back(kinds[k].kind, x, weight, y);
			assert_true(distance(x, y, NULL) <
			    1.1 * kinds[k].bound);
		}
}

/* Blocks that are one value, or zero, or too large or small for scales. */
static void
edges_hold(void **state)
{
	static const float some[] = { 0, 1, -1, 1e-3f, 65504, -7e4f, 1e-30f,
		-1e-7f, 1e6f, 3e38f, -3e38f };
	static float x[N], y[N];

	for (size_t s = 0; s < sizeof(some) / sizeof(some[0]); s++)
		for (int k = 0; k < KINDS; k++) {
			float v = some[s];

			for (int i = 0; i < N; i++)
				x[i] = i % 2 == 0 || v == 1 ? v : 0;
			there_and_back(kinds[k].kind, x, NULL, y);
			for (int i = 0; i < N; i++) {
				assert_true(isfinite(y[i]));
				if (x[i] == 0 && fabsf(v) < 66e3f)
					assert_true(fabsf(y[i]) <=
					    fmaxf(0.03f * fabsf(v), 2e-7f));
				else if (fabsf(v) >= 1e-3f && fabsf(v) < 66e3f)
					assert_true(fabsf(x[i] - y[i]) <=
					    0.03f * fabsf(v));
				else if (x[i] != 0 && fabsf(v) > 1e37f)
					assert_true(y[i] * v > 0 &&
					    fabsf(y[i]) >= 65504);
			}
		}
}

/* Eight levels, that the steps tried lead to: found again. */
static void
levels_are_found(void **state)
{
	static float x[N], y[N];

	for (int i = 0; i < N; i++)
		x[i] = (float)(i * 7 % 32 % 8 - 4) * 0.25f;
	for (int k = 0; k < KINDS; k++) {
		there_and_back(kinds[k].kind, x, NULL, y);
		if (kinds[k].bits == 4 || kinds[k].bits == 6)
			for (int i = 0; i < N; i++)
				assert_float_equal(x[i], y[i], 1e-3);
	}
}

static void
threads_make_the_same_bytes(void **state)
{
	static float x[N];
	int threads = kernel_threads();

	random_values(x, 5);
	for (int k = 0; k < KINDS; k++) {
		size_t bytes = (size_t)block_bytes(kinds[k].kind, ROWS, COLS);
		uint8_t *a = malloc(bytes), *b = malloc(bytes);

		kernel_set_threads(1);
		assert_int_equal(block_encode(kinds[k].kind, x, ROWS, COLS,
		    NULL, a, NULL, NULL), PARE_OK);
		kernel_set_threads(3);
		assert_int_equal(block_encode(kinds[k].kind, x, ROWS, COLS,
		    NULL, b, NULL, NULL), PARE_OK);
		assert_memory_equal(a, b, bytes);
		free(a);
		free(b);
	}
	kernel_set_threads(threads);
}

static void
bad_input_is_refused(void **state)
{
	static float x[N], weight[COLS];
	static uint8_t out[N * 2];
	struct pare_err err = { 0 };
	struct task task = { 0 };

	random_values(x, 6);
	assert_int_equal(block_encode(BLOCK_Q4_K, x, 2, 300, NULL, out, NULL,
	    &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "256"));
	assert_false(block_can_encode(BLOCK_IQ4_XS));
	assert_int_equal(block_encode(BLOCK_IQ4_XS, x, 2, 256, NULL, out, NULL,
	    &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "iq4_xs"));
	x[COLS + 4] = NAN;
	assert_int_equal(block_encode(BLOCK_Q8_0, x, ROWS, COLS, NULL, out,
	    NULL, &err), PARE_EFORMAT);
	assert_non_null(strstr(err.msg, "row 2, column 5"));
	x[COLS + 4] = 0;
	weight[3] = -1;
	assert_int_equal(block_encode(BLOCK_Q8_0, x, ROWS, COLS, weight, out,
	    NULL, &err), PARE_EFORMAT);
	assert_non_null(strstr(err.msg, "column 4"));
	atomic_store(&task.cancel, true);
	assert_int_equal(block_encode(BLOCK_Q8_0, x, ROWS, COLS, NULL, out,
	    &task, &err), PARE_ECANCELED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_are_small),
		cmocka_unit_test(weights_matter),
		cmocka_unit_test(edges_hold),
		cmocka_unit_test(levels_are_found),
		cmocka_unit_test(threads_make_the_same_bytes),
		cmocka_unit_test(bad_input_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
