/* SPDX-License-Identifier: GPL-3.0-or-later */
/* overview: what each family of methods does to the open model, measured. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "engine/train.h"
#include "session/plan_book.h"
#include "session/work.h"

enum { RUNS = 30, LINES = 3 };

/* A difference of this p is no noise; and a loss of this share, of a perplexity or
 * in a metric that is one, is small. */
#define ALPHA 0.05
#define SMALL 0.01

/* A family and a setting that stands for it. */
struct method {
	const char *name;
	const char *line[LINES];	/* with the calib samples */
	const char *plain[LINES];	/* without; NULL: the same */
	bool learns;		/* then trained on the calib samples by the
				 * outputs of the model it came from */
	const char *memory, *time;	/* what lectures print */
};

static const struct method methods[] = {
	{ "pruning, weights", { "prune weights 50%" }, { NULL }, false,
	    "yes", "no" },
	{ "pruning, structures",
	    { "prune heads 25% by=fisher repair=refit",
	    "prune neurons 50% by=fisher repair=refit" },
	    { "prune heads 25%", "prune neurons 50%" }, false, "yes", "no" },
	{ "quantization, 8 bits", { "quantize all bits=8" }, { NULL }, false,
	    "yes", "yes" },
	{ "quantization, 4 bits",
	    { "quantize all bits=4" }, { NULL }, false, "yes", "yes" },
	{ "factorization", { "factorize L* ratio=50%" }, { NULL }, false,
	    "yes", "no" },
	{ "embedding factorized", { "factorize emb.word ratio=50%" },
	    { NULL }, false, "yes", "no" },
	{ "sharing", { "share L* groups=2" }, { NULL }, false, "yes", "no" },
	{ "distillation", { "prune layers every 2" }, { NULL }, true, "yes",
	    "yes" },
};

enum { METHODS = sizeof(methods) / sizeof(*methods) };

struct look {
	struct session *s;
	const struct model *m;
	const struct evaluation *was;	/* NULL: nothing to evaluate on */
	int64_t runs, seq;
	struct totals base;
	struct plan_progress step;
	struct notes notes;	/* of ops; dropped */
};

/* In one text, for the table: "prune heads ...; prune neurons ...". */
static char *
lines_text(const char *const *line, bool learns)
{
	struct str s = STR_INIT;

	for (int i = 0; i < LINES && line[i] != NULL; i++)
		str_addf(&s, "%s%s", i > 0 ? "; " : "", line[i]);
	if (learns)
		str_add(&s, "; recover epochs=1 distil=50%");
	return str_detach(&s);
}

static enum pare_rc
learn(struct look *a, struct model **m, struct pare_err *err)
{
	struct train_options o = { .rate = 5e-5, .warmup = 0.1,
		.weight_decay = 0.01, .clip = 1, .dropout = -1,
		.teacher = a->m, .share = 0.5, .temperature = 2, .batch = 16,
		.epochs = 1, .seed = (uint64_t)settings_int(a->s->settings,
		SET_SEED) };
	struct model *made;
	enum pare_rc rc = work_train(a->s, *m, &o, &made, &a->step.task, err);

	if (rc == PARE_OK) {
		model_unref(*m);
		*m = made;
	}
	return rc;
}

static enum pare_rc
make(struct look *a, const struct method *t, const char *const *line,
    struct model **out, struct pare_err *err)
{
	struct model *now = model_ref(a->m);
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < LINES && line[i] != NULL && rc == PARE_OK; i++) {
		struct op_result r;

		rc = work_op_apply(a->s, now, line[i], false, &r, &a->notes,
		    &a->step.task, err);
		if (rc != PARE_OK)
			break;
		model_unref(now);
		now = model_ref(r.model);
		op_result_free(&r);
	}
	if (rc == PARE_OK && t->learns)
		rc = learn(a, &now, err);
	if (rc != PARE_OK) {
		model_unref(now);
		now = NULL;
	}
	*out = now;
	return rc;
}

static void
put_value(const struct look *a, const struct evaluation *v, json_t *o)
{
	json_t *ci = json_array();
	struct comparison c;
	double p, worse, small;

	evaluation_compare(a->was, v, &c);
	p = v->per_token ? c.ratio_p : c.p;
	worse = v->value - a->was->value;
	worse = metric_falls(v->metric) ? worse : -worse;
	small = SMALL * (v->per_token ? a->was->value : 1);
	result_put_real(o, "value", v->value);
	json_array_append_new(ci, isfinite(v->low) ? json_real(v->low) :
	    json_null());
	json_array_append_new(ci, isfinite(v->high) ? json_real(v->high) :
	    json_null());
	json_object_set_new(o, "ci95", ci);
	result_put_real(o, "delta", v->value - a->was->value);
	result_put_int(o, "fixed", c.fixed);
	result_put_int(o, "broke", c.broke);
	result_put_real(o, "mcnemar_p", c.p);
	/* Where no test tells the two apart, the interval does. */
	result_put_bool(o, "kept", worse <= small || (isfinite(p) ? p >= ALPHA :
	    a->was->value >= v->low && a->was->value <= v->high));
	if (!v->per_token)
		return;
	ci = json_object();
	result_put_real(ci, "median", c.ratio);
	result_put_real(ci, "low", c.ratio_low);
	result_put_real(ci, "high", c.ratio_high);
	json_object_set_new(o, "perplexity_ratio", ci);
	result_put_real(o, "bits_per_byte", v->all[METRIC_BITS]);
	result_put_real(o, "next_token", v->all[METRIC_ACCURACY]);
}

/* Bytes, time and what it is worth. A time is better when the whole interval of
 * its ratio is below 1. */
