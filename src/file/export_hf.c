/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model as a plain Hugging Face folder. The config is made first and read
 * again; what a reader of it expects is what is written.
 */
#include <stdlib.h>
#include <string.h>

#include "file/export_private.h"
#include "file/fit.h"
#include "model/edit.h"
#include "tensor/form.h"

static enum form_kind
form_of(enum gguf_want want)
{
	return want == GGUF_AS_F32 ? FORM_F32 : want == GGUF_AS_F16 ?
	    FORM_F16 : want == GGUF_AS_BF16 ? FORM_BF16 : FORM_COUNT;
}

static bool
is_lossy(const struct model *m, enum form_kind form)
{
	struct slot_ref r = SLOT_REF_START;

	if (form == FORM_COUNT || form == FORM_F32)
		return false;
	while (model_next_slot(m, &r))
		if (model_slot(m, r)->form != form)
			return true;
	return false;
}

/* Readers take one type for all tensors: what they have in common, or F32. */
static enum form_kind
common_form(const struct model *m)
{
	struct slot_ref r = SLOT_REF_START;
	enum form_kind form = FORM_COUNT;

	while (model_next_slot(m, &r)) {
		enum form_kind f = model_slot(m, r)->form;

		if (!form_table[f].is_float || (form != FORM_COUNT &&
		    f != form))
			return FORM_F32;
		form = f;
	}
	return form;
}

/* The model of the folder: floats, rows and frequencies as checkpoints have
 * them. */
static enum pare_rc
prepare(struct export *x, const struct model *m, enum form_kind form,
    struct task *task, struct pare_err *err)
{
	struct model *counted = NULL, *roped = NULL, *floats = NULL;
	enum pare_rc rc = fit_renumber(m, &counted, err);

	if (rc == PARE_OK)
		rc = fit_rope(counted, false, &roped, err);
	if (rc == PARE_OK)
		rc = fit_floats(roped, form, FORM_F32, task, &floats, err);
	if (rc == PARE_OK)
		rc = fit_rotation(floats, false, &x->model, err);
	model_unref(counted);
	model_unref(roped);
	model_unref(floats);
	return rc;
}

static enum form_kind
widest_form(const struct model *m)
{
	struct slot_ref r = SLOT_REF_START;
	enum form_kind form = FORM_COUNT;

	while (model_next_slot(m, &r))
		if (model_slot(m, r)->form < form)
			form = model_slot(m, r)->form;
	return form;
}

/* Whether layers share weights as the config's groups say. */
static bool
groups_hold(const struct model *m, const struct arch_layout *l)
{
	for (int y = 0; y < m->nlayers; y++)
		for (int k = 0; k < y; k++)
			for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
				struct slot_ref a = { y, (enum slot)s };
				struct slot_ref b = { k, (enum slot)s };
				char na[256], nb[256];

				if (arch_slot_name(l, a, na, sizeof(na)) &&
				    arch_slot_name(l, b, nb, sizeof(nb)) &&
				    strcmp(na, nb) == 0 &&
				    model_slot(m, a) != model_slot(m, b))
					return false;
			}
	return true;
}

/* Layers that no longer share their weights become groups of their own. */
static enum pare_rc
regroup(struct export *x, json_t *config, struct arch_layout *l,
    struct pare_err *err)
{
	if ((x->model->arch->flags & ARCH_GROUPS) == 0 ||
	    groups_hold(x->model, l))
		return PARE_OK;
	json_object_set_new(config, "inner_group_num", json_integer(1));
	json_object_set_new(config, "num_hidden_groups",
	    json_integer(x->model->nlayers));
	json_object_set_new(config, x->model->arch->keys.layers,
	    json_integer(x->model->nlayers));
	notes_add(&x->notes, "layers no longer share their weights and are "
	    "written one by one (num_hidden_groups)");
	arch_layout_free(l);
	return arch_read_config(config, "config.json", l, err);
}

/* What readers of some versions cannot do. */
static void
note_readers(struct export *x, const json_t *config)
{
	const struct model *m = x->model;
	const json_t *gone = json_object_get(config, "pruned_heads");
	const bool strict = strcmp(m->arch->model_type, "llama") == 0 ||
	    strcmp(m->arch->model_type, "gemma2") == 0;

	if (json_object_size(gone) > 0)
		notes_add(&x->notes, "pruned_heads is understood by "
		    "Transformers 4; pad=on writes zeros for the heads, which "
		    "5 opens too");
	if (strict && m->hp.hidden % m->layer[0].heads != 0)
		notes_add(&x->notes, "Transformers 5 wants hidden_size %lld "
		    "to be a multiple of num_attention_heads %d for %s",
		    (long long)m->hp.hidden, m->layer[0].heads,
		    m->arch->title);
}

static enum pare_rc
write_weights(struct export *x, const struct arch_layout *l,
    struct task *task, struct pare_err *err)
{
	struct hf_joined joined = { .n = 0 };
	enum pare_rc rc = export_weights(x, l, &joined, task, err);

	hf_joined_free(&joined);
	return rc;
}

static enum pare_rc
write_folder(struct export *x, const struct model *m,
    const struct export_ask *ask, json_t *config, struct task *task,
    struct pare_err *err)
{
	struct arch_layout l;
	enum pare_rc rc = arch_read_config(config, "config.json", &l, err);
	char *text;

	if (rc != PARE_OK)
		return rc;
	rc = regroup(x, config, &l, err);
	if (rc == PARE_OK)
		rc = hf_check(x->model, &l, err);
	if (rc == PARE_OK)
		rc = write_weights(x, &l, task, err);
	arch_layout_free(&l);
	/* Fifteen digits give back what a person wrote: 1e-12. */
	text = rc != PARE_OK ? NULL : json_dumps(config, JSON_INDENT(2) |
	    JSON_REAL_PRECISION(15));
	if (text != NULL)
		rc = export_text(x, "config.json", text, err);
	free(text);
	if (rc == PARE_OK)
		rc = export_tokenizer(x, m, ask, err);
	note_readers(x, config);
	return rc;
}

enum pare_rc
export_hf(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err)
{
	const enum form_kind form = ask->want == GGUF_KEEP ? common_form(m) :
	    form_of(ask->want);
	enum pare_rc rc = fit_check(m, !fit_counts_heads(m->arch), err);
	json_t *config;

	if (rc != PARE_OK)
		return err_hint(err, "pad=on fills up with zeros; save keeps "
		    "the model as it is");
	x->lossy = is_lossy(m, form);
	rc = prepare(x, m, form, task, err);
	if (rc != PARE_OK)
		return rc;
	config = hf_config(x->model, widest_form(x->model));
	hf_config_complete(config, x->model);
	rc = write_folder(x, m, ask, config, task, err);
	json_decref(config);
	return rc;
}
