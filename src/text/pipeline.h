/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pipeline: what happens to a text before a model cuts it into pieces, as
 * tokenizer.json describes it: a list of normalisers on the text, then a list of
 * pre-tokenisers that cut it into words. Private to src/text.
 */
#ifndef PARE_TEXT_PIPELINE_H
#define PARE_TEXT_PIPELINE_H

#include "text/charsmap.h"
#include "text/unicode.h"

enum norm_kind {
	NORM_REPLACE,	/* every `text` by `with` */
	NORM_PREPEND,	/* `text`, before a text that is not empty */
	NORM_LOWER,
	NORM_FORM,	/* Unicode normal form, form in `option` */
	NORM_ACCENTS,	/* without nonspacing marks (after NFD or NFKD) */
	NORM_STRIP,	/* white space; option 1: left, 2: right, 3: both */
	NORM_SPACES,	/* runs of spaces become one (SentencePiece) */
	NORM_CHARSMAP	/* SentencePiece's compiled map */
};
enum norm_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };

struct norm_step {
	enum norm_kind kind;
	int option;
	char *text, *with;	/* owned */
	struct regex *regex;	/* NORM_REPLACE by pattern; owned */
	struct charsmap *map;	/* owned */
};

enum pre_kind {
	PRE_SPLIT,	/* at matches of a pattern */
	PRE_BYTES,	/* every byte becomes a printable character */
	PRE_METASPACE,	/* spaces become `text`, words begin with it */
	PRE_DIGITS,	/* digits are cut off; option 1: each alone */
	PRE_SPACE	/* at white space, which is dropped */
};
/* What becomes of a match of PRE_SPLIT. */
enum split_rule { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_WITH_PREVIOUS,
	SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS };
/* Where PRE_METASPACE and PRE_BYTES put a space before the text. */
enum prepend_rule { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct pre_step {
	enum pre_kind kind;
	int option;		/* enum split_rule; of PRE_METASPACE: split */
	bool invert;		/* PRE_SPLIT: what does not match is the match */
	enum prepend_rule prepend;
	char *text;		/* owned; PRE_SPLIT: the pattern */
	struct regex *regex;	/* owned */
};

enum { PIPELINE_STEPS = 32 };
struct pipeline {
	struct norm_step norm[PIPELINE_STEPS];
	int nnorm;
	struct pre_step pre[PIPELINE_STEPS];
	int npre;
};

void pipeline_free(struct pipeline *p);

/* Runs the normalisers on valid UTF-8; the result is appended to out. */
enum pare_rc pipeline_normalize(const struct pipeline *p, const char *s,
    size_t n, struct uni_bytes *out, struct pare_err *err);

/* Runs the pre-tokenisers and hands each word to fn. first: the text is the
 * beginning of what the user gave, not what follows a special token. */
typedef enum pare_rc pipeline_word(void *ctx, const char *s, size_t n,
    struct pare_err *err);
enum pare_rc pipeline_cut(const struct pipeline *p, const char *s, size_t n,
    bool first, pipeline_word *fn, void *ctx, struct pare_err *err);

/* ---- regex.c: PCRE2 with Unicode classes and a bound on the work ---- */

struct regex;
/* NULL with PARE_EFORMAT naming `where`. literal: the text as it is. */
struct regex *regex_new(const char *pattern, bool literal, const char *where,
    struct pare_err *err);
void regex_free(struct regex *r);	/* NULL is fine */
/* The first match at or after from: its range. 1 found, 0 not, -1 error (the
 * pattern takes too long on this text). */
int regex_find(const struct regex *r, const char *s, size_t n, size_t from,
    size_t *begin, size_t *end);

/* ---- byte_level.c: bytes as printable characters, GPT-2's map ---- */

int32_t byte_level_char(unsigned char byte);
/* -1: the character stands for no byte. */
int byte_level_byte(int32_t cp);

#endif
