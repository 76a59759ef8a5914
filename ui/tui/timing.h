/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * timing: milliseconds of each linear map of a model, measured on the kernels
 * that its forms run on, for a sequence. What is between the maps (attention
 * scores, norms, activations) is not in it; `latency` measures the whole.
 */
#ifndef PARE_UI_TUI_TIMING_H
#define PARE_UI_TUI_TIMING_H

#include "ui/tui/app.h"

struct timings;
struct timings *timings_new(void);
void timings_free(struct timings *t);

/* Measures the current model in the background unless that was done; ready()
 * when it is. */
void timings_want(struct app *app, struct timings *t,
    void (*ready)(struct app *app));
/* Milliseconds of the map in a slot of m; NAN: not known, or not a map. */
double timings_get(const struct timings *t, const struct model *m,
    struct slot_ref slot);

#endif
