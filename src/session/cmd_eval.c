/* SPDX-License-Identifier: GPL-3.0-or-later */
/* eval, compare, expect: what a state is worth, and against which other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/control.h"
#include "session/vocabulary.h"
#include "session/work.h"
#include "tensor/kernel.h"

/* "auto", then the names of metric_table[]; a walk in the tests holds them
 * equal. */
static const char *const metric_choices[] = { "auto", "accuracy", "f1", "mcc",
	"pearson", "spearman", "loss", "perplexity", "bits_per_byte", NULL };

static const char *const custom_choices[] = { "chunks", "stride", NULL };

enum metric
work_metric(const struct model *m)
{
	return metric_of(m->hp.head);
}

static enum pare_rc
check_head(const struct model *m, struct pare_err *err)
{
	if (m->hp.head != HEAD_NONE)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s has no head to evaluate",
	    m->origin->name);
	return err_hint(err, "predict what=hidden");
}

static const struct model *
original(const struct session *s)
{
	return s->history.state[0].model;
}

/* What a model of tokens diverges from: the original, with the tokens that m
 * has. NULL for other models. */
static enum pare_rc
reference_of(struct session *s, const struct model *m,
    const struct model **out, struct pare_err *err)
{
	*out = NULL;
	return head_gives_tokens(m->hp.head) ? vocabulary_original(s, m, out,
	    err) : PARE_OK;
}

/* What is remembered of a model of tokens, unless its divergence is from another
 * original. */
static const struct evaluation *
fit(struct session *s, const struct model *m,
    const struct evaluation *v)
{
	const struct model *from;
	struct pare_err err;

	if (v == NULL || !v->per_token || m == original(s))
		return v;
	if (reference_of(s, m, &from, &err) != PARE_OK)
		return NULL;
	return m->hp.vocab != from->hp.vocab ||
	    model_hash(m) == model_hash(from) ||
	    v->divergence.reference == model_hash(from) ? v : NULL;
}

static const struct evaluation *
remembered(const struct session *s, const struct model *m, enum metric metric)
{
	const struct dataset *d = session_data(s, m, ROLE_EVAL);

	return d == NULL ? NULL : memory_evaluation(s->memory, model_hash(m),
	    d, metric);
}

/* The same logits judged by another metric. */
static const struct evaluation *
recall_other(struct session *s, const struct model *m,
    enum metric metric)
{
	const struct dataset *d = session_data(s, m, ROLE_EVAL);
	const struct evaluation *known = NULL;
	struct evaluation v;

	for (int k = 0; k < METRIC_COUNT && known == NULL; k++)
		known = fit(s, m, remembered(s, m, (enum metric)k));
	if (known == NULL || evaluation_rescore(known, m, d, metric, &v,
	    NULL) != PARE_OK)
		return NULL;
	return memory_keep_evaluation(s->memory, &v);
}

/* The remembered evaluation; NULL: none, or it is not to be recalled. */
static const struct evaluation *
recall(struct session *s, const struct model *m, enum metric metric)
{
	const struct evaluation *v;

	if (!settings_bool(s->settings, SET_CACHE))
		return NULL;
	v = fit(s, m, remembered(s, m, metric));
	return v != NULL ? v : recall_other(s, m, metric);
}

/* m's own samples, which are in use when it returns. */
static enum pare_rc
need_samples(struct session *s, const struct model *m, struct task *task,
    struct pare_err *err)
{
	struct notes why = { 0 };
	enum pare_rc rc = vocabulary_use(s, m, &why, task, err);

	if (rc == PARE_OK && s->data[ROLE_EVAL] == NULL)
		rc = err_set(err, PARE_EUSER, "the samples cannot be read "
		    "with the tokens of that state%s%s", why.n > 0 ? ": " :
		    "", why.n > 0 ? why.text[0] : "");
	notes_free(&why);
	return rc;
}

/* Runs the samples; *v is the caller's. */
static enum pare_rc
run_samples(struct session *s, const struct model *m,
    const struct evaluate_options *o, struct evaluation *v, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc;

	evaluator_limit(s->evaluator, settings_cache(s->settings));
	rc = need_samples(s, m, task, err);
	if (rc != PARE_OK)
		return rc;
	rc = evaluate_run(s->evaluator, m, s->data[ROLE_EVAL], o, v, task,
	    err);
	if (rc != PARE_OK)
		return rc;
	rc = work_damage(err);
	if (rc != PARE_OK)
		evaluation_free(v);
	return rc;
}

