/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times a few rows of int8, with AVX-512 VNNI and VBMI: no strips,
 * for laying them out would be most of the work.
 *
 * Four rows of W at a time: 64 codes of each are unpacked in registers and meet
 * 64 int8 of x; the 16 partial sums of each row are added up at the end of a
 * span, of four rows together. Then the floats, 16 rows at a time as everywhere.
 */
#include "tensor/kernel_code.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define VBMI CPU_TARGET(CPU_FEATURES_VNNI ",avx512vbmi")
#define INLINE static inline __attribute__((always_inline))

enum {
	FEW = 4,	/* rows of x */
	QUAD = 4,	/* rows of W at a time */
	BLOCK = 64,	/* columns at a time */
	OVER = BLOCK / 16,	/* spans that a block may have too many */
	AHEAD = 16384,	/* bytes, to L2: in time for memory */
	AHEAD_SCALES = AHEAD / 8,
	PIECE = 1 << 17	/* weights of a piece, about */
};

/* What a quad of rows is multiplied with and how. */
struct few {
	struct code_cut cut;
	int64_t row_bytes;
	int64_t ahead;			/* bytes fetched ahead, or 0 */
	int64_t at, step;		/* of the chunk in a row, of a block */
	int64_t whole;			/* columns in whole blocks */
	__mmask64 full, rest;		/* bytes of a block, of what is left */
	int64_t spans;			/* of a block: 1, 2 or 4 */
	__m512i gather, shift, mask;	/* 64 codes from their bytes */
	__m512i table[QUAD][4];
	const int8_t *q[FEW];		/* at the chunk's first column */
	int64_t stride;			/* spans of a token in D */
	const char *scale, *low;	/* of the rows of the strip */
	int64_t scale_bytes;		/* of a row */
};

/* How codes become bytes; the number is the most bits. */
enum kind { RAW8, CODES4, CODES7, TABLE4, TABLE6, TABLE7, TABLE8 };

/* Spans of at most a block, or of whole blocks. */
enum spans { LONG, SHORT };

/* ---- dots ---- */

/* What the loops read, copied so that it stays in registers: stores to D could
 * be to anything else. */
struct unpack {
	__m512i gather, shift, mask;
	const __m512i (*table)[4];
	const uint8_t *row[QUAD];
	const char *fetch;
	const int8_t *q[FEW];
};

VBMI INLINE __m512i
bytes_of(const struct unpack *u, int i, __m512i v, const enum kind kind)
{
	const __m512i *t = u->table[i];
	__m512i high;

	if (kind == RAW8)
		return v;
	if (kind != TABLE8)
		v = _mm512_and_si512(u->mask, _mm512_multishift_epi64_epi8(
		    u->shift, _mm512_permutexvar_epi8(u->gather, v)));
	if (kind == CODES4 || kind == CODES7)
		return v;
	if (kind == TABLE4)
		return _mm512_shuffle_epi8(t[0], v);
	if (kind == TABLE6)
		return _mm512_permutexvar_epi8(v, t[0]);
	if (kind == TABLE7)
		return _mm512_permutex2var_epi8(t[0], v, t[1]);
	high = _mm512_permutex2var_epi8(t[2], v, t[3]);
	return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v),
	    _mm512_permutex2var_epi8(t[0], v, t[1]), high);
}

/* The bytes of a block; a load of half the size meets the end of a line of the
 * cache less often. */
VBMI INLINE __m512i
load(const uint8_t *p, __mmask64 m, const enum kind kind)
{
	if (kind == CODES4 || kind == TABLE4)
		return _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(
		    (__mmask32)m, p));
	return _mm512_maskz_loadu_epi8(m, p);
}

/* Adjacent sums of four registers: quarter j of the result has those of the
 * quarters j, one a register. */
VBMI INLINE __m512i
add_quarters(const __m512i a[QUAD])
{
	__m512i u = _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]),
	    _mm512_unpackhi_epi32(a[0], a[1]));
	__m512i v = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]),
	    _mm512_unpackhi_epi32(a[2], a[3]));

	return _mm512_add_epi32(_mm512_unpacklo_epi64(u, v),
	    _mm512_unpackhi_epi64(u, v));
}

