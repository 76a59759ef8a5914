/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * readline inside the screen: its callback interface is fed one byte at a time,
 * its redisplay is ours (the message line), and it never touches the terminal.
 * Esc and Ctrl-C end it in the same way, which leaves nothing behind: a search
 * that was going on must not run its match on the next Enter.
 *
 * readline's callbacks take no context, so there is one prompt in a process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/readline.h>

#include "base/mem.h"
#include "session/settings.h"
#include "ui/lineedit.h"
#include "ui/tui/app_private.h"

static struct {
	struct app *app;	/* while it is open */
	int byte;		/* to be read by readline; -1 */
	char *line;		/* finished, owned */
	bool done;
	struct str matches;	/* a list of completions to show */
	FILE *nowhere;		/* what readline would print */
} prompt = { .byte = -1, .matches = STR_INIT };

/* The byte it was given; within a paste readline asks for all that follows. */
static int
next_byte(FILE *f)
{
	int c = prompt.byte;

	prompt.byte = -1;
	if (c < 0 && prompt.app != NULL && prompt.app->p->more != NULL)
		c = prompt.app->p->more(true);
	return c < 0 ? EOF : c;
}

static int
byte_waits(void)
{
	return prompt.byte >= 0 || (prompt.app != NULL &&
	    prompt.app->p->more != NULL && prompt.app->p->more(false) > 0);
}

static void
redisplay(void)
{
	if (prompt.app != NULL)
		app_dirty(prompt.app);
}

/* The last component of a path, for lists. */
static const char *
shown_part(const char *s)
{
	const char *p = s + strlen(s);

	if (!rl_filename_completion_desired)
		return s;
	while (p > s + 1 && p[-1] == '/')
		p--;
	while (p > s && p[-1] != '/')
		p--;
	return p;
}

static void
show_matches(char **matches, int n, int most)
{
	str_clear(&prompt.matches);
	for (int i = 1; i <= n && prompt.matches.n < 4096; i++)
		str_addf(&prompt.matches, "%s%s", i > 1 ? "  " : "",
		    shown_part(matches[i]));
	redisplay();
}

static void
on_line(char *line)
{
	rl_callback_handler_remove();
	free(prompt.line);
	prompt.line = line;
	prompt.done = true;
}

static void
setup(void)
{
	if (prompt.nowhere == NULL)
		prompt.nowhere = fopen("/dev/null", "w");
	if (prompt.nowhere != NULL)
		rl_outstream = prompt.nowhere;
	rl_getc_function = next_byte;
	rl_input_available_hook = byte_waits;
	rl_redisplay_function = redisplay;
	rl_completion_display_matches_hook = show_matches;
	rl_prep_term_function = NULL;
	rl_deprep_term_function = NULL;
}

/* Lines as readline would have them of a paste: without the last end. */
static void
insert(const char *text)
{
	char *s = xstrdup(text), *end = s + strlen(s);

	while (end > s && (end[-1] == '\n' || end[-1] == '\r'))
		*--end = '\0';
	for (char *p = s; *p != '\0'; p++)
		if (*p == '\r')
			*p = '\n';
	rl_insert_text(s);
	free(s);
}

void
prompt_open(struct app *app, const char *text)
{
	setup();
	lineedit_session(app_busy(app) ? NULL : app->p->session);
	prompt.app = app;
	prompt.done = false;
	str_clear(&prompt.matches);
	rl_callback_handler_install(":", on_line);
	if (text[0] != '\0')
		insert(text);
	app->p->mode = MODE_PROMPT;
	app_dirty(app);
}

void
prompt_cancel(struct app *app)
{
	if (prompt.app == NULL)
		return;
	lineedit_abandon();
	prompt.app = NULL;
	prompt.byte = -1;
	app->p->mode = MODE_KEYS;
	app_dirty(app);
}

bool
prompt_empty(void)
{
	return rl_end == 0;
}

static bool
is_force_quit(const char *line)
{
	return strcmp(line, "quit!") == 0 || strcmp(line, "q!") == 0;
}

/* What the workbench itself understands; everything else is the session's. */
static void
run_line(struct app *app, char *line)
{
	char *text = line + strspn(line, " \t"), *end = text + strlen(text);

	while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (*text == '\0')
		return;
	lineedit_keep(line);
	if (is_force_quit(text))
		app->p->quit = true;
	else if (strcmp(text, "quit") == 0 || strcmp(text, "q") == 0)
		app_try_quit(app);
	else
		jobs_run_line(app, text);
}

/* A paste may hold several lines. */
static void
finish(struct app *app)
{
	char *text = prompt.line, *save = NULL, *line;

	prompt.line = NULL;
	prompt.app = NULL;
	prompt.done = false;
	app->p->mode = MODE_KEYS;
	app_dirty(app);
	if (text == NULL)
		return;
	str_clear(&app->p->message);
	for (line = strtok_r(text, "\r\n", &save); line != NULL;
	    line = strtok_r(NULL, "\r\n", &save))
		run_line(app, line);
	free(text);
}

bool
prompt_byte(struct app *app, int c)
{
	bool done;

	str_clear(&prompt.matches);
	prompt.byte = c;
	rl_callback_read_char();
	app_dirty(app);
	done = prompt.done;
	if (done)
		finish(app);
	return done;
}

bool
prompt_wants_byte(const struct app *app)
{
	return app->p->mode == MODE_PROMPT;
}

void
prompt_close(void)
{
	if (prompt.app != NULL)
		prompt_cancel(prompt.app);
	str_free(&prompt.matches);
	free(prompt.line);
	prompt.line = NULL;
	if (prompt.nowhere != NULL)
		fclose(prompt.nowhere);
	prompt.nowhere = NULL;
	rl_outstream = stdout;
}

/* Pasted lines stand behind each other. */
static void
blank_ends(char *s)
{
	for (; *s != '\0'; s++)
		if (*s == '\n')
			*s = ' ';
}

/* First the column of the cursor, then as much before and after as fits. */
void
prompt_draw(const struct app *app, struct cells *c, struct rect r)
{
	struct look l = { .ascii = c->ascii };
	const char *sign = rl_display_prompt != NULL ? rl_display_prompt : ":";
	char *raw = str_format("%s%s", sign, rl_line_buffer), *all;
	char *raw_before = xstrndup(raw, strlen(sign) + (size_t)rl_point);
	char *before;
	const char *from;
	int at;

	blank_ends(raw);
	blank_ends(raw_before);
	all = look_clean(&l, raw);
	before = look_clean(&l, raw_before);
	at = look_columns(before);
	from = look_skip(all, at - r.cols + 1);
	at -= look_columns(all) - look_columns(from);
	cells_put(c, r.row, r.col, r.cols, STYLE_NORMAL, from);
	c->cursor_row = r.row;
	c->cursor_col = r.col + (at < r.cols ? at : r.cols - 1);
	if (prompt.matches.n > 0 && r.row > 0) {
		cells_fill(c, (struct rect){ r.row - 1, r.col, 1, r.cols },
		    STYLE_NORMAL);
		cells_put(c, r.row - 1, r.col, r.cols, STYLE_DIM,
		    prompt.matches.s);
	}
	free(raw);
	free(raw_before);
	free(all);
	free(before);
}
