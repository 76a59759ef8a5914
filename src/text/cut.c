/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is asked of a model of tokens: windows of documents, and hidden tokens.
 *
 * Cutting makes all new samples before it lets the old ones go, so that a set is
 * never half cut. The bytes behind a token are what decoding it adds to the text
 * that came before, so that a blank which is written into a piece counts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "text/dataset.h"
#include "text/table.h"

enum { CONTEXT_MOST = 512, CONTEXT_LEAST = 16, WINDOWS_WANTED = 8,
	MASKED_PERCENT = 15 };

/* ---- tokens as text ---- */

/* Bytes of text of every id, worked out when they are asked for. */
struct lengths {
	const struct tokenizer *t;
	int64_t n;
	int16_t *of;	/* -1: not known yet */
};

static enum pare_rc
lengths_open(struct lengths *l, const struct tokenizer *t,
    struct pare_err *err)
{
	l->t = t;
	l->n = tokenizer_size(t);
	l->of = mem_big((size_t)l->n, sizeof(*l->of), err);
	if (l->of == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < l->n; i++)
		l->of[i] = -1;
	return PARE_OK;
}

/* What a second one adds: the first of a text may lose its blank. */
static int
length_of(struct lengths *l, int32_t id)
{
	const int32_t twice[] = { id, id };
	struct str b = STR_INIT;
	size_t one;

	if (id < 0 || id >= l->n)
		return 0;
	if (l->of[id] < 0) {
		tokenizer_decode(l->t, twice, 1, false, &b);
		one = b.n;
		str_clear(&b);
		tokenizer_decode(l->t, twice, 2, false, &b);
		l->of[id] = b.n < one ? 0 : b.n - one > INT16_MAX ?
		    INT16_MAX : (int16_t)(b.n - one);
		str_free(&b);
	}
	return l->of[id];
}

/* The text of tokens as valid UTF-8 in one line; malloc'ed. */
static enum pare_rc
spell(const struct tokenizer *t, const int32_t *id, int64_t n, char **out,
    struct pare_err *err)
{
	struct uni_bytes clean = { 0 };
	struct str b = STR_INIT;
	int64_t bad = 0;
	enum pare_rc rc;

	tokenizer_decode(t, id, n, false, &b);
	rc = table_clean(b.s, b.n, &clean, &bad, err);
	str_free(&b);
	if (rc == PARE_OK) {
		*out = xmalloc(clean.n + 1);
		if (clean.n > 0)
			memcpy(*out, clean.p, clean.n);
		(*out)[clean.n] = '\0';
		for (char *s = *out; (s = strpbrk(s, "\t\r\n")) != NULL;)
			*s = ' ';
	}
	free(clean.p);
	return rc;
}

/* ---- windows ---- */

struct cutter {
	struct dataset *d;
	const struct tokenizer *t;
	struct dataset_cut how;
	struct lengths length;
	int64_t n, cap;
	struct sample *sample;
	struct pare_err *err;
};

static void
free_samples(struct sample *s, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		free(s[i].text);
		free(s[i].pair);
		free(s[i].gold);
		free(s[i].scored);
		tokens_free(&s[i].tokens);
	}
	free(s);
}

static enum pare_rc
grow(struct cutter *c)
{
	int64_t cap = c->cap == 0 ? 64 : 2 * c->cap;
	struct sample *p;

	if (c->n < c->cap)
		return PARE_OK;
	p = mem_big((size_t)cap, sizeof(*p), c->err);
	if (p == NULL)
		return PARE_ENOMEM;
	if (c->n > 0)
		memcpy(p, c->sample, (size_t)c->n * sizeof(*p));
	free(c->sample);
	c->sample = p;
	c->cap = cap;
	return PARE_OK;
}

/* Scores the tokens from position `from` on. */
static void
score_from(struct cutter *c, struct sample *s, int from)
{
	s->nscored = from < s->tokens.n ? s->tokens.n - from : 0;
	s->scored = xmalloc((size_t)s->nscored * sizeof(*s->scored) + 1);
	for (int k = 0; k < s->nscored; k++) {
		s->scored[k] = from + k;
		s->scored_bytes += length_of(&c->length,
		    s->tokens.id[from + k]);
	}
}

/* The window of doc from `begin` to `end`: scored from position `from` of it,
 * shown from position `show` of it. */
