/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * quantize mixed: each matrix with bits of its own, for a number of bytes.
 *
 * What a matrix loses at each width is told by one of
 *
 *	weights	|W - Q|^2 / |W|^2
 *	error	the same of its outputs, tr(D H D') / tr(W H W') with H the second
 *		moment of its inputs; of weights where no inputs were seen
 *	fisher	what the loss rises by, as inputs_weigh() tells it from inputs and
 *		squared gradients
 *	hessian	the largest eigenvalue of its block of the Hessian, mean plus
 *		deviation over parts of the samples, times the mean of (W - Q)^2
 *		(Dong et al., "HAWQ", 2019; Shen et al., "Q-BERT", 2020)
 *	sweep	the divergence that was measured with this matrix alone coded
 *
 * and ops/choose.h takes the widths whose sum is least. A matrix may also stay as
 * it is.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/choose.h"
#include "ops/common.h"
#include "ops/inputs.h"
#include "ops/table.h"

enum by { BY_ERROR, BY_WEIGHTS, BY_FISHER, BY_HESSIAN, BY_SWEEP };

enum { WIDTHS_MAX = 8 };

/* A matrix and its options: widths first to last, then as it is. */
struct unit {
	struct choose_option option[WIDTHS_MAX + 1];
	int bits[WIDTHS_MAX + 1];	/* 0: as it is */
	int n;
	int slot;		/* the first that holds it */
};

struct mixed {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	enum by by;
	int width[WIDTHS_MAX], nwidths;
	enum quant_scheme scheme;
	int64_t group;		/* 0: one a row */
	int act;
	struct unit *unit;
	int n;
	int64_t before, least, weights;	/* bytes and weights of the units */
	int64_t budget;		/* for them */
	int *pick;		/* per unit */
	int64_t cost;
	double loss;
	int unknown;		/* judged by their weights alone */
	int single;		/* rows as groups: the group does not divide */
	int fixed;		/* packed before */
};

/* ---- the line ---- */

static enum pare_rc
read_widths(struct mixed *x, struct pare_err *err)
{
	const char *text = arg_text(x->in->args, "widths");

	for (const char *p = text; x->nwidths < WIDTHS_MAX;) {
		if (*p < '1' || *p > '8' || (p[1] != ',' && p[1] != '\0'))
			break;
		for (int i = 0; i < x->nwidths; i++)
			if (x->width[i] == *p - '0')
				goto bad;
		x->width[x->nwidths++] = *p - '0';
		if (p[1] == '\0')
			return PARE_OK;
		p += 2;
	}
bad:
	err_set(err, PARE_EUSER, "widths: '%.40s' is not a list of 1 to 8, "
	    "each once", text);
	return err_hint(err, "widths=2,3,4,8");
}

static enum pare_rc
read_group(struct mixed *x, struct pare_err *err)
{
	const char *text = arg_text(x->in->args, "group");

	if (strcmp(text, "row") == 0 || (str_to_int(text, &x->group) &&
	    x->group >= 1))
		return PARE_OK;
	err_set(err, PARE_EUSER, "group: '%.40s' is not row or a number of "
	    "columns", text);
	return err_hint(err, "group=64 gives each 64 weights of a row a scale "
	    "of their own");
}

static enum pare_rc
check_calib(const struct mixed *x, struct pare_err *err)
{
	const struct op_calib *c = x->in->calib;
	char what[40];
	bool fine = x->by == BY_WEIGHTS || x->in->model->ghost ||
	    (c != NULL && (x->by == BY_ERROR ? c->statistics != NULL :
	    x->by == BY_FISHER ? c->statistics != NULL && c->squares != NULL :
	    x->by == BY_HESSIAN ? c->hessian != NULL : c->coded != NULL));

	if (fine)
		return PARE_OK;
	snprintf(what, sizeof what, "by=%s", arg_choice(x->in->args, "by"));
	return score_missing(what, err);
}

