/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Language models in training: gradients of the next-token loss against
 * differences, for every kind of decoder, and that loss against the engine's
 * logits.
 */
#include "samples.h"

#include "engine/engine.h"
#include "gradients.h"

#define SIZES "\"hidden_size\":16,\"num_hidden_layers\":2," \
	"\"num_attention_heads\":4,\"intermediate_size\":20," \
	"\"vocab_size\":41,\"max_position_embeddings\":24," \
	"\"initializer_range\":0.25,"

static const struct sample_model decoders[] = {
	{ "gpt2", "{\"model_type\":\"gpt2\",\"architectures\":"
	    "[\"GPT2LMHeadModel\"],\"n_embd\":16,\"n_layer\":2,"
	    "\"n_head\":4,\"n_inner\":20,\"vocab_size\":41,"
	    "\"n_positions\":24,\"initializer_range\":0.25}" },
	{ "llama, tied, groups", "{\"model_type\":\"llama\","
	    "\"architectures\":[\"LlamaForCausalLM\"]," SIZES
	    "\"num_key_value_heads\":2,\"tie_word_embeddings\":true}" },
	{ "llama, own head, biases", "{\"model_type\":\"llama\","
	    "\"architectures\":[\"LlamaForCausalLM\"]," SIZES
	    "\"num_key_value_heads\":1,\"attention_bias\":true,"
	    "\"mlp_bias\":true,\"tie_word_embeddings\":false}" },
	{ "mistral, window", "{\"model_type\":\"mistral\","
	    "\"architectures\":[\"MistralForCausalLM\"]," SIZES
	    "\"num_key_value_heads\":2,\"sliding_window\":3}" },
	{ "qwen2", "{\"model_type\":\"qwen2\","
	    "\"architectures\":[\"Qwen2ForCausalLM\"]," SIZES
	    "\"num_key_value_heads\":2}" },
	{ "qwen3, norms of heads", "{\"model_type\":\"qwen3\","
	    "\"architectures\":[\"Qwen3ForCausalLM\"]," SIZES
	    "\"head_dim\":6,\"num_key_value_heads\":2}" },
	{ "gemma", "{\"model_type\":\"gemma\","
	    "\"architectures\":[\"GemmaForCausalLM\"]," SIZES
	    "\"head_dim\":6,\"num_key_value_heads\":1,"
	    "\"tie_word_embeddings\":true}" },
	{ "gemma2, caps", "{\"model_type\":\"gemma2\","
	    "\"architectures\":[\"Gemma2ForCausalLM\"]," SIZES
	    "\"head_dim\":6,\"num_key_value_heads\":2,"
	    "\"sliding_window\":4,\"query_pre_attn_scalar\":5,"
	    "\"attn_logit_softcapping\":1.5,"
	    "\"final_logit_softcapping\":2.5,"
	    "\"tie_word_embeddings\":true}" },
	{ "llama, yarn", "{\"model_type\":\"llama\","
	    "\"architectures\":[\"LlamaForCausalLM\"]," SIZES
	    "\"num_key_value_heads\":4,\"tie_word_embeddings\":true,"
	    "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2.0,"
	    "\"original_max_position_embeddings\":12}}" },
};

enum { DECODERS = sizeof decoders / sizeof *decoders };

static void
test_differences(void **state)
{
	for (int i = 0; i < DECODERS; i++) {
		print_message("%s\n", decoders[i].name);
		check_model(sample_real(&decoders[i]), 0);
	}
}

static void
test_smoothing(void **state)
{
	check_model(sample_real(&decoders[1]), 0.2);
}

/* Another architecture of the same vocabulary teaches; caps are in the way. */
static void
test_teacher(void **state)
{
	check_taught(sample_real(&decoders[1]), 0, sample_real(&decoders[0]));
	check_taught(sample_real(&decoders[7]), 0.1,
	    sample_real(&decoders[1]));
}

/* What a teacher alone says of itself costs nothing and changes nothing. */
static void
test_own_teacher(void **state)
{
	struct model *m = sample_real(&decoders[1]);
	const struct train_options o = { .batch = 1, .epochs = 1,
	    .teacher = m, .share = 1, .temperature = 2 };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	const int64_t sample = 3;
	struct set s;
	double loss;

	set_fill(&s, m);
	assert_int_equal(trainer_gradient(t, &s.d, &sample, 1, &loss, &err),
	    PARE_OK);
	assert_true(fabs(loss) < 1e-6);
	for (int i = 0; i < 16; i++)
		assert_true(fabs(trainer_gradient_at(t,
		    (struct slot_ref){ -1, SLOT_FINAL_W }, 0, i)) < 1e-5);
	trainer_free(t);
	model_unref(m);
}

