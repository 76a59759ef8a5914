/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

/* How many bytes follow lead byte c, and the range of the first of them (it is
 * narrower than 80..BF where longer forms, surrogates or values above 10FFFF
 * would hide). -1: c begins no character. */
static int
lead(unsigned char c, unsigned char *low, unsigned char *high)
{
	*low = 0x80;
	*high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf)
		return 1;
	if (c >= 0xe0 && c <= 0xef) {
		if (c == 0xe0)
			*low = 0xa0;
		if (c == 0xed)
			*high = 0x9f;
		return 2;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		if (c == 0xf0)
			*low = 0x90;
		if (c == 0xf4)
			*high = 0x8f;
		return 3;
	}
	return -1;
}

size_t
uni_decode(const char *p, size_t n, int32_t *cp)
{
	const unsigned char *u = (const unsigned char *)p;
	unsigned char low, high;
	int32_t v;
	int more;

	if (u[0] < 0x80) {
		*cp = u[0];
		return 1;
	}
	more = lead(u[0], &low, &high);
	*cp = -1;
	if (more < 0)
		return 1;
	v = u[0] & (0x3f >> more);
	for (int i = 1; i <= more; i++) {
		if ((size_t)i >= n || u[i] < low || u[i] > high)
			return (size_t)i;
		v = v << 6 | (u[i] & 0x3f);
		low = 0x80;
		high = 0xbf;
	}
	*cp = v;
	return (size_t)more + 1;
}

size_t
uni_encode(int32_t cp, char out[4])
{
	uint32_t v = (uint32_t)cp;

	if (v < 0x80) {
		out[0] = (char)v;
		return 1;
	}
	if (v < 0x800) {
		out[0] = (char)(0xc0 | v >> 6);
		out[1] = (char)(0x80 | (v & 0x3f));
		return 2;
	}
	if (v < 0x10000) {
		out[0] = (char)(0xe0 | v >> 12);
		out[1] = (char)(0x80 | (v >> 6 & 0x3f));
		out[2] = (char)(0x80 | (v & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | v >> 18);
	out[1] = (char)(0x80 | (v >> 12 & 0x3f));
	out[2] = (char)(0x80 | (v >> 6 & 0x3f));
	out[3] = (char)(0x80 | (v & 0x3f));
	return 4;
}

bool
uni_valid(const char *p, size_t n)
{
	int32_t cp;

	for (size_t i = 0; i < n;) {
		i += uni_decode(p + i, n - i, &cp);
		if (cp < 0)
			return false;
	}
	return true;
}

bool
uni_is_space(int32_t cp)
{
	return (cp >= 0x09 && cp <= 0x0d) || cp == 0x20 || cp == 0x85 ||
	    cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
	    cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
	    cp == 0x3000;
}

bool
uni_is_control(int32_t cp)
{
	switch (utf8proc_category(cp)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CN:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_CS:
		return true;
	default:
		return false;
	}
}

bool
uni_is_punctuation(int32_t cp)
{
	if (cp < 0x80)
		return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) ||
		    (cp >= 91 && cp <= 96) || (cp >= 123 && cp <= 126);
	switch (utf8proc_category(cp)) {
	case UTF8PROC_CATEGORY_PC:
	case UTF8PROC_CATEGORY_PD:
	case UTF8PROC_CATEGORY_PS:
	case UTF8PROC_CATEGORY_PE:
	case UTF8PROC_CATEGORY_PI:
	case UTF8PROC_CATEGORY_PF:
	case UTF8PROC_CATEGORY_PO:
		return true;
	default:
		return false;
	}
}

/* The fifth range begins at 2B920, not 2B820, in the reference too: the ids
 * have to agree with it. */
bool
uni_is_ideograph(int32_t cp)
{
	return (cp >= 0x4e00 && cp <= 0x9fff) ||
	    (cp >= 0x3400 && cp <= 0x4dbf) ||
	    (cp >= 0x20000 && cp <= 0x2a6df) ||
	    (cp >= 0x2a700 && cp <= 0x2b73f) ||
	    (cp >= 0x2b740 && cp <= 0x2b81f) ||
	    (cp >= 0x2b920 && cp <= 0x2ceaf) ||
	    (cp >= 0xf900 && cp <= 0xfaff) ||
	    (cp >= 0x2f800 && cp <= 0x2fa1f);
}

bool
uni_is_word(int32_t cp)
{
	int c = utf8proc_category(cp);

	return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) ||
	    c == UTF8PROC_CATEGORY_PC || cp == 0x200c || cp == 0x200d;
}

bool
uni_is_nonspacing(int32_t cp)
{
	return utf8proc_category(cp) == UTF8PROC_CATEGORY_MN;
}

int
uni_combining_class(int32_t cp)
{
	return utf8proc_get_property(cp)->combining_class;
}

/* U+0130 is the only character whose lower case is two. */
int
uni_lower(int32_t cp, int32_t out[UNI_LOWER_MAX])
{
	if (cp == 0x130) {
		out[0] = 'i';
		out[1] = 0x307;
		return 2;
	}
	out[0] = utf8proc_tolower(cp);
	return 1;
}

int
uni_decompose(int32_t cp, int32_t out[UNI_NFD_MAX])
{
	int boundary = 0;
	utf8proc_ssize_t n = utf8proc_decompose_char(cp, out, UNI_NFD_MAX,
	    UTF8PROC_DECOMPOSE, &boundary);

	if (n >= 1 && n <= UNI_NFD_MAX)
		return (int)n;
	out[0] = cp;
	return 1;
}

size_t
uni_trim_end(const char *p, size_t n)
{
	while (n > 0) {
		size_t k = n - 1;
		int32_t cp;

		while (k > 0 && n - k < 4 && (p[k] & 0xc0) == 0x80)
			k--;
		if (uni_decode(p + k, n - k, &cp) != n - k ||
		    !uni_is_space(cp))
			break;
		n = k;
	}
	return n;
}

enum pare_rc
uni_reserve(struct uni_bytes *b, size_t extra, struct pare_err *err)
{
	size_t want = b->n + extra;
	char *p;

	if (want <= b->cap)
		return PARE_OK;
	if (want < 2 * b->cap)
		want = 2 * b->cap;
	if (want < 256)
		want = 256;
	p = mem_big(want, 1, err);
	if (p == NULL)
		return PARE_ENOMEM;
	if (b->n != 0)
		memcpy(p, b->p, b->n);
	free(b->p);
	b->p = p;
	b->cap = want;
	return PARE_OK;
}
