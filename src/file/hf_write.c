/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/hf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "file/dtype.h"
#include "file/fit.h"
#include "model/arch.h"
#include "tensor/form.h"
#include "tensor/transform.h"

enum { NAME_MAX_LENGTH = 256 };

/* ---- numbers that changed -------------------------------------------- */

/* Sets key unless it has that value already. */
static void
set_int(json_t *config, const char *key, int64_t value)
{
	const json_t *old;

	if (key == NULL)
		return;
	old = json_object_get(config, key);
	if (!json_is_integer(old) || json_integer_value(old) != value)
		json_object_set_new(config, key, json_integer(value));
}

static void
set_real(json_t *config, const char *key, double value)
{
	const json_t *old = key == NULL ? NULL : json_object_get(config, key);

	if (key != NULL && (!json_is_number(old) ||
	    json_number_value(old) != value))
		json_object_set_new(config, key, json_real(value));
}

/* A number that other readers want as an integer where it is one; the float32
 * that it was kept in may have moved it a little. */
static void
set_whole(json_t *config, const char *key, double value)
{
	const double near = nearbyint(value);

	if (fabs(value - near) <= 1e-5 * near)
		set_int(config, key, (int64_t)near);
	else
		set_real(config, key, value);
}

static void
set_pruned_heads(json_t *config, const struct model *m)
{
	json_t *all = json_object(), *old = json_object_get(config,
	    "pruned_heads");
	char key[16];

	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];
		json_t *gone = json_array();

		for (int h = 0; h < y->heads_original; h++)
			if (!head_set_has(&y->head, h))
				json_array_append_new(gone, json_integer(h));
		snprintf(key, sizeof(key), "%d", l);
		if (y->heads > 0 && json_array_size(gone) > 0)
			json_object_set(all, key, gone);
		json_decref(gone);
	}
	if (json_object_size(all) > 0 || json_object_size(old) > 0)
		json_object_set(config, "pruned_heads", all);
	json_decref(all);
}

/* The widest float form of the tensors; most readers take one for all. */
static void
set_dtype(json_t *config, enum form_kind form)
{
	static const char *const names[] = { "float32", "float16",
		"bfloat16" };
	const char *key = json_object_get(config, "dtype") != NULL ? "dtype" :
	    "torch_dtype";

	if (form <= FORM_BF16)
		json_object_set_new(config, key, json_string(names[form]));
}

static void
set_sizes(json_t *config, const struct model *m)
{
	const struct arch_keys *k = &m->arch->keys;
	const struct layer *y = &m->layer[0];
	bool same_ffn = true, same_heads = true;
	int64_t inner = 1;

	if ((m->arch->flags & ARCH_GROUPS) != 0)
		inner = json_integer_value(json_object_get(config,
		    "inner_group_num"));
	if (inner < 1 || m->nlayers % inner != 0)
		inner = 1;
	for (int l = 1; l < m->nlayers; l++) {
		same_ffn = same_ffn && m->layer[l].ffn == y->ffn;
		same_heads = same_heads &&
		    m->layer[l].heads_original == y->heads_original;
	}
	set_int(config, k->hidden, m->hp.hidden);
	set_int(config, k->layers, m->nlayers / inner);
	if (same_heads)
		set_int(config, k->heads, y->heads_original);
	if (same_ffn && y->ffn > 0)
		set_int(config, k->ffn, y->ffn);
	set_int(config, k->vocab, m->hp.vocab);
	set_int(config, k->positions, m->hp.positions);
	set_int(config, k->types, m->hp.types);
	set_int(config, k->embed, m->hp.embed);
}

/* An id of the config, as it is now; nothing for a token that was removed. */
static json_t *
present_id(const struct model *m, const json_t *id)
{
	int64_t k = token_map_id(m->tokens, json_integer_value(id));

	return k >= 0 ? json_integer(k) : json_null();
}

