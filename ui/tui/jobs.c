/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frame's own jobs: a line of the session, and the evaluation that follows
 * every change.
 *
 * While lines run or wait the session is lent (app->p->lent > 0); the loop then
 * touches nothing of it. An evaluation works on a reference to the model, on
 * the samples and with the session's evaluator; only a line can replace the
 * samples or evaluate too, and a line runs after the evaluation in the same
 * thread.
 */
#include "ui/tui/app_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "session/command.h"
#include "session/memory.h"
#include "session/settings.h"
#include "ui/doc.h"
#include "ui/render.h"

/* ---- lines --------------------------------------------------------------- */

/* What a line of a script answered. */
struct said {
	const char *kind;
	json_t *doc;
};

struct line_job {
	struct job job;
	struct app *app;
	char *line;
	struct look look;
	struct result result;
	struct said *said;
	int nsaid;
	bool brief;		/* the answer fits the message line */
	/* The answer as far as it is, under the worker's lock. */
	struct said part;
	bool shown;		/* a part of it was */
};

/* Called in the worker for the lines of `source` and `resume`. */
static void
on_result(const struct result *r, void *ctx)
{
	struct line_job *j = ctx;

	if (r->rc != PARE_OK || r->doc == NULL)
		return;
	j->said = xrealloc(j->said, (size_t)(j->nsaid + 1) *
	    sizeof(*j->said));
	j->said[j->nsaid++] = (struct said){ r->kind, json_incref(r->doc) };
}

/* Called in the worker while a line runs. */
static void
on_part(const char *kind, json_t *doc, void *ctx)
{
	struct line_job *j = ctx;
	json_t *old;

	worker_lock(j->job.worker);
	old = j->part.doc;
	j->part = (struct said){ kind, json_incref(doc) };
	worker_unlock(j->job.worker);
	json_decref(old);
	worker_post(&j->job);
}

/* A table that fills in. It comes up once; whoever looks at something else then
 * is left alone. */
static void
line_progress(struct app *app, struct job *job)
{
	struct line_job *j = (struct line_job *)job;
	struct said now;

	worker_lock(j->job.worker);
	now = j->part;
	j->part.doc = NULL;
	worker_unlock(j->job.worker);
	if (now.doc == NULL)
		return;
	if (j->shown)
		output_again(app);
	else
		output_begin(app, j->line);
	output_add_document(app, now.kind, now.doc);
	json_decref(now.doc);
	if (j->shown)
		output_refresh(app);
	else
		output_show(app);
	j->shown = true;
}

static enum pare_rc
line_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct line_job *j = (struct line_job *)job;
	struct session *s = j->app->p->session;

	session_on_result = on_result;
	session_on_result_ctx = j;
	session_on_part = j->job.worker != NULL ? on_part : NULL;
	session_run(s, j->line, task, &j->result);
	session_on_result = NULL;
	session_on_part = NULL;
	session_on_result_ctx = NULL;
	return j->result.rc;
}

static int
count_lines(const char *s)
{
	int n = 0;

	for (; *s != '\0'; s++)
		n += *s == '\n';
	return n;
}

