/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * look: what the place that text goes to can show (columns, colour, Unicode),
 * and the few ways of putting text there. Renderers build a struct str with
 * these and print nothing themselves, so that tests can read what they drew.
 *
 * Meaning is never in colour alone, and text that came from a file is cleaned
 * before it reaches a terminal.
 */
#ifndef PARE_UI_LOOK_H
#define PARE_UI_LOOK_H

#include <stdbool.h>

#include "base/str.h"

enum look_color { LOOK_AUTO, LOOK_ALWAYS, LOOK_NEVER };

struct look {
	int fd;
	int width;	/* columns, at least 20 */
	int height;	/* rows of the terminal; 0: no terminal */
	bool ascii;	/* nothing but 7 bit characters */
	bool color;
	bool linear;	/* read aloud: no bars, columns or rules */
	bool tty;
};

enum paint {
	PAINT_NONE,
	PAINT_TITLE,	/* headings, names */
	PAINT_DIM,	/* what may be skipped */
	PAINT_BAR,	/* bars and charts */
	PAINT_GOOD,
	PAINT_WARN,
	PAINT_ERROR,
	PAINT_COUNT
};

/* Reads the environment (NO_COLOR, TERM, COLUMNS, the locale) and fd. */
void look_init(struct look *l, int fd, enum look_color color, bool ascii);
/* "always", "never"; anything else is LOOK_AUTO. */
enum look_color look_color_named(const char *name);
/* Another choice of colour. */
void look_choose(struct look *l, enum look_color color);
/* The size again, after a resize. */
void look_measure(struct look *l);

/* text in that paint; as it is without colour. */
void look_paint(struct str *b, const struct look *l, enum paint p,
    const char *text);

/* Columns that s takes, s being valid UTF-8 without control characters. */
int look_columns(const char *s);
/* s with control characters, invalid UTF-8 and (for ASCII) everything else that
 * cannot be shown replaced by '?'. Malloc'ed. */
char *look_clean(const struct look *l, const char *s);
/* s after its first n columns (a wide character that lies across the border goes
 * too), s being clean. */
const char *look_skip(const char *s, int n);
/* At most width columns of s, which is clean; the cut is marked. */
void look_cut(struct str *b, const struct look *l, const char *s, int width);
/* s (cleaned) in lines of the look's width; every line but the first, which
 * begins at column `at`, is indented by `indent`. Ends with a newline. */
void look_wrap(struct str *b, const struct look *l, int at, int indent,
    const char *s);
void look_spaces(struct str *b, int n);

#endif
