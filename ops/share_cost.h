/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * share_cost: which layers may take each other's weights. The cost of layer i
 * with the weights of layer j is what the loss rises by when its matrices change
 * so, as inputs_weigh() tells it: the change of the outputs, each weighed by how
 * steep the loss is there. (The change alone knows nothing of that: it gave the
 * first layer of a model away for one that lay no nearer.)
 */
#ifndef PARE_OPS_SHARE_COST_H
#define PARE_OPS_SHARE_COST_H

#include "ops/score.h"

/*
 * cost[a * n + b] of layer layer[a] with the weights of layer[b], over the
 * matrices among `slots` (bit per enum slot); INFINITY where shapes differ.
 * PARE_EUSER where the inputs of a layer were not seen.
 */
enum pare_rc share_cost_of(const struct op_input *in, const int *layer, int n,
    uint32_t slots, double *cost, struct pare_err *err);

/*
 * Leads for `groups` groups: lead[a] becomes the number of the one whose weights
 * a takes (itself for a lead), with the least sum of costs there is; where there
 * are too many ways to try them all, one that no single exchange of a lead
 * betters. Returns the sum.
 */
double share_cost_lead(const double *cost, int n, int groups, int *lead);

#endif
