/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two small lists: the boundaries that are kept, and the states that ran last,
 * each as its chain of prefix hashes. A boundary is useful for the states whose
 * chain it lies on; one that lies on no chain any more is dropped.
 *
 * A pass decides everything when it begins: what it reads is pinned, what it
 * could keep joins the list without memory, and the least useful are dropped
 * until the rest fits. Only then memory is taken, that of dropped boundaries
 * first, for its pages are there already.
 */
#include "engine/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* States whose chains are known, and boundaries that one of them may have. */
enum { STATES = 16, BOUNDARIES = 64 };

struct boundary {
	uint64_t key, hash;
	int layer;
	int64_t bytes;
	float *x;		/* (tokens, hidden); NULL: without memory yet */
	uint8_t *have;		/* per batch: x is filled there */
	bool pinned;
};

/* A state that ran. */
struct chain {
	uint64_t key;
	int last;		/* the last layer that a pass may begin with */
	int ends;		/* nlayers + 1: changes begin before it */
	uint64_t *hash;		/* last + 1 of them; NULL: none */
	int64_t used;		/* when it was run last, or returned to */
};

struct blocks {
	int64_t limit, clock;
	int n, cap;
	struct boundary *list;
	struct chain state[STATES];
};

struct blocks_pass {
	struct blocks *b;
	const struct chain *chain;	/* NULL: nothing is kept */
	const int64_t *token;
	int64_t n, hidden;
	int *at;		/* per layer up to chain->last: its boundary in
				 * the list, or -1 */
};

struct blocks *
blocks_new(void)
{
	return xcalloc(1, sizeof(struct blocks));
}

static void
drop_memory(struct boundary *e)
{
	free(e->x);
	free(e->have);
	e->x = NULL;
	e->have = NULL;
}

void
blocks_clear(struct blocks *b)
{
	for (int i = 0; i < b->n; i++)
		drop_memory(&b->list[i]);
	for (int i = 0; i < STATES; i++)
		free(b->state[i].hash);
	memset(b->state, 0, sizeof(b->state));
	b->n = 0;
}

void
blocks_free(struct blocks *b)
{
	if (b == NULL)
		return;
	blocks_clear(b);
	free(b->list);
	free(b);
}

int64_t
blocks_bytes(const struct blocks *b)
{
	int64_t sum = 0;

	for (int i = 0; i < b->n; i++)
		sum += b->list[i].bytes;
	return sum;
}

/* ---- what is useful ---- */

/* at[l], l = 0 to c->last: the boundary of a state before layer l, or -1. */
static void
find_boundaries(const struct blocks *b, const struct chain *c, int *at)
{
	for (int l = 0; l <= c->last; l++)
		at[l] = -1;
	for (int i = 0; i < b->n; i++) {
		const struct boundary *e = &b->list[i];

		if (e->key == c->key && e->layer <= c->last &&
		    e->hash == c->hash[e->layer])
			at[e->layer] = i;
	}
}

/* Adds what the boundaries of one state are worth to it to use[]. */
static void
add_use(const struct blocks *b, const struct chain *c, double *use)
{
	int *at = xmalloc((size_t)(c->last + 1) * sizeof(*at)), below = 0;
	double recent = 1.0 / (1.0 + (double)(b->clock - c->used));

	find_boundaries(b, c, at);
	for (int l = 1, above; l <= c->last; l = above) {
		above = l + 1;
		if (at[l] < 0)
			continue;
		while (above <= c->last && at[above] < 0)
			above++;
		above = above <= c->last ? above : c->ends;
		use[at[l]] += recent * (l - below) * (above - l) /
		    (double)b->list[at[l]].bytes;
		below = l;
	}
	free(at);
}

/* The boundary to drop first; -1: all are pinned. */
static int
least_useful(const struct blocks *b)
{
	double *use = xcalloc((size_t)b->n + 1, sizeof(*use));
	int least = -1;

	for (int i = 0; i < STATES; i++)
		if (b->state[i].hash != NULL)
			add_use(b, &b->state[i], use);
	for (int i = 0; i < b->n; i++)
		if (!b->list[i].pinned && (least < 0 || use[i] < use[least]))
			least = i;
	free(use);
	return least;
}

/* Drops until the rest fits. Memory of the size `bytes` goes to *spare, which is
 * a chain through the first word of each. */
