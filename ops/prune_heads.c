/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune heads: whole attention heads away (Michel, Levy, Neubig, "Are sixteen
 * heads really better than one?", NeurIPS 2019).
 *
 * A head is d rows of the query, key and value matrices with their biases and
 * the d columns of the output matrix that read it. Its magnitude is the L2 norm
 * of these weights (biases left out), divided by the mean norm of the heads of
 * its layer: 1 is an ordinary head, and layers whose weights are small at large
 * are not emptied first.
 *
 * Where query heads share KV heads a unit is a KV head with all that read it,
 * and an amount counts units; where layers share their attention, the same head
 * of all of them is one unit.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/repair.h"
#include "ops/table.h"

struct heads {
	const struct op_input *in;
	const struct model *m;
	struct ops_what what;
	struct head_set *may;	/* per layer: heads the line reaches */
	bool *pick;		/* layers with any */
	int *group;
	struct head_set *drop;	/* per layer: the decision */
	struct ops_unit *unit;
	int64_t n, want, taken;
	bool grouped;		/* some units are several heads */
	int *left;		/* per layer: heads not dropped */
	bool estimate;
};

static int
layer_share(const struct layer *y)
{
	return y->heads / y->kv_heads;
}

/* The original number of the head at each present position. */
static void
present_heads(const struct layer *y, int *number)
{
	int n = 0;

	for (int h = 0; h < y->heads_original && n < y->heads; h++)
		if (head_set_has(&y->head, h))
			number[n++] = h;
}

static void
heads_free(struct heads *j)
{
	ops_what_free(&j->what);
	free(j->may);
	free(j->pick);
	free(j->group);
	free(j->drop);
	free(j->unit);
	free(j->left);
}

/* Which heads of which layers the line may take. */
static enum pare_rc
find_candidates(struct heads *j, struct pare_err *err)
{
	const struct selection *s = &j->what.sel;
	bool any = false;

	for (int l = 0; l < j->m->nlayers; l++) {
		const struct layer *y = &j->m->layer[l];

		j->may[l] = s->layer[l].heads;
		if (s->all || s->layer[l].whole || s->layer[l].attention)
			j->may[l] = y->head;
		j->pick[l] = head_set_count(&j->may[l]) > 0;
		any = any || j->pick[l];
	}
	if (any)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: %s names no heads", j->what.target ==
	    NULL ? "the model" : j->what.target);
	return err_hint(err, "name heads as L0.h0,2 or layers with an amount, "
	    "as 25%% L0-1");
}

/* Heads of layer l that must go together with those in set. */
static void
complete_groups(const struct layer *y, struct head_set *set)
{
	int number[MODEL_HEADS_MAX], share = layer_share(y);

	present_heads(y, number);
	for (int i = 0; i < y->heads; i++)
		for (int k = i - i % share; k < i - i % share + share; k++)
			if (head_set_has(set, number[i]))
				head_set_put(set, number[k], true);
}

static enum pare_rc
take_named(struct heads *j, struct str *note, struct pare_err *err)
{
	int more = 0;

	for (int l = 0; l < j->m->nlayers; l++) {
		const struct layer *y = &j->m->layer[l];

		if (!j->pick[l])
			continue;
		if (head_set_count(&j->what.sel.layer[l].heads) == 0) {
			err_set(err, PARE_EUSER, "amount: not given, and '%s' "
			    "names whole layers, not heads", j->what.target ==
			    NULL ? "" : j->what.target);
			return err_hint(err, "prune heads L%d.h%d, prune heads "
			    "50%% L%d, or prune attention L%d", l,
			    0, l, l);
		}
		j->drop[l] = j->may[l];
		complete_groups(y, &j->drop[l]);
		if (head_set_count(&j->drop[l]) == y->heads) {
			err_set(err, PARE_EUSER, "target: this would take all "
			    "%d heads of L%d%s", y->heads, l,
			    head_set_count(&j->may[l]) < y->heads ?
			    ", for heads that share a KV head go together" :
			    "");
			return err_hint(err, "prune attention L%d", l);
		}
		more += head_set_count(&j->drop[l]) -
		    head_set_count(&j->may[l]);
	}
	if (more > 0)
		ops_note(note, "%d more head%s went along, for heads that "
		    "share a KV head go together", more, more == 1 ? "" : "s");
	return PARE_OK;
}

