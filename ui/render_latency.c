/* SPDX-License-Identifier: GPL-3.0-or-later */
/* latency: one pass with its parts and layers, or a grid of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/chart.h"
#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

enum { BAR_WIDTH = 12, CHART_WIDTH = 32, CELL_WIDTH = 10 };

static void
ms_cell(struct table *t, enum paint p, double ms)
{
	char a[NUMBER_MAX];

	number_ms(a, ms);
	table_cell(t, p, isfinite(ms) ? a : "");
}

static void
ratio_cell(struct table *t, double ratio)
{
	if (isfinite(ratio))
		table_cellf(t, PAINT_NONE, "%.2f x", ratio);
	else
		table_cell(t, PAINT_NONE, "");
}

/* A paragraph; nothing when it is empty. Clears text. */
static void
line_of(struct str *b, const struct look *l, struct str *text)
{
	if (text->n > 0) {
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, text->s);
	}
	str_clear(text);
}

/* ", 2 threads bound". */
static void
add_threads(struct str *b, const json_t *doc)
{
	long long n = (long long)doc_int(doc, "threads");

	if (n < 1)
		return;
	str_addf(b, ", %lld thread%s", n, n == 1 ? "" : "s");
	if (doc_has(doc, "pinned"))
		str_add(b, doc_true(doc, "pinned") ? " bound" : " not bound");
}

/* ---- a pass -------------------------------------------------------------- */

static void
pass_title(struct str *b, const struct look *l, const json_t *doc)
{
	struct str line = STR_INIT;
	char p50[NUMBER_MAX], p95[NUMBER_MAX], low[NUMBER_MAX],
	    high[NUMBER_MAX];

	number_ms(p50, doc_real(doc, "p50_ms"));
	number_ms(p95, doc_real(doc, "p95_ms"));
	number_ms(low, doc_real(doc, "p25_ms"));
	number_ms(high, doc_real(doc, "p75_ms"));
	str_addf(&line, "%s ms median, %s ms at 95 %%", p50, p95);
	if (doc_has(doc, "p25_ms"))
		str_addf(&line, ", half of all from %s to %s", low, high);
	str_addf(&line, " (batch %lld, %lld tokens, %lld runs",
	    (long long)doc_int(doc, "batch"), (long long)doc_int(doc, "seq"),
	    (long long)doc_int(doc, "runs"));
	if (doc_has(doc, "warm_up"))
		str_addf(&line, " after %lld to warm up",
		    (long long)doc_int(doc, "warm_up"));
	add_threads(&line, doc);
	if (*doc_text(doc, "blas") != '\0')
		str_addf(&line, ", %s", doc_text(doc, "blas"));
	str_addf(&line, ")%s", doc_true(doc, "cached") ? ", recalled" : "");
	look_paint(b, l, PAINT_TITLE, "latency");
	str_addc(b, ' ');
	look_wrap(b, l, 8, 2, line.s);
	str_free(&line);
}

static void
pass_ratio(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *r = doc_get(doc, "ratio_to_original");
	struct str line = STR_INIT;
	char was[NUMBER_MAX];

	if (json_is_object(r)) {
		number_ms(was, doc_real(doc, "original_p50_ms"));
		str_addf(&line, "%.2f x the original's %s ms (%.2f to %.2f), "
		    "taken in turn", doc_real(r, "median"), was,
		    doc_real(r, "low"), doc_real(r, "high"));
	}
	line_of(b, l, &line);
	if (doc_has(doc, "noise"))
		str_addf(&line, "The machine is noisy: %s.",
		    doc_text(doc, "noise"));
	line_of(b, l, &line);
	str_free(&line);
}

static void
part_columns(struct table *t, const char *first)
{
	table_column(t, first, TABLE_LEFT, 0);
	table_column(t, "ms", TABLE_RIGHT, 0);
	table_column(t, "share", TABLE_RIGHT, 3);
	table_column(t, "", TABLE_LEFT, 4);
	table_column(t, "original", TABLE_RIGHT, 2);
	table_column(t, "ratio", TABLE_RIGHT, 1);
}

