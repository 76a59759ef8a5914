/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attention of packed sequences against its formula in double precision, at every
 * level of the processor: odd widths of heads, lengths around every tile, shared
 * keys, masks, and queries for the first token alone.
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
#include "engine/attention.h"
#include "engine/lanes.h"
#include "tensor/cpu.h"
#include "tensor/kernel.h"

enum { NSEQ = 3, GUARD = 5 };

/* Of contexts and of probabilities; with factors as bfloat16 much more. */
static double near = 3e-6, near_p = 2e-6;
static bool rough;

struct data {
	struct attention a;
	int64_t start[NSEQ + 1];
	int64_t nctx;
	float *q, *k, *v, *ctx, *scratch, *want;
	size_t nscratch;
};

static float *
noise(struct rng *r, int64_t n)
{
	float *f = malloc((size_t)(n + GUARD) * sizeof(*f));

	assert_non_null(f);
	for (int64_t i = 0; i < n + GUARD; i++)
		f[i] = rng_normal(r);
	return f;
}

/* A buffer that ends in a mark nobody may touch. */
static float *
marked(int64_t n)
{
	float *f = malloc((size_t)(n + GUARD) * sizeof(*f));

	assert_non_null(f);
	for (int64_t i = 0; i < n + GUARD; i++)
		f[i] = 777;
	return f;
}

static void
assert_mark(const float *f, int64_t n)
{
	for (int i = 0; i < GUARD; i++)
		assert_true(f[n + i] == 777);
}

static void
data_make(struct data *d, const int *len, int heads, int kv_heads, int dim,
    bool causal, enum attend_one one)
{
	struct rng r;
	int64_t longest = 0, n;

	rng_seed(&r, (uint64_t)(len[0] * 1000 + dim));
	d->start[0] = 0;
	for (int s = 0; s < NSEQ; s++) {
		d->start[s + 1] = d->start[s] + len[s];
		longest = len[s] > longest ? len[s] : longest;
	}
	n = d->start[NSEQ];
	d->nctx = (one != ATTEND_ALL ? NSEQ : n) * heads * dim;
	d->nscratch = attention_scratch(longest, dim);
	d->q = noise(&r, d->nctx);
	d->k = noise(&r, n * kv_heads * dim);
	d->v = noise(&r, n * kv_heads * dim);
	d->ctx = marked(d->nctx);
	d->scratch = marked((int64_t)d->nscratch);
	d->want = marked(longest * longest);
	d->a = (struct attention){ .heads = heads, .kv_heads = kv_heads,
		.dim = dim, .causal = causal, .one = one,
		.nseq = NSEQ, .start = d->start, .q = d->q, .k = d->k,
		.v = d->v, .ctx = d->ctx, .scratch = d->scratch,
		.rough = rough };
}

static void
data_free(struct data *d)
{
	free(d->q);
	free(d->k);
	free(d->v);
	free(d->ctx);
	free(d->scratch);
	free(d->want);
}

/* Probabilities of one query into p, and its context into c. */
static void
twin(const struct attention *a, int seq, int head, int64_t i, double *p,
    double *c)
{
	const int64_t n = a->start[seq + 1] - a->start[seq];
	const int64_t at = a->one == ATTEND_LAST ? n - 1 : i;
	const int64_t seen = a->causal ? at + 1 : n;
	const int64_t from = a->window > 0 && seen > a->window ?
	    seen - a->window : 0;
	const int64_t row = a->one != ATTEND_ALL ? seq : a->start[seq] + i;
	const int kv = head / (a->heads / a->kv_heads);
	const float *q = a->q + (row * a->heads + head) * a->dim;
	double sum = 0;

	for (int64_t j = 0; j < n; j++) {
		const float *k = a->k + ((a->start[seq] + j) * a->kv_heads +
		    kv) * a->dim;
		double s = 0;

		for (int e = 0; e < a->dim; e++)
			s += (double)q[e] * k[e];
		s /= sqrt(a->dim);
		s = a->cap > 0 ? a->cap * tanh(s / a->cap) : s;
		p[j] = j >= from && j < seen ? exp(s) : 0;
		sum += p[j];
	}
	memset(c, 0, (size_t)a->dim * sizeof(*c));
	for (int64_t j = 0; j < n; j++) {
		p[j] /= sum;
		for (int e = 0; e < a->dim; e++)
			c[e] += p[j] * a->v[((a->start[seq] + j) *
			    a->kv_heads + kv) * a->dim + e];
	}
}

