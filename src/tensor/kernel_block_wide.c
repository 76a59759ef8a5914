/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks times a few rows of int8 with AVX-512 VNNI and VBMI: 64 columns at a
 * time, which are two blocks or a quarter of one. What they are multiplied with
 * lies ready for each lane of four columns.
 */
#include "tensor/kernel_block_parts.h"

#if CPU_X86

#define VBMI_FEATURES CPU_FEATURES_VNNI ",avx512vbmi"
#define VBMI CPU_TARGET(VBMI_FEATURES)
#define INLINE static inline __attribute__((always_inline))

/* ---- constants of lanes ---- */

/* Bytes a in the lower half, b in the upper. */
VBMI INLINE __m512i
halves_of(char a, char b)
{
	return _mm512_inserti64x4(_mm512_set1_epi8(a), _mm256_set1_epi8(b), 1);
}

/* Shifts of quadwords of the lower half and the upper. */
VBMI INLINE __m512i
shifts_of(int a, int b)
{
	return _mm512_setr_epi64(a, a, a, a, b, b, b, b);
}

/* Low nibbles, then high ones, of two times 16 bytes that are there twice. */
VBMI INLINE __m512i
nibbles_of(__m512i v)
{
	return _mm512_and_si512(_mm512_set1_epi8(15), _mm512_srlv_epi64(v,
	    _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)));
}

/* ---- two blocks of 32 ---- */

/* Where the nibbles are, from byte `at` of each, twice. */
VBMI INLINE __m512i
nibble_bytes(int at, int bytes)
{
	const __m128i count = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
	    11, 12, 13, 14, 15);
	__m128i a = _mm_add_epi8(count, _mm_set1_epi8((char)at));
	__m128i b = _mm_add_epi8(a, _mm_set1_epi8((char)bytes));

	return _mm512_inserti64x4(_mm512_castsi256_si512(
	    _mm256_broadcastsi128_si256(a)), _mm256_broadcastsi128_si256(b),
	    1);
}

/* The float16 at word `at` of both, in their lanes. */
VBMI INLINE __m512
half_lanes(__m512i v, int at, int bytes)
{
	const __m256i a = _mm256_set1_epi16((short)at);
	const __m256i b = _mm256_set1_epi16((short)(at + bytes / 2));
	const __m512i of = _mm512_castsi256_si512(_mm256_blend_epi32(a, b,
	    0xf0));

	return _mm512_cvtph_ps(_mm512_castsi512_si256(
	    _mm512_permutexvar_epi16(of, v)));
}

/* 16 more where the bit is set, of 32 at byte `at` of both. */
VBMI INLINE __m512i
add_fifths(__m512i code, __m512i v, int at, int bytes)
{
	const __m512i bit = _mm512_set1_epi64((int64_t)
	    UINT64_C(0x8040201008040201));
	const __m512i each = _mm512_setr_epi64(0, 0x0101010101010101,
	    0x0202020202020202, 0x0303030303030303, 0, 0x0101010101010101,
	    0x0202020202020202, 0x0303030303030303);
	__m512i of = _mm512_add_epi8(each, halves_of((char)at,
	    (char)(at + bytes)));

	return _mm512_mask_add_epi8(code, _mm512_test_epi8_mask(
	    _mm512_permutexvar_epi8(of, v), bit), code, _mm512_set1_epi8(16));
}

VBMI INLINE __m512i
look_up_lifted(__m512i v)
{
	const __m512i table = _mm512_broadcast_i32x4(
	    _mm_loadu_si128((const __m128i *)parts_iq4));

	return _mm512_xor_si512(_mm512_set1_epi8((char)128),
	    _mm512_shuffle_epi8(table, v));
}

/* A half that is not there has steps of 0. */
struct pair {
	__m512i code;
	__m512 step, base;
};

VBMI INLINE void
pair_q8(const uint8_t *b, bool both, struct pair *p)
{
	const uint8_t *next = both ? b + 34 : b;
	uint16_t h[2] = { 0 };

	memcpy(&h[0], b, 2);
	if (both)
		memcpy(&h[1], next, 2);
	p->code = _mm512_xor_si512(_mm512_set1_epi8((char)128),
	    _mm512_inserti64x4(_mm512_castsi256_si512(load32(b + 2)),
	    load32(next + 2), 1));
	p->step = _mm512_cvtph_ps(_mm256_inserti128_si256(
	    _mm256_castsi128_si256(_mm_set1_epi16((short)h[0])),
	    _mm_set1_epi16((short)h[1]), 1));
}

VBMI INLINE void
take_pair(const enum block_kind kind, const uint8_t *b, bool both,
    struct pair *p)
{
	const int bytes = parts_bytes(kind);
	const int fifth = kind == BLOCK_Q5_0 || kind == BLOCK_Q5_1 ? 4 : 0;
	const int head = BLOCK_IS_AFFINE(kind) ? 4 : 2;
	__m512i v;

