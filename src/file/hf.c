/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ghost that the config alone describes says which slots there are, of
 * which shape, and which are tied; this file puts the stored tensor into each.
 * Names are looked up with and without the architecture's prefix, and under
 * their older spellings. What is missing, left over or of another shape is
 * reported with the names of the tensors and the numbers of both sides.
 */
#include "file/hf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/map.h"
#include "model/arch.h"
#include "model/edit.h"

enum { NAME_MAX_LENGTH = 256, LISTED = 4, COMPARE_BLOCK = 1 << 20 };

struct builder {
	struct arch_layout *l;
	const json_t *config;
	const char *where;	/* the config */
	struct weights *w;
	struct edit *e;
	struct notes *notes;
	struct pare_err *err;
	struct str missing;
	int nmissing, nmissing_head, nfound;
};

/* ---- names ----------------------------------------------------------- */

/* name under the older spelling of norms; false when it has none. */
static bool
legacy_name(const char *name, char *out, size_t n)
{
	size_t length = strlen(name);

	if (str_has_suffix(name, ".weight"))
		snprintf(out, n, "%.*s.gamma", (int)(length - 7), name);
	else if (str_has_suffix(name, ".bias"))
		snprintf(out, n, "%.*s.beta", (int)(length - 5), name);
	else
		return false;
	return true;
}

static struct weight *
find_spelled(const struct weights *w, const char *name)
{
	struct weight *x = weights_find(w, name);
	char old[NAME_MAX_LENGTH];

	if (x == NULL && strstr(name, "norm") == NULL &&
	    strstr(name, "Norm") == NULL)
		return NULL;
	if (x == NULL && legacy_name(name, old, sizeof(old)))
		x = weights_find(w, old);
	return x;
}

/* The weight called name, its prefix there or not. */
static struct weight *
find_weight(const struct weights *w, const struct arch *arch,
    const char *name)
{
	struct weight *x = find_spelled(w, name);
	char other[NAME_MAX_LENGTH];

	if (x != NULL)
		return x;
	if (str_has_prefix(name, arch->prefix))
		return find_spelled(w, name + strlen(arch->prefix));
	snprintf(other, sizeof(other), "%s%s", arch->prefix, name);
	return find_spelled(w, other);
}

/* The bias of a masked-LM head goes by two names that mean one thing. */
static struct weight *
find_decoder_bias(const struct builder *b, const char *name)
{
	char other[NAME_MAX_LENGTH];

	if (!str_has_suffix(name, "predictions.bias") &&
	    !str_has_suffix(name, "lm_head.bias"))
		return NULL;
	snprintf(other, sizeof(other), "%.*sdecoder.bias",
	    (int)(strlen(name) - 4), name);
	return find_weight(b->w, b->l->arch, other);
}

static struct weight *
find_slot(const struct builder *b, struct slot_ref r, char *name, size_t n)
{
	struct weight *x;

	if (!arch_slot_name(b->l, r, name, n))
		return NULL;
	x = find_weight(b->w, b->l->arch, name);
	if (x == NULL && r.slot == SLOT_HOUT_B)
		x = find_decoder_bias(b, name);
	return x;
}

/* "bert.bert.encoder...": somebody's script put the prefix on twice. */
static enum pare_rc
check_prefix(const struct builder *b)
{
	char twice[64];
	const char *prefix = b->l->arch->prefix;

	snprintf(twice, sizeof(twice), "%s%s", prefix, prefix);
	for (int i = 0; i < b->w->n; i++) {
		const char *name = b->w->w[i].e->name;

		if (!str_has_prefix(name, twice))
			continue;
		err_set(b->err, PARE_EFORMAT, "'%s': tensor '%.120s' has the "
		    "prefix '%s' twice", b->w->where, name, prefix);
		return err_hint(b->err, "save the model again with '%s' once",
		    prefix);
	}
	return PARE_OK;
}

/* ---- shapes ---------------------------------------------------------- */

/* The config key behind a side of a slot, where there is one. */
static const char *
key_of(const struct arch *arch, enum dim_kind d)
{
	switch (d) {
	case DIM_VOCAB:
		return arch->keys.vocab;
	case DIM_POSITIONS:
		return arch->keys.positions;
	case DIM_TYPES:
		return arch->keys.types;
	case DIM_LABELS:
	case DIM_HEAD_OUT:
		return "the number of labels";
	default:
		return NULL;
	}
}

