/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One walk over the slots fills every table: each slot belongs to the row that
 * `by` names, a tensor adds its weight to the first slot that holds it, and
 * multiply-adds are added wherever it is used.
 */
#include "model/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

/* Multiply-adds of one token through a linear map. */
static int64_t
linear_macs(const struct tensor *t)
{
	if (t->kid[0] != NULL)
		return linear_macs(t->kid[0]) + linear_macs(t->kid[1]);
	if (t->form == FORM_BITMAP || t->form == FORM_INDEX)
		return t->stored;
	return t->rows * t->cols;
}

/* How often a sequence of seq tokens goes through a slot's map. */
static int64_t
uses(const struct model *m, struct slot_ref r, int64_t seq)
{
	const struct slot_facts *f = &slot_table[r.slot];

	if (!f->matrix || r.slot == SLOT_WORD || r.slot == SLOT_POSITION ||
	    r.slot == SLOT_TYPE)
		return 0;
	if (f->kind == KIND_POOLER)
		return head_gives_tokens(m->hp.head) ? 0 : 1;
	if (f->kind == KIND_HEAD && !head_gives_tokens(m->hp.head))
		return 1;
	return seq;
}

/* Scores q k^T and their weighted sum of v, for a sequence. */
static int64_t
score_macs(const struct layer *y, int64_t seq)
{
	return 2 * seq * seq * y->heads * y->head_dim;
}

static void
group_path(struct slot_ref r, enum account_by by, char *out, size_t n)
{
	const struct slot_facts *f = &slot_table[r.slot];

	if (by == BY_TENSOR)
		model_slot_path(r, out, n);
	else if (by == BY_KIND)
		snprintf(out, n, "%s", module_kind_names[f->kind]);
	else if (r.layer >= 0 && by == BY_LAYER)
		snprintf(out, n, "L%d", r.layer);
	else if (r.layer >= 0)
		snprintf(out, n, "L%d.%s", r.layer, f->module);
	else if (by == BY_LAYER)
		snprintf(out, n, "%.*s", (int)strcspn(f->part, "."), f->part);
	else
		snprintf(out, n, "%s", f->part);
}

static const char *
group_kind(struct slot_ref r, enum account_by by)
{
	if (by == BY_LAYER && r.layer >= 0)
		return "layer";
	if (by == BY_LAYER && slot_table[r.slot].part[0] == 'e')
		return module_kind_names[KIND_EMBEDDING];
	if (by == BY_LAYER && strcmp(slot_table[r.slot].part, "head") == 0)
		return module_kind_names[KIND_HEAD];
	return module_kind_names[slot_table[r.slot].kind];
}

static struct account_row *
find_row(struct account *a, const char *path)
{
	/* Slots of a group come together, except by kind. */
	for (int i = a->n - 1; i >= 0; i--)
		if (strcmp(a->row[i].path, path) == 0)
			return &a->row[i];
	return NULL;
}

static struct account_row *
row_for(struct account *a, const struct model *m, struct slot_ref r,
    enum account_by by)
{
	struct account_row *row;
	char path[96];

	group_path(r, by, path, sizeof(path));
	row = by == BY_TENSOR ? NULL : find_row(a, path);
	if (row != NULL)
		return row;
	a->row = xrealloc(a->row, (size_t)(a->n + 1) * sizeof(*a->row));
	row = &a->row[a->n++];
	memset(row, 0, sizeof(*row));
	memcpy(row->path, path, sizeof(path));
	row->kind = group_kind(r, by);
	row->layer = by == BY_KIND ? -1 : r.layer;
	if (r.layer >= 0 && by != BY_KIND) {
		bool attention = slot_table[r.slot].kind == KIND_ATTENTION;
		bool ffn = slot_table[r.slot].kind == KIND_FFN;

		row->heads = by == BY_LAYER || attention ?
		    m->layer[r.layer].heads : 0;
		row->ffn = by == BY_LAYER || ffn ? m->layer[r.layer].ffn : 0;
	}
	return row;
}

static void
merge_form(char *have, size_t n, const char *form)
{
	if (have[0] == '\0')
		snprintf(have, n, "%s", form);
	else if (strcmp(have, form) != 0)
		snprintf(have, n, "mixed");
}

/* Biases and norms are float whatever was quantized: matrices name the form. */
static void
add_form(struct account_row *row, bool matrix, const char *form)
{
	if (matrix && !row->matrix)
		row->form[0] = '\0';
	if (matrix || !row->matrix)
		merge_form(row->form, sizeof(row->form), form);
	row->matrix = row->matrix || matrix;
}

