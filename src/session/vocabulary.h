/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * vocabulary: the tokenizer and the samples of a state whose tokens are not all
 * that the opened model has. s->tokenizer and s->data[] are always those of one
 * vocabulary, s->tokens says which; vocabulary_use() changes it, and what was in
 * use is kept aside. Private to src/session.
 */
#ifndef PARE_SESSION_VOCABULARY_H
#define PARE_SESSION_VOCABULARY_H

#include "session/session.h"

/*
 * From now on s->tokenizer and s->data[] are those of m. What m's vocabulary did
 * not need before is made: the tokenizer, and the samples, which are read again.
 * What cannot be read is NULL afterwards and told in notes (may be NULL).
 * PARE_ECANCELED, PARE_ENOMEM: all is as it was. Sets that were borrowed before
 * stay until the next `data` or `open`.
 */
enum pare_rc vocabulary_use(struct session *s, const struct model *m,
    struct notes *notes, struct task *task, struct pare_err *err);

/*
 * The original with the tokens of m alone: what m can be compared with token by
 * token. Borrowed until the next call for another vocabulary.
 */
enum pare_rc vocabulary_original(struct session *s, const struct model *m,
    const struct model **out, struct pare_err *err);
/* The tokenizer of a model of the history, borrowed; NULL: it has none, or none
 * was needed yet. */
const struct tokenizer *vocabulary_tokenizer(const struct session *s,
    const struct model *m);

/* Frees what is aside: all of it, for another model; a role's samples, which
 * were loaded or cut anew. */
void vocabulary_clear(struct session *s);
void vocabulary_drop(struct session *s, enum data_role role);

#endif
