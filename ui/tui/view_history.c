/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree of states. A chain of states stays in one column; where a state has
 * several children each of them begins a branch one step to the right, so that
 * a hundred changes in a row do not leave the screen:
 *
 *   * 0 as opened
 *     |-1 prune heads 50%
 *     | 2 quantize all
 *     `-3 prune layers last 1
 *
 * Sorted by another column the branches are left out.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/tui/states.h"

enum sort { SORT_TREE, SORT_BYTES, SORT_VALUE, SORT_LATENCY, SORT_COUNT };

/* A run of rows in one column of the tree. */
struct branch {
	int parent;	/* -1: the trunk */
	bool last;	/* no sibling after it */
};

struct row {
	int id, branch;
	bool first;	/* of its branch */
};

struct history_view {
	struct states states;	/* first: see states_of() */
	enum sort sort;
	int n, branches;
	struct row *row;	/* owned, in the order shown */
	struct branch *branch;	/* owned */
};

/* A column at the right of the commands. */
struct column {
	const char *title;
	int width, rank;	/* rank: those of little use go first */
	enum sort sort;
	void (*text)(const struct app *app, const struct snap_state *s,
	    char out[NUMBER_MAX]);
};

static void
text_bytes(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	number_bytes(out, (double)s->totals.bytes);
}

static void
text_change(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	out[0] = '\0';
	if (s->id > 0)
		number_change(out, (double)app->snap.state[0].totals.bytes,
		    (double)s->totals.bytes);
}

static void
text_params(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	number_count(out, (double)s->totals.params);
}

static void
text_value(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	states_value(app, s, out);
}

static void
text_latency(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	states_latency(s, out);
}

static void
text_ratio(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	out[0] = '\0';
	if (s->has_latency && s->latency.has_ratio)
		snprintf(out, NUMBER_MAX, "%.2f x", s->latency.ratio);
}

static void
text_seconds(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX])
{
	out[0] = '\0';
	if (s->id > 0)
		number_seconds(out, s->seconds);
}

static const struct column columns[] = {
	{ "params", 9, 5, SORT_TREE, text_params },
	{ "bytes", 10, 0, SORT_BYTES, text_bytes },
	{ "change", 9, 3, SORT_TREE, text_change },
	{ NULL, 9, 1, SORT_VALUE, text_value },	/* the metric's name */
	{ "latency", 9, 2, SORT_LATENCY, text_latency },
	{ "ratio", 8, 4, SORT_TREE, text_ratio },
	{ "took", 9, 6, SORT_TREE, text_seconds },
};
enum { COLUMNS = sizeof(columns) / sizeof(*columns), COMMAND_MIN = 18,
	COMMAND_GOOD = 30, NEEDED = 3,	/* ranks below it may press */
	DESCRIBE_FROM = 10, WIDEST = 130 };

/* ---- the order ---- */

/* Children of each state, last first, as lists by state: next[] links them. */
static void
link_children(const struct snapshot *snap, int *child, int *next)
{
	for (int i = 0; i < snap->n; i++)
		child[i] = next[i] = -1;
	for (int i = 1; i < snap->n; i++) {
		int p = snap->state[i].parent;

		if (p < 0 || p >= i)
			continue;
		next[i] = child[p];
		child[p] = i;
	}
}

static int
add_branch(struct history_view *v, int parent, bool last)
{
	v->branch[v->branches] = (struct branch){ parent, last };
	return v->branches++;
}

/* The children come off the list last first, so the one pushed first is the
 * last of its siblings; the stack turns them around again. */
static int
push_children(struct history_view *v, const struct row *of, int child,
    const int *next, struct row *stack, int top)
{
	bool fork = child >= 0 && next[child] >= 0, last = true;

	for (int c = child; c >= 0; c = next[c]) {
		int b = fork ? add_branch(v, of->branch, last) : of->branch;

		stack[top++] = (struct row){ c, b, fork };
		last = false;
	}
	return top;
}

static void
order_tree(struct history_view *v, const struct snapshot *snap)
{
	size_t n = (size_t)snap->n;
	int *child = xcalloc(n + 1, sizeof(*child));
	int *next = xcalloc(n + 1, sizeof(*next));
	struct row *stack = xcalloc(n + 1, sizeof(*stack));
	int top = 0;

	link_children(snap, child, next);
	add_branch(v, -1, true);
	stack[top++] = (struct row){ 0, 0, false };
	while (top > 0) {
		struct row r = stack[--top];

		v->row[v->n++] = r;
		top = push_children(v, &r, child[r.id], next, stack, top);
	}
	free(child);
	free(next);
	free(stack);
}

/* What a column sorts by; NAN goes last. */
static double
sort_key(const struct snap_state *s, enum sort sort)
{
	switch (sort) {
	case SORT_BYTES:
		return (double)s->totals.bytes;
	case SORT_VALUE:
		return s->eval == NULL ? NAN : metric_falls(s->eval->metric) ?
		    s->eval->value : -s->eval->value;
	case SORT_LATENCY:
		return s->has_latency ? s->latency.p50_ms : NAN;
	default:
		return s->id;
	}
}

struct keyed {
	double key;
	struct row row;
};

static int
by_key(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;

	if (isnan(x->key) != isnan(y->key))
		return isnan(x->key) - isnan(y->key);
	if (x->key != y->key && !isnan(x->key))
		return x->key < y->key ? -1 : 1;
	return x->row.id - y->row.id;
}

static void
sort_rows(struct history_view *v, const struct snapshot *snap)
{
	struct keyed *k = xcalloc((size_t)v->n + 1, sizeof(*k));

	for (int i = 0; i < v->n; i++)
		k[i] = (struct keyed){ sort_key(&snap->state[v->row[i].id],
		    v->sort), { v->row[i].id, 0, false } };
	qsort(k, (size_t)v->n, sizeof(*k), by_key);
	for (int i = 0; i < v->n; i++)
		v->row[i] = k[i].row;
	free(k);
}

static void
rebuild(struct app *app)
{
	struct history_view *v = app->state[VIEW_HISTORY];
	size_t n = (size_t)app->snap.n;

	free(v->row);
	free(v->branch);
	v->row = xcalloc(n + 1, sizeof(*v->row));
	v->branch = xcalloc(n + 1, sizeof(*v->branch));
	v->n = v->branches = 0;
	if (n == 0)
		return;
	order_tree(v, &app->snap);
	if (v->sort != SORT_TREE)
		sort_rows(v, &app->snap);
}

static int
cursor_row(const struct history_view *v)
{
	for (int i = 0; i < v->n; i++)
		if (v->row[i].id == v->states.id)
			return i;
	return 0;
}

/* ---- drawing ---- */

/* The columns that leave room for the commands, by rank; their width. */
static int
choose_columns(int cols, bool use[COLUMNS])
{
	int used = 0;

	memset(use, 0, COLUMNS * sizeof(*use));
	for (int rank = 0; rank < COLUMNS; rank++)
		for (int i = 0; i < COLUMNS; i++) {
			if (columns[i].rank != rank)
				continue;
			if (used + columns[i].width + 4 + (rank < NEEDED ?
			    COMMAND_MIN : COMMAND_GOOD) > cols)
				return used;
			use[i] = true;
			used += columns[i].width;
		}
	return used;
}

/* The description of a state. */
static int
below_rows(struct rect r)
{
	return r.rows >= 20 ? 4 : 3;
}

static void
draw_columns(const struct app *app, struct cells *c, int row, int end,
    const bool use[COLUMNS], const struct snap_state *s)
{
	const struct history_view *v = app->state[VIEW_HISTORY];
	char text[NUMBER_MAX];

	for (int i = COLUMNS - 1; i >= 0; i--) {
		unsigned style = STYLE_NORMAL;

		if (!use[i])
			continue;
		if (s != NULL) {
			columns[i].text(app, s, text);
		} else {
			bool sorted = columns[i].sort == v->sort &&
			    v->sort != SORT_TREE;

			style = STYLE_DIM;
			snprintf(text, sizeof(text), "%s%s",
			    columns[i].title != NULL ? columns[i].title :
			    metric_table[app->snap.metric].name, sorted ?
			    glyph(c, v->sort == SORT_VALUE ? GLYPH_DOWN :
			    GLYPH_UP) : "");
		}
		end -= columns[i].width;
		cells_put_right(c, row, end + 1, columns[i].width - 1, style,
		    text);
	}
}

/* The lines left of a row of branch b, from the trunk on; returns the column
 * after them. Deep ones lose their left part. */
static int
draw_lines(const struct history_view *v, struct cells *c, int row, int col,
    int width, const struct row *r)
{
	int depth = 0, at;

	for (int b = r->branch; v->branch[b].parent >= 0;
	    b = v->branch[b].parent)
		depth++;
	at = depth * 2 > width ? width / 2 * 2 : depth * 2;
	for (int b = r->branch, k = at - 2; k >= 0;
	    b = v->branch[b].parent, k -= 2) {
		bool own = b == r->branch && r->first;
		const char *s = own ? glyph(c, v->branch[b].last ?
		    GLYPH_TREE_END : GLYPH_TREE_MID) : v->branch[b].last ?
		    "  " : glyph(c, GLYPH_TREE_LINE);

		if (k == 0 && depth * 2 > at)
			s = glyph(c, GLYPH_CUT);
		cells_put(c, row, col + k, 2, STYLE_DIM, s);
	}
	return col + at;
}

static void
draw_state(const struct app *app, struct cells *c, struct rect r,
    const struct row *at, const bool use[COLUMNS], int used)
{
	const struct history_view *v = app->state[VIEW_HISTORY];
	const struct snap_state *s = states_get(app, at->id);
	int col = r.col + 2, end = r.col + r.cols - used;
	bool now = at->id == app->snap.current;

	if (s == NULL)
		return;
	if (now)
		cells_put(c, r.row, r.col, 1, STYLE_GOOD,
		    glyph(c, GLYPH_MARK));
	if (at->id == v->states.picked)
		cells_put(c, r.row, r.col + 1, 1, STYLE_WARN, "+");
	if (v->sort == SORT_TREE)
		col = draw_lines(v, c, r.row, col, (end - col) / 3, at);
	col += cells_putf(c, r.row, col, end - col, STYLE_DIM, "%d ", s->id);
	if (s->mark != NULL)
		col += cells_putf(c, r.row, col, (end - col) / 2, STYLE_GOOD,
		    "[%s] ", s->mark);
	cells_put(c, r.row, col, end - col, now ? STYLE_TITLE : STYLE_NORMAL,
	    states_command(s));
	draw_columns(app, c, r.row, r.col + r.cols, use, s);
	if (at->id == v->states.id)
		cells_select(c, r);
}

/* Where the states are in the rectangle of draw(): between the titles and the
 * description. */
static struct rect
list_rect(struct rect r)
{
	if (r.rows >= DESCRIBE_FROM)
		r.rows -= below_rows(r) + 1;
	if (r.rows >= 4) {
		r.row++;
		r.rows--;
	}
	return r;
}

static void
draw_list(const struct app *app, struct cells *c, struct rect r)
{
	const struct history_view *v = app->state[VIEW_HISTORY];
	bool use[COLUMNS];
	int used, top;

	/* Far apart is hard to read. */
	if (r.cols > WIDEST)
		r.cols = WIDEST;
	used = choose_columns(r.cols, use);
	if (r.rows >= 4) {
		cells_put(c, r.row, r.col + 2, r.cols - used - 2, STYLE_DIM,
		    "state");
		draw_columns(app, c, r.row, r.col + r.cols, use, NULL);
		r.row++;
		r.rows--;
	}
	top = view_top(cursor_row(v), v->n, r.rows);
	for (int i = 0; i < r.rows && top + i < v->n; i++)
		draw_state(app, c, (struct rect){ r.row + i, r.col, 1,
		    r.cols }, &v->row[top + i], use, used);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct history_view *v = app->state[VIEW_HISTORY];
	struct str b = STR_INIT;
	int below = below_rows(r);

	if (app->snap.n == 0) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "no model is open");
		return;
	}
	if (r.rows >= DESCRIBE_FROM) {
		r.rows -= below + 1;
		cells_hline(c, r.row + r.rows, r.col, r.cols, STYLE_DIM);
		states_describe(app, v->states.id, &b);
		states_wrap(c, (struct rect){ r.row + r.rows + 1, r.col, below,
		    r.cols }, STYLE_NORMAL, b.s);
		str_free(&b);
	}
	draw_list(app, c, r);
}

/* ---- behaviour ---- */

static void *
make(void)
{
	struct history_view *v = xcalloc(1, sizeof(*v));

	v->states.picked = v->states.seen = -1;
	return v;
}

static void
drop(void *state)
{
	struct history_view *v = state;

	if (v == NULL)
		return;
	free(v->row);
	free(v->branch);
	free(v);
}

static void
update(struct app *app, unsigned change)
{
	states_follow(app, change);
	if ((change & ~(unsigned)(CHANGE_TARGET | CHANGE_SIZE)) != 0)
		rebuild(app);
}

static void
enter(struct app *app)
{
	update(app, CHANGE_HISTORY);
}

static bool
act(struct app *app, enum action a)
{
	struct history_view *v = app->state[VIEW_HISTORY];
	int at = cursor_row(v), to;

	switch (a) {
	case ACT_CHART:
	case ACT_MODE:
		app_push(app, VIEW_CHART);
		return true;
	case ACT_SORT:
		v->sort = (enum sort)((v->sort + 1) % SORT_COUNT);
		rebuild(app);
		app_dirty(app);
		return true;
	default:
		break;
	}
	if (states_act(app, a))
		return true;
	to = view_move(a, at, v->n, app->layout.pane[PANE_MAIN].rows);
	if (a > ACT_LAST || v->n == 0)
		return false;
	v->states.id = v->row[to].id;
	app_dirty(app);
	return true;
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	struct history_view *v = app->state[VIEW_HISTORY];
	int i = view_row_at(cursor_row(v), v->n, list_rect(r), row);

	if (i >= 0)
		v->states.id = v->row[i].id;
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct history_view *v = app->state[VIEW_HISTORY];
	int i = from_top ? dir > 0 ? 0 : v->n - 1 : cursor_row(v) + dir;

	for (; i >= 0 && i < v->n; i += dir) {
		const struct snap_state *s = states_get(app, v->row[i].id);

		if (s == NULL || !(view_has_text(states_command(s), text) ||
		    (s->mark != NULL && view_has_text(s->mark, text))))
			continue;
		v->states.id = s->id;
		return true;
	}
	return false;
}

const struct view view_history = {
	.id = VIEW_HISTORY,
	.name = "history",
	.title = "History",
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
