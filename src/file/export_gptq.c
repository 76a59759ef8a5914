/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A folder as export hf writes it, but for the matrices of layers that pare
 * holds as symmetric codes in groups: those keep their codes, in the layout of
 * file/gptq.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "file/export_private.h"
#include "file/fit.h"
#include "file/gptq.h"
#include "model/edit.h"
#include "tensor/form.h"

/* What is common to all packed matrices. */
struct packed {
	int bits;
	int64_t group;		/* divides all of them */
	bool rows;		/* every matrix has one group a row */
	bool act;		/* some meet int8 activations */
	bool slot[SLOT_LAYER_COUNT], all;
	int n, floats;		/* matrices packed; others that were packed */
};

static bool
is_packed(struct slot_ref r, const struct tensor *t)
{
	return r.layer >= 0 && t->form == FORM_INT;
}

static int64_t
common_divisor(int64_t a, int64_t b)
{
	while (b != 0) {
		int64_t c = a % b;

		a = b;
		b = c;
	}
	return a;
}

static enum pare_rc
add_matrix(struct packed *p, struct slot_ref r, const struct tensor *t,
    struct pare_err *err)
{
	const int64_t group = t->code.group == 0 ? t->cols : t->code.group;
	char path[96];

	if (gptq_check(t, err) != PARE_OK || (p->n > 0 && p->bits !=
	    t->code.bits)) {
		model_slot_path(r, path, sizeof(path));
		if (p->n > 0 && p->bits != t->code.bits)
			return err_set(err, PARE_EUSER, "%s has codes of %d "
			    "bits and others of %d: a GPTQ checkpoint has one "
			    "width", path, t->code.bits, p->bits);
		return err_prefix(err, "%s", path);
	}
	p->rows = (p->n == 0 || p->rows) && group == t->cols;
	p->bits = t->code.bits;
	p->group = common_divisor(p->group, group);
	p->act = p->act || t->code.act != 0;
	p->slot[r.slot] = true;
	p->n++;
	return PARE_OK;
}

/* A kind of matrix is packed in all layers or in none, for readers are told the
 * names of modules and not layers. */
static enum pare_rc
check_kinds(const struct model *m, struct packed *p, struct pare_err *err)
{
	p->all = true;
	for (int l = 0; l < m->nlayers; l++)
		for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
			struct slot_ref r = { l, (enum slot)s };
			const struct tensor *t = model_slot(m, r);
			char path[96];

			if (t == NULL || !slot_table[s].matrix)
				continue;
			if (is_packed(r, t)) {
				continue;
			}
			p->all = false;
			if (!p->slot[s])
				continue;
			model_slot_path(r, path, sizeof(path));
			return err_set(err, PARE_EUSER, "%s is not held as "
			    "codes as it is in other layers: GPTQ packs a "
			    "kind of matrix in all layers or none", path);
		}
	return PARE_OK;
}

static enum pare_rc
survey(const struct model *m, struct packed *p, struct pare_err *err)
{
	struct slot_ref r = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	if ((m->arch->flags & (ARCH_TRANSPOSED | ARCH_GROUPS)) != 0)
		return err_set(err, PARE_EUSER, "%s is not written as GPTQ: "
		    "its files hold %s", m->arch->title,
		    (m->arch->flags & ARCH_GROUPS) != 0 ? "groups of layers" :
		    "queries, keys and values in one");
	while (rc == PARE_OK && model_next_slot(m, &r)) {
		const struct tensor *t = model_slot(m, r);

		if (is_packed(r, t))
			rc = add_matrix(p, r, t, err);
		else
			p->floats += !form_table[t->form].is_float;
	}
	if (rc == PARE_OK && p->n == 0) {
		err_set(err, PARE_EUSER, "no matrix of a layer is held as "
		    "symmetric codes of 4 bits, which is what GPTQ stores");
		return err_hint(err, "quantize L* bits=4 group=64, then "
		    "export");
	}
	return rc == PARE_OK ? check_kinds(m, p, err) : rc;
}

/* ---- the model of the folder ----------------------------------------- */

struct settings {
	const struct packed *p;
	enum form_kind form;
};

static struct tensor *
settle_tensor(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct settings *s = arg;

	return gptq_tensor(t, s->p->rows ? t->cols : s->p->group, err);
}

static struct tensor *
float_tensor(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct settings *s = arg;
	struct tensor *f, *cast;

	if (form_table[t->form].is_float && s->form == FORM_COUNT)
		return tensor_ref(t);
	f = tensor_to_f32(t, err);
	if (f == NULL || s->form == FORM_COUNT || s->form == FORM_F32)
		return f;
	cast = tensor_cast(f, s->form, ctx, err);
	tensor_unref(f);
	return cast;
}

static enum pare_rc
settle(const struct model *m, struct settings *s, struct task *task,
    struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, task);
	struct slot_ref r = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &r)) {
		bool packed = is_packed(r, model_slot(m, r));

		rc = edit_map(e, r, packed, packed ? settle_tensor :
		    float_tensor, s, err);
		if (rc != PARE_OK && packed) {
			char path[96];

			model_slot_path(r, path, sizeof(path));
			err_prefix(err, "%s", path);
		}
	}
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* ---- writing --------------------------------------------------------- */

struct writing {
	struct gptq_arrays *a;	/* of each packed matrix */
	int n;
};

static void
add_array(struct st_writer *w, const char *name, const char *part,
    const char *dtype, int64_t rows, int64_t cols, const void *p)
{
	const int64_t dim[2] = { rows == 0 ? cols : rows, cols };
	const int64_t size = strcmp(dtype, "F16") == 0 ? 2 : 4;
	char *full = str_format("%.*s%s", (int)(strlen(name) -
	    strlen("weight")), name, part);

	st_writer_add(w, full, dtype, rows == 0 ? 1 : 2, dim, p,
	    (rows == 0 ? 1 : rows) * cols * size);
	free(full);
}

