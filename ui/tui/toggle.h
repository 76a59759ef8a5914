/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * toggle: one key prunes a head, an attention or an FFN, or brings it back.
 *
 * Pruning is the command one could have typed. Bringing back looks for a state
 * that differs from the current one in nothing else: it exists, or one more
 * prune of a visited state makes it. Where other changes were made since, it
 * says which state still has the part and does nothing.
 */
#ifndef PARE_UI_TUI_TOGGLE_H
#define PARE_UI_TUI_TOGGLE_H

#include "ui/tui/app.h"

/* Whether the model has the head, attention or FFN. */
bool toggle_present(const struct model *m, const struct target *t);
/* TARGET_HEAD, TARGET_ATTENTION, TARGET_FFN; a layer can only be pruned. */
void toggle_target(struct app *app, const struct target *t);

#endif
