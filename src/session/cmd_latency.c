/* SPDX-License-Identifier: GPL-3.0-or-later */
/* latency, and what a live session measures by itself. */
#include <math.h>

#include "session/work.h"
#include "tensor/kernel.h"

static const struct arg_spec latency_args[] = {
	{ "batch", ARG_INT, 0, 1, 4096, "1", NULL, "sequences",
	    "sequences in one pass" },
	{ "seq", ARG_INT, 0, 1, 1048576, NULL, NULL, "tokens",
	    "length of each; the setting seq unless said" },
	{ "runs", ARG_INT, 0, 0, 100000, "0", NULL, "runs",
	    "counted runs; 0 measures for about two seconds" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of the token ids" },
	{ "fresh", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "measure again instead of recalling" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const latency_examples[] = { "latency",
	"latency batch=8 seq=64", "latency runs=10", NULL };

static enum pare_rc
check_length(const struct model *m, int64_t *seq, bool asked,
    struct pare_err *err)
{
	int64_t most = work_max_tokens(m, NULL);

	if (*seq <= most)
		return PARE_OK;
	if (!asked) {
		*seq = most;
		return PARE_OK;
	}
	err_set(err, PARE_EUSER,
	    "seq=%lld: the model takes at most %lld tokens",
	    (long long)*seq, (long long)most);
	return err_hint(err, "latency seq=%lld", (long long)most);
}

enum pare_rc
work_measure_latency(struct session *s, int id,
    const struct latency_options *o, bool fresh, struct latency *out,
    bool *cached, struct task *task, struct pare_err *err)
{
	const struct model *m = s->history.state[id].model;
	const struct model *original = s->history.state[0].model;
	struct latency_options use = *o;
	struct latency_key key = {
		.model = model_hash(m), .original = model_hash(original),
		.batch = o->batch, .threads = kernel_threads(),
	};
	const struct latency *known;
	enum pare_rc rc;

	check_length(m, &use.seq, false, NULL);
	key.seq = use.seq;
	known = memory_latency(s->memory, &key);
	if (!fresh && known != NULL && settings_bool(s->settings, SET_CACHE) &&
	    (o->runs == 0 || known->runs >= o->runs)) {
		*out = *known;
		if (cached != NULL)
			*cached = true;
		return PARE_OK;
	}
	rc = latency_run(m, m == original ? NULL : original, &use, out, task,
	    err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK)
		return rc;
	memory_keep_latency(s->memory, &key, out);
	if (cached != NULL)
		*cached = false;
	return PARE_OK;
}

double
work_known_ratio(const struct session *s, const struct model *m)
{
	const struct latency *l;

	if (work_known_hash(m) == 0)
		return NAN;
	l = memory_latency_of(s->memory, work_known_hash(m));
	return l != NULL && l->has_ratio ? l->ratio : NAN;
}

void
work_put_latency(json_t *doc, const struct latency *l, bool cached)
{
	json_t *ratio;

	result_put_int(doc, "batch", l->batch);
	result_put_int(doc, "seq", l->seq);
	result_put_int(doc, "runs", l->runs);
	result_put_int(doc, "threads", l->threads);
	result_put_real(doc, "p50_ms", l->p50_ms);
	result_put_real(doc, "p95_ms", l->p95_ms);
	result_put_bool(doc, "cached", cached);
	result_put_text(doc, "blas", kernel_blas_name());
	if (!l->has_ratio)
		return;
	ratio = json_object();
	result_put_real(ratio, "median", l->ratio);
	result_put_real(ratio, "low", l->ratio_low);
	result_put_real(ratio, "high", l->ratio_high);
	result_put_real(doc, "original_p50_ms", l->original_p50_ms);
	json_object_set_new(doc, "ratio_to_original", ratio);
}

static enum pare_rc
run_latency(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	bool asked = arg_get(args, "seq")->has, cached;
	struct latency_options o = {
		.batch = arg_int(args, "batch"),
		.seq = asked ? arg_int(args, "seq") :
		    settings_int(s->settings, SET_SEQ),
		.runs = (int)arg_int(args, "runs"),
		.seed = work_seed(s, args),
	};
	struct latency l;
	enum pare_rc rc;

	rc = check_length(session_model(s), &o.seq, asked, err);
	if (rc == PARE_OK)
		rc = work_measure_latency(s, s->history.current, &o,
		    arg_int(args, "fresh") != 0, &l, &cached, task, err);
	if (rc == PARE_OK)
		work_put_latency(doc, &l, cached);
	return rc;
}

const struct command command_latency = {
	.name = "latency",
	.group = GROUP_MEASURE,
	.help = "Measure milliseconds of a forward pass.\n"
	    "Warms up, then runs the original and the current state in turn, "
	    "so that the ratio between them can be believed on a busy machine. "
	    "Without a change there is no ratio.",
	.examples = latency_examples,
	.args = latency_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_latency,
};

/* ---- live ---- */

/* Runs that fit into about half a second, judged by the evaluation just done;
 * at least 5. */
static int
live_runs(const struct session *s, int64_t seq)
{
	const struct model *m = session_model(s);
	const struct evaluation *v = memory_evaluation(s->memory,
	    work_known_hash(m), s->data[ROLE_EVAL], work_metric(m));
	double pass, runs;

	if (v == NULL || v->tokens <= 0 || v->seconds <= 0)
		return 10;
	pass = v->seconds * (double)seq / (double)v->tokens;
	runs = 0.5 / (2.0 * pass);
	return runs < 5 ? 5 : runs > 50 ? 50 : (int)runs;
}

void
work_live(struct session *s, bool with_latency, json_t *doc,
    struct notes *notes, struct task *task)
{
	const struct model *m = session_model(s);
	struct latency_options o = { .batch = 1 };
	struct eval_ask ask = { .against = 0 };
	struct pare_err err;
	struct latency l;
	json_t *eval, *lat;
	bool cached;

	if (!s->interactive || !settings_bool(s->settings, SET_LIVE) ||
	    s->dry_run || m == NULL || m->ghost ||
	    s->data[ROLE_EVAL] == NULL || !s->data[ROLE_EVAL]->has_labels ||
	    (m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS))
		return;
	eval = json_object();
	ask.metric = work_metric(m);
	if (work_eval_doc(s, s->history.current, &ask, eval, notes, task,
	    &err) != PARE_OK) {
		json_decref(eval);
		notes_add(notes, "the change is made, its evaluation is not: "
		    "%s", err.rc == PARE_ECANCELED ? "stopped" : err.msg);
		return;
	}
	json_object_set_new(doc, "eval", eval);
	if (!with_latency || s->history.current == 0)
		return;
	o.seq = settings_int(s->settings, SET_SEQ);
	o.runs = live_runs(s, o.seq);
	if (work_measure_latency(s, s->history.current, &o, false, &l, &cached,
	    task, &err) != PARE_OK)
		return;
	lat = json_object();
	work_put_latency(lat, &l, cached);
	json_object_set_new(doc, "latency", lat);
}
