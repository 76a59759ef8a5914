/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layout: the natural width of a column is that of its widest cell. While the
 * sum is too wide, long left-aligned columns give way down to 24; then the
 * column with the highest drop goes; when none is left to drop, the widest gives
 * way again, down to six.
 */
#include "ui/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { COLUMNS_MAX = 16, GAP = 2, LONG = 24, NARROWEST = 6 };

struct column {
	const char *title;
	enum table_align align;
	int drop;
	int width;		/* 0: not drawn */
};

struct cell {
	char *text;
	enum paint paint;
};

struct row {
	bool rule;
	struct cell cell[COLUMNS_MAX];
};

struct table {
	int ncolumns, nrows, room, at;
	bool rule;
	struct column column[COLUMNS_MAX];
	struct row *row;
};

struct table *
table_new(void)
{
	return xcalloc(1, sizeof(struct table));
}

void
table_free(struct table *t)
{
	if (t == NULL)
		return;
	for (int r = 0; r < t->nrows; r++)
		for (int c = 0; c < t->ncolumns; c++)
			free(t->row[r].cell[c].text);
	free(t->row);
	free(t);
}

void
table_column(struct table *t, const char *title, enum table_align align,
    int drop)
{
	if (t->ncolumns < COLUMNS_MAX)
		t->column[t->ncolumns++] = (struct column){ title, align, drop,
			0 };
}

void
table_rule(struct table *t)
{
	t->rule = true;
}

void
table_row(struct table *t)
{
	if (t->nrows == t->room) {
		t->room = t->room == 0 ? 16 : 2 * t->room;
		t->row = xrealloc(t->row, (size_t)t->room * sizeof(*t->row));
	}
	t->row[t->nrows] = (struct row){ .rule = t->rule };
	t->nrows++;
	t->rule = false;
	t->at = 0;
}

void
table_cell(struct table *t, enum paint p, const char *text)
{
	if (t->nrows == 0 || t->at >= t->ncolumns)
		return;
	t->row[t->nrows - 1].cell[t->at++] = (struct cell){ xstrdup(text), p };
}

void
table_cellf(struct table *t, enum paint p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_cell(t, p, text);
}

/* The cell's text, cleaned; malloc'ed. */
static char *
cell_text(const struct cell *c, const struct look *l)
{
	return look_clean(l, c->text == NULL ? "" : c->text);
}

/* Natural widths into col; 0 for columns with nothing in them. */
static void
natural_widths(const struct table *t, const struct look *l,
    struct column *col)
{
	for (int c = 0; c < t->ncolumns; c++) {
		int widest = 0, title = look_columns(t->column[c].title);

		for (int r = 0; r < t->nrows; r++) {
			char *s = cell_text(&t->row[r].cell[c], l);
			int n = look_columns(s);

			widest = n > widest ? n : widest;
			free(s);
		}
		col[c] = t->column[c];
		col[c].width = widest == 0 ? 0 : widest < title ? title :
		    widest;
	}
}

static int
total_width(const struct column *col, int n)
{
	int total = -GAP;

	for (int c = 0; c < n; c++)
		if (col[c].width > 0)
			total += col[c].width + GAP;
	return total < 0 ? 0 : total;
}

/* The column to drop next; -1 when all that are left must stay. */
static int
least_needed(const struct column *col, int n)
{
	int best = -1;

	for (int c = 0; c < n; c++)
		if (col[c].width > 0 && col[c].drop > 0 &&
		    (best < 0 || col[c].drop > col[best].drop))
			best = c;
	return best;
}

static int
widest_left(const struct column *col, int n, int least)
{
	int best = -1;

	for (int c = 0; c < n; c++)
		if (col[c].align == TABLE_LEFT && col[c].width > least &&
		    (best < 0 || col[c].width > col[best].width))
			best = c;
	return best;
}

static void
fit(struct column *col, int n, int width)
{
	int c;

	while (total_width(col, n) > width &&
	    (c = widest_left(col, n, LONG)) >= 0)
		col[c].width--;
	while (total_width(col, n) > width && (c = least_needed(col, n)) >= 0)
		col[c].width = 0;
	while (total_width(col, n) > width &&
	    (c = widest_left(col, n, NARROWEST)) >= 0)
		col[c].width--;
}

/* Pads only where something follows, so that no line ends in blanks. */
static void
draw_cell(struct str *b, const struct look *l, const struct column *col,
    const char *clean, enum paint p, bool last)
{
	struct str cut = STR_INIT;
	int pad;

	look_cut(&cut, l, clean, col->width);
	pad = col->width - look_columns(cut.s);
	if (col->align == TABLE_RIGHT)
		look_spaces(b, pad);
	look_paint(b, l, p, cut.s);
	if (col->align == TABLE_LEFT && !last)
		look_spaces(b, pad);
	str_free(&cut);
}

static void
trim_blanks(struct str *b)
{
	while (b->n > 0 && b->s[b->n - 1] == ' ')
		b->s[--b->n] = '\0';
}

static void
draw_rule(struct str *b, const struct look *l, int indent, int width)
{
	struct str line = STR_INIT;

	for (int i = 0; i < width; i++)
		str_add(&line, l->ascii ? "-" : "\xe2\x94\x80");
	look_spaces(b, indent);
	look_paint(b, l, PAINT_DIM, line.s);
	str_addc(b, '\n');
	str_free(&line);
}

static int
last_drawn(const struct column *col, int n)
{
	int last = 0;

	for (int c = 0; c < n; c++)
		if (col[c].width > 0)
			last = c;
	return last;
}

/* row NULL: the titles. */
static void
draw_row(const struct table *t, const struct row *row, struct str *b,
    const struct look *l, const struct column *col, int indent)
{
	int last = last_drawn(col, t->ncolumns);

	look_spaces(b, indent);
	for (int c = 0; c <= last; c++) {
		char *s;

		if (col[c].width == 0)
			continue;
		s = row == NULL ? xstrdup(col[c].title) :
		    cell_text(&row->cell[c], l);
		draw_cell(b, l, &col[c], s,
		    row == NULL ? PAINT_TITLE : row->cell[c].paint, c == last);
		free(s);
		if (c < last)
			look_spaces(b, GAP);
	}
	trim_blanks(b);
	str_addc(b, '\n');
}

static bool
has_titles(const struct table *t)
{
	for (int c = 0; c < t->ncolumns; c++)
		if (t->column[c].title[0] != '\0')
			return true;
	return false;
}

void
table_draw(const struct table *t, struct str *b, const struct look *l,
    int indent)
{
	struct column col[COLUMNS_MAX];

	if (t->nrows == 0)
		return;
	natural_widths(t, l, col);
	fit(col, t->ncolumns, l->width - indent);
	if (has_titles(t))
		draw_row(t, NULL, b, l, col, indent);
	for (int r = 0; r < t->nrows; r++) {
		if (t->row[r].rule && !l->linear)
			draw_rule(b, l, indent,
			    total_width(col, t->ncolumns));
		draw_row(t, &t->row[r], b, l, col, indent);
	}
}
