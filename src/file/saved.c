/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opens a directory that pare wrote. pare.json is as hostile as any file: every
 * number has a range, every name is looked up, and what a tensor is made of is
 * checked by tensor_new() and the gate. Slots name tensors and tensors name no
 * slots; a tensor may name the base that it stands on, which names none itself.
 * So there can be no loops.
 */
#include "file/saved.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/dtype.h"
#include "file/weights.h"
#include "model/arch.h"
#include "model/edit.h"
#include "tensor/block.h"
#include "tensor/form.h"

enum { SAVED_MAX = 64 << 20, PART_NAME_MAX = 400 };

const char *const saved_part_names[PART_COUNT] = {
	[PART_DATA] = "data", [PART_SCALE] = "scale", [PART_MIN] = "min",
	[PART_TABLE] = "table", [PART_MASK] = "mask", [PART_ROWS] = "rows",
	[PART_COLS] = "cols"
};

const char *const saved_head_names[] = {
	[HEAD_NONE] = "none", [HEAD_CLASSIFY] = "classify",
	[HEAD_REGRESS] = "regress", [HEAD_MLM] = "mlm",
	[HEAD_LM] = "lm", NULL
};

const char *const saved_rope_names[] = {
	[ROPE_PLAIN] = "plain", [ROPE_LINEAR] = "linear",
	[ROPE_DYNAMIC] = "dynamic", [ROPE_LLAMA3] = "llama3",
	[ROPE_YARN] = "yarn", NULL
};

struct loader {
	char *where;		/* pare.json's path */
	json_t *root, *config;
	struct weights *w;
	json_t *tensors;	/* borrowed from root */
	struct tensor **made;	/* by position in tensors; owned */
	json_t *index;		/* name -> position in made[] */
	struct hparams hp;
	const struct arch *arch;
	struct edit *e;
	struct notes *notes;
	struct pare_err *err;
};

const char *
saved_part_dtype(const struct tensor *t, enum part_kind k)
{
	switch (k) {
	case PART_DATA:
		return dtype_of_form(t->values) != NULL ?
		    dtype_of_form(t->values) : "U8";
	case PART_SCALE:
	case PART_MIN:
		return "F16";
	case PART_TABLE:
		return "F32";
	case PART_ROWS:
		return "U32";
	case PART_COLS:
		return t->cols <= 65536 ? "U16" : "U32";
	default:
		return "U8";
	}
}

/* ---- tensors --------------------------------------------------------- */

static enum pare_rc
tensor_error(const struct loader *d, const char *name, const char *what)
{
	return err_set(d->err, PARE_EFORMAT, "%s: tensor '%.120s': %s",
	    d->where, name, what);
}

static bool
find_word(const char *word, const char *const *list, int *out)
{
	for (int i = 0; word != NULL && list[i] != NULL; i++)
		if (strcmp(word, list[i]) == 0) {
			*out = i;
			return true;
		}
	return false;
}

static enum pare_rc
read_shape(const struct loader *d, const char *name, const json_t *facts,
    struct tensor *t)
{
	const json_t *shape = json_object_get(facts, "shape");
	int64_t side[2] = { 0, 0 };
	size_t n = json_array_size(shape);

	if (n < 1 || n > 2)
		return tensor_error(d, name, "shape must be a list of one or "
		    "two integers");
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(shape, i);

		side[i] = json_integer_value(v);
		if (!json_is_integer(v) || side[i] < 0 || side[i] > INT32_MAX)
			return tensor_error(d, name,
			    "a side of shape is out of range");
	}
	t->ndim = (int)n;
	t->rows = n == 1 ? 1 : side[0];
	t->cols = n == 1 ? side[0] : side[1];
	return PARE_OK;
}

static enum pare_rc
read_code(const struct loader *d, const char *name, const json_t *facts,
    struct tensor *t)
{
	static const char *const schemes[] = { "symmetric", "affine", NULL };
	const char *scheme;
	int64_t bits, group, act;
	double mult;
	int s = 0;
	enum pare_rc rc;

