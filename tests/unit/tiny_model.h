/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tiny_model: small random models of odd sizes, made through the edit gate, for
 * the tests of the engine.
 */
#ifndef PARE_TESTS_TINY_MODEL_H
#define PARE_TESTS_TINY_MODEL_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/arch.h"
#include "model/edit.h"
#include "model/model.h"

struct tiny_layer {
	int heads, kv_heads, dim;
	int64_t ffn;
};

struct tiny {
	const char *type;	/* model_type */
	unsigned flags;		/* of a made-up architecture; 0: those of type */
	enum head_kind head;
	int64_t hidden, embed, vocab, positions, types, labels;
	enum act_kind act, head_act;
	bool pooler, dense;
	bool tied;		/* all layers share layer 0's tensors */
	int nlayers;
	struct tiny_layer layer[4];
	uint64_t seed;
};

static struct tensor *
tiny_tensor(struct rng *r, int ndim, int64_t rows, int64_t cols, float mean,
    float deviation)
{
	float *v;
	struct tensor *t = tensor_new_f32(ndim, rows, cols, &v, NULL);

	assert_non_null(t);
	for (int64_t i = 0; i < rows * cols; i++)
		v[i] = mean + deviation * rng_normal(r);
	return t;
}

/* A random low-rank tensor in the shape of t. */
static inline struct tensor *
tiny_low_rank(const struct tensor *t, int64_t rank, uint64_t seed)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor like = {
		.form = FORM_LOWRANK, .values = FORM_LOWRANK, .ndim = 2,
		.rows = t->rows, .cols = t->cols
	}, *kid[2], *out;
	struct pare_err err;
	struct rng r;

	rng_seed(&r, seed);
	atomic_init(&like.nonzero, -1);
	kid[0] = tiny_tensor(&r, 2, t->rows, rank, 0, 0.6f);
	kid[1] = tiny_tensor(&r, 2, rank, t->cols, 0, 0.4f);
	if ((out = tensor_new(&like, parts, kid, &err)) == NULL)
		fail_msg("%s", err.msg);
	return out;
}

static bool
tiny_has(const struct tiny *s, const struct layer *y, enum slot k)
{
	const bool gated = (s->flags & ARCH_GATED) != 0;
	const bool mlm = s->head == HEAD_MLM;

	if (k <= SLOT_O_B)
		return y->heads > 0;
	/* Of decoders; test_decoder.c and the samples have them. */
	if (k == SLOT_QNORM_W || k == SLOT_KNORM_W || k == SLOT_APOST_W ||
	    k == SLOT_FPOST_W || k == SLOT_ROPE)
		return false;
	if (k == SLOT_GATE_W || k == SLOT_GATE_B)
		return gated && y->ffn > 0;
	if (k == SLOT_UP_W || k == SLOT_UP_B || k == SLOT_DOWN_W ||
	    k == SLOT_DOWN_B)
		return y->ffn > 0;
	if (k == SLOT_TYPE)
		return s->types > 0;
	if (k == SLOT_PROJ_W || k == SLOT_PROJ_B)
		return s->embed != s->hidden;
	if (k == SLOT_FINAL_W || k == SLOT_FINAL_B)
		return (s->flags & ARCH_PRE_NORM) != 0;
	if (k == SLOT_POOL_W || k == SLOT_POOL_B)
		return s->pooler;
	if (k == SLOT_HDENSE_W || k == SLOT_HDENSE_B)
		return s->dense;
	if (k == SLOT_HNORM_W || k == SLOT_HNORM_B)
		return mlm;
	if (k == SLOT_HOUT_W || k == SLOT_HOUT_B)
		return s->head != HEAD_NONE;
	return true;
}

static void
tiny_fill(struct edit *e, struct rng *r, int layer, enum slot s)
{
	const struct slot_facts *f = &slot_table[s];
	const bool gain = f->kind == KIND_NORM || s == SLOT_ENORM_W ||
	    s == SLOT_HNORM_W || s == SLOT_FINAL_W || s == SLOT_ANORM_W ||
	    s == SLOT_FNORM_W;
	const bool weight = strstr(f->name, "weight") != NULL;
	const int64_t cols = model_dim(e->m, layer, f->cols);
	float dev = f->matrix ? 1.2f / sqrtf((float)cols) : 0.1f;

	if (f->kind == KIND_EMBEDDING && f->matrix)
		dev = 0.5f;
	edit_set(e, (struct slot_ref){ layer, s },
	    tiny_tensor(r, f->rows == DIM_NONE ? 1 : 2,
	    model_dim(e->m, layer, f->rows), cols,
	    gain && weight && !f->matrix ? 1.0f : 0.0f, dev));
}

static void
tiny_shape(struct layer *y, const struct tiny_layer *from)
{
	y->heads = y->heads_original = from->heads;
	y->kv_heads = from->kv_heads;
	y->head_dim = from->dim;
	y->ffn = y->ffn_original = from->ffn;
	for (int h = 0; h < from->heads; h++)
		head_set_put(&y->head, h, true);
}

static struct model *
tiny_model(const struct tiny *s)
{
	static struct arch made_up[8];
	static int made;
	const struct arch *arch = arch_find(s->type);
	struct hparams hp = {
		.hidden = s->hidden, .embed = s->embed, .vocab = s->vocab,
		.positions = s->positions, .types = s->types,
		.labels = s->labels, .norm_eps = 1e-12, .act = s->act,
		.head_act = s->head_act, .head = s->head, .init_range = 0.02
	};
	struct edit *e;
	struct model *m = NULL;
	struct pare_err err;
	struct rng r;

	assert_non_null(arch);
	if (s->flags) {
		made_up[made] = *arch;
		made_up[made].flags = s->flags;
		arch = &made_up[made];
		made = (made + 1) % 8;
	}
	rng_seed(&r, s->seed);
	e = edit_begin_new(arch, &hp, s->nlayers, origin_new());
	for (int l = 0; l < s->nlayers; l++)
		tiny_shape(&e->m->layer[l], &s->layer[s->tied ? 0 : l]);
	for (int l = 0; l < s->nlayers; l++)
		for (int k = 0; k < SLOT_LAYER_COUNT; k++) {
			if (!tiny_has(s, &e->m->layer[l], (enum slot)k))
				continue;
			if (l > 0 && s->tied)
				edit_set(e, (struct slot_ref){ l, (enum slot)k },
				    tensor_ref(edit_get(e, (struct slot_ref){
				    0, (enum slot)k })));
			else
				tiny_fill(e, &r, l, (enum slot)k);
		}
	for (int k = SLOT_LAYER_COUNT; k < SLOT_COUNT; k++)
		if (tiny_has(s, NULL, (enum slot)k))
			tiny_fill(e, &r, -1, (enum slot)k);
	if (edit_commit(e, &m, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return m;
}

/* A classifier with odd sizes and layers that are all different: one without
 * attention, one without FFN. */
static const struct tiny tiny_odd = {
	.type = "bert", .head = HEAD_CLASSIFY, .hidden = 21, .embed = 21,
	.vocab = 37, .positions = 19, .types = 2, .labels = 3,
	.act = ACT_GELU, .pooler = true, .nlayers = 4,
	.layer = { { 3, 3, 7, 13 }, { 0, 0, 7, 5 }, { 1, 1, 7, 0 },
	    { 2, 2, 5, 17 } },
	.seed = 11
};

#endif
