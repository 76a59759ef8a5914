/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * subspace: the largest singular vectors of a matrix on its shorter side. Private
 * to src/tensor.
 */
#ifndef PARE_TENSOR_SUBSPACE_H
#define PARE_TENSOR_SUBSPACE_H

#include "tensor/transform.h"

struct subspace_of {	/* the matrix at hand, row-major */
	const float *w;
	int64_t rows, cols;
	int s;		/* the shorter side, at most SUBSPACE_MAX */
	bool wide;	/* rows <= cols */
};

enum { SUBSPACE_MAX = 32768 };	/* LAPACK counts in int */

/*
 * k orthonormal vectors of s, largest first, into q (k, s): left singular
 * vectors of a wide matrix, right ones of a tall one. What they leave of the
 * squares is at most 1.001 times what any k must leave.
 */
enum pare_rc subspace_find(const struct subspace_of *m, int k, float *q,
    const struct transform_ctx *ctx, struct pare_err *err);

/* All s singular values, descending, into out. */
enum pare_rc subspace_values(const struct subspace_of *m, float *out,
    struct task *task, struct pare_err *err);

#endif
