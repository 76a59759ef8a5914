/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The trainer's passes with gradients for the matrices in question alone: all of
 * them for squares, one for products with the Hessian, whose values are then a
 * private copy that moves.
 */
#include "engine/curvature.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/backward.h"

/* The step, of the matrix's own norm: small enough for the third derivative not
 * to show, large enough for float32 gradients to differ. */
#define STEP 1e-3
/* To one side alone the third derivative shows at once. */
#define STEP_ASIDE 1e-4

struct differ {
	struct model *m;
	const struct curvature *c;
	struct learner_weights weights;
	int *curve;		/* per param: number in c, or -1 */
	struct learner learner;
	struct learner_watch watch;
	float *g;		/* of all, or of the one that moves */
	int64_t room;		/* of g, in floats */
	int *first;		/* per curve: the first layer that has it */
	int clean;		/* layers whose values in the learner's memory
				 * are those of the weights as they are... */
	const struct train_data *data;	/* ... and of these samples */
	const int64_t *sample;
	int nsample;
	float *w;		/* the moved copy */
	int64_t moving;		/* its room */
};

/* ---- which matrices ---- */

static bool
has_curve(const struct tensor *t, enum slot slot)
{
	return slot_table[slot].matrix && t->form != FORM_LOWRANK;
}

const struct curve *
curvature_of(const struct curvature *c, const struct tensor *t)
{
	for (int i = 0; i < c->n; i++)
		if (c->of[i].t == t)
			return &c->of[i];
	return NULL;
}

static int
count_slots(const struct model *m)
{
	struct slot_ref ref = SLOT_REF_START;
	int n = 0;

	while (model_next_slot(m, &ref))
		n++;
	return n;
}

struct curvature *
curvature_new(const struct model *m, struct pare_err *err)
{
	struct curvature *c = xcalloc(1, sizeof(*c));
	struct slot_ref ref = SLOT_REF_START;

	c->of = xcalloc((size_t)count_slots(m) + 1, sizeof(*c->of));
	while (model_next_slot(m, &ref)) {
		struct tensor *t = model_slot(m, ref);

		if (!has_curve(t, ref.slot) || curvature_of(c, t) != NULL)
			continue;
		c->of[c->n++] = (struct curve){ .t = tensor_ref(t),
			.at = c->total };
		c->total += t->rows + t->cols;
	}
	c->square = mem_big_zero((size_t)c->total, sizeof(*c->square), err);
	if (c->square != NULL)
		return c;
	curvature_free(c);
	return NULL;
}

void
curvature_free(struct curvature *c)
{
	if (c == NULL)
		return;
	for (int i = 0; i < c->n; i++)
		tensor_unref(c->of[i].t);
	free(c->of);
	free(c->square);
	free(c);
}

/* ---- passes ---- */

/* Nobody looks on, but the passes then take labels as gates.h says. */
static void
see_nothing(void *ctx, int layer, enum learner_place place, const float *x,
    const float *minus, const float *dx, int64_t cols)
{
}

/* Where the first of the slots that hold each matrix is. */
static void
find_first(struct differ *d)
{
	struct slot_ref ref = SLOT_REF_START;

	d->first = xcalloc((size_t)d->c->n + 1, sizeof(*d->first));
	for (int i = 0; i < d->c->n; i++)
		d->first[i] = d->m->nlayers;
	while (model_next_slot(d->m, &ref)) {
		const struct curve *k = curvature_of(d->c, model_slot(d->m,
		    ref));
		int at = ref.layer >= 0 ? ref.layer : ref.slot == SLOT_WORD ||
		    ref.slot == SLOT_POSITION || ref.slot == SLOT_TYPE ||
		    ref.slot == SLOT_PROJ_W ? 0 : d->m->nlayers;

		if (k != NULL && at < d->first[k - d->c->of])
			d->first[k - d->c->of] = at;
	}
}

int
differ_first(const struct differ *d, int i)
{
	return d->first[i];
}

int64_t
curvature_weights_at(const struct curvature *c, int i)
{
	int64_t n = 0;

	for (int k = 0; k < i; k++)
		n += c->of[k].t->rows * c->of[k].t->cols;
	return n;
}

int64_t
curvature_weights(const struct curvature *c)
{
	return curvature_weights_at(c, c->n);
}

struct differ *
differ_new(const struct curvature *c, const struct model *m,
    struct pare_err *err)
{
	const struct curve *k;
	struct differ *d;

