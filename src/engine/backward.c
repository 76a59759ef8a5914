/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * backward: reverse-mode differentiation by hand. Each piece of the pass is a
 * pair of functions: one that computes and remembers what the way back needs,
 * one that turns the gradient of its output into that of its input and adds up
 * the gradients of its weights.
 *
 * For y = x W^T:  dx = dy W,  dW += dy^T x. With W = A B the product x B^T is
 * computed again rather than remembered.
 *
 * A pre-norm sub-layer adds to a stream that nothing else touches, so on the way
 * back its gradient is added to that of the stream; a post-norm one is followed
 * by a norm that the gradient goes through first.
 *
 * The logits of a language model are as wide as its vocabulary, so its head goes
 * forward and back for a few rows at a time: how many targets there are is known
 * before, and no row's gradient depends on another row.
 *
 * Dropout sits where the architectures' authors put it: after the embeddings,
 * on attention probabilities, on both sub-layers' outputs and before the
 * classifier; each place is a site with a key of its own.
 */
#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/attention.h"
#include "engine/backward.h"
#include "engine/elementwise.h"
#include "engine/rope.h"
#include "model/arch.h"
#include "tensor/kernel.h"
#include "tensor/team.h"

enum { LM_ROWS = 512 };	/* rows of logits of a language model at a time */

enum { SITE_EMBED, SITE_HEAD, SITE_LAYER };
enum { SITE_PROBS, SITE_ATTENTION, SITE_FFN, SITES_A_LAYER };

/* What a layer remembers. T tokens; widths H, Q, K and F are the layer's own. */
struct tape_layer {
	const float *in;	/* (T, H): out of the layer before */
	float *ain, *fin;	/* (T, H): what the sub-layers see; NULL: post-norm
				 * ones see in and mid */
	float *q, *k, *v, *ctx;	/* (T, Q or K); q and k as they meet */
	float *qraw, *kraw;	/* before the norms of heads; NULL: no such */
	float *p;		/* attention probabilities */
	float *araw, *fraw;	/* (T, H): before APOST and FPOST; NULL */
	float *asum, *mid;	/* (T, H): into and out of the norm; pre-norm:
				 * the same */
	float *pre, *act;	/* (T, F): before and after the activation; with
				 * a gate: up x, and the product with the gate */
	float *gate, *gact;	/* (T, F): the gate before and after it */
	float *fsum, *out;	/* (T, H) */
	float *amean, *arstd, *fmean, *frstd;	/* (T) */
	float *apmean, *aprstd, *fpmean, *fprstd;	/* (T): of APOST, FPOST */
	float *qmean, *qrstd, *kmean, *krstd;	/* (T, heads) */
};

struct tape {
	struct learner *l;
	const struct model *m;
	struct arena *a;	/* laid out by take_buffers() */
	int nseq;
	int64_t tokens, longest, squares;
	int64_t hidden, embed, wide, most;	/* most: the widest layer matrix */
	int64_t head_dim;	/* the widest */
	int64_t *start, *offset;	/* nseq + 1 */
	int32_t *id, *type, *position;	/* T */
	float *e, *esum, *emean, *erstd;	/* (T, embed), (T) */
	float *x;		/* (T, hidden): into layer 0 */
	struct tape_layer *layer;
	float *first;		/* (nseq, hidden): token 0 of each */
	float *pool, *pool_pre, *dense, *dense_pre, *norm;	/* (nseq, wide) */
	float *hmean, *hrstd;
	float *hin;		/* what HOUT sees */
	float *logits;		/* (nseq, labels), or some rows of (T, vocab), and
				 * then their gradient */
	int32_t *target;	/* (T): what comes next; -1: nothing */
	float *soft;		/* (nseq, labels) or (T, vocab): the teacher's
				 * logits; NULL: no teacher */
	double *room;		/* (threads, 2, labels or vocab) */
	double *row_loss;	/* (LM_ROWS) */
	int64_t targets;
	float *final, *nmean, *nrstd;	/* (T, hidden), (T): the last norm */
	float *cosine, *sine, *back;	/* rotation and, back, -sine */
	float *gain;		/* 1 + w of every norm, where w is short of it */
	float *d, *d2;		/* (T, wide): gradients on the way back */
	float *t1, *t2, *t3, *t4;	/* (T, most): working matrices */
	float *low, *low2;	/* (T, largest rank) */
	float *score;
};

const struct link *
learner_link(const struct learner *l, int layer, enum slot s)
{
	return l->link + (s < SLOT_LAYER_COUNT ? layer * SLOT_LAYER_COUNT + s :
	    l->m->nlayers * SLOT_LAYER_COUNT + (s - SLOT_LAYER_COUNT));
}

static struct param *
param_of(struct learner_weights *w, const struct tensor *t,
    struct pare_err *err)
{
	struct param *p;

	for (int i = 0; i < w->n; i++)
		if (w->param[i].t == t)
			return &w->param[i];
	p = &w->param[w->n];
	*p = (struct param){ .rows = t->rows, .cols = t->cols };
	p->w = (float *)(uintptr_t)tensor_f32(t);
	if (p->w == NULL) {
		p->w = mem_big((size_t)t->rows, (size_t)t->cols *
		    sizeof(*p->w), err);
		if (p->w == NULL)
			return NULL;
		w->owned[w->n] = p->w;
		tensor_decode(t, 0, t->rows, p->w);
	}
	p->t = tensor_ref(t);
	w->n++;
	return p;
}

enum pare_rc
learner_weights_open(struct learner_weights *w, const struct model *m,
    struct pare_err *err)
{
	const size_t n = (size_t)(m->nlayers * SLOT_LAYER_COUNT + SLOT_COUNT -
	    SLOT_LAYER_COUNT);
	struct slot_ref ref = SLOT_REF_START;
	struct learner l = { .m = m };

	*w = (struct learner_weights){
		.link = xcalloc(n, sizeof(*w->link)),
		.param = xcalloc(2 * n, sizeof(*w->param)),
		.owned = xcalloc(2 * n, sizeof(*w->owned)) };
	l.link = w->link;
	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		struct link *k = (struct link *)(uintptr_t)learner_link(&l,
		    ref.layer, ref.slot);
		bool low = t->form == FORM_LOWRANK;

