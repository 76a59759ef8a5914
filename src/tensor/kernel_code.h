/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_code: products of packed codes (INT, TABLE) with int8 activations.
 * Private to src/tensor.
 *
 * With x ~ scale * q and q in -127..127, and a weight w = step * (byte - minus)
 * (+ base), an output is
 *
 *	y = scale * sum over spans (step * D + base * X)
 *	D = sum (byte - minus) * q,  X = sum q	over the columns of the span
 *
 * where a span is a run of columns that share step and base: a group, or a piece
 * of a long one. D and X are exact integers. The floats are added up in one
 * fixed order, each product fused with its sum: step * D, then base * X, of one
 * span after the other, at last times the scale; long rows in chunks of
 * CODE_CHUNK columns, each added to y. So all levels of instructions, numbers of
 * rows of x and numbers of threads give the same bits.
 *
 * Bytes: INT has its codes (times 2 at one bit), TABLE the values of the table
 * rounded to int8 relative to the group's largest, plus 128.
 *
 * Short groups of up to CODE_MERGE_BITS are merged where CODE_MERGE or more rows
 * of x come: to end a span costs as much as a few units of it. What a code of the
 * group stands for is rounded to int8 relative to the largest that the row can
 * have in the chunk, so that the chunk is one span. That adds an error of up to
 * CODE_MERGE_ERROR of this largest, as int8 with a scale a row has, to that of the
 * few bits; it depends on the number of rows of x and on nothing else.
 *
 * For a strip of CODE_STRIP rows the bytes of a chunk are laid out by units of
 * CODE_UNIT columns: of unit 0 those of row 0, of row 1, ..., then unit 1. A
 * span has units of its own; where one begins or ends inside of four columns,
 * the bytes of the others count as 0, and the neighbour has the columns again.
 */
#ifndef PARE_TENSOR_KERNEL_CODE_H
#define PARE_TENSOR_KERNEL_CODE_H

#include "tensor/kernel_rows.h"

enum {
	CODE_UNIT = 4,
	CODE_STRIP = 32,
	CODE_HALF = CODE_STRIP / 2,
	CODE_UNIT_BYTES = CODE_UNIT * CODE_STRIP,
	CODE_SUM = 16,		/* int8 that share a sum in kernel_x.sum */
	CODE_TOKENS = 32,	/* most rows of x of one block on any level */
	CODE_CHUNK = 4096,	/* most columns of a chunk, */
	CODE_UNITS = 1024,	/* units */
	CODE_SPANS = 256,	/* and spans */
	CODE_MERGE = 16,	/* rows of x from which on groups are merged */
	CODE_MERGE_BITS = 4,	/* of codes, at most */
	CODE_MERGE_GROUP = 16	/* columns of a group, at least */
};

/* Of y, for x of random numbers: half a step of 127 in the largest of x, and of
 * the table, which are some times the usual one. */
#define CODE_TOLERANCE 3e-2f
/* Of a merged weight, relative to the largest: half a step of 127, and what 8
 * bits behind the point of 16 products of a code lose. */
#define CODE_MERGE_ERROR (0.54f / 127.0f)

/* How a tensor is cut and read. */
struct code_plan {
	const struct tensor *t;
	int64_t group;		/* columns of a group; merged: of a row */
	int64_t width;		/* columns of a span; the last of a group that
				 * is longer than a chunk may have less */
	int64_t step;		/* columns of a chunk, likewise */
	bool even;		/* spans begin on units, chunks on bytes */
	bool wide;		/* bytes above 127 occur */
	int run;		/* units whose products, two and two, stay in 16
				 * bits when they are added up; 0 where wide */
	bool affine;		/* there is a base */
	bool merged;		/* groups of a chunk have become one span */
	int minus, times;	/* byte = code * times */
	float table_step;	/* TABLE with one table: its step and bytes */
	uint8_t table[256];
};

/* A chunk: columns [c0, c1), in spans of width columns. */
struct code_cut {
	int64_t c0, c1, width;
	int64_t spans, units;
};

/* One chunk of a strip against up to CODE_TOKENS rows of x. */
struct code_block {
	struct code_cut cut;
	bool wide;
	int run;		/* both as in the plan */
	const uint8_t *strip;	/* (units, CODE_STRIP, CODE_UNIT) */
	const float *step;	/* (spans, CODE_STRIP) */
	const float *base;	/* the same, or NULL */
	const int32_t *init;	/* (rows of x, spans): -minus * X */
	const float *sum;	/* (rows of x, spans): X, with base */
	const int8_t *q;	/* column 0 of the first of the rows of x */
	int64_t ldq;
	const float *scale;
	float *y;
	int64_t ldy;
	int rows;		/* of y to write, 1 to CODE_STRIP */
	bool accumulate;
};

