/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fisher: what a change of a single weight costs, from what is gathered of whole
 * parts: the mean square F_u of the loss gradient by a gate on a head or neuron.
 * A gate scales all weights of the part, so F_u ~ sum w_ij^2 F_ij over them; with
 * F_ij in proportion to E x_j^2 there,
 *
 *	F_ij = F_u E x_j^2 / sum over the part of w_ij^2 E x_j^2
 */
#ifndef PARE_OPS_FISHER_H
#define PARE_OPS_FISHER_H

#include "ops/score.h"

/*
 * F_ij of t = row_i col_j, w being its values and square[cols] E x^2; into new
 * arrays (*row NULL: 1 throughout), which the caller frees. PARE_EUSER where t
 * is in no head and no neuron, or gates were not gathered.
 */
enum pare_rc fisher_weights(const struct op_input *in, const struct tensor *t,
    const float *w, const double *square, double **row, double **col,
    struct pare_err *err);

#endif
