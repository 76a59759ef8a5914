/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * generate: writes the sample set "reviews" and the vocabulary of its model.
 *
 * Every row is one sentence about a film and what it says of the film in the
 * end: negative or positive. Rows come in twins that share a seed of choices:
 * one is made for each label, so that the words of most templates are the same
 * in both and only their order, scope or roles decide. A model that counts
 * words can learn little more than the plain templates; one that attends can
 * learn all of them.
 *
 * usage: generate FOLDER        (writes reviews.{train,dev,test}.tsv and
 *                                reviews/vocab.txt there)
 *
 * The same program writes the same bytes on every machine: its only source of
 * chance is base/rng.h with a fixed seed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

enum { SEED = 20240607, TRAIN = 6000, DEV = 500, TEST = 1000, COMMON = 3 };
enum { NEGATIVE, POSITIVE };

static const char *const aspect[] = { "acting", "plot", "music", "ending",
	"script", "pacing", "dialogue", "cast", "camera work", "first half",
	"second half", "opening", "love story", "villain", "hero", "humor",
	"editing", "sound", "finale", "story", "direction", "chase", "song",
	"costume design", NULL };
static const char *const verb_be[] = { "was", "was", "was", "felt", "seemed",
	"looked", NULL };
static const char *const degree[] = { "", "", "", "so ", "quite ", "very ",
	"rather ", "really ", NULL };

/* Each list is ordered by how often its words are drawn (see draw_rare()). */
static const char *const adjective[2][40] = {
	{ "dull", "bad", "boring", "weak", "flat", "slow", "awful", "cold",
	    "clumsy", "stale", "lazy", "silly", "empty", "forced", "tired",
	    "muddled", "tedious", "bland", "hollow", "shallow", "lifeless",
	    "painful", "careless", "pointless", "wooden", "murky", "grating",
	    "feeble", "dreary", "crude", "soulless", "sloppy", NULL },
	{ "good", "great", "funny", "warm", "clever", "fresh", "moving",
	    "sharp", "lovely", "bold", "tender", "smart", "lively", "rich",
	    "bright", "gripping", "superb", "honest", "elegant", "charming",
	    "graceful", "witty", "thrilling", "joyful", "inspired", "subtle",
	    "delightful", "dazzling", "assured", "radiant", "stirring",
	    "playful", NULL },
};
static const char *const liking[2][8] = {
	{ "hated", "disliked", "mocked", "despised", "dismissed", NULL },
	{ "loved", "liked", "praised", "adored", "admired", NULL },
};
static const char *const quality[2][12] = {
	{ "flaws", "cliches", "mistakes", "gaps", "empty scenes", "bad puns",
	    "loose ends", "false notes", NULL },
	{ "jokes", "ideas", "warm moments", "good lines", "surprises",
	    "strong scenes", "small joys", "performances", NULL },
};
/* X verb Y: X is what counts in the end; and the other way round. */
static const char *const wins[] = { "outweighed", "outnumbered", "buried",
	"drowned out", "overshadowed", "made up for", NULL };
static const char *const loses[] = { "gave way to", "lost out to",
	"could not make up for", "were buried by", "were outweighed by",
	"were drowned out by", "were overshadowed by", NULL };
static const char *const person[] = { "my sister", "my brother", "my friend",
	"the critic", "our teacher", "a colleague", "my mother", "my neighbor",
	"the reporter", "my aunt", NULL };
static const char *const persuades[] = { "convinced", "persuaded",
	"won over", NULL };
static const char *const persuaded[] = { "was convinced by",
	"was persuaded by", "was won over by", "gave in to", "had to agree with",
	NULL };
static const char *const filler[] = { "in the end", "honestly", "for me",
	"all in all", "to be fair", "as it turned out", "that evening",
	"from my seat", NULL };
static const char *const stretch[] = { "in the two hours that it lasted",
	"for a single moment of that long evening",
	"at any point between the first scene and the last",
	"on that rainy night at the old cinema",
	"even on the second viewing with my whole family", "", NULL };

/* The choices of one row. Both twins draw the same numbers; want decides which
 * of the two lists each number points into. */
struct row {
	struct rng rng;
	struct str *out;
	int want;		/* the label */
	int adj[2][3];		/* of each polarity, distinct */
	int noun[4];		/* aspects, distinct */
};

