/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * cpu: which instructions the kernels may use. The levels are a ladder: each has
 * all that the ones below it have. What a level needs is compiled with
 * CPU_TARGET() on the functions that use it, never by flags of the whole build,
 * and is reached only where cpu_level() says so. Other processors than x86-64
 * are CPU_SCALAR; a ladder of theirs would be further rows of the same tables.
 */
#ifndef PARE_TENSOR_CPU_H
#define PARE_TENSOR_CPU_H

#include <stdbool.h>
#include <stddef.h>

enum cpu_level {
	CPU_SCALAR,	/* what the compiler makes of plain C */
	CPU_AVX2,	/* AVX2, FMA, F16C, BMI1 and 2 */
	CPU_AVX512,	/* F, BW, DQ, VL */
	CPU_VNNI,	/* AVX-512 VNNI */
	CPU_AMX,	/* tiles of int8 and bfloat16, granted by the system */
	CPU_LEVELS
};

/* Single instructions that some processors of a level have. */
enum cpu_extra {
	CPU_VBMI,	/* AVX-512 VBMI: vpermb; from CPU_AVX512 on */
	CPU_VBMI2,	/* AVX-512 VBMI2: vpexpandb; from CPU_AVX512 on */
	CPU_BF16,	/* AVX-512 BF16: vdpbf16ps; from CPU_AVX512 on */
	CPU_BF16_FAST,	/* and it does twice the work of float32: AMD's, for
			 * Intel's takes so long that it does half of it */
	CPU_EXTRAS
};

#if defined(__x86_64__) && defined(__GNUC__)
#define CPU_X86 1
#define CPU_TARGET(features) __attribute__((target(features)))
#define CPU_FEATURES_AVX2 "avx2,fma,f16c,bmi,bmi2,popcnt"
#define CPU_FEATURES_AVX512 \
	CPU_FEATURES_AVX2 ",avx512f,avx512bw,avx512dq,avx512vl"
#define CPU_FEATURES_VNNI CPU_FEATURES_AVX512 ",avx512vnni"
#else
#define CPU_X86 0
#endif

/* The level to use: what the processor and the system have, or less when
 * limited. Any thread. */
enum cpu_level cpu_level(void);
enum cpu_level cpu_detected(void);
bool cpu_has(enum cpu_extra extra);

/* Limits cpu_level() for all threads, and returns the limit before; CPU_LEVELS -
 * 1 is none. Not while products run: a product asks more than once. */
enum cpu_level cpu_limit(enum cpu_level level);

/* "scalar", "avx2", "avx512", "vnni", "amx". */
const char *cpu_level_name(enum cpu_level level);
/* "vbmi", "vbmi2", "bf16", "bf16 at full rate"; and whether the processor has it,
 * whatever the limit. */
const char *cpu_extra_name(enum cpu_extra extra);
bool cpu_extra_detected(enum cpu_extra extra);

#endif
