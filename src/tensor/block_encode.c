/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A group of values is fitted by base + step * code, code in 0..most, where base
 * is a number of its own or -zero * step. From several first steps around the one
 * that spans the values, codes are made; for those codes the best step and base
 * follow from the normal equations of weighted least squares, and so does what
 * they take off the error. The best of them are stored, and codes made anew.
 *
 * Blocks of 256 store the steps and bases of their groups as small multiples of
 * two numbers a block. When these multiples are chosen, their neighbours are
 * tried too, and at last the two numbers are fitted to all codes of the block.
 */
#include "tensor/block_encode.h"

#include <math.h>
#include <string.h>

#include "tensor/kernel.h"
#include "tensor/value.h"

enum {
	TRIES = 9,		/* steps to either side of the first */
	GROUP_MAX = 32,
	LANES = 8		/* that sums are kept in */
};

/* What one try changes in the number of codes that the values span. */
static const float try_by = 0.1f;

/* Values that share step and base. */
struct group {
	const float *x, *w;	/* w: a weight each */
	int n, most;
	int zero;		/* the code of 0; -1: base is its own */
	bool below;		/* base must not be above 0 */
};

struct fit {
	float step, base;
	float error;
	uint8_t code[GROUP_MAX];
};

static uint16_t
store_half(float f)
{
	return half_from_float(f > 65504.0f ? 65504.0f : f < -65504.0f ?
	    -65504.0f : f);
}

static float
as_half(float f)
{
	return half_to_float(store_half(f));
}

/* ---- codes for scales, and scales for codes ---- */

/* Both sizes of groups have loops of their own, of a known length. */
#define INLINE static inline __attribute__((always_inline))

/* The nearest code, as a float: what v is in steps. */
INLINE float
nearest(float v, float most)
{
	v = v > 0.0f ? v : 0.0f;
	v = v < most ? v : most;
	return (float)(int)(v + 0.5f);
}

INLINE float
inverse_of(float step)
{
	float inverse = step != 0.0f ? 1.0f / step : 0.0f;

	return isfinite(inverse) ? inverse : 0.0f;
}

INLINE float
fold(const float v[LANES])
{
	return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) +
	    (v[3] + v[7]));
}

/* The weighted square error that the nearest codes leave; they go to code, if
 * it is not NULL. */
INLINE float
error_of(const struct group *g, const int n, float step, float base,
    uint8_t *code)
{
	const float inverse = inverse_of(step), most = (float)g->most;
	/* No step: the code of zero. */
	const float none = inverse != 0.0f || g->zero < 0 ? 0.0f :
	    (float)g->zero;
	const float *x = g->x, *w = g->w;
	float sum[LANES] = { 0 };

	for (int i = 0; i < n; i += LANES) {
#pragma omp simd
		for (int k = 0; k < LANES; k++) {
			float c = nearest((x[i + k] - base) * inverse + none,
			    most);
			float e = x[i + k] - (base + step * c);

			sum[k] += w[i + k] * e * e;
			if (code != NULL)
				code[i + k] = (uint8_t)(int)c;
		}
	}
	return fold(sum);
}

/* What f->step and f->base come to. */
VALUE_SIMD static void
fit_error(const struct group *g, struct fit *f)
{
	f->error = g->n == 16 ? error_of(g, 16, f->step, f->base, NULL) :
	    error_of(g, 32, f->step, f->base, NULL);
}

VALUE_SIMD static void
fit_codes(const struct group *g, struct fit *f)
{
	f->error = g->n == 16 ? error_of(g, 16, f->step, f->base, f->code) :
	    error_of(g, 32, f->step, f->base, f->code);
}

/* Sums over a group: of weights w, codes c (less zero) and values x. */
struct sums {
	float w, wc, wcc, wx, wcx;
};

