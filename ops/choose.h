/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * choose: one option for each of several things, at the least loss that fits a
 * budget (the multiple-choice knapsack): bits or ranks of matrices.
 *
 * Two ways, of which the better is taken: steps along the lower convex hull of
 * each thing's options, the most loss saved per cost first (the best there is
 * when the budget ends on a step, and near it otherwise), and dynamic
 * programming over buckets of cost. What is left of the budget is filled up.
 */
#ifndef PARE_OPS_CHOOSE_H
#define PARE_OPS_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct choose_option {
	int64_t cost;
	double loss;
};

struct choose_thing {
	int n;				/* 1 or more */
	const struct choose_option *option;	/* borrowed, in any order */
};

/*
 * pick[i] becomes an option of thing i. The same input gives the same choice.
 * *cost is what the choice costs; where even the cheapest options cost more than
 * the budget, they are picked and it is that (more than the budget). PARE_ENOMEM.
 */
enum pare_rc choose_least(const struct choose_thing *thing, int n,
    int64_t budget, int *pick, int64_t *cost, double *loss,
    struct pare_err *err);

#endif
