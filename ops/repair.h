/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * repair: after inputs of an output matrix went (heads, neurons), what is left is
 * set so that the matrix gives as nearly as possible what it gave before, on the
 * calibration samples.
 *
 *	bias	what went is replaced by its mean:  b += W_D mean(x_D)
 *		(An et al., "Fluctuation-based adaptive structured pruning", 2024)
 *	refit	least squares for the columns K that stay, with the covariance C
 *		of the inputs and a ridge r that pulls towards the old weights:
 *		(C_KK + r I) V' = C_K: W' + r W_K',  b += W mean(x) - V mean(x_K)
 */
#ifndef PARE_OPS_REPAIR_H
#define PARE_OPS_REPAIR_H

#include "ops/score.h"

enum repair { REPAIR_NONE, REPAIR_BIAS, REPAIR_REFIT };
/* In that order, for tables of arguments. */
extern const char *const repair_names[];

struct repairs {
	enum repair how;
	const struct op_input *in;
	struct edit *e;
	enum slot slot;		/* SLOT_O_W or SLOT_DOWN_W */
	/* Sums over what was repaired: squared errors of the outputs without
	 * repair and with it, and the squares of the outputs. */
	double before, after, energy;
	int matrices;
};

/* repair= of the line, which by=obs makes refit unless it is said; and the needs
 * of it and of by=obs. */
enum repair repair_of(const struct arg_list *args);
unsigned repair_needs(const struct arg_list *args, enum slot slot);

/*
 * Repairs the matrix of the layers l with group[l] == leader, of which the edit
 * has taken all inputs but keep[0..n), ascending, in the numbering before. An
 * estimate changes nothing. PARE_EUSER: no calibration samples, a packed matrix,
 * no bias to hold a mean, singular moments.
 */
enum pare_rc repair_group(struct repairs *r, const int *group, int leader,
    const int64_t *keep, int64_t n, struct pare_err *err);

/*
 * The scores of the units of the matrix of a group, `width` columns each, by what
 * it costs to be without them when the rest is fitted (ops/obs.h); they rise in
 * the order in which the first `most` go, and are relative to the squares of the
 * outputs. Errors as repair_group().
 */
enum pare_rc repair_scores(const struct op_input *in, enum slot slot,
    const int *group, int leader, int64_t width, int64_t most, double *score,
    struct pare_err *err);

/* Whether the line ranks by that (by=obs). */
bool repair_ranks(const struct arg_list *args);

/* Values (rows, cols) as a tensor in the float form of `like`; NULL with
 * PARE_ENOMEM. And the values of one. */
struct tensor *repair_tensor(const struct transform_ctx *ctx,
    const struct tensor *like, int64_t rows, int64_t cols, const double *v,
    struct pare_err *err);
void repair_decode(const struct tensor *t, double *out);

/* "output error 12 % without repair, 3 % with it". */
void repair_note(const struct repairs *r, struct str *note);

#endif
