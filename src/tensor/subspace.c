/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The eigenvectors of the Gram matrix G of the shorter side for its k largest
 * eigenvalues.
 *
 * Where k is small the subspace is found from a random start (Halko, Martinsson,
 * Tropp 2011), with the power iterations replaced by Chebyshev polynomials of G
 * that damp the unwanted end of the spectrum much faster (Zhou, Saad 2007); and
 * it is accepted only with a proof that no subspace of rank k loses noticeably
 * less:
 *
 *   Let V be k' >= k Ritz vectors with values t_1 >= t_2 >= ... and residuals
 *   E = G V - V T, and let all eigenvalues of G on the complement of V be at
 *   most s (tested by one Cholesky factorization of s I - that part). Then for
 *   any d > 0, G is at most T + E^T E / d on V and (s + d) I beside it, in the
 *   order of symmetric matrices, so by Ky Fan the k largest eigenvalues of G
 *   sum up to at most
 *       t_1 + ... + t_k + |E|_F^2 / d + sum of max(0, s + d - t_i).
 *
 * Otherwise LAPACK takes the eigenvectors of G in double precision, whose
 * square root of rounding is still below that of the float32 values themselves.
 */
#include "tensor/subspace.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/kernel.h"
#include "tensor/value.h"

enum {
	GRAM_BLOCK = 1 << 21,	/* values between two looks at cancel */
	ROUNDS = 6,
	ALONE_MAX = 1024,	/* sides that LAPACK handles best on one thread */
	START_POWER = 3,	/* products with G before the first look */
	DEGREE_MAX = 10,
	FAST_MIN = 96		/* shorter sides go straight to LAPACK */
};

/* The loss may exceed the least possible by this share. */
static const double loss_slack = 1e-3;
/* A loss below this share of |W|^2 calls for double precision. */
static const double loss_float = 1e-2;

/*
 * Small factorizations are hundreds of short products, where waking a second
 * thread costs more than it does. BLAS takes its number of threads from OpenMP.
 */
static void
one_thread(void)
{
	omp_set_num_threads(1);
}

static void
all_threads(void)
{
	omp_set_num_threads(kernel_threads());
}

/* ---- Gram matrices ---- */

/* Rows of W^T W, or columns of W W^T, that one step takes. */
static int64_t
gram_step(const struct subspace_of *m)
{
	int64_t step = GRAM_BLOCK / m->s;

	return step < 64 ? 64 : step;
}

static void
mirror(float *g, int s)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (s > 256)
	for (int i = 0; i < s; i++)
		for (int j = i + 1; j < s; j++)
			g[(size_t)i * (size_t)s + (size_t)j] =
			    g[(size_t)j * (size_t)s + (size_t)i];
}

/* g (s, s), both triangles. */
static enum pare_rc
gram_float(const struct subspace_of *m, float *g, struct task *task,
    struct pare_err *err)
{
	int64_t len = m->wide ? m->cols : m->rows, step = gram_step(m);

	for (int64_t i = 0; i < len; i += step) {
		int k = (int)(len - i < step ? len - i : step);
		const float *w = m->w + (m->wide ? i : i * m->cols);

		if (task_canceled(task))
			return task_error(err);
		cblas_ssyrk(CblasRowMajor, CblasLower,
		    m->wide ? CblasNoTrans : CblasTrans, m->s, k, 1, w,
		    (int)m->cols, i == 0 ? 0 : 1, g, m->s);
	}
	mirror(g, m->s);
	return PARE_OK;
}

/* Block i, i + 1, ... of k rows or columns as doubles, in rows of the block. */
static void
widen_block(const struct subspace_of *m, int64_t i, int64_t k, double *out)
{
	int64_t rows = m->wide ? m->rows : k, cols = m->wide ? k : m->cols;
	const float *w = m->w + (m->wide ? i : i * m->cols);

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (rows * cols > VALUE_PARALLEL)
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			out[r * cols + c] = w[r * m->cols + c];
}

