/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * evaluate and compare on tiny models and hand-made sample sets, against one
 * forward pass per sample.
 */
#include "samples.h"

#include <math.h>
#include <stdlib.h>

#include "measure/evaluate.h"
#include "measure/stats.h"
#include "tensor/kernel.h"

enum { SAMPLES = 700, LONGEST = 20 };

/* Samples of 3 to 20 tokens; every seventh is unlabelled. */
static struct dataset *
make_data(int64_t n)
{
	struct dataset *d = xcalloc(1, sizeof *d);
	struct rng r;

	rng_seed(&r, 4);
	d->n = n;
	d->encoded = d->has_labels = true;
	d->hash = 77;
	d->sample = xcalloc((size_t)n, sizeof *d->sample);
	for (int64_t i = 0; i < n; i++) {
		struct sample *s = &d->sample[i];
		int len = 3 + (int)rng_below(&r, LONGEST - 2);

		s->tokens.n = len;
		s->tokens.id = xcalloc((size_t)len, sizeof *s->tokens.id);
		s->tokens.type = xcalloc((size_t)len, sizeof *s->tokens.type);
		for (int k = 0; k < len; k++) {
			s->tokens.id[k] = (int32_t)rng_below(&r, 60);
			s->tokens.type[k] = k > len / 2;
		}
		s->label = i % 7 == 3 ? -1 : (int)rng_below(&r, 2);
		s->score = s->label < 0 ? NAN : rng_uniform(&r);
		s->line = i + 1;
	}
	return d;
}

static void
free_data(struct dataset *d)
{
	for (int64_t i = 0; i < d->n; i++) {
		free(d->sample[i].tokens.id);
		free(d->sample[i].tokens.type);
	}
	free(d->sample);
	free(d);
}

static void
run(const struct model *m, const struct dataset *d, enum metric metric,
    struct evaluation *v)
{
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	if (evaluate_run(e, m, d, metric, v, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
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
	struct dataset *d = make_data(SAMPLES);
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
	free_data(d);
	model_unref(m);
}

static void
test_metrics(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = make_data(200);
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
	free_data(d);
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
	struct dataset *d = make_data(100);
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
	free_data(d);
	model_unref(m);
}

static void
refuse(const struct model *m, const struct dataset *d, enum metric metric,
    const char *word)
{
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	struct evaluation v;

	assert_int_equal(evaluate_run(e, m, d, metric, &v, NULL, &err),
	    PARE_EUSER);
	if (strstr(err.msg, word) == NULL)
		fail_msg("'%s' does not say '%s'", err.msg, word);
	engine_free(e);
}

static void
test_refusals(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *mlm = sample_real(&sample_models[1]);
	struct model *ghost = sample_ghost(&sample_models[0]);
	struct dataset *d = make_data(20);

	refuse(mlm, d, METRIC_COUNT, "no classifier");
	refuse(ghost, d, METRIC_COUNT, "weights");
	refuse(m, d, METRIC_PEARSON, "pearson");
	d->sample[4].label = 2;
	refuse(m, d, METRIC_COUNT, ":5: class 2");
	for (int i = 0; i < 20; i++)
		d->sample[i].label = -1;
	refuse(m, d, METRIC_COUNT, "no labels");
	d->encoded = false;
	refuse(m, d, METRIC_COUNT, "tokenized");
	free_data(d);
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

static void
test_cancel(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = make_data(SAMPLES);
	struct engine *e = engine_new();
	int at;

	for (at = 1; at < 100; at++) {
		struct countdown c = { .left = at };
		struct task task = { .tick = tick, .ctx = &c };
		struct pare_err err = { 0 };
		struct evaluation v;
		enum pare_rc rc = evaluate_run(e, m, d, METRIC_COUNT, &v,
		    &task, &err);

		if (c.left > 0) {
			assert_int_equal(rc, PARE_OK);
			evaluation_free(&v);
			break;
		}
		assert_int_equal(rc, PARE_ECANCELED);
	}
	assert_true(at > 2 && at < 100);
	engine_free(e);
	free_data(d);
	model_unref(m);
}

static void
test_memory(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = make_data(30);
	int n;

	for (n = 1; n < 200; n++) {
		struct engine *e = engine_new();
		struct pare_err err = { 0 };
		struct evaluation v;
		enum pare_rc rc;

		mem_fail_at(n);
		rc = evaluate_run(e, m, d, METRIC_COUNT, &v, NULL, &err);
		mem_fail_at(0);
		engine_free(e);
		if (rc == PARE_OK) {
			evaluation_free(&v);
			break;
		}
		assert_int_equal(rc, PARE_ENOMEM);
	}
	assert_true(n > 5 && n < 200);
	free_data(d);
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

/* ---- live ---- */

struct watch {
	const struct dataset *d;
	int calls;
	int64_t last;
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
	w->calls++;
	w->last = n;
}

static void
run_live(const struct model *m, const struct dataset *d, uint64_t seed,
    struct evaluation *v, int64_t *calls)
{
	struct engine *e = engine_new();
	struct watch w = { .d = d };
	struct pare_err err = { 0 };

	if (evaluate_live(e, m, d, METRIC_COUNT, seed, watch, &w, v, NULL,
	    &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(w.last, v->n);
	*calls = w.calls;
	engine_free(e);
}

static void
test_live(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = make_data(SAMPLES);
	struct evaluation v, live, again;
	int64_t calls;

	run(m, d, METRIC_COUNT, &v);
	run_live(m, d, 1, &live, &calls);
	/* 700 samples of 3 to 20 tokens: 64, 128, 256, then 512 tokens. */
	assert_true(calls >= 14 && calls <= 25);
	assert_int_equal(live.n, v.n);
	assert_int_equal(live.tokens, v.tokens);
	assert_true(fabs(live.loss - v.loss) < 1e-5);
	for (int64_t i = 0; i < SAMPLES; i++) {
		assert_int_equal(live.gold[i], v.gold[i]);
		assert_true(fabsf(live.logits[2 * i] - v.logits[2 * i]) <=
		    1e-4f);
	}
	run_live(m, d, 2, &again, &calls);
	assert_true(fabs(again.loss - v.loss) < 1e-5);
	evaluation_free(&v);
	evaluation_free(&live);
	evaluation_free(&again);
	free_data(d);
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
test_live_more(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = make_data(200);
	struct engine *e = engine_new();
	struct evaluation v;
	struct countdown c = { .left = 3 };
	struct task task = { .tick = tick, .ctx = &c };
	struct pare_err err = { 0 };
	int64_t last = 0;

	assert_int_equal(evaluate_live(e, m, d, METRIC_MCC, 1, watch_more,
	    &last, &v, NULL, &err), PARE_OK);
	assert_int_equal(last, v.n);
	evaluation_free(&v);
	last = 0;
	assert_int_equal(evaluate_live(e, m, d, METRIC_COUNT, 1, watch_more,
	    &last, &v, &task, &err), PARE_ECANCELED);
	assert_true(last > 0);
	engine_free(e);
	free_data(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_live_more),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
