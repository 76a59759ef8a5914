/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/gobo.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ops/common.h"
#include "tensor/form.h"

/* The log-likelihood, less that of the mean, below which a weight is an outlier:
 * 3.29 deviations. */
#define LEAST (-3.29 * 3.29 / 2)

/* 1 into mask where w is an outlier; how many. */
static int64_t
mark(const float *w, int64_t n, double *mean, uint8_t *mask)
{
	double sum = 0, square = 0, variance;
	int64_t kept = 0;

	for (int64_t i = 0; i < n; i++)
		sum += w[i];
	*mean = sum / (double)n;
	for (int64_t i = 0; i < n; i++)
		square += (w[i] - *mean) * (w[i] - *mean);
	variance = square / (double)n;
	for (int64_t i = 0; i < n; i++) {
		double d = w[i] - *mean;

		mask[i] = variance > 0 && -d * d / (2 * variance) < LEAST;
		kept += mask[i];
	}
	return kept;
}

static double
squares(const float *w, const struct tensor *q, float *tmp)
{
	int64_t n = q->rows * q->cols;
	double sum = 0;

	tensor_decode(q, 0, q->rows, tmp);
	for (int64_t i = 0; i < n; i++)
		sum += ((double)w[i] - tmp[i]) * ((double)w[i] - tmp[i]);
	return sum;
}

/* The codes of what is no outlier; outliers stand at the mean meanwhile. */
static struct tensor *
code_rest(const struct tensor *t, const float *w, const uint8_t *mask,
    double mean, const struct quant_spec *spec,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *rest, *codes;
	float *data;

	rest = tensor_new_f32(2, t->rows, t->cols, &data, err);
	if (rest == NULL)
		return NULL;
	for (int64_t i = 0; i < t->rows * t->cols; i++)
		data[i] = mask[i] != 0 ? (float)mean : w[i];
	codes = tensor_quantize(rest, spec, ctx, err);
	tensor_unref(rest);
	return codes;
}

/* Adds to the sums what came of it. */
static enum pare_rc
judge(struct gobo *g, const struct tensor *t, const float *w, float *tmp,
    const struct tensor *made, int64_t kept, const struct quant_spec *spec,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *plain = tensor_quantize(t, spec, ctx, err);

	if (plain == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < t->rows * t->cols; i++)
		g->energy += (double)w[i] * w[i];
	g->plain += squares(w, plain, tmp);
	g->now += squares(w, made, tmp);
	g->outliers += kept;
	g->weights += t->rows * t->cols;
	g->done++;
	tensor_unref(plain);
	return PARE_OK;
}

static struct tensor *
code_real(struct gobo *g, const struct tensor *t, float *w, uint8_t *mask,
    const struct quant_spec *spec, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct tensor *codes, *made;
	int64_t kept, n = t->rows * t->cols;
	double mean;

	tensor_decode(t, 0, t->rows, w);
	kept = mark(w, n, &mean, mask);
	codes = kept == 0 || ctx->estimate ? tensor_quantize(t, spec, ctx,
	    err) : code_rest(t, w, mask, mean, spec, ctx, err);
	if (codes == NULL)
		return NULL;
	made = kept == 0 ? tensor_ref(codes) : tensor_patch(codes, t, mask,
	    kept, ctx, err);
	tensor_unref(codes);
	if (made != NULL && !ctx->estimate && judge(g, t, w, w + n, made, kept,
	    spec, ctx, err) != PARE_OK) {
		tensor_unref(made);
		return NULL;
	}
	return made;
}

struct tensor *
gobo_code(struct gobo *g, const struct tensor *t,
    const struct quant_spec *spec, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	size_t n = (size_t)(t->rows * t->cols);
	struct tensor *codes, *made = NULL;
	float *w;
	uint8_t *mask;

	if (form_table[t->form].is_sparse || t->form == FORM_LOWRANK) {
		g->odd += !ctx->estimate;
		return tensor_quantize(t, spec, ctx, err);
	}
	if (t->ghost) {
		codes = tensor_quantize(t, spec, ctx, err);
		made = codes == NULL ? NULL : tensor_patch(codes, t, NULL,
		    (int64_t)n / 1000, ctx, err);
		tensor_unref(codes);
		return made;
	}
	w = mem_big(2 * n, sizeof *w, err);
	mask = w == NULL ? NULL : mem_big(n, 1, err);
	if (mask != NULL)
		made = code_real(g, t, w, mask, spec, ctx, err);
	free(w);
	free(mask);
	return made;
}

void
gobo_note(const struct gobo *g, struct str *note)
{
	if (g->done > 0)
		ops_note(note, "%.3g %% of the weights of %d matrices stay "
		    "floats; squared error %.3g %% by means alone, %.3g %% "
		    "now", 100.0 * (double)g->outliers / (double)g->weights,
		    g->done, g->energy > 0 ? 100 * g->plain / g->energy : 0,
		    g->energy > 0 ? 100 * g->now / g->energy : 0);
	if (g->done > 0 && g->now >= g->plain)
		ops_note(note, "means alone would have been no worse");
	if (g->odd > 0)
		ops_note(note, "%d matrices have means alone: they were "
		    "sparse or low rank", g->odd);
}
