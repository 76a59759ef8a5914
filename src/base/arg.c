/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Words first, then meaning. arg_split() knows quotes and nothing else;
 * arg_parse() gives each word to a row of the spec table: `key=value` by name,
 * a bare name of an ARG_BOOL as "on", anything else by position. A position is
 * the first free ARG_WORD whose type the word looks like, so that optional words
 * of unlike types ("30%" and "L0-5") may come in either order.
 */
#include "base/arg.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"

enum {
	MAX_WORDS = 10000,
	MAX_LINE = 1 << 20,
	SHOWN = 60		/* bytes of a value that a message repeats */
};

/* Larger bounds in a table mean "no bound". */
static const double unbounded = 1e15;

static const struct {
	const char *word;
	int value;
} bool_words[] = {
	{ "on", 1 }, { "off", 0 }, { "yes", 1 }, { "no", 0 }, { "true", 1 },
	{ "false", 0 }, { "1", 1 }, { "0", 0 },
};

/* What may stand behind the number of a limit, by its unit. */
static const struct {
	const char *unit, *suffix;
	double factor;
} limit_suffixes[] = {
	{ "bytes", "", 1 }, { "bytes", "b", 1 }, { "bytes", "kb", 1e3 },
	{ "bytes", "mb", 1e6 }, { "bytes", "gb", 1e9 },
	{ "bytes", "kib", 1024 }, { "bytes", "mib", 1048576 },
	{ "bytes", "gib", 1073741824 },
	{ "bytes", "k", 1024 }, { "bytes", "m", 1048576 },
	{ "bytes", "g", 1073741824 },
	{ "macs", "", 1 }, { "macs", "k", 1e3 }, { "macs", "m", 1e6 },
	{ "macs", "g", 1e9 },
	{ "ms", "", 1 }, { "ms", "ms", 1 }, { "ms", "us", 1e-3 },
	{ "ms", "s", 1e3 },
	{ "points", "", 1 }, { "points", "pt", 1 }, { "points", "%", 1 },
	{ "points", "bpb", 1 },
};

/* ---- words ---- */

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *
skip_blanks_and_comment(const char *p)
{
	for (;;) {
		while (is_blank(*p))
			p++;
		if (*p != '#')
			return p;
		p += strcspn(p, "\n");
	}
}

/* Copies what stands between quotes; p is after the opening one. NULL when it is
 * never closed. */
static const char *
cut_quoted(const char *p, char quote, struct str *out)
{
	for (; *p != quote; p++) {
		if (*p == '\0')
			return NULL;
		if (*p == '\\' && quote == '"') {
			if (p[1] == '\0')
				return NULL;
			p++;
		}
		str_addc(out, *p);
	}
	return p + 1;
}

static const char *
cut_word(const char *p, struct str *out)
{
	while (*p != '\0' && !is_blank(*p)) {
		if (*p == '\'' || *p == '"') {
			p = cut_quoted(p + 1, *p, out);
			if (p == NULL)
				return NULL;
			continue;
		}
		if (*p == '\\' && p[1] != '\0')
			p++;
		str_addc(out, *p++);
	}
	return p;
}

static void
add_word(struct arg_words *w, char *word, bool quoted)
{
	/* Grows at the powers of two. */
	if ((w->n & (w->n - 1)) == 0) {
		size_t cap = w->n == 0 ? 1 : 2 * (size_t)w->n;

		w->word = xrealloc(w->word, cap * sizeof(*w->word));
		w->quoted = xrealloc(w->quoted, cap * sizeof(*w->quoted));
	}
	w->word[w->n] = word;
	w->quoted[w->n++] = quoted;
}

