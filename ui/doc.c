/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/doc.h"

#include <math.h>

const json_t *
doc_get(const json_t *o, const char *key)
{
	return json_object_get(o, key);
}

const char *
doc_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

double
doc_real(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

int64_t
doc_int(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_real(v))
		return (int64_t)json_real_value(v);
	return json_integer_value(v);
}

bool
doc_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

bool
doc_has(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v != NULL && !json_is_null(v);
}
