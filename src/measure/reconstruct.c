/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The stream behind a sub-layer before its norm, s = h + W x + b, is made from
 * what can be watched, h and x: one product more than the pass itself. Of a
 * classifier the last layer is seen for the token alone that the head reads, so
 * it runs to the logits; other layers run as the last of a model that is cut
 * behind them.
 */
#include "measure/reconstruct.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/calibrate.h"
#include "measure/order.h"
#include "model/arch.h"

enum { CHECK_EVERY = 6, PIECE_TOKENS = 512 };

struct reconstruct {
	struct op_reconstruct op;	/* the first, for reconstruct_op() */
	struct model *m;	/* a reference */
	const struct dataset *d;
	int64_t samples;
	struct order order;
	/* Of each sample of d: the two likeliest classes and how likely they
	 * are; NULL: not asked yet, or there are none. */
	int *label[2];
	float *share[2];
};

/* One of the two models in a pass. */
struct side {
	struct model *m;	/* cut behind the layer; a reference */
	struct slot_ref ref;
	enum engine_place sees, before;
	int64_t cols;		/* of x; 0: the sub-layer is gone */
	float *x, *h;		/* (tokens of a piece, cols or hidden) */
	int64_t nx, nh;		/* rows of these */
	struct engine *engine;
	struct engine_watch watch;
	float *w, *b;		/* of the original; b NULL: none */
};

struct pair {
	const struct reconstruct *b;
	struct side now, then;
	bool logits;		/* run to the head: one token a sample */
	float *out;		/* for logits or hidden states */
	float *s;		/* (tokens, hidden) */
	int64_t room;		/* tokens of the largest piece */
	struct match *sums;	/* NULL: only distances */
	double error, energy, *mean;	/* of those; sums, hidden */
	int64_t rows;
};

static bool
has_classes(const struct model *m)
{
	return m->hp.head == HEAD_CLASSIFY || m->hp.head == HEAD_REGRESS;
}

/* ---- pieces ---- */

/* The samples from place `first` on that are run at once: the place behind. */
static int64_t
piece_end(const struct reconstruct *b, int64_t first)
{
	const int64_t *token = b->order.token;
	int64_t last = first + 1;

	while (last < b->samples && token[last + 1] - token[first] <=
	    PIECE_TOKENS)
		last++;
	return last;
}

static int64_t
largest_piece(const struct reconstruct *b)
{
	int64_t most = 0;

	for (int64_t first = 0, last; first < b->samples; first = last) {
		int64_t n;

		last = piece_end(b, first);
		n = b->order.token[last] - b->order.token[first];
		most = n > most ? n : most;
	}
	return most;
}

static int64_t
count_pieces(const struct reconstruct *b)
{
	int64_t n = 0;

	for (int64_t first = 0; first < b->samples; n++)
		first = piece_end(b, first);
	return n;
}

/* ---- the original's answers ---- */

static void
keep_answer(struct reconstruct *b, int64_t sample, const float *z)
{
	int64_t n = b->m->hp.labels;
	int best = 0, next = -1;
	double sum = 0;

	for (int k = 1; k < n; k++)
		if (z[k] > z[best]) {
			next = best;
			best = k;
		} else if (next < 0 || z[k] > z[next]) {
			next = k;
		}
	for (int k = 0; k < n; k++)
		sum += exp((double)z[k] - z[best]);
	b->label[0][sample] = best;
	b->share[0][sample] = (float)(1 / sum);
	b->label[1][sample] = next < 0 ? best : next;
	b->share[1][sample] = next < 0 ? 0 : (float)(exp((double)z[next] -
	    z[best]) / sum);
}

