/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Groups of codes to bytes with one step.
 *
 * What code c of a group of INT stands for, in steps of the row, is c * times +
 * plus; both are kept with 8 bits behind the point, modulo 2^16, so that a byte
 * costs one product of 16 bits and one sum. Groups of TABLE have tables, which
 * are rounded one by one.
 */
#include "tensor/kernel_code.h"

#include <math.h>
#include <string.h>

#if CPU_X86
#include <immintrin.h>
#endif

/* Adding 1.5 * 2^23 rounds to the nearest even integer and leaves it in the low
 * bits. */
#define ROUND_MAGIC 12582912.0f
#define ROUND_BITS 0x4b400000

/* 128, and a half, with 8 bits behind the point. */
enum { LIFT = 128 * 256 + 128, GROUPS = CODE_CHUNK / CODE_MERGE_GROUP + 32,
	MERGE_ROWS = 8		/* at a time */
};

/* Below this 127 / max is no float. */
static const float round_least = 0x1p-100f;

/* How codes of a chunk become bytes: (code * times[g] + plus[g]) / 256, modulo
 * 2^16, g being the group it is in: the first has `into` columns before the chunk,
 * all are `width` wide. */
struct code_merging {
	const uint16_t *times, *plus;
	int64_t width, into;
};

/* ---- factors of INT ---- */

/* The largest |value| of n groups, as code_round() compares: bits of floats. */
VALUE_SIMD static uint32_t
most_of(const float *low, const float *high, int64_t n)
{
	uint32_t most = 0;

#pragma omp simd reduction(max : most)
	for (int64_t i = 0; i < n; i++) {
		float a = fabsf(low[i]), b = fabsf(high[i]);
		uint32_t u, v;

		memcpy(&u, &a, sizeof(u));
		memcpy(&v, &b, sizeof(v));
		u = u > v ? u : v;
		most = u > most ? u : most;
	}
	return most;
}

VALUE_SIMD static void
round_factors(const float *v, int64_t n, float by, int plus, uint16_t *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float f = v[i] * by + ROUND_MAGIC;
		int32_t b;

		memcpy(&b, &f, sizeof(b));
		out[i] = (uint16_t)(b - ROUND_BITS + plus);
	}
}

/* Steps of the codes of n groups from g on, and values of the first and the last
 * code. */
VALUE_SIMD static void
ends_of(const struct tensor *t, int64_t g, int64_t n, float *step, float *low,
    float *high)
{
	const struct tensor_code *c = &t->code;
	const int top = (1 << c->bits) - 1, times = c->bits == 1 ? 2 : 1;
	const int minus = 1 << (c->bits - 1);
	const float mult = c->mult;

	half_to_floats((const uint16_t *)t->part[PART_SCALE].p + g, n, step);
	if (c->scheme != CODE_AFFINE) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++) {
			float s = step[i] * mult;

			low[i] = s * (float)-minus;
			high[i] = s * (float)(top * times - minus);
			step[i] = s * (float)times;
		}
		return;
	}
	half_to_floats((const uint16_t *)t->part[PART_MIN].p + g, n, low);
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		step[i] *= mult;
		low[i] *= mult;
		high[i] = low[i] + step[i] * (float)top;
	}
}

/* ---- bytes ---- */

VALUE_SIMD static void
group_bytes(uint8_t *code, int64_t n, uint16_t times, uint16_t plus)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		code[i] = (uint8_t)((uint16_t)(code[i] * times + plus) >> 8);
}

#if CPU_X86

