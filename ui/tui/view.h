/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * view: what fills the main pane, and what fills the detail pane.
 *
 * A view is a row of view_table[] (by enum view_id) made of functions; any of
 * them may be NULL. Its own state is what make() returned, found at
 * app->state[id]; there are no variables elsewhere. Data flows one way: the
 * session changes, the frame takes a snapshot, update() tells the view, draw()
 * draws it. draw() changes nothing and never waits; what takes time is a job
 * (ui/tui/worker.h) whose done() puts a result into the view's state.
 */
#ifndef PARE_UI_TUI_VIEW_H
#define PARE_UI_TUI_VIEW_H

#include "ui/tui/app.h"

/* What changed, for update(). */
enum change {
	CHANGE_MODEL = 1,	/* another current state, or another model */
	CHANGE_HISTORY = 2,	/* states were added or marked */
	CHANGE_EVAL = 4,	/* an evaluation came, partial ones included */
	CHANGE_LATENCY = 8,
	CHANGE_TARGET = 16,	/* app->target */
	CHANGE_SIZE = 32,
	CHANGE_DATA = 64,	/* other samples, or none */
	CHANGE_OPENED = 128	/* another model: forget everything */
};

struct view {
	enum view_id id;
	const char *name;	/* "heads": `:` view heads, tests */
	const char *title;	/* "Heads" */
	bool detail, history;	/* panes it wants beside itself */
	int main_cols;		/* width it would like beside a detail */
	int (*cols)(const struct app *app);	/* the same, when it varies */
	void *(*make)(void);
	void (*drop)(void *state);
	void (*enter)(struct app *app);	/* it comes to the front */
	void (*leave)(struct app *app);
	void (*update)(struct app *app, unsigned change);
	void (*draw)(const struct app *app, struct cells *c, struct rect r);
	/* false: not handled. Only actions that key_table gives this view. */
	bool (*act)(struct app *app, enum action a);
	/* Raw keys before the table is asked (typing into a field); false: not
	 * taken. */
	bool (*key)(struct app *app, int key);
	/* The mouse at a place of the screen, draw() having had r: moves the
	 * cursor there. NULL: there is none to move. */
	void (*click)(struct app *app, struct rect r, int row, int col);
	/* The word for a key in the hint bar as things are; NULL: the key is
	 * left out. Without the function: k->hint. */
	const char *(*hint)(const struct app *app, const struct key_row *k);
	/* `/`: moves the cursor to the next place after it (dir 1) or before
	 * it (dir -1) that has text, without wrapping; from_top: the first (or
	 * last) place at all. false: none. Compare with view_has_text(). */
	bool (*find)(struct app *app, const char *text, int dir,
	    bool from_top);
};
extern const struct view *const view_table[VIEW_COUNT];

/* The rows of view_table[], by file. */
extern const struct view view_tree, view_heads, view_parts, view_apply,
    view_history, view_chart, view_compare, view_samples, view_output,
    view_help, view_columns, view_plan;

/*
 * What the detail pane can show. The first row of detail_table[] whose fits()
 * says yes for app->target draws.
 */
struct detail {
	const char *name;
	bool (*fits)(const struct app *app, const struct target *t);
	void *(*make)(void);	/* app->detail_state[], by table order */
	void (*drop)(void *state);
	/* Only while it is shown. */
	void (*update)(struct app *app, unsigned change);
	void (*draw)(const struct app *app, struct cells *c, struct rect r);
	bool (*act)(struct app *app, enum action a);	/* ACT_DETAIL_*, and all
				 * moves while app->focus_detail */
};
extern const struct detail *const detail_table[];	/* ends with NULL */
extern const struct detail detail_head, detail_attention, detail_matrix,
    detail_layer, detail_plain;
/* The one for app->target, and its state. */
const struct detail *detail_for(const struct app *app);
void *detail_state(const struct app *app, const struct detail *d);

/* First row to show of n so that cursor is in view: nothing to remember. */
int view_top(int cursor, int n, int rows);
/* Which of n is in a row of the rectangle that shows them so; -1: none. */
int view_row_at(int cursor, int n, struct rect r, int row);
/* cursor after a moving action in a list of n shown in `rows` rows; cursor
 * itself when a is no such action. */
int view_move(enum action a, int cursor, int n, int rows);
/* Whether s contains text, ignoring case. */
bool view_has_text(const char *s, const char *text);

#endif
