/* SPDX-License-Identifier: GPL-3.0-or-later */
/* prune ffn: FFN sub-layers away, the layer's norm stays. */
#include "ops/common.h"
#include "ops/sublayer.h"
#include "ops/table.h"

static bool
named(const struct select_layer *s)
{
	return s->ffn;
}

static bool
there(const struct layer *y)
{
	return y->ffn > 0;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	static const struct ops_sublayer kind = { "FFN", "prune ffn",
		OPS_FFN_SLOTS, named, there, edit_drop_ffn };

	return ops_sublayer_drop(&kind, in, e, err);
}

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "layers (L3, L0-2) or their part (L3.ffn)" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune ffn L1",
	"prune ffn L0.ffn",
	NULL
};

const struct op op_prune_ffn = {
	.verb = "prune",
	.method = "ffn",
	.title = "Prune FFN sub-layers",
	.help = "Remove the feed-forward sub-layer of layers.\n"
	    "Its up, down and gate matrices and their biases go, and with them "
	    "their bytes and multiply-adds, most often the larger part of a "
	    "layer. The normalisation that belongs to it stays: the layer then "
	    "normalises its input plus nothing, and goes on to its other "
	    "half.\n"
	    "Where other layers share the weights, the bytes stay until the "
	    "last of them lets go.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL,
	.run = run
};
