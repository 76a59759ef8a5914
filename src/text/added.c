/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Added tokens: strings such as [MASK] that the text may hold literally. They
 * are matched leftmost-longest; the text between two of them goes through the
 * normaliser and the model.
 */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	MAX_ADDED_BYTES = 512,
	MAX_ADDED = 10000
};

enum pare_rc
added_add(struct tokenizer *t, const struct added_token *a, const char *where,
    struct pare_err *err)
{
	struct added_set *s = &t->added;
	int32_t old = trie_get(&t->trie, a->text, a->n);

	if (a->n == 0 || a->n > MAX_ADDED_BYTES)
		return err_set(err, PARE_EFORMAT,
		    "%s: added token %d is %zu bytes long; allowed are 1 to %d",
		    where, (int)a->id, a->n, MAX_ADDED_BYTES);
	if (old >= 0 && old != a->id)
		return err_set(err, PARE_EFORMAT, "%s: added token '%.60s' has"
		    " id %d, but %d in the vocabulary", where, a->text,
		    (int)a->id, (int)old);
	if (old < 0 && tokenizer_piece(t, a->id) != NULL &&
	    strcmp(tokenizer_piece(t, a->id), a->text) != 0)
		return err_set(err, PARE_EFORMAT, "%s: added token '%.60s' has"
		    " the id %d of '%.60s'", where, a->text, (int)a->id,
		    tokenizer_piece(t, a->id));
	for (int i = 0; i < s->n; i++) {
		bool same_id = s->token[i].id == a->id;
		bool same_text = strcmp(s->token[i].text, a->text) == 0;

		if (same_id && same_text)
			return PARE_OK;
		if (same_id || same_text)
			return err_set(err, PARE_EFORMAT,
			    "%s: added token '%.60s' (id %d) contradicts"
			    " '%.60s' (id %d)", where, a->text, (int)a->id,
			    s->token[i].text, (int)s->token[i].id);
	}
	if (s->n == MAX_ADDED)
		return err_set(err, PARE_EFORMAT,
		    "%s: more than %d added tokens", where, MAX_ADDED);
	if ((s->n & (s->n - 1)) == 0)
		s->token = xrealloc(s->token,
		    (s->n == 0 ? 1 : 2 * (size_t)s->n) * sizeof(*s->token));
	s->token[s->n] = *a;
	s->token[s->n].find = NULL;
	s->token[s->n++].text = xstrndup(a->text, a->n);
	return PARE_OK;
}

/* Tokens that are looked for in normalised text are normalised themselves. */
static enum pare_rc
make_find(const struct tokenizer *t, struct added_token *a,
    struct pare_err *err)
{
	struct uni_bytes b = { 0 };
	enum pare_rc rc = PARE_OK;
	int invalid = 0;

	if (!a->normalized) {
		a->find = xstrndup(a->text, a->n);
		a->find_n = a->n;
		return PARE_OK;
	}
	rc = vocabulary_normalize(t, a->text, a->n, &b, &invalid, err);
	if (rc == PARE_OK) {
		a->find = xstrndup(b.n != 0 ? b.p : "", b.n);
		a->find_n = b.n;
	}
	free(b.p);
	return rc;
}

enum pare_rc
added_finish(struct tokenizer *t, struct pare_err *err)
{
	struct added_set *s = &t->added;
	size_t bytes[2] = { 0 };
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < s->n && rc == PARE_OK; i++) {
		rc = make_find(t, &s->token[i], err);
		bytes[s->token[i].normalized] += s->token[i].find_n;
	}
	for (int k = 0; k < 2 && rc == PARE_OK; k++)
		if (bytes[k] != 0)
			rc = trie_make(&s->trie[k], bytes[k], err);
	for (int i = 0; i < s->n && rc == PARE_OK; i++) {
		const struct added_token *a = &s->token[i];

		if (a->find_n == 0)
			continue;
		trie_set(&s->trie[a->normalized], a->find, a->find_n, i);
		s->first[a->normalized][(unsigned char)a->find[0]] = true;
	}
	for (int k = 0; k < 2 && rc == PARE_OK; k++)
		rc = trie_check(&s->trie[k], err);
	return rc;
}

void
added_free(struct added_set *s)
{
	for (int i = 0; i < s->n; i++) {
		free(s->token[i].text);
		free(s->token[i].find);
	}
	free(s->token);
	trie_free(&s->trie[0]);
	trie_free(&s->trie[1]);
	memset(s, 0, sizeof(*s));
}

/* The character before position i; -1 at the beginning. */
static int32_t
char_before(const char *text, size_t i)
{
	size_t k = i;
	int32_t cp = -1;

	if (i == 0)
		return -1;
	do
		k--;
	while (k > 0 && i - k < 4 && (text[k] & 0xc0) == 0x80);
	uni_decode(text + k, i - k, &cp);
	return cp;
}

static int32_t
char_after(const char *text, size_t n, size_t i)
{
	int32_t cp = -1;

	if (i < n)
		uni_decode(text + i, n - i, &cp);
	return cp;
}

static bool
stands_alone(const char *text, size_t n, size_t begin, size_t end)
{
	int32_t before = char_before(text, begin);
	int32_t after = char_after(text, n, end);

	return (before < 0 || !uni_is_word(before)) &&
	    (after < 0 || !uni_is_word(after));
}

static void
swallow_spaces(const struct added_token *a, const char *text, size_t n,
    size_t from, struct added_match *m)
{
	int32_t cp;

	if (a->lstrip)
		m->begin = from + uni_trim_end(text + from, m->begin - from);
	while (a->rstrip && m->end < n) {
		size_t k = uni_decode(text + m->end, n - m->end, &cp);

		if (cp < 0 || !uni_is_space(cp))
			break;
		m->end += k;
	}
}

bool
added_find(const struct added_set *s, bool normalized, const char *text,
    size_t n, size_t from, struct added_match *out)
{
	const struct trie *trie = &s->trie[normalized];
	int32_t index = -1;

	if (trie->edge == NULL)
		return false;
	for (size_t i = from; i < n;) {
		const struct added_token *a;
		size_t k;

		if (!s->first[normalized][(unsigned char)text[i]] ||
		    (k = trie_longest(trie, 0, text + i, n - i, &index)) == 0) {
			i++;
			continue;
		}
		a = &s->token[index];
		if (!a->single_word || stands_alone(text, n, i, i + k)) {
			*out = (struct added_match){ i, i + k, a->id };
			swallow_spaces(a, text, n, from, out);
			return true;
		}
		i += k;
	}
	return false;
}
