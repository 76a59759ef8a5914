/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * F32: sgemm on a panel of rows, and for one row of x dot products, for BLAS
 * reads memory at a third of its speed there.
 */
#include "tensor/kernel_rows.h"

#include <cblas.h>

enum { DOT_VALUES = 1 << 15 };	/* weights of a piece */

/* Eight partial sums in fixed lanes, whatever the instruction set. */
VALUE_SIMD float
kernel_dot(const float *a, const float *b, int64_t n)
{
	float s[32] = { 0 }, sum = 0.0f;
	int64_t i = 0;

	for (; i + 32 <= n; i += 32) {
#pragma omp simd
		for (int j = 0; j < 32; j++)
			s[j] += a[i + j] * b[i + j];
	}
	for (int j = 0; i < n; i++, j++)
		s[j] += a[i] * b[i];
	for (int w = 16; w > 0; w /= 2)
		for (int j = 0; j < w; j++)
			s[j] += s[j + w];
	sum = s[0];
	return sum;
}

static bool
is_one_row(const struct tensor *t, int64_t n)
{
	return n == 1;
}

static int64_t
dot_panel(const struct tensor *t, int64_t n)
{
	return t->cols < DOT_VALUES ? DOT_VALUES / t->cols : 1;
}

static void
dot_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const float *w = t->part[PART_DATA].p;

	for (int64_t r = r0; r < r1; r++) {
		float s = kernel_dot(w + r * t->cols, x->f, t->cols);

		y[r - r0] = accumulate ? y[r - r0] + s : s;
	}
}

const struct kernel f32_dot_kernel = {
	.name = "dot products", .tolerance = 2e-5f, .fits = is_one_row,
	.panel = dot_panel, .run = dot_run
};

/* A share for each thread. */
static int64_t
blas_panel(const struct tensor *t, int64_t n)
{
	int64_t share = (t->rows + kernel_threads() - 1) / kernel_threads();

	return (share + 15) / 16 * 16;
}

static void
blas_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const float *w = (const float *)t->part[PART_DATA].p + r0 * t->cols;

	/* BLAS counts in int; 2^30 rows of anything are far beyond memory. */
	for (int64_t i = 0; i < x->n; i += 1 << 24) {
		int64_t m = x->n - i < 1 << 24 ? x->n - i : 1 << 24;

		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m,
		    (int)(r1 - r0), (int)t->cols, 1, x->f + i * t->cols,
		    (int)t->cols, w, (int)t->cols, accumulate ? 1 : 0,
		    y + i * ldy, (int)ldy);
	}
}

const struct kernel f32_blas_kernel = {
	.name = "sgemm", .tolerance = 2e-5f, .panel = blas_panel,
	.run = blas_run
};
