/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/look.h"
#include "ui/render.h"

struct states *
states_of(const struct app *app)
{
	return app->state[VIEW_HISTORY];
}

const struct snap_state *
states_get(const struct app *app, int id)
{
	return id >= 0 && id < app->snap.n ? &app->snap.state[id] : NULL;
}

void
states_follow(struct app *app, unsigned change)
{
	struct states *s = states_of(app);

	if ((change & CHANGE_OPENED) != 0) {
		s->picked = -1;
		s->seen = -1;
	}
	if (s->picked >= app->snap.n)
		s->picked = -1;
	if (s->seen != app->snap.current || s->id >= app->snap.n)
		s->id = app->snap.current;
	s->seen = app->snap.current;
}

void
states_value(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	const struct snap_partial *p = &app->snap.partial;
	const char *metric = metric_table[app->snap.metric].name;

	out[0] = '\0';
	if (s->eval != NULL) {
		render_metric(out, NUMBER_MAX, metric_table[
		    s->eval->metric].name, s->eval->value);
	} else if (p->on && p->state == s->id && p->n > 0) {
		out[0] = '~';
		render_metric(out + 1, NUMBER_MAX - 1, metric, p->value);
	} else if (app->snap.can_eval) {
		snprintf(out, NUMBER_MAX, "?");
	}
}

void
states_latency(const struct snap_state *s, char out[NUMBER_MAX])
{
	out[0] = '\0';
	if (s->has_latency)
		number_seconds(out, s->latency.p50_ms / 1000);
}

const char *
states_command(const struct snap_state *s)
{
	return s->command != NULL ? s->command : "as opened";
}

void
states_name(const struct snap_state *s, char *out, size_t n)
{
	if (s->mark != NULL)
		snprintf(out, n, "%d %s", s->id, s->mark);
	else
		snprintf(out, n, "%d%s", s->id, s->id == 0 ? " original" : "");
}

/* ---- in words ---- */

static void
describe_size(const struct app *app, const struct snap_state *s,
    struct str *b)
{
	const struct totals *o = &app->snap.state[0].totals;
	double seq = (double)(app->snap.seq > 0 ? app->snap.seq : 1);
	char a[NUMBER_MAX];

	number_bytes(a, (double)s->totals.bytes);
	str_addf(b, "%s stored", a);
	if (s->totals.bytes != o->bytes) {
		number_change(a, (double)o->bytes, (double)s->totals.bytes);
		str_addf(b, " (%s)", a);
	}
	number_count(a, (double)s->totals.params);
	str_addf(b, ", %s parameters", a);
	number_count(a, (double)s->totals.macs / seq);
	str_addf(b, ", %s MACs a token", a);
}

static void
describe_value(const struct app *app, const struct snap_state *s,
    struct str *b)
{
	const struct snap_partial *p = &app->snap.partial;
	char value[NUMBER_MAX], low[NUMBER_MAX], high[NUMBER_MAX];
	enum metric m = s->eval != NULL ? s->eval->metric : app->snap.metric;
	const char *name = metric_table[m].name, *unit;

	states_value(app, s, value);
	if (value[0] == '\0')
		return;
	if (value[0] == '?') {
		str_addf(b, "; %s unknown: never evaluated to its end", name);
		return;
	}
	str_addf(b, "; %s %s", name, value);
	render_metric_bare(low, sizeof(low), name, s->eval != NULL ?
	    s->eval->low : p->low, &unit);
	render_metric_bare(high, sizeof(high), name, s->eval != NULL ?
	    s->eval->high : p->high, &unit);
	if (s->eval != NULL)
		str_addf(b, " (%s to %s, n %lld)", low, high,
		    (long long)s->eval->n);
	else
		str_addf(b, " (%s to %s, partial: %lld of %lld)", low, high,
		    (long long)p->n, (long long)p->total);
}

static void
describe_latency(const struct snap_state *s, struct str *b)
{
	char a[NUMBER_MAX];

	if (!s->has_latency)
		return;
	states_latency(s, a);
	str_addf(b, "; latency %s", a);
	if (s->latency.has_ratio)
		str_addf(b, ", %.2f x (%.2f to %.2f)", s->latency.ratio,
		    s->latency.ratio_low, s->latency.ratio_high);
}

void
states_describe(const struct app *app, int id, struct str *b)
{
	const struct snap_state *s = states_get(app, id);

	if (s == NULL)
		return;
	str_addf(b, "State %d", id);
	if (s->mark != NULL)
		str_addf(b, " (%s)", s->mark);
	if (id == app->snap.current)
		str_add(b, ", the current one");
	if (id == 0)
		str_add(b, ", the original");
	else
		str_addf(b, ", from %d by %s", s->parent, states_command(s));
	str_add(b, ": ");
	describe_size(app, s, b);
	describe_value(app, s, b);
	describe_latency(s, b);
	str_add(b, ".");
}

bool
states_in_front(const struct app *app, enum view_id view)
{
	return app->depth > 0 && app->stack[app->depth - 1] == view;
}

int
states_wrap(struct cells *c, struct rect r, unsigned style, const char *text)
{
	struct look l = { .ascii = c->ascii, .width = r.cols };
	struct str b = STR_INIT;
	char *line, *next;
	int n = 0;

	if (r.cols < 1 || r.rows < 1)
		return 0;
	look_wrap(&b, &l, 0, 0, text);
	for (line = b.s; *line != '\0' && n < r.rows; line = next) {
		next = strchr(line, '\n');
		if (next == NULL)
			next = line + strlen(line);
		else
			*next++ = '\0';
		/* The last row tells when there is more. */
		if (n == r.rows - 1 && *next != '\0')
			cells_putf(c, r.row + n, r.col, r.cols, style, "%s %s",
			    line, next);
		else
			cells_put(c, r.row + n, r.col, r.cols, style, line);
		n++;
	}
	str_free(&b);
	return n;
}

/* ---- what can be done with a state ---- */

static void
compare(struct app *app, const struct states *s)
{
	int a = s->picked >= 0 ? s->picked : 0, b = s->id;

	if (a == b && s->picked < 0)
		b = app->snap.current;
	if (a == b) {
		app_message(app, STYLE_WARN, "these are one state: pick "
		    "another one to compare with");
		return;
	}
	compare_choose(app, a, b);
	app_push(app, VIEW_COMPARE);
}

static void
pick(struct app *app, struct states *s)
{
	s->picked = s->picked == s->id ? -1 : s->id;
	if (s->picked >= 0)
		app_message(app, STYLE_NORMAL, "state %d is picked: go to "
		    "another one and compare", s->picked);
	app_dirty(app);
}

bool
states_act(struct app *app, enum action a)
{
	struct states *s = states_of(app);
	char line[64];

	if (states_get(app, s->id) == NULL)
		return false;
	switch (a) {
	case ACT_ENTER:
		if (s->id == app->snap.current)
			app_message(app, STYLE_NORMAL, "state %d is the "
			    "current one", s->id);
		else
			app_commandf(app, "goto %d", s->id);
		return true;
	case ACT_MARK:
		snprintf(line, sizeof(line), "mark state=%d name=", s->id);
		app_prompt(app, line);
		return true;
	case ACT_PICK:
		pick(app, s);
		return true;
	case ACT_COMPARE:
		compare(app, s);
		return true;
	default:
		return false;
	}
}
