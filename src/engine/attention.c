/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * attention: one (sequence, head) pair is one piece of work for one thread. A
 * tile of queries at a time, so that its scores stay in the cache: scores by a
 * small product, softmax by rows, context by a small product. Pieces write to
 * places of their own, so the order in which threads take them changes nothing.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/attention.h"
#include "tensor/kernel.h"

enum { QUERIES = 64 };	/* rows of a tile of scores */

size_t
attention_scratch(int64_t longest)
{
	return (size_t)kernel_threads() * QUERIES * (size_t)longest;
}

static int64_t
longest_of(const struct attention *a)
{
	int64_t longest = 0;

	for (int s = 0; s < a->nseq; s++)
		if (a->start[s + 1] - a->start[s] > longest)
			longest = a->start[s + 1] - a->start[s];
	return longest;
}

/* Rows of softmax; row i of a causal tile sees keys 0 .. first + i. */
static void
softmax_rows(float *s, int64_t rows, int64_t keys, int64_t first, bool causal)
{
	for (int64_t i = 0; i < rows; i++) {
		float *p = s + i * keys;
		int64_t n = causal && first + i + 1 < keys ?
		    first + i + 1 : keys;

		elem_softmax(p, n);
		for (int64_t j = n; j < keys; j++)
			p[j] = 0.0f;
	}
}

/* Queries [first, first + rows) of a sequence of `keys` tokens; s: (rows, keys). */
static void
attend_tile(const struct attention *a, int64_t token, int64_t qrow, int head,
    int64_t first, int64_t rows, int64_t keys, float *s)
{
	const int64_t qw = (int64_t)a->heads * a->dim;
	const int64_t kw = (int64_t)a->kv_heads * a->dim;
	const int64_t kv = (int64_t)head / (a->heads / a->kv_heads) * a->dim;
	const float *q = a->q + (qrow + first) * qw + (int64_t)head * a->dim;
	float *c = a->ctx + (qrow + first) * qw + (int64_t)head * a->dim;
	const float *k = a->k + token * kw + kv;
	const float *v = a->v + token * kw + kv;

	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows,
	    (blasint)keys, a->dim, 1.0f / sqrtf((float)a->dim), q,
	    (blasint)qw, k, (blasint)kw, 0.0f, s, (blasint)keys);
	softmax_rows(s, rows, keys, first, a->causal);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows,
	    a->dim, (blasint)keys, 1.0f, s, (blasint)keys, v, (blasint)kw,
	    0.0f, c, (blasint)qw);
}

/* One head of one sequence. */
static void
attend_pair(const struct attention *a, int seq, int head, float *scratch)
{
	const int64_t token = a->start[seq] - a->start[0];
	const int64_t keys = a->start[seq + 1] - a->start[seq];
	const int64_t qrow = a->first_only ? seq : token;
	const int64_t queries = a->first_only ? 1 : keys;
	const bool want = a->want && a->want_seq == seq &&
	    a->want_head == head;

	for (int64_t i = 0; i < queries; i += QUERIES)
		attend_tile(a, token, qrow, head, i,
		    queries - i < QUERIES ? queries - i : QUERIES, keys,
		    want ? a->want + i * keys : scratch);
}

void
attention_run(const struct attention *a)
{
	const int64_t pairs = (int64_t)a->nseq * a->heads;
	const size_t longest = (size_t)longest_of(a);

#pragma omp parallel for schedule(dynamic) num_threads(kernel_threads())
	for (int64_t i = 0; i < pairs; i++)
		attend_pair(a, (int)(i / a->heads), (int)(i % a->heads),
		    a->scratch + (size_t)omp_get_thread_num() * QUERIES *
		    longest);
}

/* ==== training ==== */

size_t
attention_tape_scratch(int64_t longest)
{
	return (size_t)kernel_threads() * 2 * (size_t)longest *
	    (size_t)longest;
}

/* Where the matrices of one (sequence, head) pair are. */
struct pair {
	int64_t len, q, k;	/* tokens; offsets into q-like and k-like rows */
	int64_t qw, kw;		/* widths of those rows */
	float *p;
	uint64_t first;		/* counter of the first probability */
	float scale;
};