	if (learner_supports(m, err) != PARE_OK)
		return NULL;
	d = xcalloc(1, sizeof(*d));
	d->m = model_ref(m);
	d->c = c;
	find_first(d);
	d->watch = (struct learner_watch){ .see = see_nothing, .whole = true };
	if (learner_weights_open(&d->weights, m, err) != PARE_OK) {
		differ_free(d);
		return NULL;
	}
	d->learner = (struct learner){ .m = d->m, .link = d->weights.link,
		.dropout_step = -1, .watch = &d->watch };
	d->curve = xcalloc((size_t)d->weights.n, sizeof(*d->curve));
	for (int i = 0; i < d->weights.n; i++) {
		k = curvature_of(c, d->weights.param[i].t);
		d->curve[i] = k != NULL ? (int)(k - c->of) : -1;
	}
	return d;
}

void
differ_free(struct differ *d)
{
	if (d == NULL)
		return;
	learner_weights_free(&d->weights);
	free(d->curve);
	free(d->first);
	free(d->g);
	free(d->w);
	free(d->learner.memory.base);
	model_unref(d->m);
	free(d);
}

/* Room for n floats at *p, not cleared. */
static enum pare_rc
grow(float **p, int64_t *room, int64_t n, struct pare_err *err)
{
	if (*room >= n)
		return PARE_OK;
	free(*p);
	*p = mem_big((size_t)n, sizeof(**p), err);
	*room = *p != NULL ? n : 0;
	return *p != NULL ? PARE_OK : PARE_ENOMEM;
}

static void
forget_gradients(struct differ *d)
{
	for (int i = 0; i < d->weights.n; i++)
		d->weights.param[i].g = NULL;
}

/* ---- squares ---- */

static enum pare_rc
place_gradients(struct differ *d, int64_t *n, struct pare_err *err)
{
	*n = 0;
	for (int i = 0; i < d->weights.n; i++)
		if (d->curve[i] >= 0)
			*n += d->weights.param[i].rows * d->weights.param[i].cols;
	if (grow(&d->g, &d->room, *n, err) != PARE_OK)
		return PARE_ENOMEM;
	*n = 0;
	for (int i = 0; i < d->weights.n; i++) {
		struct param *p = &d->weights.param[i];

		p->g = d->curve[i] >= 0 ? d->g + *n : NULL;
		*n += d->curve[i] >= 0 ? p->rows * p->cols : 0;
	}
	return PARE_OK;
}

static void
add_squares(const struct param *p, double *out)
{
	double *col = out + p->rows;

	for (int64_t r = 0; r < p->rows; r++) {
		const float *g = p->g + r * p->cols;
		double sum = 0;

		for (int64_t c = 0; c < p->cols; c++) {
			double sq = (double)g[c] * g[c];

			sum += sq;
			col[c] += sq;
		}
		out[r] += sum;
	}
}

enum pare_rc
differ_squares(struct differ *d, const struct train_data *data,
    const int64_t *sample, int n, double *out, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc;
	int64_t all;
	double loss;

	if ((rc = place_gradients(d, &all, err)) != PARE_OK)
		return rc;
	d->learner.task = task;
	d->learner.from = d->clean = 0;
	for (int i = 0; i < n && rc == PARE_OK; i++) {
		memset(d->g, 0, (size_t)all * sizeof(*d->g));
		rc = learner_run(&d->learner, data, sample + i, 1, &loss, err);
		for (int k = 0; k < d->weights.n && rc == PARE_OK; k++)
			if (d->curve[k] >= 0)
				add_squares(&d->weights.param[k],
				    out + d->c->of[d->curve[k]].at);
	}
	forget_gradients(d);
	return rc;
}

/* ---- products with the Hessian ---- */

/* What moves: the param of curve i, and its values as they are. */
static struct param *
moving_param(struct differ *d, int i)
{
	for (int k = 0; k < d->weights.n; k++)
		if (d->curve[k] == i)
			return &d->weights.param[k];
	return NULL;
}

enum pare_rc
differ_gradients(struct differ *d, const struct train_data *data,
    const int64_t *sample, int n, float *out, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc;
	double loss;

	for (int i = 0; i < d->weights.n; i++)
		d->weights.param[i].g = d->curve[i] >= 0 ? out +
		    curvature_weights_at(d->c, d->curve[i]) : NULL;
	memset(out, 0, (size_t)curvature_weights(d->c) * sizeof(*out));
	d->learner.task = task;
	d->learner.from = d->clean = 0;
	rc = learner_run(&d->learner, data, sample, n, &loss, err);
	forget_gradients(d);
	return rc;
}

