/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * count_grams: the baseline of the sample "stories". It counts which piece comes
 * after which, up to ORDERS - 1 pieces back, and foretells by those counts.
 *
 * Counts are smoothed as Witten and Bell have it (1991): of a context h that
 * came c(h) times with t(h) different pieces after it,
 *
 *   p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))
 *
 * where h' is h without its first piece, and without a context all pieces are
 * alike likely. Nothing is chosen, so there is nothing to choose wrongly. Every
 * piece of the test text but the first is foretold, as `eval` does.
 *
 * usage: count_grams MODEL-FOLDER TRAIN.txt TEST.txt
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "text/tokenizer.h"

enum { ORDERS = 5, SLOTS = 1 << 22, TEXT_MAX = 1 << 28 };

/* Counts by the hash of some pieces in a row: how often they came, and how many
 * different ones came after them. */
struct gram {
	uint64_t key;		/* 0: free */
	int64_t count, types;
};

struct grams {
	struct gram *slot;
	int64_t used;
	int64_t pieces;
};

static struct gram *
find(const struct grams *g, uint64_t key)
{
	uint64_t i = key % SLOTS;

	while (g->slot[i].key != 0 && g->slot[i].key != key)
		i = (i + 1) % SLOTS;
	return &g->slot[i];
}

/* Of n pieces from id on; never 0. */
static uint64_t
key_of(const int32_t *id, int n)
{
	return hash_bytes(id, (size_t)n * sizeof(*id), (uint64_t)n) | 1;
}

/* The counter of that key, made on first use; false when the table is full. */
static bool
add(struct grams *g, uint64_t key, bool *first)
{
	struct gram *e = find(g, key);

	*first = e->key == 0;
	if (*first && ++g->used > SLOTS / 2)
		return false;
	e->key = key;
	e->count++;
	return true;
}

/* One more of the last n of the pieces before `end`, and one more kind of piece
 * after its context when it is the first such. */
static bool
count_one(struct grams *g, const int32_t *end, int n)
{
	bool first;

	if (!add(g, key_of(end - n, n), &first))
		return false;
	if (first)
		find(g, key_of(end - n, n - 1))->types++;
	return true;
}

/* The context of the last one is counted as a gram of its own: it is followed by
 * nothing, which makes one more of it than there are pieces after it. */
static bool
count_all(struct grams *g, const struct tokens *t)
{
	struct gram *none = find(g, key_of(t->id, 0));

	none->key = key_of(t->id, 0);
	none->count = t->n;
	for (int i = 1; i <= t->n; i++)
		for (int n = 1; n <= ORDERS && n <= i; n++)
			if (!count_one(g, t->id + i, n))
				return false;
	return true;
}

/* p(the piece before end | n - 1 pieces before it) */
static double
probability(const struct grams *g, const int32_t *end, int n)
{
	const struct gram *h, *w;
	double lower;

	if (n == 0)
		return 1 / (double)g->pieces;
	lower = probability(g, end, n - 1);
	h = find(g, key_of(end - n, n - 1));
	w = find(g, key_of(end - n, n));
	if (h->key == 0 || h->types == 0)
		return lower;
	return ((double)w->count + (double)h->types * lower) /
	    (double)(h->count + h->types);
}

static void
report(const struct grams *g, const struct tokens *t, size_t bytes, int order)
{
	double nats = 0;

	for (int i = 2; i <= t->n; i++)
		nats -= log(probability(g, t->id + i, order < i ? order : i));
	nats /= t->n - 1;
	printf("%d back: perplexity %.2f, %.3f bits a byte\n", order - 1,
	    exp(nats), nats / log(2) * (t->n - 1) / (double)bytes);
}

static bool
read_tokens(const struct tokenizer *t, const char *path, struct tokens *out,
    size_t *bytes)
{
	struct pare_err err;
	char *text;
	bool fine;

	fine = io_read(path, TEXT_MAX, &text, bytes, &err) == PARE_OK;
	if (fine) {
		fine = tokenizer_encode(t, text, *bytes, NULL, 0, INT32_MAX,
		    true, out, &err) == PARE_OK;
		free(text);
	}
	if (!fine)
		fprintf(stderr, "count_grams: %s: %s\n", path, err.msg);
	return fine;
}

int
main(int argc, char **argv)
{
	struct tokens train = { 0 }, test = { 0 };
	struct grams g = { 0 };
	struct tokenizer *t;
	struct pare_err err;
	size_t bytes = 0;
	bool fine;

	if (argc != 4) {
		fprintf(stderr,
		    "usage: count_grams MODEL-FOLDER TRAIN.txt TEST.txt\n");
		return 2;
	}
	t = tokenizer_load(argv[1], 0, &err);
	if (t == NULL) {
		fprintf(stderr, "count_grams: %s\n", err.msg);
		return 3;
	}
	g.slot = xcalloc(SLOTS, sizeof(*g.slot));
	g.pieces = tokenizer_size(t);
	fine = read_tokens(t, argv[2], &train, &bytes) &&
	    read_tokens(t, argv[3], &test, &bytes) && test.n > 1;
	if (fine && !count_all(&g, &train)) {
		fprintf(stderr, "count_grams: %s is too long\n", argv[2]);
		fine = false;
	}
	if (fine)
		printf("%d pieces to count, %d to foretell\n", train.n,
		    test.n - 1);
	for (int n = 1; fine && n <= ORDERS; n++)
		report(&g, &test, bytes, n);
	tokens_free(&train);
	tokens_free(&test);
	tokenizer_free(t);
	free(g.slot);
	return fine ? 0 : 1;
}
