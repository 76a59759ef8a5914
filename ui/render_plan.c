/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plan and overview: what was foretold beside what is measured. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ui/chart.h"
#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

/* ---- plan ---- */

static void
points_text(char out[NUMBER_MAX], double share)
{
	if (isfinite(share))
		snprintf(out, NUMBER_MAX, "%.2f",
		    fabs(share) < 0.00005 ? 0 : 100 * share);
	else
		snprintf(out, NUMBER_MAX, "-");
}

static void
value_text(char out[NUMBER_MAX], const json_t *doc, double v)
{
	if (isfinite(v))
		render_metric(out, NUMBER_MAX, doc_text(doc, "metric"), v);
	else
		snprintf(out, NUMBER_MAX, "-");
}

static void
ms_text(char out[NUMBER_MAX], double ms)
{
	if (isfinite(ms))
		number_ms(out, ms);
	else
		snprintf(out, NUMBER_MAX, "-");
}

static void
add_budget(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *o = doc_get(doc, "budget");
	char v[NUMBER_MAX];
	struct str s = STR_INIT;

	str_add(&s, "plan");
	if (doc_has(o, "bytes")) {
		number_bytes(v, doc_real(o, "bytes"));
		str_addf(&s, " within %s", v);
	}
	if (doc_has(o, "macs_per_token")) {
		number_count(v, doc_real(o, "macs_per_token"));
		str_addf(&s, " within %s MACs a token", v);
	}
	if (doc_has(o, "latency_ms")) {
		number_ms(v, doc_real(o, "latency_ms"));
		str_addf(&s, " within %s ms", v);
	}
	if (doc_has(o, "drop"))
		str_addf(&s, " at most %.2f points lost", 100 * doc_real(o,
		    "drop"));
	str_addf(&s, ": %lld options on %lld calib sample%s",
	    (long long)doc_int(doc, "options"),
	    (long long)doc_int(doc, "samples"),
	    doc_int(doc, "samples") == 1 ? "" : "s");
	if (doc_int(doc, "recalled") > 0)
		str_addf(&s, " (%lld recalled)",
		    (long long)doc_int(doc, "recalled"));
	str_addf(&s, ", %zu plans on %lld",
	    json_array_size(doc_get(doc, "anchors")),
	    (long long)doc_int(doc, "calib_samples"));
	look_wrap(b, l, 0, 2, s.s);
	str_free(&s);
}

static void
state_row(struct table *t, const json_t *doc, const char *name,
    const json_t *o, double value, double drop)
{
	char bytes[NUMBER_MAX], macs[NUMBER_MAX], ms[NUMBER_MAX];
	double ratio = doc_real(o, "latency_ratio");
	char worth[NUMBER_MAX], lost[NUMBER_MAX];

	number_bytes(bytes, doc_real(o, "bytes"));
	number_count(macs, doc_real(o, "macs_per_token"));
	ms_text(ms, doc_real(o, "latency_ms"));
	value_text(worth, doc, value);
	points_text(lost, drop);
	table_row(t);
	table_cell(t, PAINT_TITLE, name);
	table_cell(t, PAINT_NONE, bytes);
	table_cell(t, PAINT_NONE, macs);
	table_cell(t, PAINT_NONE, ms);
	if (isfinite(ratio))
		table_cellf(t, PAINT_NONE, "%.2f", ratio);
	else
		table_cell(t, PAINT_NONE, "");
	table_cell(t, PAINT_NONE, worth);
	table_cell(t, PAINT_NONE, lost);
}

/* What the plan cost: on the eval samples (NULL: none) and on the calib samples. */
static void
say_losses(struct str *s, const json_t *eval, double calib)
{
	char seen[NUMBER_MAX];

	points_text(seen, calib);
	if (eval == NULL)
		str_addf(s, "this very plan lost %s points on the calib "
		    "samples; what is predicted lies on a curve through all "
		    "plans that were tried", seen);
	else
		str_addf(s, "on %lld eval samples: %lld fixed, %lld broke: "
		    "%s; the same plan lost %s points on the calib samples",
		    (long long)doc_int(eval, "n"),
		    (long long)doc_int(eval, "fixed"),
		    (long long)doc_int(eval, "broke"),
		    doc_text(eval, "verdict"), seen);
}

