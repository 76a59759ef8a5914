/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * err: how every function of pare reports that something went wrong.
 *
 * A function that can fail returns an enum pare_rc (or NULL for a constructor)
 * and fills the caller's struct pare_err: what happened and why (msg), and what
 * to type or do next (hint). On error the objects it was given are unchanged.
 * Nothing a user or a file can cause ends the process.
 *
 * Level: base. May be called from any thread; a struct pare_err belongs to its
 * caller and is not shared.
 */
#ifndef PARE_BASE_ERR_H
#define PARE_BASE_ERR_H

#include <stdarg.h>

#if defined(__GNUC__)
#define PARE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PARE_PRINTF(f, a)
#endif

/* The order is the exit-status table of err_exit_status(); append only. */
enum pare_rc {
	PARE_OK,
	PARE_EUSER,	/* the command cannot be done as asked */
	PARE_EUSAGE,	/* the program was started wrongly */
	PARE_EIO,	/* a file cannot be read */
	PARE_EFORMAT,	/* a file was read and is not what it should be */
	PARE_EWRITE,	/* a file cannot be written */
	PARE_EEXPECT,	/* an `expect` was false */
	PARE_ENOMEM,	/* a tensor or a batch does not fit in memory */
	PARE_ECANCELED,	/* the user stopped it */
	PARE_RC_COUNT
};

struct pare_err {
	enum pare_rc rc;
	char msg[512];	/* one line, no trailing newline or period */
	char hint[256];	/* one line: what to type next; may be empty */
};

/*
 * Fills *err (which may be NULL) and returns rc, so that
 * `return err_set(err, PARE_EUSER, "...")` reads well. Clears the hint.
 * Control characters in the formatted text are replaced by '?', for the text
 * often quotes a hostile file.
 */
enum pare_rc err_set(struct pare_err *err, enum pare_rc rc, const char *fmt,
    ...) PARE_PRINTF(3, 4);

/* Adds the hint to an error that err_set() filled; returns err->rc. */
enum pare_rc err_hint(struct pare_err *err, const char *fmt, ...)
    PARE_PRINTF(2, 3);

/* Puts "context: " before the message that is there; returns err->rc. */
enum pare_rc err_prefix(struct pare_err *err, const char *fmt, ...)
    PARE_PRINTF(2, 3);

/* The name scripts see in error.code, as "user" or "format". */
const char *err_code_name(enum pare_rc rc);

/* The exit status of the contract: 0, 1, 2, 3, 4, 5 or 130. */
int err_exit_status(enum pare_rc rc);

#endif
