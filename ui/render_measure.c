/* SPDX-License-Identifier: GPL-3.0-or-later */
/* eval, predict, compare, expect. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/chart.h"
#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

/* "92.5 to 95.5" in the unit of the metric; false when undefined. */
static bool
interval(char *out, size_t n, const json_t *doc, const char *metric)
{
	const json_t *ci = doc_get(doc, "ci95");
	char low[NUMBER_MAX], high[NUMBER_MAX];
	const char *unit;

	if (!json_is_number(json_array_get(ci, 0)) ||
	    !json_is_number(json_array_get(ci, 1)))
		return false;
	render_metric_bare(low, sizeof(low), metric,
	    json_number_value(json_array_get(ci, 0)), &unit);
	render_metric_bare(high, sizeof(high), metric,
	    json_number_value(json_array_get(ci, 1)), &unit);
	snprintf(out, n, "%s to %s", low, high);
	return true;
}

void
render_first_metric(struct str *b, const json_t *eval)
{
	const char *metric = doc_text(eval, "metric");
	char value[NUMBER_MAX], ci[3 * NUMBER_MAX];

	if (!doc_has(eval, "value"))
		return;
	render_metric(value, sizeof(value), metric, doc_real(eval, "value"));
	str_addf(b, " %c%s %s", toupper((unsigned char)*metric), metric + 1,
	    value);
	if (interval(ci, sizeof(ci), eval, metric))
		str_addf(b, " (%s, n %lld).", ci,
		    (long long)doc_int(eval, "n"));
	else
		str_addf(b, " (n %lld).", (long long)doc_int(eval, "n"));
}

/* "accuracy 94.1 -> 94.0 % (1 fixed, 2 broke of 1000): within noise." */
static void
add_eval(struct str *b, const json_t *e)
{
	const char *metric = doc_text(e, "metric"), *unit;
	double value = doc_real(e, "value"), delta = doc_real(e, "delta");
	char now[NUMBER_MAX], old[NUMBER_MAX];

	render_metric_bare(now, sizeof(now), metric, value, &unit);
	if (!isfinite(delta)) {
		str_addf(b, "%s %s%s of %lld", metric, now, unit,
		    (long long)doc_int(e, "n"));
	} else {
		render_metric_bare(old, sizeof(old), metric, value - delta,
		    &unit);
		str_addf(b, "%s %s -> %s%s", metric, old, now, unit);
		if (doc_has(e, "fixed"))
			str_addf(b, " (%lld fixed, %lld broke of %lld)",
			    (long long)doc_int(e, "fixed"),
			    (long long)doc_int(e, "broke"),
			    (long long)doc_int(e, "n"));
	}
	if (*doc_text(e, "verdict") != '\0')
		str_addf(b, ": %s", doc_text(e, "verdict"));
	str_add(b, doc_true(e, "cached") ? " (recalled)." : ".");
}

/* "Latency 0.97 x (0.95 to 0.99)." */
static void
add_latency(struct str *b, const json_t *e)
{
	const json_t *r = doc_get(e, "ratio_to_original");

	if (b->n > 0)
		str_addc(b, ' ');
	if (json_is_object(r))
		str_addf(b, "Latency %.2f x (%.2f to %.2f).",
		    doc_real(r, "median"), doc_real(r, "low"),
		    doc_real(r, "high"));
	else
		str_addf(b, "Latency %.2f ms.", doc_real(e, "p50_ms"));
}

void
render_verdict(struct str *b, const struct look *l, const json_t *eval,
    const json_t *latency)
{
	struct str line = STR_INIT;

	if (json_is_object(eval) && doc_has(eval, "metric"))
		add_eval(&line, eval);
	if (json_is_object(latency) && doc_has(latency, "p50_ms"))
		add_latency(&line, latency);
	if (line.n > 0) {
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, line.s);
	}
	str_free(&line);
}

/* ---- eval ---------------------------------------------------------------- */

static void
eval_others(struct str *b, const json_t *doc)
{
	const char *name, *metric = doc_text(doc, "metric");
	char a[NUMBER_MAX];
	json_t *v;

	json_object_foreach((json_t *)doc_get(doc, "metrics"), name, v) {
		if (strcmp(name, metric) == 0 || strcmp(name, "loss") == 0 ||
		    !json_is_number(v))
			continue;
		render_metric(a, sizeof(a), name, json_number_value(v));
		str_addf(b, ", %s %s", name, a);
	}
	if (doc_has(doc, "loss"))
		str_addf(b, ", loss %.4f", doc_real(doc, "loss"));
}

