/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/op.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* "heads, neurons, ..." of one verb, or the verbs themselves. */
static void
list_names(const char *verb, struct str *out)
{
	const char *last = "";

	for (const struct op *const *o = op_table; *o != NULL; o++) {
		const char *name = verb == NULL ? (*o)->verb : (*o)->method;

		if (verb != NULL && strcmp((*o)->verb, verb) != 0)
			continue;
		if (strcmp(name, last) == 0)
			continue;
		str_addf(out, "%s%s", out->n > 0 ? ", " : "", name);
		last = name;
	}
}

static enum pare_rc
unknown(const char *verb, const char *word, struct pare_err *err)
{
	const char *list[64], *near;
	struct str names = STR_INIT;
	int n = 0;

	for (int i = 0; op_table[i] != NULL && n < 63; i++)
		if (verb == NULL || strcmp(op_table[i]->verb, verb) == 0)
			list[n++] = verb == NULL ? op_table[i]->verb :
			    op_table[i]->method;
	list[n] = NULL;
	list_names(verb, &names);
	if (word == NULL)
		err_set(err, PARE_EUSER, "%s what? One of: %s", verb, names.s);
	else if (verb == NULL)
		err_set(err, PARE_EUSER, "no op is called '%.40s'; there are: "
		    "%s", word, names.s);
	else
		err_set(err, PARE_EUSER, "%s cannot do '%.40s'; it can do: %s",
		    verb, word, names.s);
	near = word == NULL ? NULL : str_nearest(word, list);
	if (near != NULL)
		err_hint(err, "did you mean %s%s%s?", verb == NULL ? "" : verb,
		    verb == NULL ? "" : " ", near);
	else
		err_hint(err, "help %s", verb == NULL ? "" : verb);
	str_free(&names);
	return PARE_EUSER;
}

enum pare_rc
op_find(const struct arg_words *line, const struct op **out, int *words,
    struct pare_err *err)
{
	const char *verb = line->n > 0 ? line->word[0] : "";
	const char *method = line->n > 1 ? line->word[1] : NULL;
	const struct op *plain = NULL;
	bool seen = false;

	for (const struct op *const *o = op_table; *o != NULL; o++) {
		if (strcmp((*o)->verb, verb) != 0)
			continue;
		seen = true;
		if ((*o)->method == NULL) {
			plain = *o;
		} else if (method != NULL &&
		    strcmp((*o)->method, method) == 0) {
			*out = *o;
			*words = 2;
			return PARE_OK;
		}
	}
	if (plain != NULL) {
		*out = plain;
		*words = 1;
		return PARE_OK;
	}
	return seen ? unknown(verb, method, err) : unknown(NULL, verb, err);
}

static enum pare_rc
check_input(const struct op *op, const struct op_input *in,
    struct pare_err *err)
{
	if ((op->flags & OP_NEEDS_WEIGHTS) == 0 || !in->model->ghost)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s%s%s needs weights; this model is a "
	    "configuration alone", op->verb, op->method == NULL ? "" : " ",
	    op->method == NULL ? "" : op->method);
	return err_hint(err, "open the model's directory, or open it with "
	    "weights=random");
}

/* Runs the op in an edit of the given mode and counts both ends. */
static enum pare_rc
carry_out(const struct op *op, const struct op_input *in, enum edit_mode mode,
    int64_t seq, struct op_result *out, struct pare_err *err)
{
	struct op_result r = { 0 };
	struct str note = STR_INIT;
	struct edit *e;
	enum pare_rc rc;

	if ((rc = check_input(op, in, err)) != PARE_OK)
		return rc;
	e = edit_begin(in->model, mode, in->seed, in->task);
	rc = op->run(in, e, &note, err);
	if (rc == PARE_OK && task_canceled(in->task))
		rc = task_error(err);
	if (rc != PARE_OK)
		edit_abort(e);
	else
		rc = edit_commit(e, &r.model, err);
	if (rc == PARE_OK) {
		account_totals(in->model, seq, true, &r.before);
		account_totals(r.model, seq, true, &r.after);
		r.note = note.n > 0 ? str_detach(&note) : NULL;
		*out = r;
	}
	str_free(&note);
	return rc;
}

enum pare_rc
op_apply(const struct op *op, const struct op_input *in, int64_t seq,
    struct op_result *out, struct pare_err *err)
{
	return carry_out(op, in, EDIT_REAL, seq, out, err);
}

enum pare_rc
op_estimate(const struct op *op, const struct op_input *in, int64_t seq,
    struct op_result *out, struct pare_err *err)
{
	return carry_out(op, in, EDIT_ESTIMATE, seq, out, err);
}

void
op_result_free(struct op_result *r)
{
	model_unref(r->model);
	free(r->note);
	memset(r, 0, sizeof *r);
}
