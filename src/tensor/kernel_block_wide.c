/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks times a few rows of int8 with AVX-512 VNNI and VBMI. A quarter of a
 * block of 256 fills a register, or two of Q8_0; of nibbles four blocks fill one
 * before they are taken apart, so that the low ones and the high ones of a block
 * are added up before they meet their scale.
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

VBMI INLINE __m512i
look_up_lifted(__m512i v)
{
	const __m512i table = _mm512_broadcast_i32x4(
	    _mm_loadu_si128((const __m128i *)parts_iq4));

	return _mm512_xor_si512(_mm512_set1_epi8((char)128),
	    _mm512_shuffle_epi8(table, v));
}

/* ---- four blocks of 32 nibbles ---- */

/* Of each of four blocks 16 bytes from byte `at` on, each `of` times. */
#define IN_FOUR(bytes, at, of, i) \
    ((i) / 16 * (bytes) + (at) + (i) % 16 / (of))
#define TIMES_4(f, a, b, c, i) f(a, b, c, i), f(a, b, c, (i) + 1), \
    f(a, b, c, (i) + 2), f(a, b, c, (i) + 3)
#define TIMES_16(f, a, b, c, i) TIMES_4(f, a, b, c, i), \
    TIMES_4(f, a, b, c, (i) + 4), TIMES_4(f, a, b, c, (i) + 8), \
    TIMES_4(f, a, b, c, (i) + 12)
#define TIMES_64(f, a, b, c) { TIMES_16(f, a, b, c, 0), \
    TIMES_16(f, a, b, c, 16), TIMES_16(f, a, b, c, 32), \
    TIMES_16(f, a, b, c, 48) }
/* Word `at` of each block, four times. */
#define HALF_IN_FOUR(bytes, at, none, i) ((i) / 4 * (bytes) / 2 + (at))

struct quad_places {
	uint8_t nibbles[64], low[64], high[64];	/* fifth bits of the halves */
	uint16_t step[16], base[16];
};

/* Types with `bits` bytes of fifth bits behind `head` bytes of scales. */
#define PLACES(bytes, head, bits) { \
	TIMES_64(IN_FOUR, bytes, head + bits, 1), \
	TIMES_64(IN_FOUR, bytes, head, 8), \
	TIMES_64(IN_FOUR, bytes, head + bits / 2, 8), \
	{ TIMES_16(HALF_IN_FOUR, bytes, 0, 0, 0) }, \
	{ TIMES_16(HALF_IN_FOUR, bytes, 1, 0, 0) } }

static const struct quad_places quad_places[BLOCK_KINDS] = {
	[BLOCK_Q4_0] = PLACES(18, 2, 0), [BLOCK_Q4_1] = PLACES(20, 4, 0),
	[BLOCK_Q5_0] = PLACES(22, 2, 4), [BLOCK_Q5_1] = PLACES(24, 4, 4),
	[BLOCK_IQ4_NL] = PLACES(18, 2, 0)
};

/* Codes of the first 16 columns of each, and of the second. Blocks that are not
 * there have steps of 0. */
struct quad {
	__m512i low, high;
	__m512 step, base;
};

VBMI INLINE __mmask64
first_bytes(int n)
{
	return n <= 0 ? 0 : ~UINT64_C(0) >> (64 - (n < 64 ? n : 64));
}

/* What four blocks have behind their first 64 bytes. */
VBMI INLINE __m512i
load_rest(const uint8_t *b, const int bytes)
{
	if (bytes == 8)
		return _mm512_castsi128_si512(_mm_loadl_epi64(
		    (const __m128i *)b));
	if (bytes == 16)
		return _mm512_castsi128_si512(_mm_loadu_si128(
		    (const __m128i *)b));
	return _mm512_castsi256_si512(bytes == 32 ? load32(b) :
	    _mm256_maskz_loadu_epi8((1u << bytes) - 1, b));
}

/* All of them are in the first 64 bytes where blocks have 20 or less. */
VBMI INLINE __m512
quad_halves(const int bytes, __m512i a, const uint16_t at[16], __m512i b)
{
	const __m512i of = _mm512_castsi256_si512(load32((const uint8_t *)at));

	return _mm512_cvtph_ps(_mm512_castsi512_si256(bytes <= 20 ?
	    _mm512_permutexvar_epi16(of, a) :
	    _mm512_permutex2var_epi16(a, of, b)));
}

