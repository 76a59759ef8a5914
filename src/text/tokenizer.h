/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokenizer: text to ids and back. One file per model (wordpiece.c, bpe.c,
 * unigram.c), chosen by the files of the model's folder: tokenizer.json, else
 * vocab.txt, vocab.json with merges.txt, tokenizer.model; or by the keys of a
 * GGUF file.
 */
#ifndef PARE_TEXT_TOKENIZER_H
#define PARE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tokenizer;	/* immutable after loading; any thread may encode */

/*
 * Loads the tokenizer of a model folder. rows is the number of embedding rows
 * (ids must be below). PARE_EFORMAT for a broken file; PARE_EUSER with the reason
 * when the kind is one pare does not know ("its tokenizer is BPE"), so that the
 * model still opens for everything that needs no text.
 */
struct tokenizer *tokenizer_load(const char *dir, int64_t rows,
    struct pare_err *err);
/* From the bytes of one file, for tests and fuzzing. name: "vocab.txt",
 * "tokenizer.json" or "tokenizer.model". */
struct tokenizer *tokenizer_parse(const char *name, const char *data, size_t n,
    bool lower_case, struct pare_err *err);
/* The same from vocab.json and merges.txt. */
struct tokenizer *tokenizer_parse_merges(const char *vocab, size_t nvocab,
    const char *merges, size_t n, struct pare_err *err);
void tokenizer_free(struct tokenizer *t);

struct tokens {
	int n;
	int32_t *id;	/* owned */
	int32_t *type;	/* segment, owned */
	int invalid;	/* bytes of invalid UTF-8 that were replaced */
	bool truncated;
};

/*
 * One text, or a pair when b is not NULL, with special tokens, cut to max ids by
 * longest-first as the fast reference does. special false: the bare pieces.
 */
enum pare_rc tokenizer_encode(const struct tokenizer *t, const char *a,
    size_t na, const char *b, size_t nb, int max, bool special,
    struct tokens *out, struct pare_err *err);
void tokens_free(struct tokens *t);

/* The text of a piece, borrowed; NULL when there is no such id. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id);
int64_t tokenizer_size(const struct tokenizer *t);
const char *tokenizer_kind(const struct tokenizer *t);	/* "WordPiece" */
bool tokenizer_lowers(const struct tokenizer *t);	/* WordPiece */
/* Longest input its configuration allows; 0: not said. */
int tokenizer_max_length(const struct tokenizer *t);
/* The ids that begin and end a text; -1: it has none. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
/* The text of n ids, appended to out as bytes (UTF-8 where the ids are whole
 * characters). Special tokens are left out unless special. */
struct str;
void tokenizer_decode(const struct tokenizer *t, const int32_t *id, int64_t n,
    bool special, struct str *out);
/* Content hash of vocabulary and settings. */
uint64_t tokenizer_hash(const struct tokenizer *t);

#endif