static enum pare_rc
read_line(struct mixed *x, struct pare_err *err)
{
	const struct arg_list *a = x->in->args;
	bool bytes = arg_get(a, "bytes")->has, bits = arg_get(a, "bits")->has;
	enum pare_rc rc;

	x->by = (enum by)arg_get(a, "by")->i;
	x->scheme = (enum quant_scheme)arg_get(a, "scheme")->i;
	x->act = strcmp(arg_choice(a, "activations"), "int8") == 0 ? 8 : 0;
	if (bytes == bits) {
		err_set(err, PARE_EUSER, bytes ? "bytes, bits: give one of "
		    "them, not both" : "bytes: missing: give bytes<= of the "
		    "model, or bits<= a weight");
		return err_hint(err, "quantize mixed bits<=4.5");
	}
	if ((rc = read_widths(x, err)) != PARE_OK ||
	    (rc = read_group(x, err)) != PARE_OK)
		return rc;
	return check_calib(x, err);
}

/* ---- what a width costs and loses ---- */

static struct quant_spec
spec_for(const struct mixed *x, const struct tensor *t, int bits)
{
	bool divides = x->group > 0 && t->cols % x->group == 0 &&
	    (t->form != FORM_LOWRANK || tensor_rank(t) % x->group == 0);

	return (struct quant_spec){ .scheme = x->scheme, .bits = bits,
		.act = x->act, .group = divides ? x->group :
		x->scheme == QUANT_KMEANS && x->group == 0 ? 0 :
		t->form == FORM_LOWRANK ? -1 : t->cols };
}

static bool
is_packed(const struct tensor *t)
{
	if (t->kid[0] != NULL)
		return is_packed(t->kid[0]) || is_packed(t->kid[1]);
	return t->values == FORM_INT || t->values == FORM_TABLE ||
	    t->values == FORM_BLOCK;
}

/* The measured divergence; NAN: not in the table. */
static double
swept(const struct mixed *x, const struct tensor *t, int bits)
{
	const struct op_calib *c = x->in->calib;

	for (int64_t i = 0; i < c->ncoded; i++)
		if (c->coded[i].bits == bits &&
		    model_slot(x->in->model, c->coded[i].ref) == t)
			return fmax(0, c->coded[i].loss);
	return NAN;
}

/* The eigenvalue of t, over its parameters; of what has none the largest. */
static double
bend_of(struct mixed *x, const struct tensor *t)
{
	const struct curvature *c = x->in->calib->hessian;
	const struct curve *k = curvature_of(c, t);
	double most = 0, size = (double)t->rows * (double)t->cols;

	if (k != NULL)
		return (k->top + k->deviation) / size;
	x->unknown++;
	for (int i = 0; i < c->n; i++)
		most = fmax(most, c->of[i].top + c->of[i].deviation);
	return most / size;
}

/* What t loses as q; scale is what the change is measured by. */
static enum pare_rc
loss_of(const struct mixed *x, const struct tensor *t, int bits,
    const struct inputs *seen, double scale, double *out,
    struct pare_err *err)
{
	struct quant_spec spec = spec_for(x, t, bits);
	struct transform_ctx real = { .seed = x->in->seed,
	    .task = x->in->task };
	struct tensor *q;
	enum pare_rc rc;

	if (t->ghost) {	/* the law of rounding errors */
		*out = exp2(-2.0 * bits);
		return PARE_OK;
	}
	if (x->by == BY_SWEEP) {
		*out = swept(x, t, bits);
		return PARE_OK;
	}
	q = tensor_quantize(t, &spec, &real, err);
	if (q == NULL)
		return err->rc;
	rc = inputs_change(seen, t, q, x->in->task, out, err);
	*out *= scale;
	tensor_unref(q);
	return rc;
}

static enum pare_rc
open_fisher(const struct mixed *x, const struct tensor *t,
    struct inputs *seen, struct pare_err *err)
{
	enum pare_rc rc = inputs_of(x->in, t, seen, err);

