/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/rope.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

/* The pair that turns `turns` times over the original length, as a real. */
static double
yarn_pair(const struct rope *r, int dim, double turns)
{
	return dim * log((double)r->original / (turns * two_pi)) /
	    (2.0 * log(r->theta));
}

static double
yarn_frequency(const struct rope *r, int dim, int i, double f)
{
	double low = floor(yarn_pair(r, dim, r->high));
	double high = ceil(yarn_pair(r, dim, r->low)), t;

	low = low < 0.0 ? 0.0 : low;
	high = high > dim - 1 ? dim - 1 : high;
	t = (i - low) / (high - low > 0.001 ? high - low : 0.001);
	t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
	return f * (1.0 - t) + f / r->factor * t;
}

static double
llama3_frequency(const struct rope *r, double f)
{
	double lambda = two_pi / f, n = (double)r->original, t;

	if (lambda > n / r->low)
		return f / r->factor;
	if (lambda < n / r->high)
		return f;
	t = (n / lambda - r->low) / (r->high - r->low);
	return (1.0 - t) * f / r->factor + t * f;
}

static double
frequency(const struct rope *r, int dim, int i, int64_t length)
{
	double theta = r->theta, f;

	if (r->kind == ROPE_DYNAMIC && length > r->original && dim > 2)
		theta *= pow(r->factor * (double)length /
		    (double)r->original - (r->factor - 1.0),
		    (double)dim / (dim - 2));
	f = pow(theta, -2.0 * i / dim);
	switch (r->kind) {
	case ROPE_LINEAR:
		return f / r->factor;
	case ROPE_LLAMA3:
		return llama3_frequency(r, f);
	case ROPE_YARN:
		return yarn_frequency(r, dim, i, f);
	case ROPE_PLAIN:
	case ROPE_DYNAMIC:
	case ROPE_KIND_COUNT:
		break;
	}
	return f;
}

void
rope_table(const struct rope *r, int dim, int64_t first, int64_t n,
    int64_t length, const float *divisor, float *cosine, float *sine)
{
	const int half = dim / 2;
	double scale = 1.0;

	if (r->kind == ROPE_YARN)
		scale = r->attention > 0.0 ? r->attention :
		    0.1 * log(r->factor) + 1.0;
	for (int i = 0; i < half; i++) {
		double f = frequency(r, dim, i, length);

		/* The references hold the frequencies in float32. */
		f = (float)f;
		if (divisor != NULL && divisor[i] != 0.0f)
			f /= divisor[i];
		for (int64_t p = 0; p < n; p++) {
			double angle = (double)(first + p) * f;

			cosine[p * half + i] = (float)(scale * cos(angle));
			sine[p * half + i] = (float)(scale * sin(angle));
		}
	}
}

static void
turn_halves(float *restrict x, int half, const float *restrict c,
    const float *restrict s)
{
	float *restrict y = x + half;

#pragma omp simd
	for (int i = 0; i < half; i++) {
		float u = x[i], v = y[i];

		x[i] = u * c[i] - v * s[i];
		y[i] = v * c[i] + u * s[i];
	}
}

static void
turn_mixed(float *x, int half, const float *c, const float *s)
{
	for (int i = 0; i < half; i++) {
		float u = x[2 * i], v = x[2 * i + 1];

		x[2 * i] = u * c[i] - v * s[i];
		x[2 * i + 1] = v * c[i] + u * s[i];
	}
}

void
rope_turn(float *x, int64_t n, int heads, int dim, bool interleaved,
    const float *cosine, const float *sine)
{
	const int half = dim / 2;

	for (int64_t p = 0; p < n; p++) {
		const float *c = cosine + p * half, *s = sine + p * half;

		for (int h = 0; h < heads; h++)
			(interleaved ? turn_mixed : turn_halves)(x +
			    (p * heads + h) * dim, half, c, s);
	}
}
