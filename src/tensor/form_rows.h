/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * form_rows: the functions that form_table[] is made of. Private to src/tensor.
 */
#ifndef PARE_TENSOR_FORM_ROWS_H
#define PARE_TENSOR_FORM_ROWS_H

#include "tensor/value.h"

typedef void form_values(const struct tensor *t, int64_t r, const int32_t *col,
    int64_t pos, int64_t n, float *out);
typedef void form_decode(const struct tensor *t, int64_t row, int64_t n,
    float *out);
typedef struct tensor *form_select(const struct tensor *t, int axis,
    const int64_t *keep, int64_t n, struct pare_err *err);
typedef enum pare_rc form_check(const struct tensor *t, struct pare_err *err);
typedef int64_t form_bytes(const struct tensor *t, enum part_kind k);

form_values f32_values, f16_values, bf16_values, int_values, table_values;
form_decode float_decode, code_decode, sparse_decode, lowrank_decode,
    block_decode, sum_decode, scaled_decode;
form_select float_select, code_select, sparse_select, lowrank_select,
    block_select, pair_select;
form_check bitmap_check, index_check;
form_bytes sparse_part_bytes, lowrank_part_bytes, block_part_bytes;

/* Whether columns keep[0..n) of a BLOCK matrix are whole blocks. */
bool block_check_cols(const struct tensor *t, const int64_t *keep, int64_t n,
    struct pare_err *err);

enum pare_rc sparse_check_rows(const struct tensor *t, struct pare_err *err);

/* Columns of a row, into a buffer of cols; how many. */
int64_t bitmap_row(const struct tensor *t, int64_t r, int32_t *col);
int64_t index_row(const struct tensor *t, int64_t r, int32_t *col);
void index_cols(const struct tensor *t, int64_t i0, int64_t n, int32_t *col);
/* Write the columns of a row that is being built. */
void bitmap_put(const struct tensor *facts, int64_t r, const int32_t *col,
    int64_t n, uint8_t *mask);
void index_put(const struct tensor *facts, int64_t i0, const int32_t *col,
    int64_t n, void *cols);

#endif
