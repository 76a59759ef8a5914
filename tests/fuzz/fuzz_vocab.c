/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A vocabulary file (the first byte says which kind), and a text through what it
 * makes: every id must have a piece. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
encode(const struct tokenizer *t, const char *s, size_t n)
{
	struct pare_err err;
	struct tokens k;

	if (tokenizer_encode(t, s, n, s + n / 2, n - n / 2, 64, true, &k,
	    &err) != PARE_OK)
		return;
	if (k.n > 64)
		abort();
	for (int i = 0; i < k.n; i++)
		if (tokenizer_piece(t, k.id[i]) == NULL)
			abort();
	tokens_free(&k);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pare_err err = { 0 };
	struct tokenizer *t;
	const char *s;

	if (n == 0)
		return 0;
	s = (const char *)data + 1;
	t = tokenizer_parse((data[0] & 1) != 0 ? "tokenizer.json"
	    : "vocab.txt", s, n - 1, (data[0] & 2) != 0, &err);
	if (t == NULL) {
		if (err.msg[0] == '\0')
			abort();
		return 0;
	}
	/* Its own bytes hold its pieces and special tokens. */
	encode(t, s, n - 1);
	tokenizer_free(t);
	return 0;
}
