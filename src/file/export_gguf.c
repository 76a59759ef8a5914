/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model as llama.cpp's converter would have written it. The tensors of each
 * slot get their types first, which gives a model of its own; that model is
 * written as it stands, so that what is read back must be equal to it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "file/export_private.h"
#include "file/fit.h"
#include "file/gguf_model.h"
#include "model/arch.h"
#include "model/edit.h"
#include "tensor/form.h"

enum { NAME_MAX_LENGTH = 96 };

/* ---- what the format cannot say -------------------------------------- */

static enum pare_rc
check_arch(const struct model *m, struct pare_err *err)
{
	const struct gguf_arch *a = gguf_arch_of(m->arch->model_type);

	if (a != NULL)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s models have no form in GGUF that pare "
	    "writes", m->arch->title);
	return err_hint(err, "GGUF files are written of BERT, GPT-2, Llama, "
	    "Mistral, Qwen 2 and 3, Gemma 1 and 2; export hf says others");
}

static enum pare_rc
check_head(const struct model *m, struct pare_err *err)
{
	const enum head_kind h = m->hp.head;
	const bool causal = (m->arch->flags & ARCH_CAUSAL) != 0;

	if (h == HEAD_NONE ? !causal : causal ? h == HEAD_LM :
	    h == HEAD_CLASSIFY || h == HEAD_REGRESS)
		return PARE_OK;
	if (causal)
		return err_set(err, PARE_EUSER, "GGUF files hold %s with its "
		    "language-model head only", m->arch->title);
	err_set(err, PARE_EUSER, "GGUF has no place for a masked-LM head");
	return err_hint(err, "body=on writes the model without it");
}

static enum pare_rc
check_numerics(const struct model *m, struct pare_err *err)
{
	const char *name = m->arch->act != NULL ? m->arch->act : "gelu";
	const double scale = 1.0 / sqrt((double)m->layer[0].head_dim);
	const struct rope *r = &m->hp.rope;
	enum act_kind act = ACT_GELU;

	act_find(name, &act);
	if (m->hp.act != act)
		return err_set(err, PARE_EUSER, "the activation is %s, and "
		    "GGUF's %s always has %s", act_name(m->hp.act),
		    m->arch->title, act_name(act));
	if (r->kind == ROPE_DYNAMIC || (r->kind == ROPE_YARN &&
	    (r->low != 1.0 || r->high != 32.0)))
		return err_set(err, PARE_EUSER, "GGUF has no keys for this "
		    "stretching of the rotation");
	if (m->hp.attn_scale > 0.0 && fabs(m->hp.attn_scale - scale) > 1e-9)
		return err_set(err, PARE_EUSER, "scores are scaled by %g, and "
		    "GGUF has no key for other than 1/sqrt(%d)",
		    m->hp.attn_scale, m->layer[0].head_dim);
	if (m->hp.position_offset != 0)
		return err_set(err, PARE_EUSER, "positions begin at %lld, "
		    "which GGUF has no key for",
		    (long long)m->hp.position_offset);
	return PARE_OK;
}

/* The longest text on which windows do not matter; Gemma 2 has keys for them. */
static int64_t
context_of(const struct model *m)
{
	int64_t n = m->hp.positions;

	if (strcmp(m->arch->model_type, "gemma2") == 0)
		return n;
	for (int l = 0; l < m->nlayers; l++)
		if (m->layer[l].window > 0 && m->layer[l].window < n)
			n = m->layer[l].window;
	return n;
}

/* ---- the model of the file ------------------------------------------- */

static enum pare_rc
retype(const struct model *m, enum gguf_want want, struct gguf_count *count,
    struct task *task, struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, task);
	struct slot_ref r = SLOT_REF_START;
	int n = 0;

	while (model_next_slot(m, &r)) {
		struct slot_ref owner = model_owner(m, r);
		struct tensor *t;

		/* Shared by layers or tied to the embedding: made once. */
		if (owner.layer != r.layer || owner.slot != r.slot)
			t = tensor_ref(edit_get(e, owner));
		else
			t = gguf_type_tensor(m, r, want, count, task, err);
		if (t == NULL) {
			char path[96];

			edit_abort(e);
			model_slot_path(r, path, sizeof(path));
			return err_prefix(err, "%s", path);
		}
		edit_set(e, r, t);
		if (!task_tick(task, n++, m->nlayers * 9, "tensors")) {
			edit_abort(e);
			return task_error(err);
		}
	}
	return edit_commit(e, out, err);
}

