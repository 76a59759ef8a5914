/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune vocabulary on every architecture: the logits of the tokens that are left
 * are those of the whole model, ties stay, ids of the config and of padding
 * follow, and exactly as many tokens stay as were asked for.
 */
#include "samples.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "ops/score.h"
#include "tensor/kernel.h"
#include "text/reduce.h"

enum { TOKENS = 15, SEQUENCES = 2 };

static enum pare_rc
run(sample_runner *how, const struct model *m, const char *line,
    const struct op_calib *c, struct op_result *out, struct pare_err *err)
{
	struct sample_line l;
	enum pare_rc rc = sample_parse(line, &l, err);
	struct op_input in = { .model = m, .calib = c };

	if (rc != PARE_OK)
		return rc;
	in.args = &l.args;
	rc = how(l.op, &in, 16, out, err);
	sample_line_free(&l);
	return rc;
}

static struct model *
must(const struct model *m, const char *line, const struct op_calib *c)
{
	struct pare_err err = { 0 };
	struct op_result r;
	struct model *out;

	if (run(op_apply, m, line, c, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	out = model_ref(r.model);
	op_result_free(&r);
	return out;
}

static void
refuse(const struct model *m, const char *line, const struct op_calib *c,
    const char *words)
{
	struct pare_err err = { 0 };
	struct op_result r;

	if (run(op_apply, m, line, c, &r, &err) != PARE_EUSER)
		fail_msg("%s: not refused", line);
	if (strstr(err.msg, words) == NULL)
		fail_msg("%s: %s", line, err.msg);
}

/* Rows of logits: of each token, or of each sequence. */
static int64_t
logits_of(const struct model *m, const int32_t *ids, float *out)
{
	static const int64_t start[] = { 0, 6, TOKENS };
	struct batch b = { .nseq = SEQUENCES, .start = start, .ids = ids };
	struct forward f = { .logits = out };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	return head_gives_tokens(m->hp.head) ? TOKENS : SEQUENCES;
}

/* Uneven counts, so that what stays is spread over all ids. */
static void
make_counts(const struct model *m, uint64_t seed, int64_t *count)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int64_t i = 0; i < m->hp.vocab; i++)
		count[i] = (int64_t)rng_below(&r, 1000);
}

/* Column k of the smaller model is column map->id[k] of the whole one. */
static void
expect_same(const char *name, const struct model *whole,
    const struct model *part)
{
	const struct token_map *map = part->tokens;
	bool tokens = head_gives_tokens(whole->hp.head);
	int64_t wide = tokens ? whole->hp.vocab : whole->hp.labels;
	int64_t narrow = tokens ? part->hp.vocab : part->hp.labels;
	float a[TOKENS * 128], b[TOKENS * 128];
	int32_t now[TOKENS], was[TOKENS];
	int64_t rows;

	assert_non_null(map);
	assert_int_equal(map->n, part->hp.vocab);
	assert_int_equal(map->of, whole->hp.vocab);
	for (int i = 0; i < TOKENS; i++) {
		now[i] = (int32_t)((i * 7 + 3) % part->hp.vocab);
		/* A classifier reads the last token that is no padding. */
		if (whole->hp.pad > 0 && now[i] == part->hp.pad - 1)
			now[i] = 0;
		was[i] = map->id[now[i]];
	}
	rows = logits_of(whole, was, a);
	assert_int_equal(logits_of(part, now, b), rows);
	for (int64_t r = 0; r < rows; r++)
		for (int64_t k = 0; k < narrow; k++) {
			float x = a[r * wide + (tokens ? map->id[k] : k)];
			float y = b[r * narrow + k];

			if (!(fabsf(x - y) <= 1e-5f))
				fail_msg("%s: %g, whole %g", name, (double)y,
				    (double)x);
		}
}

static bool
is_tied(const struct model *m)
{
	return model_slot(m, (struct slot_ref){ -1, SLOT_HOUT_W }) ==
	    model_slot(m, (struct slot_ref){ -1, SLOT_WORD });
}

static void
expect_estimate(const struct model *m, const char *line,
    const struct op_calib *c)
{
	struct op_result estimate, result;
	struct pare_err err = { 0 };

	assert_int_equal(run(op_estimate, m, line, c, &estimate, &err),
	    PARE_OK);
	assert_int_equal(run(op_apply, m, line, c, &result, &err), PARE_OK);
	assert_true(estimate.after.params == result.after.params);
	assert_true(estimate.after.bytes == result.after.bytes);
	assert_true(estimate.after.macs == result.after.macs);
	assert_true(estimate.after.params < estimate.before.params);
	op_result_free(&estimate);
	op_result_free(&result);
}

