/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open and data: what a session works on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/arch.h"
#include "session/vocabulary.h"
#include "session/work.h"

static const char *const weight_choices[] = { "file", "random", NULL };

static const struct arg_spec open_args[] = {
	{ "path", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "a model directory, a .safetensors file or a config.json" },
	{ "weights", ARG_CHOICE, 0, 0, 0, "file", weight_choices, NULL,
	    "random draws fresh weights for a config" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of weights=random" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const open_examples[] = {
	"open samples/reviews",
	"open config.json",
	"open config.json weights=random seed=1",
	NULL
};

static const char *
head_name(enum head_kind k)
{
	static const char *const names[] = {
		[HEAD_NONE] = "none", [HEAD_CLASSIFY] = "classification",
		[HEAD_REGRESS] = "regression", [HEAD_MLM] = "masked-lm",
		[HEAD_LM] = "causal-lm",
	};

	return names[k];
}

void
work_put_model(const struct session *s, const struct model *m, json_t *doc)
{
	json_t *heads = json_array();
	struct totals t;

	account_totals(m, ACCOUNT_SEQ_DEFAULT, false, &t);
	for (int l = 0; l < m->nlayers; l++)
		json_array_append_new(heads, json_integer(m->layer[l].heads));
	result_put_text(doc, "path", m->origin->path);
	result_put_text(doc, "name", m->origin->name);
	result_put_text(doc, "architecture", m->arch->title);
	result_put_text(doc, "model_type", m->arch->model_type);
	result_put_text(doc, "head", head_name(m->hp.head));
	result_put_int(doc, "layers", m->nlayers);
	json_object_set_new(doc, "heads", heads);
	result_put_int(doc, "hidden", m->hp.hidden);
	result_put_int(doc, "params", t.params);
	result_put_int(doc, "bytes", t.bytes);
	result_put_labels(doc, m);
	result_put_text(doc, "tokenizer", s->tokenizer != NULL ?
	    tokenizer_kind(s->tokenizer) : NULL);
	result_put_bool(doc, "weights", !m->ghost);
}

/* Everything that opening makes, before the session takes it over. */
struct opened {
	struct model *model;
	struct tokenizer *tokenizer;
	struct pare_err why;		/* of no tokenizer */
	struct dataset *data[ROLE_COUNT];
};

static void
opened_free(struct opened *o)
{
	model_unref(o->model);
	tokenizer_free(o->tokenizer);
	for (int r = 0; r < ROLE_COUNT; r++)
		dataset_free(o->data[r]);
}

static enum pare_rc
open_tokenizer(struct opened *o, struct notes *notes)
{
	const struct model *m = o->model;

	memset(&o->why, 0, sizeof(o->why));
	if (m->origin->dir == NULL)
		return err_set(&o->why, PARE_EUSER,
		    "the model has no folder with tokenizer files");
	o->tokenizer = tokenizer_load(m->origin->dir, m->hp.vocab, &o->why);
	if (o->tokenizer == NULL && o->why.rc == PARE_EFORMAT)
		notes_add(notes, "no tokenizer: %s", o->why.msg);
	return PARE_OK;
}

/* Sample sets are read again: labels and tokens belong to the model. One that
 * does not fit is left out with a notice; the model opens all the same. */
static enum pare_rc
open_data(const struct session *s, struct opened *o, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	for (int r = 0; r < ROLE_COUNT; r++) {
		struct pare_err why;

		if (s->source[r].path == NULL)
			continue;
		if (o->tokenizer == NULL) {
			notes_add(notes, "'%s' is set aside: %s",
			    s->source[r].path, o->why.msg);
			continue;
		}
		if (work_read_data(s, r, o->model, o->tokenizer, &o->data[r],
		    task, &why) == PARE_OK)
			continue;
		if (why.rc == PARE_ECANCELED || why.rc == PARE_ENOMEM) {
			*err = why;
			return why.rc;
		}
		notes_add(notes, "'%s' is set aside: %s", s->source[r].path,
		    why.msg);
	}
	return PARE_OK;
}

static void
take_over(struct session *s, struct opened *o)
{
	history_free(&s->history);
	history_init(&s->history, o->model);
	tokenizer_free(s->tokenizer);
	vocabulary_clear(s);
	s->tokenizer = o->tokenizer;
	s->tokenizer_why = o->why;
	for (int r = 0; r < ROLE_COUNT; r++) {
		dataset_free(s->data[r]);
		s->data[r] = o->data[r];
	}
}

static char *
open_line(const char *path, const struct open_options *o)
{
	char *full = work_absolute(path), *quoted = arg_quote(full), *line;

	if (o->random)
		line = str_format("open %s weights=random seed=%llu", quoted,
		    (unsigned long long)o->seed);
	else
		line = str_format("open %s", quoted);
	free(full);
	free(quoted);
	return line;
}

static enum pare_rc
run_open(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct open_options o = {
		.random = strcmp(arg_choice(args, "weights"), "random") == 0,
		.seed = work_seed(s, args),
	};
	struct opened got = { 0 };
	json_t *list;
	enum pare_rc rc;

	rc = file_open_model(arg_text(args, "path"), &o, &got.model, notes,
	    err);
	if (rc != PARE_OK)
		return rc;
	open_tokenizer(&got, notes);
	rc = open_data(s, &got, notes, task, err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK) {
		opened_free(&got);
		return rc;
	}
	take_over(s, &got);
	work_record(s, open_line(arg_text(args, "path"), &o));
	work_put_model(s, session_model(s), doc);
	list = json_array();
	for (int i = 0; i < notes->n; i++)
		json_array_append_new(list, result_text(notes->text[i]));
	json_object_set_new(doc, "notes", list);
	return PARE_OK;
}

const struct command command_open = {
	.name = "open",
	.group = GROUP_SEE,
	.help = "Open a model; it becomes state 0 of a new history.\n"
	    "MODEL is a Hugging Face directory, a directory that save wrote, a "
	    ".safetensors file with its config.json beside it, or a "
	    "config.json alone (sizes and estimates only, unless "
	    "weights=random draws weights). Weights are read when they are "
	    "used. Sample sets stay; for another tokenizer they are tokenized "
	    "again.",
	.examples = open_examples,
	.args = open_args,
	.flags = CMD_CHANGES | CMD_LONG | CMD_DRY,
	.run = run_open,
};

/* ---- data ---- */

static const struct arg_spec data_args[] = {
	{ "file", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "a .tsv, .csv, .jsonl or .txt file; for a causal language model "
	    "any text" },
	{ "role", ARG_CHOICE, 0, 0, 0, "eval", data_role_names, NULL,
	    "what the samples are for: measuring, or calibration and training"
	    },
	{ "text", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "column of the text, by name or number from 1" },
	{ "pair", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "column of the second text" },
	{ "label", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "column of the label" },
	{ "limit", ARG_INT, 0, 0, 1e15, "0", NULL, "samples",
	    "draw so many, in the proportions of the labels, or so many windows "
	    "of a text; 0 takes all" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of the draw, and of the tokens that are hidden from a masked "
	    "language model" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const data_examples[] = {
	"data test.tsv",
	"data train.tsv role=calib limit=1000 seed=1",
	"data pairs.csv text=question1 pair=question2 label=duplicate",
	NULL
};

static void
put_labels(const struct dataset *d, const struct model *m, json_t *doc)
{
	json_t *list = json_array();
	int64_t *count;
	char name[256];
	int64_t n = m != NULL && m->hp.head == HEAD_CLASSIFY ?
	    m->hp.labels : 0;

	if (n > 0 && n <= 10000) {
		count = xcalloc((size_t)n, sizeof(*count));
		for (int64_t i = 0; i < d->n; i++)
			if (d->sample[i].label >= 0 && d->sample[i].label < n)
				count[d->sample[i].label]++;
		for (int k = 0; k < (int)n; k++) {
			json_t *o = json_object();

			model_label_name(m, k, name, sizeof(name));
			result_put_text(o, "label", name);
			result_put_int(o, "n", count[k]);
			json_array_append_new(list, o);
		}
		free(count);
	}
	json_object_set_new(doc, "labels", list);
}

static void
put_data(const struct session *s, enum data_role role,
    const struct dataset *d, json_t *doc)
{
	int64_t tokens = 0;

	for (int64_t i = 0; i < d->n; i++)
		tokens += d->sample[i].tokens.n;
	result_put_text(doc, "role", data_role_names[role]);
	result_put_text(doc, "path", d->path);
	result_put_int(doc, "n", d->n);
	result_put_text(doc, "columns", d->columns);
	result_put_int(doc, "skipped_rows", d->skipped_rows);
	result_put_int(doc, "unlabelled", d->unlabelled);
	result_put_int(doc, "truncated", d->truncated);
	result_put_int(doc, "bad_bytes", d->bad_bytes);
	result_put_int(doc, "tokens", tokens);
	result_put_real(doc, "tokens_per_sample", d->encoded && d->n > 0 ?
	    (double)tokens / (double)d->n : NAN);
	put_labels(d, session_model(s), doc);
	result_put_int(doc, "documents", d->ndocs);
	result_put_int(doc, "scored", d->nscored);
	result_put_text(doc, "custom", cut_custom_names[d->cut.custom]);
	if (d->is_text)
		result_put_int(doc, "context", d->cut.context);
}

static void
note_oddities(const struct dataset *d, struct notes *notes)
{
	if (d->skipped_rows > 0)
		notes_add(notes, "%lld rows could not be read and were left "
		    "out", (long long)d->skipped_rows);
	if (d->unlabelled > 0 && d->nscored == 0)
		notes_add(notes, "%lld samples have no label: they count in "
		    "predict, not in eval", (long long)d->unlabelled);
	if (d->truncated > 0)
		notes_add(notes, "%lld samples are longer than the model "
		    "allows and were cut", (long long)d->truncated);
	if (d->bad_bytes > 0)
		notes_add(notes, "%lld bytes are not valid UTF-8 and were "
		    "replaced", (long long)d->bad_bytes);
}

static char *
copy(const char *s)
{
	return s != NULL ? xstrdup(s) : NULL;
}

/* The line again, with the whole path and the seed it used. */
static char *
data_line(const struct data_source *d, enum data_role role)
{
	const char *const key[] = { "text", "pair", "label" };
	const char *const value[] = { d->text, d->pair, d->label };
	struct str out = STR_INIT;
	char *quoted = arg_quote(d->path);

	str_addf(&out, "data %s role=%s", quoted, data_role_names[role]);
	free(quoted);
	for (int i = 0; i < 3; i++) {
		if (value[i] == NULL)
			continue;
		quoted = arg_quote(value[i]);
		str_addf(&out, " %s=%s", key[i], quoted);
		free(quoted);
	}
	if (d->limit > 0)
		str_addf(&out, " limit=%lld", (long long)d->limit);
	if (d->limit > 0 || d->seed != 0)
		str_addf(&out, " seed=%llu", (unsigned long long)d->seed);
	return str_detach(&out);
}

char *
work_data_line(const struct session *s, enum data_role role)
{
	return data_line(&s->source[role], role);
}

static enum pare_rc
check_tokenizer(const struct session *s, struct pare_err *err)
{
	if (session_model(s) == NULL || s->tokenizer != NULL)
		return PARE_OK;
	err_set(err, PARE_EUSER, "samples need a tokenizer: %s",
	    s->tokenizer_why.msg);
	return err_hint(err, "%s", s->tokenizer_why.hint[0] != '\0' ?
	    s->tokenizer_why.hint : "predict ids=1,2,3 works without one");
}

static void
put_overlap(const struct session *s, enum data_role role, json_t *doc,
    struct notes *notes)
{
	const struct dataset *other = s->data[1 - role];
	int64_t shared = 0;

	if (other != NULL)
		shared = dataset_overlap(s->data[ROLE_EVAL],
		    s->data[ROLE_CALIB]);
	result_put_int(doc, "overlap", shared);
	if (shared > 0)
		notes_add(notes, "%lld samples of eval are in calib as well: "
		    "what is measured on them says less", (long long)shared);
}

static enum pare_rc
run_data(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	enum data_role role = (enum data_role)arg_get(args, "role")->i;
	struct data_source old = s->source[role];
	struct dataset *d;
	enum pare_rc rc;

	rc = check_tokenizer(s, err);
	if (rc != PARE_OK)
		return rc;
	s->source[role] = (struct data_source){
		.path = work_absolute(arg_text(args, "file")),
		.text = copy(arg_text(args, "text")),
		.pair = copy(arg_text(args, "pair")),
		.label = copy(arg_text(args, "label")),
		.limit = arg_int(args, "limit"),
		.seed = work_seed(s, args),
	};
	rc = work_read_data(s, role, session_model(s), s->tokenizer, &d, task,
	    err);
	if (rc == PARE_OK && d->n == 0) {
		dataset_free(d);
		rc = err_set(err, PARE_EFORMAT, "'%s' has no samples",
		    arg_text(args, "file"));
	}
	if (rc != PARE_OK) {
		data_source_free(&s->source[role]);
		s->source[role] = old;
		return rc;
	}
	data_source_free(&old);
	dataset_free(s->data[role]);
	vocabulary_drop(s, role);
	s->data[role] = d;
	work_record(s, data_line(&s->source[role], role));
	put_data(s, role, d, doc);
	note_oddities(d, notes);
	put_overlap(s, role, doc, notes);
	return PARE_OK;
}

const struct command command_data = {
	.name = "data",
	.group = GROUP_SEE,
	.help = "Load a sample set.\n"
	    "Role eval is what eval, compare and predict use; role calib is "
	    "what recover trains on, and no measurement ever sees it.\n"
	    "A causal language model reads running text: a file whose name "
	    "does not end in .tsv, .csv, .jsonl or .json is one document as "
	    "it stands; of those that do, and of any file with text=, each "
	    "row is a document. Documents longer than the model's context "
	    "are cut into windows, as eval says. For every other model each "
	    "row is a sample, of a .txt file each line. Columns "
	    "are found by their names in the header (sentence, text, "
	    "sentence1 and sentence2, question, label, ...) or named with "
	    "text=, pair= and label=. Labels may be class numbers or class "
	    "names.",
	.examples = data_examples,
	.args = data_args,
	.flags = CMD_CHANGES | CMD_LONG | CMD_DRY,
	.run = run_data,
};
