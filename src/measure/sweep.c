/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Items come in the order of layers. A window of layer inputs is kept: as many
 * layers as memory allows; when the items leave it, one pass of the whole model
 * from its last layer on fills the next one. The items of one layer are one run
 * of a gang, a piece for each item and batch.
 */
#include "measure/sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/gang.h"
#include "measure/order.h"
#include "measure/score.h"
#include "model/edit.h"

const char *const sweep_names[SWEEP_WHAT_COUNT + 1] = { "heads", "kept",
	"neurons", "sublayers", "layers", "bits", NULL };

/* What an item masks, in the terms of the engine. */
struct masking {
	struct engine_mask mask;
	struct head_set *heads;
	const uint8_t **neurons;
	uint8_t *drop, *flags;	/* bytes of neurons; of layers */
};

struct lane {
	struct engine *engine;
	int64_t *start;
	float *logits;
	struct sweep_result r;	/* sums over a batch */
};

struct run {
	struct sweep *s;
	const struct model *m;
	const struct dataset *d;
	const struct sweep_options *o;
	struct task *task;
	struct order order;	/* cut to the samples that count */
	int64_t nbatches, tokens;
	int labels, last;	/* last: engine_last_whole() */
	float *base;		/* logits of the whole model, by place */
	int32_t *gold;		/* by place */
	/* Inputs of layers [first, first + count), (tokens, hidden) each. */
	int first, count, room;
	float **input;
	int nlanes;
	struct lane *lane;
	/* Of the gang that runs. */
	const struct model *now;	/* the model of its items */
	int from;
	int64_t item, nitems;	/* nitems 0: the whole model */
	struct masking *masking;	/* per item; NULL: none */
};

/* ---- items ---- */

static void
add_item(struct sweep *s, struct sweep_item x)
{
	if (s->n % 64 == 0)
		s->item = xrealloc(s->item, (size_t)(s->n + 64) *
		    sizeof(*s->item));
	s->item[s->n++] = x;
}

static void
add_layer(struct sweep *s, const struct model *m, int l,
    const struct sweep_options *o)
{
	const struct layer *y = &m->layer[l];

	switch (s->what) {
	case SWEEP_HEADS:
	case SWEEP_KEPT:
		for (int h = 0; h < y->heads_original; h++)
			if (y->heads > 0 && head_set_has(&y->head, h))
				add_item(s, (struct sweep_item){ .layer = l,
				    .index = h });
		return;
	case SWEEP_NEURONS:
		for (int64_t i = 0; i < y->ffn; i += o->block)
			add_item(s, (struct sweep_item){ .layer = l,
			    .index = i, .end = i + o->block < y->ffn ?
			    i + o->block : y->ffn });
		return;
	case SWEEP_SUBLAYERS:
		if (y->heads > 0)
			add_item(s, (struct sweep_item){ .layer = l });
		if (y->ffn > 0)
			add_item(s, (struct sweep_item){ .layer = l,
			    .index = 1 });
		return;
	default:
		add_item(s, (struct sweep_item){ .layer = l });
	}
}

/* Matrices, each once, those of the embedding first. */
static void
add_matrices(struct sweep *s, const struct model *m,
    const struct sweep_options *o)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		struct slot_ref owner = model_owner(m, ref);

		if (!slot_table[ref.slot].matrix || t->form == FORM_LOWRANK ||
		    owner.layer != ref.layer || owner.slot != ref.slot)
			continue;
		for (const int *b = o->bits; *b != 0; b++)
			add_item(s, (struct sweep_item){ .layer = ref.layer,
			    .slot = ref.slot, .bits = *b });
	}
}

