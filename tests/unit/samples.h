/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * samples: one tiny model of each architecture, from a config in memory, and
 * ops run on them from lines as a user types them.
 */
#ifndef PARE_TESTS_SAMPLES_H
#define PARE_TESTS_SAMPLES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "file/file.h"
#include "model/arch.h"
#include "model/edit.h"
#include "ops/op.h"

struct sample_model {
	const char *name;
	const char *config;
};

static const struct sample_model sample_models[] = {
	{ "bert", "{\"model_type\":\"bert\",\"architectures\":"
	    "[\"BertForSequenceClassification\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"intermediate_size\":48,\"vocab_size\":90,"
	    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
	    "\"hidden_act\":\"gelu\",\"initializer_range\":0.2}" },
	{ "bert masked-LM", "{\"model_type\":\"bert\",\"architectures\":"
	    "[\"BertForMaskedLM\"],\"hidden_size\":16,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":2,"
	    "\"intermediate_size\":40,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
	    "\"hidden_act\":\"gelu\",\"initializer_range\":0.2}" },
	{ "distilbert", "{\"model_type\":\"distilbert\",\"architectures\":"
	    "[\"DistilBertForSequenceClassification\"],\"dim\":24,"
	    "\"n_layers\":2,\"n_heads\":2,\"hidden_dim\":40,"
	    "\"vocab_size\":80,\"max_position_embeddings\":24,"
	    "\"activation\":\"gelu\",\"initializer_range\":0.2}" },
	{ "electra", "{\"model_type\":\"electra\",\"architectures\":"
	    "[\"ElectraForSequenceClassification\"],\"hidden_size\":32,"
	    "\"embedding_size\":16,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"intermediate_size\":56,\"vocab_size\":80,"
	    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
	    "\"hidden_act\":\"gelu\",\"initializer_range\":0.2}" },
	{ "albert", "{\"model_type\":\"albert\",\"architectures\":"
	    "[\"AlbertForSequenceClassification\"],\"hidden_size\":32,"
	    "\"embedding_size\":16,\"num_hidden_groups\":1,"
	    "\"inner_group_num\":1,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"intermediate_size\":40,\"vocab_size\":80,"
	    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
	    "\"hidden_act\":\"gelu_new\",\"initializer_range\":0.2}" },
	{ "gpt2", "{\"model_type\":\"gpt2\",\"architectures\":"
	    "[\"GPT2LMHeadModel\"],\"n_embd\":32,\"n_layer\":3,"
	    "\"n_head\":4,\"n_inner\":48,\"vocab_size\":70,"
	    "\"n_positions\":24,\"initializer_range\":0.2}" },
	{ "llama", "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForCausalLM\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":4,\"intermediate_size\":48,"
	    "\"vocab_size\":70,\"max_position_embeddings\":24,"
	    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
	    "\"tie_word_embeddings\":true,\"initializer_range\":0.2}" },
	{ "llama of groups", "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForCausalLM\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"intermediate_size\":40,"
	    "\"vocab_size\":70,\"max_position_embeddings\":24,"
	    "\"attention_bias\":true,\"mlp_bias\":true,"
	    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
	    "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
	    "\"original_max_position_embeddings\":8},"
	    "\"tie_word_embeddings\":true,\"initializer_range\":0.2}" },
	{ "qwen2", "{\"model_type\":\"qwen2\",\"architectures\":"
	    "[\"Qwen2ForCausalLM\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":6,"
	    "\"num_key_value_heads\":2,\"head_dim\":8,"
	    "\"intermediate_size\":48,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.2}" },
	{ "qwen3", "{\"model_type\":\"qwen3\",\"architectures\":"
	    "[\"Qwen3ForCausalLM\"],\"hidden_size\":24,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"head_dim\":8,"
	    "\"intermediate_size\":40,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.2}" },
	{ "mistral", "{\"model_type\":\"mistral\",\"architectures\":"
	    "[\"MistralForCausalLM\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"intermediate_size\":48,"
	    "\"sliding_window\":3,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.2}" },
	{ "gemma", "{\"model_type\":\"gemma\",\"architectures\":"
	    "[\"GemmaForCausalLM\"],\"hidden_size\":24,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":4,\"head_dim\":8,"
	    "\"intermediate_size\":40,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.2}" },
	{ "gemma2", "{\"model_type\":\"gemma2\",\"architectures\":"
	    "[\"Gemma2ForCausalLM\"],\"hidden_size\":24,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"head_dim\":8,"
	    "\"intermediate_size\":40,\"sliding_window\":3,"
	    "\"query_pre_attn_scalar\":8,\"attn_logit_softcapping\":50.0,"
	    "\"final_logit_softcapping\":30.0,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.2}" },
	{ "gpt2 classifier", "{\"model_type\":\"gpt2\",\"architectures\":"
	    "[\"GPT2ForSequenceClassification\"],\"n_embd\":32,"
	    "\"n_layer\":2,\"n_head\":4,\"n_inner\":48,\"vocab_size\":70,"
	    "\"n_positions\":24,\"pad_token_id\":69,\"num_labels\":3,"
	    "\"initializer_range\":0.2}" },
	{ "llama classifier", "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForSequenceClassification\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"num_key_value_heads\":2,\"intermediate_size\":48,"
	    "\"vocab_size\":70,\"max_position_embeddings\":24,"
	    "\"num_labels\":3,\"initializer_range\":0.2}" },
	{ "roberta", "{\"model_type\":\"roberta\",\"architectures\":"
	    "[\"RobertaForSequenceClassification\"],\"hidden_size\":32,"
	    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
	    "\"intermediate_size\":48,\"vocab_size\":70,"
	    "\"max_position_embeddings\":26,\"type_vocab_size\":2,"
	    "\"pad_token_id\":1,\"initializer_range\":0.2}" },
};

