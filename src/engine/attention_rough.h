/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * attention_lanes.h once more, with factors as bfloat16: queries, keys, values
 * and the weights of the softmax, two of a sum side by side in a word, so that a
 * step of the small product is two of its depth. Sums are float32. For
 * lanes_avx512.c, behind attention_lanes.h.
 */
#ifndef PARE_ENGINE_ATTENTION_ROUGH_H
#define PARE_ENGINE_ATTENTION_ROUGH_H

#include "tensor/turn512.h"

#define ROUGH CPU_TARGET(CPU_FEATURES_AVX512 ",avx512bf16")
#define ROUGH_INLINE ROUGH __attribute__((always_inline)) static inline

/* 32 floats as bfloat16. */
ROUGH_INLINE __m512i
rough_32(__m512 low, __m512 high)
{
	return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* ==== packing ==== */

/* Panels of keys, each (dim / 2, width) words; keys past the end are 0. */
ROUGH static void
rough_keys(const struct attend *a, int32_t *to)
{
	for (int64_t at = 0; at < a->keys; at += PANEL) {
		const int64_t width = panel_width(at, a->keys);

		for (int64_t j = 0; j < width; j += LANES)
			for (int64_t d = 0; d < a->dim; d += 32) {
				__m512i r[16];

				LANE_UNROLL
				for (int i = 0; i < 16; i++) {
					const int64_t key = at + j + i;
					const float *f = a->k +
					    key * a->k_step + d;

					r[i] = key < a->keys ? rough_32(
					    _mm512_loadu_ps(f),
					    _mm512_loadu_ps(f + 16)) :
					    _mm512_setzero_si512();
				}
				turn512(r);
				LANE_UNROLL
				for (int i = 0; i < 16; i++)
					_mm512_storeu_si512(to + (d / 2 + i) *
					    width + j, r[i]);
			}
		to += width * a->dim / 2;
	}
}

/* Panels of dimensions, each (keys / 2 rounded up, width) words. */
ROUGH static void
rough_values(const struct attend *a, int32_t *to)
{
	const __m512i word = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
	    10, 11, 12, 13, 14, 15);
	const __m512i mix = _mm512_add_epi32(_mm512_set1_epi32(16 << 16),
	    _mm512_mullo_epi32(word, _mm512_set1_epi32(0x10001)));

	for (int64_t at = 0; at < a->dim; at += PANEL) {
		const int64_t width = panel_width(at, a->dim);
		const float *from = a->v + at;

		for (int64_t j = 0; j < a->keys; j += 2, from += 2 * a->k_step)
			for (int64_t i = 0; i < width; i += LANES, to += LANES)
				_mm512_storeu_si512(to,
				    _mm512_permutexvar_epi16(mix, rough_32(
				    _mm512_loadu_ps(from + i), j + 1 < a->keys ?
				    _mm512_loadu_ps(from + a->k_step + i) :
				    _mm512_setzero_ps())));
	}
}

/* n floats to words at `to`, which may be where they lie; of an odd number, with
 * a 0. */
ROUGH_INLINE void
rough_row(const float *from, int64_t n, int32_t *to)
{
	for (int64_t i = 0; i < n; i += 32, to += 16)
		_mm512_storeu_si512(to, rough_32(v_get(from + i, n - i),
		    n - i > 16 ? v_get(from + i + 16, n - i - 16) :
		    _mm512_setzero_ps()));
}

/* ==== the small product ==== */

