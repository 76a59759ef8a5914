/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/chart.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* Blocks filled from the left and from below, by eighths. */
static const char *const left_eighths[] = { "", "\xe2\x96\x8f", "\xe2\x96\x8e",
	"\xe2\x96\x8d", "\xe2\x96\x8c", "\xe2\x96\x8b", "\xe2\x96\x8a",
	"\xe2\x96\x89", "\xe2\x96\x88" };
static const char *const low_eighths[] = { " ", "\xe2\x96\x81", "\xe2\x96\x82",
	"\xe2\x96\x83", "\xe2\x96\x84", "\xe2\x96\x85", "\xe2\x96\x86",
	"\xe2\x96\x87", "\xe2\x96\x88" };
static const char *const low_ascii[] = { " ", ".", ".", ".", ":", ":", "|",
	"|", "|" };

char *
chart_bar(const struct look *l, double share, int width)
{
	struct str b = STR_INIT;
	int eighths;

	if (!(share > 0) || l->linear)
		return str_detach(&b);
	if (share > 1)
		share = 1;
	if (l->ascii) {
		int n = (int)(share * width + 0.5);

		for (int i = 0; i < (n == 0 ? 1 : n); i++)
			str_addc(&b, '#');
		return str_detach(&b);
	}
	eighths = (int)(share * width * 8 + 0.5);
	if (eighths == 0)
		eighths = 1;
	for (; eighths >= 8; eighths -= 8)
		str_add(&b, left_eighths[8]);
	str_add(&b, left_eighths[eighths]);
	return str_detach(&b);
}

/* Largest of the values that fall into column c of `columns`. */
static double
column_value(const double *v, int n, int c, int columns)
{
	int from = (int)((int64_t)c * n / columns);
	int to = (int)((int64_t)(c + 1) * n / columns);
	double most = 0;

	for (int i = from; i < to; i++)
		if (v[i] > most)
			most = v[i];
	return most;
}

static void
draw_line(struct str *b, const struct look *l, const int *eighths, int columns,
    int row)
{
	struct str line = STR_INIT;

	for (int c = 0; c < columns; c++) {
		int e = eighths[c] - 8 * row;

		e = e < 0 ? 0 : e > 8 ? 8 : e;
		str_add(&line, (l->ascii ? low_ascii : low_eighths)[e]);
	}
	while (line.n > 0 && line.s[line.n - 1] == ' ')
		line.s[--line.n] = '\0';
	look_paint(b, l, PAINT_BAR, line.s);
	str_addc(b, '\n');
	str_free(&line);
}

int
chart_columns(struct str *b, const struct look *l, const double *v, int n,
    int width, int rows, int indent)
{
	int columns = n < width ? n : width, *eighths;
	double most = 0;

	if (n <= 0 || columns <= 0 || l->linear)
		return 0;
	eighths = xcalloc((size_t)columns, sizeof(*eighths));
	for (int i = 0; i < n; i++)
		most = isfinite(v[i]) && v[i] > most ? v[i] : most;
	for (int c = 0; c < columns && most > 0; c++) {
		double x = column_value(v, n, c, columns);

		eighths[c] = (int)(fmin(x / most, 1) * rows * 8 + 0.5);
		if (x > 0 && eighths[c] == 0)
			eighths[c] = 1;
	}
	for (int row = rows - 1; row >= 0; row--) {
		look_spaces(b, indent);
		draw_line(b, l, eighths, columns, row);
	}
	free(eighths);
	return columns;
}
