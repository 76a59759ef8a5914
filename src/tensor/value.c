/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stored values. Codes of b bits lie lowest bits first; eight of them always
 * take b whole bytes, so all loops go by eights through one 64-bit word.
 */
#include "tensor/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"

int64_t
value_mul(int64_t a, int64_t b)
{
	int64_t r;

	return __builtin_mul_overflow(a, b, &r) ? INT64_MAX : r;
}

int64_t
value_add(int64_t a, int64_t b)
{
	int64_t r;

	return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}

bool
value_is_code(enum form_kind values)
{
	return values == FORM_INT || values == FORM_TABLE;
}

bool
value_is_float(enum form_kind values)
{
	return values == FORM_F32 || values == FORM_F16 ||
	    values == FORM_BF16;
}

size_t
value_float_size(enum form_kind values)
{
	return values == FORM_F32 ? sizeof(float) : sizeof(uint16_t);
}

int64_t
value_bits(const struct tensor *t)
{
	if (value_is_code(t->values))
		return t->code.bits;
	return 8 * (int64_t)value_float_size(t->values);
}

int64_t
value_count(const struct tensor *t)
{
	return value_mul(t->rows, t->cols);
}

int64_t
value_groups(const struct tensor *t)
{
	if (t->code.group <= 0)
		return 1;
	return value_mul(t->rows, t->cols / t->code.group);
}

int64_t
value_group_cols(const struct tensor *t)
{
	return t->code.group <= 0 ? t->cols : t->code.group;
}

int64_t
value_group_of(const struct tensor *t, int64_t r, int64_t c)
{
	if (t->code.group <= 0)
		return 0;
	return r * (t->cols / t->code.group) + c / t->code.group;
}

int64_t
value_row_bytes(const struct tensor *t)
{
	return value_add(value_mul(t->cols, value_bits(t)), 7) / 8;
}

int64_t
value_part_bytes(const struct tensor *t, enum part_kind k)
{
	bool affine = t->values == FORM_INT && t->code.scheme == CODE_AFFINE;

	switch (k) {
	case PART_DATA:
		if (!form_table[t->form].is_sparse)
			return value_mul(t->rows, value_row_bytes(t));
		return value_add(value_mul(t->stored, value_bits(t)), 7) / 8;
	case PART_SCALE:
		return t->values == FORM_INT ? value_mul(value_groups(t), 2) :
		    0;
	case PART_MIN:
		return affine ? value_mul(value_groups(t), 2) : 0;
	case PART_TABLE:
		if (t->values != FORM_TABLE)
			return 0;
		return value_mul(value_groups(t),
		    INT64_C(4) << t->code.bits);
	default:
		return 0;
	}
}

static inline uint8_t
unpack_one(const uint8_t *src, int64_t pos, int bits)
{
	int64_t bit = pos * bits;
	unsigned shift = (unsigned)(bit & 7), v = src[bit >> 3] >> shift;

	if (shift + (unsigned)bits > 8)
		v |= (unsigned)src[(bit >> 3) + 1] << (8 - shift);
	return (uint8_t)(v & ((1u << bits) - 1));
}

/* Fields of `from` bits in pairs, whose lower ones keep selects, become fields
 * of `to` bits. */
static inline uint64_t
spread(uint64_t w, int from, int to, uint64_t keep)
{
	return (w & keep) | (w >> from & keep) << to;
}

/* Eights of codes; inlined once for each number of bits. */
static inline __attribute__((always_inline)) void
unpack_eights(const uint8_t *src, int64_t n8, const int bits, uint8_t *out)
{
	const uint64_t mask = (UINT64_C(1) << bits) - 1;
	const uint64_t half = UINT64_C(0x0000000100000001);
	const uint64_t quarter = UINT64_C(0x0001000100010001);

	for (int64_t i = 0; i < n8; i++, src += bits, out += 8) {
		uint64_t w = 0;

		/* A whole word where there is one, for piecewise loads stall. */
		if ((n8 - i) * bits >= 8)
			memcpy(&w, src, 8);
		else
			memcpy(&w, src, (size_t)bits);
		/* The upper half of the codes moves away from the lower one,
		 * in halves, quarters and eighths of the word. */
		w = spread(w, 4 * bits, 32, ~UINT64_C(0) >> (64 - 4 * bits));
		w = spread(w, 2 * bits, 16, half * (mask | mask << bits));
		w = spread(w, bits, 8, quarter * mask);
		memcpy(out, &w, 8);
	}
}

