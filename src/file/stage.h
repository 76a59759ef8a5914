/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stage: several files that appear in a folder together or not at all.
 *
 * They are written and synced in a temporary folder inside the target; then
 * each is renamed into place, with a hard link to what was there before kept
 * until all are done.
 */
#ifndef PARE_FILE_STAGE_H
#define PARE_FILE_STAGE_H

#include <stddef.h>

#include "base/err.h"

struct stage;

/* Makes dir when it is missing. NULL with PARE_EWRITE. */
struct stage *stage_begin(const char *dir, struct pare_err *err);
/* Where the file called name (static) is to be written; malloc'ed. Remembers
 * the name. */
char *stage_path(struct stage *s, const char *name);
/* Writes that file. */
enum pare_rc stage_write(struct stage *s, const char *name, const void *data,
    size_t n, struct pare_err *err);
/* The temporary folder, for opening what was written before it is in place. */
const char *stage_folder(const struct stage *s);
/* A file that is to be gone from dir at the end; name is static. */
void stage_remove(struct stage *s, const char *name);
/* Puts all files in place; frees s in any case. */
enum pare_rc stage_commit(struct stage *s, struct pare_err *err);
/* Leaves dir as it was, even missing; NULL is fine. */
void stage_abort(struct stage *s);

#endif
