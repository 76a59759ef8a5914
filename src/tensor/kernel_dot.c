/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Few rows of x: memory decides, so every weight is loaded once, several rows of
 * W at a time to have enough loads and sums under way, and widened in registers.
 *
 * Each result is the sum of 16 partial sums, of columns k % 16 = 0..15, added as
 * halves: 8 pairs, 4 pairs, 2, 1. AVX-512 keeps them in one register, AVX2 in
 * two; both give the same bits, whatever the number of rows of either side.
 *
 * The rows that come next are asked for while these are multiplied. Processors
 * see by themselves where loads go on, but start again at every page and every
 * row: with this one core read 24 GB/s instead of 20 of float32, and 40 instead
 * of 24 of 16 bits.
 */
#include "tensor/kernel_rows.h"

#include <string.h>

enum {
	DOT_BYTES = 1 << 18,	/* of weights of a piece */
	DOT_ROWS = 8	/* of W at a time, at most */
};

#if CPU_X86
#include <immintrin.h>

#define INLINE512 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX512)
#define INLINE256 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX2)

/* Four results to y, which belong to rows of W or less. */
INLINE256 void
put4(__m128 s, float *y, int rows, bool add)
{
	float f[4];

	if (rows == 4) {
		_mm_storeu_ps(y, add ? _mm_add_ps(_mm_loadu_ps(y), s) : s);
		return;
	}
	_mm_storeu_ps(f, s);
	for (int r = 0; r < rows; r++)
		y[r] = add ? y[r] + f[r] : f[r];
}

/* The sums of four vectors of four. */
INLINE256 __m128
sum4(__m128 a, __m128 b, __m128 c, __m128 d)
{
	__m128 ab0 = _mm_unpacklo_ps(a, b), ab2 = _mm_unpackhi_ps(a, b);
	__m128 cd0 = _mm_unpacklo_ps(c, d), cd2 = _mm_unpackhi_ps(c, d);
	__m128 ab = _mm_add_ps(ab0, ab2), cd = _mm_add_ps(cd0, cd2);

	return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

INLINE256 __m128
fold256(__m256 v)
{
	return _mm_add_ps(_mm256_castps256_ps128(v),
	    _mm256_extractf128_ps(v, 1));
}

/* ---- AVX-512 ---- */

INLINE512 __m128
fold512(__m512 v)
{
	return fold256(_mm256_add_ps(_mm512_castps512_ps256(v),
	    _mm512_extractf32x8_ps(v, 1)));
}

/* 16 weights from w on, or those that mask has. */
INLINE512 __m512
weights512(const int form, const char *w, __mmask16 mask)
{
	if (form == FORM_F32)
		return mask == 0xffff ? _mm512_loadu_ps(w) :
		    _mm512_maskz_loadu_ps(mask, w);
	if (form == FORM_F16)
		return _mm512_cvtph_ps(mask == 0xffff ?
		    _mm256_loadu_si256((const __m256i *)w) :
		    _mm256_maskz_loadu_epi16(mask, w));
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(
	    mask == 0xffff ? _mm256_loadu_si256((const __m256i *)w) :
	    _mm256_maskz_loadu_epi16(mask, w)), 16));
}

INLINE512 void
step512(const int form, const int rows, const int tokens,
    __m512 acc[DOT_ROWS][4], const char *w, int64_t ldw, int64_t ahead,
    const float *x, int64_t ldx, __mmask16 mask)
{
	__m512 v[4];

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		v[i] = mask == 0xffff ? _mm512_loadu_ps(x + i * ldx) :
		    _mm512_maskz_loadu_ps(mask, x + i * ldx);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		__m512 a = weights512(form, w + r * ldw, mask);

		_mm_prefetch(w + r * ldw + ahead, _MM_HINT_T1);
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[r][i] = _mm512_fmadd_ps(a, v[i], acc[r][i]);
	}
}

