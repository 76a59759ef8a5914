/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Groups do not meet each other, so threads share them.
 *
 * Half-quadratic, in units of the step and with codes q and a float zero z:
 * q = clip(round(w + z)), r = q - z, e = shrink(w - r), z = mean(q - w + e), where
 * shrink(x) = sign(x) max(|x| - |x|^(p - 1) / b, 0) is nearly the proximal map of
 * |x|^p, p = 0.7; b grows from 10 by 1 % each time.
 */
#include "ops/levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

enum { CUTS = 20, ROUNDS = 20, LLOYD = 100 };
#define NORM 0.7

/* Group g: rows [r0, r1), columns [c0, c1). */
struct area {
	int64_t r0, r1, c0, c1;
};

int64_t
levels_groups(const struct levels *v)
{
	return v->group == 0 ? 1 : v->rows * (v->cols / v->group);
}

static struct area
area_of(const struct levels *v, int64_t g)
{
	int64_t each = v->group == 0 ? 1 : v->cols / v->group;

	if (v->group == 0)
		return (struct area){ 0, v->rows, 0, v->cols };
	return (struct area){ g / each, g / each + 1, g % each * v->group,
		(g % each + 1) * v->group };
}

static int
most(const struct levels *v)
{
	return v->scheme == QUANT_AFFINE ? (1 << v->bits) - 1 :
	    (1 << (v->bits - 1)) - 1;
}

static void
plain_range(const struct levels *v, struct area a, double range[2])
{
	double low = INFINITY, high = -INFINITY, sum = 0;
	double n = (double)((a.r1 - a.r0) * (a.c1 - a.c0));

	for (int64_t r = a.r0; r < a.r1; r++)
		for (int64_t c = a.c0; c < a.c1; c++) {
			double x = v->w[r * v->cols + c];

			low = x < low ? x : low;
			high = x > high ? x : high;
			sum += fabs(x);
		}
	if (v->scheme != QUANT_AFFINE) {
		high = v->bits == 1 ? sum / n : fmax(-low, high);
		low = -high;
	}
	range[0] = low;
	range[1] = high;
}

void
levels_range(const struct levels *v, double *range)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int64_t g = 0; g < levels_groups(v); g++)
		plain_range(v, area_of(v, g), range + 2 * g);
}

/* ---- clipping ---- */

static double
cut_error(const struct levels *v, struct area a, const double *weight,
    double low, double high)
{
	bool affine = v->scheme == QUANT_AFFINE;
	double n = most(v), step = (affine ? high - low : high) / n;
	double least = affine ? 0 : -n, base = affine ? low : 0, sum = 0;

	for (int64_t r = a.r0; r < a.r1; r++)
#pragma omp simd reduction(+ : sum)
		for (int64_t c = a.c0; c < a.c1; c++) {
			double x = v->w[r * v->cols + c];
			double q = rint((x - base) / step);

			q = q < least ? least : q > n ? n : q;
			x -= base + q * step;
			sum += weight[c] * x * x;
		}
	return sum;
}

/* Moves one end (0 low, 1 high; 2 both) between its plain place and half of the
 * range, to where the error is least. */
static double
cut_end(const struct levels *v, struct area a, const double *weight,
    const double whole[2], int end, double best, double range[2])
{
	double width = whole[1] - whole[0];

	for (int k = 0; k < CUTS; k++) {
		double by = width * k / (2.0 * CUTS), at[2], e;

		at[0] = end == 0 ? whole[0] + by : end == 2 ? whole[0] +
		    by / 2 : range[0];
		at[1] = end == 1 ? whole[1] - by : end == 2 ? whole[1] -
		    by / 2 : range[1];
		if (v->scheme != QUANT_AFFINE)
			at[0] = -at[1];
		if (at[1] <= at[0])
			continue;
		e = cut_error(v, a, weight, at[0], at[1]);
		if (e < best) {
			best = e;
			range[0] = at[0];
			range[1] = at[1];
		}
	}
	return best;
}

static double
best_step(const struct levels *v, struct area a, const double *weight)
{
	double sum = 0, n = 0;

	for (int64_t r = a.r0; r < a.r1; r++)
		for (int64_t c = a.c0; c < a.c1; c++) {
			sum += weight[c] * fabsf(v->w[r * v->cols + c]);
			n += weight[c];
		}
	return n > 0 ? sum / n : 0;
}

