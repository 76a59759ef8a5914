/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * evaluate: a model on a sample set; and how two results on the same samples
 * differ.
 *
 * There is one way to do it. Samples are run in a stratified random order that
 * belongs to the set (measure/order.h), so that what is known half-way is an
 * honest estimate of the whole. They are cut into packed batches, small ones
 * first, and each thread runs batches of its own, alone: what comes out is the
 * same to the last bit whoever asks, watching or not, and on any number of
 * threads.
 *
 * Models of tokens are asked for the tokens that the set names as scored
 * (text/dataset.h): what is counted and kept is per scored token, numbered
 * through the set as sample.scored_at says, and samples are windows. Tokens of a
 * window hang together, so intervals are over windows: Student's t of the
 * ratio of sums (stats_ratio()). How far such a model's distributions are from
 * another's is told too (struct divergence).
 */
#ifndef PARE_MEASURE_EVALUATE_H
#define PARE_MEASURE_EVALUATE_H

#include "engine/engine.h"
#include "model/model.h"
#include "text/dataset.h"

enum metric { METRIC_ACCURACY, METRIC_F1, METRIC_MCC, METRIC_PEARSON,
	METRIC_SPEARMAN, METRIC_LOSS, METRIC_PERPLEXITY, METRIC_BITS,
	METRIC_COUNT };

struct metric_facts {
	const char *name;	/* "accuracy" */
	const char *text;
	bool share;		/* a share, shown in percent */
	bool regression;
	bool tokens;		/* of models of tokens alone */
};
extern const struct metric_facts metric_table[METRIC_COUNT];
bool metric_find(const char *name, enum metric *out);
/* Whether it is a measure of models with such a head; F1 also of two classes
 * only. */
bool metric_fits(enum metric metric, enum head_kind head);
/* Whether less of it is better. */
bool metric_falls(enum metric metric);
/* What models with such a head are judged by. */
enum metric metric_of(enum head_kind head);

/* When to stop before all samples ran. */
enum stop_rule {
	STOP_NONE,
	STOP_CI,	/* the interval is narrow enough; where that is a
			 * bootstrap, of at least 100 samples, and for metrics of
			 * classes the accuracy's is so too */
	STOP_DECIDED	/* the comparison with another result is decided, by
			 * the rules of measure/sequential.h */
};

/*
 * Kullback-Leibler divergence of a model's distributions from those of a
 * reference, sum of p_reference log (p_reference / p), in nats a scored token;
 * and how often both think the same token likeliest.
 *
 * The reference's are kept while it is evaluated, in at most
 * DIVERGENCE_BYTES: each as log-probabilities in 16 bits, to within 0.00025,
 * those under 1e-14 of the likeliest as that. Where not all fit, the `kept`
 * likeliest tokens of each, and all others as one event: what is told is then no
 * more than the true divergence.
 */
#define DIVERGENCE_BYTES ((int64_t)256 << 20)

struct divergence {
	uint64_t reference;	/* hash of that model; 0: nothing is known */
	int64_t kept, vocab;
	double mean, low, high;	/* with its 95 % interval */
	double median, p99, max;
	double same, same_low, same_high;	/* share */
};

struct evaluation {
	enum metric metric;
	int64_t n;		/* labelled samples that ran */
	double value, low, high;	/* the metric and its 95 % interval; NAN:
					 * undefined */
	double all[METRIC_COUNT];	/* NAN where it does not apply */
	double loss;		/* mean cross-entropy, or mean squared error */
	double seconds;
	int64_t tokens;		/* of the samples that ran */
	int64_t total;		/* samples in the set, unlabelled included */
	int64_t labelled;	/* labelled samples in the set */
	int from;		/* the first layer that was computed: what comes
				 * before was known from another state */
	/* Stopped: n of the labelled samples ran, value and interval are over
	 * those, and per sample only what `ran` names is there. */
	bool partial;
	uint8_t *ran;		/* per sample, owned; NULL: all */
	enum stop_rule stop;	/* the rule that was asked for */
	double odds;		/* STOP_DECIDED: the highest on the way */
	/* Per sample of the set, owned: */
	int32_t *predicted;	/* class, lowest index on ties; REGRESS: 0 */
	float *logits;		/* (total, labels) */
	int32_t *gold;		/* -1: unlabelled */
	int labels;
	uint64_t model_hash, data_hash;
	/*
	 * Of a model of tokens: n, total, labelled, ran and the arrays above are
	 * per scored token, predicted and gold are ids, logits the
	 * log-probability of the gold one, labels is 1.
	 */
	bool per_token;
	int64_t windows;
	int64_t *window;	/* windows + 1: the first token of each */
	float *bytes;		/* per window: bytes of text behind them */
	/* Per token, where there is a divergence: its own, and whether the
	 * likeliest token is the same. */
	float *kl;
	uint8_t *same;
	struct divergence divergence;
};

