/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each thread is a lane: an engine, and room for one batch. Lanes take batches
 * in order under a lock and put results to the place of the sample, where no
 * other lane writes. The lane of the calling thread has the word: between its
 * own batches it counts those that are done without a gap, and tells about them
 * one by one, so that what is told does not depend on which lane was faster.
 *
 * Inside a lane products run on its thread alone. Two threads on two batches do
 * not wait for each other at the end of each product, as they would on one.
 */
#include "measure/evaluate.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "engine/blocks.h"
#include "engine/elementwise.h"
#include "measure/order.h"
#include "measure/reference.h"
#include "measure/score.h"
#include "measure/sequential.h"
#include "measure/stats.h"
#include "measure/tokens.h"
#include "tensor/kernel.h"

/* Samples before the interval of a bootstrap is to be believed. */
enum { BOOTSTRAP_MIN = 100 };

/* Windows before that of a ratio is. */
enum { WINDOWS_MIN = 8 };

struct evaluator {
	int nengines;
	struct engine **engine;
	struct blocks *blocks;
	uint64_t blas;		/* the hash of its name */
	struct reference *reference;	/* of models of tokens; NULL */
	_Atomic int64_t kept;	/* its bytes: asked for while another thread
				 * evaluates */
};

struct lane {
	struct run *run;
	struct engine *engine;
	pthread_t thread;
	int64_t *start;		/* of the sequences of a batch */
	float *logits;
	float **keep;		/* per layer: where its input is kept */
	/* Models of tokens. */
	int64_t *rows;		/* tokens of the batch whose logits are wanted */
	int64_t *number;	/* of the scored token that each is about */
	float *work;
};

struct run {
	const struct model *m;
	const struct dataset *d;
	const struct evaluate_options *o;
	struct task *task;
	struct evaluation *v;
	struct order order;
	struct blocks_pass *blocks;	/* NULL: all is computed */
	int nlanes;
	struct lane *lane;
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t finished;	/* a batch of another lane */
	int64_t next;		/* batch to take */
	int64_t running;	/* batches taken and not finished */
	uint8_t *done;		/* per batch */
	bool halt;		/* take no more */
	int64_t failed;		/* the first batch that failed, and why */
	enum pare_rc rc;
	struct pare_err err;
	/* Of the calling thread. */
	int64_t told;		/* batches that were told about */
	uint8_t *ran;		/* per sample: it was told about */
	struct score score;
	struct token_score tokens;
	struct reference *reference;	/* read, or filled when `keeps` */
	bool keeps;
	int64_t fixed, broke;	/* against o->against */
	int64_t look;		/* samples at which to ask for the prospect */
	bool stopped;		/* by the rule */
};

struct evaluator *
evaluator_new(void)
{
	struct evaluator *e = xcalloc(1, sizeof(*e));

	e->blocks = blocks_new();
	e->blas = hash_text(kernel_blas_name(), 0);
	return e;
}

void
evaluator_free(struct evaluator *e)
{
	if (e == NULL)
		return;
	for (int i = 0; i < e->nengines; i++)
		engine_free(e->engine[i]);
	free(e->engine);
	reference_free(e->reference);
	blocks_free(e->blocks);
	free(e);
}

void
evaluator_limit(struct evaluator *e, int64_t bytes)
{
	blocks_limit(e->blocks, bytes);
}

int64_t
evaluator_scratch(const struct evaluator *e)
{
	int64_t bytes = 0;

	for (int i = 0; i < e->nengines; i++)
		bytes += (int64_t)engine_scratch(e->engine[i]);
	return bytes;
}

int64_t
evaluator_cached(const struct evaluator *e)
{
	return blocks_bytes(e->blocks) + atomic_load(&e->kept);
}

bool
evaluator_keeps(const struct evaluator *e, const struct model *m,
    const struct dataset *d)
{
	const struct reference *r = e->reference;

	return r != NULL && r->data == d->hash && r->model == model_hash(m);
}

static struct engine *
engine_of(struct evaluator *e, int i)
{
	if (i >= e->nengines) {
		e->engine = xrealloc(e->engine, (size_t)(i + 1) *
		    sizeof(*e->engine));
		e->engine[e->nengines++] = engine_new();
	}
	return e->engine[i];
}

