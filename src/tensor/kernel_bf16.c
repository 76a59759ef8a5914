/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products in bfloat16, see kernel_bf16.h: how the work is cut, tiles and blocks,
 * and plain C.
 *
 * Rows of W become tiles in scratch, copied or split, because rows at a distance
 * of a power of two would meet in one set of L1; rows of x become blocks once for
 * all pieces.
 */
#include "tensor/kernel_bf16.h"

#include <string.h>

#include "tensor/kernel_code.h"

/* Of the largest y, for x of random numbers: x is off by up to 2^-8 of itself. */
#define BF16_TOLERANCE 4e-3f
/* Both are off by up to 2^-17, and lo(w) lo(x) is left out. */
#define SPLIT_TOLERANCE 1e-5f

enum {
	TILES_BYTES = 320 << 10,	/* of a panel, a share of L2 */
	WIDTH = 1024,			/* columns of tiles, at most */
	TURN_COLS = 128			/* of x that are split at a time */
};

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
whole_runs(int64_t cols)
{
	return (cols + BF16_RUN - 1) / BF16_RUN * BF16_RUN;
}

/* ---- parts ---- */

void
bf16_split(const float *v, int64_t n, uint16_t *high, uint16_t *low)
{
	float rest[TURN_COLS];

#if CPU_X86
	if (cpu_has(CPU_BF16)) {
		bf16_split_avx512(v, n, high, low);
		return;
	}
#endif
	bfloat_from_floats(v, n, high);
	for (int64_t k = 0, m; low != NULL && k < n; k += m) {
		m = lesser(n - k, TURN_COLS);
		bfloat_to_floats(high + k, m, rest);
		for (int64_t i = 0; i < m; i++)
			rest[i] = v[k + i] - rest[i];
		bfloat_from_floats(rest, m, low + k);
	}
}

/* ---- x ---- */

int64_t
bf16_prep_row(int parts, int64_t cols)
{
	return parts * whole_runs(cols);
}

size_t
bf16_prep_bytes(int parts, int64_t n, int64_t cols)
{
	int64_t rows = (n + PANEL_TOKENS - 1) / PANEL_TOKENS * PANEL_TOKENS;

	return (size_t)(rows * bf16_prep_row(parts, cols)) * sizeof(uint16_t);
}

/* The bytes of half a block are turned as those of half a strip of codes are: a
 * unit of two columns has four of each token. */
static void
turn_half(const uint16_t *rows, int64_t units, uint16_t *block)
{
#if CPU_X86
	if (cpu_level() >= CPU_VNNI) {
		code_level_vnni.turn((const uint8_t *)rows, TURN_COLS *
		    (int64_t)sizeof(*rows), units, (uint8_t *)block);
		return;
	}
#endif
	code_level_scalar.turn((const uint8_t *)rows, TURN_COLS *
	    (int64_t)sizeof(*rows), units, (uint8_t *)block);
}

/* Columns [c, c + TURN_COLS) of CODE_HALF rows from i0 on, those from n on
 * zeros. */
static void
make_half(int parts, const struct kernel_x *x, int64_t i0, int64_t n, int64_t c,
    uint16_t *block)
{
	_Alignas(64) uint16_t half[BF16_PARTS][CODE_HALF][TURN_COLS] = { 0 };
	int64_t cols = lesser(TURN_COLS, x->cols - c);

	for (int64_t i = 0; i < CODE_HALF && i0 + i < n; i++)
		bf16_split(x->f + (i0 + i) * x->cols + c, cols, half[0][i],
		    parts > 1 ? half[1][i] : NULL);
	for (int k = 0; k < parts; k++)
		turn_half(half[k][0], whole_runs(cols) / BF16_UNIT, block + k *
		    whole_runs(x->cols) * PANEL_TOKENS);
}

void
bf16_prep_make(int parts, const struct kernel_x *x, int64_t i0, int64_t n)
{
	for (int64_t i = i0; i < i0 + n; i += PANEL_TOKENS) {
		uint16_t *block = (uint16_t *)x->halves + i *
		    bf16_prep_row(parts, x->cols);

		for (int64_t c = 0; c < x->cols; c += TURN_COLS)
			for (int h = 0; h < PANEL_TOKENS; h += CODE_HALF)
				make_half(parts, x, i + h, i0 + n, c, block +
				    c * PANEL_TOKENS + h * BF16_UNIT);
	}
}

/* ---- tiles ---- */

/* Columns of W that are tiles at one time. */
static int64_t
tile_width(const struct tensor *t)
{
	int64_t times = (t->cols + WIDTH - 1) / WIDTH;

	return whole_runs((t->cols + times - 1) / times);
}

int64_t
bf16_panel(const struct bf16_level *v, const struct tensor *t, int parts)
{
	return panel_share(t, TILES_BYTES / (2 * parts * tile_width(t)),
	    v->rows);
}

