/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * charsmap: the normalisation that SentencePiece models carry: a table from
 * strings to strings, compiled into a double-array trie over the bytes of the
 * keys. Layout: uint32 bytes of the trie; its units, uint32 each; then the
 * replacements, each ended by a NUL.
 */
#ifndef PARE_TEXT_CHARSMAP_H
#define PARE_TEXT_CHARSMAP_H

#include <stddef.h>

#include "base/err.h"

struct charsmap;

/* Replacements are not longer; a longer one is cut behind one byte more. */
enum { CHARSMAP_REPLACEMENT = 256 };

/* A copy of n bytes. PARE_EFORMAT naming `where` when the sizes do not fit. */
struct charsmap *charsmap_new(const void *data, size_t n, const char *where,
    struct pare_err *err);
/* The same from base64, as tokenizer.json has it. */
struct charsmap *charsmap_from_base64(const char *text, const char *where,
    struct pare_err *err);
void charsmap_free(struct charsmap *m);	/* NULL is fine */

/* The longest key of whole characters that begins s: its length, and its replacement (*with, *k
 * bytes, borrowed); 0: none. */
size_t charsmap_find(const struct charsmap *m, const char *s, size_t n,
    const char **with, size_t *k);

#endif