	rc = json_int(facts, "bits", 1, 8, 0, &bits, name, d->err);
	if (rc == PARE_OK)
		rc = json_int(facts, "group", 0, INT32_MAX, 0, &group, name,
		    d->err);
	if (rc == PARE_OK)
		rc = json_int(facts, "activations", 0, 8, 0, &act, name,
		    d->err);
	if (rc == PARE_OK)
		rc = json_real_of(facts, "mult", 0x1p-149, 0x1p127, 1.0, &mult,
		    name, d->err);
	if (rc == PARE_OK)
		rc = json_text(facts, "scheme", "symmetric", &scheme, name,
		    d->err);
	if (rc != PARE_OK)
		return err_prefix(d->err, "%s", d->where);
	if (!find_word(scheme, schemes, &s))
		return tensor_error(d, name, "unknown scheme");
	t->code.bits = (uint8_t)bits;
	t->code.scheme = (uint8_t)s;
	t->code.group = group;
	t->code.act = (uint8_t)act;
	t->code.mult = (float)mult;
	return PARE_OK;
}

static enum pare_rc
read_block(const struct loader *d, const char *name, const json_t *facts,
    struct tensor *t)
{
	const char *block = json_string_value(json_object_get(facts,
	    "block"));

	int64_t act;

	if (json_int(facts, "activations", 0, 8, 8, &act, name, d->err) !=
	    PARE_OK)
		return err_prefix(d->err, "%s", d->where);
	t->code.act = (uint8_t)act;
	for (int k = 0; block != NULL && k < BLOCK_KINDS; k++)
		if (strcmp(block, block_table[k].name) == 0) {
			t->code.block = (uint8_t)k;
			return PARE_OK;
		}
	return tensor_error(d, name, "unknown type of blocks");
}

/* Everything tensor_new() wants to know beside the parts. */
static enum pare_rc
read_facts(const struct loader *d, const char *name, const json_t *facts,
    struct tensor *t)
{
	const char *form = json_string_value(json_object_get(facts, "form"));
	const char *values = json_string_value(json_object_get(facts,
	    "values"));
	int64_t stored, nonzero;
	enum pare_rc rc;

	memset(t, 0, sizeof(*t));
	if (form == NULL || form_find(form, &t->form) == NULL)
		return tensor_error(d, name, "unknown form");
	t->values = t->form;
	if (form_table[t->form].is_sparse &&
	    (values == NULL || form_find(values, &t->values) == NULL))
		return tensor_error(d, name, "unknown form of values");
	rc = read_shape(d, name, facts, t);
	if (rc == PARE_OK && (t->values == FORM_INT ||
	    t->values == FORM_TABLE))
		rc = read_code(d, name, facts, t);
	if (rc == PARE_OK && t->form == FORM_BLOCK)
		rc = read_block(d, name, facts, t);
	if (rc != PARE_OK)
		return rc;
	rc = json_int(facts, "stored", 0, t->rows * t->cols,
	    form_table[t->form].is_pair ? 0 : t->rows * t->cols, &stored, name,
	    d->err);
	if (rc == PARE_OK)
		rc = json_int(facts, "nonzero", 0, t->rows * t->cols, -1,
		    &nonzero, name, d->err);
	if (rc != PARE_OK)
		return err_prefix(d->err, "%s", d->where);
	t->stored = stored;
	atomic_init(&t->nonzero, nonzero);
	return PARE_OK;
}

