/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_code_512: what the AVX-512 kernels of codes share. Private to
 * src/tensor, for CPU_X86.
 */
#ifndef PARE_TENSOR_KERNEL_CODE_512_H
#define PARE_TENSOR_KERNEL_CODE_512_H

#include "tensor/kernel_code.h"

#include <immintrin.h>

#define CODE_VNNI CPU_TARGET(CPU_FEATURES_VNNI)
#define CODE_INLINE static inline __attribute__((always_inline))

/* 16 x 16 words of 32 bits: row i, column j to row j, column i. */
CODE_VNNI CODE_INLINE void
code_transpose(__m512i r[16])
{
	__m512i t[16];

	KERNEL_UNROLL
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	KERNEL_UNROLL
	for (int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* r[4 k + j] has columns j, j + 4, j + 8, j + 12 of rows 4 k to
	 * 4 k + 3, a quarter each. */
	KERNEL_UNROLL
	for (int j = 0; j < 4; j++) {
		t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
		t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
		t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
		t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
	}
	KERNEL_UNROLL
	for (int j = 0; j < 4; j++) {
		r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
		r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
		r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
		r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
	}
}

#endif
