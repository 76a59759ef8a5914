/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * awq: inputs that are large are made small and their weights large, so that
 * these are rounded more finely (Lin et al., "AWQ", 2024): with s_j the root mean
 * square of input j to the power a, codes of W diag(s) see x / s. The a of 0, 0.05
 * to 0.95 with the least output error is taken. The paper takes the mean of |x|;
 * mean squares are what is gathered.
 */
#ifndef PARE_OPS_AWQ_H
#define PARE_OPS_AWQ_H

#include "ops/inputs.h"

/* Matrices that see the same input and get the same scales. */
struct awq {
	int n;
	const float *const *w;		/* (rows, cols) each */
	const struct tensor *const *t;	/* their shapes */
	const struct quant_spec *spec;	/* one for all */
	const struct inputs *x;
	bool clip;	/* ranges cut, weighed by the scaled inputs */
	const double *energy;	/* by which scales go; NULL: E x_j^2 */
	const double *const *row;	/* as struct inputs has it, for each of
					 * the matrices; NULL: as x has it */
};

/* 1 / s into by[cols], and the codes of W diag(s) into made[n]. PARE_ENOMEM;
 * what tensor_quantize() says. */
enum pare_rc awq_search(const struct awq *a, const struct transform_ctx *ctx,
    float *by, struct tensor **made, struct pare_err *err);

#endif
