/* SPDX-License-Identifier: GPL-3.0-or-later */
/* save, recipe, source, resume: what outlives a session. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/check.h"
#include "session/work.h"
#include "text/tokenizer_write.h"

enum { SCRIPT_BYTES_MAX = 16 << 20, SOURCE_DEPTH_MAX = 16 };

/* ---- recipe ---- */

/* Training depends on the calib samples, so the recipe loads them first. */
static bool
trains(const struct history *h, int id)
{
	for (int at = id; h->state[at].parent >= 0; at = h->state[at].parent)
		if (str_has_prefix(h->state[at].command, "recover"))
			return true;
	return false;
}

static char *
recipe_text(const struct session *s, int id, int *lines)
{
	const struct model *m = s->history.state[id].model;
	char *commands = history_recipe(&s->history, id);
	struct str out = STR_INIT;

	*lines = 0;
	str_addf(&out, "# pare recipe for %s\n", m->origin->name);
	if (trains(&s->history, id) && s->source[ROLE_CALIB].path != NULL) {
		char *line = work_data_line(s, ROLE_CALIB);

		str_addf(&out, "%s\n", line);
		free(line);
		(*lines)++;
	}
	str_add(&out, commands);
	for (const char *p = commands; *p != '\0'; p++)
		*lines += *p == '\n';
	free(commands);
	return str_detach(&out);
}

