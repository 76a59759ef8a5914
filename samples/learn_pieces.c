/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * learn_pieces: makes a tokenizer.json of byte-level BPE from a text.
 *
 * The text is cut into words as GPT-2's pattern does for plain English: letters,
 * digits or signs, each with the blank before it. Every byte is a piece; then the
 * pair of neighbours that the words have most often becomes a piece of its own
 * (of equals the one with the smaller numbers), again and again, until there are
 * enough. Pieces are spelled in GPT-2's alphabet, which has a visible character
 * for each byte. Piece 0 stands for the end of a text.
 *
 * usage: learn_pieces TEXT PIECES OUT.json
 */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

enum { BYTES = 256, PIECES_MAX = 4096, TEXT_MAX = 1 << 28, SLOTS = 1 << 16,
	WORDS_MAX = SLOTS / 2 };

static const char end_of_text[] = "<|endoftext|>";

/* A word of the text: what it is cut into now, and how often it comes. */
struct word {
	const char *text;
	size_t length;
	int64_t count;
	int n, *piece;		/* owned */
};

struct learner {
	struct word *word;
	int nwords, slot[SLOTS];	/* slot: 1 + a word; 0: free */
	int pieces, wanted;
	char *spelled[PIECES_MAX];	/* owned */
	int merge[PIECES_MAX][2];	/* of piece i, from BYTES + 1 on */
	int64_t *pairs;			/* (wanted, wanted) */
};

/* ==== words ==== */

static int
class_of(char c)
{
	unsigned char u = (unsigned char)c;

	return isalpha(u) ? 1 : isdigit(u) ? 2 : isspace(u) ? 3 : 4;
}

/* The length of the word that begins at s. */
static size_t
word_length(const char *s, size_t n)
{
	size_t i = 0;
	int kind;

	if (n > 1 && s[0] == '\'' && s[1] == 's')
		return 2;
	if (s[0] == ' ' && n > 1 && class_of(s[1]) != 3)
		i = 1;
	kind = class_of(s[i]);
	while (i < n && class_of(s[i]) == kind)
		i++;
	return i;
}

static bool
count_word(struct learner *l, const char *s, size_t n)
{
	size_t at = (size_t)hash_bytes(s, n, 0) % SLOTS;
	struct word *w;

	for (; l->slot[at] > 0; at = (at + 1) % SLOTS) {
		w = &l->word[l->slot[at] - 1];
		if (w->length == n && memcmp(w->text, s, n) == 0) {
			w->count++;
			return true;
		}
	}
	if (l->nwords == WORDS_MAX)
		return false;
	w = &l->word[l->nwords++];
	l->slot[at] = l->nwords;
	*w = (struct word){ s, n, 1, (int)n, xcalloc(n, sizeof(int)) };
	for (size_t i = 0; i < n; i++)
		w->piece[i] = 1 + (unsigned char)s[i];
	return true;
}

/* ==== pieces ==== */

/* GPT-2's alphabet: bytes that print are themselves, the others follow each other
 * from 256 on. */
static int
letter_of(int byte)
{
	int others = 0;

	for (int b = 0; b < BYTES; b++) {
		bool prints = (b > ' ' && b < 127) || (b > 160 && b != 173);

		if (b == byte)
			return prints ? b : BYTES + others;
		others += !prints;
	}
	return 0;
}

static void
spell_bytes(struct learner *l)
{
	l->spelled[0] = xstrdup(end_of_text);
	for (int b = 0; b < BYTES; b++) {
		int c = letter_of(b);
		char s[3] = { (char)c };

		if (c >= 128) {
			s[0] = (char)(0xc0 | c >> 6);
			s[1] = (char)(0x80 | (c & 63));
		}
		l->spelled[1 + b] = xstrdup(s);
	}
	l->pieces = 1 + BYTES;
}

static void
count_pairs(struct learner *l)
{
	memset(l->pairs, 0, (size_t)l->wanted * (size_t)l->wanted *
	    sizeof(*l->pairs));
	for (int i = 0; i < l->nwords; i++) {
		const struct word *w = &l->word[i];

		for (int k = 0; k + 1 < w->n; k++)
			l->pairs[w->piece[k] * l->wanted + w->piece[k + 1]] +=
			    w->count;
	}
}

static void
join(struct word *w, int left, int right, int made)
{
	int n = 0;

	for (int k = 0; k < w->n; k++)
		if (k + 1 < w->n && w->piece[k] == left &&
		    w->piece[k + 1] == right) {
			w->piece[n++] = made;
			k++;
		} else {
			w->piece[n++] = w->piece[k];
		}
	w->n = n;
}

