/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sweep: of heads a map, of other parts a list, of steps a list in their order. */
#include <math.h>
#include <string.h>

#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

static void
add_head(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *base = doc_get(doc, "base");
	struct str line = STR_INIT;
	char seconds[NUMBER_MAX], value[NUMBER_MAX];
	bool alone = strcmp(doc_text(doc, "mode"), "alone") == 0;

	number_seconds(seconds, doc_real(doc, "seconds"));
	number_percent(value, doc_real(base, "value"));
	str_addf(&line, "sweep %s%s%s: %lld of %lld measured on %lld calib "
	    "%s", doc_text(doc, "what"), alone ? "" : " ",
	    alone ? "" : doc_text(doc, "mode"),
	    (long long)doc_int(doc, "done"), (long long)doc_int(doc, "n"),
	    (long long)doc_int(doc, "samples"),
	    doc_true(doc, "text") ? "windows of text" :
	    doc_int(doc, "samples") == 1 ? "sample" : "samples");
	if (doc_real(doc, "seconds") > 0)
		str_addf(&line, " in %s", seconds);
	if (doc_int(doc, "recalled") > 0)
		str_addf(&line, " (%lld recalled)",
		    (long long)doc_int(doc, "recalled"));
	str_addf(&line, "; whole: loss %.4f", doc_real(base, "loss"));
	if (doc_real(base, "value") >= 0)
		str_addf(&line, ", %s %sright", value,
		    doc_true(doc, "text") ? "of tokens " : "");
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

/* What `key` is of each head, a row a layer. */
static void
head_map(struct str *b, const struct look *l, const json_t *doc,
    const char *key, const char *title)
{
	const json_t *rows = doc_get(doc, "rows"), *o;
	int heads = 0, layer = -1, at = 0;
	struct table *t = table_new();
	size_t i;

	json_array_foreach((json_t *)rows, i, o)
		if (doc_int(o, "head") >= heads)
			heads = (int)doc_int(o, "head") + 1;
	table_column(t, "", TABLE_LEFT, 0);
	for (int h = 0; h < heads; h++)
		table_column(t, "", TABLE_RIGHT, 0);
	table_row(t);
	table_cell(t, PAINT_DIM, "");
	for (int h = 0; h < heads; h++)
		table_cellf(t, PAINT_DIM, "h%d", h);
	json_array_foreach((json_t *)rows, i, o) {
		if (doc_int(o, "layer") != layer) {
			layer = (int)doc_int(o, "layer");
			table_row(t);
			table_cellf(t, PAINT_TITLE, "L%d", layer);
			at = 0;
		}
		for (; at < doc_int(o, "head"); at++)
			table_cell(t, PAINT_DIM, "-");
		table_cellf(t, PAINT_NONE, "%+.4f", doc_real(o, key));
		at++;
	}
	str_addf(b, "  %s:\n", title);
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
list_rows(struct str *b, const struct look *l, const json_t *rows, bool steps)
{
	struct table *t = table_new();
	const json_t *o;
	size_t i;

	if (steps)
		table_column(t, "round", TABLE_RIGHT, 0);
	table_column(t, steps ? "removed" : "part", TABLE_LEFT, 0);
	table_column(t, "loss", TABLE_RIGHT, 1);
	table_column(t, "rise", TABLE_RIGHT, 0);
	table_column(t, "points", TABLE_RIGHT, 0);
	table_column(t, "fixed", TABLE_RIGHT, 2);
	table_column(t, "broke", TABLE_RIGHT, 2);
	table_column(t, "KL", TABLE_RIGHT, 3);
	json_array_foreach((json_t *)rows, i, o) {
		char kl[NUMBER_MAX];

		number_plain(kl, doc_real(o, "kl"));
		table_row(t);
		if (steps)
			table_cellf(t, PAINT_DIM, "%lld",
			    (long long)doc_int(o, "round"));
		if (doc_has(o, "path"))
			table_cell(t, PAINT_TITLE, doc_text(o, "path"));
		else
			table_cellf(t, PAINT_TITLE, "L%lld.h%lld",
			    (long long)doc_int(o, "layer"),
			    (long long)doc_int(o, "head"));
		table_cellf(t, PAINT_NONE, "%.4f", doc_real(o, "loss"));
		table_cellf(t, PAINT_NONE, "%+.4f", doc_real(o,
		    "delta_loss"));
		table_cellf(t, PAINT_NONE, "%+.1f", 100 * doc_real(o,
		    "delta"));
		table_cellf(t, PAINT_NONE, "%lld",
		    (long long)doc_int(o, "fixed"));
		table_cellf(t, PAINT_NONE, "%lld",
		    (long long)doc_int(o, "broke"));
		table_cell(t, PAINT_NONE, kl);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
add_spearman(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *all = doc_get(doc, "spearman");
	struct str line = STR_INIT;
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)all, name, v) {
		if (line.n > 0)
			str_add(&line, ", ");
		str_addf(&line, "%s ", name);
		if (isfinite(doc_real(v, "kl")))
			str_addf(&line, "%.2f", doc_real(v, "kl"));
		else
			str_addc(&line, '-');
		if (isfinite(doc_real(v, "loss")))
			str_addf(&line, " (%.2f)", doc_real(v, "loss"));
	}
	if (line.n > 0) {
		str_add(b, "  rank correlation with KL (and the rise): ");
		look_wrap(b, l, 43, 4, line.s);
	}
	str_free(&line);
}

/* Heads that go one by one have a map. */
static bool
has_map(const json_t *doc)
{
	const json_t *rows = doc_get(doc, "rows"), *o;
	const char *what = doc_text(doc, "what");
	size_t i;

	if (strcmp(what, "heads") != 0 && strcmp(what, "kept") != 0)
		return false;
	json_array_foreach((json_t *)rows, i, o)
		if (doc_int(o, "heads") != 1)
			return false;
	return true;
}

void
render_sweep(struct str *b, const struct look *l, const json_t *doc)
{
	bool steps = strcmp(doc_text(doc, "mode"), "greedy") == 0;

	add_head(b, l, doc);
	if (!steps && has_map(doc) && !l->linear) {
		head_map(b, l, doc, "delta_loss", "rise of the loss");
		head_map(b, l, doc, "kl", "KL divergence from the whole model");
	} else {
		list_rows(b, l, doc_get(doc, "rows"), steps);
	}
	if (doc_has(doc, "all")) {
		str_add(b, "  without the one:\n");
		list_rows(b, l, doc_get(doc, "all"), false);
	}
	if (doc_has(doc, "best_of_layer")) {
		str_add(b, "  the best head of each layer, kept alone:\n");
		list_rows(b, l, doc_get(doc, "best_of_layer"), false);
	}
	add_spearman(b, l, doc);
}
