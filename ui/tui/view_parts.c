/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The map of parts: layers by attention and FFN. */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/map.h"
#include "ui/tui/score.h"
#include "ui/tui/toggle.h"

enum shade { SHADE_SPREAD, SHADE_NORM, SHADE_COUNT };
static const char *const shade_names[] = {
	"root mean square of the weights of a part",
	"L2 norm of the matrices of a part"
};

enum { COLUMNS = 2, FOOT_ROWS = 3, NARROW = 30 };

struct parts {
	struct map_rows rows;
	int row, column;	/* the cursor */
	enum shade shade;
};

static const enum target_kind kinds[COLUMNS] = { TARGET_ATTENTION,
	TARGET_FFN };
static const char *const titles[COLUMNS] = { "attention", "FFN" };

static void *
make(void)
{
	return xcalloc(1, sizeof(struct parts));
}

static void
drop(void *state)
{
	struct parts *s = state;

	map_rows_free(&s->rows);
	free(s);
}

static int
layer_at(const struct app *app, const struct parts *s, int row)
{
	const struct model *m = app_model(app);

	if (m == NULL || row < 0 || row >= s->rows.n ||
	    s->rows.layer[row] >= m->nlayers)
		return -1;
	return s->rows.layer[row];
}

/* Weights of the matrices of a part. */
static double
part_weights(const struct layer *y, enum target_kind kind)
{
	static const enum slot slots[COLUMNS][4] = {
		{ SLOT_Q_W, SLOT_K_W, SLOT_V_W, SLOT_O_W },
		{ SLOT_UP_W, SLOT_GATE_W, SLOT_DOWN_W, SLOT_UP_B }
	};
	int k = kind == TARGET_FFN, used = k ? 3 : 4;
	double n = 0;

	for (int i = 0; i < used; i++) {
		const struct tensor *t = y->t[slots[k][i]];

		n += t != NULL ? (double)t->rows * (double)t->cols : 0;
	}
	return n;
}

static double
value(const struct app *app, const struct parts *s, int layer,
    enum target_kind kind)
{
	const struct model *m = app_model(app);
	double norm = scores_part(scores_of(app), m, layer, kind);

	return s->shade == SHADE_NORM ? norm :
	    norm / sqrt(part_weights(&m->layer[layer], kind));
}

static struct map_range
range_of(const struct app *app, const struct parts *s)
{
	struct map_range range = { 0 };

	for (int l = 0; l < app_model(app)->nlayers; l++)
		for (int k = 0; k < COLUMNS; k++)
			map_range_add(&range, value(app, s, l, kinds[k]));
	return range;
}

/* ---- the cursor ---- */

static void
settle(struct parts *s)
{
	int row;

	s->row = s->row >= s->rows.n ? s->rows.n - 1 : s->row < 0 ? 0 : s->row;
	row = map_row_next(&s->rows, s->row, 1);
	if (row < 0)
		row = map_row_next(&s->rows, s->row, -1);
	s->row = row < 0 ? 0 : row;
}

static struct target
cursor_target(const struct parts *s)
{
	int layer = s->row < s->rows.n ? s->rows.layer[s->row] : -1;

	return target_part(layer < 0 ? 0 : layer, kinds[s->column]);
}

static void
select_cursor(struct app *app, const struct parts *s)
{
	struct target t = cursor_target(s);

	if (app_model(app) != NULL && !target_equal(&t, &app->target))
		app_select(app, &t);
}

/* Layers were renumbered: the target is what is under the cursor. */
static void
hold_cursor(struct app *app, const struct parts *s)
{
	if (app->depth > 0 && app->stack[app->depth - 1] == VIEW_PARTS)
		select_cursor(app, s);
}

static void
follow_target(const struct app *app, struct parts *s)
{
	const struct target *t = &app->target;
	int row = map_row_of(&s->rows, t->layer);

	if (row < 0)
		return;
	s->row = row;
	if (t->kind == TARGET_FFN || t->kind == TARGET_ATTENTION ||
	    t->kind == TARGET_HEAD)
		s->column = t->kind == TARGET_FFN;
}

