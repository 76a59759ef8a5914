/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ops, undo and its kin, history, diff, recover. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

static void
add_part(struct str *b, const char *text)
{
	str_addf(b, "%s%s", b->n > 0 ? ", " : "", text);
}

/* "1.21 -> 1.18 M parameters, 4.7 -> 4.6 MiB, MACs -3.1 %": what changed. */
static void
add_totals(struct str *out, const json_t *before, const json_t *after)
{
	double p0 = doc_real(before, "params"), p1 = doc_real(after, "params");
	double z0 = doc_real(before, "nonzero");
	double z1 = doc_real(after, "nonzero");
	double b0 = doc_real(before, "bytes"), b1 = doc_real(after, "bytes");
	double m0 = doc_real(before, "macs_per_token");
	double m1 = doc_real(after, "macs_per_token");
	struct str line = STR_INIT;
	char a[NUMBER_MAX], c[NUMBER_MAX + 32];

	if (p0 != p1) {
		number_count_pair(a, p0, p1);
		snprintf(c, sizeof(c), "%s parameters", a);
		add_part(&line, c);
	}
	/* Biases that are zero come and go with their matrices: not worth a
	 * word. */
	if (z0 / p0 - z1 / p1 >= 0.005) {
		number_percent(a, 1 - z1 / p1);
		snprintf(c, sizeof(c), "%s zeros", a);
		add_part(&line, c);
	}
	if (b0 != b1) {
		number_bytes_pair(a, b0, b1);
	} else {
		number_bytes(c, b1);
		snprintf(a, sizeof(a), "%.40s as before", c);
	}
	add_part(&line, a);
	if (m0 != m1) {
		number_change(a, m0, m1);
		snprintf(c, sizeof(c), "MACs %s", a);
		add_part(&line, c);
	}
	str_add(out, line.s);
	str_free(&line);
}

static void
add_note(struct str *b, const struct look *l, const char *note)
{
	if (*note == '\0')
		return;
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, note);
}

/* What a budget of time foretold, and what came of it. */
static void
add_times(struct str *b, const struct look *l, const json_t *t)
{
	struct str line = STR_INIT;

	if (t == NULL)
		return;
	str_addf(&line, "%.3g -> %.3g ms foretold for %lld tokens (%.2f x)",
	    doc_real(t, "start_ms"), doc_real(t, "predicted_ms"),
	    (long long)doc_int(t, "seq"), doc_real(t, "predicted_ratio"));
	if (doc_get(t, "measured_ratio") != NULL)
		str_addf(&line, "; %.3g -> %.3g ms measured (%.2f x)",
		    doc_real(t, "measured_start_ms"),
		    doc_real(t, "measured_ms"), doc_real(t,
		    "measured_ratio"));
	if (doc_true(t, "disturbed"))
		str_add(&line, "; other programs kept the processors busy "
		    "while the table was measured");
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, line.s);
	str_free(&line);
}

void
render_op(struct str *b, const struct look *l, const json_t *doc)
{
	struct str line = STR_INIT;
	char *head = doc_true(doc, "dry_run") ? xstrdup("would be") :
	    str_format("state %lld", (long long)doc_int(doc, "state"));

	add_totals(&line, doc_get(doc, "before"), doc_get(doc, "after"));
	look_paint(b, l, PAINT_TITLE, head);
	str_add(b, ": ");
	look_wrap(b, l, (int)strlen(head) + 2, 2, line.s);
	add_note(b, l, doc_text(doc, "note"));
	add_times(b, l, doc_get(doc, "times"));
	render_verdict(b, l, doc_get(doc, "eval"), doc_get(doc, "latency"));
	free(head);
	str_free(&line);
}

void
render_recover(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	char a[NUMBER_MAX];
	json_t *e;
	size_t i;

	table_column(t, "epoch", TABLE_RIGHT, 0);
	table_column(t, "loss", TABLE_RIGHT, 0);
	table_column(t, "time", TABLE_RIGHT, 0);
	json_array_foreach((json_t *)doc_get(doc, "epochs"), i, e) {
		table_row(t);
		table_cellf(t, PAINT_NONE, "%lld",
		    (long long)doc_int(e, "epoch"));
		table_cellf(t, PAINT_NONE, "%.4f", doc_real(e, "loss"));
		number_seconds(a, doc_real(e, "seconds"));
		table_cell(t, PAINT_NONE, a);
	}
	table_draw(t, b, l, 0);
	table_free(t);
	render_op(b, l, doc);
}

