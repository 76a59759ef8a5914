/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with packed matrices: each thread decodes a tile of rows into its own
 * scratch, small enough to stay in L2, and multiplies it there. With few rows of
 * x a decoded row meets them as dot products, for then decoding is the work.
 */
#include "tensor/kernel_rows.h"

#include <cblas.h>

enum {
	TILE_BYTES = 384 << 10,
	TILE_ROWS_MAX = 256,
	FEW_ROWS = 3	/* of x, multiplied by dot products */
};

/* Rows of a tile: as many as L2 holds, yet enough tiles for all threads. */
static int64_t
tile_rows(const struct tensor *t, int64_t n)
{
	int64_t rows = TILE_BYTES / (4 * t->cols);
	int64_t share = (t->rows + kernel_threads() - 1) / kernel_threads();

	if (n <= FEW_ROWS)
		return 1;
	rows = rows > TILE_ROWS_MAX ? TILE_ROWS_MAX : rows / 16 * 16;
	rows = rows < 16 ? 16 : rows;
	return rows < share ? rows : share;
}

static size_t
tile_bytes(const struct tensor *t, int64_t n)
{
	size_t bytes = (size_t)(tile_rows(t, n) * t->cols) * sizeof(float);

	return (bytes + 63) & ~(size_t)63;
}

size_t
tile_scratch(const struct tensor *t, int64_t n)
{
	return tile_bytes(t, n) * (size_t)kernel_threads();
}

static void
few_rows(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, char *scratch)
{
	size_t bytes = tile_bytes(t, n);

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (value_count(t) > VALUE_PARALLEL / 4)
	for (int64_t r = 0; r < t->rows; r++) {
		float *w = (float *)(scratch + bytes * (size_t)kernel_thread());

		form_table[t->form].decode(t, r, 1, w);
		for (int64_t i = 0; i < n; i++) {
			float s = kernel_dot(w, x + i * t->cols, t->cols);
			float *at = y + i * t->rows + r;

			*at = accumulate ? *at + s : s;
		}
	}
}

void
tile_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	int64_t step = tile_rows(t, n);
	size_t bytes = tile_bytes(t, n);

	if (n <= FEW_ROWS) {
		few_rows(t, x, n, y, accumulate, scratch);
		return;
	}
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (t->rows > step)
	for (int64_t r = 0; r < t->rows; r += step) {
		int64_t m = t->rows - r < step ? t->rows - r : step;
		float *w = (float *)((char *)scratch +
		    bytes * (size_t)kernel_thread());

		form_table[t->form].decode(t, r, m, w);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n,
		    (int)m, (int)t->cols, 1, x, (int)t->cols, w, (int)t->cols,
		    accumulate ? 1 : 0, y + r, (int)t->rows);
	}
}
