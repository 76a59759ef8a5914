/* SPDX-License-Identifier: GPL-3.0-or-later */
/* export_private: the three formats, for export.c. Private to src/file. */
#ifndef PARE_FILE_EXPORT_PRIVATE_H
#define PARE_FILE_EXPORT_PRIVATE_H

#include "file/export.h"
#include "file/hf_write.h"
#include "file/stage.h"

/* Each fills model, bytes, kind, lossy and notes of x and writes into the
 * stage. m is what is to be exported, padded already where that was asked. */
enum pare_rc export_hf(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err);
enum pare_rc export_gguf(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err);
enum pare_rc export_gptq(struct export *x, const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err);

/* Adds a tensor to the sums of x. */
void export_count(struct export *x, const char *type, int64_t bytes);
/* Writes and counts the tensors of x->model as a reader of l expects them. What
 * joined borrows must outlive the call; it is the caller's to free. */
enum pare_rc export_weights(struct export *x, const struct arch_layout *l,
    struct hf_joined *joined, struct task *task, struct pare_err *err);
/* Writes text as a file of the stage, or the tokenizer. */
enum pare_rc export_text(struct export *x, const char *name,
    const char *text, struct pare_err *err);
enum pare_rc export_tokenizer(struct export *x, const struct model *m,
    const struct export_ask *ask, struct pare_err *err);

#endif
