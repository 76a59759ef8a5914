/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The innermost loops of panels. Accumulators are vectors of tokens, one set a
 * row: 12 rows by 32 tokens in AVX-512 (24 of 32 registers), 6 by 16 in AVX2 (12
 * of 16). Per column of W they take one load for each vector of tokens and one
 * broadcast for each row. Both sum in the same order with the same operations.
 */
#include "tensor/kernel_panel.h"

#if CPU_X86
#include <immintrin.h>

/* A block comes from far when it is met first; this is 16 KiB on. */
enum { BLOCK_AHEAD = 128 * PANEL_TOKENS };

#define INLINE512 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX512)
#define INLINE256 static inline __attribute__((always_inline)) \
    CPU_TARGET(CPU_FEATURES_AVX2)

/* ---- AVX-512 ---- */

/* One column: acc[r][v] += tile[r] * block[v], rows of the tile ld apart. */
INLINE512 void
column512(const int rows, const int vecs, __m512 acc[PANEL_ROWS][2],
    const float *tile, int64_t ld, const float *block)
{
	__m512 b[2];

	KERNEL_UNROLL
	for (int v = 0; v < vecs; v++) {
		b[v] = _mm512_load_ps(block + 16 * v);
		_mm_prefetch(block + 16 * v + BLOCK_AHEAD, _MM_HINT_T1);
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		__m512 a = _mm512_set1_ps(tile[r * ld]);

		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm512_fmadd_ps(a, b[v], acc[r][v]);
	}
}

/* Rows are ld apart, and runs of columns `step`. */
INLINE512 void
multiply512(const int rows, const int vecs, const float *tile, int64_t ld,
    int64_t step, const float *block, int64_t cols, float *sum,
    const struct kernel_ahead *ahead)
{
	__m512 acc[PANEL_ROWS][2];
	const char *next = ahead->p;
	int64_t k;

	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm512_setzero_ps();
	for (k = 0; k + PANEL_RUN <= cols; k += PANEL_RUN) {
		kernel_fetch(ahead, &next);
		for (int j = 0; j < PANEL_RUN; j += 2) {
			column512(rows, vecs, acc, tile + j, ld, block);
			column512(rows, vecs, acc, tile + j + 1, ld,
			    block + PANEL_TOKENS);
			block += 2 * PANEL_TOKENS;
		}
		tile += step;
	}
	for (; k < cols; k++, tile++, block += PANEL_TOKENS)
		column512(rows, vecs, acc, tile, ld, block);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			_mm512_store_ps(sum + r * PANEL_X + 16 * v,
			    acc[r][v]);
}

#define SHAPE512(rows, vecs) \
CPU_TARGET(CPU_FEATURES_AVX512) static void \
multiply512_##rows##_##vecs(const float *tile, const float *block, \
    int64_t cols, float *sum, const struct kernel_ahead *ahead) \
{ \
	multiply512(rows, vecs, tile, PANEL_RUN, rows * PANEL_RUN, block, \
	    cols, sum, ahead); \
}
SHAPE512(4, 1)
SHAPE512(8, 1)
SHAPE512(12, 1)
SHAPE512(4, 2)
SHAPE512(8, 2)
SHAPE512(12, 2)

CPU_TARGET(CPU_FEATURES_AVX512) static void
panel_multiply512(const float *tile, const float *block, int64_t cols,
    int64_t tokens, int64_t rows, float *sum, const struct kernel_ahead *ahead)
{
	static void (*const shape[3][2])(const float *tile, const float *block,
	    int64_t cols, float *sum, const struct kernel_ahead *ahead) = {
		{ multiply512_4_1, multiply512_4_2 },
		{ multiply512_8_1, multiply512_8_2 },
		{ multiply512_12_1, multiply512_12_2 },
	};

	shape[(rows - 1) / PANEL_UNIT][(tokens - 1) / 16](tile, block, cols,
	    sum, ahead);
}

CPU_TARGET(CPU_FEATURES_AVX512) static void
panel_direct512(const float *w, int64_t ld, const float *block, int64_t cols,
    int64_t tokens, float *sum, const struct kernel_ahead *ahead)
{
	if (tokens <= 16)
		multiply512(PANEL_ROWS, 1, w, ld, PANEL_RUN, block, cols, sum,
		    ahead);
	else
		multiply512(PANEL_ROWS, 2, w, ld, PANEL_RUN, block, cols, sum,
		    ahead);
}

