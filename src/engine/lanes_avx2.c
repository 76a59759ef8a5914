/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's loops with eight lanes, for AVX2 with FMA. */
#include "tensor/cpu.h"

#if CPU_X86
#define LANES 8
#include "engine/elementwise_lanes.h"
#include "engine/attention_lanes.h"

const struct lanes lanes_avx2 = { ELEMENTWISE_LANES, ATTENTION_LANES };
#endif
