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
 * When only a classifier's logits are wanted, the last layer that mixes tokens
 * needs queries for token 0 alone, and whatever follows needs token 0 alone:
 * from there on ("narrow") x has one row a sequence.
 */
#include <cblas.h>
#include <string.h>

#include "engine/attention.h"
#include "engine/elementwise.h"
#include "engine/forward.h"
#include "model/arch.h"
#include "tensor/kernel.h"

enum { BLOCK = 1024 };

struct pass {
	const struct model *m;
	const struct batch *b;
	struct forward *f;
	int64_t tokens, longest, block;
	int64_t hidden, embed, wide;	/* wide: the larger of the two */
	int64_t rows;		/* of x: tokens, or nseq when narrow */
	int narrow;		/* the layer where that happens; nlayers: none */
	bool token0;		/* the head reads token 0 only */
	float *x;		/* (tokens, hidden) */
	float *x0;		/* (nseq, hidden) */
	float *e;		/* (tokens, embed); x itself without PROJ */
	float *in, *in0;	/* (block, hidden): norms of pre-norm layers */
	float *y;		/* (block, wide) */
	float *work;		/* (block, .): q k v ctx, or up and gate */
	float *head[2];		/* (nseq or block, wide) */
	float *position, *type;	/* rows of these tables */
	float *left, *right;	/* factors of a low-rank word table */
	float *vector[SLOT_COUNT];	/* decoded vectors that are no f32 */
	float *score;
	void *scratch;		/* of the kernels */
	double mark;		/* until when time was charged */
};

