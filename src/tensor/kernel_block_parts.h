/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_block_parts: GGUF's blocks taken apart in registers of 256 bits. Private
 * to the kernels of blocks. All of it is inlined where the type is a constant, so
 * that only the lines of that type remain.
 */
#ifndef PARE_TENSOR_KERNEL_BLOCK_PARTS_H
#define PARE_TENSOR_KERNEL_BLOCK_PARTS_H

#include "tensor/kernel_block.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define PARTS CPU_TARGET(CPU_FEATURES_AVX2) static inline \
    __attribute__((always_inline))

/* ---- what few rows of x meet ---- */

enum { FEW_ROWS = 4 };		/* of W at a time, at most */

/* A row of x. */
struct few_x {
	const int8_t *q;
	const float *scale;	/* of 32 columns */
	const int32_t *init;	/* of four columns: -zero * X */
	const float *sum;	/* of a group: scale * X */
	/* With AVX-512, scales of Q8_0 for four columns, of types with groups of
	 * 16 for those; of Q4_K and Q5_K eight of 32 columns, then eight times
	 * the sum of those, less than 0 where that is more. */
	const float *scales;
	/* Quads: of four blocks of 32 q has the first 16 columns of each, then
	 * the second; these have a lane for four columns of both together. */
	const float *sums;	/* scale * X */
};

struct few {
	const uint8_t *w;
	int64_t ldw, blocks;
	int64_t ahead;		/* bytes that are asked for ahead */
	struct few_x x[BLOCK_FEW];
	float *y[BLOCK_FEW];
	int rows;		/* of W that there are */
	bool accumulate;
};

typedef void few_fn(const struct few *f);

/* With AVX-512 VNNI and VBMI, for 1 to BLOCK_FEW rows of x; NULL: there is none
 * for this type. */
extern few_fn *const few_wide[BLOCK_KINDS][BLOCK_FEW];
/* Rows of W they take at a time. */
#define FEW_WIDE_STEP(tokens) ((tokens) == 1 ? 4 : 2)

/* Facts of block_table[] that must be constants. */
#define BLOCK_IS_LARGE(kind) (((kind) >= BLOCK_Q2_K && \
    (kind) <= BLOCK_Q6_K) || (kind) == BLOCK_IQ4_XS || \
    (kind) == BLOCK_IQ3_S)
#define BLOCK_IS_SHORT(kind) ((kind) == BLOCK_Q2_K || \
    (kind) == BLOCK_Q3_K || (kind) == BLOCK_Q6_K)	/* groups of 16 */
#define BLOCK_IS_AFFINE(kind) ((kind) == BLOCK_Q4_1 || \
    (kind) == BLOCK_Q5_1 || (kind) == BLOCK_Q2_K || (kind) == BLOCK_Q4_K || \
    (kind) == BLOCK_Q5_K)
/* Four blocks of nibbles at a time, with AVX-512. */
#define BLOCK_IS_QUAD(kind) ((kind) <= BLOCK_Q5_1 || (kind) == BLOCK_IQ4_NL)
#define BLOCK_IS_WIDE(kind) ((kind) == BLOCK_Q8_0 || \
    (kind) == BLOCK_IQ4_NL || (kind) == BLOCK_IQ4_XS)
PARTS int
parts_bytes(const enum block_kind kind)
{
	switch (kind) {
	case BLOCK_Q4_0: return 18;
	case BLOCK_Q4_1: return 20;
	case BLOCK_Q5_0: return 22;
	case BLOCK_Q5_1: return 24;
	case BLOCK_Q8_0: return 34;
	case BLOCK_Q2_K: return 84;
	case BLOCK_Q3_K: return 110;
	case BLOCK_Q4_K: return 144;
	case BLOCK_Q5_K: return 176;
	case BLOCK_Q6_K: return 210;
	case BLOCK_IQ4_NL: return 18;
	case BLOCK_IQ4_XS: return 136;
	case BLOCK_MXFP4: return 17;
	case BLOCK_IQ3_S: return 110;
	default: return 0;
	}
}

