/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * curvature: how a loss bends when matrices change, from passes there and back:
 *
 * - the diagonal of the Fisher information, as sums over the rows and columns of
 *   each matrix: for one sample's gradient G = dL/dW, row i is sum_j G_ij^2;
 * - products of the Hessian block of one matrix with a direction V, by
 *   differences of gradients, (g(W + hV) - g(W - hV)) / 2h, or where g(W) of all
 *   matrices is known from one pass (g(W + hV) - g(W)) / h, and the largest
 *   eigenvalue by power iteration on them (Dong et al., "HAWQ", 2019).
 *
 * A pass for a matrix begins at the first layer that has it and its way back ends
 * there: what comes before is known from the pass before. So a differ that goes
 * from the last layer to the first does about half the work.
 *
 * Matrices of any form but low rank take part; what is packed is looked at as
 * the floats it stands for.
 */
#ifndef PARE_ENGINE_CURVATURE_H
#define PARE_ENGINE_CURVATURE_H

#include "engine/train.h"

/* Of one matrix; slots that hold the same tensor have one. */
struct curve {
	struct tensor *t;	/* a reference */
	int64_t at;		/* where its rows begin in squares; columns
				 * follow them */
	double top;		/* |largest eigenvalue|, mean over parts of the
				 * samples */
	double deviation;	/* over the parts */
};

struct curvature {
	int n;
	struct curve *of;	/* owned */
	int64_t total;		/* rows and columns of all */
	double *square;		/* owned: (total), means over samples; all 0
				 * until someone gathers them */
	int64_t samples, labelled;	/* likewise */
	int64_t bent;		/* samples that the eigenvalues are of */
};

/* The matrices of m, nothing gathered yet. NULL with PARE_ENOMEM. */
struct curvature *curvature_new(const struct model *m, struct pare_err *err);
void curvature_free(struct curvature *c);	/* NULL is fine */
/* NULL: not a matrix of that model, or low rank. */
const struct curve *curvature_of(const struct curvature *c,
    const struct tensor *t);

/* What computes, one a thread. Keeps references; c has to live longer. PARE_EUSER
 * where m cannot be differentiated (and why). */
struct differ;
struct differ *differ_new(const struct curvature *c, const struct model *m,
    struct pare_err *err);
void differ_free(struct differ *d);	/* NULL is fine */

/*
 * Adds the squared gradients of samples sample[0..n) of data, each alone, to out
 * (c->total). A label below 0 stands for the class that is predicted.
 */
enum pare_rc differ_squares(struct differ *d, const struct train_data *data,
    const int64_t *sample, int n, double *out, struct task *task,
    struct pare_err *err);

/* The first layer that matrix number i is in: 0 for those before the layers, the
 * number of layers for those behind. */
int differ_first(const struct differ *d, int i);
/* Weights of all matrices; where those of number i begin, one behind another. */
int64_t curvature_weights(const struct curvature *c);
int64_t curvature_weights_at(const struct curvature *c, int i);

/* The gradients of the mean loss over the samples of all matrices, one behind
 * another, into out (curvature_weights()). */
enum pare_rc differ_gradients(struct differ *d, const struct train_data *data,
    const int64_t *sample, int n, float *out, struct task *task,
    struct pare_err *err);

/* out = H v for matrix number i, H that of the mean loss over the samples; v is
 * not zero; all of rows * cols. here: the matrix's gradient at these samples, for
 * which one pass is enough; NULL: two passes. */
enum pare_rc differ_product(struct differ *d, int i,
    const struct train_data *data, const int64_t *sample, int n,
    const float *here, const float *v, float *out, struct task *task,
    struct pare_err *err);

/*
 * The largest |eigenvalue| of H by at most `most` products; fewer when two in a
 * row differ by no more than the share `close`. v is where to begin, and the
 * vector in the end; here as above.
 */
enum pare_rc differ_top(struct differ *d, int i,
    const struct train_data *data, const int64_t *sample, int n,
    const float *here, int most, double close, float *v, double *out,
    struct task *task, struct pare_err *err);

#endif