VBMI INLINE void
store(int32_t *d, int span, __m128i v)
{
	_mm_storeu_si128((__m128i *)(d + span * CODE_STRIP), v);
}

/* The sums of a block of narrow spans, or of one wide span. */
VBMI INLINE void
end_span(const __m512i acc[QUAD], int64_t width, int32_t *d)
{
	__m512i v = add_quarters(acc);
	__m256i half;

	if (width == 16) {
		store(d, 0, _mm512_castsi512_si128(v));
		store(d, 1, _mm512_extracti32x4_epi32(v, 1));
		store(d, 2, _mm512_extracti32x4_epi32(v, 2));
		store(d, 3, _mm512_extracti32x4_epi32(v, 3));
		return;
	}
	if (width == 32) {
		v = _mm512_add_epi32(v, _mm512_shuffle_i32x4(v, v, 0xb1));
		store(d, 0, _mm512_castsi512_si128(v));
		store(d, 1, _mm512_extracti32x4_epi32(v, 2));
		return;
	}
	half = _mm256_add_epi32(_mm512_castsi512_si256(v),
	    _mm512_extracti64x4_epi64(v, 1));
	store(d, 0, _mm_add_epi32(_mm256_castsi256_si128(half),
	    _mm256_extracti128_si256(half, 1)));
}

/* Memory is fetched in its order, which the rows of a quad are not read in:
 * as many lines as a block of them has, or one more. */
VBMI INLINE void
fetch(const struct unpack *u, int64_t c, int64_t step, const enum kind kind)
{
	const char *p = u->fetch + c / BLOCK * step * QUAD;

	_mm_prefetch(p, _MM_HINT_T1);
	_mm_prefetch(p + 64, _MM_HINT_T1);
	if (kind == CODES4 || kind == TABLE4)
		return;
	_mm_prefetch(p + 128, _MM_HINT_T1);
	_mm_prefetch(p + 192, _MM_HINT_T1);
}

/* One block of a quad, bytes m of whose rows are there. */
VBMI INLINE void
dot_block(const struct unpack *u, int64_t at, __mmask64 m, int64_t c,
    __m512i acc[FEW][QUAD], const int tokens, const enum kind kind)
{
	KERNEL_UNROLL
	for (int i = 0; i < QUAD; i++) {
		__m512i v = bytes_of(u, i, load(u->row[i] + at, m, kind), kind);

		KERNEL_UNROLL
		for (int k = 0; k < tokens; k++)
			acc[k][i] = _mm512_dpbusd_epi32(acc[k][i], v,
			    _mm512_loadu_si512(u->q[k] + c));
	}
}

VBMI INLINE void
clear(__m512i acc[FEW][QUAD], const int tokens)
{
	KERNEL_UNROLL
	for (int k = 0; k < tokens; k++) {
		KERNEL_UNROLL
		for (int i = 0; i < QUAD; i++)
			acc[k][i] = _mm512_setzero_si512();
	}
}

/* The sums at the end of blocks that are a span or several; stride between rows
 * of x. */
VBMI INLINE void
end_spans(__m512i acc[FEW][QUAD], int64_t width, int64_t stride, int32_t *d,
    const int tokens)
{
	KERNEL_UNROLL
	for (int k = 0; k < tokens; k++)
		end_span(acc[k], width, d + k * stride);
	clear(acc, tokens);
}

/* D of a quad of rows, for all spans of a chunk; short ones are at most a
 * block. */
