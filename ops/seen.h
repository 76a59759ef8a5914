/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * seen: what a matrix sees of the calib samples, and what a change of it does to
 * its outputs. With H = E x x' over the tokens that all slots of the matrix saw,
 * the outputs y = W x change by D x, whose mean square is tr(D H D').
 */
#ifndef PARE_OPS_SEEN_H
#define PARE_OPS_SEEN_H

#include "ops/score.h"

enum seen_state {
	SEEN_WELL,
	SEEN_NOT,	/* looked up, or read by a head: nothing was gathered */
	SEEN_ZERO	/* its inputs are 0 throughout */
};

struct seen {
	enum seen_state state;
	int64_t cols;
	double *gram;	/* (cols, cols): E x x'; NULL unless SEEN_WELL */
	double *mean;	/* E x, likewise */
	const double *row;	/* what errors of rows count; borrowed; NULL: 1 */
};

/* Of t in in->model; asks for OP_NEED_GRAM_ALL. PARE_ENOMEM; PARE_EUSER: moments
 * that are not finite. */
enum pare_rc seen_get(const struct op_input *in, const struct tensor *t,
    struct seen *out, struct pare_err *err);
void seen_free(struct seen *s);

/* What was gathered answers OP_NEED_GRAM_ALL; else PARE_EUSER, begun by what. */
enum pare_rc seen_check(const struct op_input *in, const char *what,
    struct pare_err *err);

/* tr(D H D') for D = w - q, rows weighed; q NULL: of w itself. With `centred`, what is left
 * once the bias makes up for the mean of D x. Both (rows, cols). */
enum pare_rc seen_error(const struct seen *s, const float *w, const float *q,
    int64_t rows, bool centred, double *out, struct pare_err *err);

/* Sums over matrices, for the note of an op. */
struct seen_tally {
	double plain, now, energy;	/* squared errors of outputs, and the
					 * squares of the outputs */
	int done;	/* matrices made so */
	int worse;	/* of them: left plain, for that was no worse */
	int unseen, zero, odd;	/* plain: not seen, inputs of 0, packed */
};

/* "output error of 36 matrices 0.9 % rounded to nearest, 0.1 % now", and what was
 * not done. plain: "rounded to nearest". */
void seen_note(const struct seen_tally *t, const char *plain,
    struct str *note);
/* Nothing was done though something was asked for: PARE_EUSER. */
enum pare_rc seen_any(const struct seen_tally *t, const char *what,
    struct pare_err *err);

#endif
