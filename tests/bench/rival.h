/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rival: another engine in a process of its own, which answers a line with a
 * time (tests/bench/rivals). PARE_RIVAL is the Python interpreter that has its
 * packages; without it there is no rival, and figures that want one are left
 * out.
 */
#ifndef PARE_TESTS_BENCH_RIVAL_H
#define PARE_TESTS_BENCH_RIVAL_H

#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"
#include "bench.h"

extern char **environ;

struct rival {
	FILE *to, *from;	/* NULL: there is none */
	pid_t pid;
	char name[64];
};

static inline void
rival_stop(struct rival *r)
{
	if (r->to == NULL)
		return;
	fclose(r->to);
	fclose(r->from);
	waitpid(r->pid, NULL, 0);
	r->to = r->from = NULL;
}

static inline bool
rival_spawn(struct rival *r, char **argv)
{
	posix_spawn_file_actions_t actions;
	int in[2], out[2], status;

	if (pipe(in) < 0 || pipe(out) < 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	for (int i = 0; i < 2; i++) {
		posix_spawn_file_actions_addclose(&actions, in[i]);
		posix_spawn_file_actions_addclose(&actions, out[i]);
	}
	status = posix_spawnp(&r->pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	r->to = fdopen(in[1], "w");
	r->from = fdopen(out[0], "r");
	return status == 0;
}

/* Starts the rival of that script; false, and nothing said, when the user has
 * none. */
static inline bool
rival_start(struct rival *r, const char *script, int threads)
{
	const char *source = getenv("PARE_SOURCE");
	char *python = getenv("PARE_RIVAL"), *path, number[16], line[128] = "";
	char *argv[5] = { python, NULL, (char *)"--threads", number, NULL };

	memset(r, 0, sizeof *r);
	signal(SIGPIPE, SIG_IGN);	/* a rival may end */
	if (python == NULL || *python == '\0')
		return false;
	path = str_format("%s/tests/bench/rivals/%s",
	    source != NULL ? source : ".", script);
	argv[1] = path;
	snprintf(number, sizeof number, "%d", threads);
	if (!rival_spawn(r, argv) ||
	    fgets(line, sizeof line, r->from) == NULL ||
	    strncmp(line, "ready ", 6) != 0) {
		fprintf(stderr, "bench: no rival: %s", *line ? line : "\n");
		rival_stop(r);
	} else {
		line[strcspn(line, "\n")] = '\0';
		snprintf(r->name, sizeof r->name, "%.63s", line + 6);
		bench_fact("rival", r->name);
	}
	free(path);
	return r->to != NULL;
}

/* Asks a line; the number of its answer, negative when there is none. */
__attribute__((format(printf, 2, 3))) static inline double
rival_ask(struct rival *r, const char *fmt, ...)
{
	char answer[256], *end;
	double v;
	va_list ap;

	if (r->to == NULL)
		return -1;
	va_start(ap, fmt);
	vfprintf(r->to, fmt, ap);
	va_end(ap);
	if (fputc('\n', r->to) == EOF || fflush(r->to) == EOF ||
	    fgets(answer, sizeof answer, r->from) == NULL) {
		fprintf(stderr, "bench: the rival is gone\n");
		rival_stop(r);
		return -1;
	}
	v = strtod(answer, &end);
	if (end != answer)
		return v;
	fprintf(stderr, "bench: rival: %s", answer);
	return -1;
}

#endif
