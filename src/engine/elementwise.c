/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * elementwise: loops that compilers turn into vector code.
 *
 * exp(x) = 2^k e^f with k = round(x / ln 2), |f| <= ln 2 / 2, and e^f by its
 * Taylor series to degree 7 (error below 1e-8 relative). k is read from the low
 * bits of x / ln 2 + 1.5 * 2^23, which rounds without a call and without a
 * conversion that is undefined for NaN.
 *
 * GELU(x) = x Phi(x) = max(x, 0) - |x| Q(|x|) with the normal tail
 * Q(z) = erfc(z / sqrt 2) / 2 by formula 7.1.26 of Abramowitz and Stegun
 * (absolute error of erf below 1.5e-7). Writing the tail directly keeps small
 * results on the negative side from cancelling.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "engine/elementwise.h"
#include "tensor/kernel.h"

/* One copy for each vector width, chosen when the program starts; the sanitizers
 * start before that. Named by level and not by processor: a "haswell" copy would
 * not be taken on machines of another maker. */
#if defined(__x86_64__) && defined(__gnu_linux__) && __GNUC__ >= 12 && \
    !defined(PARE_SANITIZED) && !defined(__clang__)
#define CLONES __attribute__((noinline, \
    target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES __attribute__((noinline))
#endif

enum {
	SPAN = 4096,		/* values of one piece of a long vector */
	ROWS_MIN = 8192		/* fewer values than this stay in one thread */
};

union bits {
	float f;
	uint32_t u;
};

static inline float
clamp(float x, float low, float high)
{
	x = x < low ? low : x;
	return x > high ? high : x;
}

static inline float
exp_fast(float x)
{
	const float magic = 12582912.0f;	/* 1.5 * 2^23 */
	union bits k, s;
	float n, f, p;

	x = clamp(x, -87.0f, 88.0f);
	k.f = x * 1.44269504f + magic;
	n = k.f - magic;
	f = x - n * 0.693359375f + n * 2.12194440e-4f;
	p = 1.0f / 5040;
	p = p * f + 1.0f / 720;
	p = p * f + 1.0f / 120;
	p = p * f + 1.0f / 24;
	p = p * f + 1.0f / 6;
	p = p * f + 0.5f;
	p = p * f + 1.0f;
	p = p * f + 1.0f;
	s.u = (k.u - 0x4b400000u + 127u) << 23;
	return p * s.f;
}

static inline float
tanh_fast(float x)
{
	return 1.0f - 2.0f / (1.0f + exp_fast(2.0f * x));
}

static inline float
sigmoid(float x)
{
	return 1.0f / (1.0f + exp_fast(-x));
}

/* P(Z > |x|) of a normal Z; *e gets exp(-x^2 / 2). */
static inline float
normal_tail(float x, float *e)
{
	float z = fabsf(x);
	float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * z);
	float p = 1.061405429f;

	p = p * t - 1.453152027f;
	p = p * t + 1.421413741f;
	p = p * t - 0.284496736f;
	p = p * t + 0.254829592f;
	*e = exp_fast(-0.5f * x * x);
	return 0.5f * p * t * *e;
}

static inline float
gelu(float x)
{
	float e;

	return (x > 0.0f ? x : 0.0f) - fabsf(x) * normal_tail(x, &e);
}

static inline float
gelu_tanh(float x)
{
	float u = 0.79788456f * x * (1.0f + 0.044715f * x * x);

	/* x (1 + tanh u) / 2 is x times the sigmoid of 2 u */
	return x * sigmoid(2.0f * u);
}

static inline float
gelu_slope(float x)
{
	float e, q = normal_tail(x, &e);

	return (x > 0.0f ? 1.0f - q : q) + 0.39894228f * x * e;
}

static inline float
gelu_tanh_slope(float x)
{
	float u = 0.79788456f * x * (1.0f + 0.044715f * x * x);
	float du = 0.79788456f * (1.0f + 3 * 0.044715f * x * x);
	float s = sigmoid(2.0f * u);

	return s + 2.0f * x * s * (1.0f - s) * du;
}

static inline float
swish_slope(float x, float a)
{
	float s = sigmoid(a * x);

	return s + a * x * s * (1.0f - s);
}

#define EACH(expression) do {				\
	_Pragma("omp simd")				\
	for (int64_t i = 0; i < n; i++) {		\
		float v = x[i];				\
		x[i] = (expression);			\
	}						\
} while (0)

