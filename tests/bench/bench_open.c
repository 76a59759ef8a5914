/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench_open: how long the program takes to say its first word about a
 * directory of BERT-base size (440 MB, random weights), how much memory it holds
 * then, and how long the full screen takes to be painted. The first word also of
 * the headers of a Llama of 70 billion parameters.
 *
 * The directory is made by a child, for the high-water mark of memory that
 * wait4() gives begins with what the parent of an exec held.
 */
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "file/file.h"
#include "pty.h"
#include "tests/big_llama.h"

extern char **environ;

static const char config[] = "{\"model_type\": \"bert\","
    " \"architectures\": [\"BertForSequenceClassification\"],"
    " \"hidden_size\": 768, \"num_hidden_layers\": 12,"
    " \"num_attention_heads\": 12, \"intermediate_size\": 3072,"
    " \"hidden_act\": \"gelu\", \"max_position_embeddings\": 512,"
    " \"type_vocab_size\": 2, \"vocab_size\": 30522,"
    " \"layer_norm_eps\": 1e-12, \"initializer_range\": 0.02}\n";

/* In a child: writes the model into dir. */
static int
make_model(const char *dir)
{
	struct open_options o = { .random = true, .seed = 1 };
	struct model *m = NULL;
	struct pare_err err;
	char *path = io_join(dir, "bert.json"), *out = io_join(dir, "model");
	int64_t bytes;
	bool plain;
	enum pare_rc rc = io_write(path, config, strlen(config), &err);

	if (rc == PARE_OK)
		rc = file_open_model(path, &o, &m, NULL, &err);
	if (rc == PARE_OK)
		rc = file_save_model(m, out, NULL, false, &bytes, &plain, NULL,
		    &err);
	if (rc != PARE_OK)
		fprintf(stderr, "bench_open: %s\n", err.msg);
	model_unref(m);
	free(path);
	free(out);
	return rc != PARE_OK;
}

/* Runs pare once; seconds to the first byte and to the end, and the peak of
 * resident memory in MiB. False when it failed. */
static bool
run_once(const char *pare, const char *model, const char *line, double *first,
    double *all, double *rss)
{
	char *argv[] = { (char *)pare, "--no-state", (char *)model, "-c",
		(char *)line, NULL };
	posix_spawn_file_actions_t actions;
	struct rusage usage;
	char buffer[4096];
	int p[2], status;
	double began;
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], 1);
	began = bench_now();
	status = posix_spawn(&pid, pare, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(p[1]);
	if (status != 0) {
		close(p[0]);
		return false;
	}
	n = read(p[0], buffer, sizeof(buffer));
	*first = bench_now() - began;
	while (n > 0)
		n = read(p[0], buffer, sizeof(buffer));
	close(p[0]);
	if (wait4(pid, &status, 0, &usage) < 0)
		return false;
	*all = bench_now() - began;
	*rss = (double)usage.ru_maxrss / 1024;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum { RUNS = 9 };

static void
measure_screen(const char *pare, const char *model)
{
	char *argv[] = { (char *)pare, (char *)"--tui", (char *)"--no-state",
		(char *)model, NULL };
	double paint[RUNS];
	struct pty p;
	int i, n = 0;

	for (i = 0; i < RUNS && pty_start(&p, argv); i++) {
		paint[n] = pty_time(&p, NULL, "quit");
		n += paint[n] >= 0;
		pty_stop(&p);
	}
	bench_timed("screen, BERT-base: first paint", paint, n, 1e3, "ms",
	    BENCH_AT_MOST, 150);
}

static int
measure(const char *pare, const char *model)
{
	double first[RUNS], all[RUNS], rss[RUNS], f, a, r;
	int i;

	if (!run_once(pare, model, "info", &f, &a, &r)) {	/* warms the file cache */
		fprintf(stderr, "bench_open: %s failed\n", pare);
		return 1;
	}
	for (i = 0; i < RUNS; i++)
		if (!run_once(pare, model, "info", &first[i], &all[i],
		    &rss[i]))
			return 1;
	bench_figure("open BERT-base: first output", 1e3 *
	    bench_median(first, RUNS), "ms", BENCH_AT_MOST, 100);
	bench_figure("open BERT-base: info and exit", 1e3 *
	    bench_median(all, RUNS), "ms", BENCH_NONE, 0);
	bench_figure("open BERT-base: resident memory",
	    bench_median(rss, RUNS), "MiB", BENCH_AT_MOST, 50e6 / 1048576);
	measure_screen(pare, model);
	return 0;
}

/* Headers of 70 billion parameters, in shards that are holes. */
static int
measure_big(const char *pare, const char *dir)
{
	static const char *const lines[] = { "info", "show" };
	double first[RUNS], all[RUNS], rss[RUNS];
	char name[64], *model = io_join(dir, "big");
	int status = 0;

	if (mkdir(model, 0700) != 0 || !big_llama_make(model)) {
		printf("bench_open: no 70B, for no holes of that size here\n");
		big_llama_remove(model);
		free(model);
		return 0;
	}
	for (int k = 0; k < 2 && status == 0; k++) {
		for (int i = 0; i < RUNS && status == 0; i++)
			status = !run_once(pare, model, lines[k], &first[i],
			    &all[i], &rss[i]);
		if (status != 0)
			break;
		snprintf(name, sizeof(name), "open 70B headers: %s and exit",
		    lines[k]);
		bench_figure(name, 1e3 * bench_median(all, RUNS), "ms",
		    BENCH_NONE, 0);
		snprintf(name, sizeof(name), "open 70B headers: %s, resident",
		    lines[k]);
		bench_figure(name, bench_median(rss, RUNS), "MiB", BENCH_NONE,
		    0);
	}
	big_llama_remove(model);
	free(model);
	return status;
}

static void
clean(const char *dir)
{
	static const char *const name[] = { "bert.json",
		"model/model.safetensors", "model/config.json",
		"model/pare.json", "model/recipe.pare", "model", "" };
	size_t i;

	for (i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		char *path = io_join(dir, name[i]);

		if (unlink(path) < 0)
			rmdir(path);
		free(path);
	}
}

int
main(void)
{
	const char *pare = getenv("PARE"), *tmp = getenv("TMPDIR");
	char *dir = io_join(tmp ? tmp : "/tmp", "pare-bench-XXXXXX"), *model;
	int status = 1;
	pid_t pid;

	if (pare == NULL || mkdtemp(dir) == NULL) {
		fprintf(stderr, "bench_open: set PARE to the program\n");
		free(dir);
		return 2;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(make_model(dir));
	model = io_join(dir, "model");
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		status = measure(pare, model) | measure_big(pare, dir);
	clean(dir);
	free(model);
	free(dir);
	return status != 0;
}