/* Several lines as one, for the message line. */
static void
join_lines(char *s)
{
	char *to = s;

	for (const char *from = s; *from != '\0'; from++) {
		if (*from == '\n') {
			from += strspn(from, "\n ");
			from--;
			if (from[1] == '\0')
				break;
			*to++ = ' ';
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* An answer of a line, or of two short ones. */
static bool
fits_line(const struct app *app, const char *s)
{
	int n = count_lines(s);

	return n <= 1 || (n == 2 && look_columns(s) < app->look.width - 20);
}

static void
say_error(struct app *app, const struct line_job *j)
{
	const json_t *e = doc_get(j->result.doc, "error");
	const char *hint = doc_text(e, "hint");

	if (j->result.rc == PARE_ECANCELED)
		app_message(app, STYLE_WARN, "%s: %s", j->line,
		    doc_text(e, "message"));
	else
		app_message(app, STYLE_ERROR, "error: %s%s%s%s",
		    doc_text(e, "message"), *hint != '\0' ? " (" : "", hint,
		    *hint != '\0' ? ")" : "");
}

/* Of a line that was not typed, or of one that only says what it did. */
static bool
is_brief(const struct line_job *j)
{
	static const char *const kinds[] = { "op", "open", "data", "recover",
		NULL };

	for (int i = 0; kinds[i] != NULL; i++)
		if (strcmp(j->result.kind, kinds[i]) == 0)
			return true;
	return j->brief;
}

/* `set NAME VALUE`: there is no more to say than that. */
static bool
is_setting(const struct line_job *j)
{
	char a[8], b[64], c[64];

	return strcmp(j->result.kind, "set") == 0 &&
	    sscanf(j->line, "%7s %63s %63s", a, b, c) == 3;
}

static void
add_notes(const struct line_job *j, struct str *b, const char *sign)
{
	for (int i = 0; i < j->result.notes.n; i++)
		str_addf(b, "%s %s\n", sign, j->result.notes.text[i]);
}

/* The output view with all that was answered. */
static void
show_answer(struct app *app, const struct line_job *j)
{
	struct str b = STR_INIT;

	if (j->shown)
		output_again(app);
	else
		output_begin(app, j->line);
	for (int i = 0; i < j->nsaid; i++) {
		str_clear(&b);
		str_addf(&b, "> %s\n", doc_text(j->said[i].doc, "command"));
		output_add_text(app, b.s);
		output_add_document(app, j->said[i].kind, j->said[i].doc);
	}
	if (!is_setting(j))
		output_add_document(app, j->result.kind, j->result.doc);
	str_clear(&b);
	add_notes(j, &b, "warning:");
	if (b.n > 0)
		output_add_text(app, b.s);
	str_free(&b);
	if (j->shown)
		output_refresh(app);
	else
		output_show(app);
}

/* Where the answer of a command goes: into the message line, or when it is long
 * and was asked for, into the output view. */
static void
say_result(struct app *app, struct line_job *j)
{
	bool brief = is_brief(j);
	struct str b = STR_INIT;

	if (brief && strcmp(j->result.kind, "latency") == 0)
		render_latency_line(&b, &j->look, j->result.doc);
	else if (!is_setting(j))
		render_document(&b, &j->look, j->result.kind, j->result.doc);
	add_notes(j, &b, brief ? "!" : "warning:");
	if (j->shown || j->nsaid > 0 || (!brief && b.n > 0 && !fits_line(app, b.s))) {
		show_answer(app, j);
	} else if (b.n == 0) {
		app_message(app, STYLE_NORMAL, "%s", j->line);
	} else {
		join_lines(b.s);
		app_message(app, j->result.notes.n > 0 ? STYLE_WARN :
		    STYLE_NORMAL, "%s: %s", j->line, b.s);
	}
	str_free(&b);
}

static void
line_ended(struct app *app, struct line_job *j)
{
	struct app_private *p = app->p;

	if (strcmp(j->result.kind, "save") == 0 && j->result.rc == PARE_OK)
		p->saved = p->session->history.current;
	if (j->result.doc != NULL && j->result.rc != PARE_OK)
		say_error(app, j);
	else if (j->result.doc != NULL)
		say_result(app, j);
	if (p->session->quit)
		p->quit = true;
}

static void
line_done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct line_job *j = (struct line_job *)job;

	/* Canceled before it began. */
	if (j->result.kind == NULL)
		app_message(app, STYLE_WARN, "%s: canceled", j->line);
	if (--app->p->lent > 0) {
		if (j->result.doc != NULL && rc != PARE_OK)
			say_error(app, j);
		return;
	}
	jobs_keep_pending(app);
	app_refresh(app, 0);
	if (j->result.kind != NULL)
		line_ended(app, j);
	jobs_start_evaluation(app);
}

static void
line_drop(struct job *job)
{
	struct line_job *j = (struct line_job *)job;

	result_free(&j->result);
	for (int i = 0; i < j->nsaid; i++)
		json_decref(j->said[i].doc);
	free(j->said);
	json_decref(j->part.doc);
	free(j->line);
	free(j);
}

/* The first word of a line. */
static void
first_word(const char *line, char out[32])
{
	size_t n;

	line += strspn(line, " \t");
	n = strcspn(line, " \t");
	n = n < 31 ? n : 31;
	memcpy(out, line, n);
	out[n] = '\0';
}

/* Whether it is done in no time and leaves samples and threads alone. */
static bool
is_short(const char *line)
{
	const struct command *c;
	char word[32], name[32];

	first_word(line, word);
	c = command_find(word);
	return c != NULL && (c->flags & CMD_LONG) == 0 &&
	    (strcmp(word, "set") != 0 || sscanf(line, "%*s %31s", name) != 1 ||
	    strcmp(name, "threads") != 0);
}

/* An eval line may cut a text again. */
static bool
may_replace_data(const char *line)
{
	static const char *const verbs[] = { "open", "data", "source",
		"resume", NULL };
	char word[32];

	first_word(line, word);
	if (strcmp(word, "eval") == 0)
		return strstr(line, "custom=") != NULL ||
		    strstr(line, "context=") != NULL ||
		    strstr(line, "stride=") != NULL;
	for (int i = 0; verbs[i] != NULL; i++)
		if (strcmp(word, verbs[i]) == 0)
			return true;
	return false;
}

static struct line_job *
line_new(struct app *app, const char *line)
{
	struct line_job *j = xcalloc(1, sizeof(*j));

	j->job.title = "running";
	j->job.run = line_run;
	j->job.progress = line_progress;
	j->job.done = line_done;
	j->job.drop = line_drop;
	j->app = app;
	j->line = xstrdup(line);
	j->look = app->look;
	return j;
}

bool
jobs_run_line(struct app *app, const char *line)
{
	struct app_private *p = app->p;
	struct line_job *j;

	if (p->lent >= REPLAY_MAX) {
		app_message(app, STYLE_WARN,
		    "too many commands wait: Ctrl-C stops them");
		return false;
	}
	j = line_new(app, line);
	j->brief = p->brief;
	p->brief = false;
	free(p->line);
	p->line = xstrdup(line);
	if (p->worker == NULL || (p->lent == 0 && is_short(line))) {
		p->lent++;
		j->job.rc = line_run(&j->job, NULL, &j->job.err);
		line_done(app, &j->job, j->job.rc, &j->job.err);
		line_drop(&j->job);
		return true;
	}
	/* A change makes the running evaluation void; anything else long only
	 * gets in front of it. */
	jobs_stop_evaluation(app);
	p->lent++;
	if (may_replace_data(line)) {
		app->snap.data = app->snap.first_data = NULL;
		app_changed(app, CHANGE_DATA);
	}
	worker_add(p->worker, &j->job);
	return true;
}

/* ---- evaluations --------------------------------------------------------- */

struct eval_job {
	struct job job;
	struct model *model, *original;
	const struct dataset *data;
	struct evaluator *evaluator;	/* the session's */
	int64_t cache;		/* bytes that it may cache */
	enum metric metric;
	int state;
	int32_t *base;		/* the original's predictions; NULL */
	int64_t total;
	struct snap_partial partial;	/* under the worker's lock */
	bool hashed;		/* it only told the model's hash: the result
				 * may be known from an earlier sitting */
	struct evaluation out;
};

static void
count_flips(const struct eval_job *j, const struct evaluation_partial *p,
    struct snap_partial *out)
{
	out->compared = j->base != NULL;
	for (int64_t i = 0; i < j->total && j->base != NULL; i++) {
		bool was, is;

		if (!p->ran[i])
			continue;
		was = j->base[i] == p->gold[i];
		is = p->predicted[i] == p->gold[i];
		out->changed += j->base[i] != p->predicted[i];
		if (p->gold[i] >= 0) {
			out->fixed += is && !was;
			out->broke += was && !is;
		}
	}
}

static void
on_partial(const struct evaluation_partial *p, void *ctx)
{
	struct eval_job *j = ctx;
	struct snap_partial now = { .on = true, .state = j->state, .n = p->n,
		.total = p->total, .value = p->value, .low = p->low,
		.high = p->high };

	count_flips(j, p, &now);
	worker_lock(j->job.worker);
	now.started = j->partial.started;
	j->partial = now;
	worker_unlock(j->job.worker);
	worker_post(&j->job);
}

static enum pare_rc
eval_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct eval_job *j = (struct eval_job *)job;
	struct evaluate_options o = { .metric = j->metric,
		.watch = on_partial, .ctx = j, .original = j->original };

	if (atomic_load(&j->model->hash) == 0) {
		model_hash(j->model);
		j->hashed = true;
		return PARE_OK;
	}
	/* A live number does not wait for the original to run. */
	if (j->state != 0 &&
	    !evaluator_keeps(j->evaluator, j->original, j->data))
		o.original = NULL;
	evaluator_limit(j->evaluator, j->cache);
	return evaluate_run(j->evaluator, j->model, j->data, &o, &j->out,
	    task, err);
}

static void
eval_progress(struct app *app, struct job *job)
{
	struct eval_job *j = (struct eval_job *)job;

	if (app->p->eval != j)
		return;
	worker_lock(job->worker);
	app->snap.partial = j->partial;
	worker_unlock(job->worker);
	app_changed(app, CHANGE_EVAL);
}

/* Into the session's memory, or aside while that is lent. */
static void
keep_evaluation(struct app *app, struct evaluation *v)
{
	struct app_private *p = app->p;

	if (p->lent == 0)
		memory_keep_evaluation(p->session->memory, v);
	else if (p->npending < PENDING_MAX)
		p->pending[p->npending++] = *v;
	else
		evaluation_free(v);
	memset(v, 0, sizeof(*v));
}

void
jobs_keep_pending(struct app *app)
{
	struct app_private *p = app->p;

	for (int i = 0; i < p->npending; i++)
		memory_keep_evaluation(p->session->memory, &p->pending[i]);
	p->npending = 0;
}

static void
say_damage(struct app *app)
{
	app_message(app, STYLE_ERROR, "a file of the model became shorter "
	    "while it was open: open it again");
}

static void
eval_done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct eval_job *j = (struct eval_job *)job;
	bool mine = app->p->eval == j;
	const char *path;

	if (mine) {
		app->p->eval = NULL;
		app->snap.partial.on = false;
	}
	if (rc == PARE_OK && file_damaged(&path)) {
		say_damage(app);
		app->p->held = true;
	} else if (rc == PARE_OK) {
		if (!j->hashed)
			keep_evaluation(app, &j->out);
		if (mine && app->p->stopping > 0)
			app_message(app, STYLE_NORMAL, "the evaluation was "
			    "over before it could stop");
	} else if (mine && rc == PARE_ECANCELED) {
		app_message(app, STYLE_WARN, "evaluation stopped; e starts "
		    "it again");
	} else if (mine) {
		app_message(app, STYLE_ERROR, "evaluation: %s", err->msg);
		app->p->held = true;
	}
	app_refresh(app, CHANGE_EVAL);
	if (mine)
		jobs_start_evaluation(app);
}