enum { SAMPLE_MODELS = sizeof sample_models / sizeof *sample_models };

/* One by name. */
static inline const struct sample_model *
sample_named(const char *name)
{
	for (int i = 0; i < SAMPLE_MODELS; i++)
		if (strcmp(sample_models[i].name, name) == 0)
			return &sample_models[i];
	fail_msg("no sample is called %s", name);
	return NULL;
}

/* A model of ghosts, as a config alone opens. */
static struct model *
sample_ghost(const struct sample_model *s)
{
	struct origin *origin = origin_new();
	struct arch_layout layout;
	struct pare_err err = { 0 };
	struct model *m = NULL;
	json_t *config = json_parse(s->config, strlen(s->config), 0, s->name,
	    &err);

	assert_non_null(config);
	if (arch_read_config(config, s->name, &layout, &err) != PARE_OK)
		fail_msg("%s: %s", s->name, err.msg);
	origin->config = config;
	origin->name = xstrdup(s->name);
	origin->path = xstrdup(s->name);
	if (arch_ghost_model(&layout, origin, &m, &err) != PARE_OK)
		fail_msg("%s: %s", s->name, err.msg);
	arch_layout_free(&layout);
	return m;
}

/* Biases and norms away from 0 and 1, so that forgetting one shows. */
static struct tensor *
sample_shake(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct rng *r = arg;
	float *v;
	struct tensor *out = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);

	assert_non_null(out);
	tensor_decode(t, 0, t->rows, v);
	for (int64_t i = 0; i < t->rows * t->cols; i++)
		v[i] += 0.1f * rng_normal(r);
	return out;
}

static inline struct model *
sample_real(const struct sample_model *s)
{
	struct model *ghost = sample_ghost(s), *plain = NULL, *m = NULL;
	struct slot_ref ref = SLOT_REF_START;
	struct pare_err err = { 0 };
	struct edit *e;
	struct rng r;

	if (file_random_model(ghost, 7, &plain, &err) != PARE_OK)
		fail_msg("%s: %s", s->name, err.msg);
	rng_seed(&r, 99);
	e = edit_begin(plain, EDIT_REAL, 1, NULL);
	while (model_next_slot(plain, &ref))
		if (!slot_table[ref.slot].matrix)
			assert_int_equal(edit_map(e, ref, 1, sample_shake, &r,
			    &err), PARE_OK);
	assert_int_equal(edit_commit(e, &m, &err), PARE_OK);
	model_unref(plain);
	model_unref(ghost);
	return m;
}

/* An op line, parsed; sample_line_free() when done. */
struct sample_line {
	struct arg_words words;
	struct arg_list args;
	const struct op *op;
};

static enum pare_rc
sample_parse(const char *line, struct sample_line *out, struct pare_err *err)
{
	enum pare_rc rc = arg_split(line, &out->words, err);
	int first = 0;

	if (rc != PARE_OK)
		return rc;
	if ((rc = op_find(&out->words, &out->op, &first, err)) != PARE_OK ||
	    (rc = arg_parse(out->op->args, &out->words, first, &out->args,
	    err)) != PARE_OK)
		arg_words_free(&out->words);
	return rc;
}

static void
sample_line_free(struct sample_line *l)
{
	arg_list_free(&l->args);
	arg_words_free(&l->words);
}

typedef enum pare_rc sample_runner(const struct op *op,
    const struct op_input *in, int64_t seq, struct op_result *out,
    struct pare_err *err);

/* A line on a model through op_apply() or op_estimate(). */
static enum pare_rc
sample_run(sample_runner *how, const struct model *m, const char *line,
    struct task *task, struct op_result *out, struct pare_err *err)
{
	struct sample_line l;
	enum pare_rc rc = sample_parse(line, &l, err);
	struct op_input in = { .model = m, .seed = 5, .task = task };

	if (rc != PARE_OK)
		return rc;
	in.args = &l.args;
	rc = how(l.op, &in, 16, out, err);
	sample_line_free(&l);
	return rc;
}

/* A line that must work; a new model. */
static inline struct model *
sample_do(const struct model *m, const char *line)
{
	struct pare_err err = { 0 };
	struct op_result r;
	struct model *out;

	if (sample_run(op_apply, m, line, NULL, &r, &err) != PARE_OK)
		fail_msg("%s: %s (%s)", line, err.msg, err.hint);
	out = model_ref(r.model);
	op_result_free(&r);
	return out;
}

/* A line that must be refused, naming `word`. */
static inline void
sample_refuse(const struct model *m, const char *line, const char *word)
{
	struct pare_err err = { 0 };
	struct op_result r;
	uint64_t hash = model_hash(m);

	if (sample_run(op_apply, m, line, NULL, &r, &err) != PARE_EUSER)
		fail_msg("%s: not refused", line);
	if (strstr(err.msg, word) == NULL && strstr(err.hint, word) == NULL)
		fail_msg("%s: '%s' (%s) does not say '%s'", line, err.msg,
		    err.hint, word);
	assert_true(model_hash(m) == hash);
}

#endif
