/* SPDX-License-Identifier: GPL-3.0-or-later */
/* threshold: the k-th smallest key and the counts around it, against a sort. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/threshold.h"

enum { PARTS = 5, BLOCK = 1000 };

/* Parts of unlike sizes: none of them whole blocks, one shorter than a block. */
static const int64_t sizes[PARTS] = { 700, 123457, 40001, 9999, 70003 };

struct input {
	uint32_t *word[PARTS];
	int64_t blocks[PARTS];
	struct threshold_keys keys;
};

typedef uint32_t make_word(struct rng *r, int64_t i);

static const threshold_word *
give(void *ctx, int part, int64_t b, int64_t *n)
{
	const struct input *in = ctx;

	*n = sizes[part] - b * BLOCK < BLOCK ? sizes[part] - b * BLOCK : BLOCK;
	return in->word[part] + b * BLOCK;
}

static void
input_open(struct input *in, make_word *make, int threads)
{
	struct rng r;

	rng_seed(&r, 5);
	for (int p = 0; p < PARTS; p++) {
		in->blocks[p] = (sizes[p] + BLOCK - 1) / BLOCK;
		in->word[p] = xcalloc((size_t)sizes[p], sizeof *in->word[p]);
		for (int64_t i = 0; i < sizes[p]; i++)
			in->word[p][i] = make(&r, i);
	}
	in->keys = (struct threshold_keys){ .parts = PARTS,
		.blocks = in->blocks, .block = give, .ctx = in,
		.threads = threads };
}

static void
input_close(struct input *in)
{
	for (int p = 0; p < PARTS; p++)
		free(in->word[p]);
}

static int
by_key(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* All keys, sorted. */
static uint32_t *
sorted_keys(const struct input *in, int64_t *n)
{
	uint32_t *all;

	*n = 0;
	for (int p = 0; p < PARTS; p++)
		*n += sizes[p];
	all = xcalloc((size_t)*n, sizeof *all);
	for (int64_t p = 0, at = 0; p < PARTS; p++)
		for (int64_t i = 0; i < sizes[p]; i++)
			all[at++] = in->word[p][i] & THRESHOLD_MASK;
	qsort(all, (size_t)*n, sizeof *all, by_key);
	return all;
}

static void
check_parts(const struct input *in, const struct threshold *out,
    uint32_t limit)
{
	for (int p = 0; p < PARTS; p++) {
		int64_t below = 0, equal = 0;

		for (int64_t i = 0; i < sizes[p]; i++) {
			uint32_t key = in->word[p][i] & THRESHOLD_MASK;

			below += key < limit;
			equal += key == limit;
		}
		assert_int_equal(out[p].limit, limit);
		assert_int_equal(out[p].below, below);
		assert_int_equal(out[p].equal, equal);
	}
}

static void
check_all(make_word *make)
{
	static const double share[] = { 0, 0.001, 0.05, 0.5, 0.77, 0.95,
		0.9999, 1 };

	for (int threads = 1; threads <= 3; threads += 2) {
		struct threshold out[PARTS];
		struct pare_err err;
		struct input in;
		uint32_t *all;
		int64_t n;

		input_open(&in, make, threads);
		all = sorted_keys(&in, &n);
		for (size_t i = 0; i < sizeof share / sizeof share[0]; i++) {
			int64_t k = (int64_t)(share[i] * (double)(n - 1)) + 1;

			assert_int_equal(threshold_find(&in.keys, k, out,
			    &err), PARE_OK);
			check_parts(&in, out, all[k - 1]);
		}
		free(all);
		input_close(&in);
	}
}

static uint32_t
word_of(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof u);
	return u;
}

static uint32_t
normal(struct rng *r, int64_t i)
{
	return word_of((float)rng_normal(r));
}

/* What is sampled says nothing about the rest. */
static uint32_t
misleading(struct rng *r, int64_t i)
{
	float x = (float)rng_normal(r);

	return word_of(i / BLOCK % 4 == 0 ? 1e-6f * x : 100 + x);
}

static uint32_t
few_values(struct rng *r, int64_t i)
{
	return word_of((float)rng_below(r, 5) - 2);
}

static uint32_t
mostly_zero(struct rng *r, int64_t i)
{
	return i % 10 == 0 ? word_of((float)rng_normal(r)) : i % 2 << 31;
}

static uint32_t
all_equal(struct rng *r, int64_t i)
{
	return word_of(i % 2 == 0 ? 0.25f : -0.25f);
}

/* Infinite values, NaN and the ends of the range order like any key. */
static uint32_t
any_bits(struct rng *r, int64_t i)
{
	return i % 50 == 0 ? UINT32_MAX : i % 50 == 1 ? 0 :
	    (uint32_t)rng_next(r);
}

static uint32_t
ascending(struct rng *r, int64_t i)
{
	return word_of((float)i);
}

static void
test_normal(void **state)
{
	check_all(normal);
	check_all(any_bits);
}

static void
test_sample_misleads(void **state)
{
	check_all(misleading);
	check_all(ascending);
}

static void
test_few_values(void **state)
{
	check_all(few_values);
	check_all(mostly_zero);
	check_all(all_equal);
}

struct stop {
	struct task task;
	int left;
};

static void
count_down(struct task *task, double done, double total, const char *what)
{
	struct stop *s = task->ctx;

	assert_true(done >= 0 && done <= total);
	if (s->left-- == 0)
		atomic_store(&task->cancel, true);
}

/* Cancelled after any number of reports, or reported to the end. */
static void
test_cancel(void **state)
{
	struct threshold out[PARTS];
	struct pare_err err;
	struct input in;
	int stopped = 0;

	input_open(&in, normal, 2);
	for (int left = 0; left < 8; left++) {
		struct stop s = { .task = { .tick = count_down },
			.left = left };
		enum pare_rc rc;

		s.task.ctx = &s;
		in.keys.task = &s.task;
		in.keys.share = 1;
		in.keys.total = 3;
		rc = threshold_find(&in.keys, 1000, out, &err);
		stopped += rc == PARE_ECANCELED;
		assert_true(rc == PARE_ECANCELED || rc == PARE_OK);
	}
	assert_true(stopped >= PARTS);
	assert_true(stopped < 8);
	input_close(&in);
}

static void
test_memory(void **state)
{
	struct threshold out[PARTS];
	struct pare_err err;
	struct input in;
	int failed = 0;

	input_open(&in, normal, 2);
	for (int at = 1; at < 8; at++) {
		enum pare_rc rc;

		mem_fail_at(at);
		rc = threshold_find(&in.keys, 1000, out, &err);
		mem_fail_at(0);
		failed += rc == PARE_ENOMEM;
		if (rc == PARE_OK)
			check_parts(&in, out, out[0].limit);
	}
	assert_true(failed >= 3 && failed < 7);
	input_close(&in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal),
		cmocka_unit_test(test_sample_misleads),
		cmocka_unit_test(test_few_values),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
