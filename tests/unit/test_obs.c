/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The order of optimal brain surgery against the least-squares fit itself: each
 * step takes what the fit of the rest misses least of all that is left, and its
 * error is that of the fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/obs.h"

struct made {
	int64_t rows, cols;
	double *w, *h;
};

static double
draw(struct rng *r)
{
	return 2 * rng_uniform(r) - 1;
}

/* Moments of correlated inputs, with a ridge. */
static struct made
make(int64_t rows, int64_t cols, uint64_t seed)
{
	struct made m = { rows, cols, xcalloc((size_t)(rows * cols),
	    sizeof *m.w), xcalloc((size_t)(cols * cols), sizeof *m.h) };
	double *x = xcalloc((size_t)cols, sizeof *x);
	struct rng r;

	rng_seed(&r, seed);
	for (int64_t i = 0; i < rows * cols; i++)
		m.w[i] = draw(&r);
	for (int64_t s = 0; s < 3 * cols; s++) {
		for (int64_t i = 0; i < cols; i++)
			x[i] = draw(&r) + (i > 0 ? 0.7 * x[i - 1] : 0);
		for (int64_t i = 0; i < cols; i++)
			for (int64_t j = 0; j < cols; j++)
				m.h[i * cols + j] += x[i] * x[j] /
				    (3 * (double)cols);
	}
	for (int64_t i = 0; i < cols; i++)
		m.h[i * (cols + 1)] += 0.02;
	free(x);
	return m;
}

/* Solves a x = b for k right-hand sides, (n, k), in place. */
static void
solve(double *a, double *b, int64_t n, int64_t k)
{
	for (int64_t p = 0; p < n; p++)
		for (int64_t i = 0; i < n; i++) {
			double f = i == p ? 0 : a[i * n + p] / a[p * n + p];

			for (int64_t j = 0; j < n && f != 0; j++)
				a[i * n + j] -= f * a[p * n + j];
			for (int64_t j = 0; j < k && f != 0; j++)
				b[i * k + j] -= f * b[p * k + j];
		}
	for (int64_t p = 0; p < n; p++)
		for (int64_t j = 0; j < k; j++)
			b[p * k + j] /= a[p * n + p];
}

/* The least tr((W - V) H (W - V)') over V whose columns of units gone are 0:
 * V_K = W H_:K (H_KK)^-1. */
static double
fit_error(const struct made *m, const bool *gone, int64_t width)
{
	int64_t n = 0, c = m->cols, *keep = xcalloc((size_t)c, sizeof *keep);
	double *a, *b, *p, sum = 0;

	for (int64_t i = 0; i < c; i++)
		if (!gone[i / width])
			keep[n++] = i;
	a = xcalloc((size_t)(n * n) + 1, sizeof *a);
	b = xcalloc((size_t)(n * m->rows) + 1, sizeof *b);
	p = xcalloc((size_t)(m->rows * c), sizeof *p);
	for (int64_t i = 0; i < m->rows; i++)
		for (int64_t j = 0; j < c; j++)
			for (int64_t k = 0; k < c; k++)
				p[i * c + j] += m->w[i * c + k] *
				    m->h[k * c + j];
	for (int64_t i = 0; i < n; i++) {
		for (int64_t j = 0; j < n; j++)
			a[i * n + j] = m->h[keep[i] * c + keep[j]];
		for (int64_t j = 0; j < m->rows; j++)
			b[i * m->rows + j] = p[j * c + keep[i]];
	}
	solve(a, b, n, m->rows);
	for (int64_t i = 0; i < m->rows; i++) {
		for (int64_t j = 0; j < c; j++)
			sum += m->w[i * c + j] * p[i * c + j];
		for (int64_t j = 0; j < n; j++)
			sum -= b[j * m->rows + i] * p[i * c + keep[j]];
	}
	free(keep);
	free(a);
	free(b);
	free(p);
	return sum;
}

static void
assert_near(double got, double want)
{
	if (!(fabs(got - want) <= 1e-8 * (1 + fabs(want))))
		fail_msg("%.12g, expected %.12g", got, want);
}

/* every: steps from one whole search to the next. */
static void
check(int64_t rows, int64_t cols, int64_t width, int64_t every)
{
	struct made m = make(rows, cols, (uint64_t)(cols * 10 + width));
	int64_t units = cols / width, most = units - 1;
	int64_t *order = xcalloc((size_t)most, sizeof *order);
	double *error = xcalloc((size_t)most, sizeof *error);
	double *h = xcalloc((size_t)(cols * cols), sizeof *h);
	bool *gone = xcalloc((size_t)units, sizeof *gone);
	struct pare_err err = { 0 };

	memcpy(h, m.h, (size_t)(cols * cols) * sizeof *h);
	if (obs_order(m.w, rows, h, cols, width, most, order, error, NULL,
	    &err) != PARE_OK)
		fail_msg("%s", err.msg);
	for (int64_t k = 0; k < most; k++) {
		double best = INFINITY;

		for (int64_t i = 0; i < units && k % every == 0; i++) {
			double e;

			if (gone[i])
				continue;
			gone[i] = true;
			e = fit_error(&m, gone, width);
			gone[i] = false;
			best = e < best ? e : best;
		}
		assert_false(gone[order[k]]);
		gone[order[k]] = true;
		if (k % every == 0)
			assert_near(error[k], best);
		if (k % 10 == 0 || k % every == 0)
			assert_near(error[k], fit_error(&m, gone, width));
	}
	free(order);
	free(error);
	free(h);
	free(gone);
	free(m.w);
	free(m.h);
}

static void
test_columns(void **state)
{
	check(5, 12, 1, 1);
	check(3, 90, 1, 44);
}

static void
test_blocks(void **state)
{
	check(6, 15, 3, 1);
	check(4, 140, 70, 1);
}

/* The lowest of two curves together are the best cut of both. */
static void
test_scores(void **state)
{
	int64_t order[] = { 2, 0, 1, 4 };
	double error[] = { 3, 4, 9, 10 }, score[5];

	obs_scores(order, error, 4, 2, 5, score);
	/* Hull: (0,0) (2,4) (4,10): slopes 2, 2, 3, 3; over the energy. */
	assert_near(score[2], 1);
	assert_near(score[0], 1);
	assert_near(score[1], 1.5);
	assert_near(score[4], 1.5);
	assert_true(score[2] < score[0] && score[0] < score[1] &&
	    score[1] < score[4] && isinf(score[3]));
}

static void
test_singular(void **state)
{
	double w[4] = { 1, 2, 3, 4 }, h[16] = { 1, 1, 0, 0, 1, 1 }, e[3];
	int64_t order[3];
	struct pare_err err = { 0 };

	assert_int_equal(obs_order(w, 1, h, 4, 1, 3, order, e, NULL, &err),
	    PARE_EUSER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_singular),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
