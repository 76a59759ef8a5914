/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * plan_book: what can be done to each part of a model, what each of it saves and
 * what it costs, and from a choice the lines that do it.
 *
 * A part is the attention of a layer, its FFN (of all layers that share it), or
 * a matrix outside the layers. It has shapes (all of it, fewer heads, neurons or
 * ranks, gone) and forms (how its matrices are coded); an option is one of each.
 * A layer's two parts make one unit of the knapsack (measure/plan.h) together
 * with the option that the whole layer goes.
 *
 * Bytes and multiply-adds are what the ops estimate, which is what they do. The
 * cost of an option is the divergence of the answers on the calib samples, each
 * shape and each form of a part applied alone and measured; those of an option
 * and of all parts are added. What the sum says of whole plans is read from a
 * few plans that are applied and measured in the same way (anchors). Of a model
 * that goes on with a text samples are windows, and all is a scored token's.
 * Milliseconds come from a table of this machine (plan_latency.c). All that is
 * measured is remembered in the state folder.
 */
#ifndef PARE_SESSION_PLAN_BOOK_H
#define PARE_SESSION_PLAN_BOOK_H

#include <stdatomic.h>

#include "measure/plan.h"
#include "session/session.h"

struct probe;	/* measure/probe.h */

enum plan_family { PLAN_PRUNE, PLAN_LAYERS, PLAN_QUANTIZE, PLAN_FACTORIZE,
	PLAN_SPARSE, PLAN_FAMILIES };
extern const char *const plan_family_names[PLAN_FAMILIES + 1];

enum { PLAN_SHAPES = 12, PLAN_FORMS = 12, PLAN_ANCHORS = 192,
	PLAN_ANCHORS_KEPT = 64 };

enum plan_shape_kind { SHAPE_WHOLE, SHAPE_CUT, SHAPE_RANK, SHAPE_RATIO,
	SHAPE_SPARSE, SHAPE_GONE };

struct plan_shape {
	enum plan_shape_kind kind;
	int64_t keep;		/* heads (groups of those that share a KV head),
				 * neurons, the rank; percent of the parameters
				 * that low ranks keep (RATIO), percent of the
				 * weights that become zero (SPARSE) */
	double kl;		/* of the shape alone; NAN: cannot be */
};

enum plan_kind { PLAN_ATTENTION, PLAN_FFN, PLAN_MATRIX };

struct plan_part {
	enum plan_kind kind;
	int layer;		/* the first one that has it; -1: a matrix */
	bool *of;		/* the layers that have it; owned */
	char target[96];	/* "L3.attn", "emb.word" */
	int64_t size;		/* heads (groups) or neurons */
	int *order;		/* heads: groups, the least important first; owned */
	int nshapes, nforms;
	struct plan_shape shape[PLAN_SHAPES];
	const char *form[PLAN_FORMS];	/* form[0]: as it is */
	double form_kl[PLAN_FORMS];
	/* More (less) than the part as it is; NAN: cannot be. */
	double use[PLAN_SHAPES][PLAN_FORMS][PLAN_USES];
};

/* What is done to each part; all 0: nothing. */
struct plan_pick {
	short *shape, *form;	/* per part; owned */
	bool *gone;		/* per layer; owned */
};

/* A plan that was applied and measured on the calib samples. */
struct plan_anchor {
	double loss;		/* predicted sum */
	double use[PLAN_USES];
	double kl, value, drop;	/* drop: points of a metric of classes or
				 * scores, of a perplexity the share it rises
				 * by */
	double right, wrong;	/* of tokens: the share foretold, and by how much
				 * less that is */
};

struct plan_book {
	atomic_int refs;
	struct model *model;	/* a reference */
	uint64_t data;		/* the calib samples' hash */
	int64_t samples, seq;
	unsigned families;	/* bits */
	int nparts;
	struct plan_part *part;
	double *gone_kl;	/* per layer: all of it gone; NAN: not offered */
	double (*gone_use)[PLAN_USES];
	double base[PLAN_USES];	/* of the whole model */
	double value;		/* of the whole model, on all calib samples */
	int64_t n;		/* calib samples */
	const char *metric;	/* what values are: "accuracy" */
	bool rises;		/* less is better: drop is a rise */
	bool tokens;		/* it goes on with a text: value is a perplexity */
	double right;		/* the share of tokens that it foretells */
	double bytes_per_token;	/* of the calib text */
	int nanchors;
	struct plan_anchor anchor[PLAN_ANCHORS];
	struct plan_pick tried[PLAN_ANCHORS];	/* of each anchor */
	int measured, recalled;	/* options: in all, and from earlier sittings */
	double seconds;
	/* Private. */
	struct probe *few, *all;	/* NULL until they are needed */
	struct plan_chain *chain;	/* what was applied last */
	struct plan_kept *kept;
};

