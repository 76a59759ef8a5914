/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/gguf_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/gguf.h"
#include "file/hf.h"
#include "file/weights.h"
#include "model/arch.h"

enum { NAME_MAX_LENGTH = 256 };

/* ---- architectures --------------------------------------------------- */

static const struct gguf_arch archs[] = {
	{ "llama", "llama", "LlamaForCausalLM", true, false },
	{ "qwen2", "qwen2", "Qwen2ForCausalLM", false, false },
	{ "qwen3", "qwen3", "Qwen3ForCausalLM", false, false },
	{ "gemma", "gemma", "GemmaForCausalLM", false, true },
	{ "gemma2", "gemma2", "Gemma2ForCausalLM", false, true },
	{ "gpt2", "gpt2", "GPT2LMHeadModel", false, false },
	{ "bert", "bert", NULL, false, false },
	{ NULL, NULL, NULL, false, false }
};

const struct gguf_arch *
gguf_arch_of(const char *model_type)
{
	/* Mistral is Llama without a word for windows. */
	if (strcmp(model_type, "mistral") == 0)
		model_type = "llama";
	for (const struct gguf_arch *a = archs; a->name != NULL; a++)
		if (strcmp(a->model_type, model_type) == 0)
			return a;
	return NULL;
}

struct reading {
	const struct gguf *g;
	const struct gguf_arch *a;
	json_t *config;
	struct notes *notes;
	struct pare_err *err;
	enum pare_rc rc;	/* the first error stays */
};

static enum pare_rc
find_arch(struct reading *r)
{
	struct gguf_text name;
	enum pare_rc rc = gguf_string(r->g, "general.architecture", &name,
	    r->err);

	if (rc != PARE_OK)
		return rc;
	if (name.s == NULL)
		return err_set(r->err, PARE_EFORMAT,
		    "'%s': the key general.architecture is missing",
		    r->g->path);
	for (r->a = archs; r->a->name != NULL; r->a++)
		if (strlen(r->a->name) == name.n &&
		    memcmp(r->a->name, name.s, name.n) == 0)
			return PARE_OK;
	err_set(r->err, PARE_EFORMAT, "'%s': general.architecture '%.*s' is "
	    "not supported", r->g->path, (int)(name.n < 40 ? name.n : 40),
	    name.s);
	return err_hint(r->err, "pare opens llama, qwen2, qwen3, gemma, "
	    "gemma2, gpt2 and bert");
}

/* ---- keys to a config ------------------------------------------------ */

static void
key_of(const struct reading *r, const char *key, char *out, size_t n)
{
	snprintf(out, n, "%s.%s", r->a->name, key);
}

/* An array must have one value a layer, all alike. */
static enum pare_rc
one_for_layers(const struct reading *r, const char *full)
{
	const char *key = arch_find(r->a->model_type)->keys.layers;
	int64_t layers = json_integer_value(json_object_get(r->config, key));
	const struct gguf_value *v;
	enum pare_rc rc = gguf_array(r->g, full, GGUF_I32, &v, r->err);

	if (rc != PARE_OK)
		return rc;
	if (v->count != layers || layers < 1)
		return err_set(r->err, PARE_EFORMAT, "'%s': %s has %" PRId64
		    " entries for %" PRId64 " layers", r->g->path, full,
		    v->count, layers);
	for (int64_t i = 1; i < v->count; i++)
		if (gguf_int_at(v, i) != gguf_int_at(v, 0))
			return err_set(r->err, PARE_EFORMAT, "'%s': %s "
			    "differs between layers, which is not supported",
			    r->g->path, full);
	return PARE_OK;
}

/* An integer key of the architecture under its name in configs. One value for
 * all layers, or an array of equal ones. */
static void
put_int(struct reading *r, const char *key, const char *name, bool needed)
{
	const struct gguf_value *v;
	char full[128];
	int64_t x;

	key_of(r, key, full, sizeof(full));
	v = gguf_find(r->g, full);
	if (r->rc != PARE_OK || (v == NULL && !needed))
		return;
	if (v == NULL) {
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "'%s': the key %s is missing", r->g->path, full);
		return;
	}
	if (v->array) {
		if ((r->rc = one_for_layers(r, full)) != PARE_OK)
			return;
		x = gguf_int_at(v, 0);
	} else {
		r->rc = gguf_int(r->g, full, 0, INT32_MAX, 0, &x, r->err);
	}
	if (r->rc == PARE_OK)
		json_object_set_new(r->config, name, json_integer(x));
}