/* What the file does not say: windows, which reach as far as its texts, and
 * the pooler of a body. */
static enum pare_rc
trim(const struct model *m, struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);

	if (strcmp(m->arch->model_type, "gemma2") != 0) {
		e->m->hp.positions = context_of(m);
		for (int l = 0; l < m->nlayers; l++)
			e->m->layer[l].window = 0;
	}
	if (m->hp.head == HEAD_NONE) {
		edit_set(e, (struct slot_ref){ -1, SLOT_POOL_W }, NULL);
		edit_set(e, (struct slot_ref){ -1, SLOT_POOL_B }, NULL);
	}
	return edit_commit(e, out, err);
}

/* The steps from m to the model of the file, each of a new model. */
static enum pare_rc
prepare(struct export *x, const struct model *m, const struct export_ask *ask,
    struct gguf_count *count, struct task *task, struct pare_err *err)
{
	const struct gguf_arch *a = gguf_arch_of(m->arch->model_type);
	struct model *counted = NULL, *roped = NULL, *cut = NULL,
	    *typed = NULL;
	enum pare_rc rc = fit_renumber(m, &counted, err);

	if (rc == PARE_OK)
		rc = fit_rope(counted, true, &roped, err);
	if (rc == PARE_OK)
		rc = trim(roped, &cut, err);
	if (rc == PARE_OK)
		rc = retype(cut, ask->want, count, task, &typed, err);
	if (rc == PARE_OK)
		rc = fit_rotation(typed, a->interleaved, &x->model, err);
	model_unref(counted);
	model_unref(roped);
	model_unref(cut);
	model_unref(typed);
	return rc;
}

/* ---- keys ------------------------------------------------------------ */

struct keys {
	struct gguf_writer *w;
	const struct gguf_arch *a;
	const struct model *m;
};

static void
put_int(const struct keys *k, const char *name, int64_t v)
{
	char key[128];

	snprintf(key, sizeof(key), "%s.%s", k->a->name, name);
	gguf_put_u32(k->w, key, (uint32_t)v);
}

static void
put_real(const struct keys *k, const char *name, double v)
{
	char key[128];

	snprintf(key, sizeof(key), "%s.%s", k->a->name, name);
	gguf_put_f32(k->w, key, (float)v);
}

static void
put_word(const struct keys *k, const char *name, const char *v)
{
	char key[128];

	snprintf(key, sizeof(key), "%s.%s", k->a->name, name);
	gguf_put_text(k->w, key, v, strlen(v));
}

/* general.file_type: what most bytes are; readers look at each tensor. */
static uint32_t
file_type(const struct export *x)
{
	static const struct {
		const char *name;
		uint32_t type;
	} types[] = { { "F32", 0 }, { "F16", 1 }, { "Q4_0", 2 },
		{ "Q4_1", 3 }, { "Q8_0", 7 }, { "Q5_0", 8 }, { "Q5_1", 9 },
		{ "Q2_K", 10 }, { "Q3_K", 11 }, { "Q4_K", 15 },
		{ "Q5_K", 17 }, { "Q6_K", 18 }, { "IQ4_NL", 25 },
		{ "IQ4_XS", 30 }, { "BF16", 32 } };
	int most = 0;

	for (int i = 1; i < x->nkinds; i++)
		if (x->kind[i].bytes > x->kind[most].bytes)
			most = i;
	for (size_t i = 0; x->nkinds > 0 && i < sizeof(types) /
	    sizeof(*types); i++)
		if (strcmp(types[i].name, x->kind[most].name) == 0)
			return types[i].type;
	return 0;
}

