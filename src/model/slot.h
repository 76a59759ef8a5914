/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * slot: the places of a Transformer that hold a tensor, as a table. Every room
 * that walks a model (accounting, selectors, the edit gate, files, ops, the
 * optimiser) walks this table, so a new slot is one row.
 */
#ifndef PARE_MODEL_SLOT_H
#define PARE_MODEL_SLOT_H

#include <stdbool.h>
#include <stdint.h>

/* Layer slots first, then the slots a model has once. */
enum slot {
	SLOT_Q_W, SLOT_Q_B, SLOT_K_W, SLOT_K_B, SLOT_V_W, SLOT_V_B,
	SLOT_O_W, SLOT_O_B,
	SLOT_QNORM_W, SLOT_KNORM_W,	/* of each head before the rotation */
	SLOT_ANORM_W, SLOT_ANORM_B,	/* norm of the attention sub-layer */
	SLOT_APOST_W,	/* of what it gives, before the sum: Gemma 2 */
	SLOT_UP_W, SLOT_UP_B, SLOT_GATE_W, SLOT_GATE_B,
	SLOT_DOWN_W, SLOT_DOWN_B,
	SLOT_FNORM_W, SLOT_FNORM_B,	/* norm of the FFN sub-layer */
	SLOT_FPOST_W,
	SLOT_LAYER_COUNT,

	SLOT_WORD = SLOT_LAYER_COUNT,	/* (vocab, embedding) */
	SLOT_POSITION,			/* (positions, embedding) */
	SLOT_TYPE,			/* (types, embedding) */
	SLOT_ROPE,			/* divisors of the rotation's frequencies,
					 * one a pair: GGUF files of Llama 3 */
	SLOT_ENORM_W, SLOT_ENORM_B,
	SLOT_PROJ_W, SLOT_PROJ_B,	/* (hidden, embedding): ALBERT, ELECTRA */
	SLOT_FINAL_W, SLOT_FINAL_B,	/* norm after the last pre-norm layer */
	SLOT_POOL_W, SLOT_POOL_B,	/* tanh pooler on token 0 */
	SLOT_HDENSE_W, SLOT_HDENSE_B,	/* dense + activation of the head */
	SLOT_HNORM_W, SLOT_HNORM_B,
	SLOT_HOUT_W, SLOT_HOUT_B,	/* (labels, hidden) or (vocab, embedding) */
	SLOT_COUNT
};

enum module_kind {
	KIND_EMBEDDING, KIND_ATTENTION, KIND_FFN, KIND_NORM, KIND_POOLER,
	KIND_HEAD, KIND_COUNT
};

/* What a side of a slot's shape is; see model_dim(). */
enum dim_kind {
	DIM_NONE,	/* rows of a vector: 1 */
	DIM_HIDDEN, DIM_QUERY, DIM_KV, DIM_FFN, DIM_VOCAB, DIM_POSITIONS,
	DIM_TYPES, DIM_EMBED, DIM_LABELS,
	DIM_HEAD_DIM,	/* values of one head, of that layer */
	DIM_PAIRS,	/* half of that: pairs that are rotated */
	DIM_HEAD_IN,	/* what HDENSE makes: embedding for a masked-LM head */
	DIM_HEAD_OUT	/* labels, or vocab for a masked-LM head */
};

struct slot_facts {
	const char *name;	/* after the module in paths: "q.weight" */
	const char *part;	/* selector word: "q", "norm", "up", "emb.word" */
	const char *module;	/* "attn", "ffn", "norm"; "" for model slots */
	enum module_kind kind;
	enum dim_kind rows, cols;	/* rows DIM_NONE: a vector */
	bool matrix;		/* a weight of a linear map or an embedding */
};

extern const struct slot_facts slot_table[SLOT_COUNT];
extern const char *const module_kind_names[KIND_COUNT];

/* One slot of one model: layer -1 for the slots a model has once. */
struct slot_ref {
	int layer;
	enum slot slot;
};

#endif
