/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The cache of keys and values: token by token gives the logits of whole passes,
 * for every kind of decoder and after every kind of removal; how tokens are
 * drawn; and a continuation that others published.
 */
#include "samples.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "engine/generate.h"
#include "tensor/kernel.h"
#include "text/tokenizer.h"

/* ---- the same logits ---- */

enum { TOKENS = 40, VOCAB = 61 };

/* What all kinds have. */
#define SIZES "\"num_hidden_layers\":3,\"num_attention_heads\":4," \
    "\"hidden_size\":24,\"intermediate_size\":36,\"vocab_size\":61," \
    "\"max_position_embeddings\":48,\"initializer_range\":0.25"
#define KIND(type, class, more) "{\"model_type\":\"" type "\"," \
    "\"architectures\":[\"" class "ForCausalLM\"]," more SIZES "}"
#define SCALING(type, more) "\"rope_scaling\":{\"rope_type\":\"" type \
    "\",\"factor\":4.0," more "\"original_max_position_embeddings\":16},"

static const struct sample_model kinds[] = {
	{ "gpt2", "{\"model_type\":\"gpt2\",\"architectures\":"
	    "[\"GPT2LMHeadModel\"],\"n_embd\":24,\"n_layer\":3,\"n_head\":4,"
	    "\"n_inner\":36,\"vocab_size\":61,\"n_positions\":48,"
	    "\"initializer_range\":0.25}" },
	{ "llama", KIND("llama", "Llama", "\"tie_word_embeddings\":true,") },
	{ "llama, groups", KIND("llama", "Llama", "\"num_key_value_heads\":2,"
	    SCALING("llama3", "\"low_freq_factor\":1.0,"
	    "\"high_freq_factor\":4.0,")) },
	{ "llama, linear", KIND("llama", "Llama", "\"num_key_value_heads\":1,"
	    SCALING("linear", "")) },
	{ "llama, yarn", KIND("llama", "Llama", SCALING("yarn", "")) },
	{ "llama, dynamic", KIND("llama", "Llama", "\"num_key_value_heads\":2,"
	    SCALING("dynamic", "")) },
	{ "mistral", KIND("mistral", "Mistral", "\"sliding_window\":9,"
	    "\"num_key_value_heads\":2,") },
	{ "qwen2", KIND("qwen2", "Qwen2", "\"use_sliding_window\":true,"
	    "\"sliding_window\":7,\"max_window_layers\":1,"
	    "\"num_key_value_heads\":2,") },
	{ "qwen3", KIND("qwen3", "Qwen3", "\"head_dim\":10,"
	    "\"num_key_value_heads\":2,") },
	{ "gemma", KIND("gemma", "Gemma", "\"head_dim\":8,"
	    "\"num_key_value_heads\":1,") },
	{ "gemma2", KIND("gemma2", "Gemma2", "\"head_dim\":8,"
	    "\"num_key_value_heads\":2,\"sliding_window\":9,"
	    "\"attn_logit_softcapping\":2.0,\"final_logit_softcapping\":3.0,"
	    "\"query_pre_attn_scalar\":6,") },
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static void
fill_ids(int32_t *id, const struct model *m)
{
	struct rng r;

	rng_seed(&r, 3);
	for (int i = 0; i < TOKENS; i++)
		id[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
}

static enum pare_rc
pass(struct engine *e, const struct model *m, const int32_t *id, int64_t n,
    struct kv *kv, bool last, float *logits, struct pare_err *err)
{
	const int64_t start[2] = { 0, n };
	struct batch b = { .nseq = 1, .start = start, .ids = id };
	struct forward f = { .logits = logits, .last = last, .kv = kv };

	return engine_forward(e, m, &b, &f, err);
}

static void
must(enum pare_rc rc, const struct pare_err *err)
{
	if (rc != PARE_OK)
		fail_msg("%s", err->msg);
}

/* Logits after each token, each from a pass over all up to it: angles may hang
 * on the length. */
static float *
reference(const struct model *m, const int32_t *id)
{
	const int64_t v = m->hp.vocab;
	float *out = xcalloc((size_t)(TOKENS * v), sizeof(*out));
	float *all = xcalloc((size_t)(TOKENS * v), sizeof(*all));
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	for (int n = 1; n <= TOKENS; n++) {
		must(pass(e, m, id, n, NULL, false, all, &err), &err);
		memcpy(out + (n - 1) * v, all + (n - 1) * v,
		    (size_t)v * sizeof(*out));
	}
	engine_free(e);
	free(all);
	return out;
}

/* Sums are taken in another order: within 2e-5 of the largest logit. */
static void
compare(const char *name, int at, const float *have, const float *want,
    int64_t n)
{
	float largest = 0;

	for (int64_t i = 0; i < n; i++)
		largest = fmaxf(largest, fabsf(want[i]));
	assert_true(largest > 0.05f);
	for (int64_t i = 0; i < n; i++)
		if (!(fabsf(have[i] - want[i]) <= 2e-5f * largest))
			fail_msg("%s, token %d: logit %d is %g, not %g", name,
			    at, (int)i, (double)have[i], (double)want[i]);
}

/* A prompt in one or two parts, then token by token; back, and again. */
static void
check_steps(const char *name, const struct model *m, int first, int second)
{
	const int64_t v = m->hp.vocab;
	struct pare_err err = { 0 };
	struct kv *kv = kv_new(m, TOKENS, &err);
	struct engine *e = engine_new();
	int32_t id[TOKENS];
	float *want, *have = xcalloc((size_t)v, sizeof(*have));
	size_t scratch = 0;

	assert_non_null(kv);
	fill_ids(id, m);
	want = reference(m, id);
	for (int round = 0; round < 2; round++) {
		int at = first;

		must(pass(e, m, id, first, kv, true, have, &err), &err);
		compare(name, at, have, want + (at - 1) * v, v);
		if (second > 0) {
			must(pass(e, m, id + at, second, kv, true, have, &err),
			    &err);
			at += second;
			compare(name, at, have, want + (at - 1) * v, v);
		}
		for (; at < TOKENS; at++) {
			must(pass(e, m, id + at, 1, kv, true, have, &err),
			    &err);
			compare(name, at + 1, have, want + at * v, v);
			assert_true(kv->id || scratch == 0 || scratch ==
			    engine_scratch(e));
			scratch = engine_scratch(e);
		}
		assert_int_equal(kv->length, TOKENS);
		/* There is no room for one more, and nothing is lost. */
		assert_int_equal(pass(e, m, id, 1, kv, true, have, &err),
		    PARE_EUSER);
		assert_non_null(strstr(err.msg, "room for 40"));
		assert_int_equal(kv->length, TOKENS);
		kv_cut(kv, 0);
	}
	kv_free(kv);
	engine_free(e);
	free(want);
	free(have);
}

static void
test_kinds(void **state)
{
	for (int i = 0; i < KINDS; i++) {
		struct model *m = sample_real(&kinds[i]);

		check_steps(kinds[i].name, m, 1, 0);
		check_steps(kinds[i].name, m, 13, 0);
		check_steps(kinds[i].name, m, 5, 12);
		check_steps(kinds[i].name, m, 20, 19);
		model_unref(m);
	}
}

/* Logits of the last tokens alone are those of the whole pass. */
static void
test_last(void **state)
{
	for (int i = 0; i < KINDS; i++) {
		struct model *m = sample_real(&kinds[i]);
		const int64_t v = m->hp.vocab, start[] = { 0, 17, 18, TOKENS };
		struct forward f = { .last = true };
		struct engine *e = engine_new();
		struct pare_err err = { 0 };
		float *all = xcalloc((size_t)(TOKENS * v), sizeof(*all));
		float *last = xcalloc((size_t)(3 * v), sizeof(*last));
		int32_t id[TOKENS];
		struct batch b = { .nseq = 3, .start = start, .ids = id };

		fill_ids(id, m);
		f.logits = last;
		must(engine_forward(e, m, &b, &f, &err), &err);
		f.logits = all;
		f.last = false;
		must(engine_forward(e, m, &b, &f, &err), &err);
		for (int s = 0; s < 3; s++)
			compare(kinds[i].name, s, last + s * v, all +
			    (start[s + 1] - 1) * v, v);
		engine_free(e);
		free(all);
		free(last);
		model_unref(m);
	}
}

static void
test_changed(void **state)
{
	static const char *const lines[] = {
		"prune heads L0.h1", "prune heads L2.h0-2",
		"prune attention L0", "prune attention L2", "prune ffn L1",
		"prune ffn L2", "prune layers L0",
		"prune neurons 50%", "quantize all bits=16 float=f16",
		"quantize all bits=8", "factorize L*.ffn rank=6",
		"share L0 L1" };

	for (int k = 0; k < 2; k++) {
		struct model *m = sample_real(&kinds[k]);

		for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
			struct model *p = sample_do(m, lines[i]);

			check_steps(lines[i], p, 7, 0);
			check_steps(lines[i], p, 11, 6);
			model_unref(p);
		}
		model_unref(m);
	}
}

/* The same bits for the same number of threads is all that is promised; here,
 * the same logits whatever it is. */
static void
test_threads(void **state)
{
	const int before = kernel_threads();
	struct model *m = sample_real(&kinds[2]);

	for (int n = 1; n < 4; n++) {
		kernel_set_threads(n);
		check_steps("threads", m, 9, 3);
	}
	kernel_set_threads(before);
	model_unref(m);
}

/* ---- refusals, and memory ---- */

static void
test_refused(void **state)
{
	struct model *m = sample_real(&kinds[1]), *other = sample_real(&kinds[0]);
	struct model *bert = sample_real(&sample_models[0]);
	struct generate_options o = { .n = 5, .sampling = { .top_p = 1 } };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	float logits[2 * VOCAB], *keep[4] = { NULL };
	int64_t start[] = { 0, 1, 2 };
	int32_t id[64] = { 1, 2 };
	struct batch b = { .nseq = 1, .start = start, .ids = id };
	struct forward f = { .logits = logits };
	struct generation g;

	assert_null(kv_new(bert, 8, &err));
	assert_non_null(strstr(err.msg, "no decoder"));
	assert_null(kv_new(m, 0, &err));
	assert_null(kv_new(m, 49, &err));
	assert_non_null(strstr(err.msg, "positions for 48"));
	f.kv = kv_new(m, 8, &err);
	assert_int_equal(engine_forward(e, other, &b, &f, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "another model"));
	b.nseq = 2;
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_EUSER);
	b.nseq = 1;
	f.keep = keep;
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_EUSER);
	kv_free(f.kv);

	assert_int_equal(generate_run(e, bert, id, 2, &o, &g, &err),
	    PARE_EUSER);
	assert_int_equal(generate_run(e, m, id, 0, &o, &g, &err), PARE_EUSER);
	assert_int_equal(generate_run(e, m, id, 49, &o, &g, &err), PARE_EUSER);
	assert_int_equal(generate_run(e, m, id, 45, &o, &g, &err), PARE_EUSER);
	assert_string_equal(err.hint, "n=4");
	assert_null(g.id);
	engine_free(e);
	model_unref(m);
	model_unref(other);
	model_unref(bert);
}

