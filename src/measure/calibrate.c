/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/gang.h"
#include "measure/order.h"

/* Rows of X a column needs for X'X to be worth something. */
enum { ROWS_A_COLUMN = 4 };

/* Samples of a pass there and back: enough for fast products, few enough to stay
 * in the caches. */
enum { GATES_TOKENS = 512 };

static enum pare_rc
check_set(const struct dataset *d, struct pare_err *err)
{
	if (d->encoded && d->n > 0)
		return PARE_OK;
	return err_set(err, PARE_EUSER, "%s: %s", d->path != NULL ? d->path :
	    "the calib samples", d->n == 0 ? "there are no samples" :
	    "the samples were not tokenized");
}

static int64_t
count_of(const struct order *o, int64_t samples)
{
	return samples > 0 && samples < o->n ? samples : o->n;
}

int64_t
calibrate_samples(const struct dataset *d, int64_t tokens)
{
	int64_t n = 0;

	if (d == NULL || !d->is_text)
		return CALIBRATE_SAMPLES;
	while (n < d->n && n < CALIBRATE_SAMPLES && tokens > 0)
		tokens -= d->sample[n++].tokens.n;
	return n < 1 ? 1 : n;
}

/* ---- statistics ---- */

struct gather {
	const struct model *m;
	struct order order;
	struct engine *engine;
	struct statistics *s;
	int64_t *start;
	float *out;		/* logits, or hidden states */
};

static bool
has_classes(const struct model *m)
{
	return m->hp.head == HEAD_CLASSIFY || m->hp.head == HEAD_REGRESS;
}

static enum pare_rc
open_gather(struct gather *g, struct pare_err *err)
{
	int64_t most = 0;

	for (int64_t i = 0; i < g->order.nbatches; i++) {
		int64_t n = g->order.batch_token[i + 1] -
		    g->order.batch_token[i];

		most = n > most ? n : most;
	}
	g->engine = engine_new();
	g->start = mem_big((size_t)g->order.room + 1, sizeof(*g->start), err);
	if (g->start == NULL)
		return PARE_ENOMEM;
	g->out = has_classes(g->m) ? mem_big((size_t)g->order.room,
	    (size_t)g->m->hp.labels * sizeof(*g->out), err) :
	    mem_big((size_t)most, (size_t)g->m->hp.hidden * sizeof(*g->out),
	    err);
	return g->out == NULL ? PARE_ENOMEM : PARE_OK;
}

static enum pare_rc
run_batches(struct gather *g, int64_t samples, struct task *task,
    struct pare_err *err)
{
	int64_t n = count_of(&g->order, samples), done = 0;

	for (int64_t i = 0; i < g->order.nbatches && done < n; i++) {
		struct batch b = order_batch(&g->order, i, g->start);
		struct forward f = { .watch = &g->s->watch, .task = task };
		enum pare_rc rc;

		if (!task_tick(task, (double)done, (double)n, "samples"))
			return task_error(err);
		b.nseq = b.nseq < n - done ? b.nseq : (int)(n - done);
		if (has_classes(g->m))
			f.logits = g->out;
		else
			f.hidden = g->out;
		rc = engine_forward(g->engine, g->m, &b, &f, err);
		if (rc != PARE_OK)
			return rc;
		done += b.nseq;
		g->s->tokens += g->start[b.nseq];
	}
	g->s->samples = done;
	return statistics_finish(g->s, err);
}

enum pare_rc
calibrate_statistics(const struct model *m, const struct dataset *d,
    int64_t samples, const bool *gram, struct statistics **out,
    struct task *task, struct pare_err *err)
{
	struct gather g = { .m = m };
	enum pare_rc rc = check_set(d, err);

	if (rc != PARE_OK)
		return rc;
	rc = order_make(&g.order, m, d, err);
	if (rc == PARE_OK)
		rc = open_gather(&g, err);
	if (rc == PARE_OK && (g.s = statistics_new(m, gram, err)) == NULL)
		rc = PARE_ENOMEM;
	if (rc == PARE_OK)
		rc = run_batches(&g, samples, task, err);
	engine_free(g.engine);
	order_free(&g.order);
	free(g.start);
	free(g.out);
	if (rc != PARE_OK) {
		statistics_free(g.s);
		return rc;
	}
	g.s->model = model_hash(m);
	g.s->data = d->hash;
	*out = g.s;
	return PARE_OK;
}

