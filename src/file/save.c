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
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/dtype.h"
#include "file/map.h"
#include "file/safetensors.h"
#include "file/saved.h"
#include "file/stage.h"
#include "model/arch.h"
#include "tensor/block.h"
#include "tensor/form.h"

#define WEIGHTS "model.safetensors"
#define RECIPE "recipe.pare"

/* A header over one part in so many of the tensors is too much. */
enum { BUNDLE_SHARE = 200 };
enum { TOKENIZER_MAX = 256 << 20, NAME_MAX_LENGTH = 256 };

/* What belongs to a tokenizer, copied as it is. */
static const char *const tokenizer_files[] = {
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
	"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", NULL
};

/* What may lie in a directory that save replaces. */
static const char *const own_files[] = {
	WEIGHTS, "config.json", SAVED_NAME, RECIPE, "README.md",
	"generation_config.json", ".gitattributes", NULL
};

struct saved_tensor {
	const struct tensor *t;
	char *name;
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
name_tensor(struct saver *s, struct slot_ref r, const struct tensor *t)
{
	char name[NAME_MAX_LENGTH], key[32];

	if (saved_name(s, t) != NULL)
		return;
	choose_name(s, r, name, sizeof(name));
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 256 : 2 * s->cap;
		s->tensor = xrealloc(s->tensor,
		    (size_t)s->cap * sizeof(*s->tensor));
	}
	snprintf(key, sizeof(key), "%p", (const void *)t);
	json_object_set_new(s->by_pointer, key, json_integer(s->n));
	json_object_set_new(s->taken, name, json_true());
	s->tensor[s->n].t = t;
	s->tensor[s->n++].name = xstrdup(name);
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
	if (t->form != FORM_LOWRANK) {
		add_parts(s, name, t);
		return;
	}
	for (int i = 0; i < 2; i++) {
		char *kid = str_format("%s.pare.%c", name, "ab"[i]);

		add_tensor(s, kid, t->kid[i]);
		free(kid);
	}
}

/* ---- pare.json ------------------------------------------------------- */

static json_t *
facts_of(const struct tensor *t)
{
	json_t *o = json_object(), *shape = json_array();
	bool code = t->values == FORM_INT || t->values == FORM_TABLE;

	json_object_set_new(o, "form", json_string(form_table[t->form].name));
	if (t->ndim == 2)
		json_array_append_new(shape, json_integer(t->rows));
	json_array_append_new(shape, json_integer(t->cols));
	json_object_set_new(o, "shape", shape);
	if (t->form == FORM_LOWRANK) {
		json_object_set_new(o, "a", facts_of(t->kid[0]));
		json_object_set_new(o, "b", facts_of(t->kid[1]));
		return o;
	}
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
	if (t->form == FORM_BLOCK)
		json_object_set_new(o, "block",
		    json_string(block_table[t->code.block].name));
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
	for (int i = 0; i < s->n; i++)
		add_line(b, i == 0 ? "\n  " : ",\n  ", s->tensor[i].name,
		    facts_of(s->tensor[i].t));
	str_add(b, "\n}");
	if (s->bundled)
		describe_bundle(s, b);
	str_add(b, "\n}\n");
}