static bool
unit_allowed(const struct heads *j, int l, const int *number, int u, int share)
{
	for (int i = u * share; i < (u + 1) * share; i++)
		if (!head_set_has(&j->may[l], number[i]))
			return false;
	return true;
}

static void
list_units(struct heads *j)
{
	int number[MODEL_HEADS_MAX];
	int64_t cap = 0;

	for (int l = 0; l < j->m->nlayers; l++)
		cap += j->m->layer[l].heads;
	j->unit = xcalloc((size_t)cap + 1, sizeof *j->unit);
	for (int l = 0; l < j->m->nlayers; l++) {
		const struct layer *y = &j->m->layer[l];

		j->left[l] = y->heads;
		if (j->group[l] != l)
			continue;
		present_heads(y, number);
		for (int u = 0; u < y->kv_heads; u++) {
			if (!unit_allowed(j, l, number, u, layer_share(y)))
				continue;
			j->unit[j->n++] = (struct ops_unit){ .layer = l,
			    .index = u, .weight = layer_share(y) };
			j->grouped = j->grouped || layer_share(y) > 1;
		}
	}
}

/* Adds the scores of layer l to those of the units of its group. */
static enum pare_rc
score_heads(struct heads *j, enum score_kind kind, int l, struct pare_err *err)
{
	const struct layer *y = &j->m->layer[l];
	double score[MODEL_HEADS_MAX];
	int share = layer_share(y);
	enum pare_rc rc = kind == SCORE_MAGNITUDE ?
	    score_head_norms(y, score, err) : score_layer(kind, SCORE_HEADS,
	    j->m, j->in->calib, 0, l, score, err);

	for (int64_t i = 0; i < j->n && rc == PARE_OK; i++) {
		struct ops_unit *u = &j->unit[i];

		if (u->layer != j->group[l])
			continue;
		if (kind == SCORE_MAGNITUDE)
			u->score = score[u->index];
		for (int k = 0; k < share && kind != SCORE_MAGNITUDE; k++)
			u->score += score[u->index * share + k];
	}
	return rc;
}

/* By what the output matrices cannot make good: by=obs. */
static enum pare_rc
rank_by_fit(struct heads *j, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < j->m->nlayers && rc == PARE_OK; l++) {
		const struct layer *y = &j->m->layer[l];
		double score[MODEL_HEADS_MAX];

		if (j->group[l] != l)
			continue;
		if (!task_tick(j->in->task, l, j->m->nlayers, "layers"))
			return task_error(err);
		rc = repair_scores(j->in, SLOT_O_W, j->group, l,
		    (int64_t)layer_share(y) * y->head_dim, y->kv_heads - 1,
		    score, err);
		for (int64_t i = 0; i < j->n && rc == PARE_OK; i++)
			if (j->unit[i].layer == l)
				j->unit[i].score = score[j->unit[i].index];
	}
	ops_units_rank(j->unit, j->n);
	return rc;
}

static enum pare_rc
rank_units(struct heads *j, struct pare_err *err)
{
	int n = j->m->nlayers;
	enum score_kind kind;
	enum pare_rc rc;

	if (repair_ranks(j->in->args) && !j->estimate)
		return rank_by_fit(j, err);
	rc = score_kind_of(j->in, SCORE_HEADS, j->estimate,
	    &kind, err);

	if (rc != PARE_OK)
		return rc;
	if (kind == SCORE_RANDOM) {
		ops_units_shuffle(j->unit, j->n, j->in->seed);
		return PARE_OK;
	}
	for (int l = 0; l < n && ops_has_weights(j->m); l++) {
		if (!task_tick(j->in->task, l, n, "layers"))
			return task_error(err);
		if (j->group[l] >= 0 && j->m->layer[l].heads > 0 &&
		    (rc = score_heads(j, kind, l, err)) != PARE_OK)
			return rc;
	}
	ops_units_rank(j->unit, j->n);
	return PARE_OK;
}