	if (rc != PARE_OK || inputs_weigh(seen, x->in->calib->squares, t, err))
		return rc;
	inputs_free(seen);
	if (err->rc != PARE_OK)
		return err->rc;
	err_set(err, PARE_EUSER, "by=fisher: low rank is not looked into");
	return err_hint(err, "by=error is");
}

/* The inputs to judge t by, and the factor that makes losses of unlike matrices
 * comparable. */
static enum pare_rc
open_loss(struct mixed *x, const struct tensor *t, struct inputs *seen,
    double *scale, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	memset(seen, 0, sizeof *seen);
	seen->cols = t->cols;
	*scale = 1;
	if (t->ghost || x->by == BY_SWEEP)
		return PARE_OK;
	if (x->by == BY_HESSIAN) {
		*scale = bend_of(x, t);
		return PARE_OK;
	}
	if (x->by == BY_FISHER)
		return open_fisher(x, t, seen, err);
	if (x->by == BY_ERROR) {
		rc = inputs_of(x->in, t, seen, err);
		x->unknown += rc == PARE_OK && seen->h == NULL;
	}
	if (rc == PARE_OK)
		rc = inputs_change(seen, t, NULL, x->in->task, scale, err);
	if (rc != PARE_OK)
		inputs_free(seen);
	*scale = *scale > 0 ? 1 / *scale : 0;
	return rc;
}

static enum pare_rc
add_width(const struct mixed *x, struct unit *u, const struct tensor *t,
    int bits, const struct inputs *seen, double scale, struct pare_err *err)
{
	struct quant_spec spec = spec_for(x, t, bits);
	struct transform_ctx look = { .estimate = true };
	struct tensor *ghost = tensor_quantize(t, &spec, &look, err);
	struct choose_option *o = &u->option[u->n];
	enum pare_rc rc;

	if (ghost == NULL)
		return err->rc;
	o->cost = tensor_bytes(ghost);
	tensor_unref(ghost);
	if (o->cost >= tensor_bytes(t))
		return PARE_OK;
	rc = loss_of(x, t, bits, seen, scale, &o->loss, err);
	if (rc != PARE_OK || isnan(o->loss))
		return rc;
	if (!isfinite(o->loss))
		return err_set(err, PARE_EUSER, "what %d bits lose is no "
		    "finite number", bits);
	u->bits[u->n++] = bits;
	return PARE_OK;
}

static enum pare_rc
fill_unit(struct mixed *x, struct unit *u, const struct tensor *t,
    struct pare_err *err)
{
	struct inputs seen;
	double scale;
	enum pare_rc rc = PARE_OK;

	if (is_packed(t)) {
		x->fixed++;
	} else {
		rc = open_loss(x, t, &seen, &scale, err);
		for (int k = 0; k < x->nwidths && rc == PARE_OK; k++)
			rc = add_width(x, u, t, x->width[k], &seen, scale,
			    err);
		inputs_free(&seen);
		x->single += x->group > 0 && t->cols % x->group != 0;
	}
	u->option[u->n] = (struct choose_option){ tensor_bytes(t), 0 };
	u->bits[u->n++] = 0;
	return rc;
}

static enum pare_rc
list_units(struct mixed *x, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	ops_slots_of(x->in->model, &x->what.sel, OPS_MATRICES, &x->slots);
	x->unit = xcalloc((size_t)x->slots.n + 1, sizeof *x->unit);
	x->pick = xcalloc((size_t)x->slots.n + 1, sizeof *x->pick);
	for (int i = 0; i < x->slots.n && rc == PARE_OK; i++) {
		const struct tensor *t = model_slot(x->in->model,
		    x->slots.ref[i]);
		struct unit *u = &x->unit[x->n];
		char path[64];

		if (x->slots.first[i] != i)
			continue;
		if (!task_tick(x->in->task, i, 2.0 * x->slots.n, "matrices"))
			return task_error(err);
		u->slot = i;
		model_slot_path(x->slots.ref[i], path, sizeof path);
		if (ops_on_base(x->in->model, t)) {
			err_set(err, PARE_EUSER, "%s stands on weights that "
			    "are shared, and would part from them", path);
			return err_hint(err, "quantize all bits=8 codes what "
			    "is shared");
		}
		rc = fill_unit(x, u, t, err);
		if (rc == PARE_EUSER)
			return err_prefix(err, "%s", path);
		x->n++;
		x->before += tensor_bytes(t);
		x->weights += t->rows * t->cols;
	}
	if (rc != PARE_OK || x->n > 0)
		return rc;
	err_set(err, PARE_EUSER, "target: '%s' has no matrices",
	    x->what.target);
	return err_hint(err, "name matrices as L0.q, L*.ffn, emb.word");
}

