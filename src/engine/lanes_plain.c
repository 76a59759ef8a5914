/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's loops with four lanes, in whatever registers the compiler finds. */
#define LANES 4
#include "engine/elementwise_lanes.h"
#include "engine/attention_lanes.h"

const struct lanes lanes_plain = { ELEMENTWISE_LANES, ATTENTION_LANES };