static void
clip_group(const struct levels *v, int64_t g, const double *weight,
    double range[2])
{
	struct area a = area_of(v, g);
	double whole[2], best;

	plain_range(v, a, range);
	memcpy(whole, range, sizeof whole);
	if (v->bits == 1 && v->scheme != QUANT_AFFINE) {
		range[1] = best_step(v, a, weight);
		return;
	}
	if (whole[1] <= whole[0])
		return;
	best = cut_error(v, a, weight, whole[0], whole[1]);
	best = cut_end(v, a, weight, whole, 2, best, range);
	for (int k = 0; k < 2 && v->scheme == QUANT_AFFINE; k++) {
		best = cut_end(v, a, weight, whole, 1, best, range);
		best = cut_end(v, a, weight, whole, 0, best, range);
	}
}

void
levels_clip(const struct levels *v, const double *weight, double *range)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int64_t g = 0; g < levels_groups(v); g++)
		clip_group(v, g, weight, range + 2 * g);
}

/* ---- half-quadratic ---- */

/* size^(p - 1), for sizes below 1 from a table. */
enum { POWERS = 4096 };

static double
power(const float *table, double size)
{
	return size < 1 ? table[(int)(size * POWERS)] : pow(size, NORM - 1);
}

/* One round: sums of q - w + e into *zero, of |w - r|^p as the result. */
static double
hqq_round(const struct levels *v, struct area a, const float *table,
    double step, double z, double b, double *zero)
{
	double n = most(v), sum = 0, objective = 0;

	for (int64_t r = a.r0; r < a.r1; r++)
		for (int64_t c = a.c0; c < a.c1; c++) {
			double w = v->w[r * v->cols + c] / step;
			double q = rint(w + z), x, size, t, e;

			q = q < 0 ? 0 : q > n ? n : q;
			x = w - (q - z);
			size = fabs(x);
			t = power(table, size);
			e = fmax(size - t / b, 0);
			objective += size * t;
			sum += q - w + copysign(e, x);
		}
	*zero = sum / (double)((a.r1 - a.r0) * (a.c1 - a.c0));
	return objective;
}

static void
hqq_group(const struct levels *v, int64_t g, const float *table,
    double range[2], double sums[2])
{
	struct area a = area_of(v, g);
	double step, z, best = INFINITY, zero, b = 10;

	plain_range(v, a, range);
	step = (range[1] - range[0]) / most(v);
	if (!(step > 0))
		return;
	z = -range[0] / step;
	for (int k = 0; k < ROUNDS; k++) {
		double is = hqq_round(v, a, table, step, z, b, &zero);

		sums[0] += k == 0 ? is : 0;
		if (is < best) {
			best = is;
			range[0] = -z * step;
			range[1] = range[0] + step * most(v);
		} else if (k > 1) {
			break;
		}
		z = zero;
		b *= 1.01;
	}
	sums[1] += best;
}

void
levels_hqq(const struct levels *v, double *range, double *before,
    double *after)
{
	float table[POWERS];
	double was = 0, is = 0;

	for (int i = 0; i < POWERS; i++)
		table[i] = (float)pow((i + 0.5) / POWERS, NORM - 1);
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    reduction(+ : was, is)
	for (int64_t g = 0; g < levels_groups(v); g++) {
		double sums[2] = { 0, 0 };

		hqq_group(v, g, table, range + 2 * g, sums);
		was += sums[0];
		is += sums[1];
	}
	if (before != NULL)
		*before += was;
	if (after != NULL)
		*after += is;
}

/* ---- means ---- */

struct value {
	float v;
	float weight;
};

/* Values of a group in order, and sums before each: of weights, of values and
 * squares by weight. */
struct sorted {
	int64_t n;
	struct value *v;
	double *w, *wv, *wvv;
};

static int
compare_values(const void *pa, const void *pb)
{
	float a = ((const struct value *)pa)->v;
	float b = ((const struct value *)pb)->v;

	return (a > b) - (a < b);
}

