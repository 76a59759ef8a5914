/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * hf_write: a model as a Hugging Face checkpoint has it: the config that
 * describes it, and its tensors under the names, joined and turned, that a
 * reader of that config looks for.
 */
#ifndef PARE_FILE_HF_WRITE_H
#define PARE_FILE_HF_WRITE_H

#include "file/safetensors.h"
#include "model/arch.h"

/* The config of m's origin with the numbers that are m's now; a new object.
 * widest is what torch_dtype says, FORM_COUNT: nothing new. */
json_t *hf_config(const struct model *m, enum form_kind widest);

/* Adds what readers with defaults of their own must be told: the class, the
 * size of heads, rotation, windows, biases, ties, labels. */
void hf_config_complete(json_t *config, const struct model *m);

/*
 * PARE_OK when a reader of the config with layout l finds m's numbers and slots
 * there; else PARE_EUSER with the first thing that differs. Where several slots
 * hold one tensor it does not matter whether the reader knows.
 */
enum pare_rc hf_check(const struct model *m, const struct arch_layout *l,
    struct pare_err *err);
/* The numbers alone, as pare means them: with the original numbers of heads. */
enum pare_rc hf_check_numbers(const struct model *m,
    const struct arch_layout *l, struct pare_err *err);

/* Memory of joined tensors, to be freed after they were written; and who takes
 * tensors that are not floats (NULL: they are an error). name ends in
 * ".weight". */
struct hf_joined {
	struct tensor **p;
	int n;
	enum pare_rc (*packed)(void *ctx, const char *name,
	    const struct tensor *t, struct st_writer *w,
	    struct pare_err *err);
	void *ctx;
};
void hf_joined_free(struct hf_joined *j);

/*
 * Adds the tensors of m, as files of layout l have them, to w. Tensors
 * that several layers share are added once where the names are the same, else
 * under each name; a tied output not at all. Data of others stays m's.
 */
enum pare_rc hf_add_tensors(const struct model *m,
    const struct arch_layout *l, struct st_writer *w, struct hf_joined *j,
    struct pare_err *err);

/* The slots that the file's tensor of r is made of, in its order: r alone where
 * it is no fused one. Returns how many. */
enum { HF_PARTS = 8 };
int hf_parts(const struct arch_layout *l, struct slot_ref r,
    struct slot_ref out[HF_PARTS]);
/* The tensor of the file that slot r is a part of, joined from m's slots and
 * turned as the file has it: a new tensor. r is its first part. */
struct tensor *hf_join(const struct model *m, const struct arch_layout *l,
    struct slot_ref r, struct pare_err *err);

#endif