/* A part of a tensor of the file: outputs from `first` on. */
static struct tensor *
load_cut(const struct loader *d, const char *name, const json_t *facts,
    const struct tensor *t)
{
	const char *of = json_string_value(json_object_get(facts, "of"));
	struct weight *x = of != NULL ? weights_find(d->w, of) : NULL;
	const int64_t n = t->ndim == 1 ? t->cols : t->rows;
	bool turned = false, fits;
	int64_t first, outputs;

	if (json_int(facts, "first", 0, INT64_C(1) << 40, 0, &first, name,
	    d->err) != PARE_OK || json_bool_of(facts, "turned", false,
	    &turned, name, d->err) != PARE_OK)
		return NULL;
	turned = turned && t->ndim == 2;
	fits = x != NULL && x->e->ndim == t->ndim &&
	    strcmp(x->e->dtype, dtype_of_form(t->form)) == 0;
	outputs = !fits ? 0 : x->e->dim[turned ? 1 : 0];
	if (!fits || first + n > outputs || (t->ndim == 2 &&
	    x->e->dim[turned ? 0 : 1] != t->cols)) {
		err_set(d->err, PARE_EFORMAT, "%s: tensor '%.120s' is no part "
		    "of '%.120s' in '%s'", d->where, name, of != NULL ? of :
		    "", d->w->where);
		return NULL;
	}
	return weights_cut(d->w, x, turned, first, n, d->err);
}

static struct tensor *
load_float(const struct loader *d, const char *name, const struct tensor *t)
{
	struct weight *x = weights_find(d->w, name);
	const struct st_entry *e;
	struct tensor *made;

	if (x == NULL) {
		err_set(d->err, PARE_EFORMAT, "%s: tensor '%.120s' is not in "
		    "'%s'", d->where, name, d->w->where);
		return NULL;
	}
	e = x->e;
	if (strcmp(e->dtype, dtype_of_form(t->form)) != 0 ||
	    e->ndim != t->ndim || e->dim[e->ndim - 1] != t->cols ||
	    (t->ndim == 2 && e->dim[0] != t->rows)) {
		char shape[ST_RANK_MAX * 24];

		weights_shape(e, shape, sizeof(shape));
		err_set(d->err, PARE_EFORMAT, "%s: tensor '%.120s' is %s of "
		    "%" PRId64 " x %" PRId64 ", but '%s' holds %s of %s",
		    d->where, name, dtype_of_form(t->form), t->rows, t->cols,
		    d->w->where, e->dtype, shape);
		return NULL;
	}
	made = weights_tensor(d->w, x, d->err);
	return made != NULL ? tensor_ref(made) : NULL;
}

/* One part, as a view where its alignment allows that and else as a copy. */
static enum pare_rc
load_part(const struct loader *d, const struct weight *x, const char *dtype,
    struct part *out)
{
	size_t align = (size_t)dtype_table[dtype_find(dtype)].bits / 8;
	const unsigned char *p = x->file->data + x->e->begin;
	void *copy;

	out->n = (size_t)(x->e->end - x->e->begin);
	if ((uintptr_t)p % align == 0) {
		out->p = p;
		out->blob = blob_ref(x->file->blob);
		return PARE_OK;
	}
	copy = mem_big(out->n, 1, d->err);
	if (copy == NULL)
		return PARE_ENOMEM;
	memcpy(copy, p, out->n);
	out->p = copy;
	out->blob = blob_heap(copy, out->n);
	return PARE_OK;
}

static void
drop_parts(struct part parts[PART_COUNT])
{
	for (int k = 0; k < PART_COUNT; k++)
		blob_unref(parts[k].blob);
}

static struct tensor *
load_parts(const struct loader *d, const char *name, const struct tensor *t)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, *made;
	char part[PART_NAME_MAX];

	for (int k = 0; k < PART_COUNT; k++) {
		const char *dtype = saved_part_dtype(t, (enum part_kind)k);
		struct weight *x;

		snprintf(part, sizeof(part), "%s.pare.%s", name,
		    saved_part_names[k]);
		x = weights_find(d->w, part);
		if (x == NULL)
			continue;
		x->used = true;
		if (strcmp(x->e->dtype, dtype) != 0) {
			err_set(d->err, PARE_EFORMAT, "'%s': tensor '%.120s' "
			    "has dtype %s; %s asks for %s", d->w->where, part,
			    x->e->dtype, d->where, dtype);
			drop_parts(parts);
			return NULL;
		}
		if (load_part(d, x, dtype, &parts[k]) != PARE_OK) {
			drop_parts(parts);
			return NULL;
		}
	}
	made = tensor_new(t, parts, kid, d->err);
	if (made == NULL)
		err_prefix(d->err, "%s: tensor '%.120s'", d->w->where, name);
	return made;
}

