/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokens: metrics of models of tokens and their intervals, by windows. Private
 * to src/measure.
 */
#ifndef PARE_MEASURE_TOKENS_H
#define PARE_MEASURE_TOKENS_H

#include "measure/evaluate.h"

/* Sums of each window that ran. */
struct token_score {
	int64_t n;		/* windows */
	int64_t tokens;
	double *lost, *count, *right, *bytes, *kl, *same;
	bool has_kl;
};

/* Room for n windows. PARE_ENOMEM; *s is empty then. */
enum pare_rc token_score_open(struct token_score *s, int64_t n,
    struct pare_err *err);
void token_score_close(struct token_score *s);

/* Adds window w of v, whose tokens ran. */
void token_score_add(struct token_score *s, const struct evaluation *v,
    int64_t w);
/* Fills n, metric, value, low, high, loss and all of v over what was added;
 * only: no other metric than that. */
void token_score_value(const struct token_score *s, enum metric metric,
    bool only, struct evaluation *v);
/* Fills the divergence of v but for reference, kept and vocab. NAN where memory
 * is short. */
void token_score_divergence(const struct token_score *s,
    struct evaluation *v);

/* The windows of d into v: window, bytes, windows, gold (made here). */
enum pare_rc token_windows(struct evaluation *v, const struct dataset *d,
    struct pare_err *err);

/* b against a, over the windows that ran in b: delta and ratio. */
void token_compare(const struct evaluation *a, const struct evaluation *b,
    struct comparison *out);

#endif
