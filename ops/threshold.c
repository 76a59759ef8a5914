/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A histogram of the high bits names the bin that holds the k-th smallest key, a
 * histogram of the low bits in that bin names the key.
 *
 * Over 100 M keys two such histograms cost ten times what reading the keys does.
 * So one block in SAMPLE goes into a first histogram, which tells between which
 * two bins the answer lies, with a margin; then one pass over all keys counts
 * those below and copies the few in between, and the two histograms are taken of
 * these. When the answer lies elsewhere after all, or too many keys lie in
 * between (a matrix that holds few different values), the histograms are taken
 * of all keys.
 */
#include "ops/threshold.h"

#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PARE_SANITIZED)
#define THRESHOLD_AVX2 1
#include <immintrin.h>
#endif

enum {
	LOW_BITS = 16,
	BINS = 1 << LOW_BITS,	/* the high part has 15 bits and fits too */
	SAMPLE = 32,
	SAMPLE_MIN = 64,	/* fewer blocks are not worth it */
	MARGIN = 64,		/* one part in so many, to both sides */
	ROOM = 8		/* one key in so many may lie in between */
};

struct work {
	const struct threshold_keys *keys;
	int64_t *count;		/* BINS a thread */
	/* Keys in between, and where each thread was before each part. */
	uint32_t *held;		/* room a thread */
	int64_t room, *at;	/* at: (parts + 1, threads) */
	uint32_t from, last;	/* the bounds, both inside */
	int64_t *below;		/* of each part, under `from` */
};

/* ---- loops over keys ---- */

static void
count_high(const threshold_word *w, int64_t n, int64_t *count)
{
	for (int64_t i = 0; i < n; i++)
		count[(w[i] & THRESHOLD_MASK) >> LOW_BITS]++;
}

static void
count_low(const threshold_word *w, int64_t n, uint32_t high, int64_t *count)
{
	for (int64_t i = 0; i < n; i++)
		if ((w[i] & THRESHOLD_MASK) >> LOW_BITS == high)
			count[w[i] & (BINS - 1)]++;
}

THRESHOLD_SIMD static void
count_around(const threshold_word *w, int64_t n, int32_t limit,
    struct threshold *out)
{
	int32_t below = 0, equal = 0;

#pragma omp simd reduction(+ : below, equal)
	for (int64_t i = 0; i < n; i++) {
		int32_t key = (int32_t)(w[i] & THRESHOLD_MASK);

		below += key < limit;
		equal += key == limit;
	}
	out->below += below;
	out->equal += equal;
}

#ifdef THRESHOLD_AVX2
/* The numbers of the bits set, in order: what _mm256_permutevar8x32 needs to
 * bring the lanes of these bits together. */
__attribute__((target("avx2,bmi2"))) static inline __m256i
places_of(unsigned bits)
{
	uint64_t bytes = _pdep_u64(bits, UINT64_C(0x0101010101010101)) * 0xff;

	bytes = _pext_u64(UINT64_C(0x0706050403020100), bytes);
	return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
}

/* hold_keys() for n a multiple of 8. */
__attribute__((target("avx2,bmi2,popcnt"))) static int64_t
hold_avx2(const threshold_word *w, int64_t n, int32_t from, int32_t last,
    uint32_t *held, int64_t *below)
{
	const __m256i mask = _mm256_set1_epi32((int)THRESHOLD_MASK);
	const __m256i low = _mm256_set1_epi32(from);
	const __m256i high = _mm256_set1_epi32(last);
	int64_t m = 0;

	for (int64_t i = 0; i < n; i += 8) {
		__m256i key = _mm256_and_si256(mask, _mm256_loadu_si256(
		    (const __m256i *)(const void *)(w + i)));
		__m256i under = _mm256_cmpgt_epi32(low, key);
		__m256i out = _mm256_or_si256(under,
		    _mm256_cmpgt_epi32(key, high));
		unsigned inside = ~(unsigned)_mm256_movemask_ps(
		    _mm256_castsi256_ps(out)) & 0xff;

		*below += __builtin_popcount((unsigned)_mm256_movemask_ps(
		    _mm256_castsi256_ps(under)));
		if (inside == 0)
			continue;
		_mm256_storeu_si256((__m256i *)(void *)(held + m),
		    _mm256_permutevar8x32_epi32(key, places_of(inside)));
		m += __builtin_popcount(inside);
	}
	return m;
}
#endif

/* Copies the keys from..last to held, which has room for n, and counts those
 * below; how many were copied. */
static int64_t
hold_keys(const threshold_word *w, int64_t n, int32_t from, int32_t last,
    uint32_t *held, int64_t *below)
{
	int64_t m = 0, i = 0;

#ifdef THRESHOLD_AVX2
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) {
		i = n & ~INT64_C(7);
		m = hold_avx2(w, i, from, last, held, below);
	}
#endif
	for (; i < n; i++) {
		int32_t key = (int32_t)(w[i] & THRESHOLD_MASK);

		*below += key < from;
		held[m] = (uint32_t)key;
		m += key >= from && key <= last;
	}
	return m;
}

