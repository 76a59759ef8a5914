/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times int8: how the work is cut, and what all levels share.
 *
 * Strips of rows are unpacked into scratch, as many as a share of L2 holds; then
 * few rows of x at a time meet all of them, so that these rows stay in L1 and
 * their sums are formed once. Unpacking is a fixed cost of a weight, some
 * percent of the products from 16 rows of x on.
 */
#include "tensor/kernel_code.h"

#include <string.h>

enum {
	PANEL_BYTES = 200 << 10,	/* of strips, a share of L2 */
	PANEL_STRIPS = 8,
	PIECES = 3	/* a thread, at least, where there are rows enough */
};

/* ---- how a tensor is cut ---- */

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Whole groups in a chunk: where a group is no whole number of units, it may
 * share its first and last with its neighbours. */
static int64_t
chunk_groups(int64_t width)
{
	int64_t units = width % CODE_UNIT == 0 ? width / CODE_UNIT :
	    (width + 2 * (CODE_UNIT - 1)) / CODE_UNIT;
	int64_t n = lesser(CODE_CHUNK / width, CODE_UNITS / units);

	n = lesser(n, CODE_SPANS);
	if (n > 1 && width % 8 != 0)
		n = n / 2 * 2;
	return n < 1 ? 1 : n;
}

static void
plan_bytes(struct code_plan *p)
{
	const struct tensor_code *c = &p->t->code;

	p->times = 1;
	if (p->t->values == FORM_TABLE || p->merged) {
		p->minus = 128;
		p->wide = true;
		return;
	}
	p->wide = c->bits == 8;
	p->affine = c->scheme == CODE_AFFINE;
	if (!p->affine) {
		p->times = c->bits == 1 ? 2 : 1;
		p->minus = 1 << (c->bits - 1);
	}
	if (!p->wide)
		p->run = 32767 / (2 * 127 * p->times * ((1 << c->bits) - 1));
}

static bool
merges(const struct tensor *t, int64_t group, int64_t n)
{
	return n >= CODE_MERGE && t->code.bits <= CODE_MERGE_BITS &&
	    group >= CODE_MERGE_GROUP && group < t->cols;
}

struct code_plan
code_plan_make(const struct tensor *t, int64_t n)
{
	struct code_plan p = { .t = t, .group = value_group_cols(t) };

	p.merged = merges(t, p.group, n);
	if (p.merged)
		p.group = t->cols;
	if (p.group <= CODE_CHUNK) {
		p.width = p.group;
		p.step = chunk_groups(p.group) * p.group;
	} else {
		p.width = p.step = CODE_CHUNK;
	}
	/* Chunks of one row begin where groups do, or at whole chunks. */
	p.even = (p.group % CODE_UNIT == 0 || p.group == t->cols) &&
	    (p.step % 8 == 0 || p.step >= t->cols) &&
	    (p.group <= CODE_CHUNK || p.group % 8 == 0 ||
	    p.group == t->cols);
	plan_bytes(&p);
	return p;
}

struct code_cut
code_cut_at(const struct code_plan *p, int64_t c0)
{
	struct code_cut cut = { .c0 = c0, .width = p->width };
	int64_t end = p->t->cols;

	if (p->group > CODE_CHUNK)
		end = (c0 / p->group + 1) * p->group;
	cut.c1 = lesser(end, c0 + p->step);
	cut.spans = (cut.c1 - c0 + p->width - 1) / p->width;
	if (p->even)
		cut.units = code_unit_end(cut.c1 - c0);
	else
		for (int64_t s = 0; s < cut.spans; s++)
			cut.units += code_unit_end(code_span_end(&cut, s)) -
			    code_span_begin(&cut, s) / CODE_UNIT;
	return cut;
}

/* Of the first chunk, which no other exceeds by more than what is between
 * groups: bounds for scratch. */
static void
chunk_most(const struct code_plan *p, int64_t *units, int64_t *spans)
{
	int64_t cols = lesser(p->step, p->t->cols);

	*spans = (cols + p->width - 1) / p->width;
	*units = p->even ? code_unit_end(cols) :
	    *spans * ((p->width + 2 * (CODE_UNIT - 1)) / CODE_UNIT);
}