/* Factors of the groups that columns [i, i + 32) and [i + 32, i + 64) are in. */
CPU_TARGET(CPU_FEATURES_AVX512) static inline __m512i
two_groups(const uint16_t *v, int64_t i, int shift)
{
	__m256i a = _mm256_set1_epi16((short)v[i >> shift]);
	__m256i b = _mm256_set1_epi16((short)v[(i + 32) >> shift]);

	return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* Codes of even and of odd columns, words both, to bytes. */
CPU_TARGET(CPU_FEATURES_AVX512) static inline __m512i
bytes_of(__m512i even, __m512i odd, __m512i times, __m512i plus)
{
	const __m512i high = _mm512_set1_epi16((short)0xff00);

	even = _mm512_add_epi16(plus, _mm512_mullo_epi16(times, even));
	odd = _mm512_add_epi16(plus, _mm512_mullo_epi16(times, odd));
	/* high ? odd : even >> 8 */
	return _mm512_ternarylogic_epi32(high, odd, _mm512_srli_epi16(even, 8),
	    0xca);
}

/* Groups of 2^shift columns, at least 32, from their begin, all but what is left
 * of 64: how many codes were done. */
CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
bytes_avx512(const struct code_merging *m, int shift, uint8_t *code, int64_t n)
{
	const __m512i low = _mm512_set1_epi16(0xff);

	for (int64_t i = 0; i + 64 <= n; i += 64) {
		__m512i v = _mm512_loadu_si512(code + i);

		_mm512_storeu_si512(code + i, bytes_of(
		    _mm512_and_si512(v, low), _mm512_srli_epi16(v, 8),
		    two_groups(m->times, i, shift),
		    two_groups(m->plus, i, shift)));
	}
	return n / 64 * 64;
}

CPU_TARGET(CPU_FEATURES_AVX512) static inline __m512i
nibbles_of(const uint8_t *packed, __m512i times, __m512i plus)
{
	__m512i v = _mm512_cvtepu8_epi16(_mm256_loadu_si256(
	    (const __m256i *)packed));

	return bytes_of(_mm512_and_si512(v, _mm512_set1_epi16(0x0f)),
	    _mm512_srli_epi16(v, 4), times, plus);
}

/* The same from codes of four bits as they are packed. */
CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
nibbles_avx512(const struct code_merging *m, int shift, const uint8_t *packed,
    uint8_t *out, int64_t n)
{
	for (int64_t i = 0; i + 64 <= n; i += 64)
		_mm512_storeu_si512(out + i, nibbles_of(packed + i / 2,
		    two_groups(m->times, i, shift),
		    two_groups(m->plus, i, shift)));
	return n / 64 * 64;
}

/* And of groups of 32, 32 of which have their factors in registers. */
CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
nibbles32_avx512(const struct code_merging *m, const uint8_t *packed,
    uint8_t *out, int64_t n)
{
	const __m512i first = _mm512_inserti64x4(_mm512_setzero_si512(),
	    _mm256_set1_epi16(1), 1);

	for (int64_t i = 0; i + 64 <= n;) {
		__m512i times = _mm512_loadu_si512(m->times + i / 32);
		__m512i plus = _mm512_loadu_si512(m->plus + i / 32);
		__m512i at = first;

		for (int k = 0; k < 16 && i + 64 <= n; k++, i += 64) {
			_mm512_storeu_si512(out + i, nibbles_of(packed + i / 2,
			    _mm512_permutexvar_epi16(at, times),
			    _mm512_permutexvar_epi16(at, plus)));
			at = _mm512_add_epi16(at, _mm512_set1_epi16(2));
		}
	}
	return n / 64 * 64;
}

/* Steps, first and last values, and the largest of 16 groups at a time; the
 * same bits as ends_of() and most_of(). */
CPU_TARGET(CPU_FEATURES_AVX512) static uint32_t
ends_avx512(const struct tensor *t, int64_t g, int64_t n, float *step,
    float *low)
{
	const struct tensor_code *c = &t->code;
	const uint16_t *scale = (const uint16_t *)t->part[PART_SCALE].p + g;
	const uint16_t *min = t->part[PART_MIN].p;
	const int times = c->bits == 1 ? 2 : 1, minus = 1 << (c->bits - 1);
	const int top = (1 << c->bits) - 1;
	const __m512 mult = _mm512_set1_ps(c->mult);
	const __m512i sign = _mm512_set1_epi32(0x7fffffff);
	__m512i most = _mm512_setzero_si512();

	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 :
		    0xffff);
		__m512 s = _mm512_mul_ps(_mm512_cvtph_ps(
		    _mm256_maskz_loadu_epi16(m, scale + i)), mult), a, b;

		if (c->scheme != CODE_AFFINE) {
			a = _mm512_mul_ps(s, _mm512_set1_ps((float)-minus));
			b = _mm512_mul_ps(s, _mm512_set1_ps(
			    (float)(top * times - minus)));
			s = _mm512_mul_ps(s, _mm512_set1_ps((float)times));
		} else {
			a = _mm512_mul_ps(_mm512_cvtph_ps(
			    _mm256_maskz_loadu_epi16(m, min + g + i)), mult);
			b = _mm512_add_ps(a, _mm512_mul_ps(s,
			    _mm512_set1_ps((float)top)));
		}
		_mm512_storeu_ps(step + i, s);
		_mm512_storeu_ps(low + i, a);
		most = _mm512_max_epu32(most, _mm512_max_epu32(
		    _mm512_and_si512(sign, _mm512_castps_si512(a)),
		    _mm512_and_si512(sign, _mm512_castps_si512(b))));
	}
	return _mm512_reduce_max_epu32(most);
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
round_avx512(const float *v, int64_t n, float by, int plus, uint16_t *out)
{
	for (int64_t i = 0; i < n; i += 16)
		_mm256_storeu_si256((__m256i *)(out + i),
		    _mm512_cvtepi32_epi16(_mm512_add_epi32(
		    _mm512_set1_epi32(plus), _mm512_cvtps_epi32(_mm512_mul_ps(
		    _mm512_loadu_ps(v + i), _mm512_set1_ps(by))))));
}

