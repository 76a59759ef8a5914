/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/options.h"

#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char *const colors[] = { "auto", "always", "never", NULL };

const struct option_spec option_table[OPTION_COUNT] = {
	[OPTION_DATA] = { "data", 'd', "[ROLE=]FILE", NULL,
	    "load a sample set: ROLE is eval (the default) or calib" },
	[OPTION_COMMAND] = { "command", 'c', "LINE", NULL,
	    "run LINE, then exit (repeatable, in order with -f)" },
	[OPTION_FILE] = { "file", 'f', "SCRIPT", NULL,
	    "run the lines of a file, then exit ('-': standard input)" },
	[OPTION_INTERACTIVE] = { "interactive", 'I', NULL, NULL,
	    "stay at the prompt after -c and -f" },
	[OPTION_REPL] = { "repl", 0, NULL, NULL,
	    "the prompt with line editing" },
	[OPTION_TUI] = { "tui", 0, NULL, NULL,
	    "the full screen" },
	[OPTION_PLAIN] = { "plain", 0, NULL, NULL,
	    "a prompt without line editing, one line after the other" },
	[OPTION_JSON] = { "json", 0, NULL, NULL,
	    "one JSON document a command, a line each" },
	[OPTION_DRY_RUN] = { "dry-run", 'n', NULL, NULL,
	    "check and estimate changes, make none" },
	[OPTION_THREADS] = { "threads", 0, "N", NULL,
	    "threads to compute with" },
	[OPTION_SEED] = { "seed", 0, "N", NULL,
	    "seed of everything that draws at random" },
	[OPTION_COLOR] = { "color", 0, "WHEN", colors,
	    "auto, always or never" },
	[OPTION_ASCII] = { "ascii", 0, NULL, NULL,
	    "draw with ASCII characters only" },
	[OPTION_NO_STATE] = { "no-state", 0, NULL, NULL,
	    "keep no history, no journal and no results" },
	[OPTION_QUIET] = { "quiet", 'q', NULL, NULL,
	    "no warnings and no progress" },
	[OPTION_HELP] = { "help", 'h', NULL, NULL, "show this and exit" },
	[OPTION_VERSION] = { "version", 'V', NULL, NULL,
	    "show the version and exit" },
};

enum { LONG_BASE = 256 };

/* getopt_long()'s own tables from ours. */
static void
make_getopt(char *letters, struct option *list)
{
	char *p = letters;

	*p++ = ':';
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_spec *s = &option_table[i];

		list[i] = (struct option){ s->name, s->arg != NULL ?
		    required_argument : no_argument, NULL, LONG_BASE + i };
		if (s->letter == 0)
			continue;
		*p++ = s->letter;
		if (s->arg != NULL)
			*p++ = ':';
	}
	*p = '\0';
	list[OPTION_COUNT] = (struct option){ NULL, 0, NULL, 0 };
}

/* The row that getopt's return value means; OPTION_COUNT for none. */
static enum option_id
option_of(int c)
{
	if (c >= LONG_BASE)
		return (enum option_id)(c - LONG_BASE);
	for (int i = 0; i < OPTION_COUNT; i++)
		if (option_table[i].letter == c)
			return (enum option_id)i;
	return OPTION_COUNT;
}

static enum pare_rc
usage_error(struct pare_err *err)
{
	return err_hint(err, "pare --help");
}

static enum pare_rc
take_color(struct options *o, const char *arg, struct pare_err *err)
{
	for (int i = 0; colors[i] != NULL; i++)
		if (strcmp(arg, colors[i]) == 0) {
			o->color = (enum look_color)i;
			return PARE_OK;
		}
	err_set(err, PARE_EUSAGE, "--color is auto, always or never, not '%s'",
	    arg);
	return usage_error(err);
}

static enum pare_rc
take_number(const char **to, const char *name, const char *arg, int64_t max,
    struct pare_err *err)
{
	int64_t v;

	if (str_to_int(arg, &v) && v >= 0 && v <= max) {
		*to = arg;
		return PARE_OK;
	}
	err_set(err, PARE_EUSAGE,
	    "--%s is a number from 0 to %lld, not '%s'", name,
	    (long long)max, arg);
	return usage_error(err);
}

static void
add_script(struct options *o, bool is_file, const char *text)
{
	o->script = xrealloc(o->script,
	    (size_t)(o->nscripts + 1) * sizeof(*o->script));
	o->script[o->nscripts++] = (struct script){ is_file, text };
}

static void
add_data(struct options *o, const char *text)
{
	o->data = xrealloc(o->data, (size_t)(o->ndata + 1) *
	    sizeof(*o->data));
	o->data[o->ndata++] = text;
}