/* How deep in a tensor: a sum of scaled codes and a low rank has two levels below
 * it. */
enum { DEPTH_MOST = 2 };

static struct tensor *load_tensor(const struct loader *d, const char *name,
    const json_t *facts, int depth);
static struct tensor *find_tensor(const struct loader *d, const char *name,
    int depth);

/* Described where it is used, or by its name. */
static struct tensor *
load_kid(const struct loader *d, const char *name, const json_t *facts,
    int depth)
{
	struct tensor *t;

	if (!json_is_string(facts))
		return load_tensor(d, name, facts, depth);
	if (depth > 1) {
		tensor_error(d, name, "a tensor with a name cannot stand on "
		    "another");
		return NULL;
	}
	t = find_tensor(d, json_string_value(facts), depth);
	return t != NULL ? tensor_ref(t) : NULL;
}

static struct tensor *
load_pair(const struct loader *d, const char *name, const json_t *facts,
    const struct tensor *t, int depth)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, *made;
	static const char *const keys[] = { "a", "b" };
	char factor[PART_NAME_MAX];

	for (int i = 0; i < 2; i++) {
		snprintf(factor, sizeof(factor), "%s.pare.%s", name, keys[i]);
		kid[i] = load_kid(d, factor, json_object_get(facts, keys[i]),
		    depth + 1);
		if (kid[i] == NULL) {
			tensor_unref(kid[0]);
			return NULL;
		}
	}
	made = tensor_new(t, parts, kid, d->err);
	if (made == NULL)
		err_prefix(d->err, "%s: tensor '%.120s'", d->where, name);
	return made;
}

static struct tensor *
load_tensor(const struct loader *d, const char *name, const json_t *facts,
    int depth)
{
	struct tensor t;

	if (!json_is_object(facts)) {
		tensor_error(d, name, "is not described by an object");
		return NULL;
	}
	if (read_facts(d, name, facts, &t) != PARE_OK)
		return NULL;
	if (dtype_of_form(t.form) != NULL)
		return json_object_get(facts, "of") != NULL && depth == 0 ?
		    load_cut(d, name, facts, &t) : load_float(d, name, &t);
	if (!form_table[t.form].is_pair)
		return load_parts(d, name, &t);
	if (depth < DEPTH_MOST)
		return load_pair(d, name, facts, &t, depth);
	tensor_error(d, name, "a factor cannot be factorized again");
	return NULL;
}

/* The tensor of that name, made on first use; borrowed. */
static struct tensor *
find_tensor(const struct loader *d, const char *name, int depth)
{
	const json_t *facts = json_object_get(d->tensors, name);
	json_int_t i = json_integer_value(json_object_get(d->index, name));

	if (facts == NULL || strlen(name) > 255) {
		tensor_error(d, name, "is not described under tensors");
		return NULL;
	}
	if (d->made[i] == NULL)
		d->made[i] = load_tensor(d, name, facts, depth);
	return d->made[i];
}

/* ---- numbers --------------------------------------------------------- */

