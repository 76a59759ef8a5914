/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks times a few rows of int8: memory decides, so every block is loaded once
 * and taken apart in registers. Some rows of W at a time share the loads of x.
 *
 * Registers of 256 bits on every level: a group of 32 columns fills one, and
 * processors with more have instructions enough under way.
 */
#include "tensor/kernel_block_parts.h"

#if CPU_X86

#define VNNI CPU_TARGET(CPU_FEATURES_VNNI)
#define AVX2 CPU_TARGET(CPU_FEATURES_AVX2)
#define INLINE static inline __attribute__((always_inline))

enum {
	ROWS_MAX = 4,		/* of W at a time */
	PIECE = 1 << 16		/* weights of a piece, about */
};

/* A row of x. */
struct few_x {
	const int8_t *q;
	const float *scale;	/* of 32 columns */
	const int32_t *init;	/* of four columns: -zero * X */
	const float *sum;	/* of a group: scale * X */
};

struct few {
	const uint8_t *w;
	int64_t ldw, blocks;
	int64_t ahead;		/* bytes that are asked for ahead, or 0 */
	struct few_x x[BLOCK_FEW];
	float *y[BLOCK_FEW];
	int rows;		/* of W that there are */
	bool accumulate;
};

/* ---- dots ---- */

/* D of 32 columns, in eight parts. What bytes are less 128 where the type is
 * wide: AVX2 multiplies them so, and needs no init. */
VNNI INLINE __m256i
dot_vnni(const enum block_kind kind, __m256i code, const struct few_x *x,
    int64_t c)
{
	__m256i init = BLOCK_IS_AFFINE(kind) ? _mm256_setzero_si256() :
	    load32((const uint8_t *)(x->init + c / CODE_UNIT));

	return _mm256_dpbusd_epi32(init, code,
	    load32((const uint8_t *)(x->q + c)));
}

AVX2 INLINE __m256i
dot_avx2(const enum block_kind kind, __m256i code, const struct few_x *x,
    int64_t c)
{
	const __m256i ones = _mm256_set1_epi16(1);
	__m256i q = load32((const uint8_t *)(x->q + c)), v;

	if (BLOCK_IS_WIDE(kind))
		return _mm256_madd_epi16(ones, _mm256_maddubs_epi16(
		    _mm256_abs_epi8(code), _mm256_sign_epi8(q, code)));
	v = _mm256_madd_epi16(ones, _mm256_maddubs_epi16(code, q));
	return BLOCK_IS_AFFINE(kind) ? v : _mm256_add_epi32(v,
	    load32((const uint8_t *)(x->init + c / CODE_UNIT)));
}

/* Bases times sums of x, of a block that begins at column c. */
AVX2 INLINE __m256
add_base(const enum block_kind kind, const struct parts_scales *s,
    const struct few_x *x, int64_t c, __m256 low)
{
	if (!BLOCK_IS_LARGE(kind))
		return _mm256_fmadd_ps(s->base[0], _mm256_castps128_ps256(
		    _mm_load_ss(x->sum + c / 32)), low);
	if (!BLOCK_IS_SHORT(kind))
		return _mm256_fmadd_ps(s->base[0],
		    _mm256_loadu_ps(x->sum + c / 32), low);
	low = _mm256_fmadd_ps(s->base[0], _mm256_loadu_ps(x->sum + c / 16),
	    low);
	return _mm256_fmadd_ps(s->base[1], _mm256_loadu_ps(x->sum + c / 16 +
	    8), low);
}