static const char *
name_of(const struct dataset *d)
{
	return d->path != NULL ? d->path : "the sample set";
}

static enum pare_rc
check_metric(const struct model *m, enum metric metric, struct pare_err *err)
{
	enum head_kind head = m->hp.head;

	if (metric == METRIC_COUNT || metric_fits(metric, head))
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s is no measure of %s",
	    metric_table[metric].name, head == HEAD_REGRESS ?
	    "a model that gives scores" : head_gives_tokens(head) ?
	    "a model that gives tokens" : "a model that gives classes");
	return err_hint(err, "metric=%s", metric_table[metric_of(head)].name);
}

static enum pare_rc
check_stop(const struct model *m, const struct dataset *d,
    const struct evaluate_options *o, struct pare_err *err)
{
	bool classes = m->hp.head == HEAD_CLASSIFY;

	if (o->stop != STOP_DECIDED || (classes && o->against != NULL &&
	    !o->against->partial && o->against->total == d->n))
		return PARE_OK;
	err_set(err, PARE_EUSER, m->hp.head == HEAD_REGRESS ? "a model that "
	    "gives scores has no flips that could decide" : !classes ?
	    "tokens of a text hang together: their flips decide nothing" :
	    "there is nothing to compare with on these samples");
	return err_hint(err, "stop=ci:1.0 stops at a narrow interval");
}

static enum pare_rc
check_tokens(const struct model *m, const struct dataset *d,
    struct pare_err *err)
{
	bool masked = m->hp.head == HEAD_MLM;

	if (d->nscored > 0 && (d->cut.custom == CUT_MASKED) == masked)
		return PARE_OK;
	return err_set(err, PARE_EUSER, masked ? "%s: no token is hidden for "
	    "the model to find" : "%s: it is no running text",
	    name_of(d));
}

static enum pare_rc
check_labels(const struct model *m, const struct dataset *d,
    struct pare_err *err)
{
	bool regression = m->hp.head == HEAD_REGRESS;
	int64_t labelled = 0;

	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		labelled += order_is_gold(m, s);
		if (regression || s->label < m->hp.labels)
			continue;
		err_set(err, PARE_EUSER, "%s:%lld: class %d, but the model has "
		    "%lld classes", d->path != NULL ? d->path : "data",
		    (long long)s->line, s->label, (long long)m->hp.labels);
		return err_hint(err, "choose the label column with label=");
	}
	if (labelled > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s has no labels", name_of(d));
	return err_hint(err, "load a labelled file, or use predict out=FILE");
}

/* What keeps model and data from being evaluated. */
static enum pare_rc
check_input(const struct model *m, const struct dataset *d,
    const struct evaluate_options *o, struct pare_err *err)
{
	if (m->hp.head == HEAD_NONE) {
		err_set(err, PARE_EUSER, "the model has no head to evaluate");
		return err_hint(err, "open a model that was fine-tuned for "
		    "classification; predict works without a head");
	}
	if (check_metric(m, o->metric, err) != PARE_OK ||
	    check_stop(m, d, o, err) != PARE_OK)
		return PARE_EUSER;
	if (!d->encoded)
		return err_set(err, PARE_EUSER, "%s: the samples were not "
		    "tokenized", d->path != NULL ? d->path : "data");
	return head_gives_tokens(m->hp.head) ? check_tokens(m, d, err) :
	    check_labels(m, d, err);
}

/* ---- lanes ---- */

static enum pare_rc
lane_open(struct lane *l, struct run *r, struct engine *e,
    struct pare_err *err)
{
	size_t room = (size_t)r->order.room;

	l->run = r;
	l->engine = e;
	l->keep = xcalloc((size_t)r->m->nlayers + 1, sizeof(*l->keep));
	l->start = mem_big(room + 1, sizeof(*l->start), err);
	if (r->v->per_token && l->start != NULL) {
		room = (size_t)r->order.scored;
		l->rows = mem_big(room, sizeof(*l->rows), err);
		l->number = mem_big(room, sizeof(*l->number), err);
		l->work = mem_big((size_t)r->m->hp.vocab,
		    2 * sizeof(*l->work), err);
		return l->rows == NULL || l->number == NULL ||
		    l->work == NULL ? PARE_ENOMEM : PARE_OK;
	}
	l->logits = l->start == NULL ? NULL : mem_big(room,
	    (size_t)r->v->labels * sizeof(*l->logits), err);
	return l->logits == NULL ? PARE_ENOMEM : PARE_OK;
}

