/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * memory: results that were measured, by what they belong to: an evaluation by
 * (model hash, data hash, metric), a latency by (model hash, original's hash,
 * batch, seq, threads). Coming back to a state shows them at once. Partial
 * results never get here.
 */
#ifndef PARE_SESSION_MEMORY_H
#define PARE_SESSION_MEMORY_H

#include "measure/evaluate.h"
#include "measure/latency.h"

struct memory;
struct memory *memory_new(void);
void memory_free(struct memory *m);
void memory_clear(struct memory *m);

/* Borrowed, valid until the memory is freed or cleared; NULL: not known. */
const struct evaluation *memory_evaluation(const struct memory *m,
    uint64_t model, uint64_t data, enum metric metric);
/* Consumes *v (its arrays) and returns the kept copy. */
const struct evaluation *memory_keep_evaluation(struct memory *m,
    struct evaluation *v);

struct latency_key {
	uint64_t model, original;
	int64_t batch, seq;
	int threads;
};
const struct latency *memory_latency(const struct memory *m,
    const struct latency_key *k);
/* The one measured last for a model, in any setting; NULL. */
const struct latency *memory_latency_of(const struct memory *m,
    uint64_t model);
const struct latency *memory_keep_latency(struct memory *m,
    const struct latency_key *k, const struct latency *v);
/* Adds the parts of a kept latency, of the model and of the original (either may
 * be NULL); consumes them. */
void memory_keep_parts(struct memory *m, const struct latency_key *k,
    struct latency_parts *parts[2]);
/* Of the model, or of the original it was measured against; NULL: not known.
 * Borrowed as above. */
const struct latency_parts *memory_parts(const struct memory *m,
    const struct latency_key *k, bool of_original);
/* Those of memory_latency_of(). */
const struct latency_parts *memory_parts_of(const struct memory *m,
    uint64_t model);

#endif
