/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokenizer.json: a tokenizer as a pipeline of typed components. pare takes
 * WordPiece as BERT has it, and BPE and Unigram with the components of
 * pipeline_json.c, and refuses every other component by its name; to leave one
 * out would give wrong ids without a word.
 */
#include "text/vocabulary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

struct reader {
	const char *where;
	struct pare_err *err;
	struct tokenizer *t;
};

static enum pare_rc
bad(const struct reader *r, const char *what)
{
	return err_set(r->err, PARE_EFORMAT, "%s: %s", r->where, what);
}

/* The component called key, with a Sequence of one taken off; *type is its
 * name, NULL where the component is null. */
static enum pare_rc
open_component(const struct reader *r, const json_t *root, const char *key,
    const char *list, const json_t **out, const char **type)
{
	const json_t *o = json_object_get(root, key);

	*type = NULL;
	*out = NULL;
	for (int depth = 0; depth < 4; depth++) {
		const json_t *inner;

		if (o == NULL || json_is_null(o))
			return PARE_OK;
		if (!json_is_object(o) || json_text(o, "type", NULL, type, key,
		    NULL) != PARE_OK || *type == NULL)
			return err_set(r->err, PARE_EFORMAT,
			    "%s: %s is not an object with a type", r->where,
			    key);
		inner = json_object_get(o, list);
		if (strcmp(*type, "Sequence") != 0 ||
		    json_array_size(inner) != 1)
			break;
		o = json_array_get(inner, 0);
	}
	*out = o;
	return PARE_OK;
}

static enum pare_rc
unknown_component(const struct reader *r, const char *key, const char *type)
{
	return err_set(r->err, PARE_EUSER, "%s: its %s is %.60s, which pare "
	    "does not know", r->where, key, type != NULL ? type : "null");
}

static enum pare_rc
read_normalizer(const struct reader *r, const json_t *root)
{
	struct tokenizer *t = r->t;
	const json_t *o;
	const char *type;
	bool strip;

	if (open_component(r, root, "normalizer", "normalizers", &o, &type) !=
	    PARE_OK)
		return PARE_EFORMAT;
	t->strip_said = 0;
	if (type == NULL)
		return PARE_OK;
	if (strcmp(type, "BertNormalizer") != 0)
		return unknown_component(r, "normalizer", type);
	t->strip_said = -1;
	if (json_bool_of(o, "clean_text", true, &t->clean, r->where,
	    r->err) != PARE_OK ||
	    json_bool_of(o, "handle_chinese_chars", true, &t->ideographs,
	    r->where, r->err) != PARE_OK ||
	    json_bool_of(o, "lowercase", true, &t->lower, r->where,
	    r->err) != PARE_OK ||
	    json_bool_of(o, "strip_accents", false, &strip, r->where,
	    r->err) != PARE_OK)
		return PARE_EFORMAT;
	if (json_is_boolean(json_object_get(o, "strip_accents")))
		t->strip_said = strip;
	return PARE_OK;
}

static enum pare_rc
read_pre_tokenizer(const struct reader *r, const json_t *root)
{
	const json_t *o;
	const char *type;

	if (open_component(r, root, "pre_tokenizer", "pretokenizers", &o,
	    &type) != PARE_OK)
		return PARE_EFORMAT;
	if (type == NULL || strcmp(type, "BertPreTokenizer") != 0)
		return unknown_component(r, "pre_tokenizer", type);
	return PARE_OK;
}

/* ---- model ---- */

/* Old files do not say the type. */
static const char *
infer_type(const json_t *model)
{
	const char *type = json_string_value(json_object_get(model, "type"));

	if (type != NULL)
		return type;
	if (json_object_get(model, "merges") != NULL)
		return "BPE";
	if (json_is_array(json_object_get(model, "vocab")))
		return "Unigram";
	if (json_object_get(model, "max_input_chars_per_word") != NULL)
		return "WordPiece";
	return "WordLevel";
}

enum pare_rc
vocabulary_from_json(const json_t *vocab, const char *where,
    struct tokenizer **out, struct pare_err *err)
{
	int64_t most = 4 * (int64_t)json_object_size(vocab) + 65536, max = -1;
	json_t *v, *all = json_incref((json_t *)(uintptr_t)vocab);
	enum pare_rc rc = PARE_OK;
	size_t bytes = 0;
	const char *key;

