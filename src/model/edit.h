/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * edit: the one gate that makes models.
 *
 * begin, set slots and shapes, commit. Commit checks every shape against
 * slot_table and the layer's numbers, so a half-applied structural change cannot
 * become a model. Until then the source model is untouched, and abort forgets
 * everything.
 *
 * Sharing survives: within one edit, the same cut of the same tensor gives the
 * same new tensor, so twelve ALBERT layers that are cut alike stay one set of
 * weights; and tensors that stand on one base (tensor_base()) do so still where
 * their bases became alike.
 *
 * In estimate mode (EDIT_ESTIMATE) every transform makes ghosts with the exact
 * facts of the real result. An op runs the same code for both, which is why its
 * estimate equals its result.
 */
#ifndef PARE_MODEL_EDIT_H
#define PARE_MODEL_EDIT_H

#include "model/model.h"
#include "tensor/transform.h"

struct edit {
	struct model *m;	/* being built; read it, change it by functions */
	const struct model *source;
	struct transform_ctx ctx;	/* hand &e->ctx to tensor transforms */
	struct memo *memo;	/* private */
};

enum edit_mode { EDIT_REAL, EDIT_ESTIMATE };

/* Keeps a reference to source. Never fails. */
struct edit *edit_begin(const struct model *source, enum edit_mode mode,
    uint64_t seed, struct task *task);
/* A model from nothing, for openers: nlayers empty layers. Consumes origin. */
struct edit *edit_begin_new(const struct arch *arch, const struct hparams *hp,
    int nlayers, struct origin *origin);
void edit_abort(struct edit *e);	/* NULL is fine */

/* Puts t (consumed; NULL empties the slot). */
void edit_set(struct edit *e, struct slot_ref ref, struct tensor *t);
/* The tensor there now, borrowed. */
struct tensor *edit_get(const struct edit *e, struct slot_ref ref);

/*
 * Applies a transform to the tensor of a slot and puts the result there. The
 * same (tensor, key) within one edit runs fn once and shares its result; key
 * must tell apart different arguments of fn.
 */
typedef struct tensor *edit_transform(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err);
enum pare_rc edit_map(struct edit *e, struct slot_ref ref, uint64_t key,
    edit_transform *fn, void *arg, struct pare_err *err);

/* Structural cuts; all sides of the cut at once. Refuse (PARE_EUSER) what would
 * leave nothing: use edit_drop_attention/ffn/layer for that. */
/* Heads by original number; drop holds only heads that are there. With grouped
 * KV heads whole groups go. */
enum pare_rc edit_drop_heads(struct edit *e, int layer,
    const struct head_set *drop, struct pare_err *err);
/* FFN neurons keep[0..n) by present index, ascending, n >= 1. */
enum pare_rc edit_keep_neurons(struct edit *e, int layer, const int64_t *keep,
    int64_t n, struct pare_err *err);
/* Tokens keep[0..n) by present id, ascending, n >= 1: rows of the embedding and
 * of what gives tokens. The padding token of a classifier has to be among them. */
enum pare_rc edit_keep_tokens(struct edit *e, const int64_t *keep, int64_t n,
    struct pare_err *err);
enum pare_rc edit_drop_attention(struct edit *e, int layer,
    struct pare_err *err);
enum pare_rc edit_drop_ffn(struct edit *e, int layer, struct pare_err *err);
/* Removes a layer; later ones move down by one. At least one must remain. */
enum pare_rc edit_drop_layer(struct edit *e, int layer, struct pare_err *err);

/* Validates and publishes; frees e in any case. *out is a new reference. */
enum pare_rc edit_commit(struct edit *e, struct model **out,
    struct pare_err *err);

#endif
