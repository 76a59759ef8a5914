/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A unit's worth is, by the mean over samples,
 *
 *	answers	sum_y p(y) (d log q(y) / dg)^2 / 2, with p of the original and
 *		q of the model as it is by now: the paper's square of the
 *		divergence's own gradient is 0 before the first cut
 *	stream	sum over tokens of x_j^2 mean_i W_ij^2, of a head over its inputs
 *		j of the output matrix
 *
 * added up, the stream scaled so that over all units it is BALANCE of the answers
 * (whose size differs from model to model), and divided by its multiply-adds.
 */
#include "ops/walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"

#define BALANCE 0.02

/* One sub-layer. */
struct place {
	int layer;
	bool ffn;
	int64_t n, each;	/* units; inputs of the output matrix for one */
	double cost;		/* of a unit */
	double *worth, *adds;	/* n: for its cost; what it adds to the stream */
	bool *gone;		/* n */
};

struct walk {
	const struct op_input *in;
	struct model *now;	/* a reference */
	struct place *place;
	int n;
	double left;		/* of the budget */
	int64_t went[2];	/* heads, neurons */
	bool changed;		/* something below went */
	struct match_report report;
};

bool
walk_asked(const struct arg_list *args)
{
	return strcmp(arg_choice(args, "by"), "kprune") == 0;
}

double
walk_cost(const struct model *m, const struct layer *y, bool ffn, double seq)
{
	double width = (double)m->hp.hidden, d = y->head_dim, share;

	if (ffn)
		return width * (y->t[SLOT_GATE_W] != NULL ? 3 : 2);
	share = (double)y->heads / y->kv_heads;
	/* Queries and outputs of all heads, keys and values of one, scores and
	 * their sums. */
	return 2 * width * d * (share + 1) + 2 * seq * d * share;
}

static struct slot_ref
output_of(const struct place *p)
{
	return (struct slot_ref){ p->layer, p->ffn ? SLOT_DOWN_W :
	    SLOT_O_W };
}

static void
add_place(struct walk *w, int l, bool ffn)
{
	const struct model *m = w->in->model;
	const struct layer *y = &m->layer[l];
	struct place *p = &w->place[w->n];

	if (ffn ? y->ffn == 0 : y->heads == 0)
		return;
	*p = (struct place){ .layer = l, .ffn = ffn,
		.n = ffn ? y->ffn : y->kv_heads,
		.each = ffn ? 1 : y->heads / y->kv_heads * y->head_dim,
		.cost = walk_cost(m, y, ffn, (double)arg_int(w->in->args,
		    "seq")) };
	p->worth = xcalloc((size_t)p->n, sizeof *p->worth);
	p->adds = xcalloc((size_t)p->n, sizeof *p->adds);
	p->gone = xcalloc((size_t)p->n, sizeof *p->gone);
	w->n++;
}

static void
walk_free(struct walk *w)
{
	for (int i = 0; i < w->n; i++) {
		free(w->place[i].worth);
		free(w->place[i].adds);
		free(w->place[i].gone);
	}
	free(w->place);
	model_unref(w->now);
}

/* ---- measure ---- */

/* What place p adds to the stream: per input of its matrix the squares. */
static enum pare_rc
stream_squares(const struct walk *w, const struct place *p,
    const struct statistics *s, double **out, struct pare_err *err)
{
	const struct tensor *t = model_slot(w->now, output_of(p));
	const struct moments *x = statistics_of(s, output_of(p));
	double *v;
	enum pare_rc rc;

	*out = NULL;
	if (x == NULL || x->cols != t->cols || s->samples == 0)
		return err_set(err, PARE_EUSER,
		    "by=kprune: no calib sample got to L%d", p->layer);
	v = xcalloc((size_t)t->cols, sizeof *v);
	rc = ops_squares(t, NULL, v, err);
	for (int64_t j = 0; j < t->cols; j++)
		v[j] *= x->square[j] / (double)s->samples / (double)t->rows;
	*out = v;
	return rc;
}

/* Into p->worth what its units mean for the answers, into p->adds what they add
 * to the stream. */
