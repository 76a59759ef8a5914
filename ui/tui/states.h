/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * states: what the views of the history (tree, chart, comparison) share: the
 * selected state, the one picked to compare with, and how a state is told in
 * words.
 */
#ifndef PARE_UI_TUI_STATES_H
#define PARE_UI_TUI_STATES_H

#include "base/str.h"
#include "ui/number.h"
#include "ui/tui/view.h"

/* Begins the state of view_history; the chart moves the same cursor. */
struct states {
	int id;		/* selected */
	int picked;	/* -1: none */
	int seen;	/* the current state when this was looked at last */
};
struct states *states_of(const struct app *app);
/* The cursor onto the current state where that is a new one. */
void states_follow(struct app *app, unsigned change);

const struct snap_state *states_get(const struct app *app, int id);
/* The metric, "~" before a partial one; "?" when it is not known; "" where
 * nothing can be evaluated. */
void states_value(const struct app *app, const struct snap_state *s,
    char out[NUMBER_MAX]);
/* Median milliseconds; "". */
void states_latency(const struct snap_state *s, char out[NUMBER_MAX]);
/* "3 small", "0 original". */
void states_name(const struct snap_state *s, char *out, size_t n);
/* The command, or what stands for the original. */
const char *states_command(const struct snap_state *s);
/* Everything known of a state in a sentence or two. */
void states_describe(const struct app *app, int id, struct str *b);

/* ACT_ENTER, ACT_MARK, ACT_PICK, ACT_COMPARE of the selected state. */
bool states_act(struct app *app, enum action a);

/* Whether a view is the one shown. */
bool states_in_front(const struct app *app, enum view_id view);
/* Text in lines of a rectangle; the rows it took, at most r.rows. */
int states_wrap(struct cells *c, struct rect r, unsigned style,
    const char *text);

/* view_compare.c: which two states it shows. */
void compare_choose(struct app *app, int a, int b);

#endif