enum pare_rc
arg_split(const char *line, struct arg_words *out, struct pare_err *err)
{
	struct arg_words w = { 0 };
	struct str b = STR_INIT;
	const char *p = line;

	memset(out, 0, sizeof(*out));
	if (strnlen(line, (size_t)MAX_LINE + 1) > MAX_LINE)
		return err_set(err, PARE_EUSER,
		    "the line is longer than 1 MiB");
	while (*(p = skip_blanks_and_comment(p)) != '\0') {
		const char *start = p;

		if (w.n == MAX_WORDS) {
			arg_words_free(&w);
			return err_set(err, PARE_EUSER,
			    "the line has more than 10,000 words");
		}
		p = cut_word(p, &b);
		if (p == NULL) {
			arg_words_free(&w);
			str_free(&b);
			err_set(err, PARE_EUSER, "a quote is not closed: %.*s",
			    SHOWN, start);
			err_hint(err, "close the quote, or write \\ "
			    "before a quote that is meant as it stands");
			return PARE_EUSER;
		}
		add_word(&w, str_detach(&b), *start == '\'' || *start == '"');
	}
	str_free(&b);
	*out = w;
	return PARE_OK;
}

void
arg_words_free(struct arg_words *w)
{
	for (int i = 0; i < w->n; i++)
		free(w->word[i]);
	free(w->word);
	free(w->quoted);
	memset(w, 0, sizeof(*w));
}

char *
arg_quote(const char *word)
{
	struct str b = STR_INIT;

	if (*word != '\0' && *word != '#' &&
	    strpbrk(word, " \t\n\v\f\r'\"\\=") == NULL)
		return xstrdup(word);
	str_addc(&b, '\'');
	for (; *word != '\0'; word++) {
		if (*word == '\'')
			str_add(&b, "'\\''");
		else
			str_addc(&b, *word);
	}
	str_addc(&b, '\'');
	return str_detach(&b);
}

/* ---- one value ---- */

static bool
is_bounded(const struct arg_spec *s)
{
	return s->min != 0 || s->max != 0;
}

/* Writes what is allowed, as "1 to 16 bits" or "on or off"; of a share as shares
 * are typed. */
static void
say_allowed(const struct arg_spec *s, bool share, struct str *b)
{
	static const char *const kind[ARG_TYPE_COUNT] = {
		[ARG_INT] = "a whole number", [ARG_REAL] = "a number",
		[ARG_AMOUNT] = "a share as 30% (0% to 100%) or a count",
		[ARG_CHOICE] = "", [ARG_BOOL] = "on or off",
		[ARG_TEXT] = "a text", [ARG_TARGET] = "a target as L0-5.ffn",
		[ARG_FILE] = "a file name",
		[ARG_STATE] = "a state: its number, its mark or original",
		[ARG_LIMIT] = "",
	};

	str_add(b, kind[s->type]);
	if (s->type == ARG_LIMIT)
		str_add(b, strcmp(s->unit, "points") == 0 ? "as 1.5pt" :
		    strcmp(s->unit, "bytes") == 0 ?
		    "as 20MB, 25% or 4x (a quarter)" :
		    strcmp(s->unit, "ms") == 0 ? "as 3ms, 50% or 2x (half)" :
		    "as 800M, 50% or 2x (half)");
	if (s->type == ARG_CHOICE)
		str_add(b, (s->flags & ARG_LIST) != 0 ?
		    "one or more, joined by commas, of " : "one of ");
	for (int i = 0; s->type == ARG_CHOICE && s->choices[i] != NULL; i++)
		str_addf(b, "%s%s", i == 0 ? "" : ", ", s->choices[i]);
	if ((s->type == ARG_INT || s->type == ARG_REAL) && is_bounded(s)) {
		if (s->max >= unbounded)
			str_addf(b, ", at least %g", s->min);
		else if (s->min <= -unbounded)
			str_addf(b, ", at most %g", s->max);
		else
			str_addf(b, share ? " from %.12g%% to %.12g%%" :
			    " from %.12g to %.12g", share ? 100 * s->min :
			    s->min, share ? 100 * s->max : s->max);
	}
	if (s->unit != NULL)
		str_addf(b, " (%s)", s->unit);
}

/* what completes "NAME 'GIVEN' ...", as "is not a number". */
static enum pare_rc
refuse(const struct arg_spec *s, const char *text, const char *what,
    struct pare_err *err)
{
	struct str b = STR_INIT;
	bool cut = strlen(text) > SHOWN;