enum pare_rc
sweep_open(struct sweep *s, const struct model *m,
    const struct sweep_options *o, struct pare_err *err)
{
	memset(s, 0, sizeof(*s));
	s->what = o->what;
	if (m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS)
		return err_set(err, PARE_EUSER,
		    "a sweep needs a model that gives classes or a score");
	if (o->what == SWEEP_BITS)
		add_matrices(s, m, o);
	for (int l = 0; l < m->nlayers && o->what != SWEEP_BITS; l++)
		add_layer(s, m, l, o);
	if (s->n > 0)
		return PARE_OK;
	return err_set(err, PARE_EUSER, "the model has no %s to sweep over",
	    sweep_names[o->what]);
}

void
sweep_free(struct sweep *s)
{
	free(s->item);
	memset(s, 0, sizeof(*s));
}

int64_t
sweep_done(const struct sweep *s)
{
	int64_t n = 0;

	for (int64_t i = 0; i < s->n; i++)
		n += s->item[i].done;
	return n;
}

void
sweep_path(const struct sweep *s, int64_t i, char *out, size_t n)
{
	const struct sweep_item *x = &s->item[i];
	char path[80];

	switch (s->what) {
	case SWEEP_HEADS:
	case SWEEP_KEPT:
		snprintf(out, n, "L%d.h%lld", x->layer, (long long)x->index);
		return;
	case SWEEP_NEURONS:
		snprintf(out, n, "L%d.n%lld-%lld", x->layer,
		    (long long)x->index, (long long)x->end - 1);
		return;
	case SWEEP_SUBLAYERS:
		snprintf(out, n, "L%d.%s", x->layer, x->index == 0 ? "attn" :
		    "ffn");
		return;
	case SWEEP_LAYERS:
		snprintf(out, n, "L%d", x->layer);
		return;
	default:
		model_slot_path((struct slot_ref){ x->layer, x->slot }, path,
		    sizeof(path));
		snprintf(out, n, "%s %d bits", path, x->bits);
	}
}

/* ---- masks ---- */

static void
mask_item(const struct run *r, const struct sweep_item *x, struct masking *k)
{
	size_t n = (size_t)r->m->nlayers;
	const struct layer *y = &r->m->layer[x->layer];

	k->heads = xcalloc(n, sizeof(*k->heads));
	k->neurons = xcalloc(n, sizeof(*k->neurons));
	k->drop = xcalloc((size_t)y->ffn + 1, 1);
	k->flags = xcalloc(n, 1);
	switch (r->s->what) {
	case SWEEP_HEADS:
		head_set_put(&k->heads[x->layer], (int)x->index, true);
		k->mask.drop_heads = k->heads;
		return;
	case SWEEP_KEPT:
		k->heads[x->layer] = y->head;
		head_set_put(&k->heads[x->layer], (int)x->index, false);
		k->mask.drop_heads = k->heads;
		return;
	case SWEEP_NEURONS:
		memset(k->drop + x->index, 1, (size_t)(x->end - x->index));
		k->neurons[x->layer] = k->drop;
		k->mask.drop_neurons = k->neurons;
		return;
	case SWEEP_SUBLAYERS:
		k->flags[x->layer] = 1;
		if (x->index == 0)
			k->mask.drop_attention = k->flags;
		else
			k->mask.drop_ffn = k->flags;
		return;
	default:
		k->flags[x->layer] = 1;
		k->mask.drop_layer = k->flags;
	}
}

static void
masking_free(struct masking *k)
{
	free(k->heads);
	free(k->neurons);
	free(k->drop);
	free(k->flags);
}

/* ---- a batch of an item ---- */

static double
log_sum(const float *z, int n, double *top)
{
	double sum = 0;

	*top = z[0];
	for (int c = 1; c < n; c++)
		*top = z[c] > *top ? z[c] : *top;
	for (int c = 0; c < n; c++)
		sum += exp(z[c] - *top);
	return *top + log(sum);
}

/* Adds one sample, at a place, to the sums. */
static void
judge(const struct run *r, int64_t place, const float *z,
    struct sweep_result *sum)
{
	const float *was = r->base + place * r->labels;
	const struct sample *x = &r->d->sample[r->order.sample[place]];
	int gold = r->gold[place], now, old;
	double top, a, b;

