/* SPDX-License-Identifier: GPL-3.0-or-later */
/* vocab.json and merges.txt: the input is both, with an empty line between. */
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *s = (const char *)data;
	struct pare_err err = { 0 };
	struct tokenizer *t;
	size_t cut = 0;

	while (cut + 1 < n && (s[cut] != '\n' || s[cut + 1] != '\n'))
		cut++;
	if (cut + 1 >= n)
		return 0;
	t = tokenizer_parse_merges(s, cut, s + cut + 2, n - cut - 2, &err);
	if (t == NULL && err.msg[0] == '\0')
		abort();
	if (t != NULL)
		tokens_check_all(t, s, n);
	tokenizer_free(t);
	return 0;
}
