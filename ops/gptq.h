/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gptq: codes that make up for each other's rounding (Frantar et al., "GPTQ:
 * accurate post-training quantization", 2023). The scales are those of rounding
 * to nearest; column by column, the ones first whose inputs are largest, what a
 * column loses is taken up by the columns still to come, as the inputs' second
 * moment says is best.
 */
#ifndef PARE_OPS_GPTQ_H
#define PARE_OPS_GPTQ_H

#include "ops/score.h"

/* Sums over matrices. */
struct gptq {
	const struct op_input *in;
	double nearest, after, energy;	/* squared errors of the outputs, and
					 * the squares of the outputs */
	int done;		/* matrices coded so */
	int unseen;		/* rounded: their inputs were not seen */
	int odd;		/* rounded: packed, sparse or low rank before */
	int worse;		/* rounded: that was better */
};

/*
 * t as `nearest` (INT, from t, consumed) has it, with better codes; `nearest`
 * itself where that cannot be or would be no better. NULL with PARE_ENOMEM, or
 * PARE_EUSER when the moments are singular.
 */
struct tensor *gptq_code(struct gptq *g, const struct tensor *t,
    struct tensor *nearest, struct pare_err *err);

/* For the note of an op. */
void gptq_note(const struct gptq *g, struct str *note);

/* The codes alone: w (rows, cols) with the second moment h (cols, cols), into
 * code (rows, cols) on the grid of `grid`; for tests too. */
enum pare_rc gptq_solve(const float *w, const struct tensor *grid,
    const double *h, uint8_t *code, struct pare_err *err);

#endif
