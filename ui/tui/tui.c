/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One poll() waits for the terminal, for signals and for the worker; without
 * news there is nothing to do and nothing is done.
 */
#include "base/mem.h"
#include "ui/tui/tui.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session/journal.h"
#include "session/settings.h"
#include "ui/lineedit.h"
#include "ui/repl.h"
#include "ui/signals.h"
#include "ui/tui/app_private.h"
#include "ui/tui/screen.h"

/* Seconds that leaving waits for work to stop. */
static const double leave_after = 0.8;

struct tui {
	struct app *app;
	struct cells cells;
	bool gone;		/* the terminal */
	bool raw;		/* keys come as bytes, for readline */
	char *offer;		/* to be said when the model is open; NULL */
};

/* ---- drawing ------------------------------------------------------------- */

/* `set color`, `set theme` and `set mouse` work at once. */
static void
follow_settings(const struct tui *t)
{
	const struct settings *s = t->app->p->session->settings;
	enum screen_theme theme = THEME_DEFAULT;
	enum look_color color;

	if (app_busy(t->app))
		return;
	while (theme < THEME_MONO && strcmp(screen_theme_names[theme],
	    settings_text(s, SET_THEME)) != 0)
		theme++;
	color = look_color_named(settings_text(s, SET_COLOR));
	screen_theme(theme, color);
	screen_mouse(settings_bool(s, SET_MOUSE));
}

static void
draw(struct tui *t)
{
	struct app_private *p = t->app->p;
	bool all = p->redraw;
	int rows, cols;

	if (!p->dirty && !all)
		return;
	screen_size(&rows, &cols);
	if (rows != t->cells.rows || cols != t->cells.cols)
		cells_init(&t->cells, rows, cols, screen_ascii());
	follow_settings(t);
	app_draw(t->app, &t->cells);
	screen_show(&t->cells, all);
	p->redraw = false;
}

/* ---- signals ------------------------------------------------------------- */

static void
redraw(struct tui *t)
{
	t->app->p->redraw = true;
}

static void
handle_signals(struct tui *t)
{
	signals_drain();
	if (signals_take_interrupt()) {
		/* The rest of a line that is cancelled is no keys of a view. */
		if (prompt_wants_byte(t->app))
			screen_drop_input();
		app_interrupt(t->app);
	}
	if (signals_take_resize()) {
		screen_resize();
		app_dirty(t->app);
	}
	if (signals_take_stop()) {
		screen_suspend();
		signals_take_continue();
		redraw(t);
	}
	if (signals_take_continue()) {
		screen_resume();
		redraw(t);
	}
}

/* ---- keys ---------------------------------------------------------------- */

/* Bytes that readline was given, by the loop or because it asked for more. */
static unsigned long taken;

/* readline does not take a Ctrl-C along with what was typed before it. */
static int
more_bytes(bool take)
{
	bool gone;

	if (!take)
		return screen_peek() >= 0 && screen_peek() != K_CTRL('C');
	if (!screen_pending(100))
		return -1;
	taken++;
	return screen_byte(&gone);
}

/* An Esc that nothing follows ends the prompt; others begin a key. *ended: a
 * line has. */
static bool
read_byte(struct tui *t, bool *ended)
{
	int c = screen_byte(&t->gone);

	*ended = false;
	if (c < 0)
		return false;
	taken++;
	if (c == K_CTRL('C'))
		app_interrupt(t->app);
	else if (c == K_ESC && !screen_pending(25))
		prompt_cancel(t->app);
	else
		*ended = prompt_byte(t->app, c);
	return true;
}

static bool
read_key(struct tui *t)
{
	int key = screen_key(&t->gone);

	if (key == K_NONE)
		return false;
	if (key == K_MOUSE) {
		struct mouse m = screen_mouse_event();

		app_mouse(t->app, &t->cells, &m);
	} else if (key == K_PASTE) {
		struct str text = STR_INIT;

		screen_paste(&text);
		if (text.n > 0)
			app_paste(t->app, text.s);
		str_free(&text);
	} else {
		app_key(t->app, key);
	}
	return true;
}

/*
 * A terminal that does not mark what is pasted sends it as if typed. When a
 * line of the prompt ends, its text and its end came in one go and more follows,
 * then it is that: the prompt opens again for the next line, and none of the
 * rest acts as a key.
 */
struct burst {
	bool prompted;		/* the prompt was open when it began */
	bool pasting;
	unsigned long begin;	/* of the line, as `taken` */
};

