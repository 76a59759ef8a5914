/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * walk: prune units by=kprune (Park, Choi and Kang, "Accurate retraining-free
 * pruning for pretrained encoder-based language models", ICLR 2024).
 *
 * Sub-layer after sub-layer, from the bottom up:
 *
 *	measure	what the units from here on know, in the model as it is by now:
 *		of the answers half the information that they have about a gate
 *		on the unit, of the stream the squares of what the unit adds
 *	search	those are kept whose knowledge for a multiply-add is highest,
 *		while the rest of the budget lasts; what is found for this
 *		sub-layer is done, for those above it is found anew
 *	refit	the output matrix to the original's stream (ops/match.h), from
 *		what the pruned layers beneath give
 */
#ifndef PARE_OPS_WALK_H
#define PARE_OPS_WALK_H

#include "ops/score.h"

/* Whether the line asks for it. */
bool walk_asked(const struct arg_list *args);

/* Multiply-adds of a token, of a text of seq, for one unit of a layer: a neuron,
 * or the heads that share keys and values. */
double walk_cost(const struct model *m, const struct layer *y, bool ffn,
    double seq);

/* Prunes in e to `budget` multiply-adds of units. One unit of each sub-layer
 * stays. An estimate counts what the first look would take. PARE_EUSER: no
 * samples, layers that share weights, packed output matrices. */
enum pare_rc walk_units(const struct op_input *in, struct edit *e,
    double budget, struct str *note, struct pare_err *err);

#endif