/* ---- config.json ----------------------------------------------------- */

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
set_dtype(json_t *config, const struct saver *s)
{
	static const char *const names[] = { "float32", "float16",
		"bfloat16" };
	const char *key = json_object_get(config, "dtype") != NULL ? "dtype" :
	    "torch_dtype";
	int form = FORM_COUNT;

	for (int i = 0; i < s->n; i++)
		if ((int)s->tensor[i].t->form < form)
			form = (int)s->tensor[i].t->form;
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

static json_t *
make_config(const struct saver *s)
{
	const struct model *m = s->m;
	json_t *old = m->origin != NULL ? m->origin->config : NULL;
	json_t *config = old != NULL ? json_deep_copy(old) : json_object();
	struct slot_ref out = { -1, SLOT_HOUT_W }, word = { -1, SLOT_WORD };

	json_object_set_new(config, "model_type",
	    json_string(m->arch->model_type));
	set_sizes(config, m);
	set_pruned_heads(config, m);
	set_dtype(config, s);
	if (head_gives_tokens(m->hp.head)) {
		bool tied = model_slot(m, out) == model_slot(m, word);
		const json_t *v = json_object_get(config,
		    "tie_word_embeddings");
		bool said = m->arch->untied ? json_is_true(v) :
		    !json_is_false(v);

		if (tied != said)
			json_object_set_new(config, "tie_word_embeddings",
			    json_boolean(tied));
	}
	return config;
}

/* ---- is it plain? ---------------------------------------------------- */

static bool
same_numbers(const struct model *m, const struct arch_layout *l)
{
	const struct hparams *a = &m->hp, *b = &l->hp;

	if (a->hidden != b->hidden || a->embed != b->embed ||
	    a->vocab != b->vocab || a->positions != b->positions ||
	    a->types != b->types || a->labels != b->labels ||
	    a->position_offset != b->position_offset ||
	    a->norm_eps != b->norm_eps || a->act != b->act ||
	    a->head_act != b->head_act || a->head != b->head ||
	    memcmp(&a->rope, &b->rope, sizeof(a->rope)) != 0 ||
	    a->embed_scale != b->embed_scale ||
	    a->attn_scale != b->attn_scale || a->attn_cap != b->attn_cap ||
	    a->logit_cap != b->logit_cap ||
	    m->nlayers != l->nlayers)
		return false;
	for (int i = 0; i < m->nlayers; i++) {
		const struct layer *y = &m->layer[i];
		bool whole = y->heads == y->heads_original;

		if (y->window != (l->window != NULL ? l->window[i] : 0))
			return false;
		if (y->heads == 0 || y->heads_original != l->heads ||
		    y->head_dim != l->head_dim || y->ffn != l->ffn ||
		    (l->remaining == NULL && !whole) ||
		    (l->remaining != NULL && memcmp(&y->head,
		    &l->remaining[i], sizeof(y->head)) != 0))
			return false;
		/* Other readers count pruned heads of groups, not layers. */
		if (!whole && (m->arch->flags & ARCH_GROUPS) != 0)
			return false;
	}
	return true;
}

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
	if (same_numbers(s->m, &l)) {
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

/* ---- the target folder ----------------------------------------------- */

static bool
in_list(const char *name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

/* A name in dir that is no file of a saved model; malloc'ed, NULL: none. */
static char *
find_foreign(const char *dir, int *entries)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char *found = NULL;

	*entries = 0;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0)
			continue;
		(*entries)++;
		if (found != NULL || in_list(e->d_name, own_files) ||
		    in_list(e->d_name, tokenizer_files) ||
		    str_has_prefix(e->d_name, ".pare-save-"))
			continue;
		found = xstrdup(e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static bool
maps_from(const struct tensor *t, const struct stat *st)
{
	for (int k = 0; k < PART_COUNT; k++)
		if (map_is_from(t->part[k].blob, st->st_dev, st->st_ino))
			return true;
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL && maps_from(t->kid[i], st))
			return true;
	return false;
}

static bool
is_source(const struct saver *s, const char *dir)
{
	char *path = io_join(dir, WEIGHTS);
	struct stat st[2];
	int n = 0;
	bool source = false;

	n += stat(dir, &st[n]) == 0;
	n += stat(path, &st[n]) == 0;
	free(path);
	for (int i = 0; i < s->n && !source; i++)
		for (int k = 0; k < n && !source; k++)
			source = maps_from(s->tensor[i].t, &st[k]);
	return source;
}

static enum pare_rc
check_target(const struct saver *s, const char *dir, bool force)
{
	char *foreign, *description;
	bool described;
	int entries;
	struct stat st;

	if (stat(dir, &st) != 0)
		return PARE_OK;
	if (!S_ISDIR(st.st_mode))
		return err_set(s->err, PARE_EWRITE,
		    "cannot save into '%s': it is not a folder", dir);
	if (force)
		return PARE_OK;
	if (is_source(s, dir)) {
		err_set(s->err, PARE_EUSER, "'%s' is where this model's own "
		    "weights are read from", dir);
		return err_hint(s->err,
		    "choose another folder, or say force=on");
	}
	foreign = find_foreign(dir, &entries);
	description = io_join(dir, SAVED_NAME);
	described = io_is_file(description);
	free(description);
	if (foreign != NULL)
		err_set(s->err, PARE_EUSER, "'%s' holds other files ('%s')",
		    dir, foreign);
	else if (entries > 0 && !described)
		err_set(s->err, PARE_EUSER,
		    "'%s' holds files that pare did not save", dir);
	else
		return PARE_OK;
	free(foreign);
	return err_hint(s->err,
	    "choose a new or empty folder, or say force=on");
}

/* ---- writing --------------------------------------------------------- */

static enum pare_rc
write_text(const struct saver *s, struct stage *g, const char *name,
    const char *text)
{
	char *path = stage_path(g, name);
	enum pare_rc rc = io_write(path, text, strlen(text), s->err);

	free(path);
	return rc;
}

static enum pare_rc
copy_tokenizer(const struct saver *s, struct stage *g, const char *target)
{
	const char *dir = s->m->origin != NULL ? s->m->origin->dir : NULL;
	enum pare_rc rc = PARE_OK;
	struct stat a, b;

	if (dir == NULL || (stat(dir, &a) == 0 && stat(target, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino))
		return PARE_OK;
	for (int i = 0; tokenizer_files[i] != NULL && rc == PARE_OK; i++) {
		char *from = io_join(dir, tokenizer_files[i]), *to, *data;
		size_t n;

		if (io_is_file(from)) {
			rc = io_read(from, TOKENIZER_MAX, &data, &n, s->err);
			if (rc == PARE_OK) {
				to = stage_path(g, tokenizer_files[i]);
				rc = io_write(to, data, n, s->err);
				free(to);
				free(data);
			}
		}
		free(from);
	}
	return rc;
}

static enum pare_rc
write_config(const struct saver *s, struct stage *g, bool *plain)
{
	json_t *config = make_config(s);
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
	rc = write_text(s, g, "config.json", text);
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
		rc = copy_tokenizer(s, g, dir);
	if (rc == PARE_OK && recipe != NULL)
		rc = write_text(s, g, RECIPE, recipe);
	else if (rc == PARE_OK)
		stage_remove(g, RECIPE);
	if (rc == PARE_OK) {
		describe(s, &text);
		rc = write_text(s, g, SAVED_NAME, text.s);
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
	rc = check_target(s, dir, force);
	if (rc != PARE_OK)
		return rc;
	for (int i = 0; i < s->n; i++)
		add_tensor(s, s->tensor[i].name, s->tensor[i].t);
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
	for (int i = 0; i < s->n; i++)
		free(s->tensor[i].name);
	free(s->tensor);
	json_decref(s->by_pointer);
	json_decref(s->taken);
	st_writer_free(s->w);
}

enum pare_rc
file_save_model(const struct model *m, const char *dir, const char *recipe,
    bool force, int64_t *bytes, bool *plain, struct task *task,
    struct pare_err *err)
{
	struct saver s = { .m = m, .err = err };
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
