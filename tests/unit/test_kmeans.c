/* SPDX-License-Identifier: GPL-3.0-or-later */
/* kmeans: tables of many values against those of the sorted values and against
 * Lloyd's algorithm in long double; codes against a count of limits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/kernel.h"
#include "tensor/kmeans.h"

enum { MANY = (1 << 18) + 777, FEW = 1003 };

typedef float make_value(struct rng *r, int64_t i);

static float
normal(struct rng *r, int64_t i)
{
	return rng_normal(r) * 0.02f;
}

/* Half of it zeros of either sign, the rest far apart. */
static float
spread(struct rng *r, int64_t i)
{
	float x = expf(8 * rng_normal(r));

	return i % 4 == 0 ? 0.0f : i % 4 == 1 ? -0.0f : i % 4 == 2 ? x : -x;
}

static float
seven_values(struct rng *r, int64_t i)
{
	return (float)rng_below(r, 7) - 3;
}

/* All in one bin. */
static float
narrow(struct rng *r, int64_t i)
{
	return 1 + (float)rng_below(r, 10000) * 0x1p-23f;
}

static float
descending(struct rng *r, int64_t i)
{
	return (float)-i;
}

static float *
make(make_value *f, int64_t n)
{
	float *v = xcalloc((size_t)n, sizeof *v);
	struct rng r;

	rng_seed(&r, 11);
	for (int64_t i = 0; i < n; i++)
		v[i] = f(&r, i);
	return v;
}

static int
by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* What the library makes of a sorted copy. */
static void
table_of_sorted(const float *v, int64_t n, int bits, bool binary, float *table)
{
	float *copy = xcalloc((size_t)n, sizeof *copy);
	double *sums = xcalloc(kmeans_sums(n), sizeof *sums);

	memcpy(copy, v, (size_t)n * sizeof *v);
	qsort(copy, (size_t)n, sizeof *copy, by_value);
	if (binary)
		kmeans_binary(copy, n, table);
	else
		kmeans_table(copy, n, bits, sums, table);
	free(copy);
	free(sums);
}

/* Equal but for the rounding of a sum in double precision. */
static void
assert_tables_equal(const float *a, const float *b, int n)
{
	for (int i = 0; i < n; i++)
		assert_true(fabsf(a[i] - b[i]) <= 1.2e-7f * fabsf(b[i]));
}

static void
check_matrix(make_value *f, int64_t n)
{
	static const struct {
		int bits;
		bool binary;
	} kind[] = { { 1, false }, { 1, true }, { 2, false }, { 3, false },
		{ 4, false }, { 5, false }, { 8, false } };
	float *v = make(f, n);

	for (size_t k = 0; k < sizeof kind / sizeof kind[0]; k++) {
		float want[256], got[3][256];
		struct pare_err err;

		table_of_sorted(v, n, kind[k].bits, kind[k].binary, want);
		for (int threads = 1; threads <= 3; threads++) {
			bool finite = false;

			kernel_set_threads(threads);
			assert_int_equal(kmeans_matrix(v, n, kind[k].bits,
			    kind[k].binary, NULL, &finite, got[threads - 1],
			    &err), PARE_OK);
			assert_true(finite);
			assert_tables_equal(got[threads - 1], want,
			    1 << kind[k].bits);
			assert_memory_equal(got[threads - 1], got[0],
			    sizeof(float) << kind[k].bits);
		}
	}
	kernel_set_threads(2);
	free(v);
}

static void
test_matrix(void **state)
{
	static make_value *const f[] = { normal, spread, seven_values, narrow,
		descending };

	for (size_t i = 0; i < sizeof f / sizeof f[0]; i++) {
		check_matrix(f[i], MANY);
		check_matrix(f[i], FEW);
	}
}

/* The textbook: every value to its nearest mean, means of what came to them. */
static void
lloyd(const float *v, int64_t n, int k, long double *mean)
{
	for (int step = 0; step < 50; step++) {
		long double sum[16] = { 0 };
		int64_t count[16] = { 0 };

		for (int64_t i = 0; i < n; i++) {
			int best = 0;

			for (int j = 1; j < k; j++)
				if (fabsl(v[i] - mean[j]) <
				    fabsl(v[i] - mean[best]))
					best = j;
			sum[best] += v[i];
			count[best]++;
		}
		for (int j = 0; j < k; j++)
			if (count[j] > 0)
				mean[j] = sum[j] / count[j];
	}
}

