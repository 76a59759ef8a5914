/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What both sparse forms share: a stream of values, row by row, columns
 * ascending. Building one takes two passes: count the values of each row, which
 * gives the row starts and the choice of form, then fill rows independently.
 * Codes go through one byte each and are packed at the end, for rows start
 * inside a byte.
 */
#include "tensor/form_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PARE_SANITIZED)
#define SPARSE_AVX2 1
#include <immintrin.h>
#endif

int64_t
sparse_part_bytes(const struct tensor *t, enum part_kind k)
{
	switch (k) {
	case PART_MASK:
		return t->form != FORM_BITMAP ? 0 :
		    value_mul(t->rows, value_add(t->cols, 7) / 8);
	case PART_ROWS:
		return value_mul(value_add(t->rows, 1), 4);
	case PART_COLS:
		return t->form != FORM_INDEX ? 0 :
		    value_mul(t->stored, t->cols <= 65536 ? 2 : 4);
	default:
		return value_part_bytes(t, k);
	}
}

int64_t
sparse_start(const struct tensor *t, int64_t r)
{
	return ((const uint32_t *)t->part[PART_ROWS].p)[r];
}

int64_t
sparse_row(const struct tensor *t, int64_t r, int32_t *col)
{
	return t->form == FORM_BITMAP ? bitmap_row(t, r, col) :
	    index_row(t, r, col);
}

enum pare_rc
sparse_check_rows(const struct tensor *t, struct pare_err *err)
{
	const char *name = form_table[t->form].name;

	if (sparse_start(t, 0) != 0 || sparse_start(t, t->rows) != t->stored)
		return err_set(err, PARE_EFORMAT, "rows of a %s start at %lld "
		    "and end at %lld, expected 0 and %lld", name,
		    (long long)sparse_start(t, 0),
		    (long long)sparse_start(t, t->rows), (long long)t->stored);
	for (int64_t r = 0; r < t->rows; r++) {
		int64_t n = sparse_start(t, r + 1) - sparse_start(t, r);

		if (n < 0 || n > t->cols)
			return err_set(err, PARE_EFORMAT, "row %lld of a %s "
			    "has %lld values, expected 0 to %lld",
			    (long long)r, name, (long long)n,
			    (long long)t->cols);
	}
	return PARE_OK;
}

/* Values go out in chunks, so that decode needs no memory. A bitmap's columns
 * come from its bits, an index's from its list; both from the row function
 * would need a buffer as wide as the row. */
static void
decode_bitmap_row(const struct tensor *t, int64_t r, float *out)
{
	const struct form *vf = &form_table[t->values];
	int64_t bytes = (t->cols + 7) / 8, pos = sparse_start(t, r);
	const uint8_t *mask = (const uint8_t *)t->part[PART_MASK].p + r * bytes;
	int32_t col[VALUE_CHUNK];
	float v[VALUE_CHUNK];

	for (int64_t i = 0; i < bytes; i += VALUE_CHUNK / 8) {
		int64_t n = 0, end = bytes - i < VALUE_CHUNK / 8 ? bytes :
		    i + VALUE_CHUNK / 8;

		for (int64_t j = i; j < end; j += 8) {
			uint64_t w = 0;

			memcpy(&w, mask + j,
			    (size_t)(end - j < 8 ? end - j : 8));
			for (; w != 0; w &= w - 1)
				col[n++] = (int32_t)(j * 8 +
				    __builtin_ctzll(w));
		}
		vf->values(t, r, col, pos, n, v);
		for (int64_t j = 0; j < n; j++)
			out[col[j]] = v[j];
		pos += n;
	}
}

static void
decode_index_row(const struct tensor *t, int64_t r, float *out)
{
	const struct form *vf = &form_table[t->values];
	int64_t i = sparse_start(t, r), end = sparse_start(t, r + 1);
	int32_t col[VALUE_CHUNK];
	float v[VALUE_CHUNK];

	for (; i < end; i += VALUE_CHUNK) {
		int64_t n = end - i < VALUE_CHUNK ? end - i : VALUE_CHUNK;

		index_cols(t, i, n, col);
		vf->values(t, r, col, i, n, v);
		for (int64_t j = 0; j < n; j++)
			out[col[j]] = v[j];
	}
}

