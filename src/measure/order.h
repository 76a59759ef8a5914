/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * order: how the samples of a set are run: in which order, and cut into which
 * batches. It follows from the set and the model's classes alone, never from the
 * weights, the threads or the machine, so that results of two states can be
 * compared bit by bit and what was computed for a batch can be used again.
 * Private to src/measure.
 */
#ifndef PARE_MEASURE_ORDER_H
#define PARE_MEASURE_ORDER_H

#include "engine/engine.h"
#include "text/dataset.h"

/*
 * Samples have places, 0 to n - 1, in the order they are run. All tokens lie end
 * to end in that order, so a batch is a piece of ids and types.
 */
struct order {
	int64_t n;
	int64_t *sample;	/* the sample at each place */
	int64_t *token;		/* n + 1: its first token */
	int32_t *ids, *types;	/* types NULL: the model has no segments */
	int64_t nbatches;
	int64_t *batch;		/* nbatches + 1: its first place */
	int64_t *batch_token;	/* nbatches + 1: its first token */
	int64_t labelled;	/* samples with a label, or that are scored */
	int64_t scored;		/* tokens of the batch with the most scored */
	int64_t room;		/* sequences of the largest batch */
};

/*
 * A stratified random order, always the same for the same set (its hash is the
 * seed): any beginning holds the classes in proportion, so what is known
 * half-way is an honest estimate of the whole. d is encoded. order_free() on
 * error too.
 */
enum pare_rc order_make(struct order *o, const struct model *m,
    const struct dataset *d, struct pare_err *err);
void order_free(struct order *o);

/* Batch number i; start has room for o->room + 1. */
struct batch order_batch(const struct order *o, int64_t i, int64_t *start);

/* Whether a sample counts: it has a class, or a score where scores are made. */
bool order_is_gold(const struct model *m, const struct sample *s);

#endif
