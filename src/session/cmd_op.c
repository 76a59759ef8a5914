/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any op of op_table[] through the history: estimate in a dry run, else apply
 * and add a state. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "ops/common.h"
#include "session/calibration.h"
#include "session/work.h"

static void
put_result(const struct session *s, const struct op *op,
    const struct op_result *r, int64_t seq, double seconds, json_t *doc)
{
	char *name = str_format("%s%s%s", op->verb, op->method != NULL ? " " :
	    "", op->method != NULL ? op->method : "");

	result_put_text(doc, "op", name);
	free(name);
	result_put_totals(doc, "before", &r->before, seq);
	result_put_totals(doc, "after", &r->after, seq);
	result_put_int(doc, "seq", seq);
	result_put_real(doc, "seconds", seconds);
	result_put_text(doc, "note", r->note);
	result_put_bool(doc, "dry_run", s->dry_run);
}

/* Whether this line draws at random: by=random, where the op has such a choice. */
static bool
draws(const struct op *op, const struct arg_list *args)
{
	if ((op->flags & OP_RANDOM) == 0)
		return false;
	for (int i = 0; i < args->n; i++)
		if (strcmp(args->spec[i].name, "by") == 0)
			return arg_get(args, "by")->has &&
			    strcmp(arg_choice(args, "by"), "random") == 0;
	return true;
}

/* A model of sizes alone does without. */
static enum pare_rc
gather_tokenizer(const struct session *s, const struct model *m,
    const char *what, struct op_calib *c, struct pare_err *err)
{
	c->tokenizer = s->tokenizer;
	if (s->tokenizer != NULL || m->ghost)
		return PARE_OK;
	return err_set(err, PARE_EUSER, "%s needs the model's tokenizer: %s",
	    what, s->tokenizer_why.msg);
}

static enum pare_rc
gather_all(struct session *s, const struct model *m, unsigned needs,
    const struct arg_list *args, bool calib, const char *what,
    struct op_calib *c, struct notes *notes, struct task *task,
    struct pare_err *err)
{
	const unsigned own = OP_NEED_TOKENIZER | OP_NEED_TOKENS |
	    OP_NEED_SWEEP | OP_NEED_ORDER | OP_NEED_TIMES;
	const unsigned alone = OP_NEED_TOKENIZER | OP_NEED_TIMES;
	enum pare_rc rc = calib && (needs & ~alone) != 0 ?
	    calibration_check(s, what, err) : PARE_OK;

	if (rc == PARE_OK && calib && (needs & ~own) != 0)
		rc = calibration_get(s, m, needs & ~own, calibrate_samples(
		    s->data[ROLE_CALIB], CALIBRATE_TOKENS), what, c, notes,
		    task, err);
	if (rc == PARE_OK && calib && (needs & OP_NEED_ORDER) != 0)
		rc = work_layer_order(s, m, ops_least(args), &c->order,
		    &c->norder, task, err);
	if (rc == PARE_OK && calib && (needs & OP_NEED_SWEEP) != 0) {
		c->ncoded = sweep_recall(s, m, arg_text(args, "widths"),
		    &c->coded, err);
		rc = c->ncoded > 0 ? PARE_OK : err->rc;
	}
	if (rc == PARE_OK && (needs & OP_NEED_TOKENIZER) != 0)
		rc = gather_tokenizer(s, m, what, c, err);
	if (rc == PARE_OK && calib && (needs & OP_NEED_TOKENS) != 0)
		rc = calibration_tokens(s, m, what, &c->tokens, err);
	if (rc == PARE_OK && !m->ghost && (needs & OP_NEED_TIMES) != 0)
		rc = calibration_times(s, m, arg_int(args, "seq"), &c->times,
		    task, err);
	return rc;
}

/* What the line wants of the calib samples; c->coded and c->order are the caller's
 * to free. A dry run does without where there are none. */
