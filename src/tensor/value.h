/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * value: what the files of the tensor room share: how stored values are packed
 * and found, block conversions of half floats, and the rows of sparse forms.
 * Private to src/tensor.
 */
#ifndef PARE_TENSOR_VALUE_H
#define PARE_TENSOR_VALUE_H

#include "tensor/form.h"
#include "tensor/transform.h"

/*
 * Loops over many values are compiled twice where the compiler can choose at
 * run time. AVX2 without FMA rounds as SSE2 does, so both give the same bits.
 * The sanitizers start before the choice could be made.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__gnu_linux__) && !defined(PARE_SANITIZED)
#define VALUE_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define VALUE_SIMD
#endif

enum {
	VALUE_CHUNK = 1024,	/* codes unpacked at a time, in L1 */
	VALUE_PARALLEL = 1 << 16,	/* values worth a second thread */
	VALUE_BLOCK = 1 << 22	/* values between two looks at cancel */
};

/* Dimensions beyond these cannot be stored: columns are int32, and products
 * with the largest value size stay inside int64. */
#define VALUE_DIM_MAX INT64_C(0x7ffffff0)
#define VALUE_COUNT_MAX (INT64_C(1) << 48)

/* a * b, INT64_MAX where it overflows: for facts of ghosts. */
int64_t value_mul(int64_t a, int64_t b);
int64_t value_add(int64_t a, int64_t b);

bool value_is_code(enum form_kind values);	/* INT or TABLE */
bool value_is_float(enum form_kind values);	/* F32, F16 or BF16 */
int64_t value_bits(const struct tensor *t);	/* of one stored value */
int64_t value_groups(const struct tensor *t);	/* scales or tables */
int64_t value_group_cols(const struct tensor *t);	/* columns they cover */
int64_t value_group_of(const struct tensor *t, int64_t r, int64_t c);
int64_t value_row_bytes(const struct tensor *t);	/* of a full row */
int64_t value_count(const struct tensor *t);	/* rows * cols */

/* Bytes of DATA, SCALE, MIN and TABLE, for full and sparse forms alike; 0 for
 * other parts. */
int64_t value_part_bytes(const struct tensor *t, enum part_kind k);

/* n codes from position pos of a stream, and n codes to a byte boundary (the
 * last byte is filled up with zeros). */
void code_unpack(const uint8_t *src, int64_t pos, int64_t n, int bits,
    uint8_t *out);
void code_pack(const uint8_t *code, int64_t n, int bits, uint8_t *dst);
/* The part of code_unpack() at pos 0 that the processor has good instructions
 * for: how many codes, all n or a multiple of 8, were unpacked. */
int64_t code_unpack_fast(const uint8_t *src, int64_t n, int bits, uint8_t *out);
/* The same on all threads. */
void code_pack_parallel(const uint8_t *code, int64_t n, int bits,
    uint8_t *dst);
/* How a line of codes of a full INT row is read: groups of width columns, `into`
 * of the first before the line; code i of group g is step[g] * (code * times -
 * minus), or base[g] + step[g] * code where there is a base. */
struct code_line {
	const float *step, *base;
	int64_t width, into;
	int times, minus;
};
void code_line_floats(const struct code_line *l, const uint8_t *code, int64_t n,
    float *out);
/* out[i] = table[code[i]], codes of `bits` bits. */
void code_table_floats(const float *table, int bits, const uint8_t *code,
    int64_t n, float *out);
/* The n codes of row r from column or stream position pos on. */
void value_codes(const struct tensor *t, int64_t r, int64_t pos, int64_t n,
    uint8_t *out);

void half_to_floats(const uint16_t *h, int64_t n, float *out);
void half_from_floats(const float *f, int64_t n, uint16_t *out);
void bfloat_to_floats(const uint16_t *h, int64_t n, float *out);
void bfloat_from_floats(const float *f, int64_t n, uint16_t *out);
/* n floats to values of a float form at out. */
void value_from_floats(enum form_kind values, const float *f, int64_t n,
    void *out);
size_t value_float_size(enum form_kind values);	/* 4 or 2 */

