/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * BITMAP: one bit for each weight, each row starting on a byte, the values of
 * the set bits as one stream, and where in it each row starts.
 */
#include "tensor/form_rows.h"

#include <string.h>

/* Bits are counted 64 at a time; rows end inside a word. */
static int64_t
count_bits(const uint8_t *p, int64_t bytes)
{
	int64_t n = 0, i;

	for (i = 0; i + 8 <= bytes; i += 8) {
		uint64_t w;

		memcpy(&w, p + i, 8);
		n += __builtin_popcountll(w);
	}
	for (; i < bytes; i++)
		n += __builtin_popcount(p[i]);
	return n;
}

enum pare_rc
bitmap_check(const struct tensor *t, struct pare_err *err)
{
	const uint8_t *mask = t->part[PART_MASK].p;
	int64_t bytes = (t->cols + 7) / 8;
	unsigned pad = t->cols % 8 != 0 ? 0xffu << (t->cols % 8) & 0xffu : 0;

	if (sparse_check_rows(t, err) != PARE_OK)
		return PARE_EFORMAT;
	for (int64_t r = 0; r < t->rows; r++, mask += bytes) {
		int64_t want = sparse_start(t, r + 1) - sparse_start(t, r);
		int64_t have = count_bits(mask, bytes);

		if (have != want)
			return err_set(err, PARE_EFORMAT, "row %lld of a "
			    "bitmap has %lld bits set, expected %lld",
			    (long long)r, (long long)have, (long long)want);
		if (mask[bytes - 1] & pad)
			return err_set(err, PARE_EFORMAT, "row %lld of a "
			    "bitmap has bits set past its last column",
			    (long long)r);
	}
	return PARE_OK;
}

int64_t
bitmap_row(const struct tensor *t, int64_t r, int32_t *col)
{
	int64_t bytes = (t->cols + 7) / 8, n = 0;
	const uint8_t *mask = (const uint8_t *)t->part[PART_MASK].p + r * bytes;

	for (int64_t i = 0; i < bytes; i += 8) {
		uint64_t w = 0;

		memcpy(&w, mask + i, (size_t)(bytes - i < 8 ? bytes - i : 8));
		for (; w != 0; w &= w - 1)
			col[n++] = (int32_t)(i * 8 + __builtin_ctzll(w));
	}
	return n;
}

/* Sets the bits of row r, whose bytes are written whole. */
void
bitmap_put(const struct tensor *facts, int64_t r, const int32_t *col,
    int64_t n, uint8_t *mask)
{
	int64_t bytes = (facts->cols + 7) / 8;

	mask += r * bytes;
	memset(mask, 0, (size_t)bytes);
	for (int64_t i = 0; i < n; i++)
		mask[col[i] >> 3] |= (uint8_t)(1u << (col[i] & 7));
}