static void
make_room(struct blocks *b, int64_t bytes, void **spare)
{
	int64_t sum = blocks_bytes(b);

	while (sum > b->limit) {
		int i = least_useful(b);
		struct boundary *e = &b->list[i];

		if (i < 0)
			return;
		sum -= e->bytes;
		if (e->x != NULL && e->bytes == bytes && spare != NULL) {
			*(void **)e->x = *spare;
			*spare = e->x;
			e->x = NULL;
		}
		drop_memory(e);
		b->list[i] = b->list[--b->n];
	}
}

/* What no state that is known could use. */
static void
drop_strays(struct blocks *b)
{
	for (int i = b->n - 1; i >= 0; i--) {
		const struct boundary *e = &b->list[i];
		bool known = false;

		for (int s = 0; s < STATES && !known; s++) {
			const struct chain *c = &b->state[s];

			known = c->hash != NULL && c->key == e->key &&
			    e->layer <= c->last &&
			    c->hash[e->layer] == e->hash;
		}
		if (known)
			continue;
		drop_memory(&b->list[i]);
		b->list[i] = b->list[--b->n];
	}
}

void
blocks_limit(struct blocks *b, int64_t bytes)
{
	b->limit = bytes > 0 ? bytes : 0;
	make_room(b, 0, NULL);
}

/* ---- states ---- */

/* How many layers of two states are the same; -1: not even the embeddings. */
static int
shared(const struct chain *a, const struct chain *b)
{
	int last = a->last < b->last ? a->last : b->last, l = 0;

	if (a->key != b->key)
		return -1;
	while (l <= last && a->hash[l] == b->hash[l])
		l++;
	return l - 1;
}

static bool
same_chain(const struct chain *a, const struct chain *b)
{
	return a->last == b->last && a->ends == b->ends &&
	    shared(a, b) == a->last;
}

/* The state that most is shared with was the one that this one was made from:
 * the next one may be made from it as well. */
static void
touch_parent(struct blocks *b, const struct chain *c)
{
	struct chain *parent = NULL;
	int most = -1;

	for (int i = 0; i < STATES; i++) {
		struct chain *s = &b->state[i];
		int n = s->hash == NULL || s == c ? -1 : shared(s, c);

		if (n < 0 || n < most ||
		    (n == most && s->used <= parent->used))
			continue;
		parent = s;
		most = n;
	}
	if (parent != NULL)
		parent->used = b->clock;
}

/* The state of m in the list, as the one that runs now. */
static const struct chain *
enter_state(struct blocks *b, const struct model *m, uint64_t key)
{
	uint64_t *hash = xmalloc((size_t)(m->nlayers + 1) * sizeof(*hash));
	struct chain c = { .key = key, .last = engine_last_whole(m),
		.ends = m->nlayers + 1, .hash = hash };
	struct chain *place = &b->state[0];

	model_prefix_hashes(m, hash);
	b->clock++;
	for (int i = 0; i < STATES; i++) {
		struct chain *s = &b->state[i];

		if (s->hash != NULL && same_chain(s, &c)) {
			free(hash);
			place = s;
			goto out;
		}
		if (s->hash == NULL || (place->hash != NULL &&
		    s->used < place->used))
			place = s;
	}
	free(place->hash);
	*place = c;
out:
	place->used = b->clock;
	touch_parent(b, place);
	return place;
}

/* ---- a pass ---- */

/* Pins the boundaries that some batch begins with. */
static void
pin_inputs(struct blocks_pass *p)
{
	struct blocks *b = p->b;
	uint8_t *covered = xcalloc((size_t)p->n, 1);

	for (int l = p->chain->last; l > 0; l--) {
		struct boundary *e = p->at[l] >= 0 ? &b->list[p->at[l]] : NULL;

		for (int64_t i = 0; e != NULL && i < p->n; i++) {
			e->pinned = e->pinned || (!covered[i] && e->have[i]);
			covered[i] |= e->have[i];
		}
	}
	free(covered);
}

/* No batch computes a layer below this one. */
static int
first_computed(const struct blocks_pass *p)
{
	int l = p->chain->last;

	while (l > 0 && (p->at[l] < 0 || memchr(p->b->list[p->at[l]].have, 0,
	    (size_t)p->n) != NULL))
		l--;
	return l;
}

