/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The map of heads: layers by heads, one cell a head. */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/number.h"
#include "ui/tui/map.h"
#include "ui/tui/score.h"
#include "ui/tui/toggle.h"

/* What shades the cells. */
enum shade { SHADE_RELATIVE, SHADE_NORM, SHADE_COUNT };
static const char *const shade_names[] = {
	"L2 norm of a head, against its layer's mean",
	"L2 norm of a head"
};

enum {
	CELL_COLS = 3,	/* two of shade and one between */
	FOOT_ROWS = 3	/* the measure, its scale, the head under the cursor */
};

struct heads {
	struct scores *scores;
	struct map_rows rows;
	int row, head;		/* the cursor */
	enum shade shade;
};

static void *
make(void)
{
	struct heads *s = xcalloc(1, sizeof(*s));

	s->scores = scores_new();
	return s;
}

static void
drop(void *state)
{
	struct heads *s = state;

	scores_free(s->scores);
	map_rows_free(&s->rows);
	free(s);
}

struct scores *
scores_of(const struct app *app)
{
	const struct heads *s = app->state[VIEW_HEADS];

	return s != NULL ? s->scores : NULL;
}

static const struct layer *
layer_at(const struct app *app, const struct heads *s, int row)
{
	const struct model *m = app_model(app);

	if (m == NULL || row < 0 || row >= s->rows.n ||
	    s->rows.layer[row] < 0 || s->rows.layer[row] >= m->nlayers)
		return NULL;
	return &m->layer[s->rows.layer[row]];
}

/* Columns: the most heads any layer was opened with. */
static int
columns(const struct app *app)
{
	const struct model *m = app_model(app);
	int most = 0;

	for (int l = 0; m != NULL && l < m->nlayers; l++)
		if (m->layer[l].heads_original > most)
			most = m->layer[l].heads_original;
	return most;
}

/* The values that shade a layer. */
static void
values(const struct app *app, const struct heads *s, int layer,
    double out[MODEL_HEADS_MAX])
{
	double mean = scores_heads(s->scores, app_model(app), layer, out);

	for (int h = 0; h < MODEL_HEADS_MAX && s->shade == SHADE_RELATIVE; h++)
		out[h] = mean > 0 ? out[h] / mean : NAN;
}

static struct map_range
range_of(const struct app *app, const struct heads *s)
{
	struct map_range range = { 0 };
	double v[MODEL_HEADS_MAX];

	for (int l = 0; l < app_model(app)->nlayers; l++) {
		values(app, s, l, v);
		for (int h = 0; h < MODEL_HEADS_MAX; h++)
			map_range_add(&range, v[h]);
	}
	return range;
}

/* ---- the cursor ---- */

/* Into the rows and heads there are. */
static void
settle(const struct app *app, struct heads *s)
{
	const struct layer *y;
	int row;

	s->row = s->row >= s->rows.n ? s->rows.n - 1 : s->row < 0 ? 0 : s->row;
	row = map_row_next(&s->rows, s->row, 1);
	if (row < 0)
		row = map_row_next(&s->rows, s->row, -1);
	s->row = row < 0 ? 0 : row;
	y = layer_at(app, s, s->row);
	if (y != NULL && s->head >= y->heads_original)
		s->head = y->heads_original - 1;
	if (s->head < 0)
		s->head = 0;
}

static struct target
cursor_target(const struct heads *s)
{
	int layer = s->row < s->rows.n ? s->rows.layer[s->row] : -1;

	return target_head(layer < 0 ? 0 : layer, s->head);
}

static void
select_cursor(struct app *app, const struct heads *s)
{
	struct target t = cursor_target(s);

	if (app_model(app) != NULL && !target_equal(&t, &app->target))
		app_select(app, &t);
}

/* Layers were renumbered: the target is what is under the cursor. */
static void
hold_cursor(struct app *app, const struct heads *s)
{
	if (app->depth > 0 && app->stack[app->depth - 1] == VIEW_HEADS)
		select_cursor(app, s);
}

/* To the target, where it lies in a layer. */
static void
follow_target(const struct app *app, struct heads *s)
{
	int row = map_row_of(&s->rows, app->target.layer);

	if (row < 0)
		return;
	s->row = row;
	if (app->target.kind == TARGET_HEAD)
		s->head = app->target.head;
}

