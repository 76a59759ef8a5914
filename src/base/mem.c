/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void (*die_hook)(void);
static atomic_long fail_at;

static _Noreturn void
die(size_t n)
{
	if (die_hook != NULL)
		die_hook();
	fprintf(stderr, "pare: out of memory (%zu bytes)\n", n);
	exit(5);
}

void
mem_set_die_hook(void (*hook)(void))
{
	die_hook = hook;
}

void *
xmalloc(size_t n)
{
	void *p = malloc(n != 0 ? n : 1);

	if (p == NULL)
		die(n);
	return p;
}

void *
xcalloc(size_t n, size_t size)
{
	void *p = calloc(n != 0 ? n : 1, size != 0 ? size : 1);

	if (p == NULL)
		die(n);
	return p;
}

void *
xrealloc(void *p, size_t n)
{
	p = realloc(p, n != 0 ? n : 1);
	if (p == NULL)
		die(n);
	return p;
}

char *
xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
	char *p = xmalloc(n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

void
mem_fail_at(long n)
{
	atomic_store(&fail_at, n);
}

/*
 * Memory of some megabytes asks for large pages where the system has them: with
 * small ones a pass over weights waits for the tables of pages as long as for
 * the weights. Only whole large pages are asked for, so none is held for a part.
 */
static void *
alloc_lines(size_t bytes)
{
#ifdef MADV_HUGEPAGE
	const size_t large = (size_t)2 << 20;
	void *p;

	if (bytes < large)
		return aligned_alloc(64, bytes);
	p = aligned_alloc(large, (bytes + large - 1) & ~(large - 1));
	if (p != NULL)
		(void)madvise(p, bytes & ~(large - 1), MADV_HUGEPAGE);
	return p;
#else
	return aligned_alloc(64, bytes);
#endif
}

void *
mem_big(size_t n, size_t size, struct pare_err *err)
{
	size_t bytes, padded;
	void *p = NULL;

	if (__builtin_mul_overflow(n, size, &bytes) ||
	    __builtin_add_overflow(bytes, (size_t)127, &padded)) {
		err_set(err, PARE_ENOMEM, "%zu x %zu bytes cannot be addressed",
		    n, size);
		return NULL;
	}
	padded &= ~(size_t)63;
	if (atomic_load(&fail_at) > 0 && atomic_fetch_sub(&fail_at, 1) == 1)
		p = NULL;
	else
		p = alloc_lines(padded);
	if (p == NULL)
		err_set(err, PARE_ENOMEM, "out of memory: %zu bytes wanted",
		    bytes);
	return p;
}

void *
mem_big_zero(size_t n, size_t size, struct pare_err *err)
{
	void *p = mem_big(n, size, err);

	if (p != NULL)
		memset(p, 0, n * size);
	return p;
}

bool
mem_mul(int64_t a, int64_t b, int64_t *r)
{
	return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, r);
}

bool
mem_add(int64_t a, int64_t b, int64_t *r)
{
	return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, r);
}
