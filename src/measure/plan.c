/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The curve is made unit by unit. A row of buckets over the possible sums keeps
 * of each bucket the choice with the smallest loss so far; the next unit adds
 * each of its options to each of them. Behind each unit choices that use more
 * than another and are not better go. Every kept choice knows the one it came
 * from, so at the end the options are read backwards.
 */
#include "measure/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char *const plan_use_names[PLAN_USES + 1] = { "bytes", "macs",
	"latency", NULL };

/* ---- dominated options ---- */

static bool
not_worse(const struct plan_option *a, const struct plan_option *b,
    unsigned uses)
{
	for (int u = 0; u < PLAN_USES; u++)
		if ((uses & 1u << u) != 0 && a->use[u] > b->use[u])
			return false;
	return a->loss <= b->loss;
}

static enum plan_use
first_use(unsigned uses)
{
	int u = 0;

	while (u < PLAN_USES - 1 && (uses & 1u << u) == 0)
		u++;
	return (enum plan_use)u;
}

int
plan_pareto(struct plan_option *o, int n, unsigned uses)
{
	enum plan_use by = first_use(uses);
	int kept = 0;

	for (int i = 0; i < n; i++) {
		bool stays = true;

		for (int k = 0; k < n && stays; k++)
			stays = k == i || !not_worse(&o[k], &o[i], uses) ||
			    (k > i && not_worse(&o[i], &o[k], uses));
		/* The marks are read by no other comparison: a NaN would be. */
		if (!stays)
			o[i].id = -1 - o[i].id;
	}
	for (int i = 0; i < n; i++)
		if (o[i].id >= 0)
			o[kept++] = o[i];
	for (int i = 1; i < kept; i++) {
		struct plan_option x = o[i];
		int k = i;

		for (; k > 0 && o[k - 1].use[by] > x.use[by]; k--)
			o[k] = o[k - 1];
		o[k] = x;
	}
	return kept;
}

/* ---- the curve ---- */

/* A choice for the first units. */
struct node {
	double use, loss, priced;	/* priced INFINITY: an empty bucket */
	int from;		/* index in the row before */
	short option;
};

struct rows {
	struct node *node;	/* of all units, one behind another */
	int *at, *n;		/* where each begins, and how many it has */
};

static double
priced(const struct plan_option *o, const double *price)
{
	double sum = o->loss;

	for (int u = 0; u < PLAN_USES && price != NULL; u++)
		sum += price[u] * o->use[u];
	return sum;
}

/* Leaves of the buckets what is better than all that uses less. */
static int
sift(const struct node *bucket, struct node *out)
{
	double best = INFINITY;
	int n = 0;

	for (int b = 0; b <= PLAN_BUCKETS; b++)
		if (bucket[b].priced < best) {
			best = bucket[b].priced;
			out[n++] = bucket[b];
		}
	return n;
}

static void
add_unit(const struct node *was, int n, const struct plan_unit *u,
    enum plan_use by, const double *price, double low, double width,
    struct node *bucket)
{
	for (int b = 0; b <= PLAN_BUCKETS; b++)
		bucket[b].priced = INFINITY;
	for (int k = 0; k < u->n; k++) {
		const struct plan_option *o = &u->option[k];
		double more = priced(o, price);

		for (int i = 0; i < n; i++) {
			double use = was[i].use + o->use[by];
			double loss = was[i].priced + more;
			double place = width > 0 ? (use - low) / width : 0;
			int b = place >= PLAN_BUCKETS ? PLAN_BUCKETS :
			    place > 0 ? (int)place : 0;

			if (loss < bucket[b].priced ||
			    (loss == bucket[b].priced &&
			    use < bucket[b].use))
				bucket[b] = (struct node){ use, was[i].loss +
				    o->loss, loss, i, (short)k };
		}
	}
}

static void
range_of(const struct plan_unit *u, enum plan_use by, double *low,
    double *high)
{
	double least = INFINITY, most = -INFINITY;

	for (int k = 0; k < u->n; k++) {
		least = fmin(least, u->option[k].use[by]);
		most = fmax(most, u->option[k].use[by]);
	}
	*low += least;
	*high += most;
}

