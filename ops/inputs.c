/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/inputs.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

enum { BLOCK = 1 << 20 };	/* values of a block of rows */

enum pare_rc
inputs_check(const struct op_input *in, const char *what,
    struct pare_err *err)
{
	return in->calib != NULL && in->calib->statistics != NULL ? PARE_OK :
	    score_missing(what, err);
}

void
inputs_free(struct inputs *x)
{
	free(x->h);
	free(x->mean);
	free(x->weight);
	memset(x, 0, sizeof *x);
}

/* Adds one place where t is used; false: it was not seen there. */
static bool
add_place(struct inputs *x, const struct moments *p)
{
	size_t n = (size_t)x->cols * (size_t)x->cols;

	if (p == NULL || p->gram == NULL || p->cols != x->cols)
		return false;
	for (size_t i = 0; i < n; i++)
		x->h[i] += p->gram[i];
	for (int64_t i = 0; i < x->cols; i++)
		x->mean[i] += p->sum[i];
	x->seen += (double)p->rows;
	return true;
}

static bool
add_places(struct inputs *x, const struct op_input *in,
    const struct tensor *t)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(in->model, &ref))
		if (model_slot(in->model, ref) == t &&
		    !add_place(x, statistics_of(in->calib->statistics, ref)))
			return false;
	return true;
}

/* Sums become means; *trace is the sum of the mean squares. */
static void
take_means(struct inputs *x, double *trace)
{
	size_t n = (size_t)x->cols;

	*trace = 0;
	for (size_t i = 0; i < n * n && x->seen > 0; i++)
		x->h[i] = (float)(x->h[i] / x->seen);
	for (size_t i = 0; i < n && x->seen > 0; i++) {
		x->mean[i] /= x->seen;
		*trace += x->h[i * (n + 1)];
	}
}

/* What there is to go by is kept. */
static enum pare_rc
settle(struct inputs *x, bool everywhere, struct pare_err *err)
{
	int64_t cols = x->cols;
	double trace = 0;
	bool zero;

	if (everywhere)
		take_means(x, &trace);
	zero = everywhere && x->seen > 0 && trace == 0;
	if (everywhere && trace > 0 && isfinite(trace))
		return PARE_OK;
	inputs_free(x);
	x->cols = cols;
	x->zero = zero;
	if (isfinite(trace))
		return PARE_OK;
	err_set(err, PARE_EUSER, "the moments of the calib samples are not "
	    "finite");
	return err_hint(err, "eval shows whether the model still works");
}

enum pare_rc
inputs_of(const struct op_input *in, const struct tensor *t,
    struct inputs *out, struct pare_err *err)
{
	size_t n = (size_t)t->cols;
	struct slot_ref ref = SLOT_REF_START;
	bool seen = in->calib != NULL && in->calib->statistics != NULL;

	memset(out, 0, sizeof *out);
	out->cols = t->cols;
	/* An embedding is wide open: look before taking its square. */
	while (seen && model_next_slot(in->model, &ref))
		if (model_slot(in->model, ref) == t)
			seen = statistics_of(in->calib->statistics, ref) !=
			    NULL;
	if (!seen)
		return PARE_OK;
	out->h = mem_big_zero(n * n, sizeof *out->h, err);
	out->mean = out->h == NULL ? NULL : mem_big_zero(n,
	    sizeof *out->mean, err);
	if (out->mean == NULL) {
		inputs_free(out);
		return PARE_ENOMEM;
	}
	return settle(out, add_places(out, in, t), err);
}