	if (r->m->hp.head == HEAD_REGRESS) {
		double want = isnan(x->score) ? was[0] : x->score;

		sum->loss += (z[0] - want) * (z[0] - want);
		sum->kl += ((double)z[0] - was[0]) * ((double)z[0] - was[0]);
		return;
	}
	a = log_sum(z, r->labels, &top);
	b = log_sum(was, r->labels, &top);
	sum->loss += a - z[gold];
	for (int c = 0; c < r->labels; c++)
		sum->kl += exp(was[c] - b) * ((was[c] - b) - (z[c] - a));
	now = score_class(z, r->labels);
	old = score_class(was, r->labels);
	sum->value += now == gold;
	sum->fixed += now == gold && old != gold;
	sum->broke += now != gold && old == gold;
	sum->changed += now != old;
}

static enum pare_rc
run_piece(void *ctx, int lane, int64_t piece, struct pare_err *err)
{
	struct run *r = ctx;
	struct lane *l = &r->lane[lane];
	int64_t batch = piece % r->nbatches, item = piece / r->nbatches;
	struct batch b = order_batch(&r->order, batch, l->start);
	int64_t first = r->order.batch[batch];
	int64_t token = r->order.batch_token[batch] * r->m->hp.hidden;
	float **keep = xcalloc((size_t)r->m->nlayers + 1, sizeof(*keep));
	struct forward f = { .logits = l->logits, .task = r->task,
		.from = r->from };
	enum pare_rc rc;

	if (r->from >= r->first && r->from < r->first + r->count)
		f.input = r->input[r->from - r->first] + token;
	if (r->masking != NULL)
		f.mask = &r->masking[item].mask;
	if (r->nitems == 0) {
		/* r->input[] of the next window. */
		for (int i = 0; i < r->room && r->item + i <= r->last; i++)
			keep[r->item + i] = r->input[r->room + i] + token;
		f.keep = keep;
	}
	rc = engine_forward(l->engine, r->now, &b, &f, err);
	free(keep);
	if (rc != PARE_OK)
		return rc;
	memset(&l->r, 0, sizeof(l->r));
	if (!r->s->based)
		memcpy(r->base + first * r->labels, l->logits,
		    (size_t)b.nseq * (size_t)r->labels * sizeof(float));
	for (int64_t i = 0; i < b.nseq && !r->s->based; i++)
		if (r->gold[first + i] < 0)
			r->gold[first + i] = score_class(l->logits +
			    i * r->labels, r->labels);
	for (int64_t i = 0; i < b.nseq; i++)
		judge(r, first + i, l->logits + i * r->labels, &l->r);
	return PARE_OK;
}

/* Sums up; the last batch of an item closes it. */
static void
take_piece(void *ctx, int lane, int64_t piece)
{
	struct run *r = ctx;
	int64_t batch = piece % r->nbatches;
	const struct sweep_result *x = &r->lane[lane].r;
	struct sweep_item *it = r->nitems == 0 ? NULL :
	    &r->s->item[r->item + piece / r->nbatches];
	struct sweep_result *to = it == NULL ? &r->s->base : &it->r;
	double n = (double)r->order.n;

	if (it == NULL && r->s->based)
		return;
	if (batch == 0)
		memset(to, 0, sizeof(*to));
	to->loss += x->loss / n;
	to->kl += x->kl / n;
	to->value += x->value / n;
	to->fixed += x->fixed;
	to->broke += x->broke;
	to->changed += x->changed;
	if (batch + 1 < r->nbatches)
		return;
	if (r->m->hp.head == HEAD_REGRESS)
		to->value = -to->loss;
	if (it != NULL)
		it->done = true;
}

static enum pare_rc
run_gang(struct run *r, struct pare_err *err)
{
	int64_t items = r->nitems == 0 ? 1 : r->nitems;
	struct gang g = { .n = items * r->nbatches, .run = run_piece,
		.take = take_piece, .ctx = r, .task = r->task,
		.what = "batches", .done = (double)(sweep_done(r->s) *
		r->nbatches), .total = (double)(r->s->n * r->nbatches) };

	return gang_run(&g, err);
}

