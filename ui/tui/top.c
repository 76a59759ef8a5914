/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/top.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"
#include "ui/number.h"
#include "ui/render.h"

enum figure { FIG_NAME, FIG_ARCH, FIG_STATE, FIG_METRIC, FIG_FLIPS, FIG_PARAMS,
	FIG_BYTES, FIG_MACS, FIG_LATENCY, FIG_COUNT };

/* What it costs to do without, from little to much. */
enum price {
	NO_LATENCY_SIGN = 1,	/* "latency ?" */
	NO_LAYERS,		/* "BERT" for "BERT, 4 layers" */
	NO_LABEL,		/* "1.2 ms" for "latency 1.2 ms" */
	NO_ARCH,
	NO_MARK,		/* "state 1 of 2" */
	NO_WORD,		/* "340/1000" for "partial 340/1000" */
	NO_BRACKETS,		/* "845 k -1.9 %" */
	NO_SPACE,		/* "845 k -1.9%" */
	NO_LONG_NAME,
	NO_LONGISH_NAME,
	NO_FLIPS,		/* "+0.4" */
	NO_MACS, NO_PARAMS,
	NO_STATE_WORD,		/* "1/2" */
	NO_METRIC_NAME,
	NO_LATENCY,
	NO_INTERVAL,
	NO_CHANGE,		/* of the bytes */
	NO_DELTA,
	NO_FULL_NAME,
	NO_BYTES, NO_STATE, NO_NAME,
	NEVER
};

/* ---- fitting ------------------------------------------------------------- */

static const char *
spelled(const struct top_figure *f)
{
	return f->at < TOP_SPELLINGS ? f->text[f->at] : "";
}

static int
width_of(const struct top_figure *f, int n)
{
	int cols = -TOP_GAP;

	for (int i = 0; i < n; i++)
		if (spelled(&f[i])[0] != '\0')
			cols += look_columns(spelled(&f[i])) + TOP_GAP;
	return cols;
}

void
top_fit(struct top_figure *f, int n, int cols)
{
	while (width_of(f, n) > cols) {
		int least = NEVER;

		for (int i = 0; i < n; i++)
			if (spelled(&f[i])[0] != '\0' &&
			    f[i].price[f[i].at] < least)
				least = f[i].price[f[i].at];
		if (least == NEVER)
			return;
		for (int i = 0; i < n; i++)
			if (spelled(&f[i])[0] != '\0' &&
			    f[i].price[f[i].at] == least)
				f[i].at++;
	}
}

/* ---- spelling ------------------------------------------------------------ */

/* The next spelling of a figure; one like the last only makes that dearer. */
PARE_PRINTF(3, 4) static void
spell(struct top_figure *f, int price, const char *fmt, ...)
{
	char text[sizeof(f->text[0])] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (f->at > 0 && strcmp(f->text[f->at - 1], text) == 0) {
		f->price[f->at - 1] = price;
		return;
	}
	memcpy(f->text[f->at], text, sizeof(text));
	f->price[f->at++] = price;
}

/* The name, cut shorter and shorter. */
static void
spell_name(struct top_figure *f, const char *name, bool ascii)
{
	static const int price[TOP_SPELLINGS] = { NO_LONG_NAME,
		NO_LONGISH_NAME, NO_FULL_NAME, NO_NAME };
	static const int cols[TOP_SPELLINGS] = { 40, 20, 12, 8 };
	const struct look l = { .width = 80, .ascii = ascii };
	char *clean = look_clean(&l, name);

	for (int i = 0; i < TOP_SPELLINGS; i++) {
		struct str b = STR_INIT;

		look_cut(&b, &l, clean, cols[i]);
		spell(f, price[i], "%s", b.s);
		str_free(&b);
	}
	free(clean);
}

static void
make_name(const struct app *app, bool ascii, struct top_figure *f)
{
	const struct snap_state *now = app_now(app);
	const char *none = app->snap.ghost ? ", no weights" : "";

	f[FIG_NAME].style = STYLE_TITLE;
	spell_name(&f[FIG_NAME], now->model->origin->name, ascii);
	f[FIG_ARCH].style = STYLE_TOP;
	spell(&f[FIG_ARCH], NO_LAYERS, "%s, %d layers%s",
	    now->model->arch->title, now->model->nlayers, none);
	spell(&f[FIG_ARCH], NO_ARCH, "%s%s", now->model->arch->title, none);
	f[FIG_STATE].style = STYLE_TOP;
	if (now->mark != NULL)
		spell(&f[FIG_STATE], NO_MARK, "state %d (%s) of %d", now->id,
		    now->mark, app->snap.n);
	spell(&f[FIG_STATE], NO_STATE_WORD, "state %d of %d", now->id,
	    app->snap.n);
	spell(&f[FIG_STATE], NO_STATE, "%d/%d", now->id, app->snap.n);
}

