/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * str: a growing string, and small helpers on C strings.
 *
 * A struct str starts as STR_INIT; s is always NUL-terminated and valid.
 */
#ifndef PARE_BASE_STR_H
#define PARE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct str {
	char *s;	/* owned; "" while empty */
	size_t n;	/* length without the NUL */
	size_t cap;
};

extern char str_empty[1];
#define STR_INIT { str_empty, 0, 0 }

void str_add(struct str *b, const char *s);
void str_addn(struct str *b, const char *s, size_t n);
void str_addc(struct str *b, char c);
void str_addf(struct str *b, const char *fmt, ...) PARE_PRINTF(2, 3);
void str_clear(struct str *b);	/* empties, keeps the memory */
void str_free(struct str *b);	/* frees and makes it STR_INIT again */
char *str_detach(struct str *b);	/* the caller owns the result */

/* A malloc'ed string in printf's manner; the caller frees. */
char *str_format(const char *fmt, ...) PARE_PRINTF(1, 2);

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

/* Whole string as a number; false when anything is left over, when it is out of
 * range or, for doubles, not finite. *out is unchanged then. */
bool str_to_int(const char *s, int64_t *out);
bool str_to_double(const char *s, double *out);

/* "1.21 M", "440 M", "12": counts in powers of 1000, three digits. */
void str_count(char *out, size_t n, double value);
/* "4.7 MiB", "512 B": bytes in powers of 1024. */
void str_bytes(char *out, size_t n, double bytes);

/* The candidate nearest to word in edit distance, when near enough to be a
 * typing slip; NULL otherwise. list ends with NULL. */
const char *str_nearest(const char *word, const char *const *list);

#endif
