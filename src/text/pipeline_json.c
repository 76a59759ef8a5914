/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * normalizer and pre_tokenizer of a tokenizer.json, component by component.
 * Sequences are flattened. A component that pare does not know is refused by its
 * name: to leave one out would give wrong ids without a word.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/vocabulary.h"

enum { DEPTH = 8, MARK_MAX = 4 };

const char byte_level_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"
    " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static enum pare_rc
no_room(const char *where, struct pare_err *err)
{
	return err_set(err, PARE_EFORMAT, "%s: more than %d steps of "
	    "normalizer or pre_tokenizer", where, PIPELINE_STEPS);
}

struct norm_step *
pipeline_add_norm(struct pipeline *p, enum norm_kind kind, const char *text,
    const char *with, const char *where, struct pare_err *err)
{
	struct norm_step *s;

	if (p->nnorm == PIPELINE_STEPS) {
		no_room(where, err);
		return NULL;
	}
	s = &p->norm[p->nnorm++];
	*s = (struct norm_step){ .kind = kind };
	s->text = text != NULL ? xstrdup(text) : NULL;
	s->with = with != NULL ? xstrdup(with) : NULL;
	if (kind != NORM_REPLACE)
		return s;
	s->regex = regex_new(text, true, where, err);
	return s->regex != NULL ? s : NULL;
}

struct pre_step *
pipeline_add_pre(struct pipeline *p, enum pre_kind kind, const char *pattern,
    const char *where, struct pare_err *err)
{
	struct pre_step *s;

	if (p->npre == PIPELINE_STEPS) {
		no_room(where, err);
		return NULL;
	}
	s = &p->pre[p->npre++];
	*s = (struct pre_step){ .kind = kind };
	if (pattern == NULL)
		return s;
	s->text = kind == PRE_SPLIT ? xstrdup(pattern) : NULL;
	s->regex = regex_new(pattern, false, where, err);
	return s->regex != NULL ? s : NULL;
}

/* ---- reading --------------------------------------------------------- */

struct reader {
	struct tokenizer *t;
	const char *where;
	struct pare_err *err;
};

static enum pare_rc
unknown(const struct reader *r, const char *key, const char *type)
{
	return err_set(r->err, PARE_EUSER, "%s: its %s is %.60s, which pare "
	    "does not know", r->where, key, type);
}

static enum pare_rc
missing(const struct reader *r, const char *type, const char *what)
{
	return err_set(r->err, PARE_EFORMAT, "%s: %s has no %s", r->where,
	    type, what);
}

/* {"String": ...} or {"Regex": ...}. */
static const char *
pattern_of(const json_t *o, bool *literal)
{
	const json_t *p = json_object_get(o, "pattern");
	const char *text = json_string_value(json_object_get(p, "String"));

	*literal = text != NULL;
	return text != NULL ? text : json_string_value(json_object_get(p,
	    "Regex"));
}

static enum pare_rc
read_replace(const struct reader *r, const json_t *o)
{
	const char *with = json_string_value(json_object_get(o, "content"));
	bool literal;
	const char *text = pattern_of(o, &literal);
	struct norm_step *s;

	if (text == NULL || with == NULL || text[0] == '\0')
		return missing(r, "Replace", "pattern and content");
	s = pipeline_add_norm(&r->t->pipeline, NORM_REPLACE, text, with,
	    r->where, r->err);
	if (s == NULL)
		return r->err->rc;
	if (literal)
		return PARE_OK;
	regex_free(s->regex);
	s->regex = regex_new(text, false, r->where, r->err);
	return s->regex != NULL ? PARE_OK : r->err->rc;
}

static enum pare_rc
read_prepend(const struct reader *r, const json_t *o)
{
	const char *text = json_string_value(json_object_get(o, "prepend"));

	if (text == NULL)
		return missing(r, "Prepend", "text to prepend");
	return pipeline_add_norm(&r->t->pipeline, NORM_PREPEND, text, NULL,
	    r->where, r->err) != NULL ? PARE_OK : r->err->rc;
}

static enum pare_rc
read_strip(const struct reader *r, const json_t *o)
{
	const json_t *left = json_object_get(o, "strip_left");
	const json_t *right = json_object_get(o, "strip_right");
	struct norm_step *s = pipeline_add_norm(&r->t->pipeline, NORM_STRIP,
	    NULL, NULL, r->where, r->err);

	if (s == NULL)
		return r->err->rc;
	s->option = (json_is_false(left) ? 0 : 1) |
	    (json_is_false(right) ? 0 : 2);
	return PARE_OK;
}

