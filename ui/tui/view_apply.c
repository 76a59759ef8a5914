/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Applying an op in two steps: which one, and with what.
 *
 * Which ops can apply is asked of the ops themselves: each is tried, as an
 * estimate, on a model of ghosts (shapes without weights, so it takes no time)
 * with the selection as its target, first with its defaults, then with the
 * arguments of its examples. The first line that it accepts is where its form
 * starts.
 *
 * The form is made from the op's argument table. Whatever it holds is spelled
 * as a line, and that line is what the preview estimates (a job; the newest wins)
 * and what Enter runs.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/op.h"
#include "ui/number.h"
#include "ui/tui/states.h"
#include "ui/tui/view.h"

/* An op that can apply. */
struct choice {
	const struct op *op;
	char *line;		/* owned: how its form starts */
};

struct field {
	const struct arg_spec *spec;
	char *text;		/* owned; "": not given */
	bool fresh;		/* the next character replaces it */
};

struct preview_job;

struct apply_view {
	struct target target;	/* the choices were made for it */
	struct model *model;	/* and for this model; referenced */
	int nchoices, choice;
	struct choice *choices;	/* owned */
	bool in_form;
	int nfields, at;
	struct field field[ARG_MAX];
	char *line;		/* owned: what the form says */
	struct pare_err error;	/* of the form, or of the estimate */
	struct preview_job *job;	/* the newest; the worker's */
	bool known;		/* the estimate of line is here */
	struct totals before, after;
	char *note;		/* owned */
};

/* ---- lines ---- */

static void
add_value(struct str *b, const struct arg_spec *s, const char *text)
{
	char *quoted;

	if (s->type == ARG_TARGET && (s->flags & ARG_WORD) != 0) {
		/* Several targets are several words. */
		str_addf(b, " %s", text);
		return;
	}
	quoted = arg_quote(text);
	if ((s->flags & ARG_WORD) != 0)
		str_addf(b, " %s", quoted);
	else
		str_addf(b, " %s=%s", s->name, quoted);
	free(quoted);
}

/* An op's line from the texts of its arguments, in table order; what is empty
 * or the default is left out. */
static char *
spell(const struct op *op, const char *const *text)
{
	struct str b = STR_INIT;

	str_add(&b, op->verb);
	if (op->method != NULL)
		str_addf(&b, " %s", op->method);
	for (int i = 0; op->args[i].name != NULL; i++) {
		const struct arg_spec *s = &op->args[i];

		if (text[i] == NULL || text[i][0] == '\0' ||
		    (s->dflt != NULL && strcmp(text[i], s->dflt) == 0))
			continue;
		add_value(&b, s, text[i]);
	}
	return str_detach(&b);
}

/* A line cut into the arguments of its op. */
struct parsed {
	struct arg_words words;
	struct arg_list args;
	const struct op *op;
};

static enum pare_rc
parse(const char *line, struct parsed *out, struct pare_err *err)
{
	enum pare_rc rc = arg_split(line, &out->words, err);
	int first = 0;

	if (rc != PARE_OK)
		return rc;
	rc = op_find(&out->words, &out->op, &first, err);
	if (rc == PARE_OK)
		rc = arg_parse(out->op->args, &out->words, first, &out->args,
		    err);
	if (rc != PARE_OK)
		arg_words_free(&out->words);
	return rc;
}

static void
parsed_free(struct parsed *p)
{
	arg_list_free(&p->args);
	arg_words_free(&p->words);
}

/* ---- which ops can apply ---- */

static struct tensor *
to_ghost(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	/* The zeros of floats are not counted: that would read them. */
	if (t->form == FORM_F32 || t->form == FORM_F16 ||
	    t->form == FORM_BF16)
		return tensor_ghost(t->form, t->ndim, t->rows, t->cols);
	return tensor_ghost_of(t);
}

/* The shapes of m; NULL: it cannot be. */
static struct model *
ghost_of(const struct model *m)
{
	struct edit *e = edit_begin(m, EDIT_ESTIMATE, 0, NULL);
	struct slot_ref ref = SLOT_REF_START;
	struct model *out = NULL;
	struct pare_err err;

	while (model_next_slot(m, &ref))
		if (edit_map(e, ref, 1, to_ghost, NULL, &err) != PARE_OK) {
			edit_abort(e);
			return NULL;
		}
	return edit_commit(e, &out, &err) == PARE_OK ? out : NULL;
}

