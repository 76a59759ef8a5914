/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * With H the second moment of the inputs plus a hundredth of its mean diagonal
 * and H^-1 = U'U, column by column
 *
 *	e = w_j / U_jj where w_j goes, else 0;  w_k -= e U_jk for all k > j
 *
 * Which go is chosen when a block of columns (a group of a pattern, row by row)
 * is reached: those of least w_j^2 / U_jj^2, by the weights as they are then. What
 * a block owes to the columns behind it is one product.
 */
#include "ops/sparsegpt.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/inverse.h"
#include "tensor/kernel.h"

enum { BLOCK = 128, GROUP_MAX = 32 };

struct solve {
	const struct sparsegpt *s;
	struct inverse v;
	float *w;
	uint8_t *mask;
	float *owed;		/* (rows, BLOCK): e */
	float *score, *sorted;	/* (rows * BLOCK) */
};

/* Zeros that are wanted in columns [0, c). */
static int64_t
zeros_until(const struct sparsegpt *s, int64_t c)
{
	return (int64_t)((double)s->zeros * ((double)c / (double)s->cols) +
	    0.5);
}

/* Of a group of m, the last of a row may be shorter. */
static int64_t
keep_of(const struct sparsegpt *s, int64_t m)
{
	return (m * s->keep + s->group - 1) / s->group;
}

static int64_t
count_zeros(const struct sparsegpt *s, const float *w, int64_t r0, int64_t r1,
    int64_t c0, int64_t c1)
{
	int64_t n = 0;

	for (int64_t r = r0; r < r1; r++)
		for (int64_t c = c0; c < c1; c++)
			n += w[r * s->cols + c] == 0;
	return n;
}

int64_t
sparsegpt_kept(const struct sparsegpt *s, const float *w)
{
	int64_t step = s->group > 0 ? s->group : BLOCK, kept = 0;

	for (int64_t c = 0; c < s->cols; c += step) {
		int64_t m = s->cols - c < step ? s->cols - c : step;
		int64_t rows = s->group > 0 ? 1 : s->rows;
		int64_t most = s->group > 0 ? keep_of(s, m) : rows * m -
		    (zeros_until(s, c + m) - zeros_until(s, c));

		for (int64_t r = 0; r < s->rows; r += rows) {
			int64_t full = rows * m - count_zeros(s, w, r,
			    r + rows, c, c + m);

			kept += full < most ? full : most;
		}
	}
	return kept;
}

/* What to lose w costs; weights that are 0 before go first, then those that
 * nothing comes to. */
static float
score_of(const struct solve *v, int64_t at, int64_t c)
{
	float u = v->v.u[c * (v->s->cols + 1)], e = v->w[at] / u;

	return v->mask[at] == 0 ? -2 : v->v.dead[c] ? -1 : e * e;
}

static int
compare_floats(const void *pa, const void *pb)
{
	float a = *(const float *)pa, b = *(const float *)pb;

	return (a > b) - (a < b);
}

/* Marks what goes of columns [c, c + m) of all rows: k weights, or those that are
 * 0 where these are more. */
static void
choose_block(struct solve *v, int64_t c, int64_t m, int64_t k)
{
	int64_t rows = v->s->rows, cols = v->s->cols, n = rows * m, ties;
	float limit;

	for (int64_t i = 0; i < n; i++)
		v->score[i] = score_of(v, i / m * cols + c + i % m, c + i % m);
	memcpy(v->sorted, v->score, (size_t)n * sizeof *v->sorted);
	qsort(v->sorted, (size_t)n, sizeof *v->sorted, compare_floats);
	limit = k > 0 ? v->sorted[k - 1] : -3;
	for (ties = 0; ties < k && v->sorted[k - 1 - ties] == limit; ties++)
		;
	for (int64_t i = 0; i < n; i++) {
		uint8_t *stays = &v->mask[i / m * cols + c + i % m];

		*stays = *stays != 0 && (v->score[i] > limit ||
		    (v->score[i] == limit && ties <= 0));
		ties -= v->score[i] == limit;
	}
}

/* The same of one group of one row. */
static void
choose_group(struct solve *v, int64_t r, int64_t c, int64_t m)
{
	int64_t keep = keep_of(v->s, m), at = r * v->s->cols + c;
	float score[GROUP_MAX];

	for (int64_t i = 0; i < m; i++)
		score[i] = score_of(v, at + i, c + i);
	for (int64_t i = 0; i < m; i++) {
		int64_t better = 0;

		for (int64_t k = 0; k < m; k++)
			better += score[k] > score[i] || (k < i &&
			    score[k] == score[i]);
		v->mask[at + i] = v->mask[at + i] != 0 && better < keep;
	}
}

/* Columns [c, c + m) of row r, and what the row owes. */
static void
solve_row(struct solve *v, int64_t r, int64_t c, int64_t m)
{
	int64_t cols = v->s->cols, group = v->s->group;
	float *w = v->w + r * cols, *owed = v->owed + r * BLOCK;

	for (int64_t j = c; j < c + m; j++) {
		const float *u = v->v.u + j * cols;
		float e;

		if (group > 0 && j % group == 0)
			choose_group(v, r, j, cols - j < group ? cols - j :
			    group);
		e = v->mask[r * cols + j] != 0 ? 0 : w[j] / u[j];
		owed[j - c] = e;
		if (e == 0)
			continue;
#pragma omp simd
		for (int64_t k = j + 1; k < c + m; k++)
			w[k] -= e * u[k];
	}
}

static void
solve_block(struct solve *v, int64_t c, int64_t m)
{
	int64_t rows = v->s->rows, cols = v->s->cols, rest = cols - c - m;

	if (v->s->group == 0)
		choose_block(v, c, m, zeros_until(v->s, c + m) -
		    zeros_until(v->s, c));
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int64_t r = 0; r < rows; r++)
		solve_row(v, r, c, m);
	if (rest > 0)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans,
		    (int)rows, (int)rest, (int)m, -1, v->owed, BLOCK,
		    v->v.u + c * cols + c + m, (int)cols, 1, v->w + c + m,
		    (int)cols);
}

/* Those that go become 0; those that stay must not. */
static void
finish(struct solve *v)
{
	int64_t n = v->s->rows * v->s->cols;

	for (int64_t i = 0; i < n; i++)
		if (v->mask[i] == 0)
			v->w[i] = 0;
		else if (fabsf(v->w[i]) < 1e-7f)
			v->w[i] = copysignf(1e-7f, v->w[i]);
}

enum pare_rc
sparsegpt_solve(const struct sparsegpt *s, const float *h, float *w,
    uint8_t *mask, struct pare_err *err)
{
	struct solve v = { .s = s, .w = w, .mask = mask };
	size_t n = (size_t)s->rows * BLOCK;
	enum pare_rc rc = inverse_of(h, s->cols, false, &v.v, err);
	/* A group lies in one block. */
	int64_t step = s->group > 0 ? BLOCK / s->group * s->group : BLOCK;

	if (rc != PARE_OK)
		return rc;
	v.owed = mem_big(3 * n, sizeof *v.owed, err);
	v.score = v.owed + n;
	v.sorted = v.score + n;
	rc = v.owed == NULL ? PARE_ENOMEM : PARE_OK;
	for (int64_t i = 0; i < s->rows * s->cols; i++)
		mask[i] = w[i] != 0;
	for (int64_t c = 0; c < s->cols && rc == PARE_OK; c += step)
		solve_block(&v, c, s->cols - c < step ? s->cols - c : step);
	if (rc == PARE_OK)
		finish(&v);
	free(v.owed);
	inverse_free(&v.v);
	return rc;
}
