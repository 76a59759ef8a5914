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
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "base/io.h"
#include "base/mem.h"
#include "session/journal.h"
#include "ui/signals.h"

enum { HISTORY_LINES = 2000 };

/* readline's callbacks take no context. */
static struct {
	struct console *console;
	char *line;		/* a finished one, owned */
	bool has_line, ended;
	char *history;		/* its file; NULL: none is kept */
	bool hinted;		/* said how to leave */
} repl;

/* ---- history ------------------------------------------------------------- */

static void
history_open(void)
{
	char *dir = io_state_dir();

	using_history();
	stifle_history(HISTORY_LINES);
	if (dir == NULL)
		return;
	repl.history = io_join(dir, "history");
	free(dir);
	if (read_history(repl.history) == 0)
		history_truncate_file(repl.history, HISTORY_LINES);
}

/* Onto the disk as it is entered, so that a crash loses nothing and two
 * sessions both keep theirs. */
static void
history_keep(const char *line)
{
	HIST_ENTRY *last = history_length > 0 ?
	    history_get(history_base + history_length - 1) : NULL;
	char *text;
	int fd;

	if (*line == ' ' || *line == '\0' ||
	    (last != NULL && strcmp(last->line, line) == 0))
		return;
	add_history(line);
	if (repl.history == NULL)
		return;
	fd = open(repl.history, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
	    0600);
	if (fd < 0)
		return;
	text = str_format("%s\n", line);
	if (write(fd, text, strlen(text)) < 0)
		repl.history[0] = '\0';
	free(text);
	close(fd);
}

/* ---- completion ---------------------------------------------------------- */

/* The longest beginning that all of list share; malloc'ed. */
static char *
common_prefix(char **list)
{
	size_t n = strlen(list[0]);

	for (int i = 1; list[i] != NULL; i++) {
		size_t k = 0;

		while (k < n && list[i][k] == list[0][k])
			k++;
		n = k;
	}
	return xstrndup(list[0], n);
}

static bool
all_paths(char **list)
{
	for (int i = 0; list[i] != NULL; i++)
		if (strchr(list[i], '/') == NULL)
			return false;
	return true;
}

/* readline wants what all matches share first, then the matches. */
static char **
complete(const char *text, int start, int end)
{
	char **list = session_complete(repl.console->session, rl_line_buffer,
	    end), **out;
	int n = 0;

	rl_attempted_completion_over = 1;
	if (list == NULL)
		return NULL;
	while (list[n] != NULL)
		n++;
	if (n == 0) {
		free(list);
		return NULL;
	}
	rl_completion_append_character = ' ';
	if (n == 1 && list[0][0] != '\0' &&
	    strchr("=/", list[0][strlen(list[0]) - 1]) != NULL)
		rl_completion_append_character = '\0';
	rl_completion_suppress_append = rl_completion_append_character == 0;
	/* Lists of files show last names only. */
	rl_filename_completion_desired = all_paths(list);
	rl_filename_quoting_desired = 0;
	out = xcalloc((size_t)n + 2, sizeof(*out));
	out[0] = common_prefix(list);
	if (n == 1)
		free(list[0]);
	else
		memcpy(out + 1, list, (size_t)n * sizeof(*out));
	free(list);
	return out;
}

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

	repl.has_line = false;
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
	rl_replace_line("", 0);
	rl_callback_handler_remove();
	rl_reset_line_state();
	if (empty && !repl.hinted) {
		fputs("Ctrl-D or quit leaves.\n", rl_outstream);
		repl.hinted = true;
	}
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

static void
run_one(const char *line)
{
	struct console *c = repl.console;
	const char *p = line + strspn(line, " \t\r");

	if (*p == '\0')
		return;
	history_keep(line);
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

	for (line = strtok_r(text, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		if (repl.console->session->quit || repl.console->broken ||
		    signals_exit_status() != 0)
			break;
		run_one(line);
	}
}

static void
setup_readline(void)
{
	rl_readline_name = "pare";
	rl_catch_signals = 0;
	rl_catch_sigwinch = 0;
	rl_change_environment = 0;
	rl_attempted_completion_function = complete;
	rl_basic_word_break_characters = " \t\n";
	rl_completer_word_break_characters = " \t\n";
	rl_completer_quote_characters = "";
	rl_sort_completion_matches = 0;
	rl_instream = stdin;
	rl_outstream = stdout;
}

void
repl_run(struct console *c)
{
	repl.console = c;
	repl.ended = false;
	setup_readline();
	history_open();
	show_prompt();
	while (wait_line()) {
		char *line = repl.line;

		repl.line = NULL;
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
	free(repl.history);
	repl.history = NULL;
	clear_history();
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

void
repl_offer_resume(struct console *c)
{
	struct journal_info info;
	struct str b = STR_INIT;
	char age[48], *line;

	if (!journal_find_crashed(&info))
		return;
	format_age(age, sizeof(age), (int64_t)time(NULL) - info.time);
	line = str_format("A session on %s was cut short %s, with %d "
	    "change%s: type \"resume\" to take it up again.", info.model,
	    age, info.changes, info.changes == 1 ? "" : "s");
	look_wrap(&b, &c->out, 0, 2, line);
	console_print(c, &b);
	free(line);
	str_free(&b);
	journal_info_free(&info);
}
