/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * match: output matrices fitted so that the stream behind their sub-layer is as
 * nearly as possible that of another model, on the same samples.
 *
 * A sub-layer adds W x + b to the stream h. Where the model it is to be like has
 * the sum s there, least squares ask for
 *
 *	min over V, c of  sum |V x + c - (s - h)|^2 + rows r |V - W|^2
 *
 * with x and h those of the model as it is now, so that what was lost beneath is
 * made up for too (Park, Choi and Kang, "Accurate retraining-free pruning for
 * pretrained encoder-based language models", ICLR 2024), and a ridge r that
 * pulls towards the weights there are. What is fitted is judged on samples that
 * it was not fitted to; where it is no better there, the old weights stay.
 */
#ifndef PARE_OPS_MATCH_H
#define PARE_OPS_MATCH_H

#include "base/str.h"
#include "ops/op.h"

/* Of what is `now` in which model, and what it should be like `then` in the
 * original: SLOT_O_W or SLOT_DOWN_W of a layer each. */
struct match_ask {
	struct slot_ref now, then;
};

/* Sums over rows of the input x, of the wanted w = s - h, and of s. */
struct match_sums {
	int64_t rows;
	float *gram, *cross;	/* (cols, cols), lower half: x x'; (out, cols):
				 * w x' */
	double *x, *w, *s;	/* cols, out, out */
	double ww, ss;		/* |w|^2, |s|^2 */
};

struct match {
	int64_t cols, out;
	struct match_sums fit, check;	/* check.rows 0: too few samples */
};

/* Zeroed sums. PARE_ENOMEM. match_free() in any case. */
enum pare_rc match_open(struct match *k, int64_t cols, int64_t out,
    struct pare_err *err);
void match_free(struct match *k);

/* Over what was fitted: squared distances of the stream before and after, and
 * the squares of the stream about its mean. */
struct match_report {
	double before, after, energy;
	int fitted, left;	/* matrices; left: where it did nothing */
};

/*
 * Fits the matrix (and bias, where there is one) of a slot in e, which is to hold
 * the weights that k was gathered with. PARE_EUSER: x was the same for all
 * samples, or its moments are singular.
 */
enum pare_rc match_fit(struct edit *e, struct slot_ref ref,
    const struct match *k, struct match_report *report, struct pare_err *err);

/* Whether the matrix can be fitted: PARE_EUSER where it is packed, or a norm of
 * its own stands behind it, or other layers have it too. */
enum pare_rc match_check(const struct model *m, struct slot_ref ref,
    const char *what, struct pare_err *err);

/* "the stream behind 3 matrices is 12 % off without refit, 4 % with it". */
void match_note(const struct match_report *r, struct str *note);

#endif
