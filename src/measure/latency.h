/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * latency: milliseconds of a forward pass, measured so that they can be
 * believed: threads bound to processors (unless other programs keep those
 * busy), warm-up, original and current model in turn (A B, B A, A B, ...),
 * medians and quartiles, and the ratio with its interval from the pairs.
 *
 * Where the time goes is measured in place, in the very passes that count, so
 * the parts are told against the whole.
 */
#ifndef PARE_MEASURE_LATENCY_H
#define PARE_MEASURE_LATENCY_H

#include "engine/engine.h"

enum { LATENCY_TOKENS_MAX = 1 << 24, LATENCY_BATCH_MAX = 1 << 20,
	LATENCY_CELLS_MAX = 64 };

struct latency_options {
	int64_t batch, seq;
	int runs;		/* counted pairs; 0: until 2 s or 200, at least 10, or
				 * 5 that take over 10 s */
	uint64_t seed;		/* of the token ids */
	int threads;		/* 0: as kernel_threads() says */
};

/* What was measured of one batch and length. Plain values. */
struct latency {
	int64_t batch, seq;
	int runs, threads;	/* runs: counted pairs */
	int warm;		/* pairs before them, to warm up */
	double p50_ms, p95_ms;
	double p25_ms, p75_ms;	/* quartiles */
	double original_p50_ms, original_p25_ms, original_p75_ms;
	double ratio, ratio_low, ratio_high;	/* median of pair ratios and its 95 %
						 * bootstrap interval */
	bool has_ratio;
	bool pinned;		/* each thread kept its processor */
	double waited;		/* share of the time that a thread was ready
				 * and had no processor; NAN: unknown */
};

/* (p75 - p25) / p50 of the model, or of the original where that is more. */
double latency_spread(const struct latency *l);
/* Numbers are to be taken with care when the spread or waited passes these: the
 * machine had other things to do. */
#define LATENCY_SPREAD_MAX 0.1
#define LATENCY_WAITED_MAX 0.05

/* Where the time goes: the parts of a layer as in enum engine_part, then what
 * is outside the layers. */
enum latency_part { LATENCY_EMBED = ENGINE_PARTS, LATENCY_HEAD, LATENCY_PARTS };

/*
 * Means over the counted passes whose time lies between the quartiles: as
 * robust as a median, and they add up. What whole_ms has beyond their sum lies
 * between the parts: checks, clocks, the waits for a thread.
 */
struct latency_parts {
	int layers;
	int passes;		/* that were averaged */
	double whole_ms, embed_ms, head_ms;
	double layer_ms[][ENGINE_PARTS];
};

/* part: enum engine_part, of all layers together, or enum latency_part. */
double latency_part_ms(const struct latency_parts *p, int part);
double latency_layer_ms(const struct latency_parts *p, int layer);
double latency_sum_ms(const struct latency_parts *p);
/* malloc'ed; NULL of NULL. */
struct latency_parts *latency_parts_copy(const struct latency_parts *p);
/* From the passes themselves: ms[passes], and for each pass a row of
 * 2 + layers * ENGINE_PARTS milliseconds: embed, head, the layers. */
struct latency_parts *latency_parts_of(const double *ms, const float *row,
    int passes, int layers);

/*
 * original may be NULL or m itself (no ratio then). parts, when it is not NULL,
 * gets the parts of the model and of the original (NULL without a ratio), both
 * the caller's to free. PARE_EUSER when the sizes are outside what the model or
 * LATENCY_*_MAX allow, PARE_ENOMEM when a pass would not fit into the memory
 * that is free.
 */
enum pare_rc latency_run(const struct model *m, const struct model *original,
    const struct latency_options *o, struct latency *out,
    struct latency_parts *parts[2], struct task *task, struct pare_err *err);

/* The median of a[i] / b[i] and its 95 % bootstrap interval. NAN without
 * memory. */
void latency_ratio(const double *a, const double *b, int n, uint64_t seed,
    double *median, double *low, double *high);

/*
 * Every batch with every length. The cells take turns too, so that what happens
 * on the machine meanwhile meets all alike; a cell ends after 1 s or 100 pairs,
 * at least 5.
 */
struct latency_grid {
	int nbatch, nseq;
	int64_t *batch, *seq;	/* borrowed */
	int runs;		/* counted pairs a cell; 0: as above */
	uint64_t seed;
	int threads;		/* as in struct latency_options */
	/* Filled in. */
	struct latency cell[LATENCY_CELLS_MAX];	/* cell[b * nseq + s]; runs 0:
						 * not measured */
	bool partial;		/* stopped before all was done */
};

/* When it is canceled and any cell has a pair, it is no error but partial. */
enum pare_rc latency_grid_run(const struct model *m,
    const struct model *original, struct latency_grid *g, struct task *task,
    struct pare_err *err);

#endif
