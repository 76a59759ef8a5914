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
	struct seen x;
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
	for (int64_t c = 0; c < n && k->x.gram != NULL; c++)
		diagonal[c] = k->x.gram[c * (n + 1)];
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
	if (k->x.gram != NULL)
		return seen_error(&k->x, k->w, q == NULL ? NULL : k->q,
		    k->t->rows, centred, out, err);
	*out = 0;
	for (int64_t i = 0; i < k->t->rows * k->t->cols; i++) {
		double d = (double)k->w[i] - (q == NULL ? 0 : k->q[i]);

		*out += d * d;
	}
	return PARE_OK;
}

/* Every slot of t has a bias beside it. */
static bool
has_biases(const struct refine *g, const struct tensor *t)
{
	struct slot_ref ref = SLOT_REF_START;

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
	g->shift[g->nshift++] = (struct refine_shift){ k->t, by };
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
	struct weighing by;
	struct tensor *out = NULL;

	if (g->residual > 0 && !refine_amends(g, k->t))
		g->small++;
	if (!refine_amends(g, k->t))
		return made;
	if (weighing_of(g->in, k->t, k->x.gram != NULL ? WEIGHING_WHITENED :
	    WEIGHING_SVD, &by, err) == PARE_OK) {
		out = tensor_amend(made, k->t, g->residual, weighing_by(&by),
		    k->ctx, err);
		weighing_free(&by);
	}
	tensor_unref(made);
	return out;
}

/* The better of plain and made, which is consumed, and a residual beside it. */
static struct tensor *
settle(struct refine *g, struct work *k, struct tensor *made,
    struct pare_err *err)
{
	bool correct = g->correct && has_biases(g, k->t);
	bool amends = refine_amends(g, k->t), better;
	double energy, plain, was, is;

	if (error_of(k, NULL, false, &energy, err) != PARE_OK ||
	    error_of(k, k->plain, false, &plain, err) != PARE_OK ||
	    error_of(k, k->plain, correct, &was, err) != PARE_OK ||
	    error_of(k, made, correct, &is, err) != PARE_OK) {
		tensor_unref(made);
		return NULL;
	}
	/* What hqq lowers is not this, and not lower with the plain levels. */
	better = g->hqq || is < was;
	if (!better) {
		tensor_unref(made);
		made = tensor_ref(k->plain);
	}
	made = amend(g, k, made, err);
	if (made == NULL || error_of(k, made, correct, &is, err) != PARE_OK) {
		tensor_unref(made);
		return NULL;
	}
	g->tally.energy += energy;
	g->tally.plain += plain;
	g->tally.now += is;
	g->no_bias += g->correct && !correct;
	if (better || amends || (correct && was < plain))
		g->tally.done++;
	else
		g->tally.worse++;
	if (correct)
		keep_shift(g, k);
	return made;
}

/* Codes of scaled weights, and the scales. */
static struct tensor *
make_scaled(const struct refine *g, const struct work *k, struct pare_err *err)
{
	const float *w = k->w;
	struct awq a = { 1, &w, &k->t, k->spec, &k->x, g->clip };
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

	tensor_decode(k->t, 0, k->t->rows, k->w);
	if (g->awq) {
		made = make_scaled(g, k, err);
		return made == NULL ? NULL : settle(g, k, made, err);
	}
	if (find_levels(g, k, &grid, err) != PARE_OK)
		return NULL;
	made = g->gptq ? gptq_code(k->w, grid, k->x.gram, err) :
	    tensor_ref(grid);
	tensor_unref(grid);
	return made == NULL ? NULL : settle(g, k, made, err);
}

static bool
is_odd(const struct tensor *t, const struct tensor *plain)
{
	return (t->form != FORM_F32 && t->form != FORM_F16 &&
	    t->form != FORM_BF16) || (plain->form != FORM_INT &&
	    plain->form != FORM_TABLE);
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
	size_t n = (size_t)(k->t->rows * k->t->cols);

	if (is_odd(k->t, k->plain)) {
		g->tally.odd++;
		return leave(g, k, err);
	}
	if (refine_needs(g) != 0) {
		if (seen_get(g->in, k->t, &k->x, err) != PARE_OK)
			return NULL;
		g->tally.unseen += k->x.state == SEEN_NOT;
		g->tally.zero += k->x.state == SEEN_ZERO;
		if (k->x.state != SEEN_WELL)
			return leave(g, k, err);
	}
	k->w = mem_big(2 * n, sizeof *k->w, err);
	if (k->w == NULL)
		return NULL;
	k->q = k->w + n;
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
	seen_free(&k.x);
	free(k.w);
	return made;
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
	const struct seen_tally *t = &g->tally;

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
		rc = seen_any(&g->tally, refine_name(g), err);
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
		seen_note(&g->tally, plain, note);
	}
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
}