/* ---- the choice ---- */

static void
find_budget(struct mixed *x, int64_t *beside)
{
	const struct arg_list *a = x->in->args;
	const struct arg_value *bytes = arg_get(a, "bytes");
	struct totals t;

	account_totals(x->in->model, 1, false, &t);
	*beside = t.bytes - x->before;
	if (arg_get(a, "bits")->has) {
		x->budget = (int64_t)(arg_real(a, "bits") *
		    (double)x->weights / 8);
		return;
	}
	x->budget = (int64_t)fmin(1e18, bytes->is_share ? bytes->d *
	    (double)t.bytes : bytes->d) - *beside;
}

/* The budget cannot be met: what can. */
static enum pare_rc
too_little(const struct mixed *x, int64_t beside, struct pare_err *err)
{
	double bits = ceil(800.0 * (double)x->cost / (double)x->weights) / 100;
	char least[32];

	if (arg_get(x->in->args, "bits")->has) {
		err_set(err, PARE_EUSER, "bits: the least there is with "
		    "widths=%s is %.2f a weight", arg_text(x->in->args,
		    "widths"), bits);
		return err_hint(err, "quantize mixed bits<=%.2f", bits);
	}
	str_bytes(least, sizeof least, (double)(x->cost + beside));
	err_set(err, PARE_EUSER, "bytes: the least there is with widths=%s is "
	    "%s", arg_text(x->in->args, "widths"), least);
	return err_hint(err, "quantize mixed bytes<=%lld",
	    (long long)(x->cost + beside));
}

static enum pare_rc
choose(struct mixed *x, int64_t *beside, struct pare_err *err)
{
	struct choose_thing *thing = xcalloc((size_t)x->n, sizeof *thing);
	enum pare_rc rc;
	bool any = false;

	find_budget(x, beside);
	for (int i = 0; i < x->n; i++)
		thing[i] = (struct choose_thing){ x->unit[i].n,
			x->unit[i].option };
	rc = choose_least(thing, x->n, x->budget, x->pick, &x->cost, &x->loss,
	    err);
	free(thing);
	if (rc == PARE_OK && x->cost > x->budget)
		return too_little(x, *beside, err);
	for (int i = 0; i < x->n; i++)
		any = any || x->unit[i].bits[x->pick[i]] != 0;
	if (rc != PARE_OK || any)
		return rc;
	err_set(err, PARE_EUSER, "%s: nothing has to be coded for that",
	    arg_get(x->in->args, "bits")->has ? "bits" : "bytes");
	return err_hint(err, "the matrices take %.4g bits a weight now",
	    8 * (double)x->before / (double)x->weights);
}

struct job {
	const struct mixed *x;
	int bits;
};

static struct tensor *
code_one(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct job *j = arg;
	struct quant_spec spec = spec_for(j->x, t, j->bits);

	return tensor_quantize(t, &spec, ctx, err);
}

static int
unit_of(const struct mixed *x, int slot)
{
	int u = 0;

	while (x->unit[u].slot != x->slots.first[slot])
		u++;
	return u;
}

static enum pare_rc
map_slots(struct mixed *x, struct edit *e, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < x->slots.n && rc == PARE_OK; i++) {
		int u = unit_of(x, i);
		struct job j = { x, x->unit[u].bits[x->pick[u]] };

		if (!task_tick(x->in->task, i + x->slots.n, 2.0 * x->slots.n,
		    "matrices"))
			return task_error(err);
		if (j.bits > 0)
			rc = edit_map(e, x->slots.ref[i], (uint64_t)j.bits,
			    code_one, &j, err);
	}
	return rc;
}

