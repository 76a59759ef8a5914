/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks to strips, and strips times int8 with AVX2 (kernel_dot8.h).
 */
#include "tensor/kernel_block_parts.h"
#include "tensor/kernel_dot8.h"

#if CPU_X86

#define INLINE DOT8_INLINE

enum { LANES = DOT8_LANES, PARTS_OF = DOT8_PARTS, PAIR = DOT8_PAIR };

/* ---- rows of blocks to bytes ---- */

/* n numbers from the lanes of v on, CODE_STRIP apart. */
AVX2 INLINE void
scatter(const __m256 *v, int n, float *out)
{
	float lane[16];

	if (n == 1) {
		*out = _mm256_cvtss_f32(v[0]);
		return;
	}
	_mm256_storeu_ps(lane, v[0]);
	if (n > 8)
		_mm256_storeu_ps(lane + 8, v[1]);
	for (int i = 0; i < n; i++)
		out[i * CODE_STRIP] = lane[i];
}

AVX2 INLINE void
unpack_of(const enum block_kind kind, const uint8_t *block, int64_t n,
    int64_t ahead, uint8_t *code, float *step, float *base)
{
	const int values = BLOCK_IS_LARGE(kind) ? 256 : 32;
	const int groups = BLOCK_IS_SHORT(kind) ? 16 : values / 32;
	const __m256i half = _mm256_set1_epi8((char)128);

	for (; n > 0; n--, block += parts_bytes(kind)) {
		struct parts_scales s;

		for (int at = 0; at < parts_bytes(kind); at += 64)
			_mm_prefetch((const char *)block + ahead + at,
			    _MM_HINT_T0);
		parts_scales(kind, block, &s);
		scatter(s.step, groups, step);
		step += groups * CODE_STRIP;
		if (BLOCK_IS_AFFINE(kind)) {
			scatter(s.base, groups, base);
			base += groups * CODE_STRIP;
		}
		KERNEL_UNROLL
		for (int k = 0; k < values / 32; k++, code += 32) {
			__m256i v = parts_codes(kind, block, k);

			if (BLOCK_IS_WIDE(kind))
				v = _mm256_xor_si256(v, half);
			_mm256_storeu_si256((__m256i *)code, v);
		}
	}
}

#define UNPACK(kind) \
	AVX2 static void unpack_##kind(const uint8_t *block, int64_t n, \
	    int64_t ahead, uint8_t *code, float *step, float *base) \
	{ \
		unpack_of(BLOCK_##kind, block, n, ahead, code, step, base); \
	}
UNPACK(Q4_0)
UNPACK(Q4_1)
UNPACK(Q5_0)
UNPACK(Q5_1)
UNPACK(Q8_0)
UNPACK(Q2_K)
UNPACK(Q3_K)
UNPACK(Q4_K)
UNPACK(Q5_K)
UNPACK(Q6_K)
UNPACK(IQ4_NL)
UNPACK(IQ4_XS)
UNPACK(MXFP4)
UNPACK(IQ3_S)

#define ROW(kind) [BLOCK_##kind] = unpack_##kind

void
block_unpack_avx2(enum block_kind kind, const uint8_t *block, int64_t n,
    int64_t ahead, uint8_t *code, float *step, float *base)
{
	static void (*const of[BLOCK_KINDS])(const uint8_t *, int64_t,
	    int64_t, uint8_t *, float *, float *) = { ROW(Q4_0), ROW(Q4_1), ROW(Q5_0),
		ROW(Q5_1), ROW(Q8_0), ROW(Q2_K), ROW(Q3_K), ROW(Q4_K),
		ROW(Q5_K), ROW(Q6_K), ROW(IQ4_NL), ROW(IQ4_XS), ROW(MXFP4),
		ROW(IQ3_S) };

	if (of[kind] != NULL)
		of[kind](block, n, ahead, code, step, base);
	else
		block_level_scalar.unpack(kind, block, n, ahead, code, step,
		    base);
}

/* ---- products ---- */

/* f += scale * (step * D) (+ base * (scale * X)) of token i. */
AVX2 INLINE void
add_group(const struct block_piece *p, int64_t g, int i,
    const __m256i acc[PARTS_OF], __m256 f[PARTS_OF])
{
	const __m256 x = _mm256_set1_ps(p->sum[g * BLOCK_TOKENS + i]);
	const __m256 scale = _mm256_set1_ps(p->scale[g * BLOCK_TOKENS + i]);

	KERNEL_UNROLL
	for (int k = 0; k < PARTS_OF; k++) {
		int64_t at = g * CODE_STRIP + k * LANES;

		f[k] = _mm256_fmadd_ps(_mm256_loadu_ps(p->step + at),
		    _mm256_mul_ps(scale, _mm256_cvtepi32_ps(acc[k])), f[k]);
		if (p->base != NULL)
			f[k] = _mm256_fmadd_ps(_mm256_loadu_ps(p->base + at),
			    x, f[k]);
	}
}

AVX2 INLINE void
store_token(const struct block_piece *p, int i, const __m256 f[PARTS_OF])
{
	float *y = p->y + i * p->ldy, part[CODE_STRIP];

	KERNEL_UNROLL
	for (int k = 0; k < PARTS_OF; k++)
		_mm256_storeu_ps(part + k * LANES, f[k]);
	for (int r = 0; r < p->rows; r++)
		y[r] = p->accumulate ? y[r] + part[r] : part[r];
}

AVX2 INLINE void
piece_of(const struct block_piece *p, int i0, const int tokens,
    const bool wide)
{
	const int64_t bytes = p->units * CODE_UNIT_BYTES;
	const int8_t *q = p->q + i0 * p->ldq;
	__m256 f[PAIR][PARTS_OF];

	for (int i = 0; i < tokens; i++)
		for (int k = 0; k < PARTS_OF; k++)
			f[i][k] = _mm256_setzero_ps();
	for (int64_t g = 0; g < p->groups; g++, q += p->units * CODE_UNIT) {
		const int32_t *init = p->init + g * BLOCK_TOKENS + i0;
		__m256i acc[PAIR][PARTS_OF];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			KERNEL_UNROLL
			for (int k = 0; k < PARTS_OF; k++)
				acc[i][k] = _mm256_set1_epi32(init[i]);
		}
		if (wide)
			dot8_wide(p->strip + g * bytes, q, p->ldq, p->units,
			    acc, tokens);
		else
			dot8_runs(p->strip + g * bytes, q, p->ldq, p->units,
			    p->run, acc, tokens);
		for (int i = 0; i < tokens; i++)
			add_group(p, g, i0 + i, acc[i], f[i]);
	}
	for (int i = 0; i < tokens; i++)
		store_token(p, i0 + i, f[i]);
}

