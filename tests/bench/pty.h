/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pty: a program on a terminal of its own, for benchmarks of the full screen.
 * Time ends when a text has arrived in the program's output; texts must be such
 * that the program writes them in one piece.
 */
#ifndef PARE_TESTS_BENCH_PTY_H
#define PARE_TESTS_BENCH_PTY_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "bench.h"

struct pty {
	int fd;
	pid_t pid;
	char text[1 << 16];	/* the last output, ends with NUL */
	size_t n;
	long bytes;		/* all output so far */
};

/* Starts argv[0] on 80 columns and 24 rows. */
static inline bool
pty_start(struct pty *p, char *const *argv)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	const char *name;
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	p->n = 0;
	p->bytes = 0;
	p->fd = fd;
	if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 ||
	    (name = ptsname(fd)) == NULL)
		return false;
	p->pid = fork();
	if (p->pid == 0) {
		int t;

		setsid();
		t = open(name, O_RDWR);
		ioctl(t, TIOCSCTTY, 0);
		ioctl(t, TIOCSWINSZ, &size);
		dup2(t, 0);
		dup2(t, 1);
		dup2(t, 2);
		setenv("TERM", "xterm-256color", 1);
		setenv("LC_ALL", "C.UTF-8", 1);
		execv(argv[0], argv);
		_exit(127);
	}
	return p->pid > 0;
}

/* Reads what comes within so many milliseconds; false when nothing did. */
static inline bool
pty_read(struct pty *p, int timeout)
{
	struct pollfd f = { .fd = p->fd, .events = POLLIN };
	char piece[4096];
	ssize_t n;

	if (poll(&f, 1, timeout) <= 0 ||
	    (n = read(p->fd, piece, sizeof(piece))) <= 0)
		return false;
	if (p->n + (size_t)n >= sizeof(p->text)) {
		memmove(p->text, p->text + p->n / 2, p->n - p->n / 2);
		p->n -= p->n / 2;
	}
	memcpy(p->text + p->n, piece, (size_t)n);
	p->n += (size_t)n;
	p->text[p->n] = '\0';
	p->bytes += n;
	return true;
}

/* Until nothing comes for so long; what came is forgotten. */
static inline void
pty_settle(struct pty *p, int quiet)
{
	while (pty_read(p, quiet))
		;
	p->n = 0;
}

/* Sends keys (NULL: none) and waits for text; seconds it took, or -1 after ten
 * seconds without it. */
static inline double
pty_time(struct pty *p, const char *keys, const char *text)
{
	double began = bench_now(), now = began;

	p->n = 0;
	p->text[0] = '\0';
	if (keys != NULL && write(p->fd, keys, strlen(keys)) < 0)
		return -1;
	while (strstr(p->text, text) == NULL) {
		if (now - began > 10)
			return -1;
		pty_read(p, 100);
		now = bench_now();
	}
	return bench_now() - began;
}

static inline void
pty_stop(struct pty *p)
{
	kill(p->pid, SIGTERM);
	pty_settle(p, 200);
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->fd);
}

#endif