static void
keep_logits(struct run *r, int64_t batch, const float *logits)
{
	int64_t first = r->order.batch[batch], end = r->order.batch[batch + 1];
	struct evaluation *v = r->v;

	for (int64_t i = first; i < end; i++, logits += v->labels) {
		int64_t s = r->order.sample[i];

		memcpy(v->logits + s * v->labels, logits,
		    (size_t)v->labels * sizeof(*logits));
		v->predicted[s] = score_class(logits, v->labels);
	}
}

/* Which tokens of a batch are asked about, and the rows that tell: of a causal
 * model those before. Returns how many. */
static int64_t
list_rows(const struct lane *l, int64_t batch)
{
	const struct order *o = &l->run->order;
	int before = l->run->m->hp.head == HEAD_LM;
	int64_t n = 0;

	for (int64_t i = o->batch[batch]; i < o->batch[batch + 1]; i++) {
		const struct sample *s = &l->run->d->sample[o->sample[i]];
		int64_t first = l->start[i - o->batch[batch]];

		for (int k = 0; k < s->nscored; k++) {
			l->rows[n] = first + s->scored[k] - before;
			l->number[n++] = s->scored_at + k;
		}
	}
	return n;
}

/* The logarithm of the sum of exponentials, by way of the softmax: the likeliest
 * value has probability 1 by that sum. */
static double
sum_logits(const float *logits, int64_t n, int64_t best, float *work)
{
	memcpy(work, logits, (size_t)n * sizeof(*work));
	elem_softmax(work, n);
	return (double)logits[best] - log((double)work[best]);
}

/* `take` of struct forward. */
static void
take_tokens(const float *logits, int64_t first, int64_t n, void *ctx)
{
	struct lane *l = ctx;
	struct run *r = l->run;
	struct evaluation *v = r->v;
	const int64_t vocab = r->m->hp.vocab;

	for (int64_t i = 0; i < n; i++, logits += vocab) {
		int64_t t = l->number[first + i];
		int best = score_class(logits, (int)vocab);
		double lse = sum_logits(logits, vocab, best, l->work);

		v->predicted[t] = best;
		v->logits[t] = (float)((double)logits[v->gold[t]] - lse);
		if (r->keeps)
			reference_put(r->reference, t, logits, lse);
		if (v->kl == NULL)
			continue;
		v->kl[t] = (float)reference_divergence(r->reference, t,
		    logits, lse, l->work);
		v->same[t] = best == r->reference->best[t];
	}
}

static enum pare_rc
run_batch(struct lane *l, int64_t batch, struct pare_err *err)
{
	struct run *r = l->run;
	struct forward f = { .logits = l->logits, .task = r->task };
	struct batch b = order_batch(&r->order, batch, l->start);
	enum pare_rc rc;

	if (r->v->per_token) {
		f.take = take_tokens;
		f.ctx = l;
		f.rows = l->rows;
		f.nrows = list_rows(l, batch);
	}

	if (r->blocks != NULL)
		blocks_use(r->blocks, batch, &f, l->keep);
	rc = engine_forward(l->engine, r->m, &b, &f, err);
	if (rc != PARE_OK)
		return rc;
	if (r->blocks != NULL)
		blocks_ran(r->blocks, batch);
	if (!r->v->per_token)
		keep_logits(r, batch, l->logits);
	return PARE_OK;
}

/* The next batch; -1: none is left. */
static int64_t
take_batch(struct run *r)
{
	int64_t batch = -1;

	pthread_mutex_lock(&r->lock);
	if (!r->halt && r->next < r->order.nbatches) {
		batch = r->next++;
		r->running++;
	}
	pthread_mutex_unlock(&r->lock);
	return batch;
}

