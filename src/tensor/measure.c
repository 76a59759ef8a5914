/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Moments and histograms of a tensor's values, in two passes over blocks of
 * rows: counts, sums and range, then central moments and bins. Each block is
 * summed by one thread and the blocks are added in order, so the numbers do not
 * depend on the threads.
 */
#include "tensor/value.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

enum { MEASURE_BLOCK = 1 << 16, MEASURE_WIDTH = 16 };

/* Sums of one block, or of all. */
struct sums {
	int64_t n, zeros, nans, infs, subnormals;
	double min, max, sum, abs, square;
	double m2, m3, m4;
};

struct gauge {
	const struct tensor *t;
	int64_t step;		/* rows of a block */
	float *mem;		/* one block a thread */
	struct sums *block;
	double mean, min, scale;	/* second pass */
	int64_t *bins;		/* of all threads */
	int nbins;
	bool second;
};

static void
count_bits(uint32_t b, struct sums *s)
{
	uint32_t a = b & UINT32_C(0x7fffffff);

	s->zeros += a == 0;
	s->subnormals += a - 1 < UINT32_C(0x007fffff);
	s->infs += a == UINT32_C(0x7f800000);
	s->nans += a > UINT32_C(0x7f800000);
}

static void
first_pass(const float *v, int64_t n, struct sums *s)
{
	*s = (struct sums) { .n = n, .min = INFINITY, .max = -INFINITY };
	for (int64_t i = 0; i < n; i++) {
		uint32_t b;
		double x = v[i];

		memcpy(&b, &v[i], sizeof(b));
		count_bits(b, s);
		if (!value_bits_finite(b & UINT32_C(0x7fffffff)))
			continue;
		s->sum += x;
		s->abs += fabs(x);
		s->square += x * x;
		s->min = x < s->min ? x : s->min;
		s->max = x > s->max ? x : s->max;
	}
}

static void
second_pass(const struct gauge *g, const float *v, int64_t n, struct sums *s,
    int64_t *bins)
{
	s->m2 = s->m3 = s->m4 = 0.0;
	for (int64_t i = 0; i < n; i++) {
		double d = v[i] - g->mean, q = d * d;
		int64_t b;

		if (!isfinite(v[i]))
			continue;
		s->m2 += q;
		s->m3 += q * d;
		s->m4 += q * q;
		if (bins == NULL)
			continue;
		b = (int64_t)((v[i] - g->min) * g->scale);
		bins[b < 0 ? 0 : b >= g->nbins ? g->nbins - 1 : b]++;
	}
}

static void
do_block(const struct gauge *g, int64_t i)
{
	const struct tensor *t = g->t;
	int64_t row = i * g->step, thread = kernel_thread();
	int64_t m = t->rows - row < g->step ? t->rows - row : g->step;
	const float *v = tensor_f32(t);
	float *buf = g->mem + thread * g->step * t->cols;

	if (v != NULL) {
		v += row * t->cols;
	} else {
		tensor_decode(t, row, m, buf);
		v = buf;
	}
	if (!g->second)
		first_pass(v, m * t->cols, &g->block[i]);
	else
		second_pass(g, v, m * t->cols, &g->block[i],
		    g->bins != NULL ? g->bins + thread * g->nbins : NULL);
}

static enum pare_rc
do_blocks(const struct gauge *g, int64_t blocks, struct task *task,
    struct pare_err *err)
{
	int64_t step = kernel_threads() * MEASURE_WIDTH;

	for (int64_t b = 0; b < blocks; b += step) {
		int64_t end = blocks - b < step ? blocks : b + step;

		if (task_canceled(task))
			return task_error(err);
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (end - b > 1)
		for (int64_t i = b; i < end; i++)
			do_block(g, i);
	}
	return PARE_OK;
}

static struct sums
add_up(const struct sums *block, int64_t n)
{
	struct sums s = { .min = INFINITY, .max = -INFINITY };

	for (int64_t i = 0; i < n; i++) {
		const struct sums *b = &block[i];

		s.n += b->n;
		s.zeros += b->zeros;
		s.nans += b->nans;
		s.infs += b->infs;
		s.subnormals += b->subnormals;
		s.min = fmin(s.min, b->min);
		s.max = fmax(s.max, b->max);
		s.sum += b->sum;
		s.abs += b->abs;
		s.square += b->square;
		s.m2 += b->m2;
		s.m3 += b->m3;
		s.m4 += b->m4;
	}
	return s;
}

static void
fill_counts(const struct sums *s, struct tensor_stats *out)
{
	double n = (double)(s->n - s->nans - s->infs);

	*out = (struct tensor_stats) { .n = s->n, .zeros = s->zeros,
		.nans = s->nans, .infs = s->infs,
		.subnormals = s->subnormals };
	if (n < 1)
		return;
	out->min = s->min;
	out->max = s->max;
	out->mean = s->sum / n;
	out->abs_mean = s->abs / n;
	out->l2 = sqrt(s->square);
}

static void
fill_moments(const struct sums *s, struct tensor_stats *out)
{
	double n = (double)(s->n - s->nans - s->infs), var;

	if (n < 1)
		return;
	var = s->m2 / n;
	out->deviation = sqrt(var);
	if (var > DBL_MIN) {
		out->skewness = s->m3 / n / (var * sqrt(var));
		out->kurtosis = s->m4 / n / (var * var);
	}
}

static void
add_bins(const struct gauge *g, int64_t *histogram)
{
	for (int i = 0; i < g->nbins; i++) {
		histogram[i] = 0;
		for (int t = 0; t < kernel_threads(); t++)
			histogram[i] += g->bins[(int64_t)t * g->nbins + i];
	}
}

static enum pare_rc
measure(struct gauge *g, int64_t blocks, struct tensor_stats *out,
    struct task *task, struct pare_err *err)
{
	struct sums s;
	enum pare_rc rc = do_blocks(g, blocks, task, err);

	if (rc != PARE_OK)
		return rc;
	s = add_up(g->block, blocks);
	fill_counts(&s, out);
	g->second = true;
	g->mean = out->mean;
	g->min = out->min;
	g->scale = out->max > out->min ? g->nbins / (out->max - out->min) : 0;
	rc = do_blocks(g, blocks, task, err);
	if (rc != PARE_OK)
		return rc;
	s = add_up(g->block, blocks);
	fill_moments(&s, out);
	return PARE_OK;
}

enum pare_rc
tensor_measure(const struct tensor *t, struct tensor_stats *out,
    int64_t *histogram, int bins, struct task *task, struct pare_err *err)
{
	struct gauge g = { .t = t, .nbins = bins > 0 ? bins : 0 };
	size_t threads = (size_t)kernel_threads();
	int64_t blocks;
	enum pare_rc rc = PARE_ENOMEM;

	if (!tensor_has_values(t, err))
		return PARE_EUSER;
	g.step = 1 + MEASURE_BLOCK / t->cols;
	blocks = (t->rows + g.step - 1) / g.step;
	g.mem = mem_big(threads, (size_t)(g.step * t->cols) * 4, err);
	g.block = mem_big((size_t)blocks, sizeof(*g.block), err);
	if (g.nbins > 0)
		g.bins = mem_big_zero(threads, (size_t)g.nbins * 8, err);
	if (g.mem != NULL && g.block != NULL &&
	    (g.nbins == 0 || g.bins != NULL))
		rc = measure(&g, blocks, out, task, err);
	if (rc == PARE_OK && g.nbins > 0)
		add_bins(&g, histogram);
	free(g.mem);
	free(g.block);
	free(g.bins);
	return rc;
}
