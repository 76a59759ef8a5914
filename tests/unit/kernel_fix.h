/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_fix: what the tests of kernels compare with: products in double
 * precision.
 */
#ifndef PARE_TESTS_KERNEL_FIX_H
#define PARE_TESTS_KERNEL_FIX_H

#include "tensor_fix.h"

/* y = x W^T as tensor/kernel.h defines it. */
static inline double *
naive_matmul(const struct tensor *t, const float *w, const float *x, int64_t n)
{
	double *y = malloc((size_t)(n * t->rows) * sizeof(*y));

	assert_non_null(y);
	for (int64_t i = 0; i < n; i++)
		for (int64_t r = 0; r < t->rows; r++) {
			double s = 0;

			for (int64_t c = 0; c < t->cols; c++)
				s += (double)x[i * t->cols + c] *
				    w[r * t->cols + c];
			y[i * t->rows + r] = s;
		}
	return y;
}

/* Scratch of exactly the size asked for, so that a sanitizer sees more. */
static inline void
multiply(const struct tensor *t, const float *x, int64_t n, float *y, bool add)
{
	size_t bytes = kernel_scratch(t, n);
	void *scratch = NULL;

	if (bytes > 0)
		assert_int_equal(posix_memalign(&scratch, 64, bytes), 0);
	kernel_matmul(t, x, n, y, add, scratch);
	free(scratch);
}

/* y is want (on top of old), within tolerance of the largest number there. */
static inline void
close_to(const struct tensor *t, const double *want, const float *old,
    const float *y, int64_t n, double tolerance, const char *what)
{
	double most = old != NULL ? 4 : 0;
	char text[64];

	tensor_describe(t, text, sizeof(text));
	for (int64_t i = 0; i < n * t->rows; i++)
		most = fmax(most, fabs(want[i]));
	for (int64_t i = 0; i < n * t->rows; i++) {
		double d = want[i] + (old != NULL ? old[i] : 0) - y[i];

		if (!(fabs(d) <= tolerance * most))
			fail_msg("%s of %lld x %lld, n %lld, %s: off by %g of "
			    "%g at %lld", text, (long long)t->rows,
			    (long long)t->cols, (long long)n, what, d, most,
			    (long long)i);
	}
}

#endif
