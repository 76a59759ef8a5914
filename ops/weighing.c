/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/weighing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Weights below this share of their mean are lifted to it: nothing may weigh
 * nothing, for it is divided by. */
#define LEAST 1e-3

const char *const weighing_names[] = { "svd", "asvd", "whitened", "fisher",
	NULL };

unsigned
weighing_needs(enum weighing_kind k)
{
	return k == WEIGHING_SVD ? 0 : k == WEIGHING_FISHER ?
	    OP_NEED_GRAM_ALL | OP_NEED_SQUARES : OP_NEED_GRAM_ALL;
}

void
weighing_free(struct weighing *m)
{
	inputs_free(&m->inputs);
	free(m->row);
	free(m->col);
	memset(m, 0, sizeof *m);
}

const struct factor_metric *
weighing_by(const struct weighing *m)
{
	return m->made ? &m->by : NULL;
}

/* square[0..n) as weights: their power, the least of them lifted; false where all
 * are zero. */
static bool
weights_of(const double *square, int64_t n, double power, float *out)
{
	double mean = 0;

	for (int64_t i = 0; i < n; i++)
		mean += square[i] / (double)n;
	for (int64_t i = 0; i < n; i++)
		out[i] = (float)pow(fmax(square[i] / mean, LEAST), power);
	return mean > 0 && isfinite(mean);
}

static enum pare_rc
by_size(struct weighing *m, struct pare_err *err)
{
	size_t n = (size_t)m->inputs.cols;
	double *square;

	if (m->inputs.h == NULL)
		return PARE_OK;
	m->col = mem_big(n, sizeof *m->col, err);
	square = m->col == NULL ? NULL : mem_big(n, sizeof *square, err);
	if (square == NULL)
		return PARE_ENOMEM;
	for (size_t i = 0; i < n; i++)
		square[i] = m->inputs.h[i * (n + 1)];
	m->made = weights_of(square, (int64_t)n, 0.25, m->col);
	m->by.col = m->col;
	free(square);
	return PARE_OK;
}

static double
sum_of(const double *v, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += v[i];
	return sum;
}

/* As inputs_weigh() has it, for weights that are relative to their means. */
static double
scale_of(const struct weighing *m, const double *square,
    const struct tensor *t)
{
	double rows = sum_of(square, t->rows), trace = 0;

	for (int64_t i = 0; i < t->cols && m->inputs.h != NULL; i++)
		trace += m->inputs.h[i * (t->cols + 1)];
	if (m->inputs.h == NULL)
		return 0.5 * rows / (double)(t->rows * t->cols);
	return 0.5 * rows / (double)t->rows / trace;
}

/* Rows by their squared gradients; columns by the second moment of their inputs,
 * or by their squared gradients where no inputs were seen. */
static enum pare_rc
by_fisher(struct weighing *m, const struct curvature *c,
    const struct tensor *t, struct pare_err *err)
{
	const struct curve *k = c == NULL ? NULL : curvature_of(c, t);
	const double *square;

	if (k == NULL)
		return PARE_OK;
	square = c->square + k->at;
	m->row = mem_big((size_t)t->rows, sizeof *m->row, err);
	m->col = m->row == NULL ? NULL : mem_big((size_t)t->cols,
	    sizeof *m->col, err);
	if (m->col == NULL)
		return PARE_ENOMEM;
	m->made = weights_of(square, t->rows, 0.5, m->row) &&
	    weights_of(square + t->rows, t->cols, 0.5, m->col);
	m->by.row = m->row;
	m->by.second = m->inputs.h;
	m->by.col = m->inputs.h == NULL ? m->col : NULL;
	m->scale = m->made ? scale_of(m, square, t) : 0;
	return PARE_OK;
}

enum pare_rc
weighing_of(const struct op_input *in, const struct tensor *t,
    enum weighing_kind k, struct weighing *out, struct pare_err *err)
{
	enum pare_rc rc;

	memset(out, 0, sizeof *out);
	if (k == WEIGHING_SVD)
		return PARE_OK;
	rc = inputs_of(in, t, &out->inputs, err);
	if (rc == PARE_OK && k == WEIGHING_ASVD)
		rc = by_size(out, err);
	if (rc == PARE_OK && k == WEIGHING_FISHER)
		rc = by_fisher(out, in->calib != NULL ? in->calib->squares :
		    NULL, t, err);
	if (k == WEIGHING_WHITENED) {
		out->by.second = out->inputs.h;
		out->made = out->inputs.h != NULL;
	}
	if (rc != PARE_OK)
		weighing_free(out);
	return rc;
}