static enum pare_rc
read_charsmap(const struct reader *r, const json_t *o)
{
	const char *text = json_string_value(json_object_get(o,
	    "precompiled_charsmap"));
	struct norm_step *s;

	if (text == NULL)
		return missing(r, "Precompiled", "precompiled_charsmap");
	if (text[0] == '\0')
		return PARE_OK;
	s = pipeline_add_norm(&r->t->pipeline, NORM_CHARSMAP, NULL, NULL,
	    r->where, r->err);
	if (s == NULL)
		return r->err->rc;
	s->map = charsmap_from_base64(text, r->where, r->err);
	return s->map != NULL ? PARE_OK : r->err->rc;
}

/* Components without settings. */
static const struct plain_norm {
	const char *type;
	enum norm_kind kind;
	int option;
} plain_norms[] = {
	{ "NFC", NORM_FORM, FORM_NFC }, { "NFD", NORM_FORM, FORM_NFD },
	{ "NFKC", NORM_FORM, FORM_NFKC }, { "NFKD", NORM_FORM, FORM_NFKD },
	{ "Lowercase", NORM_LOWER, 0 }, { "StripAccents", NORM_ACCENTS, 0 },
};

static enum pare_rc
read_norm(const struct reader *r, const json_t *o, const char *type)
{
	for (size_t i = 0; i < sizeof(plain_norms) / sizeof(*plain_norms);
	    i++) {
		struct norm_step *s;

		if (strcmp(type, plain_norms[i].type) != 0)
			continue;
		s = pipeline_add_norm(&r->t->pipeline, plain_norms[i].kind,
		    NULL, NULL, r->where, r->err);
		if (s == NULL)
			return r->err->rc;
		s->option = plain_norms[i].option;
		return PARE_OK;
	}
	if (strcmp(type, "Replace") == 0)
		return read_replace(r, o);
	if (strcmp(type, "Prepend") == 0)
		return read_prepend(r, o);
	if (strcmp(type, "Strip") == 0)
		return read_strip(r, o);
	if (strcmp(type, "Precompiled") == 0)
		return read_charsmap(r, o);
	return unknown(r, "normalizer", type);
}

/* ---- pre-tokenisers -------------------------------------------------- */

