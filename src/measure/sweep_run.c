/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Items are differences from a ground: the whole model; of mode=others what is
 * left with all parts gone; of mode=greedy what the steps so far left. Items come
 * in the order of layers. A window of the ground's layer inputs is kept: as many
 * layers as memory allows; when the items leave it, one pass of the ground from
 * its last layer on fills the next one. The masked items of one layer are one
 * run of a gang, a piece for each item and batch. Where several processes run,
 * each takes its share of a layer's items, and they exchange what came out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/ranks.h"
#include "measure/gang.h"
#include "measure/sweep_private.h"

enum { GROUP = 512 };

struct lane {
	struct engine *engine;
	int64_t *start;
	struct judge_lane judge;
};

struct run {
	struct sweep *s;
	const struct model *m;
	const struct sweep_options *o;
	struct task *task;
	struct order order;	/* cut to the samples that count */
	int64_t nbatches, tokens;
	int last;		/* engine_last_whole() */
	struct judge judge;
	const struct model *ground;
	struct model *owned;	/* the ground, where it was made */
	struct masking masked;	/* of the ground */
	int level;		/* of the ground; 0: none yet */
	/* Inputs of layers [first, first + count), (tokens, hidden) each, in
	 * 2 * room places. */
	int first, count, room;
	float **input;
	int nlanes;
	struct lane *lane;
	/* Of the gang that runs. */
	const struct model *now;
	int from;
	bool whole;		/* no input is to be taken */
	int64_t nitems;		/* 0: the ground */
	int64_t list[GROUP];	/* items */
	struct masking *masking;	/* per item; NULL: none */
	struct sweep_result *into;	/* of the ground; NULL: nowhere */
	/* Of the ground: layers keep_first and on, keep_n of them, go to
	 * input[keep_at] and on. */
	int keep_first, keep_n, keep_at;
};

/* ---- a gang ---- */

static enum pare_rc
run_piece(void *ctx, int lane, int64_t piece, struct pare_err *err)
{
	struct run *r = ctx;
	struct lane *l = &r->lane[lane];
	int64_t batch = piece % r->nbatches, item = piece / r->nbatches;
	struct batch b = order_batch(&r->order, batch, l->start);
	int64_t token = r->order.batch_token[batch] * r->m->hp.hidden;
	float **keep = xcalloc((size_t)r->m->nlayers + 1, sizeof(*keep));
	struct forward f = { .task = r->task, .from = r->from,
		.mask = r->nitems == 0 ? &r->masked.mask :
		r->masking != NULL ? &r->masking[item].mask : NULL };
	enum pare_rc rc;

	if (!r->whole)
		f.input = r->input[r->from - r->first] + token;
	for (int i = 0; r->nitems == 0 && i < r->keep_n; i++)
		keep[r->keep_first + i] = r->input[r->keep_at + i] + token;
	f.keep = keep;
	judge_ask(&l->judge, batch, &b, &f);
	rc = engine_forward(l->engine, r->now, &b, &f, err);
	free(keep);
	if (rc == PARE_OK)
		judge_batch(&l->judge, batch, &b);
	return rc;
}

/* Sums up; the last batch of an item closes it. */
static void
take_piece(void *ctx, int lane, int64_t piece)
{
	struct run *r = ctx;
	int64_t batch = piece % r->nbatches;
	struct sweep_item *it = r->nitems == 0 ? NULL :
	    &r->s->item[r->list[piece / r->nbatches]];
	struct sweep_result *to = it == NULL ? r->into : &it->r;
	bool end = batch + 1 == r->nbatches;

	if (to != NULL)
		judge_add(&r->judge, to, &r->lane[lane].judge.r, batch == 0,
		    end);
	if (it != NULL && end)
		it->done = true;
}

static int64_t
measured(const struct sweep *s)
{
	int64_t n = 0;

	for (int64_t i = 0; i < s->n; i++)
		n += s->item[i].done || s->item[i].gone;
	return n;
}

static enum pare_rc
run_gang(struct run *r, struct pare_err *err)
{
	int64_t items = r->nitems == 0 ? 1 : r->nitems;
	struct gang g = { .n = items * r->nbatches, .run = run_piece,
		.take = take_piece, .ctx = r, .task = r->task,
		.what = "batches" };

	g.done = (double)measured(r->s);
	g.total = (double)r->s->n;
	/* Of all rounds: a step is worth as many items as it takes. */
	if (r->s->mode == SWEEP_GREEDY) {
		g.done += (double)(r->s->nsteps * r->s->n);
		g.total *= (double)r->s->wanted;
	}
	g.done *= (double)r->nbatches;
	g.total *= (double)r->nbatches;
	return gang_run(&g, err);
}

