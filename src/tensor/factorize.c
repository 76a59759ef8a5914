/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Truncated SVD through the Gram matrix of the shorter side: with W (m, n) and
 * m <= n, the eigenvectors Q of G = W W^T for its k largest eigenvalues are the
 * left singular vectors, and A B = Q Q^T W is the best approximation of rank k.
 * What is lost is exactly |W|^2 - sum of these eigenvalues. subspace.h finds Q.
 *
 * In a metric the matrix whose loss counts is M = D W L, with D the weights of
 * the rows and L L^T the second moment of the inputs (Wang et al., "SVD-LLM",
 * 2024), a diagonal of scales (Yuan et al., "ASVD", 2023), or both diagonals
 * (Hsu et al., "Language model compression with weighted low-rank
 * factorization", 2022). With U the k first left singular vectors of M, the best
 * product of rank k is
 *
 *	D^-1 (U U^T M) L^-1 = (D^-1 U) (U^T D W),
 *
 * so neither L nor the moment is ever inverted, and a singular one does no harm.
 */
#include "tensor/value.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"
#include "tensor/subspace.h"

static struct subspace_of
subspace_of_matrix(const struct tensor *t, const float *w)
{
	struct subspace_of m = { .w = w, .rows = t->rows, .cols = t->cols };

	m.wide = m.rows <= m.cols;
	m.s = (int)(m.wide ? m.rows : m.cols);
	return m;
}

/* ---- the factors ---- */

/* Signs of eigenvectors are arbitrary: the largest entry becomes positive. */
static void
fix_signs(float *q, int s, int k)
{
	for (int i = 0; i < k; i++) {
		float *c = q + (size_t)i * (size_t)s;

		if (c[cblas_isamax(s, c, 1)] < 0.0f)
			cblas_sscal(s, -1.0f, c, 1);
	}
}

static double
row_norm(const float *p, int64_t n, int64_t stride)
{
	double sum = 0.0;

	for (int64_t i = 0; i < n; i++)
		sum += (double)p[i * stride] * p[i * stride];
	return sqrt(sum);
}

/* A = Q S^(1/2) (rows, k), B = S^(-1/2) Q^T W (k, cols), S the norms of the
 * rows of Q^T W. */
static void
factors_wide(const struct subspace_of *m, const float *q, int k, float *a, float *b)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, k, (int)m->cols,
	    m->s, 1, q, m->s, m->w, (int)m->cols, 0, b, (int)m->cols);
	for (int i = 0; i < k; i++) {
		double root = sqrt(row_norm(b + i * m->cols, m->cols, 1));
		float up = (float)root, down = root > 0 ?
		    (float)(1.0 / root) : 0.0f;

		for (int64_t c = 0; c < m->cols; c++)
			b[i * m->cols + c] *= down;
		for (int64_t r = 0; r < m->rows; r++)
			a[r * k + i] = q[(int64_t)i * m->s + r] * up;
	}
}

/* The mirror image: A = W Q S^(-1/2), B = S^(1/2) Q^T. */
static void
factors_tall(const struct subspace_of *m, const float *q, int k, float *a, float *b)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m->rows, k,
	    m->s, 1, m->w, (int)m->cols, q, m->s, 0, a, k);
	for (int i = 0; i < k; i++) {
		double root = sqrt(row_norm(a + i, m->rows, k));
		float up = (float)root, down = root > 0 ?
		    (float)(1.0 / root) : 0.0f;

		for (int64_t r = 0; r < m->rows; r++)
			a[r * k + i] *= down;
		for (int64_t c = 0; c < m->cols; c++)
			b[i * m->cols + c] = q[i * m->cols + c] * up;
	}
}

static struct tensor *
lowrank_of(const struct tensor *t, struct tensor *a, struct tensor *b,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2] = { a, b };

	facts.form = facts.values = FORM_LOWRANK;
	facts.ghost = a->ghost;
	facts.nonzero = -1;
	/* A zero in a factor is no pruned weight. */
	atomic_store(&a->nonzero, value_count(a));
	atomic_store(&b->nonzero, value_count(b));
	return tensor_new(&facts, NULL, kid, err);
}

static struct tensor *
make_factors(const struct tensor *t, const struct subspace_of *m, float *q, int k,
    struct pare_err *err)
{
	float *pa, *pb;
	struct tensor *a = tensor_new_f32(2, m->rows, k, &pa, err), *b;