static void
eval_cost(struct str *b, const struct look *l, const json_t *doc)
{
	char seconds[NUMBER_MAX], rate[NUMBER_MAX], *line;

	number_seconds(seconds, doc_real(doc, "seconds"));
	number_count(rate, doc_real(doc, "tokens_per_second"));
	if (doc_true(doc, "cached"))
		line = str_format("  recalled: measured before, in %s",
		    seconds);
	else if (doc_int(doc, "from_layer") > 0)
		line = str_format("  in %s, %s tokens/s, from layer %lld on",
		    seconds, rate, (long long)doc_int(doc, "from_layer"));
	else
		line = str_format("  in %s, %s tokens/s", seconds, rate);
	look_paint(b, l, PAINT_DIM, line);
	str_addc(b, '\n');
	free(line);
}

/* ", p 0.003: worse"; the verdict may name p itself. */
static void
add_test(struct str *b, const json_t *doc)
{
	const char *verdict = doc_text(doc, "verdict");

	if (doc_has(doc, "mcnemar_p") && strstr(verdict, "(p ") == NULL)
		str_addf(b, ", p %.3g", doc_real(doc, "mcnemar_p"));
	if (*verdict != '\0')
		str_addf(b, ": %s", verdict);
}

/* States with other tokens have a verdict and no difference. */
static bool
tells_tokens(const json_t *doc)
{
	return str_has_prefix(doc_text(doc, "verdict"), "other tokens");
}

static void
eval_difference(struct str *b, const struct look *l, const json_t *doc)
{
	const char *metric = doc_text(doc, "metric"), *unit;
	struct str line = STR_INIT;
	char a[NUMBER_MAX];

	if (!doc_has(doc, "delta") && tells_tokens(doc)) {
		str_addf(&line, "against the original: %s",
		    doc_text(doc, "verdict"));
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, line.s);
		str_free(&line);
		return;
	}
	if (!doc_has(doc, "delta"))
		return;
	render_metric_bare(a, sizeof(a), metric, doc_real(doc, "delta"),
	    &unit);
	str_addf(&line, "against the original: %s%s%s",
	    doc_real(doc, "delta") >= 0 ? "+" : "", a,
	    *unit != '\0' ? " points" : "");
	if (doc_has(doc, "fixed"))
		str_addf(&line, ", %lld fixed, %lld broke",
		    (long long)doc_int(doc, "fixed"),
		    (long long)doc_int(doc, "broke"));
	add_test(&line, doc);
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, line.s);
	str_free(&line);
}

/* "KL from the original 0.0123 (0.0110 to 0.0136), ...; the same token likeliest
 * at 96.1 %". */
static void
eval_divergence(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *d = doc_get(doc, "divergence");
	const json_t *ci = doc_get(d, "ci95");
	const json_t *top = doc_get(d, "same_top_ci95");
	struct str line = STR_INIT;

	if (!json_is_object(d))
		return;
	str_addf(&line, "KL from the original %.4g nats a token",
	    doc_real(d, "mean"));
	if (json_is_number(json_array_get(ci, 0)))
		str_addf(&line, " (%.4g to %.4g)",
		    json_number_value(json_array_get(ci, 0)),
		    json_number_value(json_array_get(ci, 1)));
	str_addf(&line, ", median %.4g, 99 %% %.4g, most %.4g",
	    doc_real(d, "median"), doc_real(d, "p99"), doc_real(d, "max"));
	if (doc_int(d, "kept") < doc_int(d, "vocab"))
		str_addf(&line, " (at least: of %lld of %lld tokens)",
		    (long long)doc_int(d, "kept"),
		    (long long)doc_int(d, "vocab"));
	str_addf(&line, "; the same token likeliest at %.1f %%",
	    100 * doc_real(d, "same_top"));
	if (json_is_number(json_array_get(top, 0)))
		str_addf(&line, " (%.1f to %.1f)",
		    100 * json_number_value(json_array_get(top, 0)),
		    100 * json_number_value(json_array_get(top, 1)));
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, line.s);
	str_free(&line);
}