/* ---- scratch ---- */

/* A panel: strips, and what their blocks need beside. */
struct panel {
	int64_t strips;			/* there is room for */
	int64_t strip_bytes, spans;	/* of one strip */
	uint8_t *strip;			/* (strips, strip_bytes) */
	float *step, *base;		/* (strips, spans, CODE_STRIP) */
	uint8_t *rows;			/* (CODE_HALF, ld) */
	int64_t ld;
	int32_t *init;			/* (CODE_TOKENS, spans) */
	float *sum;
};

static size_t
take(char **at, size_t bytes)
{
	bytes = (bytes + 63) & ~(size_t)63;
	if (*at != NULL)
		*at += bytes;
	return bytes;
}

/* Strips that there is room for: a share of L2; one, which may stay in L1, where
 * few rows of x come to meet it. */
static int64_t
panel_strips(const struct code_plan *p, int64_t n)
{
	int64_t units, spans, bytes, strips;

	if (n <= KERNEL_FEW_ROWS)
		return 1;
	chunk_most(p, &units, &spans);
	bytes = units * CODE_UNIT_BYTES + spans * CODE_STRIP * 4 *
	    (p->affine ? 2 : 1);
	strips = lesser(PANEL_BYTES / bytes, PANEL_STRIPS);
	return strips < 1 ? 1 : strips;
}

/* Lays a panel for n rows of x out at `at`; NULL: only the bytes. */
static size_t
panel_make(const struct code_plan *p, int64_t n, char *at, struct panel *out)
{
	int64_t units, spans, strips;
	size_t bytes = 0, scales;

	chunk_most(p, &units, &spans);
	strips = panel_strips(p, n);
	*out = (struct panel) { .strips = strips, .spans = spans,
		.strip_bytes = units * CODE_UNIT_BYTES };
	/* Off powers of two, where rows would meet in one set of L1. */
	out->ld = (lesser(p->step, p->t->cols) + 63) / 64 * 64 + 64;
	out->strip = (uint8_t *)at;
	bytes += take(&at, (size_t)(strips * out->strip_bytes));
	out->step = (float *)(void *)at;
	scales = (size_t)(strips * spans * CODE_STRIP) * sizeof(float);
	bytes += take(&at, scales);
	out->base = p->affine ? (float *)(void *)at : NULL;
	if (p->affine)
		bytes += take(&at, scales);
	out->rows = (uint8_t *)at;
	bytes += take(&at, (size_t)(CODE_HALF * out->ld));
	out->init = (int32_t *)(void *)at;
	bytes += take(&at, (size_t)(spans * CODE_TOKENS) * sizeof(int32_t));
	out->sum = (float *)(void *)at;
	bytes += take(&at, (size_t)(spans * CODE_TOKENS) * sizeof(float));
	return bytes;
}

static size_t
code_scratch(const struct tensor *t, int64_t n)
{
	struct code_plan p = code_plan_make(t, n);
	struct panel panel;

	return panel_make(&p, n, NULL, &panel);
}

/* What fits, unless threads would be left without. */
static int64_t
code_panel(const struct tensor *t, int64_t n)
{
	struct code_plan p = code_plan_make(t, n);
	int64_t all = (t->rows + CODE_STRIP - 1) / CODE_STRIP;
	int64_t strips = lesser(panel_strips(&p, n),
	    all / (PIECES * kernel_threads()));

	return (strips < 1 ? 1 : strips) * CODE_STRIP;
}

/* ---- strips ---- */

float
code_round_table(const struct tensor *t, int64_t g, uint8_t *out)
{
	int64_t n = INT64_C(1) << t->code.bits;
	int8_t q[256];
	float step = code_round((const float *)t->part[PART_TABLE].p + g * n,
	    n, q, NULL);

	for (int64_t i = 0; i < n; i++)
		out[i] = (uint8_t)(q[i] + 128);
	return step;
}