AVX2 static void
piece2(const struct block_piece *p, int i)
{
	piece_of(p, i, 2, false);
}

AVX2 static void
piece2_wide(const struct block_piece *p, int i)
{
	piece_of(p, i, 2, true);
}

AVX2 static void
piece1(const struct block_piece *p, int i)
{
	piece_of(p, i, 1, false);
}

AVX2 static void
piece1_wide(const struct block_piece *p, int i)
{
	piece_of(p, i, 1, true);
}

static void
piece(const struct block_piece *p, int tokens)
{
	int i = 0;

	for (; i + PAIR <= tokens; i += PAIR)
		(p->run == 0 ? piece2_wide : piece2)(p, i);
	if (i < tokens)
		(p->run == 0 ? piece1_wide : piece1)(p, i);
}

static void
turn(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	code_level_avx2.turn(rows, ld, units, strip);
}

const struct block_level block_level_avx2 = {
	.lift = 128, .unpack = block_unpack_avx2, .turn = turn,
	.tokens = BLOCK_TOKENS, .piece = piece
};

/* ---- rounding of x ---- */

AVX2 static float
round_avx2(const float *v, int8_t *q, int16_t *sum)
{
	const __m256i sign = _mm256_set1_epi32(0x7fffffff);
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256 f[4], times;
	__m256i m, i[4], all;
	__m128i most;
	float largest;
	uint32_t bits;

	for (int k = 0; k < 4; k++)
		f[k] = _mm256_loadu_ps(v + 8 * k);
	m = _mm256_max_epu32(_mm256_max_epu32(
	    _mm256_and_si256(sign, _mm256_castps_si256(f[0])),
	    _mm256_and_si256(sign, _mm256_castps_si256(f[1]))),
	    _mm256_max_epu32(
	    _mm256_and_si256(sign, _mm256_castps_si256(f[2])),
	    _mm256_and_si256(sign, _mm256_castps_si256(f[3]))));
	most = _mm_max_epu32(_mm256_castsi256_si128(m),
	    _mm256_extracti128_si256(m, 1));
	most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4e));
	most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xb1));
	bits = (uint32_t)_mm_cvtsi128_si32(most);
	memcpy(&largest, &bits, sizeof(largest));
	if (!value_bits_finite(bits) || largest < 0x1p-100f)
		return code_round(v, BLOCK_X, q, NULL);
	times = _mm256_set1_ps(127.0f / largest);
	for (int k = 0; k < 4; k++)
		i[k] = _mm256_cvtps_epi32(_mm256_mul_ps(f[k], times));
	all = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]),
	    _mm256_packs_epi32(i[2], i[3]));
	all = _mm256_permutevar8x32_epi32(all, order);
	_mm256_storeu_si256((__m256i *)q, all);
	/* Plus 128, that sums of eight bytes are unsigned. */
	all = _mm256_sad_epu8(_mm256_xor_si256(all,
	    _mm256_set1_epi8((char)128)), _mm256_setzero_si256());
	sum[0] = (int16_t)(_mm256_extract_epi64(all, 0) +
	    _mm256_extract_epi64(all, 1) - 16 * 128);
	sum[1] = (int16_t)(_mm256_extract_epi64(all, 2) +
	    _mm256_extract_epi64(all, 3) - 16 * 128);
	return largest / 127.0f;
}

#endif

float
block_round(const float *v, int8_t *q, int16_t *sum)
{
	int16_t all[4] = { 0 };
	float scale;

#if CPU_X86
	if (cpu_level() >= CPU_AVX2) {
		sum[0] = sum[1] = 0;
		return round_avx2(v, q, sum);
	}
#endif
	scale = code_round(v, BLOCK_X, q, all);
	sum[0] = all[0];
	sum[1] = all[1];
	return scale;
}
