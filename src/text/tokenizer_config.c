/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the small JSON files beside a vocabulary say: tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json.
 */
#include "text/vocabulary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	MAX_CONFIG = 16 << 20,
	/* Larger is how files write "no limit". */
	MAX_LENGTH = 1000000000
};

/* The classes whose vocab.txt is WordPiece with BERT's normaliser. */
static const char *const wordpiece_classes[] = {
	"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
	"MobileBertTokenizer", "SqueezeBertTokenizer", "ConvBertTokenizer",
	"FunnelTokenizer", "LxmertTokenizer", "LayoutLMTokenizer",
	"RetriBertTokenizer", "RealmTokenizer", "SplinterTokenizer",
	"DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizer",
	"DPRReaderTokenizer", "PreTrainedTokenizer", "PreTrainedTokenizerBase",
	"AutoTokenizer", NULL
};

/* ---- reading ---- */

/* Integers become reals, for some files write a length of 1e30 in full. */
static enum pare_rc
read_object(const char *dir, const char *name, json_t **out,
    struct pare_err *err)
{
	char *path = io_join(dir, name), *text = NULL;
	enum pare_rc rc = PARE_OK;
	json_error_t e;
	size_t n, skip;

	*out = NULL;
	if (!io_is_file(path)) {
		free(path);
		return PARE_OK;
	}
	rc = io_read(path, MAX_CONFIG, &text, &n, err);
	if (rc == PARE_OK) {
		skip = str_has_prefix(text, "\xef\xbb\xbf") ? 3 : 0;
		*out = json_loadb(text + skip, n - skip,
		    JSON_DECODE_INT_AS_REAL, &e);
		if (*out == NULL)
			rc = err_set(err, PARE_EFORMAT,
			    "%s:%d:%d: not valid JSON: %s", path, e.line,
			    e.column, e.text);
		else if (!json_is_object(*out))
			rc = err_set(err, PARE_EFORMAT,
			    "%s: not a JSON object", path);
	}
	free(text);
	free(path);
	return rc;
}

enum pare_rc
tokenizer_config_read(const char *dir, struct tokenizer_config *out,
    struct pare_err *err)
{
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	rc = read_object(dir, "tokenizer_config.json", &out->config, err);
	if (rc == PARE_OK)
		rc = read_object(dir, "special_tokens_map.json", &out->map,
		    err);
	if (rc == PARE_OK)
		rc = read_object(dir, "added_tokens.json", &out->added, err);
	if (rc != PARE_OK)
		tokenizer_config_free(out);
	return rc;
}

void
tokenizer_config_free(struct tokenizer_config *c)
{
	json_decref(c->config);
	json_decref(c->map);
	json_decref(c->added);
	memset(c, 0, sizeof(*c));
}

/* ---- settings ---- */

enum pare_rc
tokenizer_config_settings(const struct tokenizer_config *c,
    struct tokenizer *t, struct pare_err *err)
{
	static const char where[] = "tokenizer_config.json";
	const json_t *o = c->config;
	double length = json_number_value(json_object_get(o,
	    "model_max_length"));
	bool strip = t->strip_said > 0;

	if (json_bool_of(o, "do_lower_case", t->lower, &t->lower, where,
	    err) != PARE_OK ||
	    json_bool_of(o, "tokenize_chinese_chars", t->ideographs,
	    &t->ideographs, where, err) != PARE_OK ||
	    json_bool_of(o, "strip_accents", strip, &strip, where,
	    err) != PARE_OK)
		return PARE_EFORMAT;
	if (json_is_boolean(json_object_get(o, "strip_accents")))
		t->strip_said = strip;
	if (length >= 1 && length <= MAX_LENGTH)
		t->max_length = (int)length;
	return PARE_OK;
}

enum pare_rc
tokenizer_config_length(const struct tokenizer_config *c,
    struct tokenizer *t, struct pare_err *err)
{
	double length = json_number_value(json_object_get(c->config,
	    "model_max_length"));
	bool space = false;

