/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two results on the same samples: what flipped, and whether that is more than
 * chance. Each flip (right in one, wrong in the other) is a fair coin when the
 * models are equally good; fewer than six flips cannot be told from chance even
 * when all go one way.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "measure/evaluate.h"
#include "measure/score.h"
#include "measure/sequential.h"
#include "measure/stats.h"
#include "measure/tokens.h"

enum { FLIPS_MIN = 6 };

static void
count_flips(const struct evaluation *a, const struct evaluation *b,
    struct comparison *out)
{
	int64_t n = a->total < b->total ? a->total : b->total;

	for (int64_t i = 0; i < n; i++) {
		bool was = a->predicted[i] == a->gold[i];
		bool is = b->predicted[i] == b->gold[i];

		if (b->partial && !b->ran[i])
			continue;
		out->changed += a->predicted[i] != b->predicted[i];
		if (a->gold[i] < 0)
			continue;
		out->fixed += is && !was;
		out->broke += was && !is;
	}
}

/* A comparison that was stopped when it was decided. */
static void
judge_decided(const struct evaluation *b, struct comparison *c)
{
	bool differ = b->odds >= SEQUENTIAL_ODDS;

	c->p = b->odds > 1 ? 1 / b->odds : 1;
	snprintf(c->verdict, sizeof c->verdict, differ ?
	    "%s, decided after %lld of %lld samples" :
	    "%s: after %lld of %lld samples hardly a chance to tell", differ ?
	    c->broke > c->fixed ? "worse" : "better" : "within noise",
	    (long long)b->n, (long long)b->labelled);
}

static void
judge_classes(const struct evaluation *b, struct comparison *c)
{
	long long flips = (long long)(c->fixed + c->broke);
	double level = b->stop == STOP_DECIDED ? SEQUENTIAL_LEVEL : 0.05;
	size_t n = sizeof c->verdict;

	c->p = stats_mcnemar(c->fixed, c->broke);
	if (c->changed == 0)
		snprintf(c->verdict, n, "no prediction changed");
	else if (flips == 0)
		snprintf(c->verdict, n, "%lld predictions changed, none "
		    "between right and wrong", (long long)c->changed);
	else if (c->p < level)
		snprintf(c->verdict, n, "%s (p %.2g)", c->broke > c->fixed ?
		    "worse" : "better", c->p);
	else if (flips < FLIPS_MIN)
		snprintf(c->verdict, n, "within noise: the set is too small: "
		    "%lld flip%s of %lld cannot tell", flips, flips == 1 ? "" :
		    "s", (long long)b->n);
	else
		snprintf(c->verdict, n, "within noise (p %.2g)", c->p);
}

/* Scores have no flips; the intervals of the two values decide. */
static void
judge_scores(const struct evaluation *a, const struct evaluation *b,
    struct comparison *c)
{
	size_t n = sizeof c->verdict;

	c->p = NAN;
	if (b->partial)
		snprintf(c->verdict, n, "not compared: %lld of %lld samples "
		    "ran", (long long)b->n, (long long)b->labelled);
	else if (isnan(c->delta))
		snprintf(c->verdict, n, "undefined: the scores do not vary");
	else if (memcmp(a->logits, b->logits,
	    (size_t)a->total * (size_t)a->labels * sizeof *a->logits) == 0)
		snprintf(c->verdict, n, "no prediction changed");
	else if (b->value < a->low || b->value > a->high)
		snprintf(c->verdict, n, "outside the interval of the other "
		    "(%.4g to %.4g)", a->low, a->high);
	else
		snprintf(c->verdict, n, "within the interval of the other "
		    "(%.4g to %.4g)", a->low, a->high);
}

/* The same texts in other tokens, which are told apart by a result's data. */
static bool
other_tokens(const struct evaluation *a, const struct evaluation *b)
{
	return a->per_token && b->per_token && a->data_hash != b->data_hash;
}

static void
judge_bits(const struct evaluation *a, const struct evaluation *b,
    struct comparison *c)
{
	double was = a->all[METRIC_BITS], is = b->all[METRIC_BITS];
	size_t n = sizeof c->verdict;

	c->other_tokens = true;
	c->p = NAN;
	if (b->metric != METRIC_BITS)
		c->delta = NAN;
	if (b->partial || !isfinite(was) || !isfinite(is) || was <= 0)
		snprintf(c->verdict, n, "not comparable: other tokens");
	else
		snprintf(c->verdict, n, "other tokens: %.4f bits per byte, "
		    "before %.4f (%+.2f %%)", is, was, 100 * (is / was - 1));
}

void
evaluation_compare(const struct evaluation *a, const struct evaluation *b,
    struct comparison *out)
{
	bool scores = metric_table[a->metric].regression || a->labels == 1;

	memset(out, 0, sizeof *out);
	out->delta = b->value - (b->partial && a->total == b->total &&
	    !a->per_token ? score_part(a, b->metric, b->ran) : a->value);
	if (other_tokens(a, b)) {
		judge_bits(a, b, out);
	} else if (a->total != b->total || a->labels != b->labels ||
	    a->per_token != b->per_token) {
		out->p = NAN;
		snprintf(out->verdict, sizeof out->verdict,
		    "not comparable: other samples or other classes");
	} else if (a->per_token) {
		count_flips(a, b, out);
		out->p = stats_mcnemar(out->fixed, out->broke);
		token_compare(a, b, out);
	} else if (scores) {
		judge_scores(a, b, out);
	} else {
		count_flips(a, b, out);
		if (b->partial && b->stop == STOP_DECIDED)
			judge_decided(b, out);
		else
			judge_classes(b, out);
	}
}
