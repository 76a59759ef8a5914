/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gguf_model: a GGUF file seen as the Hugging Face checkpoint it was made from:
 * its keys as a config, its tensors by the names that config asks for. What the
 * converter of llama.cpp changed is told to the layout (rows of rotated pairs
 * side by side, matrices of GPT-2 upright) or undone (norms of Gemma).
 */
#ifndef PARE_FILE_GGUF_MODEL_H
#define PARE_FILE_GGUF_MODEL_H

#include "file/file.h"
#include "model/arch.h"

enum pare_rc gguf_open_model(const char *path, struct model **out,
    struct notes *notes, struct pare_err *err);

/* What a GGUF file calls an architecture, and what its converter does. */
struct gguf_arch {
	const char *name;	/* general.architecture */
	const char *model_type;
	const char *class;	/* for "architectures"; NULL: the body */
	bool interleaved;	/* rows of rotated pairs stand side by side */
	bool minus_one;		/* norms hold 1 + weight */
};
/* The row of a model_type; NULL where GGUF files are not written for it. */
const struct gguf_arch *gguf_arch_of(const char *model_type);

/* The name of the tensor that slot r of m is, or is a part of: "blk.3.attn_q.
 * weight". false where GGUF has none. */
bool gguf_slot_name(const struct model *m, struct slot_ref r, char *out,
    size_t n);

#endif