/* bos_token_id and its like: a number or several. */
static void
set_tokens(json_t *config, const struct model *m)
{
	const char *key;
	json_t *v;

	if (m->tokens == NULL)
		return;
	json_object_foreach(config, key, v) {
		if (!str_has_suffix(key, "_token_id"))
			continue;
		if (json_is_integer(v)) {
			json_object_set_new(config, key, present_id(m, v));
			continue;	/* v is gone */
		}
		for (size_t i = 0; i < json_array_size(v); i++)
			if (json_is_integer(json_array_get(v, i)))
				json_array_set_new(v, i, present_id(m,
				    json_array_get(v, i)));
	}
}

static bool
is_tied(const struct model *m)
{
	return model_slot(m, (struct slot_ref){ -1, SLOT_HOUT_W }) ==
	    model_slot(m, (struct slot_ref){ -1, SLOT_WORD });
}

json_t *
hf_config(const struct model *m, enum form_kind widest)
{
	json_t *old = m->origin != NULL ? m->origin->config : NULL;
	json_t *config = old != NULL ? json_deep_copy(old) : json_object();

	json_object_set_new(config, "model_type",
	    json_string(m->arch->model_type));
	set_sizes(config, m);
	set_tokens(config, m);
	set_pruned_heads(config, m);
	set_dtype(config, widest);
	if (head_gives_tokens(m->hp.head)) {
		const json_t *v = json_object_get(config,
		    "tie_word_embeddings");
		bool said = m->arch->untied ? json_is_true(v) :
		    !json_is_false(v);

		if (is_tied(m) != said)
			json_object_set_new(config, "tie_word_embeddings",
			    json_boolean(is_tied(m)));
	}
	return config;
}

/* ---- what other readers must be told --------------------------------- */

/* The class, unless the one that is named has this kind of head. */
static void
tell_class(json_t *config, const struct model *m)
{
	const enum head_kind kind = m->hp.head == HEAD_REGRESS ?
	    HEAD_CLASSIFY : m->hp.head;
	const char *stem = m->arch->class_stem;
	const char *named = json_string_value(json_array_get(json_object_get(
	    config, "architectures"), 0));
	const struct arch_head *h = m->arch->heads;
	char *class;

	if (named != NULL && str_has_prefix(named, stem)) {
		while (h->suffix != NULL && strcmp(named + strlen(stem),
		    h->suffix) != 0)
			h++;
		if (h->kind == kind)
			return;
	}
	for (h = m->arch->heads; h->suffix != NULL && h->kind != kind; h++)
		;
	class = str_format("%s%s", stem, h->suffix != NULL ? h->suffix :
	    "Model");
	json_object_set_new(config, "architectures", json_pack("[s]", class));
	free(class);
}

static void
tell_numerics(json_t *config, const struct model *m)
{
	const struct arch_keys *k = &m->arch->keys;
	const char *act = json_string_value(k->act == NULL ? NULL :
	    json_object_get(config, k->act));
	enum act_kind kind;

	set_real(config, k->eps, m->hp.norm_eps);
	if (k->act != NULL && (act == NULL || !act_find(act, &kind) ||
	    kind != m->hp.act))
		json_object_set_new(config, k->act,
		    json_string(act_name(m->hp.act)));
	if ((m->arch->flags & ARCH_PAD_POSITIONS) != 0)
		set_int(config, "pad_token_id", m->hp.position_offset - 1);
}

static void
tell_labels(json_t *config, const struct model *m)
{
	const json_t *old = json_object_get(config, "id2label");
	json_t *names, *ids;
	char key[24], name[256];

	if ((m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS) ||
	    (json_is_object(old) && (int64_t)json_object_size(old) ==
	    m->hp.labels))
		return;
	names = json_object();
	ids = json_object();
	for (int64_t i = 0; i < m->hp.labels; i++) {
		snprintf(key, sizeof(key), "%lld", (long long)i);
		model_label_name(m, (int)i, name, sizeof(name));
		json_object_set_new(names, key, json_string(name));
		json_object_set_new(ids, name, json_integer(i));
	}
	json_object_set_new(config, "id2label", names);
	json_object_set_new(config, "label2id", ids);
}

