/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * unicode: UTF-8 and the character classes that tokenizers ask about. The
 * tables are utf8proc's.
 */
#ifndef PARE_TEXT_UNICODE_H
#define PARE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { UNI_REPLACEMENT = 0xfffd };

/*
 * The character at p, of which n > 0 bytes can be read, into *cp; its length.
 * Where the bytes are no UTF-8, *cp is -1 and the length is that of the longest
 * beginning of a character (at least 1), which U+FFFD stands for.
 */
size_t uni_decode(const char *p, size_t n, int32_t *cp);
/* Writes cp, which must be a valid scalar value, into out; its length. */
size_t uni_encode(int32_t cp, char out[4]);
bool uni_valid(const char *p, size_t n);

bool uni_is_space(int32_t cp);		/* property White_Space */
bool uni_is_control(int32_t cp);	/* categories Cc, Cf, Cn, Co, Cs */
bool uni_is_punctuation(int32_t cp);	/* P*, and all of ASCII's signs */
bool uni_is_ideograph(int32_t cp);	/* what BERT isolates */
bool uni_is_word(int32_t cp);		/* \w of a regular expression */
bool uni_is_nonspacing(int32_t cp);	/* category Mn */
int uni_combining_class(int32_t cp);

enum { UNI_LOWER_MAX = 2, UNI_NFD_MAX = 18 };
/* Full lower-case mapping and canonical decomposition; the number of characters
 * written. */
int uni_lower(int32_t cp, int32_t out[UNI_LOWER_MAX]);
int uni_decompose(int32_t cp, int32_t out[UNI_NFD_MAX]);

/* n bytes, of which the trailing white space is not counted. */
size_t uni_trim_end(const char *p, size_t n);

/* A growing array of bytes whose size follows from a file. */
struct uni_bytes {
	char *p;
	size_t n, cap;
};

enum pare_rc uni_reserve(struct uni_bytes *b, size_t extra,
    struct pare_err *err);

#endif