VBMI INLINE __m512i
add_fifths(__m512i code, __m512i a, const uint8_t at[64], __m512i b)
{
	const __m512i bit = _mm512_set1_epi64((int64_t)
	    UINT64_C(0x8040201008040201));

	return _mm512_mask_add_epi8(code, _mm512_test_epi8_mask(
	    _mm512_permutex2var_epi8(a, _mm512_loadu_si512(at), b), bit), code,
	    _mm512_set1_epi8(16));
}

/* `count` blocks, or with `whole` four. */
VBMI INLINE void
take_quad(const enum block_kind kind, const uint8_t *b, const bool whole,
    int count, struct quad *q)
{
	const int bytes = parts_bytes(kind);
	const struct quad_places *at = &quad_places[kind];
	__m512i x, y, v;

	if (whole) {
		x = _mm512_loadu_si512(b);
		y = load_rest(b + 64, 4 * bytes - 64);
	} else {
		x = _mm512_maskz_loadu_epi8(first_bytes(count * bytes), b);
		y = _mm512_maskz_loadu_epi8(first_bytes(count * bytes - 64),
		    b + 64);
	}
	v = _mm512_permutex2var_epi8(x, _mm512_loadu_si512(at->nibbles), y);
	q->low = _mm512_and_si512(v, _mm512_set1_epi8(15));
	q->high = _mm512_and_si512(_mm512_srli_epi64(v, 4),
	    _mm512_set1_epi8(15));
	if (kind == BLOCK_Q5_0 || kind == BLOCK_Q5_1) {
		q->low = add_fifths(q->low, x, at->low, y);
		q->high = add_fifths(q->high, x, at->high, y);
	}
	if (kind == BLOCK_IQ4_NL) {
		q->low = look_up_lifted(q->low);
		q->high = look_up_lifted(q->high);
	}
	q->step = quad_halves(bytes, x, at->step, y);
	if (BLOCK_IS_AFFINE(kind))
		q->base = quad_halves(bytes, x, at->base, y);
}

/* ---- two blocks of Q8_0 ---- */

/* A half that is not there has steps of 0. */
struct pair {
	__m512i code;
	__m512 step;
};

VBMI INLINE void
take_pair(const uint8_t *b, bool both, struct pair *p)
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

/* `more` where bit a, or in the upper half b, is set. */
VBMI INLINE __m512i
add_bits(__m512i code, const uint8_t *p, int a, int b, char more)
{
	return _mm512_mask_add_epi8(code, _mm512_test_epi8_mask(twice(p),
	    halves_of((char)(1 << a), (char)(1 << b))), code,
	    _mm512_set1_epi8(more));
}

/* The low nibbles of 64 bytes, or the high ones. */
VBMI INLINE __m512i
nibbles_64(__m512i v, bool high)
{
	return _mm512_and_si512(_mm512_set1_epi8(15), high ?
	    _mm512_srli_epi64(v, 4) : v);
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

	return look_up_lifted(_mm512_and_si512(_mm512_set1_epi8(15),
	    _mm512_srlv_epi64(_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1,
	    0, 1, 2, 3, 2, 3), v), _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4,
	    4))));
}

/* Groups of 32 columns of quarter k: the first, and how far on the second is. Low
 * nibbles of 64 bytes are groups 0 and 2, high ones 1 and 3. */
#define IS_NIBBLED(kind) ((kind) == BLOCK_Q4_K || (kind) == BLOCK_Q5_K)
#define QUARTER_GROUP(kind, k) (IS_NIBBLED(kind) ? (k) / 2 * 4 + (k) % 2 : \
    2 * (k))
#define QUARTER_NEXT(kind) (IS_NIBBLED(kind) ? 2 : 1)

/* Codes of quarter k. */
VBMI INLINE __m512i
take_quarter(const enum block_kind kind, const uint8_t *b, int k)
{
	const int g = QUARTER_GROUP(kind, k);

	switch (kind) {
	case BLOCK_Q2_K:
		return shift_twice(b + 16 + k / 2 * 32, k % 2 * 4,
		    k % 2 * 4 + 2, 3);
	case BLOCK_Q3_K:
		return add_bits(shift_twice(b + 32 + k / 2 * 32, k % 2 * 4,
		    k % 2 * 4 + 2, 3), b, 2 * k, 2 * k + 1, 4);
	case BLOCK_Q4_K:
		return nibbles_64(_mm512_loadu_si512(b + 16 + k / 2 * 64),
		    k % 2 != 0);
	case BLOCK_Q5_K:
		return add_bits(nibbles_64(_mm512_loadu_si512(b + 48 + k / 2 *
		    64), k % 2 != 0), b + 16, g, g + 2, 16);
	case BLOCK_Q6_K:
		return quarter_q6(b, k);
	default:
		return quarter_iq4(b, k);
	}
}

