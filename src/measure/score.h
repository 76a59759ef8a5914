/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * score: metrics and their intervals over the labelled samples that ran.
 * Private to src/measure.
 */
#ifndef PARE_MEASURE_SCORE_H
#define PARE_MEASURE_SCORE_H

#include "measure/evaluate.h"

struct score {
	int64_t n, right;
	double lost;		/* sum of loss[] */
	int *gold, *predicted;
	double *wanted, *guess, *loss;
	/* A draw of them, for the bootstrap. */
	int *gold2, *predicted2;
	double *wanted2, *guess2;
	enum metric metric;
};

/* Room for n samples. PARE_ENOMEM; *s is empty then. */
enum pare_rc score_open(struct score *s, int64_t n, struct pare_err *err);
void score_close(struct score *s);

/* Adds a labelled sample whose logits (labels of them) came out. */
void score_add(struct score *s, const struct model *m, const struct sample *x,
    const float *logits, int labels);

/* Class with the highest logit; the lowest one on ties. */
int score_class(const float *logits, int labels);

/*
 * Fills n, metric, value, loss and all of v over what was added; metric
 * METRIC_COUNT: the task's own. only: no other metric than that.
 */
void score_value(const struct score *s, const struct model *m,
    enum metric metric, bool only, struct evaluation *v);

/* How many samples a bootstrap may draw in all: for an answer, for a look. */
enum { SCORE_DRAWS = 20000000, SCORE_DRAWS_LOOK = 100000 };

/* low and high of v, 95 %: Wilson's interval of an accuracy, a bootstrap (seeded
 * by the data) of other metrics. */
void score_interval(struct score *s, int64_t draws, struct evaluation *v);

/* A metric of a whole result over the samples of `ran` alone; NAN for scores and
 * where memory is short. */
double score_part(const struct evaluation *v, enum metric metric,
    const uint8_t *ran);

#endif
