/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/manpages.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arg.h"
#include "measure/evaluate.h"
#include "ops/op.h"
#include "session/command.h"
#include "session/settings.h"
#include "tensor/form.h"
#include "ui/completions.h"

static void write_commands(struct str *b), write_ops(struct str *b);

const struct manpage manpage_table[] = {
	{ "commands", write_commands },
	{ "ops", write_ops },
	{ "bash", completions_bash },
	{ "zsh", completions_zsh },
	{ "fish", completions_fish },
	{ NULL, NULL }
};

/* ---- mdoc ---------------------------------------------------------------- */

/* Text of a paragraph or of an argument: nothing in it is markup. */
static void
add_text(struct str *b, const char *s)
{
	if (*s == '.' || *s == '\'')
		str_add(b, "\\&");
	for (; *s != '\0'; s++) {
		if (*s == '\\')
			str_add(b, "\\e");
		else if (*s == '"')
			str_add(b, "\\(dq");
		else
			str_addc(b, *s);
	}
}

/* The same for what a user types: hyphens stay hyphens. */
static void
add_literal(struct str *b, const char *s)
{
	if (*s == '.' || *s == '\'')
		str_add(b, "\\&");
	for (; *s != '\0'; s++) {
		if (*s == '\\')
			str_add(b, "\\e");
		else if (*s == '-')
			str_add(b, "\\-");
		else if (*s == '"')
			str_add(b, "\\(dq");
		else
			str_addc(b, *s);
	}
}

/* Paragraphs: a sentence begins a new line of the source, as mdoc wants it; a
 * line break of the text begins a paragraph. */
static void
add_paragraphs(struct str *b, const char *s)
{
	struct str line = STR_INIT;

	for (; *s != '\0'; s++) {
		bool stop = (s[0] == '.' && s[1] == ' ' &&
		    isupper((unsigned char)s[2]));

		if (*s == '\n') {
			add_text(b, line.s);
			str_add(b, "\n.Pp\n");
			str_clear(&line);
			continue;
		}
		str_addc(&line, *s);
		if (!stop)
			continue;
		add_text(b, line.s);
		str_addc(b, '\n');
		str_clear(&line);
		s++;
	}
	if (line.n > 0) {
		add_text(b, line.s);
		str_addc(b, '\n');
	}
	str_free(&line);
}

static void
add_head(struct str *b, const char *name, const char *title,
    const char *what)
{
	str_addf(b, ".\\\" Written from the tables of pare; do not edit.\n"
	    ".Dd November 20, 2026\n.Dt %s 7\n.Os\n.Sh NAME\n"
	    ".Nm %s\n.Nd %s\n", title, name, what);
}

/* ---- arguments ----------------------------------------------------------- */

static void
add_range(struct str *b, const struct arg_spec *a)
{
	if (a->min == 0 && a->max == 0)
		return;
	if (a->max >= 1e15)
		str_addf(b, " of at least %.10g", a->min);
	else
		str_addf(b, " from %.10g to %.10g", a->min, a->max);
}

/* "A number from 1 to 8 (bits)." */
static void
add_type(struct str *b, const struct arg_spec *a)
{
	static const char *const kinds[ARG_TYPE_COUNT] = {
		[ARG_INT] = "A whole number", [ARG_REAL] = "A number",
		[ARG_AMOUNT] = "A share as 30% or a count",
		[ARG_CHOICE] = "One of", [ARG_BOOL] = "on or off",
		[ARG_TEXT] = "Text", [ARG_TARGET] = "A target",
		[ARG_FILE] = "A file", [ARG_STATE] = "A state",
		[ARG_LIMIT] = "A bound",
	};

	if (a->type != ARG_BOOL)
		str_add(b, kinds[a->type]);
	else
		str_add(b, "On or off");
	if (a->type == ARG_INT || a->type == ARG_REAL)
		add_range(b, a);
	if (a->unit != NULL)
		str_addf(b, ", in %s", a->unit);
	if ((a->flags & ARG_LIST) != 0)
		str_add(b, " or more, joined by commas, of");
	for (int i = 0; a->type == ARG_CHOICE && a->choices[i] != NULL; i++)
		str_addf(b, "%s %s", i > 0 ? "," : "", a->choices[i]);
	if (a->dflt != NULL)
		str_addf(b, "; %s unless said", a->dflt);
	str_add(b, ".\n");
}