static void
update(struct app *app, unsigned change)
{
	struct heads *s = app->state[VIEW_HEADS];

	if ((change & (CHANGE_MODEL | CHANGE_OPENED)) != 0 || s->rows.n == 0)
		map_rows_make(&s->rows, app);
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		follow_target(app, s);
	settle(app, s);
	scores_want(app, s->scores);
	if ((change & CHANGE_MODEL) != 0)
		hold_cursor(app, s);
}

static void
enter(struct app *app)
{
	struct heads *s = app->state[VIEW_HEADS];

	map_rows_make(&s->rows, app);
	follow_target(app, s);
	settle(app, s);
	scores_want(app, s->scores);
	select_cursor(app, s);
}

/* ---- drawing ---- */

static void
draw_numbers(struct cells *c, int row, int col, int first, int n)
{
	for (int i = 0; i < n; i++)
		cells_putf(c, row, col + i * CELL_COLS, 2, STYLE_DIM, "%2d",
		    (first + i) % 100);
}

/* The cells of a layer from head `first` on, n of them. */
static void
draw_layer(const struct app *app, const struct heads *s, struct cells *c,
    int row, int col, int width, const struct layer *y,
    const struct map_range *range, int first)
{
	int n = width / CELL_COLS;
	double v[MODEL_HEADS_MAX];

	if (y->heads == 0) {
		map_put_pruned(c, row, col, width, "no attention");
		return;
	}
	values(app, s, (int)(y - app_model(app)->layer), v);
	for (int i = 0; i < n && first + i < y->heads_original; i++)
		if (head_set_has(&y->head, first + i))
			map_put_shade(c, row, col + i * CELL_COLS,
			    v[first + i], range);
		else
			map_put_pruned(c, row, col + i * CELL_COLS, 2, "");
}

static void
draw_row(const struct app *app, const struct heads *s, struct cells *c,
    int row, struct rect r, int name_cols, const struct map_range *range,
    int first, int i)
{
	const struct layer *y = layer_at(app, s, i);
	int col = r.col + name_cols + 2, width = r.cols - name_cols - 2;
	int end = columns(app) - first;
	char name[24];

	map_row_name(&s->rows, i, name);
	cells_put(c, row, r.col, name_cols,
	    i == s->row ? STYLE_TITLE : STYLE_NORMAL, name);
	if (y == NULL) {
		map_put_pruned(c, row, col, width, "layer removed");
		return;
	}
	draw_layer(app, s, c, row, col, width, y, range, first);
	if (i == s->row)
		map_put_cursor(c, row, col + (y->heads == 0 ? 0 :
		    (s->head - first) * CELL_COLS));
	if (y->heads == 0)
		return;
	end = (end < width / CELL_COLS ? end : width / CELL_COLS) * CELL_COLS;
	cells_putf(c, row, col + end + 1, width - end - 1,
	    y->heads < y->heads_original ? STYLE_CHANGED : STYLE_DIM,
	    "%d/%d", y->heads, y->heads_original);
}

/* The head under the cursor, in words. */
static void
draw_words(const struct app *app, const struct heads *s, struct cells *c,
    int row, struct rect r)
{
	struct target t = cursor_target(s);
	const struct layer *y = layer_at(app, s, s->row);
	double v[MODEL_HEADS_MAX], mean;
	char norm[NUMBER_MAX];

	if (y == NULL)
		return;
	mean = scores_heads(s->scores, app_model(app), t.layer, v);
	number_plain(norm, v[s->head]);
	if (y->heads == 0)
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "L%d has no attention; x brings it back", t.layer);
	else if (!toggle_present(app_model(app), &t))
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "%s is pruned; x brings it back", t.path);
	else if (isfinite(mean) && mean > 0)
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL,
		    "%s norm %s, %.2f x its layer's mean", t.path, norm,
		    v[s->head] / mean);
	else
		cells_putf(c, row, r.col, r.cols, STYLE_NORMAL, "%s%s",
		    t.path, app->snap.ghost ? ": sizes only, no weights" :
		    "");
}

static void
draw_foot(const struct app *app, const struct heads *s, struct cells *c,
    struct rect r, const struct map_range *range)
{
	int row = r.row + r.rows - FOOT_ROWS;

	cells_put(c, row, r.col, r.cols, STYLE_DIM, shade_names[s->shade]);
	map_put_legend(c, row + 1, r, range);
	draw_words(app, s, c, row + 2, r);
}