static enum pare_rc
ask_original(struct reconstruct *b, struct task *task, struct pare_err *err)
{
	struct engine *e = engine_new();
	int64_t n = b->m->hp.labels;
	int64_t *start = mem_big((size_t)b->samples + 2, sizeof *start, err);
	float *z = start == NULL ? NULL : mem_big((size_t)b->samples + 1,
	    (size_t)n * sizeof *z, err);
	enum pare_rc rc = z != NULL ? PARE_OK : PARE_ENOMEM;

	for (int64_t first = 0, last; first < b->samples && rc == PARE_OK;
	    first = last) {
		const int64_t *token = b->order.token;
		struct forward f = { .logits = z, .task = task };
		struct batch batch = { .start = start,
			.ids = b->order.ids + token[first],
			.types = b->order.types != NULL ? b->order.types +
			    token[first] : NULL };

		last = piece_end(b, first);
		batch.nseq = (int)(last - first);
		for (int64_t i = first; i <= last; i++)
			start[i - first] = token[i] - token[first];
		rc = engine_forward(e, b->m, &batch, &f, err);
		for (int64_t i = first; i < last && rc == PARE_OK; i++)
			keep_answer(b, b->order.sample[i], z + (i - first) *
			    n);
	}
	engine_free(e);
	free(start);
	free(z);
	return rc;
}

static enum pare_rc
get_answers(struct reconstruct *b, struct task *task, struct pare_err *err)
{
	enum pare_rc rc;

	if (b->m->hp.head != HEAD_CLASSIFY || b->label[0] != NULL)
		return PARE_OK;
	for (int k = 0; k < 2; k++) {
		b->label[k] = xcalloc((size_t)b->d->n, sizeof **b->label);
		b->share[k] = xcalloc((size_t)b->d->n, sizeof **b->share);
	}
	if ((rc = ask_original(b, task, err)) == PARE_OK)
		return PARE_OK;
	free(b->label[0]);
	b->label[0] = NULL;
	return rc;
}

static enum pare_rc
look(const struct op_reconstruct *op, const struct model *now,
    struct gates_means *gates, struct statistics **statistics,
    struct task *task, struct pare_err *err)
{
	struct reconstruct *b = (struct reconstruct *)(uintptr_t)op;
	enum pare_rc rc = get_answers(b, task, err);
	int times = b->label[0] != NULL ? 2 : 1;

	memset(gates, 0, sizeof *gates);
	*statistics = NULL;
	for (int k = 0; k < times && rc == PARE_OK; k++) {
		struct calibrate_labels labels = { b->label[k], b->share[k] };
		struct gates_means one;

		rc = calibrate_gates_of(now, b->d, b->samples, 0,
		    times > 1 ? &labels : NULL, k == 0 ? gates : &one, task,
		    err);
		if (rc != PARE_OK || k == 0)
			continue;
		for (int64_t i = 0; i < one.at.n; i++)
			gates->square[i] += one.square[i];
		gates_means_free(&one);
	}
	if (rc == PARE_OK)
		rc = calibrate_statistics(now, b->d, b->samples, NULL,
		    statistics, task, err);
	if (rc != PARE_OK)
		gates_means_free(gates);
	return rc;
}

/* ---- a pair of passes ---- */

static void
see(void *ctx, int layer, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	struct side *s = ctx;

	if (layer != s->ref.layer)
		return;
	if (place == s->sees) {
		memcpy(s->x + s->nx * cols, x, (size_t)(rows * cols) *
		    sizeof *x);
		s->nx += rows;
	} else if (place == s->before) {
		memcpy(s->h + s->nh * cols, x, (size_t)(rows * cols) *
		    sizeof *x);
		s->nh += rows;
	}
}

/* m without the layers behind `layer`. */
static enum pare_rc
cut_behind(const struct model *m, int layer, struct model **out,
    struct pare_err *err)
{
	struct edit *e;
	enum pare_rc rc = PARE_OK;