/* How the text was read: "chunks of 128 tokens, 14 windows". */
static void
eval_custom(struct str *b, const struct look *l, const json_t *doc)
{
	const char *custom = doc_text(doc, "custom");
	struct str line = STR_INIT;

	if (*custom == '\0')
		return;
	if (strcmp(custom, "masked") == 0)
		str_addf(&line, "hidden tokens of %lld samples",
		    (long long)doc_int(doc, "windows"));
	else if (strcmp(custom, "chunks") == 0)
		str_addf(&line, "%lld chunks of %lld tokens, their second "
		    "halves scored", (long long)doc_int(doc, "windows"),
		    (long long)doc_int(doc, "context"));
	else
		str_addf(&line, "%lld windows of %lld tokens, one every %lld",
		    (long long)doc_int(doc, "windows"),
		    (long long)doc_int(doc, "context"),
		    (long long)doc_int(doc, "stride"));
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, line.s);
	str_free(&line);
}

void
render_eval(struct str *b, const struct look *l, const json_t *doc)
{
	const char *metric = doc_text(doc, "metric");
	struct str line = STR_INIT;
	char a[NUMBER_MAX], ci[3 * NUMBER_MAX];

	render_metric(a, sizeof(a), metric, doc_real(doc, "value"));
	str_addf(&line, "%s ", a);
	str_addc(&line, '(');
	if (interval(ci, sizeof(ci), doc, metric))
		str_addf(&line, "95 %% interval %s, ", ci);
	str_addf(&line, "n %lld", (long long)doc_int(doc, "n"));
	if (doc_true(doc, "partial"))
		str_addf(&line, " of %lld: partial",
		    (long long)doc_int(doc, "total"));
	str_addc(&line, ')');
	eval_others(&line, doc);
	look_paint(b, l, PAINT_TITLE, metric);
	str_addc(b, ' ');
	look_wrap(b, l, (int)strlen(metric) + 1, 2, line.s);
	eval_difference(b, l, doc);
	eval_divergence(b, l, doc);
	eval_custom(b, l, doc);
	eval_cost(b, l, doc);
	str_free(&line);
}

/* ---- predict ------------------------------------------------------------- */

static int
largest(const json_t *list)
{
	size_t n = json_array_size(list), best = 0;

	for (size_t i = 1; i < n; i++)
		if (json_number_value(json_array_get(list, i)) >
		    json_number_value(json_array_get(list, best)))
			best = i;
	return (int)best;
}

static const char *
label_text(const json_t *v, char *out, size_t n)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v))
		snprintf(out, n, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(out, n, "%.3f", json_real_value(v));
	else
		return "";
	return out;
}

/* A single input: every class with its bar. */
static void
predict_one(struct str *b, const struct look *l, const json_t *doc,
    const json_t *row)
{
	const json_t *p = doc_get(row, "probabilities");
	const json_t *logits = doc_get(row, "logits");
	const json_t *names = doc_get(doc, "labels");
	struct table *t = table_new();
	char a[NUMBER_MAX], name[32], *bar;

	table_column(t, "", TABLE_LEFT, 0);
	table_column(t, "", TABLE_RIGHT, 0);
	table_column(t, "", TABLE_LEFT, 1);
	table_column(t, "", TABLE_RIGHT, 2);
	for (size_t i = 0; i < json_array_size(p); i++) {
		double v = json_number_value(json_array_get(p, i));
		const char *s = json_string_value(json_array_get(names, i));
		bool best = (int)i == largest(p);

		snprintf(name, sizeof(name), "class %zu", i);
		table_row(t);
		table_cell(t, best ? PAINT_TITLE : PAINT_NONE,
		    s != NULL ? s : best && *doc_text(row, "label") != '\0' ?
		    doc_text(row, "label") : name);
		number_percent(a, v);
		table_cell(t, PAINT_NONE, a);
		bar = chart_bar(l, v, 20);
		table_cell(t, PAINT_BAR, bar);
		free(bar);
		table_cellf(t, PAINT_DIM, "logit %.3f",
		    json_number_value(json_array_get(logits, i)));
	}
	table_draw(t, b, l, 0);
	table_free(t);
}

