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

/* Which tokens of a sequence have queries. */
enum attend_one { ATTEND_ALL, ATTEND_FIRST, ATTEND_LAST };

struct attention {
	int heads, kv_heads, dim;
	bool causal;
	enum attend_one one;	/* not ATTEND_ALL: row s of q and ctx is that
				 * token of sequence s */
	int nseq;
	const int64_t *start;	/* nseq + 1; start[0] is row 0 of q */
	int64_t past;		/* keys before those of the only sequence */
	const float *q;		/* (tokens or nseq, heads * dim) */
	const float *k, *v;	/* (past + tokens, kv_heads * dim) */
	int64_t k_row, k_head;	/* where k and v lie otherwise: values from row
				 * to row and from head to head; 0: as above */
	float *ctx;		/* like q */
	float *scratch;		/* attention_scratch() floats */
	float scale;		/* of the scores; 0: 1 / sqrt(dim) */
	float cap;		/* s -> cap tanh(s / cap); 0: none */
	int64_t window;		/* a query sees so many keys back, its own
				 * counted; 0: all */
	bool rough;		/* factors of the products may be bfloat16, where
				 * that is faster: 2^-9 of each */
	/* The probabilities of one pair, (len, len); NULL: not wanted. */
	float *want;
	int want_seq, want_head;
};

/* Floats of scratch when no sequence is longer than longest, `past` counted. */
size_t attention_scratch(int64_t longest, int dim);
/* The same for a causal sequence with one query. */
size_t attention_scratch_one(int64_t longest);

void attention_run(const struct attention *a);

/* Training: the same for whole sequences, keeping the probabilities, with
 * dropout on them; and back. */
struct attention_tape {
	struct attention a;	/* one, past and want are not looked at */
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