/* ---- the ground ---- */

/* The whole model, for what all else is compared with. */
static enum pare_rc
run_base(struct run *r, struct pare_err *err)
{
	double start = task_now();
	enum pare_rc rc;

	r->now = r->m;
	r->from = 0;
	r->whole = true;
	r->nitems = 0;
	r->keep_n = 0;
	r->into = &r->s->base;
	r->judge.fill = true;
	/* Where it is the ground too its inputs are of use. */
	if (r->s->mode != SWEEP_OTHERS && r->s->nsteps == 0) {
		r->keep_first = 0;
		r->keep_n = r->room < r->last + 1 ? r->room : r->last + 1;
		r->keep_at = 0;
	}
	rc = run_gang(r, err);
	r->judge.fill = false;
	r->into = NULL;
	if (rc != PARE_OK)
		return rc;
	r->s->evaluation = task_now() - start;
	r->s->based = true;
	r->first = 0;
	r->count = r->keep_n;
	return PARE_OK;
}

/* Keeps the inputs of the ground's layers from `layer` on, by a pass from the
 * last layer kept. into: what came out; NULL: nobody asks. */
static enum pare_rc
move_window(struct run *r, int layer, struct sweep_result *into,
    struct pare_err *err)
{
	bool grow = r->count > 0 && layer >= r->first &&
	    layer < r->first + r->room;
	enum pare_rc rc;

	if (layer < r->first)
		r->count = 0;
	if (r->room > r->last)
		layer = 0;
	r->now = r->ground;
	r->whole = r->count == 0;
	r->from = r->count > 0 ? r->first + r->count - 1 : 0;
	r->nitems = 0;
	r->into = into;
	r->keep_first = grow ? r->first + r->count : layer;
	r->keep_at = grow ? r->count : r->room;
	r->keep_n = grow ? r->room - r->count : r->room;
	if (r->keep_n > r->last + 1 - r->keep_first)
		r->keep_n = r->last + 1 - r->keep_first;
	rc = run_gang(r, err);
	r->into = NULL;
	if (rc != PARE_OK)
		return rc;
	if (grow) {
		r->count += r->keep_n;
		return PARE_OK;
	}
	for (int i = 0; i < r->room; i++) {
		float *p = r->input[i];

		r->input[i] = r->input[r->room + i];
		r->input[r->room + i] = p;
	}
	r->first = layer;
	r->count = r->keep_n;
	return PARE_OK;
}

/* Which of the grounds an item is a difference from. */
static int
index_of(const struct run *r, const struct sweep_item *x)
{
	int i = 0;

	while (sweep_is_coded(r->s->what) && r->o->level[i] != x->level)
		i++;
	return i;
}

/* Makes it. */
static enum pare_rc
lay_ground(struct run *r, const struct sweep_item *x, struct pare_err *err)
{
	bool coded = sweep_is_coded(r->s->what);
	int index = index_of(r, x);
	enum pare_rc rc = PARE_OK;

	if (r->s->mode != SWEEP_OTHERS || r->level == (coded ? x->level : 1))
		return PARE_OK;
	r->level = coded ? x->level : 1;
	r->count = 0;
	if (!coded) {
		masking_fill(&r->masked, r->m, r->s, NULL);
	} else {
		model_unref(r->owned);
		r->owned = NULL;
		rc = sweep_code(r->s, r->m, NULL, x->level, r->task,
		    &r->owned, err);
		r->ground = r->owned;
	}
	if (rc == PARE_OK)
		rc = move_window(r, 0, &r->s->all[index], err);
	r->s->alled[index] = rc == PARE_OK;
	return rc;
}

/* ---- items, layer by layer ---- */

/* The layer whose input an item begins with. */
static int
layer_of(const struct run *r, const struct sweep_item *x)
{
	int l = x->layer < 0 ? x->slot >= SLOT_FINAL_W ? r->last : 0 :
	    x->layer;

	return l < r->last ? l : r->last;
}

