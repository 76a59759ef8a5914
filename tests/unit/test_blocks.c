/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The cache of block inputs: whatever it holds, an evaluation gives the bits of
 * one that begins with the embeddings; it computes no layer that a change left
 * alone; and it stays inside its limit.
 */
#include "made_data.h"

#include <unistd.h>

#include "base/io.h"
#include "engine/blocks.h"
#include "measure/evaluate.h"
#include "tensor/kernel.h"
#include "text/tokenizer.h"

enum { SAMPLES = 90 };

static const int64_t plenty = 1 << 28;

static void
evaluate(struct evaluator *e, const struct model *m, const struct dataset *d,
    struct evaluation *v)
{
	struct evaluate_options o = { .metric = METRIC_COUNT };
	struct pare_err err = { 0 };

	if (evaluate_run(e, m, d, &o, v, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
}

/* What m gives with an evaluator is what it gives without a cache. Returns the
 * first layer that was computed. */
static int
check(struct evaluator *e, const struct model *m, const struct dataset *d)
{
	struct evaluator *plain = evaluator_new();
	struct evaluation a, b;
	int from;

	evaluate(plain, m, d, &a);
	evaluate(e, m, d, &b);
	assert_int_equal(a.from, 0);
	assert_int_equal(evaluator_cached(plain), 0);
	assert_memory_equal(a.logits, b.logits, (size_t)a.total *
	    (size_t)a.labels * sizeof(*a.logits));
	assert_memory_equal(a.all, b.all, sizeof(a.all));
	from = b.from;
	evaluation_free(&a);
	evaluation_free(&b);
	evaluator_free(plain);
	return from;
}

/* The same after `line`, which changes nothing below layer l; -1: in a model of
 * that kind it is refused. */
static int
check_line(struct evaluator *e, const struct model *m,
    const struct dataset *d, const char *line)
{
	struct pare_err err = { 0 };
	struct op_result r;
	int from;

	if (sample_run(op_apply, m, line, NULL, &r, &err) != PARE_OK)
		return -1;
	from = check(e, r.model, d);
	op_result_free(&r);
	return from;
}

/* Ops on one layer, by every verb there is. */
static const char *const one_layer[] = {
	"prune heads L%d.h1", "prune attention L%d", "prune ffn L%d",
	"prune neurons 25%% L%d", "prune weights 50%% L%d",
	"prune weights pattern=2:4 L%d", "quantize L%d bits=8",
	"quantize L%d.ffn bits=4 group=8", "quantize L%d bits=2 scheme=kmeans",
	"quantize L%d.q bits=16 float=bf16", "factorize L%d.up rank=3",
	"share L%d.h1 to=L%d.h0", NULL
};

/* From the parent, layer l is the first that is computed, again and again. */
static void
check_layers(const struct model *m, const struct dataset *d, int64_t limit)
{
	struct evaluator *e = evaluator_new();
	int last = engine_last_whole(m), ran = 0;

	evaluator_limit(e, limit);
	assert_int_equal(check(e, m, d), 0);
	assert_int_equal(check(e, m, d), limit >= plenty ? last : check(e, m,
	    d));
	for (int l = m->nlayers - 1; l >= 0; l--)
		for (int k = 0; one_layer[k] != NULL; k++) {
			char line[80];
			int from;

			snprintf(line, sizeof(line), one_layer[k], l, l);
			from = check_line(e, m, d, line);
			assert_true(evaluator_cached(e) <= limit);
			assert_true(from <= l);
			if (from < 0)
				continue;
			ran++;
			/* A last layer that lost its attention leaves the
			 * one before it as the last whole one. */
			if (limit >= plenty && l < last)
				assert_int_equal(from, l);
		}
	assert_true(ran > 4 * m->nlayers);
	evaluator_free(e);
}

static void
test_one_layer(void **state)
{
	struct dataset *d = made_data(SAMPLES), *plain = made_data(SAMPLES);

	made_data_single(plain);
	for (int k = 0; k < SAMPLE_MODELS; k++) {
		struct model *m = sample_real(&sample_models[k]);

		if (m->hp.head == HEAD_CLASSIFY)
			check_layers(m, m->hp.types < 2 ? plain : d, plenty);
		model_unref(m);
	}
	made_data_free(plain);
	made_data_free(d);
}

/* Limits from nothing to a bit more than everything, on two threads. */
static void
test_limits(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	int64_t tokens = 0, one;

	for (int64_t i = 0; i < d->n; i++)
		tokens += d->sample[i].tokens.n;
	one = tokens * m->hp.hidden * (int64_t)sizeof(float);
	kernel_set_threads(2);
	for (int64_t limit = 0; limit <= 3 * one; limit += one / 2)
		check_layers(m, d, limit);
	kernel_set_threads(1);
	made_data_free(d);
	model_unref(m);
}

/* Every example of every op, one on top of the other and from the start. */
static void
test_all_ops(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *chain;
	struct dataset *d = made_data(SAMPLES);
	struct evaluator *e = evaluator_new();
	int ran = 0;

	evaluator_limit(e, 150000);
	chain = model_ref(m);
	for (int k = 0; op_table[k] != NULL; k++)
		for (const char *const *x = op_table[k]->examples; *x != NULL;
		    x++) {
			struct pare_err err = { 0 };
			struct op_result r;

			ran += check_line(e, m, d, *x) >= 0;
			if (sample_run(op_apply, chain, *x, NULL, &r, &err) !=
			    PARE_OK)
				continue;
			check(e, r.model, d);
			model_unref(chain);
			chain = model_ref(r.model);
			op_result_free(&r);
		}
	assert_true(ran > 15);
	assert_true(evaluator_cached(e) > 0 && evaluator_cached(e) <= 150000);
	evaluator_free(e);
	model_unref(chain);
	made_data_free(d);
	model_unref(m);
}

/* Other samples, other tokens: nothing is taken over. */
static void
test_other_data(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES), *f = made_data(SAMPLES - 1);
	struct evaluator *e = evaluator_new();
	uint64_t ways = kernel_ways();

	evaluator_limit(e, plenty);
	assert_int_equal(check(e, m, d), 0);
	assert_int_equal(check(e, m, f), 0);
	assert_int_equal(check(e, m, d), 2);
	/* Nor are inputs that products of another kind came to. */
	kernel_set_precision(KERNEL_EXACT);
	assert_int_equal(check(e, m, d), kernel_ways() == ways ? 2 : 0);
	kernel_set_precision(KERNEL_FAST);
	assert_int_equal(check(e, m, d), 2);
	/* Whatever the hash of the set says. */
	d->sample[30].tokens.id[1] ^= 1;
	assert_int_equal(check(e, m, d), 0);
	d->sample[30].tokens.type[1] ^= 1;
	assert_int_equal(check(e, m, d), 0);
	evaluator_limit(e, 0);
	assert_int_equal(evaluator_cached(e), 0);
	assert_int_equal(check(e, m, d), 0);
	evaluator_free(e);
	made_data_free(d);
	made_data_free(f);
	model_unref(m);
}

struct countdown {
	int left;
};

static void
tick(struct task *task, double done, double total, const char *what)
{
	struct countdown *c = task->ctx;

	if (--c->left == 0)
		atomic_store(&task->cancel, true);
}

/* What a stopped evaluation left behind is used, and only that. */
static void
test_cancel(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(500);
	struct evaluate_options o = { .metric = METRIC_COUNT };
	int at = 1;

	for (bool stopped = true; stopped; at++) {
		struct evaluator *e = evaluator_new();
		struct countdown c = { .left = at };
		struct task task = { .tick = tick, .ctx = &c };
		struct pare_err err = { 0 };
		struct evaluation v;

		evaluator_limit(e, plenty);
		kernel_set_threads(1 + at % 3);
		stopped = evaluate_run(e, m, d, &o, &v, &task, &err) ==
		    PARE_ECANCELED;
		if (!stopped)
			evaluation_free(&v);
		check(e, m, d);
		assert_int_equal(check_line(e, m, d, "prune heads L1.h1"), 1);
		evaluator_free(e);
	}
	assert_true(at > 4);
	kernel_set_threads(1);
	made_data_free(d);
	model_unref(m);
}

/* Without memory less is kept, and nothing else happens. */
static void
test_memory(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(40);
	struct evaluate_options o = { .metric = METRIC_COUNT };
	bool ran_short = false;

	for (int n = 1; n < 60; n++) {
		struct evaluator *e = evaluator_new();
		struct pare_err err = { 0 };
		struct evaluation v;
		enum pare_rc rc;

		evaluator_limit(e, plenty);
		mem_fail_at(n);
		rc = evaluate_run(e, m, d, &o, &v, NULL, &err);
		mem_fail_at(0);
		if (rc == PARE_OK)
			evaluation_free(&v);
		else
			assert_int_equal(rc, PARE_ENOMEM);
		ran_short = ran_short || (rc == PARE_OK &&
		    check_line(e, m, d, "prune ffn L2") < 2);
		check(e, m, d);
		evaluator_free(e);
	}
	assert_true(ran_short);
	made_data_free(d);
	model_unref(m);
}

/* ---- prefix hashes ---- */

/* A change in layer l leaves the hashes up to l and changes all above; one of the
 * head leaves all; one of the embeddings none. */
static void
test_prefix(void **state)
{
	static const struct {
		const char *line;
		int same;	/* hashes that stay */
	} cases[] = {
		{ "prune heads L0.h1", 1 }, { "prune heads L2.h1", 3 },
		{ "prune ffn L1", 2 }, { "quantize L2.norm bits=16", 3 },
		{ "prune attention L1", 2 }, { "prune layers last 1", 3 },
		{ "prune layers L1", 2 }, { "quantize head bits=8", 4 },
		{ "quantize emb.word bits=8", 0 },
		{ "prune neurons 3 L1", 2 }, { "quantize L1.v bits=8", 2 },
	};
	struct model *m = sample_real(&sample_models[0]);
	uint64_t was[4], is[4];

	assert_int_equal(m->nlayers, 3);
	model_prefix_hashes(m, was);
	for (int l = 0; l <= 3; l++)
		assert_true(was[l] == model_prefix_hash(m, l));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pare_err err = { 0 };
		struct op_result r;

		if (sample_run(op_apply, m, cases[i].line, NULL, &r, &err) !=
		    PARE_OK)
			fail_msg("%s: %s", cases[i].line, err.msg);
		model_prefix_hashes(r.model, is);
		for (int l = 0; l <= r.model->nlayers; l++)
			if ((was[l] == is[l]) != (l < cases[i].same))
				fail_msg("%s: hash %d", cases[i].line, l);
		op_result_free(&r);
	}
	model_unref(m);
}

