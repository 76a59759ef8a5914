/* SPDX-License-Identifier: GPL-3.0-or-later */
/* expect: a number of the current state against a bound, for scripts. */
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "session/work.h"

/* After the metrics of metric_table[], what else can be expected. */
static const char *const expect_choices[] = {
	"accuracy", "f1", "mcc", "pearson", "spearman", "loss",
	"perplexity", "bits_per_byte", "params", "nonzero", "bytes",
	"macs_per_token", "tensors", "layers", "state", "latency_ratio",
	"latency_ms", "fixed", "broke", "changed", "delta", "ratio",
	"divergence", "same_top", NULL
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
