/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * train: backward pass and optimiser.
 *
 * A trainer holds float32 copies of every tensor of a model (tied slots share
 * one copy and add their gradients), the AdamW moments, and activations. Zeros
 * of pruned tensors stay zero. Packed tensors (INT, TABLE and sparse INT, TABLE)
 * are refused: recover first, then quantize. LOWRANK trains both factors; F16 and
 * BF16 train in float32 and are rounded at the end; sparse float forms keep mask
 * and form.
 *
 * What is learnt follows from the head: a class or a score of each sample, or,
 * of a causal language model, each token from those before it. A loss is the
 * mean over what was asked: labels, or tokens but the first of each sample.
 * Masked language models and classifiers on the last token are refused.
 *
 * With a teacher part of the loss is how far the answers are from its own
 * (Hinton, Vinyals, Dean 2015): for logits z and the teacher's u
 *
 *   (1 - share) loss + share t^2 KL(softmax(u / t) || softmax(z / t))
 *
 * AdamW: Loshchilov and Hutter 2019. The schedule is linear warm-up then linear
 * decay to 0. Same seed and threads, same result.
 */
#ifndef PARE_ENGINE_TRAIN_H
#define PARE_ENGINE_TRAIN_H

#include "engine/engine.h"

struct train_options {
	double rate;		/* peak learning rate */
	double warmup;		/* share of all steps */
	double weight_decay;	/* not on biases and norms */
	double clip;		/* global gradient norm; 0: none */
	double dropout;		/* negative: the model's own */
	double label_smoothing;
	const struct model *teacher;	/* of the same vocabulary or classes; NULL:
				 * none; the trainer takes a reference */
	double share;		/* of the loss that is the teacher's, 0 to 1 */
	double temperature;	/* t, more than 0 */
	int batch;		/* sequences a step */
	int epochs;
	uint64_t seed;
};

/* What to learn from: tokens and labels, borrowed. */
struct train_data {
	int64_t n;
	const int32_t *const *ids;
	const int32_t *const *types;	/* or NULL */
	const int *len;
	const int *label;	/* class; CLASSIFY. Both NULL for a language
				 * model */
	const float *score;	/* REGRESS */
};

struct trainer;
struct trainer *trainer_new(const struct model *m,
    const struct train_options *o, struct pare_err *err);
void trainer_free(struct trainer *t);

/* One pass over the data in an order drawn from seed and epoch; *loss is its
 * mean. Ticks task with step and running loss ("step, loss 0.412"). On cancel
 * the trainer is in the middle of an epoch and only good for freeing. */
enum pare_rc trainer_epoch(struct trainer *t, const struct train_data *d,
    int epoch, double *loss, struct task *task, struct pare_err *err);

/* The present weights as a model (a new reference). */
enum pare_rc trainer_model(const struct trainer *t, struct model **out,
    struct pare_err *err);

/* Loss and gradients of one batch without a step and without dropout, for
 * checks: gradient of the value at (row, col) of a slot. In a LOWRANK slot A
 * has the rows from 0 on, B those after them. */
enum pare_rc trainer_gradient(struct trainer *t, const struct train_data *d,
    const int64_t *sample, int n, double *loss, struct pare_err *err);
double trainer_gradient_at(const struct trainer *t, struct slot_ref ref,
    int64_t row, int64_t col);
/* Adds delta to one weight, for finite differences. */
void trainer_nudge(struct trainer *t, struct slot_ref ref, int64_t row,
    int64_t col, float delta);

#endif