/* undo, redo, goto, mark: "state 1: 4.6 MiB, 94.0 % (recalled)". */
void
render_travel(struct str *b, const struct look *l, const json_t *doc)
{
	const char *made = doc_text(doc, "command_of_state");
	char *head = str_format("state %lld", (long long)doc_int(doc, "state"));
	struct str line = STR_INIT;
	char a[NUMBER_MAX];

	number_bytes(a, doc_real(doc, "bytes"));
	str_add(&line, a);
	if (doc_has(doc, "metric_value")) {
		const char *metric = doc_text(doc, "metric");

		render_metric(a, sizeof(a), *metric != '\0' ? metric :
		    "accuracy", doc_real(doc, "metric_value"));
		str_addf(&line, ", %s%s", a,
		    doc_true(doc, "cached") ? " (recalled)" : "");
	}
	if (*doc_text(doc, "mark") != '\0')
		str_addf(&line, ", marked %s", doc_text(doc, "mark"));
	str_addf(&line, "; %s%s", *made != '\0' ? "made by " : "",
	    *made != '\0' ? made : "as opened");
	look_paint(b, l, PAINT_TITLE, head);
	str_add(b, ": ");
	look_wrap(b, l, (int)strlen(head) + 2, 2, line.s);
	free(head);
	str_free(&line);
}

/* What was taken up again, and where that leads. */
void
render_resume(struct str *b, const struct look *l, const json_t *doc)
{
	long long n = (long long)doc_int(doc, "lines");

	if (doc_true(doc, "discarded")) {
		str_add(b, "gave up what the other session had done\n");
		return;
	}
	str_addf(b, "took up %lld command%s again\n", n, n == 1 ? "" : "s");
	render_travel(b, l, doc);
}

/* ---- history ------------------------------------------------------------- */

struct tree {
	const json_t *states;
	struct table *table;
	const struct look *look;
	int64_t current;
	const char *metric;	/* of all states */
};

/* Branches step to the right only where a state has more than one child. */
static void
history_row(struct tree *h, const json_t *s, int depth)
{
	int64_t id = doc_int(s, "id");
	const char *command = doc_text(s, "command");
	char a[NUMBER_MAX], *text;

	table_row(h->table);
	table_cellf(h->table, PAINT_TITLE, "%s %lld",
	    id == h->current ? "*" : " ", (long long)id);
	text = str_format("%*s%s", 2 * depth, "",
	    *command != '\0' ? command : "as opened");
	/* Blanks in front survive because a table keeps its cells as given. */
	table_cell(h->table, id == h->current ? PAINT_TITLE : PAINT_NONE,
	    text);
	free(text);
	number_bytes(a, doc_real(s, "bytes"));
	table_cell(h->table, PAINT_NONE, a);
	number_bytes(a, doc_real(s, "own_bytes"));
	table_cell(h->table, PAINT_DIM, doc_has(s, "own_bytes") ? a : "");
	render_metric(a, sizeof(a), h->metric, doc_real(s, "metric_value"));
	table_cell(h->table, PAINT_NONE, doc_has(s, "metric_value") ? a : "");
	if (doc_has(s, "latency_ratio"))
		table_cellf(h->table, PAINT_NONE, "%.2f x",
		    doc_real(s, "latency_ratio"));
	else
		table_cell(h->table, PAINT_NONE, "");
	table_cell(h->table, PAINT_GOOD, doc_text(s, "mark"));
}

static int
count_children(const struct tree *h, int64_t id)
{
	int n = 0;
	json_t *s;
	size_t i;

	json_array_foreach((json_t *)h->states, i, s)
		n += doc_has(s, "parent") && doc_int(s, "parent") == id &&
		    doc_int(s, "id") > id;
	return n;
}

