/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

uint64_t
hash_bytes(const void *p, size_t n, uint64_t seed)
{
	return XXH3_64bits_withSeed(p, n, seed);
}

uint64_t
hash_text(const char *s, uint64_t seed)
{
	return hash_bytes(s, strlen(s), seed);
}

uint64_t
hash_mix(uint64_t a, uint64_t b)
{
	uint64_t v[2] = { a, b };

	return hash_bytes(v, sizeof(v), 0);
}

void
hash_text_of(uint64_t hash, char out[17])
{
	snprintf(out, 17, "%016" PRIx64, hash);
}