/* The start, what is foretold and, when it was applied, what came of it. What is
 * lost was foretold from calib samples; of eval samples it is counted from
 * there. */
static void
add_states(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *start = doc_get(doc, "start");
	const json_t *told = doc_get(doc, "predicted");
	const json_t *is = doc_get(doc, "measured");
	bool eval = is != NULL && doc_has(is, "value");
	double was = eval ? doc_real(is, "was") : doc_real(start, "value");
	double drop = doc_real(told, "drop");
	double lost = doc_real(doc_get(doc, "calib"), "drop");
	struct table *t = table_new();

	table_column(t, "", TABLE_LEFT, 0);
	table_column(t, "bytes", TABLE_RIGHT, 0);
	table_column(t, "MACs/token", TABLE_RIGHT, 3);
	table_column(t, "ms", TABLE_RIGHT, 2);
	table_column(t, "x time", TABLE_RIGHT, 3);
	table_column(t, doc_text(doc, "metric"), TABLE_RIGHT, 0);
	table_column(t, "points lost", TABLE_RIGHT, 0);
	state_row(t, doc, eval ? "now" : "now (calib)", start, was, NAN);
	state_row(t, doc, "predicted", told, was - drop, drop);
	if (is != NULL)
		state_row(t, doc, "measured", is, eval ? doc_real(is,
		    "value") : NAN, eval ? doc_real(is, "drop") : NAN);
	table_draw(t, b, l, 2);
	table_free(t);
	if (eval || isfinite(lost)) {
		struct str s = STR_INIT;

		say_losses(&s, eval ? is : NULL, lost);
		str_add(b, "  ");
		look_wrap(b, l, 2, 4, s.s);
		str_free(&s);
	}
}

