/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with sparse matrices. Where few weights are left, each stored value
 * meets its column of x: for one row of x by gathering, for many through x
 * transposed, so that one value times a run of x is one vector loop. Where many
 * are left, tiles are decoded and sgemm is faster.
 */
#include "tensor/kernel_rows.h"

#include <string.h>

enum {
	RUN = 64,	/* rows of x that one pass takes */
	FEW_ROWS = 3,
	PIECE_VALUES = 1 << 12	/* stored values of a piece */
};

/* Share of weights below which multiplying only these wins. */
static const double sparse_limit = 0.10;

static bool
is_few(const struct tensor *t, int64_t n)
{
	return n <= FEW_ROWS;
}

static bool
is_thin(const struct tensor *t, int64_t n)
{
	return (double)t->stored < sparse_limit * (double)value_count(t);
}

/* Values and columns of a row. */
static size_t
row_bytes(const struct tensor *t)
{
	return ((size_t)t->cols * 8 + 63) & ~(size_t)63;
}

static int64_t
dot_panel(const struct tensor *t, int64_t n)
{
	int64_t per_row = t->stored / t->rows + 1;

	return per_row < PIECE_VALUES ? PIECE_VALUES / per_row : 1;
}

static size_t
dot_scratch(const struct tensor *t, int64_t n)
{
	return row_bytes(t);
}

static float
gather_dot(const struct value_row *row, const float *x)
{
	float s[4] = { 0 };
	int64_t i = 0;

	for (; i + 4 <= row->n; i += 4)
		for (int j = 0; j < 4; j++)
			s[j] += row->v[i + j] * x[row->col[i + j]];
	for (; i < row->n; i++)
		s[0] += row->v[i] * x[row->col[i]];
	return (s[0] + s[1]) + (s[2] + s[3]);
}

static void
dot_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	float *f = scratch;

	for (int64_t r = r0; r < r1; r++, y++) {
		struct value_row row = value_row_get(t, r, f,
		    (int32_t *)(f + t->cols));

		for (int64_t i = 0; i < x->n; i++) {
			float s = gather_dot(&row, x->f + i * t->cols);
			float *at = y + i * ldy;

			*at = accumulate ? *at + s : s;
		}
	}
}

const struct kernel sparse_dot_kernel = {
	.name = "stored values", .tolerance = 2e-5f, .fits = is_few,
	.panel = dot_panel, .scratch = dot_scratch, .run = dot_run
};

/* ---- many rows of x ---- */

static int64_t
run_panel(const struct tensor *t, int64_t n)
{
	return (t->rows + kernel_threads() - 1) / kernel_threads();
}

static size_t
run_scratch(const struct tensor *t, int64_t n)
{
	return row_bytes(t) + (size_t)t->cols * RUN * sizeof(float);
}

/* RUN rows of x (m of them real) to xt (cols, RUN). */
static void
transpose(const float *x, int64_t m, int64_t cols, float *xt)
{
	for (int64_t c = 0; c < cols; c++) {
		for (int64_t i = 0; i < m; i++)
			xt[c * RUN + i] = x[i * cols + c];
		for (int64_t i = m; i < RUN; i++)
			xt[c * RUN + i] = 0.0f;
	}
}

VALUE_SIMD static void
run_row(const struct value_row *row, const float *xt, float *sum)
{
	float s[RUN] = { 0 };

	for (int64_t i = 0; i < row->n; i++) {
		const float *p = xt + (int64_t)row->col[i] * RUN;
		float v = row->v[i];

#pragma omp simd
		for (int j = 0; j < RUN; j++)
			s[j] += v * p[j];
	}
	memcpy(sum, s, sizeof(s));
}

static void
run_rows(const struct tensor *t, const float *xt, int64_t m, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, float *f)
{
	float sum[RUN];

	for (int64_t r = r0; r < r1; r++, y++) {
		struct value_row row = value_row_get(t, r, f,
		    (int32_t *)(f + t->cols));

		run_row(&row, xt, sum);
		for (int64_t i = 0; i < m; i++) {
			float *at = y + i * ldy;

			*at = accumulate ? *at + sum[i] : sum[i];
		}
	}
}

static void
run_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	float *xt = (float *)((char *)scratch + row_bytes(t));

	for (int64_t i = 0; i < x->n; i += RUN) {
		int64_t m = x->n - i < RUN ? x->n - i : RUN;

		transpose(x->f + i * t->cols, m, t->cols, xt);
		run_rows(t, xt, m, r0, r1, y + i * ldy, ldy, accumulate,
		    scratch);
	}
}

const struct kernel sparse_run_kernel = {
	.name = "stored values", .tolerance = 2e-5f, .fits = is_thin,
	.panel = run_panel, .scratch = run_scratch, .run = run_run
};