/* Of several errors that of the first batch counts, whichever came first. */
static void
finish_batch(struct run *r, int64_t batch, enum pare_rc rc,
    const struct pare_err *err)
{
	pthread_mutex_lock(&r->lock);
	r->running--;
	r->done[batch] = rc == PARE_OK;
	if (rc != PARE_OK && (r->rc == PARE_OK || batch < r->failed)) {
		r->failed = batch;
		r->rc = rc;
		r->err = *err;
	}
	r->halt = r->halt || rc != PARE_OK;
	pthread_cond_signal(&r->finished);
	pthread_mutex_unlock(&r->lock);
}

static void
halt(struct run *r, enum pare_rc rc, const struct pare_err *err)
{
	pthread_mutex_lock(&r->lock);
	r->halt = true;
	if (rc != PARE_OK && r->rc == PARE_OK) {
		r->rc = rc;
		r->err = *err;
	}
	pthread_mutex_unlock(&r->lock);
}

static void *
lane_work(void *arg)
{
	struct lane *l = arg;
	struct pare_err err;
	int64_t batch;

	kernel_limit_threads(1);
	while ((batch = take_batch(l->run)) >= 0)
		finish_batch(l->run, batch, run_batch(l, batch, &err), &err);
	return NULL;
}

/* ---- telling ---- */

static enum metric
metric_wanted(const struct run *r)
{
	return r->o->metric < METRIC_COUNT ? r->o->metric :
	    metric_of(r->m->hp.head);
}

static void
tell_partial(struct run *r)
{
	const struct evaluate_options *o = r->o;
	struct evaluation *v = r->v;
	struct evaluation_partial p;

	if ((r->score.n == 0 && r->tokens.n == 0) || (o->watch == NULL && o->stop != STOP_CI))
		return;
	if (v->per_token) {
		token_score_value(&r->tokens, metric_wanted(r), true, v);
	} else {
		score_value(&r->score, r->m, o->metric, true, v);
		score_interval(&r->score, SCORE_DRAWS_LOOK, v);
	}
	p = (struct evaluation_partial){ .n = v->n, .total = v->labelled,
		.value = v->value, .low = v->low, .high = v->high,
		.ran = r->ran, .predicted = v->predicted, .gold = v->gold };
	if (o->watch != NULL)
		o->watch(&p, o->ctx);
}

/* Whether the interval of the accuracy would be narrow enough. Where all samples
 * so far are right, a bootstrap of another metric has no width at all. */
static bool
is_accuracy_narrow(const struct run *r, double most)
{
	double low, high;

	stats_wilson(r->score.right, r->score.n, &low, &high);
	return high - low <= most;
}

static bool
is_narrow(struct run *r)
{
	struct evaluation *v = r->v;
	double most = 2 * r->o->half_width;
	int64_t n = r->score.n;

	if (v->per_token)
		return r->tokens.n >= WINDOWS_MIN && v->high - v->low <=
		    (v->metric == METRIC_PERPLEXITY ? most * v->value : most);
	if (v->metric == METRIC_ACCURACY)
		return n > 0 && v->high - v->low <= most;
	if (n < BOOTSTRAP_MIN || !(v->high - v->low <= 1.2 * most) ||
	    (v->labels > 1 && v->metric != METRIC_LOSS &&
	    !is_accuracy_narrow(r, most)))
		return false;
	/* A look drew few times, to see when it is worth drawing more. */
	score_interval(&r->score, SCORE_DRAWS, v);
	return v->high - v->low <= most;
}

static bool
is_decided(struct run *r)
{
	struct evaluation *v = r->v;
	double odds = sequential_odds(r->fixed, r->broke);
	int64_t n = r->score.n;

	v->odds = odds > v->odds ? odds : v->odds;
	if (odds >= SEQUENTIAL_ODDS)
		return true;
	if (n < r->look)
		return false;
	r->look = n + n / 20 + 1;
	return sequential_prospect(r->fixed, r->broke, n, v->labelled - n) <
	    SEQUENTIAL_PROSPECT;
}

static void
count_flip(struct run *r, int64_t s)
{
	const struct evaluation *v = r->v, *base = r->o->against;
	bool was = base->predicted[s] == v->gold[s];
	bool is = v->predicted[s] == v->gold[s];

	r->fixed += is && !was;
	r->broke += was && !is;
}

