/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The columns of the module tree, chosen one by one: those shown first, in
 * their order, then the others. Every change is a `set columns` at once, which
 * is what a pare.rc would say to keep it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "session/settings.h"
#include "ui/tui/column.h"
#include "ui/tui/states.h"
#include "ui/tui/view.h"

struct chooser {
	enum column at;		/* under the cursor */
};

static struct chooser *
chooser_of(const struct app *app)
{
	return app->state[VIEW_COLUMNS];
}

/* All columns in the order of the list. */
static void
list_rows(const struct app *app, enum column row[COL_COUNT])
{
	const struct column_list *list = tree_columns(app);
	int n = 0;

	for (int i = 0; i < list->n; i++)
		row[n++] = list->id[i];
	for (int i = 0; i < COL_COUNT; i++)
		if (column_list_find(list, (enum column)i) < 0)
			row[n++] = (enum column)i;
}

static int
cursor_row(const struct app *app)
{
	enum column row[COL_COUNT];
	int i = 0;

	list_rows(app, row);
	while (i < COL_COUNT - 1 && row[i] != chooser_of(app)->at)
		i++;
	return i;
}

/* ---- drawing ---- */

/* "[x] params v  parameters" */
static void
draw_row(const struct app *app, struct cells *c, struct rect r, enum column id)
{
	bool shown = column_list_find(tree_columns(app), id) >= 0, turned;
	bool sorted = tree_sorted(app, &turned) == id;
	unsigned style = shown ? STYLE_TITLE : STYLE_NORMAL;

	cells_put(c, r.row, r.col, 3, style, shown ? "[x]" : "[ ]");
	cells_put(c, r.row, r.col + 4, 10, style, column_name(id));
	if (sorted)
		cells_put(c, r.row, r.col + 15, 1, STYLE_KEY, glyph(c, turned ?
		    GLYPH_UP : GLYPH_DOWN));
	cells_put(c, r.row, r.col + 17, r.cols - 17, STYLE_DIM,
	    column_table[id].text);
}

/* From a title, where there is room for one, to what the columns are called as a
 * setting: the rows between are the list's. */
struct chooser_rows {
	struct rect list;
	int title, below;	/* rows of what is around it */
};

static struct chooser_rows
share_rows(struct rect r)
{
	struct chooser_rows o = { r, r.rows >= 3, 0 };

	o.list.row += o.title;
	o.list.rows -= o.title;
	if (o.list.rows > COL_COUNT) {
		o.below = o.list.rows - COL_COUNT > 2 ? 2 : 1;
		o.list.rows = COL_COUNT;
	}
	return o;
}

static void
draw_setting(const struct app *app, struct cells *c, struct rect r)
{
	char text[COLUMNS_TEXT];
	struct str b = STR_INIT;

	column_list_spell(tree_columns(app), text);
	str_addf(&b, "set columns %s", text);
	states_wrap(c, r, STYLE_KEY, b.s);
	str_free(&b);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	struct chooser_rows o = share_rows(r);
	enum column row[COL_COUNT];
	int at = cursor_row(app), top = view_top(at, COL_COUNT, o.list.rows);
	int end = o.list.row + COL_COUNT, air = r.row + r.rows - end > o.below;

	if (o.title > 0)
		cells_put(c, r.row, r.col, r.cols, STYLE_TITLE,
		    "Columns of the module tree");
	if (o.below > 0)
		draw_setting(app, c, (struct rect){ end + air, r.col, o.below,
		    r.cols });
	list_rows(app, row);
	for (int i = 0; i < o.list.rows && top + i < COL_COUNT; i++) {
		struct rect line = { o.list.row + i, r.col, 1, r.cols };

		draw_row(app, c, line, row[top + i]);
		if (top + i == at)
			cells_select(c, line);
	}
}

/* ---- keys ---- */

static void
toggle(struct app *app, enum column id)
{
	struct column_list list = *tree_columns(app);
	int at = column_list_find(&list, id);

	if (at < 0) {
		list.id[list.n++] = id;
	} else if (list.n == 1) {
		app_message(app, STYLE_WARN, "one column stays");
		return;
	} else {
		list.n--;
		for (int i = at; i < list.n; i++)
			list.id[i] = list.id[i + 1];
	}
	tree_show_columns(app, &list);
}

static void
move(struct app *app, enum column id, int step)
{
	struct column_list list = *tree_columns(app);
	int at = column_list_find(&list, id), to = at + step;

	if (at < 0) {
		app_message(app, STYLE_NORMAL, "%s is not shown: Space shows "
		    "it", column_name(id));
		return;
	}
	if (to < 0 || to >= list.n)
		return;
	list.id[at] = list.id[to];
	list.id[to] = id;
	tree_show_columns(app, &list);
}

/* By a column that is not shown nobody could see the order. */
static void
sort(struct app *app, enum column id)
{
	bool turned;

	if (id == COL_BAR)
		id = COL_SHARE;
	if (tree_sorted(app, &turned) == id) {
		tree_sort(app, COL_COUNT, false);
		app_message(app, STYLE_NORMAL, "in the order of the model");
		return;
	}
	if (column_list_find(tree_columns(app), id) < 0)
		toggle(app, id);
	tree_sort(app, id, false);
	app_message(app, STYLE_NORMAL, "sorted by %s", column_name(id));
}

static void
turn(struct app *app)
{
	bool turned;
	enum column by = tree_sorted(app, &turned);

	tree_sort(app, by, !turned);
}

static void
reset(struct app *app)
{
	struct column_list list;

	column_list_parse(setting_table[SET_COLUMNS].dflt, &list);
	tree_show_columns(app, &list);
}

static bool
act(struct app *app, enum action a)
{
	struct chooser *s = chooser_of(app);
	enum column row[COL_COUNT];

	switch (a) {
	case ACT_TOGGLE: toggle(app, s->at); break;
	case ACT_LEFT: move(app, s->at, -1); break;
	case ACT_RIGHT: move(app, s->at, 1); break;
	case ACT_SORT: sort(app, s->at); break;
	case ACT_SORT_TURN: turn(app); break;
	case ACT_CLEAR: reset(app); break;
	default:
		if (a < ACT_UP || a > ACT_LAST)
			return false;
		list_rows(app, row);
		s->at = row[view_move(a, cursor_row(app), COL_COUNT,
		    app->layout.pane[PANE_MAIN].rows - 1)];
	}
	app_dirty(app);
	return true;
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	enum column list[COL_COUNT];
	int i = view_row_at(cursor_row(app), COL_COUNT, share_rows(r).list,
	    row);

	list_rows(app, list);
	if (i >= 0)
		chooser_of(app)->at = list[i];
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	enum column row[COL_COUNT];
	int at = from_top ? (dir > 0 ? 0 : COL_COUNT - 1) :
	    cursor_row(app) + dir;

	list_rows(app, row);
	for (; at >= 0 && at < COL_COUNT; at += dir)
		if (view_has_text(column_name(row[at]), text) ||
		    view_has_text(column_table[row[at]].text, text)) {
			chooser_of(app)->at = row[at];
			return true;
		}
	return false;
}

/* Onto the first column shown. */
static void
enter(struct app *app)
{
	chooser_of(app)->at = tree_columns(app)->id[0];
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct chooser));
}

const struct view view_columns = {
	.id = VIEW_COLUMNS,
	.name = "columns",
	.title = "Columns",
	.history = true,
	.make = make,
	.drop = free,
	.enter = enter,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
