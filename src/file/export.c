/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/export.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/export_private.h"
#include "file/fit.h"
#include "file/saved.h"
#include "file/target.h"

#define WEIGHTS "model.safetensors"

const char *const export_formats[] = { [EXPORT_HF] = "hf",
	[EXPORT_GGUF] = "gguf", [EXPORT_GPTQ] = "gptq",
	[EXPORT_FORMATS] = NULL };

/* ---- what the formats share ------------------------------------------ */

void
export_count(struct export *x, const char *type, int64_t bytes)
{
	int i = 0;

	while (i < x->nkinds && strcmp(x->kind[i].name, type) != 0)
		i++;
	if (i == EXPORT_KINDS)
		i--;
	else if (i == x->nkinds)
		snprintf(x->kind[x->nkinds++].name, sizeof(x->kind[i].name),
		    "%s", type);
	x->kind[i].tensors++;
	x->kind[i].bytes += bytes;
	x->bytes += bytes;
}

enum pare_rc
export_text(struct export *x, const char *name, const char *text,
    struct pare_err *err)
{
	return stage_write(x->stage, name, text, strlen(text), err);
}

enum pare_rc
export_tokenizer(struct export *x, const struct model *m,
    const struct export_ask *ask, struct pare_err *err)
{
	return target_put_tokenizer(m, x->stage, ask->path, ask->file,
	    ask->nfiles, err);
}

enum pare_rc
export_weights(struct export *x, const struct arch_layout *l,
    struct hf_joined *joined, struct task *task, struct pare_err *err)
{
	struct st_writer *w = st_writer_new();
	char *path = stage_path(x->stage, WEIGHTS);
	enum pare_rc rc = hf_add_tensors(x->model, l, w, joined, err);

	for (int i = 0; i < st_writer_count(w); i++) {
		const char *dtype;
		int64_t bytes = st_writer_item(w, i, &dtype);

		export_count(x, dtype, bytes);
	}
	if (rc == PARE_OK)
		rc = st_writer_write(w, path, NULL, task, err);
	st_writer_free(w);
	free(path);
	return rc;
}

/* ---- the place ------------------------------------------------------- */

static char *
folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return xstrdup(".");
	return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static enum pare_rc
check_file(const struct model *m, const char *path, bool force,
    struct pare_err *err)
{
	struct stat st;

	if (!str_has_suffix(path, ".gguf") || io_is_dir(path)) {
		err_set(err, PARE_EUSER, "'%s' is no name of a GGUF file",
		    path);
		return err_hint(err, "name a file that ends in .gguf");
	}
	if (stat(path, &st) != 0 || force)
		return PARE_OK;
	err_set(err, PARE_EUSER, target_is_source(m, path) ?
	    "'%s' is where this model's own weights are read from" :
	    "'%s' is there already", path);
	return err_hint(err, "choose another name, or say force=on");
}

static enum pare_rc
begin_file(struct export *x, const struct model *m,
    const struct export_ask *ask, struct pare_err *err)
{
	enum pare_rc rc = check_file(m, ask->path, ask->force, err);
	char *dir;

	if (rc != PARE_OK)
		return rc;
	dir = folder_of(ask->path);
	x->stage = stage_begin(dir, err);
	free(dir);
	if (x->stage == NULL)
		return PARE_EWRITE;
	x->base = io_base(ask->path);
	x->path = stage_path(x->stage, x->base);
	return PARE_OK;
}

static enum pare_rc
begin_folder(struct export *x, const struct model *m,
    const struct export_ask *ask, struct pare_err *err)
{
	enum pare_rc rc = target_check(m, ask->path, ask->force, err);

	if (rc != PARE_OK)
		return rc;
	x->stage = stage_begin(ask->path, err);
	if (x->stage == NULL)
		return PARE_EWRITE;
	x->path = xstrdup(stage_folder(x->stage));
	/* What pare saved there before would be read in place of this. */
	stage_remove(x->stage, SAVED_NAME);
	stage_remove(x->stage, "recipe.pare");
	return PARE_OK;
}

/* ---- the whole ------------------------------------------------------- */

