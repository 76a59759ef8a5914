/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * score: by what parts are ranked when some of them are to go. One row of
 * score_table[] a kind; `importance` shows the scores, the ops take the lowest
 * first.
 *
 * Kinds that look at more than weights get what the calibration samples say
 * through struct op_calib: ops run no model.
 */
#ifndef PARE_OPS_SCORE_H
#define PARE_OPS_SCORE_H

#include "engine/curvature.h"
#include "engine/gates.h"
#include "engine/moments.h"
#include "ops/match.h"
#include "ops/times.h"
#include "text/tokenizer.h"

enum score_unit { SCORE_HEADS, SCORE_NEURONS, SCORE_SUBLAYERS, SCORE_LAYERS,
	SCORE_WEIGHTS, SCORE_UNITS };

enum score_kind { SCORE_MAGNITUDE, SCORE_ACTIVATION, SCORE_GRADIENT,
	SCORE_FISHER, SCORE_LRP, SCORE_WANDA, SCORE_SIMILARITY, SCORE_RANDOM,
	SCORE_KINDS };

/* What has to be gathered from the calibration samples. */
enum op_need {
	OP_NEED_STATISTICS = 1,	/* moments without X'X */
	OP_NEED_GRAM_OUTPUT = 2,	/* with X'X of what the output matrix
					 * sees */
	OP_NEED_GRAM_DOWN = 4,	/* of what the down matrix sees */
	OP_NEED_GRAM_ALL = 8,
	OP_NEED_GATES = 16,
	OP_NEED_RELEVANCE = 32,
	OP_NEED_TOKENIZER = 64,	/* that of the model; not of the samples */
	OP_NEED_TOKENS = 128,	/* how often each token occurs */
	OP_NEED_SQUARES = 256,	/* squared gradients of matrices */
	OP_NEED_HESSIAN = 512,	/* largest eigenvalues of their blocks */
	OP_NEED_SWEEP = 1024,	/* what `sweep bits` measured, of the widths in
				 * the argument "widths" */
	OP_NEED_GATES_EACH = 4096,	/* with the gradients of each sample;
					 * OP_NEED_GATES too */
	OP_NEED_ORDER = 8192,	/* of layers, by the loss without them */
	OP_NEED_RECONSTRUCT = 16384,
	OP_NEED_TIMES = 32768	/* of texts of the argument "seq"; no samples */
};

/*
 * For ops that go step by step: what the calibration samples say of models on
 * the way, beside the original, which is the one the op was given. Whoever
 * gathers runs the models; the answers follow from them and the samples alone.
 */
struct op_reconstruct {
	/* The sums for match_fit(); match_free() on success. */
	enum pare_rc (*match)(const struct op_reconstruct *b,
	    const struct model *now, const struct match_ask *ask,
	    struct match *out, struct task *task, struct pare_err *err);
	/* How far the stream behind the sub-layer, norm and all, is from the
	 * original's, on what match_fit() judges by: squared distances, and the
	 * squares of the original's about its mean. */
	enum pare_rc (*off)(const struct op_reconstruct *b,
	    const struct model *now, const struct match_ask *ask,
	    double *error, double *energy, struct task *task,
	    struct pare_err *err);
	/*
	 * How much the answers say about gates of `now`: in square the diagonal
	 * of E sum_y p(y) (d log q(y) / dg)^2, with p of the original and q of
	 * now, over the two likeliest classes y (of a score its own
	 * derivative, of text the tokens that are there). And the statistics of
	 * its activations, without X'X. The caller frees both.
	 */
	enum pare_rc (*look)(const struct op_reconstruct *b,
	    const struct model *now, struct gates_means *gates,
	    struct statistics **statistics, struct task *task,
	    struct pare_err *err);
};

/* What coding one matrix alone costs, as a sweep measured it. */
struct op_coded {
	struct slot_ref ref;
	int bits;
	double loss;		/* Kullback-Leibler divergence */
};

/* What was gathered; parts that were not asked for may be NULL. Borrowed. */
struct op_calib {
	const struct statistics *statistics;
	const struct gates_means *gates, *relevance;
	const struct tokenizer *tokenizer;
	const int64_t *tokens;	/* by id, as many as the vocabulary has */
	const struct curvature *squares, *hessian;
	struct op_coded *coded;	/* owned by who asked */
	int64_t ncoded;
	int64_t *order;		/* layers, the least missed first, norder;
				 * owned by who asked */
	int64_t norder;
	const struct op_reconstruct *reconstruct;
	const struct op_times *times;
};

struct score_facts {
	const char *name;	/* as typed: by=NAME */
	const char *text;	/* one clause, no period */
	unsigned units;		/* bit per enum score_unit that it can rank */
	unsigned needs;		/* enum op_need */
};
extern const struct score_facts score_table[SCORE_KINDS + 1];
extern const char *const score_unit_names[SCORE_UNITS + 1];

bool score_find(const char *name, enum score_kind *out);
/* "magnitude, gradient, ...": the kinds that rank a unit; malloc'ed. */
char *score_names(enum score_unit u);

/* Units of a layer: heads that are there, neurons, 2 sub-layers (attention,
 * FFN), 1 layer. Not for SCORE_WEIGHTS. */
int64_t score_count(const struct model *m, int layer, enum score_unit u);

/*
 * The scores of a layer's units into out[score_count()]; the higher the more
 * important; NAN for a sub-layer that is not there. PARE_EUSER when the kind
 * cannot rank the unit, or what it needs was not gathered.
 */
enum pare_rc score_layer(enum score_kind k, enum score_unit u,
    const struct model *m, const struct op_calib *c, uint64_t seed, int layer,
    double *out, struct pare_err *err);

/* The norms behind by=magnitude: of KV heads with all that read them, relative
 * to the layer's mean, into out[kv_heads]; of neurons, ||up row|| * ||down
 * column||, into out[ffn]. */
enum pare_rc score_head_norms(const struct layer *y, double *out,
    struct pare_err *err);
enum pare_rc score_neuron_norms(const struct layer *y, double *out,
    struct pare_err *err);

/* The mean score of the weights of one matrix: |w|, or |w| times the root mean
 * square of its input (wanda). NAN where its input was not seen. */
enum pare_rc score_matrix(enum score_kind k, const struct model *m,
    const struct op_calib *c, uint64_t seed, struct slot_ref ref, double *out,
    struct pare_err *err);

/* The needs of a line's by=. */
unsigned score_needs(const struct arg_list *args);
/* The kind of a line's by= (which has one), for u; in an estimate that has not
 * what it needs, magnitude, for any order counts the same. */
enum pare_rc score_kind_of(const struct op_input *in, enum score_unit u,
    bool estimate, enum score_kind *out, struct pare_err *err);

/* "by=gradient needs ... ", with what to type. */
enum pare_rc score_missing(const char *what, struct pare_err *err);

#endif