VALUE_SIMD static void
unpack4(const uint8_t *src, int64_t n8, uint8_t *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n8 * 4; i++) {
		out[2 * i] = src[i] & 15;
		out[2 * i + 1] = src[i] >> 4;
	}
}

VALUE_SIMD static void
unpack2(const uint8_t *src, int64_t n8, uint8_t *out)
{
#pragma omp simd
	for (int64_t i = 0; i < n8 * 2; i++) {
		out[4 * i] = src[i] & 3;
		out[4 * i + 1] = (src[i] >> 2) & 3;
		out[4 * i + 2] = (src[i] >> 4) & 3;
		out[4 * i + 3] = src[i] >> 6;
	}
}

/* Spreads the bits of a byte over eight bytes: each product puts a copy of b
 * where one bit of it meets the mask. */
static void
unpack1(const uint8_t *src, int64_t n8, uint8_t *out)
{
	for (int64_t i = 0; i < n8; i++, out += 8) {
		uint64_t w = src[i] * UINT64_C(0x0101010101010101);

		w &= UINT64_C(0x8040201008040201);
		w = ((w + UINT64_C(0x7f7f7f7f7f7f7f7f)) |
		    w) >> 7 & UINT64_C(0x0101010101010101);
		memcpy(out, &w, 8);
	}
}

void
code_unpack(const uint8_t *src, int64_t pos, int64_t n, int bits, uint8_t *out)
{
	int64_t n8;

	for (; n > 0 && (pos & 7) != 0; pos++, n--)
		*out++ = unpack_one(src, pos, bits);
	if (n <= 0)
		return;
	src += pos / 8 * bits;
	n8 = code_unpack_fast(src, n, bits, out);
	if (n8 == n)
		return;
	src += n8 / 8 * bits;
	out += n8;
	n -= n8;
	n8 = n / 8;
	switch (bits) {
	case 1:
		unpack1(src, n8, out);
		break;
	case 2:
		unpack2(src, n8, out);
		break;
	case 3:
		unpack_eights(src, n8, 3, out);
		break;
	case 4:
		unpack4(src, n8, out);
		break;
	case 5:
		unpack_eights(src, n8, 5, out);
		break;
	case 6:
		unpack_eights(src, n8, 6, out);
		break;
	case 7:
		unpack_eights(src, n8, 7, out);
		break;
	default:
		memcpy(out, src, (size_t)n);
		return;
	}
	for (int64_t i = n8 * 8; i < n; i++)
		out[i] = unpack_one(src, i, bits);
}

static inline __attribute__((always_inline)) void
pack_eights(const uint8_t *code, int64_t n8, const int bits, uint8_t *dst)
{
	for (int64_t i = 0; i < n8; i++, code += 8, dst += bits) {
		uint64_t w = 0;

		for (int j = 0; j < 8; j++)
			w |= (uint64_t)code[j] << (j * bits);
		memcpy(dst, &w, (size_t)bits);
	}
}