/* tile() of depth words. */
ROUGH_INLINE void
rough_tile(const int rows, const int vectors, const int32_t *a, int64_t a_step,
    const int32_t *b, int64_t depth, float *c, int64_t c_step, int64_t cols,
    const float *factor)
{
	vf sum[TILE][WIDE];

	LANE_UNROLL
	for (int r = 0; r < rows; r++)
		LANE_UNROLL
		for (int j = 0; j < vectors; j++)
			sum[r][j] = v_set(0.0f);
	for (int64_t k = 0; k < depth; k++) {
		__m512i w[WIDE];

		LANE_UNROLL
		for (int j = 0; j < vectors; j++, b += LANES)
			w[j] = _mm512_loadu_si512(b);
		LANE_UNROLL
		for (int r = 0; r < rows; r++) {
			__m512i x = _mm512_set1_epi32(a[r * a_step + k]);

			LANE_UNROLL
			for (int j = 0; j < vectors; j++)
				sum[r][j] = _mm512_dpbf16_ps(sum[r][j],
				    (__m512bh)x, (__m512bh)w[j]);
		}
	}
	LANE_UNROLL
	for (int r = 0; r < rows; r++) {
		vf f = v_set(factor[r]);

		LANE_UNROLL
		for (int j = 0; j < vectors; j++)
			if (j * LANES < cols)
				v_put(c + r * c_step + j * LANES,
				    v_mul(sum[r][j], f), cols - j * LANES);
	}
}

ROUGH_INLINE void
rough_rows(const int vectors, const int32_t *a, int64_t a_step,
    const int32_t *b, int64_t depth, float *c, int64_t c_step, int64_t cols,
    int64_t rows, const float *factor)
{
	int64_t r = 0;

	for (; r + TILE <= rows; r += TILE)
		rough_tile(TILE, vectors, a + r * a_step, a_step, b, depth,
		    c + r * c_step, c_step, cols, factor + r);
	for (; r < rows; r++)
		rough_tile(1, vectors, a + r * a_step, a_step, b, depth,
		    c + r * c_step, c_step, cols, factor + r);
}

ROUGH static void
rough_product(const int32_t *a, int64_t a_step, const int32_t *b,
    int64_t depth, float *c, int64_t c_step, int64_t cols, int64_t rows,
    const float *factor)
{
	for (int64_t at = 0; at < cols; at += PANEL) {
		const int64_t width = panel_width(at, cols), n = cols - at;

		if (width == 4 * LANES)
			rough_rows(4, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		else if (width == 3 * LANES)
			rough_rows(3, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		else if (width == 2 * LANES)
			rough_rows(2, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		else
			rough_rows(1, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		b += width * depth;
	}
}

/* ==== a head ==== */

/* In words: keys, values, a block of queries; then scores, which become words
 * where they lie. */
ROUGH static void
lane_attend_rough(const struct attend *a)
{
	const int64_t step = whole_lanes(a->keys), pairs = (a->keys + 1) / 2;
	int32_t *k = (int32_t *)(void *)a->scratch, *v = k + step * a->dim / 2;
	int32_t *q = v + a->dim * pairs;
	float *s = (float *)(void *)(q + QUERIES * a->dim / 2);
	float one[QUERIES], factor[QUERIES];

	for (int i = 0; i < QUERIES; i++)
		one[i] = 1.0f;
	rough_keys(a, k);
	rough_values(a, v);
	for (int64_t i = 0; i < a->queries; i += QUERIES) {
		const int64_t rows = a->queries - i < QUERIES ?
		    a->queries - i : QUERIES;

		for (int64_t r = 0; r < rows; r++)
			rough_row(a->q + (i + r) * a->q_step, a->dim,
			    q + r * a->dim / 2);
		rough_product(q, a->dim / 2, k, a->dim / 2, s, step, a->keys,
		    rows, one);
		weigh(a, s, step, i, rows, factor);
		for (int64_t r = 0; r < rows; r++) {
			if (a->want)
				tell(a->want + (i + r) * a->keys, s + r * step,
				    a->keys, factor[r]);
			rough_row(s + r * step, a->keys,
			    (int32_t *)(void *)(s + r * step));
		}
		rough_product((const int32_t *)(const void *)s, step, v, pairs,
		    a->ctx + i * a->q_step, a->q_step, a->dim, rows, factor);
	}
}

#endif
