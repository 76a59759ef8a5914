/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Size against the metric: a point for each state that was evaluated, a thin
 * line from the state it came from. What a class looks at: further left is
 * smaller, higher is better (a perplexity falls upwards), and the original is
 * where everything began.
 *
 * Lines are braille dots (2 by 4 to a cell) or points in ASCII. Both axes have
 * round steps of 1, 2 or 5 in the unit they are labelled with.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/tui/states.h"

enum measure { BY_STORED, BY_PARAMS, BY_MACS, BY_TIME, MEASURES };

static const struct {
	const char *name;	/* of the axis */
	double step;		/* between units; 0: milliseconds */
	const char *unit[5];
} measures[MEASURES] = {
	[BY_STORED] = { "stored bytes", 1024, { "B", "KiB", "MiB", "GiB",
	    "TiB" } },
	[BY_PARAMS] = { "parameters", 1000, { "", "k", "M", "G", "T" } },
	[BY_MACS] = { "MACs a token", 1000, { "", "k", "M", "G", "T" } },
	[BY_TIME] = { "median latency", 0, { "ms", "ms", "ms", "ms", "ms" } },
};

struct chart_view {
	enum measure by;
};

struct axis {
	double low, high;	/* in units of scale */
	double step, scale;
	int decimals;
	const char *unit;
};

/* Where things are. */
struct plot {
	const struct app *app;
	struct cells *c;
	struct rect r;		/* inside the axes */
	enum measure by;
	struct axis x, y;
	uint8_t *dot;		/* braille dots of each cell; owned */
};

enum { LABEL = 8, MIN_ROWS = 3, MIN_COLS = 12 };

static double
size_of(const struct app *app, const struct snap_state *s, enum measure by)
{
	switch (by) {
	case BY_STORED:
		return (double)s->totals.bytes;
	case BY_PARAMS:
		return (double)s->totals.params;
	case BY_MACS:
		return (double)s->totals.macs / (double)(app->snap.seq > 0 ?
		    app->snap.seq : 1);
	default:
		return s->has_latency ? s->latency.p50_ms : NAN;
	}
}

/* The point of a state; false: it has none. */
static bool
point_of(const struct app *app, int id, enum measure by, double *x, double *y)
{
	const struct snap_state *s = states_get(app, id);

	if (s == NULL || s->eval == NULL || !isfinite(s->eval->value))
		return false;
	*x = size_of(app, s, by);
	*y = s->eval->value;
	return isfinite(*x);
}

/* ---- axes ---- */

/* The smallest of 1, 2, 5 times a power of ten that is at least `least`. */
static double
round_step(double least)
{
	double p = pow(10, floor(log10(least)));
	static const double times[] = { 1, 2, 5, 10 };

	for (int i = 0; i < 4; i++)
		if (times[i] * p >= least * 0.999)
			return times[i] * p;
	return 10 * p;
}

/* Room around the data, steps so that at most `most` labels appear. */
static void
axis_fit(struct axis *a, double low, double high, double least, int most)
{
	double pad;

	low /= a->scale;
	high /= a->scale;
	least /= a->scale;
	if (high - low < least) {
		double mid = (low + high) / 2;

		low = mid - least / 2;
		high = mid + least / 2;
	}
	pad = (high - low) * 0.06;
	a->low = low - pad;
	a->high = high + pad;
	a->step = round_step((a->high - a->low) / (most > 1 ? most : 1));
	a->decimals = (int)-floor(log10(a->step) + 1e-9);
	if (a->decimals < 0)
		a->decimals = 0;
}

static void
axis_label(const struct axis *a, double v, char out[NUMBER_MAX])
{
	/* No "-0". */
	if (fabs(v) < a->step / 1e6)
		v = 0;
	snprintf(out, NUMBER_MAX, "%.*f%s%s", a->decimals, v,
	    a->unit[0] != '\0' ? " " : "", a->unit);
}

static void
choose_unit(struct axis *a, enum measure by, double high)
{
	int u = 0;

	a->scale = 1;
	while (measures[by].step > 0 && u < 4 &&
	    high >= 0.9995 * measures[by].step * a->scale) {
		a->scale *= measures[by].step;
		u++;
	}
	a->unit = measures[by].unit[u];
}

