/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * reduce: a tokenizer with fewer pieces, and what has to stay for it to read
 * every text that the larger one reads.
 *
 * Ids of the smaller one are numbered anew without gaps, in the same order.
 * Where all that is needed stays (struct token_needs), it has three properties:
 * what was readable is readable, by single characters or bytes at worst; every
 * piece can still come out of a text; and a text whose pieces are all left has
 * the same pieces. The last is so for
 * - byte-pair encoding, because inside a piece's text joins go on as they would
 *   in that text alone, so they need the pieces on the way and nothing else, and
 *   a best join that is still there is still the best;
 * - Unigram, because the best way among all is the best among fewer that hold
 *   it, where what an unknown character costs is the same: the piece of the
 *   lowest score stays;
 * - WordPiece, because the longest piece of all is the longest of fewer.
 */
#ifndef PARE_TEXT_REDUCE_H
#define PARE_TEXT_REDUCE_H

#include "text/tokenizer.h"
#include "text/tokenizer_write.h"

struct token_needs {
	int64_t n;		/* ids, those without a piece too */
	bool *piece;		/* some text can be cut into it */
	bool *always;		/* special and added tokens, bytes, characters,
				 * the piece that unknown characters cost by */
	int32_t (*parent)[2];	/* of byte-pair encoding: the two that have to
				 * stay where this one does; -1: none */
};

/* Of ids below rows. PARE_ENOMEM. Owned by the caller. */
enum pare_rc token_needs_find(const struct tokenizer *t, int64_t rows,
    struct token_needs *out, struct pare_err *err);
void token_needs_free(struct token_needs *n);

/*
 * The pieces id[0..n), ascending. Shares what does not change with t, which lives
 * on as long as either does. PARE_EUSER when a special token is missing.
 */
struct tokenizer *tokenizer_reduce(const struct tokenizer *t,
    const int32_t *id, int64_t n, struct pare_err *err);

/*
 * The files of a folder of a reduced tokenizer (*n of them): those of dir, which
 * its larger one was read from, without the pieces that went. Where dir is a
 * GGUF file the files that tokenizer_make_files() makes. PARE_EIO, PARE_EFORMAT.
 */
enum pare_rc tokenizer_reduce_files(const struct tokenizer *t,
    const char *dir, struct tokenizer_file out[TOKENIZER_FILES], int *n,
    struct pare_err *err);

#endif