static void
add_parts(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *parts = doc_get(doc, "parts"), *o;
	struct table *t = table_new();
	size_t i;

	table_column(t, "part", TABLE_LEFT, 0);
	table_column(t, "becomes", TABLE_LEFT, 0);
	table_column(t, "KL alone", TABLE_RIGHT, 1);
	json_array_foreach((json_t *)parts, i, o) {
		char kl[NUMBER_MAX];

		number_plain(kl, doc_real(o, "kl"));
		table_row(t);
		table_cell(t, PAINT_TITLE, doc_text(o, "path"));
		table_cell(t, PAINT_NONE, doc_text(o, "choice"));
		table_cell(t, PAINT_NONE, kl);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

static void
add_lines(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *lines = doc_get(doc, "lines");
	json_t *line;
	size_t i;

	if (json_array_size(lines) == 0)
		str_add(b, "  nothing is to be done\n");
	else
		str_add(b, doc_true(doc, "applied") ? "  applied:\n" :
		    "  to be applied:\n");
	json_array_foreach((json_t *)lines, i, line) {
		str_add(b, "    ");
		look_wrap(b, l, 4, 6, json_string_value(line));
	}
}

static void
render_orders(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *orders = doc_get(doc, "orders"), *o;
	struct table *t = table_new();
	char v[NUMBER_MAX];
	size_t i, k;

	value_text(v, doc, doc_real(doc, "value"));
	str_addf(b, "orders, from %s on %lld eval samples; the history is as "
	    "it was\n", v, (long long)doc_int(doc, "n"));
	table_column(t, "", TABLE_RIGHT, 0);
	table_column(t, doc_text(doc, "metric"), TABLE_RIGHT, 0);
	table_column(t, "points", TABLE_RIGHT, 1);
	table_column(t, "loss", TABLE_RIGHT, 2);
	table_column(t, "bytes", TABLE_RIGHT, 0);
	table_column(t, "order", TABLE_LEFT, 0);
	json_array_foreach((json_t *)orders, i, o) {
		const json_t *ops = doc_get(o, "ops");
		struct str s = STR_INIT;
		char bytes[NUMBER_MAX];
		json_t *op;

		json_array_foreach((json_t *)ops, k, op)
			str_addf(&s, "%s%s", k > 0 ? ", " : "",
			    json_string_value(op));
		if (doc_has(o, "refused"))
			str_addf(&s, ": %s", doc_text(o, "refused"));
		table_row(t);
		table_cellf(t, PAINT_DIM, "%zu", i + 1);
		value_text(v, doc, doc_real(o, "value"));
		table_cell(t, PAINT_NONE, v);
		if (doc_has(o, "value")) {
			number_bytes(bytes, doc_real(o, "bytes"));
			table_cellf(t, PAINT_NONE, "%+.1f", 100 * doc_real(o,
			    "delta"));
			table_cellf(t, PAINT_NONE, "%.4f", doc_real(o,
			    "loss"));
			table_cell(t, PAINT_NONE, bytes);
		} else {
			for (int c = 0; c < 3; c++)
				table_cell(t, PAINT_NONE, "");
		}
		table_cell(t, PAINT_NONE, s.s);
		str_free(&s);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

void
render_plan(struct str *b, const struct look *l, const json_t *doc)
{
	if (doc_has(doc, "orders")) {
		render_orders(b, l, doc);
		return;
	}
	add_budget(b, l, doc);
	add_states(b, l, doc);
	add_parts(b, l, doc);
	add_lines(b, l, doc);
}

/* ---- overview ---- */

static void
verdict(struct table *t, const json_t *o, const char *key)
{
	if (doc_has(o, key))
		table_cell(t, doc_true(o, key) ? PAINT_GOOD : PAINT_NONE,
		    doc_true(o, key) ? "yes" : "no");
	else
		table_cell(t, PAINT_NONE, "-");
}

static void
overview_row(struct table *t, const json_t *doc, const json_t *o)
{
	const json_t *r = doc_get(o, "latency_ratio");
	char bytes[NUMBER_MAX], v[NUMBER_MAX];

	table_row(t);
	table_cell(t, PAINT_TITLE, doc_text(o, "method"));
	if (doc_has(o, "refused")) {
		for (int i = 0; i < 5; i++)
			table_cell(t, PAINT_NONE, "-");
	} else {
		number_bytes(bytes, doc_real(o, "bytes"));
		table_cell(t, PAINT_NONE, bytes);
		table_cellf(t, PAINT_NONE, "%.2f (%.2f to %.2f)",
		    doc_real(r, "median"), doc_real(r, "low"), doc_real(r,
		    "high"));
		value_text(v, doc, doc_real(o, "value"));
		if (doc_has(o, "ci95")) {
			const json_t *ci = doc_get(o, "ci95");

			table_cellf(t, PAINT_NONE, "%s (%.1f to %.1f)", v,
			    100 * json_number_value(json_array_get(ci, 0)),
			    100 * json_number_value(json_array_get(ci, 1)));
		} else {
			table_cell(t, PAINT_NONE, v);
		}
		verdict(t, o, "memory");
		verdict(t, o, "time");
	}
	table_cellf(t, PAINT_DIM, "%s/%s", doc_text(o, "lecture_memory"),
	    doc_text(o, "lecture_time"));
}

void
render_overview(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *start = doc_get(doc, "start");
	const json_t *rows = doc_get(doc, "rows"), *o;
	struct table *t = table_new();
	char bytes[NUMBER_MAX], v[NUMBER_MAX];
	size_t i;

	number_bytes(bytes, doc_real(start, "bytes"));
	value_text(v, doc, doc_real(start, "value"));
	str_addf(b, "methods on this model: now %s%s%s; times of %lld tokens, "
	    "by the present state\n", bytes, doc_has(doc, "metric") ? ", " :
	    "", doc_has(doc, "metric") ? v : "", (long long)doc_int(doc,
	    "seq"));
	table_column(t, "method", TABLE_LEFT, 0);
	table_column(t, "bytes", TABLE_RIGHT, 0);
	table_column(t, "time", TABLE_RIGHT, 1);
	table_column(t, doc_text(doc, "metric"), TABLE_RIGHT, 1);
	table_column(t, "memory", TABLE_LEFT, 0);
	table_column(t, "time", TABLE_LEFT, 0);
	table_column(t, "lectures", TABLE_LEFT, 2);
	json_array_foreach((json_t *)rows, i, o)
		overview_row(t, doc, o);
	table_draw(t, b, l, 2);
	table_free(t);
	json_array_foreach((json_t *)rows, i, o) {
		str_addf(b, "  %s: ", doc_text(o, "method"));
		look_wrap(b, l, (int)strlen(doc_text(o, "method")) + 4, 4,
		    doc_text(o, "lines"));
		if (doc_has(o, "refused")) {
			str_add(b, "    refused: ");
			look_wrap(b, l, 13, 4, doc_text(o, "refused"));
		}
	}
}