	if (a == NULL)
		return NULL;
	b = tensor_new_f32(2, k, m->cols, &pb, err);
	if (b == NULL) {
		tensor_unref(a);
		return NULL;
	}
	fix_signs(q, m->s, k);
	if (m->wide)
		factors_wide(m, q, k, pa, pb);
	else
		factors_tall(m, q, k, pa, pb);
	return lowrank_of(t, a, b, err);
}

/* ---- the metric ---- */

/* L of second + damp I = L L^T, lower, zeros above; (cols, cols). */
static enum pare_rc
cholesky(const float *second, int64_t cols, float *l, struct pare_err *err)
{
	size_t n = (size_t)cols;
	double *a = mem_big(n * n, sizeof(*a), err), mean = 0;
	bool ok;

	if (a == NULL)
		return PARE_ENOMEM;
	for (size_t i = 0; i < n * n; i++)
		a[i] = second[i];
	for (size_t i = 0; i < n; i++)
		mean += a[i * (n + 1)] / (double)n;
	for (size_t i = 0; i < n; i++)
		a[i * (n + 1)] += FACTOR_DAMP * mean;
	ok = mean > 0 && isfinite(mean) && LAPACKE_dpotrf(LAPACK_ROW_MAJOR,
	    'L', (int)cols, a, (int)cols) == 0;
	for (size_t i = 0; i < n && ok; i++)
		for (size_t j = 0; j < n; j++)
			l[i * n + j] = j > i ? 0.0f : (float)a[i * n + j];
	free(a);
	return ok ? PARE_OK : err_set(err, PARE_EUSER,
	    "the moments of the calib samples are singular");
}

/* out = W L, for both kinds of L. */
static enum pare_rc
times_columns(const struct tensor *t, const struct factor_metric *m,
    float *out, struct pare_err *err)
{
	size_t n = (size_t)t->cols;
	float *l;
	enum pare_rc rc;

	for (int64_t r = 0; r < t->rows && m->col != NULL; r++)
		for (int64_t c = 0; c < t->cols; c++)
			out[r * t->cols + c] *= m->col[c];
	if (m->second == NULL)
		return PARE_OK;
	if ((l = mem_big(n * n, sizeof(*l), err)) == NULL)
		return PARE_ENOMEM;
	rc = cholesky(m->second, t->cols, l, err);
	if (rc == PARE_OK)
		cblas_strmm(CblasRowMajor, CblasRight, CblasLower,
		    CblasNoTrans, CblasNonUnit, (int)t->rows, (int)t->cols, 1,
		    l, (int)t->cols, out, (int)t->cols);
	free(l);
	return rc;
}

/* D W (also into *dw, which the caller frees) and from it M = D W L, as a new
 * tensor; t is F32. */
static struct tensor *
measured(const struct tensor *t, const struct factor_metric *m, float **dw,
    struct pare_err *err)
{
	size_t n = (size_t)(t->rows * t->cols);
	float *out;
	struct tensor *f = tensor_new_f32(2, t->rows, t->cols, &out, err);

	*dw = f == NULL ? NULL : mem_big(n, sizeof(**dw), err);
	if (*dw == NULL) {
		tensor_unref(f);
		return NULL;
	}
	for (int64_t r = 0; r < t->rows; r++) {
		float d = m->row != NULL ? m->row[r] : 1.0f;

		for (int64_t c = 0; c < t->cols; c++)
			(*dw)[r * t->cols + c] = d *
			    tensor_f32(t)[r * t->cols + c];
	}
	memcpy(out, *dw, n * sizeof(*out));
	if (times_columns(t, m, out, err) == PARE_OK)
		return f;
	free(*dw);
	*dw = NULL;
	tensor_unref(f);
	return NULL;
}

/* Left singular vectors u (rows, k) from right ones q (k, s) of a tall matrix: an
 * orthonormal basis of M q, largest first. */
static enum pare_rc
left_of_tall(const struct subspace_of *m, const float *q, int k, float *u,
    struct pare_err *err)
{
	float *tau = mem_big((size_t)k, sizeof(*tau), err);
	bool ok;

	if (tau == NULL)
		return PARE_ENOMEM;
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m->rows, k,
	    m->s, 1, m->w, (int)m->cols, q, m->s, 0, u, k);
	ok = LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, (int)m->rows, k, u, k,
	    tau) == 0 && LAPACKE_sorgqr(LAPACK_ROW_MAJOR, (int)m->rows, k, k,
	    u, k, tau) == 0;
	free(tau);
	return ok ? PARE_OK : err_set(err, PARE_ENOMEM,
	    "out of memory for singular vectors");
}

