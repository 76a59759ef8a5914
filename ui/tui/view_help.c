/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keys of the view below this one, from the key table: a row an action, its
 * text broken for the width there is.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/tui/app_private.h"

struct help_line {
	char keys[40];		/* "" where the text above goes on */
	char *text;
};

struct help {
	enum view_id about;
	int width;		/* the lines are for; 0: not made yet */
	struct help_line *line;
	int n, cursor;		/* cursor: the first line shown */
};

static struct help *
help_of(const struct app *app)
{
	return app->state[VIEW_HELP];
}

/* ---- lines --------------------------------------------------------------- */

static void
free_lines(struct help *h)
{
	for (int i = 0; i < h->n; i++)
		free(h->line[i].text);
	free(h->line);
	h->line = NULL;
	h->n = 0;
}

/* 0: the text stands below the keys. */
static int
keys_cols(int width)
{
	return width < 30 ? 0 : width < 50 ? 15 : 20;
}

static void
add_line(struct help *h, const char *keys, const char *text)
{
	struct help_line *l;

	h->line = xrealloc(h->line, (size_t)(h->n + 1) * sizeof(*h->line));
	l = &h->line[h->n++];
	strcpy(l->keys, keys);
	l->text = xstrdup(text);
}

/* An action: its keys, and its text in as many lines as it takes. */
static void
add_action(struct help *h, const char *keys, const char *text)
{
	int left = keys_cols(h->width);
	struct look l = { .width = h->width - (left > 0 ? left + 1 : 3) };
	struct str b = STR_INIT;
	char *save = NULL, *line;

	l.width = l.width < 8 ? 8 : l.width;
	if (left == 0) {
		add_line(h, keys, "");
		keys = "";
	}
	look_wrap(&b, &l, 0, 0, text);
	for (line = strtok_r(b.s, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save), keys = "")
		add_line(h, keys, line);
	str_free(&b);
}

/* A row without a text is another key for the action of the row above, which
 * may be of other views. */
static const char *
text_of(const struct key_row *k)
{
	while (k->help == NULL)
		k--;
	return k->help;
}

static void
make_lines(struct help *h, int width)
{
	const char *text = NULL;
	char keys[40] = "", name[16];

	free_lines(h);
	h->width = width;
	for (const struct key_row *k = key_table; k->key != K_NONE; k++) {
		if ((k->views & 1u << h->about) == 0 ||
		    keys_find(h->about, k->key) != k->action)
			continue;
		keys_name(k->key, name);
		if (text == NULL || strcmp(text, text_of(k)) != 0) {
			if (text != NULL)
				add_action(h, keys, text);
			text = text_of(k);
			keys[0] = '\0';
		}
		if (strlen(keys) + strlen(name) + 2 > sizeof(keys))
			continue;
		strcat(keys, keys[0] != '\0' ? " " : "");
		strcat(keys, name);
	}
	if (text != NULL)
		add_action(h, keys, text);
}

static int
page_rows(const struct app *app)
{
	int rows = app->layout.pane[PANE_MAIN].rows - 1;

	return rows > 0 ? rows : 1;
}

static void
stay_inside(const struct app *app, struct help *h)
{
	if (h->cursor > h->n - page_rows(app))
		h->cursor = h->n - page_rows(app);
	if (h->cursor < 0)
		h->cursor = 0;
}

/* Help comes to the front: it is about what was there. */
static void
help_enter(struct app *app)
{
	struct help *h = help_of(app);
	int width = app->layout.pane[PANE_MAIN].cols;

	if (app->depth > 1)
		h->about = app->stack[app->depth - 2];
	h->cursor = 0;
	make_lines(h, width > 0 ? width : 80);
}

static void
help_update(struct app *app, unsigned change)
{
	struct help *h = help_of(app);
	int width = app->layout.pane[PANE_MAIN].cols;

	if ((change & CHANGE_SIZE) == 0 || app_view(app)->id != VIEW_HELP)
		return;
	if (width > 0 && width != h->width)
		make_lines(h, width);
	stay_inside(app, h);
}

/* ---- the view ------------------------------------------------------------ */

static void
help_draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct help *h = help_of(app);
	int rows = r.rows - 1, keys = keys_cols(r.cols);
	char *title = str_format("Keys: %s", view_table[h->about]->title);

	cells_rule(c, r.row, r.col, r.cols, title);
	cells_more(c, r.row, r.col, r.cols, h->cursor, rows, h->n);
	free(title);
	for (int i = 0; i < rows && h->cursor + i < h->n; i++) {
		const struct help_line *l = &h->line[h->cursor + i];
		int left = keys > 0 ? keys : 2;

		cells_put(c, r.row + 1 + i, r.col + 1 + left,
		    r.cols - left - 1, STYLE_NORMAL, l->text);
		cells_put(c, r.row + 1 + i, r.col + 1, keys > 0 ? keys - 1 :
		    r.cols - 1, STYLE_KEY, l->keys);
	}
}

static bool
help_act(struct app *app, enum action a)
{
	struct help *h = help_of(app);

	if (a < ACT_UP || a > ACT_LAST)
		return false;
	h->cursor = view_move(a, h->cursor, h->n, page_rows(app));
	stay_inside(app, h);
	return true;
}

static bool
help_find(struct app *app, const char *text, int dir, bool from_top)
{
	struct help *h = help_of(app);
	int i = from_top ? (dir > 0 ? 0 : h->n - 1) : h->cursor + dir;

	for (; i >= 0 && i < h->n; i += dir)
		if (view_has_text(h->line[i].text, text)) {
			h->cursor = i;
			return true;
		}
	return false;
}

static void *
help_make(void)
{
	return xcalloc(1, sizeof(struct help));
}

static void
help_drop(void *state)
{
	struct help *h = state;

	free_lines(h);
	free(h);
}

const struct view view_help = {
	.id = VIEW_HELP,
	.name = "help",
	.title = "Keys",
	.make = help_make,
	.drop = help_drop,
	.enter = help_enter,
	.update = help_update,
	.draw = help_draw,
	.act = help_act,
	.find = help_find,
};
