/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/times.h"

#include "base/mem.h"

struct op_times *
times_new(int nlayers)
{
	struct op_times *t = xcalloc(1, sizeof *t + (size_t)nlayers *
	    sizeof t->layer_ms[0]);

	t->nlayers = nlayers;
	return t;
}

double
times_ratio(const struct op_times *t, bool ffn, double share)
{
	const double *x = t->share[ffn], *y = t->ratio[ffn];
	int i = 0;

	if (share <= x[0])
		return y[0];
	while (i < TIMES_WIDTHS - 1 && x[i + 1] < share)
		i++;
	if (i == TIMES_WIDTHS - 1)
		return y[i];
	return y[i] + (y[i + 1] - y[i]) * (share - x[i]) / (x[i + 1] - x[i]);
}

double
times_of(const struct op_times *t, const struct model *was,
    const struct model *now)
{
	double ms = t->ms;

	for (int l = 0; l < t->nlayers && l < now->nlayers; l++) {
		const struct layer *a = &was->layer[l], *b = &now->layer[l];

		if (a->heads > 0)
			ms += t->layer_ms[l][0] * (times_ratio(t, false,
			    (double)b->heads / a->heads) - 1);
		if (a->ffn > 0)
			ms += t->layer_ms[l][1] * (times_ratio(t, true,
			    (double)b->ffn / (double)a->ffn) - 1);
	}
	return ms;
}
