/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rng: the only source of chance. Same seed, same numbers, on every machine.
 *
 * xoshiro256** seeded through splitmix64 (Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", ACM TOMS 2021).
 */
#ifndef PARE_BASE_RNG_H
#define PARE_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_uniform(struct rng *r);		/* [0, 1) */
float rng_normal(struct rng *r);		/* mean 0, deviation 1 */
uint64_t rng_below(struct rng *r, uint64_t n);	/* 0..n-1, n > 0, unbiased */
void rng_shuffle(struct rng *r, int64_t *v, int64_t n);

/* A seed for an independent stream, as one per tensor or per epoch. */
uint64_t rng_derive(uint64_t seed, uint64_t stream);

#endif
