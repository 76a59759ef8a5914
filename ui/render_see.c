/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open, data, info, show, inspect. */
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

/* "4 layers of 4 heads, 128 wide" from whichever keys there are. */
static void
add_shape(struct str *b, const json_t *doc)
{
	int64_t layers = doc_int(doc, "layers");
	struct str heads = STR_INIT;

	str_addf(b, "%lld layer%s", (long long)layers, layers == 1 ? "" : "s");
	render_list(&heads, doc_get(doc, "heads"));
	if (heads.n > 0)
		str_addf(b, " of %s head%s", heads.s,
		    strcmp(heads.s, "1") == 0 ? "" : "s");
	if (doc_has(doc, "hidden"))
		str_addf(b, ", %lld wide", (long long)doc_int(doc, "hidden"));
	str_free(&heads);
}

void
render_open(struct str *b, const struct look *l, const json_t *doc)
{
	char params[NUMBER_MAX], bytes[NUMBER_MAX];
	struct str line = STR_INIT;

	number_count(params, doc_real(doc, "params"));
	number_bytes(bytes, doc_real(doc, "bytes"));
	str_addf(&line, "%s: %s, ", doc_text(doc, "name"),
	    doc_text(doc, "architecture"));
	add_shape(&line, doc);
	str_addf(&line, ". %s parameters, %s.", params, bytes);
	if (doc_has(doc, "weights") && !doc_true(doc, "weights"))
		str_add(&line, " Sizes only: there are no weights.");
	if (json_is_object(doc_get(doc, "eval")))
		render_first_metric(&line, doc_get(doc, "eval"));
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

static void
add_labels(struct str *b, const json_t *labels)
{
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)labels, i, v) {
		str_add(b, i > 0 ? ", " : "");
		if (json_is_string(v))
			str_add(b, json_string_value(v));
		else
			str_addf(b, "%s %lld", doc_text(v, "label"),
			    (long long)doc_int(v, "n"));
	}
}