static enum pare_rc
gather(struct session *s, const struct model *m, const struct op *op,
    const struct arg_list *args, struct op_calib *c,
    const struct op_calib **out, struct notes *notes, struct task *task,
    struct pare_err *err)
{
	unsigned needs = op->needs != NULL ? op->needs(args) : 0;
	bool calib;
	char *what;
	enum pare_rc rc = PARE_OK;

	*out = NULL;
	memset(c, 0, sizeof(*c));
	calib = !m->ghost && (!s->dry_run || s->data[ROLE_CALIB] != NULL);
	if (needs == 0 || (!calib && (needs & (OP_NEED_TOKENIZER |
	    OP_NEED_TIMES)) == 0))
		return PARE_OK;
	what = str_format("%s%s%s", op->verb, op->method != NULL ? " " : "",
	    op->method != NULL ? op->method : "");
	rc = gather_all(s, m, needs, args, calib, what, c, notes, task, err);
	free(what);
	if (rc == PARE_OK)
		*out = c;
	return rc;
}

static int
rounds_of(const struct arg_list *args)
{
	for (int i = 0; i < args->n; i++)
		if (strcmp(args->spec[i].name, "rounds") == 0)
			return (int)arg_int(args, "rounds");
	return 1;
}

/* One op after another, each on what the last one left and on what is gathered
 * from that; the result is from the first to the last. */
static enum pare_rc
apply_rounds(struct session *s, const struct op *op, struct op_input *in,
    bool estimate, struct op_result *out, struct notes *notes,
    struct pare_err *err)
{
	const int64_t seq = settings_int(s->settings, SET_SEQ);
	struct op_rounds rounds = { .of = rounds_of(in->args),
		.before = in->model };
	struct op_result last = { 0 };
	struct op_calib calib;
	struct notes own = { 0 };
	enum pare_rc rc = PARE_OK;

	if (rounds.of > 1 && !estimate)
		in->rounds = &rounds;
	else
		rounds.of = 1;
	for (int k = 1; k <= rounds.of && rc == PARE_OK; k++) {
		struct op_result r;

		rounds.round = k;
		in->model = k == 1 ? rounds.before : last.model;
		rc = gather(s, in->model, op, in->args, &calib, &in->calib,
		    k == 1 ? notes : &own, in->task, err);
		if (rc == PARE_OK)
			rc = estimate ? op_estimate(op, in, seq, &r, err) :
			    op_apply(op, in, seq, &r, err);
		free(calib.coded);
		free(calib.order);
		if (rc != PARE_OK)
			break;
		if (k > 1)
			r.before = last.before;
		op_result_free(&last);
		last = r;
	}
	notes_free(&own);
	in->rounds = NULL;
	if (rc != PARE_OK) {
		op_result_free(&last);
		return rc;
	}
	if (rounds.of > 1 && last.note != NULL) {
		char *note = str_format("%d rounds; of the last: %s",
		    rounds.of, last.note);

		free(last.note);
		last.note = note;
	}
	*out = last;
	return PARE_OK;
}

/* " keep=4:512,3:400": what a table of this machine chose, so that the line gives
 * it on any. */
static char *
line_with_counts(char *line, const struct model *m)
{
	struct str s = STR_INIT;

	str_addf(&s, "%s keep=", line);
	for (int l = 0; l < m->nlayers; l++)
		str_addf(&s, "%s%d:%lld", l > 0 ? "," : "",
		    m->layer[l].heads, (long long)m->layer[l].ffn);
	free(line);
	return str_detach(&s);
}

static bool
is_timed(const struct op *op, const struct arg_list *args)
{
	return op->needs != NULL && (op->needs(args) & OP_NEED_TIMES) != 0;
}

/* What was foretold of the time, and, where something was made, what it is. */
static enum pare_rc
put_times(struct session *s, const struct op *op, const struct arg_list *args,
    const struct model *was, const struct model *now, json_t *doc,
    struct task *task, struct pare_err *err)
{
	struct latency_options o = { .batch = 1, .runs = 40 };
	const struct op_times *t;
	json_t *out;
	struct latency l;
	enum pare_rc rc;

