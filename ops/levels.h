/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * levels: which values codes stand for, found by more than the range of the
 * weights; for struct quant_levels.
 */
#ifndef PARE_OPS_LEVELS_H
#define PARE_OPS_LEVELS_H

#include "tensor/transform.h"

/* Weights (rows, cols) in groups as struct tensor_code says. */
struct levels {
	const float *w;
	int64_t rows, cols, group;
	enum quant_scheme scheme;
	int bits;
};
int64_t levels_groups(const struct levels *v);

/* The plain ranges of INT codes into range[2 * groups]. */
void levels_range(const struct levels *v, double *range);

/*
 * Ranges cut at the ends so that sum_j weight_j (w_j - q_j)^2 of the group is
 * least, from the range of all weights (which is one candidate) down to half of
 * it; weight[cols]. At one symmetric bit the best step.
 */
void levels_clip(const struct levels *v, const double *weight, double *range);

/*
 * The minimum of affine codes by half-quadratic splitting (Badri and Shaji,
 * "Half-quadratic quantization", 2023): lowers sum |(w - q) / step|^0.7 at the
 * plain step. That sum before and after is added to both, when not NULL.
 */
void levels_hqq(const struct levels *v, double *range, double *before,
    double *after);

/*
 * Tables of means that lower sum row_i col_j (w_ij - q_ij)^2, by Lloyd's
 * iterations from `table` (ascending, 2^bits a group) and from as many parts of
 * equal weight; the better of the two into table. col[cols]; row[rows] or NULL.
 * PARE_ENOMEM.
 */
enum pare_rc levels_kmeans(const struct levels *v, const double *row,
    const double *col, float *table, struct pare_err *err);

#endif