void
render_data(struct str *b, const struct look *l, const json_t *doc)
{
	struct str line = STR_INIT;
	double each = doc_real(doc, "tokens_per_sample");

	bool windows = doc_int(doc, "documents") > 0;

	str_addf(&line, "%s set: %lld %s of %s", doc_text(doc, "role"),
	    (long long)doc_int(doc, "n"), windows ? "windows" : "samples",
	    doc_text(doc, "path"));
	if (*doc_text(doc, "columns") != '\0')
		str_addf(&line, " (%s)", doc_text(doc, "columns"));
	if (isfinite(each) && each > 0)
		str_addf(&line, ", %.1f tokens each", each);
	if (doc_int(doc, "scored") > 0)
		str_addf(&line, ", %lld of them to be predicted",
		    (long long)doc_int(doc, "scored"));
	if (json_array_size(doc_get(doc, "labels")) > 0) {
		str_add(&line, "; ");
		add_labels(&line, doc_get(doc, "labels"));
	}
	if (json_is_object(doc_get(doc, "eval"))) {
		str_addc(&line, '.');
		render_first_metric(&line, doc_get(doc, "eval"));
	}
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

/* ---- info ---------------------------------------------------------------- */

static void
info_shape(struct str *b, const struct look *l, const json_t *doc)
{
	struct str v = STR_INIT, ffn = STR_INIT;

	add_shape(&v, doc);
	if (doc_has(doc, "head_dim"))
		str_addf(&v, ", %lld to a head",
		    (long long)doc_int(doc, "head_dim"));
	render_list(&ffn, doc_get(doc, "ffn"));
	if (ffn.n > 0)
		str_addf(&v, ", FFN %s", ffn.s);
	render_field(b, l, "layers", v.s);
	str_clear(&v);
	if (doc_has(doc, "vocab"))
		str_addf(&v, "%lld words", (long long)doc_int(doc, "vocab"));
	if (doc_int(doc, "embedding") > 0)
		str_addf(&v, " of %lld",
		    (long long)doc_int(doc, "embedding"));
	if (doc_int(doc, "positions") > 0)
		str_addf(&v, ", %lld positions",
		    (long long)doc_int(doc, "positions"));
	render_field(b, l, "vocabulary", v.s);
	str_free(&v);
	str_free(&ffn);
}

static void
info_sizes(struct str *b, const struct look *l, const json_t *doc)
{
	char a[NUMBER_MAX], c[NUMBER_MAX], *s;
	double params = doc_real(doc, "params");
	double nonzero = doc_real(doc, "nonzero");

	number_count(a, params);
	number_percent(c, 1 - nonzero / params);
	s = isfinite(nonzero) && nonzero < params ?
	    str_format("%s (%lld), %s of them zero", a, (long long)params, c) :
	    str_format("%s (%lld)", a, (long long)params);
	render_field(b, l, "parameters", s);
	free(s);
	number_bytes(a, doc_real(doc, "bytes"));
	s = str_format("%s in %lld tensors%s", a,
	    (long long)doc_int(doc, "tensors"),
	    doc_int(doc, "tied") > 0 || doc_true(doc, "tied") ?
	    ", some used more than once" : "");
	render_field(b, l, "bytes", s);
	free(s);
	number_count(a, doc_real(doc, "macs_per_token"));
	s = str_format("%s per token at %lld tokens", a,
	    (long long)doc_int(doc, "seq"));
	render_field(b, l, "MACs", s);
	free(s);
	if (!doc_has(doc, "kv_bytes"))
		return;
	number_bytes(a, doc_real(doc, "kv_bytes"));
	s = str_format("%s of keys and values for %lld tokens", a,
	    (long long)doc_int(doc, "seq"));
	render_field(b, l, "KV cache", s);
	free(s);
}

static void
info_forms(struct str *b, const struct look *l, const json_t *doc)
{
	struct str v = STR_INIT;
	char a[NUMBER_MAX];
	json_t *f;
	size_t i;

	json_array_foreach((json_t *)doc_get(doc, "forms"), i, f) {
		number_bytes(a, doc_real(f, "bytes"));
		str_addf(&v, "%s%s %s (%lld)", i > 0 ? ", " : "",
		    doc_text(f, "form"), a, (long long)doc_int(f, "tensors"));
	}
	render_field(b, l, "forms", v.s);
	str_clear(&v);
	json_array_foreach((json_t *)doc_get(doc, "kernels"), i, f) {
		str_addf(&v, "%s%s: %s", i > 0 ? "; " : "",
		    doc_text(f, "form"), doc_text(f, "kernel"));
		if (strcmp(doc_text(f, "one"), doc_text(f, "kernel")) != 0)
			str_addf(&v, ", one token by %s", doc_text(f, "one"));
	}
	if (strcmp(doc_text(doc, "precision"), "exact") == 0)
		str_add(&v, "; exact");
	render_field(b, l, "kernels", v.s);
	str_free(&v);
}

/* Instructions in use, and what the processor lacks: "avx2 of vnni (no amx)". */
static void
info_instructions(struct str *v, const json_t *doc)
{
	const char *used = doc_text(doc, "instructions");
	const char *has = doc_text(doc, "processor");
	const json_t *lacking = doc_get(doc, "lacking");
	json_t *name;
	size_t i;

	if (*used == '\0')
		return;
	str_addf(v, ", %s", used);
	if (strcmp(used, has) != 0)
		str_addf(v, " of %s", has);
	json_array_foreach((json_t *)lacking, i, name)
		str_addf(v, "%s%s", i == 0 ? " (no " : ", no ",
		    json_string_value(name));
	if (json_array_size(lacking) > 0)
		str_add(v, ")");
}

static const char *
data_name(const json_t *v, char *out, size_t n)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (!json_is_object(v))
		return "";
	snprintf(out, n, "%s, %lld samples", doc_text(v, "path"),
	    (long long)doc_int(v, "n"));
	return out;
}

/* What is resident, and what of it has a name. The rest is the tokenizer, the
 * samples and what the libraries took meanwhile. */
static void
add_memory(struct str *v, const json_t *doc)
{
	static const char *const named[][2] = { { "held_bytes", "tensors" },
		{ "scratch_bytes", "scratch" }, { "cache_bytes", "cache" },
		{ "program_bytes", "program" } };
	char a[NUMBER_MAX];

	if (!doc_has(doc, "resident_bytes"))
		return;
	number_bytes(a, doc_real(doc, "resident_bytes"));
	str_addf(v, "%s resident", a);
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		if (doc_int(doc, named[i][0]) <= 0)
			continue;
		number_bytes(a, doc_real(doc, named[i][0]));
		str_addf(v, ", %s %s", named[i][1], a);
	}
}

