/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * engine: the forward pass. One for all architectures, driven by arch flags and
 * by each layer's own sizes; linear maps go through tensor/kernel.h, so packed
 * tensors run packed.
 *
 * A batch is sequences laid end to end; padding does not exist. Activations are
 * (tokens, width) row-major float32. Results are bit-identical for the same
 * model, batch and thread count.
 */
#ifndef PARE_ENGINE_ENGINE_H
#define PARE_ENGINE_ENGINE_H

#include "engine/kv.h"

struct batch {
	int nseq;
	const int64_t *start;	/* nseq + 1: where each sequence begins */
	const int32_t *ids;	/* start[nseq] of them */
	const int32_t *types;	/* segment of each token; NULL: all 0 */
};

/* Test hook: multiplies by 0 what a structural removal would take away. Masked
 * and removed models must give the same logits. Sizes as in the model; NULL:
 * keep all. */
struct engine_mask {
	const struct head_set *drop_heads;	/* per layer, original numbers */
	const uint8_t *const *drop_neurons;	/* per layer: ffn bytes, or NULL */
	const uint8_t *drop_attention, *drop_ffn, *drop_layer;	/* per layer */
};

/* Where a pass can be watched. */
enum engine_place {
	/* What the products of a layer see: keys and values (queries too, where
	 * the layer is not the one that narrows), output, up and gate, down. */
	ENGINE_SEES_QKV, ENGINE_SEES_OUTPUT, ENGINE_SEES_FFN,
	ENGINE_SEES_DOWN,
	/* The stream (rows, hidden) around a sub-layer and what closes it: a
	 * BEFORE comes right before its AFTER. */
	ENGINE_BEFORE_ATTENTION, ENGINE_AFTER_ATTENTION,
	ENGINE_BEFORE_FFN, ENGINE_AFTER_FFN,
	ENGINE_PLACES
};

/* Is shown rows as they come by, a block at a time, those of one layer in order;
 * in the thread of engine_forward(). They are not to be changed. */
struct engine_watch {
	void (*see)(void *ctx, int layer, enum engine_place place,
	    const float *x, int64_t rows, int64_t cols);
	void *ctx;
};

struct forward {
	/* What to compute, set by the caller. Outputs are the caller's. */
	float *logits;		/* CLASSIFY, REGRESS: (nseq, labels);
				 * MLM, LM: (tokens, vocab); may be NULL */
	bool last;		/* MLM, LM: logits of the last token of each
				 * sequence alone, (nseq, vocab) */
	float *hidden;		/* (tokens, hidden) of the last layer; may be NULL */
	/* Where the head is one of tokens and its logits are not to be held:
	 * those of nrows tokens of the batch, rows[], go to take(), a few at a
	 * time, in order: n rows of vocab, of rows[first] and on, borrowed, in
	 * the calling thread. NULL: not wanted. */
	void (*take)(const float *logits, int64_t first, int64_t n, void *ctx);
	void *ctx;
	const int64_t *rows;
	int64_t nrows;
	/* Attention probabilities of one head: (tokens of seq attention_seq)^2;
	 * attention_head by original number. */
	float *attention;
	int attention_layer, attention_head, attention_seq;
	const struct engine_mask *mask;
	struct task *task;	/* asked between layers */

	/* Where to begin: the input (tokens, hidden) of layer `from`, 0 to
	 * engine_last_whole(), as an earlier pass kept it. NULL: with the
	 * embeddings, and `from` is 0. The outputs are bit-identical to those of
	 * the full pass over the same batch that asks for the same outputs. */
	const float *input;
	int from;
	/* Per layer l <= engine_last_whole(): where to copy its input (tokens,
	 * hidden) to when the pass comes by; NULL, or NULL entries: not. */
	float *const *keep;
	struct engine_times *times;	/* added to; NULL: not measured */
	const struct engine_watch *watch;	/* NULL: nobody looks on */

	/* The batch is one sequence that goes on where the cache ends; when the
	 * pass succeeds the cache has its tokens too, else it is as before (or,
	 * where the whole text runs again, see kv.h, empty). Not with input, keep
	 * or attention. NULL: none. */
	struct kv *kv;
};

/* What a layer's time is spent on. */
enum engine_part {
	ENGINE_ATTENTION,	/* products of q, k, v, o; scores and context */
	ENGINE_FFN,		/* its products and the activation */
	ENGINE_NORM,		/* norms, with the residual sums before them */
	ENGINE_PARTS
};

/* Seconds, measured in place. They add up to the pass but for its first checks
 * and the copies that `keep` asks for. */
struct engine_times {
	double embed, head;		/* head: with the norm after all layers */
	double (*layer)[ENGINE_PARTS];	/* per layer of the model; the caller's */
};

/* The last layer whose input a pass for logits alone computes for all tokens. */
int engine_last_whole(const struct model *m);

struct engine;	/* scratch memory, reused from batch to batch; one a thread */
struct engine *engine_new(void);
void engine_free(struct engine *e);

/*
 * Runs the batch. PARE_EUSER when the model has no weights, has no head and
 * logits are wanted, or an id, a type or a length is outside its tables, or
 * `from` is no layer to begin with, or the cache is another model's or has no
 * room; PARE_ENOMEM; PARE_ECANCELED; PARE_EFORMAT "non-finite values after layer
 * k".
 * Outputs are undefined on error.
 */
enum pare_rc engine_forward(struct engine *e, const struct model *m,
    const struct batch *b, struct forward *f, struct pare_err *err);

/* Bytes of scratch held now. */
size_t engine_scratch(const struct engine *e);

#endif
