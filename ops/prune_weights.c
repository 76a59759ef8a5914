/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune weights: single weights to zero, stored sparsely (Han et al., "Learning
 * both weights and connections", NeurIPS 2015; N:M after Mishra et al.,
 * "Accelerating sparse deep neural networks", 2021). pick_weights.c chooses,
 * sparsegpt.c chooses and moves. What looks at the calib samples is compared
 * with by=magnitude in the same scope.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/pick_weights.h"
#include "ops/table.h"
#include "tensor/form.h"

static void
weights_free(struct pick *w)
{
	ops_what_free(&w->what);
	ops_slots_free(&w->slots);
	pick_free(w);
}

static bool
usable(const struct pick *w, struct slot_ref ref)
{
	const struct model *m = w->in->model;

	if (w->what.target != NULL)
		return true;
	return !ops_is_embedding(ref.slot) &&
	    model_slot(m, ref)->form != FORM_LOWRANK &&
	    !ops_is_embedding(model_owner(m, ref).slot);
}

static enum pare_rc
list_items(struct pick *w, struct pare_err *err)
{
	const struct model *m = w->in->model;
	int used = 0;

	ops_slots_of(m, &w->what.sel, OPS_MATRICES, &w->slots);
	w->item = xcalloc((size_t)w->slots.n + 1, sizeof *w->item);
	for (int i = 0; i < w->slots.n; i++) {
		struct slot_ref ref = w->slots.ref[i];
		struct pick_item *it = &w->item[w->n];

		if (!usable(w, ref))
			continue;
		w->slots.ref[used++] = ref;
		if (w->slots.first[i] != i)
			continue;
		it->t = model_slot(m, ref);
		it->ref = ref;
		it->n = it->t->rows * it->t->cols;
		it->seed = rng_derive(w->in->seed, (uint64_t)w->n);
		w->n++;
	}
	w->slots.n = used;
	if (w->n > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: %s%s%s names no weight matrices that "
	    "can be pruned", w->what.target == NULL ? "" : "'",
	    w->what.target == NULL ? "the model" : w->what.target,
	    w->what.target == NULL ? "" : "'");
	return err_hint(err, "biases and norms are never pruned; name matrices "
	    "as L0.q, L*.ffn, emb.word");
}

/* Refuses low rank by name; tensor_sparsify() knows no path. */
static enum pare_rc
check_forms(const struct pick *w, struct pare_err *err)
{
	char path[64];

	for (int i = 0; i < w->n; i++) {
		if (w->item[i].t->form != FORM_LOWRANK)
			continue;
		model_slot_path(w->item[i].ref, path, sizeof path);
		err_set(err, PARE_EUSER, "%s is low rank: single weights of "
		    "the product cannot be zeroed", path);
		return err_hint(err, "prune weights before factorizing, or "
		    "leave %s out", path);
	}
	return PARE_OK;
}

/* "2:4" into keep and group; "free" leaves them 0. */
static enum pare_rc
read_pattern(struct pick *w, struct pare_err *err)
{
	const char *text = arg_text(w->in->args, "pattern");
	const char *colon = strchr(text, ':');
	char *left = colon == NULL ? NULL :
	    xstrndup(text, (size_t)(colon - text));
	int64_t n = 0, m = 0;
	bool ok = left != NULL && str_to_int(left, &n) &&
	    str_to_int(colon + 1, &m) && m >= 2 && m <= PICK_GROUP_MAX &&
	    n >= 1 && n < m;

	free(left);
	if (strcmp(text, "free") == 0)
		return PARE_OK;
	if (!ok) {
		err_set(err, PARE_EUSER, "pattern: '%.40s' is not free or N:M "
		    "with 1 <= N < M <= %d", text, PICK_GROUP_MAX);
		return err_hint(err, "pattern=2:4 keeps 2 of each 4 weights of "
		    "a row");
	}
	w->keep = (int)n;
	w->group = (int)m;
	return PARE_OK;
}

static enum pare_rc
check_amount(const struct pick *w, struct pare_err *err)
{
	const struct ops_what *what = &w->what;
	double share = w->group == 0 ? 0 : 1 - (double)w->keep / w->group;

	if (w->group == 0 && !what->has_amount) {
		err_set(err, PARE_EUSER, "amount: missing: which share of the "
		    "weights shall be zero");
		return err_hint(err, "prune weights 50%%, or pattern=2:4");
	}
	if (w->group == 0 || !what->has_amount ||
	    (what->amount.is_share && what->amount.d > share - 0.005 &&
	    what->amount.d < share + 0.005))
		return PARE_OK;
	err_set(err, PARE_EUSER, "amount: pattern=%d:%d prunes %.4g %% and "
	    "leaves no other amount", w->keep, w->group, 100 * share);
	return err_hint(err, "leave the amount out, or use pattern=free");
}

