/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any op of op_table[] through the history: estimate in a dry run, else apply
 * and add a state. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
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

/* What the line wants of the calib samples; *coded is the caller's. A dry run
 * does without where there are none. */
static enum pare_rc
gather(struct session *s, const struct op *op, const struct arg_list *args,
    struct op_calib *c, struct op_coded **coded, const struct op_calib **out,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	unsigned needs = op->needs != NULL ? op->needs(args) : 0;
	char *what;
	enum pare_rc rc;

	*out = NULL;
	*coded = NULL;
	if (needs == 0 || session_model(s)->ghost ||
	    (s->dry_run && s->data[ROLE_CALIB] == NULL))
		return PARE_OK;
	what = str_format("%s%s%s", op->verb, op->method != NULL ? " " : "",
	    op->method != NULL ? op->method : "");
	rc = calibration_get(s, session_model(s), needs, CALIBRATE_SAMPLES,
	    what, c, notes, task, err);
	free(what);
	if (rc == PARE_OK && (needs & OP_NEED_SWEEP) != 0) {
		c->ncoded = sweep_recall(s, session_model(s), arg_text(args,
		    "widths"), coded, err);
		c->coded = *coded;
		rc = c->ncoded > 0 ? PARE_OK : err->rc;
	}
	if (rc == PARE_OK)
		*out = c;
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
	int64_t seq = settings_int(s->settings, SET_SEQ);
	double start = task_now(), seconds;
	struct op_calib calib;
	struct op_coded *coded;
	struct op_result r;
	enum pare_rc rc;
	char *line;

	rc = gather(s, op, args, &calib, &coded, &in.calib, notes, task, err);
	if (rc == PARE_OK)
		rc = s->dry_run ? op_estimate(op, &in, seq, &r, err) :
		    op_apply(op, &in, seq, &r, err);
	free(coded);
	if (rc != PARE_OK)
		return rc;
	seconds = task_now() - start;
	if (s->dry_run) {
		s->unrecorded = true;
	} else {
		line = random ? work_line_with_seed(s, args) :
		    xstrdup(s->line);
		rc = work_add_state(s, model_ref(r.model), line, seconds, err);
		work_record(s, line);
	}
	if (rc == PARE_OK)
		put_result(s, op, &r, seq, seconds, doc);
	op_result_free(&r);
	return rc;
}
