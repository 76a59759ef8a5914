/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bag_of_words: the baseline of the sample. Logistic regression over word
 * counts, so it sees which words a sentence has and not their order:
 *
 *   p(positive) = 1 / (1 + exp(-(b + sum_w count_w * a_w)))
 *
 * Fitted by gradient descent on mean log loss plus an L2 penalty, which has one
 * minimum, so no seed is needed. With --pairs it also sees which two words stand
 * side by side.
 *
 * usage: bag_of_words [--pairs] TRAIN.tsv TEST.tsv
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

/* Words are hashed into so many weights; the sample has some 300 words. */
enum { WEIGHTS = 1 << 18, WORDS_MAX = 512, STEPS = 400, FILE_MAX = 1 << 26 };
static const double penalty = 1e-4, rate = 1.0;

struct row {
	int n, label;
	int32_t *word;		/* weights that the words use, owned */
};

struct set {
	int n;
	struct row *row;
};

static void
row_add(struct row *r, uint64_t hash)
{
	if (r->n < WORDS_MAX)
		r->word[r->n++] = (int32_t)(hash & (WEIGHTS - 1));
}

/* Words of `text`, up to its tab; sets the label from what follows. */
static void
row_read(struct row *r, const char *text, bool pairs)
{
	uint64_t last = 0;

	r->word = xcalloc(WORDS_MAX, sizeof(*r->word));
	while (*text != '\0' && *text != '\t') {
		size_t n = strcspn(text, " ,.\t");

		if (n > 0) {
			uint64_t h = hash_bytes(text, n, 0);

			row_add(r, h);
			if (pairs)
				row_add(r, hash_mix(last, h));
			last = h;
		}
		text += n;
		text += strspn(text, " ,.");
	}
	r->label = *text == '\t' && strcmp(text + 1, "positive") == 0;
}

static bool
set_read(struct set *s, const char *path, bool pairs)
{
	struct pare_err err;
	char *data, *line, *rest;
	size_t n;

	if (io_read(path, FILE_MAX, &data, &n, &err) != PARE_OK) {
		fprintf(stderr, "bag_of_words: %s\n", err.msg);
		return false;
	}
	rest = data;
	strsep(&rest, "\n");	/* the header */
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (*line == '\0')
			continue;
		s->row = xrealloc(s->row, (size_t)(s->n + 1) * sizeof(*s->row));
		memset(&s->row[s->n], 0, sizeof(*s->row));
		row_read(&s->row[s->n++], line, pairs);
	}
	free(data);
	return s->n > 0;
}

static void
set_free(struct set *s)
{
	int i;

	for (i = 0; i < s->n; i++)
		free(s->row[i].word);
	free(s->row);
}

static double
row_probability(const struct row *r, const double *a, double b)
{
	int k;

	for (k = 0; k < r->n; k++)
		b += a[r->word[k]];
	return 1 / (1 + exp(-b));
}

/* Gradient descent with momentum 0.9 from zero. */
static void
fit(const struct set *s, double *a, double *b)
{
	double *g = xcalloc(WEIGHTS, sizeof(*g));
	double *v = xcalloc(WEIGHTS, sizeof(*v)), gb, vb = 0;
	int step, i, k;

	for (step = 0; step < STEPS; step++) {
		for (k = 0; k < WEIGHTS; k++)
			g[k] = penalty * a[k];
		gb = 0;
		for (i = 0; i < s->n; i++) {
			const struct row *r = &s->row[i];
			double d = (row_probability(r, a, *b) - r->label) / s->n;

			gb += d;
			for (k = 0; k < r->n; k++)
				g[r->word[k]] += d;
		}
		for (k = 0; k < WEIGHTS; k++) {
			v[k] = 0.9 * v[k] - rate * g[k];
			a[k] += v[k];
		}
		vb = 0.9 * vb - rate * gb;
		*b += vb;
	}
	free(g);
	free(v);
}

static double
accuracy(const struct set *s, const double *a, double b)
{
	int i, right = 0;

	for (i = 0; i < s->n; i++)
		right += (row_probability(&s->row[i], a, b) > 0.5) ==
		    s->row[i].label;
	return (double)right / s->n;
}

int
main(int argc, char **argv)
{
	bool pairs = argc == 4 && strcmp(argv[1], "--pairs") == 0;
	struct set train = { 0, NULL }, test = { 0, NULL };
	double *a, b = 0;

	if (argc != 3 && !pairs) {
		fprintf(stderr,
		    "usage: bag_of_words [--pairs] TRAIN.tsv TEST.tsv\n");
		return 2;
	}
	if (!set_read(&train, argv[argc - 2], pairs) ||
	    !set_read(&test, argv[argc - 1], pairs)) {
		set_free(&train);
		set_free(&test);
		return 3;
	}
	a = xcalloc(WEIGHTS, sizeof(*a));
	fit(&train, a, &b);
	printf("%s: train %.1f %% of %d, test %.1f %% of %d\n",
	    pairs ? "words and pairs of words" : "bag of words",
	    100 * accuracy(&train, a, b), train.n,
	    100 * accuracy(&test, a, b), test.n);
	free(a);
	set_free(&train);
	set_free(&test);
	return 0;
}
