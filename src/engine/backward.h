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

/* Places whose gradient can be watched: what gates could stand on. */
enum learner_place {
	LEARNER_CONTEXT,	/* of the heads, before the output matrix */
	LEARNER_NEURONS,	/* before the down matrix */
	LEARNER_ATTENTION, LEARNER_FFN,	/* what a sub-layer adds to the stream */
	LEARNER_LAYER,		/* what a whole layer changes of it */
	LEARNER_PLACES
};

/* Looks on as gradients come by. The value there is x - minus (minus may be
 * NULL), dx the gradient of the batch's mean loss; (tokens, cols) all. */
struct learner_watch {
	void (*see)(void *ctx, int layer, enum learner_place place,
	    const float *x, const float *minus, const float *dx, int64_t cols);
	void *ctx;
	/* Instead of the loss, each sample's logit of the class it predicts (of
	 * a score the score itself), and instead of gradients relevance: norms'
	 * deviations and attention probabilities are constants, activations
	 * pass on f(x) / x. */
	bool relevance;
	bool whole;	/* the way back goes on through the embeddings */
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
	/* The first layer that is run, and where the way back ends: what is
	 * before it has to be as in the last run of these samples, and `memory`
	 * as that left it. 0: all; else no gradient of what is before it. */
	int from;
	/* NULL: training. Else params may have no g, and the way back ends with
	 * the places of the first layer unless it is to be whole. */
	const struct learner_watch *watch;
};

const struct link *learner_link(const struct learner *l, int layer,
    enum slot s);

/* The weights of a model for passes that only read them: as they lie in memory
 * where that is float32, else decoded. A tensor that several slots hold has one
 * param. */
struct learner_weights {
	struct link *link;	/* for struct learner */
	struct param *param;	/* n, without g */
	float **owned;		/* per param: decoded values, or NULL */
	int n;
};

/* PARE_ENOMEM; what is there is freed by learner_weights_free() then too. */
enum pare_rc learner_weights_open(struct learner_weights *w,
    const struct model *m, struct pare_err *err);
void learner_weights_free(struct learner_weights *w);

/* Whether the passes can run m. */
enum pare_rc learner_supports(const struct model *m, struct pare_err *err);

/* Checks samples [0, n) of d against the model. */
enum pare_rc learner_check(const struct model *m, const struct train_data *d,
    struct pare_err *err);

/* Adds the gradients of the mean loss over n samples (of a language model: over
 * their tokens) to those of the params. When it is watched, a label below 0 or a
 * score that is no number stands for what the model itself says (the gradient is
 * then that of the score). */
enum pare_rc learner_run(struct learner *l, const struct train_data *d,
    const int64_t *sample, int n, double *loss, struct pare_err *err);

#endif
