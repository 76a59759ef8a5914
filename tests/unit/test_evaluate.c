/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * evaluate and compare on tiny models and hand-made sample sets, against one
 * forward pass per sample.
 */
#include "made_data.h"

#include <math.h>
#include <stdlib.h>

#include "measure/evaluate.h"
#include "measure/order.h"
#include "measure/stats.h"
#include "tensor/kernel.h"

enum { SAMPLES = 700 };

static void
run(const struct model *m, const struct dataset *d, enum metric metric,
    struct evaluation *v)
{
	struct evaluate_options o = { .metric = metric };
	struct evaluator *e = evaluator_new();
	struct pare_err err = { 0 };

	if (evaluate_run(e, m, d, &o, v, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	evaluator_free(e);
}

static void
forward_one(const struct model *m, const struct sample *s, float *logits)
{
	int64_t start[] = { 0, s->tokens.n };
	struct batch b = { .nseq = 1, .start = start, .ids = s->tokens.id,
	    .types = s->tokens.type };
	struct forward f = { .logits = logits };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	engine_free(e);
}

/* Batched results are those of single passes, in sample order. */
static void
test_run(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluation v, copy;
	int64_t right = 0, n = 0, tokens = 0;
	double low, high, loss = 0;

	run(m, d, METRIC_COUNT, &v);
	assert_int_equal(v.total, SAMPLES);
	for (int64_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &d->sample[i];
		float x[2];
		int guess;

		forward_one(m, s, x);
		guess = x[1] > x[0];
		assert_true(fabsf(x[0] - v.logits[2 * i]) <= 1e-4f);
		assert_true(fabsf(x[1] - v.logits[2 * i + 1]) <= 1e-4f);
		assert_int_equal(v.gold[i], s->label);
		tokens += s->tokens.n;
		if (fabsf(x[0] - x[1]) > 1e-3f)
			assert_int_equal(v.predicted[i], guess);
		if (s->label < 0)
			continue;
		n++;
		right += v.predicted[i] == s->label;
		loss -= log(1 / (1 + exp((double)(x[1 - s->label] -
		    x[s->label]))));
	}
	stats_wilson(right, n, &low, &high);
	assert_int_equal(v.n, n);
	assert_int_equal(v.tokens, tokens);
	assert_true(fabs(v.value - (double)right / (double)n) < 1e-12);
	assert_true(v.low == low && v.high == high);
	assert_true(fabs(v.loss - loss / (double)n) < 1e-4);
	assert_true(isnan(v.all[METRIC_PEARSON]));
	assert_false(isnan(v.all[METRIC_MCC]));
	evaluation_copy(&copy, &v);
	evaluation_free(&v);
	assert_int_equal(copy.gold[3], -1);
	evaluation_free(&copy);
	made_data_free(d);
	model_unref(m);
}

static void
test_metrics(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(200);
	struct evaluation v;
	enum metric k;

	run(m, d, METRIC_F1, &v);
	assert_int_equal(v.metric, METRIC_F1);
	assert_true(v.value == v.all[METRIC_F1]);
	assert_true(v.low < v.value && v.value < v.high);
	evaluation_free(&v);
	run(m, d, METRIC_LOSS, &v);
	assert_true(v.value == v.loss && v.low < v.loss && v.loss < v.high);
	evaluation_free(&v);
	for (int i = 0; i < METRIC_COUNT; i++) {
		assert_true(metric_find(metric_table[i].name, &k));
		assert_int_equal(k, i);
	}
	assert_false(metric_find("bleu", &k));
	made_data_free(d);
	model_unref(m);
}

/* Another metric from the logits that are known: what a run gives. */
static void
test_rescore(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(200);
	struct evaluation from, v, want;
	struct pare_err err = { 0 };

	run(m, d, METRIC_COUNT, &from);
	for (int k = 0; k < METRIC_COUNT; k++) {
		enum pare_rc rc = evaluation_rescore(&from, m, d,
		    (enum metric)k, &v, &err);

		if (metric_table[k].regression || metric_table[k].tokens) {
			assert_int_equal(rc, PARE_EUSER);
			continue;
		}
		assert_int_equal(rc, PARE_OK);
		run(m, d, (enum metric)k, &want);
		assert_int_equal(v.metric, k);
		assert_true(v.value == want.value && v.low == want.low &&
		    v.high == want.high && v.n == want.n);
		assert_memory_equal(v.all, want.all, sizeof(v.all));
		assert_memory_equal(v.logits, want.logits, 400 *
		    sizeof(*v.logits));
		evaluation_free(&v);
		evaluation_free(&want);
	}
	evaluation_free(&from);
	made_data_free(d);
	model_unref(m);
}

static void
test_scores(void **state)
{
	struct sample_model s = { "regression", "{\"model_type\":\"bert\","
	    "\"architectures\":[\"BertForSequenceClassification\"],"
	    "\"hidden_size\":32,\"num_hidden_layers\":1,"
	    "\"num_attention_heads\":4,\"intermediate_size\":48,"
	    "\"vocab_size\":90,\"max_position_embeddings\":24,"
	    "\"type_vocab_size\":2,\"hidden_act\":\"gelu\","
	    "\"id2label\":{\"0\":\"score\"},\"num_labels\":1,"
	    "\"problem_type\":\"regression\",\"initializer_range\":0.2}" };
	struct model *m = sample_real(&s);
	struct dataset *d = made_data(100);
	struct evaluation v;
	double x[100], y[100];
	int64_t n = 0;

	assert_int_equal(m->hp.head, HEAD_REGRESS);
	run(m, d, METRIC_COUNT, &v);
	assert_int_equal(v.metric, METRIC_PEARSON);
	for (int64_t i = 0; i < d->n; i++)
		if (!isnan(d->sample[i].score)) {
			x[n] = d->sample[i].score;
			y[n++] = v.logits[i];
		}
	assert_int_equal(v.n, n);
	assert_true(fabs(v.value - stats_pearson(x, y, n)) < 1e-12);
	assert_true(v.low < v.value && v.value < v.high);
	evaluation_free(&v);
	made_data_free(d);
	model_unref(m);
}

static void
refuse(const struct model *m, const struct dataset *d, enum metric metric,
    const char *word)
{
	struct evaluate_options o = { .metric = metric };
	struct evaluator *e = evaluator_new();
	struct pare_err err = { 0 };
	struct evaluation v;

	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err),
	    PARE_EUSER);
	if (strstr(err.msg, word) == NULL)
		fail_msg("'%s' does not say '%s'", err.msg, word);
	evaluator_free(e);
}

