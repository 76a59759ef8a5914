/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tokenizer.model, SentencePiece's protocol buffer. */
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("tokenizer.model",
	    (const char *)data, n, false, &err);

	if (t == NULL && err.msg[0] == '\0')
		abort();
	if (t != NULL)
		tokens_check_all(t, (const char *)data, n);
	tokenizer_free(t);
	return 0;
}
