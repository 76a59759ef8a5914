/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A tensor: form, bytes, moments, histogram and singular values.
 *
 * Both measurements are jobs. Moments are always taken; the spectrum by itself
 * while it costs about a tenth of a second, behind other work while it costs
 * about a second, and else when it is asked for. Results are kept by tensor:
 * the history keeps those of the open model alive, and opening another one
 * forgets them.
 */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "tensor/transform.h"
#include "ui/number.h"
#include "ui/tui/page.h"

enum { BINS = 60, CHART_ROWS = 5, LOW_CHART_ROWS = 3,
	LOW_ROWS = 24,	/* of a pane where charts are low */
	QUICK_WEIGHTS = 1 << 22 };

/* Multiply-adds of a spectrum: quick, unasked. */
static const double quick_cost = 2e8, unasked_cost = 5e9;

enum have { HAVE_STATS = 1, HAVE_SPECTRUM = 2 };

struct facts_of {
	const struct tensor *t;		/* by address */
	unsigned have, tried;		/* tried: had, or failed */
	struct tensor_stats stats;
	int64_t bins[BINS];
	float *value;			/* singular values, owned */
	int64_t nvalues;
	char why[160];			/* the last failure */
};

struct matrix {
	struct page page;
	struct origin *origin;
	struct facts_of **known;	/* owned */
	int n;
	struct job *job;		/* that runs */
	const struct tensor *job_of;
	unsigned job_does;
	const struct tensor *asked;	/* its spectrum is wanted at any cost */
};

struct measure_job {
	struct job job;
	struct matrix *to;
	struct origin *origin;
	struct tensor *t;
	unsigned does;
	struct facts_of out;
};

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && t->kind == TARGET_TENSOR &&
	    t->slot.layer < m->nlayers && model_slot(m, t->slot) != NULL;
}

/* ---- what is known ---- */

static void
forget(struct matrix *s)
{
	for (int i = 0; i < s->n; i++) {
		free(s->known[i]->value);
		free(s->known[i]);
	}
	s->n = 0;
	s->asked = NULL;
	origin_unref(s->origin);
	s->origin = NULL;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct matrix));
}

static void
drop(void *state)
{
	struct matrix *s = state;

	forget(s);
	free(s->known);
	page_drop(&s->page);
}

static struct facts_of *
find(const struct matrix *s, const struct tensor *t)
{
	for (int i = 0; i < s->n; i++)
		if (s->known[i]->t == t)
			return s->known[i];
	return NULL;
}

static struct facts_of *
entry_for(struct matrix *s, const struct tensor *t)
{
	struct facts_of *e = find(s, t);

	if (e != NULL)
		return e;
	s->known = xrealloc(s->known, (size_t)(s->n + 1) * sizeof(*s->known));
	e = xcalloc(1, sizeof(*e));
	e->t = t;
	s->known[s->n++] = e;
	return e;
}

static const struct tensor *
tensor_of(const struct app *app)
{
	return fits(app, &app->target) ?
	    model_slot(app_model(app), app->target.slot) : NULL;
}

static double
spectrum_cost(const struct tensor *t)
{
	double small = (double)(t->rows < t->cols ? t->rows : t->cols);

	return t->ndim == 2 ? 2.0 * (double)t->rows * (double)t->cols * small :
	    0;
}

/* ---- measuring ---- */

static enum pare_rc
run(struct job *job, struct task *task, struct pare_err *err)
{
	struct measure_job *j = (struct measure_job *)job;

	if (j->does == HAVE_STATS)
		return tensor_measure(j->t, &j->out.stats, j->out.bins, BINS,
		    task, err);
	return tensor_spectrum(j->t, &j->out.value, &j->out.nvalues, task,
	    err);
}

/* Moves what was measured into the entry of the tensor. */
static void
take(struct matrix *s, struct measure_job *j, enum pare_rc rc,
    const struct pare_err *err)
{
	struct facts_of *e = entry_for(s, j->t);

	e->tried |= j->does;
	if (rc != PARE_OK) {
		snprintf(e->why, sizeof(e->why), "%.150s", err->msg);
		return;
	}
	e->have |= j->does;
	if (j->does == HAVE_STATS) {
		e->stats = j->out.stats;
		memcpy(e->bins, j->out.bins, sizeof(e->bins));
	} else {
		free(e->value);
		e->value = j->out.value;
		e->nvalues = j->out.nvalues;
		j->out.value = NULL;
	}
}

static void want(struct app *app, struct matrix *s);

static void
done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct measure_job *j = (struct measure_job *)job;
	struct matrix *s = j->to;

	s->job = NULL;
	if (rc == PARE_ECANCELED && s->asked == j->t)
		s->asked = NULL;
	if (rc != PARE_ECANCELED && s->origin == j->origin)
		take(s, j, rc, err);
	app_dirty(app);
	if (rc != PARE_ECANCELED || tensor_of(app) != j->t)
		want(app, s);
}

