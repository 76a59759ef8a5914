/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Byte-pair encoding: begin with characters, and join the best pair of
 * neighbours until no pair is left that could be joined. Best is the pair whose
 * merge was learnt first (lowest rank), or in SentencePiece's files the one whose
 * result has the highest score; the leftmost of equals.
 *
 * Candidates wait in a heap; one whose symbols were joined otherwise meanwhile
 * is recognised by their lengths and dropped. A word of n characters costs
 * n log n, however long it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/vocabulary.h"

/* ---- merges ---------------------------------------------------------- */

struct merge {
	int32_t left, right;	/* left -1: a free place */
	int32_t rank, made;
};

struct merges {
	struct merge *slot;
	size_t mask;
	int32_t n;
};

struct merges *
merges_new(size_t pairs, struct pare_err *err)
{
	struct merges *m = xcalloc(1, sizeof(*m));
	size_t slots = 64;

	while (slots < 2 * pairs)
		slots *= 2;
	m->slot = mem_big(slots, sizeof(*m->slot), err);
	if (m->slot == NULL) {
		free(m);
		return NULL;
	}
	memset(m->slot, 0xff, slots * sizeof(*m->slot));
	m->mask = slots - 1;
	return m;
}

void
merges_free(struct merges *m)
{
	if (m != NULL)
		free(m->slot);
	free(m);
}

static struct merge *
find_merge(const struct merges *m, int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) *
	    UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 32) & m->mask;

	while (m->slot[i].left >= 0 && (m->slot[i].left != left ||
	    m->slot[i].right != right))
		i = (i + 1) & m->mask;
	return &m->slot[i];
}

void
merges_add(struct merges *m, int32_t left, int32_t right, int32_t made)
{
	struct merge *e;

	if ((size_t)m->n >= m->mask)
		return;
	e = find_merge(m, left, right);
	*e = (struct merge){ left, right, m->n++, made };
}

int32_t
merges_count(const struct merges *m)
{
	return m != NULL ? m->n : 0;
}

void
merges_list(const struct merges *m, struct merge_pair *out)
{
	for (int32_t i = 0; i < merges_count(m); i++)
		out[i] = (struct merge_pair){ -1, -1, -1 };
	for (size_t i = 0; m != NULL && i <= m->mask; i++)
		if (m->slot[i].left >= 0)
			out[m->slot[i].rank] = (struct merge_pair){
			    m->slot[i].left, m->slot[i].right,
			    m->slot[i].made };
}

/* ---- a word being joined --------------------------------------------- */

struct symbol {
	size_t begin, n;	/* n 0: joined to the one before */
	int32_t id;		/* -1: no piece */
	int32_t prev, next;	/* -1: none */
};

struct candidate {
	double order;		/* the smallest is joined first */
	int32_t left, right;
	size_t n;		/* of both together */
	int32_t made;
};

struct word {
	const struct tokenizer *t;
	const char *s;
	struct symbol *symbol;
	int32_t n;
	struct candidate *heap;
	size_t nheap;
	int32_t last[2];	/* what the last join put together */
};

static bool
before(const struct candidate *a, const struct candidate *b)
{
	return a->order != b->order ? a->order < b->order : a->left < b->left;
}