VALUE_SIMD static void
twice(uint8_t *code, int64_t n)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		code[i] = (uint8_t)(code[i] + code[i]);
}

/* Bytes of the columns of a chunk of row r, and the steps of a TABLE. */
static void
row_bytes(const struct code_plan *p, const struct code_level *v, int64_t r,
    const struct code_cut *cut, uint8_t *out, float *step)
{
	int64_t n = cut->c1 - cut->c0;
	int bits = p->t->code.bits;
	uint8_t own[256];

	if (p->merged) {
		code_merge(p, v, r, 1, cut, out, n, step);
		return;
	}
	value_codes(p->t, r, cut->c0, n, out);
	if (p->times == 2)
		twice(out, n);
	if (p->t->values != FORM_TABLE)
		return;
	for (int64_t s = 0; s < cut->spans; s++) {
		int64_t a = code_span_begin(cut, s);
		uint8_t *at = out + (a - cut->c0);
		const uint8_t *table = p->table;

		step[s * CODE_STRIP] = p->table_step;
		if (p->t->code.group != 0) {
			step[s * CODE_STRIP] = code_round_table(p->t,
			    value_group_of(p->t, r, a), own);
			table = own;
		}
		v->lookup(table, bits, at, code_span_end(cut, s) - a, at);
	}
}

void
code_half_scales(const struct code_plan *p, const struct code_level *v,
    enum part_kind k, const struct code_cut *cut, int64_t r, int64_t last,
    float *out)
{
	const uint16_t *half = p->t->part[k].p;
	int64_t ld = p->t->code.group == 0 ? 0 :
	    p->t->cols / p->t->code.group;

	v->scales(half + value_group_of(p->t, r, cut->c0), ld, last - r,
	    cut->spans, p->t->code.mult, out);
}

/* Bytes of a row to the units of its spans, which do not begin evenly; `none`
 * is the byte that counts as 0. */
static void
scatter_row(const struct code_cut *cut, const uint8_t *bytes, uint8_t none,
    uint8_t *strip)
{
	for (int64_t s = 0; s < cut->spans; s++) {
		int64_t a = code_span_begin(cut, s);
		int64_t b = code_span_end(cut, s);

		for (int64_t u = a / CODE_UNIT; u < code_unit_end(b); u++) {
			for (int i = 0; i < CODE_UNIT; i++) {
				int64_t c = u * CODE_UNIT + i;

				strip[i] = c >= a && c < b ?
				    bytes[c - cut->c0] : none;
			}
			strip += CODE_UNIT_BYTES;
		}
	}
}

/* Rows [r, r + CODE_HALF), those from last on being that row again. */
static void
half_strip(const struct code_plan *p, const struct code_level *v,
    const struct code_cut *cut, int64_t r, int64_t last, const struct panel *to,
    uint8_t *strip, float *step, float *base)
{
	bool table = p->t->values == FORM_TABLE;
	bool direct = p->even && v->unpack != NULL && !p->merged &&
	    (!table || p->t->code.group == 0);

	if (direct)
		v->unpack(p, r, last, cut, strip);
	if (!table && !p->merged)
		code_half_scales(p, v, PART_SCALE, cut, r, last, step);
	if (base != NULL)
		code_half_scales(p, v, PART_MIN, cut, r, last, base);
	for (int64_t i = 0; direct && table && i < cut->spans * CODE_STRIP;
	     i += CODE_STRIP)
		for (int k = 0; k < CODE_HALF; k++)
			step[i + k] = p->table_step;
	if (direct)
		return;
	for (int i = 0; i < CODE_HALF; i++) {
		uint8_t *bytes = to->rows + i * to->ld;

		row_bytes(p, v, lesser(r + i, last), cut, bytes, step + i);
		if (!p->even)
			scatter_row(cut, bytes, p->wide ?
			    (uint8_t)v->lift : 0, strip + i * CODE_UNIT);
	}
	if (p->even)
		v->turn(to->rows, to->ld, cut->units, strip);
}

