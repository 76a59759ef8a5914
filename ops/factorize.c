/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * factorize: a matrix as the product of two thin ones.
 *
 * The truncated SVD is the nearest matrix of its rank in the L2 sense (Eckart
 * and Young 1936). rank=k says it outright; energy=F takes the smallest k for
 * which the first k squared singular values add up to F of all; ratio=F the
 * largest k for which k (rows + cols) is at most F rows cols. It pays below the
 * break-even rank rows cols / (rows + cols) only.
 *
 * With a method that looks at the calib samples the same holds in a metric of
 * its own (ops/weighing.h). allocate=error gives all matrices together the
 * parameters of ratio=F and spreads the ranks so that the sum of their relative
 * errors, which the singular values tell beforehand, is least (ops/choose.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ops/choose.h"
#include "ops/common.h"
#include "ops/weighing.h"
#include "ops/table.h"

/* What a matrix becomes. */
struct cut {
	struct factor *f;
	int64_t rank;		/* 0: left as it is */
};

struct factor {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	struct cut *cut;	/* per slot */
	enum weighing_kind method;
	bool force, allocate;
	int used, left;
	int whole;		/* left by the allocation */
	/* Squared errors of the outputs, of matrices whose inputs were seen. */
	double plain, after, energy;
	int measured, worse, unseen;
	char first_left[64];
	struct pare_err why;	/* of the first that was left */
};

static enum pare_rc
read_size(const struct factor *f, struct pare_err *err)
{
	const struct arg_list *a = f->in->args;
	int given = arg_get(a, "rank")->has + arg_get(a, "energy")->has +
	    arg_get(a, "ratio")->has;

	if (given == 1)
		return PARE_OK;
	err_set(err, PARE_EUSER, given == 0 ?
	    "rank: missing: give one of rank=, energy=, ratio=" :
	    "rank, energy, ratio: give one of them, not %d", given);
	return err_hint(err, "factorize %s ratio=50%%", f->what.target);
}

/* What the form of a matrix has against it; PARE_OK: nothing. */
static enum pare_rc
check_form(const struct tensor *t, const char *path, struct pare_err *err)
{
	if (t->form == FORM_LOWRANK) {
		err_set(err, PARE_EUSER, "%s is low rank already (%lld)", path,
		    (long long)tensor_rank(t));
		return err_hint(err, "undo, then factorize with the rank you "
		    "want");
	}
	if (t->form == FORM_BITMAP || t->form == FORM_INDEX) {
		err_set(err, PARE_EUSER, "%s is sparse: its factors would be "
		    "dense again", path);
		return err_hint(err, "factorize first; single weights of a "
		    "product cannot be pruned");
	}
	if (t->form == FORM_INT || t->form == FORM_TABLE) {
		err_set(err, PARE_EUSER, "%s is packed", path);
		return err_hint(err, "factorize before quantizing: undo, "
		    "factorize, then quantize the factors");
	}
	if (t->form == FORM_SUM || t->form == FORM_SCALED) {
		err_set(err, PARE_EUSER, "%s is made of two tensors", path);
		return err_hint(err, "factorize before: undo, factorize, then "
		    "quantize or share");
	}
	if (t->form == FORM_BLOCK) {
		err_set(err, PARE_EUSER, "%s lies in blocks of a GGUF file",
		    path);
		return err_hint(err, "make it floats before: quantize all "
		    "bits=16");
	}
	return PARE_OK;
}

/* The singular values of t in the metric of the method, and its scale. */
static enum pare_rc
spectrum_of(const struct factor *f, const struct tensor *t, float **s,
    int64_t *n, double *scale, struct pare_err *err)
{
	struct weighing m;
	enum pare_rc rc = weighing_of(f->in, t, f->method, &m, err);

	if (rc != PARE_OK)
		return rc;
	rc = tensor_spectrum_by(t, weighing_by(&m), s, n, f->in->task, err);
	*scale = m.scale;
	weighing_free(&m);
	return rc;
}

/* The smallest k that keeps `energy` of the squared spectrum. */
static enum pare_rc
rank_of_energy(const struct factor *f, const struct tensor *t, double energy,
    int64_t *rank, struct pare_err *err)
{
	double total = 0, sum = 0, scale;
	enum pare_rc rc;
	float *s;
	int64_t n;

	rc = spectrum_of(f, t, &s, &n, &scale, err);
	if (rc != PARE_OK)
		return rc;
	for (int64_t i = 0; i < n; i++)
		total += (double)s[i] * s[i];
	*rank = 0;
	while (*rank < n && (*rank == 0 || sum < energy * total)) {
		sum += (double)s[*rank] * s[*rank];
		++*rank;
	}
	free(s);
	return PARE_OK;
}

static enum pare_rc
find_rank(const struct factor *f, const struct tensor *t, int64_t *rank,
    struct pare_err *err)
{
	const struct arg_list *a = f->in->args;
	double full = (double)t->rows * (double)t->cols;

	if (arg_get(a, "rank")->has) {
		*rank = arg_int(a, "rank");
	} else if (f->allocate) {
		*rank = 1;
	} else if (arg_get(a, "ratio")->has) {
		*rank = (int64_t)(arg_real(a, "ratio") * full /
		    (double)(t->rows + t->cols));
		*rank = *rank < 1 ? 1 : *rank;
	} else if (t->ghost) {
		err_set(err, PARE_EUSER, "energy: needs the singular values, "
		    "and this model is a configuration alone");
		return err_hint(err, "use rank= or ratio=");
	} else {
		return rank_of_energy(f, t, arg_real(a, "energy"), rank, err);
	}
	return PARE_OK;
}

static enum pare_rc
check_rank(const struct factor *f, const struct tensor *t, int64_t rank,
    const char *path, struct pare_err *err)
{
	int64_t least = t->rows < t->cols ? t->rows : t->cols;
	int64_t even = tensor_break_even_rank(t);

	if (rank > least) {
		err_set(err, PARE_EUSER, "rank: %lld is more than %s (%lld x "
		    "%lld) can have", (long long)rank, path,
		    (long long)t->rows, (long long)t->cols);
		return err_hint(err, "at most rank=%lld; smaller below %lld",
		    (long long)least, (long long)even + 1);
	}
	if (rank <= even || f->force)
		return PARE_OK;
	err_set(err, PARE_EUSER, "rank: %s would grow at rank %lld; the last "
	    "rank that saves is %lld", path, (long long)rank, (long long)even);
	if (even < 1)
		return err_hint(err, "leave %s out: no rank makes it smaller",
		    path);
	return err_hint(err, "rank=%lld or less, or force=on",
	    (long long)even);
}

/* Decides slot i. With `all`, what cannot be factorized is left as it is. */
static enum pare_rc
decide_slot(struct factor *f, int i, struct pare_err *err)
{
	const struct tensor *t = model_slot(f->in->model, f->slots.ref[i]);
	struct pare_err why = { 0 };
	enum pare_rc rc;
	char path[64];

	if (f->slots.first[i] != i) {
		f->cut[i] = f->cut[f->slots.first[i]];
		return PARE_OK;
	}
	model_slot_path(f->slots.ref[i], path, sizeof path);
	if ((rc = check_form(t, path, &why)) == PARE_OK &&
	    (rc = find_rank(f, t, &f->cut[i].rank, &why)) == PARE_OK)
		rc = check_rank(f, t, f->cut[i].rank, path, &why);
	if (rc == PARE_OK) {
		f->used++;
		return PARE_OK;
	}
	if (rc == PARE_EUSER && f->what.sel.all) {
		f->cut[i].rank = 0;
		if (f->left++ == 0) {
			memcpy(f->first_left, path, sizeof path);
			f->why = why;
		}
		return PARE_OK;
	}
	*err = why;
	return rc;
}

/* ---- ranks for all matrices together ---- */

/* Options of one matrix: rank k at index k - 1, the matrix itself last. Losses
 * are rises of the loss where the method tells them, else shares of the whole. */
static enum pare_rc
list_options(struct factor *f, int i, struct choose_thing *out,
    struct pare_err *err)
{
	const struct tensor *t = model_slot(f->in->model, f->slots.ref[i]);
	int64_t even = tensor_break_even_rank(t), n;
	struct choose_option *o;
	double left = 0, all, scale;
	float *s;
	enum pare_rc rc = spectrum_of(f, t, &s, &n, &scale, err);

	if (rc != PARE_OK)
		return rc;
	even = even < n ? even : n;
	o = xcalloc((size_t)even + 1, sizeof *o);
	for (int64_t k = 0; k < n; k++)
		left += (double)s[k] * s[k];
	all = scale > 0 ? 1 / scale : left > 0 ? left : 1;
	for (int64_t k = 0; k < even; k++) {
		left -= (double)s[k] * s[k];
		o[k] = (struct choose_option){ (k + 1) * (t->rows + t->cols),
			left > 0 ? left / all : 0 };
	}
	o[even].cost = t->rows * t->cols;
	*out = (struct choose_thing){ (int)even + 1, o };
	free(s);
	return PARE_OK;
}

static enum pare_rc
too_little(const struct factor *f, int64_t least, int64_t full,
    struct pare_err *err)
{
	double share = 100.0 * (double)least / (double)full;

	err_set(err, PARE_EUSER, "ratio: rank 1 everywhere takes %.2g %% of "
	    "the parameters already", share);
	return err_hint(err, "factorize %s ratio=%.3g%% allocate=error",
	    f->what.target, share * 1.01 + 0.01);
}

/* The choice into the cuts. */
static enum pare_rc
take_choice(struct factor *f, const struct choose_thing *thing,
    const int *slot, int n, int64_t full, struct pare_err *err)
{
	int64_t budget = (int64_t)(arg_real(f->in->args, "ratio") *
	    (double)full), cost;
	int *pick = xcalloc((size_t)n + 1, sizeof *pick);
	double loss;
	enum pare_rc rc = choose_least(thing, n, budget, pick, &cost, &loss,
	    err);

	if (rc == PARE_OK && cost > budget)
		rc = too_little(f, cost, full, err);
	for (int k = 0; k < n && rc == PARE_OK; k++) {
		bool whole = pick[k] == thing[k].n - 1;

		f->cut[slot[k]].rank = whole ? 0 : pick[k] + 1;
		f->whole += whole;
	}
	free(pick);
	return rc;
}

static enum pare_rc
allocate(struct factor *f, struct pare_err *err)
{
	size_t room = (size_t)f->slots.n + 1;
	struct choose_thing *thing = xcalloc(room, sizeof *thing);
	int *slot = xcalloc(room, sizeof *slot), n = 0;
	enum pare_rc rc = PARE_OK;
	int64_t full = 0;

	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++) {
		const struct tensor *t = model_slot(f->in->model,
		    f->slots.ref[i]);

		if (f->slots.first[i] != i || f->cut[i].rank == 0)
			continue;
		if (!task_tick(f->in->task, i, 2.0 * f->slots.n, "matrices"))
			rc = task_error(err);
		else if ((rc = list_options(f, i, &thing[n], err)) == PARE_OK)
			slot[n++] = i;
		full += t->rows * t->cols;
	}
	if (rc == PARE_OK)
		rc = take_choice(f, thing, slot, n, full, err);
	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++)
		f->cut[i].rank = f->cut[f->slots.first[i]].rank;
	for (int k = 0; k < n; k++)
		free((void *)(uintptr_t)thing[k].option);
	free(thing);
	free(slot);
	return rc;
}

