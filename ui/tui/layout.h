/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * layout: where the panes go, as a pure function of the size of the screen and
 * of what a view wants. As the screen shrinks, panes are dropped in this order:
 * history, detail, top line, message line; the hint bar is always the last row.
 * A dropped pane has rows == 0.
 */
#ifndef PARE_UI_TUI_LAYOUT_H
#define PARE_UI_TUI_LAYOUT_H

#include "ui/tui/cell.h"

enum pane { PANE_TOP, PANE_MAIN, PANE_DETAIL, PANE_HISTORY, PANE_MESSAGE,
	PANE_HINTS, PANE_COUNT };

enum { LAYOUT_MIN_ROWS = 5, LAYOUT_MIN_COLS = 20 };	/* to be of use */

struct layout {
	struct rect pane[PANE_COUNT];
	/* The line between main and detail: a column, or where the detail is
	 * below (tall and narrow), a row. rows == 0: none. */
	struct rect split;
	bool tiny;	/* smaller than the minimum */
};

struct layout_want {
	bool detail, history;
	int main_cols;	/* what the main pane would like beside a detail */
};

void layout_make(int rows, int cols, const struct layout_want *want,
    struct layout *out);

#endif
