/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A unit of the trie (Darts-clone): bit 8 says that a value lies at its child 0;
 * bits 10 to 30 are the offset to its children, shifted by 8 more when bit 9 is
 * set; bits 0 to 7 with bit 31 must equal the byte that led there. Every index
 * is compared with the size before it is used, and a step consumes a byte of the
 * text, so a damaged table can only give wrong answers.
 */
#include "text/charsmap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	CHARSMAP_MAX = 64 << 20,
	KEY_MAX = 64		/* bytes; a damaged table could go in circles */
};

struct charsmap {
	unsigned char *data;
	const unsigned char *unit;
	size_t units;
	const char *text;	/* replacements */
	size_t ntext;
};

static uint32_t
unit_at(const struct charsmap *m, size_t i)
{
	const unsigned char *p = m->unit + 4 * i;

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 24;
}

static size_t
offset_of(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

struct charsmap *
charsmap_new(const void *data, size_t n, const char *where,
    struct pare_err *err)
{
	struct charsmap *m;
	uint32_t bytes = 0;
	const unsigned char *p = data;

	if (n >= 4)
		bytes = (uint32_t)p[0] | (uint32_t)p[1] << 8 |
		    (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	if (n < 8 || n > CHARSMAP_MAX || bytes > n - 4 || bytes % 4 != 0 ||
	    bytes == 0) {
		err_set(err, PARE_EFORMAT, "%s: a precompiled_charsmap of %zu "
		    "bytes with a trie of %u", where, n, (unsigned)bytes);
		return NULL;
	}
	m = xcalloc(1, sizeof(*m));
	m->data = mem_big(n + 1, 1, err);
	if (m->data == NULL) {
		free(m);
		return NULL;
	}
	memcpy(m->data, data, n);
	m->data[n] = '\0';
	m->unit = m->data + 4;
	m->units = bytes / 4;
	m->text = (const char *)m->data + 4 + bytes;
	m->ntext = n - 4 - bytes;
	return m;
}

static int
base64_value(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c != '\0' ? strchr(digits, c) : NULL;

	return p != NULL ? (int)(p - digits) : -1;
}

struct charsmap *
charsmap_from_base64(const char *text, const char *where,
    struct pare_err *err)
{
	size_t n = strlen(text), k = 0;
	struct charsmap *m = NULL;
	unsigned char *out;
	uint32_t bits = 0;
	int have = 0;

	while (n > 0 && text[n - 1] == '=')
		n--;
	out = mem_big(n + 1, 1, err);
	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		int v = base64_value(text[i]);

		if (v < 0) {
			err_set(err, PARE_EFORMAT, "%s: precompiled_charsmap "
			    "is not base64 at character %zu", where, i);
			free(out);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[k++] = (unsigned char)(bits >> have);
		}
	}
	m = charsmap_new(out, k, where, err);
	free(out);
	return m;
}

void
charsmap_free(struct charsmap *m)
{
	if (m != NULL)
		free(m->data);
	free(m);
}

size_t
charsmap_find(const struct charsmap *m, const char *s, size_t n,
    const char **with, size_t *k)
{
	size_t at = offset_of(unit_at(m, 0)), best = 0, value = 0;

	for (size_t i = 0; i < n && i < KEY_MAX; i++) {
		const unsigned char byte = (unsigned char)s[i];
		uint32_t unit;

		at ^= byte;
		if (at >= m->units)
			break;
		unit = unit_at(m, at);
		if ((unit & (1u << 31 | 0xff)) != byte)
			break;
		at ^= offset_of(unit);
		if ((unit >> 8 & 1) == 0)
			continue;
		if (at >= m->units)
			break;
		if (i + 1 < n && ((unsigned char)s[i + 1] & 0xc0) == 0x80)
			continue;	/* would cut a character in two */
		value = unit_at(m, at) & 0x7fffffff;
		best = i + 1;
	}
	if (best == 0 || value > m->ntext)
		return 0;
	*with = m->text + value;
	*k = strnlen(*with, CHARSMAP_REPLACEMENT + 1);
	return best;
}