static void
test_bytes(void **state)
{
	struct model *m = sample_real(&kinds[1]), *p;
	struct model *groups = sample_real(&kinds[2]);
	struct model *bert = sample_real(&sample_models[0]);

	/* Keys and values of 4 heads of 6 values, 4 bytes each. */
	assert_int_equal(kv_layer_bytes(m, 0, 10), 10 * 2 * 24 * 4);
	assert_int_equal(kv_bytes(m, 10), 3 * 10 * 2 * 24 * 4);
	assert_int_equal(kv_bytes(groups, 10), 3 * 10 * 2 * 12 * 4);
	assert_int_equal(kv_bytes(bert, 10), 0);
	assert_true(kv_bytes(m, INT64_MAX / 2) == INT64_MAX);
	p = sample_do(m, "prune heads L1.h0,3");
	assert_int_equal(kv_layer_bytes(p, 1, 10), 10 * 2 * 12 * 4);
	model_unref(p);
	p = sample_do(m, "prune attention L0");
	assert_int_equal(kv_bytes(p, 10), 2 * 10 * 2 * 24 * 4);
	model_unref(p);
	model_unref(groups);
	model_unref(bert);
	model_unref(m);
}

/* No allocation fails half-way without being said. */
static void
test_no_memory(void **state)
{
	struct model *m = sample_real(&kinds[1]);
	struct generate_options o = { .n = 3,
		.sampling = { .temperature = 1, .top_p = 1 } };
	int32_t id[] = { 1, 2 };

	for (int at = 1; at < 6; at++) {
		struct engine *e = engine_new();
		struct pare_err err = { 0 };
		struct generation g;

		mem_fail_at(at);
		assert_int_equal(generate_run(e, m, id, 2, &o, &g, &err),
		    PARE_ENOMEM);
		mem_fail_at(0);
		assert_null(g.id);
		engine_free(e);
	}
	model_unref(m);
}

