/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_sparse: vectors and sparse rows. Private to src/tensor.
 */
#ifndef PARE_TENSOR_KERNEL_SPARSE_H
#define PARE_TENSOR_KERNEL_SPARSE_H

#include "tensor/kernel_panel.h"

enum {
	SPARSE_FEW = 4,
	SPARSE_COLS = 128,	/* of a block of x that stays in L1 */
	SPARSE_STEP = 16	/* positions in such a block are columns times this:
				 * an index of eights of its bytes */
};

struct sparse_code {
	/*
	 * out[i]: the sum of values at set bits times row i of x, in 64 partial
	 * sums of columns k % 64, whatever the level. 1 to SPARSE_FEW rows of x,
	 * cols apart. v: the values of the row, in `form` F32, F16 or BF16;
	 * memory may be read up to end.
	 */
	void (*dot)(enum form_kind form, const uint8_t *mask, const void *v,
	    const void *end, const float *x, int64_t cols, int tokens,
	    float *out);
	/*
	 * Values at their places and zeros between them: runs of PANEL_RUN
	 * columns, step floats from one run to the next, the last one whole.
	 * mask begins at column 0 of cols. Returns how many values it took.
	 */
	int64_t (*expand)(enum form_kind form, const uint8_t *mask,
	    const void *v, const void *end, int64_t cols, float *to,
	    int64_t step);
	/* The numbers of set bits of cols, plus first. Room for cols + 15. */
	int64_t (*columns)(const uint8_t *mask, int64_t cols, int32_t first,
	    int32_t *col);
	/*
	 * sum[i] += v[k] * block[at[k] / SPARSE_STEP][i], for 16 tokens i where
	 * half, else PANEL_TOKENS.
	 */
	void (*multiply)(const float *v, const uint16_t *at, int64_t n,
	    const float *block, float *sum, bool half);
};

/* For cpu_level(), at least CPU_AVX2. */
const struct sparse_code *sparse_code(void);

#endif