static void
eval_drop(struct job *job)
{
	struct eval_job *j = (struct eval_job *)job;

	evaluation_free(&j->out);
	model_unref(j->model);
	model_unref(j->original);
	free(j->base);
	free(j);
}

/* A state's samples. Only the current state and the original are evaluated. */
static const struct dataset *
data_of(const struct app *app, int state)
{
	return state == app->snap.current ? app->snap.data :
	    app->snap.first_data;
}

static struct eval_job *
eval_new(struct app *app, int state)
{
	struct eval_job *j = xcalloc(1, sizeof(*j));
	const struct evaluation *base = app->snap.state[0].eval;

	j->job.title = state == 0 && app->snap.current != 0 ?
	    "evaluating the original" : "evaluating";
	j->job.run = eval_run;
	j->job.progress = eval_progress;
	j->job.done = eval_done;
	j->job.drop = eval_drop;
	j->model = model_ref(app->snap.state[state].model);
	j->original = model_ref(app->snap.state[0].model);
	j->data = data_of(app, state);
	j->evaluator = app->p->session->evaluator;
	j->cache = settings_cache(app->p->session->settings);
	j->metric = app->snap.metric;
	j->state = state;
	j->total = j->data->nscored > 0 ? j->data->nscored : j->data->n;
	j->partial.started = task_now();
	if (state != 0 && base != NULL && base->total == j->total &&
	    (!base->per_token || base->data_hash == j->data->hash)) {
		size_t n = (size_t)j->total * sizeof(*j->base);

		j->base = memcpy(xmalloc(n), base->predicted, n);
	}
	return j;
}

