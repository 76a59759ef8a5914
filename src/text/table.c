/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows of delimited text. TSV has no quoting: GLUE's files are full of quotes
 * that stand for themselves. CSV is RFC 4180: a quoted field may hold commas,
 * line ends and doubled quotes; a quote inside a field that does not begin with
 * one stands for itself.
 */
#include "text/table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/* ---- opening ---- */

static bool
has_suffix_nocase(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && strcasecmp(s + n - k, suffix) == 0;
}

static bool
first_line_has(const struct table *t, char c)
{
	const char *s = t->data + t->at;
	const char *end = memchr(s, '\n', t->n - t->at);
	size_t n = end != NULL ? (size_t)(end - s) : t->n - t->at;

	return memchr(s, c, n) != NULL;
}

/* The first byte that is no white space, or 0. */
static char
first_byte(const struct table *t)
{
	for (size_t i = t->at; i < t->n; i++)
		if (strchr(" \t\r\n", t->data[i]) == NULL)
			return t->data[i];
	return '\0';
}

static enum table_kind
find_kind(const struct table *t)
{
	char c = first_byte(t);

	if (has_suffix_nocase(t->name, ".tsv"))
		return TABLE_TSV;
	if (has_suffix_nocase(t->name, ".csv"))
		return TABLE_CSV;
	if (has_suffix_nocase(t->name, ".jsonl") ||
	    has_suffix_nocase(t->name, ".ndjson"))
		return TABLE_JSONL;
	if (has_suffix_nocase(t->name, ".json"))
		return c == '[' ? TABLE_JSON : TABLE_JSONL;
	/* Some published tables are called .txt. */
	if (first_line_has(t, '\t'))
		return TABLE_TSV;
	if (has_suffix_nocase(t->name, ".txt"))
		return TABLE_TEXT;
	if (c == '{')
		return TABLE_JSONL;
	return first_line_has(t, ',') ? TABLE_CSV : TABLE_TEXT;
}

static enum pare_rc
refuse_encoding(const struct table *t, struct pare_err *err)
{
	static const struct {
		const char *mark, *name;
		size_t n;
	} marks[] = {
		{ "\xff\xfe\0\0", "UTF-32", 4 },
		{ "\0\0\xfe\xff", "UTF-32", 4 },
		{ "\xff\xfe", "UTF-16", 2 },
		{ "\xfe\xff", "UTF-16", 2 },
		{ "\x1f\x8b", "compressed (gzip)", 2 },
		{ "PK\x03\x04", "a zip archive", 4 },
	};

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (t->n >= marks[i].n &&
		    memcmp(t->data, marks[i].mark, marks[i].n) == 0) {
			err_set(err, PARE_EFORMAT, "%s: the file is %s, not "
			    "UTF-8 text", t->name, marks[i].name);
			err_hint(err, "convert it to UTF-8 text first");
			return PARE_EFORMAT;
		}
	return PARE_OK;
}

enum pare_rc
table_open(struct table *t, const char *name, const char *data, size_t n,
    struct pare_err *err)
{
	memset(t, 0, sizeof(*t));
	t->name = name;
	t->data = data;
	t->n = n;
	if (refuse_encoding(t, err) != PARE_OK)
		return PARE_EFORMAT;
	if (n >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
		t->at = 3;
	t->kind = find_kind(t);
	t->delimiter = ',';
	if (!first_line_has(t, ','))
		t->delimiter = first_line_has(t, ';') ? ';'
		    : first_line_has(t, '\t') ? '\t' : ',';
	if (t->kind == TABLE_JSONL || t->kind == TABLE_JSON)
		return table_json_open(t, err);
	return PARE_OK;
}

void
table_close(struct table *t)
{
	for (int i = 0; i < t->keys; i++)
		free(t->key[i]);
	free(t->key);
	json_decref(t->array);
	memset(t, 0, sizeof(*t));
}

void
table_row_free(struct table_row *row)
{
	free(row->text.p);
	memset(&row->text, 0, sizeof(row->text));
}

/* ---- rows ---- */

bool
table_line(struct table *t, const char **s, size_t *n)
{
	const char *end;

	if (t->at >= t->n)
		return false;
	*s = t->data + t->at;
	end = memchr(*s, '\n', t->n - t->at);
	*n = end != NULL ? (size_t)(end - *s) : t->n - t->at;
	t->at += *n + (end != NULL);
	t->line++;
	if (*n > 0 && (*s)[*n - 1] == '\r')
		--*n;
	return true;
}

static void
add_cell(struct table_row *row, const char *s, size_t n)
{
	if (row->n < TABLE_COLUMNS)
		row->cell[row->n++] = (struct table_cell){ s, n, 0 };
}

static bool
is_blank(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strchr(" \t\r\n\v\f", s[i]) == NULL || s[i] == '\0')
			return false;
	return true;
}

