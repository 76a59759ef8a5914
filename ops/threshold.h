/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * threshold: the k-th smallest of very many keys of 31 bits, exactly, and how
 * the keys of each part compare with it. Keys are read where they are, in
 * blocks, by all threads: once when a sample of them tells where the answer
 * lies, three times when it does not. The result never depends on which, nor on
 * the number of threads.
 */
#ifndef PARE_OPS_THRESHOLD_H
#define PARE_OPS_THRESHOLD_H

#include <stdint.h>

#include "base/err.h"
#include "base/task.h"

/* A key is the low 31 bits of a word, so that the words of floats serve as they
 * are: their magnitudes order as these keys do. */
typedef uint32_t __attribute__((may_alias)) threshold_word;
#define THRESHOLD_MASK UINT32_C(0x7fffffff)

/* Loops over many words, compiled twice where the compiler can choose at run
 * time. The sanitizers start before the choice could be made. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__gnu_linux__) && !defined(PARE_SANITIZED)
#define THRESHOLD_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define THRESHOLD_SIMD
#endif

/* Keys in parts (a matrix each), part i in blocks[i] blocks. */
struct threshold_keys {
	int parts;
	const int64_t *blocks;
	/* Block b of a part: *n words, below 2^31 and the same for all blocks
	 * of the part but the last, good until the same thread asks again.
	 * Called by `threads` OpenMP threads at once. */
	const threshold_word *(*block)(void *ctx, int part, int64_t b,
	    int64_t *n);
	void *ctx;
	int threads;
	/* Progress goes from 0 to `share` of `total`; both may be 0. */
	struct task *task;
	double share, total;
};

struct threshold {
	uint32_t limit;		/* the k-th smallest key */
	int64_t below, equal;	/* keys of a part under it, and equal to it */
};

/* k is in 1..number of keys. limit is the same in out[0..parts). PARE_ENOMEM,
 * PARE_ECANCELED. */
enum pare_rc threshold_find(const struct threshold_keys *keys, int64_t k,
    struct threshold *out, struct pare_err *err);

#endif
