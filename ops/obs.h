/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * obs: the order in which the inputs of a matrix are missed least, one after
 * another, when what stays is fitted anew each time: the optimal brain surgeon
 * (Hassibi and Stork 1993) over whole heads or neurons, as in Kurtic, Frantar
 * and Alistarh, "ZipLM", 2023.
 *
 * With W the matrix and H the second moments of its inputs (with a ridge), the
 * columns S cost
 *
 *	tr(W_S ((H^-1)_SS)^-1 W_S')
 *
 * and then W -= W_S ((H^-1)_SS)^-1 (H^-1)_S: and likewise H^-1. That is the
 * least-squares fit of what stays to the outputs of the whole, so the costs add
 * up to its error, and the weights of any length of the order are those of
 * ops/repair.h.
 */
#ifndef PARE_OPS_OBS_H
#define PARE_OPS_OBS_H

#include <stdint.h>

#include "base/err.h"
#include "base/task.h"

/*
 * Units are `width` columns each, cols / width of them. The first `most` to go
 * into order[most], the error after each into error[most]: of W x, squared,
 * summed over outputs, in the measure of h (cols, cols), which is positive
 * definite and overwritten. w is (rows, cols). PARE_EUSER: singular; PARE_ENOMEM,
 * PARE_ECANCELED.
 */
enum pare_rc obs_order(const double *w, int64_t rows, double *h, int64_t cols,
    int64_t width, int64_t most, int64_t *order, double *error,
    struct task *task, struct pare_err *err);

/*
 * Scores that rank by: what each step of an order costs, with steps that cost
 * less than one before them taken together with it, so that they rise; divided
 * by `energy`. Taking the lowest of several matrices then is the best cut of
 * all of them. Units that are not in the order get INFINITY.
 */
void obs_scores(const int64_t *order, const double *error, int64_t most,
    double energy, int64_t units, double *score);

#endif
