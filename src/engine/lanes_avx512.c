/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's loops with sixteen lanes, for AVX-512. */
#include "tensor/cpu.h"

#if CPU_X86
#define LANES 16
#include "engine/elementwise_lanes.h"
#include "engine/attention_lanes.h"
#include "engine/attention_rough.h"

const struct lanes lanes_avx512 = { ELEMENTWISE_LANES, ATTENTION_LANES,
	.attend_rough = lane_attend_rough };
#endif
