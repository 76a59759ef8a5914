/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * vocab.json and merges.txt: the older files of byte-level BPE. The special
 * tokens are known by name: a vocabulary with <s> and </s> is RoBERTa's, with
 * its template, one with <|endoftext|> is GPT-2's, without.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/vocabulary.h"

static enum pare_rc
bad_line(const char *where, int64_t line, const char *what,
    struct pare_err *err)
{
	return err_set(err, PARE_EFORMAT, "%s:%lld: %s", where,
	    (long long)line, what);
}

/* One "left right". */
static enum pare_rc
read_merge(struct tokenizer *t, const char *s, size_t n, const char *where,
    int64_t line, struct pare_err *err)
{
	const char *space = memchr(s, ' ', n);
	size_t left = space != NULL ? (size_t)(space - s) : 0;
	int32_t a, b, made;
	char *both;

	if (space == NULL || left == 0 || left + 1 == n ||
	    memchr(space + 1, ' ', n - left - 1) != NULL)
		return bad_line(where, line, "a merge is two pieces with one "
		    "space between", err);
	a = trie_get(&t->trie, s, left);
	b = trie_get(&t->trie, space + 1, n - left - 1);
	both = xstrndup(s, n);
	memmove(both + left, both + left + 1, n - left);
	made = trie_get(&t->trie, both, n - 1);
	free(both);
	if (a < 0 || b < 0 || made < 0)
		return err_set(err, PARE_EFORMAT, "%s:%lld: the merge '%.*s' "
		    "needs a piece that is not in the vocabulary", where,
		    (long long)line, (int)(n < 60 ? n : 60), s);
	merges_add(t->merges, a, b, made);
	return PARE_OK;
}

static enum pare_rc
read_merges(struct tokenizer *t, const char *data, size_t n,
    const char *where, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	size_t lines = 1;
	int64_t line = 0;

	for (size_t i = 0; i < n; i++)
		lines += data[i] == '\n';
	t->merges = merges_new(lines, err);
	if (t->merges == NULL)
		return PARE_ENOMEM;
	while (n > 0 && rc == PARE_OK) {
		const char *end = memchr(data, '\n', n);
		size_t k = end != NULL ? (size_t)(end - data) : n;
		size_t next = end != NULL ? k + 1 : n;

		line++;
		if (k > 0 && data[k - 1] == '\r')
			k--;
		if (!uni_valid(data, k))
			rc = bad_line(where, line, "not UTF-8", err);
		else if (k > 0 && (k < 8 || memcmp(data, "#version", 8) != 0))
			rc = read_merge(t, data, k, where, line, err);
		data += next;
		n -= next;
	}
	return rc;
}

static enum pare_rc
add_special(struct tokenizer *t, const char *text, bool lstrip,
    const char *where, struct pare_err *err)
{
	struct added_token a = { .lstrip = lstrip };

	a.id = trie_get(&t->trie, text, strlen(text));
	if (a.id < 0)
		return PARE_OK;
	a.text = (char *)(uintptr_t)text;
	a.n = strlen(text);
	return added_add(t, &a, where, err);
}

static enum pare_rc
add_specials(struct tokenizer *t, const char *where, struct pare_err *err)
{
	static const char *const names[] = { "<s>", "<pad>", "</s>", "<unk>",
		"<mask>", "<|endoftext|>" };
	int32_t cls = trie_get(&t->trie, "<s>", 3);
	int32_t sep = trie_get(&t->trie, "</s>", 4);
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < 6 && rc == PARE_OK; i++)
		rc = add_special(t, names[i], i == 4, where, err);
	t->eos = trie_get(&t->trie, names[5], strlen(names[5]));
	t->bos = t->eos;
	template_bare(t);
	if (cls >= 0 && sep >= 0) {
		template_roberta(t, cls, sep);
		t->bos = cls;
		t->eos = sep;
	}
	return rc;
}

struct tokenizer *
merges_txt_parse(const char *vocab, size_t nvocab, const char *vocab_where,
    const char *data, size_t n, const char *where, struct pare_err *err)
{
	json_t *root = json_parse(vocab, nvocab, 0, vocab_where, err);
	struct tokenizer *t = NULL;
	enum pare_rc rc = PARE_EFORMAT;

	if (root == NULL)
		return NULL;
	if (!json_is_object(root))
		err_set(err, PARE_EFORMAT, "%s: not a JSON object",
		    vocab_where);
	else
		rc = vocabulary_from_json(root, vocab_where, &t, err);
	json_decref(root);
	if (rc == PARE_OK) {
		t->model = TOKENS_RANKS;
		t->byte_level = true;
		rc = read_merges(t, data, n, where, err);
	}
	if (rc == PARE_OK && pipeline_add_pre(&t->pipeline, PRE_BYTES,
	    byte_level_pattern, where, err) == NULL)
		rc = err->rc;
	if (rc == PARE_OK)
		rc = add_specials(t, vocab_where, err);
	if (rc == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}
