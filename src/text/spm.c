/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/spm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SPACE "\xe2\x96\x81"

static enum pare_rc
check_piece(const struct spm_piece *p, int id, const char *where,
    struct pare_err *err)
{
	if (p->n == 0 || !uni_valid(p->s, p->n) ||
	    memchr(p->s, '\0', p->n) != NULL)
		return err_set(err, PARE_EFORMAT, "%s: piece %d is empty or "
		    "no text", where, id);
	if (p->type < SPM_NORMAL || p->type > SPM_BYTE)
		return err_set(err, PARE_EFORMAT, "%s: piece %d has an "
		    "unknown type", where, id);
	if (!isfinite(p->score))
		return err_set(err, PARE_EFORMAT,
		    "%s: the score of piece %d is not finite", where, id);
	return PARE_OK;
}

/* Control and user-defined pieces are found in the text as a whole. */
static enum pare_rc
add_special(struct tokenizer *t, const struct spm_piece *p, int id,
    const char *where, struct pare_err *err)
{
	struct added_token a = { .id = id };
	enum pare_rc rc;

	a.text = xstrndup(p->s, p->n);
	a.n = p->n;
	rc = added_add(t, &a, where, err);
	free(a.text);
	return rc;
}

static enum pare_rc
add_pieces(struct tokenizer *t, const struct spm *m, const char *where,
    struct pare_err *err)
{
	t->lowest = 0.0f;
	for (int i = 0; i < m->n; i++) {
		const struct spm_piece *p = &m->piece[i];

		if (check_piece(p, i, where, err) != PARE_OK)
			return PARE_EFORMAT;
		vocabulary_add(t, i, p->s, p->n);
		t->score[i] = p->score;
		t->byte_fallback = t->byte_fallback || p->type == SPM_BYTE;
		if (p->type == SPM_NORMAL && p->score < t->lowest)
			t->lowest = p->score;
		if (p->type == SPM_UNKNOWN && t->unknown < 0)
			t->unknown = i;
	}
	for (int i = 0; i < m->n; i++) {
		int type = m->piece[i].type;

		if ((type == SPM_CONTROL || type == SPM_USER) &&
		    add_special(t, &m->piece[i], i, where, err) != PARE_OK)
			return PARE_EFORMAT;
	}
	vocabulary_find_bytes(t);
	return PARE_OK;
}

static enum pare_rc
add_steps(struct tokenizer *t, const struct spm *m, const char *where,
    struct pare_err *err)
{
	struct pipeline *p = &t->pipeline;
	struct norm_step *s;

	if (m->ncharsmap > 0) {
		s = pipeline_add_norm(p, NORM_CHARSMAP, NULL, NULL, where,
		    err);
		if (s == NULL)
			return err->rc;
		s->map = charsmap_new(m->charsmap, m->ncharsmap, where, err);
		if (s->map == NULL)
			return err->rc;
	}
	if (m->remove_spaces && pipeline_add_norm(p, NORM_SPACES, NULL, NULL,
	    where, err) == NULL)
		return err->rc;
	if (m->dummy_prefix && pipeline_add_norm(p, NORM_PREPEND, " ", NULL,
	    where, err) == NULL)
		return err->rc;
	return pipeline_add_norm(p, NORM_REPLACE, " ", SPACE, where, err) !=
	    NULL ? PARE_OK : err->rc;
}

struct tokenizer *
spm_tokenizer(const struct spm *m, const char *where, struct pare_err *err)
{
	struct tokenizer *t;
	size_t bytes = 0;

	if (m->n == 0) {
		err_set(err, PARE_EFORMAT, "%s: the vocabulary is empty",
		    where);
		return NULL;
	}
	for (int i = 0; i < m->n; i++)
		bytes += m->piece[i].n;
	t = vocabulary_new(m->n, bytes, err);
	if (t == NULL)
		return NULL;
	t->model = m->unigram ? TOKENS_UNIGRAM : TOKENS_SCORES;
	t->byte_fallback = m->byte_fallback;
	t->fuse_unknown = true;
	t->score = mem_big_zero((size_t)m->n, sizeof(*t->score), err);
	template_bare(t);
	if (t->score != NULL && add_pieces(t, m, where, err) == PARE_OK &&
	    add_steps(t, m, where, err) == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}
