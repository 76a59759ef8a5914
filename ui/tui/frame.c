/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frame around the views: the top lines (top.c), the strip of the history,
 * the message line and the hint bar.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/number.h"
#include "ui/progress.h"
#include "ui/render.h"
#include "ui/tui/app_private.h"
#include "ui/tui/states.h"
#include "ui/tui/top.h"

/* ---- the history strip --------------------------------------------------- */

static void
draw_state(const struct app *app, struct cells *c, struct rect r,
    const struct snap_state *t)
{
	bool now = t->id == app->snap.current;
	char bytes[NUMBER_MAX], value[NUMBER_MAX], text[80];

	cells_put(c, r.row, r.col, 2, STYLE_TITLE, now ?
	    glyph(c, GLYPH_MARK) : "");
	number_bytes(bytes, (double)t->totals.bytes);
	states_value(app, t, value);
	snprintf(text, sizeof(text), "%3d", t->id);
	cells_put(c, r.row, r.col + 1, 4, now ? STYLE_TITLE : STYLE_DIM, text);
	cells_put_right(c, r.row, r.col + 5, 11, STYLE_NORMAL, bytes);
	cells_put_right(c, r.row, r.col + 16, 9, STYLE_NORMAL, value);
	cells_put(c, r.row, r.col + 27, r.cols - 27, now ? STYLE_TITLE :
	    STYLE_NORMAL, t->command != NULL ? t->command : "(as opened)");
}

/* The way from the original to the current state, its end in view. */
static void
draw_history(const struct app *app, struct cells *c, struct rect r)
{
	const struct snapshot *s = &app->snap;
	int rows = r.rows - 1, at;

	if (r.rows < 2)
		return;
	cells_rule(c, r.row, r.col, r.cols, "History");
	if (!s->open)
		return;
	at = s->current;
	for (int i = rows - 1; i >= 0; i--) {
		int depth = 0;

		/* Fewer states than rows: begin at the top. */
		for (int k = at; s->state[k].parent >= 0; k =
		    s->state[k].parent)
			depth++;
		if (depth < i)
			continue;
		draw_state(app, c, (struct rect){ r.row + 1 + i, r.col, 1,
		    r.cols }, &s->state[at]);
		at = s->state[at].parent;
		if (at < 0)
			break;
	}
}

/* ---- the message line ---------------------------------------------------- */

/* "evaluating  340 of 1000 samples  34 %  12 s left" */
static void
add_progress(const struct app *app, struct str *b, int width,
    const struct worker_status *s)
{
	struct look l = { .width = width };

	if (app->p->lent > 0 && app->p->line != NULL)
		str_addf(b, "%s  ", app->p->line);
	else
		str_addf(b, "%s  ", s->title);
	if (s->what != NULL || s->canceling)
		progress_line(b, &l, s->done, s->total, s->what != NULL ?
		    s->what : "", task_now() - s->what_started, s->start_done,
		    s->canceling);
}

/* What was said last, and at the right what goes on. */
static void
draw_news(const struct app *app, struct cells *c, struct rect r)
{
	const struct app_private *p = app->p;
	struct worker_status s = { 0 };
	struct str b = STR_INIT;
	int room = r.cols, n;

	if (p->worker != NULL)
		worker_status(p->worker, &s);
	if (s.busy) {
		add_progress(app, &b, 59, &s);
		n = look_columns(b.s);
		if (p->message.n == 0)
			cells_put(c, r.row, r.col, r.cols, STYLE_WARN, b.s);
		else if (n + 2 < r.cols * 2 / 3)
			room -= n + 2;
		if (room < r.cols)
			cells_put(c, r.row, r.col + room + 2, n, STYLE_WARN,
			    b.s);
	}
	if (p->message.n > 0)
		cells_put(c, r.row, r.col, room, p->message_style,
		    p->message.s);
	str_free(&b);
}

static void
draw_find(const struct app *app, struct cells *c, struct rect r)
{
	int n = cells_putf(c, r.row, r.col, r.cols - 1, STYLE_NORMAL, "/%s",
	    app->p->find.s);

	c->cursor_row = r.row;
	c->cursor_col = r.col + n;
}

static void
draw_message(const struct app *app, struct cells *c, struct rect r)
{
	const struct app_private *p = app->p;

	if (r.rows == 0)
		return;
	switch (p->mode) {
	case MODE_PROMPT: prompt_draw(app, c, r); break;
	case MODE_FIND: draw_find(app, c, r); break;
	case MODE_CONFIRM:
		cells_put(c, r.row, r.col, r.cols, STYLE_WARN, p->question);
		break;
	default: draw_news(app, c, r); break;
	}
}

/* ---- the hint bar -------------------------------------------------------- */

/* Help and the way out are always there; then what fits, in table order. */
static bool
hint_first(const struct key_row *k)
{
	return k->action == ACT_HELP || k->action == ACT_BACK;
}