/* ms and share of the whole, what it was, and the ratio of the two. */
static void
part_cells(struct table *t, const struct look *l, double ms, double whole,
    double was, bool bar)
{
	char a[NUMBER_MAX], *drawn;

	ms_cell(t, PAINT_NONE, ms);
	number_percent(a, ms / whole);
	table_cell(t, PAINT_NONE, isfinite(ms / whole) ? a : "");
	drawn = chart_bar(l, bar ? ms / whole : 0, BAR_WIDTH);
	table_cell(t, PAINT_BAR, drawn);
	free(drawn);
	ms_cell(t, PAINT_DIM, was);
	ratio_cell(t, was > 0 ? ms / was : NAN);
}

static double
rest_ms(const json_t *parts)
{
	return doc_real(parts, "whole_ms") - doc_real(parts, "sum_ms");
}

/* The kinds of parts, what lies between them, and the whole. */
static void
draw_parts(struct str *b, const struct look *l, const json_t *now,
    const json_t *was)
{
	static const char *const part[][2] = { { "embeddings", "embed_ms" },
		{ "attention", "attention_ms" }, { "FFN", "ffn_ms" },
		{ "norms", "norm_ms" }, { "head", "head_ms" } };
	double whole = doc_real(now, "whole_ms");
	struct table *t = table_new();

	part_columns(t, "part");
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		table_row(t);
		table_cell(t, PAINT_TITLE, part[i][0]);
		part_cells(t, l, doc_real(now, part[i][1]), whole,
		    doc_real(was, part[i][1]), true);
	}
	table_row(t);
	table_cell(t, PAINT_TITLE, "between");
	part_cells(t, l, rest_ms(now), whole, rest_ms(was), true);
	table_rule(t);
	table_row(t);
	table_cell(t, PAINT_TITLE, "whole");
	part_cells(t, l, whole, whole, doc_real(was, "whole_ms"), false);
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
layer_columns(struct table *t)
{
	part_columns(t, "layer");
	table_column(t, "attention", TABLE_RIGHT, 5);
	table_column(t, "FFN", TABLE_RIGHT, 5);
	table_column(t, "norms", TABLE_RIGHT, 5);
}

