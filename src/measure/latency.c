/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The two models run in turn, and which goes first changes from pair to pair,
 * so a machine that warms up or slows down meets both alike. The ratio is the
 * median of the pairs' ratios, its interval a bootstrap over the pairs.
 */
#include "measure/latency.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"
#include "tensor/kernel.h"

enum { WARM_UP = 2, RUNS_MIN = 10, RUNS_MAX = 200, ROUNDS = 1000 };

static const double default_seconds = 2;

/* One model with all its forward pass needs. */
struct bench {
	const struct model *m;
	struct engine *e;
	float *out;
	struct forward f;
	double *ms;
};

struct input {
	struct batch batch;
	int64_t *start;
	int32_t *ids;
};

static enum pare_rc
check_options(const struct model *m, const struct latency_options *o,
    struct pare_err *err)
{
	int64_t longest = m->hp.positions - m->hp.position_offset, tokens;

	if (o->batch < 1 || o->seq < 1 ||
	    !mem_mul(o->batch, o->seq, &tokens) || tokens > 1 << 24 ||
	    o->batch > 1 << 20)
		return err_set(err, PARE_EUSER, "batch=%lld seq=%lld: a run "
		    "takes 1 to %d tokens", (long long)o->batch,
		    (long long)o->seq, 1 << 24);
	if (m->hp.positions == 0 || o->seq <= longest)
		return PARE_OK;
	err_set(err, PARE_EUSER, "seq: %lld tokens, but the model has "
	    "positions for %lld", (long long)o->seq, (long long)longest);
	return err_hint(err, "seq=%lld", (long long)longest);
}

static void
input_close(struct input *in)
{
	free(in->start);
	free(in->ids);
}

static enum pare_rc
input_open(struct input *in, const struct model *m,
    const struct latency_options *o, struct pare_err *err)
{
	int64_t tokens = o->batch * o->seq;
	struct rng r;

	memset(in, 0, sizeof *in);
	in->start = mem_big((size_t)o->batch + 1, sizeof *in->start, err);
	in->ids = in->start == NULL ? NULL : mem_big((size_t)tokens,
	    sizeof *in->ids, err);
	if (in->ids == NULL) {
		input_close(in);
		return PARE_ENOMEM;
	}
	rng_seed(&r, o->seed);
	for (int64_t i = 0; i <= o->batch; i++)
		in->start[i] = i * o->seq;
	for (int64_t i = 0; i < tokens; i++)
		in->ids[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
	in->batch = (struct batch){ .nseq = (int)o->batch, .start = in->start,
	    .ids = in->ids };
	return PARE_OK;
}

static void
bench_close(struct bench *b)
{
	engine_free(b->e);
	free(b->out);
	free(b->ms);
}

static enum pare_rc
bench_open(struct bench *b, const struct model *m,
    const struct latency_options *o, int room, struct task *task,
    struct pare_err *err)
{
	int64_t tokens = o->batch * o->seq, width;

	memset(b, 0, sizeof *b);
	width = m->hp.head == HEAD_NONE ? tokens * m->hp.hidden :
	    head_gives_tokens(m->hp.head) ? tokens * m->hp.vocab :
	    o->batch * m->hp.labels;
	b->m = m;
	b->out = mem_big((size_t)width, sizeof *b->out, err);
	b->ms = b->out == NULL ? NULL : mem_big((size_t)room, sizeof *b->ms,
	    err);
	if (b->ms == NULL) {
		bench_close(b);
		return PARE_ENOMEM;
	}
	b->e = engine_new();
	b->f.task = task;
	if (m->hp.head == HEAD_NONE)
		b->f.hidden = b->out;
	else
		b->f.logits = b->out;
	return PARE_OK;
}

static enum pare_rc
time_one(struct bench *b, const struct input *in, int run, struct pare_err *err)
{
	double begin = task_now();
	enum pare_rc rc = engine_forward(b->e, b->m, &in->batch, &b->f, err);

	if (run >= 0)
		b->ms[run] = 1e3 * (task_now() - begin);
	return rc;
}

/* Run number `run` (below 0: not counted) of all, in alternating order. */
static enum pare_rc
time_all(struct bench *b, int n, const struct input *in, int run,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < n && rc == PARE_OK; i++)
		rc = time_one(&b[run % 2 == 0 ? i : n - 1 - i], in, run, err);
	return rc;
}

