/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/view.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

const struct view *const view_table[VIEW_COUNT] = {
	[VIEW_TREE] = &view_tree,
	[VIEW_HEADS] = &view_heads,
	[VIEW_PARTS] = &view_parts,
	[VIEW_APPLY] = &view_apply,
	[VIEW_HISTORY] = &view_history,
	[VIEW_CHART] = &view_chart,
	[VIEW_COMPARE] = &view_compare,
	[VIEW_SAMPLES] = &view_samples,
	[VIEW_OUTPUT] = &view_output,
	[VIEW_HELP] = &view_help,
	[VIEW_COLUMNS] = &view_columns,
	[VIEW_PLAN] = &view_plan,
};

const struct detail *const detail_table[] = {
	&detail_head, &detail_attention, &detail_matrix, &detail_layer,
	&detail_plain, NULL
};

const struct detail *
detail_for(const struct app *app)
{
	int i = 0;

	if (app_model(app) == NULL)
		return NULL;
	while (detail_table[i] != NULL &&
	    !detail_table[i]->fits(app, &app->target))
		i++;
	return detail_table[i];
}

void *
detail_state(const struct app *app, const struct detail *d)
{
	for (int i = 0; detail_table[i] != NULL; i++)
		if (detail_table[i] == d)
			return app->detail_state[i];
	return NULL;
}

int
view_top(int cursor, int n, int rows)
{
	int top = cursor - rows / 2;

	if (top > n - rows)
		top = n - rows;
	return top < 0 ? 0 : top;
}

int
view_row_at(int cursor, int n, struct rect r, int row)
{
	int i = view_top(cursor, n, r.rows) + row - r.row;

	return row < r.row || row >= r.row + r.rows || i >= n ? -1 : i;
}

int
view_move(enum action a, int cursor, int n, int rows)
{
	int page = rows > 1 ? rows - 1 : 1;

	switch (a) {
	case ACT_UP: cursor--; break;
	case ACT_DOWN: cursor++; break;
	case ACT_PAGE_UP: cursor -= page; break;
	case ACT_PAGE_DOWN: cursor += page; break;
	case ACT_FIRST: cursor = 0; break;
	case ACT_LAST: cursor = n - 1; break;
	default: return cursor;
	}
	if (cursor > n - 1)
		cursor = n - 1;
	return cursor < 0 ? 0 : cursor;
}

static char *
folded(const char *s)
{
	utf8proc_uint8_t *out = NULL;

	if (utf8proc_map((const utf8proc_uint8_t *)s, 0, &out,
	    UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_CASEFOLD |
	    UTF8PROC_COMPOSE) < 0)
		return NULL;
	return (char *)out;
}

bool
view_has_text(const char *s, const char *text)
{
	char *a = folded(s), *b = folded(text);
	bool has = a != NULL && b != NULL ? strstr(a, b) != NULL :
	    strcasestr(s, text) != NULL;

	free(a);
	free(b);
	return has;
}