/* ---- the op ---- */

/* What the method and allocate= ask for. */
static enum pare_rc
read_method(struct factor *f, bool estimate, struct pare_err *err)
{
	const struct op_input *in = f->in;
	const char *how = arg_choice(in->args, "method");
	char what[40];

	f->method = (enum weighing_kind)arg_get(in->args, "method")->i;
	f->allocate = strcmp(arg_choice(in->args, "allocate"), "error") == 0;
	f->force = arg_get(in->args, "force")->i != 0;
	if (f->allocate && !arg_get(in->args, "ratio")->has) {
		err_set(err, PARE_EUSER, "allocate: error spreads the "
		    "parameters that ratio= gives to all matrices together");
		return err_hint(err, "factorize %s ratio=50%% allocate=error",
		    f->what.target);
	}
	if (f->allocate && in->model->ghost) {
		err_set(err, PARE_EUSER, "allocate: needs the singular "
		    "values, and this model is a configuration alone");
		return err_hint(err, "use rank= or ratio=");
	}
	if (f->method == WEIGHING_SVD || (in->calib != NULL &&
	    in->calib->statistics != NULL))
		return PARE_OK;
	/* Sizes alone do not ask for samples. */
	if (estimate && !f->allocate && !arg_get(in->args, "energy")->has)
		return PARE_OK;
	snprintf(what, sizeof what, "method=%s", how);
	return score_missing(what, err);
}

