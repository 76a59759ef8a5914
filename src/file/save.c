/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writes a model: tensors in one safetensors file, pare.json that says what
 * they are, the config brought up to date, and what the origin has of a
 * tokenizer.
 *
 * Whether the directory is also a plain Hugging Face one is not guessed from
 * what was done to the model: the config that was just made is read again, and
 * the model it describes must be this one, slot by slot and name by name.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/dtype.h"
#include "file/hf_write.h"
#include "file/safetensors.h"
#include "file/saved.h"
#include "file/stage.h"
#include "file/target.h"
#include "model/arch.h"
#include "tensor/block.h"
#include "tensor/form.h"

#define WEIGHTS "model.safetensors"
#define RECIPE "recipe.pare"

/* A header over one part in so many of the tensors is too much. */
enum { BUNDLE_SHARE = 200 };
enum { NAME_MAX_LENGTH = 256 };

struct saved_tensor {
	const struct tensor *t;
	char *name;
	struct slot_ref ref;	/* the first slot that holds it */
	char *of;		/* the tensor of the file it is a part of; NULL: it
				 * stands alone */
	int64_t first;		/* output of that, where it begins */
	bool turned;
};

struct saver {
	const struct model *m;
	struct st_writer *w;
	int n, cap;
	struct saved_tensor *tensor;	/* distinct tensors */
	json_t *by_pointer;		/* address -> position in tensor[] */
	json_t *taken;			/* names */
	int64_t bytes;
	bool bundled;
	struct arch_layout layout;	/* of the config, while joins */
	bool joins;		/* parts are joined and turned as others have
				 * them */
	struct hf_joined joined;
	const struct export_file *file;	/* the tokenizer's */
	int nfiles;
	struct pare_err *err;
};

/* ---- names and tensors ----------------------------------------------- */

static const char *
saved_name(const struct saver *s, const struct tensor *t)
{
	char key[32];
	const json_t *i;

	snprintf(key, sizeof(key), "%p", (const void *)t);
	i = json_object_get(s->by_pointer, key);
	return i == NULL ? NULL : s->tensor[json_integer_value(i)].name;
}

/* The name in Hugging Face files where that is free; else one of our own. */
static void
choose_name(const struct saver *s, struct slot_ref r, char *out, size_t n)
{
	char path[96];

	if (model_file_name(s->m, r, out, n) &&
	    json_object_get(s->taken, out) == NULL)
		return;
	model_slot_path(r, path, sizeof(path));
	snprintf(out, n, "pare.%s", path);
}

static void
put_name(struct saver *s, struct slot_ref r, const struct tensor *t,
    const char *name)
{
	char key[32];

	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 256 : 2 * s->cap;
		s->tensor = xrealloc(s->tensor,
		    (size_t)s->cap * sizeof(*s->tensor));
	}
	snprintf(key, sizeof(key), "%p", (const void *)t);
	json_object_set_new(s->by_pointer, key, json_integer(s->n));
	json_object_set_new(s->taken, name, json_true());
	s->tensor[s->n] = (struct saved_tensor){ .t = t,
		.name = xstrdup(name), .ref = r };
	s->n++;
}

static void
name_tensor(struct saver *s, struct slot_ref r, const struct tensor *t)
{
	char name[NAME_MAX_LENGTH];

	if (saved_name(s, t) != NULL)
		return;
	choose_name(s, r, name, sizeof(name));
	put_name(s, r, t, name);
}

/* Bases that several tensors stand on and no slot holds stand alone too. */
static void
name_bases(struct saver *s)
{
	const int slots = s->n;

	for (int i = 0; i < slots; i++) {
		const struct tensor *base = tensor_base(s->tensor[i].t);
		char *name;
		int users = 0;

		for (int k = i; k < slots && base != s->tensor[i].t; k++)
			users += tensor_base(s->tensor[k].t) == base;
		if (users < 2 || saved_name(s, base) != NULL)
			continue;
		name = str_format("%s.pare.a", s->tensor[i].name);
		put_name(s, s->tensor[i].ref, base, name);
		free(name);
	}
}

/* ---- parts of tensors ------------------------------------------------ */

