/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * replay: what runs a fuzz target where there is no libFuzzer, as a test. Feeds
 * it every file of its seed folder (tests/fuzz/corpus/NAME), and of each so many
 * damaged copies: cut short, with bytes changed, with pieces repeated. The
 * damage is drawn from a fixed seed, so a failure comes back.
 *
 * usage: fuzz_NAME [FILE...]      (without files: the seeds)
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

enum { DAMAGED = 200, FILE_MAX = 1 << 20, SKIP = 77 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* A copy of exactly n bytes, so that ASan sees a read behind its end. */
static void
feed(const char *data, size_t n)
{
	uint8_t *copy = xmalloc(n ? n : 1);

	memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void
feed_damaged(const char *data, size_t n, struct rng *rng)
{
	char *copy = xmalloc(n * 2 + 1);
	size_t length = n, k, from, many;

	memcpy(copy, data, n);
	switch (rng_below(rng, 4)) {
	case 0:
		length = (size_t)rng_below(rng, n + 1);
		break;
	case 1:		/* a piece again, at the end */
		from = n ? (size_t)rng_below(rng, n) : 0;
		many = (size_t)rng_below(rng, n - from + 1);
		memcpy(copy + n, data + from, many);
		length = n + many;
		break;
	default:
		for (k = rng_below(rng, 8); length > 0 && k-- > 0;)
			copy[rng_below(rng, length)] = (char)rng_next(rng);
	}
	feed(copy, length);
	free(copy);
}

static bool
replay(const char *path)
{
	struct pare_err err;
	struct rng rng;
	char *data;
	size_t n;
	int i;

	if (io_read(path, FILE_MAX, &data, &n, &err) != PARE_OK) {
		fprintf(stderr, "%s\n", err.msg);
		return false;
	}
	feed(data, n);
	rng_seed(&rng, n);
	for (i = 0; i < DAMAGED; i++)
		feed_damaged(data, n, &rng);
	free(data);
	return true;
}

/* Files of the seed folder of the program's own name, in any order. */
static int
replay_seeds(const char *program)
{
	const char *source = getenv("PARE_SOURCE");
	char *name = io_base(program), *dir, *path;
	int n = 0, bad = 0;
	struct dirent *e;
	DIR *d;

	dir = str_format("%s/tests/fuzz/corpus/%s", source ? source : ".",
	    str_has_prefix(name, "fuzz_") ? name + 5 : name);
	d = opendir(dir);
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		path = io_join(dir, e->d_name);
		bad += !replay(path);
		n++;
		free(path);
	}
	if (d != NULL)
		closedir(d);
	printf("%d seeds in %s, each with %d damaged copies\n", n, dir,
	    DAMAGED);
	free(dir);
	free(name);
	return bad ? 1 : n == 0 ? SKIP : 0;
}

int
main(int argc, char **argv)
{
	int i, bad = 0;

	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	if (argc < 2)
		return replay_seeds(argv[0]);
	for (i = 1; i < argc; i++)
		bad += !replay(argv[i]);
	return bad != 0;
}
