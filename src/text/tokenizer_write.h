/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokenizer_write: a tokenizer in the files of other programs: as keys of a GGUF
 * file, and as the files of a model folder. What is written is read back as a
 * tokenizer that gives the same ids.
 */
#ifndef PARE_TEXT_TOKENIZER_WRITE_H
#define PARE_TEXT_TOKENIZER_WRITE_H

#include "file/gguf_write.h"
#include "text/tokenizer.h"

/*
 * Puts the tokenizer.ggml keys of t into w, for an embedding of `rows` rows (at
 * least as many as t has pieces; ids without a piece are unused). dir is the
 * folder that t was read from, or NULL: a tokenizer.model there has the scores
 * that a tokenizer.json lacks. PARE_EUSER with the reason where GGUF has no word
 * for t; w is then as it was.
 */
enum pare_rc tokenizer_put_gguf(const struct tokenizer *t, int64_t rows,
    const char *dir, struct gguf_writer *w, struct pare_err *err);

enum { TOKENIZER_FILES = 12 };
struct tokenizer_file {
	const char *name;	/* static */
	char *data;		/* owned, n bytes */
	size_t n;
};

/* The files of a folder that tokenizer_load() makes t of; returns how many. */
int tokenizer_make_files(const struct tokenizer *t,
    struct tokenizer_file out[TOKENIZER_FILES]);
void tokenizer_files_free(struct tokenizer_file *f, int n);

#endif