/* Whether the files of other programs hold slot r turned or with others. */
static bool
is_part(const struct saver *s, struct slot_ref r)
{
	const struct arch_name *row = s->layout.arch == NULL ? NULL :
	    arch_slot_row(&s->layout, r.slot);

	return row != NULL && (row->parts > 0 || arch_turns(s->m->arch, r));
}

/* Parts can be joined where every tensor is float, each is a part of one thing
 * only, and those of one thing have one form. */
static bool
can_join(const struct saver *s)
{
	struct slot_ref r = SLOT_REF_START, part[HF_PARTS];
	int slots = 0;

	while (model_next_slot(s->m, &r)) {
		const struct tensor *t = model_slot(s->m, r);
		int n = hf_parts(&s->layout, r, part);

		slots += is_part(s, r);
		if (!form_table[t->form].is_float)
			return false;
		for (int i = 0; i < n; i++)
			if (model_slot(s->m, part[i]) == NULL ||
			    model_slot(s->m, part[i])->form != t->form)
				return false;
	}
	for (int i = 0; i < s->n; i++)
		slots -= is_part(s, s->tensor[i].ref);
	return slots == 0;
}

/* Finds out whether the config says the layers, and if so where each part
 * lies. */
static void
find_joins(struct saver *s)
{
	json_t *config = hf_config(s->m, FORM_COUNT);

	json_object_del(config, "quantization_config");
	s->joins = (s->m->arch->flags & ARCH_TRANSPOSED) != 0 &&
	    arch_read_config(config, "config.json", &s->layout, NULL) ==
	    PARE_OK;
	json_decref(config);
	if (!s->joins)
		return;
	s->joins = hf_check_numbers(s->m, &s->layout, NULL) == PARE_OK &&
	    can_join(s);
	for (int i = 0; s->joins && i < s->n; i++) {
		struct saved_tensor *t = &s->tensor[i];
		struct slot_ref part[HF_PARTS];
		char name[NAME_MAX_LENGTH];

		if (!is_part(s, t->ref) || !arch_slot_name(&s->layout, t->ref,
		    name, sizeof(name)))
			continue;
		t->of = xstrdup(name);
		t->turned = t->t->ndim == 2 && arch_turns(s->m->arch, t->ref);
		hf_parts(&s->layout, t->ref, part);
		for (int k = 0; part[k].slot != t->ref.slot; k++) {
			const struct tensor *p = model_slot(s->m, part[k]);

			t->first += p->ndim == 1 ? p->cols : p->rows;
		}
	}
}

/* The joined tensor, with its first part. */
static enum pare_rc
add_joined(struct saver *s, const struct saved_tensor *t)
{
	struct tensor *made;
	int64_t dim[2];

	s->bytes += (int64_t)t->t->part[PART_DATA].n;
	if (t->first != 0)
		return PARE_OK;
	made = hf_join(s->m, &s->layout, t->ref, s->err);
	if (made == NULL)
		return s->err != NULL ? s->err->rc : PARE_ENOMEM;
	s->joined.p = xrealloc(s->joined.p, (size_t)(s->joined.n + 1) *
	    sizeof(*s->joined.p));
	s->joined.p[s->joined.n++] = made;
	dim[0] = made->rows;
	dim[1] = made->cols;
	st_writer_add(s->w, t->of, dtype_of_form(made->form), made->ndim,
	    made->ndim == 1 ? dim + 1 : dim, made->part[PART_DATA].p,
	    (int64_t)made->part[PART_DATA].n);
	return PARE_OK;
}

static void
add_parts(struct saver *s, const char *name, const struct tensor *t)
{
	for (int k = 0; k < PART_COUNT; k++) {
		const char *dtype = saved_part_dtype(t, (enum part_kind)k);
		const struct part *p = &t->part[k];
		int64_t n;
		char *full;

		if (p->blob == NULL)
			continue;
		n = (int64_t)p->n * 8 / dtype_table[dtype_find(dtype)].bits;
		full = str_format("%s.pare.%s", name, saved_part_names[k]);
		st_writer_add(s->w, full, dtype, 1, &n, p->p, (int64_t)p->n);
		s->bytes += (int64_t)p->n;
		free(full);
	}
}

