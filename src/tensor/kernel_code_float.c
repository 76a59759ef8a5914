/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A few rows of floats times packed INT codes: the codes of a piece of a row of
 * W are unpacked to bytes in L1; sixteen of them widened become weights with one
 * fused operation, base + step * code, and meet as many values of each x.
 */
#include "tensor/kernel_code.h"

#if CPU_X86

#include <immintrin.h>
#include <string.h>

#define AVX512 CPU_TARGET(CPU_FEATURES_AVX512)
#define AVX2 CPU_TARGET(CPU_FEATURES_AVX2)
#define INLINE static inline __attribute__((always_inline))

enum {
	FEW = 4,		/* rows of x */
	LINE = 2048,		/* columns of a piece of a row, at most */
	SPANS = 256,		/* groups of such a piece, at most */
	PIECE = 1 << 16		/* weights of a piece of work, about */
};

/* A piece of a row of W, in spans of one scale each, and rows of x. */
struct line {
	const uint8_t *byte;
	int64_t cols, width;	/* columns in all, and of a span */
	float step[SPANS], base[SPANS];
	const float *x[FEW];	/* at the first column */
	float out[FEW];		/* added to */
};

/* ---- AVX-512 ---- */

AVX512 INLINE __m512
weights512(__m128i byte, __m512 step, __m512 base)
{
	return _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(
	    _mm512_cvtepu8_epi32(byte)), base);
}

AVX512 INLINE void
line512(struct line *l, const int rows)
{
	const uint8_t *byte = l->byte;
	/* Two sets of sums, none of which waits for the other. */
	__m512 a[FEW], b[FEW];

	KERNEL_UNROLL
	for (int k = 0; k < rows; k++)
		a[k] = b[k] = _mm512_setzero_ps();
	for (int64_t c = 0, s = 0; c < l->cols; s++) {
		int64_t end = l->cols - c < l->width ? l->cols : c + l->width;
		__m512 step = _mm512_set1_ps(l->step[s]);
		__m512 base = _mm512_set1_ps(l->base[s]);

		for (; c + 32 <= end; c += 32) {
			__m512 u = weights512(_mm_loadu_si128(
			    (const __m128i *)(byte + c)), step, base);
			__m512 v = weights512(_mm_loadu_si128(
			    (const __m128i *)(byte + c + 16)), step, base);

			KERNEL_UNROLL
			for (int k = 0; k < rows; k++) {
				a[k] = _mm512_fmadd_ps(u,
				    _mm512_loadu_ps(l->x[k] + c), a[k]);
				b[k] = _mm512_fmadd_ps(v,
				    _mm512_loadu_ps(l->x[k] + c + 16), b[k]);
			}
		}
		for (int64_t n; c < end; c += n) {
			__mmask16 m;
			__m512 u;

			n = end - c < 16 ? end - c : 16;
			m = (__mmask16)((1u << n) - 1);
			u = weights512(_mm_maskz_loadu_epi8(m, byte + c), step,
			    base);
			KERNEL_UNROLL
			for (int k = 0; k < rows; k++)
				a[k] = _mm512_fmadd_ps(u,
				    _mm512_maskz_loadu_ps(m, l->x[k] + c),
				    a[k]);
		}
	}
	KERNEL_UNROLL
	for (int k = 0; k < rows; k++)
		l->out[k] += _mm512_reduce_add_ps(_mm512_add_ps(a[k], b[k]));
}

AVX512 static void
line_avx512(struct line *l, int64_t rows)
{
	if (rows == 1)
		line512(l, 1);
	else if (rows == 2)
		line512(l, 2);
	else
		line512(l, FEW);
}

/* ---- AVX2 ---- */

AVX2 INLINE void
line256(struct line *l, const int rows)
{
	const uint8_t *byte = l->byte;
	__m256 a[FEW];
	float part[8];

	KERNEL_UNROLL
	for (int k = 0; k < rows; k++)
		a[k] = _mm256_setzero_ps();
	for (int64_t c = 0, s = 0; c < l->cols; s++) {
		int64_t end = l->cols - c < l->width ? l->cols : c + l->width;
		__m256 step = _mm256_set1_ps(l->step[s]);
		__m256 base = _mm256_set1_ps(l->base[s]);

		for (; c + 8 <= end; c += 8) {
			__m256 w = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(
			    _mm256_cvtepu8_epi32(_mm_loadl_epi64(
			    (const __m128i *)(byte + c)))), base);

			KERNEL_UNROLL
			for (int k = 0; k < rows; k++)
				a[k] = _mm256_fmadd_ps(w,
				    _mm256_loadu_ps(l->x[k] + c), a[k]);
		}
		for (; c < end; c++) {
			float w = l->base[s] + l->step[s] * (float)byte[c];

			KERNEL_UNROLL
			for (int k = 0; k < rows; k++)
				l->out[k] += w * l->x[k][c];
		}
	}
	KERNEL_UNROLL
	for (int k = 0; k < rows; k++) {
		_mm256_storeu_ps(part, a[k]);
		for (int i = 1; i < 8; i++)
			part[0] += part[i];
		l->out[k] += part[0];
	}
}

