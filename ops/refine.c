/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/refine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/awq.h"
#include "ops/common.h"
#include "ops/fisher.h"
#include "ops/gptq.h"
#include "ops/levels.h"
#include "ops/weighing.h"
#include "tensor/form.h"

/* One matrix at work. */
struct work {
	const struct tensor *t;
	const struct quant_spec *spec;
	const struct transform_ctx *ctx;
	struct tensor *plain;
	struct inputs x;
	float *w, *q;		/* its weights; decoded codes */
};

unsigned
refine_needs(const struct refine *g)
{
	unsigned needs = 0;

	if (g->gptq || g->awq || g->clip || g->correct || g->weigh != REFINE_NONE)
		needs |= OP_NEED_GRAM_ALL;
	if (g->weigh == REFINE_FISHER)
		needs |= OP_NEED_GATES;
	return needs;
}

bool
refine_asked(const struct refine *g)
{
	return g->hqq || g->residual > 0 || refine_needs(g) != 0;
}

const char *
refine_name(const struct refine *g)
{
	return g->gptq ? "method=gptq" : g->awq ? "method=awq" : g->clip ? "clip=mse" :
	    g->weigh == REFINE_INPUTS ? "weigh=inputs" :
	    g->weigh == REFINE_FISHER ? "weigh=fisher" :
	    g->correct ? "bias=correct" : g->hqq ? "method=hqq" : "residual";
}

/* ---- levels ---- */

/* The plain codes with levels found by other means; *out stays plain where none
 * are asked for. */
static enum pare_rc
find_levels(struct refine *g, struct work *k, struct tensor **out,
    struct pare_err *err)
{
	const struct tensor *p = k->plain;
	struct levels v = { k->w, p->rows, p->cols, p->code.group,
		k->spec->scheme, p->code.bits };
	int64_t n = k->t->cols, groups = levels_groups(&v);
	struct quant_levels l = { NULL, NULL };
	double *range, *diagonal = NULL, *row = NULL, *col = NULL;
	float *table = NULL;
	enum pare_rc rc = PARE_OK;

	if (!g->hqq && !g->clip && (g->weigh == REFINE_NONE ||
	    p->form != FORM_TABLE)) {
		*out = tensor_ref(p);
		return PARE_OK;
	}
	range = xcalloc((size_t)groups * 2, sizeof *range);
	diagonal = xcalloc((size_t)n, sizeof *diagonal);
	for (int64_t c = 0; c < n && k->x.h != NULL; c++)
		diagonal[c] = k->x.h[c * (n + 1)];
	if (g->hqq) {
		levels_hqq(&v, range, &g->before, &g->after);
		l.range = range;
	} else if (g->clip) {
		levels_clip(&v, diagonal, range);
		l.range = range;
	} else {
		table = xcalloc((size_t)groups << v.bits, sizeof *table);
		memcpy(table, p->part[PART_TABLE].p, p->part[PART_TABLE].n);
		if (g->weigh == REFINE_FISHER)
			rc = fisher_weights(g->in, k->t, k->w, diagonal, &row,
			    &col, err);
		if (rc == PARE_OK)
			rc = levels_kmeans(&v, row, col != NULL ? col :
			    diagonal, table, err);
		l.table = table;
	}
	if (rc == PARE_OK) {
		*out = tensor_quantize_levels(k->t, k->spec, &l, k->ctx, err);
		rc = *out == NULL ? PARE_ENOMEM : PARE_OK;
	}
	free(range);
	free(diagonal);
	free(row);
	free(col);
	free(table);
	return rc;
}

/* ---- errors ---- */

/* Of q, decoded into k->q: of the outputs, or of the weights where nothing is
 * known of the inputs. q NULL: what the weights themselves are. */
