/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of kernels, threads, and the two forms that lean on others: F32 is
 * sgemm, LOWRANK two products.
 */
#include "tensor/kernel_rows.h"

#include <cblas.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int threads_set;	/* 0: not asked yet */
static _Thread_local int threads_limit;	/* 0: none */

int
kernel_threads(void)
{
	int n = atomic_load_explicit(&threads_set, memory_order_relaxed);

	if (n < 1) {
		n = omp_get_num_procs();
		n = n < 1 ? 1 : n > 256 ? 256 : n;
		atomic_store_explicit(&threads_set, n, memory_order_relaxed);
	}
	return threads_limit > 0 && threads_limit < n ? threads_limit : n;
}

int
kernel_limit_threads(int n)
{
	int before = threads_limit;

	threads_limit = n;
	kernel_bind();
	return before;
}

void
kernel_set_threads(int n)
{
	n = n < 1 ? 1 : n > 256 ? 256 : n;
	atomic_store_explicit(&threads_set, n, memory_order_relaxed);
	kernel_bind();
}

/* OpenMP keeps the number per thread; OpenBLAS asks OpenMP at each call and
 * reshapes its own pool, which all threads share, when the answer changed. An
 * answer of one makes it work alone and leaves the pool as it is. */
void
kernel_bind(void)
{
	int n = kernel_threads();

	if (omp_in_parallel())
		return;
	if (omp_get_max_threads() != n)
		omp_set_num_threads(n);
	if (threads_limit == 0 && openblas_get_num_threads() != n)
		openblas_set_num_threads(n);
}

int
kernel_thread(void)
{
	return omp_get_thread_num();
}

const char *
kernel_blas_name(void)
{
	static const char *const parallel[] = { "single-threaded", "pthread",
		"openmp" };
	static char name[128];
	int p = openblas_get_parallel(), major = 0, minor = 0, patch = 0;

	sscanf(openblas_get_config(), "OpenBLAS %d.%d.%d", &major, &minor,
	    &patch);
	snprintf(name, sizeof(name), "OpenBLAS %d.%d.%d %s (%s)", major, minor,
	    patch, openblas_get_corename(),
	    p >= 0 && p < 3 ? parallel[p] : "unknown threads");
	return name;
}

/* ---- F32 ---- */

/* Eight partial sums in fixed lanes, whatever the instruction set. */
VALUE_SIMD float
kernel_dot(const float *a, const float *b, int64_t n)
{
	float s[32] = { 0 }, sum = 0.0f;
	int64_t i = 0;

	for (; i + 32 <= n; i += 32) {
#pragma omp simd
		for (int j = 0; j < 32; j++)
			s[j] += a[i + j] * b[i + j];
	}
	for (int j = 0; i < n; i++, j++)
		s[j] += a[i] * b[i];
	for (int w = 16; w > 0; w /= 2)
		for (int j = 0; j < w; j++)
			s[j] += s[j + w];
	sum = s[0];
	return sum;
}

static void
f32_matvec(const struct tensor *t, const float *x, float *y, bool accumulate)
{
	const float *w = t->part[PART_DATA].p;

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (value_count(t) > VALUE_PARALLEL)
	for (int64_t r = 0; r < t->rows; r++) {
		float s = kernel_dot(w + r * t->cols, x, t->cols);

		y[r] = accumulate ? y[r] + s : s;
	}
}

static void
f32_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	const float *w = t->part[PART_DATA].p;

	if (n == 1) {
		f32_matvec(t, x, y, accumulate);
		return;
	}
	/* BLAS counts in int; 2^30 rows of anything are far beyond memory. */
	for (int64_t i = 0; i < n; i += 1 << 24) {
		int64_t m = n - i < 1 << 24 ? n - i : 1 << 24;

		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m,
		    (int)t->rows, (int)t->cols, 1, x + i * t->cols,
		    (int)t->cols, w, (int)t->cols, accumulate ? 1 : 0,
		    y + i * t->rows, (int)t->rows);
	}
}

static size_t
no_scratch(const struct tensor *t, int64_t n)
{
	return 0;
}

/* ---- LOWRANK ---- */

/* First (n, k) = x B^T, then what the factors need themselves. */
static size_t
lowrank_inner(const struct tensor *t, int64_t n)
{
	size_t bytes = (size_t)(n * tensor_rank(t)) * sizeof(float);

	return (bytes + 63) & ~(size_t)63;
}

static size_t
lowrank_scratch(const struct tensor *t, int64_t n)
{
	size_t a = kernel_scratch(t->kid[0], n);
	size_t b = kernel_scratch(t->kid[1], n);

	return lowrank_inner(t, n) + (a > b ? a : b);
}

static void
lowrank_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	float *z = scratch;
	void *rest = (char *)scratch + lowrank_inner(t, n);

	kernel_matmul(t->kid[1], x, n, z, false, rest);
	kernel_matmul(t->kid[0], z, n, y, accumulate, rest);
}

const struct kernel kernel_table[FORM_COUNT] = {
	[FORM_F32] = { "sgemm", 2e-5f, f32_matmul, no_scratch },
	[FORM_F16] = { "tiles of f16 + sgemm", 2e-5f, tile_matmul,
	    tile_scratch },
	[FORM_BF16] = { "tiles of bf16 + sgemm", 2e-5f, tile_matmul,
	    tile_scratch },
	[FORM_INT] = { "tiles of codes + sgemm", 2e-5f, tile_matmul,
	    tile_scratch },
	[FORM_TABLE] = { "tiles of table codes + sgemm", 2e-5f, tile_matmul,
	    tile_scratch },
	[FORM_BITMAP] = { "stored values, or tiles + sgemm", 2e-5f,
	    sparse_matmul, sparse_scratch },
	[FORM_INDEX] = { "stored values, or tiles + sgemm", 2e-5f,
	    sparse_matmul, sparse_scratch },
	[FORM_BLOCK] = { "tiles of blocks + sgemm", 2e-5f, tile_matmul,
	    tile_scratch },
	[FORM_LOWRANK] = { "two products", 1e-4f, lowrank_matmul,
	    lowrank_scratch },
};

void
kernel_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	kernel_bind();
	kernel_table[t->form].matmul(t, x, n, y, accumulate, scratch);
}

size_t
kernel_scratch(const struct tensor *t, int64_t n)
{
	return kernel_table[t->form].scratch(t, n);
}

void
kernel_products(const struct product *p, int count, const float *x, int64_t n,
    void *scratch)
{
	for (int i = 0; i < count; i++) {
		kernel_matmul(p[i].t, x, n, p[i].y, false, scratch);
		if (p[i].end != NULL)
			p[i].end->run(p[i].end, p[i].y, p[i].t->rows, 0, n, 0,
			    p[i].t->rows);
	}
}

size_t
kernel_products_scratch(const struct tensor *const *t, int count, int64_t n)
{
	size_t most = 0;

	for (int i = 0; i < count; i++) {
		size_t bytes = kernel_scratch(t[i], n);

		most = bytes > most ? bytes : most;
	}
	return most;
}