const char *
forward_missing(const struct model *m)
{
	if (m->arch->flags & ARCH_ROTARY)
		return "rotary positions";
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

static bool
has_flag(const struct pass *p, unsigned flag)
{
	return (p->m->arch->flags & flag) != 0;
}

static const struct tensor *
slot_of(const struct pass *p, int layer, enum slot s)
{
	return s < SLOT_LAYER_COUNT ? p->m->layer[layer].t[s] :
	    p->m->t[s - SLOT_LAYER_COUNT];
}

/* The values of a vector slot, decoded where they are no f32; NULL when empty. */
static const float *
vector_of(struct pass *p, int layer, enum slot s)
{
	const struct tensor *t = slot_of(p, layer, s);

	if (!t || tensor_f32(t))
		return t ? tensor_f32(t) : NULL;
	tensor_decode(t, 0, 1, p->vector[s]);
	return p->vector[s];
}

static void
linear(struct pass *p, int layer, enum slot s, const float *x, int64_t n,
    float *y)
{
	kernel_matmul(slot_of(p, layer, s), x, n, y, false, p->scratch);
}

static struct elem_norm
norm_of(struct pass *p, int layer, enum slot weight, enum slot bias)
{
	return (struct elem_norm){
		.w = vector_of(p, layer, weight),
		.b = vector_of(p, layer, bias),
		.eps = (float)p->m->hp.norm_eps,
		.rms = has_flag(p, ARCH_RMS_NORM)
	};
}

/* ==== sizes ==== */

static int64_t
max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Columns of `work` for the widest layer. */
static int64_t
work_width(const struct pass *p)
{
	int64_t width = 1;

	for (int l = 0; l < p->m->nlayers; l++) {
		const struct layer *y = &p->m->layer[l];
		const int64_t d = y->head_dim;

		width = max64(width, 2 * d * y->heads + 2 * d * y->kv_heads);
		width = max64(width, y->ffn * (has_flag(p, ARCH_GATED) ? 2 : 1));
	}
	return width;
}

/* The longest vector of a slot over all layers that is not f32; 0: none. */
static int64_t
vector_width(const struct pass *p, enum slot s)
{
	int64_t width = 0;

	for (int l = 0; l < p->m->nlayers; l++) {
		const struct tensor *t = slot_of(p, l, s);

		if (t && !slot_table[s].matrix && t->form != FORM_F32)
			width = max64(width, t->cols);
	}
	return width;
}

/* Rows that the products of the head see at a time. */
static int64_t
head_rows(const struct pass *p)
{
	return p->token0 ? p->b->nseq : p->block;
}

/* The end of the block of whole sequences that begins with sequence s. */
static int
block_end(const struct pass *p, int s)
{
	const int64_t *start = p->b->start;
	int end = s + 1;

	while (end < p->b->nseq && start[end + 1] - start[s] <= p->block)
		end++;
	return end;
}

/* Scratch of the most demanding product on n rows. */
static int64_t
scratch_at(const struct pass *p, int64_t n)
{
	size_t most = 0, bytes;

	for (int s = 0; n > 0 && s < SLOT_COUNT; s++) {
		const int layers = s < SLOT_LAYER_COUNT ? p->m->nlayers : 1;

		if (!slot_table[s].matrix || s == SLOT_WORD ||
		    s == SLOT_POSITION || s == SLOT_TYPE)
			continue;
		for (int l = 0; l < layers; l++) {
			const struct tensor *t = slot_of(p, l, (enum slot)s);

			bytes = t ? kernel_scratch(t, n) : 0;
			most = bytes > most ? bytes : most;
		}
	}
	return (int64_t)most;
}

/* A kernel may need more for few rows than for many, so this asks for every
 * number of rows that the pass is going to use. */
static int64_t
scratch_bytes(const struct pass *p)
{
	const int64_t nseq = p->b->nseq, step = min64(BLOCK, p->block);
	const int64_t fixed[] = { p->block, p->tokens % p->block, step,
	    p->tokens % step, nseq, min64(nseq, step), nseq % step };
	int64_t most = 0, last = 0;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		most = max64(most, scratch_at(p, fixed[i]));
	for (int s = 0, end; s < nseq; s = end) {
		int64_t n;

		end = block_end(p, s);
		n = p->b->start[end] - p->b->start[s];
		most = n == last ? most : max64(most, scratch_at(p, n));
		if (p->narrow < p->m->nlayers)
			most = max64(most, scratch_at(p, end - s));
		last = n;
	}
	return most;
}

static int
widest_head(const struct model *m)
{
	int dim = 0;

	for (int l = 0; l < m->nlayers; l++)
		dim = m->layer[l].head_dim > dim ? m->layer[l].head_dim : dim;
	return dim;
}

/* Lays out all buffers; with a counting arena this only adds up sizes. */
static void
take_buffers(struct pass *p, struct arena *a)
{
	const struct model *m = p->m;
	const struct tensor *word = slot_of(p, 0, SLOT_WORD);
	const size_t f = sizeof(float);
	int64_t width;

	p->x = arena_take(a, p->tokens, p->hidden, f);
	p->x0 = arena_take(a, p->b->nseq, p->hidden, f);
	p->e = slot_of(p, 0, SLOT_PROJ_W) ?
	    arena_take(a, p->tokens, p->embed, f) : p->x;
	if (has_flag(p, ARCH_PRE_NORM)) {
		p->in = arena_take(a, p->block, p->hidden, f);
		p->in0 = arena_take(a, p->block, p->hidden, f);
	}
	p->y = arena_take(a, p->block, p->wide, f);
	p->work = arena_take(a, p->block, work_width(p), f);
	for (int i = 0; i < 2; i++)
		p->head[i] = arena_take(a, head_rows(p), p->wide, f);
	p->position = arena_take(a, p->longest, p->embed, f);
	p->type = arena_take(a, max64(m->hp.types, 1), p->embed, f);
	if (word->form == FORM_LOWRANK) {
		width = tensor_rank(word);
		p->left = arena_take(a, p->tokens, width, f);
		p->right = arena_take(a, width, p->embed, f);
	}
	for (int s = 0; s < SLOT_COUNT; s++)
		if ((width = vector_width(p, (enum slot)s)) > 0)
			p->vector[s] = arena_take(a, 1, width, f);
	p->score = arena_take(a, (int64_t)attention_scratch(p->longest,
	    widest_head(m)), 1, f);
	p->scratch = arena_take(a, scratch_bytes(p), 1, 1);
}

/* The last layer with attention: after its keys and values only token 0 of each
 * sequence matters to a classifier. */
static int
narrow_layer(const struct pass *p)
{
	const struct forward *f = p->f;
	const int l = engine_last_whole(p->m);

	if (!p->token0 || !f->logits || f->hidden)
		return p->m->nlayers;
	return f->attention && f->attention_layer >= l ? p->m->nlayers : l;
}

static void
set_sizes(struct pass *p)
{
	const struct hparams *hp = &p->m->hp;

	p->tokens = p->b->start[p->b->nseq];
	for (int s = 0; s < p->b->nseq; s++)
		p->longest = max64(p->longest,
		    p->b->start[s + 1] - p->b->start[s]);
	p->block = min64(p->tokens, max64(BLOCK, p->longest));
	p->hidden = hp->hidden;
	p->embed = hp->embed;
	p->wide = max64(hp->hidden, hp->embed);
	p->rows = p->tokens;
	p->token0 = hp->head == HEAD_CLASSIFY || hp->head == HEAD_REGRESS;
	p->narrow = narrow_layer(p);
}

/* ==== embeddings ==== */

static void
word_rows(struct pass *p, const struct tensor *word)
{
	const int32_t *id = p->b->ids;
	const int64_t k = tensor_rank(word);

	if (word->form != FORM_LOWRANK) {
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
		for (int64_t i = 0; i < p->tokens; i++)
			tensor_decode(word, id[i], 1, p->e + i * p->embed);
		return;
	}
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int64_t i = 0; i < p->tokens; i++)
		tensor_decode(word->kid[0], id[i], 1, p->left + i * k);
	tensor_decode(word->kid[1], 0, k, p->right);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans,
	    (blasint)p->tokens, (blasint)p->embed, (blasint)k, 1.0f, p->left,
	    (blasint)k, p->right, (blasint)p->embed, 0.0f, p->e,
	    (blasint)p->embed);
}

