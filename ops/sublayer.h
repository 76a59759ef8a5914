/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sublayer: what `prune attention` and `prune ffn` have in common: one half of
 * a layer goes, its norm stays. */
#ifndef PARE_OPS_SUBLAYER_H
#define PARE_OPS_SUBLAYER_H

#include "ops/op.h"

struct ops_sublayer {
	const char *name;	/* "attention", for messages */
	const char *command;	/* "prune attention" */
	uint32_t slots;
	bool (*named)(const struct select_layer *s);	/* by that part */
	bool (*there)(const struct layer *y);
	enum pare_rc (*drop)(struct edit *e, int layer, struct pare_err *err);
};

/* The run() of such an op: drops the sub-layer from every layer its target
 * names as a whole or by that part; refuses targets that name other parts. */
enum pare_rc ops_sublayer_drop(const struct ops_sublayer *kind,
    const struct op_input *in, struct edit *e, struct pare_err *err);

#endif
