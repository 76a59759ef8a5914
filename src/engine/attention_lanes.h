/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attention of one head of one sequence, written once for all widths.
 *
 * Keys are packed with their dimensions as rows, in panels of PANEL keys, and
 * values in panels of PANEL dimensions, so that both products are the same small
 * one: a tile of up to TILE rows by a panel, kept in registers. QUERIES rows of
 * scores at a time stay in the first cache from the first product to the second.
 * The division by the sum of a row waits for the context, which is shorter.
 */
#ifndef PARE_ENGINE_ATTENTION_LANES_H
#define PARE_ENGINE_ATTENTION_LANES_H

#include "engine/lanes.h"
#include "engine/vector.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum {
	TILE = 6,				/* rows */
	WIDE = LANES == 16 ? 4 : 2,		/* vectors of a panel */
	PANEL = WIDE * LANES,
	QUERIES = 4 * TILE
};

static inline int64_t
whole_lanes(int64_t n)
{
	return (n + LANES - 1) / LANES * LANES;
}

/* Width of the panel that begins at column `at` of n. */
static inline int64_t
panel_width(int64_t at, int64_t n)
{
	return n - at >= PANEL ? PANEL : whole_lanes(n - at);
}

/* ==== packing ==== */

/* to[c * to_step + r] = from[r * step + c] for rows x cols values. */
static void
turn_slowly(float *to, int64_t to_step, const float *from, int64_t step,
    int64_t rows, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		for (int64_t r = 0; r < rows; r++)
			to[c * to_step + r] = from[r * step + c];
}

LANE static void
turn(float *to, int64_t to_step, const float *from, int64_t step, int64_t rows,
    int64_t cols)
{
	int64_t r = 0, c = 0;

#if defined(__SSE2__)
	for (r = 0; r + 4 <= rows; r += 4)
		for (c = 0; c + 4 <= cols; c += 4) {
			const float *f = from + r * step + c;
			float *t = to + c * to_step + r;
			__m128 a = _mm_loadu_ps(f);
			__m128 b = _mm_loadu_ps(f + step);
			__m128 d = _mm_loadu_ps(f + 2 * step);
			__m128 e = _mm_loadu_ps(f + 3 * step);

			_MM_TRANSPOSE4_PS(a, b, d, e);
			_mm_storeu_ps(t, a);
			_mm_storeu_ps(t + to_step, b);
			_mm_storeu_ps(t + 2 * to_step, d);
			_mm_storeu_ps(t + 3 * to_step, e);
		}
#endif
	turn_slowly(to + c * to_step, to_step, from + c, step, r, cols - c);
	turn_slowly(to + r, to_step, from + r * step, step, rows - r, cols);
}

/* Panels of keys, each (dim, width); keys past the end are 0. */
LANE static void
pack_keys(const struct attend *a, float *to)
{
	for (int64_t at = 0; at < a->keys; at += PANEL) {
		const int64_t width = panel_width(at, a->keys);
		const int64_t n = a->keys - at < width ? a->keys - at : width;

		turn(to, width, a->k + at * a->k_step, a->k_step, n, a->dim);
		for (int64_t d = 0; n < width && d < a->dim; d++)
			memset(to + d * width + n, 0,
			    (size_t)(width - n) * sizeof(*to));
		to += width * a->dim;
	}
}

/* Panels of dimensions, each (keys, width); dimensions past the end are 0. */
LANE static void
pack_values(const struct attend *a, float *to)
{
	for (int64_t at = 0; at < a->dim; at += PANEL) {
		const int64_t width = panel_width(at, a->dim);
		const int64_t n = a->dim - at;
		const float *from = a->v + at;

		for (int64_t j = 0; j < a->keys; j++, from += a->k_step)
			for (int64_t i = 0; i < width; i += LANES, to += LANES)
				v_store(to, v_get(from + i, n - i));
	}
}

/* ==== the small product ==== */

/* c (rows, cols) = a (rows, depth) b, each row times its factor; b is a panel
 * (depth, vectors * LANES) that holds columns past `cols` as well. */