AVX2 static void
line_avx2(struct line *l, int64_t rows)
{
	if (rows == 1)
		line256(l, 1);
	else if (rows == 2)
		line256(l, 2);
	else
		line256(l, FEW);
}

/* ---- rows ---- */

/* Columns of a piece of a row: whole groups, or a part of one. */
static int64_t
line_cols(int64_t group)
{
	int64_t n = LINE / group < SPANS ? LINE / group : SPANS;

	return n > 0 ? n * group : LINE;
}

/* Steps and bases of n groups from g on, so that a weight is base + step * code
 * in both schemes: exact where it is symmetric. */
static void
fill_scales(const struct tensor *t, int64_t g, int64_t n, struct line *l)
{
	const uint16_t *scale = t->part[PART_SCALE].p;
	const uint16_t *low = t->part[PART_MIN].p;
	const struct tensor_code *c = &t->code;

	half_to_floats(scale + g, n, l->step);
	for (int64_t i = 0; i < n; i++)
		l->step[i] *= c->mult;
	if (c->scheme == CODE_AFFINE) {
		half_to_floats(low + g, n, l->base);
		for (int64_t i = 0; i < n; i++)
			l->base[i] *= c->mult;
		return;
	}
	for (int64_t i = 0; i < n; i++)
		l->base[i] = -l->step[i] * (float)(1 << (c->bits - 1));
	for (int64_t i = 0; c->bits == 1 && i < n; i++)
		l->step[i] *= 2;
}

/* Columns [c, end) of row r. */
static void
fill_line(const struct tensor *t, int64_t r, int64_t c, int64_t end,
    uint8_t *byte, struct line *l)
{
	l->cols = end - c;
	l->byte = byte;
	if (t->code.bits == 8)
		l->byte = (const uint8_t *)t->part[PART_DATA].p + r * t->cols +
		    c;
	else
		value_codes(t, r, c, end - c, byte);
	fill_scales(t, value_group_of(t, r, c),
	    (end - c + l->width - 1) / l->width, l);
}

static void
run_rows(void (*line)(struct line *, int64_t), const struct tensor *t,
    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, int64_t ldy,
    bool accumulate, uint8_t *byte)
{
	int64_t group = value_group_cols(t), step = line_cols(group);
	struct line l = { .width = group < LINE ? group : LINE };

	for (int64_t r = r0; r < r1; r++, y++) {
		memset(l.out, 0, sizeof(l.out));
		for (int64_t c = 0, end; c < t->cols; c = end) {
			end = (c / group + 1) * group;
			if (group <= LINE || c + step < end)
				end = c + step;
			end = end < t->cols ? end : t->cols;
			/* Three rows are four, of which two are one. */
			for (int64_t k = 0; k < FEW; k++)
				l.x[k] = x->f + c + t->cols *
				    (k < x->n ? k : x->n - 1);
			fill_line(t, r, c, end, byte, &l);
			line(&l, x->n);
		}
		for (int64_t k = 0; k < x->n; k++)
			y[k * ldy] = accumulate ? y[k * ldy] + l.out[k] :
			    l.out[k];
	}
}

static void
run_avx512(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	run_rows(line_avx512, t, x, r0, r1, y, ldy, accumulate, scratch);
}

static void
run_avx2(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	run_rows(line_avx2, t, x, r0, r1, y, ldy, accumulate, scratch);
}

static bool
fits(const struct tensor *t, int64_t n)
{
	return t->values == FORM_INT && n <= FEW;
}

static int64_t
panel(const struct tensor *t, int64_t n)
{
	return t->cols < PIECE ? PIECE / t->cols : 1;
}

static size_t
scratch_bytes(const struct tensor *t, int64_t n)
{
	return LINE;
}

const struct kernel code_float512_kernel = {
	.name = "few rows of floats x codes, AVX-512", .tolerance = 2e-5f,
	.level = CPU_AVX512, .fits = fits, .panel = panel,
	.scratch = scratch_bytes, .run = run_avx512
};

const struct kernel code_float256_kernel = {
	.name = "few rows of floats x codes, AVX2", .tolerance = 2e-5f,
	.level = CPU_AVX2, .fits = fits, .panel = panel,
	.scratch = scratch_bytes, .run = run_avx2
};

#endif
