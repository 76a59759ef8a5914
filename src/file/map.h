/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * map: whole files mapped read-only, and the guard that turns a file truncated
 * while it is mapped into an error.
 */
#ifndef PARE_FILE_MAP_H
#define PARE_FILE_MAP_H

#include <stdbool.h>
#include <sys/types.h>

#include "tensor/tensor.h"

/* Maps the regular file at path. A file shorter than least (at least 1) bytes
 * is PARE_EFORMAT; what says which kind of file needs them. */
struct blob *map_file(const char *path, int64_t least, const char *what,
    struct pare_err *err);

/* True when b is a mapped file and that file, or the folder it was opened in,
 * is the one with this device and inode. */
bool map_is_from(const struct blob *b, dev_t dev, ino_t ino);

/* How many pages were found missing so far, by all threads. */
unsigned long map_damage_count(void);

/* Tells the kernel that these pages are not needed for now. */
void map_forget(const void *p, size_t n);
/* The same, and that some will be, here and there: they come back one by one, not
 * as large pages. */
void map_forget_rows(const void *p, size_t n);

#endif
