/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Strips of blocks times int8 with AVX-512 VNNI: six rows of x times a strip are
 * twelve integer sums and twelve floats in registers, as for codes. A group is
 * short, and at its end come the scales of x beside those of the weights.
 */
#include "tensor/kernel_block.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define VNNI CPU_TARGET(CPU_FEATURES_VNNI)
#define INLINE static inline __attribute__((always_inline))

VNNI INLINE void
dot_units(const uint8_t *w, const int8_t *q, int64_t ldq, const int units,
    __m512i acc[][2], const int tokens)
{
	KERNEL_UNROLL
	for (int u = 0; u < units; u++) {
		__m512i lo = _mm512_loadu_si512(w + u * CODE_UNIT_BYTES);
		__m512i hi = _mm512_loadu_si512(w + u * CODE_UNIT_BYTES + 64);

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			__m512i x;
			int32_t four;

			memcpy(&four, q + i * ldq + u * CODE_UNIT, 4);
			x = _mm512_set1_epi32(four);
			acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], lo, x);
			acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], hi, x);
		}
	}
}

/* f += scale * (step * D) (+ base * (scale * X)) of half h. */
VNNI INLINE void
add_group(const struct block_piece *p, int64_t g, int h, __m512i acc[][2],
    __m512 f[][2], const int tokens, const bool affine)
{
	const int64_t at = g * CODE_STRIP + h * CODE_HALF;
	const int64_t of = g * BLOCK_TOKENS;
	const __m512 step = _mm512_loadu_ps(p->step + at);

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][h] = _mm512_fmadd_ps(step, _mm512_mul_ps(
		    _mm512_set1_ps(p->scale[of + i]),
		    _mm512_cvtepi32_ps(acc[i][h])), f[i][h]);
	if (!affine)
		return;
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][h] = _mm512_fmadd_ps(_mm512_loadu_ps(p->base + at),
		    _mm512_set1_ps(p->sum[of + i]), f[i][h]);
}

VNNI INLINE void
store_half(const struct block_piece *p, int h, __m512 f[][2], const int tokens)
{
	int rows = p->rows - h * CODE_HALF;
	__mmask16 m = (__mmask16)(rows >= CODE_HALF ? 0xffff :
	    rows <= 0 ? 0 : (1u << rows) - 1);

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		float *y = p->y + i * p->ldy + h * CODE_HALF;

		_mm512_mask_storeu_ps(y, m, !p->accumulate ? f[i][h] :
		    _mm512_add_ps(f[i][h], _mm512_maskz_loadu_ps(m, y)));
	}
}

VNNI INLINE void
piece_of(const struct block_piece *p, const int tokens, const int units,
    const bool affine)
{
	const uint8_t *w = p->strip;
	const int8_t *q = p->q;
	__m512 f[BLOCK_TOKENS][2];

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][0] = f[i][1] = _mm512_setzero_ps();
	for (int64_t g = 0; g < p->groups; g++) {
		__m512i acc[BLOCK_TOKENS][2];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[i][0] = acc[i][1] = _mm512_set1_epi32(affine ? 0 :
			    p->init[g * BLOCK_TOKENS + i]);
		dot_units(w, q, p->ldq, units, acc, tokens);
		add_group(p, g, 0, acc, f, tokens, affine);
		add_group(p, g, 1, acc, f, tokens, affine);
		w += units * CODE_UNIT_BYTES;
		q += units * CODE_UNIT;
	}
	store_half(p, 0, f, tokens);
	store_half(p, 1, f, tokens);
}

/* Groups of 32 or 16, with a base or without. */
#define PIECE(n, units, affine) \
	VNNI static void piece##n##_##units##_##affine( \
	    const struct block_piece *p) \
	{ \
		piece_of(p, n, units, affine); \
	}
#define PIECES(n) PIECE(n, 8, 0) PIECE(n, 8, 1) PIECE(n, 4, 0) PIECE(n, 4, 1)
PIECES(1)
PIECES(2)
PIECES(3)
PIECES(4)
PIECES(5)
PIECES(6)
#define PIECE_ROW(n) { { piece##n##_8_0, piece##n##_8_1 }, \
	{ piece##n##_4_0, piece##n##_4_1 } }

static void
piece(const struct block_piece *p, int tokens)
{
	static void (*const of[BLOCK_TOKENS][2][2])(const struct block_piece *)
	    = { PIECE_ROW(1), PIECE_ROW(2), PIECE_ROW(3), PIECE_ROW(4),
		PIECE_ROW(5), PIECE_ROW(6) };

	of[tokens - 1][p->units == 4][p->base != NULL](p);
}

static void
turn(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	code_level_vnni.turn(rows, ld, units, strip);
}

const struct block_level block_level_vnni = {
	.unpack = block_unpack_avx2, .turn = turn, .tokens = BLOCK_TOKENS,
	.piece = piece
};

#endif
