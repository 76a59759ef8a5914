/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opens whatever MODEL names: finds out what it is, then hands it to the reader
 * of that kind. What cannot be read is refused by name, with what to do.
 */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "file/gguf_model.h"
#include "file/gptq.h"
#include "file/hf.h"
#include "file/saved.h"
#include "file/weights.h"
#include "model/arch.h"

#define SINGLE "model.safetensors"
#define INDEX SINGLE ".index.json"

struct opening {
	const char *path;	/* as given */
	const struct open_options *o;
	struct notes *notes;
	struct pare_err *err;
	struct model **out;
};

void
notes_add(struct notes *w, const char *fmt, ...)
{
	struct str b = STR_INIT;
	char text[1024];
	va_list ap;

	if (w == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *s = text; *s != '\0'; s++)
		str_addc(&b, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' :
		    *s);
	w->text = xrealloc(w->text, (size_t)(w->n + 1) * sizeof(*w->text));
	w->text[w->n++] = str_detach(&b);
}

void
notes_free(struct notes *w)
{
	for (int i = 0; i < w->n; i++)
		free(w->text[i]);
	free(w->text);
	w->text = NULL;
	w->n = 0;
}

/* The folder of a file; malloc'ed. */
static char *
dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return xstrdup(".");
	return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool
exists(const char *dir, const char *name)
{
	char *path = io_join(dir, name);
	struct stat st;
	bool there = lstat(path, &st) == 0;

	free(path);
	return there;
}

/* ---- what is opened by a config -------------------------------------- */

static enum pare_rc
open_ghost(struct opening *p, struct arch_layout *l, json_t *config,
    const char *dir)
{
	struct model *ghost;
	enum pare_rc rc;

	rc = arch_ghost_model(l, config_origin(p->path, dir, config,
	    l->hp.labels, p->notes), &ghost, p->err);
	if (rc != PARE_OK)
		return rc;
	if (p->o == NULL || !p->o->random) {
		*p->out = ghost;
		return PARE_OK;
	}
	rc = file_random_model(ghost, p->o->seed, p->out, p->err);
	model_unref(ghost);
	return rc;
}

/* A config with weights w (consumed), or without when w is NULL. */
static enum pare_rc
open_with_config(struct opening *p, const char *config_path, const char *dir,
    struct weights *w)
{
	struct arch_layout l;
	json_t *config = config_read(config_path, p->notes, p->err);
	enum pare_rc rc = PARE_EFORMAT;

	if (config == NULL) {
		weights_free(w);
		return p->err->rc;
	}
	rc = config_check(config, config_path, p->notes, p->err);
	if (rc == PARE_OK && w != NULL && gptq_is(config))
		rc = gptq_unpack(w, config, config_path, p->notes, p->err);
	if (rc == PARE_OK)
		rc = arch_read_config(config, config_path, &l, p->err);
	if (rc == PARE_OK) {
		rc = w == NULL ? open_ghost(p, &l, config, dir) :
		    hf_build(&l, config, config_path, w, p->path, dir, p->out,
		    p->notes, p->err);
		arch_layout_free(&l);
	}
	json_decref(config);
	weights_free(w);
	return rc;
}

/* ---- directories ----------------------------------------------------- */

/* Files that are a model, but not one pare reads: ending, what, what to do. */
static const struct other {
	const char *suffix, *what, *hint;
} others[] = {
	{ ".gguf", "a GGUF file", "name that file" },
	{ "pytorch_model.bin.index.json", "PyTorch weights",
	    "convert them to safetensors (transformers: "
	    "save_pretrained(dir, safe_serialization=True))" },
	{ ".bin", "PyTorch weights (a pickle, which is never run)",
	    "convert them to safetensors (transformers: "
	    "save_pretrained(dir, safe_serialization=True))" },
	{ ".pt", "PyTorch weights (a pickle, which is never run)",
	    "convert them to safetensors" },
	{ ".pth", "PyTorch weights (a pickle, which is never run)",
	    "convert them to safetensors" },
	{ ".ckpt", "a checkpoint with pickled weights, which are never run",
	    "convert it to safetensors" },
	{ ".h5", "TensorFlow weights", "convert them to safetensors" },
	{ ".msgpack", "Flax weights", "convert them to safetensors" },
	{ ".onnx", "an ONNX file", "open the model it was made from" },
	{ NULL, NULL, NULL }
};

