/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rows of arch_table[]: config keys, tensor names and flags of each
 * architecture. Names are those of Hugging Face files; a name with the prefix
 * belongs to the body, one without to a head.
 */
#include <stddef.h>

#include "model/arch.h"

#define PAIR(slot, name) \
	{ slot##_W, name ".weight" }, { slot##_B, name ".bias" }
#define END { SLOT_COUNT, NULL }

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
	{ SLOT_WORD, prefix "embeddings.word_embeddings.weight" }, \
	{ SLOT_POSITION, prefix "embeddings.position_embeddings.weight" }, \
	PAIR(SLOT_ENORM, prefix "embeddings.LayerNorm")

#define TYPES(prefix) \
	{ SLOT_TYPE, prefix "embeddings.token_type_embeddings.weight" }

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
	{ SLOT_HOUT_W, "cls.predictions.decoder.weight" },
	{ SLOT_HOUT_B, "cls.predictions.bias" },
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
	{ SLOT_HOUT_W, "predictions.decoder.weight" },
	{ SLOT_HOUT_B, "predictions.bias" },
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
	{ .model_type = NULL }
};
