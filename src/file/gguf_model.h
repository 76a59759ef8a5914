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

enum pare_rc gguf_open_model(const char *path, struct model **out,
    struct notes *notes, struct pare_err *err);

#endif
