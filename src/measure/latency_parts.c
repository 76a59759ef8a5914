/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Medians of parts do not add up to the median of the whole, and means follow
 * every hiccup of the machine. So the passes in the middle half, by their whole
 * time, are picked, and the means of those taken for the whole and for each part
 * alike.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/latency.h"
#include "measure/stats.h"

static size_t
parts_size(int layers)
{
	return sizeof(struct latency_parts) + (size_t)layers *
	    sizeof(((struct latency_parts *)NULL)->layer_ms[0]);
}

static void
add_row(struct latency_parts *p, double ms, const float *row)
{
	p->whole_ms += ms;
	p->embed_ms += *row++;
	p->head_ms += *row++;
	for (int l = 0; l < p->layers; l++)
		for (int k = 0; k < ENGINE_PARTS; k++)
			p->layer_ms[l][k] += *row++;
	p->passes++;
}

static void
divide(struct latency_parts *p)
{
	p->whole_ms /= p->passes;
	p->embed_ms /= p->passes;
	p->head_ms /= p->passes;
	for (int l = 0; l < p->layers; l++)
		for (int k = 0; k < ENGINE_PARTS; k++)
			p->layer_ms[l][k] /= p->passes;
}

struct latency_parts *
latency_parts_of(const double *ms, const float *row, int passes, int layers)
{
	struct latency_parts *p = xcalloc(1, parts_size(layers));
	double *sorted = xmalloc((size_t)(passes + 1) * sizeof(*sorted));
	double low, high;

	p->layers = layers;
	memcpy(sorted, ms, (size_t)passes * sizeof(*sorted));
	low = stats_quantile(sorted, passes, 0.25);
	high = stats_quantile(sorted, passes, 0.75);
	/* Two passes have none between their quartiles. */
	if (passes < 3) {
		low = sorted[0];
		high = sorted[passes - 1];
	}
	for (int i = 0; i < passes; i++)
		if (ms[i] >= low && ms[i] <= high)
			add_row(p, ms[i], row + (size_t)i *
			    (size_t)(2 + layers * ENGINE_PARTS));
	if (p->passes > 0)
		divide(p);
	free(sorted);
	return p;
}

struct latency_parts *
latency_parts_copy(const struct latency_parts *p)
{
	struct latency_parts *c;

	if (p == NULL)
		return NULL;
	c = xmalloc(parts_size(p->layers));
	memcpy(c, p, parts_size(p->layers));
	return c;
}

double
latency_part_ms(const struct latency_parts *p, int part)
{
	double sum = 0;

	if (part == LATENCY_EMBED)
		return p->embed_ms;
	if (part == LATENCY_HEAD)
		return p->head_ms;
	for (int l = 0; l < p->layers; l++)
		sum += p->layer_ms[l][part];
	return sum;
}

double
latency_layer_ms(const struct latency_parts *p, int layer)
{
	double sum = 0;

	for (int k = 0; k < ENGINE_PARTS; k++)
		sum += p->layer_ms[layer][k];
	return sum;
}

double
latency_sum_ms(const struct latency_parts *p)
{
	double sum = 0;

	for (int part = 0; part < LATENCY_PARTS; part++)
		sum += latency_part_ms(p, part);
	return sum;
}
