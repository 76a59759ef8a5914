/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The session as the views see it. Rows of states that were there before keep
 * what was worked out for them; evaluations are copied, for the session's own
 * may be replaced while it is lent to the worker.
 */
#include "ui/tui/app_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "session/memory.h"
#include "session/settings.h"

static void
drop_eval(struct snap_state *t)
{
	if (t->eval == NULL)
		return;
	evaluation_free(t->eval);
	free(t->eval);
	t->eval = NULL;
}

static void
state_free(struct snap_state *t)
{
	free(t->command);
	free(t->mark);
	model_unref(t->model);
	drop_eval(t);
}

static void
plan_free(struct snap_plan *p)
{
	if (p == NULL)
		return;
	for (int u = 0; u < PLAN_USES; u++) {
		plan_curve_free(&p->curve[u]);
		plan_offer_free(&p->offer[u]);
	}
	plan_fit_free(&p->drop);
	plan_book_free(p->book);
	free(p);
}

void
snapshot_free(struct snapshot *s)
{
	for (int i = 0; i < s->n; i++)
		state_free(&s->state[i]);
	free(s->state);
	free(s->data_path);
	free(s->parts);
	head_scores_free(&s->heads);
	plan_free(s->plan);
	memset(s, 0, sizeof(*s));
	s->partial.state = -1;
}

/* The evaluation that the session remembers; again when it is another one. */
static void
take_eval(struct snap_state *t, const struct session *s, enum metric metric)
{
	uint64_t hash = atomic_load(&t->model->hash);
	const struct dataset *d = session_data(s, t->model, ROLE_EVAL);
	const struct evaluation *v = NULL;

	if (hash != 0 && d != NULL)
		v = memory_evaluation(s->memory, hash, d, metric);
	if (v != NULL && t->eval != NULL &&
	    v->data_hash == t->eval->data_hash &&
	    v->seconds == t->eval->seconds && v->value == t->eval->value &&
	    v->divergence.reference == t->eval->divergence.reference)
		return;
	drop_eval(t);
	if (v == NULL)
		return;
	t->eval = xmalloc(sizeof(*t->eval));
	evaluation_copy(t->eval, v);
}

static void
take_latency(struct snap_state *t, const struct session *s)
{
	uint64_t hash = atomic_load(&t->model->hash);
	const struct latency *l = hash == 0 ? NULL :
	    memory_latency_of(s->memory, hash);

	t->has_latency = l != NULL;
	if (l != NULL)
		t->latency = *l;
}

/* Likewise copied. */
static void
take_parts(struct snapshot *snap, const struct session *s)
{
	uint64_t hash = atomic_load(&session_model(s)->hash);

	free(snap->parts);
	snap->parts = hash == 0 ? NULL :
	    latency_parts_copy(memory_parts_of(s->memory, hash));
}

static void
take_heads(struct snapshot *snap, const struct session *s)
{
	const struct head_scores *h = calibration_heads(s->calibration,
	    atomic_load(&session_model(s)->hash));

	head_scores_free(&snap->heads);
	if (h != NULL)
		head_scores_copy(&snap->heads, h);
}

/* The options of the current state, made anew when there are others. */
static void
take_plan(struct snapshot *snap, const struct session *s)
{
	struct plan_book *b = s->plan;
	struct snap_plan *p = snap->plan;
	struct plan_fit kl;

	if (b != NULL && b->model != session_model(s))
		b = NULL;
	if (p != NULL && p->book == b && p->anchors == b->nanchors)
		return;
	plan_free(p);
	snap->plan = NULL;
	if (b == NULL)
		return;
	p = snap->plan = xcalloc(1, sizeof(*p));
	p->book = plan_book_ref(b);
	p->anchors = b->nanchors;
	memcpy(p->anchor, b->anchor, sizeof(p->anchor));
	plan_fits(b, &kl, &p->drop, NULL);
	plan_fit_free(&kl);
	for (int u = 0; u < PLAN_USES; u++) {
		plan_offer_make(&p->offer[u], b, 1u << u, b->families);
		plan_curve_make(&p->curve[u], p->offer[u].unit, p->offer[u].n,
		    (enum plan_use)u, NULL);
	}
}

static void
take_state(struct snap_state *t, const struct session *s, int id, int64_t seq,
    bool known)
{
	const struct state *from = &s->history.state[id];

	if (!known) {
		t->id = id;
		t->parent = from->parent;
		t->command = from->command != NULL ? xstrdup(from->command) :
		    NULL;
		t->seconds = from->seconds;
		t->model = model_ref(from->model);
	}
	if (!known || seq > 0)
		account_totals(t->model, seq > 0 ? seq : ACCOUNT_SEQ_DEFAULT,
		    false, &t->totals);
	free(t->mark);
	t->mark = from->mark != NULL ? xstrdup(from->mark) : NULL;
	take_latency(t, s);
}

