/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Vectors and sparse rows. The bits of a run of columns say where a run of stored
 * values belongs: AVX-512 has an instruction that moves them there. For AVX2 the
 * places come from the bits: with each bit spread over a byte, depositing the
 * bytes 0, 1, 2, ... there gives the number of the value for each column, and a
 * permutation takes them.
 */
#include "tensor/kernel_sparse.h"

#include <string.h>

#if CPU_X86
#include <immintrin.h>

enum { AHEAD = 1024 };	/* bytes of values to ask for early */

#define INLINE512 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX512)
#define INLINE256 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX2)
#define INLINE static inline __attribute__((always_inline))

/* Bits of the 16 columns from k on; a row's bytes end with its columns. */
INLINE unsigned
bits16(const uint8_t *mask, int64_t k, int64_t cols)
{
	uint16_t w;

	if (cols - k <= 8)
		return mask[k / 8];
	memcpy(&w, mask + k / 8, 2);
	return w;
}

INLINE256 float
reduce256(__m256 v)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v),
	    _mm256_extractf128_ps(v, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* ---- AVX-512 ---- */

/* The next values, those that the n lowest lanes ask for, at the places of m. */
INLINE512 __m512
expand512(const int form, const char *v, __mmask16 m, int n)
{
	__mmask16 first = (__mmask16)((1u << n) - 1);

	if (form == FORM_F32)
		return _mm512_maskz_expandloadu_ps(m, v);
	if (form == FORM_F16)
		return _mm512_maskz_expand_ps(m, _mm512_cvtph_ps(
		    _mm256_maskz_loadu_epi16(first, v)));
	return _mm512_maskz_expand_ps(m, _mm512_castsi512_ps(
	    _mm512_slli_epi32(_mm512_cvtepu16_epi32(
	    _mm256_maskz_loadu_epi16(first, v)), 16)));
}

INLINE512 float
reduce512(const __m512 s[4])
{
	__m512 all = _mm512_add_ps(_mm512_add_ps(s[0], s[1]),
	    _mm512_add_ps(s[2], s[3]));

	return reduce256(_mm256_add_ps(_mm512_castps512_ps256(all),
	    _mm512_extractf32x8_ps(all, 1)));
}

/*
 * 64 columns. Zen 4 lets an expansion wait for the last one into the same
 * register, so four go to four, which must then be told apart from one that is
 * used four times. Places are counted from the start for the same reason: no
 * step waits for another.
 */
INLINE512 int64_t
expand64(const int form, const uint8_t *mask, const char *v, __m512 w[4])
{
	const int size = form == FORM_F32 ? 4 : 2;
	uint64_t bits;

	memcpy(&bits, mask, 8);
	_mm_prefetch(v + AHEAD, _MM_HINT_T0);
	_mm_prefetch(v + AHEAD + 64, _MM_HINT_T0);
	KERNEL_UNROLL
	for (int j = 0; j < 4; j++) {
		uint16_t m = (uint16_t)(bits >> 16 * j);

		w[j] = expand512(form, v + __builtin_popcountll(bits &
		    ((UINT64_C(1) << 16 * j) - 1)) * size, m,
		    __builtin_popcount(m));
	}
	__asm__("" : "+v"(w[0]), "+v"(w[1]), "+v"(w[2]), "+v"(w[3]));
	return __builtin_popcountll(bits);
}

INLINE512 void
dot512(const int form, const int tokens, const uint8_t *mask, const char *v,
    const float *x, int64_t cols, float *out)
{
	const int size = form == FORM_F32 ? 4 : 2;
	__m512 s[4][4], w[4];
	int64_t k = 0;

	KERNEL_UNROLL
	for (int j = 0; j < 4; j++)
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			s[i][j] = _mm512_setzero_ps();
	for (; k + 64 <= cols; k += 64) {
		v += expand64(form, mask + k / 8, v, w) * size;
		KERNEL_UNROLL
		for (int j = 0; j < 4; j++)
			KERNEL_UNROLL
			for (int i = 0; i < tokens; i++)
				s[i][j] = _mm512_fmadd_ps(w[j],
				    _mm512_loadu_ps(x + i * cols + k +
				    16 * j), s[i][j]);
	}
	KERNEL_UNROLL
	for (int j = 0; k < cols && j < 4; j++) {
		int64_t at = k + 16 * j;
		unsigned m = at < cols ? bits16(mask, at, cols) : 0;
		int n = __builtin_popcount(m);

		w[0] = expand512(form, v, (__mmask16)m, n);
		KERNEL_UNROLL
		for (int i = 0; m != 0 && i < tokens; i++)
			s[i][j] = _mm512_fmadd_ps(w[0], _mm512_maskz_loadu_ps(
			    (__mmask16)m, x + i * cols + at), s[i][j]);
		v += n * size;
	}
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		out[i] = reduce512(s[i]);
}

#define DOT512(kind) \
CPU_TARGET(CPU_FEATURES_AVX512) static void \
dot512_##kind(const uint8_t *mask, const void *v, const float *x, \
    int64_t cols, int tokens, float *out) \
{ \
	if (tokens == 1) \
		dot512(FORM_##kind, 1, mask, v, x, cols, out); \
	else if (tokens == 2) \
		dot512(FORM_##kind, 2, mask, v, x, cols, out); \
	else if (tokens == 3) \
		dot512(FORM_##kind, 3, mask, v, x, cols, out); \
	else \
		dot512(FORM_##kind, 4, mask, v, x, cols, out); \
}
DOT512(F32)
DOT512(F16)
DOT512(BF16)

static void
sparse_dot512(enum form_kind form, const uint8_t *mask, const void *v,
    const void *end, const float *x, int64_t cols, int tokens, float *out)
{
	(form == FORM_F16 ? dot512_F16 : form == FORM_BF16 ? dot512_BF16 :
	    dot512_F32)(mask, v, x, cols, tokens, out);
}

INLINE512 int64_t
expand_runs512(const int form, const uint8_t *mask, const char *v,
    int64_t cols, float *to, int64_t step)
{
	const int size = form == FORM_F32 ? 4 : 2;
	int64_t taken = 0, k = 0;

	for (; k + 64 <= cols; k += 64, to += 4 * step) {
		__m512 w[4];

		taken += expand64(form, mask + k / 8, v + taken * size, w);
		KERNEL_UNROLL
		for (int j = 0; j < 4; j++)
			_mm512_storeu_ps(to + j * step, w[j]);
	}
	for (; k < cols; k += 16, to += step) {
		unsigned m = bits16(mask, k, cols);
		int n = __builtin_popcount(m);

		_mm512_storeu_ps(to, expand512(form, v + taken * size,
		    (__mmask16)m, n));
		taken += n;
	}
	return taken;
}

CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
sparse_expand512(enum form_kind form, const uint8_t *mask, const void *v,
    const void *end, int64_t cols, float *to, int64_t step)
{
	switch (form) {
	case FORM_F16:
		return expand_runs512(FORM_F16, mask, v, cols, to, step);
	case FORM_BF16:
		return expand_runs512(FORM_BF16, mask, v, cols, to, step);
	default:
		return expand_runs512(FORM_F32, mask, v, cols, to, step);
	}
}

CPU_TARGET(CPU_FEATURES_AVX512) static int64_t
sparse_columns512(const uint8_t *mask, int64_t cols, int32_t first,
    int32_t *col)
{
	const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
	    10, 11, 12, 13, 14, 15);
	int64_t n = 0;

	for (int64_t k = 0; k < cols; k += 16) {
		unsigned m = bits16(mask, k, cols);
		__m512i c = _mm512_add_epi32(lanes, _mm512_set1_epi32(first +
		    (int32_t)k));

		_mm512_storeu_si512(col + n, _mm512_maskz_compress_epi32(
		    (__mmask16)m, c));
		n += __builtin_popcount(m);
	}
	return n;
}

/* Two sets of sums, for values in turns: one sum waits for the one before. */
INLINE512 void
multiply512(const int vecs, const float *v, const uint16_t *at, int64_t n,
    const float *block, float *sum)
{
	__m512 s[2][2];
	int64_t i = 0;

	KERNEL_UNROLL
	for (int j = 0; j < vecs; j++) {
		s[0][j] = _mm512_loadu_ps(sum + 16 * j);
		s[1][j] = _mm512_setzero_ps();
	}
	for (; i + 2 <= n; i += 2) {
		KERNEL_UNROLL
		for (int h = 0; h < 2; h++) {
			const float *b = block + at[i + h] * (PANEL_TOKENS /
			    SPARSE_STEP);
			__m512 a = _mm512_set1_ps(v[i + h]);

			KERNEL_UNROLL
			for (int j = 0; j < vecs; j++)
				s[h][j] = _mm512_fmadd_ps(a, _mm512_load_ps(b +
				    16 * j), s[h][j]);
		}
	}
	if (i < n) {
		const float *b = block + at[i] * (PANEL_TOKENS / SPARSE_STEP);

		KERNEL_UNROLL
		for (int j = 0; j < vecs; j++)
			s[0][j] = _mm512_fmadd_ps(_mm512_set1_ps(v[i]),
			    _mm512_load_ps(b + 16 * j), s[0][j]);
	}
	KERNEL_UNROLL
	for (int j = 0; j < vecs; j++)
		_mm512_storeu_ps(sum + 16 * j, _mm512_add_ps(s[0][j],
		    s[1][j]));
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
sparse_multiply512(const float *v, const uint16_t *at, int64_t n,
    const float *block, float *sum, bool half)
{
	if (half)
		multiply512(1, v, at, n, block, sum);
	else
		multiply512(2, v, at, n, block, sum);
}

/* ---- AVX2 ---- */

/* All ones in the lanes of eight bits. */
INLINE256 __m256
lanes256(unsigned m)
{
	const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
	__m256i b = _mm256_and_si256(_mm256_set1_epi32((int)m), bit);

	return _mm256_castsi256_ps(_mm256_cmpeq_epi32(b, bit));
}

/* Eight values from v on, or the n that are asked for near the end. */
INLINE256 __m256
load256(const int form, const char *v, const char *end, int n)
{
	const int size = form == FORM_F32 ? 4 : 2;
	uint16_t h[8];

	if (form == FORM_F32)
		return end - v >= 8 * size ? _mm256_loadu_ps((const float *)v) :
		    _mm256_maskload_ps((const float *)v,
		    _mm256_castps_si256(lanes256((1u << n) - 1)));
	if (end - v < 8 * size) {
		memset(h, 0, sizeof(h));
		memcpy(h, v, (size_t)n * 2);
		v = (const char *)h;
	}
	if (form == FORM_F16)
		return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)v));
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(
	    _mm_loadu_si128((const __m128i *)v)), 16));
}