static void
tell_batch(struct run *r, int64_t batch)
{
	struct evaluation *v = r->v;
	enum stop_rule rule = r->o->stop;

	for (int64_t i = r->order.batch[batch]; i < r->order.batch[batch + 1];
	    i++) {
		int64_t s = r->order.sample[i];
		const struct sample *x = &r->d->sample[s];

		v->tokens += x->tokens.n;
		if (v->per_token) {
			memset(r->ran + x->scored_at, 1, (size_t)x->nscored);
			token_score_add(&r->tokens, v, s);
			continue;
		}
		r->ran[s] = 1;
		if (v->gold[s] < 0)
			continue;
		score_add(&r->score, r->m, x, v->logits + s * v->labels,
		    v->labels);
		if (rule == STOP_DECIDED)
			count_flip(r, s);
	}
	tell_partial(r);
	r->stopped = batch + 1 < r->order.nbatches && (rule == STOP_CI ?
	    is_narrow(r) : rule == STOP_DECIDED ? is_decided(r) : false);
	if (r->stopped)
		halt(r, PARE_OK, NULL);
}

/* Tells about the batches that are done, up to the first one that is not. Where
 * a later one failed, too: on one thread it might never have run. */
static void
tell_news(struct run *r)
{
	for (;;) {
		bool done;

		pthread_mutex_lock(&r->lock);
		done = r->rc != PARE_ECANCELED && !r->stopped &&
		    r->told < r->order.nbatches && r->done[r->told];
		pthread_mutex_unlock(&r->lock);
		if (!done)
			return;
		tell_batch(r, r->told++);
	}
}

static bool
tick(struct run *r)
{
	return task_tick(r->task, (double)r->order.batch[r->told],
	    (double)r->order.n, "samples");
}

/* Waits for the batches that other lanes still run. */
static void
await_lanes(struct run *r)
{
	int64_t running;

	do {
		tell_news(r);
		pthread_mutex_lock(&r->lock);
		running = r->running;
		if (running > 0 && (r->rc == PARE_ECANCELED || r->stopped ||
		    !r->done[r->told]))
			pthread_cond_wait(&r->finished, &r->lock);
		pthread_mutex_unlock(&r->lock);
	} while (running > 0);
}

/* The calling thread's own lane. */
static void
lead(struct run *r)
{
	struct lane *l = &r->lane[0];
	struct pare_err err;
	int64_t batch;

	for (;;) {
		if (!tick(r))
			halt(r, task_error(&err), &err);
		if ((batch = take_batch(r)) < 0)
			break;
		finish_batch(r, batch, run_batch(l, batch, &err), &err);
		tell_news(r);
	}
	await_lanes(r);
	if (r->rc == PARE_OK && !tick(r))
		halt(r, task_error(&err), &err);
}

/* Signals are for the thread that asked. A lane that cannot be started is no
 * error: the others do its part. */
static void
run_lanes(struct run *r)
{
	int limit = kernel_limit_threads(1), n = 1;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n < r->nlanes && pthread_create(&r->lane[n].thread, NULL,
	    lane_work, &r->lane[n]) == 0)
		n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	lead(r);
	for (int i = 1; i < n; i++)
		pthread_join(r->lane[i].thread, NULL);
	kernel_limit_threads(limit);
}

/* ---- a run ---- */

static void
note_gold(struct run *r)
{
	bool regression = r->m->hp.head == HEAD_REGRESS;

	for (int64_t i = 0; i < r->d->n; i++) {
		const struct sample *x = &r->d->sample[i];

		r->v->gold[i] = !order_is_gold(r->m, x) ? -1 :
		    regression ? 0 : x->label;
	}
}

