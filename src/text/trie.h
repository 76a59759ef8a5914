/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * trie: a set of byte strings, each with a number, for longest-prefix matching.
 */
#ifndef PARE_TEXT_TRIE_H
#define PARE_TEXT_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct trie_edge {
	uint32_t from;		/* node; TRIE_NONE: a free slot */
	uint32_t to;
	uint32_t byte;
};

/* All zero is a trie not made yet; node 0 is its root. */
struct trie {
	struct trie_edge *edge;	/* open addressing, mask + 1 slots */
	size_t mask;
	int32_t *value;		/* per node; -1: no string ends here */
	uint32_t nodes, max_nodes;
	bool lost;		/* memory was short: strings are missing */
};

#define TRIE_NONE UINT32_MAX

/* Room for strings of `bytes` bytes altogether. */
enum pare_rc trie_make(struct trie *t, size_t bytes, struct pare_err *err);
void trie_free(struct trie *t);
/* A string given again has the last value. trie_check() says PARE_ENOMEM when
 * memory was short for any since trie_make(). */
void trie_set(struct trie *t, const char *s, size_t n, int32_t value);
enum pare_rc trie_check(const struct trie *t, struct pare_err *err);
/* The value of a string, or -1. */
int32_t trie_get(const struct trie *t, const char *s, size_t n);
/* The node after s, or TRIE_NONE. */
uint32_t trie_walk(const struct trie *t, uint32_t node, const char *s,
    size_t n);
/* Length of the longest string from node on that begins s, its value in *value;
 * 0 when there is none. */
size_t trie_longest(const struct trie *t, uint32_t node, const char *s,
    size_t n, int32_t *value);

#endif