	if (layer == m->nlayers - 1) {
		*out = model_ref(m);
		return PARE_OK;
	}
	e = edit_begin(m, EDIT_REAL, 0, NULL);
	for (int l = m->nlayers - 1; l > layer && rc == PARE_OK; l--)
		rc = edit_drop_layer(e, l, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

static enum pare_rc
side_open(struct side *s, const struct model *m, struct slot_ref ref,
    int64_t room, bool cut, bool behind, struct pare_err *err)
{
	const struct layer *y = &m->layer[ref.layer];
	bool ffn = ref.slot == SLOT_DOWN_W;
	enum pare_rc rc = PARE_OK;

	s->ref = ref;
	s->sees = ffn ? ENGINE_SEES_DOWN : ENGINE_SEES_OUTPUT;
	s->before = behind ? (ffn ? ENGINE_AFTER_FFN :
	    ENGINE_AFTER_ATTENTION) : ffn ? ENGINE_BEFORE_FFN :
	    ENGINE_BEFORE_ATTENTION;
	s->cols = y->t[ref.slot] != NULL ? y->t[ref.slot]->cols : 0;
	s->watch = (struct engine_watch){ see, s };
	s->engine = engine_new();
	s->h = mem_big((size_t)room + 1, (size_t)m->hp.hidden * sizeof *s->h,
	    err);
	s->x = s->h == NULL ? NULL : mem_big((size_t)room + 1,
	    (size_t)s->cols * sizeof *s->x + 1, err);
	if (s->x == NULL)
		return PARE_ENOMEM;
	if (cut)
		rc = cut_behind(m, ref.layer, &s->m, err);
	else
		s->m = model_ref(m);
	return rc;
}

static void
side_free(struct side *s)
{
	model_unref(s->m);
	engine_free(s->engine);
	free(s->x);
	free(s->h);
	free(s->w);
	free(s->b);
}

static enum pare_rc
decode_output(struct side *s, struct pare_err *err)
{
	const struct tensor *w = model_slot(s->m, s->ref);
	const struct tensor *b = model_slot(s->m, (struct slot_ref){
	    s->ref.layer, s->ref.slot == SLOT_O_W ? SLOT_O_B : SLOT_DOWN_B });

	if (w == NULL)
		return PARE_OK;
	s->w = mem_big((size_t)w->rows, (size_t)w->cols * sizeof *s->w, err);
	if (s->w == NULL)
		return PARE_ENOMEM;
	tensor_decode(w, 0, w->rows, s->w);
	if (b != NULL) {
		s->b = xcalloc((size_t)b->cols, sizeof *s->b);
		tensor_decode(b, 0, 1, s->b);
	}
	return PARE_OK;
}

/* s = h + W x + b */
static void
add_output(const struct side *t, int64_t hidden, float *s)
{
	memcpy(s, t->h, (size_t)(t->nh * hidden) * sizeof *s);
	if (t->w == NULL)
		return;
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)t->nh,
	    (blasint)hidden, (blasint)t->cols, 1.0f, t->x, (blasint)t->cols,
	    t->w, (blasint)t->cols, 1.0f, s, (blasint)hidden);
	for (int64_t r = 0; r < t->nh && t->b != NULL; r++)
		for (int64_t c = 0; c < hidden; c++)
			s[r * hidden + c] += t->b[c];
}

/* Adds the rows of a piece; p->s becomes w = s - h. */
static void
add_rows(struct pair *p, struct match_sums *to)
{
	int64_t rows = p->now.nh, cols = p->now.cols;
	int64_t hidden = p->now.m->hp.hidden;

	for (int64_t r = 0; r < rows; r++) {
		float *s = p->s + r * hidden;
		const float *h = p->now.h + r * hidden;
		const float *x = p->now.x + r * cols;

		for (int64_t c = 0; c < hidden; c++) {
			to->s[c] += s[c];
			to->ss += (double)s[c] * s[c];
			s[c] -= h[c];
			to->w[c] += s[c];
			to->ww += (double)s[c] * s[c];
		}
		for (int64_t c = 0; c < cols; c++)
			to->x[c] += x[c];
	}
	cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (blasint)cols,
	    (blasint)rows, 1.0f, p->now.x, (blasint)cols, 1.0f, to->gram,
	    (blasint)cols);
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)hidden,
	    (blasint)cols, (blasint)rows, 1.0f, p->s, (blasint)hidden,
	    p->now.x, (blasint)cols, 1.0f, to->cross, (blasint)cols);
	to->rows += rows;
}

