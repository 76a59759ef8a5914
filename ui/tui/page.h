/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * page: a detail that is a page of facts about the current model, longer than
 * the pane at times and then scrolled. The state of such a detail begins with a
 * struct page.
 */
#ifndef PARE_UI_TUI_PAGE_H
#define PARE_UI_TUI_PAGE_H

#include "ui/tui/sheet.h"
#include "ui/tui/view.h"

struct page {
	struct sheet sheet;
	int skip;	/* lines above the pane */
};

/* All of the page; may be asked to draw into no cells, for its height. */
typedef void page_paint(struct facts *f, const struct app *app,
    const struct page *p);

/* For details with no state beside it. */
void *page_make(void);
void page_drop(void *page);

/* The sheet again where it may be another model; the top of the page where it
 * is about something else. */
void page_update(struct app *app, struct page *p, unsigned change);
void page_draw(const struct app *app, const struct page *p, page_paint *paint,
    struct cells *c, struct rect r);
/* Moves within the page; false: it is not moved. */
bool page_scroll(struct app *app, struct page *p, page_paint *paint,
    enum action a);
/* ACT_DETAIL_LAYER_NEXT and _PREV: the same part of another layer, or scrolling
 * for all others. */
bool page_act(struct app *app, struct page *p, page_paint *paint,
    enum action a);

#endif
