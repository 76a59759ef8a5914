/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/keys.h"

#include <stdio.h>
#include <string.h>

#define LISTS (IN(TREE) | IN(HISTORY) | IN(SAMPLES) | IN(COMPARE) | \
    IN(OUTPUT) | IN(HELP) | IN(APPLY) | IN(CHART))
#define MAPS (IN(HEADS) | IN(PARTS))
#define FORM IN(APPLY)
#define READING (IN(OUTPUT) | IN(HELP))
#define WORK (IN_ALL & ~READING & ~FORM)

const struct key_row key_table[] = {
	/* ---- the tree ---- */
	{ K_ENTER, IN(TREE), ACT_ENTER, "open or fold the row", "open" },
	{ 'l', IN(TREE), ACT_RIGHT, "open the row", NULL },
	{ K_RIGHT, IN(TREE), ACT_RIGHT, NULL, NULL },
	{ 'h', IN(TREE), ACT_LEFT, "fold the row, or go to its parent", NULL },
	{ K_LEFT, IN(TREE), ACT_LEFT, NULL, NULL },
	{ 'x', IN(TREE), ACT_TOGGLE, "prune or restore the selection",
	    "prune" },
	{ 'z', IN(TREE), ACT_FOLD_ALL, "fold everything, or open the layers",
	    NULL },
	{ 't', IN(TREE), ACT_FLAT, "tree or flat list", NULL },
	{ 's', IN(TREE), ACT_SORT, "sort by the next column", NULL },
	{ 'S', IN(TREE), ACT_SORT_TURN, "turn the order around", NULL },
	{ 'c', IN(TREE), ACT_COLUMNS, "show other columns", NULL },
	{ 'C', IN(TREE), ACT_CHOOSE, "choose the columns one by one", NULL },
	/* ---- the columns of the tree ---- */
	{ ' ', IN(COLUMNS), ACT_TOGGLE, "show the column, or not", "show" },
	{ K_ENTER, IN(COLUMNS), ACT_TOGGLE, NULL, NULL },
	{ 'x', IN(COLUMNS), ACT_TOGGLE, NULL, NULL },
	{ K_LEFT, IN(COLUMNS), ACT_LEFT, "further to the left", "order" },
	{ 'h', IN(COLUMNS), ACT_LEFT, NULL, NULL },
	{ K_RIGHT, IN(COLUMNS), ACT_RIGHT, "further to the right", NULL },
	{ 'l', IN(COLUMNS), ACT_RIGHT, NULL, NULL },
	{ 's', IN(COLUMNS), ACT_SORT, "sort the tree by it", "sort" },
	{ 'S', IN(COLUMNS), ACT_SORT_TURN, "turn the order around", NULL },
	{ 'd', IN(COLUMNS), ACT_CLEAR, "the columns as they were at first",
	    "default" },
	{ K_DELETE, IN(COLUMNS), ACT_CLEAR, NULL, NULL },
	{ 'C', IN(COLUMNS), ACT_BACK, "back to the tree", NULL },
	/* ---- the maps ---- */
	{ 'x', MAPS, ACT_TOGGLE, "prune or restore the cell", "prune" },
	{ K_ENTER, MAPS, ACT_TOGGLE, NULL, NULL },
	{ ' ', MAPS, ACT_TOGGLE, NULL, NULL },
	{ 't', MAPS, ACT_MODE, "heads, or attention and FFN", "map" },
	{ 's', MAPS, ACT_SORT, "shade by another measure", "shade" },
	{ 'h', MAPS, ACT_LEFT, "to the left", NULL },
	{ K_LEFT, MAPS, ACT_LEFT, NULL, NULL },
	{ 'l', MAPS, ACT_RIGHT, "to the right", NULL },
	{ K_RIGHT, MAPS, ACT_RIGHT, NULL, NULL },
	/* ---- the form ---- */
	{ K_ENTER, FORM, ACT_ENTER, "apply, or take the choice", "apply" },
	{ 'x', FORM, ACT_TOGGLE, "bring back a pruned selection", "restore" },
	{ K_LEFT, FORM, ACT_LEFT, "the value before", "change" },
	{ K_RIGHT, FORM, ACT_RIGHT, "the next value", NULL },
	{ K_DELETE, FORM, ACT_CLEAR, "back to the default", "default" },
	/* ---- history, chart, comparison ---- */
	{ K_ENTER, IN(HISTORY) | IN(CHART), ACT_ENTER, "go to the state",
	    "go" },
	{ 'm', IN(HISTORY) | IN(CHART), ACT_MARK, "give the state a name",
	    "mark" },
	{ ' ', IN(HISTORY) | IN(CHART), ACT_PICK,
	    "pick a state to compare with", "pick" },
	{ 'c', IN(HISTORY) | IN(CHART), ACT_COMPARE,
	    "compare the picked state and this one", "compare" },
	{ 'p', IN(HISTORY) | IN(CHART), ACT_CHART,
	    "size against accuracy, or the list", "chart" },
	{ 's', IN(HISTORY), ACT_SORT, "sort by the next column", NULL },
	{ 't', IN(CHART), ACT_MODE, "another measure of size", "axis" },
	{ K_LEFT, IN(CHART), ACT_LEFT, "the state to the left", NULL },
	{ K_RIGHT, IN(CHART), ACT_RIGHT, "the state to the right", NULL },
	{ 't', IN(COMPARE), ACT_MODE, "layers, or flipped samples",
	    "flips" },
	/* ---- the budget ---- */
	{ K_LEFT, IN(PLAN), ACT_LEFT, "a smaller budget", "budget" },
	{ 'h', IN(PLAN), ACT_LEFT, NULL, NULL },
	{ K_RIGHT, IN(PLAN), ACT_RIGHT, "a larger budget", NULL },
	{ 'l', IN(PLAN), ACT_RIGHT, NULL, NULL },
	{ 't', IN(PLAN), ACT_MODE, "bytes, multiply-adds or time", "axis" },
	{ K_ENTER, IN(PLAN), ACT_ENTER, "measure options, then apply the plan",
	    "apply" },
	/* ---- samples ---- */
	{ 'f', IN(SAMPLES), ACT_FILTER, "all, flipped, fixed, broken, wrong",
	    "filter" },
	{ K_ENTER, IN(SAMPLES), ACT_ENTER, "the whole text of the sample",
	    "text" },
	{ 's', IN(SAMPLES), ACT_SORT, "sort by the next column", NULL },
	/* ---- output ---- */
	{ K_LEFT, IN(OUTPUT), ACT_LEFT, "to the left, where lines are wider",
	    NULL },
	{ 'h', IN(OUTPUT), ACT_LEFT, NULL, NULL },
	{ K_RIGHT, IN(OUTPUT), ACT_RIGHT, "to the right", NULL },
	{ 'l', IN(OUTPUT), ACT_RIGHT, NULL, NULL },
	/* ---- the detail pane ---- */
	{ ']', IN(TREE) | MAPS, ACT_DETAIL_NEXT, "detail: next sentence",
	    NULL },
	{ '[', IN(TREE) | MAPS, ACT_DETAIL_PREV, "detail: sentence before",
	    NULL },
	{ '}', IN(TREE) | MAPS, ACT_DETAIL_HEAD_NEXT, "detail: next head",
	    NULL },
	{ '{', IN(TREE) | MAPS, ACT_DETAIL_HEAD_PREV, "detail: head before",
	    NULL },
	{ ')', IN(TREE) | MAPS, ACT_DETAIL_LAYER_NEXT, "detail: next layer",
	    NULL },
	{ '(', IN(TREE) | MAPS, ACT_DETAIL_LAYER_PREV, "detail: layer before",
	    NULL },
	{ K_TAB, IN(TREE) | MAPS, ACT_FOCUS,
	    "moving keys for the other pane", NULL },
	{ K_BACK_TAB, IN(TREE) | MAPS, ACT_FOCUS, NULL, NULL },
	{ K_TAB, IN(HISTORY) | IN(CHART) | IN(COMPARE), ACT_MODE,
	    "the other part", NULL },
	/* ---- moving ---- */
	{ K_UP, IN_ALL, ACT_UP, "up", NULL },
	{ 'k', IN_ALL & ~FORM, ACT_UP, NULL, NULL },
	{ K_BACK_TAB, FORM, ACT_UP, NULL, NULL },
	{ K_DOWN, IN_ALL, ACT_DOWN, "down", NULL },
	{ 'j', IN_ALL & ~FORM, ACT_DOWN, NULL, NULL },
	{ K_ENTER, READING, ACT_DOWN, NULL, NULL },
	{ K_TAB, FORM, ACT_DOWN, NULL, NULL },
	{ K_PAGE_UP, IN_ALL, ACT_PAGE_UP, "a page up", NULL },
	{ K_CTRL('B'), IN_ALL, ACT_PAGE_UP, NULL, NULL },
	{ K_PAGE_DOWN, IN_ALL, ACT_PAGE_DOWN, "a page down", NULL },
	{ K_CTRL('F'), IN_ALL, ACT_PAGE_DOWN, NULL, NULL },
	{ ' ', IN_ALL & ~FORM, ACT_PAGE_DOWN, NULL, NULL },
	{ K_HOME, IN_ALL, ACT_FIRST, "to the first", NULL },
	{ 'g', IN_ALL & ~FORM, ACT_FIRST, NULL, NULL },
	{ K_END, IN_ALL, ACT_LAST, "to the last", NULL },
	{ 'G', IN_ALL & ~FORM, ACT_LAST, NULL, NULL },
	/* ---- everywhere ---- */
	{ 'a', WORK, ACT_APPLY, "apply an op to the selection", "apply" },
	{ K_F5, WORK, ACT_APPLY, NULL, NULL },
	{ 'u', WORK, ACT_UNDO, "undo", "undo" },
	{ 'R', WORK, ACT_REDO, "redo", "redo" },
	{ K_CTRL('R'), WORK, ACT_REDO, NULL, NULL },
	{ 'e', WORK, ACT_EVAL, "evaluate on the samples", "eval" },
	{ K_F6, WORK, ACT_EVAL, NULL, NULL },
	{ 'b', WORK, ACT_LATENCY, "measure latency", "bench" },
	{ 'H', WORK, ACT_HEADS, "the map of heads", "heads" },
	{ K_F2, WORK, ACT_HEADS, NULL, NULL },
	{ 'P', WORK, ACT_PARTS, "the map of attention and FFN", NULL },
	{ 'B', WORK, ACT_PLAN, "a budget, and what it leaves", NULL },
	{ 'y', WORK, ACT_HISTORY, "the tree of states", "history" },
	{ K_F3, WORK, ACT_HISTORY, NULL, NULL },
	{ 'v', WORK, ACT_SAMPLES, "the samples and their predictions",
	    "samples" },
	{ K_F4, WORK, ACT_SAMPLES, NULL, NULL },
	{ ':', IN_ALL & ~FORM, ACT_PROMPT, "type a command", "command" },
	{ '/', IN_ALL & ~FORM, ACT_FIND, "search", NULL },
	{ 'n', IN_ALL & ~FORM, ACT_FIND_NEXT, "search on", NULL },
	{ 'N', IN_ALL & ~FORM, ACT_FIND_PREV, "search backwards", NULL },
	{ '?', IN(HELP), ACT_BACK, "close this help", NULL },
	{ K_F1, IN(HELP), ACT_BACK, NULL, NULL },
	{ '?', IN_ALL, ACT_HELP, "the keys of this view", "help" },
	{ K_F1, IN_ALL, ACT_HELP, NULL, NULL },
	{ K_CTRL('L'), IN_ALL, ACT_REDRAW, "draw the screen again", NULL },
	{ 'q', IN(TREE), ACT_BACK, "quit", "quit" },
	{ 'q', IN_ALL & ~FORM & ~IN(TREE), ACT_BACK, "back", "back" },
	{ K_ESC, IN_ALL & ~IN(TREE), ACT_BACK, "back", NULL },
	{ '<', IN_ALL & ~FORM & ~IN(TREE), ACT_BACK, NULL, NULL },
	{ 'Q', IN_ALL & ~FORM, ACT_QUIT, "quit from anywhere", NULL },
	{ K_F10, IN_ALL, ACT_QUIT, NULL, NULL },
	{ K_NONE, 0, ACT_NONE, NULL, NULL }
};

