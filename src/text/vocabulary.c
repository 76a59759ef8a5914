/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct tokenizer *
vocabulary_new(int64_t max_pieces, size_t bytes, struct pare_err *err)
{
	struct tokenizer *t = xcalloc(1, sizeof(*t));

	atomic_init(&t->refs, 1);
	memcpy(t->mark, "##", 3);
	/* Every piece has a NUL behind it. */
	t->text_cap = bytes + (size_t)max_pieces;
	t->max_pieces = max_pieces;
	t->max_chars = 100;
	t->continued = TRIE_NONE;
	t->unknown = t->bos = t->eos = -1;
	memset(t->byte_id, 0xff, sizeof(t->byte_id));
	t->piece = mem_big_zero((size_t)max_pieces, sizeof(*t->piece), err);
	t->text = mem_big(t->text_cap, 1, err);
	if (t->piece == NULL || t->text == NULL ||
	    trie_make(&t->trie, bytes, err) != PARE_OK) {
		tokenizer_free(t);
		return NULL;
	}
	return t;
}

void
vocabulary_add(struct tokenizer *t, int32_t id, const char *s, size_t n)
{
	char *copy = t->text + t->text_n;

	if (id < 0 || id >= t->max_pieces || n + 1 > t->text_cap - t->text_n)
		return;
	memcpy(copy, s, n);
	copy[n] = '\0';
	t->text_n += n + 1;
	t->piece[id] = copy;
	if (id >= t->npieces)
		t->npieces = id + 1;
	trie_set(&t->trie, s, n, id);
}

int32_t
vocabulary_id(const struct tokenizer *t, const char *s)
{
	for (int i = 0; i < t->added.n; i++)
		if (strcmp(t->added.token[i].text, s) == 0)
			return t->added.token[i].id;
	return trie_get(&t->trie, s, strlen(s));
}

enum pare_rc
vocabulary_need(const struct tokenizer *t, const char *s, const char *where,
    int32_t *id, struct pare_err *err)
{
	*id = vocabulary_id(t, s);
	if (*id >= 0)
		return PARE_OK;
	return err_set(err, PARE_EFORMAT,
	    "%s: the special token '%.60s' is not in the vocabulary", where, s);
}

enum pare_rc
template_add(struct template *m, int sequence, int32_t id, int32_t type,
    const char *where, struct pare_err *err)
{
	if (m->n == TEMPLATE_MAX)
		return err_set(err, PARE_EFORMAT,
		    "%s: post_processor has more than %d parts", where,
		    TEMPLATE_MAX);
	m->part[m->n++] = (struct template_part){ sequence, id, type };
	m->specials += sequence < 0;
	return PARE_OK;
}

void
template_bert(struct tokenizer *t, int32_t cls, int32_t sep)
{
	t->single = (struct template){ .n = 3, .specials = 2, .part = {
		{ -1, cls, 0 }, { 0, 0, 0 }, { -1, sep, 0 } } };
	t->pair = (struct template){ .n = 5, .specials = 3, .part = {
		{ -1, cls, 0 }, { 0, 0, 0 }, { -1, sep, 0 }, { 1, 0, 1 },
		{ -1, sep, 1 } } };
}

void
template_roberta(struct tokenizer *t, int32_t cls, int32_t sep)
{
	template_bert(t, cls, sep);
	t->pair = (struct template){ .n = 6, .specials = 4, .part = {
		{ -1, cls, 0 }, { 0, 0, 0 }, { -1, sep, 0 }, { -1, sep, 0 },
		{ 1, 0, 0 }, { -1, sep, 0 } } };
}

void
template_bare(struct tokenizer *t)
{
	t->single = (struct template){ .n = 1, .part = { { 0, 0, 0 } } };
	t->pair = (struct template){ .n = 2,
		.part = { { 0, 0, 0 }, { 1, 0, 1 } } };
}

/* The same ids around each text of a pair. */
void
template_ends(struct tokenizer *t, int32_t bos, int32_t eos)
{
	struct template *m[2] = { &t->single, &t->pair };

	for (int k = 0; k < 2; k++) {
		*m[k] = (struct template){ .n = 0 };
		for (int i = 0; i <= k; i++) {
			if (bos >= 0) {
				m[k]->part[m[k]->n++] =
				    (struct template_part){ -1, bos, i };
				m[k]->specials++;
			}
			m[k]->part[m[k]->n++] =
			    (struct template_part){ i, 0, i };
			if (eos >= 0) {
				m[k]->part[m[k]->n++] =
				    (struct template_part){ -1, eos, i };
				m[k]->specials++;
			}
		}
	}
}
