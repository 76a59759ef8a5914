/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Handlers touch only lock-free atomics and a non-blocking pipe. The threads of
 * the BLAS library may run a handler, so nothing here relies on EINTR.
 */
#include "ui/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static int pipe_fd[2] = { -1, -1 };
static struct task *_Atomic watched;
static atomic_bool interrupted, resized, continued, stopped;
static atomic_int ended;

static void
on_signal(int sig)
{
	int saved = errno;
	struct task *task = atomic_load(&watched);

	switch (sig) {
	case SIGINT: atomic_store(&interrupted, true); break;
	case SIGTERM: atomic_store(&ended, 143); break;
	case SIGHUP: atomic_store(&ended, 129); break;
	case SIGWINCH: atomic_store(&resized, true); break;
	case SIGCONT: atomic_store(&continued, true); break;
	case SIGTSTP:
		/* A job runs with the terminal as it was: stop at once. At the
		 * prompt the terminal must be put right first. */
		if (task != NULL)
			kill(getpid(), SIGSTOP);
		else
			atomic_store(&stopped, true);
		break;
	}
	if (task != NULL && (sig == SIGINT || sig == SIGTERM || sig == SIGHUP))
		atomic_store(&task->cancel, true);
	if (write(pipe_fd[1], "", 1) < 0)
		errno = saved;
	errno = saved;
}

void
signals_init(void)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH,
		SIGCONT, SIGTSTP };
	struct sigaction sa = { 0 }, old;

	if (pipe(pipe_fd) == 0)
		for (int i = 0; i < 2; i++) {
			fcntl(pipe_fd[i], F_SETFL, O_NONBLOCK);
			fcntl(pipe_fd[i], F_SETFD, FD_CLOEXEC);
		}
	sa.sa_handler = on_signal;
	sa.sa_flags = SA_RESTART;
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		/* What a parent chose to ignore (nohup) stays ignored. */
		sigaction(caught[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaction(caught[i], &sa, NULL);
	}
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
}

int
signals_fd(void)
{
	return pipe_fd[0];
}

void
signals_drain(void)
{
	char buf[64];

	while (read(pipe_fd[0], buf, sizeof(buf)) > 0)
		;
}

void
signals_watch(struct task *task)
{
	atomic_store(&watched, task);
	/* One that came just before must not be lost. */
	if (task != NULL && atomic_load(&ended) != 0)
		atomic_store(&task->cancel, true);
}

bool
signals_take_interrupt(void)
{
	return atomic_exchange(&interrupted, false);
}

bool
signals_take_resize(void)
{
	return atomic_exchange(&resized, false);
}

bool
signals_take_continue(void)
{
	return atomic_exchange(&continued, false);
}

bool
signals_take_stop(void)
{
	return atomic_exchange(&stopped, false);
}

int
signals_exit_status(void)
{
	return atomic_load(&ended);
}

long
signals_read(int fd, void *buf, unsigned long n)
{
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { pipe_fd[0], POLLIN, 0 } };
	ssize_t k;

	for (;;) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -2;
		}
		if (p[1].revents != 0) {
			signals_drain();
			return -1;
		}
		k = read(fd, buf, n);
		if (k >= 0)
			return (long)k;
		if (errno != EINTR && errno != EAGAIN)
			return -2;
	}
}