static void
read_back(struct plan_curve *c, const struct rows *r)
{
	int last = c->units - 1;

	for (int i = 0; i < c->n; i++) {
		int at = i;

		c->use[i] = r->node[r->at[last] + i].use;
		c->loss[i] = r->node[r->at[last] + i].loss;
		for (int u = last; u >= 0; u--) {
			const struct node *x = &r->node[r->at[u] + at];

			c->choice[i * c->units + u] = x->option;
			at = x->from;
		}
	}
}

void
plan_curve_make(struct plan_curve *c, const struct plan_unit *u, int units,
    enum plan_use by, const double *price)
{
	struct node *bucket = xcalloc(PLAN_BUCKETS + 1, sizeof(*bucket));
	const struct node none = { 0 }, *was = &none;
	size_t room = PLAN_BUCKETS + 1;
	double low = 0, high = 0;
	struct rows r;
	int n = 1, at = 0;

	r.node = xcalloc(room * (size_t)units + 1, sizeof(*r.node));
	r.at = xcalloc((size_t)units + 1, 2 * sizeof(*r.at));
	r.n = r.at + units;
	for (int i = 0; i < units; i++) {
		range_of(&u[i], by, &low, &high);
		add_unit(was, n, &u[i], by, price, low,
		    (high - low) / PLAN_BUCKETS, bucket);
		r.at[i] = at;
		n = sift(bucket, r.node + at);
		was = r.node + at;
		at += n;
	}
	*c = (struct plan_curve){ .by = by, .n = units > 0 ? n : 0,
		.units = units };
	c->use = xcalloc((size_t)c->n + 1, sizeof(*c->use));
	c->loss = xcalloc((size_t)c->n + 1, sizeof(*c->loss));
	c->choice = xcalloc((size_t)c->n * (size_t)units + 1,
	    sizeof(*c->choice));
	if (units > 0)
		read_back(c, &r);
	free(r.node);
	free(r.at);
	free(bucket);
}

void
plan_curve_free(struct plan_curve *c)
{
	free(c->use);
	free(c->loss);
	free(c->choice);
	memset(c, 0, sizeof(*c));
}

int
plan_curve_find(const struct plan_curve *c, double limit)
{
	int low = 0, high = c->n;

	while (low < high) {
		int mid = (low + high) / 2;

		if (c->use[mid] <= limit)
			low = mid + 1;
		else
			high = mid;
	}
	return low - 1;
}

void
plan_sum(const struct plan_unit *u, int units, const short *choice,
    double use[PLAN_USES], double *loss)
{
	*loss = 0;
	for (int k = 0; k < PLAN_USES; k++)
		use[k] = 0;
	for (int i = 0; i < units; i++) {
		const struct plan_option *o = &u[i].option[choice[i]];

		*loss += o->loss;
		for (int k = 0; k < PLAN_USES; k++)
			use[k] += o->use[k];
	}
}

/* ---- budgets ---- */

struct search {
	const struct plan_unit *u;
	int units;
	const double *limit;
	enum plan_use by;
	double price[PLAN_USES];
	short *best;
	double loss;		/* of best; INFINITY: there is none */
};

/* The choice at the present prices, kept if it is within all limits and better.
 * over[u]: whether use u is over its limit. */
static void
look(struct search *s, bool over[PLAN_USES])
{
	struct plan_curve c;
	double use[PLAN_USES], loss;
	bool fine = true;
	int i;

	plan_curve_make(&c, s->u, s->units, s->by, s->price);
	i = plan_curve_find(&c, s->limit[s->by]);
	for (int u = 0; u < PLAN_USES; u++)
		over[u] = true;
	if (i >= 0) {
		const short *choice = c.choice + i * s->units;

		plan_sum(s->u, s->units, choice, use, &loss);
		for (int u = 0; u < PLAN_USES; u++) {
			over[u] = use[u] > s->limit[u];
			fine = fine && !over[u];
		}
		if (fine && loss < s->loss) {
			s->loss = loss;
			memcpy(s->best, choice, (size_t)s->units *
			    sizeof(*choice));
		}
	}
	plan_curve_free(&c);
}

