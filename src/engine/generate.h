/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * generate: text goes on, token by token, with a cache of keys and values.
 *
 * At temperature 0 the likeliest token follows, of equals the one with the
 * lowest id. Otherwise a token is drawn: logits are divided by the temperature,
 * the top_k likeliest remain, of those the fewest that together have top_p of
 * their probability, and the draw is from the ratios of what is left. Same seed
 * and logits, same tokens.
 */
#ifndef PARE_ENGINE_GENERATE_H
#define PARE_ENGINE_GENERATE_H

#include "base/rng.h"
#include "engine/engine.h"

struct sampling {
	double temperature;	/* 0: greedy */
	int64_t top_k;		/* 0: all */
	double top_p;		/* 1: all */
	uint64_t seed;
};

/* Draws tokens of a vocabulary of n; memory is taken once. */
struct sampler;
/* NULL with PARE_ENOMEM. */
struct sampler *sampler_new(const struct sampling *s, int64_t n,
    struct pare_err *err);
void sampler_free(struct sampler *s);	/* NULL is fine */
int32_t sampler_next(struct sampler *s, const float *logits);

struct generate_options {
	struct sampling sampling;
	int64_t n;		/* tokens to add, >= 1 */
	const int32_t *stop;	/* ids that end a text; borrowed */
	int nstop;
	struct task *task;	/* asked between layers; ticks with tokens */
};

enum generate_end {
	GENERATE_LENGTH,	/* all that were asked for */
	GENERATE_STOP,		/* the model ended its text */
	GENERATE_ENDS
};

/* What came of it; free with generation_free(). */
struct generation {
	int64_t n;		/* tokens added; what ended the text does not
				 * count */
	int32_t *id;		/* owned */
	enum generate_end end;
	double first_seconds;	/* from the prompt to the first token */
	double seconds;		/* of all */
	int64_t kv_bytes;	/* of the cache */
};
void generation_free(struct generation *g);

/*
 * Goes on after `length` ids of a prompt. PARE_EUSER when the model is no
 * language model that sees what came before, when the prompt is empty or when
 * prompt and n - 1 tokens are more than it has positions for; PARE_ENOMEM;
 * PARE_ECANCELED: *out has what there is so far, and is to be freed. After other
 * errors *out is empty.
 */
enum pare_rc generate_run(struct engine *e, const struct model *m,
    const int32_t *prompt, int64_t length, const struct generate_options *o,
    struct generation *out, struct pare_err *err);

#endif
