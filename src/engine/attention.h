/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * attention: softmax(q k^T / sqrt(d)) v for every sequence and head of a packed
 * batch. Rows of q, k, v are tokens; heads lie side by side in them.
 */
#ifndef PARE_ENGINE_ATTENTION_H
#define PARE_ENGINE_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/elementwise.h"

struct attention {
	int heads, kv_heads, dim;
	bool causal;
	bool first_only;	/* row s of q and ctx is token 0 of sequence s */
	int nseq;
	const int64_t *start;	/* nseq + 1; start[0] is row 0 of q, k, v */
	const float *q;		/* (tokens or nseq, heads * dim) */
	const float *k, *v;	/* (tokens, kv_heads * dim) */
	float *ctx;		/* like q */
	float *scratch;		/* attention_scratch() floats */
	float scale;		/* of the scores; 0: 1 / sqrt(dim) */
	float cap;		/* s -> cap tanh(s / cap); 0: none */
	int64_t window;		/* a query sees so many keys back, its own
				 * counted; 0: all */
	/* The probabilities of one pair, (len, len); NULL: not wanted. */
	float *want;
	int want_seq, want_head;
};

/* Floats of scratch when no sequence is longer than longest. */
size_t attention_scratch(int64_t longest, int dim);

void attention_run(const struct attention *a);

/* Training: the same for whole sequences, keeping the probabilities, with
 * dropout on them; and back. */
struct attention_tape {
	struct attention a;	/* first_only and want are not looked at */
	const int64_t *offset;	/* nseq + 1: sums of len^2 */
	float *p;		/* (offset[nseq] * heads): a (len, len) matrix a
				 * pair, heads of one sequence side by side */
	struct elem_drop drop;
};

size_t attention_tape_scratch(int64_t longest);
void attention_keep(const struct attention_tape *t);
/* From the gradient of ctx those of q, k and v (which are overwritten). */
void attention_back(const struct attention_tape *t, const float *dctx,
    float *dq, float *dk, float *dv);

#endif
