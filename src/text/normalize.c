/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "text/vocabulary.h"

/* Valid UTF-8, with U+FFFD for what is not. */
static enum pare_rc
make_valid(const char *s, size_t n, struct uni_bytes *out, int *invalid,
    struct pare_err *err)
{
	int32_t cp;

	/* At worst one bad byte becomes three. */
	if (uni_reserve(out, 3 * n, err) != PARE_OK)
		return PARE_ENOMEM;
	for (size_t i = 0, k; i < n; i += k) {
		k = uni_decode(s + i, n - i, &cp);
		if (cp >= 0) {
			memcpy(out->p + out->n, s + i, k);
			out->n += k;
			continue;
		}
		*invalid += (int)k;
		out->n += uni_encode(UNI_REPLACEMENT, out->p + out->n);
	}
	return PARE_OK;
}

enum pare_rc
vocabulary_normalize(const struct tokenizer *t, const char *s, size_t n,
    struct uni_bytes *out, int *invalid, struct pare_err *err)
{
	struct uni_bytes valid = { 0 };
	enum pare_rc rc = PARE_OK;

	if (t->model == TOKENS_WORDPIECE)
		return wordpiece_normalize(t, s, n, out, invalid, err);
	if (uni_valid(s, n))
		return pipeline_normalize(&t->pipeline, s, n, out, err);
	rc = make_valid(s, n, &valid, invalid, err);
	if (rc == PARE_OK)
		rc = pipeline_normalize(&t->pipeline, valid.p, valid.n, out,
		    err);
	free(valid.p);
	return rc;
}
