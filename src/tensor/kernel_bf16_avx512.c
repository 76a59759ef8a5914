/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tiles times blocks with AVX-512 BF16: 12 rows by 32 tokens of sums in
 * registers. For each two columns of W there is one load for each 16 tokens and
 * one broadcast for each row.
 */
#include "tensor/kernel_bf16.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

/* A block comes from far when it is met first; this is 8 KiB on. */
enum { BLOCK_AHEAD = 8192 / 2, ROWS = 12 };

#define BF16_TARGET CPU_TARGET(CPU_FEATURES_AVX512 ",avx512bf16")
#define INLINE BF16_TARGET static inline __attribute__((always_inline))

/* A unit of columns: acc[r][v] += tile[r] * block[v]. */
INLINE void
unit(const int rows, const int vecs, __m512 acc[ROWS][2], const uint16_t *tile,
    const uint16_t *block)
{
	__m512i b[2];

	KERNEL_UNROLL
	for (int v = 0; v < vecs; v++) {
		b[v] = _mm512_loadu_si512(block + 32 * v);
		_mm_prefetch(block + 32 * v + BLOCK_AHEAD, _MM_HINT_T1);
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		int32_t two;
		__m512i a;

		memcpy(&two, tile + r * BF16_RUN, sizeof(two));
		a = _mm512_set1_epi32(two);

		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm512_dpbf16_ps(acc[r][v], (__m512bh)a,
			    (__m512bh)b[v]);
	}
}

INLINE void
multiply(const int rows, const int vecs, const struct bf16_piece *p)
{
	__m512 acc[ROWS][2];
	const char *next = p->ahead.p;

	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm512_setzero_ps();
	for (int term = 0; term < bf16_terms(p->parts); term++) {
		const uint16_t *tile = bf16_tile_of(p, term);
		const uint16_t *block = bf16_block_of(p, term);

		for (int64_t k = 0; k < p->runs; k++) {
			for (int l = 0; term == 0 && l < p->lines; l++)
				kernel_fetch(&p->ahead, &next);
			for (int j = 0; j < BF16_RUN; j += BF16_UNIT) {
				unit(rows, vecs, acc, tile + j, block);
				block += BF16_UNIT * PANEL_TOKENS;
			}
			tile += rows * BF16_RUN;
		}
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			_mm512_storeu_ps(p->sum + r * PANEL_X + 16 * v,
			    acc[r][v]);
}

#define SHAPE(rows, vecs) \
BF16_TARGET static void \
multiply_##rows##_##vecs(const struct bf16_piece *p) \
{ \
	multiply(rows, vecs, p); \
}
SHAPE(4, 1)
SHAPE(8, 1)
SHAPE(12, 1)
SHAPE(4, 2)
SHAPE(8, 2)
SHAPE(12, 2)

void
bf16_multiply_avx512(const struct bf16_piece *p)
{
	static void (*const shape[3][2])(const struct bf16_piece *p) = {
		{ multiply_4_1, multiply_4_2 }, { multiply_8_1, multiply_8_2 },
		{ multiply_12_1, multiply_12_2 }
	};

	shape[(p->rows - 1) / 4][(p->tokens - 1) / 16](p);
}

/* ---- parts ---- */

INLINE __m256i
round16(__m512 v)
{
	return (__m256i)_mm512_cvtneps_pbh(v);
}

INLINE __m512
widen16(__m256i h)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(
	    _mm512_cvtepu16_epi32(h), 16));
}

BF16_TARGET void
bf16_split_avx512(const float *v, int64_t n, uint16_t *high, uint16_t *low)
{
	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 m = (__mmask16)(n - i >= 16 ? 0xffff :
		    (1u << (n - i)) - 1);
		__m512 f = _mm512_maskz_loadu_ps(m, v + i);
		__m256i h = round16(f);

		_mm256_mask_storeu_epi16(high + i, m, h);
		if (low != NULL)
			_mm256_mask_storeu_epi16(low + i, m, round16(
			    _mm512_sub_ps(f, widen16(h))));
	}
}

#endif
