/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune neurons: rows of the up (and gate) matrix with their biases, and the
 * column of the down matrix that reads each.
 *
 * The magnitude of a neuron is ||up row|| * ||down column||, the largest gain
 * from the layer's input to its output through that neuron (for a gated FFN the
 * up and gate rows are taken as one long row). It does not change when a
 * positive factor moves from one side to the other, which a plain norm of the
 * two would.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/repair.h"
#include "ops/table.h"

struct neurons {
	const struct op_input *in;
	const struct model *m;
	struct ops_what what;
	bool *pick;
	int *group;
	uint8_t **drop;		/* per group's first layer: ffn bytes */
	int64_t *left;		/* per layer: neurons not dropped */
	struct ops_unit *unit;
	int64_t n, taken, want;
	bool estimate;
};

static void
neurons_free(struct neurons *j)
{
	ops_what_free(&j->what);
	for (int l = 0; l < j->m->nlayers; l++)
		free(j->drop[l]);
	free(j->drop);
	free(j->pick);
	free(j->group);
	free(j->left);
	free(j->unit);
}

static enum pare_rc
find_layers(struct neurons *j, struct pare_err *err)
{
	bool any = false;

	for (int l = 0; l < j->m->nlayers; l++) {
		j->pick[l] = j->m->layer[l].ffn > 0 &&
		    ops_layer_picked(&j->what.sel, l, OPS_FFN_SLOTS);
		any = any || j->pick[l];
	}
	if (any)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: %s names no FFN", j->what.target ==
	    NULL ? "the model" : j->what.target);
	return err_hint(err, "name layers, as L0-1 or L*.ffn");
}

static enum pare_rc
list_units(struct neurons *j, struct pare_err *err)
{
	int64_t cap = 0;

	for (int l = 0; l < j->m->nlayers; l++)
		cap += j->group[l] == l ? j->m->layer[l].ffn : 0;
	j->unit = mem_big_zero((size_t)cap + 1, sizeof *j->unit, err);
	if (j->unit == NULL)
		return PARE_ENOMEM;
	for (int l = 0; l < j->m->nlayers; l++) {
		int64_t ffn = j->m->layer[l].ffn;

		if (j->group[l] != l)
			continue;
		j->left[l] = ffn;
		j->drop[l] = mem_big_zero((size_t)ffn, 1, err);
		if (j->drop[l] == NULL)
			return PARE_ENOMEM;
		for (int64_t i = 0; i < ffn; i++)
			j->unit[j->n++] = (struct ops_unit){ .layer = l,
			    .index = i, .weight = 1 };
	}
	return PARE_OK;
}

/* Adds the scores of the neurons of layer l to u[ffn]. */
static enum pare_rc
score_neurons(const struct neurons *j, enum score_kind kind, int l,
    struct ops_unit *u, struct pare_err *err)
{
	int64_t ffn = j->m->layer[l].ffn;
	double *score = mem_big((size_t)ffn, sizeof *score, err);
	enum pare_rc rc;

	if (score == NULL)
		return PARE_ENOMEM;
	rc = score_layer(kind, SCORE_NEURONS, j->m, j->in->calib, 0, l, score,
	    err);
	for (int64_t i = 0; i < ffn && rc == PARE_OK; i++)
		u[i].score += score[i];
	free(score);
	return rc;
}

/* Neurons of layer l as the line found them, before all rounds. */
static int64_t
ffn_before(const struct neurons *j, int l)
{
	return j->in->rounds != NULL ? j->in->rounds->before->layer[l].ffn :
	    j->m->layer[l].ffn;
}

static int64_t
count_before(const struct neurons *j)
{
	int64_t n = 0;

	for (int l = 0; l < j->m->nlayers; l++)
		n += j->group[l] == l ? ffn_before(j, l) : 0;
	return n;
}

/* How many of layer l go now, where the amount is of each layer. */
static int64_t
layer_amount(const struct neurons *j, int l)
{
	return ops_amount_now(j->in, &j->what.amount, ffn_before(j, l),
	    j->m->layer[l].ffn);
}

/* By what the down matrices cannot make good: by=obs. Neurons that do not go in
 * any case need no place in the order. */
static enum pare_rc
rank_by_fit(struct neurons *j, bool global, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	int64_t at = 0;

	for (int l = 0; l < j->m->nlayers && rc == PARE_OK; l++) {
		int64_t ffn = j->m->layer[l].ffn, most = ffn - 1, want;
		double *score;

		if (j->group[l] != l)
			continue;
		if (!task_tick(j->in->task, l, j->m->nlayers, "layers"))
			return task_error(err);
		want = global ? most : layer_amount(j, l);
		score = mem_big((size_t)ffn, sizeof *score, err);
		if (score == NULL)
			return PARE_ENOMEM;
		rc = repair_scores(j->in, SLOT_DOWN_W, j->group, l, 1, want <
		    most ? want : most, score, err);
		for (int64_t i = 0; i < ffn && rc == PARE_OK; i++)
			j->unit[at + i].score = score[i];
		free(score);
		at += ffn;
	}
	if (rc == PARE_OK)
		ops_units_rank(j->unit, j->n);
	return rc;
}