/* Adds position and segment rows to the word rows of one sequence. */
static void
add_tables(const struct pass *p, int seq, bool position, bool type)
{
	const int64_t first = p->b->start[seq], w = p->embed;
	const int64_t n = p->b->start[seq + 1] - first;

	for (int64_t i = 0; i < n; i++) {
		const float *pos = p->position + i * w, *seg = p->type;
		float *e = p->e + (first + i) * w;

		if (p->b->types)
			seg += p->b->types[first + i] * w;
		if (position)
			for (int64_t c = 0; c < w; c++)
				e[c] += pos[c];
		if (type)
			for (int64_t c = 0; c < w; c++)
				e[c] += seg[c];
	}
}

/* Word, position and segment rows, their norm, and the projection, into x. */
static bool
embed_tokens(struct pass *p)
{
	const struct tensor *pos = slot_of(p, 0, SLOT_POSITION);
	const struct tensor *type = slot_of(p, 0, SLOT_TYPE);
	struct elem_norm n = norm_of(p, 0, SLOT_ENORM_W, SLOT_ENORM_B);
	bool fine = true;

	word_rows(p, slot_of(p, 0, SLOT_WORD));
	if (pos)
		tensor_decode(pos, p->m->hp.position_offset, p->longest,
		    p->position);
	if (type)
		tensor_decode(type, 0, p->m->hp.types, p->type);
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int s = 0; s < p->b->nseq; s++)
		add_tables(p, s, pos != NULL, type != NULL);
	if (n.w)
		fine = elem_norm(p->e, p->e, NULL, NULL, &n, p->tokens,
		    p->embed);
	else
		fine = elem_add(p->e, NULL, NULL, p->tokens, p->embed);
	if (p->e == p->x)
		return fine;
	for (int64_t r = 0, k; r < p->tokens; r += k) {
		k = min64(p->block, p->tokens - r);
		linear(p, 0, SLOT_PROJ_W, p->e + r * p->embed, k,
		    p->x + r * p->hidden);
	}
	return elem_add(p->x, NULL, vector_of(p, 0, SLOT_PROJ_B), p->tokens,
	    p->hidden) && fine;
}

/* ==== layers ==== */

/* Rows of token 0 of the sequences [first, end) of x, whose row 0 is the first
 * token of sequence first. */
static void
gather_first(const struct pass *p, const float *x, int first, int end,
    float *out)
{
	const int64_t w = p->hidden;

	for (int s = first; s < end; s++)
		memcpy(out + (s - first) * w,
		    x + (p->b->start[s] - p->b->start[first]) * w,
		    (size_t)w * sizeof(*out));
}

/* The end of a sub-layer: y plus the residual x, in place. NULL y: a sub-layer
 * that was removed. */