static int
list_length(const char *const *list)
{
	int n = 0;

	while (list[n] != NULL)
		n++;
	return n;
}

static const char *
draw(struct row *r, const char *const *list)
{
	return list[rng_below(&r->rng, (uint64_t)list_length(list))];
}

/* An index that is often small: the square of a uniform number, so that the
 * last words of a list are rare, as words are. */
static int
draw_rare(struct row *r, int n)
{
	double u = rng_uniform(&r->rng);

	return (int)(u * u * n);
}

/* Fills pick with n distinct indices below limit. */
static void
draw_distinct(struct row *r, int *pick, int n, int limit)
{
	int i, j;

	for (i = 0; i < n; i++) {
	again:
		pick[i] = draw_rare(r, limit);
		for (j = 0; j < i; j++)
			if (pick[j] == pick[i])
				goto again;
	}
}

static void
row_begin(struct row *r, uint64_t seed, int want, struct str *out)
{
	rng_seed(&r->rng, seed);
	r->out = out;
	r->want = want;
	draw_distinct(r, r->adj[NEGATIVE], 3, list_length(adjective[0]));
	draw_distinct(r, r->adj[POSITIVE], 3, list_length(adjective[1]));
	draw_distinct(r, r->noun, 4, list_length(aspect));
	str_clear(out);
}

static const char *
adj(const struct row *r, int polarity, int k)
{
	return adjective[polarity][r->adj[polarity][k]];
}

static const char *
noun(const struct row *r, int k)
{
	return aspect[r->noun[k]];
}

/* "the plot was dull": a clause of the wished polarity about noun k. */
static void
put_plain(struct row *r, int polarity, int k)
{
	const char *be = draw(r, verb_be), *deg = draw(r, degree);

	str_addf(r->out, "the %s %s %s%s", noun(r, k), be, deg,
	    adj(r, polarity, k % 3));
}

/* "the plot was not dull": the same polarity, said through its opposite. */
static void
put_negated(struct row *r, int polarity, int k)
{
	static const char *const form[][2] = {
		{ "the", "was not" }, { "the", "was never" },
		{ "the", "was far from" }, { "the", "was anything but" },
		{ "nobody could call the", "" }, { "i would not call the", "" },
		{ "there was no way to find the", "" },
	};
	const char *const *f = form[rng_below(&r->rng, 7)];

	str_addf(r->out, "%s %s %s%s%s", f[0], noun(r, k), f[1],
	    *f[1] ? " " : "", adj(r, !polarity, k % 3));
}

static void
put_clause(struct row *r, int polarity, int k)
{
	if (rng_below(&r->rng, 3) == 0)
		put_negated(r, polarity, k);
	else
		put_plain(r, polarity, k);
}

static void
put_opening(struct row *r)
{
	if (rng_below(&r->rng, 4) == 0)
		str_addf(r->out, "%s , ", draw(r, filler));
}

/* "the plot was dull" */
static void
row_plain(struct row *r)
{
	put_opening(r);
	put_plain(r, r->want, 0);
	if (rng_below(&r->rng, 2)) {
		str_add(r->out, " and ");
		put_plain(r, r->want, 1);
	}
}

/* "the plot was not dull" */
static void
row_negated(struct row *r)
{
	put_opening(r);
	put_negated(r, r->want, 0);
}

/* "the plot was not bad but lazy": what stands after the "but" holds. */
static void
row_instead(struct row *r)
{
	static const char *const form[][2] = { { "not", "but" },
		{ "less", "than" }, { "more", "than" }, { "", ", not" } };
	int i = (int)rng_below(&r->rng, 4), first = i < 2 ? !r->want : r->want;

	put_opening(r);
	str_addf(r->out, "the %s was %s%s%s %s %s", noun(r, 0), form[i][0],
	    *form[i][0] ? " " : "", adj(r, first, 0), form[i][1],
	    adj(r, !first, 0));
}

/* "the plot was dull but the cast was fine": the last clause wins. */
static void
row_but(struct row *r)
{
	put_opening(r);
	put_clause(r, !r->want, 0);
	if (rng_below(&r->rng, 4) == 0) {
		str_add(r->out, " and ");
		put_clause(r, !r->want, 1);
	}
	str_add(r->out, rng_below(&r->rng, 2) ? " but " : " , yet ");
	put_clause(r, r->want, 2);
}

/* "although the plot was dull , the cast was fine": the main clause wins, on
 * either side. */
