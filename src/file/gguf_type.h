/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gguf_type: which type a tensor gets in a GGUF file, and the tensor of that
 * type.
 *
 * GGUF_KEEP leaves floats and blocks as they are; packed integers whose groups
 * are whole blocks become the block type that holds the same values (symmetric
 * codes of up to 4 bits Q4_0, 5 bits Q5_0, more Q8_0; affine ones of up to 4
 * bits Q4_1, 5 bits Q5_1), and all else F32. Whatever was asked for, vectors and
 * the tables of positions and segments are F32, and so is a head that is not the
 * output of a language model, as the format's other writers have it.
 *
 * GGUF_MIXED is Q4_K but: Q6_K for the output, or for the embedding that serves
 * as output, and for v and down of the first and last eighth of the layers and
 * of every third between.
 *
 * Rows that are no whole blocks of 256 take the next type of 32 (Q4_K: Q5_0,
 * Q5_K: Q5_1, Q6_K: Q8_0), and those that are no blocks of 32 either F16.
 */
#ifndef PARE_FILE_GGUF_TYPE_H
#define PARE_FILE_GGUF_TYPE_H

#include "model/model.h"

enum gguf_want { GGUF_KEEP, GGUF_AS_F32, GGUF_AS_F16, GGUF_AS_BF16,
	GGUF_AS_Q8_0, GGUF_AS_Q4_0, GGUF_AS_Q4_1, GGUF_AS_Q5_0, GGUF_AS_Q5_1,
	GGUF_AS_Q4_K, GGUF_AS_Q5_K, GGUF_AS_Q6_K, GGUF_MIXED, GGUF_WANTS };

/* As users type them; ends with NULL. */
extern const char *const gguf_wants[];

/* What an error in each column of slot r counts, as block_encode() takes it: cols
 * numbers, borrowed until the next call; NULL: nothing is known of so many. */
typedef const float *gguf_weigh(void *ctx, struct slot_ref r, int64_t cols);

/* What became of tensors on the way, and what they were rounded by. */
struct gguf_count {
	int fell_back;		/* rows that were no whole blocks of the type */
	bool lossy;		/* some values are others than before */
	int weighed;		/* tensors that were rounded by weigh() */
	gguf_weigh *weigh;	/* NULL: all columns count alike */
	void *weigh_ctx;
};

/* The tensor of slot r of m, of the type that it gets: a new reference. */
struct tensor *gguf_type_tensor(const struct model *m, struct slot_ref r,
    enum gguf_want want, struct gguf_count *count, struct task *task,
    struct pare_err *err);

/* The number that files give the type of t, which is float or block. */
int gguf_type_of(const struct tensor *t);

/* t of the same values as float or block, or NULL: none of them holds them. */
struct tensor *gguf_block_of(const struct tensor *t, struct pare_err *err);

#endif
