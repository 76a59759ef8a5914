/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the processor has is asked once. A bit of CPUID says that instructions
 * exist, XCR0 that the system saves their registers; for AMX the process must
 * also ask for permission.
 */
#include "tensor/cpu.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if CPU_X86
#include <cpuid.h>
#endif
#if CPU_X86 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const level_name[CPU_LEVELS] = { "scalar", "avx2", "avx512",
	"vnni", "amx" };

static const char *const extra_name[CPU_EXTRAS] = { "vbmi", "vbmi2", "bf16",
	"bf16 at full rate" };

static atomic_int detected = -1;	/* -1: not asked yet */
static atomic_uint extras;		/* bit mask of enum cpu_extra */
static atomic_int limit = CPU_LEVELS - 1;

#if CPU_X86

/* Registers that the system saves, the bits of XCR0. */
enum {
	SAVED_YMM = 0x6,
	SAVED_ZMM = 0xe6,
	SAVED_TILES = 0x60000
};

static uint64_t
saved_registers(void)
{
	uint32_t lo, hi;

	/* xgetbv, by its bytes: the mnemonic wants a target of its own. */
	__asm__ volatile(".byte 0x0f, 0x01, 0xd0"
	    : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static bool
has_bits(unsigned reg, unsigned bits)
{
	return (reg & bits) == bits;
}

/* Tile registers are given to processes that ask. */
static bool
tiles_granted(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
	const long request = 0x1023, tile_data = 18;

	return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
	return false;
#endif
}

/* The two of AVX-512 BF16. */
static unsigned
bf16_extras(void)
{
	const unsigned a7_bf16 = 1 << 5;
	unsigned a, b, c, d;
	char vendor[12];

	if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has_bits(a, a7_bf16))
		return 0;
	if (!__get_cpuid(0, &a, &b, &c, &d))
		return 1u << CPU_BF16;
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	return 1u << CPU_BF16 | (memcmp(vendor, "AuthenticAMD", 12) == 0 ?
	    1u << CPU_BF16_FAST : 0);
}

static enum cpu_level
detect(void)
{
	enum {
		C1_FMA_POPCNT = 1 << 12 | 1 << 23,
		C1_XSAVE_AVX_F16C = 1 << 27 | 1 << 28 | 1 << 29,
		B7_BMI_AVX2_BMI2 = 1 << 3 | 1 << 5 | 1 << 8,
		B7_AVX512 = 1 << 16 | 1 << 17 | 1 << 30,
		B7_AVX512VL_SHIFT = 31,
		C7_VBMI = 1 << 1,
		C7_VBMI2 = 1 << 6,
		C7_VNNI = 1 << 11,
		D7_AMX = 1 << 22 | 1 << 24 | 1 << 25
	};
	unsigned a, b = 0, c = 0, d = 0, c1 = 0;
	uint64_t saved;

	if (!__get_cpuid(1, &a, &b, &c1, &d) ||
	    !has_bits(c1, C1_FMA_POPCNT | C1_XSAVE_AVX_F16C) ||
	    !__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return CPU_SCALAR;
	saved = saved_registers();
	if ((saved & SAVED_YMM) != SAVED_YMM || !has_bits(b, B7_BMI_AVX2_BMI2))
		return CPU_SCALAR;
	if ((saved & SAVED_ZMM) != SAVED_ZMM ||
	    !has_bits(b, B7_AVX512 | 1u << B7_AVX512VL_SHIFT))
		return CPU_AVX2;
	atomic_store(&extras,
	    (has_bits(c, C7_VBMI) ? 1u << CPU_VBMI : 0) |
	    (has_bits(c, C7_VBMI2) ? 1u << CPU_VBMI2 : 0) | bf16_extras());
	if (!has_bits(c, C7_VNNI))
		return CPU_AVX512;
	if ((saved & SAVED_TILES) != SAVED_TILES || !has_bits(d, D7_AMX) ||
	    !tiles_granted())
		return CPU_VNNI;
	return CPU_AMX;
}

#else

static enum cpu_level
detect(void)
{
	return CPU_SCALAR;
}

#endif

enum cpu_level
cpu_detected(void)
{
	int level = atomic_load(&detected);

	if (level < 0) {
		level = (int)detect();
		atomic_store(&detected, level);
	}
	return (enum cpu_level)level;
}

enum cpu_level
cpu_level(void)
{
	int most = atomic_load_explicit(&limit, memory_order_relaxed);
	enum cpu_level have = cpu_detected();

	return (int)have < most ? have : (enum cpu_level)most;
}

bool
cpu_has(enum cpu_extra extra)
{
	return cpu_level() >= CPU_AVX512 && cpu_extra_detected(extra);
}

bool
cpu_extra_detected(enum cpu_extra extra)
{
	return cpu_detected() >= CPU_AVX512 &&
	    (atomic_load(&extras) >> extra & 1) != 0;
}

const char *
cpu_extra_name(enum cpu_extra extra)
{
	return extra_name[extra];
}

enum cpu_level
cpu_limit(enum cpu_level level)
{
	return (enum cpu_level)atomic_exchange(&limit, (int)level);
}

const char *
cpu_level_name(enum cpu_level level)
{
	return level_name[level];
}