static enum pare_rc
decide(struct factor *f, bool estimate, struct pare_err *err)
{
	enum pare_rc rc = ops_what_read(f->in, &f->what, err);

	if (rc == PARE_OK)
		rc = read_size(f, err);
	if (rc == PARE_OK)
		rc = read_method(f, estimate, err);
	if (rc != PARE_OK)
		return rc;
	ops_slots_of(f->in->model, &f->what.sel, OPS_MATRICES, &f->slots);
	f->cut = xcalloc((size_t)f->slots.n + 1, sizeof *f->cut);
	if (f->slots.n == 0) {
		err_set(err, PARE_EUSER, "target: '%s' has no matrices",
		    f->what.target);
		return err_hint(err, "name matrices as L0.q, L*.ffn, emb.word");
	}
	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++) {
		if (!task_tick(f->in->task, i, 2.0 * f->slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = decide_slot(f, i, err);
	}
	if (rc == PARE_OK && f->used == 0) {
		*err = f->why;
		rc = PARE_EUSER;
	}
	if (rc == PARE_OK && f->allocate)
		rc = allocate(f, err);
	return rc;
}

/* What the outputs lose by `made` and by the plain method; the better of the two
 * where the outputs are what the method is after. Consumes made. */
static enum pare_rc
compare(struct factor *f, const struct tensor *t, const struct weighing *m,
    const struct transform_ctx *ctx, struct tensor **made,
    struct pare_err *err)
{
	struct tensor *plain = tensor_factorize(t, tensor_rank(*made), ctx,
	    err);
	double was, is, all;
	enum pare_rc rc;

	if (plain == NULL)
		return err->rc;
	rc = inputs_change(&m->inputs, t, plain, ctx->task, &was, err);
	if (rc == PARE_OK)
		rc = inputs_change(&m->inputs, t, *made, ctx->task, &is, err);
	if (rc == PARE_OK)
		rc = inputs_change(&m->inputs, t, NULL, ctx->task, &all, err);
	if (rc == PARE_OK) {
		bool keep = is < was || f->method == WEIGHING_FISHER;

		f->measured++;
		f->worse += !(is < was);
		f->plain += was;
		f->after += keep ? is : was;
		f->energy += all;
		if (!keep) {
			struct tensor *swap = *made;

			*made = plain;
			plain = swap;
		}
	}
	tensor_unref(plain);
	return rc;
}

static struct tensor *
factorize_one(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct cut *cut = arg;
	struct factor *f = cut->f;
	struct tensor *made;
	struct weighing m;

	if (f->method == WEIGHING_SVD || ctx->estimate || t->ghost)
		return tensor_factorize(t, cut->rank, ctx, err);
	if (weighing_of(f->in, t, f->method, &m, err) != PARE_OK)
		return NULL;
	made = tensor_factorize_by(t, cut->rank, weighing_by(&m), ctx, err);
	f->unseen += !m.made;
	if (made != NULL && m.made && m.inputs.h != NULL &&
	    compare(f, t, &m, ctx, &made, err) != PARE_OK) {
		tensor_unref(made);
		made = NULL;
	}
	weighing_free(&m);
	return made;
}

static enum pare_rc
map_slots(struct factor *f, struct edit *e, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++) {
		char path[64];

		if (!task_tick(f->in->task, i + f->slots.n, 2.0 * f->slots.n,
		    "matrices"))
			return task_error(err);
		if (f->cut[i].rank == 0)
			continue;
		f->cut[i].f = f;
		rc = edit_map(e, f->slots.ref[i], (uint64_t)f->cut[i].rank,
		    factorize_one, &f->cut[i], err);
		model_slot_path(f->slots.ref[i], path, sizeof path);
		if (rc == PARE_EUSER)
			return err_prefix(err, "%s", path);
	}
	return rc;
}

