/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * elementwise: work cut by rows or columns and handed to threads. The loops over
 * the values of a piece are those of struct lanes.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "engine/elementwise.h"
#include "engine/lanes.h"
#include "tensor/kernel.h"
#include "tensor/team.h"

enum {
	SPAN = 4096,		/* values of one piece of a long vector */
	ROWS_MIN = 8192		/* fewer values than this stay in one thread */
};

/* ==== rows in pieces ==== */

/* What a row function may want; pieces are `step` rows. */
struct rows {
	float *y;
	const float *x, *z, *bias;
	const struct elem_norm *norm;
	enum act_kind act;
	const struct lanes *k;
	int64_t rows, cols, step;
	atomic_bool bad;	/* a result is not finite */
	void (*run)(struct rows *r, int64_t row);
};

static void
run_rows(void *arg, int64_t i, int thread)
{
	struct rows *r = arg;
	int64_t end = (i + 1) * r->step;

	for (int64_t row = i * r->step; row < end && row < r->rows; row++)
		r->run(r, row);
}

/* Pieces of about ROWS_MIN values; false when one was not finite. */
static bool
each_row(struct rows *r, void (*run)(struct rows *r, int64_t row))
{
	r->run = run;
	r->k = lanes();
	r->step = r->cols < ROWS_MIN ? ROWS_MIN / (r->cols + 1) + 1 : 1;
	atomic_init(&r->bad, false);
	team_for((r->rows + r->step - 1) / r->step, run_rows, r);
	return !atomic_load(&r->bad);
}

/* How many threads a loop over so many values deserves. */
static int
threads_for(int64_t values)
{
	return values < ROWS_MIN ? 1 : kernel_threads();
}

static void
end_run(const struct product_end *end, float *y, int64_t ldy, int64_t row,
    int64_t rows, int64_t col, int64_t cols)
{
	const struct elem_end *e = (const struct elem_end *)end;
	const struct lanes *k = lanes();

	for (int64_t r = 0; r < rows; r++)
		k->bias_act(y + r * ldy, e->bias ? e->bias + col : NULL,
		    e->act, cols);
}

struct elem_end
elem_end(const float *bias, enum act_kind act)
{
	return (struct elem_end){ { end_run }, bias, act };
}

static void
act_row(struct rows *r, int64_t row)
{
	r->k->bias_act(r->y + row * r->cols, r->bias, r->act, r->cols);
}

void
elem_bias_act(float *y, const float *bias, enum act_kind act, int64_t rows,
    int64_t cols)
{
	struct rows r = { .y = y, .bias = bias, .act = act, .rows = rows,
		.cols = cols };

	each_row(&r, act_row);
}

static void
mul_row(struct rows *r, int64_t row)
{
	r->k->mul(r->y + row * r->cols, r->x + row * r->cols, r->cols);
}

void
elem_mul(float *y, const float *x, int64_t rows, int64_t cols)
{
	struct rows r = { .y = y, .x = x, .rows = rows, .cols = cols };

	each_row(&r, mul_row);
}

void
elem_act_back(float *d, const float *x, enum act_kind act, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(n))
	for (int64_t i = 0; i < n; i += SPAN)
		lanes()->act_back(d + i, x + i, act, n - i < SPAN ? n - i : SPAN);
}

static void
norm_row(struct rows *r, int64_t row)
{
	const int64_t at = row * r->cols;

	if (r->k->norm(r->y + at, r->x + at, r->z ? r->z + at : NULL, r->bias,
	    r->norm, row, r->cols) != 0.0f)
		atomic_store(&r->bad, true);
}

bool
elem_norm(float *out, const float *x, const float *y, const float *bias,
    const struct elem_norm *n, int64_t rows, int64_t cols)
{
	struct rows r = { .y = out, .x = x, .z = y, .bias = bias, .norm = n,
		.rows = rows, .cols = cols };

	return each_row(&r, norm_row);
}

