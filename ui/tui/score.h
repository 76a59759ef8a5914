/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * score: how large the weights of heads and parts are, for maps that shade by
 * importance. The measure is that of `prune heads by=magnitude`: the L2 norm of
 * a head's rows of the query, key and value matrices and its columns of the
 * output matrix. Sums are kept by tensor, so that moving in the history
 * measures nothing again.
 */
#ifndef PARE_UI_TUI_SCORE_H
#define PARE_UI_TUI_SCORE_H

#include "ui/tui/app.h"

struct scores;
struct scores *scores_new(void);
void scores_free(struct scores *s);

/* Measures in the background what is missing of the current model. */
void scores_want(struct app *app, struct scores *s);
/* Called whenever more is known; one caller at most. */
void scores_watch(struct scores *s, void (*ready)(struct app *app));

/* L2 norms of the heads of a layer by original number; NAN: not there, or not
 * known yet. Returns their mean, or NAN. Heads that share a KV head have one
 * norm. */
double scores_heads(const struct scores *s, const struct model *m, int layer,
    double out[MODEL_HEADS_MAX]);
/* The norm of the matrices of an attention or FFN; NAN. */
double scores_part(const struct scores *s, const struct model *m, int layer,
    enum target_kind kind);

/* Those of the head map, for everybody; may be NULL. */
struct scores *scores_of(const struct app *app);

#endif