static void
compare(const struct data *d, int seq, int head)
{
	const struct attention *a = &d->a;
	const int64_t n = a->start[seq + 1] - a->start[seq];
	double p[300], c[200];

	for (int64_t i = 0; i < (a->one != ATTEND_ALL ? 1 : n); i++) {
		const int64_t row = a->one != ATTEND_ALL ? seq : a->start[seq] + i;
		const float *got = a->ctx + (row * a->heads + head) * a->dim;

		twin(a, seq, head, i, p, c);
		for (int e = 0; e < a->dim; e++)
			if (!(fabs(got[e] - c[e]) < near))
				fail_msg("length %d, width %d, query %d: %g "
				    "and not %g", (int)n, a->dim, (int)i,
				    got[e], c[e]);
		if (!a->want || a->want_seq != seq || a->want_head != head)
			continue;
		for (int64_t j = 0; j < n; j++)
			assert_true(fabs(a->want[i * n + j] - p[j]) < near_p);
	}
}

static void
check(const int *len, int heads, int kv_heads, int dim, bool causal,
    enum attend_one one)
{
	struct data d;
	int64_t want;

	data_make(&d, len, heads, kv_heads, dim, causal, one);
	attention_run(&d.a);
	assert_mark(d.ctx, d.nctx);
	assert_mark(d.scratch, (int64_t)d.nscratch);
	for (int s = 0; s < NSEQ; s++)
		for (int h = 0; h < heads; h++)
			compare(&d, s, h);
	d.a.want = d.want;
	d.a.want_seq = 1;
	d.a.want_head = heads - 1;
	attention_run(&d.a);
	want = one != ATTEND_ALL ? len[1] : (int64_t)len[1] * len[1];
	assert_mark(d.want, want);
	compare(&d, 1, heads - 1);
	data_free(&d);
}

/* Capped scores and windows, against the same twin. */
static void
check_bounds(const int *len, int dim, float cap, int64_t window)
{
	struct data d;

	data_make(&d, len, 4, 2, dim, true, ATTEND_ALL);
	d.a.cap = cap;
	d.a.window = window;
	d.a.want = d.want;
	d.a.want_seq = 1;
	d.a.want_head = 3;
	attention_run(&d.a);
	assert_mark(d.ctx, d.nctx);
	assert_mark(d.scratch, (int64_t)d.nscratch);
	for (int s = 0; s < NSEQ; s++)
		for (int h = 0; h < 4; h++)
			compare(&d, s, h);
	data_free(&d);
}

/* The last queries alone, with the keys before them, as a cache has them: what
 * all together get. */
static void
check_past(int n, int past, int dim, float cap, int64_t window)
{
	const int len[NSEQ] = { n, 1, 1 };
	int64_t start[2] = { 0, n };
	struct data d;
	float *all;

	data_make(&d, len, 6, 2, dim, true, ATTEND_ALL);
	d.a.nseq = 1;
	d.a.start = start;
	d.a.cap = cap;
	d.a.window = window;
	attention_run(&d.a);
	all = noise(&(struct rng){ { 1, 2, 3, 4 } }, d.nctx);
	memcpy(all, d.ctx, (size_t)d.nctx * sizeof(*all));
	start[1] = n - past;
	d.a.past = past;
	d.a.q = d.q + (int64_t)past * 6 * dim;
	attention_run(&d.a);
	for (int64_t i = 0; i < (int64_t)(n - past) * 6 * dim; i++)
		assert_true(fabsf(d.ctx[i] - all[(int64_t)past * 6 * dim +
		    i]) < 3e-6f);
	d.a.one = ATTEND_LAST;
	d.a.q += (int64_t)(n - past - 1) * 6 * dim;
	attention_run(&d.a);
	for (int64_t i = 0; i < 6 * dim; i++)
		assert_true(fabsf(d.ctx[i] - all[(int64_t)(n - 1) * 6 * dim +
		    i]) < 3e-6f);
	assert_mark(d.scratch, (int64_t)d.nscratch);
	free(all);
	data_free(&d);
}

