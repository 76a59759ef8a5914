/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * With H the second moment of the inputs plus a hundredth of its mean diagonal,
 * H^-1 = U'U and columns in the order of falling H_jj, for each column j
 *
 *	e = (w_j - q_j) / U_jj;  w_k -= e U_jk for all k > j
 *
 * Rows do not meet each other, so threads share them.
 */
#include "ops/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/inverse.h"
#include "tensor/kernel.h"
#include "tensor/value.h"

struct solve {
	const float *w;
	const struct tensor *grid;
	int64_t rows, cols;
	struct inverse v;	/* columns of the largest inputs first */
	uint8_t *code;
};

/* The nearest of 2^bits ascending values; the lower one of two. */
static uint8_t
nearest_value(const float *table, int bits, float v, float *value)
{
	int low = 0, high = (1 << bits) - 1;

	while (low < high) {
		int mid = (low + high) / 2;

		if (v > 0.5f * (table[mid] + table[mid + 1]))
			low = mid + 1;
		else
			high = mid;
	}
	*value = table[low];
	return (uint8_t)low;
}

/* The nearest code of v, and its value. */
static uint8_t
nearest_code(const struct tensor *g, int64_t group, float v, float *value)
{
	int bits = g->code.bits, most = (1 << bits) - 1, half = 1 << (bits - 1);
	float at, step, min;
	int code;

	if (g->form == FORM_TABLE)
		return nearest_value((const float *)g->part[PART_TABLE].p +
		    (group << bits), bits, v, value);
	value_scale(g, group, &step, &min);
	if (g->code.scheme == CODE_AFFINE) {
		at = step > 0 ? rintf((v - min) / step) : 0;
		code = at < 0 ? 0 : at > (float)most ? most : (int)at;
		*value = min + step * (float)code;
	} else if (bits == 1) {
		code = v >= 0;
		*value = code ? step : -step;
	} else {
		at = step > 0 ? rintf(v / step) : 0;
		at = at < (float)(1 - half) ? (float)(1 - half) :
		    at > (float)(half - 1) ? (float)(half - 1) : at;
		code = (int)at + half;
		*value = step * at;
	}
	return (uint8_t)code;
}

static void
solve_row(const struct solve *s, int64_t r, float *w)
{
	for (int64_t j = 0; j < s->cols; j++)
		w[j] = s->v.dead[s->v.order[j]] ? 0 :
		    s->w[r * s->cols + s->v.order[j]];
	for (int64_t j = 0; j < s->cols; j++) {
		const float *u = s->v.u + j * s->cols;
		int64_t c = s->v.order[j];
		float q, e;

		s->code[r * s->cols + c] = nearest_code(s->grid,
		    value_group_of(s->grid, r, c), w[j], &q);
		e = (w[j] - q) / u[j];
		if (e == 0)
			continue;
#pragma omp simd
		for (int64_t k = j + 1; k < s->cols; k++)
			w[k] -= e * u[k];
	}
}

enum pare_rc
gptq_solve(const float *w, const struct tensor *grid, const float *h,
    uint8_t *code, struct pare_err *err)
{
	struct solve s = { .w = w, .grid = grid, .rows = grid->rows,
		.cols = grid->cols, .code = code };
	int threads = kernel_threads();
	enum pare_rc rc = inverse_of(h, s.cols, true, &s.v, err);
	float *row;

	if (rc != PARE_OK)
		return rc;
	row = mem_big((size_t)(threads * s.cols), sizeof *row, err);
	if (row != NULL) {
#pragma omp parallel for schedule(static) num_threads(threads)
		for (int t = 0; t < threads; t++)
			for (int64_t r = t; r < s.rows; r += threads)
				solve_row(&s, r, row + t * s.cols);
	}
	rc = row == NULL ? PARE_ENOMEM : PARE_OK;
	free(row);
	inverse_free(&s.v);
	return rc;
}

/* The facts and levels of `like` with other codes. */
static struct tensor *
with_codes(const struct tensor *like, const uint8_t *code,
    struct pare_err *err)
{
	int64_t row = value_row_bytes(like);
	struct part parts[PART_COUNT] = { { NULL, NULL, 0 } };
	struct tensor facts = { .form = like->form, .values = like->values,
		.ndim = like->ndim, .rows = like->rows, .cols = like->cols,
		.code = like->code, .stored = like->stored };
	uint8_t *data = mem_big_zero((size_t)(row * like->rows), 1, err);
	struct part *p = &parts[PART_DATA];

	if (data == NULL)
		return NULL;
	atomic_init(&facts.nonzero, atomic_load(&like->nonzero));
	for (int64_t r = 0; r < like->rows; r++)
		code_pack(code + r * like->cols, like->cols, like->code.bits,
		    data + r * row);
	*p = (struct part){ blob_heap(data, (size_t)(row * like->rows)), data,
		(size_t)(row * like->rows) };
	for (int k = PART_SCALE; k <= PART_TABLE; k++)
		if (like->part[k].blob != NULL) {
			parts[k] = like->part[k];
			blob_ref(parts[k].blob);
		}
	return tensor_new(&facts, parts, NULL, err);
}

struct tensor *
gptq_code(const float *w, const struct tensor *grid, const float *h,
    struct pare_err *err)
{
	uint8_t *code = mem_big((size_t)(grid->rows * grid->cols), 1, err);
	struct tensor *out = NULL;

	if (code != NULL && gptq_solve(w, grid, h, code, err) == PARE_OK)
		out = with_codes(grid, code, err);
	free(code);
	return out;
}