/* Whether the op accepts the line on m. */
static bool
accepts(const struct model *m, const char *line)
{
	struct op_input in = { .model = m };
	struct str note = STR_INIT;
	struct model *out = NULL;
	struct pare_err err;
	struct parsed p;
	struct edit *e;
	bool ok;

	if (parse(line, &p, &err) != PARE_OK)
		return false;
	in.args = &p.args;
	e = edit_begin(m, EDIT_ESTIMATE, 0, NULL);
	ok = p.op->run(&in, e, &note, &err) == PARE_OK;
	if (ok)
		ok = edit_commit(e, &out, &err) == PARE_OK;
	else
		edit_abort(e);
	model_unref(out);
	str_free(&note);
	parsed_free(&p);
	return ok;
}

static int
target_arg(const struct op *op)
{
	for (int i = 0; op->args[i].name != NULL; i++)
		if (op->args[i].type == ARG_TARGET)
			return i;
	return -1;
}

enum aim { AIM_SELECTION, AIM_NONE, AIM_EXAMPLE };

/* The line of an example (NULL: of the defaults) aimed at something; NULL: it
 * cannot be aimed so. */
static char *
aimed(const struct op *op, const char *example, const char *path,
    enum aim aim)
{
	const char *text[ARG_MAX] = { NULL };
	int t = target_arg(op);
	struct parsed p = { 0 };
	struct pare_err err;
	char *line;

	if (example != NULL && parse(example, &p, &err) != PARE_OK)
		return NULL;
	for (int i = 0; i < p.args.n; i++)
		if (p.args.v[i].set)
			text[i] = p.args.v[i].s;
	if (t >= 0 && aim == AIM_SELECTION)
		text[t] = path;
	else if (t >= 0 && aim == AIM_NONE)
		text[t] = NULL;
	line = spell(op, text);
	if (example != NULL)
		parsed_free(&p);
	return line;
}

/* The first line that works, malloc'ed; NULL: none does. */
static char *
first_line(const struct model *m, const struct op *op,
    const struct target *target)
{
	bool whole = target->kind == TARGET_MODEL;
	static const enum aim order[2][3] = {
		{ AIM_SELECTION, AIM_SELECTION, AIM_SELECTION },
		{ AIM_NONE, AIM_SELECTION, AIM_EXAMPLE },
	};

	for (int k = 0; k < (whole ? 3 : 1); k++)
		for (int i = -1; i < 0 || op->examples[i] != NULL; i++) {
			char *line = aimed(op, i < 0 ? NULL :
			    op->examples[i], target->path, order[whole][k]);

			if (line != NULL && accepts(m, line))
				return line;
			free(line);
		}
	return NULL;
}

static void
free_choices(struct apply_view *v)
{
	for (int i = 0; i < v->nchoices; i++)
		free(v->choices[i].line);
	free(v->choices);
	v->choices = NULL;
	v->nchoices = v->choice = 0;
}

static void
list_choices(struct apply_view *v, const struct app *app)
{
	const struct model *m = app_model(app);
	struct model *ghost;
	int n = 0;

	free_choices(v);
	model_unref(v->model);
	v->model = NULL;
	v->target = app->target;
	if (m == NULL)
		return;
	v->model = model_ref(m);
	while (op_table[n] != NULL)
		n++;
	v->choices = xcalloc((size_t)n + 1, sizeof(*v->choices));
	if ((ghost = ghost_of(m)) == NULL)
		return;
	for (int i = 0; i < n; i++) {
		const struct op *op = op_table[i];
		char *line;

		/* On shapes alone those that read weights cannot do it. */
		if (m->ghost && (op->flags & OP_NEEDS_WEIGHTS) != 0)
			continue;
		line = first_line(ghost, op, &v->target);
		if (line != NULL)
			v->choices[v->nchoices++] = (struct choice){ op, line };
	}
	model_unref(ghost);
}

/* ---- the preview ---- */

struct preview_job {
	struct job job;
	struct model *model;
	char *line;
	int64_t seq;
	struct op_result result;
	bool has_result;
};

static enum pare_rc
preview_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct preview_job *j = (struct preview_job *)job;
	struct op_input in = { .model = j->model, .task = task };
	struct parsed p;
	enum pare_rc rc = parse(j->line, &p, err);

	if (rc != PARE_OK)
		return rc;
	in.args = &p.args;
	for (int i = 0; i < p.args.n; i++)
		if (strcmp(p.args.spec[i].name, "seed") == 0 &&
		    p.args.v[i].has)
			in.seed = (uint64_t)p.args.v[i].i;
	rc = op_estimate(p.op, &in, j->seq, &j->result, err);
	j->has_result = rc == PARE_OK;
	parsed_free(&p);
	return rc;
}

static void
preview_done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct preview_job *j = (struct preview_job *)job;
	struct apply_view *v = app->state[VIEW_APPLY];

	if (v == NULL || v->job != j)
		return;		/* an older one */
	v->job = NULL;
	v->known = rc == PARE_OK;
	if (rc == PARE_OK) {
		v->before = j->result.before;
		v->after = j->result.after;
		free(v->note);
		v->note = j->result.note;
		j->result.note = NULL;
	} else {
		v->error = *err;
	}
	app_dirty(app);
}