VBMI INLINE void
dots_quad(const struct few *f, const struct unpack *u, int32_t *d,
    const int tokens, const enum kind kind, const enum spans spans)
{
	const int64_t whole = f->whole, step = f->step, width = f->cut.width;
	const int64_t stride = f->stride * CODE_STRIP;
	const int64_t next = f->spans * CODE_STRIP;
	const __mmask64 full = f->full, rest = f->rest;
	int64_t at = f->at, c = 0;
	__m512i acc[FEW][QUAD];

	clear(acc, tokens);
	for (; spans == SHORT && c < whole; c += BLOCK, at += step, d += next) {
		fetch(u, c, step, kind);
		dot_block(u, at, full, c, acc, tokens, kind);
		end_spans(acc, width, stride, d, tokens);
	}
	for (int64_t end = width; spans == LONG && c < whole;
	     end += width) {
		end = end < whole ? end : whole;
		for (; c < end; c += BLOCK, at += step) {
			fetch(u, c, step, kind);
			dot_block(u, at, full, c, acc, tokens, kind);
		}
		if (c == whole && rest != 0)
			break;
		end_spans(acc, width, stride, d, tokens);
		d += CODE_STRIP;
	}
	if (rest != 0) {
		dot_block(u, at, rest, c, acc, tokens, kind);
		end_spans(acc, width, stride, d, tokens);
	}
}

/* D of rows [0, rows) behind `first`; those from last on are that one again. */
VBMI INLINE void
dots_of(const struct few *f, const uint8_t *first, int64_t last, int rows,
    int32_t *d, const int tokens, const enum kind kind, const enum spans spans)
{
	struct unpack u = { .gather = f->gather, .shift = f->shift,
		.mask = f->mask, .table = f->table };

	KERNEL_UNROLL
	for (int k = 0; k < tokens; k++)
		u.q[k] = f->q[k];
	for (int r = 0; r < rows; r += QUAD, d += QUAD) {
		KERNEL_UNROLL
		for (int i = 0; i < QUAD; i++)
			u.row[i] = first + f->row_bytes *
			    (r + i < last ? r + i : last);
		u.fetch = (const char *)u.row[0] + f->ahead;
		dots_quad(f, &u, d, tokens, kind, spans);
	}
}

typedef void dots_fn(const struct few *f, const uint8_t *first, int64_t last,
    int rows, int32_t *d);

#define DOTS(n, kind, spans) \
	VBMI static void dots##n##_##kind##_##spans(const struct few *f, \
	    const uint8_t *first, int64_t last, int rows, int32_t *d) \
	{ \
		dots_of(f, first, last, rows, d, n, kind, spans); \
	}
/* Three rows of x are four, of which two are one. */
#define DOTS_FEW(kind, spans) \
	DOTS(1, kind, spans) \
	DOTS(2, kind, spans) \
	DOTS(4, kind, spans) \
	static dots_fn *const dots_##kind##_##spans[FEW] = { \
		dots1_##kind##_##spans, dots2_##kind##_##spans, \
		dots4_##kind##_##spans, dots4_##kind##_##spans };
DOTS_FEW(RAW8, SHORT)
DOTS_FEW(CODES4, SHORT)
DOTS_FEW(CODES7, SHORT)
DOTS_FEW(RAW8, LONG)
DOTS_FEW(CODES4, LONG)
DOTS_FEW(CODES7, LONG)
DOTS_FEW(TABLE4, LONG)
DOTS_FEW(TABLE6, LONG)
DOTS_FEW(TABLE7, LONG)
DOTS_FEW(TABLE8, LONG)

/* ---- nibbles ---- */

/*
 * Four bits and wide blocks: 64 bytes of a row are 128 columns, the even ones
 * low, the odd ones high; x has its even and odd ones apart. So unpacking is two
 * masks and a shift, and each quarter of the sums is 32 columns next to each
 * other.
 */
enum { WIDE = 2 * BLOCK };

/* Spans of a block of a cut that has whole ones only; 0: not of this kind. */
static int
nibble_spans(const struct tensor *t, const struct code_cut *cut)
{
	int64_t width = cut->width;

	if (t->values != FORM_INT || t->code.bits != 4 ||
	    (cut->c1 - cut->c0) % WIDE != 0)
		return 0;
	return width == 32 ? 4 : width == 64 ? 2 : width % WIDE == 0;
}

