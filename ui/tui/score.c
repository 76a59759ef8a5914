/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An entry is the sums of squares of the units (KV heads, or one for an FFN) of
 * the matrices it names. Tensors are named by address: those of the open model
 * stay alive in its history, and opening another one forgets all entries.
 */
#include "ui/tui/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"

enum {
	PART_TENSORS = 4,
	JOB_WEIGHTS = 1 << 22	/* measured at once: a few hundredths of a
				 * second */
};

struct entry {
	const struct tensor *t[PART_TENSORS];
	int units;
	double *square;		/* owned */
};

struct scores {
	struct origin *origin;	/* of the model the entries belong to */
	int n, cap;
	struct entry *entry;
	struct job *job;	/* that runs, or NULL */
	void (*ready)(struct app *app);
};

struct score_job {
	struct job job;
	struct scores *to;
	struct model *m;
	int n;
	struct entry *entry;	/* square NULL: not measured */
};

static const enum slot attention_slots[PART_TENSORS] = { SLOT_Q_W, SLOT_K_W,
	SLOT_V_W, SLOT_O_W };
static const enum slot ffn_slots[PART_TENSORS] = { SLOT_UP_W, SLOT_GATE_W,
	SLOT_DOWN_W, SLOT_LAYER_COUNT };

struct scores *
scores_new(void)
{
	return xcalloc(1, sizeof(struct scores));
}

static void
forget(struct scores *s)
{
	for (int i = 0; i < s->n; i++)
		free(s->entry[i].square);
	s->n = 0;
	origin_unref(s->origin);
	s->origin = NULL;
}

void
scores_free(struct scores *s)
{
	if (s == NULL)
		return;
	forget(s);
	free(s->entry);
	free(s);
}

/* What is measured for a part; false: it is not there, or has no weights. */
static bool
part_key(const struct model *m, int layer, bool attention, struct entry *out)
{
	const enum slot *slots = attention ? attention_slots : ffn_slots;
	const struct layer *y = &m->layer[layer];
	bool any = false;

	*out = (struct entry){ .units = attention ? y->kv_heads : 1 };
	if (attention ? y->heads == 0 : y->ffn == 0)
		return false;
	for (int i = 0; i < PART_TENSORS; i++) {
		if (slots[i] == SLOT_LAYER_COUNT)
			continue;
		out->t[i] = y->t[slots[i]];
		if (out->t[i] != NULL && out->t[i]->ghost)
			return false;
		any = any || out->t[i] != NULL;
	}
	return any;
}

static const struct entry *
find_entry(const struct entry *list, int n, const struct entry *key)
{
	for (int i = 0; i < n; i++)
		if (list[i].units == key->units &&
		    memcmp(list[i].t, key->t, sizeof(key->t)) == 0)
			return &list[i];
	return NULL;
}

static const struct entry *
known(const struct scores *s, const struct model *m, int layer, bool attention)
{
	struct entry key;

	if (s == NULL || m == NULL || layer < 0 || layer >= m->nlayers ||
	    s->origin != m->origin || !part_key(m, layer, attention, &key))
		return NULL;
	return find_entry(s->entry, s->n, &key);
}

double
scores_heads(const struct scores *s, const struct model *m, int layer,
    double out[MODEL_HEADS_MAX])
{
	const struct entry *e = known(s, m, layer, true);
	const struct layer *y;
	double mean = 0;
	int n = 0;

	for (int h = 0; h < MODEL_HEADS_MAX; h++)
		out[h] = NAN;
	if (e == NULL)
		return NAN;
	y = &m->layer[layer];
	for (int h = 0; h < y->heads_original && n < y->heads; h++)
		if (head_set_has(&y->head, h))
			out[h] = sqrt(e->square[n++ * e->units / y->heads]);
	for (int i = 0; i < e->units; i++)
		mean += sqrt(e->square[i]) / e->units;
	return mean;
}

double
scores_part(const struct scores *s, const struct model *m, int layer,
    enum target_kind kind)
{
	const struct entry *e = known(s, m, layer, kind == TARGET_ATTENTION);
	double sum = 0;

	if (e == NULL)
		return NAN;
	for (int i = 0; i < e->units; i++)
		sum += e->square[i];
	return sqrt(sum);
}

/* ---- measuring ---- */