/* Room for what is told of tokens, and for the reference. */
static enum pare_rc
open_tokens(struct run *r, struct evaluator *e, struct pare_err *err)
{
	const struct model *m = r->m, *original = r->o->original;
	struct evaluation *v = r->v;
	size_t n = (size_t)r->d->nscored;

	v->total = v->labelled = r->d->nscored;
	if (token_windows(v, r->d, err) != PARE_OK || (v->predicted =
	    mem_big_zero(n, sizeof(*v->predicted), err)) == NULL ||
	    (v->logits = mem_big_zero(n, sizeof(*v->logits), err)) == NULL)
		return PARE_ENOMEM;
	if (original == NULL)
		return PARE_OK;
	if (original == m || model_hash(original) == model_hash(m)) {
		if (!evaluator_keeps(e, m, r->d))
			r->reference = reference_new(r->d->nscored,
			    m->hp.vocab);
		r->keeps = r->reference != NULL;
		return PARE_OK;
	}
	if (!evaluator_keeps(e, original, r->d) ||
	    e->reference->vocab != m->hp.vocab)
		return PARE_OK;
	r->reference = e->reference;
	v->kl = mem_big_zero(n, sizeof(*v->kl), err);
	v->same = v->kl == NULL ? NULL : mem_big_zero(n, 1, err);
	v->divergence = (struct divergence){ .reference = e->reference->model,
		.kept = e->reference->keep, .vocab = e->reference->vocab };
	return v->same == NULL ? PARE_ENOMEM : PARE_OK;
}

static enum pare_rc
open_result(struct run *r, struct pare_err *err)
{
	struct evaluation *v = r->v;
	size_t n = (size_t)r->d->n;

	v->labels = (int)r->m->hp.labels;
	v->total = r->d->n;
	v->labelled = r->order.labelled;
	if ((v->predicted = mem_big_zero(n, sizeof(*v->predicted), err)) ==
	    NULL || (v->gold = mem_big(n, sizeof(*v->gold), err)) == NULL ||
	    (v->logits = mem_big_zero(n * (size_t)v->labels,
	    sizeof(*v->logits), err)) == NULL)
		return PARE_ENOMEM;
	note_gold(r);
	return PARE_OK;
}

/* Tells sets of batches and ways of computing apart. */
static uint64_t
batches_key(const struct evaluator *e, const struct order *o)
{
	uint64_t h = hash_mix(e->blas, kernel_ways());
	size_t tokens = (size_t)o->token[o->n];

	h = hash_bytes(o->ids, tokens * sizeof(*o->ids), h);
	if (o->types != NULL)
		h = hash_bytes(o->types, tokens * sizeof(*o->types), h);
	h = hash_bytes(o->token, (size_t)(o->n + 1) * sizeof(*o->token), h);
	return hash_bytes(o->batch, (size_t)(o->nbatches + 1) *
	    sizeof(*o->batch), h);
}

static void
open_blocks(struct run *r, struct evaluator *e)
{
	const struct order *o = &r->order;

	r->blocks = blocks_begin(e->blocks, r->m, batches_key(e, o),
	    o->batch_token, o->nbatches);
	r->v->from = r->m->nlayers;
	for (int64_t i = 0; i < o->nbatches; i++) {
		int from = blocks_from(r->blocks, i);

		r->v->from = from < r->v->from ? from : r->v->from;
	}
}

static enum pare_rc
run_open(struct run *r, struct evaluator *e, struct pare_err *err)
{
	bool tokens = head_gives_tokens(r->m->hp.head);
	int n = kernel_threads();
	enum pare_rc rc;

	if ((rc = order_make(&r->order, r->m, r->d, err)) != PARE_OK ||
	    (rc = tokens ? open_tokens(r, e, err) : open_result(r, err)) !=
	    PARE_OK || (rc = tokens ?
	    token_score_open(&r->tokens, r->order.labelled, err) :
	    score_open(&r->score, r->order.labelled, err)) != PARE_OK)
		return rc;
	r->done = mem_big_zero((size_t)r->order.nbatches + 1, 1, err);
	r->ran = r->done == NULL ? NULL : mem_big_zero((size_t)r->v->total, 1,
	    err);
	if (r->ran == NULL)
		return PARE_ENOMEM;
	if (!r->o->fresh)
		open_blocks(r, e);
	n = r->order.nbatches < n ? (int)r->order.nbatches : n;
	r->lane = xcalloc((size_t)n, sizeof(*r->lane));
	r->nlanes = n;
	for (int i = 0; i < n && rc == PARE_OK; i++)
		rc = lane_open(&r->lane[i], r, engine_of(e, i), err);
	return rc;
}

