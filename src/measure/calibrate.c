/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "measure/gang.h"
#include "measure/material.h"
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
	double sum, squares;	/* of samples' sums of squares */
	bool relevance, each, text;
	const struct calibrate_labels *labels;	/* NULL: the samples' own */
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
		double share = r->labels != NULL ? r->labels->share[sample] :
		    1;
		double q = 0;

		for (int64_t k = 0; k < g->at.n; k++) {
			double v = l->out[i * g->at.n + k];

			g->size[k] += share * fabs(v);
			g->square[k] += share * v * v;
			q += v * v;
			if (g->each != NULL)
				g->each[(g->samples + i) * g->at.n + k] =
				    (float)v;
		}
		r->sum += q;
		r->squares += q * q;
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
	g->weight = r->squares > 0 ? r->sum * r->sum / r->squares : 0;
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
	material_of(d, m, false, &r->mat);
	if (r->labels != NULL)
		memcpy(r->mat.label, r->labels->label, (size_t)d->n *
		    sizeof(*r->mat.label));
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
	return calibrate_gates_of(m, d, samples, flags, NULL, out, task, err);
}

enum pare_rc
calibrate_gates_of(const struct model *m, const struct dataset *d,
    int64_t samples, unsigned flags, const struct calibrate_labels *labels,
    struct gates_means *out, struct task *task, struct pare_err *err)
{
	struct gates_means means = { .samples = 0 };
	struct order order = { 0 };
	struct run r = { .order = &order, .means = &means, .task = task,
		.relevance = (flags & CALIBRATE_RELEVANCE) != 0,
		.each = (flags & CALIBRATE_EACH) != 0,
		.text = m->hp.head == HEAD_LM, .labels = labels };
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

/* ---- curvature ---- */

enum {
	SQUARES_PIECE = 4,	/* samples, each with a pass of its own */
	PRODUCTS = 6		/* at most, for one eigenvalue */
};

/* Two eigenvalues in a row that are so close end the iteration: a twentieth moves
 * no width, which are a factor of four apart. */
#define TOP_CLOSE 0.05

/* A thread's own. */
struct bend_lane {
	struct differ *differ;
	double *out;		/* squares of a piece, or eigenvalues by part */
};

struct bend {
	const struct model *m;
	struct order order;
	struct material mat;
	struct curvature *c;
	int64_t n;		/* samples */
	int parts;
	int nlanes;
	struct bend_lane *lane;
	struct task *task;
	/* For eigenvalues. */
	int part;		/* the present one */
	int *turn;		/* matrices, those of the last layers first */
	float *gradient;	/* of all matrices, at the present part */
	double *top;		/* (matrices, parts) */
};

static int
bend_samples(const struct bend *b, int64_t piece)
{
	int64_t left = b->n - piece * SQUARES_PIECE;

	return (int)(left < SQUARES_PIECE ? left : SQUARES_PIECE);
}

static enum pare_rc
run_squares(void *ctx, int lane, int64_t piece, struct pare_err *err)
{
	struct bend *b = ctx;
	struct bend_lane *l = &b->lane[lane];

	memset(l->out, 0, (size_t)b->c->total * sizeof(*l->out));
	return differ_squares(l->differ, &b->mat.data, b->order.sample +
	    piece * SQUARES_PIECE, bend_samples(b, piece), l->out, b->task,
	    err);
}

static void
take_squares(void *ctx, int lane, int64_t piece)
{
	struct bend *b = ctx;

	for (int64_t i = 0; i < b->c->total; i++)
		b->c->square[i] += b->lane[lane].out[i];
}

/* Samples of a part, as many in each as there are. */
static const int64_t *
part_of(const struct bend *b, int part, int *n)
{
	int64_t from = b->n * part / b->parts;

	*n = (int)(b->n * (part + 1) / b->parts - from);
	return b->order.sample + from;
}

/* Where power iteration begins: with the gradient, which lies along the directions
 * that bend most, and a tenth by chance, so that it is at right angles to none. */
static void
begin_top(const float *gradient, size_t size, uint64_t seed, float *v)
{
	double norm = 0, scale;
	struct rng r;

	for (size_t i = 0; i < size; i++)
		norm += (double)gradient[i] * gradient[i];
	scale = norm > 0 ? 0.1 * sqrt(norm / (double)size) : 1;
	rng_seed(&r, rng_derive(0x4ae55, seed));
	for (size_t i = 0; i < size; i++)
		v[i] = gradient[i] + (float)(scale * (double)rng_normal(&r));
}

/* The eigenvalue of a matrix in the present part. */
static enum pare_rc
run_top(void *ctx, int lane, int64_t piece, struct pare_err *err)
{
	struct bend *b = ctx;
	struct bend_lane *l = &b->lane[lane];
	int i = b->turn[piece], n;
	const struct tensor *t = b->c->of[i].t;
	size_t size = (size_t)(t->rows * t->cols);
	const float *here = b->gradient + curvature_weights_at(b->c, i);
	const int64_t *sample = part_of(b, b->part, &n);
	float *v = mem_big(size, sizeof(*v), err);
	enum pare_rc rc = v != NULL ? PARE_OK : PARE_ENOMEM;

	if (rc == PARE_OK) {
		begin_top(here, size, (uint64_t)i, v);
		rc = differ_top(l->differ, i, &b->mat.data, sample, n, here,
		    PRODUCTS, TOP_CLOSE, v, &b->top[i * b->parts + b->part],
		    b->task, err);
	}
	free(v);
	return rc;
}

static void
settle_tops(struct bend *b)
{
	for (int i = 0; i < b->c->n; i++) {
		struct curve *k = &b->c->of[i];
		const double *x = b->top + i * b->parts;
		double sum = 0, square = 0;

		for (int p = 0; p < b->parts; p++)
			sum += x[p];
		k->top = sum / b->parts;
		for (int p = 0; p < b->parts; p++)
			square += (x[p] - k->top) * (x[p] - k->top);
		k->deviation = sqrt(square / b->parts);
	}
}

/* Those behind come first, so that most of a pass is known from the one before. */
static void
take_turns(struct bend *b)
{
	const struct differ *d = b->lane[0].differ;
	int n = 0;

	for (int layer = b->m->nlayers; layer >= 0; layer--)
		for (int i = 0; i < b->c->n; i++)
			if (differ_first(d, i) == layer)
				b->turn[n++] = i;
}

static enum pare_rc
run_part(struct bend *b, struct pare_err *err)
{
	struct gang gang = { .n = b->c->n, .run = run_top, .ctx = b,
		.task = b->task, .what = "matrices",
		.done = (double)b->part * b->c->n,
		.total = (double)b->parts * b->c->n };
	int n;
	const int64_t *sample = part_of(b, b->part, &n);
	enum pare_rc rc = differ_gradients(b->lane[0].differ, &b->mat.data,
	    sample, n, b->gradient, b->task, err);

	return rc == PARE_OK ? gang_run(&gang, err) : rc;
}

static enum pare_rc
open_bend(struct bend *b, const struct dataset *d, int64_t pieces,
    struct pare_err *err)
{
	material_of(d, b->m, false, &b->mat);
	b->c->samples = b->n;
	b->c->labelled = 0;
	for (int64_t i = 0; i < b->n; i++) {
		int64_t sample = b->order.sample[i];

		b->c->labelled += b->mat.label[sample] >= 0 ||
		    !isnan(b->mat.score[sample]);
	}
	b->nlanes = gang_lanes(pieces);
	b->lane = xcalloc((size_t)b->nlanes, sizeof(*b->lane));
	for (int i = 0; i < b->nlanes; i++) {
		struct bend_lane *l = &b->lane[i];

		l->differ = differ_new(b->c, b->m, err);
		if (l->differ == NULL)
			return err->rc;
		l->out = mem_big((size_t)b->c->total + CALIBRATE_PARTS,
		    sizeof(*l->out), err);
		if (l->out == NULL)
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

static void
close_bend(struct bend *b)
{
	for (int i = 0; i < b->nlanes; i++) {
		differ_free(b->lane[i].differ);
		free(b->lane[i].out);
	}
	free(b->lane);
	material_free(&b->mat);
	order_free(&b->order);
}

/* What both begin with: at most `most` samples. */
static enum pare_rc
order_bend(struct bend *b, const struct dataset *d, int64_t samples,
    int64_t most, struct pare_err *err)
{
	enum pare_rc rc = check_set(d, err);

	if (rc == PARE_OK)
		rc = order_make(&b->order, b->m, d, err);
	if (rc == PARE_OK) {
		b->n = count_of(&b->order, samples);
		b->n = b->n < most ? b->n : most;
	}
	return rc;
}

enum pare_rc
calibrate_squares(const struct model *m, const struct dataset *d,
    int64_t samples, struct curvature *c, struct task *task,
    struct pare_err *err)
{
	struct bend b = { .m = m, .c = c, .task = task };
	struct gang gang = { .run = run_squares, .take = take_squares,
		.ctx = &b, .task = task, .what = "batches" };
	enum pare_rc rc = order_bend(&b, d, samples, CALIBRATE_SQUARES, err);

	gang.n = (b.n + SQUARES_PIECE - 1) / SQUARES_PIECE;
	memset(c->square, 0, (size_t)c->total * sizeof(*c->square));
	if (rc == PARE_OK)
		rc = open_bend(&b, d, gang.n, err);
	if (rc == PARE_OK)
		rc = gang_run(&gang, err);
	for (int64_t i = 0; i < c->total && rc == PARE_OK; i++) {
		c->square[i] /= (double)b.n;
		if (!isfinite(c->square[i]))
			rc = err_set(err, PARE_EUSER, "a gradient of the "
			    "calib samples is no number");
	}
	close_bend(&b);
	return rc;
}

enum pare_rc
calibrate_hessian(const struct model *m, const struct dataset *d,
    int64_t samples, struct curvature *c, struct task *task,
    struct pare_err *err)
{
	struct bend b = { .m = m, .c = c, .task = task };
	enum pare_rc rc = order_bend(&b, d, samples,
	    CALIBRATE_PARTS * CALIBRATE_PART, err);

	b.parts = b.n < CALIBRATE_PARTS ? (int)b.n : CALIBRATE_PARTS;
	if (rc == PARE_OK)
		rc = open_bend(&b, d, c->n, err);
	if (rc == PARE_OK && (b.gradient = mem_big(
	    (size_t)curvature_weights(c), sizeof(*b.gradient), err)) == NULL)
		rc = PARE_ENOMEM;
	b.top = xcalloc((size_t)c->n + 1, sizeof(*b.top) * CALIBRATE_PARTS);
	b.turn = xcalloc((size_t)c->n + 1, sizeof(*b.turn));
	if (rc == PARE_OK)
		take_turns(&b);
	for (; b.part < b.parts && rc == PARE_OK; b.part++)
		rc = run_part(&b, err);
	if (rc == PARE_OK)
		settle_tops(&b);
	c->bent = b.n;
	free(b.gradient);
	free(b.top);
	free(b.turn);
	close_bend(&b);
	return rc;
}
