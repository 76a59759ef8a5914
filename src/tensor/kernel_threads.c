/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How many threads there are, and who must be told.
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