/* A = D^-1 U S^(1/2), B = S^(-1/2) U^T D W with S the norms of the rows of
 * U^T D W; u (rows, k) becomes A. */
static void
factors_measured(const struct subspace_of *m, const float *dw,
    const float *row, int k, float *u, float *b)
{
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, (int)m->cols,
	    (int)m->rows, 1, u, k, dw, (int)m->cols, 0, b, (int)m->cols);
	for (int i = 0; i < k; i++) {
		double root = sqrt(row_norm(b + i * m->cols, m->cols, 1));
		float down = root > 0 ? (float)(1.0 / root) : 0.0f;

		for (int64_t c = 0; c < m->cols; c++)
			b[i * m->cols + c] *= down;
		for (int64_t r = 0; r < m->rows; r++)
			u[r * k + i] *= (float)root / (row != NULL ? row[r] :
			    1.0f);
	}
}

/* u (rows, k) from q (k, s), signs settled. */
static enum pare_rc
left_vectors(const struct subspace_of *m, float *q, int k, float *u,
    struct pare_err *err)
{
	fix_signs(q, m->s, k);
	if (!m->wide)
		return left_of_tall(m, q, k, u, err);
	for (int i = 0; i < k; i++)
		for (int64_t r = 0; r < m->rows; r++)
			u[r * k + i] = q[(int64_t)i * m->s + r];
	return PARE_OK;
}

/* ---- the whole way ---- */

static struct tensor *
make_measured(const struct tensor *t, const struct subspace_of *m,
    const float *dw, const float *row, float *q, int k, struct pare_err *err)
{
	float *pa, *pb;
	struct tensor *a = tensor_new_f32(2, m->rows, k, &pa, err), *b = NULL;

	if (a != NULL)
		b = tensor_new_f32(2, k, m->cols, &pb, err);
	if (b == NULL || left_vectors(m, q, k, pa, err) != PARE_OK) {
		tensor_unref(a);
		tensor_unref(b);
		return NULL;
	}
	factors_measured(m, dw, row, k, pa, pb);
	return lowrank_of(t, a, b, err);
}

/* The k first singular vectors of m, then the factors; dw NULL: m is W itself. */
static struct tensor *
factorize(const struct tensor *t, const struct subspace_of *m, int k,
    const float *dw, const float *row, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	float *q = mem_big((size_t)k, (size_t)m->s * sizeof(float), err);
	struct tensor *out = NULL;

	if (q == NULL)
		return NULL;
	if (subspace_find(m, k, q, ctx, err) == PARE_OK)
		out = dw == NULL ? make_factors(t, m, q, k, err) :
		    make_measured(t, m, dw, row, q, k, err);
	free(q);
	return out;
}

static enum pare_rc
check_matrix(const struct tensor *t, const char *what, struct pare_err *err)
{
	int64_t s = t->rows < t->cols ? t->rows : t->cols;

	if (t->ndim != 2)
		return err_set(err, PARE_EUSER, "a vector of %lld cannot be %s",
		    (long long)t->cols, what);
	if (s > SUBSPACE_MAX)
		return err_set(err, PARE_EUSER, "%lld x %lld is too large to "
		    "be %s", (long long)t->rows, (long long)t->cols, what);
	return PARE_OK;
}

static enum pare_rc
check_finite(const struct tensor *t, const float *w, struct pare_err *err)
{
	uint32_t worst = 0;

	for (int64_t r = 0; r < t->rows; r++) {
		uint32_t b = value_max_bits(w + r * t->cols, t->cols);

		worst = b > worst ? b : worst;
	}
	if (value_bits_finite(worst))
		return PARE_OK;
	err_set(err, PARE_EUSER, "a matrix of %lld x %lld has values that are "
	    "not finite", (long long)t->rows, (long long)t->cols);
	err_hint(err, "inspect it to see how many");
	return PARE_EUSER;
}

static enum pare_rc
check_factorize(const struct tensor *t, int64_t rank, struct pare_err *err)
{
	int64_t s = t->rows < t->cols ? t->rows : t->cols;

	if (!value_is_float(t->form)) {
		err_set(err, PARE_EUSER, "a matrix stored as %s cannot be "
		    "factorized", form_table[t->form].name);
		err_hint(err, "undo, factorize first, then quantize; prune "
		    "weights instead of factorizing");
		return PARE_EUSER;
	}
	if (check_matrix(t, "factorized", err) != PARE_OK)
		return PARE_EUSER;
	if (rank < 1 || rank > s)
		return err_set(err, PARE_EUSER, "rank %lld of a matrix of "
		    "%lld x %lld is outside 1 to %lld", (long long)rank,
		    (long long)t->rows, (long long)t->cols, (long long)s);
	return PARE_OK;
}