static enum pare_rc
error_of(struct work *k, const struct tensor *q, bool centred, double *out,
    struct pare_err *err)
{
	if (q != NULL)
		tensor_decode(q, 0, q->rows, k->q);
	if (k->x.h != NULL)
		return inputs_error(&k->x, k->w, q == NULL ? NULL : k->q,
		    k->t->rows, centred, out, err);
	*out = 0;
	for (int64_t i = 0; i < k->t->rows * k->t->cols; i++) {
		double d = (double)k->w[i] - (q == NULL ? 0 : k->q[i]);

		*out += d * d;
	}
	return PARE_OK;
}

const struct tensor *
refine_was(const struct refine *g, const struct tensor *t)
{
	for (int i = 0; i < g->nstand; i++)
		if (g->stand[i].now == t)
			return g->stand[i].was;
	return t;
}

/* Every slot of t has a bias beside it. */
static bool
has_biases(const struct refine *g, const struct tensor *t)
{
	struct slot_ref ref = SLOT_REF_START;

	t = refine_was(g, t);
	while (model_next_slot(g->in->model, &ref))
		if (model_slot(g->in->model, ref) == t && model_slot(
		    g->in->model, (struct slot_ref){ ref.layer,
		    ref.slot + 1 }) == NULL)
			return false;
	return true;
}

/* Keeps (w - q) mean(x), q being what k->q holds. */
static void
keep_shift(struct refine *g, const struct work *k)
{
	double *by = xcalloc((size_t)k->t->rows, sizeof *by);
	int64_t n = k->t->cols;

	for (int64_t r = 0; r < k->t->rows; r++)
		for (int64_t c = 0; c < n; c++)
			by[r] += ((double)k->w[r * n + c] - k->q[r * n + c]) *
			    k->x.mean[c];
	g->shift = xrealloc(g->shift, (size_t)(g->nshift + 1) *
	    sizeof *g->shift);
	g->shift[g->nshift++] = (struct refine_shift){ refine_was(g, k->t),
		by };
}

bool
refine_amends(const struct refine *g, const struct tensor *t)
{
	return g->residual > 0 && t->ndim == 2 &&
	    !form_table[t->form].is_sparse && t->form != FORM_LOWRANK &&
	    g->residual < t->rows && g->residual < t->cols;
}

/* made (consumed) with a low rank of what it lacks beside it, where that is asked
 * for. */
static struct tensor *
amend(struct refine *g, const struct work *k, struct tensor *made,
    struct pare_err *err)
{
	enum weighing_kind kind = k->x.h != NULL ? WEIGHING_WHITENED :
	    WEIGHING_SVD;
	struct weighing by;
	struct tensor *out = NULL;

	if (g->residual > 0 && !refine_amends(g, k->t))
		g->small++;
	if (!refine_amends(g, k->t))
		return made;
	if (weighing_of(g->in, k->t, kind, &by, err) == PARE_OK) {
		out = tensor_amend(made, k->t, g->residual, weighing_by(&by),
		    k->ctx, err);
		weighing_free(&by);
	}
	tensor_unref(made);
	return out;
}

/* All of made[] with what is beside them; *now: what they lose then. On error all
 * are NULL. */
static enum pare_rc
amend_all(struct refine *g, struct work *k, int n, struct tensor **made,
    double *now, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double is;

	*now = 0;
	for (int i = 0; i < n && rc == PARE_OK; i++) {
		made[i] = amend(g, &k[i], made[i], err);
		rc = made[i] == NULL ? err->rc : error_of(&k[i], made[i],
		    g->correct && has_biases(g, k[i].t), &is, err);
		*now += rc == PARE_OK ? is : 0;
	}
	for (int i = 0; i < n && rc != PARE_OK; i++) {
		tensor_unref(made[i]);
		made[i] = NULL;
	}
	return rc;
}

/* What the matrices k[0..n) lose as plain codes and as made. */
struct losses {
	double energy, plain;
	double was, is;		/* plain and made, with biases corrected */
};

static enum pare_rc
add_losses(struct work *k, const struct tensor *made, bool correct,
    struct losses *sum, struct pare_err *err)
{
	double energy, plain, was, is;

