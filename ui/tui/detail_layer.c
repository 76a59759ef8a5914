/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A layer: its parts; an FFN or the norms of a layer: their tensors. */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/score.h"
#include "ui/tui/sheet.h"

struct layer_state {
	struct sheet sheet;
	int skip;
};

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && (t->kind == TARGET_LAYER ||
	    t->kind == TARGET_FFN || t->kind == TARGET_NORM) &&
	    t->layer >= 0 && t->layer < m->nlayers;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct layer_state));
}

static void
drop(void *state)
{
	struct layer_state *s = state;

	sheet_free(&s->sheet);
	free(s);
}

static void
update(struct app *app, unsigned change)
{
	struct layer_state *s = detail_state(app, &detail_layer);

	sheet_update(&s->sheet, app, change);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		s->skip = 0;
}

static void
put_norm(struct facts *f, const struct app *app, const char *name,
    enum target_kind kind)
{
	double v = scores_part(scores_of(app), app_model(app),
	    app->target.layer, kind);
	char a[NUMBER_MAX];

	if (!isfinite(v))
		return;
	number_plain(a, v);
	facts_put(f, name, "%s over all matrices", a);
}

static void
draw_layer(struct facts *f, const struct app *app, const struct layer_state *s)
{
	const struct model *m = app_model(app);
	const struct layer *y = &m->layer[app->target.layer];
	const struct account_row *row = sheet_find(&s->sheet,
	    app->target.path);

	facts_title(f, app->target.path, "layer %d of %d",
	    app->target.layer + 1, m->nlayers);
	facts_put(f, "heads", "%d of %d, %d wide", y->heads,
	    y->heads_original, y->head_dim);
	facts_put(f, "FFN", "%lld of %lld wide", (long long)y->ffn,
	    (long long)y->ffn_original);
	if (row == NULL)
		return;
	facts_sizes(f, row, sheet_total(&s->sheet), s->sheet.seq);
	put_norm(f, app, "attn norm", TARGET_ATTENTION);
	put_norm(f, app, "FFN norm", TARGET_FFN);
	facts_rule(f, "Parts");
	sheet_table(f, &s->sheet.modules, app->target.path,
	    (int)strlen(app->target.path) + 1, row);
	sheet_tensors(f, &s->sheet, app->target.path);
}

static void
draw_part(struct facts *f, const struct app *app, const struct layer_state *s)
{
	const struct layer *y = &app_model(app)->layer[app->target.layer];
	const struct account_row *row = sheet_find(&s->sheet,
	    app->target.path);
	bool ffn = app->target.kind == TARGET_FFN;

	facts_title(f, app->target.path, "%s", ffn ? "FFN" :
	    "norms of the layer");
	if (ffn && y->ffn == 0)
		facts_text(f, STYLE_CHANGED, "%s removed; x brings it back",
		    glyph(f->c, GLYPH_PRUNED));
	else if (ffn)
		facts_put(f, "width", "%lld of %lld", (long long)y->ffn,
		    (long long)y->ffn_original);
	if (row == NULL)
		return;
	facts_sizes(f, row, sheet_total(&s->sheet), s->sheet.seq);
	if (ffn)
		put_norm(f, app, "norm", TARGET_FFN);
	sheet_tensors(f, &s->sheet, app->target.path);
}

static int
paint(const struct app *app, const struct layer_state *s, struct cells *c,
    struct rect r)
{
	struct facts f = facts_begin(c, r, s->skip);

	if (!fits(app, &app->target))
		return 0;
	if (app->target.kind == TARGET_LAYER)
		draw_layer(&f, app, s);
	else
		draw_part(&f, app, s);
	return f.line;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	paint(app, detail_state(app, &detail_layer), c, r);
}

static bool
step_layer(struct app *app, int step)
{
	int layer = app->target.layer + step;
	struct target t = app->target.kind == TARGET_LAYER ?
	    target_layer(layer) : target_part(layer, app->target.kind);

	if (app_model(app) == NULL || layer < 0 ||
	    layer >= app_model(app)->nlayers)
		return false;
	app_select(app, &t);
	return true;
}

static bool
act(struct app *app, enum action a)
{
	struct layer_state *s = detail_state(app, &detail_layer);
	struct rect r = app->layout.pane[PANE_DETAIL];
	struct cells none = { 0 };
	int skip;

	if (a == ACT_DETAIL_LAYER_NEXT || a == ACT_DETAIL_LAYER_PREV)
		return step_layer(app, a == ACT_DETAIL_LAYER_NEXT ? 1 : -1);
	skip = facts_scroll(a, s->skip, paint(app, s, &none, r), r.rows);
	if (skip == s->skip)
		return false;
	s->skip = skip;
	app_dirty(app);
	return true;
}

const struct detail detail_layer = {
	.name = "layer",
	.fits = fits,
	.make = make,
	.drop = drop,
	.update = update,
	.draw = draw,
	.act = act,
};
