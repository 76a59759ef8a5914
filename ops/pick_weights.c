/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Choosing is one selection over 31-bit keys: the bits of |w| without the sign,
 * which order as the values do (by=magnitude), those of |w| times the root mean
 * square of its input (by=wanda: Sun et al., "A simple and effective pruning
 * approach for large language models", 2023), or a hash of seed and place
 * (by=random), where a zero weight always has key 0 so that what is pruned
 * already counts first. The k-th smallest key is found exactly (threshold.h).
 * Keys below it go, and of those equal to it the first ones, so the count is
 * exact and the same everywhere. With scope=row each row is a group of a
 * pattern.
 */
#include "ops/pick_weights.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/threshold.h"
#include "tensor/kernel.h"

enum { BLOCK = 8192 };	/* weights a thread looks at at a time */

/* What a pass over the keys of a tensor does. The first two make the mask. */
enum pass { PASS_MARK, PASS_GROUP, PASS_COUNT };

struct scan {
	enum pass pass;
	uint32_t limit;		/* PASS_MARK: 1 in the mask above it, 2 at it */
	int64_t kept, zeros;	/* PASS_COUNT */
};

static uint32_t
random_key(uint64_t seed, int64_t at)
{
	return (uint32_t)(rng_derive(seed, (uint64_t)at) >> 33) | 1;
}

/* The random key of every weight that is not zero; v may be key. */
static void
make_random(const struct pick_item *it, int64_t at, const threshold_word *v,
    int64_t n, uint32_t *key)
{
	for (int64_t i = 0; i < n; i++)
		key[i] = (v[i] & THRESHOLD_MASK) != 0 ?
		    random_key(it->seed, at + i) : 0;
}

/* |w| times the size of its input; of weights that are there never 0. */
static void
make_sized(const struct pick_item *it, const float *v, int64_t n, uint32_t *key)
{
	for (int64_t i = 0; i < n; i += it->t->cols)
		for (int64_t c = 0; c < it->t->cols; c++) {
			float at = fabsf(v[i + c]) * it->size[c];

			memcpy(&key[i + c], &at, sizeof at);
			key[i + c] += v[i + c] != 0 && key[i + c] == 0;
		}
}

/* Whole rows that one block has. */
static int64_t
block_rows(const struct pick *w, const struct tensor *t)
{
	return w->block / t->cols;
}

static int64_t
block_count(const struct pick *w, const struct tensor *t)
{
	int64_t step = block_rows(w, t);

	return (t->rows + step - 1) / step;
}

/* The words of block b, whose low 31 bits are the keys: those of the weights
 * themselves where they are floats already. */
static const threshold_word *
block_words(const struct pick *w, const struct pick_item *it, int64_t b,
    int64_t *n)
{
	const struct tensor *t = it->t;
	int64_t id = omp_get_thread_num(), row = b * block_rows(w, t);
	int64_t rows = t->rows - row < block_rows(w, t) ? t->rows - row :
	    block_rows(w, t);
	const float *v = tensor_f32(t);
	float *buf = w->value + id * w->block;
	uint32_t *key = w->key + id * w->block;

	*n = rows * t->cols;
	if (v == NULL)
		tensor_decode(t, row, rows, buf);
	v = v == NULL ? buf : v + row * t->cols;
	if (w->wanda && !w->plain && it->size != NULL) {
		make_sized(it, v, *n, key);
		return key;
	}
	if (!w->random)
		return (const threshold_word *)v;
	make_random(it, row * t->cols, (const threshold_word *)v, *n, key);
	return key;
}

/* Keeps the N largest of m keys, earlier ones first among equals. */
static void
keep_largest(const threshold_word *word, int m, int keep, uint8_t *mask)
{
	uint32_t key[PICK_GROUP_MAX];

	for (int i = 0; i < m; i++)
		key[i] = word[i] & THRESHOLD_MASK;
	for (int i = 0; i < m; i++) {
		int better = 0;

		for (int k = 0; k < m; k++)
			better += key[k] > key[i] || (k < i &&
			    key[k] == key[i]);
		mask[i] = key[i] != 0 && better < keep;
	}
}

/* The same for n groups of four, the usual ones, in vectors of groups. */
THRESHOLD_SIMD static void
keep_fours(const threshold_word *word, int64_t n, int keep, uint8_t *mask)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		int32_t a = (int32_t)(word[4 * i] & THRESHOLD_MASK);
		int32_t b = (int32_t)(word[4 * i + 1] & THRESHOLD_MASK);
		int32_t c = (int32_t)(word[4 * i + 2] & THRESHOLD_MASK);
		int32_t d = (int32_t)(word[4 * i + 3] & THRESHOLD_MASK);

		mask[4 * i] = (a != 0) & ((b > a) + (c > a) + (d > a) < keep);
		mask[4 * i + 1] = (b != 0) &
		    ((a >= b) + (c > b) + (d > b) < keep);
		mask[4 * i + 2] = (c != 0) &
		    ((a >= c) + (b >= c) + (d > c) < keep);
		mask[4 * i + 3] = (d != 0) &
		    ((a >= d) + (b >= d) + (c >= d) < keep);
	}
}