/* The same for the nearest codes; w and wx are left out. */
INLINE struct sums
sums_near(const struct group *g, const int n, float step, float base)
{
	const float zero = g->zero < 0 ? 0.0f : (float)g->zero;
	const float inverse = inverse_of(step), most = (float)g->most;
	const float *x = g->x, *w = g->w;
	float wc[LANES] = { 0 }, wcc[LANES] = { 0 }, wcx[LANES] = { 0 };

	for (int i = 0; i < n; i += LANES) {
#pragma omp simd
		for (int k = 0; k < LANES; k++) {
			float c = nearest((x[i + k] - base) * inverse, most) -
			    zero;
			float v = w[i + k] * c;

			wc[k] += v;
			wcc[k] += v * c;
			wcx[k] += v * x[i + k];
		}
	}
	return (struct sums) { .wc = fold(wc), .wcc = fold(wcc),
		.wcx = fold(wcx) };
}

VALUE_SIMD static struct sums
sums_of(const struct group *g, const uint8_t *code)
{
	const float zero = g->zero < 0 ? 0.0f : (float)g->zero;
	float w[LANES] = { 0 }, wc[LANES] = { 0 }, wcc[LANES] = { 0 };
	float wx[LANES] = { 0 }, wcx[LANES] = { 0 };
	const float *x = g->x, *weight = g->w;

	for (int i = 0; i < g->n; i += LANES) {
#pragma omp simd
		for (int k = 0; k < LANES; k++) {
			float v = weight[i + k], vx = v * x[i + k];
			float c = (float)code[i + k] - zero, vc = v * c;

			w[k] += v;
			wc[k] += vc;
			wcc[k] += vc * c;
			wx[k] += vx;
			wcx[k] += vx * c;
		}
	}
	return (struct sums) { fold(w), fold(wc), fold(wcc), fold(wx),
		fold(wcx) };
}

/* ---- the search in a group ---- */

/* The best step found so far and what it takes off the error. */
struct found {
	double gain, step, base;
};

/* Step, and base, of least error for the codes that s was made of. */
static inline void
solve(const struct group *g, const struct sums *s, struct found *best)
{
	double w = (double)s->w, wc = (double)s->wc, wcc = (double)s->wcc;
	double wx = (double)s->wx, wcx = (double)s->wcx;
	double det = w * wcc - wc * wc, step = wcx / wcc, base = 0;

	if (!(wcc > 0))
		return;
	if (g->zero < 0 && det > 0) {
		base = (wcc * wx - wc * wcx) / det;
		if (g->below && base > 0)
			base = 0;
		else
			step = (w * wcx - wc * wx) / det;
	}
	if (base * wx + step * wcx > best->gain && (g->zero >= 0 || step > 0))
		*best = (struct found) { base * wx + step * wcx, step, base };
}

/* The first step so that `span` becomes `codes` of it, or some more or less. */
INLINE void
try_steps(const struct group *g, const int n, float span, float codes,
    float base, struct sums all, struct found *best)
{
	for (int k = -TRIES; k <= TRIES; k++) {
		float step = span / (codes + try_by * (float)k);
		struct sums s = sums_near(g, n, step, g->zero < 0 ? base :
		    -(float)g->zero * step);

		s.w = all.w;
		s.wx = all.wx;
		solve(g, &s, best);
	}
}

VALUE_SIMD static void
search_steps(const struct group *g, float span, float codes, float base,
    struct found *best)
{
	struct sums all = { 0 };

	for (int i = 0; i < g->n; i++) {
		all.w += g->w[i];
		all.wx += g->w[i] * g->x[i];
	}
	if (g->n == 16)
		try_steps(g, 16, span, codes, base, all, best);
	else
		try_steps(g, 32, span, codes, base, all, best);
}

/* Keeps the better; scales are float16 when halves. */
static void
keep_better(const struct group *g, bool halves, float step, float base,
    struct fit *best)
{
	struct fit f = { .step = halves ? as_half(step) : step };

	f.base = g->zero >= 0 ? -(float)g->zero * f.step : halves ?
	    as_half(base) : base;
	fit_error(g, &f);
	if (f.error < best->error)
		*best = f;
}

/* The value of largest size. */
static float
largest(const struct group *g)
{
	float most = 0.0f;

	for (int i = 0; i < g->n; i++)
		if (fabsf(g->x[i]) > fabsf(most))
			most = g->x[i];
	return most;
}

/* Codes around zero: the largest value becomes about the first code, for there
 * is one more below zero than above; or, once, the last. */
