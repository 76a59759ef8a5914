/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * embed: the first part of a pass. A thread takes a few tokens from the word
 * table to the end of the norm.
 */
#include "engine/pass.h"

#include <cblas.h>
#include <stdatomic.h>

#include "engine/lanes.h"
#include "tensor/team.h"

enum { TOKENS = 16 };	/* of a piece */

struct embed {
	struct pass *p;
	const float *position, *type;	/* tables; NULL: the model has none */
	struct elem_norm norm;		/* w NULL: none */
	const struct lanes *lane;
	atomic_bool bad;
};

/* Word rows of the tokens [first, end). */
static void
word_rows(const struct pass *p, int64_t first, int64_t end)
{
	const struct tensor *word = pass_slot(p, 0, SLOT_WORD);
	const int64_t k = tensor_rank(word);
	float *e = p->e + first * p->embed;

	if (word->form != FORM_LOWRANK) {
		for (int64_t i = first; i < end; i++)
			tensor_decode(word, p->b->ids[i], 1,
			    p->e + i * p->embed);
		return;
	}
	for (int64_t i = first; i < end; i++)
		tensor_decode(word->kid[0], p->b->ids[i], 1, p->left + i * k);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans,
	    (blasint)(end - first), (blasint)p->embed, (blasint)k, 1.0f,
	    p->left + first * k, (blasint)k, p->right, (blasint)p->embed, 0.0f,
	    e, (blasint)p->embed);
}

/* The sequence that token i is in. */
static int
sequence_of(const struct batch *b, int64_t i)
{
	int low = 0, high = b->nseq;

	while (high - low > 1) {
		int middle = low + (high - low) / 2;

		if (b->start[middle] <= i)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void
embed_piece(void *arg, int64_t piece, int thread)
{
	struct embed *g = arg;
	const struct pass *p = g->p;
	const int64_t w = p->embed, first = piece * TOKENS;
	const int64_t end = pass_min(first + TOKENS, p->tokens);
	int s = sequence_of(p->b, first);

	word_rows(p, first, end);
	for (int64_t i = first; i < end; i++) {
		const float *position = g->position, *type = g->type;
		float *e = p->e + i * w, bad;

		while (i >= p->b->start[s + 1])
			s++;
		if (position)
			position += (i - p->b->start[s]) * w;
		if (type && p->b->types)
			type += p->b->types[i] * w;
		bad = g->lane->add(e, position, type, w);
		if (g->norm.w)
			bad = g->lane->norm(e, e, NULL, NULL, &g->norm, i, w);
		if (bad != 0.0f)
			atomic_store(&g->bad, true);
	}
}

/* Tables that are f32 are read in place. */
static void
find_tables(struct embed *g)
{
	struct pass *p = g->p;
	const struct tensor *word = pass_slot(p, 0, SLOT_WORD);
	const struct tensor *pos = pass_slot(p, 0, SLOT_POSITION);
	const struct tensor *type = pass_slot(p, 0, SLOT_TYPE);
	const int64_t offset = p->m->hp.position_offset + p->past;

	if (p->position)
		tensor_decode(pos, offset, p->longest, p->position);
	if (p->type)
		tensor_decode(type, 0, p->m->hp.types, p->type);
	if (word->form == FORM_LOWRANK)
		tensor_decode(word->kid[1], 0, tensor_rank(word), p->right);
	g->position = p->position || !pos ? p->position :
	    tensor_f32(pos) + offset * p->embed;
	g->type = p->type || !type ? p->type : tensor_f32(type);
}

/* Gemma's factor; architectures that have it have no norm here. */
static void
scale_rows(float *x, int64_t n, float scale)
{
	for (int64_t i = 0; scale != 0.0f && i < n; i++)
		x[i] *= scale;
}

bool
pass_embed(struct pass *p)
{
	struct embed g = { .p = p, .lane = lanes(),
		.norm = pass_norm(p, 0, SLOT_ENORM_W, SLOT_ENORM_B) };
	const struct tensor *t = pass_slot(p, 0, SLOT_PROJ_W);

	atomic_init(&g.bad, false);
	find_tables(&g);
	team_for((p->tokens + TOKENS - 1) / TOKENS, embed_piece, &g);
	scale_rows(p->e, p->tokens * p->embed, (float)p->m->hp.embed_scale);
	if (p->e == p->x)
		return !atomic_load(&g.bad);
	for (int64_t r = 0, n; r < p->tokens; r += n) {
		n = pass_min(p->block, p->tokens - r);
		kernel_matmul(t, p->e + r * p->embed, n, p->x + r * p->hidden,
		    false, p->scratch);
	}
	return elem_add(p->x, NULL, pass_vector(p, 0, SLOT_PROJ_B), p->tokens,
	    p->hidden) && !atomic_load(&g.bad);
}