/* Layers are told against the original's where those are the same ones. */
static void
draw_layers(struct str *b, const struct look *l, const json_t *now,
    const json_t *was)
{
	const json_t *list = doc_get(now, "layers");
	const json_t *old = doc_get(was, "layers");
	bool same = json_array_size(list) == json_array_size(old);
	struct table *t = table_new();

	layer_columns(t);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *y = json_array_get(list, i);

		table_row(t);
		table_cellf(t, PAINT_TITLE, "L%lld",
		    (long long)doc_int(y, "layer"));
		part_cells(t, l, doc_real(y, "ms"), doc_real(now, "whole_ms"),
		    same ? doc_real(json_array_get(old, i), "ms") : NAN, true);
		ms_cell(t, PAINT_DIM, doc_real(y, "attention_ms"));
		ms_cell(t, PAINT_DIM, doc_real(y, "ffn_ms"));
		ms_cell(t, PAINT_DIM, doc_real(y, "norm_ms"));
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

/* Many layers in a line: the extremes. */
static void
sum_up_layers(struct str *b, const struct look *l, const json_t *now)
{
	const json_t *list = doc_get(now, "layers");
	size_t n = json_array_size(list), slow = 0, fast = 0;
	struct str line = STR_INIT;
	char a[NUMBER_MAX], z[NUMBER_MAX];

	if (n == 0)
		return;
	for (size_t i = 1; i < n; i++) {
		double ms = doc_real(json_array_get(list, i), "ms");

		if (ms > doc_real(json_array_get(list, slow), "ms"))
			slow = i;
		if (ms < doc_real(json_array_get(list, fast), "ms"))
			fast = i;
	}
	number_ms(a, doc_real(json_array_get(list, fast), "ms"));
	number_ms(z, doc_real(json_array_get(list, slow), "ms"));
	str_addf(&line, "layers take %s ms (L%zu) to %s ms (L%zu); layers=on "
	    "lists all %zu", a, fast, z, slow, n);
	line_of(b, l, &line);
	str_free(&line);
}

void
render_latency_line(struct str *b, const struct look *l, const json_t *doc)
{
	pass_title(b, l, doc);
	pass_ratio(b, l, doc);
}

/* How a text is written, beside the pass. */
static void
draw_decode(struct str *b, const struct look *l, const json_t *d)
{
	const json_t *r = doc_get(d, "ratio_to_original");
	char a[NUMBER_MAX], z[NUMBER_MAX], was[NUMBER_MAX];
	struct str line = STR_INIT;

	if (!json_is_object(d))
		return;
	number_count(a, doc_real(d, "tokens_per_second"));
	str_addf(&line, "%s tokens/s", a);
	number_ms(a, doc_real(d, "p50_ms"));
	number_ms(z, doc_real(d, "p95_ms"));
	str_addf(&line, ": %s ms a token, %s ms at 95 %%", a, z);
	number_ms(a, doc_real(d, "first_p50_ms"));
	number_ms(z, doc_real(d, "first_p95_ms"));
	str_addf(&line, "; the first after %s ms, %s ms at 95 %% (prompt of "
	    "%lld tokens and %lld more, %lld runs)", a, z,
	    (long long)doc_int(d, "prompt"), (long long)doc_int(d, "tokens"),
	    (long long)doc_int(d, "runs"));
	str_add(&line, doc_true(d, "cached") ? ", recalled" : "");
	look_paint(b, l, PAINT_TITLE, "decode");
	str_addc(b, ' ');
	look_wrap(b, l, 7, 2, line.s);
	str_clear(&line);
	if (json_is_object(r)) {
		number_ms(was, doc_real(d, "original_p50_ms"));
		number_ms(a, doc_real(d, "original_first_p50_ms"));
		str_addf(&line, "%.2f x the original's %s ms a token (%.2f to "
		    "%.2f), taken in turn; its first after %s ms",
		    doc_real(r, "median"), was, doc_real(r, "low"),
		    doc_real(r, "high"), a);
	}
	line_of(b, l, &line);
	number_bytes(a, doc_real(d, "kv_bytes"));
	str_addf(&line, "keys and values take %s", a);
	if (json_is_object(r)) {
		number_bytes_pair(was, doc_real(d, "original_kv_bytes"),
		    doc_real(d, "kv_bytes"));
		str_clear(&line);
		str_addf(&line, "keys and values take %s", was);
	}
	line_of(b, l, &line);
	str_free(&line);
}

static void
draw_pass(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *now = doc_get(doc, "breakdown");
	const json_t *was = doc_get(doc, "original_breakdown");

	render_latency_line(b, l, doc);
	draw_decode(b, l, doc_get(doc, "decode"));
	if (!json_is_object(now))
		return;
	draw_parts(b, l, now, was);
	if (doc_true(doc, "list_layers"))
		draw_layers(b, l, now, was);
	else
		sum_up_layers(b, l, now);
}

/* ---- a grid -------------------------------------------------------------- */

static const json_t *
cell_at(const json_t *doc, size_t batch, size_t length)
{
	return json_array_get(doc_get(doc, "cells"), batch *
	    json_array_size(doc_get(doc, "lengths")) + length);
}

static long long
number_at(const json_t *list, size_t i)
{
	return (long long)json_integer_value(json_array_get(list, i));
}

/* A cell that was not reached has "-", one to be doubted a mark. */
static void
grid_cell(struct table *t, const json_t *cell, bool ratio)
{
	double r = doc_real(doc_get(cell, "ratio_to_original"), "median");
	const char *mark = doc_has(cell, "noise") ? "~" : "";
	char a[NUMBER_MAX];

	number_ms(a, doc_real(cell, "p50_ms"));
	if (!doc_has(cell, "p50_ms"))
		table_cell(t, PAINT_DIM, "-");
	else if (ratio)
		table_cellf(t, PAINT_NONE, "%s%.2f x", mark, r);
	else
		table_cellf(t, PAINT_NONE, "%s%s", mark, a);
}

/* Batches down, lengths [from, to) across. */
static void
grid_part(struct str *b, const struct look *l, const json_t *doc, size_t from,
    size_t to, bool ratio)
{
	const json_t *lengths = doc_get(doc, "lengths");
	const json_t *batches = doc_get(doc, "batches");
	struct table *t = table_new();
	char title[16][24];

	table_column(t, "batch", TABLE_RIGHT, 0);
	for (size_t i = from; i < to; i++) {
		snprintf(title[i - from], sizeof(title[0]), "%lld",
		    number_at(lengths, i));
		table_column(t, title[i - from], TABLE_RIGHT, 0);
	}
	for (size_t k = 0; k < json_array_size(batches); k++) {
		table_row(t);
		table_cellf(t, PAINT_TITLE, "%lld", number_at(batches, k));
		for (size_t i = from; i < to; i++)
			grid_cell(t, cell_at(doc, k, i), ratio);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
grid_table(struct str *b, const struct look *l, const json_t *doc, bool ratio)
{
	size_t n = json_array_size(doc_get(doc, "lengths")), step;

	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, ratio ? "ratio to the original" :
	    "median ms by tokens in a sequence");
	step = l->width > 8 + CELL_WIDTH ? (size_t)(l->width - 8) /
	    CELL_WIDTH : 1;
	if (step > 15)
		step = 15;
	for (size_t from = 0; from < n; from += step)
		grid_part(b, l, doc, from, from + step < n ? from + step : n,
		    ratio);
}

static double
most_tokens(const json_t *cells)
{
	double most = 0;

	for (size_t i = 0; i < json_array_size(cells); i++) {
		double v = doc_real(json_array_get(cells, i),
		    "tokens_per_second");

		if (v > most)
			most = v;
	}
	return most;
}

/* A bar for each cell: where a larger batch pays, bars grow. */
static void
grid_chart(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *cells = doc_get(doc, "cells");
	double most = most_tokens(cells);
	struct table *t = table_new();

	table_column(t, "batch", TABLE_RIGHT, 0);
	table_column(t, "tokens", TABLE_RIGHT, 0);
	table_column(t, "tokens/s", TABLE_RIGHT, 2);
	table_column(t, "", TABLE_LEFT, 1);
	for (size_t i = 0; i < json_array_size(cells); i++) {
		const json_t *cell = json_array_get(cells, i);
		double v = doc_real(cell, "tokens_per_second");
		char a[NUMBER_MAX], *bar;

		table_row(t);
		table_cellf(t, PAINT_TITLE, "%lld",
		    (long long)doc_int(cell, "batch"));
		table_cellf(t, PAINT_TITLE, "%lld",
		    (long long)doc_int(cell, "seq"));
		number_count(a, v);
		table_cell(t, PAINT_NONE, a);
		bar = chart_bar(l, most > 0 ? v / most : 0, l->width <
		    CHART_WIDTH + 32 ? BAR_WIDTH : CHART_WIDTH);
		table_cell(t, PAINT_BAR, bar);
		free(bar);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
grid_title(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *cells = doc_get(doc, "cells");
	long long least = 0, most = 0;
	struct str line = STR_INIT;

	for (size_t i = 0; i < json_array_size(cells); i++) {
		long long n = (long long)doc_int(json_array_get(cells, i),
		    "runs");

		least = i == 0 || n < least ? n : least;
		most = n > most ? n : most;
	}
	str_addf(&line, "%zu cells in turn, %lld", json_array_size(cells),
	    least);
	if (most > least)
		str_addf(&line, " to %lld", most);
	str_add(&line, " runs each");
	add_threads(&line, doc);
	if (doc_true(doc, "partial"))
		str_add(&line, "; stopped: partial");
	look_paint(b, l, PAINT_TITLE, "latency grid");
	str_addc(b, ' ');
	look_wrap(b, l, 13, 2, line.s);
	str_free(&line);
}

static void
grid_noise(struct str *b, const struct look *l, const json_t *cells)
{
	struct str line = STR_INIT;
	int noisy = 0;

	for (size_t i = 0; i < json_array_size(cells); i++)
		noisy += doc_has(json_array_get(cells, i), "noise");
	if (noisy > 0)
		str_addf(&line, "The machine is noisy: %d cell%s (~) var%s "
		    "much or waited for processors.", noisy, noisy == 1 ? "" :
		    "s", noisy == 1 ? "ies" : "y");
	line_of(b, l, &line);
	str_free(&line);
}

static void
draw_grid(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *cells = doc_get(doc, "cells");
	bool ratio = false;

	for (size_t i = 0; i < json_array_size(cells); i++)
		ratio |= doc_has(json_array_get(cells, i),
		    "ratio_to_original");
	grid_title(b, l, doc);
	grid_noise(b, l, cells);
	grid_table(b, l, doc, false);
	if (ratio)
		grid_table(b, l, doc, true);
	grid_chart(b, l, doc);
}

void
render_latency(struct str *b, const struct look *l, const json_t *doc)
{
	if (doc_has(doc, "cells"))
		draw_grid(b, l, doc);
	else
		draw_pass(b, l, doc);
}
