/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

/* ==== choosing a token ==== */

struct candidate {
	double p;		/* not normalised */
	int32_t id;
};

struct sampler {
	struct sampling how;
	struct rng rng;
	int64_t n;
	struct candidate *c;	/* n; NULL when greedy */
};

struct sampler *
sampler_new(const struct sampling *s, int64_t n, struct pare_err *err)
{
	struct candidate *c = NULL;
	struct sampler *r;

	if (s->temperature > 0.0) {
		c = mem_big((size_t)n, sizeof(*c), err);
		if (c == NULL)
			return NULL;
	}
	r = xcalloc(1, sizeof(*r));
	r->how = *s;
	r->n = n;
	r->c = c;
	rng_seed(&r->rng, s->seed);
	return r;
}

void
sampler_free(struct sampler *s)
{
	if (s != NULL)
		free(s->c);
	free(s);
}

static int32_t
likeliest(const float *logits, int64_t n)
{
	int64_t best = 0;

	for (int64_t i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return (int32_t)best;
}

static int
by_falling_p(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->p != y->p)
		return x->p < y->p ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* All tokens with e^((logit - largest) / temperature); returns their sum. */
static double
list_candidates(struct sampler *s, const float *logits)
{
	const double top = logits[likeliest(logits, s->n)];
	double sum = 0.0;

	for (int64_t i = 0; i < s->n; i++) {
		s->c[i].p = exp((logits[i] - top) / s->how.temperature);
		s->c[i].id = (int32_t)i;
		sum += s->c[i].p;
	}
	return sum;
}

/* Drops tokens below sum (1 - top_p) / n: all of them together have less than
 * what top_p leaves out, so none is among the fewest that have top_p. Keeps
 * sorting short. */
static int64_t
drop_rare(struct sampler *s, double sum)
{
	const double least = sum * (1.0 - s->how.top_p) / (double)s->n;
	int64_t m = 0;

	for (int64_t i = 0; i < s->n; i++)
		if (s->c[i].p >= least)
			s->c[m++] = s->c[i];
	return m;
}

/* The likeliest top_k, and of them the fewest with top_p; how many. *sum is
 * theirs. */
static int64_t
keep_likely(struct sampler *s, double *sum)
{
	int64_t n = s->n, m = 0;
	double want, have = 0.0;

	if (s->how.top_k == 0)
		n = drop_rare(s, *sum);
	qsort(s->c, (size_t)n, sizeof(*s->c), by_falling_p);
	if (s->how.top_k > 0 && s->how.top_k < n) {
		n = s->how.top_k;
		*sum = 0.0;
		for (int64_t i = 0; i < n; i++)
			*sum += s->c[i].p;
	}
	want = s->how.top_p * *sum;
	while (m < n && (m == 0 || have < want))
		have += s->c[m++].p;
	*sum = have;
	return m;
}

int32_t
sampler_next(struct sampler *s, const float *logits)
{
	int64_t n = s->n, i;
	double sum, at;

	if (s->c == NULL)
		return likeliest(logits, s->n);
	sum = list_candidates(s, logits);
	if (s->how.top_k > 0 || s->how.top_p < 1.0)
		n = keep_likely(s, &sum);
	at = rng_uniform(&s->rng) * sum;
	for (i = 0; i + 1 < n; i++) {
		at -= s->c[i].p;
		if (at < 0.0)
			break;
	}
	return s->c[i].id;
}

/* ==== going on ==== */

/* What one text in the making has. */
struct writer {
	struct engine *e;
	const struct model *m;
	const struct generate_options *o;
	struct kv *kv;
	struct sampler *sampler;
	float *logits;		/* (vocab) */
};

/* Runs n ids and chooses the one that follows. */
static enum pare_rc
step(struct writer *w, const int32_t *id, int64_t n, int32_t *next,
    struct pare_err *err)
{
	const int64_t start[2] = { 0, n };
	const struct batch b = { .nseq = 1, .start = start, .ids = id };
	struct forward f = { .logits = w->logits, .last = true, .kv = w->kv,
		.task = w->o->task };
	enum pare_rc rc = engine_forward(w->e, w->m, &b, &f, err);

	if (rc == PARE_OK)
		*next = sampler_next(w->sampler, w->logits);
	return rc;
}

static bool
is_stop(const struct generate_options *o, int32_t id)
{
	for (int i = 0; i < o->nstop; i++)
		if (o->stop[i] == id)
			return true;
	return false;
}

static enum pare_rc
write_all(struct writer *w, const int32_t *prompt, int64_t length,
    struct generation *g, struct pare_err *err)
{
	const double begin = task_now();
	enum pare_rc rc;
	int32_t next;

	rc = step(w, prompt, length, &next, err);
	g->first_seconds = task_now() - begin;
	while (rc == PARE_OK) {
		if (is_stop(w->o, next)) {
			g->end = GENERATE_STOP;
			break;
		}
		g->id[g->n++] = next;
		if (g->n == w->o->n)
			break;
		rc = task_tick(w->o->task, (double)g->n, (double)w->o->n,
		    "tokens") ? step(w, &next, 1, &next, err) :
		    task_error(err);
	}
	g->seconds = task_now() - begin;
	return rc;
}

static enum pare_rc
check(const struct model *m, int64_t length, const struct generate_options *o,
    struct pare_err *err)
{
	const int64_t room = kv_longest(m);

	if (m->hp.head != HEAD_LM || (m->arch->flags & ARCH_CAUSAL) == 0) {
		err_set(err, PARE_EUSER, "the model does not say what comes "
		    "next: its head is no language model's");
		return err_hint(err, "open a GPT-2 or a Llama");
	}
	if (length < 1)
		return err_set(err, PARE_EUSER, "the prompt has no tokens");
	if (length > room)
		return err_set(err, PARE_EUSER, "the prompt has %lld tokens, "
		    "and the model has positions for %lld",
		    (long long)length, (long long)room);
	if (o->n >= 1 && o->n <= room - length + 1)
		return PARE_OK;
	err_set(err, PARE_EUSER, "a prompt of %lld tokens and n=%lld: the "
	    "model has positions for %lld", (long long)length,
	    (long long)o->n, (long long)room);
	return err_hint(err, "n=%lld", (long long)(room - length + 1));
}

void
generation_free(struct generation *g)
{
	free(g->id);
	memset(g, 0, sizeof(*g));
}

enum pare_rc
generate_run(struct engine *e, const struct model *m, const int32_t *prompt,
    int64_t length, const struct generate_options *o, struct generation *out,
    struct pare_err *err)
{
	struct writer w = { .e = e, .m = m, .o = o };
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	if ((rc = check(m, length, o, err)) != PARE_OK)
		return rc;
	rc = PARE_ENOMEM;
	/* The last token is not run: nothing follows it. */
	if ((w.kv = kv_new(m, length + o->n - 1, err)) != NULL &&
	    (w.sampler = sampler_new(&o->sampling, m->hp.vocab, err)) != NULL &&
	    (w.logits = mem_big((size_t)m->hp.vocab, sizeof(*w.logits),
	    err)) != NULL && (out->id = mem_big((size_t)o->n,
	    sizeof(*out->id), err)) != NULL) {
		out->kv_bytes = kv_bytes(m, w.kv->context);
		rc = write_all(&w, prompt, length, out, err);
	}
	kv_free(w.kv);
	sampler_free(w.sampler);
	free(w.logits);
	if (rc != PARE_OK && rc != PARE_ECANCELED)
		generation_free(out);
	return rc;
}
