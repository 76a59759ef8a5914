/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"
#include "tensor/kernel.h"

enum { RUNS = 3, PASSES = 15, SLOTS_LEFT = SLOT_COUNT - SLOT_LAYER_COUNT };

/* Numbers are kept by address of the model, which is referenced. */
struct timings {
	struct model *m;
	double *ms;		/* per slot_index() */
	struct latency_parts *parts;	/* NULL: a latency has them */
	bool busy;
};

struct timing_job {
	struct job job;
	struct timings *to;
	struct model *m;
	int64_t seq;
	double *ms;
	bool passes;		/* measure the parts */
	struct latency_parts *parts;
	void (*ready)(struct app *app);
};

static size_t
slot_index(struct slot_ref slot)
{
	if (slot.layer < 0)
		return (size_t)slot.slot - SLOT_LAYER_COUNT;
	return SLOTS_LEFT + (size_t)slot.layer * SLOT_LAYER_COUNT +
	    (size_t)slot.slot;
}

static size_t
slot_places(const struct model *m)
{
	return SLOTS_LEFT + (size_t)m->nlayers * SLOT_LAYER_COUNT;
}

/* Embeddings are looked up, not multiplied. */
static bool
is_map(const struct tensor *t, struct slot_ref slot)
{
	return t != NULL && t->ndim == 2 && slot_table[slot.slot].matrix &&
	    slot_table[slot.slot].kind != KIND_EMBEDDING;
}

/* What a classifier's head gets is one token a sequence. */
static int64_t
tokens_of(const struct model *m, struct slot_ref slot, int64_t seq)
{
	bool once = slot_table[slot.slot].kind == KIND_POOLER ||
	    (slot_table[slot.slot].kind == KIND_HEAD &&
	    !head_gives_tokens(m->hp.head));

	return once ? 1 : seq;
}

static enum pare_rc
time_map(const struct tensor *t, int64_t n, double *ms, struct pare_err *err)
{
	float *x = mem_big_zero((size_t)(n * t->cols), sizeof(*x), err);
	float *y = x == NULL ? NULL : mem_big((size_t)(n * t->rows),
	    sizeof(*y), err);
	void *scratch = y == NULL ? NULL : mem_big(kernel_scratch(t, n), 1,
	    err);
	double run[RUNS];

	for (int i = -1; i < RUNS && scratch != NULL; i++) {
		double begin = task_now();

		kernel_matmul(t, x, n, y, false, scratch);
		/* The first one only warms up. */
		if (i >= 0)
			run[i] = 1e3 * (task_now() - begin);
	}
	if (scratch != NULL)
		*ms = stats_quantile(run, RUNS, 0.5);
	free(x);
	free(y);
	free(scratch);
	return scratch != NULL ? PARE_OK : PARE_ENOMEM;
}

/* The modules, for a sequence as long as the model takes. A model whose pass
 * fails has no parts, but its maps can still be timed. */
static enum pare_rc
time_parts(struct timing_job *j, struct task *task, struct pare_err *err)
{
	int64_t longest = j->m->hp.positions - j->m->hp.position_offset;
	struct latency_options o = { .batch = 1, .seq = j->seq,
		.runs = PASSES };
	struct latency_parts *parts[2];
	struct latency l;
	enum pare_rc rc;

	if (j->m->hp.positions > 0 && o.seq > longest)
		o.seq = longest;
	rc = latency_run(j->m, NULL, &o, &l, parts, task, err);
	if (rc == PARE_OK)
		j->parts = parts[0];
	return rc == PARE_ECANCELED ? rc : PARE_OK;
}

static enum pare_rc
timing_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct timing_job *j = (struct timing_job *)job;
	struct slot_ref slot = SLOT_REF_START;
	size_t at = 0, places = slot_places(j->m);

	if (j->passes && time_parts(j, task, err) != PARE_OK)
		return err->rc;
	kernel_bind();
	while (model_next_slot(j->m, &slot)) {
		const struct tensor *t = model_slot(j->m, slot);

		if (!task_tick(task, (double)at++, (double)places, "maps"))
			return task_error(err);
		if (is_map(t, slot) && time_map(t, tokens_of(j->m, slot,
		    j->seq), &j->ms[slot_index(slot)], err) != PARE_OK)
			return err->rc;
	}
	return PARE_OK;
}

static void
timing_done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct timing_job *j = (struct timing_job *)job;
	struct timings *t = j->to;

	t->busy = false;
	if (rc != PARE_OK)
		return;
	model_unref(t->m);
	free(t->ms);
	free(t->parts);
	t->m = model_ref(j->m);
	t->ms = j->ms;
	t->parts = j->parts;
	j->ms = NULL;
	j->parts = NULL;
	j->ready(app);
}

static void
timing_drop(struct job *job)
{
	struct timing_job *j = (struct timing_job *)job;

	model_unref(j->m);
	free(j->ms);
	free(j->parts);
	free(j);
}

void
timings_want(struct app *app, struct timings *t,
    void (*ready)(struct app *app))
{
	const struct model *m = app_model(app);
	struct timing_job *j;

	if (m == NULL || m->ghost || t->m == m || t->busy)
		return;
	j = xcalloc(1, sizeof(*j));
	j->job.title = "timing";
	j->job.run = timing_run;
	j->job.done = timing_done;
	j->job.drop = timing_drop;
	j->to = t;
	j->m = model_ref(m);
	j->seq = app->snap.seq;
	j->passes = app->snap.parts == NULL;
	j->ms = xmalloc(slot_places(m) * sizeof(*j->ms));
	for (size_t i = 0; i < slot_places(m); i++)
		j->ms[i] = NAN;
	j->ready = ready;
	t->busy = true;
	app_job(app, &j->job);
}

double
timings_get(const struct timings *t, const struct model *m,
    struct slot_ref slot)
{
	return t->m == m && m != NULL ? t->ms[slot_index(slot)] : NAN;
}

const struct latency_parts *
timings_parts(const struct app *app, const struct timings *t,
    const struct model *m)
{
	if (app->snap.parts != NULL && m == app_model(app))
		return app->snap.parts;
	return t->m == m ? t->parts : NULL;
}

struct timings *
timings_new(void)
{
	return xcalloc(1, sizeof(struct timings));
}

void
timings_free(struct timings *t)
{
	model_unref(t->m);
	free(t->ms);
	free(t->parts);
	free(t);
}
