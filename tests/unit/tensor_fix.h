/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tests of the tensor room share: matrices to work on, one variant of
 * every form, and a decoder written from the description of the forms alone,
 * bit by bit.
 */
#ifndef PARE_TESTS_TENSOR_FIX_H
#define PARE_TESTS_TENSOR_FIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/form.h"
#include "tensor/kernel.h"
#include "tensor/transform.h"

static const struct transform_ctx fix_real = { .seed = 5 };
static const struct transform_ctx fix_guess = { .estimate = true, .seed = 5 };

struct fix_size {
	int64_t rows, cols;
};
static const struct fix_size fix_sizes[] = { { 1, 1 }, { 3, 5 }, { 7, 33 },
	{ 129, 65 }, { 2, 300 } };
enum { FIX_SIZES = sizeof(fix_sizes) / sizeof(fix_sizes[0]) };

static inline struct tensor *
fix_random(int ndim, int64_t rows, int64_t cols, uint64_t seed)
{
	float *p = NULL;
	struct tensor *t = tensor_new_f32(ndim, rows, cols, &p, NULL);
	struct rng rng;

	assert_non_null(t);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < rows * cols; i++)
		p[i] = rng_normal(&rng) * 0.05f;
	return t;
}

/* A mask that keeps about `share` of the weights. */
static inline uint8_t *
fix_mask(int64_t n, double share, uint64_t seed)
{
	uint8_t *m = malloc((size_t)n);
	struct rng rng;

	assert_non_null(m);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < n; i++)
		m[i] = rng_uniform(&rng) < share;
	return m;
}

/* ---- variants ---- */

/* Steps in this order: cut to `share` (0: no), factorize to rank `rank` (0: no),
 * cast (F32: no), quantize (bits 0: no), floats beside codes (what the name says),
 * a low rank of `beside` beside all of it (0: no, nor where a side is no more).
 * group 1 stands for a divisor of cols. */
struct fix_variant {
	const char *name;
	double share;
	int rank;
	enum form_kind cast;
	struct quant_spec quant;
	int beside;
};

static const struct fix_variant fix_variants[] = {
	{ "f32", 0, 0, FORM_F32, { 0 }, 0 },
	{ "f16", 0, 0, FORM_F16, { 0 }, 0 },
	{ "bf16", 0, 0, FORM_BF16, { 0 }, 0 },
	{ "int1 row", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 1, -1, 0 }, 0 },
	{ "int2 g", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 2, 1, 0 }, 0 },
	{ "int3", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 3, 0, 0 }, 0 },
	{ "int4 g", 0, 0, FORM_F16, { QUANT_SYMMETRIC, 4, 1, 0 }, 0 },
	{ "int5 row", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 5, -1, 0 }, 0 },
	{ "int6 row", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 6, -1, 0 }, 0 },
	{ "int7", 0, 0, FORM_BF16, { QUANT_SYMMETRIC, 7, 0, 0 }, 0 },
	{ "int8 row", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 8, -1, 0 }, 0 },
	{ "int1 affine g", 0, 0, FORM_F32, { QUANT_AFFINE, 1, 1, 0 }, 0 },
	{ "int3 affine g", 0, 0, FORM_F32, { QUANT_AFFINE, 3, 1, 0 }, 0 },
	{ "int4 affine", 0, 0, FORM_F32, { QUANT_AFFINE, 4, 0, 0 }, 0 },
	{ "int8 affine row", 0, 0, FORM_F32, { QUANT_AFFINE, 8, -1, 0 }, 0 },
	{ "table1", 0, 0, FORM_F32, { QUANT_BINARY, 1, 0, 0 }, 0 },
	{ "table2 row", 0, 0, FORM_F32, { QUANT_KMEANS, 2, -1, 0 }, 0 },
	{ "table3 g", 0, 0, FORM_F32, { QUANT_KMEANS, 3, 1, 0 }, 0 },
	{ "table4", 0, 0, FORM_F32, { QUANT_KMEANS, 4, 0, 0 }, 0 },
	{ "table5", 0, 0, FORM_F32, { QUANT_KMEANS, 5, 0, 0 }, 0 },
	{ "table8", 0, 0, FORM_F32, { QUANT_KMEANS, 8, 0, 0 }, 0 },
	{ "bitmap f32", 0.5, 0, FORM_F32, { 0 }, 0 },
	{ "bitmap f16", 0.4, 0, FORM_F16, { 0 }, 0 },
	{ "bitmap int4 g", 0.5, 0, FORM_F32, { QUANT_AFFINE, 4, 1, 0 }, 0 },
	{ "bitmap int3 row", 0.5, 0, FORM_F32, { QUANT_SYMMETRIC, 3, -1, 0 }, 0 },
	{ "bitmap table3", 0.3, 0, FORM_F32, { QUANT_KMEANS, 3, 0, 0 }, 0 },
	{ "index f32", 0.02, 0, FORM_F32, { 0 }, 0 },
	{ "index bf16", 0.02, 0, FORM_BF16, { 0 }, 0 },
	{ "index int5 g", 0.02, 0, FORM_F32, { QUANT_SYMMETRIC, 5, 1, 0 }, 0 },
	{ "index table2 row", 0.02, 0, FORM_F32, { QUANT_KMEANS, 2, -1, 0 }, 0 },
	{ "lowrank f32", 0, 2, FORM_F32, { 0 }, 0 },
	{ "lowrank int8", 0, 2, FORM_F32, { QUANT_SYMMETRIC, 8, -1, 0 }, 0 },
	{ "lowrank table4", 0, 2, FORM_F32, { QUANT_KMEANS, 4, 0, 0 }, 0 },
	{ "sum table3", 0, 0, FORM_F32, { QUANT_KMEANS, 3, 0, 0 }, 0 },
	{ "sum int4 row", 0, 0, FORM_F32, { QUANT_AFFINE, 4, -1, 0 }, 0 },
	{ "scaled int4 g", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 4, 1, 0 }, 0 },
	{ "scaled table2 row", 0, 0, FORM_F32, { QUANT_KMEANS, 2, -1, 0 }, 0 },
	{ "sum low f32", 0, 0, FORM_F32, { 0 }, 3 },
	{ "sum low f16", 0, 0, FORM_F16, { 0 }, 1 },
	{ "sum low int2 g", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 2, 1, 0 }, 2 },
	{ "sum low int4", 0, 0, FORM_F32, { QUANT_AFFINE, 4, -1, 0 }, 9 },
	{ "sum low table3", 0, 0, FORM_F32, { QUANT_KMEANS, 3, 0, 0 }, 2 },
	{ "sum low bitmap", 0.5, 0, FORM_F32, { QUANT_AFFINE, 4, 1, 0 }, 2 },
	{ "sum low index", 0.02, 0, FORM_F32, { 0 }, 2 },
	{ "sum low scaled", 0, 0, FORM_F32, { QUANT_SYMMETRIC, 4, 1, 0 }, 4 },
	{ "sum low sum", 0, 0, FORM_F32, { QUANT_KMEANS, 3, 0, 0 }, 2 },
};
enum { FIX_VARIANTS = sizeof(fix_variants) / sizeof(fix_variants[0]) };

