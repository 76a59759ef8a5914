/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/page.h"

#include <stdlib.h>

#include "base/mem.h"

void *
page_make(void)
{
	return xcalloc(1, sizeof(struct page));
}

void
page_drop(void *page)
{
	struct page *p = page;

	sheet_free(&p->sheet);
	free(p);
}

void
page_update(struct app *app, struct page *p, unsigned change)
{
	sheet_update(&p->sheet, app, change);
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		p->skip = 0;
}

void
page_draw(const struct app *app, const struct page *p, page_paint *paint,
    struct cells *c, struct rect r)
{
	struct facts f = facts_begin(c, r, p->skip);

	paint(&f, app, p);
}

bool
page_scroll(struct app *app, struct page *p, page_paint *paint, enum action a)
{
	struct rect r = app->layout.pane[PANE_DETAIL];
	struct cells none = { 0 };
	struct facts f = facts_begin(&none, r, 0);
	int skip;

	paint(&f, app, p);
	skip = facts_scroll(a, p->skip, f.line, r.rows);
	if (skip == p->skip)
		return false;
	p->skip = skip;
	app_dirty(app);
	return true;
}

static bool
step_layer(struct app *app, int step)
{
	int layer = app->target.layer + step;
	struct target t = target_part(layer, app->target.kind);

	if (app->target.layer < 0 || app_model(app) == NULL || layer < 0 ||
	    layer >= app_model(app)->nlayers)
		return false;
	app_select(app, &t);
	return true;
}

bool
page_act(struct app *app, struct page *p, page_paint *paint, enum action a)
{
	if (a == ACT_DETAIL_LAYER_NEXT || a == ACT_DETAIL_LAYER_PREV)
		return step_layer(app, a == ACT_DETAIL_LAYER_NEXT ? 1 : -1);
	return page_scroll(app, p, paint, a);
}
