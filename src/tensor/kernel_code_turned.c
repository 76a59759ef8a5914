/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packed codes times many rows of int8, with AVX-512 VNNI, where a row of W has
 * one step.
 *
 * It is x that is turned, once for all products of it: a register holds four
 * columns of 16 rows of x and meets four bytes of a row of W, the same for all.
 * So rows of W are read as they lie, and those of 8 bits are not copied at all.
 * Twelve rows of W times 32 of x are 24 sums in registers; they are turned back
 * when the chunk ends.
 */
#include "tensor/kernel_code.h"

#if CPU_X86

#include "tensor/kernel_code_512.h"

#include <string.h>

#define VNNI CODE_VNNI
#define INLINE CODE_INLINE

enum {
	LANES = 16,		/* rows of x of a register */
	WIDE = 2,		/* registers at a time */
	ROWS = 12,		/* of W at a time, */
	SET = 4 * ROWS,		/* and before their floats are turned back */
	LANE_BYTES = LANES * CODE_UNIT,
	AHEAD = 12,		/* units */
	PANEL_BYTES = 160 << 10,	/* of W, a share of L2 */
	PIECES = 3,		/* a thread, at least, where there are rows enough */
	SET_BYTES = 2048	/* rows so far apart meet in few sets of L1 */
	};

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
parts_of(int64_t n, int64_t each)
{
	return (n + each - 1) / each;
}

/* ---- x ---- */

/* What turned rows of x begin with. */
struct turning {
	const float *row[LANES];
	float times[LANES];	/* 0: all of the row counts as 0 */
};

/* Columns [c, c + 64) of a row, those from cols on 0, as int8. */
VNNI INLINE __m512i
round_64(const float *v, int64_t c, int64_t cols, float times)
{
	const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6,
	    10, 14, 3, 7, 11, 15);
	__m512i a[4];

	KERNEL_UNROLL
	for (int k = 0; k < 4; k++) {
		int64_t left = cols - c - 16 * k;
		__mmask16 m = (__mmask16)(left >= 16 ? 0xffff : left <= 0 ? 0 :
		    (1u << left) - 1);

		a[k] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_set1_ps(times),
		    _mm512_maskz_loadu_ps(m, v + c + 16 * k)));
	}
	return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(
	    _mm512_packs_epi32(a[0], a[1]), _mm512_packs_epi32(a[2], a[3])));
}

/* 64 columns of 16 rows; returns the sums of the rows. */
VNNI INLINE __m512i
turn_64(const struct turning *t, int64_t c, int64_t cols, int8_t *out)
{
	__m512i r[LANES], sum = _mm512_setzero_si512();

	KERNEL_UNROLL
	for (int i = 0; i < LANES; i++)
		r[i] = t->times[i] > 0.0f ? round_64(t->row[i], c, cols,
		    t->times[i]) : _mm512_setzero_si512();
	turn512(r);
	KERNEL_UNROLL
	for (int i = 0; i < LANES; i++) {
		_mm512_store_si512(out + i * LANE_BYTES, r[i]);
		sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), r[i]);
	}
	return sum;
}

VNNI void
code_turn(const struct kernel_x *x, int64_t i0, int64_t n)
{
	const int64_t chunks = parts_of(x->cols, CODE_CHUNK);
	int8_t *out = (int8_t *)x->q + i0 * x->ldq;
	int32_t *total = (int32_t *)x->total + i0 * chunks;
	float *scale = (float *)x->scale + i0;
	struct turning t;

	for (int i = 0; i < LANES; i++) {
		t.row[i] = x->f + (i0 + lesser(i, n - 1)) * x->cols;
		t.times[i] = 0.0f;
		scale[i] = i < n ? code_scale(t.row[i], x->cols, &t.times[i]) :
		    0.0f;
	}
	for (int64_t k = 0; k < chunks; k++) {
		int64_t c = k * CODE_CHUNK;
		int64_t end = lesser(x->ldq, c + CODE_CHUNK);
		__m512i sum = _mm512_setzero_si512();

		for (; c < end; c += 64)
			sum = _mm512_add_epi32(sum, turn_64(&t, c, x->cols,
			    out + c * LANES));
		_mm512_storeu_si512(total + k * LANES, sum);
	}
}

/* ---- how the work is cut ---- */

/* Rows of 8 bits are read where they are. */
static bool
is_direct(const struct code_plan *p)
{
	return p->t->values == FORM_INT && p->t->code.bits == 8 &&
	    p->t->cols % CODE_UNIT == 0 && p->t->cols % SET_BYTES != 0;
}