	if (length >= 1 && length <= MAX_LENGTH)
		t->max_length = (int)length;
	if (json_bool_of(c->config, "add_prefix_space", false, &space,
	    "tokenizer_config.json", err) != PARE_OK)
		return PARE_EFORMAT;
	for (int i = 0; i < t->pipeline.npre; i++)
		if (t->pipeline.pre[i].kind == PRE_BYTES && json_is_boolean(
		    json_object_get(c->config, "add_prefix_space")))
			t->pipeline.pre[i].prepend = space ? PREPEND_ALWAYS :
			    PREPEND_NEVER;
	return PARE_OK;
}

/* A special token by its role; dflt where the files do not name it. */
static int32_t
role_id(const struct tokenizer_config *c, const struct tokenizer *t,
    const char *role, const char *dflt)
{
	const json_t *v = json_object_get(c->config, role);
	const char *text;

	if (v == NULL)
		v = json_object_get(c->map, role);
	text = json_is_object(v) ? json_string_value(json_object_get(v,
	    "content")) : json_string_value(v);
	return vocabulary_id(t, text != NULL ? text : dflt);
}

enum pare_rc
tokenizer_config_ends(const struct tokenizer_config *c, struct tokenizer *t,
    struct pare_err *err)
{
	static const char where[] = "tokenizer_config.json";
	bool bos, eos;

	if (json_bool_of(c->config, "add_bos_token", true, &bos, where,
	    err) != PARE_OK || json_bool_of(c->config, "add_eos_token", false,
	    &eos, where, err) != PARE_OK)
		return PARE_EFORMAT;
	t->bos = role_id(c, t, "bos_token", "<s>");
	t->eos = role_id(c, t, "eos_token", "</s>");
	template_ends(t, bos ? t->bos : -1, eos ? t->eos : -1);
	return PARE_OK;
}

/* ---- special and added tokens ---- */

enum pare_rc
added_from_json(const json_t *o, int32_t id, bool normalized,
    const char *where, struct added_token *out, struct pare_err *err)
{
	const char *text;

	memset(out, 0, sizeof(*out));
	out->id = id;
	if (json_text(o, "content", "", &text, where, err) != PARE_OK ||
	    json_bool_of(o, "single_word", false, &out->single_word, where,
	    err) != PARE_OK ||
	    json_bool_of(o, "lstrip", false, &out->lstrip, where, err) !=
	    PARE_OK ||
	    json_bool_of(o, "rstrip", false, &out->rstrip, where, err) !=
	    PARE_OK ||
	    json_bool_of(o, "normalized", normalized, &out->normalized, where,
	    err) != PARE_OK)
		return PARE_EFORMAT;
	/* The only text of a const parameter that is copied, not kept. */
	out->text = (char *)(uintptr_t)text;
	out->n = strlen(text);
	return PARE_OK;
}

/* Keys of added_tokens_decoder are ids written as text. */
static enum pare_rc
add_decoder(const struct tokenizer_config *c, struct tokenizer *t,
    struct pare_err *err)
{
	static const char where[] = "tokenizer_config.json: "
	    "added_tokens_decoder";
	json_t *all = json_object_get(c->config, "added_tokens_decoder"), *o;
	struct added_token a;
	const char *key;
	int64_t id;

