/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * forward: the pass behind engine_forward(), on input that was checked. Private
 * to the engine room.
 */
#ifndef PARE_ENGINE_FORWARD_H
#define PARE_ENGINE_FORWARD_H

#include "engine/engine.h"

/*
 * Memory handed out front to back. With base NULL it only counts what would be
 * needed: the same code lays the buffers out and says how large they are.
 */
struct arena {
	unsigned char *base;
	size_t size, used;	/* used is SIZE_MAX once a count overflowed */
};
void *arena_take(struct arena *a, int64_t rows, int64_t cols, size_t size);
/* At least a->used bytes behind base and nothing handed out. */
enum pare_rc arena_grow(struct arena *a, struct pare_err *err);

/* What the engine cannot run yet, by name; NULL when it can run m. */
const char *forward_missing(const struct model *m);

/* The checks of engine_forward(), for the trainer too. */
enum pare_rc engine_check_model(const struct model *m, struct pare_err *err);
enum pare_rc engine_check_batch(const struct model *m, const struct batch *b,
    struct pare_err *err);

enum pare_rc forward_run(struct arena *memory, const struct model *m,
    const struct batch *b, struct forward *f, struct pare_err *err);

#endif