/* A panel of W: bytes of its rows, ld apart, with what belongs to them. */
struct panel {
	int64_t rows;		/* there is room for, whole ROWS */
	int64_t ld;
	uint8_t *bytes;		/* (rows, ld), or ROWS where they are direct */
	float *step, *base;	/* of the rows, and room for 16 more */
	size_t size;		/* of all */
};

static size_t
take(char **at, size_t bytes)
{
	bytes = (bytes + 63) & ~(size_t)63;
	if (*at != NULL)
		*at += bytes;
	return bytes;
}

static int64_t
panel_rows(const struct code_plan *p)
{
	int64_t ld = lesser(p->t->cols, CODE_CHUNK);
	int64_t groups = PANEL_BYTES / ld / ROWS;

	return (groups < 1 ? 1 : groups) * ROWS;
}

static struct panel
panel_make(const struct code_plan *p, char *at)
{
	struct panel w = { .rows = panel_rows(p) };

	w.ld = (lesser(p->t->cols, CODE_CHUNK) + 63) / 64 * 64 + 64;
	w.bytes = (uint8_t *)at;
	w.size = take(&at, (size_t)((is_direct(p) ? ROWS : w.rows) * w.ld));
	w.step = (float *)(void *)at;
	w.size += take(&at, (size_t)(w.rows + 16) * sizeof(float));
	w.base = (float *)(void *)at;
	w.size += take(&at, (size_t)(w.rows + 16) * sizeof(float));
	return w;
}

static size_t
scratch(const struct tensor *t, int64_t n)
{
	struct code_plan p = code_plan_make(t, n);

	return panel_make(&p, NULL).size;
}

static int64_t
panel(const struct tensor *t, int64_t n)
{
	struct code_plan p = code_plan_make(t, n);
	int64_t groups = parts_of(t->rows, ROWS);

	return kernel_even(groups, lesser(panel_rows(&p) / ROWS, groups /
	    (PIECES * kernel_threads()))) * ROWS;
}

/* ---- rows of W ---- */

/* Steps or bases of `rows` rows from r on. */
static void
row_scales(const struct tensor *t, enum part_kind k, int64_t r, int64_t rows,
    float *out)
{
	const uint16_t *half = t->part[k].p;

	if (t->code.group == 0) {
		float one = half_to_float(half[0]) * t->code.mult;

		for (int64_t i = 0; i < rows; i++)
			out[i] = one;
		return;
	}
	half_to_floats(half + r, rows, out);
	for (int64_t i = 0; i < rows; i++)
		out[i] *= t->code.mult;
}

/* Bytes of one row of the chunk. */
static void
fill_row(const struct code_plan *p, int64_t r, const struct code_cut *cut,
    uint8_t *out, float *step)
{
	const struct code_level *v = &code_level_vbmi;
	const uint8_t *table = p->table;
	int64_t n = cut->c1 - cut->c0;
	uint8_t own[256];

	value_codes(p->t, r, cut->c0, n, out);
	for (int64_t i = 0; p->times == 2 && i < n; i++)
		out[i] = (uint8_t)(out[i] + out[i]);
	if (p->t->values != FORM_TABLE)
		return;
	*step = p->table_step;
	if (p->t->code.group != 0) {
		*step = code_round_table(p->t, value_group_of(p->t, r, cut->c0),
		    own);
		table = own;
	}
	v->lookup(table, p->t->code.bits, out, n, out);
}

/* Rows [r, end) of the chunk; those that lie well stay where they are, but for
 * what is left of ROWS. */
static void
fill(const struct code_plan *p, int64_t r, int64_t end,
    const struct code_cut *cut, const struct panel *w)
{
	int64_t whole = is_direct(p) ? (end - r) / ROWS * ROWS : 0;

	if (p->merged) {
		code_merge(p, &code_level_vbmi, r, end - r, cut, w->bytes,
		    w->ld, w->step);
		return;
	}
	for (int64_t i = whole; i < end - r; i++)
		fill_row(p, r + i, cut, w->bytes + (i - whole) * w->ld,
		    w->step + i);
	if (p->t->values == FORM_TABLE)
		return;
	row_scales(p->t, PART_SCALE, r, end - r, w->step);
	if (p->affine)
		row_scales(p->t, PART_MIN, r, end - r, w->base);
}

/* ---- products ---- */

/* Up to SET rows of W and up to WIDE * LANES of x. */
struct block {
	const int8_t *q;	/* of the first LANES rows of x, at the chunk */
	int64_t ldq;		/* to the next LANES */
	const int32_t *total;	/* likewise */
	int64_t ldt;
	int64_t units;
	int minus;
	int tokens;		/* rows of x that count */
	const float *scale;	/* of them */
	bool accumulate;
	struct kernel_coming coming;	/* what to bring near meanwhile */
	_Alignas(64) int32_t d[WIDE][SET][LANES];
};

