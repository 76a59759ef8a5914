/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * history: the tree of states.
 *
 * Invariants
 *  1. State 0 is the model as opened; it has no parent and no command.
 *  2. A state never changes and is never removed while the model is open.
 *  3. Applying adds a child of the current state; undo moves to the parent, redo
 *     to the child visited last. Nothing is computed by moving.
 *  4. A state holds one model reference; tensors are shared between states.
 */
#ifndef PARE_SESSION_HISTORY_H
#define PARE_SESSION_HISTORY_H

#include "model/model.h"

struct state {
	int id;
	int parent;		/* -1 for state 0 */
	int redo;		/* child visited last; -1 */
	struct model *model;
	char *command;		/* the line; NULL for state 0 */
	char *mark;		/* name, or NULL */
	double seconds;		/* the command took */
};

struct history {
	int n, current;
	struct state *state;	/* by id */
};

void history_init(struct history *h, struct model *first);	/* consumes */
void history_free(struct history *h);
/* Adds a child of the current state and goes there. Consumes model. */
int history_add(struct history *h, struct model *model, const char *command,
    double seconds);
enum pare_rc history_undo(struct history *h, int steps, struct pare_err *err);
enum pare_rc history_redo(struct history *h, int steps, struct pare_err *err);
/* text: a number, a mark, "original" (0), "current" or "" (the current one),
 * "previous" (its parent). */
enum pare_rc history_find(const struct history *h, const char *text, int *id,
    struct pare_err *err);
void history_goto(struct history *h, int id);
/* Marks are unique: giving a name again moves it. */
enum pare_rc history_mark(struct history *h, int id, const char *name,
    struct pare_err *err);
/* Commands from state 0 to id, one a line, malloc'ed. */
char *history_recipe(const struct history *h, int id);
/* Bytes of the tensors that only this state holds, not its parent. */
int64_t history_own_bytes(const struct history *h, int id);
/* Bytes of the tensors that any state holds, each once; those without weights
 * hold nothing. */
int64_t history_held_bytes(const struct history *h);

#endif