	json_object_foreach(all, key, v) {
		int64_t id = json_integer_value(v);

		if (!json_is_integer(v) || id < 0 || id >= most) {
			rc = err_set(err, PARE_EFORMAT,
			    "%s: the id of '%.60s' is not a whole number below"
			    " %lld", where, key, (long long)most);
			break;
		}
		bytes += strlen(key);
		max = id > max ? id : max;
	}
	if (rc == PARE_OK && max < 0)
		rc = err_set(err, PARE_EFORMAT, "%s: the vocabulary is empty",
		    where);
	if (rc == PARE_OK) {
		*out = vocabulary_new(max + 1, bytes + 2 *
		    json_object_size(all), err);
		rc = *out == NULL ? PARE_ENOMEM : PARE_OK;
	}
	if (rc == PARE_OK)
		json_object_foreach(all, key, v) {
			vocabulary_add(*out, (int32_t)json_integer_value(v),
			    key, strlen(key));
		}
	json_decref(all);
	return rc;
}

/* ["a", "b"] or "a b". */
static enum pare_rc
read_merge(const struct reader *r, const json_t *v, size_t i)
{
	const char *both = json_string_value(v), *space;
	const char *a = json_string_value(json_array_get(v, 0));
	const char *b = json_string_value(json_array_get(v, 1));
	int32_t left, right, made;
	char *text;
	size_t n;

	space = both != NULL ? strchr(both, ' ') : NULL;
	if (space != NULL) {
		a = both;
		b = space + 1;
	}
	if (a == NULL || b == NULL || (both == NULL &&
	    json_array_size(v) != 2))
		return err_set(r->err, PARE_EFORMAT, "%s: merge %zu is not "
		    "two pieces", r->where, i);
	n = space != NULL ? (size_t)(space - a) : strlen(a);
	left = trie_get(&r->t->trie, a, n);
	right = trie_get(&r->t->trie, b, strlen(b));
	text = xmalloc(n + strlen(b) + 1);
	memcpy(text, a, n);
	memcpy(text + n, b, strlen(b) + 1);
	made = trie_get(&r->t->trie, text, strlen(text));
	free(text);
	if (left < 0 || right < 0 || made < 0)
		return err_set(r->err, PARE_EFORMAT, "%s: merge %zu needs a "
		    "piece that is not in the vocabulary", r->where, i);
	merges_add(r->t->merges, left, right, made);
	return PARE_OK;
}

/* Settings that would change the ids and that pare does not have. */
static enum pare_rc
refuse_settings(const struct reader *r, const json_t *model)
{
	static const char *const texts[] = { "continuing_subword_prefix",
		"end_of_word_suffix" };
	const json_t *drop = json_object_get(model, "dropout");

	for (int i = 0; i < 2; i++) {
		const char *v = json_string_value(json_object_get(model,
		    texts[i]));

		if (v != NULL && v[0] != '\0')
			return err_set(r->err, PARE_EUSER, "%s: a BPE model "
			    "with a %s, which pare does not know", r->where,
			    texts[i]);
	}
	if (json_is_number(drop) && json_number_value(drop) != 0.0)
		return err_set(r->err, PARE_EUSER, "%s: a BPE model with "
		    "dropout, which pare does not know", r->where);
	return PARE_OK;
}

/* The unknown piece by name; -1 where the model has none. */
static enum pare_rc
read_unknown(const struct reader *r, const json_t *model)
{
	const char *text = json_string_value(json_object_get(model,
	    "unk_token"));

	r->t->unknown = -1;
	return text == NULL ? PARE_OK : vocabulary_need(r->t, text, r->where,
	    &r->t->unknown, r->err);
}

