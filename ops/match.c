/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The normal equations in double precision from the sums, centred where a bias
 * can hold the means: (C + r I) V' = K' + r W', c = mean w - V mean x.
 */
#include "ops/match.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/repair.h"

/* The ridge, of the mean of the diagonal; more where few rows were seen. */
#define RIDGE 0.01

static bool
open_sums(struct match_sums *s, size_t cols, size_t out, struct pare_err *err)
{
	s->gram = mem_big_zero(cols * cols, sizeof *s->gram, err);
	s->cross = s->gram == NULL ? NULL : mem_big_zero(out * cols,
	    sizeof *s->cross, err);
	s->x = s->cross == NULL ? NULL : mem_big_zero(cols, sizeof *s->x, err);
	s->w = s->x == NULL ? NULL : mem_big_zero(out, sizeof *s->w, err);
	s->s = s->w == NULL ? NULL : mem_big_zero(out, sizeof *s->s, err);
	return s->s != NULL;
}

enum pare_rc
match_open(struct match *k, int64_t cols, int64_t out, struct pare_err *err)
{
	memset(k, 0, sizeof *k);
	k->cols = cols;
	k->out = out;
	return open_sums(&k->fit, (size_t)cols, (size_t)out, err) &&
	    open_sums(&k->check, (size_t)cols, (size_t)out, err) ? PARE_OK :
	    PARE_ENOMEM;
}

void
match_free(struct match *k)
{
	struct match_sums *both[] = { &k->fit, &k->check };

	for (int i = 0; i < 2; i++) {
		free(both[i]->gram);
		free(both[i]->cross);
		free(both[i]->x);
		free(both[i]->w);
		free(both[i]->s);
	}
	memset(k, 0, sizeof *k);
}

/* What a fit works with: old and new weights and biases. */
struct fitted {
	double *old, *v;	/* (out, cols) */
	double *was, *c;	/* out; 0 where there is no bias */
	double *a;		/* (cols, cols) */
	bool bias;
};

static void
fitted_free(struct fitted *f)
{
	free(f->old);
	free(f->v);
	free(f->was);
	free(f->c);
	free(f->a);
}

static bool
fitted_open(struct fitted *f, const struct match *k, struct pare_err *err)
{
	size_t out = (size_t)k->out, cols = (size_t)k->cols;
	size_t d = sizeof(double);

	f->old = mem_big(out * cols, d, err);
	f->v = f->old == NULL ? NULL : mem_big(out * cols, d, err);
	f->was = f->v == NULL ? NULL : mem_big_zero(out, d, err);
	f->c = f->was == NULL ? NULL : mem_big_zero(out, d, err);
	f->a = f->c == NULL ? NULL : mem_big(cols * cols, d, err);
	return f->a != NULL;
}

/* The full matrix of x x' over rows, less means where `centred`. */
static void
fill_gram(const struct match *k, const struct match_sums *s, bool centred,
    double *a)
{
	double rows = (double)s->rows;

	for (int64_t i = 0; i < k->cols; i++)
		for (int64_t j = 0; j <= i; j++)
			a[i * k->cols + j] = a[j * k->cols + i] =
			    s->gram[i * k->cols + j] / rows - (centred ?
			    s->x[i] / rows * s->x[j] / rows : 0);
}

static double
inner(const double *a, const double *b, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* The sum over rows of |V x + c - w|^2; a is where x x' may lie. NAN without
 * memory. */
static double
error_of(const struct match *k, const struct match_sums *s, const double *v,
    const double *c, double *a, struct pare_err *err)
{
	double *va = mem_big((size_t)(k->out * k->cols), sizeof *va, err);
	double rows = (double)s->rows, sum = s->ww;

	if (va == NULL)
		return NAN;
	fill_gram(k, s, false, a);
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans,
	    (blasint)k->out, (blasint)k->cols, (blasint)k->cols, rows, v,
	    (blasint)k->cols, a, (blasint)k->cols, 0.0, va, (blasint)k->cols);
	for (int64_t o = 0; o < k->out; o++) {
		const double *row = v + o * k->cols;
		const float *cross = s->cross + o * k->cols;
		double vx = inner(row, s->x, k->cols), vw = 0;

		for (int64_t j = 0; j < k->cols; j++)
			vw += row[j] * cross[j];
		sum += inner(row, va + o * k->cols, k->cols) - 2 * vw +
		    2 * c[o] * (vx - s->w[o]) + rows * c[o] * c[o];
	}
	free(va);
	return sum < 0 ? 0 : sum;
}

