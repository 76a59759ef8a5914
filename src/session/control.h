/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * control: whether steps that chose what to remove chose better than chance: the
 * same lines, the same amounts, drawn at random. Private to src/session.
 */
#ifndef PARE_SESSION_CONTROL_H
#define PARE_SESSION_CONTROL_H

#include "session/session.h"

enum { CONTROL_DRAWS = 3 };

/* The line of an op that removes an amount by some criterion, with by=random and
 * that seed instead; malloc'ed; NULL: the line chooses nothing. */
char *control_line(const char *line, uint64_t seed);

/*
 * Of the steps from state a to its descendant b: puts `control` into doc when
 * one of them chose. Each draw applies all the steps again, those that chose at
 * random, and is evaluated. b was evaluated as `chosen`. Nothing where b does
 * not come from a, where no step chose, or where the steps cannot be applied
 * again (why, in notes).
 */
enum pare_rc control_doc(struct session *s, int a, int b,
    const struct evaluation *chosen, json_t *doc, struct notes *notes,
    struct task *task, struct pare_err *err);

#endif
