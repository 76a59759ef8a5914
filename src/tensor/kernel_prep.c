/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What x is turned into before it is multiplied.
 */
#include "tensor/kernel_bf16.h"
#include "tensor/kernel_block.h"
#include "tensor/kernel_code.h"
#include "tensor/kernel_panel.h"

#include <string.h>

static int64_t
int8_width(int64_t cols)
{
	return (cols + 63) / 64 * 64;
}

/* Scales of a row. */
static int64_t
int8_scales(enum prep_kind kind, int64_t ldq)
{
	return kind == PREP_INT8 ? 1 : ldq / BLOCK_X;
}

static size_t
int8_bytes(enum prep_kind kind, int64_t n, int64_t cols)
{
	int64_t ldq = int8_width(cols);

	return (size_t)(n * ldq) + (size_t)(n * ldq / CODE_SUM) *
	    sizeof(int16_t) + (size_t)(n * int8_scales(kind, ldq)) *
	    sizeof(float);
}

static void
int8_point(void *memory, struct kernel_x *x)
{
	x->ldq = int8_width(x->cols);
	x->q = memory;
	x->sum = (const int16_t *)(x->q + x->n * x->ldq);
	x->scale = (const float *)(x->sum + x->n * x->ldq / CODE_SUM);
}

static void
int8_row(const struct kernel_x *x, int64_t i)
{
	int8_t *q = (int8_t *)x->q + i * x->ldq;
	int16_t *sum = (int16_t *)x->sum + i * x->ldq / CODE_SUM;
	int64_t sums = (x->cols + CODE_SUM - 1) / CODE_SUM;

	((float *)x->scale)[i] = code_round(x->f + i * x->cols, x->cols, q,
	    sum);
	memset(q + x->cols, 0, (size_t)(x->ldq - x->cols));
	memset(sum + sums, 0, (size_t)(x->ldq / CODE_SUM - sums) *
	    sizeof(*sum));
}

/* Rows of PREP_INT8_TURNED side by side. */

enum { SIDE = 16 };

static int64_t
side_rows(int64_t n)
{
	return (n + SIDE - 1) / SIDE * SIDE;
}

static int64_t
side_chunks(int64_t cols)
{
	return (cols + CODE_CHUNK - 1) / CODE_CHUNK;
}

static size_t
turned_bytes(int64_t n, int64_t cols)
{
	return (size_t)side_rows(n) * ((size_t)int8_width(cols) +
	    (size_t)side_chunks(cols) * sizeof(int32_t) + sizeof(float));
}

static void
turned_point(void *memory, struct kernel_x *x)
{
	int64_t n = side_rows(x->n);

	x->ldq = int8_width(x->cols);
	x->q = memory;
	x->total = (const int32_t *)(const void *)(x->q + n * x->ldq);
	x->scale = (const float *)(x->total + n * side_chunks(x->cols));
}

static void
turned_make(const struct kernel_x *x, int64_t i0, int64_t n)
{
#if CPU_X86
	for (int64_t i = 0; i < n; i += SIDE)
		code_turn(x, i0 + i, n - i < SIDE ? n - i : SIDE);
#endif
}

/* For blocks alone, whose rows are whole 32s. */
static void
int8_row_32(const struct kernel_x *x, int64_t i)
{
	int8_t *q = (int8_t *)x->q + i * x->ldq;
	int16_t *sum = (int16_t *)x->sum + i * x->ldq / CODE_SUM;
	float *scale = (float *)x->scale + i * (x->ldq / BLOCK_X);
	const float *v = x->f + i * x->cols;

	for (int64_t c = 0; c < x->cols; c += BLOCK_X)
		scale[c / BLOCK_X] = block_round(v + c, q + c, sum + c /
		    CODE_SUM);
	if (x->cols == x->ldq)
		return;
	scale[x->cols / BLOCK_X] = 0.0f;
	memset(q + x->cols, 0, BLOCK_X);
	memset(sum + x->cols / CODE_SUM, 0, 2 * sizeof(*sum));
}

/* Of both PREP_BF16. */
static int
bf16_parts(enum prep_kind kind)
{
	return kind == PREP_BF16_SPLIT ? 2 : 1;
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
	case PREP_INT8_32:
		return int8_bytes(kind, n, cols);
	case PREP_INT8_TURNED:
		return turned_bytes(n, cols);
	case PREP_BLOCKS:
		return blocks_bytes(n, cols);
	case PREP_BF16:
	case PREP_BF16_SPLIT:
		return bf16_prep_bytes(bf16_parts(kind), n, cols);
	default:
		return 0;
	}
}

void
prep_point(enum prep_kind kind, void *memory, struct kernel_x *x)
{
	if (kind == PREP_INT8 || kind == PREP_INT8_32)
		int8_point(memory, x);
	if (kind == PREP_INT8_TURNED)
		turned_point(memory, x);
	if (kind == PREP_BLOCKS)
		x->blocks = memory;
	if (kind == PREP_BF16 || kind == PREP_BF16_SPLIT)
		x->halves = memory;
}

void
prep_make(enum prep_kind kind, const struct kernel_x *x, int64_t i0, int64_t n)
{
	if (kind == PREP_BLOCKS)
		blocks_make(x, i0, n);
	if (kind == PREP_BF16 || kind == PREP_BF16_SPLIT)
		bf16_prep_make(bf16_parts(kind), x, i0, n);
	for (int64_t i = i0; kind == PREP_INT8 && i < i0 + n; i++)
		int8_row(x, i);
	for (int64_t i = i0; kind == PREP_INT8_32 && i < i0 + n; i++)
		int8_row_32(x, i);
	if (kind == PREP_INT8_TURNED)
		turned_make(x, i0, n);
}

void
prep_rows(enum prep_kind kind, struct kernel_x *x, int64_t i0, int64_t n)
{
	x->f += i0 * x->cols;
	x->n = n;
	if (kind == PREP_INT8 || kind == PREP_INT8_32) {
		x->q += i0 * x->ldq;
		x->sum += i0 * x->ldq / CODE_SUM;
		x->scale += i0 * int8_scales(kind, x->ldq);
	}
	if (kind == PREP_INT8_TURNED) {
		x->q += i0 * x->ldq;
		x->total += i0 * side_chunks(x->cols);
		x->scale += i0;
	}
	if (kind == PREP_BLOCKS)
		x->blocks += i0 * x->cols;
	if (kind == PREP_BF16 || kind == PREP_BF16_SPLIT)
		x->halves += i0 * bf16_prep_row(bf16_parts(kind), x->cols);
}
