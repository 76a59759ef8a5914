/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tokenizer in the keys of a GGUF file: tokens, scores, types and merges.
 * llama is SentencePiece's BPE by scores, t5 its Unigram, gpt2 byte-level BPE
 * with the pattern that tokenizer.ggml.pre names, bert WordPiece whose words are
 * stored with U+2581 before them and whose continuations without their ##.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "text/spm.h"

#define KEY(name) "tokenizer.ggml." name
#define MARK "\xe2\x96\x81"

struct reader {
	const struct gguf *g;
	struct pare_err *err;
	const struct gguf_value *tokens, *scores, *types, *merges;
	const char *where;
};

static bool
text_is(const struct gguf_text *t, const char *s)
{
	return t->s != NULL && t->n == strlen(s) && memcmp(t->s, s, t->n) == 0;
}

static enum pare_rc
check_length(const struct reader *r, const struct gguf_value *v,
    const char *key)
{
	if (v == NULL || v->count == r->tokens->count)
		return PARE_OK;
	return err_set(r->err, PARE_EFORMAT, "'%s': %s has %lld entries for "
	    "%lld tokens", r->where, key, (long long)v->count,
	    (long long)r->tokens->count);
}

static enum pare_rc
find_arrays(struct reader *r)
{
	const struct gguf *g = r->g;
	enum pare_rc rc;

	rc = gguf_array(g, KEY("tokens"), GGUF_STRING, &r->tokens, r->err);
	if (rc == PARE_OK)
		rc = gguf_array(g, KEY("scores"), GGUF_F32, &r->scores,
		    r->err);
	if (rc == PARE_OK)
		rc = gguf_array(g, KEY("token_type"), GGUF_I32, &r->types,
		    r->err);
	if (rc == PARE_OK)
		rc = gguf_array(g, KEY("merges"), GGUF_STRING, &r->merges,
		    r->err);
	if (rc != PARE_OK)
		return rc;
	if (r->tokens == NULL || r->tokens->count == 0 ||
	    r->tokens->count > INT32_MAX / 4)
		return err_set(r->err, PARE_EFORMAT,
		    "'%s': " KEY("tokens") " is missing or empty", r->where);
	rc = check_length(r, r->scores, KEY("scores"));
	return rc == PARE_OK ? check_length(r, r->types, KEY("token_type")) :
	    rc;
}

/* A token's id by its role; -1 where the key is not there (or 2^32 - 1, which
 * old files write for none). */
static enum pare_rc
role(const struct reader *r, const char *name, int64_t dflt, int32_t *out)
{
	char key[64];
	int64_t v;
	enum pare_rc rc;

	snprintf(key, sizeof(key), "tokenizer.ggml.%s_token_id", name);
	rc = gguf_int(r->g, key, -1, UINT32_MAX, dflt, &v, r->err);
	if (rc != PARE_OK)
		return rc;
	if (v == UINT32_MAX || v < 0 || (v >= r->tokens->count &&
	    gguf_find(r->g, key) == NULL))
		v = -1;
	if (v >= r->tokens->count)
		return err_set(r->err, PARE_EFORMAT, "'%s': %s is %lld, but "
		    "there are %lld tokens", r->where, key, (long long)v,
		    (long long)r->tokens->count);
	*out = (int32_t)v;
	return PARE_OK;
}

static int
type_of(const struct reader *r, int64_t i)
{
	return r->types != NULL ? (int)gguf_int_at(r->types, i) : SPM_NORMAL;
}

/* Which ids go around a text. */
static enum pare_rc
read_ends(const struct reader *r, struct tokenizer *t, bool bos, bool eos,
    int64_t dflt_bos, int64_t dflt_eos)
{
	enum pare_rc rc = role(r, "bos", dflt_bos, &t->bos);

	if (rc == PARE_OK)
		rc = role(r, "eos", dflt_eos, &t->eos);
	if (rc == PARE_OK)
		rc = gguf_bool(r->g, KEY("add_bos_token"), bos, &bos, r->err);
	if (rc == PARE_OK)
		rc = gguf_bool(r->g, KEY("add_eos_token"), eos, &eos, r->err);
	if (rc == PARE_OK)
		template_ends(t, bos ? t->bos : -1, eos ? t->eos : -1);
	return rc;
}

