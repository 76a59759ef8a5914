/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mem: allocation.
 *
 * Small objects (structs, strings, tables that a person could read) come from
 * xmalloc() and friends, which end the program cleanly when the machine has
 * nothing left. Everything whose size follows from a model, a file or an
 * argument comes from mem_big(), which reports PARE_ENOMEM like any error.
 */
#ifndef PARE_BASE_MEM_H
#define PARE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Never return NULL; the caller frees with free(). */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/* Called once before the process ends for want of small memory (a front end
 * restores the terminal there). */
void mem_set_die_hook(void (*hook)(void));

/*
 * n * size bytes aligned to 64, not cleared; NULL with PARE_ENOMEM in *err when
 * the product overflows or memory is short. The caller frees with free().
 * n * size == 0 gives a valid pointer.
 */
void *mem_big(size_t n, size_t size, struct pare_err *err);
void *mem_big_zero(size_t n, size_t size, struct pare_err *err);

/* Tests: the n-th call of mem_big() from now fails once (0 switches it off). */
void mem_fail_at(long n);

/* a * b and a + b into *r; false on overflow or when an operand is negative. */
bool mem_mul(int64_t a, int64_t b, int64_t *r);
bool mem_add(int64_t a, int64_t b, int64_t *r);

#endif
