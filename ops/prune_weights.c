/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune weights: single weights to zero, stored sparsely (Han et al., "Learning
 * both weights and connections", NeurIPS 2015; N:M after Mishra et al.,
 * "Accelerating sparse deep neural networks", 2021).
 *
 * Choosing is one selection over 31-bit keys: the bits of |w| without the sign,
 * which order as the values do (by=magnitude), or a hash of seed and place
 * (by=random), where a zero weight always has key 0 so that what is pruned
 * already counts first. The k-th smallest key is found exactly in two passes:
 * a histogram of the high bits names the bin, a histogram of the low bits in
 * that bin names the key. Keys below it go, and of those equal to it the first
 * ones, so the count is exact and the same everywhere.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/common.h"
#include "ops/table.h"
#include "tensor/kernel.h"

enum {
	LOW_BITS = 16,
	BINS = 1 << LOW_BITS,	/* the high part has 15 bits and fits too */
	BLOCK = 16384,		/* weights a thread unpacks at a time */
	GROUP_MAX = 32
};

/* One distinct tensor. */
struct item {
	const struct tensor *t;
	struct slot_ref ref;
	int64_t n;
	uint64_t seed;
	uint32_t limit;		/* keys below go */
	int64_t ties;		/* so many keys equal to limit go as well */
	int64_t kept;
	bool skip;		/* nothing of it would change */
};

struct weights {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	struct item *item;
	int n;
	bool random;
	int keep, group;	/* pattern N:M; 0: free */
	/* Scratch, one row a thread. */
	int threads;
	int64_t block;		/* weights */
	float *value;
	uint32_t *key;
	int64_t *count;		/* BINS each */
};

/* What a pass over the keys of a tensor does. */
enum pass { PASS_HIGH, PASS_LOW, PASS_COUNT, PASS_MASK, PASS_GROUP };

struct scan {
	enum pass pass;
	uint32_t high;		/* PASS_LOW: the bin */
	uint32_t limit;
	uint8_t *mask;		/* PASS_MASK: 2 marks a tie; PASS_GROUP: may be
				 * NULL */
	int64_t below, equal;	/* PASS_COUNT */
	int64_t kept;		/* PASS_GROUP */
};

static uint32_t
magnitude_key(float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof u);
	return u & UINT32_C(0x7fffffff);
}

static uint32_t
random_key(uint64_t seed, int64_t at)
{
	return (uint32_t)(rng_derive(seed, (uint64_t)at) >> 33) | 1;
}

static void
make_keys(const struct weights *w, const struct item *it, int64_t at,
    const float *v, int64_t n, uint32_t *key)
{
	for (int64_t i = 0; i < n; i++)
		key[i] = magnitude_key(v[i]);
	for (int64_t i = 0; i < n && w->random; i++)
		if (key[i] != 0)
			key[i] = random_key(it->seed, at + i);
}

/* Keeps the N largest of m keys, earlier ones first among equals; how many. */
static int
keep_largest(const uint32_t *key, int m, int keep, uint8_t *mask)
{
	int kept = 0;

	for (int i = 0; i < m; i++) {
		int better = 0;

		for (int k = 0; k < m; k++)
			better += key[k] > key[i] || (k < i &&
			    key[k] == key[i]);
		if (key[i] != 0 && better < keep)
			kept++;
		if (mask != NULL)
			mask[i] = key[i] != 0 && better < keep;
	}
	return kept;
}

/* The tail of a row that M does not divide keeps the same share, rounded up. */
static int
keep_of(const struct weights *w, int64_t m)
{
	return (int)((m * w->keep + w->group - 1) / w->group);
}

static int64_t
group_rows(const struct weights *w, const uint32_t *key, int64_t rows,
    int64_t cols, uint8_t *mask)
{
	int64_t kept = 0;

	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c += w->group) {
			int64_t m = cols - c < w->group ? cols - c : w->group;

			kept += keep_largest(key + r * cols + c, (int)m,
			    keep_of(w, m), mask == NULL ? NULL :
			    mask + r * cols + c);
		}
	return kept;
}

