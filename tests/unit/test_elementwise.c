/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loops between the products against the C library in double precision, at
 * every level of the processor and at every length of a row's end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/elementwise.h"
#include "engine/lanes.h"
#include "tensor/cpu.h"

/* Runs a check with each copy of the loops that this processor can run. */
static void
each_level(void (*check)(void))
{
	static const enum cpu_level level[] = { CPU_SCALAR, CPU_AVX2,
	    CPU_AVX512 };
	const enum cpu_level detected = cpu_detected();
	const struct lanes *last = NULL;

	for (int i = 0; i < 3 && level[i] <= detected; i++) {
		enum cpu_level before = cpu_limit(level[i]);

		assert_ptr_not_equal(lanes(), last);
		last = lanes();
		check();
		cpu_limit(before);
	}
}

/* The distance to the next float. */
static double
ulp(double x)
{
	return x == 0 ? 0x1p-149 : ldexp(1, ilogb(x) - 23);
}

static double
normal_cdf(double x)
{
	return 0.5 * erfc(-x * sqrt(0.5));
}

static double
sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double
gelu_tanh_inner(double x)
{
	return 2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}

static double
act(enum act_kind a, double x)
{
	switch (a) {
	case ACT_GELU: return x * normal_cdf(x);
	case ACT_GELU_TANH: return x * sigmoid(gelu_tanh_inner(x));
	case ACT_GELU_QUICK: return x * sigmoid(1.702 * x);
	case ACT_SILU: return x * sigmoid(x);
	case ACT_RELU: return x > 0 ? x : 0;
	case ACT_TANH: return tanh(x);
	default: return x;
	}
}

enum { MANY = 100003 };

/* An odd number of values, dense near 0 and reaching `far`. */
static void
fill(float *x, double far)
{
	for (int i = 0; i < MANY; i++) {
		double u = (i - MANY / 2) / (MANY / 2.0);

		x[i] = (float)(far * u * u * u);
	}
}

/* ==== functions of one value ==== */

static void
check_exp(void)
{
	float *x = malloc(MANY * sizeof(*x)), *y = malloc(MANY * sizeof(*y));
	double most = 0;

	fill(x, 87);
	memcpy(y, x, MANY * sizeof(*x));
	lanes()->exp(y, MANY);
	for (int i = 0; i < MANY; i++) {
		double want = exp(x[i]), e = fabs(y[i] - want) / ulp(want);

		most = e > most || e != e ? e : most;
	}
	print_message("exp: at most %.2f ulp\n", most);
	assert_true(most < 1.5);
	y[0] = NAN;
	y[1] = INFINITY;
	y[2] = -INFINITY;
	y[3] = 1000;
	lanes()->exp(y, 4);
	assert_true(isnan(y[0]));
	assert_true(y[1] > 1e38f && y[2] < 1.7e-38f && y[3] > 1e38f);
	free(x);
	free(y);
}

static void
test_exp(void **state)
{
	each_level(check_exp);
}

/*
 * Activations on both sides of 0 and far out. A result is as good as x times a
 * factor of at most 1 that is right to 1.5 ulp; tanh is measured in ulp itself.
 */
static void
check_act(void)
{
	static const enum act_kind kinds[] = { ACT_GELU, ACT_GELU_TANH,
	    ACT_GELU_QUICK, ACT_SILU, ACT_RELU, ACT_TANH, ACT_LINEAR };
	static const char *const name[] = { "gelu", "gelu tanh", "gelu quick",
	    "silu", "relu", "tanh", "linear" };
	float *x = malloc(MANY * sizeof(*x)), *y = malloc(MANY * sizeof(*y));

	fill(x, 30);
	for (int k = 0; k < 7; k++) {
		double most = 0;

		memcpy(y, x, MANY * sizeof(*x));
		lanes()->bias_act(y, NULL, kinds[k], MANY);
		for (int i = 0; i < MANY; i++) {
			double want = act(kinds[k], x[i]);
			double e = fabs(y[i] - want) / (kinds[k] == ACT_TANH ?
			    ulp(want) : fabs(x[i]) * 0x1p-23 + 1e-45);

			most = e > most || e != e ? e : most;
		}
		print_message("%s: at most %.2f ulp\n", name[k], most);
		assert_true(most < (kinds[k] == ACT_TANH ? 2.5 : 1.5));
	}
	free(x);
	free(y);
}

