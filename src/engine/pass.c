/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pass: sizes and memory. Every buffer is laid out before the pass begins, so
 * that nothing is allocated on the way and the largest sizes of all layers are
 * known in one place.
 */
#include "engine/pass.h"

#include "engine/attention.h"
#include "engine/rope.h"

/* ==== sizes ==== */

/* Columns of `work` for the widest layer. */
static int64_t
work_width(const struct pass *p)
{
	int64_t width = 1;

	for (int l = 0; l < p->m->nlayers; l++) {
		const struct layer *y = &p->m->layer[l];
		const int64_t d = y->head_dim;

		width = pass_max(width, 2 * d * y->heads + 2 * d * y->kv_heads);
		width = pass_max(width,
		    y->ffn * (pass_flag(p, ARCH_GATED) ? 2 : 1));
	}
	return width;
}

static int
widest_head(const struct model *m)
{
	int dim = 0;

	for (int l = 0; l < m->nlayers; l++)
		dim = m->layer[l].head_dim > dim ? m->layer[l].head_dim : dim;
	return dim;
}

/* Rows that the products of the head see at a time. */
static int64_t
head_rows(const struct pass *p)
{
	return pass_single(p) ? p->b->nseq : p->block;
}

int
pass_block_end(const struct pass *p, int s)
{
	const int64_t *start = p->b->start;
	int end = s + 1;

	while (end < p->b->nseq && start[end + 1] - start[s] <= p->block)
		end++;
	return end;
}

/* The last layer with attention: after its keys and values only one token of
 * each sequence matters to the head. */
static int
narrow_layer(const struct pass *p)
{
	const struct forward *f = p->f;
	int l = engine_last_whole(p->m);

	if (!pass_single(p) || !f->logits || f->hidden)
		return p->m->nlayers;
	if (p->last && (f->input || f->keep || f->attention ||
	    p->tokens == p->b->nseq))
		return p->m->nlayers;
	while (l > 0 && p->m->layer[l].heads == 0)
		l--;
	return f->attention && f->attention_layer >= l ? p->m->nlayers : l;
}

/* Logits that are held for `take`: 16 MiB of them, if that is a few rows. */
enum { PIECE_VALUES = 1 << 22, PIECE_MIN = 8, PIECE_MAX = 256 };

static int64_t
piece_rows(const struct pass *p)
{
	int64_t rows = PIECE_VALUES / pass_max(p->m->hp.vocab, 1);

	if (!p->f->take || p->token0)
		return 0;
	rows = pass_min(pass_max(rows, PIECE_MIN), PIECE_MAX);
	return pass_min(rows, p->f->nrows);
}

static void
set_sizes(struct pass *p)
{
	const struct hparams *hp = &p->m->hp;

	p->past = p->f->kv ? p->f->kv->length : 0;
	p->tokens = p->b->start[p->b->nseq];
	for (int s = 0; s < p->b->nseq; s++)
		p->longest = pass_max(p->longest,
		    p->b->start[s + 1] - p->b->start[s]);
	p->block = pass_min(p->tokens, pass_max(PASS_BLOCK, p->longest));
	p->hidden = hp->hidden;
	p->embed = hp->embed;
	p->wide = pass_max(hp->hidden, hp->embed);
	p->rows = p->tokens;
	p->token0 = hp->head == HEAD_CLASSIFY || hp->head == HEAD_REGRESS;
	p->last = p->f->last && p->f->logits && head_gives_tokens(hp->head);
	p->narrow = narrow_layer(p);
	p->piece = piece_rows(p);
}

/* ==== scratch of the kernels ==== */

/* Of products of the same x, those whose slots are there. */
static int64_t
set_scratch(const struct pass *p, int layer, const enum slot *s, int count,
    int64_t n)
{
	const struct tensor *t[4];
	int k = 0;

	for (int i = 0; i < count; i++)
		if ((t[k] = pass_slot(p, layer, s[i])) != NULL)
			k++;
	return k > 0 ? (int64_t)kernel_products_scratch(t, k, n) : 0;
}