static void
info_machine(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *data = doc_get(doc, "data");
	char text[300];
	struct str v = STR_INIT;

	render_field(b, l, "eval set",
	    data_name(doc_get(data, "eval"), text, sizeof(text)));
	render_field(b, l, "calib set",
	    data_name(doc_get(data, "calib"), text, sizeof(text)));
	str_addf(&v, "%lld", (long long)doc_int(doc, "threads"));
	if (*doc_text(doc, "blas") != '\0')
		str_addf(&v, ", %s", doc_text(doc, "blas"));
	info_instructions(&v, doc);
	render_field(b, l, "threads", v.s);
	str_clear(&v);
	add_memory(&v, doc);
	render_field(b, l, "memory", v.s);
	str_clear(&v);
	if (doc_int(doc, "states") > 1)
		str_addf(&v, "%lld; the current one is %lld",
		    (long long)doc_int(doc, "states"),
		    (long long)doc_int(doc, "state"));
	render_field(b, l, "states", v.s);
	str_free(&v);
}

void
render_info(struct str *b, const struct look *l, const json_t *doc)
{
	struct str v = STR_INIT;

	render_field(b, l, "model", doc_text(doc, "name"));
	render_field(b, l, "path", doc_text(doc, "path"));
	str_add(&v, doc_text(doc, "architecture"));
	if (*doc_text(doc, "head") != '\0')
		str_addf(&v, ", head: %s", doc_text(doc, "head"));
	render_field(b, l, "kind", v.s);
	str_clear(&v);
	add_labels(&v, doc_get(doc, "labels"));
	render_field(b, l, "labels", v.s);
	info_shape(b, l, doc);
	info_sizes(b, l, doc);
	info_forms(b, l, doc);
	if (doc_has(doc, "weights") && !doc_true(doc, "weights"))
		render_field(b, l, "weights", "none: sizes only");
	render_field(b, l, "tokenizer", doc_text(doc, "tokenizer"));
	info_machine(b, l, doc);
	render_field(b, l, "hash", doc_text(doc, "hash"));
	str_free(&v);
}

/* ---- show ---------------------------------------------------------------- */

enum { BAR_WIDTH = 10 };

static void
show_columns(struct table *t, const char *by)
{
	table_column(t, by, TABLE_LEFT, 0);
	table_column(t, "params", TABLE_RIGHT, 0);
	table_column(t, "share", TABLE_RIGHT, 5);
	table_column(t, "", TABLE_LEFT, 8);
	table_column(t, "zeros", TABLE_RIGHT, 3);
	table_column(t, "bytes", TABLE_RIGHT, 0);
	table_column(t, "bits", TABLE_RIGHT, 4);
	table_column(t, "MACs/token", TABLE_RIGHT, 2);
	table_column(t, "KV", TABLE_RIGHT, 3);
	table_column(t, "ms", TABLE_RIGHT, 2);
	table_column(t, "form", TABLE_LEFT, 1);
	table_column(t, "shape", TABLE_LEFT, 6);
	table_column(t, "heads", TABLE_RIGHT, 9);
	table_column(t, "FFN", TABLE_RIGHT, 9);
	table_column(t, "tied to", TABLE_LEFT, 4);
	table_column(t, "in the file", TABLE_LEFT, 10);
}

/* A count, or nothing when the row has none. */
static void
count_cell(struct table *t, const json_t *row, const char *key)
{
	char a[NUMBER_MAX];

	number_count(a, doc_real(row, key));
	table_cell(t, PAINT_NONE, doc_has(row, key) ? a : "");
}

static void
share_cells(struct table *t, const struct look *l, double share, bool bar)
{
	char a[NUMBER_MAX], *drawn = chart_bar(l, bar ? share : 0, BAR_WIDTH);

	number_percent(a, share);
	table_cell(t, PAINT_NONE, isfinite(share) ? a : "");
	table_cell(t, PAINT_BAR, drawn);
	free(drawn);
}

static void
ms_cell(struct table *t, double ms)
{
	char a[NUMBER_MAX];

	number_ms(a, ms);
	table_cell(t, PAINT_NONE, isfinite(ms) ? a : "");
}

static void
zeros_cell(struct table *t, const json_t *row)
{
	double zero = 1 - doc_real(row, "nonzero") / doc_real(row, "params");
	char a[NUMBER_MAX];

	number_percent(a, zero);
	table_cell(t, PAINT_NONE, isfinite(zero) && zero > 0.00005 ? a : "");
}

static void
shape_cell(struct table *t, const json_t *row)
{
	const json_t *shape = doc_get(row, "shape");
	struct str v = STR_INIT;

	/* A vector is one row; what has no weights has no shape. */
	for (size_t i = 0; i < json_array_size(shape); i++) {
		long long k = (long long)json_integer_value(
		    json_array_get(shape, i));

		if (k > 0 && !(i == 0 && k == 1))
			str_addf(&v, "%s%lld", v.n > 0 ? " x " : "", k);
	}
	table_cell(t, PAINT_NONE, v.s);
	str_free(&v);
}

