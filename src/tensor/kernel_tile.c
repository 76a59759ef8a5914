/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with packed matrices: a tile of rows is decoded into scratch, small
 * enough to stay in L2, and multiplied there. With few rows of x a decoded row
 * meets them as dot products, for then decoding is the work.
 */
#include "tensor/kernel_rows.h"

#include <cblas.h>

enum {
	TILE_BYTES = 384 << 10,
	TILE_ROWS_MAX = 256,
	FEW_ROWS = 3,	/* of x, multiplied by dot products */
	DOT_VALUES = 1 << 14	/* weights of a piece of these */
};

/* Rows of a tile: as many as L2 holds, yet enough tiles for all threads. */
static int64_t
tile_panel(const struct tensor *t, int64_t n)
{
	int64_t rows = TILE_BYTES / (4 * t->cols);
	int64_t share = (t->rows + kernel_threads() - 1) / kernel_threads();

	rows = rows > TILE_ROWS_MAX ? TILE_ROWS_MAX : rows / 16 * 16;
	rows = rows < 16 ? 16 : rows;
	return rows < share ? rows : share;
}

static size_t
tile_scratch(const struct tensor *t, int64_t n)
{
	return (size_t)(tile_panel(t, n) * t->cols) * sizeof(float);
}

static void
tile_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	form_table[t->form].decode(t, r0, r1 - r0, scratch);
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)x->n,
	    (int)(r1 - r0), (int)t->cols, 1, x->f, (int)t->cols, scratch,
	    (int)t->cols, accumulate ? 1 : 0, y, (int)ldy);
}

const struct kernel tile_blas_kernel = {
	.name = "tiles + sgemm", .tolerance = 2e-5f, .panel = tile_panel,
	.scratch = tile_scratch, .run = tile_run
};

static bool
is_few(const struct tensor *t, int64_t n)
{
	return n <= FEW_ROWS;
}

static int64_t
dot_panel(const struct tensor *t, int64_t n)
{
	return t->cols < DOT_VALUES ? DOT_VALUES / t->cols : 1;
}

static size_t
dot_scratch(const struct tensor *t, int64_t n)
{
	return (size_t)t->cols * sizeof(float);
}

static void
dot_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	float *w = scratch;

	for (int64_t r = r0; r < r1; r++, y++) {
		form_table[t->form].decode(t, r, 1, w);
		for (int64_t i = 0; i < x->n; i++) {
			float s = kernel_dot(w, x->f + i * t->cols, t->cols);
			float *at = y + i * ldy;

			*at = accumulate ? *at + s : s;
		}
	}
}

const struct kernel tile_dot_kernel = {
	.name = "decoded rows", .tolerance = 2e-5f, .fits = is_few,
	.panel = dot_panel, .scratch = dot_scratch, .run = dot_run
};