/* What is looked up is before every layer. */
static bool
is_before(const struct sweep_item *x)
{
	return x->layer < 0 && x->slot < SLOT_FINAL_W;
}

static enum pare_rc
run_coded(struct run *r, int64_t item, struct pare_err *err)
{
	const struct sweep_item *x = &r->s->item[item];
	struct model *m = NULL;
	enum pare_rc rc = r->s->mode == SWEEP_OTHERS ?
	    sweep_spare(r->ground, r->m, x, r->task, &m, err) :
	    sweep_code(r->s, r->m, x, 0, r->task, &m, err);

	if (rc != PARE_OK)
		return rc;
	r->now = m;
	r->nitems = 1;
	r->list[0] = item;
	r->masking = NULL;
	r->whole = is_before(x);
	r->from = r->whole ? 0 : layer_of(r, x);
	rc = run_gang(r, err);
	model_unref(m);
	return rc;
}

/* r->list[0..nitems) */
static enum pare_rc
run_masked(struct run *r, struct pare_err *err)
{
	int64_t n = r->nitems;
	enum pare_rc rc;

	if (n == 0)
		return PARE_OK;
	r->masking = xcalloc((size_t)n, sizeof(*r->masking));
	for (int64_t i = 0; i < n; i++) {
		masking_open(&r->masking[i], r->m);
		masking_fill(&r->masking[i], r->m, r->s,
		    &r->s->item[r->list[i]]);
	}
	r->now = r->m;
	r->whole = false;
	r->from = layer_of(r, &r->s->item[r->list[0]]);
	rc = run_gang(r, err);
	for (int64_t i = 0; i < n; i++)
		masking_free(&r->masking[i]);
	free(r->masking);
	r->masking = NULL;
	return rc;
}

/* The last of its layer (of the model) stays. */
static bool
must_stay(const struct sweep *s, const struct sweep_item *x)
{
	int64_t left = 0;

	for (int64_t i = 0; i < s->n; i++)
		left += !s->item[i].gone && (s->what != SWEEP_HEADS ||
		    s->item[i].layer == x->layer);
	return left < 2;
}

static bool
is_open(const struct sweep *s, int64_t i)
{
	const struct sweep_item *x = &s->item[i];

	return !x->done && (s->mode != SWEEP_GREEDY || (!x->gone &&
	    !must_stay(s, x)));
}

/* Items from `item` on that begin alike and are not done, into list. */
static int64_t
list_alike(const struct run *r, int64_t item, int64_t *list)
{
	const struct sweep *s = r->s;
	/* A matrix may take long, so each is told of, or one a process. */
	int64_t most = sweep_is_coded(s->what) ? ranks_count() : GROUP, n = 0;

	for (int64_t i = item; i < s->n && n < most && n < GROUP; i++) {
		if (s->item[i].layer != s->item[item].layer ||
		    (s->mode == SWEEP_OTHERS &&
		    s->item[i].level != s->item[item].level))
			break;
		if (is_open(s, i))
			list[n++] = i;
	}
	return n;
}

/* Each process computes its share of a group and learns the others'. */
static enum pare_rc
run_group(struct run *r, const int64_t *group, int64_t n,
    struct pare_err *err)
{
	bool coded = sweep_is_coded(r->s->what);
	int ranks = ranks_count();
	enum pare_rc rc = PARE_OK;

	r->nitems = 0;
	for (int64_t i = ranks_number(); i < n && !coded; i += ranks)
		r->list[r->nitems++] = group[i];
	if (!coded)
		rc = run_masked(r, err);
	for (int64_t i = ranks_number(); i < n && coded && rc == PARE_OK;
	    i += ranks)
		rc = run_coded(r, group[i], err);
	for (int64_t i = 0; i < n; i++) {
		struct sweep_item *x = &r->s->item[group[i]];

		ranks_share((int)(i % ranks), &x->r, sizeof(x->r));
		ranks_share((int)(i % ranks), &x->done, sizeof(x->done));
	}
	return ranks_agree(rc, err);
}

static void
save(const struct run *r)
{
	if (r->o->save != NULL && r->s->based && (sweep_done(r->s) > 0 ||
	    measured(r->s) > 0))
		r->o->save(r->o->ctx, r->s);
}