/* Lower triangle of g (s, s). */
static enum pare_rc
gram_double(const struct subspace_of *m, double *g, struct task *task,
    struct pare_err *err)
{
	int64_t len = m->wide ? m->cols : m->rows, step = gram_step(m);
	double *block;

	step = step < len ? step : len;
	block = mem_big((size_t)step, (size_t)m->s * sizeof(double), err);
	if (block == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < len; i += step) {
		int k = (int)(len - i < step ? len - i : step);

		if (task_canceled(task)) {
			free(block);
			return task_error(err);
		}
		widen_block(m, i, k, block);
		cblas_dsyrk(CblasRowMajor, CblasLower,
		    m->wide ? CblasNoTrans : CblasTrans, m->s, k, 1, block,
		    m->wide ? k : m->s, i == 0 ? 0 : 1, g, m->s);
	}
	free(block);
	return PARE_OK;
}

static enum pare_rc
lapack_error(int info, struct pare_err *err)
{
	if (info == LAPACK_WORK_MEMORY_ERROR ||
	    info == LAPACK_TRANSPOSE_MEMORY_ERROR)
		return err_set(err, PARE_ENOMEM,
		    "out of memory for singular values");
	return err_set(err, PARE_EUSER,
	    "the singular values did not converge (LAPACK says %d)", info);
}

/*
 * The k largest eigenpairs of G in double precision, ascending into value[0..k)
 * and vec (columns of s); vec NULL: values only, all of them. LAPACK sees the
 * lower triangle of our rows as the upper one of its columns.
 */
static enum pare_rc
eigen_double(const struct subspace_of *m, int k, double *value, double *vec,
    struct task *task, struct pare_err *err)
{
	size_t s = (size_t)m->s;
	double *g = mem_big(s, s * sizeof(double), err);
	int *support = mem_big(2 * s, sizeof(*support), err), found, info;
	enum pare_rc rc = PARE_ENOMEM;

	if (g != NULL && support != NULL)
		rc = gram_double(m, g, task, err);
	if (rc == PARE_OK) {
		if (m->s <= ALONE_MAX)
			one_thread();
		info = LAPACKE_dsyevr(LAPACK_COL_MAJOR, vec != NULL ? 'V' : 'N',
		    vec != NULL ? 'I' : 'A', 'U', m->s, g, m->s, 0, 0,
		    m->s - k + 1, m->s, 0, &found, value, vec, m->s, support);
		all_threads();
		if (info != 0)
			rc = lapack_error(info, err);
	}
	free(g);
	free(support);
	return rc;
}

/* The exact path: q (k vectors of s, largest first). */
static enum pare_rc
subspace_exact(const struct subspace_of *m, int k, float *q, struct task *task,
    struct pare_err *err)
{
	size_t s = (size_t)m->s;
	double *value = mem_big(s, sizeof(double), err);
	double *vec = mem_big((size_t)k, s * sizeof(double), err);
	enum pare_rc rc = PARE_ENOMEM;

	if (value != NULL && vec != NULL)
		rc = eigen_double(m, k, value, vec, task, err);
	for (int i = 0; rc == PARE_OK && i < k; i++)
		for (size_t j = 0; j < s; j++)
			q[(size_t)i * s + j] =
			    (float)vec[(size_t)(k - 1 - i) * s + j];
	free(value);
	free(vec);
	return rc;
}

/* ---- the fast path ---- */

/* Work space. Blocks of vectors are l columns of s, column-major. */
struct fast {
	const float *g;		/* (s, s) */
	int s, k, l;		/* wanted and kept vectors */
	float *v, *gv, *t;	/* Ritz vectors, G times them, spare */
	float *h;		/* (l, l) */
	float *theta;		/* Ritz values, descending */
	float *square;		/* (s, s) for the proof */
	double trace;
	void *mem;
};