/* ---- codes ---- */

PARTS __m256i
load32(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

/* 16 bytes: their low nibbles, then their high ones. */
PARTS __m256i
nibbles(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p);

	return _mm256_and_si256(_mm256_set1_epi8(15), _mm256_inserti128_si256(
	    _mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1));
}

/* `set` in the bytes whose bit is set, of 32. */
PARTS __m256i
fifths(const uint8_t *p, char set)
{
	const __m256i bit = _mm256_set1_epi64x((int64_t)
	    UINT64_C(0x8040201008040201));
	const __m256i at = _mm256_setr_epi64x(0, 0x0101010101010101,
	    0x0202020202020202, 0x0303030303030303);
	int32_t word;
	__m256i v;

	memcpy(&word, p, 4);
	v = _mm256_shuffle_epi8(_mm256_set1_epi32(word), at);
	v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
	return _mm256_and_si256(v, _mm256_set1_epi8(set));
}

/* `set` in the bytes of which bit k is set. */
PARTS __m256i
bits_at(__m256i v, int k, char set)
{
	const __m256i bit = _mm256_set1_epi8((char)(1 << k));

	return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit),
	    bit), _mm256_set1_epi8(set));
}

PARTS __m256i
look_up(__m256i v, const int8_t table[16])
{
	return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(
	    _mm_loadu_si128((const __m128i *)table)), v);
}

PARTS __m256i
shift_and(__m256i v, int by, char mask)
{
	return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(by)),
	    _mm256_set1_epi8(mask));
}

PARTS __m256i
sixths(const uint8_t *b, int k)
{
	const uint8_t *low = b + k / 4 * 64 + k % 2 * 32;
	__m256i two = shift_and(load32(b + 128 + k / 4 * 32), k % 4 * 2, 3);

	return _mm256_or_si256(shift_and(load32(low), k % 4 / 2 * 4, 15),
	    _mm256_slli_epi16(two, 4));
}

/* Sizes less 1 of entry i of eight. */
PARTS int
iq3_four(const uint8_t *low, int high, int i)
{
	return (int)_pdep_u32(block_iq3_grid[low[i] | (high >> i & 1) << 8],
	    0x0e0e0e0e);
}

/* Eight entries of the codebook, with signs. */
PARTS __m256i
iq3_codes(const uint8_t *b, int k)
{
	const __m256i zero = _mm256_set1_epi8(15);
	__m256i minus = fifths(b + 74 + 4 * k, -1), size;
	const uint8_t *low = b + 2 + 8 * k;
	const int high = b[66 + k];

	size = _mm256_setr_epi32(iq3_four(low, high, 0), iq3_four(low, high, 1),
	    iq3_four(low, high, 2), iq3_four(low, high, 3),
	    iq3_four(low, high, 4), iq3_four(low, high, 5),
	    iq3_four(low, high, 6), iq3_four(low, high, 7));
	size = _mm256_or_si256(size, _mm256_set1_epi8(1));
	return _mm256_add_epi8(zero, _mm256_sub_epi8(_mm256_xor_si256(size,
	    minus), minus));
}

static const int8_t parts_iq4[16] = { -127, -104, -83, -65, -49, -35, -22,
	-10, 1, 13, 25, 38, 53, 69, 89, 113 };
/* Plus 12. */
static const int8_t parts_mxfp4[16] = { 12, 13, 14, 15, 16, 18, 20, 24, 12,
	11, 10, 9, 8, 6, 4, 0 };

/* Columns [32 k, 32 k + 32) of a block: codes, or where these are wide, codes
 * less 128. */