static void
test_wrong_teacher(void **state)
{
	struct model *m = sample_real(&decoders[1]);
	struct model *other = sample_real(&sample_models[0]);
	struct train_options o = { .batch = 1, .epochs = 1, .teacher = other,
	    .share = 0.5, .temperature = 2 };
	struct pare_err err;

	assert_null(trainer_new(m, &o, &err));
	assert_non_null(strstr(err.msg, "teacher"));
	o.teacher = m;
	o.temperature = 0;
	assert_null(trainer_new(m, &o, &err));
	model_unref(other);
	model_unref(m);
}

/* Without a sub-layer the stream goes on as it is, and the norm before what is
 * gone learns nothing. */
static void
test_removed(void **state)
{
	struct model *m = sample_real(&decoders[1]);
	struct model *a = sample_do(m, "prune attention L0");
	struct model *b = sample_do(a, "prune ffn L1");
	struct pare_err err;
	const struct train_options o = { .batch = 1, .epochs = 1 };
	struct trainer *t = trainer_new(b, &o, &err);
	struct slot_ref ref = SLOT_REF_START;
	struct set s;
	struct rng r;
	double largest = 0;

	if (!t)
		fail_msg("%s", err.msg);
	set_fill(&s, b);
	rng_seed(&r, 4);
	while (model_next_slot(b, &ref)) {
		if ((ref.slot == SLOT_ANORM_W && ref.layer == 0) ||
		    (ref.slot == SLOT_FNORM_W && ref.layer == 1))
			assert_true(trainer_gradient_at(t, ref, 0, 0) == 0);
		else
			check_slot(t, b, &s, ref, &r, &largest);
	}
	assert_true(largest > 0.05);
	trainer_free(t);
	model_unref(b);
	model_unref(a);
	model_unref(m);
}

/* -log softmax(z)[target] */
static double
log_loss_of(const float *z, int64_t n, int target)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += exp((double)z[i]);
	return log(sum) - (double)z[target];
}

/* The trainer's loss of one sample is that of the engine's logits. */
static void
check_same(const struct model *m, const char *name)
{
	const struct train_options o = { .batch = 1, .epochs = 1 };
	const int64_t v = m->hp.vocab;
	float *z = xcalloc((size_t)(16 * v), sizeof(*z));
	struct forward f = { .logits = z };
	struct engine *e = engine_new();
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	struct set s;

	if (!t)
		fail_msg("%s: %s", name, err.msg);
	set_fill(&s, m);
	for (int64_t i = 0; i < SAMPLES; i++) {
		const int64_t start[2] = { 0, s.len[i] };
		const struct batch b = { 1, start, s.ids[i], NULL };
		double loss, want = 0;

		if (s.len[i] < 2)
			continue;
		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
		for (int j = 0; j + 1 < s.len[i]; j++)
			want += log_loss_of(z + j * v, v, s.ids[i][j + 1]);
		want /= s.len[i] - 1;
		assert_int_equal(trainer_gradient(t, &s.d, &i, 1, &loss, &err),
		    PARE_OK);
		if (!(fabs(loss - want) < 1e-5))
			fail_msg("%s, sample %d: %g, not %g", name, (int)i,
			    loss, want);
	}
	trainer_free(t);
	engine_free(e);
	free(z);
}

static void
test_same_pass(void **state)
{
	for (int i = 0; i < DECODERS; i++) {
		struct model *m = sample_real(&decoders[i]);

		check_same(m, decoders[i].name);
		model_unref(m);
	}
}

/* More rows than the head takes at a time: all of them count, once. */
static void
test_long_batch(void **state)
{
	enum { N = 60, LENGTH = 24 };
	struct model *m = sample_real(&decoders[1]);
	const struct train_options o = { .batch = N, .epochs = 1 };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	const struct slot_ref ref = { -1, SLOT_FINAL_W };
	int32_t id[N][LENGTH];
	const int32_t *ids[N];
	int len[N];
	int64_t sample[N];
	struct train_data d = { .n = N, .ids = ids, .len = len };
	double all, mean = 0, gradient = 0, loss;
	struct rng r;

	rng_seed(&r, 8);
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < LENGTH; j++)
			id[i][j] = (int32_t)rng_below(&r, 41);
		ids[i] = id[i];
		len[i] = LENGTH;
		sample[i] = i;
	}
	for (int i = 0; i < N; i++) {
		assert_int_equal(trainer_gradient(t, &d, sample + i, 1, &loss,
		    &err), PARE_OK);
		mean += loss / N;
		gradient += trainer_gradient_at(t, ref, 0, 3) / N;
	}
	assert_int_equal(trainer_gradient(t, &d, sample, N, &all, &err),
	    PARE_OK);
	assert_true(fabs(all - mean) < 1e-5);
	assert_true(fabs(trainer_gradient_at(t, ref, 0, 3) - gradient) <
	    1e-3 * fabs(gradient) + 1e-6);
	trainer_free(t);
	model_unref(m);
}