static struct fit
search_even(const struct group *g, bool halves)
{
	const float below = (float)g->zero, above = (float)(g->most - g->zero);
	struct found found = { 0 };
	float most = largest(g);
	struct fit f = { 0 };

	fit_error(g, &f);
	if (most != 0.0f) {
		search_steps(g, -most, below, 0.0f, &found);
		keep_better(g, halves, (float)found.step, 0.0f, &f);
		keep_better(g, halves, -most / below, 0.0f, &f);
		keep_better(g, halves, most / above, 0.0f, &f);
	}
	if (halves)
		fit_codes(g, &f);
	return f;
}

static struct fit
search_affine(const struct group *g, bool halves)
{
	float low = g->x[0], high = g->x[0];
	struct found found = { 0 };
	struct fit f;

	for (int i = 1; i < g->n; i++) {
		low = g->x[i] < low ? g->x[i] : low;
		high = g->x[i] > high ? g->x[i] : high;
	}
	if (g->below && low > 0.0f)
		low = 0.0f;
	f = (struct fit) { .base = halves ? as_half(low) : low };
	fit_error(g, &f);
	if (high > low) {
		search_steps(g, high - low, (float)g->most, low, &found);
		keep_better(g, halves, (float)found.step, (float)found.base,
		    &f);
		keep_better(g, halves, (high - low) / (float)g->most, low, &f);
	}
	if (halves)
		fit_codes(g, &f);
	return f;
}

/* ---- blocks of 32 ---- */

static void
put_half(uint8_t *p, float f)
{
	uint16_t h = store_half(f);

	p[0] = (uint8_t)h;
	p[1] = (uint8_t)(h >> 8);
}

/* Low nibbles of codes: the first of `bytes`, then as many in the high ones. */
static void
join_nibbles(const uint8_t *code, int bytes, uint8_t *q)
{
	for (int i = 0; i < bytes; i++)
		q[i] = (uint8_t)((code[i] & 15) | code[i + bytes] << 4);
}

static void
join_fifths(const uint8_t *code, uint8_t *q)
{
	memset(q, 0, 4);
	for (int i = 0; i < 32; i++)
		q[i / 8] |= (uint8_t)((code[i] >> 4 & 1) << (i % 8));
}

static struct fit
search_32(const float *x, const float *w, int bits, bool even)
{
	struct group g = { .x = x, .w = w, .n = 32, .most = (1 << bits) - 1,
		.zero = even ? 1 << (bits - 1) : -1 };

	return even ? search_even(&g, true) : search_affine(&g, true);
}

static void
q4_0_encode(const float *x, const float *w, uint8_t *out)
{
	struct fit f = search_32(x, w, 4, true);

	put_half(out, f.step);
	join_nibbles(f.code, 16, out + 2);
}

static void
q4_1_encode(const float *x, const float *w, uint8_t *out)
{
	struct fit f = search_32(x, w, 4, false);

	put_half(out, f.step);
	put_half(out + 2, f.base);
	join_nibbles(f.code, 16, out + 4);
}

static void
q5_0_encode(const float *x, const float *w, uint8_t *out)
{
	struct fit f = search_32(x, w, 5, true);

	put_half(out, f.step);
	join_fifths(f.code, out + 2);
	join_nibbles(f.code, 16, out + 6);
}

static void
q5_1_encode(const float *x, const float *w, uint8_t *out)
{
	struct fit f = search_32(x, w, 5, false);

	put_half(out, f.step);
	put_half(out + 2, f.base);
	join_fifths(f.code, out + 4);
	join_nibbles(f.code, 16, out + 8);
}

static void
q8_0_encode(const float *x, const float *w, uint8_t *out)
{
	struct group g = { .x = x, .w = w, .n = 32, .most = 255, .zero = 128 };
	struct fit f = { .step = as_half(fabsf(largest(&g)) / 127.0f) };

	f.base = -128.0f * f.step;
	fit_codes(&g, &f);
	put_half(out, f.step);
	for (int i = 0; i < 32; i++)
		out[2 + i] = f.code[i] ^ 0x80;
}

/* ---- blocks of 256 ---- */

enum { GROUPS = 16, VALUES = 256 };