static json_t *
scaling_of(const struct rope *r)
{
	static const char *const names[] = { [ROPE_PLAIN] = "default",
		[ROPE_LINEAR] = "linear", [ROPE_DYNAMIC] = "dynamic",
		[ROPE_LLAMA3] = "llama3", [ROPE_YARN] = "yarn" };
	json_t *o = json_object();

	json_object_set_new(o, "rope_type", json_string(names[r->kind]));
	json_object_set_new(o, "factor", json_real(r->factor));
	json_object_set_new(o, "original_max_position_embeddings",
	    json_integer(r->original));
	if (r->kind == ROPE_LLAMA3) {
		json_object_set_new(o, "low_freq_factor", json_real(r->low));
		json_object_set_new(o, "high_freq_factor",
		    json_real(r->high));
	} else if (r->kind == ROPE_YARN) {
		json_object_set_new(o, "beta_slow", json_real(r->low));
		json_object_set_new(o, "beta_fast", json_real(r->high));
		if (r->attention > 0.0)
			json_object_set_new(o, "attention_factor",
			    json_real(r->attention));
	}
	return o;
}

/* As readers before and after rope_parameters want it. */
static void
tell_rope(json_t *config, const struct model *m)
{
	const struct rope *r = &m->hp.rope;
	json_t *all = json_object_get(config, "rope_parameters"), *scaling;

	if ((m->arch->flags & ARCH_ROTARY) == 0)
		return;
	set_real(config, "rope_theta", r->theta);
	scaling = r->kind != ROPE_PLAIN ? scaling_of(r) : json_null();
	json_object_set_new(config, "rope_scaling", scaling);
	if (!json_is_object(all))
		return;
	all = r->kind != ROPE_PLAIN ? scaling_of(r) : json_pack("{s:s}",
	    "rope_type", "default");
	json_object_set_new(all, "rope_theta", json_real(r->theta));
	json_object_set_new(config, "rope_parameters", all);
}

/* Which layers see a window, layer by layer, where the plain rule of the family
 * would say otherwise. */
static void
tell_windows(json_t *config, const struct model *m)
{
	json_t *types;
	int64_t window = 0;

	if (m->arch->keys.window == NULL)
		return;
	for (int l = 0; l < m->nlayers; l++)
		if (m->layer[l].window > 0)
			window = m->layer[l].window;
	if (window == 0) {
		json_object_set_new(config, m->arch->keys.window,
		    json_null());
		json_object_del(config, "layer_types");
		json_object_set_new(config, "use_sliding_window",
		    json_false());
		return;
	}
	set_int(config, m->arch->keys.window, window);
	types = json_array();
	for (int l = 0; l < m->nlayers; l++)
		json_array_append_new(types, json_string(m->layer[l].window >
		    0 ? "sliding_attention" : "full_attention"));
	json_object_set_new(config, "layer_types", types);
	if (str_has_prefix(m->arch->model_type, "qwen"))
		json_object_set_new(config, "use_sliding_window",
		    json_true());
}

static bool
has_slot(const struct model *m, enum slot s)
{
	return model_slot(m, (struct slot_ref){ 0, s }) != NULL;
}

static void
tell_decoder(json_t *config, const struct model *m)
{
	const struct layer *y = &m->layer[0];

	if (fit_counts_heads(m->arch)) {
		set_int(config, m->arch->keys.kv_heads, y->kv_heads);
		set_int(config, m->arch->keys.head_dim, y->head_dim);
		json_object_del(config, "pruned_heads");
	}
	if ((m->arch->flags & ARCH_BIAS_SAID) != 0) {
		json_object_set_new(config, "attention_bias",
		    json_boolean(has_slot(m, SLOT_Q_B)));
		json_object_set_new(config, "mlp_bias",
		    json_boolean(has_slot(m, SLOT_UP_B)));
	}
	if (strcmp(m->arch->model_type, "gemma2") != 0)
		return;
	set_whole(config, "query_pre_attn_scalar", m->hp.attn_scale > 0.0 ?
	    1.0 / (m->hp.attn_scale * m->hp.attn_scale) : y->head_dim);
	json_object_set_new(config, "attn_logit_softcapping",
	    m->hp.attn_cap > 0.0 ? json_real(m->hp.attn_cap) : json_null());
	json_object_set_new(config, "final_logit_softcapping",
	    m->hp.logit_cap > 0.0 ? json_real(m->hp.logit_cap) : json_null());
}

