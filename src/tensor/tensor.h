/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tensor: an immutable, reference-counted vector or matrix in one of the
 * storage forms of tensor/form.h.
 *
 * Ownership, said once: who makes a tensor owns one reference; whoever stores it
 * takes its own with tensor_ref() and drops it with tensor_unref(). Functions
 * that take a `const struct tensor *` only read it; functions whose comment says
 * "consumes" take over the caller's reference. After it was published (stored in
 * a model, handed to another thread) nothing of a tensor changes but its
 * reference count and the two lazily computed facts hash and nonzero, which are
 * atomic.
 *
 * Shapes: a matrix is (rows, cols) = (out, in), row-major, as in Hugging Face
 * files: y = x W^T. A vector of n has ndim 1, rows 1, cols n. Scalars and higher
 * ranks do not occur in models.
 *
 * A ghost has a form and a shape but no data: what a config alone describes, and
 * what estimates work on. Its byte and parameter counts are those of the real
 * thing.
 */
#ifndef PARE_TENSOR_TENSOR_H
#define PARE_TENSOR_TENSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/task.h"

/* Order is part of saved files: append only. Facts are in form_table[]. */
enum form_kind {
	FORM_F32,
	FORM_F16,
	FORM_BF16,
	FORM_INT,	/* 1-8 bit codes with a scale (and minimum) per group */
	FORM_TABLE,	/* 1-8 bit codes into a table of values per group */
	FORM_BITMAP,	/* one bit per weight, and the values that are there */
	FORM_INDEX,	/* a column number with each value that is there */
	FORM_LOWRANK,	/* A (rows, k) times B (k, cols); both are tensors */
	FORM_BLOCK,	/* GGUF's quantized blocks: code.block says which */
	FORM_SUM,	/* full INT or TABLE codes plus a float matrix of the same
			 * shape, sparse as a rule */
	FORM_SCALED,	/* full INT or TABLE codes, columns times a vector of F32 */
	FORM_COUNT
};

/* The byte blobs a form is made of; which it uses is in its facts. */
enum part_kind {
	PART_DATA,	/* values, or packed codes: lowest bits first, each row of
			 * a full matrix starting on a byte, the values of sparse
			 * forms as one stream */
	PART_SCALE,	/* float16 [groups]: times code.mult is the step */
	PART_MIN,	/* float16 [groups]: times code.mult is the value of code 0 */
	PART_TABLE,	/* float32 [groups][1 << bits] */
	PART_MASK,	/* one bit per weight, lowest first, rows start on bytes */
	PART_ROWS,	/* uint32 [rows + 1]: first value of each row */
	PART_COLS,	/* uint16 (cols <= 65536) or uint32 per value */
	PART_COUNT
};

enum code_scheme {
	CODE_SYMMETRIC,	/* INT: w = step * (code - 2^(bits-1)), codes 1..2^bits-1;
			 * at 1 bit w = step * (2 code - 1) */
	CODE_AFFINE	/* INT: w = min + step * code */
};

/*
 * How codes are read. group: columns that share a scale or table; 0 means the
 * whole matrix shares one, cols means one a row; otherwise it divides cols.
 * Group number of (r, c): group == 0 ? 0 : r * (cols / group) + c / group.
 */
struct tensor_code {
	uint8_t bits;
	uint8_t scheme;		/* enum code_scheme; INT only */
	uint8_t act;		/* bits of the activations it is multiplied with:
				 * 0 float32, 8 int8 with one scale a token, or
				 * with BLOCK one for 32 columns; in sparse forms
				 * always 0 */
	uint8_t block;		/* BLOCK: enum block_kind; else 0 */
	int64_t group;
	float mult;		/* a power of two, keeps float16 scales in range */
};

/* Reference-counted memory that parts point into: heap, or a mapped file. */
struct blob {
	atomic_int refs;
	void *base;
	size_t size;
	void (*release)(struct blob *);	/* frees base, not the struct */
	void *owner;			/* for release() */
	/* Lets go of memory that a file fills again when it is read; NULL where
	 * there is no such file. */
	void (*forget)(const void *p, size_t n);
};

struct blob *blob_new(void *base, size_t size, void (*release)(struct blob *),
    void *owner);
struct blob *blob_heap(void *base, size_t size);  /* free()s base at the end */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b);		/* NULL is fine */

