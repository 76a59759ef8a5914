/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/seen.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "tensor/kernel.h"

enum { ROWS = 128 };	/* of a product with H at a time */

enum pare_rc
seen_check(const struct op_input *in, const char *what, struct pare_err *err)
{
	return in->calib != NULL && in->calib->statistics != NULL ? PARE_OK :
	    score_missing(what, err);
}

void
seen_free(struct seen *s)
{
	free(s->gram);
	free(s->mean);
	s->gram = s->mean = NULL;
}

/* Adds what one slot saw; false: that is not known. */
static bool
add_slot(struct seen *s, const struct moments *x, double *rows)
{
	size_t n = (size_t)s->cols;

	if (x == NULL || x->gram == NULL || x->cols != s->cols)
		return false;
	for (size_t i = 0; i < n * n; i++)
		s->gram[i] += x->gram[i];
	for (size_t i = 0; i < n; i++)
		s->mean[i] += x->sum[i];
	*rows += (double)x->rows;
	return true;
}

/* Divides by the rows, and judges. */
static enum pare_rc
settle(struct seen *s, double rows, struct pare_err *err)
{
	size_t n = (size_t)s->cols;
	double trace = 0;

	s->state = rows > 0 ? SEEN_WELL : SEEN_NOT;
	for (size_t i = 0; i < n * n && rows > 0; i++)
		s->gram[i] /= rows;
	for (size_t i = 0; i < n && rows > 0; i++) {
		s->mean[i] /= rows;
		trace += s->gram[i * (n + 1)];
	}
	if (rows > 0 && trace == 0)
		s->state = SEEN_ZERO;
	if (isfinite(trace))
		return PARE_OK;
	err_set(err, PARE_EUSER, "the moments of the calib samples are not "
	    "finite");
	return err_hint(err, "eval shows whether the model still works");
}

enum pare_rc
seen_get(const struct op_input *in, const struct tensor *t, struct seen *out,
    struct pare_err *err)
{
	struct slot_ref ref = SLOT_REF_START;
	size_t n = (size_t)t->cols;
	enum pare_rc rc = PARE_ENOMEM;
	double rows = 0;

	*out = (struct seen){ .cols = t->cols };
	out->gram = mem_big_zero(n * n, sizeof *out->gram, err);
	if (out->gram != NULL)
		out->mean = mem_big_zero(n, sizeof *out->mean, err);
	while (out->mean != NULL && model_next_slot(in->model, &ref))
		if (model_slot(in->model, ref) == t && !add_slot(out,
		    statistics_of(in->calib->statistics, ref), &rows)) {
			rows = 0;
			break;
		}
	if (out->mean != NULL)
		rc = settle(out, rows, err);
	if (rc != PARE_OK || out->state != SEEN_WELL)
		seen_free(out);
	return rc;
}

/* tr(D (H - m m') D') of n rows of D, weighed by row; m NULL: of D H D'. p is
 * (n, cols). */
static double
rows_error(const double *h, const double *m, const double *row,
    const double *d, double *p, int64_t n, int64_t cols)
{
	double sum = 0;

	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n,
	    (int)cols, (int)cols, 1, d, (int)cols, h, (int)cols, 0, p,
	    (int)cols);
	for (int64_t r = 0; r < n; r++) {
		double one = 0, at = 0;

		for (int64_t c = 0; c < cols; c++) {
			one += p[r * cols + c] * d[r * cols + c];
			at += m == NULL ? 0 : m[c] * d[r * cols + c];
		}
		sum += (one - at * at) * (row == NULL ? 1 : row[r]);
	}
	return sum;
}

enum pare_rc
seen_error(const struct seen *s, const float *w, const float *q, int64_t rows,
    bool centred, double *out, struct pare_err *err)
{
	size_t n = (size_t)s->cols * ROWS;
	double *d = mem_big(2 * n, sizeof *d, err), sum = 0;

	if (d == NULL)
		return PARE_ENOMEM;
	kernel_bind();
	for (int64_t r = 0; r < rows; r += ROWS) {
		int64_t m = rows - r < ROWS ? rows - r : ROWS;
		int64_t at = r * s->cols;

		for (int64_t i = 0; i < m * s->cols; i++)
			d[i] = (double)w[at + i] - (q == NULL ? 0 : q[at + i]);
		sum += rows_error(s->gram, centred ? s->mean : NULL,
		    s->row == NULL ? NULL : s->row + r, d, d + n, m, s->cols);
	}
	free(d);
	*out = sum > 0 ? sum : 0;
	return PARE_OK;
}

void
seen_note(const struct seen_tally *t, const char *plain, struct str *note)
{
	if (t->energy > 0)
		ops_note(note, "output error of %d matrices %.3g %% %s, %.3g "
		    "%% now", t->done + t->worse, 100 * t->plain / t->energy,
		    plain, 100 * t->now / t->energy);
	if (t->worse > 0)
		ops_note(note, "%d of them stay %s, which was no worse",
		    t->worse, plain);
	if (t->unseen > 0)
		ops_note(note, "%d matrices are %s: their inputs are not "
		    "gathered", t->unseen, plain);
	if (t->zero > 0)
		ops_note(note, "%d matrices are %s: all they see is 0",
		    t->zero, plain);
	if (t->odd > 0)
		ops_note(note, "%d matrices are %s: they were packed, sparse "
		    "or low rank", t->odd, plain);
}

enum pare_rc
seen_any(const struct seen_tally *t, const char *what, struct pare_err *err)
{
	if (t->done + t->worse > 0 || t->unseen + t->zero == 0)
		return PARE_OK;
	if (t->zero > 0) {
		err_set(err, PARE_EUSER, "%s: the inputs of all %d matrices "
		    "are 0 on the calib samples", what, t->zero + t->unseen);
		return err_hint(err, "eval shows whether the model still "
		    "works");
	}
	err_set(err, PARE_EUSER, "%s: no input of the matrices named is "
	    "gathered: embeddings and heads are not", what);
	return err_hint(err, "name matrices of layers, as L*.ffn");
}