/* dx = rstd (w dy - mean(w dy)); without the mean for RMS. */
static void
frozen_back(float *dx, const float *dy, const struct elem_norm *n, int64_t row,
    int64_t cols)
{
	double sum = 0;
	float mean;

	for (int64_t c = 0; c < cols; c++)
		sum += (double)n->w[c] * dy[c];
	mean = n->rms ? 0.0f : (float)(sum / (double)cols);
	for (int64_t c = 0; c < cols; c++)
		dx[c] = n->rstd[row] * (n->w[c] * dy[c] - mean);
}

void
elem_norm_back(float *dx, const float *dy, const float *x,
    const struct elem_norm *n, float *dw, float *db, int64_t rows,
    int64_t cols)
{
	const int64_t step = 64;

#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t c = 0; c < (dw ? cols : 0); c += step)
		lanes()->norm_back_columns(dw + c, db ? db + c : NULL, dy + c,
		    x + c, n, rows, cols, cols - c < step ? cols - c : step);
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++) {
		if (n->frozen)
			frozen_back(dx + r * cols, dy + r * cols, n, r, cols);
		else
			lanes()->norm_back(dx + r * cols, dy + r * cols,
			    x + r * cols, n, r, cols);
	}
}

static void
add_row(struct rows *r, int64_t row)
{
	const int64_t at = row * r->cols;

	if (r->k->add(r->y + at, r->z ? r->z + at : NULL, r->bias, r->cols) !=
	    0.0f)
		atomic_store(&r->bad, true);
}

bool
elem_add(float *x, const float *y, const float *bias, int64_t rows,
    int64_t cols)
{
	struct rows r = { .y = x, .z = y, .bias = bias, .rows = rows,
		.cols = cols };

	return each_row(&r, add_row);
}

void
elem_softmax(float *s, int64_t n)
{
	lanes()->softmax(s, n);
}

void
elem_softmax_back(float *d, const float *s, int64_t n)
{
	lanes()->softmax_back(d, s, n);
}

void
elem_sum_rows(float *sum, const float *d, int64_t rows, int64_t cols)
{
	const int64_t step = 64;

#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t c = 0; c < cols; c += step)
		for (int64_t r = 0; r < rows; r++)
			lanes()->add(sum + c, d + r * cols + c, NULL,
			    cols - c < step ? cols - c : step);
}

void
elem_drop_span(float *x, int64_t n, const struct elem_drop *d, uint64_t first)
{
	uint32_t key[2];
	uint64_t k;

	if (d->rate <= 0.0f)
		return;
	if (d->rate >= 1.0f) {
		memset(x, 0, (size_t)n * sizeof(*x));
		return;
	}
	/* the upper half of a very long index goes into the key */
	k = d->key + (first >> 32) * 0x9e3779b97f4a7c15u;
	key[0] = (uint32_t)k;
	key[1] = (uint32_t)(k >> 32);
	lanes()->drop(x, n, key, (uint32_t)first,
	    (uint32_t)((double)d->rate * 4294967296.0), 1.0f / (1.0f - d->rate));
}

void
elem_drop(float *x, int64_t rows, int64_t cols, const struct elem_drop *d)
{
	if (d->rate <= 0.0f)
		return;
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++)
		elem_drop_span(x + r * cols, cols, d, (uint64_t)(r * cols));
}

void
elem_adam_step(float *w, const float *g, float *m, float *v,
    const uint8_t *keep, int64_t n, const struct elem_adam *a)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(n))
	for (int64_t i = 0; i < n; i += SPAN) {
		int64_t len = n - i < SPAN ? n - i : SPAN;

		lanes()->adam(w + i, g + i, m + i, v + i, len, a);
		for (int64_t j = i; keep && j < i + len; j++)
			if (!keep[j])
				w[j] = m[j] = v[j] = 0.0f;
	}
}

double
elem_sum_squares(const float *x, int64_t n)
{
	double s = 0;

	for (int64_t i = 0; i < n; i += SPAN)
		s += lanes()->squares(x + i, n - i < SPAN ? n - i : SPAN);
	return s;
}
