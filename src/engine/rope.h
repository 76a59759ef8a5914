/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rope: rotary positions (Su et al. 2021). Values i and i + d/2 of a head are a
 * pair that is turned by the angle position * f_i, f_i = theta^(-2i/d).
 *
 * Stretched to longer texts than those of the training, with factor s and the
 * original length n, lambda_i = 2 pi / f_i:
 *
 *   linear   f_i / s
 *   dynamic  for a sequence of L > n: theta grows to
 *            theta * (s L / n - s + 1)^(d / (d - 2))
 *   llama3   lambda_i > n / low: f_i / s; lambda_i < n / high: f_i; between, with
 *            t = (n / lambda_i - low) / (high - low): (1 - t) f_i / s + t f_i
 *   yarn     a ramp over i from f_i to f_i / s between the pairs that turn
 *            high (beta_fast) and low (beta_slow) times over n positions; cos
 *            and sin times 0.1 ln s + 1 (Peng et al. 2023)
 *
 * A slot SLOT_ROPE divides f_i on top, as GGUF files have it.
 */
#ifndef PARE_ENGINE_ROPE_H
#define PARE_ENGINE_ROPE_H

#include "model/model.h"

/* Positions [first, first + n) of heads of dim values, in a sequence of `length`
 * tokens: cos and sin, (n, dim / 2) each. divisor (dim / 2) may be NULL. */
void rope_table(const struct rope *r, int dim, int64_t first, int64_t n,
    int64_t length, const float *divisor, float *cos, float *sin);

/* Turns n rows of `heads` heads of dim values; row i takes row i of the tables.
 * interleaved: pairs are (2i, 2i + 1), not (i, i + dim / 2). */
void rope_turn(float *x, int64_t n, int heads, int dim, bool interleaved,
    const float *cos, const float *sin);

#endif