/* The state to evaluate next: the current one, then the original; -1: none. */
static int
next_state(const struct app *app)
{
	const struct snapshot *s = &app->snap;

	if (!s->open || !s->can_eval || s->data == NULL)
		return -1;
	if (s->state[s->current].eval == NULL)
		return s->current;
	return s->state[0].eval == NULL && s->first_data != NULL ? 0 : -1;
}

void
jobs_stop_evaluation(struct app *app)
{
	if (app->p->eval == NULL)
		return;
	worker_cancel(app->p->worker, &app->p->eval->job);
	app->p->eval = NULL;
	app->snap.partial.on = false;
}

/* What it is needed for now; an older one stops. */
void
jobs_start_evaluation(struct app *app)
{
	struct app_private *p = app->p;
	struct eval_job *j;
	int want;

	if (p->lent > 0 || p->worker == NULL)
		return;
	want = p->held || (!p->asked &&
	    !settings_bool(p->session->settings, SET_LIVE)) ? -1 :
	    next_state(app);
	if (p->eval != NULL && want >= 0 &&
	    p->eval->model == app->snap.state[want].model &&
	    p->eval->data == data_of(app, want))
		return;
	jobs_stop_evaluation(app);
	if (want < 0)
		return;
	j = eval_new(app, want);
	p->eval = j;
	app->snap.partial = (struct snap_partial){ .on = true, .state = want,
		.value = NAN, .low = NAN, .high = NAN,
		.started = j->partial.started };
	worker_add(p->worker, &j->job);
}

void
jobs_free(struct app *app)
{
	app->p->eval = NULL;
	worker_free(app->p->worker);
	app->p->worker = NULL;
	for (int i = 0; i < app->p->npending; i++)
		evaluation_free(&app->p->pending[i]);
}
