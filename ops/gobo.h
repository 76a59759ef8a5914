/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gobo: few means for most weights, floats for the rest (Zadeh et al., "GOBO",
 * 2020). Weights that a Gaussian with the mean and deviation of the matrix makes
 * less likely than one in a thousand are kept as floats beside the codes and
 * do not move the means.
 */
#ifndef PARE_OPS_GOBO_H
#define PARE_OPS_GOBO_H

#include "base/str.h"
#include "tensor/transform.h"

/* Sums over matrices. */
struct gobo {
	double plain, now, energy;	/* squared errors of k-means alone and
					 * of this, squares of weights */
	int64_t outliers, weights;
	int done, odd;		/* odd: sparse or low rank, k-means alone */
};

/* SUM of t; TABLE where t has no outliers, or is sparse or low rank. Estimates
 * read real weights, so that they count the same. NULL with *err. */
struct tensor *gobo_code(struct gobo *g, const struct tensor *t,
    const struct quant_spec *spec, const struct transform_ctx *ctx,
    struct pare_err *err);

/* For the note of an op. */
void gobo_note(const struct gobo *g, struct str *note);

#endif
