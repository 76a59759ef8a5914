/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * table: rows of cells from TSV, CSV, JSONL, JSON and plain text, for
 * dataset.c.
 */
#ifndef PARE_TEXT_TABLE_H
#define PARE_TEXT_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/unicode.h"

enum table_kind {
	TABLE_TSV,	/* tabs, and quotes mean nothing */
	TABLE_CSV,	/* RFC 4180 */
	TABLE_JSONL,	/* one object per line */
	TABLE_JSON,	/* an array of objects */
	TABLE_TEXT	/* one cell per line */
};

/* Cells after this one are not read. */
enum { TABLE_COLUMNS = 1024 };

struct table_cell {
	const char *s;	/* not terminated; NULL: missing */
	size_t n, offset;
};

struct table_row {
	struct table_cell cell[TABLE_COLUMNS];
	int n;
	int64_t line;		/* where it begins, from 1 */
	struct uni_bytes text;	/* what cells that are copies point into */
};

/* A reader may be copied to come back to a place; the copy is not closed. */
struct table {
	enum table_kind kind;
	const char *name, *data;
	size_t n, at;
	int64_t line;
	char delimiter;		/* of TABLE_CSV */
	/* JSON: the keys of the first object are the columns. */
	char **key;		/* owned */
	int keys;
	json_t *array;
	size_t index;
	int64_t bad_bytes;	/* replaced so that JSON could be read */
};

/* Finds the kind by the name, else by the first line. name and data must
 * outlive the table. */
enum pare_rc table_open(struct table *t, const char *name, const char *data,
    size_t n, struct pare_err *err);
void table_close(struct table *t);

/* The next row that is not blank; *more is false at the end. */
enum pare_rc table_next(struct table *t, struct table_row *row, bool *more,
    struct pare_err *err);
void table_row_free(struct table_row *row);

/* Appends s to out with U+FFFD for what is no UTF-8 and for NUL; *bad grows by
 * how many bytes that were. */
enum pare_rc table_clean(const char *s, size_t n, struct uni_bytes *out,
    int64_t *bad, struct pare_err *err);

/* ---- between the files of the table ---- */

enum pare_rc table_json_open(struct table *t, struct pare_err *err);
enum pare_rc table_json_next(struct table *t, struct table_row *row,
    bool *more, struct pare_err *err);
/* The next line without its end; false at the end of the data. */
bool table_line(struct table *t, const char **s, size_t *n);

#endif
