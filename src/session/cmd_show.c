/* SPDX-License-Identifier: GPL-3.0-or-later */
/* show: the account of a model as rows, and what its parts took when latency was
 * measured last. */
#include <math.h>
#include <string.h>

#include "engine/kv.h"
#include "model/arch.h"
#include "session/work.h"

static const int64_t count_below = INT64_C(1) << 30;	/* bytes */

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

/* The latency measured last of the model shown. */
struct measured {
	const struct latency *l;
	const struct latency_parts *p;	/* NULL: none */
	struct account whole;		/* of all the model, by the same rows */
};

static void
find_measured(const struct session *s, enum account_by by, int64_t seq,
    struct measured *out)
{
	const struct model *m = session_model(s);
	uint64_t hash = work_known_hash(m);

	memset(out, 0, sizeof(*out));
	if (hash == 0 || by == BY_TENSOR)
		return;
	out->l = memory_latency_of(s->memory, hash);
	out->p = memory_parts_of(s->memory, hash);
	if (out->p != NULL)
		account_rows(m, NULL, by, seq, false, &out->whole);
}

/* Whether r has all that its name stands for: a target may have left out some. */
static bool
is_whole(const struct account_row *r, const struct account *whole)
{
	for (int i = 0; i < whole->n; i++)
		if (strcmp(whole->row[i].path, r->path) == 0)
			return whole->row[i].params == r->params &&
			    whole->row[i].macs == r->macs;
	return false;
}

/* Milliseconds of a part of a layer, or of all layers. */
static double
part_ms(const struct latency_parts *p, int layer, const char *kind)
{
	static const enum module_kind kinds[ENGINE_PARTS] = {
		[ENGINE_ATTENTION] = KIND_ATTENTION, [ENGINE_FFN] = KIND_FFN,
		[ENGINE_NORM] = KIND_NORM };

	for (int k = 0; k < ENGINE_PARTS; k++)
		if (strcmp(kind, module_kind_names[kinds[k]]) == 0)
			return layer >= 0 ? p->layer_ms[layer][k] :
			    latency_part_ms(p, k);
	return NAN;
}

/* NAN for what was not measured by itself: the embeddings one by one, the pooler
 * (which is in the head). */
static double
row_ms(const struct measured *k, const struct account_row *r,
    enum account_by by)
{
	if (k->p == NULL || r->layer >= k->p->layers ||
	    !is_whole(r, &k->whole))
		return NAN;
	if (strcmp(r->path, "head") == 0)
		return k->p->head_ms;
	if (strcmp(r->path, "emb") == 0 || strcmp(r->path, "embedding") == 0)
		return k->p->embed_ms;
	if (by == BY_LAYER)
		return r->layer >= 0 ? latency_layer_ms(k->p, r->layer) : NAN;
	if (by == BY_MODULE && r->layer < 0)
		return NAN;
	return part_ms(k->p, r->layer, r->kind);
}

/* Bytes that a text of seq tokens keeps in the rows of layers and attention; -1:
 * none of this row's. */
static int64_t
row_kv(const struct model *m, const struct account_row *r,
    enum account_by by, int64_t seq)
{
	const bool attention = strcmp(r->kind,
	    module_kind_names[KIND_ATTENTION]) == 0;

	if ((m->arch->flags & ARCH_CAUSAL) == 0)
		return -1;
	if (by == BY_KIND && attention)
		return kv_bytes(m, seq);
	if (r->layer >= 0 && (by == BY_LAYER ||
	    (by == BY_MODULE && attention)))
		return kv_layer_bytes(m, r->layer, seq);
	return -1;
}

static void
put_measured(const struct measured *k, bool any, json_t *doc)
{
	json_t *o;

	if (k->p == NULL || !any) {
		json_object_set_new(doc, "latency", json_null());
		return;
	}
	o = json_object();
	result_put_int(o, "batch", k->l->batch);
	result_put_int(o, "seq", k->l->seq);
	result_put_int(o, "threads", k->l->threads);
	result_put_real(o, "whole_ms", k->p->whole_ms);
	result_put_real(o, "embed_ms", k->p->embed_ms);
	json_object_set_new(doc, "latency", o);
}

