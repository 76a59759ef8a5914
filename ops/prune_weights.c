/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune weights: single weights to zero, stored sparsely (Han et al., "Learning
 * both weights and connections", NeurIPS 2015; N:M after Mishra et al.,
 * "Accelerating sparse deep neural networks", 2021).
 *
 * Choosing is one selection over 31-bit keys: the bits of |w| without the sign,
 * which order as the values do (by=magnitude), those of |w| times the root mean
 * square of its input (by=wanda: Sun et al., "A simple and effective pruning
 * approach for large language models", 2023), or a hash of seed and place
 * (by=random), where a zero weight always has key 0 so that what is pruned
 * already counts first. The k-th smallest key is found exactly (threshold.h).
 * Keys below it go, and of those equal to it the first ones, so the count is
 * exact and the same everywhere. With scope=row each row is a group of a pattern.
 *
 * method=sparsegpt chooses and moves weights in sparsegpt.c. What looks at the
 * calib samples is compared with by=magnitude in the same scope.
 */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/common.h"
#include "ops/seen.h"
#include "ops/sparsegpt.h"
#include "ops/table.h"
#include "ops/threshold.h"
#include "tensor/form.h"
#include "tensor/kernel.h"

enum {
	BLOCK = 8192,		/* weights a thread looks at at a time */
	GROUP_MAX = 32
};

/* What goes of a tensor. */
struct cut {
	uint32_t limit;		/* keys below go */
	int64_t ties;		/* so many keys equal to limit go as well */
	int64_t kept;
	bool skip;		/* nothing of it would change */
};

enum scope { SCOPE_GLOBAL, SCOPE_MODULE, SCOPE_ROW };

/* One distinct tensor. */
struct item {
	const struct tensor *t;
	struct slot_ref ref;
	int64_t n;
	uint64_t seed;
	struct cut cut;
	struct cut plain;	/* by magnitude, to compare with */
	int64_t keep, group;	/* of each group columns; 0: free */
	float *size;		/* wanda: of the inputs; NULL: not seen */
	bool moves;		/* sparsegpt */
};

struct weights {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	struct item *item;
	int n;
	bool random, wanda, sparsegpt;
	bool plain;		/* keys are magnitudes for now */
	enum scope scope;
	int keep, group;	/* pattern N:M; 0: free */
	struct seen_tally tally;
	/* Scratch, one row a thread. */
	int threads;
	int64_t block;		/* weights */
	float *value;
	uint32_t *key, *top;
	uint8_t *mask;		/* of one tensor, the largest */
};

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
make_random(const struct item *it, int64_t at, const threshold_word *v,
    int64_t n, uint32_t *key)
{
	for (int64_t i = 0; i < n; i++)
		key[i] = (v[i] & THRESHOLD_MASK) != 0 ?
		    random_key(it->seed, at + i) : 0;
}

/* |w| times the size of its input; of weights that are there never 0. */
static void
make_sized(const struct item *it, const float *v, int64_t n, uint32_t *key)
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
block_rows(const struct weights *w, const struct tensor *t)
{
	return w->block / t->cols;
}

static int64_t
block_count(const struct weights *w, const struct tensor *t)
{
	int64_t step = block_rows(w, t);

	return (t->rows + step - 1) / step;
}

/* The words of block b, whose low 31 bits are the keys: those of the weights
 * themselves where they are floats already. */
static const threshold_word *
block_words(const struct weights *w, const struct item *it, int64_t b,
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
	uint32_t key[GROUP_MAX];

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
keep_of(const struct item *it, int64_t m)
{
	return (m * it->keep + it->group - 1) / it->group;
}

static void
mask_rows(const struct weights *w, const struct item *it,
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

			if (m > GROUP_MAX)
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
count_kept(const struct item *it, const threshold_word *key, int64_t rows,
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
scan_item(const struct weights *w, const struct item *it, struct scan *s)
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
	const struct weights *w;
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
choose_keys(struct weights *w, int first, int n, int64_t k,
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
		struct item *it = &w->item[first + i];

		/* Key 0 is a zero weight: enough of them are there. */
		struct cut *c = &it->cut;

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
choose_evenly(struct weights *w, const struct arg_value *amount, bool module)
{
	int64_t total = 0, seen = 0, given = 0, want;

	for (int i = 0; i < w->n; i++)
		total += w->item[i].n;
	want = arg_amount(amount, total);
	for (int i = 0; i < w->n; i++) {
		struct item *it = &w->item[i];
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
pattern_kept(const struct item *it)
{
	int64_t tail = it->t->cols % it->group;

	return it->t->rows * (it->t->cols / it->group * it->keep +
	    keep_of(it, tail));
}

static enum pare_rc
choose_pattern(struct weights *w, bool real, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++) {
		struct item *it = &w->item[i];
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
choose_cuts(struct weights *w, bool real, struct pare_err *err)
{
	const struct arg_value *amount = &w->what.amount;
	bool module = w->scope == SCOPE_MODULE;
	enum pare_rc rc = PARE_OK;
	int64_t total = 0;

	if (w->group > 0 || w->scope == SCOPE_ROW)
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

static struct sparsegpt
solution_of(const struct weights *w, const struct item *it)
{
	return (struct sparsegpt){ .rows = it->t->rows, .cols = it->t->cols,
		.zeros = w->group > 0 ? 0 : arg_amount(&w->what.amount, it->n),
		.keep = w->keep, .group = w->group };
}

/* How much sparsegpt keeps, where weights that are 0 lie together. */
static enum pare_rc
choose_moved(const struct weights *w, struct item *it, struct pare_err *err)
{
	struct sparsegpt s = solution_of(w, it);
	float *v = mem_big((size_t)it->n, sizeof *v, err);

	if (v == NULL)
		return PARE_ENOMEM;
	tensor_decode(it->t, 0, it->t->rows, v);
	it->cut.kept = sparsegpt_kept(&s, v);
	it->cut.skip = it->cut.kept == tensor_nonzero(it->t);
	free(v);
	return PARE_OK;
}

static enum pare_rc
choose(struct weights *w, bool real, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < w->n; i++) {
		struct item *it = &w->item[i];

		it->group = w->scope == SCOPE_ROW ? it->t->cols : w->group;
		it->keep = w->scope == SCOPE_ROW ? it->t->cols -
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

static enum pare_rc
make_scratch(struct weights *w, struct pare_err *err)
{
	size_t threads = (size_t)kernel_threads();
	int64_t most = 0;

	w->threads = (int)threads;
	w->block = BLOCK;
	for (int i = 0; i < w->n; i++) {
		const struct item *it = &w->item[i];

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

static void
weights_free(struct weights *w)
{
	ops_what_free(&w->what);
	ops_slots_free(&w->slots);
	for (int i = 0; i < w->n; i++)
		free(w->item[i].size);
	free(w->item);
	free(w->value);
	free(w->key);
	free(w->top);
	free(w->mask);
}

static bool
usable(const struct weights *w, struct slot_ref ref)
{
	const struct model *m = w->in->model;

	if (w->what.target != NULL)
		return true;
	return !ops_is_embedding(ref.slot) &&
	    model_slot(m, ref)->form != FORM_LOWRANK &&
	    !ops_is_embedding(model_owner(m, ref).slot);
}

static enum pare_rc
list_items(struct weights *w, struct pare_err *err)
{
	const struct model *m = w->in->model;
	int used = 0;

	ops_slots_of(m, &w->what.sel, OPS_MATRICES, &w->slots);
	w->item = xcalloc((size_t)w->slots.n + 1, sizeof *w->item);
	for (int i = 0; i < w->slots.n; i++) {
		struct slot_ref ref = w->slots.ref[i];
		struct item *it = &w->item[w->n];

		if (!usable(w, ref))
			continue;
		w->slots.ref[used++] = ref;
		if (w->slots.first[i] != i)
			continue;
		it->t = model_slot(m, ref);
		it->ref = ref;
		it->n = it->t->rows * it->t->cols;
		it->seed = rng_derive(w->in->seed, (uint64_t)w->n);
		w->n++;
	}
	w->slots.n = used;
	if (w->n > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: %s%s%s names no weight matrices that "
	    "can be pruned", w->what.target == NULL ? "" : "'",
	    w->what.target == NULL ? "the model" : w->what.target,
	    w->what.target == NULL ? "" : "'");
	return err_hint(err, "biases and norms are never pruned; name matrices "
	    "as L0.q, L*.ffn, emb.word");
}

/* Refuses low rank by name; tensor_sparsify() knows no path. */
static enum pare_rc
check_forms(const struct weights *w, struct pare_err *err)
{
	char path[64];

	for (int i = 0; i < w->n; i++) {
		if (w->item[i].t->form != FORM_LOWRANK)
			continue;
		model_slot_path(w->item[i].ref, path, sizeof path);
		err_set(err, PARE_EUSER, "%s is low rank: single weights of "
		    "the product cannot be zeroed", path);
		return err_hint(err, "prune weights before factorizing, or "
		    "leave %s out", path);
	}
	return PARE_OK;
}

/* "2:4" into keep and group; "free" leaves them 0. */
static enum pare_rc
read_pattern(struct weights *w, struct pare_err *err)
{
	const char *text = arg_text(w->in->args, "pattern");
	const char *colon = strchr(text, ':');
	char *left = colon == NULL ? NULL :
	    xstrndup(text, (size_t)(colon - text));
	int64_t n = 0, m = 0;
	bool ok = left != NULL && str_to_int(left, &n) &&
	    str_to_int(colon + 1, &m) && m >= 2 && m <= GROUP_MAX && n >= 1 &&
	    n < m;

	free(left);
	if (strcmp(text, "free") == 0)
		return PARE_OK;
	if (!ok) {
		err_set(err, PARE_EUSER, "pattern: '%.40s' is not free or N:M "
		    "with 1 <= N < M <= %d", text, GROUP_MAX);
		return err_hint(err, "pattern=2:4 keeps 2 of each 4 weights of "
		    "a row");
	}
	w->keep = (int)n;
	w->group = (int)m;
	return PARE_OK;
}

static enum pare_rc
check_amount(const struct weights *w, struct pare_err *err)
{
	const struct ops_what *what = &w->what;
	double share = w->group == 0 ? 0 : 1 - (double)w->keep / w->group;

	if (w->group == 0 && !what->has_amount) {
		err_set(err, PARE_EUSER, "amount: missing: which share of the "
		    "weights shall be zero");
		return err_hint(err, "prune weights 50%%, or pattern=2:4");
	}
	if (w->group == 0 || !what->has_amount ||
	    (what->amount.is_share && what->amount.d > share - 0.005 &&
	    what->amount.d < share + 0.005))
		return PARE_OK;
	err_set(err, PARE_EUSER, "amount: pattern=%d:%d prunes %.4g %% and "
	    "leaves no other amount", w->keep, w->group, 100 * share);
	return err_hint(err, "leave the amount out, or use pattern=free");
}

/* The mask of one tensor into w->mask: 1 keeps. */
static void
make_mask(const struct weights *w, const struct item *it, const struct cut *c)
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

/* The error of w->mask's choice from v, in *out; q is spoilt. */
static enum pare_rc
error_of(const struct weights *w, const struct seen *x, const struct item *it,
    const float *v, float *q, double *out, struct pare_err *err)
{
	for (int64_t i = 0; i < it->n; i++)
		q[i] = w->mask[i] != 0 ? v[i] : 0;
	return seen_error(x, v, q, it->t->rows, false, out, err);
}

/* Makes what the mask of magnitudes would be, then the wanted one, which stays in
 * w->mask; sparsegpt's weights into q. All errors go to the tally. */
static enum pare_rc
compare(struct weights *w, const struct seen *x, const struct item *it,
    const float *v, float *q, struct pare_err *err)
{
	struct sparsegpt s = solution_of(w, it);
	double energy, was, is;
	enum pare_rc rc = seen_error(x, v, NULL, it->t->rows, false, &energy,
	    err);

	w->plain = true;
	make_mask(w, it, &it->plain);
	w->plain = false;
	if (rc == PARE_OK)
		rc = error_of(w, x, it, v, q, &was, err);
	if (rc == PARE_OK && it->moves) {
		memcpy(q, v, (size_t)it->n * sizeof *q);
		rc = sparsegpt_solve(&s, x->gram, q, w->mask, err);
		if (rc == PARE_OK)
			rc = seen_error(x, v, q, it->t->rows, false, &is, err);
	} else if (rc == PARE_OK) {
		make_mask(w, it, &it->cut);
		rc = error_of(w, x, it, v, q, &is, err);
	}
	if (rc != PARE_OK)
		return rc;
	w->tally.energy += energy;
	w->tally.plain += was;
	w->tally.now += is;
	w->tally.done++;
	return PARE_OK;
}

/* The moved weights in the float form of t, without those that go. */
static struct tensor *
moved(const struct weights *w, const struct item *it, const float *q,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *full, *cast, *out = NULL;
	float *data;

	full = tensor_new_f32(2, it->t->rows, it->t->cols, &data, err);
	if (full == NULL)
		return NULL;
	memcpy(data, q, (size_t)it->n * sizeof *data);
	cast = tensor_cast(full, it->t->values, ctx, err);
	if (cast != NULL)
		out = tensor_sparsify(cast, w->mask, it->cut.kept, ctx, err);
	tensor_unref(cast);
	tensor_unref(full);
	return out;
}

/* With the moments of the inputs. */
static struct tensor *
sparsify_seen(struct weights *w, const struct item *it,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	float *v = mem_big(2 * (size_t)it->n, sizeof *v, err), *q;
	struct tensor *out = NULL;
	struct seen x;

	if (v == NULL || seen_get(w->in, it->t, &x, err) != PARE_OK) {
		free(v);
		return NULL;
	}
	q = v + it->n;
	tensor_decode(it->t, 0, it->t->rows, v);
	if (compare(w, &x, it, v, q, err) == PARE_OK)
		out = it->moves ? moved(w, it, q, ctx, err) :
		    tensor_sparsify(it->t, w->mask, it->cut.kept, ctx, err);
	seen_free(&x);
	free(v);
	return out;
}

static struct tensor *
sparsify(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct weights *w = arg;
	const struct item *it = w->item;

	while (it->t != t)
		it++;
	if (it->cut.skip)
		return tensor_ref(t);
	if (ctx->estimate || t->ghost)
		return tensor_sparsify(t, NULL, it->cut.kept, ctx, err);
	if (it->moves || it->size != NULL)
		return sparsify_seen(w, it, ctx, err);
	make_mask(w, it, &it->cut);
	return tensor_sparsify(t, w->mask, it->cut.kept, ctx, err);
}

static enum pare_rc
check_change(const struct weights *w, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++)
		if (!w->item[i].cut.skip)
			return PARE_OK;
	err_set(err, PARE_EUSER, "%s: so many of these weights are zero "
	    "already; zeros that are there count", w->group > 0 ? "pattern" :
	    "amount");
	return err_hint(err, "ask for a larger share");
}

static void
note_forms(const struct weights *w, const struct edit *e, struct str *note)
{
	int dense = 0, changed = 0;

	for (int i = 0; i < w->n; i++) {
		const struct tensor *t = edit_get(e, w->item[i].ref);

		changed += !w->item[i].cut.skip;
		dense += !w->item[i].cut.skip && t->form != FORM_BITMAP &&
		    t->form != FORM_INDEX;
	}
	if (dense > 0)
		ops_note(note, "%d of %d matrices are kept dense, with zeros "
		    "inside: neither sparse form is smaller", dense, changed);
}

/* Which way to choose, and what does not go together. */
static enum pare_rc
read_choice(struct weights *w, struct pare_err *err)
{
	const struct arg_list *a = w->in->args;
	const char *by = arg_choice(a, "by");

	w->random = strcmp(by, "random") == 0;
	w->wanda = strcmp(by, "wanda") == 0;
	w->sparsegpt = strcmp(arg_choice(a, "method"), "sparsegpt") == 0;
	w->scope = (enum scope)arg_get(a, "scope")->i;
	if (!arg_get(a, "scope")->set)
		w->scope = w->sparsegpt ? SCOPE_MODULE : w->wanda ? SCOPE_ROW :
		    SCOPE_GLOBAL;
	if (w->sparsegpt && arg_get(a, "by")->set) {
		err_set(err, PARE_EUSER, "by: method=sparsegpt chooses by what "
		    "the loss of a weight costs, and by nothing else");
		return err_hint(err, "leave by= out, or use method=zero");
	}
	if (w->sparsegpt && w->scope != SCOPE_MODULE) {
		err_set(err, PARE_EUSER, "scope: method=sparsegpt takes the "
		    "same share from each matrix");
		return err_hint(err, "leave scope= out");
	}
	return PARE_OK;
}

/* Together with a pattern rows are cut into groups: no scope matters. */
static void
settle_scope(struct weights *w)
{
	if (w->group > 0)
		w->scope = SCOPE_MODULE;
}

/* What was gathered of an item's inputs: sizes for wanda, or that weights can
 * move. What was not is counted. */
static enum pare_rc
look_at(struct weights *w, struct item *it, struct pare_err *err)
{
	struct seen x;
	enum pare_rc rc;

	if (w->sparsegpt && !form_table[it->t->values].is_float) {
		w->tally.odd++;
		return PARE_OK;
	}
	rc = seen_get(w->in, it->t, &x, err);
	if (rc != PARE_OK || x.state != SEEN_WELL) {
		w->tally.unseen += rc == PARE_OK && x.state == SEEN_NOT;
		w->tally.zero += rc == PARE_OK && x.state == SEEN_ZERO;
		return rc;
	}
	it->moves = w->sparsegpt;
	it->size = w->wanda ? xcalloc((size_t)x.cols, sizeof *it->size) : NULL;
	for (int64_t c = 0; c < x.cols && w->wanda; c++)
		it->size[c] = (float)sqrt(x.gram[c * (x.cols + 1)]);
	seen_free(&x);
	return PARE_OK;
}

static enum pare_rc
look(struct weights *w, bool estimate, struct pare_err *err)
{
	const char *what = w->sparsegpt ? "method=sparsegpt" : "by=wanda";
	bool there = seen_check(w->in, what, NULL) == PARE_OK;
	enum pare_rc rc = PARE_OK;

	if (!w->wanda && !w->sparsegpt)
		return PARE_OK;
	if (!there && !estimate)
		return seen_check(w->in, what, err);
	for (int i = 0; i < w->n && rc == PARE_OK; i++)
		if (there)
			rc = look_at(w, &w->item[i], err);
		else
			w->item[i].moves = w->sparsegpt &&
			    form_table[w->item[i].t->values].is_float;
	w->tally.done = w->n - w->tally.odd - w->tally.unseen - w->tally.zero;
	if (rc == PARE_OK)
		rc = seen_any(&w->tally, what, err);
	w->tally.done = 0;
	return rc;
}

static enum pare_rc
decide(struct weights *w, bool real, bool estimate, struct pare_err *err)
{
	enum pare_rc rc;

	if ((rc = ops_what_read(w->in, &w->what, err)) != PARE_OK ||
	    (rc = read_choice(w, err)) != PARE_OK ||
	    (rc = read_pattern(w, err)) != PARE_OK ||
	    (rc = check_amount(w, err)) != PARE_OK ||
	    (rc = list_items(w, err)) != PARE_OK ||
	    (rc = check_forms(w, err)) != PARE_OK)
		return rc;
	settle_scope(w);
	if (real && ((rc = make_scratch(w, err)) != PARE_OK ||
	    (rc = look(w, estimate, err)) != PARE_OK))
		return rc;
	if ((rc = choose(w, real, err)) != PARE_OK)
		return rc;
	return check_change(w, err);
}

/* What came of looking at the calib samples. */
static void
note_seen(const struct weights *w, struct str *note)
{
	seen_note(&w->tally, "by magnitude", note);
	if (w->tally.done > 0 && w->tally.now >= w->tally.plain)
		ops_note(note, "by=magnitude would have been no worse");
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct weights w = { .in = in };
	bool real = ops_has_weights(in->model);
	enum pare_rc rc = decide(&w, real, e->ctx.estimate, err);

	for (int i = 0; i < w.slots.n && rc == PARE_OK; i++) {
		if (!task_tick(in->task, w.slots.n + 2.0 * i,
		    3.0 * w.slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = edit_map(e, w.slots.ref[i], 0, sparsify, &w, err);
	}
	if (rc == PARE_OK && !real && w.group == 0)
		ops_note(note, "no weights to look at: the same share was "
		    "assumed in each matrix");
	if (rc == PARE_OK) {
		if (!e->ctx.estimate && (w.wanda || w.sparsegpt))
			note_seen(&w, note);
		note_forms(&w, e, note);
		ops_note_unshared(e, note);
	}
	weights_free(&w);
	return rc;
}

static const char *const by[] = { "magnitude", "random", "wanda", NULL };
static const char *const method[] = { "zero", "sparsegpt", NULL };
/* In the order of enum scope. */
static const char *const scope[] = { "global", "module", "row", NULL };

static unsigned
needs(const struct arg_list *list)
{
	return strcmp(arg_choice(list, "by"), "wanda") == 0 ||
	    strcmp(arg_choice(list, "method"), "sparsegpt") == 0 ?
	    OP_NEED_GRAM_ALL : 0;
}

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT, .flags = ARG_WORD,
	    .unit = "weights",
	    .text = "share or count of the weights reached that end up zero" },
	{ .name = "target", .type = ARG_TARGET, .flags = ARG_WORD | ARG_REPEAT,
	    .text = "matrices; without it those of all linear maps" },
	{ .name = "scope", .type = ARG_CHOICE, .dflt = "global",
	    .choices = scope,
	    .text = "the amount is of all matrices together, of each, or of "
	    "each row; row without it for by=wanda" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "magnitude", .choices = by,
	    .text = "which weights go first" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "zero",
	    .choices = method,
	    .text = "the weights that stay are as they were, or make up" },
	{ .name = "pattern", .type = ARG_TEXT, .dflt = "free",
	    .text = "free, or N:M to keep N of each M neighbours in a row" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune weights 50%",
	"prune weights 80% L*.ffn scope=module",
	"prune weights pattern=2:4",
	"prune weights 30% all by=random",
	NULL
};

const struct op op_prune_weights = {
	.verb = "prune",
	.method = "weights",
	.title = "Prune single weights",
	.help = "Set single weights to zero and store what is left sparsely.\n"
	    "The amount is the share of the weights reached that are zero "
	    "afterwards; weights pruned before count towards it. by=magnitude "
	    "zeroes the smallest |w|, by=random draws from the seed, "
	    "by=wanda takes |w| times the root mean square of its input; "
	    "scope=global compares all matrices with each other, scope=module "
	    "takes the amount from each, scope=row from each row. "
	    "method=sparsegpt takes the weights whose loss the others can "
	    "best make up for, block by block of columns, and lets them. "
	    "by=wanda and method=sparsegpt need calib samples and report the "
	    "error of the outputs against by=magnitude. pattern=N:M keeps the N largest of "
	    "each M neighbours in a row (a shorter rest of a row keeps the "
	    "same share, rounded up) and sets the amount by itself.\n"
	    "Without a target all weight matrices of linear maps are meant; "
	    "embeddings only when named or with `all`; biases and norms never. "
	    "A matrix is stored as bitmap plus values or as column numbers "
	    "plus values, whichever is smaller, or dense where neither is: "
	    "then bytes do not shrink, and a note says so. Multiply-adds count "
	    "stored weights; time shrinks only where much is pruned. Prune "
	    "before factorizing.",
	.examples = examples,
	.args = args,
	.flags = OP_RANDOM,
	.run = run,
	.needs = needs
};