static inline int64_t
fix_divisor(int64_t n)
{
	for (int64_t d = n / 2; d > 1; d--)
		if (n % d == 0)
			return d;
	return 1;
}

/* The next step in place of *t, and of its estimate *g beside it. */
static inline void
fix_step(struct tensor **t, struct tensor **g, struct tensor *next,
    struct tensor *guess)
{
	assert_non_null(next);
	assert_non_null(guess);
	tensor_unref(*t);
	tensor_unref(*g);
	*t = next;
	*g = guess;
}

static inline void
fix_cut(struct tensor **t, struct tensor **g, double share)
{
	int64_t n = tensor_params(*t), kept = 0;
	uint8_t *mask = fix_mask(n, share, 77);

	for (int64_t i = 0; i < n; i++)
		kept += mask[i];
	fix_step(t, g, tensor_sparsify(*t, mask, kept, &fix_real, NULL),
	    tensor_sparsify(*g, NULL, kept, &fix_guess, NULL));
	free(mask);
}

/* The variant of a random matrix. guess (may be NULL) gets what the estimates
 * along the way came to. */
/* Codes with floats beside them: one weight in 20 is made up for, inputs are
 * scaled by 0.5 to 1.5. */
static inline void
fix_pair(struct tensor **t, struct tensor **g, bool sum)
{
	int64_t n = (*t)->rows * (*t)->cols, kept = 0;
	struct tensor *f = tensor_to_f32(*t, NULL), *next, *guess;
	uint8_t *mask = fix_mask(n, 0.05f, 7);
	float *by = malloc((size_t)(*t)->cols * sizeof(*by));
	float *w = (float *)tensor_f32(f);

	for (int64_t i = 0; i < n; i++) {
		kept += mask[i];
		w[i] += mask[i];
	}
	for (int64_t c = 0; c < (*t)->cols; c++)
		by[c] = 0.5f + (float)(c % 5) / 4;
	next = sum ? tensor_patch(*t, f, mask, kept, &fix_real, NULL) :
	    tensor_scale(*t, by, &fix_real, NULL);
	guess = sum ? tensor_patch(*g, f, NULL, kept, &fix_guess, NULL) :
	    tensor_scale(*g, NULL, &fix_guess, NULL);
	fix_step(t, g, next, guess);
	tensor_unref(f);
	free(mask);
	free(by);
}