static enum pare_rc
add_window(struct cutter *c, const struct document *doc, int64_t begin,
    int64_t end, int from, int show)
{
	struct sample s = { .label = -1, .score = (double)NAN,
		.line = doc->line };
	size_t n = (size_t)(end - begin);
	int32_t bos = tokenizer_bos(c->t);
	enum pare_rc rc = grow(c);

	if (rc != PARE_OK)
		return rc;
	s.tokens.id = mem_big(n, sizeof(*s.tokens.id), c->err);
	s.tokens.type = mem_big_zero(n, sizeof(*s.tokens.type), c->err);
	if (s.tokens.id == NULL || s.tokens.type == NULL) {
		tokens_free(&s.tokens);
		return PARE_ENOMEM;
	}
	s.tokens.n = (int)n;
	memcpy(s.tokens.id, doc->tokens.id + begin, n * sizeof(*s.tokens.id));
	rc = spell(c->t, s.tokens.id + show, (int64_t)n - show, &s.text,
	    c->err);
	if (rc != PARE_OK) {
		tokens_free(&s.tokens);
		return rc;
	}
	if (c->how.custom == CUT_CHUNKS && bos >= 0 &&
	    doc->tokens.id[0] == bos)
		s.tokens.id[0] = bos;
	s.hash = hash_text(s.text, 0);
	score_from(c, &s, from);
	c->sample[c->n++] = s;
	return PARE_OK;
}

static enum pare_rc
cut_chunks(struct cutter *c, const struct document *doc)
{
	int64_t context = c->how.context, n = doc->tokens.n / context;
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < n && rc == PARE_OK; i++)
		rc = add_window(c, doc, i * context, (i + 1) * context,
		    (int)(context / 2 + 1), 0);
	return rc;
}

static enum pare_rc
cut_stride(struct cutter *c, const struct document *doc)
{
	int64_t done = 0, n = doc->tokens.n;
	enum pare_rc rc = PARE_OK;

	for (int64_t begin = 0; done < n && rc == PARE_OK;
	    begin += c->how.stride) {
		int64_t end = begin + c->how.context;
		int show = (int)(done - begin);

		end = end < n ? end : n;
		rc = add_window(c, doc, begin, end, show > 0 ? show : 1,
		    show);
		done = end;
	}
	return rc;
}

static int64_t
count_tokens(const struct dataset *d)
{
	int64_t n = 0;

	for (int64_t i = 0; i < d->ndocs; i++)
		n += d->doc[i].tokens.n;
	return n;
}

/* The context that nobody named. */
static int
choose_context(const struct dataset *d, int most)
{
	int64_t windows, context = CONTEXT_MOST;

	for (;; context /= 2) {
		windows = 0;
		for (int64_t i = 0; i < d->ndocs; i++)
			windows += d->doc[i].tokens.n / context;
		if ((windows >= WINDOWS_WANTED && context <= most) ||
		    context <= CONTEXT_LEAST)
			break;
	}
	context = context < most ? context : most;
	if (windows > 0)
		return (int)context;
	/* Nothing is as long: what there is, in one window. */
	for (int64_t i = 0; i < d->ndocs; i++)
		windows = d->doc[i].tokens.n > windows ? d->doc[i].tokens.n :
		    windows;
	return (int)(windows < context ? windows : context);
}

static enum pare_rc
check_windows(struct cutter *c)
{
	struct dataset_cut *how = &c->how;

	if (how->context == 0)
		how->context = choose_context(c->d, how->most);
	if (how->stride == 0)
		how->stride = how->context > 1 ? how->context / 2 : 1;
	if (how->custom != CUT_STRIDE)
		how->stride = how->context;
	if (how->context > how->most) {
		err_set(c->err, PARE_EUSER, "context: %d tokens, but the "
		    "model reads at most %d", how->context, how->most);
		return err_hint(c->err, "context=%d", how->most);
	}
	if (how->stride > how->context)
		return err_set(c->err, PARE_EUSER, "stride: %d tokens would "
		    "leave out some: a window has %d", how->stride,
		    how->context);
	return PARE_OK;
}

/* Keeps `limit` windows, drawn at random, in their order. */
static void
draw_windows(struct cutter *c)
{
	int64_t *list, n = 0, limit = c->d->limit;
	struct rng rng;
	bool *keep;

	if (limit <= 0 || limit >= c->n)
		return;
	list = xmalloc((size_t)c->n * sizeof(*list));
	keep = xcalloc((size_t)c->n, sizeof(*keep));
	for (int64_t i = 0; i < c->n; i++)
		list[i] = i;
	rng_seed(&rng, c->d->seed);
	rng_shuffle(&rng, list, c->n);
	for (int64_t i = 0; i < limit; i++)
		keep[list[i]] = true;
	for (int64_t i = 0; i < c->n; i++) {
		if (keep[i]) {
			c->sample[n++] = c->sample[i];
			continue;
		}
		free(c->sample[i].text);
		free(c->sample[i].scored);
		tokens_free(&c->sample[i].tokens);
	}
	c->n = n;
	free(list);
	free(keep);
}

static enum pare_rc
too_short(const struct cutter *c)
{
	int64_t tokens = count_tokens(c->d);

	err_set(c->err, PARE_EUSER, "%s: the text has %lld token%s%s: at least "
	    "%d are needed", c->d->path, (long long)tokens, tokens == 1 ? "" :
	    "s", c->d->ndocs > 1 ? " in all, no document enough" : "",
	    c->how.custom == CUT_CHUNKS && c->how.context > 3 ?
	    c->how.context : c->how.custom == CUT_CHUNKS ? 3 : 2);
	return err_hint(c->err, "a smaller context=, or a longer text");
}