static void
draw_body(const struct app *app, const struct heads *s, struct cells *c,
    struct rect r, const struct map_range *range)
{
	int name_cols = map_name_cols(&s->rows), all = columns(app);
	int fit = (r.cols - name_cols - 2) / CELL_COLS, first, top;

	if (fit < 1)
		return;
	first = view_top(s->head, all, fit);
	if (r.rows > 1) {
		draw_numbers(c, r.row, r.col + name_cols + 2, first,
		    all - first < fit ? all - first : fit);
		r.row++;
		r.rows--;
	}
	top = view_top(s->row, s->rows.n, r.rows);
	for (int i = 0; i < r.rows && top + i < s->rows.n; i++)
		draw_row(app, s, c, r.row + i, r, name_cols, range, first,
		    top + i);
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
	const struct heads *s = app->state[VIEW_HEADS];
	struct map_range range;

	if (r.rows < 1)
		return;
	if (app_model(app) == NULL || s->rows.n == 0) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "no model is open");
		return;
	}
	range = range_of(app, s);
	if (r.rows > FOOT_ROWS + 3)
		draw_foot(app, s, c, r, &range);
	draw_body(app, s, c, body_rect(r), &range);
}

/* ---- keys ---- */

static void
move_head(const struct app *app, struct heads *s, int step)
{
	const struct layer *y = layer_at(app, s, s->row);

	s->head += step;
	if (y != NULL && s->head >= y->heads_original)
		s->head = y->heads_original - 1;
	if (s->head < 0)
		s->head = 0;
}

static bool
act(struct app *app, enum action a)
{
	struct heads *s = app->state[VIEW_HEADS];
	struct target t = cursor_target(s);

	if (app_model(app) == NULL || s->rows.n == 0)
		return false;
	switch (a) {
	case ACT_LEFT:
	case ACT_RIGHT:
		move_head(app, s, a == ACT_LEFT ? -1 : 1);
		break;
	case ACT_UP:
	case ACT_DOWN:
	case ACT_PAGE_UP:
	case ACT_PAGE_DOWN:
	case ACT_FIRST:
	case ACT_LAST:
		s->row = map_row_move(&s->rows, a, s->row,
		    app->layout.pane[PANE_MAIN].rows - FOOT_ROWS - 1);
		settle(app, s);
		break;
	case ACT_TOGGLE:
		if (layer_at(app, s, s->row) != NULL &&
		    layer_at(app, s, s->row)->heads == 0)
			t = target_part(t.layer, TARGET_ATTENTION);
		toggle_target(app, &t);
		return true;
	case ACT_SORT:
		s->shade = (enum shade)((s->shade + 1) % SHADE_COUNT);
		app_message(app, STYLE_NORMAL, "shade: %s",
		    shade_names[s->shade]);
		break;
	case ACT_MODE:
		app_push(app, VIEW_PARTS);
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
	struct heads *s = app->state[VIEW_HEADS];
	int name_cols = map_name_cols(&s->rows), to, head;
	int fit = (r.cols - name_cols - 2) / CELL_COLS;

	if (app_model(app) == NULL || s->rows.n == 0 || fit < 1)
		return;
	r = body_rect(r);
	if (r.rows > 1) {
		r.row++;
		r.rows--;
	}
	to = view_row_at(s->row, s->rows.n, r, row);
	if (to < 0 || s->rows.layer[to] < 0)
		return;
	head = view_top(s->head, columns(app), fit);
	s->row = to;
	/* Beside the cells only the layer is meant. */
	col -= r.col + name_cols + 1;
	if (col >= 0 && col < fit * CELL_COLS &&
	    head + col / CELL_COLS < columns(app))
		s->head = head + col / CELL_COLS;
	settle(app, s);
	select_cursor(app, s);
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct heads *s = app->state[VIEW_HEADS];
	int n = columns(app), all = s->rows.n * n;
	int at = from_top ? (dir > 0 ? 0 : all - 1) :
	    s->row * n + s->head + dir;

	for (; at >= 0 && at < all; at += dir) {
		const struct layer *y = layer_at(app, s, at / n);
		struct target t;

		if (y == NULL || at % n >= y->heads_original)
			continue;
		t = target_head(s->rows.layer[at / n], at % n);
		if (!view_has_text(t.path, text))
			continue;
		s->row = at / n;
		s->head = at % n;
		select_cursor(app, s);
		app_dirty(app);
		return true;
	}
	return false;
}

const struct view view_heads = {
	.id = VIEW_HEADS,
	.name = "heads",
	.title = "Heads",
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
