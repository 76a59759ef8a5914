/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_panel: float32 products of a panel of W with blocks of x. Private to
 * src/tensor.
 *
 * A tile is PANEL_ROWS rows of W or, at the end of a panel, fewer, filled up to
 * a multiple of PANEL_UNIT with zeros; PANEL_RUN columns of each row lie
 * together: tile[k / PANEL_RUN][row][k % PANEL_RUN]. A block is PANEL_TOKENS rows
 * of x side by side: block[k][token], see PREP_BLOCKS. So a tile is made without
 * turning anything round, each of its values meets a whole vector of tokens, and
 * y[token][row] is summed over k in order, whatever the panel and the number of
 * tokens: results do not depend on them.
 */
#ifndef PARE_TENSOR_KERNEL_PANEL_H
#define PARE_TENSOR_KERNEL_PANEL_H

#include "tensor/kernel_rows.h"

enum {
	PANEL_ROWS = 12,
	PANEL_UNIT = 4,
	PANEL_RUN = 16,
	PANEL_TOKENS = 32,
	PANEL_X = 128,		/* tokens whose sums are together in memory */
	PANEL_COLS = 1024	/* of a tile; wider matrices go in several */
};

/* Rows of a tile that holds m rows. */
static inline int
panel_tile_rows(int64_t m)
{
	return m >= PANEL_ROWS ? PANEL_ROWS :
	    (int)((m + PANEL_UNIT - 1) / PANEL_UNIT * PANEL_UNIT);
}

/*
 * sum[r * PANEL_X + i] = sum of tile[k][r] * block[k][i] over k < cols, for
 * tokens i < tokens (<= PANEL_TOKENS) and rows r < rows (<= PANEL_ROWS), and
 * whatever comes of the rest of the tile and of 16 tokens.
 */
typedef void panel_multiply(const float *tile, const float *block,
    int64_t cols, int64_t tokens, int64_t rows, float *sum,
    const struct kernel_ahead *ahead);

/* The same with PANEL_ROWS rows of a float32 matrix as they lie, ld apart. */
typedef void panel_direct(const float *w, int64_t ld, const float *block,
    int64_t cols, int64_t tokens, float *sum,
    const struct kernel_ahead *ahead);

/* y[i][r] = sum[r * PANEL_X + i] for any number of rows and up to PANEL_X tokens;
 * y points at (0, 0), its rows lie ldy apart. Added to y when add. */
typedef void panel_put(const float *sum, int64_t tokens, int64_t rows,
    float *y, int64_t ldy, bool add);

/* tokens rows of x, ldx apart, cols columns of each, as a block; tokens up to
 * PANEL_TOKENS are filled up with zeros. */
typedef void panel_turn(const float *x, int64_t ldx, int64_t tokens,
    int64_t cols, float *block);

/*
 * Rows [r, r + rows) and columns [k, k + cols) of t as a tile, without the zeros
 * at its end. row has room for cols values.
 */
typedef void panel_fill(const struct tensor *t, int64_t r, int64_t rows,
    int64_t k, int64_t cols, float *row, float *tile);

struct panel_code {
	panel_multiply *multiply;
	panel_direct *direct;	/* NULL: tiles are faster */
	panel_turn *turn;
	panel_put *put;
	panel_fill *fill_f32, *fill_f16, *fill_bf16;
};

/* For cpu_level(), at least CPU_AVX2. */
const struct panel_code *panel_code(void);

/* Rows of t for pieces of at most `most` rows: of one size, a multiple of
 * `unit`, that threads can share evenly. */
int64_t panel_share(const struct tensor *t, int64_t most, int64_t unit);

/* The fill of BITMAP. Its row of memory is panel_fill_floats() long. */
panel_fill sparse_fill;
int64_t panel_fill_floats(const struct tensor *t, int64_t cols);

#endif
