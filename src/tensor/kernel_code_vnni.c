/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times int8 with AVX-512 VNNI.
 *
 * A register holds one unit of half a strip: four bytes of 16 rows. vpdpbusd
 * adds to 16 sums the products of these with four int8 of x, the same for all.
 * Six rows of x times a strip are twelve sums in registers and twelve more for
 * the floats, so a span ends without a visit to memory.
 */
#include "tensor/kernel_code.h"

#if CPU_X86

#include "tensor/kernel_code_512.h"

#include <string.h>

#define VNNI CODE_VNNI
#define VBMI CPU_TARGET(CPU_FEATURES_VNNI ",avx512vbmi")
#define INLINE CODE_INLINE

enum { TOKENS = 6 };

/* ---- products ---- */

/* The integer sums of a span: `twice` sets of them where few rows of x would
 * leave the unit waiting for its own results. */
VNNI INLINE void
dot_units(const uint8_t *w, const int8_t *q, int64_t ldq, int64_t units,
    __m512i acc[][2], const int tokens)
{
	for (int64_t u = 0; u < units; u++) {
		__m512i lo = _mm512_loadu_si512(w + u * CODE_UNIT_BYTES);
		__m512i hi = _mm512_loadu_si512(w + u * CODE_UNIT_BYTES + 64);

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			__m512i x;
			int32_t four;

			memcpy(&four, q + i * ldq + u * CODE_UNIT, 4);
			x = _mm512_set1_epi32(four);
			acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], lo, x);
			acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], hi, x);
		}
	}
}

/* Two units at a time, each with sums of its own. */
VNNI INLINE void
dot_pairs(const uint8_t *w, const int8_t *q, int64_t ldq, int64_t units,
    __m512i acc[][2], const int tokens)
{
	__m512i odd[2][2];
	int64_t pairs = units / 2;

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		odd[i][0] = odd[i][1] = _mm512_setzero_si512();
	for (int64_t u = 0; u < pairs; u++) {
		dot_units(w, q, ldq, 1, acc, tokens);
		dot_units(w + CODE_UNIT_BYTES, q + CODE_UNIT, ldq, 1, odd,
		    tokens);
		w += 2 * CODE_UNIT_BYTES;
		q += 2 * CODE_UNIT;
	}
	dot_units(w, q, ldq, units % 2, acc, tokens);
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		acc[i][0] = _mm512_add_epi32(acc[i][0], odd[i][0]);
		acc[i][1] = _mm512_add_epi32(acc[i][1], odd[i][1]);
	}
}

/* f += step * D (+ base * X), half h of a strip. */
VNNI INLINE void
add_span(const struct code_block *b, int64_t s, int h, __m512i acc[][2],
    __m512 f[][2], const int tokens)
{
	int64_t at = s * CODE_STRIP + h * CODE_HALF;
	__m512 step = _mm512_loadu_ps(b->step + at);

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][h] = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(acc[i][h]),
		    f[i][h]);
	if (b->base == NULL)
		return;
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][h] = _mm512_fmadd_ps(_mm512_loadu_ps(b->base + at),
		    _mm512_set1_ps(b->sum[i * b->cut.spans + s]), f[i][h]);
}

VNNI INLINE void
store_half(const struct code_block *b, int h, __m512 f[][2], const int tokens)
{
	int rows = b->rows - h * CODE_HALF;
	__mmask16 m = (__mmask16)(rows >= CODE_HALF ? 0xffff :
	    rows <= 0 ? 0 : (1u << rows) - 1);

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		float *y = b->y + i * b->ldy + h * CODE_HALF;
		__m512 scale = _mm512_set1_ps(b->scale[i]);

		_mm512_mask_storeu_ps(y, m, !b->accumulate ?
		    _mm512_mul_ps(scale, f[i][h]) : _mm512_fmadd_ps(scale,
		    f[i][h], _mm512_maskz_loadu_ps(m, y)));
	}
}