void
sparse_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	memset(out, 0, (size_t)(n * t->cols) * sizeof(float));
	for (int64_t r = 0; r < n; r++, out += t->cols) {
		if (t->form == FORM_BITMAP)
			decode_bitmap_row(t, row + r, out);
		else
			decode_index_row(t, row + r, out);
	}
}

/* ---- picking ---- */

/* Memory of one thread: columns of a source row, then of the picked values, and
 * where in the source row these are. */
struct pick_buf {
	int32_t *col, *to, *at;
	float *value;		/* where col is */
	uint8_t *code;
};

static size_t
pick_buf_size(const struct tensor *t)
{
	return ((size_t)t->cols * 13 + 63) & ~(size_t)63;
}

static struct pick_buf
pick_buf_of(char *base, const struct tensor *t)
{
	char *p = base + pick_buf_size(t) * (size_t)kernel_thread();
	size_t n = (size_t)t->cols * sizeof(int32_t);

	return (struct pick_buf) { (int32_t *)p, (int32_t *)(p + n),
		(int32_t *)(p + 2 * n), (float *)p, (uint8_t *)(p + 3 * n) };
}

/* Whether value i of the stream (or of the full matrix) is a float zero. */
static inline bool
is_zero(const struct tensor *t, int64_t i)
{
	const void *p = t->part[PART_DATA].p;

	if (t->values == FORM_F32)
		return ((const float *)p)[i] == 0.0f;
	if (value_is_float(t->values))
		return (((const uint16_t *)p)[i] & 0x7fff) == 0;
	return false;
}

#ifdef SPARSE_AVX2
#define SPARSE_TARGET __attribute__((target("avx2,bmi2,popcnt")))

static bool
has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

/* A bit for each of eight values that stay. */
SPARSE_TARGET static inline unsigned
stay_bits(__m256 v, const uint8_t *mask)
{
	__m128i gone = _mm_cmpeq_epi8(_mm_loadl_epi64((const __m128i *)
	    (const void *)mask), _mm_setzero_si128());
	unsigned there = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v,
	    _mm256_setzero_ps(), _CMP_NEQ_UQ));

	return there & ~(unsigned)_mm_movemask_epi8(gone);
}

/* The numbers of the bits set, in order: what _mm256_permutevar8x32 needs to
 * bring the values of these bits together. */
SPARSE_TARGET static inline __m256i
places_of(unsigned bits)
{
	uint64_t bytes = _pdep_u64(bits, UINT64_C(0x0101010101010101)) * 0xff;

	bytes = _pext_u64(UINT64_C(0x0706050403020100), bytes);
	return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
}

/* The columns of n values, n a multiple of 8, that stay; how many. at has room
 * for n, for at most c of the first c are written. */
SPARSE_TARGET static int64_t
pick_avx2(const float *v, const uint8_t *mask, int64_t n, int32_t *at)
{
	int64_t k = 0;

	for (int64_t c = 0; c < n; c += 8) {
		unsigned bits = stay_bits(_mm256_loadu_ps(v + c), mask + c);
		__m256i col = _mm256_add_epi32(places_of(bits),
		    _mm256_set1_epi32((int)c));

		_mm256_storeu_si256((__m256i *)(void *)(at + k), col);
		k += __builtin_popcount(bits);
	}
	return k;
}

/* The same with the values themselves, and the bits of the row. */
SPARSE_TARGET static int64_t
squeeze_avx2(const float *v, const uint8_t *mask, int64_t n, float *out,
    uint8_t *row)
{
	int64_t k = 0;

	for (int64_t c = 0; c < n; c += 8) {
		__m256 x = _mm256_loadu_ps(v + c);
		unsigned bits = stay_bits(x, mask + c);

		_mm256_storeu_ps(out + k, _mm256_permutevar8x32_ps(x,
		    places_of(bits)));
		row[c / 8] = (uint8_t)bits;
		k += __builtin_popcount(bits);
	}
	return k;
}
#endif

/* The common case, a full float32 matrix under a mask, without branches. */
static int64_t
pick_f32(const float *v, const uint8_t *mask, int64_t n, int32_t *at)
{
	int64_t k = 0, c = 0;

#ifdef SPARSE_AVX2
	if (has_avx2()) {
		c = n & ~INT64_C(7);
		k = pick_avx2(v, mask, c, at);
	}
#endif
	for (; c < n; c++) {
		at[k] = (int32_t)c;
		k += (mask[c] != 0) & (v[c] != 0.0f);
	}
	return k;
}

