/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"

enum { ROUNDS_MAX = 1000, ROUNDS_MIN = 100 };

const struct metric_facts metric_table[METRIC_COUNT] = {
	[METRIC_ACCURACY] = { "accuracy", "share of predictions that are right",
	    true, false, false },
	[METRIC_F1] = { "f1",
	    "harmonic mean of precision and recall of class 1",
	    true, false, false },
	[METRIC_MCC] = { "mcc",
	    "Matthews correlation of predictions and labels",
	    false, false, false },
	[METRIC_PEARSON] = { "pearson", "linear correlation of scores", false,
	    true, false },
	[METRIC_SPEARMAN] = { "spearman", "rank correlation of scores", false,
	    true, false },
	[METRIC_LOSS] = { "loss", "mean cross-entropy, or mean squared error "
	    "of scores", false, false, false },
	[METRIC_PERPLEXITY] = { "perplexity", "of models of tokens: e to the "
	    "mean cross-entropy of a token", false, false, true },
	[METRIC_BITS] = { "bits_per_byte", "of models of tokens: cross-entropy "
	    "by bytes of text", false, false, true },
};

bool
metric_fits(enum metric metric, enum head_kind head)
{
	const struct metric_facts *f = &metric_table[metric];

	if (metric == METRIC_LOSS)
		return true;
	if (head_gives_tokens(head))
		return f->tokens || metric == METRIC_ACCURACY;
	return !f->tokens && f->regression == (head == HEAD_REGRESS);
}

bool
metric_falls(enum metric metric)
{
	return metric == METRIC_LOSS || metric_table[metric].tokens;
}

enum metric
metric_of(enum head_kind head)
{
	return head == HEAD_REGRESS ? METRIC_PEARSON : head == HEAD_LM ?
	    METRIC_PERPLEXITY : METRIC_ACCURACY;
}

bool
metric_find(const char *name, enum metric *out)
{
	for (int i = 0; i < METRIC_COUNT; i++)
		if (strcmp(metric_table[i].name, name) == 0) {
			*out = (enum metric)i;
			return true;
		}
	return false;
}

enum pare_rc
score_open(struct score *s, int64_t n, struct pare_err *err)
{
	memset(s, 0, sizeof(*s));
	s->gold = mem_big((size_t)n, 4 * sizeof(*s->gold), err);
	if (s->gold == NULL)
		return PARE_ENOMEM;
	s->wanted = mem_big((size_t)n, 5 * sizeof(*s->wanted), err);
	if (s->wanted == NULL) {
		score_close(s);
		return PARE_ENOMEM;
	}
	s->predicted = s->gold + n;
	s->gold2 = s->gold + 2 * n;
	s->predicted2 = s->gold + 3 * n;
	s->guess = s->wanted + n;
	s->loss = s->wanted + 2 * n;
	s->wanted2 = s->wanted + 3 * n;
	s->guess2 = s->wanted + 4 * n;
	return PARE_OK;
}

void
score_close(struct score *s)
{
	free(s->gold);
	free(s->wanted);
	memset(s, 0, sizeof(*s));
}

int
score_class(const float *v, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (v[i] > v[best])
			best = i;
	return best;
}

static double
cross_entropy(const float *logits, int n, int gold)
{
	double top = logits[score_class(logits, n)], sum = 0;

	for (int i = 0; i < n; i++)
		sum += exp(logits[i] - top);
	return log(sum) + top - logits[gold];
}

void
score_add(struct score *s, const struct model *m, const struct sample *x,
    const float *logits, int labels)
{
	bool regression = m->hp.head == HEAD_REGRESS;
	int64_t i = s->n++;

	s->gold[i] = regression ? 0 : x->label;
	s->predicted[i] = score_class(logits, labels);
	s->wanted[i] = x->score;
	s->guess[i] = logits[0];
	s->loss[i] = regression ? (logits[0] - x->score) *
	    (logits[0] - x->score) : cross_entropy(logits, labels, x->label);
	s->right += s->gold[i] == s->predicted[i];
	s->lost += s->loss[i];
}