/* A block under construction: step of group j = d * times[j], its base
 * low * less[j] or -zero * step. */
struct super {
	struct group g[GROUPS];
	struct fit f[GROUPS];
	int groups;
	float d, low;
	int times[GROUPS], less[GROUPS];
	int first, last;	/* that times may be */
	float error;
};

static struct super
super_make(const float *x, const float *w, int groups, int most, int zero,
    int first, int last)
{
	struct super s = { .groups = groups, .first = first, .last = last };

	for (int j = 0; j < groups; j++) {
		int n = VALUES / groups;

		s.g[j] = (struct group) { .x = x + j * n, .w = w + j * n,
			.n = n, .most = most, .zero = zero,
			.below = zero < 0 };
		s.f[j] = zero < 0 ? search_affine(&s.g[j], false) :
		    search_even(&s.g[j], false);
	}
	return s;
}

static int
near(float v, float unit, int first, int last)
{
	float f = unit != 0.0f ? roundf(v / unit) : 0.0f;

	return !(f > (float)first) ? first : f > (float)last ? last : (int)f;
}

static struct fit
super_fit(const struct super *s, int j, int times, int less)
{
	struct fit f = { .step = s->d * (float)times };

	f.base = s->g[j].zero < 0 ? s->low * (float)less :
	    -(float)s->g[j].zero * f.step;
	fit_error(&s->g[j], &f);
	return f;
}

/* The multiples next to what was found for the group, and their neighbours. */
static void
choose_multiples(struct super *s, int j)
{
	const bool own = s->g[j].zero < 0;
	int times = near(s->f[j].step, s->d, s->first, s->last);
	int less = own ? near(s->f[j].base, s->low, 0, s->last) : 0;
	struct fit best = super_fit(s, j, times, less);

	s->times[j] = times;
	s->less[j] = less;
	for (int a = times - 1; a <= times + 1; a++)
		for (int b = less - own; b <= less + own; b++) {
			struct fit f;

			if (a < s->first || a > s->last || b < 0 ||
			    b > s->last || (a == times && b == less))
				continue;
			f = super_fit(s, j, a, b);
			if (f.error >= best.error)
				continue;
			best = f;
			s->times[j] = a;
			s->less[j] = b;
		}
	s->f[j] = best;
	fit_codes(&s->g[j], &s->f[j]);
}

static void
super_error(struct super *s)
{
	s->error = 0.0f;
	for (int j = 0; j < s->groups; j++)
		s->error += s->f[j].error;
}

/* The normal equations of d and low for all codes of the block. */
static void
super_solve(struct super *s)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0, det;

	for (int j = 0; j < s->groups; j++) {
		struct sums c = sums_of(&s->g[j], s->f[j].code);
		double a = s->times[j], b = s->less[j];

		aa += a * a * (double)c.wcc;
		ab += a * b * (double)c.wc;
		bb += b * b * (double)c.w;
		ax += a * (double)c.wcx;
		bx += b * (double)c.wx;
	}
	det = aa * bb - ab * ab;
	if (s->g[0].zero >= 0 || !(det > 0)) {
		if (aa > 0)
			s->d = as_half((float)((ax - ab * (double)s->low) /
			    aa));
		return;
	}
	s->d = as_half((float)((ax * bb - bx * ab) / det));
	s->low = as_half((float)((bx * aa - ax * ab) / det));
}

/* Multiples of d and low, then d and low for these, as long as it helps. */
static void
super_search(struct super *s)
{
	struct super next = *s;

	for (int j = 0; j < s->groups; j++)
		choose_multiples(s, j);
	super_error(s);
	for (int i = 0; i < 2; i++) {
		next = *s;
		super_solve(&next);
		for (int j = 0; j < s->groups; j++) {
			next.f[j].step = s->f[j].step;
			next.f[j].base = s->f[j].base;
			choose_multiples(&next, j);
		}
		super_error(&next);
		/* low is what is taken off: a sign of its own is none. */
		if (!(next.error < s->error) || next.low > 0.0f)
			return;
		*s = next;
	}
}

