/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The i-th of a class of n samples, the class shuffled, goes to (i + u) / n with
 * u uniform, so that every beginning holds the classes in proportion; samples
 * without a label are a class of their own.
 *
 * Batches begin small, so that the first estimate comes at once, and double up
 * to the size where products are fast: with packed weights 256 to 2,048 tokens
 * take the same time each, and the smaller they are, the sooner there is news and
 * the less the threads wait for the last one. Towards the end they shrink for
 * that reason.
 */
#include "measure/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* Tokens of the first batch, of the large ones, and of the last ones. */
enum { BATCH_FIRST = 64, BATCH_MOST = 512, BATCH_LAST = 256 };

/* Where a sample comes. */
struct draw {
	double key;
	int64_t at;
};

bool
order_is_gold(const struct model *m, const struct sample *s)
{
	if (head_gives_tokens(m->hp.head))
		return s->nscored > 0;
	return m->hp.head == HEAD_REGRESS ? !isnan(s->score) : s->label >= 0;
}

static int
draw_compare(const void *pa, const void *pb)
{
	const struct draw *a = pa, *b = pb;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

static int
class_of(const struct model *m, const struct sample *s)
{
	if (!order_is_gold(m, s))
		return -1;
	return m->hp.head == HEAD_REGRESS || head_gives_tokens(m->hp.head) ?
	    0 : s->label;
}

/* Gives the samples of a class, list[0..n), their places. */
static void
draw_class(struct draw *by, int64_t *list, int64_t n, struct rng *rng)
{
	rng_shuffle(rng, list, n);
	for (int64_t i = 0; i < n; i++)
		by[list[i]] = (struct draw){ ((double)i + rng_uniform(rng)) /
		    (double)n, list[i] };
}

/* o->sample serves as the list of samples by class meanwhile. */
static enum pare_rc
draw_samples(struct order *o, const struct model *m, const struct dataset *d,
    struct pare_err *err)
{
	struct draw *by = mem_big((size_t)o->n, sizeof(*by), err);
	int64_t first = 0, last;
	struct rng rng;

	if (by == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < o->n; i++) {
		by[i] = (struct draw){ class_of(m, &d->sample[i]), i };
		o->labelled += by[i].key >= 0;
	}
	qsort(by, (size_t)o->n, sizeof(*by), draw_compare);
	for (int64_t i = 0; i < o->n; i++)
		o->sample[i] = by[i].at;
	rng_seed(&rng, d->hash);
	for (; first < o->n; first = last) {
		int class = class_of(m, &d->sample[o->sample[first]]);

		last = first + 1;
		while (last < o->n && class ==
		    class_of(m, &d->sample[o->sample[last]]))
			last++;
		draw_class(by, o->sample + first, last - first, &rng);
	}
	qsort(by, (size_t)o->n, sizeof(*by), draw_compare);
	for (int64_t i = 0; i < o->n; i++)
		o->sample[i] = by[i].at;
	free(by);
	return PARE_OK;
}

/* The hidden tokens of a sample give way to the mask. */
static void
hide(const struct dataset *d, const struct sample *s, int32_t *ids)
{
	for (int k = 0; k < s->nscored; k++)
		ids[s->scored[k]] = d->mask;
}

static void
lay_out(struct order *o, const struct dataset *d)
{
	int64_t at = 0;

	for (int64_t i = 0; i < o->n; i++) {
		const struct tokens *t = &d->sample[o->sample[i]].tokens;
		size_t size = (size_t)t->n * sizeof(*t->id);

		o->token[i] = at;
		if (t->n > 0) {
			memcpy(o->ids + at, t->id, size);
			if (d->cut.custom == CUT_MASKED)
				hide(d, &d->sample[o->sample[i]], o->ids + at);
			if (o->types != NULL)
				memcpy(o->types + at, t->type, size);
		}
		at += t->n;
	}
	o->token[o->n] = at;
}

/* Tokens that a batch may have which begins at token `at` of `all`, the one
 * before having had at most `last`. */
static int64_t
batch_limit(int64_t at, int64_t all, int64_t last)
{
	int64_t grown = at == 0 ? BATCH_FIRST : 2 * last;
	int64_t end = (all - at) / 8;

	end = end < BATCH_LAST ? BATCH_LAST : end;
	grown = grown < end ? grown : end;
	return grown < BATCH_MOST ? grown : BATCH_MOST;
}

/* Whole sequences, at least one a batch. */
static void
cut(struct order *o)
{
	int64_t first = 0, limit = 0;

	while (first < o->n) {
		int64_t begin = o->token[first], last = first + 1;

		limit = batch_limit(begin, o->token[o->n], limit);
		while (last < o->n && last - first < limit &&
		    o->token[last + 1] - begin <= limit)
			last++;
		o->batch[o->nbatches++] = first;
		o->room = last - first > o->room ? last - first : o->room;
		first = last;
	}
	o->batch[o->nbatches] = o->n;
	for (int64_t i = 0; i <= o->nbatches; i++)
		o->batch_token[i] = o->token[o->batch[i]];
}

static void
count_scored(struct order *o, const struct dataset *d)
{
	for (int64_t i = 0; i < o->nbatches; i++) {
		int64_t n = 0;

		for (int64_t k = o->batch[i]; k < o->batch[i + 1]; k++)
			n += d->sample[o->sample[k]].nscored;
		o->scored = n > o->scored ? n : o->scored;
	}
}

enum pare_rc
order_make(struct order *o, const struct model *m, const struct dataset *d,
    struct pare_err *err)
{
	size_t n = (size_t)d->n, tokens = 0;

	memset(o, 0, sizeof(*o));
	o->n = d->n;
	for (int64_t i = 0; i < d->n; i++)
		tokens += (size_t)d->sample[i].tokens.n;
	if ((o->sample = mem_big(n, sizeof(*o->sample), err)) == NULL ||
	    (o->token = mem_big(n + 1, sizeof(*o->token), err)) == NULL ||
	    (o->batch = mem_big(n + 1, sizeof(*o->batch), err)) == NULL ||
	    (o->batch_token = mem_big(n + 1, sizeof(*o->batch_token), err)) ==
	    NULL || (o->ids = mem_big(tokens, sizeof(*o->ids), err)) == NULL)
		return PARE_ENOMEM;
	if (m->hp.types > 0 &&
	    (o->types = mem_big(tokens, sizeof(*o->types), err)) == NULL)
		return PARE_ENOMEM;
	if (draw_samples(o, m, d, err) != PARE_OK)
		return PARE_ENOMEM;
	lay_out(o, d);
	cut(o);
	count_scored(o, d);
	return PARE_OK;
}

void
order_free(struct order *o)
{
	free(o->sample);
	free(o->token);
	free(o->batch);
	free(o->batch_token);
	free(o->ids);
	free(o->types);
	memset(o, 0, sizeof(*o));
}

struct batch
order_batch(const struct order *o, int64_t i, int64_t *start)
{
	int64_t first = o->batch[i], n = o->batch[i + 1] - first;
	int64_t begin = o->token[first];

	for (int64_t k = 0; k <= n; k++)
		start[k] = o->token[first + k] - begin;
	return (struct batch){ .nseq = (int)n, .start = start,
		.ids = o->ids + begin,
		.types = o->types != NULL ? o->types + begin : NULL };
}
