/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The elementwise part of struct lanes, written once for all widths.
 *
 * 2^x = 2^n 2^f with n = round(x), |f| <= 1/2, and 2^f by the polynomial of degree
 * 6 that is best in relative error (1.9e-9). e^x takes n ln 2 away from x in two
 * parts, the first of so few digits that it is exact.
 *
 * GELU(x) = x Phi(x) = max(x, 0) - |x| Q(|x|) with the normal tail Q = 2^P: P is
 * the polynomial of degree 8 that is best for the absolute error of Q (7.5e-9)
 * on 0..10; it falls all the way, so beyond its range Q is still as good as 0.
 * One polynomial serves both signs and there is nothing to divide.
 *
 * tanh(x) = x T(x^2) below 5/8 (relative error 3.9e-9) and 1 - 2 / (1 + e^2x)
 * above, where the difference costs no digits. The polynomials are minimax fits
 * (Remez) made for this file.
 */
#ifndef PARE_ENGINE_ELEMENTWISE_LANES_H
#define PARE_ENGINE_ELEMENTWISE_LANES_H

#include <math.h>

#include "engine/lanes.h"
#include "engine/vector.h"

/* ==== functions of a vector ==== */

/* 2^(n + f), n whole. */
LANE_INLINE vf
v_exp2_parts(vf n, vf f)
{
	vf p = v_set(1.53458268e-4f);

	p = v_fma(p, f, v_set(1.33999317e-3f));
	p = v_fma(p, f, v_set(9.61848889e-3f));
	p = v_fma(p, f, v_set(5.55032878e-2f));
	p = v_fma(p, f, v_set(2.40226469e-1f));
	p = v_fma(p, f, v_set(6.93147206e-1f));
	p = v_fma(p, f, v_set(1.0f));
	return v_scale(p, n);
}

/* 2^x for -126 <= x <= 127; NaN stays NaN. */
LANE_INLINE vf
v_exp2(vf x)
{
	vf n = v_round(x);

	return v_exp2_parts(n, v_sub(x, n));
}

/* e^x; x outside -87..88 counts as those. */
LANE_INLINE vf
v_exp(vf x)
{
	const vf per_ln2 = v_set(1.44269504f);
	vf n, f;

	x = v_min(v_set(88.0f), v_max(v_set(-87.0f), x));
	n = v_round(v_mul(x, per_ln2));
	f = v_fnma(n, v_set(0.693359375f), x);
	f = v_fnma(n, v_set(-2.12194440e-4f), f);
	return v_exp2_parts(n, v_mul(f, per_ln2));
}

LANE_INLINE vf
v_sigmoid(vf x)
{
	return v_div(v_set(1.0f), v_add(v_set(1.0f),
	    v_exp(v_sub(v_set(0.0f), x))));
}

LANE_INLINE vf
v_tanh(vf x)
{
	vf t = v_abs(x), s = v_mul(x, x), p = v_set(-5.65998443e-3f), far;

	p = v_fma(p, s, v_set(2.05909839e-2f));
	p = v_fma(p, s, v_set(-5.37210666e-2f));
	p = v_fma(p, s, v_set(1.33311275e-1f));
	p = v_fma(p, s, v_set(-3.33332605e-1f));
	p = v_fma(v_mul(p, s), t, t);
	far = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(v_set(1.0f),
	    v_exp(v_add(t, t)))));
	return v_sign_of(v_below(t, v_set(0.625f), p, far), x);
}

/* P(Z > t) of a normal Z, t >= 0. */
LANE_INLINE vf
v_normal_tail(vf t)
{
	vf p = v_set(-2.77176597e-6f);

	t = v_min(v_set(9.75f), t);
	p = v_fma(p, t, v_set(3.86174483e-5f));
	p = v_fma(p, t, v_set(-1.82532441e-4f));
	p = v_fma(p, t, v_set(-1.45905556e-4f));
	p = v_fma(p, t, v_set(7.07551623e-3f));
	p = v_fma(p, t, v_set(-5.25050581e-2f));
	p = v_fma(p, t, v_set(-4.59204898e-1f));
	p = v_fma(p, t, v_set(-1.15110572f));
	p = v_fma(p, t, v_set(-1.0f));
	return v_exp2(p);
}

LANE_INLINE vf
v_gelu(vf x)
{
	vf t = v_abs(x);

	return v_fnma(t, v_normal_tail(t), v_max(v_set(0.0f), x));
}

