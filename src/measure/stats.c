/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* 97.5 % quantile of the normal distribution. */
static const double z95 = 1.959963984540054;

/*
 * The shares p for which |k/n - p| <= z sqrt(p (1 - p) / n): the two roots of a
 * quadratic (Wilson, JASA 1927).
 */
void
stats_wilson(int64_t k, int64_t n, double *low, double *high)
{
	double z2 = z95 * z95, p, centre, half, scale;

	if (n <= 0) {
		*low = *high = NAN;
		return;
	}
	p = (double)k / (double)n;
	scale = 1 + z2 / (double)n;
	centre = (p + z2 / (2 * (double)n)) / scale;
	half = z95 / scale * sqrt(p * (1 - p) / (double)n +
	    z2 / (4 * (double)n * (double)n));
	*low = k == 0 ? 0 : centre - half;
	*high = k == n ? 1 : centre + half;
}

/* P(X <= k) of binomial(n, 1/2). Terms fall from k downwards, so the sum is
 * taken relative to the largest and only one lgamma is needed. */
static double
binomial_tail(int64_t k, int64_t n)
{
	double log_top = lgamma((double)n + 1) - lgamma((double)k + 1) -
	    lgamma((double)(n - k) + 1) - (double)n * M_LN2;
	double term = 1, sum = 1;

	for (int64_t i = k; i > 0 && term > 1e-18 * sum; i--) {
		term *= (double)i / (double)(n - i + 1);
		sum += term;
	}
	return exp(log_top) * sum;
}

/* McNemar 1947, the exact form: without a difference flips are fair coins. */
double
stats_mcnemar(int64_t fixed, int64_t broke)
{
	int64_t n = fixed + broke, k = fixed < broke ? fixed : broke;
	double p;

	if (n == 0)
		return 1;
	p = 2 * binomial_tail(k, n);
	return p < 1 ? p : 1;
}

double
stats_resolvable(int64_t n, int64_t flips)
{
	int64_t minority;

	if (n <= 0)
		return NAN;
	flips = flips < 6 ? 6 : flips;
	for (minority = flips / 2; minority > 0; minority--)
		if (stats_mcnemar(minority, flips - minority) < 0.05)
			break;
	return (double)(flips - 2 * minority) / (double)n;
}

/* 2 TP / (2 TP + FP + FN) of class 1; NAN when class 1 never occurs. */
double
stats_f1(const int *gold, const int *predicted, int64_t n)
{
	int64_t hit = 0, miss = 0;

	for (int64_t i = 0; i < n; i++) {
		hit += gold[i] == 1 && predicted[i] == 1;
		miss += (gold[i] == 1) != (predicted[i] == 1);
	}
	if (hit + miss == 0)
		return NAN;
	return 2.0 * (double)hit / (2.0 * (double)hit + (double)miss);
}

/*
 * The correlation of the two assignments for any number of classes (Gorodkin
 * 2004); for two classes it is Matthews' coefficient (1975). NAN when either
 * side has one class only.
 */
double
stats_mcc(const int *gold, const int *predicted, int64_t n)
{
	double right = 0, cross = 0, gg = 0, pp = 0, total = (double)n;
	int64_t *g, *p;
	int top = 0;

	for (int64_t i = 0; i < n; i++) {
		top = gold[i] > top ? gold[i] : top;
		top = predicted[i] > top ? predicted[i] : top;
	}
	g = xcalloc((size_t)top + 1, sizeof *g);
	p = xcalloc((size_t)top + 1, sizeof *p);
	for (int64_t i = 0; i < n; i++) {
		g[gold[i]]++;
		p[predicted[i]]++;
		right += gold[i] == predicted[i];
	}
	for (int k = 0; k <= top; k++) {
		cross += (double)g[k] * (double)p[k];
		gg += (double)g[k] * (double)g[k];
		pp += (double)p[k] * (double)p[k];
	}
	free(g);
	free(p);
	if (total * total <= gg || total * total <= pp)
		return NAN;
	return (right * total - cross) /
	    (sqrt(total * total - gg) * sqrt(total * total - pp));
}

/* NAN when either side does not vary. */
double
stats_pearson(const double *x, const double *y, int64_t n)
{
	double mx = 0, my = 0, xx = 0, yy = 0, xy = 0, r;

	for (int64_t i = 0; i < n; i++) {
		mx += x[i] / (double)n;
		my += y[i] / (double)n;
	}
	for (int64_t i = 0; i < n; i++) {
		xx += (x[i] - mx) * (x[i] - mx);
		yy += (y[i] - my) * (y[i] - my);
		xy += (x[i] - mx) * (y[i] - my);
	}
	if (!(xx > 0) || !(yy > 0))
		return NAN;
	r = xy / (sqrt(xx) * sqrt(yy));
	return r > 1 ? 1 : r < -1 ? -1 : r;
}

struct ranked {
	double v;
	int64_t at;
};

static int
ranked_compare(const void *pa, const void *pb)
{
	const struct ranked *a = pa, *b = pb;

	return (a->v > b->v) - (a->v < b->v);
}

