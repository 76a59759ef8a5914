/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks times int8, many rows of x: how the work is cut, what all levels share,
 * and plain C.
 */
#include "tensor/kernel_block.h"

#include <string.h>

/* Of y, for x of random numbers: half a step of 127 in the largest of 32. */
#define BLOCK_TOLERANCE 2e-2f

enum {
	PANEL_BYTES = 200 << 10,	/* of strips, a share of L2 */
	PANEL_STRIPS = 8,
	AHEAD = 3,			/* rows that are asked for */
	PIECES = 3	/* a thread, at least, where there are rows enough */
};

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static const struct block_facts *
facts_of(const struct tensor *t)
{
	return &block_table[t->code.block];
}

/* ---- scratch ---- */

/* Strips, and what their pieces need beside. */
struct panel {
	int64_t strips;			/* there is room for */
	int64_t strip_bytes, groups;	/* of one strip */
	uint8_t *strip;			/* (strips, strip_bytes) */
	float *step, *base;		/* (strips, groups, CODE_STRIP) */
	uint8_t *rows;			/* (CODE_HALF, ld) */
	int64_t ld;
	int32_t *init;			/* (groups, BLOCK_TOKENS) */
	float *scale, *sum;
};

static void *
take(char **at, size_t *used, int64_t bytes)
{
	void *p = *at;

	bytes = (bytes + 63) & ~(int64_t)63;
	*used += (size_t)bytes;
	if (*at != NULL)
		*at += bytes;
	return p;
}

static int64_t
panel_strips(const struct tensor *t)
{
	int64_t cols = lesser(t->cols, BLOCK_CHUNK);
	int64_t bytes = cols * CODE_STRIP + cols / facts_of(t)->group *
	    CODE_STRIP * 8;
	int64_t strips = lesser(PANEL_BYTES / bytes, PANEL_STRIPS);

	return strips < 1 ? 1 : strips;
}

/* Lays a panel out at `at`; NULL: only the bytes. */
static size_t
panel_make(const struct tensor *t, char *at, struct panel *out)
{
	int64_t cols = lesser(t->cols, BLOCK_CHUNK);
	int64_t groups = cols / facts_of(t)->group, each;
	size_t used = 0;

	*out = (struct panel) { .strips = panel_strips(t),
		.strip_bytes = cols * CODE_STRIP, .groups = groups };
	/* Off powers of two, where rows would meet in one set of L1. */
	out->ld = (cols + 63) / 64 * 64 + 64;
	out->strip = take(&at, &used, out->strips * out->strip_bytes);
	each = out->strips * groups * CODE_STRIP * (int64_t)sizeof(float);
	out->step = take(&at, &used, each);
	out->base = take(&at, &used, each);
	out->rows = take(&at, &used, CODE_HALF * out->ld);
	each = groups * BLOCK_TOKENS * (int64_t)sizeof(float);
	out->init = take(&at, &used, each);
	out->scale = take(&at, &used, each);
	out->sum = take(&at, &used, each);
	return used;
}

static size_t
block_scratch(const struct tensor *t, int64_t n)
{
	struct panel panel;

	return panel_make(t, NULL, &panel);
}

/* What fits, unless threads would be left without. */
static int64_t
block_panel(const struct tensor *t, int64_t n)
{
	int64_t all = (t->rows + CODE_STRIP - 1) / CODE_STRIP;
	int64_t strips = lesser(panel_strips(t),
	    all / (PIECES * kernel_threads()));

	return (strips < 1 ? 1 : strips) * CODE_STRIP;
}

/* ---- strips ---- */

/* Columns [c, c + cols) of the rows [r, last] and on, the last again and again,
 * as strip k. */
