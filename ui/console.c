/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/console.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arg.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "session/settings.h"
#include "ui/doc.h"
#include "ui/render.h"
#include "ui/signals.h"

/* ---- messages ------------------------------------------------------------ */

static void
put_error_text(const char *s)
{
	size_t done = 0, n = strlen(s);

	while (done < n) {
		ssize_t k = write(STDERR_FILENO, s + done, n - done);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return;
		done += (size_t)k;
	}
}

/* "pare: script.pare:3: message (hint)" for programs and logs; on two lines for
 * a person. */
void
console_error(const struct console *c, const char *msg, const char *hint)
{
	struct str b = STR_INIT;
	char *clean = look_clean(&c->err, msg);
	char *say = look_clean(&c->err, hint);

	if (c->interactive) {
		look_paint(&b, &c->err, PAINT_ERROR, "error:");
		str_addf(&b, " %s%s%s\n", c->where != NULL ? c->where : "",
		    c->where != NULL ? ": " : "", clean);
		if (*say != '\0')
			str_addf(&b, "  hint: %s\n", say);
	} else {
		str_addf(&b, "pare: %s%s%s", c->where != NULL ? c->where : "",
		    c->where != NULL ? ": " : "", clean);
		if (*say != '\0')
			str_addf(&b, " (%s)", say);
		str_addc(&b, '\n');
	}
	put_error_text(b.s);
	str_free(&b);
	free(clean);
	free(say);
}

void
console_warn(const struct console *c, const char *text)
{
	struct str b = STR_INIT;
	char *clean;

	if (c->quiet)
		return;
	clean = look_clean(&c->err, text);
	if (!c->interactive)
		str_add(&b, "pare: ");
	if (!c->interactive && c->where != NULL)
		str_addf(&b, "%s: ", c->where);
	look_paint(&b, &c->err, PAINT_WARN, "warning:");
	str_addf(&b, " %s\n", clean);
	put_error_text(b.s);
	str_free(&b);
	free(clean);
}

/* ---- standard output ----------------------------------------------------- */

/* A reader that went away has seen enough: quietly no more. */
static void
put_out(struct console *c, const struct str *b)
{
	size_t done = 0;

	while (done < b->n && !c->broken) {
		ssize_t k = write(STDOUT_FILENO, b->s + done, b->n - done);

		if (k > 0) {
			done += (size_t)k;
		} else if (k < 0 && errno != EINTR) {
			c->broken = true;
			c->failed = errno != EPIPE;
			if (c->failed)
				console_error(c, "cannot write standard "
				    "output", strerror(errno));
		}
	}
}

static int
count_lines(const struct str *b)
{
	int n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->s[i] == '\n';
	return n;
}

/* Through $PAGER; false when there is none to use. */
static bool
page(const struct console *c, const struct str *text)
{
	const char *pager = getenv("PAGER");
	void (*old)(int);
	FILE *p;

	if (pager == NULL || *pager == '\0' || strcmp(pager, "cat") == 0 ||
	    !settings_bool(c->session->settings, SET_PAGER))
		return false;
	setenv("LESS", "FRX", 0);
	/* Ctrl-C in the pager is the pager's business. */
	old = signal(SIGINT, SIG_IGN);
	p = popen(pager, "w");
	if (p != NULL) {
		fwrite(text->s, 1, text->n, p);
		pclose(p);
	}
	signal(SIGINT, old);
	return p != NULL;
}

void
console_print(struct console *c, const struct str *text)
{
	if (c->interactive && c->out.height > 0 && isatty(STDIN_FILENO) &&
	    count_lines(text) >= c->out.height && page(c, text))
		return;
	put_out(c, text);
}

static void
show_json(struct console *c, const json_t *doc)
{
	struct str b = STR_INIT;
	char *text = json_text_of(doc);

	str_add(&b, text);
	str_addc(&b, '\n');
	put_out(c, &b);
	free(text);
	str_free(&b);
}

/* `set color` works at once. */
static void
follow_settings(struct console *c)
{
	enum look_color choice = look_color_named(settings_text(
	    c->session->settings, SET_COLOR));

	look_choose(&c->out, choice);
	look_choose(&c->err, choice);
	look_choose(&c->progress.look, choice);
}

static void
show_text(struct console *c, const struct result *r)
{
	struct str b = STR_INIT;

	follow_settings(c);
	look_measure(&c->out);
	render_document(&b, &c->out, r->kind, r->doc);
	console_print(c, &b);
	str_free(&b);
}

static void
show_failure(struct console *c, const struct result *r, bool erased)
{
	const json_t *e = doc_get(r->doc, "error");

	if (c->json)
		show_json(c, r->doc);
	/* The terminal has echoed ^C where it stood. */
	if (c->interactive && r->rc == PARE_ECANCELED && !erased &&
	    c->err.tty)
		put_error_text("\n");
	console_error(c, doc_text(e, "message"), doc_text(e, "hint"));
}

static void
show(struct console *c, const struct result *r, bool success)
{
	bool erased = progress_end(&c->progress);

	for (int i = 0; i < r->notes.n; i++)
		console_warn(c, r->notes.text[i]);
	if (r->doc == NULL)
		return;
	if (r->rc != PARE_OK)
		show_failure(c, r, erased);
	else if (success && c->json)
		show_json(c, r->doc);
	else if (success)
		show_text(c, r);
}

/* Lines of `source` and `resume`: what failed is told by these themselves. */
static void
on_result(const struct result *r, void *ctx)
{
	struct console *c = ctx;

	if (r->rc == PARE_OK)
		show(c, r, true);
}

