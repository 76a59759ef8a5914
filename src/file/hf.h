/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * hf: a model from the tensors of a Hugging Face checkpoint.
 */
#ifndef PARE_FILE_HF_H
#define PARE_FILE_HF_H

#include "file/weights.h"

/*
 * Finds the tensor of every slot the config asks for. where is the config's
 * file, path and dir as in config_origin(). l may get a repaired label count.
 */
struct arch_layout;
enum pare_rc hf_build(struct arch_layout *l, json_t *config, const char *where,
    struct weights *w, const char *path, const char *dir,
    struct model **out, struct notes *notes, struct pare_err *err);

#endif