static void
fill_strip(const struct tensor *t, const struct block_level *v, int64_t r,
    int64_t last, int64_t c, int64_t cols, const struct panel *to, int64_t k)
{
	const struct block_facts *f = facts_of(t);
	const int64_t line = t->cols / f->values * f->bytes;
	const uint8_t *p = (const uint8_t *)t->part[PART_DATA].p +
	    c / f->values * f->bytes;
	uint8_t *strip = to->strip + k * to->strip_bytes;
	float *step = to->step + k * to->groups * CODE_STRIP;
	float *base = f->zero != 0 ? NULL : to->base + (step - to->step);

	for (int h = 0; h < CODE_STRIP; h += CODE_HALF) {
		for (int i = 0; i < CODE_HALF; i++)
			v->unpack((enum block_kind)t->code.block,
			    p + lesser(r + h + i, last) * line,
			    cols / f->values, AHEAD * line, to->rows + i *
			    to->ld, step + h + i, base != NULL ? base + h + i : NULL);
		v->turn(to->rows, to->ld, cols / CODE_UNIT,
		    strip + h * CODE_UNIT);
	}
}

/* ---- sums of x ---- */

static void
sum_rows(const struct block_facts *f, int zero, const struct kernel_x *x,
    int64_t i0, int tokens, int64_t c, int64_t groups, const struct panel *to)
{
	for (int i = 0; i < tokens; i++) {
		const float *scale = x->scale + (i0 + i) * (x->ldq / BLOCK_X);
		const int16_t *sum = x->sum + (i0 + i) * (x->ldq / CODE_SUM);

		for (int64_t g = 0; g < groups; g++) {
			int64_t at = c + g * f->group, of = g * BLOCK_TOKENS;
			int all = sum[at / CODE_SUM];

			if (f->group == BLOCK_X)
				all += sum[at / CODE_SUM + 1];
			to->init[of + i] = -zero * all;
			to->scale[of + i] = scale[at / BLOCK_X];
			to->sum[of + i] = scale[at / BLOCK_X] * (float)all;
		}
	}
}

/* ---- products ---- */

/* The strips of rows [r0, r1) of W with all rows of x. */
static void
multiply(const struct tensor *t, const struct block_level *v,
    const struct kernel_x *x, int64_t c, int64_t cols, const struct panel *w,
    int64_t r0, int64_t r1, float *y, int64_t ldy, bool accumulate)
{
	const struct block_facts *f = facts_of(t);
	bool wide = f->most > 127;
	int tokens;

	for (int64_t i = 0; i < x->n; i += tokens) {
		int64_t pieces = (x->n - i + v->tokens - 1) / v->tokens;

		tokens = (int)((x->n - i + pieces - 1) / pieces);
		sum_rows(f, f->zero - (wide ? v->lift : 0), x, i, tokens, c,
		    cols / f->group, w);
		for (int64_t k = 0, r = r0; r < r1; k++, r += CODE_STRIP) {
			int64_t at = k * w->groups * CODE_STRIP;
			struct block_piece p = {
				.groups = cols / f->group,
				.units = f->group / CODE_UNIT,
				.run = wide ? 0 : 32767 / (2 * 127 * f->most),
				.strip = w->strip + k * w->strip_bytes,
				.step = w->step + at,
				.base = f->zero != 0 ? NULL : w->base + at,
				.init = w->init, .scale = w->scale,
				.sum = w->sum,
				.q = x->q + i * x->ldq + c, .ldq = x->ldq,
				.y = y + i * ldy + (r - r0), .ldy = ldy,
				.rows = (int)lesser(CODE_STRIP, r1 - r),
				.accumulate = accumulate
			};

			v->piece(&p, tokens);
		}
	}
}

static void
block_run(const struct block_level *v, const struct tensor *t,
    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, int64_t ldy,
    bool accumulate, void *scratch)
{
	struct panel panel;
	int64_t rows;

	panel_make(t, scratch, &panel);
	rows = panel.strips * CODE_STRIP;
	for (int64_t c = 0; c < t->cols; c += BLOCK_CHUNK) {
		int64_t cols = lesser(BLOCK_CHUNK, t->cols - c);

		for (int64_t r = r0; r < r1; r += rows) {
			int64_t end = lesser(r1, r + rows);

			for (int64_t s = r; s < end; s += CODE_STRIP)
				fill_strip(t, v, s, r1 - 1, c, cols, &panel,
				    (s - r) / CODE_STRIP);
			multiply(t, v, x, c, cols, &panel, r, end,
			    y + (r - r0), ldy, accumulate || c > 0);
		}
	}
}