/* ---- running ------------------------------------------------------------- */

static void
note_saved(struct console *c, const char *kind)
{
	if (strcmp(kind, "save") == 0)
		c->saved = c->session->history.current;
	else if (strcmp(kind, "open") == 0)
		c->saved = -1;
}

bool
console_unsaved(const struct console *c)
{
	const struct history *h = &c->session->history;

	return h->n > 0 && h->current != 0 && h->current != c->saved;
}

static enum pare_rc
run(struct console *c, const char *line, bool success)
{
	struct result r;
	enum pare_rc rc;

	c->task = (struct task){ 0 };
	progress_attach(&c->progress, &c->task);
	signals_watch(&c->task);
	rc = session_run(c->session, line, &c->task, &r);
	signals_watch(NULL);
	show(c, &r, success);
	if (rc == PARE_OK)
		note_saved(c, r.kind);
	if (rc == PARE_OK && !success && strcmp(r.kind, "open") == 0) {
		json_decref(c->opened);
		c->opened = json_incref(r.doc);
	}
	result_free(&r);
	return rc;
}

enum pare_rc
console_run(struct console *c, const char *line)
{
	return run(c, line, true);
}

void
console_summary(struct console *c)
{
	struct result r = { .kind = "open", .doc = c->opened };

	if (c->opened != NULL)
		show(c, &r, true);
}

char *
console_state_warning(const struct console *c)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *dir = io_state_dir();
	bool kept = dir != NULL;

	free(dir);
	if (kept || c->no_state)
		return NULL;
	if (xdg != NULL && xdg[0] == '/')
		return str_format("no history and no journal are kept: "
		    "XDG_STATE_HOME, '%s', cannot be written", xdg);
	if (home != NULL && home[0] == '/')
		return str_format("no history and no journal are kept: "
		    "'%s/.local/state' cannot be written", home);
	return NULL;
}

static bool
split_role(const char *text, const char *role, const char **path)
{
	size_t n = strlen(role);

	if (strncmp(text, role, n) != 0 || text[n] != '=')
		return false;
	*path = text + n + 1;
	return true;
}

char *
console_data_line(const char *text)
{
	const char *path = text, *role = "eval";
	char *quoted, *line;

	if (!split_role(text, "eval", &path) &&
	    split_role(text, "calib", &path))
		role = "calib";
	quoted = arg_quote(path);
	line = str_format("data %s role=%s", quoted, role);
	free(quoted);
	return line;
}

static enum pare_rc
open_model(struct console *c, const char *path, bool show_it)
{
	char *quoted = arg_quote(path);
	char *line = str_format("open %s", quoted);
	enum pare_rc rc = run(c, line, show_it);

	free(quoted);
	free(line);
	return rc;
}

/* In an interactive session the data come first, for opening measures the model
 * where there are samples; a batch wants the first error to be the model's. */
enum pare_rc
console_open(struct console *c, const struct options *o, bool show_it)
{
	bool data_first = c->interactive && o->model != NULL;
	enum pare_rc rc = PARE_OK;

	if (o->model != NULL && !data_first)
		rc = open_model(c, o->model, show_it);
	for (int i = 0; i < o->ndata && rc == PARE_OK; i++) {
		char *line = console_data_line(o->data[i]);

		rc = run(c, line, show_it && !data_first);
		free(line);
	}
	if (data_first && rc == PARE_OK)
		rc = open_model(c, o->model, show_it);
	return rc;
}

/* What options say is a setting too, so that `set` shows it. */
static enum pare_rc
apply_settings(struct console *c, const struct options *o,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (o->threads != NULL)
		rc = settings_set(c->session->settings, "threads", o->threads,
		    err);
	if (rc == PARE_OK && o->seed != NULL)
		rc = settings_set(c->session->settings, "seed", o->seed, err);
	if (rc == PARE_OK)
		rc = settings_set(c->session->settings, "color",
		    option_table[OPTION_COLOR].choices[o->color], err);
	return rc;
}

enum pare_rc
console_init(struct console *c, const struct options *o, struct pare_err *err)
{
	const char *term = getenv("TERM");
	bool erases = term != NULL && *term != '\0' &&
	    strcmp(term, "dumb") != 0;

	*c = (struct console){ .json = o->json, .quiet = o->quiet,
		.no_state = o->no_state, .saved = -1 };
	if (o->no_state)
		io_state_disable();
	look_init(&c->out, STDOUT_FILENO, o->color, o->ascii);
	look_init(&c->err, STDERR_FILENO, o->color, o->ascii);
	c->out.linear = o->front == FRONT_PLAIN;
	progress_init(&c->progress, &c->err, !o->quiet && erases &&
	    o->front != FRONT_PLAIN);
	c->session = session_new();
	c->session->dry_run = o->dry_run;
	c->session->want_hash = o->json;
	session_on_result = on_result;
	session_on_result_ctx = c;
	return apply_settings(c, o, err);
}

void
console_free(struct console *c)
{
	if (c->session == NULL)
		return;
	if (signals_exit_status() != 0 && c->interactive)
		c->session->keep_journal = true;
	session_on_result = NULL;
	session_on_result_ctx = NULL;
	session_free(c->session);
	json_decref(c->opened);
	c->opened = NULL;
	c->session = NULL;
}

int
console_exit_status(const struct console *c, enum pare_rc rc)
{
	if (signals_exit_status() != 0)
		return signals_exit_status();
	return err_exit_status(rc);
}
