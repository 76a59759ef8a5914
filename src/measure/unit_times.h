/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * unit_times: the table of ops/times.h, measured. Models in which all layers have
 * the same share of their heads and neurons are timed part by part in turn with
 * the model itself, so that what a part takes relative to the whole part is of
 * one run; the milliseconds are those of the model alone, at the lower quartile,
 * which other programs disturb least.
 */
#ifndef PARE_MEASURE_UNIT_TIMES_H
#define PARE_MEASURE_UNIT_TIMES_H

#include "base/task.h"
#include "ops/times.h"

/* Of one text of seq tokens, which the model can read. *out is malloc'ed. Errors
 * as latency_run(). */
enum pare_rc unit_times_measure(const struct model *m, int64_t seq,
    struct op_times **out, struct task *task, struct pare_err *err);

#endif