/* The error of w->mask's choice from v, in *out; q is spoilt. */
static enum pare_rc
error_of(const struct pick *w, const struct inputs *x,
    const struct pick_item *it, const float *v, float *q, double *out,
    struct pare_err *err)
{
	for (int64_t i = 0; i < it->n; i++)
		q[i] = w->mask[i] != 0 ? v[i] : 0;
	return inputs_error(x, v, q, it->t->rows, false, out, err);
}

/* Makes what the mask of magnitudes would be, then the wanted one, which stays
 * in w->mask; sparsegpt's weights into q. All errors go to the tally. */
static enum pare_rc
compare(struct pick *w, const struct inputs *x,
    const struct pick_item *it, const float *v, float *q,
    struct pare_err *err)
{
	struct sparsegpt s = pick_sparsegpt(w, it);
	double energy, was, is;
	enum pare_rc rc = inputs_error(x, v, NULL, it->t->rows, false,
	    &energy, err);

	w->plain = true;
	pick_mask(w, it, &it->plain);
	w->plain = false;
	if (rc == PARE_OK)
		rc = error_of(w, x, it, v, q, &was, err);
	if (rc == PARE_OK && it->moves) {
		memcpy(q, v, (size_t)it->n * sizeof *q);
		rc = sparsegpt_solve(&s, x->h, q, w->mask, err);
		if (rc == PARE_OK)
			rc = inputs_error(x, v, q, it->t->rows, false, &is,
			    err);
	} else if (rc == PARE_OK) {
		pick_mask(w, it, &it->cut);
		rc = error_of(w, x, it, v, q, &is, err);
	}
	if (rc != PARE_OK)
		return rc;
	w->tally.energy += energy;
	w->tally.plain += was;
	w->tally.now += is;
	w->tally.done++;
	return PARE_OK;
}

/* The moved weights in the float form of t, without those that go. */
static struct tensor *
moved(const struct pick *w, const struct pick_item *it, const float *q,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *full, *cast, *out = NULL;
	float *data;

	full = tensor_new_f32(2, it->t->rows, it->t->cols, &data, err);
	if (full == NULL)
		return NULL;
	memcpy(data, q, (size_t)it->n * sizeof *data);
	cast = tensor_cast(full, it->t->values, ctx, err);
	if (cast != NULL)
		out = tensor_sparsify(cast, w->mask, it->cut.kept, ctx, err);
	tensor_unref(cast);
	tensor_unref(full);
	return out;
}

/* With the moments of the inputs. */
static struct tensor *
sparsify_seen(struct pick *w, const struct pick_item *it,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	float *v = mem_big(2 * (size_t)it->n, sizeof *v, err), *q;
	struct tensor *out = NULL;
	struct inputs x;

	if (v == NULL || inputs_of(w->in, it->t, &x, err) != PARE_OK) {
		free(v);
		return NULL;
	}
	q = v + it->n;
	tensor_decode(it->t, 0, it->t->rows, v);
	if (compare(w, &x, it, v, q, err) == PARE_OK)
		out = it->moves ? moved(w, it, q, ctx, err) :
		    tensor_sparsify(it->t, w->mask, it->cut.kept, ctx, err);
	inputs_free(&x);
	free(v);
	return out;
}

static struct tensor *
sparsify(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct pick *w = arg;
	const struct pick_item *it = w->item;

	while (it->t != t)
		it++;
	if (it->cut.skip)
		return tensor_ref(t);
	if (ctx->estimate || t->ghost)
		return tensor_sparsify(t, NULL, it->cut.kept, ctx, err);
	if (it->moves || it->size != NULL)
		return sparsify_seen(w, it, ctx, err);
	pick_mask(w, it, &it->cut);
	return tensor_sparsify(t, w->mask, it->cut.kept, ctx, err);
}

static enum pare_rc
check_change(const struct pick *w, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++)
		if (!w->item[i].cut.skip)
			return PARE_OK;
	err_set(err, PARE_EUSER, "%s: so many of these weights are zero "
	    "already; zeros that are there count", w->group > 0 ? "pattern" :
	    "amount");
	return err_hint(err, "ask for a larger share");
}

