/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times int8 with AVX2, which has no instruction for it: see
 * kernel_dot8.h.
 */
#include "tensor/kernel_dot8.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define INLINE DOT8_INLINE

enum { LANES = DOT8_LANES, PARTS = DOT8_PARTS, PAIR = DOT8_PAIR };

/* ---- products ---- */

/* f += step * D (+ base * X) of token i. */
AVX2 INLINE void
add_span(const struct code_block *b, int64_t s, int i,
    const __m256i acc[PARTS], __m256 f[PARTS])
{
	__m256 x = _mm256_set1_ps(b->sum[i * b->cut.spans + s]);

	KERNEL_UNROLL
	for (int k = 0; k < PARTS; k++) {
		int64_t at = s * CODE_STRIP + k * LANES;

		f[k] = _mm256_fmadd_ps(_mm256_loadu_ps(b->step + at),
		    _mm256_cvtepi32_ps(acc[k]), f[k]);
		if (b->base != NULL)
			f[k] = _mm256_fmadd_ps(_mm256_loadu_ps(b->base + at),
			    x, f[k]);
	}
}

AVX2 INLINE void
store_token(const struct code_block *b, int i, const __m256 f[PARTS])
{
	__m256 scale = _mm256_set1_ps(b->scale[i]);
	float *y = b->y + i * b->ldy, part[CODE_STRIP];
	bool whole = b->rows == CODE_STRIP;
	float *to = whole ? y : part;

	if (!whole && b->accumulate)
		memcpy(part, y, (size_t)b->rows * sizeof(*y));
	KERNEL_UNROLL
	for (int k = 0; k < PARTS; k++) {
		_mm256_storeu_ps(to + k * LANES, !b->accumulate ?
		    _mm256_mul_ps(scale, f[k]) : _mm256_fmadd_ps(scale, f[k],
		    _mm256_loadu_ps(to + k * LANES)));
	}
	if (!whole)
		memcpy(y, part, (size_t)b->rows * sizeof(*y));
}

AVX2 INLINE void
block_of(const struct code_block *b, int i0, const int tokens, const bool wide)
{
	const uint8_t *w = b->strip;
	__m256 f[PAIR][PARTS];

	for (int i = 0; i < tokens; i++)
		for (int k = 0; k < PARTS; k++)
			f[i][k] = _mm256_setzero_ps();
	for (int64_t s = 0; s < b->cut.spans; s++) {
		int64_t u = code_span_begin(&b->cut, s) / CODE_UNIT;
		int64_t n = code_unit_end(code_span_end(&b->cut, s)) - u;
		const int8_t *q = b->q + i0 * b->ldq + u * CODE_UNIT;
		__m256i acc[PAIR][PARTS];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			KERNEL_UNROLL
			for (int k = 0; k < PARTS; k++)
				acc[i][k] = _mm256_set1_epi32(
				    b->init[(i0 + i) * b->cut.spans + s]);
		}
		if (wide)
			dot8_wide(w, q, b->ldq, n, acc, tokens);
		else
			dot8_runs(w, q, b->ldq, n, b->run, acc, tokens);
		for (int i = 0; i < tokens; i++)
			add_span(b, s, i0 + i, acc[i], f[i]);
		w += n * CODE_UNIT_BYTES;
	}
	for (int i = 0; i < tokens; i++)
		store_token(b, i0 + i, f[i]);
}

AVX2 static void
block2(const struct code_block *b, int i)
{
	block_of(b, i, 2, false);
}

AVX2 static void
block2_wide(const struct code_block *b, int i)
{
	block_of(b, i, 2, true);
}

AVX2 static void
block1(const struct code_block *b, int i)
{
	block_of(b, i, 1, false);
}

AVX2 static void
block1_wide(const struct code_block *b, int i)
{
	block_of(b, i, 1, true);
}

static void
block(const struct code_block *b, int tokens)
{
	int i = 0;

	for (; i + PAIR <= tokens; i += PAIR)
		(b->wide ? block2_wide : block2)(b, i);
	if (i < tokens)
		(b->wide ? block1_wide : block1)(b, i);
}

/* ---- strips ---- */

/* 8 x 8 words of 32 bits. */
AVX2 INLINE void
transpose(__m256i r[8])
{
	__m256i t[8];

	KERNEL_UNROLL
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
	}
	KERNEL_UNROLL
	for (int i = 0; i < 8; i += 4) {
		r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	KERNEL_UNROLL
	for (int j = 0; j < 4; j++) {
		t[j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x20);
		t[4 + j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x31);
	}
	KERNEL_UNROLL
	for (int j = 0; j < 8; j++)
		r[j] = t[j];
}

AVX2 static void
turn(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	for (int part = 0; part < CODE_HALF / LANES; part++) {
		const uint8_t *from = rows + part * LANES * ld;
		uint8_t *to = strip + part * 32;

		for (int64_t u = 0; u < units; u += 8) {
			int m = units - u < 8 ? (int)(units - u) : 8;
			__m256i r[8];

			KERNEL_UNROLL
			for (int i = 0; i < 8; i++)
				r[i] = _mm256_loadu_si256((const __m256i *)
				    (from + i * ld + u * CODE_UNIT));
			transpose(r);
			for (int i = 0; i < m; i++)
				_mm256_storeu_si256((__m256i *)(to + (u + i) *
				    CODE_UNIT_BYTES), r[i]);
		}
	}
}

/* ---- tables ---- */

/* Up to 16 values fit a register. */
AVX2 static int64_t
lookup16(const uint8_t *table, const uint8_t *code, int64_t n, uint8_t *out)
{
	__m256i t = _mm256_broadcastsi128_si256(
	    _mm_loadu_si128((const __m128i *)table));
	int64_t i;

	for (i = 0; i + 32 <= n; i += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(code + i));

		_mm256_storeu_si256((__m256i *)(out + i),
		    _mm256_shuffle_epi8(t, v));
	}
	return i;
}

static void
lookup(const uint8_t *table, int bits, const uint8_t *code, int64_t n,
    uint8_t *out)
{
	int64_t i = bits <= 4 ? lookup16(table, code, n, out) : 0;

	for (; i < n; i++)
		out[i] = table[code[i]];
}

const struct code_level code_level_avx2 = {
	.lift = 128, .lookup = lookup, .scales = code_scales_plain,
	.turn = turn, .tokens = 6, .block = block
};

#endif
