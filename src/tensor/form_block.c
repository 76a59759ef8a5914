/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * BLOCK: rows of GGUF's blocks, kept as they are in the file. Rows can be taken
 * singly; columns only as whole blocks, for the values of a block share scales.
 */
#include <string.h>

#include "tensor/block.h"
#include "tensor/form_rows.h"

static int64_t
row_bytes(const struct tensor *t)
{
	const struct block_facts *f = &block_table[t->code.block];

	return value_mul(t->cols / f->values, f->bytes);
}

int64_t
block_part_bytes(const struct tensor *t, enum part_kind k)
{
	return k == PART_DATA ? value_mul(t->rows, row_bytes(t)) : 0;
}

void
block_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	const struct block_facts *f = &block_table[t->code.block];
	const uint8_t *p = t->part[PART_DATA].p;
	const int64_t blocks = n * (t->cols / f->values);

	p += row * row_bytes(t);
	for (int64_t i = 0; i < blocks; i++)
		f->decode(p + i * f->bytes, out + i * f->values);
}

bool
block_check_cols(const struct tensor *t, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	const struct block_facts *f = &block_table[t->code.block];
	bool whole = n % f->values == 0;

	for (int64_t i = 0; whole && i < n; i++)
		whole = keep[i] - keep[i - i % f->values] == i % f->values &&
		    keep[i - i % f->values] % f->values == 0;
	if (whole)
		return true;
	err_set(err, PARE_EUSER, "%s holds columns in blocks of %d, and this "
	    "would cut some of them", f->name, f->values);
	err_hint(err, "make them floats before: quantize all bits=16 float=f16");
	return false;
}

static void
copy_blocks(const struct tensor *t, const int64_t *keep, int64_t n,
    const uint8_t *row, uint8_t *out)
{
	const struct block_facts *f = &block_table[t->code.block];

	for (int64_t i = 0; i < n; i += f->values, out += f->bytes)
		memcpy(out, row + keep[i] / f->values * f->bytes,
		    (size_t)f->bytes);
}

struct tensor *
block_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	const uint8_t *p = t->part[PART_DATA].p;
	const int64_t from = row_bytes(t);
	struct part parts[PART_COUNT] = { 0 };
	struct tensor facts = tensor_facts(t);
	uint8_t *out;

	if (axis == 1 && !block_check_cols(t, keep, n, err))
		return NULL;
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.nonzero = -1;
	if (!parts_new(&facts, 1u << PART_DATA, parts, err))
		return NULL;
	out = part_data(&parts[PART_DATA]);
	for (int64_t r = 0; r < facts.rows; r++) {
		const uint8_t *row = p + (axis == 0 ? keep[r] : r) * from;

		if (axis == 0)
			memcpy(out + r * from, row, (size_t)from);
		else
			copy_blocks(t, keep, n, row, out + r *
			    row_bytes(&facts));
	}
	return tensor_make(&facts, parts);
}