/* x (1 + tanh u) / 2 is x times the sigmoid of 2 u. */
LANE_INLINE vf
v_gelu_tanh(vf x)
{
	const vf a = v_set(2 * 0.79788456f), b = v_set(0.044715f);
	vf u = v_mul(v_mul(a, x), v_fma(v_mul(b, x), x, v_set(1.0f)));

	return v_mul(x, v_sigmoid(u));
}

LANE_INLINE vf
v_act(vf x, enum act_kind act)
{
	switch (act) {
	case ACT_GELU: return v_gelu(x);
	case ACT_GELU_TANH: return v_gelu_tanh(x);
	case ACT_GELU_QUICK:
		return v_mul(x, v_sigmoid(v_mul(v_set(1.702f), x)));
	case ACT_SILU: return v_mul(x, v_sigmoid(x));
	case ACT_RELU: return v_max(v_set(0.0f), x);
	case ACT_TANH: return v_tanh(x);
	case ACT_LINEAR: case ACT_COUNT: break;
	}
	return x;
}

/* ==== slopes of the activations ==== */

LANE_INLINE vf
v_gelu_slope(vf x)
{
	vf q = v_normal_tail(v_abs(x)), one = v_set(1.0f);
	vf phi = v_below(v_set(0.0f), x, v_sub(one, q), q);
	vf e = v_exp(v_mul(v_mul(v_set(-0.5f), x), x));

	return v_fma(v_mul(v_set(0.39894228f), x), e, phi);
}

LANE_INLINE vf
v_gelu_tanh_slope(vf x)
{
	const vf a = v_set(2 * 0.79788456f), b = v_set(0.044715f);
	const vf one = v_set(1.0f);
	vf s = v_mul(v_mul(b, x), x), t;
	vf du = v_mul(a, v_fma(v_set(3.0f), s, one));

	t = v_sigmoid(v_mul(v_mul(a, x), v_add(s, one)));
	return v_fma(v_mul(v_mul(x, t), v_sub(one, t)), du, t);
}

/* Of x times the sigmoid of a x. */
LANE_INLINE vf
v_swish_slope(vf x, float a)
{
	vf ax = v_mul(v_set(a), x), s = v_sigmoid(ax);

	return v_fma(v_mul(ax, s), v_sub(v_set(1.0f), s), s);
}

LANE_INLINE vf
v_slope(vf x, enum act_kind act)
{
	const vf zero = v_set(0.0f), one = v_set(1.0f);
	vf t;

	switch (act) {
	case ACT_GELU: return v_gelu_slope(x);
	case ACT_GELU_TANH: return v_gelu_tanh_slope(x);
	case ACT_GELU_QUICK: return v_swish_slope(x, 1.702f);
	case ACT_SILU: return v_swish_slope(x, 1.0f);
	case ACT_RELU: return v_below(zero, x, one, zero);
	case ACT_TANH:
		t = v_tanh(x);
		return v_fnma(t, t, one);
	case ACT_LINEAR: case ACT_COUNT: break;
	}
	return one;
}

/* ==== loops ==== */

LANE_INLINE void
act_loop(float *y, const float *bias, enum act_kind act, int64_t n)
{
	for (int64_t i = 0; i < n; i += LANES) {
		vf v = v_get(y + i, n - i);

		if (bias)
			v = v_add(v, v_get(bias + i, n - i));
		v_put(y + i, v_act(v, act), n - i);
	}
}

/* The loop is made for each kind, so that it asks no questions inside. */
#define EACH_ACT(act, call) do {				\
	switch (act) {						\
	case ACT_GELU: call(ACT_GELU); break;			\
	case ACT_GELU_TANH: call(ACT_GELU_TANH); break;		\
	case ACT_GELU_QUICK: call(ACT_GELU_QUICK); break;	\
	case ACT_SILU: call(ACT_SILU); break;			\
	case ACT_RELU: call(ACT_RELU); break;			\
	case ACT_TANH: call(ACT_TANH); break;			\
	case ACT_LINEAR: case ACT_COUNT: call(ACT_LINEAR); break; \
	}							\
} while (0)

LANE static void
lane_bias_act(float *y, const float *bias, enum act_kind act, int64_t n)
{
	if (!bias && act == ACT_LINEAR)
		return;
#define CALL(kind) act_loop(y, bias, kind, n)
	EACH_ACT(act, CALL);
#undef CALL
}

