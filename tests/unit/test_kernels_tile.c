/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel for AMX over tiles in plain C, which check that shapes fit: the
 * same bits as the scalar kernel, at every height and width of tiles. So its
 * logic is tested where there is no AMX; where there is, test_kernels_code runs
 * the instructions.
 */
#define CODE_TILE_PLAIN 1
#define code_tile_block plain_tile_block
#define code_tile_end plain_tile_end
#include "tensor/kernel_code_amx.c"

#include "tensor_fix.h"

static const int64_t counts[] = { 1, 7, 16, 17, 32, 33, 70 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

struct shape {
	int64_t rows, cols, group;
};

/* Spans of one tile and of several, shorter ones alike or not, left over parts,
 * spans that begin inside of units, chunks. */
static const struct shape shapes[] = {
	{ 1, 1, -1 }, { 33, 64, 64 }, { 40, 192, 64 }, { 31, 96, 32 },
	{ 20, 64, 4 }, { 35, 200, 40 }, { 17, 300, 100 }, { 9, 130, -1 },
	{ 5, 63, 3 }, { 12, 66, 11 }, { 7, 2048, 0 }, { 3, 8256, 16 },
	{ 2, 4500, -1 }, { 2, 9000, 4500 }, { 3, 336, 48 }
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void *
lines(size_t bytes)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 64, bytes), 0);
	return p;
}

/* Tiles of what `base` lays out. */
static void
check(const struct code_level *base, const struct tensor *t, int64_t n)
{
	struct code_level tiles = *base;
	struct kernel_x x = { .n = n, .cols = t->cols };
	struct tensor *f = fix_random(2, n, t->cols, 9);
	struct tensor *old = fix_random(2, n, t->rows, 8);
	size_t bytes = (size_t)(n * t->rows) * sizeof(float);
	void *scratch = lines(code_scalar_kernel.scratch(t, n));
	void *prep = lines(prep_bytes(PREP_INT8, n, t->cols));
	float *want = malloc(bytes), *y = malloc(bytes);

	tiles.tokens = CODE_TILE_TOKENS;
	tiles.block = plain_tile_block;
	tiles.end = plain_tile_end;
	x.f = tensor_f32(f);
	prep_point(PREP_INT8, prep, &x);
	prep_make(PREP_INT8, &x, 0, n);
	for (int add = 0; add < 2; add++) {
		memcpy(want, tensor_f32(old), bytes);
		memcpy(y, want, bytes);
		code_run(&code_level_scalar, t, &x, 0, t->rows, want, t->rows,
		    add != 0, scratch);
		code_run(&tiles, t, &x, 0, t->rows, y, t->rows, add != 0,
		    scratch);
		assert_memory_equal(y, want, bytes);
		assert_int_equal(cut_tokens, 0);
	}
	free(scratch);
	free(prep);
	free(want);
	free(y);
	tensor_unref(f);
	tensor_unref(old);
}

static void
tiles_give_the_same_bits(void **state)
{
	static const struct quant_spec some[] = {
		{ QUANT_SYMMETRIC, 4, 0, 8 }, { QUANT_SYMMETRIC, 8, 0, 8 },
		{ QUANT_SYMMETRIC, 1, 0, 8 }, { QUANT_AFFINE, 8, 0, 8 },
		{ QUANT_AFFINE, 3, 0, 8 }, { QUANT_KMEANS, 4, 0, 8 }
	};

	for (int i = 0; i < 6 * SHAPES; i++) {
		struct shape s = shapes[i / 6];
		struct quant_spec spec = some[i % 6];
		struct tensor *f = fix_random(2, s.rows, s.cols, 5), *t;

		spec.group = s.group;
		t = tensor_quantize(f, &spec, &fix_real, NULL);
		assert_non_null(t);
		for (int c = 0; c < (s.cols > 2000 ? 3 : COUNTS); c++)
			check(&code_level_scalar, t, counts[c]);
		tensor_unref(f);
		tensor_unref(t);
	}
}

/* Codes of every width, of every scheme, widened by plain C and by what lays them
 * out for the instructions: straight from the packed rows where that goes. */
static void
every_width_is_widened(void **state)
{
	static const struct shape few[] = { { 33, 256, 64 }, { 20, 96, 32 },
		{ 37, 200, -1 }, { 9, 70, 10 } };
	int made = 0;

	for (int i = 0; i < 3 * 8 * 4; i++) {
		struct quant_spec spec = { (enum quant_scheme)(i / 32),
			i / 4 % 8 + 1, few[i % 4].group, 8 };
		struct tensor *f = fix_random(2, few[i % 4].rows,
		    few[i % 4].cols, 5);
		struct tensor *t = tensor_quantize(f, &spec, &fix_real, NULL);

		tensor_unref(f);
		if (t == NULL)
			continue;
		made++;
		check(&code_level_scalar, t, 33);
#if CPU_X86
		if (cpu_level() >= CPU_VNNI && cpu_has(CPU_VBMI)) {
			check(&code_level_vbmi, t, 7);
			check(&code_level_vbmi, t, 33);
		}
#endif
		tensor_unref(t);
	}
	assert_true(made >= 80);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiles_give_the_same_bits),
		cmocka_unit_test(every_width_is_widened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
