/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/share_cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/inputs.h"

#define WAYS_MAX 200000.0	/* tried one by one */

/* ---- costs ---- */

/* Adds matrix s of layer[a] against those of all others. */
static enum pare_rc
add_slot(const struct op_input *in, const int *layer, int n, int a, int s,
    double *cost, struct pare_err *err)
{
	const struct model *m = in->model;
	const struct tensor *t = m->layer[layer[a]].t[s];
	struct inputs seen;
	double part;
	enum pare_rc rc = inputs_of(in, t, &seen, err);

	if (rc == PARE_OK && seen.h == NULL)
		rc = err_set(err, PARE_EUSER, "by=cost: no calib sample got "
		    "to L%d", layer[a]);
	if (rc == PARE_OK && !inputs_weigh(&seen, in->calib->squares, t, err))
		rc = err->rc != PARE_OK ? err->rc : err_set(err, PARE_EUSER,
		    "by=cost: L%d has low rank", layer[a]);
	for (int b = 0; b < n && rc == PARE_OK; b++) {
		const struct tensor *u = m->layer[layer[b]].t[s];

		if (u == NULL || u->rows != t->rows || u->cols != t->cols) {
			cost[a * n + b] = INFINITY;
		} else if (u != t) {
			rc = inputs_change(&seen, t, u, in->task, &part, err);
			cost[a * n + b] += rc == PARE_OK ? part : 0;
		}
	}
	inputs_free(&seen);
	return rc;
}

enum pare_rc
share_cost_of(const struct op_input *in, const int *layer, int n,
    uint32_t slots, double *cost, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	memset(cost, 0, (size_t)n * (size_t)n * sizeof *cost);
	for (int a = 0; a < n; a++)
		for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
			if ((slots & OPS_BIT(s)) == 0 ||
			    !slot_table[s].matrix ||
			    in->model->layer[layer[a]].t[s] == NULL)
				continue;
			if (!task_tick(in->task, a, n, "layers"))
				return task_error(err);
			rc = add_slot(in, layer, n, a, s, cost, err);
			if (rc != PARE_OK)
				return rc;
		}
	return PARE_OK;
}

/* ---- leads ---- */

struct search {
	const double *cost;
	int n;
	bool *is, *best;	/* a lead */
	double least;
};

/* The nearest lead of a; the first of equals, itself before others. */
static int
nearest(const struct search *s, const bool *is, int a)
{
	int found = is[a] ? a : -1;

	for (int b = 0; b < s->n; b++)
		if (is[b] && (found < 0 || s->cost[a * s->n + b] <
		    s->cost[a * s->n + found]))
			found = b;
	return found;
}

static double
total(const struct search *s, const bool *is)
{
	double sum = 0;

	for (int a = 0; a < s->n; a++)
		sum += s->cost[a * s->n + nearest(s, is, a)];
	return sum;
}

static void
keep_if_better(struct search *s)
{
	double sum = total(s, s->is);

	if (sum < s->least) {
		s->least = sum;
		memcpy(s->best, s->is, (size_t)s->n);
	}
}

/* All ways to take `left` leads from `from` on. */
static void
try_all(struct search *s, int from, int left)
{
	if (left == 0) {
		keep_if_better(s);
		return;
	}
	for (int a = from; a <= s->n - left; a++) {
		s->is[a] = true;
		try_all(s, a + 1, left - 1);
		s->is[a] = false;
	}
}

/* One exchange that betters what there is; false: none does. */
static bool
exchange(struct search *s)
{
	double was = s->least;

	memcpy(s->is, s->best, (size_t)s->n);
	for (int a = 0; a < s->n; a++)
		for (int b = 0; b < s->n && s->is[a]; b++) {
			if (s->is[b])
				continue;
			s->is[a] = false;
			s->is[b] = true;
			keep_if_better(s);
			s->is[a] = true;
			s->is[b] = false;
		}
	return s->least < was;
}

static double
ways(int n, int k)
{
	return exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0));
}

double
share_cost_lead(const double *cost, int n, int groups, int *lead)
{
	struct search s = { .cost = cost,
		.n = n, .is = xcalloc((size_t)n, sizeof(bool)),
		.best = xcalloc((size_t)n, sizeof(bool)), .least = INFINITY };

	for (int g = 0; g < groups; g++)
		s.best[n * g / groups] = true;
	s.least = total(&s, s.best);
	if (ways(n, groups) <= WAYS_MAX)
		try_all(&s, 0, groups);
	else
		while (exchange(&s))
			;
	for (int a = 0; a < n; a++)
		lead[a] = nearest(&s, s.best, a);
	free(s.is);
	free(s.best);
	return s.least;
}
