/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * map: what the two maps of layers share: a row for each layer the model was
 * opened with, and the shades of a measure.
 */
#ifndef PARE_UI_TUI_MAP_H
#define PARE_UI_TUI_MAP_H

#include "ui/tui/app.h"

struct map_rows {
	int n;
	int *layer;	/* the layer of today, or -1: removed; owned */
	bool known;	/* rows are the original layers; else those of today,
			 * for it cannot be told which were removed */
	int removed;
};
/* Follows the history from the original to the current state. */
void map_rows_make(struct map_rows *rows, const struct app *app);
void map_rows_free(struct map_rows *rows);
/* The row of a layer of today; -1. */
int map_row_of(const struct map_rows *rows, int layer);
/* The nearest row with a layer from row on in direction dir; -1: none. */
int map_row_next(const struct map_rows *rows, int row, int dir);
/* The row after a moving action; page: rows shown. */
int map_row_move(const struct map_rows *rows, enum action a, int row,
    int page);
/* "L3"; for a removed layer its original number in brackets: "(3)". */
void map_row_name(const struct map_rows *rows, int row, char out[24]);

/* Widest row name. */
int map_name_cols(const struct map_rows *rows);

struct map_range {
	double low, high;
	int n;		/* values seen */
};
void map_range_add(struct map_range *r, double v);
/*
 * How far two values are apart that differ by one shade. Nine shades span the
 * range where it is wide; where it is narrow a shade stays MAP_LEAST_STEP of
 * the largest value, so that heads that differ by a hundredth look alike, as
 * they are. The legend says the step.
 */
#define MAP_LEAST_STEP 0.02
double map_range_step(const struct map_range *r);
/* Two columns: a shade, question marks while v is not known. */
void map_put_shade(struct cells *c, int row, int col, double v,
    const struct map_range *r);
/* Two columns: the sign of what is gone; then, a column on, text of at most
 * width columns altogether. */
void map_put_pruned(struct cells *c, int row, int col, int width,
    const char *text);
/* The cursor: brackets around the two columns at col, and the selection. */
void map_put_cursor(struct cells *c, int row, int col);
/* "░░ 0.71 to ██ 1.28, step 6 %   ×× pruned" */
void map_put_legend(struct cells *c, int row, struct rect r,
    const struct map_range *range);

#endif
