/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes to bytes, for code_unpack() of value.c. Eight codes of b bits
 * take b bytes, four of them half as much: each lane below begins at a whole or
 * a half byte.
 */
#include "tensor/kernel_code.h"

#if CPU_X86

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- AVX2 ---- */

/* Where the bytes of lane k of four codes are, of 16 loaded from the first of
 * four lanes. */
CPU_TARGET(CPU_FEATURES_AVX2) INLINE __m256i
lane_bytes(int bits)
{
	const __m128i lane = _mm_setr_epi32(0, 1, 2, 3);
	__m128i first = _mm_srli_epi32(_mm_mullo_epi32(lane,
	    _mm_set1_epi32(bits)), 1);
	__m128i at = _mm_add_epi32(_mm_mullo_epi32(first,
	    _mm_set1_epi32(0x01010101)), _mm_set1_epi32(0x03020100));

	return _mm256_broadcastsi128_si256(at);
}

/* 32 codes at a time: four to a lane of 32 bits, then two to each half of it,
 * then one to each byte. */
CPU_TARGET(CPU_FEATURES_AVX2) static int64_t
unpack_avx2(const uint8_t *src, int64_t n, int bits, uint8_t *out)
{
	const int64_t bytes = (n * bits + 7) / 8;
	const int two = (1 << 2 * bits) - 1, one = (1 << bits) - 1;
	const __m256i at = lane_bytes(bits);
	const __m256i odd = _mm256_setr_epi32(0, bits % 2 * 4, 0, bits % 2 * 4,
	    0, bits % 2 * 4, 0, bits % 2 * 4);
	const __m256i low2 = _mm256_set1_epi32(two);
	const __m256i high2 = _mm256_set1_epi32((int)((unsigned)two << 16));
	const __m256i low = _mm256_set1_epi16((short)one);
	const __m256i high = _mm256_set1_epi16((short)(one << 8));
	const __m128i up2 = _mm_cvtsi32_si128(16 - 2 * bits);
	const __m128i up = _mm_cvtsi32_si128(8 - bits);
	int64_t i = 0;

	for (; i + 32 <= n && i / 8 * bits + 2 * bits + 16 <= bytes; i += 32) {
		const uint8_t *p = src + i / 8 * bits;
		__m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(
		    _mm_loadu_si128((const __m128i *)p)),
		    _mm_loadu_si128((const __m128i *)(p + 2 * bits)), 1);

		v = _mm256_srlv_epi32(_mm256_shuffle_epi8(v, at), odd);
		v = _mm256_or_si256(_mm256_and_si256(v, low2),
		    _mm256_and_si256(_mm256_sll_epi32(v, up2), high2));
		v = _mm256_or_si256(_mm256_and_si256(v, low),
		    _mm256_and_si256(_mm256_sll_epi16(v, up), high));
		_mm256_storeu_si256((__m256i *)(out + i), v);
	}
	return i;
}

/* Four bits: the halves of bytes, interleaved. */
CPU_TARGET(CPU_FEATURES_AVX2) static int64_t
unpack4_avx2(const uint8_t *src, int64_t n, uint8_t *out)
{
	const __m256i low = _mm256_set1_epi8(15);
	int64_t i;

	for (i = 0; i + 64 <= n; i += 64) {
		__m256i v = _mm256_permute4x64_epi64(_mm256_loadu_si256(
		    (const __m256i *)(src + i / 2)), 0xd8);
		__m256i a = _mm256_and_si256(v, low);
		__m256i b = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);

		_mm256_storeu_si256((__m256i *)(out + i),
		    _mm256_unpacklo_epi8(a, b));
		_mm256_storeu_si256((__m256i *)(out + i + 32),
		    _mm256_unpackhi_epi8(a, b));
	}
	return i;
}

/* ---- AVX-512 VBMI ---- */

/* 64 codes at a time: eight to a quadword, each taken from its place. */
CPU_TARGET(CPU_FEATURES_AVX512 ",avx512vbmi") static int64_t
unpack_vbmi(const uint8_t *src, int64_t n, int bits, uint8_t *out)
{
	const uint64_t each = UINT64_C(0x0101010101010101);
	const uint64_t count = UINT64_C(0x0706050403020100);
	const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
	const __m512i at = _mm512_add_epi64(_mm512_set1_epi64((int64_t)count),
	    _mm512_mullo_epi64(lane, _mm512_set1_epi64(
	    (int64_t)((uint64_t)bits * each))));
	const __m512i shift = _mm512_set1_epi64(
	    (int64_t)(count * (uint64_t)bits));
	const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));

	for (int64_t i = 0; i < n; i += 64) {
		int64_t left = n - i < 64 ? n - i : 64;
		int64_t bytes = (left * bits + 7) / 8;
		__m512i v = _mm512_maskz_loadu_epi8(bytes < 64 ?
		    (UINT64_C(1) << bytes) - 1 : UINT64_MAX,
		    src + i / 8 * bits);

		v = _mm512_and_si512(mask, _mm512_multishift_epi64_epi8(shift,
		    _mm512_permutexvar_epi8(at, v)));
		_mm512_mask_storeu_epi8(out + i, left < 64 ?
		    (UINT64_C(1) << left) - 1 : UINT64_MAX, v);
	}
	return n;
}

#endif

int64_t
code_unpack_fast(const uint8_t *src, int64_t n, int bits, uint8_t *out)
{
#if CPU_X86
	if (bits == 8 || cpu_level() < CPU_AVX2)
		return 0;
	if (cpu_has(CPU_VBMI))
		return unpack_vbmi(src, n, bits, out);
	return bits == 4 ? unpack4_avx2(src, n, out) :
	    unpack_avx2(src, n, bits, out);
#else
	return 0;
#endif
}
