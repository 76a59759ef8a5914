/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kmeans: tables of means for one group of values. Private to src/tensor.
 */
#ifndef PARE_TENSOR_KMEANS_H
#define PARE_TENSOR_KMEANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/task.h"

/* Sorts v[0..n) ascending; tmp has room for n. */
void sort_floats(float *v, float *tmp, int64_t n);

/* Doubles that kmeans_table() needs for n values. */
size_t kmeans_sums(int64_t n);

/* 2^bits means of sorted values, ascending; n may be 0. */
void kmeans_table(const float *sorted, int64_t n, int bits, double *sums,
    float *table);
/* The two values with the least squared error of all. */
void kmeans_binary(const float *sorted, int64_t n, float *table);

/* Either table (two values when binary) of values in any order, on all threads.
 * *finite is false, and nothing in the table, when a value is not finite. The
 * means agree with those of the sorted values up to the rounding of sums in
 * double precision. PARE_ENOMEM, PARE_ECANCELED. */
enum pare_rc kmeans_matrix(const float *v, int64_t n, int bits, bool binary,
    struct task *task, bool *finite, float *table, struct pare_err *err);

/* Numbers of the nearest table values (ascending; the lower one of two). */
void kmeans_encode(const float *table, int bits, const float *v, int64_t n,
    uint8_t *code);

#endif
