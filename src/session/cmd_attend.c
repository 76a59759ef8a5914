/* SPDX-License-Identifier: GPL-3.0-or-later */
/* attend: the attention of one head over one sequence. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "session/work.h"

static const struct arg_spec attend_args[] = {
	{ "head", ARG_TARGET, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the head, as L1.h3" },
	{ "sample", ARG_INT, 0, 0, 9007199254740992.0, "0", NULL, NULL,
	    "which of the eval samples, counted from 0" },
	{ "text", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "a text in place of a sample" },
	{ "pair", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "its second text" },
	{ "ids", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "token ids in place of a sample, as 101,2054,102" },
	{ "types", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "segment of each id; all 0 unless said" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const attend_examples[] = {
	"attend L0.h1",
	"attend L0.h0 ids=1,2,3",
	NULL
};

/* The one head that text names. */
static enum pare_rc
find_head(const struct model *m, const char *text, int *layer, int *head,
    struct pare_err *err)
{
	struct selection sel;
	enum pare_rc rc = select_parse(m, text, &sel, err);
	int found = 0;

	if (rc != PARE_OK)
		return rc;
	for (int l = 0; l < sel.nlayers; l++)
		for (int h = 0; h < m->layer[l].heads_original; h++)
			if (head_set_has(&sel.layer[l].heads, h)) {
				found++;
				*layer = l;
				*head = h;
			}
	select_free(&sel);
	if (found == 1)
		return PARE_OK;
	err_set(err, PARE_EUSER, "'%s' names %d heads; attend shows one", text,
	    found);
	return err_hint(err, "attend L0.h0");
}

/* The sequence: borrowed from the samples, or in *typed, which the caller frees
 * in any case. */
static enum pare_rc
find_tokens(const struct session *s, const struct arg_list *args,
    struct tokens *typed, const struct tokens **out, struct pare_err *err)
{
	const struct dataset *d = s->data[ROLE_EVAL];
	const int64_t at = arg_int(args, "sample");

	*out = typed;
	if (arg_text(args, "text") != NULL || arg_text(args, "ids") != NULL)
		return work_line_tokens(s, args, typed, err);
	if (d == NULL) {
		err_set(err, PARE_EUSER, "nothing to attend to: no samples are "
		    "loaded and neither text= nor ids= is given");
		return err_hint(err, "load samples: data FILE");
	}
	if (at >= d->n)
		return err_set(err, PARE_EUSER, "sample=%lld: there are %lld, "
		    "counted from 0", (long long)at, (long long)d->n);
	*out = &d->sample[at].tokens;
	return PARE_OK;
}

static void
put_map(const struct session *s, const struct tokens *t, const float *p,
    json_t *doc)
{
	json_t *names = json_array(), *rows = json_array();

	for (int i = 0; i < t->n; i++) {
		const char *name = s->tokenizer == NULL ? NULL :
		    tokenizer_piece(s->tokenizer, t->id[i]);
		json_t *row = json_array();

		json_array_append_new(names, name != NULL ? result_text(name) :
		    json_sprintf("%d", (int)t->id[i]));
		for (int k = 0; k < t->n; k++)
			json_array_append_new(row,
			    json_real((double)p[(int64_t)i * t->n + k]));
		json_array_append_new(rows, row);
	}
	json_object_set_new(doc, "tokens", names);
	json_object_set_new(doc, "attention", rows);
}

static enum pare_rc
run_attend(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	struct tokens typed = { 0 };
	const struct tokens *t = &typed;
	int layer = 0, head = 0;
	float *p = NULL;
	enum pare_rc rc;

	rc = find_head(m, arg_text(args, "head"), &layer, &head, err);
	if (rc == PARE_OK)
		rc = find_tokens(s, args, &typed, &t, err);
	if (rc == PARE_OK) {
		p = mem_big((size_t)t->n * (size_t)t->n, sizeof(*p), err);
		rc = p != NULL ? PARE_OK : PARE_ENOMEM;
	}
	if (rc == PARE_OK) {
		const int64_t start[2] = { 0, t->n };
		const struct batch b = { .nseq = 1, .start = start,
			.ids = t->id, .types = t->type };
		struct forward f = { .attention = p, .attention_layer = layer,
			.attention_head = head, .task = task };

		rc = engine_forward(s->engine, m, &b, &f, err);
	}
	if (rc == PARE_OK) {
		result_put_int(doc, "layer", layer);
		result_put_int(doc, "head", head);
		if (t == &typed)
			json_object_set_new(doc, "sample", json_null());
		else
			result_put_int(doc, "sample", arg_int(args, "sample"));
		put_map(s, t, p, doc);
		if (t->truncated)
			notes_add(notes, "the text is longer than the model "
			    "allows and was cut");
	}
	free(p);
	tokens_free(&typed);
	return rc;
}

const struct command command_attend = {
	.name = "attend",
	.group = GROUP_SEE,
	.help = "Show what a head attends to in a sample or a text.\n"
	    "A row for each token, with the tokens it looks at most and their "
	    "share of its attention; rows add up to 1. Documents have all of "
	    "it.",
	.examples = attend_examples,
	.args = attend_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_attend,
};
