/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All in double precision. With D what went, S = C + m m' the second moment of
 * the inputs and tr the sum over outputs:
 *
 *	energy		tr(W S W')
 *	no repair	tr(W_D S_DD W_D')
 *	bias		tr(W_D C_DD W_D')
 *	refit		tr(W C W') - 2 tr(V C_K: W') + tr(V C_KK V')
 *
 * Where there is no bias, S stands for C and the mean is left out.
 */
#include "ops/repair.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/obs.h"

/* The ridge, of the mean of the diagonal; more where few rows were seen. */
#define RIDGE 0.01

const char *const repair_names[] = { "none", "bias", "refit", NULL };

struct work {
	int64_t rows, cols, n;	/* of W; columns that stay */
	const int64_t *keep;
	double *w, *c, *p;	/* (rows, cols), (cols, cols), (rows, cols) */
	double *mean;		/* cols; 0 where there is no bias */
	double *v, *a;		/* (rows, n), (n, n) */
	double seen;		/* rows of x */
	bool bias;
};

bool
repair_ranks(const struct arg_list *args)
{
	return arg_get(args, "by")->has &&
	    strcmp(arg_choice(args, "by"), "obs") == 0;
}

enum repair
repair_of(const struct arg_list *args)
{
	const struct arg_value *v = arg_get(args, "repair");

	return !v->set && repair_ranks(args) ? REPAIR_REFIT :
	    (enum repair)v->i;
}

unsigned
repair_needs(const struct arg_list *args, enum slot slot)
{
	return repair_of(args) == REPAIR_NONE && !repair_ranks(args) ? 0 :
	    slot == SLOT_O_W ? OP_NEED_GRAM_OUTPUT : OP_NEED_GRAM_DOWN;
}

static void
work_free(struct work *k)
{
	free(k->w);
	free(k->c);
	free(k->p);
	free(k->mean);
	free(k->v);
	free(k->a);
}

static bool
work_open(struct work *k, struct pare_err *err)
{
	size_t rows = (size_t)k->rows, cols = (size_t)k->cols;
	size_t n = (size_t)k->n, d = sizeof(double);

	k->w = mem_big(rows * cols, d, err);
	k->c = k->w == NULL ? NULL : mem_big_zero(cols * cols, d, err);
	k->p = k->c == NULL ? NULL : mem_big(rows * cols, d, err);
	k->mean = k->p == NULL ? NULL : mem_big_zero(cols, d, err);
	k->v = k->mean == NULL ? NULL : mem_big(rows * n, d, err);
	k->a = k->v == NULL ? NULL : mem_big(n * n, d, err);
	return k->a != NULL;
}

/* c (m, n) = a (m, k) b (k, n) */
static void
times(const double *a, const double *b, int64_t m, int64_t n, int64_t k,
    double *c)
{
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m,
	    (blasint)n, (blasint)k, 1.0, a, (blasint)k, b, (blasint)n, 0.0, c,
	    (blasint)n);
}

static double
inner(const double *a, const double *b, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* The moments of all layers of the group as one population. */
static enum pare_rc
add_moments(struct repairs *r, struct work *k, const int *group, int leader,
    struct pare_err *err)
{
	const struct model *m = r->in->model;

	for (int l = 0; l < m->nlayers; l++) {
		const struct moments *x;

		if (group[l] != leader)
			continue;
		x = statistics_of(r->in->calib->statistics,
		    (struct slot_ref){ l, r->slot });
		if (x == NULL || x->gram == NULL || x->cols != k->cols)
			return err_set(err, PARE_EUSER, "repair: no calib "
			    "sample got to L%d", l);
		k->seen += (double)x->rows;
		for (int64_t i = 0; i < k->cols * k->cols; i++)
			k->c[i] += x->gram[i];
		for (int64_t i = 0; i < k->cols; i++)
			k->mean[i] += x->sum[i];
	}
	for (int64_t i = 0; i < k->cols; i++)
		k->mean[i] = k->bias ? k->mean[i] / k->seen : 0;
	for (int64_t i = 0; i < k->cols; i++)
		for (int64_t j = 0; j < k->cols; j++)
			k->c[i * k->cols + j] = k->c[i * k->cols + j] /
			    k->seen - k->mean[i] * k->mean[j];
	return PARE_OK;
}

void
repair_decode(const struct tensor *t, double *out)
{
	float *row = xmalloc((size_t)t->cols * sizeof *row);

	for (int64_t i = 0; i < t->rows; i++) {
		tensor_decode(t, i, 1, row);
		for (int64_t c = 0; c < t->cols; c++)
			out[i * t->cols + c] = row[c];
	}
	free(row);
}

/* Sums of W x over the mean of x: the squares of the outputs' means. */
static double
mean_energy(const struct work *k, const double *w)
{
	double sum = 0;

	for (int64_t i = 0; i < k->rows; i++) {
		double y = inner(w + i * k->cols, k->mean, k->cols);

		sum += y * y;
	}
	return sum;
}

/* W with the columns that stay zeroed, in p's place; its error. */
static double
error_of_cut(struct work *k, bool with_mean, struct pare_err *err)
{
	int64_t n = k->rows * k->cols;
	double *cut = mem_big((size_t)n, sizeof *cut, err), sum;

	if (cut == NULL)
		return NAN;
	memcpy(cut, k->w, (size_t)n * sizeof *cut);
	for (int64_t i = 0; i < k->rows; i++)
		for (int64_t j = 0; j < k->n; j++)
			cut[i * k->cols + k->keep[j]] = 0;
	times(cut, k->c, k->rows, k->cols, k->cols, k->p);
	sum = inner(cut, k->p, n) + (with_mean ? mean_energy(k, cut) : 0);
	free(cut);
	return sum;
}

static void
keep_columns(const struct work *k, const double *from, double *to)
{
	for (int64_t i = 0; i < k->rows; i++)
		for (int64_t j = 0; j < k->n; j++)
			to[i * k->n + j] = from[i * k->cols + k->keep[j]];
}

static void
fill_kept_moments(const struct work *k, double ridge)
{
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->n; j++)
			k->a[i * k->n + j] = k->c[k->keep[i] * k->cols +
			    k->keep[j]] + (i == j ? ridge : 0);
}

/* v: the columns that stay, fitted. p is W C. */
static enum pare_rc
fit(struct work *k, int layer, struct pare_err *err)
{
	double ridge = 0;

	for (int64_t j = 0; j < k->n; j++)
		ridge += k->c[k->keep[j] * (k->cols + 1)] / (double)k->n;
	ridge *= RIDGE * (1 + 4 * (double)k->n / k->seen);
	if (!(ridge > 0) || !isfinite(ridge))
		return err_set(err, PARE_EUSER, "repair: what stays in L%d "
		    "was the same for all calib samples", layer);
	fill_kept_moments(k, ridge);
	for (int64_t i = 0; i < k->rows; i++)
		for (int64_t j = 0; j < k->n; j++)
			k->v[i * k->n + j] = k->p[i * k->cols + k->keep[j]] +
			    ridge * k->w[i * k->cols + k->keep[j]];
	/* Rows of v are the columns that LAPACK solves for. */
	if (LAPACKE_dposv(LAPACK_COL_MAJOR, 'L', (lapack_int)k->n,
	    (lapack_int)k->rows, k->a, (lapack_int)k->n, k->v,
	    (lapack_int)k->n) != 0)
		return err_set(err, PARE_EUSER,
		    "repair: the moments of L%d are singular", layer);
	return PARE_OK;
}

/* tr(W C W') - 2 tr(V C_K: W') + tr(V C_KK V') */
static double
error_of_fit(struct work *k, struct pare_err *err)
{
	double *t = mem_big((size_t)(k->rows * k->n), sizeof *t, err), sum;

	if (t == NULL)
		return NAN;
	keep_columns(k, k->p, t);
	sum = inner(k->w, k->p, k->rows * k->cols) -
	    2 * inner(k->v, t, k->rows * k->n);
	fill_kept_moments(k, 0);
	times(k->v, k->a, k->rows, k->n, k->n, t);
	sum += inner(k->v, t, k->rows * k->n);
	free(t);
	return sum < 0 ? 0 : sum;
}

/* ---- the new tensors ---- */

struct tensor *
repair_tensor(const struct transform_ctx *ctx, const struct tensor *like,
    int64_t rows, int64_t cols, const double *v, struct pare_err *err)
{
	float *to;
	struct tensor *t = tensor_new_f32(like->ndim, rows, cols, &to, err);
	struct tensor *out;

	if (t == NULL)
		return NULL;
	for (int64_t i = 0; i < rows * cols; i++)
		to[i] = (float)v[i];
	if (like->form == FORM_F32)
		return t;
	out = tensor_cast(t, like->form, ctx, err);
	tensor_unref(t);
	return out;
}

/* b + W mean(x) - V mean(x_K) */
static struct tensor *
make_bias(const struct repairs *r, const struct work *k,
    const struct tensor *was, struct pare_err *err)
{
	double *b = xmalloc((size_t)k->rows * sizeof *b);
	struct tensor *t;

	repair_decode(was, b);
	for (int64_t i = 0; i < k->rows; i++) {
		b[i] += inner(k->w + i * k->cols, k->mean, k->cols);
		for (int64_t j = 0; j < k->n; j++)
			b[i] -= k->v[i * k->n + j] * k->mean[k->keep[j]];
	}
	t = repair_tensor(&r->e->ctx, was, 1, k->rows, b, err);
	free(b);
	return t;
}

static void
set_group(struct repairs *r, const int *group, int leader, enum slot slot,
    struct tensor *t)
{
	for (int l = 0; l < r->in->model->nlayers; l++)
		if (group[l] == leader)
			edit_set(r->e, (struct slot_ref){ l, slot },
			    tensor_ref(t));
	tensor_unref(t);
}

static enum pare_rc
put(struct repairs *r, const struct work *k, const int *group, int leader,
    struct pare_err *err)
{
	const struct layer *y = &r->in->model->layer[leader];
	enum slot bias = r->slot == SLOT_O_W ? SLOT_O_B : SLOT_DOWN_B;
	struct tensor *t;

	if (k->bias) {
		t = make_bias(r, k, y->t[bias], err);
		if (t == NULL)
			return PARE_ENOMEM;
		set_group(r, group, leader, bias, t);
	}
	if (r->how == REPAIR_BIAS)
		return PARE_OK;
	t = repair_tensor(&r->e->ctx, y->t[r->slot], k->rows, k->n, k->v, err);
	if (t == NULL)
		return PARE_ENOMEM;
	set_group(r, group, leader, r->slot, t);
	return PARE_OK;
}

/* ---- a group ---- */

static bool
is_float(const struct tensor *t)
{
	return t->form == FORM_F32 || t->form == FORM_F16 ||
	    t->form == FORM_BF16;
}

static enum pare_rc
check(const struct repairs *r, int leader, struct pare_err *err)
{
	const struct layer *y = &r->in->model->layer[leader];
	const struct tensor *b = y->t[r->slot == SLOT_O_W ? SLOT_O_B :
	    SLOT_DOWN_B];

	if (!is_float(y->t[r->slot])) {
		err_set(err, PARE_EUSER, "repair: the output matrix of L%d is "
		    "packed or sparse", leader);
		return err_hint(err, "prune with repair before quantizing");
	}
	if (b == NULL && r->how == REPAIR_BIAS) {
		err_set(err, PARE_EUSER, "repair: L%d has no bias that could "
		    "hold the mean of what goes", leader);
		return err_hint(err, "repair=refit does without");
	}
	if ((r->e != NULL && r->e->ctx.estimate) || (r->in->calib != NULL &&
	    r->in->calib->statistics != NULL))
		return PARE_OK;
	return score_missing("repair", err);
}

static enum pare_rc
repair(struct repairs *r, struct work *k, const int *group, int leader,
    struct pare_err *err)
{
	const struct tensor *t = r->in->model->layer[leader].t[r->slot];
	double before, after;
	enum pare_rc rc = add_moments(r, k, group, leader, err);

	if (rc != PARE_OK)
		return rc;
	repair_decode(t, k->w);
	before = error_of_cut(k, true, err);
	after = error_of_cut(k, false, err);
	keep_columns(k, k->w, k->v);
	times(k->w, k->c, k->rows, k->cols, k->cols, k->p);
	r->energy += inner(k->w, k->p, k->rows * k->cols) +
	    mean_energy(k, k->w);
	if (r->how == REPAIR_REFIT) {
		if ((rc = fit(k, leader, err)) != PARE_OK)
			return rc;
		after = error_of_fit(k, err);
	}
	if (isnan(before) || isnan(after))
		return PARE_ENOMEM;
	r->before += before;
	r->after += after;
	r->matrices++;
	return put(r, k, group, leader, err);
}

enum pare_rc
repair_group(struct repairs *r, const int *group, int leader,
    const int64_t *keep, int64_t n, struct pare_err *err)
{
	const struct layer *y = &r->in->model->layer[leader];
	struct work k = { .keep = keep, .n = n };
	enum pare_rc rc;

	if (r->how == REPAIR_NONE)
		return PARE_OK;
	if ((rc = check(r, leader, err)) != PARE_OK || r->e->ctx.estimate)
		return rc;
	k.rows = y->t[r->slot]->rows;
	k.cols = y->t[r->slot]->cols;
	k.bias = y->t[r->slot == SLOT_O_W ? SLOT_O_B : SLOT_DOWN_B] != NULL;
	rc = work_open(&k, err) ? repair(r, &k, group, leader, err) :
	    PARE_ENOMEM;
	work_free(&k);
	return rc;
}

static enum pare_rc
rank(struct repairs *r, struct work *k, const int *group, int leader,
    int64_t width, int64_t most, double *score, struct pare_err *err)
{
	int64_t units = k->cols / width;
	int64_t *order = mem_big((size_t)most + 1, sizeof *order, err);
	double *error = mem_big((size_t)most + 1, sizeof *error, err);
	double ridge = 0, energy;
	enum pare_rc rc = order == NULL || error == NULL ? PARE_ENOMEM :
	    add_moments(r, k, group, leader, err);

	if (rc == PARE_OK) {
		repair_decode(r->in->model->layer[leader].t[r->slot], k->w);
		times(k->w, k->c, k->rows, k->cols, k->cols, k->p);
		energy = inner(k->w, k->p, k->rows * k->cols) +
		    mean_energy(k, k->w);
		for (int64_t j = 0; j < k->cols; j++)
			ridge += k->c[j * (k->cols + 1)] / (double)k->cols;
		ridge *= RIDGE * (1 + 4 * (double)k->cols / k->seen);
		for (int64_t j = 0; j < k->cols; j++)
			k->c[j * (k->cols + 1)] += ridge;
		rc = !(ridge > 0) || !isfinite(ridge) ? err_set(err,
		    PARE_EUSER, "what L%d gives was the same for all calib "
		    "samples", leader) : obs_order(k->w, k->rows, k->c,
		    k->cols, width, most, order, error, r->in->task, err);
	}
	if (rc == PARE_OK)
		obs_scores(order, error, most, energy, units, score);
	free(order);
	free(error);
	return rc;
}

enum pare_rc
repair_scores(const struct op_input *in, enum slot slot, const int *group,
    int leader, int64_t width, int64_t most, double *score,
    struct pare_err *err)
{
	const struct layer *y = &in->model->layer[leader];
	struct repairs r = { .how = REPAIR_REFIT, .in = in, .slot = slot };
	struct work k = { .rows = y->t[slot]->rows, .cols = y->t[slot]->cols,
		.n = 1 };
	enum pare_rc rc = check(&r, leader, err);

	if (rc != PARE_OK)
		return rc;
	k.bias = y->t[slot == SLOT_O_W ? SLOT_O_B : SLOT_DOWN_B] != NULL;
	rc = work_open(&k, err) ? rank(&r, &k, group, leader, width, most,
	    score, err) : PARE_ENOMEM;
	work_free(&k);
	return rc;
}

void
repair_note(const struct repairs *r, struct str *note)
{
	double before, after;

	if (r->matrices == 0 || !(r->energy > 0))
		return;
	before = 100 * r->before / r->energy;
	after = 100 * r->after / r->energy;
	ops_note(note, "output error of %d layers %.3g %% without repair, "
	    "%.3g %% with it%s", r->matrices, before, after, after < before ?
	    "" : ": it did nothing");
}
