/* SPDX-License-Identifier: GPL-3.0-or-later */
/* repl: the prompt, with readline's editing, history and completion. */
#ifndef PARE_UI_REPL_H
#define PARE_UI_REPL_H

#include "ui/console.h"

/* Runs until the user leaves or a signal ends the program. */
void repl_run(struct console *c);
/* Says so when nothing can be kept between sessions. */
void repl_warn_state(const struct console *c);
/* What to say when an earlier session can be taken up again, malloc'ed; NULL. */
char *repl_resume_offer(void);
/* Says so when an earlier session can be taken up again. */
void repl_offer_resume(struct console *c);

#endif