		k->a = param_of(w, low ? t->kid[0] : t, err);
		if (k->a != NULL && low)
			k->b = param_of(w, t->kid[1], err);
		if (k->a == NULL || (low && k->b == NULL))
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

void
learner_weights_free(struct learner_weights *w)
{
	for (int i = 0; i < w->n; i++) {
		tensor_unref(w->param[i].t);
		free(w->owned[i]);
	}
	free(w->owned);
	free(w->param);
	free(w->link);
	*w = (struct learner_weights){ NULL, NULL, NULL, 0 };
}

static const struct link *
link_of(const struct tape *t, int layer, enum slot s)
{
	return learner_link(t->l, layer, s);
}

static float *
weights_of(const struct tape *t, int layer, enum slot s)
{
	const struct link *k = link_of(t, layer, s);

	return k->a ? k->a->w : NULL;
}

static float *
grads_of(const struct tape *t, int layer, enum slot s)
{
	const struct link *k = link_of(t, layer, s);

	return k->a ? k->a->g : NULL;
}

static bool
flag(const struct tape *t, unsigned f)
{
	return (t->m->arch->flags & f) != 0;
}

static struct elem_drop
drop_at(const struct tape *t, int site, float rate)
{
	const struct learner *l = t->l;
	uint64_t step = (uint64_t)(l->dropout_step < 0 ? 0 : l->dropout_step);

	return (struct elem_drop){
		.key = rng_derive(rng_derive(l->seed, step), (uint64_t)site),
		.rate = l->dropout_step < 0 ? 0.0f : rate
	};
}

static struct elem_drop
layer_drop(const struct tape *t, int layer, int site)
{
	return drop_at(t, SITE_LAYER + layer * SITES_A_LAYER + site,
	    site == SITE_PROBS ? t->l->attention_dropout : t->l->dropout);
}

/* ==== products ==== */

/* c (m, n) = a (m, k) b^T (n, k) */
static void
times_transposed(const float *a, const float *b, int64_t m, int64_t n,
    int64_t k, float *c)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m,
	    (blasint)n, (blasint)k, 1.0f, a, (blasint)k, b, (blasint)k, 0.0f,
	    c, (blasint)n);
}

/* c (m, n) = a (m, k) b (k, n), or added to c */
static void
times(const float *a, const float *b, int64_t m, int64_t n, int64_t k,
    bool add, float *c)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m,
	    (blasint)n, (blasint)k, 1.0f, a, (blasint)k, b, (blasint)n,
	    add ? 1.0f : 0.0f, c, (blasint)n);
}

/* c (m, n) += a^T b for a (k, m), b (k, n) */
static void
add_outer(const float *a, const float *b, int64_t m, int64_t n, int64_t k,
    float *c)
{
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m,
	    (blasint)n, (blasint)k, 1.0f, a, (blasint)m, b, (blasint)n, 1.0f,
	    c, (blasint)n);
}

/* y (n, rows) = x (n, cols) W^T + bias */
static void
linear(const struct tape *t, int layer, enum slot w, enum slot b,
    const float *x, int64_t n, float *y)
{
	const struct link *k = link_of(t, layer, w);
	const int64_t rows = k->a->rows;

	if (k->b) {
		times_transposed(x, k->b->w, n, k->b->rows, k->b->cols, t->low);
		times_transposed(t->low, k->a->w, n, rows, k->a->cols, y);
	} else {
		times_transposed(x, k->a->w, n, rows, k->a->cols, y);
	}
	elem_bias_act(y, weights_of(t, layer, b), ACT_LINEAR, n, rows);
}

/* dx (NULL: not wanted) and the gradients of W and bias from dy. */
static void
linear_back(const struct tape *t, int layer, enum slot w, enum slot b,
    const float *x, const float *dy, int64_t n, float *dx, bool add)
{
	const struct link *k = link_of(t, layer, w);
	const struct param *a = k->a;

	if (grads_of(t, layer, b))
		elem_sum_rows(grads_of(t, layer, b), dy, n, a->rows);
	if (!k->b) {
		if (a->g)
			add_outer(dy, x, a->rows, a->cols, n, a->g);
		if (dx)
			times(dy, a->w, n, a->cols, a->rows, add, dx);
		return;
	}
	times_transposed(x, k->b->w, n, a->cols, k->b->cols, t->low);
	if (a->g)
		add_outer(dy, t->low, a->rows, a->cols, n, a->g);
	times(dy, a->w, n, a->cols, a->rows, false, t->low2);
	if (k->b->g)
		add_outer(t->low2, x, k->b->rows, k->b->cols, n, k->b->g);
	if (dx)
		times(t->low2, k->b->w, n, k->b->cols, a->cols, add, dx);
}

/* What a norm multiplies by. */
static const float *
gain_of(const struct tape *t, int layer, enum slot s)
{
	const struct link *k = link_of(t, layer, s);
	float *out;

	if (!k->a || !flag(t, ARCH_NORM_ONE) ||
	    slot_table[s].kind != KIND_NORM)
		return k->a ? k->a->w : NULL;
	out = t->gain + (k - t->l->link) * t->wide;
	for (int64_t c = 0; c < k->a->cols; c++)
		out[c] = 1.0f + k->a->w[c];
	return out;
}

/* b SLOT_COUNT: the norm has none. */
static struct elem_norm
norm_of(const struct tape *t, int layer, enum slot w, enum slot b,
    float *mean, float *rstd)
{
	return (struct elem_norm){
		.w = gain_of(t, layer, w),
		.b = b < SLOT_COUNT ? weights_of(t, layer, b) : NULL,
		.eps = (float)t->m->hp.norm_eps,
		.rms = flag(t, ARCH_RMS_NORM), .mean = mean, .rstd = rstd,
		.frozen = t->l->watch && t->l->watch->relevance
	};
}

/* ==== watching ==== */

static bool
wants_relevance(const struct tape *t)
{
	return t->l->watch && t->l->watch->relevance;
}

/* Nobody asks for more than the gradients at the places of the first layer. */
static bool
ends_early(const struct tape *t)
{
	return t->l->watch && !t->l->watch->whole;
}

static void
show(const struct tape *t, int l, enum learner_place place, const float *x,
    const float *minus, const float *dx, int64_t cols)
{
	const struct learner_watch *w = t->l->watch;

	if (w)
		w->see(w->ctx, l, place, x, minus, dx, cols);
}

/* d *= f(x) / x, which near 0 is what it tends to. */
static void
act_relevance(float *d, const float *x, enum act_kind act, int64_t n)
{
	const float tiny = 1e-4f, limit = act_apply(act, tiny) / tiny;

	for (int64_t i = 0; i < n; i++)
		d[i] *= fabsf(x[i]) < tiny ? limit :
		    act_apply(act, x[i]) / x[i];
}

static void
act_back(const struct tape *t, float *d, const float *x, enum act_kind act,
    int64_t n)
{
	if (wants_relevance(t))
		act_relevance(d, x, act, n);
	else
		elem_act_back(d, x, act, n);
}

/* Back through the norm n, whose input was x: d becomes the gradient of x. */
static void
norm_back(const struct tape *t, const struct elem_norm *n, int layer,
    enum slot w, enum slot b, const float *x, float *d, int64_t rows,
    int64_t cols)
{
	elem_norm_back(d, d, x, n, grads_of(t, layer, w),
	    b < SLOT_COUNT ? grads_of(t, layer, b) : NULL, rows, cols);
}

/* ==== embeddings ==== */

/* e += rows index[0..T) of a table. */
static void
look_up(const struct tape *t, enum slot s, const int32_t *index)
{
	const struct link *k = link_of(t, 0, s);
	const struct param *a = k->a;
	float *to = k->b ? t->low : t->esum;

	if (!a)
		return;
	if (k->b)
		memset(t->low, 0,
		    (size_t)(t->tokens * a->cols) * sizeof(*t->low));
	for (int64_t i = 0; i < t->tokens; i++)
		for (int64_t c = 0; c < a->cols; c++)
			to[i * a->cols + c] += a->w[index[i] * a->cols + c];
	if (k->b)
		times(t->low, k->b->w, t->tokens, t->embed, a->cols, true,
		    t->esum);
}

