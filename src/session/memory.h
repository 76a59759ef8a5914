/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * memory: results that were measured, by what they belong to: an evaluation by
 * (model hash, data hash, metric), a latency by (model hash, original's hash,
 * batch, seq, threads). Coming back to a state shows them at once. Partial
 * results never get here.
 *
 * What was measured in earlier sittings is known too: results go to the state
 * folder (session/store.h) and are found there under the same key and what else
 * they hang on: an evaluation on the libraries and instructions that computed it,
 * for its last bits, a latency on the processor as well. What is read is checked
 * against the samples it is for; what does not fit is not known. Logits of over
 * STORE_ONE bytes stay with the sitting.
 */
#ifndef PARE_SESSION_MEMORY_H
#define PARE_SESSION_MEMORY_H

#include "measure/evaluate.h"
#include "measure/latency.h"
#include "measure/latency_decode.h"

struct memory;
struct memory *memory_new(void);
void memory_free(struct memory *m);
void memory_clear(struct memory *m);

/* Whether results of earlier sittings are looked for (yes, before it is said). */
void memory_recall_earlier(struct memory *m, bool on);

/* Of a model on the samples d. Borrowed, valid until the memory is freed or
 * cleared; NULL: not known. */
const struct evaluation *memory_evaluation(struct memory *m, uint64_t model,
    const struct dataset *d, enum metric metric);
/* Consumes *v (its arrays) and returns the kept copy. */
const struct evaluation *memory_keep_evaluation(struct memory *m,
    struct evaluation *v);

struct latency_key {
	uint64_t model, original;
	int64_t batch, seq;
	int threads;
};
const struct latency *memory_latency(struct memory *m,
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
/* How a text was written after a prompt of k->seq tokens, k->batch tokens of it;
 * of this sitting alone. */
const struct decode_latency *memory_decode(const struct memory *m,
    const struct latency_key *k);
void memory_keep_decode(struct memory *m, const struct latency_key *k,
    const struct decode_latency *v);
/* Of the model, or of the original it was measured against; NULL: not known.
 * Borrowed as above. */
const struct latency_parts *memory_parts(const struct memory *m,
    const struct latency_key *k, bool of_original);
/* Those of memory_latency_of(). */
const struct latency_parts *memory_parts_of(const struct memory *m,
    uint64_t model);

/* Bytes of another kind that outlive the sitting, under a key that tells all
 * they hang on; whoever reads them checks them. malloc'ed; NULL: none. */
void *memory_load(struct memory *m, uint64_t key, size_t *n);
void memory_save(struct memory *m, uint64_t key, const void *data, size_t n);

#endif
