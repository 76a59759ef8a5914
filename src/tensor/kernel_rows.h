/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_rows: the functions that kernel_table[] is made of. Private to
 * src/tensor.
 */
#ifndef PARE_TENSOR_KERNEL_ROWS_H
#define PARE_TENSOR_KERNEL_ROWS_H

#include "tensor/kernel.h"
#include "tensor/value.h"

float kernel_dot(const float *a, const float *b, int64_t n);

void tile_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch);
size_t tile_scratch(const struct tensor *t, int64_t n);
void sparse_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch);
size_t sparse_scratch(const struct tensor *t, int64_t n);

#endif