/* n rows of x with even and odd columns apart, and where they are. */
VBMI static void
part_columns(int8_t *to, int64_t n, struct few *f)
{
	const int64_t cols = f->cut.c1 - f->cut.c0;
	const uint64_t count = UINT64_C(0x0e0c0a0806040200);
	const __m512i even = _mm512_add_epi64(_mm512_set1_epi64(
	    (int64_t)count), _mm512_mullo_epi64(_mm512_setr_epi64(0, 1, 2, 3,
	    4, 5, 6, 7), _mm512_set1_epi64(0x1010101010101010)));
	const __m512i odd = _mm512_add_epi8(even, _mm512_set1_epi8(1));

	for (int64_t k = 0; k < FEW; k++) {
		const int8_t *q = f->q[k];

		f->q[k] = k < n ? to : f->q[n - 1];
		for (int64_t c = 0; c < cols && k < n; c += WIDE, to += WIDE) {
			__m512i a = _mm512_loadu_si512(q + c);
			__m512i b = _mm512_loadu_si512(q + c + BLOCK);

			_mm512_storeu_si512(to, _mm512_permutex2var_epi8(a,
			    even, b));
			_mm512_storeu_si512(to + BLOCK,
			    _mm512_permutex2var_epi8(a, odd, b));
		}
	}
}

VBMI INLINE void
nibble_block(const uint8_t *const row[QUAD], int64_t at,
    const int8_t *const q[FEW], int64_t c, __m512i acc[FEW][QUAD],
    const int tokens)
{
	const __m512i low = _mm512_set1_epi8(15);

	KERNEL_UNROLL
	for (int i = 0; i < QUAD; i++) {
		__m512i v = _mm512_loadu_si512(row[i] + at);
		__m512i even = _mm512_and_si512(v, low);
		__m512i odd = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);

		KERNEL_UNROLL
		for (int k = 0; k < tokens; k++) {
			acc[k][i] = _mm512_dpbusd_epi32(acc[k][i], even,
			    _mm512_loadu_si512(q[k] + c));
			acc[k][i] = _mm512_dpbusd_epi32(acc[k][i], odd,
			    _mm512_loadu_si512(q[k] + c + BLOCK));
		}
	}
}

VBMI INLINE void
nibble_quad(const struct few *f, const uint8_t *const row[QUAD], int64_t r,
    int32_t *d, const int tokens, const int spans)
{
	const int64_t step = QUAD * WIDE * f->scale_bytes /
	    (f->cut.c1 - f->cut.c0);
	const int64_t cols = f->cut.c1 - f->cut.c0;
	const int64_t stride = f->stride * CODE_STRIP;
	const char *fetch = (const char *)row[0] + f->ahead;
	int64_t scale = r * f->scale_bytes + AHEAD_SCALES;
	int64_t left = f->cut.width;
	__m512i acc[FEW][QUAD];

	clear(acc, tokens);
	for (int64_t c = 0; c < cols; c += WIDE) {
		for (int i = 0; i < QUAD; i++, fetch += 64)
			_mm_prefetch(fetch, _MM_HINT_T1);
		_mm_prefetch(f->scale + scale, _MM_HINT_T1);
		_mm_prefetch(f->low + scale, _MM_HINT_T1);
		scale += step;
		nibble_block(row, f->at + c / 2, f->q, c, acc, tokens);
		left -= WIDE;
		if (spans == 1 && left > 0 && c + WIDE < cols)
			continue;
		left = f->cut.width;
		/* A quarter is 32 columns, not 16. */
		end_spans(acc, BLOCK / spans, stride, d, tokens);
		d += spans * CODE_STRIP;
	}
}

VBMI INLINE void
nibbles_of(const struct few *f, const uint8_t *first, int64_t last, int rows,
    int32_t *d, const int tokens, const int spans)
{
	for (int r = 0; r < rows; r += QUAD, d += QUAD) {
		const uint8_t *row[QUAD];

		KERNEL_UNROLL
		for (int i = 0; i < QUAD; i++)
			row[i] = first + f->row_bytes *
			    (r + i < last ? r + i : last);
		nibble_quad(f, row, r, d, tokens, spans);
	}
}

#define NIBBLES(tokens, spans) \
	VBMI static void nibbles##tokens##_##spans(const struct few *f, \
	    const uint8_t *first, int64_t last, int rows, int32_t *d) \
	{ \
		nibbles_of(f, first, last, rows, d, tokens, spans); \
	}
