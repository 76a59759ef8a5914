/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * main: reads the command line, makes the session, picks the front end.
 *
 *   -c or -f            batch, then the prompt with -I
 *   terminal both ways  the workbench, or the prompt where it cannot be drawn
 *   anything else       commands from standard input
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ranks.h"
#include "ui/batch.h"
#include "ui/console.h"
#include "ui/options.h"
#include "ui/repl.h"
#include "ui/signals.h"
#include "ui/tui/screen.h"
#include "ui/tui/tui.h"
#include "ui/version.h"

/* --help and --version. */
static int
say(const struct options *o)
{
	struct str b = STR_INIT;
	struct look l;
	int status;

	look_init(&l, STDOUT_FILENO, LOOK_NEVER, o->ascii);
	l.width = l.width > 80 ? 80 : l.width;
	if (o->help)
		options_help(&b, &l);
	else
		version_text(&b);
	status = fputs(b.s, stdout) < 0 || fflush(stdout) != 0;
	str_free(&b);
	return status;
}

/* The workbench where it can be drawn, else the prompt, with a word on why. */
static enum front
pick_screen(const struct options *o)
{
	char why[128];

	if (screen_usable(why))
		return FRONT_TUI;
	if (why[0] != '\0' && !o->quiet)
		fprintf(stderr, "pare: %s: here is the prompt\n", why);
	return FRONT_REPL;
}

/* FRONT_AUTO: nobody to talk to; commands come from standard input. */
static enum front
pick_front(const struct options *o)
{
	if (o->json || !isatty(STDIN_FILENO) ||
	    (o->nscripts > 0 && !o->interactive))
		return FRONT_AUTO;
	if (o->front == FRONT_PLAIN || o->front == FRONT_REPL)
		return o->front;
	if (o->front == FRONT_TUI || isatty(STDOUT_FILENO))
		return pick_screen(o);
	return FRONT_AUTO;
}

/* A prompt on a terminal. Errors are shown there and do not end it. */
static enum pare_rc
run_prompt(struct console *c, const struct options *o, enum front front)
{
	c->interactive = true;
	if (front == FRONT_TUI && tui_run(c, o))
		return PARE_OK;
	if (front == FRONT_TUI)
		front = FRONT_REPL;
	c->session->interactive = true;
	repl_warn_state(c);
	if (front == FRONT_REPL)
		repl_offer_resume(c);
	session_keep_journal(c->session);
	if (console_open(c, o, true) == PARE_OK)
		batch_scripts(c, o);
	if (c->session->quit || console_exit_status(c, PARE_OK) != 0)
		return PARE_OK;
	signals_take_interrupt();
	if (front == FRONT_REPL)
		repl_run(c);
	else
		batch_plain(c);
	return PARE_OK;
}

static enum pare_rc
run_batch(struct console *c, const struct options *o)
{
	enum pare_rc rc;
	int lines;

	session_keep_journal(c->session);
	rc = console_open(c, o, false);
	if (rc == PARE_OK)
		rc = batch_scripts(c, o);
	if (rc != PARE_OK || c->session->quit ||
	    (o->nscripts > 0 && !o->interactive))
		return rc;
	if (isatty(STDIN_FILENO))
		console_warn(c, "reading commands from the terminal; Ctrl-D "
		    "ends");
	rc = batch_stdin(c, &lines);
	if (rc == PARE_OK && lines == 0 && o->nscripts == 0)
		console_summary(c);
	return rc;
}

/*
 * OpenMP reads its settings while the program loads, so changing one takes a
 * new start (two milliseconds). Unless told otherwise its threads spin while
 * they wait, and beside anything else that runs on the machine a pass is then
 * several times slower.
 */
static void
let_threads_sleep(char **argv)
{
	if (getenv("OMP_WAIT_POLICY") == NULL &&
	    getenv("GOMP_SPINCOUNT") == NULL &&
	    setenv("OMP_WAIT_POLICY", "passive", 1) == 0)
		execv("/proc/self/exe", argv);
}

/* Processes of one run do the same, and only the first one has a standard input
 * and writes what is kept. */
static enum pare_rc
check_ranks(struct options *o, struct pare_err *err)
{
	bool fine;

	if (ranks_count() == 1)
		return PARE_OK;
	o->no_state = o->no_state || ranks_number() > 0;
	fine = o->nscripts > 0 && !o->interactive;
	for (int i = 0; i < o->nscripts; i++)
		fine = fine && (!o->script[i].is_file ||
		    strcmp(o->script[i].text, "-") != 0);
	if (fine)
		return PARE_OK;
	err_set(err, PARE_EUSAGE, "%d processes run the lines of -c and -f "
	    "FILE alone", ranks_count());
	return err_hint(err, "mpirun -n 2 pare MODEL --data calib=FILE -c "
	    "'sweep heads'");
}

int
main(int argc, char **argv)
{
	struct console c = { 0 };
	struct options o;
	struct pare_err err;
	enum front front;
	enum pare_rc rc;
	int status;

	let_threads_sleep(argv);
	ranks_begin();
	setlocale(LC_CTYPE, "");
	rc = options_parse(&o, argc, argv, &err);
	if (rc == PARE_OK && (o.help || o.version)) {
		status = say(&o);
		options_free(&o);
		ranks_end();
		return status;
	}
	if (rc == PARE_OK)
		rc = check_ranks(&o, &err);
	signals_init();
	if (rc == PARE_OK)
		rc = console_init(&c, &o, &err);
	front = pick_front(&o);
	if (rc != PARE_OK)
		fprintf(stderr, "pare: %s (%s)\n", err.msg, err.hint);
	else if (front != FRONT_AUTO)
		rc = run_prompt(&c, &o, front);
	else
		rc = run_batch(&c, &o);
	status = console_exit_status(&c, rc);
	if (c.failed && status == 0)
		status = 1;
	console_free(&c);
	options_free(&o);
	ranks_end();
	return status;
}
