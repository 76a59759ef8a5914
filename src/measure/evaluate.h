/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * evaluate: a model on a sample set; and how two results on the same samples
 * differ.
 */
#ifndef PARE_MEASURE_EVALUATE_H
#define PARE_MEASURE_EVALUATE_H

#include "engine/engine.h"
#include "text/dataset.h"

enum metric { METRIC_ACCURACY, METRIC_F1, METRIC_MCC, METRIC_PEARSON,
	METRIC_SPEARMAN, METRIC_LOSS, METRIC_COUNT };

struct metric_facts {
	const char *name;	/* "accuracy" */
	const char *text;
	bool share;		/* a share, shown in percent */
	bool regression;
};
extern const struct metric_facts metric_table[METRIC_COUNT];
bool metric_find(const char *name, enum metric *out);

struct evaluation {
	enum metric metric;
	int64_t n;		/* labelled samples */
	double value, low, high;	/* the metric and its 95 % interval; NAN:
					 * undefined */
	double all[METRIC_COUNT];	/* NAN where it does not apply */
	double loss;		/* mean cross-entropy, or mean squared error */
	double seconds;
	int64_t tokens;
	int64_t total;		/* samples in the set, unlabelled included */
	/* Per sample of the set, owned: */
	int32_t *predicted;	/* class, lowest index on ties; REGRESS: 0 */
	float *logits;		/* (total, labels) */
	int32_t *gold;		/* -1: unlabelled */
	int labels;
	uint64_t model_hash, data_hash;
};

/*
 * Runs all samples of d (encoded) and fills *out. metric: what `value` is; for
 * METRIC_COUNT the task's own (accuracy, or Pearson for a score). Batches are
 * packed to about 4,096 tokens in order of length; results are in sample order.
 * PARE_EUSER: no head, no labels, labels outside the model's.
 */
enum pare_rc evaluate_run(struct engine *e, const struct model *m,
    const struct dataset *d, enum metric metric, struct evaluation *out,
    struct task *task, struct pare_err *err);

/* How far a live evaluation is. */
struct evaluation_partial {
	int64_t n, total;	/* labelled samples so far, of so many */
	double value, low, high;	/* over those n */
	/* Per sample of the set, borrowed: whether it ran, what came out. */
	const uint8_t *ran;
	const int32_t *predicted, *gold;
};
typedef void evaluation_watch(const struct evaluation_partial *p, void *ctx);

/*
 * The same for someone who watches: samples in an order drawn from seed that
 * keeps the shares of the classes, so that what is known half-way is an honest
 * estimate of the whole; small batches, the first ones smallest; watch() after
 * each. The result differs from evaluate_run() at most in the rounding of sums.
 */
enum pare_rc evaluate_live(struct engine *e, const struct model *m,
    const struct dataset *d, enum metric metric, uint64_t seed,
    evaluation_watch *watch, void *ctx, struct evaluation *out,
    struct task *task, struct pare_err *err);
void evaluation_free(struct evaluation *v);
void evaluation_copy(struct evaluation *to, const struct evaluation *from);

struct comparison {
	double delta;		/* b.value - a.value */
	int64_t fixed, broke;	/* right in b only; right in a only */
	int64_t changed;	/* predictions that differ */
	double p;		/* exact McNemar; NAN for scores */
	char verdict[160];	/* "within noise", "worse (p 0.003)", "the set is too
				 * small: 3 flips of 872 cannot tell" */
};

/* b against a, both on the same data (same data_hash). */
void evaluation_compare(const struct evaluation *a,
    const struct evaluation *b, struct comparison *out);

#endif
