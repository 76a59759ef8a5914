/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * transform: the functions that make one tensor from another. Ops are built of
 * these; each works on ghosts and, with ctx.estimate, on real tensors without
 * doing the work: the result is then a ghost with exactly the facts (form,
 * bytes, params, nonzero) the real result would have.
 *
 * All return a new reference, or NULL with *err filled and nothing changed.
 */
#ifndef PARE_TENSOR_TRANSFORM_H
#define PARE_TENSOR_TRANSFORM_H

#include "tensor/tensor.h"

struct transform_ctx {
	bool estimate;
	uint64_t seed;
	struct task *task;	/* may be NULL */
};

/*
 * Rows (axis 0) or columns (axis 1) keep[0..n), strictly ascending, n >= 1. Any
 * form; codes are moved, never re-rounded, so kept values are bit-identical.
 * Columns of a grouped INT or TABLE must leave or keep whole groups: otherwise
 * PARE_EUSER with the hint to prune before quantizing.
 */
struct tensor *tensor_select(const struct tensor *t, int axis,
    const int64_t *keep, int64_t n, const struct transform_ctx *ctx,
    struct pare_err *err);

/* F32 -> F16 or BF16 (or back to F32). The source may be any form but LOWRANK;
 * sparse ones keep their mask and convert the values. A low rank beside a float
 * base stays, and the base is cast. */
struct tensor *tensor_cast(const struct tensor *t, enum form_kind form,
    const struct transform_ctx *ctx, struct pare_err *err);

enum quant_scheme {
	QUANT_SYMMETRIC,	/* INT; step = max|w| / (2^(bits-1) - 1); 1 bit:
				 * mean |w| and the sign */
	QUANT_AFFINE,		/* INT; step = (max - min) / (2^bits - 1) */
	QUANT_KMEANS,		/* TABLE of 2^bits means: Lloyd from balanced
				 * (equal population) bins on sorted values */
	QUANT_BINARY		/* TABLE of 2 values by 2-means, bits = 1 */
};

struct quant_spec {
	enum quant_scheme scheme;
	int bits;		/* 1 to 8 */
	int64_t group;		/* as struct tensor_code.group */
	int act;		/* as struct tensor_code.act: 0 or 8; a sparse
				 * tensor gets 0 */
};

/*
 * Quantizes float and sparse-float tensors (a sparse one keeps its mask; only
 * its stored values are coded, and each group's range is over those). Re-coding
 * an INT or TABLE tensor decodes it first. LOWRANK quantizes both factors (group
 * must divide each factor's cols, or be 0 or its cols: pass group = -1 for "one
 * a row"). Of a low rank beside a float base the base is coded and the low rank
 * stays. Refuses, naming the shape, a group that does not divide cols, and
 * values that are not finite.
 */
struct tensor *tensor_quantize(const struct tensor *t,
    const struct quant_spec *spec, const struct transform_ctx *ctx,
    struct pare_err *err);

/*
 * The same with levels that the caller found, a group each. INT: from range[2 g]
 * to range[2 g + 1], of which symmetric codes take the second (at 1 bit it is the
 * step); what lies beyond gets the last code. TABLE: 2^bits values, ascending.
 * Not for LOWRANK, nor for estimates.
 */
struct quant_levels {
	const double *range;	/* INT */
	const float *table;	/* TABLE */
};
struct tensor *tensor_quantize_levels(const struct tensor *t,
    const struct quant_spec *spec, const struct quant_levels *levels,
    const struct transform_ctx *ctx, struct pare_err *err);

/*
 * SCALED: the columns of full codes times by[cols], to undo what they were
 * multiplied with before they were coded. SUM: full codes of t and, where mask
 * (rows * cols) is not 0, float32 values that make up for what they lack of t;
 * kept counts them, for estimates. Neither consumes its codes.
 */
struct tensor *tensor_scale(const struct tensor *codes, const float *by,
    const struct transform_ctx *ctx, struct pare_err *err);
struct tensor *tensor_patch(const struct tensor *codes,
    const struct tensor *t, const uint8_t *mask, int64_t kept,
    const struct transform_ctx *ctx, struct pare_err *err);

/*
 * t with other activations (0 or 8), its codes shared; t itself where it has
 * them, or has no codes to be multiplied as integers. LOWRANK: both factors.
 */
struct tensor *tensor_activations(const struct tensor *t, int act,
    struct pare_err *err);

