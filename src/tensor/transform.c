/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The simple transforms: selecting rows or columns, casting between float
 * forms, and means. Ghosts and estimates get the facts of the result; where a
 * fact depends on the values (zeros) and these are there, they are counted.
 */
#include "tensor/form_rows.h"
#include "tensor/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

/* ---- select ---- */

static enum pare_rc
check_keep(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	int64_t size = axis == 0 ? t->rows : t->cols;

	if (axis != 0 && axis != 1)
		return err_set(err, PARE_EUSER, "a matrix has no axis %d",
		    axis);
	if (axis == 0 && t->ndim == 1)
		return err_set(err, PARE_EUSER,
		    "a vector has no rows to choose from");
	if (n < 1 || n > size)
		return err_set(err, PARE_EUSER, "%lld of %lld %s cannot be "
		    "kept", (long long)n, (long long)size,
		    axis == 0 ? "rows" : "columns");
	for (int64_t i = 0; i < n; i++)
		if (keep[i] < 0 || keep[i] >= size ||
		    (i > 0 && keep[i] <= keep[i - 1]))
			return err_set(err, PARE_EUSER, "%s to keep are out of "
			    "order or range at %lld",
			    axis == 0 ? "rows" : "columns",
			    (long long)keep[i]);
	return PARE_OK;
}

/* Weights that are there in the selection of a full float tensor. */
static int64_t
count_selected(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n)
{
	int64_t rows = axis == 0 ? n : t->rows, cols = axis == 0 ? t->cols : n;
	size_t size = value_float_size(t->form);
	const char *p = t->part[PART_DATA].p;
	int64_t total = 0;

#pragma omp parallel for reduction(+ : total) schedule(static) \
    num_threads(kernel_threads()) if (rows * cols > VALUE_PARALLEL)
	for (int64_t r = 0; r < rows; r++) {
		int64_t at = (axis == 0 ? keep[r] : r) * t->cols;

		for (int64_t c = 0; c < cols; c++) {
			int64_t i = at + (axis == 0 ? c : keep[c]);

			if (size == 2)
				total += (((const uint16_t *)p)[i] & 0x7fff) !=
				    0;
			else
				total += ((const float *)p)[i] != 0.0f;
		}
	}
	return total;
}

/* Stored values in the selection of a sparse tensor. */
static int64_t
count_stored(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	int64_t total = 0;
	int32_t *col;
	uint8_t *kept;

	for (int64_t i = 0; axis == 0 && i < n; i++)
		total += sparse_start(t, keep[i] + 1) -
		    sparse_start(t, keep[i]);
	if (axis == 0)
		return total;
	col = mem_big((size_t)t->cols, sizeof(*col), err);
	kept = mem_big_zero((size_t)t->cols, 1, err);
	if (col != NULL && kept != NULL) {
		for (int64_t i = 0; i < n; i++)
			kept[keep[i]] = 1;
		for (int64_t r = 0; r < t->rows; r++) {
			int64_t m = sparse_row(t, r, col);

			for (int64_t i = 0; i < m; i++)
				total += kept[col[i]];
		}
	} else {
		total = -1;
	}
	free(col);
	free(kept);
	return total;
}

static struct tensor *select_facts(const struct tensor *t, int axis,
    const int64_t *keep, int64_t n, struct pare_err *err);

static struct tensor *
select_lowrank_facts(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n, struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];

	kid[axis] = select_facts(t->kid[axis], axis, keep, n, err);
	if (kid[axis] == NULL)
		return NULL;
	kid[1 - axis] = tensor_ghost_of(t->kid[1 - axis]);
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.ghost = true;
	return tensor_new(&facts, NULL, kid, err);
}

static struct tensor *
select_pair_facts(const struct tensor *t, int axis, const int64_t *keep,
    int64_t n, struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];

	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.ghost = true;
	kid[0] = select_facts(t->kid[0], axis, keep, n, err);
	if (kid[0] == NULL)
		return NULL;
	kid[1] = t->form == FORM_SCALED && axis == 0 ?
	    tensor_ghost_of(t->kid[1]) : select_facts(t->kid[1], axis, keep, n,
	    err);
	if (kid[1] == NULL) {
		tensor_unref(kid[0]);
		return NULL;
	}
	return tensor_new(&facts, NULL, kid, err);
}