/* One unit of ROWS rows. x comes from L2, for rows of W have pushed it out of L1:
 * it is asked for AHEAD units before. */
VNNI INLINE void
dot_unit(const uint8_t *w, int64_t ld, const int8_t *q, int64_t ldq,
    __m512i acc[ROWS][WIDE], const int wide)
{
	__m512i x[WIDE];

	KERNEL_UNROLL
	for (int k = 0; k < wide; k++)
		x[k] = _mm512_load_si512(q + k * ldq);
	KERNEL_UNROLL
	for (int k = 0; k < wide; k++)
		__builtin_prefetch(q + k * ldq + AHEAD * LANE_BYTES, 0, 3);
	KERNEL_UNROLL
	for (int i = 0; i < ROWS; i++) {
		int32_t four;
		__m512i v;

		memcpy(&four, w + i * ld, 4);
		v = _mm512_set1_epi32(four);
		KERNEL_UNROLL
		for (int k = 0; k < wide; k++)
			acc[i][k] = _mm512_dpbusd_epi32(acc[i][k], v, x[k]);
	}
}

/* D of ROWS rows of W, all of which can be read, ld apart. One line of what
 * comes is asked for with every four units: many at once would wait for each
 * other. */
VNNI INLINE void
dots(struct block *b, const uint8_t *w, int64_t ld, int32_t (*d)[LANES],
    const int wide)
{
	const char *next = b->coming.p, *end = b->coming.end;
	const int64_t units = b->units, ldq = b->ldq;
	const int8_t *q = b->q;
	__m512i acc[ROWS][WIDE];

	KERNEL_UNROLL
	for (int k = 0; k < wide; k++) {
		__m512i init = _mm512_mullo_epi32(_mm512_set1_epi32(-b->minus),
		    _mm512_loadu_si512(b->total + k * b->ldt));

		KERNEL_UNROLL
		for (int i = 0; i < ROWS; i++)
			acc[i][k] = init;
	}
	end = end - next > b->coming.step ? next + b->coming.step : end;
	for (int64_t u = 0; u < units / 4; u++) {
		if (next < end) {
			__builtin_prefetch(next, 0, 2);
			next += KERNEL_LINE;
		}
		KERNEL_UNROLL
		for (int k = 0; k < 4; k++)
			dot_unit(w + k * CODE_UNIT, ld, q + k * LANE_BYTES, ldq,
			    acc, wide);
		w += 4 * CODE_UNIT;
		q += 4 * LANE_BYTES;
	}
	for (int64_t u = 0; u < units % 4; u++)
		dot_unit(w + u * CODE_UNIT, ld, q + u * LANE_BYTES, ldq, acc,
		    wide);
	b->coming.p = next;
	KERNEL_UNROLL
	for (int k = 0; k < wide; k++) {
		KERNEL_UNROLL
		for (int i = 0; i < ROWS; i++)
			_mm512_store_si512(d[k * SET + i], acc[i][k]);
	}
}

/* Functions of their own: together with what comes after, sums would be kept in
 * memory while they are made. */
VNNI static __attribute__((noinline)) void
dots1(struct block *b, const uint8_t *w, int64_t ld, int32_t (*d)[LANES])
{
	dots(b, w, ld, d, 1);
}

VNNI static __attribute__((noinline)) void
dots2(struct block *b, const uint8_t *w, int64_t ld, int32_t (*d)[LANES])
{
	dots(b, w, ld, d, 2);
}

/* Floats of up to 16 rows of W and LANES of x, turned back and written. base
 * NULL: there is none. */
VNNI static void
finish(const struct block *b, int k, int64_t row, int64_t rows,
    const float *step, const float *base, float *y, int64_t ldy)
{
	const __mmask16 m = (__mmask16)(rows >= 16 ? 0xffff :
	    (1u << rows) - 1);
	const int64_t tokens = b->tokens - k * LANES;
	__m512i r[16];

	KERNEL_UNROLL
	for (int i = 0; i < 16; i++) {
		__m512 f = _mm512_mul_ps(_mm512_set1_ps(step[row + i]),
		    _mm512_cvtepi32_ps(_mm512_load_si512(b->d[k][row + i])));

		if (base != NULL)
			f = _mm512_fmadd_ps(_mm512_set1_ps(base[row + i]),
			    _mm512_cvtepi32_ps(_mm512_loadu_si512(b->total +
			    k * b->ldt)), f);
		r[i] = _mm512_castps_si512(f);
	}
	turn512(r);
	y += k * LANES * ldy + row;
	KERNEL_UNROLL
	for (int i = 0; i < LANES; i++) {
		__m512 scale, f = _mm512_castsi512_ps(r[i]);

		if (i >= tokens)
			continue;
		scale = _mm512_set1_ps(b->scale[k * LANES + i]);
		_mm512_mask_storeu_ps(y + i * ldy, m, !b->accumulate ?
		    _mm512_mul_ps(scale, f) : _mm512_fmadd_ps(scale, f,
		    _mm512_maskz_loadu_ps(m, y + i * ldy)));
	}
}