static void
look_up_back(const struct tape *t, enum slot s, const int32_t *index,
    const float *de)
{
	const struct link *k = link_of(t, 0, s);
	const struct param *a = k->a;
	const float *from = de;

	if (!a || !a->g)
		return;
	if (k->b) {
		for (int64_t i = 0; i < t->tokens; i++)
			memcpy(t->low + i * a->cols, a->w + index[i] * a->cols,
			    (size_t)a->cols * sizeof(*t->low));
		add_outer(t->low, de, a->cols, t->embed, t->tokens, k->b->g);
		times_transposed(de, k->b->w, t->tokens, a->cols, t->embed,
		    t->low2);
		from = t->low2;
	}
	for (int64_t i = 0; i < t->tokens; i++)
		for (int64_t c = 0; c < a->cols; c++)
			a->g[index[i] * a->cols + c] += from[i * a->cols + c];
}

/* Gemma's factor of the embeddings, and of their gradient. */
static void
scale_rows(const struct tape *t, float *x)
{
	const float scale = (float)t->m->hp.embed_scale;

	for (int64_t i = 0; scale != 0.0f && i < t->tokens * t->embed; i++)
		x[i] *= scale;
}

static void
embed(struct tape *t)
{
	const struct elem_norm n = norm_of(t, 0, SLOT_ENORM_W, SLOT_ENORM_B,
	    t->emean, t->erstd);
	const struct elem_drop drop = drop_at(t, SITE_EMBED, t->l->dropout);
	const size_t bytes = (size_t)(t->tokens * t->embed) * sizeof(*t->e);

	memset(t->esum, 0, bytes);
	look_up(t, SLOT_WORD, t->id);
	look_up(t, SLOT_POSITION, t->position);
	look_up(t, SLOT_TYPE, t->type);
	scale_rows(t, t->esum);
	if (n.w)
		elem_norm(t->e, t->esum, NULL, NULL, &n, t->tokens, t->embed);
	else
		memcpy(t->e, t->esum, bytes);
	elem_drop(t->e, t->tokens, t->embed, &drop);
	if (t->x != t->e)
		linear(t, 0, SLOT_PROJ_W, SLOT_PROJ_B, t->e, t->tokens, t->x);
}

static void
embed_back(struct tape *t)
{
	const struct elem_norm n = norm_of(t, 0, SLOT_ENORM_W, SLOT_ENORM_B,
	    t->emean, t->erstd);
	const struct elem_drop drop = drop_at(t, SITE_EMBED, t->l->dropout);
	float *d = t->d;

	if (t->x != t->e) {
		linear_back(t, 0, SLOT_PROJ_W, SLOT_PROJ_B, t->e, d,
		    t->tokens, t->d2, false);
		d = t->d2;
	}
	elem_drop(d, t->tokens, t->embed, &drop);
	if (n.w)
		elem_norm_back(d, d, t->esum, &n,
		    grads_of(t, 0, SLOT_ENORM_W),
		    grads_of(t, 0, SLOT_ENORM_B), t->tokens, t->embed);
	scale_rows(t, d);
	look_up_back(t, SLOT_WORD, t->id, d);
	look_up_back(t, SLOT_POSITION, t->position, d);
	look_up_back(t, SLOT_TYPE, t->type, d);
}

/* ==== layers ==== */

static struct attention_tape
attention_of(const struct tape *t, int l)
{
	const struct tape_layer *y = &t->layer[l];
	const struct layer *shape = &t->m->layer[l];

	return (struct attention_tape){
		.a = {
			.heads = shape->heads, .kv_heads = shape->kv_heads,
			.dim = shape->head_dim, .nseq = t->nseq,
			.causal = flag(t, ARCH_CAUSAL),
			.scale = (float)t->m->hp.attn_scale,
			.cap = (float)t->m->hp.attn_cap,
			.window = shape->window,
			.start = t->start, .q = y->q, .k = y->k, .v = y->v,
			.ctx = y->ctx, .scratch = t->score
		},
		.offset = t->offset, .p = y->p,
		.drop = layer_drop(t, l, SITE_PROBS)
	};
}

/* Rotates rows of heads, or turns their gradient back. */
struct turning {
	const struct tape *t;
	float *x;
	const float *sine;
	int heads, dim;
};

static void
turn_sequence(void *arg, int64_t i, int thread)
{
	const struct turning *r = arg;
	const int64_t *start = r->t->start + i;

	rope_turn(r->x + start[0] * r->heads * r->dim, start[1] - start[0],
	    r->heads, r->dim, r->t->m->hp.rope.interleaved, r->t->cosine,
	    r->sine);
}

static void
turn(const struct tape *t, int l, float *x, bool keys, const float *sine)
{
	const struct layer *y = &t->m->layer[l];
	struct turning r = { t, x, sine, keys ? y->kv_heads : y->heads,
	    y->head_dim };

	if (flag(t, ARCH_ROTARY))
		team_for(t->nseq, turn_sequence, &r);
}

/* Queries or keys as they meet: projected, each head normed, rotated. */
static void
meet(const struct tape *t, int l, const float *in, bool keys)
{
	const struct tape_layer *y = &t->layer[l];
	const struct layer *shape = &t->m->layer[l];
	const int heads = keys ? shape->kv_heads : shape->heads;
	float *raw = keys ? y->kraw : y->qraw, *out = keys ? y->k : y->q;
	struct elem_norm n;

	linear(t, l, keys ? SLOT_K_W : SLOT_Q_W, keys ? SLOT_K_B : SLOT_Q_B, in,
	    t->tokens, raw ? raw : out);
	if (raw) {
		n = norm_of(t, l, keys ? SLOT_KNORM_W : SLOT_QNORM_W,
		    SLOT_COUNT, keys ? y->kmean : y->qmean,
		    keys ? y->krstd : y->qrstd);
		elem_norm(out, raw, NULL, NULL, &n, t->tokens * heads,
		    shape->head_dim);
	}
	turn(t, l, out, keys, t->sine);
}

/* d: the gradient of what meet() made; adds to or sets dx. */
static void
meet_back(const struct tape *t, int l, const float *in, bool keys, float *d,
    float *dx, bool add)
{
	const struct tape_layer *y = &t->layer[l];
	const struct layer *shape = &t->m->layer[l];
	const int heads = keys ? shape->kv_heads : shape->heads;
	const enum slot w = keys ? SLOT_KNORM_W : SLOT_QNORM_W;
	const float *raw = keys ? y->kraw : y->qraw;
	struct elem_norm n;

	turn(t, l, d, keys, t->back);
	if (raw) {
		n = norm_of(t, l, w, SLOT_COUNT, keys ? y->kmean : y->qmean,
		    keys ? y->krstd : y->qrstd);
		norm_back(t, &n, l, w, SLOT_COUNT, raw, d, t->tokens * heads,
		    shape->head_dim);
	}
	linear_back(t, l, keys ? SLOT_K_W : SLOT_Q_W,
	    keys ? SLOT_K_B : SLOT_Q_B, in, d, t->tokens, dx, add);
}