/* The first layer that has to run for a matrix whose first layer is `first`:
 * those before it that another matrix moved last, too. */
static int
from_layer(const struct differ *d, int first, const struct train_data *data,
    const int64_t *sample, int n)
{
	if (d->data != data || d->sample != sample || d->nsample != n)
		return 0;
	return first < d->clean ? first : d->clean;
}

/* d->g = g(W + step v). */
static enum pare_rc
gradient_at(struct differ *d, struct param *p, const float *was, double step,
    const float *v, const struct train_data *data, const int64_t *sample,
    int n, struct pare_err *err)
{
	int64_t size = p->rows * p->cols;
	int first = d->first[d->curve[p - d->weights.param]];
	double loss;
	enum pare_rc rc;

	for (int64_t i = 0; i < size; i++)
		d->w[i] = (float)(was[i] + step * v[i]);
	memset(d->g, 0, (size_t)size * sizeof(*d->g));
	p->w = d->w;
	p->g = d->g;
	d->learner.from = from_layer(d, first, data, sample, n);
	rc = learner_run(&d->learner, data, sample, n, &loss, err);
	d->learner.from = 0;
	d->clean = rc == PARE_OK ? first : 0;
	d->data = data;
	d->sample = sample;
	d->nsample = n;
	return rc;
}

enum pare_rc
differ_product(struct differ *d, int i, const struct train_data *data,
    const int64_t *sample, int n, const float *here, const float *v,
    float *out, struct task *task, struct pare_err *err)
{
	struct param *p = moving_param(d, i);
	int64_t size = p->rows * p->cols;
	const int len = (int)size;
	float *was = p->w;
	double norm = cblas_snrm2(len, was, 1), of = cblas_snrm2(len, v, 1);
	double step = (here != NULL ? STEP_ASIDE : STEP) *
	    (norm > 0 ? norm : 1) / of;
	enum pare_rc rc;

	if (grow(&d->g, &d->room, size, err) != PARE_OK ||
	    grow(&d->w, &d->moving, size, err) != PARE_OK)
		return PARE_ENOMEM;
	d->learner.task = task;
	rc = gradient_at(d, p, was, step, v, data, sample, n, err);
	if (rc == PARE_OK && here == NULL) {
		memcpy(out, d->g, (size_t)size * sizeof(*out));
		rc = gradient_at(d, p, was, -step, v, data, sample, n, err);
		for (int64_t k = 0; k < size && rc == PARE_OK; k++)
			out[k] = (float)(((double)out[k] - d->g[k]) /
			    (2 * step));
	} else if (rc == PARE_OK) {
		for (int64_t k = 0; k < size; k++)
			out[k] = (float)(((double)d->g[k] - here[k]) / step);
	}
	p->w = was;
	forget_gradients(d);
	return rc;
}

/* v to length 1; false where there is no length. */
static bool
normalize(float *v, int n)
{
	float norm = cblas_snrm2(n, v, 1);

	if (!(norm > 0) || !isfinite(norm))
		return false;
	cblas_sscal(n, 1 / norm, v, 1);
	return true;
}

enum pare_rc
differ_top(struct differ *d, int i, const struct train_data *data,
    const int64_t *sample, int n, const float *here, int most, double close,
    float *v, double *out, struct task *task, struct pare_err *err)
{
	int size = (int)(d->c->of[i].t->rows * d->c->of[i].t->cols);
	float *next = mem_big((size_t)size, sizeof(*next), err);
	enum pare_rc rc = next != NULL ? PARE_OK : PARE_ENOMEM;
	double last = -1;

	*out = 0;
	if (rc == PARE_OK && !normalize(v, size))
		rc = err_set(err, PARE_EUSER, "no direction to begin with");
	for (int k = 0; k < most && rc == PARE_OK; k++) {
		rc = differ_product(d, i, data, sample, n, here, v, next,
		    task, err);
		if (rc != PARE_OK)
			break;
		*out = fabs(cblas_dsdot(size, v, 1, next, 1));
		if (!isfinite(*out))
			rc = err_set(err, PARE_EUSER, "a product with the "
			    "Hessian of the calib samples is no number");
		if (rc != PARE_OK || !normalize(next, size))
			break;
		memcpy(v, next, (size_t)size * sizeof(*v));
		if (fabs(*out - last) <= close * *out)
			break;
		last = *out;
	}
	free(next);
	return rc;
}
