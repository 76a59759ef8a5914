/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct kept_latency {
	struct latency_key key;
	struct latency value;
	struct latency_parts *parts[2];	/* of the model and the original */
};

static void
free_latency(struct kept_latency *k)
{
	free(k->parts[0]);
	free(k->parts[1]);
	free(k);
}

/* Kept values are boxed one by one, so that pointers handed out stay valid. */
struct memory {
	int nevaluations, nlatencies;
	struct evaluation **evaluation;
	struct kept_latency **latency;
};

struct memory *
memory_new(void)
{
	return xcalloc(1, sizeof(struct memory));
}

void
memory_clear(struct memory *m)
{
	for (int i = 0; i < m->nevaluations; i++) {
		evaluation_free(m->evaluation[i]);
		free(m->evaluation[i]);
	}
	for (int i = 0; i < m->nlatencies; i++)
		free_latency(m->latency[i]);
	free(m->evaluation);
	free(m->latency);
	memset(m, 0, sizeof(*m));
}

void
memory_free(struct memory *m)
{
	if (m == NULL)
		return;
	memory_clear(m);
	free(m);
}

static struct evaluation *
find_evaluation(const struct memory *m, uint64_t model, uint64_t data,
    enum metric metric)
{
	for (int i = m->nevaluations - 1; i >= 0; i--) {
		struct evaluation *v = m->evaluation[i];

		if (v->model_hash == model && v->data_hash == data &&
		    v->metric == metric)
			return v;
	}
	return NULL;
}

const struct evaluation *
memory_evaluation(const struct memory *m, uint64_t model, uint64_t data,
    enum metric metric)
{
	return find_evaluation(m, model, data, metric);
}

const struct evaluation *
memory_keep_evaluation(struct memory *m, struct evaluation *v)
{
	struct evaluation *old = find_evaluation(m, v->model_hash,
	    v->data_hash, v->metric);

	if (old != NULL) {
		evaluation_free(old);
	} else {
		m->evaluation = xrealloc(m->evaluation,
		    (size_t)(m->nevaluations + 1) * sizeof(*m->evaluation));
		old = xmalloc(sizeof(*old));
		m->evaluation[m->nevaluations++] = old;
	}
	*old = *v;
	memset(v, 0, sizeof(*v));
	return old;
}

static bool
same_key(const struct latency_key *a, const struct latency_key *b)
{
	return a->model == b->model && a->original == b->original &&
	    a->batch == b->batch && a->seq == b->seq &&
	    a->threads == b->threads;
}

static struct kept_latency *
find_latency(const struct memory *m, const struct latency_key *k)
{
	for (int i = 0; i < m->nlatencies; i++)
		if (same_key(&m->latency[i]->key, k))
			return m->latency[i];
	return NULL;
}

static struct kept_latency *
last_latency(const struct memory *m, uint64_t model)
{
	for (int i = m->nlatencies - 1; i >= 0; i--)
		if (m->latency[i]->key.model == model)
			return m->latency[i];
	return NULL;
}

const struct latency *
memory_latency(const struct memory *m, const struct latency_key *k)
{
	const struct kept_latency *kept = find_latency(m, k);

	return kept != NULL ? &kept->value : NULL;
}

const struct latency *
memory_latency_of(const struct memory *m, uint64_t model)
{
	const struct kept_latency *kept = last_latency(m, model);

	return kept != NULL ? &kept->value : NULL;
}

const struct latency_parts *
memory_parts(const struct memory *m, const struct latency_key *k,
    bool of_original)
{
	const struct kept_latency *kept = find_latency(m, k);

	return kept != NULL ? kept->parts[of_original] : NULL;
}

const struct latency_parts *
memory_parts_of(const struct memory *m, uint64_t model)
{
	const struct kept_latency *kept = last_latency(m, model);

	return kept != NULL ? kept->parts[0] : NULL;
}

void
memory_keep_parts(struct memory *m, const struct latency_key *k,
    struct latency_parts *parts[2])
{
	struct kept_latency *kept = find_latency(m, k);

	for (int i = 0; i < 2; i++) {
		if (kept != NULL) {
			free(kept->parts[i]);
			kept->parts[i] = parts[i];
		} else {
			free(parts[i]);
		}
		parts[i] = NULL;
	}
}

/* A new value goes to the end, where memory_latency_of() looks first. */
const struct latency *
memory_keep_latency(struct memory *m, const struct latency_key *k,
    const struct latency *v)
{
	struct kept_latency *box = NULL;
	int n = 0;

	for (int i = 0; i < m->nlatencies; i++) {
		if (same_key(&m->latency[i]->key, k))
			box = m->latency[i];
		else
			m->latency[n++] = m->latency[i];
	}
	if (box == NULL) {
		m->latency = xrealloc(m->latency,
		    (size_t)(n + 1) * sizeof(struct kept_latency *));
		box = xcalloc(1, sizeof(*box));
	}
	box->key = *k;
	box->value = *v;
	m->latency[n] = box;
	m->nlatencies = n + 1;
	return &box->value;
}
