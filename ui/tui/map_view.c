/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/map_view.h"

#include <stdio.h>
#include <stdlib.h>

#include "ui/tui/score.h"
#include "ui/tui/states.h"
#include "ui/tui/toggle.h"

enum {
	FOOT_ROWS = 3,		/* the measure, its scale, the cell in words */
	WIDEST_CELL = 20
};

void
map_view_free(struct map_view *v)
{
	map_rows_free(&v->rows);
	free(v);
}

/* The layer of a row, -1: removed, or no such row. */
static int
layer_at(const struct app *app, const struct map_view *v, int row)
{
	const struct model *m = app_model(app);

	if (m == NULL || row < 0 || row >= v->rows.n ||
	    v->rows.layer[row] >= m->nlayers)
		return -1;
	return v->rows.layer[row];
}

static int
columns_at(const struct app *app, const struct map_view *v, int row)
{
	int layer = layer_at(app, v, row);

	return layer < 0 ? 0 : v->face->columns(app, layer);
}

/* ---- the cursor ---------------------------------------------------------- */

/* Into the rows and columns there are. */
static void
settle(const struct app *app, struct map_view *v)
{
	int row, n;

	v->row = v->row >= v->rows.n ? v->rows.n - 1 : v->row < 0 ? 0 : v->row;
	row = map_row_next(&v->rows, v->row, 1);
	if (row < 0)
		row = map_row_next(&v->rows, v->row, -1);
	v->row = row < 0 ? 0 : row;
	n = columns_at(app, v, v->row);
	if (v->column >= n && n > 0)
		v->column = n - 1;
	if (v->column < 0)
		v->column = 0;
}

static struct target
cursor_target(const struct app *app, const struct map_view *v)
{
	int layer = layer_at(app, v, v->row);

	return v->face->target(layer < 0 ? 0 : layer, v->column);
}

static struct target
cursor_toggled(const struct app *app, const struct map_view *v)
{
	int layer = layer_at(app, v, v->row);

	return v->face->toggled(app, layer < 0 ? 0 : layer, v->column);
}

static void
select_cursor(struct app *app, const struct map_view *v)
{
	struct target t = cursor_target(app, v);

	if (app_model(app) != NULL && !target_equal(&t, &app->target))
		app_select(app, &t);
}

/* To the target, where it lies in a layer. */
static void
follow_target(const struct app *app, struct map_view *v)
{
	int row = map_row_of(&v->rows, app->target.layer);
	int column = v->face->column_of(&app->target);

	if (row < 0)
		return;
	v->row = row;
	if (column >= 0)
		v->column = column;
}

void
map_view_update(struct app *app, struct map_view *v, unsigned change)
{
	if ((change & (CHANGE_MODEL | CHANGE_OPENED)) != 0 || v->rows.n == 0)
		map_rows_make(&v->rows, app);
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		follow_target(app, v);
	settle(app, v);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
	/* Layers may have new numbers: the target is what is under the
	 * cursor. */
	if ((change & CHANGE_MODEL) != 0 && states_in_front(app,
	    v->face->view))
		select_cursor(app, v);
}

void
map_view_enter(struct app *app, struct map_view *v)
{
	map_view_update(app, v, CHANGE_MODEL | CHANGE_TARGET);
	select_cursor(app, v);
}

/* ---- drawing ------------------------------------------------------------- */

/* Where the cells are. */
struct body {
	const struct app *app;
	const struct map_view *v;
	struct cells *c;
	struct rect r;		/* of the cells, without names and titles */
	struct map_range range;
	int names;		/* columns of the names of rows */
	int cell;		/* columns of a cell */
	int first, fit;		/* columns shown: from, how many */
};

static struct map_range
range_of(const struct app *app, const struct map_view *v)
{
	struct map_range range = { 0 };

	for (int l = 0; l < app_model(app)->nlayers; l++)
		for (int k = 0; k < v->face->columns(app, l); k++)
			map_range_add(&range, v->face->value(app, v->shade, l,
			    k));
	return range;
}

static void
draw_cell(const struct body *b, int row, int col, int layer, int column)
{
	const struct map_face *face = b->v->face;
	struct target t = face->target(layer, column);
	char word[MAP_WORD];
	bool changed = false;
	const char *s = face->word == NULL ? NULL : face->word(b->app, layer,
	    column, word, &changed);

	if (toggle_present(app_model(b->app), &t))
		map_put_shade(b->c, row, col, face->value(b->app, b->v->shade,
		    layer, column), &b->range);
	else
		map_put_pruned(b->c, row, col, 2, "");
	if (s != NULL)
		cells_put(b->c, row, col + 3, b->cell - 4, changed ?
		    STYLE_CHANGED : STYLE_NORMAL, s);
}

