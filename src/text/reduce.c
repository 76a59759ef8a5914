/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/reduce.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/vocabulary.h"

/* ---- what has to stay ------------------------------------------------ */

static void
need(struct token_needs *n, int64_t id)
{
	if (id >= 0 && id < n->n)
		n->always[id] = true;
}

static void
need_template(struct token_needs *n, const struct template *m)
{
	for (int i = 0; i < m->n; i++)
		if (m->part[i].sequence < 0)
			need(n, m->part[i].id);
}

/* One character, alone or as a continuation. */
static bool
is_character(const struct tokenizer *t, const char *s)
{
	size_t mark = strlen(t->mark), n = strlen(s);
	int32_t cp;

	if (t->model == TOKENS_WORDPIECE && n > mark &&
	    strncmp(s, t->mark, mark) == 0) {
		s += mark;
		n -= mark;
	}
	return n > 0 && uni_decode(s, n, &cp) == n;
}

static void
need_lowest(struct token_needs *n, const struct tokenizer *t)
{
	int64_t i = 0;

	if (t->model != TOKENS_UNIGRAM)
		return;
	while (i < t->npieces && (t->piece[i] == NULL ||
	    t->score[i] > t->lowest))
		i++;
	need(n, i);
}

/* The parents of piece i; false where no text is cut into it, for its own text is
 * joined otherwise. */
static bool
find_parents(const struct tokenizer *t, int64_t i, int32_t out[2])
{
	const char *s = t->piece[i];
	size_t n = strlen(s);

	out[0] = out[1] = -1;
	if (trie_get(&t->trie, s, n) != i)
		return false;
	if (t->model != TOKENS_RANKS && t->model != TOKENS_SCORES)
		return true;
	if (bpe_parents(t, s, n, out))
		return true;
	out[0] = out[1] = -1;
	return t->ignore_merges || is_character(t, s);
}

static void
find_pieces(struct token_needs *n, const struct tokenizer *t)
{
	int32_t same;

	for (int64_t i = 0; i < n->n; i++) {
		n->parent[i][0] = n->parent[i][1] = -1;
		if (i >= t->npieces || t->piece[i] == NULL)
			continue;
		n->piece[i] = find_parents(t, i, n->parent[i]);
		if (is_character(t, t->piece[i]))
			n->always[i] = true;
		/* Of a text given twice the last id holds; without it the
		 * first would. */
		same = trie_get(&t->trie, t->piece[i], strlen(t->piece[i]));
		if (same != i)
			need(n, same);
	}
}

enum pare_rc
token_needs_find(const struct tokenizer *t, int64_t rows,
    struct token_needs *out, struct pare_err *err)
{
	size_t n = (size_t)rows;

	*out = (struct token_needs){ .n = rows };
	out->piece = mem_big_zero(n, sizeof(*out->piece), err);
	if (out->piece != NULL)
		out->always = mem_big_zero(n, sizeof(*out->always), err);
	if (out->always != NULL)
		out->parent = mem_big(n, sizeof(*out->parent), err);
	if (out->parent == NULL) {
		token_needs_free(out);
		return PARE_ENOMEM;
	}
	find_pieces(out, t);
	need(out, t->unknown);
	need(out, t->bos);
	need(out, t->eos);
	need_template(out, &t->single);
	need_template(out, &t->pair);
	need_lowest(out, t);
	for (int b = 0; t->byte_fallback && b < 256; b++)
		need(out, t->byte_id[b]);
	for (int i = 0; i < t->added.n; i++) {
		int32_t id = t->added.token[i].id;

		need(out, id);
		if (id < rows)
			out->piece[id] = true;
	}
	return PARE_OK;
}

void
token_needs_free(struct token_needs *n)
{
	free(n->piece);
	free(n->always);
	free(n->parent);
	memset(n, 0, sizeof(*n));
}

/* ---- a smaller tokenizer --------------------------------------------- */

struct reducing {
	const struct tokenizer *from;
	struct tokenizer *t;
	const int32_t *id;
	int64_t n;
	int32_t *present;	/* by old id; -1: it went */
	int64_t old;		/* ids there were */
	struct pare_err *err;
};

static int32_t
present(const struct reducing *r, int32_t id)
{
	return id >= 0 && id < r->old ? r->present[id] : -1;
}

static enum pare_rc
missing(const struct reducing *r, int32_t id)
{
	const char *s = tokenizer_piece(r->from, id);

	return err_set(r->err, PARE_EUSER, "the special token '%.60s' cannot "
	    "go", s != NULL ? s : "?");
}

static enum pare_rc
put_pieces(struct reducing *r)
{
	const struct tokenizer *from = r->from;
	size_t bytes = 1;

	for (int64_t i = 0; i < r->n; i++)
		if (r->id[i] < from->npieces && from->piece[r->id[i]] != NULL)
			bytes += strlen(from->piece[r->id[i]]);
	for (int i = 0; i < from->added.n; i++)
		bytes += from->added.token[i].n;
	r->t = vocabulary_new(r->n, bytes, r->err);
	if (r->t == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < r->n; i++) {
		const char *s = r->id[i] < from->npieces ?
		    from->piece[r->id[i]] : NULL;

		if (s != NULL)
			vocabulary_add(r->t, (int32_t)i, s, strlen(s));
	}
	/* A file may give one id to two texts. */
	for (int i = 0; i < from->added.n; i++) {
		const struct added_token *a = &from->added.token[i];

		if (trie_get(&from->trie, a->text, a->n) == a->id &&
		    present(r, a->id) >= 0)
			trie_set(&r->t->trie, a->text, a->n,
			    present(r, a->id));
	}
	return PARE_OK;
}

