/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * store: small results that outlive a session, as files of the state folder,
 * results/HASH, one a result. Whoever reads back trusts nothing but what it
 * checks: files have a length and a hash of all that is in them, and one that is
 * not as it should be is as good as none. They are for their owner alone (0600),
 * written under another name and renamed, so that sessions side by side never
 * see half of one. The files used last are kept, up to a number and a size.
 *
 * Without a state folder (--no-state) nothing is kept and nothing is found; that
 * a file cannot be written is no error either.
 */
#ifndef PARE_SESSION_STORE_H
#define PARE_SESSION_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STORE_FILES = 4096,
	STORE_BYTES = 64 << 20,	/* of all of them */
	STORE_ONE = 4 << 20	/* of one; more is not kept */
};

struct store;
/* The folder is looked into when it is first asked for something. */
struct store *store_new(void);
void store_free(struct store *s);	/* NULL is fine */

/* The bytes kept under a key, malloc'ed; NULL: none. */
void *store_get(struct store *s, uint64_t key, size_t *n);
void store_put(struct store *s, uint64_t key, const void *data, size_t n);

#endif
