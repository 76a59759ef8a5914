/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * elementwise: what happens between the products: activations, norms, softmax,
 * residual sums, dropout masks. Matrices are (rows, cols) row-major float32.
 * Every function splits its work by rows or by columns in a way that does not
 * depend on the number of threads, so its result does not either.
 */
#ifndef PARE_ENGINE_ELEMENTWISE_H
#define PARE_ENGINE_ELEMENTWISE_H

#include "model/model.h"
#include "tensor/kernel.h"

/* The end of a product: y = act(y + bias). */
struct elem_end {
	struct product_end end;
	const float *bias;	/* one a column; NULL: none */
	enum act_kind act;
};
struct elem_end elem_end(const float *bias, enum act_kind act);

/* y = act(y + bias); bias may be NULL. */
void elem_bias_act(float *y, const float *bias, enum act_kind act,
    int64_t rows, int64_t cols);
/* y *= x: the gated FFN. */
void elem_mul(float *y, const float *x, int64_t rows, int64_t cols);
/* d = d * act'(x), over n values. */
void elem_act_back(float *d, const float *x, enum act_kind act, int64_t n);

/* A norm over the columns. mean and rstd, when not NULL, get one value a row. */
struct elem_norm {
	const float *w, *b;	/* cols; b may be NULL */
	float eps;
	bool rms;		/* no mean is taken away */
	bool frozen;		/* on the way back rstd counts as a constant */
	float *mean, *rstd;
};

/* out = norm(x + y + bias); y and bias may be NULL, out may be x. False when a
 * value of out is not finite. */
bool elem_norm(float *out, const float *x, const float *y, const float *bias,
    const struct elem_norm *n, int64_t rows, int64_t cols);
/* Gradient of the input, into dx (may be dy), from the input x of the norm and
 * what elem_norm() left in mean and rstd; adds to dw and db (both, or db alone,
 * may be NULL). */
void elem_norm_back(float *dx, const float *dy, const float *x,
    const struct elem_norm *n, float *dw, float *db, int64_t rows,
    int64_t cols);

/* x += y + bias; y and bias may be NULL. False when a sum is not finite. */
bool elem_add(float *x, const float *y, const float *bias, int64_t rows,
    int64_t cols);

/* s = softmax(s) over n values, in the calling thread. */
void elem_softmax(float *s, int64_t n);
/* d = s * (d - sum(d * s)): back through softmax, in the calling thread. */
void elem_softmax_back(float *d, const float *s, int64_t n);

/* sum += sums over the rows of d. */
void elem_sum_rows(float *sum, const float *d, int64_t rows, int64_t cols);

/*
 * Dropout by a counter: value i of a site is kept when a hash of (key, i) is
 * not below the rate, so the backward pass asks again instead of remembering.
 */
struct elem_drop {
	uint64_t key;
	float rate;		/* 0: nothing is dropped */
};
/* x[i] *= keep(first + i) / (1 - rate), in the calling thread. */
void elem_drop_span(float *x, int64_t n, const struct elem_drop *d,
    uint64_t first);
/* The same over a matrix with all threads. */
void elem_drop(float *x, int64_t rows, int64_t cols,
    const struct elem_drop *d);

/* One step of AdamW over n values. keep (may be NULL) says which may differ
 * from zero. */
struct elem_adam {
	float rate, beta1, beta2, eps, decay;
	float fix1, fix2;	/* 1 / (1 - beta^t) */
	float scale;		/* of the gradient: clipping */
};
void elem_adam_step(float *w, const float *g, float *m, float *v,
    const uint8_t *keep, int64_t n, const struct elem_adam *a);

/* Sum of squares in blocks of a fixed size, so the order of additions is fixed. */
double elem_sum_squares(const float *x, int64_t n);

#endif