static const struct other *
find_other(const char *name)
{
	for (const struct other *t = others; t->suffix != NULL; t++)
		if (str_has_suffix(name, t->suffix))
			return t;
	return NULL;
}

/* The first name in dir that looks like weights; malloc'ed, NULL when none. The
 * smallest in byte order, so that the answer does not depend on the folder. */
static char *
find_weights_name(const char *dir, bool *safetensors)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char *found = NULL;

	*safetensors = false;
	while (d != NULL && (e = readdir(d)) != NULL) {
		bool safe = str_has_suffix(e->d_name, ".safetensors");
		bool other = find_other(e->d_name) != NULL &&
		    strcmp(e->d_name, "training_args.bin") != 0;

		if ((!safe && !other) || (*safetensors && !safe))
			continue;
		if (found != NULL && safe == *safetensors &&
		    strcmp(e->d_name, found) >= 0)
			continue;
		free(found);
		found = xstrdup(e->d_name);
		*safetensors = safe;
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static enum pare_rc
no_config_error(struct opening *p, const char *dir)
{
	bool safe;
	char *found = find_weights_name(dir, &safe);

	err_set(p->err, PARE_EIO, "'%s' has no config.json%s%s%s", dir,
	    found != NULL ? " (it has " : "", found != NULL ? found : "",
	    found != NULL ? ")" : "");
	if (found != NULL && !safe)
		err_hint(p->err, "%s", find_other(found)->hint);
	else
		err_hint(p->err, "a model's folder holds config.json and "
		    SINGLE);
	free(found);
	return PARE_EIO;
}

/* A folder with a config but no weights that transformers would look for. */
static enum pare_rc
open_weightless(struct opening *p, const char *dir, const char *config_path)
{
	bool safe;
	char *found = find_weights_name(dir, &safe);
	enum pare_rc rc;

	if (found == NULL) {
		notes_add(p->notes, "'%s' holds no weights; opened for sizes "
		    "only", dir);
		return open_with_config(p, config_path, dir, NULL);
	}
	if (safe) {
		err_set(p->err, PARE_EIO, "'%s' has no " SINGLE " but '%s'",
		    dir, found);
		rc = err_hint(p->err, "name that file: %s/%s", dir, found);
	} else {
		const struct other *t = find_other(found);

		err_set(p->err, PARE_EFORMAT, "'%s' has its weights in '%s' "
		    "only: %s", dir, found, t->what);
		rc = err_hint(p->err, "%s", t->hint);
	}
	free(found);
	return rc;
}

static enum pare_rc
open_hf_dir(struct opening *p, const char *dir, const char *config_path)
{
	bool single = exists(dir, SINGLE), index = exists(dir, INDEX);
	struct weights *w;
	char *path;

	if (p->o != NULL && p->o->random)
		return open_with_config(p, config_path, dir, NULL);
	if (!single && !index)
		return open_weightless(p, dir, config_path);
	if (single && index)
		notes_add(p->notes, "'%s' has both " SINGLE " and an index of "
		    "shards; the single file is used", dir);
	path = io_join(dir, single ? SINGLE : INDEX);
	w = single ? weights_open(path, p->err) :
	    weights_open_index(path, p->notes, p->err);
	free(path);
	if (w == NULL)
		return p->err->rc;
	return open_with_config(p, config_path, dir, w);
}

static enum pare_rc
open_dir(struct opening *p, const char *dir)
{
	char *config_path = io_join(dir, "config.json");
	bool random = p->o != NULL && p->o->random;
	enum pare_rc rc;

	if (exists(dir, SAVED_NAME) && !random)
		rc = saved_open(dir, p->path, p->out, p->notes, p->err);
	else if (!exists(dir, "config.json"))
		rc = no_config_error(p, dir);
	else
		rc = open_hf_dir(p, dir, config_path);
	free(config_path);
	return rc;
}

/* ---- files ----------------------------------------------------------- */

static enum pare_rc
open_safetensors(struct opening *p)
{
	char *dir = dir_of(p->path), *base = io_base(p->path);
	char *config_path = io_join(dir, "config.json");
	struct weights *w;
	enum pare_rc rc;

	if (strcmp(base, SINGLE) == 0 && exists(dir, SAVED_NAME)) {
		rc = saved_open(dir, p->path, p->out, p->notes, p->err);
	} else if ((w = weights_open(p->path, p->err)) == NULL) {
		rc = p->err->rc;
	} else if (!exists(dir, "config.json")) {
		weights_free(w);
		err_set(p->err, PARE_EIO, "'%s' has no config.json beside it",
		    p->path);
		rc = err_hint(p->err, "put the model's config.json into '%s'",
		    dir);
	} else {
		rc = open_with_config(p, config_path, dir, w);
	}
	free(config_path);
	free(base);
	free(dir);
	return rc;
}

static enum pare_rc
open_json(struct opening *p)
{
	char *dir = dir_of(p->path), *base = io_base(p->path);
	char *config_path = io_join(dir, "config.json");
	struct weights *w;
	enum pare_rc rc;

	if (strcmp(base, SAVED_NAME) == 0) {
		rc = open_dir(p, dir);
	} else if (str_has_suffix(base, ".safetensors.index.json")) {
		w = weights_open_index(p->path, p->notes, p->err);
		rc = w == NULL ? p->err->rc :
		    open_with_config(p, config_path, dir, w);
	} else {
		rc = open_with_config(p, p->path, dir, NULL);
	}
	free(config_path);
	free(base);
	free(dir);
	return rc;
}

static enum pare_rc
open_file(struct opening *p)
{
	const struct other *t = find_other(p->path);

	if (str_has_suffix(p->path, ".safetensors"))
		return open_safetensors(p);
	if (str_has_suffix(p->path, ".gguf"))
		return gguf_open_model(p->path, p->out, p->notes, p->err);
	if (t != NULL) {
		err_set(p->err, PARE_EFORMAT, "'%s' is %s", p->path, t->what);
		return err_hint(p->err, "%s", t->hint);
	}
	if (str_has_suffix(p->path, ".json"))
		return open_json(p);
	err_set(p->err, PARE_EFORMAT, "'%s' is no model: expected a folder, "
	    "a .safetensors file or a config.json", p->path);
	return err_hint(p->err, "name the folder that holds config.json");
}

static enum pare_rc
open_any(struct opening *p)
{
	struct stat st;

	if (stat(p->path, &st) != 0) {
		err_set(p->err, PARE_EIO, "cannot open '%s': %s", p->path,
		    strerror(errno));
		return err_hint(p->err, "give a folder with config.json, a "
		    ".safetensors file or a config.json");
	}
	if (S_ISDIR(st.st_mode))
		return open_dir(p, p->path);
	if (!S_ISREG(st.st_mode))
		return err_set(p->err, PARE_EIO,
		    "'%s' is not a regular file or folder", p->path);
	return open_file(p);
}

enum pare_rc
file_open_model(const char *path, const struct open_options *o,
    struct model **out, struct notes *notes, struct pare_err *err)
{
	struct pare_err local;
	struct opening p = { path, o, notes, err != NULL ? err : &local,
		out };
	struct model *m = NULL;
	enum pare_rc rc;

	p.out = &m;
	rc = open_any(&p);
	if (rc == PARE_OK)
		*out = m;
	return rc;
}
