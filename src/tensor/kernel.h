/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel: how each form is multiplied. The second table of forms, same index as
 * form_table[]: for each form its kernels, best first, each with what it needs.
 * A kernel works from the packed parts: at most a panel of the matrix is ever
 * unpacked. Every kernel agrees with tensor_decode() + a plain product within
 * its tolerance (relative to the largest |y|). Those of codes with int8
 * activations round weights of up to 4 bits in groups of a part of a row once
 * more where 16 or more rows of x come: to int8 with a step a row, half a step of
 * 127 in the largest weight of the row (CODE_MERGE_ERROR of kernel_code.h).
 *
 * A product y (n, rows) = x (n, cols) W^T is cut into pieces: a panel of rows of
 * W, that is of columns of y, for all rows of x or a run of them. A kernel
 * computes a piece in the calling thread; kernel_products() makes what x must be
 * turned into, hands out pieces to threads and calls the ends.
 */
#ifndef PARE_TENSOR_KERNEL_H
#define PARE_TENSOR_KERNEL_H

#include "tensor/cpu.h"
#include "tensor/tensor.h"

/* What x is turned into before pieces are computed, once for all products that
 * share it. */
enum prep_kind {
	PREP_NONE,
	PREP_INT8,	/* int8 with a scale a row */
	PREP_INT8_32,	/* int8 with a scale for 32 columns */
	PREP_INT8_TURNED,	/* int8 with a scale a row, 16 rows side by side */
	PREP_BLOCKS,	/* 32 rows side by side */
	PREP_BF16,	/* the same as bfloat16, two columns together */
	PREP_BF16_SPLIT,	/* and what that leaves as bfloat16 too */
	PREP_KINDS
};

/* Rows of one x, and what they were turned into. */
struct kernel_x {
	const float *f;		/* (n, cols) */
	int64_t n, cols;
	const int8_t *q;	/* all PREP_INT8: (n, ldq), aligned to 64, ldq =
				 * cols rounded up to 64, padding 0; TURNED: (n /
				 * 16 rounded up, ldq / 4, 16, 4) */
	int64_t ldq;
	const float *scale;	/* n of them, or (n, ldq / 32); x ~ scale * q, q
				 * in -127..127 */
	const int32_t *total;	/* TURNED: (n / 16 rounded up, cols / 4096 rounded
				 * up, 16), sums of so many columns */
	const int16_t *sum;	/* the other PREP_INT8: (n, ldq / 16), of 16 q each */
	const float *blocks;	/* PREP_BLOCKS: (n / 32 rounded up, cols, 32),
				 * aligned to 64; rows past n are 0 */
	const uint16_t *halves;	/* both PREP_BF16: see kernel_bf16.h */
	const char *next;	/* packed weights that this thread will likely read
				 * after this piece, to bring near */
	int64_t next_bytes;	/* 0: none are known */
};

struct kernel {
	const char *name;	/* for info: "sgemm", "tiles of codes + sgemm" */
	float tolerance;
	enum cpu_level level;	/* the least it needs */
	enum prep_kind prep;
	/* Whether it multiplies n rows with this tensor; NULL: always. */
	bool (*fits)(const struct tensor *t, int64_t n);
	/* Rows of t that one piece should have, >= 1; the last may have less. */
	int64_t (*panel)(const struct tensor *t, int64_t n);
	/* Bytes run() needs for pieces of up to n rows of x; NULL: none. */
	size_t (*scratch)(const struct tensor *t, int64_t n);
	/*
	 * Columns [r0, r1) of y for all x->n rows; y points at row 0 of column
	 * r0, rows lie ldy apart. Added to y when accumulate. Runs in the calling
	 * thread with scratch of its own, aligned to 64.
	 */
	void (*run)(const struct tensor *t, const struct kernel_x *x,
	    int64_t r0, int64_t r1, float *y, int64_t ldy, bool accumulate,
	    void *scratch);
};

/* Kernels of a form, best first, ended by NULL; the last fits everything and
 * needs CPU_SCALAR. */
enum { KERNEL_ROWS = 12 };
extern const struct kernel *const kernel_table[FORM_COUNT][KERNEL_ROWS + 1];

/* The one that multiplies n rows with t now. */
const struct kernel *kernel_of(const struct tensor *t, int64_t n);

/*
 * y (n, rows) = x (n, cols) W^T, added to y when accumulate. n >= 1. scratch has
 * kernel_scratch(t, n) bytes, aligned to 64; may be NULL when that is 0. The
 * size is for the number of threads when it was asked for.
 */
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
 * region, and whatever x must be turned into is made once. From inside a
 * parallel region all of it runs in the calling thread. */
struct product {
	const struct tensor *t;
	float *y;		/* (n, t->rows) */
	const struct product_end *end;	/* NULL: nothing more */
};
void kernel_products(const struct product *p, int count, const float *x,
    int64_t n, void *scratch);
size_t kernel_products_scratch(const struct tensor *const *t, int count,
    int64_t n);

/*
 * What products may do for speed. KERNEL_FAST, which is so before the first call:
 * where the processor multiplies bfloat16, matrices stored as such meet x rounded
 * to it; and with AMX float32 factors are split in two bfloat16 parts, which is
 * off by some 4e-6 of each product. KERNEL_EXACT: all factors are float32.
 * Not while products run; kernel_set_precision() returns what was before.
 */
enum kernel_precision { KERNEL_EXACT, KERNEL_FAST };
enum kernel_precision kernel_precision(void);
enum kernel_precision kernel_set_precision(enum kernel_precision p);
/* For keys of results: differs where products may give other numbers. */
uint64_t kernel_ways(void);
/* Says what the calling thread will multiply as many rows with after its next set
 * of products: the first of it is brought near meanwhile. NULL: nothing is known,
 * as after that set. t must live until then. */
void kernel_then(const struct tensor *t);

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
