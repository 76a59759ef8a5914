/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * screen: the terminal. screen.c is the only file that includes curses; it
 * shows a buffer of cells, reads keys and gives the terminal back, also when
 * the program dies.
 */
#ifndef PARE_UI_TUI_SCREEN_H
#define PARE_UI_TUI_SCREEN_H

#include "base/str.h"
#include "ui/look.h"
#include "ui/tui/cell.h"
#include "ui/tui/mouse.h"

/* What draws: "ncurses 6.4". */
const char *screen_library(void);
/* A terminal on both ends that can move its cursor? why: one line, or "". */
bool screen_usable(char why[128]);

enum screen_theme { THEME_DEFAULT, THEME_CONTRAST, THEME_MONO, THEME_COUNT };
extern const char *const screen_theme_names[THEME_COUNT + 1];

/* Alternate screen on, messages of libraries to a file. false: it cannot be. */
bool screen_open(enum look_color color, bool ascii);
/* Everything back as it was; shows what libraries said meanwhile. */
void screen_close(void);
bool screen_ascii(void);
void screen_size(int *rows, int *cols);
/* The size of the terminal again, after SIGWINCH. */
void screen_resize(void);
/* Other colours, also in a session that began without any. */
void screen_theme(enum screen_theme theme, enum look_color color);
/* Clicks and the wheel as keys; off at first, and while keys come as bytes. */
void screen_mouse(bool on);
/* Shows what changed; all: everything, for the terminal may hold anything. */
void screen_show(const struct cells *c, bool all);
/* Stops the process as Ctrl-Z does, and comes back. */
void screen_suspend(void);
/* After SIGCONT: the terminal as we want it again. */
void screen_resume(void);

/* The next key, Ctrl-C being one; K_NONE: none is there. *gone: the terminal
 * went away. */
int screen_key(bool *gone);
/* After K_MOUSE: what it did. */
struct mouse screen_mouse_event(void);
/* After K_PASTE: the text, onto the end of out. */
void screen_paste(struct str *out);
/* Until it is switched off keys come as bytes, for readline. Either way the
 * terminal is asked to mark what is pasted. */
void screen_raw(bool on);
/* The next byte; -1: none. */
int screen_byte(bool *gone);
/* The same, and it stays there. */
int screen_peek(void);
/* Whether something follows within ms milliseconds. */
bool screen_pending(int ms);

/* Forgets what was typed and not read yet. */
void screen_drop_input(void);

#endif