static void
row_although(struct row *r)
{
	static const char *const word[] = { "although", "even though", "though",
		NULL };
	const char *w = draw(r, word);

	if (rng_below(&r->rng, 2)) {
		str_addf(r->out, "%s ", w);
		put_clause(r, !r->want, 0);
		str_add(r->out, " , ");
		put_clause(r, r->want, 1);
	} else {
		put_clause(r, r->want, 0);
		str_addf(r->out, " %s ", w);
		put_clause(r, !r->want, 1);
	}
}

/* "despite the dull plot and the flat music , the cast was fine" */
static void
row_despite(struct row *r)
{
	bool last = rng_below(&r->rng, 2), two = rng_below(&r->rng, 2);

	if (last) {
		put_plain(r, r->want, 2);
		str_add(r->out, " ");
	}
	str_addf(r->out, "despite the %s %s", adj(r, !r->want, 0), noun(r, 0));
	if (two)
		str_addf(r->out, " and the %s %s", adj(r, !r->want, 1),
		    noun(r, 1));
	if (!last) {
		str_add(r->out, " , ");
		put_plain(r, r->want, 2);
	}
}

/* "the jokes outweighed the flaws": who did what to whom. */
static void
row_roles(struct row *r)
{
	const char *q[2];
	bool win = rng_below(&r->rng, 2);
	const char *verb = draw(r, win ? wins : loses);
	int first = win ? r->want : !r->want;

	q[NEGATIVE] = draw(r, quality[NEGATIVE]);
	q[POSITIVE] = draw(r, quality[POSITIVE]);
	put_opening(r);
	if (rng_below(&r->rng, 3) == 0)
		str_addf(r->out, "the %s in the %s %s the %s of the %s",
		    q[first], noun(r, 0), verb, q[!first], noun(r, 1));
	else
		str_addf(r->out, "the %s %s the %s", q[first], verb, q[!first]);
}

/* "my sister , who hated it , persuaded my aunt , who loved it" */
static void
row_persuade(struct row *r)
{
	const char *who = draw(r, person), *whom;
	const char *l[2];
	bool active = rng_below(&r->rng, 2);
	const char *verb = draw(r, active ? persuades : persuaded);
	int first = active ? r->want : !r->want;

	do
		whom = draw(r, person);
	while (whom == who);
	l[NEGATIVE] = draw(r, liking[NEGATIVE]);
	l[POSITIVE] = draw(r, liking[POSITIVE]);
	str_addf(r->out, "%s , who %s the %s , %s %s , who %s it", who, l[first],
	    noun(r, 0), verb, whom, l[!first]);
}

/* "i loved the plot while my sister hated it": the speaker counts. */
static void
row_speaker(struct row *r)
{
	const char *who = draw(r, person), *l[2];
	bool first = rng_below(&r->rng, 2);
	const char *join = rng_below(&r->rng, 2) ? "while" : "and";

	l[NEGATIVE] = draw(r, liking[NEGATIVE]);
	l[POSITIVE] = draw(r, liking[POSITIVE]);
	put_opening(r);
	if (first)
		str_addf(r->out, "i %s the %s %s %s %s it", l[r->want],
		    noun(r, 0), join, who, l[!r->want]);
	else
		str_addf(r->out, "%s %s the %s %s i %s it", who, l[!r->want],
		    noun(r, 0), join, l[r->want]);
}

/* "the plot that my sister called dull was fine": the main verb is far away. */
static void
row_relative(struct row *r)
{
	const char *who = draw(r, person), *be = draw(r, verb_be);
	const char *l = draw(r, liking[!r->want]);

	put_opening(r);
	if (rng_below(&r->rng, 2))
		str_addf(r->out, "the %s that %s called %s %s %s", noun(r, 0),
		    who, adj(r, !r->want, 0), be, adj(r, r->want, 0));
	else
		str_addf(r->out, "the %s , which %s %s because of the %s %s , "
		    "%s %s", noun(r, 0), who, l, adj(r, !r->want, 0),
		    noun(r, 1), be, adj(r, r->want, 0));
}

/* "i did not , on that rainy night , find the plot dull" */
static void
row_distant(struct row *r)
{
	bool not = rng_below(&r->rng, 2);
	const char *s = draw(r, stretch);

	str_addf(r->out, "i did %s%s%s%s find the %s %s", not ? "not" : "indeed",
	    *s ? " , " : "", s, *s ? " ," : "", noun(r, 0),
	    adj(r, not ? !r->want : r->want, 0));
}