/* Their int8. */
VBMI INLINE __m512i
quarter_q(const enum block_kind kind, const int8_t *q, int k)
{
	const uint8_t *at = (const uint8_t *)q + 32 * QUARTER_GROUP(kind, k);

	if (QUARTER_NEXT(kind) == 1)
		return _mm512_loadu_si512(at);
	return _mm512_inserti64x4(_mm512_castsi256_si512(load32(at)),
	    load32(at + 32 * QUARTER_NEXT(kind)), 1);
}

/* What their sums are multiplied with, of those of all groups. */
VBMI INLINE __m512
quarter_step(const enum block_kind kind, __m512 steps, int k)
{
	const int g = BLOCK_IS_SHORT(kind) ? 4 * k : QUARTER_GROUP(kind, k);
	const int n = g + QUARTER_NEXT(kind);

	return _mm512_permutexvar_ps(BLOCK_IS_SHORT(kind) ?
	    _mm512_setr_epi32(g, g, g, g, g + 1, g + 1, g + 1, g + 1, g + 2,
	    g + 2, g + 2, g + 2, g + 3, g + 3, g + 3, g + 3) :
	    _mm512_setr_epi32(g, g, g, g, g, g, g, g, n, n, n, n, n, n, n, n),
	    steps);
}

/* ---- dots ---- */

/* Sums of a row of W, one for each row of x. */
struct totals {
	__m512 acc[BLOCK_FEW], low[BLOCK_FEW];
};

/* Steps of Q4_K and Q5_K in the lower half, bases in the upper: six bits each of
 * 12 bytes, of those from the fifth on four and two. */
VBMI INLINE __m512
scales_nibbled(const uint8_t *b)
{
	const __m128i v = _mm_loadu_si128((const __m128i *)b);
	const __m128i low = _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f,
	    0x0f0f0f0f);
	const __m128i high = _mm_setr_epi32(0, 0x30303030, 0, 0x30303030);
	const __m128i four = _mm_and_si128(low, _mm_srlv_epi32(
	    _mm_shuffle_epi32(v, _MM_SHUFFLE(3, 2, 3, 1)),
	    _mm_setr_epi32(0, 0, 0, 4)));

	return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
	    _mm_or_si128(four, _mm_and_si128(_mm_srli_epi32(
	    _mm_shuffle_epi32(v, _MM_SHUFFLE(2, 2, 1, 1)), 2), high)))),
	    _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1,
	    1, 1, 1, 1, 1, 1, 1), _mm512_castps128_ps512(_mm_cvtph_ps(v))));
}

/* Steps of the groups of a block of 256 at column c, times scales of x. */
VBMI INLINE __m512
block_steps(const enum block_kind kind, const struct parts_scales *s,
    const struct few_x *x, int64_t c)
{
	if (BLOCK_IS_SHORT(kind))
		return _mm512_mul_ps(_mm512_insertf32x8(_mm512_castps256_ps512(
		    s->step[0]), s->step[1], 1),
		    _mm512_loadu_ps(x->scales + c / 16));
	return _mm512_castps256_ps512(_mm256_mul_ps(s->step[0],
	    _mm256_loadu_ps(x->scale + c / 32)));
}

/* Bases of Q2_K times sums of x. */
VBMI INLINE __m512
add_bases(const struct parts_scales *s, const struct few_x *x, int64_t c,
    __m512 low)
{
	return _mm512_fmadd_ps(_mm512_insertf32x8(_mm512_castps256_ps512(
	    s->base[0]), s->base[1], 1), _mm512_loadu_ps(x->sum + c / 16),
	    low);
}

VBMI INLINE void
add_large(const enum block_kind kind, const struct few *f, const uint8_t *b,
    int64_t c, struct totals *t, const int tokens)
{
	struct parts_scales s;
	__m512 steps[BLOCK_FEW], both = _mm512_setzero_ps();

	if (IS_NIBBLED(kind))
		both = scales_nibbled(b);
	else
		parts_scales(kind, b, &s);
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		if (!IS_NIBBLED(kind)) {
			steps[i] = block_steps(kind, &s, &f->x[i], c);
			continue;
		}
		steps[i] = _mm512_mul_ps(both, _mm512_loadu_ps(
		    f->x[i].scales + c / 16));
		t->low[i] = _mm512_mask_add_ps(t->low[i], 0xff00, t->low[i],
		    steps[i]);
	}
	KERNEL_UNROLL
	for (int k = 0; k < 4; k++) {
		__m512i code = take_quarter(kind, b, k);
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			const struct few_x *x = &f->x[i];
			__m512i d = BLOCK_IS_AFFINE(kind) ?
			    _mm512_setzero_si512() : _mm512_loadu_si512(
			    x->init + c / 4 + 16 * k);

			d = _mm512_dpbusd_epi32(d, code, quarter_q(kind,
			    x->q + c, k));
			t->acc[i] = _mm512_fmadd_ps(quarter_step(kind,
			    steps[i], k), _mm512_cvtepi32_ps(d), t->acc[i]);
		}
	}
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		if (kind == BLOCK_Q2_K)
			t->low[i] = add_bases(&s, &f->x[i], c, t->low[i]);
}