static enum pare_rc
shape_error(const struct builder *b, struct slot_ref r,
    const struct weight *x, int64_t rows, int64_t cols)
{
	const struct slot_facts *f = &slot_table[r.slot];
	const struct st_entry *e = x->e;
	char shape[ST_RANK_MAX * 24], want[64];
	int ndim = f->rows == DIM_NONE ? 1 : 2;
	enum dim_kind kind = f->rows;
	const char *key;

	if (f->rows == DIM_HEAD_OUT && head_gives_tokens(b->l->hp.head))
		kind = DIM_VOCAB;
	key = key_of(b->l->arch, kind);
	if (ndim == 2 && e->ndim == 2 && e->dim[1] == cols && key != NULL)
		return err_set(b->err, PARE_EFORMAT, "%s: %s is %" PRId64
		    ", but tensor '%.120s' in '%s' has %" PRId64 " rows",
		    b->where, key, rows, e->name, x->file->path, e->dim[0]);
	weights_shape(e, shape, sizeof(shape));
	if (ndim == 1)
		snprintf(want, sizeof(want), "[%" PRId64 "]", cols);
	else
		snprintf(want, sizeof(want), "[%" PRId64 ", %" PRId64 "]",
		    rows, cols);
	return err_set(b->err, PARE_EFORMAT, "'%s': tensor '%.120s' has shape "
	    "%s; %s asks for %s", x->file->path, e->name, shape, b->where,
	    want);
}

static enum pare_rc
check_shape(const struct builder *b, struct slot_ref r,
    const struct weight *x)
{
	const struct slot_facts *f = &slot_table[r.slot];
	int64_t rows = model_dim(b->e->m, r.layer, f->rows);
	int64_t cols = model_dim(b->e->m, r.layer, f->cols);
	const struct st_entry *e = x->e;
	int ndim = f->rows == DIM_NONE ? 1 : 2;

	if (e->ndim == ndim && e->dim[ndim - 1] == cols &&
	    (ndim == 1 || e->dim[0] == rows))
		return PARE_OK;
	return shape_error(b, r, x, rows, cols);
}

/* ---- several slots in one tensor, and tensors that are turned ---------- */

/* Where the outputs of slot r lie in the file's tensor. */
struct place {
	bool turned;
	int64_t first, n, total;	/* outputs: of this slot, of all */
};

static int64_t
outputs_of(const struct builder *b, struct slot_ref r)
{
	const struct slot_facts *f = &slot_table[r.slot];

	return model_dim(b->e->m, r.layer, f->rows == DIM_NONE ? f->cols :
	    f->rows);
}

/* false: the file's tensor is the slot's as it is. */
static bool
find_place(const struct builder *b, struct slot_ref r, struct place *out)
{
	const struct arch_name *row = arch_slot_row(b->l, r.slot);
	const struct arch_name *other = b->l->arch->names;

	out->turned = !b->l->upright && arch_turns(b->l->arch, r);
	out->first = out->total = 0;
	out->n = outputs_of(b, r);
	if (row == NULL || row->parts == 0) {
		out->total = out->n;
		return out->turned;
	}
	for (; other->name != NULL; other++) {
		struct slot_ref o = { r.layer, other->slot };
		int64_t n;

		if (strcmp(other->name, row->name) != 0)
			continue;
		n = outputs_of(b, o);
		out->first += other->part < row->part ? n : 0;
		out->total += n;
	}
	return true;
}

/* The shape that the file's tensor must have. */
static enum pare_rc
check_place(const struct builder *b, struct slot_ref r,
    const struct weight *x, const struct place *p)
{
	const struct slot_facts *f = &slot_table[r.slot];
	int64_t in = model_dim(b->e->m, r.layer, f->cols);
	const struct st_entry *e = x->e;

	if (f->rows == DIM_NONE)
		return e->ndim == 1 && e->dim[0] == p->total ? PARE_OK :
		    shape_error(b, r, x, 1, p->total);
	if (e->ndim == 2 && e->dim[0] == (p->turned ? in : p->total) &&
	    e->dim[1] == (p->turned ? p->total : in))
		return PARE_OK;
	return p->turned ? shape_error(b, r, x, in, p->total) :
	    shape_error(b, r, x, p->total, in);
}

