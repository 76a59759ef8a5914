/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * column: what the module tree can show of a part, which of it is shown, and
 * the order. The words are those of the setting `columns`.
 */
#ifndef PARE_UI_TUI_COLUMN_H
#define PARE_UI_TUI_COLUMN_H

#include "ui/tui/app.h"

/* In the order of the choices of the setting. */
enum column { COL_PARAMS, COL_SHARE, COL_BYTES, COL_BITS, COL_FORM,
	COL_SPARSITY, COL_MACS, COL_MS, COL_IMPORTANCE, COL_BAR, COL_COUNT };

struct column_facts {
	const char *title;	/* of the column; "" for the bar */
	int width;
	const char *text;	/* what it tells */
};
extern const struct column_facts column_table[COL_COUNT];
/* As the setting has it: "params". */
const char *column_name(enum column id);

enum { COLUMN_PRESETS = 4 };

/* Columns from left to right, none twice. */
struct column_list {
	int n;
	enum column id[COL_COUNT];
};
/* What `c` goes through. */
extern const struct column_list column_presets[COLUMN_PRESETS];

/* From the text of the setting and back. */
void column_list_parse(const char *text, struct column_list *out);
void column_list_spell(const struct column_list *list, char out[COLUMNS_TEXT]);
bool column_list_equal(const struct column_list *a,
    const struct column_list *b);
/* The place of a column; -1. */
int column_list_find(const struct column_list *list, enum column id);

/* ---- of the tree (view_tree.c) ---- */

const struct column_list *tree_columns(const struct app *app);
/* Shows them at once, and says so by `set columns` unless a command runs. */
void tree_show_columns(struct app *app, const struct column_list *list);
/* COL_COUNT: the order of the model. */
enum column tree_sorted(const struct app *app, bool *turned);
void tree_sort(struct app *app, enum column by, bool turned);

#endif
