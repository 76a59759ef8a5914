/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The header of a safetensors file. */
#include <stddef.h>
#include <stdint.h>

#include "file/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pare_err err;

	(void)st_check(data, n, "fuzz", &err);
	return 0;
}