VNNI INLINE void
block_of(const struct code_block *b, const int tokens)
{
	const uint8_t *w = b->strip;
	__m512 f[TOKENS][2];

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		f[i][0] = f[i][1] = _mm512_setzero_ps();
	for (int64_t s = 0; s < b->cut.spans; s++) {
		int64_t u = code_span_begin(&b->cut, s) / CODE_UNIT;
		int64_t n = code_unit_end(code_span_end(&b->cut, s)) - u;
		const int8_t *q = b->q + u * CODE_UNIT;
		__m512i acc[TOKENS][2];

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[i][0] = acc[i][1] = _mm512_set1_epi32(
			    b->init[i * b->cut.spans + s]);
		if (tokens <= 2)
			dot_pairs(w, q, b->ldq, n, acc, tokens);
		else
			dot_units(w, q, b->ldq, n, acc, tokens);
		add_span(b, s, 0, acc, f, tokens);
		add_span(b, s, 1, acc, f, tokens);
		w += n * CODE_UNIT_BYTES;
	}
	store_half(b, 0, f, tokens);
	store_half(b, 1, f, tokens);
}

#define BLOCK(n) \
	VNNI static void block##n(const struct code_block *b) \
	{ \
		block_of(b, n); \
	}
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)
BLOCK(5)
BLOCK(6)

static void
block(const struct code_block *b, int tokens)
{
	static void (*const of[])(const struct code_block *) = { block1,
		block2, block3, block4, block5, block6 };

	of[tokens - 1](b);
}

/* ---- strips ---- */

VNNI static void
turn(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	for (int64_t u = 0; u < units; u += 16) {
		int m = units - u < 16 ? (int)(units - u) : 16;
		__m512i r[16];

		KERNEL_UNROLL
		for (int i = 0; i < 16; i++)
			r[i] = _mm512_loadu_si512(rows + i * ld +
			    u * CODE_UNIT);
		turn512(r);
		if (m == 16) {
			KERNEL_UNROLL
			for (int i = 0; i < 16; i++)
				_mm512_storeu_si512(strip + (u + i) *
				    CODE_UNIT_BYTES, r[i]);
			continue;
		}
		KERNEL_UNROLL
		for (int i = 0; i < 16; i++)
			if (i < m)
				_mm512_storeu_si512(strip + (u + i) *
				    CODE_UNIT_BYTES, r[i]);
	}
}

VNNI static void
scales(const uint16_t *half, int64_t ld, int64_t last, int64_t spans,
    float mult, float *out)
{
	/* One a row, side by side. */
	if (spans == 1 && ld == 1 && last >= 15) {
		_mm512_storeu_ps(out, _mm512_mul_ps(_mm512_set1_ps(mult),
		    _mm512_cvtph_ps(_mm256_loadu_si256(
		    (const __m256i *)half))));
		return;
	}
	for (int64_t s = 0; s < spans; s += 16) {
		int n = spans - s < 16 ? (int)(spans - s) : 16;
		__mmask16 m = (__mmask16)((1u << n) - 1);
		__m512i r[16];

		KERNEL_UNROLL
		for (int i = 0; i < 16; i++) {
			__m256i h = _mm256_maskz_loadu_epi16(m, half + s +
			    (i < last ? i : last) * ld);

			r[i] = _mm512_castps_si512(_mm512_mul_ps(
			    _mm512_cvtph_ps(h), _mm512_set1_ps(mult)));
		}
		turn512(r);
		KERNEL_UNROLL
		for (int i = 0; i < 16; i++)
			if (i < n)
				_mm512_storeu_si512(out + (s + i) * CODE_STRIP,
				    r[i]);
	}
}

static void
lookup(const uint8_t *table, int bits, const uint8_t *code, int64_t n,
    uint8_t *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = table[code[i]];
}

const struct code_level code_level_vnni = {
	.lookup = lookup, .scales = scales, .turn = turn, .tokens = TOKENS,
	.block = block
};

/* ---- packed rows to strips, with VBMI ---- */

/* Registers of a table of 2^bits bytes. */
VBMI INLINE void
load_table(const uint8_t *table, __m512i t[4], const int bits)
{
	const int size = 1 << bits;

	KERNEL_UNROLL
	for (int k = 0; k < 4; k++)
		t[k] = _mm512_maskz_loadu_epi8(size >= k * 64 + 64 ?
		    ~UINT64_C(0) : size <= k * 64 ? 0 :
		    (UINT64_C(1) << (size & 63)) - 1, table + k * 64);
	if (bits <= 4)
		t[0] = _mm512_broadcast_i32x4(_mm512_castsi512_si128(t[0]));
}

