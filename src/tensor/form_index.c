/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * INDEX: a column number with each value, two bytes where that is enough, and
 * where each row starts.
 */
#include "tensor/form_rows.h"

static bool
is_narrow(const struct tensor *t)
{
	return t->cols <= 65536;
}

/* Columns of the values i0, i0 + 1, ... of the stream. */
void
index_cols(const struct tensor *t, int64_t i0, int64_t n, int32_t *col)
{
	const uint16_t *narrow = t->part[PART_COLS].p;
	const uint32_t *wide = t->part[PART_COLS].p;

	if (is_narrow(t))
		for (int64_t i = 0; i < n; i++)
			col[i] = narrow[i0 + i];
	else
		for (int64_t i = 0; i < n; i++)
			col[i] = (int32_t)wide[i0 + i];
}

int64_t
index_row(const struct tensor *t, int64_t r, int32_t *col)
{
	int64_t i0 = sparse_start(t, r), n = sparse_start(t, r + 1) - i0;

	index_cols(t, i0, n, col);
	return n;
}

/* Writes the columns of the row that starts at value i0. */
void
index_put(const struct tensor *facts, int64_t i0, const int32_t *col,
    int64_t n, void *cols)
{
	uint16_t *narrow = cols;
	uint32_t *wide = cols;

	if (is_narrow(facts))
		for (int64_t i = 0; i < n; i++)
			narrow[i0 + i] = (uint16_t)col[i];
	else
		for (int64_t i = 0; i < n; i++)
			wide[i0 + i] = (uint32_t)col[i];
}

enum pare_rc
index_check(const struct tensor *t, struct pare_err *err)
{
	const uint16_t *narrow = t->part[PART_COLS].p;
	const uint32_t *wide = t->part[PART_COLS].p;

	if (sparse_check_rows(t, err) != PARE_OK)
		return PARE_EFORMAT;
	for (int64_t r = 0; r < t->rows; r++) {
		int64_t last = -1, end = sparse_start(t, r + 1);

		for (int64_t i = sparse_start(t, r); i < end; i++) {
			int64_t c = is_narrow(t) ? (int64_t)narrow[i] :
			    (int64_t)wide[i];

			if (c <= last || c >= t->cols)
				return err_set(err, PARE_EFORMAT, "column %lld "
				    "in row %lld of an index of %lld columns "
				    "is out of order or range", (long long)c,
				    (long long)r, (long long)t->cols);
			last = c;
		}
	}
	return PARE_OK;
}