int64_t
calibrate_short(const struct statistics *s, int64_t *rows)
{
	int64_t most = 0;

	for (int l = 0; l < s->nlayers; l++)
		for (int k = 0; k < MOMENTS_PLACES; k++) {
			const struct moments *m = &s->at[l][k];

			if (m->rows >= ROWS_A_COLUMN * m->cols ||
			    m->cols <= most)
				continue;
			most = m->cols;
			*rows = m->rows;
		}
	return most;
}

/* ---- gates ---- */

/* A dataset in the trainer's terms. */
struct material {
	struct train_data data;
	const int32_t **ids, **types;
	int *len, *label;
	float *score;
};

static void
material_free(struct material *m)
{
	free(m->ids);
	free(m->types);
	free(m->len);
	free(m->label);
	free(m->score);
}

static void
fill_material(struct material *t, const struct model *m,
    const struct dataset *d)
{
	bool score = m->hp.head == HEAD_REGRESS;
	size_t n = (size_t)d->n;

	t->ids = xcalloc(n, sizeof(*t->ids));
	t->types = xcalloc(n, sizeof(*t->types));
	t->len = xcalloc(n, sizeof(*t->len));
	t->label = xcalloc(n, sizeof(*t->label));
	t->score = xcalloc(n, sizeof(*t->score));
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *x = &d->sample[i];

		t->ids[i] = x->tokens.id;
		t->types[i] = x->tokens.type;
		t->len[i] = x->tokens.n;
		t->label[i] = !score && x->label >= 0 &&
		    x->label < m->hp.labels ? x->label : -1;
		t->score[i] = score ? (float)x->score : NAN;
	}
	t->data = (struct train_data){ d->n, t->ids,
		m->hp.types > 0 ? t->types : NULL, t->len, t->label,
		t->score };
}

/* A batch there and back. */
struct piece {
	int64_t first, last;	/* places of samples */
};

/* A thread's own. */
struct lane {
	struct gates *gates;
	double *out;		/* (ROOM, gates) */
	double loss;
};

enum { ROOM = 128 };		/* samples of a batch */

struct run {
	const struct order *order;
	struct material mat;
	struct gates_means *means;
	int64_t npieces;
	struct piece *piece;
	int nlanes;
	struct lane *lane;
	struct task *task;
	double loss;
	bool relevance, each, text;
};

static void
cut_pieces(struct run *r, int64_t n)
{
	const int64_t *token = r->order->token;

	r->piece = xcalloc((size_t)n + 1, sizeof(*r->piece));
	for (int64_t first = 0, last; first < n; first = last) {
		last = first + 1;
		while (last < n && last - first < ROOM &&
		    token[last + 1] - token[first] <= GATES_TOKENS)
			last++;
		r->piece[r->npieces++] = (struct piece){ first, last };
	}
}

static enum pare_rc
run_piece(void *ctx, int lane, int64_t piece, struct pare_err *err)
{
	struct run *r = ctx;
	struct lane *l = &r->lane[lane];
	const struct piece *p = &r->piece[piece];

	return gates_run(l->gates, &r->mat.data, r->order->sample + p->first,
	    (int)(p->last - p->first), r->relevance, l->out, &l->loss, r->task,
	    err);
}

static void
take_piece(void *ctx, int lane, int64_t piece)
{
	struct run *r = ctx;
	const struct piece *p = &r->piece[piece];
	const struct lane *l = &r->lane[lane];
	struct gates_means *g = r->means;
	int64_t n = p->last - p->first;

	r->loss += l->loss * (double)n;
	for (int64_t i = 0; i < n; i++) {
		int64_t sample = r->order->sample[p->first + i];

		for (int64_t k = 0; k < g->at.n; k++) {
			double v = l->out[i * g->at.n + k];

			g->size[k] += fabs(v);
			g->square[k] += v * v;
			if (g->each != NULL)
				g->each[(g->samples + i) * g->at.n + k] =
				    (float)v;
		}
		g->labelled += r->text || r->mat.label[sample] >= 0 ||
		    !isnan(r->mat.score[sample]);
	}
	g->samples += n;
}