static void
preview_drop(struct job *job)
{
	struct preview_job *j = (struct preview_job *)job;

	if (j->has_result)
		op_result_free(&j->result);
	model_unref(j->model);
	free(j->line);
	free(j);
}

static void
stop_preview(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct preview_job *old = v->job;

	v->job = NULL;
	if (old != NULL)
		app_cancel_job(app, &old->job);
}

static void
start_preview(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct preview_job *j = xcalloc(1, sizeof(*j));

	j->job.title = "estimating";
	/* Between the batches of an evaluation, which is always going on. */
	j->job.quick = true;
	j->job.run = preview_run;
	j->job.done = preview_done;
	j->job.drop = preview_drop;
	j->model = model_ref(v->model);
	j->line = xstrdup(v->line);
	j->seq = app->snap.seq;
	v->job = j;
	app_job(app, &j->job);
}

/* ---- the form ---- */

/* A value that cannot be is told by its field's name, whatever the grammar
 * would take it for. */
static enum pare_rc
check_fields(const struct apply_view *v, struct pare_err *err)
{
	for (int i = 0; i < v->nfields; i++) {
		struct arg_value value;
		enum pare_rc rc;

		if (v->field[i].text[0] == '\0')
			continue;
		rc = arg_parse_value(v->field[i].spec, v->field[i].text,
		    &value, err);
		if (rc != PARE_OK)
			return rc;
		arg_value_free(&value);
	}
	return PARE_OK;
}

/* The line again, what is wrong with it, and its estimate. */
static void
changed(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	const struct op *op = v->choices[v->choice].op;
	const char *text[ARG_MAX] = { NULL };
	struct parsed p;

	stop_preview(app);
	for (int i = 0; i < v->nfields; i++)
		text[v->field[i].spec - op->args] = v->field[i].text;
	free(v->line);
	v->line = spell(op, text);
	memset(&v->error, 0, sizeof(v->error));
	app_dirty(app);
	if (check_fields(v, &v->error) != PARE_OK ||
	    parse(v->line, &p, &v->error) != PARE_OK) {
		v->known = false;
		return;
	}
	parsed_free(&p);
	start_preview(app);
}

static void
set_text(struct field *f, const char *text)
{
	char *copy = xstrdup(text);

	free(f->text);
	f->text = copy;
}

static void
free_form(struct apply_view *v)
{
	for (int i = 0; i < v->nfields; i++)
		free(v->field[i].text);
	memset(v->field, 0, sizeof(v->field));
	v->nfields = v->at = 0;
	free(v->line);
	free(v->note);
	v->line = v->note = NULL;
	v->known = v->in_form = false;
}

static void
open_form(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	const struct choice *c = &v->choices[v->choice];
	struct pare_err err;
	struct parsed p;

	free_form(v);
	if (parse(c->line, &p, &err) != PARE_OK)
		return;
	for (int i = 0; i < p.args.n; i++) {
		const struct arg_spec *s = &c->op->args[i];
		struct field *f = &v->field[v->nfields];

		if ((s->flags & ARG_HIDDEN) != 0)
			continue;
		f->spec = s;
		f->text = xstrdup(p.args.v[i].s != NULL ? p.args.v[i].s : "");
		f->fresh = true;
		v->nfields++;
	}
	parsed_free(&p);
	v->in_form = true;
	changed(app);
}

/* ---- changing a value by arrows ---- */

static void
step_choice(struct field *f, int dir)
{
	int n = 0, at = dir > 0 ? -1 : 0;

	while (f->spec->choices[n] != NULL) {
		if (strcmp(f->spec->choices[n], f->text) == 0)
			at = n;
		n++;
	}
	if (n > 0)
		set_text(f, f->spec->choices[(at + dir + n) % n]);
}

static bool
bounded(const struct arg_spec *s)
{
	return s->min != 0 || s->max != 0;
}

/* Below the least value lies "not given", where that is allowed. */
static bool
may_be_empty(const struct arg_spec *s)
{
	return (s->flags & ARG_REQUIRED) == 0 && s->dflt == NULL;
}