CLONES static void
act_span(float *x, enum act_kind act, int64_t n)
{
	switch (act) {
	case ACT_GELU: EACH(gelu(v)); break;
	case ACT_GELU_TANH: EACH(gelu_tanh(v)); break;
	case ACT_GELU_QUICK: EACH(v * sigmoid(1.702f * v)); break;
	case ACT_SILU: EACH(v * sigmoid(v)); break;
	case ACT_RELU: EACH(v < 0.0f ? 0.0f : v); break;
	case ACT_TANH: EACH(tanh_fast(v)); break;
	case ACT_LINEAR: case ACT_COUNT: break;
	}
}
#undef EACH

#define EACH(slope) do {				\
	_Pragma("omp simd")				\
	for (int64_t i = 0; i < n; i++) {		\
		float v = x[i];				\
		d[i] *= (slope);			\
	}						\
} while (0)

static inline float
tanh_slope(float x)
{
	float t = tanh_fast(x);

	return 1.0f - t * t;
}

CLONES static void
act_back_span(float *d, const float *x, enum act_kind act, int64_t n)
{
	switch (act) {
	case ACT_GELU: EACH(gelu_slope(v)); break;
	case ACT_GELU_TANH: EACH(gelu_tanh_slope(v)); break;
	case ACT_GELU_QUICK: EACH(swish_slope(v, 1.702f)); break;
	case ACT_SILU: EACH(swish_slope(v, 1.0f)); break;
	case ACT_RELU: EACH(v > 0.0f ? 1.0f : 0.0f); break;
	case ACT_TANH: EACH(tanh_slope(v)); break;
	case ACT_LINEAR: case ACT_COUNT: break;
	}
}
#undef EACH

CLONES static void
add_span(float *y, const float *x, int64_t n)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		y[i] += x[i];
}

CLONES static void
mul_span(float *y, const float *x, int64_t n)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		y[i] *= x[i];
}

/* 0 when all of x is finite, else NaN. */
CLONES static float
poison_span(const float *x, int64_t n)
{
	float s = 0;

#pragma omp simd reduction(+ : s)
	for (int64_t i = 0; i < n; i++)
		s += x[i] * 0.0f;
	return s;
}

/* How many threads a loop over so many values deserves. */
static int
threads_for(int64_t values)
{
	return values < ROWS_MIN ? 1 : kernel_threads();
}

void
elem_bias_act(float *y, const float *bias, enum act_kind act, int64_t rows,
    int64_t cols)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++) {
		if (bias)
			add_span(y + r * cols, bias, cols);
		act_span(y + r * cols, act, cols);
	}
}

void
elem_gate(float *y, const float *bias, float *gate, const float *gate_bias,
    enum act_kind act, int64_t rows, int64_t cols)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++) {
		float *a = y + r * cols, *g = gate + r * cols;

		if (bias)
			add_span(a, bias, cols);
		if (gate_bias)
			add_span(g, gate_bias, cols);
		act_span(g, act, cols);
		mul_span(a, g, cols);
	}
}

void
elem_act_back(float *d, const float *x, enum act_kind act, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(n))
	for (int64_t i = 0; i < n; i += SPAN)
		act_back_span(d + i, x + i, act, n - i < SPAN ? n - i : SPAN);
}

CLONES static void
sum_row(float *out, const float *x, const float *y, const float *bias,
    int64_t n)
{
	if (y && bias) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			out[i] = x[i] + (y[i] + bias[i]);
	} else if (y) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			out[i] = x[i] + y[i];
	} else if (out != x) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			out[i] = x[i];
	}
}

CLONES static void
row_moments(const float *x, int64_t n, bool rms, float eps, float *mean,
    float *rstd)
{
	float s = 0, v = 0, m = 0;

	if (!rms) {
#pragma omp simd reduction(+ : s)
		for (int64_t i = 0; i < n; i++)
			s += x[i];
		m = s / (float)n;
	}
#pragma omp simd reduction(+ : v)
	for (int64_t i = 0; i < n; i++)
		v += (x[i] - m) * (x[i] - m);
	*mean = m;
	*rstd = 1.0f / sqrtf(v / (float)n + eps);
}

