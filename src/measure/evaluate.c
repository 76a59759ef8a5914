/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Samples are run in order of length, in batches of about 4,096 tokens laid end
 * to end, and their results go to the place of the sample: what comes out does
 * not depend on how the batches were cut, but for the rounding of sums in the
 * matrix products.
 *
 * A live run takes them in a stratified random order instead: the i-th of a
 * class of n, the class shuffled, goes to (i + u) / n with u uniform, so that every
 * beginning holds the classes in proportion.
 */
#include "measure/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"

enum { BATCH_TOKENS = 4096, ROUNDS_MAX = 1000, ROUNDS_MIN = 100 };
/* Tokens of a live run's batches: from the first, doubling, to the rest. */
enum { LIVE_FIRST = 64, LIVE_MOST = 512 };

const struct metric_facts metric_table[METRIC_COUNT] = {
	[METRIC_ACCURACY] = { "accuracy", "share of predictions that are right",
	    true, false },
	[METRIC_F1] = { "f1",
	    "harmonic mean of precision and recall of class 1",
	    true, false },
	[METRIC_MCC] = { "mcc",
	    "Matthews correlation of predictions and labels",
	    false, false },
	[METRIC_PEARSON] = { "pearson", "linear correlation of scores", false,
	    true },
	[METRIC_SPEARMAN] = { "spearman", "rank correlation of scores", false,
	    true },
	[METRIC_LOSS] = { "loss", "mean cross-entropy, or mean squared error "
	    "of scores", false, false },
};

bool
metric_find(const char *name, enum metric *out)
{
	for (int i = 0; i < METRIC_COUNT; i++)
		if (strcmp(metric_table[i].name, name) == 0) {
			*out = (enum metric)i;
			return true;
		}
	return false;
}

/* ---- running ---- */

struct run {
	struct engine *e;
	const struct model *m;
	const struct dataset *d;
	struct evaluation *v;
	int64_t *order;		/* samples by length, or as they are drawn */
	int64_t *start;		/* of a batch; room for all samples + 1 */
	int32_t *ids, *types;	/* room for one batch */
	float *logits;		/* of a batch */
	int64_t most;		/* tokens of a batch, if more than one sample */
	/* Of a live run. */
	bool live;
	uint64_t seed;
	uint8_t *ran;		/* per sample */
	int64_t labelled;	/* samples of the set with a label */
	evaluation_watch *watch;
	void *ctx;
};

static bool
is_gold(const struct model *m, const struct sample *s)
{
	return m->hp.head == HEAD_REGRESS ? !isnan(s->score) : s->label >= 0;
}

/* What keeps model and data from being evaluated. */
static enum pare_rc
check_input(const struct model *m, const struct dataset *d, enum metric metric,
    struct pare_err *err)
{
	bool regression = m->hp.head == HEAD_REGRESS;
	int64_t labelled = 0;

	if (m->hp.head != HEAD_CLASSIFY && !regression) {
		err_set(err, PARE_EUSER, "the model has no classifier: %s",
		    m->hp.head == HEAD_MLM ? "its head predicts tokens" :
		    "it has no head");
		return err_hint(err, "open a model that was fine-tuned for "
		    "classification; predict works without a head");
	}
	if (metric < METRIC_COUNT && metric != METRIC_LOSS &&
	    metric_table[metric].regression != regression) {
		err_set(err, PARE_EUSER, "%s is no measure of %s",
		    metric_table[metric].name, regression ?
		    "a model that gives scores" : "a model that gives classes");
		return err_hint(err, "metric=%s", regression ? "pearson" :
		    "accuracy");
	}
	if (!d->encoded)
		return err_set(err, PARE_EUSER, "%s: the samples were not "
		    "tokenized", d->path != NULL ? d->path : "data");
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		labelled += is_gold(m, s);
		if (regression || s->label < m->hp.labels)
			continue;
		err_set(err, PARE_EUSER, "%s:%lld: class %d, but the model has "
		    "%lld classes", d->path != NULL ? d->path : "data",
		    (long long)s->line, s->label, (long long)m->hp.labels);
		return err_hint(err, "choose the label column with label=");
	}
	if (labelled > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s has no labels", d->path != NULL ? d->path :
	    "the sample set");
	return err_hint(err, "load a labelled file, or use predict out=FILE");
}

