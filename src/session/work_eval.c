/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a state is worth, for the commands that ask: recalled where it is known,
 * measured where not, and put into documents.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session/vocabulary.h"
#include "session/work.h"

const char *const work_metric_choices[] = { "auto", "accuracy", "f1", "mcc",
	"pearson", "spearman", "loss", "perplexity", "bits_per_byte", NULL };

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

json_t *
work_interval(double low, double high)
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
	json_object_set_new(o, "ci95", work_interval(d->low, d->high));
	result_put_real(o, "median", d->median);
	result_put_real(o, "p99", d->p99);
	result_put_real(o, "max", d->max);
	result_put_real(o, "same_top", d->same);
	json_object_set_new(o, "same_top_ci95", work_interval(d->same_low,
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
	json_object_set_new(doc, "ci95", work_interval(v->low, v->high));
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

void
work_put_comparison(const struct comparison *c, json_t *doc)
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
	work_put_comparison(&c, doc);
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

enum pare_rc
work_read_metric(const struct session *s, const struct arg_list *args,
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