static void
test_textbook(void **state)
{
	enum { K = 4 };
	float *v = make(normal, MANY), *sorted = make(normal, MANY);
	long double mean[K];
	float table[K];
	struct pare_err err;
	bool finite;

	qsort(sorted, MANY, sizeof *sorted, by_value);
	for (int j = 0; j < K; j++) {
		int64_t from = (int64_t)MANY * j / K;
		int64_t to = (int64_t)MANY * (j + 1) / K;

		mean[j] = 0;
		for (int64_t i = from; i < to; i++)
			mean[j] += sorted[i];
		mean[j] /= to - from;
	}
	lloyd(v, MANY, K, mean);
	assert_int_equal(kmeans_matrix(v, MANY, 2, false, NULL, &finite,
	    table, &err), PARE_OK);
	for (int j = 0; j < K; j++)
		assert_true(fabsl(table[j] - mean[j]) <
		    1e-6L * fabsl(mean[j]));
	free(v);
	free(sorted);
}

static void
test_not_finite(void **state)
{
	static const float bad[] = { INFINITY, -INFINITY, NAN };
	const int64_t size[] = { FEW, MANY };
	float table[4];
	struct pare_err err;

	for (int s = 0; s < 2; s++)
		for (int i = 0; i < 3; i++) {
			float *v = make(normal, size[s]);
			bool finite = true;

			v[size[s] / 2] = bad[i];
			assert_int_equal(kmeans_matrix(v, size[s], 2, false,
			    NULL, &finite, table, &err), PARE_OK);
			assert_false(finite);
			v[size[s] / 2] = copysignf(bad[i], -1);
			assert_int_equal(kmeans_matrix(v, size[s], 2, false,
			    NULL, &finite, table, &err), PARE_OK);
			assert_false(finite);
			v[size[s] / 2] = 3e38f;
			assert_int_equal(kmeans_matrix(v, size[s], 2, false,
			    NULL, &finite, table, &err), PARE_OK);
			assert_true(finite);
			free(v);
		}
}

static void
test_cancel_and_memory(void **state)
{
	struct task task = { .cancel = true };
	float *v = make(normal, MANY), table[16];
	struct pare_err err;
	bool finite;
	int failed = 0;

	assert_int_equal(kmeans_matrix(v, MANY, 4, false, &task, &finite,
	    table, &err), PARE_ECANCELED);
	for (int at = 1; at < 9; at++) {
		enum pare_rc rc;

		mem_fail_at(at);
		rc = kmeans_matrix(v, MANY, 4, false, NULL, &finite, table,
		    &err);
		mem_fail_at(0);
		assert_true(rc == PARE_OK || rc == PARE_ENOMEM);
		failed += rc == PARE_ENOMEM;
	}
	assert_int_equal(failed, 6);
	free(v);
}

/* Values on, beside and between the limits; tables with equal entries. */
static void
test_encode(void **state)
{
	enum { N = 2003 };
	float table[256], v[N];
	uint8_t code[N];
	struct rng r;

	rng_seed(&r, 3);
	for (int bits = 1; bits <= 8; bits++) {
		int k = 1 << bits;

		for (int i = 0; i < k; i++)
			table[i] = rng_normal(&r);
		if (bits > 2)
			table[1] = table[2];
		qsort(table, (size_t)k, sizeof *table, by_value);
		for (int i = 0; i < N; i++) {
			int j = (int)rng_below(&r, (uint64_t)k - 1);
			float limit = (float)(0.5 * ((double)table[j] +
			    table[j + 1]));

			v[i] = i % 4 == 0 ? limit : i % 4 == 1 ?
			    nextafterf(limit, 9) : i % 4 == 2 ? table[j] :
			    2 * rng_normal(&r);
		}
		kmeans_encode(table, bits, v, N, code);
		for (int i = 0; i < N; i++) {
			int want = 0;

			for (int j = 0; j + 1 < k; j++)
				want += v[i] > (float)(0.5 *
				    ((double)table[j] + table[j + 1]));
			assert_int_equal(code[i], want);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_textbook),
		cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_cancel_and_memory),
		cmocka_unit_test(test_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