static void
put_settings(struct reducing *r)
{
	const struct tokenizer *from = r->from;
	struct tokenizer *t = r->t;

	t->model = from->model;
	t->unknown = present(r, from->unknown);
	t->bos = present(r, from->bos);
	t->eos = present(r, from->eos);
	t->max_chars = from->max_chars;
	t->clean = from->clean;
	t->ideographs = from->ideographs;
	t->lower = from->lower;
	t->strip_said = from->strip_said;
	t->lowest = from->lowest;
	t->byte_level = from->byte_level;
	t->byte_fallback = from->byte_fallback;
	t->fuse_unknown = from->fuse_unknown;
	t->ignore_merges = from->ignore_merges;
	t->source = from->source;
	t->max_length = from->max_length;
	memcpy(t->mark, from->mark, sizeof(t->mark));
	t->continued = trie_walk(&t->trie, 0, t->mark, strlen(t->mark));
	vocabulary_find_bytes(t);
	t->pipeline = from->pipeline;
	t->base = (struct tokenizer *)(uintptr_t)from;
	atomic_fetch_add_explicit(&t->base->refs, 1, memory_order_relaxed);
	t->base_id = xmalloc((size_t)r->n * sizeof(*t->base_id));
	memcpy(t->base_id, r->id, (size_t)r->n * sizeof(*t->base_id));
}

static enum pare_rc
put_scores(struct reducing *r)
{
	if (r->from->score == NULL)
		return PARE_OK;
	r->t->score = mem_big_zero((size_t)r->n, sizeof(*r->t->score), r->err);
	if (r->t->score == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < r->n; i++)
		if (r->id[i] < r->from->npieces)
			r->t->score[i] = r->from->score[r->id[i]];
	return PARE_OK;
}

/* The merges all of whose pieces are left, in the same order. */
static enum pare_rc
put_merges(struct reducing *r)
{
	const int32_t n = merges_count(r->from->merges);
	struct merge_pair *pair;

	if (r->from->merges == NULL)
		return PARE_OK;
	r->t->merges = merges_new((size_t)n, r->err);
	if (r->t->merges == NULL)
		return PARE_ENOMEM;
	pair = xmalloc((size_t)(n + 1) * sizeof(*pair));
	merges_list(r->from->merges, pair);
	for (int32_t i = 0; i < n; i++) {
		int32_t left = present(r, pair[i].left);
		int32_t right = present(r, pair[i].right);
		int32_t made = present(r, pair[i].made);

		if (left >= 0 && right >= 0 && made >= 0)
			merges_add(r->t->merges, left, right, made);
	}
	free(pair);
	return PARE_OK;
}

static enum pare_rc
put_added(struct reducing *r)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < r->from->added.n && rc == PARE_OK; i++) {
		struct added_token a = r->from->added.token[i];

		a.id = present(r, a.id);
		rc = a.id < 0 ? missing(r, r->from->added.token[i].id) :
		    added_add(r->t, &a, "the smaller vocabulary", r->err);
	}
	return rc;
}

static enum pare_rc
put_template(struct reducing *r, const struct template *from,
    struct template *to)
{
	*to = *from;
	for (int i = 0; i < to->n; i++) {
		if (to->part[i].sequence >= 0)
			continue;
		to->part[i].id = present(r, from->part[i].id);
		if (to->part[i].id < 0)
			return missing(r, from->part[i].id);
	}
	return PARE_OK;
}

static enum pare_rc
build(struct reducing *r)
{
	enum pare_rc rc = put_pieces(r);

	if (rc != PARE_OK)
		return rc;
	put_settings(r);
	rc = put_scores(r);
	if (rc == PARE_OK)
		rc = put_merges(r);
	if (rc == PARE_OK)
		rc = put_added(r);
	if (rc == PARE_OK)
		rc = put_template(r, &r->from->single, &r->t->single);
	if (rc == PARE_OK)
		rc = put_template(r, &r->from->pair, &r->t->pair);
	if (rc == PARE_OK && r->from->unknown >= 0 && r->t->unknown < 0)
		rc = missing(r, r->from->unknown);
	return rc == PARE_OK ? tokenizer_finish(r->t, "the smaller vocabulary",
	    r->err) : rc;
}

struct tokenizer *
tokenizer_reduce(const struct tokenizer *t, const int32_t *id, int64_t n,
    struct pare_err *err)
{
	struct reducing r = { .from = t, .id = id, .n = n,
		.old = n > 0 ? (int64_t)id[n - 1] + 1 : 0, .err = err };
	enum pare_rc rc = PARE_ENOMEM;

	r.present = mem_big((size_t)r.old + 1, sizeof(*r.present), err);
	if (r.present != NULL) {
		memset(r.present, 0xff, (size_t)r.old * sizeof(*r.present));
		for (int64_t i = 0; i < n; i++)
			r.present[id[i]] = (int32_t)i;
		rc = build(&r);
	}
	free(r.present);
	if (rc == PARE_OK)
		return r.t;
	tokenizer_free(r.t);
	return NULL;
}
