/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * saved: directories that pare wrote, and the file that describes them.
 *
 * pare.json, version 1:
 *   architecture   model_type
 *   hparams        struct hparams, by name
 *   layers         one object each: heads, kv_heads, head_dim, ffn, the same
 *                  two as opened, and remaining, the original numbers of
 *                  the heads
 *   slots          path of a slot -> name of a tensor; two slots that name one
 *                  tensor are tied
 *   tensors        name -> facts. A full float tensor is stored under its name,
 *                  the parts of any other form under NAME.pare.PART, and the
 *                  factors of a low-rank one are NAME.pare.a and NAME.pare.b.
 *                  One with "of" is a part of that tensor of the file, from
 *                  output "first" on; "turned" where the file holds (in, out)
 *   index          only where those names would weigh too much in the header
 *                  of model.safetensors: that file then holds one tensor of
 *                  bytes, pare.bundle, and index says what is where in it, as a
 *                  header would
 */
#ifndef PARE_FILE_SAVED_H
#define PARE_FILE_SAVED_H

#include "file/file.h"

/* The tensor that holds all data of a bundle. */
#define SAVED_BUNDLE "pare.bundle"
#define SAVED_NAME "pare.json"
enum { SAVED_VERSION = 1 };

/* Names of parts in tensor names, by enum part_kind. */
extern const char *const saved_part_names[PART_COUNT];
extern const char *const saved_head_names[];	/* by enum head_kind */
extern const char *const saved_rope_names[];	/* by enum rope_kind */

/* The element type of part k of a tensor of this form with these values. */
const char *saved_part_dtype(const struct tensor *t, enum part_kind k);

enum pare_rc saved_open(const char *dir, const char *path, struct model **out,
    struct notes *notes, struct pare_err *err);

#endif