/* Of a decoder with rotary positions; others have none. */
static enum pare_rc
read_rope(struct loader *d, const json_t *h, struct rope *p)
{
	const json_t *o = json_object_get(h, "rope");
	const struct {
		const char *key;
		double *out, max;
	} reals[] = {
		{ "theta", &p->theta, 1e12 }, { "factor", &p->factor, 1e6 },
		{ "low", &p->low, 1e6 }, { "high", &p->high, 1e6 },
		{ "attention", &p->attention, 1e3 },
	};
	const char *name = "";
	enum pare_rc rc;
	int kind = 0;

	if ((d->arch->flags & ARCH_ROTARY) == 0)
		return PARE_OK;
	if (!json_is_object(o))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: hparams: rope is missing or not an object", d->where);
	rc = json_text(o, "kind", "", &name, d->where, d->err);
	for (size_t i = 0; i < sizeof(reals) / sizeof(*reals); i++)
		if (rc == PARE_OK)
			rc = json_real_of(o, reals[i].key, 0, reals[i].max, 0,
			    reals[i].out, d->where, d->err);
	if (rc == PARE_OK)
		rc = json_bool_of(o, "interleaved", false, &p->interleaved,
		    d->where, d->err);
	if (rc == PARE_OK)
		rc = json_int(o, "original", 0, 1 << 24, 0, &p->original,
		    d->where, d->err);
	if (rc != PARE_OK)
		return rc;
	if (!find_word(name, saved_rope_names, &kind) || p->theta < 1.0 ||
	    (kind != ROPE_PLAIN && (p->factor < 1.0 || p->low <= 0.0 ||
	    p->high <= p->low)))
		return err_set(d->err, PARE_EFORMAT, "%s: hparams: rope of "
		    "kind '%.40s' has no such numbers", d->where, name);
	p->kind = (enum rope_kind)kind;
	return PARE_OK;
}

static enum pare_rc
read_numbers(struct loader *d, const json_t *h, struct hparams *p)
{
	const struct {
		const char *key;
		int64_t *out, min, max;
	} ints[] = {
		{ "hidden", &p->hidden, 1, 1 << 20 },
		{ "embed", &p->embed, 1, 1 << 20 },
		{ "vocab", &p->vocab, 1, 1 << 28 },
		{ "positions", &p->positions, 0, 1 << 24 },
		{ "types", &p->types, 0, 1 << 16 },
		{ "labels", &p->labels, 0, 1 << 20 },
		{ "position_offset", &p->position_offset, 0, 1 << 16 },
		{ "pad", &p->pad, 0, INT32_MAX },
	};
	const struct {
		const char *key;
		double *out, max;
	} reals[] = {
		{ "norm_eps", &p->norm_eps, 1 },
		{ "dropout", &p->dropout, 1 },
		{ "attention_dropout", &p->attention_dropout, 1 },
		{ "init_range", &p->init_range, 10 },
		{ "embed_scale", &p->embed_scale, 1e6 },
		{ "attn_scale", &p->attn_scale, 1e6 },
		{ "attn_cap", &p->attn_cap, 1e9 },
		{ "logit_cap", &p->logit_cap, 1e9 },
	};
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < sizeof(ints) / sizeof(*ints); i++)
		if (rc == PARE_OK)
			rc = json_int(h, ints[i].key, ints[i].min, ints[i].max,
			    ints[i].min, ints[i].out, d->where, d->err);
	for (size_t i = 0; i < sizeof(reals) / sizeof(*reals); i++)
		if (rc == PARE_OK)
			rc = json_real_of(h, reals[i].key, 0, reals[i].max, 0,
			    reals[i].out, d->where, d->err);
	return rc;
}

static enum pare_rc
read_hparams(struct loader *d)
{
	const json_t *h = json_object_get(d->root, "hparams");
	const char *act, *head_act, *head;
	struct hparams *p = &d->hp;
	enum pare_rc rc;
	int kind = 0;

	if (!json_is_object(h))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: hparams is missing or not an object", d->where);
	rc = read_numbers(d, h, p);
	if (rc == PARE_OK)
		rc = read_rope(d, h, &p->rope);
	if (rc == PARE_OK)
		rc = json_text(h, "act", "", &act, d->where, d->err);
	if (rc == PARE_OK)
		rc = json_text(h, "head_act", "", &head_act, d->where, d->err);
	if (rc == PARE_OK)
		rc = json_text(h, "head", "", &head, d->where, d->err);
	if (rc != PARE_OK)
		return rc;
	if (!act_find(act, &p->act) || !act_find(head_act, &p->head_act))
		return err_set(d->err, PARE_EFORMAT, "%s: hparams: unknown "
		    "activation '%.40s' or '%.40s'", d->where, act, head_act);
	if (!find_word(head, saved_head_names, &kind))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: hparams: unknown head '%.40s'", d->where, head);
	p->head = (enum head_kind)kind;
	if ((p->head == HEAD_CLASSIFY && p->labels < 1) ||
	    (p->head == HEAD_REGRESS && p->labels != 1) ||
	    p->position_offset > p->positions)
		return err_set(d->err, PARE_EFORMAT, "%s: hparams: labels or "
		    "position_offset do not fit the head", d->where);
	return PARE_OK;
}

