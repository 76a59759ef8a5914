/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with many rows of x, see kernel_panel.h: a panel of W becomes tiles in
 * scratch, small enough to stay in L2, and meets one block of x after the other.
 * A float32 matrix is copied there, anything packed is unpacked there: with 128
 * rows of x each value made is used 128 times.
 */
#include "tensor/kernel_panel.h"

#include <string.h>

enum { PANEL_BYTES = 320 << 10 };	/* of tiles */

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Columns of W that are tiles at one time; the last may have less. */
static int64_t
panel_cols(const struct tensor *t)
{
	int64_t parts = (t->cols + PANEL_COLS - 1) / PANEL_COLS;
	int64_t cols = (t->cols + parts - 1) / parts;

	return (cols + PANEL_RUN - 1) / PANEL_RUN * PANEL_RUN;
}

int64_t
panel_share(const struct tensor *t, int64_t most, int64_t unit)
{
	int64_t threads = kernel_threads(), pieces, rows;

	most = most < unit ? unit : most / unit * unit;
	pieces = (t->rows + most - 1) / most;
	pieces = (pieces + threads - 1) / threads * threads;
	rows = (t->rows + pieces - 1) / pieces;
	return (rows + unit - 1) / unit * unit;
}

static int64_t
panel_rows(const struct tensor *t, int64_t n)
{
	return panel_share(t, PANEL_BYTES / (4 * panel_cols(t)), PANEL_ROWS);
}

int64_t
panel_fill_floats(const struct tensor *t, int64_t cols)
{
	/* Values and columns, read and written by vectors. */
	return form_table[t->form].is_sparse ? 2 * (cols + PANEL_RUN) : cols;
}

/* Scratch: tiles, sums, and what filling tiles needs. */
static size_t
tile_bytes(const struct tensor *t, int64_t n)
{
	return (size_t)(panel_rows(t, n) * panel_cols(t)) * sizeof(float);
}

static size_t
panel_scratch(const struct tensor *t, int64_t n)
{
	return tile_bytes(t, n) + (size_t)(panel_rows(t, n) * PANEL_X +
	    panel_fill_floats(t, panel_cols(t))) * sizeof(float);
}

/* ---- tiles ---- */

/* One row of values, cols of them, as row r of a tile of `height` rows. */
static void
put_row(const float *v, int64_t cols, int height, int64_t r, float *tile)
{
	float *to = tile + r * PANEL_RUN;

	for (; cols >= PANEL_RUN; cols -= PANEL_RUN) {
		memcpy(to, v, PANEL_RUN * sizeof(float));
		v += PANEL_RUN;
		to += height * PANEL_RUN;
	}
	if (cols > 0)
		memcpy(to, v, (size_t)cols * sizeof(float));
}

static void
fill_values(const struct tensor *t, int64_t r, int64_t rows, int64_t k,
    int64_t cols, float *row, float *tile)
{
	int height = panel_tile_rows(rows);

	for (int64_t i = 0; i < rows; i++) {
		form_table[t->form].values(t, r + i, NULL, k, cols, row);
		put_row(row, cols, height, i, tile);
	}
}

static void
put_zeros(int64_t cols, int height, int64_t r, float *tile)
{
	for (int64_t k = 0; k < cols; k += PANEL_RUN)
		memset(tile + k * height + r * PANEL_RUN, 0,
		    PANEL_RUN * sizeof(float));
}

static panel_fill *
fill_of(const struct tensor *t)
{
	const struct panel_code *code = panel_code();

	switch (t->form) {
	case FORM_F32:
		return code->fill_f32;
	case FORM_F16:
		return code->fill_f16;
	case FORM_BF16:
		return code->fill_bf16;
	case FORM_BITMAP:
		return sparse_fill;
	default:
		return fill_values;
	}
}

/* ---- the product ---- */

/* A piece being computed: columns [k, k + cols) of rows [r0, r1). */
struct piece {
	const struct tensor *t;
	const struct kernel_x *x;
	int64_t r0, r1, k, cols, width;
	float *tiles, *sum, *row;
	panel_fill *fill;
	const struct panel_code *code;
};