static void
test_act(void **state)
{
	each_level(check_act);
}

/* Small results on the negative side are small results and not noise. */
static void
check_gelu_tail(void)
{
	for (float x = -0.5f; x > -5.0f; x -= 0.01f) {
		float y = x;

		lanes()->bias_act(&y, NULL, ACT_GELU, 1);
		assert_true(y < 0);
		assert_true(fabs(y - act(ACT_GELU, x)) <
		    (x > -3.5f ? 1e-4 : 2e-2) * fabs(act(ACT_GELU, x)));
	}
	for (float x = -10; x > -1e30f; x *= 10) {
		float y = x;

		lanes()->bias_act(&y, NULL, ACT_GELU, 1);
		assert_true(y <= 0 && y > -1e-30f * -x);
		y = -x;
		lanes()->bias_act(&y, NULL, ACT_GELU, 1);
		assert_true(y == -x);
	}
}

static void
test_gelu_tail(void **state)
{
	each_level(check_gelu_tail);
}

static void
check_slopes(void)
{
	static const enum act_kind kinds[] = { ACT_GELU, ACT_GELU_TANH,
	    ACT_GELU_QUICK, ACT_SILU, ACT_RELU, ACT_TANH, ACT_LINEAR };

	for (int k = 0; k < 7; k++)
		for (float x = -12; x < 12; x += 0.0371f) {
			const double h = 1e-5;
			double want = (act(kinds[k], x + h) -
			    act(kinds[k], x - h)) / (2 * h);
			float d[2] = { 2.0f, -3.0f }, at[2] = { x, x };

			if (kinds[k] == ACT_RELU && fabsf(x) < 1e-3f)
				continue;
			lanes()->act_back(d, at, kinds[k], 2);
			assert_true(fabs(d[0] - 2 * want) < 4e-6);
			assert_true(fabs(d[1] + 3 * want) < 6e-6);
		}
}

static void
test_slopes(void **state)
{
	each_level(check_slopes);
}

/* ==== rows ==== */

enum { LONGEST = 70, GUARD = 3 };

/* Random values, and a mark behind the n-th that nobody may touch. */
static void
row(struct rng *r, float *x, int n)
{
	for (int i = 0; i < n; i++)
		x[i] = 3 * rng_normal(r);
	for (int i = n; i < LONGEST + GUARD; i++)
		x[i] = 12345;
}

static void
assert_guard(const float *x, int n)
{
	for (int i = n; i < LONGEST + GUARD; i++)
		assert_true(x[i] == 12345);
}

/* A value's result is the same wherever the row ends, with bias or without. */
static void
check_ends(void)
{
	float x[LONGEST + GUARD], bias[LONGEST + GUARD], y[LONGEST + GUARD];
	float whole[LONGEST + GUARD];
	struct rng r;

	rng_seed(&r, 3);
	row(&r, bias, LONGEST);
	row(&r, x, LONGEST);
	for (int a = 0; a < ACT_COUNT; a++) {
		memcpy(whole, x, sizeof(x));
		for (int i = 0; i < LONGEST; i++)
			whole[i] += bias[i];
		lanes()->bias_act(whole, NULL, (enum act_kind)a, LONGEST);
		for (int n = 1; n <= LONGEST; n++) {
			row(&r, y, n);
			memcpy(y, x, (size_t)n * sizeof(*y));
			lanes()->bias_act(y, bias, (enum act_kind)a, n);
			assert_memory_equal(y, whole, (size_t)n * sizeof(*y));
			assert_guard(y, n);
			lanes()->mul(y, x, n);
			for (int i = 0; i < n; i++)
				assert_true(y[i] == whole[i] * x[i]);
			assert_guard(y, n);
		}
	}
}

