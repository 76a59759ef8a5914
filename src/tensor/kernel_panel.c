/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with many rows of x, see kernel_panel.h: a panel of W becomes tiles in
 * scratch, small enough to stay in L2, and meets one block of x after the other.
 * A float32 matrix is copied there, anything packed is unpacked there: with 128
 * rows of x each value made is used 128 times. With fewer rows a float32 matrix is
 * read where it is.
 */
#include "tensor/kernel_panel.h"

#include <string.h>

enum {
	PANEL_BYTES = 320 << 10,	/* of tiles */
	SET_BYTES = 2048		/* rows so far apart meet in 2 sets of L1 */
};

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
	bool direct;		/* whole tiles are read as W lies */
};

/* For as many rows of x as meet a tile at once, W is read as it lies: to copy it
 * took a tenth of the time. Rows that meet in few sets of L1 would push each
 * other out of it. */
static bool
is_direct(const struct tensor *t, int64_t n, const struct panel_code *code)
{
	return t->form == FORM_F32 && code->direct != NULL && n <= PANEL_X &&
	    t->cols * (int64_t)sizeof(float) % SET_BYTES != 0;
}

static bool
is_lying(const struct piece *p, int64_t r)
{
	return p->direct && r + PANEL_ROWS <= p->r1;
}

static void
fill_tile(const struct piece *p, int64_t r)
{
	int64_t rows = min64(p->r1 - r, PANEL_ROWS);
	float *tile = p->tiles + (r - p->r0) * p->width;
	int height = panel_tile_rows(rows);

	if (is_lying(p, r))
		return;
	p->fill(p->t, r, rows, p->k, p->cols, p->row, tile);
	for (int64_t i = rows; i < height; i++)
		put_zeros(p->cols, height, i, tile);
}

/* Where the tile after that of row r begins, and its rows: of these columns, of
 * the next ones, or of the piece that this thread gets next. */
static const char *
tile_after(const struct piece *p, int64_t r, int64_t *rows)
{
	const char *w = p->t->part[PART_DATA].p;
	int64_t size = value_bits(p->t) * PANEL_RUN / 8;
	int64_t ld = value_row_bytes(p->t), k = p->k;

	r += PANEL_ROWS;
	if (r >= p->r1) {
		r = p->r0;
		k += p->width;
	}
	if (k >= p->t->cols) {
		*rows = min64(PANEL_ROWS, p->x->next_bytes / ld);
		return p->x->next;
	}
	*rows = min64(PANEL_ROWS, p->r1 - r);
	return w + r * ld + k / PANEL_RUN * size;
}

/* What the tile after that of row r is made of, in `parts` parts of which this
 * is one. */
static struct kernel_ahead
next_tile(const struct piece *p, int64_t r, int64_t part, int64_t parts)
{
	int64_t ld, rows, each = (PANEL_ROWS + parts - 1) / parts;
	const char *w;

	if (form_table[p->t->form].is_sparse)
		return (struct kernel_ahead) { 0 };
	ld = value_row_bytes(p->t);
	w = tile_after(p, r, &rows);
	rows = min64(each, rows - part * each);
	if (rows <= 0)
		return (struct kernel_ahead) { 0 };
	return (struct kernel_ahead) {
		.p = w + part * each * ld, .ld = ld, .rows = (int)rows,
		.step = (int)(value_bits(p->t) * PANEL_RUN / 8)
	};
}

/* Tiles are made as the first rows of x come, and the last rows of x are followed
 * by the first tile of something else. */
static bool
is_time(const struct piece *p, int64_t r, int64_t i0, int64_t i1)
{
	return r + PANEL_ROWS < p->r1 ? i0 == 0 : i1 == p->x->n;
}

/* The tile at row r with `tokens` rows of x from i on. */
static void
multiply_block(const struct piece *p, int64_t r, int64_t i, int64_t tokens,
    float *sum, const struct kernel_ahead *ahead)
{
	const float *block = p->x->blocks + i * p->x->cols +
	    p->k * PANEL_TOKENS;
	const float *w = p->t->part[PART_DATA].p;

	if (is_lying(p, r))
		p->code->direct(w + r * p->t->cols + p->k, p->t->cols, block,
		    p->cols, tokens, sum, ahead);
	else
		p->code->multiply(p->tiles + (r - p->r0) * p->width, block,
		    p->cols, tokens, min64(p->r1 - r, PANEL_ROWS), sum, ahead);
}

/* The tile at row r with rows [i0, i1) of x. */
static void
multiply_tile(const struct piece *p, int64_t r, int64_t i0, int64_t i1)
{
	int64_t parts = (i1 - i0 + PANEL_TOKENS - 1) / PANEL_TOKENS;

	for (int64_t i = i0; i < i1; i += PANEL_TOKENS) {
		struct kernel_ahead ahead = { 0 };

		if (is_time(p, r, i0, i1))
			ahead = next_tile(p, r, (i - i0) / PANEL_TOKENS, parts);
		multiply_block(p, r, i, min64(i1 - i, PANEL_TOKENS),
		    p->sum + (r - p->r0) * PANEL_X + i - i0, &ahead);
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

	p.direct = is_direct(t, x->n, p.code);
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