static void
put_rope(const struct keys *k)
{
	const struct rope *r = &k->m->hp.rope;

	if ((k->m->arch->flags & ARCH_ROTARY) == 0)
		return;
	put_real(k, "rope.freq_base", r->theta);
	put_int(k, "rope.dimension_count", k->m->layer[0].head_dim);
	if (r->kind != ROPE_LINEAR && r->kind != ROPE_YARN)
		return;
	put_word(k, "rope.scaling.type", r->kind == ROPE_LINEAR ? "linear" :
	    "yarn");
	put_real(k, "rope.scaling.factor", r->factor);
	put_int(k, "rope.scaling.original_context_length", r->original);
	if (r->attention > 0.0)
		put_real(k, "rope.scaling.attn_factor", r->attention);
}

static void
put_labels(const struct keys *k)
{
	const int64_t n = k->m->hp.labels;
	struct gguf_text *v = xcalloc((size_t)n + 1, sizeof(*v));
	char key[128];

	for (int64_t i = 0; i < n; i++) {
		char name[256];

		model_label_name(k->m, (int)i, name, sizeof(name));
		v[i].n = strlen(name);
		v[i].s = xstrdup(name);
	}
	snprintf(key, sizeof(key), "%s.classifier.output_labels", k->a->name);
	gguf_put_texts(k->w, key, v, n);
	for (int64_t i = 0; i < n; i++)
		free((char *)(uintptr_t)v[i].s);
	free(v);
}

static void
put_encoder(const struct keys *k)
{
	enum { POOLING_RANK = 4 };
	char key[128];

	snprintf(key, sizeof(key), "%s.attention.causal", k->a->name);
	gguf_put_bool(k->w, key, false);
	gguf_put_u32(k->w, "tokenizer.ggml.token_type_count",
	    (uint32_t)k->m->hp.types);
	if (k->m->hp.head == HEAD_NONE)
		return;
	put_int(k, "pooling_type", POOLING_RANK);
	put_labels(k);
}

static void
put_decoder(const struct keys *k)
{
	const struct layer *y = &k->m->layer[0];
	int64_t window = 0;

	for (int l = 0; l < k->m->nlayers; l++)
		if (k->m->layer[l].window > 0)
			window = k->m->layer[l].window;
	if (fit_counts_heads(k->m->arch)) {
		put_int(k, "attention.head_count_kv", y->kv_heads);
		put_int(k, "attention.key_length", y->head_dim);
		put_int(k, "attention.value_length", y->head_dim);
	}
	put_rope(k);
	if (window > 0)
		put_int(k, "attention.sliding_window", window);
	if (k->m->hp.attn_cap > 0.0)
		put_real(k, "attn_logit_softcapping", k->m->hp.attn_cap);
	if (k->m->hp.logit_cap > 0.0)
		put_real(k, "final_logit_softcapping", k->m->hp.logit_cap);
}

static void
put_keys(const struct keys *k, const struct export *x, bool quantized)
{
	const struct model *m = k->m;
	const char *name = m->origin != NULL && m->origin->name != NULL ?
	    m->origin->name : m->arch->title;

	gguf_put_text(k->w, "general.architecture", k->a->name,
	    strlen(k->a->name));
	gguf_put_text(k->w, "general.name", name, strlen(name));
	gguf_put_u32(k->w, "general.file_type", file_type(x));
	if (quantized)
		gguf_put_u32(k->w, "general.quantization_version", 2);
	put_int(k, "vocab_size", m->hp.vocab);
	put_int(k, "context_length", m->hp.positions);
	put_int(k, "embedding_length", m->hp.hidden);
	put_int(k, "block_count", m->nlayers);
	put_int(k, "feed_forward_length", m->layer[0].ffn);
	put_int(k, "attention.head_count", m->layer[0].heads);
	put_real(k, (m->arch->flags & ARCH_RMS_NORM) != 0 ?
	    "attention.layer_norm_rms_epsilon" :
	    "attention.layer_norm_epsilon", m->hp.norm_eps);
	if ((m->arch->flags & ARCH_CAUSAL) != 0)
		put_decoder(k);
	else
		put_encoder(k);
}