static void
put_real(struct reading *r, const char *key, const char *name)
{
	char full[128];
	double x;

	key_of(r, key, full, sizeof(full));
	if (r->rc != PARE_OK || gguf_find(r->g, full) == NULL)
		return;
	r->rc = gguf_real(r->g, full, 0.0, 1e12, 0.0, &x, r->err);
	if (r->rc == PARE_OK)
		json_object_set_new(r->config, name, json_real(x));
}

static void
put_scaling(struct reading *r)
{
	struct gguf_text type;
	double factor, attention;
	int64_t original;
	json_t *o;
	char key[128];

	key_of(r, "rope.scaling.type", key, sizeof(key));
	if (r->rc == PARE_OK)
		r->rc = gguf_string(r->g, key, &type, r->err);
	if (r->rc != PARE_OK || type.s == NULL ||
	    (type.n == 4 && memcmp(type.s, "none", 4) == 0))
		return;
	key_of(r, "rope.scaling.factor", key, sizeof(key));
	r->rc = gguf_real(r->g, key, 1.0, 1e6, 1.0, &factor, r->err);
	key_of(r, "rope.scaling.attn_factor", key, sizeof(key));
	if (r->rc == PARE_OK)
		r->rc = gguf_real(r->g, key, 0.0, 1e3, 0.0, &attention,
		    r->err);
	key_of(r, "rope.scaling.original_context_length", key, sizeof(key));
	if (r->rc == PARE_OK)
		r->rc = gguf_int(r->g, key, 1, 1 << 24, 0, &original, r->err);
	if (r->rc != PARE_OK)
		return;
	o = json_object();
	json_object_set_new(o, "rope_type", json_stringn_nocheck(type.s,
	    type.n));
	json_object_set_new(o, "factor", json_real(factor));
	if (attention > 0.0)
		json_object_set_new(o, "attention_factor",
		    json_real(attention));
	if (original > 0)
		json_object_set_new(o, "original_max_position_embeddings",
		    json_integer(original));
	json_object_set_new(r->config, "rope_scaling", o);
}

/* Rows of the embedding: the vocabulary's size as it is. */
static void
put_vocab(struct reading *r)
{
	const struct gguf_tensor *t = gguf_tensor_find(r->g,
	    "token_embd.weight");

	if (t != NULL)
		json_object_set_new(r->config, "vocab_size",
		    json_integer(t->dim[1]));
	else if (r->rc == PARE_OK)
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "'%s': tensor 'token_embd.weight' is missing",
		    r->g->path);
}

/* The keys of config.json that arch_read_config() wants, under the names that
 * the row of the architecture has for them. */
static void
put_sizes(struct reading *r, const struct arch_keys *k)
{
	put_int(r, "embedding_length", k->hidden, true);
	put_int(r, "block_count", k->layers, true);
	put_int(r, "attention.head_count", k->heads, true);
	put_int(r, "feed_forward_length", k->ffn, true);
	put_int(r, "context_length", k->positions, true);
	if (k->kv_heads != NULL)
		put_int(r, "attention.head_count_kv", k->kv_heads, false);
	if (k->head_dim != NULL)
		put_int(r, "attention.key_length", k->head_dim, false);
	if (k->window != NULL)
		put_int(r, "attention.sliding_window", k->window, false);
	put_real(r, k->kv_heads != NULL ? "attention.layer_norm_rms_epsilon" :
	    "attention.layer_norm_epsilon", k->eps);
	put_real(r, "rope.freq_base", "rope_theta");
	put_real(r, "attn_logit_softcapping", "attn_logit_softcapping");
	put_real(r, "final_logit_softcapping", "final_logit_softcapping");
	put_vocab(r);
}

/* A head size that is not said follows from the width; the rows of Qwen 3 and
 * Gemma would take another default. */
