/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * table: rows of text in aligned columns that fit the width there is. Columns
 * that are empty throughout are not drawn; when the rest is too wide the ones
 * that matter least go first, then long words are cut.
 */
#ifndef PARE_UI_TABLE_H
#define PARE_UI_TABLE_H

#include "ui/look.h"

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table;

struct table *table_new(void);
void table_free(struct table *t);	/* NULL is fine */

/* drop: 0 never leaves; the highest leaves first. Before the first row. */
void table_column(struct table *t, const char *title, enum table_align align,
    int drop);
/* Starts a row. */
void table_row(struct table *t);
/* A line across the table before the next row. */
void table_rule(struct table *t);
/* The next cell of the row; text is copied. */
void table_cell(struct table *t, enum paint p, const char *text);
void table_cellf(struct table *t, enum paint p, const char *fmt, ...)
    PARE_PRINTF(3, 4);

/* Draws it, title line included when any column has a title. */
void table_draw(const struct table *t, struct str *b, const struct look *l,
    int indent);

#endif