	if (error_of(k, NULL, false, &energy, err) != PARE_OK ||
	    error_of(k, k->plain, false, &plain, err) != PARE_OK ||
	    error_of(k, k->plain, correct, &was, err) != PARE_OK ||
	    error_of(k, made, correct, &is, err) != PARE_OK)
		return err->rc;
	sum->energy += energy;
	sum->plain += plain;
	sum->was += was;
	sum->is += is;
	return PARE_OK;
}

/* The better of all plain and all made, which are consumed, in made[]; true in
 * *better: those made. On error made[] is NULL throughout. */
static enum pare_rc
settle(struct refine *g, struct work *k, int n, struct tensor **made,
    bool *better, struct pare_err *err)
{
	struct losses s = { 0 };
	enum pare_rc rc = PARE_OK;
	double now;

	for (int i = 0; i < n && rc == PARE_OK; i++)
		rc = add_losses(&k[i], made[i], g->correct &&
		    has_biases(g, k[i].t), &s, err);
	/* What hqq lowers is not this, and not lower with the plain levels. */
	*better = g->hqq || s.is < s.was;
	for (int i = 0; i < n && (rc != PARE_OK || !*better); i++) {
		tensor_unref(made[i]);
		made[i] = rc == PARE_OK ? tensor_ref(k[i].plain) : NULL;
	}
	now = *better ? s.is : s.was;
	if (rc == PARE_OK && g->residual > 0)
		rc = amend_all(g, k, n, made, &now, err);
	if (rc != PARE_OK)
		return rc;
	g->tally.energy += s.energy;
	g->tally.plain += s.plain;
	g->tally.now += now;
	for (int i = 0; i < n; i++) {
		bool correct = g->correct && has_biases(g, k[i].t);

		g->no_bias += g->correct && !correct;
		if (*better || refine_amends(g, k[i].t) ||
		    (correct && s.was < s.plain))
			g->tally.done++;
		else
			g->tally.worse++;
		if (!correct)
			continue;
		tensor_decode(made[i], 0, made[i]->rows, k[i].q);
		keep_shift(g, &k[i]);
	}
	return PARE_OK;
}

/* Codes of scaled weights, and the scales. */
static struct tensor *
make_scaled(const struct refine *g, const struct work *k, struct pare_err *err)
{
	const float *w = k->w;
	struct awq a = { .n = 1, .w = &w, .t = &k->t, .spec = k->spec,
		.x = &k->x, .clip = g->clip };
	float *by = xcalloc((size_t)k->t->cols, sizeof *by);
	struct tensor *codes, *made = NULL;

	if (awq_search(&a, k->ctx, by, &codes, err) == PARE_OK) {
		made = tensor_scale(codes, by, k->ctx, err);
		tensor_unref(codes);
	}
	free(by);
	return made;
}

bool
refine_scales(const struct refine *g, const struct tensor *t)
{
	struct slot_ref ref = SLOT_REF_START;
	enum engine_place place;

	t = refine_was(g, t);
	if (!g->awq || (t->form != FORM_F32 && t->form != FORM_F16 &&
	    t->form != FORM_BF16))
		return false;
	while (model_next_slot(g->in->model, &ref))
		if (model_slot(g->in->model, ref) == t && (ref.layer < 0 ||
		    !statistics_place(ref.slot, &place)))
			return false;
	return true;
}

static struct tensor *
make(struct refine *g, struct work *k, struct pare_err *err)
{
	struct tensor *grid, *made;
	bool better;

	if (g->awq) {
		made = make_scaled(g, k, err);
	} else {
		if (find_levels(g, k, &grid, err) != PARE_OK)
			return NULL;
		made = g->gptq ? gptq_code(k->w, grid, k->x.h, err) :
		    tensor_ref(grid);
		tensor_unref(grid);
	}
	if (made == NULL || settle(g, k, 1, &made, &better, err) != PARE_OK)
		return NULL;
	g->scaled += g->awq && better;
	return made;
}

