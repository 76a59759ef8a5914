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
const struct st_entry *st_find(const struct st_file *f, const char *name);

/* Writer: add all entries (data must stay valid), then write. Sorted and padded
 * as the reference writes; atomic through base/io.h. */
struct st_writer;
struct st_writer *st_writer_new(void);
void st_writer_add(struct st_writer *w, const char *name, const char *dtype,
    int ndim, const int64_t *dim, const void *data, int64_t bytes);
void st_writer_meta(struct st_writer *w, const char *key, const char *value);
/* *bytes: the length of the file. */
enum pare_rc st_writer_write(struct st_writer *w, const char *path,
    int64_t *bytes, struct task *task, struct pare_err *err);
void st_writer_free(struct st_writer *w);

#endif