static enum pare_rc
read_bpe(struct reader *r, const json_t *model)
{
	const json_t *vocab = json_object_get(model, "vocab"), *v;
	const json_t *merges = json_object_get(model, "merges");
	enum pare_rc rc = refuse_settings(r, model);
	size_t i;

	if (rc != PARE_OK)
		return rc;
	if (!json_is_object(vocab) || !json_is_array(merges))
		return bad(r, "model.vocab is not an object, or model.merges "
		    "not an array");
	rc = vocabulary_from_json(vocab, r->where, &r->t, r->err);
	if (rc != PARE_OK)
		return rc;
	r->t->model = TOKENS_RANKS;
	r->t->byte_fallback = json_is_true(json_object_get(model,
	    "byte_fallback"));
	r->t->fuse_unknown = json_is_true(json_object_get(model, "fuse_unk"));
	r->t->ignore_merges = json_is_true(json_object_get(model,
	    "ignore_merges"));
	vocabulary_find_bytes(r->t);
	r->t->merges = merges_new(json_array_size(merges), r->err);
	if (r->t->merges == NULL)
		return PARE_ENOMEM;
	json_array_foreach(merges, i, v)
		if (rc == PARE_OK)
			rc = read_merge(r, v, i);
	return rc == PARE_OK ? read_unknown(r, model) : rc;
}

/* [["piece", -3.2], ...] */
static enum pare_rc
read_scored(struct reader *r, const json_t *vocab)
{
	size_t n = json_array_size(vocab), i, bytes = 0;
	const json_t *v;

	json_array_foreach(vocab, i, v) {
		const json_t *score = json_array_get(v, 1);

		if (json_array_size(v) != 2 || !json_is_number(score) ||
		    !json_is_string(json_array_get(v, 0)))
			return err_set(r->err, PARE_EFORMAT, "%s: piece %zu "
			    "is not a text and a score", r->where, i);
		bytes += json_string_length(json_array_get(v, 0));
	}
	r->t = vocabulary_new((int64_t)n, bytes, r->err);
	if (r->t == NULL)
		return PARE_ENOMEM;
	r->t->score = mem_big_zero(n, sizeof(*r->t->score), r->err);
	if (r->t->score == NULL)
		return PARE_ENOMEM;
	json_array_foreach(vocab, i, v) {
		const json_t *text = json_array_get(v, 0);
		float score = (float)json_number_value(json_array_get(v, 1));

		if (!isfinite(score))
			return err_set(r->err, PARE_EFORMAT, "%s: the score of "
			    "piece %zu is not finite", r->where, i);
		vocabulary_add(r->t, (int32_t)i, json_string_value(text),
		    json_string_length(text));
		r->t->score[i] = score;
		if (score < r->t->lowest)
			r->t->lowest = score;
	}
	return PARE_OK;
}

static enum pare_rc
read_unigram(struct reader *r, const json_t *model)
{
	const json_t *vocab = json_object_get(model, "vocab");
	int64_t unknown;
	enum pare_rc rc;

	if (json_array_size(vocab) == 0)
		return bad(r, "model.vocab is not an array of pieces");
	rc = read_scored(r, vocab);
	if (rc != PARE_OK)
		return rc;
	r->t->model = TOKENS_UNIGRAM;
	r->t->fuse_unknown = true;
	r->t->byte_fallback = json_is_true(json_object_get(model,
	    "byte_fallback"));
	vocabulary_find_bytes(r->t);
	rc = json_int(model, "unk_id", 0,
	    (int64_t)json_array_size(vocab) - 1, -1, &unknown, r->where,
	    r->err);
	r->t->unknown = (int32_t)unknown;
	return rc;
}

static enum pare_rc
read_wordpiece(struct reader *r, const json_t *model)
{
	const json_t *vocab = json_object_get(model, "vocab");
	const char *unknown, *prefix;
	enum pare_rc rc;
	int64_t chars;

	if (!json_is_object(vocab))
		return bad(r, "model.vocab is not an object");
	if (json_text(model, "unk_token", "[UNK]", &unknown, r->where,
	    r->err) != PARE_OK ||
	    json_text(model, "continuing_subword_prefix", "##", &prefix,
	    r->where, r->err) != PARE_OK ||
	    json_int(model, "max_input_chars_per_word", 1, 10000, 100, &chars,
	    r->where, r->err) != PARE_OK)
		return PARE_EFORMAT;
	rc = vocabulary_from_json(vocab, r->where, &r->t, r->err);
	if (rc != PARE_OK)
		return rc;
	r->t->max_chars = (int)chars;
	if (strlen(prefix) >= sizeof(r->t->mark))
		return bad(r, "model.continuing_subword_prefix is longer "
		    "than 15 bytes");
	memcpy(r->t->mark, prefix, strlen(prefix) + 1);
	r->t->continued = trie_walk(&r->t->trie, 0, prefix, strlen(prefix));
	return vocabulary_need(r->t, unknown, r->where, &r->t->unknown, r->err);
}

