/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * made_data: labelled samples of random tokens for the models of samples.h.
 */
#ifndef PARE_TESTS_MADE_DATA_H
#define PARE_TESTS_MADE_DATA_H

#include "samples.h"

#include <math.h>
#include <stdlib.h>

#include "text/dataset.h"

enum { MADE_LONGEST = 20 };

/* Samples of 3 to 20 tokens; every seventh is unlabelled. */
static inline struct dataset *
made_data(int64_t n)
{
	struct dataset *d = xcalloc(1, sizeof *d);
	struct rng r;

	rng_seed(&r, 4);
	d->n = n;
	d->encoded = d->has_labels = true;
	d->hash = 77;
	d->sample = xcalloc((size_t)n, sizeof *d->sample);
	for (int64_t i = 0; i < n; i++) {
		struct sample *s = &d->sample[i];
		int len = 3 + (int)rng_below(&r, MADE_LONGEST - 2);

		s->tokens.n = len;
		s->tokens.id = xcalloc((size_t)len, sizeof *s->tokens.id);
		s->tokens.type = xcalloc((size_t)len, sizeof *s->tokens.type);
		for (int k = 0; k < len; k++) {
			s->tokens.id[k] = (int32_t)rng_below(&r, 60);
			s->tokens.type[k] = k > len / 2;
		}
		s->label = i % 7 == 3 ? -1 : (int)rng_below(&r, 2);
		s->score = s->label < 0 ? NAN : rng_uniform(&r);
		s->line = i + 1;
	}
	return d;
}

/* All of it in one segment. */
static inline void
made_data_single(struct dataset *d)
{
	for (int64_t i = 0; i < d->n; i++)
		memset(d->sample[i].tokens.type, 0,
		    (size_t)d->sample[i].tokens.n *
		    sizeof *d->sample[i].tokens.type);
}

static inline void
made_data_free(struct dataset *d)
{
	for (int64_t i = 0; i < d->n; i++) {
		free(d->sample[i].tokens.id);
		free(d->sample[i].tokens.type);
	}
	free(d->sample);
	free(d);
}

#endif