/* All that are not done. */
static enum pare_rc
run_items(struct run *r, struct pare_err *err)
{
	struct sweep *s = r->s;
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < s->n && rc == PARE_OK; i++) {
		int64_t group[GROUP], n;
		int layer = layer_of(r, &s->item[i]);

		if (!is_open(s, i))
			continue;
		rc = lay_ground(r, &s->item[i], err);
		if (rc == PARE_OK && (layer < r->first ||
		    layer >= r->first + r->count))
			rc = move_window(r, layer, NULL, err);
		n = list_alike(r, i, group);
		rc = rc == PARE_OK ? run_group(r, group, n, err) :
		    ranks_agree(rc, err);
		save(r);
	}
	return rc;
}

/* The grounds of items that were known from earlier. */
static enum pare_rc
run_grounds(struct run *r, struct pare_err *err)
{
	const struct sweep *s = r->s;
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < s->n && rc == PARE_OK &&
	    s->mode == SWEEP_OTHERS; i++)
		if (!s->alled[index_of(r, &s->item[i])])
			rc = lay_ground(r, &s->item[i], err);
	return ranks_agree(rc, err);
}

/* ---- one after another ---- */

/* The one whose removal raises the loss least, of those measured; -1: none. */
static int64_t
find_least(const struct sweep *s)
{
	int64_t least = -1;

	for (int64_t i = 0; i < s->n; i++)
		if (s->item[i].done && !s->item[i].gone &&
		    !must_stay(s, &s->item[i]) && (least < 0 ||
		    s->item[i].r.loss < s->item[least].r.loss))
			least = i;
	return least;
}

/* Removes the least of a round that was measured; *layer is the first one that
 * changed. Returns how many went. */
static int64_t
take_round(struct sweep *s, int64_t each, int *layer)
{
	int round = s->nsteps > 0 ? s->step[s->nsteps - 1].round + 1 : 1;
	int64_t n = 0, i;

	for (; n < each && s->nsteps < s->wanted; n++) {
		if ((i = find_least(s)) < 0)
			break;
		s->item[i].gone = true;
		s->step[s->nsteps++] = (struct sweep_step){ i, round,
			s->item[i].r };
		*layer = n == 0 || s->item[i].layer < *layer ?
		    s->item[i].layer : *layer;
	}
	return n;
}

/* What the model does without all that went in the last round. */
static enum pare_rc
measure_round(struct run *r, struct pare_err *err)
{
	struct sweep *s = r->s;
	int round = s->step[s->nsteps - 1].round;
	struct sweep_result out;
	enum pare_rc rc = move_window(r, r->first, &out, err);

	for (int64_t i = s->nsteps - 1; i >= 0 && rc == PARE_OK &&
	    s->step[i].round == round; i--)
		s->step[i].r = out;
	return rc;
}

/* What a step took away is gone from the ground. */
static void
lower_ground(struct run *r)
{
	masking_free(&r->masked);
	masking_open(&r->masked, r->m);
	masking_fill(&r->masked, r->m, r->s, NULL);
}

static enum pare_rc
run_greedy(struct run *r, struct pare_err *err)
{
	struct sweep *s = r->s;
	int64_t each = r->o->each > 0 ? r->o->each : 1;
	enum pare_rc rc = PARE_OK;

	lower_ground(r);
	while (s->nsteps < s->wanted && rc == PARE_OK) {
		int64_t before = s->nsteps, n;
		int layer = 0;

		if ((rc = run_items(r, err)) != PARE_OK)
			break;
		if ((n = take_round(s, each, &layer)) == 0)
			break;
		lower_ground(r);
		/* Inputs up to that layer are what they were. */
		if (layer < r->first)
			r->count = 0;
		else if (layer < r->first + r->count)
			r->count = layer - r->first + 1;
		if (n > 1)
			rc = ranks_agree(measure_round(r, err), err);
		for (int64_t i = 0; i < n && rc != PARE_OK; i++)
			s->item[s->step[before + i].item].gone = false;
		if (rc != PARE_OK) {
			s->nsteps = before;
			break;
		}
		for (int64_t i = 0; i < s->n; i++)
			s->item[i].done = false;
		save(r);
	}
	return rc;
}

/* ---- a run ---- */

/* Only the first n places count. */
static void
cut_order(struct run *r, int64_t samples)
{
	struct order *o = &r->order;

	if (samples > 0 && samples < o->n)
		o->n = samples;
	while (o->nbatches > 1 && o->batch[o->nbatches - 1] >= o->n)
		o->nbatches--;
	o->batch[o->nbatches] = o->n;
	o->batch_token[o->nbatches] = o->token[o->n];
	r->nbatches = o->nbatches;
	r->tokens = o->token[o->n];
}