/* A language model is compared with the original's distributions: where those
 * are not kept it runs first, and that result is remembered too. */
static enum pare_rc
need_original(struct session *s, const struct model *m,
    const struct model *from, enum metric metric, struct task *task,
    struct pare_err *err)
{
	struct evaluate_options o = { .metric = metric, .original = from };
	struct evaluation v;
	enum pare_rc rc;

	if (!head_gives_tokens(m->hp.head) || m == from ||
	    m->hp.vocab != from->hp.vocab ||
	    model_hash(m) == model_hash(from))
		return PARE_OK;
	rc = need_samples(s, from, task, err);
	if (rc != PARE_OK || evaluator_keeps(s->evaluator, from,
	    s->data[ROLE_EVAL]))
		return rc;
	rc = run_samples(s, from, &o, &v, task, err);
	if (rc == PARE_OK)
		memory_keep_evaluation(s->memory, &v);
	return rc;
}

enum pare_rc
work_evaluate(struct session *s, const struct model *m, enum metric metric,
    bool fresh, const struct evaluation **out, bool *cached,
    struct task *task, struct pare_err *err)
{
	struct evaluate_options o = { .metric = metric, .fresh = fresh };
	const struct model *from = NULL;
	struct evaluation v;
	enum pare_rc rc;

	if (check_head(m, err) != PARE_OK)
		return err->rc;
	rc = need_samples(s, m, task, err);
	if (rc != PARE_OK)
		return rc;
	*out = fresh ? NULL : recall(s, m, metric);
	if (cached != NULL)
		*cached = *out != NULL;
	if (*out != NULL)
		return PARE_OK;
	rc = reference_of(s, m, &from, err);
	o.original = from;
	if (rc == PARE_OK)
		rc = need_original(s, m, from, metric, task, err);
	if (rc == PARE_OK)
		rc = run_samples(s, m, &o, &v, task, err);
	if (rc == PARE_OK)
		*out = memory_keep_evaluation(s->memory, &v);
	return rc;
}

double
work_known_value(const struct session *s, const struct model *m)
{
	const struct evaluation *v;
	uint64_t hash = work_known_hash(m);

	if (hash == 0 || session_data(s, m, ROLE_EVAL) == NULL)
		return NAN;
	v = remembered(s, m, work_metric(m));
	return v != NULL ? v->value : NAN;
}

static json_t *
interval(double low, double high)
{
	json_t *list = json_array();

	json_array_append_new(list, isfinite(low) ? json_real(low) :
	    json_null());
	json_array_append_new(list, isfinite(high) ? json_real(high) :
	    json_null());
	return list;
}

static void
put_divergence(const struct divergence *d, json_t *doc)
{
	json_t *o;

	if (d->reference == 0)
		return;
	o = json_object();
	result_put_real(o, "mean", d->mean);
	json_object_set_new(o, "ci95", interval(d->low, d->high));
	result_put_real(o, "median", d->median);
	result_put_real(o, "p99", d->p99);
	result_put_real(o, "max", d->max);
	result_put_real(o, "same_top", d->same);
	json_object_set_new(o, "same_top_ci95", interval(d->same_low,
	    d->same_high));
	result_put_int(o, "kept", d->kept);
	result_put_int(o, "vocab", d->vocab);
	json_object_set_new(doc, "divergence", o);
}

static void
put_cut(const struct dataset *d, json_t *doc)
{
	if (d->cut.custom == CUT_NONE)
		return;
	result_put_text(doc, "custom", cut_custom_names[d->cut.custom]);
	if (d->is_text) {
		result_put_int(doc, "context", d->cut.context);
		result_put_int(doc, "stride", d->cut.stride);
	}
}