/* Adds a matrix to the sums: its rows belong to units, or for the output matrix
 * (the last of four) its columns. */
static enum pare_rc
add_squares(const struct entry *e, int i, double *square, struct pare_err *err)
{
	const struct tensor *t = e->t[i];
	bool columns = i == PART_TENSORS - 1;
	int64_t n = columns ? t->cols : t->rows, each = n / e->units;
	double *sq = mem_big_zero((size_t)n, sizeof(*sq), err);
	enum pare_rc rc;

	if (sq == NULL)
		return PARE_ENOMEM;
	rc = ops_squares(t, columns ? NULL : sq, columns ? sq : NULL, err);
	for (int64_t k = 0; k < n && rc == PARE_OK && each > 0; k++)
		square[k / each < e->units ? k / each : e->units - 1] += sq[k];
	free(sq);
	return rc;
}

static enum pare_rc
run(struct job *job, struct task *task, struct pare_err *err)
{
	struct score_job *j = (struct score_job *)job;

	for (int k = 0; k < j->n; k++) {
		struct entry *e = &j->entry[k];
		double *sq = xcalloc((size_t)e->units, sizeof(*sq));
		enum pare_rc rc = PARE_OK;

		for (int i = 0; i < PART_TENSORS && rc == PARE_OK; i++)
			if (e->t[i] != NULL)
				rc = add_squares(e, i, sq, err);
		for (int i = 0; i < e->units && rc != PARE_OK; i++)
			sq[i] = NAN;
		e->square = sq;
		if (task_canceled(task))
			return task_error(err);
	}
	return PARE_OK;
}

static void
keep_entry(struct scores *s, struct entry *e)
{
	if (e->square == NULL || find_entry(s->entry, s->n, e) != NULL)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap * 2 + 32;
		s->entry = xrealloc(s->entry, (size_t)s->cap *
		    sizeof(*s->entry));
	}
	s->entry[s->n++] = *e;
	e->square = NULL;
}

static void
done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct score_job *j = (struct score_job *)job;
	struct scores *s = j->to;

	s->job = NULL;
	for (int i = 0; i < j->n && s->origin == j->m->origin; i++)
		keep_entry(s, &j->entry[i]);
	app_dirty(app);
	if (s->ready != NULL)
		s->ready(app);
	if (rc != PARE_ECANCELED)
		scores_want(app, s);
}

void
scores_watch(struct scores *s, void (*ready)(struct app *app))
{
	s->ready = ready;
}

static void
drop(struct job *job)
{
	struct score_job *j = (struct score_job *)job;

	for (int i = 0; i < j->n; i++)
		free(j->entry[i].square);
	free(j->entry);
	model_unref(j->m);
	free(j);
}

static int64_t
entry_weights(const struct entry *e)
{
	int64_t n = 0;

	for (int i = 0; i < PART_TENSORS; i++)
		n += e->t[i] != NULL ? e->t[i]->rows * e->t[i]->cols : 0;
	return n;
}

/* As many missing parts as one quick job may measure. */
static void
collect(const struct scores *s, struct score_job *j)
{
	int64_t left = JOB_WEIGHTS;

	j->entry = xcalloc((size_t)j->m->nlayers * 2, sizeof(*j->entry));
	for (int i = 0; i < 2 * j->m->nlayers && left > 0; i++) {
		struct entry key;

		if (!part_key(j->m, i / 2, i % 2 == 0, &key) ||
		    find_entry(s->entry, s->n, &key) != NULL ||
		    find_entry(j->entry, j->n, &key) != NULL)
			continue;
		j->entry[j->n++] = key;
		left -= entry_weights(&key);
	}
}

void
scores_want(struct app *app, struct scores *s)
{
	const struct model *m = app_model(app);
	struct score_job *j;

	if (s->origin != NULL && (m == NULL || s->origin != m->origin))
		forget(s);
	if (m == NULL || s->job != NULL)
		return;
	if (s->origin == NULL)
		s->origin = origin_ref(m->origin);
	j = xcalloc(1, sizeof(*j));
	j->job = (struct job){ .title = "weighing heads", .quick = true,
		.run = run, .done = done, .drop = drop };
	j->to = s;
	j->m = model_ref(m);
	collect(s, j);
	if (j->n == 0) {
		drop(&j->job);
		return;
	}
	s->job = &j->job;
	app_job(app, &j->job);
}
