/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GGUF's blocks: products with one row of x, from memory, and with 128, against
 * our own float32, all in turn in every round; and how fast values become blocks.
 *
 * usage: bench_blocks [TYPE...]
 */
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "bench.h"
#include "tensor/block_encode.h"
#include "tensor/kernel.h"

enum {
	SIDE = 4096,
	COPIES = 6,	/* of a matrix, more than caches hold */
	MANY = 128,
	ROUNDS = 9
};

/* One type: COPIES of one matrix, and its times. */
struct entry {
	const char *name;
	struct tensor *t[COPIES];
	double one[BENCH_MOST], many[BENCH_MOST];
};

static void
stop(const struct pare_err *err)
{
	fprintf(stderr, "bench_blocks: %s\n", err->msg);
	exit(1);
}

static struct tensor *
make_floats(uint64_t seed)
{
	struct pare_err err;
	float *p = NULL;
	struct tensor *t = tensor_new_f32(2, SIDE, SIDE, &p, &err);
	struct rng rng;

	if (t == NULL)
		stop(&err);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < (int64_t)SIDE * SIDE; i++)
		p[i] = rng_normal(&rng);
	return t;
}

static struct tensor *
make_blocks(enum block_kind kind, const struct tensor *f, double *seconds)
{
	size_t bytes = (size_t)block_bytes(kind, SIDE, SIDE);
	struct tensor facts = { .form = FORM_BLOCK, .values = FORM_BLOCK,
		.ndim = 2, .rows = SIDE, .cols = SIDE,
		.stored = (int64_t)SIDE * SIDE };
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, *t;
	uint8_t *p = xmalloc(bytes);
	double began = bench_now();
	struct pare_err err;

	facts.code.block = (uint8_t)kind;
	facts.code.act = 8;
	atomic_init(&facts.nonzero, -1);
	if (block_encode(kind, tensor_f32(f), SIDE, SIDE, NULL, p, NULL,
	    &err) != PARE_OK)
		stop(&err);
	*seconds = bench_now() - began;
	parts[PART_DATA] = (struct part) { blob_heap(p, bytes), p, bytes };
	t = tensor_new(&facts, parts, kid, &err);
	if (t == NULL)
		stop(&err);
	return t;
}

static double
run(const struct tensor *const *t, int count, const float *x, int64_t n,
    float *y)
{
	void *scratch = aligned_alloc(64, (kernel_scratch(t[0], n) + 127) /
	    64 * 64);
	double began;

	kernel_matmul(t[0], x, 1, y, false, scratch);	/* first touch */
	began = bench_now();
	for (int i = 0; i < count; i++)
		kernel_matmul(t[i], x, n, y, false, scratch);
	began = bench_now() - began;
	free(scratch);
	return began / count;
}

static void
measure(struct entry *e, int n, int rounds)
{
	float *x = xmalloc(sizeof(*x) * MANY * SIDE);
	float *y = xmalloc(sizeof(*y) * MANY * SIDE);

	for (int64_t i = 0; i < (int64_t)MANY * SIDE; i++)
		x[i] = (float)(i % 97) * 0.01f - 0.5f;
	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < n; i++) {
			const struct tensor *const *t =
			    (const struct tensor *const *)e[i].t;

			e[i].one[r] = run(t, COPIES, x, 1, y);
			e[i].many[r] = run(t, 1, x, MANY, y);
		}
	free(x);
	free(y);
}

static void
print_ratio(const char *name, const char *what, const double *above,
    const double *below, int n, double wanted)
{
	double ratio[BENCH_MOST];
	char text[100];

	for (int i = 0; i < n; i++)
		ratio[i] = above[i] / below[i];
	snprintf(text, sizeof(text), "%s, %s against float32", name, what);
	bench_timed(text, ratio, n, 1, "x", BENCH_AT_LEAST, wanted);
}

static void
print(struct entry *e, int n, int rounds)
{
	for (int i = 0; i < n; i++) {
		double bytes = (double)tensor_bytes(e[i].t[0]);
		double rate[BENCH_MOST];
		char text[100];

		if (i > 0) {
			print_ratio(e[i].name, "1 row", e[0].one, e[i].one,
			    rounds, 0.75 * 4 * SIDE * SIDE / bytes);
			print_ratio(e[i].name, "128 rows", e[0].many,
			    e[i].many, rounds, 2);
		}
		for (int r = 0; r < rounds; r++)
			rate[r] = bytes / e[i].one[r];
		snprintf(text, sizeof(text), "%s, 1 row reads", e[i].name);
		bench_timed(text, rate, rounds, 1e-9, "GB/s", BENCH_NONE, 0);
	}
}

static bool
chosen(const char *name, int argc, char **argv)
{
	bool any = argc < 2;

	for (int i = 1; i < argc; i++)
		any |= strcmp(name, argv[i]) == 0;
	return any;
}

int
main(int argc, char **argv)
{
	static struct entry e[1 + BLOCK_KINDS];
	int rounds = bench_rounds(ROUNDS), n = 1;
	double seconds[COPIES];
	char text[100];

	e[0].name = "float32";
	for (int c = 0; c < COPIES; c++)
		e[0].t[c] = make_floats((uint64_t)c);
	for (int k = 0; k < BLOCK_KINDS; k++) {
		if (!block_can_encode((enum block_kind)k) ||
		    !chosen(block_table[k].name, argc, argv))
			continue;
		e[n].name = block_table[k].name;
		for (int c = 0; c < COPIES; c++)
			e[n].t[c] = make_blocks((enum block_kind)k, e[0].t[c],
			    &seconds[c]);
		for (int c = 0; c < COPIES; c++)
			seconds[c] = 4.0 * SIDE * SIDE / seconds[c];
		snprintf(text, sizeof(text), "%s, made of float32", e[n].name);
		bench_timed(text, seconds, COPIES, 1e-6, "MB/s", BENCH_NONE,
		    0);
		n++;
	}
	measure(e, n, rounds);
	print(e, n, rounds);
	for (int i = 0; i < n; i++)
		for (int c = 0; c < COPIES; c++)
			tensor_unref(e[i].t[c]);
	return 0;
}
