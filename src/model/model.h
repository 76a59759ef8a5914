/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * model: an immutable Transformer: hyper-parameters, layers, and the tensor in
 * each slot. Made only by the gate in model/edit.h. Reference-counted; the
 * rules of tensor/tensor.h hold.
 *
 * Two slots that hold the same tensor pointer are tied (ALBERT's layers, a
 * decoder tied to its embedding, what `share` makes); parameters and bytes count
 * each tensor once.
 *
 * Nothing assumes that layers are alike: each has its own head count, head set,
 * FFN width and forms. A layer with heads == 0 has no attention, one with
 * ffn == 0 no FFN; its norms stay (a post-norm layer still normalises x + 0).
 */
#ifndef PARE_MODEL_MODEL_H
#define PARE_MODEL_MODEL_H

#include <jansson.h>

#include "model/slot.h"
#include "tensor/tensor.h"

enum { MODEL_HEADS_MAX = 256, MODEL_LAYERS_MAX = 4096 };

/* The heads of the original layer that are still there: bit h of w[h / 64]. */
struct head_set {
	uint64_t w[MODEL_HEADS_MAX / 64];
};

bool head_set_has(const struct head_set *s, int h);
void head_set_put(struct head_set *s, int h, bool on);
int head_set_count(const struct head_set *s);

enum act_kind {
	ACT_GELU,	/* erf */
	ACT_GELU_TANH, ACT_GELU_QUICK, ACT_SILU, ACT_RELU, ACT_TANH, ACT_LINEAR,
	ACT_COUNT
};

enum head_kind {
	HEAD_NONE,	/* the body only (a pooler may be there) */
	HEAD_CLASSIFY,	/* one label of `labels`, from token 0 or, of decoders,
			 * the last one that is not `pad` */
	HEAD_REGRESS,	/* labels == 1, a score */
	HEAD_MLM,	/* a row of vocab logits per token */
	HEAD_LM		/* the same, of the token that comes next */
};

/* A row of vocab logits per token, of the token itself or the next one. */
static inline bool
head_gives_tokens(enum head_kind k)
{
	return k == HEAD_MLM || k == HEAD_LM;
}

/* How the frequencies of rotary positions are stretched beyond the length that
 * a model was trained on. Formulas at rope_table() in engine/rope.h. */
enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN,
	ROPE_KIND_COUNT };

struct rope {
	enum rope_kind kind;
	double theta;
	double factor;
	double low, high;	/* LLAMA3: frequency factors; YARN: beta_slow and
				 * beta_fast */
	double attention;	/* YARN: factor of cos and sin; 0: by its rule */
	int64_t original;	/* positions before stretching */
	bool interleaved;	/* pairs are (2i, 2i + 1), not (i, i + d / 2) */
};

struct hparams {
	int64_t hidden, embed, vocab, positions, types, labels;
	int64_t position_offset;	/* first row of the position table in use
					 * (RoBERTa: padding_idx + 1) */
	int64_t pad;			/* 1 + the id of padding, of classifiers
					 * that read the last token; 0: none */
	double norm_eps;
	enum act_kind act;		/* of the FFN and of an MLM head */
	enum act_kind head_act;		/* after HDENSE of a classifier */
	struct rope rope;		/* ARCH_ROTARY */
	double embed_scale;		/* of the embedding rows; 0: 1 */
	double attn_scale;		/* of the scores; 0: 1 / sqrt(head_dim) */
	double attn_cap, logit_cap;	/* s -> c tanh(s / c); 0: none */
	enum head_kind head;
	double dropout, attention_dropout, init_range;
};

struct layer {
	int heads, kv_heads;	/* present now; heads == 0: no attention */
	int head_dim;
	int64_t ffn;		/* present now; 0: no FFN */
	int64_t window;		/* a token sees so many back, itself counted; 0:
				 * all */
	int heads_original;	/* as opened; names of heads count to here */
	struct head_set head;	/* which of those remain, head_set_count == heads */
	int64_t ffn_original;
	struct tensor *t[SLOT_LAYER_COUNT];	/* NULL: not there */
};

