/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/chart.h"
#include "ui/number.h"

enum { NAME_COLS = 12, CELL_GAP = 2 };

static int
min(int a, int b)
{
	return a < b ? a : b;
}

struct facts
facts_begin(struct cells *c, struct rect r, int skip)
{
	return (struct facts){ .c = c, .r = r, .skip = skip,
		.name_cols = r.cols < 30 ? r.cols * 2 / 5 : NAME_COLS };
}

int
facts_row(struct facts *f)
{
	int at = f->line++ - f->skip;

	return at < 0 || at >= f->r.rows ? -1 : f->r.row + at;
}

void
facts_title(struct facts *f, const char *name, const char *fmt, ...)
{
	char text[256];
	int row = facts_row(f), used;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (row < 0)
		return;
	used = cells_put(f->c, row, f->r.col, f->r.cols, STYLE_TITLE, name);
	cells_put(f->c, row, f->r.col + used + 2, f->r.cols - used - 2,
	    STYLE_NORMAL, text);
}

void
facts_rule(struct facts *f, const char *title)
{
	int row = facts_row(f);

	if (row >= 0)
		cells_rule(f->c, row, f->r.col, f->r.cols, title);
}

void
facts_put(struct facts *f, const char *name, const char *fmt, ...)
{
	char text[512];
	int row = facts_row(f);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (row < 0)
		return;
	cells_put(f->c, row, f->r.col, min(f->name_cols, f->r.cols),
	    STYLE_DIM, name);
	cells_put(f->c, row, f->r.col + f->name_cols + 1,
	    f->r.cols - f->name_cols - 1, STYLE_NORMAL, text);
}

void
facts_text(struct facts *f, unsigned style, const char *fmt, ...)
{
	struct look l = { .ascii = f->c->ascii, .width = f->r.cols };
	struct str b = STR_INIT;
	char text[1024], *line, *end;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (f->r.cols < 1)
		return;
	look_wrap(&b, &l, 0, 0, text);
	for (line = b.s; *line != '\0'; line = end) {
		int row = facts_row(f);

		end = line + strcspn(line, "\n");
		if (*end == '\n')
			*end++ = '\0';
		if (row >= 0)
			cells_put(f->c, row, f->r.col, f->r.cols, style, line);
	}
	str_free(&b);
}

void
facts_bar(struct facts *f, const char *name, const char *value, double share)
{
	int row = facts_row(f), at = f->name_cols + 1, n;

	if (row < 0)
		return;
	cells_put(f->c, row, f->r.col, min(f->name_cols, f->r.cols),
	    STYLE_NORMAL, name);
	n = cells_put(f->c, row, f->r.col + at, f->r.cols - at, STYLE_NORMAL,
	    value);
	at += n < 8 ? 8 : n + 1;
	n = f->r.cols - at;
	cells_bar(f->c, row, f->r.col + at, min(n, 32), STYLE_BAR, share);
}

int
facts_chart(struct facts *f, const double *v, int n, int rows)
{
	struct look l = { .ascii = f->c->ascii, .width = f->r.cols };
	struct str b = STR_INIT;
	int columns = f->r.cols < 1 ? 0 :
	    chart_columns(&b, &l, v, n, f->r.cols, rows, 0);
	char *line = b.s;

	for (int i = 0; i < rows; i++) {
		size_t len = strcspn(line, "\n");
		bool more = line[len] == '\n';
		int row = facts_row(f);

		line[len] = '\0';
		if (row >= 0)
			cells_put(f->c, row, f->r.col, f->r.cols, STYLE_BAR,
			    line);
		line += len + (more ? 1 : 0);
	}
	str_free(&b);
	return columns;
}

void
facts_axis(struct facts *f, int n, const char *left, const char *right,
    int at, const char *mark)
{
	int row = facts_row(f), nl = look_columns(left);
	int nr = look_columns(right), nm = at < 0 ? 0 : look_columns(mark);
	int gap = nl + 1 + nr <= n ? n - nr : nl + 1;

	if (row >= 0) {
		cells_put(f->c, row, f->r.col, f->r.cols, STYLE_DIM, left);
		cells_put(f->c, row, f->r.col + gap, f->r.cols - gap,
		    STYLE_DIM, right);
	}
	if (at < 0)
		return;
	/* The mark's own line: its head under its column. */
	row = facts_row(f);
	if (row < 0)
		return;
	if (at + 1 + nm < f->r.cols || at < nm + 1)
		cells_putf(f->c, row, f->r.col + at, f->r.cols - at,
		    STYLE_WARN, "%s %s", glyph(f->c, GLYPH_UP), mark);
	else
		cells_putf(f->c, row, f->r.col + at - nm - 1, nm + 2,
		    STYLE_WARN, "%s %s", mark, glyph(f->c, GLYPH_UP));
}

