/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pass: what the parts of one forward pass share. Private to the engine room.
 */
#ifndef PARE_ENGINE_PASS_H
#define PARE_ENGINE_PASS_H

#include "engine/elementwise.h"
#include "engine/forward.h"
#include "model/arch.h"
#include "tensor/kernel.h"

/* Tokens of a block: see forward.c. */
enum { PASS_BLOCK = 512 };

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
	float *position, *type;	/* decoded rows of these tables; NULL: as in
				 * the tensor */
	float *left, *right;	/* factors of a low-rank word table */
	float *cosine, *sine;	/* ARCH_ROTARY: (longest, head_dim / 2) */
	float *values;		/* of vectors that are no f32, one after another */
	const float **vector;	/* by pass_vector() */
	float *score;		/* of attention */
	void *scratch;		/* of the kernels */
	double mark;		/* until when time was charged */
};

static inline bool
pass_flag(const struct pass *p, unsigned flag)
{
	return (p->m->arch->flags & flag) != 0;
}

/* layer is not looked at for slots of the body. */
static inline const struct tensor *
pass_slot(const struct pass *p, int layer, enum slot s)
{
	return s < SLOT_LAYER_COUNT ? p->m->layer[layer].t[s] :
	    p->m->t[s - SLOT_LAYER_COUNT];
}

static inline int64_t
pass_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t
pass_max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The values of a vector slot; NULL when it is empty. */
const float *pass_vector(const struct pass *p, int layer, enum slot s);
/* bias SLOT_COUNT: the norm has none. */
struct elem_norm pass_norm(const struct pass *p, int layer, enum slot weight,
    enum slot bias);

/* The end of the block of whole sequences that begins with sequence s. */
int pass_block_end(const struct pass *p, int s);

/* Fills in sizes, takes all buffers from memory, and decodes vectors. */
enum pare_rc pass_open(struct pass *p, struct arena *memory,
    struct pare_err *err);

/* Word, position and segment rows, their norm and projection, into x. False
 * when a value is not finite. */
bool pass_embed(struct pass *p);

#endif
