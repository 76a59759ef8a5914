/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * blocks: a cache of block inputs. A model that differs from one that ran before
 * from layer l on has the same inputs up to layer l; with them kept, only the
 * layers from l on have to be computed, and the outputs are the same bits as
 * those of a full pass.
 *
 * What is kept is a boundary: the input (tokens, hidden) of one layer for all
 * batches of a sample set. It belongs to the model's prefix hash at that layer
 * (model/model.h) and to a key of the batches and of the arithmetic.
 *
 * All boundaries of a state are kept where the budget allows. Where it does not,
 * the least useful ones go first, of this state and of earlier ones alike. Of a
 * boundary at layer l, with the next kept ones of the same state at below < l <
 * above (0: the embeddings, which are computed in no time),
 *
 *	use = sum over states (l - below) * (above - l) / (1 + age) / bytes
 *
 * where l - below is how many layers it saves a pass, above - l in how many
 * layers a change would begin with it, and age how many passes ago the state was
 * run, or was the one that a state was made from, which is the state to return
 * to. A state short of room so keeps boundaries that are evenly spread.
 *
 * Memory is asked for when a pass begins, and its pages come into being as
 * batches fill them. One pass at a time; inside it batches may run in any number
 * of threads.
 */
#ifndef PARE_ENGINE_BLOCKS_H
#define PARE_ENGINE_BLOCKS_H

#include "engine/engine.h"

struct blocks;
struct blocks *blocks_new(void);
void blocks_free(struct blocks *b);	/* NULL is fine */

/* How many bytes may be kept from now on; what is over goes at once. 0, as after
 * blocks_new(): nothing is kept. */
void blocks_limit(struct blocks *b, int64_t bytes);
/* What is kept now. */
int64_t blocks_bytes(const struct blocks *b);
void blocks_clear(struct blocks *b);

/*
 * A pass of m over a set of batches: token[i] is where batch i begins, token[n]
 * how many tokens there are in all. key tells sets and ways of computing apart.
 * The pass is only for logits. Without memory less is kept; that is no error.
 */
struct blocks_pass;
struct blocks_pass *blocks_begin(struct blocks *b, const struct model *m,
    uint64_t key, const int64_t *token, int64_t n);
/* Sets from, input and keep of f for batch i; keep has room for a pointer a
 * layer. */
void blocks_use(const struct blocks_pass *p, int64_t i, struct forward *f,
    float **keep);
/* Batch i ran as blocks_use() said: what it kept counts. */
void blocks_ran(struct blocks_pass *p, int64_t i);
/* The first layer that batch i has to compute. */
int blocks_from(const struct blocks_pass *p, int64_t i);
void blocks_end(struct blocks_pass *p);

#endif
