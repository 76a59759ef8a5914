/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All metrics of tokens are ratios of sums over windows: the loss is nats by
 * tokens, the perplexity its exponential, bits per byte the nats in bits by the
 * bytes of text, the accuracy hits by tokens. So are their paired differences,
 * and one formula gives all intervals.
 */
#include "measure/tokens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"

enum { SUMS = 6 };

enum pare_rc
token_score_open(struct token_score *s, int64_t n, struct pare_err *err)
{
	double *v;

	memset(s, 0, sizeof(*s));
	v = mem_big((size_t)n, SUMS * sizeof(*v), err);
	if (v == NULL)
		return PARE_ENOMEM;
	s->lost = v;
	s->count = v + n;
	s->right = v + 2 * n;
	s->bytes = v + 3 * n;
	s->kl = v + 4 * n;
	s->same = v + 5 * n;
	return PARE_OK;
}

void
token_score_close(struct token_score *s)
{
	free(s->lost);
	memset(s, 0, sizeof(*s));
}

void
token_score_add(struct token_score *s, const struct evaluation *v, int64_t w)
{
	double lost = 0, right = 0, kl = 0, same = 0;
	int64_t i = s->n;

	if (v->window[w] == v->window[w + 1])
		return;
	s->n++;
	for (int64_t t = v->window[w]; t < v->window[w + 1]; t++) {
		lost -= (double)v->logits[t];
		right += v->predicted[t] == v->gold[t];
		kl += v->kl != NULL ? (double)v->kl[t] : 0;
		same += v->same != NULL ? v->same[t] : 0;
	}
	s->lost[i] = lost;
	s->count[i] = (double)(v->window[w + 1] - v->window[w]);
	s->right[i] = right;
	s->bytes[i] = (double)v->bytes[w];
	s->kl[i] = kl;
	s->same[i] = same;
	s->has_kl = v->kl != NULL;
	s->tokens += v->window[w + 1] - v->window[w];
}

static struct stats_ratio
ratio_of(const struct token_score *s, enum metric metric)
{
	struct stats_ratio r;

	switch (metric) {
	case METRIC_ACCURACY:
		r = stats_ratio(s->right, s->count, s->n);
		r.low = r.low < 0 ? 0 : r.low;
		r.high = r.high > 1 ? 1 : r.high;
		return r;
	case METRIC_BITS:
		r = stats_ratio(s->lost, s->bytes, s->n);
		r.value /= M_LN2;
		r.low /= M_LN2;
		r.high /= M_LN2;
		return r;
	case METRIC_PERPLEXITY:
		r = stats_ratio(s->lost, s->count, s->n);
		r.value = exp(r.value);
		r.low = exp(r.low);
		r.high = exp(r.high);
		return r;
	default:
		return stats_ratio(s->lost, s->count, s->n);
	}
}

void
token_score_value(const struct token_score *s, enum metric metric, bool only,
    struct evaluation *v)
{
	struct stats_ratio r;

	v->n = s->tokens;
	v->metric = metric;
	for (int i = 0; i < METRIC_COUNT; i++) {
		bool fits = i == METRIC_ACCURACY || i == METRIC_LOSS ||
		    metric_table[i].tokens;

		v->all[i] = fits && (!only || i == (int)metric ||
		    i == METRIC_LOSS) ? ratio_of(s, (enum metric)i).value :
		    NAN;
	}
	r = ratio_of(s, metric);
	v->value = r.value;
	v->low = r.low;
	v->high = r.high;
	v->loss = v->all[METRIC_LOSS];
}

/* Of the tokens that ran. */
static void
spread(struct evaluation *v)
{
	struct divergence *d = &v->divergence;
	double *x = mem_big((size_t)v->total, sizeof(*x), NULL);
	int64_t n = 0;

	d->median = d->p99 = d->max = NAN;
	if (x == NULL)
		return;
	for (int64_t t = 0; t < v->total; t++)
		if (v->ran == NULL || v->ran[t])
			x[n++] = (double)v->kl[t];
	if (n > 0) {
		d->median = stats_quantile(x, n, 0.5);
		d->p99 = stats_quantile(x, n, 0.99);
		d->max = stats_quantile(x, n, 1);
	}
	free(x);
}

void
token_score_divergence(const struct token_score *s, struct evaluation *v)
{
	struct divergence *d = &v->divergence;
	struct stats_ratio r = stats_ratio(s->kl, s->count, s->n);

	if (v->kl == NULL)
		return;
	d->mean = r.value;
	d->low = r.low < 0 ? 0 : r.low;
	d->high = r.high;
	r = stats_ratio(s->same, s->count, s->n);
	d->same = r.value;
	d->same_low = r.low < 0 ? 0 : r.low;
	d->same_high = r.high > 1 ? 1 : r.high;
	spread(v);
}