static enum pare_rc
read_remaining(const struct loader *d, int l, const json_t *list,
    struct layer *y)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		json_int_t h = json_integer_value(v);

		if (!json_is_integer(v) || h < 0 || h >= y->heads_original ||
		    head_set_has(&y->head, (int)h))
			return err_set(d->err, PARE_EFORMAT, "%s: layer %d: "
			    "remaining names a head twice or one that is not "
			    "0 to %d", d->where, l, y->heads_original - 1);
		head_set_put(&y->head, (int)h, true);
	}
	if (json_is_array(list) && head_set_count(&y->head) == y->heads)
		return PARE_OK;
	return err_set(d->err, PARE_EFORMAT, "%s: layer %d: remaining does not "
	    "name %d heads", d->where, l, y->heads);
}

static enum pare_rc
read_layer(const struct loader *d, int l, const json_t *o, struct layer *y)
{
	int64_t v[7] = { 0 };
	const struct {
		const char *key;
		int64_t max;
	} keys[7] = {
		{ "heads", MODEL_HEADS_MAX }, { "kv_heads", MODEL_HEADS_MAX },
		{ "head_dim", 1 << 20 }, { "ffn", 1 << 24 },
		{ "heads_original", MODEL_HEADS_MAX },
		{ "ffn_original", 1 << 24 }, { "window", 1 << 24 }
	};
	enum pare_rc rc = PARE_OK;

	if (!json_is_object(o))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: layer %d is not an object", d->where, l);
	for (int i = 0; i < 7 && rc == PARE_OK; i++)
		rc = json_int(o, keys[i].key, 0, keys[i].max, 0, &v[i],
		    d->where, d->err);
	if (rc != PARE_OK)
		return rc;
	y->heads = (int)v[0];
	y->kv_heads = (int)v[1];
	y->head_dim = (int)v[2];
	y->ffn = v[3];
	y->heads_original = (int)v[4];
	y->ffn_original = v[5];
	y->window = v[6];
	return read_remaining(d, l, json_object_get(o, "remaining"), y);
}

static enum pare_rc
read_layers(struct loader *d)
{
	const json_t *list = json_object_get(d->root, "layers");
	size_t n = json_array_size(list);
	enum pare_rc rc = PARE_OK;

	if (n < 1 || n > MODEL_LAYERS_MAX)
		return err_set(d->err, PARE_EFORMAT, "%s: layers must be a "
		    "list of 1 to %d", d->where, MODEL_LAYERS_MAX);
	d->e = edit_begin_new(d->arch, &d->hp, (int)n, NULL);
	for (size_t i = 0; i < n && rc == PARE_OK; i++)
		rc = read_layer(d, (int)i, json_array_get(list, i),
		    &d->e->m->layer[i]);
	return rc;
}

/* ---- slots ----------------------------------------------------------- */

static bool
slot_at(int i, struct slot_ref *r, int nlayers)
{
	int fixed = SLOT_COUNT - SLOT_LAYER_COUNT;

	if (i < fixed)
		*r = (struct slot_ref){ -1, (enum slot)(SLOT_LAYER_COUNT + i) };
	else
		*r = (struct slot_ref){ (i - fixed) / SLOT_LAYER_COUNT,
			(enum slot)((i - fixed) % SLOT_LAYER_COUNT) };
	return r->layer < nlayers;
}

