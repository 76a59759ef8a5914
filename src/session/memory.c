/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists in memory, and behind them the store. A result in a file is a struct of
 * numbers, which is checked field by field, and the logits; predictions are what
 * the logits say, and true classes are those of the samples.
 */
#include "session/memory.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

struct kept_decode {
	struct latency_key key;
	struct decode_latency value;
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
	struct kept_decode *decode;
	int ndecodes;
	struct store *store;
	bool alone;		/* without earlier sittings */
	uint64_t machine;	/* what latencies hang on; 0: not asked yet */
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
	free(m->decode);
	m->evaluation = NULL;
	m->latency = NULL;
	m->decode = NULL;
	m->nevaluations = m->nlatencies = m->ndecodes = 0;
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
	int64_t per_token;	/* predictions, and with a reference divergences
				 * and signs, stand behind the logits */
	struct divergence divergence;
};

/* To be changed when results of the same inputs change. */
enum { RESULTS = 3 };

static uint64_t
evaluation_key(uint64_t model, uint64_t data, enum metric metric)
{
	uint64_t v[] = { RESULTS, model, data, (uint64_t)metric,
		kernel_ways() };

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
	size_t n = (size_t)v->total, logits = n * (size_t)v->labels *
	    sizeof(*v->logits);
	struct str b = STR_INIT;

	if (v->logits == NULL || logits > STORE_ONE - sizeof(f) -
	    (v->per_token ? 9 * n : 0))
		return;
	f.per_token = v->per_token;
	f.divergence = v->divergence;
	memcpy(f.all, v->all, sizeof(f.all));
	str_addn(&b, (const char *)&f, sizeof(f));
	str_addn(&b, (const char *)v->logits, logits);
	if (v->per_token)
		str_addn(&b, (const char *)v->predicted,
		    n * sizeof(*v->predicted));
	if (v->kl != NULL) {
		str_addn(&b, (const char *)v->kl, n * sizeof(*v->kl));
		str_addn(&b, (const char *)v->same, n);
	}
	store_put(m->store, evaluation_key(v->model_hash, v->data_hash,
	    v->metric), b.s, b.n);
	str_free(&b);
}

static bool
are_fine(const float *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(v[i]))
			return false;
	return true;
}

/* Bytes of what stands behind the header; 0: too many. */
static size_t
body_bytes(const struct evaluation_file *f)
{
	size_t n = (size_t)f->total, each = (size_t)f->labels * sizeof(float);

	if (f->per_token != 0)
		each += sizeof(int32_t) + (f->divergence.reference != 0 ?
		    sizeof(float) + 1 : 0);
	return n > STORE_ONE / each ? 0 : n * each;
}

static bool
is_divergence(const struct divergence *d)
{
	const double v[] = { d->mean, d->low, d->high, d->median, d->p99,
		d->max, d->same, d->same_low, d->same_high };

	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++)
		if (isinf(v[i]))
			return false;
	return d->kept >= 0 && d->vocab >= d->kept;
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
	if ((f->per_token != 0) != (d->nscored > 0) || (f->per_token != 0 &&
	    (f->labels != 1 || !is_divergence(&f->divergence))))
		return false;
	return f->total == (d->nscored > 0 ? d->nscored : d->n) && f->n >= 1 && f->n == f->labelled &&
	    f->labelled <= f->total && f->tokens >= 0 && f->labels >= 1 &&
	    f->labels <= STORE_ONE && f->from >= 0 &&
	    f->from <= MODEL_LAYERS_MAX && isfinite(f->seconds) &&
	    f->seconds >= 0 && body_bytes(f) != 0 &&
	    n - sizeof(*f) == body_bytes(f);
}

/* What is read of tokens; ids are checked later. */
static void
fill_tokens(struct evaluation *v, const char *at)
{
	size_t n = (size_t)v->total;

	memcpy(v->predicted, at, n * sizeof(*v->predicted));
	at += n * sizeof(*v->predicted);
	if (v->divergence.reference == 0)
		return;
	v->kl = xmalloc(n * sizeof(*v->kl));
	memcpy(v->kl, at, n * sizeof(*v->kl));
	v->same = xmalloc(n);
	memcpy(v->same, at + n * sizeof(*v->kl), n);
	for (size_t i = 0; i < n; i++)
		v->same[i] = v->same[i] != 0;
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
	v->per_token = f->per_token != 0;
	v->divergence = f->divergence;
	if (v->per_token)
		fill_tokens(v, (const char *)logits +
		    n * sizeof(*v->logits));
	evaluation_labels(v, d);
}