/* What is seen is the stream behind the norm. */
static void
add_distance(struct pair *p)
{
	int64_t hidden = p->then.m->hp.hidden;

	for (int64_t r = 0; r < p->then.nh; r++)
		for (int64_t c = 0; c < hidden; c++) {
			double a = p->then.h[r * hidden + c];
			double d = p->now.h[r * hidden + c] - a;

			p->mean[c] += a;
			p->energy += a * a;
			p->error += d * d;
		}
	p->rows += p->then.nh;
}

/* Whether a piece is one of those kept apart. */
static bool
is_apart(int64_t n)
{
	return n % CHECK_EVERY == CHECK_EVERY - 1;
}

static enum pare_rc
run_side(struct pair *p, struct side *s, const struct batch *batch,
    struct task *task, struct pare_err *err)
{
	struct forward f = { .watch = &s->watch, .task = task };

	s->nx = s->nh = 0;
	if (p->logits)
		f.logits = p->out;
	else
		f.hidden = p->out;
	return engine_forward(s->engine, s->m, batch, &f, err);
}

static enum pare_rc
run_pieces(struct pair *p, struct task *task, struct pare_err *err)
{
	const struct reconstruct *b = p->b;
	const int64_t *token = b->order.token;
	int64_t *start = xcalloc((size_t)b->samples + 2, sizeof *start);
	enum pare_rc rc = PARE_OK;
	bool few = count_pieces(b) < CHECK_EVERY;
	int64_t n = 0;

	for (int64_t first = 0, last; first < b->samples && rc == PARE_OK;
	    first = last, n++) {
		struct batch batch = { .start = start,
			.ids = b->order.ids + token[first],
			.types = b->order.types != NULL ? b->order.types +
			    token[first] : NULL };

		if (!task_tick(task, (double)first, (double)b->samples,
		    "samples")) {
			rc = task_error(err);
			break;
		}
		last = piece_end(b, first);
		if (p->sums == NULL && !is_apart(n) && !few)
			continue;
		batch.nseq = (int)(last - first);
		for (int64_t i = first; i <= last; i++)
			start[i - first] = token[i] - token[first];
		rc = run_side(p, &p->then, &batch, task, err);
		if (rc == PARE_OK)
			rc = run_side(p, &p->now, &batch, task, err);
		if (rc != PARE_OK)
			break;
		if (p->sums == NULL) {
			add_distance(p);
			continue;
		}
		add_output(&p->then, p->then.m->hp.hidden, p->s);
		add_rows(p, is_apart(n) ? &p->sums->check : &p->sums->fit);
	}
	free(start);
	return rc;
}

/* Whether a model's pass to the logits has one token a sample at that layer. */
static bool
is_narrow(const struct model *m, int layer)
{
	return has_classes(m) && (m->arch->flags & ARCH_LAST_TOKEN) == 0 &&
	    layer == m->nlayers - 1;
}

static enum pare_rc
pair_open(struct pair *p, const struct model *now,
    const struct match_ask *ask, struct pare_err *err)
{
	const struct reconstruct *b = p->b;
	int64_t hidden = b->m->hp.hidden, wide;
	enum pare_rc rc;

	p->room = largest_piece(b);
	p->logits = is_narrow(now, ask->now.layer) &&
	    is_narrow(b->m, ask->then.layer);
	wide = p->logits && b->m->hp.labels > hidden ? b->m->hp.labels :
	    hidden;
	p->out = mem_big((size_t)p->room + 1, (size_t)wide * sizeof *p->out,
	    err);
	p->s = p->out == NULL ? NULL : mem_big((size_t)p->room + 1,
	    (size_t)hidden * sizeof *p->s, err);
	if (p->s == NULL)
		return PARE_ENOMEM;
	rc = side_open(&p->now, now, ask->now, p->room, !p->logits,
	    p->sums == NULL, err);
	if (rc == PARE_OK)
		rc = side_open(&p->then, b->m, ask->then, p->room, !p->logits,
		    p->sums == NULL, err);
	return rc == PARE_OK ? decode_output(&p->then, err) : rc;
}