/* How far an evaluation is. */
struct evaluation_partial {
	int64_t n, total;	/* labelled samples so far, of so many */
	double value, low, high;	/* over those n */
	/* Per sample of the set, borrowed: whether it ran, what came out. */
	const uint8_t *ran;
	const int32_t *predicted, *gold;
};
typedef void evaluation_watch(const struct evaluation_partial *p, void *ctx);

struct evaluate_options {
	enum metric metric;	/* what `value` is; METRIC_COUNT: the task's own
				 * (accuracy, or Pearson for a score) */
	/* Called after every batch, in the order of batches and in the thread
	 * that asked; NULL: nobody watches. */
	evaluation_watch *watch;
	void *ctx;
	bool fresh;		/* computes every layer, whatever is cached */
	/* Looked at after every batch too, so where it stops does not depend on
	 * threads. */
	enum stop_rule stop;
	double half_width;	/* STOP_CI: of the 95 % interval, in the metric's
				 * own unit (0.01: one point of a share); of a
				 * perplexity as a share of it */
	const struct evaluation *against;	/* STOP_DECIDED: all of it, on
						 * the same samples */
	/* Models of tokens: the divergence from this one, which is run first
	 * where its distributions are not kept yet. Those of the model itself are
	 * kept. NULL: no divergence. */
	const struct model *original;
};

/*
 * What evaluations work with: an engine for each thread, with its scratch, and a
 * cache of the inputs of layers (engine/blocks.h), so that after a change in
 * layer l only layers from l on are computed. The results are the same bits with
 * it and without. One evaluation at a time.
 */
struct evaluator;
struct evaluator *evaluator_new(void);
void evaluator_free(struct evaluator *e);	/* NULL is fine */
/* How many bytes the cache may hold from now on; none before it was called. */
void evaluator_limit(struct evaluator *e, int64_t bytes);
/* Whether the distributions of a model on these data are kept. */
bool evaluator_keeps(const struct evaluator *e, const struct model *m,
    const struct dataset *d);
/* Bytes held now, by the engines and by the cache with those distributions. */
int64_t evaluator_scratch(const struct evaluator *e);
int64_t evaluator_cached(const struct evaluator *e);

/*
 * Runs the samples of d (encoded) on kernel_threads() threads and fills *out.
 * task is ticked in the calling thread between its batches; cancelling takes no
 * longer than a layer of a batch. PARE_EUSER: no head, no labels, labels outside
 * the model's, STOP_DECIDED for scores.
 */
enum pare_rc evaluate_run(struct evaluator *e, const struct model *m,
    const struct dataset *d, const struct evaluate_options *o,
    struct evaluation *out, struct task *task, struct pare_err *err);
/* What evaluate_run() would give for another metric, from a whole result. The
 * checks are those of evaluate_run(). */
enum pare_rc evaluation_rescore(const struct evaluation *from,
    const struct model *m, const struct dataset *d, enum metric metric,
    struct evaluation *out, struct pare_err *err);
/* Whether there is something to measure: a head, and samples with labels or
 * scored tokens. d may be NULL. */
bool evaluate_can(const struct model *m, const struct dataset *d);
void evaluation_free(struct evaluation *v);
/* Fills predicted (but of tokens) and gold (there is room) from the logits and
 * the samples of a result that was not made by evaluate_run(). Of tokens it makes
 * gold, window and bytes; one is NULL where memory is short. */
void evaluation_labels(struct evaluation *v, const struct dataset *d);
void evaluation_copy(struct evaluation *to, const struct evaluation *from);

struct comparison {
	double delta;		/* b.value - a.value */
	int64_t fixed, broke;	/* right in b only; right in a only */
	int64_t changed;	/* predictions that differ */
	double p;		/* exact McNemar, or for a partial b that was to
				 * be decided one that holds at any time; NAN for
				 * scores */
	/* Models of tokens: the perplexity of b by that of a, its 95 % interval
	 * and p from the paired differences of windows. 0: none. The verdict is
	 * by this. */
	double ratio, ratio_low, ratio_high, ratio_p;
	/* Both read the same texts as other tokens: nothing is paired. The
	 * verdict tells the bits per byte of both, and delta is a number only
	 * when it is of those. */
	bool other_tokens;
	char verdict[160];	/* "within noise", "worse (p 0.003)", "the set is too
				 * small: 3 flips of 872 cannot tell" */
};

/* b against a, both on the same data (same data_hash). b may be partial: then
 * over the samples that ran. */
void evaluation_compare(const struct evaluation *a,
    const struct evaluation *b, struct comparison *out);

#endif