#define NIBBLES_FEW(spans) \
	NIBBLES(1, spans) \
	NIBBLES(2, spans) \
	NIBBLES(4, spans) \
	static dots_fn *const nibbles_##spans[FEW] = { nibbles1_##spans, \
		nibbles2_##spans, nibbles4_##spans, nibbles4_##spans };
NIBBLES_FEW(1)
NIBBLES_FEW(2)
NIBBLES_FEW(4)

/* ---- the rest ---- */

static dots_fn *
dots_for(const struct tensor *t, int64_t tokens)
{
	static dots_fn *const *const of[][8] = {
		{ dots_CODES4_LONG, dots_CODES4_LONG, dots_CODES4_LONG,
		    dots_CODES4_LONG, dots_CODES7_LONG, dots_CODES7_LONG,
		    dots_CODES7_LONG, dots_RAW8_LONG },
		{ dots_CODES4_SHORT, dots_CODES4_SHORT, dots_CODES4_SHORT,
		    dots_CODES4_SHORT, dots_CODES7_SHORT, dots_CODES7_SHORT,
		    dots_CODES7_SHORT, dots_RAW8_SHORT },
		{ dots_TABLE4_LONG, dots_TABLE4_LONG, dots_TABLE4_LONG,
		    dots_TABLE4_LONG, dots_TABLE6_LONG, dots_TABLE6_LONG,
		    dots_TABLE7_LONG, dots_TABLE8_LONG }
	};
	int row = t->values == FORM_TABLE ? 2 : value_group_cols(t) <= BLOCK;

	return of[row][t->code.bits - 1][tokens - 1];
}

VBMI static void
set_unpack(struct few *f, int bits, int times)
{
	const uint64_t each = UINT64_C(0x0101010101010101);
	const __m512i word = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
	const uint64_t count = UINT64_C(0x0706050403020100);

	f->gather = _mm512_add_epi64(_mm512_set1_epi64((int64_t)count),
	    _mm512_mullo_epi64(word, _mm512_set1_epi64(
	    (int64_t)((uint64_t)bits * each))));
	f->shift = _mm512_set1_epi64((int64_t)((count * (uint64_t)bits +
	    (times == 2 ? 63 : 0) * each) & 63 * each));
	f->mask = _mm512_set1_epi8((char)(((1 << bits) - 1) * times));
}

VBMI static void
set_table(struct few *f, int i, const uint8_t table[256], int bits)
{
	for (int k = 0; k < 4; k++)
		f->table[i][k] = _mm512_loadu_si512(table + k * 64);
	if (bits <= 4)
		f->table[i][0] = _mm512_broadcast_i32x4(
		    _mm512_castsi512_si128(f->table[i][0]));
}

static void
set_cut(struct few *f, struct code_cut cut, int64_t cols, int bits)
{
	int64_t left = (cut.c1 - cut.c0) % BLOCK;

	f->cut = cut;
	f->ahead = cut.c1 - cut.c0 == cols ? AHEAD : 0;
	f->at = cut.c0 * bits / 8;
	f->step = BLOCK * bits / 8;
	f->whole = cut.c1 - cut.c0 - left;
	f->full = bits == 8 ? ~UINT64_C(0) : (UINT64_C(1) << f->step) - 1;
	f->rest = (UINT64_C(1) << (left * bits + 7) / 8) - 1;
	f->spans = cut.width < BLOCK ? BLOCK / cut.width : 1;
}

/* Where everything lies in scratch. */
struct room {
	int64_t stride;		/* spans, and room for what a block exceeds */
	int32_t *d, *init;
	float *sum, *step, *base;
	int8_t *q;		/* rows of x, even and odd columns apart */
	size_t bytes;
};