/* Its values into out, which has room for n, and its bits into row; how many. */
static int64_t
squeeze_f32(const float *v, const uint8_t *mask, int64_t n, float *out,
    uint8_t *row)
{
	int64_t k = 0, c = 0;

#ifdef SPARSE_AVX2
	if (has_avx2()) {
		c = n & ~INT64_C(7);
		k = squeeze_avx2(v, mask, c, out, row);
	}
#endif
	for (; c < n; c++) {
		unsigned stays = (mask[c] != 0) & (v[c] != 0.0f);

		if (c % 8 == 0)
			row[c / 8] = 0;
		row[c / 8] |= (uint8_t)(stays << (c % 8));
		out[k] = v[c];
		k += stays;
	}
	return k;
}

VALUE_SIMD static int64_t
count_f32(const float *v, const uint8_t *mask, int64_t n)
{
	int32_t k = 0;

#pragma omp simd reduction(+ : k)
	for (int64_t c = 0; c < n; c++)
		k += (mask[c] != 0) & (v[c] != 0.0f);
	return k;
}

static bool
is_plain(const struct sparse_pick *p)
{
	return p->source->form == FORM_F32 && p->mask != NULL &&
	    p->drop_zeros && p->map == NULL;
}

/* Fills b.to and b.at for row r of the result; returns how many. */
static int64_t
pick_row(const struct sparse_pick *p, int64_t r, struct pick_buf b)
{
	const struct tensor *t = p->source;
	bool sparse = form_table[t->form].is_sparse;
	int64_t row = p->rows != NULL ? p->rows[r] : r, k = 0;
	int64_t n = sparse ? sparse_row(t, row, b.col) : t->cols;
	int64_t base = sparse ? sparse_start(t, row) : row * t->cols;
	const uint8_t *mask = p->mask != NULL ? p->mask + row * t->cols : NULL;

	if (is_plain(p)) {
		k = pick_f32((const float *)t->part[PART_DATA].p + base, mask,
		    n, b.at);
		memcpy(b.to, b.at, (size_t)k * sizeof(int32_t));
		return k;
	}
	for (int64_t i = 0; i < n; i++) {
		int32_t c = sparse ? b.col[i] : (int32_t)i;
		int32_t to = p->map != NULL ? p->map[c] : c;

		if (to < 0 || (mask != NULL && mask[c] == 0) ||
		    (p->drop_zeros && is_zero(t, base + i)))
			continue;
		b.to[k] = to;
		b.at[k++] = (int32_t)i;
	}
	return k;
}

static int64_t
count_row(const struct sparse_pick *p, int64_t r, struct pick_buf b)
{
	const struct tensor *t = p->source;
	int64_t row = p->rows != NULL ? p->rows[r] : r;

	if (is_plain(p))
		return count_f32((const float *)t->part[PART_DATA].p +
		    row * t->cols, p->mask + row * t->cols, t->cols);
	return pick_row(p, r, b);
}

/* Rows between two looks at cancel. */
static int64_t
rows_of_block(const struct tensor *t)
{
	return 1 + VALUE_BLOCK / t->cols;
}

int64_t
sparse_count(const struct sparse_pick *pick, int64_t n, int64_t *start,
    struct task *task, struct pare_err *err)
{
	const struct tensor *t = pick->source;
	int64_t step = rows_of_block(t);
	int threads = kernel_threads();
	char *mem = mem_big((size_t)threads, pick_buf_size(t), err);

	if (mem == NULL)
		return -1;
	start[0] = 0;
	for (int64_t r0 = 0; r0 < n; r0 += step) {
		int64_t end = n - r0 < step ? n : r0 + step;

		if (task_canceled(task)) {
			free(mem);
			task_error(err);
			return -1;
		}
#pragma omp parallel for schedule(static) num_threads(threads) \
    if ((end - r0) * t->cols > VALUE_PARALLEL)
		for (int64_t r = r0; r < end; r++)
			start[r + 1] = count_row(pick, r,
			    pick_buf_of(mem, t));
	}
	free(mem);
	for (int64_t r = 0; r < n; r++)
		start[r + 1] += start[r];
	return start[n];
}

