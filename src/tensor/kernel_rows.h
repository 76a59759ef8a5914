/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_rows: the rows that kernel_table[] is made of, and what their files
 * share. Private to src/tensor.
 */
#ifndef PARE_TENSOR_KERNEL_ROWS_H
#define PARE_TENSOR_KERNEL_ROWS_H

#include "tensor/kernel.h"
#include "tensor/value.h"

#if CPU_X86
extern const struct kernel float_dot_kernel;
#define FLOAT_DOT_KERNEL &float_dot_kernel,
#else
#define FLOAT_DOT_KERNEL
#endif
extern const struct kernel panel_kernel;
#if CPU_X86
extern const struct kernel bf16_amx_kernel, bf16_avx512_kernel,
    split_amx_kernel;
#define BF16_KERNELS &bf16_amx_kernel, &bf16_avx512_kernel,
#define SPLIT_KERNEL &split_amx_kernel,
#else
#define BF16_KERNELS
#define SPLIT_KERNEL
#endif
extern const struct kernel bitmap_dot_kernel, bitmap_rows_kernel,
    bitmap_panel_kernel, sparse_skip_kernel;
extern const struct kernel f32_dot_kernel, f32_blas_kernel;
extern const struct kernel tile_dot_kernel, tile_blas_kernel;
extern const struct kernel code_scalar_kernel;
#if CPU_X86
extern const struct kernel code_few_kernel, code_amx_kernel, code_vnni_kernel,
    code_avx2_kernel, code_float512_kernel, code_float256_kernel, code_turned_kernel;
#define CODE_KERNELS \
	&code_few_kernel, &code_amx_kernel, &code_turned_kernel, \
	&code_vnni_kernel, &code_avx2_kernel, &code_scalar_kernel, \
	&code_float512_kernel, &code_float256_kernel,
#else
#define CODE_KERNELS &code_scalar_kernel,
#endif
extern const struct kernel block_scalar_kernel;
#if CPU_X86
extern const struct kernel block_wide_kernel, block_few_kernel,
    block_vnni_kernel, block_avx2_kernel;
#define BLOCK_KERNELS &block_wide_kernel, &block_few_kernel, \
	&block_vnni_kernel, &block_avx2_kernel, &block_scalar_kernel,
#else
#define BLOCK_KERNELS &block_scalar_kernel,
#endif
extern const struct kernel sparse_dot_kernel, sparse_run_kernel;

/* The sum of a[i] * b[i], always in the same order. */
float kernel_dot(const float *a, const float *b, int64_t n);
/* y[i][r] of float32 rows of W, cols apart, and all rows of x, as dot products;
 * for CPU_AVX2 and up. */
void kernel_dot_rows(const float *w, int64_t rows, const struct kernel_x *x,
    float *y, int64_t ldy, bool add);
/* How many rows of x are few: dot products are faster than panels. */
int64_t kernel_few(void);

/* Before a loop whose turns must all be written out, for its index picks
 * registers. */
#if defined(__clang__)
#define KERNEL_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define KERNEL_UNROLL _Pragma("GCC unroll 32")
#else
#define KERNEL_UNROLL
#endif

/* A size for pieces of n things: of those from half of `most` up the largest that
 * leaves the busiest thread the least; at least 1. */
static inline int64_t
kernel_even(int64_t n, int64_t most)
{
	int64_t threads = kernel_threads(), best = 1, least = INT64_MAX;

	for (int64_t g = most; g >= 1 && 2 * g >= most; g--) {
		int64_t pieces = (n + g - 1) / g;
		int64_t busy = (pieces + threads - 1) / threads * g;

		if (busy < least) {
			least = busy;
			best = g;
		}
	}
	return best;
}

/* What to bring near while something is multiplied: for each 16 columns a line
 * of each of `rows` rows, ld bytes apart, then `step` bytes on. */
struct kernel_ahead {
	const char *p;
	int64_t ld;
	int step, rows;		/* rows 0: nothing */
};

static inline void
kernel_fetch(const struct kernel_ahead *ahead, const char **next)
{
	for (int r = 0; r < ahead->rows; r++)
		__builtin_prefetch(*next + r * ahead->ld, 0, 2);
	*next += ahead->step;
}

/* Rows of x that do not pay for panels of packed weights in L2. */
enum { KERNEL_FEW_ROWS = 12, KERNEL_LINE = 64 };

/* What is packed and comes next, brought near in `turns` equal portions: to wait
 * for memory while panels are laid out took a tenth of the time. */
struct kernel_coming {
	const char *p, *end;
	int64_t step;
};

static inline struct kernel_coming
kernel_coming_make(const struct kernel_x *x, int64_t turns)
{
	struct kernel_coming c = { x->next, x->next, 0 };

	if (x->n <= KERNEL_FEW_ROWS || x->next_bytes <= 0)
		return c;
	c.end += x->next_bytes;
	c.step = (x->next_bytes / turns + KERNEL_LINE) / KERNEL_LINE *
	    KERNEL_LINE;
	return c;
}

static inline void
kernel_coming_fetch(struct kernel_coming *c)
{
	const char *to = c->end - c->p < c->step ? c->end : c->p + c->step;

	for (; c->p < to; c->p += KERNEL_LINE)
		__builtin_prefetch(c->p, 0, 2);
}

/* What x is turned into. prep_point() lets x point into prep_bytes() of memory;
 * prep_make() fills in rows [i0, i0 + n) of it, in any thread, i0 a multiple of
 * 32; prep_rows() makes x those rows alone, i0 a multiple of 64. */
size_t prep_bytes(enum prep_kind kind, int64_t n, int64_t cols);
void prep_point(enum prep_kind kind, void *memory, struct kernel_x *x);
void prep_make(enum prep_kind kind, const struct kernel_x *x, int64_t i0,
    int64_t n);
void prep_rows(enum prep_kind kind, struct kernel_x *x, int64_t i0, int64_t n);

#endif
