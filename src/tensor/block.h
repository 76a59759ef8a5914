/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * block: the quantized blocks of GGUF files. A row is a run of blocks; a block
 * holds 32 or 256 values with all of their scales. Layouts and evaluation order
 * are those of ggml, so that decoded values are the same bits.
 *
 * Every type can also be taken apart for integer products: a code of 0 to `most`
 * a value and, per group of 16 or 32 values, value = base + step * code but for
 * rounding; where a code stands for zero, base is -zero * step.
 */
#ifndef PARE_TENSOR_BLOCK_H
#define PARE_TENSOR_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Order is part of saved files: append only. */
enum block_kind { BLOCK_Q4_0, BLOCK_Q4_1, BLOCK_Q5_0, BLOCK_Q5_1, BLOCK_Q8_0,
	BLOCK_Q2_K, BLOCK_Q3_K, BLOCK_Q4_K, BLOCK_Q5_K, BLOCK_Q6_K,
	BLOCK_IQ4_NL, BLOCK_IQ4_XS, BLOCK_MXFP4, BLOCK_IQ3_S, BLOCK_KINDS };

enum { BLOCK_VALUES_MAX = 256, BLOCK_GROUPS_MAX = 16 };

struct block_facts {
	const char *name;	/* "q4_k" */
	int type;		/* number in GGUF files */
	int values, bytes;	/* of a block */
	int group;		/* values that share step and base */
	int zero;		/* the code of 0; 0: base is its own */
	int most;		/* no code is larger */
	/* One block to its values. */
	void (*decode)(const uint8_t *block, float *out);
	/* One block to codes, and step and base of its groups. */
	void (*codes)(const uint8_t *block, uint8_t *code, float *step,
	    float *base);
};

extern const struct block_facts block_table[BLOCK_KINDS];

/* The codebook of IQ3_S: four sizes, each an odd number from 1 to 15, of which
 * this has (size - 1) / 2 in three bits, the first in the lowest. */
extern const uint16_t block_iq3_grid[512];

/* By the number in GGUF files; false: no block type pare runs. */
bool block_find(int type, enum block_kind *out);

#endif
