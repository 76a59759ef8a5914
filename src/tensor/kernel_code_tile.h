/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_code_tile: the few instructions of AMX that kernel_code_amx.c and
 * kernel_bf16_amx.c need; or, with CODE_TILE_PLAIN defined, plain C that does the same and checks
 * shapes, so that the kernel is tested where there are no tiles. Private to
 * src/tensor.
 *
 * Eight tiles of up to 16 rows of 64 bytes. A tile of C has a row for each row
 * of x, one of A the same rows with four int8 to a unit, one of B a row for each
 * unit.
 */
#ifndef PARE_TENSOR_KERNEL_CODE_TILE_H
#define PARE_TENSOR_KERNEL_CODE_TILE_H

#include <stdint.h>

#include "tensor/cpu.h"

enum { TILE_COUNT = 8, TILE_ROWS = 16, TILE_BYTES = 64 };

/* Rows and bytes of a row of each tile, as the processor reads them. */
struct tile_config {
	uint8_t palette, start_row;
	uint8_t none[14];
	uint16_t bytes[16];
	uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as ldtilecfg reads it");

#ifdef CODE_TILE_PLAIN

#include <assert.h>
#include <math.h>
#include <string.h>

#define TILE_TARGET

static _Thread_local struct {
	int rows, bytes;
	uint8_t v[TILE_ROWS][TILE_BYTES];
} tile_at[TILE_COUNT];

static inline void
tile_configure(const struct tile_config *c)
{
	assert(c->palette == 1);
	for (int t = 0; t < TILE_COUNT; t++) {
		assert(c->rows[t] <= TILE_ROWS && c->bytes[t] <= TILE_BYTES &&
		    c->bytes[t] % 4 == 0);
		assert((c->rows[t] == 0) == (c->bytes[t] == 0));
		memset(&tile_at[t], 0, sizeof(tile_at[t]));
		tile_at[t].rows = c->rows[t];
		tile_at[t].bytes = c->bytes[t];
	}
}

static inline void
tile_release(void)
{
	memset(tile_at, 0, sizeof(tile_at));
}

static inline void
tile_zero(int t)
{
	assert(tile_at[t].rows > 0);
	memset(tile_at[t].v, 0, sizeof(tile_at[t].v));
}

static inline void
tile_load(int t, const void *p, int64_t ld)
{
	assert(tile_at[t].rows > 0);
	memset(tile_at[t].v, 0, sizeof(tile_at[t].v));
	for (int r = 0; r < tile_at[t].rows; r++)
		memcpy(tile_at[t].v[r], (const uint8_t *)p + r * ld,
		    (size_t)tile_at[t].bytes);
}

static inline void
tile_store(int t, void *p, int64_t ld)
{
	assert(tile_at[t].rows > 0);
	for (int r = 0; r < tile_at[t].rows; r++)
		memcpy((uint8_t *)p + r * ld, tile_at[t].v[r],
		    (size_t)tile_at[t].bytes);
}

/* C += A B, A int8 and B uint8. */
static inline void
tile_dot(int c, int a, int b)
{
	assert(tile_at[c].rows == tile_at[a].rows &&
	    tile_at[c].bytes == tile_at[b].bytes &&
	    tile_at[a].bytes == 4 * tile_at[b].rows);
	for (int r = 0; r < tile_at[c].rows; r++)
		for (int n = 0; n < tile_at[c].bytes; n += 4) {
			int32_t s;

			memcpy(&s, tile_at[c].v[r] + n, 4);
			for (int k = 0; k < tile_at[a].bytes; k++)
				s += (int8_t)tile_at[a].v[r][k] *
				    tile_at[b].v[k / 4][n + k % 4];
			memcpy(tile_at[c].v[r] + n, &s, 4);
		}
}

/* C += A B of bfloat16 and float32: the products of the first of two units and
 * those of the second are added up, then both to C. */
static inline void
tile_dot_bf16(int c, int a, int b)
{
	assert(tile_at[c].rows == tile_at[a].rows &&
	    tile_at[c].bytes == tile_at[b].bytes &&
	    tile_at[a].bytes == 4 * tile_at[b].rows);
	for (int r = 0; r < tile_at[c].rows; r++)
		for (int n = 0; n < tile_at[c].bytes; n += 4) {
			float s[2] = { 0 }, f[2], old;

			for (int k = 0; k < tile_at[a].bytes; k += 2) {
				uint32_t w[2] = { 0 };

				memcpy((char *)&w[0] + 2, tile_at[a].v[r] + k,
				    2);
				memcpy((char *)&w[1] + 2, tile_at[b].v[k / 4] +
				    n + k % 4, 2);
				memcpy(f, w, sizeof(f));
				s[k / 2 % 2] = fmaf(f[0], f[1],
				    s[k / 2 % 2]);
			}
			memcpy(&old, tile_at[c].v[r] + n, 4);
			old += s[0] + s[1];
			memcpy(tile_at[c].v[r] + n, &old, 4);
		}
}

#else

#define TILE_TARGET 	CPU_TARGET(CPU_FEATURES_VNNI ",amx-tile,amx-int8,amx-bf16")

/* In assembler, for some compilers leave out that memory is read. Numbers of
 * tiles are part of the instruction. */
#define tile_configure(c) \
	__asm__ volatile("ldtilecfg %0" :: "m"(*(c)) : "memory")
#define tile_release() __asm__ volatile("tilerelease" ::: "memory")
#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t :::)
#define tile_load(t, p, ld) \
	__asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t \
	    :: "r"(p), "r"((int64_t)(ld)) : "memory")
#define tile_store(t, p, ld) \
	__asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" \
	    :: "r"(p), "r"((int64_t)(ld)) : "memory")
#define tile_dot(c, a, b) \
	__asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c :::)
#define tile_dot_bf16(c, a, b) \
	__asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c :::)

#endif

#endif
