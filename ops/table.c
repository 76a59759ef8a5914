/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of ops, in the order menus and manuals show them. A new op is one
 * file and one line here.
 */
#include <stddef.h>

#include "ops/table.h"

const struct op *const op_table[] = {
	&op_prune_heads,
	&op_prune_neurons,
	&op_prune_units,
	&op_prune_layers,
	&op_prune_attention,
	&op_prune_ffn,
	&op_prune_vocabulary,
	&op_prune_weights,
	&op_quantize,
	&op_quantize_mixed,
	&op_factorize,
	&op_share,
	NULL
};
