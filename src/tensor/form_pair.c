/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SUM: A + B, full codes and what single weights lack, as floats; or a base of any
 * form and a low rank of what it lacks. SCALED: A diag(b), full codes and a float
 * for each input. The first is multiplied as two products (with a low rank
 * three), the second after x was multiplied by b.
 */
#include "tensor/form_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { PRODUCT_ROWS = 64 };	/* of a low rank, added at a time */

/* out (n, cols) += rows [row, row + n) of a low rank, n at most PRODUCT_ROWS; a
 * has n * k floats, b cols. Each value is summed in the order of the rank,
 * whoever asks for how many rows. */
static void
add_product(const struct tensor *t, int64_t row, int64_t n, float *a, float *b,
    float *out)
{
	const struct tensor *left = t->kid[0], *right = t->kid[1];
	int64_t rank = tensor_rank(t);

	form_table[left->form].decode(left, row, n, a);
	for (int64_t k = 0; k < rank; k++) {
		form_table[right->form].decode(right, k, 1, b);
		for (int64_t r = 0; r < n; r++) {
			float by = a[r * rank + k], *o = out + r * t->cols;

#pragma omp simd
			for (int64_t c = 0; c < t->cols; c++)
				o[c] += by * b[c];
		}
	}
}

static void
add_products(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	int64_t high = n < PRODUCT_ROWS ? n : PRODUCT_ROWS;
	float *a = xmalloc((size_t)(high * tensor_rank(t)) * sizeof(*a));
	float *b = xmalloc((size_t)t->cols * sizeof(*b));

	for (int64_t r = 0; r < n; r += high)
		add_product(t, row + r, n - r < high ? n - r : high, a, b,
		    out + r * t->cols);
	free(a);
	free(b);
}

void
sum_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	const struct tensor *b = t->kid[1];
	int32_t *col;
	float *f;

	form_table[t->kid[0]->form].decode(t->kid[0], row, n, out);
	if (b->form == FORM_LOWRANK) {
		add_products(b, row, n, out);
		return;
	}
	f = xmalloc((size_t)t->cols * sizeof(*f));
	col = xmalloc((size_t)t->cols * sizeof(*col));
	for (int64_t r = 0; r < n; r++, out += t->cols) {
		struct value_row v = value_row_get(b, row + r, f, col);

		for (int64_t i = 0; i < v.n; i++)
			out[value_col(&v, i)] += v.v[i];
	}
	free(f);
	free(col);
}

void
scaled_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	const float *b = t->kid[1]->part[PART_DATA].p;

	form_table[t->kid[0]->form].decode(t->kid[0], row, n, out);
	for (int64_t r = 0; r < n; r++, out += t->cols)
		for (int64_t c = 0; c < t->cols; c++)
			out[c] *= b[c];
}

/* Rows of a vector of inputs are none: it stays. */
struct tensor *
pair_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];

	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	kid[0] = form_table[t->kid[0]->form].select(t->kid[0], axis, keep, n,
	    err);
	if (kid[0] == NULL)
		return NULL;
	kid[1] = t->form == FORM_SCALED && axis == 0 ?
	    tensor_ref(t->kid[1]) : form_table[t->kid[1]->form].select(
	    t->kid[1], axis, keep, n, err);
	if (kid[1] == NULL) {
		tensor_unref(kid[0]);
		return NULL;
	}
	return tensor_new(&facts, NULL, kid, err);
}

static struct tensor *
pair_new(enum form_kind form, const struct tensor *a, struct tensor *b,
    struct pare_err *err)
{
	struct tensor facts = { .form = form, .values = form, .ndim = 2,
		.rows = a->rows, .cols = a->cols, .ghost = b->ghost,
		.nonzero = -1 };
	struct tensor *kid[2] = { b->ghost ? tensor_ghost_of(a) :
	    tensor_ref(a), b };

	return tensor_new(&facts, NULL, kid, err);
}

struct tensor *
tensor_scale(const struct tensor *codes, const float *by,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *b;
	float *data;

	if (codes->ghost || ctx->estimate)
		return pair_new(FORM_SCALED, codes, tensor_ghost(FORM_F32, 1,
		    1, codes->cols), err);
	b = tensor_new_f32(1, 1, codes->cols, &data, err);
	if (b == NULL)
		return NULL;
	memcpy(data, by, (size_t)codes->cols * sizeof(*data));
	return pair_new(FORM_SCALED, codes, b, err);
}

struct tensor *
tensor_patch(const struct tensor *codes, const struct tensor *t,
    const uint8_t *mask, int64_t kept, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	int64_t n = value_count(t);
	struct tensor *lack, *b;
	float *data, *value;

	if (codes->ghost || ctx->estimate) {
		lack = tensor_ghost(FORM_F32, 2, t->rows, t->cols);
		b = tensor_sparsify(lack, NULL, kept, ctx, err);
		tensor_unref(lack);
		return b == NULL ? NULL : pair_new(FORM_SUM, codes, b, err);
	}
	value = mem_big((size_t)n, sizeof(*value), err);
	lack = value == NULL ? NULL : tensor_new_f32(2, t->rows, t->cols,
	    &data, err);
	if (lack == NULL) {
		free(value);
		return NULL;
	}
	tensor_decode(t, 0, t->rows, data);
	tensor_decode(codes, 0, t->rows, value);
	/* What lacks nothing is stored all the same: mask says how many. */
	for (int64_t i = 0; i < n; i++)
		data[i] = mask[i] == 0 ? 0 : data[i] != value[i] ?
		    data[i] - value[i] : 1e-30f;
	free(value);
	b = tensor_sparsify(lack, mask, kept, ctx, err);
	tensor_unref(lack);
	return b == NULL ? NULL : pair_new(FORM_SUM, codes, b, err);
}
