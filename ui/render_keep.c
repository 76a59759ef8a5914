/* SPDX-License-Identifier: GPL-3.0-or-later */
/* save, export, recipe, source, set, help. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

void
render_save(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	struct str line = STR_INIT;
	char a[NUMBER_MAX];
	json_t *f;
	size_t i;

	number_bytes(a, doc_real(doc, "bytes"));
	str_addf(&line, "saved %s to %s", a, doc_text(doc, "path"));
	if (doc_true(doc, "checked"))
		str_add(&line, ", read back and checked");
	if (doc_has(doc, "max_logit_difference"))
		str_addf(&line, " (largest difference of a logit %g)",
		    doc_real(doc, "max_logit_difference"));
	str_add(&line, doc_true(doc, "plain") ?
	    "; other programs can read it too" :
	    "; only pare reads its packed tensors");
	look_wrap(b, l, 0, 2, line.s);
	table_column(t, "", TABLE_LEFT, 0);
	table_column(t, "", TABLE_RIGHT, 0);
	json_array_foreach((json_t *)doc_get(doc, "files"), i, f) {
		table_row(t);
		table_cell(t, PAINT_NONE, doc_text(f, "name"));
		number_bytes(a, doc_real(f, "bytes"));
		table_cell(t, PAINT_DIM, a);
	}
	table_draw(t, b, l, 2);
	table_free(t);
	str_free(&line);
}

/* "12 Q4_K 3.1 MiB, 25 F32 120 KiB" */
static void
add_types(struct str *line, const json_t *doc)
{
	char a[NUMBER_MAX];
	json_t *t;
	size_t i;

	json_array_foreach((json_t *)doc_get(doc, "types"), i, t) {
		number_bytes(a, doc_real(t, "bytes"));
		str_addf(line, "%s%lld %s %s", i == 0 ? "" : ", ",
		    (long long)doc_int(t, "tensors"), doc_text(t, "type"), a);
	}
}

void
render_export(struct str *b, const struct look *l, const json_t *doc)
{
	struct str line = STR_INIT;
	char a[NUMBER_MAX], m[NUMBER_MAX];

	number_bytes(a, doc_real(doc, "bytes"));
	number_bytes(m, doc_real(doc, "model_bytes"));
	str_addf(&line, "exported %s as %s to %s (the state has %s)", a,
	    doc_text(doc, "format"), doc_text(doc, "path"), m);
	if (doc_true(doc, "padded"))
		str_add(&line, ", filled up with zeros");
	look_wrap(b, l, 0, 2, line.s);
	str_clear(&line);
	str_add(&line, "tensors: ");
	add_types(&line, doc);
	look_spaces(b, 2);
	look_wrap(b, l, 2, 4, line.s);
	str_clear(&line);
	str_addf(&line, "read back and compared on %lld inputs: largest "
	    "difference of a logit %.2g (of logits up to %.3g), the largest "
	    "is the same in %lld of %lld rows",
	    (long long)doc_int(doc, "sequences"),
	    doc_real(doc, "max_logit_difference"),
	    doc_real(doc, "largest_logit"),
	    (long long)doc_int(doc, "same_top"),
	    (long long)doc_int(doc, "rows"));
	look_spaces(b, 2);
	look_wrap(b, l, 2, 4, line.s);
	str_free(&line);
}

static void
lines_line(struct str *b, const struct look *l, const json_t *doc,
    const char *verb, const char *of)
{
	long long n = (long long)doc_int(doc, "lines");
	struct str line = STR_INIT;

	str_addf(&line, "%s %lld command%s %s %s", verb, n, n == 1 ? "" : "s",
	    of, doc_text(doc, "path"));
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

void
render_recipe(struct str *b, const struct look *l, const json_t *doc)
{
	lines_line(b, l, doc, "wrote", "to");
}

void
render_source(struct str *b, const struct look *l, const json_t *doc)
{
	lines_line(b, l, doc, "ran", "of");
}

static const char *
setting_text(const json_t *v, char out[NUMBER_MAX])
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "on" : "off";
	if (!json_is_number(v))
		return "";
	number_plain(out, json_number_value(v));
	return out;
}

void
render_set(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	char x[NUMBER_MAX], y[NUMBER_MAX];
	json_t *s;
	size_t i;

	table_column(t, "setting", TABLE_LEFT, 0);
	table_column(t, "value", TABLE_LEFT, 0);
	table_column(t, "default", TABLE_LEFT, 2);
	table_column(t, "", TABLE_LEFT, 1);
	json_array_foreach((json_t *)doc_get(doc, "settings"), i, s) {
		const char *v = setting_text(doc_get(s, "value"), x);
		const char *d = setting_text(doc_get(s, "default"), y);

		table_row(t);
		table_cell(t, PAINT_TITLE, doc_text(s, "name"));
		table_cell(t, strcmp(v, d) == 0 ? PAINT_NONE : PAINT_WARN, v);
		table_cell(t, PAINT_DIM, d);
		table_cell(t, PAINT_NONE, doc_text(s, "text"));
	}
	table_draw(t, b, l, 0);
	table_free(t);
}

/* Help comes laid out; only its lines are cleaned. */
void
render_help(struct str *b, const struct look *l, const json_t *doc)
{
	const char *s = doc_text(doc, "text");

	while (*s != '\0') {
		size_t n = strcspn(s, "\n");
		struct str line = STR_INIT;
		char *clean;

		str_addn(&line, s, n);
		clean = look_clean(l, line.s);
		str_add(b, clean);
		str_addc(b, '\n');
		free(clean);
		str_free(&line);
		s += n + (s[n] == '\n');
	}
}
