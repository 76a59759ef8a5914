/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Classifiers whose head is not BERT's, against the head done by hand on the
 * hidden states: decoders read the last token that is no padding, RoBERTa token
 * 0 through a dense layer and tanh, with positions that begin behind the
 * padding's.
 */
#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tensor/kernel.h"

enum { SEQUENCES = 4, TOKENS = 18, HIDDEN = 32, LABELS = 3, PAD = 69 };

/* Sequences of 5, 6, 3 and 4 tokens: plain, padded behind, padded within and
 * behind, all padding. */
static const int64_t start[] = { 0, 5, 11, 14, 18 };
static int32_t ids[TOKENS] = { 3, 14, 15, 9, 26, 5, 35, 8, PAD, PAD, PAD, 9, PAD,
	7, PAD, PAD, PAD, PAD };

static struct batch
batch_of(int32_t *id)
{
	return (struct batch){ .nseq = SEQUENCES, .start = start, .ids = id };
}

static void
run(const struct model *m, struct forward f)
{
	struct batch b = batch_of(ids);
	struct pare_err err = { 0 };
	struct engine *e = engine_new();

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
}

static const float *
weights(const struct model *m, enum slot s)
{
	return tensor_f32(model_slot(m, (struct slot_ref){ -1, s }));
}

/* y = W x + b, b may be NULL. */
static void
linear(const float *w, const float *b, const float *x, int rows, float *y)
{
	for (int r = 0; r < rows; r++) {
		double sum = b != NULL ? (double)b[r] : 0;

		for (int c = 0; c < HIDDEN; c++)
			sum += (double)w[r * HIDDEN + c] * (double)x[c];
		y[r] = (float)sum;
	}
}

static void
expect_near(const float *have, const float *want, int n, const char *what)
{
	for (int i = 0; i < n; i++)
		if (!(fabsf(have[i] - want[i]) <= 1e-4f))
			fail_msg("%s: %d is %g, by hand %g", what, i,
			    (double)have[i], (double)want[i]);
}

/* pads: the model knows its padding. */
static void
check_last(const char *name, bool pads)
{
	static const int padded[] = { 4, 7, 13, 14 }, bare[] = { 4, 10, 13, 17 };
	struct model *m = sample_real(sample_named(name));
	float hidden[TOKENS * HIDDEN], logits[SEQUENCES * LABELS];

	assert_int_equal(m->hp.head, HEAD_CLASSIFY);
	assert_int_equal(m->hp.pad, pads ? PAD + 1 : 0);
	run(m, (struct forward){ .hidden = hidden });
	run(m, (struct forward){ .logits = logits });
	for (int s = 0; s < SEQUENCES; s++) {
		int at = pads ? padded[s] : bare[s];
		float want[LABELS];

		linear(weights(m, SLOT_HOUT_W), NULL, hidden + at * HIDDEN,
		    LABELS, want);
		expect_near(logits + s * LABELS, want, LABELS, name);
	}
	model_unref(m);
}

static void
test_last_token(void **state)
{
	check_last("gpt2 classifier", true);
	check_last("llama classifier", false);
}

/* What follows the last token's own past cannot be seen; what is before can. */
static void
test_batch(void **state)
{
	struct model *m = sample_real(sample_named("llama classifier"));
	float all[SEQUENCES * LABELS], one[LABELS];
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	run(m, (struct forward){ .logits = all });
	for (int s = 0; s < SEQUENCES; s++) {
		int64_t length[] = { 0, start[s + 1] - start[s] };
		struct batch b = { .nseq = 1, .start = length,
		    .ids = ids + start[s] };
		struct forward f = { .logits = one };

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
		expect_near(one, all + s * LABELS, LABELS, "alone");
	}
	engine_free(e);
	model_unref(m);
}

static void
test_roberta(void **state)
{
	struct model *m = sample_real(sample_named("roberta"));
	float hidden[TOKENS * HIDDEN], logits[SEQUENCES * 2];

	assert_int_equal(m->hp.position_offset, 2);
	run(m, (struct forward){ .hidden = hidden });
	run(m, (struct forward){ .logits = logits });
	for (int s = 0; s < SEQUENCES; s++) {
		float x[HIDDEN], want[2];

		linear(weights(m, SLOT_HDENSE_W), weights(m, SLOT_HDENSE_B),
		    hidden + start[s] * HIDDEN, HIDDEN, x);
		for (int i = 0; i < HIDDEN; i++)
			x[i] = tanhf(x[i]);
		linear(weights(m, SLOT_HOUT_W), weights(m, SLOT_HOUT_B), x, 2,
		    want);
		expect_near(logits + s * 2, want, 2, "roberta");
	}
	model_unref(m);
}

