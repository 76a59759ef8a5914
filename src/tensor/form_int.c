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

/* Runs of one group among n codes; see struct form. */
static void
scale_runs(const struct tensor *t, int64_t r, const int32_t *col, int64_t c0,
    const uint8_t *code, int64_t n, float *out)
{
	int64_t width = value_group_cols(t);

	for (int64_t i = 0, e; i < n; i = e) {
		int64_t c = col != NULL ? col[i] : c0 + i;
		int64_t end = (c / width + 1) * width;

		if (col == NULL || width == t->cols)
			e = col != NULL || end - c0 > n ? n : end - c0;
		else
			for (e = i + 1; e < n && col[e] < end;)
				e++;
		scale_group(t, value_group_of(t, r, c), code + i, e - i,
		    out + i);
	}
}

void
int_values(const struct tensor *t, int64_t r, const int32_t *col, int64_t pos,
    int64_t n, float *out)
{
	uint8_t code[VALUE_CHUNK];

	for (int64_t i = 0; i < n; i += VALUE_CHUNK) {
		int64_t m = n - i < VALUE_CHUNK ? n - i : VALUE_CHUNK;

		value_codes(t, r, pos + i, m, code);
		scale_runs(t, r, col != NULL ? col + i : NULL, pos + i, code,
		    m, out + i);
	}
}
