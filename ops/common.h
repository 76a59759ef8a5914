/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * common: what several ops need: reading "amount and targets" from a line,
 * walking the selected matrices, ranking units (heads, neurons), and telling
 * when a cut breaks the sharing of weights.
 */
#ifndef PARE_OPS_COMMON_H
#define PARE_OPS_COMMON_H

#include "base/str.h"
#include "ops/op.h"

#define OPS_BIT(slot) (1u << (slot))
#define OPS_ATTENTION_SLOTS (OPS_BIT(SLOT_Q_W) | OPS_BIT(SLOT_Q_B) | \
	OPS_BIT(SLOT_K_W) | OPS_BIT(SLOT_K_B) | OPS_BIT(SLOT_V_W) | \
	OPS_BIT(SLOT_V_B) | OPS_BIT(SLOT_O_W) | OPS_BIT(SLOT_O_B))
#define OPS_FFN_SLOTS (OPS_BIT(SLOT_UP_W) | OPS_BIT(SLOT_UP_B) | \
	OPS_BIT(SLOT_GATE_W) | OPS_BIT(SLOT_GATE_B) | OPS_BIT(SLOT_DOWN_W) | \
	OPS_BIT(SLOT_DOWN_B))

/* What a line asks for: how much, where, or both. */
struct ops_what {
	bool has_amount;
	struct arg_value amount;	/* its text is not kept */
	char *target;			/* owned; NULL: none named */
	struct selection sel;		/* of target; everything without one */
};

/* From the arguments "target" and, where the op has it, "amount". */
enum pare_rc ops_what_read(const struct op_input *in, struct ops_what *w,
    struct pare_err *err);
void ops_what_free(struct ops_what *w);

/* How many of the `left` that are there of `total` go now: in rounds, what is due
 * by the end of this one. */
int64_t ops_amount_now(const struct op_input *in, const struct arg_value *v,
    int64_t total, int64_t left);

/* "30% of 12 heads", for messages. */
void ops_amount_text(const struct arg_value *v, int64_t total,
    const char *things, char *out, size_t n);

/* Layers that the selection reaches through `slots` (or as a whole). */
bool ops_layer_picked(const struct selection *s, int layer, uint32_t slots);

/* Filled slots, in the order of files. */
struct ops_slots {
	int n;
	struct slot_ref *ref;	/* owned */
	int *first;	/* owned: index of the first slot with this tensor */
};

enum ops_want { OPS_MATRICES, OPS_VECTORS };

/*
 * The selected matrices (or vectors). A decoder that is tied to the word
 * embedding comes along with it, and the other way round.
 */
void ops_slots_of(const struct model *m, const struct selection *s,
    enum ops_want want, struct ops_slots *out);
void ops_slots_free(struct ops_slots *s);

/* Whether t stands on floats beside a low rank of its own, or others of m stand
 * on what t is or stands on: codes of its own would part it from them. */
bool ops_on_base(const struct model *m, const struct tensor *t);

/* WORD, POSITION, TYPE: looked up rather than multiplied. */
bool ops_is_embedding(enum slot slot);

/* False when any tensor of the model is a ghost: nothing can be measured. */
bool ops_has_weights(const struct model *m);

/*
 * group[l]: the first picked layer whose tensors in `slots` (and whose heads,
 * where `heads`) are those of layer l; -1 where pick[l] is false. Layers of one
 * group are cut as one.
 */
void ops_groups(const struct model *m, uint32_t slots, bool heads,
    const bool *pick, int *group);

/* Sums of squares of each row (row[rows]) or column (col[cols]), added to what
 * is there; either may be NULL. */
enum pare_rc ops_squares(const struct tensor *t, double *row, double *col,
    struct pare_err *err);

/* Puts the layers' tensors of m into e, whose layers have the same shapes. */
void ops_take_layers(struct edit *e, const struct model *m);

/* Something that can be removed. */
struct ops_unit {
	double score;
	int64_t index;		/* inside its layer */
	int layer, weight;	/* weight: heads that go with it */
};

/* Lowest score first; equal ones by index, then layer, so that equals spread
 * over the layers. */
void ops_units_rank(struct ops_unit *u, int64_t n);
/* Scores drawn from the seed, then ranked. */
void ops_units_shuffle(struct ops_unit *u, int64_t n, uint64_t seed);

/* N of a target that says `least N`; 0: it does not, or N is no number. */
int64_t ops_least(const struct arg_list *args);

/* Adds ". " where there is something before. */
void ops_note(struct str *note, const char *fmt, ...) PARE_PRINTF(2, 3);
/* "L0-2,5" of the layers marked. */
void ops_layers_text(const bool *mark, int n, struct str *out);
/* "L0 no longer shares its attention with L1-11: +1.2 M parameters", when the
 * edit splits what was one tensor and the model grows by it. */
void ops_note_unshared(const struct edit *e, struct str *note);

#endif
