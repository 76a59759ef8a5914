/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A base and a low rank of what it lacks: E = W - B, and A B' the nearest of its
 * rank to E, by its squares or, with the second moment of the inputs, by what the
 * outputs lose (Yao et al., "ZeroQuant-V2", 2023; Zhang et al., "LQER", 2024). The
 * factors are 16-bit floats: what their rounding leaves is some thousandth of what
 * they make up for.
 */
#include "tensor/value.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/kernel.h"

#define HALF_MOST 65504.0f

static enum pare_rc
check_amend(const struct tensor *base, const struct tensor *t, int64_t rank,
    struct pare_err *err)
{
	if (base->form == FORM_LOWRANK || tensor_base(base) != base) {
		err_set(err, PARE_EUSER, "a matrix of %lld x %lld %s already",
		    (long long)t->rows, (long long)t->cols,
		    base->form == FORM_LOWRANK ? "is low rank" :
		    "has a low rank beside it");
		return err_hint(err, "undo, and do this first");
	}
	if (t->ndim == 2 && base->ndim == 2 && base->rows == t->rows &&
	    base->cols == t->cols && rank >= 1 && rank < t->rows &&
	    rank < t->cols)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%lld x %lld has no low rank of %lld beside "
	    "%lld x %lld", (long long)t->rows, (long long)t->cols,
	    (long long)rank, (long long)base->rows, (long long)base->cols);
	return err_hint(err, "the rank must be below both sides");
}

/* t - base, as F32. */
static struct tensor *
lack_of(const struct tensor *base, const struct tensor *t,
    struct pare_err *err)
{
	int64_t n = value_count(t);
	float *data, *value;
	struct tensor *lack = tensor_new_f32(2, t->rows, t->cols, &data, err);

	if (lack == NULL)
		return NULL;
	value = mem_big((size_t)n, sizeof(*value), err);
	if (value == NULL) {
		tensor_unref(lack);
		return NULL;
	}
	tensor_decode(t, 0, t->rows, data);
	tensor_decode(base, 0, t->rows, value);
	for (int64_t i = 0; i < n; i++)
		data[i] -= value[i];
	free(value);
	return lack;
}

static enum form_kind
half_of(const struct tensor *f)
{
	const float *v = tensor_f32(f);

	for (int64_t i = 0; i < value_count(f); i++)
		if (!(fabsf(v[i]) <= HALF_MOST))
			return FORM_BF16;
	return FORM_F16;
}

/* The product of 16-bit floats with the factors of f, which is consumed. */
static struct tensor *
halves(struct tensor *f, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct tensor facts, *kid[2] = { NULL, NULL }, *out = NULL;

	if (f == NULL)
		return NULL;
	facts = tensor_facts(f);
	for (int i = 0; i < 2; i++) {
		kid[i] = tensor_cast(f->kid[i], half_of(f->kid[i]), ctx, err);
		/* A zero in a factor is no pruned weight. */
		if (kid[i] != NULL)
			atomic_store(&kid[i]->nonzero, value_count(kid[i]));
	}
	if (kid[0] != NULL && kid[1] != NULL) {
		out = tensor_new(&facts, NULL, kid, err);
	} else {
		tensor_unref(kid[0]);
		tensor_unref(kid[1]);
	}
	tensor_unref(f);
	return out;
}

static struct tensor *
ghost_product(const struct tensor *t, int64_t rank, struct pare_err *err)
{
	struct tensor facts = { .form = FORM_LOWRANK, .values = FORM_LOWRANK,
		.ndim = 2, .rows = t->rows, .cols = t->cols, .ghost = true,
		.nonzero = -1 };
	struct tensor *kid[2] = { tensor_ghost(FORM_F16, 2, t->rows, rank),
		tensor_ghost(FORM_F16, 2, rank, t->cols) };

	return tensor_new(&facts, NULL, kid, err);
}

/* Consumes low. */
static struct tensor *
sum_of(const struct tensor *base, struct tensor *low, struct pare_err *err)
{
	struct tensor facts = { .form = FORM_SUM, .values = FORM_SUM, .ndim = 2,
		.rows = base->rows, .cols = base->cols, .ghost = low->ghost,
		.nonzero = -1 };
	struct tensor *kid[2] = { tensor_ref(base), low };

	return tensor_new(&facts, NULL, kid, err);
}

struct tensor *
tensor_amend(const struct tensor *base, const struct tensor *t, int64_t rank,
    const struct factor_metric *metric, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct tensor *lack, *low;

	if (check_amend(base, t, rank, err) != PARE_OK)
		return NULL;
	if (ctx->estimate || t->ghost || base->ghost) {
		low = ghost_product(t, rank, err);
	} else {
		lack = lack_of(base, t, err);
		if (lack == NULL)
			return NULL;
		low = halves(tensor_factorize_by(lack, rank, metric, ctx, err),
		    ctx, err);
		tensor_unref(lack);
	}
	return low == NULL ? NULL : sum_of(base, low, err);
}

struct tensor *
tensor_rebase(const struct tensor *t, const struct tensor *base,
    struct pare_err *err)
{
	struct tensor *low = base->ghost && !t->ghost ?
	    tensor_ghost_of(t->kid[1]) : tensor_ref(t->kid[1]);

	return sum_of(base, low, err);
}
