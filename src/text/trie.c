/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The edges of all nodes stand in one hash table keyed by (node, byte): a step
 * costs one probe however many children a node has. The table doubles when it is
 * three quarters full: strings that begin alike need far less than their bytes.
 */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_SLOTS = 64 };

enum pare_rc
trie_make(struct trie *t, size_t bytes, struct pare_err *err)
{
	memset(t, 0, sizeof(*t));
	if (bytes >= UINT32_MAX / 4)
		return err_set(err, PARE_EFORMAT,
		    "a vocabulary of %zu bytes is too large", bytes);
	t->edge = mem_big(FIRST_SLOTS, sizeof(*t->edge), err);
	t->value = mem_big(bytes + 1, sizeof(*t->value), err);
	if (t->edge == NULL || t->value == NULL) {
		trie_free(t);
		return PARE_ENOMEM;
	}
	memset(t->edge, 0xff, FIRST_SLOTS * sizeof(*t->edge));
	t->mask = FIRST_SLOTS - 1;
	t->max_nodes = (uint32_t)bytes + 1;
	t->nodes = 1;
	t->value[0] = -1;
	return PARE_OK;
}

void
trie_free(struct trie *t)
{
	free(t->edge);
	free(t->value);
	memset(t, 0, sizeof(*t));
}

/* The slot of an edge, or the free slot where it belongs. */
static size_t
find_slot(const struct trie *t, uint32_t from, unsigned char byte)
{
	const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = ((uint64_t)from << 8 | byte) * golden;
	size_t i = (size_t)(h >> 32) & t->mask;

	while (t->edge[i].from != TRIE_NONE &&
	    (t->edge[i].from != from || t->edge[i].byte != byte))
		i = (i + 1) & t->mask;
	return i;
}

static bool
grow(struct trie *t)
{
	struct trie old = *t;

	t->edge = mem_big(2 * (old.mask + 1), sizeof(*t->edge), NULL);
	if (t->edge == NULL) {
		t->edge = old.edge;
		return false;
	}
	t->mask = 2 * old.mask + 1;
	memset(t->edge, 0xff, (t->mask + 1) * sizeof(*t->edge));
	for (size_t i = 0; i <= old.mask; i++) {
		const struct trie_edge *e = &old.edge[i];

		if (e->from != TRIE_NONE)
			t->edge[find_slot(t, e->from,
			    (unsigned char)e->byte)] = *e;
	}
	free(old.edge);
	return true;
}

enum pare_rc
trie_check(const struct trie *t, struct pare_err *err)
{
	return !t->lost ? PARE_OK : err_set(err, PARE_ENOMEM,
	    "out of memory: a vocabulary of %u nodes", (unsigned)t->nodes);
}

static uint32_t
step(const struct trie *t, uint32_t from, char byte)
{
	const struct trie_edge *e;

	e = &t->edge[find_slot(t, from, (unsigned char)byte)];
	return e->from == TRIE_NONE ? TRIE_NONE : e->to;
}

void
trie_set(struct trie *t, const char *s, size_t n, int32_t value)
{
	uint32_t node = 0;

	if (t->lost)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t k = find_slot(t, node, (unsigned char)s[i]);

		if (t->edge[k].from == TRIE_NONE) {
			/* More than trie_make() was told of. */
			if (t->nodes == t->max_nodes)
				return;
			if (t->nodes > t->mask / 4 * 3) {
				t->lost = !grow(t);
				if (t->lost)
					return;
				k = find_slot(t, node, (unsigned char)s[i]);
			}
			t->edge[k] = (struct trie_edge){ node, t->nodes,
				(unsigned char)s[i] };
			t->value[t->nodes++] = -1;
		}
		node = t->edge[k].to;
	}
	t->value[node] = value;
}

uint32_t
trie_walk(const struct trie *t, uint32_t node, const char *s, size_t n)
{
	if (t->edge == NULL)
		return TRIE_NONE;
	for (size_t i = 0; i < n && node != TRIE_NONE; i++)
		node = step(t, node, s[i]);
	return node;
}

int32_t
trie_get(const struct trie *t, const char *s, size_t n)
{
	uint32_t node = trie_walk(t, 0, s, n);

	return node == TRIE_NONE ? -1 : t->value[node];
}

size_t
trie_longest(const struct trie *t, uint32_t node, const char *s, size_t n,
    int32_t *value)
{
	size_t best = 0;

	if (t->edge == NULL || node == TRIE_NONE)
		return 0;
	for (size_t i = 0; i < n; i++) {
		node = step(t, node, s[i]);
		if (node == TRIE_NONE)
			break;
		if (t->value[node] >= 0) {
			best = i + 1;
			*value = t->value[node];
		}
	}
	return best;
}