static enum pare_rc
weigh(const struct walk *w, struct place *p, const struct gates_means *g,
    const struct statistics *s, struct pare_err *err)
{
	int64_t at = p->ffn ? g->at.neurons[p->layer] : g->at.heads[p->layer];
	int64_t gates = p->ffn ? 1 : p->each /
	    w->now->layer[p->layer].head_dim;
	double *add;
	enum pare_rc rc = stream_squares(w, p, s, &add, err);

	for (int64_t u = 0; u < p->n && rc == PARE_OK; u++) {
		p->worth[u] = p->adds[u] = 0;
		for (int64_t k = 0; k < gates; k++)
			p->worth[u] += g->square[at + u * gates + k] / 2;
		for (int64_t j = 0; j < p->each; j++)
			p->adds[u] += add[u * p->each + j];
	}
	free(add);
	return rc;
}

static double
sum(const double *v, int64_t n)
{
	double all = 0;

	for (int64_t i = 0; i < n; i++)
		all += v[i];
	return all;
}

/* Both in one measure, for a multiply-add. */
static void
join(struct walk *w, int first)
{
	double answers = 0, stream = 0, scale;

	for (int i = first; i < w->n; i++) {
		answers += sum(w->place[i].worth, w->place[i].n);
		stream += sum(w->place[i].adds, w->place[i].n);
	}
	/* Where the answers hang on nothing any more the stream decides. */
	scale = stream > 0 ? BALANCE * (answers > 0 ? answers : 1) / stream :
	    0;
	for (int i = first; i < w->n; i++) {
		struct place *p = &w->place[i];

		for (int64_t u = 0; u < p->n; u++)
			p->worth[u] = (p->worth[u] + scale * p->adds[u]) /
			    p->cost;
	}
}

/* All places from `first` on. */
static enum pare_rc
measure(struct walk *w, int first, struct pare_err *err)
{
	const struct op_reconstruct *b = w->in->calib->reconstruct;
	struct statistics *s;
	struct gates_means g;
	enum pare_rc rc = b->look(b, w->now, &g, &s, w->in->task, err);

	if (rc != PARE_OK)
		return rc;
	for (int i = first; i < w->n && rc == PARE_OK; i++)
		rc = weigh(w, &w->place[i], &g, s, err);
	if (rc == PARE_OK)
		join(w, first);
	gates_means_free(&g);
	statistics_free(s);
	return rc;
}

/* ---- search ---- */

/* Marks what goes of the places from `first` on: all but the best that the budget
 * has room for, and one of each place. */
static enum pare_rc
search(struct walk *w, int first, struct pare_err *err)
{
	int64_t n = 0, all = 0;
	bool *seen = xcalloc((size_t)w->n + 1, sizeof *seen);
	struct ops_unit *u;
	double spent = 0;

	for (int i = first; i < w->n; i++) {
		all += w->place[i].n;
		spent += w->place[i].cost;
	}
	u = mem_big((size_t)all + 1, sizeof *u, err);
	for (int i = first; i < w->n && u != NULL; i++)
		for (int64_t k = 0; k < w->place[i].n; k++)
			u[n++] = (struct ops_unit){ w->place[i].worth[k], k,
				i, 0 };
	if (u != NULL)
		ops_units_rank(u, n);
	while (--n >= 0 && u != NULL) {
		struct place *p = &w->place[u[n].layer];
		bool stays = !seen[u[n].layer];

		if (!stays && spent + p->cost <= w->left) {
			spent += p->cost;
			stays = true;
		}
		seen[u[n].layer] = true;
		p->gone[u[n].index] = !stays;
	}
	free(seen);
	free(u);
	return u != NULL ? PARE_OK : PARE_ENOMEM;
}

/* ---- cut and refit ---- */

static int64_t
count_gone(const struct place *p)
{
	int64_t n = 0;

	for (int64_t i = 0; i < p->n; i++)
		n += p->gone[i];
	return n;
}

static enum pare_rc
cut(const struct place *p, struct edit *e, struct pare_err *err)
{
	const struct layer *y = &e->source->layer[p->layer];
	struct head_set drop = { { 0 } };
	int64_t *keep, n = 0, at = 0;
	enum pare_rc rc;

	if (count_gone(p) == 0)
		return PARE_OK;
	for (int h = 0; h < y->heads_original && !p->ffn; h++)
		if (head_set_has(&y->head, h))
			head_set_put(&drop, h, p->gone[at++ * y->head_dim /
			    p->each]);
	if (!p->ffn)
		return edit_drop_heads(e, p->layer, &drop, err);
	keep = mem_big((size_t)p->n, sizeof *keep, err);
	if (keep == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < p->n; i++)
		if (!p->gone[i])
			keep[n++] = i;
	rc = edit_keep_neurons(e, p->layer, keep, n, err);
	free(keep);
	return rc;
}