/* false: there is no point. */
static bool
fit(struct plot *p)
{
	double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
	const struct snapshot *snap = &p->app->snap;
	bool share = metric_table[snap->metric].share;

	for (int i = 0; i < snap->n; i++) {
		double x, y;

		if (!point_of(p->app, i, p->by, &x, &y))
			continue;
		x0 = fmin(x0, x);
		x1 = fmax(x1, x);
		y0 = fmin(y0, y);
		y1 = fmax(y1, y);
	}
	if (!(x0 <= x1))
		return false;
	choose_unit(&p->x, p->by, x1);
	axis_fit(&p->x, x0, x1, fmax(fabs(x1) * 0.02, 1e-9), p->r.cols / 14);
	p->y.scale = share ? 0.01 : 1;
	p->y.unit = share ? "%" : "";
	axis_fit(&p->y, y0, y1, 0.02, p->r.rows / 2);
	/* A share is never below 0 or above 1. */
	if (share && p->y.low < 0)
		p->y.low = 0;
	if (share && p->y.high > 100)
		p->y.high = 100;
	return true;
}

static double
across(const struct axis *a, double v)
{
	return (v / a->scale - a->low) / (a->high - a->low);
}

/* Dots from the left and from the top, `per` of them to a cell. */
static int
place(const struct axis *a, double v, int cells, int per, bool down)
{
	double share = across(a, v);
	int n = cells * per, k;

	k = (int)((down ? 1 - share : share) * n);
	return k < 0 ? 0 : k >= n ? n - 1 : k;
}

static bool
is_better_up(const struct plot *p)
{
	return !metric_falls(p->app->snap.metric);
}

static void
draw_y_axis(const struct plot *p)
{
	int last = -2;

	cells_vline(p->c, p->r.row, p->r.col - 1, p->r.rows, STYLE_DIM);
	for (double v = ceil(p->y.low / p->y.step) * p->y.step;
	    v <= p->y.high; v += p->y.step) {
		int row = p->r.row + place(&p->y, v * p->y.scale, p->r.rows, 1,
		    is_better_up(p));
		char text[NUMBER_MAX];

		if (row == last)
			continue;
		axis_label(&p->y, v, text);
		cells_put_right(p->c, row, p->r.col - LABEL, LABEL - 2,
		    STYLE_DIM, text);
		cells_put(p->c, row, p->r.col - 1, 1, STYLE_DIM,
		    p->c->ascii ? "+" : "┤");
		last = row;
	}
}

static void
draw_x_axis(const struct plot *p)
{
	int row = p->r.row + p->r.rows, free_from = p->r.col - LABEL;

	cells_hline(p->c, row, p->r.col, p->r.cols, STYLE_DIM);
	cells_put(p->c, row, p->r.col - 1, 1, STYLE_DIM,
	    p->c->ascii ? "+" : "└");
	for (double v = ceil(p->x.low / p->x.step) * p->x.step;
	    v <= p->x.high; v += p->x.step) {
		int col = p->r.col + place(&p->x, v * p->x.scale, p->r.cols, 1,
		    false);
		char text[NUMBER_MAX];
		int n, at;

		axis_label(&p->x, v, text);
		n = (int)strlen(text);
		at = col - n / 2;
		if (at + n > p->r.col + p->r.cols)
			at = p->r.col + p->r.cols - n;
		cells_put(p->c, row, col, 1, STYLE_DIM, p->c->ascii ? "+" :
		    "┬");
		if (at < free_from)
			continue;
		cells_put(p->c, row + 1, at, n, STYLE_DIM, text);
		free_from = at + n + 2;
	}
}

/* ---- lines and points ---- */

/* The dots of a braille cell: bits by column, then row (Unicode 2800). */
static void
put_dot(struct plot *p, int x, int y)
{
	static const uint8_t bit[2][4] = { { 0x01, 0x02, 0x04, 0x40 },
		{ 0x08, 0x10, 0x20, 0x80 } };

	p->dot[(y / 4) * p->r.cols + x / 2] |= bit[x % 2][y % 4];
}