static enum pare_rc
fill_slots(struct loader *d)
{
	const json_t *slots = json_object_get(d->root, "slots");
	struct slot_ref r;
	size_t found = 0;
	char path[96];

	if (!json_is_object(slots))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: slots is missing or not an object", d->where);
	for (int i = 0; slot_at(i, &r, d->e->m->nlayers); i++) {
		const json_t *v;
		struct tensor *t;

		model_slot_path(r, path, sizeof(path));
		v = json_object_get(slots, path);
		if (v == NULL)
			continue;
		found++;
		if (!json_is_string(v))
			return err_set(d->err, PARE_EFORMAT,
			    "%s: slots: %s is not a string", d->where, path);
		t = find_tensor(d, json_string_value(v), 0);
		if (t == NULL)
			return d->err->rc;
		edit_set(d->e, r, tensor_ref(t));
	}
	if (found == json_object_size(slots))
		return PARE_OK;
	return err_set(d->err, PARE_EFORMAT, "%s: slots: %zu of %zu name no "
	    "part of this model", d->where, json_object_size(slots) - found,
	    json_object_size(slots));
}

/* Whether the architecture has a pooler under this head. */
static bool
has_pooler(const struct model *m)
{
	const enum head_kind kind = m->hp.head == HEAD_REGRESS ?
	    HEAD_CLASSIFY : m->hp.head;
	const struct arch_head *h = m->arch->heads;

	while (h->suffix != NULL && h->kind != kind)
		h++;
	return h->pooler;
}

/* Whether the architecture could run with this named slot empty. */
static bool
may_be_empty(const struct model *m, struct slot_ref r)
{
	const struct layer *y = r.layer >= 0 ? &m->layer[r.layer] : NULL;

	if ((m->arch->flags & ARCH_BIAS_SAID) != 0 && r.layer >= 0 &&
	    slot_table[r.slot].kind != KIND_NORM && !slot_table[r.slot].matrix)
		return true;
	if (r.slot == SLOT_QNORM_W || r.slot == SLOT_KNORM_W)
		return y->heads == 0;
	switch (slot_table[r.slot].kind) {
	case KIND_ATTENTION:
		return y->heads == 0;
	case KIND_FFN:
		return y->ffn == 0;
	case KIND_POOLER:
		return m->hp.head == HEAD_NONE || m->hp.head == HEAD_MLM ||
		    !has_pooler(m);
	default:
		break;
	}
	if (r.slot == SLOT_ROPE)
		return true;
	if (r.slot == SLOT_TYPE)
		return m->hp.types == 0;
	if (r.slot == SLOT_PROJ_W || r.slot == SLOT_PROJ_B)
		return m->hp.embed == m->hp.hidden &&
		    !m->arch->projection_always;
	return false;
}

static enum pare_rc
check_slots(struct loader *d)
{
	const struct model *m = d->e->m;
	struct slot_ref r;
	char name[256];

	for (int i = 0; slot_at(i, &r, m->nlayers); i++) {
		if (model_slot(m, r) != NULL || may_be_empty(m, r) ||
		    !model_file_name(m, r, name, sizeof(name)))
			continue;
		model_slot_path(r, name, sizeof(name));
		return err_set(d->err, PARE_EFORMAT, "%s: slots: %s is missing",
		    d->where, name);
	}
	return PARE_OK;
}

/* ---- the whole ------------------------------------------------------- */

static enum pare_rc
read_header(struct loader *d)
{
	const char *type;
	int64_t version;
	enum pare_rc rc;

	rc = json_int(d->root, "version", 1, INT32_MAX, 0, &version, d->where,
	    d->err);
	if (rc == PARE_OK)
		rc = json_text(d->root, "architecture", "", &type, d->where,
		    d->err);
	if (rc != PARE_OK)
		return rc;
	if (version != SAVED_VERSION) {
		err_set(d->err, PARE_EFORMAT, "%s: version %" PRId64
		    "; this pare reads version %d", d->where, version,
		    SAVED_VERSION);
		return err_hint(d->err, "open it with the pare that saved it");
	}
	d->arch = arch_find(type);
	if (d->arch == NULL)
		return err_set(d->err, PARE_EFORMAT, "%s: unknown architecture "
		    "'%.60s'", d->where, type);
	return read_hparams(d);
}