/* What a plan offers, for one set of budgets. */
struct plan_offer {
	int n;
	struct plan_unit *unit;	/* ids: of sets */
	struct plan_set {
		short part[2], shape[2], form[2];	/* part -1: none */
		short gone;	/* a layer; -1 */
	} *set;
	int nsets;
};

/*
 * Lists and measures. s->model's current model; `what` begins the message where
 * there are no calib samples. Cancelled or failed, *out is NULL and what was
 * measured is remembered.
 */
enum pare_rc plan_book_make(struct session *s, int64_t samples,
    unsigned families, struct plan_book **out, struct notes *notes,
    struct task *task, struct pare_err *err);
/* Others may read it while the session measures more, but for its anchors. */
struct plan_book *plan_book_ref(struct plan_book *b);
void plan_book_free(struct plan_book *b);	/* gives a reference back; NULL is
						 * fine */
/* Gives back what is kept for measuring more; that goes on being possible. */
void plan_book_rest(struct plan_book *b);

/* The units, with options dominated in `uses` dropped; of these families alone. */
void plan_offer_make(struct plan_offer *o, const struct plan_book *b,
    unsigned uses, unsigned families);
void plan_offer_free(struct plan_offer *o);

void plan_pick_init(struct plan_pick *p, const struct plan_book *b);
void plan_pick_free(struct plan_pick *p);
void plan_pick_copy(struct plan_pick *to, const struct plan_book *b,
    const struct plan_pick *from);
void plan_pick_of(struct plan_pick *p, const struct plan_book *b,
    const struct plan_offer *o, const short *choice);

/* The lines that do it, in order; malloc'ed strings, malloc'ed list, ended by
 * NULL. */
char **plan_lines(const struct plan_book *b, const struct plan_pick *p,
    int *n);
void plan_lines_free(char **line);
/* "2 of 8 heads, 4 bits"; malloc'ed. */
char *plan_part_text(const struct plan_book *b, const struct plan_pick *p,
    int part);

/* Lines applied one after another: model[0..n) are references, the caller's;
 * seconds[] may be NULL. A line whose repair=refit is refused becomes one
 * without it. On error none are left. */
enum pare_rc plan_apply(struct session *s, const struct model *m, char **line,
    int n, struct model **model, double *seconds, struct notes *notes,
    struct task *task, struct pare_err *err);
/* The same to the model of the book; not again when the plan measured last was
 * of these lines. */
enum pare_rc plan_apply_book(struct session *s, struct plan_book *b,
    char **line, int n, struct model **model, double *seconds,
    struct notes *notes, struct task *task, struct pare_err *err);

/* Measures a plan (loss: its predicted sum) on all calib samples, as another
 * anchor. out: its index. */
enum pare_rc plan_measure(struct session *s, struct plan_book *b,
    const struct plan_pick *p, double loss, int *out, struct task *task,
    struct pare_err *err);

/* Makes room for more anchors where few are left: the oldest go. */
void plan_forget(struct plan_book *b);

/* What the anchors make of a predicted sum; wrong (NULL: not wanted) is that of
 * the tokens. */
void plan_fits(const struct plan_book *b, struct plan_fit *kl,
    struct plan_fit *drop, struct plan_fit *wrong);

/* The same by the divergence that was measured, which plans of all kinds of
 * options have in common. */
void plan_fits_measured(const struct plan_book *b, struct plan_fit *drop,
    struct plan_fit *wrong);

/* Bits per byte of the calib text that a perplexity is; NAN: no text. */
double plan_bits(const struct plan_book *b, double perplexity);

/* Fills use[][][PLAN_MS], gone_use and base from the table of this machine;
 * measures it where it is not known. */
enum pare_rc plan_latency(struct session *s, struct plan_book *b,
    struct task *task, struct pare_err *err);

/* Private to plan_*.c. How matrices may be coded, in layers and outside them, ended
 * by NULL; of a layer's part percent of the parameters that low ranks keep, and
 * percent of the weights that become zero. */
enum { PLAN_SHARES = 2 };
extern const char *const plan_layer_forms[], *const plan_outer_forms[];
extern const int64_t plan_ratios[PLAN_SHARES], plan_zeros[PLAN_SHARES];

/* Progress of many steps as one: ticks of what is done inside a step are shares
 * of it. Cancelling reaches the inner task at its next tick. */
struct plan_progress {
	struct task task;	/* hand this to the steps */
	struct task *outer;
	double done, total;
	const char *what;
};
void plan_progress_init(struct plan_progress *p, struct task *outer,
    double total, const char *what);

#endif
