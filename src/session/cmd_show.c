/* SPDX-License-Identifier: GPL-3.0-or-later */
/* show: the account of a model as rows. */
#include <math.h>

#include "session/work.h"

static const char *const by_choices[] = { "layer", "module", "kind", "tensor",
	NULL };

static const struct arg_spec show_args[] = {
	{ "target", ARG_TARGET, ARG_WORD | ARG_REPEAT, 0, 0, NULL, NULL, NULL,
	    "parts to show; all unless said" },
	{ "by", ARG_CHOICE, 0, 0, 0, NULL, by_choices, NULL,
	    "what a row is; layer unless said, tensor for a named layer" },
	{ "seq", ARG_INT, 0, 1, 1048576, NULL, NULL, "tokens",
	    "length of the sequence that macs_per_token is for" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const show_examples[] = {
	"show",
	"show L0 by=tensor",
	"show L*.ffn by=module",
	"show emb by=tensor",
	NULL
};

static json_t *
row_doc(const struct account_row *r, const struct account_row *total,
    int64_t seq, bool by_tensor)
{
	json_t *o = json_object();

	result_put_text(o, "path", r->path);
	result_put_text(o, "kind", r->kind);
	json_object_set_new(o, "layer", r->layer >= 0 ?
	    json_integer(r->layer) : json_null());
	result_put_int(o, "params", r->params);
	result_put_real(o, "share", total->params > 0 ?
	    (double)r->params / (double)total->params : 0.0);
	result_put_int(o, "nonzero", r->nonzero);
	result_put_int(o, "bytes", r->bytes);
	result_put_real(o, "bits_per_param", r->params > 0 ?
	    8.0 * (double)r->bytes / (double)r->params : NAN);
	result_put_real(o, "macs_per_token", (double)r->macs / (double)seq);
	result_put_text(o, "form", r->form);
	result_put_text(o, "tied_to", r->tied_to[0] != '\0' ? r->tied_to :
	    NULL);
	result_put_int(o, "heads", r->heads);
	result_put_int(o, "ffn", r->ffn);
	if (by_tensor) {
		json_object_set_new(o, "shape", json_pack("[I, I]",
		    (json_int_t)r->rows, (json_int_t)r->cols));
		result_put_text(o, "file_name", r->file_name[0] != '\0' ?
		    r->file_name : NULL);
	}
	return o;
}

/* Rows are by layer; with a target that names less than everything, by tensor,
 * since one row a layer would tell little. */
static enum account_by
choose_by(const struct arg_list *args)
{
	if (arg_get(args, "by")->has)
		return (enum account_by)arg_get(args, "by")->i;
	return arg_text(args, "target") != NULL ? BY_TENSOR : BY_LAYER;
}

static enum pare_rc
run_show(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const char *target = arg_text(args, "target");
	enum account_by by = choose_by(args);
	int64_t seq = arg_get(args, "seq")->has ? arg_int(args, "seq") :
	    settings_int(s->settings, SET_SEQ);
	struct selection sel;
	struct account a;
	json_t *rows = json_array();
	enum pare_rc rc;

	if (target != NULL) {
		rc = select_parse(m, target, &sel, err);
		if (rc != PARE_OK) {
			json_decref(rows);
			return rc;
		}
	}
	account_rows(m, target != NULL ? &sel : NULL, by, seq, true, &a);
	if (a.n == 0) {
		account_free(&a);
		select_free(&sel);
		json_decref(rows);
		err_set(err, PARE_EUSER, "'%s' names no whole tensor: heads "
		    "are rows of several", target);
		return err_hint(err, "show L*.attn");
	}
	for (int i = 0; i < a.n; i++)
		json_array_append_new(rows, row_doc(&a.row[i], &a.total, seq,
		    by == BY_TENSOR));
	result_put_text(doc, "by", by_choices[by]);
	result_put_text(doc, "target", target);
	result_put_int(doc, "seq", seq);
	json_object_set_new(doc, "rows", rows);
	json_object_set_new(doc, "total", row_doc(&a.total, &a.total, seq,
	    false));
	account_free(&a);
	if (target != NULL)
		select_free(&sel);
	return PARE_OK;
}

const struct command command_show = {
	.name = "show",
	.group = GROUP_SEE,
	.help = "Show parameters, bytes and multiply-adds part by part.\n"
	    "Tensors that several places share count once, in the first; the "
	    "others say tied_to. Shares are of all that is shown.",
	.examples = show_examples,
	.args = show_args,
	.flags = CMD_NEEDS_MODEL | CMD_LONG | CMD_DRY,
	.run = run_show,
};