static void
test_masked(void **state)
{
	int64_t count[128];
	struct op_calib c = { .tokens = count };
	/* An estimate knows no counts. */
	struct op_calib none = { 0 };

	for (int s = 0; s < SAMPLE_MODELS; s++) {
		struct model *m = sample_real(&sample_models[s]), *a, *b;
		struct op_result r;
		struct pare_err err = { 0 };

		make_counts(m, (uint64_t)s, count);
		a = must(m, "prune vocabulary keep=40", &c);
		assert_int_equal(a->hp.vocab, 40);
		assert_int_equal(is_tied(a), is_tied(m));
		expect_same(sample_models[s].name, m, a);
		expect_estimate(m, "prune vocabulary keep=40", &c);
		assert_int_equal(run(op_estimate, m,
		    "prune vocabulary keep=40", &none, &r, &err), PARE_OK);
		assert_int_equal(r.model->hp.vocab, 40);
		op_result_free(&r);
		/* Twice over, the map still tells the first ids. */
		b = must(a, "prune vocabulary 25% by=order", NULL);
		assert_int_equal(b->hp.vocab, 30);
		expect_same(sample_models[s].name, m, b);
		model_unref(b);
		model_unref(a);
		model_unref(m);
	}
}

/* Other forms of the embedding are cut by rows as well. */
static void
test_forms(void **state)
{
	static const char *const lines[] = { "quantize emb bits=8",
		"quantize emb bits=4", "quantize emb bits=16",
		"factorize emb.word rank=6", "prune weights 70% emb" };
	int64_t count[128];
	struct op_calib c = { .tokens = count };
	struct model *m = sample_real(sample_named("qwen2")), *packed, *a;

	make_counts(m, 77, count);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		packed = sample_do(m, lines[i]);
		a = must(packed, "prune vocabulary keep=33", &c);
		expect_same(lines[i], packed, a);
		expect_estimate(packed, "prune vocabulary keep=33", &c);
		model_unref(a);
		model_unref(packed);
	}
	model_unref(m);
}

static int64_t
config_id(const struct model *m, const char *key)
{
	return json_integer_value(json_object_get(m->origin->config, key));
}

static void
test_config(void **state)
{
	char dir[] = "/tmp/pare-vocabulary-XXXXXX";
	struct model *m = sample_real(sample_named("gpt2 classifier")), *a;
	struct model *back = NULL;
	struct pare_err err = { 0 };
	int64_t bytes;
	bool plain;
	char *path;

	json_object_set_new(m->origin->config, "bos_token_id",
	    json_integer(44));
	json_object_set_new(m->origin->config, "eos_token_id",
	    json_pack("[i,i]", 5, 61));
	a = must(m, "prune vocabulary keep=30 by=order", NULL);
	/* 44, 61 and the padding 69 stay, and 27 from the beginning. */
	assert_int_equal(a->hp.pad, 30);
	assert_int_equal(a->tokens->id[27], 44);
	assert_int_equal(a->tokens->id[28], 61);
	assert_int_equal(a->tokens->id[29], 69);
	assert_int_equal(token_map_id(a->tokens, 44), 27);
	assert_int_equal(token_map_id(a->tokens, 45), -1);
	assert_int_equal(token_map_id(NULL, 45), 45);
	assert_non_null(mkdtemp(dir));
	path = str_format("%s/m", dir);
	if (file_save_model(a, path, NULL, false, &bytes, &plain, NULL, &err) !=
	    PARE_OK || file_open_model(path, NULL, &back, NULL, &err) !=
	    PARE_OK)
		fail_msg("%s", err.msg);
	assert_true(model_hash(back) == model_hash(a));
	assert_null(back->tokens);
	assert_int_equal(config_id(back, "vocab_size"), 30);
	assert_int_equal(config_id(back, "bos_token_id"), 27);
	assert_int_equal(config_id(back, "pad_token_id"), 29);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(
	    back->origin->config, "eos_token_id"), 1)), 28);
	/* The model it came from is as it was. */
	assert_int_equal(config_id(m, "bos_token_id"), 44);
	assert_int_equal(m->hp.pad, 70);
	free(path);
	path = str_format("rm -rf '%s'", dir);
	assert_int_equal(system(path), 0);
	free(path);
	model_unref(back);
	model_unref(a);
	model_unref(m);
}

