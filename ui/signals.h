/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * signals: what the handlers do, and a pipe that poll() can wait for.
 *
 * SIGINT cancels the running task, if any, and is remembered. SIGTERM and
 * SIGHUP do the same and ask the program to end. SIGWINCH and SIGCONT are
 * remembered. SIGPIPE is ignored: a write that fails says so.
 */
#ifndef PARE_UI_SIGNALS_H
#define PARE_UI_SIGNALS_H

#include <stdbool.h>

#include "base/task.h"

void signals_init(void);
/* Readable when a signal came since signals_drain(). */
int signals_fd(void);
void signals_drain(void);

/* The task that signals cancel; NULL: none. */
void signals_watch(struct task *task);

bool signals_take_interrupt(void);	/* since the last call */
bool signals_take_resize(void);
bool signals_take_continue(void);
bool signals_take_stop(void);	/* Ctrl-Z while no task ran */
/* 143 or 129 when the program was asked to end; else 0. */
int signals_exit_status(void);

/*
 * Reads from fd when there is something to read. -1 when a signal came first,
 * else as read() (0: end of file; -2: an error of the descriptor).
 */
long signals_read(int fd, void *buf, unsigned long n);

#endif