static enum pare_rc
index_tensors(struct loader *d)
{
	const char *name;
	json_t *v;
	json_int_t i = 0;

	d->tensors = json_object_get(d->root, "tensors");
	if (!json_is_object(d->tensors))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: tensors is missing or not an object", d->where);
	d->made = xcalloc(json_object_size(d->tensors), sizeof(*d->made));
	d->index = json_object();
	json_object_foreach(d->tensors, name, v)
		json_object_set_new(d->index, name, json_integer(i++));
	return PARE_OK;
}

static void
note_unused(const struct loader *d)
{
	const char *first = NULL;
	int n = 0;

	for (int i = 0; i < d->w->n; i++)
		if (!d->w->w[i].used && n++ == 0)
			first = d->w->w[i].e->name;
	if (n > 0)
		notes_add(d->notes, "%d tensors of '%s' are not used, first "
		    "'%.120s'", n, d->w->where, first);
}

static enum pare_rc
load(struct loader *d, const char *dir, const char *path, struct model **out)
{
	struct edit *e;
	enum pare_rc rc;

	rc = read_header(d);
	if (rc == PARE_OK)
		rc = index_tensors(d);
	if (rc == PARE_OK)
		rc = read_layers(d);
	if (d->e != NULL)
		d->e->m->origin = config_origin(path, dir, d->config,
		    d->hp.labels, d->notes);
	if (rc == PARE_OK)
		rc = fill_slots(d);
	if (rc == PARE_OK)
		rc = check_slots(d);
	if (rc != PARE_OK)
		return rc;
	note_unused(d);
	e = d->e;
	d->e = NULL;
	rc = edit_commit(e, out, d->err);
	if (rc != PARE_OK)
		err_prefix(d->err, "%s", d->where);
	return rc;
}

static void
unload(struct loader *d)
{
	size_t n = json_object_size(d->tensors);

	for (size_t i = 0; d->made != NULL && i < n; i++)
		tensor_unref(d->made[i]);
	free(d->made);
	edit_abort(d->e);
	json_decref(d->index);
	json_decref(d->root);
	json_decref(d->config);
	weights_free(d->w);
	free(d->where);
}

/* The three files; the mark for other readers is no business of the model. */
static enum pare_rc
read_files(struct loader *d, const char *dir)
{
	char *config = io_join(dir, "config.json");
	char *tensors = io_join(dir, "model.safetensors");

	d->root = json_read(d->where, SAVED_MAX, JSON_UNIQUE, d->err);
	if (d->root != NULL)
		d->config = config_read(config, d->notes, d->err);
	if (d->config != NULL)
		d->w = weights_open(tensors, d->err);
	free(config);
	free(tensors);
	if (d->w == NULL)
		return d->err->rc;
	if (!json_is_object(d->root))
		return err_set(d->err, PARE_EFORMAT,
		    "%s: expected a JSON object", d->where);
	json_object_del(d->config, "quantization_config");
	if (json_object_get(d->root, "index") != NULL)
		return weights_unbundle(d->w, SAVED_BUNDLE,
		    json_object_get(d->root, "index"), d->err);
	return PARE_OK;
}

enum pare_rc
saved_open(const char *dir, const char *path, struct model **out,
    struct notes *notes, struct pare_err *err)
{
	struct pare_err local;
	struct loader d = { .notes = notes,
		.err = err != NULL ? err : &local };
	enum pare_rc rc;

	d.where = io_join(dir, SAVED_NAME);
	rc = read_files(&d, dir);
	if (rc == PARE_OK)
		rc = load(&d, dir, path, out);
	unload(&d);
	return rc;
}