LANE static void
lane_mul(float *y, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i += LANES)
		v_put(y + i, v_mul(v_get(y + i, n - i), v_get(x + i, n - i)),
		    n - i);
}

LANE_INLINE void
slope_loop(float *d, const float *x, enum act_kind act, int64_t n)
{
	for (int64_t i = 0; i < n; i += LANES)
		v_put(d + i, v_mul(v_get(d + i, n - i),
		    v_slope(v_get(x + i, n - i), act)), n - i);
}

LANE static void
lane_act_back(float *d, const float *x, enum act_kind act, int64_t n)
{
	if (act == ACT_LINEAR)
		return;
#define CALL(kind) slope_loop(d, x, kind, n)
	EACH_ACT(act, CALL);
#undef CALL
}

LANE static void
lane_exp(float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i += LANES)
		v_put(x + i, v_exp(v_get(x + i, n - i)), n - i);
}

LANE static float
lane_add(float *x, const float *y, const float *bias, int64_t n)
{
	const vf zero = v_set(0.0f);
	vf bad = zero;

	for (int64_t i = 0; i < n; i += LANES) {
		vf a = v_get(x + i, n - i);

		if (y)
			a = v_add(a, v_get(y + i, n - i));
		if (bias)
			a = v_add(a, v_get(bias + i, n - i));
		v_put(x + i, a, n - i);
		bad = v_fma(a, zero, bad);
	}
	return v_sum(bad);
}

/* ==== norms ==== */

/* out = x + y + bias, and the sum of it. */
LANE_INLINE vf
norm_sum(float *out, const float *x, const float *y, const float *bias,
    int64_t n)
{
	vf sum = v_set(0.0f);

	for (int64_t i = 0; i < n; i += LANES) {
		vf a = v_get(x + i, n - i), b;

		if (y) {
			b = v_get(y + i, n - i);
			if (bias)
				b = v_add(b, v_get(bias + i, n - i));
			a = v_add(a, b);
		}
		sum = v_add(sum, a);
		v_put(out + i, a, n - i);
	}
	return sum;
}

/* Sum of (x - mean)^2. */
LANE_INLINE vf
norm_squares(const float *x, vf mean, int64_t n)
{
	vf sum = v_set(0.0f);

	for (int64_t i = 0; i < n; i += LANES) {
		vf a = v_keep(v_sub(v_get(x + i, n - i), mean), n - i);

		sum = v_fma(a, a, sum);
	}
	return sum;
}

/* x = (x - mean) rstd w + b; NaN in a lane where a value is not finite. */
LANE_INLINE vf
norm_scale(float *x, const float *w, const float *b, vf mean, vf rstd,
    int64_t n)
{
	const vf zero = v_set(0.0f);
	vf bad = zero;

	for (int64_t i = 0; i < n; i += LANES) {
		vf a = v_mul(v_sub(v_get(x + i, n - i), mean), rstd);

		a = v_fma(a, v_get(w + i, n - i), b ? v_get(b + i, n - i) :
		    zero);
		v_put(x + i, a, n - i);
		bad = v_fma(a, zero, bad);
	}
	return bad;
}

LANE static float
lane_norm(float *out, const float *x, const float *y, const float *bias,
    const struct elem_norm *norm, int64_t r, int64_t n)
{
	float sum = v_sum(norm_sum(out, x, y, bias, n));
	float mean = norm->rms ? 0.0f : sum / (float)n;
	float var = v_sum(norm_squares(out, v_set(mean), n)) / (float)n;
	float rstd = 1.0f / sqrtf(var + norm->eps);

	if (norm->mean)
		norm->mean[r] = mean;
	if (norm->rstd)
		norm->rstd[r] = rstd;
	return v_sum(norm_scale(out, norm->w, norm->b, v_set(mean),
	    v_set(rstd), n));
}

/*
 * With h = (x - mean) rstd and g = dy w:
 * dx = rstd (g - mean(g) - h mean(g h)); an RMS norm has no mean(g) term.
 */
LANE static void
lane_norm_back(float *dx, const float *dy, const float *x,
    const struct elem_norm *norm, int64_t r, int64_t n)
{
	const float *w = norm->w, mean = norm->mean[r], rstd = norm->rstd[r];
	float sg = 0, sgh = 0;

#pragma omp simd reduction(+ : sg, sgh)
	for (int64_t i = 0; i < n; i++) {
		float g = dy[i] * w[i];

		sg += g;
		sgh += g * ((x[i] - mean) * rstd);
	}
	sg = norm->rms ? 0.0f : sg / (float)n;
	sgh /= (float)n;
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		dx[i] = rstd * (dy[i] * w[i] - sg -
		    (x[i] - mean) * rstd * sgh);
}

