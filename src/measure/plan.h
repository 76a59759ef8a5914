/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * plan: which option to take of each part of a model, so that what all of them
 * use stays within a budget and the loss is least. Numbers only; what the parts
 * and options are is for the caller (session/plan_book.h).
 *
 * A unit is a part; exactly one of its options is taken. What options use
 * (bytes, multiply-adds, milliseconds) and what they cost add up: a
 * multiple-choice knapsack.
 */
#ifndef PARE_MEASURE_PLAN_H
#define PARE_MEASURE_PLAN_H

#include <stdbool.h>

enum plan_use { PLAN_BYTES, PLAN_MACS, PLAN_MS, PLAN_USES };
extern const char *const plan_use_names[PLAN_USES + 1];

struct plan_option {
	double use[PLAN_USES];	/* of the unit, when it is taken */
	double loss;		/* predicted rise */
	int id;			/* the caller's */
};

struct plan_unit {
	int n;
	struct plan_option *option;
};

/*
 * Drops options that another one is not worse than in every use of the bits
 * `uses` and in loss; of equal ones the first stays. The rest is ordered by the
 * first of those uses, ascending. Returns how many stay.
 */
int plan_pareto(struct plan_option *o, int n, unsigned uses);

/*
 * All that is worth choosing: point i uses use[i] in all, and no choice that
 * uses as little has a smaller sum of losses. Ascending by use, descending by
 * loss.
 */
struct plan_curve {
	enum plan_use by;
	int n, units;
	double *use, *loss;	/* owned */
	short *choice;		/* (n, units): options by index; owned */
};

enum { PLAN_BUCKETS = 4096 };

/*
 * The curve of the units over `by`. The range of sums is cut into PLAN_BUCKETS
 * and of the choices that fall in one the best stays, with its exact sums: no
 * budget is exceeded, and what is lost is at most a bucket a unit. Whole
 * numbers with a range of at most PLAN_BUCKETS give the exact answer. price[u]
 * is added to the loss for each unit of use u (NULL: 0), which is how other
 * budgets are met; the losses of the curve are without it.
 */
void plan_curve_make(struct plan_curve *c, const struct plan_unit *u,
    int units, enum plan_use by, const double *price);
void plan_curve_free(struct plan_curve *c);
/* The point of least loss that uses at most `limit`; -1: none does. */
int plan_curve_find(const struct plan_curve *c, double limit);

/* What a choice uses and costs in all. */
void plan_sum(const struct plan_unit *u, int units, const short *choice,
    double use[PLAN_USES], double *loss);

/*
 * The choice of least loss (out[units]) that keeps every use within its limit
 * (INFINITY: none). With one limit that of the curve; further ones are met by a
 * price found by bisection, so the answer may then be a little worse than the
 * best. False where none was found: least[u] has what has to be allowed at
 * least, of each use for itself.
 */
bool plan_solve(const struct plan_unit *u, int units,
    const double limit[PLAN_USES], short *out, double least[PLAN_USES]);

/*
 * A rising line through measured points (x[i], y[i]): isotonic regression by
 * pooling adjacent violators, read with straight lines between the pooled
 * points. Before the first it comes from (0, 0), behind the last it stays.
 */
struct plan_fit {
	int n;
	double *x, *y;		/* owned */
};
void plan_fit_make(struct plan_fit *f, const double *x, const double *y,
    int n);
void plan_fit_free(struct plan_fit *f);
double plan_fit_at(const struct plan_fit *f, double x);

#endif