/* A low rank of what *t lacks of another matrix of its shape. */
static inline void
fix_beside(struct tensor **t, struct tensor **g, int64_t rank)
{
	int64_t rows = (*t)->rows, cols = (*t)->cols;
	int64_t most = (rows < cols ? rows : cols) - 1;
	struct tensor *other;

	rank = rank < most ? rank : most;
	if (rank < 1)
		return;
	other = fix_random(2, rows, cols, 91);
	fix_step(t, g, tensor_amend(*t, other, rank, NULL, &fix_real, NULL),
	    tensor_amend(*g, other, rank, NULL, &fix_guess, NULL));
	tensor_unref(other);
}

static inline struct tensor *
fix_make(const struct fix_variant *v, int64_t rows, int64_t cols,
    uint64_t seed, struct tensor **guess)
{
	struct tensor *t = fix_random(2, rows, cols, seed);
	struct tensor *g = tensor_ghost_of(t);
	struct quant_spec q = v->quant;

	if (v->share > 0)
		fix_cut(&t, &g, v->share);
	if (v->rank > 0) {
		int64_t s = rows < cols ? rows : cols;
		int64_t k = v->rank < s ? v->rank : s;

		fix_step(&t, &g, tensor_factorize(t, k, &fix_real, NULL),
		    tensor_factorize(g, k, &fix_guess, NULL));
	}
	if (v->cast != FORM_F32)
		fix_step(&t, &g, tensor_cast(t, v->cast, &fix_real, NULL),
		    tensor_cast(g, v->cast, &fix_guess, NULL));
	if (q.bits > 0) {
		if (q.group == 1)
			q.group = fix_divisor(cols);
		fix_step(&t, &g, tensor_quantize(t, &q, &fix_real, NULL),
		    tensor_quantize(g, &q, &fix_guess, NULL));
	}
	if (strncmp(v->name, "sum", 3) == 0 && (v->beside == 0 ||
	    strcmp(v->name, "sum low sum") == 0))
		fix_pair(&t, &g, true);
	if (strstr(v->name, "scaled") != NULL)
		fix_pair(&t, &g, false);
	if (v->beside > 0)
		fix_beside(&t, &g, v->beside);
	if (guess != NULL)
		*guess = g;
	else
		tensor_unref(g);
	return t;
}

/* ---- the naive decoder ---- */

static inline unsigned
naive_bit(const void *p, int64_t bit)
{
	return ((const uint8_t *)p)[bit / 8] >> (bit % 8) & 1;
}

static inline unsigned
naive_code(const void *p, int64_t bit, int bits)
{
	unsigned c = 0;

	for (int i = 0; i < bits; i++)
		c |= naive_bit(p, bit + i) << i;
	return c;
}

static inline double
naive_half(uint16_t h)
{
	int e = h >> 10 & 31;
	double m = h & 1023, s = h & 0x8000 ? -1 : 1;

	if (e == 31)
		return m != 0 ? NAN : s * INFINITY;
	return s * (e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25));
}

static inline int64_t
naive_group(const struct tensor *t, int64_t r, int64_t c)
{
	int64_t g = t->code.group;

	return g == 0 ? 0 : r * (t->cols / g) + c / g;
}

/* The value at (r, c) that is number i of its stream; bit0 is where the stream
 * starts. */
static inline float
naive_value(const struct tensor *t, int64_t r, int64_t c, int64_t bit0,
    int64_t i)
{
	const void *data = t->part[PART_DATA].p;
	int bits = t->code.bits;
	int64_t g;
	unsigned code;
	float step, min;

	if (t->values == FORM_F32)
		return ((const float *)data)[bit0 / 32 + i];
	if (t->values == FORM_F16)
		return (float)naive_half(
		    ((const uint16_t *)data)[bit0 / 16 + i]);
	if (t->values == FORM_BF16)
		return bfloat_to_float(
		    ((const uint16_t *)data)[bit0 / 16 + i]);
	g = naive_group(t, r, c);
	code = naive_code(data, bit0 + i * bits, bits);
	if (t->values == FORM_TABLE)
		return ((const float *)t->part[PART_TABLE].p)[(g << bits) +
		    code];
	step = (float)(naive_half(((const uint16_t *)
	    t->part[PART_SCALE].p)[g]) * t->code.mult);
	if (t->code.scheme == CODE_SYMMETRIC)
		return step * (float)(bits == 1 ? 2 * (int)code - 1 :
		    (int)code - (1 << (bits - 1)));
	min = (float)(naive_half(((const uint16_t *)t->part[PART_MIN].p)[g]) *
	    t->code.mult);
	return min + step * (float)code;
}

