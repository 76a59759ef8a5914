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
	for (int64_t i = 0; i < n; i += CODE_SUM) {
		int64_t m = n - i < CODE_SUM ? n - i : CODE_SUM;
		int s = 0;

#pragma omp simd reduction(+ : s)
		for (int64_t j = 0; j < m; j++)
			s += q[i + j];
		sum[i / CODE_SUM] = (int16_t)s;
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

/* The sums of four registers, one after the other. */
CPU_TARGET(CPU_FEATURES_AVX512) static inline __m128i
sums_of(const __m512i a[4])
{
	__m512i u = _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]),
	    _mm512_unpackhi_epi32(a[0], a[1]));
	__m512i v = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]),
	    _mm512_unpackhi_epi32(a[2], a[3]));
	__m256i half;

	u = _mm512_add_epi32(_mm512_unpacklo_epi64(u, v),
	    _mm512_unpackhi_epi64(u, v));
	half = _mm256_add_epi32(_mm512_castsi512_si256(u),
	    _mm512_extracti64x4_epi64(u, 1));
	return _mm_add_epi32(_mm256_castsi256_si128(half),
	    _mm256_extracti128_si256(half, 1));
}

/* 64 at a time; sum has room for the sums of 64. */
CPU_TARGET(CPU_FEATURES_AVX512) static void
round_avx512(const float *v, int64_t n, float times, int8_t *q, int16_t *sum)
{
	const __m512 t = _mm512_set1_ps(times);

	for (int64_t i = 0; i < n; i += 64) {
		uint64_t m = n - i < 64 ? (UINT64_C(1) << (n - i)) - 1 :
		    UINT64_MAX;
		__m512i a[4];

		for (int k = 0; k < 4; k++) {
			__mmask16 part = (__mmask16)(m >> (16 * k));

			a[k] = _mm512_cvtps_epi32(_mm512_mul_ps(t,
			    _mm512_maskz_loadu_ps(part, v + i + 16 * k)));
			_mm512_mask_cvtepi32_storeu_epi8(q + i + 16 * k, part,
			    a[k]);
		}
		if (sum != NULL)
			_mm_storel_epi64((__m128i *)(sum + i / CODE_SUM),
			    _mm_packs_epi32(sums_of(a),
			    _mm_setzero_si128()));
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
code_scale(const float *v, int64_t n, float *times)
{
	uint32_t bits = max_bits(v, n);
	float most;

	memcpy(&most, &bits, sizeof(most));
	*times = 0.0f;
	if (!value_bits_finite(bits))
		return NAN;
	if (most < round_least)
		return 0.0f;
	*times = 127.0f / most;
	return most / 127.0f;
}

float
code_round(const float *v, int64_t n, int8_t *q, int16_t *sum)
{
	float times, scale = code_scale(v, n, &times);

	if (!(times > 0.0f)) {
		memset(q, 0, (size_t)n);
		if (sum != NULL)
			memset(sum, 0, (size_t)((n + CODE_SUM - 1) / CODE_SUM) *
			    sizeof(*sum));
		return scale;
	}
#if CPU_X86
	if (cpu_level() >= CPU_AVX512) {
		round_avx512(v, n, times, q, sum);
		return scale;
	}
#endif
	round_plain(v, n, times, q);
	if (sum != NULL)
		sum_plain(q, n, sum);
	return scale;
}