VALUE_SIMD static void
pack4(const uint8_t *code, int64_t n8, uint8_t *dst)
{
#pragma omp simd
	for (int64_t i = 0; i < n8 * 4; i++)
		dst[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
}

static void
pack_tail(const uint8_t *code, int64_t n, int bits, uint8_t *dst)
{
	uint64_t w = 0;

	for (int64_t i = 0; i < n; i++)
		w |= (uint64_t)code[i] << (i * bits);
	memcpy(dst, &w, (size_t)((n * bits + 7) / 8));
}

void
code_pack(const uint8_t *code, int64_t n, int bits, uint8_t *dst)
{
	int64_t n8 = n / 8;

	switch (bits) {
	case 1:
		pack_eights(code, n8, 1, dst);
		break;
	case 2:
		pack_eights(code, n8, 2, dst);
		break;
	case 3:
		pack_eights(code, n8, 3, dst);
		break;
	case 4:
		pack4(code, n8, dst);
		break;
	case 5:
		pack_eights(code, n8, 5, dst);
		break;
	case 6:
		pack_eights(code, n8, 6, dst);
		break;
	case 7:
		pack_eights(code, n8, 7, dst);
		break;
	default:
		memcpy(dst, code, (size_t)n);
		return;
	}
	if (n % 8 != 0)
		pack_tail(code + n8 * 8, n % 8, bits, dst + n8 * bits);
}

void
code_pack_parallel(const uint8_t *code, int64_t n, int bits, uint8_t *dst)
{
	const int64_t step = 1 << 16;
	int64_t blocks = (n + step - 1) / step;

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (blocks > 1)
	for (int64_t b = 0; b < blocks; b++) {
		int64_t i = b * step, m = n - i < step ? n - i : step;

		code_pack(code + i, m, bits, dst + i / 8 * bits);
	}
}

void
value_codes(const struct tensor *t, int64_t r, int64_t pos, int64_t n,
    uint8_t *out)
{
	const uint8_t *src = t->part[PART_DATA].p;

	if (n <= 0)
		return;
	if (!form_table[t->form].is_sparse)
		src += r * value_row_bytes(t);
	code_unpack(src, pos, n, t->code.bits, out);
}

VALUE_SIMD uint32_t
value_max_bits(const float *f, int64_t n)
{
	int32_t m = 0;

#pragma omp simd reduction(max : m)
	for (int64_t i = 0; i < n; i++) {
		int32_t b;

		memcpy(&b, &f[i], sizeof(b));
		b &= 0x7fffffff;
		m = b > m ? b : m;
	}
	return (uint32_t)m;
}

/* Floats compare as integers once the low 31 bits of negative ones are
 * turned round; the map is its own inverse. */
static inline int32_t
float_key(int32_t b)
{
	return b ^ (int32_t)((uint32_t)(b >> 31) >> 1);
}

VALUE_SIMD void
value_range(const float *f, int64_t n, float *min, float *max)
{
	int32_t lo = INT32_MAX, hi = INT32_MIN;

#pragma omp simd reduction(min : lo) reduction(max : hi)
	for (int64_t i = 0; i < n; i++) {
		int32_t b;

		memcpy(&b, &f[i], sizeof(b));
		b = float_key(b);
		lo = b < lo ? b : lo;
		hi = b > hi ? b : hi;
	}
	lo = float_key(lo);
	hi = float_key(hi);
	memcpy(min, &lo, sizeof(lo));
	memcpy(max, &hi, sizeof(hi));
}

VALUE_SIMD int64_t
value_count_nonzero(const float *f, int64_t n)
{
	int64_t total = 0;

	for (int64_t i = 0; i < n; i += 1 << 16) {
		int64_t end = n - i < 1 << 16 ? n : i + (1 << 16);
		int32_t k = 0;

#pragma omp simd reduction(+ : k)
		for (int64_t j = i; j < end; j++)
			k += f[j] != 0.0f;
		total += k;
	}
	return total;
}

VALUE_SIMD int64_t
value_count_nonzero16(const uint16_t *h, int64_t n)
{
	int64_t total = 0;

	for (int64_t i = 0; i < n; i += 1 << 16) {
		int64_t end = n - i < 1 << 16 ? n : i + (1 << 16);
		int32_t k = 0;

#pragma omp simd reduction(+ : k)
		for (int64_t j = i; j < end; j++)
			k += (h[j] & 0x7fff) != 0;
		total += k;
	}
	return total;
}

void
value_from_floats(enum form_kind values, const float *f, int64_t n, void *out)
{
	if (values == FORM_F16)
		half_from_floats(f, n, out);
	else if (values == FORM_BF16)
		bfloat_from_floats(f, n, out);
	else
		memcpy(out, f, (size_t)n * sizeof(float));
}

struct value_row
value_row_get(const struct tensor *t, int64_t r, float *fbuf, int32_t *cbuf)
{
	const struct form *vf = &form_table[t->values];
	struct value_row row = { fbuf, NULL, t->cols };
	int64_t pos = 0;

	if (form_table[t->form].is_sparse) {
		row.n = sparse_row(t, r, cbuf);
		row.col = cbuf;
		pos = sparse_start(t, r);
	}
	if (t->values == FORM_F32) {
		if (row.n > 0)
			row.v = (const float *)t->part[PART_DATA].p + pos +
			    (row.col == NULL ? r * t->cols : 0);
	} else if (t->form == FORM_BLOCK) {
		tensor_decode(t, r, 1, fbuf);
	} else {
		vf->values(t, r, row.col, pos, row.n, fbuf);
	}
	return row;
}

int64_t
value_run_end(const struct tensor *t, const struct value_row *row, int64_t i)
{
	int64_t width = value_group_cols(t), end;

	if (width == t->cols)
		return row->n;
	end = (value_col(row, i) / width + 1) * width;
	if (row->col == NULL)
		return end < row->n ? end : row->n;
	while (i < row->n && row->col[i] < end)
		i++;
	return i;
}

int64_t
value_share(int64_t nonzero, int64_t part, int64_t whole)
{
	if (nonzero >= whole)
		return part;
	return (int64_t)((double)nonzero * (double)part / (double)whole + 0.5);
}
