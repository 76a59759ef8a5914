/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The budget: the foretold metric against what the model may use, and what is
 * left of each part at the budget under the cursor. All options are in the
 * snapshot, so moving the budget is a look into the curve. Sizes go along by
 * ratios: a step is the same share everywhere.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/number.h"
#include "ui/tui/states.h"

enum { STEPS = 60, PAGE = 10, LABEL = 8, CHART_ROWS = 9 };

struct budget {
	enum plan_use by;
	int at;			/* 0 to STEPS: the least to all */
	int top;		/* the first part listed */
};

static const char *const use_titles[PLAN_USES] = { "bytes", "MACs a token",
	"milliseconds" };

static struct budget *
budget_of(const struct app *app)
{
	return app->state[VIEW_PLAN];
}

/* ---- numbers ---- */

static double
use_at(const struct snap_plan *p, enum plan_use by, int i)
{
	return p->book->base[by] + p->curve[by].use[i];
}

static double
limit_at(const struct snap_plan *p, enum plan_use by, double share)
{
	double high = use_at(p, by, p->curve[by].n - 1);
	double low = fmax(use_at(p, by, 0), high / 1000);

	return low * pow(high / low, share) * (1 + 1e-9);
}

/* The point of the curve at a share of the way. */
static int
point_at(const struct snap_plan *p, enum plan_use by, double share)
{
	int i = plan_curve_find(&p->curve[by], limit_at(p, by, share) -
	    p->book->base[by]);

	return i < 0 ? 0 : i;
}

static double
drop_at(const struct snap_plan *p, enum plan_use by, int i)
{
	return plan_fit_at(&p->drop, p->curve[by].loss[i]);
}

/* Where a use lies on the axis, 0 to 1. */
static double
share_of(const struct snap_plan *p, enum plan_use by, double use)
{
	double high = use_at(p, by, p->curve[by].n - 1);
	double low = fmax(use_at(p, by, 0), high / 1000);

	return use <= low || high <= low ? 0 : log(use / low) /
	    log(high / low);
}

static void
use_text(const struct snap_plan *p, enum plan_use by, double use,
    char out[NUMBER_MAX])
{
	char v[NUMBER_MAX];

	if (by == PLAN_BYTES) {
		number_bytes(out, use);
	} else if (by == PLAN_MACS) {
		number_count(v, use / (double)p->book->seq);
		snprintf(out, NUMBER_MAX, "%.40s MACs", v);
	} else {
		number_ms(v, use);
		snprintf(out, NUMBER_MAX, "%.40s ms", v);
	}
}

/* What the metric would be. */
static double
value_of(const struct snap_plan *p, double drop)
{
	if (p->book->tokens)
		return p->book->value * (1 + drop);
	return p->book->rises ? p->book->value + drop :
	    p->book->value - drop;
}

static void
value_text(const struct app *app, double v, char out[NUMBER_MAX])
{
	if (metric_table[app->snap.metric].share)
		number_percent(out, v);
	else
		number_plain(out, v);
}

/* "0.52 points lost"; "1.80 % more perplexity, 0.0110 bits a byte more". */
static void
drop_text(const struct snap_plan *p, double drop, char out[2 * NUMBER_MAX])
{
	double bits = p->book->tokens ? plan_bits(p->book, 1 + drop) : NAN;

	if (isfinite(bits))
		snprintf(out, 2 * NUMBER_MAX, "%.2f %% more perplexity, %.4f "
		    "bits a byte more", 100 * drop, bits);
	else
		snprintf(out, 2 * NUMBER_MAX, p->book->tokens ? "%.2f %% "
		    "more perplexity" : "%.2f points lost", 100 * drop);
}

/* What an unmeasured state is asked for first. */
static const char *
first_line(const struct app *app)
{
	return metric_table[app->snap.metric].tokens ?
	    "plan drop<=2% apply=off" : "plan drop<=1pt apply=off";
}

/* ---- drawing ---- */

static void
draw_nothing(const struct app *app, struct cells *c, struct rect r)
{
	const char *const text[] = {
		"What the options of this state cost is not known yet.",
		"Enter measures it on the calib samples (data FILE role=calib):",
		first_line(app) };

	for (int i = 0; i < 3 && i < r.rows; i++)
		cells_put(c, r.row + i, r.col, r.cols, i == 2 ? STYLE_KEY :
		    STYLE_NORMAL, text[i]);
}