static double
metric_value(enum metric metric, const int *gold, const int *predicted,
    const double *wanted, const double *guess, int64_t n)
{
	switch (metric) {
	case METRIC_F1:
		return stats_f1(gold, predicted, n);
	case METRIC_MCC:
		return stats_mcc(gold, predicted, n);
	case METRIC_PEARSON:
		return stats_pearson(wanted, guess, n);
	case METRIC_SPEARMAN:
		return stats_spearman(wanted, guess, n);
	default:
		return NAN;
	}
}

/* stats_statistic: the metric of a draw. */
static double
drawn_metric(void *ctx, const int64_t *index, int64_t n)
{
	struct score *s = ctx;
	double sum = 0;

	if (s->metric == METRIC_LOSS) {
		for (int64_t i = 0; i < n; i++)
			sum += s->loss[index[i]];
		return sum / (double)n;
	}
	for (int64_t i = 0; i < n; i++) {
		s->gold2[i] = s->gold[index[i]];
		s->predicted2[i] = s->predicted[index[i]];
		s->wanted2[i] = s->wanted[index[i]];
		s->guess2[i] = s->guess[index[i]];
	}
	return metric_value(s->metric, s->gold2, s->predicted2, s->wanted2,
	    s->guess2, n);
}

void
score_interval(struct score *s, int64_t draws, struct evaluation *v)
{
	int64_t rounds;

	if (isnan(v->value)) {
		v->low = v->high = NAN;
		return;
	}
	if (v->metric == METRIC_ACCURACY) {
		stats_wilson(s->right, s->n, &v->low, &v->high);
		return;
	}
	/* Ranking sorts, so it gets a tenth of the draws. */
	rounds = (v->metric == METRIC_SPEARMAN ? draws / 10 : draws) / s->n;
	rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds < ROUNDS_MIN ?
	    ROUNDS_MIN : rounds;
	s->metric = v->metric;
	stats_bootstrap(drawn_metric, s, s->n, (int)rounds, v->data_hash,
	    &v->low, &v->high);
}

static double
value_of(const struct score *s, enum metric metric)
{
	if (s->n == 0)
		return NAN;
	if (metric == METRIC_ACCURACY)
		return (double)s->right / (double)s->n;
	if (metric == METRIC_LOSS)
		return s->lost / (double)s->n;
	return metric_value(metric, s->gold, s->predicted, s->wanted,
	    s->guess, s->n);
}

void
score_value(const struct score *s, const struct model *m, enum metric metric,
    bool only, struct evaluation *v)
{
	v->n = s->n;
	v->metric = metric < METRIC_COUNT ? metric : metric_of(m->hp.head);
	for (int i = 0; i < METRIC_COUNT; i++) {
		bool fits = metric_fits((enum metric)i, m->hp.head) &&
		    (i != METRIC_F1 || v->labels == 2) &&
		    (!only || i == (int)v->metric);

		v->all[i] = fits || i == METRIC_LOSS ?
		    value_of(s, (enum metric)i) : NAN;
	}
	v->loss = v->all[METRIC_LOSS];
	v->value = v->all[v->metric];
}

double
score_part(const struct evaluation *v, enum metric metric, const uint8_t *ran)
{
	struct score s;
	double value;

	if (metric_table[metric].regression || v->labels < 2 ||
	    score_open(&s, v->total, NULL) != PARE_OK)
		return NAN;
	for (int64_t i = 0; i < v->total; i++) {
		const float *logits = v->logits + i * v->labels;

		if (!ran[i] || v->gold[i] < 0)
			continue;
		s.gold[s.n] = v->gold[i];
		s.predicted[s.n] = v->predicted[i];
		s.right += v->gold[i] == v->predicted[i];
		s.lost += cross_entropy(logits, v->labels, v->gold[i]);
		s.n++;
	}
	value = value_of(&s, metric);
	score_close(&s);
	return value;
}