static int64_t
sample_length(const struct run *r, int64_t i)
{
	return r->d->sample[r->order[i]].tokens.n;
}

struct by_length {
	int64_t length, at;
};

static int
length_compare(const void *pa, const void *pb)
{
	const struct by_length *a = pa, *b = pb;

	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

static enum pare_rc
order_samples(struct run *r, struct pare_err *err)
{
	int64_t n = r->d->n;
	struct by_length *by = mem_big((size_t)n, sizeof *by, err);

	if (by == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < n; i++)
		by[i] = (struct by_length){ r->d->sample[i].tokens.n, i };
	qsort(by, (size_t)n, sizeof *by, length_compare);
	for (int64_t i = 0; i < n; i++)
		r->order[i] = by[i].at;
	free(by);
	return PARE_OK;
}

/* Where a sample comes in a stratified order. */
struct by_draw {
	double key;
	int64_t at;
};

static int
draw_compare(const void *pa, const void *pb)
{
	const struct by_draw *a = pa, *b = pb;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

/* Gives the samples of a class, list[0..n), their places. */
static void
draw_class(struct by_draw *by, int64_t *list, int64_t n, struct rng *rng)
{
	rng_shuffle(rng, list, n);
	for (int64_t i = 0; i < n; i++)
		by[list[i]] = (struct by_draw){ ((double)i +
		    rng_uniform(rng)) / (double)n, list[i] };
}

static int
sample_class(const struct run *r, int64_t i)
{
	const struct sample *s = &r->d->sample[i];

	if (!is_gold(r->m, s))
		return -1;
	return r->m->hp.head == HEAD_REGRESS ? 0 : s->label;
}

/* r->order serves as the list of each class meanwhile. */
static enum pare_rc
draw_samples(struct run *r, struct pare_err *err)
{
	int64_t n = r->d->n;
	struct by_draw *by = mem_big((size_t)n, sizeof *by, err);
	int classes = r->m->hp.head == HEAD_REGRESS ? 1 : r->v->labels;
	struct rng rng;

	if (by == NULL)
		return PARE_ENOMEM;
	rng_seed(&rng, r->seed);
	for (int k = -1; k < classes; k++) {
		int64_t count = 0;

		for (int64_t i = 0; i < n; i++)
			if (sample_class(r, i) == k)
				r->order[count++] = i;
		draw_class(by, r->order, count, &rng);
		r->labelled += k < 0 ? 0 : count;
	}
	qsort(by, (size_t)n, sizeof *by, draw_compare);
	for (int64_t i = 0; i < n; i++)
		r->order[i] = by[i].at;
	free(by);
	return PARE_OK;
}

static enum pare_rc
run_open(struct run *r, struct pare_err *err)
{
	struct evaluation *v = r->v;
	size_t n = (size_t)r->d->n, room = BATCH_TOKENS;

	v->labels = (int)r->m->hp.labels;
	v->total = r->d->n;
	for (size_t i = 0; i < n; i++)
		if ((size_t)r->d->sample[i].tokens.n > room)
			room = (size_t)r->d->sample[i].tokens.n;
	v->predicted = mem_big_zero(n, sizeof *v->predicted, err);
	v->gold = v->predicted == NULL ? NULL : mem_big(n, sizeof *v->gold,
	    err);
	v->logits = v->gold == NULL ? NULL :
	    mem_big_zero(n * (size_t)v->labels, sizeof *v->logits, err);
	r->order = v->logits == NULL ? NULL : mem_big(n, sizeof *r->order, err);
	r->start = r->order == NULL ? NULL : mem_big(n + 1, sizeof *r->start,
	    err);
	r->ids = r->start == NULL ? NULL : mem_big(room, sizeof *r->ids, err);
	r->types = r->ids == NULL ? NULL : mem_big(room, sizeof *r->types, err);
	r->logits = r->types == NULL ? NULL :
	    mem_big(room * (size_t)v->labels, sizeof *r->logits, err);
	if (r->logits == NULL)
		return PARE_ENOMEM;
	if (!r->live)
		return order_samples(r, err);
	r->ran = mem_big_zero(n, sizeof *r->ran, err);
	return r->ran == NULL ? PARE_ENOMEM : draw_samples(r, err);
}

static void
run_close(struct run *r)
{
	free(r->order);
	free(r->start);
	free(r->ids);
	free(r->types);
	free(r->logits);
	free(r->ran);
}

/* Samples from order[at] on that fit one batch (at least one). */
static int
fill_batch(struct run *r, int64_t at, struct batch *b)
{
	int64_t tokens = 0;
	int n = 0;

	r->start[0] = 0;
	while (at + n < r->d->n) {
		int64_t len = sample_length(r, at + n);
		const struct tokens *t =
		    &r->d->sample[r->order[at + n]].tokens;

		if (n > 0 && (tokens + len > r->most || n == r->most))
			break;
		if (len > 0) {
			size_t size = (size_t)len * sizeof *r->ids;

			memcpy(r->ids + tokens, t->id, size);
			memcpy(r->types + tokens, t->type, size);
		}
		tokens += len;
		r->start[++n] = tokens;
	}
	*b = (struct batch){ .nseq = n, .start = r->start, .ids = r->ids,
	    .types = r->m->hp.types > 0 ? r->types : NULL };
	return n;
}

static int
argmax(const float *v, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (v[i] > v[best])
			best = i;
	return best;
}

static void
keep_results(struct run *r, int64_t at, int n)
{
	struct evaluation *v = r->v;

	for (int i = 0; i < n; i++) {
		int64_t s = r->order[at + i];
		const float *logits = r->logits + (int64_t)i * v->labels;

		memcpy(v->logits + s * v->labels, logits,
		    (size_t)v->labels * sizeof *logits);
		v->predicted[s] = argmax(logits, v->labels);
		v->tokens += r->d->sample[s].tokens.n;
		if (r->ran != NULL)
			r->ran[s] = 1;
	}
}

static enum pare_rc tell_partial(struct run *r, enum metric metric,
    struct pare_err *err);

static enum pare_rc
run_batches(struct run *r, enum metric metric, struct task *task,
    struct pare_err *err)
{
	struct forward f = { .logits = r->logits, .task = task };
	struct batch b;
	int n;

	for (int64_t at = 0; at < r->d->n; at += n) {
		enum pare_rc rc;

		if (!task_tick(task, (double)at, (double)r->d->n, "samples"))
			return task_error(err);
		n = fill_batch(r, at, &b);
		rc = engine_forward(r->e, r->m, &b, &f, err);
		if (rc != PARE_OK)
			return rc;
		keep_results(r, at, n);
		if (r->live)
			rc = tell_partial(r, metric, err);
		if (rc != PARE_OK)
			return rc;
		if (r->most < LIVE_MOST)
			r->most *= 2;
	}
	if (!task_tick(task, (double)r->d->n, (double)r->d->n, "samples"))
		return task_error(err);
	return PARE_OK;
}

/* ---- metrics ---- */

/* The labelled samples, as flat arrays. */
struct labelled {
	int64_t n;
	int *gold, *predicted;
	double *score, *guess, *loss;
	/* A draw of them, for the bootstrap. */
	int *gold2, *predicted2;
	double *score2, *guess2;
	enum metric metric;
};

static double
cross_entropy(const float *logits, int n, int gold)
{
	double top = logits[argmax(logits, n)], sum = 0;

	for (int i = 0; i < n; i++)
		sum += exp(logits[i] - top);
	return log(sum) + top - logits[gold];
}

static void
labelled_free(struct labelled *a)
{
	free(a->gold);
	free(a->score);
}

static enum pare_rc
labelled_open(struct labelled *a, size_t n, struct pare_err *err)
{
	memset(a, 0, sizeof *a);
	a->gold = mem_big_zero(4 * n, sizeof *a->gold, err);
	if (a->gold == NULL)
		return PARE_ENOMEM;
	a->score = mem_big_zero(5 * n, sizeof *a->score, err);
	if (a->score == NULL) {
		free(a->gold);
		return PARE_ENOMEM;
	}
	a->predicted = a->gold + n;
	a->gold2 = a->gold + 2 * n;
	a->predicted2 = a->gold + 3 * n;
	a->guess = a->score + n;
	a->loss = a->score + 2 * n;
	a->score2 = a->score + 3 * n;
	a->guess2 = a->score + 4 * n;
	return PARE_OK;
}

/* Those that ran so far. */
static void
labelled_fill(struct labelled *a, const struct run *r)
{
	struct evaluation *v = r->v;
	bool regression = r->m->hp.head == HEAD_REGRESS;

	for (int64_t i = 0; i < r->d->n; i++) {
		const struct sample *s = &r->d->sample[i];
		const float *logits = v->logits + i * v->labels;

		v->gold[i] = !is_gold(r->m, s) ? -1 : regression ? 0 : s->label;
		if (v->gold[i] < 0 || (r->ran != NULL && !r->ran[i]))
			continue;
		a->gold[a->n] = v->gold[i];
		a->predicted[a->n] = v->predicted[i];
		a->score[a->n] = s->score;
		a->guess[a->n] = logits[0];
		a->loss[a->n] = regression ?
		    (logits[0] - s->score) * (logits[0] - s->score) :
		    cross_entropy(logits, v->labels, s->label);
		a->n++;
	}
	v->n = a->n;
}

static double
mean_of(const double *v, const int64_t *index, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += v[index == NULL ? i : index[i]];
	return n > 0 ? sum / (double)n : NAN;
}

static double
accuracy(const int *gold, const int *predicted, int64_t n)
{
	int64_t right = 0;

	for (int64_t i = 0; i < n; i++)
		right += gold[i] == predicted[i];
	return n > 0 ? (double)right / (double)n : NAN;
}

static double
metric_value(enum metric metric, const int *gold, const int *predicted,
    const double *score, const double *guess, int64_t n)
{
	switch (metric) {
	case METRIC_ACCURACY:
		return accuracy(gold, predicted, n);
	case METRIC_F1:
		return stats_f1(gold, predicted, n);
	case METRIC_MCC:
		return stats_mcc(gold, predicted, n);
	case METRIC_PEARSON:
		return stats_pearson(score, guess, n);
	case METRIC_SPEARMAN:
		return stats_spearman(score, guess, n);
	default:
		return NAN;
	}
}

/* stats_statistic: the metric of a draw. */
static double
drawn_metric(void *ctx, const int64_t *index, int64_t n)
{
	struct labelled *a = ctx;

	if (a->metric == METRIC_LOSS)
		return mean_of(a->loss, index, n);
	for (int64_t i = 0; i < n; i++) {
		a->gold2[i] = a->gold[index[i]];
		a->predicted2[i] = a->predicted[index[i]];
		a->score2[i] = a->score[index[i]];
		a->guess2[i] = a->guess[index[i]];
	}
	return metric_value(a->metric, a->gold2, a->predicted2, a->score2,
	    a->guess2, n);
}

/* budget: samples to draw in all, for a bootstrap. */
static void
find_interval(struct labelled *a, struct evaluation *v, int64_t budget)
{
	int64_t rounds = budget / (a->n > 0 ? a->n : 1);

	if (isnan(v->value)) {
		v->low = v->high = NAN;
		return;
	}
	if (v->metric == METRIC_ACCURACY) {
		stats_wilson((int64_t)llround(v->value * (double)a->n), a->n,
		    &v->low, &v->high);
		return;
	}
	rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds < ROUNDS_MIN ?
	    ROUNDS_MIN : rounds;
	a->metric = v->metric;
	stats_bootstrap(drawn_metric, a, a->n, (int)rounds, v->data_hash,
	    &v->low, &v->high);
}

/* The metric of what ran so far, and the others unless only it is wanted. */
static void
score_labelled(const struct run *r, const struct labelled *a,
    enum metric metric, bool only)
{
	bool regression = r->m->hp.head == HEAD_REGRESS;
	struct evaluation *v = r->v;

	v->metric = metric < METRIC_COUNT ? metric : regression ?
	    METRIC_PEARSON : METRIC_ACCURACY;
	for (int i = 0; i < METRIC_COUNT; i++) {
		bool fits = metric_table[i].regression == regression &&
		    (i != METRIC_F1 || v->labels == 2) &&
		    (!only || i == (int)v->metric);

		v->all[i] = fits ? metric_value((enum metric)i, a->gold,
		    a->predicted, a->score, a->guess, a->n) : NAN;
	}
	v->loss = v->all[METRIC_LOSS] = mean_of(a->loss, NULL, a->n);
	v->value = v->all[v->metric];
}

static enum pare_rc
score_results(struct run *r, enum metric metric, struct pare_err *err)
{
	struct labelled a;
	enum pare_rc rc = labelled_open(&a, (size_t)r->d->n, err);

	if (rc != PARE_OK)
		return rc;
	labelled_fill(&a, r);
	score_labelled(r, &a, metric, false);
	/* Ranking sorts, so it gets a tenth of the draws. */
	find_interval(&a, r->v, r->v->metric == METRIC_SPEARMAN ? 2000000 :
	    20000000);
	labelled_free(&a);
	return PARE_OK;
}

static enum pare_rc
tell_partial(struct run *r, enum metric metric, struct pare_err *err)
{
	struct evaluation *v = r->v;
	struct evaluation_partial p;
	struct labelled a;
	enum pare_rc rc = labelled_open(&a, (size_t)r->d->n, err);

	if (rc != PARE_OK)
		return rc;
	labelled_fill(&a, r);
	if (a.n > 0) {
		score_labelled(r, &a, metric, true);
		find_interval(&a, v, 100000);
		p = (struct evaluation_partial){ .n = a.n,
		    .total = r->labelled, .value = v->value, .low = v->low,
		    .high = v->high, .ran = r->ran, .predicted = v->predicted,
		    .gold = v->gold };
		r->watch(&p, r->ctx);
	}
	labelled_free(&a);
	return PARE_OK;
}

static enum pare_rc
run_all(struct run *r, enum metric metric, struct evaluation *out,
    struct task *task, struct pare_err *err)
{
	struct evaluation v = { .data_hash = r->d->hash };
	enum pare_rc rc = check_input(r->m, r->d, metric, err);
	double begin;

	r->v = &v;
	if (rc == PARE_OK)
		rc = run_open(r, err);
	begin = task_now();
	if (rc == PARE_OK)
		rc = run_batches(r, metric, task, err);
	v.seconds = task_now() - begin;
	if (rc == PARE_OK)
		rc = score_results(r, metric, err);
	run_close(r);
	if (rc != PARE_OK) {
		evaluation_free(&v);
		return rc;
	}
	v.model_hash = model_hash(r->m);
	*out = v;
	return PARE_OK;
}

enum pare_rc
evaluate_run(struct engine *e, const struct model *m, const struct dataset *d,
    enum metric metric, struct evaluation *out, struct task *task,
    struct pare_err *err)
{
	struct run r = { .e = e, .m = m, .d = d, .most = BATCH_TOKENS };

	return run_all(&r, metric, out, task, err);
}

enum pare_rc
evaluate_live(struct engine *e, const struct model *m,
    const struct dataset *d, enum metric metric, uint64_t seed,
    evaluation_watch *watch, void *ctx, struct evaluation *out,
    struct task *task, struct pare_err *err)
{
	struct run r = { .e = e, .m = m, .d = d, .most = LIVE_FIRST,
	    .live = true, .seed = seed, .watch = watch, .ctx = ctx };

	return run_all(&r, metric, out, task, err);
}

void
evaluation_free(struct evaluation *v)
{
	free(v->predicted);
	free(v->logits);
	free(v->gold);
	memset(v, 0, sizeof *v);
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
	to->logits = copy_of(from->logits,
	    n * (size_t)from->labels * sizeof *from->logits);
}
