/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tally: what ops that better plain codes or plain masks by the calib samples have
 * won, and which matrices they had to leave plain.
 */
#ifndef PARE_OPS_TALLY_H
#define PARE_OPS_TALLY_H

#include "base/err.h"
#include "base/str.h"

/* Sums over matrices, for the note of an op. */
struct tally {
	double plain, now, energy;	/* squared errors of outputs, and the
					 * squares of the outputs */
	int done;	/* matrices made so */
	int worse;	/* of them: left plain, for that was no worse */
	int unseen, zero, odd;	/* plain: not seen, inputs of 0, packed */
};

/* "output error of 36 matrices 0.9 % rounded to nearest, 0.1 % now", and what was
 * not done. plain: "rounded to nearest". */
void tally_note(const struct tally *t, const char *plain, struct str *note);
/* Nothing was done though something was asked for: PARE_EUSER. */
enum pare_rc tally_any(const struct tally *t, const char *what,
    struct pare_err *err);

#endif