static bool
is_odd(const struct tensor *t, const struct tensor *plain)
{
	return (t->form != FORM_F32 && t->form != FORM_F16 &&
	    t->form != FORM_BF16) || (plain->form != FORM_INT &&
	    plain->form != FORM_TABLE);
}

/* What errors of the rows of t count, where scales have divided these. */
static const double *
row_of(const struct refine *g, const struct tensor *t)
{
	for (int i = 0; i < g->nstand; i++)
		if (g->stand[i].now == t)
			return g->stand[i].row;
	return NULL;
}

static enum pare_rc
look(const struct refine *g, const struct tensor *t, struct inputs *x,
    struct pare_err *err)
{
	enum pare_rc rc = inputs_of(g->in, refine_was(g, t), x, err);

	x->row = row_of(g, t);
	return rc;
}

/* Room for the weights of k->t, filled, and for decoded codes. */
static enum pare_rc
open_work(struct work *k, struct pare_err *err)
{
	size_t n = (size_t)(k->t->rows * k->t->cols);

	k->w = mem_big(2 * n, sizeof *k->w, err);
	if (k->w == NULL)
		return PARE_ENOMEM;
	k->q = k->w + n;
	tensor_decode(k->t, 0, k->t->rows, k->w);
	return PARE_OK;
}

/* Codes that stay plain, of what cannot be bettered or is not seen: what they
 * lack can be beside them all the same. */
static struct tensor *
leave(struct refine *g, struct work *k, struct pare_err *err)
{
	return amend(g, k, tensor_ref(k->plain), err);
}

static struct tensor *
code(struct refine *g, struct work *k, struct pare_err *err)
{
	if (is_odd(k->t, k->plain)) {
		g->tally.odd++;
		return leave(g, k, err);
	}
	if (refine_needs(g) != 0) {
		if (look(g, k->t, &k->x, err) != PARE_OK)
			return NULL;
		g->tally.unseen += k->x.h == NULL && !k->x.zero;
		g->tally.zero += k->x.zero;
		if (k->x.h == NULL)
			return leave(g, k, err);
	}
	if (open_work(k, err) != PARE_OK)
		return NULL;
	return make(g, k, err);
}

struct tensor *
refine_code(struct refine *g, const struct tensor *t, struct tensor *plain,
    const struct quant_spec *spec, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct work k = { .t = t, .spec = spec, .ctx = ctx, .plain = plain };
	struct tensor *made = code(g, &k, err);

	tensor_unref(plain);
	inputs_free(&k.x);
	free(k.w);
	return made;
}

/* ---- scales that go into what comes before ---- */

/* The matrices of a fold at work; all see what the first sees. */
struct set {
	struct refine *g;
	struct edit *e;
	const struct fold *f;
	struct work k[FOLD_USERS];
	struct tensor *made[FOLD_USERS];	/* what they become */
	float *by;		/* of their inputs */
	int64_t cols;
};

static enum pare_rc
open_set(struct set *s, const struct quant_spec *spec, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < s->f->n && rc == PARE_OK; i++) {
		struct work *k = &s->k[i];

		k->t = edit_get(s->e, s->f->user[i]);
		k->spec = spec;
		k->ctx = &s->e->ctx;
		k->plain = tensor_quantize(k->t, spec, k->ctx, err);
		rc = k->plain == NULL ? err->rc : i > 0 || k->ctx->estimate ?
		    PARE_OK : look(s->g, k->t, &k->x, err);
		if (i > 0)
			k->x = s->k[0].x;
		k->x.row = row_of(s->g, k->t);
	}
	s->cols = s->k[0].t->cols;
	s->by = xcalloc((size_t)s->cols, sizeof *s->by);
	for (int64_t c = 0; c < s->cols; c++)
		s->by[c] = 1;
	return rc;
}

static void
close_set(struct set *s)
{
	inputs_free(&s->k[0].x);
	for (int i = 0; i < s->f->n; i++) {
		tensor_unref(s->k[i].plain);
		tensor_unref(s->made[i]);
		free(s->k[i].w);
	}
	free(s->by);
}

