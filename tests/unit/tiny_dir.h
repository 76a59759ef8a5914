/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tiny_dir: Hugging Face directories of tiny models, for tests of reading and
 * writing. tiny_dir_new() describes one, the test changes what it wants to see
 * refused, tiny_dir_write() writes it. Weights follow from their names, so two
 * models of one kind are equal.
 *
 * The shortest use: dir = tiny_model_dir(root, "bert",
 * "ForSequenceClassification", "F32"); free(dir).
 */
#ifndef PARE_TESTS_TINY_DIR_H
#define PARE_TESTS_TINY_DIR_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "file/safetensors.h"
#include "model/arch.h"

#define TINY_UNUSED __attribute__((unused))

struct tiny_weight {
	char *name;
	char dtype[8];
	int ndim;
	int64_t dim[ST_RANK_MAX];
	unsigned char *data;
	int64_t bytes;
};

struct tiny_dir {
	json_t *config;
	int n;
	struct tiny_weight w[256];
	bool no_vocab;
};

/* ---- folders --------------------------------------------------------- */

/* A new folder for one test; free and remove with tiny_root_free(). */
TINY_UNUSED static char *
tiny_root(void)
{
	const char *t = getenv("TMPDIR");
	char *path = str_format("%s/pare-test-XXXXXX", t != NULL ? t : "/tmp");

	assert_non_null(mkdtemp(path));
	return path;
}