/* A size and its change in up to four spellings; the price of the last one with
 * the change, and of the one without. */
static void
spell_size(struct top_figure *f, const char *name, const char *value,
    double now, double was, int change, int none)
{
	char text[NUMBER_MAX];

	f->style = now == was ? STYLE_TOP : STYLE_CHANGED;
	number_change(text, was, now);
	if (now == was || strcmp(text, "-") == 0) {
		spell(f, none, "%s%s", name, value);
		return;
	}
	spell(f, NO_BRACKETS, "%s%s (%s)", name, value, text);
	spell(f, NO_SPACE, "%s%s %s", name, value, text);
	spell(f, change, "%s%s %.*s%%", name, value, (int)strcspn(text, " "),
	    text);
	spell(f, none, "%s%s", name, value);
}

static void
make_sizes(const struct app *app, struct top_figure *f)
{
	const struct totals *now = &app_now(app)->totals;
	const struct totals *was = &app_original(app)->totals;
	char text[NUMBER_MAX];

	number_count(text, (double)now->params);
	spell_size(&f[FIG_PARAMS], "params ", text, (double)now->params,
	    (double)was->params, NO_PARAMS, NO_PARAMS);
	number_bytes(text, (double)now->bytes);
	spell_size(&f[FIG_BYTES], "", text, (double)now->bytes,
	    (double)was->bytes, NO_CHANGE, NO_BYTES);
	number_count(text, (double)now->macs / (double)app->snap.seq);
	spell_size(&f[FIG_MACS], "MACs ", text, (double)now->macs,
	    (double)was->macs, NO_MACS, NO_MACS);
}

/* "accuracy 94.1 % (92.5-95.5)", "~" before a partial one. */
static void
spell_metric(struct top_figure *f, const char *metric, double value,
    double low, double high, const struct snap_partial *partial)
{
	char v[32], a[32], b[32];
	const char *unit, *sign = partial != NULL ? "~" : "";

	f->style = partial != NULL ? STYLE_WARN : STYLE_TOP;
	render_metric(v, sizeof(v), metric, value);
	render_metric_bare(a, sizeof(a), metric, low, &unit);
	render_metric_bare(b, sizeof(b), metric, high, &unit);
	if (partial != NULL) {
		spell(f, NO_WORD, "%s ~%s (%s-%s, partial %lld/%lld)", metric,
		    v, a, b, (long long)partial->n,
		    (long long)partial->total);
		spell(f, NO_METRIC_NAME, "%s ~%s (%s-%s, %lld/%lld)", metric,
		    v, a, b, (long long)partial->n,
		    (long long)partial->total);
	} else {
		spell(f, NO_METRIC_NAME, "%s %s (%s-%s)", metric, v, a, b);
	}
	spell(f, NO_INTERVAL, "%s%s (%s-%s)", sign, v, a, b);
	spell(f, NEVER, "%s%s", sign, v);
}

static void
make_partial(const struct snapshot *s, struct top_figure *f)
{
	const char *metric = metric_table[s->metric].name;

	f[FIG_METRIC].style = f[FIG_FLIPS].style = STYLE_WARN;
	if (s->partial.n == 0) {
		spell(&f[FIG_METRIC], NEVER, "%s ...", metric);
		return;
	}
	spell_metric(&f[FIG_METRIC], metric, s->partial.value, s->partial.low,
	    s->partial.high, &s->partial);
	if (s->partial.compared)
		spell(&f[FIG_FLIPS], NO_FLIPS, "%lld fixed %lld broke",
		    (long long)s->partial.fixed, (long long)s->partial.broke);
}

/* Against the original. */
static void
make_flips(const struct snapshot *s, struct top_figure *f)
{
	const struct comparison *c = &s->comparison;

	f->style = STYLE_CHANGED;
	if (!s->compared)
		return;
	if (c->ratio != 0) {
		spell(f, NO_FLIPS, "x %.3f: %lld fixed %lld broke", c->ratio,
		    (long long)c->fixed, (long long)c->broke);
		spell(f, NO_DELTA, "x %.3f", c->ratio);
		return;
	}
	if (!metric_table[s->metric].share) {
		spell(f, NO_DELTA, "%+.3f", c->delta);
		return;
	}
	spell(f, NO_FLIPS, "%+.1f: %lld fixed %lld broke", 100 * c->delta,
	    (long long)c->fixed, (long long)c->broke);
	spell(f, NO_DELTA, "%+.1f", 100 * c->delta);
}

