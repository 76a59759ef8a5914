/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tiles times blocks with AMX. 16 rows of W are a tile of A as they lie, 16
 * tokens of 16 units a tile of B: two of each make four tiles of sums, 32 rows
 * times 32 tokens, with one load for each product.
 */
#include "tensor/kernel_bf16.h"

#if CPU_X86 || defined(CODE_TILE_PLAIN)

#include "tensor/kernel_code_tile.h"

#define INLINE static inline __attribute__((always_inline))

/* Tiles: 0 to 3 sums (rows of W, then tokens), 4 and 5 of W, 6 and 7 of x. All
 * are whole. */
static _Thread_local bool bf16_configured;

TILE_TARGET static void
configure(void)
{
	struct tile_config c = { .palette = 1 };

	if (bf16_configured)
		return;
	for (int t = 0; t < TILE_COUNT; t++) {
		c.rows[t] = TILE_ROWS;
		c.bytes[t] = TILE_BYTES;
	}
	tile_configure(&c);
	bf16_configured = true;
}

TILE_TARGET void
bf16_tile_end(void)
{
	if (bf16_configured)
		tile_release();
	bf16_configured = false;
}

enum {
	LINE = TILE_BYTES / 2,			/* values of a row of a tile */
	UNIT_BYTES = PANEL_TOKENS * BF16_UNIT * 2,	/* of a block */
	SUM_BYTES = PANEL_X * 4
};

TILE_TARGET INLINE void
dot_run(const uint16_t *w, const uint16_t *x, const bool rows, const bool tokens)
{
	tile_load(4, w, TILE_BYTES);
	tile_load(6, x, UNIT_BYTES);
	tile_dot_bf16(0, 4, 6);
	if (tokens) {
		tile_load(7, x + LINE, UNIT_BYTES);
		tile_dot_bf16(1, 4, 7);
	}
	if (!rows)
		return;
	tile_load(5, w + TILE_ROWS * LINE, TILE_BYTES);
	tile_dot_bf16(2, 5, 6);
	if (tokens)
		tile_dot_bf16(3, 5, 7);
}

/* More than 16 rows, and more than 16 tokens. */
TILE_TARGET INLINE void
dot_terms(const struct bf16_piece *p, const bool rows, const bool tokens)
{
	const int64_t step = (rows ? 2 : 1) * TILE_ROWS * BF16_RUN;
	const char *next = p->ahead.p;

	for (int term = 0; term < bf16_terms(p->parts); term++) {
		const uint16_t *w = bf16_tile_of(p, term);
		const uint16_t *x = bf16_block_of(p, term);

		for (int64_t k = 0; k < p->runs; k++) {
			for (int l = 0; term == 0 && l < p->lines; l++)
				kernel_fetch(&p->ahead, &next);
			dot_run(w, x, rows, tokens);
			w += step;
			x += BF16_RUN * PANEL_TOKENS;
		}
	}
}

TILE_TARGET void
bf16_tile_multiply(const struct bf16_piece *p)
{
	const bool rows = p->rows > TILE_ROWS, tokens = p->tokens > TILE_ROWS;

	configure();
	tile_zero(0);
	tile_zero(1);
	tile_zero(2);
	tile_zero(3);
	if (rows && tokens)
		dot_terms(p, true, true);
	else if (rows)
		dot_terms(p, true, false);
	else if (tokens)
		dot_terms(p, false, true);
	else
		dot_terms(p, false, false);
	tile_store(0, p->sum, SUM_BYTES);
	if (tokens)
		tile_store(1, p->sum + TILE_ROWS, SUM_BYTES);
	if (rows)
		tile_store(2, p->sum + TILE_ROWS * PANEL_X, SUM_BYTES);
	if (rows && tokens)
		tile_store(3, p->sum + TILE_ROWS * PANEL_X + TILE_ROWS,
		    SUM_BYTES);
}

#endif
