/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/edit.h"
#include "session/work.h"
#include "text/reduce.h"

/* What belongs to a vocabulary while another one is in use. */
struct aside {
	struct token_map *tokens;	/* NULL: the opened model's */
	struct tokenizer *tokenizer;
	struct dataset *data[ROLE_COUNT];
};

struct asides {
	int n;
	struct aside one[];
};

static void
aside_free(struct aside *a)
{
	token_map_unref(a->tokens);
	tokenizer_free(a->tokenizer);
	for (int r = 0; r < ROLE_COUNT; r++)
		dataset_free(a->data[r]);
	memset(a, 0, sizeof(*a));
}

void
vocabulary_clear(struct session *s)
{
	for (int i = 0; s->aside != NULL && i < s->aside->n; i++)
		aside_free(&s->aside->one[i]);
	free(s->aside);
	s->aside = NULL;
	token_map_unref(s->tokens);
	s->tokens = NULL;
	model_unref(s->reference);
	s->reference = NULL;
}

void
vocabulary_drop(struct session *s, enum data_role role)
{
	for (int i = 0; s->aside != NULL && i < s->aside->n; i++) {
		dataset_free(s->aside->one[i].data[role]);
		s->aside->one[i].data[role] = NULL;
	}
}

static struct aside *
find(const struct session *s, const struct token_map *tokens)
{
	for (int i = 0; s->aside != NULL && i < s->aside->n; i++)
		if (token_map_same(s->aside->one[i].tokens, tokens))
			return &s->aside->one[i];
	return NULL;
}

const struct dataset *
session_data(const struct session *s, const struct model *m,
    enum data_role role)
{
	const struct aside *a;

	if (m == NULL || token_map_same(s->tokens, m->tokens))
		return s->data[role];
	a = find(s, m->tokens);
	return a != NULL ? a->data[role] : NULL;
}

static const struct tokenizer *
tokenizer_of(const struct session *s, const struct token_map *tokens)
{
	const struct aside *a;

	if (token_map_same(s->tokens, tokens))
		return s->tokenizer;
	a = find(s, tokens);
	return a != NULL ? a->tokenizer : NULL;
}

const struct tokenizer *
vocabulary_tokenizer(const struct session *s, const struct model *m)
{
	return tokenizer_of(s, m->tokens);
}

/* A set of the same samples under any vocabulary. */
static const struct dataset *
any_data(const struct session *s, enum data_role role)
{
	if (s->data[role] != NULL)
		return s->data[role];
	for (int i = 0; s->aside != NULL && i < s->aside->n; i++)
		if (s->aside->one[i].data[role] != NULL)
			return s->aside->one[i].data[role];
	return NULL;
}

/* Samples are read again, for their texts are cut otherwise; but they must be
 * the same. */
static enum pare_rc
read_role(const struct session *s, const struct model *m, struct aside *a,
    enum data_role role, struct task *task, struct pare_err *err)
{
	const struct dataset *same = any_data(s, role);
	enum pare_rc rc = work_read_data(s, role, m, a->tokenizer,
	    &a->data[role], task, err);

	if (rc != PARE_OK || same == NULL ||
	    a->data[role]->content == same->content)
		return rc;
	dataset_free(a->data[role]);
	a->data[role] = NULL;
	err_set(err, PARE_EIO, "the file has changed since it was loaded");
	return err_hint(err, "load it again: data FILE");
}

static enum pare_rc
fill(const struct session *s, const struct model *m, struct aside *a,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct tokenizer *t = tokenizer_of(s, NULL);
	struct pare_err why;

	if (a->tokenizer == NULL && t != NULL && m->tokens != NULL) {
		a->tokenizer = tokenizer_reduce(t, m->tokens->id,
		    m->tokens->n, &why);
		if (a->tokenizer == NULL && why.rc == PARE_ENOMEM) {
			*err = why;
			return why.rc;
		}
		if (a->tokenizer == NULL && notes != NULL)
			notes_add(notes, "no tokenizer: %s", why.msg);
	}
	for (int r = 0; r < ROLE_COUNT; r++) {
		if (s->source[r].path == NULL || a->data[r] != NULL ||
		    a->tokenizer == NULL || read_role(s, m, a, r, task,
		    &why) == PARE_OK)
			continue;
		if (why.rc == PARE_ECANCELED || why.rc == PARE_ENOMEM) {
			*err = why;
			return why.rc;
		}
		if (notes != NULL)
			notes_add(notes, "'%s' is set aside: %s",
			    s->source[r].path, why.msg);
	}
	return PARE_OK;
}

/* The place of a vocabulary, empty where it is new. */
static struct aside *
place(struct session *s, struct token_map *tokens)
{
	struct aside *a = find(s, tokens);
	int n = s->aside != NULL ? s->aside->n : 0;

	if (a != NULL)
		return a;
	s->aside = xrealloc(s->aside, sizeof(*s->aside) +
	    (size_t)(n + 1) * sizeof(s->aside->one[0]));
	s->aside->n = n + 1;
	a = &s->aside->one[n];
	*a = (struct aside){ .tokens = token_map_ref(tokens) };
	return a;
}

enum pare_rc
vocabulary_use(struct session *s, const struct model *m, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	struct aside *a, old;
	enum pare_rc rc;

	if (m == NULL || token_map_same(s->tokens, m->tokens))
		return PARE_OK;
	a = place(s, m->tokens);
	rc = fill(s, m, a, notes, task, err);
	if (rc != PARE_OK)
		return rc;
	old = (struct aside){ .tokens = s->tokens,
		.tokenizer = s->tokenizer };
	memcpy(old.data, s->data, sizeof(old.data));
	s->tokens = a->tokens;
	s->tokenizer = a->tokenizer;
	memcpy(s->data, a->data, sizeof(s->data));
	*a = old;
	return PARE_OK;
}

/* The opened model cut to the tokens of m. */
static enum pare_rc
cut_original(const struct model *first, const struct token_map *tokens,
    struct model **out, struct pare_err *err)
{
	int64_t *id = mem_big((size_t)tokens->n, sizeof(*id), err);
	struct edit *e;
	enum pare_rc rc;

	if (id == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < tokens->n; i++)
		id[i] = tokens->id[i];
	e = edit_begin(first, EDIT_REAL, 0, NULL);
	rc = edit_keep_tokens(e, id, tokens->n, err);
	free(id);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

enum pare_rc
vocabulary_original(struct session *s, const struct model *m,
    const struct model **out, struct pare_err *err)
{
	const struct model *first = s->history.state[0].model;
	struct model *cut;

	*out = first;
	if (token_map_same(first->tokens, m->tokens))
		return PARE_OK;
	if (s->reference == NULL || !token_map_same(s->reference->tokens,
	    m->tokens)) {
		if (cut_original(first, m->tokens, &cut, err) != PARE_OK)
			return err != NULL ? err->rc : PARE_ENOMEM;
		model_unref(s->reference);
		s->reference = cut;
	}
	*out = s->reference;
	return PARE_OK;
}