static void
test_ends(void **state)
{
	each_level(check_ends);
}

/* The end of a product does the same to a piece as to the whole. */
static void
check_product_end(void)
{
	enum { ROWS = 9, COLS = 37 };
	float y[ROWS * COLS], whole[ROWS * COLS], bias[COLS] = { 0 };
	const struct elem_end e = elem_end(bias, ACT_GELU);
	struct rng r;

	rng_seed(&r, 7);
	for (int i = 0; i < ROWS * COLS; i++)
		y[i] = whole[i] = rng_normal(&r);
	for (int i = 0; i < COLS; i++)
		bias[i] = rng_normal(&r);
	elem_bias_act(whole, bias, ACT_GELU, ROWS, COLS);
	for (int row = 0; row < ROWS; row += 4)
		for (int col = 0; col < COLS; col += 17) {
			int n = row + 4 < ROWS ? 4 : ROWS - row;
			int m = col + 17 < COLS ? 17 : COLS - col;

			e.end.run(&e.end, y + row * COLS + col, COLS, row, n,
			    col, m);
		}
	assert_memory_equal(y, whole, sizeof(y));
}

static void
test_product_end(void **state)
{
	each_level(check_product_end);
}

static void
check_softmax(void)
{
	float s[LONGEST + GUARD], x[LONGEST + GUARD];
	struct rng r;

	rng_seed(&r, 4);
	for (int n = 1; n <= LONGEST; n++) {
		double sum = 0, top = -INFINITY, total = 0;

		row(&r, s, n);
		for (int i = 0; i < n; i++)
			s[i] *= n % 3 == 0 ? 40 : 1;
		memcpy(x, s, sizeof(x));
		lanes()->softmax(s, n);
		for (int i = 0; i < n; i++)
			top = x[i] > top ? x[i] : top;
		for (int i = 0; i < n; i++)
			sum += exp(x[i] - top);
		for (int i = 0; i < n; i++) {
			double want = exp(x[i] - top) / sum;

			/* the exponent is a float too */
			assert_true(fabs(s[i] - want) < want * (4e-7 +
			    1.3e-7 * (top - x[i])) + 1e-29);
			total += s[i];
		}
		assert_true(fabs(total - 1) < 1e-6);
		assert_guard(s, n);
		/* all far below 0, and all the same */
		for (int i = 0; i < n; i++)
			s[i] = -3e4f;
		lanes()->softmax(s, n);
		for (int i = 0; i < n; i++)
			assert_true(fabs(s[i] * n - 1) < 1e-6);
		s[n - 1] = NAN;
		lanes()->softmax(s, n);
		assert_true(isnan(s[0]) && isnan(s[n - 1]));
	}
}

static void
test_softmax(void **state)
{
	each_level(check_softmax);
}

