/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A distribution is kept as steps below its likeliest token, where the step is
 * such that its least likely one is 65,535 steps away, at most 32 nats. Read
 * back it is normalised again, so that rounding makes no mass of its own and the
 * divergence of a model from itself is next to nothing (of the order of the
 * rounding squared).
 */
#include "measure/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/elementwise.h"

enum { KEEP_LEAST = 16, STEPS = UINT16_MAX };

/* Below the likeliest; e^-32 is 1e-14. */
static const double deepest = 32;

static int64_t
choose_keep(int64_t n, int64_t vocab)
{
	const int64_t one = (int64_t)(2 * sizeof(float) + sizeof(int32_t));
	int64_t each = DIVERGENCE_BYTES / (n > 0 ? n : 1) - one;

	if (each >= 2 * vocab)
		return vocab;
	return each / (int64_t)(sizeof(uint16_t) + sizeof(int32_t));
}

struct reference *
reference_new(int64_t n, int64_t vocab)
{
	struct reference *r = xcalloc(1, sizeof(*r));
	size_t rows = (size_t)n, values;

	r->n = n;
	r->vocab = vocab;
	r->keep = choose_keep(n, vocab);
	if (r->keep < KEEP_LEAST && r->keep < vocab) {
		free(r);
		return NULL;
	}
	values = rows * (size_t)r->keep;
	r->step = mem_big(rows, sizeof(*r->step), NULL);
	r->rest = mem_big(rows, sizeof(*r->rest), NULL);
	r->best = mem_big(rows, sizeof(*r->best), NULL);
	r->value = mem_big(values, sizeof(*r->value), NULL);
	if (r->keep < vocab)
		r->id = mem_big(values, sizeof(*r->id), NULL);
	r->bytes = (int64_t)(rows * (2 * sizeof(float) + sizeof(int32_t)) +
	    values * (sizeof(*r->value) + (r->keep < vocab ?
	    sizeof(*r->id) : 0)));
	if (r->step == NULL || r->rest == NULL || r->best == NULL ||
	    r->value == NULL || (r->keep < vocab && r->id == NULL)) {
		reference_free(r);
		return NULL;
	}
	return r;
}

void
reference_free(struct reference *r)
{
	if (r == NULL)
		return;
	free(r->step);
	free(r->rest);
	free(r->best);
	free(r->value);
	free(r->id);
	free(r);
}

static int32_t
best_of(const float *v, int64_t n)
{
	int32_t best = 0;

	for (int64_t i = 1; i < n; i++)
		if (v[i] > v[best])
			best = (int32_t)i;
	return best;
}

static void
put_steps(uint16_t *out, int64_t i, double below, double step)
{
	double k = step > 0 ? below / step + 0.5 : 0;

	out[i] = k >= STEPS ? STEPS : (uint16_t)k;
}

/* All of the vocabulary. */
static void
put_all(struct reference *r, int64_t t, const float *logits, double top)
{
	uint16_t *out = r->value + t * r->keep;
	double depth = 0;

	for (int64_t i = 0; i < r->vocab; i++)
		depth = top - logits[i] > depth ? top - logits[i] : depth;
	depth = depth < deepest ? depth : deepest;
	r->step[t] = (float)(depth / STEPS);
	for (int64_t i = 0; i < r->vocab; i++)
		put_steps(out, i, top - logits[i], (double)r->step[t]);
}

/* Down the heap of ids whose root has the lowest logit. */
static void
sift(int32_t *heap, int64_t n, int64_t i, const float *v)
{
	int32_t id = heap[i];

	for (int64_t k; (k = 2 * i + 1) < n; i = k) {
		if (k + 1 < n && v[heap[k + 1]] < v[heap[k]])
			k++;
		if (v[heap[k]] >= v[id])
			break;
		heap[i] = heap[k];
	}
	heap[i] = id;
}

/* The likeliest of them. */
static void
put_some(struct reference *r, int64_t t, const float *logits, double top,
    double lse)
{
	uint16_t *out = r->value + t * r->keep;
	int32_t *id = r->id + t * r->keep;
	double depth, mass = 0;

	for (int64_t i = 0; i < r->keep; i++)
		id[i] = (int32_t)i;
	for (int64_t i = r->keep / 2; i-- > 0;)
		sift(id, r->keep, i, logits);
	for (int64_t i = r->keep; i < r->vocab; i++)
		if (logits[i] > logits[id[0]]) {
			id[0] = (int32_t)i;
			sift(id, r->keep, 0, logits);
		}
	depth = top - logits[id[0]];
	depth = depth < deepest ? depth : deepest;
	r->step[t] = (float)(depth / STEPS);
	for (int64_t i = 0; i < r->keep; i++) {
		put_steps(out, i, top - logits[id[i]], (double)r->step[t]);
		mass += exp(logits[id[i]] - lse);
	}
	r->rest[t] = (float)(1 - mass);
}

void
reference_put(struct reference *r, int64_t t, const float *logits, double lse)
{
	double top;

	r->best[t] = best_of(logits, r->vocab);
	top = logits[r->best[t]];
	r->rest[t] = 0;
	if (r->id == NULL)
		put_all(r, t, logits, top);
	else
		put_some(r, t, logits, top, lse);
}

double
reference_divergence(const struct reference *r, int64_t t,
    const float *logits, double lse, float *work)
{
	const uint16_t *value = r->value + t * r->keep;
	const int32_t *id = r->id == NULL ? NULL : r->id + t * r->keep;
	double kept = 1 - (double)r->rest[t], sum = 0, mass = 0, norm;
	float *p = work, *below = work + r->vocab;

	for (int64_t i = 0; i < r->keep; i++)
		p[i] = below[i] = -(float)value[i] * r->step[t];
	elem_softmax(p, r->keep);
	/* below - norm is the logarithm of p; the likeliest is 0 below. */
	norm = -log((double)p[best_of(p, r->keep)]);
	for (int64_t i = 0; i < r->keep; i++) {
		double q = logits[id != NULL ? id[i] : i] - lse;

		sum += (double)p[i] * (below[i] - norm - q);
		mass += id != NULL ? exp(q) : 0;
	}
	if (id == NULL)
		return sum > 0 ? sum : 0;
	sum = kept * (sum + log(kept > 0 ? kept : 1e-30));
	if (r->rest[t] > 0)
		sum += (double)r->rest[t] * (log((double)r->rest[t]) -
		    log(1 - mass > 1e-30 ? 1 - mass : 1e-30));
	return sum > 0 ? sum : 0;
}