static void
add_tensor(struct saver *s, const char *name, const struct tensor *t)
{
	const char *dtype = dtype_of_form(t->form);
	int64_t dim[2] = { t->rows, t->cols };

	if (dtype != NULL) {
		st_writer_add(s->w, name, dtype, t->ndim,
		    t->ndim == 1 ? dim + 1 : dim, t->part[PART_DATA].p,
		    (int64_t)t->part[PART_DATA].n);
		s->bytes += (int64_t)t->part[PART_DATA].n;
		return;
	}
	if (!form_table[t->form].is_pair) {
		add_parts(s, name, t);
		return;
	}
	for (int i = 0; i < 2; i++) {
		char *kid = str_format("%s.pare.%c", name, "ab"[i]);

		if (saved_name(s, t->kid[i]) == NULL)
			add_tensor(s, kid, t->kid[i]);
		free(kid);
	}
}

/* ---- pare.json ------------------------------------------------------- */

static void
put_place(json_t *o, const struct saved_tensor *t)
{
	if (t->of == NULL)
		return;
	json_object_set_new(o, "of", json_string(t->of));
	json_object_set_new(o, "first", json_integer(t->first));
	json_object_set_new(o, "turned", json_boolean(t->turned));
}

/* A factor that stands alone is named. */
static json_t *
facts_of(const struct saver *s, const struct tensor *t)
{
	json_t *o = json_object(), *shape = json_array();
	bool code = t->values == FORM_INT || t->values == FORM_TABLE;

	json_object_set_new(o, "form", json_string(form_table[t->form].name));
	if (t->ndim == 2)
		json_array_append_new(shape, json_integer(t->rows));
	json_array_append_new(shape, json_integer(t->cols));
	json_object_set_new(o, "shape", shape);
	for (int i = 0; i < 2 && form_table[t->form].is_pair; i++) {
		const char *name = saved_name(s, t->kid[i]);

		json_object_set_new(o, i == 0 ? "a" : "b", name != NULL ?
		    json_string(name) : facts_of(s, t->kid[i]));
	}
	if (form_table[t->form].is_pair)
		return o;
	if (form_table[t->form].is_sparse) {
		json_object_set_new(o, "values",
		    json_string(form_table[t->values].name));
		json_object_set_new(o, "stored", json_integer(t->stored));
	}
	if (code) {
		json_object_set_new(o, "bits", json_integer(t->code.bits));
		json_object_set_new(o, "scheme",
		    json_string(t->code.scheme == CODE_AFFINE ? "affine" :
		    "symmetric"));
		json_object_set_new(o, "group", json_integer(t->code.group));
		json_object_set_new(o, "mult",
		    json_real((double)t->code.mult));
		if (t->code.act != 0)
			json_object_set_new(o, "activations",
			    json_integer(t->code.act));
	}
	if (t->form == FORM_BLOCK) {
		json_object_set_new(o, "block",
		    json_string(block_table[t->code.block].name));
		json_object_set_new(o, "activations",
		    json_integer(t->code.act));
	}
	if (code || form_table[t->form].is_sparse)
		json_object_set_new(o, "nonzero",
		    json_integer(tensor_nonzero(t)));
	return o;
}

/* A number that is said only where there is one. */
static void
put_real(json_t *o, const char *key, double v)
{
	if (v != 0.0)
		json_object_set_new(o, key, json_real(v));
}

static json_t *
rope_of(const struct rope *r)
{
	json_t *o = json_object();

	json_object_set_new(o, "kind", json_string(saved_rope_names[r->kind]));
	put_real(o, "theta", r->theta);
	put_real(o, "factor", r->factor);
	put_real(o, "low", r->low);
	put_real(o, "high", r->high);
	put_real(o, "attention", r->attention);
	json_object_set_new(o, "original", json_integer(r->original));
	if (r->interleaved)
		json_object_set_new(o, "interleaved", json_true());
	return o;
}