static void
show_row(struct table *t, const struct look *l, const json_t *row, bool total)
{
	const char *path = doc_text(row, "path");
	char a[NUMBER_MAX];

	table_row(t);
	table_cell(t, PAINT_TITLE,
	    *path != '\0' ? path : total ? "total" : doc_text(row, "kind"));
	count_cell(t, row, "params");
	share_cells(t, l, doc_real(row, "share"), !total);
	zeros_cell(t, row);
	number_bytes(a, doc_real(row, "bytes"));
	table_cell(t, PAINT_NONE, a);
	number_plain(a, doc_real(row, "bits_per_param"));
	table_cell(t, PAINT_NONE, doc_has(row, "bits_per_param") ? a : "");
	count_cell(t, row, "macs_per_token");
	number_bytes(a, doc_real(row, "kv_bytes"));
	table_cell(t, PAINT_NONE, doc_has(row, "kv_bytes") ? a : "");
	ms_cell(t, doc_real(row, "ms"));
	table_cell(t, PAINT_NONE, doc_text(row, "form"));
	shape_cell(t, row);
	if (doc_int(row, "heads") > 0 && !total)
		table_cellf(t, PAINT_NONE, "%lld",
		    (long long)doc_int(row, "heads"));
	else
		table_cell(t, PAINT_NONE, "");
	if (doc_int(row, "ffn") > 0 && !total)
		table_cellf(t, PAINT_NONE, "%lld",
		    (long long)doc_int(row, "ffn"));
	else
		table_cell(t, PAINT_NONE, "");
	table_cell(t, PAINT_DIM, doc_text(row, "tied_to"));
	table_cell(t, PAINT_DIM, doc_text(row, "file_name"));
}

/* What the column ms is of. */
static void
show_latency(struct str *b, const struct look *l, const json_t *latency)
{
	struct str line = STR_INIT;
	char embed[NUMBER_MAX];

	if (!json_is_object(latency))
		return;
	number_ms(embed, doc_real(latency, "embed_ms"));
	str_addf(&line, "ms: latency of batch %lld, %lld tokens, %lld threads; "
	    "the embeddings together %s",
	    (long long)doc_int(latency, "batch"),
	    (long long)doc_int(latency, "seq"),
	    (long long)doc_int(latency, "threads"), embed);
	look_wrap(b, l, 0, 2, line.s);
	str_free(&line);
}

void
render_show(struct str *b, const struct look *l, const json_t *doc)
{
	struct table *t = table_new();
	const char *by = doc_text(doc, "by");
	json_t *row;
	size_t i;

	show_columns(t, *by != '\0' ? by : "part");
	json_array_foreach((json_t *)doc_get(doc, "rows"), i, row)
		show_row(t, l, row, false);
	if (doc_has(doc, "total")) {
		table_rule(t);
		show_row(t, l, doc_get(doc, "total"), true);
	}
	table_draw(t, b, l, 0);
	table_free(t);
	show_latency(b, l, doc_get(doc, "latency"));
}

/* ---- inspect ------------------------------------------------------------- */

static double *
reals(const json_t *list, int *n)
{
	double *v;

	*n = (int)json_array_size(list);
	v = xcalloc((size_t)*n + 1, sizeof(*v));
	for (int i = 0; i < *n; i++)
		v[i] = json_number_value(json_array_get(list, (size_t)i));
	return v;
}

/* "low ... 0 ... high" under a chart of that many columns. */
static void
draw_axis(struct str *b, const struct look *l, const char *left,
    const char *right, int columns, int indent)
{
	int pad = columns - look_columns(left) - look_columns(right);

	look_spaces(b, indent);
	look_paint(b, l, PAINT_DIM, left);
	look_spaces(b, pad > 1 ? pad : 1);
	look_paint(b, l, PAINT_DIM, right);
	str_addc(b, '\n');
}

static void
draw_histogram(struct str *b, const struct look *l, const json_t *h)
{
	char low[NUMBER_MAX], high[NUMBER_MAX];
	int n, columns;
	double *v = reals(doc_get(h, "counts"), &n);

	number_plain(low, doc_real(h, "low"));
	number_plain(high, doc_real(h, "high"));
	columns = n < 2 ? 0 : chart_columns(b, l, v, n,
	    l->width - 4 < 64 ? l->width - 4 : 64, 6, 2);
	if (columns > 0)
		draw_axis(b, l, low, high, columns, 2);
	free(v);
}

