/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * map_view: what the maps of layers have in common: the cursor and its
 * selection, the body of cells, the foot with the measure and its scale, the
 * keys. A map says by a struct map_face what its columns are; its state begins
 * with a struct map_view.
 */
#ifndef PARE_UI_TUI_MAP_VIEW_H
#define PARE_UI_TUI_MAP_VIEW_H

#include "base/str.h"
#include "ui/tui/map.h"
#include "ui/tui/view.h"

enum { MAP_WORD = 48 };

struct map_face {
	enum view_id view, other;	/* other: the map that `t` leads to */
	const char *const *shades;	/* measures that `s` goes through, by
					 * name; ends with NULL */
	int cell_cols;		/* of a cell; 0: what is there, shared out */
	int cell_lead;		/* of them, left of the shade */

	/* Columns of a layer; for -1: most of any. */
	int (*columns)(const struct app *app, int layer);
	void (*title)(int column, char out[MAP_WORD]);
	struct target (*target)(int layer, int column);
	/* What `x` prunes or brings back there. */
	struct target (*toggled)(const struct app *app, int layer, int column);
	int (*column_of)(const struct target *t);	/* -1: none */
	/* By the measure that is chosen; NAN: not known yet. */
	double (*value)(const struct app *app, int shade, int layer,
	    int column);

	/* May be NULL, or return NULL: a cell is a shade and no more. */
	const char *(*word)(const struct app *app, int layer, int column,
	    char out[MAP_WORD], bool *changed);
	/* What stands there instead of a layer's cells; NULL: its cells. */
	const char *(*instead)(const struct layer *y);
	/* Behind the cells. */
	const char *(*summary)(const struct layer *y, char out[MAP_WORD],
	    bool *changed);
	/* The cell under the cursor, in words; it is there. */
	void (*say)(const struct app *app, const struct target *t,
	    struct str *out);
};

struct map_view {
	const struct map_face *face;
	struct map_rows rows;
	int row, column;	/* the cursor */
	int shade;
};

/* For the functions of a struct view whose state v is. */
void map_view_free(struct map_view *v);
void map_view_enter(struct app *app, struct map_view *v);
void map_view_update(struct app *app, struct map_view *v, unsigned change);
void map_view_draw(const struct app *app, const struct map_view *v,
    struct cells *c, struct rect r);
bool map_view_act(struct app *app, struct map_view *v, enum action a);
/* The mouse at a place of the screen, draw() having had r. */
void map_view_click(struct app *app, struct map_view *v, struct rect r,
    int row, int col);
bool map_view_find(struct app *app, struct map_view *v, const char *text,
    int dir, bool from_top);
const char *map_view_hint(const struct app *app, const struct map_view *v,
    const struct key_row *k);

#endif