/* ---- tensors --------------------------------------------------------- */

/* Tensors made for the file alone. */
struct made {
	struct tensor **t;
	int n;
};

static const struct tensor *
keep_made(struct made *k, struct tensor *t)
{
	if (t == NULL)
		return NULL;
	k->t = xrealloc(k->t, (size_t)(k->n + 1) * sizeof(*k->t));
	k->t[k->n++] = t;
	return t;
}

/* Queries, keys and values one below the other; rows of all forms can be put
 * together where the form is the same. */
static struct tensor *
join_rows(const struct tensor *const part[3], struct pare_err *err)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, facts = {
		.form = part[0]->form, .values = part[0]->values,
		.ndim = part[0]->ndim, .rows = part[0]->rows,
		.cols = part[0]->cols, .code = part[0]->code };
	size_t n = 0, at = 0;
	unsigned char *to;

	for (int i = 1; i < 3; i++)
		*(facts.ndim == 1 ? &facts.cols : &facts.rows) +=
		    facts.ndim == 1 ? part[i]->cols : part[i]->rows;
	for (int i = 0; i < 3; i++)
		n += part[i]->part[PART_DATA].n;
	to = mem_big(n, 1, err);
	if (to == NULL)
		return NULL;
	for (int i = 0; i < 3; i++) {
		const struct part *p = &part[i]->part[PART_DATA];

		memcpy(to + at, p->p, p->n);
		at += p->n;
	}
	atomic_init(&facts.nonzero, -1);
	facts.stored = facts.rows * facts.cols;
	parts[PART_DATA] = (struct part){ blob_heap(to, n), to, n };
	return tensor_new(&facts, parts, kid, err);
}

static const struct tensor *
fused(const struct model *m, struct slot_ref r, struct made *made,
    struct pare_err *err)
{
	const int first = r.slot == SLOT_Q_W ? SLOT_Q_W : SLOT_Q_B;
	const struct tensor *part[3];
	struct tensor *wide[3] = { NULL }, *t;
	bool same = true;

	for (int i = 0; i < 3; i++) {
		part[i] = model_slot(m, (struct slot_ref){ r.layer,
		    (enum slot)(first + 2 * i) });
		same = same && part[i]->form == part[0]->form &&
		    part[i]->code.block == part[0]->code.block;
	}
	for (int i = 0; !same && i < 3; i++) {
		wide[i] = tensor_to_f32(part[i], err);
		part[i] = wide[i];
		if (wide[i] == NULL)
			break;
	}
	t = part[2] != NULL && part[1] != NULL && part[0] != NULL ?
	    join_rows(part, err) : NULL;
	for (int i = 0; i < 3; i++)
		tensor_unref(wide[i]);
	return keep_made(made, t);
}

/* 1 + weight. */
static const struct tensor *
plus_one(const struct tensor *t, struct made *made, struct pare_err *err)
{
	struct tensor *f;
	float *v;

	f = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);
	if (f != NULL)
		tensor_decode(t, 0, t->rows, v);
	for (int64_t i = 0; f != NULL && i < t->cols; i++)
		v[i] += 1.0f;
	return keep_made(made, f);
}

static enum pare_rc
add_tensor(struct export *x, const struct gguf_arch *a, struct slot_ref r,
    const char *name, struct gguf_writer *w, struct made *made,
    struct pare_err *err)
{
	const struct tensor *t = model_slot(x->model, r);
	int64_t dim[2];
	int type;

	if (str_has_suffix(name, "attn_qkv.weight") ||
	    str_has_suffix(name, "attn_qkv.bias"))
		t = fused(x->model, r, made, err);
	else if (a->minus_one && str_has_suffix(name, "norm.weight"))
		t = plus_one(t, made, err);
	if (t == NULL)
		return err != NULL ? err->rc : PARE_ENOMEM;
	type = gguf_type_of(t);
	dim[0] = t->cols;
	dim[1] = t->rows;
	gguf_add_tensor(w, name, type, t->ndim, dim, t->part[PART_DATA].p,
	    (int64_t)t->part[PART_DATA].n);
	export_count(x, gguf_type_table[type].name,
	    (int64_t)t->part[PART_DATA].n);
	return PARE_OK;
}