/* One row of logits per token, or hidden states: what a line can hold. */
static void
predict_tokens(struct str *b, const struct look *l, const json_t *row,
    const json_t *values)
{
	const json_t *tokens = doc_get(row, "tokens");
	struct table *t = table_new();
	char name[32];

	table_column(t, "token", TABLE_LEFT, 0);
	table_column(t, "best", TABLE_RIGHT, 1);
	table_column(t, "values", TABLE_LEFT, 0);
	for (size_t i = 0; i < json_array_size(values); i++) {
		const json_t *v = json_array_get(values, i);
		const char *s = json_string_value(json_array_get(tokens, i));
		struct str line = STR_INIT;

		snprintf(name, sizeof(name), "%zu", i);
		for (size_t k = 0; k < json_array_size(v) && k < 6; k++)
			str_addf(&line, "%s%.3f", k > 0 ? " " : "",
			    json_number_value(json_array_get(v, k)));
		if (json_array_size(v) > 6)
			str_addf(&line, " ... (%zu)", json_array_size(v));
		table_row(t);
		table_cell(t, PAINT_TITLE, s != NULL ? s : name);
		table_cellf(t, PAINT_NONE, "%d", largest(v));
		table_cell(t, PAINT_NONE, line.s);
		str_free(&line);
	}
	table_draw(t, b, l, 0);
	table_free(t);
}

static void
predict_row(struct table *t, const json_t *row)
{
	const json_t *p = doc_get(row, "probabilities");
	char label[32], gold[32], a[NUMBER_MAX];
	const char *x = label_text(doc_get(row, "label"), label, 32);
	const char *y = label_text(doc_get(row, "gold"), gold, 32);

	table_row(t);
	table_cellf(t, PAINT_DIM, "%lld", (long long)doc_int(row, "index"));
	table_cell(t, PAINT_TITLE, x);
	if (json_array_size(p) > 0)
		number_percent(a, json_number_value(json_array_get(p,
		    (size_t)largest(p))));
	table_cell(t, PAINT_NONE, json_array_size(p) > 0 ? a : "");
	table_cell(t, PAINT_NONE, y);
	table_cell(t, PAINT_WARN, *y != '\0' && strcmp(x, y) != 0 ? "wrong" :
	    "");
	table_cell(t, PAINT_NONE, doc_text(row, "text"));
}

static void
predict_many(struct str *b, const struct look *l, const json_t *rows)
{
	struct table *t = table_new();
	json_t *row;
	size_t i;

	table_column(t, "sample", TABLE_RIGHT, 2);
	table_column(t, "label", TABLE_LEFT, 0);
	table_column(t, "sure", TABLE_RIGHT, 1);
	table_column(t, "gold", TABLE_LEFT, 0);
	table_column(t, "", TABLE_LEFT, 0);
	table_column(t, "text", TABLE_LEFT, 0);
	json_array_foreach((json_t *)rows, i, row)
		predict_row(t, row);
	table_draw(t, b, l, 0);
	table_free(t);
}

/* The likeliest tokens of one place, with bars. */
static void
next_place(struct str *b, const struct look *l, const json_t *place,
    bool titled)
{
	struct table *t = table_new();
	char a[NUMBER_MAX], *bar;
	json_t *one;
	size_t i;

	if (titled)
		str_addf(b, "position %lld\n",
		    (long long)doc_int(place, "position"));
	table_column(t, "", TABLE_LEFT, 0);
	table_column(t, "", TABLE_RIGHT, 0);
	table_column(t, "", TABLE_LEFT, 1);
	table_column(t, "", TABLE_RIGHT, 2);
	json_array_foreach((json_t *)doc_get(place, "tokens"), i, one) {
		const char *s = doc_text(one, "token");

		table_row(t);
		if (*s != '\0')
			table_cell(t, i == 0 ? PAINT_TITLE : PAINT_NONE, s);
		else
			table_cellf(t, PAINT_NONE, "%lld",
			    (long long)doc_int(one, "id"));
		number_percent(a, doc_real(one, "probability"));
		table_cell(t, PAINT_NONE, a);
		bar = chart_bar(l, doc_real(one, "probability"), 20);
		table_cell(t, PAINT_BAR, bar);
		free(bar);
		table_cellf(t, PAINT_DIM, "id %lld",
		    (long long)doc_int(one, "id"));
	}
	table_draw(t, b, l, 0);
	table_free(t);
}

