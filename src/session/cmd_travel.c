/* SPDX-License-Identifier: GPL-3.0-or-later */
/* undo, redo, goto, mark, history, diff: moving in the tree of states. Nothing
 * is computed by moving. */
#include <stdlib.h>
#include <string.h>

#include "session/work.h"

static const struct arg_spec step_args[] = {
	{ "n", ARG_INT, ARG_WORD, 1, 1000000, "1", NULL, "steps",
	    "how many steps" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const undo_examples[] = { "undo", "undo 3", NULL };
static const char *const redo_examples[] = { "redo", "redo 3", NULL };

static enum pare_rc
run_undo(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = history_undo(&s->history, (int)arg_int(args, "n"),
	    err);

	if (rc == PARE_OK)
		work_put_state(s, s->history.current, doc);
	return rc;
}

static enum pare_rc
run_redo(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = history_redo(&s->history, (int)arg_int(args, "n"),
	    err);

	if (rc == PARE_OK)
		work_put_state(s, s->history.current, doc);
	return rc;
}

const struct command command_undo = {
	.name = "undo",
	.group = GROUP_TRAVEL,
	.help = "Go back to the state before.\n"
	    "Nothing is lost: redo goes forward again, and doing something "
	    "else instead starts a branch.",
	.examples = undo_examples,
	.args = step_args,
	.flags = CMD_NEEDS_MODEL | CMD_CHANGES,
	.run = run_undo,
};

const struct command command_redo = {
	.name = "redo",
	.group = GROUP_TRAVEL,
	.help = "Go forward to the state that was left last.",
	.examples = redo_examples,
	.args = step_args,
	.flags = CMD_NEEDS_MODEL | CMD_CHANGES,
	.run = run_redo,
};

/* ---- goto and mark ---- */

static const struct arg_spec goto_args[] = {
	{ "state", ARG_STATE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "a number, a mark, original or previous" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const goto_examples[] = { "goto 0", "goto original", NULL };

static enum pare_rc
run_goto(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	enum pare_rc rc;
	int id;

	rc = work_state(s, args, "state", "", &id, err);
	if (rc != PARE_OK)
		return rc;
	history_goto(&s->history, id);
	work_put_state(s, id, doc);
	return PARE_OK;
}

const struct command command_goto = {
	.name = "goto",
	.group = GROUP_TRAVEL,
	.help = "Go to any state of the history.",
	.examples = goto_examples,
	.args = goto_args,
	.flags = CMD_NEEDS_MODEL | CMD_CHANGES,
	.run = run_goto,
};

static const struct arg_spec mark_args[] = {
	{ "name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the name, without blanks" },
	{ "state", ARG_STATE, ARG_WORD, 0, 0, "current", NULL, NULL,
	    "the state that gets it" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const mark_examples[] = { "mark small", "mark start 0",
	NULL };

static enum pare_rc
run_mark(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	enum pare_rc rc;
	int id;

	rc = work_state(s, args, "state", "current", &id, err);
	if (rc == PARE_OK)
		rc = history_mark(&s->history, id, arg_text(args, "name"),
		    err);
	if (rc == PARE_OK) {
		result_put_int(doc, "marked", id);
		work_put_state(s, id, doc);
	}
	return rc;
}

const struct command command_mark = {
	.name = "mark",
	.group = GROUP_TRAVEL,
	.help = "Name a state, for goto, diff and compare.",
	.examples = mark_examples,
	.args = mark_args,
	.flags = CMD_NEEDS_MODEL | CMD_CHANGES,
	.run = run_mark,
};

/* ---- history ---- */

static const struct arg_spec no_args[] = {
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const history_examples[] = { "history", NULL };

static json_t *
state_doc(const struct session *s, int id)
{
	const struct state *t = &s->history.state[id];
	json_t *o = json_object();
	struct totals totals;

	account_totals(t->model, ACCOUNT_SEQ_DEFAULT, false, &totals);
	result_put_int(o, "id", id);
	json_object_set_new(o, "parent", t->parent >= 0 ?
	    json_integer(t->parent) : json_null());
	result_put_text(o, "command", t->command);
	result_put_hash(o, "hash", s->want_hash ? model_hash(t->model) :
	    work_known_hash(t->model));
	result_put_int(o, "bytes", totals.bytes);
	result_put_int(o, "params", totals.params);
	result_put_int(o, "own_bytes", history_own_bytes(&s->history, id));
	result_put_real(o, "metric_value", work_known_value(s, t->model));
	result_put_real(o, "latency_ratio", work_known_ratio(s, t->model));
	result_put_text(o, "mark", t->mark);
	result_put_real(o, "seconds", t->seconds);
	return o;
}

static enum pare_rc
run_history(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	json_t *list = json_array();

	for (int i = 0; i < s->history.n; i++)
		json_array_append_new(list, state_doc(s, i));
	result_put_int(doc, "current", s->history.current);
	result_put_text(doc, "metric",
	    metric_table[work_metric(session_model(s))].name);
	json_object_set_new(doc, "states", list);
	return PARE_OK;
}

const struct command command_history = {
	.name = "history",
	.group = GROUP_TRAVEL,
	.help = "Show the tree of states.",
	.examples = history_examples,
	.args = no_args,
	.flags = CMD_NEEDS_MODEL | CMD_DRY,
	.run = run_history,
};

/* ---- diff ---- */

static const struct arg_spec diff_args[] = {
	{ "a", ARG_STATE, ARG_WORD, 0, 0, "original", NULL, NULL,
	    "the state to start from" },
	{ "b", ARG_STATE, ARG_WORD, 0, 0, "current", NULL, NULL,
	    "the state it became" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const diff_examples[] = { "diff", "diff original current",
	"diff 0 0", NULL };

static json_t *
side_doc(const struct session *s, int id, int64_t seq)
{
	json_t *o = json_object();
	struct totals t;

	account_totals(s->history.state[id].model, seq, false, &t);
	result_put_int(o, "state", id);
	result_put_text(o, "command", s->history.state[id].command);
	result_put_int(o, "params", t.params);
	result_put_int(o, "bytes", t.bytes);
	result_put_real(o, "macs_per_token", (double)t.macs / (double)seq);
	return o;
}

static json_t *
tensor_doc(const struct tensor *t)
{
	json_t *o;
	char form[64];

	if (t == NULL)
		return json_null();
	o = json_object();
	tensor_describe(t, form, sizeof(form));
	result_put_text(o, "form", form);
	result_put_int(o, "params", tensor_params(t));
	result_put_int(o, "bytes", tensor_bytes(t));
	json_object_set_new(o, "shape", json_pack("[I, I]",
	    (json_int_t)t->rows, (json_int_t)t->cols));
	return o;
}

static struct tensor *
slot_or_null(const struct model *m, struct slot_ref ref)
{
	if (ref.layer >= m->nlayers)
		return NULL;
	return model_slot(m, ref);
}

static void
add_row(struct slot_ref ref, const struct tensor *a, const struct tensor *b,
    json_t *rows)
{
	json_t *o = json_object();
	char path[96];

	model_slot_path(ref, path, sizeof(path));
	result_put_text(o, "path", path);
	json_object_set_new(o, "a", tensor_doc(a));
	json_object_set_new(o, "b", tensor_doc(b));
	json_array_append_new(rows, o);
}

/* Slots of a that differ in b, then those that b alone has. */
static json_t *
diff_rows(const struct model *a, const struct model *b)
{
	struct slot_ref ref = SLOT_REF_START;
	json_t *rows = json_array();

	while (model_next_slot(a, &ref)) {
		const struct tensor *x = model_slot(a, ref);
		const struct tensor *y = slot_or_null(b, ref);

		if (x != y)
			add_row(ref, x, y, rows);
	}
	ref = SLOT_REF_START;
	while (model_next_slot(b, &ref))
		if (slot_or_null(a, ref) == NULL)
			add_row(ref, NULL, model_slot(b, ref), rows);
	return rows;
}

static json_t *
layer_doc(const struct layer *l)
{
	if (l == NULL)
		return json_null();
	return json_pack("{s:i, s:I}", "heads", l->heads, "ffn",
	    (json_int_t)l->ffn);
}

static json_t *
diff_layers(const struct model *a, const struct model *b)
{
	int n = a->nlayers > b->nlayers ? a->nlayers : b->nlayers;
	json_t *list = json_array();

	for (int l = 0; l < n; l++) {
		const struct layer *x = l < a->nlayers ? &a->layer[l] : NULL;
		const struct layer *y = l < b->nlayers ? &b->layer[l] : NULL;
		json_t *o;

		if (x != NULL && y != NULL && x->heads == y->heads &&
		    x->ffn == y->ffn &&
		    memcmp(&x->head, &y->head, sizeof(x->head)) == 0)
			continue;
		o = json_object();
		result_put_int(o, "layer", l);
		json_object_set_new(o, "a", layer_doc(x));
		json_object_set_new(o, "b", layer_doc(y));
		json_array_append_new(list, o);
	}
	return list;
}

static enum pare_rc
run_diff(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	int64_t seq = settings_int(s->settings, SET_SEQ);
	const struct model *ma, *mb;
	enum pare_rc rc;
	int a, b;

	rc = work_state(s, args, "a", "original", &a, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "b", "current", &b, err);
	if (rc != PARE_OK)
		return rc;
	ma = s->history.state[a].model;
	mb = s->history.state[b].model;
	json_object_set_new(doc, "a", side_doc(s, a, seq));
	json_object_set_new(doc, "b", side_doc(s, b, seq));
	json_object_set_new(doc, "layers", diff_layers(ma, mb));
	json_object_set_new(doc, "rows", diff_rows(ma, mb));
	return PARE_OK;
}

const struct command command_diff = {
	.name = "diff",
	.group = GROUP_TRAVEL,
	.help = "Show which tensors differ between two states.\n"
	    "Layers are compared by their present numbers.",
	.examples = diff_examples,
	.args = diff_args,
	.flags = CMD_NEEDS_MODEL | CMD_DRY,
	.run = run_diff,
};