static bool
fast_new(struct fast *f, struct pare_err *err)
{
	size_t s = (size_t)f->s, l = (size_t)f->l;
	float *p = mem_big(3 * s * l + l * l + l + s * s, sizeof(float), err);

	f->mem = p;
	if (p == NULL)
		return false;
	f->v = p;
	f->gv = f->v + s * l;
	f->t = f->gv + s * l;
	f->h = f->t + s * l;
	f->theta = f->h + l * l;
	f->square = f->theta + l;
	return true;
}

/* out = alpha G x + beta out */
static void
apply(const struct fast *f, float alpha, const float *x, float beta, float *out)
{
	cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, f->s, f->l,
	    f->s, alpha, f->g, f->s, x, f->s, beta, out, f->s);
}

static void
start_random(struct fast *f, uint64_t seed)
{
	size_t n = (size_t)f->s * (size_t)f->l;
	struct rng rng;

	rng_seed(&rng, rng_derive(seed, 0x5bd));
	for (size_t i = 0; i < n; i++)
		f->v[i] = (float)(int32_t)(rng_next(&rng) >> 32) * 0x1p-31f;
}

static void
normalize(float *x, int s, int l)
{
	for (int i = 0; i < l; i++) {
		float *c = x + (size_t)i * (size_t)s;
		float n = cblas_snrm2(s, c, 1);

		if (n > 0.0f && isfinite(n))
			cblas_sscal(s, 1.0f / n, c, 1);
	}
}

/* Orthonormal columns: Cholesky QR, twice for accuracy; Householder when the
 * columns are too close to each other for that. */
static bool
orthonormalize_alone(struct fast *f, float *x)
{
	normalize(x, f->s, f->l);
	for (int pass = 0; pass < 2; pass++) {
		cblas_ssyrk(CblasColMajor, CblasUpper, CblasTrans, f->l, f->s,
		    1, x, f->s, 0, f->h, f->l);
		if (LAPACKE_spotrf(LAPACK_COL_MAJOR, 'U', f->l, f->h, f->l))
			break;
		cblas_strsm(CblasColMajor, CblasRight, CblasUpper,
		    CblasNoTrans, CblasNonUnit, f->s, f->l, 1, f->h, f->l, x,
		    f->s);
		if (pass == 1)
			return true;
	}
	return LAPACKE_sgeqrf(LAPACK_COL_MAJOR, f->s, f->l, x, f->s,
	    f->theta) == 0 &&
	    LAPACKE_sorgqr(LAPACK_COL_MAJOR, f->s, f->l, f->l, x, f->s,
	    f->theta) == 0;
}

static bool
orthonormalize(struct fast *f, float *x)
{
	bool ok;

	one_thread();
	ok = orthonormalize_alone(f, x);
	all_threads();
	return ok;
}

/* Eigenvalues come ascending; the block is turned to descending on the way. */
static void
rotate(struct fast *f, float **x)
{
	float *swap = *x;
	size_t s = (size_t)f->s;

	cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, f->s, f->l,
	    f->l, 1, *x, f->s, f->h, f->l, 0, f->t, f->s);
	for (int i = 0; i < f->l; i++)
		memcpy(swap + (size_t)i * s, f->t + (size_t)(f->l - 1 - i) * s,
		    s * sizeof(float));
}

/* Rayleigh and Ritz: v becomes the best eigenvectors its span holds. */
static bool
ritz(struct fast *f)
{
	int info;

	apply(f, 1, f->v, 0, f->gv);
	cblas_sgemm(CblasColMajor, CblasTrans, CblasNoTrans, f->l, f->l, f->s,
	    1, f->v, f->s, f->gv, f->s, 0, f->h, f->l);
	one_thread();
	info = LAPACKE_ssyevd(LAPACK_COL_MAJOR, 'V', 'U', f->l, f->h, f->l,
	    f->theta);
	all_threads();
	if (info != 0)
		return false;
	for (int i = 0; i < f->l / 2; i++) {
		float x = f->theta[i];

		f->theta[i] = f->theta[f->l - 1 - i];
		f->theta[f->l - 1 - i] = x;
	}
	rotate(f, &f->v);
	rotate(f, &f->gv);
	return true;
}

