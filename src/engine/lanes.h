/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * lanes: the engine's loops over floats, in one copy for each vector width. They
 * run in the calling thread; elementwise.c and attention.c hand out the work.
 * Private to the engine room.
 */
#ifndef PARE_ENGINE_LANES_H
#define PARE_ENGINE_LANES_H

#include "engine/elementwise.h"
#include "tensor/cpu.h"

/* One head of one sequence. */
struct attend {
	const float *q, *k, *v;		/* its first values; rows of q and ctx lie
					 * q_step apart, of k and v k_step */
	float *ctx;
	int64_t q_step, k_step, queries, keys, dim;
	int64_t past;			/* causal: query i sees keys 0 to
					 * past + i */
	float scale;			/* of the scores, > 0 */
	bool causal;
	float cap;			/* attend_rows: s -> cap tanh(s / cap);
					 * 0: none */
	int64_t window;			/* attend_rows: of those keys the last;
					 * 0: all */
	float *want;			/* (queries, keys): the probabilities,
					 * NULL: not wanted */
	float *scratch;			/* LANES_ATTEND(keys, dim) floats;
					 * attend_rows: LANES_ATTEND_ROWS() */
};

/* Keys and values packed, and rows of scores, each up to whole vectors. */
#define LANES_ATTEND(keys, dim)						\
	((((keys) + 15) / 16 * 16) * ((dim) + 24) +			\
	    (((dim) + 15) / 16 * 16) * (keys))
/* Whole steps of bfloat16, and enough of them that the room of attend() does. */
static inline bool
attend_rough_fits(const struct attend *a)
{
	return a->dim % 32 == 0 && a->keys >= 32;
}
/* A row of scores. */
#define LANES_ATTEND_ROWS(keys) (((keys) + 15) / 16 * 16)

struct lanes {
	/* y = act(y + bias); bias may be NULL. */
	void (*bias_act)(float *y, const float *bias, enum act_kind act,
	    int64_t n);
	/* y *= x */
	void (*mul)(float *y, const float *x, int64_t n);
	/* d = d * act'(x) */
	void (*act_back)(float *d, const float *x, enum act_kind act,
	    int64_t n);
	/* x += y + bias; either may be NULL. Returns 0 or NaN, the latter when
	 * a sum is not finite. */
	float (*add)(float *x, const float *y, const float *bias, int64_t n);
	/* out = norm(x + y + bias); row r of elem_norm(). Returns as add(). */
	float (*norm)(float *out, const float *x, const float *y,
	    const float *bias, const struct elem_norm *norm, int64_t r,
	    int64_t n);
	void (*norm_back)(float *dx, const float *dy, const float *x,
	    const struct elem_norm *norm, int64_t r, int64_t n);
	/* n columns of matrices of `cols`: dw and db (may be NULL) get sums. */
	void (*norm_back_columns)(float *dw, float *db, const float *dy,
	    const float *x, const struct elem_norm *norm, int64_t rows,
	    int64_t cols, int64_t n);
	void (*softmax)(float *s, int64_t n);
	void (*softmax_back)(float *d, const float *s, int64_t n);
	void (*drop)(float *x, int64_t n, const uint32_t key[2],
	    uint32_t first, uint32_t limit, float scale);
	void (*adam)(float *w, const float *g, float *m, float *v, int64_t n,
	    const struct elem_adam *a);
	float (*squares)(const float *x, int64_t n);
	void (*attend)(const struct attend *a);
	/* The same query by query, from keys and values as they lie. */
	void (*attend_rows)(const struct attend *a);
	/* attend() with factors as bfloat16 for what attend_rough_fits(); with
	 * CPU_BF16 alone. NULL: there is none. */
	void (*attend_rough)(const struct attend *a);
	/* e^x as the others use it, for the tests. */
	void (*exp)(float *x, int64_t n);
};

/* The widest that cpu_level() allows. */
const struct lanes *lanes(void);

extern const struct lanes lanes_plain;
#if CPU_X86
extern const struct lanes lanes_avx2, lanes_avx512;
#endif

#endif