static void
count_bins(const struct scan *s, const uint32_t *key, int64_t n,
    int64_t *count)
{
	if (s->pass == PASS_HIGH) {
		for (int64_t i = 0; i < n; i++)
			count[key[i] >> LOW_BITS]++;
		return;
	}
	for (int64_t i = 0; i < n; i++)
		if (key[i] >> LOW_BITS == s->high)
			count[key[i] & (BINS - 1)]++;
}

static void
count_keys(const uint32_t *key, int64_t n, uint32_t limit, int64_t *below,
    int64_t *equal)
{
	for (int64_t i = 0; i < n; i++) {
		*below += key[i] < limit;
		*equal += key[i] == limit;
	}
}

static void
mark_keys(const uint32_t *key, int64_t n, uint32_t limit, uint8_t *mask)
{
	for (int64_t i = 0; i < n; i++)
		mask[i] = (uint8_t)((key[i] >= limit) + (key[i] == limit));
}

/* One pass over all keys of one tensor, rows shared among threads. */
static void
scan_item(const struct weights *w, const struct item *it, struct scan *s)
{
	const struct tensor *t = it->t;
	int64_t step = w->block / t->cols;
	int64_t blocks = (t->rows + step - 1) / step;
	int64_t below = 0, equal = 0, kept = 0;
	const float *whole = tensor_f32(t);

#pragma omp parallel for schedule(dynamic, 4) num_threads(w->threads) \
    if (it->n > 4 * BLOCK) \
    reduction(+ : below, equal, kept)
	for (int64_t b = 0; b < blocks; b++) {
		int id = omp_get_thread_num();
		uint32_t *key = w->key + id * w->block;
		float *buf = w->value + id * w->block;
		int64_t row = b * step, at = row * t->cols;
		int64_t rows = t->rows - row < step ? t->rows - row : step;
		int64_t n = rows * t->cols;

		if (whole == NULL)
			tensor_decode(t, row, rows, buf);
		make_keys(w, it, at, whole == NULL ? buf : whole + at, n, key);
		if (s->pass == PASS_COUNT)
			count_keys(key, n, s->limit, &below, &equal);
		else if (s->pass == PASS_MASK)
			mark_keys(key, n, s->limit, s->mask + at);
		else if (s->pass == PASS_GROUP)
			kept += group_rows(w, key, rows, t->cols,
			    s->mask == NULL ? NULL : s->mask + at);
		else
			count_bins(s, key, n, w->count + (int64_t)id * BINS);
	}
	s->below += below;
	s->equal += equal;
	s->kept += kept;
}

/* The bin that holds the k-th smallest (k >= 1); *k becomes its rank there. */
static uint32_t
find_bin(struct weights *w, int64_t *k)
{
	for (uint32_t b = 0; b < BINS; b++) {
		int64_t sum = 0;

		for (int i = 0; i < w->threads; i++)
			sum += w->count[(int64_t)i * BINS + b];
		if (*k <= sum)
			return b;
		*k -= sum;
	}
	return BINS - 1;
}

/*
 * The k-th smallest key of items [first, first + n) into *limit; *ties: how
 * many keys equal to it are among the k.
 */
static enum pare_rc
find_limit(struct weights *w, int first, int n, int64_t k, uint32_t *limit,
    int64_t *ties, struct pare_err *err)
{
	struct scan s = { .pass = PASS_HIGH };
	size_t size = (size_t)w->threads * BINS * sizeof *w->count;

	for (int p = 0; p < 2; p++) {
		memset(w->count, 0, size);
		for (int i = first; i < first + n; i++) {
			if (!task_tick(w->in->task, i + (double)p * w->n / 2,
			    1.5 * w->n, "matrices"))
				return task_error(err);
			scan_item(w, &w->item[i], &s);
		}
		if (p == 0)
			s.high = find_bin(w, &k);
		s.pass = PASS_LOW;
	}
	*limit = s.high << LOW_BITS | find_bin(w, &k);
	*ties = k;
	return PARE_OK;
}

