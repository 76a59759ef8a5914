/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fresh weights: matrices and embeddings from a normal distribution of
 * initializer_range, biases zero, norms one. Each row draws from a stream of
 * its own, so the result does not depend on the number of threads.
 */
#include <math.h>

#include "base/rng.h"
#include "file/file.h"
#include "model/arch.h"
#include "model/edit.h"

static bool
is_norm_weight(enum slot s)
{
	return s == SLOT_ANORM_W || s == SLOT_FNORM_W || s == SLOT_ENORM_W ||
	    s == SLOT_FINAL_W || s == SLOT_HNORM_W || s == SLOT_QNORM_W ||
	    s == SLOT_KNORM_W || s == SLOT_APOST_W || s == SLOT_FPOST_W;
}

/* Box and Muller, both values of each pair. */
static void
draw_row(float *out, int64_t n, double deviation, uint64_t seed)
{
	struct rng rng;

	rng_seed(&rng, seed);
	for (int64_t i = 0; i < n; i += 2) {
		double u = 1.0 - rng_uniform(&rng);
		double angle = 6.283185307179586 * rng_uniform(&rng);
		double radius = deviation * sqrt(-2.0 * log(u));

		out[i] = (float)(radius * cos(angle));
		if (i + 1 < n)
			out[i + 1] = (float)(radius * sin(angle));
	}
}

static void
draw(float *out, int64_t rows, int64_t cols, double deviation, uint64_t seed)
{
#pragma omp parallel for schedule(static) if (rows * cols > 1 << 16)
	for (int64_t r = 0; r < rows; r++)
		draw_row(out + r * cols, cols, deviation,
		    rng_derive(seed, (uint64_t)r));
}

static struct tensor *
fresh(const struct tensor *ghost, const struct model *m, enum slot s,
    uint64_t seed, struct pare_err *err)
{
	/* Gemma's norms hold what is added to one. */
	const float one = (m->arch->flags & ARCH_NORM_ONE) != 0 ? 0.0f : 1.0f;
	float *data;
	struct tensor *t = tensor_new_f32(ghost->ndim, ghost->rows,
	    ghost->cols, &data, err);
	int64_t n = ghost->rows * ghost->cols;

	if (t == NULL)
		return NULL;
	if (slot_table[s].matrix)
		draw(data, ghost->rows, ghost->cols, m->hp.init_range, seed);
	else
		for (int64_t i = 0; i < n; i++)
			data[i] = is_norm_weight(s) ? one : 0.0f;
	return t;
}

enum pare_rc
file_random_model(const struct model *ghost, uint64_t seed,
    struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(ghost, EDIT_REAL, seed, NULL);
	struct slot_ref r = SLOT_REF_START;
	uint64_t stream = 0;

	while (model_next_slot(ghost, &r)) {
		struct slot_ref owner = model_owner(ghost, r);
		struct tensor *t;

		stream++;
		if (owner.layer != r.layer || owner.slot != r.slot) {
			edit_set(e, r, tensor_ref(edit_get(e, owner)));
			continue;
		}
		t = fresh(model_slot(ghost, r), ghost, r.slot,
		    rng_derive(seed, stream), err);
		if (t == NULL) {
			edit_abort(e);
			return err != NULL ? err->rc : PARE_ENOMEM;
		}
		edit_set(e, r, t);
	}
	return edit_commit(e, out, err);
}