static enum pare_rc
run_pieces(struct run *r, struct pare_err *err)
{
	struct gang gang = { .n = r->npieces, .run = run_piece,
		.take = take_piece, .ctx = r, .task = r->task,
		.what = "batches" };
	struct gates_means *g = r->means;
	enum pare_rc rc = gang_run(&gang, err);
	bool fine = isfinite(r->loss);

	for (int64_t k = 0; k < g->at.n && rc == PARE_OK; k++) {
		g->size[k] /= (double)g->samples;
		g->square[k] /= (double)g->samples;
		fine = fine && isfinite(g->square[k]);
	}
	if (rc != PARE_OK || fine)
		return rc;
	return err_set(err, PARE_EUSER,
	    "the loss of the calib samples, or a gradient of it, is no number");
}

static enum pare_rc
open_lanes(struct run *r, const struct model *m, struct pare_err *err)
{
	size_t n = (size_t)r->means->at.n * sizeof(double);

	r->nlanes = gang_lanes(r->npieces);
	r->lane = xcalloc((size_t)r->nlanes, sizeof(*r->lane));
	for (int i = 0; i < r->nlanes; i++) {
		struct lane *l = &r->lane[i];

		l->gates = i == 0 ? gates_new(m, err) :
		    gates_twin(r->lane[0].gates);
		if (l->gates == NULL)
			return err->rc;
		if ((l->out = mem_big(ROOM, n, err)) == NULL)
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

static enum pare_rc
open_run(struct run *r, const struct model *m, const struct dataset *d,
    int64_t samples, struct pare_err *err)
{
	struct gates_means *g = r->means;

	gates_layout_make(&g->at, m);
	g->size = mem_big_zero((size_t)g->at.n, sizeof(*g->size), err);
	g->square = g->size == NULL ? NULL : mem_big_zero((size_t)g->at.n,
	    sizeof(*g->square), err);
	if (g->square != NULL && r->each)
		g->each = mem_big((size_t)count_of(r->order, samples),
		    (size_t)g->at.n * sizeof(*g->each), err);
	if (g->square == NULL || (r->each && g->each == NULL))
		return PARE_ENOMEM;
	fill_material(&r->mat, m, d);
	cut_pieces(r, count_of(r->order, samples));
	return open_lanes(r, m, err);
}

static void
close_run(struct run *r)
{
	for (int i = r->nlanes - 1; i >= 0; i--) {
		gates_free(r->lane[i].gates);
		free(r->lane[i].out);
	}
	free(r->lane);
	free(r->piece);
	material_free(&r->mat);
}

enum pare_rc
calibrate_gates(const struct model *m, const struct dataset *d,
    int64_t samples, unsigned flags, struct gates_means *out,
    struct task *task, struct pare_err *err)
{
	struct gates_means means = { .samples = 0 };
	struct order order = { 0 };
	struct run r = { .order = &order, .means = &means, .task = task,
		.relevance = (flags & CALIBRATE_RELEVANCE) != 0,
		.each = (flags & CALIBRATE_EACH) != 0,
		.text = m->hp.head == HEAD_LM };
	struct pare_err own;
	enum pare_rc rc;

	err = err != NULL ? err : &own;
	rc = check_set(d, err);
	if (rc == PARE_OK)
		rc = order_make(&order, m, d, err);
	if (rc == PARE_OK)
		rc = open_run(&r, m, d, samples, err);
	if (rc == PARE_OK)
		rc = run_pieces(&r, err);
	close_run(&r);
	order_free(&order);
	if (rc == PARE_OK)
		*out = means;
	else
		gates_means_free(&means);
	return rc;
}