TINY_UNUSED static void
tiny_remove(const char *path)
{
	struct stat st;
	struct dirent *e;
	DIR *d;

	if (lstat(path, &st) != 0)
		return;
	if (!S_ISDIR(st.st_mode)) {
		unlink(path);
		return;
	}
	chmod(path, 0700);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		char *sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		sub = io_join(path, e->d_name);
		tiny_remove(sub);
		free(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

TINY_UNUSED static void
tiny_root_free(char *path)
{
	tiny_remove(path);
	free(path);
}

/* dir/name with n bytes of data. */
TINY_UNUSED static void
tiny_put(const char *dir, const char *name, const void *data, size_t n)
{
	char *path = io_join(dir, name);
	struct pare_err err;

	if (io_write(path, data, n, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	free(path);
}

TINY_UNUSED static void
tiny_put_text(const char *dir, const char *name, const char *text)
{
	tiny_put(dir, name, text, strlen(text));
}

/* ---- weights --------------------------------------------------------- */

static int64_t
tiny_dtype_size(const char *dtype)
{
	if (strcmp(dtype, "F64") == 0 || strcmp(dtype, "I64") == 0)
		return 8;
	if (strcmp(dtype, "F32") == 0 || strcmp(dtype, "I32") == 0)
		return 4;
	if (strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0)
		return 2;
	return 1;
}

static void
tiny_store(unsigned char *p, const char *dtype, float v)
{
	uint16_t h;
	double d = (double)v;

	if (strcmp(dtype, "F32") == 0) {
		memcpy(p, &v, 4);
	} else if (strcmp(dtype, "F64") == 0) {
		memcpy(p, &d, 8);
	} else if (strcmp(dtype, "F16") == 0) {
		h = half_from_float(v);
		memcpy(p, &h, 2);
	} else if (strcmp(dtype, "BF16") == 0) {
		h = bfloat_from_float(v);
		memcpy(p, &h, 2);
	}
}

TINY_UNUSED static struct tiny_weight *
tiny_add(struct tiny_dir *t, const char *name, const char *dtype, int ndim,
    int64_t rows, int64_t cols)
{
	struct tiny_weight *w = &t->w[t->n++];
	bool norm = strstr(name, "orm") != NULL &&
	    str_has_suffix(name, ".weight");
	int64_t n = (ndim == 2 ? rows : 1) * cols, size;
	struct rng rng;

	assert_true(t->n < 256);
	memset(w, 0, sizeof(*w));
	w->name = xstrdup(name);
	snprintf(w->dtype, sizeof(w->dtype), "%s", dtype);
	w->ndim = ndim;
	w->dim[0] = ndim == 2 ? rows : cols;
	w->dim[1] = cols;
	size = tiny_dtype_size(dtype);
	w->bytes = n * size;
	w->data = xcalloc((size_t)w->bytes, 1);
	rng_seed(&rng, hash_text(name, 7));
	for (int64_t i = 0; i < n; i++)
		tiny_store(w->data + i * size, dtype,
		    (norm ? 1.0f : 0.0f) + 0.1f * rng_normal(&rng));
	return w;
}

TINY_UNUSED static struct tiny_weight *
tiny_find(struct tiny_dir *t, const char *name)
{
	for (int i = 0; i < t->n; i++)
		if (strcmp(t->w[i].name, name) == 0)
			return &t->w[i];
	return NULL;
}

TINY_UNUSED static void
tiny_drop(struct tiny_dir *t, const char *name)
{
	struct tiny_weight *w = tiny_find(t, name);

	assert_non_null(w);
	free(w->name);
	free(w->data);
	*w = t->w[--t->n];
}

TINY_UNUSED static void
tiny_rename(struct tiny_dir *t, const char *from, const char *to)
{
	struct tiny_weight *w = tiny_find(t, from);

	assert_non_null(w);
	free(w->name);
	w->name = xstrdup(to);
}

/* ---- models ---------------------------------------------------------- */

static json_t *
tiny_config(const char *type, const char *suffix)
{
	const struct arch *a = arch_find(type);
	const struct arch_keys *k;
	json_t *c = json_object();
	char *class;

	assert_non_null(a);
	k = &a->keys;
	class = str_format("%s%s", a->class_stem, suffix != NULL ? suffix :
	    "Model");
	json_object_set_new(c, "architectures", json_pack("[s]", class));
	free(class);
	json_object_set_new(c, "model_type", json_string(type));
	json_object_set_new(c, k->hidden, json_integer(12));
	json_object_set_new(c, k->layers, json_integer(3));
	json_object_set_new(c, k->heads, json_integer(3));
	json_object_set_new(c, k->ffn, json_integer(20));
	json_object_set_new(c, k->vocab, json_integer(30));
	json_object_set_new(c, k->positions, json_integer(16));
	if (k->types != NULL)
		json_object_set_new(c, k->types, json_integer(2));
	if (k->embed != NULL)
		json_object_set_new(c, k->embed, json_integer(8));
	if (k->eps != NULL)
		json_object_set_new(c, k->eps, json_real(1e-12));
	json_object_set_new(c, k->act, json_string("gelu"));
	json_object_set_new(c, "id2label", json_pack("{s:s,s:s,s:s}", "0",
	    "bad", "1", "fair", "2", "good"));
	return c;
}

/*
 * A model of 3 layers of 3 heads, 12 wide (embedding 8 where it may differ),
 * FFN 20, vocabulary 30, 16 positions, 3 labels. suffix as "ForMaskedLM"; NULL:
 * the body alone.
 */
TINY_UNUSED static struct tiny_dir *
tiny_dir_new(const char *type, const char *suffix, const char *dtype)
{
	struct tiny_dir *t = xcalloc(1, sizeof(*t));
	struct slot_ref r = SLOT_REF_START;
	struct arch_layout l;
	struct model *ghost;
	struct pare_err err;

	t->config = tiny_config(type, suffix);
	if (arch_read_config(t->config, "config", &l, &err) != PARE_OK ||
	    arch_ghost_model(&l, NULL, &ghost, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	while (model_next_slot(ghost, &r)) {
		const struct tensor *g = model_slot(ghost, r);
		struct slot_ref owner = model_owner(ghost, r);
		char name[256];

		if (owner.layer != r.layer || owner.slot != r.slot)
			continue;
		assert_true(arch_slot_name(&l, r, name, sizeof(name)));
		tiny_add(t, name, dtype, g->ndim, g->rows, g->cols);
	}
	model_unref(ghost);
	arch_layout_free(&l);
	return t;
}

TINY_UNUSED static void
tiny_dir_free(struct tiny_dir *t)
{
	for (int i = 0; i < t->n; i++) {
		free(t->w[i].name);
		free(t->w[i].data);
	}
	json_decref(t->config);
	free(t);
}

/* All weights from index first on, step apart, into one file. */
TINY_UNUSED static void
tiny_write_weights(const struct tiny_dir *t, const char *dir,
    const char *name, int first, int step)
{
	struct st_writer *w = st_writer_new();
	char *path = io_join(dir, name);
	struct pare_err err;

	for (int i = first; i < t->n; i += step)
		st_writer_add(w, t->w[i].name, t->w[i].dtype, t->w[i].ndim,
		    t->w[i].dim, t->w[i].data, t->w[i].bytes);
	if (st_writer_write(w, path, NULL, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	st_writer_free(w);
	free(path);
}

TINY_UNUSED static void
tiny_write_config(const struct tiny_dir *t, const char *dir)
{
	char *text = json_dumps(t->config, JSON_INDENT(2));

	tiny_put_text(dir, "config.json", text);
	free(text);
}

/* config.json, model.safetensors and a vocabulary of WordPiece. */
TINY_UNUSED static void
tiny_dir_write(const struct tiny_dir *t, const char *dir)
{
	struct str vocab = STR_INIT;

	assert_int_equal(io_make_dir(dir, NULL), PARE_OK);
	tiny_write_config(t, dir);
	tiny_write_weights(t, dir, "model.safetensors", 0, 1);
	if (t->no_vocab)
		return;
	str_add(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (int i = 5; i < 30; i++)
		str_addf(&vocab, "%c\n", 'a' + i - 5);
	tiny_put(dir, "vocab.txt", vocab.s, vocab.n);
	str_free(&vocab);
}

/* All at once, as root/TYPE; malloc'ed. */
TINY_UNUSED static char *
tiny_model_dir(const char *root, const char *type, const char *suffix,
    const char *dtype)
{
	struct tiny_dir *t = tiny_dir_new(type, suffix, dtype);
	char *dir = io_join(root, type);

	tiny_dir_write(t, dir);
	tiny_dir_free(t);
	return dir;
}

#endif