static void
put_evaluation(const struct session *s, const struct model *m,
    const struct evaluation *v, bool cached, json_t *doc)
{
	json_t *all = json_object();

	for (int k = 0; k < METRIC_COUNT; k++)
		if (isfinite(v->all[k]))
			result_put_real(all, metric_table[k].name, v->all[k]);
	result_put_text(doc, "metric", metric_table[v->metric].name);
	result_put_real(doc, "value", v->value);
	json_object_set_new(doc, "ci95", interval(v->low, v->high));
	result_put_int(doc, "n", v->n);
	result_put_int(doc, "total", v->labelled);
	result_put_bool(doc, "partial", v->partial);
	result_put_real(doc, "loss", v->loss);
	result_put_real(doc, "seconds", v->seconds);
	result_put_real(doc, "tokens_per_second", v->seconds > 0 ?
	    (double)v->tokens / v->seconds : NAN);
	result_put_int(doc, "from_layer", v->from);
	json_object_set_new(doc, "metrics", all);
	result_put_bool(doc, "cached", cached);
	if (!v->per_token)
		return;
	put_cut(session_data(s, m, ROLE_EVAL), doc);
	result_put_int(doc, "windows", v->windows);
	put_divergence(&v->divergence, doc);
}

/* Predictions of other tokens are not counted. */
static void
put_count(json_t *doc, const char *key, const struct comparison *c, int64_t v)
{
	if (c->other_tokens)
		json_object_set_new(doc, key, json_null());
	else
		result_put_int(doc, key, v);
}

static void
put_comparison(const struct comparison *c, json_t *doc)
{
	json_t *o;

	result_put_real(doc, "delta", c->delta);
	put_count(doc, "fixed", c, c->fixed);
	put_count(doc, "broke", c, c->broke);
	put_count(doc, "changed", c, c->changed);
	result_put_real(doc, "mcnemar_p", c->p);
	result_put_text(doc, "verdict", c->verdict);
	if (c->ratio == 0)
		return;
	o = json_object();
	result_put_real(o, "value", c->ratio);
	result_put_real(o, "low", c->ratio_low);
	result_put_real(o, "high", c->ratio_high);
	result_put_real(o, "p", c->ratio_p);
	json_object_set_new(doc, "ratio", o);
}

static void
put_against(const struct evaluation *base, const struct evaluation *v,
    int against, json_t *doc)
{
	struct comparison c;

	evaluation_compare(base, v, &c);
	result_put_int(doc, "against", against);
	put_comparison(&c, doc);
}

/* What the result is compared with. A quick answer is not held up by a result
 * that it can do without. */
static enum pare_rc
base_of(struct session *s, int id, const struct eval_ask *ask,
    const struct evaluation **out, struct notes *notes, struct task *task,
    struct pare_err *err)
{
	const struct model *m;
	bool cached = true;
	enum pare_rc rc = PARE_OK;

	*out = NULL;
	if (ask->against < 0)
		return PARE_OK;
	m = s->history.state[ask->against].model;
	if (m == s->history.state[id].model)
		return PARE_OK;
	if (ask->stop == STOP_CI)
		*out = recall(s, m, ask->metric);
	else
		rc = work_evaluate(s, m, ask->metric, false, out, &cached,
		    task, err);
	if (rc == PARE_OK && !cached)
		notes_add(notes, "state %d was evaluated too, to compare with",
		    ask->against);
	return rc;
}

/* Until the rule says stop. */
static enum pare_rc
eval_until(struct session *s, int id, const struct eval_ask *ask, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = s->history.state[id].model;
	struct evaluate_options o = { .metric = ask->metric,
		.fresh = ask->fresh, .stop = ask->stop,
		.half_width = ask->half_width };
	const struct model *from = NULL;
	struct evaluation v;
	enum pare_rc rc;

	rc = base_of(s, id, ask, &o.against, notes, task, err);
	if (rc == PARE_OK && ask->stop == STOP_DECIDED && o.against == NULL) {
		err_set(err, PARE_EUSER, "a state is not compared with itself");
		return err_hint(err, "eval stop=ci:1.0, or name another "
		    "state: against=STATE");
	}
	if (rc == PARE_OK)
		rc = reference_of(s, m, &from, err);
	o.original = from;
	if (rc == PARE_OK)
		rc = run_samples(s, m, &o, &v, task, err);
	if (rc != PARE_OK)
		return rc;
	put_evaluation(s, m, &v, false, doc);
	if (o.against != NULL)
		put_against(o.against, &v, ask->against, doc);
	if (v.partial)
		evaluation_free(&v);
	else
		memory_keep_evaluation(s->memory, &v);
	return PARE_OK;
}