	say_allowed(s, s->type == ARG_REAL && str_has_suffix(text, "%"), &b);
	err_set(err, PARE_EUSER, "%s: '%.*s%s' %s; allowed is %s", s->name,
	    SHOWN, text, cut ? "..." : "", what, b.s);
	str_free(&b);
	return PARE_EUSER;
}

static enum pare_rc
check_bounds(const struct arg_spec *s, double d, const char *text,
    struct pare_err *err)
{
	if (is_bounded(s) && !(d >= s->min && d <= s->max))
		return refuse(s, text, "is out of range", err);
	return PARE_OK;
}

/* "30%" as 0.3; false when it is no percentage. */
static bool
to_share(const char *text, double *out)
{
	size_t n = strlen(text);
	char buf[64];

	if (n < 2 || n >= sizeof(buf) || text[n - 1] != '%')
		return false;
	memcpy(buf, text, n - 1);
	buf[n - 1] = '\0';
	if (!str_to_double(buf, out))
		return false;
	*out /= 100.0;
	return true;
}

static enum pare_rc
parse_int(const struct arg_spec *s, const char *text, struct arg_value *v,
    struct pare_err *err)
{
	if (!str_to_int(text, &v->i))
		return refuse(s, text, "is not a whole number", err);
	v->d = (double)v->i;
	return check_bounds(s, v->d, text, err);
}

static enum pare_rc
parse_real(const struct arg_spec *s, const char *text, struct arg_value *v,
    struct pare_err *err)
{
	v->is_share = to_share(text, &v->d);
	if (!v->is_share && !str_to_double(text, &v->d))
		return refuse(s, text, "is not a number", err);
	return check_bounds(s, v->d, text, err);
}

static enum pare_rc
parse_amount(const struct arg_spec *s, const char *text, struct arg_value *v,
    struct pare_err *err)
{
	double d;

	v->is_share = to_share(text, &v->d);
	if (v->is_share) {
		if (!(v->d >= 0.0 && v->d <= 1.0))
			return refuse(s, text, "is out of range", err);
		return PARE_OK;
	}
	if (!str_to_int(text, &v->i)) {
		refuse(s, text, "is neither a share nor a count", err);
		if (str_to_double(text, &d) && d > 0.0 && d < 1.0)
			err_hint(err, "write %s=%g%%", s->name, d * 100.0);
		return PARE_EUSER;
	}
	if (v->i < 0)
		return refuse(s, text, "is out of range", err);
	v->d = (double)v->i;
	return PARE_OK;
}

/* Which of the choices the n bytes at text are; -1: none. */
static int
find_choice(const struct arg_spec *s, const char *text, size_t n)
{
	for (int i = 0; s->choices[i] != NULL; i++)
		if (strlen(s->choices[i]) == n &&
		    memcmp(s->choices[i], text, n) == 0)
			return i;
	return -1;
}

static enum pare_rc
parse_list(const struct arg_spec *s, const char *text, struct pare_err *err)
{
	uint64_t seen = 0;

	for (const char *p = text;; p++) {
		size_t n = strcspn(p, ",");
		int i = find_choice(s, p, n);

		if (i < 0)
			return refuse(s, text, n == 0 ? "has an empty place" :
			    "has an unknown word", err);
		if (i < 64 && (seen & 1ull << i) != 0)
			return refuse(s, text, "has a word twice", err);
		seen |= i < 64 ? 1ull << i : 0;
		p += n;
		if (*p == '\0')
			return PARE_OK;
	}
}

static enum pare_rc
parse_choice(const struct arg_spec *s, const char *text, struct arg_value *v,
    struct pare_err *err)
{
	const char *near;
	int i = find_choice(s, text, strlen(text));

	if ((s->flags & ARG_LIST) != 0)
		return parse_list(s, text, err);
	if (i >= 0) {
		v->i = i;
		return PARE_OK;
	}
	refuse(s, text, "is not known", err);
	near = str_nearest(text, s->choices);
	if (near != NULL)
		err_hint(err, "did you mean %s=%s?", s->name, near);
	return PARE_EUSER;
}