/* ---- SentencePiece --------------------------------------------------- */

static struct tokenizer *
read_spm(struct reader *r, bool unigram)
{
	struct spm m = { .unigram = unigram };
	const unsigned char *at = r->tokens->p;
	const struct gguf_value *map;
	struct tokenizer *t = NULL;
	bool prefix, spaces;

	if (gguf_bool(r->g, KEY("add_space_prefix"), true, &prefix, r->err) !=
	    PARE_OK || gguf_bool(r->g, KEY("remove_extra_whitespaces"),
	    unigram, &spaces, r->err) != PARE_OK || gguf_array(r->g,
	    KEY("precompiled_charsmap"), GGUF_I32, &map, r->err) != PARE_OK)
		return NULL;
	m.dummy_prefix = prefix;
	m.remove_spaces = spaces;
	if (map != NULL && (map->type == GGUF_U8 || map->type == GGUF_I8)) {
		m.charsmap = map->p;
		m.ncharsmap = map->n;
	}
	m.n = (int)r->tokens->count;
	m.piece = xcalloc((size_t)m.n, sizeof(*m.piece));
	for (int i = 0; i < m.n; i++) {
		struct gguf_text text = gguf_text_next(&at);

		m.piece[i] = (struct spm_piece){ text.s, text.n,
			r->scores != NULL ? (float)gguf_real_at(r->scores, i) :
			0.0f, type_of(r, i) };
	}
	t = spm_tokenizer(&m, r->where, r->err);
	free(m.piece);
	if (t != NULL && (role(r, "unknown", unigram ? 2 : 0, &t->unknown) !=
	    PARE_OK || read_ends(r, t, !unigram, unigram, unigram ? -1 : 1,
	    unigram ? 1 : 2) != PARE_OK)) {
		tokenizer_free(t);
		return NULL;
	}
	return t;
}

/* ---- byte-level BPE -------------------------------------------------- */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
	const char *name;	/* tokenizer.ggml.pre */
	const char *pattern;	/* NULL: GPT-2's */
	bool bos, ignore_merges;
} pres[] = {
	{ "default", NULL, false, false }, { "gpt-2", NULL, false, false },
	{ "gpt2", NULL, false, false },
	{ "llama-bpe", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
	    "\\p{N}{1,3}|" TAIL, true, true },
	{ "llama3", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
	    "\\p{N}{1,3}|" TAIL, true, true },
	{ "qwen2", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
	    "\\p{N}|" TAIL, false, false },
};

const char *
gguf_pre_name(const struct tokenizer *t)
{
	const struct pipeline *p = &t->pipeline;
	const char *pattern;

	if (p->nnorm > 0 || p->npre < 1 ||
	    p->pre[p->npre - 1].kind != PRE_BYTES ||
	    p->pre[p->npre - 1].prepend != PREPEND_NEVER)
		return NULL;
	if (p->npre == 1)
		return p->pre[0].regex != NULL ? "gpt-2" : NULL;
	if (p->npre != 2 || p->pre[0].kind != PRE_SPLIT || p->pre[0].invert ||
	    p->pre[1].regex != NULL)
		return NULL;
	pattern = p->pre[0].text;
	for (size_t i = 0; pattern != NULL && i < sizeof(pres) /
	    sizeof(*pres); i++)
		if (pres[i].pattern != NULL &&
		    strcmp(pres[i].pattern, pattern) == 0 &&
		    pres[i].ignore_merges == t->ignore_merges)
			return pres[i].name;
	return NULL;
}