/* ---- drawing ---- */

static void
count(const struct sampling *how, const float *logits, int64_t n, int draws,
    int *times)
{
	struct sampler *s = sampler_new(how, n, NULL);

	memset(times, 0, (size_t)n * sizeof(*times));
	for (int i = 0; i < draws; i++)
		times[sampler_next(s, logits)]++;
	sampler_free(s);
}

static void
test_drawing(void **state)
{
	/* Probabilities 1/8, 1/2, 1/4, 1/8. */
	const float logits[] = { 0, 1.3862944f, 0.6931472f, 0 };
	struct sampling how = { .top_p = 1 };
	int times[4];

	count(&how, logits, 4, 10, times);
	assert_int_equal(times[1], 10);
	how.temperature = 1;
	count(&how, logits, 4, 8000, times);
	assert_true(abs(times[0] - 1000) < 150 && abs(times[1] - 4000) < 250);
	assert_true(abs(times[2] - 2000) < 200 && abs(times[3] - 1000) < 150);
	how.top_k = 2;
	count(&how, logits, 4, 3000, times);
	assert_true(abs(times[1] - 2000) < 150 && times[1] + times[2] == 3000);
	how.top_k = 0;
	how.top_p = 0.75;
	count(&how, logits, 4, 3000, times);
	assert_true(abs(times[1] - 2000) < 150 && times[1] + times[2] == 3000);
	how.top_p = 0.76;
	count(&how, logits, 4, 7000, times);
	/* Of equals the one with the lowest id. */
	assert_true(times[0] > 800 && times[3] == 0);
	how.top_p = 0;
	count(&how, logits, 4, 10, times);
	assert_int_equal(times[1], 10);
	how.top_p = 1;
	how.temperature = 0.25;
	count(&how, logits, 4, 1000, times);
	assert_true(times[1] > 900);
}

