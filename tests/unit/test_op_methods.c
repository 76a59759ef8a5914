/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Single ops against what they promise: which tensors are one after share,
 * which heads, neurons and layers go, what is refused and with which words.
 */
#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "engine/engine.h"
#include "tensor/kernel.h"

enum { TOKENS = 9 };

static struct tensor *
at(const struct model *m, int layer, enum slot slot)
{
	return model_slot(m, (struct slot_ref){ layer, slot });
}

static struct totals
totals_of(const struct model *m)
{
	struct totals t;

	account_totals(m, 16, true, &t);
	return t;
}

/* The note of a line that must work. */
static char *
note_of(const struct model *m, const char *line)
{
	struct pare_err err = { 0 };
	struct op_result r;
	char *note;

	if (sample_run(op_apply, m, line, NULL, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	note = xstrdup(r.note != NULL ? r.note : "");
	op_result_free(&r);
	return note;
}

static void
expect_note(const struct model *m, const char *line, const char *word)
{
	char *note = note_of(m, line);

	if (strstr(note, word) == NULL)
		fail_msg("%s: note '%s' does not say '%s'", line, note, word);
	free(note);
}

static void
logits_of(const struct model *m, float *out)
{
	static const int64_t start[] = { 0, TOKENS };
	int32_t ids[TOKENS];
	struct batch b = { .nseq = 1, .start = start, .ids = ids };
	struct forward f = { .logits = out };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	for (int i = 0; i < TOKENS; i++)
		ids[i] = (i * 29 + 5) % 61;
	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
}

/* ---- share ---- */

static void
test_share_layers(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *s;
	int64_t one = 0;

	for (int k = 0; k < SLOT_LAYER_COUNT; k++)
		if (m->layer[0].t[k] != NULL)
			one += tensor_params(m->layer[0].t[k]);
	s = sample_do(m, "share L*");
	for (int k = 0; k < SLOT_LAYER_COUNT; k++)
		for (int l = 0; l < 3; l++)
			assert_ptr_equal(s->layer[l].t[k], m->layer[0].t[k]);
	assert_int_equal(totals_of(s).params, totals_of(m).params - 2 * one);
	assert_int_equal(totals_of(s).macs, totals_of(m).macs);
	expect_note(s, "share L0-1", "already");
	model_unref(s);

	s = sample_do(m, "share L0-1 to=L2 part=attention");
	assert_ptr_equal(at(s, 0, SLOT_Q_W), at(m, 2, SLOT_Q_W));
	assert_ptr_equal(at(s, 1, SLOT_O_B), at(m, 2, SLOT_O_B));
	assert_ptr_equal(at(s, 1, SLOT_ANORM_W), at(m, 1, SLOT_ANORM_W));
	assert_ptr_equal(at(s, 1, SLOT_UP_W), at(m, 1, SLOT_UP_W));
	model_unref(s);

	s = sample_do(m, "share L0-2.ffn groups=2");
	assert_ptr_equal(at(s, 2, SLOT_UP_W), at(s, 1, SLOT_UP_W));
	assert_ptr_not_equal(at(s, 0, SLOT_UP_W), at(s, 1, SLOT_UP_W));
	assert_ptr_equal(at(s, 1, SLOT_Q_W), at(m, 1, SLOT_Q_W));
	model_unref(s);
	model_unref(m);
}

static void
test_share_mean(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *s = sample_do(m, "share L0-1 to=mean");
	const float *a = tensor_f32(at(m, 0, SLOT_UP_W));
	const float *b = tensor_f32(at(m, 1, SLOT_UP_W));
	const float *mean = tensor_f32(at(s, 0, SLOT_UP_W));

	assert_ptr_equal(at(s, 0, SLOT_UP_W), at(s, 1, SLOT_UP_W));
	for (int64_t i = 0; i < 32 * 48; i++)
		assert_true(fabsf(mean[i] - (a[i] + b[i]) / 2) <= 1e-6f);
	model_unref(s);
	s = sample_do(m, "quantize L1 bits=4");
	sample_refuse(s, "share L0-1 to=mean", "to=first");
	model_unref(s);
	model_unref(m);
}

static void
test_share_matrices(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *s;

	s = sample_do(m, "share L2.q to=L1.q");
	assert_ptr_equal(at(s, 2, SLOT_Q_W), at(m, 1, SLOT_Q_W));
	assert_ptr_equal(at(s, 2, SLOT_Q_B), at(m, 1, SLOT_Q_B));
	assert_ptr_equal(at(s, 2, SLOT_K_W), at(m, 2, SLOT_K_W));
	model_unref(s);
	s = sample_do(m, "share L2.k to=L2.q");
	assert_ptr_equal(at(s, 2, SLOT_K_W), at(m, 2, SLOT_Q_W));
	model_unref(s);
	sample_refuse(m, "share L2.q to=L0.up", "48 x 32");
	model_unref(m);
}

static void
test_share_refusals(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;

	sample_refuse(m, "share L0", "alone");
	sample_refuse(m, "share L2.q", "to=L0.q");
	sample_refuse(m, "share L0-2 groups=4", "groups");
	sample_refuse(m, "share L0-2 groups=2 to=L1", "groups");
	sample_refuse(m, "share L0-2 to=L9", "9");
	sample_refuse(m, "share L0.attn L1.ffn", "part");
	sample_refuse(m, "share L0.h0 to=L0.h0", "already");
	p = sample_do(m, "quantize L0.o");
	sample_refuse(p, "share L0.h1 to=L0.h0", "L0.attn.o.weight");
	model_unref(p);
	sample_refuse(m, "share L0.h0,1 to=L0.h2", "one to one");
	p = sample_do(m, "prune heads L1.h0");
	sample_refuse(p, "share L0-2", "prune heads 1 L0");
	model_unref(p);
	p = sample_do(m, "prune neurons 5 L2");
	sample_refuse(p, "share L0-2", "prune neurons 5 L0");
	model_unref(sample_do(p, "share L0-2 part=attention"));
	model_unref(p);
	model_unref(m);
}

/* The folded model computes what two heads with equal q, k, v would. */
static void
test_share_heads(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *copy, *fold, *twin;
	float a[2], b[2];
	struct model *far;

	/* The twin: copy head 2 over head 1 by way of another layer, which is
	 * made equal first. */
	copy = sample_do(m, "share L1 to=L0");
	twin = sample_do(copy, "share L0.h1 to=L1.h2");
	fold = sample_do(copy, "share L0.h1 to=L0.h2");
	assert_int_equal(fold->layer[0].heads, 3);
	assert_true(totals_of(fold).bytes < totals_of(twin).bytes);
	logits_of(twin, a);
	logits_of(fold, b);
	assert_true(fabsf(a[0] - b[0]) <= 1e-5f && fabsf(a[1] - b[1]) <= 1e-5f);
	logits_of(copy, b);
	assert_true(fabsf(a[0] - b[0]) > 1e-5f);
	expect_note(m, "share L0.h1 to=L1.h2", "bytes stay");
	far = sample_do(m, "share L0.h1 to=L1.h2");
	assert_int_equal(totals_of(far).bytes, totals_of(m).bytes);
	model_unref(far);
	model_unref(fold);
	model_unref(twin);
	model_unref(copy);
	model_unref(m);
}

/* ---- prune ---- */

static void
test_heads(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;
	int n = 0;

	p = sample_do(m, "prune heads L0.h1,3 L2.h0");
	assert_int_equal(p->layer[0].heads, 2);
	assert_true(head_set_has(&p->layer[0].head, 0));
	assert_true(head_set_has(&p->layer[0].head, 2));
	assert_int_equal(p->layer[1].heads, 4);
	assert_int_equal(p->layer[2].heads, 3);
	assert_int_equal(at(p, 0, SLOT_Q_W)->rows, 16);
	assert_int_equal(at(p, 0, SLOT_O_W)->cols, 16);
	sample_refuse(p, "prune heads L0.h1", "already");
	sample_refuse(p, "prune heads L0.h0,2", "prune attention L0");
	model_unref(p);
	p = sample_do(m, "prune heads 50%");
	for (int l = 0; l < 3; l++)
		n += p->layer[l].heads;
	assert_int_equal(n, 6);
	model_unref(p);
	p = sample_do(m, "prune heads 100%");
	for (int l = 0; l < 3; l++)
		assert_int_equal(p->layer[l].heads, 1);
	sample_refuse(p, "prune heads 1", "last head");
	model_unref(p);
	expect_note(m, "prune heads 100%", "9 of the 12");
	p = sample_do(m, "prune heads L1-2 2");
	assert_int_equal(p->layer[0].heads, 4);
	assert_int_equal(p->layer[1].heads + p->layer[2].heads, 6);
	model_unref(p);
	sample_refuse(m, "prune heads", "amount");
	sample_refuse(m, "prune heads L1", "prune attention L1");
	sample_refuse(m, "prune heads 0%", "amount");
	sample_refuse(m, "prune heads L0.q 1", "names no heads");
	sample_refuse(m, "prune heads 101%", "amount");
	sample_refuse(m, "prune heads 1 by=size", "by");
	model_unref(m);
}

/* Where heads share KV heads, groups go: by name, by amount, and not by halves.
 * The matrices of both sides follow. */
static void
test_head_groups(void **state)
{
	struct model *m = sample_real(sample_named("llama of groups")), *p;
	char *note;

	p = sample_do(m, "prune heads L0.h2");
	assert_int_equal(p->layer[0].heads, 2);
	assert_int_equal(p->layer[0].kv_heads, 1);
	assert_true(head_set_has(&p->layer[0].head, 1));
	assert_false(head_set_has(&p->layer[0].head, 3));
	assert_int_equal(at(p, 0, SLOT_Q_W)->rows, 16);
	assert_int_equal(at(p, 0, SLOT_K_W)->rows, 8);
	assert_int_equal(at(p, 0, SLOT_K_B)->cols, 8);
	assert_int_equal(at(p, 0, SLOT_V_W)->rows, 8);
	assert_int_equal(at(p, 0, SLOT_O_W)->cols, 16);
	sample_refuse(p, "prune heads L0.h0", "share a KV head");
	model_unref(p);
	expect_note(m, "prune heads L0.h2", "1 more head went along");
	expect_note(m, "prune heads L0.h2 L1.h1", "2 more heads went along");
	note = note_of(m, "prune heads L0.h2,3");
	assert_string_equal(note, "");
	free(note);
	sample_refuse(m, "prune heads L0.h1,2", "prune attention L0");
	p = sample_do(m, "prune heads 1");
	assert_int_equal(p->layer[0].heads + p->layer[1].heads, 6);
	model_unref(p);
	p = sample_do(m, "prune heads 50%");
	assert_int_equal(p->layer[0].heads, 2);
	assert_int_equal(p->layer[1].heads, 2);
	sample_refuse(p, "prune heads 1", "the last group of a layer stays");
	model_unref(p);
	expect_note(m, "prune heads 100%", "2 of the 4 groups of heads");
	model_unref(m);
}

/* share folds groups as a whole; heads of one group share their queries. */
static void
test_share_groups(void **state)
{
	struct model *m = sample_real(sample_named("llama of groups"));
	struct model *twin, *fold, *copy;
	float a[TOKENS * 70], b[TOKENS * 70];

	/* By way of another layer, as above. */
	copy = sample_do(m, "share L1 to=L0");
	twin = sample_do(copy, "share L0.h1 to=L1.h3");
	fold = sample_do(copy, "share L0.h1 to=L0.h3");
	assert_int_equal(fold->layer[0].heads, 2);
	assert_int_equal(fold->layer[0].kv_heads, 1);
	logits_of(twin, a);
	logits_of(fold, b);
	for (int i = 0; i < TOKENS * 70; i++)
		assert_true(fabsf(a[i] - b[i]) <= 1e-4f);
	model_unref(twin);
	model_unref(fold);
	model_unref(copy);
	expect_note(m, "share L0.h1 to=L0.h0", "bytes stay");
	copy = sample_do(m, "share L0.h1 to=L0.h0");
	assert_int_equal(copy->layer[0].heads, 4);
	assert_memory_equal(tensor_f32(at(copy, 0, SLOT_Q_W)) + 8 * 32,
	    tensor_f32(at(m, 0, SLOT_Q_W)), 8 * 32 * sizeof(float));
	assert_ptr_equal(at(copy, 0, SLOT_K_W), at(m, 0, SLOT_K_W));
	model_unref(copy);
	model_unref(m);
}

/* One KV head serves all: there is no group to take. */
static void
test_one_kv_head(void **state)
{
	static const struct sample_model one = { "one KV head",
	    "{\"model_type\":\"gemma\",\"architectures\":"
	    "[\"GemmaForCausalLM\"],\"hidden_size\":16,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":2,"
	    "\"num_key_value_heads\":1,\"head_dim\":8,"
	    "\"intermediate_size\":20,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24}" };
	struct model *m = sample_real(&one);

	sample_refuse(m, "prune heads L0.h1", "share a KV head");
	sample_refuse(m, "prune heads 50%", "the last group of a layer stays");
	model_unref(m);
}

/* A SwiGLU neuron is a row of up and of gate, their biases, a column of down. */
static void
test_gated_neurons(void **state)
{
	struct model *m = sample_real(sample_named("llama of groups")), *p;

	p = sample_do(m, "prune neurons 30 L0");
	assert_int_equal(p->layer[0].ffn, 10);
	assert_int_equal(p->layer[1].ffn, 40);
	assert_int_equal(at(p, 0, SLOT_UP_W)->rows, 10);
	assert_int_equal(at(p, 0, SLOT_GATE_W)->rows, 10);
	assert_int_equal(at(p, 0, SLOT_UP_B)->cols, 10);
	assert_int_equal(at(p, 0, SLOT_GATE_B)->cols, 10);
	assert_int_equal(at(p, 0, SLOT_DOWN_W)->cols, 10);
	assert_int_equal(at(p, 0, SLOT_DOWN_B)->cols, 32);
	model_unref(p);
	model_unref(m);
}

/* The head of a decoder that is tied to its embedding stays so. */
static void
test_tied_head(void **state)
{
	static const char *const lines[] = { "quantize emb.word bits=4",
	    "quantize head bits=4", "factorize emb.word rank=4",
	    "prune weights 50% emb.word", "prune weights 50% head",
	    "quantize all" };
	static const char *const names[] = { "gpt2", "llama of groups",
	    "gemma" };

	for (int k = 0; k < 3; k++) {
		struct model *m = sample_real(sample_named(names[k])), *p;

		for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
			p = sample_do(m, lines[i]);
			if (at(p, -1, SLOT_WORD) == at(m, -1, SLOT_WORD) ||
			    at(p, -1, SLOT_HOUT_W) != at(p, -1, SLOT_WORD))
				fail_msg("%s: %s", names[k], lines[i]);
			model_unref(p);
		}
		model_unref(m);
	}
}

/* The head with the smallest weights goes first. */
static void
test_heads_magnitude(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *weak = NULL, *p;
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };

	for (int s = SLOT_Q_W; s <= SLOT_O_W; s += 2) {
		struct tensor *t = at(m, 1, (enum slot)s);
		float *v;
		struct tensor *n = tensor_new_f32(2, t->rows, t->cols, &v,
		    &err);

		tensor_decode(t, 0, t->rows, v);
		for (int64_t r = 0; r < t->rows; r++)
			for (int64_t c = 0; c < t->cols; c++)
				if ((s == SLOT_O_W ? c : r) / 8 == 2)
					v[r * t->cols + c] *= 0.1f;
		edit_set(e, (struct slot_ref){ 1, (enum slot)s }, n);
	}
	assert_int_equal(edit_commit(e, &weak, &err), PARE_OK);
	p = sample_do(weak, "prune heads 1");
	assert_int_equal(p->layer[1].heads, 3);
	assert_false(head_set_has(&p->layer[1].head, 2));
	model_unref(p);
	model_unref(weak);
	model_unref(m);
}

