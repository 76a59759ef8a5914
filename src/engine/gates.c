/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The trainer's passes with nothing to train: params without gradients, and a
 * watch that takes the inner product of value and gradient at each gate as it
 * comes by, sequence by sequence.
 */
#include "engine/gates.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/backward.h"

struct gates {
	struct model *m;
	struct gates_layout at;
	struct learner_weights weights;	/* of a twin empty: it reads those of
					 * the first */
	struct learner learner;
	/* Of the run. */
	struct learner_watch watch;
	const struct train_data *d;
	const int64_t *sample;
	int n;
	double *out;
};

const struct gates_layout *
gates_layout(const struct gates *g)
{
	return &g->at;
}

void
gates_layout_make(struct gates_layout *a, const struct model *m)
{
	size_t n = (size_t)m->nlayers + 1;

	a->n = 0;
	a->heads = xcalloc(n, sizeof(*a->heads));
	a->neurons = xcalloc(n, sizeof(*a->neurons));
	a->attention = xcalloc(n, sizeof(*a->attention));
	a->ffn = xcalloc(n, sizeof(*a->ffn));
	a->layer = xcalloc(n, sizeof(*a->layer));
	a->stream = xcalloc(n, sizeof(*a->stream));
	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];

		a->heads[l] = a->n;
		a->neurons[l] = a->heads[l] + y->heads;
		a->attention[l] = a->neurons[l] + y->ffn;
		a->ffn[l] = a->attention[l] + 1;
		a->layer[l] = a->ffn[l] + 1;
		a->stream[l] = a->layer[l] + 1;
		a->n = a->stream[l] + 1;
	}
}

void
gates_layout_free(struct gates_layout *a)
{
	free(a->heads);
	free(a->neurons);
	free(a->attention);
	free(a->ffn);
	free(a->layer);
	free(a->stream);
	memset(a, 0, sizeof(*a));
}

void
gates_means_free(struct gates_means *g)
{
	gates_layout_free(&g->at);
	free(g->size);
	free(g->square);
	free(g->each);
	memset(g, 0, sizeof(*g));
}

struct gates *
gates_new(const struct model *m, struct pare_err *err)
{
	struct gates *g;

	if (learner_supports(m, err) != PARE_OK)
		return NULL;
	g = xcalloc(1, sizeof(*g));
	g->m = model_ref(m);
	gates_layout_make(&g->at, m);
	if (learner_weights_open(&g->weights, m, err) == PARE_OK) {
		g->learner = (struct learner){ .m = g->m,
			.link = g->weights.link, .dropout_step = -1 };
		return g;
	}
	gates_free(g);
	return NULL;
}

struct gates *
gates_twin(const struct gates *g)
{
	struct gates *twin = xcalloc(1, sizeof(*twin));

	twin->m = model_ref(g->m);
	gates_layout_make(&twin->at, g->m);
	twin->learner = (struct learner){ .m = twin->m,
		.link = g->weights.link, .dropout_step = -1 };
	return twin;
}

void
gates_free(struct gates *g)
{
	if (g == NULL)
		return;
	learner_weights_free(&g->weights);
	free(g->learner.memory.base);
	gates_layout_free(&g->at);
	model_unref(g->m);
	free(g);
}

/* ---- a run ---- */

/* Where the gates of a place begin, and how many there are. */
static int64_t
find_gates(const struct gates *g, int layer, enum learner_place place,
    int64_t *n)
{
	const struct layer *y = &g->m->layer[layer];

	*n = 1;
	switch (place) {
	case LEARNER_CONTEXT:
		*n = y->heads;
		return g->at.heads[layer];
	case LEARNER_NEURONS:
		*n = y->ffn;
		return g->at.neurons[layer];
	case LEARNER_ATTENTION:
		return g->at.attention[layer];
	case LEARNER_FFN:
		return g->at.ffn[layer];
	default:
		return g->at.layer[layer];
	}
}

/* Adds one token's products to n gates of cols / n values each. */
static void
add_token(double *out, int64_t n, const float *x, const float *minus,
    const float *dx, int64_t cols)
{
	int64_t each = cols / n;

	if (each == 1 && minus == NULL) {
		for (int64_t c = 0; c < cols; c++)
			out[c] += (double)x[c] * dx[c];
		return;
	}
	for (int64_t k = 0; k < n; k++)
		for (int64_t c = k * each; c < (k + 1) * each; c++)
			out[k] += ((double)x[c] - (minus != NULL ? minus[c] :
			    0.0f)) * dx[c];
}

/* What makes a sample's part of the batch's mean loss the sample's own: of a
 * language model both are means over tokens. */
static double
own_share(const struct gates *g, int64_t len)
{
	int64_t all = 0;

	if (g->m->hp.head != HEAD_LM)
		return g->n;
	for (int i = 0; i < g->n; i++)
		all += g->d->len[g->sample[i]] - 1;
	return len > 1 ? (double)all / (double)(len - 1) : 0;
}

/* Into n gates from number `first` on, of each sample. */
static void
add_gates(const struct gates *g, int64_t first, int64_t n, const float *x,
    const float *minus, const float *dx, int64_t cols)
{
	int64_t at = 0;

	for (int i = 0; i < g->n; i++) {
		double *out = g->out + i * g->at.n + first;
		int64_t len = g->d->len[g->sample[i]];
		double own = own_share(g, len);

		for (int64_t r = at; r < at + len; r++)
			add_token(out, n, x + r * cols, minus != NULL ? minus +
			    r * cols : NULL, dx + r * cols, cols);
		for (int64_t k = 0; k < n; k++)
			out[k] *= own;
		at += len;
	}
}

static void
see(void *ctx, int layer, enum learner_place place, const float *x,
    const float *minus, const float *dx, int64_t cols)
{
	struct gates *g = ctx;
	int64_t n, first = find_gates(g, layer, place, &n);

	add_gates(g, first, n, x, minus, dx, cols);
	if (place == LEARNER_LAYER)
		add_gates(g, g->at.stream[layer], 1, x, NULL, dx, cols);
}

enum pare_rc
gates_run(struct gates *g, const struct train_data *d, const int64_t *sample,
    int n, bool relevance, double *out, double *loss, struct task *task,
    struct pare_err *err)
{
	g->watch = (struct learner_watch){ .see = see, .ctx = g,
		.relevance = relevance };
	g->learner.watch = &g->watch;
	g->learner.task = task;
	g->d = d;
	g->sample = sample;
	g->n = n;
	g->out = out;
	memset(out, 0, (size_t)n * (size_t)g->at.n * sizeof(*out));
	return learner_run(&g->learner, d, sample, n, loss, err);
}
