/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * account: parameters, bytes and multiply-adds of a model and of its parts.
 *
 * Each tensor counts once, in the first slot that holds it or stands on it; the
 * rows of other slots that name it show zero own parameters and tied_to, those of
 * slots that stand on it what they have beside it.
 *
 * MACs are for one sequence of seq tokens, divided by seq where a figure is per
 * token: every linear map by its form (low rank k (rows + cols); sparse forms
 * count stored weights), attention scores and their weighted sum 2 seq heads
 * head_dim a token, pooler and classifier once a sequence, a masked-LM head once
 * a token. Embedding look-ups, norms and biases count none.
 */
#ifndef PARE_MODEL_ACCOUNT_H
#define PARE_MODEL_ACCOUNT_H

#include "model/select.h"

enum { ACCOUNT_SEQ_DEFAULT = 128 };

enum account_by { BY_LAYER, BY_MODULE, BY_KIND, BY_TENSOR };

struct account_row {
	char path[96];		/* "L3", "L3.attn", "attention", "L3.attn.q.weight" */
	char file_name[160];	/* BY_TENSOR: the name in the file; else "" */
	const char *kind;	/* module_kind_names[], or "layer", "model" */
	int layer;		/* -1 */
	int64_t params, nonzero, bytes;
	int64_t macs;		/* a sequence of seq tokens */
	bool matrix;		/* has matrices: form is theirs alone */
	char form[48];		/* "f32"; "mixed" */
	char tied_to[96];	/* path of the owner; "" */
	int64_t rows, cols;	/* BY_TENSOR */
	int heads;		/* layers and attention rows: present heads */
	int64_t ffn;		/* layers and ffn rows */
};

struct account {
	int64_t seq;
	struct account_row total;
	int n;
	struct account_row *row;	/* owned */
	int tensors;		/* distinct tensors in the whole model */
	int tied;		/* slots that name a tensor of an earlier slot */
};

/*
 * Rows for the selected slots (sel NULL: all). count_zeros false leaves nonzero
 * at params and reads no weights. Never fails; account_free() when done.
 */
void account_rows(const struct model *m, const struct selection *sel,
    enum account_by by, int64_t seq, bool count_zeros, struct account *out);
void account_free(struct account *a);

/* The whole model in one go; what before/after lines show. */
struct totals {
	int64_t params, nonzero, bytes, macs;	/* macs: a sequence of seq */
	int tensors;
};
void account_totals(const struct model *m, int64_t seq, bool count_zeros,
    struct totals *out);

#endif