/* x = (x - mean) rstd w + b; returns NaN when a result is not finite. */
CLONES static float
scale_row(float *x, const float *w, const float *b, float mean, float rstd,
    int64_t n)
{
	float bad = 0;

	if (b) {
#pragma omp simd reduction(+ : bad)
		for (int64_t i = 0; i < n; i++) {
			float y = (x[i] - mean) * rstd * w[i] + b[i];

			x[i] = y;
			bad += y * 0.0f;
		}
	} else {
#pragma omp simd reduction(+ : bad)
		for (int64_t i = 0; i < n; i++) {
			float y = (x[i] - mean) * rstd * w[i];

			x[i] = y;
			bad += y * 0.0f;
		}
	}
	return bad;
}

bool
elem_norm(float *out, const float *x, const float *y, const float *bias,
    const struct elem_norm *n, int64_t rows, int64_t cols)
{
	int bad = 0;

#pragma omp parallel for schedule(static) reduction(+ : bad) \
    num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++) {
		float *o = out + r * cols, mean, rstd;

		sum_row(o, x + r * cols, y ? y + r * cols : NULL, bias, cols);
		row_moments(o, cols, n->rms, n->eps, &mean, &rstd);
		if (n->mean)
			n->mean[r] = mean;
		if (n->rstd)
			n->rstd[r] = rstd;
		bad += scale_row(o, n->w, n->b, mean, rstd, cols) != 0.0f;
	}
	return bad == 0;
}

/*
 * With h = (x - mean) rstd and g = dy w:
 * dx = rstd (g - mean(g) - h mean(g h)); an RMS norm has no mean(g) term.
 */
CLONES static void
norm_back_row(float *dx, const float *dy, const float *x, const float *w,
    float mean, float rstd, bool rms, int64_t n)
{
	float sg = 0, sgh = 0;

#pragma omp simd reduction(+ : sg, sgh)
	for (int64_t i = 0; i < n; i++) {
		float g = dy[i] * w[i];

		sg += g;
		sgh += g * ((x[i] - mean) * rstd);
	}
	sg = rms ? 0.0f : sg / (float)n;
	sgh /= (float)n;
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		dx[i] = rstd * (dy[i] * w[i] - sg -
		    (x[i] - mean) * rstd * sgh);
}

CLONES static void
norm_back_columns(float *dw, float *db, const float *dy, const float *x,
    const struct elem_norm *s, int64_t rows, int64_t cols, int64_t n)
{
	for (int64_t r = 0; r < rows; r++) {
		const float *d = dy + r * cols, *v = x + r * cols;
		float mean = s->mean[r], rstd = s->rstd[r];

#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			dw[i] += d[i] * ((v[i] - mean) * rstd);
		if (!db)
			continue;
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			db[i] += d[i];
	}
}

void
elem_norm_back(float *dx, const float *dy, const float *x,
    const struct elem_norm *n, float *dw, float *db, int64_t rows,
    int64_t cols)
{
	const int64_t step = 64;

#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t c = 0; c < cols; c += step)
		norm_back_columns(dw + c, db ? db + c : NULL, dy + c, x + c, n,
		    rows, cols, cols - c < step ? cols - c : step);
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++)
		norm_back_row(dx + r * cols, dy + r * cols, x + r * cols, n->w,
		    n->mean[r], n->rstd[r], n->rms, cols);
}

bool
elem_add(float *x, const float *y, const float *bias, int64_t rows,
    int64_t cols)
{
	int bad = 0;

#pragma omp parallel for schedule(static) reduction(+ : bad) \
    num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++) {
		float *o = x + r * cols;

		if (y)
			add_span(o, y + r * cols, cols);
		if (bias)
			add_span(o, bias, cols);
		bad += poison_span(o, cols) != 0.0f;
	}
	return bad == 0;
}

/* The largest of n values: in lanes, for a maximum is not associative to a
 * compiler that thinks of NaN. */
static inline float
span_max(const float *s, int64_t n)
{
	float lane[16], top;
	int64_t i = 0;

	for (int j = 0; j < 16; j++)
		lane[j] = s[0];
	for (; i + 16 <= n; i += 16) {
#pragma omp simd
		for (int j = 0; j < 16; j++)
			lane[j] = s[i + j] > lane[j] ? s[i + j] : lane[j];
	}
	for (; i < n; i++)
		lane[0] = s[i] > lane[0] ? s[i] : lane[0];
	top = lane[0];
	for (int j = 1; j < 16; j++)
		top = lane[j] > top ? lane[j] : top;
	return top;
}

CLONES void
elem_softmax(float *s, int64_t n)
{
	float top = span_max(s, n), sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++) {
		s[i] = exp_fast(s[i] - top);
		sum += s[i];
	}
	sum = 1.0f / sum;
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		s[i] *= sum;
}

