/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sparse matrices and vectors, three ways, each the fastest somewhere:
 *
 *   up to 4 rows of x   stored values are spread in registers and meet x there
 *   few rows            rows are spread into memory and multiplied as dense ones
 *   many                zeros are skipped: each value times the blocks of x
 *
 * and with many rows of x and few zeros the panels of dense matrices, into whose
 * tiles sparse_fill() spreads rows. Skipping takes two loads for each vector of
 * sums where a panel takes a fourteenth, so it pays only from some share of
 * zeros on. SPARSE_COLS columns of a block at a time stay in L1.
 */
#include "tensor/kernel_sparse.h"

#include <string.h>

enum {
	DOT_VALUES = 1 << 14,	/* stored values of a piece of one row of x */
	ROWS = 8,	/* spread at a time */
	SKIP_VALUES = 1 << 15,	/* of a piece with many rows of x */
	SKIP_ROWS = 128
};

static const uint8_t *
mask_of(const struct tensor *t, int64_t r)
{
	return (const uint8_t *)t->part[PART_MASK].p + r * ((t->cols + 7) / 8);
}

static int64_t
count_bits(const uint8_t *mask, int64_t bytes)
{
	int64_t n = 0;
	uint64_t w;

	for (; bytes >= 8; bytes -= 8, mask += 8) {
		memcpy(&w, mask, 8);
		n += __builtin_popcountll(w);
	}
	for (; bytes > 0; bytes--, mask++)
		n += __builtin_popcount(*mask);
	return n;
}

/* ---- values of a row of a bitmap ---- */

/* Where the vector code finds them. */
struct stream {
	enum form_kind form;
	const void *v, *end;
};

/* Values of row r from position pos of all on, which belong to the bits of cols
 * columns from k on. Codes are unpacked into buf, which has room for 2 * (cols +
 * PANEL_RUN) floats: values, and the columns that tell their groups. */
static struct stream
stream_of(const struct tensor *t, int64_t r, int64_t k, int64_t cols,
    int64_t pos, float *buf)
{
	const struct part *data = &t->part[PART_DATA];
	int32_t *col = (int32_t *)(buf + cols + PANEL_RUN);
	int64_t n;

	if (value_is_float(t->values))
		return (struct stream) { t->values, (const char *)data->p +
		    (size_t)pos * value_float_size(t->values),
		    (const char *)data->p + data->n };
	n = sparse_code()->columns(mask_of(t, r) + k / 8, cols, (int32_t)k,
	    col);
	form_table[t->values].values(t, r, col, pos, n, buf);
	return (struct stream) { FORM_F32, buf, col };
}

void
sparse_fill(const struct tensor *t, int64_t r, int64_t rows, int64_t k,
    int64_t cols, float *row, float *tile)
{
	int64_t step = panel_tile_rows(rows) * PANEL_RUN;

	for (int64_t i = r; i < r + rows; i++, tile += PANEL_RUN) {
		const uint8_t *mask = mask_of(t, i);
		struct stream s = stream_of(t, i, k, cols, sparse_start(t, i) +
		    count_bits(mask, k / 8), row);

		sparse_code()->expand(s.form, mask + k / 8, s.v, s.end, cols,
		    tile, step);
	}
}

/* ---- up to 4 rows of x ---- */

static bool
is_least(const struct tensor *t, int64_t n)
{
	return n <= (cpu_level() >= CPU_AVX512 ? SPARSE_FEW : 1);
}

static int64_t
dot_panel(const struct tensor *t, int64_t n)
{
	int64_t per_row = t->stored / t->rows + 1;

	return per_row < DOT_VALUES ? DOT_VALUES / per_row : 1;
}

static size_t
dot_scratch(const struct tensor *t, int64_t n)
{
	return (size_t)(2 * (t->cols + PANEL_RUN)) * sizeof(float);
}

static void
dot_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const struct sparse_code *code = sparse_code();

	for (int64_t r = r0; r < r1; r++, y++) {
		struct stream s = stream_of(t, r, 0, t->cols,
		    sparse_start(t, r), scratch);
		float sum[SPARSE_FEW];

		code->dot(s.form, mask_of(t, r), s.v, s.end, x->f, t->cols,
		    (int)x->n, sum);
		for (int64_t i = 0; i < x->n; i++)
			y[i * ldy] = accumulate ? y[i * ldy] + sum[i] : sum[i];
	}
}