/* ---- passes over all keys ---- */

static enum pare_rc
tick(const struct work *w, double part, struct pare_err *err)
{
	const struct threshold_keys *k = w->keys;
	double done = k->share * part / (double)k->parts;

	return task_tick(k->task, done, k->total, "matrices") ? PARE_OK :
	    task_error(err);
}

/* Histograms of one block in `step`: of the high bits, or of the low bits where
 * the high ones are `high` >= 0. */
static enum pare_rc
count_blocks(struct work *w, int64_t step, int64_t high, struct pare_err *err)
{
	const struct threshold_keys *k = w->keys;
	int64_t first = 0;

	memset(w->count, 0, (size_t)k->threads * BINS * sizeof *w->count);
	for (int part = 0; part < k->parts; part++) {
		if (task_canceled(k->task))
			return task_error(err);
#pragma omp parallel for schedule(dynamic, 4) num_threads(k->threads) \
    if (k->blocks[part] > 4 * step)
		for (int64_t b = first; b < k->blocks[part]; b += step) {
			int64_t *count = w->count +
			    (int64_t)omp_get_thread_num() * BINS, n;
			const threshold_word *v = k->block(k->ctx, part, b,
			    &n);

			if (high < 0)
				count_high(v, n, count);
			else
				count_low(v, n, (uint32_t)high, count);
		}
		/* Parts go on where the one before left off. */
		first = (first - k->blocks[part]) % step;
		first += first < 0 ? step : 0;
	}
	return PARE_OK;
}

/* The bin that holds the k-th smallest (k >= 1); *k becomes its rank there. */
static uint32_t
find_bin(const struct work *w, int64_t *k)
{
	for (uint32_t b = 0; b < BINS; b++) {
		int64_t sum = 0;

		for (int i = 0; i < w->keys->threads; i++)
			sum += w->count[(int64_t)i * BINS + b];
		if (*k <= sum)
			return b;
		*k -= sum;
	}
	return BINS - 1;
}

/* The counts of each part around the limit, by a pass over all keys. */
static enum pare_rc
count_parts(struct work *w, uint32_t limit, struct threshold *out,
    struct pare_err *err)
{
	const struct threshold_keys *k = w->keys;

	for (int part = 0; part < k->parts; part++) {
		int64_t below = 0, equal = 0;

		if (task_canceled(k->task))
			return task_error(err);
#pragma omp parallel for schedule(dynamic, 4) num_threads(k->threads) \
    if (k->blocks[part] > 4) reduction(+ : below, equal)
		for (int64_t b = 0; b < k->blocks[part]; b++) {
			struct threshold t = { 0 };
			int64_t n;
			const threshold_word *v = k->block(k->ctx, part, b,
			    &n);

			count_around(v, n, (int32_t)limit, &t);
			below += t.below;
			equal += t.equal;
		}
		out[part] = (struct threshold){ limit, below, equal };
	}
	return PARE_OK;
}

static enum pare_rc
find_in_all(struct work *w, int64_t k, struct threshold *out,
    struct pare_err *err)
{
	enum pare_rc rc = count_blocks(w, 1, -1, err);
	uint32_t high;

	if (rc != PARE_OK)
		return rc;
	high = find_bin(w, &k);
	rc = count_blocks(w, 1, high, err);
	if (rc != PARE_OK)
		return rc;
	return count_parts(w, high << LOW_BITS | find_bin(w, &k), out, err);
}

/* ---- in one pass ---- */

static int64_t
sum_counts(const struct work *w)
{
	int64_t sum = 0;

	for (int64_t i = 0; i < (int64_t)w->keys->threads * BINS; i++)
		sum += w->count[i];
	return sum;
}

/* Bounds that the sample gives for the k-th of n keys. */
static void
set_bounds(struct work *w, int64_t k, int64_t n)
{
	int64_t sample = sum_counts(w), margin = sample / MARGIN + 1;
	int64_t at = (int64_t)((double)k / (double)n * (double)sample);
	int64_t low = at - margin, high = at + margin;

	low = low < 1 ? 1 : low;
	high = high > sample ? sample : high;
	w->from = find_bin(w, &low) << LOW_BITS;
	w->last = find_bin(w, &high) << LOW_BITS | (BINS - 1);
	/* Beyond the sample there may be anything. */
	if (at - margin < 1)
		w->from = 0;
	if (at + margin > sample)
		w->last = THRESHOLD_MASK;
	w->last &= THRESHOLD_MASK;
}

/* Fills held, at and below; false when there is no room. */
static bool
hold_part(struct work *w, int part)
{
	const struct threshold_keys *k = w->keys;
	int64_t *at = w->at + (int64_t)(part + 1) * k->threads, below = 0;
	bool full = false;

	memcpy(at, at - k->threads, (size_t)k->threads * sizeof *at);
#pragma omp parallel for schedule(dynamic, 4) num_threads(k->threads) \
    if (k->blocks[part] > 4) reduction(+ : below) reduction(|| : full)
	for (int64_t b = 0; b < k->blocks[part]; b++) {
		int id = omp_get_thread_num();
		int64_t n;
		const threshold_word *v = k->block(k->ctx, part, b, &n);

		if (at[id] + n > w->room)
			full = true;
		else
			at[id] += hold_keys(v, n, (int32_t)w->from,
			    (int32_t)w->last, w->held + id * w->room + at[id],
			    &below);
	}
	w->below[part] = below;
	return !full;
}

