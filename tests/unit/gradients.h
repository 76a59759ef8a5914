/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gradients: those of the trainer against central differences of its loss, slot
 * by slot, on a few made-up samples.
 */
#ifndef PARE_TESTS_GRADIENTS_H
#define PARE_TESTS_GRADIENTS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "engine/train.h"

enum { SAMPLES = 5, PLACES = 10 };

struct set {
	struct train_data d;
	int32_t token[SAMPLES][16], type[SAMPLES][16];
	const int32_t *ids[SAMPLES], *types[SAMPLES];
	int len[SAMPLES], label[SAMPLES];
	float score[SAMPLES];
};

static void
set_fill(struct set *s, const struct model *m)
{
	static const int len[SAMPLES] = { 4, 1, 7, 11, 2 };
	struct rng r;

	rng_seed(&r, 99);
	for (int i = 0; i < SAMPLES; i++) {
		for (int j = 0; j < len[i]; j++) {
			s->token[i][j] = (int32_t)rng_below(&r,
			    (uint64_t)m->hp.vocab);
			s->type[i][j] = m->hp.types > 1 ? j % 2 : 0;
		}
		s->ids[i] = s->token[i];
		s->types[i] = s->type[i];
		s->len[i] = len[i];
		s->label[i] = m->hp.labels > 0 ?
		    (int)rng_below(&r, (uint64_t)m->hp.labels) : 0;
		s->score[i] = rng_normal(&r);
	}
	s->d = (struct train_data){ SAMPLES, s->ids, s->types, s->len,
	    s->label, s->score };
}

/* Order of the batch: not that of the data. */
static const int64_t order[SAMPLES] = { 3, 0, 4, 2, 1 };

static double
loss_now(struct trainer *t, const struct set *s)
{
	double loss;
	struct pare_err err;

	if (trainer_gradient(t, &s->d, order, SAMPLES, &loss, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return loss;
}

/* Places of a slot worth a look; embedding rows that the samples use. */
static void
pick(const struct model *m, const struct set *s, struct slot_ref ref, int i,
    struct rng *r, int64_t *row, int64_t *col)
{
	const struct tensor *t = model_slot(m, ref);
	int64_t rows = t->rows, cols = t->cols;

	*row = (int64_t)rng_below(r, (uint64_t)rows);
	if (ref.slot == SLOT_WORD)
		*row = s->token[i % SAMPLES][0];
	if (ref.slot == SLOT_POSITION)
		*row = m->hp.position_offset + i;
	if (t->form == FORM_LOWRANK) {
		cols = tensor_rank(t);
		if (i % 2 == 1) {
			*row = rows + (int64_t)rng_below(r, (uint64_t)cols);
			cols = t->cols;
		}
	}
	*col = (int64_t)rng_below(r, (uint64_t)cols);
}

/* How far the gradients a are from differences at the same places. */
static double
distance(struct trainer *t, const struct set *s, struct slot_ref ref,
    const int64_t *row, const int64_t *col, const double *a, float delta,
    double *size)
{
	double error = 0, high, low, n;

	*size = 0;
	for (int i = 0; i < PLACES; i++) {
		trainer_nudge(t, ref, row[i], col[i], delta);
		high = loss_now(t, s);
		trainer_nudge(t, ref, row[i], col[i], -2 * delta);
		low = loss_now(t, s);
		trainer_nudge(t, ref, row[i], col[i], delta);
		n = (high - low) / (2 * (double)delta);
		error += (n - a[i]) * (n - a[i]);
		*size += n * n;
	}
	*size = sqrt(*size);
	return sqrt(error);
}

/* A kink of ReLU inside the step spoils a difference: then a smaller step. */
static void
check_slot(struct trainer *t, const struct model *m, const struct set *s,
    struct slot_ref ref, struct rng *r, double *largest)
{
	int64_t row[PLACES], col[PLACES];
	double a[PLACES], error, size;
	char path[96];

	model_slot_path(ref, path, sizeof(path));
	loss_now(t, s);
	for (int i = 0; i < PLACES; i++) {
		pick(m, s, ref, i, r, &row[i], &col[i]);
		a[i] = trainer_gradient_at(t, ref, row[i], col[i]);
	}
	error = distance(t, s, ref, row, col, a, 4e-3f, &size);
	if (error > 1e-2 * size + 3e-4)
		error = distance(t, s, ref, row, col, a, 5e-4f, &size);
	*largest = size > *largest ? size : *largest;
	if (!(error <= 1e-2 * size + 3e-4))
		fail_msg("%s: differences %g, off by %g", path, size, error);
	if (size == 0 && ref.slot != SLOT_K_B)
		fail_msg("%s: nothing depends on it", path);
}

/* teacher: consumed; NULL for none. */
static void
check_taught(struct model *m, double smoothing, struct model *teacher)
{
	const struct train_options o = { .rate = 1e-3, .batch = 4,
	    .epochs = 1, .dropout = 0.3, .label_smoothing = smoothing,
	    .teacher = teacher, .share = 0.6, .temperature = 1.7 };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	struct slot_ref ref = SLOT_REF_START;
	struct set s;
	struct rng r;
	double largest = 0;

	if (!t)
		fail_msg("%s", err.msg);
	rng_seed(&r, 4);
	set_fill(&s, m);
	while (model_next_slot(m, &ref))
		if (ref.slot != SLOT_ROPE)	/* is given, not learnt */
			check_slot(t, m, &s, ref, &r, &largest);
	assert_true(largest > 0.05);
	trainer_free(t);
	model_unref(m);
	model_unref(teacher);
}

static inline void
check_model(struct model *m, double smoothing)
{
	check_taught(m, smoothing, NULL);
}

#endif