/* A line for each place of many samples: the likeliest token alone. */
static void
next_many(struct str *b, const struct look *l, const json_t *rows)
{
	struct table *t = table_new();
	json_t *row, *place;
	char a[NUMBER_MAX];
	size_t i, k;

	table_column(t, "sample", TABLE_RIGHT, 2);
	table_column(t, "position", TABLE_RIGHT, 3);
	table_column(t, "likeliest", TABLE_LEFT, 0);
	table_column(t, "sure", TABLE_RIGHT, 1);
	table_column(t, "text", TABLE_LEFT, 0);
	json_array_foreach((json_t *)rows, i, row)
		json_array_foreach((json_t *)doc_get(row, "next"), k, place) {
			const json_t *one = json_array_get(doc_get(place,
			    "tokens"), 0);

			table_row(t);
			table_cellf(t, PAINT_DIM, "%lld",
			    (long long)doc_int(row, "index"));
			table_cellf(t, PAINT_DIM, "%lld",
			    (long long)doc_int(place, "position"));
			table_cell(t, PAINT_TITLE, doc_text(one, "token"));
			number_percent(a, doc_real(one, "probability"));
			table_cell(t, PAINT_NONE, a);
			table_cell(t, PAINT_NONE, doc_text(row, "text"));
		}
	table_draw(t, b, l, 0);
	table_free(t);
}

static void
predict_next(struct str *b, const struct look *l, const json_t *rows)
{
	const json_t *places = doc_get(json_array_get(rows, 0), "next");
	json_t *place;
	size_t i;

	if (json_array_size(rows) > 1) {
		next_many(b, l, rows);
		return;
	}
	json_array_foreach((json_t *)places, i, place)
		next_place(b, l, place, json_array_size(places) > 1);
}

void
render_predict(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *rows = doc_get(doc, "rows");
	const json_t *row = json_array_get(rows, 0), *values;

	if (*doc_text(doc, "file") != '\0') {
		str_addf(b, "wrote %lld rows to ",
		    (long long)doc_int(doc, "n"));
		look_wrap(b, l, 20, 2, doc_text(doc, "file"));
		return;
	}
	if (strcmp(doc_text(doc, "what"), "next") == 0) {
		predict_next(b, l, rows);
		return;
	}
	values = doc_get(row, "hidden");
	if (values == NULL && json_is_array(json_array_get(doc_get(row,
	    "logits"), 0)))
		values = doc_get(row, "logits");
	if (json_array_size(rows) == 1 && values != NULL)
		predict_tokens(b, l, row, values);
	else if (json_array_size(rows) == 1 &&
	    json_array_size(doc_get(row, "probabilities")) > 0)
		predict_one(b, l, doc, row);
	else
		predict_many(b, l, rows);
}

/* ---- compare ------------------------------------------------------------- */

static void
compare_row(struct table *t, const json_t *side)
{
	const char *metric = doc_text(side, "metric");
	char a[3 * NUMBER_MAX];
	const char *made = doc_text(side, "command");

	table_row(t);
	table_cellf(t, PAINT_TITLE, "%lld", (long long)doc_int(side, "state"));
	table_cell(t, PAINT_NONE, *made != '\0' ? made : "as opened");
	render_metric(a, sizeof(a), metric, doc_real(side, "value"));
	table_cell(t, PAINT_NONE, doc_has(side, "value") ? a : "");
	table_cell(t, PAINT_DIM,
	    interval(a, sizeof(a), side, metric) ? a : "");
	number_count(a, doc_real(side, "params"));
	table_cell(t, PAINT_NONE, a);
	number_bytes(a, doc_real(side, "bytes"));
	table_cell(t, PAINT_NONE, a);
	number_count(a, doc_real(side, "macs_per_token"));
	table_cell(t, PAINT_NONE, a);
}