/* ---- AVX2 ---- */

INLINE256 void
column256(const int rows, const int vecs, __m256 acc[6][2], const float *tile,
    const float *block)
{
	__m256 b[2];

	KERNEL_UNROLL
	for (int v = 0; v < vecs; v++)
		b[v] = _mm256_load_ps(block + 8 * v);
	_mm_prefetch(block + BLOCK_AHEAD, _MM_HINT_T1);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		__m256 a = _mm256_broadcast_ss(tile + r * PANEL_RUN);

		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm256_fmadd_ps(a, b[v], acc[r][v]);
	}
}

/* rows of a tile that has `step` floats in a run of columns. */
INLINE256 void
multiply256(const int rows, const int vecs, const float *tile, int64_t step,
    const float *block, int64_t cols, float *sum,
    const struct kernel_ahead *ahead)
{
	__m256 acc[6][2];
	const char *next = ahead->p;
	int64_t k;

	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			acc[r][v] = _mm256_setzero_ps();
	for (k = 0; k + PANEL_RUN <= cols; k += PANEL_RUN, tile += step) {
		kernel_fetch(ahead, &next);
		for (int j = 0; j < PANEL_RUN; j++, block += PANEL_TOKENS)
			column256(rows, vecs, acc, tile + j, block);
	}
	for (; k < cols; k++, tile++, block += PANEL_TOKENS)
		column256(rows, vecs, acc, tile, block);
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++)
		KERNEL_UNROLL
		for (int v = 0; v < vecs; v++)
			_mm256_store_ps(sum + r * PANEL_X + 8 * v,
			    acc[r][v]);
}

#define SHAPE256(rows, vecs) \
CPU_TARGET(CPU_FEATURES_AVX2) static void \
multiply256_##rows##_##vecs(const float *tile, int64_t step, \
    const float *block, int64_t cols, float *sum, \
    const struct kernel_ahead *ahead) \
{ \
	multiply256(rows, vecs, tile, step, block, cols, sum, ahead); \
}
SHAPE256(4, 1)
SHAPE256(6, 1)
SHAPE256(4, 2)
SHAPE256(6, 2)

static void
panel_multiply256(const float *tile, const float *block, int64_t cols,
    int64_t tokens, int64_t rows, float *sum, const struct kernel_ahead *ahead)
{
	static const struct kernel_ahead nothing = { 0 };
	int have = panel_tile_rows(rows), height = have == 12 ? 6 : 4;
	int64_t step = have * PANEL_RUN;

	for (int r = 0; r < have; r += height)
		for (int64_t i = 0; i < tokens; i += 16) {
			const float *w = tile + r * PANEL_RUN, *b = block + i;
			float *to = sum + r * PANEL_X + i;
			bool one = tokens - i <= 8;

			if (height == 6)
				(one ? multiply256_6_1 : multiply256_6_2)(w,
				    step, b, cols, to, ahead);
			else
				(one ? multiply256_4_1 : multiply256_4_2)(w,
				    step, b, cols, to, ahead);
			ahead = &nothing;
		}
}

/* ---- turning x, and sums ---- */

/* Eight rows of eight, ld apart, columns to rows of out. */
INLINE256 void
turn8(const float *from, int64_t ld, float *out, int64_t ldout, bool add)
{
	__m256 a[8], b[8];

	KERNEL_UNROLL
	for (int i = 0; i < 8; i++)
		a[i] = _mm256_loadu_ps(from + i * ld);
	KERNEL_UNROLL
	for (int i = 0; i < 8; i += 2) {
		b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
		b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
	}
	KERNEL_UNROLL
	for (int i = 0; i < 8; i += 4) {
		a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
		a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
		a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
		a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
	}
	KERNEL_UNROLL
	for (int i = 0; i < 8; i++) {
		__m256 v = i < 4 ? _mm256_permute2f128_ps(a[i], a[i + 4],
		    0x20) : _mm256_permute2f128_ps(a[i - 4], a[i], 0x31);
		float *o = out + i * ldout;

		_mm256_storeu_ps(o, add ? _mm256_add_ps(_mm256_loadu_ps(o), v) :
		    v);
	}
}

