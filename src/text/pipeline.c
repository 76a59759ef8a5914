/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Normalisers rewrite one buffer into another, step by step. Pre-tokenisers keep
 * a list of words over one buffer; a step makes a new list and, where it changes
 * bytes, a new buffer.
 *
 * A file may ask for steps that each make a text longer. What comes out is bound
 * to a multiple of what went in, far above what any script needs.
 */
#include "text/pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

/* Bytes out for bytes in. */
enum { GROWTH = 64, GROWTH_LEAST = 1 << 16 };

void
pipeline_free(struct pipeline *p)
{
	for (int i = 0; i < p->nnorm; i++) {
		free(p->norm[i].text);
		free(p->norm[i].with);
		regex_free(p->norm[i].regex);
		charsmap_free(p->norm[i].map);
	}
	for (int i = 0; i < p->npre; i++) {
		free(p->pre[i].text);
		regex_free(p->pre[i].regex);
	}
	memset(p, 0, sizeof(*p));
}

static enum pare_rc
put(struct uni_bytes *out, const char *s, size_t n, struct pare_err *err)
{
	enum pare_rc rc = uni_reserve(out, n, err);

	if (rc == PARE_OK && n > 0) {
		memcpy(out->p + out->n, s, n);
		out->n += n;
	}
	return rc;
}

static enum pare_rc
put_char(struct uni_bytes *out, int32_t cp, struct pare_err *err)
{
	char c[4];

	return put(out, c, uni_encode(cp, c), err);
}

/* ---- normalisers ----------------------------------------------------- */

static enum pare_rc
too_long(struct pare_err *err)
{
	return err_set(err, PARE_EUSER, "a pattern of the tokenizer takes too "
	    "long on this text");
}

/* Whether out is more than text of n bytes may become. */
static enum pare_rc
check_growth(const struct uni_bytes *out, size_t n, struct pare_err *err)
{
	if (out->n / GROWTH <= n + GROWTH_LEAST)
		return PARE_OK;
	return err_set(err, PARE_EUSER, "the steps of the tokenizer make a "
	    "text of %zu bytes more than %d times longer", n, GROWTH);
}

static enum pare_rc
norm_replace(const struct norm_step *s, const char *p, size_t n,
    struct uni_bytes *out, struct pare_err *err)
{
	size_t at = 0, begin, end;
	enum pare_rc rc = PARE_OK;
	int found;

	while (rc == PARE_OK && at < n &&
	    (found = regex_find(s->regex, p, n, at, &begin, &end)) != 0) {
		if (found < 0)
			return too_long(err);
		if (end == begin)
			break;
		rc = put(out, p + at, begin - at, err);
		if (rc == PARE_OK)
			rc = put(out, s->with, strlen(s->with), err);
		if (rc == PARE_OK)
			rc = check_growth(out, n, err);
		at = end;
	}
	return rc == PARE_OK ? put(out, p + at, n - at, err) : rc;
}