AVX2 INLINE float
add_lanes(__m256 v)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v),
	    _mm256_extractf128_ps(v, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* One block of a row of W. */
#define BLOCK_DOTS(suffix, TARGET) \
TARGET INLINE void \
block_##suffix(const struct few *f, const enum block_kind kind, \
    const uint8_t *p, int64_t c, __m256 *acc, __m256 *low, const int tokens) \
{ \
	const int parts = BLOCK_IS_LARGE(kind) ? 8 : 1; \
	const __m256i half = _mm256_set1_epi8((char)128); \
	struct parts_scales s; \
\
	parts_scales(kind, p, &s); \
	KERNEL_UNROLL \
	for (int k = 0; k < parts; k++) { \
		__m256i code = parts_codes(kind, p, k); \
		__m256 step = parts_step(kind, &s, k); \
\
		if (BLOCK_IS_WIDE(kind) && WIDE_IS_LIFTED_##suffix) \
			code = _mm256_xor_si256(code, half); \
		KERNEL_UNROLL \
		for (int i = 0; i < tokens; i++) { \
			const struct few_x *x = &f->x[i]; \
			__m256i d = dot_##suffix(kind, code, x, c + 32 * k); \
\
			acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(step, \
			    _mm256_set1_ps(x->scale[c / 32 + k])), \
			    _mm256_cvtepi32_ps(d), acc[i]); \
		} \
	} \
	KERNEL_UNROLL \
	for (int i = 0; i < tokens; i++) \
		if (BLOCK_IS_AFFINE(kind)) \
			low[i] = add_base(kind, &s, &f->x[i], c, low[i]); \
} \
\
TARGET INLINE void \
dots_##suffix(const struct few *f, const enum block_kind kind, \
    const int rows, const int tokens) \
{ \
	const int64_t bytes = parts_bytes(kind); \
	const int64_t values = BLOCK_IS_LARGE(kind) ? 256 : 32; \
	__m256 acc[ROWS_MAX][BLOCK_FEW], low[ROWS_MAX][BLOCK_FEW]; \
	const uint8_t *w[ROWS_MAX]; \
\
	KERNEL_UNROLL \
	for (int r = 0; r < rows; r++) { \
		w[r] = f->w + (r < f->rows ? r : f->rows - 1) * f->ldw; \
		KERNEL_UNROLL \
		for (int i = 0; i < tokens; i++) \
			acc[r][i] = low[r][i] = _mm256_setzero_ps(); \
	} \
	for (int64_t b = 0; b < f->blocks; b++) { \
		KERNEL_UNROLL \
		for (int r = 0; r < rows; r++) { \
			for (int64_t a = 0; a < bytes; a += 64) \
				_mm_prefetch((const char *)w[r] + f->ahead + \
				    a, _MM_HINT_T0); \
			block_##suffix(f, kind, w[r], b * values, acc[r], \
			    low[r], tokens); \
			w[r] += bytes; \
		} \
	} \
	KERNEL_UNROLL \
	for (int r = 0; r < rows; r++) { \
		KERNEL_UNROLL \
		for (int i = 0; i < tokens; i++) { \
			float *y = f->y[i] + r; \
			float s = add_lanes(_mm256_add_ps(acc[r][i], \
			    low[r][i])); \
\
			if (r < f->rows) \
				*y = f->accumulate ? *y + s : s; \
		} \
	} \
}
#define WIDE_IS_LIFTED_vnni 1
#define WIDE_IS_LIFTED_avx2 0
BLOCK_DOTS(vnni, VNNI)
BLOCK_DOTS(avx2, AVX2)

/* ---- shapes ---- */

typedef void dots_fn(const struct few *f);

#define SHAPE(suffix, TARGET, kind, rows, tokens) \
TARGET static void \
dots_##suffix##_##kind##_##tokens(const struct few *f) \
{ \
	dots_##suffix(f, BLOCK_##kind, rows, tokens); \
}
/* Three rows of x are four, of which one is for nothing. */
#define SHAPES(kind) \
	SHAPE(vnni, VNNI, kind, 4, 1) \
	SHAPE(vnni, VNNI, kind, 4, 2) \
	SHAPE(vnni, VNNI, kind, 4, 4) \
	SHAPE(avx2, AVX2, kind, 4, 1) \
	SHAPE(avx2, AVX2, kind, 4, 2) \
	SHAPE(avx2, AVX2, kind, 4, 4)
SHAPES(Q4_0)
SHAPES(Q4_1)
SHAPES(Q5_0)
SHAPES(Q5_1)
SHAPES(Q8_0)
SHAPES(Q2_K)
SHAPES(Q3_K)
SHAPES(Q4_K)
SHAPES(Q5_K)
SHAPES(Q6_K)
SHAPES(IQ4_NL)
SHAPES(IQ4_XS)
SHAPES(MXFP4)
SHAPES(IQ3_S)

#define ROW(suffix, kind) [BLOCK_##kind] = { dots_##suffix##_##kind##_1, \
	dots_##suffix##_##kind##_2, dots_##suffix##_##kind##_4, \
	dots_##suffix##_##kind##_4 }
#define TABLE(suffix) { ROW(suffix, Q4_0), ROW(suffix, Q4_1), \
	ROW(suffix, Q5_0), ROW(suffix, Q5_1), ROW(suffix, Q8_0), \
	ROW(suffix, Q2_K), ROW(suffix, Q3_K), ROW(suffix, Q4_K), \
	ROW(suffix, Q5_K), ROW(suffix, Q6_K), ROW(suffix, IQ4_NL), \
	ROW(suffix, IQ4_XS), ROW(suffix, MXFP4), ROW(suffix, IQ3_S) }
