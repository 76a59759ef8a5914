/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `prune heads`, `prune attention` and `prune ffn` commute, and what they leave
 * is said by which parts are there. So below the last ancestor that still had a
 * part, every state made by these ops alone is known by its parts; the state
 * wanted is the current set and one more.
 */
#include "ui/tui/toggle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* The parts of a model. */
struct parts {
	int n;
	struct head_set *head;	/* per layer; empty: no attention */
	bool *ffn;
};

/* What takes one set of parts to a smaller one; in order of doing. */
enum cut { CUT_HEADS, CUT_ATTENTION, CUT_FFN, CUT_COUNT };

static void
parts_of(const struct model *m, struct parts *p)
{
	p->n = m->nlayers;
	p->head = xcalloc((size_t)p->n, sizeof(*p->head));
	p->ffn = xcalloc((size_t)p->n, sizeof(*p->ffn));
	for (int l = 0; l < p->n; l++) {
		if (m->layer[l].heads > 0)
			p->head[l] = m->layer[l].head;
		p->ffn[l] = m->layer[l].ffn > 0;
	}
}

static void
parts_free(struct parts *p)
{
	free(p->head);
	free(p->ffn);
}

static bool
same_set(const struct head_set *a, const struct head_set *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool
subset(const struct head_set *a, const struct head_set *b)
{
	for (size_t i = 0; i < sizeof(a->w) / sizeof(a->w[0]); i++)
		if ((a->w[i] & ~b->w[i]) != 0)
			return false;
	return true;
}

bool
toggle_present(const struct model *m, const struct target *t)
{
	const struct layer *y;

	if (m == NULL || t->layer < 0 || t->layer >= m->nlayers)
		return false;
	y = &m->layer[t->layer];
	if (t->kind == TARGET_FFN)
		return y->ffn > 0;
	if (t->kind == TARGET_HEAD)
		return y->heads > 0 && head_set_has(&y->head, t->head);
	return y->heads > 0;
}

/* Made by an op that takes parts away and does nothing else. */
static bool
is_cut(const struct snap_state *s)
{
	char verb[16], what[16];

	return s->command != NULL &&
	    sscanf(s->command, "%15s %15s", verb, what) == 2 &&
	    strcmp(verb, "prune") == 0 && (strcmp(what, "heads") == 0 ||
	    strcmp(what, "attention") == 0 || strcmp(what, "ffn") == 0);
}

/* The nearest ancestor that has t; -1: none. *other: the first state on the way
 * down from it that was made otherwise; -1. */
static int
find_owner(const struct snapshot *snap, const struct target *t, int *other)
{
	int id = snap->current, layers = snap->state[id].model->nlayers;

	*other = -1;
	while (id >= 0 && !toggle_present(snap->state[id].model, t)) {
		const struct snap_state *s = &snap->state[id];

		if (!is_cut(s))
			*other = id;
		id = s->parent;
		if (id >= 0 && snap->state[id].model->nlayers != layers)
			return -1;
	}
	return id;
}

/* Whether only cuts lead from owner down to id. */
static bool
cut_from(const struct snapshot *snap, int id, int owner)
{
	while (id > owner && is_cut(&snap->state[id]))
		id = snap->state[id].parent;
	return id == owner;
}

/* Which kinds of cuts lead from `from` to `to`, as bits; -1: none do. */
static int
cuts_between(const struct parts *from, const struct parts *to)
{
	int cuts = 0;

	for (int l = 0; l < from->n; l++) {
		if (!subset(&to->head[l], &from->head[l]) ||
		    (to->ffn[l] && !from->ffn[l]))
			return -1;
		if (to->ffn[l] != from->ffn[l])
			cuts |= 1 << CUT_FFN;
		if (!same_set(&to->head[l], &from->head[l]))
			cuts |= 1 << (head_set_count(&to->head[l]) > 0 ?
			    CUT_HEADS : CUT_ATTENTION);
	}
	return cuts;
}

static void
add_heads(struct str *line, int l, const struct head_set *from,
    const struct head_set *to)
{
	bool first = true;

	for (int h = 0; h < MODEL_HEADS_MAX; h++)
		if (head_set_has(from, h) && !head_set_has(to, h)) {
			if (first)
				str_addf(line, " L%d.h%d", l, h);
			else
				str_addf(line, ",%d", h);
			first = false;
		}
}

/* The line that cuts so. */
static void
cut_line(const struct parts *from, const struct parts *to, enum cut cut,
    struct str *line)
{
	static const char *const verbs[] = { "prune heads", "prune attention",
		"prune ffn" };

	str_add(line, verbs[cut]);
	for (int l = 0; l < from->n; l++) {
		bool same = same_set(&to->head[l], &from->head[l]);
		bool gone = head_set_count(&to->head[l]) == 0;

		if (cut == CUT_FFN ? from->ffn[l] != to->ffn[l] :
		    cut == CUT_ATTENTION && !same && gone)
			str_addf(line, " L%d", l);
		else if (cut == CUT_HEADS && !same && !gone)
			add_heads(line, l, &from->head[l], &to->head[l]);
	}
}

/* The state to go to and the cut from there (CUT_COUNT: none is needed); -1: no
 * state is one command away. The latest one wins. */
static int
find_way(const struct snapshot *snap, int owner, const struct parts *want,
    enum cut *cut, struct str *line)
{
	int best = -1;

	for (int id = snap->n - 1; id >= owner; id--) {
		struct parts have;
		int cuts;

		if (!cut_from(snap, id, owner))
			continue;
		parts_of(snap->state[id].model, &have);
		cuts = cuts_between(&have, want);
		for (int k = 0; k < CUT_COUNT && best < 0; k++)
			if (cuts == 1 << k) {
				best = id;
				*cut = (enum cut)k;
				cut_line(&have, want, *cut, line);
			}
		parts_free(&have);
		if (cuts == 0) {
			*cut = CUT_COUNT;
			return id;
		}
	}
	return best;
}

/* The current parts and t. */
static void
wanted(const struct snapshot *snap, int owner, const struct target *t,
    struct parts *out)
{
	const struct layer *was = &snap->state[owner].model->layer[t->layer];

	parts_of(snap->state[snap->current].model, out);
	if (t->kind == TARGET_FFN)
		out->ffn[t->layer] = true;
	else if (t->kind == TARGET_HEAD)
		head_set_put(&out->head[t->layer], t->head, true);
	else
		out->head[t->layer] = was->head;
}

static void
go(struct app *app, int owner, const struct target *t)
{
	struct str line = STR_INIT;
	enum cut cut = CUT_COUNT;
	struct parts want;
	int id;

	wanted(&app->snap, owner, t, &want);
	id = find_way(&app->snap, owner, &want, &cut, &line);
	parts_free(&want);
	if (id < 0)
		app_message(app, STYLE_WARN, "%s is in state %d: `goto %d` "
		    "brings it back, without the parts pruned since", t->path,
		    owner, owner);
	else if ((id == app->snap.current ||
	    app_commandf(app, "goto %d", id)) && cut != CUT_COUNT)
		app_command(app, line.s);
	str_free(&line);
}

static void
restore(struct app *app, const struct target *t)
{
	int other, owner = find_owner(&app->snap, t, &other);
	const struct snap_state *s;

	if (owner < 0) {
		s = app_original(app);
		if (s->model->nlayers == app_model(app)->nlayers)
			app_message(app, STYLE_WARN, "the model was opened "
			    "without %s", t->path);
		else
			app_message(app, STYLE_WARN, "layers were removed and "
			    "renumbered since; the history has the state "
			    "before");
	} else if (other >= 0) {
		s = &app->snap.state[other];
		app_message(app, STYLE_WARN, "%s is in state %d: `goto %d` "
		    "brings it back, but without '%s'", t->path, owner, owner,
		    s->command != NULL ? s->command : "");
	} else {
		go(app, owner, t);
	}
}

void
toggle_target(struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	if (m == NULL)
		return;
	if (t->kind == TARGET_LAYER)
		app_commandf(app, "prune layers L%d", t->layer);
	else if (t->kind != TARGET_HEAD && t->kind != TARGET_ATTENTION &&
	    t->kind != TARGET_FFN)
		app_message(app, STYLE_WARN, "%s cannot be pruned as a whole; "
		    "'a' shows what can be applied to it", t->path);
	else if (!toggle_present(m, t) && app_busy(app))
		app_message(app, STYLE_WARN, "%s can be brought back when the "
		    "command that runs is done", t->path);
	else if (!toggle_present(m, t))
		restore(app, t);
	else if (t->kind == TARGET_HEAD)
		app_commandf(app, "prune heads L%d.h%d", t->layer, t->head);
	else
		app_commandf(app, "prune %s L%d", t->kind == TARGET_FFN ?
		    "ffn" : "attention", t->layer);
}
