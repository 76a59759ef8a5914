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
	float *h;	/* (cols, cols): mean of x x' */
	double *mean;	/* cols: of x */
};

/*
 * Over all slots that hold t. Nothing was seen where a slot's input is not
 * gathered, where nothing came by, or where all inputs are zero. PARE_ENOMEM.
 */
enum pare_rc inputs_of(const struct op_input *in, const struct tensor *t,
    struct inputs *out, struct pare_err *err);
void inputs_free(struct inputs *x);

/*
 * tr(D H D') for D = t - other (NULL: t itself), both of any form; without
 * anything seen, the squares of D. PARE_ENOMEM, PARE_ECANCELED.
 */
enum pare_rc inputs_change(const struct inputs *x, const struct tensor *t,
    const struct tensor *other, struct task *task, double *out,
    struct pare_err *err);

#endif
