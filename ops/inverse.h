/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * inverse: what the methods share that take single weights (to a code, to zero)
 * and let the others of the row make up for it: the factor of the inverse of the
 * second moments of the inputs.
 */
#ifndef PARE_OPS_INVERSE_H
#define PARE_OPS_INVERSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct inverse {
	int64_t cols;
	int64_t *order;		/* column at each place */
	float *u;		/* (cols, cols), by place: H^-1 = U'U */
	uint8_t *dead;		/* by column: its input is always 0 */
};

/*
 * Of h (cols, cols) with a hundredth of its mean diagonal added, and 1 where the
 * diagonal is 0. Columns keep their order, or lie by falling h_jj. PARE_ENOMEM;
 * PARE_EUSER: h is singular all the same.
 */
enum pare_rc inverse_of(const float *h, int64_t cols, bool by_size,
    struct inverse *out, struct pare_err *err);
void inverse_free(struct inverse *v);

#endif