static void
pair_close(struct pair *p)
{
	side_free(&p->now);
	side_free(&p->then);
	free(p->out);
	free(p->s);
}

static bool
is_finite(const struct match_sums *s, int64_t cols)
{
	double sum = s->ww + s->ss;

	for (int64_t j = 0; j < cols; j++)
		sum += s->gram[j * (cols + 1)];
	return isfinite(sum);
}

static enum pare_rc
match(const struct op_reconstruct *op, const struct model *now,
    const struct match_ask *ask, struct match *out, struct task *task,
    struct pare_err *err)
{
	struct pair p = { .b = (const struct reconstruct *)op, .sums = out };
	enum pare_rc rc = pair_open(&p, now, ask, err);

	memset(out, 0, sizeof *out);
	if (rc == PARE_OK)
		rc = match_open(out, p.now.cols, now->hp.hidden, err);
	if (rc == PARE_OK)
		rc = run_pieces(&p, task, err);
	if (rc == PARE_OK && (!is_finite(&out->fit, out->cols) ||
	    !is_finite(&out->check, out->cols)))
		rc = err_set(err, PARE_EUSER, "refit: what L%d sees of the "
		    "calib samples is not finite", ask->now.layer);
	pair_close(&p);
	if (rc != PARE_OK)
		match_free(out);
	return rc;
}

static enum pare_rc
off(const struct op_reconstruct *op, const struct model *now,
    const struct match_ask *ask, double *error, double *energy,
    struct task *task, struct pare_err *err)
{
	struct pair p = { .b = (const struct reconstruct *)op };
	int64_t hidden = now->hp.hidden;
	enum pare_rc rc = pair_open(&p, now, ask, err);

	p.mean = xcalloc((size_t)hidden, sizeof *p.mean);
	if (rc == PARE_OK)
		rc = run_pieces(&p, task, err);
	*error = p.error;
	*energy = p.energy;
	for (int64_t c = 0; c < hidden && p.rows > 0; c++)
		*energy -= p.mean[c] * p.mean[c] / (double)p.rows;
	free(p.mean);
	pair_close(&p);
	return rc;
}

/* ---- the whole ---- */

enum pare_rc
reconstruct_new(const struct model *m, const struct dataset *d, int64_t samples,
    struct reconstruct **out, struct pare_err *err)
{
	struct reconstruct *b = xcalloc(1, sizeof *b);
	enum pare_rc rc;

	*out = NULL;
	b->op = (struct op_reconstruct){ match, off, look };
	b->m = model_ref(m);
	b->d = d;
	rc = d->encoded && d->n > 0 ? order_make(&b->order, m, d, err) :
	    err_set(err, PARE_EUSER, "%s: the samples were not tokenized",
	    d->path != NULL ? d->path : "the calib samples");
	b->samples = samples > 0 && samples < b->order.n ? samples :
	    b->order.n;
	if (rc == PARE_OK) {
		*out = b;
		return PARE_OK;
	}
	reconstruct_free(b);
	return rc;
}

void
reconstruct_free(struct reconstruct *b)
{
	if (b == NULL)
		return;
	for (int k = 0; k < 2; k++) {
		free(b->label[k]);
		free(b->share[k]);
	}
	order_free(&b->order);
	model_unref(b->m);
	free(b);
}

const struct op_reconstruct *
reconstruct_op(const struct reconstruct *b)
{
	return &b->op;
}
