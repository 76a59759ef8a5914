/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * keys: the table that says which key does what in which view. The dispatcher,
 * the hint bar and the help view all read it. Every function key has a letter
 * beside it.
 */
#ifndef PARE_UI_TUI_KEYS_H
#define PARE_UI_TUI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

/* A key: a Unicode character, a control character, or one of these. */
enum key {
	K_NONE = -1,
	K_TAB = 9, K_ENTER = 13, K_ESC = 27,
	K_UP = 0x110000, K_DOWN, K_LEFT, K_RIGHT, K_HOME, K_END,
	K_PAGE_UP, K_PAGE_DOWN, K_BACK_TAB, K_DELETE, K_INSERT, K_BACKSPACE,
	K_F1, K_F2, K_F3, K_F4, K_F5, K_F6, K_F7, K_F8, K_F9, K_F10,
	K_UNKNOWN,	/* a sequence that means nothing here */
	K_MOUSE,	/* screen_mouse_event() tells what */
	K_PASTE		/* screen_paste() has the text */
};
#define K_CTRL(c) ((c) & 31)

enum view_id {
	VIEW_TREE,	/* the module tree, with the detail pane */
	VIEW_HEADS,	/* layers by heads */
	VIEW_PARTS,	/* layers by attention and FFN */
	VIEW_APPLY,	/* the form of an op */
	VIEW_HISTORY,	/* the tree of states */
	VIEW_CHART,	/* size against accuracy */
	VIEW_COMPARE,	/* two states side by side */
	VIEW_SAMPLES,
	VIEW_OUTPUT,	/* long output of a command */
	VIEW_HELP,
	VIEW_COLUMNS,	/* which columns the tree shows */
	VIEW_PLAN,	/* what a budget leaves of the model */
	VIEW_COUNT
};
#define IN(v) (1u << VIEW_##v)
#define IN_ALL ((1u << VIEW_COUNT) - 1)

enum action {
	ACT_NONE,
	/* Moving; views handle these. */
	ACT_UP, ACT_DOWN, ACT_LEFT, ACT_RIGHT, ACT_PAGE_UP, ACT_PAGE_DOWN,
	ACT_FIRST, ACT_LAST, ACT_ENTER,
	/* Of some views. */
	ACT_FOLD_ALL, ACT_SORT, ACT_SORT_TURN, ACT_COLUMNS, ACT_CHOOSE,
	ACT_FLAT,
	ACT_TOGGLE,		/* prune or restore */
	ACT_DETAIL_NEXT, ACT_DETAIL_PREV,	/* the detail's sentence */
	ACT_DETAIL_HEAD_NEXT, ACT_DETAIL_HEAD_PREV,
	ACT_DETAIL_LAYER_NEXT, ACT_DETAIL_LAYER_PREV,
	ACT_FILTER, ACT_MARK, ACT_PICK, ACT_COMPARE, ACT_CHART,
	ACT_MODE,		/* the view's other way of showing */
	ACT_CLEAR,		/* a form field back to its default */
	/* Handled by the frame. */
	ACT_FOCUS,	/* main pane, detail pane */
	ACT_APPLY, ACT_HEADS, ACT_PARTS, ACT_PLAN, ACT_HISTORY, ACT_SAMPLES,
	ACT_UNDO, ACT_REDO, ACT_EVAL, ACT_LATENCY,
	ACT_PROMPT, ACT_FIND, ACT_FIND_NEXT, ACT_FIND_PREV,
	ACT_HELP, ACT_REDRAW, ACT_BACK, ACT_QUIT,
	ACTION_COUNT
};

struct key_row {
	int key;
	unsigned views;		/* IN(TREE) | ... */
	enum action action;
	const char *help;	/* for the help view; NULL: another key for the
				 * action of the row above */
	const char *hint;	/* one word for the hint bar; NULL: not there */
};
/* The first row that matches wins. Ends with K_NONE. */
extern const struct key_row key_table[];

enum action keys_find(enum view_id view, int key);
/* "Enter", "^L", "F1", "x". */
void keys_name(int key, char out[16]);
/* The key of that name; K_NONE. */
int keys_named(const char *name);

#endif
