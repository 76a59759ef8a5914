/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * attention: a few (sequence, head) pairs are one piece of work for one thread;
 * what happens inside a pair is in attention_lanes.h. Pieces write to places of
 * their own, so the order in which threads take them changes nothing.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/attention.h"
#include "engine/lanes.h"
#include "tensor/kernel.h"
#include "tensor/team.h"

size_t
attention_scratch(int64_t longest, int dim)
{
	return (size_t)team_threads() * LANES_ATTEND((size_t)longest,
	    (size_t)dim);
}

size_t
attention_scratch_one(int64_t longest)
{
	return (size_t)team_threads() * LANES_ATTEND_ROWS((size_t)longest);
}

/* Tokens of the longest sequence, those before it not counted. */
static int64_t
longest_of(const struct attention *a)
{
	int64_t longest = 0;

	for (int s = 0; s < a->nseq; s++)
		if (a->start[s + 1] - a->start[s] > longest)
			longest = a->start[s + 1] - a->start[s];
	return longest;
}

/* One causal query a sequence: nothing is worth packing. */
static bool
is_one(const struct attention *a, int64_t longest)
{
	return a->causal && (longest == 1 || a->one != ATTEND_ALL);
}

/* Queries of a sequence of so many tokens, and what the first of them sees
 * besides itself when the head is causal. */
static void
place_queries(const struct attention *a, int64_t tokens, struct attend *p)
{
	p->queries = a->one == ATTEND_ALL ? tokens : 1;
	p->past = a->past + (a->one == ATTEND_LAST ? tokens - 1 : 0);
	p->keys = a->past + tokens;
}

/* One head of one sequence. */
static void
attend_pair(const struct attention *a, const struct lanes *lane, int seq,
    int head, float *scratch)
{
	const int64_t token = a->start[seq] - a->start[0];
	const int64_t tokens = a->start[seq + 1] - a->start[seq];
	const int64_t qw = (int64_t)a->heads * a->dim;
	const int64_t k_row = a->k_row > 0 ? a->k_row :
	    (int64_t)a->kv_heads * a->dim;
	const int64_t k_head = a->k_head > 0 ? a->k_head : a->dim;
	const int64_t q = (a->one != ATTEND_ALL ? seq : token) * qw +
	    (int64_t)head * a->dim;
	const int64_t kv = token * k_row +
	    (int64_t)(head / (a->heads / a->kv_heads)) * k_head;
	struct attend pair = {
		.q = a->q + q, .k = a->k + kv, .v = a->v + kv,
		.ctx = a->ctx + q, .q_step = qw, .k_step = k_row,
		.dim = a->dim, .scale = a->scale > 0.0f ? a->scale :
		    1.0f / sqrtf((float)a->dim),
		.causal = a->causal, .cap = a->cap, .scratch = scratch,
		.want = a->want_seq == seq && a->want_head == head ?
		    a->want : NULL
	};

	place_queries(a, tokens, &pair);
	pair.window = a->window > 0 && pair.keys > a->window ? a->window : 0;
	if (pair.cap > 0.0f || pair.window > 0 || is_one(a, tokens))
		lane->attend_rows(&pair);
	else if (a->rough && lane->attend_rough && cpu_has(CPU_BF16_FAST) &&
	    attend_rough_fits(&pair))
		lane->attend_rough(&pair);
	else
		lane->attend(&pair);
}

/* Pieces of work: a few heads of a sequence. */
struct pieces {
	const struct attention *a;
	const struct lanes *lane;
	size_t scratch;		/* floats a thread */
	int heads, split;	/* heads of a piece, pieces of a sequence */
};

static void
attend_piece(void *arg, int64_t i, int thread)
{
	const struct pieces *p = arg;
	const int first = (int)(i % p->split) * p->heads;

	for (int h = first; h < first + p->heads && h < p->a->heads; h++)
		attend_pair(p->a, p->lane, (int)(i / p->split), h,
		    p->a->scratch + (size_t)thread * p->scratch);
}

/* Multiply-adds a piece should have at least: some 20 us. A single query waits
 * for its keys, which takes as long as LOAD times its own. */
static const int64_t piece_macs = 1 << 20;
enum { LOAD = 8 };

static void
cut_pieces(struct pieces *p, int64_t longest, bool one)
{
	const struct attention *a = p->a;
	const int64_t keys = a->past + longest;
	const int64_t macs = 2 * (one ? LOAD : longest) * keys * a->dim + 1;
	const int threads = team_threads();

	p->heads = macs >= piece_macs ? 1 : (int)(piece_macs / macs) + 1;
	p->heads = p->heads > a->heads ? a->heads : p->heads;
	if (p->heads < a->heads && a->nseq == 1 &&
	    p->heads > (a->heads + threads - 1) / threads)
		p->heads = (a->heads + threads - 1) / threads;
	p->split = (a->heads + p->heads - 1) / p->heads;
}

void
attention_run(const struct attention *a)
{
	const int64_t longest = longest_of(a);
	const bool one = is_one(a, longest);
	struct pieces p = { .a = a, .lane = lanes() };

	p.scratch = one ? LANES_ATTEND_ROWS((size_t)(a->past + longest)) :
	    LANES_ATTEND((size_t)(a->past + longest), (size_t)a->dim);
	cut_pieces(&p, longest, one);
	team_for((int64_t)a->nseq * p.split, attend_piece, &p);
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
		.scale = a->scale > 0.0f ? a->scale : 1.0f / sqrtf((float)a->dim)
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

/* Scores of a pair, before they are capped. */
static void
score(const struct attention *a, const struct pair *r, float *s)
{
	const blasint n = (blasint)r->len;

	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, a->dim,
	    r->scale, a->q + r->q, (blasint)r->qw, a->k + r->k,
	    (blasint)r->kw, 0.0f, s, n);
}

/* Rows of softmax; row i of a causal matrix sees keys 0 to i, of a window only
 * the last of those. */
static void
softmax_rows(const struct attention *a, float *p, int64_t n)
{
	for (int64_t i = 0; i < n; i++, p += n) {
		const int64_t end = a->causal ? i + 1 : n;
		const int64_t from = a->window > 0 && end > a->window ?
		    end - a->window : 0;

		for (int64_t j = from; a->cap > 0.0f && j < end; j++)
			p[j] = a->cap * tanhf(p[j] / a->cap);
		elem_softmax(p + from, end - from);
		memset(p, 0, (size_t)from * sizeof(*p));
		memset(p + end, 0, (size_t)(n - end) * sizeof(*p));
	}
}

/* Back through c tanh(s / c): its slope is 1 - tanh^2. s: scores; overwritten. */
static void
cap_back(const struct attention *a, const struct pair *r, float *s, float *ds)
{
	if (a->cap <= 0.0f)
		return;
	score(a, r, s);
	for (int64_t i = 0; i < r->len * r->len; i++) {
		float t = tanhf(s[i] / a->cap);

		ds[i] *= 1.0f - t * t;
	}
}

static void
keep_pair(const struct attention_tape *t, int seq, int head, float *scratch)
{
	const struct attention *a = &t->a;
	const struct pair r = pair_at(t, seq, head);
	const blasint n = (blasint)r.len;

	score(a, &r, r.p);
	softmax_rows(a, r.p, n);
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
	cap_back(a, &r, scratch, ds);
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
