/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * facts: how the detail pane writes what it knows: lines from top to bottom of
 * a rectangle, scrolled by `skip` lines. What does not fit is not drawn but
 * counted, so drawing into no cells at all gives the height.
 */
#ifndef PARE_UI_TUI_FACTS_H
#define PARE_UI_TUI_FACTS_H

#include "model/account.h"
#include "ui/tui/app.h"

struct facts {
	struct cells *c;
	struct rect r;
	int skip;
	int line;	/* the next one, counted from 0 */
	int name_cols;	/* of the names before values */
};

struct facts facts_begin(struct cells *c, struct rect r, int skip);
/* Row of the buffer where the next line goes, -1: outside; moves on. */
int facts_row(struct facts *f);
/* The heading: a name, and what it is. */
void facts_title(struct facts *f, const char *name, const char *fmt, ...)
    PARE_PRINTF(3, 4);
void facts_rule(struct facts *f, const char *title);
/* "name  value". */
void facts_put(struct facts *f, const char *name, const char *fmt, ...)
    PARE_PRINTF(3, 4);
/* Words, wrapped. */
void facts_text(struct facts *f, unsigned style, const char *fmt, ...)
    PARE_PRINTF(3, 4);
/* "name  value ####": a bar for share in [0, 1] in the columns left. */
void facts_bar(struct facts *f, const char *name, const char *value,
    double share);
/* n values >= 0 as columns, rows lines high. Returns the columns used. */
int facts_chart(struct facts *f, const double *v, int n, int rows);
/* Texts at both ends of n columns, and a mark with a text at column `at` (-1:
 * none), on the line after if they would touch. */
void facts_axis(struct facts *f, int n, const char *left, const char *right,
    int at, const char *mark);

/* The lines of an accounted row: parameters, bytes, form, MACs. */
void facts_sizes(struct facts *f, const struct account_row *row,
    const struct account_row *total, int64_t seq);

/* A table: names of at most name_cols columns, then right-aligned columns that
 * are left out from the end as the width shrinks. */
enum { FACTS_COLUMNS = 6 };
struct facts_row {
	const char *name;
	char cell[FACTS_COLUMNS][24];
};
void facts_table(struct facts *f, const char *const *titles, int ncols,
    const struct facts_row *row, int n);

/* skip after a moving action; total lines, as many visible. */
int facts_scroll(enum action a, int skip, int total, int rows);

#endif
