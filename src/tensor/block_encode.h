/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * block_encode: float32 rows to the quantized blocks of GGUF files, which
 * block.h decodes.
 *
 * The types with one step a block and no search in the format's own writer
 * (Q8_0) are rounded to the nearest; all others try several steps, and where the
 * type has one minimum too, and take what leaves the least sum of
 *
 *	weight[c] * (x[c] - decoded[c])^2
 *
 * over a group. Codes are chosen for the scales as they are stored, so that the
 * rounding of scales costs as little as it can. The result depends on the values
 * alone: any number of threads gives the same bytes.
 */
#ifndef PARE_TENSOR_BLOCK_ENCODE_H
#define PARE_TENSOR_BLOCK_ENCODE_H

#include "base/err.h"
#include "base/task.h"
#include "tensor/block.h"

/* Whether block_encode() makes this type. */
bool block_can_encode(enum block_kind kind);

/* Bytes of rows x cols values; cols must be whole blocks. */
int64_t block_bytes(enum block_kind kind, int64_t rows, int64_t cols);

/*
 * x (rows, cols) to out, which has block_bytes() bytes; cols must be a multiple
 * of block_table[kind].values. weight, if not NULL, has a number >= 0 for each
 * column, such as the mean squared activation of that input: errors count so
 * much, in proportion, though never less than a millionth of the largest does.
 * With NULL all count alike. Scales that float16 cannot hold are brought to its
 * largest.
 *
 * PARE_EUSER where cols are no whole blocks or the type cannot be made,
 * PARE_EFORMAT where a value is not finite (says which), PARE_ECANCELED; out is
 * then undefined. task may be NULL; it counts rows.
 */
enum pare_rc block_encode(enum block_kind kind, const float *x, int64_t rows,
    int64_t cols, const float *weight, uint8_t *out, struct task *task,
    struct pare_err *err);

#endif
