/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The units of the knapsack and their options, from what was measured of parts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "session/plan_book.h"

static void
add_set(struct plan_offer *o, struct plan_unit *u, const double *use,
    double loss, const struct plan_set *set)
{
	struct plan_option *x;

	u->option = xrealloc(u->option, (size_t)(u->n + 1) *
	    sizeof(*u->option));
	o->set = xrealloc(o->set, (size_t)(o->nsets + 1) * sizeof(*o->set));
	x = &u->option[u->n++];
	memcpy(x->use, use, sizeof(x->use));
	x->loss = loss;
	x->id = o->nsets;
	o->set[o->nsets++] = *set;
}

static bool
offers(unsigned families, enum plan_shape_kind shape, short form)
{
	static const enum plan_family of[] = { [SHAPE_CUT] = PLAN_PRUNE,
		[SHAPE_GONE] = PLAN_PRUNE, [SHAPE_RANK] = PLAN_FACTORIZE,
		[SHAPE_RATIO] = PLAN_FACTORIZE, [SHAPE_SPARSE] = PLAN_SPARSE };

	return (shape == SHAPE_WHOLE || (families & 1u << of[shape]) != 0) &&
	    (form == 0 || (families & 1u << PLAN_QUANTIZE) != 0);
}

static void
unit_of_part(struct plan_offer *o, struct plan_unit *u,
    const struct plan_book *b, int i, unsigned uses, unsigned families)
{
	const struct plan_part *x = &b->part[i];

	*u = (struct plan_unit){ 0 };
	for (short k = 0; k < x->nshapes; k++)
		for (short f = 0; f < x->nforms; f++) {
			double loss = x->shape[k].kl + x->form_kl[f];
			struct plan_set set = { { (short)i, -1 }, { k, 0 },
			    { f, 0 }, -1 };

			if (offers(families, x->shape[k].kind, f) &&
			    isfinite(loss) &&
			    isfinite(x->use[k][f][PLAN_BYTES]))
				add_set(o, u, x->use[k][f], loss, &set);
		}
	u->n = plan_pareto(u->option, u->n, uses);
}

/* The attention and the FFN of one layer, and the layer gone. */
static void
join(struct plan_offer *o, const struct plan_book *b, int layer,
    struct plan_unit part[2], unsigned uses, unsigned families)
{
	struct plan_unit *u = &o->unit[o->n++];
	struct plan_set gone = { { -1, -1 }, { 0, 0 }, { 0, 0 },
	    (short)layer };

	*u = (struct plan_unit){ 0 };
	for (int i = 0; i < part[0].n; i++)
		for (int k = 0; k < part[1].n; k++) {
			const struct plan_option *x = &part[0].option[i];
			const struct plan_option *y = &part[1].option[k];
			struct plan_set set = o->set[x->id];
			double use[PLAN_USES];

			set.part[1] = o->set[y->id].part[0];
			set.shape[1] = o->set[y->id].shape[0];
			set.form[1] = o->set[y->id].form[0];
			for (int c = 0; c < PLAN_USES; c++)
				use[c] = x->use[c] + y->use[c];
			add_set(o, u, use, x->loss + y->loss, &set);
		}
	if (isfinite(b->gone_kl[layer]) &&
	    (families & 1u << PLAN_LAYERS) != 0)
		add_set(o, u, b->gone_use[layer], b->gone_kl[layer], &gone);
	u->n = plan_pareto(u->option, u->n, uses);
	free(part[0].option);
	free(part[1].option);
}

/* The part of this kind that a layer has for itself; -1. */
static int
own_part(const struct plan_book *b, enum plan_kind kind, int layer)
{
	for (int i = 0; i < b->nparts; i++) {
		int n = 0;

		if (b->part[i].kind != kind || b->part[i].layer != layer)
			continue;
		for (int l = 0; l < b->model->nlayers; l++)
			n += b->part[i].of[l];
		return n == 1 ? i : -1;
	}
	return -1;
}

void
plan_offer_make(struct plan_offer *o, const struct plan_book *b,
    unsigned uses, unsigned families)
{
	bool *done = xcalloc((size_t)b->nparts + 1, sizeof(*done));

	memset(o, 0, sizeof(*o));
	o->unit = xcalloc((size_t)b->nparts + 1, sizeof(*o->unit));
	for (int l = 0; l < b->model->nlayers; l++) {
		int a = own_part(b, PLAN_ATTENTION, l);
		int f = own_part(b, PLAN_FFN, l);
		struct plan_unit part[2];

		if (a < 0 || f < 0)
			continue;
		unit_of_part(o, &part[0], b, a, uses, families);
		unit_of_part(o, &part[1], b, f, uses, families);
		join(o, b, l, part, uses, families);
		done[a] = done[f] = true;
	}
	for (int i = 0; i < b->nparts; i++)
		if (!done[i])
			unit_of_part(o, &o->unit[o->n++], b, i, uses,
			    families);
	free(done);
}

void
plan_offer_free(struct plan_offer *o)
{
	for (int i = 0; i < o->n; i++)
		free(o->unit[i].option);
	free(o->unit);
	free(o->set);
	memset(o, 0, sizeof(*o));
}
