/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tui: the loop of the workbench on a terminal. */
#ifndef PARE_UI_TUI_TUI_H
#define PARE_UI_TUI_TUI_H

#include "ui/console.h"
#include "ui/options.h"

/* Runs until the user leaves or a signal ends the program. false: the terminal
 * cannot be used (nothing was done). */
bool tui_run(struct console *c, const struct options *o);

#endif
