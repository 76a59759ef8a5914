/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel: how each form is multiplied. The second table of forms, same index as
 * form_table[]. A kernel works from the packed parts: at most a tile of the
 * matrix is ever unpacked. Every kernel agrees with tensor_decode() + sgemm
 * within kernel_table[].tolerance (relative to the largest |y|).
 */
#ifndef PARE_TENSOR_KERNEL_H
#define PARE_TENSOR_KERNEL_H

#include "tensor/tensor.h"

struct kernel {
	const char *name;	/* for info: "sgemm", "tiles of codes + sgemm" */
	float tolerance;
	/* y (n, rows) = x (n, cols) W^T, added to y when accumulate. n >= 1.
	 * scratch has scratch(t, n) bytes, aligned to 64; may be NULL when that
	 * is 0. */
	void (*matmul)(const struct tensor *t, const float *x, int64_t n,
	    float *y, bool accumulate, void *scratch);
	size_t (*scratch)(const struct tensor *t, int64_t n);
};

extern const struct kernel kernel_table[FORM_COUNT];

void kernel_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch);
size_t kernel_scratch(const struct tensor *t, int64_t n);

/*
 * What happens to a piece of y, rows [row, row + rows) and columns [col, col +
 * cols) of it, while the thread that made it still has it in its cache: a bias,
 * an activation, a sum with a residual. y points at the first value of the
 * piece, rows lie ldy values apart. Pieces cover y once; their shapes are the
 * kernel's own choice.
 */
struct product_end {
	void (*run)(const struct product_end *e, float *y, int64_t ldy,
	    int64_t row, int64_t rows, int64_t col, int64_t cols);
};

/* Linear maps of one x (n, cols), such as queries, keys and values: one parallel
 * region, and whatever x must be turned into is made once. */
struct product {
	const struct tensor *t;
	float *y;		/* (n, t->rows) */
	const struct product_end *end;	/* NULL: nothing more */
};
void kernel_products(const struct product *p, int count, const float *x,
    int64_t n, void *scratch);
size_t kernel_products_scratch(const struct tensor *const *t, int count,
    int64_t n);

/* Threads of all products and loops of this process, 1 to 256; results are
 * bit-identical for the same number. Before the first call: all processors. */
void kernel_set_threads(int n);
int kernel_threads(void);
/* Limits what the calling thread starts to n threads (0: no limit), and returns
 * the limit before. A pass of a fraction of a millisecond a product is faster on
 * one thread than on two that must be woken for each. */
int kernel_limit_threads(int n);
/* Tells the calling thread's OpenMP and OpenBLAS how many threads there are;
 * needed before BLAS is called from a thread that is new. */
void kernel_bind(void);
/* "OpenBLAS 0.3.21 Haswell (openmp)" and such, static. */
const char *kernel_blas_name(void);

#endif
