/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * weights: the tensors of one model, by name, from one file or from shards.
 */
#ifndef PARE_FILE_WEIGHTS_H
#define PARE_FILE_WEIGHTS_H

#include "file/file.h"
#include "file/safetensors.h"

struct weight {
	const struct st_entry *e;
	const struct st_file *file;
	bool used;
	struct tensor *t;	/* made on first use, owned; NULL before */
};

struct weights {
	char *where;		/* the file, or the index, for messages */
	int nfiles;
	struct st_file **file;	/* owned */
	int n;
	struct weight *w;	/* sorted by name */
	int converted;		/* tensors that were F64 */
};

/* One .safetensors file. NULL with *err. */
struct weights *weights_open(const char *path, struct pare_err *err);
/* A *.safetensors.index.json and the shards it names. */
struct weights *weights_open_index(const char *path, struct notes *notes,
    struct pare_err *err);
/* Reads the one file's bundle by its index, see st_unbundle(). Before any tensor
 * is made. On error w is only good for freeing. */
enum pare_rc weights_unbundle(struct weights *w, const char *name,
    const json_t *index, struct pare_err *err);
void weights_free(struct weights *w);	/* NULL is fine */

/* NULL when there is none; does not mark it as used. */
struct weight *weights_find(const struct weights *w, const char *name);

/*
 * The tensor of x as float: F32, F16 and BF16 are views of the file, F64 is
 * converted, all else refused. Borrowed; NULL with *err. Marks x as used.
 */
struct tensor *weights_tensor(struct weights *w, struct weight *x,
    struct pare_err *err);

/*
 * A new tensor of outputs [first, first + n) of x: rows of a matrix, columns of
 * one that is turned (stored (in, out)), values of a vector. Turning copies.
 * The caller checked the shape. NULL with *err. Marks x as used.
 */
struct tensor *weights_cut(struct weights *w, struct weight *x, bool turned,
    int64_t first, int64_t n, struct pare_err *err);

/* "[768, 3072]" */
void weights_shape(const struct st_entry *e, char *out, size_t n);

/* For weights.c and shards.c: makes the sorted list from w->file[]. A name in
 * two files is an error. */
enum pare_rc weights_index(struct weights *w, struct pare_err *err);

#endif
