/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * weighing: by what a matrix is approximated, from what the calib samples say:
 *
 *	svd		the values themselves
 *	asvd		columns by the size of their inputs, (mean x^2)^(1/4)
 *			(Yuan et al. 2023, with the root mean square in the place
 *			of the mean size)
 *	whitened	the inputs' second moment: the outputs' own error (Wang et
 *			al., "SVD-LLM", 2024)
 *	fisher		rows by their squared gradients (Hsu et al. 2022), columns
 *			as whitened: about what the loss rises by
 */
#ifndef PARE_OPS_WEIGHING_H
#define PARE_OPS_WEIGHING_H

#include "ops/inputs.h"
#include "tensor/transform.h"

enum weighing_kind { WEIGHING_SVD, WEIGHING_ASVD, WEIGHING_WHITENED, WEIGHING_FISHER };
extern const char *const weighing_names[];	/* in that order, then NULL */
/* enum op_need */
unsigned weighing_needs(enum weighing_kind k);

struct weighing {
	bool made;	/* false: the plain one, for nothing is known */
	struct inputs inputs;
	struct factor_metric by;
	float *row, *col;	/* owned */
	/* The squares in this metric times scale are about what the loss rises
	 * by; 0: they say nothing of it. */
	double scale;
};

/* Of t. PARE_ENOMEM. */
enum pare_rc weighing_of(const struct op_input *in, const struct tensor *t,
    enum weighing_kind k, struct weighing *out, struct pare_err *err);
void weighing_free(struct weighing *m);
/* For tensor_factorize_by(): NULL where the plain one is meant. */
const struct factor_metric *weighing_by(const struct weighing *m);

#endif