/* Adds what the pass could keep, without memory yet. */
static void
add_candidates(struct blocks_pass *p, int64_t bytes)
{
	struct blocks *b = p->b;
	const struct chain *c = p->chain;
	int step = (c->last + BOUNDARIES - 1) / BOUNDARIES;
	int first = first_computed(p);

	for (int l = c->last; l > first; l -= step) {
		if (p->at[l] >= 0)
			continue;
		if (b->n == b->cap) {
			b->cap = 2 * b->cap + 16;
			b->list = xrealloc(b->list, (size_t)b->cap *
			    sizeof(*b->list));
		}
		b->list[b->n++] = (struct boundary){ .key = c->key,
			.hash = c->hash[l], .layer = l, .bytes = bytes };
	}
}

/* Memory for the boundaries that stay; those that get none go. */
static void
take_memory(struct blocks_pass *p, void *spare)
{
	struct blocks *b = p->b;

	for (int i = b->n - 1; i >= 0; i--) {
		struct boundary *e = &b->list[i];

		if (e->x != NULL)
			continue;
		if (spare != NULL) {
			e->x = spare;
			spare = *(void **)spare;
		} else {
			e->x = mem_big((size_t)e->bytes, 1, NULL);
		}
		e->have = xcalloc((size_t)p->n, 1);
		if (e->x != NULL)
			continue;
		drop_memory(e);
		b->list[i] = b->list[--b->n];
	}
	while (spare != NULL) {
		void *next = *(void **)spare;

		free(spare);
		spare = next;
	}
}

static void
plan_pass(struct blocks_pass *p, const struct model *m, uint64_t key)
{
	struct blocks *b = p->b;
	int64_t bytes = p->token[p->n] * p->hidden * (int64_t)sizeof(float);
	void *spare = NULL;

	p->chain = enter_state(b, m, key);
	drop_strays(b);
	p->at = xmalloc((size_t)(p->chain->last + 1) * sizeof(*p->at));
	find_boundaries(b, p->chain, p->at);
	pin_inputs(p);
	if (bytes > 0)
		add_candidates(p, bytes);
	make_room(b, bytes, &spare);
	take_memory(p, spare);
	find_boundaries(b, p->chain, p->at);
}

struct blocks_pass *
blocks_begin(struct blocks *b, const struct model *m, uint64_t key,
    const int64_t *token, int64_t n)
{
	struct blocks_pass *p = xcalloc(1, sizeof(*p));
	int64_t values;

	p->b = b;
	p->token = token;
	p->n = n;
	p->hidden = m->hp.hidden;
	if (b->limit > 0 && !m->ghost && m->nlayers > 0 && n > 0 &&
	    mem_mul(token[n], p->hidden, &values) && values < INT64_MAX / 8)
		plan_pass(p, m, key);
	return p;
}

int
blocks_from(const struct blocks_pass *p, int64_t i)
{
	int l = p->chain != NULL ? p->chain->last : 0;

	while (l > 0 && (p->at[l] < 0 || !p->b->list[p->at[l]].have[i]))
		l--;
	return l;
}

static float *
rows_of(const struct blocks_pass *p, int layer, int64_t i)
{
	return p->b->list[p->at[layer]].x + p->token[i] * p->hidden;
}

void
blocks_use(const struct blocks_pass *p, int64_t i, struct forward *f,
    float **keep)
{
	int from = blocks_from(p, i);

	f->from = from;
	f->input = from > 0 ? rows_of(p, from, i) : NULL;
	f->keep = NULL;
	if (p->chain == NULL)
		return;
	for (int l = 0; l <= p->chain->last; l++)
		keep[l] = l > from && p->at[l] >= 0 ? rows_of(p, l, i) : NULL;
	f->keep = keep;
}

void
blocks_ran(struct blocks_pass *p, int64_t i)
{
	for (int l = blocks_from(p, i) + 1; p->chain != NULL &&
	    l <= p->chain->last; l++)
		if (p->at[l] >= 0)
			p->b->list[p->at[l]].have[i] = 1;
}

void
blocks_end(struct blocks_pass *p)
{
	for (int i = 0; i < p->b->n; i++)
		p->b->list[i].pinned = false;
	free(p->at);
	free(p);
}
