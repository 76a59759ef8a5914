/* SPDX-License-Identifier: GPL-3.0-or-later */
/* table: the row that each file of ops/ exports, for table.c. */
#ifndef PARE_OPS_TABLE_H
#define PARE_OPS_TABLE_H

#include "ops/op.h"

extern const struct op op_prune_heads, op_prune_neurons, op_prune_layers,
    op_prune_units, op_prune_attention, op_prune_ffn, op_prune_vocabulary,
    op_prune_weights, op_quantize, op_quantize_mixed, op_factorize,
    op_share;

#endif
