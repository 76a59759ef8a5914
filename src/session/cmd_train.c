/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * recover: training after a cut, or from scratch. The schedule is over
 * `epochs`; `stop` ends it early, which is also how a canceled run that is kept
 * is written down: its line alone gives the same weights again.
 *
 * A classifier learns the labels of the calib samples, a language model their
 * text: each sample in pieces of at most `context` tokens.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "measure/material.h"
#include "session/vocabulary.h"
#include "session/work.h"

static const char *const keep_choices[] = { "last", "none", NULL };

static const struct arg_spec recover_args[] = {
	{ "epochs", ARG_INT, 0, 1, 10000, "1", NULL, "epochs",
	    "passes over the calib samples" },
	{ "lr", ARG_REAL, 0, 0, 10, "5e-5", NULL, NULL,
	    "peak learning rate" },
	{ "batch", ARG_INT, 0, 1, 65536, "32", NULL, "samples",
	    "samples a step" },
	{ "warmup", ARG_REAL, 0, 0, 1, "10%", NULL, NULL,
	    "share of the steps in which the rate rises" },
	{ "weight_decay", ARG_REAL, 0, 0, 10, "0.01", NULL, NULL,
	    "AdamW decay of weights, not of biases and norms" },
	{ "clip", ARG_REAL, 0, 0, 1e9, "1", NULL, NULL,
	    "largest norm of all gradients; 0 does not clip" },
	{ "dropout", ARG_REAL, 0, 0, 0.95, NULL, NULL, NULL,
	    "share dropped; the model's own unless said" },
	{ "label_smoothing", ARG_REAL, 0, 0, 0.95, "0", NULL, NULL,
	    "share of the target given to all classes alike" },
	{ "distil", ARG_REAL, 0, 0, 1, "0", NULL, NULL,
	    "share of the loss that is how far the answers are from those of "
	    "the original" },
	{ "temperature", ARG_REAL, 0, 0.01, 100, "2", NULL, NULL,
	    "of those answers; more makes the unlikely ones count" },
	{ "context", ARG_INT, 0, 2, 1e9, NULL, NULL, "tokens",
	    "a language model learns pieces of so many; all that a sample has "
	    "unless said" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of the order of samples and of dropout" },
	{ "keep", ARG_CHOICE, 0, 0, 0, "none", keep_choices, NULL,
	    "what a canceled run leaves: the last full epoch or nothing" },
	{ "stop", ARG_INT, 0, 0, 10000, "0", NULL, "epochs",
	    "end after so many epochs of the schedule; 0 runs all" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const recover_examples[] = {
	"recover epochs=1 lr=3e-5",
	"recover epochs=3 lr=1e-4 batch=16 warmup=6% keep=last",
	"recover epochs=2 lr=1e-3 batch=8 context=128",
	"recover distil=0.5",
	NULL
};

/* The pieces of all samples that have a token to foretell; with out NULL only
 * counts them. A piece begins with the last token of the one before, so that
 * every token but a sample's first is foretold once. */
static int64_t
cut_pieces(const struct dataset *d, int context, struct material *out)
{
	int64_t n = 0;

	for (int64_t i = 0; i < d->n; i++) {
		const struct tokens *k = &d->sample[i].tokens;

		for (int64_t at = 0; at + 1 < k->n; at += context - 1, n++) {
			if (out == NULL)
				continue;
			out->ids[n] = k->id + at;
			out->len[n] = k->n - at < context ?
			    (int)(k->n - at) : context;
		}
	}
	return n;
}

static enum pare_rc
collect_text(const struct dataset *d, int context, struct material *out,
    struct pare_err *err)
{
	int64_t n = cut_pieces(d, context, NULL);

	if (n < 1)
		return err_set(err, PARE_EUSER, "'%s' has no text of two "
		    "tokens to train on", d->path);
	out->ids = mem_big((size_t)n, sizeof(*out->ids), err);
	out->len = mem_big((size_t)n, sizeof(*out->len), err);
	if (out->ids == NULL || out->len == NULL)
		return PARE_ENOMEM;
	cut_pieces(d, context, out);
	out->data = (struct train_data){ .n = n, .ids = out->ids,
		.len = out->len };
	return PARE_OK;
}

static enum pare_rc
collect_labels(const struct dataset *d, const struct model *m,
    struct material *out, struct pare_err *err)
{
	material_of(d, m, true, out);
	if (out->data.n > 0)
		return PARE_OK;
	return err_set(err, PARE_EUSER, "'%s' has no labelled samples to "
	    "train on", d->path);
}

static enum pare_rc
collect(const struct dataset *d, const struct model *m,
    const struct arg_list *args, struct material *out, struct pare_err *err)
{
	const struct arg_value *context = arg_get(args, "context");

	if (m->hp.head == HEAD_LM)
		return collect_text(d, context->has ?
		    (int)arg_int(args, "context") : INT_MAX, out, err);
	if (context->set)
		return err_set(err, PARE_EUSER, "context: only a language "
		    "model learns text in pieces");
	return collect_labels(d, m, out, err);
}

static enum pare_rc
check_ready(const struct session *s, struct pare_err *err)
{
	const struct model *m = session_model(s);

	if (m->hp.head == HEAD_NONE || m->hp.head == HEAD_MLM) {
		err_set(err, PARE_EUSER, "%s has no classification, "
		    "regression or next-token head to train",
		    m->origin->name);
		return err_hint(err, "open a model with a head");
	}
	if (s->data[ROLE_CALIB] != NULL)
		return PARE_OK;
	if (s->source[ROLE_CALIB].path != NULL && s->tokenizer == NULL)
		return err_set(err, PARE_EUSER, "the calib samples cannot be "
		    "tokenized for this model: %s", s->tokenizer_why.msg);
	err_set(err, PARE_EUSER, "recover trains on the calib samples, and "
	    "none are loaded");
	return err_hint(err, "data FILE role=calib");
}

static void
read_options(const struct session *s, const struct arg_list *args,
    struct train_options *o)
{
	*o = (struct train_options){
		.rate = arg_real(args, "lr"),
		.warmup = arg_real(args, "warmup"),
		.weight_decay = arg_real(args, "weight_decay"),
		.clip = arg_real(args, "clip"),
		.dropout = arg_get(args, "dropout")->has ?
		    arg_real(args, "dropout") : -1.0,
		.label_smoothing = arg_real(args, "label_smoothing"),
		.teacher = s->history.state[0].model,
		.share = arg_real(args, "distil"),
		.temperature = arg_real(args, "temperature"),
		.batch = (int)arg_int(args, "batch"),
		.epochs = (int)arg_int(args, "epochs"),
		.seed = work_seed(s, args),
	};
}

/* A run: what it made so far. */
struct run {
	struct trainer *trainer;
	struct model *last;	/* after the last full epoch, when kept */
	int done;		/* full epochs */
	json_t *epochs;
};

static void
note_epoch(struct run *r, double loss, double seconds)
{
	json_t *o = json_object();

	result_put_int(o, "epoch", r->done);
	result_put_real(o, "loss", loss);
	result_put_real(o, "seconds", seconds);
	json_array_append_new(r->epochs, o);
}

static enum pare_rc
train(struct run *r, const struct train_data *d, int epochs, bool keep,
    struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && r->done < epochs) {
		double start = task_now(), loss = NAN;
		struct model *m = NULL;

		rc = trainer_epoch(r->trainer, d, r->done, &loss, task, err);
		if (rc != PARE_OK)
			break;
		r->done++;
		note_epoch(r, loss, task_now() - start);
		if (!isfinite(loss)) {
			err_set(err, PARE_EUSER, "the loss is no longer a "
			    "number after epoch %d", r->done);
			return err_hint(err, "try a smaller lr");
		}
		if (!keep && r->done < epochs)
			continue;
		rc = trainer_model(r->trainer, &m, err);
		if (rc == PARE_OK) {
			model_unref(r->last);
			r->last = m;
		}
	}
	return rc;
}

/* Adds the state for what the run made. */
static enum pare_rc
keep_state(struct session *s, const struct arg_list *args, struct run *r,
    int epochs, double seconds, json_t *doc, struct pare_err *err)
{
	int64_t seq = settings_int(s->settings, SET_SEQ);
	struct totals before, after;
	char *line = work_line_with_seed(s, args), *full;
	enum pare_rc rc;

	if (r->done < epochs) {
		full = str_format("%s stop=%d", line, r->done);
		free(line);
		line = full;
	}
	account_totals(session_model(s), seq, true, &before);
	account_totals(r->last, seq, true, &after);
	rc = work_add_state(s, r->last, line, seconds, err);
	r->last = NULL;
	work_record(s, line);
	if (rc != PARE_OK)
		return rc;
	json_object_set(doc, "epochs", r->epochs);
	result_put_totals(doc, "before", &before, seq);
	result_put_totals(doc, "after", &after, seq);
	result_put_int(doc, "seq", seq);
	result_put_real(doc, "seconds", seconds);
	return PARE_OK;
}

/* How many epochs of the schedule to run. */
static enum pare_rc
check_stop(const struct arg_list *args, int *epochs, struct pare_err *err)
{
	int all = (int)arg_int(args, "epochs");
	int stop = (int)arg_int(args, "stop");

	if (stop > all)
		return err_set(err, PARE_EUSER,
		    "stop=%d is after the last of %d epochs", stop, all);
	*epochs = stop > 0 ? stop : all;
	return PARE_OK;
}

static enum pare_rc
run_recover(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	bool keep = strcmp(arg_choice(args, "keep"), "last") == 0;
	struct run r = { .epochs = json_array() };
	double start = task_now();
	struct train_options o;
	struct material mat = { 0 };
	int epochs = 0;
	enum pare_rc rc;

	rc = check_ready(s, err);
	if (rc == PARE_OK)
		rc = check_stop(args, &epochs, err);
	if (rc == PARE_OK)
		rc = collect(s->data[ROLE_CALIB], session_model(s), args, &mat,
		    err);
	if (rc != PARE_OK)
		goto out;
	read_options(s, args, &o);
	if (o.share > 0)
		rc = vocabulary_original(s, session_model(s), &o.teacher, err);
	if (rc != PARE_OK)
		goto out;
	r.trainer = trainer_new(session_model(s), &o, err);
	rc = r.trainer != NULL ? train(&r, &mat.data, epochs, keep, task,
	    err) : err->rc;
	if (rc == PARE_ECANCELED && r.last != NULL &&
	    !arg_get(args, "stop")->set) {
		notes_add(notes, "stopped in epoch %d of %d; epoch %d is kept",
		    r.done + 1, epochs, r.done);
		rc = PARE_OK;
	}
	if (rc == PARE_OK)
		rc = keep_state(s, args, &r, epochs, task_now() - start, doc,
		    err);
out:
	trainer_free(r.trainer);
	model_unref(r.last);
	material_free(&mat);
	json_decref(r.epochs);
	return rc;
}

enum pare_rc
work_train(struct session *s, const struct model *m,
    const struct train_options *o, struct model **out, struct task *task,
    struct pare_err *err)
{
	struct run r = { .epochs = json_array() };
	struct material mat = { 0 };
	enum pare_rc rc = check_ready(s, err);

	if (rc == PARE_OK)
		rc = m->hp.head == HEAD_LM ? collect_text(s->data[ROLE_CALIB],
		    INT_MAX, &mat, err) : collect_labels(s->data[ROLE_CALIB],
		    m, &mat, err);
	if (rc == PARE_OK) {
		r.trainer = trainer_new(m, o, err);
		rc = r.trainer != NULL ? train(&r, &mat.data, o->epochs,
		    false, task, err) : err->rc;
	}
	if (rc == PARE_OK)
		*out = model_ref(r.last);
	trainer_free(r.trainer);
	model_unref(r.last);
	material_free(&mat);
	json_decref(r.epochs);
	return rc;
}

const struct command command_recover = {
	.name = "recover",
	.group = GROUP_CHANGE,
	.help = "Train on the calib samples.\n"
	    "A classifier learns their labels, a causal language model their "
	    "text. AdamW with linear warm-up and decay. Pruned weights stay "
	    "pruned, ties stay tied; packed tensors cannot be trained, so "
	    "recover before quantizing. The eval samples are never seen.",
	.examples = recover_examples,
	.args = recover_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_CHANGES | CMD_LONG,
	.run = run_recover,
};