	json_object_foreach(all, key, o) {
		bool special = json_is_true(json_object_get(o, "special"));

		if (!str_to_int(key, &id) || id < 0 || id > INT32_MAX - 1)
			return err_set(err, PARE_EFORMAT,
			    "%s: '%.60s' is not an id", where, key);
		if (!json_is_object(o))
			return err_set(err, PARE_EFORMAT,
			    "%s: %s is not an object", where, key);
		if (added_from_json(o, (int32_t)id, !special, where, &a,
		    err) != PARE_OK || added_add(t, &a, where, err) != PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

/* added_tokens.json maps text to id. */
static enum pare_rc
add_listed(const struct tokenizer_config *c, struct tokenizer *t,
    struct pare_err *err)
{
	static const char where[] = "added_tokens.json";
	const char *key;
	json_t *v;

	json_object_foreach(c->added, key, v) {
		double id = json_number_value(v);
		struct added_token a = { .normalized = true };

		if (!json_is_number(v) || id < 0 || id >= INT32_MAX ||
		    id != floor(id))
			return err_set(err, PARE_EFORMAT, "%s: the id of "
			    "'%.60s' is not a whole number from 0 to 2^31-2",
			    where, key);
		a.text = (char *)(uintptr_t)key;
		a.n = strlen(key);
		a.id = (int32_t)id;
		/* The special tokens repeat here; they are not normalised. */
		if (trie_get(&t->trie, key, a.n) == a.id)
			a.normalized = false;
		if (added_add(t, &a, where, err) != PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

/* Adds the token of one role; *id is -1 when the vocabulary has no such piece
 * and the role can do without. */
static enum pare_rc
add_role(const struct tokenizer_config *c, struct tokenizer *t,
    const char *role, const char *dflt, bool needed, const char *where,
    int32_t *id, struct pare_err *err)
{
	const json_t *v = json_object_get(c->config, role);
	struct added_token a = { 0 };
	const char *text = dflt;

	if (v == NULL || json_is_null(v))
		v = json_object_get(c->map, role);
	if (json_is_string(v))
		text = json_string_value(v);
	else if (json_is_object(v)) {
		if (added_from_json(v, 0, false, role, &a, err) != PARE_OK)
			return PARE_EFORMAT;
		text = a.text;
	} else if (v != NULL && !json_is_null(v))
		return err_set(err, PARE_EFORMAT,
		    "tokenizer_config.json: %s is neither a text nor an object",
		    role);
	*id = vocabulary_id(t, text);
	if (*id < 0)
		return needed ? vocabulary_need(t, text, where, id, err)
		    : PARE_OK;
	a.text = (char *)(uintptr_t)text;
	a.n = strlen(text);
	a.id = *id;
	a.normalized = false;
	return added_add(t, &a, where, err);
}

static enum pare_rc
add_additional(const struct tokenizer_config *c, struct tokenizer *t,
    const char *where, struct pare_err *err)
{
	const json_t *all = json_object_get(c->config,
	    "additional_special_tokens");
	struct added_token a = { 0 };
	const json_t *v;
	size_t i;

	json_array_foreach(all, i, v) {
		const char *text = json_is_object(v)
		    ? json_string_value(json_object_get(v, "content"))
		    : json_string_value(v);

		a.id = text != NULL ? vocabulary_id(t, text) : -1;
		if (a.id < 0)
			continue;
		a.text = (char *)(uintptr_t)text;
		a.n = strlen(text);
		if (added_add(t, &a, where, err) != PARE_OK)
			return PARE_EFORMAT;
	}
	return PARE_OK;
}

static enum pare_rc
check_class(const struct tokenizer_config *c, struct pare_err *err)
{
	const char *name, *const *known = wordpiece_classes;
	size_t n;

	if (json_text(c->config, "tokenizer_class", NULL, &name,
	    "tokenizer_config.json", err) != PARE_OK)
		return PARE_EFORMAT;
	if (name == NULL)
		return PARE_OK;
	n = strlen(name);
	if (str_has_suffix(name, "Fast"))
		n -= 4;
	for (; *known != NULL; known++)
		if (strlen(*known) == n && memcmp(*known, name, n) == 0)
			return PARE_OK;
	return err_set(err, PARE_EUSER, "its tokenizer is %.60s, which pare "
	    "does not know (it knows WordPiece)", name);
}

enum pare_rc
tokenizer_config_specials(const struct tokenizer_config *c,
    struct tokenizer *t, const char *where, struct pare_err *err)
{
	int32_t cls, sep, ignored;
	enum pare_rc rc = check_class(c, err);

	if (rc == PARE_OK)
		rc = add_decoder(c, t, err);
	if (rc == PARE_OK)
		rc = add_role(c, t, "unk_token", "[UNK]", true, where,
		    &t->unknown, err);
	if (rc == PARE_OK)
		rc = add_role(c, t, "cls_token", "[CLS]", true, where, &cls,
		    err);
	if (rc == PARE_OK)
		rc = add_role(c, t, "sep_token", "[SEP]", true, where, &sep,
		    err);
	if (rc == PARE_OK)
		rc = add_role(c, t, "pad_token", "[PAD]", false, where,
		    &ignored, err);
	if (rc == PARE_OK)
		rc = add_role(c, t, "mask_token", "[MASK]", false, where,
		    &ignored, err);
	if (rc == PARE_OK)
		rc = add_listed(c, t, err);
	if (rc == PARE_OK)
		rc = add_additional(c, t, where, err);
	if (rc == PARE_OK)
		template_bert(t, cls, sep);
	return rc;
}