/* Removes k keys of items [first, first + n): sets limit, ties, kept. */
static enum pare_rc
choose_keys(struct weights *w, int first, int n, int64_t k,
    struct pare_err *err)
{
	uint32_t limit = 0;
	int64_t ties = 0;
	enum pare_rc rc = PARE_OK;

	if (k > 0)
		rc = find_limit(w, first, n, k, &limit, &ties, err);
	for (int i = first; i < first + n && rc == PARE_OK; i++) {
		struct item *it = &w->item[i];
		struct scan s = { .pass = PASS_COUNT, .limit = limit };

		/* Key 0 is a zero weight: enough of them are there. */
		it->skip = limit == 0;
		if (it->skip)
			continue;
		if (!task_tick(w->in->task, w->n + i / 2.0, 1.5 * w->n,
		    "matrices"))
			return task_error(err);
		scan_item(w, it, &s);
		it->limit = limit;
		it->ties = s.equal < ties ? s.equal : ties;
		ties -= it->ties;
		it->kept = it->n - s.below - it->ties;
		it->skip = s.below + it->ties == 0;
	}
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
		it->kept = it->n - cut;
		it->skip = it->kept >= tensor_nonzero(it->t);
	}
}

static int64_t
pattern_kept(const struct weights *w, const struct item *it)
{
	int64_t tail = it->t->cols % w->group;

	return it->t->rows * (it->t->cols / w->group * w->keep +
	    keep_of(w, tail));
}

static enum pare_rc
choose_pattern(struct weights *w, bool real, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++) {
		struct item *it = &w->item[i];
		struct scan s = { .pass = PASS_GROUP };

		if (!task_tick(w->in->task, i, 2.0 * w->n, "matrices"))
			return task_error(err);
		it->kept = pattern_kept(w, it);
		if (it->t->ghost || !real) {
			int64_t now = tensor_nonzero(it->t);

			it->skip = it->kept >= now;
			continue;
		}
		scan_item(w, it, &s);
		it->kept = s.kept;
		s = (struct scan){ .pass = PASS_COUNT, .limit = 0 };
		scan_item(w, it, &s);
		it->skip = it->kept == it->n - s.equal;
	}
	return PARE_OK;
}

static enum pare_rc
choose(struct weights *w, bool real, struct pare_err *err)
{
	const struct arg_value *amount = &w->what.amount;
	bool module = strcmp(arg_choice(w->in->args, "scope"), "module") == 0;
	enum pare_rc rc = PARE_OK;
	int64_t total = 0;

	if (w->group > 0)
		return choose_pattern(w, real, err);
	if (!real) {
		choose_evenly(w, amount, module);
		return PARE_OK;
	}
	for (int i = 0; i < w->n && module && rc == PARE_OK; i++)
		rc = choose_keys(w, i, 1, arg_amount(amount, w->item[i].n),
		    err);
	for (int i = 0; i < w->n; i++)
		total += w->item[i].n;
	if (!module)
		rc = choose_keys(w, 0, w->n, arg_amount(amount, total), err);
	return rc;
}

static enum pare_rc
make_scratch(struct weights *w, struct pare_err *err)
{
	size_t threads = (size_t)kernel_threads();

	w->threads = (int)threads;
	w->block = BLOCK;
	for (int i = 0; i < w->n; i++)
		if (w->item[i].t->cols > w->block)
			w->block = w->item[i].t->cols;
	w->value = mem_big(threads * (size_t)w->block, sizeof *w->value, err);
	if (w->value != NULL)
		w->key = mem_big(threads * (size_t)w->block, sizeof *w->key,
		    err);
	if (w->key != NULL)
		w->count = mem_big(threads * BINS, sizeof *w->count, err);
	return w->count == NULL ? PARE_ENOMEM : PARE_OK;
}

