/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answer of a command that is longer than the message line. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/tui/app_private.h"

struct output {
	char *title, *text;
	char **line;		/* into text */
	int n, top, hit;	/* hit: the line `/` found; -1 */
};

static struct output *
output_of(const struct app *app)
{
	return app->state[VIEW_OUTPUT];
}

static void
cut_lines(struct output *o)
{
	char *save = o->text;

	o->n = 0;
	while (*save != '\0') {
		char *end = strchr(save, '\n');

		o->line = xrealloc(o->line, (size_t)(o->n + 1) *
		    sizeof(*o->line));
		o->line[o->n++] = save;
		if (end == NULL)
			break;
		*end = '\0';
		save = end + 1;
	}
}

void
output_set(struct app *app, const char *title, const char *text)
{
	struct output *o = output_of(app);

	free(o->title);
	free(o->text);
	o->title = xstrdup(title);
	o->text = xstrdup(text);
	o->top = 0;
	o->hit = -1;
	cut_lines(o);
}

static int
page_rows(const struct app *app)
{
	int rows = app->layout.pane[PANE_MAIN].rows - 1;

	return rows > 0 ? rows : 1;
}

static void
output_draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct output *o = output_of(app);
	int rows = r.rows - 1, last;

	cells_rule(c, r.row, r.col, r.cols, o->title != NULL ? o->title : "");
	for (int i = 0; i < rows && o->top + i < o->n; i++) {
		cells_put(c, r.row + 1 + i, r.col, r.cols, STYLE_NORMAL,
		    o->line[o->top + i]);
		if (o->top + i == o->hit)
			cells_select(c, (struct rect){ r.row + 1 + i, r.col,
			    1, r.cols });
	}
	last = o->top + rows < o->n ? o->top + rows : o->n;
	if (rows > 0 && o->n > rows && r.cols > 40)
		cells_putf(c, r.row, r.col + r.cols - 20, 18, STYLE_DIM,
		    " %d-%d of %d ", o->top + 1, last, o->n);
}

/* A page is moved, not a cursor. */
static bool
output_act(struct app *app, enum action a)
{
	struct output *o = output_of(app);
	int rows = page_rows(app), most = o->n > rows ? o->n - rows : 0;

	if (a < ACT_UP || a > ACT_LAST)
		return false;
	o->top = view_move(a, o->top, o->n, rows);
	if (o->top > most)
		o->top = most;
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
	.draw = output_draw,
	.act = output_act,
	.find = output_find,
};
