/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/unit_times.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "measure/latency.h"
#include "model/edit.h"

static const double shares[TIMES_WIDTHS] = { 1.0 / 16, 1.0 / 8, 1.0 / 4,
	3.0 / 8, 1.0 / 2, 5.0 / 8, 3.0 / 4, 1 };

static int64_t
part_of(int64_t n, double share)
{
	int64_t k = llround(share * (double)n);

	return k < 1 ? 1 : k;
}

static enum pare_rc
narrow_layer(struct edit *e, int l, double share, struct pare_err *err)
{
	const struct layer *y = &e->source->layer[l];
	struct head_set drop = { { 0 } };
	int64_t *keep, n = 0;
	enum pare_rc rc = PARE_OK;

	if (y->heads > 0) {
		int each = y->heads / y->kv_heads;
		int stay = (int)part_of(y->kv_heads, share) * each, at = 0;

		for (int h = 0; h < y->heads_original; h++)
			if (head_set_has(&y->head, h))
				head_set_put(&drop, h, at++ >= stay);
		if (head_set_count(&drop) > 0)
			rc = edit_drop_heads(e, l, &drop, err);
	}
	if (rc != PARE_OK || y->ffn == 0)
		return rc;
	n = part_of(y->ffn, share);
	keep = xmalloc((size_t)n * sizeof *keep);
	for (int64_t i = 0; i < n; i++)
		keep[i] = i;
	if (n < y->ffn)
		rc = edit_keep_neurons(e, l, keep, n, err);
	free(keep);
	return rc;
}

static enum pare_rc
narrow(const struct model *m, double share, struct model **out,
    struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < m->nlayers && rc == PARE_OK; l++)
		rc = narrow_layer(e, l, share, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* The share of all heads, or neurons, that a narrow model has. */
static double
share_left(const struct model *was, const struct model *now, bool ffn)
{
	double a = 0, b = 0;

	for (int l = 0; l < was->nlayers; l++) {
		a += ffn ? (double)was->layer[l].ffn : was->layer[l].heads;
		b += ffn ? (double)now->layer[l].ffn : now->layer[l].heads;
	}
	return a > 0 ? b / a : 1;
}

static enum pare_rc
time_width(const struct model *m, int w, struct op_times *t,
    struct task *task, struct pare_err *err)
{
	static const int part[2] = { ENGINE_ATTENTION, ENGINE_FFN };
	struct latency_options o = { .batch = 1, .seq = t->seq };
	struct latency_parts *parts[2] = { NULL, NULL };
	struct model *less = NULL;
	struct latency l;
	enum pare_rc rc = narrow(m, shares[w], &less, err);

	if (rc == PARE_OK)
		rc = latency_run(less, m, &o, &l, parts, task, err);
	if (rc == PARE_OK)
		t->waited = fmax(t->waited, l.waited);
	for (int k = 0; k < 2 && rc == PARE_OK; k++) {
		double was = parts[1] != NULL ? latency_part_ms(parts[1],
		    part[k]) : 0;

		t->share[k][w] = share_left(m, less, k == 1);
		t->ratio[k][w] = was > 0 ? latency_part_ms(parts[0],
		    part[k]) / was : 1;
	}
	free(parts[0]);
	free(parts[1]);
	model_unref(less);
	return rc;
}

static enum pare_rc
time_whole(const struct model *m, struct op_times *t, struct task *task,
    struct pare_err *err)
{
	struct latency_options o = { .batch = 1, .seq = t->seq };
	struct latency_parts *parts[2] = { NULL, NULL };
	struct latency l;
	enum pare_rc rc = latency_run(m, NULL, &o, &l, parts, task, err);

	if (rc == PARE_OK) {
		double sum = latency_sum_ms(parts[0]);
		double scale = sum > 0 ? l.p25_ms / sum : 1;

		t->ms = l.p25_ms;
		t->waited = fmax(t->waited, l.waited);
		for (int i = 0; i < m->nlayers; i++) {
			t->layer_ms[i][0] = scale * parts[0]->layer_ms[i][
			    ENGINE_ATTENTION];
			t->layer_ms[i][1] = scale * parts[0]->layer_ms[i][
			    ENGINE_FFN];
		}
	}
	free(parts[0]);
	free(parts[1]);
	return rc;
}

/* More units never take less: from the whole downwards. */
static void
smooth(struct op_times *t)
{
	for (int k = 0; k < 2; k++) {
		t->share[k][TIMES_WIDTHS - 1] = 1;
		t->ratio[k][TIMES_WIDTHS - 1] = 1;
		for (int w = TIMES_WIDTHS - 2; w >= 0; w--)
			t->ratio[k][w] = fmin(t->ratio[k][w],
			    t->ratio[k][w + 1]);
	}
}

enum pare_rc
unit_times_measure(const struct model *m, int64_t seq, struct op_times **out,
    struct task *task, struct pare_err *err)
{
	struct op_times *t = times_new(m->nlayers);
	enum pare_rc rc;

	*out = NULL;
	t->seq = seq;
	rc = time_whole(m, t, task, err);
	for (int w = 0; w < TIMES_WIDTHS - 1 && rc == PARE_OK; w++)
		rc = time_width(m, w, t, task, err);
	if (rc != PARE_OK) {
		free(t);
		return rc;
	}
	smooth(t);
	*out = t;
	return PARE_OK;
}