/* Marks unit u in all layers that are cut as one with its own. */
static void
take_unit(struct heads *j, const struct ops_unit *u)
{
	int number[MODEL_HEADS_MAX];

	present_heads(&j->m->layer[u->layer], number);
	for (int l = 0; l < j->m->nlayers; l++)
		for (int k = 0; k < u->weight && j->group[l] == u->layer; k++)
			head_set_put(&j->drop[l],
			    number[u->index * u->weight + k], true);
	j->left[u->layer] -= u->weight;
	j->taken++;
}

static enum pare_rc
take_amount(struct heads *j, struct str *note, struct pare_err *err)
{
	const char *things;
	enum pare_rc rc;

	list_units(j);
	things = j->grouped ? "groups of heads" : "heads";
	if ((rc = rank_units(j, err)) != PARE_OK)
		return rc;
	if (j->in->rounds != NULL && j->in->rounds->round == 1)
		j->in->rounds->total = j->n;
	j->want = ops_amount_now(j->in, &j->what.amount,
	    j->in->rounds != NULL ? j->in->rounds->total : j->n, j->n);
	for (int64_t i = 0; i < j->n && j->taken < j->want; i++)
		if (j->left[j->unit[i].layer] > j->unit[i].weight)
			take_unit(j, &j->unit[i]);
	/* A round may have none to take. */
	if (j->taken == 0 && j->in->rounds != NULL &&
	    (j->want == 0 ? j->in->rounds->round < j->in->rounds->of :
	    j->in->rounds->round > 1))
		return PARE_OK;
	if (j->taken == 0) {
		char text[64];

		ops_amount_text(&j->what.amount, j->n, things, text,
		    sizeof text);
		err_set(err, PARE_EUSER, "amount: %s takes none: %s", text,
		    j->want == 0 ? "it rounds to 0" : j->grouped ?
		    "the last group of a layer stays" :
		    "the last head of a layer stays");
		return err_hint(err, j->want == 0 ? "ask for more, or name "
		    "heads as L0.h0" : "prune attention removes all heads of "
		    "a layer");
	}
	if (j->taken < j->want)
		ops_note(note, "%lld of the %lld %s asked for: the last of "
		    "each layer stays", (long long)j->taken,
		    (long long)j->want, things);
	return PARE_OK;
}

static enum pare_rc
decide(struct heads *j, struct str *note, struct pare_err *err)
{
	enum pare_rc rc = ops_what_read(j->in, &j->what, err);

	if (rc != PARE_OK)
		return rc;
	if (j->what.target == NULL && !j->what.has_amount) {
		err_set(err, PARE_EUSER,
		    "target: name heads, or give an amount");
		return err_hint(err, "prune heads L0.h0, or prune heads 25%%");
	}
	if ((rc = find_candidates(j, err)) != PARE_OK)
		return rc;
	ops_groups(j->m, OPS_ATTENTION_SLOTS, true, j->pick, j->group);
	/* Layers that share weights but not the heads named go each alone. */
	for (int l = 0; l < j->m->nlayers; l++)
		if (j->pick[l] && memcmp(&j->may[l], &j->may[j->group[l]],
		    sizeof j->may[l]) != 0)
			j->group[l] = l;
	return j->what.has_amount ? take_amount(j, note, err) :
	    take_named(j, note, err);
}

