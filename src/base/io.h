/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * io: hostile files in, whole files out.
 *
 * Reading: only regular files (a symbolic link to one is fine), opened
 * read-only and without blocking, so that a FIFO or /dev/zero is refused rather
 * than waited for. Writing: to a temporary name in the same folder, fsync,
 * rename; a failure leaves what was there.
 */
#ifndef PARE_BASE_IO_H
#define PARE_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Opens path read-only; *size is its length. A descriptor, or -1 with *err
 * (PARE_EIO). The caller closes it. */
int io_open(const char *path, int64_t *size, struct pare_err *err);

/* The whole file, NUL-terminated (the NUL not counted in *n). Refuses more than
 * max bytes. The caller frees *data. */
enum pare_rc io_read(const char *path, int64_t max, char **data, size_t *n,
    struct pare_err *err);

/* Replaces path by n bytes of data, atomically. PARE_EWRITE on error. */
enum pare_rc io_write(const char *path, const void *data, size_t n,
    struct pare_err *err);

/* A file being written under a temporary name. */
struct io_out;
struct io_out *io_out_open(const char *path, struct pare_err *err);
enum pare_rc io_out_write(struct io_out *o, const void *data, size_t n,
    struct pare_err *err);
/* fsync, rename, free. On error nothing is left behind and path is unchanged. */
enum pare_rc io_out_commit(struct io_out *o, struct pare_err *err);
void io_out_abort(struct io_out *o);	/* NULL is fine */

bool io_is_dir(const char *path);
bool io_is_file(const char *path);
/* mkdir -p. */
enum pare_rc io_make_dir(const char *path, struct pare_err *err);
/* "dir/name", malloc'ed. */
char *io_join(const char *dir, const char *name);
/* Last component of a path, without trailing slashes, malloc'ed. */
char *io_base(const char *path);

/* A folder of pare's own under $XDG_STATE_HOME (or ~/.local/state), created when
 * missing; NULL when there is no home or --no-state was given. Malloc'ed. */
char *io_state_dir(void);
void io_state_disable(void);

#endif