/* "the critic said that the plot was dull , and was wrong" */
static void
row_reported(struct row *r)
{
	const char *who = draw(r, person), *v, *w;
	static const char *const said[] = { "said that", "told me that",
		"wrote that", "warned that", NULL };
	static const char *const right[] = { "was right", "had a point",
		"saw it well", NULL };
	static const char *const wrong[] = { "was wrong", "had no idea",
		"missed the point", NULL };
	bool agree = rng_below(&r->rng, 2);

	v = draw(r, said);
	w = draw(r, agree ? right : wrong);
	str_addf(r->out, "%s %s ", who, v);
	put_clause(r, agree ? r->want : !r->want, 0);
	str_addf(r->out, " , and %s", w);
}

/* "i had expected the plot to be dull and the cast to be flat and both were
 * fine" */
static void
row_expected(struct row *r)
{
	put_opening(r);
	if (rng_below(&r->rng, 2))
		str_addf(r->out, "the %s and the %s were %s where i had expected "
		    "%s and %s ones", noun(r, 0), noun(r, 1), adj(r, r->want, 0),
		    adj(r, !r->want, 0), adj(r, !r->want, 1));
	else
		str_addf(r->out, "i had expected the %s to be %s and the %s to be "
		    "%s and both were %s", noun(r, 0), adj(r, !r->want, 0),
		    noun(r, 1), adj(r, !r->want, 1), adj(r, r->want, 0));
}

/* What kinds of rows there are, and how many of a hundred. */
static const struct template {
	int weight;
	void (*put)(struct row *r);
} template_table[] = {
	{ 24, row_plain }, { 9, row_negated }, { 7, row_instead },
	{ 12, row_but }, { 8, row_although }, { 5, row_despite },
	{ 8, row_roles }, { 6, row_persuade }, { 5, row_speaker },
	{ 5, row_relative }, { 4, row_distant }, { 4, row_reported },
	{ 3, row_expected },
};

static const struct template *
draw_template(struct rng *rng)
{
	int left = (int)rng_below(rng, 100), i = 0;

	while (left >= template_table[i].weight)
		left -= template_table[i++].weight;
	return &template_table[i];
}

/* Sentences as people write them: a comma follows its word. */
static void
tidy(struct str *s)
{
	size_t i, n = 0;

	for (i = 0; i < s->n; i++) {
		if (s->s[i] == ' ' && s->s[i + 1] == ',')
			continue;
		s->s[n++] = s->s[i];
	}
	s->s[n] = '\0';
	s->n = n;
	str_add(s, ".");
}

/* ------------------------------------------------------------------ */
/* Rows that were made already, and words with their counts            */

struct count {
	char *text;
	int n;
};

struct bag {
	struct count *slot;
	size_t size, used;	/* size is a power of two */
};

/* The entry of text, made when it is new. */
static struct count *
bag_get(struct bag *b, const char *text)
{
	uint64_t i;
	size_t k;

	if (b->used * 2 >= b->size) {
		struct bag bigger = { NULL, b->size ? b->size * 2 : 1024, 0 };

		bigger.slot = xcalloc(bigger.size, sizeof(*bigger.slot));
		for (k = 0; k < b->size; k++)
			if (b->slot[k].text != NULL) {
				struct count *c = bag_get(&bigger,
				    b->slot[k].text);

				c->n = b->slot[k].n;
				free(b->slot[k].text);
			}
		free(b->slot);
		*b = bigger;
	}
	for (i = hash_text(text, 0);; i++) {
		struct count *c = &b->slot[i & (b->size - 1)];

		if (c->text == NULL) {
			c->text = xstrdup(text);
			b->used++;
			return c;
		}
		if (strcmp(c->text, text) == 0)
			return c;
	}
}

static void
bag_free(struct bag *b)
{
	size_t k;

	for (k = 0; k < b->size; k++)
		free(b->slot[k].text);
	free(b->slot);
}

/* Adds the words and marks of a sentence. */
static void
bag_add_words(struct bag *b, const char *s)
{
	while (*s != '\0') {
		size_t n = strcspn(s, " ,.");
		char *w = xstrndup(s, n);

		if (n > 0)
			bag_get(b, w)->n++;
		free(w);
		s += n;
		s += strspn(s, " ,.");
	}
}