static void
draw_summary(const struct body *b, int row, const struct layer *y)
{
	int all = b->v->face->columns(b->app, -1) - b->first;
	int used = (all < b->fit ? all : b->fit) * b->cell + 1;
	char word[MAP_WORD];
	bool changed = false;

	if (b->v->face->summary != NULL)
		cells_put(b->c, row, b->r.col + used, b->r.cols - used,
		    STYLE_DIM, b->v->face->summary(y, word, &changed));
	if (changed)
		cells_style(b->c, (struct rect){ row, b->r.col + used, 1,
		    b->r.cols - used }, STYLE_CHANGED);
}

static void
draw_row(const struct body *b, int row, int i)
{
	const struct map_view *v = b->v;
	int layer = layer_at(b->app, v, i), lead = v->face->cell_lead;
	const struct layer *y = layer < 0 ? NULL :
	    &app_model(b->app)->layer[layer];
	const char *instead = y == NULL ? "layer removed" :
	    v->face->instead != NULL ? v->face->instead(y) : NULL;
	int n = y == NULL ? 0 : v->face->columns(b->app, layer), at = 0;
	char name[24];

	map_row_name(&v->rows, i, name);
	cells_put(b->c, row, b->r.col - b->names, b->names, i == v->row ?
	    STYLE_TITLE : STYLE_NORMAL, name);
	if (instead != NULL)
		map_put_pruned(b->c, row, b->r.col + lead, b->r.cols - lead,
		    instead);
	for (int k = 0; instead == NULL && k < b->fit && b->first + k < n;
	    k++)
		draw_cell(b, row, b->r.col + k * b->cell + lead, layer,
		    b->first + k);
	if (instead == NULL)
		at = (v->column - b->first) * b->cell;
	if (i == v->row && y != NULL)
		map_put_cursor(b->c, row, b->r.col + at + lead);
	if (instead == NULL)
		draw_summary(b, row, y);
}

static void
draw_titles(const struct body *b, int row)
{
	const struct map_face *face = b->v->face;
	int all = face->columns(b->app, -1), lead = face->cell_lead;

	for (int k = 0; k < b->fit && b->first + k < all; k++) {
		char title[MAP_WORD];

		face->title(b->first + k, title);
		cells_put(b->c, row, b->r.col + k * b->cell + lead, b->cell -
		    1, STYLE_DIM, title);
	}
}

/* Where the cells of rectangle r are, which loses the row of titles. */
static bool
place_body(struct body *b, struct rect *area)
{
	const struct map_view *v = b->v;
	int all = v->face->columns(b->app, -1), lead = v->face->cell_lead;
	const struct rect r = *area;

	b->names = map_name_cols(&v->rows) + (lead > 0 ? 1 : 2);
	b->r = (struct rect){ r.row, r.col + b->names, r.rows,
		r.cols - b->names };
	b->cell = v->face->cell_cols;
	if (b->cell == 0)
		b->cell = b->r.cols / (all > 0 ? all : 1);
	if (b->cell > WIDEST_CELL)
		b->cell = WIDEST_CELL;
	b->fit = b->cell < 3 ? 0 : b->r.cols / b->cell;
	if (b->fit < 1)
		return false;
	b->first = view_top(v->column, all, b->fit);
	if (r.rows > 1) {
		area->row++;
		area->rows--;
	}
	return true;
}

static void
draw_body(struct body *b, struct rect r)
{
	const struct map_view *v = b->v;
	const int titles = r.row;
	int top;

	if (!place_body(b, &r))
		return;
	if (r.row > titles)
		draw_titles(b, titles);
	top = view_top(v->row, v->rows.n, r.rows);
	for (int i = 0; i < r.rows && top + i < v->rows.n; i++)
		draw_row(b, r.row + i, top + i);
	if (!v->rows.known && v->rows.removed > 0 && v->rows.n < r.rows)
		cells_putf(b->c, r.row + v->rows.n, r.col, r.cols, STYLE_DIM,
		    "and %d removed", v->rows.removed);
}

static void
draw_words(const struct body *b, int row, struct rect r)
{
	struct target t, whole;
	struct str s = STR_INIT;

	if (layer_at(b->app, b->v, b->v->row) < 0)
		return;
	t = cursor_target(b->app, b->v);
	whole = cursor_toggled(b->app, b->v);
	if (!toggle_present(app_model(b->app), &whole))
		str_addf(&s, "%s is pruned; x brings it back", whole.path);
	else
		b->v->face->say(b->app, &t, &s);
	cells_put(b->c, row, r.col, r.cols, STYLE_NORMAL, s.s);
	str_free(&s);
}