/* Scratch of the most demanding products on n rows. */
static int64_t
scratch_at(const struct pass *p, int64_t n)
{
	static const enum slot layer[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W,
	    SLOT_O_W, SLOT_UP_W, SLOT_GATE_W, SLOT_DOWN_W };
	static const enum slot body[] = { SLOT_PROJ_W, SLOT_POOL_W,
	    SLOT_HDENSE_W, SLOT_HOUT_W };
	int64_t most = 0;

	for (int l = 0; l < p->m->nlayers; l++) {
		/* queries of narrow layers have an x of their own */
		most = pass_max(most, set_scratch(p, l, layer, 3, n));
		most = pass_max(most, set_scratch(p, l, layer, 1, n));
		most = pass_max(most, set_scratch(p, l, layer + 1, 2, n));
		most = pass_max(most, set_scratch(p, l, layer + 3, 1, n));
		most = pass_max(most, set_scratch(p, l, layer + 4, 2, n));
		most = pass_max(most, set_scratch(p, l, layer + 6, 1, n));
	}
	for (int i = 0; i < 4; i++)
		most = pass_max(most, set_scratch(p, 0, body + i, 1, n));
	return most;
}

/* The most so far and the numbers of rows that were asked about last. */
struct asked {
	const struct pass *p;
	int64_t most, rows[8];
	int next;
};

static void
ask(struct asked *a, int64_t rows)
{
	for (int i = 0; i < 8; i++)
		if (a->rows[i] == rows || rows == 0)
			return;
	a->rows[a->next++ % 8] = rows;
	a->most = pass_max(a->most, scratch_at(a->p, rows));
}

/* A kernel may need more for few rows than for many, so this asks for every
 * number of rows that the pass is going to use. */
static int64_t
scratch_bytes(const struct pass *p)
{
	const int64_t nseq = p->b->nseq;
	struct asked a = { .p = p };

	ask(&a, p->block);
	ask(&a, p->tokens % p->block);
	for (int64_t n = nseq; n > 0; n -= pass_min(n, p->block))
		ask(&a, pass_min(n, p->block));
	for (int s = 0, end; s < nseq; s = end) {
		end = pass_block_end(p, s);
		ask(&a, p->b->start[end] - p->b->start[s]);
		if (p->narrow < p->m->nlayers)
			ask(&a, end - s);
	}
	ask(&a, head_rows(p));
	ask(&a, p->piece);
	ask(&a, p->piece > 0 ? p->f->nrows % p->piece : 0);
	return a.most;
}

/* ==== vectors ==== */

static int
slot_index(const struct pass *p, int layer, enum slot s)
{
	return s < SLOT_LAYER_COUNT ? layer * SLOT_LAYER_COUNT + (int)s :
	    p->m->nlayers * SLOT_LAYER_COUNT + (int)s - SLOT_LAYER_COUNT;
}

const float *
pass_vector(const struct pass *p, int layer, enum slot s)
{
	return p->vector[slot_index(p, layer, s)];
}

struct elem_norm
pass_norm(const struct pass *p, int layer, enum slot weight, enum slot bias)
{
	return (struct elem_norm){
		.w = pass_vector(p, layer, weight),
		.b = bias < SLOT_COUNT ? pass_vector(p, layer, bias) : NULL,
		.eps = (float)p->m->hp.norm_eps,
		.rms = pass_flag(p, ARCH_RMS_NORM)
	};
}

/* Points the vector slot at its values, decoded to `at` where they are no f32;
 * returns how many were. */
static int64_t
point_vector(struct pass *p, int layer, enum slot s, int64_t at, bool count)
{
	const struct tensor *t = pass_slot(p, layer, s);
	const bool one = pass_flag(p, ARCH_NORM_ONE) &&
	    slot_table[s].kind == KIND_NORM;
	const bool decode = t && !slot_table[s].matrix &&
	    (one || !tensor_f32(t));

	if (count)
		return decode ? t->cols : 0;
	if (decode)
		tensor_decode(t, 0, 1, p->values + at);
	for (int64_t i = 0; decode && one && i < t->cols; i++)
		p->values[at + i] += 1.0f;
	p->vector[slot_index(p, layer, s)] = decode ? p->values + at :
	    t && !slot_table[s].matrix ? tensor_f32(t) : NULL;
	return decode ? t->cols : 0;
}