/* Units are in order of layers before this, ranked after it. */
static enum pare_rc
rank_units(struct neurons *j, bool global, struct pare_err *err)
{
	int n = j->m->nlayers;
	enum score_kind kind;
	enum pare_rc rc;
	int64_t at = 0;

	if (repair_ranks(j->in->args) && !j->estimate)
		return rank_by_fit(j, global, err);
	rc = score_kind_of(j->in, SCORE_NEURONS, j->estimate, &kind, err);
	if (rc != PARE_OK)
		return rc;
	if (kind == SCORE_RANDOM) {
		ops_units_shuffle(j->unit, j->n, j->in->seed);
		return PARE_OK;
	}
	for (int l = 0; l < n && ops_has_weights(j->m); l++) {
		if (!task_tick(j->in->task, l, n, "layers"))
			return task_error(err);
		if (j->group[l] != l)
			continue;
		/* Layers that share their FFN are one; norms count once. */
		for (int k = l; k < n && rc == PARE_OK; k++)
			if (j->group[k] == l &&
			    (k == l || kind != SCORE_MAGNITUDE))
				rc = score_neurons(j, kind, k, &j->unit[at],
				    err);
		if (rc != PARE_OK)
			return rc;
		at += j->m->layer[l].ffn;
	}
	ops_units_rank(j->unit, j->n);
	return PARE_OK;
}

static void
take_units(struct neurons *j, bool global, int64_t *quota)
{
	int64_t want = ops_amount_now(j->in, &j->what.amount, count_before(j),
	    j->n);

	j->want = global ? want : 0;
	for (int l = 0; l < j->m->nlayers; l++) {
		if (j->group[l] != l)
			continue;
		quota[l] = global ? want :
		    layer_amount(j, l);
		j->want += global ? 0 : quota[l];
	}
	for (int64_t i = 0; i < j->n && j->taken < j->want; i++) {
		int l = j->unit[i].layer;

		if (j->left[l] == 1 || quota[l] == 0)
			continue;
		j->drop[l][j->unit[i].index] = 1;
		j->left[l]--;
		quota[l]--;
		j->taken++;
	}
}

/* Gives back the strongest of those taken until each layer keeps a multiple of
 * `round`, or all it has. */
static void
round_up(struct neurons *j, int64_t round)
{
	for (int64_t i = j->n - 1; i >= 0 && round > 1; i--) {
		int l = j->unit[i].layer;

		if (!j->drop[l][j->unit[i].index] || j->left[l] % round == 0)
			continue;
		j->drop[l][j->unit[i].index] = 0;
		j->left[l]++;
		j->taken--;
	}
}

static enum pare_rc
refuse_none(const struct neurons *j, int64_t round, struct pare_err *err)
{
	char text[64];

	ops_amount_text(&j->what.amount, j->n, "neurons", text, sizeof text);
	err_set(err, PARE_EUSER, "amount: %s takes none: %s", text,
	    j->want == 0 ? "it rounds to 0" : round > 1 ?
	    "what stays is rounded up to round=N" :
	    "the last neuron of a layer stays");
	return err_hint(err, j->want == 0 ? "ask for more" : round > 1 ?
	    "ask for more, or for a smaller round=N" :
	    "prune ffn removes all neurons of a layer");
}

static enum pare_rc
decide(struct neurons *j, struct str *note, struct pare_err *err)
{
	int64_t round = arg_int(j->in->args, "round");
	bool global = strcmp(arg_choice(j->in->args, "scope"), "global") == 0;
	enum pare_rc rc = ops_what_read(j->in, &j->what, err);
	int64_t *quota;

	if (rc == PARE_OK)
		rc = find_layers(j, err);
	if (rc != PARE_OK)
		return rc;
	ops_groups(j->m, OPS_FFN_SLOTS, false, j->pick, j->group);
	if ((rc = list_units(j, err)) != PARE_OK ||
	    (rc = rank_units(j, global, err)) != PARE_OK)
		return rc;
	quota = xcalloc((size_t)j->m->nlayers, sizeof *quota);
	take_units(j, global, quota);
	free(quota);
	round_up(j, round);
	/* A round may have none to take. */
	if (j->taken == 0 && j->in->rounds != NULL &&
	    (j->in->rounds->round < j->in->rounds->of ||
	    count_before(j) > j->n))
		return PARE_OK;
	if (j->taken == 0)
		return refuse_none(j, round, err);
	if (j->taken < j->want && round > 1)
		ops_note(note, "%lld of the %lld neurons asked for: each "
		    "layer keeps a multiple of %lld", (long long)j->taken,
		    (long long)j->want, (long long)round);
	else if (j->taken < j->want)
		ops_note(note, "%lld of the %lld neurons asked for: the last "
		    "of each layer stays", (long long)j->taken,
		    (long long)j->want);
	return PARE_OK;
}

