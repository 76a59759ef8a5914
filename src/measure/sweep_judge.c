/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What came out of a pass against labels and against the whole model. Samples
 * have a place in the order of the set; the tokens that are predicted, all but
 * the first of each window, have a number in it: their index less the windows
 * that begin up to there.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/score.h"
#include "measure/sweep_private.h"

static enum pare_rc
open_samples(struct judge *j, struct pare_err *err)
{
	size_t n = (size_t)j->order->n;

	j->n = (double)n;
	j->base = mem_big(n, (size_t)j->labels * sizeof(float), err);
	j->gold = j->base == NULL ? NULL : mem_big(n, sizeof(*j->gold), err);
	if (j->gold == NULL)
		return PARE_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct sample *x = &j->d->sample[j->order->sample[i]];

		j->gold[i] = x->label >= 0 && x->label < j->labels ? x->label :
		    -1;
	}
	return PARE_OK;
}

enum pare_rc
judge_open(struct judge *j, struct pare_err *err)
{
	int64_t n = j->order->token[j->order->n] - j->order->n;

	if (!j->text) {
		j->labels = (int)j->m->hp.labels;
		return open_samples(j, err);
	}
	if (n < 1)
		return err_set(err, PARE_EUSER,
		    "no window of the text has two tokens");
	j->n = (double)n;
	j->was = mem_big((size_t)n, sizeof(*j->was), err);
	if (j->was == NULL)
		return PARE_ENOMEM;
	j->reference = reference_new(n, j->m->hp.vocab);
	if (j->reference != NULL)
		return PARE_OK;
	err_set(err, PARE_EUSER, "what the whole model says of %lld tokens "
	    "cannot be kept", (long long)n);
	return err_hint(err, "samples=N, fewer of them");
}

void
judge_close(struct judge *j)
{
	free(j->base);
	free(j->gold);
	free(j->was);
	reference_free(j->reference);
}

enum pare_rc
judge_lane_open(struct judge_lane *l, const struct judge *j,
    struct pare_err *err)
{
	const struct order *o = j->order;
	int64_t most = 0;

	l->j = j;
	if (!j->text) {
		l->logits = mem_big((size_t)o->room, (size_t)j->labels *
		    sizeof(float), err);
		return l->logits == NULL ? PARE_ENOMEM : PARE_OK;
	}
	for (int64_t i = 0; i < o->nbatches; i++) {
		int64_t n = o->batch_token[i + 1] - o->batch_token[i];

		most = n > most ? n : most;
	}
	l->work = mem_big((size_t)j->m->hp.vocab, 2 * sizeof(float), err);
	l->rows = l->work == NULL ? NULL : mem_big((size_t)most,
	    sizeof(*l->rows), err);
	l->asked = l->rows == NULL ? NULL : mem_big((size_t)most,
	    sizeof(*l->asked), err);
	l->target = l->asked == NULL ? NULL : mem_big((size_t)most,
	    sizeof(*l->target), err);
	return l->target == NULL ? PARE_ENOMEM : PARE_OK;
}

void
judge_lane_close(struct judge_lane *l)
{
	free(l->logits);
	free(l->work);
	free(l->rows);
	free(l->asked);
	free(l->target);
}

static double
log_sum(const float *z, int64_t n)
{
	double sum = 0, top = z[0];

	for (int64_t c = 1; c < n; c++)
		top = z[c] > top ? z[c] : top;
	for (int64_t c = 0; c < n; c++)
		sum += exp(z[c] - top);
	return top + log(sum);
}

static void
count_flip(struct sweep_result *sum, int now, int old, int gold)
{
	sum->value += now == gold;
	sum->fixed += now == gold && old != gold;
	sum->broke += now != gold && old == gold;
	sum->changed += now != old;
}

/* `take` of struct forward. */
static void
take_tokens(const float *z, int64_t first, int64_t n, void *ctx)
{
	struct judge_lane *l = ctx;
	const struct judge *j = l->j;
	int64_t vocab = j->m->hp.vocab;

	for (int64_t i = first; i < first + n; i++, z += vocab) {
		double lse = log_sum(z, vocab);
		int best = score_class(z, (int)vocab);
		int64_t t = l->asked[i];

		if (j->fill) {
			j->was[t] = best;
			reference_put(j->reference, t, z, lse);
		} else {
			l->r.kl += reference_divergence(j->reference, t, z,
			    lse, l->work);
		}
		l->r.loss += lse - z[l->target[i]];
		count_flip(&l->r, best, j->was[t], l->target[i]);
	}
}

void
judge_ask(struct judge_lane *l, int64_t batch, const struct batch *b,
    struct forward *f)
{
	int64_t place = l->j->order->batch[batch], n = 0;

	memset(&l->r, 0, sizeof(l->r));
	if (!l->j->text) {
		f->logits = l->logits;
		return;
	}
	for (int s = 0; s < b->nseq; s++) {
		int64_t at = l->j->order->token[place + s] - (place + s);

		for (int64_t t = b->start[s]; t + 1 < b->start[s + 1]; t++) {
			l->rows[n] = t;
			l->target[n] = b->ids[t + 1];
			l->asked[n++] = at + t - b->start[s];
		}
	}
	f->take = take_tokens;
	f->ctx = l;
	f->rows = l->rows;
	f->nrows = n;
}

/* Adds one sample, at a place, to the sums. */
static void
judge_sample(const struct judge *j, int64_t place, const float *z,
    struct sweep_result *sum)
{
	const float *was = j->base + place * j->labels;
	const struct sample *x = &j->d->sample[j->order->sample[place]];
	int gold = j->gold[place];
	double a, b;

	if (j->m->hp.head == HEAD_REGRESS) {
		double want = isnan(x->score) ? was[0] : x->score;

		sum->loss += (z[0] - want) * (z[0] - want);
		sum->kl += ((double)z[0] - was[0]) * ((double)z[0] - was[0]);
		return;
	}
	a = log_sum(z, j->labels);
	b = log_sum(was, j->labels);
	sum->loss += a - z[gold];
	for (int c = 0; c < j->labels; c++)
		sum->kl += exp(was[c] - b) * ((was[c] - b) - (z[c] - a));
	count_flip(sum, score_class(z, j->labels), score_class(was,
	    j->labels), gold);
}

void
judge_batch(struct judge_lane *l, int64_t batch, const struct batch *b)
{
	const struct judge *j = l->j;
	int64_t first = j->order->batch[batch];

	if (j->text)
		return;
	if (j->fill)
		memcpy(j->base + first * j->labels, l->logits,
		    (size_t)b->nseq * (size_t)j->labels * sizeof(float));
	for (int64_t i = 0; i < b->nseq && j->fill; i++)
		if (j->gold[first + i] < 0)
			j->gold[first + i] = score_class(l->logits +
			    i * j->labels, j->labels);
	for (int64_t i = 0; i < b->nseq; i++)
		judge_sample(j, first + i, l->logits + i * j->labels, &l->r);
}

void
judge_add(const struct judge *j, struct sweep_result *to,
    const struct sweep_result *x, bool first, bool last)
{
	if (first)
		memset(to, 0, sizeof(*to));
	to->loss += x->loss / j->n;
	to->kl += x->kl / j->n;
	to->value += x->value / j->n;
	to->fixed += x->fixed;
	to->broke += x->broke;
	to->changed += x->changed;
	if (last && j->m->hp.head == HEAD_REGRESS)
		to->value = -to->loss;
}