/* All vectors; returns the values that are decoded, which `count` only counts. */
static int64_t
point_vectors(struct pass *p, bool count)
{
	int64_t at = 0;

	for (int s = 0; s < SLOT_COUNT; s++) {
		const int n = s < SLOT_LAYER_COUNT ? p->m->nlayers : 1;

		for (int l = 0; l < n; l++)
			at += point_vector(p, l, (enum slot)s, at, count);
	}
	return at;
}

/* ==== buffers ==== */

/* The tables of the embeddings, where their rows cannot be read in place. */
static void
take_tables(struct pass *p, struct arena *a)
{
	const struct tensor *word = pass_slot(p, 0, SLOT_WORD);
	const struct tensor *position = pass_slot(p, 0, SLOT_POSITION);
	const struct tensor *type = pass_slot(p, 0, SLOT_TYPE);
	const int64_t k = tensor_rank(word);
	const size_t f = sizeof(float);

	if (position && !tensor_f32(position))
		p->position = arena_take(a, p->longest, p->embed, f);
	if (type && !tensor_f32(type))
		p->type = arena_take(a, p->m->hp.types, p->embed, f);
	if (word->form == FORM_LOWRANK) {
		p->left = arena_take(a, p->tokens, k, f);
		p->right = arena_take(a, k, p->embed, f);
	}
}

/* For so many new tokens of a sequence. A single one comes again and again: its
 * scratch is for the whole context from the first on. */
static int64_t
score_floats(const struct pass *p)
{
	const int dim = widest_head(p->m);

	if (!p->f->kv)
		return (int64_t)attention_scratch(p->longest, dim);
	return (int64_t)(p->tokens == 1 ?
	    attention_scratch_one(p->f->kv->context) :
	    attention_scratch(p->past + p->tokens, dim));
}

/* Lays out all buffers; with a counting arena this only adds up sizes. */
static void
take_buffers(struct pass *p, struct arena *a)
{
	const size_t f = sizeof(float);

	p->x = arena_take(a, p->tokens, p->hidden, f);
	p->x0 = arena_take(a, p->b->nseq, p->hidden, f);
	p->e = pass_slot(p, 0, SLOT_PROJ_W) ?
	    arena_take(a, p->tokens, p->embed, f) : p->x;
	if (pass_flag(p, ARCH_PRE_NORM)) {
		p->in = arena_take(a, p->block, p->hidden, f);
		p->in0 = arena_take(a, p->block, p->hidden, f);
	}
	if (pass_flag(p, ARCH_ROTARY)) {
		p->cosine = arena_take(a, p->longest, widest_head(p->m), f);
		p->sine = arena_take(a, p->longest, widest_head(p->m), f);
	}
	p->y = arena_take(a, p->block, p->wide, f);
	p->work = arena_take(a, p->block, work_width(p), f);
	for (int i = 0; i < 2; i++)
		p->head[i] = arena_take(a, head_rows(p), p->wide, f);
	p->logits = arena_take(a, p->piece, p->m->hp.vocab, f);
	take_tables(p, a);
	p->values = arena_take(a, 1, point_vectors(p, true), f);
	p->vector = arena_take(a, p->m->nlayers + 1, SLOT_COUNT,
	    sizeof(*p->vector));
	p->score = arena_take(a, score_floats(p), 1, f);
	p->scratch = arena_take(a, scratch_bytes(p), 1, 1);
}

enum pare_rc
pass_open(struct pass *p, struct arena *memory, struct pare_err *err)
{
	struct arena count = { NULL, 0, 0 };
	enum pare_rc rc;

	set_sizes(p);
	take_buffers(p, &count);
	memory->used = count.used;
	if ((rc = arena_grow(memory, err)) != PARE_OK)
		return rc;
	take_buffers(p, memory);
	point_vectors(p, false);
	if (pass_flag(p, ARCH_ROTARY))
		rope_table(&p->m->hp.rope, widest_head(p->m), p->past,
		    p->longest, p->past + p->longest,
		    pass_vector(p, 0, SLOT_ROPE), p->cosine, p->sine);
	return PARE_OK;
}