static void
run_close(struct run *r)
{
	for (int i = 0; i < r->nlanes; i++) {
		free(r->lane[i].start);
		free(r->lane[i].logits);
		free(r->lane[i].keep);
		free(r->lane[i].rows);
		free(r->lane[i].number);
		free(r->lane[i].work);
	}
	free(r->lane);
	free(r->done);
	free(r->ran);
	if (r->blocks != NULL)
		blocks_end(r->blocks);
	if (r->keeps)
		reference_free(r->reference);
	score_close(&r->score);
	token_score_close(&r->tokens);
	order_free(&r->order);
	pthread_cond_destroy(&r->finished);
	pthread_mutex_destroy(&r->lock);
}

/* Batches that ran beyond the stop, for other lanes had begun them, do not
 * count: how many there were is chance. */
static void
cut_result(struct run *r)
{
	struct evaluation *v = r->v;

	v->partial = true;
	v->ran = r->ran;
	r->ran = NULL;
	for (int64_t i = 0; i < v->total; i++) {
		if (v->ran[i])
			continue;
		v->predicted[i] = 0;
		if (v->kl != NULL) {
			v->kl[i] = 0;
			v->same[i] = 0;
		}
		memset(v->logits + i * v->labels, 0,
		    (size_t)v->labels * sizeof(*v->logits));
	}
}

static void
tell_all(struct run *r)
{
	if (r->v->per_token) {
		token_score_value(&r->tokens, metric_wanted(r), false, r->v);
		token_score_divergence(&r->tokens, r->v);
		return;
	}
	score_value(&r->score, r->m, r->o->metric, false, r->v);
	score_interval(&r->score, SCORE_DRAWS, r->v);
}

static enum pare_rc
run_all(struct run *r, struct evaluator *e, struct pare_err *err)
{
	double begin = task_now();
	enum pare_rc rc = run_open(r, e, err);

	if (rc != PARE_OK)
		return rc;
	run_lanes(r);
	if (r->rc != PARE_OK && !r->stopped) {
		if (err != NULL)
			*err = r->err;
		return r->rc;
	}
	if (r->stopped)
		cut_result(r);
	r->v->seconds = task_now() - begin;
	tell_all(r);
	r->v->model_hash = model_hash(r->m);
	if (r->keeps && !r->stopped) {
		r->reference->model = r->v->model_hash;
		r->reference->data = r->d->hash;
		reference_free(e->reference);
		e->reference = r->reference;
		atomic_store(&e->kept, r->reference->bytes);
		r->keeps = false;
	}
	return PARE_OK;
}

bool
evaluate_can(const struct model *m, const struct dataset *d)
{
	if (m->hp.head == HEAD_NONE || d == NULL || !d->encoded)
		return false;
	return head_gives_tokens(m->hp.head) ?
	    check_tokens(m, d, NULL) == PARE_OK : d->has_labels;
}

static enum pare_rc
evaluate_one(struct evaluator *e, const struct model *m,
    const struct dataset *d, const struct evaluate_options *o,
    struct evaluation *out, struct task *task, struct pare_err *err)
{
	struct evaluation v = { .data_hash = d->hash, .stop = o->stop };
	struct run r = { .m = m, .d = d, .o = o, .task = task, .v = &v };
	enum pare_rc rc;

	pthread_mutex_init(&r.lock, NULL);
	pthread_cond_init(&r.finished, NULL);
	rc = run_all(&r, e, err);
	run_close(&r);
	if (rc == PARE_OK)
		*out = v;
	else
		evaluation_free(&v);
	return rc;
}

/* Runs the original for its distributions, where they are wanted and not kept. */
static enum pare_rc
need_reference(struct evaluator *e, const struct model *m,
    const struct dataset *d, const struct evaluate_options *o,
    struct task *task, struct pare_err *err)
{
	struct evaluate_options own = { .metric = METRIC_COUNT,
		.fresh = o->fresh, .original = o->original };
	struct evaluation v;
	enum pare_rc rc;

	if (o->original == NULL || o->original == m ||
	    !head_gives_tokens(m->hp.head) ||
	    o->original->hp.vocab != m->hp.vocab ||
	    model_hash(o->original) == model_hash(m) ||
	    evaluator_keeps(e, o->original, d))
		return PARE_OK;
	rc = evaluate_one(e, o->original, d, &own, &v, task, err);
	if (rc == PARE_OK)
		evaluation_free(&v);
	return rc;
}

