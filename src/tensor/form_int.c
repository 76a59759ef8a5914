/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * INT: codes of 1 to 8 bits with a scale per group. Symmetric codes stand for
 * step * (code - 2^(bits-1)), one bit for -step and +step; affine ones for
 * min + step * code.
 */
#include "tensor/form_rows.h"

void
value_scale(const struct tensor *t, int64_t g, float *step, float *min)
{
	const uint16_t *scale = t->part[PART_SCALE].p;
	const uint16_t *low = t->part[PART_MIN].p;

	*step = half_to_float(scale[g]) * t->code.mult;
	*min = low != NULL ? half_to_float(low[g]) * t->code.mult : 0.0f;
}

VALUE_SIMD static void
scale_symmetric(const uint8_t *code, int64_t n, int times, int minus,
    float step, float *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		out[i] = step * (float)(code[i] * times - minus);
}

VALUE_SIMD static void
scale_affine(const uint8_t *code, int64_t n, float step, float min, float *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		out[i] = min + step * (float)code[i];
}

static void
scale_group(const struct tensor *t, int64_t g, const uint8_t *code, int64_t n,
    float *out)
{
	int bits = t->code.bits;
	float step, min;

	value_scale(t, g, &step, &min);
	if (t->code.scheme == CODE_AFFINE)
		scale_affine(code, n, step, min, out);
	else
		scale_symmetric(code, n, bits == 1 ? 2 : 1,
		    1 << (bits - 1), step, out);
}

/* Runs of one group among n codes of a sparse row; see struct form. */
static void
scale_runs(const struct tensor *t, int64_t r, const int32_t *col,
    const uint8_t *code, int64_t n, float *out)
{
	int64_t width = value_group_cols(t);

	for (int64_t i = 0, e; i < n; i = e) {
		int64_t end = (col[i] / width + 1) * width;

		if (width == t->cols)
			e = n;
		else
			for (e = i + 1; e < n && col[e] < end;)
				e++;
		scale_group(t, value_group_of(t, r, col[i]), code + i, e - i,
		    out + i);
	}
}

/* The values of columns [c0, c0 + n) of a full row, n at most VALUE_CHUNK. */
static void
line_values(const struct tensor *t, int64_t r, int64_t c0, const uint8_t *code,
    int64_t n, float *out)
{
	const uint16_t *scale = t->part[PART_SCALE].p;
	const uint16_t *low = t->part[PART_MIN].p;
	bool affine = t->code.scheme == CODE_AFFINE;
	int64_t width = value_group_cols(t), g = value_group_of(t, r, c0);
	int64_t groups = value_group_of(t, r, c0 + n - 1) - g + 1;
	float step[VALUE_CHUNK], base[VALUE_CHUNK];
	struct code_line l = { step, affine ? base : NULL, width, c0 % width,
		t->code.bits == 1 && !affine ? 2 : 1,
		affine ? 0 : 1 << (t->code.bits - 1) };

	half_to_floats(scale + g, groups, step);
	for (int64_t i = 0; i < groups; i++)
		step[i] *= t->code.mult;
	if (affine)
		half_to_floats(low + g, groups, base);
	for (int64_t i = 0; affine && i < groups; i++)
		base[i] *= t->code.mult;
	code_line_floats(&l, code, n, out);
}

void
int_values(const struct tensor *t, int64_t r, const int32_t *col, int64_t pos,
    int64_t n, float *out)
{
	uint8_t code[VALUE_CHUNK];

	for (int64_t i = 0; i < n; i += VALUE_CHUNK) {
		int64_t m = n - i < VALUE_CHUNK ? n - i : VALUE_CHUNK;

		value_codes(t, r, pos + i, m, code);
		if (col == NULL)
			line_values(t, r, pos + i, code, m, out + i);
		else
			scale_runs(t, r, col + i, code, m, out + i);
	}
}