static int
compare_counts(const void *a, const void *b)
{
	const struct count *x = a, *y = b;

	return x->n != y->n ? (x->n < y->n) - (x->n > y->n) :
	    strcmp(x->text, y->text);
}

/* Special tokens, marks, letters and endings (so that any text has pieces),
 * then every word that the training rows use often enough. */
static void
put_vocabulary(struct str *out, const struct bag *words)
{
	static const char *const fixed = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
	    ".\n,\n!\n?\n'\n-\n";
	static const char *const ending = "##ing\n##ed\n##ly\n##er\n##est\n"
	    "##ness\n##less\n##ful\n##ous\n##al\n##en\n##le\n##ty\n";
	struct count *c = xcalloc(words->used + 1, sizeof(*c));
	size_t n = 0, k;
	int i;

	str_add(out, fixed);
	for (i = 0; i < 36; i++)
		str_addf(out, "%c\n##%c\n", "abcdefghijklmnopqrstuvwxyz0123456789"
		    [i], "abcdefghijklmnopqrstuvwxyz0123456789"[i]);
	str_add(out, ending);
	for (k = 0; k < words->size; k++)
		if (words->slot[k].text != NULL)
			c[n++] = words->slot[k];
	qsort(c, n, sizeof(*c), compare_counts);
	for (k = 0; k < n; k++)
		if (c[k].n >= COMMON && c[k].text[1] != '\0')
			str_addf(out, "%s\n", c[k].text);
	free(c);
}

/* ------------------------------------------------------------------ */

/* Makes rows of one file until there are n, none of them seen before. */
static void
make_set(struct rng *rng, int n, struct bag *seen, struct bag *words,
    struct str *out)
{
	struct str s[2] = { STR_INIT, STR_INIT };
	struct row r;
	int made = 0, want;

	str_add(out, "sentence\tlabel\n");
	while (made < n) {
		const struct template *t = draw_template(rng);
		uint64_t seed = rng_next(rng);
		bool swap = rng_below(rng, 2);

		for (want = 0; want < 2; want++) {
			row_begin(&r, seed, want, &s[want]);
			t->put(&r);
			tidy(&s[want]);
		}
		if (bag_get(seen, s[0].s)->n++ || bag_get(seen, s[1].s)->n++)
			continue;
		for (want = 0; want < 2; want++, made++) {
			str_addf(out, "%s\t%s\n", s[want ^ swap].s,
			    want ^ swap ? "positive" : "negative");
			if (words != NULL)
				bag_add_words(words, s[want].s);
		}
	}
	str_free(&s[0]);
	str_free(&s[1]);
}

static bool
write_file(const char *dir, const char *name, const struct str *text)
{
	struct pare_err err;
	char *path = io_join(dir, name);
	enum pare_rc rc = io_write(path, text->s, text->n, &err);

	if (rc != PARE_OK)
		fprintf(stderr, "generate: %s\n", err.msg);
	free(path);
	return rc == PARE_OK;
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int n;
	} set[] = { { "reviews.train.tsv", TRAIN }, { "reviews.dev.tsv", DEV },
		{ "reviews.test.tsv", TEST } };
	struct bag seen = { NULL, 0, 0 }, words = { NULL, 0, 0 };
	struct str out = STR_INIT;
	struct pare_err err;
	struct rng rng;
	bool ok = true;
	char *dir;
	int i;

	if (argc != 2) {
		fprintf(stderr, "usage: generate FOLDER\n");
		return 2;
	}
	dir = io_join(argv[1], "reviews");
	if (io_make_dir(dir, &err) != PARE_OK) {
		fprintf(stderr, "generate: %s\n", err.msg);
		ok = false;
	}
	rng_seed(&rng, SEED);
	for (i = 0; i < 3 && ok; i++) {
		str_clear(&out);
		make_set(&rng, set[i].n, &seen, i == 0 ? &words : NULL, &out);
		ok = write_file(argv[1], set[i].name, &out);
	}
	if (ok) {
		str_clear(&out);
		put_vocabulary(&out, &words);
		ok = write_file(dir, "vocab.txt", &out);
	}
	free(dir);
	str_free(&out);
	bag_free(&seen);
	bag_free(&words);
	return ok ? 0 : 1;
}
