/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keys of the view below this one, from the key table. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/tui/app_private.h"

struct help_line {
	char keys[40];
	const char *text;
};

struct help {
	enum view_id about;
	struct help_line *line;
	int n, cursor;
};

static struct help *
help_of(const struct app *app)
{
	return app->state[VIEW_HELP];
}

/* A row without a text is another key for the action of the line it belongs
 * to. */
static void
add_key(struct help *h, const struct key_row *k)
{
	struct help_line *l;
	char name[16];

	keys_name(k->key, name);
	if (k->help != NULL) {
		h->line = xrealloc(h->line, (size_t)(h->n + 1) *
		    sizeof(*h->line));
		l = &h->line[h->n++];
		l->text = k->help;
		strcpy(l->keys, name);
		return;
	}
	if (h->n == 0)
		return;
	l = &h->line[h->n - 1];
	if (strlen(l->keys) + strlen(name) + 2 < sizeof(l->keys)) {
		strcat(l->keys, " ");
		strcat(l->keys, name);
	}
}

static void
make_lines(struct help *h)
{
	h->n = 0;
	for (const struct key_row *k = key_table; k->key != K_NONE; k++)
		if ((k->views & 1u << h->about) != 0 &&
		    keys_find(h->about, k->key) == k->action)
			add_key(h, k);
}

/* Help comes to the front: it is about what was there. */
static void
help_enter(struct app *app)
{
	struct help *h = help_of(app);

	if (app->depth > 1)
		h->about = app->stack[app->depth - 2];
	h->cursor = 0;
	make_lines(h);
}

static void
help_draw(const struct app *app, struct cells *c, struct rect r)
{
	enum { KEYS = 20 };
	const struct help *h = help_of(app);
	int rows = r.rows - 1, keys = r.cols < 50 ? 12 : KEYS;
	char *title = str_format("Keys: %s", view_table[h->about]->title);

	cells_rule(c, r.row, r.col, r.cols, title);
	free(title);
	for (int i = 0; i < rows && h->cursor + i < h->n; i++) {
		const struct help_line *l = &h->line[h->cursor + i];

		cells_put(c, r.row + 1 + i, r.col + 1, keys - 1, STYLE_KEY,
		    l->keys);
		cells_put(c, r.row + 1 + i, r.col + 1 + keys,
		    r.cols - keys - 1, STYLE_NORMAL, l->text);
	}
}

static bool
help_act(struct app *app, enum action a)
{
	struct help *h = help_of(app);
	int rows = app->layout.pane[PANE_MAIN].rows - 1;
	int most = h->n > rows ? h->n - rows : 0;

	if (a < ACT_UP || a > ACT_LAST)
		return false;
	h->cursor = view_move(a, h->cursor, h->n, rows);
	if (h->cursor > most)
		h->cursor = most;
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

	free(h->line);
	free(h);
}

const struct view view_help = {
	.id = VIEW_HELP,
	.name = "help",
	.title = "Keys",
	.make = help_make,
	.drop = help_drop,
	.enter = help_enter,
	.draw = help_draw,
	.act = help_act,
	.find = help_find,
};
