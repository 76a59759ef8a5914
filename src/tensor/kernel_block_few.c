/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks times a few rows of int8: memory decides, so every block is loaded once
 * and taken apart in registers. Some rows of W at a time share the loads of x.
 *
 * Here with AVX2, for a group of 32 columns fills a register; most types have
 * versions of twice the width in kernel_block_wide.c.
 */
#include "tensor/kernel_block_parts.h"

#if CPU_X86

#define AVX2 CPU_TARGET(CPU_FEATURES_AVX2)
#define INLINE static inline __attribute__((always_inline))

enum {
	PIECE = 1 << 16,	/* weights of a piece, about */
	AHEAD = 8192		/* bytes, to L2: in time for memory. With 2048,
				 * some rows, Q8_0 is half as fast. */
};

/* ---- dots ---- */

/* D of 32 columns, in eight parts. What bytes are less 128 where the type is
 * wide: then q gets their sign, and there is no init. */
AVX2 INLINE __m256i
dot(const enum block_kind kind, __m256i code, const struct few_x *x,
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
AVX2 INLINE void
add_block(const struct few *f, const enum block_kind kind, const uint8_t *p,
    int64_t c, __m256 *acc, __m256 *low, const int tokens)
{
	const int parts = BLOCK_IS_LARGE(kind) ? 8 : 1;
	struct parts_scales s;

	parts_scales(kind, p, &s);
	KERNEL_UNROLL
	for (int k = 0; k < parts; k++) {
		__m256i code = parts_codes(kind, p, k);
		__m256 step = parts_step(kind, &s, k);

		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			const struct few_x *x = &f->x[i];
			__m256i d = dot(kind, code, x, c + 32 * k);

			acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(step,
			    _mm256_set1_ps(x->scale[c / 32 + k])),
			    _mm256_cvtepi32_ps(d), acc[i]);
		}
	}
	KERNEL_UNROLL
	for (int i = 0; i < tokens; i++)
		if (BLOCK_IS_AFFINE(kind))
			low[i] = add_base(kind, &s, &f->x[i], c, low[i]);
}

AVX2 INLINE void
dots(const struct few *f, const enum block_kind kind, const int rows,
    const int tokens)
{
	const int64_t bytes = parts_bytes(kind);
	const int64_t values = BLOCK_IS_LARGE(kind) ? 256 : 32;
	__m256 acc[FEW_ROWS][BLOCK_FEW], low[FEW_ROWS][BLOCK_FEW];
	const uint8_t *w[FEW_ROWS];

	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		w[r] = f->w + (r < f->rows ? r : f->rows - 1) * f->ldw;
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++)
			acc[r][i] = low[r][i] = _mm256_setzero_ps();
	}
	for (int64_t b = 0; b < f->blocks; b++) {
		KERNEL_UNROLL
		for (int r = 0; r < rows; r++) {
			for (int64_t a = 0; a < bytes; a += 64)
				_mm_prefetch((const char *)w[r] + f->ahead +
				    a, _MM_HINT_T1);
			add_block(f, kind, w[r], b * values, acc[r], low[r],
			    tokens);
			w[r] += bytes;
		}
	}
	KERNEL_UNROLL
	for (int r = 0; r < rows; r++) {
		KERNEL_UNROLL
		for (int i = 0; i < tokens; i++) {
			float *y = f->y[i] + r;
			float s = add_lanes(_mm256_add_ps(acc[r][i],
			    low[r][i]));

			if (r < f->rows)
				*y = f->accumulate ? *y + s : s;
		}
	}
}

/* ---- shapes ---- */

