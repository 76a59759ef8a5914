/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * safetensors: the container. Every rule of the format's reference reader is
 * checked, and duplicates, control characters in names and ranks over 8 are
 * refused besides.
 */
#ifndef PARE_FILE_SAFETENSORS_H
#define PARE_FILE_SAFETENSORS_H

#include <jansson.h>

#include "tensor/tensor.h"

enum { ST_RANK_MAX = 8 };

struct st_entry {
	char *name;
	const char *dtype;	/* static: "F32" */
	int ndim;
	int64_t dim[ST_RANK_MAX];
	int64_t begin, end;	/* inside the data section */
	int type;		/* of a GGUF file: its number + 1; else 0 */
	bool minus_one;		/* of a GGUF file: the values less 1 are meant */
};

struct st_file {
	char *path;
	struct blob *blob;	/* the whole mapped file, read-only */
	const unsigned char *data;	/* the data section */
	int64_t data_size;
	int n;
	struct st_entry *entry;	/* sorted by begin */
	json_t *metadata;	/* strings; NULL */
};

/* Maps path and reads its header. NULL with PARE_EIO or PARE_EFORMAT. */
struct st_file *st_open(const char *path, struct pare_err *err);
/* The same from memory, for tests and fuzzing: data is not kept. */
enum pare_rc st_check(const void *data, size_t n, const char *where,
    struct pare_err *err);
void st_close(struct st_file *f);	/* tensors made from it stay valid */
/*
 * A bundle: one U8 tensor that holds the data of others, whose entries are told
 * outside of the file (pare.json). Where tensors are small and many, a header
 * of their names would weigh more than one percent of them.
 *
 * Replaces the entries of f by those of index, an object like a header, whose
 * ranges lie in tensor name; every rule of a header is checked. On error f is
 * only good for closing.
 */
enum pare_rc st_unbundle(struct st_file *f, const char *name,
    const json_t *index, struct pare_err *err);
const struct st_entry *st_find(const struct st_file *f, const char *name);

/* Writer: add all entries (data must stay valid), then write. Sorted and padded
 * as the reference writes; atomic through base/io.h. */
struct st_writer;
struct st_writer *st_writer_new(void);
void st_writer_add(struct st_writer *w, const char *name, const char *dtype,
    int ndim, const int64_t *dim, const void *data, int64_t bytes);
int st_writer_count(const struct st_writer *w);
/* Bytes and dtype of the i-th that was added. */
int64_t st_writer_item(const struct st_writer *w, int i, const char **dtype);
/* Writes all that was added as one bundle of that name. */
void st_writer_bundle(struct st_writer *w, const char *name);
/* Bytes of the header as it would be written; 0 when it cannot be. */
int64_t st_writer_header(struct st_writer *w);
/* The entries of the bundle, a new object; NULL when it cannot be. */
json_t *st_writer_index(struct st_writer *w);
void st_writer_meta(struct st_writer *w, const char *key, const char *value);
/* *bytes: the length of the file. */
enum pare_rc st_writer_write(struct st_writer *w, const char *path,
    int64_t *bytes, struct task *task, struct pare_err *err);
void st_writer_free(struct st_writer *w);

#endif
