/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * turn512: 16 registers of AVX-512 turned, for the tensor and the engine room.
 * For CPU_X86, in functions of CPU_FEATURES_AVX512 or more.
 */
#ifndef PARE_TENSOR_TURN512_H
#define PARE_TENSOR_TURN512_H

#include <immintrin.h>

#include "tensor/cpu.h"

#if defined(__clang__)
#define TURN512_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TURN512_UNROLL _Pragma("GCC unroll 16")
#endif

/* 16 x 16 words of 32 bits: row i, column j to row j, column i. */
CPU_TARGET(CPU_FEATURES_AVX512)
__attribute__((always_inline)) static inline void
turn512(__m512i r[16])
{
	__m512i t[16];

	TURN512_UNROLL
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	TURN512_UNROLL
	for (int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* r[4 k + j] has columns j, j + 4, j + 8, j + 12 of rows 4 k to
	 * 4 k + 3, a quarter each. */
	TURN512_UNROLL
	for (int j = 0; j < 4; j++) {
		t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
		t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
		t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
		t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
	}
	TURN512_UNROLL
	for (int j = 0; j < 4; j++) {
		r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
		r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
		r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
		r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
	}
}

#endif