/* One row against its formula; parts says which of y, bias and b are there. */
static void
check_norm_row(struct rng *r, int n, int parts, bool rms)
{
	float x[LONGEST + GUARD], y[LONGEST + GUARD], bias[LONGEST + GUARD];
	float w[LONGEST + GUARD], b[LONGEST + GUARD], out[LONGEST + GUARD];
	float mean[1], rstd[1];
	double in[LONGEST], m = 0, v = 0;
	const struct elem_norm norm = { .w = w, .b = parts & 4 ? b : NULL,
	    .eps = 1e-5f, .rms = rms, .mean = mean, .rstd = rstd };

	row(r, x, n);
	row(r, y, n);
	row(r, bias, n);
	row(r, w, n);
	row(r, b, n);
	row(r, out, n);
	for (int i = 0; i < n; i++) {
		in[i] = x[i] + (parts & 1 ? (double)y[i] : 0) +
		    (parts & 2 && parts & 1 ? (double)bias[i] : 0);
		m += in[i] / n;
	}
	m = rms ? 0 : m;
	for (int i = 0; i < n; i++)
		v += (in[i] - m) * (in[i] - m) / n;
	assert_true(elem_norm(out, x, parts & 1 ? y : NULL,
	    parts & 2 ? bias : NULL, &norm, 1, n));
	assert_true(fabs(mean[0] - m) < 1e-5);
	assert_true(fabs(rstd[0] * sqrt(v + 1e-5) - 1) < 1e-3);
	for (int i = 0; i < n; i++) {
		double want = (in[i] - m) / sqrt(v + 1e-5) * w[i] +
		    (parts & 4 ? b[i] : 0);

		assert_true(fabs(out[i] - want) < 1e-5 * (1 + fabs(want)) +
		    1e-4 * (n == 1));
	}
	assert_guard(out, n);
	/* in place */
	elem_norm(x, x, parts & 1 ? y : NULL, parts & 2 ? bias : NULL, &norm,
	    1, n);
	assert_memory_equal(x, out, (size_t)n * sizeof(*x));
}

static void
check_norm(void)
{
	struct rng r;

	rng_seed(&r, 5);
	for (int n = 1; n <= LONGEST; n++)
		for (int parts = 0; parts < 8; parts++) {
			check_norm_row(&r, n, parts, false);
			check_norm_row(&r, n, parts, true);
		}
}

static void
test_norm(void **state)
{
	each_level(check_norm);
}

static void
check_add(void)
{
	float x[LONGEST + GUARD], y[LONGEST + GUARD], bias[LONGEST + GUARD];
	float z[LONGEST + GUARD];
	struct rng r;

	rng_seed(&r, 6);
	for (int n = 1; n <= LONGEST; n++)
		for (int parts = 0; parts < 4; parts++) {
			row(&r, x, n);
			row(&r, y, n);
			row(&r, bias, n);
			memcpy(z, x, sizeof(z));
			assert_true(elem_add(z, parts & 1 ? y : NULL,
			    parts & 2 ? bias : NULL, 1, n));
			for (int i = 0; i < n; i++) {
				float want = x[i];

				want += parts & 1 ? y[i] : 0;
				want += parts & 2 ? bias[i] : 0;
				assert_true(z[i] == want);
			}
			assert_guard(z, n);
		}
}

static void
test_add(void **state)
{
	each_level(check_add);
}

/* One bad value anywhere in a matrix is told, and found nowhere else. */
static void
check_bad(void)
{
	enum { ROWS = 301, COLS = 67 };
	static float x[ROWS * COLS], y[ROWS * COLS], w[COLS];
	const float bad[] = { NAN, INFINITY, -INFINITY };
	const struct elem_norm norm = { .w = w, .eps = 1e-5f };

	for (int c = 0; c < COLS; c++)
		w[c] = 1;
	for (int at = 0; at < ROWS * COLS; at += 1409)
		for (int k = 0; k < 3; k++) {
			for (int i = 0; i < ROWS * COLS; i++)
				x[i] = y[i] = (float)(i % 11);
			assert_true(elem_norm(x, x, y, NULL, &norm, ROWS,
			    COLS));
			assert_true(elem_add(x, y, NULL, ROWS, COLS));
			x[at] = bad[k];
			assert_false(elem_add(x, y, NULL, ROWS, COLS));
			assert_false(elem_norm(y, x, NULL, NULL, &norm, ROWS,
			    COLS));
			for (int i = 0; i < ROWS * COLS; i++)
				assert_true(isfinite(y[i]) ==
				    (i / COLS != at / COLS));
		}
}

static void
test_bad(void **state)
{
	each_level(check_bad);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exp),
		cmocka_unit_test(test_act),
		cmocka_unit_test(test_gelu_tail),
		cmocka_unit_test(test_slopes),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_product_end),
		cmocka_unit_test(test_softmax),
		cmocka_unit_test(test_norm),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