PARTS __m256i
parts_codes(const enum block_kind kind, const uint8_t *b, int k)
{
	switch (kind) {
	case BLOCK_Q4_0:
		return nibbles(b + 2);
	case BLOCK_Q4_1:
		return nibbles(b + 4);
	case BLOCK_Q5_0:
		return _mm256_or_si256(nibbles(b + 6), fifths(b + 2, 16));
	case BLOCK_Q5_1:
		return _mm256_or_si256(nibbles(b + 8), fifths(b + 4, 16));
	case BLOCK_Q8_0:
		return load32(b + 2);
	case BLOCK_Q2_K:
		return shift_and(load32(b + 16 + k / 4 * 32), k % 4 * 2, 3);
	case BLOCK_Q3_K:
		return _mm256_or_si256(shift_and(load32(b + 32 + k / 4 * 32),
		    k % 4 * 2, 3), bits_at(load32(b), k, 4));
	case BLOCK_Q4_K:
		return shift_and(load32(b + 16 + k / 2 * 32), k % 2 * 4, 15);
	case BLOCK_Q5_K:
		return _mm256_or_si256(shift_and(load32(b + 48 + k / 2 * 32),
		    k % 2 * 4, 15), bits_at(load32(b + 16), k, 16));
	case BLOCK_Q6_K:
		return sixths(b, k);
	case BLOCK_IQ4_NL:
		return look_up(nibbles(b + 2), parts_iq4);
	case BLOCK_IQ4_XS:
		return look_up(nibbles(b + 8 + 16 * k), parts_iq4);
	case BLOCK_MXFP4:
		return look_up(nibbles(b + 1), parts_mxfp4);
	case BLOCK_IQ3_S:
		return iq3_codes(b, k);
	default:
		return _mm256_setzero_si256();
	}
}

/* ---- scales ---- */

PARTS float
half_of(const uint8_t *p)
{
	uint16_t h;

	memcpy(&h, p, 2);
	return _cvtsh_ss(h);
}

PARTS uint32_t
word_of(const uint8_t *p)
{
	uint32_t w;

	memcpy(&w, p, 4);
	return w;
}

/* Step and base of group g are in number g % 8 of [g / 8]; those of blocks with
 * one group are everywhere. */
struct parts_scales {
	__m256 step[2], base[2];
};

/* Eight bytes, signed or not, as floats. */
PARTS __m256
bytes_times(__m128i v, float d)
{
	return _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(
	    _mm256_cvtepi8_epi32(v)));
}

/* Q4_K and Q5_K: six bits of step and as many of base for eight groups. */
PARTS void
scales_k(const uint8_t *b, struct parts_scales *s)
{
	const uint32_t a = word_of(b + 4), m = word_of(b + 8);
	const uint32_t rest = word_of(b + 12), six = 0x3f3f3f3f;
	const uint32_t four = 0x0f0f0f0f, two = 0x30303030;
	uint64_t step = (a & six) | (uint64_t)((rest & four) |
	    (a >> 2 & two)) << 32;
	uint64_t base = (m & six) | (uint64_t)((rest >> 4 & four) |
	    (m >> 2 & two)) << 32;

	s->step[0] = bytes_times(_mm_cvtsi64_si128((int64_t)step), half_of(b));
	s->base[0] = bytes_times(_mm_cvtsi64_si128((int64_t)base),
	    -half_of(b + 2));
}

/* Sixteen signed bytes. */
PARTS void
scales_16(__m128i v, float d, __m256 out[2])
{
	out[0] = bytes_times(v, d);
	out[1] = bytes_times(_mm_srli_si128(v, 8), d);
}

PARTS void
scales_q2(const uint8_t *b, struct parts_scales *s)
{
	const __m128i v = _mm_loadu_si128((const __m128i *)b);
	const __m128i four = _mm_set1_epi8(15);

	scales_16(_mm_and_si128(v, four), half_of(b + 80), s->step);
	scales_16(_mm_and_si128(_mm_srli_epi16(v, 4), four),
	    -half_of(b + 82), s->base);
}

