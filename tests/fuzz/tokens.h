/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokens: what every tokenizer must stand, whatever file it came from. Shared
 * by the fuzz targets of tokenizers.
 */
#ifndef PARE_TESTS_TOKENS_H
#define PARE_TESTS_TOKENS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/reduce.h"

enum { TOKENS_MOST = 64 };

/* One text or pair: every id has a piece, the cut holds, and the way back takes
 * any of it. */
static void
tokens_check(const struct tokenizer *t, const char *a, size_t na,
    const char *b, size_t nb)
{
	struct pare_err err = { 0 };
	struct str back = STR_INIT;
	struct tokens k;

	if (tokenizer_encode(t, a, na, b, nb, TOKENS_MOST, true, &k, &err) !=
	    PARE_OK) {
		if (err.msg[0] == '\0')
			abort();
		return;
	}
	if (k.n > TOKENS_MOST)
		abort();
	for (int i = 0; i < k.n; i++)
		if (tokenizer_piece(t, k.id[i]) == NULL ||
		    k.id[i] >= tokenizer_size(t))
			abort();
	tokenizer_decode(t, k.id, k.n, true, &back);
	str_free(&back);
	tokens_free(&k);
}

/* A smaller one, of what has to stay and every third id, stands as much, and
 * nothing that has to stay is refused. */
static inline void
tokens_check_part(const struct tokenizer *t, const char *s, size_t n)
{
	const int64_t rows = tokenizer_size(t) + 1;
	struct pare_err err = { 0 };
	struct token_needs needs;
	struct tokenizer *part;
	int64_t kept = 0;
	int32_t *id;

	if (rows > 1 << 16 || token_needs_find(t, rows, &needs, &err) !=
	    PARE_OK)
		return;
	id = malloc((size_t)rows * sizeof(*id));
	for (int64_t i = 0; id != NULL && i < rows; i++)
		if (needs.always[i] || i % 3 == 0)
			id[kept++] = (int32_t)i;
	token_needs_free(&needs);
	part = id == NULL ? NULL : tokenizer_reduce(t, id, kept, &err);
	free(id);
	if (part == NULL && err.rc != PARE_ENOMEM)
		abort();
	if (part != NULL)
		tokens_check(part, s, n, s, n / 2);
	tokenizer_free(part);
}

/* The file's own bytes, which hold its pieces; and awkward text. */
static inline void
tokens_check_all(const struct tokenizer *t, const char *s, size_t n)
{
	static const char odd[] = "Hello  wor\xffld, it's\r\n 12345 "
	    "\xc3\xa9" "e\xcc\x81 \xf0\x9f\xa4\x97\xe2\x96\x81 <s></s> \xf0\x9f";
	size_t most = n < 4096 ? n : 4096;

	tokens_check(t, s, most, NULL, 0);
	tokens_check(t, odd, sizeof(odd) - 1, s, most / 2);
	tokens_check(t, "", 0, NULL, 0);
	tokens_check_part(t, s, most);
}

#endif