enum pare_rc
evaluate_run(struct evaluator *e, const struct model *m,
    const struct dataset *d, const struct evaluate_options *o,
    struct evaluation *out, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = check_input(m, d, o, err);

	if (rc == PARE_OK)
		rc = need_reference(e, m, d, o, task, err);
	return rc == PARE_OK ? evaluate_one(e, m, d, o, out, task, err) : rc;
}

static enum pare_rc
rescore_tokens(struct run *r, const struct evaluation *from,
    struct pare_err *err)
{
	enum pare_rc rc = token_score_open(&r->tokens, from->windows, err);

	if (rc != PARE_OK)
		return rc;
	evaluation_copy(r->v, from);
	for (int64_t w = 0; w < from->windows; w++)
		token_score_add(&r->tokens, r->v, w);
	tell_all(r);
	return PARE_OK;
}

static enum pare_rc
rescore(struct run *r, const struct evaluation *from, struct pare_err *err)
{
	struct evaluation *v = r->v;
	enum pare_rc rc = order_make(&r->order, r->m, r->d, err);

	if (rc == PARE_OK)
		rc = score_open(&r->score, r->order.labelled, err);
	if (rc != PARE_OK)
		return rc;
	evaluation_copy(v, from);
	for (int64_t i = 0; i < r->order.n; i++) {
		int64_t s = r->order.sample[i];

		if (v->gold[s] >= 0)
			score_add(&r->score, r->m, &r->d->sample[s],
			    v->logits + s * v->labels, v->labels);
	}
	score_value(&r->score, r->m, r->o->metric, false, v);
	score_interval(&r->score, SCORE_DRAWS, v);
	return PARE_OK;
}

enum pare_rc
evaluation_rescore(const struct evaluation *from, const struct model *m,
    const struct dataset *d, enum metric metric, struct evaluation *out,
    struct pare_err *err)
{
	struct evaluate_options o = { .metric = metric };
	struct run r = { .m = m, .d = d, .o = &o, .v = out };
	enum pare_rc rc = check_input(m, d, &o, err);

	if (rc == PARE_OK)
		rc = from->per_token ? rescore_tokens(&r, from, err) :
		    rescore(&r, from, err);
	score_close(&r.score);
	token_score_close(&r.tokens);
	order_free(&r.order);
	return rc;
}

void
evaluation_labels(struct evaluation *v, const struct dataset *d)
{
	if (v->per_token) {
		token_windows(v, d, NULL);
		return;
	}
	for (int64_t i = 0; i < v->total; i++) {
		const struct sample *x = &d->sample[i];

		v->predicted[i] = score_class(v->logits + i * v->labels,
		    v->labels);
		if (v->labels == 1)
			v->gold[i] = x->label >= 0 || !isnan(x->score) ? 0 :
			    -1;
		else
			v->gold[i] = x->label < v->labels ? x->label : -1;
	}
}

void
evaluation_free(struct evaluation *v)
{
	free(v->predicted);
	free(v->logits);
	free(v->gold);
	free(v->ran);
	free(v->window);
	free(v->bytes);
	free(v->kl);
	free(v->same);
	memset(v, 0, sizeof(*v));
}

static void *
copy_of(const void *p, size_t n)
{
	return p == NULL ? NULL : memcpy(xmalloc(n + 1), p, n);
}

void
evaluation_copy(struct evaluation *to, const struct evaluation *from)
{
	size_t n = (size_t)from->total;

	*to = *from;
	to->predicted = copy_of(from->predicted, n * sizeof *from->predicted);
	to->gold = copy_of(from->gold, n * sizeof *from->gold);
	to->ran = copy_of(from->ran, n);
	to->window = copy_of(from->window, ((size_t)from->windows + 1) *
	    sizeof *from->window);
	to->bytes = copy_of(from->bytes, (size_t)from->windows *
	    sizeof *from->bytes);
	to->kl = copy_of(from->kl, n * sizeof *from->kl);
	to->same = copy_of(from->same, n);
	to->logits = copy_of(from->logits,
	    n * (size_t)from->labels * sizeof *from->logits);
}