/* y[i][r] of `rows` rows of W, ldw bytes apart, and `tokens` rows of x. */
INLINE512 void
dot512(const int form, const int rows, const int tokens, const char *w,
    int64_t ldw, int64_t ahead, const float *x, int64_t cols, float *y,
    int64_t ldy, bool add)
{
	const int size = form == FORM_F32 ? 4 : 2;
	__m512 acc[DOT_ROWS][4];
	int64_t k;

	KERNEL_UNROLL
	for (int r = 0; r < DOT_ROWS; r++)
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[r][i] = _mm512_setzero_ps();
	for (k = 0; k + 16 <= cols; k += 16)
		step512(form, rows, tokens, acc, w + k * size, ldw, ahead,
		    x + k, cols, 0xffff);
	if (k < cols)
		step512(form, rows, tokens, acc, w + k * size, ldw, 0, x + k,
		    cols, (__mmask16)((1u << (cols - k)) - 1));
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		KERNEL_UNROLL
		for (int r = 0; r < rows; r += 4)
			put4(sum4(fold512(acc[r][i]), fold512(acc[r + 1][i]),
			    fold512(acc[r + 2][i]), fold512(acc[r + 3][i])),
			    y + i * ldy + r, rows < 4 ? rows : 4, add);
}

/* ---- AVX2 ---- */

/* ones + 8 - n: the mask of n of 8 floats. */
static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };

INLINE256 __m256
weights256(const int form, const char *w)
{
	if (form == FORM_F32)
		return _mm256_loadu_ps((const float *)w);
	if (form == FORM_F16)
		return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(
	    _mm_loadu_si128((const __m128i *)w)), 16));
}

/* n < 8 weights, the rest 0. */
INLINE256 __m256
few_weights256(const int form, const char *w, int64_t n)
{
	const __m256i mask = _mm256_loadu_si256((const __m256i *)(ones + 8 -
	    n));
	uint16_t h[8] = { 0 };

	if (form == FORM_F32)
		return _mm256_maskload_ps((const float *)w, mask);
	memcpy(h, w, (size_t)n * 2);
	return weights256(form, (const char *)h);
}

INLINE256 void
step256(const int form, const int rows, const int tokens, const int half,
    __m256 acc[4][4][2], const char *w, int64_t ldw, int64_t ahead,
    const float *x, int64_t ldx)
{
	__m256 v[4];

	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		v[i] = _mm256_loadu_ps(x + i * ldx);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		__m256 a = weights256(form, w + r * ldw);

		if (half == 0)
			_mm_prefetch(w + r * ldw + ahead, _MM_HINT_T1);
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[r][i][half] = _mm256_fmadd_ps(a, v[i],
			    acc[r][i][half]);
	}
}

/* The last n < 16 columns. */
INLINE256 void
rest256(const int form, const int rows, const int tokens,
    __m256 acc[4][4][2], const char *w, int64_t ldw, const float *x,
    int64_t ldx, int64_t n)
{
	const int size = form == FORM_F32 ? 4 : 2;

	KERNEL_UNROLL
	for (int h = 0; h < 2; h++) {
		int64_t m = n - 8 * h < 8 ? n - 8 * h : 8;

		if (m <= 0)
			return;
		KERNEL_UNROLL
		for (int r = 0; r < rows; r++) {
			__m256 a = m == 8 ? weights256(form, w + r * ldw) :
			    few_weights256(form, w + r * ldw, m);

			KERNEL_UNROLL
			for (int i = 0; i < tokens; i++)
				acc[r][i][h] = _mm256_fmadd_ps(a, m == 8 ?
				    _mm256_loadu_ps(x + i * ldx) :
				    few_weights256(FORM_F32,
				    (const char *)(x + i * ldx), m),
				    acc[r][i][h]);
		}
		w += 8 * size;
		x += 8;
	}
}