/* Groups of whole blocks of 32: their size as a power of two; else 0. */
static int
group_shift(const struct code_merging *m)
{
	if (m->into != 0 || m->width < 32 || (m->width & (m->width - 1)) != 0)
		return 0;
	return __builtin_ctzll((unsigned long long)m->width);
}

#endif

/* Bytes of n codes of row r from column c on. */
static void
merge_bytes(const struct code_merging *m, const struct tensor *t, int64_t r,
    int64_t c, int64_t n, uint8_t *out)
{
	int64_t i = 0;

#if CPU_X86
	const int shift = group_shift(m);
	const uint8_t *packed = (const uint8_t *)t->part[PART_DATA].p +
	    (r * t->cols + c) / 2;

	if (cpu_level() >= CPU_AVX512 && shift > 0 && t->code.bits == 4 &&
	    t->cols % 2 == 0)
		i = shift == 5 ? nibbles32_avx512(m, packed, out, n) :
		    nibbles_avx512(m, shift, packed, out, n);
#endif
	if (i < n)
		value_codes(t, r, c + i, n - i, out + i);
#if CPU_X86
	if (cpu_level() >= CPU_AVX512 && shift > 0 && i == 0)
		i = bytes_avx512(m, shift, out, n);
#endif
	while (i < n) {
		int64_t at = m->into + i, g = at / m->width;
		int64_t end = (g + 1) * m->width - m->into;

		end = end < n ? end : n;
		group_bytes(out + i, end - i, m->times[g], m->plus[g]);
		i = end;
	}
}

/* ---- rows ---- */

/* Bytes that all stand for 0, where there are no steps. */
static float
no_bytes(uint32_t most, int64_t n, uint8_t *out)
{
	memset(out, 128, (size_t)n);
	return value_bits_finite(most) ? 0.0f : NAN;
}

static bool
is_usual(uint32_t most, float *value)
{
	memcpy(value, &most, sizeof(most));
	return value_bits_finite(most) && *value >= round_least;
}

/* What codes of n groups from g on are multiplied with; the largest value, as
 * bits, that they can stand for. */
