/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/mouse.h"

#include "base/str.h"
#include "ui/tui/app_private.h"

struct mouse
mouse_decode(int button, int col, int row, bool press)
{
	enum { SHIFT = 4, META = 8, CONTROL = 16 };
	struct mouse m = { MOUSE_NOTHING, row - 1, col - 1 };
	int plain = button & ~(SHIFT | META | CONTROL);

	if (!press || row < 1 || col < 1)
		return m;
	m.what = plain == 0 ? MOUSE_CLICK : plain == 64 ? MOUSE_WHEEL_UP :
	    plain == 65 ? MOUSE_WHEEL_DOWN : MOUSE_NOTHING;
	return m;
}

static bool
inside(struct rect r, const struct mouse *m)
{
	return m->row >= r.row && m->row < r.row + r.rows &&
	    m->col >= r.col && m->col < r.col + r.cols;
}

/* ---- the hint bar -------------------------------------------------------- */

static unsigned
style_at(const struct cells *c, int row, int col)
{
	return cells_at(c, row, col)->style & ~(unsigned)STYLE_SELECT;
}

/* The column where the key begins whose word is at col; -1: between two. The
 * hints are a key, a blank and a word each, and two blanks stand between. */
static int
hint_begin(const struct cells *c, int row, int col)
{
	int blanks = 0;

	/* The blank behind a key belongs to it. */
	if (col > 0 && style_at(c, row, col - 1) == STYLE_KEY)
		col--;
	if (style_at(c, row, col) == STYLE_NORMAL)
		return -1;
	for (; col >= 0 && style_at(c, row, col) != STYLE_KEY; col--) {
		blanks = style_at(c, row, col) == STYLE_NORMAL ? blanks + 1 :
		    0;
		if (blanks > 1)
			return -1;
	}
	while (col > 0 && style_at(c, row, col - 1) == STYLE_KEY)
		col--;
	return col;
}

static void
click_hint(struct app *app, const struct cells *c, const struct mouse *m)
{
	struct str name = STR_INIT;
	int col = hint_begin(c, m->row, m->col), key;

	str_add(&name, "");
	for (; col >= 0 && col < c->cols && style_at(c, m->row, col) ==
	    STYLE_KEY; col++)
		str_add(&name, cells_at(c, m->row, col)->s);
	key = keys_named(name.s);
	str_free(&name);
	if (key != K_NONE)
		app_key(app, key);
}

/* ---- panes --------------------------------------------------------------- */

/* Lists go by three rows, what has a cursor in two directions by one. */
static void
turn_wheel(struct app *app, enum action a, bool in_detail)
{
	enum view_id v = app_view(app)->id;
	int n = in_detail || ((1u << v) & (IN(HEADS) | IN(PARTS) | IN(APPLY) |
	    IN(CHART))) != 0 ? 1 : 3;
	bool was = app->focus_detail;

	app->focus_detail = in_detail;
	while (n-- > 0)
		app_act(app, a);
	app->focus_detail = was;
	app_dirty(app);
}

static void
click_main(struct app *app, const struct mouse *m)
{
	const struct view *v = app_view(app);
	struct rect r = app->layout.pane[PANE_MAIN];

	str_clear(&app->p->message);
	app->focus_detail = false;
	if (v->click != NULL && !app->layout.tiny)
		v->click(app, r, m->row, m->col);
	app_dirty(app);
}

void
app_mouse(struct app *app, const struct cells *c, const struct mouse *m)
{
	const struct layout *l = &app->layout;
	bool in_detail = inside(l->pane[PANE_DETAIL], m);

	if (m->what == MOUSE_NOTHING || app->p->mode == MODE_PROMPT ||
	    !inside(cells_all(c), m))
		return;
	if (m->what == MOUSE_CLICK && inside(l->pane[PANE_HINTS], m))
		click_hint(app, c, m);
	if (app->p->mode != MODE_KEYS ||
	    !(in_detail || inside(l->pane[PANE_MAIN], m)))
		return;
	if (m->what != MOUSE_CLICK)
		turn_wheel(app, m->what == MOUSE_WHEEL_UP ? ACT_UP : ACT_DOWN,
		    in_detail);
	else if (!in_detail)
		click_main(app, m);
	else if (!app->focus_detail)
		app_act(app, ACT_FOCUS);
}