static dots_fn *const few_vnni[BLOCK_KINDS][BLOCK_FEW] = TABLE(vnni);
static dots_fn *const few_avx2[BLOCK_KINDS][BLOCK_FEW] = TABLE(avx2);

/* ---- x ---- */

static int64_t
few_ints(const struct kernel_x *x)
{
	return x->ldq / CODE_UNIT;
}

static int64_t
few_sums(const struct kernel_x *x)
{
	return x->ldq / CODE_SUM;
}

/* -zero times the sums of four columns, of n that are a multiple of 32. */
AVX2 static void
make_init(const int8_t *q, int64_t n, int zero, int32_t *out)
{
	const __m256i ones = _mm256_set1_epi8(1);
	const __m256i times = _mm256_set1_epi16((short)-zero);

	for (int64_t c = 0; c < n; c += 32) {
		__m256i pairs = _mm256_maddubs_epi16(ones,
		    load32((const uint8_t *)(q + c)));

		_mm256_storeu_si256((__m256i *)(out + c / 4),
		    _mm256_madd_epi16(pairs, times));
	}
}

/* Row i of x, with room at init and sum. */
static struct few_x
few_row(const struct block_facts *f, const struct kernel_x *x, int64_t i,
    int32_t *init, float *sum)
{
	struct few_x row = { .q = x->q + i * x->ldq,
		.scale = x->scale + i * (x->ldq / BLOCK_X), .init = init,
		.sum = sum };
	const int16_t *of = x->sum + i * (x->ldq / CODE_SUM);

	if (f->zero != 0) {
		make_init(row.q, x->ldq, f->zero, init);
		return row;
	}
	for (int64_t k = 0; k < x->ldq / BLOCK_X; k++) {
		if (f->group == BLOCK_X) {
			sum[k] = row.scale[k] * (float)(of[2 * k] +
			    of[2 * k + 1]);
			continue;
		}
		sum[2 * k] = row.scale[k] * (float)of[2 * k];
		sum[2 * k + 1] = row.scale[k] * (float)of[2 * k + 1];
	}
	return row;
}

/* ---- the table's row ---- */

static size_t
few_scratch(const struct tensor *t, int64_t n)
{
	struct kernel_x x = { .ldq = (t->cols + 63) / 64 * 64 };

	return (size_t)(BLOCK_FEW * (few_ints(&x) + few_sums(&x))) * 4;
}

static int64_t
few_panel(const struct tensor *t, int64_t n)
{
	int64_t rows = PIECE / t->cols / ROWS_MAX * ROWS_MAX;

	return rows < ROWS_MAX ? ROWS_MAX : rows;
}

static bool
few_fits(const struct tensor *t, int64_t n)
{
	return t->code.act == 8 && n <= BLOCK_FEW &&
	    few_avx2[t->code.block][0] != NULL;
}

static void
few_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const struct block_facts *facts = &block_table[t->code.block];
	dots_fn *dots = (cpu_level() >= CPU_VNNI ? few_vnni :
	    few_avx2)[t->code.block][x->n - 1];
	struct few f = { .blocks = t->cols / facts->values,
		.accumulate = accumulate };
	int32_t *init = scratch;
	float *sum = (float *)(init + BLOCK_FEW * few_ints(x));
	float spare[ROWS_MAX] = { 0 };

	f.ldw = f.blocks * facts->bytes;
	for (int64_t i = 0; i < BLOCK_FEW; i++)
		f.x[i] = i < x->n ? few_row(facts, x, i, init + i *
		    few_ints(x), sum + i * few_sums(x)) : f.x[0];
	for (int64_t r = r0; r < r1; r += ROWS_MAX) {
		f.w = (const uint8_t *)t->part[PART_DATA].p + r * f.ldw;
		for (int64_t i = 0; i < BLOCK_FEW; i++)
			f.y[i] = i < x->n ? y + i * ldy + (r - r0) : spare;
		f.rows = (int)(r1 - r < ROWS_MAX ? r1 - r : ROWS_MAX);
		f.ahead = r + 2 * ROWS_MAX <= t->rows ? ROWS_MAX * f.ldw : 0;
		dots(&f);
	}
}

const struct kernel block_few_kernel = {
	.name = "few rows of blocks x int8", .tolerance = 2e-2f,
	.level = CPU_AVX2, .prep = PREP_INT8_32, .fits = few_fits,
	.panel = few_panel, .scratch = few_scratch, .run = few_run
};

#endif