static json_t *
hparams_of(const struct hparams *p)
{
	json_t *o = json_object();

	json_object_set_new(o, "hidden", json_integer(p->hidden));
	json_object_set_new(o, "embed", json_integer(p->embed));
	json_object_set_new(o, "vocab", json_integer(p->vocab));
	json_object_set_new(o, "positions", json_integer(p->positions));
	json_object_set_new(o, "types", json_integer(p->types));
	json_object_set_new(o, "labels", json_integer(p->labels));
	json_object_set_new(o, "position_offset",
	    json_integer(p->position_offset));
	if (p->pad != 0)
		json_object_set_new(o, "pad", json_integer(p->pad));
	json_object_set_new(o, "norm_eps", json_real(p->norm_eps));
	json_object_set_new(o, "act", json_string(act_name(p->act)));
	json_object_set_new(o, "head_act", json_string(act_name(p->head_act)));
	json_object_set_new(o, "head",
	    json_string(saved_head_names[p->head]));
	json_object_set_new(o, "dropout", json_real(p->dropout));
	json_object_set_new(o, "attention_dropout",
	    json_real(p->attention_dropout));
	json_object_set_new(o, "init_range", json_real(p->init_range));
	if (p->rope.theta > 0)
		json_object_set_new(o, "rope", rope_of(&p->rope));
	put_real(o, "embed_scale", p->embed_scale);
	put_real(o, "attn_scale", p->attn_scale);
	put_real(o, "attn_cap", p->attn_cap);
	put_real(o, "logit_cap", p->logit_cap);
	return o;
}

static json_t *
layer_of(const struct layer *y)
{
	json_t *o = json_object(), *heads = json_array();

	for (int h = 0; h < y->heads_original; h++)
		if (head_set_has(&y->head, h))
			json_array_append_new(heads, json_integer(h));
	json_object_set_new(o, "heads", json_integer(y->heads));
	json_object_set_new(o, "kv_heads", json_integer(y->kv_heads));
	json_object_set_new(o, "head_dim", json_integer(y->head_dim));
	json_object_set_new(o, "ffn", json_integer(y->ffn));
	json_object_set_new(o, "heads_original",
	    json_integer(y->heads_original));
	json_object_set_new(o, "ffn_original", json_integer(y->ffn_original));
	json_object_set_new(o, "remaining", heads);
	if (y->window > 0)
		json_object_set_new(o, "window", json_integer(y->window));
	return o;
}

/* One value on a line of its own; consumes v. */
static void
add_line(struct str *b, const char *before, const char *key, json_t *v)
{
	json_t *k = json_string(key);
	char *name = json_dumps(k, JSON_ENCODE_ANY), *text = json_text_of(v);

	str_addf(b, "%s%s%s%s", before, key != NULL ? name : "",
	    key != NULL ? ": " : "", text);
	free(name);
	free(text);
	json_decref(k);
	json_decref(v);
}

/* What is where in the bundle. */
static void
describe_bundle(const struct saver *s, struct str *b)
{
	json_t *index = st_writer_index(s->w), *v;
	const char *name;
	bool first = true;

	str_add(b, ",\n\"index\": {");
	json_object_foreach(index, name, v) {
		add_line(b, first ? "\n  " : ",\n  ", name, json_incref(v));
		first = false;
	}
	str_add(b, "\n}");
	json_decref(index);
}

/* One tensor, slot or layer to a line: to be read and compared by people. */
static void
describe(const struct saver *s, struct str *b)
{
	const struct model *m = s->m;
	struct slot_ref r = SLOT_REF_START;
	bool first = true;

	str_addf(b, "{\n\"version\": %d,\n", SAVED_VERSION);
	add_line(b, "", "architecture", json_string(m->arch->model_type));
	add_line(b, ",\n", "hparams", hparams_of(&m->hp));
	str_add(b, ",\n\"layers\": [");
	for (int l = 0; l < m->nlayers; l++)
		add_line(b, l == 0 ? "\n  " : ",\n  ", NULL,
		    layer_of(&m->layer[l]));
	str_add(b, "\n],\n\"slots\": {");
	while (model_next_slot(m, &r)) {
		char path[96];

		model_slot_path(r, path, sizeof(path));
		add_line(b, first ? "\n  " : ",\n  ", path,
		    json_string(saved_name(s, model_slot(m, r))));
		first = false;
	}
	str_add(b, "\n},\n\"tensors\": {");
	for (int i = 0; i < s->n; i++) {
		json_t *facts = facts_of(s, s->tensor[i].t);

		put_place(facts, &s->tensor[i]);
		add_line(b, i == 0 ? "\n  " : ",\n  ", s->tensor[i].name,
		    facts);
	}
	str_add(b, "\n}");
	if (s->bundled)
		describe_bundle(s, b);
	str_add(b, "\n}\n");
}