/* The ranks that were given out. */
static void
note_ranks(const struct factor *f, struct str *note)
{
	int64_t least = INT64_MAX, most = 0;

	for (int i = 0; i < f->slots.n; i++) {
		int64_t k = f->cut[i].rank;

		least = k > 0 && k < least ? k : least;
		most = k > most ? k : most;
	}
	if (most > 0)
		ops_note(note, "ranks from %lld to %lld; %d matrices stay "
		    "whole", (long long)least, (long long)most, f->whole);
}

static void
note_errors(const struct factor *f, struct str *note)
{
	const char *name = weighing_names[f->method];

	if (f->energy > 0)
		ops_note(note, "output error of %d matrices %.3g %% by plain "
		    "svd, %.3g %% now", f->measured,
		    100 * f->plain / f->energy, 100 * f->after / f->energy);
	if (f->worse > 0)
		ops_note(note, f->method == WEIGHING_FISHER ?
		    "%d of them lose no less than by plain svd" :
		    "%d of them have the factors of plain svd, which lose no "
		    "more", f->worse);
	if (f->unseen > 0)
		ops_note(note, "%s did nothing for %d matrices: the calib "
		    "samples say nothing of them", name, f->unseen);
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct factor f = { .in = in };
	enum pare_rc rc = decide(&f, e->ctx.estimate, err);

	if (rc == PARE_OK)
		rc = map_slots(&f, e, err);
	if (rc == PARE_OK && f.left > 0)
		ops_note(note, "%d of %d matrices (%s%s) stay as they are: "
		    "they cannot be factorized or would grow", f.left,
		    f.left + f.used, f.first_left, f.left > 1 ? ", ..." : "");
	if (rc == PARE_OK && f.allocate)
		note_ranks(&f, note);
	if (rc == PARE_OK)
		note_errors(&f, note);
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	ops_what_free(&f.what);
	ops_slots_free(&f.slots);
	free(f.cut);
	return rc;
}

