/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_dot8: strips of bytes, laid out as kernel_code.h says, times a few rows
 * of int8 with AVX2; what codes and GGUF's blocks share. Private to src/tensor.
 *
 * AVX2 adds products of bytes in pairs to 16 bits, with saturation, then in pairs
 * to 32. Two products of bytes up to 127 with q stay below 2^15, and so do the
 * sums of several such pairs where the bytes are smaller: dot8_runs() adds up `run`
 * units in 16 bits first. Bytes above 127 are for dot8_wide(), which takes them
 * less 128: their absolute value, up to 128, meets q with their sign.
 */
#ifndef PARE_TENSOR_KERNEL_DOT8_H
#define PARE_TENSOR_KERNEL_DOT8_H

#include "tensor/kernel_code.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define AVX2 CPU_TARGET(CPU_FEATURES_AVX2)
#define DOT8_INLINE static inline __attribute__((always_inline))

/* Rows of W in a register, registers of a strip, and rows of x at a time. */
enum { DOT8_LANES = 8, DOT8_PARTS = CODE_STRIP / DOT8_LANES, DOT8_PAIR = 2 };

AVX2 DOT8_INLINE __m256i
broadcast(const int8_t *q)
{
	int32_t four;

	memcpy(&four, q, 4);
	return _mm256_set1_epi32(four);
}

AVX2 DOT8_INLINE void
dot8_wide(const uint8_t *w, const int8_t *q, int64_t ldq, int64_t units,
    __m256i acc[DOT8_PAIR][DOT8_PARTS], const int tokens)
{
	const __m256i half = _mm256_set1_epi8((char)128);
	const __m256i ones = _mm256_set1_epi16(1);

	for (int64_t u = 0; u < units; u++, q += CODE_UNIT) {
		__m256i x[DOT8_PAIR];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			x[i] = broadcast(q + i * ldq);
		KERNEL_UNROLL
		for (int k = 0; k < DOT8_PARTS; k++, w += 32) {
			__m256i v = _mm256_xor_si256(half,
			    _mm256_loadu_si256((const __m256i *)w));
			__m256i size = _mm256_abs_epi8(v);

			KERNEL_UNROLL
			for (int i = 0; i < tokens; i++)
				acc[i][k] = _mm256_add_epi32(acc[i][k],
				    _mm256_madd_epi16(ones,
				    _mm256_maddubs_epi16(size,
				    _mm256_sign_epi8(x[i], v))));
		}
	}
}

/* Runs of units whose sums of products stay in 16 bits. */
AVX2 DOT8_INLINE void
dot8_runs(const uint8_t *w, const int8_t *q, int64_t ldq, int64_t units,
    int64_t run, __m256i acc[DOT8_PAIR][DOT8_PARTS], const int tokens)
{
	const __m256i ones = _mm256_set1_epi16(1);

	for (int64_t u = 0; u < units; u += run) {
		int64_t end = units - u < run ? units - u : run;
		__m256i s[DOT8_PAIR][DOT8_PARTS];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			KERNEL_UNROLL
			for (int k = 0; k < DOT8_PARTS; k++)
				s[i][k] = _mm256_setzero_si256();
		}
		for (; end > 0; end--, q += CODE_UNIT, w += CODE_UNIT_BYTES) {
			__m256i x[DOT8_PAIR];

			KERNEL_UNROLL
			for (int i = 0; i < tokens; i++)
				x[i] = broadcast(q + i * ldq);
			KERNEL_UNROLL
			for (int k = 0; k < DOT8_PARTS; k++) {
				__m256i v = _mm256_loadu_si256(
				    (const __m256i *)(w + 32 * k));

				KERNEL_UNROLL
				for (int i = 0; i < tokens; i++)
					s[i][k] = _mm256_add_epi16(s[i][k],
					    _mm256_maddubs_epi16(v, x[i]));
			}
		}
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			KERNEL_UNROLL
			for (int k = 0; k < DOT8_PARTS; k++)
				acc[i][k] = _mm256_add_epi32(acc[i][k],
				    _mm256_madd_epi16(ones, s[i][k]));
		}
	}
}

#endif
#endif
