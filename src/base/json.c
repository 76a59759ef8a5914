/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

json_t *
json_parse(const char *text, size_t n, unsigned flags, const char *where,
    struct pare_err *err)
{
	json_error_t e;
	json_t *v;

	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		n -= 3;
	}
	v = json_loadb(text, n,
	    (flags & JSON_UNIQUE) != 0 ? JSON_REJECT_DUPLICATES : 0, &e);
	if (v == NULL)
		err_set(err, PARE_EFORMAT, "%s: %d:%d: not valid JSON: %s",
		    where, e.line, e.column, e.text);
	return v;
}

json_t *
json_read(const char *path, int64_t max, unsigned flags, struct pare_err *err)
{
	char *text;
	size_t n;
	json_t *v;

	if (io_read(path, max, &text, &n, err) != PARE_OK)
		return NULL;
	v = json_parse(text, n, flags, path, err);
	free(text);
	return v;
}

static enum pare_rc
wrong_type(const json_t *v, const char *key, const char *want,
    const char *where, struct pare_err *err)
{
	static const char *const names[] = { "an object", "an array",
		"a string", "an integer", "a real number", "true", "false",
		"null" };

	return err_set(err, PARE_EFORMAT, "%s: %s is %s; expected %s", where,
	    key, names[json_typeof(v)], want);
}

enum pare_rc
json_int(const json_t *o, const char *key, int64_t min, int64_t max,
    int64_t dflt, int64_t *out, const char *where, struct pare_err *err)
{
	const json_t *v = json_object_get(o, key);
	double d;

	if (v == NULL || json_is_null(v)) {
		*out = dflt;
		return PARE_OK;
	}
	if (!json_is_number(v))
		return wrong_type(v, key, "an integer", where, err);
	d = json_number_value(v);
	if (json_is_real(v) && d != floor(d))
		return err_set(err, PARE_EFORMAT,
		    "%s: %s is %g; expected an integer", where, key, d);
	if (d < (double)min || d > (double)max)
		return err_set(err, PARE_EFORMAT,
		    "%s: %s is %.15g; expected %lld to %lld", where, key, d,
		    (long long)min, (long long)max);
	*out = json_is_integer(v) ? json_integer_value(v) : (int64_t)d;
	return PARE_OK;
}

enum pare_rc
json_real_of(const json_t *o, const char *key, double min, double max,
    double dflt, double *out, const char *where, struct pare_err *err)
{
	const json_t *v = json_object_get(o, key);
	double d;

	if (v == NULL || json_is_null(v)) {
		*out = dflt;
		return PARE_OK;
	}
	if (!json_is_number(v))
		return wrong_type(v, key, "a number", where, err);
	d = json_number_value(v);
	if (!(d >= min && d <= max))
		return err_set(err, PARE_EFORMAT,
		    "%s: %s is %g; expected %g to %g", where, key, d, min, max);
	*out = d;
	return PARE_OK;
}

enum pare_rc
json_bool_of(const json_t *o, const char *key, bool dflt, bool *out,
    const char *where, struct pare_err *err)
{
	const json_t *v = json_object_get(o, key);

	if (v != NULL && !json_is_null(v) && !json_is_boolean(v))
		return wrong_type(v, key, "true or false", where, err);
	*out = json_is_boolean(v) ? json_is_true(v) : dflt;
	return PARE_OK;
}

enum pare_rc
json_text(const json_t *o, const char *key, const char *dflt,
    const char **out, const char *where, struct pare_err *err)
{
	const json_t *v = json_object_get(o, key);

	if (v != NULL && !json_is_null(v) && !json_is_string(v))
		return wrong_type(v, key, "a string", where, err);
	*out = json_is_string(v) ? json_string_value(v) : dflt;
	return PARE_OK;
}

char *
json_text_of(const json_t *v)
{
	return json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY |
	    JSON_REAL_PRECISION(17));
}