/*
 * States come in order of their ids and a parent is older than its children, so
 * depth[] is known when a state is reached. Drawing in tree order wants a
 * stack: children are pushed last first.
 */
static void
history_rows(struct tree *h)
{
	size_t n = json_array_size(h->states), top = 0;
	size_t *stack = xcalloc(n + 1, sizeof(*stack));
	int *depth = xcalloc(n + 1, sizeof(*depth));

	if (n > 0)
		stack[top++] = 0;
	while (top > 0) {
		size_t at = stack[--top];
		const json_t *s = json_array_get(h->states, at);
		int64_t id = doc_int(s, "id");
		int forks = count_children(h, id);

		history_row(h, s, depth[at]);
		for (size_t i = n; i-- > at + 1; ) {
			const json_t *c = json_array_get(h->states, i);

			if (!doc_has(c, "parent") ||
			    doc_int(c, "parent") != id)
				continue;
			depth[i] = depth[at] + (forks > 1);
			stack[top++] = i;
		}
	}
	free(stack);
	free(depth);
}

void
render_history(struct str *b, const struct look *l, const json_t *doc)
{
	struct tree h = { doc_get(doc, "states"), table_new(), l,
		doc_int(doc, "current"), *doc_text(doc, "metric") != '\0' ?
		doc_text(doc, "metric") : "accuracy" };

	table_column(h.table, "state", TABLE_LEFT, 0);
	table_column(h.table, "command", TABLE_LEFT, 0);
	table_column(h.table, "bytes", TABLE_RIGHT, 0);
	table_column(h.table, "own", TABLE_RIGHT, 3);
	table_column(h.table, "metric", TABLE_RIGHT, 1);
	table_column(h.table, "latency", TABLE_RIGHT, 2);
	table_column(h.table, "mark", TABLE_LEFT, 0);
	history_rows(&h);
	table_draw(h.table, b, l, 0);
	table_free(h.table);
}

/* ---- diff ---------------------------------------------------------------- */

static void
diff_side(struct table *t, const json_t *side)
{
	char bytes[NUMBER_MAX];

	number_bytes(bytes, doc_real(side, "bytes"));
	table_cell(t, PAINT_NONE, doc_text(side, "form"));
	table_cell(t, PAINT_NONE, doc_has(side, "bytes") ? bytes : "gone");
}

static void
diff_rows(struct str *b, const struct look *l, const json_t *rows)
{
	struct table *t = table_new();
	char a[NUMBER_MAX];
	json_t *row;
	size_t i;

	table_column(t, "tensor", TABLE_LEFT, 0);
	table_column(t, "form", TABLE_LEFT, 2);
	table_column(t, "bytes", TABLE_RIGHT, 0);
	table_column(t, "form now", TABLE_LEFT, 1);
	table_column(t, "bytes now", TABLE_RIGHT, 0);
	table_column(t, "change", TABLE_RIGHT, 0);
	json_array_foreach((json_t *)rows, i, row) {
		const json_t *x = doc_get(row, "a"), *y = doc_get(row, "b");

		table_row(t);
		table_cell(t, PAINT_TITLE, doc_text(row, "path"));
		diff_side(t, x);
		diff_side(t, y);
		number_change(a, doc_real(x, "bytes"), doc_real(y, "bytes"));
		table_cell(t, PAINT_NONE, a);
	}
	table_draw(t, b, l, 2);
	table_free(t);
}

void
render_diff(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *x = doc_get(doc, "a"), *y = doc_get(doc, "b");
	const json_t *rows = doc_get(doc, "rows");
	struct str line = STR_INIT;
	char *head = str_format("state %lld -> %lld",
	    (long long)doc_int(x, "state"), (long long)doc_int(y, "state"));

	add_totals(&line, x, y);
	look_paint(b, l, PAINT_TITLE, head);
	str_add(b, ": ");
	look_wrap(b, l, (int)strlen(head) + 2, 2, line.s);
	if (json_array_size(rows) == 0)
		add_note(b, l, "every tensor is the same");
	else
		diff_rows(b, l, rows);
	free(head);
	str_free(&line);
}