static enum pare_rc
solve(const struct match *k, struct fitted *f, int layer, struct pare_err *err)
{
	const struct match_sums *s = &k->fit;
	double rows = (double)s->rows, ridge = 0;

	fill_gram(k, s, f->bias, f->a);
	for (int64_t j = 0; j < k->cols; j++)
		ridge += f->a[j * (k->cols + 1)] / (double)k->cols;
	ridge *= RIDGE * (1 + 4 * (double)k->cols / rows);
	if (!(ridge > 0) || !isfinite(ridge))
		return err_set(err, PARE_EUSER, "refit: what stays in L%d was "
		    "the same for all calib samples", layer);
	for (int64_t j = 0; j < k->cols; j++)
		f->a[j * (k->cols + 1)] += ridge;
	for (int64_t o = 0; o < k->out; o++)
		for (int64_t j = 0; j < k->cols; j++)
			f->v[o * k->cols + j] = s->cross[o * k->cols + j] /
			    rows + ridge * f->old[o * k->cols + j] -
			    (f->bias ? s->w[o] / rows * s->x[j] / rows : 0);
	/* Rows of v are the columns that LAPACK solves for. */
	if (LAPACKE_dposv(LAPACK_COL_MAJOR, 'L', (lapack_int)k->cols,
	    (lapack_int)k->out, f->a, (lapack_int)k->cols, f->v,
	    (lapack_int)k->cols) != 0)
		return err_set(err, PARE_EUSER,
		    "refit: the moments of L%d are singular", layer);
	for (int64_t o = 0; o < k->out && f->bias; o++)
		f->c[o] = (s->w[o] - inner(f->v + o * k->cols, s->x,
		    k->cols)) / rows;
	return PARE_OK;
}

static enum pare_rc
put(struct edit *e, struct slot_ref ref, const double *v, int64_t rows,
    int64_t cols, struct pare_err *err)
{
	struct tensor *t = repair_tensor(&e->ctx, edit_get(e, ref), rows, cols,
	    v, err);

	if (t == NULL)
		return PARE_ENOMEM;
	edit_set(e, ref, t);
	return PARE_OK;
}

static struct slot_ref
bias_of(struct slot_ref ref)
{
	return (struct slot_ref){ ref.layer, ref.slot == SLOT_O_W ?
	    SLOT_O_B : SLOT_DOWN_B };
}

/* The squares of the stream about its mean. */
static double
energy_of(const struct match *k, const struct match_sums *s)
{
	return s->ss - inner(s->s, s->s, k->out) / (double)s->rows;
}

static enum pare_rc
fit(struct edit *e, struct slot_ref ref, const struct match *k,
    struct fitted *f, struct match_report *report, struct pare_err *err)
{
	/* Few samples: there are none to judge by but those. */
	const struct match_sums *judge = k->check.rows > 0 ? &k->check :
	    &k->fit;
	const struct tensor *b = edit_get(e, bias_of(ref));
	double before, after;
	enum pare_rc rc;

	f->bias = b != NULL;
	repair_decode(edit_get(e, ref), f->old);
	if (f->bias)
		repair_decode(b, f->was);
	if ((rc = solve(k, f, ref.layer, err)) != PARE_OK)
		return rc;
	before = error_of(k, judge, f->old, f->was, f->a, err);
	after = error_of(k, judge, f->v, f->c, f->a, err);
	if (isnan(before) || isnan(after))
		return PARE_ENOMEM;
	report->energy += energy_of(k, judge);
	report->before += before;
	report->after += after < before ? after : before;
	if (!(after < before)) {
		report->left++;
		return PARE_OK;
	}
	report->fitted++;
	rc = put(e, ref, f->v, k->out, k->cols, err);
	return rc == PARE_OK && f->bias ? put(e, bias_of(ref), f->c, 1,
	    k->out, err) : rc;
}

enum pare_rc
match_fit(struct edit *e, struct slot_ref ref, const struct match *k,
    struct match_report *report, struct pare_err *err)
{
	struct fitted f = { 0 };
	enum pare_rc rc;

	if (k->fit.rows == 0)
		return err_set(err, PARE_EUSER,
		    "refit: no calib sample got to L%d", ref.layer);
	rc = fitted_open(&f, k, err) ? fit(e, ref, k, &f, report, err) :
	    PARE_ENOMEM;
	fitted_free(&f);
	return rc;
}

enum pare_rc
match_check(const struct model *m, struct slot_ref ref, const char *what,
    struct pare_err *err)
{
	const struct layer *y = &m->layer[ref.layer];
	const struct tensor *t = y->t[ref.slot];

	if (t->form != FORM_F32 && t->form != FORM_F16 &&
	    t->form != FORM_BF16) {
		err_set(err, PARE_EUSER, "%s: the output matrix of L%d is "
		    "packed or sparse", what, ref.layer);
		return err_hint(err, "prune with it before quantizing");
	}
	if (y->t[ref.slot == SLOT_O_W ? SLOT_APOST_W : SLOT_FPOST_W] != NULL) {
		err_set(err, PARE_EUSER, "%s: a norm stands behind the output "
		    "matrix of L%d", what, ref.layer);
		return err_hint(err, "least squares do not see through it");
	}
	for (int l = 0; l < m->nlayers; l++)
		if (l != ref.layer && m->layer[l].t[ref.slot] == t) {
			err_set(err, PARE_EUSER, "%s: L%d and L%d share their "
			    "output matrix", what, ref.layer, l);
			return err_hint(err, "what fits one of them does not "
			    "fit the other");
		}
	return PARE_OK;
}

void
match_note(const struct match_report *r, struct str *note)
{
	int n = r->fitted + r->left;

	if (n == 0 || !(r->energy > 0))
		return;
	ops_note(note, "the stream behind %d %s is %.3g %% off without refit, "
	    "%.3g %% with it", n, n == 1 ? "matrix" : "matrices",
	    100 * r->before / r->energy, 100 * r->after / r->energy);
	if (r->left > 0)
		ops_note(note, "it did nothing for %d of them", r->left);
}