static void
put_head_dim(struct reading *r, const struct arch_keys *k)
{
	int64_t hidden = json_integer_value(json_object_get(r->config,
	    k->hidden));
	int64_t heads = json_integer_value(json_object_get(r->config,
	    k->heads));

	if (k->head_dim != NULL && heads > 0 && hidden % heads == 0 &&
	    json_object_get(r->config, k->head_dim) == NULL)
		json_object_set_new(r->config, k->head_dim,
		    json_integer(hidden / heads));
}

/* A classifier on BERT's pooler, which files of llama.cpp hold as cls and
 * cls.output, and the names of its classes. */
static void
put_classes(struct reading *r)
{
	const struct gguf_tensor *t = gguf_tensor_find(r->g,
	    "cls.output.weight");
	const struct gguf_value *v;
	json_t *names;
	char key[128];

	if (t == NULL || strcmp(r->a->name, "bert") != 0 || r->rc != PARE_OK)
		return;
	json_object_set_new(r->config, "architectures",
	    json_pack("[s]", "BertForSequenceClassification"));
	json_object_set_new(r->config, "num_labels",
	    json_integer(t->ndim > 1 ? t->dim[1] : 1));
	key_of(r, "classifier.output_labels", key, sizeof(key));
	r->rc = gguf_array(r->g, key, GGUF_STRING, &v, r->err);
	if (r->rc != PARE_OK || v == NULL || t->ndim < 2 ||
	    v->count != t->dim[1])
		return;
	names = json_object();
	for (int64_t i = 0, n = 0; i < v->count; i++) {
		const unsigned char *at = v->p + n;
		struct gguf_text s = gguf_text_next(&at);
		json_t *name = json_stringn(s.s, s.n);

		n = at - v->p;
		snprintf(key, sizeof(key), "%" PRId64, i);
		json_object_set_new(names, key, name != NULL ? name :
		    json_string(key));
	}
	json_object_set_new(r->config, "id2label", names);
}

static enum pare_rc
make_config(struct reading *r)
{
	const struct arch *arch = arch_find(r->a->model_type);
	bool head = gguf_tensor_find(r->g, "output.weight") != NULL;
	bool bias = gguf_tensor_find(r->g, "blk.0.attn_q.bias") != NULL;
	const struct gguf_tensor *types = gguf_tensor_find(r->g,
	    "token_types.weight");

	r->config = json_object();
	json_object_set_new(r->config, "model_type",
	    json_string(r->a->model_type));
	if (r->a->class != NULL)
		json_object_set_new(r->config, "architectures",
		    json_pack("[s]", r->a->class));
	put_classes(r);
	put_sizes(r, &arch->keys);
	put_head_dim(r, &arch->keys);
	put_scaling(r);
	json_object_set_new(r->config, "tie_word_embeddings",
	    json_boolean(!head));
	if ((arch->flags & ARCH_BIAS_SAID) != 0)
		json_object_set_new(r->config, "attention_bias",
		    json_boolean(bias));
	if ((arch->flags & ARCH_BIAS_SAID) != 0)
		json_object_set_new(r->config, "mlp_bias", json_boolean(
		    gguf_tensor_find(r->g, "blk.0.ffn_up.bias") != NULL));
	if (arch->keys.types != NULL)
		json_object_set_new(r->config, arch->keys.types,
		    json_integer(types != NULL ? types->dim[1] : 0));
	return r->rc;
}

/* ---- tensors --------------------------------------------------------- */

