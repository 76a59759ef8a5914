/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model/slot.h"

const char *const module_kind_names[KIND_COUNT] = {
	[KIND_EMBEDDING] = "embedding",
	[KIND_ATTENTION] = "attention",
	[KIND_FFN] = "ffn",
	[KIND_NORM] = "norm",
	[KIND_POOLER] = "pooler",
	[KIND_HEAD] = "head",
};

#define W(name, part, module, kind, rows, cols) \
	{ name ".weight", part, module, kind, rows, cols, true }
#define B(name, part, module, kind, cols) \
	{ name ".bias", part, module, kind, DIM_NONE, cols, false }
#define N(name, part, module, cols) \
	{ name ".weight", part, module, KIND_NORM, DIM_NONE, cols, false }
#define NB(name, part, module, cols) \
	{ name ".bias", part, module, KIND_NORM, DIM_NONE, cols, false }

const struct slot_facts slot_table[SLOT_COUNT] = {
	[SLOT_Q_W] = W("q", "q", "attn", KIND_ATTENTION, DIM_QUERY, DIM_HIDDEN),
	[SLOT_Q_B] = B("q", "q", "attn", KIND_ATTENTION, DIM_QUERY),
	[SLOT_K_W] = W("k", "k", "attn", KIND_ATTENTION, DIM_KV, DIM_HIDDEN),
	[SLOT_K_B] = B("k", "k", "attn", KIND_ATTENTION, DIM_KV),
	[SLOT_V_W] = W("v", "v", "attn", KIND_ATTENTION, DIM_KV, DIM_HIDDEN),
	[SLOT_V_B] = B("v", "v", "attn", KIND_ATTENTION, DIM_KV),
	[SLOT_O_W] = W("o", "o", "attn", KIND_ATTENTION, DIM_HIDDEN, DIM_QUERY),
	[SLOT_O_B] = B("o", "o", "attn", KIND_ATTENTION, DIM_HIDDEN),
	[SLOT_QNORM_W] = N("q_norm", "norm", "attn", DIM_HEAD_DIM),
	[SLOT_KNORM_W] = N("k_norm", "norm", "attn", DIM_HEAD_DIM),
	[SLOT_ANORM_W] = N("attn", "norm", "norm", DIM_HIDDEN),
	[SLOT_ANORM_B] = NB("attn", "norm", "norm", DIM_HIDDEN),
	[SLOT_APOST_W] = N("attn_post", "norm", "norm", DIM_HIDDEN),
	[SLOT_UP_W] = W("up", "up", "ffn", KIND_FFN, DIM_FFN, DIM_HIDDEN),
	[SLOT_UP_B] = B("up", "up", "ffn", KIND_FFN, DIM_FFN),
	[SLOT_GATE_W] = W("gate", "gate", "ffn", KIND_FFN, DIM_FFN, DIM_HIDDEN),
	[SLOT_GATE_B] = B("gate", "gate", "ffn", KIND_FFN, DIM_FFN),
	[SLOT_DOWN_W] = W("down", "down", "ffn", KIND_FFN, DIM_HIDDEN, DIM_FFN),
	[SLOT_DOWN_B] = B("down", "down", "ffn", KIND_FFN, DIM_HIDDEN),
	[SLOT_FNORM_W] = N("ffn", "norm", "norm", DIM_HIDDEN),
	[SLOT_FNORM_B] = NB("ffn", "norm", "norm", DIM_HIDDEN),
	[SLOT_FPOST_W] = N("ffn_post", "norm", "norm", DIM_HIDDEN),

	[SLOT_WORD] = W("emb.word", "emb.word", "", KIND_EMBEDDING, DIM_VOCAB,
	    DIM_EMBED),
	[SLOT_POSITION] = W("emb.pos", "emb.pos", "", KIND_EMBEDDING,
	    DIM_POSITIONS, DIM_EMBED),
	[SLOT_TYPE] = W("emb.type", "emb.type", "", KIND_EMBEDDING, DIM_TYPES,
	    DIM_EMBED),
	[SLOT_ROPE] = { "emb.rope", "emb.rope", "", KIND_EMBEDDING, DIM_NONE,
	    DIM_PAIRS, false },
	[SLOT_ENORM_W] = N("emb.norm", "emb.norm", "", DIM_EMBED),
	[SLOT_ENORM_B] = NB("emb.norm", "emb.norm", "", DIM_EMBED),
	[SLOT_PROJ_W] = W("emb.proj", "emb.proj", "", KIND_EMBEDDING,
	    DIM_HIDDEN, DIM_EMBED),
	[SLOT_PROJ_B] = B("emb.proj", "emb.proj", "", KIND_EMBEDDING,
	    DIM_HIDDEN),
	[SLOT_FINAL_W] = N("final.norm", "final", "", DIM_HIDDEN),
	[SLOT_FINAL_B] = NB("final.norm", "final", "", DIM_HIDDEN),
	[SLOT_POOL_W] = W("pooler", "pooler", "", KIND_POOLER, DIM_HIDDEN,
	    DIM_HIDDEN),
	[SLOT_POOL_B] = B("pooler", "pooler", "", KIND_POOLER, DIM_HIDDEN),
	[SLOT_HDENSE_W] = W("head.dense", "head", "", KIND_HEAD, DIM_HEAD_IN,
	    DIM_HIDDEN),
	[SLOT_HDENSE_B] = B("head.dense", "head", "", KIND_HEAD, DIM_HEAD_IN),
	[SLOT_HNORM_W] = N("head.norm", "head", "", DIM_HEAD_IN),
	[SLOT_HNORM_B] = NB("head.norm", "head", "", DIM_HEAD_IN),
	[SLOT_HOUT_W] = W("head.out", "head", "", KIND_HEAD, DIM_HEAD_OUT,
	    DIM_HEAD_IN),
	[SLOT_HOUT_B] = B("head.out", "head", "", KIND_HEAD, DIM_HEAD_OUT),
};