/* A piece being computed: columns [k, k + cols) of rows [r0, r1). */
struct panel {
	const struct bf16_level *v;
	const struct tensor *t;
	const struct kernel_x *x;
	int parts;
	int64_t r0, r1, k, cols, width;
	uint16_t *tiles;
	float *sum;
};

/* A row of W, as parts that are `part` values apart, into runs that are `run`
 * apart. */
static void
put_row(const struct panel *p, int64_t r, uint16_t *to, int64_t run,
    int64_t part)
{
	uint16_t split[BF16_PARTS][WIDTH];
	const uint16_t *from[BF16_PARTS] = { split[0], split[1] };

	if (p->t->form == FORM_BF16)
		from[0] = (const uint16_t *)p->t->part[PART_DATA].p + r *
		    p->t->cols + p->k;
	else
		bf16_split((const float *)p->t->part[PART_DATA].p + r *
		    p->t->cols + p->k, p->cols, split[0], split[1]);
	for (int i = 0; i < p->parts; i++) {
		const uint16_t *w = from[i];
		uint16_t *at = to + i * part;
		int64_t c = p->cols;

		for (; c >= BF16_RUN; c -= BF16_RUN, w += BF16_RUN, at += run)
			memcpy(at, w, BF16_RUN * sizeof(*w));
		if (c > 0) {
			memset(at, 0, BF16_RUN * sizeof(*w));
			memcpy(at, w, (size_t)c * sizeof(*w));
		}
	}
}

static void
fill_tile(const struct panel *p, int64_t r, uint16_t *tile, int64_t part)
{
	int64_t rows = lesser(p->r1 - r, p->v->rows);
	int height = bf16_tile_rows(p->v, rows);
	int64_t run = height * BF16_RUN;

	for (int64_t i = 0; i < rows; i++)
		put_row(p, r + i, tile + i * BF16_RUN, run, part);
	for (int64_t i = rows; i < height; i++)
		for (int64_t c = 0; c < whole_runs(p->cols) * p->parts;
		    c += BF16_RUN)
			memset(tile + c * height + i * BF16_RUN, 0, BF16_RUN *
			    sizeof(*tile));
}

/* What the next tile is made of, in `shares` shares of which this is one. */
static void
next_tile(const struct panel *p, int64_t r, int64_t share, int64_t shares,
    struct bf16_piece *out)
{
	const int64_t size = (int64_t)value_float_size(p->t->form);
	int64_t rows = (p->v->rows + shares - 1) / shares, first = share * rows;

	r += p->v->rows;
	rows = lesser(rows, lesser(p->v->rows, p->r1 - r) - first);
	if (rows <= 0)
		return;
	out->ahead = (struct kernel_ahead) {
		.p = (const char *)p->t->part[PART_DATA].p +
		    ((r + first) * p->t->cols + p->k) * size,
		.ld = p->t->cols * size, .step = 64, .rows = (int)rows
	};
	out->lines = (int)(BF16_RUN * size / 64);
}

/* The tile at row r with rows [i0, i1) of x. */
static void
multiply_tile(const struct panel *p, int64_t r, int64_t i0, int64_t i1)
{
	int64_t shares = (i1 - i0 + PANEL_TOKENS - 1) / PANEL_TOKENS;
	struct bf16_piece piece = {
		.parts = p->parts,
		.tile = p->tiles + (r - p->r0) * p->width * p->parts,
		.block_part = whole_runs(p->t->cols) * PANEL_TOKENS,
		.runs = (p->cols + BF16_RUN - 1) / BF16_RUN,
		.rows = (int)lesser(p->r1 - r, p->v->rows)
	};

	piece.tile_part = piece.runs * BF16_RUN *
	    bf16_tile_rows(p->v, piece.rows);
	if (i0 == 0)
		fill_tile(p, r, (uint16_t *)piece.tile, piece.tile_part);
	for (int64_t i = i0; i < i1; i += PANEL_TOKENS) {
		piece.ahead.rows = 0;
		if (i0 == 0)
			next_tile(p, r, i / PANEL_TOKENS, shares, &piece);
		piece.block = p->x->halves + i * bf16_prep_row(p->parts,
		    p->t->cols) + p->k * PANEL_TOKENS;
		piece.tokens = (int)lesser(i1 - i, PANEL_TOKENS);
		piece.sum = p->sum + (r - p->r0) * PANEL_X + i - i0;
		p->v->multiply(&piece);
	}
}

/* ---- the product ---- */

/* Of tiles alone. */
static size_t
tiles_bytes(const struct bf16_level *v, const struct tensor *t, int parts)
{
	return (size_t)(bf16_panel(v, t, parts) * tile_width(t) * parts) *
	    sizeof(uint16_t);
}

size_t
bf16_scratch(const struct bf16_level *v, const struct tensor *t, int parts)
{
	return tiles_bytes(v, t, parts) + (size_t)(bf16_panel(v, t, parts) *
	    PANEL_X) * sizeof(float);
}