void
hf_config_complete(json_t *config, const struct model *m)
{
	json_object_del(config, "quantization_config");
	tell_class(config, m);
	tell_numerics(config, m);
	tell_labels(config, m);
	tell_rope(config, m);
	tell_windows(config, m);
	tell_decoder(config, m);
	if (head_gives_tokens(m->hp.head))
		json_object_set_new(config, "tie_word_embeddings",
		    json_boolean(is_tied(m)));
}

/* ---- does a reader of the config find the model? --------------------- */

static enum pare_rc
differs(struct pare_err *err, const char *what)
{
	return err_set(err, PARE_EUSER, "config.json cannot say %s of this "
	    "model", what);
}

static double
scale_of(const struct model *m, double said)
{
	return said > 0.0 ? said : 1.0 / sqrt((double)m->layer[0].head_dim);
}

static enum pare_rc
check_hparams(const struct model *m, const struct arch_layout *l,
    struct pare_err *err)
{
	const struct hparams *a = &m->hp, *b = &l->hp;

	if (a->hidden != b->hidden || a->embed != b->embed ||
	    a->vocab != b->vocab || a->positions != b->positions ||
	    a->types != b->types || a->labels != b->labels ||
	    m->nlayers != l->nlayers)
		return differs(err, "the sizes");
	if (a->position_offset != b->position_offset)
		return differs(err, "where positions begin");
	if (a->pad != b->pad)
		return differs(err, "the id of padding");
	if (a->norm_eps != b->norm_eps)
		return differs(err, "the epsilon of norms");
	if (a->act != b->act || a->head_act != b->head_act ||
	    a->head != b->head)
		return differs(err, "the activation or the head");
	if (memcmp(&a->rope, &b->rope, sizeof(a->rope)) != 0)
		return differs(err, "the rotation of positions");
	if (a->embed_scale != b->embed_scale ||
	    fabs(scale_of(m, a->attn_scale) - scale_of(m, b->attn_scale)) >
	    1e-12 || a->attn_cap != b->attn_cap ||
	    a->logit_cap != b->logit_cap)
		return differs(err, "the scales and caps");
	for (int i = 0; i < m->nlayers; i++)
		if (m->layer[i].window != (l->window != NULL ? l->window[i] :
		    0))
			return differs(err, "the windows");
	return PARE_OK;
}

enum pare_rc
hf_check_numbers(const struct model *m, const struct arch_layout *l,
    struct pare_err *err)
{
	enum pare_rc rc = check_hparams(m, l, err);

	for (int i = 0; rc == PARE_OK && i < m->nlayers; i++) {
		const struct layer *y = &m->layer[i];
		bool whole = y->heads == y->heads_original;

		if (y->heads == 0 || y->heads_original != l->heads ||
		    y->head_dim != l->head_dim || y->ffn != l->ffn ||
		    (l->remaining == NULL && !whole) ||
		    (l->remaining != NULL && memcmp(&y->head,
		    &l->remaining[i], sizeof(y->head)) != 0))
			return differs(err, "the heads and neurons");
		/* Other readers count pruned heads of groups, not layers, and
		 * know none where heads are counted. */
		if (!whole && ((m->arch->flags & ARCH_GROUPS) != 0 ||
		    fit_counts_heads(m->arch)))
			return differs(err, "which heads were removed");
	}
	return rc;
}

/* A ghost of what a reader of l expects; the caller's. */
static struct model *
expected(const struct arch_layout *l, const struct model *m,
    struct pare_err *err)
{
	struct origin *o = origin_new();
	struct model *ghost = NULL;

	/* Only the ties are read from it. */
	o->config = json_pack("{s:b}", "tie_word_embeddings", is_tied(m));
	return arch_ghost_model(l, o, &ghost, err) == PARE_OK ? ghost : NULL;
}