/* ---- windows ---- */

/* Keeps the inputs of the layers from `layer` on, by a pass of the whole model
 * from the last layer kept. */
static enum pare_rc
move_window(struct run *r, int layer, struct pare_err *err)
{
	double start = task_now();
	enum pare_rc rc;

	r->now = r->m;
	r->from = r->count > 0 ? r->first + r->count - 1 : 0;
	r->item = layer;
	r->nitems = 0;
	r->masking = NULL;
	if ((rc = run_gang(r, err)) != PARE_OK)
		return rc;
	if (r->from == 0)
		r->s->evaluation = task_now() - start;
	r->s->based = true;
	for (int i = 0; i < r->room; i++) {
		float *p = r->input[i];

		r->input[i] = r->input[r->room + i];
		r->input[r->room + i] = p;
	}
	r->first = layer;
	r->count = r->room < r->last + 1 - layer ? r->room :
	    r->last + 1 - layer;
	return PARE_OK;
}

static bool
in_window(const struct run *r, int layer)
{
	return layer >= r->first && layer < r->first + r->count;
}

/* ---- items, layer by layer ---- */

static struct tensor *
code(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct quant_spec s = { .scheme = QUANT_SYMMETRIC,
		.bits = *(const int *)arg, .group = t->cols, .act = 8 };

	return tensor_quantize(t, &s, ctx, err);
}