/* The two passes over n floats that everything starts with. */
uint32_t value_max_bits(const float *f, int64_t n);	/* of |f|, as uint32 */
void value_range(const float *f, int64_t n, float *min, float *max);
int64_t value_count_nonzero(const float *f, int64_t n);
int64_t value_count_nonzero16(const uint16_t *h, int64_t n);
static inline bool
value_bits_finite(uint32_t bits)
{
	return bits < UINT32_C(0x7f800000);
}

/* A group of INT as it decodes: code 0 is base, one more is step more. */
void value_scale(const struct tensor *t, int64_t g, float *step, float *min);
/* SCALE, MIN or TABLE of rows or columns keep[0..n): of codes in any form. */
bool code_select_groups(const struct tensor *t, const struct tensor *facts,
    int axis, const int64_t *keep, struct part parts[PART_COUNT],
    struct pare_err *err);
/* The group of the result; false with PARE_EUSER when columns cut a group. */
bool code_select_group(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n, int64_t *group, struct pare_err *err);

/* Sparse rows: where row r begins in the stream, how many values it has, and
 * their columns (col has room for cols of them). */
int64_t sparse_start(const struct tensor *t, int64_t r);
int64_t sparse_row(const struct tensor *t, int64_t r, int32_t *col);

/*
 * Which weights of which rows of source go where: row r of the result is row
 * rows[r] of the source (NULL: r); column c of the source is column map[c] of
 * the result (NULL: c), or nowhere when that is -1; mask has a byte for each
 * weight of the source, 0 drops it (NULL: keep all). Float zeros are dropped
 * when drop_zeros.
 */
struct sparse_pick {
	const struct tensor *source;
	const int64_t *rows;
	const int32_t *map;
	const uint8_t *mask;
	bool drop_zeros;
};
/* Counts the picked values of rows 0..n-1 of the result into start[1..n], sums
 * them up (start[0] = 0) and returns the total, or -1 with *err. */
int64_t sparse_count(const struct sparse_pick *pick, int64_t n,
    int64_t *start, struct task *task, struct pare_err *err);
/* The sparse tensor of facts (form, shape, stored) with the picked values.
 * parts may bring SCALE, MIN and TABLE; consumed, on error too. */
struct tensor *sparse_build(const struct sparse_pick *pick,
    const struct tensor *facts, const int64_t *start,
    struct part parts[PART_COUNT], struct task *task, struct pare_err *err);
/* The same as a full float tensor with zeros in it; facts say form and shape. */
struct tensor *sparse_scatter(const struct sparse_pick *pick,
    const struct tensor *facts, struct task *task, struct pare_err *err);

/*
 * The values of one row, of any form but LOWRANK: v[0..n) at columns col[0..n),
 * or at 0..n-1 when col is NULL. fbuf and cbuf have room for cols; v may point
 * into the tensor.
 */
struct value_row {
	const float *v;
	const int32_t *col;
	int64_t n;
};
struct value_row value_row_get(const struct tensor *t, int64_t r, float *fbuf,
    int32_t *cbuf);

/* The end of the run that starts at value i of a row and stays in one group. */
int64_t value_run_end(const struct tensor *t, const struct value_row *row,
    int64_t i);
/* The column of value i. */
static inline int64_t
value_col(const struct value_row *row, int64_t i)
{
	return row->col != NULL ? row->col[i] : i;
}

/* Parts under construction. parts_new() makes room for what form_table says t
 * needs (or less: only the kinds in the mask which); on error nothing is left.
 * parts_free() drops them. part_data() is the writable memory of one. */
bool parts_new(const struct tensor *t, unsigned which,
    struct part parts[PART_COUNT], struct pare_err *err);
void parts_free(struct part parts[PART_COUNT]);
void *part_data(struct part *p);
struct part part_ref(const struct part *p);

/* A struct tensor of stack memory with the facts of t and no parts. */
struct tensor tensor_facts(const struct tensor *t);
/* tensor_new() without looking inside the parts, for parts made here. */
struct tensor *tensor_make(const struct tensor *facts,
    struct part parts[PART_COUNT]);

/* PARE_EUSER for a ghost where values are needed. */
bool tensor_has_values(const struct tensor *t, struct pare_err *err);

/* nonzero of a subset of `part` of `whole` weights where only a total is known. */
int64_t value_share(int64_t nonzero, int64_t part, int64_t whole);

/* Number of the calling thread inside a parallel region. */
int kernel_thread(void);

#endif
