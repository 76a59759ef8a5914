/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TABLE: codes of 1 to 8 bits into a table of 2^bits values per group; and what
 * both forms of codes share.
 */
#include "tensor/form_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

static void
look_up_runs(const struct tensor *t, int64_t r, const int32_t *col, int64_t c0,
    const uint8_t *code, int64_t n, float *out)
{
	const float *table = t->part[PART_TABLE].p;
	int64_t width = value_group_cols(t), size = INT64_C(1) << t->code.bits;

	for (int64_t i = 0, e; i < n; i = e) {
		int64_t c = col != NULL ? col[i] : c0 + i;
		int64_t end = (c / width + 1) * width;

		if (col == NULL || width == t->cols)
			e = col != NULL || end - c0 > n ? n : end - c0;
		else
			for (e = i + 1; e < n && col[e] < end;)
				e++;
		code_table_floats(table + value_group_of(t, r, c) * size,
		    t->code.bits, code + i, e - i, out + i);
	}
}

void
table_values(const struct tensor *t, int64_t r, const int32_t *col,
    int64_t pos, int64_t n, float *out)
{
	uint8_t code[VALUE_CHUNK];

	for (int64_t i = 0; i < n; i += VALUE_CHUNK) {
		int64_t m = n - i < VALUE_CHUNK ? n - i : VALUE_CHUNK;

		value_codes(t, r, pos + i, m, code);
		look_up_runs(t, r, col != NULL ? col + i : NULL, pos + i,
		    code, m, out + i);
	}
}

void
code_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	const struct form *f = &form_table[t->form];

	for (int64_t r = 0; r < n; r++)
		f->values(t, row + r, NULL, 0, t->cols, out + r * t->cols);
}

/* ---- select ---- */

/* Columns keep[0..n) are whole groups. */
static bool
whole_groups(const int64_t *keep, int64_t n, int64_t group)
{
	if (n % group != 0)
		return false;
	for (int64_t i = 0; i < n; i += group)
		if (keep[i] % group != 0 ||
		    keep[i + group - 1] != keep[i] + group - 1)
			return false;
	return true;
}

bool
code_select_group(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n, int64_t *group, struct pare_err *err)
{
	*group = t->code.group;
	if (!value_is_code(t->values) || axis == 0 || t->code.group == 0)
		return true;
	if (t->code.group == t->cols) {
		*group = n;
		return true;
	}
	if (keep == NULL || whole_groups(keep, n, t->code.group))
		return true;
	err_set(err, PARE_EUSER, "columns of a matrix of %lld x %lld would be "
	    "cut inside groups of %lld that share a scale",
	    (long long)t->rows, (long long)t->cols,
	    (long long)t->code.group);
	err_hint(err, "undo, prune first, then quantize");
	return false;
}

/* Entries of size bytes for each group of the result. */
static void
copy_groups(const struct tensor *t, const struct tensor *facts, int axis,
    const int64_t *keep, const char *src, size_t size, char *dst)
{
	int64_t per = facts->cols / facts->code.group;
	int64_t old = t->cols / t->code.group;

	for (int64_t r = 0; r < facts->rows; r++) {
		int64_t from = (axis == 0 ? keep[r] : r) * old;

		for (int64_t g = 0; g < per; g++) {
			int64_t o = axis == 0 || old == 1 ? g :
			    keep[g * facts->code.group] / t->code.group;

			memcpy(dst + (size_t)(r * per + g) * size,
			    src + (size_t)(from + o) * size, size);
		}
	}
}

bool
code_select_groups(const struct tensor *t, const struct tensor *facts,
    int axis, const int64_t *keep, struct part parts[PART_COUNT],
    struct pare_err *err)
{
	static const enum part_kind kind[] = { PART_SCALE, PART_MIN,
		PART_TABLE };
	const unsigned which = 1u << PART_SCALE | 1u << PART_MIN |
	    1u << PART_TABLE;
	size_t table = sizeof(float) << t->code.bits;

	if (t->code.group == 0) {
		for (int i = 0; i < 3; i++)
			parts[kind[i]] = part_ref(&t->part[kind[i]]);
		return true;
	}
	if (!parts_new(facts, which, parts, err))
		return false;
	for (int i = 0; i < 3; i++)
		if (parts[kind[i]].blob != NULL)
			copy_groups(t, facts, axis, keep, t->part[kind[i]].p,
			    kind[i] == PART_TABLE ? table : sizeof(uint16_t),
			    part_data(&parts[kind[i]]));
	return true;
}

/* Codes of columns keep[0..n) of row r, packed to dst. */
static void
gather_codes(const struct tensor *t, int64_t r, const int64_t *keep, int64_t n,
    uint8_t *row, uint8_t *dst)
{
	value_codes(t, r, 0, t->cols, row);
	for (int64_t i = 0; i < n; i++)
		row[i] = row[keep[i]];
	code_pack(row, n, t->code.bits, dst);
}

static bool
select_codes(const struct tensor *t, const struct tensor *facts, int axis,
    const int64_t *keep, uint8_t *dst, struct pare_err *err)
{
	int64_t bytes = value_row_bytes(facts);
	const uint8_t *src = t->part[PART_DATA].p;
	int threads = kernel_threads();
	uint8_t *rows = NULL;

	if (axis == 1) {
		rows = mem_big((size_t)threads, (size_t)t->cols, err);
		if (rows == NULL)
			return false;
	}
#pragma omp parallel num_threads(threads) \
    if (value_count(facts) > VALUE_PARALLEL)
	{
		uint8_t *row = rows != NULL ?
		    rows + kernel_thread() * t->cols : NULL;

#pragma omp for schedule(static)
		for (int64_t r = 0; r < facts->rows; r++) {
			if (axis == 0)
				memcpy(dst + r * bytes, src + keep[r] * bytes,
				    (size_t)bytes);
			else
				gather_codes(t, r, keep, facts->cols, row,
				    dst + r * bytes);
		}
	}
	free(rows);
	return true;
}

struct tensor *
code_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t);
	struct part parts[PART_COUNT] = { 0 };

	if (!code_select_group(t, axis, keep, n, &facts.code.group, err))
		return NULL;
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.nonzero = value_share(tensor_nonzero(t), value_count(&facts),
	    value_count(t));
	if (!parts_new(&facts, 1u << PART_DATA, parts, err))
		return NULL;
	if (!select_codes(t, &facts, axis, keep,
	    part_data(&parts[PART_DATA]), err) ||
	    !code_select_groups(t, &facts, axis, keep, parts, err)) {
		parts_free(parts);
		return NULL;
	}
	return tensor_make(&facts, parts);
}