INLINE256 __m256
expand256(const int form, const char *v, const char *end, unsigned m, int n)
{
	const uint64_t lanes = UINT64_C(0x0706050403020100);
	const uint64_t every = UINT64_C(0x0101010101010101);
	uint64_t at = _pdep_u64(lanes, _pdep_u64(m, every) * 0xff);
	__m256i place = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(
	    (long long)at));

	return _mm256_and_ps(lanes256(m), _mm256_permutevar8x32_ps(
	    load256(form, v, end, n), place));
}

/* The sums that AVX-512 keeps in four registers. */
INLINE256 float
dot256(const int form, const uint8_t *mask, const char *v, const char *end,
    const float *x, int64_t cols)
{
	const int size = form == FORM_F32 ? 4 : 2;
	const int64_t bytes = (cols + 7) / 8;
	__m256 s[8];

	KERNEL_UNROLL
	for (int j = 0; j < 8; j++)
		s[j] = _mm256_setzero_ps();
	for (int64_t i = 0; i < bytes; i += 8) {
		KERNEL_UNROLL
		for (int j = 0; j < 8; j++) {
			const float *at = x + (i + j) * 8;
			unsigned m = i + j < bytes ? mask[i + j] : 0;
			int n = __builtin_popcount(m);

			if (j == 0)
				_mm_prefetch(v + AHEAD, _MM_HINT_T0);
			if (m == 0)
				continue;
			s[j] = _mm256_fmadd_ps(expand256(form, v, end, m, n),
			    (i + j) * 8 + 8 <= cols ? _mm256_loadu_ps(at) :
			    _mm256_maskload_ps(at, _mm256_castps_si256(
			    lanes256(m))), s[j]);
			v += n * size;
		}
	}
	KERNEL_UNROLL
	for (int j = 0; j < 2; j++)
		s[j] = _mm256_add_ps(_mm256_add_ps(s[j], s[j + 2]),
		    _mm256_add_ps(s[j + 4], s[j + 6]));
	return reduce256(_mm256_add_ps(s[0], s[1]));
}