static enum pare_rc
time_runs(struct bench *b, int n, const struct input *in, int want, int *runs,
    struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double begin;

	for (int i = -WARM_UP; i < 0 && rc == PARE_OK; i++)
		rc = time_all(b, n, in, i, err);
	begin = task_now();
	for (*runs = 0; rc == PARE_OK; ++*runs) {
		double spent = task_now() - begin;

		if (want > 0 ? *runs >= want : *runs >= RUNS_MAX ||
		    (*runs >= RUNS_MIN && spent >= default_seconds))
			break;
		if (!task_tick(task, *runs, want > 0 ? want : RUNS_MAX, "runs"))
			return task_error(err);
		rc = time_all(b, n, in, *runs, err);
	}
	return rc;
}

struct ratios {
	const double *v;
	double *tmp;
};

/* stats_statistic: the median of a draw. */
static double
drawn_median(void *ctx, const int64_t *index, int64_t n)
{
	struct ratios *r = ctx;

	for (int64_t i = 0; i < n; i++)
		r->tmp[i] = r->v[index[i]];
	return stats_quantile(r->tmp, n, 0.5);
}

static enum pare_rc
find_ratio(const struct bench *b, const struct latency_options *o,
    struct latency *out, struct pare_err *err)
{
	int n = out->runs;
	double *v = mem_big((size_t)n, 2 * sizeof *v, err);
	struct ratios r = { v, v + n };

	if (v == NULL)
		return PARE_ENOMEM;
	for (int i = 0; i < n; i++)
		v[i] = b[0].ms[i] / b[1].ms[i];
	stats_bootstrap(drawn_median, &r, n, ROUNDS, o->seed, &out->ratio_low,
	    &out->ratio_high);
	out->ratio = stats_quantile(v, n, 0.5);
	out->has_ratio = true;
	out->original_p50_ms = stats_quantile(b[1].ms, n, 0.5);
	free(v);
	return PARE_OK;
}

static enum pare_rc
open_all(struct bench *b, int n, const struct model *m,
    const struct model *original, const struct latency_options *o,
    struct task *task, struct pare_err *err)
{
	int room = o->runs > 0 ? o->runs : RUNS_MAX;
	enum pare_rc rc = bench_open(&b[0], m, o, room, task, err);

	if (rc != PARE_OK || n == 1)
		return rc;
	rc = bench_open(&b[1], original, o, room, task, err);
	if (rc != PARE_OK)
		bench_close(&b[0]);
	return rc;
}

enum pare_rc
latency_run(const struct model *m, const struct model *original,
    const struct latency_options *o, struct latency *out, struct task *task,
    struct pare_err *err)
{
	struct latency l = { .batch = o->batch, .seq = o->seq };
	int n = original == NULL || original == m ? 1 : 2;
	struct bench b[2];
	struct input in;
	enum pare_rc rc;

	if ((rc = check_options(m, o, err)) != PARE_OK ||
	    (n == 2 && (rc = check_options(original, o, err)) != PARE_OK) ||
	    (rc = input_open(&in, m, o, err)) != PARE_OK)
		return rc;
	rc = open_all(b, n, m, original, o, task, err);
	if (rc != PARE_OK) {
		input_close(&in);
		return rc;
	}
	rc = time_runs(b, n, &in, o->runs, &l.runs, task, err);
	l.threads = kernel_threads();
	if (rc == PARE_OK && n == 2)
		rc = find_ratio(b, o, &l, err);
	if (rc == PARE_OK) {
		l.p50_ms = stats_quantile(b[0].ms, l.runs, 0.5);
		l.p95_ms = stats_quantile(b[0].ms, l.runs, 0.95);
		*out = l;
	}
	for (int i = 0; i < n; i++)
		bench_close(&b[i]);
	input_close(&in);
	return rc;
}