/* Hash of what evaluation depends on, and running numbers. */
static void
settle(struct dataset *d)
{
	const struct dataset_cut *c = &d->cut;
	uint64_t how[] = { (uint64_t)c->custom, (uint64_t)c->context,
		(uint64_t)c->stride, c->custom == CUT_MASKED ? c->seed : 0 };

	d->nscored = 0;
	d->hash = hash_bytes(how, sizeof(how), d->content);
	for (int64_t i = 0; i < d->n; i++) {
		struct sample *s = &d->sample[i];

		s->scored_at = d->nscored;
		d->nscored += s->nscored;
		d->hash = hash_bytes(s->tokens.id, (size_t)s->tokens.n *
		    sizeof(*s->tokens.id), d->hash);
		if (s->nscored > 0)
			d->hash = hash_bytes(s->scored, (size_t)s->nscored *
			    sizeof(*s->scored), d->hash);
	}
}

static enum pare_rc
cut_text(struct cutter *c)
{
	struct dataset *d = c->d;
	enum pare_rc rc = check_windows(c);
	int64_t scored = 0;

	for (int64_t i = 0; i < d->ndocs && rc == PARE_OK; i++)
		if (d->doc[i].tokens.n > 0)
			rc = c->how.custom == CUT_CHUNKS ?
			    cut_chunks(c, &d->doc[i]) :
			    cut_stride(c, &d->doc[i]);
	for (int64_t i = 0; i < c->n; i++)
		scored += c->sample[i].nscored;
	if (rc == PARE_OK && scored == 0)
		rc = too_short(c);
	if (rc != PARE_OK) {
		free_samples(c->sample, c->n);
		return rc;
	}
	draw_windows(c);
	free_samples(d->sample, d->n);
	d->sample = c->sample;
	d->n = c->n;
	return PARE_OK;
}

/* ---- hidden tokens ---- */

static enum pare_rc
find_mask(const struct cutter *c, int32_t *out)
{
	for (int64_t i = 0; i < c->length.n; i++) {
		const char *s = tokenizer_piece(c->t, (int32_t)i);

		if (s != NULL && (strcmp(s, "[MASK]") == 0 ||
		    strcmp(s, "<mask>") == 0)) {
			*out = (int32_t)i;
			return PARE_OK;
		}
	}
	return err_set(c->err, PARE_EUSER, "the tokenizer has no mask token");
}

static int
compare_positions(const void *a, const void *b)
{
	const int32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Tokens that stand for no text are not asked for. */
static void
hide(struct cutter *c, struct sample *s)
{
	int64_t *at = xmalloc((size_t)s->tokens.n * sizeof(*at) + 1), n = 0;
	struct rng rng;

	for (int i = 0; i < s->tokens.n; i++)
		if (length_of(&c->length, s->tokens.id[i]) > 0)
			at[n++] = i;
	rng_seed(&rng, rng_derive(c->how.seed, s->hash));
	rng_shuffle(&rng, at, n);
	s->nscored = n == 0 ? 0 : (int)((n * MASKED_PERCENT + 50) / 100);
	s->nscored = n > 0 && s->nscored == 0 ? 1 : s->nscored;
	free(s->scored);
	s->scored = xmalloc((size_t)s->nscored * sizeof(*s->scored) + 1);
	s->scored_bytes = 0;
	for (int k = 0; k < s->nscored; k++) {
		s->scored[k] = (int32_t)at[k];
		s->scored_bytes += length_of(&c->length, s->tokens.id[at[k]]);
	}
	qsort(s->scored, (size_t)s->nscored, sizeof(*s->scored),
	    compare_positions);
	free(at);
}

static enum pare_rc
hide_all(struct cutter *c)
{
	int32_t mask = 0;
	enum pare_rc rc = find_mask(c, &mask);

	if (rc != PARE_OK)
		return rc;
	for (int64_t i = 0; i < c->d->n; i++)
		hide(c, &c->d->sample[i]);
	c->d->mask = mask;
	return PARE_OK;
}

enum pare_rc
dataset_cut(struct dataset *d, const struct tokenizer *t,
    const struct dataset_cut *how, struct pare_err *err)
{
	struct cutter c = { .d = d, .t = t, .how = *how, .err = err };
	enum pare_rc rc;

	if (!d->encoded)
		return err_set(err, PARE_EUSER, "%s: the samples were not "
		    "tokenized", d->path);
	if (d->is_text != (how->custom == CUT_CHUNKS ||
	    how->custom == CUT_STRIDE))
		return err_set(err, PARE_EUSER, d->is_text ?
		    "%s: running text is cut into windows" :
		    "%s: rows are not cut into windows", d->path);
	rc = lengths_open(&c.length, t, err);
	if (rc == PARE_OK)
		rc = d->is_text ? cut_text(&c) : hide_all(&c);
	free(c.length.of);
	if (rc != PARE_OK)
		return rc;
	d->cut = c.how;
	settle(d);
	return PARE_OK;
}