static void
step_int(struct field *f, int dir, bool far)
{
	const struct arg_spec *s = f->spec;
	double v, step = far ? 10 : 1;
	char text[32];
	int64_t i;

	if (!str_to_int(f->text, &i)) {
		if (!str_to_int(s->dflt != NULL ? s->dflt : "", &i))
			i = dir > 0 ? (int64_t)s->min : 0;
		snprintf(text, sizeof(text), "%lld", (long long)i);
		if (dir > 0 || s->dflt != NULL)
			set_text(f, text);
		return;
	}
	v = (double)i;
	/* In a wide range a far step doubles or halves. */
	if (far && s->max > 1000)
		v = dir > 0 ? (v < 1 ? 1 : v * 2) : floor(v / 2);
	else
		v += dir * step;
	if (bounded(s) && v < s->min) {
		if (may_be_empty(s) && (double)i == s->min) {
			set_text(f, "");
			return;
		}
		v = s->min;
	}
	if (bounded(s) && v > s->max)
		v = s->max;
	if (!(fabs(v) < 9e15))
		return;
	snprintf(text, sizeof(text), "%lld", (long long)v);
	set_text(f, text);
}

/* "45%"; least and most are shares. */
static void
step_share(struct field *f, double share, int dir, bool far, double least,
    double most)
{
	double step = far ? 0.25 : 0.05;
	/* To the next multiple of the step, so that 33% goes to 35%. */
	double k = share / step, next = dir > 0 ? floor(k + 1e-9) + 1 :
	    ceil(k - 1e-9) - 1, v = next * step;
	char text[32];

	if (v < least) {
		if (may_be_empty(f->spec) && share <= least + 1e-12) {
			set_text(f, "");
			return;
		}
		v = least;
	}
	if (v > most)
		v = most;
	snprintf(text, sizeof(text), "%.10g%%", 100 * v);
	set_text(f, text);
}

static void
step_amount(struct field *f, int dir, bool far)
{
	struct arg_value v;
	struct pare_err err;
	char text[32];

	if (arg_parse_value(f->spec, f->text, &v, &err) != PARE_OK) {
		if (dir > 0)
			set_text(f, "5%");
		return;
	}
	if (v.is_share) {
		step_share(f, v.d, dir, far, 0, 1);
	} else if (v.i == 0 && dir < 0) {
		if (may_be_empty(f->spec))
			set_text(f, "");
	} else if (v.i < INT64_MAX - 10) {
		int64_t next = v.i + dir * (far ? 10 : 1);

		snprintf(text, sizeof(text), "%lld",
		    (long long)(next < 0 ? 0 : next));
		set_text(f, text);
	}
	arg_value_free(&v);
}

static void
step_real(struct field *f, int dir, bool far)
{
	const struct arg_spec *s = f->spec;
	bool share = bounded(s) && s->min >= 0 && s->max <= 1;
	struct arg_value v;
	struct pare_err err;
	char text[32];
	double to;

	if (arg_parse_value(s, f->text, &v, &err) != PARE_OK) {
		if (s->dflt != NULL)
			set_text(f, s->dflt);
		else if (dir > 0)
			set_text(f, share ? "50%" : "1");
		return;
	}
	if (share) {
		step_share(f, v.d, dir, far, s->min, s->max);
	} else {
		double step = v.d != 0 ? pow(10, floor(log10(fabs(v.d)))) : 1;

		to = v.d + dir * (far ? 5 : 1) * step;
		if (bounded(s) && to < s->min)
			to = s->min;
		if (bounded(s) && to > s->max)
			to = s->max;
		snprintf(text, sizeof(text), "%.6g", to);
		set_text(f, text);
	}
	arg_value_free(&v);
}

/* From the selection to ever larger targets, and around. */
static void
step_target(const struct apply_view *v, struct field *f, int dir)
{
	char list[4][96];
	int n = 0, at = -1;

	snprintf(list[n++], 96, "%s", v->target.path);
	if (v->target.layer >= 0 && v->target.kind != TARGET_LAYER)
		snprintf(list[n++], 96, "L%d", v->target.layer);
	snprintf(list[n++], 96, "L*");
	if (v->target.kind != TARGET_MODEL)
		snprintf(list[n++], 96, "all");
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], f->text) == 0)
			at = i;
	set_text(f, list[at < 0 ? 0 : (at + dir + n) % n]);
}

static void
step(const struct apply_view *v, struct field *f, int dir, bool far)
{
	int64_t on = strcmp(f->text, "on") == 0;

	switch (f->spec->type) {
	case ARG_INT:
		step_int(f, dir, far);
		break;
	case ARG_REAL:
		step_real(f, dir, far);
		break;
	case ARG_AMOUNT:
		step_amount(f, dir, far);
		break;
	case ARG_CHOICE:
		step_choice(f, dir);
		break;
	case ARG_BOOL:
		set_text(f, on ? "off" : "on");
		break;
	case ARG_TARGET:
		step_target(v, f, dir);
		break;
	default:
		break;
	}
	f->fresh = true;
}

/* ---- drawing ---- */

