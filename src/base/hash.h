/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * hash: content hashes of tensors, models and data (XXH3, 64 bits). They name
 * states and recall results; they are no defence against forgery.
 */
#ifndef PARE_BASE_HASH_H
#define PARE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
uint64_t hash_text(const char *s, uint64_t seed);
uint64_t hash_mix(uint64_t a, uint64_t b);	/* order matters */

/* Sixteen lower-case hexadecimal digits and a NUL. */
void hash_text_of(uint64_t hash, char out[17]);

#endif
