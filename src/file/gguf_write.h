/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gguf_write: the writer of GGUF containers, version 3, little-endian. Keys are
 * put in the order they are to stand in, then tensors are added; writing goes to
 * a temporary name first.
 */
#ifndef PARE_FILE_GGUF_WRITE_H
#define PARE_FILE_GGUF_WRITE_H

#include "base/task.h"
#include "file/gguf.h"

struct gguf_writer;
struct gguf_writer *gguf_writer_new(void);
void gguf_writer_free(struct gguf_writer *w);	/* NULL is fine */

/* One key each; a key that is there already stays as it is. Text is copied. */
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_text(struct gguf_writer *w, const char *key, const char *s,
    size_t n);
void gguf_put_texts(struct gguf_writer *w, const char *key,
    const struct gguf_text *v, int64_t n);
void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v,
    int64_t n);
void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v,
    int64_t n);
/* A key of another file, as it is. */
void gguf_put_value(struct gguf_writer *w, const struct gguf_value *v);
/* All keys of that file that begin with prefix. */
void gguf_put_values(struct gguf_writer *w, const struct gguf *from,
    const char *prefix);
/* All keys of another writer that are not there. */
void gguf_put_all(struct gguf_writer *w, const struct gguf_writer *from);

/* type as in gguf_type_table[]; dim[0] is the contiguous one; data stays the
 * caller's until it was written. */
void gguf_add_tensor(struct gguf_writer *w, const char *name, int type,
    int ndim, const int64_t *dim, const void *data, int64_t bytes);

/* *bytes (may be NULL): the length of the file. PARE_EWRITE, PARE_ECANCELED, or
 * PARE_EIO when the file that data is mapped from became shorter. */
enum pare_rc gguf_writer_write(struct gguf_writer *w, const char *path,
    int64_t *bytes, struct task *task, struct pare_err *err);

#endif
