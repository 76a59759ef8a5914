/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * vector: LANES floats side by side, for the three copies of the engine's loops.
 * A file lanes_LEVEL.c sets LANES to 16 (AVX-512), 8 (AVX2 with FMA) or 4 (what
 * the compiler has on any processor) and includes this first; every function of
 * the file is declared with LANE, which lets it use the instructions of its
 * level and no more.
 *
 * A value's result does not depend on the lane it is in: cutting a row at other
 * places changes no bit, but for sums over lanes.
 * v_max(a, b) and v_min(a, b) are b when a or b is NaN.
 */
#ifndef PARE_ENGINE_VECTOR_H
#define PARE_ENGINE_VECTOR_H

#include <stdint.h>
#include <string.h>

#include "tensor/cpu.h"

#ifndef LANES
#define LANES 4
#endif

#if LANES == 16
#define LANE CPU_TARGET(CPU_FEATURES_AVX512)
#elif LANES == 8
#define LANE CPU_TARGET(CPU_FEATURES_AVX2)
#else
#define LANE
#endif
/* Before a loop that must be taken apart for its arrays to be registers. */
#if defined(__clang__)
#define LANE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LANE_UNROLL _Pragma("GCC unroll 16")
#endif
/* Small enough to vanish in what calls it. */
#define LANE_INLINE LANE __attribute__((always_inline)) static inline

#if LANES > 4
#include <immintrin.h>
#endif

#if LANES == 16

typedef __m512 vf;

LANE_INLINE __mmask16
first_lanes(int64_t n)
{
	return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

LANE_INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
LANE_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
LANE_INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
LANE_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LANE_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
LANE_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LANE_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LANE_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LANE_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
LANE_INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }

/* a b + c and c - a b, rounded once where the level can. */
LANE_INLINE vf
v_fma(vf a, vf b, vf c)
{
	return _mm512_fmadd_ps(a, b, c);
}

LANE_INLINE vf
v_fnma(vf a, vf b, vf c)
{
	return _mm512_fnmadd_ps(a, b, c);
}

/* The first n values of p, 0 < n < LANES; other lanes are 0. */
LANE_INLINE vf
v_load_n(const float *p, int64_t n)
{
	return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

LANE_INLINE void
v_store_n(float *p, vf a, int64_t n)
{
	_mm512_mask_storeu_ps(p, first_lanes(n), a);
}

/* The first n lanes of a; other lanes are 0. */
LANE_INLINE vf
v_keep_n(vf a, int64_t n)
{
	return _mm512_maskz_mov_ps(first_lanes(n), a);
}

/* The nearest whole number, for |a| < 2^22. */
LANE_INLINE vf
v_round(vf a)
{
	return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT |
	    _MM_FROUND_NO_EXC);
}

/* a 2^n for whole n of -126 to 127. */
LANE_INLINE vf
v_scale(vf a, vf n)
{
	return _mm512_scalef_ps(a, n);
}

/* Per lane: x where a < b, else y. */
LANE_INLINE vf
v_below(vf a, vf b, vf x, vf y)
{
	return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y,
	    x);
}

/* |a| with the sign of s. */
LANE_INLINE vf
v_sign_of(vf a, vf s)
{
	const __m512i sign = _mm512_set1_epi32(INT32_MIN);

	/* 0xac: the third operand where the first has a bit, else the second */
	return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign,
	    _mm512_castps_si512(a), _mm512_castps_si512(s), 0xac));
}

/* Sum and largest of the lanes: halves first, then halves of halves. */
LANE_INLINE float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
LANE_INLINE float v_top(vf a) { return _mm512_reduce_max_ps(a); }

LANE_INLINE __m256
v_fold(vf a)
{
	return _mm256_add_ps(_mm512_castps512_ps256(a),
	    _mm512_extractf32x8_ps(a, 1));
}

/* The sums of four vectors. */
LANE_INLINE void
v_sum4(float *out, vf a, vf b, vf c, vf d)
{
	__m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v_fold(a), v_fold(b)),
	    _mm256_hadd_ps(v_fold(c), v_fold(d)));

	_mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s),
	    _mm256_extractf128_ps(s, 1)));
}

#elif LANES == 8

typedef __m256 vf;

LANE_INLINE __m256i
first_lanes(int64_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
	    _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LANE_INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
LANE_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
LANE_INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
LANE_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
LANE_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
LANE_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LANE_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
LANE_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
LANE_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }

LANE_INLINE vf
v_abs(vf a)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

LANE_INLINE vf
v_fma(vf a, vf b, vf c)
{
	return _mm256_fmadd_ps(a, b, c);
}

LANE_INLINE vf
v_fnma(vf a, vf b, vf c)
{
	return _mm256_fnmadd_ps(a, b, c);
}

LANE_INLINE vf
v_load_n(const float *p, int64_t n)
{
	return _mm256_maskload_ps(p, first_lanes(n));
}

LANE_INLINE void
v_store_n(float *p, vf a, int64_t n)
{
	_mm256_maskstore_ps(p, first_lanes(n), a);
}

