/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The float forms: F32, F16, BF16, one value after the other.
 */
#include "tensor/form_rows.h"

#include <string.h>

#include "tensor/kernel.h"

/* Where value pos of row r is, in values. */
static int64_t
at(const struct tensor *t, int64_t r, int64_t pos)
{
	return form_table[t->form].is_sparse ? pos : r * t->cols + pos;
}

void
f32_values(const struct tensor *t, int64_t r, const int32_t *col, int64_t pos,
    int64_t n, float *out)
{
	const float *p = t->part[PART_DATA].p;

	if (n > 0)
		memcpy(out, p + at(t, r, pos), (size_t)n * sizeof(float));
}

void
f16_values(const struct tensor *t, int64_t r, const int32_t *col, int64_t pos,
    int64_t n, float *out)
{
	const uint16_t *p = t->part[PART_DATA].p;

	if (n > 0)
		half_to_floats(p + at(t, r, pos), n, out);
}

void
bf16_values(const struct tensor *t, int64_t r, const int32_t *col, int64_t pos,
    int64_t n, float *out)
{
	const uint16_t *p = t->part[PART_DATA].p;

	if (n > 0)
		bfloat_to_floats(p + at(t, r, pos), n, out);
}

/* Full matrices have no gaps between rows, so n rows are one run. */
void
float_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	form_table[t->form].values(t, row, NULL, 0, n * t->cols, out);
}

static void
copy_cols(const char *src, const int64_t *keep, int64_t n, size_t size,
    char *dst)
{
	if (size == sizeof(float)) {
		for (int64_t i = 0; i < n; i++)
			memcpy(dst + 4 * i, src + 4 * keep[i], 4);
	} else {
		for (int64_t i = 0; i < n; i++)
			memcpy(dst + 2 * i, src + 2 * keep[i], 2);
	}
}

struct tensor *
float_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t);
	struct part parts[PART_COUNT] = { 0 };
	size_t size = value_float_size(t->form);
	const char *src = t->part[PART_DATA].p;
	char *dst;

	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.nonzero = -1;
	if (!parts_new(&facts, 1u << PART_DATA, parts, err))
		return NULL;
	dst = part_data(&parts[PART_DATA]);
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (facts.rows > 1 && value_count(&facts) > VALUE_PARALLEL)
	for (int64_t r = 0; r < facts.rows; r++) {
		int64_t from = axis == 0 ? keep[r] : r;
		const char *s = src + (size_t)(from * t->cols) * size;
		char *d = dst + (size_t)(r * facts.cols) * size;

		if (axis == 0)
			memcpy(d, s, (size_t)t->cols * size);
		else
			copy_cols(s, keep, n, size, d);
	}
	return tensor_make(&facts, parts);
}