/* The model with one matrix coded, wherever it stands. */
static enum pare_rc
coded_model(const struct run *r, struct sweep_item *x, struct model **out,
    struct pare_err *err)
{
	struct edit *e = edit_begin(r->m, EDIT_REAL, 0, r->task);
	struct slot_ref ref = SLOT_REF_START;
	const struct tensor *t = model_slot(r->m, (struct slot_ref){ x->layer,
	    x->slot });
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(r->m, &ref))
		if (model_slot(r->m, ref) == t)
			rc = edit_map(e, ref, 0, code, &x->bits, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

static enum pare_rc
run_coded(struct run *r, int64_t item, struct pare_err *err)
{
	struct model *m = NULL;
	enum pare_rc rc = coded_model(r, &r->s->item[item], &m, err);

	if (rc != PARE_OK)
		return rc;
	r->now = m;
	r->item = item;
	r->nitems = 1;
	r->masking = NULL;
	/* What is looked up is before every layer. */
	if (r->s->item[item].layer < 0 && r->s->item[item].slot <
	    SLOT_FINAL_W) {
		int first = r->first, count = r->count;

		r->from = r->count = 0;
		rc = run_gang(r, err);
		r->first = first;
		r->count = count;
	} else {
		rc = run_gang(r, err);
	}
	model_unref(m);
	return rc;
}

static enum pare_rc
run_masked(struct run *r, int64_t item, int64_t n, struct pare_err *err)
{
	enum pare_rc rc;

	r->masking = xcalloc((size_t)n, sizeof(*r->masking));
	for (int64_t i = 0; i < n; i++)
		mask_item(r, &r->s->item[item + i], &r->masking[i]);
	r->now = r->m;
	r->item = item;
	r->nitems = n;
	rc = run_gang(r, err);
	for (int64_t i = 0; i < n; i++)
		masking_free(&r->masking[i]);
	free(r->masking);
	r->masking = NULL;
	return rc;
}

/* The layer whose input an item begins with. */
static int
layer_of(const struct run *r, const struct sweep_item *x)
{
	int l = x->layer < 0 ? x->slot >= SLOT_FINAL_W ? r->last : 0 :
	    x->layer;

	return l < r->last ? l : r->last;
}

/* Items from `item` on that are not done, begin alike and can run at once. */
static int64_t
count_alike(const struct run *r, int64_t item)
{
	int64_t n = 1;

	if (r->s->what == SWEEP_BITS)
		return 1;
	while (item + n < r->s->n && !r->s->item[item + n].done &&
	    r->s->item[item + n].layer == r->s->item[item].layer && n < 512)
		n++;
	return n;
}

static enum pare_rc
run_items(struct run *r, struct pare_err *err)
{
	struct sweep *s = r->s;
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0, n; i < s->n && rc == PARE_OK; i += n) {
		int layer = layer_of(r, &s->item[i]);

		n = 1;
		if (s->item[i].done)
			continue;
		if (!s->based || !in_window(r, layer))
			rc = move_window(r, layer, err);
		r->from = layer;
		n = count_alike(r, i);
		if (rc == PARE_OK)
			rc = s->what == SWEEP_BITS ? run_coded(r, i, err) :
			    run_masked(r, i, n, err);
		if (r->o->save != NULL && sweep_done(s) > 0)
			r->o->save(r->o->ctx, s);
	}
	/* All items were known: what they are compared with may not be. */
	return rc == PARE_OK && !s->based ? move_window(r, 0, err) : rc;
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
	r->nlanes = gang_lanes(INT64_MAX);
	r->lane = xcalloc((size_t)r->nlanes, sizeof(*r->lane));
	for (int i = 0; i < r->nlanes; i++) {
		struct lane *l = &r->lane[i];

		l->engine = engine_new();
		l->start = mem_big((size_t)r->order.room + 1,
		    sizeof(*l->start), err);
		l->logits = l->start == NULL ? NULL :
		    mem_big((size_t)r->order.room, (size_t)r->labels *
		    sizeof(float), err);
		if (l->logits == NULL)
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

static enum pare_rc
open_run(struct run *r, struct pare_err *err)
{
	enum pare_rc rc = order_make(&r->order, r->m, r->d, err);

	if (rc != PARE_OK)
		return rc;
	cut_order(r, r->o->samples);
	r->labels = (int)r->m->hp.labels;
	r->last = engine_last_whole(r->m);
	r->base = mem_big((size_t)r->order.n, (size_t)r->labels *
	    sizeof(float), err);
	r->gold = r->base == NULL ? NULL : mem_big((size_t)r->order.n,
	    sizeof(*r->gold), err);
	if (r->gold == NULL || open_inputs(r, err) != PARE_OK)
		return PARE_ENOMEM;
	r->s->labelled = 0;
	for (int64_t i = 0; i < r->order.n; i++) {
		const struct sample *x = &r->d->sample[r->order.sample[i]];

		r->gold[i] = x->label >= 0 && x->label < r->labels ? x->label :
		    -1;
		r->s->labelled += order_is_gold(r->m, x);
	}
	r->s->samples = r->order.n;
	r->s->tokens = r->tokens;
	/* The base is needed again for what follows. */
	r->s->based = false;
	return open_lanes(r, err);
}

static void
close_run(struct run *r)
{
	for (int i = 0; i < r->nlanes; i++) {
		engine_free(r->lane[i].engine);
		free(r->lane[i].start);
		free(r->lane[i].logits);
	}
	for (int i = 0; r->input != NULL && i < 2 * r->room; i++)
		free(r->input[i]);
	free(r->input);
	free(r->lane);
	free(r->base);
	free(r->gold);
	order_free(&r->order);
}

enum pare_rc
sweep_run(struct sweep *s, const struct model *m, const struct dataset *d,
    const struct sweep_options *o, struct task *task, struct pare_err *err)
{
	struct run r = { .s = s, .m = m, .d = d, .o = o, .task = task };
	double start = task_now();
	enum pare_rc rc;

	if (s->based && sweep_done(s) == s->n)
		return PARE_OK;
	if (!d->encoded || d->n == 0)
		return err_set(err, PARE_EUSER, "there are no samples to "
		    "sweep over");
	rc = open_run(&r, err);
	if (rc == PARE_OK)
		rc = run_items(&r, err);
	close_run(&r);
	s->seconds = task_now() - start;
	return rc;
}
