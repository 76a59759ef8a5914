/* SPDX-License-Identifier: GPL-3.0-or-later */
/* batch: lines from -c, from scripts and from standard input, stopping at the
 * first error. */
#ifndef PARE_UI_BATCH_H
#define PARE_UI_BATCH_H

#include "ui/console.h"

/* The -c and -f of the options, in order. *rc_out is the first error. */
enum pare_rc batch_scripts(struct console *c, const struct options *o);
/* Standard input to its end. *lines counts those that held a command. */
enum pare_rc batch_stdin(struct console *c, int *lines);
/* A prompt without line editing: an error does not end it. */
enum pare_rc batch_plain(struct console *c);

#endif
