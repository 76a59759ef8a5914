/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists in memory, and behind them the store. A result in a file is a struct of
 * numbers, which is checked field by field, and the logits; predictions are what
 * the logits say, and true classes are those of the samples.
 */
#include "session/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/store.h"
#include "tensor/kernel.h"

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
	struct store *store;
	bool alone;		/* without earlier sittings */
};

struct memory *
memory_new(void)
{
	struct memory *m = xcalloc(1, sizeof(*m));

	m->store = store_new();
	return m;
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
	m->evaluation = NULL;
	m->latency = NULL;
	m->nevaluations = m->nlatencies = 0;
}

void
memory_free(struct memory *m)
{
	if (m == NULL)
		return;
	memory_clear(m);
	store_free(m->store);
	free(m);
}

void
memory_recall_earlier(struct memory *m, bool on)
{
	m->alone = !on;
}

/* ---- evaluations ---- */

/* What is in a file before the logits. */
struct evaluation_file {
	int64_t n, tokens, total, labelled, labels, from;
	double value, low, high, loss, seconds;
	double all[METRIC_COUNT];
};

/* To be changed when results of the same inputs change. */
enum { RESULTS = 1 };

static uint64_t
evaluation_key(uint64_t model, uint64_t data, enum metric metric)
{
	uint64_t v[] = { RESULTS, model, data, (uint64_t)metric,
		(uint64_t)cpu_level() };

	return hash_bytes(v, sizeof(v), hash_text(kernel_blas_name(), 11));
}

static void
store_evaluation(struct memory *m, const struct evaluation *v)
{
	struct evaluation_file f = { .n = v->n, .tokens = v->tokens,
		.total = v->total, .labelled = v->labelled,
		.labels = v->labels, .from = v->from, .value = v->value,
		.low = v->low, .high = v->high, .loss = v->loss,
		.seconds = v->seconds };
	size_t logits = (size_t)v->total * (size_t)v->labels *
	    sizeof(*v->logits);
	char *data;

	if (v->logits == NULL || logits > STORE_ONE - sizeof(f))
		return;
	memcpy(f.all, v->all, sizeof(f.all));
	data = xmalloc(sizeof(f) + logits);
	memcpy(data, &f, sizeof(f));
	memcpy(data + sizeof(f), v->logits, logits);
	store_put(m->store, evaluation_key(v->model_hash, v->data_hash,
	    v->metric), data, sizeof(f) + logits);
	free(data);
}

static bool
are_fine(const float *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(v[i]))
			return false;
	return true;
}

/* Whether the numbers are possible for these samples, and the file as long as
 * they say. */
static bool
check_file(const struct evaluation_file *f, size_t n, const struct dataset *d)
{
	const double shown[] = { f->value, f->low, f->high, f->loss };

	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		if (isinf(shown[i]))
			return false;
	for (int i = 0; i < METRIC_COUNT; i++)
		if (isinf(f->all[i]))
			return false;
	return f->total == d->n && f->n >= 1 && f->n == f->labelled &&
	    f->labelled <= f->total && f->tokens >= 0 && f->labels >= 1 &&
	    f->labels <= STORE_ONE && f->from >= 0 &&
	    f->from <= MODEL_LAYERS_MAX && isfinite(f->seconds) &&
	    f->seconds >= 0 && (n - sizeof(*f)) % sizeof(float) == 0 &&
	    (n - sizeof(*f)) / sizeof(float) / (size_t)f->labels ==
	    (size_t)f->total && (n - sizeof(*f)) / sizeof(float) %
	    (size_t)f->labels == 0;
}

static void
fill_evaluation(struct evaluation *v, const struct evaluation_file *f,
    const struct dataset *d, const void *logits)
{
	size_t n = (size_t)f->total, labels = (size_t)f->labels;

	v->n = f->n;
	v->value = f->value;
	v->low = f->low;
	v->high = f->high;
	memcpy(v->all, f->all, sizeof(v->all));
	v->loss = f->loss;
	v->seconds = f->seconds;
	v->tokens = f->tokens;
	v->total = f->total;
	v->labelled = f->labelled;
	v->from = (int)f->from;
	v->labels = (int)f->labels;
	v->logits = xmalloc(n * labels * sizeof(*v->logits) + 1);
	memcpy(v->logits, logits, n * labels * sizeof(*v->logits));
	v->predicted = xmalloc(n * sizeof(*v->predicted));
	v->gold = xmalloc(n * sizeof(*v->gold));
	evaluation_labels(v, d);
}

/* Whether as many samples have a label as the file says. */
static bool
has_its_labels(const struct evaluation *v)
{
	int64_t n = 0;

	for (int64_t i = 0; i < v->total; i++)
		n += v->gold[i] >= 0;
	return n == v->labelled;
}

static struct evaluation *add_evaluation(struct memory *m);

static const struct evaluation *
recall_evaluation(struct memory *m, uint64_t model, const struct dataset *d,
    enum metric metric)
{
	struct evaluation_file f;
	struct evaluation v = { .metric = metric, .model_hash = model,
		.data_hash = d->hash };
	struct evaluation *kept = NULL;
	size_t n;
	char *data;

	data = m->alone ? NULL : store_get(m->store, evaluation_key(model,
	    d->hash, metric), &n);
	if (data == NULL)
		return NULL;
	if (n >= sizeof(f)) {
		memcpy(&f, data, sizeof(f));
		if (check_file(&f, n, d) && are_fine((float *)(data +
		    sizeof(f)), (n - sizeof(f)) / sizeof(float))) {
			fill_evaluation(&v, &f, d, data + sizeof(f));
			if (has_its_labels(&v)) {
				kept = add_evaluation(m);
				*kept = v;
			} else {
				evaluation_free(&v);
			}
		}
	}
	free(data);
	return kept;
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
memory_evaluation(struct memory *m, uint64_t model, const struct dataset *d,
    enum metric metric)
{
	const struct evaluation *v = find_evaluation(m, model, d->hash,
	    metric);

	return v != NULL ? v : recall_evaluation(m, model, d, metric);
}

static struct evaluation *
add_evaluation(struct memory *m)
{
	m->evaluation = xrealloc(m->evaluation, (size_t)(m->nevaluations + 1) *
	    sizeof(*m->evaluation));
	return m->evaluation[m->nevaluations++] =
	    xmalloc(sizeof(**m->evaluation));
}

const struct evaluation *
memory_keep_evaluation(struct memory *m, struct evaluation *v)
{
	struct evaluation *old = find_evaluation(m, v->model_hash,
	    v->data_hash, v->metric);

	if (old != NULL)
		evaluation_free(old);
	else
		old = add_evaluation(m);
	*old = *v;
	memset(v, 0, sizeof(*v));
	store_evaluation(m, old);
	return old;
}

/* ---- latencies ---- */

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