LANE_INLINE void
tile(const int rows, const int vectors, const float *a, int64_t a_step,
    const float *b, int64_t depth, float *c, int64_t c_step, int64_t cols,
    const float *factor)
{
	vf sum[TILE][WIDE];

	LANE_UNROLL
	for (int r = 0; r < rows; r++)
		LANE_UNROLL
		for (int j = 0; j < vectors; j++)
			sum[r][j] = v_set(0.0f);
	for (int64_t k = 0; k < depth; k++) {
		vf w[WIDE];

		LANE_UNROLL
		for (int j = 0; j < vectors; j++, b += LANES)
			w[j] = v_load(b);
		LANE_UNROLL
		for (int r = 0; r < rows; r++) {
			vf x = v_set(a[r * a_step + k]);

			LANE_UNROLL
			for (int j = 0; j < vectors; j++)
				sum[r][j] = v_fma(x, w[j], sum[r][j]);
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

/* One panel, for any number of rows. */
LANE_INLINE void
panel_rows(const int vectors, const float *a, int64_t a_step, const float *b,
    int64_t depth, float *c, int64_t c_step, int64_t cols, int64_t rows,
    const float *factor)
{
	int64_t r = 0;

	for (; r + TILE <= rows; r += TILE)
		tile(TILE, vectors, a + r * a_step, a_step, b, depth,
		    c + r * c_step, c_step, cols, factor + r);
	for (; r + 3 <= rows; r += 3)
		tile(3, vectors, a + r * a_step, a_step, b, depth,
		    c + r * c_step, c_step, cols, factor + r);
	for (; r < rows; r++)
		tile(1, vectors, a + r * a_step, a_step, b, depth,
		    c + r * c_step, c_step, cols, factor + r);
}

/* c (rows, cols) = a (rows, depth) b, b in panels. */
LANE static void
small_product(const float *a, int64_t a_step, const float *b, int64_t depth,
    float *c, int64_t c_step, int64_t cols, int64_t rows, const float *factor)
{
	for (int64_t at = 0; at < cols; at += PANEL) {
		const int64_t width = panel_width(at, cols), n = cols - at;

		if (width == 4 * LANES)
			panel_rows(WIDE, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		else if (width == 3 * LANES)
			panel_rows(WIDE < 3 ? WIDE : 3, a, a_step, b, depth,
			    c + at, c_step, n, rows, factor);
		else if (width == 2 * LANES)
			panel_rows(2, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		else
			panel_rows(1, a, a_step, b, depth, c + at, c_step, n,
			    rows, factor);
		b += width * depth;
	}
}

/* ==== a head ==== */

/* Softmax of the rows of s without its division: the factors are left. Query i
 * of a causal head sees keys 0 to past + i. */
LANE_INLINE void
weigh(const struct attend *a, float *s, int64_t step, int64_t first,
    int64_t rows, float *factor)
{
	for (int64_t r = 0; r < rows; r++) {
		int64_t n = a->past + first + r + 1;

		n = a->causal && n < a->keys ? n : a->keys;
		factor[r] = 1.0f / lane_exp_sum(s + r * step, a->scale, n);
		if (n < a->keys)
			memset(s + r * step + n, 0,
			    (size_t)(a->keys - n) * sizeof(*s));
	}
}

LANE_INLINE void
tell(float *want, const float *s, int64_t n, float factor)
{
	const vf f = v_set(factor);

	for (int64_t i = 0; i < n; i += LANES)
		v_put(want + i, v_mul(v_get(s + i, n - i), f), n - i);
}

LANE static void
lane_attend(const struct attend *a)
{
	const int64_t step = whole_lanes(a->keys);
	float *k = a->scratch, *v = k + step * a->dim;
	float *s = v + whole_lanes(a->dim) * a->keys;
	float one[QUERIES], factor[QUERIES];

	for (int i = 0; i < QUERIES; i++)
		one[i] = 1.0f;
	pack_keys(a, k);
	pack_values(a, v);
	for (int64_t i = 0; i < a->queries; i += QUERIES) {
		const int64_t rows = a->queries - i < QUERIES ?
		    a->queries - i : QUERIES;

		small_product(a->q + i * a->q_step, a->q_step, k, a->dim, s,
		    step, a->keys, rows, one);
		weigh(a, s, step, i, rows, factor);
		for (int64_t r = 0; a->want && r < rows; r++)
			tell(a->want + (i + r) * a->keys, s + r * step,
			    a->keys, factor[r]);
		small_product(s, step, v, a->keys, a->ctx + i * a->q_step,
		    a->q_step, a->dim, rows, factor);
	}
}

/* ==== a query ==== */

enum { KEYS = 4 };	/* whose products are under way at once */

/* s[j] = q k_j for up to KEYS keys. */
LANE_INLINE void
some_scores(const int keys, const float *q, const float *k, int64_t step,
    int64_t dim, float *s)
{
	vf sum[KEYS];
	int64_t d = 0;

	LANE_UNROLL
	for (int j = 0; j < keys; j++)
		sum[j] = v_set(0.0f);
	for (; d + LANES <= dim; d += LANES) {
		const vf x = v_load(q + d);

		LANE_UNROLL
		for (int j = 0; j < keys; j++)
			sum[j] = v_fma(x, v_load(k + j * step + d), sum[j]);
	}
	if (d < dim) {
		const vf x = v_load_n(q + d, dim - d);

		LANE_UNROLL
		for (int j = 0; j < keys; j++)
			sum[j] = v_fma(x, v_load_n(k + j * step + d, dim - d),
			    sum[j]);
	}
	if (keys == 4) {
		v_sum4(s, sum[0], sum[1], sum[2], sum[3]);
		return;
	}
	LANE_UNROLL
	for (int j = 0; j < keys; j++)
		s[j] = v_sum(sum[j]);
}

/* c[0..] = factor sum_j s[j] v_j, `vectors` * LANES columns or, for one vector,
 * cols of them. */
LANE_INLINE void
some_columns(const int vectors, const float *s, int64_t n, const float *v,
    int64_t step, float factor, float *c, int64_t cols)
{
	vf sum[4];

	LANE_UNROLL
	for (int i = 0; i < vectors; i++)
		sum[i] = v_set(0.0f);
	for (int64_t j = 0; j < n; j++, v += step) {
		const vf x = v_set(s[j]);

		LANE_UNROLL
		for (int i = 0; i < vectors; i++)
			sum[i] = v_fma(x, v_get(v + i * LANES, vectors > 1 ?
			    LANES : cols), sum[i]);
	}
	LANE_UNROLL
	for (int i = 0; i < vectors; i++)
		v_put(c + i * LANES, v_mul(sum[i], v_set(factor)),
		    vectors > 1 ? LANES : cols);
}

LANE_INLINE void
weighted_sum(const float *s, int64_t n, const float *v, int64_t step,
    float factor, float *c, int64_t dim)
{
	int64_t d = 0;

	for (; d + 4 * LANES <= dim; d += 4 * LANES)
		some_columns(4, s, n, v + d, step, factor, c + d, 0);
	for (; d < dim; d += LANES)
		some_columns(1, s, n, v + d, step, factor, c + d, dim - d);
}

/* Query i, which sees keys [from, end). */
LANE static void
attend_query(const struct attend *a, int64_t i, int64_t from, int64_t end)
{
	const float *q = a->q + i * a->q_step, *k = a->k + from * a->k_step;
	const int64_t n = end - from;
	float *s = a->scratch, factor;
	int64_t j = 0;

	for (; j + KEYS <= n; j += KEYS)
		some_scores(KEYS, q, k + j * a->k_step, a->k_step, a->dim,
		    s + j);
	for (; j < n; j++)
		some_scores(1, q, k + j * a->k_step, a->k_step, a->dim, s + j);
	if (a->cap > 0.0f)
		for (j = 0; j < n; j += LANES)
			v_put(s + j, v_tanh(v_mul(v_get(s + j, n - j),
			    v_set(a->scale / a->cap))), n - j);
	factor = 1.0f / lane_exp_sum(s, a->cap > 0.0f ? a->cap : a->scale, n);
	weighted_sum(s, n, a->v + from * a->k_step, a->k_step, factor,
	    a->ctx + i * a->q_step, a->dim);
	if (a->want) {
		memset(a->want + i * a->keys, 0, (size_t)a->keys *
		    sizeof(*a->want));
		tell(a->want + i * a->keys + from, s, n, factor);
	}
}

LANE static void
lane_attend_rows(const struct attend *a)
{
	for (int64_t i = 0; i < a->queries; i++) {
		int64_t end = a->past + i + 1, from;

		end = a->causal && end < a->keys ? end : a->keys;
		from = a->window > 0 && end > a->window ? end - a->window : 0;
		attend_query(a, i, from, end);
	}
}

#define ATTENTION_LANES .attend = lane_attend, .attend_rows = lane_attend_rows

#endif