/* ---- what is told ---- */

/* "L0 q 4 k 4 v 3; L1 ...": bits of each matrix; - is as it is. */
static void
note_bits(const struct mixed *x, struct str *note)
{
	int layer = -2;

	for (int i = 0; i < x->slots.n; i++) {
		struct slot_ref ref = x->slots.ref[i];
		int u = unit_of(x, i), bits = x->unit[u].bits[x->pick[u]];
		char path[64], *name = path, *end;

		if (x->slots.first[i] != i)
			continue;
		model_slot_path(ref, path, sizeof path);
		end = strrchr(path, '.');
		if (end != NULL && strcmp(end, ".weight") == 0)
			*end = '\0';
		if (ref.layer >= 0 && (end = strrchr(path, '.')) != NULL)
			name = end + 1;
		if (ref.layer >= 0 && ref.layer != layer)
			str_addf(note, "%sL%d", layer == -2 ? "" : "; ",
			    ref.layer);
		else if (ref.layer < 0 && layer != -2)
			str_add(note, ";");
		str_addf(note, ref.layer < 0 && layer == -2 ? "%s " : " %s ",
		    name);
		str_addf(note, bits > 0 ? "%d" : "-", bits);
		layer = ref.layer;
	}
}

/* The sum of losses with the same width everywhere, the widest that fits. */
static bool
same_width(const struct mixed *x, int *bits, double *loss)
{
	*bits = 0;
	for (int k = 0; k < x->nwidths; k++) {
		int64_t cost = 0;
		double sum = 0;

		for (int i = 0; i < x->n; i++) {
			const struct unit *u = &x->unit[i];
			int o = 0;

			while (u->bits[o] != x->width[k] && o < u->n - 1)
				o++;
			cost += u->option[o].cost;
			sum += u->option[o].loss;
		}
		if (cost <= x->budget && x->width[k] > *bits) {
			*bits = x->width[k];
			*loss = sum;
		}
	}
	return *bits > 0;
}

static void
tell(const struct mixed *x, const struct edit *e, int64_t beside,
    struct str *note)
{
	char told[32], is[32];
	struct totals t;
	double loss;
	int bits;

	note_bits(x, note);
	account_totals(e->m, 1, false, &t);
	str_bytes(told, sizeof told, (double)(x->cost + beside));
	str_bytes(is, sizeof is, (double)t.bytes);
	ops_note(note, "%.3g bits a weight; %s predicted, %s now",
	    8 * (double)x->cost / (double)x->weights, told, is);
	if (!x->in->model->ghost && same_width(x, &bits, &loss))
		ops_note(note, "sum of losses %.3g; %.3g with %d bits "
		    "everywhere, which would fit", x->loss, loss, bits);
	if (x->by == BY_HESSIAN && !x->in->model->ghost)
		ops_note(note, "eigenvalues of %lld calib samples, to about 5 "
		    "%%", (long long)x->in->calib->hessian->bent);
	if (x->unknown > 0)
		ops_note(note, "the calib samples say nothing of %d matrices: "
		    "%s", x->unknown, x->by == BY_HESSIAN ?
		    "they count as the steepest" :
		    "they are judged by their weights alone");
	if (x->single > 0)
		ops_note(note, "%d matrices have a scale a row: %lld does not "
		    "divide their columns", x->single, (long long)x->group);
	if (x->fixed > 0)
		ops_note(note, "%d matrices were packed before and stay as "
		    "they are", x->fixed);
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct mixed x = { .in = in };
	enum pare_rc rc = ops_what_read(in, &x.what, err);
	int64_t beside = 0;

