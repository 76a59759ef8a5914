/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune vocabulary: tokens away, with their rows of the embedding and of what
 * gives tokens (Abdaoui et al., "Load what you need: smaller versions of
 * multilingual BERT", 2020).
 *
 * Tokens are taken in the order of what they are worth, each with the tokens it
 * is made of (text/reduce.h), as long as both fit into the number that is to
 * stay; what was passed over for lack of room is looked at again until the
 * number is reached. Since a token whose parts are all there needs no more than
 * itself, every number can be reached exactly, and an estimate that knows
 * nothing of the texts counts what the change will count.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/score.h"
#include "ops/table.h"
#include "text/reduce.h"

struct vocabulary {
	const struct op_input *in;
	bool estimate;		/* which tokens go is not known and not needed */
	int64_t n;		/* tokens there are */
	struct token_needs needs;
	const int64_t *count;	/* of each in the calib texts; NULL: unknown */
	bool *keep;
	int64_t kept;
	int32_t *stack, *added;	/* n each */
};

/* ---- what has to stay ------------------------------------------------ */

static void
need(struct vocabulary *v, const json_t *origin_id)
{
	int64_t id = json_is_integer(origin_id) ? token_map_id(
	    v->in->model->tokens, json_integer_value(origin_id)) : -1;

	if (id >= 0 && id < v->n)
		v->needs.always[id] = true;
}

/* What the config names, and what a padding id stands for. */
static void
need_config(struct vocabulary *v)
{
	const struct model *m = v->in->model;
	json_t *config = m->origin != NULL ? m->origin->config : NULL, *id;
	const char *key;

	json_object_foreach(config, key, id) {
		if (!str_has_suffix(key, "_token_id"))
			continue;
		need(v, id);
		for (size_t i = 0; i < json_array_size(id); i++)
			need(v, json_array_get(id, i));
	}
	if (m->hp.pad > 0)
		v->needs.always[m->hp.pad - 1] = true;
	/* Positions begin behind the padding's id, which must not move. */
	for (int64_t i = 0; i < m->hp.position_offset && i < v->n; i++)
		v->needs.always[i] = true;
}

/* Without a tokenizer every id counts as a token that needs no other. */
static enum pare_rc
find_needs(struct vocabulary *v, struct pare_err *err)
{
	const struct op_calib *c = v->in->calib;
	size_t n = (size_t)v->n;

	if (c != NULL && c->tokenizer != NULL)
		return token_needs_find(c->tokenizer, v->n, &v->needs, err);
	v->needs = (struct token_needs){ .n = v->n };
	v->needs.piece = mem_big(n, sizeof(*v->needs.piece), err);
	if (v->needs.piece != NULL)
		v->needs.always = mem_big_zero(n, sizeof(*v->needs.always),
		    err);
	if (v->needs.always != NULL)
		v->needs.parent = mem_big(n, sizeof(*v->needs.parent), err);
	if (v->needs.parent == NULL)
		return PARE_ENOMEM;
	memset(v->needs.piece, true, n);
	memset(v->needs.parent, 0xff, n * sizeof(*v->needs.parent));
	return PARE_OK;
}

static enum pare_rc
vocabulary_open(struct vocabulary *v, struct pare_err *err)
{
	size_t n = (size_t)v->n;
	enum pare_rc rc = find_needs(v, err);

	if (rc != PARE_OK)
		return rc;
	v->keep = mem_big_zero(n, sizeof(*v->keep), err);
	if (v->keep != NULL)
		v->stack = mem_big(n, sizeof(*v->stack), err);
	if (v->stack != NULL)
		v->added = mem_big(n, sizeof(*v->added), err);
	if (v->added == NULL)
		return PARE_ENOMEM;
	need_config(v);
	return PARE_OK;
}

static void
vocabulary_close(struct vocabulary *v)
{
	token_needs_free(&v->needs);
	free(v->keep);
	free(v->stack);
	free(v->added);
}

/* Keeps a token with all it is made of, if that is at most `room` new ones. */
static bool
take(struct vocabulary *v, int64_t id, int64_t room)
{
	int64_t depth = 0, added = 0;

	if (v->keep[id])
		return true;
	v->keep[id] = true;
	v->stack[depth++] = (int32_t)id;
	while (depth > 0) {
		int32_t k = v->stack[--depth];

		v->added[added++] = k;
		for (int i = 0; i < 2; i++) {
			int32_t p = v->needs.parent[k][i];

			if (p < 0 || v->keep[p])
				continue;
			v->keep[p] = true;
			v->stack[depth++] = p;
		}
	}
	if (added <= room) {
		v->kept += added;
		return true;
	}
	for (int64_t i = 0; i < added; i++)
		v->keep[v->added[i]] = false;
	return false;
}

/* ---- what is worth keeping ------------------------------------------- */

struct ranked {
	int64_t count;
	int32_t id;
	bool piece;
};

/* Often used first; of those used alike what was learnt earlier, which has the
 * lower id; ids without a token last. */
static int
compare(const void *x, const void *y)
{
	const struct ranked *a = x, *b = y;

	if (a->piece != b->piece)
		return a->piece ? -1 : 1;
	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

static enum pare_rc
take_best(struct vocabulary *v, int64_t want, struct pare_err *err)
{
	struct ranked *r = mem_big((size_t)v->n, sizeof(*r), err);

	if (r == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < v->n; i++)
		r[i] = (struct ranked){ v->count != NULL ? v->count[i] : 0,
			(int32_t)i, v->needs.piece[i] };
	qsort(r, (size_t)v->n, sizeof(*r), compare);
	while (v->kept < want)
		for (int64_t i = 0; i < v->n && v->kept < want; i++)
			take(v, r[i].id, want - v->kept);
	free(r);
	return PARE_OK;
}

static void
take_always(struct vocabulary *v)
{
	for (int64_t i = 0; i < v->n; i++)
		if (v->needs.always[i])
			take(v, i, v->n);
}

static void
take_used(struct vocabulary *v)
{
	for (int64_t i = 0; i < v->n; i++)
		if (v->count[i] > 0)
			take(v, i, v->n);
}

/* ---- what the line asks for ------------------------------------------ */

static enum pare_rc
check_number(const struct vocabulary *v, int64_t want, struct pare_err *err)
{
	const char *name = arg_get(v->in->args, "keep")->has ? "keep" :
	    "amount";

	if (want > v->n) {
		err_set(err, PARE_EUSER, "%s: there are %lld tokens to keep",
		    name, (long long)v->n);
		return err_hint(err, "prune vocabulary 10%%");
	}
	if (want == v->n) {
		err_set(err, PARE_EUSER, "%s: this would remove no token of "
		    "%lld", name, (long long)v->n);
		return err_hint(err, "prune vocabulary 10%%");
	}
	if (want >= v->kept && want > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s: %lld tokens would be left, and %lld of "
	    "%lld have to stay: special ones, bytes and single characters",
	    name, (long long)want, (long long)v->kept, (long long)v->n);
	return err_hint(err, "prune vocabulary keep=%lld", (long long)v->kept);
}

/* How many are to stay; -1: those that the texts use. */
static enum pare_rc
read_number(const struct vocabulary *v, int64_t *out, struct pare_err *err)
{
	const struct arg_value *amount = arg_get(v->in->args, "amount");
	const struct arg_value *keep = arg_get(v->in->args, "keep");

	*out = -1;
	if (amount->has && keep->has)
		return err_set(err, PARE_EUSER, "amount says how many tokens "
		    "go, keep how many stay: only one of them");
	if (keep->has)
		*out = keep->i;
	else if (amount->has)
		*out = v->n - arg_amount(amount, v->n);
	else if (strcmp(arg_choice(v->in->args, "by"), "frequency") != 0) {
		err_set(err, PARE_EUSER, "by: without a number the tokens go "
		    "that the calib texts do not use");
		return err_hint(err, "prune vocabulary 10%% by=%s",
		    arg_choice(v->in->args, "by"));
	}
	return PARE_OK;
}

static enum pare_rc
choose(struct vocabulary *v, struct pare_err *err)
{
	bool frequency = strcmp(arg_choice(v->in->args, "by"), "frequency") ==
	    0;
	int64_t want;
	enum pare_rc rc = read_number(v, &want, err);

	if (rc != PARE_OK)
		return rc;
	if (frequency && v->in->calib != NULL)
		v->count = v->in->calib->tokens;
	if (v->count == NULL && (want < 0 || (frequency && !v->estimate)))
		return score_missing("by=frequency", err);
	take_always(v);
	if (want >= 0) {
		rc = check_number(v, want, err);
		return rc == PARE_OK ? take_best(v, want, err) : rc;
	}
	take_used(v);
	if (v->kept < v->n)
		return PARE_OK;
	err_set(err, PARE_EUSER, "the calib texts use every token, or what "
	    "is left has to stay");
	return err_hint(err, "prune vocabulary 10%%");
}

/* How many tokens of the texts are cut into others now. */
static void
note_share(const struct vocabulary *v, struct str *note)
{
	int64_t all = 0, left = 0;

	for (int64_t i = 0; i < v->n && v->count != NULL; i++) {
		all += v->count[i];
		left += v->keep[i] ? v->count[i] : 0;
	}
	if (all > 0)
		ops_note(note, "%lld tokens of %lld are left; they are %.4g %% "
		    "of those in the calib texts", (long long)v->kept,
		    (long long)v->n, 100.0 * (double)left / (double)all);
}

static enum pare_rc
keep_tokens(const struct vocabulary *v, struct edit *e, struct pare_err *err)
{
	int64_t *id = mem_big((size_t)v->kept, sizeof(*id), err), n = 0;
	enum pare_rc rc;

	if (id == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < v->n; i++)
		if (v->keep[i])
			id[n++] = i;
	rc = edit_keep_tokens(e, id, n, err);
	free(id);
	return rc;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct vocabulary v = { .in = in,
		.estimate = e->ctx.estimate || in->model->ghost,
		.n = in->model->hp.vocab };
	enum pare_rc rc;

	if (!task_tick(in->task, 0, 2, "tokens"))
		return task_error(err);
	rc = vocabulary_open(&v, err);
	if (rc == PARE_OK)
		rc = choose(&v, err);
	if (rc == PARE_OK && !task_tick(in->task, 1, 2, "tokens"))
		rc = task_error(err);
	if (rc == PARE_OK)
		rc = keep_tokens(&v, e, err);
	if (rc == PARE_OK)
		note_share(&v, note);
	vocabulary_close(&v);
	return rc;
}

static unsigned
needs(const struct arg_list *args)
{
	return OP_NEED_TOKENIZER | (strcmp(arg_choice(args, "by"),
	    "frequency") == 0 ? OP_NEED_TOKENS : 0);
}

static const char *const by[] = { "frequency", "order", NULL };

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT, .flags = ARG_WORD,
	    .text = "how many tokens go, or which share of them; those that "
	    "the calib texts do not use unless said" },
	{ .name = "keep", .type = ARG_INT, .min = 1, .max = 1 << 28,
	    .unit = "tokens", .text = "how many stay, instead" },
	{ .name = "by", .type = ARG_CHOICE, .choices = by,
	    .dflt = "frequency",
	    .text = "frequency: what the calib texts use least goes first; "
	    "order: what was learnt last, which has the highest ids" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune vocabulary 10% by=order",
	"prune vocabulary 3 by=order",
	NULL
};

const struct op op_prune_vocabulary = {
	.verb = "prune",
	.method = "vocabulary",
	.title = "Prune the vocabulary",
	.help = "Remove tokens, with their rows of the embedding and of the "
	    "head.\n"
	    "Without a number those go that the calib texts do not use. "
	    "Special tokens, bytes and single characters always stay, and so "
	    "do the pieces that a piece of byte-pair encoding is joined from: "
	    "every text can still be read, by smaller pieces where its own "
	    "are gone, and a text whose tokens are all left is cut as "
	    "before and gives the same logits for them.\n"
	    "The state has a smaller tokenizer of its own. Samples are "
	    "tokenized by it, and save and export write it. Perplexities of "
	    "different vocabularies are not comparable, bits per byte are; "
	    "the divergence from the original is from its distribution over "
	    "the tokens that are left.",
	.examples = examples,
	.args = args,
	.flags = OP_TOKENS,
	.run = run,
	.needs = needs
};
