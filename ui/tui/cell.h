/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * cell: the buffer that views draw into: rows of cells, each a short text with
 * a style. Nothing here knows of a terminal; screen.c shows a buffer, tests dump
 * it as text.
 *
 * Every function clips: rows, columns and rectangles outside the buffer are
 * fine. Text is cleaned on its way in (ui/look.h), so names from files may be
 * put as they are.
 */
#ifndef PARE_UI_TUI_CELL_H
#define PARE_UI_TUI_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rect {
	int row, col, rows, cols;
};

/* Meaning is never in a style alone: a sign or a letter goes with it. */
enum style {
	STYLE_NORMAL,
	STYLE_TITLE,	/* headings, names */
	STYLE_DIM,	/* what may be skipped; rules */
	STYLE_BAR,	/* bars and charts */
	STYLE_GOOD, STYLE_WARN, STYLE_ERROR,
	STYLE_HINT,	/* the text of the hint bar */
	STYLE_KEY,	/* a key in it */
	STYLE_CHANGED,	/* differs from the original */
	STYLE_TOP,	/* the top line */
	STYLE_HEAT0,	/* to STYLE_HEAT9: a heat map, little to much */
	STYLE_HEAT9 = STYLE_HEAT0 + 9,
	STYLE_COUNT
};
/* May be added to any style: the selected row, cell or button. */
enum { STYLE_SELECT = 0x80 };

struct cell {
	char s[15];	/* UTF-8, NUL-terminated; "" in the right half of a
			 * wide character */
	uint8_t width;	/* 1, 2; 0: the right half */
	uint8_t style;
};

struct cells {
	int rows, cols;
	bool ascii;	/* only 7 bit characters and their glyphs */
	int cursor_row, cursor_col;	/* -1: no cursor is shown */
	struct cell *cell;	/* rows * cols */
};

/* Blank cells. May be called again with another size. */
void cells_init(struct cells *c, int rows, int cols, bool ascii);
void cells_free(struct cells *c);
void cells_clear(struct cells *c);
const struct cell *cells_at(const struct cells *c, int row, int col);

/* Text from (row, col) on, at most width columns; what does not fit is cut and
 * the cut is marked. Returns the columns used. */
int cells_put(struct cells *c, int row, int col, int width, unsigned style,
    const char *text);
int cells_putf(struct cells *c, int row, int col, int width, unsigned style,
    const char *fmt, ...) PARE_PRINTF(6, 7);
/* The same, its end at col + width. */
int cells_put_right(struct cells *c, int row, int col, int width,
    unsigned style, const char *text);

struct rect cells_all(const struct cells *c);
/* Blanks. */
void cells_fill(struct cells *c, struct rect r, unsigned style);
/* Another style for what is there. */
void cells_style(struct cells *c, struct rect r, unsigned style);
/* Adds STYLE_SELECT to what is there. */
void cells_select(struct cells *c, struct rect r);
void cells_hline(struct cells *c, int row, int col, int n, unsigned style);
void cells_vline(struct cells *c, int row, int col, int n, unsigned style);
/* A rule with a title in it: "-- History ------". */
void cells_rule(struct cells *c, int row, int col, int n, const char *title);
/* At the end of such a rule, over rows that do not all fit: " 1-20 of 35 v ",
 * or as much of it as there is room for. Nothing when all of n rows fit. */
void cells_more(struct cells *c, int row, int col, int width, int top,
    int rows, int n);
/* A bar of at most width columns for share in [0, 1]. */
void cells_bar(struct cells *c, int row, int col, int width, unsigned style,
    double share);

/* Rows as lines, blanks at their ends removed. With styles each row is followed
 * by a line of '|' and a letter a column (style_letters in cell.c), upper case
 * where selected. Malloc'ed. */
char *cells_dump(const struct cells *c, bool styles);

enum glyph {
	GLYPH_HLINE, GLYPH_VLINE, GLYPH_OPEN, GLYPH_CLOSED, GLYPH_LEAF,
	GLYPH_PRUNED,		/* a head or part that is gone */
	GLYPH_MARK,		/* the current one */
	GLYPH_UP, GLYPH_DOWN,	/* sort order, direction of a change */
	GLYPH_LEFT, GLYPH_RIGHT,
	GLYPH_ARROW,		/* from -> to */
	GLYPH_DOT, GLYPH_CUT,
	GLYPH_TREE_MID, GLYPH_TREE_END, GLYPH_TREE_LINE,	/* 2 columns */
	GLYPH_HEAT0,		/* to GLYPH_HEAT9: 2 columns of shade */
	GLYPH_HEAT9 = GLYPH_HEAT0 + 9,
	GLYPH_COUNT
};
const char *glyph(const struct cells *c, enum glyph g);
/* 0 to 9 for share in [0, 1] (NAN: 0): an offset to STYLE_HEAT0, GLYPH_HEAT0. */
int heat_level(double share);

#endif
