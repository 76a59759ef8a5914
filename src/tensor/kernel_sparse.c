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
	FEW_ROWS = 3
};

/* Share of weights below which multiplying only these wins. */
static const double sparse_limit = 0.10;

static bool
is_thin(const struct tensor *t, int64_t n)
{
	return n <= FEW_ROWS ||
	    (double)t->stored < sparse_limit * (double)value_count(t);
}

/* Values and columns of a row, and the sums of a run. */
static size_t
row_bytes(const struct tensor *t)
{
	return ((size_t)t->cols * 8 + RUN * sizeof(float) + 63) & ~(size_t)63;
}

static size_t
transposed_bytes(const struct tensor *t, int64_t n)
{
	return n <= FEW_ROWS ? 0 : (size_t)t->cols * RUN * sizeof(float);
}

size_t
sparse_scratch(const struct tensor *t, int64_t n)
{
	if (!is_thin(t, n))
		return tile_scratch(t, n);
	return transposed_bytes(t, n) + row_bytes(t) *
	    (size_t)kernel_threads();
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
gather_rows(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, char *scratch)
{
	size_t bytes = row_bytes(t);

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (t->stored > VALUE_PARALLEL / 4)
	for (int64_t r = 0; r < t->rows; r++) {
		float *f = (float *)(scratch + bytes * (size_t)kernel_thread());
		struct value_row row = value_row_get(t, r, f,
		    (int32_t *)(f + t->cols));

		for (int64_t i = 0; i < n; i++) {
			float s = gather_dot(&row, x + i * t->cols);
			float *at = y + i * t->rows + r;

			*at = accumulate ? *at + s : s;
		}
	}
}

/* RUN rows of x (m of them real) to xt (cols, RUN). */
static void
transpose(const float *x, int64_t m, int64_t cols, float *xt)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (cols > 512)
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
run_rows(const struct tensor *t, const float *xt, int64_t m, float *y,
    bool accumulate, char *scratch)
{
	size_t bytes = row_bytes(t);

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (t->stored > VALUE_PARALLEL / 16)
	for (int64_t r = 0; r < t->rows; r++) {
		float *f = (float *)(scratch + bytes * (size_t)kernel_thread());
		float *sum = f + 2 * t->cols;
		struct value_row row = value_row_get(t, r, f,
		    (int32_t *)(f + t->cols));

		run_row(&row, xt, sum);
		for (int64_t i = 0; i < m; i++) {
			float *at = y + i * t->rows + r;

			*at = accumulate ? *at + sum[i] : sum[i];
		}
	}
}

void
sparse_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	float *xt = scratch;
	char *rest = (char *)scratch + transposed_bytes(t, n);

	if (!is_thin(t, n)) {
		tile_matmul(t, x, n, y, accumulate, scratch);
		return;
	}
	if (n <= FEW_ROWS) {
		gather_rows(t, x, n, y, accumulate, scratch);
		return;
	}
	for (int64_t i = 0; i < n; i += RUN) {
		int64_t m = n - i < RUN ? n - i : RUN;

		transpose(x + i * t->cols, m, t->cols, xt);
		run_rows(t, xt, m, y + i * t->rows, accumulate, rest);
	}
}