static void
compare_flips(struct str *b, const struct look *l, const json_t *flips)
{
	struct table *t = table_new();
	char x[32];
	json_t *f;
	size_t i;

	table_column(t, "sample", TABLE_RIGHT, 2);
	table_column(t, "gold", TABLE_LEFT, 0);
	table_column(t, "a", TABLE_LEFT, 0);
	table_column(t, "b", TABLE_LEFT, 0);
	table_column(t, "text", TABLE_LEFT, 0);
	json_array_foreach((json_t *)flips, i, f) {
		table_row(t);
		table_cellf(t, PAINT_DIM, "%lld",
		    (long long)doc_int(f, "index"));
		table_cell(t, PAINT_TITLE,
		    label_text(doc_get(f, "gold"), x, sizeof(x)));
		table_cell(t, PAINT_NONE,
		    label_text(doc_get(f, "a"), x, sizeof(x)));
		table_cell(t, PAINT_NONE,
		    label_text(doc_get(f, "b"), x, sizeof(x)));
		table_cell(t, PAINT_NONE, doc_text(f, "text"));
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

/* The same amounts removed at random. */
static void
add_control(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *o = doc_get(doc, "control"), *draw;
	const char *metric = doc_text(doc_get(doc, "a"), "metric");
	struct str line = STR_INIT;
	char v[NUMBER_MAX];
	size_t i;

	if (o == NULL)
		return;
	str_add(&line, "at random:");
	json_array_foreach((json_t *)doc_get(o, "draws"), i, draw) {
		render_metric(v, sizeof(v), metric, doc_real(draw, "value"));
		str_addf(&line, "%s %s (p %.2g)", i > 0 ? "," : "", v,
		    doc_real(draw, "p"));
	}
	str_addf(&line, ": %s (%s)", doc_text(o, "verdict"), doc_text(o,
	    "line"));
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

void
render_compare(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	struct str line = STR_INIT;
	const char *metric = doc_text(doc_get(doc, "a"), "metric"), *unit;
	char a[NUMBER_MAX];
	int64_t left;

	table_column(t, "state", TABLE_RIGHT, 0);
	table_column(t, "command", TABLE_LEFT, 0);
	table_column(t, *metric != '\0' ? metric : "metric", TABLE_RIGHT, 0);
	table_column(t, "95 % interval", TABLE_LEFT, 4);
	table_column(t, "params", TABLE_RIGHT, 2);
	table_column(t, "bytes", TABLE_RIGHT, 1);
	table_column(t, "MACs/token", TABLE_RIGHT, 3);
	compare_row(t, doc_get(doc, "a"));
	compare_row(t, doc_get(doc, "b"));
	table_draw(t, b, l, 0);
	table_free(t);
	if (doc_has(doc, "delta")) {
		render_metric_bare(a, sizeof(a), metric,
		    doc_real(doc, "delta"), &unit);
		str_addf(&line, "%s%s%s",
		    doc_real(doc, "delta") >= 0 ? "+" : "", a,
		    *unit != '\0' ? " points" : "");
		if (doc_has(doc, "fixed"))
			str_addf(&line, ", %lld fixed, %lld broke, %lld "
			    "changed", (long long)doc_int(doc, "fixed"),
			    (long long)doc_int(doc, "broke"),
			    (long long)doc_int(doc, "changed"));
		add_test(&line, doc);
		look_wrap(b, l, 0, 2, line.s);
	} else if (tells_tokens(doc)) {
		look_wrap(b, l, 0, 2, doc_text(doc, "verdict"));
	}
	add_control(b, l, doc);
	compare_flips(b, l, doc_get(doc, "flips"));
	left = doc_int(doc, "changed") -
	    (int64_t)json_array_size(doc_get(doc, "flips"));
	if (left > 0)
		str_addf(b, "  and %lld more: flips=%lld lists them all\n",
		    (long long)left, (long long)doc_int(doc, "changed"));
	str_free(&line);
}

void
render_expect(struct str *b, const struct look *l, const json_t *doc)
{
	char actual[NUMBER_MAX], value[NUMBER_MAX];
	const char *metric = doc_text(doc, "metric");

	number_plain(actual, doc_real(doc, "actual"));
	number_plain(value, doc_real(doc, "value"));
	str_addf(b, "%s: %s is %s, expected %s %s\n",
	    doc_true(doc, "holds") ? "holds" : "false", metric, actual,
	    doc_text(doc, "op"), value);
}