static struct elem_norm
attention_norm(const struct tape *t, int l)
{
	return norm_of(t, l, SLOT_ANORM_W, SLOT_ANORM_B, t->layer[l].amean,
	    t->layer[l].arstd);
}

static struct elem_norm
ffn_norm(const struct tape *t, int l)
{
	return norm_of(t, l, SLOT_FNORM_W, SLOT_FNORM_B, t->layer[l].fmean,
	    t->layer[l].frstd);
}

/* The end of a sub-layer: sum = post(raw) with dropout, plus the residual. raw is
 * sum itself where there is no such norm. */
static void
close_sublayer(const struct tape *t, float *sum, const float *raw,
    const struct elem_norm *post, const struct elem_drop *drop, const float *x)
{
	if (raw)
		elem_norm(sum, raw, NULL, NULL, post, t->tokens, t->hidden);
	elem_drop(sum, t->tokens, t->hidden, drop);
	elem_add(sum, x, NULL, t->tokens, t->hidden);
}

/* post-norm: mid = norm(in + attention(in)); pre-norm: mid = in +
 * attention(norm(in)) */
static void
attention(struct tape *t, int l)
{
	struct tape_layer *y = &t->layer[l];
	const struct elem_norm n = attention_norm(t, l);
	const struct elem_norm post = norm_of(t, l, SLOT_APOST_W, SLOT_COUNT,
	    y->apmean, y->aprstd);
	const struct elem_drop drop = layer_drop(t, l, SITE_ATTENTION);
	const int64_t h = t->hidden;
	struct attention_tape a = attention_of(t, l);
	const float *in = y->ain ? y->ain : y->in;

	if (t->m->layer[l].heads == 0) {
		memcpy(y->asum, y->in,
		    (size_t)(t->tokens * h) * sizeof(*y->asum));
	} else {
		if (y->ain)
			elem_norm(y->ain, y->in, NULL, NULL, &n, t->tokens, h);
		meet(t, l, in, false);
		meet(t, l, in, true);
		linear(t, l, SLOT_V_W, SLOT_V_B, in, t->tokens, y->v);
		attention_keep(&a);
		linear(t, l, SLOT_O_W, SLOT_O_B, y->ctx, t->tokens,
		    y->araw ? y->araw : y->asum);
		close_sublayer(t, y->asum, y->araw, &post, &drop, y->in);
	}
	if (y->mid != y->asum)
		elem_norm(y->mid, y->asum, NULL, NULL, &n, t->tokens, h);
}

static void
attention_part_back(struct tape *t, int l)
{
	const struct tape_layer *y = &t->layer[l];
	const struct elem_norm n = attention_norm(t, l);
	const struct elem_norm post = norm_of(t, l, SLOT_APOST_W, SLOT_COUNT,
	    y->apmean, y->aprstd);
	const struct elem_drop drop = layer_drop(t, l, SITE_ATTENTION);
	const int64_t h = t->hidden;
	const float *in = y->ain ? y->ain : y->in;
	struct attention_tape a = attention_of(t, l);
	float *dctx = t->t1, *dq = t->t2, *dk = t->t3, *dv = t->t4;
	float *dx = y->ain ? t->d2 : t->d;

	if (!y->ain)
		norm_back(t, &n, l, SLOT_ANORM_W, SLOT_ANORM_B, y->asum, t->d,
		    t->tokens, h);
	if (t->m->layer[l].heads == 0)
		return;
	show(t, l, LEARNER_ATTENTION, y->asum, y->in, t->d, h);
	memcpy(t->d2, t->d, (size_t)(t->tokens * h) * sizeof(*t->d));
	elem_drop(t->d2, t->tokens, h, &drop);
	if (y->araw)
		norm_back(t, &post, l, SLOT_APOST_W, SLOT_COUNT, y->araw,
		    t->d2, t->tokens, h);
	linear_back(t, l, SLOT_O_W, SLOT_O_B, y->ctx, t->d2, t->tokens, dctx,
	    false);
	show(t, l, LEARNER_CONTEXT, y->ctx, NULL, dctx,
	    (int64_t)a.a.heads * a.a.dim);
	if (l == 0 && ends_early(t))
		return;
	attention_back(&a, dctx, dq, dk, dv);
	if (!wants_relevance(t)) {
		meet_back(t, l, in, false, dq, dx, !y->ain);
		meet_back(t, l, in, true, dk, dx, true);
	}
	linear_back(t, l, SLOT_V_W, SLOT_V_B, in, dv, t->tokens, dx,
	    !y->ain || !wants_relevance(t));
	if (!y->ain)
		return;
	norm_back(t, &n, l, SLOT_ANORM_W, SLOT_ANORM_B, y->in, dx, t->tokens,
	    h);
	elem_add(t->d, dx, NULL, t->tokens, h);
}

/* The wide part: act(up x), or act(gate x) * up x. */
static void
widen(const struct tape *t, int l, const float *in)
{
	const struct tape_layer *y = &t->layer[l];
	const int64_t w = t->m->layer[l].ffn;
	const size_t bytes = (size_t)(t->tokens * w) * sizeof(*y->act);

	linear(t, l, SLOT_UP_W, SLOT_UP_B, in, t->tokens, y->pre);
	memcpy(y->act, y->pre, bytes);
	if (!y->gate) {
		elem_bias_act(y->act, NULL, t->m->hp.act, t->tokens, w);
		return;
	}
	linear(t, l, SLOT_GATE_W, SLOT_GATE_B, in, t->tokens, y->gate);
	memcpy(y->gact, y->gate, bytes);
	elem_bias_act(y->gact, NULL, t->m->hp.act, t->tokens, w);
	elem_mul(y->act, y->gact, t->tokens, w);
}

/* d (t->t1): the gradient of what widen() made. */
static void
widen_back(const struct tape *t, int l, const float *in, float *d, float *dx,
    bool add)
{
	const struct tape_layer *y = &t->layer[l];
	const int64_t w = t->m->layer[l].ffn;
	float *dgate = t->t2;

	if (!y->gate) {
		act_back(t, d, y->pre, t->m->hp.act, t->tokens * w);
		linear_back(t, l, SLOT_UP_W, SLOT_UP_B, in, d, t->tokens, dx,
		    add);
		return;
	}
	memcpy(dgate, d, (size_t)(t->tokens * w) * sizeof(*d));
	elem_mul(d, y->gact, t->tokens, w);
	linear_back(t, l, SLOT_UP_W, SLOT_UP_B, in, d, t->tokens, dx, add);
	/* Of a product, relevance goes to the part that is linear. */
	if (wants_relevance(t))
		return;
	elem_mul(dgate, y->pre, t->tokens, w);
	elem_act_back(dgate, y->gate, t->m->hp.act, t->tokens * w);
	linear_back(t, l, SLOT_GATE_W, SLOT_GATE_B, in, dgate, t->tokens, dx,
	    true);
}