/* ---- what is kept ---- */

static const char deep[] = "{\"model_type\":\"bert\",\"architectures\":"
    "[\"BertForSequenceClassification\"],\"hidden_size\":8,"
    "\"num_hidden_layers\":12,\"num_attention_heads\":2,"
    "\"intermediate_size\":8,\"vocab_size\":90,"
    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
    "\"hidden_act\":\"gelu\",\"initializer_range\":0.2}";

/* One batch of ten tokens as a pass would run it, all of it. */
static int
pass(struct blocks *b, const struct model *m)
{
	const int64_t token[] = { 0, 10 };
	struct blocks_pass *p = blocks_begin(b, m, 5, token, 1);
	int from = blocks_from(p, 0);

	blocks_ran(p, 0);
	blocks_end(p);
	return from;
}

/* Room for five of eleven boundaries keeps them evenly spread; the state that
 * changes are made from stays before those that were left. */
static void
test_useful(void **state)
{
	struct sample_model s = { "deep", deep };
	struct model *m = sample_real(&s);
	struct blocks *b = blocks_new();
	char line[64];
	int from, gap = 0;

	blocks_limit(b, 5 * 10 * 8 * (int64_t)sizeof(float));
	assert_int_equal(pass(b, m), 0);
	assert_int_equal(blocks_bytes(b), 5 * 10 * 8 * (int)sizeof(float));
	for (int l = 0; l < 12; l++) {
		struct blocks *again = blocks_new();
		struct model *p;

		blocks_limit(again, 5 * 10 * 8 * (int64_t)sizeof(float));
		pass(again, m);
		snprintf(line, sizeof(line), "prune heads L%d.h0", l);
		p = sample_do(m, line);
		from = pass(again, p);
		assert_true(from <= l);
		gap = l - from > gap ? l - from : gap;
		model_unref(p);
		blocks_free(again);
	}
	assert_int_equal(gap, 2);
	/* A sweep over heads, back to m after each. */
	for (int l = 0; l < 24; l++) {
		struct model *p;

		snprintf(line, sizeof(line), "prune heads L%d.h%d", l % 12,
		    l / 12);
		p = sample_do(m, line);
		from = pass(b, p);
		assert_true(l % 12 - from <= 5);
		model_unref(p);
	}
	blocks_clear(b);
	assert_int_equal(blocks_bytes(b), 0);
	assert_int_equal(pass(b, m), 0);
	blocks_free(b);
	model_unref(m);
}

