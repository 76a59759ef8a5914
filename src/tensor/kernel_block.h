/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_block: products of GGUF's blocks (BLOCK) with int8 activations. Private
 * to src/tensor.
 *
 * x is rounded to int8 with a scale for every 32 columns (PREP_INT8_32), which no
 * group of any type crosses. With x ~ scale * q, and a weight w = step * (code -
 * zero), or base + step * code where the type has no code for zero, an output is
 *
 *	y = sum over groups of scale * (step * D + base * X)
 *	D = sum (code - zero) * q,  X = sum q	over the columns of the group
 *
 * D and X are exact integers. The order in which the floats are added up is one
 * for few rows of x and another for many, and differs between levels of
 * instructions; it never depends on the number of threads.
 *
 * Few rows of x (up to BLOCK_FEW, from CPU_AVX2 on) meet the packed rows, of
 * which every block is loaded once. For more, strips of CODE_STRIP rows are
 * unpacked to bytes, laid out as kernel_code.h says.
 */
#ifndef PARE_TENSOR_KERNEL_BLOCK_H
#define PARE_TENSOR_KERNEL_BLOCK_H

#include "tensor/block.h"
#include "tensor/kernel_code.h"

enum {
	BLOCK_X = 32,		/* columns of x that share a scale */
	BLOCK_TOKENS = 6,	/* most rows of x of one piece() */
	BLOCK_FEW = 4,
	BLOCK_CHUNK = 1024	/* most columns of a strip */
};

/* A strip against up to BLOCK_TOKENS rows of x. */
struct block_piece {
	int64_t groups;
	int64_t units;		/* of a group */
	int run;		/* units whose products, two and two, stay in 16
				 * bits when they are added up; 0: bytes above
				 * 127 occur */
	const uint8_t *strip;	/* (groups, units, CODE_STRIP, CODE_UNIT) */
	const float *step;	/* (groups, CODE_STRIP) */
	const float *base;	/* the same, or NULL */
	const int32_t *init;	/* (groups, BLOCK_TOKENS): -zero * X */
	const float *scale;	/* the same: of x */
	const float *sum;	/* the same: scale * X */
	const int8_t *q;	/* column 0 of the first of the rows of x */
	int64_t ldq;
	float *y;
	int64_t ldy;
	int rows;		/* of y to write, 1 to CODE_STRIP */
	bool accumulate;
};

/* What each level of instructions has a version of. */
struct block_level {
	/* What piece() takes off bytes where run is 0: 0 or 128. */
	int lift;
	/* A row of n blocks as bytes, and the step and base of group g at
	 * [g * CODE_STRIP]; base may be NULL. What lies `ahead` bytes on is
	 * wanted soon. */
	void (*unpack)(enum block_kind kind, const uint8_t *block, int64_t n,
	    int64_t ahead, uint8_t *code, float *step, float *base);
	/* As in struct code_level. */
	void (*turn)(const uint8_t *rows, int64_t ld, int64_t units,
	    uint8_t *strip);
	int tokens;
	void (*piece)(const struct block_piece *p, int tokens);
};

extern const struct block_level block_level_scalar, block_level_avx2,
    block_level_vnni;

#if CPU_X86
void block_unpack_avx2(enum block_kind kind, const uint8_t *block, int64_t n,
    int64_t ahead, uint8_t *code, float *step, float *base);
#endif

/*
 * 32 floats as int8, as code_round() makes them, and the sums of 16; returns the
 * scale. The same bits on every level.
 */
float block_round(const float *v, int8_t *q, int16_t *sum);

#endif