/* ---- config.json ----------------------------------------------------- */

/* The widest float form of the tensors; most readers take one for all. */
static enum form_kind
widest_form(const struct saver *s)
{
	enum form_kind form = FORM_COUNT;

	for (int i = 0; i < s->n; i++)
		if (s->tensor[i].t->form < form)
			form = s->tensor[i].t->form;
	return form;
}

/* ---- is it plain? ---------------------------------------------------- */

/* Slot r of m is where a reader of the config would look for it. */
static bool
same_slot(const struct saver *s, const struct arch_layout *l,
    const struct model *ghost, struct slot_ref r)
{
	const struct tensor *t = model_slot(s->m, r), *g = model_slot(ghost, r);
	struct slot_ref word = { -1, SLOT_WORD };
	char name[NAME_MAX_LENGTH];
	bool pooler = r.slot == SLOT_POOL_W || r.slot == SLOT_POOL_B;

	if (t == NULL || g == NULL)
		return t == g || (pooler && t == NULL &&
		    (l->head->kind == HEAD_NONE || l->head->kind == HEAD_MLM));
	if (!form_table[t->form].is_float)
		return false;
	if (r.slot == SLOT_HOUT_W && g == model_slot(ghost, word))
		return t == model_slot(s->m, word);
	if (is_part(s, r))
		return s->joins;
	return arch_slot_name(l, r, name, sizeof(name)) &&
	    strcmp(name, saved_name(s, t)) == 0;
}

static bool
same_slots(const struct saver *s, const struct arch_layout *l,
    const struct model *ghost)
{
	bool same = true;

	for (int i = SLOT_LAYER_COUNT; same && i < SLOT_COUNT; i++)
		same = same_slot(s, l, ghost,
		    (struct slot_ref){ -1, (enum slot)i });
	for (int y = 0; same && y < ghost->nlayers; y++)
		for (int i = 0; same && i < SLOT_LAYER_COUNT; i++)
			same = same_slot(s, l, ghost,
			    (struct slot_ref){ y, (enum slot)i });
	return same;
}

static bool
is_plain(const struct saver *s, json_t *config)
{
	struct arch_layout l;
	struct model *ghost = NULL;
	struct origin *o;
	bool plain = false;

	if (arch_read_config(config, "config.json", &l, NULL) != PARE_OK)
		return false;
	if (hf_check_numbers(s->m, &l, NULL) == PARE_OK) {
		o = origin_new();
		o->config = json_incref(config);
		if (arch_ghost_model(&l, o, &ghost, NULL) == PARE_OK)
			plain = same_slots(s, &l, ghost);
		model_unref(ghost);
	}
	arch_layout_free(&l);
	return plain;
}

/* Readers that know nothing of pare.json must refuse what they would
 * misread. */
static void
mark_config(json_t *config, bool plain)
{
	if (plain)
		json_object_del(config, "quantization_config");
	else
		json_object_set_new(config, "quantization_config",
		    json_pack("{s:s, s:s}", "quant_method",
		    CONFIG_QUANT_METHOD, "described_in", SAVED_NAME));
}

/* ---- writing --------------------------------------------------------- */

static enum pare_rc
write_config(const struct saver *s, struct stage *g, bool *plain)
{
	json_t *config = hf_config(s->m, widest_form(s));
	enum pare_rc rc;
	char *text;

	json_object_del(config, "quantization_config");
	*plain = is_plain(s, config);
	mark_config(config, *plain);
	/* Fifteen digits give back what a person wrote: 1e-12, not 1e-12
	 * with its error. pare.json has all of them. */
	text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	json_decref(config);
	if (text == NULL)
		return err_set(s->err, PARE_EWRITE,
		    "config.json cannot be written as JSON");
	rc = stage_write(g, "config.json", text, strlen(text), s->err);
	free(text);
	return rc;
}

