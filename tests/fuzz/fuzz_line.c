/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A command line: words, then arguments against a table of every type. What was
 * split must come back from its quoted words. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arg.h"
#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const methods[] = { "magnitude", "random", NULL };

static const struct arg_spec specs[] = {
	{ "which", ARG_CHOICE, ARG_WORD, 0, 0, NULL, methods, NULL, "a" },
	{ "amount", ARG_AMOUNT, ARG_WORD, 0, 0, NULL, NULL, NULL, "b" },
	{ "bits", ARG_INT, 0, 1, 16, "8", NULL, "bits", "c" },
	{ "energy", ARG_REAL, 0, 0, 1, NULL, NULL, NULL, "d" },
	{ "dry", ARG_BOOL, 0, 0, 0, "off", NULL, NULL, "e" },
	{ "text", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL, "f" },
	{ "out", ARG_FILE, 0, 0, 0, NULL, NULL, NULL, "g" },
	{ "state", ARG_STATE, ARG_HIDDEN, 0, 0, NULL, NULL, NULL, "h" },
	{ "target", ARG_TARGET, ARG_WORD | ARG_REPEAT, 0, 0, "all", NULL,
	    NULL, "i" },
	{ NULL, ARG_INT, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static void
check_quotes(const struct arg_words *w)
{
	struct pare_err err;
	struct arg_words again;
	struct str b = STR_INIT;

	for (int i = 0; i < w->n; i++) {
		char *q = arg_quote(w->word[i]);

		str_addf(&b, " %s", q);
		free(q);
	}
	/* Quotes may make a line too long, which is no fault. */
	if (arg_split(b.s, &again, &err) == PARE_OK) {
		if (again.n != w->n)
			abort();
		for (int i = 0; i < w->n; i++)
			if (strcmp(again.word[i], w->word[i]) != 0)
				abort();
		arg_words_free(&again);
	}
	str_free(&b);
}

static void
check_values(const struct arg_list *a)
{
	const struct arg_value *v = arg_get(a, "amount");

	if (arg_int(a, "bits") < 1 || arg_int(a, "bits") > 16)
		abort();
	if (!isfinite(arg_real(a, "energy")) || arg_real(a, "energy") < 0 ||
	    arg_real(a, "energy") > 1)
		abort();
	if (v->has && (arg_amount(v, 100) < 0 || arg_amount(v, 100) > 100))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *line = xstrndup((const char *)data, n);
	struct pare_err err = { 0 };
	struct arg_words w;
	struct arg_list a;

	if (arg_split(line, &w, &err) == PARE_OK) {
		check_quotes(&w);
		if (arg_parse(specs, &w, 0, &a, &err) == PARE_OK) {
			check_values(&a);
			arg_list_free(&a);
		} else if (err.msg[0] == '\0') {
			abort();
		}
		arg_words_free(&w);
	}
	free(line);
	return 0;
}
