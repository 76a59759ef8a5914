/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * select: target selectors, the words that name parts of a model.
 *
 *   L3  L0-5  L0,2,4  L*          layers
 *   L3.attn  L*.ffn  L0-5.q       parts: attn ffn q k v o up down gate norm
 *   L3.h0,4-7                     heads, by original number
 *   emb emb.word emb.pos emb.type emb.norm emb.proj  pooler  head  all
 *   bert.encoder.*.query.*        a glob of file tensor names
 *
 * Several targets, separated by blanks, add up. Layers and heads count from 0.
 */
#ifndef PARE_MODEL_SELECT_H
#define PARE_MODEL_SELECT_H

#include "model/model.h"

struct select_layer {
	uint32_t slots;		/* bit per layer slot */
	bool whole;		/* named as a layer: L3 */
	bool attention, ffn;	/* named as a sub-layer: L3.attn */
	struct head_set heads;	/* named heads; empty: none named */
};

struct selection {
	bool all;		/* "all" */
	uint32_t slots;		/* bit (slot - SLOT_LAYER_COUNT) */
	int nlayers;
	struct select_layer *layer;
};

/*
 * Parses text against m. PARE_EUSER when it names nothing of this model: which
 * word, why (no such layer: "L7: the model has layers 0 to 5"), and what would
 * be right. Heads already pruned are an error that says so.
 */
enum pare_rc select_parse(const struct model *m, const char *text,
    struct selection *out, struct pare_err *err);
void select_free(struct selection *s);

bool select_has(const struct selection *s, struct slot_ref ref);
/* A selection of everything. */
void select_all(const struct model *m, struct selection *out);

/* Completion: selector words of m that begin with prefix, malloc'ed strings in
 * a malloc'ed NULL-terminated list. */
char **select_complete(const struct model *m, const char *prefix);

#endif
