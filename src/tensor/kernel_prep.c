/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What x is turned into before it is multiplied.
 */
#include "tensor/kernel_panel.h"

#include <math.h>
#include <string.h>

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

static size_t
blocks_bytes(int64_t n, int64_t cols)
{
	int64_t blocks = (n + PANEL_TOKENS - 1) / PANEL_TOKENS;

	return (size_t)(blocks * PANEL_TOKENS * cols) * sizeof(float);
}

static void
blocks_make(const struct kernel_x *x, int64_t i0, int64_t n)
{
	for (int64_t i = 0; i < n; i += PANEL_TOKENS)
		panel_code()->turn(x->f + (i0 + i) * x->cols, x->cols,
		    n - i < PANEL_TOKENS ? n - i : PANEL_TOKENS, x->cols,
		    (float *)x->blocks + (i0 + i) * x->cols);
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

void
prep_make(enum prep_kind kind, const struct kernel_x *x, int64_t i0, int64_t n)
{
	if (kind == PREP_BLOCKS)
		blocks_make(x, i0, n);
	if (kind != PREP_INT8)
		return;
	for (int64_t i = i0; i < i0 + n; i++)
		int8_row(x->f + i * x->cols, x->cols, x->ldq,
		    (int8_t *)x->q + i * x->ldq, (float *)x->scale + i);
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