/* A tokenizer of letters, and pieces that are made of two or three. */
static struct tokenizer *
letters(int64_t *n)
{
	struct str vocab = STR_INIT, merges = STR_INIT;
	struct pare_err err = { 0 };
	struct tokenizer *t;
	int id = 0;

	for (int i = 0; i < 6; i++, id++)
		str_addf(&vocab, "%s\"%c\":%d", id > 0 ? "," : "{", 'a' + i,
		    id);
	for (int i = 0; i < 36; i++, id++) {
		str_addf(&vocab, ",\"%c%c\":%d", 'a' + i / 6, 'a' + i % 6, id);
		str_addf(&merges, "%c %c\n", 'a' + i / 6, 'a' + i % 6);
	}
	for (int i = 0; i < 28; i++, id++) {
		str_addf(&vocab, ",\"%c%c%c\":%d", 'a' + i / 6, 'a' + i % 6,
		    'a' + i % 5, id);
		str_addf(&merges, "%c%c %c\n", 'a' + i / 6, 'a' + i % 6,
		    'a' + i % 5);
	}
	str_addc(&vocab, '}');
	t = tokenizer_parse_merges(vocab.s, vocab.n, merges.s, merges.n, &err);
	if (t == NULL)
		fail_msg("%s", err.msg);
	*n = id;
	str_free(&vocab);
	str_free(&merges);
	return t;
}

/* Every number can be had, and each time the vocabulary is closed. */
static void
test_numbers(void **state)
{
	struct model *m = sample_real(sample_named("llama"));
	int64_t count[128] = { 0 }, n = 0;
	struct tokenizer *t = letters(&n);
	struct op_calib c = { .tokens = count, .tokenizer = t };
	struct token_needs needs;
	struct pare_err err = { 0 };

	assert_int_equal(n, m->hp.vocab);
	assert_int_equal(token_needs_find(t, n, &needs, &err), PARE_OK);
	/* The pieces of three letters are used most; "bab" never, for ab is joined
	 * first. */
	assert_false(needs.piece[42 + 6]);
	assert_true(needs.piece[42 + 7]);
	for (int64_t i = 0; i < n; i++)
		count[i] = i < 42 ? 0 : i;
	for (int64_t keep = 6; keep < n; keep++) {
		char *line = str_format("prune vocabulary keep=%d", (int)keep);
		struct model *a = must(m, line, &c);

		assert_int_equal(a->hp.vocab, keep);
		for (int64_t k = 0; k < keep; k++)
			for (int i = 0; i < 2; i++) {
				int32_t p = needs.parent[a->tokens->id[k]][i];

				assert_true(p < 0 || token_map_id(a->tokens,
				    p) >= 0);
			}
		/* One of three letters as soon as there is room for its two. */
		assert_int_equal(a->tokens->id[keep - 1] >= 42, keep >= 8);
		model_unref(a);
		free(line);
	}
	refuse(m, "prune vocabulary keep=5", &c, "6 of 70 have to stay");
	refuse(m, "prune vocabulary keep=70", &c, "no token of 70");
	refuse(m, "prune vocabulary keep=71", &c, "70 tokens to keep");
	refuse(m, "prune vocabulary 100%", &c, "amount: 0 tokens");
	refuse(m, "prune vocabulary 5 keep=5", &c, "only one");
	refuse(m, "prune vocabulary by=order", &c, "by: without");
	c.tokens = NULL;
	refuse(m, "prune vocabulary 5", &c, "calib");
	token_needs_free(&needs);
	tokenizer_free(t);
	model_unref(m);
}

/* Without a number what the texts use stays, with what that is made of. */
static void
test_used(void **state)
{
	struct model *m = sample_real(sample_named("llama")), *a;
	int64_t count[128] = { 0 }, n = 0;
	struct tokenizer *t = letters(&n);
	struct op_calib c = { .tokens = count, .tokenizer = t };

	count[42] = 3;		/* aaa: of aa and a */
	count[20] = 1;
	a = must(m, "prune vocabulary", &c);
	assert_int_equal(a->hp.vocab, 6 + 3);
	assert_int_equal(a->tokens->id[6], 6);
	assert_int_equal(a->tokens->id[7], 20);
	assert_int_equal(a->tokens->id[8], 42);
	model_unref(a);
	for (int64_t i = 0; i < n; i++)
		count[i] = 1;
	refuse(m, "prune vocabulary", &c, "use every token");
	tokenizer_free(t);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_used),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
