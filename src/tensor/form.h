/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * form: the table of storage forms. One row per form, one file per form
 * (form_float.c has the three float rows). A new compression method adds a row
 * here and one in kernel.h, or reuses one; nothing else in the house changes.
 */
#ifndef PARE_TENSOR_FORM_H
#define PARE_TENSOR_FORM_H

#include "tensor/tensor.h"

struct form {
	const char *name;	/* as files and the form column say it */
	const char *text;	/* one sentence for help */
	unsigned parts;		/* bit mask of 1u << enum part_kind it may use */
	bool is_float;		/* F32, F16, BF16 */
	bool is_sparse;		/* BITMAP, INDEX */
	bool is_pair;		/* LOWRANK, SUM, SCALED: made of two tensors */

	/* Bytes part k must have, from the facts alone. */
	int64_t (*part_bytes)(const struct tensor *t, enum part_kind k);
	/* Inside of the parts (row starts, masks, columns); NULL: nothing to
	 * check beyond sizes. PARE_EFORMAT names what is off. */
	enum pare_rc (*check)(const struct tensor *t, struct pare_err *err);
	/*
	 * Value rows: n values of row r at the columns col[0..n) (NULL: 0..n-1),
	 * whose codes are at stream positions pos, pos + 1, ... of PART_DATA
	 * counted in values from `row start`. For full matrices the row start is
	 * where row r begins; for sparse ones it is the beginning of the stream.
	 * NULL for BITMAP, INDEX, BLOCK and pairs.
	 */
	void (*values)(const struct tensor *t, int64_t r, const int32_t *col,
	    int64_t pos, int64_t n, float *out);
	/* Rows [row, row + n) to float32. */
	void (*decode)(const struct tensor *t, int64_t row, int64_t n,
	    float *out);
	/* Rows (axis 0) or columns (axis 1) keep[0..n), ascending, as a tensor of
	 * the same form with the same values; see tensor_select(). */
	struct tensor *(*select)(const struct tensor *t, int axis,
	    const int64_t *keep, int64_t n, struct pare_err *err);
};

extern const struct form form_table[FORM_COUNT];

/* NULL when there is none of that name. */
const struct form *form_find(const char *name, enum form_kind *kind);

#endif