PARTS void
scales_q3(const uint8_t *b, struct parts_scales *s)
{
	const uint32_t a = word_of(b + 96), c = word_of(b + 100);
	const uint32_t t = word_of(b + 104), two = 0x30303030;
	const uint32_t four = 0x0f0f0f0f;
	__m128i v = _mm_setr_epi32((int)((a & four) | (t << 4 & two)),
	    (int)((c & four) | (t << 2 & two)),
	    (int)((a >> 4 & four) | (t & two)),
	    (int)((c >> 4 & four) | (t >> 2 & two)));

	scales_16(_mm_sub_epi8(v, _mm_set1_epi8(32)), half_of(b + 108),
	    s->step);
}

PARTS void
scales_iq4(const uint8_t *b, struct parts_scales *s)
{
	const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)word_of(b + 4)),
	    _mm256_slli_epi32(place, 2));
	__m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(b[2] | b[3] << 8),
	    _mm256_slli_epi32(place, 1));

	low = _mm256_and_si256(low, _mm256_set1_epi32(15));
	high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)),
	    4);
	s->step[0] = _mm256_mul_ps(_mm256_set1_ps(half_of(b)),
	    _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_or_si256(low, high),
	    _mm256_set1_epi32(32))));
}

/* Odd multiples, four bits each. */
PARTS void
scales_iq3(const uint8_t *b, struct parts_scales *s)
{
	__m256i v = _mm256_srlv_epi32(_mm256_set1_epi32((int)word_of(b + 106)),
	    _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));

	v = _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(15)), 1);
	s->step[0] = _mm256_mul_ps(_mm256_set1_ps(half_of(b)),
	    _mm256_cvtepi32_ps(_mm256_or_si256(v, _mm256_set1_epi32(1))));
}

PARTS __m256
scale_mxfp4(uint8_t e)
{
	uint32_t bits = e < 2 ? UINT32_C(0x00200000) << e :
	    (uint32_t)(e - 1) << 23;

	return _mm256_castsi256_ps(_mm256_set1_epi32((int)bits));
}

PARTS void
parts_scales(const enum block_kind kind, const uint8_t *b,
    struct parts_scales *s)
{
	switch (kind) {
	case BLOCK_Q4_1:
	case BLOCK_Q5_1:
		s->step[0] = _mm256_set1_ps(half_of(b));
		s->base[0] = _mm256_set1_ps(half_of(b + 2));
		return;
	case BLOCK_Q2_K:
		scales_q2(b, s);
		return;
	case BLOCK_Q3_K:
		scales_q3(b, s);
		return;
	case BLOCK_Q4_K:
	case BLOCK_Q5_K:
		scales_k(b, s);
		return;
	case BLOCK_Q6_K:
		scales_16(_mm_loadu_si128((const __m128i *)(b + 192)),
		    half_of(b + 208), s->step);
		return;
	case BLOCK_IQ4_XS:
		scales_iq4(b, s);
		return;
	case BLOCK_MXFP4:
		s->step[0] = scale_mxfp4(b[0]);
		return;
	case BLOCK_IQ3_S:
		scales_iq3(b, s);
		return;
	default:
		s->step[0] = _mm256_set1_ps(half_of(b));
		return;
	}
}

/* The steps of columns [32 k, 32 k + 32): of lane j those of columns 4 j on. */
PARTS __m256
parts_step(const enum block_kind kind, const struct parts_scales *s, int k)
{
	if (!BLOCK_IS_LARGE(kind))
		return s->step[0];
	if (!BLOCK_IS_SHORT(kind))
		return _mm256_permutevar8x32_ps(s->step[0],
		    _mm256_set1_epi32(k));
	return _mm256_permutevar8x32_ps(s->step[k / 4], _mm256_setr_epi32(
	    k % 4 * 2, k % 4 * 2, k % 4 * 2, k % 4 * 2, k % 4 * 2 + 1,
	    k % 4 * 2 + 1, k % 4 * 2 + 1, k % 4 * 2 + 1));
}

#endif
#endif
