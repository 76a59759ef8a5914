/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gptq: codes that make up for each other's rounding (Frantar et al., "GPTQ:
 * accurate post-training quantization", 2023). The levels are given; column by
 * column, the ones first whose inputs are largest, what a column loses is taken
 * up by the columns still to come, as the inputs' second moment says is best.
 */
#ifndef PARE_OPS_GPTQ_H
#define PARE_OPS_GPTQ_H

#include "tensor/tensor.h"

/* w (rows, cols) with the levels of `grid` (full INT or TABLE, ascending) by the
 * second moment h (cols, cols). NULL with PARE_ENOMEM, or PARE_EUSER when the
 * moments are singular. */
struct tensor *gptq_code(const float *w, const struct tensor *grid,
    const float *h, struct pare_err *err);

/* The codes alone, into code (rows, cols); for tests too. */
enum pare_rc gptq_solve(const float *w, const struct tensor *grid,
    const float *h, uint8_t *code, struct pare_err *err);

#endif