static void
draw_title(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	int n;

	if (v->in_form)
		n = cells_put(c, r.row, r.col, r.cols, STYLE_TITLE,
		    v->choices[v->choice].op->title);
	else
		n = cells_putf(c, r.row, r.col, r.cols, STYLE_TITLE,
		    "Apply to %s", v->target.kind == TARGET_MODEL ?
		    "the whole model" : v->target.path);
	if (v->in_form)
		cells_putf(c, r.row, r.col + n + 2, r.cols - n - 2, STYLE_DIM,
		    "selected: %s", v->target.path);
}

/* Rows under the list of ops that tell of one; 0: none. */
static int
choice_help_rows(const struct apply_view *v, struct rect r)
{
	if (r.rows < v->nchoices + 3 && r.rows < 8)
		return 0;
	return r.rows >= v->nchoices + 4 ? 3 : 2;
}

/* Rows of the form for fields. */
static int
field_rows(const struct apply_view *v, struct rect r)
{
	int low = r.rows >= v->nfields + 7 ? 6 : r.rows >= v->nfields + 5 ||
	    r.rows >= 10 ? 4 : r.rows >= 4 ? 2 : 1;
	int rows = r.rows - low;

	if (rows > v->nfields || rows > 3)
		rows--;
	rows = rows > v->nfields ? v->nfields : rows;
	return rows < 1 ? 1 : rows;
}

/* The op's sentence about itself. */
static void
first_sentence(const struct op *op, struct str *b)
{
	const char *end = strchr(op->help, '\n');

	str_addn(b, op->help, end != NULL ? (size_t)(end - op->help) :
	    strlen(op->help));
}

static void
draw_choices(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	struct str help = STR_INIT;
	int top, n, title = r.cols >= 60 ? 32 : r.cols;

	if (v->nchoices == 0) {
		states_wrap(c, r, STYLE_DIM, v->model == NULL ?
		    "no model is open" : "no op can apply to this selection");
		return;
	}
	first_sentence(v->choices[v->choice].op, &help);
	n = choice_help_rows(v, r);
	if (n > 0) {
		r.rows -= n;
		cells_hline(c, r.row + r.rows, r.col, r.cols, STYLE_DIM);
		states_wrap(c, (struct rect){ r.row + r.rows + 1, r.col,
		    n - 1, r.cols }, STYLE_NORMAL, help.s);
	}
	str_free(&help);
	top = view_top(v->choice, v->nchoices, r.rows);
	for (int i = 0; i < r.rows && top + i < v->nchoices; i++) {
		const struct choice *o = &v->choices[top + i];

		cells_put(c, r.row + i, r.col + 2, title - 3, STYLE_NORMAL,
		    o->op->title);
		cells_put(c, r.row + i, r.col + title, r.cols - title,
		    STYLE_DIM, o->line);
		if (top + i == v->choice)
			cells_select(c, (struct rect){ r.row + i, r.col, 1,
			    r.cols });
	}
}

static void
range_text(const struct arg_spec *s, struct str *b)
{
	if (s->type == ARG_CHOICE)
		for (int i = 0; s->choices[i] != NULL; i++)
			str_addf(b, "%s%s", i > 0 ? "|" : "", s->choices[i]);
	else if (s->type == ARG_AMOUNT)
		str_addf(b, "0%% to 100%%, or a count%s%s", s->unit != NULL ?
		    " of " : "", s->unit != NULL ? s->unit : "");
	else if (s->type == ARG_BOOL)
		str_add(b, "on|off");
	else if (bounded(s) && s->max >= 1e15)
		str_addf(b, "%.6g or more", s->min);
	else if (bounded(s))
		str_addf(b, "%.6g to %.7g", s->min, s->max);
	if (s->dflt != NULL)
		str_addf(b, "%sdefault %s", b->n > 0 ? ", " : "", s->dflt);
}