static void
note_forms(const struct pick *w, const struct edit *e, struct str *note)
{
	int dense = 0, changed = 0;

	for (int i = 0; i < w->n; i++) {
		const struct tensor *t = edit_get(e, w->item[i].ref);

		changed += !w->item[i].cut.skip;
		dense += !w->item[i].cut.skip && t->form != FORM_BITMAP &&
		    t->form != FORM_INDEX;
	}
	if (dense > 0)
		ops_note(note, "%d of %d matrices are kept dense, with zeros "
		    "inside: neither sparse form is smaller", dense, changed);
}

/* Which way to choose, and what does not go together. */
static enum pare_rc
read_choice(struct pick *w, struct pare_err *err)
{
	const struct arg_list *a = w->in->args;
	const char *by = arg_choice(a, "by");

	w->random = strcmp(by, "random") == 0;
	w->wanda = strcmp(by, "wanda") == 0;
	w->sparsegpt = strcmp(arg_choice(a, "method"), "sparsegpt") == 0;
	w->scope = (enum pick_scope)arg_get(a, "scope")->i;
	if (!arg_get(a, "scope")->set)
		w->scope = w->sparsegpt ? PICK_MODULE : w->wanda ? PICK_ROW :
		    PICK_GLOBAL;
	if (w->sparsegpt && arg_get(a, "by")->set) {
		err_set(err, PARE_EUSER, "by: method=sparsegpt chooses by what "
		    "the loss of a weight costs, and by nothing else");
		return err_hint(err, "leave by= out, or use method=zero");
	}
	if (w->sparsegpt && w->scope != PICK_MODULE) {
		err_set(err, PARE_EUSER, "scope: method=sparsegpt takes the "
		    "same share from each matrix");
		return err_hint(err, "leave scope= out");
	}
	return PARE_OK;
}

/* Together with a pattern rows are cut into groups: no scope matters. */
static void
settle_scope(struct pick *w)
{
	if (w->group > 0)
		w->scope = PICK_MODULE;
}

/* What was gathered of an item's inputs: sizes for wanda, or that weights can
 * move. What was not is counted. */
static enum pare_rc
look_at(struct pick *w, struct pick_item *it, struct pare_err *err)
{
	struct inputs x;
	enum pare_rc rc;

	if (w->sparsegpt && !form_table[it->t->values].is_float) {
		w->tally.odd++;
		return PARE_OK;
	}
	rc = inputs_of(w->in, it->t, &x, err);
	if (rc != PARE_OK || x.h == NULL) {
		w->tally.unseen += rc == PARE_OK && !x.zero;
		w->tally.zero += rc == PARE_OK && x.zero;
		return rc;
	}
	it->moves = w->sparsegpt;
	it->size = w->wanda ? xcalloc((size_t)x.cols, sizeof *it->size) : NULL;
	for (int64_t c = 0; c < x.cols && w->wanda; c++)
		it->size[c] = (float)sqrt(x.h[c * (x.cols + 1)]);
	inputs_free(&x);
	return PARE_OK;
}

static enum pare_rc
look(struct pick *w, bool estimate, struct pare_err *err)
{
	const char *what = w->sparsegpt ? "method=sparsegpt" : "by=wanda";
	bool there = inputs_check(w->in, what, NULL) == PARE_OK;
	enum pare_rc rc = PARE_OK;

	if (!w->wanda && !w->sparsegpt)
		return PARE_OK;
	if (!there && !estimate)
		return inputs_check(w->in, what, err);
	for (int i = 0; i < w->n && rc == PARE_OK; i++)
		if (there)
			rc = look_at(w, &w->item[i], err);
		else
			w->item[i].moves = w->sparsegpt &&
			    form_table[w->item[i].t->values].is_float;
	w->tally.done = w->n - w->tally.odd - w->tally.unseen - w->tally.zero;
	if (rc == PARE_OK)
		rc = tally_any(&w->tally, what, err);
	w->tally.done = 0;
	return rc;
}

static enum pare_rc
decide(struct pick *w, bool real, bool estimate, struct pare_err *err)
{
	enum pare_rc rc;

	if ((rc = ops_what_read(w->in, &w->what, err)) != PARE_OK ||
	    (rc = read_choice(w, err)) != PARE_OK ||
	    (rc = read_pattern(w, err)) != PARE_OK ||
	    (rc = check_amount(w, err)) != PARE_OK ||
	    (rc = list_items(w, err)) != PARE_OK ||
	    (rc = check_forms(w, err)) != PARE_OK)
		return rc;
	settle_scope(w);
	if (real && ((rc = pick_scratch(w, err)) != PARE_OK ||
	    (rc = look(w, estimate, err)) != PARE_OK))
		return rc;
	if ((rc = pick_choose(w, real, err)) != PARE_OK)
		return rc;
	return check_change(w, err);
}