static void
check_same(const struct generation *a, const struct generation *b, bool same)
{
	assert_int_equal(a->n, b->n);
	assert_true((memcmp(a->id, b->id, (size_t)a->n * sizeof(*a->id)) ==
	    0) == same);
}

static void
test_seeds(void **state)
{
	struct model *m = sample_real(&kinds[1]);
	struct generate_options o = { .n = 30,
		.sampling = { .temperature = 2, .top_p = 1, .seed = 5 } };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	struct generation a, b, c;
	int32_t id[] = { 4, 5 };

	must(generate_run(e, m, id, 2, &o, &a, &err), &err);
	must(generate_run(e, m, id, 2, &o, &b, &err), &err);
	o.sampling.seed = 6;
	must(generate_run(e, m, id, 2, &o, &c, &err), &err);
	assert_int_equal(a.n, 30);
	assert_int_equal(a.end, GENERATE_LENGTH);
	check_same(&a, &b, true);
	check_same(&a, &c, false);
	/* What ends a text ends it, and is no part of it. */
	generation_free(&c);
	o.sampling.seed = 5;
	o.stop = &a.id[20];
	o.nstop = 1;
	must(generate_run(e, m, id, 2, &o, &c, &err), &err);
	assert_int_equal(c.end, GENERATE_STOP);
	assert_true(c.n <= 20);
	assert_memory_equal(a.id, c.id, (size_t)c.n * sizeof(*c.id));
	assert_int_equal(a.id[c.n], a.id[20]);
	generation_free(&a);
	generation_free(&b);
	generation_free(&c);
	engine_free(e);
	model_unref(m);
}

