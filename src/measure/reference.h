/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * reference: the distributions of a model over its vocabulary at each scored
 * token of a set, kept small, and how far another model's are from them. What is
 * lost is said at struct divergence in measure/evaluate.h. Private to
 * src/measure.
 */
#ifndef PARE_MEASURE_REFERENCE_H
#define PARE_MEASURE_REFERENCE_H

#include "measure/evaluate.h"

struct reference {
	uint64_t model, data;	/* hashes */
	int64_t n, vocab;	/* scored tokens */
	int64_t keep;		/* of vocab */
	int64_t bytes;
	float *step;		/* per token: of the 16-bit values */
	float *rest;		/* log-probability of all that is not kept */
	int32_t *best;		/* the likeliest id */
	uint16_t *value;	/* (n, keep): steps below the likeliest */
	int32_t *id;		/* (n, keep); NULL: all are kept, in order */
};

/* NULL where memory is short, or the set too large for 16 of each. */
struct reference *reference_new(int64_t n, int64_t vocab);
void reference_free(struct reference *r);	/* NULL is fine */

/* Keeps token t; lse: the logarithm of the sum of exponentials. Tokens may be
 * put in any number of threads, each once. */
void reference_put(struct reference *r, int64_t t, const float *logits,
    double lse);
/* The divergence of logits from token t; work has room for 2 * vocab. */
double reference_divergence(const struct reference *r, int64_t t,
    const float *logits, double lse, float *work);

#endif