static enum pare_rc
read_split(const struct reader *r, const json_t *o)
{
	static const char *const rules[] = { [SPLIT_ISOLATED] = "Isolated",
		[SPLIT_REMOVED] = "Removed",
		[SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
		[SPLIT_WITH_NEXT] = "MergedWithNext",
		[SPLIT_CONTIGUOUS] = "Contiguous" };
	const char *rule = json_string_value(json_object_get(o, "behavior"));
	bool literal;
	const char *text = pattern_of(o, &literal);
	struct pre_step *s;

	if (text == NULL || rule == NULL || text[0] == '\0')
		return missing(r, "Split", "pattern and behavior");
	s = pipeline_add_pre(&r->t->pipeline, PRE_SPLIT,
	    literal ? NULL : text, r->where, r->err);
	if (s == NULL)
		return r->err->rc;
	if (literal && (s->regex = regex_new(text, true, r->where, r->err)) ==
	    NULL)
		return r->err->rc;
	s->invert = json_is_true(json_object_get(o, "invert"));
	for (int i = 0; i < 5; i++)
		if (strcmp(rule, rules[i]) == 0) {
			s->option = i;
			return PARE_OK;
		}
	return unknown(r, "Split behavior", rule);
}

static enum pare_rc
read_byte_level(const struct reader *r, const json_t *o)
{
	bool regex = !json_is_false(json_object_get(o, "use_regex"));
	struct pre_step *s = pipeline_add_pre(&r->t->pipeline, PRE_BYTES,
	    regex ? byte_level_pattern : NULL, r->where, r->err);

	if (s == NULL)
		return r->err->rc;
	s->prepend = json_is_false(json_object_get(o, "add_prefix_space")) ?
	    PREPEND_NEVER : PREPEND_ALWAYS;
	r->t->byte_level = true;
	return PARE_OK;
}

static enum pare_rc
read_metaspace(const struct reader *r, const json_t *o)
{
	const char *mark = json_string_value(json_object_get(o,
	    "replacement"));
	const char *rule = json_string_value(json_object_get(o,
	    "prepend_scheme"));
	bool old = json_is_false(json_object_get(o, "add_prefix_space"));
	struct pre_step *s;

	if (mark != NULL && strlen(mark) > MARK_MAX)
		return err_set(r->err, PARE_EFORMAT, "%s: the replacement of "
		    "Metaspace is no single character", r->where);
	s = pipeline_add_pre(&r->t->pipeline, PRE_METASPACE, NULL, r->where,
	    r->err);
	if (s == NULL)
		return r->err->rc;
	s->text = xstrdup(mark != NULL && mark[0] != '\0' ? mark :
	    "\xe2\x96\x81");
	s->option = !json_is_false(json_object_get(o, "split"));
	s->prepend = old ? PREPEND_NEVER : PREPEND_ALWAYS;
	if (rule == NULL)
		return PARE_OK;
	if (strcmp(rule, "first") == 0)
		s->prepend = PREPEND_FIRST;
	else if (strcmp(rule, "never") == 0)
		s->prepend = PREPEND_NEVER;
	else if (strcmp(rule, "always") == 0)
		s->prepend = PREPEND_ALWAYS;
	else
		return unknown(r, "prepend_scheme", rule);
	return PARE_OK;
}

/* Components that are patterns. */
static const struct {
	const char *type, *pattern;
	enum split_rule rule;
} plain_pres[] = {
	{ "Whitespace", "\\w+|[^\\w\\s]+", SPLIT_REMOVED },
	{ "Punctuation", "[\\p{P}!-/:-@\\[-`{-~]", SPLIT_ISOLATED },
};

static enum pare_rc
read_pre(const struct reader *r, const json_t *o, const char *type)
{
	struct pre_step *s = NULL;

	if (strcmp(type, "Split") == 0)
		return read_split(r, o);
	if (strcmp(type, "ByteLevel") == 0)
		return read_byte_level(r, o);
	if (strcmp(type, "Metaspace") == 0)
		return read_metaspace(r, o);
	if (strcmp(type, "WhitespaceSplit") == 0 ||
	    strcmp(type, "Digits") == 0) {
		s = pipeline_add_pre(&r->t->pipeline, type[0] == 'D' ?
		    PRE_DIGITS : PRE_SPACE, NULL, r->where, r->err);
		if (s != NULL)
			s->option = json_is_true(json_object_get(o,
			    "individual_digits"));
		return s != NULL ? PARE_OK : r->err->rc;
	}
	for (int i = 0; i < 2; i++) {
		if (strcmp(type, plain_pres[i].type) != 0)
			continue;
		s = pipeline_add_pre(&r->t->pipeline, PRE_SPLIT,
		    plain_pres[i].pattern, r->where, r->err);
		if (s == NULL)
			return r->err->rc;
		s->option = (int)plain_pres[i].rule;
		s->invert = i == 0;
		return PARE_OK;
	}
	return unknown(r, "pre_tokenizer", type);
}

/* ---- sequences ------------------------------------------------------- */

typedef enum pare_rc read_component(const struct reader *r, const json_t *o,
    const char *type);

static enum pare_rc
walk(const struct reader *r, const json_t *o, const char *key,
    const char *list, read_component *fn, int depth)
{
	const char *type = json_string_value(json_object_get(o, "type"));
	const json_t *all, *inner;
	enum pare_rc rc = PARE_OK;
	size_t i;

	if (o == NULL || json_is_null(o))
		return PARE_OK;
	if (type == NULL || depth > DEPTH)
		return err_set(r->err, PARE_EFORMAT,
		    "%s: %s is not an object with a type", r->where, key);
	if (strcmp(type, "Sequence") != 0)
		return fn(r, o, type);
	all = json_object_get(o, list);
	json_array_foreach(all, i, inner)
		if (rc == PARE_OK)
			rc = walk(r, inner, key, list, fn, depth + 1);
	return rc;
}

enum pare_rc
pipeline_read(struct tokenizer *t, const json_t *root, const char *where,
    struct pare_err *err)
{
	struct reader r = { t, where, err };
	enum pare_rc rc;

	rc = walk(&r, json_object_get(root, "normalizer"), "normalizer",
	    "normalizers", read_norm, 0);
	if (rc == PARE_OK)
		rc = walk(&r, json_object_get(root, "pre_tokenizer"),
		    "pre_tokenizer", "pretokenizers", read_pre, 0);
	return rc;
}