static void
make_metric(const struct app *app, struct top_figure *f)
{
	const struct snapshot *s = &app->snap;
	const struct snap_state *now = app_now(app);
	const char *metric = metric_table[s->metric].name;

	if (now->eval != NULL) {
		spell_metric(&f[FIG_METRIC], metric, now->eval->value,
		    now->eval->low, now->eval->high, NULL);
		make_flips(s, &f[FIG_FLIPS]);
	} else if (s->partial.on && s->partial.state == s->current) {
		make_partial(s, f);
	} else if (s->can_eval) {
		f[FIG_METRIC].style = STYLE_TOP;
		spell(&f[FIG_METRIC], NEVER, "%s ?", metric);
	}
}

static void
make_latency(const struct app *app, struct top_figure *f)
{
	const struct latency *l = &app_now(app)->latency;
	char ms[NUMBER_MAX];

	f->style = STYLE_TOP;
	if (!app_now(app)->has_latency) {
		/* A model without weights has none. */
		if (!app->snap.ghost)
			spell(f, NO_LATENCY_SIGN, "latency ?");
		return;
	}
	number_seconds(ms, l->p50_ms / 1000);
	if (!l->has_ratio) {
		spell(f, NO_LABEL, "latency %s", ms);
		spell(f, NO_LATENCY, "%s", ms);
		return;
	}
	f->style = STYLE_CHANGED;
	spell(f, NO_LABEL, "latency %s (%.2f x)", ms, l->ratio);
	spell(f, NO_BRACKETS, "%s (%.2f x)", ms, l->ratio);
	spell(f, NO_LATENCY, "%s %.2f x", ms, l->ratio);
}

/* ---- drawing ------------------------------------------------------------- */

/* What stands in which row, where there is one, two or three of them. What comes
 * and goes stands at the end, so that nothing moves with it. */
static const enum figure places[3][3][FIG_COUNT + 1] = {
	{ { FIG_NAME, FIG_STATE, FIG_METRIC, FIG_FLIPS, FIG_BYTES,
	    FIG_PARAMS, FIG_MACS, FIG_LATENCY, FIG_COUNT } },
	{ { FIG_NAME, FIG_STATE, FIG_METRIC, FIG_FLIPS, FIG_ARCH, FIG_COUNT },
	  { FIG_PARAMS, FIG_BYTES, FIG_MACS, FIG_LATENCY, FIG_COUNT } },
	{ { FIG_NAME, FIG_STATE, FIG_ARCH, FIG_COUNT },
	  { FIG_METRIC, FIG_FLIPS, FIG_LATENCY, FIG_COUNT },
	  { FIG_PARAMS, FIG_BYTES, FIG_MACS, FIG_COUNT } }
};

static void
draw_row(struct cells *c, struct rect r, const struct top_figure *all,
    const enum figure *place)
{
	struct top_figure f[FIG_COUNT];
	int n = 0, col = 0;

	for (; place[n] != FIG_COUNT; n++) {
		f[n] = all[place[n]];
		f[n].at = 0;
	}
	top_fit(f, n, r.cols);
	for (int i = 0; i < n; i++)
		if (spelled(&f[i])[0] != '\0')
			col += TOP_GAP + cells_put(c, r.row, r.col + col,
			    r.cols - col, f[i].style, spelled(&f[i]));
}

void
top_draw(const struct app *app, struct cells *c, struct rect r)
{
	struct top_figure f[FIG_COUNT];
	int rows = r.rows > 3 ? 3 : r.rows;

	if (rows == 0)
		return;
	if (app_now(app) == NULL) {
		cells_put(c, r.row, r.col, r.cols, STYLE_TITLE, app_busy(app) ?
		    "pare: opening" : "pare: no model is open");
		return;
	}
	memset(f, 0, sizeof(f));
	make_name(app, c->ascii, f);
	make_metric(app, f);
	make_sizes(app, f);
	make_latency(app, &f[FIG_LATENCY]);
	for (int i = 0; i < rows; i++)
		draw_row(c, (struct rect){ r.row + i, r.col, 1, r.cols }, f,
		    places[rows - 1][i]);
}