/* name  < value >  what it is (range, default) */
static void
draw_field(const struct apply_view *v, struct cells *c, struct rect r, int i)
{
	const struct field *f = &v->field[i];
	const struct arg_spec *s = f->spec;
	int name = r.cols >= 60 ? 12 : 10, room = r.cols - name - 4, used;
	bool here = i == v->at, steps = s->type != ARG_TEXT &&
	    s->type != ARG_FILE && s->type != ARG_STATE;
	bool dflt = s->dflt != NULL && strcmp(s->dflt, f->text) == 0;
	struct str b = STR_INIT;

	if (room > 28 && r.cols >= 80)
		room = 28;
	cells_put(c, r.row, r.col + 1, name - 1, STYLE_TITLE, s->name);
	if (here && steps)
		cells_put(c, r.row, r.col + name, 1, STYLE_KEY,
		    glyph(c, GLYPH_LEFT));
	if (f->text[0] == '\0')
		used = cells_put(c, r.row, r.col + name + 2, room, STYLE_DIM,
		    "not given");
	else
		used = cells_put(c, r.row, r.col + name + 2, room, dflt ?
		    STYLE_DIM : STYLE_NORMAL, f->text);
	if (here) {
		cells_select(c, (struct rect){ r.row, r.col + name + 2, 1,
		    used > 0 ? used : 1 });
		if (steps)
			cells_put(c, r.row, r.col + name + 3 + used, 1,
			    STYLE_KEY, glyph(c, GLYPH_RIGHT));
		c->cursor_row = r.row;
		c->cursor_col = r.col + name + 2 + (f->text[0] == '\0' ? 0 :
		    used);
	}
	if (r.cols >= 80) {
		range_text(s, &b);
		cells_put(c, r.row, r.col + 46, r.cols - 46, STYLE_DIM, b.s);
	}
	str_free(&b);
}

static void
draw_total(struct cells *c, int row, struct rect r, const char *name,
    double before, double after, bool bytes)
{
	char a[NUMBER_MAX], b[NUMBER_MAX], change[NUMBER_MAX] = "as before";
	int col = r.col + 1, wide = r.cols >= 60 ? 14 : 9;

	(bytes ? number_bytes : number_count)(a, before);
	(bytes ? number_bytes : number_count)(b, after);
	if (before != after)
		number_change(change, before, after);
	cells_put(c, row, col, wide, STYLE_TITLE, name);
	col = r.col + 1 + wide;
	cells_put_right(c, row, col, 9, STYLE_NORMAL, a);
	col += 10;
	cells_put(c, row, col, 2, STYLE_DIM, glyph(c, GLYPH_ARROW));
	cells_put_right(c, row, col + 2, 10, STYLE_NORMAL, b);
	cells_put(c, row, col + 13, r.col + r.cols - col - 13, before ==
	    after ? STYLE_DIM : STYLE_CHANGED, change);
}

/* All three in one row, for a low screen. */
static void
draw_changes(const struct apply_view *v, struct cells *c, int row,
    struct rect r)
{
	char p[NUMBER_MAX], b[NUMBER_MAX], m[NUMBER_MAX];

	if (v->before.params == v->after.params)
		snprintf(p, sizeof(p), "as before");
	else
		number_change(p, (double)v->before.params,
		    (double)v->after.params);
	number_bytes(b, (double)v->after.bytes);
	number_change(m, (double)v->before.bytes, (double)v->after.bytes);
	if (r.cols < 60) {
		cells_putf(c, row, r.col + 1, r.cols - 1, STYLE_CHANGED,
		    "%s (%s), params %s", b, m, p);
		return;
	}
	cells_putf(c, row, r.col + 1, r.cols - 1, STYLE_CHANGED,
	    "%s stored (%s), parameters %s, MACs %+.1f %%", b, m, p,
	    v->before.macs > 0 ? 100.0 * ((double)v->after.macs /
	    (double)v->before.macs - 1) : 0);
}

static void
draw_totals(const struct app *app, struct cells *c, int row, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	double seq = (double)(app->snap.seq > 0 ? app->snap.seq : 1);

	draw_total(c, row, r, r.cols >= 60 ? "parameters" : "params",
	    (double)v->before.params, (double)v->after.params, false);
	draw_total(c, row + 1, r, r.cols >= 60 ? "stored bytes" : "bytes",
	    (double)v->before.bytes, (double)v->after.bytes, true);
	draw_total(c, row + 2, r, r.cols >= 60 ? "MACs a token" : "MACs/tok",
	    (double)v->before.macs / seq, (double)v->after.macs / seq, false);
}

static void
add_zeros(const struct apply_view *v, struct str *b)
{
	double before = 1 - (double)v->before.nonzero /
	    (double)v->before.params;
	double after = 1 - (double)v->after.nonzero / (double)v->after.params;
	char text[NUMBER_MAX];

	if (!(after - before >= 0.005))
		return;
	number_percent(text, after);
	str_addf(b, "%s of the weights zero. ", text);
}