#define SHAPE(kind, rows, tokens) \
AVX2 static void \
dots_##kind##_##tokens(const struct few *f) \
{ \
	dots(f, BLOCK_##kind, rows, tokens); \
}
/* Three rows of x are four, of which one is for nothing. Blocks of 256 fill the
 * registers and the cache of instructions with fewer rows of W. */
#define SHAPES(kind) \
	SHAPE(kind, FEW_STEP(BLOCK_##kind, 1), 1) \
	SHAPE(kind, FEW_STEP(BLOCK_##kind, 2), 2) \
	SHAPE(kind, FEW_STEP(BLOCK_##kind, 4), 4)
#define FEW_STEP(kind, tokens) (BLOCK_IS_LARGE(kind) || (tokens) > 1 ? 2 : 4)
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

#define ROW(kind) [BLOCK_##kind] = { dots_##kind##_1, dots_##kind##_2, \
	dots_##kind##_4, dots_##kind##_4 }
static few_fn *const few_avx2[BLOCK_KINDS][BLOCK_FEW] = { ROW(Q4_0),
	ROW(Q4_1), ROW(Q5_0), ROW(Q5_1), ROW(Q8_0), ROW(Q2_K), ROW(Q3_K),
	ROW(Q4_K), ROW(Q5_K), ROW(Q6_K), ROW(IQ4_NL), ROW(IQ4_XS),
	ROW(MXFP4), ROW(IQ3_S) };

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

/* Numbers that each float of scale is, one after another. */
static void
repeat(const float *scale, int64_t n, int times, float *out)
{
	for (int64_t k = 0; k < n; k++)
		for (int i = 0; i < times; i++)
			*out++ = scale[k];
}

/* Columns that quads cover. */
static int64_t
quad_cols(const struct kernel_x *x)
{
	return (x->ldq + 127) / 128 * 128;
}

/* Numbers that few_row(), wide_row() and quad_row() make at most. */
static int64_t
few_room(const struct kernel_x *x)
{
	return quad_cols(x) / CODE_UNIT * 3;
}

/* Row i of x, with room at `at`. */
static struct few_x
few_row(const struct block_facts *f, const struct kernel_x *x, int64_t i,
    float *at)
{
	int32_t *init = (int32_t *)(void *)at;
	float *sum = at + few_ints(x);
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

/* The same with what AVX-512 wants beside. */
static struct few_x
wide_row(const struct block_facts *f, const struct kernel_x *x, int64_t i,
    float *at)
{
	struct few_x row = few_row(f, x, i, at);
	float *scales = at + few_ints(x) + few_sums(x);

	row.scales = scales;
	if (f->zero != 0 || f->group != BLOCK_X) {
		repeat(row.scale, x->ldq / BLOCK_X, f->values == BLOCK_X ? 8 :
		    2, scales);
		return row;
	}
	for (int64_t k = 0; k < x->ldq / BLOCK_X; k++) {
		float *to = scales + k / 8 * 16 + k % 8;

		to[0] = row.scale[k];
		to[8] = -row.sum[k];
	}
	return row;
}

/* A block of a quad. */
AVX2 static void
quad_block(__m256i v, float scale, int zero, int8_t *q, int32_t *init,
    float *scales, float *sums)
{
	const __m256i four = _mm256_madd_epi16(_mm256_set1_epi16(1),
	    _mm256_maddubs_epi16(_mm256_set1_epi8(1), v));
	const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(four),
	    _mm256_extracti128_si256(four, 1));

	_mm_storeu_si128((__m128i *)(void *)q, _mm256_castsi256_si128(v));
	_mm_storeu_si128((__m128i *)(void *)(q + 64),
	    _mm256_extracti128_si256(v, 1));
	_mm_storeu_si128((__m128i *)(void *)init, _mm_mullo_epi32(sum,
	    _mm_set1_epi32(-zero)));
	_mm_storeu_ps(scales, _mm_set1_ps(scale));
	_mm_storeu_ps(sums, _mm_mul_ps(_mm_set1_ps(scale),
	    _mm_cvtepi32_ps(sum)));
}

AVX2 static struct few_x
quad_row(const struct block_facts *f, const struct kernel_x *x, int64_t i,
    float *at)
{
	const int64_t cols = quad_cols(x), lanes = cols / 8;
	const int8_t *q = x->q + i * x->ldq;
	int32_t *init = (int32_t *)(void *)at;
	float *scales = at + lanes, *sums = scales + lanes;
	int8_t *to = (int8_t *)(void *)(sums + lanes);

	for (int64_t c = 0; c < cols; c += BLOCK_X) {
		const bool is = c < x->ldq;

		quad_block(is ? load32((const uint8_t *)(q + c)) :
		    _mm256_setzero_si256(), is ? x->scale[(i * x->ldq + c) /
		    BLOCK_X] : 0.0f, f->zero, to + c / 128 * 128 + c % 128 / 2,
		    init + c / 8, scales + c / 8, sums + c / 8);
	}
	return (struct few_x) { .q = to, .init = init, .scales = scales,
		.sums = sums };
}

/* ---- the table's row ---- */

static size_t
few_scratch(const struct tensor *t, int64_t n)
{
	struct kernel_x x = { .ldq = (t->cols + 63) / 64 * 64 };

	return (size_t)(BLOCK_FEW * few_room(&x)) * sizeof(float);
}

static int64_t
few_panel(const struct tensor *t, int64_t n)
{
	int64_t rows = PIECE / t->cols / FEW_ROWS * FEW_ROWS;

	return rows < FEW_ROWS ? FEW_ROWS : rows;
}

static bool
few_fits(const struct tensor *t, int64_t n)
{
	return t->code.act == 8 && n <= BLOCK_FEW &&
	    few_avx2[t->code.block][0] != NULL;
}

static bool
wide_fits(const struct tensor *t, int64_t n)
{
	return few_fits(t, n) && cpu_has(CPU_VBMI) &&
	    few_wide[t->code.block][0] != NULL;
}

typedef struct few_x row_fn(const struct block_facts *f,
    const struct kernel_x *x, int64_t i, float *at);

/* With `step` rows of W at a time. */
static void
run(few_fn *multiply, int step, row_fn *row, const struct tensor *t,
    const struct kernel_x *x, int64_t r0, int64_t r1, float *y, int64_t ldy,
    bool accumulate, void *scratch)
{
	const struct block_facts *facts = &block_table[t->code.block];
	struct few f = { .blocks = t->cols / facts->values,
		.accumulate = accumulate };
	float spare[FEW_ROWS] = { 0 };

	f.ldw = f.blocks * facts->bytes;
	for (int64_t i = 0; i < BLOCK_FEW; i++)
		f.x[i] = i < x->n ? row(facts, x, i, (float *)scratch +
		    i * few_room(x)) : f.x[0];
	for (int64_t r = r0; r < r1; r += step) {
		f.w = (const uint8_t *)t->part[PART_DATA].p + r * f.ldw;
		for (int64_t i = 0; i < BLOCK_FEW; i++)
			f.y[i] = i < x->n ? y + i * ldy + (r - r0) : spare;
		f.rows = (int)(r1 - r < step ? r1 - r : step);
		f.ahead = AHEAD;
		multiply(&f);
	}
}

static void
few_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	run(few_avx2[t->code.block][x->n - 1], FEW_STEP(t->code.block, x->n),
	    few_row, t, x, r0, r1, y, ldy, accumulate, scratch);
}

static void
wide_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	run(few_wide[t->code.block][x->n - 1], FEW_WIDE_STEP(x->n),
	    BLOCK_IS_QUAD(t->code.block) ? quad_row : wide_row, t, x, r0, r1,
	    y, ldy, accumulate, scratch);
}

const struct kernel block_few_kernel = {
	.name = "few rows of blocks x int8, AVX2", .tolerance = 2e-2f,
	.level = CPU_AVX2, .prep = PREP_INT8_32, .fits = few_fits,
	.panel = few_panel, .scratch = few_scratch, .run = few_run
};

const struct kernel block_wide_kernel = {
	.name = "few rows of blocks x int8, VNNI", .tolerance = 2e-2f,
	.level = CPU_VNNI, .prep = PREP_INT8_32, .fits = wide_fits,
	.panel = few_panel, .scratch = few_scratch, .run = wide_run
};

#endif
