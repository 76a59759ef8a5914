/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/lineedit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "base/io.h"
#include "base/mem.h"

enum { HISTORY_LINES = 2000 };

/* readline's callbacks take no context. */
static struct {
	const struct session *session;
	char *history;		/* its file; NULL: none is kept */
} edit;

/* ---- history ------------------------------------------------------------- */

static void
open_history(void)
{
	char *dir = io_state_dir();

	using_history();
	stifle_history(HISTORY_LINES);
	if (dir == NULL)
		return;
	edit.history = io_join(dir, "history");
	free(dir);
	if (read_history(edit.history) == 0)
		history_truncate_file(edit.history, HISTORY_LINES);
}

/* Onto the disk as it is entered, so that a crash loses nothing and two
 * sessions both keep theirs. */
void
lineedit_keep(const char *line)
{
	HIST_ENTRY *last = history_length > 0 ?
	    history_get(history_base + history_length - 1) : NULL;
	char *text;
	int fd;

	if (*line == ' ' || *line == '\0' ||
	    (last != NULL && strcmp(last->line, line) == 0))
		return;
	add_history(line);
	if (edit.history == NULL)
		return;
	fd = open(edit.history, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
	    0600);
	if (fd < 0)
		return;
	text = str_format("%s\n", line);
	if (write(fd, text, strlen(text)) < 0)
		edit.history[0] = '\0';
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
	char **list = edit.session == NULL ? NULL :
	    session_complete(edit.session, rl_line_buffer, end), **out;
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

/* ---- setting up ---------------------------------------------------------- */

void
lineedit_open(void)
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
	open_history();
}

void
lineedit_close(void)
{
	free(edit.history);
	edit.history = NULL;
	edit.session = NULL;
	clear_history();
}

void
lineedit_session(const struct session *s)
{
	edit.session = s;
}

void
lineedit_abandon(void)
{
	rl_callback_sigcleanup();
	rl_replace_line("", 0);
	rl_callback_handler_remove();
	rl_reset_line_state();
}
