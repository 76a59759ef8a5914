/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/choose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	BUCKETS = 4096,		/* of the dynamic programme */
	WORK_MAX = 1 << 27	/* options times buckets worth trying */
};

struct chooser {
	const struct choose_thing *thing;
	int n;
	int64_t budget;
};

/* A step of a thing from one option of its hull to the next. */
struct step {
	double rate;		/* loss saved per cost */
	int thing, to, at;	/* at: which step of the thing */
};

static const struct choose_option *
option(const struct chooser *c, int i, int k)
{
	return &c->thing[i].option[k];
}

static double
total_loss(const struct chooser *c, const int *pick)
{
	double sum = 0;

	for (int i = 0; i < c->n; i++)
		sum += option(c, i, pick[i])->loss;
	return sum;
}

static int64_t
total_cost(const struct chooser *c, const int *pick)
{
	int64_t sum = 0;

	for (int i = 0; i < c->n; i++)
		sum += option(c, i, pick[i])->cost;
	return sum;
}

/* The cheapest of each; of those the one that loses least. */
static void
pick_cheapest(const struct chooser *c, int *pick)
{
	for (int i = 0; i < c->n; i++) {
		pick[i] = 0;
		for (int k = 1; k < c->thing[i].n; k++) {
			const struct choose_option *a = option(c, i, pick[i]);
			const struct choose_option *b = option(c, i, k);

			if (b->cost < a->cost || (b->cost == a->cost &&
			    b->loss < a->loss))
				pick[i] = k;
		}
	}
}

/* The step from `from` along the hull: what saves most per cost; of equals the
 * farthest. False at its end. */
static bool
next_step(const struct chooser *c, int i, int from, struct step *s)
{
	const struct choose_option *a = option(c, i, from);

	*s = (struct step){ .rate = 0, .thing = i, .to = -1 };
	for (int k = 0; k < c->thing[i].n; k++) {
		const struct choose_option *b = option(c, i, k);
		double rate;

		if (b->cost <= a->cost || !(b->loss < a->loss))
			continue;
		rate = (a->loss - b->loss) / (double)(b->cost - a->cost);
		if (rate > s->rate || (rate == s->rate && s->to >= 0 &&
		    b->cost > option(c, i, s->to)->cost)) {
			s->rate = rate;
			s->to = k;
		}
	}
	return s->to >= 0;
}

static int
compare_steps(const void *pa, const void *pb)
{
	const struct step *a = pa, *b = pb;

	if (a->thing == b->thing)
		return a->at - b->at;
	if (a->rate != b->rate)
		return a->rate > b->rate ? -1 : 1;
	return a->thing - b->thing;
}

/* All hull steps, best rate first. Rates of one thing only fall, so that its
 * steps stay in order; rounding must not turn them. */
static struct step *
list_steps(const struct chooser *c, const int *from, int *n)
{
	struct step *list = NULL, s;
	int cap = 0;

	*n = 0;
	for (int i = 0; i < c->n; i++) {
		double last = INFINITY;
		int at = from[i];

		for (int k = 0; next_step(c, i, at, &s); k++) {
			if (*n == cap) {
				cap = cap == 0 ? 64 : 2 * cap;
				list = xrealloc(list,
				    (size_t)cap * sizeof *list);
			}
			s.at = k;
			s.rate = last = fmin(last, s.rate);
			list[(*n)++] = s;
			at = s.to;
		}
	}
	if (*n > 0)
		qsort(list, (size_t)*n, sizeof *list, compare_steps);
	return list;
}

static void
pick_by_hull(const struct chooser *c, int *pick)
{
	int64_t left = c->budget - total_cost(c, pick);
	char *stopped = xcalloc((size_t)c->n, 1);
	struct step *step;
	int n;

	step = list_steps(c, pick, &n);
	for (int s = 0; s < n; s++) {
		int i = step[s].thing;
		int64_t more = option(c, i, step[s].to)->cost -
		    option(c, i, pick[i])->cost;

		stopped[i] = stopped[i] || more > left;
		if (stopped[i])
			continue;
		pick[i] = step[s].to;
		left -= more;
	}
	free(step);
	free(stopped);
}

