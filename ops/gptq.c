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
#include "ops/common.h"
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

/* The nearest code of v, and its value. */
static uint8_t
nearest_code(const struct tensor *g, float step, float min, float v,
    float *value)
{
	int bits = g->code.bits, most = (1 << bits) - 1, half = 1 << (bits - 1);
	float at;
	int code;

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
		float step, min, q, e;

		value_scale(s->grid, value_group_of(s->grid, r, c), &step, &min);
		s->code[r * s->cols + c] = nearest_code(s->grid, step, min,
		    w[j], &q);
		e = (w[j] - q) / u[j];
		if (e == 0)
			continue;
#pragma omp simd
		for (int64_t k = j + 1; k < s->cols; k++)
			w[k] -= e * u[k];
	}
}

enum pare_rc
gptq_solve(const float *w, const struct tensor *grid, const double *h,
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

/* ---- a matrix ---- */

/* The mean second moment of what all slots of t see, into a new *out; NULL there:
 * nothing was seen. */
static enum pare_rc
moments_of(const struct gptq *g, const struct tensor *t, double **out,
    struct pare_err *err)
{
	const struct op_calib *c = g->in->calib;
	struct slot_ref ref = SLOT_REF_START;
	size_t n = (size_t)t->cols * (size_t)t->cols;
	double seen = 0;

	*out = mem_big_zero(n, sizeof **out, err);
	if (*out == NULL)
		return PARE_ENOMEM;
	while (model_next_slot(g->in->model, &ref)) {
		const struct moments *x;

		if (model_slot(g->in->model, ref) != t)
			continue;
		x = statistics_of(c->statistics, ref);
		/* Also looked up, or read by a head: that was not seen. */
		if (x == NULL || x->gram == NULL || x->cols != t->cols) {
			seen = 0;
			break;
		}
		for (size_t i = 0; i < n; i++)
			(*out)[i] += x->gram[i];
		seen += (double)x->rows;
	}
	for (size_t i = 0; i < n && seen > 0; i++)
		(*out)[i] /= seen;
	if (seen == 0) {
		free(*out);
		*out = NULL;
	}
	return PARE_OK;
}

/* tr(D H D') for D = w - q; q NULL: of w itself. */
static double
error_of(const float *w, const struct tensor *q, const double *h,
    int64_t rows, int64_t cols)
{
	float *v = xmalloc((size_t)cols * sizeof *v);
	double *d = xmalloc((size_t)cols * sizeof *d), sum = 0;

	for (int64_t r = 0; r < rows; r++, w += cols) {
		memset(v, 0, (size_t)cols * sizeof *v);
		if (q != NULL)
			tensor_decode(q, r, 1, v);
		for (int64_t c = 0; c < cols; c++)
			d[c] = (double)w[c] - v[c];
		for (int64_t i = 0; i < cols; i++) {
			const double *row = h + i * cols;
			double part = 0;

			if (d[i] == 0)
				continue;
#pragma omp simd reduction(+ : part)
			for (int64_t j = 0; j < cols; j++)
				part += row[j] * d[j];
			sum += d[i] * part;
		}
	}
	free(v);
	free(d);
	return sum;
}

/* The facts and scales of `like` with other codes. */
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
	for (int k = PART_SCALE; k <= PART_MIN; k++)
		if (like->part[k].blob != NULL) {
			parts[k] = like->part[k];
			blob_ref(parts[k].blob);
		}
	return tensor_new(&facts, parts, NULL, err);
}

static struct tensor *
improve(struct gptq *g, const struct tensor *t, struct tensor *nearest,
    double *h, struct pare_err *err)
{
	size_t n = (size_t)(t->rows * t->cols);
	float *w = mem_big(n, sizeof *w, err);
	uint8_t *code = w == NULL ? NULL : mem_big(n, 1, err);
	struct tensor *out = NULL;

	if (code != NULL) {
		tensor_decode(t, 0, t->rows, w);
		if (gptq_solve(w, nearest, h, code, err) == PARE_OK)
			out = with_codes(nearest, code, err);
	}
	if (out != NULL) {
		double was = error_of(w, nearest, h, t->rows, t->cols);
		double is = error_of(w, out, h, t->rows, t->cols);

		g->nearest += was;
		g->energy += error_of(w, NULL, h, t->rows, t->cols);
		g->after += is < was ? is : was;
		if (is < was) {
			g->done++;
		} else {
			g->worse++;
			tensor_unref(out);
			out = tensor_ref(nearest);
		}
	}
	tensor_unref(nearest);
	free(w);
	free(code);
	return out;
}

struct tensor *
gptq_code(struct gptq *g, const struct tensor *t, struct tensor *nearest,
    struct pare_err *err)
{
	struct tensor *out;
	double *h;

	if ((t->form != FORM_F32 && t->form != FORM_F16 &&
	    t->form != FORM_BF16) || nearest->form != FORM_INT) {
		g->odd++;
		return nearest;
	}
	if (moments_of(g, t, &h, err) != PARE_OK) {
		tensor_unref(nearest);
		return NULL;
	}
	if (h == NULL) {
		g->unseen++;
		return nearest;
	}
	out = improve(g, t, nearest, h, err);
	free(h);
	return out;
}

void
gptq_note(const struct gptq *g, struct str *note)
{
	if (g->energy > 0)
		ops_note(note, "output error of %d matrices %.3g %% rounded to "
		    "nearest, %.3g %% now", g->done + g->worse,
		    100 * g->nearest / g->energy, 100 * g->after / g->energy);
	if (g->worse > 0)
		ops_note(note, "%d of them stay rounded to nearest, which was "
		    "no worse", g->worse);
	if (g->unseen > 0)
		ops_note(note, "%d matrices are rounded to nearest: their "
		    "inputs are not gathered", g->unseen);
	if (g->odd > 0)
		ops_note(note, "%d matrices are rounded to nearest: they were "
		    "packed, sparse or low rank", g->odd);
}