static bool
to_bool(const char *text, int64_t *out)
{
	for (size_t i = 0; i < sizeof(bool_words) / sizeof(*bool_words); i++)
		if (strcasecmp(text, bool_words[i].word) == 0) {
			*out = bool_words[i].value;
			return true;
		}
	return false;
}

/* A number above 0 with what may follow it. */
static enum pare_rc
parse_limit(const struct arg_spec *s, const char *text, struct arg_value *v,
    struct pare_err *err)
{
	size_t n = strspn(text, "0123456789.");
	const char *rest = text + n;
	bool relative = strcmp(s->unit, "points") != 0;
	char *number = xstrndup(text, n);
	bool fine = str_to_double(number, &v->d);

	free(number);
	if (!fine)
		return refuse(s, text, "is not a bound", err);
	v->is_share = relative && (strcmp(rest, "%") == 0 ||
	    strcasecmp(rest, "x") == 0);
	if (v->is_share)
		v->d = *rest == '%' ? v->d / 100 : 1 / v->d;
	fine = v->is_share;
	for (size_t i = 0; i < sizeof(limit_suffixes) /
	    sizeof(*limit_suffixes) && !fine; i++) {
		if (strcmp(limit_suffixes[i].unit, s->unit) != 0 ||
		    strcasecmp(limit_suffixes[i].suffix, rest) != 0)
			continue;
		v->d *= limit_suffixes[i].factor;
		fine = true;
	}
	if (!fine || !isfinite(v->d) || (relative && v->d <= 0))
		return refuse(s, text, fine ? "is out of range" :
		    "is not a bound", err);
	return PARE_OK;
}

enum pare_rc
arg_parse_value(const struct arg_spec *spec, const char *text,
    struct arg_value *out, struct pare_err *err)
{
	struct arg_value v = { .set = true, .has = true };
	enum pare_rc rc = PARE_OK;

	memset(out, 0, sizeof(*out));
	if (*text == '\0' && spec->type != ARG_TEXT)
		return refuse(spec, text, "is empty", err);
	switch (spec->type) {
	case ARG_INT:
		rc = parse_int(spec, text, &v, err);
		break;
	case ARG_REAL:
		rc = parse_real(spec, text, &v, err);
		break;
	case ARG_AMOUNT:
		rc = parse_amount(spec, text, &v, err);
		break;
	case ARG_CHOICE:
		rc = parse_choice(spec, text, &v, err);
		break;
	case ARG_LIMIT:
		rc = parse_limit(spec, text, &v, err);
		break;
	case ARG_BOOL:
		if (!to_bool(text, &v.i))
			rc = refuse(spec, text, "is neither on nor off", err);
		v.d = (double)v.i;
		break;
	default:
		break;
	}
	if (rc != PARE_OK)
		return rc;
	v.s = xstrdup(text);
	*out = v;
	return PARE_OK;
}

void
arg_value_free(struct arg_value *v)
{
	free(v->s);
	memset(v, 0, sizeof(*v));
}

/* ---- a line against a table ---- */

static int
find_spec(const struct arg_spec *spec, const char *name, size_t n)
{
	for (int i = 0; spec[i].name != NULL; i++)
		if (strlen(spec[i].name) == n &&
		    memcmp(spec[i].name, name, n) == 0)
			return i;
	return -1;
}

/* Length of the key of `key=value`, or 0 for any other word. A key is made of
 * letters, digits, '_' and '-', and begins with a letter. */
static size_t
key_length(const char *word)
{
	size_t n = 0;

	while (isalnum((unsigned char)word[n]) || word[n] == '_' ||
	    word[n] == '-')
		n++;
	if (n == 0 || word[n] != '=' || !isalpha((unsigned char)word[0]))
		return 0;
	return n;
}

const char *
arg_sign(const struct arg_spec *s)
{
	return s->type == ARG_LIMIT || (s->flags & ARG_BOUND) != 0 ? "<=" :
	    "=";
}

/* The row of `name<=bound`; -1 for any other word. */
static int
find_limit(const struct arg_spec *spec, const char *word)
{
	const char *at = strstr(word, "<=");
	int i = at == NULL ? -1 : find_spec(spec, word, (size_t)(at - word));

	return i >= 0 && strcmp(arg_sign(&spec[i]), "<=") == 0 ? i : -1;
}