static json_t *
row_doc(const struct account_row *r, const struct account_row *total,
    int64_t seq, double ms, bool by_tensor)
{
	json_t *o = json_object();

	result_put_text(o, "path", r->path);
	result_put_text(o, "kind", r->kind);
	json_object_set_new(o, "layer", r->layer >= 0 ?
	    json_integer(r->layer) : json_null());
	result_put_int(o, "params", r->params);
	result_put_real(o, "share", total->params > 0 ?
	    (double)r->params / (double)total->params : 0.0);
	json_object_set_new(o, "nonzero", r->nonzero >= 0 ?
	    json_integer(r->nonzero) : json_null());
	result_put_int(o, "bytes", r->bytes);
	result_put_real(o, "bits_per_param", r->params > 0 ?
	    8.0 * (double)r->bytes / (double)r->params : NAN);
	result_put_real(o, "macs_per_token", (double)r->macs / (double)seq);
	result_put_real(o, "ms", ms);
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

/* Zeros are counted by reading every weight: not where that takes long, unless
 * the state's hash reads them all anyway. */
static void
count_rows(const struct session *s, const struct model *m,
    const struct selection *sel, enum account_by by, int64_t seq,
    struct account *out)
{
	account_rows(m, sel, by, seq, false, out);
	if (m->ghost || s->want_hash || out->total.bytes < count_below) {
		account_free(out);
		account_rows(m, sel, by, seq, true, out);
		return;
	}
	for (int i = 0; i < out->n; i++)
		out->row[i].nonzero = -1;
	out->total.nonzero = -1;
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
	struct measured k;
	json_t *rows = json_array(), *row;
	bool any = false;
	enum pare_rc rc;

	if (target != NULL) {
		rc = select_parse(m, target, &sel, err);
		if (rc != PARE_OK) {
			json_decref(rows);
			return rc;
		}
	}
	count_rows(s, m, target != NULL ? &sel : NULL, by, seq, &a);
	if (a.n == 0) {
		account_free(&a);
		select_free(&sel);
		json_decref(rows);
		err_set(err, PARE_EUSER, "'%s' names no whole tensor: heads "
		    "are rows of several", target);
		return err_hint(err, "show L*.attn");
	}
	find_measured(s, by, seq, &k);
	for (int i = 0; i < a.n; i++) {
		double ms = row_ms(&k, &a.row[i], by);

		any |= isfinite(ms);
		row = row_doc(&a.row[i], &a.total, seq, ms, by == BY_TENSOR);
		if (row_kv(m, &a.row[i], by, seq) >= 0)
			result_put_int(row, "kv_bytes", row_kv(m, &a.row[i],
			    by, seq));
		json_array_append_new(rows, row);
	}
	result_put_text(doc, "by", by_choices[by]);
	result_put_text(doc, "target", target);
	result_put_int(doc, "seq", seq);
	put_measured(&k, any, doc);
	json_object_set_new(doc, "rows", rows);
	row = row_doc(&a.total, &a.total, seq,
	    k.p != NULL && target == NULL ? k.p->whole_ms : NAN, false);
	if ((m->arch->flags & ARCH_CAUSAL) != 0 && target == NULL)
		result_put_int(row, "kv_bytes", kv_bytes(m, seq));
	json_object_set_new(doc, "total", row);
	account_free(&k.whole);
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
	    "others say tied_to. Shares are of all that is shown. After latency "
	    "of this state, ms is what each part took in it; the pooler counts "
	    "with the head, and embeddings are measured together. KV is what a "
	    "decoder keeps of a text of seq tokens, beside its weights.",
	.examples = show_examples,
	.args = show_args,
	.flags = CMD_NEEDS_MODEL | CMD_LONG | CMD_DRY,
	.run = run_show,
};
