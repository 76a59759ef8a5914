/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * times: how long the attention and the FFN of each layer take on this machine,
 * by how many of their heads and neurons stay. Whoever measures fills it in
 * (measure/unit_times.h).
 */
#ifndef PARE_OPS_TIMES_H
#define PARE_OPS_TIMES_H

#include "model/model.h"

enum { TIMES_WIDTHS = 8 };

struct op_times {
	double ms;		/* of the whole model */
	int64_t seq;		/* tokens of the text that takes so long */
	int nlayers;
	double waited;		/* the largest share of a measurement that
				 * threads had no processor in */
	/* Attention, FFN: shares of heads or neurons that stay, ascending to 1,
	 * and what the part then takes, relative to all of them. Not falling. */
	double share[2][TIMES_WIDTHS], ratio[2][TIMES_WIDTHS];
	double layer_ms[][2];
};

/* Zeroed; free() it. */
struct op_times *times_new(int nlayers);

/* The ratio where that share stays: straight lines between what was measured,
 * and no less than the least that was. */
double times_ratio(const struct op_times *t, bool ffn, double share);

/* The whole of `now`, which has the layers of the model of the table with fewer
 * heads and neurons. */
double times_of(const struct op_times *t, const struct model *was,
    const struct model *now);

#endif
