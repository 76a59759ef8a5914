/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sweep: the exact table: what each part costs when it alone is removed (or kept,
 * or coded with few bits), measured on samples.
 *
 * A part of layer l changes nothing before l, so the inputs of layers are kept
 * and each item begins with its own. Parts are masked, which gives what removing
 * them would give. Items run over threads batch by batch; the results are the
 * same on any number of them.
 */
#ifndef PARE_MEASURE_SWEEP_H
#define PARE_MEASURE_SWEEP_H

#include "engine/engine.h"
#include "text/dataset.h"

enum sweep_what {
	SWEEP_HEADS,		/* each head removed alone */
	SWEEP_KEPT,		/* of a layer's heads each one kept alone */
	SWEEP_NEURONS,		/* blocks of FFN neurons removed */
	SWEEP_SUBLAYERS, SWEEP_LAYERS,
	SWEEP_BITS,		/* each matrix alone with few bits */
	SWEEP_WHAT_COUNT
};
extern const char *const sweep_names[SWEEP_WHAT_COUNT + 1];

struct sweep_result {
	double loss;		/* mean, of the labels, or of what the model
				 * predicted where there is none */
	double value;		/* share that is right; scores: -loss */
	double kl;		/* mean KL divergence from the whole model's
				 * probabilities; scores: mean squared change */
	int64_t fixed, broke, changed;
};

struct sweep_item {
	int layer;		/* -1: a matrix outside the layers */
	int64_t index, end;	/* head (original number), or neurons [index,
				 * end), or sub-layer (0 attention, 1 FFN) */
	enum slot slot;		/* of a matrix */
	int bits;
	bool done;
	struct sweep_result r;
};

struct sweep {
	enum sweep_what what;
	int64_t n;
	struct sweep_item *item;	/* owned */
	bool based;
	struct sweep_result base;	/* of the whole model */
	int64_t samples, tokens, labelled;
	double seconds;		/* of this run */
	double evaluation;	/* seconds of one pass of the whole model */
};

struct sweep_options {
	enum sweep_what what;
	int64_t samples;	/* at most so many; 0: all */
	int64_t block;		/* neurons a block */
	const int *bits;	/* SWEEP_BITS: 0 ends them */
	int64_t memory;		/* bytes that inputs of layers may take */
	/* Called after each layer's items, in the calling thread; may be NULL. */
	void (*save)(void *ctx, const struct sweep *s);
	void *ctx;
};

/* The items, none of them done. PARE_EUSER: there are none, or the model has no
 * classifier. */
enum pare_rc sweep_open(struct sweep *s, const struct model *m,
    const struct sweep_options *o, struct pare_err *err);
void sweep_free(struct sweep *s);
int64_t sweep_done(const struct sweep *s);

/* Computes what is not done. On error (PARE_ECANCELED too) what was done stays. */
enum pare_rc sweep_run(struct sweep *s, const struct model *m,
    const struct dataset *d, const struct sweep_options *o, struct task *task,
    struct pare_err *err);

/* "L3.h2", "L3.n64-127", "L3.attn", "L0.attn.q.weight 4 bits". */
void sweep_path(const struct sweep *s, int64_t i, char *out, size_t n);

#endif