enum action
keys_find(enum view_id view, int key)
{
	for (const struct key_row *r = key_table; r->key != K_NONE; r++)
		if (r->key == key && (r->views & 1u << view) != 0)
			return r->action;
	return ACT_NONE;
}

void
keys_name(int key, char out[16])
{
	static const char *const names[] = { "Up", "Down", "Left", "Right",
		"Home", "End", "PgUp", "PgDn", "S-Tab", "Del", "Ins",
		"Backspace", "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8",
		"F9", "F10" };

	if (key >= K_UP && key <= K_F10)
		snprintf(out, 16, "%s", names[key - K_UP]);
	else if (key == ' ')
		snprintf(out, 16, "Space");
	else if (key == K_TAB)
		snprintf(out, 16, "Tab");
	else if (key == K_ENTER)
		snprintf(out, 16, "Enter");
	else if (key == K_ESC)
		snprintf(out, 16, "Esc");
	else if (key > 0 && key < 32)
		snprintf(out, 16, "^%c", key + 64);
	else
		snprintf(out, 16, "%c", key > 0 && key < 127 ? key : '?');
}

int
keys_named(const char *name)
{
	char text[16];

	for (const struct key_row *r = key_table; r->key != K_NONE; r++) {
		keys_name(r->key, text);
		if (strcmp(text, name) == 0)
			return r->key;
	}
	/* What is asked is no row of the table. */
	return name[0] != '\0' && name[1] == '\0' ? name[0] : K_NONE;
}