static void
put_line(struct plot *p, double x0, double y0, double x1, double y1)
{
	int ax = place(&p->x, x0, p->r.cols, 2, false);
	int ay = place(&p->y, y0, p->r.rows, 4, is_better_up(p));
	int bx = place(&p->x, x1, p->r.cols, 2, false);
	int by = place(&p->y, y1, p->r.rows, 4, is_better_up(p));
	int n = abs(bx - ax) > abs(by - ay) ? abs(bx - ax) : abs(by - ay);

	/* Every other dot: a line that does not hide the points. */
	for (int i = 0; i <= n; i += 2)
		put_dot(p, ax + (n > 0 ? (bx - ax) * i / n : 0),
		    ay + (n > 0 ? (by - ay) * i / n : 0));
}

static void
draw_lines(struct plot *p)
{
	const struct snapshot *snap = &p->app->snap;

	for (int i = 1; i < snap->n; i++) {
		double x0, y0, x1, y1;
		int from = snap->state[i].parent;

		if (!point_of(p->app, i, p->by, &x1, &y1))
			continue;
		while (from > 0 && !point_of(p->app, from, p->by, &x0, &y0))
			from = snap->state[from].parent;
		if (point_of(p->app, from, p->by, &x0, &y0))
			put_line(p, x0, y0, x1, y1);
	}
	for (int i = 0; i < p->r.rows * p->r.cols; i++) {
		unsigned v = 0x2800u + p->dot[i];
		char s[4] = { (char)(0xe0 | v >> 12),
			(char)(0x80 | (v >> 6 & 63)), (char)(0x80 | (v & 63)),
			'\0' };

		if (p->dot[i] != 0)
			cells_put(p->c, p->r.row + i / p->r.cols, p->r.col +
			    i % p->r.cols, 1, STYLE_DIM, p->c->ascii ? "." :
			    s);
	}
}

static bool
is_free(const struct plot *p, int row, int col, int n)
{
	if (col + n > p->r.col + p->r.cols)
		return false;
	for (int i = 0; i < n; i++) {
		const char *s = cells_at(p->c, row, col + i)->s;

		if (strcmp(s, " ") != 0)
			return false;
	}
	return true;
}

/* The state's name beside its point, where there is room. */
static void
draw_name(const struct plot *p, const struct snap_state *s, int row, int col)
{
	char name[32];
	int n;

	if (s->mark != NULL)
		snprintf(name, sizeof(name), "%.16s", s->mark);
	else if (s->id == 0)
		snprintf(name, sizeof(name), "original");
	else
		snprintf(name, sizeof(name), "%d", s->id);
	n = (int)strlen(name);
	if (is_free(p, row, col + 1, n + 1))
		cells_put(p->c, row, col + 2, n, STYLE_DIM, name);
	else if (col - n - 1 >= p->r.col && is_free(p, row, col - n - 1, n))
		cells_put(p->c, row, col - n - 1, n, STYLE_DIM, name);
}

static void
draw_point(const struct plot *p, int id)
{
	const struct states *sel = states_of(p->app);
	const struct snap_state *s = states_get(p->app, id);
	const char *sign = p->c->ascii ? "o" : "○";
	unsigned style = STYLE_BAR;
	double x, y;
	int row, col;

	if (!point_of(p->app, id, p->by, &x, &y))
		return;
	row = p->r.row + place(&p->y, y, p->r.rows, 1, is_better_up(p));
	col = p->r.col + place(&p->x, x, p->r.cols, 1, false);
	if (id == 0) {
		sign = p->c->ascii ? "O" : "◎";
		style = STYLE_TITLE;
	}
	if (id == p->app->snap.current) {
		sign = glyph(p->c, GLYPH_MARK);
		style = STYLE_GOOD;
	}
	if (id == sel->picked)
		sign = "+";
	cells_put(p->c, row, col, 1, style | (id == sel->id ?
	    (unsigned)STYLE_SELECT : 0), sign);
	draw_name(p, s, row, col);
}

