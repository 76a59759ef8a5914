/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tui_screens: a small model with samples in a workbench without a terminal, and
 * what it draws against the screens in a file of tests/unit/screens.
 *
 * A screen in a file is a line ">>> NAME COLSxROWS utf-8|ascii" and its rows.
 * PARE_SCREENS=FILE writes the screens there instead of comparing them; look at
 * what changed before it is kept.
 */
#ifndef PARE_TESTS_TUI_SCREENS_H
#define PARE_TESTS_TUI_SCREENS_H

#include "tiny_dir.h"

#include "session/session.h"
#include "ui/tui/view.h"

static char *root;
static struct session *session;
static struct app *app;

/* ---- a session ---- */

static void
do_line(const char *fmt, ...)
{
	struct result r;
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (session_run(session, line, NULL, &r) != PARE_OK)
		fail_msg("%s: %s", line, json_string_value(json_object_get(
		    json_object_get(r.doc, "error"), "message")));
	result_free(&r);
}

/* A classifier whose vocabulary has the words of the samples. */
static void
write_model(const char *dir)
{
	static const char *const vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
	    "the\nmovie\nwas\nnot\nawful\nbut\nnever\nquite\nwonder\n##ful\n"
	    "a\ntimeless\nmasterpiece\nof\nquiet\nwit\nand\n.\nit\nis\nthin\n"
	    "plot\nno\none\nlaughs\n";
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");

	t->no_vocab = true;
	tiny_dir_write(t, dir);
	tiny_put_text(dir, "vocab.txt", vocab);
	tiny_dir_free(t);
}

/* What is under root already, in a workbench. */
static inline void
reopen_app(const char *name, bool worker)
{
	session = session_new();
	do_line("set threads 1");
	do_line("open %s/%s", root, name);
	do_line("data %s/eval.tsv", root);
	app = app_new(session, worker);
	app_refresh(app, 0);
}

/* The model under root/name and the samples, in a workbench. */
static int
open_app(const char *name, const char *samples, bool worker)
{
	char *dir;

	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	dir = io_join(root, name);
	write_model(dir);
	tiny_put_text(root, "eval.tsv", samples);
	free(dir);
	reopen_app(name, worker);
	return 0;
}

static int
teardown(void **state)
{
	app_free(app);
	session_free(session);
	tiny_root_free(root);
	return 0;
}

/* ---- expected screens ---- */

static const int screen_sizes[][2] = { { 40, 10 }, { 60, 16 }, { 80, 24 },
	{ 200, 60 } };

static char *screens;		/* the whole file; NULL: not read yet */
static FILE *screens_out;

static void
screens_load(const char *file)
{
	const char *to = getenv("PARE_SCREENS"), *top = getenv("PARE_SOURCE");
	struct pare_err err;
	size_t n;
	char *path;

	if (screens != NULL || screens_out != NULL)
		return;
	if (to != NULL) {
		screens_out = fopen(to, "w");
		assert_non_null(screens_out);
		return;
	}
	path = str_format("%s/tests/unit/screens/%s", top != NULL ? top : ".",
	    file);
	if (io_read(path, 1 << 22, &screens, &n, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	free(path);
}

static void
screens_close(void)
{
	free(screens);
	if (screens_out != NULL)
		fclose(screens_out);
}

/* The screen of that name, malloc'ed; NULL: there is none. */
static char *
screens_find(const char *name)
{
	char *head = str_format(">>> %s\n", name), *at, *end;

	at = strstr(screens, head);
	if (at != NULL) {
		at += strlen(head);
		end = strstr(at, "\n>>> ");
		at = end != NULL ? xstrndup(at, (size_t)(end - at) + 1) :
		    xstrdup(at);
	}
	free(head);
	return at;
}

/* Blank rows at the end do not count. */
static void
trim_end(char *s)
{
	size_t n = strlen(s);

	while (n > 1 && s[n - 1] == '\n' && s[n - 2] == '\n')
		s[--n] = '\0';
}

/* What c shows against the screen of that name and its size in a file. */
static void
check_screen(const char *file, const char *name, const struct cells *c)
{
	char *got = cells_dump(c, false), *want;
	char *key = str_format("%s %dx%d %s", name, c->cols, c->rows,
	    c->ascii ? "ascii" : "utf-8");

	for (int i = 0; c->ascii && i < c->rows * c->cols; i++)
		for (const char *s = c->cell[i].s; *s != '\0'; s++)
			assert_true((unsigned char)*s < 128);
	trim_end(got);
	screens_load(file);
	if (screens_out != NULL) {
		fprintf(screens_out, ">>> %s\n%s", key, got);
		fflush(screens_out);
	} else {
		want = screens_find(key);
		if (want == NULL)
			fail_msg("no expected screen '%s'", key);
		trim_end(want);
		if (strcmp(got, want) != 0)
			fail_msg("%s: drawn\n%sexpected\n%s", key, got, want);
		free(want);
	}
	free(key);
	free(got);
}

#endif