/* named: typed as name=value where it is not given by its place. */
static void
add_arg(struct str *b, const struct arg_spec *a, bool named)
{
	struct str text = STR_INIT;

	str_add(b, ".It Cm ");
	add_literal(b, a->name);
	if (named && (a->flags & ARG_WORD) == 0)
		str_addf(b, " Ns %s", arg_sign(a));
	str_addc(b, '\n');
	str_addf(&text, "%c%s", toupper((unsigned char)a->text[0]),
	    a->text[0] != '\0' ? a->text + 1 : "");
	add_paragraphs(b, text.s);
	/* A sentence of its own even where the table has no period. */
	if (b->n > 1 && b->s[b->n - 2] != '.') {
		b->n--;
		str_add(b, ".\n");
	}
	str_clear(&text);
	add_type(&text, a);
	add_literal(b, text.s);
	str_free(&text);
}

static void
add_args(struct str *b, const struct arg_spec *args, bool named)
{
	int n = 0;

	for (const struct arg_spec *a = args; a->name != NULL; a++)
		n += (a->flags & ARG_HIDDEN) == 0;
	if (n == 0)
		return;
	str_add(b, ".Bl -tag -width scheme=\n");
	for (const struct arg_spec *a = args; a->name != NULL; a++)
		if ((a->flags & ARG_HIDDEN) == 0)
			add_arg(b, a, named);
	str_add(b, ".El\n");
}

static void
add_examples(struct str *b, const char *const *examples)
{
	if (examples == NULL || examples[0] == NULL)
		return;
	str_add(b, ".Pp\nFor example:\n.Bd -literal -offset indent\n");
	for (; *examples != NULL; examples++) {
		add_literal(b, *examples);
		str_addc(b, '\n');
	}
	str_add(b, ".Ed\n");
}

/* One command or op: usage, help, arguments, examples. */
static void
add_entry(struct str *b, const char *name, const char *help,
    const struct arg_spec *args, const char *const *examples)
{
	char *usage = command_usage(name, args);

	str_add(b, ".Ss ");
	add_literal(b, name);
	str_add(b, "\n.Dl ");
	add_literal(b, usage);
	str_add(b, "\n.Pp\n");
	add_paragraphs(b, help);
	add_args(b, args, true);
	add_examples(b, examples);
	free(usage);
}

/* ---- pare-commands(7) ---------------------------------------------------- */

static const char grammar[] =
	".Sh DESCRIPTION\n"
	"A command is one line:\n"
	".Dl VERB [METHOD] [WORD ...] [key=value ...]\n"
	".Pp\n"
	"Blanks separate words.\n"
	"Single or double quotes keep blanks in a word, a backslash keeps the "
	"character\n"
	"after it, and # at the beginning of a word starts a comment.\n"
	"Every argument that is given by its place may be given as key=value "
	"as well.\n"
	".Pp\n"
	"Commands that change the model are in\n"
	".Xr pare-ops 7 .\n"
	"Each makes a new state; a state never changes and\n"
	".Cm undo\n"
	"takes no time.\n";

static const char targets[] =
	".Sh TARGETS\n"
	"A target names parts of a model.\n"
	"Layers and heads count from 0.\n"
	"Several targets add up.\n"
	".Bl -tag -width L3.h0,4\\-7\n"
	".It Cm L3 , L0\\-5 , L0,2,4 , L*\n"
	"Layers.\n"
	".It Cm L3.attn , L*.ffn , L0\\-5.q\n"
	"Parts of layers: attn, ffn, q, k, v, o, up, down, gate, norm.\n"
	".It Cm L3.h0,4\\-7\n"
	"Attention heads, by their numbers in the model as opened.\n"
	".It Cm emb , emb.word , emb.pos , pooler , head , all\n"
	"Embeddings, the pooler, the head, everything.\n"
	".It Cm bert.encoder.*.query.*\n"
	"A pattern of tensor names as they are in the file.\n"
	".El\n";