LANE static void
lane_norm_back_columns(float *dw, float *db, const float *dy, const float *x,
    const struct elem_norm *norm, int64_t rows, int64_t cols, int64_t n)
{
	for (int64_t r = 0; r < rows; r++) {
		const float *d = dy + r * cols, *v = x + r * cols;
		float mean = norm->mean[r], rstd = norm->rstd[r];

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

/* ==== softmax ==== */

/* Lanes past the end must not count as 0: the last values are met twice. */
LANE_INLINE float
lane_max(const float *s, int64_t n)
{
	vf top = v_set(s[0]);
	int64_t i = 0;

	for (; i + LANES <= n; i += LANES)
		top = v_max(v_load(s + i), top);
	if (i < n && n >= LANES)
		top = v_max(v_load(s + n - LANES), top);
	for (; n < LANES && i < n; i++)
		top = v_max(v_set(s[i]), top);
	return v_top(top);
}

/* s = e^(scale (s - max)), and their sum: softmax before the division. Nothing
 * gets so small that it or a product with it is denormal. */
LANE_INLINE float
lane_exp_sum(float *s, float scale, int64_t n)
{
	const vf top = v_set(lane_max(s, n)), low = v_set(-100.0f);
	const vf c = v_set(scale * 1.44269504f);
	vf sum = v_set(0.0f);

	for (int64_t i = 0; i < n; i += LANES) {
		vf a = v_mul(v_sub(v_get(s + i, n - i), top), c);

		a = v_exp2(v_max(low, a));
		v_put(s + i, a, n - i);
		sum = v_add(sum, v_keep(a, n - i));
	}
	return v_sum(sum);
}

LANE static void
lane_softmax(float *s, int64_t n)
{
	const vf f = v_set(1.0f / lane_exp_sum(s, 1.0f, n));

	for (int64_t i = 0; i < n; i += LANES)
		v_put(s + i, v_mul(v_get(s + i, n - i), f), n - i);
}

LANE static void
lane_softmax_back(float *d, const float *s, int64_t n)
{
	float sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += d[i] * s[i];
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		d[i] = s[i] * (d[i] - sum);
}

/* ==== dropout and the optimiser ==== */

/* A bijective mix of 32 bits: multiply and shift, two rounds. */
LANE_INLINE uint32_t
mix32(uint32_t h)
{
	h ^= h >> 16;
	h *= 0x7feb352du;
	h ^= h >> 15;
	h *= 0x846ca68bu;
	return h ^ h >> 16;
}

LANE static void
lane_drop(float *x, int64_t n, const uint32_t key[2], uint32_t first,
    uint32_t limit, float scale)
{
	const uint32_t low = key[0], high = key[1];

#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		uint32_t h = mix32(mix32(((uint32_t)i + first) ^ low) ^ high);

		x[i] = h < limit ? 0.0f : x[i] * scale;
	}
}

/*
 * 1 / sqrt(v) by Newton's method from a guess in the exponent bits: unlike
 * sqrtf() it cannot set errno, so the loop around it stays a vector loop.
 */
LANE_INLINE float
rsqrt(float v)
{
	union { float f; uint32_t u; } b = { .f = v };
	float h = 0.5f * v, y;

	b.u = 0x5f375a86u - (b.u >> 1);
	y = b.f;
	y *= 1.5f - h * y * y;
	y *= 1.5f - h * y * y;
	y *= 1.5f - h * y * y;
	return y;
}

LANE static void
lane_adam(float *w, const float *g, float *m, float *v, int64_t n,
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

LANE static float
lane_squares(const float *x, int64_t n)
{
	float s = 0;

#pragma omp simd reduction(+ : s)
	for (int64_t i = 0; i < n; i++)
		s += x[i] * x[i];
	return s;
}

#define ELEMENTWISE_LANES					\
	.bias_act = lane_bias_act, .mul = lane_mul,		\
	.act_back = lane_act_back, .add = lane_add,		\
	.norm = lane_norm, .norm_back = lane_norm_back,		\
	.norm_back_columns = lane_norm_back_columns,		\
	.softmax = lane_softmax, .softmax_back = lane_softmax_back, \
	.drop = lane_drop, .adam = lane_adam,			\
	.squares = lane_squares, .exp = lane_exp

#endif
