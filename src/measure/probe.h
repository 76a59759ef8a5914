/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * probe: how far changed models are from the one they were made from, on the
 * calib samples. For many small changes of one model: the inputs of its layers
 * are kept, so a change in layer l costs the layers from l on. Of a model that
 * goes on with a text samples are windows of it, and all is per scored token.
 */
#ifndef PARE_MEASURE_PROBE_H
#define PARE_MEASURE_PROBE_H

#include "measure/evaluate.h"

struct probe_result {
	double kl;		/* mean KL divergence of the classes'
				 * probabilities from the base's, in nats; of
				 * scores the mean squared change, relative to
				 * the scores' mean square; of tokens as struct
				 * divergence tells it */
	double loss, value;	/* the task's own metric and its loss */
	double right;		/* of tokens: the share that is the likeliest;
				 * else 0 */
	int64_t n, fixed, broke, changed;	/* samples (tokens), flips; of
						 * scores 0 */
};

struct probe;

/*
 * Runs `base` on at most `samples` samples of d (0: all), a stratified draw that
 * is the same every time. Where a sample has no label, what the base predicts
 * stands for it. cache: bytes that inputs of layers may take. PARE_EUSER: the
 * model neither classifies nor goes on with a text, or there are no samples.
 * Keeps a reference to base; d has to stay.
 */
enum pare_rc probe_new(const struct model *base, const struct dataset *d,
    int64_t samples, int64_t cache, struct probe **out, struct task *task,
    struct pare_err *err);
void probe_free(struct probe *p);	/* NULL is fine */
const struct probe_result *probe_base(const struct probe *p);
int64_t probe_unlabelled(const struct probe *p);

/* The same samples through m. */
enum pare_rc probe_run(struct probe *p, const struct model *m,
    struct probe_result *out, struct task *task, struct pare_err *err);

#endif
