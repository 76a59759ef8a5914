/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sparsegpt: weights to zero, of which the others of their row make up for
 * (Frantar and Alistarh, "SparseGPT", 2023).
 */
#ifndef PARE_OPS_SPARSEGPT_H
#define PARE_OPS_SPARSEGPT_H

#include <stdint.h>

#include "base/err.h"

struct sparsegpt {
	int64_t rows, cols;
	int64_t zeros;		/* of the matrix, spread over its blocks of
				 * columns; with a group unused */
	int keep, group;	/* keep of each group neighbours; 0: free */
};

/* How many weights of w will stay: those that are 0 before stay 0. */
int64_t sparsegpt_kept(const struct sparsegpt *s, const float *w);

/* The new weights into w (rows, cols) and 1 for each that stays into mask, with
 * the second moment h (cols, cols). PARE_ENOMEM; PARE_EUSER: h is singular. */
enum pare_rc sparsegpt_solve(const struct sparsegpt *s, const float *h,
    float *w, uint8_t *mask, struct pare_err *err);

#endif
