/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One-dimensional k-means. Values are sorted once; then a cluster is a run of the
 * sorted values, its mean the difference of two running sums, and one step of
 * Lloyd's algorithm (least squares quantization in PCM, 1982) costs one binary
 * search per boundary. It starts from runs of equal population. Two means are
 * found exactly, by trying every split.
 *
 * Many values are thrown into bins by the upper half of their bits, with a
 * running sum before each bin. A boundary lies inside one bin, so a step looks
 * at the values of that bin alone. Where there are too many boundaries for that,
 * and for two means, each bin is sorted. Throwing keeps the order of values and
 * sums have fixed lanes, so that no result depends on the number of threads.
 */
#include "tensor/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"
#include "tensor/value.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PARE_SANITIZED)
#define KMEANS_AVX2 1
#include <immintrin.h>
#endif

enum {
	KMEANS_STEPS = 50,
	SUMS_DENSE = 1 << 16,	/* up to here a running sum for every value */
	SUMS_SHIFT = 8,		/* beyond, one for each 256 */
	SORT_SMALL = 48,
	BINS_MIN = 1 << 18,	/* fewer values are sorted as they are */
	BINS_BITS = 4,		/* means of more bits want all bins sorted */
	BIN_SHIFT = 16,
	BINS = 1 << (32 - BIN_SHIFT),
	LANES = 8
};

/* ---- sorting ---- */

static inline uint32_t
key_of(float f)
{
	uint32_t b;

	memcpy(&b, &f, sizeof(b));
	return b ^ ((uint32_t)-(int32_t)(b >> 31) | UINT32_C(0x80000000));
}

