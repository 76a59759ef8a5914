/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each type is taken apart once, into codes and per group the factors that its
 * decoding multiplies with; decode() then repeats ggml's order of operations on
 * them: d * sc and dmin * m first, both in float32, then times the code. Where
 * the code is an offset one (Q4_0: code - 8) the integer is subtracted first,
 * which base + step * code would round differently.
 */
#include "tensor/block.h"

#include <string.h>

#include "tensor/tensor.h"

static float
half_at(const uint8_t *p)
{
	uint16_t h;

	memcpy(&h, p, sizeof(h));
	return half_to_float(h);
}

static uint32_t
word_at(const uint8_t *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* n codes with one step: out = step * (code - zero). */
static void
offset_values(const uint8_t *code, int n, float step, int zero, float *out)
{
	for (int i = 0; i < n; i++)
		out[i] = step * (float)((int)code[i] - zero);
}

/* out = step * code + low. */
static void
affine_values(const uint8_t *code, int n, float step, float low, float *out)
{
	for (int i = 0; i < n; i++)
		out[i] = step * (float)code[i] + low;
}

/* Sixteen bytes of nibbles: the low ones, then the high ones. */
static void
split_nibbles(const uint8_t *q, int bytes, uint8_t *code)
{
	for (int i = 0; i < bytes; i++) {
		code[i] = q[i] & 15;
		code[i + bytes] = q[i] >> 4;
	}
}

/* ---- blocks of 32 ---------------------------------------------------- */

static void
q4_0_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_nibbles(b + 2, 16, code);
	step[0] = half_at(b);
	base[0] = -8.0f * step[0];
}

static void
q4_0_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	split_nibbles(b + 2, 16, code);
	offset_values(code, 32, half_at(b), 8, out);
}

static void
q4_1_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_nibbles(b + 4, 16, code);
	step[0] = half_at(b);
	base[0] = half_at(b + 2);
}

static void
q4_1_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	split_nibbles(b + 4, 16, code);
	affine_values(code, 32, half_at(b), half_at(b + 2), out);
}

static void
split_fives(const uint8_t *high, const uint8_t *q, uint8_t *code)
{
	const uint32_t h = word_at(high);

	split_nibbles(q, 16, code);
	for (int i = 0; i < 32; i++)
		code[i] |= (uint8_t)((h >> i & 1) << 4);
}

static void
q5_0_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_fives(b + 2, b + 6, code);
	step[0] = half_at(b);
	base[0] = -16.0f * step[0];
}

static void
q5_0_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	split_fives(b + 2, b + 6, code);
	offset_values(code, 32, half_at(b), 16, out);
}

static void
q5_1_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_fives(b + 4, b + 8, code);
	step[0] = half_at(b);
	base[0] = half_at(b + 2);
}

static void
q5_1_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	split_fives(b + 4, b + 8, code);
	affine_values(code, 32, half_at(b), half_at(b + 2), out);
}

static void
q8_0_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	for (int i = 0; i < 32; i++)
		code[i] = b[2 + i] ^ 0x80;
	step[0] = half_at(b);
	base[0] = -128.0f * step[0];
}

static void
q8_0_decode(const uint8_t *b, float *out)
{
	const float d = half_at(b);

	for (int i = 0; i < 32; i++)
		out[i] = d * (float)(int8_t)b[2 + i];
}

/* What the sixteen codes of the non-linear types stand for. */
static const int8_t iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22,
	-10, 1, 13, 25, 38, 53, 69, 89, 113 };

static void
iq4_codes(const uint8_t *q, uint8_t *code)
{
	split_nibbles(q, 16, code);
	for (int i = 0; i < 32; i++)
		code[i] = (uint8_t)(iq4_values[code[i]] + 128);
}

static void
iq4_nl_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	iq4_codes(b + 2, code);
	step[0] = half_at(b);
	base[0] = -128.0f * step[0];
}

static void
iq4_nl_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	iq4_codes(b + 2, code);
	offset_values(code, 32, half_at(b), 128, out);
}

/* Twice the values of a 4-bit float (e2m1); the scale has the half. */
static const int8_t mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2,
	-3, -4, -6, -8, -12 };

static float
mxfp4_scale(uint8_t e)
{
	uint32_t bits = e < 2 ? UINT32_C(0x00200000) << e :
	    (uint32_t)(e - 1) << 23;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static void
mxfp4_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_nibbles(b + 1, 16, code);
	for (int i = 0; i < 32; i++)
		code[i] = (uint8_t)(mxfp4_values[code[i]] + 12);
	step[0] = mxfp4_scale(b[0]);
	base[0] = -12.0f * step[0];
}

static void
mxfp4_decode(const uint8_t *b, float *out)
{
	uint8_t code[32];

	split_nibbles(b + 1, 16, code);
	for (int i = 0; i < 32; i++)
		out[i] = mxfp4_scale(b[0]) * (float)mxfp4_values[code[i]];
}