static void
update(struct app *app, unsigned change)
{
	struct parts *s = app->state[VIEW_PARTS];

	if ((change & (CHANGE_MODEL | CHANGE_OPENED)) != 0 || s->rows.n == 0)
		map_rows_make(&s->rows, app);
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		follow_target(app, s);
	settle(s);
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
	if ((change & CHANGE_MODEL) != 0)
		hold_cursor(app, s);
}

static void
enter(struct app *app)
{
	struct parts *s = app->state[VIEW_PARTS];

	update(app, CHANGE_MODEL | CHANGE_TARGET);
	select_cursor(app, s);
}

/* ---- drawing ---- */

/* What is left of a part: "3/4 heads", "3072 wide". */
static void
part_size(const struct layer *y, enum target_kind kind, char out[48])
{
	bool narrowed = y->ffn != y->ffn_original;

	if (kind == TARGET_FFN && y->ffn == 0)
		snprintf(out, 48, "removed");
	else if (kind == TARGET_FFN && narrowed)
		snprintf(out, 48, "%lld/%lld", (long long)y->ffn,
		    (long long)y->ffn_original);
	else if (kind == TARGET_FFN)
		snprintf(out, 48, "%lld wide", (long long)y->ffn);
	else if (y->heads == 0)
		snprintf(out, 48, "removed");
	else
		snprintf(out, 48, "%d/%d heads", y->heads, y->heads_original);
}

static bool
is_changed(const struct layer *y, enum target_kind kind)
{
	return kind == TARGET_FFN ? y->ffn != y->ffn_original :
	    y->heads != y->heads_original;
}

static void
draw_cell(const struct app *app, const struct parts *s, struct cells *c,
    int row, int col, int width, int layer, int k,
    const struct map_range *range)
{
	const struct layer *y = &app_model(app)->layer[layer];
	struct target t = target_part(layer, kinds[k]);
	char size[48];

	if (toggle_present(app_model(app), &t))
		map_put_shade(c, row, col + 1,
		    value(app, s, layer, kinds[k]), range);
	else
		map_put_pruned(c, row, col + 1, 2, "");
	part_size(y, kinds[k], size);
	cells_put(c, row, col + 4, width - 5,
	    is_changed(y, kinds[k]) ? STYLE_CHANGED : STYLE_NORMAL, size);
}

static int
cell_cols(struct rect r, int name_cols)
{
	int n = (r.cols - name_cols - 1) / COLUMNS;

	return n > 20 ? 20 : n;
}

static void
draw_row(const struct app *app, const struct parts *s, struct cells *c,
    int row, struct rect r, int name_cols, const struct map_range *range,
    int i)
{
	int width = cell_cols(r, name_cols), col = r.col + name_cols + 1;
	int layer = layer_at(app, s, i);
	char name[24];

	map_row_name(&s->rows, i, name);
	cells_put(c, row, r.col, name_cols,
	    i == s->row ? STYLE_TITLE : STYLE_NORMAL, name);
	if (layer < 0) {
		map_put_pruned(c, row, col + 1, r.cols - name_cols - 2,
		    "layer removed");
		return;
	}
	for (int k = 0; k < COLUMNS; k++)
		draw_cell(app, s, c, row, col + k * width, width, layer, k,
		    range);
	if (i == s->row)
		map_put_cursor(c, row, col + s->column * width + 1);
}

static void
draw_words(const struct app *app, const struct parts *s, struct cells *c,
    int row, struct rect r)
{
	struct target t = cursor_target(s);
	double norm = scores_part(scores_of(app), app_model(app), t.layer,
	    t.kind);
	char a[NUMBER_MAX], b[NUMBER_MAX];

	number_plain(a, norm);
	number_count(b, part_weights(&app_model(app)->layer[t.layer], t.kind));
	if (!toggle_present(app_model(app), &t))
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "%s is removed; x brings it back", t.path);
	else if (isfinite(norm))
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "%s norm %s, %s weights", t.path, a, b);
	else
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "%s %s weights%s", t.path, b, app->snap.ghost ?
		    ": sizes only" : "");
}

static void
draw_body(const struct app *app, const struct parts *s, struct cells *c,
    struct rect r, const struct map_range *range)
{
	int name_cols = map_name_cols(&s->rows), top;
	int width = cell_cols(r, name_cols);