static void
sort_small(float *v, int64_t n)
{
	for (int64_t i = 1; i < n; i++) {
		float x = v[i];
		int64_t j = i;

		for (; j > 0 && key_of(v[j - 1]) > key_of(x); j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
}

static void
scatter(const float *from, float *to, int64_t n, int shift, uint32_t mask,
    int64_t *place)
{
	for (int64_t i = 0; i < n; i++)
		to[place[(key_of(from[i]) >> shift) & mask]++] = from[i];
}

static void
place_digits(const int64_t *count, int digits, int64_t *place)
{
	int64_t at = 0;

	for (int d = 0; d < digits; d++) {
		place[d] = at;
		at += count[d];
	}
}

/* Least significant digit first, digits of `bits` bits, of keys that differ in
 * their lower `wide` bits alone. */
static void
sort_radix(float *v, float *tmp, int64_t n, int bits, int wide)
{
	const uint32_t mask = (1u << bits) - 1;
	float *from = v, *to = tmp;

	for (int shift = 0; shift < wide; shift += bits) {
		int64_t count[2048], place[2048];
		float *swap = from;

		memset(count, 0, (mask + 1) * sizeof(*count));
		for (int64_t i = 0; i < n; i++)
			count[(key_of(from[i]) >> shift) & mask]++;
		place_digits(count, (int)mask + 1, place);
		scatter(from, to, n, shift, mask, place);
		from = to;
		to = swap;
	}
	if (from != v)
		memcpy(v, from, (size_t)n * sizeof(*v));
}

void
sort_floats(float *v, float *tmp, int64_t n)
{
	if (n <= SORT_SMALL)
		sort_small(v, n);
	else
		sort_radix(v, tmp, n, n < 1 << 14 ? 8 : 11, 32);
}

/* ---- running sums ---- */

static int
sums_shift(int64_t n)
{
	return n <= SUMS_DENSE ? 0 : SUMS_SHIFT;
}

size_t
kmeans_sums(int64_t n)
{
	return (size_t)(n >> sums_shift(n)) + 2;
}

/* sums[j] = v[0] + ... + v[(j << shift) - 1]. */
static void
sums_fill(const float *v, int64_t n, double *sums)
{
	int shift = sums_shift(n);
	double s = 0.0;

	for (int64_t i = 0; i < n; i++) {
		if ((i & ((1 << shift) - 1)) == 0)
			sums[i >> shift] = s;
		s += v[i];
	}
	if ((n & ((1 << shift) - 1)) == 0)
		sums[n >> shift] = s;
}

static double
sum_to(const float *v, int64_t n, const double *sums, int64_t i)
{
	int shift = sums_shift(n);
	double s = sums[i >> shift];

	for (int64_t j = i >> shift << shift; j < i; j++)
		s += v[j];
	return s;
}

/* ---- Lloyd ---- */

/* The first of sorted values that is above x. */
static int64_t
upper_bound(const float *v, int64_t n, double x)
{
	int64_t lo = 0, hi = n;

	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;

		if ((double)v[mid] <= x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Means of the runs bound[k]..bound[k + 1]; an empty run keeps its mean. */
static void
run_means(const float *v, int64_t n, const double *sums, const int64_t *bound,
    int k, double *mean)
{
	double before = 0.0;

	for (int i = 0; i < k; i++) {
		double after = sum_to(v, n, sums, bound[i + 1]);

		if (bound[i + 1] > bound[i])
			mean[i] = (after - before) /
			    (double)(bound[i + 1] - bound[i]);
		before = after;
	}
}

/* False when no boundary moved. */
static bool
move_bounds(const float *v, int64_t n, const double *mean, int k,
    int64_t *bound)
{
	bool moved = false;

	for (int i = 1; i < k; i++) {
		int64_t b = upper_bound(v, n, 0.5 * (mean[i - 1] + mean[i]));

		b = b < bound[i - 1] ? bound[i - 1] : b;
		moved |= b != bound[i];
		bound[i] = b;
	}
	return moved;
}

/* When there are no more different values than means, they are the table. */
static bool
distinct_table(const float *v, int64_t n, int k, float *table)
{
	int m = 0;

	for (int64_t i = 0; i < n; i++) {
		if (i > 0 && v[i] == v[i - 1])
			continue;
		if (m == k)
			return false;
		table[m++] = v[i];
	}
	for (int i = m; i < k; i++)
		table[i] = m > 0 ? table[m - 1] : 0.0f;
	return true;
}

void
kmeans_table(const float *sorted, int64_t n, int bits, double *sums,
    float *table)
{
	int k = 1 << bits;
	int64_t bound[257];
	double mean[256] = { 0 };

	if (distinct_table(sorted, n, k, table))
		return;
	sums_fill(sorted, n, sums);
	for (int i = 0; i <= k; i++)
		bound[i] = (int64_t)((__int128)n * i / k);
	for (int step = 0; step < KMEANS_STEPS; step++) {
		run_means(sorted, n, sums, bound, k, mean);
		if (!move_bounds(sorted, n, mean, k, bound))
			break;
	}
	run_means(sorted, n, sums, bound, k, mean);
	for (int i = 0; i < k; i++)
		table[i] = (float)mean[i];
}

/*
 * The squared error of a split is the sum of squares less what the two means
 * explain, s1^2 / n1 + s2^2 / n2; the largest of these wins. Sums are of
 * deviations from the overall mean, which keeps them accurate.
 */
void
kmeans_binary(const float *sorted, int64_t n, float *table)
{
	double mean = 0.0, left = 0.0, best = -1.0, best_left = 0.0;
	int64_t best_n = 0;

	if (distinct_table(sorted, n, 2, table))
		return;
	for (int64_t i = 0; i < n; i++)
		mean += sorted[i];
	mean /= (double)n;
	for (int64_t i = 0; i + 1 < n; i++) {
		double gain;

		left += sorted[i] - mean;
		if (sorted[i] == sorted[i + 1])
			continue;
		gain = left * left * (1.0 / (double)(i + 1) +
		    1.0 / (double)(n - i - 1));
		if (gain > best) {
			best = gain;
			best_n = i + 1;
			best_left = left;
		}
	}
	table[0] = (float)(mean + best_left / (double)best_n);
	table[1] = (float)(mean - best_left / (double)(n - best_n));
}

/* ---- bins ---- */

struct bins {
	float *v;		/* by bins, within each as they came */
	int64_t n;
	int64_t *start;		/* BINS + 1 */
	double *sum;		/* BINS + 1: of all values before the bin */
	int64_t *place;		/* BINS a thread */
	int threads;
};

static void
bins_free(struct bins *b)
{
	free(b->v);
	free(b->start);
	free(b->sum);
	free(b->place);
}

static bool
bins_room(struct bins *b, struct pare_err *err)
{
	b->v = mem_big((size_t)b->n, sizeof(*b->v), err);
	if (b->v != NULL)
		b->start = mem_big(BINS + 1, sizeof(*b->start), err);
	if (b->start != NULL)
		b->sum = mem_big(BINS + 1, sizeof(*b->sum), err);
	if (b->sum != NULL)
		b->place = mem_big_zero((size_t)b->threads * BINS,
		    sizeof(*b->place), err);
	return b->place != NULL;
}

static inline uint32_t
bin_of(float f)
{
	return key_of(f) >> BIN_SHIFT;
}

/* Counts of each thread become the places where it begins to write. */
static void
bins_places(struct bins *b)
{
	int64_t at = 0;

	for (int bin = 0; bin < BINS; bin++) {
		b->start[bin] = at;
		for (int t = 0; t < b->threads; t++) {
			int64_t *p = b->place + (int64_t)t * BINS + bin;
			int64_t count = *p;

			*p = at;
			at += count;
		}
	}
	b->start[BINS] = at;
}

/* Each thread has a stretch of v, which it counts, then throws. */
static void
bins_throw(struct bins *b, const float *v)
{
	int64_t size = (b->n + b->threads - 1) / b->threads;

	for (int pass = 0; pass < 2; pass++) {
#pragma omp parallel for schedule(static) num_threads(b->threads)
		for (int t = 0; t < b->threads; t++) {
			int64_t *place = b->place + (int64_t)t * BINS;
			int64_t i = t * size, end = i + size;

			end = end < b->n ? end : b->n;
			for (; i < end && pass == 0; i++)
				place[bin_of(v[i])]++;
			for (; i < end; i++)
				b->v[place[bin_of(v[i])]++] = v[i];
		}
		if (pass == 0)
			bins_places(b);
	}
}

/* Bins of infinite values and NaN lie at both ends. */
static bool
bins_finite(const struct bins *b)
{
	const int ends = 0x7f800000 >> BIN_SHIFT;

	return b->start[BINS / 2 - ends] == 0 &&
	    b->start[BINS / 2 + ends] == b->n;
}

/* Values up to a place in order. */
struct cut {
	int64_t n;
	double sum;
};

typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t words __attribute__((vector_size(LANES * 4)));
typedef double doubles __attribute__((vector_size(LANES * 8)));

/* Those of v that are at most x. */
VALUE_SIMD static struct cut
cut_of(const float *v, int64_t n, float x)
{
	struct cut c = { 0, 0.0 };
	doubles sum = { 0 };
	words count = { 0 };
	floats f;
	int64_t i;

	for (i = 0; i + LANES <= n; i += LANES) {
		words in;

		memcpy(&f, v + i, sizeof(f));
		in = f <= x;
		count -= in;
		f = (floats)((words)f & in);
		sum += __builtin_convertvector(f, doubles);
	}
	for (; i < n; i++) {
		c.n += v[i] <= x;
		c.sum += v[i] <= x ? (double)v[i] : 0.0;
	}
	for (int k = 0; k < LANES; k++) {
		c.n += count[k];
		c.sum += sum[k];
	}
	return c;
}

static void
bins_sum(struct bins *b)
{
	double sum = 0.0;

#pragma omp parallel for schedule(dynamic, 64) num_threads(b->threads)
	for (int bin = 0; bin < BINS; bin++)
		b->sum[bin] = cut_of(b->v + b->start[bin],
		    b->start[bin + 1] - b->start[bin], INFINITY).sum;
	for (int bin = 0; bin < BINS; bin++) {
		double here = b->sum[bin];

		b->sum[bin] = sum;
		sum += here;
	}
	b->sum[BINS] = sum;
}

/* The values that are at most x. */
static struct cut
bins_cut(const struct bins *b, double x)
{
	float f = (float)x;
	struct cut c;
	uint32_t bin;

	if ((double)f > x)
		f = nextafterf(f, -INFINITY);
	f += 0.0f;		/* both zeros are at most either */
	bin = bin_of(f);
	c = cut_of(b->v + b->start[bin], b->start[bin + 1] - b->start[bin],
	    f);
	c.n += b->start[bin];
	c.sum += b->sum[bin];
	return c;
}

static void
bins_sort_one(struct bins *b, int64_t bin, float *tmp)
{
	int64_t at = b->start[bin], n = b->start[bin + 1] - at;

	if (n <= SORT_SMALL)
		sort_small(b->v + at, n);
	else
		sort_radix(b->v + at, tmp + at, n, 8, BIN_SHIFT);
}

/* The first n values in order; sorts the bin where they end. */
static struct cut
bins_first(struct bins *b, int64_t n, float *tmp)
{
	int64_t lo = 0, hi = BINS - 1;
	struct cut c;

	while (lo < hi) {	/* the last bin that starts at most there */
		int64_t mid = (lo + hi + 1) / 2;

		if (b->start[mid] <= n)
			lo = mid;
		else
			hi = mid - 1;
	}
	bins_sort_one(b, lo, tmp);
	c = cut_of(b->v + b->start[lo], n - b->start[lo], INFINITY);
	c.n = n;
	c.sum += b->sum[lo];
	return c;
}

/* Means of the runs between cuts; an empty run keeps its mean. */
static void
cut_means(const struct cut *cut, int k, double *mean)
{
	for (int i = 0; i < k; i++)
		if (cut[i + 1].n > cut[i].n)
			mean[i] = (cut[i + 1].sum - cut[i].sum) /
			    (double)(cut[i + 1].n - cut[i].n);
}

/* False when no cut moved. */
static bool
move_cuts(const struct bins *b, const double *mean, int k, struct cut *cut)
{
	struct cut to[1 << BINS_BITS];
	bool moved = false;

#pragma omp parallel for schedule(dynamic, 1) num_threads(b->threads) \
    if (b->threads > 1)
	for (int i = 1; i < k; i++)
		to[i] = bins_cut(b, 0.5 * (mean[i - 1] + mean[i]));
	for (int i = 1; i < k; i++) {
		if (to[i].n < cut[i - 1].n)
			to[i] = cut[i - 1];
		moved |= to[i].n != cut[i].n;
		cut[i] = to[i];
	}
	return moved;
}

/* At most 2^BINS_BITS means. */
static void
bins_table(struct bins *b, int bits, float *tmp, float *table)
{
	int k = 1 << bits;
	struct cut cut[(1 << BINS_BITS) + 1] = { { 0, 0.0 } };
	double mean[1 << BINS_BITS] = { 0 };

	bins_sum(b);
	for (int i = 1; i < k; i++)
		cut[i] = bins_first(b, (int64_t)((__int128)b->n * i / k), tmp);
	cut[k] = (struct cut) { b->n, b->sum[BINS] };
	for (int step = 0; step < KMEANS_STEPS; step++) {
		cut_means(cut, k, mean);
		if (!move_cuts(b, mean, k, cut))
			break;
	}
	cut_means(cut, k, mean);
	for (int i = 0; i < k; i++)
		table[i] = (float)mean[i];
}

static int
bins_used(const struct bins *b)
{
	int used = 0;

	for (int bin = 0; bin < BINS; bin++)
		used += b->start[bin + 1] > b->start[bin];
	return used;
}

/* ---- all values of a matrix ---- */

static void
table_of_sorted(const float *sorted, int64_t n, int bits, bool binary,
    double *sums, float *table)
{
	if (binary)
		kmeans_binary(sorted, n, table);
	else
		kmeans_table(sorted, n, bits, sums, table);
}

static enum pare_rc
few_values(const float *v, int64_t n, int bits, bool binary, bool *finite,
    float *table, struct pare_err *err)
{
	double *sums = mem_big(kmeans_sums(n), sizeof(*sums), err);
	float *copy = sums == NULL ? NULL : mem_big((size_t)n,
	    2 * sizeof(*copy), err);

	*finite = value_bits_finite(value_max_bits(v, n));
	if (copy != NULL && *finite) {
		if (n > 0)
			memcpy(copy, v, (size_t)n * sizeof(*copy));
		sort_floats(copy, copy + n, n);
		table_of_sorted(copy, n, bits, binary, sums, table);
	}
	free(sums);
	free(copy);
	return copy != NULL ? PARE_OK : PARE_ENOMEM;
}

/* Both ways out of bins need as much room again: for sorting a bin. */
static enum pare_rc
many_means(struct bins *b, int bits, bool binary, struct task *task,
    float *table, struct pare_err *err)
{
	/* The zeros are one value in two bins. */
	bool sort = binary || bits > BINS_BITS ||
	    bins_used(b) <= (1 << bits) + 1;
	float *tmp = mem_big((size_t)b->n, sizeof(*tmp), err);
	double *sums = tmp == NULL ? NULL : mem_big(kmeans_sums(b->n),
	    sizeof(*sums), err);

	if (sums != NULL && !sort) {
		bins_table(b, bits, tmp, table);
	} else if (sums != NULL) {
#pragma omp parallel for schedule(dynamic, 64) num_threads(b->threads)
		for (int64_t bin = 0; bin < BINS; bin++)
			bins_sort_one(b, bin, tmp);
		if (!task_canceled(task))
			table_of_sorted(b->v, b->n, bits, binary, sums, table);
	}
	free(tmp);
	free(sums);
	if (sums == NULL)
		return PARE_ENOMEM;
	return task_canceled(task) ? task_error(err) : PARE_OK;
}

enum pare_rc
kmeans_matrix(const float *v, int64_t n, int bits, bool binary,
    struct task *task, bool *finite, float *table, struct pare_err *err)
{
	struct bins b = { .n = n, .threads = kernel_threads() };
	enum pare_rc rc = PARE_ENOMEM;

	if (n < BINS_MIN)
		return few_values(v, n, bits, binary, finite, table, err);
	if (bins_room(&b, err)) {
		bins_throw(&b, v);
		*finite = bins_finite(&b);
		rc = task_canceled(task) ? task_error(err) : PARE_OK;
		if (rc == PARE_OK && *finite)
			rc = many_means(&b, bits, binary, task, table, err);
	}
	bins_free(&b);
	return rc;
}

/* ---- codes ---- */

/*
 * The code of a value is the number of limits below it: a binary search, the
 * same steps for all values, so that vectors can take them together. The limits
 * that step l may look at, in order, are level[(1 << l) - 1 ...].
 */
static void
fill_levels(const float *table, int bits, float level[256])
{
	for (int l = 0; l < bits; l++) {
		int step = 1 << (bits - 1 - l);

		for (int i = 0; i < 1 << l; i++) {
			int at = (2 * i + 1) * step - 1;

			level[(1 << l) - 1 + i] = (float)(0.5 *
			    ((double)table[at] + table[at + 1]));
		}
	}
}

#ifdef KMEANS_AVX2
/* The limits that eight searches need in step l. */
__attribute__((target("avx2"))) static inline __m256
limits_of(const float *level, int l, __m256i code)
{
	const float *p = level + (1 << l) - 1;

	/* Up to eight limits are looked up in a register. Reading eight where
	 * there are fewer stays inside level[256]. */
	if (l <= 3)
		return _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), code);
	return _mm256_i32gather_ps(p, code, 4);
}

__attribute__((target("avx2"))) static inline
__attribute__((always_inline)) void
encode_eights(const float *level, const int bits, const float *v, int64_t n,
    uint8_t *code)
{
	const __m256i low = _mm256_set1_epi32(0x0c080400);
	int64_t i;

	for (i = 0; i < n; i += 8) {
		__m256 x = _mm256_loadu_ps(v + i);
		__m256i c = _mm256_setzero_si256();
		uint32_t half[2];

		for (int l = 0; l < bits; l++) {
			__m256 up = _mm256_cmp_ps(x, limits_of(level, l, c),
			    _CMP_GT_OQ);

			c = _mm256_sub_epi32(_mm256_add_epi32(c, c),
			    _mm256_castps_si256(up));
		}
		c = _mm256_shuffle_epi8(c, low);
		half[0] = (uint32_t)_mm256_extract_epi32(c, 0);
		half[1] = (uint32_t)_mm256_extract_epi32(c, 4);
		memcpy(code + i, half, 8);
	}
}

/* n is a multiple of 8. */
__attribute__((target("avx2"))) static void
encode_avx2(const float *level, int bits, const float *v, int64_t n,
    uint8_t *code)
{
	switch (bits) {
	case 1:
		encode_eights(level, 1, v, n, code);
		break;
	case 2:
		encode_eights(level, 2, v, n, code);
		break;
	case 3:
		encode_eights(level, 3, v, n, code);
		break;
	case 4:
		encode_eights(level, 4, v, n, code);
		break;
	default:
		encode_eights(level, bits, v, n, code);
	}
}
#endif

void
kmeans_encode(const float *table, int bits, const float *v, int64_t n,
    uint8_t *code)
{
	float level[256] = { 0 };
	int64_t i = 0;

	fill_levels(table, bits, level);
#ifdef KMEANS_AVX2
	if (__builtin_cpu_supports("avx2")) {
		i = n & ~INT64_C(7);
		encode_avx2(level, bits, v, i, code);
	}
#endif
	for (; i < n; i++) {
		unsigned c = 0;

		for (int l = 0; l < bits; l++)
			c = 2 * c + (v[i] > level[(1u << l) - 1 + c]);
		code[i] = (uint8_t)c;
	}
}