/* The rows of the position table below the first used one mean nothing, that
 * one does; and there are as many tokens as rows are left. */
static void
test_roberta_positions(void **state)
{
	struct model *m = sample_real(sample_named("roberta"));
	struct slot_ref ref = { -1, SLOT_POSITION };
	float was[SEQUENCES * 2], is[SEQUENCES * 2];
	int32_t many[25];
	int64_t length[] = { 0, 25 };
	struct batch b = { .nseq = 1, .start = length, .ids = many };
	struct forward f = { .logits = is };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	run(m, (struct forward){ .logits = was });
	for (int row = 0; row < 3; row++) {
		struct edit *edit = edit_begin(m, EDIT_REAL, 0, NULL);
		const struct tensor *t = model_slot(m, ref);
		struct model *other = NULL;
		struct tensor *copy;
		float *v;

		copy = tensor_new_f32(2, t->rows, t->cols, &v, &err);
		tensor_decode(t, 0, t->rows, v);
		for (int c = 0; c < HIDDEN; c++)
			v[row * HIDDEN + c] += (float)(c % 3);
		edit_set(edit, ref, copy);
		assert_int_equal(edit_commit(edit, &other, &err), PARE_OK);
		run(other, (struct forward){ .logits = is });
		assert_int_equal(memcmp(was, is, sizeof(is)) == 0, row < 2);
		model_unref(other);
	}
	memset(many, 0, sizeof(many));
	assert_int_not_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	length[1] = 24;
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	engine_free(e);
	model_unref(m);
}

static void
remove_tree(const char *dir)
{
	char *line = str_format("rm -rf '%s'", dir);

	assert_int_equal(system(line), 0);
	free(line);
}

/* Saved, a classifier is a plain folder that its config alone describes: the
 * names are those that other readers look for. */
static void
test_names(void **state)
{
	static const struct {
		const char *sample, *slot;
		enum slot where;
	} names[] = {
		{ "gpt2 classifier", "score.weight", SLOT_HOUT_W },
		{ "llama classifier", "score.weight", SLOT_HOUT_W },
		{ "roberta", "classifier.out_proj.weight", SLOT_HOUT_W },
		{ "roberta", "classifier.dense.weight", SLOT_HDENSE_W },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct model *m = sample_real(sample_named(names[i].sample));
		struct model *back = NULL;
		char dir[] = "/tmp/pare-class-XXXXXX", name[256];
		char *path;
		struct pare_err err = { 0 };

		assert_true(model_file_name(m, (struct slot_ref){ -1,
		    names[i].where }, name, sizeof(name)));
		assert_string_equal(name, names[i].slot);
		assert_non_null(mkdtemp(dir));
		path = str_format("%s/m", dir);
		if (file_save_model(m, path, NULL, false, NULL, NULL, NULL,
		    &err) != PARE_OK || file_open_model(path, NULL, &back,
		    NULL, &err) != PARE_OK)
			fail_msg("%s", err.msg);
		assert_true(model_hash(back) == model_hash(m));
		assert_int_equal(back->hp.pad, m->hp.pad);
		model_unref(back);
		model_unref(m);
		remove_tree(dir);
		free(path);
	}
}

/* The id of padding as configs say it. */
static void
test_pad_config(void **state)
{
	static const struct {
		const char *pad;
		int64_t want;	/* -1: refused */
	} cases[] = {
		{ "", 0 }, { "\"pad_token_id\":null,", 0 },
		{ "\"pad_token_id\":-1,", 0 }, { "\"pad_token_id\":0,", 1 },
		{ "\"pad_token_id\":50256,", 50257 },
		{ "\"pad_token_id\":-2,", -1 },
		{ "\"pad_token_id\":\"0\",", -1 },
		{ "\"pad_token_id\":1e18,", -1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = str_format("{%s\"model_type\":\"mistral\","
		    "\"architectures\":[\"MistralForSequenceClassification\"],"
		    "\"hidden_size\":8,\"num_hidden_layers\":1,"
		    "\"num_attention_heads\":2,\"intermediate_size\":8,"
		    "\"vocab_size\":9}", cases[i].pad);
		struct arch_layout l;
		struct pare_err err = { 0 };
		json_t *config = json_parse(text, strlen(text), 0, "c", &err);
		enum pare_rc rc = arch_read_config(config, "c", &l, &err);

		assert_int_equal(rc == PARE_OK, cases[i].want >= 0);
		if (rc == PARE_OK) {
			assert_int_equal(l.hp.pad, cases[i].want);
			arch_layout_free(&l);
		} else {
			assert_non_null(strstr(err.msg, "pad_token_id"));
		}
		json_decref(config);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_token),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_roberta),
		cmocka_unit_test(test_roberta_positions),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_pad_config),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
