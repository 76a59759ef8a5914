/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * lineedit: readline as both prompts use it: set up so that it leaves signals
 * and the environment alone, completion by session_complete(), and a history file
 * that is written line by line.
 */
#ifndef PARE_UI_LINEEDIT_H
#define PARE_UI_LINEEDIT_H

#include "session/session.h"

/* Opens the history. Completion asks lineedit_session(). */
void lineedit_open(void);
void lineedit_close(void);
/* NULL: there is nothing to complete with just now. */
void lineedit_session(const struct session *s);
/* Adds a line to the history, at once onto the disk, unless it begins with a
 * blank or repeats the one before. */
void lineedit_keep(const char *line);
/* Ends whatever readline is in the middle of (a search must not run its match
 * on the next Enter) and takes the handler away. */
void lineedit_abandon(void);

#endif
