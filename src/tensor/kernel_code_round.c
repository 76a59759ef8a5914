/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Floats to int8 with one scale. The largest becomes 127: its product with the
 * rounded 127 / max lies within two roundings of 127, and so rounds to it.
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

enum { SUM_OF = 32 };

/* Below this 127 / max is no float. */
static const float round_least = 0x1p-100f;

VALUE_SIMD static void
round_plain(const float *v, int64_t n, float times, int8_t *q)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float f = v[i] * times + ROUND_MAGIC;
		int32_t b;

		memcpy(&b, &f, sizeof(b));
		q[i] = (int8_t)(b - ROUND_BITS);
	}
}

VALUE_SIMD static void
sum_plain(const int8_t *q, int64_t n, int16_t *sum)
{
	for (int64_t i = 0; i < n; i += SUM_OF) {
		int64_t m = n - i < SUM_OF ? n - i : SUM_OF;
		int s = 0;

#pragma omp simd reduction(+ : s)
		for (int64_t j = 0; j < m; j++)
			s += q[i + j];
		sum[i / SUM_OF] = (int16_t)s;
	}
}

#if CPU_X86

CPU_TARGET(CPU_FEATURES_AVX512) static uint32_t
max_avx512(const float *v, int64_t n)
{
	const __m512i sign = _mm512_set1_epi32(0x7fffffff);
	__m512i a = _mm512_setzero_si512(), b = a;
	int64_t i = 0;

	for (; i + 32 <= n; i += 32) {
		a = _mm512_max_epu32(a, _mm512_and_si512(sign,
		    _mm512_loadu_si512(v + i)));
		b = _mm512_max_epu32(b, _mm512_and_si512(sign,
		    _mm512_loadu_si512(v + i + 16)));
	}
	for (; i < n; i += 16) {
		__mmask16 m = (__mmask16)(n - i < 16 ?
		    (1u << (n - i)) - 1 : 0xffff);

		a = _mm512_max_epu32(a, _mm512_and_si512(sign,
		    _mm512_maskz_loadu_epi32(m, v + i)));
	}
	return _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
round_avx512(const float *v, int64_t n, float times, int8_t *q, int16_t *sum)
{
	const __m512 t = _mm512_set1_ps(times);

	for (int64_t i = 0; i < n; i += SUM_OF) {
		uint32_t m = n - i < SUM_OF ? (1u << (n - i)) - 1 : UINT32_MAX;
		__mmask16 lo = (__mmask16)m, hi = (__mmask16)(m >> 16);
		__m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(t,
		    _mm512_maskz_loadu_ps(lo, v + i)));
		__m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(t,
		    _mm512_maskz_loadu_ps(hi, v + i + 16)));

		_mm512_mask_cvtepi32_storeu_epi8(q + i, lo, a);
		_mm512_mask_cvtepi32_storeu_epi8(q + i + 16, hi, b);
		if (sum != NULL)
			sum[i / SUM_OF] = (int16_t)_mm512_reduce_add_epi32(
			    _mm512_add_epi32(a, b));
	}
}

#endif

static uint32_t
max_bits(const float *v, int64_t n)
{
#if CPU_X86
	if (cpu_level() >= CPU_AVX512)
		return max_avx512(v, n);
#endif
	return value_max_bits(v, n);
}

float
code_round(const float *v, int64_t n, int8_t *q, int16_t *sum)
{
	uint32_t bits = max_bits(v, n);
	float most;

	memcpy(&most, &bits, sizeof(most));
	if (!value_bits_finite(bits) || most < round_least) {
		memset(q, 0, (size_t)n);
		if (sum != NULL)
			memset(sum, 0, (size_t)((n + SUM_OF - 1) / SUM_OF) *
			    sizeof(*sum));
		return value_bits_finite(bits) ? 0.0f : NAN;
	}
#if CPU_X86
	if (cpu_level() >= CPU_AVX512) {
		round_avx512(v, n, 127.0f / most, q, sum);
		return most / 127.0f;
	}
#endif
	round_plain(v, n, 127.0f / most, q);
	if (sum != NULL)
		sum_plain(q, n, sum);
	return most / 127.0f;
}