static void
test_refusals(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *mlm = sample_real(&sample_models[1]);
	struct model *ghost = sample_ghost(&sample_models[0]);
	struct dataset *d = made_data(20);

	refuse(mlm, d, METRIC_COUNT, "no token is hidden");
	refuse(mlm, d, METRIC_F1, "f1");
	refuse(m, d, METRIC_PERPLEXITY, "perplexity");
	refuse(ghost, d, METRIC_COUNT, "weights");
	refuse(m, d, METRIC_PEARSON, "pearson");
	d->sample[4].label = 2;
	refuse(m, d, METRIC_COUNT, ":5: class 2");
	for (int i = 0; i < 20; i++)
		d->sample[i].label = -1;
	refuse(m, d, METRIC_COUNT, "no labels");
	d->encoded = false;
	refuse(m, d, METRIC_COUNT, "tokenized");
	made_data_free(d);
	model_unref(ghost);
	model_unref(mlm);
	model_unref(m);
}

struct countdown {
	int left, ticks;
	double last;
};

static void
tick(struct task *task, double done, double total, const char *what)
{
	struct countdown *c = task->ctx;

	assert_true(done >= 0 && done <= total);
	c->ticks++;
	if (--c->left == 0)
		atomic_store(&task->cancel, true);
}

/* Stopped at every tick there is, alone and with a second thread. */
static void
test_cancel(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluate_options o = { .metric = METRIC_COUNT };
	struct evaluator *e = evaluator_new();
	int at;

	for (at = 1; at < 100; at++) {
		struct countdown c = { .left = at };
		struct task task = { .tick = tick, .ctx = &c };
		struct pare_err err = { 0 };
		struct evaluation v;
		enum pare_rc rc;

		kernel_set_threads(1 + at % 2);
		rc = evaluate_run(e, m, d, &o, &v, &task, &err);
		if (c.left > 0) {
			assert_int_equal(rc, PARE_OK);
			evaluation_free(&v);
			break;
		}
		assert_int_equal(rc, PARE_ECANCELED);
	}
	kernel_set_threads(1);
	assert_true(at > 2 && at < 100);
	evaluator_free(e);
	made_data_free(d);
	model_unref(m);
}

