/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/tally.h"

#include "ops/common.h"

void
tally_note(const struct tally *t, const char *plain, struct str *note)
{
	if (t->energy > 0)
		ops_note(note, "output error of %d matrices %.3g %% %s, %.3g "
		    "%% now", t->done + t->worse, 100 * t->plain / t->energy,
		    plain, 100 * t->now / t->energy);
	if (t->worse > 0)
		ops_note(note, "%d of them stay %s, which was no worse",
		    t->worse, plain);
	if (t->unseen > 0)
		ops_note(note, "%d matrices are %s: their inputs are not "
		    "gathered", t->unseen, plain);
	if (t->zero > 0)
		ops_note(note, "%d matrices are %s: all they see is 0",
		    t->zero, plain);
	if (t->odd > 0)
		ops_note(note, "%d matrices are %s: they were packed, sparse "
		    "or low rank", t->odd, plain);
}

enum pare_rc
tally_any(const struct tally *t, const char *what, struct pare_err *err)
{
	if (t->done + t->worse > 0 || t->unseen + t->zero == 0)
		return PARE_OK;
	if (t->zero > 0) {
		err_set(err, PARE_EUSER, "%s: the inputs of all %d matrices "
		    "are 0 on the calib samples", what, t->zero + t->unseen);
		return err_hint(err, "eval shows whether the model still "
		    "works");
	}
	err_set(err, PARE_EUSER, "%s: no input of the matrices named is "
	    "gathered: embeddings and heads are not", what);
	return err_hint(err, "name matrices of layers, as L*.ffn");
}
