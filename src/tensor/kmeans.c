/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One-dimensional k-means. Values are sorted once; then a cluster is a run of the
 * sorted values, its mean the difference of two running sums, and one step of
 * Lloyd's algorithm (least squares quantization in PCM, 1982) costs one binary
 * search per boundary. It starts from runs of equal population. Two means are
 * found exactly, by trying every split.
 */
#include "tensor/kmeans.h"

#include <stdbool.h>
#include <string.h>

#include "tensor/value.h"

enum {
	KMEANS_STEPS = 50,
	SUMS_DENSE = 1 << 16,	/* up to here a running sum for every value */
	SUMS_SHIFT = 8,		/* beyond, one for each 256 */
	SORT_SMALL = 48,
	SORT_PARALLEL = 1 << 18
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

/* Least significant digit first, digits of `bits` bits. */
static void
sort_radix(float *v, float *tmp, int64_t n, int bits)
{
	const uint32_t mask = (1u << bits) - 1;
	float *from = v, *to = tmp;

	for (int shift = 0; shift < 32; shift += bits) {
		int64_t count[2048] = { 0 }, place[2048];
		float *swap = from;

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

static void
sort_serial(float *v, float *tmp, int64_t n)
{
	if (n <= SORT_SMALL)
		sort_small(v, n);
	else
		sort_radix(v, tmp, n, n < 1 << 14 ? 8 : 11);
}

static void
merge(const float *a, int64_t na, const float *b, int64_t nb, float *out)
{
	while (na > 0 && nb > 0) {
		bool left = key_of(*a) <= key_of(*b);

		*out++ = left ? *a : *b;
		a += left;
		na -= left;
		b += !left;
		nb -= !left;
	}
	memcpy(out, na > 0 ? a : b, (size_t)(na + nb) * sizeof(*out));
}

/* Pieces are sorted by one thread each and merged in pairs; the order of equal
 * keys cannot be seen, so the result does not depend on the threads. */
void
sort_floats(float *v, float *tmp, int64_t n, int threads)
{
	int64_t size;

	if (threads < 2 || n < SORT_PARALLEL) {
		sort_serial(v, tmp, n);
		return;
	}
	size = (n + threads - 1) / threads;
#pragma omp parallel for schedule(static) num_threads(threads)
	for (int64_t i = 0; i < n; i += size)
		sort_serial(v + i, tmp + i, n - i < size ? n - i : size);
	for (; size < n; size *= 2) {
#pragma omp parallel for schedule(static) num_threads(threads)
		for (int64_t i = 0; i < n; i += 2 * size) {
			int64_t na = n - i < size ? n - i : size;
			int64_t nb = n - i - na < size ? n - i - na : size;

			merge(v + i, na, v + i + na, nb, tmp + i);
			memcpy(v + i, tmp + i,
			    (size_t)(na + nb) * sizeof(*v));
		}
	}
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

/* ---- codes ---- */

/* Few values: count the thresholds below each, all lanes at once. */
static inline __attribute__((always_inline)) void
encode_few(const float *limit, const int k, const float *v, int64_t n,
    uint8_t *code)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		int32_t c = 0;

		for (int j = 0; j < k - 1; j++)
			c += v[i] > limit[j];
		code[i] = (uint8_t)c;
	}
}

VALUE_SIMD static void
encode_1(const float *limit, const float *v, int64_t n, uint8_t *code)
{
	encode_few(limit, 2, v, n, code);
}

VALUE_SIMD static void
encode_2(const float *limit, const float *v, int64_t n, uint8_t *code)
{
	encode_few(limit, 4, v, n, code);
}

VALUE_SIMD static void
encode_3(const float *limit, const float *v, int64_t n, uint8_t *code)
{
	encode_few(limit, 8, v, n, code);
}

VALUE_SIMD static void
encode_4(const float *limit, const float *v, int64_t n, uint8_t *code)
{
	encode_few(limit, 16, v, n, code);
}

static void
encode_many(const float *limit, int bits, const float *v, int64_t n,
    uint8_t *code)
{
	for (int64_t i = 0; i < n; i++) {
		unsigned c = 0;

		for (unsigned step = 1u << (bits - 1); step > 0; step /= 2)
			c += v[i] > limit[c + step - 1] ? step : 0;
		code[i] = (uint8_t)c;
	}
}

void
kmeans_encode(const float *table, int bits, const float *v, int64_t n,
    uint8_t *code)
{
	float limit[256];

	for (int i = 0; i + 1 < 1 << bits; i++)
		limit[i] = (float)(0.5 * ((double)table[i] + table[i + 1]));
	switch (bits) {
	case 1:
		encode_1(limit, v, n, code);
		break;
	case 2:
		encode_2(limit, v, n, code);
		break;
	case 3:
		encode_3(limit, v, n, code);
		break;
	case 4:
		encode_4(limit, v, n, code);
		break;
	default:
		encode_many(limit, bits, v, n, code);
	}
}