INLINE256 void
dot256(const int form, const int rows, const int tokens, const char *w,
    int64_t ldw, int64_t ahead, const float *x, int64_t cols, float *y,
    int64_t ldy, bool add)
{
	const int size = form == FORM_F32 ? 4 : 2;
	__m256 acc[4][4][2];
	int64_t k;

	KERNEL_UNROLL
	for (int r = 0; r < 4; r++)
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[r][i][0] = acc[r][i][1] = _mm256_setzero_ps();
	for (k = 0; k + 16 <= cols; k += 16) {
		step256(form, rows, tokens, 0, acc, w + k * size, ldw, ahead,
		    x + k, cols);
		step256(form, rows, tokens, 1, acc, w + (k + 8) * size, ldw,
		    0, x + k + 8, cols);
	}
	rest256(form, rows, tokens, acc, w + k * size, ldw, x + k, cols,
	    cols - k);
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++) {
		__m128 s[4];

		KERNEL_UNROLL
		for (int r = 0; r < 4; r++)
			s[r] = fold256(_mm256_add_ps(acc[r][i][0],
			    acc[r][i][1]));
		put4(sum4(s[0], s[1], s[2], s[3]), y + i * ldy, rows, add);
	}
}

/* ---- shapes ---- */

typedef void dot_shape(const char *w, int64_t ldw, int64_t ahead,
    const float *x, int64_t cols, float *y, int64_t ldy, bool add);

#define SHAPE(bits, features, kind, rows, tokens) \
CPU_TARGET(features) static void \
dot##bits##_##kind##_##rows##_##tokens(const char *w, int64_t ldw, \
    int64_t ahead, const float *x, int64_t cols, float *y, int64_t ldy, \
    bool add) \
{ \
	dot##bits(FORM_##kind, rows, tokens, w, ldw, ahead, x, cols, y, ldy, \
	    add); \
}
#define SHAPE512(kind, rows, tokens) \
    SHAPE(512, CPU_FEATURES_AVX512, kind, rows, tokens)
#define SHAPE256(kind, rows, tokens) \
    SHAPE(256, CPU_FEATURES_AVX2, kind, rows, tokens)
#define SHAPES512(kind) SHAPE512(kind, 8, 1) SHAPE512(kind, 4, 2) \
    SHAPE512(kind, 4, 3) SHAPE512(kind, 4, 4) SHAPE512(kind, 1, 1) \
    SHAPE512(kind, 1, 2) SHAPE512(kind, 1, 3) SHAPE512(kind, 1, 4)
#define SHAPES256(kind) SHAPE256(kind, 4, 1) SHAPE256(kind, 2, 2) \
    SHAPE256(kind, 2, 3) SHAPE256(kind, 1, 4) SHAPE256(kind, 1, 1) \
    SHAPE256(kind, 1, 2) SHAPE256(kind, 1, 3)
SHAPES512(F32)
SHAPES512(F16)
SHAPES512(BF16)
SHAPES256(F32)
SHAPES256(F16)
SHAPES256(BF16)

/* For 1 to 4 rows of x: how many rows of W at a time, and one alone. */
struct dot_code {
	dot_shape *many[4], *one[4];
	int rows[4];
};
#define CODE512(kind) { { dot512_##kind##_8_1, dot512_##kind##_4_2, \
    dot512_##kind##_4_3, dot512_##kind##_4_4 }, { dot512_##kind##_1_1, \
    dot512_##kind##_1_2, dot512_##kind##_1_3, dot512_##kind##_1_4 }, \
    { 8, 4, 4, 4 } }
#define CODE256(kind) { { dot256_##kind##_4_1, dot256_##kind##_2_2, \
    dot256_##kind##_2_3, dot256_##kind##_1_4 }, { dot256_##kind##_1_1, \
    dot256_##kind##_1_2, dot256_##kind##_1_3, dot256_##kind##_1_4 }, \
    { 4, 2, 2, 1 } }