/* How many rows are still those of the session: all or none but new ones. */
static int
rows_kept(const struct snapshot *snap, const struct session *s)
{
	int n = snap->n < s->history.n ? snap->n : s->history.n;

	for (int i = 0; i < n; i++)
		if (snap->state[i].model != s->history.state[i].model)
			return 0;
	return n;
}

static void
take_states(struct snapshot *snap, const struct session *s)
{
	int64_t seq = settings_int(s->settings, SET_SEQ);
	int kept = rows_kept(snap, s), n = s->history.n;
	bool again = seq != snap->seq;

	for (int i = kept; i < snap->n; i++)
		state_free(&snap->state[i]);
	snap->state = xrealloc(snap->state, (size_t)n * sizeof(*snap->state));
	memset(snap->state + kept, 0, (size_t)(n - kept) *
	    sizeof(*snap->state));
	snap->n = n;
	snap->seq = seq;
	for (int i = 0; i < n; i++)
		take_state(&snap->state[i], s, i, i >= kept || again ? seq : 0,
		    i < kept);
}

static void
compare_states(struct snapshot *s)
{
	const struct evaluation *now = s->state[s->current].eval;
	const struct evaluation *was = s->state[0].eval;

	s->compared = s->current != 0 && now != NULL && was != NULL &&
	    now->total == was->total && (!now->per_token ||
	    now->data_hash == was->data_hash);
	if (s->compared)
		evaluation_compare(was, now, &s->comparison);
}

static void
take_data(struct snapshot *snap, const struct session *s)
{
	const struct dataset *d = s->data[ROLE_EVAL];

	snap->data = d != NULL && d->encoded ? d : NULL;
	d = session_data(s, s->history.state[0].model, ROLE_EVAL);
	snap->first_data = d != NULL && d->encoded ? d : NULL;
	d = s->data[ROLE_EVAL];
	free(snap->data_path);
	snap->data_path = d != NULL && d->path != NULL ? xstrdup(d->path) :
	    NULL;
}

static void
take_settings(struct snapshot *snap, const struct session *s)
{
	snprintf(snap->columns, sizeof(snap->columns), "%s",
	    settings_text(s->settings, SET_COLUMNS));
	snap->seed = (uint64_t)settings_int(s->settings, SET_SEED);
}

void
snapshot_take(struct app *app)
{
	const struct session *s = app->p->session;
	struct snapshot *snap = &app->snap;
	const struct model *m = session_model(s);

	if (m == NULL) {
		snapshot_free(snap);
		app->p->opened = NULL;
	}
	take_settings(snap, s);
	if (m == NULL)
		return;
	take_states(snap, s);
	take_parts(snap, s);
	take_heads(snap, s);
	take_plan(snap, s);
	take_data(snap, s);
	snap->open = true;
	snap->ghost = m->ghost;
	snap->current = s->history.current;
	snap->metric = metric_of(m->hp.head);
	snap->can_eval = !m->ghost && evaluate_can(m, s->data[ROLE_EVAL]);
	for (int i = 0; i < snap->n; i++)
		take_eval(&snap->state[i], s, snap->metric);
	compare_states(snap);
	app->p->opened = s->history.state[0].model;
	app->p->data_hash = snap->data != NULL ? snap->data->hash : 0;
}

unsigned
snapshot_change(const struct app *app)
{
	const struct session *s = app->p->session;
	const struct snapshot *snap = &app->snap;
	const struct dataset *d = s->data[ROLE_EVAL];
	unsigned change = 0;

	if (s->history.n == 0)
		return snap->open ? CHANGE_OPENED | CHANGE_MODEL |
		    CHANGE_HISTORY | CHANGE_DATA : 0;
	if (!snap->open || app->p->opened != s->history.state[0].model)
		change |= CHANGE_OPENED | CHANGE_MODEL | CHANGE_HISTORY |
		    CHANGE_DATA;
	if (snap->n != s->history.n)
		change |= CHANGE_HISTORY;
	if (snap->open && (snap->current != s->history.current ||
	    snap->state[snap->current].model != session_model(s)))
		change |= CHANGE_MODEL;
	if ((d != NULL && d->encoded ? d : NULL) != snap->data ||
	    (snap->data != NULL && d->hash != app->p->data_hash))
		change |= CHANGE_DATA;
	return change;
}
