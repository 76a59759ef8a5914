/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * backward: loss and gradients of one batch, on the trainer's float32 copies.
 * Private to the engine room.
 */
#ifndef PARE_ENGINE_BACKWARD_H
#define PARE_ENGINE_BACKWARD_H

#include "engine/forward.h"
#include "engine/train.h"

/* A trained copy of one tensor. */
struct param {
	struct tensor *t;	/* where it came from; a reference */
	int64_t rows, cols;
	float *w, *g;		/* inside the trainer's long vectors */
	int64_t at;		/* where it begins in those */
	uint8_t *keep;		/* owned: 0 where a weight was pruned; NULL */
};

/* What a slot trains: one copy, or the factors of a low-rank matrix. */
struct link {
	struct param *a, *b;	/* a NULL: empty slot; b NULL: a full matrix */
};

struct learner {
	const struct model *m;
	const struct link *link;	/* by learner_link() */
	struct arena memory;
	int dropout_step;	/* < 0: no dropout; else names its draw */
	uint64_t seed;
	float dropout, attention_dropout, smoothing;
	struct model *teacher;		/* NULL: none */
	struct engine *engine;		/* that runs it */
	float share, temperature;
	struct task *task;	/* asked between layers */
};

const struct link *learner_link(const struct learner *l, int layer,
    enum slot s);

/* Checks samples [0, n) of d against the model. */
enum pare_rc learner_check(const struct model *m, const struct train_data *d,
    struct pare_err *err);

/* Adds the gradients of the mean loss over n samples (of a language model: over
 * their tokens) to those of the params. */
enum pare_rc learner_run(struct learner *l, const struct train_data *d,
    const int64_t *sample, int n, double *loss, struct pare_err *err);

#endif
