/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kv: the keys and values of the tokens that a decoder has seen, so that the
 * next ones need not compute them again. One sequence of one model; a pass with
 * a cache (engine/engine.h) reads its batch as what follows, and adds to it.
 *
 * Keys and values are float32, (kv_heads, context, head_dim) a layer each, so a
 * layer without attention has none and one with fewer key heads less. A head's
 * lie together: a single query reads them in one go. Keys are kept as the scores
 * want them, normed and turned.
 *
 * Where angles hang on the length of the text (ROPE_DYNAMIC beyond the original
 * length) nothing that was computed for a shorter text holds: every pass runs
 * the whole text again, and can only be for the logits of the last token.
 *
 * All memory is taken at the beginning; its pages come into being as tokens
 * fill them.
 */
#ifndef PARE_ENGINE_KV_H
#define PARE_ENGINE_KV_H

#include "model/model.h"

struct kv {
	/* Read by the engine; others call the functions below. */
	struct model *m;	/* a reference */
	int64_t context, length;	/* tokens: room for, there */
	float *memory;
	float **k, **v;		/* per layer; NULL: no attention */
	int32_t *id;		/* ROPE_DYNAMIC: the tokens; else NULL */
};

/*
 * Room for `context` tokens. NULL with PARE_EUSER when the model is no decoder
 * (its tokens see what follows them) or has positions for fewer, PARE_ENOMEM.
 */
struct kv *kv_new(const struct model *m, int64_t context,
    struct pare_err *err);
void kv_free(struct kv *c);	/* NULL is fine */

/* Forgets all tokens but the first n (n <= length). */
void kv_cut(struct kv *c, int64_t n);

/* The most tokens a cache of m can hold. */
int64_t kv_longest(const struct model *m);

/* Bytes for `context` tokens, of a layer or of all; INT64_MAX when that is no
 * number. 0 for models that are no decoders. */
int64_t kv_layer_bytes(const struct model *m, int layer, int64_t context);
int64_t kv_bytes(const struct model *m, int64_t context);

#endif