static enum pare_rc
set_cut(struct builder *b, struct slot_ref r, struct weight *x,
    const struct place *p)
{
	enum pare_rc rc = check_place(b, r, x, p);
	struct tensor *t;

	if (rc != PARE_OK)
		return rc;
	b->nfound++;
	t = weights_cut(b->w, x, p->turned, p->first, p->n, b->err);
	if (t == NULL)
		return b->err->rc;
	edit_set(b->e, r, t);
	return PARE_OK;
}

/* ---- tied outputs ---------------------------------------------------- */

/* Whether two stored tensors hold the same bytes. Reads until they differ, and
 * hands the pages back, for opening is to leave no weights in memory. */
static bool
same_bytes(const struct weight *a, const struct weight *b)
{
	const unsigned char *p = a->file->data + a->e->begin;
	const unsigned char *q = b->file->data + b->e->begin;
	int64_t n = a->e->end - a->e->begin;
	bool same = n == b->e->end - b->e->begin &&
	    strcmp(a->e->dtype, b->e->dtype) == 0;

	for (int64_t at = 0; same && at < n; at += COMPARE_BLOCK) {
		size_t k = (size_t)(n - at < COMPARE_BLOCK ? n - at :
		    COMPARE_BLOCK);

		same = memcmp(p + at, q + at, k) == 0;
		map_forget(p + at, k);
		map_forget(q + at, k);
	}
	return same;
}

/*
 * A decoder that is tied to the word embedding need not be stored. Stored and
 * equal, it is tied again; stored and different, it counts as it is.
 */
static enum pare_rc
set_tied_output(struct builder *b, struct slot_ref r, struct weight *x)
{
	struct slot_ref word = { -1, SLOT_WORD };
	struct tensor *embedding = edit_get(b->e, word);
	char name[NAME_MAX_LENGTH];
	struct weight *wx;
	struct tensor *t;

	wx = find_slot(b, word, name, sizeof(name));
	if (x == NULL || (wx != NULL && same_bytes(x, wx))) {
		if (x != NULL)
			x->used = true;
		edit_set(b->e, r, embedding != NULL ? tensor_ref(embedding) :
		    NULL);
		return PARE_OK;
	}
	t = weights_tensor(b->w, x, b->err);
	if (t == NULL)
		return b->err->rc;
	notes_add(b->notes, "'%s' differs from the word embedding although "
	    "the config ties them; it is used as stored", x->e->name);
	edit_set(b->e, r, tensor_ref(t));
	return PARE_OK;
}

/* The second name of the decoder's bias: equal, or worth a word. */
static void
use_decoder_bias(struct builder *b, const struct weight *x, const char *name)
{
	struct weight *other = find_decoder_bias(b, name);

	if (other == NULL || other == x)
		return;
	other->used = true;
	if (!same_bytes(x, other))
		notes_add(b->notes, "'%s' and '%s' should be one tensor but "
		    "differ; the first is used", x->e->name, other->e->name);
}

/* ---- slots ----------------------------------------------------------- */

static bool
is_head_slot(enum slot s)
{
	return s >= SLOT_HDENSE_W;
}

/* Bodies are often stored without their pooler. */
static bool
pooler_may_lack(const struct builder *b)
{
	char name[NAME_MAX_LENGTH];

	if (b->l->head->kind != HEAD_NONE && b->l->head->kind != HEAD_MLM)
		return false;
	return find_slot(b, (struct slot_ref){ -1, SLOT_POOL_W }, name,
	    sizeof(name)) == NULL &&
	    find_slot(b, (struct slot_ref){ -1, SLOT_POOL_B }, name,
	    sizeof(name)) == NULL;
}

static void
note_missing(struct builder *b, struct slot_ref r, const char *name)
{
	if (b->nmissing++ < LISTED)
		str_addf(&b->missing, "%s%s", b->nmissing == 1 ? "" : ", ",
		    name);
	b->nmissing_head += is_head_slot(r.slot);
}