static void
check_decoders(void)
{
	static const int lens[][NSEQ] = { { 1, 2, 3 }, { 33, 48, 49 } };
	static const int dims[] = { 1, 7, 8, 64, 80, 130 };

	for (int k = 0; k < 6; k++) {
		for (int i = 0; i < 2; i++) {
			check_bounds(lens[i], dims[k], 0, 5);
			check_bounds(lens[i], dims[k], 1.5f, 0);
			check_bounds(lens[i], dims[k], 3, 16);
		}
		check_past(40, 39, dims[k], 0, 0);
		check_past(40, 1, dims[k], 0, 0);
		check_past(70, 30, dims[k], 0, 0);
		check_past(70, 30, dims[k], 2, 0);
		check_past(70, 30, dims[k], 0, 9);
		check_past(70, 69, dims[k], 2, 64);
	}
}

static void
check_all(void)
{
	static const int dims[] = { 1, 3, 7, 8, 16, 20, 33, 48, 64, 65, 96,
	    130 };
	static const int lens[][NSEQ] = { { 1, 2, 3 }, { 4, 7, 16 },
	    { 15, 17, 24 }, { 25, 31, 32 }, { 33, 48, 49 }, { 63, 64, 65 },
	    { 129, 5, 200 } };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (size_t k = 0; k < sizeof(dims) / sizeof(dims[0]); k++) {
			check(lens[i], 2, 2, dims[k], false, ATTEND_ALL);
			check(lens[i], 4, 2, dims[k], true, ATTEND_ALL);
			check(lens[i], 3, 1, dims[k], false, ATTEND_FIRST);
			check(lens[i], 1, 1, dims[k], true, ATTEND_FIRST);
			check(lens[i], 4, 1, dims[k], true, ATTEND_LAST);
			check(lens[i], 2, 1, dims[k], false, ATTEND_LAST);
		}
}

static void
test_levels(void **state)
{
	static const enum cpu_level level[] = { CPU_SCALAR, CPU_AVX2,
	    CPU_AVX512 };
	const enum cpu_level detected = cpu_detected();

	for (int i = 0; i < 3 && level[i] <= detected; i++) {
		enum cpu_level before = cpu_limit(level[i]);

		check_all();
		check_decoders();
		cpu_limit(before);
	}
}

/* Where the processor multiplies bfloat16, its eight bits are what is left. */
static void
test_rough(void **state)
{
	const double before = near, before_p = near_p;

	near = 2e-2;
	near_p = 4e-3;
	rough = true;
	check_all();
	near = before;
	near_p = before_p;
	rough = false;
}

/* Large scores: the largest is taken away before anything overflows. */
static void
test_large(void **state)
{
	static const int len[] = { 20, 40, 9 };
	struct data d;

	data_make(&d, len, 2, 2, 32, false, ATTEND_ALL);
	for (int64_t i = 0; i < d.nctx; i++)
		d.q[i] *= 200;
	attention_run(&d.a);
	for (int64_t i = 0; i < d.nctx; i++)
		assert_true(fabsf(d.ctx[i]) < 6);
	d.k[0] = NAN;
	attention_run(&d.a);
	assert_true(isnan(d.ctx[0]));
	assert_false(isnan(d.ctx[(int64_t)len[0] * 2 * 32]));
	data_free(&d);
}

/* The same bits however many threads share the pieces. */
static void
test_threads(void **state)
{
	static const int len[] = { 40, 129, 1 };
	const int threads = kernel_threads();
	struct data d;
	float *first;

	kernel_set_threads(1);
	data_make(&d, len, 6, 3, 24, false, ATTEND_ALL);
	attention_run(&d.a);
	first = malloc((size_t)d.nctx * sizeof(*first));
	memcpy(first, d.ctx, (size_t)d.nctx * sizeof(*first));
	data_free(&d);
	for (int n = 2; n < 5; n++) {
		kernel_set_threads(n);
		data_make(&d, len, 6, 3, 24, false, ATTEND_ALL);
		attention_run(&d.a);
		assert_memory_equal(first, d.ctx,
		    (size_t)d.nctx * sizeof(*first));
		data_free(&d);
	}
	free(first);
	kernel_set_threads(threads);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_rough),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