static void
spectrum_facts(struct str *b, const struct look *l, const json_t *s)
{
	struct str line = STR_INIT;
	json_t *e;
	size_t i;

	json_array_foreach((json_t *)doc_get(s, "rank_for_energy"), i, e)
		str_addf(&line, "%s%g %% of the energy in rank %lld",
		    i > 0 ? ", " : "", 100 * doc_real(e, "energy"),
		    (long long)doc_int(e, "rank"));
	if (doc_has(s, "break_even_rank"))
		str_addf(&line, "%sfactors are smaller up to rank %lld",
		    line.n > 0 ? "; " : "",
		    (long long)doc_int(s, "break_even_rank"));
	if (line.n > 0) {
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, line.s);
	}
	str_free(&line);
}

static void
draw_spectrum(struct str *b, const struct look *l, const json_t *s)
{
	char right[NUMBER_MAX], *title, most[NUMBER_MAX], least[NUMBER_MAX];
	int n, columns;
	double *v = reals(doc_get(s, "values"), &n);

	if (n > 0) {
		number_plain(most, v[0]);
		number_plain(least, v[n - 1]);
		title = str_format("singular values, %s to %s", most, least);
		look_spaces(b, 2);
		look_paint(b, l, PAINT_TITLE, title);
		str_addc(b, '\n');
		free(title);
		columns = chart_columns(b, l, v, n, l->width - 4 < 64 ?
		    l->width - 4 : 64, 5, 2);
		snprintf(right, sizeof(right), "%d", n);
		if (columns > 0)
			draw_axis(b, l, "1", right, columns, 2);
	}
	spectrum_facts(b, l, s);
	free(v);
}

static void
inspect_title(struct str *b, const struct look *l, const json_t *doc)
{
	char params[NUMBER_MAX], bytes[NUMBER_MAX];
	const json_t *shape = doc_get(doc, "shape");
	struct str line = STR_INIT;
	char *path = look_clean(l, doc_text(doc, "path"));

	number_count(params, doc_real(doc, "params"));
	number_bytes(bytes, doc_real(doc, "bytes"));
	look_paint(b, l, PAINT_TITLE, path);
	for (size_t i = 0; i < json_array_size(shape); i++)
		str_addf(&line, "%s%lld", i > 0 ? " x " : " ",
		    (long long)json_integer_value(json_array_get(shape, i)));
	str_addf(&line, ", %s, %s values, %s", doc_text(doc, "form"), params,
	    bytes);
	str_addc(b, ' ');
	look_wrap(b, l, look_columns(path) + 1, 2, line.s);
	free(path);
	str_free(&line);
}

static void
fact(struct str *b, const json_t *doc, const char *key, const char *name)
{
	char a[NUMBER_MAX];

	if (!doc_has(doc, key))
		return;
	number_plain(a, doc_real(doc, key));
	str_addf(b, "%s%s %s", b->n > 0 ? ", " : "", name, a);
}

static void
inspect_facts(struct str *b, const struct look *l, const json_t *doc)
{
	static const char *const moments[][2] = { { "min", "min" },
		{ "max", "max" }, { "mean", "mean" },
		{ "deviation", "deviation" }, { "skewness", "skewness" },
		{ "kurtosis", "kurtosis" }, { "abs_mean", "mean size" },
		{ "l2", "norm" } };
	static const char *const odd[][2] = { { "zeros", "zeros" },
		{ "nans", "NaN" }, { "infs", "infinite" },
		{ "subnormals", "subnormal" } };
	struct str line = STR_INIT;

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++)
		fact(&line, doc, moments[i][0], moments[i][1]);
	if (line.n > 0) {
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, line.s);
	}
	str_clear(&line);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		if (doc_int(doc, odd[i][0]) > 0)
			fact(&line, doc, odd[i][0], odd[i][1]);
	if (line.n > 0) {
		look_spaces(b, 2);
		look_wrap(b, l, 2, 2, line.s);
	}
	str_free(&line);
}

void
render_inspect(struct str *b, const struct look *l, const json_t *doc)
{
	json_t *target;
	size_t i;

	json_array_foreach((json_t *)doc_get(doc, "targets"), i, target) {
		if (i > 0)
			str_addc(b, '\n');
		inspect_title(b, l, target);
		inspect_facts(b, l, target);
		if (doc_has(target, "histogram"))
			draw_histogram(b, l, doc_get(target, "histogram"));
		if (doc_has(target, "spectrum"))
			draw_spectrum(b, l, doc_get(target, "spectrum"));
	}
}