static void
export_free(struct export *x)
{
	free(x->path);
	free(x->base);
	model_unref(x->model);
	notes_free(&x->notes);
	free(x);
}

void
export_abort(struct export *x)
{
	if (x == NULL)
		return;
	stage_abort(x->stage);
	export_free(x);
}

enum pare_rc
export_commit(struct export *x, struct pare_err *err)
{
	enum pare_rc rc = stage_commit(x->stage, err);

	export_free(x);
	return rc;
}

enum pare_rc
export_body(const struct model *m, struct model **out, struct pare_err *err)
{
	return fit_body(m, out, err);
}

/* m without its head or with zeros, as asked; a new reference. */
static enum pare_rc
reshape(struct export *x, const struct model *m, const struct export_ask *ask,
    struct task *task, struct model **out, struct pare_err *err)
{
	struct model *body = model_ref(m);
	enum pare_rc rc = PARE_OK;

	if (ask->body && m->hp.head != HEAD_NONE) {
		model_unref(body);
		body = NULL;
		rc = fit_body(m, &body, err);
	}
	if (rc == PARE_OK && ask->pad && fit_check(body, false, NULL) !=
	    PARE_OK) {
		rc = fit_pad(body, task, out, err);
		x->padded = rc == PARE_OK;
		model_unref(body);
		return rc;
	}
	*out = body;
	return rc;
}

static enum pare_rc
write_format(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err)
{
	switch (ask->format) {
	case EXPORT_GGUF:
		return export_gguf(x, m, ask, task, err);
	case EXPORT_GPTQ:
		return export_gptq(x, m, ask, task, err);
	default:
		return export_hf(x, m, ask, task, err);
	}
}

struct export *
export_begin(const struct model *m, const struct export_ask *ask,
    struct task *task, struct pare_err *err)
{
	struct export *x = xcalloc(1, sizeof(*x));
	struct model *shaped = NULL;
	enum pare_rc rc;

	if (m->ghost) {
		err_set(err, PARE_EUSER, "this model has no weights to "
		    "export: it was opened from a config alone");
		free(x);
		return NULL;
	}
	rc = ask->format == EXPORT_GGUF ? begin_file(x, m, ask, err) :
	    begin_folder(x, m, ask, err);
	if (rc == PARE_OK)
		rc = reshape(x, m, ask, task, &shaped, err);
	if (rc == PARE_OK)
		rc = write_format(x, shaped, ask, task, err);
	model_unref(shaped);
	if (rc == PARE_OK)
		return x;
	export_abort(x);
	return NULL;
}

/* ---- what came back -------------------------------------------------- */

/* Vectors may differ in their last bits: 1 was added to them and taken away,
 * or an epsilon rounded. */
static bool
same_tensor(const struct tensor *a, const struct tensor *b)
{
	float *x, *y;
	bool same = true;

	if (tensor_hash(a) == tensor_hash(b))
		return true;
	if (a->ndim != 1 || b->ndim != 1 || a->cols != b->cols)
		return false;
	x = xmalloc((size_t)a->cols * sizeof(*x));
	y = xmalloc((size_t)a->cols * sizeof(*y));
	tensor_decode(a, 0, 1, x);
	tensor_decode(b, 0, 1, y);
	for (int64_t i = 0; i < a->cols; i++)
		same = same && fabsf(x[i] - y[i]) <= 2e-7f *
		    (1.0f + fabsf(x[i]));
	free(x);
	free(y);
	return same;
}

enum pare_rc
export_compare(const struct export *x, const struct model *back,
    struct pare_err *err)
{
	struct slot_ref r = SLOT_REF_START;

	if (back->nlayers != x->model->nlayers)
		return err_set(err, PARE_EWRITE, "what was written reads "
		    "back with %d layers in place of %d; nothing is left of "
		    "it", back->nlayers, x->model->nlayers);
	while (model_next_slot(x->model, &r)) {
		const struct tensor *b = model_slot(back, r);
		char path[96];

		if (b != NULL && same_tensor(model_slot(x->model, r), b))
			continue;
		model_slot_path(r, path, sizeof(path));
		return err_set(err, PARE_EWRITE, "%s reads back as other "
		    "values than were written; nothing is left of it", path);
	}
	return PARE_OK;
}