static void
drop_job(struct job *job)
{
	struct measure_job *j = (struct measure_job *)job;

	free(j->out.value);
	tensor_unref(j->t);
	origin_unref(j->origin);
	free(j);
}

static void
start(struct app *app, struct matrix *s, const struct tensor *t, unsigned does)
{
	struct measure_job *j = xcalloc(1, sizeof(*j));

	j->job.title = does == HAVE_STATS ? "measuring" : "singular values";
	j->job.quick = does == HAVE_STATS ? t->rows * t->cols < QUICK_WEIGHTS :
	    spectrum_cost(t) < quick_cost;
	j->job.run = run;
	j->job.done = done;
	j->job.drop = drop_job;
	j->to = s;
	j->origin = origin_ref(app_model(app)->origin);
	j->t = tensor_ref(t);
	j->does = does;
	s->job = &j->job;
	s->job_of = t;
	s->job_does = does;
	app_job(app, &j->job);
}

/* What of t is missing and may be measured now; 0: nothing. */
static unsigned
missing(const struct matrix *s, const struct tensor *t)
{
	const struct facts_of *e = find(s, t);
	double cost = spectrum_cost(t);

	if (e == NULL || (e->tried & HAVE_STATS) == 0)
		return HAVE_STATS;
	if (cost == 0 || (e->tried & HAVE_SPECTRUM) != 0 ||
	    (e->have & HAVE_STATS) == 0 ||
	    e->stats.nans + e->stats.infs > 0)
		return 0;
	return cost <= unasked_cost || s->asked == t ? HAVE_SPECTRUM : 0;
}

static void
want(struct app *app, struct matrix *s)
{
	const struct tensor *t = tensor_of(app);
	unsigned does;

	if (app_model(app) == NULL || s->origin != app_model(app)->origin) {
		forget(s);
		if (app_model(app) != NULL)
			s->origin = origin_ref(app_model(app)->origin);
	}
	if (s->job != NULL && s->job_of != t)
		app_cancel_job(app, s->job);
	if (t == NULL || t->ghost || s->job != NULL)
		return;
	does = missing(s, t);
	if (does != 0)
		start(app, s, t, does);
}

static void
update(struct app *app, unsigned change)
{
	struct matrix *s = detail_state(app, &detail_matrix);

	page_update(app, &s->page, change);
	want(app, s);
}

/* ---- drawing ---- */

static void
draw_moments(struct facts *f, const struct facts_of *e)
{
	const struct tensor_stats *st = &e->stats;
	char a[NUMBER_MAX], b[NUMBER_MAX];

	number_plain(a, st->min);
	number_plain(b, st->max);
	facts_rule(f, "Moments");
	facts_put(f, "range", "%s to %s", a, b);
	number_plain(a, st->mean);
	number_plain(b, st->deviation);
	facts_put(f, "mean", "%s, deviation %s", a, b);
	number_plain(a, st->skewness);
	number_plain(b, st->kurtosis);
	facts_put(f, "skewness", "%s, kurtosis %s", a, b);
	number_plain(a, st->abs_mean);
	number_plain(b, st->l2);
	facts_put(f, "mean size", "%s, norm %s", a, b);
	number_percent(a, st->n > 0 ? (double)st->zeros / (double)st->n : 0);
	facts_put(f, "zeros", "%lld (%s)", (long long)st->zeros, a);
	if (st->nans + st->infs > 0)
		facts_text(f, STYLE_ERROR, "! %lld NaN, %lld infinite",
		    (long long)st->nans, (long long)st->infs);
}

static int
chart_rows(const struct facts *f)
{
	return f->r.rows < LOW_ROWS ? LOW_CHART_ROWS : CHART_ROWS;
}

static void
draw_histogram(struct facts *f, const struct facts_of *e)
{
	double v[BINS] = { 0 };
	int n = BINS, columns;
	char low[NUMBER_MAX], high[NUMBER_MAX];

	/* Bins that share a column are added up. */
	while (n > f->r.cols && n % 2 == 0)
		n /= 2;
	for (int i = 0; i < BINS; i++)
		v[i * n / BINS] += (double)e->bins[i];
	number_plain(low, e->stats.min);
	number_plain(high, e->stats.max);
	facts_rule(f, "Values");
	columns = facts_chart(f, v, n, chart_rows(f));
	facts_axis(f, columns, low, high, -1, "");
}