static struct tensor *
select_facts(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t);
	int64_t part;

	if (t->form == FORM_LOWRANK)
		return select_lowrank_facts(t, axis, keep, n, err);
	if (form_table[t->form].is_pair)
		return select_pair_facts(t, axis, keep, n, err);
	if (t->form == FORM_BLOCK && axis == 1 &&
	    !block_check_cols(t, keep, n, err))
		return NULL;
	if (!code_select_group(t, axis, keep, n, &facts.code.group, err))
		return NULL;
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	facts.ghost = true;
	part = value_share(tensor_nonzero(t), value_count(&facts),
	    value_count(t));
	if (!t->ghost && value_is_float(t->form))
		part = count_selected(t, axis, keep, n);
	if (!t->ghost && form_table[t->form].is_sparse)
		part = count_stored(t, axis, keep, n, err);
	if (part < 0)
		return NULL;
	facts.nonzero = part;
	if (form_table[t->form].is_sparse)
		facts.stored = part;
	return tensor_make(&facts, NULL);
}

struct tensor *
tensor_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	if (check_keep(t, axis, keep, n, err) != PARE_OK)
		return NULL;
	if (task_canceled(ctx->task)) {
		task_error(err);
		return NULL;
	}
	if (n == (axis == 0 ? t->rows : t->cols))
		return ctx->estimate ? tensor_ghost_of(t) : tensor_ref(t);
	if (ctx->estimate || t->ghost)
		return select_facts(t, axis, keep, n, err);
	return form_table[t->form].select(t, axis, keep, n, err);
}

/* ---- cast ---- */

/* Runs fn over rows in blocks, on all threads, each with a buffer of `wide`
 * floats and columns; false when canceled or out of memory. */
struct cast {
	const struct tensor *t;
	enum form_kind to;
	char *out;	/* NULL: only count */
	int64_t nonzero;
};

static int64_t
count_as(enum form_kind to, const float *v, int64_t n, uint16_t *tmp)
{
	if (to == FORM_F32)
		return value_count_nonzero(v, n);
	value_from_floats(to, v, n, tmp);
	return value_count_nonzero16(tmp, n);
}

/* One row: values to floats to the new form; counts those that are not 0. */
static int64_t
cast_row(const struct cast *c, int64_t r, char *buf)
{
	const struct tensor *t = c->t;
	float *f = (float *)buf;
	struct value_row row = value_row_get(t, r, f,
	    (int32_t *)(buf + 4 * t->cols));
	int64_t at = row.col != NULL ? sparse_start(t, r) : r * t->cols;

	if (c->out == NULL)
		return count_as(c->to, row.v, row.n,
		    (uint16_t *)(buf + 4 * t->cols));
	value_from_floats(c->to, row.v, row.n,
	    c->out + (size_t)at * value_float_size(c->to));
	return 0;
}

static enum pare_rc
cast_rows(struct cast *c, struct task *task, struct pare_err *err)
{
	const struct tensor *t = c->t;
	size_t wide = ((size_t)t->cols * 8 + 63) & ~(size_t)63;
	int64_t step = 1 + VALUE_BLOCK / t->cols, total = 0;
	char *mem = mem_big((size_t)kernel_threads(), wide, err);

	if (mem == NULL)
		return PARE_ENOMEM;
	for (int64_t r0 = 0; r0 < t->rows; r0 += step) {
		int64_t end = t->rows - r0 < step ? t->rows : r0 + step;

		if (task_canceled(task)) {
			free(mem);
			return task_error(err);
		}
#pragma omp parallel for reduction(+ : total) schedule(static) \
    num_threads(kernel_threads()) if ((end - r0) * t->cols > VALUE_PARALLEL)
		for (int64_t r = r0; r < end; r++)
			total += cast_row(c, r,
			    mem + wide * (size_t)kernel_thread());
	}
	free(mem);
	c->nonzero = total;
	return PARE_OK;
}

static struct tensor *
cast_facts(const struct tensor *t, struct tensor *facts,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct cast c = { .t = t, .to = facts->values };

	facts->ghost = true;
	facts->nonzero = tensor_nonzero(t);
	if (t->ghost || form_table[t->form].is_sparse)
		return tensor_make(facts, NULL);
	if (cast_rows(&c, ctx->task, err) != PARE_OK)
		return NULL;
	facts->nonzero = c.nonzero;
	return tensor_make(facts, NULL);
}