/* The budget, and what the plan within it uses. */
static void
draw_head(const struct app *app, struct cells *c, struct rect r, int i)
{
	const struct snap_plan *p = app->snap.plan;
	const struct budget *s = budget_of(app);
	const struct plan_curve *curve = &p->curve[s->by];
	double use[PLAN_USES], loss, drop = drop_at(p, s->by, i);
	char v[NUMBER_MAX], t[PLAN_USES][NUMBER_MAX], d[2 * NUMBER_MAX];

	use_text(p, s->by, limit_at(p, s->by, (double)s->at / STEPS), v);
	cells_putf(c, r.row, r.col, r.cols, STYLE_TITLE,
	    "budget %s (%.1f x less), of %s", v, p->book->base[s->by] /
	    limit_at(p, s->by, (double)s->at / STEPS), use_titles[s->by]);
	if (r.rows < 2)
		return;
	plan_sum(p->offer[s->by].unit, p->offer[s->by].n, curve->choice + i *
	    curve->units, use, &loss);
	for (int u = 0; u < PLAN_USES; u++)
		use_text(p, (enum plan_use)u, p->book->base[u] + use[u], t[u]);
	value_text(app, value_of(p, drop), v);
	drop_text(p, drop, d);
	cells_putf(c, r.row + 1, r.col, r.cols, STYLE_NORMAL,
	    "predicted %s (%s), %s, %s, %s", v, d, t[PLAN_BYTES],
	    t[PLAN_MACS], t[PLAN_MS]);
}

/* The lowest row of the chart: a perplexity may rise beyond all bounds, and what
 * is over twice of it is drawn there. */
static double
most_of(const struct snap_plan *p, enum plan_use by)
{
	double most = fmax(drop_at(p, by, 0), 0.01);

	return p->book->tokens ? fmin(most, 1) : most;
}

/* Row of the chart for a drop. */
static int
chart_row(struct rect r, double drop, double most)
{
	double share = most > 0 ? drop / most : 0;
	int k = (int)lround(fmin(fmax(share, 0), 1) * (r.rows - 1));

	return r.row + k;
}

static void
draw_chart(const struct app *app, struct cells *c, struct rect r)
{
	const struct snap_plan *p = app->snap.plan;
	const struct budget *s = budget_of(app);
	double most = most_of(p, s->by);
	int cursor = r.col + (int)lround((double)s->at / STEPS * (r.cols -
	    1));
	char v[NUMBER_MAX];

	value_text(app, value_of(p, 0), v);
	cells_put_right(c, r.row, r.col - LABEL, LABEL - 1, STYLE_DIM, v);
	value_text(app, value_of(p, most), v);
	cells_put_right(c, r.row + r.rows - 1, r.col - LABEL, LABEL - 1,
	    STYLE_DIM, v);
	cells_vline(c, r.row, cursor, r.rows, STYLE_DIM);
	for (int x = 0; x < r.cols; x++) {
		int i = point_at(p, s->by, r.cols > 1 ? (double)x /
		    (r.cols - 1) : 0);

		cells_put(c, chart_row(r, drop_at(p, s->by, i), most), r.col +
		    x, 1, r.col + x == cursor ? STYLE_BAR | STYLE_SELECT :
		    STYLE_BAR, glyph(c, GLYPH_DOT));
	}
	for (int i = 0; i < p->anchors; i++) {
		double share = share_of(p, s->by, p->anchor[i].use[s->by]);

		if (share >= 0 && share <= 1)
			cells_put(c, chart_row(r, p->anchor[i].drop, most),
			    r.col + (int)lround(share * (r.cols - 1)), 1,
			    STYLE_CHANGED, "o");
	}
}

static void
draw_parts(const struct app *app, struct cells *c, struct rect r, int i)
{
	const struct snap_plan *p = app->snap.plan;
	const struct budget *s = budget_of(app);
	const struct plan_curve *curve = &p->curve[s->by];
	struct plan_pick pick;

	plan_pick_of(&pick, p->book, &p->offer[s->by], curve->choice + i *
	    curve->units);
	for (int k = 0; k < r.rows && s->top + k < p->book->nparts; k++) {
		int part = s->top + k;
		char *text = plan_part_text(p->book, &pick, part);
		bool same = strcmp(text, "as it is") == 0;

		cells_put(c, r.row + k, r.col, r.cols < 12 ? r.cols : 12,
		    STYLE_TITLE,
		    p->book->part[part].target);
		if (r.cols > 13)
			cells_put(c, r.row + k, r.col + 13, r.cols - 13,
			    same ? STYLE_DIM : STYLE_CHANGED, text);
		free(text);
	}
	plan_pick_free(&pick);
}

