/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * file: models on disk.
 *
 * Opening reads headers only; tensors are views of the mapped file and their
 * pages come in when they are used. A file that is truncated while open gives an
 * error at the end of the command that met it (file_damaged()), not a signal.
 */
#ifndef PARE_FILE_FILE_H
#define PARE_FILE_FILE_H

#include "model/model.h"

/* Things worth telling that are no errors (unused tensors, a label count that
 * was repaired). Owned strings. */
struct notes {
	int n;
	char **text;
};
void notes_add(struct notes *w, const char *fmt, ...) PARE_PRINTF(2, 3);
void notes_free(struct notes *w);

struct open_options {
	bool random;		/* config.json with fresh weights */
	uint64_t seed;
};

/*
 * Opens MODEL: a Hugging Face directory, a directory that pare saved, a
 * .safetensors file with a config.json beside it, or a config.json alone (also a
 * JSON file with the config under "config"). notes may be NULL. PARE_EIO or
 * PARE_EFORMAT with one line that names file, tensor or key, what was found and
 * what was expected.
 */
enum pare_rc file_open_model(const char *path, const struct open_options *o,
    struct model **out, struct notes *notes, struct pare_err *err);

/* A file of the tokenizer, written as it is. name is static. */
struct export_file {
	const char *name, *data;
	size_t n;
};

/*
 * Writes m into directory dir (made when missing; refused when it holds files
 * that are not a model's, or when it is where the model's own weights are mapped
 * from, unless force). model.safetensors, config.json, pare.json (forms, shapes
 * per layer, ties), the tokenizer files of the origin, recipe.pare when recipe
 * is not NULL. All files go to temporary names first; a failure leaves dir as it
 * was. *bytes is what all tensors take on disk. When every tensor is float and
 * full, layers are alike (heads may differ: pruned_heads), it is also a plain
 * Hugging Face directory: *plain.
 */
enum pare_rc file_save_model(const struct model *m, const char *dir,
    const char *recipe, bool force, int64_t *bytes, bool *plain,
    struct task *task, struct pare_err *err);
/* The same with these files in place of the origin's tokenizer, where nfiles is
 * not 0: of a GGUF file, whose tokenizer lies in its keys. */
enum pare_rc file_save_with(const struct model *m, const char *dir,
    const char *recipe, const struct export_file *file, int nfiles, bool force,
    int64_t *bytes, bool *plain, struct task *task, struct pare_err *err);

/* True once after a mapped file was found shorter than it was; *path (borrowed,
 * static) names it. */
bool file_damaged(const char **path);

/* Fresh weights as the architecture's authors draw them (normal of
 * initializer_range, zero biases, unit norms; tied slots stay tied). */
enum pare_rc file_random_model(const struct model *ghost, uint64_t seed,
    struct model **out, struct pare_err *err);

#endif
