/* SPDX-License-Identifier: GPL-3.0-or-later */
/* importance: a ranked list with bars; of heads a map of layers before it. */
#include <math.h>
#include <string.h>

#include "ui/chart.h"
#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

enum { LISTED = 12, BAR = 20 };

static const json_t *
row_of(const json_t *doc, int layer, int head)
{
	const json_t *rows = doc_get(doc, "rows"), *o;
	size_t i;

	json_array_foreach((json_t *)rows, i, o)
		if (doc_int(o, "layer") == layer &&
		    doc_int(o, "head") == head)
			return o;
	return NULL;
}

static void
largest(const json_t *doc, int *layers, int *heads, double *high)
{
	const json_t *rows = doc_get(doc, "rows"), *o;
	size_t i;

	*layers = *heads = 0;
	*high = 0;
	json_array_foreach((json_t *)rows, i, o) {
		int l = (int)doc_int(o, "layer") + 1;
		int h = (int)doc_int(o, "head") + 1;
		double v = doc_real(o, "score");

		*layers = l > *layers ? l : *layers;
		*heads = h > *heads ? h : *heads;
		*high = v > *high ? v : *high;
	}
}

/* One row a layer, one column a head; 100 is the most important. */
static void
head_map(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	int layers, heads;
	double high;

	largest(doc, &layers, &heads, &high);
	table_column(t, "", TABLE_LEFT, 0);
	for (int h = 0; h < heads; h++)
		table_column(t, "", TABLE_RIGHT, 0);
	table_row(t);
	table_cell(t, PAINT_DIM, "");
	for (int h = 0; h < heads; h++)
		table_cellf(t, PAINT_DIM, "h%d", h);
	for (int k = 0; k < layers; k++) {
		table_row(t);
		table_cellf(t, PAINT_TITLE, "L%d", k);
		for (int h = 0; h < heads; h++) {
			const json_t *o = row_of(doc, k, h);

			if (o == NULL)
				table_cell(t, PAINT_DIM, "-");
			else
				table_cellf(t, PAINT_NONE, "%.0f", high > 0 ?
				    100 * doc_real(o, "score") / high : 0);
		}
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
add_row(struct table *t, const json_t *o)
{
	char score[NUMBER_MAX];

	number_plain(score, doc_real(o, "score"));
	table_row(t);
	table_cellf(t, PAINT_DIM, "%lld", (long long)doc_int(o, "rank"));
	table_cell(t, PAINT_TITLE, doc_text(o, "path"));
	table_cell(t, PAINT_NONE, score);
}

static void
list_rows(struct str *b, const struct look *l, const json_t *doc, bool ends)
{
	const json_t *rows = doc_get(doc, "rows");
	size_t n = json_array_size(rows);
	struct table *t = table_new();

	table_column(t, "rank", TABLE_RIGHT, 0);
	table_column(t, "part", TABLE_LEFT, 0);
	table_column(t, "score", TABLE_RIGHT, 0);
	for (size_t i = 0; i < n; i++) {
		if (ends && i >= LISTED / 2 && i + LISTED / 2 < n) {
			if (i == LISTED / 2)
				table_rule(t);
			continue;
		}
		add_row(t, json_array_get(rows, i));
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

void
render_importance(struct str *b, const struct look *l, const json_t *doc)
{
	bool heads = strcmp(doc_text(doc, "unit"), "heads") == 0;
	int64_t n = doc_int(doc, "n"), samples = doc_int(doc, "samples");
	size_t shown = json_array_size(doc_get(doc, "rows"));
	struct str line = STR_INIT;
	char seconds[NUMBER_MAX];

	number_seconds(seconds, doc_real(doc, "seconds"));
	str_addf(&line, "%lld %s by %s: %s", (long long)n,
	    doc_text(doc, "unit"), doc_text(doc, "by"),
	    doc_text(doc, "measure"));
	if (samples > 0)
		str_addf(&line, "; %lld calib sample%s, %s",
		    (long long)samples, samples == 1 ? "" : "s", seconds);
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
	if (heads && (int64_t)shown == n && !l->linear)
		head_map(b, l, doc);
	list_rows(b, l, doc, heads && shown > LISTED && !l->linear);
	if ((int64_t)shown < n)
		str_addf(b, "  and %lld more: top=0 lists them all\n",
		    (long long)(n - (int64_t)shown));
}
