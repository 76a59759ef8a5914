/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * manpages: what is written from the tables of commands, ops, settings,
 * metrics, forms and options: pare-commands(7), pare-ops(7) and the completions
 * of three shells.
 */
#ifndef PARE_UI_MANPAGES_H
#define PARE_UI_MANPAGES_H

#include "base/str.h"

struct manpage {
	const char *name;	/* "commands", as the generator is asked */
	void (*write)(struct str *b);
};
extern const struct manpage manpage_table[];	/* ends with a NULL name */

#endif
