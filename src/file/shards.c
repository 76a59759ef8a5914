/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Weights split over several files, and the index that says which tensor is in
 * which. The names of the files come from the index, so they are checked to be
 * plain names of regular files in the same folder before anything is opened.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/weights.h"

enum { INDEX_MAX = 64 << 20, SHARDS_MAX = 10000, LISTED = 5 };

struct index {
	const char *path;
	char *dir, *base;
	json_t *root, *map;	/* map borrowed from root */
	int n;
	char **shard;		/* sorted, unique */
	struct pare_err *err;
};

static void
index_free(struct index *x)
{
	for (int i = 0; i < x->n; i++)
		free(x->shard[i]);
	free(x->shard);
	free(x->dir);
	free(x->base);
	json_decref(x->root);
}

/* A plain file name: no folder, nothing that hides or escapes. */
static bool
is_plain_name(const char *s)
{
	if (*s == '\0' || strcmp(s, ".") == 0 || strcmp(s, "..") == 0 ||
	    strlen(s) > 255)
		return false;
	for (; *s != '\0'; s++)
		if (*s == '/' || *s == '\\' || (unsigned char)*s < 0x20 ||
		    *s == 0x7f)
			return false;
	return true;
}

static int
compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
sort_unique(char **v, int *n)
{
	int kept = 0;

	qsort(v, (size_t)*n, sizeof(*v), compare_text);
	for (int i = 0; i < *n; i++) {
		if (kept > 0 && strcmp(v[i], v[kept - 1]) == 0)
			free(v[i]);
		else
			v[kept++] = v[i];
	}
	*n = kept;
}

static enum pare_rc
read_map(struct index *x)
{
	const char *tensor, *shard;
	json_t *v;

	x->map = json_object_get(x->root, "weight_map");
	if (!json_is_object(x->map) || json_object_size(x->map) == 0)
		return err_set(x->err, PARE_EFORMAT, "'%s': weight_map is "
		    "missing, empty or not an object", x->path);
	x->shard = xcalloc(json_object_size(x->map), sizeof(*x->shard));
	json_object_foreach(x->map, tensor, v) {
		shard = json_string_value(v);
		if (shard == NULL)
			return err_set(x->err, PARE_EFORMAT, "'%s': "
			    "weight_map: the file of '%.120s' is not a string",
			    x->path, tensor);
		if (!is_plain_name(shard) || strcmp(shard, x->base) == 0)
			return err_set(x->err, PARE_EFORMAT, "'%s': "
			    "weight_map: '%.120s' (of tensor '%.120s') is not "
			    "a plain file name", x->path, shard, tensor);
		x->shard[x->n++] = xstrdup(shard);
	}
	sort_unique(x->shard, &x->n);
	if (x->n > SHARDS_MAX)
		return err_set(x->err, PARE_EFORMAT,
		    "'%s': %d shards; at most %d are read", x->path, x->n,
		    SHARDS_MAX);
	return PARE_OK;
}

/* Names every missing shard at once, so that one look tells what to fetch. */
static enum pare_rc
check_shards(struct index *x)
{
	struct str list = STR_INIT;
	int missing = 0;

	for (int i = 0; i < x->n; i++) {
		char *path = io_join(x->dir, x->shard[i]);

		if (!io_is_file(path)) {
			if (missing++ < LISTED)
				str_addf(&list, "%s%s (%d of %d)",
				    missing == 1 ? "" : ", ", x->shard[i],
				    i + 1, x->n);
		}
		free(path);
	}
	if (missing > 0) {
		err_set(x->err, PARE_EIO, "'%s': %d of %d shards missing: "
		    "%s%s", x->path, missing, x->n, list.s,
		    missing > LISTED ? ", ..." : "");
		err_hint(x->err, "download the missing files into '%s'",
		    x->dir);
	}
	str_free(&list);
	return missing > 0 ? PARE_EIO : PARE_OK;
}

static enum pare_rc
open_shards(struct index *x, struct weights *w)
{
	w->file = xcalloc((size_t)x->n, sizeof(*w->file));
	for (int i = 0; i < x->n; i++) {
		char *path = io_join(x->dir, x->shard[i]);

		w->file[i] = st_open(path, x->err);
		free(path);
		if (w->file[i] == NULL)
			return x->err != NULL ? x->err->rc : PARE_EFORMAT;
		w->nfiles++;
	}
	return weights_index(w, x->err);
}

/* Every tensor of the index must be in the file the index says. */
static enum pare_rc
check_map(struct index *x, const struct weights *w)
{
	const char *tensor;
	json_t *v;

	json_object_foreach(x->map, tensor, v) {
		const struct weight *found = weights_find(w, tensor);
		char *path = io_join(x->dir, json_string_value(v));
		bool there = found != NULL &&
		    strcmp(found->file->path, path) == 0;

		if (!there)
			err_set(x->err, PARE_EFORMAT, "'%s' says that tensor "
			    "'%.120s' is in '%s', but it is not", x->path,
			    tensor, path);
		free(path);
		if (!there)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

static void
note_differences(const struct index *x, const struct weights *w,
    struct notes *notes)
{
	const json_t *size = json_object_get(json_object_get(x->root,
	    "metadata"), "total_size");
	int64_t total = 0;
	int extra = 0;
	const char *first = NULL;

	for (int i = 0; i < w->n; i++) {
		total += w->w[i].e->end - w->w[i].e->begin;
		if (json_object_get(x->map, w->w[i].e->name) == NULL &&
		    extra++ == 0)
			first = w->w[i].e->name;
	}
	if (extra > 0)
		notes_add(notes, "%d tensor%s not in %s, first '%.120s'",
		    extra, extra == 1 ? " is" : "s are", x->base, first);
	if (json_is_integer(size) && json_integer_value(size) != total)
		notes_add(notes, "%s says total_size %lld; the shards hold "
		    "%lld bytes", x->base,
		    (long long)json_integer_value(size), (long long)total);
}

static enum pare_rc
open_index(struct index *x, struct weights *w, struct notes *notes)
{
	enum pare_rc rc;

	x->root = json_read(x->path, INDEX_MAX, JSON_UNIQUE, x->err);
	if (x->root == NULL)
		return x->err != NULL ? x->err->rc : PARE_EFORMAT;
	rc = read_map(x);
	if (rc == PARE_OK)
		rc = check_shards(x);
	if (rc == PARE_OK)
		rc = open_shards(x, w);
	if (rc == PARE_OK)
		rc = check_map(x, w);
	if (rc == PARE_OK)
		note_differences(x, w, notes);
	return rc;
}

struct weights *
weights_open_index(const char *path, struct notes *notes,
    struct pare_err *err)
{
	struct weights *w = xcalloc(1, sizeof(*w));
	const char *slash = strrchr(path, '/');
	struct index x = { .path = path, .err = err };
	enum pare_rc rc;

	w->where = xstrdup(path);
	x.base = io_base(path);
	x.dir = slash == NULL ? xstrdup(".") :
	    xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
	rc = open_index(&x, w, notes);
	index_free(&x);
	if (rc == PARE_OK)
		return w;
	weights_free(w);
	return NULL;
}
