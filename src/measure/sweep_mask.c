/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/sweep_private.h"

void
masking_open(struct masking *k, const struct model *m)
{
	size_t n = (size_t)m->nlayers;

	memset(k, 0, sizeof(*k));
	k->nlayers = m->nlayers;
	k->heads = xcalloc(n, sizeof(*k->heads));
	k->neurons = xcalloc(n, sizeof(*k->neurons));
	k->attention = xcalloc(n, 1);
	k->ffn = xcalloc(n, 1);
	k->layer = xcalloc(n, 1);
}

void
masking_free(struct masking *k)
{
	for (int l = 0; l < k->nlayers; l++)
		free(k->neurons[l]);
	free(k->neurons);
	free(k->heads);
	free(k->attention);
	free(k->ffn);
	free(k->layer);
	memset(k, 0, sizeof(*k));
}

static void
add_heads(struct masking *k, int layer, const struct head_set *drop,
    const struct layer *y)
{
	for (int h = 0; h < y->heads_original; h++)
		if (head_set_has(drop, h))
			head_set_put(&k->heads[layer], h, true);
	k->mask.drop_heads = k->heads;
}

static void
add_neurons(struct masking *k, const struct sweep_item *x,
    const struct layer *y)
{
	uint8_t **drop = &k->neurons[x->layer];

	if (*drop == NULL)
		*drop = xcalloc((size_t)y->ffn + 1, 1);
	memset(*drop + x->index, 1, (size_t)(x->end - x->index));
	k->mask.drop_neurons = (const uint8_t *const *)k->neurons;
}

void
masking_add(struct masking *k, const struct model *m, const struct sweep *s,
    const struct sweep_item *x)
{
	const struct layer *y = &m->layer[x->layer];
	struct head_set rest;

	switch (s->what) {
	case SWEEP_HEADS:
		add_heads(k, x->layer, &x->heads, y);
		return;
	case SWEEP_KEPT:
		rest = y->head;
		for (int h = 0; h < y->heads_original; h++)
			if (head_set_has(&x->heads, h))
				head_set_put(&rest, h, false);
		add_heads(k, x->layer, &rest, y);
		return;
	case SWEEP_NEURONS:
		add_neurons(k, x, y);
		return;
	case SWEEP_SUBLAYERS:
		if (x->index == 0) {
			k->attention[x->layer] = 1;
			k->mask.drop_attention = k->attention;
		} else {
			k->ffn[x->layer] = 1;
			k->mask.drop_ffn = k->ffn;
		}
		return;
	default:
		k->layer[x->layer] = 1;
		k->mask.drop_layer = k->layer;
	}
}

void
masking_fill(struct masking *k, const struct model *m, const struct sweep *s,
    const struct sweep_item *x)
{
	for (int64_t i = 0; i < s->n; i++) {
		const struct sweep_item *y = &s->item[i];

		if (s->mode == SWEEP_OTHERS ? y != x : y->gone)
			masking_add(k, m, s, y);
	}
	if (x != NULL && s->mode != SWEEP_OTHERS)
		masking_add(k, m, s, x);
}