/* post-norm: out = norm(mid + ffn(mid)); pre-norm: out = mid + ffn(norm(mid)) */
static void
ffn(struct tape *t, int l)
{
	struct tape_layer *y = &t->layer[l];
	const struct elem_norm n = ffn_norm(t, l);
	const struct elem_norm post = norm_of(t, l, SLOT_FPOST_W, SLOT_COUNT,
	    y->fpmean, y->fprstd);
	const struct elem_drop drop = layer_drop(t, l, SITE_FFN);
	const int64_t h = t->hidden;

	if (t->m->layer[l].ffn == 0) {
		memcpy(y->fsum, y->mid,
		    (size_t)(t->tokens * h) * sizeof(*y->fsum));
	} else {
		if (y->fin)
			elem_norm(y->fin, y->mid, NULL, NULL, &n, t->tokens, h);
		widen(t, l, y->fin ? y->fin : y->mid);
		linear(t, l, SLOT_DOWN_W, SLOT_DOWN_B, y->act, t->tokens,
		    y->fraw ? y->fraw : y->fsum);
		close_sublayer(t, y->fsum, y->fraw, &post, &drop, y->mid);
	}
	if (y->out != y->fsum)
		elem_norm(y->out, y->fsum, NULL, NULL, &n, t->tokens, h);
}

static void
ffn_back(struct tape *t, int l)
{
	const struct tape_layer *y = &t->layer[l];
	const struct elem_norm n = ffn_norm(t, l);
	const struct elem_norm post = norm_of(t, l, SLOT_FPOST_W, SLOT_COUNT,
	    y->fpmean, y->fprstd);
	const struct elem_drop drop = layer_drop(t, l, SITE_FFN);
	const int64_t h = t->hidden;
	float *dx = y->fin ? t->d2 : t->d;

	show(t, l, LEARNER_LAYER, y->out, y->in, t->d, h);
	if (!y->fin)
		norm_back(t, &n, l, SLOT_FNORM_W, SLOT_FNORM_B, y->fsum, t->d,
		    t->tokens, h);
	if (t->m->layer[l].ffn == 0)
		return;
	show(t, l, LEARNER_FFN, y->fsum, y->mid, t->d, h);
	memcpy(t->d2, t->d, (size_t)(t->tokens * h) * sizeof(*t->d));
	elem_drop(t->d2, t->tokens, h, &drop);
	if (y->fraw)
		norm_back(t, &post, l, SLOT_FPOST_W, SLOT_COUNT, y->fraw,
		    t->d2, t->tokens, h);
	linear_back(t, l, SLOT_DOWN_W, SLOT_DOWN_B, y->act, t->d2, t->tokens,
	    t->t1, false);
	show(t, l, LEARNER_NEURONS, y->act, NULL, t->t1,
	    t->m->layer[l].ffn);
	widen_back(t, l, y->fin ? y->fin : y->mid, t->t1, dx, !y->fin);
	if (!y->fin)
		return;
	norm_back(t, &n, l, SLOT_FNORM_W, SLOT_FNORM_B, y->mid, dx, t->tokens,
	    h);
	elem_add(t->d, dx, NULL, t->tokens, h);
}

/* ==== the head and the loss ==== */

static bool
has(const struct tape *t, enum slot s)
{
	return link_of(t, 0, s)->a != NULL;
}

/* out = act(x W^T + b), keeping what came before the activation in pre. */
static const float *
dense(struct tape *t, enum slot w, enum slot b, enum act_kind act,
    const float *x, float *pre, float *out)
{
	const int64_t n = t->nseq, width = link_of(t, 0, w)->a->rows;

	linear(t, 0, w, b, x, n, pre);
	memcpy(out, pre, (size_t)(n * width) * sizeof(*out));
	elem_bias_act(out, NULL, act, n, width);
	return out;
}

/* The columns HOUT reads. */
static int64_t
head_width(const struct tape *t)
{
	const struct link *k = link_of(t, 0, SLOT_HOUT_W);

	return k->b ? k->b->cols : k->a->cols;
}

static void
head(struct tape *t)
{
	const float *out = t->layer[t->m->nlayers - 1].out, *x = t->first;
	const struct elem_norm n = norm_of(t, 0, SLOT_HNORM_W, SLOT_HNORM_B,
	    t->hmean, t->hrstd);
	const struct elem_drop drop = drop_at(t, SITE_HEAD, t->l->dropout);
	const int64_t width = head_width(t);

	for (int s = 0; s < t->nseq; s++)
		memcpy(t->first + s * t->hidden, out + t->start[s] * t->hidden,
		    (size_t)t->hidden * sizeof(*out));
	if (has(t, SLOT_POOL_W))
		x = dense(t, SLOT_POOL_W, SLOT_POOL_B, ACT_TANH, x,
		    t->pool_pre, t->pool);
	if (has(t, SLOT_HDENSE_W))
		x = dense(t, SLOT_HDENSE_W, SLOT_HDENSE_B, t->m->hp.head_act,
		    x, t->dense_pre, t->dense);
	if (n.w) {
		elem_norm(t->norm, x, NULL, NULL, &n, t->nseq, width);
		x = t->norm;
	}
	memcpy(t->hin, x, (size_t)(t->nseq * width) * sizeof(*x));
	elem_drop(t->hin, t->nseq, width, &drop);
	linear(t, 0, SLOT_HOUT_W, SLOT_HOUT_B, t->hin, t->nseq, t->logits);
}

/* Gradient of the logits in t->logits; leaves that of the stream in t->d. */
static void
head_back(struct tape *t)
{
	const struct elem_norm n = norm_of(t, 0, SLOT_HNORM_W, SLOT_HNORM_B,
	    t->hmean, t->hrstd);
	const struct elem_drop drop = drop_at(t, SITE_HEAD, t->l->dropout);
	const bool pool = has(t, SLOT_POOL_W), mid = has(t, SLOT_HDENSE_W);
	const float *pooled = pool ? t->pool : t->first;
	const int64_t width = head_width(t), h = t->hidden;
	float *d = t->t1;

	linear_back(t, 0, SLOT_HOUT_W, SLOT_HOUT_B, t->hin, t->logits,
	    t->nseq, d, false);
	elem_drop(d, t->nseq, width, &drop);
	if (n.w)
		elem_norm_back(d, d, mid ? t->dense : pooled, &n,
		    grads_of(t, 0, SLOT_HNORM_W),
		    grads_of(t, 0, SLOT_HNORM_B), t->nseq, width);
	if (mid) {
		act_back(t, d, t->dense_pre, t->m->hp.head_act,
		    t->nseq * width);
		linear_back(t, 0, SLOT_HDENSE_W, SLOT_HDENSE_B, pooled, d,
		    t->nseq, t->t2, false);
		d = t->t2;
	}
	if (pool) {
		act_back(t, d, t->pool_pre, ACT_TANH, t->nseq * h);
		linear_back(t, 0, SLOT_POOL_W, SLOT_POOL_B, t->first, d,
		    t->nseq, t->t3, false);
		d = t->t3;
	}
	memset(t->d, 0, (size_t)(t->tokens * h) * sizeof(*t->d));
	for (int s = 0; s < t->nseq; s++)
		memcpy(t->d + t->start[s] * h, d + s * h,
		    (size_t)h * sizeof(*d));
}