/* The k-th smallest of the keys that are held. */
static uint32_t
find_held(struct work *w, int64_t k)
{
	const struct threshold_keys *keys = w->keys;
	const int64_t *end = w->at + (int64_t)keys->parts * keys->threads;
	uint32_t high = 0;

	for (int pass = 0; pass < 2; pass++) {
		memset(w->count, 0, (size_t)keys->threads * BINS *
		    sizeof *w->count);
#pragma omp parallel for schedule(static) num_threads(keys->threads)
		for (int i = 0; i < keys->threads; i++) {
			const uint32_t *v = w->held + i * w->room;
			int64_t *count = w->count + (int64_t)i * BINS;

			if (pass == 0)
				count_high(v, end[i], count);
			else
				count_low(v, end[i], high, count);
		}
		if (pass == 0)
			high = find_bin(w, &k);
	}
	return high << LOW_BITS | find_bin(w, &k);
}

static void
count_held(struct work *w, uint32_t limit, struct threshold *out)
{
	const struct threshold_keys *k = w->keys;

	for (int part = 0; part < k->parts; part++) {
		const int64_t *at = w->at + (int64_t)part * k->threads;

		out[part] = (struct threshold){ limit, w->below[part], 0 };
		for (int i = 0; i < k->threads; i++) {
			int64_t end = at[k->threads + i], n;

			for (int64_t j = at[i]; j < end; j += n) {
				n = end - j < 1 << 24 ? end - j : 1 << 24;
				count_around(w->held + i * w->room + j, n,
				    (int32_t)limit, &out[part]);
			}
		}
	}
}

/* *found is false when the answer lies outside the bounds, or there was no
 * room. */
static enum pare_rc
find_between(struct work *w, int64_t k, struct threshold *out, bool *found,
    struct pare_err *err)
{
	const struct threshold_keys *keys = w->keys;
	const int64_t *end = w->at + (int64_t)keys->parts * keys->threads;
	int64_t held = 0;

	*found = false;
	memset(w->at, 0, (size_t)keys->threads * sizeof *w->at);
	for (int part = 0; part < keys->parts; part++) {
		enum pare_rc rc = tick(w, part, err);

		if (rc != PARE_OK)
			return rc;
		if (!hold_part(w, part))
			return PARE_OK;
		k -= w->below[part];
	}
	for (int i = 0; i < keys->threads; i++)
		held += end[i];
	*found = k >= 1 && k <= held;
	if (*found)
		count_held(w, find_held(w, k), out);
	return PARE_OK;
}

/* ---- the whole ---- */

static bool
make_held(struct work *w, int64_t n, struct pare_err *err)
{
	size_t threads = (size_t)w->keys->threads;
	size_t parts = (size_t)w->keys->parts;

	/* Memory that is not written to costs nothing. */
	w->room = n / ROOM + (1 << 16);
	w->held = mem_big(threads * (size_t)w->room, sizeof *w->held, err);
	if (w->held != NULL)
		w->at = mem_big((parts + 1) * threads, sizeof *w->at, err);
	if (w->at != NULL)
		w->below = mem_big(parts, sizeof *w->below, err);
	return w->below != NULL;
}

/* Of a part all blocks but the last are alike. */
static int64_t
count_keys(const struct threshold_keys *k, int64_t *blocks)
{
	int64_t sum = 0;

	*blocks = 0;
	for (int part = 0; part < k->parts; part++) {
		int64_t n, last;

		*blocks += k->blocks[part];
		if (k->blocks[part] < 1)
			continue;
		k->block(k->ctx, part, 0, &n);
		k->block(k->ctx, part, k->blocks[part] - 1, &last);
		sum += n * (k->blocks[part] - 1) + last;
	}
	return sum;
}

enum pare_rc
threshold_find(const struct threshold_keys *keys, int64_t k,
    struct threshold *out, struct pare_err *err)
{
	struct work w = { .keys = keys };
	int64_t blocks, n = count_keys(keys, &blocks);
	enum pare_rc rc = PARE_ENOMEM;
	bool found = false;

	w.count = mem_big((size_t)keys->threads * BINS, sizeof *w.count, err);
	if (w.count != NULL)
		rc = tick(&w, 0, err);
	if (rc == PARE_OK && blocks >= SAMPLE_MIN) {
		rc = count_blocks(&w, SAMPLE, -1, err);
		if (rc == PARE_OK && !make_held(&w, n, err))
			rc = PARE_ENOMEM;
		if (rc == PARE_OK) {
			set_bounds(&w, k, n);
			rc = find_between(&w, k, out, &found, err);
		}
	}
	if (rc == PARE_OK && !found)
		rc = find_in_all(&w, k, out, err);
	free(w.count);
	free(w.held);
	free(w.at);
	free(w.below);
	return rc;
}