static void
weights_free(struct weights *w)
{
	ops_what_free(&w->what);
	ops_slots_free(&w->slots);
	free(w->item);
	free(w->value);
	free(w->key);
	free(w->count);
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

/* The mask of one tensor: 1 keeps. */
static void
make_mask(struct weights *w, const struct item *it, uint8_t *mask)
{
	struct scan s = { .pass = w->group > 0 ? PASS_GROUP : PASS_MASK,
	    .limit = it->limit, .mask = mask };
	uint8_t *p = mask, *end = mask + it->n;

	scan_item(w, it, &s);
	if (w->group > 0)
		return;
	for (int64_t i = 0; (p = memchr(p, 2, (size_t)(end - p))) != NULL; i++)
		*p++ = i >= it->ties;
}

static struct tensor *
sparsify(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct weights *w = arg;
	const struct item *it = w->item;
	struct tensor *out;
	uint8_t *mask;

	while (it->t != t)
		it++;
	if (it->skip)
		return tensor_ref(t);
	if (ctx->estimate || t->ghost)
		return tensor_sparsify(t, NULL, it->kept, ctx, err);
	mask = mem_big((size_t)it->n, 1, err);
	if (mask == NULL)
		return NULL;
	make_mask(w, it, mask);
	out = tensor_sparsify(t, mask, it->kept, ctx, err);
	free(mask);
	return out;
}

static enum pare_rc
check_change(const struct weights *w, struct pare_err *err)
{
	for (int i = 0; i < w->n; i++)
		if (!w->item[i].skip)
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

		changed += !w->item[i].skip;
		dense += !w->item[i].skip && t->form != FORM_BITMAP &&
		    t->form != FORM_INDEX;
	}
	if (dense > 0)
		ops_note(note, "%d of %d matrices are kept dense, with zeros "
		    "inside: neither sparse form is smaller", dense, changed);
}

static enum pare_rc
decide(struct weights *w, bool real, struct pare_err *err)
{
	enum pare_rc rc;

	w->random = strcmp(arg_choice(w->in->args, "by"), "random") == 0;
	if ((rc = ops_what_read(w->in, &w->what, err)) != PARE_OK ||
	    (rc = read_pattern(w, err)) != PARE_OK ||
	    (rc = check_amount(w, err)) != PARE_OK ||
	    (rc = list_items(w, err)) != PARE_OK ||
	    (rc = check_forms(w, err)) != PARE_OK)
		return rc;
	if (real && (rc = make_scratch(w, err)) != PARE_OK)
		return rc;
	if ((rc = choose(w, real, err)) != PARE_OK)
		return rc;
	return check_change(w, err);
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct weights w = { .in = in };
	bool real = ops_has_weights(in->model);
	enum pare_rc rc = decide(&w, real, err);

	for (int i = 0; i < w.slots.n && rc == PARE_OK; i++) {
		if (!task_tick(in->task, i + 2.0 * w.slots.n,
		    3.0 * w.slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = edit_map(e, w.slots.ref[i], 0, sparsify, &w, err);
	}
	if (rc == PARE_OK && !real && w.group == 0)
		ops_note(note, "no weights to look at: the same share was "
		    "assumed in each matrix");
	if (rc == PARE_OK) {
		note_forms(&w, e, note);
		ops_note_unshared(e, note);
	}
	weights_free(&w);
	return rc;
}

static const char *const by[] = { "magnitude", "random", NULL };
static const char *const scope[] = { "global", "module", NULL };

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_AMOUNT, .flags = ARG_WORD,
	    .unit = "weights",
	    .text = "share or count of the weights reached that end up zero" },
	{ .name = "target", .type = ARG_TARGET, .flags = ARG_WORD | ARG_REPEAT,
	    .text = "matrices; without it those of all linear maps" },
	{ .name = "scope", .type = ARG_CHOICE, .dflt = "global",
	    .choices = scope,
	    .text = "the amount is of all matrices together, or of each" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "magnitude", .choices = by,
	    .text = "which weights go first" },
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
	    "zeroes the smallest |w|, by=random draws from the seed; "
	    "scope=global compares all matrices with each other, scope=module "
	    "takes the amount from each. pattern=N:M keeps the N largest of "
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
	.run = run
};