CPU_TARGET(CPU_FEATURES_AVX2) static void
panel_put256(const float *sum, int64_t tokens, int64_t rows, float *y,
    int64_t ldy, bool add)
{
	int64_t t8 = tokens / 8 * 8, r8 = rows / 8 * 8;

	for (int64_t i = 0; i < t8; i += 8)
		for (int64_t r = 0; r < r8; r += 8)
			turn8(sum + r * PANEL_X + i, PANEL_X, y + i * ldy + r,
			    ldy, add);
	for (int64_t i = 0; i < tokens; i++)
		for (int64_t r = i < t8 ? r8 : 0; r < rows; r++) {
			float s = sum[r * PANEL_X + i], *to = y + i * ldy + r;

			*to = add ? *to + s : s;
		}
}

CPU_TARGET(CPU_FEATURES_AVX2) static void
panel_turn256(const float *x, int64_t ldx, int64_t tokens, int64_t cols,
    float *block)
{
	int64_t t8 = tokens / 8 * 8, c8 = cols / 8 * 8;

	for (int64_t k = 0; k < c8; k += 8)
		for (int64_t i = 0; i < t8; i += 8)
			turn8(x + i * ldx + k, ldx, block + k * PANEL_TOKENS +
			    i, PANEL_TOKENS, false);
	for (int64_t k = 0; k < cols; k++) {
		float *b = block + k * PANEL_TOKENS;

		for (int64_t i = k < c8 ? t8 : 0; i < tokens; i++)
			b[i] = x[i * ldx + k];
		for (int64_t i = tokens; i < PANEL_TOKENS; i++)
			b[i] = 0.0f;
	}
}

/* ---- tiles ---- */

INLINE256 void
put_run256(const int form, const char *w, float *to)
{
	KERNEL_UNROLL
	for (int h = 0; h < 2; h++) {
		__m256i wide;

		if (form == FORM_F32) {
			_mm256_store_ps(to + 8 * h, _mm256_loadu_ps(
			    (const float *)w + 8 * h));
			continue;
		}
		if (form == FORM_F16) {
			_mm256_store_ps(to + 8 * h, _mm256_cvtph_ps(
			    _mm_loadu_si128((const __m128i *)w + h)));
			continue;
		}
		wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(
		    (const __m128i *)w + h));
		_mm256_store_si256((__m256i *)(to + 8 * h),
		    _mm256_slli_epi32(wide, 16));
	}
}

INLINE256 void
fill256(const int form, const struct tensor *t, int64_t r, int64_t rows,
    int64_t k, int64_t cols, float *tile)
{
	const int size = form == FORM_F32 ? 4 : 2;
	const char *w = (const char *)t->part[PART_DATA].p;
	int64_t run = PANEL_RUN * panel_tile_rows(rows);

	for (int64_t i = 0; i < rows; i++) {
		const char *v = w + ((r + i) * t->cols + k) * size;
		float *to = tile + i * PANEL_RUN;
		int64_t c = 0;

		for (; c + PANEL_RUN <= cols; c += PANEL_RUN, to += run)
			put_run256(form, v + c * size, to);
		if (c < cols)
			form_table[form].values(t, r + i, NULL, k + c,
			    cols - c, to);
	}
}

#define FILL256(name, kind) \
CPU_TARGET(CPU_FEATURES_AVX2) static void \
name(const struct tensor *t, int64_t r, int64_t rows, int64_t k, \
    int64_t cols, float *row, float *tile) \
{ \
	fill256(FORM_##kind, t, r, rows, k, cols, tile); \
}
FILL256(fill_f32, F32)
FILL256(fill_f16, F16)
FILL256(fill_bf16, BF16)

static const struct panel_code code256 = { panel_multiply256, NULL,
	panel_turn256, panel_put256, fill_f32, fill_f16, fill_bf16 };
static const struct panel_code code512 = { panel_multiply512, panel_direct512,
	panel_turn256, panel_put256, fill_f32, fill_f16, fill_bf16 };

const struct panel_code *
panel_code(void)
{
	return cpu_level() >= CPU_AVX512 ? &code512 : &code256;
}

#else

const struct panel_code *
panel_code(void)
{
	return NULL;
}

#endif
