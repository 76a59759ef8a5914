/* SPDX-License-Identifier: GPL-3.0-or-later */
/* latency, and what a live session measures by itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "session/work.h"
#include "tensor/kernel.h"

enum { BATCH_MAX = 4096, SEQ_MAX = 1048576, LIST_MAX = 16, LIST_LAYERS = 8 };

static const char *const what_choices[] = { "pass", "grid", NULL };

static const struct arg_spec latency_args[] = {
	{ "what", ARG_CHOICE, ARG_WORD, 0, 0, "pass", what_choices, NULL,
	    "one kind of pass, or a table of every batch with every length" },
	{ "batch", ARG_TEXT, 0, 0, 0, NULL, NULL, "sequences",
	    "sequences in one pass, 1 unless said; for a grid a list, "
	    "1,4,16 unless said" },
	{ "seq", ARG_TEXT, 0, 0, 0, NULL, NULL, "tokens",
	    "length of each, the setting seq unless said; for a grid a list, "
	    "16,64,128 unless said" },
	{ "tokens", ARG_INT, 0, 0, DECODE_TOKENS_MAX, "16", NULL, "tokens",
	    "how many a language model writes after a prompt of seq tokens, "
	    "beside the pass; 0 leaves that out" },
	{ "runs", ARG_INT, 0, 0, 100000, "0", NULL, "runs",
	    "counted runs; 0 measures for about two seconds, or one second a "
	    "cell of a grid" },
	{ "threads", ARG_INT, 0, 1, 256, NULL, NULL, "threads",
	    "threads to compute with; the setting threads unless said" },
	{ "layers", ARG_BOOL, 0, 0, 0, NULL, NULL, NULL,
	    "list every layer; on for models of up to 8" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of the token ids" },
	{ "fresh", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "measure again instead of recalling; a grid always does" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const latency_examples[] = { "latency",
	"latency batch=8 seq=64", "latency seq=128 tokens=64", "latency runs=10 layers=on",
	"latency grid batch=1,4,16 seq=16,64,128", NULL };

/* ---- sizes ---- */

struct sizes {
	int n;
	int64_t v[LIST_MAX];
};

static enum pare_rc
bad_size(const char *name, const char *text, int64_t most,
    struct pare_err *err)
{
	size_t len = strcspn(text, ",");

	return err_set(err, PARE_EUSER, "%s: '%.*s' is not a number from 1 to "
	    "%lld", name, len < 20 ? (int)len : 20, text, (long long)most);
}

/* "1,4,16". */
static enum pare_rc
parse_sizes(const char *name, const char *text, int64_t most,
    struct sizes *out, struct pare_err *err)
{
	out->n = 0;
	for (const char *p = text;; p++) {
		char *end;
		long long v = strtoll(p, &end, 10);

		if (end == p || v < 1 || v > most ||
		    (*end != '\0' && *end != ','))
			return bad_size(name, p, most, err);
		if (out->n == LIST_MAX)
			return err_set(err, PARE_EUSER, "%s: over %d numbers",
			    name, LIST_MAX);
		for (int i = 0; i < out->n; i++)
			if (out->v[i] == v)
				return err_set(err, PARE_EUSER,
				    "%s: %lld is there twice", name, v);
		out->v[out->n++] = v;
		p = end;
		if (*p == '\0')
			return PARE_OK;
	}
}

/* The lengths of a grid for which none was given, as far as m takes them. */
static void
usual_lengths(const struct model *m, struct sizes *out)
{
	static const int64_t usual[] = { 16, 64, 128 };
	int64_t most = work_max_tokens(m, NULL);

	out->n = 0;
	for (int i = 0; i < 3; i++) {
		int64_t v = usual[i] < most ? usual[i] : most;

		if (out->n == 0 || out->v[out->n - 1] < v)
			out->v[out->n++] = v;
	}
}

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

