/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_bf16: products of bfloat16 factors, summed in float32. Private to
 * src/tensor.
 *
 * A number v is hi + lo + a rest, hi = bfloat16(v), lo = bfloat16(v - hi): hi is
 * off by 2^-8 of v at most, hi + lo by 2^-17. With
 *
 *	one part:	w x ~ hi(w) hi(x), exact in w where that is stored as
 *			bfloat16; what is left out is the rounding of x
 *	two parts:	w x ~ hi(w) hi(x) + hi(w) lo(x) + lo(w) hi(x), which
 *			leaves out 2^-15 of |w x| at most, and about a tenth
 *			of that in the mean
 *
 * As in kernel_panel.h a tile of rows of W meets blocks of 32 rows of x, and sums
 * lie by rows of W. A unit is two columns, whose products an instruction adds up
 * by itself:
 *
 *	tile[part][run][row][BF16_RUN]		columns of a row as they are
 *	block[part][unit][token][BF16_UNIT]	so that a unit of a row of W
 *						meets 16 tokens in a register
 *
 * Rows that a tile lacks, columns behind the last and rows of x behind the last
 * are zeros.
 */
#ifndef PARE_TENSOR_KERNEL_BF16_H
#define PARE_TENSOR_KERNEL_BF16_H

#include "tensor/kernel_panel.h"

enum {
	BF16_UNIT = 2,
	BF16_RUN = 32,		/* columns, 64 bytes */
	BF16_ROWS = 32,		/* most rows of a tile */
	BF16_PARTS = 2,
	BF16_COLS = 256		/* least of W. Narrow matrices gain 1.4 x and not
				 * 1.9 x, and their models show more of what is
				 * left out: one of 64 columns has 0.02 % less
				 * perplexity with one part, and logits off by
				 * 1e-5 of the largest with two */
};

/* A tile and a block. */
struct bf16_piece {
	int parts;
	const uint16_t *tile, *block;
	int64_t tile_part, block_part;	/* values from a part to the next */
	int64_t runs;
	int rows, tokens;		/* that there are: 1 on, 1 to 32 */
	float *sum;			/* sum[row * PANEL_X + token]; what is
					 * past rows and tokens may be written,
					 * up to whole units and 16 */
	struct kernel_ahead ahead;	/* a line of each row at a time */
	int lines;			/* of a row, for a run */
};

/* What each level of instructions has a version of. */
struct bf16_level {
	int rows;		/* of a tile, most */
	int unit;		/* tiles have a multiple of that */
	void (*multiply)(const struct bf16_piece *p);
	panel_put *put;
	/* After the last tile of a piece; NULL: nothing to do. */
	void (*end)(void);
};

extern const struct bf16_level bf16_level_scalar;

/* Parts of n floats; low may be NULL. */
void bf16_split(const float *v, int64_t n, uint16_t *high, uint16_t *low);

/* The terms of a product, in the order in which they are added up: term i is of
 * part (i == 2) of W and part (i == 1) of x. */
static inline int
bf16_terms(int parts)
{
	return parts == 1 ? 1 : 3;
}

static inline const uint16_t *
bf16_tile_of(const struct bf16_piece *p, int term)
{
	return p->tile + (term == 2 ? p->tile_part : 0);
}

static inline const uint16_t *
bf16_block_of(const struct bf16_piece *p, int term)
{
	return p->block + (term == 1 ? p->block_part : 0);
}

/* Rows of a tile that holds m rows. */
static inline int
bf16_tile_rows(const struct bf16_level *v, int64_t m)
{
	return m >= v->rows ? v->rows :
	    (int)((m + v->unit - 1) / v->unit * v->unit);
}

/* What struct kernel.panel, .scratch and .run do, on one level; x->halves must
 * have `parts` parts. */
int64_t bf16_panel(const struct bf16_level *v, const struct tensor *t,
    int parts);
size_t bf16_scratch(const struct bf16_level *v, const struct tensor *t,
    int parts);
void bf16_run(const struct bf16_level *v, const struct tensor *t,
    const struct kernel_x *x, int parts, int64_t r0, int64_t r1, float *y,
    int64_t ldy, bool accumulate, void *scratch);

/* PREP_BF16 and PREP_BF16_SPLIT, which have one part and two. */
size_t bf16_prep_bytes(int parts, int64_t n, int64_t cols);
void bf16_prep_make(int parts, const struct kernel_x *x, int64_t i0, int64_t n);
/* Values of a row of x, in all parts. */
int64_t bf16_prep_row(int parts, int64_t cols);

#if CPU_X86
void bf16_multiply_avx512(const struct bf16_piece *p);
void bf16_split_avx512(const float *v, int64_t n, uint16_t *high,
    uint16_t *low);
void bf16_put_wide(const float *sum, int64_t tokens, int64_t rows, float *y,
    int64_t ldy, bool add);
#endif
#if CPU_X86 || defined(CODE_TILE_PLAIN)
enum { BF16_TILE_ROWS = 32 };
void bf16_tile_multiply(const struct bf16_piece *p);
void bf16_tile_end(void);
#endif

#endif