/* Codes of weights that scales have multiplied into made, each with the scales,
 * and these alone into by. */
static enum pare_rc
search_set(struct set *s, float *by, struct pare_err *err)
{
	const float *w[FOLD_USERS];
	const struct tensor *t[FOLD_USERS];
	const double *row[FOLD_USERS];
	double *energy = xcalloc((size_t)s->cols, sizeof *energy);
	struct awq a = { s->f->n, w, t, s->k[0].spec, &s->k[0].x, s->g->clip,
		energy, row };
	struct tensor *codes[FOLD_USERS];
	enum pare_rc rc;

	for (int i = 0; i < s->f->n; i++) {
		w[i] = s->k[i].w;
		t[i] = s->k[i].t;
		row[i] = s->k[i].x.row;
	}
	for (int64_t c = 0; c < s->cols; c++)
		energy[c] = s->k[0].x.h[c * (s->cols + 1)];
	fold_pool(s->f, energy, s->cols);
	rc = awq_search(&a, s->k[0].ctx, by, codes, err);
	free(energy);
	if (rc != PARE_OK)
		return rc;
	for (int i = 0; i < s->f->n; i++) {
		s->made[i] = tensor_scale(codes[i], by, s->k[0].ctx, err);
		rc = s->made[i] == NULL ? PARE_ENOMEM : rc;
		tensor_unref(codes[i]);
	}
	return rc;
}

/* The codes of made, without scales, in place of these; by where they won. */
static enum pare_rc
make_set(struct set *s, struct pare_err *err)
{
	float *by = xcalloc((size_t)s->cols, sizeof *by);
	enum pare_rc rc = PARE_OK;
	bool better = false;

	for (int i = 0; i < s->f->n && rc == PARE_OK; i++)
		rc = open_work(&s->k[i], err);
	if (rc == PARE_OK)
		rc = search_set(s, by, err);
	if (rc == PARE_OK)
		rc = settle(s->g, s->k, s->f->n, s->made, &better, err);
	for (int i = 0; i < s->f->n && better && rc == PARE_OK; i++) {
		struct tensor *codes = tensor_ref(s->made[i]->kid[0]);

		tensor_unref(s->made[i]);
		s->made[i] = codes;
		s->g->folded++;
	}
	if (better)
		memcpy(s->by, by, (size_t)s->cols * sizeof *by);
	free(by);
	return rc;
}

/* Keeps what the source of the fold, a matrix, is in the model. */
static void
keep_stand(struct set *s, const struct tensor *was)
{
	struct tensor *now = edit_get(s->e, s->f->source);
	double *row = xcalloc((size_t)now->rows, sizeof *row);
	const double *before = row_of(s->g, was);

	for (int64_t r = 0; r < now->rows; r++) {
		double by = s->by[fold_input(s->f, r)];

		row[r] = (before == NULL ? 1 : before[r]) / by / by;
	}
	s->g->stand = xrealloc(s->g->stand, (size_t)(s->g->nstand + 1) *
	    sizeof *s->g->stand);
	s->g->stand[s->g->nstand++] = (struct refine_stand){
		tensor_ref(now), refine_was(s->g, was), row };
}

enum pare_rc
refine_fold(struct refine *g, struct edit *e, const struct fold *f,
    const struct quant_spec *spec, struct pare_err *err)
{
	struct tensor *was = tensor_ref(edit_get(e, f->source));
	struct set s = { .g = g, .e = e, .f = f };
	enum pare_rc rc = open_set(&s, spec, err);

	if (rc == PARE_OK && !e->ctx.estimate) {
		const struct inputs *x = &s.k[0].x;

		g->tally.unseen += x->h == NULL && !x->zero ? f->n : 0;
		g->tally.zero += x->zero ? f->n : 0;
		if (x->h != NULL)
			rc = make_set(&s, err);
	}
	for (int i = 0; i < f->n && rc == PARE_OK; i++)
		edit_set(e, f->user[i], tensor_ref(s.made[i] != NULL ?
		    s.made[i] : s.k[i].plain));
	if (rc == PARE_OK)
		rc = fold_source(f, e, s.by, err);
	if (rc == PARE_OK && slot_table[f->source.slot].matrix)
		keep_stand(&s, was);
	tensor_unref(was);
	close_set(&s);
	return rc;
}

