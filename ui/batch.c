/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "ui/signals.h"

enum { LINE_MAX_BYTES = 1 << 20, SCRIPT_MAX_BYTES = 64 << 20 };

/* Whether the line holds a command, not only blanks or a comment. */
static bool
has_command(const char *line)
{
	line += strspn(line, " \t\r\n\f\v");
	return *line != '\0' && *line != '#';
}

/* Runs one line of a batch, `where` standing before its messages. */
static enum pare_rc
run_line(struct console *c, const char *line, const char *where)
{
	enum pare_rc rc;

	if (!has_command(line))
		return PARE_OK;
	c->where = where;
	rc = console_run(c, line);
	c->where = NULL;
	if (rc == PARE_OK && signals_take_interrupt())
		rc = PARE_ECANCELED;
	return rc;
}

static bool
may_go_on(const struct console *c, enum pare_rc rc)
{
	return rc == PARE_OK && !c->session->quit && !c->broken &&
	    signals_exit_status() == 0;
}

/* ---- scripts ------------------------------------------------------------- */

static enum pare_rc
run_text(struct console *c, const char *name, char *text, size_t n)
{
	char *line = text, *end = text + n;
	enum pare_rc rc = PARE_OK;

	for (int number = 1; line < end && may_go_on(c, rc); number++) {
		char *stop = memchr(line, '\n', (size_t)(end - line));
		char *where = str_format("%s:%d", name, number);

		if (stop == NULL)
			stop = end;
		*stop = '\0';
		if (strlen(line) != (size_t)(stop - line)) {
			c->where = where;
			console_error(c, "the line holds a NUL byte", "");
			c->where = NULL;
			rc = PARE_EFORMAT;
		} else {
			rc = run_line(c, line, where);
		}
		free(where);
		line = stop + 1;
	}
	return rc;
}

static enum pare_rc
run_file(struct console *c, const char *path)
{
	struct pare_err err;
	enum pare_rc rc;
	char *text;
	size_t n;

	if (strcmp(path, "-") == 0)
		return batch_stdin(c, NULL);
	rc = io_read(path, SCRIPT_MAX_BYTES, &text, &n, &err);
	if (rc != PARE_OK) {
		console_error(c, err.msg, err.hint);
		return rc;
	}
	rc = run_text(c, path, text, n);
	free(text);
	return rc;
}

enum pare_rc
batch_scripts(struct console *c, const struct options *o)
{
	enum pare_rc rc = PARE_OK;
	int number = 0;

	for (int i = 0; i < o->nscripts && may_go_on(c, rc); i++) {
		const struct script *s = &o->script[i];
		char where[32];

		if (s->is_file) {
			rc = run_file(c, s->text);
			continue;
		}
		snprintf(where, sizeof(where), "-c %d", ++number);
		rc = run_line(c, s->text, where);
	}
	return rc;
}

/* ---- standard input ------------------------------------------------------ */

/* Bytes of standard input that were read and not yet taken. */
struct reader {
	struct str text;
	bool ended;
};

/* What is next: a line (malloc'ed), the end, or a signal. */
enum read_rc { READ_LINE, READ_END, READ_SIGNAL, READ_TOO_LONG };

static enum read_rc
take_line(struct reader *r, char **line)
{
	char *stop = memchr(r->text.s, '\n', r->text.n);
	size_t n = stop != NULL ? (size_t)(stop - r->text.s) : r->text.n;
	size_t used = stop != NULL ? n + 1 : n;

	*line = xstrndup(r->text.s, n);
	memmove(r->text.s, r->text.s + used, r->text.n - used);
	r->text.n -= used;
	return READ_LINE;
}

static enum read_rc
next_line(struct reader *r, char **line)
{
	char buf[4096];
	long k;

	for (;;) {
		if (r->text.n > 0 && (r->ended ||
		    memchr(r->text.s, '\n', r->text.n) != NULL))
			return take_line(r, line);
		if (r->ended)
			return READ_END;
		if (r->text.n > LINE_MAX_BYTES)
			return READ_TOO_LONG;
		k = signals_read(STDIN_FILENO, buf, sizeof(buf));
		if (k == -1)
			return READ_SIGNAL;
		if (k <= 0)
			r->ended = true;
		else
			str_addn(&r->text, buf, (size_t)k);
	}
}

static enum pare_rc
too_long(struct console *c, int number)
{
	char where[32];

	snprintf(where, sizeof(where), "stdin:%d", number);
	c->where = where;
	console_error(c, "the line is longer than 1 MiB", "");
	c->where = NULL;
	return PARE_EUSER;
}

enum pare_rc
batch_stdin(struct console *c, int *lines)
{
	struct reader r = { STR_INIT, false };
	enum pare_rc rc = PARE_OK;
	int number = 1, dummy;

	lines = lines != NULL ? lines : &dummy;
	*lines = 0;
	while (may_go_on(c, rc)) {
		char *line, where[32];
		enum read_rc got = next_line(&r, &line);

		if (got == READ_END)
			break;
		if (got == READ_SIGNAL) {
			if (signals_take_interrupt())
				rc = PARE_ECANCELED;
			continue;
		}
		if (got == READ_TOO_LONG) {
			rc = too_long(c, number);
			break;
		}
		*lines += has_command(line);
		snprintf(where, sizeof(where), "stdin:%d", number++);
		rc = run_line(c, line, where);
		free(line);
	}
	str_free(&r.text);
	return rc;
}

static void
prompt(struct console *c)
{
	struct str b = STR_INIT;

	str_add(&b, "pare> ");
	console_print(c, &b);
	str_free(&b);
}

enum pare_rc
batch_plain(struct console *c)
{
	struct reader r = { STR_INIT, false };
	enum read_rc got = READ_LINE;

	prompt(c);
	while (may_go_on(c, PARE_OK)) {
		char *line;

		got = next_line(&r, &line);
		if (got == READ_END || got == READ_TOO_LONG)
			break;
		if (got == READ_SIGNAL) {
			if (signals_take_interrupt()) {
				struct str b = STR_INIT;

				str_add(&b, "\n");
				console_print(c, &b);
				str_free(&b);
				prompt(c);
			}
			continue;
		}
		if (has_command(line))
			console_run(c, line);
		free(line);
		signals_take_interrupt();
		if (may_go_on(c, PARE_OK))
			prompt(c);
	}
	str_free(&r.text);
	return PARE_OK;
}
