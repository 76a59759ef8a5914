/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * target: the folder that a model is written into: whether it may be, and what
 * of the origin's tokenizer comes along.
 */
#ifndef PARE_FILE_TARGET_H
#define PARE_FILE_TARGET_H

#include "file/file.h"
#include "file/stage.h"

/*
 * Refuses dir where m's own weights are mapped from it, where it holds files
 * that are not a model's, or a model that pare did not save; unless force.
 * PARE_EUSER, PARE_EWRITE when it is no folder.
 */
enum pare_rc target_check(const struct model *m, const char *dir, bool force,
    struct pare_err *err);
/* Whether m's weights are mapped from the file or folder at path. */
bool target_is_source(const struct model *m, const char *path);

/* Writes a tokenizer into the stage of folder target: these files or, when there
 * are none, those of m's origin, but where they are there already. */
enum pare_rc target_put_tokenizer(const struct model *m, struct stage *g,
    const char *target, const struct export_file *file, int nfiles,
    struct pare_err *err);

#endif
