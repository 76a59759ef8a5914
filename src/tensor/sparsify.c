/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pruned weights leave the storage: bitmap plus values costs one bit for every
 * weight, index plus values two or four bytes for every weight that stays, so the
 * index wins below about one weight in sixteen.
 */
#include "tensor/value.h"

#include <stdlib.h>

#include "base/mem.h"

/* Bytes of t's values with `kept` of them stored as form. */
static int64_t
bytes_as(const struct tensor *t, enum form_kind form, int64_t kept)
{
	struct tensor facts = tensor_facts(t);

	facts.form = form;
	facts.stored = kept;
	return tensor_bytes(&facts);
}

enum form_kind
sparse_choose(const struct tensor *t, int64_t kept, int64_t *bytes)
{
	enum form_kind form = FORM_BITMAP;
	int64_t best = bytes_as(t, FORM_BITMAP, kept);
	int64_t other = bytes_as(t, FORM_INDEX, kept);

	if (other < best) {
		best = other;
		form = FORM_INDEX;
	}
	if (value_is_float(t->values)) {
		other = bytes_as(t, t->values, value_count(t));
		if (other <= best || kept > UINT32_MAX) {
			best = other;
			form = t->values;
		}
	}
	if (bytes != NULL)
		*bytes = best;
	return form;
}

/* How many of `kept` can be kept: never more than there are. */
static int64_t
bound_kept(const struct tensor *t, int64_t kept)
{
	int64_t most = value_is_code(t->form) ? value_count(t) :
	    tensor_nonzero(t);

	return kept < 0 ? 0 : kept < most ? kept : most;
}

static struct tensor
result_facts(const struct tensor *t, int64_t kept)
{
	struct tensor facts = tensor_facts(t);

	facts.form = sparse_choose(t, kept, NULL);
	if (form_table[facts.form].is_sparse)
		facts.code.act = 0;
	facts.stored = kept;
	facts.nonzero = kept;
	return facts;
}

static bool
check_source(const struct tensor *t, int64_t kept, struct pare_err *err)
{
	if (t->form == FORM_LOWRANK) {
		err_set(err, PARE_EUSER, "weights of a factorized matrix of "
		    "%lld x %lld cannot be pruned", (long long)t->rows,
		    (long long)t->cols);
		err_hint(err, "undo, prune first, then factorize");
		return false;
	}
	if (t->form == FORM_BLOCK) {
		char form[64];

		tensor_describe(t, form, sizeof(form));
		err_set(err, PARE_EUSER, "%s holds weights in blocks, and "
		    "single ones cannot be taken out", form);
		err_hint(err, "make them floats before: quantize all bits=16");
		return false;
	}
	if (kept > UINT32_MAX && !value_is_float(t->values)) {
		err_set(err, PARE_EUSER, "a matrix of %lld x %lld is too large "
		    "for a sparse form", (long long)t->rows,
		    (long long)t->cols);
		return false;
	}
	return true;
}

static struct tensor *
sparsify_real(const struct sparse_pick *pick, const int64_t *start,
    int64_t kept, struct task *task, struct pare_err *err)
{
	static const enum part_kind shared[] = { PART_SCALE, PART_MIN,
		PART_TABLE };
	const struct tensor *t = pick->source;
	struct tensor facts = result_facts(t, kept);
	struct part parts[PART_COUNT] = { 0 };

	if (!check_source(t, kept, err))
		return NULL;
	if (facts.form == t->form && kept == bound_kept(t, kept) &&
	    kept == tensor_nonzero(t))
		return tensor_ref(t);
	if (!form_table[facts.form].is_sparse)
		return sparse_scatter(pick, &facts, task, err);
	for (int i = 0; i < 3; i++)
		parts[shared[i]] = part_ref(&t->part[shared[i]]);
	return sparse_build(pick, &facts, start, parts, task, err);
}

struct tensor *
tensor_sparsify(const struct tensor *t, const uint8_t *mask, int64_t kept,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct sparse_pick pick = { .source = t, .mask = mask,
		.drop_zeros = value_is_float(t->form) };
	struct tensor *out = NULL;
	int64_t *start;

	if (!check_source(t, 0, err))
		return NULL;
	if (form_table[t->form].is_pair) {
		struct tensor *f = tensor_to_f32(t, err);

		if (f != NULL)
			out = tensor_sparsify(f, mask, kept, ctx, err);
		tensor_unref(f);
		return out;
	}
	if (t->ghost || (ctx->estimate && mask == NULL)) {
		struct tensor facts = result_facts(t, bound_kept(t, kept));

		if (!check_source(t, facts.stored, err))
			return NULL;
		facts.ghost = true;
		return tensor_make(&facts, NULL);
	}
	start = mem_big((size_t)t->rows + 1, sizeof(*start), err);
	if (start == NULL)
		return NULL;
	kept = sparse_count(&pick, t->rows, start, ctx->task, err);
	if (kept >= 0 && ctx->estimate) {
		struct tensor facts = result_facts(t, kept);

		facts.ghost = true;
		out = tensor_make(&facts, NULL);
	} else if (kept >= 0) {
		out = sparsify_real(&pick, start, kept, ctx->task, err);
	}
	free(start);
	return out;
}
