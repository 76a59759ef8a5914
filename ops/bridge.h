/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bridge: what stands beside layers that went is fitted (ops/match.h), so that
 * the stream goes on as if they were there.
 *
 * The FFN before them gets the sum of the last of them as its aim, and where
 * norms follow the sums the norm of that layer, too. Where nothing stands before
 * them, or no FFN, the layer behind them gets its own old sums as its aims:
 * first its attention, then its FFN.
 */
#ifndef PARE_OPS_BRIDGE_H
#define PARE_OPS_BRIDGE_H

#include "ops/score.h"

/* drop[l]: of the layers of in->model, those that e has dropped. An estimate only
 * checks. PARE_EUSER: no samples; packed matrices; no neighbour. */
enum pare_rc bridge_layers(const struct op_input *in, struct edit *e,
    const bool *drop, struct str *note, struct pare_err *err);

#endif