/* Cross-entropy against (1 - s) onehot + s / C; its gradient replaces z. */
static double
cross_entropy(float *z, int64_t classes, int label, double smoothing,
    int64_t n)
{
	double top = z[0], sum = 0, loss = 0;

	for (int64_t c = 0; c < classes; c++)
		top = z[c] > top ? z[c] : top;
	for (int64_t c = 0; c < classes; c++)
		sum += exp(z[c] - top);
	for (int64_t c = 0; c < classes; c++) {
		double target = smoothing / (double)classes +
		    (c == label ? 1 - smoothing : 0);
		double log_p = z[c] - top - log(sum);

		loss -= target * log_p;
		z[c] = (float)((exp(log_p) - target) / (double)n);
	}
	return loss;
}

static int
top_class(const float *z, int64_t classes)
{
	int top = 0;

	for (int c = 1; c < classes; c++)
		top = z[c] > z[top] ? c : top;
	return top;
}

/* Of one sample: the logit to be explained, and 1 there for its gradient. */
static double
explained(float *z, int64_t classes)
{
	int top = top_class(z, classes);
	double value = z[top];

	memset(z, 0, (size_t)classes * sizeof(*z));
	z[top] = 1.0f;
	return value;
}

/* The class to learn; the one that is predicted where it is not known. */
static int
class_of(const struct train_data *d, int64_t sample, const float *z,
    int64_t classes)
{
	int label = d->label[sample];

	return label < 0 ? top_class(z, classes) : label;
}

/* ==== the teacher ==== */

/* x = log softmax(x / t) */
static void
log_softmax(double *x, int64_t n, double t)
{
	double top = -INFINITY, sum = 0;

	for (int64_t i = 0; i < n; i++) {
		x[i] /= t;
		top = x[i] > top ? x[i] : top;
	}
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - top);
	for (int64_t i = 0; i < n; i++)
		x[i] -= top + log(sum);
}

/*
 * Mixes into a loss and its gradient d by the logits z, of one of n targets, what
 * the teacher's logits u say. room: twice as many values as there are classes.
 */
static double
mix_soft(const struct learner *l, double loss, float *d, const float *z,
    const float *u, int64_t classes, int64_t n, double *room)
{
	const double share = l->share, t = l->temperature;
	double *p = room, *q = room + classes, sum = 0;

	for (int64_t c = 0; c < classes; c++) {
		p[c] = z[c];
		q[c] = u[c];
	}
	log_softmax(p, classes, t);
	log_softmax(q, classes, t);
	for (int64_t c = 0; c < classes; c++) {
		double a = exp(q[c]), g = share * t * (exp(p[c]) - a);

		sum += a * (q[c] - p[c]);
		d[c] = (float)((1 - share) * d[c] + g / (double)n);
	}
	return (1 - share) * loss + share * t * t * sum;
}

/* The teacher's logits of the batch into t->soft. */
static enum pare_rc
ask_teacher(struct tape *t, const struct train_data *d, struct pare_err *err)
{
	const struct learner *l = t->l;
	const struct batch b = { t->nseq, t->start, t->id,
		d->types ? t->type : NULL };
	struct forward f = { .logits = t->soft, .task = l->task };

	return engine_forward(l->engine, l->teacher, &b, &f, err);
}

/* The mean loss; t->logits becomes its gradient. */
static double
loss_of(struct tape *t, const struct train_data *d, const int64_t *sample)
{
	const int64_t classes = link_of(t, 0, SLOT_HOUT_W)->a->rows;
	double loss = 0, one;

	for (int s = 0; s < t->nseq; s++) {
		float *z = t->logits + s * classes;

		if (wants_relevance(t) || (t->l->watch &&
		    t->m->hp.head == HEAD_REGRESS &&
		    isnan(d->score[sample[s]]))) {
			loss += explained(z, classes);
			z[top_class(z, classes)] /= (float)t->nseq;
		} else if (t->m->hp.head == HEAD_REGRESS) {
			double e = (double)z[0] - d->score[sample[s]];

			loss += e * e;
			z[0] = (float)(2 * e / t->nseq);
		} else {
			memcpy(z + t->nseq * classes, z,
			    (size_t)classes * sizeof(*z));
			one = cross_entropy(z, classes,
			    class_of(d, sample[s], z, classes),
			    t->l->smoothing, t->nseq);
			loss += !t->soft ? one : mix_soft(t->l, one, z,
			    z + t->nseq * classes, t->soft + s * classes,
			    classes, t->nseq, t->room);
		}
	}
	return loss / t->nseq;
}

/* The mean loss, with the way back to t->d. */
static double
head_run(struct tape *t, const struct train_data *d, const int64_t *sample)
{
	double loss;

	head(t);
	loss = loss_of(t, d, sample);
	head_back(t);
	return loss;
}

/* ==== the head of a language model ==== */

/* The same without smoothing, by the fast softmax. */
static double
log_loss(float *z, int64_t classes, int target, int64_t n)
{
	const float share = 1.0f / (float)n;
	double loss;

	elem_softmax(z, classes);
	loss = -log((double)z[target] + 1e-38);
	z[target] -= 1.0f;
	for (int64_t c = 0; c < classes; c++)
		z[c] *= share;
	return loss;
}

/* s -> c tanh(s / c) */
static void
cap_row(float *z, int64_t n, float cap)
{
	for (int64_t i = 0; cap > 0.0f && i < n; i++)
		z[i] = cap * tanhf(z[i] / cap);
}

/* d times the slope at each s; capped: c tanh(s / c). */
static void
cap_row_back(float *d, const float *capped, int64_t n, float cap)
{
	for (int64_t i = 0; i < n; i++)
		d[i] *= 1.0f - capped[i] / cap * (capped[i] / cap);
}

/* Rows [first, ...) of logits, each with a target. */
struct token_rows {
	struct tape *t;
	int64_t first, classes;
};

/* The loss of one row; its logits become their gradient. The second half of
 * t->logits is room for a copy of capped ones and of those to compare. */
static void
token_row(void *arg, int64_t i, int thread)
{
	const struct token_rows *r = arg;
	struct tape *t = r->t;
	const int target = t->target[r->first + i];
	const float cap = (float)t->m->hp.logit_cap;
	float *z = t->logits + i * r->classes;
	float *kept = t->logits + (LM_ROWS + i) * r->classes;
	const size_t bytes = (size_t)r->classes * sizeof(*z);

	t->row_loss[i] = 0;
	if (target < 0) {
		memset(z, 0, bytes);
		return;
	}
	cap_row(z, r->classes, cap);
	if (wants_relevance(t)) {
		t->row_loss[i] = explained(z, r->classes);
		z[top_class(z, r->classes)] /= (float)t->targets;
		return;
	}
	if (cap > 0.0f || t->soft)
		memcpy(kept, z, bytes);
	t->row_loss[i] = t->l->smoothing > 0 ?
	    cross_entropy(z, r->classes, target, t->l->smoothing, t->targets) :
	    log_loss(z, r->classes, target, t->targets);
	if (t->soft)
		t->row_loss[i] = mix_soft(t->l, t->row_loss[i], z, kept,
		    t->soft + (r->first + i) * r->classes, r->classes,
		    t->targets, t->room + thread * 2 * r->classes);
	if (cap > 0.0f)
		cap_row_back(z, kept, r->classes, cap);
}