static bool
close_sublayer(struct pass *p, int l, bool ffn, float *x, const float *y,
    const float *bias, int64_t rows)
{
	struct elem_norm n;
	bool fine;

	charge_layer(p, l, ffn ? ENGINE_FFN : ENGINE_ATTENTION);
	if (has_flag(p, ARCH_PRE_NORM)) {
		fine = elem_add(x, y, y ? bias : NULL, rows, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		return fine;
	}
	n = ffn ? norm_of(p, l, SLOT_FNORM_W, SLOT_FNORM_B) :
	    norm_of(p, l, SLOT_ANORM_W, SLOT_ANORM_B);
	fine = elem_norm(x, x, y, y ? bias : NULL, &n, rows, p->hidden);
	charge_layer(p, l, ENGINE_NORM);
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
		.dim = y->head_dim, .causal = has_flag(p, ARCH_CAUSAL),
		.first_only = l == p->narrow, .nseq = end - first,
		.start = p->b->start + first, .q = q, .k = k, .v = v,
		.ctx = ctx, .scratch = p->score
	};

	if (f->attention && f->attention_layer == l &&
	    f->attention_seq >= first && f->attention_seq < end) {
		a.want = f->attention;
		a.want_seq = f->attention_seq - first;
		a.want_head = head_index(y, f->attention_head);
	}
	linear(p, l, SLOT_Q_W, q_in, queries, q);
	linear(p, l, SLOT_K_W, in, n, k);
	linear(p, l, SLOT_V_W, in, n, v);
	elem_bias_act(q, vector_of(p, l, SLOT_Q_B), ACT_LINEAR, queries, qw);
	elem_bias_act(k, vector_of(p, l, SLOT_K_B), ACT_LINEAR, n, kw);
	elem_bias_act(v, vector_of(p, l, SLOT_V_B), ACT_LINEAR, n, kw);
	attention_run(&a);
	mask_heads(p, l, ctx, queries);
	linear(p, l, SLOT_O_W, ctx, queries, p->y);
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

	if (has_flag(p, ARCH_PRE_NORM)) {
		norm = norm_of(p, l, SLOT_ANORM_W, SLOT_ANORM_B);
		elem_norm(p->in, x, NULL, NULL, &norm, n, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		in = p->in;
	}
	q_in = in;
	if (narrow) {
		gather_first(p, x, first, end, x0);
		q_in = in == x ? x0 : p->in0;
		if (in != x)
			gather_first(p, in, first, end, q_in);
	}
	attend_block(p, l, first, end, in, q_in, queries);
	return close_sublayer(p, l, false, narrow ? x0 : x, p->y,
	    vector_of(p, l, SLOT_O_B), queries);
}

/* A layer's attention is off when it was removed or is masked. */
static bool
attention_off(const struct pass *p, int l)
{
	const struct engine_mask *k = p->f->mask;

	return p->m->layer[l].heads == 0 ||
	    (k && k->drop_attention && k->drop_attention[l]);
}

static bool
attention_part(struct pass *p, int l)
{
	bool fine = true, off = attention_off(p, l);
	int end;

	for (int s = 0; !off && s < p->b->nseq; s = end) {
		if (task_canceled(p->f->task))
			return true;
		end = block_end(p, s);
		fine = attention_block(p, l, s, end) && fine;
	}
	if (off && l == p->narrow)
		gather_first(p, p->x, 0, p->b->nseq, p->x0);
	if (l == p->narrow) {
		p->x = p->x0;
		p->rows = p->b->nseq;
	}
	return off ? close_sublayer(p, l, false, p->x, NULL, NULL, p->rows) :
	    fine;
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
	const int64_t w = p->m->layer[l].ffn;
	float *h = p->work, *gate = h + rows * w;
	const float *in = x, *bias = vector_of(p, l, SLOT_UP_B);
	struct elem_norm norm;

	if (has_flag(p, ARCH_PRE_NORM)) {
		norm = norm_of(p, l, SLOT_FNORM_W, SLOT_FNORM_B);
		elem_norm(p->in, x, NULL, NULL, &norm, rows, p->hidden);
		charge_layer(p, l, ENGINE_NORM);
		in = p->in;
	}
	linear(p, l, SLOT_UP_W, in, rows, h);
	if (has_flag(p, ARCH_GATED)) {
		linear(p, l, SLOT_GATE_W, in, rows, gate);
		elem_gate(h, bias, gate, vector_of(p, l, SLOT_GATE_B),
		    p->m->hp.act, rows, w);
	} else {
		elem_bias_act(h, bias, p->m->hp.act, rows, w);
	}
	mask_neurons(p, l, h, rows);
	linear(p, l, SLOT_DOWN_W, h, rows, p->y);
	return close_sublayer(p, l, true, x, p->y,
	    vector_of(p, l, SLOT_DOWN_B), rows);
}

static bool
ffn_part(struct pass *p, int l)
{
	const struct engine_mask *k = p->f->mask;
	const int64_t step = min64(BLOCK, p->block);
	bool fine = true;

	if (p->m->layer[l].ffn == 0 || (k && k->drop_ffn && k->drop_ffn[l]))
		return close_sublayer(p, l, true, p->x, NULL, NULL, p->rows);
	for (int64_t r = 0; r < p->rows; r += step) {
		if (task_canceled(p->f->task))
			return true;
		fine = ffn_block(p, l, p->x + r * p->hidden,
		    min64(step, p->rows - r)) && fine;
	}
	return fine;
}

/* A masked layer leaves x as it is, but narrowing still has to happen. */
static bool
run_layer(struct pass *p, int l)
{
	const struct engine_mask *k = p->f->mask;

	if (!k || !k->drop_layer || !k->drop_layer[l])
		return attention_part(p, l) && ffn_part(p, l);
	if (l == p->narrow) {
		gather_first(p, p->x, 0, p->b->nseq, p->x0);
		p->x = p->x0;
		p->rows = p->b->nseq;
	}
	return true;
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

	if (!p->f->logits && !p->f->hidden)
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
	linear(p, 0, w, x, rows, y);
	elem_bias_act(y, vector_of(p, 0, b), act, rows,
	    slot_of(p, 0, w)->rows);
	return y;
}

/* Pooler, dense, norm and output of `rows` rows of x. */
static void
run_head(struct pass *p, const float *x, int64_t rows, float *logits)
{
	const struct hparams *hp = &p->m->hp;
	struct elem_norm norm = norm_of(p, 0, SLOT_HNORM_W, SLOT_HNORM_B);
	float *y = p->head[1];

	if (p->token0 && slot_of(p, 0, SLOT_POOL_W))
		x = head_map(p, SLOT_POOL_W, SLOT_POOL_B, ACT_TANH, x, rows,
		    p->head[0]);
	if (slot_of(p, 0, SLOT_HDENSE_W))
		x = head_map(p, SLOT_HDENSE_W, SLOT_HDENSE_B,
		    p->token0 ? hp->head_act : hp->act, x, rows, y);
	if (norm.w) {
		elem_norm(y, x, NULL, NULL, &norm, rows,
		    slot_of(p, 0, SLOT_HNORM_W)->cols);
		x = y;
	}
	head_map(p, SLOT_HOUT_W, SLOT_HOUT_B, ACT_LINEAR, x, rows, logits);
}

static enum pare_rc
run_heads(struct pass *p, struct pare_err *err)
{
	const int64_t out = slot_of(p, 0, SLOT_HOUT_W)->rows;
	const int64_t step = p->token0 ? p->b->nseq : p->block;
	const int64_t rows = p->token0 ? p->b->nseq : p->tokens;
	const float *x = p->x;

	if (p->token0 && p->narrow == p->m->nlayers) {
		gather_first(p, p->x, 0, p->b->nseq, p->x0);
		x = p->x0;
	}
	for (int64_t r = 0; r < rows; r += step) {
		if (task_canceled(p->f->task))
			return task_error(err);
		run_head(p, x + r * p->hidden, min64(step, rows - r),
		    p->f->logits + r * out);
	}
	if (!elem_add(p->f->logits, NULL, NULL, rows, out))
		return err_set(err, PARE_EFORMAT,
		    "non-finite values in the logits");
	return PARE_OK;
}

/* x of the first layer that runs. */
static enum pare_rc
begin(struct pass *p, struct pare_err *err)
{
	bool fine = true;

	kernel_bind();
	if (p->f->input)
		memcpy(p->x, p->f->input,
		    (size_t)(p->tokens * p->hidden) * sizeof(*p->x));
	else
		fine = embed_tokens(p);
	if (p->f->times)
		charge(p, &p->f->times->embed);
	return fine ? PARE_OK : err_set(err, PARE_EFORMAT,
	    "non-finite values after the embeddings");
}

/* What comes after the layers. */
static enum pare_rc
finish(struct pass *p, struct pare_err *err)
{
	struct elem_norm last = norm_of(p, 0, SLOT_FINAL_W, SLOT_FINAL_B);

	if (last.w && !elem_norm(p->x, p->x, NULL, NULL, &last, p->rows,
	    p->hidden))
		return err_set(err, PARE_EFORMAT,
		    "non-finite values after the last norm");
	if (p->f->hidden)
		memcpy(p->f->hidden, p->x,
		    (size_t)(p->tokens * p->hidden) * sizeof(*p->x));
	return p->f->logits ? run_heads(p, err) : PARE_OK;
}

enum pare_rc
forward_run(struct arena *memory, const struct model *m,
    const struct batch *b, struct forward *f, struct pare_err *err)
{
	struct pass p = { .m = m, .b = b, .f = f };
	struct arena count = { NULL, 0, 0 };
	enum pare_rc rc;

	if (f->times)
		p.mark = task_now();
	set_sizes(&p);
	take_buffers(&p, &count);
	memory->used = count.used;
	if ((rc = arena_grow(memory, err)) != PARE_OK)
		return rc;
	take_buffers(&p, memory);
	if ((rc = begin(&p, err)) != PARE_OK ||
	    (rc = run_layers(&p, err)) != PARE_OK)
		return rc;
	rc = finish(&p, err);
	if (f->times)
		charge(&p, &f->times->head);
	return rc;
}