static inline int64_t
naive_value_bits(const struct tensor *t)
{
	return t->values == FORM_F32 ? 32 : t->values == FORM_F16 ||
	    t->values == FORM_BF16 ? 16 : t->code.bits;
}

static inline void
naive_full(const struct tensor *t, float *out)
{
	int64_t row_bits = (t->cols * naive_value_bits(t) + 7) / 8 * 8;

	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++)
			out[r * t->cols + c] = naive_value(t, r, c,
			    r * row_bits, c);
}

static inline void
naive_sparse(const struct tensor *t, float *out)
{
	const uint32_t *rows = t->part[PART_ROWS].p;
	int64_t mask_bits = (t->cols + 7) / 8 * 8;

	memset(out, 0, (size_t)(t->rows * t->cols) * sizeof(*out));
	for (int64_t r = 0; r < t->rows; r++) {
		int64_t i = rows[r];

		for (int64_t c = 0; t->form == FORM_BITMAP && c < t->cols;
		     c++) {
			if (!naive_bit(t->part[PART_MASK].p,
			    r * mask_bits + c))
				continue;
			out[r * t->cols + c] = naive_value(t, r, c, 0, i++);
		}
		for (; t->form == FORM_INDEX && i < rows[r + 1]; i++) {
			const void *p = t->part[PART_COLS].p;
			int64_t c = t->cols <= 65536 ?
			    (int64_t)((const uint16_t *)p)[i] :
			    (int64_t)((const uint32_t *)p)[i];

			out[r * t->cols + c] = naive_value(t, r, c, 0, i);
		}
		assert_int_equal(i, rows[r + 1]);
	}
}

static inline float *naive_decode(const struct tensor *t);

static inline void
naive_product(const struct tensor *t, float *out)
{
	float *a = naive_decode(t->kid[0]), *b = naive_decode(t->kid[1]);
	int64_t k = t->kid[0]->cols;

	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++) {
			double s = 0;

			for (int64_t i = 0; i < k; i++)
				s += (double)a[r * k + i] * b[i * t->cols + c];
			out[r * t->cols + c] = (float)s;
		}
	free(a);
	free(b);
}

static inline float *naive_decode(const struct tensor *t);

static inline void
naive_pair(const struct tensor *t, float *out)
{
	float *a = naive_decode(t->kid[0]), *b = naive_decode(t->kid[1]);

	for (int64_t i = 0; i < t->rows * t->cols; i++)
		out[i] = t->form == FORM_SUM ? a[i] + b[i] :
		    a[i] * b[i % t->cols];
	free(a);
	free(b);
}

/* All values, malloc'ed. */
static inline float *
naive_decode(const struct tensor *t)
{
	float *out = malloc((size_t)(t->rows * t->cols) * sizeof(*out));

	assert_non_null(out);
	if (t->form == FORM_LOWRANK)
		naive_product(t, out);
	else if (t->form == FORM_SUM || t->form == FORM_SCALED)
		naive_pair(t, out);
	else if (t->form == FORM_BITMAP || t->form == FORM_INDEX)
		naive_sparse(t, out);
	else
		naive_full(t, out);
	return out;
}

static inline float *
fix_decode(const struct tensor *t)
{
	float *out = malloc((size_t)(t->rows * t->cols) * sizeof(*out));

	assert_non_null(out);
	tensor_decode(t, 0, t->rows, out);
	return out;
}

/* Facts of an estimate against those of the real thing. */
static inline void
fix_same_facts(const struct tensor *g, const struct tensor *t)
{
	assert_true(g->ghost);
	assert_false(t->ghost);
	assert_int_equal(g->form, t->form);
	assert_int_equal(g->values, t->values);
	assert_int_equal(g->ndim, t->ndim);
	assert_int_equal(g->rows, t->rows);
	assert_int_equal(g->cols, t->cols);
	assert_int_equal(g->stored, t->stored);
	assert_int_equal(g->code.bits, t->code.bits);
	assert_int_equal(g->code.scheme, t->code.scheme);
	assert_int_equal(g->code.group, t->code.group);
	assert_int_equal(tensor_bytes(g), tensor_bytes(t));
	assert_int_equal(tensor_params(g), tensor_params(t));
	assert_int_equal(tensor_nonzero(g), tensor_nonzero(t));
	assert_int_equal(tensor_rank(g), tensor_rank(t));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(g->kid[i] == NULL, t->kid[i] == NULL);
		if (g->kid[i] != NULL)
			fix_same_facts(g->kid[i], t->kid[i]);
	}
}

#endif
