/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a fresh process holds after it ran a saved model, against what its table
 * says: the bytes of the tensors and the scratch, both named by `info`, and with
 * what the program had before a model was open, which `info` names too.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "bert.h"

extern char **environ;

/* The weights leave the page cache, to be read as on another day: pages that were
 * just written lie in larger pieces, which some kernels map whole. */
static void
drop_cache(const char *dir)
{
	char *path = io_join(dir, "model.safetensors");
	int fd = open(path, O_RDONLY);

	if (fd >= 0) {
		fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	free(path);
}

/* Runs pare on dir; the document of `info` after a few passes, or NULL. */
static json_t *
run_pare(const char *pare, const char *dir)
{
	char *argv[] = { (char *)pare, "--no-state", "--json", "-q",
		(char *)dir, "-c", "latency batch=1 seq=128 runs=3", "-c",
		"info", NULL };
	posix_spawn_file_actions_t actions;
	json_t *doc = NULL;
	int p[2], status;
	FILE *from;
	pid_t pid;

	if (pipe(p) < 0)
		return NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], 1);
	posix_spawn_file_actions_addclose(&actions, p[0]);
	status = posix_spawn(&pid, pare, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(p[1]);
	from = fdopen(p[0], "r");
	if (status == 0)
		json_decref(json_loadf(from, JSON_DISABLE_EOF_CHECK, NULL));
	if (status == 0)
		doc = json_loadf(from, JSON_DISABLE_EOF_CHECK, NULL);
	fclose(from);
	if (status != 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}

static void
remove_dir(const char *dir)
{
	static const char *const name[] = { "model.safetensors",
		"model.pare", "config.json", "pare.json", "recipe.pare",
		"vocab.txt", "tokenizer_config.json" };

	for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
		char *path = io_join(dir, name[i]);

		unlink(path);
		free(path);
	}
	if (rmdir(dir) < 0)
		fprintf(stderr, "bench_memory: %s is not empty\n", dir);
}

static void
print_state(const char *name, json_t *doc)
{
	json_int_t resident = 0, scratch = 0, bytes = 0, program = 0;
	char line[96];
	double table;

	json_unpack(doc, "{s:I, s:I, s:I, s:I}", "resident_bytes",
	    &resident, "scratch_bytes", &scratch, "bytes", &bytes,
	    "program_bytes", &program);
	table = (double)(scratch + bytes);
	snprintf(line, sizeof line, "resident, %s", name);
	bench_figure(line, (double)resident / 1048576, "MiB", BENCH_NONE, 0);
	snprintf(line, sizeof line, "resident, %s: of table and scratch", name);
	bench_figure(line, (double)resident / table, "share", BENCH_AT_MOST,
	    1.15);
	snprintf(line, sizeof line, "resident, %s: of those and the program",
	    name);
	bench_figure(line, (double)resident / (table + (double)program),
	    "share", BENCH_NONE, 0);
}

static bool
measure(struct bert *b, const char *pare, const char *name, const char *line)
{
	char *dir = io_join(b->dir, "model"), *save;
	json_t *doc = NULL;
	bool ok;

	save = str_format("save %s", dir);
	ok = (line == NULL || bert_run(b, line) >= 0) &&
	    bert_run(b, save) >= 0;
	if (ok) {
		drop_cache(dir);
		doc = run_pare(pare, dir);
	}
	if (doc != NULL)
		print_state(name, doc);
	else
		fprintf(stderr, "bench_memory: %s failed on %s\n", pare, name);
	remove_dir(dir);
	free(dir);
	free(save);
	ok = ok && doc != NULL;
	json_decref(doc);
	return bert_run(b, "goto 0") >= 0 && ok;
}

int
main(void)
{
	static const char *const state[][2] = {
		{ "float32", NULL },
		{ "float16", "quantize all bits=16" },
		{ "int8", "quantize all bits=8" },
		{ "4 bits", "quantize all bits=4 group=32" },
		{ "90 % free sparsity", "prune weights 90%" },
		{ "half the heads", "prune heads 50%" },
	};
	const char *pare = getenv("PARE");
	struct bert b;
	bool ok = pare != NULL && bert_open(&b);

	if (pare == NULL) {
		fprintf(stderr, "bench_memory: set PARE to the program\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof state / sizeof state[0]; i++)
		ok = ok && measure(&b, pare, state[i][0], state[i][1]);
	bert_close(&b);
	return !ok;
}
