/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pick_weights: which single weights of which matrices go, for prune weights.
 */
#ifndef PARE_OPS_PICK_WEIGHTS_H
#define PARE_OPS_PICK_WEIGHTS_H

#include "ops/common.h"
#include "ops/inputs.h"
#include "ops/tally.h"
#include "ops/sparsegpt.h"

enum { PICK_GROUP_MAX = 32 };	/* M of a pattern N:M */

/* What goes of a tensor. */
struct pick_cut {
	uint32_t limit;		/* keys below go */
	int64_t ties;		/* so many keys equal to limit go as well */
	int64_t kept;
	bool skip;		/* nothing of it would change */
};

enum pick_scope { PICK_GLOBAL, PICK_MODULE, PICK_ROW };

/* One distinct tensor. */
struct pick_item {
	const struct tensor *t;
	struct slot_ref ref;
	int64_t n;
	uint64_t seed;
	struct pick_cut cut;
	struct pick_cut plain;	/* by magnitude, to compare with */
	int64_t keep, group;	/* of each group columns; 0: free */
	float *size;		/* wanda: of the inputs; NULL: not seen */
	bool moves;		/* sparsegpt */
};

struct pick {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	struct pick_item *item;
	int n;
	bool random, wanda, sparsegpt;
	bool plain;		/* keys are magnitudes for now */
	enum pick_scope scope;
	int keep, group;	/* pattern N:M; 0: free */
	struct tally tally;
	/* Scratch, one row a thread. */
	int threads;
	int64_t block;		/* weights */
	float *value;
	uint32_t *key, *top;
	uint8_t *mask;		/* of one tensor, the largest */
};

/* Room for keys and masks of the items; PARE_ENOMEM. */
enum pare_rc pick_scratch(struct pick *w, struct pare_err *err);
void pick_free(struct pick *w);	/* that, and the items */

/*
 * Decides for every item: cut, and, where the calib samples are looked at,
 * plain. Not real: models of sizes alone, where each matrix loses its share.
 * PARE_ENOMEM, PARE_ECANCELED.
 */
enum pare_rc pick_choose(struct pick *w, bool real, struct pare_err *err);

/* The mask of one item into w->mask: 1 stays. */
void pick_mask(const struct pick *w, const struct pick_item *it,
    const struct pick_cut *c);

/* What sparsegpt is to do with an item. */
struct sparsegpt pick_sparsegpt(const struct pick *w,
    const struct pick_item *it);

#endif