/* A sequence that is much longer than a head is wide. */
static void
test_long_sequence(void **state)
{
	enum { LENGTH = 200, TRIES = 6 };
	static const struct sample_model config = { "llama, long",
	    "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForCausalLM\"],\"hidden_size\":16,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"intermediate_size\":20,"
	    "\"vocab_size\":41,\"max_position_embeddings\":256,"
	    "\"tie_word_embeddings\":true,\"initializer_range\":0.4}" };
	static const enum slot slots[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W };
	struct model *m = sample_real(&config);
	const struct train_options o = { .batch = 1, .epochs = 1 };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	int32_t id[LENGTH];
	const int32_t *ids[1] = { id };
	const int len[1] = { LENGTH };
	const struct train_data d = { .n = 1, .ids = ids, .len = len };
	const int64_t sample = 0;
	const float delta = 4e-3f;
	double a[3 * 2 * TRIES], loss, high, low, error = 0, size = 0;
	struct rng r;

	rng_seed(&r, 21);
	for (int i = 0; i < LENGTH; i++)
		id[i] = (int32_t)rng_below(&r, 41);
	assert_int_equal(trainer_gradient(t, &d, &sample, 1, &loss, &err),
	    PARE_OK);
	for (int i = 0; i < 3 * 2 * TRIES; i++)
		a[i] = trainer_gradient_at(t, (struct slot_ref){ i % 2,
		    slots[i % 3] }, i % 8, i % 16);
	for (int i = 0; i < 3 * 2 * TRIES; i++) {
		const struct slot_ref ref = { i % 2, slots[i % 3] };

		trainer_nudge(t, ref, i % 8, i % 16, delta);
		trainer_gradient(t, &d, &sample, 1, &high, &err);
		trainer_nudge(t, ref, i % 8, i % 16, -2 * delta);
		trainer_gradient(t, &d, &sample, 1, &low, &err);
		trainer_nudge(t, ref, i % 8, i % 16, delta);
		high = (high - low) / (2 * (double)delta);
		error += (high - a[i]) * (high - a[i]);
		size += high * high;
	}
	if (!(size > 0 && error <= 1e-3 * size))
		fail_msg("differences %g, off by %g", sqrt(size), sqrt(error));
	trainer_free(t);
	model_unref(m);
}

/* A text that repeats itself is learnt. */
static void
test_learns(void **state)
{
	enum { N = 16, LENGTH = 20 };
	const struct train_options o = { .rate = 5e-3, .warmup = 0.1,
	    .weight_decay = 0.01, .clip = 1, .batch = 4, .epochs = 20,
	    .seed = 2 };
	struct model *m = sample_real(&decoders[1]);
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	int32_t id[N][LENGTH];
	const int32_t *ids[N];
	int len[N];
	const struct train_data d = { .n = N, .ids = ids, .len = len };
	double first = 0, loss = 0;

	for (int i = 0; i < N; i++) {
		for (int j = 0; j < LENGTH; j++)
			id[i][j] = (i % 5 + j) % 5 * 7 + i % 2;
		ids[i] = id[i];
		len[i] = LENGTH;
	}
	for (int i = 0; i < o.epochs; i++) {
		assert_int_equal(trainer_epoch(t, &d, i, &loss, NULL, &err),
		    PARE_OK);
		first = i == 0 ? loss : first;
	}
	if (!(loss < 0.3 && loss < first / 4))
		fail_msg("loss %g to %g", first, loss);
	trainer_free(t);
	model_unref(m);
}

static void
test_nothing_to_foretell(void **state)
{
	const struct train_options o = { .batch = 1, .epochs = 1 };
	struct model *m = sample_real(&decoders[1]);
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	int32_t id = 3;
	const int32_t *ids[1] = { &id };
	const int len[1] = { 1 };
	const struct train_data d = { .n = 1, .ids = ids, .len = len };
	double loss;

	assert_int_equal(trainer_epoch(t, &d, 0, &loss, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "two tokens"));
	trainer_free(t);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differences),
		cmocka_unit_test(test_smoothing),
		cmocka_unit_test(test_teacher),
		cmocka_unit_test(test_own_teacher),
		cmocka_unit_test(test_wrong_teacher),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_same_pass),
		cmocka_unit_test(test_long_batch),
		cmocka_unit_test(test_long_sequence),
		cmocka_unit_test(test_learns),
		cmocka_unit_test(test_nothing_to_foretell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