/* Those that matter last, so that they are on top. */
static void
draw_points(const struct plot *p)
{
	const struct states *sel = states_of(p->app);
	int current = p->app->snap.current;

	for (int i = p->app->snap.n - 1; i > 0; i--)
		if (i != current && i != sel->id && i != sel->picked)
			draw_point(p, i);
	draw_point(p, 0);
	if (sel->picked >= 0)
		draw_point(p, sel->picked);
	draw_point(p, current);
	draw_point(p, sel->id);
}

static void
draw_plot(struct plot *p)
{
	p->dot = xcalloc((size_t)(p->r.rows * p->r.cols) + 1, 1);
	draw_y_axis(p);
	draw_x_axis(p);
	draw_lines(p);
	draw_points(p);
	free(p->dot);
}

/* ---- the view ---- */

static int
count_points(const struct app *app, enum measure by)
{
	double x, y;
	int n = 0;

	for (int i = 0; i < app->snap.n; i++)
		n += point_of(app, i, by, &x, &y);
	return n;
}

static void
draw_head(const struct app *app, struct cells *c, struct rect r,
    enum measure by)
{
	const char *mark = glyph(c, GLYPH_MARK);
	int n = cells_putf(c, r.row, r.col, r.cols, STYLE_TITLE,
	    "%s against %s", metric_table[app->snap.metric].name,
	    measures[by].name);
	int points = count_points(app, by);
	char text[96];

	/* The others were not evaluated to their end, or not timed. */
	snprintf(text, sizeof(text), "%s current  %s original  %d of %d "
	    "states%s", mark, c->ascii ? "O" : "◎", points, app->snap.n,
	    points < app->snap.n ? " known" : "");
	if (r.cols - n > 50)
		cells_put_right(c, r.row, r.col + n + 2, r.cols - n - 2,
		    STYLE_DIM, text);
}

static void
draw_nothing(const struct app *app, struct cells *c, struct rect r,
    enum measure by)
{
	states_wrap(c, r, STYLE_DIM, app->snap.n == 0 ? "no model is open" :
	    !app->snap.can_eval ? "nothing to draw: evaluating takes a model "
	    "with weights and a head, and labelled samples (:data FILE)" :
	    by == BY_TIME && count_points(app, BY_STORED) > 0 ?
	    "no latency was measured yet: press b in a state" :
	    "no state was evaluated yet: press e");
}

/* Rows of the heading, and of the words below. */
static void
find_parts(struct rect r, int *head, int *words)
{
	*words = r.rows >= 20 ? 3 : r.rows >= 12 ? 2 : 1;
	if (r.rows <= *words)
		*words = 0;
	*head = r.rows - *words >= MIN_ROWS + 3;
}

/* Inside the axes. */
static struct rect
plot_rect(struct rect r)
{
	int head, words;

	find_parts(r, &head, &words);
	return (struct rect){ r.row + head, r.col + LABEL,
		r.rows - head - words - 2, r.cols - LABEL };
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct chart_view *v = app->state[VIEW_CHART];
	struct plot p = { .app = app, .c = c, .by = v->by };
	struct str b = STR_INIT;
	int head, words;

	find_parts(r, &head, &words);
	p.r = plot_rect(r);
	if (app->snap.n > 0)
		states_describe(app, states_of(app)->id, &b);
	if (words > 0)
		states_wrap(c, (struct rect){ r.row + r.rows - words, r.col,
		    words, r.cols }, STYLE_NORMAL, b.s);
	str_free(&b);
	if (head > 0)
		draw_head(app, c, r, v->by);
	r.row += head;
	r.rows -= head + words;
	if (p.r.rows < 1 || p.r.cols < 1 || !fit(&p))
		draw_nothing(app, c, r, v->by);
	else if (p.r.rows < MIN_ROWS || p.r.cols < MIN_COLS)
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "too small for a chart");
	else
		draw_plot(&p);
}

/* ---- moving ---- */

static bool
before(double a, int ia, double b, int ib)
{
	return a < b || (a == b && ia < ib);
}