static enum pare_rc
check_slot(const struct model *m, const struct model *ghost,
    struct slot_ref r, struct pare_err *err)
{
	const struct tensor *t = model_slot(m, r), *g = model_slot(ghost, r);
	const bool pooler = r.slot == SLOT_POOL_W || r.slot == SLOT_POOL_B;
	char path[96];

	/* Bodies are often stored without their pooler. */
	if ((t == NULL) == (g == NULL) || (pooler && t == NULL &&
	    (m->hp.head == HEAD_NONE || m->hp.head == HEAD_MLM)))
		return PARE_OK;
	model_slot_path(r, path, sizeof(path));
	return err_set(err, PARE_EUSER, t == NULL ? "%s is not there, and a "
	    "%s of other programs needs it" : "%s has no place in a %s of "
	    "other programs", path, m->arch->title);
}

enum pare_rc
hf_check(const struct model *m, const struct arch_layout *l,
    struct pare_err *err)
{
	enum pare_rc rc = hf_check_numbers(m, l, err);
	struct model *ghost;

	if (rc != PARE_OK)
		return rc;
	ghost = expected(l, m, err);
	if (ghost == NULL)
		return err != NULL ? err->rc : PARE_EFORMAT;
	for (int s = SLOT_LAYER_COUNT; rc == PARE_OK && s < SLOT_COUNT; s++)
		rc = check_slot(m, ghost, (struct slot_ref){ -1,
		    (enum slot)s }, err);
	for (int y = 0; rc == PARE_OK && y < m->nlayers; y++)
		for (int s = 0; rc == PARE_OK && s < SLOT_LAYER_COUNT; s++)
			rc = check_slot(m, ghost, (struct slot_ref){ y,
			    (enum slot)s }, err);
	model_unref(ghost);
	return rc;
}

/* ---- tensors --------------------------------------------------------- */

int
hf_parts(const struct arch_layout *l, struct slot_ref r,
    struct slot_ref out[HF_PARTS])
{
	const struct arch_name *row = arch_slot_row(l, r.slot);
	const bool matrix = slot_table[r.slot].matrix;
	int n = 0;

	out[0] = r;
	if (row == NULL || row->parts == 0)
		return 1;
	for (int part = 0; part < row->parts && n < HF_PARTS; part++)
		for (const struct arch_name *o = l->arch->names;
		    o->name != NULL; o++)
			if (o->part == part && strcmp(o->name, row->name) ==
			    0 && slot_table[o->slot].matrix == matrix)
				out[n++] = (struct slot_ref){ r.layer,
				    o->slot };
	return n;
}

/* The rows of t at output first of a joined tensor of n outputs. */
static void
put_part(const struct tensor *t, bool turned, int64_t first, int64_t n,
    float *line, float *out)
{
	for (int64_t r = 0; r < t->rows; r++) {
		if (t->ndim == 1) {
			tensor_decode(t, 0, 1, out + first);
			continue;
		}
		if (!turned) {
			tensor_decode(t, r, 1, out + (first + r) * t->cols);
			continue;
		}
		tensor_decode(t, r, 1, line);
		for (int64_t c = 0; c < t->cols; c++)
			out[c * n + first + r] = line[c];
	}
}

struct tensor *
hf_join(const struct model *m, const struct arch_layout *l, struct slot_ref r,
    struct pare_err *err)
{
	const struct transform_ctx ctx = { .estimate = false };
	const struct tensor *first = model_slot(m, r);
	const bool matrix = first->ndim == 2;
	const bool turned = matrix && !l->upright && arch_turns(m->arch, r);
	enum form_kind form = FORM_COUNT;
	struct slot_ref part[HF_PARTS];
	int nparts = hf_parts(l, r, part);
	int64_t n = 0, at = 0;
	struct tensor *f, *cast;
	float *out, *line;

