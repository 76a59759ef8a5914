/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune layers: whole layers away (Sajjad et al., "On the effect of dropping
 * layers of pre-trained Transformer models", 2023: the last ones are most often
 * the ones least missed).
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/bridge.h"
#include "ops/common.h"
#include "ops/score.h"
#include "ops/table.h"

/* "last 2": the number behind a keyword. */
static bool
keyword(const char *text, const char *word, const char **number)
{
	size_t n = strlen(word);

	if (strncmp(text, word, n) != 0 ||
	    (text[n] != ' ' && text[n] != '\0'))
		return false;
	*number = text + n + (text[n] == ' ');
	return true;
}

static enum pare_rc
read_number(const char *word, const char *text, int64_t min, int64_t max,
    int64_t *out, struct pare_err *err)
{
	if (str_to_int(text, out) && *out >= min && *out <= max)
		return PARE_OK;
	err_set(err, PARE_EUSER,
	    "target: %s %s: a number from %lld to %lld belongs there", word,
	    text, (long long)min, (long long)max);
	return err_hint(err, "prune layers %s %lld", word, (long long)min);
}

static enum pare_rc
mark_named(const struct op_input *in, bool *drop, struct pare_err *err)
{
	struct ops_what what;
	enum pare_rc rc = ops_what_read(in, &what, err);

	if (rc != PARE_OK)
		return rc;
	for (int l = 0; l < in->model->nlayers && rc == PARE_OK; l++) {
		const struct select_layer *s = &what.sel.layer[l];

		drop[l] = s->whole;
		if (s->whole || (s->slots == 0 &&
		    head_set_count(&s->heads) == 0))
			continue;
		err_set(err, PARE_EUSER,
		    "target: '%s' names a part of L%d, not the layer",
		    what.target, l);
		rc = err_hint(err, "prune layers L%d, prune attention L%d, or "
		    "prune ffn L%d", l, l, l);
	}
	ops_what_free(&what);
	return rc;
}

static bool
by_loss(const struct arg_list *args)
{
	return arg_get(args, "by")->has &&
	    strcmp(arg_choice(args, "by"), "loss") == 0;
}

/* Those that were found one after another; an estimate takes any. */
static enum pare_rc
mark_order(const struct op_input *in, bool estimate, int64_t want, bool *drop,
    struct pare_err *err)
{
	const struct op_calib *c = in->calib;
	bool known = c != NULL && c->order != NULL && c->norder >= want;

	if (!known && !estimate)
		return score_missing("by=loss", err);
	for (int64_t i = 0; i < want; i++)
		drop[known ? c->order[i] : in->model->nlayers - 1 - i] = true;
	return PARE_OK;
}

/* The `want` layers of the lowest scores. */
static enum pare_rc
mark_least(const struct op_input *in, bool estimate, int64_t want, bool *drop,
    struct pare_err *err)
{
	int n = in->model->nlayers;
	struct ops_unit *u = xcalloc((size_t)n, sizeof *u);
	enum score_kind kind;
	enum pare_rc rc = score_kind_of(in, SCORE_LAYERS, estimate, &kind,
	    err);

	for (int l = 0; l < n && rc == PARE_OK; l++) {
		u[l].layer = l;
		if (kind == SCORE_MAGNITUDE && !ops_has_weights(in->model))
			continue;
		rc = score_layer(kind, SCORE_LAYERS, in->model, in->calib,
		    in->seed, l, &u[l].score, err);
	}
	if (rc == PARE_OK)
		ops_units_rank(u, n);
	for (int64_t i = 0; i < want && rc == PARE_OK; i++)
		drop[u[i].layer] = true;
	free(u);
	return rc;
}

static enum pare_rc
check_by(const struct op_input *in, bool least, struct pare_err *err)
{
	bool by = arg_get(in->args, "by")->has;

	if (by == least)
		return PARE_OK;
	err_set(err, PARE_EUSER, by ? "by: says which are the least, and the "
	    "line names its layers" : "by: not given: by what are they the "
	    "least");
	return err_hint(err, "prune layers least 1 by=%s", by ?
	    arg_choice(in->args, "by") : "similarity");
}

static enum pare_rc
mark_layers(const struct op_input *in, bool estimate, bool *drop,
    struct pare_err *err)
{
	const char *text = arg_text(in->args, "target"), *number;
	int n = in->model->nlayers;
	enum pare_rc rc;
	int64_t k;