/* What came of looking at the calib samples. */
static void
note_seen(const struct pick *w, struct str *note)
{
	tally_note(&w->tally, "by magnitude", note);
	if (w->tally.done > 0 && w->tally.now >= w->tally.plain)
		ops_note(note, "by=magnitude would have been no worse");
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct pick w = { .in = in };
	bool real = ops_has_weights(in->model);
	enum pare_rc rc = decide(&w, real, e->ctx.estimate, err);

	for (int i = 0; i < w.slots.n && rc == PARE_OK; i++) {
		if (!task_tick(in->task, w.slots.n + 2.0 * i,
		    3.0 * w.slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = edit_map(e, w.slots.ref[i], 0, sparsify, &w, err);
	}
	if (rc == PARE_OK && !real && w.group == 0)
		ops_note(note, "no weights to look at: the same share was "
		    "assumed in each matrix");
	if (rc == PARE_OK) {
		if (!e->ctx.estimate && (w.wanda || w.sparsegpt))
			note_seen(&w, note);
		note_forms(&w, e, note);
		ops_note_unshared(e, note);
	}
	weights_free(&w);
	return rc;
}

static const char *const by[] = { "magnitude", "random", "wanda", NULL };
static const char *const method[] = { "zero", "sparsegpt", NULL };
/* In the order of enum pick_scope. */
static const char *const scope[] = { "global", "module", "row", NULL };

static unsigned
needs(const struct arg_list *list)
{
	return strcmp(arg_choice(list, "by"), "wanda") == 0 ||
	    strcmp(arg_choice(list, "method"), "sparsegpt") == 0 ?
	    OP_NEED_GRAM_ALL : 0;
}

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT, .flags = ARG_WORD,
	    .unit = "weights",
	    .text = "share or count of the weights reached that end up zero" },
	{ .name = "target", .type = ARG_TARGET, .flags = ARG_WORD | ARG_REPEAT,
	    .text = "matrices; without it those of all linear maps" },
	{ .name = "scope", .type = ARG_CHOICE, .dflt = "global",
	    .choices = scope,
	    .text = "the amount is of all matrices together, of each, or of "
	    "each row; row without it for by=wanda" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "magnitude", .choices = by,
	    .text = "which weights go first" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "zero",
	    .choices = method,
	    .text = "the weights that stay are as they were, or make up" },
	{ .name = "pattern", .type = ARG_TEXT, .dflt = "free",
	    .text = "free, or N:M to keep N of each M neighbours in a row" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune weights 50%",
	"prune weights 80% L*.ffn scope=module",
	"prune weights pattern=2:4",
	"prune weights 30% all by=random",
	NULL
};

const struct op op_prune_weights = {
	.verb = "prune",
	.method = "weights",
	.title = "Prune single weights",
	.help = "Set single weights to zero and store what is left sparsely.\n"
	    "The amount is the share of the weights reached that are zero "
	    "afterwards; weights pruned before count towards it. by=magnitude "
	    "zeroes the smallest |w|, by=random draws from the seed, "
	    "by=wanda takes |w| times the root mean square of its input; "
	    "scope=global compares all matrices with each other, scope=module "
	    "takes the amount from each, scope=row from each row. "
	    "method=sparsegpt takes the weights whose loss the others can "
	    "best make up for, block by block of columns, and lets them. "
	    "by=wanda and method=sparsegpt need calib samples and report the "
	    "error of the outputs against by=magnitude. "
	    "pattern=N:M keeps the N largest of "
	    "each M neighbours in a row (a shorter rest of a row keeps the "
	    "same share, rounded up) and sets the amount by itself.\n"
	    "Without a target all weight matrices of linear maps are meant; "
	    "embeddings only when named or with `all`; biases and norms never. "
	    "A matrix is stored as bitmap plus values or as column numbers "
	    "plus values, whichever is smaller, or dense where neither is: "
	    "then bytes do not shrink, and a note says so. Multiply-adds count "
	    "stored weights; time shrinks only where much is pruned. Prune "
	    "before factorizing.",
	.examples = examples,
	.args = args,
	.flags = OP_RANDOM,
	.run = run,
	.needs = needs
};
