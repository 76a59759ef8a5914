/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * forward: one pass for all architectures.
 *
 *   x = norm(word + position + segment), projected to the hidden width
 *   per layer, post-norm:  x = norm(x + attention(x));  x = norm(x + ffn(x))
 *              pre-norm:   x = x + attention(norm(x));  x = x + ffn(norm(x))
 *   the head: pooler, dense, norm, output, on token 0 or on every token
 *
 * The stream x of all tokens stays; everything inside a layer is computed for a
 * block of about BLOCK tokens at a time, so that the wide intermediate matrices
 * stay in the cache and scratch does not grow with the batch.
 *
 * When only a classifier's logits are wanted, or those of the last token, the
 * last layer that mixes tokens needs queries for that token alone, and whatever
 * follows needs that token alone: from there on ("narrow") x has one row a
 * sequence.
 *
 * With a cache (kv.h) keys and values of the new tokens are put into it, and
 * queries see all that is there.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/attention.h"
#include "engine/rope.h"
#include "engine/pass.h"
#include "tensor/team.h"

const char *
forward_missing(const struct model *m)
{
	if (m->nlayers < 1)
		return "a model without layers";
	return NULL;
}

int
engine_last_whole(const struct model *m)
{
	int l = m->nlayers - 1;

	if (m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS)
		return l;
	if ((m->arch->flags & ARCH_LAST_TOKEN) != 0)
		return l;
	while (l > 0 && m->layer[l].heads == 0)
		l--;
	return l;
}

/* ==== time ==== */

/* Charges the time since the last call to *seconds. */
static void
charge(struct pass *p, double *seconds)
{
	double now = task_now();

	*seconds += now - p->mark;
	p->mark = now;
}

static void
charge_layer(struct pass *p, int l, enum engine_part part)
{
	if (p->f->times)
		charge(p, &p->f->times->layer[l][part]);
}

static void
show(const struct pass *p, int l, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	const struct engine_watch *w = p->f->watch;

	if (w)
		w->see(w->ctx, l, place, x, rows, cols);
}

/* ==== products ==== */

/* y = act(x W^T + bias) for the slots of a set, which share x. */
struct map {
	enum slot w, b;
	enum act_kind act;
	float *y;
};

enum { MAPS = 3 };

static void
maps(struct pass *p, int layer, const struct map *m, int count, const float *x,
    int64_t n)
{
	struct product set[MAPS];
	struct elem_end end[MAPS];

	for (int i = 0; i < count; i++) {
		const float *bias = pass_vector(p, layer, m[i].b);

		end[i] = elem_end(bias, m[i].act);
		set[i] = (struct product){ pass_slot(p, layer, m[i].w), m[i].y,
			bias || m[i].act != ACT_LINEAR ? &end[i].end : NULL };
	}
	kernel_products(set, count, x, n, p->scratch);
}

/* ==== sub-layers ==== */

/* Rows of the token that the head reads, of the sequences [first, end) of x,
 * whose row 0 is the first token of sequence first. */
static void
gather_one(const struct pass *p, const float *x, int first, int end,
    float *out)
{
	const int64_t *start = p->b->start, w = p->hidden;

	for (int s = first; s < end; s++) {
		const int64_t at = p->last ? start[s + 1] - 1 : start[s];

		memcpy(out + (s - first) * w, x + (at - start[first]) * w,
		    (size_t)w * sizeof(*out));
	}
}

/* The end of a sub-layer: y plus the residual x, in place. NULL y: a sub-layer
 * that was removed. */