/* Single changes that still fit, the one that saves most first. */
static void
fill_up(const struct chooser *c, int *pick)
{
	int64_t left = c->budget - total_cost(c, pick);

	for (;;) {
		double best = 0;
		int thing = -1, to = 0;

		for (int i = 0; i < c->n; i++)
			for (int k = 0; k < c->thing[i].n; k++) {
				const struct choose_option *a =
				    option(c, i, pick[i]);
				const struct choose_option *b = option(c, i, k);

				if (b->cost - a->cost > left ||
				    !(a->loss - b->loss > best))
					continue;
				best = a->loss - b->loss;
				thing = i;
				to = k;
			}
		if (thing < 0)
			return;
		left -= option(c, thing, to)->cost -
		    option(c, thing, pick[thing])->cost;
		pick[thing] = to;
	}
}

/* ---- over buckets ---- */

struct table {
	double *loss;		/* (2, BUCKETS + 1) */
	uint16_t *from;		/* (things, BUCKETS + 1): option taken */
	double width;		/* cost of a bucket */
};

/* Buckets that option k of thing i takes beyond the cheapest. */
static int64_t
buckets_of(const struct chooser *c, const struct table *t, const int *least,
    int i, int k)
{
	int64_t more = option(c, i, k)->cost - option(c, i, least[i])->cost;

	return more > c->budget ? BUCKETS + 1 :
	    (int64_t)ceil((double)more / t->width);
}

static void
add_thing(const struct chooser *c, const struct table *t, const int *least,
    int i, const double *was, double *is)
{
	uint16_t *from = t->from + (size_t)i * (BUCKETS + 1);

	for (int b = 0; b <= BUCKETS; b++)
		is[b] = INFINITY;
	for (int k = 0; k < c->thing[i].n; k++) {
		int64_t need = buckets_of(c, t, least, i, k);
		double loss = option(c, i, k)->loss;

		for (int64_t b = need; b <= BUCKETS; b++)
			if (was[b - need] + loss < is[b]) {
				is[b] = was[b - need] + loss;
				from[b] = (uint16_t)k;
			}
	}
}

/* From the cheapest in pick to what the table says is best. */
static enum pare_rc
pick_by_table(const struct chooser *c, int *pick, struct pare_err *err)
{
	size_t row = BUCKETS + 1;
	struct table t = {
		.loss = mem_big_zero(2 * row, sizeof *t.loss, err),
		.width = (double)(c->budget - total_cost(c, pick)) / BUCKETS
	};
	int64_t at = BUCKETS;
	int *least;

	if (t.loss == NULL)
		return PARE_ENOMEM;
	if (!(t.width > 0)) {	/* the cheapest are all there is */
		free(t.loss);
		return PARE_OK;
	}
	t.from = mem_big((size_t)c->n * row, sizeof *t.from, err);
	if (t.from == NULL) {
		free(t.loss);
		return PARE_ENOMEM;
	}
	least = xcalloc((size_t)c->n, sizeof *least);
	memcpy(least, pick, (size_t)c->n * sizeof *least);
	for (int i = 0; i < c->n; i++)
		add_thing(c, &t, least, i, t.loss + (size_t)(i & 1) * row,
		    t.loss + (size_t)(~i & 1) * row);
	for (int i = c->n - 1; i >= 0; i--) {
		pick[i] = t.from[(size_t)i * row + (size_t)at];
		at -= buckets_of(c, &t, least, i, pick[i]);
	}
	free(least);
	free(t.loss);
	free(t.from);
	return PARE_OK;
}

static bool
worth_a_table(const struct chooser *c)
{
	int64_t options = 0;

	for (int i = 0; i < c->n; i++) {
		if (c->thing[i].n > UINT16_MAX)
			return false;
		options += c->thing[i].n;
	}
	return options <= WORK_MAX / BUCKETS;
}

enum pare_rc
choose_least(const struct choose_thing *thing, int n, int64_t budget,
    int *pick, int64_t *cost, double *loss, struct pare_err *err)
{
	struct chooser c = { thing, n, budget };
	enum pare_rc rc = PARE_OK;
	int *other;

	pick_cheapest(&c, pick);
	if (total_cost(&c, pick) <= budget && n > 0) {
		other = xcalloc((size_t)n, sizeof *other);
		memcpy(other, pick, (size_t)n * sizeof *other);
		pick_by_hull(&c, pick);
		fill_up(&c, pick);
		if (worth_a_table(&c) &&
		    (rc = pick_by_table(&c, other, err)) == PARE_OK) {
			fill_up(&c, other);
			if (total_cost(&c, other) <= budget &&
			    total_loss(&c, other) < total_loss(&c, pick))
				memcpy(pick, other, (size_t)n * sizeof *pick);
		}
		free(other);
	}
	*cost = total_cost(&c, pick);
	*loss = total_loss(&c, pick);
	return rc;
}
