/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/cell.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/chart.h"
#include "ui/look.h"

/* Unicode, then ASCII. */
static const char *const glyphs[GLYPH_COUNT][2] = {
	[GLYPH_HLINE] = { "─", "-" },
	[GLYPH_VLINE] = { "│", "|" },
	[GLYPH_OPEN] = { "▾", "v" },
	[GLYPH_CLOSED] = { "▸", ">" },
	[GLYPH_LEAF] = { " ", " " },
	[GLYPH_PRUNED] = { "×", "x" },
	[GLYPH_MARK] = { "●", "*" },
	[GLYPH_UP] = { "▲", "^" },
	[GLYPH_DOWN] = { "▼", "v" },
	[GLYPH_LEFT] = { "◂", "<" },
	[GLYPH_RIGHT] = { "▸", ">" },
	[GLYPH_ARROW] = { "→", "->" },
	[GLYPH_DOT] = { "·", "." },
	[GLYPH_CUT] = { "…", "~" },
	[GLYPH_TREE_MID] = { "├─", "|-" },
	[GLYPH_TREE_END] = { "└─", "`-" },
	[GLYPH_TREE_LINE] = { "│ ", "| " },
	[GLYPH_HEAT0] = { "  ", "  " },
	[GLYPH_HEAT0 + 1] = { "··", ".." },
	[GLYPH_HEAT0 + 2] = { "░░", "::" },
	[GLYPH_HEAT0 + 3] = { "░░", "--" },
	[GLYPH_HEAT0 + 4] = { "▒▒", "==" },
	[GLYPH_HEAT0 + 5] = { "▒▒", "++" },
	[GLYPH_HEAT0 + 6] = { "▓▓", "**" },
	[GLYPH_HEAT0 + 7] = { "▓▓", "##" },
	[GLYPH_HEAT0 + 8] = { "██", "%%" },
	[GLYPH_HEAT0 + 9] = { "██", "@@" },
};

/* A letter a style, for dumps. */
static const char style_letters[STYLE_COUNT + 1] = ".tdbgwehkcp0123456789";

const char *
glyph(const struct cells *c, enum glyph g)
{
	return glyphs[g][c->ascii];
}

int
heat_level(double share)
{
	if (!(share > 0))
		return 0;
	return share >= 1 ? 9 : (int)(share * 10);
}

void
cells_init(struct cells *c, int rows, int cols, bool ascii)
{
	c->rows = rows > 0 ? rows : 0;
	c->cols = cols > 0 ? cols : 0;
	c->ascii = ascii;
	c->cell = xrealloc(c->cell, (size_t)c->rows * (size_t)c->cols *
	    sizeof(*c->cell));
	cells_clear(c);
}

void
cells_free(struct cells *c)
{
	free(c->cell);
	memset(c, 0, sizeof(*c));
}

static struct cell *
at(const struct cells *c, int row, int col)
{
	return &c->cell[(size_t)row * (size_t)c->cols + (size_t)col];
}

const struct cell *
cells_at(const struct cells *c, int row, int col)
{
	return at(c, row, col);
}

struct rect
cells_all(const struct cells *c)
{
	return (struct rect){ 0, 0, c->rows, c->cols };
}

void
cells_clear(struct cells *c)
{
	cells_fill(c, cells_all(c), STYLE_NORMAL);
	c->cursor_row = c->cursor_col = -1;
}

/* r cut to the buffer. */
static struct rect
clip(const struct cells *c, struct rect r)
{
	if (r.row < 0)
		r.rows += r.row, r.row = 0;
	if (r.col < 0)
		r.cols += r.col, r.col = 0;
	if (r.rows > c->rows - r.row)
		r.rows = c->rows - r.row;
	if (r.cols > c->cols - r.col)
		r.cols = c->cols - r.col;
	return r;
}

static void
blank(struct cell *p, unsigned style)
{
	memset(p, 0, sizeof(*p));
	p->s[0] = ' ';
	p->width = 1;
	p->style = (uint8_t)style;
}

void
cells_fill(struct cells *c, struct rect r, unsigned style)
{
	r = clip(c, r);
	for (int i = 0; i < r.rows; i++)
		for (int j = 0; j < r.cols; j++)
			blank(at(c, r.row + i, r.col + j), style);
}

void
cells_style(struct cells *c, struct rect r, unsigned style)
{
	r = clip(c, r);
	for (int i = 0; i < r.rows; i++)
		for (int j = 0; j < r.cols; j++)
			at(c, r.row + i, r.col + j)->style = (uint8_t)style;
}

void
cells_select(struct cells *c, struct rect r)
{
	r = clip(c, r);
	for (int i = 0; i < r.rows; i++)
		for (int j = 0; j < r.cols; j++)
			at(c, r.row + i, r.col + j)->style |= STYLE_SELECT;
}

/* Halves of wide characters that lost their other half become blanks. */
static void
mend(struct cells *c, int row, int col)
{
	struct cell *p = at(c, row, col);

	if (p->width == 0 && col > 0)
		blank(at(c, row, col - 1), at(c, row, col - 1)->style);
	if (p->width == 2 && col + 1 < c->cols)
		blank(at(c, row, col + 1), at(c, row, col + 1)->style);
}

/* One character of n bytes that takes w columns; false: no room. */
static void
put_char(struct cells *c, int row, int col, unsigned style, const char *s,
    int n, int w)
{
	struct cell *p = at(c, row, col);

	mend(c, row, col);
	if (w == 2)
		mend(c, row, col + 1);
	memset(p, 0, sizeof(*p));
	memcpy(p->s, s, (size_t)n);
	p->width = (uint8_t)w;
	p->style = (uint8_t)style;
	if (w == 2) {
		memset(p + 1, 0, sizeof(*p));
		p[1].style = (uint8_t)style;
	}
}

