/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/result.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

void
result_put_real(json_t *doc, const char *key, double v)
{
	json_object_set_new(doc, key, isfinite(v) ? json_real(v) :
	    json_null());
}

void
result_put_hash(json_t *doc, const char *key, uint64_t hash)
{
	char text[17];

	if (hash == 0) {
		json_object_set_new(doc, key, json_null());
		return;
	}
	hash_text_of(hash, text);
	json_object_set_new(doc, key, json_string(text));
}

json_t *
result_text(const char *s)
{
	json_t *v;

	if (s == NULL)
		return json_null();
	v = json_string(s);
	if (v == NULL) {
		/* Not UTF-8: keep what is ASCII, so that the document stays
		 * valid. */
		char safe[1024];
		size_t n = strlen(s);

		if (n >= sizeof(safe))
			n = sizeof(safe) - 1;
		for (size_t i = 0; i < n; i++)
			safe[i] = (unsigned char)s[i] < 0x80 ? s[i] : '?';
		safe[n] = '\0';
		v = json_string(safe);
	}
	return v;
}

void
result_put_text(json_t *doc, const char *key, const char *s)
{
	json_object_set_new(doc, key, result_text(s));
}

void
result_put_int(json_t *doc, const char *key, int64_t v)
{
	json_object_set_new(doc, key, json_integer(v));
}

void
result_put_bool(json_t *doc, const char *key, bool v)
{
	json_object_set_new(doc, key, json_boolean(v));
}

void
result_put_totals(json_t *doc, const char *key, const struct totals *t,
    int64_t seq)
{
	json_t *o = json_object();

	result_put_int(o, "params", t->params);
	result_put_int(o, "nonzero", t->nonzero);
	result_put_int(o, "bytes", t->bytes);
	result_put_real(o, "macs_per_token", (double)t->macs / (double)seq);
	result_put_int(o, "tensors", t->tensors);
	json_object_set_new(doc, key, o);
}

void
result_put_labels(json_t *doc, const struct model *m)
{
	json_t *labels = json_array();
	char name[256];

	for (int k = 0; m->hp.head == HEAD_CLASSIFY && k < m->hp.labels &&
	    k < 10000; k++) {
		model_label_name(m, k, name, sizeof(name));
		json_array_append_new(labels, result_text(name));
	}
	json_object_set_new(doc, "labels", labels);
}