static enum pare_rc
norm_form(enum norm_form form, const char *p, size_t n, struct uni_bytes *out,
    struct pare_err *err)
{
	static const utf8proc_option_t options[] = {
		[FORM_NFC] = UTF8PROC_COMPOSE, [FORM_NFD] = UTF8PROC_DECOMPOSE,
		[FORM_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
		[FORM_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT
	};
	utf8proc_uint8_t *made = NULL;
	utf8proc_ssize_t k;
	enum pare_rc rc;

	k = utf8proc_map((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n,
	    &made, options[form] | UTF8PROC_STABLE);
	if (k < 0)
		return err_set(err, PARE_ENOMEM, "a text of %zu bytes cannot "
		    "be normalised: %s", n, utf8proc_errmsg(k));
	rc = put(out, (const char *)made, (size_t)k, err);
	free(made);
	return rc;
}

/* Lower case, or without accents, character by character. */
static enum pare_rc
norm_chars(enum norm_kind kind, const char *p, size_t n,
    struct uni_bytes *out, struct pare_err *err)
{
	int32_t lower[UNI_LOWER_MAX], cp;
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < n && rc == PARE_OK;) {
		int k = 0;

		i += uni_decode(p + i, n - i, &cp);
		if (kind == NORM_ACCENTS) {
			if (!uni_is_nonspacing(cp))
				rc = put_char(out, cp, err);
			continue;
		}
		k = uni_lower(cp, lower);
		for (int j = 0; j < k && rc == PARE_OK; j++)
			rc = put_char(out, lower[j], err);
	}
	return rc;
}

static enum pare_rc
norm_strip(int sides, const char *p, size_t n, struct uni_bytes *out,
    struct pare_err *err)
{
	size_t from = 0;
	int32_t cp;

	if ((sides & 2) != 0)
		n = uni_trim_end(p, n);
	while ((sides & 1) != 0 && from < n) {
		size_t k = uni_decode(p + from, n - from, &cp);

		if (!uni_is_space(cp))
			break;
		from += k;
	}
	return put(out, p + from, n - from, err);
}

/* One space for a run, none at either end. */
static enum pare_rc
norm_spaces(const char *p, size_t n, struct uni_bytes *out,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	bool space = true;

	while (n > 0 && p[n - 1] == ' ')
		n--;
	for (size_t i = 0; i < n && rc == PARE_OK; i++) {
		if (p[i] != ' ' || !space)
			rc = put(out, p + i, 1, err);
		space = p[i] == ' ';
	}
	return rc;
}

static enum pare_rc
norm_map(const struct charsmap *m, const char *p, size_t n,
    struct uni_bytes *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	const char *with;
	int32_t cp;

	for (size_t i = 0, k, w; i < n && rc == PARE_OK; i += k) {
		k = charsmap_find(m, p + i, n - i, &with, &w);
		if (k > 0) {
			if (w > CHARSMAP_REPLACEMENT || !uni_valid(with, w))
				return err_set(err, PARE_EFORMAT, "the "
				    "precompiled_charsmap of the tokenizer "
				    "is damaged");
			rc = put(out, with, w, err);
			continue;
		}
		k = uni_decode(p + i, n - i, &cp);
		rc = put(out, p + i, k, err);
	}
	return rc;
}

static enum pare_rc
run_norm(const struct norm_step *s, const char *p, size_t n,
    struct uni_bytes *out, struct pare_err *err)
{
	enum pare_rc rc;

	switch (s->kind) {
	case NORM_REPLACE:
		return norm_replace(s, p, n, out, err);
	case NORM_PREPEND:
		rc = n > 0 ? put(out, s->text, strlen(s->text), err) : PARE_OK;
		return rc == PARE_OK ? put(out, p, n, err) : rc;
	case NORM_LOWER:
	case NORM_ACCENTS:
		return norm_chars(s->kind, p, n, out, err);
	case NORM_FORM:
		return norm_form((enum norm_form)s->option, p, n, out, err);
	case NORM_STRIP:
		return norm_strip(s->option, p, n, out, err);
	case NORM_SPACES:
		return norm_spaces(p, n, out, err);
	case NORM_CHARSMAP:
		return norm_map(s->map, p, n, out, err);
	}
	return PARE_OK;
}

enum pare_rc
pipeline_normalize(const struct pipeline *p, const char *s, size_t n,
    struct uni_bytes *out, struct pare_err *err)
{
	struct uni_bytes from = { 0 }, to = { 0 }, swap;
	enum pare_rc rc = put(&from, s, n, err);

	for (int i = 0; i < p->nnorm && rc == PARE_OK; i++) {
		to.n = 0;
		rc = run_norm(&p->norm[i], from.n > 0 ? from.p : "", from.n,
		    &to, err);
		if (rc == PARE_OK)
			rc = check_growth(&to, n, err);
		swap = from;
		from = to;
		to = swap;
	}
	if (rc == PARE_OK)
		rc = put(out, from.p, from.n, err);
	free(from.p);
	free(to.p);
	return rc;
}

/* ---- pre-tokenisers -------------------------------------------------- */

struct span {
	size_t begin, n;
};

/* The text as it is now, and its words. */
struct words {
	struct uni_bytes text;
	struct uni_bytes span;	/* of struct span */
};

static size_t
count_of(const struct words *w)
{
	return w->span.n / sizeof(struct span);
}

static struct span
span_at(const struct words *w, size_t i)
{
	struct span s;

	memcpy(&s, w->span.p + i * sizeof(s), sizeof(s));
	return s;
}

static enum pare_rc
add_span(struct words *w, size_t begin, size_t end, struct pare_err *err)
{
	struct span s = { begin, end - begin };

	return end == begin ? PARE_OK : put(&w->span, (const char *)&s,
	    sizeof(s), err);
}

/* A step that only cuts: adds the parts of [begin, end) of text to out. */
struct cutting {
	const struct pre_step *step;
	const char *text;
	size_t begin, end;
	struct words *out;
	struct pare_err *err;
	size_t open;		/* where the word that is not added yet begins */
	bool last_matched;	/* SPLIT_CONTIGUOUS */
};

/* A stretch that matched or did not, by the rule of the split. */
static enum pare_rc
add_part(struct cutting *c, size_t begin, size_t end, bool match)
{
	enum pare_rc rc;

	if (begin == end)
		return PARE_OK;
	switch ((enum split_rule)c->step->option) {
	case SPLIT_REMOVED:
		c->open = end;
		return match ? PARE_OK : add_span(c->out, begin, end, c->err);
	case SPLIT_WITH_PREVIOUS:
		if (!match)
			return PARE_OK;
		rc = add_span(c->out, c->open, end, c->err);
		c->open = end;
		return rc;
	case SPLIT_WITH_NEXT:
		if (!match)
			return PARE_OK;
		rc = add_span(c->out, c->open, begin, c->err);
		c->open = begin;
		return rc;
	case SPLIT_CONTIGUOUS:
		if (match && c->last_matched)
			return PARE_OK;
		rc = add_span(c->out, c->open, begin, c->err);
		c->open = begin;
		c->last_matched = match;
		return rc;
	case SPLIT_ISOLATED:
		break;
	}
	c->open = end;
	return add_span(c->out, begin, end, c->err);
}

static enum pare_rc
cut_split(struct cutting *c)
{
	size_t at = c->begin, from = c->begin, begin, end;
	enum pare_rc rc = PARE_OK;
	int found;

	/* The pattern sees this word alone, not what is around it. */
	while (rc == PARE_OK && from < c->end &&
	    (found = regex_find(c->step->regex, c->text + c->begin,
	    c->end - c->begin, from - c->begin, &begin, &end)) != 0) {
		if (found < 0)
			return too_long(c->err);
		begin += c->begin;
		end += c->begin;
		if (end == begin) {
			int32_t cp;

			if (begin == c->end)
				break;
			from = begin + uni_decode(c->text + begin,
			    c->end - begin, &cp);
			continue;
		}
		rc = add_part(c, at, begin, c->step->invert);
		if (rc == PARE_OK)
			rc = add_part(c, begin, end, !c->step->invert);
		at = from = end;
	}
	if (rc == PARE_OK)
		rc = add_part(c, at, c->end, c->step->invert);
	return rc == PARE_OK ? add_span(c->out, c->open, c->end, c->err) : rc;
}

static bool
is_digit(int32_t cp)
{
	switch (utf8proc_category(cp)) {
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_NO:
		return true;
	default:
		return false;
	}
}

/* PRE_DIGITS and PRE_SPACE: by the class of each character. */
static enum pare_rc
cut_classes(struct cutting *c)
{
	const bool digits = c->step->kind == PRE_DIGITS;
	enum pare_rc rc = PARE_OK;
	size_t word = c->begin;
	bool before = false;

	for (size_t i = c->begin, k; i < c->end && rc == PARE_OK; i += k) {
		int32_t cp;
		bool in;

		k = uni_decode(c->text + i, c->end - i, &cp);
		in = digits ? is_digit(cp) : uni_is_space(cp);
		if (i > c->begin && (in != before ||
		    (in && digits && c->step->option == 1))) {
			if (digits || !before)
				rc = add_span(c->out, word, i, c->err);
			word = i;
		}
		before = in;
	}
	if (rc == PARE_OK && (digits || !before))
		rc = add_span(c->out, word, c->end, c->err);
	return rc;
}

/* Words that begin with the mark that stands for a space. */
static enum pare_rc
cut_marks(struct cutting *c)
{
	const char *mark = c->step->text;
	const size_t n = strlen(mark);
	enum pare_rc rc = PARE_OK;
	size_t word = c->begin;

	for (size_t i = c->begin; i + n <= c->end && rc == PARE_OK; i++)
		if (i > word && memcmp(c->text + i, mark, n) == 0) {
			rc = add_span(c->out, word, i, c->err);
			word = i;
		}
	return rc == PARE_OK ? add_span(c->out, word, c->end, c->err) : rc;
}

static enum pare_rc
cut_words(const struct pre_step *s, const struct words *from,
    struct words *to, struct pare_err *err)
{
	enum pare_rc rc = put(&to->text, from->text.p, from->text.n, err);

	for (size_t i = 0; i < count_of(from) && rc == PARE_OK; i++) {
		const struct span w = span_at(from, i);
		struct cutting c = { s, to->text.p, w.begin, w.begin + w.n, to,
			err, w.begin, false };

		rc = s->kind == PRE_SPLIT ? cut_split(&c) :
		    s->kind == PRE_METASPACE ? cut_marks(&c) : cut_classes(&c);
	}
	return rc;
}

/* Spaces to marks, and one before the text. */
static enum pare_rc
mark_spaces(const struct pre_step *s, const struct words *from, bool first,
    struct words *to, struct pare_err *err)
{
	const size_t n = strlen(s->text);
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < count_of(from) && rc == PARE_OK; i++) {
		const struct span w = span_at(from, i);
		const char *p = from->text.p + w.begin;
		bool marked = p[0] == ' ' || (w.n >= n &&
		    memcmp(p, s->text, n) == 0);
		size_t begin = to->text.n;

		if (!marked && (s->prepend == PREPEND_ALWAYS ||
		    (s->prepend == PREPEND_FIRST && first && i == 0)))
			rc = put(&to->text, s->text, n, err);
		for (size_t k = 0; k < w.n && rc == PARE_OK; k++)
			rc = p[k] == ' ' ? put(&to->text, s->text, n, err) :
			    put(&to->text, p + k, 1, err);
		if (rc == PARE_OK)
			rc = add_span(to, begin, to->text.n, err);
	}
	return rc;
}

/* Bytes to characters. */
static enum pare_rc
spell_bytes(const struct words *from, struct words *to, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < count_of(from) && rc == PARE_OK; i++) {
		const struct span w = span_at(from, i);
		size_t begin = to->text.n;

		rc = uni_reserve(&to->text, 2 * w.n, err);
		for (size_t k = 0; k < w.n && rc == PARE_OK; k++)
			to->text.n += uni_encode(byte_level_char(
			    (unsigned char)from->text.p[w.begin + k]),
			    to->text.p + to->text.n);
		if (rc == PARE_OK)
			rc = add_span(to, begin, to->text.n, err);
	}
	return rc;
}

