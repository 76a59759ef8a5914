/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows from JSON objects: one per line, or an array of them. The keys of the
 * first object name the columns; every cell becomes text, as a TSV file would
 * have it.
 */
#include "text/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Parses what is UTF-8 or made so; NULL with *err. */
static json_t *
parse(struct table *t, const char *s, size_t n, int64_t line,
    struct pare_err *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
	struct uni_bytes clean = { 0 };
	json_error_t e;
	json_t *v;

	if (!uni_valid(s, n)) {
		if (table_clean(s, n, &clean, &t->bad_bytes, err) != PARE_OK) {
			free(clean.p);
			return NULL;
		}
		s = clean.p;
		n = clean.n;
	}
	v = json_loadb(s, n, flags, &e);
	free(clean.p);
	if (v == NULL)
		err_set(err, PARE_EFORMAT, "%s:%lld: not valid JSON: %s",
		    t->name, (long long)(line + (e.line > 0 ? e.line - 1 : 0)),
		    e.text);
	return v;
}

static bool
is_blank(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
			return false;
	return true;
}

/* The next object, a new reference; NULL at the end (*more false) and on
 * error. */
static json_t *
next_object(struct table *t, int64_t *line, bool *more, struct pare_err *err)
{
	json_t *o = NULL;
	const char *s;
	size_t n;

	*more = false;
	if (t->kind == TABLE_JSON) {
		if (t->index >= json_array_size(t->array))
			return NULL;
		o = json_incref(json_array_get(t->array, t->index++));
		*line = (int64_t)t->index;
	} else {
		do
			if (!table_line(t, &s, &n))
				return NULL;
		while (is_blank(s, n));
		*line = t->line;
		o = parse(t, s, n, t->line, err);
	}
	*more = true;
	if (o != NULL && !json_is_object(o)) {
		err_set(err, PARE_EFORMAT, "%s:%lld: expected a JSON object",
		    t->name, (long long)*line);
		json_decref(o);
		return NULL;
	}
	return o;
}

enum pare_rc
table_json_open(struct table *t, struct pare_err *err)
{
	struct table start;
	const char *key;
	json_t *o, *v;
	int64_t line;
	bool more;

	if (t->kind == TABLE_JSON) {
		t->array = parse(t, t->data + t->at, t->n - t->at, 1, err);
		if (t->array == NULL)
			return PARE_EFORMAT;
	}
	start = *t;
	o = next_object(&start, &line, &more, err);
	if (o == NULL && !more)
		return PARE_OK;
	if (o == NULL) {
		table_close(t);
		return err != NULL ? err->rc : PARE_EFORMAT;
	}
	t->key = xcalloc(json_object_size(o) + 1, sizeof(*t->key));
	json_object_foreach(o, key, v)
		if (t->keys < TABLE_COLUMNS)
			t->key[t->keys++] = xstrdup(key);
	json_decref(o);
	return PARE_OK;
}

/* Appends the value as text; false where a cell cannot hold it. */
static bool
add_value(const json_t *v, struct table_row *row, struct pare_err *err,
    enum pare_rc *rc)
{
	char number[40];
	const char *s = number;
	size_t n;

	switch (v != NULL ? json_typeof(v) : JSON_NULL) {
	case JSON_STRING:
		s = json_string_value(v);
		break;
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
		    json_integer_value(v));
		break;
	case JSON_REAL:
		snprintf(number, sizeof(number), "%.15g", json_real_value(v));
		if (strtod(number, NULL) != json_real_value(v))
			snprintf(number, sizeof(number), "%.17g",
			    json_real_value(v));
		break;
	case JSON_TRUE:
		s = "true";
		break;
	case JSON_FALSE:
		s = "false";
		break;
	default:
		return false;
	}
	n = json_is_string(v) ? json_string_length(v) : strlen(s);
	*rc = uni_reserve(&row->text, n + 1, err);
	if (*rc != PARE_OK)
		return false;
	memcpy(row->text.p + row->text.n, s, n);
	row->text.n += n;
	return true;
}

enum pare_rc
table_json_next(struct table *t, struct table_row *row, bool *more,
    struct pare_err *err)
{
	json_t *o = next_object(t, &row->line, more, err);
	enum pare_rc rc = PARE_OK;

	if (o == NULL && *more)
		return err != NULL ? err->rc : PARE_EFORMAT;
	if (o == NULL)
		return PARE_OK;
	for (int i = 0; i < t->keys && rc == PARE_OK; i++) {
		size_t offset = row->text.n;
		bool there = add_value(json_object_get(o, t->key[i]), row,
		    err, &rc);

		row->cell[row->n++] = (struct table_cell){ there ? "" : NULL,
			row->text.n - offset, offset };
	}
	for (int i = 0; i < row->n; i++)
		if (row->cell[i].s != NULL)
			row->cell[i].s = row->text.p + row->cell[i].offset;
	json_decref(o);
	return rc;
}