	for (int i = 0; i < nparts; i++) {
		const struct tensor *t = model_slot(m, part[i]);

		n += matrix ? t->rows : t->cols;
		if (!form_table[t->form].is_float || (form != FORM_COUNT &&
		    t->form != form))
			form = FORM_F32;
		else if (form == FORM_COUNT)
			form = t->form;
	}
	f = tensor_new_f32(first->ndim, !matrix ? 1 : turned ? first->cols : n,
	    !matrix || turned ? n : first->cols, &out, err);
	line = f != NULL ? mem_big((size_t)first->cols, sizeof(*line), err) :
	    NULL;
	if (line == NULL) {
		tensor_unref(f);
		return NULL;
	}
	for (int i = 0; i < nparts; i++) {
		const struct tensor *t = model_slot(m, part[i]);

		put_part(t, turned, at, n, line, out);
		at += matrix ? t->rows : t->cols;
	}
	free(line);
	if (form == FORM_F32)
		return f;
	cast = tensor_cast(f, form, &ctx, err);
	tensor_unref(f);
	return cast;
}

void
hf_joined_free(struct hf_joined *j)
{
	for (int i = 0; i < j->n; i++)
		tensor_unref(j->p[i]);
	free(j->p);
	j->p = NULL;
	j->n = 0;
}

static void
write_tensor(struct st_writer *w, const char *name, const struct tensor *t)
{
	const int64_t dim[2] = { t->rows, t->cols };

	st_writer_add(w, name, dtype_of_form(t->form), t->ndim,
	    t->ndim == 1 ? dim + 1 : dim, t->part[PART_DATA].p,
	    (int64_t)t->part[PART_DATA].n);
}

/* The bias of a masked-LM head goes by two names for one tensor, and some
 * readers look for the second only. */
static void
write_decoder_bias(struct st_writer *w, const char *name,
    const struct tensor *t)
{
	char *other;

	if (!str_has_suffix(name, "predictions.bias") &&
	    !str_has_suffix(name, "lm_head.bias"))
		return;
	other = str_format("%.*sdecoder.bias", (int)(strlen(name) - 4), name);
	write_tensor(w, other, t);
	free(other);
}

/* One slot under its name; those of a fused tensor with its first. */
static enum pare_rc
add_slot(const struct model *m, const struct arch_layout *l,
    struct slot_ref r, const char *name, struct st_writer *w,
    struct hf_joined *j, struct pare_err *err)
{
	const struct arch_name *row = arch_slot_row(l, r.slot);
	const struct tensor *t = model_slot(m, r);
	struct tensor *made;

	if (!arch_turns(m->arch, r) && row->parts == 0) {
		if (!form_table[t->form].is_float && j->packed != NULL)
			return j->packed(j->ctx, name, t, w, err);
		if (!form_table[t->form].is_float)
			return err_set(err, PARE_EUSER, "'%s' is not held as "
			    "floats", name);
		write_tensor(w, name, t);
		if (r.slot == SLOT_HOUT_B)
			write_decoder_bias(w, name, t);
		return PARE_OK;
	}
	if (row->part != 0)
		return PARE_OK;
	made = hf_join(m, l, r, err);
	if (made == NULL)
		return err != NULL ? err->rc : PARE_ENOMEM;
	j->p = xrealloc(j->p, (size_t)(j->n + 1) * sizeof(*j->p));
	j->p[j->n++] = made;
	write_tensor(w, name, made);
	return PARE_OK;
}

enum pare_rc
hf_add_tensors(const struct model *m, const struct arch_layout *l,
    struct st_writer *w, struct hf_joined *j, struct pare_err *err)
{
	struct slot_ref r = SLOT_REF_START;
	json_t *taken = json_object();
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &r)) {
		char name[NAME_MAX_LENGTH], key[NAME_MAX_LENGTH + 16];

		if (r.slot == SLOT_HOUT_W && l->head->tied && is_tied(m))
			continue;
		if (!arch_slot_name(l, r, name, sizeof(name))) {
			rc = err_set(err, PARE_EUSER, "%s has no name in "
			    "files of other programs",
			    slot_table[r.slot].name);
			break;
		}
		/* Layers of one group have one name; so have fused parts,
		 * each of which comes by here. */
		snprintf(key, sizeof(key), "%s %d", name, (int)r.slot);
		if (json_object_get(taken, key) != NULL)
			continue;
		json_object_set_new(taken, key, json_true());
		rc = add_slot(m, l, r, name, w, j, err);
	}
	json_decref(taken);
	return rc;
}