/* ---- biases ---- */

static struct tensor *
add_shift(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct refine_shift *s = arg;
	struct tensor *sum, *out;
	float *v;

	if (ctx->estimate || t->ghost)
		return tensor_ref(t);
	sum = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);
	if (sum == NULL)
		return NULL;
	tensor_decode(t, 0, t->rows, v);
	for (int64_t i = 0; i < t->cols; i++)
		v[i] += (float)s->by[i];
	out = tensor_cast(sum, t->form, ctx, err);
	tensor_unref(sum);
	return out;
}

enum pare_rc
refine_bias(struct refine *g, struct edit *e, struct slot_ref ref,
    const struct tensor *t, struct pare_err *err)
{
	for (int i = 0; i < g->nshift; i++)
		if (g->shift[i].t == t)
			return edit_map(e, (struct slot_ref){ ref.layer,
			    ref.slot + 1 }, (uint64_t)i + 1, add_shift,
			    &g->shift[i], err);
	return PARE_OK;
}

/* ---- notes ---- */

static void
note_weights(const struct refine *g, const char *plain, struct str *note)
{
	const struct tally *t = &g->tally;

	if (t->energy > 0)
		ops_note(note, "squared error of %d matrices %.3g %% %s, %.3g "
		    "%% now", t->done + t->worse, 100 * t->plain / t->energy,
		    plain, 100 * t->now / t->energy);
	if (t->energy > 0 && g->hqq)
		str_addf(note, ", and of the sum that hqq lowers %.3g %% are "
		    "left", g->before > 0 ? 100 * g->after / g->before : 100);
	if (t->odd > 0)
		ops_note(note, "%d matrices are %s: they were packed, sparse "
		    "or low rank", t->odd, plain);
}

enum pare_rc
refine_note(const struct refine *g, struct str *note, struct pare_err *err)
{
	const char *plain = "rounded to nearest";
	enum pare_rc rc;

	if (refine_needs(g) == 0) {
		note_weights(g, plain, note);
	} else {
		rc = tally_any(&g->tally, refine_name(g), err);
		if (rc != PARE_OK)
			return rc;
		if (g->no_bias > 0 && g->tally.done == 0 && !g->gptq &&
		    !g->awq && !g->clip && g->weigh == REFINE_NONE &&
		    g->residual == 0) {
			err_set(err, PARE_EUSER, "bias: none of the %d "
			    "matrices has a bias to correct", g->no_bias);
			return err_hint(err, "clip=mse or method=gptq need no "
			    "biases");
		}
		tally_note(&g->tally, plain, note);
	}
	if (g->folded > 0)
		ops_note(note, "%d matrices have their scales in what comes "
		    "before them", g->folded);
	if (g->scaled > 0)
		ops_note(note, "%d matrices keep a scale for each input",
		    g->scaled);
	if (g->tally.done > 0 && g->tally.now >= g->tally.plain)
		ops_note(note, "rounding to nearest would have been no worse");
	if (g->no_bias > 0)
		ops_note(note, "%d matrices have no bias to correct",
		    g->no_bias);
	if (g->small > 0)
		ops_note(note, "%d matrices have codes alone: a side of them "
		    "is not above %lld", g->small, (long long)g->residual);
	return PARE_OK;
}

void
refine_free(struct refine *g)
{
	for (int i = 0; i < g->nshift; i++)
		free(g->shift[i].by);
	free(g->shift);
	g->shift = NULL;
	g->nshift = 0;
	for (int i = 0; i < g->nstand; i++) {
		tensor_unref(g->stand[i].now);
		free(g->stand[i].row);
	}
	free(g->stand);
	g->stand = NULL;
	g->nstand = 0;
}