/* Names behind "blk.N." (layer) or as a whole. */
static const struct gguf_name {
	const char *name;
	enum slot slot;
	bool layer;
} names[] = {
	{ "token_embd.weight", SLOT_WORD, false },
	{ "position_embd.weight", SLOT_POSITION, false },
	{ "token_types.weight", SLOT_TYPE, false },
	{ "token_embd_norm.weight", SLOT_ENORM_W, false },
	{ "token_embd_norm.bias", SLOT_ENORM_B, false },
	{ "output_norm.weight", SLOT_FINAL_W, false },
	{ "output_norm.bias", SLOT_FINAL_B, false },
	{ "output.weight", SLOT_HOUT_W, false },
	{ "cls.weight", SLOT_POOL_W, false },
	{ "cls.bias", SLOT_POOL_B, false },
	{ "cls.output.weight", SLOT_HOUT_W, false },
	{ "cls.output.bias", SLOT_HOUT_B, false },
	{ "rope_freqs.weight", SLOT_ROPE, false },
	{ "attn_norm.weight", SLOT_ANORM_W, true },
	{ "attn_norm.bias", SLOT_ANORM_B, true },
	{ "attn_q.weight", SLOT_Q_W, true }, { "attn_q.bias", SLOT_Q_B, true },
	{ "attn_k.weight", SLOT_K_W, true }, { "attn_k.bias", SLOT_K_B, true },
	{ "attn_v.weight", SLOT_V_W, true }, { "attn_v.bias", SLOT_V_B, true },
	{ "attn_qkv.weight", SLOT_Q_W, true },
	{ "attn_qkv.bias", SLOT_Q_B, true },
	{ "attn_q_norm.weight", SLOT_QNORM_W, true },
	{ "attn_k_norm.weight", SLOT_KNORM_W, true },
	{ "attn_output.weight", SLOT_O_W, true },
	{ "attn_output.bias", SLOT_O_B, true },
	{ "attn_output_norm.weight", SLOT_ANORM_W, true },
	{ "attn_output_norm.bias", SLOT_ANORM_B, true },
	{ "post_attention_norm.weight", SLOT_APOST_W, true },
	{ "ffn_norm.weight", SLOT_FNORM_W, true },
	{ "ffn_norm.bias", SLOT_FNORM_B, true },
	{ "ffn_gate.weight", SLOT_GATE_W, true },
	{ "ffn_gate.bias", SLOT_GATE_B, true },
	{ "ffn_up.weight", SLOT_UP_W, true },
	{ "ffn_up.bias", SLOT_UP_B, true },
	{ "ffn_down.weight", SLOT_DOWN_W, true },
	{ "ffn_down.bias", SLOT_DOWN_B, true },
	{ "post_ffw_norm.weight", SLOT_FPOST_W, true },
	{ "layer_output_norm.weight", SLOT_FNORM_W, true },
	{ "layer_output_norm.bias", SLOT_FNORM_B, true },
};

/* The slot behind a name of the file. */
static bool
find_slot(const char *name, struct slot_ref *out)
{
	int layer = -1, used = 0;

	if (sscanf(name, "blk.%4d.%n", &layer, &used) == 1 && used > 0 &&
	    layer >= 0)
		name += used;
	else
		layer = -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].layer == (layer >= 0) &&
		    strcmp(names[i].name, name) == 0) {
			*out = (struct slot_ref){ layer, names[i].slot };
			return true;
		}
	return false;
}

/* Of several names for a slot, the one that its model has. */
static bool
name_fits(const struct model *m, enum slot slot, const char *name)
{
	const bool post = (m->arch->flags & ARCH_PRE_NORM) == 0;
	const bool fused = (m->arch->flags & ARCH_TRANSPOSED) != 0;

	switch (slot) {
	case SLOT_ANORM_W:
	case SLOT_ANORM_B:
		return post == str_has_prefix(name, "attn_output_norm");
	case SLOT_FNORM_W:
	case SLOT_FNORM_B:
		return post == str_has_prefix(name, "layer_output_norm");
	case SLOT_Q_W:
	case SLOT_Q_B:
	case SLOT_K_W:
	case SLOT_K_B:
	case SLOT_V_W:
	case SLOT_V_B:
		return fused == str_has_prefix(name, "attn_qkv");
	case SLOT_HOUT_W:
	case SLOT_HOUT_B:
		return head_gives_tokens(m->hp.head) !=
		    str_has_prefix(name, "cls.");
	default:
		return true;
	}
}