/* Six bits of step and as many of base for eight groups; twelve bytes. */
static void
join_scales(const int *times, const int *less, uint8_t *p)
{
	memset(p, 0, 12);
	for (int j = 0; j < 4; j++) {
		p[j] = (uint8_t)(times[j] | times[j + 4] >> 4 << 6);
		p[j + 4] = (uint8_t)(less[j] | less[j + 4] >> 4 << 6);
		p[j + 8] = (uint8_t)((times[j + 4] & 15) |
		    (less[j + 4] & 15) << 4);
	}
}

static struct super
search_k(const float *x, const float *w, int bits)
{
	struct super s = super_make(x, w, 8, (1 << bits) - 1, -1, 0, 63);
	float step = 0.0f, low = 0.0f;

	for (int j = 0; j < 8; j++) {
		step = s.f[j].step > step ? s.f[j].step : step;
		low = s.f[j].base < low ? s.f[j].base : low;
	}
	s.d = as_half(step / 63.0f);
	s.low = as_half(low / 63.0f);
	super_search(&s);
	return s;
}

static void
q4_k_encode(const float *x, const float *w, uint8_t *out)
{
	struct super s = search_k(x, w, 4);

	put_half(out, s.d);
	put_half(out + 2, -s.low);
	join_scales(s.times, s.less, out + 4);
	for (int j = 0; j < 8; j += 2)
		for (int i = 0; i < 32; i++)
			out[16 + 16 * j + i] = (uint8_t)(s.f[j].code[i] |
			    s.f[j + 1].code[i] << 4);
}

static void
q5_k_encode(const float *x, const float *w, uint8_t *out)
{
	struct super s = search_k(x, w, 5);

	put_half(out, s.d);
	put_half(out + 2, -s.low);
	join_scales(s.times, s.less, out + 4);
	memset(out + 16, 0, 32);
	for (int j = 0; j < 8; j++)
		for (int i = 0; i < 32; i++) {
			uint8_t *low = &out[48 + j / 2 * 32 + i];
			int c = s.f[j].code[i];

			*low = (uint8_t)(j % 2 == 0 ? c & 15 :
			    *low | (c & 15) << 4);
			out[16 + i] |= (uint8_t)(c >> 4 << j);
		}
}

static void
q6_k_encode(const float *x, const float *w, uint8_t *out)
{
	struct super s = super_make(x, w, 16, 63, 32, -128, 127);
	float step = 0.0f;

	for (int j = 0; j < 16; j++)
		if (fabsf(s.f[j].step) > fabsf(step))
			step = s.f[j].step;
	s.d = as_half(step / -128.0f);
	super_search(&s);
	memset(out, 0, 192);
	for (int i = 0; i < VALUES; i++) {
		int c = s.f[i / 16].code[i % 16];
		int half = i / 128, k = i % 128 / 32, l = i % 32;

		out[half * 64 + k % 2 * 32 + l] |= (uint8_t)((c & 15) <<
		    (k / 2 * 4));
		out[128 + half * 32 + l] |= (uint8_t)(c >> 4 << (2 * k));
	}
	for (int j = 0; j < 16; j++)
		out[192 + j] = (uint8_t)s.times[j];
	put_half(out + 208, s.d);
}

/* ---- rows ---- */

typedef void encode_fn(const float *x, const float *w, uint8_t *out);

static encode_fn *const encoders[BLOCK_KINDS] = {
	[BLOCK_Q4_0] = q4_0_encode, [BLOCK_Q4_1] = q4_1_encode,
	[BLOCK_Q5_0] = q5_0_encode, [BLOCK_Q5_1] = q5_1_encode,
	[BLOCK_Q8_0] = q8_0_encode, [BLOCK_Q4_K] = q4_k_encode,
	[BLOCK_Q5_K] = q5_k_encode, [BLOCK_Q6_K] = q6_k_encode
};

bool
block_can_encode(enum block_kind kind)
{
	return kind < BLOCK_KINDS && encoders[kind] != NULL;
}

int64_t
block_bytes(enum block_kind kind, int64_t rows, int64_t cols)
{
	const struct block_facts *f = &block_table[kind];

	return value_mul(rows, value_mul(cols / f->values, f->bytes));
}

