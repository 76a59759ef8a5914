/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files of a tokenizer without the pieces that went. Each is read, the
 * pieces, merges and ids in it are brought up to date, and all else that it says
 * stays as it is: other programs read more of it than pare does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/reduce.h"
#include "text/vocabulary.h"

enum { FILE_MAX = 256 << 20 };

struct files {
	const struct tokenizer *t;
	const char *dir, *where;	/* the file it is about */
	struct tokenizer_file *out;
	int n;
	json_t *vocab;		/* of vocab.json, for merges.txt; owned */
	struct pare_err *err;
};

/* The present id of one of the file's; -1: it went. */
static int64_t
present(const struct files *f, int64_t id)
{
	int64_t low = 0, high = f->t->max_pieces;

	while (low < high) {
		int64_t mid = low + (high - low) / 2;

		if (f->t->base_id[mid] < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < f->t->max_pieces && f->t->base_id[low] == id ? low : -1;
}

static void
add(struct files *f, const char *name, struct str *text)
{
	f->out[f->n].name = name;
	f->out[f->n].n = text->n;
	f->out[f->n++].data = str_detach(text);
}

static void
add_json(struct files *f, const char *name, const json_t *v)
{
	char *s = json_dumps(v, JSON_INDENT(1));
	struct str text = STR_INIT;

	str_add(&text, s != NULL ? s : "{}");
	str_addc(&text, '\n');
	free(s);
	add(f, name, &text);
}

/* ---- parts of tokenizer.json ----------------------------------------- */

/* {"piece": id, ...} */
static json_t *
map_pieces(const struct files *f, json_t *vocab)
{
	json_t *out = json_object(), *v;
	const char *key;

	json_object_foreach(vocab, key, v) {
		int64_t id = present(f, json_integer_value(v));

		if (id >= 0)
			json_object_set_new(out, key, json_integer(id));
	}
	return out;
}

/* [["piece", score], ...] */
static json_t *
map_scored(const struct files *f, const json_t *vocab)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(vocab, i, v)
		if (present(f, (int64_t)i) >= 0)
			json_array_append(out, v);
	return out;
}

static bool
is_left(const json_t *vocab, const char *left, size_t n, const char *right,
    size_t k)
{
	char *s = xmalloc(n + k + 1);
	bool there;

	memcpy(s, left, n);
	memcpy(s + n, right, k);
	s[n + k] = '\0';
	there = json_object_get(vocab, s) != NULL;
	memcpy(s, right, k);
	s[k] = '\0';
	there = there && json_object_get(vocab, s) != NULL;
	memcpy(s, left, n);
	s[n] = '\0';
	there = there && json_object_get(vocab, s) != NULL;
	free(s);
	return there;
}

/* "left right", whose pieces and what they make are all left. */
static bool
merge_left(const json_t *vocab, const char *s, size_t n)
{
	const char *space = n > 1 ? memchr(s, ' ', n) : NULL;
	size_t k = space != NULL ? (size_t)(space - s) : 0;

	return space != NULL && is_left(vocab, s, k, space + 1, n - k - 1);
}

static json_t *
map_merges(const json_t *vocab, const json_t *merges)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(merges, i, v) {
		const json_t *a = json_array_get(v, 0);
		const json_t *b = json_array_get(v, 1);

		if (json_is_string(v) ? merge_left(vocab,
		    json_string_value(v), json_string_length(v)) :
		    json_is_string(a) && json_is_string(b) && is_left(vocab,
		    json_string_value(a), json_string_length(a),
		    json_string_value(b), json_string_length(b)))
			json_array_append(out, v);
	}
	return out;
}

static void
map_id(const struct files *f, json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	int64_t id;

	if (!json_is_integer(v))
		return;
	id = present(f, json_integer_value(v));
	json_object_set_new(o, key, id >= 0 ? json_integer(id) : json_null());
}

static void
map_list(const struct files *f, json_t *list, size_t from)
{
	for (size_t i = from; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		int64_t id = json_is_integer(v) ? present(f,
		    json_integer_value(v)) : -1;

		if (id >= 0)
			json_array_set_new(list, i, json_integer(id));
	}
}

/* Ids of special tokens: of a template, or beside their texts. */
static void
map_post(const struct files *f, json_t *o)
{
	json_t *all = json_object_get(o, "processors"), *v;
	const char *key;
	size_t i;

	json_array_foreach(all, i, v)
		map_post(f, v);
	map_list(f, json_object_get(o, "sep"), 1);
	map_list(f, json_object_get(o, "cls"), 1);
	all = json_object_get(o, "special_tokens");
	json_object_foreach(all, key, v)
		map_list(f, json_object_get(v, "ids"), 0);
}

static void
map_added(const struct files *f, json_t *list)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
		map_id(f, v, "id");
}

static void
map_model(const struct files *f, json_t *model)
{
	json_t *vocab = json_object_get(model, "vocab");
	json_t *merges = json_object_get(model, "merges");

	vocab = json_is_array(vocab) ? map_scored(f, vocab) :
	    map_pieces(f, vocab);
	if (merges != NULL)
		json_object_set_new(model, "merges", map_merges(vocab,
		    merges));
	json_object_set_new(model, "vocab", vocab);
	map_id(f, model, "unk_id");
}

static json_t *
parse(const struct files *f, const char *data, size_t n)
{
	return json_parse(data, n, 0, f->where, f->err);
}