static void
run_short_of_memory(const struct model *m, const struct dataset *d)
{
	struct evaluate_options o = { .metric = METRIC_COUNT };
	int n;

	for (n = 1; n < 200; n++) {
		struct evaluator *e = evaluator_new();
		struct pare_err err = { 0 };
		struct evaluation v;
		enum pare_rc rc;

		mem_fail_at(n);
		rc = evaluate_run(e, m, d, &o, &v, NULL, &err);
		mem_fail_at(0);
		evaluator_free(e);
		if (rc == PARE_OK) {
			evaluation_free(&v);
			break;
		}
		assert_int_equal(rc, PARE_ENOMEM);
	}
	assert_true(n > 5 && n < 200);
}

static void
test_memory(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(30);

	run_short_of_memory(m, d);
	kernel_set_threads(3);
	run_short_of_memory(m, d);
	kernel_set_threads(1);
	made_data_free(d);
	model_unref(m);
}

/* A batch that fails: the same error on any number of threads. */
static void
test_error(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluate_options o = { .metric = METRIC_COUNT };
	struct evaluator *e = evaluator_new();
	char first[512] = "";

	d->sample[40].tokens.id[1] = 900;
	d->sample[600].tokens.id[1] = 901;
	for (int k = 0; k < 12; k++) {
		struct pare_err err = { 0 };
		struct evaluation v;

		kernel_set_threads(1 + k % 4);
		assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err),
		    PARE_EUSER);
		if (k == 0)
			strcpy(first, err.msg);
		assert_string_equal(err.msg, first);
	}
	assert_non_null(strstr(first, "token id 90"));
	kernel_set_threads(1);
	evaluator_free(e);
	made_data_free(d);
	model_unref(m);
}

/* ---- comparing ---- */

/* Predictions of 100 samples of class 1: the first `wrong` are wrong. */
static void
fake(struct evaluation *v, int32_t *predicted, int32_t *gold, int from,
    int wrong)
{
	memset(v, 0, sizeof *v);
	for (int i = 0; i < 100; i++) {
		gold[i] = 1;
		predicted[i] = !(i >= from && i < from + wrong);
	}
	v->total = v->n = 100;
	v->labels = 2;
	v->gold = gold;
	v->predicted = predicted;
	v->value = 1 - wrong / 100.0;
}

static void
expect(int wrong_a, int wrong_b, int64_t fixed, int64_t broke,
    const char *verdict)
{
	int32_t pa[100], pb[100], gold[100];
	struct evaluation a, b;
	struct comparison c;

	fake(&a, pa, gold, 0, wrong_a);
	fake(&b, pb, gold, 50, wrong_b);
	evaluation_compare(&a, &b, &c);
	assert_int_equal(c.fixed, fixed);
	assert_int_equal(c.broke, broke);
	assert_int_equal(c.changed, fixed + broke);
	assert_true(fabs(c.delta - (wrong_a - wrong_b) / 100.0) < 1e-12);
	assert_true(c.p == stats_mcnemar(fixed, broke));
	if (strstr(c.verdict, verdict) == NULL)
		fail_msg("'%s' is not '%s'", c.verdict, verdict);
}

static void
test_compare(void **state)
{
	expect(0, 0, 0, 0, "no prediction changed");
	expect(1, 2, 1, 2, "the set is too small: 3 flips of 100 cannot tell");
	expect(0, 1, 0, 1, "1 flip of 100");
	expect(0, 6, 0, 6, "worse (p 0.031)");
	expect(9, 1, 9, 1, "better (p 0.021)");
	expect(5, 7, 5, 7, "within noise (p 0.77)");
}

/* ---- watching, threads ---- */

enum { LOOKS = 64 };

