/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * field: one argument of a form: its text, changed by arrows or typed. Nothing
 * gets in that its argument's row excludes: arrows stop at the ends of the
 * range, keys that would leave it are refused, and what is left half typed
 * becomes the nearest value when the field is left.
 */
#ifndef PARE_UI_TUI_FIELD_H
#define PARE_UI_TUI_FIELD_H

#include <stdbool.h>

#include "base/arg.h"
#include "base/str.h"

struct field {
	const struct arg_spec *spec;
	char *text;		/* owned; "": not given */
	bool fresh;		/* the next character replaces it */
};

void field_set(struct field *f, const char *text);
void field_free(struct field *f);
/* Whether it holds what it holds when nothing is said. */
bool field_is_default(const struct field *f);
/* Whether arrows change it. */
bool field_steps(const struct field *f);

/* The next value in direction dir (1, -1), a far one when far; choices go
 * around. targets: what an ARG_TARGET goes through. */
void field_step(struct field *f, int dir, bool far, char (*targets)[96],
    int ntargets);
/* A typed character; false: it cannot stand there. */
bool field_type(struct field *f, int key);
void field_erase(struct field *f);	/* the last character */
/* The nearest value that can be; true if that is another one. */
bool field_settle(struct field *f);

/* "1 to 16", "0% to 100%, or a count of heads"; nothing for a text. */
void field_range(const struct arg_spec *s, struct str *out);

#endif