/* A key and a word at *col, when there is room. */
static void
put_hint(struct cells *c, struct rect r, int *col, const char *key,
    const char *word)
{
	int n = look_columns(key) + 1 + look_columns(word);

	if (*col + n > r.cols)
		return;
	cells_put(c, r.row, r.col + *col, n, STYLE_KEY, key);
	cells_put_right(c, r.row, r.col + *col, n, STYLE_HINT, word);
	*col += n + 2;
}

/* While something is typed into the message line. */
static bool
draw_mode_hints(const struct app *app, struct cells *c, struct rect r)
{
	static const char *const hints[][6] = {
		[MODE_PROMPT] = { "Enter", "run", "Tab", "complete", "Esc",
		    "cancel" },
		[MODE_FIND] = { "Enter", "find", "Esc", "cancel" },
		[MODE_CONFIRM] = { "y", "yes", "n", "no", "Esc", "no" },
	};
	const char *const *h = hints[app->p->mode];
	int col = 0;

	if (app->p->mode == MODE_KEYS)
		return false;
	for (int i = 0; i < 6 && h[i] != NULL; i += 2)
		put_hint(c, r, &col, h[i], h[i + 1]);
	return true;
}

static const char *
hint_word(const struct app *app, const struct key_row *k)
{
	const struct view *v = app_view(app);

	return k->hint != NULL && v->hint != NULL &&
	    (k->views & 1u << v->id) != 0 ? v->hint(app, k) : k->hint;
}

static void
draw_hints(const struct app *app, struct cells *c, struct rect r)
{
	enum view_id view = app_view(app)->id;
	int col = 0;

	if (r.rows == 0 || draw_mode_hints(app, c, r))
		return;

	for (int pass = 0; pass < 2; pass++)
		for (const struct key_row *k = key_table; k->key != K_NONE;
		    k++) {
			const char *word = hint_word(app, k);
			char name[16];

			if ((k->views & 1u << view) == 0 || word == NULL ||
			    hint_first(k) != (pass == 0) ||
			    keys_find(view, k->key) != k->action)
				continue;
			keys_name(k->key, name);
			put_hint(c, r, &col, name, word);
		}
}

/* ---- all of it ----------------------------------------------------------- */

static void
draw_tiny(struct cells *c, struct rect r, int rows, int cols)
{
	cells_putf(c, r.row, r.col, r.cols, STYLE_WARN, "needs %dx%d, has "
	    "%dx%d", LAYOUT_MIN_COLS, LAYOUT_MIN_ROWS, cols, rows);
}

static void
draw_split(struct cells *c, const struct app *app)
{
	struct rect s = app->layout.split;

	if (s.rows == 1 && s.cols > 1)
		cells_rule(c, s.row, s.col, s.cols, app->target.path);
	else if (s.rows > 0)
		cells_vline(c, s.row, s.col, s.rows, app->focus_detail ?
		    STYLE_TITLE : STYLE_DIM);
}

static void
draw_detail(const struct app *app, struct cells *c, struct rect r)
{
	const struct detail *d = detail_for(app);

	if (r.rows == 0 || d == NULL)
		return;
	/* A column of air beside the line. */
	if (app->layout.split.cols == 1) {
		r.col++;
		r.cols--;
	}
	d->draw(app, c, r);
}

void
app_draw(struct app *app, struct cells *c)
{
	const struct view *v = app_view(app);
	struct layout_want want = { v->detail, v->history, v->cols != NULL ?
	    v->cols(app) : v->main_cols };
	struct layout *l = &app->layout;
	struct rect was = l->pane[PANE_MAIN];

	layout_make(c->rows, c->cols, &want, l);
	if (was.rows != l->pane[PANE_MAIN].rows ||
	    was.cols != l->pane[PANE_MAIN].cols ||
	    app->look.ascii != c->ascii) {
		app->look.ascii = c->ascii;
		app_changed(app, CHANGE_SIZE);
	}
	if (l->pane[PANE_DETAIL].rows == 0)
		app->focus_detail = false;
	app->look.width = c->cols > 24 ? c->cols - 2 : 22;
	cells_clear(c);
	top_draw(app, c, l->pane[PANE_TOP]);
	if (l->tiny)
		draw_tiny(c, l->pane[PANE_MAIN], c->rows, c->cols);
	else if (v->draw != NULL)
		v->draw(app, c, l->pane[PANE_MAIN]);
	draw_split(c, app);
	draw_detail(app, c, l->pane[PANE_DETAIL]);
	draw_history(app, c, l->pane[PANE_HISTORY]);
	draw_message(app, c, l->pane[PANE_MESSAGE]);
	draw_hints(app, c, l->pane[PANE_HINTS]);
	app->p->dirty = false;
}