CPU_TARGET(CPU_FEATURES_AVX2) static void
sparse_dot256(enum form_kind form, const uint8_t *mask, const void *v,
    const void *end, const float *x, int64_t cols, int tokens, float *out)
{
	for (int i = 0; i < tokens; i++, x += cols)
		out[i] = form == FORM_F16 ?
		    dot256(FORM_F16, mask, v, end, x, cols) :
		    form == FORM_BF16 ?
		    dot256(FORM_BF16, mask, v, end, x, cols) :
		    dot256(FORM_F32, mask, v, end, x, cols);
}

INLINE256 int64_t
expand_runs256(const int form, const uint8_t *mask, const char *v,
    const char *end, int64_t cols, float *to, int64_t step)
{
	const int size = form == FORM_F32 ? 4 : 2;
	int64_t taken = 0;

	for (int64_t k = 0; k < cols; k += 16, to += step) {
		unsigned m = bits16(mask, k, cols);
		int lo = __builtin_popcount(m & 0xff);
		int hi = __builtin_popcount(m >> 8);

		_mm256_storeu_ps(to, expand256(form, v + taken * size, end,
		    m & 0xff, lo));
		taken += lo;
		_mm256_storeu_ps(to + 8, expand256(form, v + taken * size,
		    end, m >> 8, hi));
		taken += hi;
	}
	return taken;
}

