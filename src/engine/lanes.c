/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which copy of the loops runs: the same question for all of them, asked at each
 * call, so that a limit on the processor's level holds here too.
 */
#include "engine/lanes.h"

#include "tensor/cpu.h"

const struct lanes *
lanes(void)
{
#if CPU_X86
	const enum cpu_level level = cpu_level();

	if (level >= CPU_AVX512)
		return &lanes_avx512;
	if (level >= CPU_AVX2)
		return &lanes_avx2;
#endif
	return &lanes_plain;
}