static void
next_line(struct tui *t, struct burst *b)
{
	bool paste = b->prompted && (b->pasting || taken - b->begin > 1);

	b->begin = taken;
	b->pasting = paste && !t->app->p->quit && screen_pending(50);
	if (b->pasting)
		app_prompt(t->app, "");
	else
		b->prompted = false;
}

/* All that was typed, so that one drawing serves a burst. */
static void
read_keys(struct tui *t)
{
	struct burst b = { .prompted = prompt_wants_byte(t->app),
		.begin = taken };
	bool more = true, ended;

	while (more && !t->gone && !t->app->p->quit) {
		bool raw = prompt_wants_byte(t->app);

		if (raw != t->raw) {
			screen_raw(raw);
			t->raw = raw;
		}
		ended = false;
		more = raw ? read_byte(t, &ended) : read_key(t);
		if (ended)
			next_line(t, &b);
	}
	if (b.pasting && prompt_wants_byte(t->app) && prompt_empty())
		prompt_cancel(t->app);
	if (t->raw && !prompt_wants_byte(t->app)) {
		screen_raw(false);
		t->raw = false;
	}
}

/* ---- the loop ------------------------------------------------------------ */

static void
say_offer(struct tui *t)
{
	if (t->offer == NULL || app_busy(t->app))
		return;
	app_message(t->app, STYLE_WARN, "%s", t->offer);
	free(t->offer);
	t->offer = NULL;
}

static void
loop(struct tui *t)
{
	struct worker *w = t->app->p->worker;
	struct pollfd p[3] = { { STDIN_FILENO, POLLIN, 0 },
		{ signals_fd(), POLLIN, 0 }, { worker_fd(w), POLLIN, 0 } };

	while (!t->app->p->quit && !t->gone && signals_exit_status() == 0) {
		double wait = app_check_stop(t->app);

		draw(t);
		if (poll(p, 3, wait < 0 ? -1 : (int)(wait * 1000) + 1) < 0 &&
		    errno != EINTR)
			return;
		if (p[1].revents != 0)
			handle_signals(t);
		if (p[2].revents != 0 && worker_dispatch(w, t->app))
			app_dirty(t->app);
		say_offer(t);
		if (p[0].revents != 0)
			read_keys(t);
	}
}

/* Nobody typed it, so it is not for readline's history. Consumes line. */
static void
first_line(struct app *app, char *line)
{
	jobs_run_line(app, line);
	free(line);
}

static char *
with_path(const char *verb, const char *path)
{
	char *quoted = arg_quote(path), *line;

	line = str_format("%s %s", verb, quoted);
	free(quoted);
	return line;
}

/* What the command line asked for, as lines like any other. */
static void
first_lines(struct app *app, const struct options *o)
{
	if (o->model != NULL)
		first_line(app, with_path("open", o->model));
	for (int i = 0; i < o->ndata; i++)
		first_line(app, console_data_line(o->data[i]));
	for (int i = 0; i < o->nscripts; i++)
		first_line(app, o->script[i].is_file ?
		    with_path("source", o->script[i].text) :
		    xstrdup(o->script[i].text));
}

/*
 * The work does not stop. The terminal is already given back; what the work
 * holds cannot be freed under it, so the process ends here. A line that was cut
 * short leaves the journal, for `resume`.
 */
static _Noreturn void
leave_behind(struct tui *t, struct console *c)
{
	if (!app_busy(t->app))
		journal_end(c->session->journal, !t->gone &&
		    signals_exit_status() == 0);
	_exit(console_exit_status(c, PARE_OK));
}

bool
tui_run(struct console *c, const struct options *o)
{
	struct tui t = { 0 };

	if (!screen_open(o->color, o->ascii))
		return false;
	t.offer = console_state_warning(c);
	if (t.offer == NULL)
		t.offer = repl_resume_offer();
	session_keep_journal(c->session);
	/* Evaluations after a change are the workbench's own, so that they
	 * can be watched and stopped. */
	c->session->interactive = false;
	t.app = app_new(c->session, true);
	if (t.app->p->worker == NULL) {
		screen_close();
		app_free(t.app);
		return false;
	}
	t.app->p->more = more_bytes;
	lineedit_open();
	first_lines(t.app, o);
	app_dirty(t.app);
	loop(&t);
	if (t.gone)
		c->session->keep_journal = true;
	screen_close();
	prompt_close();
	lineedit_close();
	if (!worker_stop(t.app->p->worker, leave_after))
		leave_behind(&t, c);
	app_free(t.app);
	cells_free(&t.cells);
	free(t.offer);
	return true;
}
