/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * arg: the grammar of a command line as data.
 *
 * A line is `VERB [METHOD] [WORD...] [key=value...]`. Each command and each op
 * has one table of struct arg_spec; the parser, help, completion, man pages,
 * TUI forms and range checks all read that table. Words are separated by blanks;
 * '...' and "..." quote, \ escapes one character outside '...'; # starts a
 * comment at a word's beginning.
 */
#ifndef PARE_BASE_ARG_H
#define PARE_BASE_ARG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum arg_type {
	ARG_INT,	/* integer in [min, max] */
	ARG_REAL,	/* number in [min, max]; "30%" is 0.3 */
	ARG_AMOUNT,	/* "30%" (a share, 0 to 100 %) or a count */
	ARG_CHOICE,	/* one of choices */
	ARG_BOOL,	/* on|off|yes|no|true|false; bare key means on */
	ARG_TEXT,	/* anything */
	ARG_TARGET,	/* a selector of model parts, see model/select.h */
	ARG_FILE,	/* a path */
	ARG_STATE,	/* a state of the history: number, mark, or "original" */
	ARG_LIMIT,	/* name<=BOUND: 20MB, 3ms, 1.5pt by the unit ("bytes",
			 * "macs", "ms", "points"); but for points also 25% or 4x:
			 * that share, or one of so many parts; points also as
			 * 2% or 0.02bpb, which s tells apart. name=BOUND is
			 * accepted too */
	ARG_TYPE_COUNT
};

enum arg_flag {
	ARG_REQUIRED = 1,
	ARG_WORD = 2,	/* given by position, not as key=value (in table order);
			 * key=value is accepted too */
	ARG_REPEAT = 4,	/* the last ARG_WORD: takes all remaining words, joined
			 * by one space in arg_value.s */
	ARG_HIDDEN = 8,
	ARG_LIST = 16,	/* ARG_CHOICE: one or more of them, joined by commas,
			 * none twice; read them from arg_value.s */
	ARG_BOUND = 32	/* name<=value, name=value too; ARG_LIMIT is such
			 * without it */
};

struct arg_spec {
	const char *name;	/* as typed before '=' */
	enum arg_type type;
	unsigned flags;
	double min, max;	/* ARG_INT, ARG_REAL; both 0: no bounds */
	const char *dflt;	/* as typed; NULL: none */
	const char *const *choices;	/* NULL-terminated, ARG_CHOICE */
	const char *unit;	/* "samples", "bits"; NULL */
	const char *text;	/* one clause for help, no period */
};
/* A table of specs ends with a row whose name is NULL. */

/* What stands between a name and its value: "=", or "<=" of bounds. */
const char *arg_sign(const struct arg_spec *s);

enum { ARG_MAX = 24 };

struct arg_value {
	bool set;	/* given on the line (else the default, if any) */
	bool has;	/* has a value at all */
	int64_t i;	/* ARG_INT, ARG_BOOL, index of ARG_CHOICE, count of AMOUNT */
	double d;	/* ARG_REAL, ARG_LIMIT; share of those two and of
			 * ARG_AMOUNT when is_share */
	bool is_share;	/* ARG_AMOUNT was a percentage; ARG_LIMIT 25% or 4x */
	char *s;	/* the text as typed (unquoted); owned by the arg_list */
};

/* Values in the order of the spec table. arg_list_free() when done. */
struct arg_list {
	const struct arg_spec *spec;
	int n;
	struct arg_value v[ARG_MAX];
};

/* A line cut into words. */
struct arg_words {
	int n;
	char **word;	/* unquoted, owned */
	bool *quoted;	/* began with a quote: never read as key=value */
};

/* PARE_EUSER on an unclosed quote, over 10,000 words or over 1 MiB. */
enum pare_rc arg_split(const char *line, struct arg_words *out,
    struct pare_err *err);
void arg_words_free(struct arg_words *w);

/*
 * Words from index `first` on, against spec. On error *out needs no freeing and
 * the message names the argument, what was given and what is allowed.
 */
enum pare_rc arg_parse(const struct arg_spec *spec, const struct arg_words *w,
    int first, struct arg_list *out, struct pare_err *err);
void arg_list_free(struct arg_list *a);

/* One value from text, as arg_parse() does; for defaults, forms and tests. */
enum pare_rc arg_parse_value(const struct arg_spec *spec, const char *text,
    struct arg_value *out, struct pare_err *err);
void arg_value_free(struct arg_value *v);

/* The value called name; it is the programmer's mistake if there is none. */
const struct arg_value *arg_get(const struct arg_list *a, const char *name);
const char *arg_text(const struct arg_list *a, const char *name);  /* or NULL */
int64_t arg_int(const struct arg_list *a, const char *name);
double arg_real(const struct arg_list *a, const char *name);
/* The chosen word of an ARG_CHOICE. */
const char *arg_choice(const struct arg_list *a, const char *name);

/* How many of `total` an ARG_AMOUNT asks for: round(share * total) or the count,
 * at most total. */
int64_t arg_amount(const struct arg_value *v, int64_t total);

/* Quotes a word so that arg_split() gives it back; malloc'ed. */
char *arg_quote(const char *word);

#endif