/* Fits the output matrices to the heads that stay. */
static enum pare_rc
mend(struct heads *j, struct edit *e, struct str *note, struct pare_err *err)
{
	struct repairs r = { .how = repair_of(j->in->args), .in = j->in,
		.e = e, .slot = SLOT_O_W };
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < j->m->nlayers && rc == PARE_OK; l++) {
		const struct layer *y = &j->m->layer[l];
		int64_t *keep, n = 0;
		int number[MODEL_HEADS_MAX];

		if (j->group[l] != l || head_set_count(&j->drop[l]) == 0)
			continue;
		if (task_canceled(j->in->task))
			return task_error(err);
		present_heads(y, number);
		keep = xcalloc((size_t)y->heads * (size_t)y->head_dim,
		    sizeof *keep);
		for (int i = 0; i < y->heads * y->head_dim; i++)
			if (!head_set_has(&j->drop[l],
			    number[i / y->head_dim]))
				keep[n++] = i;
		rc = repair_group(&r, j->group, l, keep, n, err);
		free(keep);
	}
	if (rc == PARE_OK)
		repair_note(&r, note);
	return rc;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	size_t n = (size_t)in->model->nlayers;
	struct heads j = { .in = in, .m = in->model,
		.estimate = e->ctx.estimate };
	enum pare_rc rc;

	j.may = xcalloc(n, sizeof *j.may);
	j.drop = xcalloc(n, sizeof *j.drop);
	j.pick = xcalloc(n, sizeof *j.pick);
	j.group = xcalloc(n, sizeof *j.group);
	j.left = xcalloc(n, sizeof *j.left);
	rc = decide(&j, note, err);
	for (int l = 0; l < (int)n && rc == PARE_OK; l++) {
		if (!task_tick(in->task, l, (double)n, "layers"))
			rc = task_error(err);
		else if (head_set_count(&j.drop[l]) > 0)
			rc = edit_drop_heads(e, l, &j.drop[l], err);
	}
	if (rc == PARE_OK)
		rc = mend(&j, e, note, err);
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	heads_free(&j);
	return rc;
}

static unsigned
needs(const struct arg_list *args)
{
	return score_needs(args) | repair_needs(args, SLOT_O_W);
}

static const char *const by[] = { "magnitude", "random", "activation",
    "gradient", "fisher", "lrp", "wanda", "obs", NULL };

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT, .flags = ARG_WORD,
	    .unit = "heads",
	    .text = "how many of the heads reached: 30% or a count" },
	{ .name = "target", .type = ARG_TARGET, .flags = ARG_WORD | ARG_REPEAT,
	    .text = "heads (L3.h0,4-7), or with an amount the layers to take "
	    "them from" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "magnitude", .choices = by,
	    .text = "which heads an amount takes first" },
	{ .name = "repair", .type = ARG_CHOICE, .dflt = "none",
	    .choices = repair_names,
	    .text = "bias: what goes leaves its mean; refit: what stays is "
	    "fitted to the old outputs by least squares" },
	{ .name = "rounds", .type = ARG_INT, .min = 1, .max = 1000,
	    .dflt = "1",
	    .text = "take an amount in so many parts and rank what is left "
	    "anew before each" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune heads L0.h0",
	"prune heads 50%",
	"prune heads 1 L0-1 by=random",
	NULL
};

const struct op op_prune_heads = {
	.verb = "prune",
	.method = "heads",
	.title = "Prune attention heads",
	.help = "Remove attention heads, named or the weakest of an amount.\n"
	    "A head is its rows of the query, key and value matrices and its "
	    "columns of the output matrix; all of them go, so parameters, "
	    "bytes and multiply-adds shrink and the rest runs as before. The "
	    "bias of the output matrix stays.\n"
	    "With an amount, by=magnitude takes first the heads of the "
	    "smallest L2 norm over these weights, relative to the mean norm in "
	    "their layer; by=random draws them from the seed; the others rank "
	    "them as `importance heads` does, on the calib samples. The last "
	    "head of a layer is never taken: prune attention does that. Where "
	    "layers share their attention the same head goes in all of them "
	    "and counts once.\n"
	    "Heads that share a KV head (Llama 3, Mistral, Qwen) go together: "
	    "naming one takes its group, and an amount counts groups.\n"
	    "repair= needs calib samples and reports the error of the "
	    "outputs, relative to their squares, without it and with it. "
	    "by=obs takes what the fit of the others makes good best, one head "
	    "after another, from the layers where it costs least, and fits "
	    "(repair=refit) unless told otherwise. rounds=N looks at the calib "
	    "samples again after each part of the amount: what is left ranks "
	    "otherwise then.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL | OP_RANDOM,
	.run = run,
	.needs = needs
};