/* How far one round may go before the largest direction drowns the smallest in
 * float32; each column starts near one direction, which helps. */
static int
filter_degree(const struct fast *f)
{
	double x = 2.0 * f->theta[0] / f->theta[f->l - 1] - 1.0, rate;
	int d;

	if (!(x > 1.0) || !isfinite(x))
		return 1;
	rate = x + sqrt(x * x - 1.0);
	d = (int)(log(1e7) / log(rate));
	return d < 2 ? 2 : d > DEGREE_MAX ? DEGREE_MAX : d;
}

/* v = T_d(G) v, the Chebyshev polynomial of [0, theta_l], scaled to stay near
 * one at theta_1. gv is G v on entry and spare after. */
static void
filter(struct fast *f)
{
	float half = 0.5f * f->theta[f->l - 1];
	float sigma = half / (f->theta[0] - half), first = sigma, next;
	size_t n = (size_t)f->s * (size_t)f->l;
	int degree = filter_degree(f);
	float *x = f->v, *y = f->gv, *z = f->t, *swap;

	for (size_t i = 0; i < n; i++)
		y[i] = (y[i] - half * x[i]) * (first / half);
	for (int d = 2; d <= degree; d++) {
		float a;

		next = 1.0f / (2.0f / first - sigma);
		a = 2.0f * next / half;
		for (size_t i = 0; i < n; i++)
			z[i] = -a * half * y[i] - sigma * next * x[i];
		apply(f, a, y, 1, z);
		swap = x;
		x = y;
		y = z;
		z = swap;
		sigma = next;
	}
	f->v = y;
	f->gv = x;
	f->t = z;
}

/* Whether all eigenvalues of G beside the first n Ritz vectors are below limit:
 * limit I - (I - V V^T) G (I - V V^T) has a Cholesky factorization. */
static bool
complement_below(struct fast *f, int n, float limit)
{
	size_t s = (size_t)f->s;
	float *b = f->square;
	int info;

	/* G - V C^T - C V^T with C = G V - V T / 2. */
	memcpy(b, f->g, s * s * sizeof(float));
	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < s; j++)
			f->t[(size_t)i * s + j] = f->gv[(size_t)i * s + j] -
			    0.5f * f->theta[i] * f->v[(size_t)i * s + j];
	cblas_ssyr2k(CblasColMajor, CblasUpper, CblasNoTrans, f->s, n, -1,
	    f->v, f->s, f->t, f->s, 1, b, f->s);
	for (size_t i = 0; i < s * s; i++)
		b[i] = -b[i];
	for (size_t i = 0; i < s; i++)
		b[i * s + i] += limit;
	one_thread();
	info = LAPACKE_spotrf(LAPACK_COL_MAJOR, 'U', f->s, b, f->s);
	all_threads();
	return info == 0;
}

/* |G V - V T|_F^2 of the first n vectors. */
static double
residual(const struct fast *f, int n)
{
	size_t s = (size_t)f->s;
	double sum = 0.0;

#pragma omp parallel for reduction(+ : sum) schedule(static) \
    num_threads(kernel_threads())
	for (int i = 0; i < n; i++) {
		const float *g = f->gv + (size_t)i * s;
		const float *v = f->v + (size_t)i * s;
		double c = 0.0;

		for (size_t j = 0; j < s; j++) {
			double e = g[j] - (double)f->theta[i] * v[j];

			c += e * e;
		}
		sum += c;
	}
	return sum;
}

