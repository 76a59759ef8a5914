/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/inverse.h"

#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

#define DAMP 0.01

struct place {
	double size;
	int64_t column;
};

static int
compare_places(const void *pa, const void *pb)
{
	const struct place *a = pa, *b = pb;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return (a->column > b->column) - (a->column < b->column);
}

static void
order_columns(struct inverse *v, const float *h, bool by_size)
{
	struct place *p = xcalloc((size_t)v->cols, sizeof *p);

	for (int64_t c = 0; c < v->cols; c++)
		p[c] = (struct place){ h[c * v->cols + c], c };
	if (by_size)
		qsort(p, (size_t)v->cols, sizeof *p, compare_places);
	for (int64_t c = 0; c < v->cols; c++)
		v->order[c] = p[c].column;
	free(p);
}

/* Dead inputs and the damping into h, which is then turned by the order. */
static void
prepare(struct inverse *v, const float *h, double *turned)
{
	double damp = 0;

	for (int64_t c = 0; c < v->cols; c++)
		damp += DAMP * h[c * v->cols + c] / (double)v->cols;
	for (int64_t i = 0; i < v->cols; i++)
		for (int64_t j = 0; j < v->cols; j++)
			turned[i * v->cols + j] = h[v->order[i] * v->cols +
			    v->order[j]];
	for (int64_t i = 0; i < v->cols; i++) {
		double *d = &turned[i * (v->cols + 1)];

		v->dead[v->order[i]] = *d == 0;
		*d = *d == 0 ? 1 : *d + damp;
	}
}

/* U of H^-1 = U'U, from the turned H, which is spoilt. */
static enum pare_rc
invert(struct inverse *v, double *h, struct pare_err *err)
{
	lapack_int n = (lapack_int)v->cols;

	if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', n, h, n) != 0 ||
	    LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', n, h, n) != 0 ||
	    LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', n, h, n) != 0) {
		err_set(err, PARE_EUSER, "the moments of the calib samples "
		    "are singular");
		return err_hint(err, "load more calib samples");
	}
	for (int64_t i = 0; i < v->cols * v->cols; i++)
		v->u[i] = (float)h[i];
	return PARE_OK;
}

enum pare_rc
inverse_of(const float *h, int64_t cols, bool by_size, struct inverse *out,
    struct pare_err *err)
{
	size_t n = (size_t)cols;
	double *turned = mem_big(n * n, sizeof *turned, err);
	enum pare_rc rc = PARE_ENOMEM;

	*out = (struct inverse){ .cols = cols };
	out->order = xcalloc(n, sizeof *out->order);
	out->dead = xcalloc(n, 1);
	out->u = turned == NULL ? NULL : mem_big(n * n, sizeof *out->u, err);
	if (out->u != NULL) {
		kernel_bind();
		order_columns(out, h, by_size);
		prepare(out, h, turned);
		rc = invert(out, turned, err);
	}
	free(turned);
	if (rc != PARE_OK)
		inverse_free(out);
	return rc;
}

void
inverse_free(struct inverse *v)
{
	free(v->order);
	free(v->u);
	free(v->dead);
	*v = (struct inverse){ 0 };
}