/* ---- a real model ---- */

static char *
shared(const char *name)
{
	const char *dir = getenv("PARE_SHARED");

	return str_format("%s/real/%s", dir != NULL ? dir : "../shared", name);
}

static struct dataset *
read_data(const struct model *m, const char *file, int64_t limit)
{
	const char *const names[] = { "negative", "positive" };
	struct dataset_options o = { .limit = limit, .label_name = names,
		.nlabels = 2 };
	char *path = shared(file);
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(m->origin->dir, m->hp.vocab,
	    &err);
	struct dataset *d = dataset_read(path, &o, NULL, &err);

	if (t == NULL || d == NULL)
		fail_msg("%s", err.msg);
	assert_int_equal(dataset_encode(d, t, 512, NULL, &err), PARE_OK);
	tokenizer_free(t);
	free(path);
	return d;
}

static void
test_real(void **state)
{
	struct open_options o = { 0 };
	char *path = shared("models/sst2-bert");
	struct pare_err err = { 0 };
	struct model *m = NULL;
	struct dataset *d;
	struct evaluator *e;
	int last;

	if (!io_is_dir(path)) {
		free(path);
		skip();
	}
	if (file_open_model(path, &o, &m, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	d = read_data(m, "data/sst2.dev.tsv", 24);
	e = evaluator_new();
	evaluator_limit(e, plenty);
	last = engine_last_whole(m);
	assert_int_equal(check(e, m, d), 0);
	for (int l = last; l >= 0; l -= 2)
		for (int k = 0; one_layer[k] != NULL; k++) {
			char line[80];
			int from;

			snprintf(line, sizeof(line), one_layer[k], l, l);
			from = check_line(e, m, d, line);
			if (from >= 0 && l < last)
				assert_int_equal(from, l);
		}
	evaluator_free(e);
	dataset_free(d);
	model_unref(m);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_layer),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_all_ops),
		cmocka_unit_test(test_other_data),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_useful),
		cmocka_unit_test(test_real),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