struct part {
	struct blob *blob;	/* NULL: absent */
	const void *p;		/* inside blob; aligned for its element type */
	size_t n;		/* bytes */
};

struct tensor {
	atomic_int refs;
	enum form_kind form;
	enum form_kind values;	/* form of the stored values: BITMAP and INDEX
				 * say F32..TABLE here; others repeat form */
	int ndim;		/* 1 or 2 */
	int64_t rows, cols;
	struct tensor_code code;	/* INT and TABLE values; else zero */
	int64_t stored;		/* values in PART_DATA: rows*cols, or fewer when
				 * sparse; with kids 0 */
	bool ghost;
	struct part part[PART_COUNT];
	struct tensor *kid[2];	/* LOWRANK, SUM, SCALED: the two, never of such
				 * forms themselves */
	_Atomic int64_t nonzero;	/* -1: not counted yet */
	_Atomic uint64_t hash;		/* 0: not computed yet */
};

struct tensor *tensor_ref(const struct tensor *t);
void tensor_unref(struct tensor *t);		/* NULL is fine */

/*
 * A new float32 tensor whose values the caller fills through *data before it
 * publishes it. rows is 1 for ndim 1. NULL with PARE_ENOMEM.
 */
struct tensor *tensor_new_f32(int ndim, int64_t rows, int64_t cols,
    float **data, struct pare_err *err);

/* A float tensor (F32, F16, BF16) over memory that is already there: p lies in
 * blob (takes its own reference). Misaligned p is copied. */
struct tensor *tensor_new_view(enum form_kind form, int ndim, int64_t rows,
    int64_t cols, struct blob *blob, const void *p, struct pare_err *err);

/*
 * A tensor of any form from its facts and parts: template gives form, values,
 * ndim, rows, cols, code, stored, ghost, nonzero; parts (NULL for a ghost) and
 * kids are consumed, on error too. Checks every size and every index inside the
 * parts against the facts (for files are hostile): PARE_EFORMAT when they do not
 * fit.
 */
struct tensor *tensor_new(const struct tensor *template,
    struct part parts[PART_COUNT], struct tensor *kid[2],
    struct pare_err *err);

/* A ghost of the given float form. Never fails. */
struct tensor *tensor_ghost(enum form_kind form, int ndim, int64_t rows,
    int64_t cols);
/* A ghost with the facts of t (bytes, params, nonzero as t's). */
struct tensor *tensor_ghost_of(const struct tensor *t);

/* Weights, zeros included; rank * (rows + cols) for LOWRANK. */
int64_t tensor_params(const struct tensor *t);
/*
 * Weights that were not pruned: in float forms those that are not exactly zero,
 * in sparse forms those stored; INT and TABLE carry over what their source had
 * (a weight rounded to zero is not a pruned one). Counted on first use and
 * remembered; this reads all of a float tensor. A ghost has all, unless told.
 */
int64_t tensor_nonzero(const struct tensor *t);
/* Bytes of all parts and kids, as held and as saved; without headers. */
int64_t tensor_bytes(const struct tensor *t);
/* Lets go of memory that comes again from a file when it is read: after all of a
 * tensor was looked at of which a pass needs some rows. Values stay as they are. */
void tensor_forget(const struct tensor *t);
/* Content hash: form, shape, code and bytes. Ghosts hash their facts. */
uint64_t tensor_hash(const struct tensor *t);
/* LOWRANK: the inner size k; 0 for other forms. */
int64_t tensor_rank(const struct tensor *t);

/* Float32 values of rows [row, row + n) into out (n, cols). Not for ghosts. */
void tensor_decode(const struct tensor *t, int64_t row, int64_t n, float *out);
/* All of it as a new F32 tensor (the same one referenced when it is F32). */
struct tensor *tensor_to_f32(const struct tensor *t, struct pare_err *err);
/* The values of an F32 tensor, without a copy; NULL for other forms. */
const float *tensor_f32(const struct tensor *t);

/* "f32", "int4 g64 a8", "bitmap int8", "low rank 32 (f32)": for tables; a8 is
 * int8 activations. */
void tensor_describe(const struct tensor *t, char *out, size_t n);

/* float16 and bfloat16, round to nearest even. */
float half_to_float(uint16_t h);
uint16_t half_from_float(float f);
float bfloat_to_float(uint16_t h);
uint16_t bfloat_from_float(float f);

#endif
