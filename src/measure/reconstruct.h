/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * reconstruct: what ops that make up for cuts step by step ask of the calib
 * samples (struct op_reconstruct of ops/score.h), answered by running the original
 * and the model on the way.
 *
 * Both run the same batches and are watched at the sub-layers asked for; layers
 * behind those are left out. Every sixth batch is kept apart to judge by.
 */
#ifndef PARE_MEASURE_RECONSTRUCT_H
#define PARE_MEASURE_RECONSTRUCT_H

#include "ops/score.h"
#include "text/dataset.h"

struct reconstruct;
/* Of the original m and at most `samples` samples (0: all) of d, which stays the
 * caller's and has to live as long. PARE_EUSER: the set is not tokenized. */
enum pare_rc reconstruct_new(const struct model *m, const struct dataset *d,
    int64_t samples, struct reconstruct **out, struct pare_err *err);
void reconstruct_free(struct reconstruct *b);	/* NULL is fine */
const struct op_reconstruct *reconstruct_op(const struct reconstruct *b);

#endif