static enum pare_rc
write_all(struct saver *s, struct stage *g, const char *dir,
    const char *recipe, bool *plain, struct task *task)
{
	struct str text = STR_INIT;
	char *path = stage_path(g, WEIGHTS);
	enum pare_rc rc;

	rc = write_config(s, g, plain);
	/* Other readers want a header of names; only pare reads the rest. */
	s->bundled = rc == PARE_OK && !*plain &&
	    st_writer_header(s->w) > s->bytes / BUNDLE_SHARE;
	if (s->bundled)
		st_writer_bundle(s->w, SAVED_BUNDLE);
	if (rc == PARE_OK)
		rc = st_writer_write(s->w, path, NULL, task, s->err);
	free(path);
	if (rc == PARE_OK)
		rc = target_put_tokenizer(s->m, g, dir, s->file, s->nfiles,
		    s->err);
	if (rc == PARE_OK && recipe != NULL)
		rc = stage_write(g, RECIPE, recipe, strlen(recipe),
		    s->err);
	else if (rc == PARE_OK)
		stage_remove(g, RECIPE);
	if (rc == PARE_OK) {
		describe(s, &text);
		rc = stage_write(g, SAVED_NAME, text.s, text.n, s->err);
	}
	str_free(&text);
	return rc;
}

static enum pare_rc
save(struct saver *s, const char *dir, const char *recipe, bool force,
    bool *plain, struct task *task)
{
	struct slot_ref r = SLOT_REF_START;
	struct stage *g;
	enum pare_rc rc;

	while (model_next_slot(s->m, &r))
		name_tensor(s, r, model_slot(s->m, r));
	name_bases(s);
	rc = target_check(s->m, dir, force, s->err);
	if (rc != PARE_OK)
		return rc;
	find_joins(s);
	for (int i = 0; rc == PARE_OK && i < s->n; i++)
		if (s->tensor[i].of != NULL)
			rc = add_joined(s, &s->tensor[i]);
		else
			add_tensor(s, s->tensor[i].name, s->tensor[i].t);
	if (rc != PARE_OK)
		return rc;
	g = stage_begin(dir, s->err);
	if (g == NULL)
		return PARE_EWRITE;
	rc = write_all(s, g, dir, recipe, plain, task);
	if (rc == PARE_OK)
		return stage_commit(g, s->err);
	stage_abort(g);
	return rc;
}

static void
saver_free(struct saver *s)
{
	for (int i = 0; i < s->n; i++) {
		free(s->tensor[i].name);
		free(s->tensor[i].of);
	}
	free(s->tensor);
	hf_joined_free(&s->joined);
	arch_layout_free(&s->layout);
	json_decref(s->by_pointer);
	json_decref(s->taken);
	st_writer_free(s->w);
}

enum pare_rc
file_save_with(const struct model *m, const char *dir, const char *recipe,
    const struct export_file *file, int nfiles, bool force, int64_t *bytes,
    bool *plain, struct task *task, struct pare_err *err)
{
	struct saver s = { .m = m, .file = file, .nfiles = nfiles,
		.err = err };
	enum pare_rc rc;
	bool is_hf = false;

	if (m->ghost) {
		err_set(err, PARE_EUSER, "this model has no weights to save: "
		    "it was opened from a config alone");
		return err_hint(err, "open it with weights=random seed=1, or "
		    "open a folder that holds weights");
	}
	s.w = st_writer_new();
	s.by_pointer = json_object();
	s.taken = json_object();
	rc = save(&s, dir, recipe, force, &is_hf, task);
	if (rc == PARE_OK && bytes != NULL)
		*bytes = s.bytes;
	if (rc == PARE_OK && plain != NULL)
		*plain = is_hf;
	saver_free(&s);
	return rc;
}

enum pare_rc
file_save_model(const struct model *m, const char *dir, const char *recipe,
    bool force, int64_t *bytes, bool *plain, struct task *task,
    struct pare_err *err)
{
	return file_save_with(m, dir, recipe, NULL, 0, force, bytes, plain,
	    task, err);
}
