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
enum { LIFT = 128 * 256 + 128, GROUPS = CODE_CHUNK / CODE_MERGE_GROUP + 2 };

/* Below this 127 / max is no float. */
static const float round_least = 0x1p-100f;

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

/* Groups of whole 32 columns from their begin, all but what is left of 64: how
 * many codes were done. */
CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
bytes_avx512(const struct code_merging *m, uint8_t *code, int64_t n)
{
	const __m512i low = _mm512_set1_epi16(0xff);
	const int64_t each = m->width / 32;
	int64_t g = 0, left = each;

	for (int64_t i = 0; i + 64 <= n; i += 64) {
		__m512i v = _mm512_loadu_si512(code + i);
		__m256i t[2], p[2];
		__m512i times, plus, even, odd;

		for (int k = 0; k < 2; k++) {
			t[k] = _mm256_set1_epi16((short)m->times[g]);
			p[k] = _mm256_set1_epi16((short)m->plus[g]);
			left--;
			g += left == 0;
			left = left == 0 ? each : left;
		}
		times = _mm512_inserti64x4(_mm512_castsi256_si512(t[0]), t[1],
		    1);
		plus = _mm512_inserti64x4(_mm512_castsi256_si512(p[0]), p[1],
		    1);
		even = _mm512_add_epi16(plus, _mm512_mullo_epi16(times,
		    _mm512_and_si512(v, low)));
		odd = _mm512_add_epi16(plus, _mm512_mullo_epi16(times,
		    _mm512_srli_epi16(v, 8)));
		_mm512_storeu_si512(code + i, _mm512_or_si512(
		    _mm512_srli_epi16(even, 8),
		    _mm512_andnot_si512(low, odd)));
	}
	return n / 64 * 64;
}

#endif

void
code_merge_bytes(const struct code_merging *m, uint8_t *code, int64_t n)
{
	int64_t i = 0;

#if CPU_X86
	if (cpu_level() >= CPU_AVX512 && m->width % 32 == 0 && m->into == 0)
		i = bytes_avx512(m, code, n);
#endif
	while (i < n) {
		int64_t at = m->into + i, g = at / m->width;
		int64_t end = (g + 1) * m->width - m->into;

		end = end < n ? end : n;
		group_bytes(code + i, end - i, m->times[g], m->plus[g]);
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

static float
merge_int(const struct tensor *t, int64_t g, int64_t groups, int64_t into,
    int64_t width, int64_t n, uint8_t *out)
{
	float step[GROUPS], low[GROUPS], high[GROUPS], value;
	uint16_t times[GROUPS], plus[GROUPS];
	const struct code_merging m = { times, plus, width, into };
	uint32_t most;

	ends_of(t, g, groups, step, low, high);
	most = most_of(low, high, groups);
	if (!is_usual(most, &value))
		return no_bytes(most, n, out);
	round_factors(step, groups, 127.0f / value * 256.0f, 0, times);
	round_factors(low, groups, 127.0f / value * 256.0f, LIFT, plus);
	code_merge_bytes(&m, out, n);
	return value / 127.0f;
}

static float
merge_table(const struct tensor *t, const struct code_level *v, int64_t g,
    int64_t groups, int64_t into, int64_t width, int64_t n, uint8_t *out)
{
	const int64_t size = INT64_C(1) << t->code.bits;
	const float *table = (const float *)t->part[PART_TABLE].p + g * size;
	uint32_t most = value_max_bits(table, groups * size);
	float value;

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

float
code_merge(const struct code_plan *p, const struct code_level *v, int64_t r,
    int64_t c0, int64_t c1, uint8_t *out)
{
	const struct tensor *t = p->t;
	const int64_t width = value_group_cols(t), into = c0 % width;
	const int64_t g = value_group_of(t, r, c0), n = c1 - c0;
	const int64_t groups = (into + n + width - 1) / width;

	value_codes(t, r, c0, n, out);
	return t->values == FORM_TABLE ?
	    merge_table(t, v, g, groups, into, width, n, out) :
	    merge_int(t, g, groups, into, width, n, out);
}
