/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The answer of a command that is longer than the message line.
 *
 * What was answered is kept as documents and texts, and made into lines for the
 * width there is. Lines that are wider all the same (a table has a least width)
 * can be looked at sideways.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "ui/render.h"
#include "ui/tui/app_private.h"

struct page_part {
	char *text;		/* NULL: a document */
	const char *kind;
	json_t *doc;
};

struct output {
	char *title;
	struct page_part *part;
	int nparts;
	char *text;		/* the parts for this width: */
	int width;		/* 0: not made yet */
	bool ascii;		/* made for that alphabet */
	char **line;		/* into text, clean */
	int n, widest;
	int top, left, hit;	/* hit: the line `/` found; -1 */
};

static void follow_width(struct app *app);

static struct output *
output_of(const struct app *app)
{
	return app->state[VIEW_OUTPUT];
}

/* ---- the page ------------------------------------------------------------ */

static void
free_parts(struct output *o)
{
	for (int i = 0; i < o->nparts; i++) {
		free(o->part[i].text);
		json_decref(o->part[i].doc);
	}
	free(o->part);
	o->part = NULL;
	o->nparts = 0;
}

static struct page_part *
add_part(struct app *app)
{
	struct output *o = output_of(app);

	o->part = xrealloc(o->part, (size_t)(o->nparts + 1) *
	    sizeof(*o->part));
	o->part[o->nparts] = (struct page_part){ 0 };
	o->width = 0;
	return &o->part[o->nparts++];
}

void
output_begin(struct app *app, const char *title)
{
	struct output *o = output_of(app);

	free_parts(o);
	free(o->title);
	o->title = xstrdup(title);
	o->top = o->left = 0;
	o->hit = -1;
	o->width = 0;
}

void
output_again(struct app *app)
{
	struct output *o = output_of(app);

	free_parts(o);
	o->width = 0;
}

void
output_refresh(struct app *app)
{
	if (app_view(app)->id != VIEW_OUTPUT)
		return;
	follow_width(app);
	app_dirty(app);
}

void
output_add_text(struct app *app, const char *text)
{
	add_part(app)->text = xstrdup(text);
}

void
output_add_document(struct app *app, const char *kind, json_t *doc)
{
	struct page_part *p = add_part(app);

	p->kind = kind;
	p->doc = json_incref(doc);
}

/* ---- its lines ----------------------------------------------------------- */

/* Lines that are too long go on under their first word. */
static void
wrap_text(struct str *b, const struct look *l, const char *text)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");
		char *line = xstrndup(text, n);
		int indent = (int)strspn(line, " ");

		if (look_columns(line) <= l->width) {
			str_addf(b, "%s\n", line);
		} else {
			look_spaces(b, indent);
			look_wrap(b, l, indent, indent, line);
		}
		free(line);
		text += n + (text[n] != '\0');
	}
}

/* Cut into clean lines. */
static void
cut_lines(struct output *o, const struct look *l, const char *text)
{
	struct str all = STR_INIT;
	char *at;

	o->n = 0;
	for (const char *s = text; *s != '\0'; s += *s != '\0') {
		size_t n = strcspn(s, "\n");
		char *raw = xstrndup(s, n), *clean = look_clean(l, raw);

		str_addf(&all, "%s\n", clean);
		free(raw);
		free(clean);
		o->n++;
		s += n;
	}
	free(o->text);
	o->text = at = str_detach(&all);
	o->line = xrealloc(o->line, (size_t)(o->n + 1) * sizeof(*o->line));
	o->widest = 0;
	for (int i = 0; i < o->n; i++) {
		char *end = strchr(at, '\n');
		int columns;

		*end = '\0';
		o->line[i] = at;
		columns = look_columns(at);
		o->widest = columns > o->widest ? columns : o->widest;
		at = end + 1;
	}
}

/* As much of the page as fits beside its margin. */
static void
make_lines(struct app *app, struct output *o, int width)
{
	struct look l = app->look;
	struct str b = STR_INIT;

	l.width = width > 24 ? width - 2 : 22;
	str_add(&b, "");
	for (int i = 0; i < o->nparts; i++) {
		const struct page_part *p = &o->part[i];

		if (p->text != NULL)
			wrap_text(&b, &l, p->text);
		else
			render_document(&b, &l, p->kind, p->doc);
	}
	cut_lines(o, &l, b.s);
	o->width = width;
	o->ascii = l.ascii;
	str_free(&b);
}