enum pare_rc
work_eval_doc(struct session *s, int id, const struct eval_ask *ask,
    json_t *doc, struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = s->history.state[id].model;
	const struct evaluation *base, *v;
	bool cached;
	enum pare_rc rc;

	if (check_head(m, err) != PARE_OK)
		return err->rc;
	if (ask->stop != STOP_NONE &&
	    (ask->fresh || recall(s, m, ask->metric) == NULL))
		return eval_until(s, id, ask, doc, notes, task, err);
	rc = work_evaluate(s, m, ask->metric, ask->fresh, &v, &cached, task,
	    err);
	if (rc != PARE_OK)
		return rc;
	put_evaluation(s, m, v, cached, doc);
	rc = base_of(s, id, ask, &base, notes, task, err);
	if (rc == PARE_OK && base != NULL)
		put_against(base, v, ask->against, doc);
	return rc;
}

/* metric= of the arguments, or the task's own. */
static enum pare_rc
read_metric(const struct session *s, const struct arg_list *args,
    enum metric *out, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const char *name = arg_choice(args, "metric");
	enum head_kind head = m->hp.head;

	*out = work_metric(m);
	if (strcmp(name, "auto") == 0 || !metric_find(name, out))
		return PARE_OK;
	if (metric_fits(*out, head))
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s is not for a model that gives %s", name,
	    head_gives_tokens(head) ? "tokens" : head == HEAD_REGRESS ?
	    "a score" : "a class");
	return err_hint(err, "eval metric=%s",
	    metric_table[work_metric(m)].name);
}

/* "none", "decided", "ci:1.0". */
static enum pare_rc
read_stop(const struct arg_list *args, struct eval_ask *ask,
    struct pare_err *err)
{
	const char *text = arg_text(args, "stop");
	double points;

	ask->stop = STOP_NONE;
	if (strcmp(text, "none") == 0)
		return PARE_OK;
	ask->stop = STOP_DECIDED;
	if (strcmp(text, "decided") == 0)
		return PARE_OK;
	ask->stop = STOP_CI;
	if (str_has_prefix(text, "ci:") && str_to_double(text + 3, &points) &&
	    points > 0 && points <= 100) {
		ask->half_width = points / 100;
		return PARE_OK;
	}
	err_set(err, PARE_EUSER, "stop: '%.40s' is not none, decided, or ci: "
	    "with points of percent", text);
	return err_hint(err, "eval stop=ci:1.0");
}