static void
test_neurons(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;

	p = sample_do(m, "prune neurons 25%");
	for (int l = 0; l < 3; l++)
		assert_int_equal(p->layer[l].ffn, 36);
	model_unref(p);
	p = sample_do(m, "prune neurons 10 L1 L2");
	assert_int_equal(p->layer[0].ffn, 48);
	assert_int_equal(p->layer[1].ffn, 38);
	assert_int_equal(p->layer[2].ffn, 38);
	model_unref(p);
	p = sample_do(m, "prune neurons 50% scope=global");
	assert_int_equal(p->layer[0].ffn + p->layer[1].ffn + p->layer[2].ffn,
	    72);
	model_unref(p);
	p = sample_do(m, "prune neurons 100%");
	for (int l = 0; l < 3; l++)
		assert_int_equal(p->layer[l].ffn, 1);
	sample_refuse(p, "prune neurons 50%", "last neuron");
	model_unref(p);
	sample_refuse(m, "prune neurons 25% L0.q", "FFN");
	sample_refuse(m, "prune neurons L0", "amount");
	model_unref(m);
}

static void
test_layers(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;

	p = sample_do(m, "prune layers every 2");
	assert_int_equal(p->nlayers, 2);
	assert_ptr_equal(at(p, 0, SLOT_Q_W), at(m, 0, SLOT_Q_W));
	assert_ptr_equal(at(p, 1, SLOT_Q_W), at(m, 2, SLOT_Q_W));
	model_unref(p);
	p = sample_do(m, "prune layers last 2");
	assert_int_equal(p->nlayers, 1);
	assert_ptr_equal(at(p, 0, SLOT_Q_W), at(m, 0, SLOT_Q_W));
	sample_refuse(p, "prune layers L0", "one layer");
	model_unref(p);
	p = sample_do(m, "prune layers L0,2");
	assert_ptr_equal(at(p, 0, SLOT_Q_W), at(m, 1, SLOT_Q_W));
	model_unref(p);
	sample_refuse(m, "prune layers all", "one must stay");
	sample_refuse(m, "prune layers last 3", "1 to 2");
	sample_refuse(m, "prune layers last", "last");
	sample_refuse(m, "prune layers every 1", "every");
	sample_refuse(m, "prune layers L1.attn", "prune attention L1");
	sample_refuse(m, "prune layers emb", "no layer");
	p = sample_do(m, "prune attention L0-1");
	assert_int_equal(p->layer[0].heads + p->layer[1].heads, 0);
	assert_non_null(at(p, 0, SLOT_ANORM_W));
	sample_refuse(p, "prune attention L0", "no attention");
	model_unref(p);
	sample_refuse(m, "prune ffn L0.q", "prune ffn L0");
	model_unref(m);
}