static int
page_rows(const struct app *app)
{
	int rows = app->layout.pane[PANE_MAIN].rows - 1;

	return rows > 0 ? rows : 1;
}

/* Before anything was drawn: what is usual. */
static int
page_cols(const struct app *app)
{
	int cols = app->layout.pane[PANE_MAIN].cols;

	return cols > 0 ? cols : 80;
}

static void
stay_inside(const struct app *app, struct output *o)
{
	int rows = page_rows(app), most = o->widest - page_cols(app);

	if (o->top > o->n - rows)
		o->top = o->n - rows;
	if (o->left > most)
		o->left = most;
	o->top = o->top > 0 ? o->top : 0;
	o->left = o->left > 0 ? o->left : 0;
}

/* After another width about the same part is in view. */
static void
follow_width(struct app *app)
{
	struct output *o = output_of(app);
	double share = o->n > 0 ? (double)o->top / o->n : 0;
	int width = page_cols(app);

	if (width != o->width || o->ascii != app->look.ascii) {
		make_lines(app, o, width);
		o->top = (int)(share * o->n + 0.5);
		o->hit = -1;
	}
	stay_inside(app, o);
}

void
output_show(struct app *app)
{
	app_push(app, VIEW_OUTPUT);
	follow_width(app);
	app_dirty(app);
}

static void
output_update(struct app *app, unsigned change)
{
	if ((change & CHANGE_SIZE) != 0 && app_view(app)->id == VIEW_OUTPUT)
		follow_width(app);
}

/* ---- drawing ------------------------------------------------------------- */

static void
draw_line(const struct output *o, struct cells *c, struct rect r, int i)
{
	const char *line = o->line[i];

	cells_put(c, r.row, r.col, r.cols, STYLE_NORMAL,
	    look_skip(line, o->left));
	if (o->left > 0 && *line != '\0')
		cells_put(c, r.row, r.col, 1, STYLE_DIM, glyph(c, GLYPH_LEFT));
	if (i == o->hit)
		cells_select(c, r);
}

static void
output_draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct output *o = output_of(app);
	int rows = r.rows - 1;

	cells_rule(c, r.row, r.col, r.cols, o->title != NULL ? o->title : "");
	cells_more(c, r.row, r.col, r.cols, o->top, rows, o->n);
	for (int i = 0; i < rows && o->top + i < o->n; i++)
		draw_line(o, c, (struct rect){ r.row + 1 + i, r.col, 1,
		    r.cols }, o->top + i);
}

/* ---- acting -------------------------------------------------------------- */

/* A page is moved, not a cursor. */
static bool
output_act(struct app *app, enum action a)
{
	enum { STEP = 8 };
	struct output *o = output_of(app);

	if (a == ACT_LEFT || a == ACT_RIGHT)
		o->left += a == ACT_LEFT ? -STEP : STEP;
	else if (a >= ACT_UP && a <= ACT_LAST)
		o->top = view_move(a, o->top, o->n, page_rows(app));
	else
		return false;
	stay_inside(app, o);
	return true;
}

static bool
output_find(struct app *app, const char *text, int dir, bool from_top)
{
	struct output *o = output_of(app);
	int i = from_top ? (dir > 0 ? 0 : o->n - 1) :
	    (o->hit >= 0 ? o->hit : o->top - dir) + dir;

	for (; i >= 0 && i < o->n; i += dir) {
		if (!view_has_text(o->line[i], text))
			continue;
		o->hit = i;
		o->top = view_top(i, o->n, page_rows(app));
		return true;
	}
	return false;
}

static void *
output_make(void)
{
	struct output *o = xcalloc(1, sizeof(*o));

	o->hit = -1;
	return o;
}

static void
output_drop(void *state)
{
	struct output *o = state;

	free_parts(o);
	free(o->title);
	free(o->text);
	free(o->line);
	free(o);
}

const struct view view_output = {
	.id = VIEW_OUTPUT,
	.name = "output",
	.title = "Output",
	.make = output_make,
	.drop = output_drop,
	.update = output_update,
	.draw = output_draw,
	.act = output_act,
	.find = output_find,
};