/* The mean loss over all targets, with the way back to t->d. */
static double
lm_head(struct tape *t)
{
	const float *out = t->layer[t->m->nlayers - 1].out, *x = out;
	const struct elem_norm n = norm_of(t, 0, SLOT_FINAL_W, SLOT_FINAL_B,
	    t->nmean, t->nrstd);
	const int64_t h = t->hidden;
	struct token_rows r = { t, 0, link_of(t, 0, SLOT_HOUT_W)->a->rows };
	double loss = 0;

	if (n.w) {
		elem_norm(t->final, out, NULL, NULL, &n, t->tokens, h);
		x = t->final;
	}
	for (int64_t rows; r.first < t->tokens; r.first += rows) {
		rows = t->tokens - r.first < LM_ROWS ? t->tokens - r.first :
		    LM_ROWS;
		linear(t, 0, SLOT_HOUT_W, SLOT_HOUT_B, x + r.first * h, rows,
		    t->logits);
		team_for(rows, token_row, &r);
		for (int64_t i = 0; i < rows; i++)
			loss += t->row_loss[i];
		linear_back(t, 0, SLOT_HOUT_W, SLOT_HOUT_B, x + r.first * h,
		    t->logits, rows, t->d + r.first * h, false);
	}
	if (n.w)
		norm_back(t, &n, 0, SLOT_FINAL_W, SLOT_FINAL_B, out, t->d,
		    t->tokens, h);
	return t->targets > 0 ? loss / (double)t->targets : 0;
}

/* ==== memory ==== */

/* Room for a norm of so many rows, where slot s is filled. */
static void
take_norm(struct tape *t, int l, enum slot s, int64_t rows, int64_t cols,
    float **raw, float **mean, float **rstd)
{
	if (!link_of(t, l, s)->a)
		return;
	*raw = arena_take(t->a, rows, cols, sizeof(float));
	*mean = arena_take(t->a, rows, 1, sizeof(float));
	*rstd = arena_take(t->a, rows, 1, sizeof(float));
}

/* The norms that only some decoders have. */
static void
take_norms(struct tape *t, int l)
{
	const struct layer *y = &t->m->layer[l];
	struct tape_layer *r = &t->layer[l];

	take_norm(t, l, SLOT_QNORM_W, t->tokens * y->heads, y->head_dim,
	    &r->qraw, &r->qmean, &r->qrstd);
	take_norm(t, l, SLOT_KNORM_W, t->tokens * y->kv_heads, y->head_dim,
	    &r->kraw, &r->kmean, &r->krstd);
	take_norm(t, l, SLOT_APOST_W, t->tokens, t->hidden, &r->araw,
	    &r->apmean, &r->aprstd);
	take_norm(t, l, SLOT_FPOST_W, t->tokens, t->hidden, &r->fraw,
	    &r->fpmean, &r->fprstd);
}

static void
take_layer(struct tape *t, int l)
{
	const struct layer *y = &t->m->layer[l];
	const size_t f = sizeof(float);
	const int64_t n = t->tokens, q = (int64_t)y->heads * y->head_dim;
	const int64_t k = (int64_t)y->kv_heads * y->head_dim;
	struct tape_layer *r = &t->layer[l];

	const bool pre = flag(t, ARCH_PRE_NORM);

	r->in = l > 0 ? t->layer[l - 1].out : t->x;
	r->ain = pre ? arena_take(t->a, n, t->hidden, f) : NULL;
	r->fin = pre ? arena_take(t->a, n, t->hidden, f) : NULL;
	r->q = arena_take(t->a, n, q, f);
	r->k = arena_take(t->a, n, k, f);
	r->v = arena_take(t->a, n, k, f);
	r->ctx = arena_take(t->a, n, q, f);
	r->p = arena_take(t->a, t->squares, y->heads, f);
	r->asum = arena_take(t->a, n, t->hidden, f);
	r->mid = pre ? r->asum : arena_take(t->a, n, t->hidden, f);
	r->pre = arena_take(t->a, n, y->ffn, f);
	r->act = arena_take(t->a, n, y->ffn, f);
	r->fsum = arena_take(t->a, n, t->hidden, f);
	r->out = pre ? r->fsum : arena_take(t->a, n, t->hidden, f);
	r->amean = arena_take(t->a, n, 1, f);
	r->arstd = arena_take(t->a, n, 1, f);
	r->fmean = arena_take(t->a, n, 1, f);
	r->frstd = arena_take(t->a, n, 1, f);
	if (flag(t, ARCH_GATED)) {
		r->gate = arena_take(t->a, n, y->ffn, f);
		r->gact = arena_take(t->a, n, y->ffn, f);
	}
	take_norms(t, l);
}

/* Room for the teacher's logits, and for each thread to compare them. */
static void
take_teacher(struct tape *t, int64_t rows, int64_t cols)
{
	if (!t->l->teacher)
		return;
	t->soft = arena_take(t->a, rows, cols, sizeof(*t->soft));
	t->room = arena_take(t->a, 2 * (int64_t)kernel_threads(), cols,
	    sizeof(*t->room));
}

static void
take_lm_head(struct tape *t)
{
	const bool twice = t->m->hp.logit_cap > 0 || t->l->teacher;
	const int64_t copies = twice ? 2 : 1;
	const size_t f = sizeof(float);

	t->target = arena_take(t->a, t->tokens, 1, sizeof(*t->target));
	t->row_loss = arena_take(t->a, LM_ROWS, 1, sizeof(*t->row_loss));
	t->logits = arena_take(t->a, copies * LM_ROWS, t->m->hp.vocab, f);
	take_teacher(t, t->tokens, t->m->hp.vocab);
	t->final = arena_take(t->a, t->tokens, t->hidden, f);
	t->nmean = arena_take(t->a, t->tokens, 1, f);
	t->nrstd = arena_take(t->a, t->tokens, 1, f);
}

static void
take_head(struct tape *t)
{
	const size_t f = sizeof(float);

	t->first = arena_take(t->a, t->nseq, t->wide, f);
	t->pool = arena_take(t->a, t->nseq, t->wide, f);
	t->pool_pre = arena_take(t->a, t->nseq, t->wide, f);
	t->dense = arena_take(t->a, t->nseq, t->wide, f);
	t->dense_pre = arena_take(t->a, t->nseq, t->wide, f);
	t->norm = arena_take(t->a, t->nseq, t->wide, f);
	t->hin = arena_take(t->a, t->nseq, t->wide, f);
	t->hmean = arena_take(t->a, t->nseq, 1, f);
	t->hrstd = arena_take(t->a, t->nseq, 1, f);
	if (t->m->hp.head == HEAD_LM) {
		take_lm_head(t);
		return;
	}
	t->logits = arena_take(t->a, 2 * t->nseq, t->m->hp.labels, f);
	take_teacher(t, t->nseq, t->m->hp.labels);
}