/* The rows of the chart and of the list below two rows of text. */
static void
share_rows(struct rect r, struct rect *chart, struct rect *list)
{
	int rows = r.rows - 4 < 3 || r.cols < 3 * LABEL ? 0 : (r.rows - 4) / 2;

	rows = rows > CHART_ROWS ? CHART_ROWS : rows;
	*chart = (struct rect){ r.row + 2, r.col + LABEL, rows, r.cols -
	    LABEL };
	*list = (struct rect){ r.row + 2 + rows + (rows > 0), r.col, r.rows -
	    2 - rows - (rows > 0), r.cols };
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct snap_plan *p = app->snap.plan;
	struct rect chart, list;
	int i;

	if (p == NULL) {
		draw_nothing(app, c, r);
		return;
	}
	if (r.rows < 1)
		return;
	share_rows(r, &chart, &list);
	i = point_at(p, budget_of(app)->by, (double)budget_of(app)->at /
	    STEPS);
	draw_head(app, c, r, i);
	if (chart.rows > 0)
		draw_chart(app, c, chart);
	draw_parts(app, c, list, i);
}

/* ---- keys ---- */

/* The same budget as a line, with what the options were measured by. */
static void
apply(struct app *app)
{
	const struct snap_plan *p = app->snap.plan;
	const struct budget *s = budget_of(app);
	struct str using = STR_INIT;
	double use;
	char limit[64];

	if (p == NULL) {
		app_command(app, first_line(app));
		return;
	}
	use = use_at(p, s->by, point_at(p, s->by, (double)s->at / STEPS));
	if (s->by == PLAN_BYTES)
		snprintf(limit, sizeof(limit), "bytes<=%.0f", use);
	else if (s->by == PLAN_MACS)
		snprintf(limit, sizeof(limit), "macs<=%.3f", ceil(1000 * use /
		    (double)p->book->seq) / 1000);
	else
		snprintf(limit, sizeof(limit), "latency<=%.6fms", ceil(1e6 *
		    use) / 1e6);
	for (int f = 0; f < PLAN_FAMILIES; f++)
		if ((p->book->families & 1u << f) != 0)
			str_addf(&using, "%s%s", using.n > 0 ? "," : "",
			    plan_family_names[f]);
	app_commandf(app, "plan %s samples=%lld using=%s", limit,
	    (long long)p->book->samples, using.s);
	str_free(&using);
}

static bool
act(struct app *app, enum action a)
{
	struct budget *s = budget_of(app);
	const struct snap_plan *p = app->snap.plan;

	switch (a) {
	case ACT_LEFT: s->at--; break;
	case ACT_RIGHT: s->at++; break;
	case ACT_PAGE_UP: s->at -= PAGE; break;
	case ACT_PAGE_DOWN: s->at += PAGE; break;
	case ACT_FIRST: s->at = 0; break;
	case ACT_LAST: s->at = STEPS; break;
	case ACT_UP: s->top--; break;
	case ACT_DOWN: s->top++; break;
	case ACT_MODE: s->by = (enum plan_use)((s->by + 1) % PLAN_USES); break;
	case ACT_ENTER: apply(app); return true;
	default: return false;
	}
	s->at = s->at < 0 ? 0 : s->at > STEPS ? STEPS : s->at;
	if (p != NULL && s->top > p->book->nparts - 1)
		s->top = p->book->nparts - 1;
	s->top = s->top < 0 ? 0 : s->top;
	app_dirty(app);
	return true;
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	struct rect chart, list;

	share_rows(r, &chart, &list);
	if (app->snap.plan != NULL && row >= chart.row && row < chart.row +
	    chart.rows && col >= chart.col && chart.cols > 1)
		budget_of(app)->at = (int)lround((double)(col - chart.col) /
		    (chart.cols - 1) * STEPS);
}

static const char *
hint(const struct app *app, const struct key_row *k)
{
	if (k->action == ACT_ENTER && app->snap.plan == NULL)
		return "measure";
	return k->hint;
}

static void *
make(void)
{
	struct budget *s = xcalloc(1, sizeof(*s));

	s->at = STEPS / 2;
	return s;
}

const struct view view_plan = {
	.id = VIEW_PLAN,
	.name = "budget",
	.title = "Budget",
	.history = true,
	.make = make,
	.drop = free,
	.draw = draw,
	.act = act,
	.click = click,
	.hint = hint,
};