	if (!is_timed(op, args))
		return PARE_OK;
	rc = calibration_times(s, was, arg_int(args, "seq"), &t, task, err);
	if (rc != PARE_OK)
		return rc;
	out = json_object();
	result_put_int(out, "seq", t->seq);
	result_put_bool(out, "disturbed", t->waited > LATENCY_WAITED_MAX);
	result_put_real(out, "start_ms", t->ms);
	result_put_real(out, "predicted_ms", times_of(t, was, now));
	result_put_real(out, "predicted_ratio", times_of(t, was, now) / t->ms);
	o.seq = t->seq;
	if (!s->dry_run)
		rc = latency_run(now, was, &o, &l, NULL, task, err);
	if (rc == PARE_OK && !s->dry_run) {
		result_put_real(out, "measured_ms", l.p50_ms);
		result_put_real(out, "measured_start_ms", l.original_p50_ms);
		result_put_real(out, "measured_ratio", l.ratio);
	}
	json_object_set_new(doc, "times", out);
	return rc;
}

/* A line that draws nothing gets the same seed whatever is set, so that it alone
 * tells the result. */
enum pare_rc
cmd_op_run(struct session *s, const struct op *op,
    const struct arg_list *args, json_t *doc, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	bool random = draws(op, args);
	struct op_input in = {
		.model = session_model(s), .args = args,
		.seed = random ? work_seed(s, args) : 0, .task = task,
	};
	const struct model *was = in.model;
	int64_t seq = settings_int(s->settings, SET_SEQ);
	double start = task_now(), seconds;
	struct op_result r;
	enum pare_rc rc;
	char *line;

	rc = apply_rounds(s, op, &in, s->dry_run, &r, notes, err);
	if (rc != PARE_OK)
		return rc;
	if (op->needs != NULL && (op->needs(args) & OP_NEED_GATES) != 0)
		calibration_doubt(s, session_model(s), notes);
	seconds = task_now() - start;
	rc = put_times(s, op, args, was, r.model, doc, task, err);
	if (rc != PARE_OK) {
		op_result_free(&r);
		return rc;
	}
	if (s->dry_run) {
		s->unrecorded = true;
	} else {
		line = random ? work_line_with_seed(s, args) :
		    xstrdup(s->line);
		if (is_timed(op, args))
			line = line_with_counts(line, r.model);
		rc = work_add_state(s, model_ref(r.model), line, seconds, err);
		work_record(s, line);
	}
	if (rc == PARE_OK)
		put_result(s, op, &r, seq, seconds, doc);
	op_result_free(&r);
	return rc;
}

static enum pare_rc
apply_words(struct session *s, const struct model *m,
    const struct arg_words *w, bool estimate, struct op_result *out,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct op_input in = { .model = m, .task = task };
	struct arg_list args;
	const struct op *op;
	enum pare_rc rc;
	int words;

	if (op_find(w, &op, &words, err) != PARE_OK ||
	    arg_parse(op->args, w, words, &args, err) != PARE_OK)
		return err->rc;
	in.args = &args;
	in.seed = draws(op, &args) ? work_seed(s, &args) : 0;
	rc = estimate ? op_estimate(op, &in, settings_int(s->settings,
	    SET_SEQ), out, err) :
	    apply_rounds(s, op, &in, false, out, notes, err);
	arg_list_free(&args);
	return rc;
}

enum pare_rc
work_op_apply(struct session *s, const struct model *m, const char *line,
    bool estimate, struct op_result *out, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	struct arg_words w;
	enum pare_rc rc = arg_split(line, &w, err);

	if (rc != PARE_OK)
		return rc;
	rc = apply_words(s, m, &w, estimate, out, notes, task, err);
	arg_words_free(&w);
	return rc;
}