struct watch {
	const struct dataset *d;
	int calls;
	int64_t last;
	double value[LOOKS];
};

/* What a partial result says is what its samples say, and their classes are in
 * proportion. */
static void
watch(const struct evaluation_partial *p, void *ctx)
{
	struct watch *w = ctx;
	int64_t n = 0, right = 0, ones = 0, all_ones = 0, all = 0;
	double low, high;

	for (int64_t i = 0; i < w->d->n; i++) {
		int gold = w->d->sample[i].label;

		all += gold >= 0;
		all_ones += gold == 1;
		if (!p->ran[i] || gold < 0)
			continue;
		assert_int_equal(p->gold[i], gold);
		n++;
		ones += gold == 1;
		right += p->predicted[i] == gold;
	}
	assert_int_equal(p->n, n);
	assert_int_equal(p->total, all);
	assert_true(n > w->last);
	assert_true(p->value == (double)right / (double)n);
	stats_wilson(right, n, &low, &high);
	assert_true(p->low == low && p->high == high);
	/* A class is off by a sample or two at any point. */
	assert_true(fabs((double)ones - (double)n * (double)all_ones /
	    (double)all) < 2.5);
	assert_true(w->calls < LOOKS);
	w->value[w->calls++] = p->value;
	w->last = n;
}

static void
same_results(const struct evaluation *a, const struct evaluation *b)
{
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->tokens, b->tokens);
	assert_memory_equal(a->logits, b->logits, (size_t)a->total *
	    (size_t)a->labels * sizeof(*a->logits));
	assert_memory_equal(a->predicted, b->predicted, (size_t)a->total *
	    sizeof(*a->predicted));
	assert_memory_equal(a->all, b->all, sizeof(a->all));
	assert_true(a->low == b->low && a->high == b->high);
}

/* Watched or not, on one thread or on seven: the same bits, and what is told on
 * the way is the same too. */
static void
test_watch(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluator *e = evaluator_new();
	struct watch first = { .d = d };
	struct evaluation v, again;

	run(m, d, METRIC_COUNT, &v);
	for (int threads = 1; threads <= 7; threads++) {
		struct watch w = { .d = d };
		struct evaluate_options o = { .metric = METRIC_COUNT,
			.watch = watch, .ctx = &w };
		struct pare_err err = { 0 };

		kernel_set_threads(threads);
		if (evaluate_run(e, m, d, &o, &again, NULL, &err) != PARE_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(w.last, v.n);
		same_results(&v, &again);
		evaluation_free(&again);
		if (threads == 1)
			first = w;
		assert_int_equal(w.calls, first.calls);
		assert_memory_equal(w.value, first.value, sizeof(w.value));
	}
	/* 700 samples of 3 to 20 tokens: from 64 to 512, and less again. */
	assert_true(first.calls >= 10 && first.calls <= 30);
	kernel_set_threads(1);
	evaluator_free(e);
	evaluation_free(&v);
	made_data_free(d);
	model_unref(m);
}

/* Other metrics have intervals by draws; stopping leaves nothing behind. */
static void
watch_more(const struct evaluation_partial *p, void *ctx)
{
	int64_t *last = ctx;

	assert_true(p->n > *last);
	assert_true(isnan(p->value) || (p->low <= p->value + 1e-9 &&
	    p->value <= p->high + 1e-9) || p->n < 20);
	*last = p->n;
}

static void
test_watch_more(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(200);
	struct evaluator *e = evaluator_new();
	struct evaluation v;
	struct countdown c = { .left = 3 };
	struct task task = { .tick = tick, .ctx = &c };
	struct pare_err err = { 0 };
	int64_t last = 0;
	struct evaluate_options o = { .metric = METRIC_MCC,
		.watch = watch_more, .ctx = &last };

	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err), PARE_OK);
	assert_int_equal(last, v.n);
	evaluation_free(&v);
	last = 0;
	o.metric = METRIC_COUNT;
	assert_int_equal(evaluate_run(e, m, d, &o, &v, &task, &err),
	    PARE_ECANCELED);
	assert_true(last > 0);
	evaluator_free(e);
	made_data_free(d);
	model_unref(m);
}

/* ---- stopping ---- */

