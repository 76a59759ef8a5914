/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The attention of a layer: its heads and their magnitudes, its tensors. */
#include "ui/tui/view.h"

#include <stdio.h>

#include "ui/tui/page.h"
#include "ui/tui/score.h"

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && t->kind == TARGET_ATTENTION && t->layer >= 0 &&
	    t->layer < m->nlayers;
}

static void
update(struct app *app, unsigned change)
{
	page_update(app, detail_state(app, &detail_attention), change);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
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
paint(struct facts *f, const struct app *app, const struct page *p)
{
	const struct account_row *row;
	const struct layer *y;

	if (!fits(app, &app->target))
		return;
	y = &app_model(app)->layer[app->target.layer];
	row = sheet_find(&p->sheet, app->target.path);
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
		facts_sizes(f, row, sheet_total(&p->sheet), p->sheet.seq);
	draw_heads(f, app, y);
	if (row != NULL)
		sheet_tensors(f, &p->sheet, app->target.path);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	page_draw(app, detail_state(app, &detail_attention), paint, c, r);
}

static bool
act(struct app *app, enum action a)
{
	return page_act(app, detail_state(app, &detail_attention), paint, a);
}

const struct detail detail_attention = {
	.name = "attention",
	.fits = fits,
	.make = page_make,
	.drop = page_drop,
	.update = update,
	.draw = draw,
	.act = act,
};