/* The line, what it would do, and what is wrong or worth telling. */
static void
draw_preview(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	struct str b = STR_INIT;
	int row = r.row;

	cells_putf(c, row++, r.col, r.cols - 2, STYLE_KEY, ": %s", v->line);
	/* What stands below is of the line before. */
	if (v->known && v->job != NULL)
		cells_put(c, r.row, r.col + r.cols - 1, 1, STYLE_DIM,
		    glyph(c, GLYPH_CUT));
	if (v->error.msg[0] != '\0') {
		cells_putf(c, row, r.col + 1, r.cols - 1, STYLE_ERROR, "! %s",
		    v->error.msg);
		if (row + 1 < r.row + r.rows && v->error.hint[0] != '\0')
			cells_putf(c, row + 1, r.col + 1, r.cols - 1,
			    STYLE_DIM, "Try: %s", v->error.hint);
		str_free(&b);
		return;
	}
	if (!v->known && v->job == NULL)
		return;
	if (!v->known) {
		cells_put(c, row, r.col + 1, r.cols - 1, STYLE_DIM,
		    "estimating");
		return;
	}
	if (r.rows >= 4) {
		draw_totals(app, c, row, r);
		row += 3;
	} else if (r.rows >= 2) {
		draw_changes(v, c, row++, r);
	}
	add_zeros(v, &b);
	str_add(&b, v->note != NULL ? v->note : "");
	states_wrap(c, (struct rect){ row, r.col + 1, r.row + r.rows - row,
	    r.cols - 1 }, STYLE_WARN, b.s);
	str_free(&b);
}

/* What the field under the cursor is for, and what it may be. */
static void
draw_help(const struct apply_view *v, struct cells *c, struct rect r)
{
	const struct arg_spec *s = v->field[v->at].spec;
	struct str b = STR_INIT, range = STR_INIT;

	range_text(s, &range);
	str_addf(&b, "%s%s%s%s", s->text, range.n > 0 ? " (" : "", range.s,
	    range.n > 0 ? ")" : "");
	states_wrap(c, r, STYLE_DIM, b.s);
	str_free(&b);
	str_free(&range);
}

static void
draw_form(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	int low = r.rows >= v->nfields + 7 ? 6 : r.rows >= v->nfields + 5 ||
	    r.rows >= 10 ? 4 : r.rows >= 4 ? 2 : 1;
	int rows = r.rows - low, top, help;
	bool rule = rows > v->nfields || rows > 3;

	if (rule)
		rows--;
	help = rows > v->nfields ? rows - v->nfields : 0;
	rows = field_rows(v, r);
	top = view_top(v->at, v->nfields, rows);
	for (int i = 0; i < rows && top + i < v->nfields; i++)
		draw_field(v, c, (struct rect){ r.row + i, r.col, 1,
		    r.cols }, top + i);
	r.row += rows;
	r.rows -= rows;
	if (help > 0) {
		help = help > 3 ? 3 : help;
		draw_help(v, c, (struct rect){ r.row + (help > 1), r.col + 1,
		    help - (help > 1), r.cols - 1 });
		r.row += help;
		r.rows -= help;
	}
	if (rule) {
		cells_hline(c, r.row++, r.col, r.cols, STYLE_DIM);
		r.rows--;
	}
	if (r.rows > 0)
		draw_preview(app, c, r);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];

	if (r.rows >= 4) {
		draw_title(app, c, r);
		r.row++;
		r.rows--;
	}
	if (r.rows < 1)
		return;
	if (v->in_form)
		draw_form(app, c, r);
	else
		draw_choices(app, c, r);
}

/* ---- behaviour ---- */

static void *
make(void)
{
	return xcalloc(1, sizeof(struct apply_view));
}

static void
drop(void *state)
{
	struct apply_view *v = state;

	if (v == NULL)
		return;
	free_form(v);
	free_choices(v);
	model_unref(v->model);
	free(v);
}

static void
close_form(struct app *app)
{
	stop_preview(app);
	free_form(app->state[VIEW_APPLY]);
	app_dirty(app);
}

static void
enter(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];

	if (v->model != NULL && v->model == app_model(app) &&
	    target_equal(&v->target, &app->target))
		return;		/* back from help: as it was left */
	close_form(app);
	list_choices(v, app);
}

static void
update(struct app *app, unsigned change)
{
	struct apply_view *v = app->state[VIEW_APPLY];

	if (v->model == NULL || (change & (CHANGE_MODEL | CHANGE_OPENED |
	    CHANGE_TARGET)) == 0)
		return;
	if (v->model == app_model(app) &&
	    target_equal(&v->target, &app->target))
		return;
	close_form(app);
	if (states_in_front(app, VIEW_APPLY)) {
		list_choices(v, app);
		return;
	}
	free_choices(v);
	model_unref(v->model);
	v->model = NULL;
}

static void
run_line(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	char *line;

	if (v->error.msg[0] != '\0') {
		app_message(app, STYLE_ERROR, "%s", v->error.msg);
		return;
	}
	line = xstrdup(v->line);
	/* A refused line leaves the form as it is. */
	if (app_command(app, line) && (app_busy(app) || !v->in_form) &&
	    states_in_front(app, VIEW_APPLY))
		app_pop(app);
	free(line);
}