static const struct dot_code code256[] = { [FORM_F32] = CODE256(F32),
	[FORM_F16] = CODE256(F16), [FORM_BF16] = CODE256(BF16) };
static const struct dot_code code512[] = { [FORM_F32] = CODE512(F32),
	[FORM_F16] = CODE512(F16), [FORM_BF16] = CODE512(BF16) };

/* Measured: up to half a vector of tokens, for AVX2 has too few registers, and
 * to almost two in AVX-512. */
int64_t
kernel_few(void)
{
	return cpu_level() >= CPU_AVX512 ? 28 : 8;
}

/* Of either side: for a head of two rows, turning x round takes longest. */
static bool
is_few(const struct tensor *t, int64_t n)
{
	return n <= kernel_few() || t->rows <= DOT_ROWS;
}

static int64_t
dot_panel(const struct tensor *t, int64_t n)
{
	int64_t rows = DOT_BYTES / ((int64_t)value_float_size(t->form) *
	    t->cols) / DOT_ROWS * DOT_ROWS;

	return rows < DOT_ROWS ? DOT_ROWS : rows;
}

/* m <= DOT_ROWS rows of W and up to 4 of x; the rows that follow are asked for
 * when fetch. */
static void
dot_rows(const struct dot_code *code, const char *w, int64_t ldw, int64_t m,
    const float *x, int tokens, int64_t cols, float *y, int64_t ldy, bool add,
    bool fetch)
{
	int64_t ahead = fetch ? DOT_ROWS * ldw : 0;
	int rows = code->rows[tokens - 1];

	for (; m > 0; w += rows * ldw, y += rows, m -= rows) {
		rows = m < rows ? 1 : rows;
		(rows > 1 ? code->many : code->one)[tokens - 1](w, ldw, ahead,
		    x, cols, y, ldy, add);
	}
}

static void
dot_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const struct dot_code *code = &(cpu_level() >= CPU_AVX512 ? code512 :
	    code256)[t->form];
	int64_t ldw = t->cols * (int64_t)value_float_size(t->form);
	const char *w = (const char *)t->part[PART_DATA].p + r0 * ldw;

	for (int64_t r = r0; r < r1; r += DOT_ROWS, y += DOT_ROWS) {
		int64_t m = r1 - r < DOT_ROWS ? r1 - r : DOT_ROWS;
		bool more = r + 2 * DOT_ROWS <= t->rows;

		for (int64_t i = 0; i < x->n; i += 4)
			dot_rows(code, w, ldw, m, x->f + i * t->cols,
			    x->n - i < 4 ? (int)(x->n - i) : 4, t->cols,
			    y + i * ldy, ldy, accumulate, more && i == 0);
		w += DOT_ROWS * ldw;
	}
}

void
kernel_dot_rows(const float *w, int64_t rows, const struct kernel_x *x,
    float *y, int64_t ldy, bool add)
{
	const struct dot_code *code = &(cpu_level() >= CPU_AVX512 ? code512 :
	    code256)[FORM_F32];
	int64_t ldw = x->cols * (int64_t)sizeof(float);

	for (int64_t r = 0; r < rows; r += DOT_ROWS)
		for (int64_t i = 0; i < x->n; i += 4)
			dot_rows(code, (const char *)w + r * ldw, ldw,
			    rows - r < DOT_ROWS ? rows - r : DOT_ROWS,
			    x->f + i * x->cols, x->n - i < 4 ?
			    (int)(x->n - i) : 4, x->cols, y + i * ldy + r,
			    ldy, add, false);
}

const struct kernel float_dot_kernel = {
	.name = "dot products", .tolerance = 2e-5f, .level = CPU_AVX2,
	.fits = is_few, .panel = dot_panel, .run = dot_run
};

#else

int64_t
kernel_few(void)
{
	return 0;
}

void
kernel_dot_rows(const float *w, int64_t rows, const struct kernel_x *x,
    float *y, int64_t ldy, bool add)
{
}

#endif