/* A space before each word that does not begin with one. */
static enum pare_rc
put_spaces(const struct words *from, struct words *to, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < count_of(from) && rc == PARE_OK; i++) {
		const struct span w = span_at(from, i);
		size_t begin = to->text.n;

		if (from->text.p[w.begin] != ' ')
			rc = put(&to->text, " ", 1, err);
		if (rc == PARE_OK)
			rc = put(&to->text, from->text.p + w.begin, w.n, err);
		if (rc == PARE_OK)
			rc = add_span(to, begin, to->text.n, err);
	}
	return rc;
}

static void
words_clear(struct words *w)
{
	w->text.n = w->span.n = 0;
}

static void
swap_words(struct words *a, struct words *b)
{
	struct words t = *a;

	*a = *b;
	*b = t;
	words_clear(b);
}

/* One step: from a to a, through b. */
static enum pare_rc
run_pre(const struct pre_step *s, bool first, struct words *a,
    struct words *b, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (s->kind == PRE_METASPACE) {
		rc = mark_spaces(s, a, first, b, err);
		if (rc != PARE_OK)
			return rc;
		swap_words(a, b);
		if (s->option == 0)
			return PARE_OK;
	}
	if (s->kind == PRE_BYTES) {
		if (s->prepend == PREPEND_ALWAYS) {
			rc = put_spaces(a, b, err);
			if (rc != PARE_OK)
				return rc;
			swap_words(a, b);
		}
		if (s->regex != NULL) {
			struct pre_step split = { .kind = PRE_SPLIT,
				.option = SPLIT_ISOLATED, .regex = s->regex };

			rc = cut_words(&split, a, b, err);
			if (rc != PARE_OK)
				return rc;
			swap_words(a, b);
		}
		rc = spell_bytes(a, b, err);
	} else {
		rc = cut_words(s, a, b, err);
	}
	if (rc == PARE_OK)
		swap_words(a, b);
	return rc;
}

enum pare_rc
pipeline_cut(const struct pipeline *p, const char *s, size_t n, bool first,
    pipeline_word *fn, void *ctx, struct pare_err *err)
{
	struct words a = { { 0 }, { 0 } }, b = { { 0 }, { 0 } };
	enum pare_rc rc = put(&a.text, s, n, err);

	if (rc == PARE_OK)
		rc = add_span(&a, 0, n, err);
	for (int i = 0; i < p->npre && rc == PARE_OK; i++) {
		rc = run_pre(&p->pre[i], first, &a, &b, err);
		if (rc == PARE_OK)
			rc = check_growth(&a.text, n, err);
	}
	for (size_t i = 0; i < count_of(&a) && rc == PARE_OK; i++) {
		const struct span w = span_at(&a, i);

		rc = fn(ctx, a.text.p + w.begin, w.n, err);
	}
	free(a.text.p);
	free(a.span.p);
	free(b.text.p);
	free(b.span.p);
	return rc;
}