static bool
looks_numeric(const char *word)
{
	const char *p = word + (*word == '-' || *word == '+');

	if (strncasecmp(p, "nan", 3) == 0 || strncasecmp(p, "inf", 3) == 0)
		return strlen(p) <= 4 || strcasecmp(p, "infinity") == 0;
	return (isdigit((unsigned char)*p) || *p == '.') &&
	    strspn(p, "0123456789.eE+-%") == strlen(p);
}

static bool
looks_like(const struct arg_spec *s, const char *word)
{
	int64_t b;

	switch (s->type) {
	case ARG_INT:
	case ARG_REAL:
	case ARG_AMOUNT:
		return looks_numeric(word);
	case ARG_CHOICE:
		for (int i = 0; s->choices[i] != NULL; i++)
			if (strcmp(s->choices[i], word) == 0)
				return true;
		return false;
	case ARG_BOOL:
		return to_bool(word, &b);
	case ARG_TARGET:
		return !looks_numeric(word);
	default:
		return true;
	}
}

/* The row that takes a word by position, or -1. */
static int
find_position(const struct arg_list *a, const char *word)
{
	int first = -1;

	for (int i = 0; i < a->n; i++) {
		if ((a->spec[i].flags & ARG_WORD) == 0 ||
		    (a->v[i].set && (a->spec[i].flags & ARG_REPEAT) == 0))
			continue;
		if (looks_like(&a->spec[i], word))
			return i;
		if (first < 0)
			first = i;
	}
	return first;
}

static enum pare_rc
unknown_key(const struct arg_list *a, const char *word, size_t n,
    struct pare_err *err)
{
	const char *names[ARG_MAX + 1], *near;
	char *key = xstrndup(word, n);
	struct str b = STR_INIT;
	int k = 0;

	for (int i = 0; i < a->n; i++)
		if ((a->spec[i].flags & ARG_HIDDEN) == 0)
			names[k++] = a->spec[i].name;
	names[k] = NULL;
	for (int i = 0; i < k; i++)
		str_addf(&b, "%s%s", i == 0 ? "" : ", ", names[i]);
	err_set(err, PARE_EUSER, "there is no argument '%.*s' here; %s%s",
	    SHOWN, key, k == 0 ? "none is allowed" : "allowed are ", b.s);
	near = str_nearest(key, names);
	if (near != NULL)
		err_hint(err, "did you mean %s=?", near);
	else
		err_hint(err, "put quotes around a word that holds a '='");
	str_free(&b);
	free(key);
	return PARE_EUSER;
}

static enum pare_rc
extra_word(const struct arg_list *a, const char *word, struct pare_err *err)
{
	struct str b = STR_INIT;

	for (int i = 0; i < a->n; i++)
		if ((a->spec[i].flags & ARG_HIDDEN) == 0)
			str_addf(&b, " %s%s", a->spec[i].name,
			    (a->spec[i].flags & ARG_WORD) != 0 ? "" : "=");
	err_set(err, PARE_EUSER, "one word too many: '%.*s'", SHOWN, word);
	if (a->n == 0)
		err_hint(err, "leave it out: no argument is taken here");
	else
		err_hint(err, "allowed are%s", b.s);
	str_free(&b);
	return PARE_EUSER;
}

static enum pare_rc
set_value(struct arg_list *a, int i, const char *text, struct pare_err *err)
{
	if (a->v[i].set)
		return err_set(err, PARE_EUSER,
		    "%s is given twice: '%.*s' and '%.*s'", a->spec[i].name,
		    SHOWN, a->v[i].s, SHOWN, text);
	return arg_parse_value(&a->spec[i], text, &a->v[i], err);
}