/* The next point along one axis (states of one place by their number). */
static int
step_to(const struct app *app, enum measure by, bool up, int dir)
{
	int from = states_of(app)->id, best = -1;
	double at[2], here, best_at = 0;

	if (!point_of(app, from, by, &at[0], &at[1]))
		at[0] = at[1] = dir > 0 ? -INFINITY : INFINITY;
	here = at[up];
	for (int i = 0; i < app->snap.n; i++) {
		double p[2];

		if (i == from || !point_of(app, i, by, &p[0], &p[1]))
			continue;
		if (dir > 0 ? !before(here, from, p[up], i) :
		    !before(p[up], i, here, from))
			continue;
		if (best < 0 || (dir > 0 ? before(p[up], i, best_at, best) :
		    before(best_at, best, p[up], i))) {
			best = i;
			best_at = p[up];
		}
	}
	return best >= 0 ? best : from;
}

static void
select_end(struct app *app, enum measure by, int dir)
{
	int to;

	while ((to = step_to(app, by, false, dir)) != states_of(app)->id)
		states_of(app)->id = to;
}

static bool
move(struct app *app, enum action a)
{
	const struct chart_view *v = app->state[VIEW_CHART];
	struct states *s = states_of(app);

	switch (a) {
	case ACT_LEFT:
		s->id = step_to(app, v->by, false, -1);
		break;
	case ACT_RIGHT:
		s->id = step_to(app, v->by, false, 1);
		break;
	case ACT_DOWN:
		s->id = step_to(app, v->by, true, -1);
		break;
	case ACT_UP:
		s->id = step_to(app, v->by, true, 1);
		break;
	case ACT_FIRST:
	case ACT_PAGE_UP:
		select_end(app, v->by, -1);
		break;
	case ACT_LAST:
	case ACT_PAGE_DOWN:
		select_end(app, v->by, 1);
		break;
	default:
		return false;
	}
	app_dirty(app);
	return true;
}

static bool
act(struct app *app, enum action a)
{
	struct chart_view *v = app->state[VIEW_CHART];

	if (app->snap.n == 0)
		return false;
	switch (a) {
	case ACT_CHART:
		app_push(app, VIEW_HISTORY);
		return true;
	case ACT_MODE:
		v->by = (enum measure)((v->by + 1) % MEASURES);
		app_dirty(app);
		return true;
	default:
		return states_act(app, a) || move(app, a);
	}
}

/* The point nearest to the place, if it is near; a row is as high as two
 * columns are wide. */
static void
click(struct app *app, struct rect r, int row, int col)
{
	enum { NEAR = 16 };	/* a square of a distance */
	const struct chart_view *v = app->state[VIEW_CHART];
	struct plot p = { .app = app, .by = v->by, .r = plot_rect(r) };
	int best = -1, best_at = NEAR;

	if (p.r.rows < 1 || p.r.cols < 1 || !fit(&p))
		return;
	for (int i = 0; i < app->snap.n; i++) {
		double x, y;
		int dx, dy;

		if (!point_of(app, i, p.by, &x, &y))
			continue;
		dx = p.r.col + place(&p.x, x, p.r.cols, 1, false) - col;
		dy = p.r.row + place(&p.y, y, p.r.rows, 1, is_better_up(&p)) - row;
		if (dx * dx + 4 * dy * dy <= best_at) {
			best_at = dx * dx + 4 * dy * dy;
			best = i;
		}
	}
	if (best >= 0)
		states_of(app)->id = best;
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct states *s = states_of(app);
	int i = from_top ? dir > 0 ? 0 : app->snap.n - 1 : s->id + dir;

	for (; i >= 0 && i < app->snap.n; i += dir) {
		const struct snap_state *t = states_get(app, i);

		if (view_has_text(states_command(t), text) ||
		    (t->mark != NULL && view_has_text(t->mark, text))) {
			s->id = i;
			return true;
		}
	}
	return false;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct chart_view));
}

static void
enter(struct app *app)
{
	states_follow(app, 0);
}

const struct view view_chart = {
	.id = VIEW_CHART,
	.name = "chart",
	.title = "Size against accuracy",
	.make = make,
	.drop = free,
	.enter = enter,
	.update = states_follow,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
