/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tensor/form_rows.h"

#include <string.h>

#define BIT(k) (1u << (k))
#define VALUE_PARTS \
	(BIT(PART_DATA) | BIT(PART_SCALE) | BIT(PART_MIN) | BIT(PART_TABLE))

const struct form form_table[FORM_COUNT] = {
	[FORM_F32] = {
		.name = "f32",
		.text = "Single precision floats, 4 bytes a weight.",
		.parts = BIT(PART_DATA),
		.is_float = true,
		.part_bytes = value_part_bytes,
		.values = f32_values,
		.decode = float_decode,
		.select = float_select,
	},
	[FORM_F16] = {
		.name = "f16",
		.text = "Half precision floats, 2 bytes a weight, up to 65504.",
		.parts = BIT(PART_DATA),
		.is_float = true,
		.part_bytes = value_part_bytes,
		.values = f16_values,
		.decode = float_decode,
		.select = float_select,
	},
	[FORM_BF16] = {
		.name = "bf16",
		.text = "The upper half of single precision floats, 2 bytes a "
		    "weight.",
		.parts = BIT(PART_DATA),
		.is_float = true,
		.part_bytes = value_part_bytes,
		.values = bf16_values,
		.decode = float_decode,
		.select = float_select,
	},
	[FORM_INT] = {
		.name = "int",
		.text = "Codes of 1 to 8 bits times a scale, plus a minimum "
		    "where the range is not symmetric, per group.",
		.parts = BIT(PART_DATA) | BIT(PART_SCALE) | BIT(PART_MIN),
		.part_bytes = value_part_bytes,
		.values = int_values,
		.decode = code_decode,
		.select = code_select,
	},
	[FORM_TABLE] = {
		.name = "table",
		.text = "Codes of 1 to 8 bits into a table of values per "
		    "group.",
		.parts = BIT(PART_DATA) | BIT(PART_TABLE),
		.part_bytes = value_part_bytes,
		.values = table_values,
		.decode = code_decode,
		.select = code_select,
	},
	[FORM_BITMAP] = {
		.name = "bitmap",
		.text = "One bit for each weight, and the values of those that "
		    "are there.",
		.parts = VALUE_PARTS | BIT(PART_MASK) | BIT(PART_ROWS),
		.is_sparse = true,
		.part_bytes = sparse_part_bytes,
		.check = bitmap_check,
		.decode = sparse_decode,
		.select = sparse_select,
	},
	[FORM_INDEX] = {
		.name = "index",
		.text = "A column number with each value that is there.",
		.parts = VALUE_PARTS | BIT(PART_ROWS) | BIT(PART_COLS),
		.is_sparse = true,
		.part_bytes = sparse_part_bytes,
		.check = index_check,
		.decode = sparse_decode,
		.select = sparse_select,
	},
	[FORM_LOWRANK] = {
		.name = "lowrank",
		.text = "Two thin matrices whose product stands for the whole.",
		.parts = 0,
		.is_pair = true,
		.part_bytes = lowrank_part_bytes,
		.decode = lowrank_decode,
		.select = lowrank_select,
	},
	[FORM_BLOCK] = {
		.name = "block",
		.text = "Blocks of 32 or 256 codes with their scales, as GGUF "
		    "files hold them.",
		.parts = BIT(PART_DATA),
		.part_bytes = block_part_bytes,
		.decode = block_decode,
		.select = block_select,
	},
	[FORM_SUM] = {
		.name = "sum",
		.text = "Codes, and single floats that are added to them; or "
		    "any form, and a product of two thin matrices.",
		.parts = 0,
		.is_pair = true,
		.part_bytes = lowrank_part_bytes,
		.decode = sum_decode,
		.select = pair_select,
	},
	[FORM_SCALED] = {
		.name = "scaled",
		.text = "Codes, and a float for each input that it is "
		    "multiplied with.",
		.parts = 0,
		.is_pair = true,
		.part_bytes = lowrank_part_bytes,
		.decode = scaled_decode,
		.select = pair_select,
	},
};

const struct form *
form_find(const char *name, enum form_kind *kind)
{
	for (int i = 0; i < FORM_COUNT; i++) {
		if (strcmp(form_table[i].name, name) != 0)
			continue;
		if (kind != NULL)
			*kind = (enum form_kind)i;
		return &form_table[i];
	}
	return NULL;
}
