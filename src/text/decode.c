/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ids to text. Byte-level pieces are spelled back into bytes; in SentencePiece's
 * the mark U+2581 is a space, <0x41> is a byte, and the first space of a text is
 * the one that was put there; WordPiece puts spaces between words.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/vocabulary.h"

static const struct added_token *
find_added(const struct tokenizer *t, int32_t id)
{
	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id == id)
			return &t->added.token[i];
	return NULL;
}

static void
put_bytes(const char *s, struct str *out)
{
	size_t n = strlen(s);
	int32_t cp;

	for (size_t i = 0, k; i < n; i += k) {
		k = uni_decode(s + i, n - i, &cp);
		if (byte_level_byte(cp) >= 0)
			str_addc(out, (char)byte_level_byte(cp));
		else
			str_addn(out, s + i, k);
	}
}

static void
put_marked(const struct tokenizer *t, int32_t id, const char *s,
    struct str *out)
{
	for (int b = 0; t->byte_fallback && b < 256; b++)
		if (t->byte_id[b] == id) {
			str_addc(out, (char)b);
			return;
		}
	for (; *s != '\0'; s++)
		if (strncmp(s, "\xe2\x96\x81", 3) == 0) {
			str_addc(out, ' ');
			s += 2;
		} else {
			str_addc(out, *s);
		}
}

void
tokenizer_decode(const struct tokenizer *t, const int32_t *id, int64_t n,
    bool special, struct str *out)
{
	const size_t began = out->n;
	bool words = t->model == TOKENS_WORDPIECE;

	for (int64_t i = 0; i < n; i++) {
		const char *s = tokenizer_piece(t, id[i]);
		const struct added_token *a = find_added(t, id[i]);

		if (s == NULL || (a != NULL && !special && !a->normalized))
			continue;
		if (words && strncmp(s, "##", 2) == 0)
			str_add(out, s + 2);
		else if (words)
			str_addf(out, "%s%s", out->n > began ? " " : "", s);
		else if (a != NULL)
			str_add(out, s);
		else if (t->byte_level)
			put_bytes(s, out);
		else
			put_marked(t, id[i], s, out);
	}
	if (!words && !t->byte_level && out->n > began &&
	    out->s[began] == ' ') {
		memmove(out->s + began, out->s + began + 1, out->n - began);
		out->n--;
	}
}