static enum pare_rc
add_tensors(struct export *x, const struct gguf_arch *a,
    struct gguf_writer *w, struct made *made, struct pare_err *err)
{
	const struct model *m = x->model;
	const struct tensor *word = model_slot(m,
	    (struct slot_ref){ -1, SLOT_WORD });
	struct slot_ref r = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &r)) {
		const bool qkv = (m->arch->flags & ARCH_TRANSPOSED) != 0;
		char name[NAME_MAX_LENGTH];

		if (qkv && (r.slot == SLOT_K_W || r.slot == SLOT_K_B ||
		    r.slot == SLOT_V_W || r.slot == SLOT_V_B))
			continue;
		if (r.slot == SLOT_HOUT_W && model_slot(m, r) == word)
			continue;
		if (!gguf_slot_name(m, r, name, sizeof(name)))
			return err_set(err, PARE_EUSER, "%s has no name in "
			    "GGUF files", slot_table[r.slot].name);
		rc = add_tensor(x, a, r, name, w, made, err);
	}
	return rc;
}

/* ---- the whole ------------------------------------------------------- */

static void
note_differences(struct export *x, const struct model *m,
    const struct gguf_count *count)
{
	if (context_of(m) < m->hp.positions)
		notes_add(&x->notes, "GGUF's llama has no windows: the "
		    "context is cut from %lld to %lld tokens, for which they "
		    "do not matter", (long long)m->hp.positions,
		    (long long)context_of(m));
	if (count->fell_back > 0)
		notes_add(&x->notes, "%d tensors have rows that are no whole "
		    "blocks of the type and got the next one",
		    count->fell_back);
	if (m->arch->act == NULL && m->hp.act == ACT_GELU)
		notes_add(&x->notes, "llama.cpp computes the GELU of BERT by "
		    "its tanh formula, so its outputs differ in the fourth "
		    "digit");
}

static enum pare_rc
write_file(struct export *x, const struct gguf_arch *a,
    const struct export_ask *ask, struct task *task, struct pare_err *err)
{
	struct gguf_writer *w = gguf_writer_new();
	struct keys k = { w, a, x->model };
	struct made made = { NULL, 0 };
	enum pare_rc rc = add_tensors(x, a, w, &made, err);
	bool quantized = false;

	for (int i = 0; i < x->nkinds; i++)
		quantized = quantized || strchr("QIM", x->kind[i].name[0]) !=
		    NULL;
	put_keys(&k, x, quantized);
	if (ask->keys != NULL)
		gguf_put_all(w, ask->keys);
	else
		gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
	if (rc == PARE_OK)
		rc = gguf_writer_write(w, x->path, &x->file_bytes, task, err);
	for (int i = 0; i < made.n; i++)
		tensor_unref(made.t[i]);
	free(made.t);
	gguf_writer_free(w);
	return rc;
}

enum pare_rc
export_gguf(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err)
{
	const struct gguf_arch *a = gguf_arch_of(m->arch->model_type);
	struct gguf_count count = { .weigh = ask->weigh,
		.weigh_ctx = ask->weigh_ctx };
	enum pare_rc rc = check_arch(m, err);

	if (rc == PARE_OK)
		rc = check_head(m, err);
	if (rc == PARE_OK)
		rc = check_numerics(m, err);
	if (rc == PARE_OK) {
		rc = fit_check(m, false, err);
		if (rc != PARE_OK)
			return err_hint(err, "pad=on fills up with zeros");
	}
	if (rc == PARE_OK)
		rc = prepare(x, m, ask, &count, task, err);
	if (rc != PARE_OK)
		return rc;
	x->lossy = count.lossy;
	x->weighed = count.weighed;
	note_differences(x, m, &count);
	return write_file(x, a, ask, task, err);
}