static struct pair
pair_at(const struct attention_tape *t, int seq, int head)
{
	const struct attention *a = &t->a;
	const int64_t token = a->start[seq] - a->start[0];
	struct pair r = {
		.len = a->start[seq + 1] - a->start[seq],
		.qw = (int64_t)a->heads * a->dim,
		.kw = (int64_t)a->kv_heads * a->dim,
		.scale = 1.0f / sqrtf((float)a->dim)
	};
	int64_t at = t->offset[seq] * a->heads + r.len * r.len * head;

	r.q = token * r.qw + (int64_t)head * a->dim;
	r.k = token * r.kw +
	    (int64_t)(head / (a->heads / a->kv_heads)) * a->dim;
	r.p = t->p + at;
	r.first = (uint64_t)at;
	return r;
}

/* The probabilities after dropout: in scratch, or p itself without dropout. */
static const float *
dropped(const struct attention_tape *t, const struct pair *r, float *scratch)
{
	const int64_t n = r->len * r->len;

	if (t->drop.rate <= 0.0f)
		return r->p;
	memcpy(scratch, r->p, (size_t)n * sizeof(*scratch));
	elem_drop_span(scratch, n, &t->drop, r->first);
	return scratch;
}

static void
keep_pair(const struct attention_tape *t, int seq, int head, float *scratch)
{
	const struct attention *a = &t->a;
	const struct pair r = pair_at(t, seq, head);
	const blasint n = (blasint)r.len;

	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, a->dim,
	    r.scale, a->q + r.q, (blasint)r.qw, a->k + r.k, (blasint)r.kw,
	    0.0f, r.p, n);
	softmax_rows(r.p, n, n, 0, a->causal);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, a->dim, n,
	    1.0f, dropped(t, &r, scratch), n, a->v + r.k, (blasint)r.kw, 0.0f,
	    a->ctx + r.q, (blasint)r.qw);
}

void
attention_keep(const struct attention_tape *t)
{
	const int64_t pairs = (int64_t)t->a.nseq * t->a.heads;
	const int64_t longest = longest_of(&t->a);

#pragma omp parallel for schedule(dynamic) num_threads(kernel_threads())
	for (int64_t i = 0; i < pairs; i++)
		keep_pair(t, (int)(i / t->a.heads), (int)(i % t->a.heads),
		    t->a.scratch + (size_t)omp_get_thread_num() * 2 *
		    (size_t)(longest * longest));
}

/*
 * With D the dropped P: dv += D^T dctx; dP = drop(dctx v^T); back through the
 * softmax to dS; dq = dS k / sqrt d, dk += dS^T q / sqrt d. add: another head
 * of the group was there before.
 */
static void
back_pair(const struct attention_tape *t, int seq, int head, bool add,
    const float *dctx, float *dq, float *dk, float *dv, float *scratch)
{
	const struct attention *a = &t->a;
	const struct pair r = pair_at(t, seq, head);
	const blasint n = (blasint)r.len, qw = (blasint)r.qw;
	const blasint kw = (blasint)r.kw;
	const float *d = dropped(t, &r, scratch);
	float *ds = scratch + r.len * r.len;

	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, a->dim, n,
	    1.0f, d, n, dctx + r.q, qw, add ? 1.0f : 0.0f, dv + r.k, kw);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, a->dim,
	    1.0f, dctx + r.q, qw, a->v + r.k, kw, 0.0f, ds, n);
	elem_drop_span(ds, r.len * r.len, &t->drop, r.first);
	for (int64_t i = 0; i < r.len; i++)
		elem_softmax_back(ds + i * r.len, r.p + i * r.len, r.len);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, a->dim, n,
	    r.scale, ds, n, a->k + r.k, kw, 0.0f, dq + r.q, qw);
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, a->dim, n,
	    r.scale, ds, n, a->q + r.q, qw, add ? 1.0f : 0.0f, dk + r.k, kw);
}

/* Heads that share keys and values are one piece of work, in order. */
void
attention_back(const struct attention_tape *t, const float *dctx, float *dq,
    float *dk, float *dv)
{
	const struct attention *a = &t->a;
	const int group = a->heads / a->kv_heads;
	const int64_t pieces = (int64_t)a->nseq * a->kv_heads;
	const int64_t longest = longest_of(a);

#pragma omp parallel for schedule(dynamic) num_threads(kernel_threads())
	for (int64_t i = 0; i < pieces; i++) {
		const int seq = (int)(i / a->kv_heads);
		const int first = (int)(i % a->kv_heads) * group;
		float *scratch = a->scratch + (size_t)omp_get_thread_num() *
		    2 * (size_t)(longest * longest);

		for (int h = first; h < first + group; h++)
			back_pair(t, seq, h, h > first, dctx, dq, dk, dv,
			    scratch);
	}
}
