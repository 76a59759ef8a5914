/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of a sweep share: sweep.c has the items, sweep_mask.c what each
 * removes, sweep_judge.c what came out, sweep_run.c the passes. */
#ifndef PARE_MEASURE_SWEEP_PRIVATE_H
#define PARE_MEASURE_SWEEP_PRIVATE_H

#include "measure/order.h"
#include "measure/reference.h"
#include "measure/sweep.h"

/* Parts removed, in the terms of the engine. */
struct masking {
	struct engine_mask mask;
	int nlayers;
	struct head_set *heads;
	uint8_t **neurons;
	uint8_t *attention, *ffn, *layer;
};

void masking_open(struct masking *k, const struct model *m);
void masking_free(struct masking *k);
/* Adds what an item of s removes. */
void masking_add(struct masking *k, const struct model *m,
    const struct sweep *s, const struct sweep_item *x);
/* What is removed when item x is measured (NULL: in what it is compared with). */
void masking_fill(struct masking *k, const struct model *m,
    const struct sweep *s, const struct sweep_item *x);

/* What the whole model said, and what is asked. */
struct judge {
	const struct model *m;
	const struct dataset *d;
	const struct order *order;
	bool text, fill;	/* fill: what comes is the whole model */
	int labels;
	double n;		/* samples, or tokens that are predicted */
	float *base;		/* logits of samples, by place */
	int32_t *gold;		/* by place */
	struct reference *reference;	/* of tokens */
	int32_t *was;		/* of tokens: the likeliest */
};

/* A thread's own. */
struct judge_lane {
	const struct judge *j;
	float *logits, *work;	/* of samples; of tokens 2 * vocab */
	int64_t *rows;		/* tokens of a batch that tell the next one */
	int64_t *asked;		/* which of those that are predicted they tell */
	int32_t *target;
	struct sweep_result r;	/* sums over a batch */
};

enum pare_rc judge_open(struct judge *j, struct pare_err *err);
void judge_close(struct judge *j);
enum pare_rc judge_lane_open(struct judge_lane *l, const struct judge *j,
    struct pare_err *err);
void judge_lane_close(struct judge_lane *l);
/* What f has to give for a batch. */
void judge_ask(struct judge_lane *l, int64_t batch, const struct batch *b,
    struct forward *f);
/* After the pass: the sums into l->r. */
void judge_batch(struct judge_lane *l, int64_t batch, const struct batch *b);
/* The sums of a batch into the means of a result; last: it is complete. */
void judge_add(const struct judge *j, struct sweep_result *to,
    const struct sweep_result *x, bool first, bool last);

/*
 * The model m with matrices coded: that of item x alone, or, x NULL, those of all
 * items of a level, each in all places where it stands. A new reference.
 */
enum pare_rc sweep_code(const struct sweep *s, const struct model *m,
    const struct sweep_item *x, int level, struct task *task,
    struct model **out, struct pare_err *err);
/* `coded` with the matrix of x as it is in m. */
enum pare_rc sweep_spare(const struct model *coded, const struct model *m,
    const struct sweep_item *x, struct task *task, struct model **out,
    struct pare_err *err);

#endif