/* Makes the most frequent pair a piece; false when none comes twice. */
static bool
learn_one(struct learner *l)
{
	const int all = l->wanted * l->wanted;
	int best = 0, made = l->pieces;

	count_pairs(l);
	for (int i = 1; i < all; i++)
		if (l->pairs[i] > l->pairs[best])
			best = i;
	if (l->pairs[best] < 2)
		return false;
	l->merge[made][0] = best / l->wanted;
	l->merge[made][1] = best % l->wanted;
	l->spelled[made] = str_format("%s%s", l->spelled[best / l->wanted],
	    l->spelled[best % l->wanted]);
	l->pieces++;
	for (int i = 0; i < l->nwords; i++)
		join(&l->word[i], best / l->wanted, best % l->wanted, made);
	return true;
}

/* ==== the file ==== */

static json_t *
byte_level(void)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
	    "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1);
}

static json_t *
tokenizer(const struct learner *l)
{
	json_t *vocab = json_object(), *merges = json_array();

	for (int i = 0; i < l->pieces; i++)
		json_object_set_new(vocab, l->spelled[i], json_integer(i));
	for (int i = 1 + BYTES; i < l->pieces; i++)
		json_array_append_new(merges, json_pack("[s, s]",
		    l->spelled[l->merge[i][0]], l->spelled[l->merge[i][1]]));
	return json_pack("{s:s, s:n, s:n, s:[{s:i, s:s, s:b, s:b, s:b, s:b, "
	    "s:b}], s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:s, s:s, s:b, s:b, "
	    "s:b, s:o, s:o}}", "version", "1.0", "truncation", "padding",
	    "added_tokens", "id", 0, "content", end_of_text, "single_word", 0,
	    "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1,
	    "normalizer", "pre_tokenizer", byte_level(), "post_processor",
	    byte_level(), "decoder", byte_level(), "model", "type", "BPE",
	    "dropout", "unk_token", "continuing_subword_prefix", "",
	    "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0,
	    "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

static bool
write_file(const struct learner *l, const char *path)
{
	json_t *all = tokenizer(l);
	char *text = json_dumps(all, JSON_INDENT(1));
	struct pare_err err = { .msg = "out of memory" };
	bool fine = text != NULL && io_write(path, text, strlen(text), &err) ==
	    PARE_OK;

	if (!fine)
		fprintf(stderr, "learn_pieces: %s: %s\n", path, err.msg);
	free(text);
	json_decref(all);
	return fine;
}

static bool
learn(struct learner *l, const char *text, size_t n)
{
	for (size_t at = 0, k; at < n; at += k) {
		k = word_length(text + at, n - at);
		if (!count_word(l, text + at, k)) {
			fprintf(stderr, "learn_pieces: more than %d words\n",
			    WORDS_MAX);
			return false;
		}
	}
	spell_bytes(l);
	while (l->pieces < l->wanted && learn_one(l))
		;
	return true;
}

static void
learner_free(struct learner *l)
{
	for (int i = 0; i < l->nwords; i++)
		free(l->word[i].piece);
	for (int i = 0; i < l->pieces; i++)
		free(l->spelled[i]);
	free(l->word);
	free(l->pairs);
	free(l);
}

int
main(int argc, char **argv)
{
	int64_t wanted = 0;
	struct pare_err err;
	struct learner *l;
	char *text;
	size_t n;
	bool fine;

	if (argc != 4 || !str_to_int(argv[2], &wanted) || wanted <= BYTES ||
	    wanted > PIECES_MAX) {
		fprintf(stderr, "usage: learn_pieces TEXT PIECES OUT.json "
		    "(%d to %d pieces)\n", BYTES + 1, PIECES_MAX);
		return 2;
	}
	if (io_read(argv[1], TEXT_MAX, &text, &n, &err) != PARE_OK) {
		fprintf(stderr, "learn_pieces: %s\n", err.msg);
		return 3;
	}
	l = xcalloc(1, sizeof(*l));
	l->wanted = (int)wanted;
	l->word = xcalloc(WORDS_MAX, sizeof(*l->word));
	l->pairs = xcalloc((size_t)(wanted * wanted), sizeof(*l->pairs));
	fine = learn(l, text, n) && write_file(l, argv[3]);
	if (fine)
		printf("%d pieces from %d words\n", l->pieces, l->nwords);
	learner_free(l);
	free(text);
	return fine ? 0 : 1;
}