static struct room
room_make(const struct tensor *t, int64_t n, char *at)
{
	struct code_plan p = code_plan_make(t, 1);
	int64_t spans = (p.step + p.width - 1) / p.width + OVER;
	struct room m = { .stride = spans };

	m.step = (float *)(void *)at;
	m.base = m.step + spans * CODE_STRIP;
	n = n == 3 ? 4 : n;
	m.d = (int32_t *)(m.base + spans * CODE_STRIP);
	m.init = m.d + n * spans * CODE_STRIP;
	m.sum = (float *)(m.init + spans * CODE_TOKENS);
	m.q = (int8_t *)(m.sum + spans * CODE_TOKENS);
	m.bytes = (size_t)(spans * (CODE_STRIP * (2 + n) + 2 * CODE_TOKENS)) *
	    4 + (size_t)(n * CODE_CHUNK);
	return m;
}

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Where the scales of the rows from r on are, a ninth of all that is read where
 * groups are narrow; where there are none, anywhere. */
static void
set_scales(struct few *f, const struct code_plan *p, int64_t r)
{
	int64_t at = value_group_of(p->t, r, f->cut.c0) * 2;
	bool has = p->t->values == FORM_INT && p->t->code.group != 0;

	f->scale = has ? (const char *)p->t->part[PART_SCALE].p + at :
	    p->t->part[PART_DATA].p;
	f->low = has && p->affine ? (const char *)p->t->part[PART_MIN].p + at :
	    f->scale;
	f->scale_bytes = has ? p->t->cols / p->t->code.group * 2 : 0;
}

/* D of the rows of a strip that begins at r; last is the last of the piece. */
static void
strip_dots(const struct code_plan *p, struct few *f, dots_fn *dots, int64_t r,
    int64_t last, const struct room *m)
{
	const uint8_t *row = (const uint8_t *)p->t->part[PART_DATA].p +
	    r * f->row_bytes;
	int rows = (int)lesser(CODE_STRIP, last - r + 1);

	set_scales(f, p, r);
	if (p->t->values != FORM_TABLE || p->t->code.group == 0) {
		dots(f, row, last - r, rows, m->d);
		return;
	}
	for (int i = 0; i < rows; i += QUAD) {
		for (int k = 0; k < QUAD; k++) {
			uint8_t table[256] = { 0 };

			m->step[i + k] = code_round_table(p->t,
			    lesser(r + i + k, last), table);
			set_table(f, k, table, p->t->code.bits);
		}
		dots(f, row + i * f->row_bytes, last - r - i, QUAD, m->d + i);
	}
}

/* y of half a strip, from D. */
VBMI static void
finish_half(const struct few *f, const struct room *m, int h, int rows,
    const float *scale, int64_t tokens, float *y, int64_t ldy, bool affine,
    bool accumulate)
{
	__mmask16 mask = (__mmask16)(rows >= CODE_HALF ? 0xffff :
	    (1u << rows) - 1);

	for (int64_t k = 0; k < tokens; k++, y += ldy) {
		__m512 sum = _mm512_setzero_ps();

		for (int64_t s = 0; s < f->cut.spans; s++) {
			int64_t at = s * CODE_STRIP + h * CODE_HALF;
			int64_t of = k * f->cut.spans + s;
			__m512i d = _mm512_add_epi32(_mm512_set1_epi32(
			    m->init[of]), _mm512_loadu_si512(m->d +
			    k * m->stride * CODE_STRIP + at));

			sum = _mm512_fmadd_ps(_mm512_loadu_ps(m->step + at),
			    _mm512_cvtepi32_ps(d), sum);
			if (affine)
				sum = _mm512_fmadd_ps(
				    _mm512_loadu_ps(m->base + at),
				    _mm512_set1_ps(m->sum[of]), sum);
		}
		_mm512_mask_storeu_ps(y, mask, !accumulate ?
		    _mm512_mul_ps(_mm512_set1_ps(scale[k]), sum) :
		    _mm512_fmadd_ps(_mm512_set1_ps(scale[k]), sum,
		    _mm512_maskz_loadu_ps(mask, y)));
	}
}