/* Layers that share weights are one, unless a name says otherwise. */
static void
test_tied(void **state)
{
	struct model *m = sample_real(&sample_models[4]), *p;

	p = sample_do(m, "prune heads 50%");
	for (int l = 0; l < 3; l++) {
		assert_int_equal(p->layer[l].heads, 2);
		assert_ptr_equal(at(p, l, SLOT_Q_W), at(p, 0, SLOT_Q_W));
	}
	model_unref(p);
	expect_note(m, "prune heads L0.h0", "L0 and L1-2 no longer share");
	p = sample_do(m, "prune neurons 25% scope=global");
	assert_int_equal(p->layer[2].ffn, 30);
	assert_ptr_equal(at(p, 2, SLOT_UP_W), at(p, 0, SLOT_UP_W));
	model_unref(p);
	p = sample_do(m, "quantize L* bits=4");
	assert_ptr_equal(at(p, 2, SLOT_UP_W), at(p, 0, SLOT_UP_W));
	model_unref(p);
	model_unref(m);
}

/* ---- quantize and factorize ---- */

static void
test_quantize(void **state)
{
	struct model *m = sample_real(&sample_models[1]), *p, *s;

	p = sample_do(m, "quantize all bits=4 group=8");
	for (int l = 0; l < 2; l++) {
		assert_int_equal(at(p, l, SLOT_UP_W)->form, FORM_INT);
		assert_int_equal(at(p, l, SLOT_UP_W)->code.group, 8);
		assert_int_equal(at(p, l, SLOT_UP_B)->form, FORM_F32);
	}
	/* The decoder is the embedding before and after. */
	assert_ptr_equal(at(p, -1, SLOT_WORD), at(p, -1, SLOT_HOUT_W));
	sample_refuse(p, "quantize L0 bits=8", "smaller");
	expect_note(p, "quantize L0 bits=2 group=8", "second time");
	sample_refuse(p, "factorize L0.up rank=2", "before quantizing");
	model_unref(p);
	p = sample_do(m, "quantize emb.word bits=16 float=bf16");
	assert_int_equal(at(p, -1, SLOT_HOUT_W)->form, FORM_BF16);
	assert_ptr_equal(at(p, -1, SLOT_WORD), at(p, -1, SLOT_HOUT_W));
	model_unref(p);
	p = sample_do(m, "quantize L0.norm bits=16");
	assert_int_equal(at(p, 0, SLOT_ANORM_W)->form, FORM_F16);
	model_unref(p);
	p = sample_do(m, "factorize emb.word rank=3");
	s = sample_do(p, "quantize emb.word bits=16");
	assert_int_equal(tensor_bytes(at(s, -1, SLOT_WORD)),
	    tensor_bytes(at(p, -1, SLOT_WORD)) / 2);
	assert_ptr_equal(at(s, -1, SLOT_WORD), at(s, -1, SLOT_HOUT_W));
	model_unref(s);
	model_unref(p);
	p = sample_do(m, "quantize all");
	sample_refuse(p, "quantize all", "smaller");
	model_unref(p);
	sample_refuse(m, "quantize", "target");
	sample_refuse(m, "quantize all bits=9", "bits");
	sample_refuse(m, "quantize all bits=17", "bits");
	sample_refuse(m, "quantize L* group=7", "L0.attn.q.weight");
	sample_refuse(m, "quantize L* group=7", "1, 2, 4, 8");
	sample_refuse(m, "quantize L* group=cols", "group");
	sample_refuse(m, "quantize L* bits=16 scheme=affine", "scheme");
	sample_refuse(m, "quantize L* float=bf16", "float");
	sample_refuse(m, "quantize L* scheme=binary bits=2", "bits");
	sample_refuse(m, "quantize L0.norm", "target");
	model_unref(m);
}