static void
fill_panel(const struct code_plan *p, const struct code_level *v,
    const struct code_cut *cut, int64_t r0, int64_t r1, const struct panel *to)
{
	for (int64_t k = 0, r = r0; r < r1; k++, r += CODE_STRIP) {
		uint8_t *strip = to->strip + k * to->strip_bytes;
		float *step = to->step + k * to->spans * CODE_STRIP;
		float *base = to->base != NULL ? to->base +
		    k * to->spans * CODE_STRIP : NULL;

		half_strip(p, v, cut, r, r1 - 1, to, strip, step, base);
		half_strip(p, v, cut, lesser(r + CODE_HALF, r1 - 1), r1 - 1,
		    to, strip + CODE_HALF * CODE_UNIT, step + CODE_HALF,
		    base != NULL ? base + CODE_HALF : NULL);
	}
}

/* ---- sums of x ---- */

static int32_t
sum_span(const struct kernel_x *x, int64_t i, int64_t a, int64_t b)
{
	const int16_t *sum = x->sum + i * (x->ldq / CODE_SUM);
	const int8_t *q = x->q + i * x->ldq;
	int32_t s = 0;

	if (a % CODE_SUM == 0 && (b % CODE_SUM == 0 || b == x->cols))
		for (int64_t k = a / CODE_SUM; k < (b + CODE_SUM - 1) / CODE_SUM;
		     k++)
			s += sum[k];
	else
		for (int64_t c = a; c < b; c++)
			s += q[c];
	return s;
}

/* Spans of `each` sums of CODE_SUM, one after the other. */
VALUE_SIMD static void
add_sums(const int16_t *sum, int64_t spans, int64_t each, int32_t *out)
{
	if (each == 2) {
#pragma omp simd
		for (int64_t s = 0; s < spans; s++)
			out[s] = sum[2 * s] + sum[2 * s + 1];
	} else if (each == 4) {
#pragma omp simd
		for (int64_t s = 0; s < spans; s++)
			out[s] = sum[4 * s] + sum[4 * s + 1] +
			    sum[4 * s + 2] + sum[4 * s + 3];
	} else {
		for (int64_t s = 0; s < spans; s++, sum += each) {
			int32_t v = 0;

#pragma omp simd reduction(+ : v)
			for (int64_t k = 0; k < each; k++)
				v += sum[k];
			out[s] = v;
		}
	}
}

VALUE_SIMD static void
scale_sums(int64_t spans, int minus, int32_t *init, float *sum)
{
#pragma omp simd
	for (int64_t s = 0; s < spans; s++) {
		sum[s] = (float)init[s];
		init[s] = -minus * init[s];
	}
}

void
code_sums(const struct code_cut *cut, int minus, const struct kernel_x *x,
    int64_t i0, int tokens, int32_t *init, float *sums)
{
	bool even = cut->c0 % CODE_SUM == 0 && cut->width % CODE_SUM == 0;
	int64_t whole = even ? (cut->c1 - cut->c0) / cut->width : 0;

	for (int64_t i = i0; i < i0 + tokens; i++) {
		add_sums(x->sum + (i * x->ldq + cut->c0) / CODE_SUM, whole,
		    cut->width / CODE_SUM, init);
		for (int64_t s = whole; s < cut->spans; s++)
			init[s] = sum_span(x, i, code_span_begin(cut, s),
			    code_span_end(cut, s));
		scale_sums(cut->spans, minus, init, sums);
		init += cut->spans;
		sums += cut->spans;
	}
}

/* ---- products ---- */

