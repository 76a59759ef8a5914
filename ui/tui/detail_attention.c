/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The attention of a layer: its heads and their magnitudes, its tensors. */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/score.h"
#include "ui/tui/sheet.h"

struct attention_state {
	struct sheet sheet;
	int skip;
};

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && t->kind == TARGET_ATTENTION && t->layer >= 0 &&
	    t->layer < m->nlayers;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct attention_state));
}

static void
drop(void *state)
{
	struct attention_state *s = state;

	sheet_free(&s->sheet);
	free(s);
}

static void
update(struct app *app, unsigned change)
{
	struct attention_state *s = detail_state(app, &detail_attention);

	sheet_update(&s->sheet, app, change);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		s->skip = 0;
}

static void
draw_heads(struct facts *f, const struct app *app, const struct layer *y)
{
	double v[MODEL_HEADS_MAX], most = 0, mean;
	int names = f->name_cols;

	mean = scores_heads(scores_of(app), app_model(app), app->target.layer,
	    v);
	for (int h = 0; h < y->heads_original; h++)
		most = v[h] > most ? v[h] : most;
	facts_rule(f, "Heads, norm against the mean");
	f->name_cols = 4;
	for (int h = 0; h < y->heads_original; h++) {
		char name[16], text[48];

		snprintf(name, sizeof(name), "h%d", h);
		if (!head_set_has(&y->head, h) || y->heads == 0)
			snprintf(text, sizeof(text), "%s pruned",
			    glyph(f->c, GLYPH_PRUNED));
		else if (mean > 0)
			snprintf(text, sizeof(text), "%.2f x", v[h] / mean);
		else
			snprintf(text, sizeof(text), "?");
		facts_bar(f, name, text, most > 0 ? v[h] / most : 0);
	}
	f->name_cols = names;
}

static void
draw_attention(struct facts *f, const struct app *app,
    const struct attention_state *s)
{
	const struct layer *y = &app_model(app)->layer[app->target.layer];
	const struct account_row *row = sheet_find(&s->sheet,
	    app->target.path);

	facts_title(f, app->target.path, "attention");
	if (y->heads == 0) {
		facts_text(f, STYLE_CHANGED, "%s removed; x brings it back",
		    glyph(f->c, GLYPH_PRUNED));
		return;
	}
	facts_put(f, "heads", "%d of %d, %d wide", y->heads,
	    y->heads_original, y->head_dim);
	if (y->kv_heads != y->heads)
		facts_put(f, "KV heads", "%d", y->kv_heads);
	if (row != NULL)
		facts_sizes(f, row, sheet_total(&s->sheet), s->sheet.seq);
	draw_heads(f, app, y);
	if (row != NULL)
		sheet_tensors(f, &s->sheet, app->target.path);
}

static int
paint(const struct app *app, const struct attention_state *s, struct cells *c,
    struct rect r)
{
	struct facts f = facts_begin(c, r, s->skip);

	if (fits(app, &app->target))
		draw_attention(&f, app, s);
	return f.line;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	paint(app, detail_state(app, &detail_attention), c, r);
}

static bool
step_layer(struct app *app, int step)
{
	int layer = app->target.layer + step;
	struct target t = target_part(layer, TARGET_ATTENTION);

	if (app_model(app) == NULL || layer < 0 ||
	    layer >= app_model(app)->nlayers)
		return false;
	app_select(app, &t);
	return true;
}

static bool
act(struct app *app, enum action a)
{
	struct attention_state *s = detail_state(app, &detail_attention);
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

const struct detail detail_attention = {
	.name = "attention",
	.fits = fits,
	.make = make,
	.drop = drop,
	.update = update,
	.draw = draw,
	.act = act,
};