static void
upper_title(struct str *b, const char *s)
{
	str_add(b, ".Sh ");
	for (; *s != '\0'; s++)
		str_addc(b, (char)toupper((unsigned char)*s));
	str_addc(b, '\n');
}

static void
add_group(struct str *b, enum command_group group)
{
	bool any = false;

	for (int i = 0; command_table[i] != NULL; i++) {
		const struct command *c = command_table[i];

		if (c->group != group)
			continue;
		if (!any)
			upper_title(b, command_group_titles[group]);
		any = true;
		add_entry(b, c->name, c->help, c->args, c->examples);
	}
}

static void
add_metrics(struct str *b)
{
	str_add(b, ".Sh METRICS\n.Bl -tag -width accuracy\n");
	for (int i = 0; i < METRIC_COUNT; i++) {
		str_add(b, ".It Cm ");
		add_literal(b, metric_table[i].name);
		str_addc(b, '\n');
		add_text(b, metric_table[i].text);
		str_addc(b, '\n');
	}
	str_add(b, ".El\n");
}

static void
write_commands(struct str *b)
{
	add_head(b, "pare-commands", "PARE-COMMANDS", "the commands of pare");
	str_add(b, grammar);
	str_add(b, targets);
	for (int g = 0; g < GROUP_COUNT; g++)
		add_group(b, (enum command_group)g);
	str_add(b, ".Sh SETTINGS\nThe command\n.Cm set\nshows and changes "
	    "these.\n");
	add_args(b, setting_table, false);
	add_metrics(b);
	str_add(b, ".Sh SEE ALSO\n.Xr pare 1 ,\n.Xr pare-formats 5 ,\n"
	    ".Xr pare-ops 7\n");
}

/* ---- pare-ops(7) --------------------------------------------------------- */

static void
add_op(struct str *b, const struct op *op)
{
	char *name = op->method != NULL ?
	    str_format("%s %s", op->verb, op->method) :
	    str_format("%s", op->verb);

	add_entry(b, name, op->help, op->args, op->examples);
	free(name);
}

static void
add_forms(struct str *b)
{
	str_add(b, ".Sh STORAGE FORMS\n"
	    "What the column\n.Cm form\nof\n.Cm show\ncalls the way a tensor "
	    "is stored.\n.Bl -tag -width bitmap\n");
	for (int i = 0; i < FORM_COUNT; i++) {
		if (form_table[i].name == NULL)
			continue;
		str_add(b, ".It Cm ");
		add_literal(b, form_table[i].name);
		str_addc(b, '\n');
		if (form_table[i].text != NULL)
			add_paragraphs(b, form_table[i].text);
	}
	str_add(b, ".El\n");
}

static void
write_ops(struct str *b)
{
	const char *verb = "";

	add_head(b, "pare-ops", "PARE-OPS",
	    "the ways in which pare makes a model smaller");
	str_add(b, ".Sh DESCRIPTION\n"
	    "Each of these makes a new state from the current one and leaves "
	    "that as it was.\n"
	    "The option\n.Fl -dry\\-run\nof\n.Xr pare 1\n"
	    "shows what an op would do without doing it; what it estimates is "
	    "what comes of it.\n"
	    "Targets and the grammar of commands are in\n"
	    ".Xr pare-commands 7 .\n");
	for (int i = 0; op_table[i] != NULL; i++) {
		if (strcmp(verb, op_table[i]->verb) != 0)
			upper_title(b, op_table[i]->verb);
		verb = op_table[i]->verb;
		add_op(b, op_table[i]);
	}
	add_forms(b);
	str_add(b, ".Sh SEE ALSO\n.Xr pare 1 ,\n.Xr pare-formats 5 ,\n"
	    ".Xr pare-commands 7\n");
}