/* A row under way: values no further out than any scale reaches, weights between
 * 1 and what is almost nothing, so that no sum of theirs overflows or is lost. */
struct line {
	enum block_kind kind;
	const float *weight;	/* of all columns, or NULL */
	float most;		/* of them */
};

static const float value_most = 65504.0f * 128.0f, weight_least = 1e-6f;

static void
take_block(const struct line *l, const float *x, int64_t c, int n, float *v,
    float *w)
{
	for (int i = 0; i < n; i++) {
		float f = x[c + i];

		v[i] = f > value_most ? value_most : f < -value_most ?
		    -value_most : f;
		w[i] = l->weight != NULL && l->most > 0.0f ?
		    l->weight[c + i] / l->most : 1.0f;
		w[i] = w[i] < weight_least ? weight_least : w[i];
	}
}

static void
encode_row(const struct line *l, const float *x, int64_t cols, uint8_t *out)
{
	const struct block_facts *f = &block_table[l->kind];
	float v[BLOCK_VALUES_MAX], w[BLOCK_VALUES_MAX];

	for (int64_t c = 0; c < cols; c += f->values, out += f->bytes) {
		take_block(l, x, c, f->values, v, w);
		encoders[l->kind](v, w, out);
	}
}

static enum pare_rc
check_values(const float *x, int64_t rows, int64_t cols, struct pare_err *err)
{
	for (int64_t r = 0; r < rows; r++, x += cols) {
		if (value_bits_finite(value_max_bits(x, cols)))
			continue;
		for (int64_t c = 0; c < cols; c++)
			if (!isfinite(x[c]))
				return err_set(err, PARE_EFORMAT, "the value "
				    "at row %lld, column %lld is %g, which "
				    "blocks cannot hold", (long long)r + 1,
				    (long long)c + 1, (double)x[c]);
	}
	return PARE_OK;
}

static enum pare_rc
check_weights(struct line *l, int64_t cols, struct pare_err *err)
{
	for (int64_t c = 0; l->weight != NULL && c < cols; c++) {
		float w = l->weight[c];

		if (!(w >= 0.0f) || !isfinite(w))
			return err_set(err, PARE_EFORMAT, "the weight of "
			    "column %lld is %g; it must be a number from 0 on",
			    (long long)c + 1, (double)w);
		l->most = w > l->most ? w : l->most;
	}
	return PARE_OK;
}

static enum pare_rc
check_kind(enum block_kind kind, int64_t cols, struct pare_err *err)
{
	if (!block_can_encode(kind))
		return err_set(err, PARE_EUSER, "pare reads blocks of type %s "
		    "and does not make them", kind < BLOCK_KINDS ?
		    block_table[kind].name : "that");
	if (cols % block_table[kind].values != 0)
		return err_set(err, PARE_EUSER, "rows of %lld values are no "
		    "whole blocks of %s, which are %d", (long long)cols,
		    block_table[kind].name, block_table[kind].values);
	return PARE_OK;
}

enum pare_rc
block_encode(enum block_kind kind, const float *x, int64_t rows,
    int64_t cols, const float *weight, uint8_t *out, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc = check_kind(kind, cols, err);
	struct line l = { .kind = kind, .weight = weight };
	int64_t step = 1, bytes;

	if (rc == PARE_OK)
		rc = check_weights(&l, cols, err);
	if (rc != PARE_OK)
		return rc;
	bytes = block_bytes(kind, 1, cols);
	if (cols > 0)
		step += VALUE_BLOCK / 4 / cols;
	for (int64_t r0 = 0; r0 < rows; r0 += step) {
		int64_t end = rows - r0 < step ? rows : r0 + step;

		if (!task_tick(task, (double)r0, (double)rows, "rows"))
			return task_error(err);
		rc = check_values(x + r0 * cols, end - r0, cols, err);
		if (rc != PARE_OK)
			return rc;
#pragma omp parallel for schedule(dynamic) num_threads(kernel_threads()) \
    if ((end - r0) * cols > VALUE_PARALLEL / 16)
		for (int64_t r = r0; r < end; r++)
			encode_row(&l, x + r * cols, cols, out + r * bytes);
	}
	return PARE_OK;
}