static void
test_factorize(void **state)
{
	struct model *m = sample_real(&sample_models[1]), *p;

	p = sample_do(m, "factorize emb.word rank=4");
	assert_int_equal(tensor_rank(at(p, -1, SLOT_WORD)), 4);
	assert_ptr_equal(at(p, -1, SLOT_WORD), at(p, -1, SLOT_HOUT_W));
	sample_refuse(p, "factorize emb.word rank=2", "already");
	sample_refuse(p, "prune weights 50% emb.word", "before factorizing");
	model_unref(p);
	/* 16 x 16: rank 8 saves nothing, 7 is the last that does. */
	sample_refuse(m, "factorize L0.q rank=8", "rank=7");
	model_unref(sample_do(m, "factorize L0.q rank=7"));
	model_unref(sample_do(m, "factorize L0.q rank=8 force"));
	sample_refuse(m, "factorize L0.q rank=17 force", "rank");
	sample_refuse(m, "factorize L0.q", "rank");
	sample_refuse(m, "factorize L0.q rank=2 ratio=0.5", "one of them");
	p = sample_do(m, "factorize L0.up ratio=50%");
	assert_int_equal(tensor_rank(at(p, 0, SLOT_UP_W)),
	    (int64_t)(0.5 * 640 / 56));
	model_unref(p);
	p = sample_do(m, "prune weights 50% L0.up");
	sample_refuse(p, "factorize L0.up rank=2", "sparse");
	model_unref(p);
	model_unref(m);
}