CPU_TARGET(CPU_FEATURES_AVX2) static int64_t
sparse_expand256(enum form_kind form, const uint8_t *mask, const void *v,
    const void *end, int64_t cols, float *to, int64_t step)
{
	switch (form) {
	case FORM_F16:
		return expand_runs256(FORM_F16, mask, v, end, cols, to, step);
	case FORM_BF16:
		return expand_runs256(FORM_BF16, mask, v, end, cols, to,
		    step);
	default:
		return expand_runs256(FORM_F32, mask, v, end, cols, to, step);
	}
}

/* The numbers of the lanes of m come first after a permutation that pext
 * gives, the inverse of expand256()'s. */
CPU_TARGET(CPU_FEATURES_AVX2) static int64_t
sparse_columns256(const uint8_t *mask, int64_t cols, int32_t first,
    int32_t *col)
{
	const uint64_t lanes = UINT64_C(0x0706050403020100);
	const uint64_t every = UINT64_C(0x0101010101010101);
	int64_t n = 0;

	for (int64_t k = 0; k < cols; k += 8) {
		unsigned m = mask[k / 8];
		uint64_t at = _pext_u64(lanes, _pdep_u64(m, every) * 0xff);

		_mm256_storeu_si256((__m256i *)(col + n), _mm256_add_epi32(
		    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)at)),
		    _mm256_set1_epi32(first + (int32_t)k)));
		n += __builtin_popcount(m);
	}
	return n;
}

INLINE256 void
multiply256(const int vecs, const float *v, const uint16_t *at, int64_t n,
    const float *block, float *sum)
{
	__m256 s[2][4];
	int64_t i = 0;

	KERNEL_UNROLL
	for (int j = 0; j < vecs; j++) {
		s[0][j] = _mm256_loadu_ps(sum + 8 * j);
		s[1][j] = _mm256_setzero_ps();
	}
	for (; i + 2 <= n; i += 2) {
		KERNEL_UNROLL
		for (int h = 0; h < 2; h++) {
			const float *b = block + at[i + h] * (PANEL_TOKENS /
			    SPARSE_STEP);
			__m256 a = _mm256_broadcast_ss(v + i + h);

			KERNEL_UNROLL
			for (int j = 0; j < vecs; j++)
				s[h][j] = _mm256_fmadd_ps(a, _mm256_load_ps(b +
				    8 * j), s[h][j]);
		}
	}
	if (i < n) {
		const float *b = block + at[i] * (PANEL_TOKENS / SPARSE_STEP);

		KERNEL_UNROLL
		for (int j = 0; j < vecs; j++)
			s[0][j] = _mm256_fmadd_ps(_mm256_set1_ps(v[i]),
			    _mm256_load_ps(b + 8 * j), s[0][j]);
	}
	KERNEL_UNROLL
	for (int j = 0; j < vecs; j++)
		_mm256_storeu_ps(sum + 8 * j, _mm256_add_ps(s[0][j],
		    s[1][j]));
}

CPU_TARGET(CPU_FEATURES_AVX2) static void
sparse_multiply256(const float *v, const uint16_t *at, int64_t n,
    const float *block, float *sum, bool half)
{
	if (half)
		multiply256(2, v, at, n, block, sum);
	else
		multiply256(4, v, at, n, block, sum);
}

static const struct sparse_code code256 = { sparse_dot256, sparse_expand256,
	sparse_columns256, sparse_multiply256 };
static const struct sparse_code code512 = { sparse_dot512, sparse_expand512,
	sparse_columns512, sparse_multiply512 };

const struct sparse_code *
sparse_code(void)
{
	return cpu_level() >= CPU_AVX512 ? &code512 : &code256;
}

#else

const struct sparse_code *
sparse_code(void)
{
	return NULL;
}

#endif
