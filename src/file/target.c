/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/target.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/map.h"
#include "file/saved.h"

#define WEIGHTS "model.safetensors"
#define RECIPE "recipe.pare"

enum { TOKENIZER_MAX = 256 << 20 };

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

bool
target_is_source(const struct model *m, const char *path)
{
	struct slot_ref r = SLOT_REF_START;
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	while (model_next_slot(m, &r))
		if (maps_from(model_slot(m, r), &st))
			return true;
	return false;
}

static bool
is_source(const struct model *m, const char *dir)
{
	char *path = io_join(dir, WEIGHTS);
	bool source = target_is_source(m, dir) || target_is_source(m, path);

	free(path);
	return source;
}

enum pare_rc
target_check(const struct model *m, const char *dir, bool force,
    struct pare_err *err)
{
	char *foreign, *description;
	bool described;
	int entries;
	struct stat st;

	if (stat(dir, &st) != 0)
		return PARE_OK;
	if (!S_ISDIR(st.st_mode))
		return err_set(err, PARE_EWRITE,
		    "cannot save into '%s': it is not a folder", dir);
	if (force)
		return PARE_OK;
	if (is_source(m, dir)) {
		err_set(err, PARE_EUSER, "'%s' is where this model's own "
		    "weights are read from", dir);
		return err_hint(err,
		    "choose another folder, or say force=on");
	}
	foreign = find_foreign(dir, &entries);
	description = io_join(dir, SAVED_NAME);
	described = io_is_file(description);
	free(description);
	if (foreign != NULL)
		err_set(err, PARE_EUSER, "'%s' holds other files ('%s')",
		    dir, foreign);
	else if (entries > 0 && !described)
		err_set(err, PARE_EUSER,
		    "'%s' holds files that pare did not save", dir);
	else
		return PARE_OK;
	free(foreign);
	return err_hint(err,
	    "choose a new or empty folder, or say force=on");
}

static enum pare_rc
copy_tokenizer(const struct model *m, struct stage *g,
    const char *target, struct pare_err *err)
{
	const char *dir = m->origin != NULL ? m->origin->dir : NULL;
	enum pare_rc rc = PARE_OK;
	struct stat a, b;

	if (dir == NULL || (stat(dir, &a) == 0 && stat(target, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino))
		return PARE_OK;
	for (int i = 0; tokenizer_files[i] != NULL && rc == PARE_OK; i++) {
		char *from = io_join(dir, tokenizer_files[i]), *data;
		size_t n;

		if (io_is_file(from)) {
			rc = io_read(from, TOKENIZER_MAX, &data, &n, err);
			if (rc == PARE_OK) {
				rc = stage_write(g, tokenizer_files[i], data,
				    n, err);
				free(data);
			}
		}
		free(from);
	}
	return rc;
}

enum pare_rc
target_put_tokenizer(const struct model *m, struct stage *g,
    const char *target, const struct export_file *file, int nfiles,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	/* The origin's would give ids that are gone. */
	if (nfiles == 0 && m->tokens != NULL)
		return PARE_OK;
	if (nfiles == 0)
		return copy_tokenizer(m, g, target, err);
	for (int i = 0; i < nfiles && rc == PARE_OK; i++)
		rc = stage_write(g, file[i].name, file[i].data, file[i].n,
		    err);
	return rc;
}