static int
compare_keys(const void *pa, const void *pb)
{
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

	return (a > b) - (a < b);
}

/* The same of a group of any size; top has room for m. */
static void
keep_top(const threshold_word *word, int64_t m, int64_t keep, uint32_t *top,
    uint8_t *mask)
{
	uint32_t limit;
	int64_t above = 0;

	for (int64_t i = 0; i < m; i++)
		top[i] = word[i] & THRESHOLD_MASK;
	qsort(top, (size_t)m, sizeof *top, compare_keys);
	limit = keep == 0 ? THRESHOLD_MASK : top[m - keep];
	for (int64_t i = 0; i < m; i++)
		above += (word[i] & THRESHOLD_MASK) > limit;
	for (int64_t i = 0; i < m; i++) {
		uint32_t key = word[i] & THRESHOLD_MASK;

		mask[i] = key != 0 && (key > limit || (key == limit &&
		    above++ < keep));
	}
}

/* The tail of a row that M does not divide keeps the same share, rounded up. */
static int64_t
keep_of(const struct pick_item *it, int64_t m)
{
	return (m * it->keep + it->group - 1) / it->group;
}

static void
mask_rows(const struct pick *w, const struct pick_item *it,
    const threshold_word *key, int64_t rows, uint8_t *mask)
{
	int64_t cols = it->t->cols;

	for (int64_t r = 0; r < rows; r++, key += cols, mask += cols) {
		int64_t c = 0;

		if (it->group == 4) {
			c = cols & ~INT64_C(3);
			keep_fours(key, c / 4, (int)it->keep, mask);
		}
		for (; c < cols; c += it->group) {
			int64_t m = cols - c < it->group ? cols - c :
			    it->group;

			if (m > PICK_GROUP_MAX)
				keep_top(key + c, m, keep_of(it, m), w->top +
				    omp_get_thread_num() * w->block, mask + c);
			else
				keep_largest(key + c, (int)m,
				    (int)keep_of(it, m), mask + c);
		}
	}
}

/* How many weights mask_rows() would keep, and how many are zero. */
static int64_t
count_kept(const struct pick_item *it, const threshold_word *key, int64_t rows,
    int64_t *zeros)
{
	int64_t kept = 0, there = 0, cols = it->t->cols;

	for (int64_t r = 0; r < rows; r++, key += cols)
		for (int64_t c = 0; c < cols; c += it->group) {
			int64_t m = cols - c < it->group ? cols - c :
			    it->group;
			int64_t keep = keep_of(it, m), full = 0;

			for (int64_t i = c; i < c + m; i++)
				full += (key[i] & THRESHOLD_MASK) != 0;
			there += full;
			kept += full < keep ? full : keep;
		}
	*zeros += rows * cols - there;
	return kept;
}

THRESHOLD_SIMD static void
mark_keys(const threshold_word *key, int64_t n, uint32_t limit, uint8_t *mask)
{
	const int32_t least = (int32_t)limit;

#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		int32_t k = (int32_t)(key[i] & THRESHOLD_MASK);

		mask[i] = (uint8_t)((k >= least) + (k == least));
	}
}