/* The values of a row, in the form the source stores them. */
static void
put_values(const struct sparse_pick *p, int64_t row, int64_t i0, int64_t n,
    struct pick_buf b, void *data, uint8_t *code)
{
	const struct tensor *t = p->source;
	bool sparse = form_table[t->form].is_sparse;
	int64_t base = sparse ? sparse_start(t, row) : row * t->cols;
	const void *src = t->part[PART_DATA].p;

	if (n == 0)
		return;
	if (t->values == FORM_F32) {
		for (int64_t i = 0; i < n; i++)
			((float *)data)[i0 + i] =
			    ((const float *)src)[base + b.at[i]];
	} else if (value_is_float(t->values)) {
		for (int64_t i = 0; i < n; i++)
			((uint16_t *)data)[i0 + i] =
			    ((const uint16_t *)src)[base + b.at[i]];
	} else {
		value_codes(t, row, sparse ? base : 0, b.at[n - 1] + 1,
		    b.code);
		for (int64_t i = 0; i < n; i++)
			code[i0 + i] = b.code[b.at[i]];
	}
}

/* The common case of the common form goes straight through. */
static void
put_plain_row(const struct sparse_pick *p, int64_t r, int64_t at,
    struct pick_buf b, struct part *parts)
{
	int64_t row = p->rows != NULL ? p->rows[r] : r, cols = p->source->cols;
	const float *v = (const float *)p->source->part[PART_DATA].p +
	    row * cols;
	int64_t n = squeeze_f32(v, p->mask + row * cols, cols, b.value,
	    (uint8_t *)part_data(&parts[PART_MASK]) + r * ((cols + 7) / 8));

	/* Writing past the end of the row would meet the next one's thread. */
	memcpy((float *)part_data(&parts[PART_DATA]) + at, b.value,
	    (size_t)n * sizeof(float));
}

static void
put_row(const struct sparse_pick *p, const struct tensor *facts, int64_t r,
    const int64_t *start, struct pick_buf b, struct part *parts, uint8_t *code)
{
	int64_t n;

	if (is_plain(p) && facts->form == FORM_BITMAP) {
		put_plain_row(p, r, start[r], b, parts);
		return;
	}
	n = pick_row(p, r, b);
	if (facts->form == FORM_BITMAP)
		bitmap_put(facts, r, b.to, n, part_data(&parts[PART_MASK]));
	else
		index_put(facts, start[r], b.to, n,
		    part_data(&parts[PART_COLS]));
	put_values(p, p->rows != NULL ? p->rows[r] : r, start[r], n, b,
	    part_data(&parts[PART_DATA]), code);
}

static bool
put_rows(const struct sparse_pick *p, const struct tensor *facts,
    const int64_t *start, struct part *parts, uint8_t *code, char *mem,
    struct task *task)
{
	uint32_t *rows = part_data(&parts[PART_ROWS]);
	int64_t step = rows_of_block(p->source);

	for (int64_t r = 0; r <= facts->rows; r++)
		rows[r] = (uint32_t)start[r];
	for (int64_t r0 = 0; r0 < facts->rows; r0 += step) {
		int64_t end = facts->rows - r0 < step ? facts->rows :
		    r0 + step;

		if (task_canceled(task))
			return false;
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if ((end - r0) * p->source->cols > VALUE_PARALLEL)
		for (int64_t r = r0; r < end; r++)
			put_row(p, facts, r, start,
			    pick_buf_of(mem, p->source), parts, code);
	}
	return true;
}

struct tensor *
sparse_build(const struct sparse_pick *pick, const struct tensor *facts,
    const int64_t *start, struct part parts[PART_COUNT], struct task *task,
    struct pare_err *err)
{
	const unsigned which = 1u << PART_DATA | 1u << PART_MASK |
	    1u << PART_ROWS | 1u << PART_COLS;
	bool coded = value_is_code(facts->values), ok = true;
	uint8_t *code = NULL;
	char *mem = mem_big((size_t)kernel_threads(),
	    pick_buf_size(pick->source), err);