/* The same place and the same bits on any number of threads; what ran is what a
 * whole run gives there. */
static void
check_stop(const struct model *m, const struct dataset *d,
    const struct evaluate_options *o, const struct evaluation *whole,
    struct evaluation *out)
{
	struct evaluator *e = evaluator_new();

	for (int k = 0; k < 12; k++) {
		struct evaluation v;
		struct pare_err err = { 0 };
		int64_t right = 0, n = 0, tokens = 0;

		kernel_set_threads(1 + k % 6);
		if (evaluate_run(e, m, d, o, &v, NULL, &err) != PARE_OK)
			fail_msg("%s", err.msg);
		assert_true(v.partial && v.n < whole->n);
		assert_int_equal(v.labelled, whole->n);
		for (int64_t i = 0; i < d->n; i++) {
			if (!v.ran[i]) {
				assert_int_equal(v.predicted[i], 0);
				assert_true(v.logits[2 * i] == 0);
				continue;
			}
			assert_memory_equal(&v.logits[2 * i],
			    &whole->logits[2 * i], 2 * sizeof(float));
			tokens += d->sample[i].tokens.n;
			n += v.gold[i] >= 0;
			right += v.gold[i] >= 0 &&
			    v.gold[i] == v.predicted[i];
		}
		assert_int_equal(v.n, n);
		assert_int_equal(v.tokens, tokens);
		assert_true(o->metric != METRIC_COUNT || v.value ==
		    (double)right / (double)n);
		if (k == 0) {
			*out = v;
			continue;
		}
		assert_int_equal(v.n, out->n);
		assert_memory_equal(v.ran, out->ran, (size_t)d->n);
		same_results(&v, out);
		evaluation_free(&v);
	}
	kernel_set_threads(1);
	evaluator_free(e);
}

static void
test_stop_narrow(void **state)
{
	static const enum metric metrics[] = { METRIC_COUNT, METRIC_F1,
		METRIC_LOSS };
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluation whole, v;

	run(m, d, METRIC_COUNT, &whole);
	for (int i = 0; i < 3; i++) {
		struct evaluate_options o = { .metric = metrics[i],
			.stop = STOP_CI, .half_width = 0.06 };

		check_stop(m, d, &o, &whole, &v);
		assert_true(v.high - v.low <= 0.12);
		assert_true(v.n >= 100);
		evaluation_free(&v);
	}
	/* Narrower than the whole set can make it: all of it ran. */
	v = (struct evaluation){ .n = 0 };
	{
		struct evaluate_options o = { .metric = METRIC_COUNT,
			.stop = STOP_CI, .half_width = 0.001 };
		struct evaluator *e = evaluator_new();
		struct pare_err err = { 0 };

		assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err),
		    PARE_OK);
		assert_false(v.partial);
		assert_null(v.ran);
		same_results(&v, &whole);
		evaluator_free(e);
	}
	evaluation_free(&v);
	evaluation_free(&whole);
	made_data_free(d);
	model_unref(m);
}

/* A batch behind the place where a rule stops fails or not, as threads come to
 * it: the result is there all the same. */
static void
test_stop_before_error(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluate_options o = { .metric = METRIC_COUNT,
		.stop = STOP_CI, .half_width = 0.06 };
	struct evaluation whole, v, again;
	struct pare_err err = { 0 };
	struct order order;

	run(m, d, METRIC_COUNT, &whole);
	check_stop(m, d, &o, &whole, &v);
	assert_int_equal(order_make(&order, m, d, &err), PARE_OK);
	for (int64_t i = 0; i < d->n; i++)
		if (!v.ran[order.sample[i]]) {
			d->sample[order.sample[i]].tokens.id[1] = 900;
			break;
		}
	check_stop(m, d, &o, &whole, &again);
	same_results(&v, &again);
	evaluation_free(&again);
	evaluation_free(&v);
	evaluation_free(&whole);
	order_free(&order);
	made_data_free(d);
	model_unref(m);
}

