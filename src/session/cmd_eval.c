/* SPDX-License-Identifier: GPL-3.0-or-later */
/* eval: what the current state is worth on the eval samples. */
#include <string.h>

#include "base/str.h"
#include "session/vocabulary.h"
#include "session/work.h"

static const char *const custom_choices[] = { "chunks", "stride", NULL };

/* "none", "decided", "ci:1.0". */
static enum pare_rc
read_stop(const struct arg_list *args, struct eval_ask *ask,
    struct pare_err *err)
{
	const char *text = arg_text(args, "stop");
	double points;

	ask->stop = STOP_NONE;
	if (strcmp(text, "none") == 0)
		return PARE_OK;
	ask->stop = STOP_DECIDED;
	if (strcmp(text, "decided") == 0)
		return PARE_OK;
	ask->stop = STOP_CI;
	if (str_has_prefix(text, "ci:") && str_to_double(text + 3, &points) &&
	    points > 0 && points <= 100) {
		ask->half_width = points / 100;
		return PARE_OK;
	}
	err_set(err, PARE_EUSER, "stop: '%.40s' is not none, decided, or ci: "
	    "with points of percent", text);
	return err_hint(err, "eval stop=ci:1.0");
}

static const struct arg_spec eval_args[] = {
	{ "metric", ARG_CHOICE, 0, 0, 0, "auto", work_metric_choices, NULL,
	    "what value is; auto is accuracy, or pearson for scores" },
	{ "against", ARG_STATE, 0, 0, 0, "original", NULL, NULL,
	    "the state to compare with" },
	{ "fresh", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "run every layer again instead of recalling" },
	{ "custom", ARG_CHOICE, 0, 0, 0, NULL, custom_choices, NULL,
	    "how a language model reads the text; chunks, or as last time" },
	{ "context", ARG_INT, 0, 0, 1048576, NULL, NULL, "tokens",
	    "of a window of the text; 0: the largest power of two up to 512 "
	    "that makes 8 windows" },
	{ "stride", ARG_INT, 0, 0, 1048576, NULL, NULL, "tokens",
	    "from window to window of custom=stride; 0: half the context" },
	{ "stop", ARG_TEXT, 0, 0, 0, "none", NULL, NULL,
	    "ci:1.0 stops when the interval is at most 1.0 points wide to "
	    "each side, decided when the comparison is" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const eval_examples[] = { "eval", "eval metric=f1",
	"eval against=original", "eval stop=ci:1.0",
	"eval custom=stride context=128 stride=64", NULL };

/* custom=, context= and stride= cut the text again, for this line and those to
 * come. */
static enum pare_rc
read_cut(struct session *s, const struct arg_list *args, struct pare_err *err)
{
	bool custom = arg_get(args, "custom")->set;
	bool context = arg_get(args, "context")->set;
	bool stride = arg_get(args, "stride")->set;
	struct dataset_cut how = s->cut;
	enum pare_rc rc;

	if (!custom && !context && !stride)
		return PARE_OK;
	if (session_model(s)->hp.head != HEAD_LM)
		return err_set(err, PARE_EUSER, "custom, context and stride "
		    "are for causal language models");
	if (custom)
		how.custom = strcmp(arg_choice(args, "custom"), "stride") == 0 ?
		    CUT_STRIDE : CUT_CHUNKS;
	if (custom || context)
		how.stride = 0;
	if (context)
		how.context = (int)arg_int(args, "context");
	if (stride && how.custom != CUT_STRIDE) {
		err_set(err, PARE_EUSER, "chunks stand side by side: they "
		    "have no stride");
		return err_hint(err, "eval custom=stride stride=%s",
		    arg_text(args, "stride"));
	}
	if (stride)
		how.stride = (int)arg_int(args, "stride");
	rc = work_cut_data(s, session_model(s), s->tokenizer, &how,
	    s->data[ROLE_EVAL], err);
	if (rc != PARE_OK)
		return rc;
	s->cut = how;
	vocabulary_drop(s, ROLE_EVAL);
	return PARE_OK;
}

static enum pare_rc
run_eval(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct eval_ask ask = { .fresh = arg_int(args, "fresh") != 0 };
	enum pare_rc rc;

	rc = work_read_metric(s, args, &ask.metric, err);
	if (rc == PARE_OK)
		rc = read_stop(args, &ask, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "against", "original", &ask.against,
		    err);
	if (rc == PARE_OK)
		rc = read_cut(s, args, err);
	if (rc != PARE_OK)
		return rc;
	return work_eval_doc(s, s->history.current, &ask, doc, notes, task,
	    err);
}

const struct command command_eval = {
	.name = "eval",
	.group = GROUP_MEASURE,
	.help = "Measure the current state on the eval samples.\n"
	    "Gives the metric with its 95 % interval, and against the original "
	    "the predictions that were fixed and broken with an exact McNemar "
	    "test. The original is evaluated too where that is not known yet. "
	    "Results are recalled for states that come back, also in later "
	    "sessions; after a change only the layers from it on run.\n"
	    "Samples run in a random order that keeps the shares of the "
	    "classes. stop= ends at the first batch after which the rule "
	    "holds; the answer is then partial, over n of total samples, and "
	    "is not remembered. The comparison is decided when one state is "
	    "shown to be better (looking again and again is wrong in at most "
	    "1 of 100 cases; mcnemar_p then is a p that holds at any time), "
	    "or when the samples left have less than 1 chance in 100 to show "
	    "it.\n"
	    "A causal language model is judged by its perplexity on the text, "
	    "in one of two customs whose numbers must not be compared. "
	    "custom=chunks: windows side by side, the second half of each is "
	    "scored, and each begins with the mark for a text where the model "
	    "has one, as llama.cpp does. custom=stride: windows every stride "
	    "tokens, each token of the text but the first is scored once, with "
	    "what its first window holds before it, as in the guide of "
	    "Transformers. What is chosen stays for evaluations to come. A "
	    "masked language model is asked for 15 % of the tokens of each "
	    "sample, drawn by the seed of data and hidden behind its mask "
	    "token. Intervals are over windows or samples (Student's t of a "
	    "ratio of sums), for the tokens of one hang together; the verdict "
	    "is by the paired ratio of perplexities. The KL divergence from "
	    "the original is of its distributions kept in 256 MiB at most: "
	    "log-probabilities in 16 bits (to within 0.00025), and where that "
	    "is too much of the likeliest tokens only, the others as one, "
	    "which tells no more than the true divergence. stop=ci:1.0 is "
	    "1 % of a perplexity.",
	.examples = eval_examples,
	.args = eval_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_NEEDS_DATA |
	    CMD_LONG,
	.run = run_eval,
};