/* Ends an edit of w->now, which becomes its result. */
static enum pare_rc
step(struct walk *w, struct edit *e, enum pare_rc rc, struct pare_err *err)
{
	struct model *next;

	if (rc != PARE_OK) {
		edit_abort(e);
		return rc;
	}
	if ((rc = edit_commit(e, &next, err)) != PARE_OK)
		return rc;
	model_unref(w->now);
	w->now = next;
	return PARE_OK;
}

static enum pare_rc
refit(struct walk *w, const struct place *p, struct pare_err *err)
{
	const struct op_reconstruct *b = w->in->calib->reconstruct;
	struct match_ask ask = { output_of(p), output_of(p) };
	struct edit *e;
	struct match k;
	enum pare_rc rc = b->match(b, w->now, &ask, &k, w->in->task, err);

	if (rc != PARE_OK)
		return rc;
	e = edit_begin(w->now, EDIT_REAL, 0, w->in->task);
	rc = match_fit(e, ask.now, &k, &w->report, err);
	match_free(&k);
	return step(w, e, rc, err);
}

static enum pare_rc
visit(struct walk *w, int i, struct pare_err *err)
{
	struct place *p = &w->place[i];
	int64_t gone;
	struct edit *e;
	enum pare_rc rc = PARE_OK;

	if (i % arg_int(w->in->args, "rescore") == 0)
		rc = measure(w, i, err);
	if (rc == PARE_OK)
		rc = search(w, i, err);
	if (rc != PARE_OK)
		return rc;
	gone = count_gone(p);
	w->left -= (double)(p->n - gone) * p->cost;
	w->went[p->ffn] += p->ffn ? gone : gone * p->each /
	    w->in->model->layer[p->layer].head_dim;
	w->changed = w->changed || gone > 0;
	if (gone > 0) {
		e = edit_begin(w->now, EDIT_REAL, 0, w->in->task);
		rc = step(w, e, cut(p, e, err), err);
	}
	return rc == PARE_OK && w->changed ? refit(w, p, err) : rc;
}

static enum pare_rc
go(struct walk *w, struct edit *e, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < w->n && rc == PARE_OK; i++) {
		if (!task_tick(w->in->task, i, w->n, "sub-layers"))
			return task_error(err);
		rc = visit(w, i, err);
	}
	for (int i = 0; i < w->n && rc == PARE_OK; i++)
		rc = cut(&w->place[i], e, err);
	if (rc == PARE_OK)
		ops_take_layers(e, w->now);
	return rc;
}

/* ---- the whole ---- */

static enum pare_rc
estimate(struct walk *w, struct edit *e, struct pare_err *err)
{
	enum pare_rc rc = measure(w, 0, err);

	if (rc == PARE_OK)
		rc = search(w, 0, err);
	for (int i = 0; i < w->n && rc == PARE_OK; i++)
		rc = cut(&w->place[i], e, err);
	return rc;
}

enum pare_rc
walk_units(const struct op_input *in, struct edit *e, double budget,
    struct str *note, struct pare_err *err)
{
	struct walk w = { .in = in, .now = model_ref(in->model),
		.left = budget };
	enum pare_rc rc = PARE_OK;

	w.place = xcalloc(2 * (size_t)in->model->nlayers + 1, sizeof *w.place);
	for (int l = 0; l < in->model->nlayers; l++) {
		add_place(&w, l, false);
		add_place(&w, l, true);
	}
	for (int i = 0; i < w.n && rc == PARE_OK; i++)
		rc = match_check(in->model, output_of(&w.place[i]),
		    "by=kprune", err);
	if (rc == PARE_OK && (in->calib == NULL || in->calib->reconstruct == NULL))
		rc = score_missing("by=kprune", err);
	if (rc == PARE_OK)
		rc = e->ctx.estimate ? estimate(&w, e, err) : go(&w, e, err);
	if (rc == PARE_OK && !e->ctx.estimate) {
		ops_note(note, "%lld heads and %lld neurons went",
		    (long long)w.went[0], (long long)w.went[1]);
		match_note(&w.report, note);
	}
	walk_free(&w);
	return rc;
}
