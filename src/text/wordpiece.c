/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * WordPiece as BERT uses it: normalise (drop control characters, isolate
 * ideographs, strip accents, lower-case; in this order), cut into words at
 * white space and around punctuation, and each word greedily into the longest
 * pieces that the vocabulary has. A word with a gap is one [UNK].
 *
 * Everything is one pass over the text. Accents are stripped by canonical
 * decomposition (NFD) without its nonspacing marks; what remains of a run of
 * marks is put in the order of combining classes by a stable sort.
 */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BLOCK = 4096 };

/* Normalised text being written. */
struct writer {
	const struct tokenizer *t;
	struct uni_bytes *out;
	struct uni_bytes run;	/* of uint64_t: class, position, character */
	struct pare_err *err;
	enum pare_rc rc;
};

enum pare_rc
id_list_add(struct id_list *l, int32_t id, struct pare_err *err)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
		int32_t *v = mem_big(cap, sizeof(*v), err);

		if (v == NULL)
			return PARE_ENOMEM;
		if (l->n != 0)
			memcpy(v, l->v, l->n * sizeof(*v));
		free(l->v);
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = id;
	return PARE_OK;
}

/* ---- normaliser ---- */

static void
put_raw(struct writer *w, int32_t cp)
{
	if (w->rc == PARE_OK)
		w->rc = uni_reserve(w->out, 4, w->err);
	if (w->rc == PARE_OK)
		w->out->n += uni_encode(cp, w->out->p + w->out->n);
}

static void
put(struct writer *w, int32_t cp)
{
	int32_t lower[UNI_LOWER_MAX];
	int n;

	if (!w->t->lower) {
		put_raw(w, cp);
		return;
	}
	n = uni_lower(cp, lower);
	for (int i = 0; i < n; i++)
		put_raw(w, lower[i]);
}

static int
compare_marks(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* Writes the marks held back, in the order of their classes. */
static void
flush_run(struct writer *w)
{
	size_t n = w->run.n / sizeof(uint64_t);

	if (n == 0)
		return;
	qsort(w->run.p, n, sizeof(uint64_t), compare_marks);
	for (size_t i = 0; i < n; i++) {
		uint64_t v;

		memcpy(&v, w->run.p + i * sizeof(v), sizeof(v));
		put(w, (int32_t)(v & 0x1fffff));
	}
	w->run.n = 0;
}

static void
hold_mark(struct writer *w, int32_t cp, int class)
{
	uint64_t v = (uint64_t)class << 56 |
	    (uint64_t)(w->run.n / sizeof(v)) << 21 | (uint64_t)cp;

	if (w->rc == PARE_OK)
		w->rc = uni_reserve(&w->run, sizeof(v), w->err);
	if (w->rc != PARE_OK)
		return;
	memcpy(w->run.p + w->run.n, &v, sizeof(v));
	w->run.n += sizeof(v);
}

static void
put_decomposed(struct writer *w, int32_t cp)
{
	int32_t part[UNI_NFD_MAX];
	int n = uni_decompose(cp, part);

	for (int i = 0; i < n; i++) {
		int class = uni_combining_class(part[i]);

		if (class == 0)
			flush_run(w);
		if (uni_is_nonspacing(part[i]))
			continue;
		if (class == 0)
			put(w, part[i]);
		else
			hold_mark(w, part[i], class);
	}
}

static void
put_char(struct writer *w, int32_t cp)
{
	const struct tokenizer *t = w->t;
	bool isolate;

	if (t->clean) {
		bool space = uni_is_space(cp);

		if (cp == UNI_REPLACEMENT || (uni_is_control(cp) &&
		    cp != '\t' && cp != '\n' && cp != '\r'))
			return;
		if (space)
			cp = ' ';
	}
	isolate = t->ideographs && uni_is_ideograph(cp);
	if (isolate) {
		flush_run(w);
		put_raw(w, ' ');
	}
	if (t->strip)
		put_decomposed(w, cp);
	else
		put(w, cp);
	if (isolate) {
		flush_run(w);
		put_raw(w, ' ');
	}
}

/* Printable ASCII needs none of the tables. */
static size_t
put_ascii(struct writer *w, const char *s, size_t n)
{
	bool lower = w->t->lower;
	size_t i = 0;
	char *p;

	flush_run(w);
	if (n > BLOCK)
		n = BLOCK;
	if (w->rc == PARE_OK)
		w->rc = uni_reserve(w->out, n, w->err);
	if (w->rc != PARE_OK)
		return n;
	p = w->out->p + w->out->n;
	for (; i < n && s[i] >= ' ' && s[i] < 0x7f; i++)
		p[i] = lower && s[i] >= 'A' && s[i] <= 'Z'
		    ? (char)(s[i] | 0x20) : s[i];
	w->out->n += i;
	return i;
}

enum pare_rc
wordpiece_normalize(const struct tokenizer *t, const char *s, size_t n,
    struct uni_bytes *out, int *invalid, struct pare_err *err)
{
	struct writer w = { .t = t, .out = out, .err = err };

	for (size_t i = 0; i < n && w.rc == PARE_OK;) {
		int32_t cp;
		size_t k;

		if (s[i] >= ' ' && s[i] < 0x7f) {
			i += put_ascii(&w, s + i, n - i);
			continue;
		}
		k = uni_decode(s + i, n - i, &cp);
		if (cp < 0) {
			*invalid += (int)k;
			cp = UNI_REPLACEMENT;
		}
		put_char(&w, cp);
		i += k;
	}
	flush_run(&w);
	free(w.run.p);
	return w.rc;
}

/* ---- words and pieces ---- */

static enum pare_rc
cut_word(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	size_t before = out->n, chars = 0;
	uint32_t node = 0;

	for (size_t i = 0; i < n && chars <= (size_t)t->max_chars; i++)
		chars += (s[i] & 0xc0) != 0x80;
	if (chars > (size_t)t->max_chars)
		return id_list_add(out, t->unknown, err);
	while (n > 0) {
		int32_t id;
		size_t k = trie_longest(&t->trie, node, s, n, &id);

		if (k == 0) {
			out->n = before;
			return id_list_add(out, t->unknown, err);
		}
		if (id_list_add(out, id, err) != PARE_OK)
			return PARE_ENOMEM;
		s += k;
		n -= k;
		node = t->continued;
	}
	return PARE_OK;
}

enum pare_rc
wordpiece_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	size_t word = 0;

	for (size_t i = 0; i < n && rc == PARE_OK;) {
		int32_t cp;
		size_t k = uni_decode(s + i, n - i, &cp);
		bool space = cp >= 0 && uni_is_space(cp);
		bool alone = cp >= 0 && !space && uni_is_punctuation(cp);

		if ((space || alone) && i > word)
			rc = cut_word(t, s + word, i - word, out, err);
		if (alone && rc == PARE_OK)
			rc = cut_word(t, s + i, k, out, err);
		i += k;
		if (space || alone)
			word = i;
	}
	if (rc == PARE_OK && n > word)
		rc = cut_word(t, s + word, n - word, out, err);
	return rc;
}