	if (n == 1) {
		err_set(err, PARE_EUSER,
		    "the model has one layer, and one must stay");
		return err_hint(err, "prune attention L0 or prune ffn L0");
	}
	rc = check_by(in, keyword(text, "least", &number), err);
	if (rc != PARE_OK)
		return rc;
	if (keyword(text, "least", &number)) {
		rc = read_number("least", number, 1, n - 1, &k, err);
		if (rc == PARE_OK && by_loss(in->args))
			rc = mark_order(in, estimate, k, drop, err);
		else if (rc == PARE_OK)
			rc = mark_least(in, estimate, k, drop, err);
	} else if (keyword(text, "last", &number)) {
		rc = read_number("last", number, 1, n - 1, &k, err);
		for (int l = 0; l < n && rc == PARE_OK; l++)
			drop[l] = l >= n - k;
	} else if (keyword(text, "every", &number)) {
		rc = read_number("every", number, 2, n, &k, err);
		for (int l = 0; l < n && rc == PARE_OK; l++)
			drop[l] = (l + 1) % k == 0;
	} else {
		rc = mark_named(in, drop, err);
	}
	return rc;
}

static enum pare_rc
check_count(const struct op_input *in, const bool *drop, struct pare_err *err)
{
	int count = 0, n = in->model->nlayers;

	for (int l = 0; l < n; l++)
		count += drop[l];
	if (count == 0) {
		err_set(err, PARE_EUSER, "target: '%s' names no layer",
		    arg_text(in->args, "target"));
		return err_hint(err, "prune layers L0, or prune layers last 1");
	}
	if (count == n) {
		err_set(err, PARE_EUSER, "target: this would take all %d "
		    "layers, and one must stay", n);
		return err_hint(err, "prune layers last %d", n - 1);
	}
	return PARE_OK;
}

static bool
refits(const struct arg_list *args)
{
	return strcmp(arg_choice(args, "repair"), "refit") == 0;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	int n = in->model->nlayers;
	bool *drop = xcalloc((size_t)n, sizeof *drop);
	enum pare_rc rc = mark_layers(in, e->ctx.estimate, drop, err);

	if (rc == PARE_OK)
		rc = check_count(in, drop, err);
	for (int l = n - 1; l >= 0 && rc == PARE_OK; l--) {
		if (!task_tick(in->task, n - 1 - l, n, "layers"))
			rc = task_error(err);
		else if (drop[l])
			rc = edit_drop_layer(e, l, err);
	}
	if (rc == PARE_OK && refits(in->args))
		rc = bridge_layers(in, e, drop, note, err);
	free(drop);
	return rc;
}

static const char *const by[] = { "magnitude", "random", "gradient", "fisher",
    "lrp", "similarity", "loss", NULL };

static unsigned
needs(const struct arg_list *args)
{
	return (refits(args) ? OP_NEED_RECONSTRUCT : 0) | (by_loss(args) &&
	    ops_least(args) > 0 ? OP_NEED_ORDER : score_needs(args));
}

static const char *const repairs[] = { "none", "refit", NULL };

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "layers (L3, L0-2), `last N`, `every N`, or `least N`" },
	{ .name = "by", .type = ARG_CHOICE, .choices = by,
	    .text = "what `least` goes by" },
	{ .name = "repair", .type = ARG_CHOICE, .dflt = "none",
	    .choices = repairs,
	    .text = "fit the layer beside those that go, so that the stream "
	    "goes on as it was" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune layers last 1",
	"prune layers L0",
	"prune layers every 2",
	"prune layers least 1 by=random",
	NULL
};

const struct op op_prune_layers = {
	.verb = "prune",
	.method = "layers",
	.title = "Prune layers",
	.help = "Remove whole layers: named, the last ones, every N-th, or the "
	    "least important.\n"
	    "Parameters, bytes, multiply-adds and time all shrink by the "
	    "layer's share; later layers move down, so L4 is L3 after L3 went. "
	    "`every 2` takes L1, L3, L5 and so on. One layer always stays.\n"
	    "Where layers share their weights, bytes shrink only when the last "
	    "layer that uses them goes; the time shrinks anyway.\n"
	    "`least 2 by=similarity` takes the layers of the lowest score, as "
	    "`importance layers` ranks them on the calib samples; by=loss those "
	    "that `sweep layers greedy` removes: the one whose loss rises "
	    "least, then of those that are left the next.\n"
	    "repair=refit fits the output matrix of the FFN before them by "
	    "least squares, so that the stream is as near as can be to what "
	    "it was behind them, on the calib samples; where they were the "
	    "first, those of the layer behind them. Some samples are kept "
	    "apart to judge it, and where it does nothing for those the old "
	    "matrix stays and the note says so.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL | OP_RANDOM,
	.run = run,
	.needs = needs
};