	if (kind == BLOCK_Q8_0) {
		pair_q8(b, both, p);
		return;
	}
	v = _mm512_maskz_loadu_epi8((UINT64_C(1) << (both ? 2 * bytes :
	    bytes)) - 1, b);
	p->code = nibbles_of(_mm512_permutexvar_epi8(nibble_bytes(head + fifth,
	    bytes), v));
	if (fifth != 0)
		p->code = add_fifths(p->code, v, head, bytes);
	if (kind == BLOCK_IQ4_NL)
		p->code = look_up_lifted(p->code);
	p->step = half_lanes(v, 0, bytes);
	if (BLOCK_IS_AFFINE(kind))
		p->base = half_lanes(v, 1, bytes);
}

/* ---- a quarter of a block of 256 ---- */

/* 32 bytes, twice. */
VBMI INLINE __m512i
twice(const uint8_t *p)
{
	return _mm512_broadcast_i64x4(load32(p));
}

VBMI INLINE __m512i
shift_twice(const uint8_t *p, int a, int b, char mask)
{
	return _mm512_and_si512(_mm512_set1_epi8(mask),
	    _mm512_srlv_epi64(twice(p), shifts_of(a, b)));
}

/* `more` where bit 2 k, or in the upper half 2 k + 1, is set. */
VBMI INLINE __m512i
add_bits(__m512i code, const uint8_t *p, int k, char more)
{
	return _mm512_mask_add_epi8(code, _mm512_test_epi8_mask(twice(p),
	    halves_of((char)(1 << 2 * k), (char)(2 << 2 * k))), code,
	    _mm512_set1_epi8(more));
}

VBMI INLINE __m512i
quarter_q6(const uint8_t *b, int k)
{
	__m512i low = _mm512_loadu_si512(b + k / 2 * 64);
	__m512i two = twice(b + 128 + k / 2 * 32);

	two = k % 2 == 0 ? _mm512_sllv_epi64(two, shifts_of(4, 2)) :
	    _mm512_srlv_epi64(two, shifts_of(0, 2));
	if (k % 2 == 1)
		low = _mm512_srli_epi64(low, 4);
	return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(15)),
	    _mm512_and_si512(two, _mm512_set1_epi8(0x30)));
}

VBMI INLINE __m512i
quarter_iq4(const uint8_t *b, int k)
{
	__m512i v = _mm512_castsi256_si512(load32(b + 8 + 32 * k));

	return look_up_lifted(nibbles_of(_mm512_permutexvar_epi64(
	    _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), v)));
}

/* Codes of columns [64 k, 64 k + 64). */
VBMI INLINE __m512i
take_quarter(const enum block_kind kind, const uint8_t *b, int k)
{
	switch (kind) {
	case BLOCK_Q2_K:
		return shift_twice(b + 16 + k / 2 * 32, k % 2 * 4,
		    k % 2 * 4 + 2, 3);
	case BLOCK_Q3_K:
		return add_bits(shift_twice(b + 32 + k / 2 * 32, k % 2 * 4,
		    k % 2 * 4 + 2, 3), b, k, 4);
	case BLOCK_Q4_K:
		return shift_twice(b + 16 + k * 32, 0, 4, 15);
	case BLOCK_Q5_K:
		return add_bits(shift_twice(b + 48 + k * 32, 0, 4, 15), b + 16,
		    k, 16);
	case BLOCK_Q6_K:
		return quarter_q6(b, k);
	default:
		return quarter_iq4(b, k);
	}
}

/* Their steps. */
VBMI INLINE __m512
quarter_step(const enum block_kind kind, const struct parts_scales *s, int k)
{
	if (BLOCK_IS_SHORT(kind)) {
		const int g = 4 * k;

		return _mm512_permutexvar_ps(_mm512_setr_epi32(g, g, g, g,
		    g + 1, g + 1, g + 1, g + 1, g + 2, g + 2, g + 2, g + 2,
		    g + 3, g + 3, g + 3, g + 3), _mm512_insertf32x8(
		    _mm512_castps256_ps512(s->step[0]), s->step[1], 1));
	}
	return _mm512_permutexvar_ps(_mm512_inserti64x4(
	    _mm512_set1_epi32(2 * k), _mm256_set1_epi32(2 * k + 1), 1),
	    _mm512_castps256_ps512(s->step[0]));
}

/* ---- dots ---- */

/* Sums of a row of W, one for each row of x. */
struct totals {
	__m512 acc[BLOCK_FEW], low[BLOCK_FEW];
};

/* 64 columns from c on. */
VBMI INLINE void
add_dots(const enum block_kind kind, const struct few *f, __m512i code,
    __m512 step, int64_t c, struct totals *t, const int tokens)
{
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		const struct few_x *x = &f->x[i];
		__m512i d = BLOCK_IS_AFFINE(kind) ? _mm512_setzero_si512() :
		    _mm512_loadu_si512(x->init + c / 4);

		d = _mm512_dpbusd_epi32(d, code, _mm512_loadu_si512(x->q + c));
		t->acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(step,
		    _mm512_loadu_ps(x->scales + c / 4)),
		    _mm512_cvtepi32_ps(d), t->acc[i]);
	}
}