/* The sizes of the line; without them one of each, or a usual few. */
static enum pare_rc
read_sizes(const struct session *s, const struct arg_list *args, bool grid,
    struct sizes *batch, struct sizes *seq, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const char *b = arg_text(args, "batch"), *l = arg_text(args, "seq");
	enum pare_rc rc;

	*seq = (struct sizes){ 1, { settings_int(s->settings, SET_SEQ) } };
	if (l == NULL && grid)
		usual_lengths(m, seq);
	rc = parse_sizes("batch", b != NULL ? b : grid ? "1,4,16" : "1",
	    BATCH_MAX, batch, err);
	if (rc == PARE_OK && l != NULL)
		rc = parse_sizes("seq", l, SEQ_MAX, seq, err);
	for (int i = 0; i < seq->n && rc == PARE_OK; i++)
		rc = check_length(m, &seq->v[i], l != NULL, err);
	if (rc != PARE_OK || grid || (batch->n == 1 && seq->n == 1))
		return rc;
	err_set(err, PARE_EUSER, "several sizes at once are a grid");
	return err_hint(err, "latency grid%s%s%s%s", b != NULL ? " batch=" :
	    "", b != NULL ? b : "", l != NULL ? " seq=" : "",
	    l != NULL ? l : "");
}

/* ---- measuring ---- */

static void
make_key(const struct session *s, int id, const struct latency_options *o,
    struct latency_key *key)
{
	*key = (struct latency_key){
		.model = model_hash(s->history.state[id].model),
		.original = model_hash(s->history.state[0].model),
		.batch = o->batch, .seq = o->seq,
		.threads = o->threads > 0 ? o->threads : kernel_threads(),
	};
}

static enum pare_rc
measure(struct session *s, int id, const struct latency_options *o,
    struct latency *out, struct task *task, struct pare_err *err)
{
	const struct model *m = s->history.state[id].model;
	const struct model *original = s->history.state[0].model;
	struct latency_parts *parts[2];
	struct latency_key key;
	enum pare_rc rc;

	rc = latency_run(m, m == original ? NULL : original, o, out, parts,
	    task, err);
	if (rc != PARE_OK)
		return rc;
	rc = work_damage(err);
	if (rc != PARE_OK) {
		free(parts[0]);
		free(parts[1]);
		return rc;
	}
	make_key(s, id, o, &key);
	memory_keep_latency(s->memory, &key, out);
	memory_keep_parts(s->memory, &key, parts);
	return PARE_OK;
}

