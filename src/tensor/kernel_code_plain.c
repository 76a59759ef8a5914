/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times int8 in plain C: what every other level must agree with,
 * bit by bit.
 */
#include "tensor/kernel_code.h"

#include <math.h>
#include <string.h>

static void
lookup(const uint8_t *table, int bits, const uint8_t *code, int64_t n,
    uint8_t *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = table[code[i]];
}

void
code_scales_plain(const uint16_t *half, int64_t ld, int64_t last,
    int64_t spans, float mult, float *out)
{
	for (int64_t i = 0; i < CODE_HALF; i++) {
		const uint16_t *row = half + (i < last ? i : last) * ld;
		float part[32];

		for (int64_t s = 0; s < spans; s += 32) {
			int64_t n = spans - s < 32 ? spans - s : 32;

			half_to_floats(row + s, n, part);
			for (int64_t k = 0; k < n; k++)
				out[(s + k) * CODE_STRIP + i] =
				    part[k] * mult;
		}
	}
}

static void
turn(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	for (int64_t u = 0; u < units; u++, strip += CODE_UNIT_BYTES)
		for (int r = 0; r < CODE_HALF; r++)
			memcpy(strip + r * CODE_UNIT,
			    rows + r * ld + u * CODE_UNIT, CODE_UNIT);
}

/* D of all rows of a span: init + sum of bytes times q. */
static void
dot_units(const uint8_t *w, const int8_t *q, int64_t units, int32_t *d)
{
	for (int64_t u = 0; u < units; u++, q += CODE_UNIT) {
		const int q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];

#pragma omp simd
		for (int r = 0; r < CODE_STRIP; r++)
			d[r] += w[4 * r] * q0 + w[4 * r + 1] * q1 +
			    w[4 * r + 2] * q2 + w[4 * r + 3] * q3;
		w += CODE_UNIT_BYTES;
	}
}

static void
block_token(const struct code_block *b, int i)
{
	const uint8_t *w = b->strip;
	float f[CODE_STRIP] = { 0 };
	float *y = b->y + i * b->ldy;

	for (int64_t s = 0; s < b->cut.spans; s++) {
		int64_t u = code_span_begin(&b->cut, s) / CODE_UNIT;
		int64_t n = code_unit_end(code_span_end(&b->cut, s)) - u;
		const float *step = b->step + s * CODE_STRIP;
		int32_t d[CODE_STRIP];

		for (int r = 0; r < CODE_STRIP; r++)
			d[r] = b->init[i * b->cut.spans + s];
		dot_units(w, b->q + i * b->ldq + u * CODE_UNIT, n, d);
		w += n * CODE_UNIT_BYTES;
		for (int r = 0; r < CODE_STRIP; r++) {
			f[r] = fmaf(step[r], (float)d[r], f[r]);
			if (b->base != NULL)
				f[r] = fmaf(b->base[s * CODE_STRIP + r],
				    b->sum[i * b->cut.spans + s], f[r]);
		}
	}
	for (int r = 0; r < b->rows; r++)
		y[r] = b->accumulate ? fmaf(b->scale[i], f[r], y[r]) :
		    b->scale[i] * f[r];
}

static void
block(const struct code_block *b, int tokens)
{
	for (int i = 0; i < tokens; i++)
		block_token(b, i);
}

const struct code_level code_level_scalar = {
	.lookup = lookup, .scales = code_scales_plain, .turn = turn,
	.tokens = 6, .block = block
};
