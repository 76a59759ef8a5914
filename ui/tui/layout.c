/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/layout.h"

#include <string.h>

enum {
	SIDE_COLS = 76,		/* from here on the detail is at the right */
	DETAIL_MIN_COLS = 34,
	BELOW_ROWS = 30,	/* from here on it may be below */
	DETAIL_MIN_ROWS = 10,
	HISTORY_ROWS = 20,	/* from here on there is a strip */
	TOP_ROWS = 5, MESSAGE_ROWS = 3,
	WIDE_COLS = 80		/* what two top lines need for everything */
};

/* Cuts n rows from the bottom (or the top) of r. */
static struct rect
take_bottom(struct rect *r, int n)
{
	r->rows -= n;
	return (struct rect){ r->row + r->rows, r->col, n, r->cols };
}

static struct rect
take_top(struct rect *r, int n)
{
	struct rect out = { r->row, r->col, n, r->cols };

	r->row += n;
	r->rows -= n;
	return out;
}

static int
top_rows(int rows, int cols)
{
	return rows >= HISTORY_ROWS && cols < WIDE_COLS ? 3 : rows >= 12 ? 2 :
	    1;
}

static void
split_beside(struct rect *body, const struct layout_want *want,
    struct layout *out)
{
	int main = want->main_cols > 0 ? want->main_cols : body->cols / 2;
	int least = body->cols * 2 / 5, left = body->cols - 1;

	/* What is left over is shared, for a wide screen. */
	if (main < least)
		main = least;
	if (main > left - DETAIL_MIN_COLS)
		main = left - DETAIL_MIN_COLS;
	out->pane[PANE_DETAIL] = (struct rect){ body->row,
	    body->col + main + 1, body->rows, left - main };
	out->split = (struct rect){ body->row, body->col + main, body->rows,
	    1 };
	body->cols = main;
}

static void
split_below(struct rect *body, struct layout *out)
{
	int n = body->rows * 2 / 5;

	out->pane[PANE_DETAIL] = take_bottom(body, n);
	out->split = take_bottom(body, 1);
}

void
layout_make(int rows, int cols, const struct layout_want *want,
    struct layout *out)
{
	struct rect body = { 0, 0, rows, cols };

	memset(out, 0, sizeof(*out));
	if (rows < 1 || cols < 1)
		return;
	out->tiny = rows < LAYOUT_MIN_ROWS || cols < LAYOUT_MIN_COLS;
	out->pane[PANE_HINTS] = take_bottom(&body, 1);
	if (rows >= MESSAGE_ROWS)
		out->pane[PANE_MESSAGE] = take_bottom(&body, 1);
	if (rows >= TOP_ROWS)
		out->pane[PANE_TOP] = take_top(&body,
		    top_rows(rows, cols));
	if (want->history && rows >= HISTORY_ROWS)
		out->pane[PANE_HISTORY] = take_bottom(&body,
		    rows >= 40 ? 7 : rows >= 28 ? 5 : 4);
	if (want->detail && cols >= SIDE_COLS && body.rows >= 5)
		split_beside(&body, want, out);
	else if (want->detail && rows >= BELOW_ROWS &&
	    body.rows * 2 / 5 >= DETAIL_MIN_ROWS && cols >= LAYOUT_MIN_COLS)
		split_below(&body, out);
	out->pane[PANE_MAIN] = body;
}