/* The rows of a panel, n of them: where each ROWS of them are. */
struct rows {
	const uint8_t *own;	/* in the tensor; NULL: all are in the panel */
	int64_t own_ld;
	const struct panel *w;
	int64_t n;
	bool affine;
};

static void
meet_set(struct block *b, const struct rows *s, int64_t k, float *y,
    int64_t ldy)
{
	const int64_t n = lesser(SET, s->n - k);

	for (int64_t i = 0; i < n; i += ROWS) {
		bool own = s->own != NULL && n - i >= ROWS;
		const uint8_t *w = own ? s->own + (k + i) * s->own_ld :
		    s->w->bytes + (s->own != NULL ? 0 : (k + i) * s->w->ld);

		(b->tokens > LANES ? dots2 : dots1)(b, w, own ? s->own_ld :
		    s->w->ld, b->d[0] + i);
	}
	for (int64_t i = 0; i < n; i += 16)
		for (int h = 0; h * LANES < b->tokens; h++)
			finish(b, h, i, n - i, s->w->step + k,
			    s->affine ? s->w->base + k : NULL, y + k, ldy);
}

/* All rows of x with rows [r, end) of W, which are in the panel. */
static void
meet(const struct code_plan *p, const struct kernel_x *x,
    const struct code_cut *cut, const struct panel *w, int64_t r, int64_t end,
    float *y, int64_t ldy, struct block *b)
{
	const int64_t chunks = parts_of(x->cols, CODE_CHUNK);
	struct rows s = { .w = w, .n = end - r, .own_ld = p->t->cols,
		.affine = p->affine };

	if (is_direct(p))
		s.own = (const uint8_t *)p->t->part[PART_DATA].p +
		    r * s.own_ld + cut->c0;
	b->coming = kernel_coming_make(x, parts_of(x->n, WIDE * LANES) *
	    parts_of(s.n, ROWS));
	b->ldq = x->ldq * LANES;
	b->ldt = chunks * LANES;
	for (int64_t i = 0; i < x->n; i += b->tokens) {
		b->tokens = (int)lesser(WIDE * LANES, x->n - i);
		b->q = x->q + i * x->ldq + cut->c0 * LANES;
		b->total = x->total + i * chunks + cut->c0 / CODE_CHUNK * LANES;
		b->scale = x->scale + i;
		for (int64_t k = 0; k < s.n; k += SET)
			meet_set(b, &s, k, y + i * ldy, ldy);
	}
}

static void
run(const struct tensor *t, const struct kernel_x *x, int64_t r0, int64_t r1,
    float *y, int64_t ldy, bool accumulate, void *memory)
{
	struct code_plan p = code_plan_make(t, x->n);
	struct panel w = panel_make(&p, memory);
	struct block b;
	struct code_cut cut;

	b.minus = p.minus;
	b.accumulate = accumulate;
	if (t->values == FORM_TABLE && t->code.group == 0)
		p.table_step = code_round_table(t, 0, p.table);
	for (int64_t c = 0; c < t->cols; c = cut.c1) {
		cut = code_cut_at(&p, c);
		b.units = cut.units;
		for (int64_t r = r0; r < r1; r += w.rows) {
			int64_t end = lesser(r1, r + w.rows);

			fill(&p, r, end, &cut, &w);
			meet(&p, x, &cut, &w, r, end, y + (r - r0), ldy, &b);
		}
		b.accumulate = true;
	}
}

/* One step a row, and few rows of x more than there are. */
static bool
fits(const struct tensor *t, int64_t n)
{
	struct code_plan p = code_plan_make(t, n);

	return t->code.act == 8 && cpu_has(CPU_VBMI) && p.group == t->cols &&
	    n >= LANES && parts_of(n, LANES) * LANES * 6 <= n * 7;
}

const struct kernel code_turned_kernel = {
	.name = "codes x int8, VNNI",
	.tolerance = CODE_TOLERANCE, .level = CPU_VNNI,
	.prep = PREP_INT8_TURNED, .fits = fits, .panel = panel,
	.scratch = scratch, .run = run
};

#endif