/* The panel of rows [r0, r1) of W with all rows of x. */
static void
multiply(const struct code_plan *p, const struct code_level *v,
    const struct code_cut *cut, const struct kernel_x *x, const struct panel *w,
    int64_t r0, int64_t r1, float *y, int64_t ldy, bool accumulate)
{
	int minus = p->minus - (p->wide ? v->lift : 0), tokens;
	struct kernel_coming coming = kernel_coming_make(x, (x->n + v->tokens - 1) /
	    v->tokens * ((r1 - r0 + CODE_STRIP - 1) / CODE_STRIP));

	for (int64_t i = 0; i < x->n; i += tokens) {
		int64_t blocks = (x->n - i + v->tokens - 1) / v->tokens;

		tokens = (int)((x->n - i + blocks - 1) / blocks);
		code_sums(cut, minus, x, i, tokens, w->init, w->sum);
		for (int64_t k = 0, r = r0; r < r1; k++, r += CODE_STRIP) {
			int64_t at = k * w->spans * CODE_STRIP;
			struct code_block b = {
				.cut = *cut, .wide = p->wide, .run = p->run,
				.strip = w->strip + k * w->strip_bytes,
				.step = w->step + at,
				.base = w->base != NULL ? w->base + at : NULL,
				.init = w->init, .sum = w->sum,
				.q = x->q + i * x->ldq, .ldq = x->ldq,
				.scale = x->scale + i,
				.y = y + i * ldy + (r - r0), .ldy = ldy,
				.rows = (int)lesser(CODE_STRIP, r1 - r),
				.accumulate = accumulate
			};

			kernel_coming_fetch(&coming);
			v->block(&b, tokens);
		}
	}
}

void
code_run(const struct code_level *v, const struct tensor *t,
    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, int64_t ldy,
    bool accumulate, void *scratch)
{
	struct code_plan p = code_plan_make(t, x->n);
	struct panel panel;
	int64_t rows;

	if (t->values == FORM_TABLE && t->code.group == 0)
		p.table_step = code_round_table(t, 0, p.table);
	panel_make(&p, x->n, scratch, &panel);
	rows = panel.strips * CODE_STRIP;
	for (int64_t c = 0; c < t->cols;) {
		struct code_cut cut = code_cut_at(&p, c);

		for (int64_t r = r0; r < r1; r += rows) {
			int64_t end = lesser(r1, r + rows);

			fill_panel(&p, v, &cut, r, end, &panel);
			multiply(&p, v, &cut, x, &panel, r, end, y + (r - r0),
			    ldy, accumulate);
		}
		accumulate = true;
		c = cut.c1;
	}
	if (v->end != NULL)
		v->end();
}

/* ---- the table's rows ---- */

static bool
is_int8(const struct tensor *t, int64_t n)
{
	return t->code.act == 8;
}

#define CODE_KERNEL(suffix, title, least, used) \
	static void run_##suffix(const struct tensor *t, \
	    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, \
	    int64_t ldy, bool accumulate, void *scratch) \
	{ \
		code_run(used, t, x, r0, r1, y, ldy, accumulate, scratch); \
	} \
	const struct kernel code_##suffix##_kernel = { \
		.name = title, .tolerance = CODE_TOLERANCE, .level = least, \
		.prep = PREP_INT8, .fits = is_int8, .panel = code_panel, \
		.scratch = code_scratch, .run = run_##suffix \
	}

CODE_KERNEL(scalar, "codes x int8", CPU_SCALAR, &code_level_scalar);
#if CPU_X86
CODE_KERNEL(avx2, "codes x int8, AVX2", CPU_AVX2, &code_level_avx2);
CODE_KERNEL(vnni, "strips of codes x int8, VNNI", CPU_VNNI, cpu_has(CPU_VBMI) ?
    &code_level_vbmi : &code_level_vnni);

static void
run_amx(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	struct code_level v = code_level_vbmi;

	v.tokens = CODE_TILE_TOKENS;
	v.block = code_tile_block;
	v.end = code_tile_end;
	code_run(&v, t, x, r0, r1, y, ldy, accumulate, scratch);
}

static bool
is_amx(const struct tensor *t, int64_t n)
{
	return is_int8(t, n) && cpu_has(CPU_VBMI);
}

const struct kernel code_amx_kernel = {
	.name = "codes x int8, AMX", .tolerance = CODE_TOLERANCE,
	.level = CPU_AMX, .prep = PREP_INT8, .fits = is_amx,
	.panel = code_panel, .scratch = code_scratch, .run = run_amx
};
#endif
