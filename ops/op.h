/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * op: one compression method, one file, one row of op_table[].
 *
 * An op is data (name, arguments, help, examples, flags) and functions. run()
 * decides and applies through an edit: the same code makes the real model
 * (EDIT_REAL) and the estimate (EDIT_ESTIMATE), so the two agree by
 * construction. An op is a pure function of (model, arguments, calib, seed): its
 * line is the undo label, the journal entry, the recipe and the test. It never
 * sees the evaluation set.
 */
#ifndef PARE_OPS_OP_H
#define PARE_OPS_OP_H

#include "base/arg.h"
#include "base/str.h"
#include "model/account.h"
#include "model/edit.h"
#include "model/select.h"

enum op_flag {
	OP_STRUCTURAL = 1,	/* removes parts: masked equals removed */
	OP_RANDOM = 2,		/* reads the seed */
	OP_NEEDS_WEIGHTS = 4,	/* cannot run on a config alone */
	OP_TOKENS = 8		/* changes which tokens there are */
};

struct op_calib;	/* ops/score.h */

/* Of a line with rounds=N whoever runs it applies the op N times and has calib
 * gathered anew each time. Amounts count from the first of these models. */
struct op_rounds {
	int round, of;		/* round is from 1 */
	const struct model *before;	/* of the first one */
	int64_t total;		/* for the op: what it counted there */
};

struct op_input {
	const struct model *model;
	const struct arg_list *args;
	uint64_t seed;
	struct task *task;
	/* What needs() asked for; NULL: nothing was gathered. An estimate does
	 * without: it counts what goes, whichever it is. */
	const struct op_calib *calib;
	struct op_rounds *rounds;	/* NULL: all at once */
};

struct op {
	const char *verb, *method;	/* "prune", "heads"; method NULL: none */
	const char *title;		/* "Prune attention heads" for menus */
	const char *help;	/* first line: one sentence with a period */
	const char *const *examples;	/* lines that run on every sample model */
	const struct arg_spec *args;
	unsigned flags;
	/*
	 * Makes the change in e, or returns PARE_EUSER with a reason and a hint;
	 * the caller commits or aborts. note (a str) may get one sentence worth
	 * telling ("kept dense: neither sparse form is smaller").
	 */
	enum pare_rc (*run)(const struct op_input *in, struct edit *e,
	    struct str *note, struct pare_err *err);
	/* What a line wants to know of the calib samples: enum op_need of
	 * ops/score.h; NULL: never anything. */
	unsigned (*needs)(const struct arg_list *args);
};

extern const struct op *const op_table[];	/* ends with NULL */

/* The op of a verb and, where the verb has methods, of the second word (an op of
 * the verb without a method takes what is no method); *words is how many words
 * name it (1 or 2). PARE_EUSER lists what there is. */
enum pare_rc op_find(const struct arg_words *line, const struct op **out,
    int *words, struct pare_err *err);

struct op_result {
	struct model *model;	/* op_apply: a new reference; op_estimate: of
				 * ghosts, also a new reference */
	struct totals before, after;	/* at seq */
	char *note;		/* owned; NULL */
};

/* On error *out needs no freeing and nothing changed. */
enum pare_rc op_apply(const struct op *op, const struct op_input *in,
    int64_t seq, struct op_result *out, struct pare_err *err);
enum pare_rc op_estimate(const struct op *op, const struct op_input *in,
    int64_t seq, struct op_result *out, struct pare_err *err);
void op_result_free(struct op_result *r);

#endif
