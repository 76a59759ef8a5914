/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What x is turned into before it is multiplied.
 */
#include "tensor/kernel_panel.h"

#include <math.h>
#include <string.h>

enum {
	JOB_ROWS = 16,	/* of x that a thread turns at a time */
	JOB_COLS = 256	/* of a block */
};

static int64_t
int8_width(int64_t cols)
{
	return (cols + 63) / 64 * 64;
}

static size_t
int8_bytes(int64_t n, int64_t cols)
{
	return (size_t)(n * int8_width(cols)) + (size_t)n * sizeof(float);
}

static void
int8_point(void *memory, struct kernel_x *x)
{
	x->ldq = int8_width(x->cols);
	x->q = memory;
	x->scale = (const float *)(x->q + x->n * x->ldq);
}

/* The largest value becomes 127; rounded to nearest even. */
static void
int8_row(const float *f, int64_t cols, int64_t ldq, int8_t *q, float *scale)
{
	uint32_t bits = value_max_bits(f, cols);
	float most, times;

	memcpy(&most, &bits, sizeof(most));
	*scale = most / 127.0f;
	times = most > 0.0f && *scale > 0.0f ? 127.0f / most : 0.0f;
	times = times < INFINITY ? times : 0.0f;
	for (int64_t c = 0; c < cols; c++)
		q[c] = (int8_t)lrintf(f[c] * times);
	memset(q + cols, 0, (size_t)(ldq - cols));
}

static void
int8_run(const struct kernel_x *x, int64_t job)
{
	int64_t end = (job + 1) * JOB_ROWS;

	end = end < x->n ? end : x->n;
	for (int64_t i = job * JOB_ROWS; i < end; i++)
		int8_row(x->f + i * x->cols, x->cols, x->ldq,
		    (int8_t *)x->q + i * x->ldq, (float *)x->scale + i);
}

static size_t
blocks_bytes(int64_t n, int64_t cols)
{
	int64_t blocks = (n + PANEL_TOKENS - 1) / PANEL_TOKENS;

	return (size_t)(blocks * PANEL_TOKENS * cols) * sizeof(float);
}

/* A block is cut along its columns, for few rows of x make only one. */
static void
blocks_run(const struct kernel_x *x, int64_t job)
{
	int64_t per_block = (x->cols + JOB_COLS - 1) / JOB_COLS;
	int64_t i = job / per_block * PANEL_TOKENS;
	int64_t k = job % per_block * JOB_COLS;
	float *to = (float *)x->blocks + i * x->cols + k * PANEL_TOKENS;

	panel_code()->turn(x->f + i * x->cols + k, x->cols,
	    x->n - i < PANEL_TOKENS ? x->n - i : PANEL_TOKENS,
	    x->cols - k < JOB_COLS ? x->cols - k : JOB_COLS, to);
}

size_t
prep_bytes(enum prep_kind kind, int64_t n, int64_t cols)
{
	switch (kind) {
	case PREP_INT8:
		return int8_bytes(n, cols);
	case PREP_BLOCKS:
		return blocks_bytes(n, cols);
	default:
		return 0;
	}
}

void
prep_point(enum prep_kind kind, void *memory, struct kernel_x *x)
{
	if (kind == PREP_INT8)
		int8_point(memory, x);
	if (kind == PREP_BLOCKS)
		x->blocks = memory;
}

int64_t
prep_jobs(enum prep_kind kind, const struct kernel_x *x)
{
	if (kind == PREP_BLOCKS)
		return (x->n + PANEL_TOKENS - 1) / PANEL_TOKENS *
		    ((x->cols + JOB_COLS - 1) / JOB_COLS);
	return (x->n + JOB_ROWS - 1) / JOB_ROWS;
}

void
prep_run(enum prep_kind kind, const struct kernel_x *x, int64_t job)
{
	if (kind == PREP_INT8)
		int8_run(x, job);
	if (kind == PREP_BLOCKS)
		blocks_run(x, job);
}

void
prep_rows(enum prep_kind kind, struct kernel_x *x, int64_t i0, int64_t n)
{
	x->f += i0 * x->cols;
	x->n = n;
	if (kind == PREP_INT8) {
		x->q += i0 * x->ldq;
		x->scale += i0;
	}
	if (kind == PREP_BLOCKS)
		x->blocks += i0 * x->cols;
}
