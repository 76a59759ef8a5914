/* SPDX-License-Identifier: GPL-3.0-or-later */
/* prune attention: attention sub-layers away, the layer's norm stays. */
#include "ops/common.h"
#include "ops/table.h"

/* Layers named as a whole or as their attention; other parts are refused. */
static enum pare_rc
check_target(const struct op_input *in, const struct ops_what *w,
    struct pare_err *err)
{
	int found = 0;

	for (int l = 0; l < in->model->nlayers; l++) {
		const struct select_layer *s = &w->sel.layer[l];

		if (!s->whole && !s->attention && (s->slots != 0 ||
		    head_set_count(&s->heads) > 0)) {
			err_set(err, PARE_EUSER,
			    "target: '%s' names a part of L%d other than its "
			    "attention", w->target, l);
			return err_hint(err, "prune attention L%d", l);
		}
		found += (s->whole || s->attention) &&
		    in->model->layer[l].heads > 0;
	}
	if (found > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: there is no attention in '%s'",
	    w->target);
	return err_hint(err, "show lists what each layer has");
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	int n = in->model->nlayers;
	struct ops_what what;
	enum pare_rc rc = ops_what_read(in, &what, err);

	if (rc != PARE_OK)
		return rc;
	rc = check_target(in, &what, err);
	for (int l = 0; l < n && rc == PARE_OK; l++) {
		if (!task_tick(in->task, l, n, "layers"))
			rc = task_error(err);
		else if (in->model->layer[l].heads > 0 &&
		    ops_layer_picked(&what.sel, l, OPS_ATTENTION_SLOTS))
			rc = edit_drop_attention(e, l, err);
	}
	ops_what_free(&what);
	return rc;
}

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "layers (L3, L0-2) or their part (L3.attn)" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune attention L1",
	"prune attention L0.attn",
	NULL
};

const struct op op_prune_attention = {
	.verb = "prune",
	.method = "attention",
	.title = "Prune attention sub-layers",
	.help = "Remove the attention sub-layer of layers.\n"
	    "Its query, key, value and output matrices and their biases go, "
	    "and with them their bytes, their multiply-adds and the attention "
	    "scores. The normalisation that belongs to it stays: the layer "
	    "then normalises its input plus nothing, and goes on to its other "
	    "half.\n"
	    "Where other layers share the weights, the bytes stay until the "
	    "last of them lets go.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL,
	.run = run
};
