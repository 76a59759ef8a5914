/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A line goes one way: words, command or op, arguments, needs, run, damage check,
 * journal, document. Each step may stop it with an error, and none but run
 * changes anything.
 */
#include "session/session.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/ranks.h"
#include "base/str.h"
#include "session/calibration.h"
#include "session/plan_book.h"
#include "session/vocabulary.h"
#include "session/work.h"

void (*session_on_result)(const struct result *r, void *ctx);
void *session_on_result_ctx;
void (*session_on_part)(const char *kind, json_t *doc, void *ctx);

/* What a line names: a command of the table, or an op. */
struct target {
	const struct command *command;
	const struct op *op;
	const struct arg_spec *args;
	unsigned flags;
	int words;		/* how many words name it */
};

struct session *
session_new(void)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->settings = settings_new();
	s->memory = memory_new();
	s->engine = engine_new();
	s->evaluator = evaluator_new();
	s->calibration = calibration_new();
	s->began_bytes = work_resident_bytes();
	err_set(&s->tokenizer_why, PARE_EUSER, "no model is open");
	return s;
}

void
session_free(struct session *s)
{
	if (s == NULL)
		return;
	journal_end(s->journal, !s->keep_journal);
	history_free(&s->history);
	tokenizer_free(s->tokenizer);
	vocabulary_clear(s);
	for (int r = 0; r < ROLE_COUNT; r++) {
		dataset_free(s->data[r]);
		data_source_free(&s->source[r]);
	}
	settings_free(s->settings);
	memory_free(s->memory);
	engine_free(s->engine);
	evaluator_free(s->evaluator);
	calibration_free(s->calibration);
	plan_book_free(s->plan);
	free(s->record);
	free(s);
}

void
session_keep_journal(struct session *s)
{
	if (s->journal == NULL)
		s->journal = journal_start();
}

const struct model *
session_model(const struct session *s)
{
	if (s->history.n == 0)
		return NULL;
	return s->history.state[s->history.current].model;
}

void
result_free(struct result *r)
{
	json_decref(r->doc);
	notes_free(&r->notes);
	memset(r, 0, sizeof(*r));
}

/* ---- finding what a line names ---- */

static bool
is_op_verb(const char *word)
{
	for (int i = 0; op_table[i] != NULL; i++)
		if (strcmp(op_table[i]->verb, word) == 0)
			return true;
	return false;
}

static enum pare_rc
unknown_command(const char *word, struct pare_err *err)
{
	const char *names[256];
	const char *near;
	int n = 0;

	for (int i = 0; command_table[i] != NULL && n < 255; i++)
		names[n++] = command_table[i]->name;
	for (int i = 0; op_table[i] != NULL && n < 255; i++)
		names[n++] = op_table[i]->verb;
	names[n] = NULL;
	near = str_nearest(word, names);
	err_set(err, PARE_EUSER, "there is no command '%.80s'", word);
	if (near != NULL)
		return err_hint(err, "did you mean '%s'?", near);
	return err_hint(err, "help");
}

static enum pare_rc
find_target(const struct arg_words *w, struct target *t, struct pare_err *err)
{
	enum pare_rc rc;

	memset(t, 0, sizeof(*t));
	t->command = command_find(w->word[0]);
	if (t->command != NULL) {
		t->args = t->command->args;
		t->flags = t->command->flags;
		t->words = 1;
		return PARE_OK;
	}
	if (!is_op_verb(w->word[0]))
		return unknown_command(w->word[0], err);
	rc = op_find(w, &t->op, &t->words, err);
	if (rc != PARE_OK)
		return rc;
	t->args = t->op->args;
	t->flags = CMD_NEEDS_MODEL | CMD_CHANGES | CMD_LONG | CMD_DRY;
	if ((t->op->flags & OP_NEEDS_WEIGHTS) != 0)
		t->flags |= CMD_NEEDS_WEIGHTS;
	return PARE_OK;
}

static enum pare_rc
check_data(const struct session *s, struct pare_err *err)
{
	if (s->data[ROLE_EVAL] != NULL)
		return PARE_OK;
	if (s->source[ROLE_EVAL].path != NULL && s->tokenizer == NULL) {
		err_set(err, PARE_EUSER,
		    "'%s' cannot be tokenized for this model: %s",
		    s->source[ROLE_EVAL].path, s->tokenizer_why.msg);
		return err_hint(err, "predict ids=1,2,3 works without one");
	}
	err_set(err, PARE_EUSER, "no samples are loaded");
	return err_hint(err, "load samples: data FILE");
}