	if (coded)
		code = mem_big((size_t)facts->stored, 1, err);
	if (mem == NULL || (coded && code == NULL))
		ok = false;
	if (ok && parts_new(facts, which, parts, err)) {
		ok = put_rows(pick, facts, start, parts, code, mem, task);
		if (!ok)
			task_error(err);
		else if (coded)
			code_pack_parallel(code, facts->stored,
			    facts->code.bits, part_data(&parts[PART_DATA]));
	} else {
		ok = false;
	}
	free(code);
	free(mem);
	if (ok)
		return tensor_make(facts, parts);
	parts_free(parts);
	return NULL;
}

/* ---- full with zeros ---- */

/* Value `at` of a source row to place `to` of a row of the result. */
static void
scatter_row(const struct sparse_pick *p, const struct tensor *facts, int64_t r,
    struct pick_buf b, char *data)
{
	const struct tensor *t = p->source;
	bool sparse = form_table[t->form].is_sparse;
	int64_t row = p->rows != NULL ? p->rows[r] : r;
	int64_t base = sparse ? sparse_start(t, row) : row * t->cols;
	int64_t n = pick_row(p, r, b);
	size_t size = value_float_size(facts->form);
	const char *src = t->part[PART_DATA].p;
	char *dst = data + (size_t)(r * facts->cols) * size;

	memset(dst, 0, (size_t)facts->cols * size);
	for (int64_t i = 0; i < n; i++)
		memcpy(dst + (size_t)b.to[i] * size,
		    src + (size_t)(base + b.at[i]) * size, size);
}

struct tensor *
sparse_scatter(const struct sparse_pick *pick, const struct tensor *facts,
    struct task *task, struct pare_err *err)
{
	struct part parts[PART_COUNT] = { 0 };
	int64_t step = rows_of_block(pick->source);
	char *mem = mem_big((size_t)kernel_threads(),
	    pick_buf_size(pick->source), err);

	if (mem == NULL || !parts_new(facts, 1u << PART_DATA, parts, err)) {
		free(mem);
		return NULL;
	}
	for (int64_t r0 = 0; r0 < facts->rows; r0 += step) {
		int64_t end = facts->rows - r0 < step ? facts->rows :
		    r0 + step;

		if (task_canceled(task)) {
			free(mem);
			parts_free(parts);
			task_error(err);
			return NULL;
		}
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if ((end - r0) * facts->cols > VALUE_PARALLEL)
		for (int64_t r = r0; r < end; r++)
			scatter_row(pick, facts, r,
			    pick_buf_of(mem, pick->source),
			    part_data(&parts[PART_DATA]));
	}
	free(mem);
	return tensor_make(facts, parts);
}

/* ---- select ---- */

/* map[c] is where column c goes, -1 for nowhere. */
static int32_t *
column_map(const struct tensor *t, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	int32_t *map = mem_big((size_t)t->cols, sizeof(*map), err);

	if (map == NULL)
		return NULL;
	for (int64_t c = 0; c < t->cols; c++)
		map[c] = -1;
	for (int64_t i = 0; i < n; i++)
		map[keep[i]] = (int32_t)i;
	return map;
}

static struct tensor *
select_picked(struct sparse_pick *pick, struct tensor *facts, int axis,
    const int64_t *keep, struct pare_err *err)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *out = NULL;
	int64_t *start = mem_big((size_t)facts->rows + 1, sizeof(*start), err);

	if (start == NULL)
		return NULL;
	facts->stored = sparse_count(pick, facts->rows, start, NULL, err);
	facts->nonzero = facts->stored;
	if (facts->stored >= 0 && (!value_is_code(facts->values) ||
	    code_select_groups(pick->source, facts, axis, keep, parts, err)))
		out = sparse_build(pick, facts, start, parts, NULL, err);
	free(start);
	return out;
}

struct tensor *
sparse_select(const struct tensor *t, int axis, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *out;
	struct sparse_pick pick = { .source = t };
	int32_t *map = NULL;

	if (!code_select_group(t, axis, keep, n, &facts.code.group, err))
		return NULL;
	*(axis == 0 ? &facts.rows : &facts.cols) = n;
	if (axis == 0) {
		pick.rows = keep;
	} else if ((map = column_map(t, keep, n, err)) == NULL) {
		return NULL;
	}
	pick.map = map;
	out = select_picked(&pick, &facts, axis, keep, err);
	free(map);
	return out;
}