/* Finds the price of use u from which on its limit holds, the other prices as
 * they are. */
static void
bisect_price(struct search *s, enum plan_use u)
{
	double low = 0, high = 1e-12, span = 0;
	bool over[PLAN_USES];

	for (int i = 0; i < s->units; i++)
		for (int k = 0; k < s->u[i].n; k++)
			span = fmax(span, s->u[i].option[k].use[u]);
	high = span > 0 ? 1e-6 / span : 1;
	for (int i = 0; i < 40; i++) {
		s->price[u] = high;
		look(s, over);
		if (!over[u])
			break;
		high *= 4;
	}
	for (int i = 0; i < 16; i++) {
		s->price[u] = (low + high) / 2;
		look(s, over);
		if (over[u])
			low = s->price[u];
		else
			high = s->price[u];
	}
	s->price[u] = high;
}

bool
plan_solve(const struct plan_unit *u, int units,
    const double limit[PLAN_USES], short *out, double least[PLAN_USES])
{
	struct search s = { .u = u, .units = units, .limit = limit,
		.best = out, .loss = INFINITY };
	unsigned other = 0;
	bool over[PLAN_USES];
	int by = 0;

	for (int k = 0; k < PLAN_USES; k++) {
		double high = 0;

		least[k] = 0;
		for (int i = 0; i < units; i++)
			range_of(&u[i], (enum plan_use)k, &least[k], &high);
	}
	while (by < PLAN_USES - 1 && !isfinite(limit[by]))
		by++;
	s.by = (enum plan_use)by;
	for (int k = by + 1; k < PLAN_USES; k++)
		other |= isfinite(limit[k]) ? 1u << k : 0;
	look(&s, over);
	/* Twice around: each price moves the others' need. */
	for (int round = 0; round < 2 && !isfinite(s.loss) && other != 0;
	    round++)
		for (int k = 0; k < PLAN_USES; k++)
			if ((other & 1u << k) != 0)
				bisect_price(&s, (enum plan_use)k);
	return isfinite(s.loss);
}

/* ---- rising lines ---- */

struct pool {
	double x, y, weight;
};

static int
pool_order(const void *pa, const void *pb)
{
	const struct pool *a = pa, *b = pb;

	if (a->x != b->x)
		return a->x < b->x ? -1 : 1;
	return (a->y > b->y) - (a->y < b->y);
}

void
plan_fit_make(struct plan_fit *f, const double *x, const double *y, int n)
{
	struct pool *p = xcalloc((size_t)n + 1, sizeof(*p));
	int m = 0;

	for (int i = 0; i < n; i++)
		p[i] = (struct pool){ x[i], y[i], 1 };
	qsort(p, (size_t)n, sizeof(*p), pool_order);
	for (int i = 0; i < n; i++) {
		p[m++] = p[i];
		while (m > 1 && p[m - 1].y <= p[m - 2].y) {
			struct pool *a = &p[m - 2], *b = &p[m - 1];
			double w = a->weight + b->weight;

			*a = (struct pool){ (a->x * a->weight + b->x *
			    b->weight) / w, (a->y * a->weight + b->y *
			    b->weight) / w, w };
			m--;
		}
	}
	*f = (struct plan_fit){ .n = m };
	f->x = xcalloc((size_t)m + 1, sizeof(*f->x));
	f->y = xcalloc((size_t)m + 1, sizeof(*f->y));
	for (int i = 0; i < m; i++) {
		f->x[i] = p[i].x;
		f->y[i] = p[i].y;
	}
	free(p);
}

void
plan_fit_free(struct plan_fit *f)
{
	free(f->x);
	free(f->y);
	memset(f, 0, sizeof(*f));
}

double
plan_fit_at(const struct plan_fit *f, double x)
{
	double x0 = 0, y0 = 0;

	for (int i = 0; i < f->n; i++) {
		if (x <= f->x[i])
			return f->x[i] > x0 ? y0 + (f->y[i] - y0) * (x - x0) /
			    (f->x[i] - x0) : f->y[i];
		x0 = f->x[i];
		y0 = f->y[i];
	}
	return y0;
}