VBMI INLINE __m512i
look_up(__m512i code, const __m512i t[4], const int bits)
{
	__m512i lo, hi;

	if (bits <= 4)
		return _mm512_shuffle_epi8(t[0], code);
	if (bits <= 6)
		return _mm512_permutexvar_epi8(code, t[0]);
	lo = _mm512_permutex2var_epi8(t[0], code, t[1]);
	if (bits == 7)
		return lo;
	hi = _mm512_permutex2var_epi8(t[2], code, t[3]);
	return _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), lo, hi);
}

/*
 * A piece of a packed row is 64 bytes, or as many as the codes of 16 words take:
 * a word has SPREAD_CODES, so that it begins at most half a byte off. Sixteen
 * rows of words are turned, and then every word is spread to units: from any
 * position of a quadword vpmultishiftqb takes eight bits to each byte of it.
 */
#define SPREAD_CODES(bits) ((bits) > 4 ? 4 : (bits) == 3 ? 8 : 32 / (bits))
#define SPREAD_BYTES(bits) (2 * SPREAD_CODES(bits) * (bits))
#define SPREAD_UNITS(bits) (16 * SPREAD_CODES(bits) / CODE_UNIT)

struct spread {
	__m512i gather;		/* words of a piece */
	__m512i shift[8];	/* unit j of even words; of odd ones from 4 */
	__m512i mask;
	__m512i table[4];
};

/* Words that do not fill whole bytes. */
static inline bool
spread_halves(int bits)
{
	return SPREAD_CODES(bits) * bits % 8 != 0;
}

/* For each byte of a quadword, of two rows, the position of its code in their
 * words, the first being at `from`; positions go around. */
static uint64_t
spread_shift(int bits, int from)
{
	const uint64_t each = UINT64_C(0x0101010101010101);
	uint64_t codes = (uint64_t)bits * UINT64_C(0x0302010003020100);

	return (codes + (uint64_t)from * each + UINT64_C(0x2020202000000000)) &
	    63 * each;
}

VBMI static void
spread_make(struct spread *s, int bits, int times)
{
	const __m512i word = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
	    10, 11, 12, 13, 14, 15);
	__m512i first = _mm512_srli_epi32(_mm512_mullo_epi32(word,
	    _mm512_set1_epi32(SPREAD_CODES(bits) * bits)), 3);

	s->gather = _mm512_add_epi32(_mm512_set1_epi32(0x03020100),
	    _mm512_mullo_epi32(first, _mm512_set1_epi32(0x01010101)));
	for (int j = 0; j < 8; j++) {
		int from = spread_halves(bits) ? j / 4 * 4 : j * 4 * bits & 31;

		if (times == 2)
			from += 63;
		s->shift[j] = _mm512_set1_epi64((int64_t)spread_shift(bits,
		    from));
	}
	s->mask = _mm512_set1_epi8((char)(((1 << bits) - 1) * times));
}

/* Unit j of word k of 16 rows. */
VBMI INLINE __m512i
spread_unit(const struct spread *s, __m512i word, int k, int j, const int bits,
    const bool table)
{
	if (bits < 8)
		word = _mm512_and_si512(s->mask, _mm512_multishift_epi64_epi8(
		    s->shift[spread_halves(bits) ? (k & 1) * 4 : j], word));
	return table ? look_up(word, s->table, bits) : word;
}

/* One piece of 16 rows: units [0, units) of it, or all. */
VBMI INLINE void
unpack_piece(const struct spread *s, const uint8_t *const row[16], int64_t at,
    __mmask64 have, int64_t units, uint8_t *strip, const int bits,
    const bool table)
{
	const int per = SPREAD_CODES(bits) / CODE_UNIT;
	__m512i r[16];

	KERNEL_UNROLL
	for (int i = 0; i < 16; i++) {
		r[i] = _mm512_maskz_loadu_epi8(have, row[i] + at);
		if (SPREAD_BYTES(bits) < 64)
			r[i] = _mm512_permutexvar_epi8(s->gather, r[i]);
	}
	turn512(r);
	if (units >= 16 * per) {
		KERNEL_UNROLL
		for (int k = 0; k < 16; k++) {
			KERNEL_UNROLL
			for (int j = 0; j < per; j++)
				_mm512_storeu_si512(strip + (k * per + j) *
				    CODE_UNIT_BYTES,
				    spread_unit(s, r[k], k, j, bits,
				    table));
		}
		return;
	}
	KERNEL_UNROLL
	for (int k = 0; k < 16; k++) {
		KERNEL_UNROLL
		for (int j = 0; j < per; j++)
			if (k * per + j < units)
				_mm512_storeu_si512(strip + (k * per + j) *
				    CODE_UNIT_BYTES,
				    spread_unit(s, r[k], k, j, bits,
				    table));
	}
}

