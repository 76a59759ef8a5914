/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * W is not kept: Q = W'W tells what every step costs. With (H^-1)_SS = L L',
 * U = L^-1 (H^-1)_S:, V = L^-1 Q_S: and T = L^-1 Q_SS L'^-1 a step is
 *
 *	H^-1 -= U'U		Q -= U'V + V'U - U'T U
 *
 * and costs tr(T). Of single columns (neurons) steps wait until there are enough
 * for a product of matrices; only the rows that are asked for and the diagonals
 * are kept up to date.
 */
#include "ops/obs.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { WAIT = 64 };

struct surgeon {
	int64_t n, width, units;
	double *h, *q;		/* (n, n): H^-1 and Q, without what waits */
	int64_t waits;		/* rows of u and z */
	double *u, *v, *z;	/* (room, n): U, V, V - T U / 2 */
	double *dh, *dq;	/* diagonals, up to date; width 1 */
	double *l, *t;		/* (width, width) */
	bool *gone;
};

static void
surgeon_free(struct surgeon *s)
{
	free(s->q);
	free(s->u);
	free(s->v);
	free(s->z);
	free(s->dh);
	free(s->dq);
	free(s->l);
	free(s->t);
	free(s->gone);
}

/* c (m, n) += f a'(m, k) b (k, n) */
static void
add_product(double f, const double *a, const double *b, int64_t m, int64_t n,
    int64_t k, double *c)
{
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m,
	    (blasint)n, (blasint)k, f, a, (blasint)m, b, (blasint)n, 1.0, c,
	    (blasint)n);
}

/* What waits goes into the matrices. */
static void
settle(struct surgeon *s)
{
	if (s->waits == 0)
		return;
	add_product(-1, s->u, s->u, s->n, s->n, s->waits, s->h);
	add_product(-1, s->u, s->z, s->n, s->n, s->waits, s->q);
	add_product(-1, s->z, s->u, s->n, s->n, s->waits, s->q);
	s->waits = 0;
}

static bool
invert(double *h, int64_t n)
{
	if (LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', (lapack_int)n, h,
	    (lapack_int)n) != 0 || LAPACKE_dpotri(LAPACK_COL_MAJOR, 'L',
	    (lapack_int)n, h, (lapack_int)n) != 0)
		return false;
	/* Columns of the lower half are rows of the upper one here. */
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = i + 1; j < n; j++)
			h[j * n + i] = h[i * n + j];
	return true;
}

static enum pare_rc
surgeon_open(struct surgeon *s, const double *w, int64_t rows,
    struct pare_err *err)
{
	size_t n = (size_t)s->n, room = s->width > WAIT ? (size_t)s->width :
	    WAIT, d = sizeof(double);
	size_t unit = (size_t)(s->width * s->width);

	s->q = mem_big_zero(n * n, d, err);
	s->u = s->q == NULL ? NULL : mem_big(room * n, d, err);
	s->v = s->u == NULL ? NULL : mem_big(room * n, d, err);
	s->z = s->v == NULL ? NULL : mem_big(room * n, d, err);
	s->dh = s->z == NULL ? NULL : mem_big(n, d, err);
	s->dq = s->dh == NULL ? NULL : mem_big(n, d, err);
	s->l = s->dq == NULL ? NULL : mem_big(unit, d, err);
	s->t = s->l == NULL ? NULL : mem_big(unit, d, err);
	if (s->t == NULL)
		return PARE_ENOMEM;
	s->gone = xcalloc((size_t)s->units, sizeof(*s->gone));
	if (!invert(s->h, s->n))
		return err_set(err, PARE_EUSER, "the moments of what the "
		    "matrix sees are singular");
	add_product(1, w, w, s->n, s->n, rows, s->q);
	for (int64_t i = 0; i < s->n; i++) {
		s->dh[i] = s->h[i * s->n + i];
		s->dq[i] = s->q[i * s->n + i];
	}
	return PARE_OK;
}

/* ---- single columns ---- */

/* Row p of H^-1 and of Q as they are now, each divided by sqrt((H^-1)_pp), into
 * the next waiting rows. */
static void
fetch(struct surgeon *s, int64_t p)
{
	int64_t n = s->n, k = s->waits;
	double *u = s->u + k * n, *v = s->v + k * n, *z = s->z + k * n;
	double f = 1 / sqrt(s->dh[p]), t = s->dq[p] / s->dh[p];

	memcpy(u, s->h + p * n, (size_t)n * sizeof *u);
	memcpy(v, s->q + p * n, (size_t)n * sizeof *v);
	for (int64_t i = 0; i < k; i++) {
		double up = s->u[i * n + p], zp = s->z[i * n + p];

		cblas_daxpy((blasint)n, -up, s->u + i * n, 1, u, 1);
		cblas_daxpy((blasint)n, -up, s->z + i * n, 1, v, 1);
		cblas_daxpy((blasint)n, -zp, s->u + i * n, 1, v, 1);
	}
	for (int64_t j = 0; j < n; j++) {
		u[j] *= f;
		v[j] *= f;
		z[j] = v[j] - t * u[j] / 2;
		s->dh[j] -= u[j] * u[j];
		s->dq[j] -= 2 * u[j] * z[j];
	}
	s->waits++;
}