static bool
next_line_row(struct table *t, struct table_row *row)
{
	const char *s;
	size_t n;

	do
		if (!table_line(t, &s, &n))
			return false;
	while (is_blank(s, n));
	row->line = t->line;
	while (t->kind == TABLE_TSV && row->n < TABLE_COLUMNS) {
		const char *tab = memchr(s, '\t', n);

		if (tab == NULL)
			break;
		add_cell(row, s, (size_t)(tab - s));
		n -= (size_t)(tab - s) + 1;
		s = tab + 1;
	}
	add_cell(row, s, n);
	return true;
}

/* The rest of a quoted field, its first quote already passed. Bytes are copied
 * to row->text, for which there is room. */
static enum pare_rc
csv_quoted(struct table *t, struct table_row *row, int64_t *line,
    struct pare_err *err)
{
	int64_t start = *line;

	while (t->at < t->n) {
		char c = t->data[t->at++];

		if (c == '"') {
			if (t->at == t->n || t->data[t->at] != '"')
				return PARE_OK;
			t->at++;
		}
		*line += c == '\n';
		if (uni_reserve(&row->text, 1, err) != PARE_OK)
			return PARE_ENOMEM;
		row->text.p[row->text.n++] = c;
	}
	return err_set(err, PARE_EFORMAT,
	    "%s:%lld: a quoted field begins here and is never closed", t->name,
	    (long long)start);
}

/* One field up to its delimiter or the end of the line; *last tells which. */
static enum pare_rc
csv_field(struct table *t, struct table_row *row, int64_t *line, bool *last,
    struct pare_err *err)
{
	size_t offset = row->text.n;

	if (t->at < t->n && t->data[t->at] == '"') {
		enum pare_rc rc;

		t->at++;
		rc = csv_quoted(t, row, line, err);
		if (rc != PARE_OK)
			return rc;
	}
	*last = true;
	while (t->at < t->n) {
		char c = t->data[t->at++];

		if (c == t->delimiter)
			*last = false;
		if (c == t->delimiter || c == '\n')
			break;
		if (c == '\r' && (t->at == t->n || t->data[t->at] == '\n'))
			continue;
		if (uni_reserve(&row->text, 1, err) != PARE_OK)
			return PARE_ENOMEM;
		row->text.p[row->text.n++] = c;
	}
	if (row->n < TABLE_COLUMNS)
		row->cell[row->n++] = (struct table_cell){ NULL,
			row->text.n - offset, offset };
	return PARE_OK;
}

static enum pare_rc
next_csv_row(struct table *t, struct table_row *row, bool *more,
    struct pare_err *err)
{
	int64_t line = t->line + 1;
	bool last = false;

	/* Blank lines between records. */
	while (t->at < t->n && (t->data[t->at] == '\n' ||
	    (t->data[t->at] == '\r' && t->at + 1 < t->n &&
	    t->data[t->at + 1] == '\n'))) {
		t->at += t->data[t->at] == '\r' ? 2 : 1;
		line++;
	}
	*more = t->at < t->n;
	row->line = line;
	while (*more && !last) {
		enum pare_rc rc = csv_field(t, row, &line, &last, err);

		if (rc != PARE_OK)
			return rc;
	}
	t->line = line;
	for (int i = 0; i < row->n; i++)
		row->cell[i].s = row->text.p != NULL
		    ? row->text.p + row->cell[i].offset : "";
	return PARE_OK;
}

enum pare_rc
table_next(struct table *t, struct table_row *row, bool *more,
    struct pare_err *err)
{
	row->n = 0;
	row->text.n = 0;
	switch (t->kind) {
	case TABLE_CSV:
		return next_csv_row(t, row, more, err);
	case TABLE_JSONL:
	case TABLE_JSON:
		return table_json_next(t, row, more, err);
	default:
		*more = next_line_row(t, row);
		return PARE_OK;
	}
}

enum pare_rc
table_clean(const char *s, size_t n, struct uni_bytes *out, int64_t *bad,
    struct pare_err *err)
{
	for (size_t i = 0; i < n;) {
		int32_t cp;
		size_t k = uni_decode(s + i, n - i, &cp);

		if (uni_reserve(out, 4, err) != PARE_OK)
			return PARE_ENOMEM;
		if (cp <= 0) {
			*bad += (int64_t)k;
			cp = UNI_REPLACEMENT;
		}
		out->n += uni_encode(cp, out->p + out->n);
		i += k;
	}
	return PARE_OK;
}
