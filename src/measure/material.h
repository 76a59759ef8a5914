/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * material: samples in the trainer's terms. What it points to belongs to the
 * dataset.
 */
#ifndef PARE_MEASURE_MATERIAL_H
#define PARE_MEASURE_MATERIAL_H

#include "engine/train.h"
#include "text/dataset.h"

struct material {
	struct train_data data;	/* of the following */
	const int32_t **ids, **types;
	int *len, *label;
	float *score;
};

/* The samples of d, or only those with a label (a score) for the head of m. One
 * without has the label -1 and a score that is no number. */
void material_of(const struct dataset *d, const struct model *m,
    bool labelled, struct material *out);
void material_free(struct material *m);	/* all zero is fine */

#endif