/* ---- plain C ---- */

static void
unpack_plain(enum block_kind kind, const uint8_t *block, int64_t n,
    int64_t ahead, uint8_t *code, float *step, float *base)
{
	const struct block_facts *f = &block_table[kind];
	float steps[BLOCK_GROUPS_MAX], bases[BLOCK_GROUPS_MAX];

	for (; n > 0; n--, block += f->bytes, code += f->values) {
		f->codes(block, code, steps, bases);
		for (int g = 0; g < f->values / f->group; g++) {
			*step = steps[g];
			step += CODE_STRIP;
			if (base == NULL)
				continue;
			*base = bases[g];
			base += CODE_STRIP;
		}
	}
}

static void
piece_token(const struct block_piece *p, int i)
{
	const uint8_t *w = p->strip;
	const int8_t *q = p->q + i * p->ldq;
	float f[CODE_STRIP] = { 0 };
	float *y = p->y + i * p->ldy;

	for (int64_t g = 0; g < p->groups; g++) {
		const float *step = p->step + g * CODE_STRIP;
		const int64_t of = g * BLOCK_TOKENS + i;
		int32_t d[CODE_STRIP];

		for (int r = 0; r < CODE_STRIP; r++)
			d[r] = p->init[of];
		for (int64_t u = 0; u < p->units; u++, q += CODE_UNIT) {
			for (int r = 0; r < CODE_STRIP; r++)
				for (int k = 0; k < CODE_UNIT; k++)
					d[r] += w[CODE_UNIT * r + k] * q[k];
			w += CODE_UNIT_BYTES;
		}
		for (int r = 0; r < CODE_STRIP; r++) {
			f[r] += step[r] * p->scale[of] * (float)d[r];
			if (p->base != NULL)
				f[r] += p->base[g * CODE_STRIP + r] *
				    p->sum[of];
		}
	}
	for (int r = 0; r < p->rows; r++)
		y[r] = p->accumulate ? y[r] + f[r] : f[r];
}

static void
piece_plain(const struct block_piece *p, int tokens)
{
	for (int i = 0; i < tokens; i++)
		piece_token(p, i);
}

static void
turn_plain(const uint8_t *rows, int64_t ld, int64_t units, uint8_t *strip)
{
	code_level_scalar.turn(rows, ld, units, strip);
}

const struct block_level block_level_scalar = {
	.unpack = unpack_plain, .turn = turn_plain, .tokens = BLOCK_TOKENS,
	.piece = piece_plain
};

/* ---- the table's rows ---- */

static bool
is_int8(const struct tensor *t, int64_t n)
{
	return t->code.act == 8;
}

#define BLOCK_KERNEL(suffix, title, least) \
	static void run_##suffix(const struct tensor *t, \
	    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, \
	    int64_t ldy, bool accumulate, void *scratch) \
	{ \
		block_run(&block_level_##suffix, t, x, r0, r1, y, ldy, \
		    accumulate, scratch); \
	} \
	const struct kernel block_##suffix##_kernel = { \
		.name = title, .tolerance = BLOCK_TOLERANCE, .level = least, \
		.prep = PREP_INT8_32, .fits = is_int8, .panel = block_panel, \
		.scratch = block_scratch, .run = run_##suffix \
	}

BLOCK_KERNEL(scalar, "blocks x int8", CPU_SCALAR);
#if CPU_X86
BLOCK_KERNEL(avx2, "blocks x int8, AVX2", CPU_AVX2);
BLOCK_KERNEL(vnni, "blocks x int8, VNNI", CPU_VNNI);
#endif