static uint32_t
factors(const struct tensor *t, int64_t g, int64_t n, uint16_t *times,
    uint16_t *plus, float *value)
{
	float step[GROUPS], low[GROUPS], high[GROUPS];
	uint32_t most;

#if CPU_X86
	if (cpu_level() >= CPU_AVX512) {
		most = ends_avx512(t, g, n, step, low);
		if (!is_usual(most, value))
			return most;
		round_avx512(step, n, 127.0f / *value * 256.0f, 0, times);
		round_avx512(low, n, 127.0f / *value * 256.0f, LIFT, plus);
		return most;
	}
#endif
	ends_of(t, g, n, step, low, high);
	most = most_of(low, high, n);
	if (!is_usual(most, value))
		return most;
	round_factors(step, n, 127.0f / *value * 256.0f, 0, times);
	round_factors(low, n, 127.0f / *value * 256.0f, LIFT, plus);
	return most;
}

static float
merge_table(const struct tensor *t, const struct code_level *v, int64_t r,
    int64_t c0, int64_t n, uint8_t *out)
{
	const int64_t width = t->code.group, into = c0 % width;
	const int64_t size = INT64_C(1) << t->code.bits;
	const int64_t groups = (into + n + width - 1) / width;
	const float *table = (const float *)t->part[PART_TABLE].p +
	    value_group_of(t, r, c0) * size;
	uint32_t most = value_max_bits(table, groups * size);
	float value;

	value_codes(t, r, c0, n, out);
	if (!is_usual(most, &value))
		return no_bytes(most, n, out);
	for (int64_t i = 0, end; i < n; i = end, table += size) {
		uint8_t own[1 << CODE_MERGE_BITS];

		end = i + width - (into + i) % width;
		end = end < n ? end : n;
		for (int64_t k = 0; k < size; k++) {
			float f = table[k] * (127.0f / value) + ROUND_MAGIC;
			int32_t b;

			memcpy(&b, &f, sizeof(b));
			own[k] = (uint8_t)(b - ROUND_BITS + 128);
		}
		v->lookup(own, t->code.bits, out + i, end - i, out + i);
	}
	return value / 127.0f;
}

/* Factors of some rows first, then their bytes: one row alone would wait for its
 * largest. */
static void
merge_some(const struct tensor *t, int64_t r, int64_t rows, int64_t c0,
    int64_t n, uint8_t *out, int64_t ld, float *step)
{
	const int64_t width = t->code.group, per_row = t->cols / width;
	const int64_t into = c0 % width, groups = (into + n + width - 1) /
	    width;
	const int64_t g = r * per_row + c0 / width;
	uint16_t times[MERGE_ROWS][GROUPS], plus[MERGE_ROWS][GROUPS];
	uint32_t most[MERGE_ROWS];

	for (int64_t i = 0; i < rows; i++) {
		most[i] = factors(t, g + i * per_row, groups, times[i], plus[i],
		    &step[i]);
		step[i] /= 127.0f;
	}
	for (int64_t i = 0; i < rows; i++) {
		const struct code_merging m = { times[i], plus[i], width, into };
		float value;

		if (is_usual(most[i], &value))
			merge_bytes(&m, t, r + i, c0, n, out + i * ld);
		else
			step[i] = no_bytes(most[i], n, out + i * ld);
	}
}

void
code_merge(const struct code_plan *p, const struct code_level *v, int64_t r,
    int64_t rows, const struct code_cut *cut, uint8_t *out, int64_t ld,
    float *step)
{
	const struct tensor *t = p->t;
	const int64_t n = cut->c1 - cut->c0;

	for (int64_t i = 0, m; i < rows; i += m) {
		m = rows - i < MERGE_ROWS ? rows - i : MERGE_ROWS;
		if (t->values == FORM_TABLE)
			m = 1;
		if (t->values == FORM_TABLE)
			step[i] = merge_table(t, v, r + i, cut->c0, n,
			    out + i * ld);
		else
			merge_some(t, r + i, m, cut->c0, n, out + i * ld, ld,
			    step + i);
	}
}