static enum pare_rc
check_needs(const struct session *s, unsigned flags, struct pare_err *err)
{
	const struct model *m = session_model(s);

	if ((flags & (CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS)) != 0 &&
	    m == NULL) {
		err_set(err, PARE_EUSER, "no model is open");
		return err_hint(err, "open a model first: open DIR");
	}
	if ((flags & CMD_NEEDS_WEIGHTS) != 0 && m->ghost) {
		err_set(err, PARE_EUSER,
		    "%s was opened from a config alone and has no weights",
		    m->origin->name);
		return err_hint(err, "open its directory, or draw weights: "
		    "open %s weights=random", m->origin->path);
	}
	if ((flags & CMD_NEEDS_DATA) != 0)
		return check_data(s, err);
	return PARE_OK;
}

/* ---- the document ---- */

static void
put_error(json_t *doc, const struct pare_err *err)
{
	json_t *o = json_object();

	result_put_text(o, "code", err_code_name(err->rc));
	result_put_text(o, "message", err->msg);
	result_put_text(o, "hint", err->hint[0] != '\0' ? err->hint : NULL);
	json_object_set_new(doc, "error", o);
}

static void
put_warnings(json_t *doc, const struct notes *notes)
{
	json_t *list;

	if (notes->n == 0)
		return;
	list = json_array();
	for (int i = 0; i < notes->n; i++)
		json_array_append_new(list, result_text(notes->text[i]));
	json_object_set_new(doc, "warnings", list);
}

/* ok, state and hash, which front ends expect right after command. */
static void
put_head(const struct session *s, json_t *doc, bool ok)
{
	const struct model *m = session_model(s);
	uint64_t hash = 0;

	result_put_bool(doc, "ok", ok);
	if (m == NULL) {
		json_object_set_new(doc, "state", json_null());
		json_object_set_new(doc, "hash", json_null());
		return;
	}
	hash = s->want_hash && ok ? model_hash(m) : work_known_hash(m);
	result_put_int(doc, "state", s->history.current);
	result_put_hash(doc, "hash", hash);
}

/* An error leaves no half-filled keys of its command behind; a false expect is
 * a finding, and keeps what it found. */
static void
fail_doc(const struct session *s, struct result *out,
    const struct pare_err *err)
{
	out->rc = err->rc;
	if (err->rc != PARE_EEXPECT) {
		json_t *doc = json_object();

		json_object_set(doc, "command",
		    json_object_get(out->doc, "command"));
		json_decref(out->doc);
		out->doc = doc;
	}
	put_head(s, out->doc, false);
	put_error(out->doc, err);
}

/* ---- the journal ---- */

/* What a session opened with may have come from options of the program. */
static enum pare_rc
record_settings(struct session *s, struct pare_err *err)
{
	static const enum setting kept[] = { SET_THREADS, SET_KERNELS,
		SET_PRECISION, SET_SEED, SET_SEQ };
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
		const char *value = settings_text(s->settings, kept[i]);
		char *line;

		if (strcmp(value, setting_table[kept[i]].dflt) == 0)
			continue;
		line = str_format("set %s %s", setting_table[kept[i]].name,
		    value);
		rc = journal_add(s->journal, "set", line, -1, 0, false, err);
		free(line);
		if (rc != PARE_OK)
			break;
	}
	return rc;
}

static void
record(struct session *s, const char *kind, struct notes *notes)
{
	const struct model *m = session_model(s);
	bool move = strcmp(kind, "undo") == 0 || strcmp(kind, "redo") == 0 ||
	    strcmp(kind, "goto") == 0 || strcmp(kind, "mark") == 0;
	bool light = move || strcmp(kind, "open") == 0 ||
	    strcmp(kind, "data") == 0 || strcmp(kind, "set") == 0;
	struct pare_err err;
	uint64_t hash = 0;

	if (s->interactive)
		session_keep_journal(s);
	if (s->journal == NULL)
		return;
	if (m != NULL)
		hash = light ? work_known_hash(m) : model_hash(m);
	if (strcmp(kind, "open") == 0 && record_settings(s, &err) != PARE_OK)
		notes_add(notes, "%s", err.msg);
	if (journal_add(s->journal, kind,
	    s->record != NULL ? s->record : s->line,
	    m != NULL ? s->history.current : -1, hash, !move, &err) !=
	    PARE_OK)
		notes_add(notes, "%s", err.msg);
}

/* ---- running ---- */

static enum pare_rc
run_target(struct session *s, const struct target *t,
    const struct arg_words *w, struct result *out, struct task *task,
    struct pare_err *err)
{
	struct arg_list args;
	enum pare_rc rc;

	rc = arg_parse(t->args, w, t->words, &args, err);
	if (rc != PARE_OK)
		return rc;
	rc = vocabulary_use(s, session_model(s), &out->notes, task, err);
	if (rc == PARE_OK)
		rc = check_needs(s, t->flags, err);
	if (rc == PARE_OK && s->dry_run && (t->flags & CMD_DRY) == 0) {
		result_put_bool(out->doc, "dry_run", true);
		s->unrecorded = true;
	} else if (rc == PARE_OK && t->op != NULL) {
		rc = cmd_op_run(s, t->op, &args, out->doc, &out->notes, task,
		    err);
	} else if (rc == PARE_OK) {
		bool writes = (t->flags & CMD_WRITES) != 0;

		if (!writes || ranks_number() == 0)
			rc = t->command->run(s, &args, out->doc, &out->notes,
			    task, err);
		if (writes)
			rc = ranks_agree(rc, err);
	}
	arg_list_free(&args);
	return rc;
}

