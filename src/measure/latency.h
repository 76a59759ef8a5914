/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * latency: milliseconds of a forward pass, measured so that they can be
 * believed: warm-up, original and current model in turn (A B A B ...), medians,
 * and the ratio with its interval from the pairs.
 */
#ifndef PARE_MEASURE_LATENCY_H
#define PARE_MEASURE_LATENCY_H

#include "engine/engine.h"

struct latency_options {
	int64_t batch, seq;
	int runs;		/* counted pairs; 0: until 2 s or 200, at least 10 */
	uint64_t seed;		/* of the token ids */
};

struct latency {
	int64_t batch, seq;
	int runs, threads;
	double p50_ms, p95_ms;
	double original_p50_ms;
	double ratio, ratio_low, ratio_high;	/* median of pair ratios and its 95 %
						 * bootstrap interval */
	bool has_ratio;
};

/* original may be NULL or m itself (no ratio then). */
enum pare_rc latency_run(const struct model *m, const struct model *original,
    const struct latency_options *o, struct latency *out, struct task *task,
    struct pare_err *err);

#endif
