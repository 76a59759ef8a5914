/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sweep: the exact table: what each part costs when it alone is removed (or kept,
 * or coded, thinned or factorized), measured on samples; when all but it are;
 * or what the parts cost that are removed one after another, each time the one
 * that is missed least.
 *
 * A part of layer l changes nothing before l, so the inputs of layers are kept
 * and each item begins with its own. Parts are masked, which gives what removing
 * them would give. Items run over threads batch by batch, and over the processes
 * of an MPI run (base/ranks.h); the results are the same on any number of them.
 *
 * Of a causal language model a sample is a window of text, and each of its tokens
 * but the first is predicted from those before it. Heads that share a KV head
 * are one part there and everywhere.
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
	SWEEP_SPARSITY,		/* without its smallest weights */
	SWEEP_RANK,		/* as a product of two thin ones */
	SWEEP_WHAT_COUNT
};
extern const char *const sweep_names[SWEEP_WHAT_COUNT + 1];

enum sweep_mode {
	SWEEP_ALONE,
	SWEEP_OTHERS,		/* all parts but this one are removed (coded) */
	SWEEP_GREEDY		/* one after another, measured anew each time */
};

struct sweep_result {
	double loss;		/* mean, of the labels, or of what the model
				 * predicted where there is none; of tokens */
	double value;		/* share that is right; scores: -loss */
	double kl;		/* mean KL divergence from the whole model's
				 * probabilities; scores: mean squared change */
	int64_t fixed, broke, changed;
};

struct sweep_item {
	int layer;		/* -1: a matrix outside the layers */
	int64_t index, end;	/* head (original number, the first of its
				 * group), or neurons [index, end), or sub-layer
				 * (0 attention, 1 FFN) */
	struct head_set heads;	/* original numbers: one, or a KV group */
	enum slot slot;		/* of a matrix */
	int level;		/* of it: bits; percent of zeros; rank, or below
				 * 0 the percent of the weights that stay */
	bool done;
	bool gone;		/* SWEEP_GREEDY: was removed */
	struct sweep_result r;
};

/* One that went, in SWEEP_GREEDY. */
struct sweep_step {
	int64_t item;
	int round;		/* from 1; those of a round went together */
	struct sweep_result r;	/* of the model after that round */
};

enum { SWEEP_LEVELS = 8 };

struct sweep {
	enum sweep_what what;
	enum sweep_mode mode;
	int64_t n;
	struct sweep_item *item;	/* owned */
	/* SWEEP_GREEDY: what went so far, of `wanted`. The items have what was
	 * measured in the round that runs. */
	int64_t nsteps, wanted;
	struct sweep_step *step;	/* owned */
	bool based;
	struct sweep_result base;	/* of the whole model */
	/* SWEEP_OTHERS: of the model that each is left in; of matrices per
	 * level. */
	struct sweep_result all[SWEEP_LEVELS];
	bool alled[SWEEP_LEVELS];
	int64_t samples, tokens, labelled;
	bool text;		/* samples are windows of text */
	double seconds;		/* of this run */
	double evaluation;	/* seconds of one pass of the whole model */
};

struct sweep_options {
	enum sweep_what what;
	enum sweep_mode mode;
	int64_t samples;	/* at most so many; 0: all */
	int64_t block;		/* neurons a block */
	const int *level;	/* as in an item; 0 ends them */
	int64_t steps;		/* SWEEP_GREEDY: at most so many; 0: all but
				 * what has to stay */
	int64_t each;		/* of them in a round; 0: 1 */
	int64_t memory;		/* bytes that inputs of layers may take */
	/* Called after each layer's items (a matrix, a round), in the calling
	 * thread; may be NULL. */
	void (*save)(void *ctx, const struct sweep *s);
	void *ctx;
};

/* Matrices are what it is about, not parts that can be masked. */
bool sweep_is_coded(enum sweep_what what);

/* Neurons a block unless said: 64, or a sixteenth of the widest FFN where that is
 * more, so that a wide model has not too many items. */
int64_t sweep_block(const struct model *m);

/* The items, none of them done. PARE_EUSER: there are none, or the model has no
 * classifier and is no causal language model. */
enum pare_rc sweep_open(struct sweep *s, const struct model *m,
    const struct sweep_options *o, struct pare_err *err);
void sweep_free(struct sweep *s);
/* How much is there, of sweep_total(): items, or steps. */
int64_t sweep_done(const struct sweep *s);
int64_t sweep_total(const struct sweep *s);

/* Computes what is not done. On error (PARE_ECANCELED too) what was done stays. */
enum pare_rc sweep_run(struct sweep *s, const struct model *m,
    const struct dataset *d, const struct sweep_options *o, struct task *task,
    struct pare_err *err);

/* "L3.h2", "L3.n64-127", "L3.attn", "L0.attn.q.weight 4 bits". */
void sweep_path(const struct sweep *s, int64_t i, char *out, size_t n);
/* Of matrices: "4 bits", "50 % zeros", "rank 8", "25 % of the weights". */
void sweep_level_text(enum sweep_what what, int level, char *out, size_t n);

#endif