/* What follows a successful run, in this order: a kill -9 during a live
 * evaluation must not lose the change it follows. */
static enum pare_rc
finish(struct session *s, const struct target *t, struct result *out,
    struct task *task, struct pare_err *err)
{
	bool changed = (t->flags & CMD_CHANGES) != 0 && !s->unrecorded;
	bool fresh = t->op != NULL || strcmp(out->kind, "recover") == 0;

	if (changed) {
		record(s, t->op != NULL ? t->op->verb : t->command->name,
		    &out->notes);
		if (fresh || strcmp(out->kind, "open") == 0 ||
		    strcmp(out->kind, "data") == 0)
			work_live(s, fresh, out->doc, &out->notes, task);
	}
	put_head(s, out->doc, true);
	/* Front ends look at the samples of the state that is shown. */
	vocabulary_use(s, session_model(s), &out->notes, task, err);
	return work_damage(err);
}

static char *
trim(const char *line)
{
	size_t n;

	while (isspace((unsigned char)*line))
		line++;
	n = strlen(line);
	while (n > 0 && isspace((unsigned char)line[n - 1]))
		n--;
	return xstrndup(line, n);
}

/*
 * The line as history and recipes keep it: without a comment and on one line, so
 * that something can be added at its end.
 */
static char *
tidy(const char *line)
{
	struct str out = STR_INIT;
	bool start = true;
	char quote = '\0';

	for (const char *p = line; *p != '\0'; p++) {
		if (quote == '\0' && start && *p == '#') {
			p += strcspn(p, "\n");
			if (*p == '\0')
				break;
		}
		if (quote == '\0' && isspace((unsigned char)*p)) {
			str_addc(&out, ' ');
			start = true;
			continue;
		}
		start = false;
		if (*p == '\\' && quote != '\'' && p[1] != '\0')
			str_addc(&out, *p++);
		else if (quote != '\0' && *p == quote)
			quote = '\0';
		else if (quote == '\0' && (*p == '\'' || *p == '"'))
			quote = *p;
		str_addc(&out, *p);
	}
	while (out.n > 0 && out.s[out.n - 1] == ' ')
		out.s[--out.n] = '\0';
	return str_detach(&out);
}

static enum pare_rc
run_words(struct session *s, const struct arg_words *w, struct result *out,
    struct task *task, struct pare_err *err)
{
	struct target t;
	enum pare_rc rc;

	out->kind = "error";
	rc = find_target(w, &t, err);
	if (rc != PARE_OK)
		return rc;
	out->kind = t.op != NULL ? "op" : t.command->name;
	rc = run_target(s, &t, w, out, task, err);
	if (rc == PARE_OK)
		return finish(s, &t, out, task, err);
	if (rc == PARE_EUSER && err->hint[0] == '\0')
		err_hint(err, "help %s%s%s", w->word[0], t.words > 1 ? " " :
		    "", t.words > 1 ? w->word[1] : "");
	/* A file that broke meanwhile is the better reason. */
	if (rc != PARE_EEXPECT && rc != PARE_ECANCELED) {
		struct pare_err damage;

		if (work_damage(&damage) != PARE_OK)
			*err = damage;
	}
	return err->rc;
}

enum pare_rc
session_run(struct session *s, const char *line, struct task *task,
    struct result *out)
{
	struct pare_err err = { 0 };
	const char *outer_line = s->line;
	char *outer_record = s->record, *text = trim(line);
	char *tidied = tidy(text);
	struct arg_words w;
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	out->kind = "";
	s->line = tidied;
	s->record = NULL;
	s->unrecorded = false;
	if (s->depth == 0)
		s->located = false;
	rc = arg_split(text, &w, &err);
	if (rc == PARE_OK && w.n == 0)
		goto out;
	out->doc = json_object();
	result_put_text(out->doc, "command", text);
	/* Reserves their place, for readers of the raw document. */
	json_object_set_new(out->doc, "ok", json_true());
	json_object_set_new(out->doc, "state", json_null());
	json_object_set_new(out->doc, "hash", json_null());
	if (rc == PARE_OK)
		rc = run_words(s, &w, out, task, &err);
	else
		out->kind = "error";
	if (rc != PARE_OK)
		fail_doc(s, out, &err);
	put_warnings(out->doc, &out->notes);
out:
	arg_words_free(&w);
	free(s->record);
	free(text);
	free(tidied);
	s->record = outer_record;
	s->line = outer_line;
	s->unrecorded = false;
	return out->rc;
}