	if (rc == PARE_OK)
		rc = read_line(&x, err);
	if (rc == PARE_OK)
		rc = list_units(&x, err);
	if (rc == PARE_OK)
		rc = choose(&x, &beside, err);
	if (rc == PARE_OK)
		rc = map_slots(&x, e, err);
	if (rc == PARE_OK) {
		tell(&x, e, beside, note);
		ops_note_unshared(e, note);
	}
	ops_what_free(&x.what);
	ops_slots_free(&x.slots);
	free(x.unit);
	free(x.pick);
	return rc;
}

/* In the order of enum by. */
static const char *const ways[] = { "error", "weights", "fisher",
    "hessian", "sweep", NULL };
/* In the order of enum quant_scheme. */
static const char *const scheme[] = { "symmetric", "affine", "kmeans", NULL };
static const char *const activations[] = { "int8", "float", NULL };

static unsigned
needs(const struct arg_list *args_of)
{
	static const unsigned of[] = { [BY_ERROR] = OP_NEED_GRAM_ALL,
		[BY_FISHER] = OP_NEED_GRAM_ALL | OP_NEED_SQUARES,
		[BY_HESSIAN] = OP_NEED_HESSIAN, [BY_SWEEP] = OP_NEED_SWEEP };

	return of[arg_get(args_of, "by")->i];
}

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT, .dflt = "all",
	    .text = "matrices that may be coded (L*.ffn, emb.word)" },
	{ .name = "bytes", .type = ARG_LIMIT, .unit = "bytes",
	    .text = "of the whole model, at most: 20M, or a share of what it "
	    "has now as 25% or 4x" },
	{ .name = "bits", .type = ARG_REAL, .flags = ARG_BOUND, .min = 1,
	    .max = 32, .unit = "bits", .text = "a weight, at most, on the average of the "
	    "target, scales counted" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "error", .choices = ways,
	    .text = "what a width is held to cost: the error of outputs or of "
	    "weights, a rise of the loss by squared gradients or the Hessian, "
	    "or what sweep bits measured" },
	{ .name = "widths", .type = ARG_TEXT, .dflt = "2,3,4,8",
	    .text = "bits to choose from, 1 to 8, joined by commas" },
	{ .name = "group", .type = ARG_TEXT, .dflt = "row",
	    .text = "weights that share a scale: row, or N columns where that "
	    "divides them" },
	{ .name = "scheme", .type = ARG_CHOICE, .dflt = "symmetric",
	    .choices = scheme, .text = "which values the codes stand for" },
	{ .name = "activations", .type = ARG_CHOICE, .dflt = "int8",
	    .choices = activations, .text = "what the codes are multiplied "
	    "with" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"quantize mixed bits<=6 by=weights",
	"quantize mixed L*.ffn bits<=5 by=weights widths=3,4,8",
	NULL
};

const struct op op_quantize_mixed = {
	.verb = "quantize",
	.method = "mixed",
	.title = "Quantize with mixed bits",
	.help = "Give each matrix bits of its own, for a number of bytes.\n"
	    "Each matrix of the target is tried with each of the widths, and "
	    "those are taken whose losses sum up to the least within bytes<= "
	    "(of the whole model) or bits<= (a weight, on the average). A matrix "
	    "may stay as it is.\n"
	    "by=error takes the error of the outputs that the calib samples "
	    "tell, as a share of them; by=weights that of the weights, without "
	    "samples; by=fisher about what the loss rises by, from inputs and "
	    "squared gradients; by=hessian the largest eigenvalue of the matrix's block "
	    "of the Hessian (power iteration on some two dozen samples, mean "
	    "plus deviation over three parts of them) times the mean squared rounding error; by=sweep what `sweep bits` "
	    "measured with each matrix coded alone: give that line first, with "
	    "bits= as widths= here.\n"
	    "The line tells the bits of each matrix, the bytes predicted and "
	    "those that came out, and what the same width everywhere would "
	    "lose. A budget that cannot be met is refused with the nearest that "
	    "can. scheme, group and activations are those of quantize.",
	.examples = examples,
	.args = args,
	.flags = 0,
	.run = run,
	.needs = needs
};
