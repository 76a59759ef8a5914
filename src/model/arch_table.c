/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rows of arch_table[]: config keys, tensor names and flags of each
 * architecture. Names are those of Hugging Face files; a name with the prefix
 * belongs to the body, one without to a head.
 */
#include <stddef.h>

#include "model/arch.h"

#define ONE(slot, name) { slot, name, 0, 0 }
#define PAIR(slot, name) \
	ONE(slot##_W, name ".weight"), ONE(slot##_B, name ".bias")
#define END ONE(SLOT_COUNT, NULL)

/* ---- BERT, and ELECTRA which has its layers -------------------------- */

#define BERT_LAYER(prefix) \
	PAIR(SLOT_Q, prefix "encoder.layer.%d.attention.self.query"), \
	PAIR(SLOT_K, prefix "encoder.layer.%d.attention.self.key"), \
	PAIR(SLOT_V, prefix "encoder.layer.%d.attention.self.value"), \
	PAIR(SLOT_O, prefix "encoder.layer.%d.attention.output.dense"), \
	PAIR(SLOT_ANORM, prefix "encoder.layer.%d.attention.output.LayerNorm"), \
	PAIR(SLOT_UP, prefix "encoder.layer.%d.intermediate.dense"), \
	PAIR(SLOT_DOWN, prefix "encoder.layer.%d.output.dense"), \
	PAIR(SLOT_FNORM, prefix "encoder.layer.%d.output.LayerNorm")

#define EMBEDDINGS(prefix) \
	ONE(SLOT_WORD, prefix "embeddings.word_embeddings.weight"), \
	ONE(SLOT_POSITION, prefix "embeddings.position_embeddings.weight"), \
	PAIR(SLOT_ENORM, prefix "embeddings.LayerNorm")

#define TYPES(prefix) \
	ONE(SLOT_TYPE, prefix "embeddings.token_type_embeddings.weight")

static const struct arch_name bert_names[] = {
	EMBEDDINGS("bert."),
	TYPES("bert."),
	BERT_LAYER("bert."),
	PAIR(SLOT_POOL, "bert.pooler.dense"),
	END
};

static const struct arch_name classifier_names[] = {
	PAIR(SLOT_HOUT, "classifier"),
	END
};

static const struct arch_name bert_mlm_names[] = {
	PAIR(SLOT_HDENSE, "cls.predictions.transform.dense"),
	PAIR(SLOT_HNORM, "cls.predictions.transform.LayerNorm"),
	ONE(SLOT_HOUT_W, "cls.predictions.decoder.weight"),
	ONE(SLOT_HOUT_B, "cls.predictions.bias"),
	END
};

static const struct arch_name no_names[] = { END };

static const struct arch_head bert_heads[] = {
	{ "ForSequenceClassification", HEAD_CLASSIFY, true, ACT_LINEAR,
	    classifier_names, false },
	{ "ForMaskedLM", HEAD_MLM, false, ACT_LINEAR, bert_mlm_names, true },
	{ "ForPreTraining", HEAD_MLM, true, ACT_LINEAR, bert_mlm_names, true },
	{ NULL, HEAD_NONE, true, ACT_LINEAR, no_names, false }
};

static const struct arch_name electra_names[] = {
	EMBEDDINGS("electra."),
	TYPES("electra."),
	PAIR(SLOT_PROJ, "electra.embeddings_project"),
	BERT_LAYER("electra."),
	END
};

static const struct arch_name electra_classifier_names[] = {
	PAIR(SLOT_HDENSE, "classifier.dense"),
	PAIR(SLOT_HOUT, "classifier.out_proj"),
	END
};

static const struct arch_name electra_mlm_names[] = {
	PAIR(SLOT_HDENSE, "generator_predictions.dense"),
	PAIR(SLOT_HNORM, "generator_predictions.LayerNorm"),
	PAIR(SLOT_HOUT, "generator_lm_head"),
	END
};

static const struct arch_head electra_heads[] = {
	{ "ForSequenceClassification", HEAD_CLASSIFY, false, ACT_GELU,
	    electra_classifier_names, false },
	{ "ForMaskedLM", HEAD_MLM, false, ACT_GELU, electra_mlm_names, true },
	{ NULL, HEAD_NONE, false, ACT_LINEAR, no_names, false }
};

/* ---- DistilBERT ------------------------------------------------------ */

#define DISTIL "distilbert.transformer.layer.%d."

static const struct arch_name distilbert_names[] = {
	EMBEDDINGS("distilbert."),
	PAIR(SLOT_Q, DISTIL "attention.q_lin"),
	PAIR(SLOT_K, DISTIL "attention.k_lin"),
	PAIR(SLOT_V, DISTIL "attention.v_lin"),
	PAIR(SLOT_O, DISTIL "attention.out_lin"),
	PAIR(SLOT_ANORM, DISTIL "sa_layer_norm"),
	PAIR(SLOT_UP, DISTIL "ffn.lin1"),
	PAIR(SLOT_DOWN, DISTIL "ffn.lin2"),
	PAIR(SLOT_FNORM, DISTIL "output_layer_norm"),
	END
};

static const struct arch_name distilbert_classifier_names[] = {
	PAIR(SLOT_HDENSE, "pre_classifier"),
	PAIR(SLOT_HOUT, "classifier"),
	END
};

static const struct arch_name distilbert_mlm_names[] = {
	PAIR(SLOT_HDENSE, "vocab_transform"),
	PAIR(SLOT_HNORM, "vocab_layer_norm"),
	PAIR(SLOT_HOUT, "vocab_projector"),
	END
};

static const struct arch_head distilbert_heads[] = {
	{ "ForSequenceClassification", HEAD_CLASSIFY, false, ACT_RELU,
	    distilbert_classifier_names, false },
	{ "ForMaskedLM", HEAD_MLM, false, ACT_LINEAR, distilbert_mlm_names,
	    true },
	{ NULL, HEAD_NONE, false, ACT_LINEAR, no_names, false }
};

/* ---- ALBERT ---------------------------------------------------------- */

#define ALBERT "albert.encoder.albert_layer_groups.%d.albert_layers.%d."

static const struct arch_name albert_names[] = {
	EMBEDDINGS("albert."),
	TYPES("albert."),
	PAIR(SLOT_PROJ, "albert.encoder.embedding_hidden_mapping_in"),
	PAIR(SLOT_Q, ALBERT "attention.query"),
	PAIR(SLOT_K, ALBERT "attention.key"),
	PAIR(SLOT_V, ALBERT "attention.value"),
	PAIR(SLOT_O, ALBERT "attention.dense"),
	PAIR(SLOT_ANORM, ALBERT "attention.LayerNorm"),
	PAIR(SLOT_UP, ALBERT "ffn"),
	PAIR(SLOT_DOWN, ALBERT "ffn_output"),
	PAIR(SLOT_FNORM, ALBERT "full_layer_layer_norm"),
	PAIR(SLOT_POOL, "albert.pooler"),
	END
};

static const struct arch_name albert_mlm_names[] = {
	PAIR(SLOT_HDENSE, "predictions.dense"),
	PAIR(SLOT_HNORM, "predictions.LayerNorm"),
	ONE(SLOT_HOUT_W, "predictions.decoder.weight"),
	ONE(SLOT_HOUT_B, "predictions.bias"),
	END
};

static const struct arch_head albert_heads[] = {
	{ "ForSequenceClassification", HEAD_CLASSIFY, true, ACT_LINEAR,
	    classifier_names, false },
	{ "ForMaskedLM", HEAD_MLM, false, ACT_LINEAR, albert_mlm_names, true },
	{ "ForPreTraining", HEAD_MLM, true, ACT_LINEAR, albert_mlm_names,
	    true },
	{ NULL, HEAD_NONE, true, ACT_LINEAR, no_names, false }
};

/* ---- RoBERTa: BERT's layers, positions behind the padding ------------- */

static const struct arch_name roberta_names[] = {
	EMBEDDINGS("roberta."),
	TYPES("roberta."),
	BERT_LAYER("roberta."),
	PAIR(SLOT_POOL, "roberta.pooler.dense"),
	END
};

static const struct arch_name roberta_classifier_names[] = {
	PAIR(SLOT_HDENSE, "classifier.dense"),
	PAIR(SLOT_HOUT, "classifier.out_proj"),
	END
};

static const struct arch_name roberta_mlm_names[] = {
	PAIR(SLOT_HDENSE, "lm_head.dense"),
	PAIR(SLOT_HNORM, "lm_head.layer_norm"),
	ONE(SLOT_HOUT_W, "lm_head.decoder.weight"),
	ONE(SLOT_HOUT_B, "lm_head.bias"),
	END
};

static const struct arch_head roberta_heads[] = {
	{ "ForSequenceClassification", HEAD_CLASSIFY, false, ACT_TANH,
	    roberta_classifier_names, false },
	{ "ForMaskedLM", HEAD_MLM, false, ACT_GELU, roberta_mlm_names, true },
	{ NULL, HEAD_NONE, true, ACT_LINEAR, no_names, false }
};

/* ---- GPT-2 ----------------------------------------------------------- */

#define GPT2 "transformer.h.%d."
#define FUSED3(q, k, v, name) \
	{ q##_W, name ".weight", 0, 3 }, { q##_B, name ".bias", 0, 3 }, \
	{ k##_W, name ".weight", 1, 3 }, { k##_B, name ".bias", 1, 3 }, \
	{ v##_W, name ".weight", 2, 3 }, { v##_B, name ".bias", 2, 3 }

static const struct arch_name gpt2_names[] = {
	ONE(SLOT_WORD, "transformer.wte.weight"),
	ONE(SLOT_POSITION, "transformer.wpe.weight"),
	PAIR(SLOT_ANORM, GPT2 "ln_1"),
	FUSED3(SLOT_Q, SLOT_K, SLOT_V, GPT2 "attn.c_attn"),
	PAIR(SLOT_O, GPT2 "attn.c_proj"),
	PAIR(SLOT_FNORM, GPT2 "ln_2"),
	PAIR(SLOT_UP, GPT2 "mlp.c_fc"),
	PAIR(SLOT_DOWN, GPT2 "mlp.c_proj"),
	PAIR(SLOT_FINAL, "transformer.ln_f"),
	END
};

static const struct arch_name lm_names[] = {
	ONE(SLOT_HOUT_W, "lm_head.weight"),
	END
};

static const struct arch_name score_names[] = {
	ONE(SLOT_HOUT_W, "score.weight"),
	END
};

static const struct arch_head gpt2_heads[] = {
	{ "LMHeadModel", HEAD_LM, false, ACT_LINEAR, lm_names, true },
	{ "ForSequenceClassification", HEAD_CLASSIFY, false, ACT_LINEAR,
	    score_names, false },
	{ NULL, HEAD_NONE, false, ACT_LINEAR, no_names, false }
};

/* ---- the Llama family ------------------------------------------------ */

#define LLAMA "model.layers.%d."
#define LLAMA_FFN \
	PAIR(SLOT_GATE, LLAMA "mlp.gate_proj"), \
	PAIR(SLOT_UP, LLAMA "mlp.up_proj"), \
	PAIR(SLOT_DOWN, LLAMA "mlp.down_proj")
#define BARE_FFN \
	ONE(SLOT_GATE_W, LLAMA "mlp.gate_proj.weight"), \
	ONE(SLOT_UP_W, LLAMA "mlp.up_proj.weight"), \
	ONE(SLOT_DOWN_W, LLAMA "mlp.down_proj.weight")
#define LLAMA_REST \
	ONE(SLOT_WORD, "model.embed_tokens.weight"), \
	ONE(SLOT_ANORM_W, LLAMA "input_layernorm.weight"), \
	ONE(SLOT_FINAL_W, "model.norm.weight"), \
	ONE(SLOT_ROPE, "model.rope_freqs.weight")
#define ATTENTION_PAIRS \
	PAIR(SLOT_Q, LLAMA "self_attn.q_proj"), \
	PAIR(SLOT_K, LLAMA "self_attn.k_proj"), \
	PAIR(SLOT_V, LLAMA "self_attn.v_proj")
#define ATTENTION_BARE \
	ONE(SLOT_Q_W, LLAMA "self_attn.q_proj.weight"), \
	ONE(SLOT_K_W, LLAMA "self_attn.k_proj.weight"), \
	ONE(SLOT_V_W, LLAMA "self_attn.v_proj.weight")
#define FFN_NORM ONE(SLOT_FNORM_W, LLAMA "post_attention_layernorm.weight")

static const struct arch_name llama_names[] = {
	LLAMA_REST, FFN_NORM, ATTENTION_PAIRS,
	PAIR(SLOT_O, LLAMA "self_attn.o_proj"),
	LLAMA_FFN,
	END
};

static const struct arch_name mistral_names[] = {
	LLAMA_REST, FFN_NORM, ATTENTION_BARE,
	ONE(SLOT_O_W, LLAMA "self_attn.o_proj.weight"),
	BARE_FFN,
	END
};

static const struct arch_name qwen2_names[] = {
	LLAMA_REST, FFN_NORM, ATTENTION_PAIRS,
	ONE(SLOT_O_W, LLAMA "self_attn.o_proj.weight"),
	BARE_FFN,
	END
};

static const struct arch_name qwen3_names[] = {
	LLAMA_REST, FFN_NORM, ATTENTION_PAIRS,
	PAIR(SLOT_O, LLAMA "self_attn.o_proj"),
	ONE(SLOT_QNORM_W, LLAMA "self_attn.q_norm.weight"),
	ONE(SLOT_KNORM_W, LLAMA "self_attn.k_norm.weight"),
	BARE_FFN,
	END
};

static const struct arch_name gemma_names[] = {
	LLAMA_REST, FFN_NORM, ATTENTION_PAIRS,
	PAIR(SLOT_O, LLAMA "self_attn.o_proj"),
	BARE_FFN,
	END
};

static const struct arch_name gemma2_names[] = {
	LLAMA_REST, ATTENTION_PAIRS,
	PAIR(SLOT_O, LLAMA "self_attn.o_proj"),
	ONE(SLOT_APOST_W, LLAMA "post_attention_layernorm.weight"),
	ONE(SLOT_FNORM_W, LLAMA "pre_feedforward_layernorm.weight"),
	ONE(SLOT_FPOST_W, LLAMA "post_feedforward_layernorm.weight"),
	BARE_FFN,
	END
};

static const struct arch_head decoder_heads[] = {
	{ "ForCausalLM", HEAD_LM, false, ACT_LINEAR, lm_names, true },
	{ "ForSequenceClassification", HEAD_CLASSIFY, false, ACT_LINEAR,
	    score_names, false },
	{ NULL, HEAD_NONE, false, ACT_LINEAR, no_names, false }
};

#define DECODER (ARCH_PRE_NORM | ARCH_CAUSAL | ARCH_RMS_NORM | ARCH_ROTARY | \
	ARCH_GATED | ARCH_LAST_TOKEN)

#define LLAMA_KEYS \
	.hidden = "hidden_size", .layers = "num_hidden_layers", \
	.heads = "num_attention_heads", .kv_heads = "num_key_value_heads", \
	.ffn = "intermediate_size", .vocab = "vocab_size", \
	.positions = "max_position_embeddings", .act = "hidden_act", \
	.eps = "rms_norm_eps", .attention_dropout = "attention_dropout", \
	.head_dim = "head_dim"

#define BERT_KEYS \
	.hidden = "hidden_size", .layers = "num_hidden_layers", \
	.heads = "num_attention_heads", .ffn = "intermediate_size", \
	.vocab = "vocab_size", .positions = "max_position_embeddings", \
	.types = "type_vocab_size", .act = "hidden_act", \
	.eps = "layer_norm_eps", .dropout = "hidden_dropout_prob", \
	.attention_dropout = "attention_probs_dropout_prob"

const struct arch arch_table[] = {
	{
		.model_type = "bert", .title = "BERT", .class_stem = "Bert",
		.prefix = "bert.", .norm_eps = 1e-12,
		.keys = { BERT_KEYS },
		.names = bert_names, .heads = bert_heads,
	},
	{
		.model_type = "distilbert", .title = "DistilBERT",
		.class_stem = "DistilBert", .prefix = "distilbert.",
		.norm_eps = 1e-12,
		.keys = { .hidden = "dim", .layers = "n_layers",
		    .heads = "n_heads", .ffn = "hidden_dim",
		    .vocab = "vocab_size",
		    .positions = "max_position_embeddings",
		    .act = "activation", .dropout = "dropout",
		    .attention_dropout = "attention_dropout" },
		.names = distilbert_names, .heads = distilbert_heads,
	},
	{
		.model_type = "albert", .title = "ALBERT",
		.class_stem = "Albert", .prefix = "albert.",
		.flags = ARCH_GROUPS, .embed_projection = true,
		.projection_always = true, .norm_eps = 1e-12,
		.keys = { BERT_KEYS, .embed = "embedding_size" },
		.names = albert_names, .heads = albert_heads,
	},
	{
		.model_type = "electra", .title = "ELECTRA",
		.class_stem = "Electra", .prefix = "electra.",
		.embed_projection = true, .norm_eps = 1e-12,
		.keys = { BERT_KEYS, .embed = "embedding_size" },
		.names = electra_names, .heads = electra_heads,
	},
	{
		.model_type = "roberta", .title = "RoBERTa",
		.class_stem = "Roberta", .prefix = "roberta.",
		.flags = ARCH_PAD_POSITIONS, .norm_eps = 1e-5,
		.keys = { BERT_KEYS },
		.names = roberta_names, .heads = roberta_heads,
	},
	{
		.model_type = "xlm-roberta", .title = "XLM-RoBERTa",
		.class_stem = "XLMRoberta", .prefix = "roberta.",
		.flags = ARCH_PAD_POSITIONS, .norm_eps = 1e-5,
		.keys = { BERT_KEYS },
		.names = roberta_names, .heads = roberta_heads,
	},
	{
		.model_type = "gpt2", .title = "GPT-2", .class_stem = "GPT2",
		.prefix = "transformer.",
		.flags = ARCH_PRE_NORM | ARCH_CAUSAL | ARCH_TRANSPOSED |
		    ARCH_LAST_TOKEN,
		.norm_eps = 1e-5, .act = "gelu_new",
		.keys = { .hidden = "n_embd", .layers = "n_layer",
		    .heads = "n_head", .ffn = "n_inner",
		    .vocab = "vocab_size", .positions = "n_positions",
		    .act = "activation_function",
		    .eps = "layer_norm_epsilon", .dropout = "resid_pdrop",
		    .attention_dropout = "attn_pdrop" },
		.names = gpt2_names, .heads = gpt2_heads,
	},
	{
		.model_type = "llama", .title = "Llama",
		.class_stem = "Llama", .prefix = "model.",
		.flags = DECODER | ARCH_BIAS_SAID, .norm_eps = 1e-6,
		.act = "silu", .untied = true,
		.keys = { LLAMA_KEYS },
		.names = llama_names, .heads = decoder_heads,
	},
	{
		.model_type = "mistral", .title = "Mistral",
		.class_stem = "Mistral", .prefix = "model.",
		.flags = DECODER, .norm_eps = 1e-6, .act = "silu",
		.untied = true,
		.keys = { LLAMA_KEYS, .window = "sliding_window" },
		.names = mistral_names, .heads = decoder_heads,
	},
	{
		.model_type = "qwen2", .title = "Qwen2",
		.class_stem = "Qwen2", .prefix = "model.",
		.flags = DECODER, .norm_eps = 1e-6, .act = "silu",
		.untied = true,
		.keys = { LLAMA_KEYS, .window = "sliding_window" },
		.names = qwen2_names, .heads = decoder_heads,
	},
	{
		.model_type = "qwen3", .title = "Qwen3",
		.class_stem = "Qwen3", .prefix = "model.",
		.flags = DECODER | ARCH_BIAS_SAID, .norm_eps = 1e-6,
		.act = "silu", .untied = true, .head_dim = 128,
		.keys = { LLAMA_KEYS, .window = "sliding_window" },
		.names = qwen3_names, .heads = decoder_heads,
	},
	{
		.model_type = "gemma", .title = "Gemma",
		.class_stem = "Gemma", .prefix = "model.",
		.flags = DECODER | ARCH_BIAS_SAID | ARCH_NORM_ONE |
		    ARCH_EMBED_SCALE,
		.norm_eps = 1e-6, .act = "gelu_pytorch_tanh",
		.head_dim = 256,
		.keys = { LLAMA_KEYS },
		.names = gemma_names, .heads = decoder_heads,
	},
	{
		.model_type = "gemma2", .title = "Gemma 2",
		.class_stem = "Gemma2", .prefix = "model.",
		.flags = DECODER | ARCH_BIAS_SAID | ARCH_NORM_ONE |
		    ARCH_EMBED_SCALE,
		.norm_eps = 1e-6, .act = "gelu_pytorch_tanh",
		.head_dim = 256,
		.keys = { LLAMA_KEYS, .window = "sliding_window" },
		.names = gemma2_names, .heads = decoder_heads,
	},
	{ .model_type = NULL }
};