static enum pare_rc
add_tokens(const struct reader *r, struct tokenizer *t)
{
	const unsigned char *at = r->tokens->p;

	for (int64_t i = 0; i < r->tokens->count; i++) {
		struct gguf_text s = gguf_text_next(&at);
		struct added_token a = { .id = (int32_t)i };
		int type = type_of(r, i);
		enum pare_rc rc;

		if (s.n == 0 || memchr(s.s, '\0', s.n) != NULL ||
		    !uni_valid(s.s, s.n))
			continue;	/* a hole: no text gives it */
		vocabulary_add(t, (int32_t)i, s.s, s.n);
		if (type != SPM_CONTROL && type != SPM_USER)
			continue;
		a.text = xstrndup(s.s, s.n);
		a.n = s.n;
		rc = added_add(t, &a, r->where, r->err);
		free(a.text);
		if (rc != PARE_OK)
			return rc;
	}
	return PARE_OK;
}

static struct tokenizer *
new_tokens(const struct reader *r)
{
	return vocabulary_new(r->tokens->count, r->tokens->n, r->err);
}

static enum pare_rc
add_merges(const struct reader *r, struct tokenizer *t)
{
	const unsigned char *at = r->merges != NULL ? r->merges->p : NULL;
	int64_t n = r->merges != NULL ? r->merges->count : 0;

	t->merges = merges_new((size_t)n, r->err);
	if (t->merges == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < n; i++) {
		struct gguf_text s = gguf_text_next(&at);
		const char *space = s.n > 1 ? memchr(s.s + 1, ' ', s.n - 1) :
		    NULL;
		size_t k = space != NULL ? (size_t)(space - s.s) : 0;
		int32_t a, b, made;
		char *both;

		if (space == NULL || k + 1 == s.n)
			return err_set(r->err, PARE_EFORMAT, "'%s': merge "
			    "%lld is not two pieces", r->where, (long long)i);
		both = xstrndup(s.s, s.n);
		memmove(both + k, both + k + 1, s.n - k);
		a = trie_get(&t->trie, s.s, k);
		b = trie_get(&t->trie, space + 1, s.n - k - 1);
		made = trie_get(&t->trie, both, s.n - 1);
		free(both);
		if (a < 0 || b < 0 || made < 0)
			return err_set(r->err, PARE_EFORMAT, "'%s': merge "
			    "%lld needs a token that is not there", r->where,
			    (long long)i);
		merges_add(t->merges, a, b, made);
	}
	return PARE_OK;
}

