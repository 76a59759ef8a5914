/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * check: how far apart the outputs of two models are, over a few fixed inputs
 * and, where there are any, samples. Private to src/session.
 */
#ifndef PARE_SESSION_CHECK_H
#define PARE_SESSION_CHECK_H

#include "session/session.h"

struct output_check {
	double most;		/* largest difference of an output */
	double largest;		/* largest magnitude of an output of a */
	int sequences;		/* inputs that were compared */
	int64_t rows, same_top;	/* rows of outputs, and those whose largest
				 * is the same in both */
};

/*
 * Logits of both models, or the last hidden states of bodies, for inputs of 1, 7
 * and 32 tokens drawn by a fixed seed, and for up to `samples` of the eval set.
 */
enum pare_rc check_outputs(struct session *s, const struct model *a,
    const struct model *b, int samples, struct output_check *out,
    struct task *task, struct pare_err *err);

#endif
