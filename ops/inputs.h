/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * inputs: what the calib samples say of the inputs of one tensor, and what a
 * change of the tensor does to its outputs: with D the change and H the second
 * moment of the inputs, their mean squared change is tr(D H D').
 */
#ifndef PARE_OPS_INPUTS_H
#define PARE_OPS_INPUTS_H

#include "ops/score.h"

struct inputs {
	int64_t cols;
	double seen;	/* rows of X; 0: nothing was seen, h and mean are NULL */
	bool zero;	/* of these: something was, but 0 throughout */
	float *h;	/* (cols, cols): mean of x x' */
	double *mean;	/* cols: of x */
	const double *row, *col;	/* what errors count; borrowed; NULL: 1 */
	double *weight;	/* of inputs_weigh(): what these lie in */
};

/* What was gathered answers OP_NEED_GRAM_ALL; else PARE_EUSER, begun by what. */
enum pare_rc inputs_check(const struct op_input *in, const char *what,
    struct pare_err *err);

/*
 * Over all slots that hold t. Nothing was seen where a slot's input is not
 * gathered, where nothing came by, or where all inputs are zero. PARE_ENOMEM;
 * PARE_EUSER: moments that are not finite.
 */
enum pare_rc inputs_of(const struct op_input *in, const struct tensor *t,
    struct inputs *out, struct pare_err *err);
void inputs_free(struct inputs *x);

/*
 * Makes inputs_change() tell about what the loss rises by: half of
 *
 *	sum_i g_i d_i H d_i',	g_i = sum_j F_ij / tr H,
 *
 * F the squared gradients of c; the product of what a row and a column have of F
 * where no inputs were seen (Martens and Grosse, "K-FAC", 2015, with the
 * gradients of outputs as a diagonal). false: c knows nothing of t, and nothing
 * was changed. PARE_ENOMEM in *err: false with err->rc.
 */
bool inputs_weigh(struct inputs *x, const struct curvature *c,
    const struct tensor *t, struct pare_err *err);

/*
 * tr(D H D') for D = t - other (NULL: t itself), both of any form; without
 * anything seen, the squares of D; rows and columns weighed where they have
 * weights. PARE_ENOMEM, PARE_ECANCELED.
 */
enum pare_rc inputs_change(const struct inputs *x, const struct tensor *t,
    const struct tensor *other, struct task *task, double *out,
    struct pare_err *err);

/* The same for D = w - q, both (rows, cols); q NULL: of w itself. With `centred`,
 * what is left once a bias makes up for the mean of D x. PARE_ENOMEM. */
enum pare_rc inputs_error(const struct inputs *x, const float *w,
    const float *q, int64_t rows, bool centred, double *out,
    struct pare_err *err);

#endif