static enum pare_rc
set_slot(struct builder *b, struct slot_ref r, bool tied)
{
	char name[NAME_MAX_LENGTH] = "";
	struct weight *x = find_slot(b, r, name, sizeof(name));
	enum pare_rc rc;
	struct place place;
	struct tensor *t;

	if (x != NULL && find_place(b, r, &place))
		return set_cut(b, r, x, &place);
	if (x != NULL) {
		rc = check_shape(b, r, x);
		if (rc != PARE_OK)
			return rc;
		b->nfound++;
	}
	if (tied)
		return set_tied_output(b, r, x);
	if (x == NULL) {
		note_missing(b, r, name);
		return PARE_OK;
	}
	if (r.slot == SLOT_HOUT_B)
		use_decoder_bias(b, x, name);
	t = weights_tensor(b->w, x, b->err);
	if (t == NULL)
		return b->err->rc;
	edit_set(b->e, r, tensor_ref(t));
	return PARE_OK;
}

static enum pare_rc
set_slots(struct builder *b, const struct model *ghost)
{
	struct slot_ref r = SLOT_REF_START;
	bool no_pooler = pooler_may_lack(b);
	struct tensor *word = model_slot(ghost,
	    (struct slot_ref){ -1, SLOT_WORD });

	while (model_next_slot(ghost, &r)) {
		bool tied = r.slot == SLOT_HOUT_W &&
		    model_slot(ghost, r) == word;
		enum pare_rc rc = PARE_OK;

		if (no_pooler &&
		    (r.slot == SLOT_POOL_W || r.slot == SLOT_POOL_B))
			edit_set(b->e, r, NULL);
		else
			rc = set_slot(b, r, tied);
		if (rc != PARE_OK)
			return rc;
	}
	return PARE_OK;
}

/* ---- what is missing, what is left ----------------------------------- */

static enum pare_rc
missing_error(struct builder *b)
{
	const char *stem = b->l->arch->class_stem;

	if (b->nfound == 0) {
		err_set(b->err, PARE_EFORMAT, "'%s' holds none of the tensors "
		    "of a %s model (the first is '%.80s')", b->w->where,
		    b->l->arch->title, b->w->n > 0 ? b->w->w[0].e->name : "");
		return err_hint(b->err, "is model_type in %s right?",
		    b->where);
	}
	if (b->nmissing == b->nmissing_head) {
		err_set(b->err, PARE_EFORMAT, "'%s': %s %s missing, which "
		    "%s%s of %s needs: this is a base model without %s",
		    b->w->where, b->missing.s, b->nmissing == 1 ? "is" : "are",
		    stem, b->l->head->suffix, b->where,
		    b->l->head->kind == HEAD_MLM ? "masked-LM head" :
		    b->l->head->kind == HEAD_LM ? "language-model head" :
		    "classifier");
		return err_hint(b->err, "set architectures to [\"%sModel\"] "
		    "in %s to open the body alone", stem, b->where);
	}
	return err_set(b->err, PARE_EFORMAT, "'%s': %d tensor%s missing: %s%s",
	    b->w->where, b->nmissing, b->nmissing == 1 ? "" : "s",
	    b->missing.s, b->nmissing > LISTED ? ", ..." : "");
}

/* Buffers that old checkpoints hold and nobody needs. */
static bool
is_buffer(const char *name)
{
	if (str_has_suffix(name, ".attn.bias") ||
	    str_has_suffix(name, ".attn.masked_bias") ||
	    str_has_suffix(name, "rotary_emb.inv_freq"))
		return true;
	return str_has_suffix(name, ".position_ids") ||
	    str_has_suffix(name, "embeddings.token_type_ids") ||
	    strcmp(name, "position_ids") == 0;
}

