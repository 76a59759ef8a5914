/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * arch: the table of architectures. One row tells everything that differs
 * between them: config keys, tensor names, and flags that the one forward and
 * backward pass read.
 */
#ifndef PARE_MODEL_ARCH_H
#define PARE_MODEL_ARCH_H

#include <jansson.h>

#include "model/model.h"

enum arch_flag {
	ARCH_PRE_NORM = 1,	/* norm before each sub-layer (else after it) */
	ARCH_RMS_NORM = 2,
	ARCH_ROTARY = 4,	/* positions by rotation (else a learned table) */
	ARCH_CAUSAL = 8,
	ARCH_GATED = 16,	/* FFN is down(act(gate x) * up x) */
	ARCH_TRANSPOSED = 32,	/* files hold (in, out): GPT-2's Conv1D */
	ARCH_GROUPS = 64,	/* files hold num_hidden_groups layers (ALBERT) */
	ARCH_NORM_ONE = 128,	/* norms multiply by 1 + weight (Gemma) */
	ARCH_EMBED_SCALE = 256,	/* embeddings times sqrt(hidden) (Gemma) */
	ARCH_PAD_POSITIONS = 512, /* positions begin behind the padding id's
				 * (RoBERTa) */
	ARCH_LAST_TOKEN = 2048,	/* a classifier reads the last token, not 0 */
	ARCH_BIAS_SAID = 1024	/* attention_bias and mlp_bias of the config say
				 * whether there are biases */
};

/* Config keys, NULL where the architecture has a fixed value. */
struct arch_keys {
	const char *hidden, *layers, *heads, *kv_heads, *ffn, *vocab,
	    *positions, *types, *embed, *act, *eps, *dropout,
	    *attention_dropout;
	const char *head_dim;	/* hidden / heads where the config is silent */
	const char *window;	/* sliding window; see arch_read_config() */
};

/* A file name of a slot; "%d" stands for the layer (ALBERT: the group). Where
 * parts > 0 the file's tensor holds that many slots side by side along its
 * output, in the order of part. */
struct arch_name {
	enum slot slot;
	const char *name;
	uint8_t part, parts;
};

/* A kind of head: chosen by the class name in config "architectures". */
struct arch_head {
	const char *suffix;	/* "ForSequenceClassification"; NULL: the body */
	enum head_kind kind;
	bool pooler;		/* the model has a pooler under this head */
	enum act_kind act;	/* after HDENSE */
	const struct arch_name *names;	/* of the head's own slots */
	bool tied;		/* HOUT_W is the word embedding unless stored */
};

struct arch {
	const char *model_type;	/* "bert" */
	const char *title;	/* "BERT" */
	const char *class_stem;	/* "Bert": what "architectures" begins with */
	const char *prefix;	/* "bert.": may be missing in files */
	unsigned flags;		/* enum arch_flag */
	bool embed_projection;	/* PROJ when embed != hidden (ALBERT: always) */
	bool projection_always;
	double norm_eps;	/* where eps has no key */
	const char *act;	/* where the config names none; NULL: "gelu" */
	int head_dim;		/* where the config names none; 0: hidden /
				 * heads */
	bool untied;		/* the head is tied only when the config says so */
	struct arch_keys keys;
	const struct arch_name *names;		/* body slots */
	const struct arch_head *heads;		/* ends with kind HEAD_NONE */
};

/* All rows, ended by a row without model_type. */
extern const struct arch arch_table[];

/* NULL when pare does not know the model_type. */
const struct arch *arch_find(const char *model_type);

/* "BERT, DistilBERT, ...", for messages; static. */
const char *arch_titles(void);

/* The layout a config describes, before any tensor is seen. */
struct arch_layout {
	const struct arch *arch;
	const struct arch_head *head;
	struct hparams hp;
	int nlayers, groups, inner;	/* ALBERT: layers share groups */
	int heads, kv_heads, head_dim;
	int64_t ffn;
	enum form_kind float_form;	/* torch_dtype, for ghosts */
	bool attention_bias, mlp_bias;	/* ARCH_BIAS_SAID */
	/* Of GGUF files: matrices stand (out, in) whatever ARCH_TRANSPOSED says;
	 * there is a SLOT_ROPE. */
	bool upright, rope_freqs;
	int64_t *window;	/* nlayers, owned; NULL: none has one */
	/* pruned_heads of the config: which heads of layer l remain. */
	struct head_set *remaining;	/* nlayers, owned; NULL: all */
};

/*
 * Reads a config. Every key is range-checked; the message names file, key, what
 * was found and what is allowed (PARE_EFORMAT). `where` is the file's name.
 */
enum pare_rc arch_read_config(const json_t *config, const char *where,
    struct arch_layout *out, struct pare_err *err);
void arch_layout_free(struct arch_layout *l);

/*
 * The name a slot has in this architecture's files, into out: with the prefix.
 * For ARCH_GROUPS the layer's group is used. false: the slot has no name here.
 */
bool arch_slot_name(const struct arch_layout *l, struct slot_ref ref,
    char *out, size_t n);
/* The row behind that name; NULL where there is none. */
const struct arch_name *arch_slot_row(const struct arch_layout *l,
    enum slot slot);
/* Matrices of layers stand (in, out) in this architecture's files. */
static inline bool
arch_turns(const struct arch *a, struct slot_ref ref)
{
	return (a->flags & ARCH_TRANSPOSED) != 0 && ref.layer >= 0 &&
	    slot_table[ref.slot].matrix;
}

/* The name of a slot in files of a model's architecture, with the prefix, in
 * the numbering the model would be saved with. false where the file's tensor is
 * not the slot's as it is: turned, or several in one. */
bool model_file_name(const struct model *m, struct slot_ref ref, char *out,
    size_t n);

/* A model of ghosts for a layout: what a config alone opens as. Consumes
 * origin. */
enum pare_rc arch_ghost_model(const struct arch_layout *l,
    struct origin *origin, struct model **out, struct pare_err *err);

#endif
