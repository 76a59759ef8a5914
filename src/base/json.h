/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * json: Jansson, with the checks and the error lines of this house.
 *
 * Ownership follows Jansson: what a function returns as json_t * is a new
 * reference unless it says borrowed.
 */
#ifndef PARE_BASE_JSON_H
#define PARE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum json_flag {
	JSON_UNIQUE = 1		/* refuse duplicate keys */
};

/* Parses n bytes of text that came from `where` (a file name for messages). A
 * leading BOM is skipped. NULL with PARE_EFORMAT ("where: line:column: ..."). */
json_t *json_parse(const char *text, size_t n, unsigned flags,
    const char *where, struct pare_err *err);

/* Reads a file of at most max bytes and parses it. */
json_t *json_read(const char *path, int64_t max, unsigned flags,
    struct pare_err *err);

/*
 * Typed look-ups in an object. A key that is absent or null gives dflt; any
 * other type or a value outside [min, max] is PARE_EFORMAT naming `where`, key,
 * what was found and what is allowed. Integers may be written 768.0.
 */
enum pare_rc json_int(const json_t *o, const char *key, int64_t min,
    int64_t max, int64_t dflt, int64_t *out, const char *where,
    struct pare_err *err);
enum pare_rc json_real_of(const json_t *o, const char *key, double min,
    double max, double dflt, double *out, const char *where,
    struct pare_err *err);
enum pare_rc json_bool_of(const json_t *o, const char *key, bool dflt,
    bool *out, const char *where, struct pare_err *err);
/* *out is borrowed from o, or dflt. */
enum pare_rc json_text(const json_t *o, const char *key, const char *dflt,
    const char **out, const char *where, struct pare_err *err);

/* Compact text, malloc'ed; reals with enough digits to read back the same. */
char *json_text_of(const json_t *v);

#endif