static void
note_unused(const struct builder *b)
{
	struct str list = STR_INIT;
	int n = 0;

	for (int i = 0; i < b->w->n; i++) {
		const struct weight *x = &b->w->w[i];

		if (x->used || is_buffer(x->e->name))
			continue;
		if (n++ < LISTED)
			str_addf(&list, "%s%.100s", n == 1 ? "" : ", ",
			    x->e->name);
	}
	if (n > 0)
		notes_add(b->notes, "%d tensor%s of the file %s not used: "
		    "%s%s", n, n == 1 ? "" : "s", n == 1 ? "is" : "are",
		    list.s, n > LISTED ? ", ..." : "");
	if (b->w->converted > 0)
		notes_add(b->notes, "%d tensors were F64 and are used as F32",
		    b->w->converted);
	str_free(&list);
}

/*
 * A config that asks for more layers than are stored is told so before anything
 * is made for them.
 */
static enum pare_rc
check_layer_count(const struct builder *b)
{
	char name[NAME_MAX_LENGTH];
	int n = 0;

	if ((b->l->arch->flags & ARCH_GROUPS) != 0)
		return PARE_OK;
	while (n < b->l->nlayers && find_slot(b,
	    (struct slot_ref){ n, SLOT_UP_W }, name, sizeof(name)) != NULL)
		n++;
	/* A hole, or no layer at all, is better told tensor by tensor. */
	if (n == b->l->nlayers || n == 0 || find_slot(b,
	    (struct slot_ref){ n + 1, SLOT_UP_W }, name, sizeof(name)) !=
	    NULL || find_slot(b, (struct slot_ref){ n, SLOT_Q_W }, name,
	    sizeof(name)) != NULL)
		return PARE_OK;
	return err_set(b->err, PARE_EFORMAT, "%s: %s is %d, but '%s' has "
	    "tensors of %d layers", b->where, b->l->arch->keys.layers,
	    b->l->nlayers, b->w->where, n);
}

/* A classifier tells how many labels there are where the config is silent. */
static void
repair_labels(struct builder *b)
{
	char name[NAME_MAX_LENGTH];
	const json_t *names = json_object_get(b->config, "id2label");
	const struct weight *x;

	if (b->l->head->kind != HEAD_CLASSIFY ||
	    json_object_get(b->config, "num_labels") != NULL ||
	    (json_is_object(names) && json_object_size(names) > 0))
		return;
	x = find_slot(b, (struct slot_ref){ -1, SLOT_HOUT_W }, name,
	    sizeof(name));
	if (x == NULL || x->e->ndim != 2 || x->e->dim[0] < 1 ||
	    x->e->dim[0] > 1 << 20 || x->e->dim[0] == b->l->hp.labels)
		return;
	b->l->hp.labels = x->e->dim[0];
	b->l->hp.head = b->l->hp.labels == 1 ? HEAD_REGRESS : HEAD_CLASSIFY;
	notes_add(b->notes, "%s names no labels; the classifier has %" PRId64,
	    b->where, b->l->hp.labels);
}

static enum pare_rc
build(struct builder *b, const char *path, const char *dir,
    struct model **out)
{
	struct model *ghost = NULL;
	enum pare_rc rc;

	rc = check_prefix(b);
	if (rc == PARE_OK)
		rc = check_layer_count(b);
	if (rc != PARE_OK)
		return rc;
	repair_labels(b);
	rc = arch_ghost_model(b->l, config_origin(path, dir,
	    (json_t *)b->config, b->l->hp.labels, b->notes), &ghost, b->err);
	if (rc != PARE_OK)
		return rc;
	b->e = edit_begin(ghost, EDIT_REAL, 0, NULL);
	rc = set_slots(b, ghost);
	if (rc == PARE_OK && b->nmissing > 0)
		rc = missing_error(b);
	if (rc == PARE_OK) {
		note_unused(b);
		rc = edit_commit(b->e, out, b->err);
	} else {
		edit_abort(b->e);
	}
	model_unref(ghost);
	return rc;
}

enum pare_rc
hf_build(struct arch_layout *l, json_t *config, const char *where,
    struct weights *w, const char *path, const char *dir,
    struct model **out, struct notes *notes, struct pare_err *err)
{
	struct pare_err local;
	struct builder b = { .l = l, .config = config, .where = where, .w = w,
		.notes = notes, .err = err != NULL ? err : &local,
		.missing = STR_INIT };
	enum pare_rc rc = build(&b, path, dir, out);

	str_free(&b.missing);
	return rc;
}
