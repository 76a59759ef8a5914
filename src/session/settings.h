/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * settings: the values behind `set NAME VALUE`. One row of setting_table[] each;
 * help, completion and checks read the rows. Front ends read theirs (live,
 * color, pager) here too.
 */
#ifndef PARE_SESSION_SETTINGS_H
#define PARE_SESSION_SETTINGS_H

#include "base/arg.h"

enum setting {
	SET_THREADS, SET_KERNELS, SET_PRECISION, SET_SEED, SET_SEQ, SET_LIVE,
	SET_CACHE, SET_COLOR, SET_PAGER, SET_THEME, SET_MOUSE, SET_COLUMNS, SET_COUNT
};

/* Rows as argument specs: name, type, range, default, text. Ends with a row
 * whose name is NULL. */
extern const struct arg_spec setting_table[SET_COUNT + 1];

struct settings;
struct settings *settings_new(void);	/* all at their defaults */
void settings_free(struct settings *s);
struct settings *settings_copy(const struct settings *s);

/* PARE_EUSER: no such setting (suggests one), or a value out of range. */
enum pare_rc settings_set(struct settings *s, const char *name,
    const char *value, struct pare_err *err);
enum pare_rc settings_find(const char *name, enum setting *out,
    struct pare_err *err);

/* Puts what the process shares (threads, kernels) as s says again. */
void settings_apply(const struct settings *s);

int64_t settings_int(const struct settings *s, enum setting k);
bool settings_bool(const struct settings *s, enum setting k);
/* Bytes that `cache` leaves to the inputs of layers; 0 when it is off. */
int64_t settings_cache(const struct settings *s);
/* The value as it would be typed, borrowed. */
const char *settings_text(const struct settings *s, enum setting k);

#endif
