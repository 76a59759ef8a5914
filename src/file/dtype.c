/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/dtype.h"

#include <string.h>

#include "base/mem.h"

const struct dtype dtype_table[] = {
	{ "U64", 64 }, { "I64", 64 }, { "F64", 64 }, { "C64", 64 },
	{ "F32", 32 }, { "U32", 32 }, { "I32", 32 },
	{ "BF16", 16 }, { "F16", 16 }, { "U16", 16 }, { "I16", 16 },
	{ "F8_E5M2FNUZ", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E8M0", 8 },
	{ "F8_E4M3", 8 }, { "F8_E5M2", 8 }, { "I8", 8 }, { "U8", 8 },
	{ "F6_E3M2", 6 }, { "F6_E2M3", 6 }, { "F4", 4 }, { "BOOL", 8 },
	{ NULL, 0 }
};

int
dtype_find(const char *name)
{
	for (int i = 0; dtype_table[i].name != NULL; i++)
		if (strcmp(dtype_table[i].name, name) == 0)
			return i;
	return -1;
}

const char *
dtype_of_form(enum form_kind form)
{
	switch (form) {
	case FORM_F32:
		return "F32";
	case FORM_F16:
		return "F16";
	case FORM_BF16:
		return "BF16";
	default:
		return NULL;
	}
}

bool
dtype_to_form(const char *name, enum form_kind *form)
{
	for (int f = FORM_F32; f <= FORM_BF16; f++)
		if (strcmp(name, dtype_of_form((enum form_kind)f)) == 0) {
			*form = (enum form_kind)f;
			return true;
		}
	return false;
}

bool
dtype_bytes(int dtype, int ndim, const int64_t *dim, int64_t *bytes)
{
	int64_t n = 1;

	/* A dimension of 0 does not excuse a product that overflows. */
	for (int i = 0; i < ndim; i++)
		if (!mem_mul(n, dim[i], &n))
			return false;
	if (!mem_mul(n, dtype_table[dtype].bits, &n) || n % 8 != 0)
		return false;
	*bytes = n / 8;
	return true;
}