/* A block of 256 at column c. */
VBMI INLINE void
add_large(const enum block_kind kind, const struct few *f, const uint8_t *b,
    int64_t c, struct totals *t, const int tokens)
{
	struct parts_scales s;

	parts_scales(kind, b, &s);
	KERNEL_UNROLL
	for (int k = 0; k < 4; k++)
		add_dots(kind, f, take_quarter(kind, b, k),
		    quarter_step(kind, &s, k), c + 64 * k, t, tokens);
	if (!BLOCK_IS_AFFINE(kind))
		return;
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		const float *sum = f->x[i].sum;

		if (BLOCK_IS_SHORT(kind))
			t->low[i] = _mm512_fmadd_ps(_mm512_insertf32x8(
			    _mm512_castps256_ps512(s.base[0]), s.base[1], 1),
			    _mm512_loadu_ps(sum + c / 16), t->low[i]);
		else
			t->low[i] = _mm512_fmadd_ps(_mm512_zextps256_ps512(
			    s.base[0]), _mm512_zextps256_ps512(
			    _mm256_loadu_ps(sum + c / 32)), t->low[i]);
	}
}

/* Two blocks of 32 at column c, or one. */
VBMI INLINE void
add_pair(const enum block_kind kind, const struct few *f, const uint8_t *b,
    bool both, int64_t c, struct totals *t, const int tokens)
{
	struct pair p;

	take_pair(kind, b, both, &p);
	add_dots(kind, f, p.code, p.step, c, t, tokens);
	if (!BLOCK_IS_AFFINE(kind))
		return;
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		t->low[i] = _mm512_fmadd_ps(p.base, _mm512_loadu_ps(
		    f->x[i].sums + c / 4), t->low[i]);
}

VBMI INLINE void
fetch(const uint8_t *p, int64_t ahead, const int bytes)
{
	for (int at = 0; at < bytes; at += 64)
		_mm_prefetch((const char *)p + ahead + at, _MM_HINT_T1);
}

VBMI INLINE void
dots(const struct few *f, const enum block_kind kind, const int rows,
    const int tokens)
{
	const int bytes = parts_bytes(kind) * (BLOCK_IS_LARGE(kind) ? 1 : 2);
	const int64_t values = BLOCK_IS_LARGE(kind) ? 256 : 64;
	const int64_t whole = BLOCK_IS_LARGE(kind) ? f->blocks : f->blocks / 2;
	const uint8_t *w[FEW_ROWS];
	struct totals t[FEW_ROWS];

	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		w[r] = f->w + (r < f->rows ? r : f->rows - 1) * f->ldw;
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			t[r].acc[i] = t[r].low[i] = _mm512_setzero_ps();
	}
	for (int64_t b = 0; b < whole; b++) {
		KERNEL_UNROLL
		for (int r = 0; r < rows; r++) {
			fetch(w[r], f->ahead, bytes);
			if (BLOCK_IS_LARGE(kind))
				add_large(kind, f, w[r], b * values, &t[r],
				    tokens);
			else
				add_pair(kind, f, w[r], true, b * values,
				    &t[r], tokens);
			w[r] += bytes;
		}
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		if (!BLOCK_IS_LARGE(kind) && f->blocks % 2 != 0)
			add_pair(kind, f, w[r], false, whole * values, &t[r],
			    tokens);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			float s = _mm512_reduce_add_ps(_mm512_add_ps(
			    t[r].acc[i], t[r].low[i]));
			float *y = f->y[i] + r;

			if (r < f->rows)
				*y = f->accumulate ? *y + s : s;
		}
	}
}

#define SHAPE(kind, tokens) \
VBMI static void \
dots_##kind##_##tokens(const struct few *f) \
{ \
	dots(f, BLOCK_##kind, FEW_WIDE_STEP(tokens), tokens); \
}
#define SHAPES(kind) SHAPE(kind, 1) SHAPE(kind, 2) SHAPE(kind, 4)
SHAPES(Q4_0)
SHAPES(Q4_1)
SHAPES(Q5_0)
SHAPES(Q5_1)
SHAPES(Q8_0)
SHAPES(Q2_K)
SHAPES(Q3_K)
SHAPES(Q4_K)
SHAPES(Q5_K)
SHAPES(Q6_K)
SHAPES(IQ4_NL)
SHAPES(IQ4_XS)

#define ROW(kind) [BLOCK_##kind] = { dots_##kind##_1, dots_##kind##_2, \
	dots_##kind##_4, dots_##kind##_4 }
few_fn *const few_wide[BLOCK_KINDS][BLOCK_FEW] = { ROW(Q4_0), ROW(Q4_1),
	ROW(Q5_0), ROW(Q5_1), ROW(Q8_0), ROW(Q2_K), ROW(Q3_K), ROW(Q4_K),
	ROW(Q5_K), ROW(Q6_K), ROW(IQ4_NL), ROW(IQ4_XS) };

#endif