void
bf16_run(const struct bf16_level *v, const struct tensor *t,
    const struct kernel_x *x, int parts, int64_t r0, int64_t r1, float *y,
    int64_t ldy, bool accumulate, void *scratch)
{
	struct panel p = {
		.v = v, .t = t, .x = x, .parts = parts, .r0 = r0, .r1 = r1,
		.width = tile_width(t), .tiles = scratch,
		.sum = (float *)((char *)scratch + tiles_bytes(v, t, parts))
	};

	for (; p.k < t->cols; p.k += p.width) {
		p.cols = lesser(t->cols - p.k, p.width);
		for (int64_t i = 0, end; i < x->n; i = end) {
			end = lesser(x->n, i + PANEL_X);
			for (int64_t r = r0; r < r1; r += v->rows)
				multiply_tile(&p, r, i, end);
			v->put(p.sum, end - i, r1 - r0, y + i * ldy, ldy,
			    accumulate || p.k > 0);
		}
	}
	if (v->end != NULL)
		v->end();
}

/* ---- plain C ---- */

static void
multiply_plain(const struct bf16_piece *p)
{
	const int height = bf16_tile_rows(&bf16_level_scalar, p->rows);

	for (int r = 0; r < p->rows; r++)
		memset(p->sum + r * PANEL_X, 0, (size_t)p->tokens *
		    sizeof(float));
	for (int term = 0; term < bf16_terms(p->parts); term++) {
		const uint16_t *w = bf16_tile_of(p, term);
		const uint16_t *x = bf16_block_of(p, term);

		for (int64_t k = 0; k < p->runs * BF16_RUN; k++)
			for (int r = 0; r < p->rows; r++)
				for (int i = 0; i < p->tokens; i++)
					p->sum[r * PANEL_X + i] +=
					    bfloat_to_float(w[(k / BF16_RUN *
					    height + r) * BF16_RUN + k %
					    BF16_RUN]) * bfloat_to_float(x[(k /
					    BF16_UNIT * PANEL_TOKENS + i) *
					    BF16_UNIT + k % BF16_UNIT]);
	}
}

static void
put_plain(const float *sum, int64_t tokens, int64_t rows, float *y,
    int64_t ldy, bool add)
{
	for (int64_t i = 0; i < tokens; i++)
		for (int64_t r = 0; r < rows; r++)
			y[i * ldy + r] = sum[r * PANEL_X + i] +
			    (add ? y[i * ldy + r] : 0.0f);
}

const struct bf16_level bf16_level_scalar = {
	.rows = 12, .unit = 1, .multiply = multiply_plain, .put = put_plain
};

/* ---- the table's rows ---- */

#if CPU_X86

void
bf16_put_wide(const float *sum, int64_t tokens, int64_t rows, float *y,
    int64_t ldy, bool add)
{
	panel_code()->put(sum, tokens, rows, y, ldy, add);
}

static const struct bf16_level level_avx512 = {
	.rows = 12, .unit = 4, .multiply = bf16_multiply_avx512,
	.put = bf16_put_wide
};

static const struct bf16_level level_amx = {
	.rows = BF16_TILE_ROWS, .unit = 16, .multiply = bf16_tile_multiply,
	.put = bf16_put_wide, .end = bf16_tile_end
};

static bool
is_fast(const struct tensor *t, int64_t n)
{
	return kernel_precision() == KERNEL_FAST && t->cols >= BF16_COLS;
}

static bool
is_fast_here(const struct tensor *t, int64_t n)
{
	return is_fast(t, n) && cpu_has(CPU_BF16_FAST);
}

#define BF16_KERNEL(id, of, count, ...) \
	static int64_t id##_panel(const struct tensor *t, int64_t n) \
	{ \
		return bf16_panel(&of, t, count); \
	} \
	static size_t id##_scratch(const struct tensor *t, int64_t n) \
	{ \
		return bf16_scratch(&of, t, count); \
	} \
	static void id##_run(const struct tensor *t, \
	    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, \
	    int64_t ldy, bool accumulate, void *scratch) \
	{ \
		bf16_run(&of, t, x, count, r0, r1, y, ldy, accumulate, \
		    scratch); \
	} \
	const struct kernel id = { \
		.panel = id##_panel, .scratch = id##_scratch, \
		.run = id##_run, __VA_ARGS__ \
	}

BF16_KERNEL(bf16_amx_kernel, level_amx, 1, .name = "bfloat16 x bfloat16, AMX",
    .tolerance = BF16_TOLERANCE, .level = CPU_AMX, .prep = PREP_BF16,
    .fits = is_fast);
BF16_KERNEL(bf16_avx512_kernel, level_avx512, 1, .name =
    "bfloat16 x bfloat16, AVX-512", .tolerance = BF16_TOLERANCE,
    .level = CPU_AVX512, .prep = PREP_BF16, .fits = is_fast_here);
BF16_KERNEL(split_amx_kernel, level_amx, 2, .name =
    "products split in bfloat16 parts, AMX", .tolerance = SPLIT_TOLERANCE,
    .level = CPU_AMX, .prep = PREP_BF16_SPLIT, .fits = is_fast);

#endif
