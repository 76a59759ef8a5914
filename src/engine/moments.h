/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * moments: what the inputs of linear maps look like, gathered while a model runs
 * (struct engine_watch): per layer and place the sum, the sum of squares and,
 * where asked for, X'X; and how much sub-layers and layers turn the stream.
 *
 * There is no padding in them. Where a classifier reads token 0 alone, what
 * comes after the attention of the last layer is counted for that token alone,
 * for nothing else matters there.
 *
 * Block influence, 1 - mean cos(in, out) over tokens: Men et al., "ShortGPT",
 * 2024.
 */
#ifndef PARE_ENGINE_MOMENTS_H
#define PARE_ENGINE_MOMENTS_H

#include "engine/engine.h"

/* The inputs of linear maps, as in enum engine_place. */
enum { MOMENTS_PLACES = ENGINE_SEES_DOWN + 1 };

struct moments {
	int64_t rows, cols;	/* of X */
	double *sum, *square;	/* cols each: sum x, sum x^2 */
	float *gram;		/* (cols, cols): X'X; NULL: not asked for */
};

enum turn { TURN_ATTENTION, TURN_FFN, TURN_LAYER, TURN_COUNT };

struct statistics {
	uint64_t model, data;	/* hashes, set by whoever gathered */
	int64_t samples, tokens;	/* likewise */
	int nlayers;
	struct moments (*at)[MOMENTS_PLACES];	/* per layer; cols 0: nothing
						 * came by */
	double (*turn)[TURN_COUNT];	/* per layer: sums of 1 - cos */
	int64_t (*turned)[TURN_COUNT];	/* rows of those */
	struct engine_watch watch;	/* for struct forward */
	/* Private. */
	bool failed;		/* memory */
	float *before[2];	/* before a sub-layer, before a layer */
	int64_t room[2], have, used;
};

/*
 * For m; gram[layer * MOMENTS_PLACES + place] says where X'X is wanted, NULL:
 * nowhere. NULL with PARE_ENOMEM.
 */
struct statistics *statistics_new(const struct model *m, const bool *gram,
    struct pare_err *err);
void statistics_free(struct statistics *s);	/* NULL is fine */

/*
 * After all passes: PARE_ENOMEM when one did not fit, PARE_EUSER when a moment is
 * not finite. Completes X'X.
 */
enum pare_rc statistics_finish(struct statistics *s, struct pare_err *err);

/* The moments of a slot's input; NULL: the slot multiplies nothing that was
 * seen (embeddings, heads), or nothing came by. */
const struct moments *statistics_of(const struct statistics *s,
    struct slot_ref ref);

/* The place of the input of a layer slot; false where it has none. */
bool statistics_place(enum slot slot, enum engine_place *out);

/* 1 - mean cos; NAN: nothing came by. */
double statistics_turn(const struct statistics *s, int layer, enum turn t);

#endif
