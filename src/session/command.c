/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/command.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "session/work.h"

const char *const command_group_titles[GROUP_COUNT] = {
	[GROUP_SEE] = "Open and see",
	[GROUP_CHANGE] = "Change",
	[GROUP_TRAVEL] = "Travel",
	[GROUP_MEASURE] = "Measure",
	[GROUP_KEEP] = "Keep",
	[GROUP_HELP] = "Help",
};

/* In the order help and manuals show them. */
const struct command *const command_table[] = {
	&command_open, &command_data, &command_info, &command_show,
	&command_inspect, &command_attend,
	&command_recover, &command_plan,
	&command_undo, &command_redo, &command_history, &command_goto,
	&command_mark, &command_diff,
	&command_eval, &command_compare, &command_expect, &command_latency,
	&command_predict, &command_generate, &command_importance,
	&command_sweep, &command_overview,
	&command_save, &command_export, &command_recipe, &command_source,
	&command_resume,
	&command_help, &command_set, &command_quit,
	NULL
};

const struct command *
command_find(const char *name)
{
	for (int i = 0; command_table[i] != NULL; i++)
		if (strcmp(command_table[i]->name, name) == 0)
			return command_table[i];
	return NULL;
}

static void
add_upper(struct str *out, const char *s)
{
	for (; *s != '\0'; s++)
		str_addc(out, (char)toupper((unsigned char)*s));
}

/* The value part of key=...: the choices, or the kind of value. */
static void
add_value(struct str *out, const struct arg_spec *a)
{
	static const char *const kinds[ARG_TYPE_COUNT] = {
		[ARG_INT] = "N", [ARG_REAL] = "X", [ARG_AMOUNT] = "AMOUNT",
		[ARG_CHOICE] = "", [ARG_BOOL] = "on|off", [ARG_TEXT] = "TEXT",
		[ARG_TARGET] = "TARGET", [ARG_FILE] = "FILE",
		[ARG_STATE] = "STATE", [ARG_LIMIT] = "BOUND",
	};

	if (a->type != ARG_CHOICE) {
		str_add(out, kinds[a->type]);
		return;
	}
	for (int i = 0; a->choices[i] != NULL; i++)
		str_addf(out, "%s%s", i > 0 ? "|" : "", a->choices[i]);
}

static void
add_arg(struct str *out, const struct arg_spec *a)
{
	bool needed = (a->flags & ARG_REQUIRED) != 0;

	str_add(out, needed ? " " : " [");
	if ((a->flags & ARG_WORD) != 0) {
		add_upper(out, a->name);
		if ((a->flags & ARG_REPEAT) != 0)
			str_add(out, "...");
	} else {
		str_addf(out, "%s%s", a->name, arg_sign(a));
		add_value(out, a);
	}
	if (!needed)
		str_addc(out, ']');
}

char *
command_usage(const char *name, const struct arg_spec *args)
{
	struct str out = STR_INIT;

	str_add(&out, name);
	for (const struct arg_spec *a = args; a->name != NULL; a++)
		if ((a->flags & ARG_HIDDEN) == 0)
			add_arg(&out, a);
	return str_detach(&out);
}