/* A mark that combines with the character before it. */
static void
combine(struct cell *p, const char *s, int n)
{
	size_t have = strlen(p->s);

	if (have + (size_t)n < sizeof(p->s))
		memcpy(p->s + have, s, (size_t)n);
}

/* Clean text from col on, up to column `end` and the edge of the buffer. */
static void
put_clean(struct cells *c, int row, int col, int end, unsigned style,
    const char *s)
{
	int last = -1;

	while (*s != '\0') {
		utf8proc_int32_t v;
		int n = (int)utf8proc_iterate((const utf8proc_uint8_t *)s, -1,
		    &v);
		int w = n > 0 ? utf8proc_charwidth(v) : 1;

		if (n <= 0)
			n = 1;
		if (col + w > end)
			break;
		if (w == 0 && last >= 0)
			combine(at(c, row, last), s, n);
		else if (w > 0 && col >= 0 && col + w <= c->cols) {
			put_char(c, row, col, style, s, n, w);
			last = col;
		}
		col += w;
		s += n;
	}
}

int
cells_put(struct cells *c, int row, int col, int width, unsigned style,
    const char *text)
{
	struct look l = { .ascii = c->ascii };
	struct str cut = STR_INIT;
	char *clean;
	int n;

	if (width <= 0)
		return 0;
	clean = look_clean(&l, text);
	look_cut(&cut, &l, clean, width);
	n = look_columns(cut.s);
	if (row >= 0 && row < c->rows)
		put_clean(c, row, col, col + width, style, cut.s);
	free(clean);
	str_free(&cut);
	return n;
}

int
cells_putf(struct cells *c, int row, int col, int width, unsigned style,
    const char *fmt, ...)
{
	char text[512], *longer = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(text)) {
		longer = xmalloc((size_t)n + 1);
		va_start(ap, fmt);
		vsnprintf(longer, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	n = cells_put(c, row, col, width, style, longer != NULL ? longer :
	    text);
	free(longer);
	return n;
}

int
cells_put_right(struct cells *c, int row, int col, int width, unsigned style,
    const char *text)
{
	struct look l = { .ascii = c->ascii };
	char *clean = look_clean(&l, text);
	int n = look_columns(clean), skip = n < width ? width - n : 0;

	n = cells_put(c, row, col + skip, width - skip, style, clean);
	free(clean);
	return n;
}

void
cells_hline(struct cells *c, int row, int col, int n, unsigned style)
{
	for (int i = 0; i < n; i++)
		cells_put(c, row, col + i, 1, style, glyph(c, GLYPH_HLINE));
}

void
cells_vline(struct cells *c, int row, int col, int n, unsigned style)
{
	for (int i = 0; i < n; i++)
		cells_put(c, row + i, col, 1, style, glyph(c, GLYPH_VLINE));
}

void
cells_rule(struct cells *c, int row, int col, int n, const char *title)
{
	int used;

	cells_hline(c, row, col, n, STYLE_DIM);
	if (title[0] == '\0' || n < 6)
		return;
	used = cells_put(c, row, col + 2, n - 4, STYLE_TITLE, title);
	cells_put(c, row, col + 1, 1, STYLE_DIM, " ");
	cells_put(c, row, col + 2 + used, 1, STYLE_DIM, " ");
}

void
cells_more(struct cells *c, int row, int col, int width, int top, int rows,
    int n)
{
	int last = top + rows < n ? top + rows : n, used;
	const char *up = top > 0 ? glyph(c, GLYPH_UP) : "";
	const char *down = last < n ? glyph(c, GLYPH_DOWN) : "";
	char text[80];

	if (rows < 1 || n <= rows)
		return;
	snprintf(text, sizeof(text), " %d-%d of %d %s%s ", top + 1, last, n,
	    up, down);
	used = look_columns(text);
	if (used > width / 2) {
		snprintf(text, sizeof(text), " %s%s ", up, down);
		used = look_columns(text);
	}
	if (used < width)
		cells_put(c, row, col + width - used - 1, used, STYLE_NORMAL,
		    text);
}

void
cells_bar(struct cells *c, int row, int col, int width, unsigned style,
    double share)
{
	struct look l = { .ascii = c->ascii };
	char *bar;

	if (width <= 0 || !(share > 0))
		return;
	bar = chart_bar(&l, share > 1 ? 1 : share, width);
	cells_put(c, row, col, width, style, bar);
	free(bar);
}

/* ---- dumps ---- */

static void
dump_styles(const struct cells *c, int row, struct str *b)
{
	size_t begin = b->n;

	str_addc(b, '|');
	for (int j = 0; j < c->cols; j++) {
		unsigned s = at(c, row, j)->style;
		char letter = style_letters[s & ~(unsigned)STYLE_SELECT];

		if ((s & STYLE_SELECT) != 0)
			letter = letter == '.' ? '#' :
			    (char)toupper((unsigned char)letter);
		str_addc(b, letter);
	}
	while (b->n > begin && b->s[b->n - 1] == '.')
		b->s[--b->n] = '\0';
	str_addc(b, '\n');
}

char *
cells_dump(const struct cells *c, bool styles)
{
	struct str b = STR_INIT;

	for (int i = 0; i < c->rows; i++) {
		size_t begin = b.n;

		for (int j = 0; j < c->cols; j++)
			str_add(&b, at(c, i, j)->s);
		while (b.n > begin && b.s[b.n - 1] == ' ')
			b.s[--b.n] = '\0';
		str_addc(&b, '\n');
		if (styles)
			dump_styles(c, i, &b);
	}
	return str_detach(&b);
}