struct arch;	/* model/arch.h */

/* What is known of where a model came from; shared by all its descendants and
 * never changed. */
struct origin {
	atomic_int refs;
	char *path;		/* as given when opened */
	char *name;		/* for titles */
	char *dir;		/* folder of the tokenizer files, or NULL */
	json_t *config;		/* the whole config.json */
	char **label;		/* names of the classes, hp.labels of them, or NULL */
	int nlabels;
	char *problem;		/* problem_type, or NULL */
};

/*
 * Which of the origin's tokens a model still has, where some were removed: what
 * its tokenizer is made by. Immutable, counted. It is no part of a model's
 * content: a saved model has its own tokenizer and begins without one.
 */
struct token_map {
	atomic_int refs;
	int64_t n, of;		/* tokens that are left, of so many */
	uint64_t hash;
	int32_t id[];		/* the origin's id of each, ascending */
};

/* keep[0..n) is ascending and below `of`. */
struct token_map *token_map_new(const int64_t *keep, int64_t n, int64_t of);
struct token_map *token_map_ref(struct token_map *t);	/* NULL is fine */
void token_map_unref(struct token_map *t);
/* NULL stands for all tokens. */
bool token_map_same(const struct token_map *a, const struct token_map *b);
/* The present id of one of the origin's; -1: it was removed. NULL: the same. */
int64_t token_map_id(const struct token_map *t, int64_t origin_id);

struct model {
	atomic_int refs;
	const struct arch *arch;
	struct origin *origin;
	struct token_map *tokens;	/* NULL: all that the origin has */
	struct hparams hp;
	bool ghost;		/* opened from a config alone: no weights */
	_Atomic uint64_t hash;
	struct tensor *t[SLOT_COUNT - SLOT_LAYER_COUNT];
	int nlayers;
	struct layer layer[];
};

struct model *model_ref(const struct model *m);
void model_unref(struct model *m);	/* NULL is fine */

struct origin *origin_new(void);	/* empty, one reference */
struct origin *origin_ref(struct origin *o);
void origin_unref(struct origin *o);

/* The tensor in a slot, borrowed; NULL when empty. */
struct tensor *model_slot(const struct model *m, struct slot_ref ref);
/* Steps over all filled slots in the order of files: start from
 * SLOT_REF_START; false at the end. Embeddings, layers, then the rest. */
#define SLOT_REF_START ((struct slot_ref){ -2, SLOT_COUNT })
bool model_next_slot(const struct model *m, struct slot_ref *ref);

/* The first slot, in that order, that holds the tensor of ref: ref itself
 * unless it is tied to an earlier one. */
struct slot_ref model_owner(const struct model *m, struct slot_ref ref);

/* The size a side of a slot must have (for layer slots of layer l). */
int64_t model_dim(const struct model *m, int l, enum dim_kind d);

/* "L3.attn.q.weight", "emb.word.weight". */
void model_slot_path(struct slot_ref ref, char *out, size_t n);

/* Content hash over architecture, hyper-parameters, layer shapes and tensors,
 * computed on first use (reads all weights once). */
uint64_t model_hash(const struct model *m);

/* The embeddings, of which a pass needs some rows, leave memory where a file has
 * them; model_hash() and account_rows() do so after they read all of them. */
void model_forget_tables(const struct model *m);

/*
 * Content hash of everything a pass computes before layer l, 0 to nlayers:
 * architecture, hyper-parameters, the tensors of the embedding and of layers
 * below l. Two models with the same hash at l have the same input of layer l for
 * the same tokens. The tensors of the head, the layers from l on and their number
 * do not enter.
 */
uint64_t model_prefix_hash(const struct model *m, int l);
/* Those of 0 to nlayers, into out[nlayers + 1]. */
void model_prefix_hashes(const struct model *m, uint64_t *out);

/* The name of a class, "LABEL_k" when the config names none. */
void model_label_name(const struct model *m, int k, char *out, size_t n);

const char *act_name(enum act_kind a);
bool act_find(const char *hf_name, enum act_kind *out);
float act_apply(enum act_kind a, float x);

#endif