static unsigned
needs(const struct arg_list *args_of)
{
	return weighing_needs((enum weighing_kind)arg_get(args_of, "method")->i);
}

static const char *const allocations[] = { "even", "error", NULL };

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "matrices (L*.ffn, emb.word), or `all` that get smaller" },
	{ .name = "rank", .type = ARG_INT, .min = 1, .max = 1000000,
	    .text = "inner size of the product" },
	{ .name = "energy", .type = ARG_REAL, .min = 0.001, .max = 1,
	    .text = "share of the squared singular values to keep" },
	{ .name = "ratio", .type = ARG_REAL, .min = 0.001, .max = 1,
	    .text = "share of the parameters to keep" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "svd",
	    .choices = weighing_names, .text = "by what the factors are best" },
	{ .name = "allocate", .type = ARG_CHOICE, .dflt = "even",
	    .choices = allocations, .text = "ratio= for each matrix, or for "
	    "all together so that the sum of errors is least" },
	{ .name = "force", .type = ARG_BOOL, .dflt = "off",
	    .text = "also where the product is larger than the matrix" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"factorize L*.ffn ratio=50%",
	"factorize emb.word rank=2",
	"factorize all ratio=0.6",
	NULL
};

const struct op op_factorize = {
	.verb = "factorize",
	.method = NULL,
	.title = "Factorize (low rank)",
	.help = "Replace a matrix by the product of two thin ones.\n"
	    "W (rows x cols) becomes A (rows x k) times B (k x cols), from the "
	    "SVD W = U S V: A = U sqrt(S), B = sqrt(S) V cut to the first k, "
	    "the nearest there is of rank k. Give k as rank=, as energy= (the "
	    "share of the squared singular values that stays) or as ratio= "
	    "(the share of the parameters that stays).\n"
	    "Parameters, bytes and multiply-adds become k (rows + cols); above "
	    "the break-even rank rows cols / (rows + cols) they would grow, "
	    "which is refused unless force=on. The word embedding becomes "
	    "V x E and E x H, and a decoder tied to it stays tied. Factorize "
	    "before quantizing; pruned (sparse) matrices cannot be factorized.\n"
	    "method=svd looks at the matrix alone. The others look at the calib "
	    "samples: asvd scales columns by the size of their inputs, "
	    "whitened takes the second moment of the inputs and so loses the "
	    "least of the outputs, fisher weighs the outputs by the squared "
	    "gradients of the loss as well. Each reports the error of the "
	    "outputs beside that of the plain method. allocate=error gives "
	    "ratio= to all matrices together: each singular value that is kept "
	    "must pay for its parameters, and a matrix that is worth it stays "
	    "whole.",
	.examples = examples,
	.args = args,
	.flags = 0,
	.run = run,
	.needs = needs
};
