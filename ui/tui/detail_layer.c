/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A layer: its parts; an FFN or the norms of a layer: their tensors. */
#include "ui/tui/view.h"

#include <math.h>
#include <string.h>

#include "ui/number.h"
#include "ui/tui/page.h"
#include "ui/tui/score.h"

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && (t->kind == TARGET_LAYER ||
	    t->kind == TARGET_FFN || t->kind == TARGET_NORM) &&
	    t->layer >= 0 && t->layer < m->nlayers;
}

static void
update(struct app *app, unsigned change)
{
	page_update(app, detail_state(app, &detail_layer), change);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
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
draw_layer(struct facts *f, const struct app *app, const struct page *p)
{
	const struct model *m = app_model(app);
	const struct layer *y = &m->layer[app->target.layer];
	const struct account_row *row = sheet_find(&p->sheet,
	    app->target.path);

	facts_title(f, app->target.path, "layer %d of %d",
	    app->target.layer + 1, m->nlayers);
	facts_put(f, "heads", "%d of %d, %d wide", y->heads,
	    y->heads_original, y->head_dim);
	facts_put(f, "FFN", "%lld of %lld wide", (long long)y->ffn,
	    (long long)y->ffn_original);
	if (row == NULL)
		return;
	facts_sizes(f, row, sheet_total(&p->sheet), p->sheet.seq);
	put_norm(f, app, "attn norm", TARGET_ATTENTION);
	put_norm(f, app, "FFN norm", TARGET_FFN);
	facts_rule(f, "Parts");
	sheet_table(f, &p->sheet.modules, app->target.path,
	    (int)strlen(app->target.path) + 1, row);
	sheet_tensors(f, &p->sheet, app->target.path);
}

static void
draw_part(struct facts *f, const struct app *app, const struct page *p)
{
	const struct layer *y = &app_model(app)->layer[app->target.layer];
	const struct account_row *row = sheet_find(&p->sheet,
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
	facts_sizes(f, row, sheet_total(&p->sheet), p->sheet.seq);
	if (ffn)
		put_norm(f, app, "norm", TARGET_FFN);
	sheet_tensors(f, &p->sheet, app->target.path);
}

static void
paint(struct facts *f, const struct app *app, const struct page *p)
{
	if (!fits(app, &app->target))
		return;
	if (app->target.kind == TARGET_LAYER)
		draw_layer(f, app, p);
	else
		draw_part(f, app, p);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	page_draw(app, detail_state(app, &detail_layer), paint, c, r);
}

static bool
act(struct app *app, enum action a)
{
	return page_act(app, detail_state(app, &detail_layer), paint, a);
}

const struct detail detail_layer = {
	.name = "layer",
	.fits = fits,
	.make = page_make,
	.drop = page_drop,
	.update = update,
	.draw = draw,
	.act = act,
};
