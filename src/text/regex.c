/* SPDX-License-Identifier: GPL-3.0-or-later */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/pipeline.h"

enum {
	PATTERN_MAX = 16384,
	MATCH_LIMIT = 10000000,	/* steps of one match */
	HEAP_KIB = 65536
};

struct regex {
	pcre2_code *code;
};

struct regex *
regex_new(const char *pattern, bool literal, const char *where,
    struct pare_err *err)
{
	/* \C could cut a character in two. */
	uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP |
	    PCRE2_NEVER_BACKSLASH_C);
	struct regex *r;
	PCRE2_UCHAR why[128];
	pcre2_code *code;
	PCRE2_SIZE at;
	int number;

	if (strlen(pattern) > PATTERN_MAX) {
		err_set(err, PARE_EFORMAT, "%s: a pattern of %zu bytes; at "
		    "most %d are allowed", where, strlen(pattern),
		    PATTERN_MAX);
		return NULL;
	}
	code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	    options, &number, &at, NULL);
	if (code == NULL) {
		pcre2_get_error_message(number, why, sizeof(why));
		err_set(err, PARE_EFORMAT, "%s: the pattern '%.60s' does not "
		    "compile: %s at byte %zu", where, pattern, (char *)why,
		    (size_t)at);
		return NULL;
	}
	/* Without it everything works, slower. */
	(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
	r = xcalloc(1, sizeof(*r));
	r->code = code;
	return r;
}

void
regex_free(struct regex *r)
{
	if (r != NULL)
		pcre2_code_free(r->code);
	free(r);
}

/* What matching needs; one a thread, kept, for making it costs more than a
 * match. */
static _Thread_local struct {
	pcre2_match_context *context;
	pcre2_match_data *data;
} match_state;

static bool
make_state(void)
{
	if (match_state.data != NULL)
		return true;
	match_state.context = pcre2_match_context_create(NULL);
	match_state.data = pcre2_match_data_create(1, NULL);
	if (match_state.context == NULL || match_state.data == NULL)
		return false;
	pcre2_set_match_limit(match_state.context, MATCH_LIMIT);
	pcre2_set_heap_limit(match_state.context, HEAP_KIB);
	return true;
}

int
regex_find(const struct regex *r, const char *s, size_t n, size_t from,
    size_t *begin, size_t *end)
{
	const PCRE2_SIZE *range;
	int found;

	if (!make_state())
		return -1;
	found = pcre2_match(r->code, (PCRE2_SPTR)s, n, from,
	    PCRE2_NO_UTF_CHECK, match_state.data, match_state.context);
	if (found == PCRE2_ERROR_NOMATCH)
		return 0;
	if (found < 0)
		return -1;
	range = pcre2_get_ovector_pointer(match_state.data);
	/* \K in a look-ahead can put the end before the beginning. */
	if (range[0] > range[1] || range[0] < from)
		return -1;
	*begin = range[0];
	*end = range[1];
	return 1;
}