/* The smallest rank whose squares hold a share of all. */
static int64_t
rank_for(const struct facts_of *e, double share)
{
	double all = 0, sum = 0;
	int64_t rank = 0;

	for (int64_t i = 0; i < e->nvalues; i++)
		all += (double)e->value[i] * e->value[i];
	while (rank < e->nvalues && sum < share * all) {
		sum += (double)e->value[rank] * e->value[rank];
		rank++;
	}
	return rank;
}

static void
draw_values(struct facts *f, const struct facts_of *e)
{
	int n = (int)e->nvalues, columns;
	double *v = xcalloc((size_t)n + 1, sizeof(*v));
	int64_t even = tensor_break_even_rank(e->t);
	char left[64], right[32], mark[64], a[NUMBER_MAX];

	for (int i = 0; i < n; i++)
		v[i] = e->value[i];
	columns = facts_chart(f, v, n, chart_rows(f));
	number_plain(a, n > 0 ? v[0] : 0);
	snprintf(left, sizeof(left), "1: %.40s", a);
	snprintf(right, sizeof(right), "%d", n);
	snprintf(mark, sizeof(mark), "break-even rank %lld", (long long)even);
	facts_axis(f, columns, left, right, n > 0 && even > 0 ?
	    (int)((even - 1) * columns / n) : -1, mark);
	facts_text(f, STYLE_NORMAL, "energy: 50 %% in rank %lld, 90 %% in "
	    "%lld, 99 %% in %lld of %d", (long long)rank_for(e, 0.5),
	    (long long)rank_for(e, 0.9), (long long)rank_for(e, 0.99), n);
	free(v);
}

static void
draw_spectrum(struct facts *f, const struct matrix *s,
    const struct facts_of *e)
{
	if (e->t->ndim != 2 || e->stats.nans + e->stats.infs > 0)
		return;
	facts_rule(f, "Singular values");
	if ((e->have & HAVE_SPECTRUM) != 0) {
		draw_values(f, e);
		return;
	}
	if ((e->tried & HAVE_SPECTRUM) != 0)
		facts_text(f, STYLE_ERROR, "! %s", e->why);
	else if (s->job != NULL && s->job_of == e->t)
		facts_text(f, STYLE_DIM, "computing, after what runs now");
	else
		facts_text(f, STYLE_DIM, "a large matrix: ] computes them; "
		    "break-even rank %lld",
		    (long long)tensor_break_even_rank(e->t));
}

static void
draw_tensor(struct facts *f, const struct app *app, const struct matrix *s)
{
	const struct tensor *t = tensor_of(app);
	const struct facts_of *e = s->origin == app_model(app)->origin ?
	    find(s, t) : NULL;
	const struct account_row *row;
	char form[64], a[NUMBER_MAX], path[96];

	model_slot_path(app->target.slot, path, sizeof(path));
	row = sheet_find(&s->page.sheet, path);
	tensor_describe(t, form, sizeof(form));
	if (t->ndim == 2)
		facts_title(f, path, "%lld x %lld",
		    (long long)t->rows, (long long)t->cols);
	else
		facts_title(f, path, "%lld values",
		    (long long)t->cols);
	if (row != NULL) {
		facts_sizes(f, row, sheet_total(&s->page.sheet), s->page.sheet.seq);
	} else {
		number_bytes(a, (double)tensor_bytes(t));
		facts_put(f, "form", "%s, %s", form, a);
	}
	if (row != NULL && row->file_name[0] != '\0')
		facts_put(f, "in the file", "%s", row->file_name);
	if (t->ghost)
		facts_text(f, STYLE_DIM, "sizes only: there are no weights");
	else if (e == NULL || (e->tried & HAVE_STATS) == 0)
		facts_text(f, STYLE_DIM, "measuring");
	else if ((e->have & HAVE_STATS) == 0)
		facts_text(f, STYLE_ERROR, "! %s", e->why);
	if (e == NULL || (e->have & HAVE_STATS) == 0)
		return;
	draw_histogram(f, e);
	draw_spectrum(f, s, e);
	draw_moments(f, e);
}

static void
paint(struct facts *f, const struct app *app, const struct page *p)
{
	/* The page is the first of its members. */
	if (tensor_of(app) != NULL)
		draw_tensor(f, app, (const struct matrix *)p);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	page_draw(app, detail_state(app, &detail_matrix), paint, c, r);
}

static bool
act(struct app *app, enum action a)
{
	struct matrix *s = detail_state(app, &detail_matrix);

	if (a == ACT_DETAIL_NEXT || a == ACT_ENTER) {
		s->asked = tensor_of(app);
		want(app, s);
		app_dirty(app);
		return true;
	}
	return page_scroll(app, &s->page, paint, a);
}

const struct detail detail_matrix = {
	.name = "matrix",
	.fits = fits,
	.make = make,
	.drop = drop,
	.update = update,
	.draw = draw,
	.act = act,
};