static bool
act_list(struct app *app, enum action a)
{
	struct apply_view *v = app->state[VIEW_APPLY];

	if (v->nchoices == 0)
		return false;
	if (a == ACT_ENTER || a == ACT_RIGHT)
		open_form(app);
	else if (a >= ACT_UP && a <= ACT_LAST)
		v->choice = view_move(a, v->choice, v->nchoices,
		    app->layout.pane[PANE_MAIN].rows);
	else
		return false;
	app_dirty(app);
	return true;
}

static bool
act_form(struct app *app, enum action a)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct field *f = &v->field[v->at];

	switch (a) {
	case ACT_ENTER:
		run_line(app);
		return true;
	case ACT_LEFT:
	case ACT_RIGHT:
		step(v, f, a == ACT_LEFT ? -1 : 1, false);
		break;
	case ACT_PAGE_UP:
	case ACT_PAGE_DOWN:
		step(v, f, a == ACT_PAGE_DOWN ? -1 : 1, true);
		break;
	case ACT_CLEAR:
		set_text(f, f->spec->dflt != NULL ? f->spec->dflt : "");
		f->fresh = true;
		break;
	case ACT_UP:
	case ACT_DOWN:
	case ACT_FIRST:
	case ACT_LAST:
		f->fresh = true;
		v->at = view_move(a, v->at, v->nfields, v->nfields);
		app_dirty(app);
		return true;
	default:
		return false;
	}
	changed(app);
	return true;
}

static bool
act(struct app *app, enum action a)
{
	const struct apply_view *v = app->state[VIEW_APPLY];

	return v->in_form && v->nfields > 0 ? act_form(app, a) :
	    act_list(app, a);
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	int i;

	if (r.rows >= 4) {
		r.row++;
		r.rows--;
	}
	if (v->in_form && v->nfields > 0) {
		r.rows = field_rows(v, r);
		i = view_row_at(v->at, v->nfields, r, row);
		if (i >= 0 && i != v->at)
			v->field[v->at].fresh = true;
		v->at = i >= 0 ? i : v->at;
	} else {
		r.rows -= choice_help_rows(v, r);
		i = view_row_at(v->choice, v->nchoices, r, row);
		v->choice = i >= 0 ? i : v->choice;
	}
}

/* ---- typing ---- */

/* A letter in a choice goes to the next word that begins with it. */
static void
jump_choice(struct field *f, int key)
{
	int n = 0, at = -1;

	while (f->spec->choices[n] != NULL) {
		if (strcmp(f->spec->choices[n], f->text) == 0)
			at = n;
		n++;
	}
	for (int i = 1; i <= n; i++) {
		const char *s = f->spec->choices[(at + i) % n];

		if (tolower((unsigned char)s[0]) == tolower(key)) {
			set_text(f, s);
			return;
		}
	}
}

static void
erase(struct field *f)
{
	size_t n = strlen(f->text);

	while (n > 0 && ((unsigned char)f->text[--n] & 0xc0) == 0x80)
		;
	f->text[n] = '\0';
	f->fresh = false;
}

static void
type(struct field *f, int key)
{
	char *text;

	if (f->spec->type == ARG_CHOICE) {
		jump_choice(f, key);
		return;
	}
	if (f->spec->type == ARG_BOOL) {
		if (key == 'y' || key == 'n')
			set_text(f, key == 'y' ? "on" : "off");
		else if (key == ' ')
			set_text(f, strcmp(f->text, "on") == 0 ? "off" : "on");
		return;
	}
	if (strlen(f->text) > 500)
		return;
	text = str_format("%s%c", f->fresh ? "" : f->text, key);
	f->fresh = false;
	free(f->text);
	f->text = text;
}

/* In the list the usual letters move, for there is nothing to type into. */
static bool
key_list(struct app *app, int k)
{
	switch (k) {
	case 'j':
		return act_list(app, ACT_DOWN);
	case 'k':
		return act_list(app, ACT_UP);
	case 'q':
		app_pop(app);
		return true;
	default:
		return false;
	}
}

static bool
key(struct app *app, int k)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct field *f = &v->field[v->at];

	if (!v->in_form || v->nfields == 0)
		return key_list(app, k);
	if (k == K_ESC) {
		close_form(app);
		return true;
	}
	if (k == K_BACKSPACE || k == 127 || k == 8) {
		if (f->spec->type != ARG_CHOICE && f->spec->type != ARG_BOOL)
			erase(f);
	} else if (k == K_CTRL('U')) {
		set_text(f, "");
	} else if (k >= ' ' && k < 127 && k != '?') {
		type(f, k);
	} else {
		return false;
	}
	changed(app);
	return true;
}

const struct view view_apply = {
	.id = VIEW_APPLY,
	.name = "apply",
	.title = "Apply",
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.key = key,
};