LANE_INLINE vf
v_keep_n(vf a, int64_t n)
{
	return _mm256_and_ps(a, _mm256_castsi256_ps(first_lanes(n)));
}

LANE_INLINE vf
v_round(vf a)
{
	return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT |
	    _MM_FROUND_NO_EXC);
}

LANE_INLINE vf
v_scale(vf a, vf n)
{
	__m256i k = _mm256_add_epi32(_mm256_cvtps_epi32(n),
	    _mm256_set1_epi32(127));

	return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(k, 23)));
}

LANE_INLINE vf
v_below(vf a, vf b, vf x, vf y)
{
	return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

LANE_INLINE vf
v_sign_of(vf a, vf s)
{
	const vf sign = _mm256_set1_ps(-0.0f);

	return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, s));
}

LANE_INLINE float
v_sum(vf a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a),
	    _mm256_extractf128_ps(a, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

LANE_INLINE float
v_top(vf a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a),
	    _mm256_extractf128_ps(a, 1));

	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

LANE_INLINE void
v_sum4(float *out, vf a, vf b, vf c, vf d)
{
	__m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));

	_mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s),
	    _mm256_extractf128_ps(s, 1)));
}

#else

typedef float vf __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

LANE_INLINE vf v_set(float x) { return (vf){ x, x, x, x }; }
LANE_INLINE vf v_add(vf a, vf b) { return a + b; }
LANE_INLINE vf v_sub(vf a, vf b) { return a - b; }
LANE_INLINE vf v_mul(vf a, vf b) { return a * b; }
LANE_INLINE vf v_div(vf a, vf b) { return a / b; }
LANE_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
LANE_INLINE vf v_fnma(vf a, vf b, vf c) { return c - a * b; }

LANE_INLINE vf
v_load(const float *p)
{
	vf a;

	memcpy(&a, p, sizeof(a));
	return a;
}

LANE_INLINE void
v_store(float *p, vf a)
{
	memcpy(p, &a, sizeof(a));
}

LANE_INLINE vf
v_load_n(const float *p, int64_t n)
{
	vf a = v_set(0.0f);

	for (int64_t i = 0; i < n; i++)
		a[i] = p[i];
	return a;
}

LANE_INLINE void
v_store_n(float *p, vf a, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		p[i] = a[i];
}

LANE_INLINE vf
v_keep_n(vf a, int64_t n)
{
	for (int64_t i = n; i < 4; i++)
		a[i] = 0.0f;
	return a;
}

LANE_INLINE vf
v_pick(vu mask, vf x, vf y)
{
	return (vf)((mask & (vu)x) | (~mask & (vu)y));
}

LANE_INLINE vf
v_below(vf a, vf b, vf x, vf y)
{
	return v_pick((vu)(a < b), x, y);
}

LANE_INLINE vf v_max(vf a, vf b) { return v_pick((vu)(a > b), a, b); }
LANE_INLINE vf v_min(vf a, vf b) { return v_pick((vu)(a < b), a, b); }
LANE_INLINE vf v_abs(vf a) { return (vf)((vu)a & 0x7fffffffu); }

/* Adding 1.5 * 2^23 leaves no room for a fraction. */
LANE_INLINE vf
v_round(vf a)
{
	const vf magic = v_set(12582912.0f);

	return (a + magic) - magic;
}

/* The low bits of n + 1.5 * 2^23 are n. */
LANE_INLINE vf
v_scale(vf a, vf n)
{
	vu k = (vu)(n + v_set(12582912.0f));

	return a * (vf)((k - 0x4b400000u + 127u) << 23);
}

LANE_INLINE vf
v_sign_of(vf a, vf s)
{
	return v_pick((vu)v_set(-0.0f), s, a);
}

LANE_INLINE float
v_sum(vf a)
{
	return (a[0] + a[2]) + (a[1] + a[3]);
}

LANE_INLINE float
v_top(vf a)
{
	float b = a[0] > a[2] ? a[0] : a[2], c = a[1] > a[3] ? a[1] : a[3];

	return b > c ? b : c;
}

LANE_INLINE void
v_sum4(float *out, vf a, vf b, vf c, vf d)
{
	out[0] = v_sum(a);
	out[1] = v_sum(b);
	out[2] = v_sum(c);
	out[3] = v_sum(d);
}

#endif

/* Up to LANES of the n > 0 values from p on, as loops meet them: all but the
 * last time there are enough. */
LANE_INLINE vf
v_get(const float *p, int64_t n)
{
	return n >= LANES ? v_load(p) : v_load_n(p, n);
}

LANE_INLINE void
v_put(float *p, vf a, int64_t n)
{
	if (n >= LANES)
		v_store(p, a);
	else
		v_store_n(p, a, n);
}

/* Lanes past the n-th set to 0, before they are summed. */
LANE_INLINE vf
v_keep(vf a, int64_t n)
{
	return n >= LANES ? a : v_keep_n(a, n);
}

#endif