/* What a tensor adds to the row of the slot that owns it. */
static void
add_weights(struct account_row *row, const struct tensor *t, bool count_zeros)
{
	int64_t params = tensor_params(t);

	row->params += params;
	row->nonzero += count_zeros ? tensor_nonzero(t) : params;
	row->bytes += tensor_bytes(t);
}

static void
add_slot(struct account *a, const struct model *m, struct slot_ref r,
    enum account_by by, bool count_zeros)
{
	struct account_row *row = row_for(a, m, r, by);
	const struct tensor *t = model_slot(m, r);
	struct slot_ref owner = model_owner(m, r);
	char form[48];

	tensor_describe(t, form, sizeof(form));
	add_form(row, t->ndim == 2, form);
	if (owner.layer == r.layer && owner.slot == r.slot)
		add_weights(row, t, count_zeros);
	else if (row->tied_to[0] == '\0')
		group_path(owner, by, row->tied_to, sizeof(row->tied_to));
	row->macs += uses(m, r, a->seq) * linear_macs(t);
	if (r.slot == SLOT_Q_W && by != BY_TENSOR)
		row->macs += score_macs(&m->layer[r.layer], a->seq);
	if (by == BY_TENSOR) {
		row->rows = t->rows;
		row->cols = t->cols;
		if (!model_file_name(m, r, row->file_name,
		    sizeof(row->file_name)))
			row->file_name[0] = '\0';
	}
}

/* By tensor, the scores belong to no tensor and get a row of their own. */
static void
add_scores(struct account *a, const struct model *m, int layer)
{
	struct account_row *row;

	a->row = xrealloc(a->row, (size_t)(a->n + 1) * sizeof(*a->row));
	row = &a->row[a->n++];
	memset(row, 0, sizeof(*row));
	snprintf(row->path, sizeof(row->path), "L%d.attn.scores", layer);
	row->kind = module_kind_names[KIND_ATTENTION];
	row->layer = layer;
	row->heads = m->layer[layer].heads;
	row->macs = score_macs(&m->layer[layer], a->seq);
}

static void
sum_rows(struct account *a)
{
	struct account_row *t = &a->total;

	snprintf(t->path, sizeof(t->path), "total");
	t->kind = "model";
	t->layer = -1;
	for (int i = 0; i < a->n; i++) {
		struct account_row *row = &a->row[i];

		/* A row that owns weights of its own is not a tie. */
		if (row->params > 0 || strcmp(row->tied_to, row->path) == 0)
			row->tied_to[0] = '\0';
		t->params += row->params;
		t->nonzero += row->nonzero;
		t->bytes += row->bytes;
		t->macs += row->macs;
		if (row->form[0] != '\0')
			add_form(t, row->matrix, row->form);
	}
}

static void
count_tensors(const struct model *m, int *tensors, int *tied)
{
	struct slot_ref r = SLOT_REF_START;

	while (model_next_slot(m, &r)) {
		struct slot_ref o = model_owner(m, r);

		if (o.layer == r.layer && o.slot == r.slot)
			(*tensors)++;
		else
			(*tied)++;
	}
}

void
account_rows(const struct model *m, const struct selection *sel,
    enum account_by by, int64_t seq, bool count_zeros, struct account *out)
{
	const struct tensor *word = m->t[SLOT_WORD - SLOT_LAYER_COUNT];
	bool first = count_zeros && word != NULL &&
	    atomic_load(&word->nonzero) < 0;
	struct slot_ref r = SLOT_REF_START;

	memset(out, 0, sizeof(*out));
	out->seq = seq;
	while (model_next_slot(m, &r)) {
		if (sel != NULL && !select_has(sel, r))
			continue;
		add_slot(out, m, r, by, count_zeros);
		if (by == BY_TENSOR && r.slot == SLOT_O_W)
			add_scores(out, m, r.layer);
	}
	if (first)
		model_forget_tables(m);
	sum_rows(out);
	count_tensors(m, &out->tensors, &out->tied);
}

void
account_free(struct account *a)
{
	free(a->row);
	memset(a, 0, sizeof(*a));
}

void
account_totals(const struct model *m, int64_t seq, bool count_zeros,
    struct totals *out)
{
	struct account a;

	account_rows(m, NULL, BY_KIND, seq, count_zeros, &a);
	*out = (struct totals){ a.total.params, a.total.nonzero,
		a.total.bytes, a.total.macs, a.tensors };
	account_free(&a);
}