static bool
add_sublayer(struct pass *p, int l, bool ffn, float *x, const float *y,
    const float *bias, int64_t rows)
{
	struct elem_norm n;
	bool fine;

	charge_layer(p, l, ffn ? ENGINE_FFN : ENGINE_ATTENTION);
	n = pass_norm(p, l, ffn ? SLOT_FPOST_W : SLOT_APOST_W, SLOT_COUNT);
	if (n.w && y) {
		elem_norm((float *)(uintptr_t)y, y, NULL, bias, &n, rows,
		    p->hidden);
		bias = NULL;
	}
	if (pass_flag(p, ARCH_PRE_NORM)) {
		fine = elem_add(x, y, y ? bias : NULL, rows, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		return fine;
	}
	n = ffn ? pass_norm(p, l, SLOT_FNORM_W, SLOT_FNORM_B) :
	    pass_norm(p, l, SLOT_ANORM_W, SLOT_ANORM_B);
	fine = elem_norm(x, x, y, y ? bias : NULL, &n, rows, p->hidden);
	charge_layer(p, l, ENGINE_NORM);
	return fine;
}

static bool
close_sublayer(struct pass *p, int l, bool ffn, float *x, const float *y,
    const float *bias, int64_t rows)
{
	bool fine;

	show(p, l, ffn ? ENGINE_BEFORE_FFN : ENGINE_BEFORE_ATTENTION, x, rows,
	    p->hidden);
	fine = add_sublayer(p, l, ffn, x, y, bias, rows);
	show(p, l, ffn ? ENGINE_AFTER_FFN : ENGINE_AFTER_ATTENTION, x, rows,
	    p->hidden);
	return fine;
}

/* The context of masked heads is what a removed head adds: nothing. */
static void
mask_heads(const struct pass *p, int l, float *ctx, int64_t rows)
{
	const struct engine_mask *mask = p->f->mask;
	const struct layer *y = &p->m->layer[l];
	const int64_t w = (int64_t)y->heads * y->head_dim;
	int at = 0;

	if (!mask || !mask->drop_heads)
		return;
	for (int h = 0; h < y->heads_original; h++) {
		if (!head_set_has(&y->head, h))
			continue;
		if (head_set_has(&mask->drop_heads[l], h))
			for (int64_t r = 0; r < rows; r++)
				memset(ctx + r * w + (int64_t)at * y->head_dim,
				    0, (size_t)y->head_dim * sizeof(*ctx));
		at++;
	}
}

/* How many present heads come before head h. */
static int
head_index(const struct layer *y, int h)
{
	int at = 0;

	for (int i = 0; i < h; i++)
		at += head_set_has(&y->head, i);
	return at;
}

/* Norms of each head, and its rotation: what happens to queries or keys of the
 * sequences [first, end) between their projection and the scores. */
struct turning {
	const struct pass *p;
	const struct layer *y;
	float *x;		/* (tokens of the sequences, heads * head_dim) */
	const float *weight;	/* of the norm, or NULL */
	int heads, first;
	bool rotate;
	bool one;		/* x has a row a sequence: of its one query */
	int64_t pieces;		/* of a sequence; short ones have empty ones */
};

static void
norm_head(float *x, const float *w, int dim, float eps)
{
	float sum = 0.0f, scale;

	for (int i = 0; i < dim; i++)
		sum += x[i] * x[i];
	scale = 1.0f / sqrtf(sum / (float)dim + eps);
	for (int i = 0; i < dim; i++)
		x[i] = x[i] * scale * w[i];
}

/* Tokens that one thread turns at a time. */
enum { TURNED = 32 };

static void
turn_piece(void *arg, int64_t i, int thread)
{
	const struct turning *t = arg;
	const struct pass *p = t->p;
	const int64_t s = i / t->pieces, from = i % t->pieces * TURNED;
	const int64_t *start = p->b->start + t->first + s;
	const int64_t len = start[1] - start[0];
	const int64_t n = t->one ? 1 : pass_min(TURNED, len - from);
	const int64_t at = t->one && p->last ? len - 1 : from;
	const int64_t angle = at * (t->y->head_dim / 2);
	float *x = t->x + (t->one ? s : start[0] - start[-s] + from) *
	    t->heads * t->y->head_dim;

	for (int64_t k = 0; t->weight && k < n * t->heads; k++)
		norm_head(x + k * t->y->head_dim, t->weight, t->y->head_dim,
		    (float)p->m->hp.norm_eps);
	if (t->rotate)
		rope_turn(x, n, t->heads, t->y->head_dim,
		    p->m->hp.rope.interleaved, p->cosine + angle,
		    p->sine + angle);
}

static int64_t
longest_in(const struct pass *p, int first, int end)
{
	int64_t longest = 0;

	for (int s = first; s < end; s++)
		longest = pass_max(longest, p->b->start[s + 1] -
		    p->b->start[s]);
	return longest;
}

static void
turn_heads(struct pass *p, int l, int first, int end, float *x, bool keys)
{
	struct turning t = { .p = p, .y = &p->m->layer[l], .x = x,
		.first = first, .one = !keys && l == p->narrow };

	t.heads = keys ? t.y->kv_heads : t.y->heads;
	t.weight = pass_vector(p, l, keys ? SLOT_KNORM_W : SLOT_QNORM_W);
	t.rotate = pass_flag(p, ARCH_ROTARY);
	t.pieces = t.one ? 1 : (longest_in(p, first, end) + TURNED - 1) /
	    TURNED;
	if (t.weight || t.rotate)
		team_for((end - first) * t.pieces, turn_piece, &t);
}

/* New keys and values on their way into the cache. */
struct keeping {
	const struct pass *p;
	const struct layer *y;
	int layer;
	const float *k, *v;	/* (tokens, kv_heads * head_dim) */
};

static void
keep_head(void *arg, int64_t h, int thread)
{
	const struct keeping *g = arg;
	const struct kv *c = g->p->f->kv;
	const int64_t dim = g->y->head_dim, row = g->y->kv_heads * dim;
	const int64_t at = (h * c->context + g->p->past) * dim;
	const size_t bytes = (size_t)dim * sizeof(float);
	float *k = c->k[g->layer] + at, *v = c->v[g->layer] + at;

	for (int64_t i = 0; i < g->p->tokens; i++, k += dim, v += dim) {
		memcpy(k, g->k + i * row + h * dim, bytes);
		memcpy(v, g->v + i * row + h * dim, bytes);
	}
}

/* Puts the keys and values of layer l into the cache, and a sees what is there. */
static void
use_cache(const struct pass *p, int l, struct attention *a)
{
	struct keeping g = { p, &p->m->layer[l], l, a->k, a->v };
	const struct kv *c = p->f->kv;

	if (p->tokens > 1)
		team_for(g.y->kv_heads, keep_head, &g);
	for (int h = 0; p->tokens == 1 && h < g.y->kv_heads; h++)
		keep_head(&g, h, 0);
	a->k = c->k[l];
	a->v = c->v[l];
	a->k_row = g.y->head_dim;
	a->k_head = c->context * g.y->head_dim;
	a->past = p->past;
}

/* Whether queries, keys and values come of int8 activations: what bfloat16 loses
 * is less than these have lost. */
static bool
is_rough(const struct pass *p, int l)
{
	return pass_slot(p, l, SLOT_Q_W)->code.act == 8 &&
	    pass_slot(p, l, SLOT_K_W)->code.act == 8 &&
	    pass_slot(p, l, SLOT_V_W)->code.act == 8;
}

/* Projects `in` to queries, keys and values and attends; the result is in
 * p->y, one row a query, without the output bias. q_in: rows of the queries. */
static void
attend_block(struct pass *p, int l, int first, int end, const float *in,
    const float *q_in, int64_t queries)
{
	const struct layer *y = &p->m->layer[l];
	const struct forward *f = p->f;
	const int64_t n = p->b->start[end] - p->b->start[first];
	const int64_t qw = (int64_t)y->heads * y->head_dim;
	const int64_t kw = (int64_t)y->kv_heads * y->head_dim;
	float *k = p->work, *v = k + n * kw, *q = v + n * kw;
	float *ctx = q + queries * qw;
	struct attention a = {
		.heads = y->heads, .kv_heads = y->kv_heads,
		.dim = y->head_dim, .causal = pass_flag(p, ARCH_CAUSAL),
		.one = l != p->narrow ? ATTEND_ALL : p->last ? ATTEND_LAST :
		    ATTEND_FIRST,
		.nseq = end - first,
		.start = p->b->start + first, .q = q, .k = k, .v = v,
		.ctx = ctx, .scratch = p->score,
		.scale = (float)p->m->hp.attn_scale,
		.cap = (float)p->m->hp.attn_cap, .window = y->window,
		.rough = is_rough(p, l)
	};
	const struct map set[] = {
		{ SLOT_K_W, SLOT_K_B, ACT_LINEAR, k },
		{ SLOT_V_W, SLOT_V_B, ACT_LINEAR, v },
		{ SLOT_Q_W, SLOT_Q_B, ACT_LINEAR, q }
	};

	if (f->attention && f->attention_layer == l &&
	    f->attention_seq >= first && f->attention_seq < end) {
		a.want = f->attention;
		a.want_seq = f->attention_seq - first;
		a.want_head = head_index(y, f->attention_head);
	}
	show(p, l, ENGINE_SEES_QKV, in, n, p->hidden);
	if (q_in == in)
		kernel_then(pass_slot(p, l, SLOT_O_W));
	maps(p, l, set, q_in == in ? 3 : 2, in, n);
	if (q_in != in)
		maps(p, l, set + 2, 1, q_in, queries);
	turn_heads(p, l, first, end, k, true);
	turn_heads(p, l, first, end, q, false);
	if (f->kv)
		use_cache(p, l, &a);
	attention_run(&a);
	mask_heads(p, l, ctx, queries);
	show(p, l, ENGINE_SEES_OUTPUT, ctx, queries, qw);
	kernel_then(pass_slot(p, l, SLOT_UP_W));
	kernel_matmul(pass_slot(p, l, SLOT_O_W), ctx, queries, p->y, false,
	    p->scratch);
}

/* Attention and what closes it for the sequences [first, end). */
static bool
attention_block(struct pass *p, int l, int first, int end)
{
	const bool narrow = l == p->narrow;
	const int64_t n = p->b->start[end] - p->b->start[first];
	const int64_t queries = narrow ? end - first : n;
	float *x = p->x + p->b->start[first] * p->hidden, *in = x;
	float *x0 = p->x0 + first * p->hidden, *q_in;
	struct elem_norm norm;

	if (pass_flag(p, ARCH_PRE_NORM)) {
		norm = pass_norm(p, l, SLOT_ANORM_W, SLOT_ANORM_B);
		elem_norm(p->in, x, NULL, NULL, &norm, n, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		in = p->in;
	}
	q_in = in;
	if (narrow) {
		gather_one(p, x, first, end, x0);
		q_in = in == x ? x0 : p->in0;
		if (in != x)
			gather_one(p, in, first, end, q_in);
	}
	attend_block(p, l, first, end, in, q_in, queries);
	return close_sublayer(p, l, false, narrow ? x0 : x, p->y,
	    pass_vector(p, l, SLOT_O_B), queries);
}

/* A layer's attention is off when it was removed or is masked. */
static bool
attention_off(const struct pass *p, int l)
{
	const struct engine_mask *k = p->f->mask;

	return p->m->layer[l].heads == 0 ||
	    (k && k->drop_attention && k->drop_attention[l]);
}

static void
mask_neurons(const struct pass *p, int l, float *h, int64_t rows)
{
	const struct engine_mask *mask = p->f->mask;
	const int64_t w = p->m->layer[l].ffn;
	const uint8_t *drop;

	if (!mask || !mask->drop_neurons || !mask->drop_neurons[l])
		return;
	drop = mask->drop_neurons[l];
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < w; c++)
			if (drop[c])
				h[r * w + c] = 0.0f;
}

/* The FFN and what closes it for `rows` rows of x. */
static bool
ffn_block(struct pass *p, int l, float *x, int64_t rows)
{
	const bool gated = pass_flag(p, ARCH_GATED);
	const int64_t w = p->m->layer[l].ffn;
	const enum act_kind act = p->m->hp.act;
	float *h = p->work, *gate = h + rows * w;
	const float *in = x;
	struct elem_norm norm;
	const struct map set[] = {
		{ SLOT_UP_W, SLOT_UP_B, gated ? ACT_LINEAR : act, h },
		{ SLOT_GATE_W, SLOT_GATE_B, act, gate }
	};

	if (pass_flag(p, ARCH_PRE_NORM)) {
		norm = pass_norm(p, l, SLOT_FNORM_W, SLOT_FNORM_B);
		elem_norm(p->in, x, NULL, NULL, &norm, rows, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		in = p->in;
	}
	show(p, l, ENGINE_SEES_FFN, in, rows, p->hidden);
	kernel_then(pass_slot(p, l, SLOT_DOWN_W));
	maps(p, l, set, gated ? 2 : 1, in, rows);
	if (gated)
		elem_mul(h, gate, rows, w);
	mask_neurons(p, l, h, rows);
	show(p, l, ENGINE_SEES_DOWN, h, rows, w);
	kernel_then(l + 1 < p->m->nlayers ? pass_slot(p, l + 1, SLOT_K_W) :
	    NULL);
	kernel_matmul(pass_slot(p, l, SLOT_DOWN_W), h, rows, p->y, false,
	    p->scratch);
	return close_sublayer(p, l, true, x, p->y,
	    pass_vector(p, l, SLOT_DOWN_B), rows);
}

/* ==== layers ==== */

/* The FFN of rows [r, end) of x, at most a block at a time. */
static bool
ffn_part(struct pass *p, int l, int64_t r, int64_t end)
{
	const struct engine_mask *k = p->f->mask;
	bool fine = true;

	if (p->m->layer[l].ffn == 0 || (k && k->drop_ffn && k->drop_ffn[l]))
		return close_sublayer(p, l, true, p->x + r * p->hidden, NULL,
		    NULL, end - r);
	for (int64_t n; r < end; r += n) {
		n = pass_min(p->block, end - r);
		fine = ffn_block(p, l, p->x + r * p->hidden, n) && fine;
	}
	return fine;
}

/* From here on x has one row a sequence. */
static void
narrow_x(struct pass *p)
{
	p->x = p->x0;
	p->rows = p->b->nseq;
}

/* Attention, and the FFN where it has the same rows, for whole sequences. */
static bool
layer_block(struct pass *p, int l, int first, int end)
{
	const int64_t begin = p->b->start[first], stop = p->b->start[end];
	bool fine = true;

	if (attention_off(p, l)) {
		if (l == p->narrow)
			gather_one(p, p->x + begin * p->hidden, first, end,
			    p->x0 + first * p->hidden);
		fine = l == p->narrow ?
		    close_sublayer(p, l, false, p->x0 + first * p->hidden,
		    NULL, NULL, end - first) :
		    close_sublayer(p, l, false, p->x + begin * p->hidden,
		    NULL, NULL, stop - begin);
	} else {
		fine = attention_block(p, l, first, end);
	}
	return (l == p->narrow || ffn_part(p, l, begin, stop)) && fine;
}

/* A layer where x has all tokens. */
static bool
whole_layer(struct pass *p, int l)
{
	bool fine = true;

	for (int s = 0, end; s < p->b->nseq; s = end) {
		if (task_canceled(p->f->task))
			return true;
		end = pass_block_end(p, s);
		fine = layer_block(p, l, s, end) && fine;
	}
	if (l != p->narrow)
		return fine;
	narrow_x(p);
	return ffn_part(p, l, 0, p->rows) && fine;
}

/* A masked layer leaves x as it is, but narrowing still has to happen. */
static bool
run_layer(struct pass *p, int l)
{
	const struct engine_mask *k = p->f->mask;
	const bool drop = k && k->drop_layer && k->drop_layer[l];

	if (drop && l == p->narrow) {
		gather_one(p, p->x, 0, p->b->nseq, p->x0);
		narrow_x(p);
	}
	if (drop)
		return true;
	if (l <= p->narrow)
		return whole_layer(p, l);
	return close_sublayer(p, l, false, p->x, NULL, NULL, p->rows) &&
	    ffn_part(p, l, 0, p->rows);
}

static void
keep_input(struct pass *p, int l)
{
	const struct forward *f = p->f;

	if (!f->keep || l > engine_last_whole(p->m) || !f->keep[l])
		return;
	memcpy(f->keep[l], p->x,
	    (size_t)(p->tokens * p->hidden) * sizeof(*p->x));
	if (f->times)
		p->mark = task_now();
}

static enum pare_rc
run_layers(struct pass *p, struct pare_err *err)
{
	int last = p->m->nlayers - 1;

	if (!p->f->logits && !p->f->hidden && !p->f->take)
		last = p->f->attention ? p->f->attention_layer : -1;
	for (int l = p->f->from; l <= last; l++) {
		if (task_canceled(p->f->task))
			return task_error(err);
		keep_input(p, l);
		if (!run_layer(p, l))
			return err_set(err, PARE_EFORMAT,
			    "non-finite values after layer %d", l);
	}
	return task_canceled(p->f->task) ? task_error(err) : PARE_OK;
}

/* ==== heads ==== */

/* One linear map of a head with its bias and activation. */
static const float *
head_map(struct pass *p, enum slot w, enum slot b, enum act_kind act,
    const float *x, int64_t rows, float *y)
{
	const struct map m = { w, b, act, y };

	maps(p, 0, &m, 1, x, rows);
	return y;
}

/* Pooler, dense, norm and output of `rows` rows of x. */
static void
run_head(struct pass *p, const float *x, int64_t rows, float *logits)
{
	const struct hparams *hp = &p->m->hp;
	struct elem_norm norm = pass_norm(p, 0, SLOT_HNORM_W, SLOT_HNORM_B);
	float *y = p->head[1];

	if (p->token0 && pass_slot(p, 0, SLOT_POOL_W))
		x = head_map(p, SLOT_POOL_W, SLOT_POOL_B, ACT_TANH, x, rows,
		    p->head[0]);
	if (pass_slot(p, 0, SLOT_HDENSE_W))
		x = head_map(p, SLOT_HDENSE_W, SLOT_HDENSE_B,
		    p->token0 ? hp->head_act : hp->act, x, rows, y);
	if (norm.w) {
		elem_norm(y, x, NULL, NULL, &norm, rows,
		    pass_slot(p, 0, SLOT_HNORM_W)->cols);
		x = y;
	}
	head_map(p, SLOT_HOUT_W, SLOT_HOUT_B, ACT_LINEAR, x, rows, logits);
}

/* The token that a classifier of a decoder reads: the last one that is not the
 * padding's id, as Transformers finds it; the first where all are. */
static void
gather_last(const struct pass *p)
{
	const int64_t *start = p->b->start, pad = p->m->hp.pad - 1;

	for (int s = 0; s < p->b->nseq; s++) {
		int64_t at = start[s + 1] - 1;

		while (at > start[s] && p->b->ids[at] == pad)
			at--;
		if (p->b->ids[at] == pad)
			at = start[s];
		memcpy(p->x0 + s * p->hidden, p->x + at * p->hidden,
		    (size_t)p->hidden * sizeof(*p->x0));
	}
}

static void
cap_logits(float *x, int64_t n, float cap)
{
	for (int64_t i = 0; cap > 0.0f && i < n; i++)
		x[i] = cap * tanhf(x[i] / cap);
}

static enum pare_rc
run_heads(struct pass *p, struct pare_err *err)
{
	const int64_t out = pass_slot(p, 0, SLOT_HOUT_W)->rows;
	const int64_t step = pass_single(p) ? p->b->nseq : p->block;
	const int64_t rows = pass_single(p) ? p->b->nseq : p->tokens;
	const float *x = p->x;

	if (pass_single(p) && p->narrow == p->m->nlayers) {
		gather_one(p, p->x, 0, p->b->nseq, p->x0);
		x = p->x0;
	}
	if (p->token0 && pass_flag(p, ARCH_LAST_TOKEN)) {
		gather_last(p);
		x = p->x0;
	}
	for (int64_t r = 0; r < rows; r += step) {
		if (task_canceled(p->f->task))
			return task_error(err);
		run_head(p, x + r * p->hidden, pass_min(step, rows - r),
		    p->f->logits + r * out);
	}
	cap_logits(p->f->logits, rows * out, (float)p->m->hp.logit_cap);
	if (!elem_add(p->f->logits, NULL, NULL, rows, out))
		return err_set(err, PARE_EFORMAT,
		    "non-finite values in the logits");
	return PARE_OK;
}

/* The rows that are asked for, gathered in y, which is free by now. */
static enum pare_rc
run_rows(struct pass *p, struct pare_err *err)
{
	const struct forward *f = p->f;
	const int64_t out = pass_slot(p, 0, SLOT_HOUT_W)->rows;

	for (int64_t r = 0, n; r < f->nrows; r += n) {
		if (task_canceled(f->task))
			return task_error(err);
		n = pass_min(p->piece, f->nrows - r);
		for (int64_t i = 0; i < n; i++)
			memcpy(p->y + i * p->hidden,
			    p->x + f->rows[r + i] * p->hidden,
			    (size_t)p->hidden * sizeof(*p->y));
		run_head(p, p->y, n, p->logits);
		cap_logits(p->logits, n * out, (float)p->m->hp.logit_cap);
		if (!elem_add(p->logits, NULL, NULL, n, out))
			return err_set(err, PARE_EFORMAT,
			    "non-finite values in the logits");
		f->take(p->logits, r, n, f->ctx);
	}
	return PARE_OK;
}

/* x of the first layer that runs. */
static enum pare_rc
begin(struct pass *p, struct pare_err *err)
{
	bool fine = true;

	if (p->f->input)
		memcpy(p->x, p->f->input,
		    (size_t)(p->tokens * p->hidden) * sizeof(*p->x));
	else
		fine = pass_embed(p);
	if (p->f->times)
		charge(p, &p->f->times->embed);
	return fine ? PARE_OK : err_set(err, PARE_EFORMAT,
	    "non-finite values after the embeddings");
}

/* What comes after the layers. */
static enum pare_rc
finish(struct pass *p, struct pare_err *err)
{
	struct elem_norm last = pass_norm(p, 0, SLOT_FINAL_W, SLOT_FINAL_B);

	if (last.w && !elem_norm(p->x, p->x, NULL, NULL, &last, p->rows,
	    p->hidden))
		return err_set(err, PARE_EFORMAT,
		    "non-finite values after the last norm");
	if (p->f->hidden)
		memcpy(p->f->hidden, p->x,
		    (size_t)(p->tokens * p->hidden) * sizeof(*p->x));
	if (p->f->take && run_rows(p, err) != PARE_OK)
		return err->rc;
	return p->f->logits ? run_heads(p, err) : PARE_OK;
}

/* What the threads stand by for. */
struct drive {
	struct pass *p;
	struct arena *memory;
	struct pare_err *err;
	enum pare_rc rc;
};

static void
drive(void *arg)
{
	struct drive *d = arg;
	struct pass *p = d->p;

	if ((d->rc = pass_open(p, d->memory, d->err)) != PARE_OK ||
	    (d->rc = begin(p, d->err)) != PARE_OK ||
	    (d->rc = run_layers(p, d->err)) != PARE_OK)
		return;
	d->rc = finish(p, d->err);
	if (p->f->times)
		charge(p, &p->f->times->head);
}

enum pare_rc
forward_run(struct arena *memory, const struct model *m,
    const struct batch *b, struct forward *f, struct pare_err *err)
{
	struct pass p = { .m = m, .b = b, .f = f };
	struct drive d = { &p, memory, err, PARE_OK };

	if (f->times)
		p.mark = task_now();
	kernel_bind();
	team_hold(drive, &d);
	if (d.rc == PARE_OK && f->kv)
		f->kv->length += p.tokens;
	return d.rc;
}