VBMI INLINE void
unpack_rows(const struct spread *s, const uint8_t *const row[16], int64_t at,
    int64_t end, int64_t units, uint8_t *strip, const int bits,
    const bool table)
{
	for (int64_t u = 0; u < units; u += SPREAD_UNITS(bits)) {
		int64_t have = end - at < SPREAD_BYTES(bits) ? end - at :
		    SPREAD_BYTES(bits);

		unpack_piece(s, row, at, have < 64 ? (UINT64_C(1) << have) - 1 :
		    ~UINT64_C(0), units - u, strip + u * CODE_UNIT_BYTES,
		    bits, table);
		at += SPREAD_BYTES(bits);
	}
}

#define UNPACK(bits) \
	VBMI static void unpack##bits(struct spread *s, \
	    const uint8_t *const row[16], int64_t at, int64_t end, \
	    int64_t units, uint8_t *strip) \
	{ \
		unpack_rows(s, row, at, end, units, strip, bits, false); \
	} \
	VBMI static void table##bits(struct spread *s, \
	    const uint8_t *const row[16], int64_t at, int64_t end, \
	    int64_t units, uint8_t *strip) \
	{ \
		unpack_rows(s, row, at, end, units, strip, bits, true); \
	}
UNPACK(1)
UNPACK(2)
UNPACK(3)
UNPACK(4)
UNPACK(5)
UNPACK(6)
UNPACK(7)
UNPACK(8)

VBMI static void
spread_table(struct spread *s, const uint8_t *table, int bits)
{
	load_table(table, s->table, bits);
}

static void
unpack(const struct code_plan *p, int64_t r, int64_t last,
    const struct code_cut *cut, uint8_t *strip)
{
	static void (*const of[][8])(struct spread *, const uint8_t *const
	    [16], int64_t, int64_t, int64_t, uint8_t *) = {
		{ unpack1, unpack2, unpack3, unpack4, unpack5, unpack6,
		    unpack7, unpack8 },
		{ table1, table2, table3, table4, table5, table6, table7,
		    table8 }
	};
	bool table = p->t->values == FORM_TABLE;
	int64_t bytes = value_row_bytes(p->t);
	int bits = p->t->code.bits;
	const uint8_t *row[16];
	struct spread s;

	spread_make(&s, bits, p->times);
	for (int i = 0; i < 16; i++)
		row[i] = (const uint8_t *)p->t->part[PART_DATA].p +
		    (r + i < last ? r + i : last) * bytes;
	if (table)
		spread_table(&s, p->table, bits);
	of[table][bits - 1](&s, row, cut->c0 * bits / 8, bytes, cut->units,
	    strip);
}

/* ---- tables ---- */

VBMI INLINE void
lookup_of(const uint8_t *table, const uint8_t *code, int64_t n, uint8_t *out,
    const int bits)
{
	__m512i t[4];

	load_table(table, t, bits);
	for (int64_t i = 0; i < n; i += 64) {
		__mmask64 m = n - i < 64 ? (UINT64_C(1) << (n - i)) - 1 :
		    ~UINT64_C(0);
		__m512i v = _mm512_maskz_loadu_epi8(m, code + i);

		_mm512_mask_storeu_epi8(out + i, m, look_up(v, t, bits));
	}
}

VBMI static void
lookup_vbmi(const uint8_t *table, int bits, const uint8_t *code, int64_t n,
    uint8_t *out)
{
	if (bits <= 4)
		lookup_of(table, code, n, out, 4);
	else if (bits <= 6)
		lookup_of(table, code, n, out, 6);
	else if (bits == 7)
		lookup_of(table, code, n, out, 7);
	else
		lookup_of(table, code, n, out, 8);
}

const struct code_level code_level_vbmi = {
	.lookup = lookup_vbmi, .scales = scales, .turn = turn,
	.unpack = unpack, .tokens = TOKENS, .block = block
};

#endif