struct tensor *
tensor_cast(const struct tensor *t, enum form_kind form,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	static const enum part_kind shape[] = { PART_MASK, PART_ROWS,
		PART_COLS };
	struct tensor facts = tensor_facts(t);
	struct part parts[PART_COUNT] = { 0 };
	bool sparse = form_table[t->form].is_sparse;
	struct cast c = { .t = t, .to = form };

	if (!value_is_float(form) || t->form == FORM_LOWRANK) {
		err_set(err, PARE_EUSER, "%s tensors cannot be cast to %s",
		    form_table[t->form].name, form_table[form].name);
		err_hint(err, "cast before factorizing");
		return NULL;
	}
	if (tensor_base(t) != t && value_is_float(t->kid[0]->values)) {
		struct tensor *base = tensor_cast(t->kid[0], form, ctx, err);
		struct tensor *cast = base == NULL ? NULL :
		    tensor_rebase(t, base, err);

		tensor_unref(base);
		return cast;
	}
	if (form_table[t->form].is_pair) {
		struct tensor *f = tensor_to_f32(t, err), *cast;

		cast = f == NULL ? NULL : tensor_cast(f, form, ctx, err);
		tensor_unref(f);
		return cast;
	}
	if (t->values == form)
		return ctx->estimate ? tensor_ghost_of(t) : tensor_ref(t);
	facts.code = (struct tensor_code) { 0 };
	facts.values = form;
	facts.form = sparse ? t->form : form;
	facts.nonzero = sparse ? t->stored : -1;
	if (ctx->estimate || t->ghost)
		return cast_facts(t, &facts, ctx, err);
	if (!parts_new(&facts, 1u << PART_DATA, parts, err))
		return NULL;
	c.out = part_data(&parts[PART_DATA]);
	if (cast_rows(&c, ctx->task, err) != PARE_OK) {
		parts_free(parts);
		return NULL;
	}
	for (int i = 0; i < 3; i++)
		parts[shape[i]] = part_ref(&t->part[shape[i]]);
	return tensor_make(&facts, parts);
}

/* ---- mean ---- */

enum { MEAN_BLOCK = 1 << 14 };

/* out[0..n) = mean of values i, i + 1, ... of all t, by rows of the matrix. */
static void
mean_rows(const struct tensor *const *t, int n, int64_t row, int64_t rows,
    float *tmp, double *sum, float *out)
{
	int64_t m = rows * t[0]->cols;

	for (int64_t i = 0; i < m; i++)
		sum[i] = 0.0;
	for (int k = 0; k < n; k++) {
		tensor_decode(t[k], row, rows, tmp);
		for (int64_t i = 0; i < m; i++)
			sum[i] += tmp[i];
	}
	for (int64_t i = 0; i < m; i++)
		out[i] = (float)(sum[i] / n);
}

static int64_t
mean_all(const struct tensor *const *t, int n, float *data, struct task *task,
    struct pare_err *err)
{
	int64_t cols = t[0]->cols, rows = t[0]->rows, nonzero = 0;
	int64_t step = 1 + MEAN_BLOCK / cols;
	double *sum = mem_big((size_t)(step * cols), sizeof(*sum), err);
	float *tmp = mem_big((size_t)(step * cols), sizeof(*tmp) * 2, err);

	for (int64_t r = 0; r < rows && sum != NULL && tmp != NULL;
	     r += step) {
		int64_t m = rows - r < step ? rows - r : step;
		float *out = data != NULL ? data + r * cols :
		    tmp + step * cols;

		if (task_canceled(task)) {
			task_error(err);
			nonzero = -1;
			break;
		}
		mean_rows(t, n, r, m, tmp, sum, out);
		nonzero += value_count_nonzero(out, m * cols);
	}
	if (sum == NULL || tmp == NULL)
		nonzero = -1;
	free(sum);
	free(tmp);
	return nonzero;
}

struct tensor *
tensor_mean(const struct tensor *const *t, int n,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *out;
	bool ghost = false;
	float *data = NULL;
	int64_t nonzero;

	for (int i = 0; i < n; i++) {
		ghost |= t[i]->ghost;
		if (t[i]->ndim == t[0]->ndim && t[i]->rows == t[0]->rows &&
		    t[i]->cols == t[0]->cols)
			continue;
		err_set(err, PARE_EUSER, "%lld x %lld and %lld x %lld have no "
		    "mean", (long long)t[0]->rows, (long long)t[0]->cols,
		    (long long)t[i]->rows, (long long)t[i]->cols);
		return NULL;
	}
	if (n < 1) {
		err_set(err, PARE_EUSER, "there is nothing to take a mean of");
		return NULL;
	}
	if (ghost)
		return tensor_ghost(FORM_F32, t[0]->ndim, t[0]->rows,
		    t[0]->cols);
	out = ctx->estimate ? tensor_ghost(FORM_F32, t[0]->ndim, t[0]->rows,
	    t[0]->cols) : tensor_new_f32(t[0]->ndim, t[0]->rows, t[0]->cols,
	    &data, err);
	if (out == NULL)
		return NULL;
	nonzero = mean_all(t, n, data, ctx->task, err);
	if (nonzero < 0) {
		tensor_unref(out);
		return NULL;
	}
	atomic_store(&out->nonzero, nonzero);
	return out;
}