/* energy: the kept singular values hold that share and one fewer do not. */
static void
test_energy(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *ghost = sample_ghost(&sample_models[0]), *p;
	struct tensor *t = at(m, 0, SLOT_UP_W);
	struct pare_err err = { 0 };
	double total = 0, sum = 0;
	int64_t n, rank;
	float *s;

	assert_int_equal(tensor_spectrum(t, &s, &n, NULL, &err), PARE_OK);
	p = sample_do(m, "factorize L0.up energy=0.5");
	rank = tensor_rank(at(p, 0, SLOT_UP_W));
	for (int64_t i = 0; i < n; i++)
		total += (double)s[i] * s[i];
	for (int64_t i = 0; i < rank - 1; i++)
		sum += (double)s[i] * s[i];
	assert_true(sum < 0.5 * total);
	assert_true(sum + (double)s[rank - 1] * s[rank - 1] >= 0.5 * total);
	free(s);
	sample_refuse(ghost, "factorize L0.up energy=0.5", "rank=");
	model_unref(p);
	model_unref(ghost);
	model_unref(m);
}

/* ---- blocks of GGUF files ---- */

static struct model *
open_blocks(void)
{
	const char *source = getenv("PARE_SOURCE");
	char *from = str_format("%s/tests/fuzz/corpus/gguf/q4",
	    source != NULL ? source : "."), dir[] = "/tmp/pare-blk-XXXXXX";
	struct pare_err err = { 0 };
	struct model *m = NULL;
	char *path, *data;
	size_t n;

	assert_non_null(mkdtemp(dir));
	path = str_format("%s/q4.gguf", dir);
	if (io_read(from, 1 << 20, &data, &n, &err) != PARE_OK ||
	    io_write(path, data, n, &err) != PARE_OK ||
	    file_open_model(path, NULL, &m, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	free(data);
	free(path);
	free(from);
	return m;
}

/* Estimate and result of a line agree. */
static void
expect_estimate(const struct model *m, const char *line)
{
	struct op_result a, b;
	struct pare_err err = { 0 };

	if (sample_run(op_estimate, m, line, NULL, &a, &err) != PARE_OK ||
	    sample_run(op_apply, m, line, NULL, &b, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	assert_int_equal(a.after.bytes, b.after.bytes);
	assert_int_equal(a.after.params, b.after.params);
	assert_int_equal(a.after.nonzero, b.after.nonzero);
	op_result_free(&a);
	op_result_free(&b);
}

/* Every op on blocks works or says what to do first; floats then take all. */
static void
test_blocks(void **state)
{
	static const char *const works[] = { "prune attention L0",
	    "prune ffn L0", "quantize all bits=2",
	    "quantize L0.ffn bits=2 group=8", "quantize all bits=3 scheme=kmeans",
	    "quantize all bits=1 scheme=binary", "quantize all bits=16",
	    "quantize all bits=16 float=bf16" };
	static const char *const after[] = { "prune heads L0.h0",
	    "prune neurons 25%", "prune weights 50%", "factorize L0 rank=4",
	    "share L0.h1 to=L0.h0", "quantize all bits=4" };
	struct model *m = open_blocks(), *p;

	assert_int_equal(at(m, 0, SLOT_UP_W)->form, FORM_BLOCK);
	sample_refuse(m, "prune heads L0.h0", "quantize all bits=16");
	sample_refuse(m, "prune neurons 25%", "quantize all bits=16");
	sample_refuse(m, "prune weights 50%", "quantize all bits=16");
	sample_refuse(m, "factorize L0.up rank=4", "quantize all bits=16");
	sample_refuse(m, "share L0.h1 to=L0.h0", "quantize all bits=16");
	for (size_t i = 0; i < sizeof works / sizeof *works; i++)
		expect_estimate(m, works[i]);
	expect_note(m, "quantize all bits=16", "are floats now: they grow");
	expect_note(m, "quantize all bits=2", "rounded a second time");
	p = sample_do(m, "quantize all bits=16");
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		assert_true(at(p, 0, (enum slot)s) == NULL ||
		    at(p, 0, (enum slot)s)->form != FORM_BLOCK);
	for (size_t i = 0; i < sizeof after / sizeof *after; i++)
		expect_estimate(p, after[i]);
	model_unref(p);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share_layers),
		cmocka_unit_test(test_share_mean),
		cmocka_unit_test(test_share_matrices),
		cmocka_unit_test(test_share_refusals),
		cmocka_unit_test(test_share_heads),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_head_groups),
		cmocka_unit_test(test_share_groups),
		cmocka_unit_test(test_one_kv_head),
		cmocka_unit_test(test_gated_neurons),
		cmocka_unit_test(test_tied_head),
		cmocka_unit_test(test_heads_magnitude),
		cmocka_unit_test(test_neurons),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_tied),
		cmocka_unit_test(test_quantize),
		cmocka_unit_test(test_factorize),
		cmocka_unit_test(test_energy),
		cmocka_unit_test(test_blocks),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
