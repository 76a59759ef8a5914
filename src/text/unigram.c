/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Unigram: the cut into pieces whose scores, logarithms of probabilities, have
 * the largest sum, by dynamic programming over the positions of the word
 * (Viterbi). A character that no piece begins with costs ten more than the
 * lowest score.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/vocabulary.h"

/* The best way to a position. */
struct path {
	double score;
	size_t from;
	int32_t id;		/* of the piece that ends here; -1: unknown */
	bool reached;
};

static void
offer(struct path *to, double score, size_t from, int32_t id)
{
	if (!to->reached || score > to->score)
		*to = (struct path){ score, from, id, true };
}

/* All pieces that begin at position i. */
static void
step(const struct tokenizer *t, const char *s, size_t n, size_t i,
    struct path *path)
{
	uint32_t node = 0;
	bool single = false;
	int32_t cp;
	size_t k = uni_decode(s + i, n - i, &cp);

	for (size_t end = i; end < n; end++) {
		node = trie_walk(&t->trie, node, s + end, 1);
		if (node == TRIE_NONE)
			break;
		if (t->trie.value[node] < 0)
			continue;
		offer(&path[end + 1], path[i].score +
		    (double)t->score[t->trie.value[node]], i,
		    t->trie.value[node]);
		single = single || end + 1 == i + k;
	}
	if (!single)
		offer(&path[i + k], path[i].score + (double)t->lowest - 10.0,
		    i, -1);
}

/* The pieces on the best way, which is known from its end: the links are turned
 * round first, path[i].from becoming where the piece that begins at i ends. */
static enum pare_rc
put_path(const struct tokenizer *t, const char *s, size_t n,
    struct path *path, struct id_list *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (size_t at = n, end = n; at > 0;) {
		size_t from = path[at].from;

		path[at].from = end;
		end = at;
		at = from;
		if (at == 0)
			path[0].from = end;
	}
	out->last_unknown = false;
	for (size_t at = 0, end; at < n && rc == PARE_OK; at = end) {
		end = path[at].from;
		if (path[end].id < 0) {
			rc = unknown_cut(t, s + at, end - at, out, err);
			continue;
		}
		out->last_unknown = false;
		rc = id_list_add(out, path[end].id, err);
	}
	return rc;
}

enum pare_rc
unigram_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	struct path *path;
	enum pare_rc rc;

	if (n == 0)
		return PARE_OK;
	path = mem_big_zero(n + 1, sizeof(*path), err);
	if (path == NULL)
		return PARE_ENOMEM;
	path[0].reached = true;
	for (size_t i = 0; i < n; i++)
		if (path[i].reached)
			step(t, s, n, i, path);
	rc = put_path(t, s, n, path, out, err);
	free(path);
	return rc;
}
