/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dtype: the element types of safetensors, in the order in which its writer
 * sorts tensors.
 */
#ifndef PARE_FILE_DTYPE_H
#define PARE_FILE_DTYPE_H

#include "tensor/tensor.h"

struct dtype {
	const char *name;
	int bits;
};

/* Ends with a row without name. */
extern const struct dtype dtype_table[];

enum {
	ST_HEADER_MAX = 100000000	/* the format's own limit, in bytes */
};

/* Index into dtype_table[], or -1. */
int dtype_find(const char *name);

/* The dtype of a float form, and back. */
const char *dtype_of_form(enum form_kind form);
bool dtype_to_form(const char *name, enum form_kind *form);

/* Bytes of a tensor, or false when that overflows or is no whole number. */
bool dtype_bytes(int dtype, int ndim, const int64_t *dim, int64_t *bytes);

#endif