const struct kernel bitmap_dot_kernel = {
	.name = "stored values", .tolerance = 2e-5f, .level = CPU_AVX2,
	.fits = is_least, .panel = dot_panel, .scratch = dot_scratch,
	.run = dot_run
};

/* ---- few rows of x ---- */

static bool
is_few(const struct tensor *t, int64_t n)
{
	return n <= kernel_few();
}

static int64_t
row_floats(const struct tensor *t)
{
	return (t->cols + PANEL_RUN - 1) / PANEL_RUN * PANEL_RUN;
}

static size_t
rows_scratch(const struct tensor *t, int64_t n)
{
	return (size_t)(ROWS * row_floats(t)) * sizeof(float) +
	    dot_scratch(t, n);
}

/* Rows lie cols apart, and each is written to the end of a vector: one after the
 * other. */
static void
rows_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	float *w = scratch, *buf = w + ROWS * row_floats(t);

	for (int64_t r = r0; r < r1; r += ROWS, y += ROWS) {
		int64_t m = r1 - r < ROWS ? r1 - r : ROWS;

		for (int64_t i = 0; i < m; i++) {
			struct stream s = stream_of(t, r + i, 0, t->cols,
			    sparse_start(t, r + i), buf);

			sparse_code()->expand(s.form, mask_of(t, r + i), s.v,
			    s.end, t->cols, w + i * t->cols, PANEL_RUN);
		}
		kernel_dot_rows(w, m, x, y, ldy, accumulate);
	}
}

const struct kernel bitmap_rows_kernel = {
	.name = "rows spread, dot products", .tolerance = 2e-5f,
	.level = CPU_AVX2, .fits = is_few, .panel = dot_panel,
	.scratch = rows_scratch, .run = rows_run
};

/* ---- many rows of x ---- */

/* A piece: the values of its rows, each with its place in the SPARSE_COLS columns
 * it belongs to, and where those of each row and such columns begin. */
struct lists {
	float *v;
	uint16_t *at;
	uint32_t *start;	/* [rows][parts + 1] */
	int64_t rows, parts;
	int32_t *col;		/* of one row */
	float *sum;		/* [rows][PANEL_X] */
};

static int64_t
skip_parts(const struct tensor *t)
{
	return (t->cols + SPARSE_COLS - 1) / SPARSE_COLS;
}

static int64_t
skip_panel(const struct tensor *t, int64_t n)
{
	int64_t rows = SKIP_VALUES / (t->stored / t->rows + 1);

	return panel_share(t, rows < SKIP_ROWS ? rows : SKIP_ROWS,
	    PANEL_UNIT);
}

/* Stored values of the piece that has most. */
static int64_t
skip_values(const struct tensor *t, int64_t rows)
{
	int64_t most = 0;

	for (int64_t r = 0; r < t->rows; r += rows) {
		int64_t n = sparse_start(t, r + rows < t->rows ? r + rows :
		    t->rows) - sparse_start(t, r);

		most = n > most ? n : most;
	}
	return most;
}

/* Lays out l over memory; returns how many bytes that takes. */
static size_t
lay_out(const struct tensor *t, int64_t rows, char *memory, struct lists *l)
{
	int64_t n = skip_values(t, rows), parts = skip_parts(t);
	size_t values = ((size_t)n * 4 + 63) & ~(size_t)63;
	size_t places = ((size_t)n * 2 + 63) & ~(size_t)63;
	size_t starts = ((size_t)(rows * (parts + 1)) * 4 + 63) & ~(size_t)63;
	size_t cols = ((size_t)(t->cols + PANEL_RUN) * 4 + 63) & ~(size_t)63;
	size_t sums = (size_t)(rows * PANEL_X) * 4;

	if (memory != NULL)
		*l = (struct lists) {
			.v = (float *)memory,
			.at = (uint16_t *)(memory + values),
			.start = (uint32_t *)(memory + values + places),
			.col = (int32_t *)(memory + values + places + starts),
			.sum = (float *)(memory + values + places + starts +
			    cols),
			.parts = parts
		};
	return values + places + starts + cols + sums;
}

