/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * kernel_code_512: what the AVX-512 kernels of codes share. Private to
 * src/tensor, for CPU_X86.
 */
#ifndef PARE_TENSOR_KERNEL_CODE_512_H
#define PARE_TENSOR_KERNEL_CODE_512_H

#include "tensor/kernel_code.h"
#include "tensor/turn512.h"

#define CODE_VNNI CPU_TARGET(CPU_FEATURES_VNNI)
#define CODE_INLINE static inline __attribute__((always_inline))

#endif
