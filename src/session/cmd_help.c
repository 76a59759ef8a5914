/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * help, set, quit. Help is made of the tables of commands, ops and settings, as
 * data for the front ends that lay it out and as plain text for those that do
 * not.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "session/work.h"
#include "tensor/form.h"

enum { HELP_WIDTH = 78 };

static const struct arg_spec help_args[] = {
	{ "topic", ARG_TEXT, ARG_WORD | ARG_REPEAT, 0, 0, NULL, NULL, NULL,
	    "a command, an op, a setting, targets, forms or metrics" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const help_examples[] = { "help", "help prune",
	"help prune heads", "help targets", NULL };

static const char targets_text[] =
    "Targets name parts of a model; layers and heads count from 0.\n"
    "  L3  L0-5  L0,2,4  L*      layers\n"
    "  L3.attn  L*.ffn           sub-layers\n"
    "  L0-5.q  .k .v .o          projections of attention\n"
    "  L*.up  .down .gate        matrices of the FFN\n"
    "  L*.norm                   norms\n"
    "  L3.h0,4-7                 heads, by their original numbers\n"
    "  emb  emb.word  emb.pos    embeddings\n"
    "  pooler  head  all         the rest, and everything\n"
    "  bert.encoder.*query*      a pattern of tensor names of the file\n"
    "Several targets, separated by blanks, add up. An amount is a share as "
    "30%\nor a count.\n";

/* ---- text ---- */

/* Adds words of s, wrapped, each line after the first indented. */
static void
add_wrapped(struct str *out, const char *s, int indent, int column)
{
	bool fresh = true;	/* nothing of s on this line yet */

	while (*s != '\0') {
		size_t n = strcspn(s, " \n");

		if (!fresh && column + 1 + (int)n > HELP_WIDTH) {
			str_addf(out, "\n%*s", indent, "");
			column = indent;
		} else if (!fresh) {
			str_addc(out, ' ');
			column++;
		}
		str_addn(out, s, n);
		column += (int)n;
		s += n;
		fresh = *s == '\n';
		if (fresh) {
			str_addf(out, "\n%*s", indent, "");
			column = indent;
		}
		s += *s != '\0';
	}
	str_addc(out, '\n');
}

static void
add_entry(struct str *out, const char *name, int width, const char *text)
{
	str_addf(out, "  %-*s ", width, name);
	if ((int)strlen(name) > width) {
		str_addf(out, "\n%*s", width + 3, "");
	}
	add_wrapped(out, text, width + 3, width + 3);
}

static char *
first_line(const char *help)
{
	return str_format("%.*s", (int)strcspn(help, "\n"), help);
}

/* What may be said of an argument beyond its text: range, unit, default. */
static char *
arg_facts(const struct arg_spec *a)
{
	struct str out = STR_INIT;

	str_add(&out, a->text != NULL ? a->text : "");
	if (a->type == ARG_CHOICE) {
		str_add(&out, ": ");
		for (int i = 0; a->choices[i] != NULL; i++)
			str_addf(&out, "%s%s", i > 0 ? ", " : "",
			    a->choices[i]);
	}
	if ((a->type == ARG_INT || a->type == ARG_REAL) &&
	    (a->min != 0 || a->max != 0) && a->max < 1e9)
		str_addf(&out, ", %g to %g", a->min, a->max);
	if (a->dflt != NULL)
		str_addf(&out, " (%s)", a->dflt);
	return str_detach(&out);
}

static void
add_args(struct str *out, const struct arg_spec *args)
{
	int width = 4;

	for (const struct arg_spec *a = args; a->name != NULL; a++)
		if ((int)strlen(a->name) > width)
			width = (int)strlen(a->name);
	if (args->name != NULL)
		str_add(out, "\nArguments (defaults in parentheses):\n");
	for (const struct arg_spec *a = args; a->name != NULL; a++) {
		char *facts;

		if ((a->flags & ARG_HIDDEN) != 0)
			continue;
		facts = arg_facts(a);
		add_entry(out, a->name, width, facts);
		free(facts);
	}
}

static void
add_topic(struct str *out, const char *usage, const char *help,
    const struct arg_spec *args, const char *const *examples)
{
	add_wrapped(out, usage, 4, 0);
	str_addc(out, '\n');
	add_wrapped(out, help, 0, 0);
	add_args(out, args);
	str_add(out, "\nExamples:\n");
	for (int i = 0; examples != NULL && examples[i] != NULL; i++)
		str_addf(out, "  %s\n", examples[i]);
}

/* ---- data ---- */

static const char *const type_names[ARG_TYPE_COUNT] = {
	[ARG_INT] = "int", [ARG_REAL] = "real", [ARG_AMOUNT] = "amount",
	[ARG_CHOICE] = "choice", [ARG_BOOL] = "bool", [ARG_TEXT] = "text",
	[ARG_TARGET] = "target", [ARG_FILE] = "file", [ARG_STATE] = "state",
	[ARG_LIMIT] = "limit",
};

static json_t *
strings(const char *const *list)
{
	json_t *out = json_array();

	for (int i = 0; list != NULL && list[i] != NULL; i++)
		json_array_append_new(out, json_string(list[i]));
	return out;
}

static json_t *
args_doc(const struct arg_spec *args)
{
	json_t *list = json_array();

	for (const struct arg_spec *a = args; a->name != NULL; a++) {
		json_t *o;

		if ((a->flags & ARG_HIDDEN) != 0)
			continue;
		o = json_object();
		result_put_text(o, "name", a->name);
		result_put_text(o, "type", type_names[a->type]);
		result_put_bool(o, "required", (a->flags & ARG_REQUIRED) != 0);
		result_put_bool(o, "word", (a->flags & ARG_WORD) != 0);
		result_put_text(o, "default", a->dflt);
		if (a->min != 0 || a->max != 0) {
			result_put_real(o, "min", a->min);
			result_put_real(o, "max", a->max);
		}
		if (a->choices != NULL)
			json_object_set_new(o, "choices", strings(a->choices));
		result_put_text(o, "unit", a->unit);
		result_put_text(o, "text", a->text);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *
topic_doc(const char *name, const char *help, const struct arg_spec *args,
    const char *const *examples)
{
	char *usage = command_usage(name, args), *line = first_line(help);
	const char *rest = strchr(help, '\n');
	json_t *o = json_object();

	result_put_text(o, "name", name);
	result_put_text(o, "usage", usage);
	result_put_text(o, "summary", line);
	result_put_text(o, "details", rest != NULL ? rest + 1 : NULL);
	json_object_set_new(o, "args", args_doc(args));
	json_object_set_new(o, "examples", strings(examples));
	free(usage);
	free(line);
	return o;
}

static char *
op_name(const struct op *op)
{
	if (op->method == NULL)
		return str_format("%s", op->verb);
	return str_format("%s %s", op->verb, op->method);
}

/* ---- topics ---- */

static void
topic_command(const struct command *c, struct str *text, json_t *topics)
{
	char *usage = command_usage(c->name, c->args);

	add_topic(text, usage, c->help, c->args, c->examples);
	free(usage);
	json_array_append_new(topics, topic_doc(c->name, c->help, c->args,
	    c->examples));
}

static void
topic_op(const struct op *op, struct str *text, json_t *topics)
{
	char *name = op_name(op), *usage = command_usage(name, op->args);

	add_topic(text, usage, op->help, op->args, op->examples);
	json_array_append_new(topics, topic_doc(name, op->help, op->args,
	    op->examples));
	free(usage);
	free(name);
}

/* A verb alone: its one op in full, or the list of its methods. */
static bool
topic_verb(const char *verb, struct str *text, json_t *topics)
{
	const struct op *only = NULL;
	int n = 0;

	for (int i = 0; op_table[i] != NULL; i++)
		if (strcmp(op_table[i]->verb, verb) == 0) {
			only = op_table[i];
			n++;
		}
	if (n == 0)
		return false;
	if (n == 1) {
		topic_op(only, text, topics);
		return true;
	}
	str_addf(text, "%s does one of:\n\n", verb);
	for (int i = 0; op_table[i] != NULL; i++) {
		const struct op *op = op_table[i];
		char *name, *line;

		if (strcmp(op->verb, verb) != 0)
			continue;
		name = op_name(op);
		line = first_line(op->help);
		add_entry(text, name, 18, line);
		json_array_append_new(topics, topic_doc(name, op->help,
		    op->args, op->examples));
		free(name);
		free(line);
	}
	str_addf(text, "\nhelp %s METHOD tells more.\n", verb);
	return true;
}

static bool
topic_named_op(const char *topic, struct str *text, json_t *topics)
{
	for (int i = 0; op_table[i] != NULL; i++) {
		char *name = op_name(op_table[i]);
		bool found = strcmp(name, topic) == 0;

		free(name);
		if (found) {
			topic_op(op_table[i], text, topics);
			return true;
		}
	}
	return false;
}

static bool
topic_setting(const char *topic, struct str *text)
{
	for (int k = 0; k < SET_COUNT; k++) {
		char *facts;

		if (strcmp(setting_table[k].name, topic) != 0)
			continue;
		facts = arg_facts(&setting_table[k]);
		str_addf(text, "set %s VALUE\n\n", topic);
		add_wrapped(text, facts, 0, 0);
		free(facts);
		return true;
	}
	return false;
}

static bool
topic_other(const char *topic, struct str *text)
{
	if (strcmp(topic, "targets") == 0) {
		str_add(text, targets_text);
		return true;
	}
	if (strcmp(topic, "forms") == 0) {
		str_add(text, "Storage forms:\n");
		for (int k = 0; k < FORM_COUNT; k++)
			add_entry(text, form_table[k].name, 10,
			    form_table[k].text);
		return true;
	}
	if (strcmp(topic, "metrics") == 0) {
		str_add(text, "Metrics of eval, compare and expect:\n");
		for (int k = 0; k < METRIC_COUNT; k++)
			add_entry(text, metric_table[k].name, 10,
			    metric_table[k].text);
		return true;
	}
	return topic_setting(topic, text);
}

static void
overview_group(enum command_group g, struct str *text, json_t *groups)
{
	json_t *o = json_object(), *list = json_array();

	str_addf(text, "%s\n", command_group_titles[g]);
	for (int i = 0; g == GROUP_CHANGE && op_table[i] != NULL; i++) {
		char *name = op_name(op_table[i]);
		char *line = first_line(op_table[i]->help);

		add_entry(text, name, 16, line);
		json_array_append_new(list, json_pack("{s:s, s:s}", "name",
		    name, "text", line));
		free(name);
		free(line);
	}
	for (int i = 0; command_table[i] != NULL; i++) {
		char *line;

		if (command_table[i]->group != g)
			continue;
		line = first_line(command_table[i]->help);
		add_entry(text, command_table[i]->name, 16, line);
		json_array_append_new(list, json_pack("{s:s, s:s}", "name",
		    command_table[i]->name, "text", line));
		free(line);
	}
	result_put_text(o, "title", command_group_titles[g]);
	json_object_set_new(o, "commands", list);
	json_array_append_new(groups, o);
}

static void
overview(struct str *text, json_t *doc)
{
	json_t *groups = json_array();

	str_add(text, "A command is VERB [METHOD] [TARGET...] [key=value...]."
	    "\n\n");
	for (int g = 0; g < GROUP_COUNT; g++) {
		if (g > 0)
			str_addc(text, '\n');
		overview_group((enum command_group)g, text, groups);
	}
	str_add(text, "\nhelp COMMAND tells more; so do help targets, help "
	    "forms, help metrics.\n");
	json_object_set_new(doc, "groups", groups);
}

static enum pare_rc
unknown_topic(const char *topic, struct pare_err *err)
{
	const char *names[256] = { "targets", "forms", "metrics" };
	const char *near;
	int n = 3;

	for (int i = 0; command_table[i] != NULL && n < 255; i++)
		names[n++] = command_table[i]->name;
	for (int i = 0; op_table[i] != NULL && n < 255; i++)
		names[n++] = op_table[i]->verb;
	for (int k = 0; k < SET_COUNT && n < 255; k++)
		names[n++] = setting_table[k].name;
	names[n] = NULL;
	near = str_nearest(topic, names);
	err_set(err, PARE_EUSER, "there is no help on '%.80s'", topic);
	if (near != NULL)
		return err_hint(err, "help %s", near);
	return err_hint(err, "help");
}

static enum pare_rc
run_help(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const char *topic = arg_text(args, "topic");
	json_t *topics = json_array();
	const struct command *c;
	struct str text = STR_INIT;
	bool found = true;

	if (topic == NULL)
		overview(&text, doc);
	else if ((c = command_find(topic)) != NULL)
		topic_command(c, &text, topics);
	else
		found = topic_named_op(topic, &text, topics) ||
		    topic_verb(topic, &text, topics) ||
		    topic_other(topic, &text);
	if (found) {
		result_put_text(doc, "topic", topic);
		json_object_set(doc, "topics", topics);
		result_put_text(doc, "text", text.s);
	}
	json_decref(topics);
	str_free(&text);
	return found ? PARE_OK : unknown_topic(topic, err);
}

const struct command command_help = {
	.name = "help",
	.group = GROUP_HELP,
	.help = "Explain commands, ops, settings and notations.",
	.examples = help_examples,
	.args = help_args,
	.flags = CMD_DRY,
	.run = run_help,
};

/* ---- set ---- */

static const struct arg_spec set_args[] = {
	{ "name", ARG_TEXT, ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "the setting; all are shown unless said" },
	{ "value", ARG_TEXT, ARG_WORD, 0, 0, NULL, NULL, NULL,
	    "its new value; shown unless said" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const set_examples[] = { "set", "set threads 2",
	"set live off", "set cache 2G", NULL };

static enum pare_rc
run_set(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const char *name = arg_text(args, "name");
	const char *value = arg_text(args, "value");
	json_t *list;
	enum setting only = SET_COUNT;
	enum pare_rc rc = PARE_OK;

	if (name != NULL)
		rc = settings_find(name, &only, err);
	if (rc == PARE_OK && value != NULL)
		rc = settings_set(s->settings, name, value, err);
	if (rc != PARE_OK)
		return rc;
	if (value != NULL && only == SET_CACHE) {
		evaluator_limit(s->evaluator, settings_cache(s->settings));
		memory_recall_earlier(s->memory, settings_bool(s->settings,
		    SET_CACHE));
	}
	/* How things look is nobody's result. */
	s->unrecorded = value == NULL || only == SET_COLOR ||
	    only == SET_PAGER || only == SET_THEME || only == SET_COLUMNS;
	list = json_array();
	for (int k = 0; k < SET_COUNT; k++) {
		json_t *o;

		if (name != NULL && k != (int)only)
			continue;
		o = json_object();
		result_put_text(o, "name", setting_table[k].name);
		result_put_text(o, "value", settings_text(s->settings,
		    (enum setting)k));
		result_put_text(o, "default", setting_table[k].dflt);
		result_put_text(o, "text", setting_table[k].text);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "settings", list);
	return PARE_OK;
}

const struct command command_set = {
	.name = "set",
	.group = GROUP_HELP,
	.help = "Show or change settings.",
	.examples = set_examples,
	.args = set_args,
	.flags = CMD_CHANGES | CMD_DRY,
	.run = run_set,
};

/* ---- quit ---- */

static const struct arg_spec quit_args[] = {
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const quit_examples[] = { "quit", NULL };

static enum pare_rc
run_quit(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	s->quit = true;
	return PARE_OK;
}

const struct command command_quit = {
	.name = "quit",
	.group = GROUP_HELP,
	.help = "End the session.",
	.examples = quit_examples,
	.args = quit_args,
	.flags = CMD_DRY,
	.run = run_quit,
};
