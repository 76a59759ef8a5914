/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times int8 with AMX. The units of half a strip are rows of a tile
 * of B as they lie, 16 rows of x are a tile of A: two of each make four tiles of
 * sums, 32 rows of x times a strip, with one load for each product.
 *
 * Sixteen units at a time. Where a span has fewer, all alike, the tiles are cut
 * to them; what is left over of longer ones is copied and filled up with zeros.
 */
#include "tensor/kernel_code.h"

#include <math.h>
#include <string.h>

#if CPU_X86 || defined(CODE_TILE_PLAIN)

#include "tensor/kernel_code_tile.h"

#define INLINE static inline __attribute__((always_inline))

/* Tiles: 0 to 3 sums (rows of x, then halves of a strip), 4 and 5 of x, 6 and 7
 * of the strip. What they are cut to now, in this thread; 0: not in use. */
static _Thread_local int cut_tokens, cut_units;

TILE_TARGET static void
configure(int tokens, int units)
{
	struct tile_config c = { .palette = 1 };
	int first = tokens < TILE_ROWS ? tokens : TILE_ROWS;

	if (tokens == cut_tokens && units == cut_units)
		return;
	for (int t = 0; t < TILE_COUNT; t++) {
		bool second = t == 2 || t == 3 || t == 5;

		c.rows[t] = (uint8_t)(t >= 6 ? units : second ?
		    tokens - first : first);
		c.bytes[t] = (uint16_t)(c.rows[t] == 0 ? 0 : t == 4 || t == 5 ?
		    units * CODE_UNIT : TILE_BYTES);
	}
	tile_configure(&c);
	cut_tokens = tokens;
	cut_units = units;
}

TILE_TARGET void
code_tile_end(void)
{
	if (cut_tokens != 0)
		tile_release();
	cut_tokens = cut_units = 0;
}

/* Sums of a block: what a span's tiles come to, and the floats so far. */
struct sums {
	int32_t d[CODE_TILE_TOKENS][CODE_STRIP];
	float f[CODE_TILE_TOKENS][CODE_STRIP];
	int8_t x[CODE_TILE_TOKENS][TILE_BYTES];	/* what is left over */
	uint8_t w[TILE_ROWS][CODE_UNIT_BYTES];
};

/* Units of one height of tiles. */
TILE_TARGET INLINE void
dot_tiles(const uint8_t *w, const int8_t *x, int64_t ldx, const bool two)
{
	tile_load(4, x, ldx);
	tile_load(6, w, CODE_UNIT_BYTES);
	tile_load(7, w + TILE_BYTES, CODE_UNIT_BYTES);
	tile_dot(0, 4, 6);
	tile_dot(1, 4, 7);
	if (!two)
		return;
	tile_load(5, x + TILE_ROWS * ldx, ldx);
	tile_dot(2, 5, 6);
	tile_dot(3, 5, 7);
}

/* Fewer units than the tiles have rows. */
TILE_TARGET static void
copy_rest(const uint8_t *w, const int8_t *x, int64_t ldx, int64_t units,
    int tokens, struct sums *s)
{
	memset(s->x, 0, sizeof(s->x));
	memset(s->w, 0, sizeof(s->w));
	memcpy(s->w, w, (size_t)units * CODE_UNIT_BYTES);
	for (int i = 0; i < tokens; i++)
		memcpy(s->x[i], x + i * ldx, (size_t)units * CODE_UNIT);
}

TILE_TARGET INLINE void
dot_span(const uint8_t *w, const int8_t *x, int64_t ldx, int64_t units,
    int height, int tokens, struct sums *s, const bool two)
{
	tile_zero(0);
	tile_zero(1);
	if (two) {
		tile_zero(2);
		tile_zero(3);
	}
	for (; units >= height; units -= height) {
		dot_tiles(w, x, ldx, two);
		w += height * CODE_UNIT_BYTES;
		x += height * CODE_UNIT;
	}
	if (units > 0) {
		copy_rest(w, x, ldx, units, tokens, s);
		dot_tiles(s->w[0], s->x[0], TILE_BYTES, two);
	}
	tile_store(0, s->d[0], sizeof(s->d[0]));
	tile_store(1, s->d[0] + CODE_HALF, sizeof(s->d[0]));
	if (two) {
		tile_store(2, s->d[TILE_ROWS], sizeof(s->d[0]));
		tile_store(3, s->d[TILE_ROWS] + CODE_HALF, sizeof(s->d[0]));
	}
}

TILE_TARGET static void
add_span(const struct code_block *b, int64_t span, int tokens, struct sums *s)
{
	const float *step = b->step + span * CODE_STRIP;

	for (int i = 0; i < tokens; i++) {
		int32_t init = b->init[i * b->cut.spans + span];
		float *f = s->f[i];

#pragma omp simd
		for (int r = 0; r < CODE_STRIP; r++)
			f[r] = fmaf(step[r], (float)(s->d[i][r] + init), f[r]);
	}
	for (int i = 0; b->base != NULL && i < tokens; i++) {
		const float *base = b->base + span * CODE_STRIP;
		float sum = b->sum[i * b->cut.spans + span];
		float *f = s->f[i];

#pragma omp simd
		for (int r = 0; r < CODE_STRIP; r++)
			f[r] = fmaf(base[r], sum, f[r]);
	}
}

TILE_TARGET static void
store_token(const struct code_block *b, int i, const float *f)
{
	float *y = b->y + i * b->ldy, scale = b->scale[i];

	if (b->accumulate) {
#pragma omp simd
		for (int r = 0; r < b->rows; r++)
			y[r] = fmaf(scale, f[r], y[r]);
	} else {
#pragma omp simd
		for (int r = 0; r < b->rows; r++)
			y[r] = scale * f[r];
	}
}

/* Rows of the tiles of B: spans of less, where they are all alike. */
static int
tile_height(const struct code_cut *cut)
{
	bool alike = cut->c0 % CODE_UNIT == 0 && cut->width % CODE_UNIT == 0 &&
	    (cut->c1 - cut->c0) % cut->width == 0;

	return alike && cut->width < TILE_ROWS * CODE_UNIT ?
	    (int)(cut->width / CODE_UNIT) : TILE_ROWS;
}

TILE_TARGET void
code_tile_block(const struct code_block *b, int tokens)
{
	int height = tile_height(&b->cut);
	const uint8_t *w = b->strip;
	struct sums s;

	configure(tokens, height);
	memset(s.f, 0, sizeof(s.f));
	for (int64_t k = 0; k < b->cut.spans; k++) {
		int64_t u = code_span_begin(&b->cut, k) / CODE_UNIT;
		int64_t n = code_unit_end(code_span_end(&b->cut, k)) - u;
		const int8_t *x = b->q + u * CODE_UNIT;

		if (tokens > TILE_ROWS)
			dot_span(w, x, b->ldq, n, height, tokens, &s, true);
		else
			dot_span(w, x, b->ldq, n, height, tokens, &s, false);
		add_span(b, k, tokens, &s);
		w += n * CODE_UNIT_BYTES;
	}
	for (int i = 0; i < tokens; i++)
		store_token(b, i, s.f[i]);
}

#endif