static struct tokenizer *
read_bpe(struct reader *r)
{
	struct tokenizer *t;
	const char *pattern = NULL;
	struct gguf_text pre;
	struct pre_step *split = NULL, *bytes;
	bool bos = false, ignore = false;
	size_t i = 0, n = sizeof(pres) / sizeof(*pres);

	if (gguf_string(r->g, KEY("pre"), &pre, r->err) != PARE_OK)
		return NULL;
	while (pre.s != NULL && i < n && !text_is(&pre, pres[i].name))
		i++;
	if (i == n) {
		err_set(r->err, PARE_EUSER, "'%s': " KEY("pre") " is '%.*s', "
		    "which pare does not know", r->where,
		    (int)(pre.n < 40 ? pre.n : 40), pre.s);
		return NULL;
	}
	pattern = pres[i].pattern;
	bos = pres[i].bos;
	ignore = pres[i].ignore_merges;
	t = new_tokens(r);
	if (t == NULL)
		return NULL;
	t->model = TOKENS_RANKS;
	t->byte_level = true;
	t->ignore_merges = ignore;
	if (pattern != NULL) {
		split = pipeline_add_pre(&t->pipeline, PRE_SPLIT, pattern,
		    r->where, r->err);
		if (split != NULL)
			split->option = SPLIT_ISOLATED;
	}
	bytes = pipeline_add_pre(&t->pipeline, PRE_BYTES, pattern == NULL ?
	    byte_level_pattern : NULL, r->where, r->err);
	if (bytes != NULL && (split != NULL || pattern == NULL) &&
	    add_tokens(r, t) == PARE_OK && add_merges(r, t) == PARE_OK &&
	    read_ends(r, t, bos, false, 11, 11) == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}

/* ---- WordPiece ------------------------------------------------------- */

/* "word" becomes "##word", MARK "word" becomes "word"; control tokens are found
 * in texts as a whole. */
static enum pare_rc
add_words(const struct reader *r, struct tokenizer *t)
{
	const unsigned char *at = r->tokens->p;
	char text[1024];

	for (int64_t i = 0; i < r->tokens->count; i++) {
		struct gguf_text s = gguf_text_next(&at);
		bool marked = s.n > 3 && memcmp(s.s, MARK, 3) == 0;
		bool plain = type_of(r, i) == SPM_CONTROL ||
		    type_of(r, i) == SPM_UNKNOWN || (s.n > 1 && s.s[0] == '[');
		int n;

		if (s.n == 0 || s.n > sizeof(text) - 4 ||
		    memchr(s.s, '\0', s.n) != NULL || !uni_valid(s.s, s.n))
			continue;
		n = snprintf(text, sizeof(text), "%s%.*s", marked || plain ?
		    "" : "##", (int)(marked ? s.n - 3 : s.n),
		    marked ? s.s + 3 : s.s);
		vocabulary_add(t, (int32_t)i, text, (size_t)n);
		if (type_of(r, i) == SPM_CONTROL && added_add(t,
		    &(struct added_token){ .text = text, .n = (size_t)n,
		    .id = (int32_t)i }, r->where, r->err) != PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

static struct tokenizer *
read_bert(struct reader *r)
{
	struct tokenizer *t = vocabulary_new(r->tokens->count,
	    r->tokens->n + 2 * (size_t)r->tokens->count, r->err);
	int32_t cls, sep;
	enum pare_rc rc;

	if (t == NULL)
		return NULL;
	if (add_words(r, t) != PARE_OK) {
		tokenizer_free(t);
		return NULL;
	}
	t->continued = trie_walk(&t->trie, 0, "##", 2);
	t->clean = t->ideographs = t->lower = true;
	t->strip_said = -1;
	rc = role(r, "unknown", 100, &t->unknown);
	if (rc == PARE_OK)
		rc = role(r, "cls", 101, &cls);
	if (rc == PARE_OK)
		rc = role(r, "seperator", 102, &sep);
	if (rc == PARE_OK && t->unknown >= 0) {
		template_bare(t);
		if (cls >= 0 && sep >= 0)
			template_bert(t, cls, sep);
		t->bos = cls;
		t->eos = sep;
		return t;
	}
	if (rc == PARE_OK)
		err_set(r->err, PARE_EFORMAT, "'%s': no unknown token",
		    r->where);
	tokenizer_free(t);
	return NULL;
}

struct tokenizer *
gguf_tokens(const struct gguf *g, struct pare_err *err)
{
	struct reader r = { .g = g, .err = err, .where = g->path };
	struct gguf_text model;

	if (gguf_string(g, KEY("model"), &model, err) != PARE_OK)
		return NULL;
	if (model.s == NULL || text_is(&model, "none")) {
		err_set(err, PARE_EUSER, "'%s' has no tokenizer", g->path);
		return NULL;
	}
	if (find_arrays(&r) != PARE_OK)
		return NULL;
	if (text_is(&model, "llama"))
		return read_spm(&r, false);
	if (text_is(&model, "t5"))
		return read_spm(&r, true);
	if (text_is(&model, "gpt2"))
		return read_bpe(&r);
	if (text_is(&model, "bert"))
		return read_bert(&r);
	err_set(err, PARE_EUSER, "'%s': its tokenizer is '%.*s', which pare "
	    "does not know", g->path, (int)(model.n < 40 ? model.n : 40),
	    model.s);
	return NULL;
}
