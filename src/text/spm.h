/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * spm: what a SentencePiece model says, from whichever file; and the tokenizer
 * it makes. Private to src/text.
 */
#ifndef PARE_TEXT_SPM_H
#define PARE_TEXT_SPM_H

#include "text/vocabulary.h"

enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER, SPM_UNUSED,
	SPM_BYTE };

struct spm_piece {
	const char *s;		/* n bytes, borrowed */
	size_t n;
	float score;
	int type;		/* enum spm_type; else PARE_EFORMAT */
};

struct spm {
	int n;
	struct spm_piece *piece;
	bool unigram;		/* else BPE by scores */
	bool byte_fallback;	/* also when there are pieces of that type */
	bool dummy_prefix, remove_spaces;
	const void *charsmap;
	size_t ncharsmap;	/* 0: none */
};

/*
 * Pieces, the normaliser (charsmap, spaces to U+2581), control and user-defined
 * pieces as added tokens, the unknown piece. The template is bare: which special
 * tokens go around a text is not the model's to say. PARE_EFORMAT naming where.
 */
struct tokenizer *spm_tokenizer(const struct spm *m, const char *where,
    struct pare_err *err);

#endif