static enum pare_rc
put_tokenizer_json(struct files *f, const char *name, const char *data,
    size_t n)
{
	json_t *root = parse(f, data, n);

	if (root == NULL)
		return PARE_EFORMAT;
	map_model(f, json_object_get(root, "model"));
	map_added(f, json_object_get(root, "added_tokens"));
	map_post(f, json_object_get(root, "post_processor"));
	map_id(f, json_object_get(root, "padding"), "pad_id");
	add_json(f, name, root);
	json_decref(root);
	return PARE_OK;
}

/* ---- the other files ------------------------------------------------- */

/* added_tokens_decoder has ids as keys. */
static enum pare_rc
put_config(struct files *f, const char *name, const char *data, size_t n)
{
	json_t *root = parse(f, data, n), *all, *o, *out;
	const char *key;
	char text[24];

	if (root == NULL)
		return PARE_EFORMAT;
	all = json_object_get(root, "added_tokens_decoder");
	if (json_is_object(all)) {
		out = json_object();
		json_object_foreach(all, key, o) {
			int64_t id = -1;

			if (str_to_int(key, &id))
				id = present(f, id);
			if (id < 0)
				continue;
			snprintf(text, sizeof(text), "%lld", (long long)id);
			json_object_set(out, text, o);
		}
		json_object_set_new(root, "added_tokens_decoder", out);
	}
	add_json(f, name, root);
	json_decref(root);
	return PARE_OK;
}

/* {"text": id, ...}: added_tokens.json, vocab.json. */
static enum pare_rc
put_ids(struct files *f, const char *name, const char *data, size_t n)
{
	json_t *root = parse(f, data, n), *out;

	if (root == NULL)
		return PARE_EFORMAT;
	out = map_pieces(f, root);
	add_json(f, name, out);
	if (strcmp(name, "vocab.json") == 0) {
		json_decref(f->vocab);
		f->vocab = json_incref(out);
	}
	json_decref(out);
	json_decref(root);
	return PARE_OK;
}

/* A line an id. */
static enum pare_rc
put_vocab_txt(struct files *f, const char *name, const char *data, size_t n)
{
	struct str text = STR_INIT;

	if (n >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		data += 3;
		n -= 3;
	}
	for (int64_t id = 0; n > 0; id++) {
		const char *end = memchr(data, '\n', n);
		size_t k = end != NULL ? (size_t)(end - data) : n;
		size_t next = end != NULL ? k + 1 : n;

		if (present(f, id) >= 0) {
			str_addn(&text, data, k);
			str_addc(&text, '\n');
		}
		data += next;
		n -= next;
	}
	add(f, name, &text);
	return PARE_OK;
}

static enum pare_rc
put_merges_txt(struct files *f, const char *name, const char *data, size_t n)
{
	struct str text = STR_INIT;

	while (n > 0) {
		const char *end = memchr(data, '\n', n);
		size_t k = end != NULL ? (size_t)(end - data) : n;
		size_t next = end != NULL ? k + 1 : n;
		size_t line = k > 0 && data[k - 1] == '\r' ? k - 1 : k;

		if ((line >= 8 && memcmp(data, "#version", 8) == 0) ||
		    merge_left(f->vocab, data, line))
			str_addn(&text, data, next);
		data += next;
		n -= next;
	}
	add(f, name, &text);
	return PARE_OK;
}

static enum pare_rc
put_model(struct files *f, const char *name, const char *data, size_t n)
{
	struct str text = STR_INIT;
	enum pare_rc rc = sentencepiece_reduce(data, n, f->where,
	    f->t->base_id, f->t->max_pieces, &text, f->err);

	if (rc == PARE_OK)
		add(f, name, &text);
	else
		str_free(&text);
	return rc;
}

static enum pare_rc
put_same(struct files *f, const char *name, const char *data, size_t n)
{
	struct str text = STR_INIT;

	str_addn(&text, data, n);
	add(f, name, &text);
	return PARE_OK;
}

static const struct {
	const char *name;
	enum pare_rc (*put)(struct files *f, const char *name,
	    const char *data, size_t n);
} rules[] = {
	{ "tokenizer.json", put_tokenizer_json },
	{ "tokenizer_config.json", put_config },
	{ "special_tokens_map.json", put_same },
	{ "added_tokens.json", put_ids },
	{ "vocab.txt", put_vocab_txt },
	{ "vocab.json", put_ids },
	{ "merges.txt", put_merges_txt },	/* after vocab.json */
	{ "tokenizer.model", put_model },
	{ "spiece.model", put_model },
	{ "sentencepiece.bpe.model", put_model },
};

static enum pare_rc
put_folder(struct files *f)
{
	enum pare_rc rc = PARE_OK;

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules) && rc == PARE_OK;
	    i++) {
		char *path = io_join(f->dir, rules[i].name), *data = NULL;
		size_t n;

		f->where = path;
		if (io_is_file(path))
			rc = io_read(path, FILE_MAX, &data, &n, f->err);
		if (rc == PARE_OK && data != NULL)
			rc = rules[i].put(f, rules[i].name, data, n);
		free(data);
		free(path);
	}
	return rc;
}

enum pare_rc
tokenizer_reduce_files(const struct tokenizer *t, const char *dir,
    struct tokenizer_file out[TOKENIZER_FILES], int *n, struct pare_err *err)
{
	struct files f = { .t = t, .dir = dir, .out = out, .err = err };
	enum pare_rc rc;

	*n = 0;
	if (io_is_file(dir)) {
		*n = tokenizer_make_files(t, out);
		return PARE_OK;
	}
	rc = put_folder(&f);
	json_decref(f.vocab);
	if (rc == PARE_OK)
		*n = f.n;
	else
		tokenizer_files_free(out, f.n);
	return rc;
}