/* One pass over all keys of one tensor, rows shared among threads. */
static void
scan_item(const struct pick *w, const struct pick_item *it, struct scan *s)
{
	const struct tensor *t = it->t;
	int64_t step = block_rows(w, t), blocks = block_count(w, t);
	int64_t zeros = 0, kept = 0;

#pragma omp parallel for schedule(dynamic, 4) num_threads(w->threads) \
    if (it->n > 4 * BLOCK) \
    reduction(+ : zeros, kept)
	for (int64_t b = 0; b < blocks; b++) {
		int64_t n, at = b * step * t->cols;
		const threshold_word *key = block_words(w, it, b, &n);

		if (s->pass == PASS_MARK)
			mark_keys(key, n, s->limit, w->mask + at);
		else if (s->pass == PASS_GROUP)
			mask_rows(w, it, key, n / t->cols, w->mask + at);
		else
			kept += count_kept(it, key, n / t->cols, &zeros);
	}
	s->zeros += zeros;
	s->kept += kept;
}

/* What threshold_find() asks of items first, first + 1, ... */
struct blocks {
	const struct pick *w;
	int first;
};

static const threshold_word *
give_block(void *ctx, int part, int64_t b, int64_t *n)
{
	const struct blocks *k = ctx;

	return block_words(k->w, &k->w->item[k->first + part], b, n);
}

/* Removes k keys of items [first, first + n): sets limit, ties, kept. */
static enum pare_rc
choose_keys(struct pick *w, int first, int n, int64_t k,
    struct pare_err *err)
{
	struct blocks ctx = { w, first };
	struct threshold *found = xcalloc((size_t)n, sizeof *found);
	int64_t *blocks = xcalloc((size_t)n, sizeof *blocks), ties = k;
	struct threshold_keys keys = { .parts = n, .blocks = blocks,
		.block = give_block, .ctx = &ctx, .threads = w->threads,
		.task = w->in->task, .share = n == w->n ? n : 0,
		.total = 3.0 * w->n };
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < n; i++)
		blocks[i] = block_count(w, w->item[first + i].t);
	if (k > 0)
		rc = threshold_find(&keys, k, found, err);
	for (int i = 0; i < n; i++)
		ties -= found[i].below;
	for (int i = 0; i < n && rc == PARE_OK; i++) {
		struct pick_item *it = &w->item[first + i];

		/* Key 0 is a zero weight: enough of them are there. */
		struct pick_cut *c = &it->cut;

		c->limit = found[i].limit;
		c->ties = found[i].equal < ties ? found[i].equal : ties;
		c->skip = c->limit == 0 || found[i].below + c->ties == 0;
		ties -= c->ties;
		c->kept = it->n - found[i].below - c->ties;
	}
	free(found);
	free(blocks);
	return rc;
}

/* A config alone: the same share of each tensor. */
static void
choose_evenly(struct pick *w, const struct arg_value *amount, bool module)
{
	int64_t total = 0, seen = 0, given = 0, want;

	for (int i = 0; i < w->n; i++)
		total += w->item[i].n;
	want = arg_amount(amount, total);
	for (int i = 0; i < w->n; i++) {
		struct pick_item *it = &w->item[i];
		int64_t cut;

		seen += it->n;
		cut = module ? arg_amount(amount, it->n) : (int64_t)
		    ((double)want * ((double)seen / (double)total) + 0.5) -
		    given;
		cut = cut < 0 ? 0 : cut > it->n ? it->n : cut;
		given += cut;
		it->cut.kept = it->n - cut;
		it->cut.skip = it->cut.kept >= tensor_nonzero(it->t);
	}
}

static int64_t
pattern_kept(const struct pick_item *it)
{
	int64_t tail = it->t->cols % it->group;

	return it->t->rows * (it->t->cols / it->group * it->keep +
	    keep_of(it, tail));
}

static enum pare_rc
choose_pattern(struct pick *w, bool real, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++) {
		struct pick_item *it = &w->item[i];
		struct scan s = { .pass = PASS_COUNT };

		if (!task_tick(w->in->task, i, 3.0 * w->n, "matrices"))
			return task_error(err);
		it->cut.kept = pattern_kept(it);
		if (it->t->ghost || !real) {
			int64_t now = tensor_nonzero(it->t);

			it->cut.skip = it->cut.kept >= now;
			continue;
		}
		scan_item(w, it, &s);
		it->cut.kept = s.kept;
		it->cut.skip = it->cut.kept == it->n - s.zeros;
	}
	return PARE_OK;
}