static void
push(struct word *w, struct candidate c)
{
	size_t i = w->nheap++;

	for (; i > 0 && before(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = c;
}

static struct candidate
pop(struct word *w)
{
	struct candidate top = w->heap[0], last = w->heap[--w->nheap];
	size_t i = 0, k;

	while ((k = 2 * i + 1) < w->nheap) {
		if (k + 1 < w->nheap && before(&w->heap[k + 1], &w->heap[k]))
			k++;
		if (!before(&w->heap[k], &last))
			break;
		w->heap[i] = w->heap[k];
		i = k;
	}
	w->heap[i] = last;
	return top;
}

/* Puts the pair into the heap if it can be joined. */
static void
consider(struct word *w, int32_t left, int32_t right)
{
	struct candidate c = { .left = left, .right = right };
	const struct symbol *a, *b;

	if (left < 0 || right < 0)
		return;
	a = &w->symbol[left];
	b = &w->symbol[right];
	c.n = a->n + b->n;
	if (w->t->model == TOKENS_RANKS) {
		const struct merge *m;

		if (a->id < 0 || b->id < 0)
			return;
		m = find_merge(w->t->merges, a->id, b->id);
		if (m->left < 0)
			return;
		c.order = m->rank;
		c.made = m->made;
	} else {
		c.made = trie_get(&w->t->trie, w->s + a->begin, c.n);
		if (c.made < 0)
			return;
		c.order = -(double)w->t->score[c.made];
	}
	push(w, c);
}

static void
join(struct word *w, const struct candidate *c)
{
	struct symbol *a = &w->symbol[c->left], *b = &w->symbol[c->right];

	w->last[0] = a->id;
	w->last[1] = b->id;
	a->n = c->n;
	a->id = c->made;
	a->next = b->next;
	if (b->next >= 0)
		w->symbol[b->next].prev = c->left;
	b->n = 0;
	consider(w, a->prev, c->left);
	consider(w, c->left, a->next);
}

static void
join_all(struct word *w)
{
	for (int32_t i = 0; i + 1 < w->n; i++)
		consider(w, i, i + 1);
	while (w->nheap > 0) {
		struct candidate c = pop(w);
		const struct symbol *a = &w->symbol[c.left];

		if (a->n > 0 && a->next == c.right &&
		    a->n + w->symbol[c.right].n == c.n)
			join(w, &c);
	}
}

/* One symbol a character. */
static void
begin_symbols(struct word *w, size_t n)
{
	for (size_t i = 0, k; i < n; i += k) {
		struct symbol *s = &w->symbol[w->n];
		int32_t cp;

		k = uni_decode(w->s + i, n - i, &cp);
		*s = (struct symbol){ i, k, trie_get(&w->t->trie, w->s + i, k),
			w->n - 1, i + k < n ? w->n + 1 : -1 };
		w->n++;
	}
}

enum pare_rc
unknown_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	bool bytes = t->byte_fallback;

	for (size_t i = 0; bytes && i < n; i++)
		bytes = t->byte_id[(unsigned char)s[i]] >= 0;
	for (size_t i = 0; bytes && i < n && rc == PARE_OK; i++)
		rc = id_list_add(out, t->byte_id[(unsigned char)s[i]], err);
	if (bytes || t->unknown < 0)
		return rc;
	if (t->fuse_unknown && out->last_unknown && out->n > 0)
		return PARE_OK;
	rc = id_list_add(out, t->unknown, err);
	out->last_unknown = true;
	return rc;
}

static enum pare_rc
put_symbols(const struct word *w, struct id_list *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	out->last_unknown = false;
	for (int32_t i = 0; i >= 0 && rc == PARE_OK; i = w->symbol[i].next) {
		const struct symbol *s = &w->symbol[i];

		if (s->id < 0) {
			rc = unknown_cut(w->t, w->s + s->begin, s->n, out,
			    err);
			continue;
		}
		out->last_unknown = false;
		rc = id_list_add(out, s->id, err);
	}
	return rc;
}

/* Room for the symbols of n bytes; each join takes one candidate away and adds
 * two. */
static enum pare_rc
word_open(struct word *w, size_t n, struct pare_err *err)
{
	w->symbol = mem_big(n, sizeof(*w->symbol), err);
	w->heap = w->symbol == NULL ? NULL :
	    mem_big(3 * n, sizeof(*w->heap), err);
	return w->heap != NULL ? PARE_OK : PARE_ENOMEM;
}

static void
word_close(struct word *w)
{
	free(w->symbol);
	free(w->heap);
}

bool
bpe_parents(const struct tokenizer *t, const char *s, size_t n,
    int32_t out[2])
{
	struct word w = { .t = t, .s = s };
	bool whole = false;

	if (n > 1 && n < INT32_MAX / 4 && word_open(&w, n, NULL) == PARE_OK) {
		begin_symbols(&w, n);
		join_all(&w);
		whole = w.n > 1 && w.symbol[0].n == n && w.last[0] >= 0 &&
		    w.last[1] >= 0;
		memcpy(out, w.last, sizeof(w.last));
	}
	word_close(&w);
	return whole;
}

enum pare_rc
bpe_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	struct word w = { .t = t, .s = s };
	enum pare_rc rc;
	int32_t whole;

	if (n == 0)
		return PARE_OK;
	if (n >= INT32_MAX / 4)
		return err_set(err, PARE_EUSER, "a word of %zu bytes is too "
		    "long to cut", n);
	whole = t->ignore_merges ? trie_get(&t->trie, s, n) : -1;
	if (whole >= 0)
		return id_list_add(out, whole, err);
	rc = word_open(&w, n, err);
	if (rc == PARE_OK) {
		begin_symbols(&w, n);
		join_all(&w);
		rc = put_symbols(&w, out, err);
	}
	word_close(&w);
	return rc;
}

void
vocabulary_find_bytes(struct tokenizer *t)
{
	char name[8];

	for (int b = 0; b < 256; b++) {
		snprintf(name, sizeof(name), "<0x%02X>", (unsigned)b);
		t->byte_id[b] = trie_get(&t->trie, name, 6);
	}
}