static const struct arg_spec recipe_args[] = {
	{ "file", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the file to write" },
	{ "state", ARG_STATE, 0, 0, 0, "current", NULL, NULL,
	    "the state whose commands are written" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const recipe_examples[] = { "recipe smaller.pare", NULL };

static enum pare_rc
run_recipe(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const char *path = arg_text(args, "file");
	int id, lines;
	enum pare_rc rc;
	char *text;

	rc = work_state(s, args, "state", "current", &id, err);
	if (rc != PARE_OK)
		return rc;
	text = recipe_text(s, id, &lines);
	rc = io_write(path, text, strlen(text), err);
	free(text);
	if (rc != PARE_OK)
		return rc;
	result_put_text(doc, "path", path);
	result_put_int(doc, "lines", lines);
	return PARE_OK;
}

const struct command command_recipe = {
	.name = "recipe",
	.group = GROUP_KEEP,
	.help = "Write the commands that led from the original to a state.\n"
	    "source replays them, on this model or on another.",
	.examples = recipe_examples,
	.args = recipe_args,
	.flags = CMD_NEEDS_MODEL | CMD_WRITES,
	.run = run_recipe,
};

/* ---- source ---- */

static const struct arg_spec source_args[] = {
	{ "file", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "a file of commands, one a line" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const source_examples[] = { "source smaller.pare", NULL };

/* One line of a script; its result goes to the front end. */
static enum pare_rc
run_line(struct session *s, const char *text, struct task *task, bool *ran,
    struct pare_err *err)
{
	struct result r;
	const json_t *e;
	enum pare_rc rc;

	rc = session_run(s, text, task, &r);
	*ran = r.doc != NULL;
	if (rc == PARE_OK) {
		if (*ran && session_on_result != NULL)
			session_on_result(&r, session_on_result_ctx);
	} else {
		e = json_object_get(r.doc, "error");
		err_set(err, rc, "%s", json_string_value(json_object_get(e,
		    "message")));
		if (json_is_string(json_object_get(e, "hint")))
			err_hint(err, "%s", json_string_value(
			    json_object_get(e, "hint")));
	}
	result_free(&r);
	return rc;
}

static enum pare_rc
run_script(struct session *s, const char *path, char *text, int *lines,
    struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	int number = 0;

	for (char *p = text, *next; rc == PARE_OK && p != NULL && !s->quit;
	    p = next) {
		bool ran;

		next = strchr(p, '\n');
		if (next != NULL)
			*next++ = '\0';
		number++;
		if (task_canceled(task))
			return task_error(err);
		rc = run_line(s, p, task, &ran, err);
		*lines += rc == PARE_OK && ran;
	}
	/* Of files that source each other, the innermost line says where. */
	if (rc != PARE_OK && !s->located) {
		err_prefix(err, "%s:%d", path, number);
		s->located = true;
	}
	return rc;
}

static enum pare_rc
run_source(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const char *path = arg_text(args, "file");
	int lines = 0;
	enum pare_rc rc;
	char *text;
	size_t n;

	if (s->depth >= SOURCE_DEPTH_MAX)
		return err_set(err, PARE_EUSER, "'%s': files that source each "
		    "other go more than %d deep", path, SOURCE_DEPTH_MAX);
	rc = io_read(path, SCRIPT_BYTES_MAX, &text, &n, err);
	if (rc != PARE_OK)
		return rc;
	if (strlen(text) != n) {
		free(text);
		return err_set(err, PARE_EFORMAT,
		    "'%s' is no text: it holds a NUL byte", path);
	}
	s->depth++;
	rc = run_script(s, path, str_has_prefix(text, "\xef\xbb\xbf") ?
	    text + 3 : text, &lines, task, err);
	s->depth--;
	free(text);
	if (rc != PARE_OK)
		return rc;
	result_put_text(doc, "path", path);
	result_put_int(doc, "lines", lines);
	return PARE_OK;
}

const struct command command_source = {
	.name = "source",
	.group = GROUP_KEEP,
	.help = "Run the commands of a file.\n"
	    "Stops at the first that fails; what the lines before it did "
	    "stays.",
	.examples = source_examples,
	.args = source_args,
	.flags = CMD_LONG | CMD_DRY,
	.run = run_source,
};

/* ---- save ---- */

static const struct arg_spec save_args[] = {
	{ "dir", ARG_FILE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the directory to write" },
	{ "force", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "write into a directory that holds other files" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const save_examples[] = { "save smaller",
	"save smaller force=on", NULL };

/* The recipe of a model that was itself saved by pare begins with the one it
 * came with. */
static char *
whole_recipe(const struct session *s)
{
	const char *dir = session_model(s)->origin->dir;
	struct str out = STR_INIT;
	char *path, *old, *text;
	size_t n;
	int lines;

	if (dir != NULL) {
		path = io_join(dir, "recipe.pare");
		if (io_is_file(path) && io_read(path, SCRIPT_BYTES_MAX, &old,
		    &n, NULL) == PARE_OK) {
			str_add(&out, old);
			free(old);
			if (out.n > 0 && out.s[out.n - 1] != '\n')
				str_addc(&out, '\n');
		}
		free(path);
	}
	text = recipe_text(s, s->history.current, &lines);
	str_add(&out, text);
	free(text);
	return str_detach(&out);
}

static enum pare_rc
check_saved(struct session *s, const struct model *m, const char *dir,
    double *most, struct task *task, struct pare_err *err)
{
	struct open_options o = { 0 };
	struct output_check c = { 0 };
	struct model *back = NULL;
	enum pare_rc rc;

	*most = NAN;
	rc = file_open_model(dir, &o, &back, NULL, err);
	if (rc != PARE_OK) {
		err_prefix(err, "the saved model does not open");
		return rc;
	}
	if (model_hash(back) != model_hash(m))
		rc = err_set(err, PARE_EWRITE, "'%s' reads back as other "
		    "weights than were saved; do not use it", dir);
	else if (!m->ghost)
		rc = check_outputs(s, m, back, 0, &c, task, err);
	*most = m->ghost ? NAN : c.most;
	if (rc == PARE_OK && !m->ghost && !(*most == 0.0))
		rc = err_set(err, PARE_EWRITE, "'%s' gives other outputs "
		    "than the model that was saved (by up to %g); do not use "
		    "it", dir, *most);
	model_unref(back);
	return rc;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
put_files(const char *dir, json_t *doc)
{
	json_t *list = json_array();
	DIR *d = opendir(dir);
	char **name = NULL;
	struct dirent *e;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		name = xrealloc(name, (size_t)(n + 1) * sizeof(*name));
		name[n++] = xstrdup(e->d_name);
	}
	if (d != NULL)
		closedir(d);
	if (n > 0)
		qsort(name, (size_t)n, sizeof(*name), by_name);
	for (int i = 0; i < n; i++) {
		char *path = io_join(dir, name[i]);
		struct stat st;
		json_t *o;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			o = json_object();
			result_put_text(o, "name", name[i]);
			result_put_int(o, "bytes", (int64_t)st.st_size);
			json_array_append_new(list, o);
		}
		free(path);
		free(name[i]);
	}
	free(name);
	json_object_set_new(doc, "files", list);
}

static enum pare_rc
run_save(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const char *dir = arg_text(args, "dir");
	struct tokenizer_file file[TOKENIZER_FILES];
	struct export_file entry[TOKENIZER_FILES];
	char *recipe = whole_recipe(s);
	int64_t bytes = 0;
	int n;
	bool plain = false;
	double most;
	enum pare_rc rc;

	if (work_tokenizer_files(s, m, file, entry, &n, err) != PARE_OK) {
		free(recipe);
		return err->rc;
	}
	rc = file_save_with(m, dir, recipe, entry, n,
	    arg_int(args, "force") != 0, &bytes, &plain, task, err);
	tokenizer_files_free(file, n);
	free(recipe);
	if (rc == PARE_OK)
		rc = check_saved(s, m, dir, &most, task, err);
	if (rc != PARE_OK)
		return rc;
	result_put_text(doc, "path", dir);
	result_put_int(doc, "bytes", bytes);
	put_files(dir, doc);
	result_put_bool(doc, "plain", plain);
	result_put_bool(doc, "checked", true);
	result_put_real(doc, "max_logit_difference", most);
	return PARE_OK;
}

const struct command command_save = {
	.name = "save",
	.group = GROUP_KEEP,
	.help = "Save the current state as a directory that open reads.\n"
	    "Packed tensors stay packed. The directory is read back and its "
	    "hash and outputs compared before save says ok. Where every "
	    "tensor is dense and layers are alike it is a plain Hugging Face "
	    "directory as well.",
	.examples = save_examples,
	.args = save_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG |
	    CMD_WRITES,
	.run = run_save,
};

/* ---- resume ---- */

static const struct arg_spec resume_args[] = {
	{ "file", ARG_FILE, ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "a journal; the newest that a crash left unless said" },
	{ "discard", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "remove the journal instead" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const resume_examples[] = { "resume", "resume discard=on",
	NULL };

/* Replays one record in t and checks that it leads where it led. */
static enum pare_rc
replay_one(struct session *t, const struct journal_record *r,
    struct task *task, struct pare_err *err)
{
	uint64_t hash;
	enum pare_rc rc;
	bool ran;

	rc = run_line(t, r->line, task, &ran, err);
	if (rc != PARE_OK)
		return rc;
	if (r->state >= 0 && t->history.current != r->state)
		return err_set(err, PARE_EFORMAT,
		    "it led to state %d before and to %d now", r->state,
		    t->history.current);
	if (r->hash == 0 || session_model(t) == NULL)
		return PARE_OK;
	hash = model_hash(session_model(t));
	if (hash != r->hash)
		return err_set(err, PARE_EFORMAT, "the result is not what it "
		    "was: the model's files or the samples have changed");
	return PARE_OK;
}

/* The record replay starts from: the last open. Before it only settings and the
 * last sample set of each role matter, and those are replayed after it. */
static int
last_open(const struct journal_replay *j)
{
	for (int i = j->n - 1; i >= 0; i--)
		if (strcmp(j->record[i].kind, "open") == 0)
			return i;
	return -1;
}

static enum pare_rc
replay_early(struct session *t, const struct journal_replay *j, int open,
    struct task *task, struct pare_err *err)
{
	for (int i = 0; i < open; i++) {
		const char *kind = j->record[i].kind;
		struct journal_record r = j->record[i];
		enum pare_rc rc;

		if (strcmp(kind, "set") != 0 && strcmp(kind, "data") != 0)
			continue;
		r.state = -1;
		r.hash = 0;
		rc = replay_one(t, &r, task, err);
		if (rc != PARE_OK) {
			err_prefix(err, "%s", r.line);
			return rc;
		}
	}
	return PARE_OK;
}

static enum pare_rc
replay(struct session *t, const struct journal_replay *j, struct task *task,
    struct pare_err *err)
{
	int open = last_open(j);
	enum pare_rc rc;

	if (open < 0)
		return err_set(err, PARE_EFORMAT, "'%s' opens no model",
		    j->path);
	rc = replay_early(t, j, open, task, err);
	for (int i = open; rc == PARE_OK && i < j->n; i++) {
		if (!task_tick(task, i - open, j->n - open, "commands"))
			return task_error(err);
		rc = replay_one(t, &j->record[i], task, err);
		if (rc != PARE_OK)
			err_prefix(err, "%s", j->record[i].line);
	}
	return rc;
}

/* What was replayed becomes the session; t keeps the old parts for freeing. */
static void
swap_sessions(struct session *s, struct session *t)
{
	struct session old = *s;

	s->history = t->history;
	s->tokenizer = t->tokenizer;
	s->tokenizer_why = t->tokenizer_why;
	s->tokens = t->tokens;
	s->aside = t->aside;
	s->reference = t->reference;
	memcpy(s->data, t->data, sizeof(s->data));
	memcpy(s->source, t->source, sizeof(s->source));
	s->settings = t->settings;
	t->history = old.history;
	t->tokenizer = old.tokenizer;
	t->tokens = old.tokens;
	t->aside = old.aside;
	t->reference = old.reference;
	memcpy(t->data, old.data, sizeof(t->data));
	memcpy(t->source, old.source, sizeof(t->source));
	t->settings = old.settings;
}

static enum pare_rc
rerecord(struct session *s, const struct journal_replay *j,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; s->journal != NULL && rc == PARE_OK && i < j->n; i++)
		rc = journal_add(s->journal, j->record[i].kind,
		    j->record[i].line, j->record[i].state, j->record[i].hash,
		    i + 1 == j->n, err);
	return rc;
}

static enum pare_rc
resume_from(struct session *s, struct journal_replay *j, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	void (*hook)(const struct result *, void *) = session_on_result;
	struct session *t = session_new();
	enum pare_rc rc;

	settings_free(t->settings);
	t->settings = settings_copy(s->settings);
	session_on_result = NULL;
	rc = replay(t, j, task, err);
	session_on_result = hook;
	if (rc != PARE_OK) {
		/* Settings are the process's: threads as they were. */
		settings_apply(s->settings);
		session_free(t);
		if (rc != PARE_ECANCELED && err->hint[0] == '\0')
			err_hint(err, "resume discard=on gives it up");
		return rc;
	}
	swap_sessions(s, t);
	session_free(t);
	if (rerecord(s, j, err) == PARE_OK)
		journal_remove(j->path);
	else
		notes_add(notes, "%s", err->msg);
	result_put_text(doc, "path", j->path);
	result_put_int(doc, "lines", j->n);
	result_put_int(doc, "states", s->history.n);
	work_put_state(s, s->history.current, doc);
	return PARE_OK;
}

static enum pare_rc
find_journal(const struct arg_list *args, char **path, struct pare_err *err)
{
	struct journal_info info;

	if (arg_text(args, "file") != NULL) {
		*path = xstrdup(arg_text(args, "file"));
		return PARE_OK;
	}
	if (!journal_find_crashed(&info))
		return err_set(err, PARE_EUSER,
		    "there is nothing to resume: no session has crashed");
	*path = xstrdup(info.path);
	journal_info_free(&info);
	return PARE_OK;
}

static enum pare_rc
run_resume(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct journal_replay j;
	enum pare_rc rc;
	char *path = NULL;

	if (s->history.n > 1 && arg_int(args, "discard") == 0) {
		err_set(err, PARE_EUSER,
		    "this session has changes of its own");
		return err_hint(err, "save them, quit, and resume first thing "
		    "in a new session");
	}
	rc = find_journal(args, &path, err);
	if (rc != PARE_OK)
		return rc;
	rc = journal_read(path, &j, err);
	free(path);
	if (rc != PARE_OK)
		return rc;
	if (arg_int(args, "discard") != 0) {
		journal_remove(j.path);
		result_put_text(doc, "path", j.path);
		result_put_bool(doc, "discarded", true);
	} else {
		rc = resume_from(s, &j, doc, notes, task, err);
	}
	journal_replay_free(&j);
	return rc;
}

const struct command command_resume = {
	.name = "resume",
	.group = GROUP_KEEP,
	.help = "Bring back a session that crashed.\n"
	    "Replays its journal and checks that every state comes out as it "
	    "was.",
	.examples = resume_examples,
	.args = resume_args,
	.flags = CMD_LONG,
	.run = run_resume,
};