/* Rows of titles, layers and what is said of removed ones. */
static int
body_rows(const struct map_view *v)
{
	return 1 + v->rows.n + (!v->rows.known && v->rows.removed > 0);
}

/* The foot below the map and a row of air, or at the end of a low pane; what is
 * above it is the body's. rows == 0: there is no room for a foot. */
static struct rect
take_foot(const struct map_view *v, struct rect *r)
{
	int air = r->rows > FOOT_ROWS + 6, body = r->rows - FOOT_ROWS - air;
	struct rect foot = *r;

	foot.rows = 0;
	if (r->rows <= FOOT_ROWS + 3)
		return foot;
	if (body > body_rows(v))
		body = body_rows(v);
	foot.row = r->row + body + air;
	foot.rows = FOOT_ROWS;
	r->rows = body;
	return foot;
}

void
map_view_draw(const struct app *app, const struct map_view *v,
    struct cells *c, struct rect r)
{
	struct body b = { .app = app, .v = v, .c = c };
	struct rect foot;

	if (r.rows < 1)
		return;
	if (app_model(app) == NULL || v->rows.n == 0) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "no model is open");
		return;
	}
	b.range = range_of(app, v);
	foot = take_foot(v, &r);
	if (foot.rows > 0) {
		cells_put(c, foot.row, r.col, r.cols, STYLE_DIM,
		    v->face->shades[v->shade]);
		map_put_legend(c, foot.row + 1, r, &b.range);
		draw_words(&b, foot.row + 2, r);
	}
	draw_body(&b, r);
}

/* ---- keys ---------------------------------------------------------------- */

static void
next_shade(struct app *app, struct map_view *v)
{
	v->shade++;
	if (v->face->shades[v->shade] == NULL)
		v->shade = 0;
	app_message(app, STYLE_NORMAL, "shade: %s",
	    v->face->shades[v->shade]);
}

bool
map_view_act(struct app *app, struct map_view *v, enum action a)
{
	struct target t;

	if (app_model(app) == NULL || v->rows.n == 0)
		return false;
	switch (a) {
	case ACT_LEFT:
	case ACT_RIGHT:
		v->column += a == ACT_LEFT ? -1 : 1;
		break;
	case ACT_UP:
	case ACT_DOWN:
	case ACT_PAGE_UP:
	case ACT_PAGE_DOWN:
	case ACT_FIRST:
	case ACT_LAST:
		v->row = map_row_move(&v->rows, a, v->row,
		    app->layout.pane[PANE_MAIN].rows - FOOT_ROWS - 1);
		break;
	case ACT_TOGGLE:
		t = cursor_toggled(app, v);
		toggle_target(app, &t);
		return true;
	case ACT_SORT:
		next_shade(app, v);
		break;
	case ACT_MODE:
		app_push(app, v->face->other);
		return true;
	default:
		return false;
	}
	settle(app, v);
	select_cursor(app, v);
	app_dirty(app);
	return true;
}

void
map_view_click(struct app *app, struct map_view *v, struct rect r, int row,
    int col)
{
	struct body b = { .app = app, .v = v };
	int to;

	if (app_model(app) == NULL || v->rows.n == 0)
		return;
	take_foot(v, &r);
	if (!place_body(&b, &r))
		return;
	to = view_row_at(v->row, v->rows.n, r, row);
	if (to < 0 || v->rows.layer[to] < 0)
		return;
	v->row = to;
	/* Beside the cells only the layer is meant. */
	col -= b.r.col;
	if (col >= 0 && col < b.fit * b.cell && b.first + col / b.cell <
	    v->face->columns(app, -1))
		v->column = b.first + col / b.cell;
	settle(app, v);
	select_cursor(app, v);
}

bool
map_view_find(struct app *app, struct map_view *v, const char *text, int dir,
    bool from_top)
{
	int n = v->face->columns(app, -1), all = v->rows.n * n;
	int at = from_top ? (dir > 0 ? 0 : all - 1) :
	    v->row * n + v->column + dir;

	for (; at >= 0 && at < all; at += dir) {
		struct target t;

		if (at % n >= columns_at(app, v, at / n))
			continue;
		t = v->face->target(layer_at(app, v, at / n), at % n);
		if (!view_has_text(t.path, text))
			continue;
		v->row = at / n;
		v->column = at % n;
		select_cursor(app, v);
		app_dirty(app);
		return true;
	}
	return false;
}

const char *
map_view_hint(const struct app *app, const struct map_view *v,
    const struct key_row *k)
{
	struct target t;

	if (k->action != ACT_TOGGLE || layer_at(app, v, v->row) < 0)
		return k->hint;
	t = cursor_toggled(app, v);
	return toggle_present(app_model(app), &t) ? k->hint : "restore";
}