/* What each level of instructions has a version of. */
struct code_level {
	/* What block() takes off bytes that are wide, 0 or 128. */
	int lift;
	/* out[i] = table[code[i]] of n codes of `bits` bits, in place too. */
	void (*lookup)(const uint8_t *table, int bits, const uint8_t *code,
	    int64_t n, uint8_t *out);
	/* float16 of CODE_HALF rows, ld apart and those from last on that one
	 * again, times mult: out[s * CODE_STRIP + row]. */
	void (*scales)(const uint16_t *half, int64_t ld, int64_t last,
	    int64_t spans, float mult, float *out);
	/* Half of a strip, from the bytes of CODE_HALF rows, ld apart. */
	void (*turn)(const uint8_t *rows, int64_t ld, int64_t units,
	    uint8_t *strip);
	/* Half of a strip of INT, or of TABLE with one table, even, straight
	 * from the packed rows; NULL: there is no such. Rows from `last` on are
	 * that row again. */
	void (*unpack)(const struct code_plan *p, int64_t r, int64_t last,
	    const struct code_cut *cut, uint8_t *strip);
	/* A block of up to `tokens` rows of x. */
	int tokens;
	void (*block)(const struct code_block *b, int tokens);
	/* After the last block of a piece; NULL: nothing to do. */
	void (*end)(void);
};

extern const struct code_level code_level_scalar, code_level_avx2,
    code_level_vnni, code_level_vbmi;

#if CPU_X86 || defined(CODE_TILE_PLAIN)
/* block() and end() with AMX tiles; the rest of its level is code_level_vbmi. */
enum { CODE_TILE_TOKENS = 32 };
void code_tile_block(const struct code_block *b, int tokens);
void code_tile_end(void);
#endif

void code_scales_plain(const uint16_t *half, int64_t ld, int64_t last,
    int64_t spans, float mult, float *out);

/* For n rows of x. */
struct code_plan code_plan_make(const struct tensor *t, int64_t n);
struct code_cut code_cut_at(const struct code_plan *p, int64_t c0);
/* Columns of a span, and the units that cover them. */
static inline int64_t
code_span_begin(const struct code_cut *cut, int64_t s)
{
	return cut->c0 + s * cut->width;
}
static inline int64_t
code_span_end(const struct code_cut *cut, int64_t s)
{
	int64_t end = cut->c0 + (s + 1) * cut->width;

	return end < cut->c1 ? end : cut->c1;
}
static inline int64_t
code_unit_end(int64_t column)
{
	return (column + CODE_UNIT - 1) / CODE_UNIT;
}

/* Bytes of rows [r, r + rows) of a merged chunk, ld apart, and their steps; a
 * byte of 128 counts as 0. Where the largest of a row is under 2^-100 all are,
 * and the step is 0; where it is not finite the step is NaN. The same bits on
 * every level. */
void code_merge(const struct code_plan *p, const struct code_level *v,
    int64_t r, int64_t rows, const struct code_cut *cut, uint8_t *out,
    int64_t ld, float *step);

/* What struct kernel.run does, on one level. */
void code_run(const struct code_level *v, const struct tensor *t,
    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, int64_t ldy,
    bool accumulate, void *scratch);
/* Steps (k PART_SCALE) or bases (PART_MIN) of INT for CODE_HALF rows from r on,
 * those from last on being that row again: out[s * CODE_STRIP + row]. */
void code_half_scales(const struct code_plan *p, const struct code_level *v,
    enum part_kind k, const struct code_cut *cut, int64_t r, int64_t last,
    float *out);
/* The table of group g as bytes; returns its step. */
float code_round_table(const struct tensor *t, int64_t g, uint8_t *out);
/* init and sum of struct code_block, for rows [i0, i0 + tokens) of x: up to
 * CODE_TOKENS times the spans of the cut. */
void code_sums(const struct code_cut *cut, int minus, const struct kernel_x *x,
    int64_t i0, int tokens, int32_t *init, float *sum);

/*
 * int8 of n floats, rounded to the nearest even, so that v ~ scale * q with q in
 * -127..127; returns the scale. Where all |v| are under 2^-100, q and scale are
 * 0; where one is not finite, q is 0 and the scale NaN. sum, if not NULL, gets
 * the sums of each CODE_SUM of q, the last of what is left, and has room for
 * those of 64. The same bits on every level.
 */
float code_round(const float *v, int64_t n, int8_t *q, int16_t *sum);
/* The scale that it returns, and what it multiplies v by; 0 where q is 0. */
float code_scale(const float *v, int64_t n, float *times);
#if CPU_X86
/* Rows [i0, i0 + n) of x as PREP_INT8_TURNED, n up to 16, i0 a multiple of 16;
 * for CPU_VNNI. */
void code_turn(const struct kernel_x *x, int64_t i0, int64_t n);
#endif

#endif