/* The least the bound at the top of this file comes to, over d. */
static double
excess_bound(const struct fast *f, double e2, double s)
{
	double best = INFINITY;

	for (int i = -40; i <= 4; i++) {
		double d = f->theta[f->k - 1] * exp2(0.5 * i), x = e2 / d;

		for (int j = 0; j < f->k; j++)
			x += fmax(0.0, s + d - f->theta[j]);
		best = fmin(best, x);
	}
	return best;
}

/* What the first k Ritz vectors lose of |W|^2. */
static double
ritz_loss(const struct fast *f)
{
	double loss = f->trace;

	for (int i = 0; i < f->k; i++)
		loss -= f->theta[i];
	return loss;
}

/* Whether the loss is proven to be within the slack of the least possible. */
static bool
is_proven(struct fast *f)
{
	int n = f->k + (f->l - f->k) / 2;
	double allowed = loss_slack * ritz_loss(f);
	float limit = 0.5f * (f->theta[n] + f->theta[f->k - 1]);

	return excess_bound(f, residual(f, n), limit) <= allowed &&
	    complement_below(f, n, limit);
}

/* 1: found, 0: not, take the exact path; -1: canceled. */
static int
fast_rounds(struct fast *f, uint64_t seed, struct task *task)
{
	start_random(f, seed);
	for (int i = 0; i < START_POWER; i++) {
		float *swap = f->v;

		apply(f, 1, f->v, 0, f->t);
		f->v = f->t;
		f->t = swap;
		normalize(f->v, f->s, f->l);
	}
	for (int round = 0; round <= ROUNDS; round++) {
		if (task_canceled(task))
			return -1;
		if (round > 0)
			filter(f);
		if (!orthonormalize(f, f->v) || !ritz(f) ||
		    !(f->theta[f->l - 1] > 0.0f))
			return 0;
		if (ritz_loss(f) < loss_float * f->trace)
			return 0;
		if (round > 0 && is_proven(f))
			return 1;
	}
	return 0;
}

static enum pare_rc
subspace_fast(const struct subspace_of *m, int k, float *q, bool *found,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	int more = k / 4 < 16 ? 16 : k / 4;
	struct fast f = { .s = m->s, .k = k, .l = k + more };
	size_t s = (size_t)m->s;
	float *g = mem_big(s, s * sizeof(float), err);
	enum pare_rc rc = PARE_ENOMEM;

	if (g != NULL && fast_new(&f, err))
		rc = gram_float(m, g, ctx->task, err);
	if (rc == PARE_OK) {
		int got;

		f.g = g;
		for (size_t i = 0; i < s; i++)
			f.trace += g[i * s + i];
		got = isfinite(f.trace) && f.trace > 0 ?
		    fast_rounds(&f, ctx->seed, ctx->task) : 0;
		*found = got > 0;
		if (got > 0)
			memcpy(q, f.v, (size_t)k * s * sizeof(float));
		if (got < 0)
			rc = task_error(err);
	}
	free(g);
	free(f.mem);
	return rc;
}

enum pare_rc
subspace_find(const struct subspace_of *m, int k, float *q,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	bool found = false;

	if (m->s >= FAST_MIN && k <= m->s / 3)
		rc = subspace_fast(m, k, q, &found, ctx, err);
	if (rc == PARE_OK && !found)
		rc = subspace_exact(m, k, q, ctx->task, err);
	if (rc == PARE_OK && task_canceled(ctx->task))
		rc = task_error(err);
	return rc;
}

enum pare_rc
subspace_values(const struct subspace_of *m, float *out, struct task *task,
    struct pare_err *err)
{
	double *value = mem_big((size_t)m->s, sizeof(*value), err);
	enum pare_rc rc;

	if (value == NULL)
		return PARE_ENOMEM;
	rc = eigen_double(m, m->s, value, NULL, task, err);
	for (int i = 0; rc == PARE_OK && i < m->s; i++)
		out[i] = (float)sqrt(fmax(0.0, value[m->s - 1 - i]));
	free(value);
	return rc;
}