static enum pare_rc
measure(struct look *a, const struct model *m, json_t *o, struct pare_err *err)
{
	struct latency_options how = { .batch = 1, .seq = a->seq,
		.runs = (int)a->runs };
	const struct evaluation *v;
	struct latency l;
	json_t *ratio;
	struct totals t;
	enum pare_rc rc;

	account_totals(m, a->seq, false, &t);
	result_put_int(o, "bytes", t.bytes);
	result_put_int(o, "params", t.params);
	result_put_bool(o, "memory", (double)t.bytes < 0.99 *
	    (double)a->base.bytes);
	rc = latency_run(m, a->m, &how, &l, NULL, &a->step.task, err);
	if (rc != PARE_OK)
		return rc;
	result_put_real(o, "p50_ms", l.p50_ms);
	ratio = json_object();
	result_put_real(ratio, "median", l.ratio);
	result_put_real(ratio, "low", l.ratio_low);
	result_put_real(ratio, "high", l.ratio_high);
	json_object_set_new(o, "latency_ratio", ratio);
	result_put_bool(o, "time", l.ratio_high < 1);
	if (a->was == NULL)
		return PARE_OK;
	rc = work_evaluate(a->s, m, work_metric(m), false, &v, NULL,
	    &a->step.task, err);
	if (rc == PARE_OK)
		put_value(a, v, o);
	return rc;
}

/* One row; what an op refuses on this model is told in it. */
static enum pare_rc
look_at(struct look *a, const struct method *t, json_t *rows,
    struct pare_err *err)
{
	bool calib = a->s->data[ROLE_CALIB] != NULL;
	const char *const *line = calib || t->plain[0] == NULL ? t->line :
	    t->plain;
	json_t *o = json_object();
	char *text = lines_text(line, t->learns);
	struct model *m = NULL;
	enum pare_rc rc;

	result_put_text(o, "method", t->name);
	result_put_text(o, "lines", text);
	result_put_text(o, "lecture_memory", t->memory);
	result_put_text(o, "lecture_time", t->time);
	rc = make(a, t, line, &m, err);
	if (rc == PARE_OK)
		rc = measure(a, m, o, err);
	result_put_text(o, "refused", rc == PARE_EUSER ? err->msg : NULL);
	if (rc == PARE_OK || rc == PARE_EUSER)
		json_array_append(rows, o);
	json_decref(o);
	model_unref(m);
	free(text);
	a->step.done++;
	return rc == PARE_EUSER ? PARE_OK : rc;
}

static void
put_start(const struct look *a, json_t *doc)
{
	json_t *o = json_object();

	result_put_int(o, "bytes", a->base.bytes);
	result_put_int(o, "params", a->base.params);
	result_put_real(o, "value", a->was != NULL ? a->was->value : NAN);
	result_put_int(o, "n", a->was != NULL ? a->was->n : 0);
	if (a->was != NULL && a->was->per_token) {
		result_put_real(o, "bits_per_byte", a->was->all[METRIC_BITS]);
		result_put_real(o, "next_token",
		    a->was->all[METRIC_ACCURACY]);
	}
	json_object_set_new(doc, "start", o);
	result_put_text(doc, "metric", a->was != NULL ?
	    metric_table[a->was->metric].name : NULL);
	result_put_int(doc, "seq", a->seq);
	result_put_int(doc, "runs", a->runs);
}

static enum pare_rc
run_overview(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct look a = { .s = s, .m = session_model(s),
		.runs = arg_int(args, "runs") };
	int64_t most = work_max_tokens(a.m, s->tokenizer);
	json_t *rows = json_array();
	enum pare_rc rc = PARE_OK;

	a.seq = settings_int(s->settings, SET_SEQ);
	a.seq = a.seq < most ? a.seq : most;
	account_totals(a.m, a.seq, false, &a.base);
	plan_progress_init(&a.step, task, METHODS, "methods");
	if (evaluate_can(a.m, s->data[ROLE_EVAL]))
		rc = work_evaluate(s, a.m, work_metric(a.m), false, &a.was,
		    NULL, &a.step.task, err);
	else
		notes_add(notes, "no %s: bytes and times alone",
		    head_gives_tokens(a.m->hp.head) ? "eval text" :
		    "labelled eval samples");
	if (s->data[ROLE_CALIB] == NULL)
		notes_add(notes, "no calib samples: parts are ranked by "
		    "magnitude, nothing is refitted or distilled");
	put_start(&a, doc);
	for (int i = 0; i < METHODS && rc == PARE_OK; i++)
		rc = look_at(&a, &methods[i], rows, err);
	if (rc == PARE_OK)
		json_object_set(doc, "rows", rows);
	json_decref(rows);
	notes_free(&a.notes);
	return rc;
}

static const struct arg_spec overview_args[] = {
	{ "runs", ARG_INT, 0, 5, 1000, "30", NULL, "passes",
	    "timed passes of each" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const overview_examples[] = { "overview",
	"overview runs=100", NULL };

const struct command command_overview = {
	.name = "overview",
	.group = GROUP_MEASURE,
	.help = "Measure the table of methods: what each does to this model.\n"
	    "One setting of each family is applied to the current model: its "
	    "bytes, its time as a ratio with its interval, its metric on the "
	    "eval samples with its 95 % interval; of a model that goes on "
	    "with a text the perplexity and bits per byte. Memory is better "
	    "where bytes shrink by 1 % or more, time where the whole interval "
	    "of the ratio is below 1; the metric is kept unless it is worse "
	    "by more than a point (1 % of a perplexity) with p below 0.05. What lectures print about the family stands beside it. With "
	    "calib samples (data FILE role=calib) structures are pruned by "
	    "Fisher information and refitted, and a student of every second "
	    "layer is distilled for one epoch. The history is left as it is.",
	.examples = overview_examples,
	.args = overview_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_overview,
};