static bool
has_fine_tokens(const struct evaluation *v)
{
	for (int64_t t = 0; t < v->total; t++)
		if (v->predicted[t] < 0 || (v->kl != NULL &&
		    !(v->kl[t] >= 0 && isfinite(v->kl[t]))))
			return false;
	return true;
}

/* Whether as many samples have a label as the file says. */
static bool
has_its_labels(const struct evaluation *v)
{
	int64_t n = 0;

	if (v->per_token)
		return v->gold != NULL && v->window != NULL &&
		    v->bytes != NULL && has_fine_tokens(v);
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
		    sizeof(f)), (size_t)(f.total * f.labels))) {
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

/* What is in a file before the parts. Bools are numbers here. */
struct latency_file {
	int64_t batch, seq, runs, warm, threads, has_ratio, pinned;
	double ms[8];		/* latency_numbers() */
	double ratio, ratio_low, ratio_high, waited;
};

/* Of each of two: the model, and the original it was compared with. */
struct parts_file {
	int64_t layers;		/* -1: there are none */
	int64_t passes;
	double whole, embed, head;
};

static void
latency_numbers(struct latency *l, double *ms[8])
{
	double *const all[8] = { &l->p50_ms, &l->p95_ms, &l->p25_ms,
		&l->p75_ms, &l->original_p50_ms, &l->original_p25_ms,
		&l->original_p75_ms, NULL };

	memcpy(ms, all, sizeof(all));
}

/* "model name" of the first processor, or whatever the machine calls itself. */
static uint64_t
machine_hash(struct memory *m)
{
	uint64_t h = hash_text(kernel_blas_name(), kernel_ways());
	FILE *f = m->machine == 0 ? fopen("/proc/cpuinfo", "re") : NULL;
	char line[512];

	if (m->machine == 0)
		m->machine = 1;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (str_has_prefix(line, "model name") ||
		    str_has_prefix(line, "CPU part")) {
			m->machine = hash_text(line, 1);
			break;
		}
	if (f != NULL)
		fclose(f);
	return hash_mix(h, hash_mix(m->machine,
	    (uint64_t)sysconf(_SC_NPROCESSORS_ONLN)));
}

static uint64_t
latency_hash(struct memory *m, const struct latency_key *k)
{
	uint64_t v[] = { RESULTS, k->model, k->original, (uint64_t)k->batch,
		(uint64_t)k->seq, (uint64_t)k->threads, machine_hash(m) };

	return hash_bytes(v, sizeof(v), 12);
}

static void
add_parts(struct str *b, const struct latency_parts *p)
{
	struct parts_file f = { .layers = -1 };

	if (p != NULL)
		f = (struct parts_file){ p->layers, p->passes, p->whole_ms,
			p->embed_ms, p->head_ms };
	str_addn(b, (const char *)&f, sizeof(f));
	if (p != NULL)
		str_addn(b, (const char *)p->layer_ms, (size_t)p->layers *
		    sizeof(*p->layer_ms));
}

static void
store_latency(struct memory *m, const struct kept_latency *kept)
{
	struct latency l = kept->value;
	struct latency_file f = { .batch = l.batch, .seq = l.seq,
		.runs = l.runs, .warm = l.warm, .threads = l.threads,
		.has_ratio = l.has_ratio, .pinned = l.pinned,
		.ratio = l.ratio, .ratio_low = l.ratio_low,
		.ratio_high = l.ratio_high, .waited = l.waited };
	struct str b = STR_INIT;
	double *ms[8];

	latency_numbers(&l, ms);
	for (int i = 0; ms[i] != NULL; i++)
		f.ms[i] = *ms[i];
	str_addn(&b, (const char *)&f, sizeof(f));
	for (int i = 0; i < 2; i++)
		add_parts(&b, kept->parts[i]);
	store_put(m->store, latency_hash(m, &kept->key), b.s, b.n);
	str_free(&b);
}

static bool
is_time(double v)
{
	return isfinite(v) && v >= 0;
}

static bool
take_latency(const struct latency_file *f, const struct latency_key *k,
    struct latency *l)
{
	double *ms[8];

	*l = (struct latency){ .batch = f->batch, .seq = f->seq,
		.runs = (int)f->runs, .warm = (int)f->warm,
		.threads = (int)f->threads,
		.has_ratio = f->has_ratio != 0, .pinned = f->pinned != 0,
		.ratio = f->ratio, .ratio_low = f->ratio_low,
		.ratio_high = f->ratio_high, .waited = f->waited };
	latency_numbers(l, ms);
	for (int i = 0; ms[i] != NULL; i++) {
		*ms[i] = f->ms[i];
		if (!is_time(f->ms[i]))
			return false;
	}
	return f->batch == k->batch && f->seq == k->seq &&
	    f->threads == k->threads && f->runs >= 1 && f->runs < INT_MAX &&
	    f->warm >= 0 && f->warm < INT_MAX &&
	    is_time(f->ratio) && is_time(f->ratio_low) &&
	    is_time(f->ratio_high) && !isinf(f->waited);
}

/* The parts at *p, which moves on; false when they are not what they should
 * be. */
static bool
take_part(const char **p, const char *end, struct latency_parts **out)
{
	struct parts_file f;
	struct latency_parts *q;
	size_t bytes;

	if ((size_t)(end - *p) < sizeof(f))
		return false;
	memcpy(&f, *p, sizeof(f));
	*p += sizeof(f);
	if (f.layers == -1)
		return true;
	if (f.layers < 0 || f.layers > MODEL_LAYERS_MAX || f.passes < 0 ||
	    f.passes > INT_MAX || !is_time(f.whole) || !is_time(f.embed) ||
	    !is_time(f.head))
		return false;
	bytes = (size_t)f.layers * sizeof(*q->layer_ms);
	if ((size_t)(end - *p) < bytes)
		return false;
	q = xmalloc(sizeof(*q) + bytes);
	q->layers = (int)f.layers;
	q->passes = (int)f.passes;
	q->whole_ms = f.whole;
	q->embed_ms = f.embed;
	q->head_ms = f.head;
	memcpy(q->layer_ms, *p, bytes);
	*p += bytes;
	*out = q;
	for (int l = 0; l < q->layers; l++)
		for (int i = 0; i < ENGINE_PARTS; i++)
			if (!is_time(q->layer_ms[l][i]))
				return false;
	return true;
}

static struct kept_latency *
recall_latency(struct memory *m, const struct latency_key *k)
{
	struct kept_latency *kept = xcalloc(1, sizeof(*kept));
	struct latency_file f;
	const char *p, *end;
	size_t n;
	char *data = m->alone ? NULL : store_get(m->store, latency_hash(m, k),
	    &n);
	bool fine = data != NULL && n >= sizeof(f);

	if (fine) {
		memcpy(&f, data, sizeof(f));
		p = data + sizeof(f);
		end = data + n;
		fine = take_latency(&f, k, &kept->value) &&
		    take_part(&p, end, &kept->parts[0]) &&
		    take_part(&p, end, &kept->parts[1]) && p == end;
	}
	free(data);
	if (!fine) {
		free_latency(kept);
		return NULL;
	}
	kept->key = *k;
	m->latency = xrealloc(m->latency, (size_t)(m->nlatencies + 1) *
	    sizeof(struct kept_latency *));
	return m->latency[m->nlatencies++] = kept;
}

const struct latency *
memory_latency(struct memory *m, const struct latency_key *k)
{
	const struct kept_latency *kept = find_latency(m, k);

	if (kept == NULL)
		kept = recall_latency(m, k);
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
	if (kept != NULL)
		store_latency(m, kept);
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
	store_latency(m, box);
	return &box->value;
}

static struct kept_decode *
find_decode(const struct memory *m, const struct latency_key *k)
{
	for (int i = 0; i < m->ndecodes; i++)
		if (same_key(&m->decode[i].key, k))
			return &m->decode[i];
	return NULL;
}

const struct decode_latency *
memory_decode(const struct memory *m, const struct latency_key *k)
{
	const struct kept_decode *kept = find_decode(m, k);

	return kept != NULL ? &kept->value : NULL;
}

void
memory_keep_decode(struct memory *m, const struct latency_key *k,
    const struct decode_latency *v)
{
	struct kept_decode *kept = find_decode(m, k);

	if (kept == NULL) {
		m->decode = xrealloc(m->decode, (size_t)(m->ndecodes + 1) *
		    sizeof(*m->decode));
		kept = &m->decode[m->ndecodes++];
	}
	kept->key = *k;
	kept->value = *v;
}

/* ---- other bytes ---- */

void *
memory_load(struct memory *m, uint64_t key, size_t *n)
{
	return m->alone ? NULL : store_get(m->store, key, n);
}

void
memory_save(struct memory *m, uint64_t key, const void *data, size_t n)
{
	if (n <= STORE_ONE)
		store_put(m->store, key, data, n);
}