static double
column_cost(const struct surgeon *s, int64_t p)
{
	return s->dq[p] > 0 && s->dh[p] > 0 ? s->dq[p] / s->dh[p] : 0;
}

static bool
drop_column(struct surgeon *s, int64_t p)
{
	if (!(s->dh[p] > 0))
		return false;
	fetch(s, p);
	if (s->waits == WAIT)
		settle(s);
	return true;
}

/* ---- blocks of columns ---- */

/* L of (H^-1)_SS into s->l, T into s->t; false: not positive definite. */
static bool
look_at(struct surgeon *s, int64_t unit)
{
	int64_t g = s->width, n = s->n, at = unit * g;

	for (int64_t i = 0; i < g; i++)
		for (int64_t j = 0; j < g; j++) {
			s->l[i * g + j] = s->h[(at + i) * n + at + j];
			s->t[i * g + j] = s->q[(at + i) * n + at + j];
		}
	if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)g, s->l,
	    (lapack_int)g) != 0)
		return false;
	cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans,
	    CblasNonUnit, (blasint)g, (blasint)g, 1.0, s->l, (blasint)g, s->t,
	    (blasint)g);
	cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans,
	    CblasNonUnit, (blasint)g, (blasint)g, 1.0, s->l, (blasint)g, s->t,
	    (blasint)g);
	return true;
}

static double
block_cost(struct surgeon *s, int64_t unit)
{
	double sum = 0;

	if (!look_at(s, unit))
		return INFINITY;
	for (int64_t i = 0; i < s->width; i++)
		sum += s->t[i * s->width + i];
	return sum > 0 ? sum : 0;
}

static bool
drop_block(struct surgeon *s, int64_t unit)
{
	int64_t g = s->width, n = s->n;
	size_t size = (size_t)(g * n) * sizeof(double);

	if (!look_at(s, unit))
		return false;
	memcpy(s->u, s->h + unit * g * n, size);
	memcpy(s->z, s->q + unit * g * n, size);
	cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans,
	    CblasNonUnit, (blasint)g, (blasint)n, 1.0, s->l, (blasint)g, s->u,
	    (blasint)n);
	cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans,
	    CblasNonUnit, (blasint)g, (blasint)n, 1.0, s->l, (blasint)g, s->z,
	    (blasint)n);
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)g,
	    (blasint)n, (blasint)g, -0.5, s->t, (blasint)g, s->u, (blasint)n,
	    1.0, s->z, (blasint)n);
	s->waits = g;
	settle(s);
	return true;
}

/* ---- the order ---- */

static int64_t
find_cheapest(struct surgeon *s, double *cost)
{
	int64_t best = -1;

	for (int64_t i = 0; i < s->units; i++) {
		double c;

		if (s->gone[i])
			continue;
		c = s->width == 1 ? column_cost(s, i) : block_cost(s, i);
		if (best < 0 || c < *cost) {
			best = i;
			*cost = c;
		}
	}
	return best;
}

static enum pare_rc
run_order(struct surgeon *s, int64_t most, int64_t *order, double *error,
    struct task *task, struct pare_err *err)
{
	double sum = 0;

	for (int64_t k = 0; k < most; k++) {
		double cost = 0;
		int64_t p = find_cheapest(s, &cost);

		if ((k % 16 == 0 || s->width > 1) && task_canceled(task))
			return task_error(err);
		if (!isfinite(cost) || !(s->width == 1 ? drop_column(s, p) :
		    drop_block(s, p)))
			return err_set(err, PARE_EUSER, "the moments of what "
			    "the matrix sees are singular");
		s->gone[p] = true;
		sum += cost;
		order[k] = p;
		error[k] = sum;
	}
	return PARE_OK;
}

enum pare_rc
obs_order(const double *w, int64_t rows, double *h, int64_t cols,
    int64_t width, int64_t most, int64_t *order, double *error,
    struct task *task, struct pare_err *err)
{
	struct surgeon s = { .n = cols, .width = width,
		.units = cols / width, .h = h };
	enum pare_rc rc = surgeon_open(&s, w, rows, err);

	if (rc == PARE_OK)
		rc = run_order(&s, most, order, error, task, err);
	surgeon_free(&s);
	return rc;
}

void
obs_scores(const int64_t *order, const double *error, int64_t most,
    double energy, int64_t units, double *score)
{
	double last = 0;

	for (int64_t i = 0; i < units; i++)
		score[i] = INFINITY;
	/* The lower hull of the curve, from each corner to the next. */
	for (int64_t k = 0, end; k < most; k = end) {
		double from = k > 0 ? error[k - 1] : 0, slope = INFINITY;

		end = k + 1;
		for (int64_t e = k + 1; e <= most; e++) {
			double each = (error[e - 1] - from) / (double)(e - k);

			if (each <= slope) {
				slope = each;
				end = e;
			}
		}
		slope = energy > 0 ? slope / energy : slope;
		for (int64_t i = k; i < end; i++) {
			last = slope > last ? slope : nextafter(last,
			    INFINITY);
			score[order[i]] = last;
		}
	}
}