enum pare_rc
token_windows(struct evaluation *v, const struct dataset *d,
    struct pare_err *err)
{
	v->per_token = true;
	v->labels = 1;
	v->windows = d->n;
	v->window = mem_big((size_t)d->n + 1, sizeof(*v->window), err);
	v->bytes = mem_big((size_t)d->n, sizeof(*v->bytes), err);
	if (v->gold == NULL)
		v->gold = mem_big((size_t)d->nscored, sizeof(*v->gold), err);
	if (v->window == NULL || v->bytes == NULL || v->gold == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		v->window[i] = s->scored_at;
		v->bytes[i] = (float)s->scored_bytes;
		for (int k = 0; k < s->nscored; k++)
			v->gold[s->scored_at + k] = s->tokens.id[s->scored[k]];
	}
	v->window[d->n] = d->nscored;
	return PARE_OK;
}

/* ---- two results ---- */

/* Sums of both in windows that ran: differences of b from a. */
struct pairs {
	int64_t n;
	double *lost, *count, *right, *bytes;
};

static void
add_pair(struct pairs *p, const struct evaluation *a,
    const struct evaluation *b, int64_t w)
{
	double lost = 0, right = 0;

	for (int64_t t = a->window[w]; t < a->window[w + 1]; t++) {
		lost += (double)a->logits[t] - (double)b->logits[t];
		right += (b->predicted[t] == b->gold[t]) -
		    (a->predicted[t] == a->gold[t]);
	}
	p->lost[p->n] = lost;
	p->right[p->n] = right;
	p->count[p->n] = (double)(a->window[w + 1] - a->window[w]);
	p->bytes[p->n++] = (double)a->bytes[w];
}

/* The difference of the metric itself. */
static double
delta_of(const struct evaluation *a, const struct evaluation *b,
    const struct pairs *p, struct stats_ratio lost)
{
	double before = 0, count = 0;

	if (b->metric == METRIC_ACCURACY)
		return stats_ratio(p->right, p->count, p->n).value;
	if (b->metric == METRIC_BITS)
		return stats_ratio(p->lost, p->bytes, p->n).value / M_LN2;
	if (b->metric != METRIC_PERPLEXITY)
		return lost.value;
	for (int64_t t = 0; t < a->total; t++)
		if (b->ran == NULL || b->ran[t]) {
			before -= (double)a->logits[t];
			count++;
		}
	return exp(before / count) * expm1(lost.value);
}

static void
judge(const struct comparison *c, char *out, size_t n)
{
	if (isnan(c->ratio_p))
		snprintf(out, n, "one window tells no difference from chance");
	else if (c->ratio == 1 && c->changed == 0)
		snprintf(out, n, "no prediction changed");
	else if (c->ratio_p >= 0.05)
		snprintf(out, n, "within noise: perplexity x %.4f (%.4f to "
		    "%.4f)", c->ratio, c->ratio_low, c->ratio_high);
	else
		snprintf(out, n, "%s: perplexity x %.4f (%.4f to %.4f)",
		    c->ratio > 1 ? "worse" : "better", c->ratio,
		    c->ratio_low, c->ratio_high);
}

void
token_compare(const struct evaluation *a, const struct evaluation *b,
    struct comparison *out)
{
	double *v = mem_big((size_t)a->windows, 4 * sizeof(*v), NULL);
	struct pairs p = { 0 };
	struct stats_ratio r;

	out->ratio = out->ratio_low = out->ratio_high = out->ratio_p = NAN;
	out->delta = NAN;
	if (v == NULL) {
		snprintf(out->verdict, sizeof(out->verdict),
		    "not compared: no memory");
		return;
	}
	p.lost = v;
	p.count = v + a->windows;
	p.right = v + 2 * a->windows;
	p.bytes = v + 3 * a->windows;
	for (int64_t w = 0; w < a->windows; w++)
		if (a->window[w] < a->window[w + 1] && (b->ran == NULL ||
		    b->ran[a->window[w]]))
			add_pair(&p, a, b, w);
	r = stats_ratio(p.lost, p.count, p.n);
	out->delta = delta_of(a, b, &p, r);
	out->ratio = exp(r.value);
	out->ratio_low = exp(r.low);
	out->ratio_high = exp(r.high);
	out->ratio_p = r.p;
	judge(out, out->verdict, sizeof(out->verdict));
	free(v);
}