static void
test_stop_decided(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct evaluate_options o = { .metric = METRIC_COUNT,
		.stop = STOP_DECIDED };
	struct evaluation whole, base, v, again;
	struct comparison c;

	run(m, d, METRIC_COUNT, &whole);
	run(m, d, METRIC_COUNT, &base);
	o.against = &base;
	/* Nothing flips: it becomes unlikely that anything will. */
	check_stop(m, d, &o, &whole, &v);
	evaluation_compare(&base, &v, &c);
	assert_int_equal(c.changed, 0);
	assert_true(c.delta == 0 && c.p == 1);
	assert_non_null(strstr(c.verdict, "within noise"));
	evaluation_free(&v);
	/* One that is always right. */
	for (int64_t i = 0; i < d->n; i++)
		base.predicted[i] = base.gold[i] < 0 ? 0 : base.gold[i];
	check_stop(m, d, &o, &whole, &v);
	evaluation_compare(&base, &v, &c);
	assert_int_equal(c.fixed, 0);
	assert_true(c.broke >= 11 && c.p <= 0.01);
	assert_true(fabs(c.delta + (double)c.broke / (double)v.n) < 1e-12);
	assert_non_null(strstr(c.verdict, "worse, decided after"));
	assert_true(v.n < 120);
	evaluation_copy(&again, &v);
	assert_memory_equal(again.ran, v.ran, (size_t)d->n);
	evaluation_free(&again);
	evaluation_free(&v);
	evaluation_free(&whole);
	evaluation_free(&base);
	made_data_free(d);
	model_unref(m);
}

static void
test_stop_refusals(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(40);
	struct evaluate_options o = { .metric = METRIC_COUNT,
		.stop = STOP_DECIDED };
	struct evaluator *e = evaluator_new();
	struct evaluation v, base;
	struct pare_err err = { 0 };

	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "nothing to compare"));
	run(m, d, METRIC_COUNT, &base);
	base.partial = true;
	o.against = &base;
	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err),
	    PARE_EUSER);
	evaluation_free(&base);
	evaluator_free(e);
	made_data_free(d);
	model_unref(m);
}

/* Where a sample comes hangs on the set alone, and a batch holds whole ones. */
static void
test_order(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune layers last 2");
	struct dataset *d = made_data(SAMPLES);
	struct pare_err err = { 0 };
	struct order a, b;
	int64_t at = 0, *start;
	uint8_t *seen = xcalloc(SAMPLES, 1);

	assert_int_equal(order_make(&a, m, d, &err), PARE_OK);
	assert_int_equal(order_make(&b, p, d, &err), PARE_OK);
	assert_memory_equal(a.sample, b.sample, SAMPLES * sizeof(*a.sample));
	assert_int_equal(a.nbatches, b.nbatches);
	start = xcalloc((size_t)a.room + 1, sizeof(*start));
	for (int64_t i = 0; i < a.nbatches; i++) {
		struct batch x = order_batch(&a, i, start);

		assert_true(x.nseq >= 1 && x.nseq <= a.room);
		assert_int_equal(x.start[0], 0);
		assert_int_equal(x.start[x.nseq], a.batch_token[i + 1] -
		    a.batch_token[i]);
		assert_true(x.start[x.nseq] <= 512);
		for (int k = 0; k < x.nseq; k++, at++) {
			const struct tokens *t =
			    &d->sample[a.sample[at]].tokens;

			assert_int_equal(x.start[k + 1] - x.start[k], t->n);
			assert_memory_equal(x.ids + x.start[k], t->id,
			    (size_t)t->n * sizeof(*t->id));
			seen[a.sample[at]]++;
		}
	}
	assert_int_equal(at, SAMPLES);
	for (int i = 0; i < SAMPLES; i++)
		assert_int_equal(seen[i], 1);
	order_free(&b);
	d->hash++;
	assert_int_equal(order_make(&b, m, d, &err), PARE_OK);
	assert_memory_not_equal(a.sample, b.sample,
	    SAMPLES * sizeof(*a.sample));
	order_free(&a);
	order_free(&b);
	free(start);
	free(seen);
	made_data_free(d);
	model_unref(p);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_rescore),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_more),
		cmocka_unit_test(test_stop_narrow),
		cmocka_unit_test(test_stop_before_error),
		cmocka_unit_test(test_stop_decided),
		cmocka_unit_test(test_stop_refusals),
		cmocka_unit_test(test_order),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