static void
sort_group(const struct levels *v, struct area a, const double *row,
    const double *col, struct sorted *s)
{
	s->n = 0;
	for (int64_t r = a.r0; r < a.r1; r++)
		for (int64_t c = a.c0; c < a.c1; c++)
			s->v[s->n++] = (struct value){ v->w[r * v->cols + c],
				(float)(col[c] * (row == NULL ? 1 : row[r])) };
	qsort(s->v, (size_t)s->n, sizeof *s->v, compare_values);
	s->w[0] = s->wv[0] = s->wvv[0] = 0;
	for (int64_t i = 0; i < s->n; i++) {
		double x = s->v[i].v, m = s->v[i].weight;

		s->w[i + 1] = s->w[i] + m;
		s->wv[i + 1] = s->wv[i] + m * x;
		s->wvv[i + 1] = s->wvv[i] + m * x * x;
	}
}

/* The first value above `at`. */
static int64_t
find_above(const struct sorted *s, double at)
{
	int64_t low = 0, high = s->n;

	while (low < high) {
		int64_t mid = (low + high) / 2;

		if (s->v[mid].v > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Lloyd's iterations; the weighted error of the last. */
static double
lloyd(const struct sorted *s, int k, double *table)
{
	double error = INFINITY, last;

	for (int round = 0; round < LLOYD; round++) {
		int64_t from = 0;

		last = error;
		error = 0;
		for (int i = 0; i < k; i++) {
			int64_t to = i + 1 == k ? s->n : find_above(s,
			    (table[i] + table[i + 1]) / 2);
			double w, wv;

			to = to < from ? from : to;
			w = s->w[to] - s->w[from];
			wv = s->wv[to] - s->wv[from];
			if (w > 0)
				table[i] = wv / w;
			error += s->wvv[to] - s->wvv[from] - 2 * table[i] *
			    wv + table[i] * table[i] * w;
			from = to;
		}
		if (error >= last * (1 - 1e-7))
			break;
	}
	return error;
}

/* Means of k parts of equal weight. */
static void
start_even(const struct sorted *s, int k, double *table)
{
	int64_t from = 0;

	for (int i = 0; i < k; i++) {
		int64_t to = from;

		while (to < s->n && s->w[to] < s->w[s->n] * (i + 1) / k)
			to++;
		table[i] = s->w[to] > s->w[from] ? (s->wv[to] - s->wv[from]) /
		    (s->w[to] - s->w[from]) : i > 0 ? table[i - 1] : s->n > 0 ?
		    s->v[0].v : 0;
		from = to;
	}
}

static void
means_group(const struct sorted *s, int k, float *table)
{
	double given[256], even[256], a, b;
	const double *best;

	for (int i = 0; i < k; i++)
		given[i] = table[i];
	start_even(s, k, even);
	a = lloyd(s, k, given);
	b = lloyd(s, k, even);
	best = b < a ? even : given;
	for (int i = 0; i < k; i++)
		table[i] = (float)best[i];
	for (int i = 1; i < k; i++)
		table[i] = table[i] < table[i - 1] ? table[i - 1] : table[i];
}

enum pare_rc
levels_kmeans(const struct levels *v, const double *row, const double *col,
    float *table, struct pare_err *err)
{
	int64_t groups = levels_groups(v);
	int64_t n = v->group == 0 ? v->rows * v->cols : v->group;
	int threads = groups > 1 ? kernel_threads() : 1;
	size_t each = (size_t)(n + 1);
	struct value *values = mem_big((size_t)threads * each, sizeof *values,
	    err);
	double *sums = values == NULL ? NULL : mem_big(3 * (size_t)threads *
	    each, sizeof *sums, err);

	if (sums == NULL) {
		free(values);
		return PARE_ENOMEM;
	}
#pragma omp parallel for schedule(static) num_threads(threads)
	for (int t = 0; t < threads; t++) {
		double *p = sums + 3 * each * (size_t)t;
		struct sorted s = { 0, values + each * (size_t)t, p, p + each,
			p + 2 * each };

		for (int64_t g = t; g < groups; g += threads) {
			sort_group(v, area_of(v, g), row, col, &s);
			if (s.w[s.n] > 0)
				means_group(&s, 1 << v->bits,
				    table + (g << v->bits));
		}
	}
	free(sums);
	free(values);
	return PARE_OK;
}