static void
take_buffers(struct tape *t, struct arena *a, int64_t rank)
{
	const size_t f = sizeof(float);

	t->a = a;
	t->start = arena_take(a, t->nseq + 1, 1, sizeof(*t->start));
	t->offset = arena_take(a, t->nseq + 1, 1, sizeof(*t->offset));
	t->id = arena_take(a, t->tokens, 1, sizeof(*t->id));
	t->type = arena_take(a, t->tokens, 1, sizeof(*t->type));
	t->position = arena_take(a, t->tokens, 1, sizeof(*t->position));
	t->esum = arena_take(a, t->tokens, t->embed, f);
	t->emean = arena_take(a, t->tokens, 1, f);
	t->erstd = arena_take(a, t->tokens, 1, f);
	t->e = arena_take(a, t->tokens, t->embed, f);
	t->x = has(t, SLOT_PROJ_W) ?
	    arena_take(a, t->tokens, t->hidden, f) : t->e;
	for (int l = 0; l < t->m->nlayers; l++)
		take_layer(t, l);
	take_head(t);
	if (flag(t, ARCH_ROTARY)) {
		t->cosine = arena_take(a, t->longest, t->head_dim, f);
		t->sine = arena_take(a, t->longest, t->head_dim, f);
		t->back = arena_take(a, t->longest, t->head_dim, f);
	}
	if (flag(t, ARCH_NORM_ONE))
		t->gain = arena_take(a, (t->m->nlayers + 1) *
		    (int64_t)SLOT_COUNT, t->wide, f);
	t->d = arena_take(a, t->tokens, t->wide, f);
	t->d2 = arena_take(a, t->tokens, t->wide, f);
	t->t1 = arena_take(a, t->tokens, t->most, f);
	t->t2 = arena_take(a, t->tokens, t->most, f);
	t->t3 = arena_take(a, t->tokens, t->most, f);
	t->t4 = arena_take(a, t->tokens, t->most, f);
	t->low = arena_take(a, t->tokens, rank, f);
	t->low2 = arena_take(a, t->tokens, rank, f);
	t->score = arena_take(a, (int64_t)attention_tape_scratch(t->longest),
	    1, f);
}

/* The largest inner size of a low-rank slot. */
static int64_t
largest_rank(const struct tape *t)
{
	const int n = t->m->nlayers * SLOT_LAYER_COUNT +
	    SLOT_COUNT - SLOT_LAYER_COUNT;
	int64_t rank = 0;

	for (int i = 0; i < n; i++)
		if (t->l->link[i].b && t->l->link[i].a->cols > rank)
			rank = t->l->link[i].a->cols;
	return rank;
}

static void
set_sizes(struct tape *t, const struct train_data *d, const int64_t *sample)
{
	const struct hparams *hp = &t->m->hp;

	for (int s = 0; s < t->nseq; s++) {
		const int64_t n = d->len[sample[s]];

		t->tokens += n;
		t->squares += n * n;
		t->longest = n > t->longest ? n : t->longest;
	}
	t->hidden = hp->hidden;
	t->embed = hp->embed;
	t->wide = t->hidden > t->embed ? t->hidden : t->embed;
	t->most = t->wide;
	for (int l = 0; l < t->m->nlayers; l++) {
		const struct layer *y = &t->m->layer[l];
		int64_t q = (int64_t)y->heads * y->head_dim;

		t->head_dim = y->head_dim > t->head_dim ? y->head_dim :
		    t->head_dim;
		t->wide = t->head_dim > t->wide ? t->head_dim : t->wide;
		t->most = q > t->most ? q : t->most;
		t->most = y->ffn > t->most ? y->ffn : t->most;
	}
}

static void
pack(struct tape *t, const struct train_data *d, const int64_t *sample)
{
	int64_t at = 0, squares = 0;

	for (int s = 0; s < t->nseq; s++) {
		const int64_t i = sample[s], n = d->len[i];

		t->start[s] = at;
		t->offset[s] = squares;
		for (int64_t j = 0; j < n; j++) {
			t->id[at + j] = d->ids[i][j];
			t->type[at + j] = d->types ? d->types[i][j] : 0;
			t->position[at + j] =
			    (int32_t)(j + t->m->hp.position_offset);
			if (t->target)
				t->target[at + j] = j + 1 < n ?
				    d->ids[i][j + 1] : -1;
		}
		at += n;
		squares += n * n;
	}
	t->start[t->nseq] = at;
	t->offset[t->nseq] = squares;
	t->targets = at - t->nseq;
}

static void
make_rotation(struct tape *t)
{
	const struct link *k = link_of(t, 0, SLOT_ROPE);
	const int64_t n = t->longest * (t->head_dim / 2);

	rope_table(&t->m->hp.rope, (int)t->head_dim, 0, t->longest, t->longest,
	    k->a ? k->a->w : NULL, t->cosine, t->sine);
	for (int64_t i = 0; i < n; i++)
		t->back[i] = -t->sine[i];
}

enum pare_rc
learner_check(const struct model *m, const struct train_data *d,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < d->n && rc == PARE_OK; i++) {
		const int64_t start[2] = { 0, d->len[i] };
		const struct batch b = { 1, start, d->ids[i],
		    d->types ? d->types[i] : NULL };

		if ((rc = engine_check_batch(m, &b, err)) != PARE_OK)
			err_prefix(err, "sample %lld", (long long)i);
		else if (m->hp.head == HEAD_CLASSIFY &&
		    (d->label[i] < 0 || d->label[i] >= m->hp.labels))
			rc = err_set(err, PARE_EUSER, "sample %lld has label "
			    "%d, the model has labels 0 to %lld", (long long)i,
			    d->label[i], (long long)m->hp.labels - 1);
	}
	return rc;
}

enum pare_rc
learner_run(struct learner *l, const struct train_data *d,
    const int64_t *sample, int n, double *loss, struct pare_err *err)
{
	struct tape t = { .l = l, .m = l->m, .nseq = n };
	struct arena count = { NULL, 0, 0 };
	enum pare_rc rc;
	int64_t rank = largest_rank(&t);

	set_sizes(&t, d, sample);
	t.layer = xcalloc((size_t)l->m->nlayers, sizeof(*t.layer));
	take_buffers(&t, &count, rank);
	/* Batches differ a little: room for the next ones as well, so that they
	 * find pages that are there already. */
	l->memory.used = count.used <= l->memory.size ||
	    count.used > SIZE_MAX / 2 ? count.used :
	    count.used + count.used / 4;
	if ((rc = arena_grow(&l->memory, err)) != PARE_OK)
		goto out;
	take_buffers(&t, &l->memory, rank);
	pack(&t, d, sample);
	if (t.cosine)
		make_rotation(&t);
	if (t.soft && (rc = ask_teacher(&t, d, err)) != PARE_OK)
		goto out;
	kernel_bind();
	if (l->from == 0)
		embed(&t);
	for (int i = l->from; i < l->m->nlayers && !task_canceled(l->task);
	    i++) {
		attention(&t, i);
		ffn(&t, i);
	}
	*loss = l->m->hp.head == HEAD_LM ? lm_head(&t) :
	    head_run(&t, d, sample);
	for (int i = l->m->nlayers - 1; i >= l->from &&
	    !task_canceled(l->task); i--) {
		ffn_back(&t, i);
		attention_part_back(&t, i);
	}
	if (l->from == 0 && !ends_early(&t))
		embed_back(&t);
	if (task_canceled(l->task))
		rc = task_error(err);
out:
	free(t.layer);
	return rc;
}