static void
stop_at(struct task *task, double done, double total, const char *what)
{
	if (done >= 4)
		task->cancel = true;
}

static void
test_stopped(void **state)
{
	struct model *m = sample_real(&kinds[1]);
	struct task task = { .tick = stop_at };
	struct generate_options o = { .n = 30, .sampling = { .top_p = 1 },
		.task = &task };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	struct generation g;
	int32_t id[] = { 4, 5 };

	assert_int_equal(generate_run(e, m, id, 2, &o, &g, &err),
	    PARE_ECANCELED);
	assert_int_equal(g.n, 4);
	generation_free(&g);
	engine_free(e);
	model_unref(m);
}

/* ---- what others published ---- */

static char *
shared(const char *name)
{
	const char *root = getenv("PARE_SHARED");
	char *path = io_join(root != NULL ? root : "../shared", name);

	if (access(path, R_OK) != 0) {
		free(path);
		skip();
	}
	return path;
}

static void
check_story(const char *name)
{
	struct generate_options o = { .n = 255, .sampling = { .top_p = 1 } };
	char *want_path = shared("real/models/stories260K/reference/greedy.txt");
	char *path = shared(name), *want;
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(path, 0, &err);
	struct engine *e = engine_new();
	struct str have = STR_INIT;
	struct model *m = NULL;
	struct generation g;
	int32_t bos;
	size_t n;

	assert_non_null(t);
	must(io_read(want_path, 1 << 20, &want, &n, &err), &err);
	must(file_open_model(path, NULL, &m, NULL, &err), &err);
	bos = tokenizer_bos(t);
	o.n = kv_longest(m) < 255 ? kv_longest(m) : 255;
	must(generate_run(e, m, &bos, 1, &o, &g, &err), &err);
	tokenizer_decode(t, g.id, g.n, false, &have);
	assert_true(have.n > 300);
	if (memcmp(have.s, want, have.n < n ? have.n : n) != 0)
		fail_msg("%s goes on: %s", name, have.s);
	str_free(&have);
	free(want);
	free(path);
	free(want_path);
	generation_free(&g);
	engine_free(e);
	model_unref(m);
	tokenizer_free(t);
}

/* Six letters are the prompt, the same in order what follows: the last needs no
 * position of its own. */
static void
test_sorting(void **state)
{
	struct generate_options o = { .n = 6, .sampling = { .top_p = 1 } };
	char *path = shared("real/models/gpt-nano-sort"), *line, *data;
	char *table = shared("real/models/gpt-nano-sort/reference/"
	    "gpt-nano-sort.tsv");
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	struct model *m = NULL;
	size_t n;

	must(file_open_model(path, NULL, &m, NULL, &err), &err);
	must(io_read(table, 1 << 20, &data, &n, &err), &err);
	for (line = strchr(data, '\n') + 1; *line != '\0';
	    line = strchr(line, '\n') + 1) {
		struct generation g;
		int32_t id[6];

		for (int i = 0; i < 6; i++)
			id[i] = line[i] - 'A';
		must(generate_run(e, m, id, 6, &o, &g, &err), &err);
		assert_int_equal(g.n, 6);
		for (int i = 0; i < 6; i++)
			assert_int_equal(g.id[i], line[7 + i] - 'A');
		generation_free(&g);
	}
	engine_free(e);
	model_unref(m);
	free(data);
	free(table);
	free(path);
}

static void
test_story(void **state)
{
	check_story("real/models/stories260K");
	check_story("real/gguf/stories260K-F32.gguf");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_drawing),
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_sorting),
		cmocka_unit_test(test_story),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
