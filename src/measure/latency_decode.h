/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * latency_decode: milliseconds of a language model that writes one text: from
 * the prompt to the first token, and of each token from then on, with a cache of
 * keys and values. Measured as a pass is (measure/latency.h): threads bound,
 * original and current model in turn, medians, and the ratio with its interval
 * from the turns.
 *
 * A turn of a side is a prompt and `tokens` tokens after it. Which ones they are
 * is drawn, for that takes no time from what is measured: choosing a token, which
 * is no work of the model, does not count.
 */
#ifndef PARE_MEASURE_LATENCY_DECODE_H
#define PARE_MEASURE_LATENCY_DECODE_H

#include "engine/engine.h"

enum { DECODE_TOKENS_MAX = 4096 };

struct decode_options {
	int64_t prompt, tokens;	/* >= 1; together at most kv_longest() */
	int runs;		/* counted turns; 0: until 2 s or 50, at least 5, or
				 * 3 that take over 10 s */
	uint64_t seed;		/* of the token ids */
	int threads;		/* 0: as kernel_threads() says */
};

/* Plain values. */
struct decode_latency {
	int64_t prompt, tokens;
	int runs, threads;
	double first_p50_ms, first_p95_ms;
	double p50_ms, p95_ms;		/* of a token */
	double original_first_p50_ms, original_p50_ms;
	/* Of the turns' medians of a token, as in struct latency. */
	double ratio, ratio_low, ratio_high;
	bool has_ratio;
	bool pinned;
	double waited;			/* as in struct latency */
	int64_t kv_bytes, original_kv_bytes;	/* prompt and tokens */
};

/* Whether m writes texts: a decoder with a head over its vocabulary that has
 * positions for two tokens. */
bool decode_fits(const struct model *m);

/* original may be NULL or m itself (no ratio then). PARE_EUSER when a model does
 * not fit or the sizes are outside what it allows; PARE_ENOMEM; PARE_ECANCELED. */
enum pare_rc decode_latency_run(const struct model *m,
    const struct model *original, const struct decode_options *o,
    struct decode_latency *out, struct task *task, struct pare_err *err);

#endif