/* ---- blocks of 256 --------------------------------------------------- */

/* Two bits a value: 32 bytes hold four runs of 32, twice. */
static void
split_twos(const uint8_t *q, uint8_t *code)
{
	for (int i = 0; i < 256; i++)
		code[i] = q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void
q2_k_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	const float d = half_at(b + 80), low = half_at(b + 82);

	split_twos(b + 16, code);
	for (int g = 0; g < 16; g++) {
		step[g] = d * (float)(b[g] & 15);
		base[g] = -(low * (float)(b[g] >> 4));
	}
}

static void
q3_k_scales(const uint8_t *p, int *s)
{
	for (int k = 0; k < 4; k++) {
		int t = p[8 + k];

		s[k] = (p[k] & 15) | (t & 3) << 4;
		s[4 + k] = (p[4 + k] & 15) | (t >> 2 & 3) << 4;
		s[8 + k] = p[k] >> 4 | (t >> 4 & 3) << 4;
		s[12 + k] = p[4 + k] >> 4 | (t >> 6 & 3) << 4;
	}
}

/* Code 0 to 7; 4 stands for zero. */
static void
q3_k_split(const uint8_t *b, uint8_t *code, float *step)
{
	const float d = half_at(b + 108);
	int s[16];

	split_twos(b + 32, code);
	for (int i = 0; i < 256; i++)
		code[i] |= (uint8_t)((b[i % 32] >> (i / 32) & 1) << 2);
	q3_k_scales(b + 96, s);
	for (int g = 0; g < 16; g++)
		step[g] = d * (float)(s[g] - 32);
}

static void
q3_k_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	q3_k_split(b, code, step);
	for (int g = 0; g < 16; g++)
		base[g] = -4.0f * step[g];
}

static void
q3_k_decode(const uint8_t *b, float *out)
{
	uint8_t code[256];
	float step[16];

	q3_k_split(b, code, step);
	for (int g = 0; g < 16; g++)
		offset_values(code + 16 * g, 16, step[g], 4, out + 16 * g);
}

/* Six-bit scales and minima of eight groups. */
static void
k_scales(const uint8_t *b, float *step, float *base)
{
	const float d = half_at(b), low = half_at(b + 2);
	const uint8_t *p = b + 4;

	for (int j = 0; j < 8; j++) {
		int sc = j < 4 ? p[j] & 63 : (p[j + 4] & 15) |
		    (p[j - 4] >> 6) << 4;
		int m = j < 4 ? p[j + 4] & 63 : p[j + 4] >> 4 |
		    (p[j] >> 6) << 4;

		step[j] = d * (float)sc;
		base[j] = -(low * (float)m);
	}
}

/* 32 bytes hold a run of 32 in their low nibbles and one in their high ones. */
static void
split_fours(const uint8_t *q, uint8_t *code)
{
	for (int c = 0; c < 4; c++)
		split_nibbles(q + 32 * c, 32, code + 64 * c);
}

static void
q4_k_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_fours(b + 16, code);
	k_scales(b, step, base);
}

static void
q5_k_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	split_fours(b + 48, code);
	for (int i = 0; i < 256; i++)
		code[i] |= (uint8_t)((b[16 + i % 32] >> (i / 32) & 1) << 4);
	k_scales(b, step, base);
}

/* Groups with a step and a base each. */
static void
decode_affine(const uint8_t *b, int group, void (*codes)(const uint8_t *,
    uint8_t *, float *, float *), float *out)
{
	float step[BLOCK_GROUPS_MAX], base[BLOCK_GROUPS_MAX];
	uint8_t code[256];

	codes(b, code, step, base);
	for (int g = 0; g < 256 / group; g++)
		affine_values(code + g * group, group, step[g], base[g],
		    out + g * group);
}

static void
q2_k_decode(const uint8_t *b, float *out)
{
	decode_affine(b, 16, q2_k_codes, out);
}

static void
q4_k_decode(const uint8_t *b, float *out)
{
	decode_affine(b, 32, q4_k_codes, out);
}

static void
q5_k_decode(const uint8_t *b, float *out)
{
	decode_affine(b, 32, q5_k_codes, out);
}

/* Codes 0 to 63; 32 stands for zero. */
static void
q6_k_split(const uint8_t *b, uint8_t *code, float *step)
{
	const float d = half_at(b + 208);

	for (int i = 0; i < 256; i++) {
		const uint8_t *low = b + i / 128 * 64;
		int k = i % 128 / 32, l = i % 32;
		int nibble = low[l + k % 2 * 32] >> (k / 2 * 4) & 15;
		int two = b[128 + i / 128 * 32 + l] >> (2 * k) & 3;

		code[i] = (uint8_t)(nibble | two << 4);
	}
	for (int g = 0; g < 16; g++)
		step[g] = d * (float)(int8_t)b[192 + g];
}