/* A further word of an ARG_REPEAT is joined to those before it. */
static enum pare_rc
set_position(struct arg_list *a, int i, const char *word, struct pare_err *err)
{
	struct arg_value longer;
	enum pare_rc rc;
	char *joined;

	if (!a->v[i].set)
		return set_value(a, i, word, err);
	joined = str_format("%s %s", a->v[i].s, word);
	rc = arg_parse_value(&a->spec[i], joined, &longer, err);
	free(joined);
	if (rc != PARE_OK)
		return rc;
	arg_value_free(&a->v[i]);
	a->v[i] = longer;
	return PARE_OK;
}

static enum pare_rc
take_word(struct arg_list *a, const char *word, bool quoted,
    struct pare_err *err)
{
	size_t key = quoted ? 0 : key_length(word);
	int i = quoted ? -1 : find_limit(a->spec, word);

	if (i >= 0)
		return set_value(a, i, strstr(word, "<=") + 2, err);
	if (key != 0) {
		i = find_spec(a->spec, word, key);
		if (i < 0)
			return unknown_key(a, word, key, err);
		return set_value(a, i, word + key + 1, err);
	}
	i = quoted ? -1 : find_spec(a->spec, word, strlen(word));
	if (i >= 0 && a->spec[i].type == ARG_BOOL)
		return set_value(a, i, "on", err);
	i = find_position(a, word);
	if (i < 0)
		return extra_word(a, word, err);
	return set_position(a, i, word, err);
}

/* Defaults for what the line left out, or an error for what it must have. */
static enum pare_rc
fill_missing(struct arg_list *a, struct pare_err *err)
{
	struct str b = STR_INIT;

	for (int i = 0; i < a->n; i++) {
		const struct arg_spec *s = &a->spec[i];

		if (a->v[i].set)
			continue;
		if ((s->flags & ARG_REQUIRED) != 0) {
			say_allowed(s, false, &b);
			err_set(err, PARE_EUSER, "%s is missing: %s", s->name,
			    s->text != NULL ? s->text : b.s);
			if ((s->flags & ARG_WORD) != 0)
				err_hint(err, "add %s", b.s);
			else
				err_hint(err, "add %s=, %s", s->name, b.s);
			str_free(&b);
			return PARE_EUSER;
		}
		if (s->dflt == NULL)
			continue;
		if (arg_parse_value(s, s->dflt, &a->v[i], err) != PARE_OK)
			return PARE_EUSER;
		a->v[i].set = false;
	}
	return PARE_OK;
}

enum pare_rc
arg_parse(const struct arg_spec *spec, const struct arg_words *w, int first,
    struct arg_list *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	memset(out, 0, sizeof(*out));
	out->spec = spec;
	while (spec[out->n].name != NULL)
		out->n++;
	assert(out->n <= ARG_MAX);
	for (int i = first; i < w->n && rc == PARE_OK; i++)
		rc = take_word(out, w->word[i], w->quoted[i], err);
	if (rc == PARE_OK)
		rc = fill_missing(out, err);
	if (rc != PARE_OK)
		arg_list_free(out);
	return rc;
}

void
arg_list_free(struct arg_list *a)
{
	for (int i = 0; i < a->n; i++)
		arg_value_free(&a->v[i]);
	memset(a, 0, sizeof(*a));
}

/* ---- reading ---- */

const struct arg_value *
arg_get(const struct arg_list *a, const char *name)
{
	int i = find_spec(a->spec, name, strlen(name));

	assert(i >= 0);
	return &a->v[i];
}

const char *
arg_text(const struct arg_list *a, const char *name)
{
	return arg_get(a, name)->s;
}

int64_t
arg_int(const struct arg_list *a, const char *name)
{
	return arg_get(a, name)->i;
}

double
arg_real(const struct arg_list *a, const char *name)
{
	return arg_get(a, name)->d;
}

const char *
arg_choice(const struct arg_list *a, const char *name)
{
	int i = find_spec(a->spec, name, strlen(name));

	assert(i >= 0 && a->spec[i].type == ARG_CHOICE);
	return a->v[i].has ? a->spec[i].choices[a->v[i].i] : NULL;
}

int64_t
arg_amount(const struct arg_value *v, int64_t total)
{
	int64_t n = v->is_share ? llround(v->d * (double)total) : v->i;

	return n < total ? n : total;
}
