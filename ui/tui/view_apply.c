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
 * The form is made from the op's argument table (field.h). Whatever it holds is
 * spelled as a line, and that line is what the preview estimates (a job; the
 * newest wins) and what Enter runs. Arrows step over values that the op refuses
 * on the shapes, so a range that depends on the model is kept too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/op.h"
#include "ui/number.h"
#include "ui/tui/field.h"
#include "ui/tui/states.h"
#include "ui/tui/toggle.h"
#include "ui/tui/view.h"

/* An op that can apply. */
struct choice {
	const struct op *op;
	char *line;		/* owned: how its form starts */
};

struct preview_job;

struct apply_view {
	struct target target;	/* the choices were made for it */
	struct model *model;	/* and for this model; referenced */
	struct model *ghost;	/* its shapes; or NULL; referenced */
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

enum { TRIES = 24 };		/* values an arrow looks at for one that can be */

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

/* What the op says to the line on m, which stays as it is. */
static enum pare_rc
try_line(const struct model *m, const char *line, struct pare_err *err)
{
	struct op_input in = { .model = m };
	struct str note = STR_INIT;
	struct model *out = NULL;
	struct parsed p;
	struct edit *e;
	enum pare_rc rc = parse(line, &p, err);

	if (rc != PARE_OK)
		return rc;
	in.args = &p.args;
	e = edit_begin(m, EDIT_ESTIMATE, 0, NULL);
	rc = p.op->run(&in, e, &note, err);
	if (rc == PARE_OK)
		rc = edit_commit(e, &out, err);
	else
		edit_abort(e);
	model_unref(out);
	str_free(&note);
	parsed_free(&p);
	return rc;
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

/* What names no target changes the whole model, or its tokens. */
static bool
concerns(const struct op *op, const struct target *t)
{
	return target_arg(op) >= 0 || t->kind == TARGET_MODEL ||
	    ((op->flags & OP_TOKENS) != 0 && strncmp(t->path, "emb", 3) == 0);
}

/* The first line that works, malloc'ed; NULL: none does. */
static char *
first_line(const struct model *m, const struct op *op,
    const struct target *target)
{
	bool whole = target->kind == TARGET_MODEL;
	struct pare_err err;
	static const enum aim order[2][3] = {
		{ AIM_SELECTION, AIM_SELECTION, AIM_SELECTION },
		{ AIM_NONE, AIM_SELECTION, AIM_EXAMPLE },
	};

	for (int k = 0; k < (whole ? 3 : 1); k++)
		for (int i = -1; i < 0 || op->examples[i] != NULL; i++) {
			char *line = aimed(op, i < 0 ? NULL :
			    op->examples[i], target->path, order[whole][k]);

			if (line != NULL && try_line(m, line, &err) ==
			    PARE_OK)
				return line;
			free(line);
		}
	return NULL;
}

/* All that was worked out for a model and a selection. */
static void
free_choices(struct apply_view *v)
{
	for (int i = 0; i < v->nchoices; i++)
		free(v->choices[i].line);
	free(v->choices);
	model_unref(v->model);
	model_unref(v->ghost);
	v->model = v->ghost = NULL;
	v->choices = NULL;
	v->nchoices = v->choice = 0;
}

static void
list_choices(struct apply_view *v, const struct app *app)
{
	const struct model *m = app_model(app);
	int n = 0;

	free_choices(v);
	v->target = app->target;
	if (m == NULL)
		return;
	v->model = model_ref(m);
	v->ghost = ghost_of(m);
	while (op_table[n] != NULL)
		n++;
	v->choices = xcalloc((size_t)n + 1, sizeof(*v->choices));
	for (int i = 0; i < n && v->ghost != NULL; i++) {
		const struct op *op = op_table[i];
		char *line;

		/* On shapes alone those that read weights cannot do it. */
		if (m->ghost && (op->flags & OP_NEEDS_WEIGHTS) != 0)
			continue;
		line = concerns(op, &v->target) ?
		    first_line(v->ghost, op, &v->target) : NULL;
		if (line != NULL)
			v->choices[v->nchoices++] = (struct choice){ op, line };
	}
}

/* ---- the preview ---- */

struct preview_job {
	struct job job;
	struct model *model;
	char *line;
	int64_t seq;
	uint64_t seed;		/* the setting */
	struct op_result result;
	bool has_result;
};

static enum pare_rc
preview_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct preview_job *j = (struct preview_job *)job;
	struct op_input in = { .model = j->model, .task = task,
		.seed = j->seed };
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
	j->seed = app->snap.seed;
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

/* What the form says, malloc'ed. */
static char *
form_line(const struct apply_view *v)
{
	const struct op *op = v->choices[v->choice].op;
	const char *text[ARG_MAX] = { NULL };

	for (int i = 0; i < v->nfields; i++)
		text[v->field[i].spec - op->args] = v->field[i].text;
	return spell(op, text);
}

/* The line again, what is wrong with it, and its estimate. */
static void
changed(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct parsed p;

	stop_preview(app);
	free(v->line);
	v->line = form_line(v);
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
free_form(struct apply_view *v)
{
	for (int i = 0; i < v->nfields; i++)
		field_free(&v->field[i]);
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

/* From the selection to ever larger targets. */
static int
list_targets(const struct apply_view *v, char list[4][96])
{
	int n = 0;

	snprintf(list[n++], 96, "%s", v->target.path);
	if (v->target.layer >= 0 && v->target.kind != TARGET_LAYER)
		snprintf(list[n++], 96, "L%d", v->target.layer);
	snprintf(list[n++], 96, "L*");
	if (v->target.kind != TARGET_MODEL)
		snprintf(list[n++], 96, "all");
	return n;
}

static enum pare_rc
try_form(const struct apply_view *v, struct pare_err *err)
{
	char *line = form_line(v);
	enum pare_rc rc = try_line(v->ghost, line, err);

	free(line);
	return rc;
}

/* Whether it is this field that the op minds. A target or nothing at all is
 * called by many names. */
static bool
minds(const struct apply_view *v, const struct field *f, struct pare_err *err)
{
	size_t n = strlen(f->spec->name);

	if (try_form(v, err) == PARE_OK)
		return false;
	return f->spec->type == ARG_TARGET || f->text[0] == '\0' ||
	    (strncmp(err->msg, f->spec->name, n) == 0 && err->msg[n] == ':');
}

/* Words and switches are shown as they are chosen, with what is wrong. */
static bool
is_sought(const struct arg_spec *s)
{
	return s->type == ARG_INT || s->type == ARG_REAL ||
	    s->type == ARG_AMOUNT || s->type == ARG_TARGET;
}

/* To the next value that can be; false: there is none, and why. */
static bool
step(const struct apply_view *v, struct field *f, int dir, bool far,
    struct pare_err *err)
{
	bool seeks = is_sought(f->spec) && v->ghost != NULL &&
	    try_form(v, err) == PARE_OK;
	char targets[4][96];
	int n = list_targets(v, targets);

	err->msg[0] = '\0';
	/* What is named goes without an amount; as one, it is all of it. */
	if (seeks && f->spec->type == ARG_AMOUNT && f->text[0] == '\0' &&
	    dir > 0) {
		field_set(f, "100%");
		if (!minds(v, f, err))
			return true;
		dir = -1;
	}
	for (int i = 0; i < TRIES; i++) {
		char *last = xstrdup(f->text);
		bool same;

		field_step(f, dir, far, targets, n);
		same = strcmp(last, f->text) == 0;
		free(last);
		if (same)
			return false;
		if (!seeks || !minds(v, f, err))
			return true;
	}
	return false;
}

static void
step_field(struct app *app, int dir, bool far)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	struct field *f = &v->field[v->at];
	char *was = xstrdup(f->text);
	struct pare_err err;

	if (!step(v, f, dir, far, &err)) {
		field_set(f, was);
		if (err.msg[0] != '\0')
			app_message(app, STYLE_WARN, "%s", err.msg);
	}
	free(was);
	changed(app);
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

/* The line of a form says what the title does, where rows are few. */
static bool
has_title(const struct apply_view *v, struct rect r)
{
	return r.rows >= (v->in_form ? 9 : 4);
}

/* Rows under the list of ops that tell of one; 0: none. */
static int
choice_help_rows(const struct apply_view *v, struct rect r)
{
	if (r.rows < v->nchoices + 3 && r.rows < 8)
		return 0;
	return r.rows >= v->nchoices + 4 ? 3 : 2;
}

/* The op's sentence about itself. */
static void
first_sentence(const struct op *op, struct str *b)
{
	const char *end = strchr(op->help, '\n');

	str_addn(b, op->help, end != NULL ? (size_t)(end - op->help) :
	    strlen(op->help));
}

/* Whether the selection is a head or part that was pruned. */
static bool
is_pruned(const struct app *app)
{
	const struct target *t = &app->target;

	return app_model(app) != NULL && (t->kind == TARGET_HEAD ||
	    t->kind == TARGET_ATTENTION || t->kind == TARGET_FFN) &&
	    !toggle_present(app_model(app), t);
}

static void
draw_none(const struct app *app, struct cells *c, struct rect r)
{
	struct str b = STR_INIT;

	if (app_model(app) == NULL)
		str_add(&b, "no model is open");
	else if (is_pruned(app))
		str_addf(&b, "%s %s is pruned: x brings it back",
		    glyph(c, GLYPH_PRUNED), app->target.path);
	else
		str_add(&b, "no op can apply to this selection");
	states_wrap(c, r, STYLE_NORMAL, b.s);
	str_free(&b);
}

static void
draw_choices(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	struct str help = STR_INIT;
	int top, n, title = r.cols >= 60 ? 32 : r.cols;

	if (v->nchoices == 0) {
		draw_none(app, c, r);
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

/* "1 to 16, default 8"; the default only where it is not what stands there. */
static void
say_range(const struct field *f, struct str *b)
{
	struct str range = STR_INIT;

	if (f->spec->dflt != NULL && !field_is_default(f))
		str_addf(b, "default %s", f->spec->dflt);
	field_range(f->spec, &range);
	if (range.n > 0)
		str_addf(b, "%s%s", b->n > 0 ? ", " : "", range.s);
	str_free(&range);
}

/* The value between arrows; columns used. */
static int
draw_value(struct cells *c, int row, int col, int room, const struct field *f,
    bool here)
{
	bool none = f->text[0] == '\0', dflt = field_is_default(f);
	int used = cells_put(c, row, col + 2, room, dflt ? STYLE_DIM :
	    STYLE_NORMAL, none ? "not given" : f->text);

	if (here) {
		cells_select(c, (struct rect){ row, col + 2, 1, used > 0 ?
		    used : 1 });
		c->cursor_row = row;
		c->cursor_col = col + 2 + (none ? 0 : used);
	}
	if (here && field_steps(f)) {
		cells_put(c, row, col, 1, STYLE_KEY, glyph(c, GLYPH_LEFT));
		cells_put(c, row, col + 3 + used, 1, STYLE_KEY,
		    glyph(c, GLYPH_RIGHT));
	}
	/* Where it stands it needs no saying what the default is. */
	if (dflt && !none)
		cells_put(c, row, col + 5 + used, room - used - 3, STYLE_DIM,
		    "default");
	return used;
}

/* name  < value >  range and default */
static void
draw_field(const struct apply_view *v, struct cells *c, struct rect r, int i)
{
	enum { RANGE_COL = 42 };
	const struct field *f = &v->field[i];
	int name = r.cols >= 60 ? 12 : 10, room = r.cols - name - 4;
	struct str b = STR_INIT;

	if (r.cols >= 80)
		room = RANGE_COL - name - 4;
	cells_put(c, r.row, r.col + 1, name - 1, STYLE_TITLE, f->spec->name);
	draw_value(c, r.row, r.col + name, room, f, i == v->at);
	if (r.cols >= 80) {
		say_range(f, &b);
		cells_put(c, r.row, r.col + RANGE_COL, r.cols - RANGE_COL,
		    STYLE_DIM, b.n > 0 ? b.s : "");
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

static void
spell_change(char out[NUMBER_MAX], int64_t before, int64_t after)
{
	if (before == after)
		snprintf(out, NUMBER_MAX, "as before");
	else
		number_change(out, (double)before, (double)after);
}

/* All three in one row, for a low screen. */
static void
draw_changes(const struct apply_view *v, struct cells *c, int row,
    struct rect r)
{
	char bytes[NUMBER_MAX], p[NUMBER_MAX], b[NUMBER_MAX], m[NUMBER_MAX];

	number_bytes(bytes, (double)v->after.bytes);
	spell_change(p, v->before.params, v->after.params);
	spell_change(b, v->before.bytes, v->after.bytes);
	spell_change(m, v->before.macs, v->after.macs);
	if (r.cols < 60)
		cells_putf(c, row, r.col + 1, r.cols - 1, STYLE_CHANGED,
		    "%s %s, par %s, MACs %s", bytes, b, p, m);
	else
		cells_putf(c, row, r.col + 1, r.cols - 1, STYLE_CHANGED,
		    "%s stored (%s), parameters %s, MACs %s", bytes, b, p, m);
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

static void
draw_error(const struct pare_err *err, struct cells *c, struct rect r)
{
	struct str b = STR_INIT;
	int used;

	str_addf(&b, "! %s", err->msg);
	used = states_wrap(c, r, STYLE_ERROR, b.s);
	r.row += used;
	r.rows -= used;
	str_clear(&b);
	str_addf(&b, "Try: %s", err->hint);
	if (err->hint[0] != '\0')
		states_wrap(c, r, STYLE_DIM, b.s);
	str_free(&b);
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
		draw_error(&v->error, c, (struct rect){ row, r.col + 1,
		    r.rows - 1, r.cols - 1 });
		return;
	}
	if (!v->known && v->job == NULL)
		return;
	if (!v->known) {
		cells_put(c, row, r.col + 1, r.cols - 1, STYLE_DIM,
		    "estimating");
		return;
	}
	add_zeros(v, &b);
	str_add(&b, v->note != NULL ? v->note : "");
	/* On a low screen the note is worth two of the three rows. */
	if (r.rows >= 5 || (r.rows == 4 && b.n == 0)) {
		draw_totals(app, c, row, r);
		row += 3;
	} else if (r.rows >= 2) {
		draw_changes(v, c, row++, r);
	}
	states_wrap(c, (struct rect){ row, r.col + 1, r.row + r.rows - row,
	    r.cols - 1 }, STYLE_WARN, b.n > 0 ? b.s : "");
	str_free(&b);
}

/* What the field under the cursor is for, and what it may be. */
static void
draw_help(const struct apply_view *v, struct cells *c, struct rect r)
{
	const struct field *f = &v->field[v->at];
	struct str b = STR_INIT, range = STR_INIT;

	say_range(f, &range);
	str_addf(&b, "%s%s%s%s", f->spec->text, range.n > 0 ? " (" : "",
	    range.n > 0 ? range.s : "", range.n > 0 ? ")" : "");
	states_wrap(c, r, STYLE_DIM, b.s);
	str_free(&b);
	str_free(&range);
}

/* The rule below the fields; with the range of the one under the cursor where
 * nothing else says it. */
static void
draw_rule(const struct apply_view *v, struct cells *c, struct rect r,
    bool range)
{
	struct str b = STR_INIT;

	if (range)
		say_range(&v->field[v->at], &b);
	if (b.n > 0)
		cells_rule(c, r.row, r.col, r.cols, b.s);
	else
		cells_hline(c, r.row, r.col, r.cols, STYLE_DIM);
	str_free(&b);
}

/* Rows of the parts of a form, from top to bottom. */
struct form_rows {
	int fields, help, rule, preview;
};

/* First the line and its three figures, then as many fields as there are; what
 * is left is for notes and help. */
static struct form_rows
share_rows(int rows, int nfields)
{
	struct form_rows o = { .preview = rows >= 7 ? 4 : rows >= 3 ? 2 :
	    rows >= 2 };
	int notes;

	rows -= o.preview;
	o.rule = rows >= 2;
	rows -= o.rule;
	o.fields = rows < nfields ? rows : nfields;
	rows -= o.fields;
	notes = rows < 2 ? rows : 2;
	rows -= notes;
	o.help = rows < 3 ? rows : 3;
	o.preview += notes + rows - o.help;
	return o;
}

static void
draw_form(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];
	struct form_rows o = share_rows(r.rows, v->nfields);
	int top = view_top(v->at, v->nfields, o.fields);

	for (int i = 0; i < o.fields && top + i < v->nfields; i++)
		draw_field(v, c, (struct rect){ r.row + i, r.col, 1,
		    r.cols }, top + i);
	r.row += o.fields;
	if (o.help > 0)
		draw_help(v, c, (struct rect){ r.row + (o.help > 1), r.col + 1,
		    o.help - (o.help > 1), r.cols - 1 });
	r.row += o.help;
	r.rows = o.preview;
	if (o.rule > 0)
		draw_rule(v, c, r, o.help == 0);
	r.row += o.rule;
	if (r.rows > 0)
		draw_preview(app, c, r);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct apply_view *v = app->state[VIEW_APPLY];

	if (has_title(v, r)) {
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
}

/* What was half typed becomes the nearest value; true if anything did. */
static bool
settle_fields(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	bool any = false;

	for (int i = 0; i < v->nfields; i++) {
		struct field *f = &v->field[i];

		if (!field_settle(f))
			continue;
		any = true;
		app_message(app, STYLE_WARN, "%s is %s now: what was typed "
		    "cannot be", f->spec->name, f->text[0] != '\0' ? f->text :
		    "not given");
	}
	if (any)
		changed(app);
	return any;
}

static void
run_line(struct app *app)
{
	struct apply_view *v = app->state[VIEW_APPLY];
	char *line;

	/* Nothing runs that was not seen. */
	if (settle_fields(app))
		return;
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
		step_field(app, a == ACT_LEFT ? -1 : 1, false);
		return true;
	case ACT_PAGE_UP:
	case ACT_PAGE_DOWN:
		step_field(app, a == ACT_PAGE_DOWN ? -1 : 1, true);
		return true;
	case ACT_CLEAR:
		field_set(f, f->spec->dflt != NULL ? f->spec->dflt : "");
		f->fresh = true;
		break;
	case ACT_UP:
	case ACT_DOWN:
	case ACT_FIRST:
	case ACT_LAST:
		settle_fields(app);
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

	if (has_title(v, r)) {
		r.row++;
		r.rows--;
	}
	if (v->in_form && v->nfields > 0) {
		r.rows = share_rows(r.rows, v->nfields).fields;
		i = view_row_at(v->at, v->nfields, r, row);
		if (i >= 0 && i != v->at)
			settle_fields(app);
		v->at = i >= 0 ? i : v->at;
	} else {
		r.rows -= choice_help_rows(v, r);
		i = view_row_at(v->choice, v->nchoices, r, row);
		v->choice = i >= 0 ? i : v->choice;
	}
}

/* ---- typing ---- */

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
	case 'x':
		if (!is_pruned(app))
			return false;
		toggle_target(app, &app->target);
		return true;
	default:
		return false;
	}
}

/* A key that would lead out of the range is told what that is. */
static void
type_key(struct app *app, struct field *f, int k)
{
	struct str b = STR_INIT;

	if (field_type(f, k))
		return;
	field_range(f->spec, &b);
	app_message(app, STYLE_WARN, "%s: %s", f->spec->name, b.n > 0 ? b.s :
	    "a number");
	str_free(&b);
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
			field_erase(f);
	} else if (k == K_CTRL('U')) {
		field_set(f, "");
	} else if (k >= ' ' && k < 127 && k != '?') {
		type_key(app, f, k);
	} else {
		return false;
	}
	changed(app);
	return true;
}

/* In the list Enter opens, and what is pruned can only come back. */
static const char *
hint(const struct app *app, const struct key_row *k)
{
	const struct apply_view *v = app->state[VIEW_APPLY];

	if (k->action == ACT_TOGGLE)
		return !v->in_form && is_pruned(app) ? k->hint : NULL;
	if (v->in_form)
		return k->hint;
	if (k->action == ACT_ENTER)
		return v->nchoices > 0 ? "choose" : NULL;
	return k->action == ACT_LEFT || k->action == ACT_CLEAR ? NULL :
	    k->hint;
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
	.hint = hint,
};