static void
q6_k_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	q6_k_split(b, code, step);
	for (int g = 0; g < 16; g++)
		base[g] = -32.0f * step[g];
}

static void
q6_k_decode(const uint8_t *b, float *out)
{
	uint8_t code[256];
	float step[16];

	q6_k_split(b, code, step);
	for (int g = 0; g < 16; g++)
		offset_values(code + 16 * g, 16, step[g], 32, out + 16 * g);
}

static void
iq4_xs_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	const float d = half_at(b);
	const int high = b[2] | b[3] << 8;

	for (int g = 0; g < 8; g++) {
		int s = (b[4 + g / 2] >> (g % 2 * 4) & 15) |
		    (high >> (2 * g) & 3) << 4;

		iq4_codes(b + 8 + 16 * g, code + 32 * g);
		step[g] = d * (float)(s - 32);
		base[g] = -128.0f * step[g];
	}
}

static void
iq4_xs_decode(const uint8_t *b, float *out)
{
	float step[8], base[8];
	uint8_t code[256];

	iq4_xs_codes(b, code, step, base);
	for (int g = 0; g < 8; g++)
		offset_values(code + 32 * g, 32, step[g], 128, out + 32 * g);
}

/* Code 0 to 30; 15 stands for zero. Four values are one of the codebook's, with
 * signs of their own. */
static void
iq3_s_split(const uint8_t *b, uint8_t *code, float *step)
{
	const uint8_t *low = b + 2, *high = b + 66, *sign = b + 74;
	const float d = half_at(b);

	for (int i = 0; i < 256; i++) {
		int four = i / 4;
		uint16_t entry = block_iq3_grid[low[four] |
		    (high[four / 8] >> (four % 8) & 1) << 8];
		int size = 2 * (entry >> (3 * (i % 4)) & 7) + 1;

		code[i] = (uint8_t)(sign[i / 8] >> (i % 8) & 1 ? 15 - size :
		    15 + size);
	}
	for (int g = 0; g < 8; g++)
		step[g] = d * (float)(1 + 2 * (b[106 + g / 2] >>
		    (g % 2 * 4) & 15));
}

static void
iq3_s_codes(const uint8_t *b, uint8_t *code, float *step, float *base)
{
	iq3_s_split(b, code, step);
	for (int g = 0; g < 8; g++)
		base[g] = -15.0f * step[g];
}

static void
iq3_s_decode(const uint8_t *b, float *out)
{
	uint8_t code[256];
	float step[8];

	iq3_s_split(b, code, step);
	for (int g = 0; g < 8; g++)
		offset_values(code + 32 * g, 32, step[g], 15, out + 32 * g);
}

#define ROW(kind, name, type, values, bytes, group, zero, most, f) \
	[kind] = { name, type, values, bytes, group, zero, most, \
	    f##_decode, f##_codes }

const struct block_facts block_table[BLOCK_KINDS] = {
	ROW(BLOCK_Q4_0, "q4_0", 2, 32, 18, 32, 8, 15, q4_0),
	ROW(BLOCK_Q4_1, "q4_1", 3, 32, 20, 32, 0, 15, q4_1),
	ROW(BLOCK_Q5_0, "q5_0", 6, 32, 22, 32, 16, 31, q5_0),
	ROW(BLOCK_Q5_1, "q5_1", 7, 32, 24, 32, 0, 31, q5_1),
	ROW(BLOCK_Q8_0, "q8_0", 8, 32, 34, 32, 128, 255, q8_0),
	ROW(BLOCK_Q2_K, "q2_k", 10, 256, 84, 16, 0, 3, q2_k),
	ROW(BLOCK_Q3_K, "q3_k", 11, 256, 110, 16, 4, 7, q3_k),
	ROW(BLOCK_Q4_K, "q4_k", 12, 256, 144, 32, 0, 15, q4_k),
	ROW(BLOCK_Q5_K, "q5_k", 13, 256, 176, 32, 0, 31, q5_k),
	ROW(BLOCK_Q6_K, "q6_k", 14, 256, 210, 16, 32, 63, q6_k),
	ROW(BLOCK_IQ4_NL, "iq4_nl", 20, 32, 18, 32, 128, 241, iq4_nl),
	ROW(BLOCK_IQ4_XS, "iq4_xs", 23, 256, 136, 32, 128, 241, iq4_xs),
	ROW(BLOCK_MXFP4, "mxfp4", 39, 32, 17, 32, 12, 24, mxfp4),
	ROW(BLOCK_IQ3_S, "iq3_s", 21, 256, 110, 32, 15, 30, iq3_s),
};

bool
block_find(int type, enum block_kind *out)
{
	for (int k = 0; k < BLOCK_KINDS; k++)
		if (block_table[k].type == type) {
			*out = (enum block_kind)k;
			return true;
		}
	return false;
}