/* Called for each tensor that is not float. */
static enum pare_rc
add_packed(void *ctx, const char *name, const struct tensor *t,
    struct st_writer *w, struct pare_err *err)
{
	struct writing *wr = ctx;
	struct gptq_arrays *a;
	enum pare_rc rc;

	wr->a = xrealloc(wr->a, (size_t)(wr->n + 1) * sizeof(*wr->a));
	a = &wr->a[wr->n++];
	memset(a, 0, sizeof(*a));
	rc = gptq_pack(t, a, err);
	if (rc != PARE_OK)
		return rc;
	add_array(w, name, "qweight", "I32", a->words, t->rows, a->qweight);
	add_array(w, name, "qzeros", "I32", a->groups, a->zero_words,
	    a->qzeros);
	add_array(w, name, "scales", "F16", a->groups, t->rows, a->scales);
	add_array(w, name, "g_idx", "I32", 0, t->cols, a->g_idx);
	return PARE_OK;
}

static enum pare_rc
write_weights(struct export *x, const struct arch_layout *l,
    struct task *task, struct pare_err *err)
{
	struct writing wr = { NULL, 0 };
	struct hf_joined joined = { .packed = add_packed, .ctx = &wr };
	enum pare_rc rc = export_weights(x, l, &joined, task, err);

	for (int i = 0; i < wr.n; i++)
		gptq_arrays_free(&wr.a[i]);
	free(wr.a);
	hf_joined_free(&joined);
	return rc;
}

/* "self_attn.q_proj", of each kind of matrix that is packed. */
static json_t *
modules_of(const struct model *m, const struct arch_layout *l,
    const struct packed *p)
{
	json_t *list = json_array();

	for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
		struct slot_ref r = { 0, (enum slot)s };
		char name[256], *from;

		if (!p->slot[s] || !arch_slot_name(l, r, name, sizeof(name)))
			continue;
		from = strstr(name, ".0.");
		name[strlen(name) - strlen(".weight")] = '\0';
		json_array_append_new(list, json_string(from != NULL ? from +
		    3 : name));
	}
	return list;
}

static json_t *
settings_of(const struct model *m, const struct arch_layout *l,
    const struct packed *p)
{
	json_t *o = json_object();

	json_object_set_new(o, "quant_method", json_string("gptq"));
	json_object_set_new(o, "bits", json_integer(p->bits));
	json_object_set_new(o, "group_size", json_integer(p->rows ? -1 :
	    p->group));
	json_object_set_new(o, "sym", json_true());
	json_object_set_new(o, "desc_act", json_false());
	json_object_set_new(o, "damp_percent", json_real(0.01));
	json_object_set_new(o, "checkpoint_format", json_string("gptq"));
	if (!p->all)
		json_object_set_new(o, "modules_in_block_to_quantize",
		    json_pack("[o]", modules_of(m, l, p)));
	return o;
}

static enum pare_rc
write_json(struct export *x, const char *name, const json_t *v,
    struct pare_err *err)
{
	char *text = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	enum pare_rc rc = export_text(x, name, text, err);

	free(text);
	return rc;
}

static enum pare_rc
write_folder(struct export *x, const struct model *m,
    const struct export_ask *ask, const struct packed *p, json_t *config,
    struct task *task, struct pare_err *err)
{
	struct arch_layout l;
	enum pare_rc rc = arch_read_config(config, "config.json", &l, err);
	json_t *q;

	if (rc != PARE_OK)
		return rc;
	rc = hf_check(x->model, &l, err);
	if (rc == PARE_OK)
		rc = write_weights(x, &l, task, err);
	q = settings_of(x->model, &l, p);
	json_object_set(config, "quantization_config", q);
	if (rc == PARE_OK)
		rc = write_json(x, "quantize_config.json", q, err);
	if (rc == PARE_OK)
		rc = write_json(x, "config.json", config, err);
	if (rc == PARE_OK)
		rc = export_tokenizer(x, m, ask, err);
	json_decref(q);
	arch_layout_free(&l);
	return rc;
}

static void
note_changes(struct export *x, const struct packed *p)
{
	if (p->floats > 0)
		notes_add(&x->notes, "%d packed tensors outside of the layers' "
		    "matrices are written as floats", p->floats);
}

enum pare_rc
export_gptq(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err)
{
	struct packed p = { 0 };
	struct settings s = { &p, ask->want == GGUF_AS_F16 ? FORM_F16 :
		ask->want == GGUF_AS_BF16 ? FORM_BF16 :
		ask->want == GGUF_AS_F32 ? FORM_F32 : FORM_COUNT };
	struct model *counted = NULL;
	enum pare_rc rc = fit_check(m, false, err);
	json_t *config;

	if (rc != PARE_OK)
		return err_hint(err, "GPTQ folders hold whole layers: quantize "
		    "before you prune, or export gguf pad=on");
	rc = survey(m, &p, err);
	if (rc == PARE_OK)
		rc = fit_renumber(m, &counted, err);
	if (rc == PARE_OK)
		rc = settle(counted, &s, task, &x->model, err);
	model_unref(counted);
	if (rc != PARE_OK)
		return rc;
	x->lossy = p.act || s.form == FORM_F16 || s.form == FORM_BF16;
	note_changes(x, &p);
	config = hf_config(x->model, s.form == FORM_COUNT ? FORM_F32 :
	    s.form);
	hf_config_complete(config, x->model);
	rc = write_folder(x, m, ask, &p, config, task, err);
	json_decref(config);
	return rc;
}
