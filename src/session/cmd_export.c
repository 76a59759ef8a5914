/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * export: the current state in the files of other programs. What was written is
 * opened where it lies, compared with what was to be written, tensor by tensor,
 * and with the state, output by output; only then it is put in place.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "file/export.h"
#include "measure/calibrate.h"
#include "session/calibration.h"
#include "session/check.h"
#include "session/work.h"
#include "text/reduce.h"

/* Samples of the eval set that are compared besides the drawn inputs. */
enum { SAMPLES = 16 };

static const struct arg_spec export_args[] = {
	{ "format", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL,
	    export_formats, NULL, "whose files" },
	{ "path", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the folder to write; for gguf the file" },
	{ "type", ARG_CHOICE, 0, 0, 0, "keep", gguf_wants, NULL,
	    "what tensors are stored as; keep: floats and blocks as they are" },
	{ "pad", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "zeros for what layers lack, where the format wants them alike" },
	{ "body", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "leave out the head" },
	{ "calib", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "gguf: errors count by what the calib samples say of columns" },
	{ "force", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "write over what is there" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const export_examples[] = { "export hf plain",
	"export hf plain type=F16 pad=on", "export gguf small.gguf type=Q4_K",
	"export gptq packed", NULL };

/* ---- tokenizer ---- */

/* What of the tokenizer goes along. */
struct words {
	struct tokenizer_file file[TOKENIZER_FILES];
	struct export_file entry[TOKENIZER_FILES];
	int n;
	struct gguf_writer *keys;
};

enum pare_rc
work_tokenizer_files(const struct session *s, const struct model *m,
    struct tokenizer_file *file, struct export_file *entry, int *n,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	*n = 0;
	if (s->tokenizer == NULL || m->origin->dir == NULL ||
	    (m->tokens == NULL && !io_is_file(m->origin->dir)))
		return PARE_OK;
	if (m->tokens != NULL)
		rc = tokenizer_reduce_files(s->tokenizer, m->origin->dir,
		    file, n, err);
	else
		*n = tokenizer_make_files(s->tokenizer, file);
	for (int i = 0; i < *n; i++)
		entry[i] = (struct export_file){ file[i].name, file[i].data,
			file[i].n };
	return rc;
}

static bool
is_cased(const struct tokenizer *t)
{
	return strcmp(tokenizer_kind(t), "WordPiece") == 0 &&
	    !tokenizer_lowers(t);
}

/* A GGUF file takes the keys of the GGUF file it came from, or those that say
 * the tokenizer of the session. */
static void
file_words(const struct session *s, const struct model *m, struct words *w,
    struct notes *notes)
{
	const char *dir = m->origin->dir;
	struct pare_err why = { .rc = PARE_OK };
	struct gguf *g;

	w->keys = gguf_writer_new();
	if (dir != NULL && io_is_file(dir) && m->tokens == NULL &&
	    (g = gguf_open(dir, &why)) != NULL) {
		gguf_put_values(w->keys, g, "tokenizer.");
		gguf_close(g);
		return;
	}
	if (s->tokenizer != NULL && tokenizer_put_gguf(s->tokenizer,
	    m->hp.vocab, dir, w->keys, &why) == PARE_OK) {
		if (is_cased(s->tokenizer))
			notes_add(notes, "llama.cpp lower-cases all text for "
			    "BERT, and this tokenizer does not");
		return;
	}
	notes_add(notes, "the file has no tokenizer: %s", s->tokenizer != NULL ?
	    why.msg : s->tokenizer_why.msg);
	gguf_writer_free(w->keys);
	w->keys = NULL;
}

static void
words_free(struct words *w)
{
	tokenizer_files_free(w->file, w->n);
	gguf_writer_free(w->keys);
}

/* ---- checks ---- */

static bool
is_int8(const struct tensor *t)
{
	return t->code.act != 0 || (t->kid[0] != NULL && (is_int8(t->kid[0]) ||
	    is_int8(t->kid[1])));
}

static bool
any_int8(const struct model *m)
{
	struct slot_ref r = SLOT_REF_START;

	while (model_next_slot(m, &r))
		if (is_int8(model_slot(m, r)))
			return true;
	return false;
}

/* The state as the format would hold it: without its head, where asked. */
static enum pare_rc
compare_with(struct session *s, const struct model *m, const struct export *x,
    const struct model *back, struct output_check *c, struct task *task,
    struct pare_err *err)
{
	/* Blocks of a file are multiplied with rounded activations, even where
	 * the integers they were made of were not. */
	const bool exact = !x->lossy && !any_int8(m) && !any_int8(back);
	struct output_check own;
	enum pare_rc rc = check_outputs(s, x->model, back, 0, &own, task, err);

	if (rc == PARE_OK && !(own.most <= 1e-4 * (1.0 + own.largest)))
		return err_set(err, PARE_EWRITE, "what was written gives "
		    "other outputs than it should (by up to %g); nothing is "
		    "left of it", own.most);
	if (rc == PARE_OK)
		rc = check_outputs(s, m, back, SAMPLES, c, task, err);
	if (rc == PARE_OK && exact && !(c->most <= 1e-3 * (1.0 + c->largest)))
		return err_set(err, PARE_EWRITE, "what was written gives "
		    "other outputs than the model (by up to %g); nothing is "
		    "left of it", c->most);
	return rc;
}

static enum pare_rc
read_back(struct session *s, const struct model *m, const struct export *x,
    bool body, struct output_check *c, struct task *task,
    struct pare_err *err)
{
	struct model *back = NULL, *bare = NULL;
	struct open_options o = { 0 };
	enum pare_rc rc;

	rc = file_open_model(x->path, &o, &back, NULL, err);
	if (rc != PARE_OK) {
		err_prefix(err, "what was written does not open");
		return rc;
	}
	rc = export_compare(x, back, err);
	if (rc == PARE_OK && body && m->hp.head != HEAD_NONE)
		rc = export_body(m, &bare, err);
	if (rc == PARE_OK)
		rc = compare_with(s, bare != NULL ? bare : m, x, back, c,
		    task, err);
	model_unref(bare);
	model_unref(back);
	return rc;
}

/* ---- the document ---- */

static void
put_kinds(const struct export *x, json_t *doc)
{
	json_t *list = json_array();

	for (int i = 0; i < x->nkinds; i++) {
		json_t *o = json_object();

		result_put_text(o, "type", x->kind[i].name);
		result_put_int(o, "tensors", x->kind[i].tensors);
		result_put_int(o, "bytes", x->kind[i].bytes);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "types", list);
}

static void
put_export(const struct export *x, const struct model *m,
    const struct output_check *c, json_t *doc)
{
	struct totals totals;

	account_totals(m, 128, false, &totals);
	result_put_int(doc, "bytes", x->bytes);
	result_put_int(doc, "model_bytes", totals.bytes);
	put_kinds(x, doc);
	result_put_bool(doc, "padded", x->padded);
	result_put_bool(doc, "lossy", x->lossy);
	result_put_int(doc, "weighed", x->weighed);
	result_put_bool(doc, "checked", true);
	result_put_int(doc, "sequences", c->sequences);
	result_put_real(doc, "max_logit_difference", c->most);
	result_put_real(doc, "largest_logit", c->largest);
	result_put_int(doc, "rows", c->rows);
	result_put_int(doc, "same_top", c->same_top);
}

/* ---- what errors count ---- */

struct weighing {
	const struct statistics *of;
	float *column;
};

/* The mean square of each input that slot r multiplies. */
static const float *
weigh(void *ctx, struct slot_ref r, int64_t cols)
{
	struct weighing *w = ctx;
	const struct moments *seen = statistics_of(w->of, r);

	if (seen == NULL || seen->cols != cols || seen->rows < 1)
		return NULL;
	w->column = xrealloc(w->column, (size_t)cols * sizeof(*w->column));
	for (int64_t c = 0; c < cols; c++)
		w->column[c] = (float)(seen->square[c] / (double)seen->rows);
	return w->column;
}

static enum pare_rc
ask_calib(struct session *s, const struct model *m, struct export_ask *ask,
    struct weighing *w, struct notes *notes, struct task *task,
    struct pare_err *err)
{
	struct op_calib calib;
	enum pare_rc rc;

	if (ask->format != EXPORT_GGUF || ask->want < GGUF_AS_Q8_0) {
		err_set(err, PARE_EUSER, "calib=on says how values are rounded "
		    "to blocks, and none are asked for");
		return err_hint(err, "export gguf FILE.gguf type=Q4_K calib=on");
	}
	rc = calibration_get(s, m, OP_NEED_STATISTICS, CALIBRATE_SAMPLES,
	    "export calib=on", &calib, notes, task, err);
	if (rc != PARE_OK)
		return rc;
	w->of = calib.statistics;
	ask->weigh = weigh;
	ask->weigh_ctx = w;
	return PARE_OK;
}

static enum pare_rc
run_export(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	struct words words = { .n = 0 };
	struct export_ask ask = {
		.format = (enum export_format)arg_get(args, "format")->i,
		.path = arg_text(args, "path"),
		.want = (enum gguf_want)arg_get(args, "type")->i,
		.pad = arg_int(args, "pad") != 0,
		.body = arg_int(args, "body") != 0,
		.force = arg_int(args, "force") != 0,
	};
	struct output_check c = { 0 };
	struct weighing w = { .of = NULL };
	struct export *x;
	enum pare_rc rc;

	if (ask.format != EXPORT_GGUF && ask.want > GGUF_AS_BF16) {
		err_set(err, PARE_EUSER, "type=%s is one of GGUF's; %s holds "
		    "keep, F32, F16 and BF16", gguf_wants[ask.want],
		    export_formats[ask.format]);
		return err_hint(err, "export gguf FILE.gguf type=%s",
		    gguf_wants[ask.want]);
	}
	if (arg_int(args, "calib") != 0 &&
	    (rc = ask_calib(s, m, &ask, &w, notes, task, err)) != PARE_OK)
		return rc;
	if (ask.format == EXPORT_GGUF)
		file_words(s, m, &words, notes);
	else if (work_tokenizer_files(s, m, words.file, words.entry, &words.n,
	    err) != PARE_OK)
		return err->rc;
	ask.file = words.entry;
	ask.nfiles = words.n;
	ask.keys = words.keys;
	x = export_begin(m, &ask, task, err);
	words_free(&words);
	free(w.column);
	if (x == NULL)
		return err->rc;
	rc = read_back(s, m, x, ask.body, &c, task, err);
	if (rc != PARE_OK) {
		export_abort(x);
		return rc;
	}
	for (int i = 0; i < x->notes.n; i++)
		notes_add(notes, "%s", x->notes.text[i]);
	if (any_int8(m))
		notes_add(notes, "the state multiplies codes by int8 "
		    "activations; other programs multiply by floats");
	result_put_text(doc, "format", export_formats[ask.format]);
	result_put_text(doc, "path", ask.path);
	put_export(x, m, &c, doc);
	return export_commit(x, err);
}

const struct command command_export = {
	.name = "export",
	.group = GROUP_KEEP,
	.help = "Write the current state in the files of other programs.\n"
	    "hf is a plain Hugging Face folder, gguf a file for llama.cpp, "
	    "gptq a folder whose 4-bit (or 8-bit) groups stay packed. What "
	    "the format cannot say is refused, with the layer and the reason; "
	    "pad=on fills up with zeros where that helps. hf writes all "
	    "tensors as floats of one type: the one they have, else F32, or "
	    "type=F16 or BF16. gguf keeps floats, "
	    "blocks and packed integers that are GGUF blocks value by value; "
	    "type= names another type: mixed is Q4_K with Q6_K for the output "
	    "and for v and down of the first and last eighth of the layers "
	    "and every third between. Rows that are no whole blocks take a "
	    "type of smaller blocks, and vectors stay F32. calib=on weighs "
	    "the errors of rounding by the mean square of what each column "
	    "multiplies, over the calib samples. What was written "
	    "is opened, compared with the state on a few inputs and samples "
	    "of the eval set, and only then put in place.",
	.examples = export_examples,
	.args = export_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG |
	    CMD_WRITES,
	.run = run_export,
};