static const struct arg_spec eval_args[] = {
	{ "metric", ARG_CHOICE, 0, 0, 0, "auto", metric_choices, NULL,
	    "what value is; auto is accuracy, or pearson for scores" },
	{ "against", ARG_STATE, 0, 0, 0, "original", NULL, NULL,
	    "the state to compare with" },
	{ "fresh", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "run every layer again instead of recalling" },
	{ "custom", ARG_CHOICE, 0, 0, 0, NULL, custom_choices, NULL,
	    "how a language model reads the text; chunks, or as last time" },
	{ "context", ARG_INT, 0, 0, 1048576, NULL, NULL, "tokens",
	    "of a window of the text; 0: the largest power of two up to 512 "
	    "that makes 8 windows" },
	{ "stride", ARG_INT, 0, 0, 1048576, NULL, NULL, "tokens",
	    "from window to window of custom=stride; 0: half the context" },
	{ "stop", ARG_TEXT, 0, 0, 0, "none", NULL, NULL,
	    "ci:1.0 stops when the interval is at most 1.0 points wide to "
	    "each side, decided when the comparison is" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const eval_examples[] = { "eval", "eval metric=f1",
	"eval against=original", "eval stop=ci:1.0",
	"eval custom=stride context=128 stride=64", NULL };

/* custom=, context= and stride= cut the text again, for this line and those to
 * come. */
static enum pare_rc
read_cut(struct session *s, const struct arg_list *args, struct pare_err *err)
{
	bool custom = arg_get(args, "custom")->set;
	bool context = arg_get(args, "context")->set;
	bool stride = arg_get(args, "stride")->set;
	struct dataset_cut how = s->cut;
	enum pare_rc rc;

	if (!custom && !context && !stride)
		return PARE_OK;
	if (session_model(s)->hp.head != HEAD_LM)
		return err_set(err, PARE_EUSER, "custom, context and stride "
		    "are for causal language models");
	if (custom)
		how.custom = strcmp(arg_choice(args, "custom"), "stride") == 0 ?
		    CUT_STRIDE : CUT_CHUNKS;
	if (custom || context)
		how.stride = 0;
	if (context)
		how.context = (int)arg_int(args, "context");
	if (stride && how.custom != CUT_STRIDE) {
		err_set(err, PARE_EUSER, "chunks stand side by side: they "
		    "have no stride");
		return err_hint(err, "eval custom=stride stride=%s",
		    arg_text(args, "stride"));
	}
	if (stride)
		how.stride = (int)arg_int(args, "stride");
	rc = work_cut_data(s, session_model(s), s->tokenizer, &how,
	    s->data[ROLE_EVAL], err);
	if (rc != PARE_OK)
		return rc;
	s->cut = how;
	vocabulary_drop(s, ROLE_EVAL);
	return PARE_OK;
}

static enum pare_rc
run_eval(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct eval_ask ask = { .fresh = arg_int(args, "fresh") != 0 };
	enum pare_rc rc;

	rc = read_metric(s, args, &ask.metric, err);
	if (rc == PARE_OK)
		rc = read_stop(args, &ask, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "against", "original", &ask.against,
		    err);
	if (rc == PARE_OK)
		rc = read_cut(s, args, err);
	if (rc != PARE_OK)
		return rc;
	return work_eval_doc(s, s->history.current, &ask, doc, notes, task,
	    err);
}

const struct command command_eval = {
	.name = "eval",
	.group = GROUP_MEASURE,
	.help = "Measure the current state on the eval samples.\n"
	    "Gives the metric with its 95 % interval, and against the original "
	    "the predictions that were fixed and broken with an exact McNemar "
	    "test. The original is evaluated too where that is not known yet. "
	    "Results are recalled for states that come back, also in later "
	    "sessions; after a change only the layers from it on run.\n"
	    "Samples run in a random order that keeps the shares of the "
	    "classes. stop= ends at the first batch after which the rule "
	    "holds; the answer is then partial, over n of total samples, and "
	    "is not remembered. The comparison is decided when one state is "
	    "shown to be better (looking again and again is wrong in at most "
	    "1 of 100 cases; mcnemar_p then is a p that holds at any time), "
	    "or when the samples left have less than 1 chance in 100 to show "
	    "it.\n"
	    "A causal language model is judged by its perplexity on the text, "
	    "in one of two customs whose numbers must not be compared. "
	    "custom=chunks: windows side by side, the second half of each is "
	    "scored, and each begins with the mark for a text where the model "
	    "has one, as llama.cpp does. custom=stride: windows every stride "
	    "tokens, each token of the text but the first is scored once, with "
	    "what its first window holds before it, as in the guide of "
	    "Transformers. What is chosen stays for evaluations to come. A "
	    "masked language model is asked for 15 % of the tokens of each "
	    "sample, drawn by the seed of data and hidden behind its mask "
	    "token. Intervals are over windows or samples (Student's t of a "
	    "ratio of sums), for the tokens of one hang together; the verdict "
	    "is by the paired ratio of perplexities. The KL divergence from "
	    "the original is of its distributions kept in 256 MiB at most: "
	    "log-probabilities in 16 bits (to within 0.00025), and where that "
	    "is too much of the likeliest tokens only, the others as one, "
	    "which tells no more than the true divergence. stop=ci:1.0 is "
	    "1 % of a perplexity.",
	.examples = eval_examples,
	.args = eval_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_NEEDS_DATA |
	    CMD_LONG,
	.run = run_eval,
};

/* ---- compare ---- */

static const struct arg_spec compare_args[] = {
	{ "a", ARG_STATE, ARG_WORD, 0, 0, "original", NULL, NULL,
	    "the state to start from" },
	{ "b", ARG_STATE, ARG_WORD, 0, 0, "current", NULL, NULL,
	    "the state it became" },
	{ "metric", ARG_CHOICE, 0, 0, 0, "auto", metric_choices, NULL,
	    "what value is" },
	{ "flips", ARG_INT, 0, 0, 1e15, "20", NULL, "samples",
	    "changed predictions to list" },
	{ "random", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "where steps chose what to remove, also the same amounts drawn "
	    "at random" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const compare_examples[] = { "compare",
	"compare original current", "compare 0 0 flips=5", NULL };

static json_t *
compare_side(const struct session *s, int id, const struct evaluation *v)
{
	const struct state *t = &s->history.state[id];
	int64_t seq = settings_int(s->settings, SET_SEQ);
	json_t *o = json_object();
	struct totals totals;

	account_totals(t->model, seq, false, &totals);
	result_put_int(o, "state", id);
	result_put_text(o, "command", t->command);
	result_put_text(o, "metric", metric_table[v->metric].name);
	result_put_real(o, "value", v->value);
	json_object_set_new(o, "ci95", interval(v->low, v->high));
	result_put_int(o, "n", v->n);
	result_put_int(o, "params", totals.params);
	result_put_int(o, "bytes", totals.bytes);
	result_put_real(o, "macs_per_token", (double)totals.macs /
	    (double)seq);
	return o;
}

static void
put_label(const struct model *m, int k, json_t *o, const char *key)
{
	char name[256];

	if (k < 0 || k >= m->hp.labels) {
		json_object_set_new(o, key, json_null());
		return;
	}
	model_label_name(m, k, name, sizeof(name));
	result_put_text(o, key, name);
}

enum { BEFORE = 12 };

/* A token that is predicted otherwise, and what stands before it. */
static json_t *
token_flip(const struct session *s, int64_t window, int position,
    const int32_t ids[3])
{
	static const char *const keys[] = { "gold", "a", "b" };
	const struct sample *x = &s->data[ROLE_EVAL]->sample[window];
	int first = position > BEFORE ? position - BEFORE : 0;
	struct str text = STR_INIT;
	json_t *o = json_object();

	result_put_int(o, "index", window);
	result_put_int(o, "position", position);
	for (int k = 0; k < 3; k++)
		result_put_text(o, keys[k], s->tokenizer == NULL ? NULL :
		    tokenizer_piece(s->tokenizer, ids[k]));
	if (s->tokenizer != NULL)
		tokenizer_decode(s->tokenizer, x->tokens.id + first,
		    position - first, false, &text);
	result_put_text(o, "text", text.s != NULL ? text.s : "");
	str_free(&text);
	return o;
}

static void
list_tokens(const struct session *s, const struct evaluation *a,
    const struct evaluation *b, int64_t most, json_t *list)
{
	const struct dataset *d = s->data[ROLE_EVAL];

	for (int64_t w = 0; w < d->n && most > 0; w++) {
		const struct sample *x = &d->sample[w];

		for (int k = 0; k < x->nscored && most > 0; k++) {
			int64_t t = x->scored_at + k;
			const int32_t ids[] = { a->gold[t], a->predicted[t],
				b->predicted[t] };

			if (ids[1] == ids[2])
				continue;
			json_array_append_new(list, token_flip(s, w,
			    x->scored[k], ids));
			most--;
		}
	}
}

static json_t *
flip_list(const struct session *s, const struct model *m,
    const struct evaluation *a, const struct evaluation *b, int64_t most)
{
	const struct dataset *d = s->data[ROLE_EVAL];
	json_t *list = json_array();
	int64_t n = 0;

	if (head_gives_tokens(m->hp.head) && a->data_hash == b->data_hash)
		list_tokens(s, a, b, most, list);
	if (m->hp.head != HEAD_CLASSIFY)
		return list;
	for (int64_t i = 0; i < d->n && i < a->total && n < most; i++) {
		json_t *o;

		if (a->predicted[i] == b->predicted[i])
			continue;
		n++;
		o = json_object();
		result_put_int(o, "index", i);
		put_label(m, a->gold[i], o, "gold");
		put_label(m, a->predicted[i], o, "a");
		put_label(m, b->predicted[i], o, "b");
		result_put_text(o, "text", d->sample[i].text);
		if (d->sample[i].pair != NULL)
			result_put_text(o, "pair", d->sample[i].pair);
		json_array_append_new(list, o);
	}
	return list;
}

static enum pare_rc
run_compare(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct evaluation *va, *vb;
	struct comparison c;
	enum metric metric;
	enum pare_rc rc;
	int a, b;

	rc = read_metric(s, args, &metric, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "a", "original", &a, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "b", "current", &b, err);
	if (rc == PARE_OK)
		rc = work_evaluate(s, s->history.state[a].model, metric, false,
		    &va, NULL, task, err);
	if (rc == PARE_OK)
		rc = work_evaluate(s, s->history.state[b].model, metric, false,
		    &vb, NULL, task, err);
	if (rc != PARE_OK)
		return rc;
	evaluation_compare(va, vb, &c);
	json_object_set_new(doc, "a", compare_side(s, a, va));
	json_object_set_new(doc, "b", compare_side(s, b, vb));
	put_comparison(&c, doc);
	json_object_set_new(doc, "flips", flip_list(s,
	    s->history.state[b].model, va, vb, arg_int(args, "flips")));
	return arg_int(args, "random") == 0 ? PARE_OK : control_doc(s, a, b,
	    vb, doc, notes, task, err);
}

const struct command command_compare = {
	.name = "compare",
	.group = GROUP_MEASURE,
	.help = "Compare two states on the eval samples.\n"
	    "Lists the samples whose prediction changed. Where a step between "
	    "them removed heads, neurons, layers or weights by some measure, "
	    "the same amounts are also removed at random, with three seeds: a "
	    "choice is worth something when it beats those.",
	.examples = compare_examples,
	.args = compare_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_NEEDS_DATA |
	    CMD_LONG,
	.run = run_compare,
};

/* ---- expect ---- */

/* After the metrics of metric_table[], what else can be expected. */
static const char *const expect_choices[] = {
	"accuracy", "f1", "mcc", "pearson", "spearman", "loss",
	"perplexity", "bits_per_byte", "params", "nonzero", "bytes", "macs_per_token", "tensors", "layers",
	"state", "latency_ratio", "latency_ms", "fixed", "broke", "changed",
	"delta", "ratio", "divergence", "same_top", NULL
};

static const char *const op_choices[] = { "<", "<=", ">", ">=", "==", "!=",
	NULL };

static const struct arg_spec expect_args[] = {
	{ "metric", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL,
	    expect_choices, NULL, "what is looked at" },
	{ "op", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, op_choices,
	    NULL, "how it compares" },
	{ "value", ARG_REAL, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the bound; 90% is 0.9" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const expect_examples[] = { "expect accuracy >= 0.9",
	"expect bytes < 5000000", "expect layers == 4", NULL };

static bool
total_of(const struct session *s, const char *name, double *out)
{
	const struct model *m = session_model(s);
	int64_t seq = settings_int(s->settings, SET_SEQ);
	struct totals t;

	if (strcmp(name, "layers") == 0) {
		*out = m->nlayers;
		return true;
	}
	if (strcmp(name, "state") == 0) {
		*out = s->history.current;
		return true;
	}
	account_totals(m, seq, strcmp(name, "nonzero") == 0, &t);
	if (strcmp(name, "params") == 0)
		*out = (double)t.params;
	else if (strcmp(name, "nonzero") == 0)
		*out = (double)t.nonzero;
	else if (strcmp(name, "bytes") == 0)
		*out = (double)t.bytes;
	else if (strcmp(name, "macs_per_token") == 0)
		*out = (double)t.macs / (double)seq;
	else if (strcmp(name, "tensors") == 0)
		*out = t.tensors;
	else
		return false;
	return true;
}

static enum pare_rc
need_weights(const struct session *s, const char *name, bool data,
    struct pare_err *err)
{
	const struct model *m = session_model(s);

	if (m->ghost) {
		err_set(err, PARE_EUSER, "%s needs weights, and %s was opened "
		    "from a config alone", name, m->origin->name);
		return err_hint(err, "open %s weights=random",
		    m->origin->path);
	}
	if (data && s->data[ROLE_EVAL] == NULL) {
		err_set(err, PARE_EUSER, "%s needs samples, and none are "
		    "loaded", name);
		return err_hint(err, "load samples: data FILE");
	}
	return PARE_OK;
}

static enum pare_rc
expect_latency(struct session *s, bool ratio, double *out, struct task *task,
    struct pare_err *err)
{
	struct latency_options o = {
		.batch = 1, .seq = settings_int(s->settings, SET_SEQ),
		.seed = (uint64_t)settings_int(s->settings, SET_SEED),
	};
	struct latency l;
	enum pare_rc rc;

	rc = work_measure_latency(s, s->history.current, &o, false, &l, NULL,
	    task, err);
	if (rc == PARE_OK)
		*out = !ratio ? l.p50_ms : l.has_ratio ? l.ratio : 1.0;
	return rc;
}

static enum pare_rc
expect_flips(struct session *s, const char *name, double *out,
    struct task *task, struct pare_err *err)
{
	enum metric metric = work_metric(session_model(s));
	const struct evaluation *a, *b;
	struct comparison c;
	enum pare_rc rc;

	rc = work_evaluate(s, s->history.state[0].model, metric, false, &a,
	    NULL, task, err);
	if (rc == PARE_OK)
		rc = work_evaluate(s, session_model(s), metric, false, &b,
		    NULL, task, err);
	if (rc != PARE_OK)
		return rc;
	evaluation_compare(a, b, &c);
	*out = c.other_tokens && name[0] != 'd' && name[0] != 's' ? NAN :
	    strcmp(name, "fixed") == 0 ? (double)c.fixed :
	    strcmp(name, "broke") == 0 ? (double)c.broke :
	    strcmp(name, "changed") == 0 ? (double)c.changed :
	    strcmp(name, "ratio") == 0 ? (c.ratio != 0 ? c.ratio : NAN) :
	    strcmp(name, "delta") == 0 ? c.delta :
	    b->divergence.reference == 0 ? NAN :
	    strcmp(name, "same_top") == 0 ? b->divergence.same :
	    b->divergence.mean;
	return PARE_OK;
}

static enum pare_rc
actual_value(struct session *s, const char *name, double *out,
    struct task *task, struct pare_err *err)
{
	bool latency = str_has_prefix(name, "latency_");
	const struct evaluation *v;
	enum metric metric;
	enum pare_rc rc;

	if (total_of(s, name, out))
		return PARE_OK;
	rc = need_weights(s, name, !latency, err);
	if (rc != PARE_OK)
		return rc;
	if (latency)
		return expect_latency(s, strcmp(name, "latency_ratio") == 0,
		    out, task, err);
	if (!metric_find(name, &metric))
		return expect_flips(s, name, out, task, err);
	rc = work_evaluate(s, session_model(s), metric, false, &v, NULL, task,
	    err);
	if (rc == PARE_OK)
		*out = v->value;
	return rc;
}

static bool
holds(double actual, const char *op, double value)
{
	if (strcmp(op, "<") == 0)
		return actual < value;
	if (strcmp(op, "<=") == 0)
		return actual <= value;
	if (strcmp(op, ">") == 0)
		return actual > value;
	if (strcmp(op, ">=") == 0)
		return actual >= value;
	return strcmp(op, "==") == 0 ? actual == value : actual != value;
}

static enum pare_rc
run_expect(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const char *name = arg_choice(args, "metric");
	const char *op = arg_choice(args, "op");
	double value = arg_real(args, "value"), actual;
	bool ok;
	enum pare_rc rc;

	rc = actual_value(s, name, &actual, task, err);
	if (rc != PARE_OK)
		return rc;
	/* An undefined number meets no expectation, not even !=. */
	ok = isfinite(actual) && holds(actual, op, value);
	result_put_text(doc, "metric", name);
	result_put_text(doc, "op", op);
	result_put_real(doc, "value", value);
	result_put_real(doc, "actual", actual);
	result_put_bool(doc, "holds", ok);
	if (ok)
		return PARE_OK;
	if (!isfinite(actual))
		return err_set(err, PARE_EEXPECT,
		    "expected %s %s %s, but it is undefined here", name, op,
		    arg_text(args, "value"));
	return err_set(err, PARE_EEXPECT,
	    "expected %s %s %s, but it is %.10g", name, op,
	    arg_text(args, "value"), actual);
}

const struct command command_expect = {
	.name = "expect",
	.group = GROUP_MEASURE,
	.help = "Fail unless a number of the current state is as expected.\n"
	    "For scripts: pare stops with exit status 4 when it does not hold. "
	    "Metrics of the samples are measured, or recalled, as eval does; "
	    "fixed, broke, changed, delta, ratio (of perplexities), "
	    "divergence and same_top are against the original.",
	.examples = expect_examples,
	.args = expect_args,
	.flags = CMD_NEEDS_MODEL | CMD_LONG,
	.run = run_expect,
};
