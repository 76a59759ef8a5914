/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fold: where a factor for each input of some matrices can go into what makes
 * that input, so that nothing of it is left when the model runs:
 *
 *	q, k, v		the norm before them, of pre-norm layers
 *	up, gate	likewise
 *	output		the rows of v: a context is a sum of values. Query heads
 *			that read the same values share their factors
 *	down		the rows of up, where these are multiplied with the gate,
 *			or nothing but ReLU is between (factors are positive)
 *
 * Elsewhere it cannot: the norms of post-norm layers go into the residual as
 * well, and GELU(x) / s is not GELU(x / s). Nor where one of the tensors stands
 * in another slot too.
 */
#ifndef PARE_OPS_FOLD_H
#define PARE_OPS_FOLD_H

#include "engine/moments.h"
#include "model/edit.h"

enum { FOLD_USERS = 3 };

struct fold {
	struct slot_ref user[FOLD_USERS];	/* matrices, all that see it */
	int n;
	struct slot_ref source, bias;	/* what makes it; the bias may be empty */
	int64_t width, repeat;	/* values of a head, heads that read them; of
				 * other inputs 1 and 1 */
};

/* What makes the input at a place of a layer of m, and all that reads it; false
 * where nothing can be folded. */
bool fold_find(const struct model *m, int layer, enum engine_place place,
    struct fold *out);

/* The input that row i of a source that is a matrix makes, the first of those. */
int64_t fold_input(const struct fold *f, int64_t i);

/* Inputs that have to share a factor share the mean of x, which has one value an
 * input. */
void fold_pool(const struct fold *f, double *x, int64_t cols);

/* by[] times the inputs: puts the source with its bias into e, as float32. by
 * NULL: all 1. */
enum pare_rc fold_source(const struct fold *f, struct edit *e, const float *by,
    struct pare_err *err);

#endif
