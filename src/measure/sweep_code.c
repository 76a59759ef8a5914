/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a sweep does to matrices: symmetric codes with a step for each row and 8
 * bits of activations; zeros in place of the weights of the smallest magnitude
 * of the matrix; the truncated singular value decomposition.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/sweep_private.h"
#include "model/edit.h"

/* The k-th smallest (from 0) of v[n], which is reordered. */
static float
select_kth(float *v, int64_t n, int64_t k)
{
	int64_t low = 0, high = n - 1;

	while (low < high) {
		float pivot = v[low + (high - low) / 2];
		int64_t i = low, j = high;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i <= j) {
				float x = v[i];

				v[i++] = v[j];
				v[j--] = x;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			return v[k];
	}
	return v[k];
}

/* Zeroes the n smallest of v[size]; of those that are as large as the n-th the
 * first ones. */
static enum pare_rc
zero_smallest(float *v, int64_t size, int64_t n, struct pare_err *err)
{
	float *a = mem_big((size_t)size, sizeof(*a), err), limit;
	int64_t equal = n;

	if (a == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < size; i++)
		a[i] = isnan(v[i]) ? INFINITY : fabsf(v[i]);
	limit = select_kth(a, size, n - 1);
	free(a);
	for (int64_t i = 0; i < size; i++)
		equal -= fabsf(v[i]) < limit;
	for (int64_t i = 0; i < size; i++)
		if (fabsf(v[i]) < limit)
			v[i] = 0;
		else if (fabsf(v[i]) == limit && equal-- > 0)
			v[i] = 0;
	return PARE_OK;
}

static struct tensor *
thin(const struct tensor *t, int percent, struct pare_err *err)
{
	int64_t size = t->rows * t->cols;
	int64_t n = (int64_t)round((double)size * percent / 100);
	struct tensor *out;
	float *v;

	out = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);
	if (out == NULL)
		return NULL;
	tensor_decode(t, 0, t->rows, v);
	if (n < 1 || zero_smallest(v, size, n, err) == PARE_OK)
		return out;
	tensor_unref(out);
	return NULL;
}

static int64_t
rank_of(const struct tensor *t, int level)
{
	double full = (double)t->rows * (double)t->cols;
	int64_t k = (int64_t)(-level / 100.0 * full /
	    (double)(t->rows + t->cols));

	return level > 0 ? level : k < 1 ? 1 : k;
}

struct coding {
	enum sweep_what what;
	int level;
};

static struct tensor *
code(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct coding *c = arg;
	struct quant_spec s = { .scheme = QUANT_SYMMETRIC, .bits = c->level,
		.group = t->cols, .act = 8 };

	if (c->what == SWEEP_BITS)
		return tensor_quantize(t, &s, ctx, err);
	return c->what == SWEEP_SPARSITY ? thin(t, c->level, err) :
	    tensor_factorize(t, rank_of(t, c->level), ctx, err);
}

/* Wherever the matrix of an item stands. */
static enum pare_rc
code_item(const struct sweep *s, struct edit *e, const struct model *m,
    const struct sweep_item *x, struct pare_err *err)
{
	const struct tensor *t = model_slot(m, (struct slot_ref){ x->layer,
	    x->slot });
	struct coding c = { s->what, x->level };
	struct slot_ref ref = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &ref))
		if (model_slot(m, ref) == t)
			rc = edit_map(e, ref, 0, code, &c, err);
	return rc;
}

enum pare_rc
sweep_code(const struct sweep *s, const struct model *m,
    const struct sweep_item *x, int level, struct task *task,
    struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, task);
	enum pare_rc rc = x != NULL ? code_item(s, e, m, x, err) : PARE_OK;

	for (int64_t i = 0; i < s->n && x == NULL && rc == PARE_OK; i++) {
		if (!task_tick(task, (double)i, (double)s->n, "matrices"))
			rc = task_error(err);
		else if (s->item[i].level == level)
			rc = code_item(s, e, m, &s->item[i], err);
	}
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

enum pare_rc
sweep_spare(const struct model *coded, const struct model *m,
    const struct sweep_item *x, struct task *task, struct model **out,
    struct pare_err *err)
{
	struct edit *e = edit_begin(coded, EDIT_REAL, 0, task);
	struct tensor *t = model_slot(m, (struct slot_ref){ x->layer,
	    x->slot });
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(m, &ref))
		if (model_slot(m, ref) == t)
			edit_set(e, ref, tensor_ref(t));
	return edit_commit(e, out, err);
}
