/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * calibrate: what methods have to know of a model at work, from the samples of
 * the calib role: statistics of activations, and gradients by gates. One pass
 * over the samples each.
 *
 * Samples come in the order of measure/order.h, so that fewer than all are a
 * stratified draw, the same one every time.
 */
#ifndef PARE_MEASURE_CALIBRATE_H
#define PARE_MEASURE_CALIBRATE_H

#include "engine/curvature.h"
#include "engine/gates.h"
#include "engine/moments.h"
#include "text/dataset.h"

/* Samples that are enough for most: more change the order of heads little. Of
 * running text that many windows, or as many as have so many tokens. */
enum { CALIBRATE_SAMPLES = 512, CALIBRATE_TOKENS = 32768,
	CALIBRATE_FEW = 8192 };
int64_t calibrate_samples(const struct dataset *d, int64_t tokens);

/*
 * At most `samples` samples (0: all); gram as in statistics_new(). *out is the
 * caller's. PARE_EUSER: the set is not tokenized or empty, a moment is not
 * finite; else as engine_forward().
 */
enum pare_rc calibrate_statistics(const struct model *m,
    const struct dataset *d, int64_t samples, const bool *gram,
    struct statistics **out, struct task *task, struct pare_err *err);

enum { CALIBRATE_RELEVANCE = 1,	/* as in gates_run() */
	CALIBRATE_EACH = 2 };	/* the gradients of each sample are kept */

/* Means over samples; flags of those above. Where a sample has no label of
 * the model's, the model's own prediction stands for it. PARE_EUSER also where
 * the model cannot be differentiated. */
enum pare_rc calibrate_gates(const struct model *m, const struct dataset *d,
    int64_t samples, unsigned flags, struct gates_means *out,
    struct task *task, struct pare_err *err);

/* Labels in the place of those of d, by its samples, and what the squares (and
 * sizes) of each count. */
struct calibrate_labels {
	const int *label;
	const float *share;
};
/* The same with other labels (NULL: those of d). */
enum pare_rc calibrate_gates_of(const struct model *m,
    const struct dataset *d, int64_t samples, unsigned flags,
    const struct calibrate_labels *labels, struct gates_means *out,
    struct task *task, struct pare_err *err);

/*
 * The squared gradients of matrices into c, from at most CALIBRATE_SQUARES of
 * the samples; and the largest eigenvalues of their blocks of the Hessian, from
 * CALIBRATE_PARTS parts of CALIBRATE_PART samples. c is of m. As
 * calibrate_gates() otherwise; on error c is as it was, or partly filled.
 */
enum { CALIBRATE_SQUARES = 128, CALIBRATE_PARTS = 3, CALIBRATE_PART = 8 };
enum pare_rc calibrate_squares(const struct model *m, const struct dataset *d,
    int64_t samples, struct curvature *c, struct task *task,
    struct pare_err *err);
enum pare_rc calibrate_hessian(const struct model *m, const struct dataset *d,
    int64_t samples, struct curvature *c, struct task *task,
    struct pare_err *err);

/* The most columns of an input that was seen on fewer than four rows a column:
 * X'X of it says little; 0: all were seen often enough. */
int64_t calibrate_short(const struct statistics *s, int64_t *rows);

#endif
