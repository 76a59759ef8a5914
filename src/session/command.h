/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * command: the table of commands that are not ops (open, show, undo, eval, ...).
 * One file per command or family (cmd_*.c), each exporting its rows; command.c
 * holds the table. Ops come from ops/op.h.
 */
#ifndef PARE_SESSION_COMMAND_H
#define PARE_SESSION_COMMAND_H

#include "base/arg.h"
#include "session/session.h"

enum command_flag {
	CMD_NEEDS_MODEL = 1,
	CMD_NEEDS_WEIGHTS = 2,	/* not on a config alone */
	CMD_NEEDS_DATA = 4,	/* the eval role is loaded */
	CMD_CHANGES = 8,	/* journaled when it succeeds */
	CMD_LONG = 16,		/* may take over 100 ms */
	CMD_DRY = 32,		/* runs in a dry run too; others are only
				 * checked, and answer dry_run true */
	CMD_WRITES = 64		/* files: of the processes of an MPI run the
				 * first alone does */
};

enum command_group { GROUP_SEE, GROUP_CHANGE, GROUP_TRAVEL, GROUP_MEASURE,
	GROUP_KEEP, GROUP_HELP, GROUP_COUNT };
extern const char *const command_group_titles[GROUP_COUNT];

struct command {
	const char *name;
	enum command_group group;
	const char *help;	/* first line: one sentence with a period */
	const char *const *examples;	/* NULL-terminated */
	const struct arg_spec *args;
	unsigned flags;
	/* Fills doc (has command already) with its own keys; warnings into
	 * notes. */
	enum pare_rc (*run)(struct session *s, const struct arg_list *args,
	    json_t *doc, struct notes *notes, struct task *task,
	    struct pare_err *err);
};

extern const struct command *const command_table[];	/* ends with NULL */
const struct command *command_find(const char *name);
/* "prune heads TARGET|AMOUNT [by=...]": from an args table; malloc'ed. */
char *command_usage(const char *name, const struct arg_spec *args);

#endif
