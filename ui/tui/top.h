/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * top: the lines above the panes: the model, its sizes, its accuracy and its
 * latency, each as it is now and how it differs from the original.
 *
 * A figure has several spellings, from long to short. What does not fit is
 * spelled shorter and in the end left out, what matters least first: words
 * before signs, the size of multiply-adds before that of bytes, and the metric
 * never. All figures are there from 80 columns on.
 */
#ifndef PARE_UI_TUI_TOP_H
#define PARE_UI_TUI_TOP_H

#include "ui/tui/app.h"

void top_draw(const struct app *app, struct cells *c, struct rect r);

/* ---- the fitting, for top.c and its test ---- */

enum { TOP_SPELLINGS = 4, TOP_GAP = 2 };

struct top_figure {
	char text[TOP_SPELLINGS][120];
	/* What leaving this spelling behind would cost. The dearest one is
	 * kept longest; figures of one price change together. After the last
	 * spelling (or an empty one) the figure is left out. */
	int price[TOP_SPELLINGS];
	int at;			/* the spelling chosen */
	enum style style;
};

/* Chooses spellings so that n figures fit into cols, TOP_GAP between two. What
 * has only one dearest figure left stays, fits or not. */
void top_fit(struct top_figure *f, int n, int cols);

#endif
