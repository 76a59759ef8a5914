/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * float16 and bfloat16, round to nearest even. Widening float16 shifts its bits
 * to a float's place and multiplies by 2^112, which corrects the exponent and
 * makes subnormals normal in one step. Narrowing subnormals lets an addition of
 * 0.5 do the rounding, for the last bit of 0.5 weighs 2^-24.
 */
#include "tensor/value.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PARE_SANITIZED)
#define HALF_F16C 1
#include <cpuid.h>
#include <immintrin.h>
#endif

static inline uint32_t
bits_of(float f)
{
	uint32_t b;

	memcpy(&b, &f, sizeof(b));
	return b;
}

static inline float
float_of(uint32_t b)
{
	float f;

	memcpy(&f, &b, sizeof(f));
	return f;
}

static inline float
widen(uint16_t h)
{
	uint32_t em = (uint32_t)(h & 0x7fff) << 13;
	uint32_t b = bits_of(float_of(em) * 0x1p112f);

	b = em >= UINT32_C(0x0f800000) ? b | UINT32_C(0x7f800000) : b;
	/* A signalling NaN becomes quiet, as the instruction does it. */
	b = em > UINT32_C(0x0f800000) ? b | UINT32_C(0x00400000) : b;
	return float_of(b | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t
narrow(float f)
{
	uint32_t b = bits_of(f), a = b & UINT32_C(0x7fffffff), h;

	if (a > UINT32_C(0x7f800000))
		h = 0x7e00 | ((a >> 13) & 0x3ff);
	else if (a >= UINT32_C(0x477ff000))
		h = 0x7c00;
	else if (a < UINT32_C(0x38800000))
		h = bits_of(float_of(a) + 0.5f) - UINT32_C(0x3f000000);
	else
		h = (a - UINT32_C(0x38000000) + 0xfff + ((a >> 13) & 1)) >> 13;
	return (uint16_t)(h | (b >> 16 & 0x8000));
}

static inline uint16_t
narrow_bf(float f)
{
	uint32_t b = bits_of(f);
	uint32_t quiet = (b >> 16) | 0x40;
	uint32_t round = (b + 0x7fff + ((b >> 16) & 1)) >> 16;

	return (uint16_t)((b & UINT32_C(0x7fffffff)) > UINT32_C(0x7f800000) ?
	    quiet : round);
}

float
half_to_float(uint16_t h)
{
	return widen(h);
}

uint16_t
half_from_float(float f)
{
	return narrow(f);
}

float
bfloat_to_float(uint16_t h)
{
	return float_of((uint32_t)h << 16);
}

uint16_t
bfloat_from_float(float f)
{
	return narrow_bf(f);
}

#ifdef HALF_F16C
static bool
has_f16c(void)
{
	static _Atomic int known;	/* 0: not asked, 1: no, 2: yes */
	unsigned a, b, c = 0, d;

	if (known == 0)
		known = __builtin_cpu_supports("avx2") &&
		    __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) ? 2 : 1;
	return known == 2;
}

__attribute__((target("avx,f16c"))) static int64_t
widen_f16c(const uint16_t *h, int64_t n, float *out)
{
	int64_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		__m128i v = _mm_loadu_si128((const __m128i *)(h + i));

		_mm256_storeu_ps(out + i, _mm256_cvtph_ps(v));
	}
	return i;
}

__attribute__((target("avx,f16c"))) static int64_t
narrow_f16c(const float *f, int64_t n, uint16_t *out)
{
	int64_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		__m128i v = _mm256_cvtps_ph(_mm256_loadu_ps(f + i),
		    _MM_FROUND_TO_NEAREST_INT);

		_mm_storeu_si128((__m128i *)(out + i), v);
	}
	return i;
}
#endif

void
half_to_floats(const uint16_t *h, int64_t n, float *out)
{
	int64_t i = 0;

#ifdef HALF_F16C
	if (has_f16c())
		i = widen_f16c(h, n, out);
#endif
	for (; i < n; i++)
		out[i] = widen(h[i]);
}

void
half_from_floats(const float *f, int64_t n, uint16_t *out)
{
	int64_t i = 0;

#ifdef HALF_F16C
	if (has_f16c())
		i = narrow_f16c(f, n, out);
#endif
	for (; i < n; i++)
		out[i] = narrow(f[i]);
}

VALUE_SIMD void
bfloat_to_floats(const uint16_t *h, int64_t n, float *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		uint32_t b = (uint32_t)h[i] << 16;

		memcpy(&out[i], &b, sizeof(b));
	}
}

VALUE_SIMD void
bfloat_from_floats(const float *f, int64_t n, uint16_t *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		out[i] = narrow_bf(f[i]);
}
