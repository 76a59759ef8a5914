/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * timing: milliseconds of the parts of a model. Modules are measured in place, in
 * a few passes over one sequence, unless `latency` measured the state already:
 * then those numbers hold, and `show` has the same. A linear map has the
 * milliseconds of its product alone, by the kernel that its form runs on; what
 * is between the maps (attention scores, norms, activations) is only in their
 * modules.
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
/* The parts of m, borrowed until the next change: of its last latency, else as
 * measured here; NULL: not known. */
const struct latency_parts *timings_parts(const struct app *app,
    const struct timings *t, const struct model *m);

#endif