/* Ranks from 1; equal values get the mean of their ranks. */
static void
average_ranks(const double *v, int64_t n, struct ranked *tmp, double *rank)
{
	for (int64_t i = 0; i < n; i++)
		tmp[i] = (struct ranked){ v[i], i };
	qsort(tmp, (size_t)n, sizeof *tmp, ranked_compare);
	for (int64_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && tmp[end].v == tmp[i].v; end++)
			;
		for (int64_t k = i; k < end; k++)
			rank[tmp[k].at] = 0.5 * (double)(i + end - 1) + 1;
	}
}

/* Pearson's coefficient of the average ranks; NAN when a value is NAN, when one
 * side does not vary, or when there is no memory for the ranks. */
double
stats_spearman(const double *x, const double *y, int64_t n)
{
	struct ranked *tmp;
	double *rank, r = NAN;

	for (int64_t i = 0; i < n; i++)
		if (isnan(x[i]) || isnan(y[i]))
			return NAN;
	tmp = mem_big((size_t)n, sizeof *tmp, NULL);
	rank = mem_big((size_t)n, 2 * sizeof *rank, NULL);
	if (tmp != NULL && rank != NULL) {
		average_ranks(x, n, tmp, rank);
		average_ranks(y, n, tmp, rank + n);
		r = stats_pearson(rank, rank + n, n);
	}
	free(tmp);
	free(rank);
	return r;
}

static int
double_compare(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;

	return (a > b) - (a < b);
}

double
stats_quantile(double *v, int64_t n, double q)
{
	double at;
	int64_t i;

	if (n <= 0)
		return NAN;
	qsort(v, (size_t)n, sizeof *v, double_compare);
	at = q * (double)(n - 1);
	i = (int64_t)at;
	if (i >= n - 1)
		return v[n - 1];
	return v[i] + (at - (double)i) * (v[i + 1] - v[i]);
}

/* Efron 1979: the 2.5 % and 97.5 % quantiles over the draws. */
void
stats_bootstrap(stats_statistic *f, void *ctx, int64_t n, int rounds,
    uint64_t seed, double *low, double *high)
{
	int64_t *index, used = 0;
	struct rng r;
	double *v;

	*low = *high = NAN;
	if (n <= 0 || rounds <= 0)
		return;
	index = mem_big((size_t)n, sizeof *index, NULL);
	v = mem_big((size_t)rounds, sizeof *v, NULL);
	rng_seed(&r, seed);
	for (int k = 0; k < rounds && index != NULL && v != NULL; k++) {
		for (int64_t i = 0; i < n; i++)
			index[i] = (int64_t)rng_below(&r, (uint64_t)n);
		v[used] = f(ctx, index, n);
		used += !isnan(v[used]);
	}
	if (used > 0) {
		*low = stats_quantile(v, used, 0.025);
		*high = stats_quantile(v, used, 0.975);
	}
	free(index);
	free(v);
}

/* The continued fraction of the incomplete beta function (Abramowitz and Stegun
 * 26.5.8), evaluated by Lentz's method. */
static double
beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double c = 1, d = 1 - (a + b) * x / (a + 1), f;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	f = d;
	for (int k = 1; k < 10000; k++) {
		double e = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
		double o = -(a + k) * (a + b + k) * x / ((a + 2 * k) *
		    (a + 2 * k + 1)), step;

		d = 1 + e * d;
		c = 1 + e / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		f *= c * d;
		d = 1 + o * d;
		c = 1 + o / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		step = c * d;
		f *= step;
		if (fabs(step - 1) < 1e-14)
			break;
	}
	return f;
}

static double
incomplete_beta(double a, double b, double x)
{
	double front;

	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) +
	    b * log1p(-x));
	return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a :
	    1 - front * beta_fraction(b, a, 1 - x) / b;
}

double
stats_student(double t, double df)
{
	return incomplete_beta(df / 2, 0.5, df / (df + t * t));
}

double
stats_student95(double df)
{
	double low = 0, high = 13;	/* 12.71 for one degree */

	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;

		if (stats_student(middle, df) > 0.05)
			low = middle;
		else
			high = middle;
	}
	return high;
}

struct stats_ratio
stats_ratio(const double *y, const double *x, int64_t n)
{
	struct stats_ratio r = { NAN, NAN, NAN, NAN };
	double sy = 0, sx = 0, square = 0, se, half;

	for (int64_t i = 0; i < n; i++) {
		sy += y[i];
		sx += x[i];
	}
	if (n < 1 || sx <= 0)
		return r;
	r.value = sy / sx;
	if (n < 2)
		return r;
	for (int64_t i = 0; i < n; i++) {
		double e = y[i] - r.value * x[i];

		square += e * e;
	}
	se = sqrt(square * (double)n / (double)(n - 1)) / sx;
	half = stats_student95((double)(n - 1)) * se;
	r.low = r.value - half;
	r.high = r.value + half;
	r.p = se > 0 ? stats_student(r.value / se, (double)(n - 1)) :
	    r.value == 0 ? 1 : 0;
	return r;
}
