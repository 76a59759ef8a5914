/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * readline's callback interface in a poll() loop, so that signals are handled
 * in one place. A finished line takes the handler away and runs with the
 * terminal in its usual mode; Ctrl-C is then a signal that cancels the task.
 *
 * Ctrl-C at the prompt clears what was typed and whatever readline was in the
 * middle of (a search must not run its match on the next Enter). It never ends
 * the program.
 */
#include "ui/repl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <readline/readline.h>

#include "session/journal.h"
#include "ui/lineedit.h"
#include "ui/signals.h"

/* readline's callbacks take no context. */
static struct {
	struct console *console;
	char *line;		/* a finished one, owned */
	bool has_line, ended;
	bool hinted;		/* said how to leave */
	bool asking;		/* whether to leave without saving */
} repl;

/* ---- the prompt ---------------------------------------------------------- */

static void
on_line(char *line)
{
	rl_callback_handler_remove();
	repl.has_line = line != NULL;
	repl.ended = line == NULL;
	repl.line = line;
}

static void
show_prompt(void)
{
	const struct look *l = &repl.console->out;

	repl.has_line = repl.ended = false;
	if (repl.asking) {
		rl_callback_handler_install("The current state is not saved "
		    "(save DIR). Leave? y/n ", on_line);
		return;
	}
	/* \001 and \002 tell readline what takes no room. */
	rl_callback_handler_install(l->color ?
	    "\001\033[1m\002pare>\001\033[0m\002 " : "pare> ", on_line);
}

static void
cancel_line(void)
{
	bool empty = rl_end == 0;

	/* Ends a search, which draws the line again. */
	rl_callback_sigcleanup();
	fputs("^C\n", rl_outstream);
	fflush(rl_outstream);
	lineedit_abandon();
	if (empty && !repl.asking && !repl.hinted) {
		fputs("Ctrl-D or quit leaves.\n", rl_outstream);
		repl.hinted = true;
	}
	repl.asking = false;
	fflush(rl_outstream);
	show_prompt();
}

/* Ctrl-Z: the shell gets its terminal back as it was. */
static void
suspend(void)
{
	rl_deprep_terminal();
	kill(getpid(), SIGSTOP);
	rl_prep_terminal(1);
	rl_forced_update_display();
}

/* False when the program was asked to end. */
static bool
handle_signals(void)
{
	signals_drain();
	if (signals_exit_status() != 0)
		return false;
	if (signals_take_interrupt())
		cancel_line();
	if (signals_take_resize())
		rl_resize_terminal();
	if (signals_take_stop())
		suspend();
	signals_take_continue();
	return true;
}

/* Until a line is there; false at the end of input or on a signal to end. */
static bool
wait_line(void)
{
	struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 },
		{ signals_fd(), POLLIN, 0 } };

	while (!repl.has_line && !repl.ended) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return false;
		if (p[1].revents != 0 && !handle_signals())
			return false;
		if ((p[0].revents & POLLIN) != 0)
			rl_callback_read_char();
		else if ((p[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
			return false;
	}
	return repl.has_line;
}

/* Leaves, or asks first when that would lose a change. */
static void
try_leave(void)
{
	if (console_unsaved(repl.console) && !repl.asking)
		repl.asking = true;
	else
		repl.console->session->quit = true;
}

static bool
is_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	return strncmp(line, word, n) == 0 &&
	    line[n + strspn(line + n, " \t\r")] == '\0';
}

static void
run_one(const char *line)
{
	struct console *c = repl.console;
	const char *p = line + strspn(line, " \t\r");

	if (*p == '\0')
		return;
	lineedit_keep(line);
	if (is_word(p, "quit")) {
		try_leave();
		return;
	}
	if (is_word(p, "quit!")) {
		c->session->quit = true;
		return;
	}
	console_run(c, line);
	/* A Ctrl-C that came too late for the task is not for the prompt. */
	signals_drain();
	signals_take_interrupt();
	signals_take_stop();
}

/* A paste may hold several lines. */
static void
run_lines(char *text)
{
	char *save = NULL, *line;

	if (repl.asking) {
		if (text[0] == 'y' || text[0] == 'Y')
			try_leave();
		repl.asking = false;
		return;
	}
	for (line = strtok_r(text, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		if (repl.console->session->quit || repl.asking ||
		    repl.console->broken ||
		    signals_exit_status() != 0)
			break;
		run_one(line);
	}
}

/* Ctrl-D, or nobody is there any more: then the journal is what remains. */
static void
end_of_input(void)
{
	struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
	struct session *s = repl.console->session;

	fputc('\n', rl_outstream);
	fflush(rl_outstream);
	if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0)
		s->quit = s->keep_journal = true;
	else
		try_leave();
}

void
repl_run(struct console *c)
{
	repl.console = c;
	repl.ended = false;
	lineedit_open();
	lineedit_session(c->session);
	show_prompt();
	while (wait_line() || repl.ended) {
		char *line = repl.line;

		repl.line = NULL;
		if (line == NULL)
			end_of_input();
		else
			run_lines(line);
		free(line);
		if (c->session->quit || c->broken ||
		    signals_exit_status() != 0)
			break;
		/* A resize while a command ran. */
		if (signals_take_resize())
			rl_resize_terminal();
		show_prompt();
	}
	rl_callback_handler_remove();
	if (!c->session->quit && !c->broken) {
		fputc('\n', rl_outstream);
		fflush(rl_outstream);
	}
	lineedit_close();
}

void
repl_warn_state(const struct console *c)
{
	char *text = console_state_warning(c);

	if (text != NULL)
		console_warn(c, text);
	free(text);
}

static void
format_age(char *out, size_t n, int64_t seconds)
{
	if (seconds < 120)
		snprintf(out, n, "a moment ago");
	else if (seconds < 2 * 3600)
		snprintf(out, n, "%lld minutes ago", (long long)seconds / 60);
	else if (seconds < 48 * 3600)
		snprintf(out, n, "%lld hours ago", (long long)seconds / 3600);
	else
		snprintf(out, n, "%lld days ago", (long long)seconds / 86400);
}

char *
repl_resume_offer(void)
{
	struct journal_info info;
	char age[48], *line;

	if (!journal_find_crashed(&info))
		return NULL;
	format_age(age, sizeof(age), (int64_t)time(NULL) - info.time);
	line = str_format("Type \"resume\" to take up a session that was cut "
	    "short %s, with %d change%s, on %s.", age, info.changes,
	    info.changes == 1 ? "" : "s", info.model);
	journal_info_free(&info);
	return line;
}

void
repl_offer_resume(struct console *c)
{
	struct str b = STR_INIT;
	char *line = repl_resume_offer();

	if (line == NULL)
		return;
	look_wrap(&b, &c->out, 0, 2, line);
	console_print(c, &b);
	free(line);
	str_free(&b);
}