/* One chunk of one strip. */
static void
run_strip(const struct code_plan *p, struct few *f, dots_fn *dots,
    const struct kernel_x *x, int64_t r, int64_t r1, const struct room *m,
    float *y, int64_t ldy, bool accumulate)
{
	strip_dots(p, f, dots, r, r1 - 1, m);
	for (int h = 0; h < 2 && r < r1; h++, r += CODE_HALF) {
		const struct code_level *v = &code_level_vbmi;
		int64_t at = h * CODE_HALF;

		if (p->t->values == FORM_INT)
			code_half_scales(p, v, PART_SCALE, &f->cut, r, r1 - 1,
			    m->step + at);
		if (p->affine)
			code_half_scales(p, v, PART_MIN, &f->cut, r, r1 - 1,
			    m->base + at);
		finish_half(f, m, h, (int)lesser(CODE_HALF, r1 - r), x->scale,
		    x->n, y + at, ldy, p->affine, accumulate);
	}
}

static void
run(const struct tensor *t, const struct kernel_x *x, int64_t r0, int64_t r1,
    float *y, int64_t ldy, bool accumulate, void *scratch)
{
	struct code_plan p = code_plan_make(t, 1);
	struct room m = room_make(t, x->n, scratch);
	struct few f = { .row_bytes = value_row_bytes(t), .stride = m.stride };
	dots_fn *const usual = dots_for(t, x->n), *dots;

	set_unpack(&f, t->code.bits, p.times);
	if (t->values == FORM_TABLE && t->code.group == 0) {
		p.table_step = code_round_table(t, 0, p.table);
		for (int i = 0; i < QUAD; i++)
			set_table(&f, i, p.table, t->code.bits);
		for (int i = 0; i < CODE_STRIP; i++)
			m.step[i] = p.table_step;
	}
	for (int64_t c = 0; c < t->cols; c = f.cut.c1) {
		set_cut(&f, code_cut_at(&p, c), t->cols, t->code.bits);
		for (int64_t k = 0; k < FEW; k++)
			f.q[k] = x->q + lesser(k, x->n - 1) * x->ldq + c;
		code_sums(&f.cut, p.minus, x, 0, (int)x->n, m.init, m.sum);
		dots = usual;
		switch (nibble_spans(t, &f.cut)) {
		case 1:
			dots = nibbles_1[x->n - 1];
			break;
		case 2:
			dots = nibbles_2[x->n - 1];
			break;
		case 4:
			dots = nibbles_4[x->n - 1];
			break;
		}
		if (dots != usual)
			part_columns(m.q, x->n, &f);
		for (int64_t r = r0; r < r1; r += CODE_STRIP)
			run_strip(&p, &f, dots, x, r, r1, &m, y + (r - r0),
			    ldy, accumulate);
		accumulate = true;
	}
}

/* Rows of x that are few: adding up at the ends of short spans is done for each
 * of them, strips are laid out once. */
static int64_t
most_rows(int64_t width)
{
	return width >= 4 * BLOCK ? FEW : width >= 2 * BLOCK ? 3 : 1;
}

/* Spans begin at whole blocks, or are whole parts of one; a table is the row's
 * or the matrix's. */
static bool
fits(const struct tensor *t, int64_t n)
{
	int64_t group = value_group_cols(t);

	if (t->code.act != 8 || !cpu_has(CPU_VBMI))
		return false;
	if (group == t->cols)
		return n <= FEW;
	return t->values == FORM_INT && n <= most_rows(group) &&
	    (group % BLOCK == 0 || group == 16 || group == 32);
}

static int64_t
panel(const struct tensor *t, int64_t n)
{
	int64_t all = (t->rows + CODE_STRIP - 1) / CODE_STRIP;

	return kernel_even(all, lesser(PIECE / CODE_STRIP / t->cols, all)) *
	    CODE_STRIP;
}

static size_t
scratch_bytes(const struct tensor *t, int64_t n)
{
	return room_make(t, n, NULL).bytes;
}

const struct kernel code_few_kernel = {
	.name = "few rows of codes x int8, VNNI", .tolerance = 3e-2f,
	.level = CPU_VNNI, .prep = PREP_INT8, .fits = fits, .panel = panel,
	.scratch = scratch_bytes, .run = run
};

#endif