/*
 * The weights of t where keep(r, c) holds, the others zero, in the smallest of
 * BITMAP, INDEX and full form (full float with zeros inside only when neither
 * sparse form is smaller). mask is one byte a weight, rows*cols, 1 keeps; NULL in
 * estimates and for ghosts, where `kept` counts what would be kept. Values keep
 * their form: F32, F16, BF16, INT or TABLE (full INT and TABLE cannot express a
 * pruned weight, so they always become sparse, and meet float activations from
 * then on). A weight that is zero already is never stored. Not for LOWRANK
 * (PARE_EUSER: prune before factorizing).
 */
struct tensor *tensor_sparsify(const struct tensor *t, const uint8_t *mask,
    int64_t kept, const struct transform_ctx *ctx, struct pare_err *err);

/* The form tensor_sparsify() would choose, and its bytes. */
enum form_kind sparse_choose(const struct tensor *t, int64_t kept,
    int64_t *bytes);

/*
 * LOWRANK of t by truncated SVD: A = U_k S_k^(1/2), B = S_k^(1/2) V_k^T, both in
 * the float form of t, so that A B is the best approximation of rank k (Eckart,
 * Young 1936). t must be a matrix in a full float form; k in
 * 1..min(rows, cols). Where k is well below min(rows, cols) a randomized range
 * finder is used (Halko, Martinsson, Tropp 2011), whose error is checked against
 * the exact residual bound and which falls back to LAPACK.
 */
struct tensor *tensor_factorize(const struct tensor *t, int64_t rank,
    const struct transform_ctx *ctx, struct pare_err *err);

/* All min(rows, cols) singular values, descending, into a malloc'ed *out. */
enum pare_rc tensor_spectrum(const struct tensor *t, float **out, int64_t *n,
    struct task *task, struct pare_err *err);

/*
 * By what an approximation V of W is judged: the squares of D (W - V) L, with D
 * a weight for each row and L L^T = second + damp I (the Cholesky factor), or L a
 * weight for each column. What is NULL is left out. Borrowed.
 */
struct factor_metric {
	const float *second;	/* (cols, cols), positive semidefinite */
	const float *col;	/* cols */
	const float *row;	/* rows, all more than 0 */
};
/* The damp, of the mean of the diagonal. */
#define FACTOR_DAMP 1e-4

/*
 * The same in a metric (NULL: none): what is lost there is the sum of the squares
 * of the singular values of D W L from the k-th on. PARE_EUSER where the second
 * moment is not positive semidefinite, or all zeros.
 */
struct tensor *tensor_factorize_by(const struct tensor *t, int64_t rank,
    const struct factor_metric *metric, const struct transform_ctx *ctx,
    struct pare_err *err);
enum pare_rc tensor_spectrum_by(const struct tensor *t,
    const struct factor_metric *metric, float **out, int64_t *n,
    struct task *task, struct pare_err *err);

/*
 * SUM of base and the product of rank `rank`, in 16-bit floats, that is nearest to
 * what base lacks of t, in the metric (NULL: none). Base and t have one shape; rank
 * is below both sides. Takes a reference of base, so many may stand on one.
 * PARE_EUSER where base is low rank, or has one beside it.
 */
struct tensor *tensor_amend(const struct tensor *base, const struct tensor *t,
    int64_t rank, const struct factor_metric *metric,
    const struct transform_ctx *ctx, struct pare_err *err);
/* t, which is a base plus a low rank, with another base of its shape. */
struct tensor *tensor_rebase(const struct tensor *t, const struct tensor *base,
    struct pare_err *err);

/* Largest k for which k * (rows + cols) < rows * cols. */
int64_t tensor_break_even_rank(const struct tensor *t);

/* Element-wise mean of n tensors of one shape, as F32 (or a ghost). */
struct tensor *tensor_mean(const struct tensor *const *t, int n,
    const struct transform_ctx *ctx, struct pare_err *err);

struct tensor_stats {
	int64_t n, zeros, nans, infs, subnormals;
	double min, max, mean, deviation, skewness, kurtosis;	/* finite values */
	double abs_mean, l2;
};

/* Moments of all values; with bins > 0 also a histogram of the finite values
 * over [min, max] into histogram[bins]. Reads in blocks. */
enum pare_rc tensor_measure(const struct tensor *t, struct tensor_stats *out,
    int64_t *histogram, int bins, struct task *task, struct pare_err *err);

#endif