bool
gguf_slot_name(const struct model *m, struct slot_ref r, char *out, size_t n)
{
	const bool fused = (m->arch->flags & ARCH_TRANSPOSED) != 0;
	enum slot s = r.slot;

	/* All of GPT-2's stand under the first. */
	if (fused && (s == SLOT_K_W || s == SLOT_V_W))
		s = SLOT_Q_W;
	else if (fused && (s == SLOT_K_B || s == SLOT_V_B))
		s = SLOT_Q_B;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (names[i].slot != s || !name_fits(m, s, names[i].name))
			continue;
		if (names[i].layer)
			snprintf(out, n, "blk.%d.%s", r.layer, names[i].name);
		else
			snprintf(out, n, "%s", names[i].name);
		return true;
	}
	return false;
}

/* One tensor as an entry under the name a checkpoint would have. */
static void
fill_entry(const struct reading *r, const struct arch_layout *l,
    const struct gguf_tensor *t, struct st_entry *e)
{
	char name[NAME_MAX_LENGTH];
	struct slot_ref ref;

	if (!find_slot(t->name, &ref) ||
	    !arch_slot_name(l, ref, name, sizeof(name)))
		snprintf(name, sizeof(name), "%s", t->name);
	e->name = xstrdup(name);
	e->dtype = gguf_type_table[t->type].name;
	e->type = t->type + 1;
	e->minus_one = r->a->minus_one && str_has_suffix(t->name,
	    "norm.weight");
	e->ndim = t->ndim;
	for (int i = 0; i < t->ndim; i++)
		e->dim[i] = t->dim[t->ndim - 1 - i];
	e->begin = t->p - (const unsigned char *)r->g->blob->base;
	e->end = e->begin + t->n;
}

static struct weights *
make_weights(const struct reading *r, const struct arch_layout *l)
{
	struct weights *w = xcalloc(1, sizeof(*w));
	struct st_file *f = xcalloc(1, sizeof(*f));

	f->path = xstrdup(r->g->path);
	f->blob = blob_ref(r->g->blob);
	f->data = r->g->blob->base;
	f->data_size = (int64_t)r->g->blob->size;
	f->n = r->g->ntensors;
	f->entry = xcalloc((size_t)f->n + 1, sizeof(*f->entry));
	for (int i = 0; i < f->n; i++)
		fill_entry(r, l, &r->g->tensor[i], &f->entry[i]);
	w->where = xstrdup(r->g->path);
	w->file = xcalloc(1, sizeof(*w->file));
	w->file[0] = f;
	w->nfiles = 1;
	if (weights_index(w, r->err) == PARE_OK)
		return w;
	weights_free(w);
	return NULL;
}

/* ---- the whole ------------------------------------------------------- */

static enum pare_rc
check_split(const struct reading *r)
{
	int64_t parts;
	enum pare_rc rc = gguf_int(r->g, "split.count", 0, 65535, 1, &parts,
	    r->err);

	if (rc != PARE_OK || parts <= 1)
		return rc;
	err_set(r->err, PARE_EFORMAT, "'%s' is one of %" PRId64 " parts of a "
	    "model", r->g->path, parts);
	return err_hint(r->err, "join them: llama-gguf-split --merge");
}

static enum pare_rc
build(struct reading *r, const char *path, struct model **out)
{
	struct arch_layout l;
	struct weights *w;
	enum pare_rc rc;

	rc = arch_read_config(r->config, path, &l, r->err);
	if (rc != PARE_OK)
		return rc;
	l.upright = true;
	l.hp.rope.interleaved = r->a->interleaved;
	l.rope_freqs = gguf_tensor_find(r->g, "rope_freqs.weight") != NULL;
	w = make_weights(r, &l);
	rc = w == NULL ? r->err->rc : hf_build(&l, r->config, path, w, path,
	    path, out, r->notes, r->err);
	weights_free(w);
	arch_layout_free(&l);
	return rc;
}

enum pare_rc
gguf_open_model(const char *path, struct model **out, struct notes *notes,
    struct pare_err *err)
{
	struct gguf *g = gguf_open(path, err);
	struct reading r = { .g = g, .notes = notes, .err = err };
	enum pare_rc rc;

	if (g == NULL)
		return err->rc;
	rc = check_split(&r);
	if (rc == PARE_OK)
		rc = find_arch(&r);
	if (rc == PARE_OK)
		rc = make_config(&r);
	if (rc == PARE_OK)
		rc = build(&r, path, out);
	json_decref(r.config);
	gguf_close(g);
	return rc;
}
