/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Completion: the line up to the cursor is cut as arg_split() would cut it, the
 * last word being the one to complete; what may stand there follows from the
 * same tables that parse the line.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/work.h"

/* Matches, unsorted and perhaps doubled until list_finish(). */
struct list {
	char **word;
	size_t n;
};

static void
list_take(struct list *l, char *word)
{
	l->word = xrealloc(l->word, (l->n + 2) * sizeof(*l->word));
	l->word[l->n++] = word;
	l->word[l->n] = NULL;
}

/* Adds key + word when word begins with prefix; key is "" or "name=". */
static void
list_add(struct list *l, const char *key, const char *word,
    const char *prefix)
{
	if (str_has_prefix(word, prefix))
		list_take(l, str_format("%s%s", key, word));
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **
list_finish(struct list *l)
{
	size_t n = 0;

	if (l->n == 0)
		return xcalloc(1, sizeof(char *));
	qsort(l->word, l->n, sizeof(*l->word), by_text);
	for (size_t i = 0; i < l->n; i++) {
		if (n > 0 && strcmp(l->word[i], l->word[n - 1]) == 0)
			free(l->word[i]);
		else
			l->word[n++] = l->word[i];
	}
	l->word[n] = NULL;
	return l->word;
}

/* ---- kinds of words ---- */

static void
add_files(struct list *l, const char *key, const char *prefix)
{
	const char *slash = strrchr(prefix, '/');
	const char *base = slash != NULL ? slash + 1 : prefix;
	char *dir = slash == NULL ? xstrdup(".") : slash == prefix ?
	    xstrdup("/") : xstrndup(prefix, (size_t)(slash - prefix));
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *path, *full, *quoted;

		if (!str_has_prefix(e->d_name, base) ||
		    (e->d_name[0] == '.' && base[0] != '.') ||
		    strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		path = io_join(dir, e->d_name);
		full = str_format("%.*s%s%s", (int)(base - prefix), prefix,
		    e->d_name, io_is_dir(path) ? "/" : "");
		quoted = arg_quote(full);
		list_take(l, str_format("%s%s", key, quoted));
		free(path);
		free(full);
		free(quoted);
	}
	if (d != NULL)
		closedir(d);
	free(dir);
}

static void
add_states(const struct session *s, struct list *l, const char *key,
    const char *prefix)
{
	char number[24];

	for (int i = 0; i < s->history.n; i++) {
		snprintf(number, sizeof(number), "%d", i);
		list_add(l, key, number, prefix);
		if (s->history.state[i].mark != NULL)
			list_add(l, key, s->history.state[i].mark, prefix);
	}
	if (s->history.n == 0)
		return;
	list_add(l, key, "original", prefix);
	list_add(l, key, "current", prefix);
	list_add(l, key, "previous", prefix);
}

static void
add_targets(const struct session *s, struct list *l, const char *key,
    const char *prefix)
{
	const struct model *m = session_model(s);
	char **words;

	if (m == NULL)
		return;
	words = select_complete(m, prefix);
	for (int i = 0; words != NULL && words[i] != NULL; i++) {
		list_add(l, key, words[i], "");
		free(words[i]);
	}
	free(words);
}

/* In a list, after its last comma. */
static void
add_choices(const struct arg_spec *a, struct list *l, const char *key,
    const char *prefix)
{
	const char *comma = (a->flags & ARG_LIST) != 0 ?
	    strrchr(prefix, ',') : NULL;
	int n = comma != NULL ? (int)(comma + 1 - prefix) : 0;
	char *before = str_format("%s%.*s", key, n, prefix);

	for (int i = 0; a->choices[i] != NULL; i++)
		list_add(l, before, a->choices[i], prefix + n);
	free(before);
}

static void
add_values(const struct session *s, const struct arg_spec *a, struct list *l,
    const char *key, const char *prefix)
{
	switch (a->type) {
	case ARG_CHOICE:
		add_choices(a, l, key, prefix);
		break;
	case ARG_BOOL:
		list_add(l, key, "on", prefix);
		list_add(l, key, "off", prefix);
		break;
	case ARG_TARGET:
		add_targets(s, l, key, prefix);
		break;
	case ARG_FILE:
		add_files(l, key, prefix);
		break;
	case ARG_STATE:
		add_states(s, l, key, prefix);
		break;
	default:
		break;
	}
}

/* ---- places on the line ---- */

static void
add_verbs(struct list *l, const char *prefix)
{
	for (int i = 0; command_table[i] != NULL; i++)
		list_add(l, "", command_table[i]->name, prefix);
	for (int i = 0; op_table[i] != NULL; i++)
		list_add(l, "", op_table[i]->verb, prefix);
}

static bool
add_methods(struct list *l, const char *verb, const char *prefix)
{
	bool any = false;

	for (int i = 0; op_table[i] != NULL; i++)
		if (strcmp(op_table[i]->verb, verb) == 0 &&
		    op_table[i]->method != NULL) {
			list_add(l, "", op_table[i]->method, prefix);
			any = true;
		}
	return any;
}

static void
add_topics(struct list *l, const struct arg_words *w, const char *prefix)
{
	if (w->n == 2) {
		add_methods(l, w->word[1], prefix);
		return;
	}
	add_verbs(l, prefix);
	list_add(l, "", "targets", prefix);
	list_add(l, "", "forms", prefix);
	list_add(l, "", "metrics", prefix);
	for (int k = 0; k < SET_COUNT; k++)
		list_add(l, "", setting_table[k].name, prefix);
}

static void
add_settings(const struct session *s, struct list *l,
    const struct arg_words *w, const char *prefix)
{
	enum setting k;

	if (w->n == 1) {
		for (int i = 0; i < SET_COUNT; i++)
			list_add(l, "", setting_table[i].name, prefix);
	} else if (w->n == 2 && settings_find(w->word[1], &k, NULL) ==
	    PARE_OK) {
		add_values(s, &setting_table[k], l, "", prefix);
	}
}

static bool
is_given(const struct arg_spec *a, const struct arg_words *w, int first)
{
	size_t n = strlen(a->name);

	for (int i = first; i < w->n; i++)
		if (strncmp(w->word[i], a->name, n) == 0 &&
		    w->word[i][n] == '=')
			return true;
	return false;
}

static int
count_positions(const struct arg_words *w, int first)
{
	int n = 0;

	for (int i = first; i < w->n; i++)
		n += strchr(w->word[i], '=') == NULL;
	return n;
}

/* Names not given yet, and values of the words by position. An amount and a
 * target may come in either order, so both are offered. */
static void
add_arguments(const struct session *s, const struct arg_spec *args,
    const struct arg_words *w, int first, struct list *l, const char *prefix)
{
	int place = 0, position = count_positions(w, first);
	const char *eq = strchr(prefix, '=');

	for (const struct arg_spec *a = args; a->name != NULL; a++) {
		bool word = (a->flags & ARG_WORD) != 0;
		size_t n = strlen(a->name);

		if ((a->flags & ARG_HIDDEN) != 0)
			continue;
		if (eq != NULL) {
			if ((size_t)(eq - prefix) == n &&
			    strncmp(prefix, a->name, n) == 0) {
				char *key = xstrndup(prefix, n + 1);

				add_values(s, a, l, key, eq + 1);
				free(key);
			}
			continue;
		}
		if (word && (place == position || a->type == ARG_TARGET ||
		    (a->flags & ARG_REPEAT) != 0))
			add_values(s, a, l, "", prefix);
		place += word;
		if (!word && !is_given(a, w, first) &&
		    str_has_prefix(a->name, prefix))
			list_take(l, str_format("%s%s", a->name, arg_sign(a)));
	}
}

static void
complete_after(const struct session *s, const struct arg_words *w,
    struct list *l, const char *prefix)
{
	const struct command *c = command_find(w->word[0]);
	const struct op *op;
	int words;

	if (c != NULL && strcmp(c->name, "help") == 0)
		add_topics(l, w, prefix);
	else if (c != NULL && strcmp(c->name, "set") == 0)
		add_settings(s, l, w, prefix);
	else if (c != NULL)
		add_arguments(s, c->args, w, 1, l, prefix);
	else if (op_find(w, &op, &words, NULL) == PARE_OK)
		add_arguments(s, op->args, w, words, l, prefix);
	if (c == NULL && w->n == 1)
		add_methods(l, w->word[0], prefix);
}

/*
 * Where the word under the cursor begins, and its text without quotes. An open
 * quote reaches to the cursor.
 */
static size_t
last_word(const char *line, size_t n, struct str *word)
{
	size_t start = 0;
	bool inside = false;
	char quote = '\0';

	for (size_t i = 0; i < n; i++) {
		char c = line[i];

		if (quote == '\0' && isspace((unsigned char)c)) {
			inside = false;
			continue;
		}
		if (!inside) {
			inside = true;
			start = i;
			str_clear(word);
		}
		if (c == '\\' && quote != '\'' && i + 1 < n)
			str_addc(word, line[++i]);
		else if (quote != '\0' && c == quote)
			quote = '\0';
		else if (quote == '\0' && (c == '\'' || c == '"'))
			quote = c;
		else
			str_addc(word, c);
	}
	if (!inside) {
		str_clear(word);
		return n;
	}
	return start;
}

char **
session_complete(const struct session *s, const char *line, int cursor)
{
	size_t n = strlen(line), start;
	struct str word = STR_INIT;
	struct arg_words w;
	struct list l = { 0 };
	char *before;

	if (cursor >= 0 && (size_t)cursor < n)
		n = (size_t)cursor;
	start = last_word(line, n, &word);
	before = xstrndup(line, start);
	if (arg_split(before, &w, NULL) == PARE_OK) {
		if (w.n == 0)
			add_verbs(&l, word.s);
		else
			complete_after(s, &w, &l, word.s);
		arg_words_free(&w);
	}
	free(before);
	str_free(&word);
	return list_finish(&l);
}