bool
inputs_weigh(struct inputs *x, const struct curvature *c,
    const struct tensor *t, struct pare_err *err)
{
	const struct curve *k = c == NULL ? NULL : curvature_of(c, t);
	const double *square;
	double trace = 0, all = 0, *col;

	err->rc = PARE_OK;
	if (k == NULL)
		return false;
	square = c->square + k->at;
	for (int64_t i = 0; i < t->cols && x->h != NULL; i++)
		trace += x->h[i * (t->cols + 1)];
	for (int64_t i = 0; i < t->rows; i++)
		all += square[i];
	x->weight = mem_big((size_t)(t->rows + t->cols), sizeof *x->weight,
	    err);
	if (x->weight == NULL)
		return false;
	for (int64_t i = 0; i < t->rows; i++)
		x->weight[i] = all > 0 ? 0.5 * square[i] /
		    (x->h != NULL ? trace : all) : 0;
	col = x->weight + t->rows;
	for (int64_t i = 0; i < t->cols; i++)
		col[i] = square[t->rows + i];
	x->row = x->weight;
	x->col = x->h != NULL ? NULL : col;
	return true;
}

/* tr(D H D') of n rows d from row r on, weighed, less what a bias can make up for
 * where `centred`; p is as large as d. */
static double
change_of(const struct inputs *x, int64_t r, const float *d, float *p,
    int64_t n, bool centred)
{
	double sum = 0;

	if (x->h != NULL)
		cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, (int)n,
		    (int)x->cols, 1, x->h, (int)x->cols, d, (int)x->cols, 0,
		    p, (int)x->cols);
	else
		memcpy(p, d, (size_t)(n * x->cols) * sizeof *p);
	for (int64_t i = 0; i < n; i++) {
		const float *a = d + i * x->cols, *b = p + i * x->cols;
		double one = 0, mean = 0;

		for (int64_t c = 0; c < x->cols; c++)
			one += (double)a[c] * b[c] * (x->col != NULL ?
			    x->col[c] : 1);
		for (int64_t c = 0; c < x->cols && centred; c++)
			mean += a[c] * x->mean[c];
		one = fmax(0, one - mean * mean);
		sum += one * (x->row != NULL ? x->row[r + i] : 1);
	}
	return sum;
}

/* Rows of a block. */
static int64_t
block_rows(const struct inputs *x)
{
	return BLOCK / x->cols < 16 ? 16 : BLOCK / x->cols;
}

enum pare_rc
inputs_error(const struct inputs *x, const float *w, const float *q,
    int64_t rows, bool centred, double *out, struct pare_err *err)
{
	int64_t step = block_rows(x);
	size_t room = (size_t)((rows < step ? rows : step) * x->cols);
	float *d = mem_big(2 * room, sizeof *d, err);

	*out = 0;
	if (d == NULL)
		return PARE_ENOMEM;
	kernel_bind();
	for (int64_t r = 0; r < rows; r += step) {
		int64_t n = rows - r < step ? rows - r : step;
		int64_t at = r * x->cols;

		for (int64_t i = 0; i < n * x->cols; i++)
			d[i] = w[at + i] - (q == NULL ? 0 : q[at + i]);
		*out += change_of(x, r, d, d + room, n, centred);
	}
	free(d);
	return PARE_OK;
}

enum pare_rc
inputs_change(const struct inputs *x, const struct tensor *t,
    const struct tensor *other, struct task *task, double *out,
    struct pare_err *err)
{
	int64_t step = block_rows(x);
	size_t room = (size_t)step * (size_t)x->cols;
	float *d = mem_big(2 * room, sizeof *d, err), *p = d + room;
	enum pare_rc rc = d == NULL ? PARE_ENOMEM : PARE_OK;

	*out = 0;
	kernel_bind();
	for (int64_t r = 0; r < t->rows && rc == PARE_OK; r += step) {
		int64_t n = t->rows - r < step ? t->rows - r : step;

		if (task_canceled(task)) {
			rc = task_error(err);
			break;
		}
		tensor_decode(t, r, n, d);
		if (other != NULL) {
			tensor_decode(other, r, n, p);
			for (int64_t i = 0; i < n * x->cols; i++)
				d[i] -= p[i];
		}
		*out += change_of(x, r, d, p, n, false);
	}
	free(d);
	return rc;
}