static enum pare_rc
read_model(struct reader *r, const json_t *root)
{
	const json_t *model = json_object_get(root, "model");
	const char *type;

	if (!json_is_object(model))
		return bad(r, "there is no model object");
	type = infer_type(model);
	if (strcmp(type, "WordPiece") == 0)
		return read_wordpiece(r, model);
	if (strcmp(type, "BPE") == 0)
		return read_bpe(r, model);
	if (strcmp(type, "Unigram") == 0)
		return read_unigram(r, model);
	return err_set(r->err, PARE_EUSER, "its tokenizer is %.60s, which "
	    "pare does not know (it knows WordPiece, BPE and Unigram)", type);
}

/* ---- added tokens ---- */

static enum pare_rc
read_added(const struct reader *r, const json_t *root)
{
	const json_t *all = json_object_get(root, "added_tokens"), *o;
	struct added_token a;
	int64_t id;
	size_t i;

	if (all != NULL && !json_is_null(all) && !json_is_array(all))
		return bad(r, "added_tokens is not an array");
	json_array_foreach(all, i, o) {
		bool special = json_is_true(json_object_get(o, "special"));

		if (!json_is_object(o))
			return bad(r, "added_tokens holds what is no object");
		if (json_int(o, "id", 0, INT32_MAX - 1, -1, &id, r->where,
		    r->err) != PARE_OK)
			return PARE_EFORMAT;
		if (id < 0)
			return bad(r, "an added token has no id");
		if (added_from_json(o, (int32_t)id, !special, r->where, &a,
		    r->err) != PARE_OK ||
		    added_add(r->t, &a, r->where, r->err) != PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

/* ---- post-processor ---- */

/* ["[SEP]", 102] of BertProcessing and RobertaProcessing. */
static enum pare_rc
read_pair(const struct reader *r, const json_t *o, const char *key,
    int32_t *id)
{
	const json_t *v = json_object_get(o, key);
	int64_t n = json_integer_value(json_array_get(v, 1));

	if (json_array_size(v) != 2 || !json_is_integer(json_array_get(v, 1)))
		return err_set(r->err, PARE_EFORMAT,
		    "%s: post_processor.%s is not a text and an id", r->where,
		    key);
	if (n < 0 || n > INT32_MAX || tokenizer_piece(r->t, (int32_t)n) == NULL)
		return err_set(r->err, PARE_EFORMAT, "%s: post_processor.%s "
		    "has id %lld, which is not in the vocabulary", r->where,
		    key, (long long)n);
	*id = (int32_t)n;
	return PARE_OK;
}

/* The ids that the text of a special token stands for. */
static enum pare_rc
add_special(const struct reader *r, const json_t *o, const char *name,
    int32_t type, struct template *m)
{
	const json_t *entry = json_object_get(json_object_get(o,
	    "special_tokens"), name);
	const json_t *ids = json_object_get(entry, "ids"), *v;
	size_t i;

	if (json_array_size(ids) == 0)
		return err_set(r->err, PARE_EFORMAT, "%s: post_processor has "
		    "no ids for the special token '%.60s'", r->where, name);
	json_array_foreach(ids, i, v) {
		int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;

		if (id < 0 || id > INT32_MAX ||
		    tokenizer_piece(r->t, (int32_t)id) == NULL)
			return err_set(r->err, PARE_EFORMAT, "%s: the special"
			    " token '%.60s' is not in the vocabulary",
			    r->where, name);
		if (template_add(m, -1, (int32_t)id, type, r->where, r->err) !=
		    PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

static enum pare_rc
add_part(const struct reader *r, const json_t *o, const json_t *part,
    struct template *m)
{
	const json_t *special = json_object_get(part, "SpecialToken");
	const json_t *in = special != NULL ? special
	    : json_object_get(part, "Sequence");
	const char *id;
	int64_t type;

	if (!json_is_object(in))
		return bad(r, "a part of the post_processor is neither "
		    "SpecialToken nor Sequence");
	if (json_text(in, "id", "", &id, r->where, r->err) != PARE_OK ||
	    json_int(in, "type_id", 0, 1, 0, &type, r->where, r->err) !=
	    PARE_OK)
		return PARE_EFORMAT;
	if (special != NULL)
		return add_special(r, o, id, (int32_t)type, m);
	if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
		return bad(r, "a Sequence of the post_processor is neither "
		    "A nor B");
	return template_add(m, *id == 'B', 0, (int32_t)type, r->where, r->err);
}

static enum pare_rc
read_template(const struct reader *r, const json_t *o, const char *key,
    struct template *m)
{
	const json_t *parts = json_object_get(o, key), *part;
	int texts[2] = { 0 };
	size_t i;

	memset(m, 0, sizeof(*m));
	json_array_foreach(parts, i, part)
		if (add_part(r, o, part, m) != PARE_OK)
			return PARE_EFORMAT;
	for (int k = 0; k < m->n; k++)
		if (m->part[k].sequence >= 0)
			texts[m->part[k].sequence]++;
	if (texts[0] != 1 || texts[1] != (m == &r->t->pair))
		return err_set(r->err, PARE_EFORMAT, "%s: post_processor.%s "
		    "does not hold each text once", r->where, key);
	return PARE_OK;
}

/* One component; those of a Sequence follow each other. ByteLevel changes only
 * offsets. */
static enum pare_rc
read_processor(const struct reader *r, const json_t *o)
{
	const char *type = json_string_value(json_object_get(o, "type"));
	struct tokenizer *t = r->t;
	int32_t cls, sep;

	if (type == NULL)
		return bad(r, "post_processor is not an object with a type");
	if (strcmp(type, "ByteLevel") == 0)
		return PARE_OK;
	if (strcmp(type, "TemplateProcessing") == 0) {
		if (read_template(r, o, "single", &t->single) != PARE_OK)
			return PARE_EFORMAT;
		return read_template(r, o, "pair", &t->pair);
	}
	if (strcmp(type, "BertProcessing") != 0 &&
	    strcmp(type, "RobertaProcessing") != 0)
		return unknown_component(r, "post_processor", type);
	if (read_pair(r, o, "cls", &cls) != PARE_OK ||
	    read_pair(r, o, "sep", &sep) != PARE_OK)
		return PARE_EFORMAT;
	if (*type == 'B')
		template_bert(t, cls, sep);
	else
		template_roberta(t, cls, sep);
	return PARE_OK;
}

static enum pare_rc
read_post_processor(const struct reader *r, const json_t *root)
{
	const json_t *o = json_object_get(root, "post_processor"), *all, *v;
	enum pare_rc rc = PARE_OK;
	size_t i;

	template_bare(r->t);
	if (o == NULL || json_is_null(o))
		return PARE_OK;
	all = json_object_get(o, "processors");
	if (!json_is_array(all))
		return read_processor(r, o);
	json_array_foreach(all, i, v)
		if (rc == PARE_OK)
			rc = read_processor(r, v);
	return rc;
}

/* The first id before a text, and the first behind it. */
static void
find_ends(struct tokenizer *t)
{
	bool behind = false;

	for (int i = 0; i < t->single.n; i++) {
		const struct template_part *p = &t->single.part[i];

		if (p->sequence >= 0)
			behind = true;
		else if (!behind && t->bos < 0)
			t->bos = p->id;
		else if (behind && t->eos < 0)
			t->eos = p->id;
	}
}

struct tokenizer *
tokenizer_json_parse(const char *data, size_t n, const char *where,
    struct pare_err *err)
{
	struct reader r = { .where = where, .err = err };
	json_t *root = json_parse(data, n, 0, where, err);
	enum pare_rc rc;

	if (root == NULL)
		return NULL;
	rc = json_is_object(root) ? PARE_OK : bad(&r, "not a JSON object");
	if (rc == PARE_OK)
		rc = read_model(&r, root);
	if (rc == PARE_OK && r.t->model != TOKENS_WORDPIECE)
		rc = pipeline_read(r.t, root, where, err);
	else if (rc == PARE_OK)
		rc = read_normalizer(&r, root);
	if (rc == PARE_OK && r.t->model == TOKENS_WORDPIECE)
		rc = read_pre_tokenizer(&r, root);
	if (rc == PARE_OK)
		rc = read_added(&r, root);
	if (rc == PARE_OK)
		rc = read_post_processor(&r, root);
	json_decref(root);
	if (rc != PARE_OK) {
		tokenizer_free(r.t);
		return NULL;
	}
	find_ends(r.t);
	return r.t;
}