static enum pare_rc
open_inputs(struct run *r, struct pare_err *err)
{
	int64_t each = r->tokens * r->m->hp.hidden * (int64_t)sizeof(float);
	int64_t fit = r->o->memory / (2 * each);

	r->room = fit < 1 ? 1 : fit > r->last + 1 ? r->last + 1 : (int)fit;
	r->input = xcalloc((size_t)r->room * 2, sizeof(*r->input));
	for (int i = 0; i < 2 * r->room; i++) {
		r->input[i] = mem_big((size_t)each, 1, err);
		if (r->input[i] == NULL)
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

static enum pare_rc
open_lanes(struct run *r, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	r->nlanes = gang_lanes(INT64_MAX);
	r->lane = xcalloc((size_t)r->nlanes, sizeof(*r->lane));
	for (int i = 0; i < r->nlanes && rc == PARE_OK; i++) {
		struct lane *l = &r->lane[i];

		l->engine = engine_new();
		l->start = mem_big((size_t)r->order.room + 1,
		    sizeof(*l->start), err);
		rc = l->start == NULL ? PARE_ENOMEM :
		    judge_lane_open(&l->judge, &r->judge, err);
	}
	return rc;
}

static void
count_labels(struct run *r, const struct dataset *d)
{
	r->s->labelled = 0;
	for (int64_t i = 0; i < r->order.n; i++)
		r->s->labelled += r->judge.text || order_is_gold(r->m,
		    &d->sample[r->order.sample[i]]);
	r->s->samples = r->order.n;
	r->s->tokens = r->tokens;
	r->s->text = r->judge.text;
}

static enum pare_rc
open_run(struct run *r, const struct dataset *d, struct pare_err *err)
{
	enum pare_rc rc = order_make(&r->order, r->m, d, err);

	if (rc != PARE_OK)
		return rc;
	cut_order(r, r->o->samples);
	masking_open(&r->masked, r->m);
	r->ground = r->m;
	r->last = engine_last_whole(r->m);
	r->judge = (struct judge){ .m = r->m, .d = d, .order = &r->order,
		.text = r->m->hp.head == HEAD_LM };
	if ((rc = judge_open(&r->judge, err)) != PARE_OK ||
	    (rc = open_inputs(r, err)) != PARE_OK)
		return rc;
	count_labels(r, d);
	/* These are needed again for what follows. */
	r->s->based = false;
	memset(r->s->alled, 0, sizeof(r->s->alled));
	return open_lanes(r, err);
}

static void
close_run(struct run *r)
{
	for (int i = 0; i < r->nlanes; i++) {
		engine_free(r->lane[i].engine);
		free(r->lane[i].start);
		judge_lane_close(&r->lane[i].judge);
	}
	for (int i = 0; r->input != NULL && i < 2 * r->room; i++)
		free(r->input[i]);
	free(r->input);
	free(r->lane);
	if (r->masked.heads != NULL)
		masking_free(&r->masked);
	model_unref(r->owned);
	judge_close(&r->judge);
	order_free(&r->order);
}

enum pare_rc
sweep_run(struct sweep *s, const struct model *m, const struct dataset *d,
    const struct sweep_options *o, struct task *task, struct pare_err *err)
{
	struct run *r;
	double start = task_now();
	enum pare_rc rc;

	if (s->based && sweep_done(s) == sweep_total(s))
		return PARE_OK;
	if (!d->encoded || d->n == 0)
		return err_set(err, PARE_EUSER, "there are no samples to "
		    "sweep over");
	r = xcalloc(1, sizeof(*r));
	r->s = s;
	r->m = m;
	r->o = o;
	r->task = task;
	rc = ranks_agree(open_run(r, d, err), err);
	if (rc == PARE_OK)
		rc = ranks_agree(run_base(r, err), err);
	if (rc == PARE_OK)
		rc = s->mode == SWEEP_GREEDY ? run_greedy(r, err) :
		    run_items(r, err);
	if (rc == PARE_OK)
		rc = run_grounds(r, err);
	close_run(r);
	free(r);
	s->seconds = task_now() - start;
	return rc;
}