	if (width < 4)
		return;
	if (r.rows > 1) {
		for (int k = 0; k < COLUMNS; k++)
			cells_put(c, r.row, r.col + name_cols + 2 + k * width,
			    width - 2, STYLE_DIM, titles[k]);
		r.row++;
		r.rows--;
	}
	top = view_top(s->row, s->rows.n, r.rows);
	for (int i = 0; i < r.rows && top + i < s->rows.n; i++)
		draw_row(app, s, c, r.row + i, r, name_cols, range, top + i);
	if (!s->rows.known && s->rows.removed > 0 && s->rows.n < r.rows)
		cells_putf(c, r.row + s->rows.n, r.col, r.cols, STYLE_DIM,
		    "and %d removed", s->rows.removed);
}

/* The part of the rectangle of draw() above the foot. */
static struct rect
body_rect(struct rect r)
{
	if (r.rows > FOOT_ROWS + 3)
		r.rows -= FOOT_ROWS + (r.rows > FOOT_ROWS + 6);
	return r;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct parts *s = app->state[VIEW_PARTS];
	struct map_range range;

	if (r.rows < 1)
		return;
	if (app_model(app) == NULL || s->rows.n == 0) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "no model is open");
		return;
	}
	range = range_of(app, s);
	if (r.rows > FOOT_ROWS + 3) {
		int row = r.row + r.rows - FOOT_ROWS;

		cells_put(c, row, r.col, r.cols, STYLE_DIM,
		    shade_names[s->shade]);
		map_put_legend(c, row + 1, r, &range);
		draw_words(app, s, c, row + 2, r);
	}
	draw_body(app, s, c, body_rect(r), &range);
}

/* ---- keys ---- */

static bool
act(struct app *app, enum action a)
{
	struct parts *s = app->state[VIEW_PARTS];
	struct target t = cursor_target(s);

	if (app_model(app) == NULL || s->rows.n == 0)
		return false;
	switch (a) {
	case ACT_LEFT:
	case ACT_RIGHT:
		s->column = a == ACT_RIGHT;
		break;
	case ACT_UP:
	case ACT_DOWN:
	case ACT_PAGE_UP:
	case ACT_PAGE_DOWN:
	case ACT_FIRST:
	case ACT_LAST:
		s->row = map_row_move(&s->rows, a, s->row,
		    app->layout.pane[PANE_MAIN].rows - FOOT_ROWS - 1);
		break;
	case ACT_TOGGLE:
		toggle_target(app, &t);
		return true;
	case ACT_SORT:
		s->shade = (enum shade)((s->shade + 1) % SHADE_COUNT);
		app_message(app, STYLE_NORMAL, "shade: %s",
		    shade_names[s->shade]);
		break;
	case ACT_MODE:
		app_push(app, VIEW_HEADS);
		return true;
	default:
		return false;
	}
	select_cursor(app, s);
	app_dirty(app);
	return true;
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	struct parts *s = app->state[VIEW_PARTS];
	int name_cols = map_name_cols(&s->rows), to;
	int width = cell_cols(r, name_cols);

	if (app_model(app) == NULL || s->rows.n == 0 || width < 4)
		return;
	r = body_rect(r);
	if (r.rows > 1) {
		r.row++;
		r.rows--;
	}
	to = view_row_at(s->row, s->rows.n, r, row);
	if (to < 0 || s->rows.layer[to] < 0)
		return;
	s->row = to;
	col -= r.col + name_cols + 1;
	if (col >= 0 && col < COLUMNS * width)
		s->column = col / width;
	select_cursor(app, s);
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct parts *s = app->state[VIEW_PARTS];
	int all = s->rows.n * COLUMNS;
	int at = from_top ? (dir > 0 ? 0 : all - 1) :
	    s->row * COLUMNS + s->column + dir;

	for (; at >= 0 && at < all; at += dir) {
		struct target t;

		if (layer_at(app, s, at / COLUMNS) < 0)
			continue;
		t = target_part(s->rows.layer[at / COLUMNS],
		    kinds[at % COLUMNS]);
		if (!view_has_text(t.path, text))
			continue;
		s->row = at / COLUMNS;
		s->column = at % COLUMNS;
		select_cursor(app, s);
		app_dirty(app);
		return true;
	}
	return false;
}

const struct view view_parts = {
	.id = VIEW_PARTS,
	.name = "parts",
	.title = "Attention and FFN",
	.detail = true,
	.history = true,
	.main_cols = 46,
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