static enum pare_rc
take(struct options *o, enum option_id id, const char *arg,
    struct pare_err *err)
{
	switch (id) {
	case OPTION_DATA: add_data(o, arg); break;
	case OPTION_COMMAND: add_script(o, false, arg); break;
	case OPTION_FILE: add_script(o, true, arg); break;
	case OPTION_INTERACTIVE: o->interactive = true; break;
	case OPTION_REPL: o->front = FRONT_REPL; break;
	case OPTION_TUI: o->front = FRONT_TUI; break;
	case OPTION_PLAIN: o->front = FRONT_PLAIN; break;
	case OPTION_JSON: o->json = true; break;
	case OPTION_DRY_RUN: o->dry_run = true; break;
	case OPTION_THREADS:
		return take_number(&o->threads, "threads", arg, 256, err);
	case OPTION_SEED:
		return take_number(&o->seed, "seed", arg,
		    INT64_C(9007199254740992), err);
	case OPTION_COLOR: return take_color(o, arg, err);
	case OPTION_ASCII: o->ascii = true; break;
	case OPTION_NO_STATE: o->no_state = true; break;
	case OPTION_QUIET: o->quiet = true; break;
	case OPTION_HELP: o->help = true; break;
	case OPTION_VERSION: o->version = true; break;
	case OPTION_COUNT: break;
	}
	return PARE_OK;
}

/* What getopt_long() did not like; optind is past the word. */
static enum pare_rc
bad_option(int c, char **argv, struct pare_err *err)
{
	const char *word = argv[optind - 1];
	enum option_id id = option_of(optopt);

	if (c == ':' && id != OPTION_COUNT)
		err_set(err, PARE_EUSAGE, "--%s needs its argument %s",
		    option_table[id].name, option_table[id].arg);
	else if (optopt >= LONG_BASE && id != OPTION_COUNT)
		err_set(err, PARE_EUSAGE, "--%s takes no argument",
		    option_table[id].name);
	else if (optopt > 0 && optopt < LONG_BASE)
		err_set(err, PARE_EUSAGE, "there is no option -%c", optopt);
	else
		err_set(err, PARE_EUSAGE, "there is no option %s", word);
	return usage_error(err);
}

/* -I and the choice of a front end speak of a person; --json of a program. */
static enum pare_rc
check(const struct options *o, struct pare_err *err)
{
	if (!o->json || (!o->interactive && o->front == FRONT_AUTO))
		return PARE_OK;
	err_set(err, PARE_EUSAGE,
	    "--json does not go with -I, --repl, --tui or --plain");
	return usage_error(err);
}

enum pare_rc
options_parse(struct options *o, int argc, char **argv, struct pare_err *err)
{
	char letters[2 * OPTION_COUNT + 2];
	struct option list[OPTION_COUNT + 1];
	enum pare_rc rc;
	int c;

	*o = (struct options){ 0 };
	make_getopt(letters, list);
	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, letters, list, NULL)) != -1) {
		if (c == '?' || c == ':')
			return bad_option(c, argv, err);
		rc = take(o, option_of(c), optarg, err);
		if (rc != PARE_OK)
			return rc;
	}
	if (optind < argc)
		o->model = argv[optind++];
	if (optind < argc) {
		err_set(err, PARE_EUSAGE,
		    "one model at a time: '%s' and '%s'", o->model,
		    argv[optind]);
		return usage_error(err);
	}
	if (o->model != NULL && *o->model == '\0') {
		err_set(err, PARE_EUSAGE, "the name of the model is empty");
		return usage_error(err);
	}
	return check(o, err);
}

void
options_free(struct options *o)
{
	free(o->data);
	free(o->script);
	*o = (struct options){ 0 };
}

static void
help_option(struct str *b, const struct look *l, const struct option_spec *s)
{
	enum { TEXT_AT = 26 };
	char *head, dash[8] = "   ";
	int n;

	if (s->letter != 0)
		dash[0] = '-', dash[1] = s->letter, dash[2] = ',';
	head = str_format("  %s --%s%s%s", dash, s->name,
	    s->arg != NULL ? " " : "", s->arg != NULL ? s->arg : "");
	n = (int)strlen(head);
	str_add(b, head);
	if (n + 2 > TEXT_AT) {
		str_addc(b, '\n');
		n = 0;
	}
	look_spaces(b, TEXT_AT - n);
	look_wrap(b, l, TEXT_AT, TEXT_AT, s->text);
	free(head);
}

void
options_help(struct str *b, const struct look *l)
{
	str_add(b,
	    "usage: pare [OPTION]... [MODEL]\n"
	    "A workbench for making Transformer models smaller.\n\n"
	    "MODEL is a Hugging Face directory, a directory that pare saved, "
	    "a .safetensors\nor .gguf file, or a config.json alone (sizes "
	    "only).\n\n");
	for (int i = 0; i < OPTION_COUNT; i++)
		help_option(b, l, &option_table[i]);
	str_add(b, "\n"
	    "On a terminal pare opens the workbench, where ? tells the keys; "
	    "otherwise it\nreads commands from standard input. See pare(1), "
	    "pare-commands(7), pare-ops(7).\n\n"
	    "  pare samples/reviews\n"
	    "  pare DIR -d dev.tsv -c 'prune heads 30%' -c eval\n"
	    "  pare DIR --json -c info\n\n"
	    "Exit status: 0 ok, 1 a command failed, 2 usage, 3 a model or "
	    "data "
	    "cannot be\nread, 4 an expect was false, 5 out of memory, "
	    "130 and 143 stopped by a signal.\n");
}
