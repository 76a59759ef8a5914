/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum { CONFIG_MAX = 16 << 20 };

/* The length of a number that only Python writes, at s; 0: none. */
static size_t
python_number(const char *s, size_t n)
{
	static const char *const words[] = { "NaN", "-Infinity", "Infinity" };

	for (int i = 0; i < 3; i++) {
		size_t k = strlen(words[i]);

		if (n >= k && memcmp(s, words[i], k) == 0)
			return k;
	}
	return 0;
}

/* Text with NaN, Infinity and -Infinity quoted; *found tells whether any. */
static void
quote_numbers(const char *text, size_t n, struct str *out, bool *found)
{
	bool quoted = false;

	*found = false;
	for (size_t i = 0; i < n; i++) {
		size_t k = quoted ? 0 : python_number(text + i, n - i);

		if (k != 0) {
			*found = true;
			str_addc(out, '"');
			str_addn(out, text + i, k);
			str_addc(out, '"');
			i += k - 1;
			continue;
		}
		str_addc(out, text[i]);
		if (quoted && text[i] == '\\' && i + 1 < n)
			str_addc(out, text[++i]);
		else if (text[i] == '"')
			quoted = !quoted;
	}
}

static json_t *
parse_tolerant(const char *text, size_t n, const char *where,
    struct notes *notes, struct pare_err *err)
{
	struct str mended = STR_INIT;
	bool found;
	json_t *v;

	v = json_parse(text, n, JSON_UNIQUE, where, NULL);
	if (v != NULL)
		return v;
	v = json_parse(text, n, 0, where, err);
	if (v != NULL) {
		notes_add(notes, "%s has a key twice; the last one counts",
		    where);
		return v;
	}
	quote_numbers(text, n, &mended, &found);
	if (found)
		v = json_parse(mended.s, mended.n, 0, where, NULL);
	if (v != NULL)
		notes_add(notes, "%s holds NaN or Infinity, which JSON has "
		    "not; ignored where unused", where);
	str_free(&mended);
	return v;
}

json_t *
config_parse(const char *text, size_t n, const char *where,
    struct notes *notes, struct pare_err *err)
{
	json_t *v, *inner;

	if (n == 0) {
		err_set(err, PARE_EFORMAT, "'%s' is empty", where);
		return NULL;
	}
	v = parse_tolerant(text, n, where, notes, err);
	if (v == NULL)
		return NULL;
	inner = json_object_get(v, "config");
	if (json_object_get(v, "model_type") == NULL && json_is_object(inner)) {
		json_incref(inner);
		json_decref(v);
		v = inner;
	}
	if (json_is_object(v))
		return v;
	err_set(err, PARE_EFORMAT, "'%s': expected a JSON object", where);
	json_decref(v);
	return NULL;
}

json_t *
config_read(const char *path, struct notes *notes, struct pare_err *err)
{
	char *text;
	size_t n;
	json_t *v;

	if (io_read(path, CONFIG_MAX, &text, &n, err) != PARE_OK)
		return NULL;
	v = config_parse(text, n, path, notes, err);
	free(text);
	return v;
}

enum pare_rc
config_check(const json_t *config, const char *where, struct notes *notes,
    struct pare_err *err)
{
	const json_t *q = json_object_get(config, "quantization_config");
	const char *method;

	if (json_object_get(config, "auto_map") != NULL)
		notes_add(notes, "%s names code of its own (auto_map); pare "
		    "never runs it", where);
	if (q == NULL || json_is_null(q))
		return PARE_OK;
	method = json_string_value(json_object_get(q, "quant_method"));
	if (method != NULL && strcmp(method, CONFIG_GPTQ) == 0)
		return PARE_OK;
	if (method != NULL && strcmp(method, CONFIG_QUANT_METHOD) == 0) {
		err_set(err, PARE_EFORMAT, "'%s': this model was packed by "
		    "pare, but pare.json is not beside it", where);
		return err_hint(err, "copy the whole folder that pare saved");
	}
	err_set(err, PARE_EFORMAT, "'%s': quantization_config: the weights "
	    "were quantized by '%.60s', which pare cannot read", where,
	    method != NULL ? method : "an unnamed method");
	return err_hint(err, "open the model that was not quantized");
}

static bool
has_duplicates(char *const *label, int n)
{
	for (int i = 0; i < n && i < 1000; i++)
		for (int k = 0; k < i; k++)
			if (strcmp(label[i], label[k]) == 0)
				return true;
	return false;
}

/* Takes over id2label when it names the classes 0 to n - 1. */
static void
read_labels(struct origin *o, int64_t n, struct notes *notes)
{
	const json_t *names = json_object_get(o->config, "id2label");
	const json_t *count = json_object_get(o->config, "num_labels");
	char key[24];

	if (n <= 0 || !json_is_object(names) ||
	    (int64_t)json_object_size(names) != n)
		return;
	if (json_is_integer(count) && json_integer_value(count) != n)
		notes_add(notes, "config.json says num_labels %lld but names "
		    "%lld classes; the names count",
		    (long long)json_integer_value(count), (long long)n);
	o->label = xcalloc((size_t)n, sizeof(*o->label));
	for (o->nlabels = 0; o->nlabels < n; o->nlabels++) {
		const char *name;

		snprintf(key, sizeof(key), "%d", o->nlabels);
		name = json_string_value(json_object_get(names, key));
		o->label[o->nlabels] = xstrdup(name != NULL ? name : key);
	}
	if (has_duplicates(o->label, o->nlabels))
		notes_add(notes, "config.json gives two classes the same "
		    "name (id2label)");
}

/*
 * What a title calls the model: the folder's name, or the file's without its
 * ending where that says more than every model's files do.
 */
static char *
title_of(const char *path)
{
	char *full = realpath(path, NULL), *name = io_base(full != NULL ? full :
	    path);
	char *slash = full != NULL ? strrchr(full, '/') : NULL;

	if (slash != NULL && slash != full &&
	    (strcmp(name, "config.json") == 0 ||
	    strcmp(name, "pare.json") == 0 ||
	    str_has_prefix(name, "model.safetensors"))) {
		*slash = '\0';
		free(name);
		name = io_base(full);
	} else if (str_has_suffix(name, ".json")) {
		name[strlen(name) - 5] = '\0';
	} else if (str_has_suffix(name, ".safetensors")) {
		name[strlen(name) - 12] = '\0';
	}
	free(full);
	return name;
}

struct origin *
config_origin(const char *path, const char *dir, json_t *config,
    int64_t nlabels, struct notes *notes)
{
	struct origin *o = origin_new();
	const char *problem = json_string_value(json_object_get(config,
	    "problem_type"));

	o->path = xstrdup(path);
	o->name = title_of(path);
	o->dir = dir != NULL ? xstrdup(dir) : NULL;
	o->config = json_incref(config);
	o->problem = problem != NULL ? xstrdup(problem) : NULL;
	read_labels(o, nlabels, notes);
	return o;
}
