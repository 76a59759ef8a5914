/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mouse: what a click or a turn of the wheel does. It is always what some key
 * does, for nothing may need a mouse.
 *
 * A click selects what is under it: a pane, a row or a cell of a view
 * (view->click()), or a key of the hint bar, which it presses. The wheel moves
 * as the arrow keys do.
 */
#ifndef PARE_UI_TUI_MOUSE_H
#define PARE_UI_TUI_MOUSE_H

#include "ui/tui/cell.h"

struct app;

enum mouse_what { MOUSE_NOTHING, MOUSE_CLICK, MOUSE_WHEEL_UP,
	MOUSE_WHEEL_DOWN };

struct mouse {
	enum mouse_what what;
	int row, col;
};

/* What a terminal reports: button (SGR encoding), column and row from 1. */
struct mouse mouse_decode(int button, int col, int row, bool press);
/* c: the screen as it was drawn last. */
void app_mouse(struct app *app, const struct cells *c, const struct mouse *m);

#endif
