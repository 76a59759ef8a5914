/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * LOWRANK: A (rows, k) times B (k, cols). Both are tensors of any other form.
 */
#include "tensor/form_rows.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

int64_t
lowrank_part_bytes(const struct tensor *t, enum part_kind k)
{
	return 0;
}

/* out (n, cols) += a (n, m) b (m, cols) without BLAS: when there is no memory
 * for a block of either factor, one row and one column at a time. */
static void
multiply_rows(const struct tensor *t, int64_t row, int64_t n, float *a,
    float *b, int64_t block, float *out)
{
	const struct tensor *ta = t->kid[0], *tb = t->kid[1];
	int64_t rank = tensor_rank(t);

	tensor_decode(ta, row, n, a);
	for (int64_t k = 0; k < rank; k += block) {
		int64_t m = rank - k < block ? rank - k : block;

		tensor_decode(tb, k, m, b);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n,
		    (int)t->cols, (int)m, 1, a + k, (int)rank, b,
		    (int)t->cols, k == 0 ? 0 : 1, out, (int)t->cols);
	}
}

/* decode() cannot fail: without memory for wide blocks it uses narrow ones, and
 * in the very end the small ones that never fail. */
void
lowrank_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	int64_t rank = tensor_rank(t), block = rank, high = n;
	float *b = NULL, *a;

	kernel_bind();
	while (b == NULL && block > 1) {
		b = mem_big((size_t)block, (size_t)t->cols * 4, NULL);
		if (b == NULL)
			block = (block + 1) / 2;
	}
	if (b == NULL)
		b = xmalloc((size_t)block * (size_t)t->cols * 4);
	a = mem_big((size_t)high, (size_t)rank * 4, NULL);
	if (a == NULL) {
		high = 1;
		a = xmalloc((size_t)rank * 4);
	}
	for (int64_t r = 0; r < n; r += high)
		multiply_rows(t, row + r, n - r < high ? n - r : high, a, b,
		    block, out + r * t->cols);
	free(a);
	free(b);
}

struct tensor *
lowrank_select(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n, struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];
	struct tensor *k = t->kid[axis];
	struct tensor *cut = form_table[k->form].select(k, axis, keep, n, err);

	if (cut == NULL)
		return NULL;
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.nonzero = -1;
	kid[axis] = cut;
	kid[1 - axis] = tensor_ref(t->kid[1 - axis]);
	return tensor_new(&facts, NULL, kid, err);
}
