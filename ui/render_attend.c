/* SPDX-License-Identifier: GPL-3.0-or-later */
/* attend: each token with those it looks at most. */
#include <stdio.h>

#include "ui/doc.h"
#include "ui/render.h"
#include "ui/table.h"

enum { MOST = 4 };

/* The largest shares of a row, by falling size; returns how many. */
static int
largest(const json_t *row, size_t at[MOST])
{
	size_t n = json_array_size(row);
	int found = 0;

	for (size_t i = 0; i < n; i++) {
		double v = json_number_value(json_array_get(row, i));
		int k = found;

		while (k > 0 && json_number_value(json_array_get(row,
		    at[k - 1])) < v) {
			if (k < MOST)
				at[k] = at[k - 1];
			k--;
		}
		if (k < MOST)
			at[k] = i;
		found += found < MOST;
	}
	return found;
}

void
render_attend(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *tokens = doc_get(doc, "tokens");
	const json_t *rows = doc_get(doc, "attention");
	struct table *t = table_new();

	table_column(t, "token", TABLE_LEFT, 0);
	table_column(t, "looks at", TABLE_LEFT, 0);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		struct str text = STR_INIT;
		size_t at[MOST];
		int n = largest(row, at);

		for (int k = 0; k < n; k++)
			str_addf(&text, "%s%s %.2f", k > 0 ? ", " : "",
			    json_string_value(json_array_get(tokens, at[k])),
			    json_number_value(json_array_get(row, at[k])));
		table_row(t);
		table_cell(t, PAINT_TITLE,
		    json_string_value(json_array_get(tokens, i)));
		table_cell(t, PAINT_NONE, text.s != NULL ? text.s : "");
		str_free(&text);
	}
	table_draw(t, b, l, 0);
	table_free(t);
}