static size_t
skip_scratch(const struct tensor *t, int64_t n)
{
	return lay_out(t, skip_panel(t, n), NULL, NULL);
}

VALUE_SIMD static void
places(const int32_t *col, int64_t n, uint16_t *at)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		at[i] = (uint16_t)(col[i] % SPARSE_COLS * SPARSE_STEP);
}

/* How many of the first n columns are below the end of each part. */
static void
cut_row(const struct tensor *t, int64_t r, const int32_t *col, int64_t n,
    uint32_t first, uint32_t *start)
{
	const int64_t bytes = SPARSE_COLS / 8;
	int64_t i = 0, row_bytes = (t->cols + 7) / 8;

	start[0] = first;
	for (int64_t p = 0; p < skip_parts(t); p++) {
		if (t->form == FORM_BITMAP)
			i += count_bits(mask_of(t, r) + p * bytes,
			    row_bytes - p * bytes < bytes ? row_bytes - p *
			    bytes : bytes);
		else
			while (i < n && col[i] < (p + 1) * SPARSE_COLS)
				i++;
		start[p + 1] = first + (uint32_t)i;
	}
}

static void
make_lists(const struct tensor *t, int64_t r0, struct lists *l)
{
	int64_t done = 0;

	for (int64_t i = 0; i < l->rows; i++) {
		int64_t r = r0 + i, n;

		if (t->form == FORM_BITMAP)
			n = sparse_code()->columns(mask_of(t, r), t->cols, 0,
			    l->col);
		else
			n = sparse_row(t, r, l->col);
		form_table[t->values].values(t, r, l->col, sparse_start(t, r),
		    n, l->v + done);
		places(l->col, n, l->at + done);
		cut_row(t, r, l->col, n, (uint32_t)done, l->start + i *
		    (l->parts + 1));
		done += n;
	}
}

/* One block of x, part by part, for its columns to stay in L1. */
static void
multiply_lists(const struct lists *l, const float *block, float *sum,
    bool half)
{
	const struct sparse_code *code = sparse_code();

	for (int64_t p = 0; p < l->parts; p++) {
		const uint32_t *s = l->start + p;

		for (int64_t r = 0; r < l->rows; r++, s += l->parts + 1)
			code->multiply(l->v + s[0], l->at + s[0], s[1] - s[0],
			    block, sum + r * PANEL_X, half);
		block += SPARSE_COLS * PANEL_TOKENS;
	}
}

static void
skip_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	struct lists l;

	lay_out(t, skip_panel(t, x->n), scratch, &l);
	l.rows = r1 - r0;
	make_lists(t, r0, &l);
	for (int64_t i = 0, end; i < x->n; i = end) {
		end = x->n - i < PANEL_X ? x->n : i + PANEL_X;
		memset(l.sum, 0, (size_t)(l.rows * PANEL_X) * sizeof(*l.sum));
		for (int64_t j = i; j < end; j += PANEL_TOKENS)
			multiply_lists(&l, x->blocks + j * x->cols,
			    l.sum + j - i, end - j <= PANEL_TOKENS / 2);
		panel_code()->put(l.sum, end - i, l.rows, y + i * ldy, ldy,
		    accumulate);
	}
}

/* Shares of stored values up to which skipping is faster than the other ways,
 * from so many rows of x on; measured on a Zen 4 core with 3072 x 768, AVX-512
 * and AVX2 alike. */
static const struct {
	int64_t n;
	double share;
} skip_limit[] = { { 96, 0.55 }, { 48, 0.45 }, { 29, 0.35 }, { 20, 0.25 },
	{ 12, 0.18 }, { SPARSE_FEW + 1, 0.08 } };

static bool
is_thin(const struct tensor *t, int64_t n)
{
	for (size_t i = 0; i < sizeof(skip_limit) / sizeof(skip_limit[0]); i++)
		if (n >= skip_limit[i].n)
			return (double)t->stored <= skip_limit[i].share *
			    (double)value_count(t);
	return false;
}

const struct kernel sparse_skip_kernel = {
	.name = "zeros skipped", .tolerance = 2e-5f,
	.level = CPU_AVX2, .prep = PREP_BLOCKS, .fits = is_thin,
	.panel = skip_panel, .scratch = skip_scratch, .run = skip_run
};