void
facts_sizes(struct facts *f, const struct account_row *row,
    const struct account_row *total, int64_t seq)
{
	bool wide = f->r.cols >= 46;
	char a[NUMBER_MAX], b[NUMBER_MAX];

	number_count(a, (double)row->params);
	if (total != NULL && total->params > 0) {
		number_percent(b, (double)row->params /
		    (double)total->params);
		facts_put(f, "parameters", "%s (%s%s)", a, b, wide ?
		    " of the model" : "");
	} else {
		facts_put(f, "parameters", "%s", a);
	}
	number_bytes(a, (double)row->bytes);
	if (row->params > 0)
		facts_put(f, "stored", "%s, %.4g bits%s", a,
		    8.0 * (double)row->bytes / (double)row->params, wide ?
		    " each" : "");
	else
		facts_put(f, "stored", "%s", a);
	if (row->form[0] != '\0')
		facts_put(f, "form", "%s", row->form);
	if (row->tied_to[0] != '\0')
		facts_put(f, "tied to", "%s", row->tied_to);
	if (row->macs > 0 && seq > 0) {
		number_count(a, (double)row->macs / (double)seq);
		facts_put(f, "MACs", "%s a token", a);
	}
}

/* ---- tables ---- */

static int
column_width(const char *title, const struct facts_row *row, int n, int k)
{
	int w = look_columns(title);

	for (int i = 0; i < n; i++) {
		int have = look_columns(row[i].cell[k]);

		w = have > w ? have : w;
	}
	return w;
}

static void
table_row(struct facts *f, unsigned style, const char *name, int name_cols,
    const char *const *cell, const int *width, int ncols)
{
	int row = facts_row(f), at = name_cols;

	if (row < 0)
		return;
	cells_put(f->c, row, f->r.col, name_cols, style, name);
	for (int k = 0; k < ncols; k++) {
		at += CELL_GAP;
		cells_put_right(f->c, row, f->r.col + at, width[k], style,
		    cell[k]);
		at += width[k];
	}
}

void
facts_table(struct facts *f, const char *const *titles, int ncols,
    const struct facts_row *row, int n)
{
	int width[FACTS_COLUMNS] = { 0 }, name = 4, all = 0, fit = 0;

	for (int i = 0; i < n; i++)
		if (look_columns(row[i].name) > name)
			name = look_columns(row[i].name);
	if (name > f->r.cols * 2 / 3)
		name = f->r.cols * 2 / 3;
	for (int k = 0; k < ncols && k < FACTS_COLUMNS; k++) {
		width[k] = column_width(titles[k], row, n, k);
		all += CELL_GAP + width[k];
		if (name + all <= f->r.cols)
			fit = k + 1;
	}
	table_row(f, STYLE_DIM, "part", name, titles, width, fit);
	for (int i = 0; i < n; i++) {
		const char *cell[FACTS_COLUMNS];

		for (int k = 0; k < fit; k++)
			cell[k] = row[i].cell[k];
		table_row(f, STYLE_NORMAL, row[i].name, name, cell, width,
		    fit);
	}
}

int
facts_scroll(enum action a, int skip, int total, int rows)
{
	int most = total > rows ? total - rows : 0, page = rows > 1 ?
	    rows - 1 : 1;

	switch (a) {
	case ACT_UP: skip--; break;
	case ACT_DOWN: skip++; break;
	case ACT_PAGE_UP: skip -= page; break;
	case ACT_PAGE_DOWN: skip += page; break;
	case ACT_FIRST: skip = 0; break;
	case ACT_LAST: skip = most; break;
	default: break;
	}
	skip = skip > most ? most : skip;
	return skip < 0 ? 0 : skip;
}