enum pare_rc
work_measure_latency(struct session *s, int id,
    const struct latency_options *o, bool fresh, struct latency *out,
    bool *cached, struct task *task, struct pare_err *err)
{
	struct latency_options use = *o;
	const struct latency *known;
	struct latency_key key;
	bool recalled;

	check_length(s->history.state[id].model, &use.seq, false, NULL);
	make_key(s, id, &use, &key);
	known = memory_latency(s->memory, &key);
	recalled = !fresh && known != NULL &&
	    settings_bool(s->settings, SET_CACHE) &&
	    (o->runs == 0 || known->runs >= o->runs);
	if (cached != NULL)
		*cached = recalled;
	if (!recalled)
		return measure(s, id, &use, out, task, err);
	*out = *known;
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

/* ---- documents ---- */

static void
put_ratio(json_t *doc, const struct latency *l)
{
	json_t *ratio;

	if (!l->has_ratio)
		return;
	ratio = json_object();
	result_put_real(ratio, "median", l->ratio);
	result_put_real(ratio, "low", l->ratio_low);
	result_put_real(ratio, "high", l->ratio_high);
	result_put_real(doc, "original_p50_ms", l->original_p50_ms);
	json_object_set_new(doc, "ratio_to_original", ratio);
}

/* What makes the numbers doubtful; null on a quiet machine. */
static void
put_noise(json_t *doc, const struct latency *l)
{
	bool wide = latency_spread(l) > LATENCY_SPREAD_MAX;
	bool busy = l->waited > LATENCY_WAITED_MAX;
	struct str why = STR_INIT;

	if (wide)
		str_addf(&why, "the middle half of the passes spreads over "
		    "%.0f %% of the median", 100 * latency_spread(l));
	if (busy)
		str_addf(&why, "%sthreads waited for a processor %.0f %% of "
		    "the time", wide ? "; " : "", 100 * l->waited);
	result_put_text(doc, "noise", wide || busy ? why.s : NULL);
	str_free(&why);
}

/* What a pass and a cell of a grid have alike. */
static void
put_times(json_t *doc, const struct latency *l)
{
	result_put_int(doc, "batch", l->batch);
	result_put_int(doc, "seq", l->seq);
	result_put_int(doc, "runs", l->runs);
	if (l->runs == 0)
		return;
	result_put_real(doc, "p50_ms", l->p50_ms);
	result_put_real(doc, "p95_ms", l->p95_ms);
	result_put_real(doc, "p25_ms", l->p25_ms);
	result_put_real(doc, "p75_ms", l->p75_ms);
	result_put_real(doc, "spread", latency_spread(l));
	result_put_real(doc, "waited", l->waited);
	put_noise(doc, l);
	put_ratio(doc, l);
}

void
work_put_latency(json_t *doc, const struct latency *l, bool cached)
{
	put_times(doc, l);
	result_put_int(doc, "warm_up", l->warm);
	result_put_int(doc, "threads", l->threads);
	result_put_bool(doc, "pinned", l->pinned);
	result_put_bool(doc, "cached", cached);
	result_put_text(doc, "blas", kernel_blas_name());
}

static void
put_layers(json_t *doc, const struct latency_parts *p)
{
	json_t *list = json_array();

	for (int l = 0; l < p->layers; l++) {
		const double *ms = p->layer_ms[l];
		json_t *o = json_object();

		result_put_int(o, "layer", l);
		result_put_real(o, "ms", latency_layer_ms(p, l));
		result_put_real(o, "attention_ms", ms[ENGINE_ATTENTION]);
		result_put_real(o, "ffn_ms", ms[ENGINE_FFN]);
		result_put_real(o, "norm_ms", ms[ENGINE_NORM]);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "layers", list);
}

/* An object of milliseconds under key; nothing when p is NULL. */
static void
put_parts(json_t *doc, const char *key, const struct latency_parts *p)
{
	json_t *o;

	if (p == NULL)
		return;
	o = json_object();
	result_put_int(o, "passes", p->passes);
	result_put_real(o, "whole_ms", p->whole_ms);
	result_put_real(o, "sum_ms", latency_sum_ms(p));
	result_put_real(o, "embed_ms", p->embed_ms);
	result_put_real(o, "attention_ms", latency_part_ms(p,
	    ENGINE_ATTENTION));
	result_put_real(o, "ffn_ms", latency_part_ms(p, ENGINE_FFN));
	result_put_real(o, "norm_ms", latency_part_ms(p, ENGINE_NORM));
	result_put_real(o, "head_ms", p->head_ms);
	put_layers(o, p);
	json_object_set_new(doc, key, o);
}

static void
put_sizes(json_t *doc, const char *key, const struct sizes *s)
{
	json_t *list = json_array();

	for (int i = 0; i < s->n; i++)
		json_array_append_new(list, json_integer(s->v[i]));
	json_object_set_new(doc, key, list);
}

static void
put_grid(json_t *doc, const struct latency_grid *g)
{
	json_t *cells = json_array();

	for (int i = 0; i < g->nbatch * g->nseq; i++) {
		const struct latency *l = &g->cell[i];
		json_t *o = json_object();

		put_times(o, l);
		result_put_real(o, "tokens_per_second", l->runs == 0 ? NAN :
		    1e3 * (double)(l->batch * l->seq) / l->p50_ms);
		json_array_append_new(cells, o);
	}
	result_put_bool(doc, "partial", g->partial);
	result_put_int(doc, "threads", g->cell[0].threads);
	result_put_bool(doc, "pinned", g->cell[0].pinned);
	result_put_text(doc, "blas", kernel_blas_name());
	json_object_set_new(doc, "cells", cells);
}

/* ---- a text that is written ---- */

static void
put_decode(json_t *doc, const struct decode_latency *l, bool cached)
{
	json_t *o = json_object(), *ratio;

	result_put_int(o, "prompt", l->prompt);
	result_put_int(o, "tokens", l->tokens);
	result_put_int(o, "runs", l->runs);
	result_put_real(o, "first_p50_ms", l->first_p50_ms);
	result_put_real(o, "first_p95_ms", l->first_p95_ms);
	result_put_real(o, "p50_ms", l->p50_ms);
	result_put_real(o, "p95_ms", l->p95_ms);
	result_put_real(o, "tokens_per_second", 1e3 / l->p50_ms);
	result_put_int(o, "kv_bytes", l->kv_bytes);
	if (l->has_ratio) {
		ratio = json_object();
		result_put_real(ratio, "median", l->ratio);
		result_put_real(ratio, "low", l->ratio_low);
		result_put_real(ratio, "high", l->ratio_high);
		json_object_set_new(o, "ratio_to_original", ratio);
		result_put_real(o, "original_first_p50_ms",
		    l->original_first_p50_ms);
		result_put_real(o, "original_p50_ms", l->original_p50_ms);
		result_put_int(o, "original_kv_bytes", l->original_kv_bytes);
	}
	result_put_real(o, "waited", l->waited);
	result_put_bool(o, "cached", cached);
	json_object_set_new(doc, "decode", o);
}

/* Measures, or recalls, how m writes a text; `decode` in doc, null for models
 * that write none. */
static enum pare_rc
run_decode(struct session *s, const struct latency_options *pass,
    int64_t tokens, bool fresh, json_t *doc, struct task *task,
    struct pare_err *err)
{
	const struct model *m = session_model(s);
	const struct model *original = s->history.state[0].model;
	struct decode_options o = { .prompt = pass->seq, .tokens = tokens,
		.runs = pass->runs, .seed = pass->seed,
		.threads = pass->threads };
	const struct decode_latency *known;
	struct decode_latency l;
	struct latency_key key;
	enum pare_rc rc = PARE_OK;

	json_object_set_new(doc, "decode", json_null());
	if (tokens == 0 || !decode_fits(m))
		return PARE_OK;
	if (o.tokens > kv_longest(m) - 1)
		o.tokens = kv_longest(m) - 1;
	if (o.prompt > kv_longest(m) - o.tokens)
		o.prompt = kv_longest(m) - o.tokens;
	make_key(s, s->history.current, pass, &key);
	key.batch = o.tokens;
	key.seq = o.prompt;
	known = fresh || !settings_bool(s->settings, SET_CACHE) ? NULL :
	    memory_decode(s->memory, &key);
	if (known != NULL && (o.runs == 0 || known->runs >= o.runs)) {
		put_decode(doc, known, true);
		return PARE_OK;
	}
	rc = decode_latency_run(m, m == original ? NULL : original, &o, &l,
	    task, err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK)
		return rc;
	memory_keep_decode(s->memory, &key, &l);
	put_decode(doc, &l, false);
	return PARE_OK;
}

/* ---- the command ---- */

static enum pare_rc
run_grid(struct session *s, const struct arg_list *args, struct sizes *batch,
    struct sizes *seq, json_t *doc, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const struct model *original = s->history.state[0].model;
	struct latency_grid g = {
		.nbatch = batch->n, .batch = batch->v,
		.nseq = seq->n, .seq = seq->v,
		.runs = (int)arg_int(args, "runs"),
		.seed = work_seed(s, args),
		.threads = arg_get(args, "threads")->has ?
		    (int)arg_int(args, "threads") : 0,
	};
	enum pare_rc rc;

	rc = latency_grid_run(m, m == original ? NULL : original, &g, task,
	    err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK)
		return rc;
	put_sizes(doc, "batches", batch);
	put_sizes(doc, "lengths", seq);
	put_grid(doc, &g);
	return PARE_OK;
}

static enum pare_rc
run_pass(struct session *s, const struct arg_list *args, int64_t batch,
    int64_t seq, json_t *doc, struct task *task, struct pare_err *err)
{
	struct latency_options o = {
		.batch = batch, .seq = seq,
		.runs = (int)arg_int(args, "runs"),
		.seed = work_seed(s, args),
		.threads = arg_get(args, "threads")->has ?
		    (int)arg_int(args, "threads") : 0,
	};
	int id = s->history.current;
	const struct latency_parts *p;
	struct latency_key key;
	struct latency l;
	enum pare_rc rc;
	bool cached;

	rc = work_measure_latency(s, id, &o, arg_int(args, "fresh") != 0, &l,
	    &cached, task, err);
	if (rc != PARE_OK)
		return rc;
	work_put_latency(doc, &l, cached);
	rc = run_decode(s, &o, arg_int(args, "tokens"),
	    arg_int(args, "fresh") != 0, doc, task, err);
	if (rc != PARE_OK)
		return rc;
	make_key(s, id, &o, &key);
	p = memory_parts(s->memory, &key, false);
	if (p == NULL)
		return PARE_OK;
	put_parts(doc, "breakdown", p);
	put_parts(doc, "original_breakdown", memory_parts(s->memory, &key,
	    true));
	result_put_bool(doc, "list_layers", arg_get(args, "layers")->has ?
	    arg_int(args, "layers") != 0 : p->layers <= LIST_LAYERS);
	return PARE_OK;
}

static enum pare_rc
run_latency(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	bool grid = strcmp(arg_choice(args, "what"), "grid") == 0;
	struct sizes batch, seq;
	enum pare_rc rc;

	rc = read_sizes(s, args, grid, &batch, &seq, err);
	if (rc != PARE_OK)
		return rc;
	if (grid)
		return run_grid(s, args, &batch, &seq, doc, task, err);
	return run_pass(s, args, batch.v[0], seq.v[0], doc, task, err);
}

const struct command command_latency = {
	.name = "latency",
	.group = GROUP_MEASURE,
	.help = "Measure milliseconds of a forward pass.\n"
	    "Keeps each thread on a processor of its own, warms up, then runs "
	    "the original and the current state in turn, so that the ratio "
	    "between them can be believed on a busy machine; without a change "
	    "there is no ratio. What each part and layer takes is measured in "
	    "the same passes. A pass under 20 ms is made twice each time and "
	    "the second one counts, for a model that is in use finds its "
	    "weights in the processor's cache. Of a language model it is also "
	    "measured how it writes: the time from a prompt of seq tokens to "
	    "the first token, and that of each token from then on, with keys "
	    "and values kept. Stopping a grid keeps what was measured so far.",
	.examples = latency_examples,
	.args = latency_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_latency,
};

/* ---- live ---- */

/* The evaluation of m when it ran all layers, for its time. */
static const struct evaluation *
whole_evaluation(const struct session *s, const struct model *m)
{
	const struct dataset *d = session_data(s, m, ROLE_EVAL);
	const struct evaluation *v = d == NULL ? NULL :
	    memory_evaluation(s->memory, work_known_hash(m), d,
	    work_metric(m));

	return v != NULL && v->from == 0 && v->tokens > 0 && v->seconds > 0 ?
	    v : NULL;
}

/* Runs that fit into about half a second, judged by the evaluation just done, or
 * by the original's; at least 5. */
static int
live_runs(const struct session *s, int64_t seq)
{
	const struct evaluation *v = whole_evaluation(s, session_model(s));
	double pass, runs;

	if (v == NULL)
		v = whole_evaluation(s, s->history.state[0].model);
	if (v == NULL)
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
	    !evaluate_can(m, s->data[ROLE_EVAL]))
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
