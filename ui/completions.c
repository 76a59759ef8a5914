/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/completions.h"

#include <string.h>

#include "ops/op.h"
#include "session/command.h"
#include "ui/options.h"

/* Every word that may begin a command, once each, `between` them. */
static void
add_verbs(struct str *b, const char *between)
{
	const char *last = "";
	int n = 0;

	for (int i = 0; command_table[i] != NULL; i++)
		str_addf(b, "%s%s", n++ > 0 ? between : "",
		    command_table[i]->name);
	for (int i = 0; op_table[i] != NULL; i++) {
		if (strcmp(op_table[i]->verb, last) != 0)
			str_addf(b, "%s%s", n++ > 0 ? between : "",
			    op_table[i]->verb);
		last = op_table[i]->verb;
	}
}

static void
add_choices(struct str *b, const struct option_spec *s, const char *between)
{
	for (int i = 0; s->choices[i] != NULL; i++)
		str_addf(b, "%s%s", i > 0 ? between : "", s->choices[i]);
}

static bool
takes_file(int id)
{
	return id == OPTION_DATA || id == OPTION_FILE;
}

/* "-c|--command" */
static void
add_case(struct str *b, const struct option_spec *s)
{
	if (s->letter != 0)
		str_addf(b, "-%c|", s->letter);
	str_addf(b, "--%s", s->name);
}

static void
bash_cases(struct str *b)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_spec *s = &option_table[i];

		if (s->arg == NULL)
			continue;
		str_add(b, "\t");
		add_case(b, s);
		str_add(b, ")\n\t\t");
		if (i == OPTION_COMMAND) {
			str_add(b, "COMPREPLY=( $(compgen -W \"");
			add_verbs(b, " ");
			str_add(b, "\" -- \"$word\") )");
		} else if (s->choices != NULL) {
			str_add(b, "COMPREPLY=( $(compgen -W \"");
			add_choices(b, s, " ");
			str_add(b, "\" -- \"$word\") )");
		} else if (takes_file(i)) {
			str_add(b, "COMPREPLY=( $(compgen -f -- "
			    "\"${word#*=}\") )");
		} else {
			str_add(b, ":");
		}
		str_add(b, "\n\t\treturn ;;\n");
	}
}

void
completions_bash(struct str *b)
{
	str_add(b, "# bash completion of pare, written from its tables.\n"
	    "_pare()\n{\n"
	    "\tlocal word=${COMP_WORDS[COMP_CWORD]}\n"
	    "\tlocal before=${COMP_WORDS[COMP_CWORD-1]}\n"
	    "\tCOMPREPLY=()\n"
	    "\tif [ \"$before\" = \"=\" ] && [ \"$COMP_CWORD\" -ge 2 ]; then\n"
	    "\t\tbefore=${COMP_WORDS[COMP_CWORD-2]}\n"
	    "\tfi\n"
	    "\tcase $before in\n");
	bash_cases(b);
	str_add(b, "\tesac\n"
	    "\tcase $word in\n"
	    "\t-*)\n\t\tCOMPREPLY=( $(compgen -W \"");
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (option_table[i].letter != 0)
			str_addf(b, "-%c ", option_table[i].letter);
		str_addf(b, "--%s%s", option_table[i].name,
		    i + 1 < OPTION_COUNT ? " " : "");
	}
	str_add(b, "\" -- \"$word\") ) ;;\n"
	    "\t*)\n\t\tCOMPREPLY=( $(compgen -f -- \"$word\") ) ;;\n"
	    "\tesac\n}\n"
	    "complete -o filenames -o bashdefault -F _pare pare\n");
}

/* Brackets and colons have a meaning in _arguments. */
static void
zsh_text(struct str *b, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\'')
			str_add(b, "'\\'");
		else if (strchr("[]:", *s) != NULL)
			str_addc(b, '\\');
		str_addc(b, *s);
	}
}

static void
zsh_option(struct str *b, int id, const char *dashes, const char *name,
    char letter)
{
	const struct option_spec *s = &option_table[id];
	bool again = id == OPTION_DATA || id == OPTION_COMMAND ||
	    id == OPTION_FILE;

	str_addf(b, " \\\n\t'%s%s", again ? "*" : "", dashes);
	if (letter != 0)
		str_addc(b, letter);
	else
		str_addf(b, "%s%s", name, s->arg != NULL ? "=" : "");
	str_addc(b, '[');
	zsh_text(b, s->text);
	str_addc(b, ']');
	if (s->arg != NULL) {
		str_addc(b, ':');
		zsh_text(b, s->arg);
		str_addc(b, ':');
		if (s->choices != NULL) {
			str_addc(b, '(');
			add_choices(b, s, " ");
			str_addc(b, ')');
		} else if (id == OPTION_COMMAND) {
			str_addc(b, '(');
			add_verbs(b, " ");
			str_addc(b, ')');
		} else if (takes_file(id)) {
			str_add(b, "_files");
		}
	}
	str_addc(b, '\'');
}

void
completions_zsh(struct str *b)
{
	str_add(b, "#compdef pare\n"
	    "# zsh completion of pare, written from its tables.\n"
	    "_arguments -s");
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (option_table[i].letter != 0)
			zsh_option(b, i, "-", "", option_table[i].letter);
		zsh_option(b, i, "--", option_table[i].name, 0);
	}
	str_add(b, " \\\n\t'1:MODEL:_files'\n");
}

void
completions_fish(struct str *b)
{
	str_add(b, "# fish completion of pare, written from its tables.\n");
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_spec *s = &option_table[i];

		str_add(b, "complete -c pare");
		if (s->letter != 0)
			str_addf(b, " -s %c", s->letter);
		str_addf(b, " -l %s", s->name);
		if (s->arg != NULL)
			str_add(b, takes_file(i) ? " -r" : " -x");
		if (i == OPTION_COMMAND) {
			str_add(b, " -a '");
			add_verbs(b, " ");
			str_addc(b, '\'');
		} else if (s->choices != NULL) {
			str_add(b, " -a '");
			add_choices(b, s, " ");
			str_addc(b, '\'');
		}
		str_add(b, " -d '");
		for (const char *p = s->text; *p != '\0'; p++)
			str_addf(b, "%s%c", *p == '\'' ? "\\" : "", *p);
		str_add(b, "'\n");
	}
}