static enum pare_rc
choose_cuts(struct pick *w, bool real, struct pare_err *err)
{
	const struct arg_value *amount = &w->what.amount;
	bool module = w->scope == PICK_MODULE;
	enum pare_rc rc = PARE_OK;
	int64_t total = 0;

	if (w->group > 0 || w->scope == PICK_ROW)
		return choose_pattern(w, real, err);
	if (!real) {
		choose_evenly(w, amount, module);
		return PARE_OK;
	}
	for (int i = 0; i < w->n && module && rc == PARE_OK; i++)
		rc = !task_tick(w->in->task, i, 3.0 * w->n, "matrices") ?
		    task_error(err) : choose_keys(w, i, 1,
		    arg_amount(amount, w->item[i].n), err);
	for (int i = 0; i < w->n; i++)
		total += w->item[i].n;
	if (!module)
		rc = choose_keys(w, 0, w->n, arg_amount(amount, total), err);
	return rc;
}

struct sparsegpt
pick_sparsegpt(const struct pick *w, const struct pick_item *it)
{
	return (struct sparsegpt){ .rows = it->t->rows, .cols = it->t->cols,
		.zeros = w->group > 0 ? 0 : arg_amount(&w->what.amount, it->n),
		.keep = w->keep, .group = w->group };
}

/* How much sparsegpt keeps, where weights that are 0 lie together. */
static enum pare_rc
choose_moved(const struct pick *w, struct pick_item *it, struct pare_err *err)
{
	struct sparsegpt s = pick_sparsegpt(w, it);
	float *v = mem_big((size_t)it->n, sizeof *v, err);

	if (v == NULL)
		return PARE_ENOMEM;
	tensor_decode(it->t, 0, it->t->rows, v);
	it->cut.kept = sparsegpt_kept(&s, v);
	it->cut.skip = it->cut.kept == tensor_nonzero(it->t);
	free(v);
	return PARE_OK;
}

enum pare_rc
pick_choose(struct pick *w, bool real, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < w->n; i++) {
		struct pick_item *it = &w->item[i];

		it->group = w->scope == PICK_ROW ? it->t->cols : w->group;
		it->keep = w->scope == PICK_ROW ? it->t->cols -
		    arg_amount(&w->what.amount, it->t->cols) : w->keep;
	}
	w->plain = w->wanda || w->sparsegpt;
	if (w->plain)
		rc = choose_cuts(w, real, err);
	for (int i = 0; i < w->n; i++)
		w->item[i].plain = w->item[i].cut;
	w->plain = false;
	if (rc == PARE_OK && !w->sparsegpt)
		rc = choose_cuts(w, real, err);
	for (int i = 0; i < w->n && rc == PARE_OK && real; i++)
		if (w->item[i].moves)
			rc = choose_moved(w, &w->item[i], err);
	return rc;
}

enum pare_rc
pick_scratch(struct pick *w, struct pare_err *err)
{
	size_t threads = (size_t)kernel_threads();
	int64_t most = 0;

	w->threads = (int)threads;
	w->block = BLOCK;
	for (int i = 0; i < w->n; i++) {
		const struct pick_item *it = &w->item[i];

		w->block = it->t->cols > w->block ? it->t->cols : w->block;
		most = it->n > most ? it->n : most;
	}
	w->value = mem_big(threads * (size_t)w->block, sizeof *w->value, err);
	if (w->value != NULL)
		w->key = mem_big(threads * (size_t)w->block, sizeof *w->key,
		    err);
	if (w->key != NULL)
		w->top = mem_big(threads * (size_t)w->block, sizeof *w->top,
		    err);
	if (w->top != NULL)
		w->mask = mem_big((size_t)most, 1, err);
	return w->mask == NULL ? PARE_ENOMEM : PARE_OK;
}

void
pick_free(struct pick *w)
{
	for (int i = 0; i < w->n; i++)
		free(w->item[i].size);
	free(w->item);
	free(w->value);
	free(w->key);
	free(w->top);
	free(w->mask);
}

void
pick_mask(const struct pick *w, const struct pick_item *it,
    const struct pick_cut *c)
{
	struct scan s = { .pass = it->group > 0 ? PASS_GROUP : PASS_MARK,
	    .limit = c->limit };
	uint8_t *p = w->mask, *end = w->mask + it->n;

	scan_item(w, it, &s);
	if (it->group > 0)
		return;
	for (int64_t i = 0; (p = memchr(p, 2, (size_t)(end - p))) != NULL; i++)
		*p++ = i >= c->ties;
}