CLONES void
elem_softmax_back(float *d, const float *s, int64_t n)
{
	float sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += d[i] * s[i];
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		d[i] = s[i] * (d[i] - sum);
}

void
elem_sum_rows(float *sum, const float *d, int64_t rows, int64_t cols)
{
	const int64_t step = 64;

#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t c = 0; c < cols; c += step)
		for (int64_t r = 0; r < rows; r++)
			add_span(sum + c, d + r * cols + c,
			    cols - c < step ? cols - c : step);
}

/* A bijective mix of 32 bits: multiply and shift, two rounds. */
static inline uint32_t
mix32(uint32_t h)
{
	h ^= h >> 16;
	h *= 0x7feb352du;
	h ^= h >> 15;
	h *= 0x846ca68bu;
	return h ^ h >> 16;
}

CLONES static void
drop_span(float *x, int64_t n, uint32_t low, uint32_t high, uint32_t first,
    uint32_t limit, float scale)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		uint32_t h = mix32(mix32(((uint32_t)i + first) ^ low) ^ high);

		x[i] = h < limit ? 0.0f : x[i] * scale;
	}
}

void
elem_drop_span(float *x, int64_t n, const struct elem_drop *d, uint64_t first)
{
	uint64_t key;

	if (d->rate <= 0.0f)
		return;
	if (d->rate >= 1.0f) {
		memset(x, 0, (size_t)n * sizeof(*x));
		return;
	}
	/* the upper half of a very long index goes into the key */
	key = d->key + (first >> 32) * 0x9e3779b97f4a7c15u;
	drop_span(x, n, (uint32_t)key, (uint32_t)(key >> 32), (uint32_t)first,
	    (uint32_t)((double)d->rate * 4294967296.0), 1.0f / (1.0f - d->rate));
}

void
elem_drop(float *x, int64_t rows, int64_t cols, const struct elem_drop *d)
{
	if (d->rate <= 0.0f)
		return;
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols))
	for (int64_t r = 0; r < rows; r++)
		elem_drop_span(x + r * cols, cols, d, (uint64_t)(r * cols));
}

/*
 * 1 / sqrt(v) by Newton's method from a guess in the exponent bits: unlike
 * sqrtf() it cannot set errno, so the loop around it stays a vector loop.
 */
static inline float
rsqrt(float v)
{
	union bits b = { .f = v };
	float h = 0.5f * v, y;

	b.u = 0x5f375a86u - (b.u >> 1);
	y = b.f;
	y *= 1.5f - h * y * y;
	y *= 1.5f - h * y * y;
	y *= 1.5f - h * y * y;
	return y;
}

CLONES static void
adam_span(float *w, const float *g, float *m, float *v, int64_t n,
    const struct elem_adam *a)
{
	const float b1 = a->beta1, b2 = a->beta2, scale = a->scale;
	const float fix2 = a->fix2, eps = a->eps, keep = 1 - a->rate * a->decay;
	const float step = a->rate * a->fix1;

#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float d = g[i] * scale, u;

		m[i] = b1 * m[i] + (1.0f - b1) * d;
		v[i] = b2 * v[i] + (1.0f - b2) * d * d;
		u = v[i] * fix2 + 1e-30f;
		u = u * rsqrt(u);
		w[i] = w[i] * keep - step * m[i] / (u + eps);
	}
}

void
elem_adam_step(float *w, const float *g, float *m, float *v,
    const uint8_t *keep, int64_t n, const struct elem_adam *a)
{
#pragma omp parallel for schedule(static) num_threads(threads_for(n))
	for (int64_t i = 0; i < n; i += SPAN) {
		int64_t len = n - i < SPAN ? n - i : SPAN;

		adam_span(w + i, g + i, m + i, v + i, len, a);
		for (int64_t j = i; keep && j < i + len; j++)
			if (!keep[j])
				w[j] = m[j] = v[j] = 0.0f;
	}
}

CLONES static float
squares_span(const float *x, int64_t n)
{
	float s = 0;

#pragma omp simd reduction(+ : s)
	for (int64_t i = 0; i < n; i++)
		s += x[i] * x[i];
	return s;
}

double
elem_sum_squares(const float *x, int64_t n)
{
	double s = 0;

	for (int64_t i = 0; i < n; i += SPAN)
		s += squares_span(x + i, n - i < SPAN ? n - i : SPAN);
	return s;
}