/* Cuts layer l as the first layer of its group was decided; the first one
 * repairs them all, after the last was cut. */
static enum pare_rc
cut_layer(const struct neurons *j, struct edit *e, int l, struct repairs *r,
    struct pare_err *err)
{
	int g = j->group[l];
	int64_t ffn = j->m->layer[l].ffn, n = 0, *keep;
	enum pare_rc rc;

	if (g < 0 || j->left[g] == ffn)
		return PARE_OK;
	keep = mem_big((size_t)ffn, sizeof *keep, err);
	if (keep == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < ffn; i++)
		if (!j->drop[g][i])
			keep[n++] = i;
	rc = r == NULL ? edit_keep_neurons(e, l, keep, n, err) : g != l ?
	    PARE_OK : repair_group(r, j->group, l, keep, n, err);
	free(keep);
	return rc;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	size_t n = (size_t)in->model->nlayers;
	struct neurons j = { .in = in, .m = in->model,
		.estimate = e->ctx.estimate };
	struct repairs r = { .how = repair_of(in->args), .in = in, .e = e,
		.slot = SLOT_DOWN_W };
	enum pare_rc rc;

	j.pick = xcalloc(n, sizeof *j.pick);
	j.group = xcalloc(n, sizeof *j.group);
	j.left = xcalloc(n, sizeof *j.left);
	j.drop = xcalloc(n, sizeof *j.drop);
	rc = decide(&j, note, err);
	for (int l = 0; l < (int)n && rc == PARE_OK; l++) {
		if (!task_tick(in->task, l, (double)n, "layers"))
			rc = task_error(err);
		else
			rc = cut_layer(&j, e, l, NULL, err);
	}
	for (int l = 0; l < (int)n && rc == PARE_OK; l++)
		rc = task_canceled(in->task) ? task_error(err) :
		    cut_layer(&j, e, l, &r, err);
	if (rc == PARE_OK)
		repair_note(&r, note);
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	neurons_free(&j);
	return rc;
}

static unsigned
needs(const struct arg_list *args)
{
	return score_needs(args) | repair_needs(args, SLOT_DOWN_W);
}

static const char *const by[] = { "magnitude", "random", "activation",
    "gradient", "fisher", "lrp", "wanda", "obs", NULL };
static const char *const scope[] = { "layer", "global", NULL };

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT,
	    .flags = ARG_WORD | ARG_REQUIRED, .unit = "neurons",
	    .text = "how many: 30% or a count" },
	{ .name = "target", .type = ARG_TARGET, .flags = ARG_WORD | ARG_REPEAT,
	    .text = "layers to take them from; all layers without it" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "magnitude", .choices = by,
	    .text = "which neurons go first" },
	{ .name = "scope", .type = ARG_CHOICE, .dflt = "layer",
	    .choices = scope,
	    .text = "the amount is of each layer, or of all layers together" },
	{ .name = "round", .type = ARG_INT, .min = 1, .max = 65536,
	    .dflt = "1", .unit = "neurons",
	    .text = "each layer keeps a multiple of it" },
	{ .name = "repair", .type = ARG_CHOICE, .dflt = "none",
	    .choices = repair_names,
	    .text = "bias: what goes leaves its mean; refit: what stays is "
	    "fitted to the old outputs by least squares" },
	{ .name = "rounds", .type = ARG_INT, .min = 1, .max = 1000,
	    .dflt = "1",
	    .text = "take the amount in so many parts and rank what is left "
	    "anew before each" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune neurons 25%",
	"prune neurons 3 L0",
	"prune neurons 50% round=4",
	"prune neurons 50% L*.ffn scope=global by=random",
	NULL
};

const struct op op_prune_neurons = {
	.verb = "prune",
	.method = "neurons",
	.title = "Prune FFN neurons",
	.help = "Remove neurons of the feed-forward layers, the weakest "
	    "first.\n"
	    "A neuron is a row of the up matrix (and of the gate), its bias, "
	    "and a column of the down matrix; all go, so parameters, bytes and "
	    "multiply-adds shrink. The bias of the down matrix stays.\n"
	    "by=magnitude takes first the smallest product of the norms of the "
	    "row and the column; by=random draws from the seed; the others "
	    "rank them as `importance neurons` does, on the calib samples. "
	    "scope=layer "
	    "takes the amount from each layer; scope=global takes it where the "
	    "smallest are, so layers end up of unlike width. One neuron always "
	    "stays: prune ffn removes the rest. Layers that share their FFN "
	    "count once and are cut alike. round=N keeps a multiple of N "
	    "neurons in each layer, rounding up, so that groups of N still "
	    "divide its matrices when they are quantized. repair= needs "
	    "calib samples and reports the error of the outputs, relative "
	    "to their squares, without it and with it. by=obs takes what the "
	    "fit of the others makes good best, one neuron after another, and "
	    "fits (repair=refit) unless told otherwise. rounds=N looks at the "
	    "calib samples again after each part of the amount.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL | OP_RANDOM,
	.run = run,
	.needs = needs
};