static void
fill_tile(const struct piece *p, int64_t r)
{
	int64_t rows = min64(p->r1 - r, PANEL_ROWS);
	float *tile = p->tiles + (r - p->r0) * p->width;
	int height = panel_tile_rows(rows);

	p->fill(p->t, r, rows, p->k, p->cols, p->row, tile);
	for (int64_t i = rows; i < height; i++)
		put_zeros(p->cols, height, i, tile);
}

/* What the next tile is made of, in `parts` parts of which this is one. */
static struct kernel_ahead
next_tile(const struct piece *p, int64_t r, int64_t part, int64_t parts)
{
	int64_t size = value_bits(p->t) * PANEL_RUN / 8;
	int64_t ld = value_row_bytes(p->t), rows, first;

	r += PANEL_ROWS;
	if (r >= p->r1 || form_table[p->t->form].is_sparse)
		return (struct kernel_ahead) { 0 };
	rows = (PANEL_ROWS + parts - 1) / parts;
	first = part * rows;
	rows = min64(rows, min64(PANEL_ROWS, p->r1 - r) - first);
	return (struct kernel_ahead) {
		.p = (const char *)p->t->part[PART_DATA].p + (r + first) * ld +
		    p->k / PANEL_RUN * size,
		.ld = ld, .step = (int)size, .rows = rows > 0 ? (int)rows : 0
	};
}

/* The tile at row r with rows [i0, i1) of x. */
static void
multiply_tile(const struct piece *p, int64_t r, int64_t i0, int64_t i1)
{
	int64_t parts = (i1 - i0 + PANEL_TOKENS - 1) / PANEL_TOKENS;

	for (int64_t i = i0; i < i1; i += PANEL_TOKENS) {
		struct kernel_ahead ahead = { 0 };

		if (i0 == 0)
			ahead = next_tile(p, r, i / PANEL_TOKENS, parts);
		p->code->multiply(p->tiles + (r - p->r0) * p->width,
		    p->x->blocks + i * p->x->cols + p->k * PANEL_TOKENS,
		    p->cols, min64(i1 - i, PANEL_TOKENS),
		    min64(p->r1 - r, PANEL_ROWS), p->sum + (r - p->r0) *
		    PANEL_X + i - i0, &ahead);
	}
}

static void
panel_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	struct piece p = {
		.t = t, .x = x, .r0 = r0, .r1 = r1, .width = panel_cols(t),
		.tiles = scratch, .fill = fill_of(t), .code = panel_code()
	};

	p.sum = (float *)((char *)scratch + tile_bytes(t, x->n));
	p.row = p.sum + panel_rows(t, x->n) * PANEL_X;
	for (; p.k < t->cols; p.k += p.width) {
		p.cols = min64(t->cols - p.k, p.width);
		for (int64_t i = 0, end; i < x->n; i = end) {
			end = min64(x->n, i + PANEL_X);
			for (int64_t r = r0; r < r1; r += PANEL_ROWS) {
				if (i == 0)
					fill_tile(&p, r);
				multiply_tile(&p, r, i, end);
			}
			p.code->put(p.sum, end - i, r1 - r0, y + i * ldy, ldy,
			    accumulate || p.k > 0);
		}
	}
}

/* With AVX2 and as many rows of x the sgemm of OpenBLAS is 5 % faster; with
 * AVX-512 it is slower everywhere. */
static bool
beats_blas(const struct tensor *t, int64_t n)
{
	return t->form != FORM_F32 || n < 256 || cpu_level() >= CPU_AVX512;
}

const struct kernel panel_kernel = {
	.name = "panels", .tolerance = 2e-5f, .level = CPU_AVX2,
	.prep = PREP_BLOCKS, .fits = beats_blas, .panel = panel_rows,
	.scratch = panel_scratch, .run = panel_run
};

const struct kernel bitmap_panel_kernel = {
	.name = "panels, zeros and all", .tolerance = 2e-5f,
	.level = CPU_AVX2, .prep = PREP_BLOCKS, .panel = panel_rows,
	.scratch = panel_scratch, .run = panel_run
};
