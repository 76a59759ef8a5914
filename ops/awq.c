/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/awq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/levels.h"

enum { POWERS = 20 };

static double
energy_of(const struct awq *a, int64_t c)
{
	return a->energy != NULL ? a->energy[c] :
	    a->x->h[c * (a->x->cols + 1)];
}

/* s for the power, between its own inverse bounds; inputs that are always 0 count
 * as the least of the others. */
static void
scales_of(const struct awq *a, double power, float *s)
{
	double low = INFINITY, high = 0, middle;

	for (int64_t c = 0; c < a->x->cols; c++) {
		double d = energy_of(a, c);

		low = d > 0 && d < low ? d : low;
		high = d > high ? d : high;
	}
	low = pow(low, power / 2);
	high = pow(high, power / 2);
	middle = sqrt(low * high);
	for (int64_t c = 0; c < a->x->cols; c++) {
		double d = energy_of(a, c);

		s[c] = (float)((d > 0 ? pow(d, power / 2) : low) / middle);
	}
}

/* Codes of t diag(s). */
static struct tensor *
code_scaled(const struct awq *a, int i, const float *s,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct tensor *t = a->t[i];
	struct tensor *scaled, *made = NULL;
	struct quant_levels l = { NULL, NULL };
	double *weight = NULL, *range = NULL;
	struct levels v;
	float *data;

	scaled = tensor_new_f32(2, t->rows, t->cols, &data, err);
	if (scaled == NULL)
		return NULL;
	for (int64_t k = 0; k < t->rows * t->cols; k++)
		data[k] = a->w[i][k] * s[k % t->cols];
	if (!a->clip) {
		made = tensor_quantize(scaled, a->spec, ctx, err);
		tensor_unref(scaled);
		return made;
	}
	v = (struct levels){ data, t->rows, t->cols, a->spec->group < 0 ?
		t->cols : a->spec->group, a->spec->scheme, a->spec->bits };
	weight = xcalloc((size_t)t->cols, sizeof *weight);
	range = xcalloc((size_t)levels_groups(&v) * 2, sizeof *range);
	for (int64_t c = 0; c < t->cols; c++)
		weight[c] = a->x->h[c * (t->cols + 1)] / s[c] / s[c];
	levels_clip(&v, weight, range);
	l.range = range;
	made = tensor_quantize_levels(scaled, a->spec, &l, ctx, err);
	tensor_unref(scaled);
	free(weight);
	free(range);
	return made;
}

/* The output error of codes that see x / s. */
static enum pare_rc
error_of(const struct awq *a, int i, const struct tensor *codes,
    const float *s, float *q, double *error, struct pare_err *err)
{
	const struct tensor *t = a->t[i];
	struct inputs x = *a->x;
	enum pare_rc rc;
	double e;

	if (a->row != NULL)
		x.row = a->row[i];

	tensor_decode(codes, 0, t->rows, q);
	for (int64_t k = 0; k < t->rows * t->cols; k++)
		q[k] /= s[k % t->cols];
	rc = inputs_error(&x, a->w[i], q, t->rows, false, &e, err);
	*error += rc == PARE_OK ? e : 0;
	return rc;
}

/* One power; the better of it and what is in made. */
static enum pare_rc
try_power(const struct awq *a, double power, const struct transform_ctx *ctx,
    float *s, float *q, double *best, float *by, struct tensor **made,
    struct pare_err *err)
{
	struct tensor *codes[4] = { NULL };
	enum pare_rc rc = PARE_OK;
	double error = 0;
	bool take;

	scales_of(a, power, s);
	for (int i = 0; i < a->n && rc == PARE_OK; i++) {
		codes[i] = code_scaled(a, i, s, ctx, err);
		rc = codes[i] == NULL ? err->rc : error_of(a, i, codes[i], s,
		    q, &error, err);
	}
	take = rc == PARE_OK && (made[0] == NULL || error < *best);
	for (int i = 0; i < a->n; i++) {
		tensor_unref(take ? made[i] : codes[i]);
		made[i] = take ? codes[i] : made[i];
	}
	if (!take)
		return rc;
	*best = error;
	for (int64_t c = 0; c < a->x->cols; c++)
		by[c] = 1 / s[c];
	return PARE_OK;
}

enum pare_rc
awq_search(const struct awq *a, const struct transform_ctx *ctx, float *by,
    struct tensor **made, struct pare_err *err)
{
	int64_t cols = a->x->cols, most = 0;
	enum pare_rc rc = PARE_OK;
	double best = INFINITY;
	float *s, *q;

	for (int i = 0; i < a->n; i++) {
		most = a->t[i]->rows > most ? a->t[i]->rows : most;
		made[i] = NULL;
	}
	s = xcalloc((size_t)cols, sizeof *s);
	q = mem_big((size_t)(most * cols), sizeof *q, err);
	rc = q == NULL ? PARE_ENOMEM : PARE_OK;
	for (int k = 0; k < POWERS && rc == PARE_OK; k++)
		rc = task_canceled(ctx->task) ? task_error(err) :
		    try_power(a, k / (double)POWERS, ctx, s, q, &best, by,
		    made, err);
	for (int i = 0; i < a->n && rc != PARE_OK; i++)
		tensor_unref(made[i]);
	free(s);
	free(q);
	return rc;
}