/* Two blocks of Q8_0 at column c, or one. */
VBMI INLINE void
add_pair(const struct few *f, const uint8_t *b, const bool both, int64_t c,
    struct totals *t, const int tokens)
{
	struct pair p;

	take_pair(b, both, &p);
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		const struct few_x *x = &f->x[i];
		__m512i d = _mm512_dpbusd_epi32(_mm512_loadu_si512(x->init +
		    c / 4), p.code, _mm512_loadu_si512(x->q + c));

		t->acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(p.step,
		    _mm512_loadu_ps(x->scales + c / 4)),
		    _mm512_cvtepi32_ps(d), t->acc[i]);
	}
}

/* Four blocks at column c, or with `whole` false `count`. */
VBMI INLINE void
add_quad(const enum block_kind kind, const struct few *f, const uint8_t *b,
    const bool whole, int count, int64_t c, struct totals *t, const int tokens)
{
	struct quad q;

	take_quad(kind, b, whole, count, &q);
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		const struct few_x *x = &f->x[i];
		__m512i d = BLOCK_IS_AFFINE(kind) ? _mm512_setzero_si512() :
		    _mm512_loadu_si512(x->init + c / 8);

		d = _mm512_dpbusd_epi32(d, q.low, _mm512_loadu_si512(x->q +
		    c));
		d = _mm512_dpbusd_epi32(d, q.high, _mm512_loadu_si512(x->q +
		    c + 64));
		t->acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(q.step,
		    _mm512_loadu_ps(x->scales + c / 8)),
		    _mm512_cvtepi32_ps(d), t->acc[i]);
		if (BLOCK_IS_AFFINE(kind))
			t->low[i] = _mm512_fmadd_ps(q.base, _mm512_loadu_ps(
			    x->sums + c / 8), t->low[i]);
	}
}

/* ---- rows ---- */

/* Blocks that are taken together. */
#define TOGETHER(kind) (BLOCK_IS_LARGE(kind) ? 1 : BLOCK_IS_QUAD(kind) ? 4 : 2)

VBMI INLINE void
add_blocks(const enum block_kind kind, const struct few *f, const uint8_t *b,
    int64_t c, struct totals *t, const int tokens)
{
	if (BLOCK_IS_LARGE(kind))
		add_large(kind, f, b, c, t, tokens);
	else if (BLOCK_IS_QUAD(kind))
		add_quad(kind, f, b, true, 4, c, t, tokens);
	else
		add_pair(f, b, true, c, t, tokens);
}

/* What is left at the end of a row. */
VBMI INLINE void
add_rest(const enum block_kind kind, const struct few *f, const uint8_t *b,
    int count, int64_t c, struct totals *t, const int tokens)
{
	if (BLOCK_IS_QUAD(kind))
		add_quad(kind, f, b, false, count, c, t, tokens);
	else if (!BLOCK_IS_LARGE(kind))
		add_pair(f, b, false, c, t, tokens);
}

VBMI INLINE void
fetch(const uint8_t *p, int64_t ahead, const int bytes)
{
	for (int at = 0; at < bytes; at += 64)
		_mm_prefetch((const char *)p + ahead + at, _MM_HINT_T1);
}

VBMI INLINE void
store_rows(const struct few *f, struct totals *t, const int rows,
    const int tokens)
{
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

VBMI INLINE void
dots(const struct few *f, const enum block_kind kind, const int rows,
    const int tokens)
{
	const int bytes = parts_bytes(kind) * TOGETHER(kind);
	const int64_t values = BLOCK_IS_LARGE(kind) ? 256 : 32 *
	    TOGETHER(kind);
	const int64_t whole = f->blocks / TOGETHER(kind);
	const int rest = (int)(f->blocks % TOGETHER(kind));
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
			add_blocks(kind, f, w[r], b * values, &t[r], tokens);
			w[r] += bytes;
		}
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		if (rest != 0)
			add_rest(kind, f, w[r], rest, whole * values, &t[r],
			    tokens);
	store_rows(f, t, rows, tokens);
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