/* The factors of f (consumed) in the float form of t. */
static struct tensor *
in_form_of(const struct tensor *t, struct tensor *f,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *a, *b = NULL;

	if (f == NULL || t->form == FORM_F32)
		return f;
	a = tensor_cast(f->kid[0], t->form, ctx, err);
	if (a != NULL)
		b = tensor_cast(f->kid[1], t->form, ctx, err);
	tensor_unref(f);
	if (b != NULL)
		return lowrank_of(t, a, b, err);
	tensor_unref(a);
	return NULL;
}

/* f is t in float32. */
static struct tensor *
factorize_float(const struct tensor *t, const struct tensor *f, int k,
    const struct factor_metric *metric, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct subspace_of m = subspace_of_matrix(f, tensor_f32(f));
	struct tensor *of, *out = NULL;
	float *dw;

	if (metric == NULL)
		return factorize(t, &m, k, NULL, NULL, ctx, err);
	if ((of = measured(f, metric, &dw, err)) == NULL)
		return NULL;
	m.w = tensor_f32(of);
	if (check_finite(of, m.w, err) == PARE_OK)
		out = factorize(t, &m, k, dw, metric->row, ctx, err);
	tensor_unref(of);
	free(dw);
	return out;
}

struct tensor *
tensor_factorize_by(const struct tensor *t, int64_t rank,
    const struct factor_metric *metric, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct tensor *f, *out = NULL;

	if (check_factorize(t, rank, err) != PARE_OK)
		return NULL;
	if (ctx->estimate || t->ghost)
		return lowrank_of(t, tensor_ghost(t->form, 2, t->rows, rank),
		    tensor_ghost(t->form, 2, rank, t->cols), err);
	f = tensor_to_f32(t, err);
	if (f == NULL)
		return NULL;
	kernel_bind();
	if (check_finite(f, tensor_f32(f), err) == PARE_OK)
		out = in_form_of(t, factorize_float(t, f, (int)rank, metric,
		    ctx, err), ctx, err);
	tensor_unref(f);
	return out;
}

struct tensor *
tensor_factorize(const struct tensor *t, int64_t rank,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	return tensor_factorize_by(t, rank, NULL, ctx, err);
}

/* ---- spectrum ---- */

static enum pare_rc
spectrum(const struct tensor *f, const struct factor_metric *metric,
    float *out, struct task *task, struct pare_err *err)
{
	struct subspace_of m = subspace_of_matrix(f, tensor_f32(f));
	struct tensor *of = NULL;
	float *dw = NULL;
	enum pare_rc rc = check_finite(f, m.w, err);

	if (rc == PARE_OK && metric != NULL) {
		of = measured(f, metric, &dw, err);
		if (of == NULL)
			return err->rc;
		m.w = tensor_f32(of);
		rc = check_finite(of, m.w, err);
	}
	if (rc == PARE_OK)
		rc = subspace_values(&m, out, task, err);
	tensor_unref(of);
	free(dw);
	return rc;
}

enum pare_rc
tensor_spectrum_by(const struct tensor *t,
    const struct factor_metric *metric, float **out, int64_t *n,
    struct task *task, struct pare_err *err)
{
	struct pare_err own;
	struct tensor *f;
	enum pare_rc rc;

	err = err != NULL ? err : &own;
	if (!tensor_has_values(t, err) ||
	    check_matrix(t, "decomposed", err) != PARE_OK)
		return PARE_EUSER;
	f = tensor_to_f32(t, err);
	if (f == NULL)
		return PARE_ENOMEM;
	kernel_bind();
	*n = t->rows < t->cols ? t->rows : t->cols;
	*out = mem_big((size_t)*n, sizeof(float), err);
	rc = *out != NULL ? spectrum(f, metric, *out, task, err) : PARE_ENOMEM;
	if (rc != PARE_OK) {
		free(*out);
		*out = NULL;
	}
	tensor_unref(f);
	return rc;
}

enum pare_rc
tensor_spectrum(const struct tensor *t, float **out, int64_t *n,
    struct task *task, struct pare_err *err)
{
	return tensor_spectrum_by(t, NULL, out, n, task, err);
}

int64_t
tensor_break_even_rank(const struct tensor *t)
{
	int64_t sum = t->rows + t->cols;

	return (value_count(t) - 1) / sum;
}
