/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes of codes to floats, for the decoders of form_int.c and form_table.c:
 * the same values on every level, each product and sum rounded by itself.
 */
#include "tensor/kernel_code.h"

#if CPU_X86
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

/* ---- INT ---- */

static void
group_plain(const struct code_line *l, const uint8_t *code, int64_t n,
    int64_t g, float *out)
{
	float step = l->step[g];

	if (l->base != NULL) {
		float base = l->base[g];

#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			out[i] = base + step * (float)code[i];
	} else {
		int times = l->times, minus = l->minus;

#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			out[i] = step * (float)(code[i] * times - minus);
	}
}

#if CPU_X86

CPU_TARGET(CPU_FEATURES_AVX2) static void
group_avx2(const struct code_line *l, const uint8_t *code, int64_t n,
    int64_t g, float *out)
{
	const __m256 step = _mm256_set1_ps(l->step[g]);
	const __m256 base = _mm256_set1_ps(l->base != NULL ? l->base[g] : 0);
	const __m256i minus = _mm256_set1_epi32(l->minus);
	const __m128i twice = _mm_cvtsi32_si128(l->times - 1);
	int64_t i = 0;

	for (; i + 8 <= n; i += 8) {
		__m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64(
		    (const __m128i *)(code + i)));
		__m256 v;

		c = _mm256_sub_epi32(_mm256_sll_epi32(c, twice), minus);
		v = _mm256_mul_ps(step, _mm256_cvtepi32_ps(c));
		if (l->base != NULL)
			v = _mm256_add_ps(base, v);
		_mm256_storeu_ps(out + i, v);
	}
	group_plain(l, code + i, n - i, g, out + i);
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
group_avx512(const struct code_line *l, const uint8_t *code, int64_t n,
    int64_t g, float *out)
{
	const __m512 step = _mm512_set1_ps(l->step[g]);
	const __m512 base = _mm512_set1_ps(l->base != NULL ? l->base[g] : 0);
	const __m512i minus = _mm512_set1_epi32(l->minus);
	const __m128i twice = _mm_cvtsi32_si128(l->times - 1);

	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 :
		    0xffff);
		__m512i c = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m,
		    code + i));
		__m512 v;

		c = _mm512_sub_epi32(_mm512_sll_epi32(c, twice), minus);
		v = _mm512_mul_ps(step, _mm512_cvtepi32_ps(c));
		if (l->base != NULL)
			v = _mm512_add_ps(base, v);
		_mm512_mask_storeu_ps(out + i, m, v);
	}
}

#endif

void
code_line_floats(const struct code_line *l, const uint8_t *code, int64_t n,
    float *out)
{
	void (*group)(const struct code_line *, const uint8_t *, int64_t,
	    int64_t, float *) = group_plain;
	int64_t left = l->width - l->into;

#if CPU_X86
	if (cpu_level() >= CPU_AVX512)
		group = group_avx512;
	else if (cpu_level() >= CPU_AVX2)
		group = group_avx2;
#endif
	for (int64_t i = 0, g = 0; i < n; g++) {
		int64_t m = n - i < left ? n - i : left;

		group(l, code + i, m, g, out + i);
		i += m;
		left = l->width;
	}
}

/* ---- TABLE ---- */

static void
lookup_plain(const float *table, const uint8_t *code, int64_t n, float *out)
{
	int64_t i;

	for (i = 0; i + 4 <= n; i += 4) {
		float a = table[code[i]], b = table[code[i + 1]];
		float c = table[code[i + 2]], d = table[code[i + 3]];

		out[i] = a;
		out[i + 1] = b;
		out[i + 2] = c;
		out[i + 3] = d;
	}
	for (; i < n; i++)
		out[i] = table[code[i]];
}

#if CPU_X86

/* Up to 16 values, in two registers. */
CPU_TARGET(CPU_FEATURES_AVX2) static void
lookup_avx2(const float *table, int bits, const uint8_t *code, int64_t n,
    float *out)
{
	const int size = 1 << bits;
	float t[16] = { 0 };
	__m256 lo, hi;
	int64_t i = 0;

	for (int k = 0; k < size; k++)
		t[k] = table[k];
	lo = _mm256_loadu_ps(t);
	hi = _mm256_loadu_ps(t + 8);
	for (; i + 8 <= n; i += 8) {
		__m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64(
		    (const __m128i *)(code + i)));
		__m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28));

		_mm256_storeu_ps(out + i, _mm256_blendv_ps(
		    _mm256_permutevar8x32_ps(lo, c),
		    _mm256_permutevar8x32_ps(hi, c), high));
	}
	lookup_plain(table, code + i, n - i, out + i);
}

/* Up to 64 values, in four registers. */
CPU_TARGET(CPU_FEATURES_AVX512) INLINE void
lookup_avx512(const float *table, const uint8_t *code, int64_t n, float *out,
    const int size)
{
	__m512 t[4];

	for (int k = 0; k < 4; k++)
		t[k] = size >= 16 * k + 16 ? _mm512_loadu_ps(table + 16 * k) :
		    _mm512_setzero_ps();
	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 :
		    0xffff);
		__m512i c = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m,
		    code + i));
		__m512 v;

		if (size <= 16)
			v = _mm512_permutexvar_ps(c, t[0]);
		else
			v = _mm512_permutex2var_ps(t[0], c, t[1]);
		if (size > 32)
			v = _mm512_mask_blend_ps(_mm512_test_epi32_mask(c,
			    _mm512_set1_epi32(32)), v,
			    _mm512_permutex2var_ps(t[2], c, t[3]));
		_mm512_mask_storeu_ps(out + i, m, v);
	}
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
lookup16(const float *table, int bits, const uint8_t *code, int64_t n,
    float *out)
{
	float t[16] = { 0 };

	for (int k = 0; k < 1 << bits; k++)
		t[k] = table[k];
	lookup_avx512(t, code, n, out, 16);
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
lookup64(const float *table, int bits, const uint8_t *code, int64_t n,
    float *out)
{
	if (bits == 5)
		lookup_avx512(table, code, n, out, 32);
	else
		lookup_avx512(table, code, n, out, 64);
}

#endif

void
code_table_floats(const float *table, int bits, const uint8_t *code, int64_t n,
    float *out)
{
#if CPU_X86
	if (cpu_level() >= CPU_AVX512 && bits <= 6) {
		(bits <= 4 ? lookup16 : lookup64)(table, bits, code, n, out);
		return;
	}
	if (cpu_level() >= CPU_AVX2 && bits <= 4) {
		lookup_avx2(table, bits, code, n, out);
		return;
	}
#endif
	lookup_plain(table, code, n, out);
}
