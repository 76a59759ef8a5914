/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers, tables, charts, renderers, options and generated pages, as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "ops/op.h"
#include "session/command.h"
#include "ui/chart.h"
#include "ui/completions.h"
#include "ui/manpages.h"
#include "ui/number.h"
#include "ui/options.h"
#include "ui/progress.h"
#include "ui/render.h"
#include "ui/table.h"

static const struct look plain = { .fd = -1, .width = 80, .ascii = true };

static struct look
wide(int width, bool ascii)
{
	struct look l = plain;

	l.width = width;
	l.ascii = ascii;
	return l;
}

/* ---- numbers ---- */

static void
test_numbers(void **state)
{
	char a[NUMBER_MAX];

	number_bytes(a, 4928307);
	assert_string_equal(a, "4.7 MiB");
	number_bytes(a, 512);
	assert_string_equal(a, "512 B");
	number_count_pair(a, 1210000, 1180000);
	assert_string_equal(a, "1.21 -> 1.18 M");
	number_count_pair(a, 109482240, 109480000);
	assert_string_equal(a, "109.482 -> 109.480 M");
	number_bytes_pair(a, 4928307, 4823449);
	assert_string_equal(a, "4.7 -> 4.6 MiB");
	number_bytes_pair(a, 900, 12);
	assert_string_equal(a, "900 -> 12 B");
	number_count_pair(a, 12, 11);
	assert_string_equal(a, "12 -> 11");
	number_change(a, 100, 96.9);
	assert_string_equal(a, "-3.1 %");
	number_change(a, 0, 1);
	assert_string_equal(a, "-");
	number_percent(a, NAN);
	assert_string_equal(a, "-");
	number_seconds(a, 0.0123);
	assert_string_equal(a, "12.3 ms");
	number_seconds(a, 125);
	assert_string_equal(a, "2 min 05 s");
}

/* ---- text ---- */

static void
test_clean(void **state)
{
	struct look u = wide(80, false);
	char *s;

	s = look_clean(&plain, "a\033[31m\x7f\xff\xc3\xa9z");
	assert_string_equal(s, "a?[31m???z");
	free(s);
	/* A right-to-left override and a C1 control; letters stay. */
	s = look_clean(&u, "a\xe2\x80\xae\xc2\x9b\xc3\xa9z");
	assert_string_equal(s, "a??\xc3\xa9z");
	free(s);
	assert_int_equal(look_columns("\xe9\x9b\xbb\xe5\xbd\xb1"), 4);
}

static void
test_wrap(void **state)
{
	struct look l = wide(20, true);
	struct str b = STR_INIT;

	look_wrap(&b, &l, 0, 2, "sizes are 4.7 -> 4.6 MiB now");
	assert_string_equal(b.s, "sizes are 4.7 ->\n  4.6 MiB now\n");
	str_clear(&b);
	look_wrap(&b, &l, 0, 2, "averyveryverylongwordindeed x");
	assert_non_null(strstr(b.s, "averyveryverylongwordindeed x\n"));
	str_clear(&b);
	look_wrap(&b, &l, 0, 2, "");
	assert_string_equal(b.s, "\n");
	str_free(&b);
}

/* ---- tables ---- */

static struct table *
sample_table(void)
{
	struct table *t = table_new();

	table_column(t, "name", TABLE_LEFT, 0);
	table_column(t, "size", TABLE_RIGHT, 1);
	table_column(t, "empty", TABLE_RIGHT, 0);
	table_column(t, "text", TABLE_LEFT, 2);
	table_row(t);
	table_cell(t, PAINT_NONE, "first");
	table_cell(t, PAINT_NONE, "10");
	table_cell(t, PAINT_NONE, "");
	table_cell(t, PAINT_NONE, "some text");
	table_rule(t);
	table_row(t);
	table_cell(t, PAINT_NONE, "b");
	table_cellf(t, PAINT_NONE, "%d", 7);
	return t;
}

static void
test_table(void **state)
{
	struct table *t = sample_table();
	struct str b = STR_INIT;

	table_draw(t, &b, &plain, 0);
	assert_string_equal(b.s,
	    "name   size  text\n"
	    "first    10  some text\n"
	    "----------------------\n"
	    "b         7\n");
	table_free(t);
	str_free(&b);
}

/* At any width no line is longer, and the first column stays. */
static void
test_table_widths(void **state)
{
	struct table *t = sample_table();

	for (int w = 8; w < 60; w++) {
		struct look l = wide(w, true);
		struct str b = STR_INIT;
		char *save = NULL;

		table_draw(t, &b, &l, 0);
		assert_non_null(strstr(b.s, "name"));
		for (char *p = strtok_r(b.s, "\n", &save); p != NULL;
		    p = strtok_r(NULL, "\n", &save))
			assert_true((int)strlen(p) <= w);
		str_free(&b);
	}
	table_free(t);
}

/* ---- charts ---- */

static void
test_bar(void **state)
{
	struct look u = wide(80, false);
	char *s;

	s = chart_bar(&plain, 0.5, 10);
	assert_string_equal(s, "#####");
	free(s);
	s = chart_bar(&plain, 0.0001, 10);
	assert_string_equal(s, "#");
	free(s);
	s = chart_bar(&plain, 0, 10);
	assert_string_equal(s, "");
	free(s);
	s = chart_bar(&u, 2, 10);
	assert_int_equal(look_columns(s), 10);
	free(s);
}

static void
test_columns(void **state)
{
	double v[200];
	struct str b = STR_INIT;

	for (int i = 0; i < 200; i++)
		v[i] = i;
	assert_int_equal(chart_columns(&b, &plain, v, 200, 50, 4, 2), 50);
	str_clear(&b);
	v[0] = NAN;
	assert_int_equal(chart_columns(&b, &plain, v, 3, 50, 2, 0), 3);
	assert_string_equal(b.s, "  |\n ||\n");
	str_free(&b);
}

/* ---- renderers ---- */

static char *
draw(const char *kind, const char *text, const struct look *l)
{
	struct str b = STR_INIT;
	json_error_t e;
	json_t *doc = json_loads(text, 0, &e);

	assert_non_null(doc);
	render_document(&b, l, kind, doc);
	json_decref(doc);
	return str_detach(&b);
}

static void
check(const char *kind, const char *text, const char *want)
{
	char *got = draw(kind, text, &plain);

	assert_string_equal(got, want);
	free(got);
}

static void
test_render_op(void **state)
{
	check("op", "{\"state\":1,\"before\":{\"params\":1210000,"
	    "\"nonzero\":1210000,\"bytes\":4928307,\"macs_per_token\":1300000},"
	    "\"after\":{\"params\":1180000,\"nonzero\":1180000,"
	    "\"bytes\":4823449,\"macs_per_token\":1259700},"
	    "\"eval\":{\"metric\":\"accuracy\",\"value\":0.94,\"delta\":-0.001,"
	    "\"fixed\":1,\"broke\":2,\"n\":1000,\"verdict\":\"within noise\"},"
	    "\"latency\":{\"p50_ms\":2,\"ratio_to_original\":{\"median\":0.97,"
	    "\"low\":0.95,\"high\":0.99}}}",
	    "state 1: 1.21 -> 1.18 M parameters, 4.7 -> 4.6 MiB, MACs -3.1 %\n"
	    "  accuracy 94.1 -> 94.0 % (1 fixed, 2 broke of 1000): within "
	    "noise. Latency\n  0.97 x (0.95 to 0.99).\n");
	check("op", "{\"state\":0,\"dry_run\":true,\"before\":{\"params\":100,"
	    "\"nonzero\":100,\"bytes\":400,\"macs_per_token\":1},"
	    "\"after\":{\"params\":100,\"nonzero\":70,\"bytes\":400,"
	    "\"macs_per_token\":1},\"note\":\"kept dense\"}",
	    "would be: 30.0 % zeros, 400 B as before\n  kept dense\n");
}

static void
test_render_others(void **state)
{
	check("open", "{\"name\":\"reviews\",\"architecture\":\"BERT\","
	    "\"layers\":4,\"heads\":[4,4,4,4],\"hidden\":128,"
	    "\"params\":1210000,\"bytes\":4928307,\"weights\":true}",
	    "reviews: BERT, 4 layers of 4 heads, 128 wide. 1.21 M parameters, "
	    "4.7 MiB.\n");
	check("undo", "{\"state\":1,\"bytes\":4823449,\"metric\":\"accuracy\","
	    "\"metric_value\":0.94,\"cached\":true,"
	    "\"command_of_state\":\"prune heads L2.h0\"}",
	    "state 1: 4.6 MiB, 94.0 % (recalled); made by prune heads "
	    "L2.h0\n");
	check("expect", "{\"metric\":\"accuracy\",\"op\":\">=\",\"value\":0.9,"
	    "\"actual\":0.94,\"holds\":true}",
	    "holds: accuracy is 0.94, expected >= 0.9\n");
	check("eval", "{\"metric\":\"pearson\",\"value\":null,\"n\":3,"
	    "\"loss\":0.5,\"seconds\":1,\"tokens_per_second\":100,"
	    "\"ci95\":[null,null]}",
	    "pearson undefined (n 3), loss 0.5000\n  in 1.00 s, 100 "
	    "tokens/s\n");
	check("save", "{\"command\":\"save x\",\"dry_run\":true}",
	    "checked, not run: save x\n");
	check("no such kind", "{\"command\":\"x\",\"ok\":true,\"b\":[1,2]}",
	    "b           [1,2]\n");
}

/* A renderer must stand whatever is missing or of the wrong type. */
static void
test_render_hostile(void **state)
{
	static const char *const docs[] = { "{}", "{\"rows\":[{}],"
	    "\"total\":{},\"states\":[{}],\"targets\":[{}],\"flips\":[{}],"
	    "\"settings\":[{}],\"files\":[{}],\"epochs\":[{}],\"a\":{},"
	    "\"b\":{},\"eval\":{},\"latency\":{}}",
	    "{\"rows\":3,\"states\":[1,\"x\"],\"targets\":[null],"
	    "\"heads\":[null,\"x\"],\"labels\":[1,{}],\"eval\":\"\","
	    "\"ci95\":[1],\"total\":7,\"a\":1,\"text\":5,\"command\":7}",
	    "{\"cells\":[{},3],\"lengths\":[1,\"x\"],\"batches\":[{}],"
	    "\"breakdown\":{\"layers\":[{},1]},\"original_breakdown\":3}",
	    "{\"breakdown\":{\"layers\":[{},1]},\"list_layers\":true,"
	    "\"original_breakdown\":{\"layers\":[1,{}]}}",
	    "{\"cells\":3,\"lengths\":4}",
	    "{\"states\":[{\"id\":0,\"parent\":0},{\"id\":1,\"parent\":1}],"
	    "\"rows\":[{\"probabilities\":[],\"logits\":[[]],\"hidden\":[]}],"
	    "\"targets\":[{\"histogram\":{\"counts\":[]},\"spectrum\":{"
	    "\"values\":[]}}]}" };
	struct look narrow = wide(20, false);

	for (const struct renderer *r = render_table; r->kind != NULL; r++)
		for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
			free(draw(r->kind, docs[i], &plain));
			free(draw(r->kind, docs[i], &narrow));
		}
}

#define PARTS(whole, sum, embed, attention, ffn, norm, head, layers) \
    "{\"whole_ms\":" whole ",\"sum_ms\":" sum ",\"embed_ms\":" embed \
    ",\"attention_ms\":" attention ",\"ffn_ms\":" ffn ",\"norm_ms\":" norm \
    ",\"head_ms\":" head ",\"layers\":[" layers "]}"
#define LAYER(n, ms, attention, ffn, norm) \
    "{\"layer\":" n ",\"ms\":" ms ",\"attention_ms\":" attention \
    ",\"ffn_ms\":" ffn ",\"norm_ms\":" norm "}"

static const char latency_pass[] = "{\"batch\":1,\"seq\":128,\"runs\":40,"
    "\"threads\":2,\"pinned\":true,\"p50_ms\":10,\"p95_ms\":12.5,"
    "\"p25_ms\":9.9,\"p75_ms\":10.2,\"noise\":null,"
    "\"original_p50_ms\":20.5,\"ratio_to_original\":{\"median\":0.49,"
    "\"low\":0.48,\"high\":0.5},\"list_layers\":true,"
    "\"breakdown\":" PARTS("10", "9.9", "0.5", "4", "5", "0.2", "0.2",
    LAYER("0", "6.0", "2.5", "3.4", "0.1") ","
    LAYER("1", "3.2", "1.5", "1.6", "0.1")) ",\"original_breakdown\":"
    PARTS("20", "19.8", "0.5", "8", "11", "0.2", "0.1",
    LAYER("0", "12.0", "5", "6.9", "0.1") ","
    LAYER("1", "7.2", "3", "4.1", "0.1")) "}";

static const char latency_cells[] = "{\"partial\":true,\"threads\":1,"
    "\"pinned\":false,\"batches\":[1,16],\"lengths\":[8,128],\"cells\":["
    "{\"batch\":1,\"seq\":8,\"runs\":5,\"p50_ms\":0.5,\"noise\":\"x\","
    "\"tokens_per_second\":16000,\"ratio_to_original\":{\"median\":0.9}},"
    "{\"batch\":1,\"seq\":128,\"runs\":5,\"p50_ms\":4,"
    "\"tokens_per_second\":32000,\"ratio_to_original\":{\"median\":0.8}},"
    "{\"batch\":16,\"seq\":8,\"runs\":4,\"p50_ms\":4,"
    "\"tokens_per_second\":32000,\"ratio_to_original\":{\"median\":0.75}},"
    "{\"batch\":16,\"seq\":128,\"runs\":0,"
    "\"tokens_per_second\":null}]}";

static void
test_render_latency(void **state)
{
	check("latency", "{\"batch\":4,\"seq\":16,\"runs\":9,\"threads\":1,"
	    "\"pinned\":false,\"cached\":true,\"p50_ms\":123.456,"
	    "\"p95_ms\":1,\"p25_ms\":0.5,\"p75_ms\":99.99,"
	    "\"noise\":\"threads waited for a processor 20 % of the time\"}",
	    "latency 123.5 ms median, 1.000 ms at 95 %, half of all from 0.500 "
	    "to 99.99\n  (batch 4, 16 tokens, 9 runs, 1 thread not bound), "
	    "recalled\n  The machine is noisy: threads waited for a processor "
	    "20 % of the time.\n");
	check("latency", latency_pass,
	    "latency 10.00 ms median, 12.50 ms at 95 %, half of all from 9.900 to 10.20\n"
	    "  (batch 1, 128 tokens, 40 runs, 2 threads bound)\n"
	    "  0.49 x the original's 20.50 ms (0.48 to 0.50), taken in turn\n"
	    "  part           ms    share          original   ratio\n"
	    "  embeddings  0.500    5.0 %  #          0.500  1.00 x\n"
	    "  attention   4.000   40.0 %  #####      8.000  0.50 x\n"
	    "  FFN         5.000   50.0 %  ######     11.00  0.45 x\n"
	    "  norms       0.200    2.0 %  #          0.200  1.00 x\n"
	    "  head        0.200    2.0 %  #          0.100  2.00 x\n"
	    "  between     0.100    1.0 %  #          0.200  0.50 x\n"
	    "  ----------------------------------------------------\n"
	    "  whole       10.00  100.0 %             20.00  0.50 x\n"
	    "  layer     ms   share           original   ratio  attention    FFN  norms\n"
	    "  L0     6.000  60.0 %  #######     12.00  0.50 x      2.500  3.400  0.100\n"
	    "  L1     3.200  32.0 %  ####        7.200  0.44 x      1.500  1.600  0.100\n");
}

static void
test_render_grid(void **state)
{
	check("latency", latency_cells,
	    "latency grid 4 cells in turn, 0 to 5 runs each, 1 thread not bound; stopped:\n"
	    "  partial\n"
	    "  The machine is noisy: 1 cell (~) varies much or waited for processors.\n"
	    "  median ms by tokens in a sequence\n"
	    "  batch       8    128\n"
	    "      1  ~0.500  4.000\n"
	    "     16   4.000      -\n"
	    "  ratio to the original\n"
	    "  batch        8     128\n"
	    "      1  ~0.90 x  0.80 x\n"
	    "     16   0.75 x       -\n"
	    "  batch  tokens  tokens/s\n"
	    "      1       8    16.0 k  ################\n"
	    "      1     128    32.0 k  ################################\n"
	    "     16       8    32.0 k  ################################\n"
	    "     16     128         -\n");
}

/* No line passes the width, in either character set. */
static void
test_render_latency_widths(void **state)
{
	const char *const docs[] = { latency_pass, latency_cells };

	for (int i = 0; i < 2; i++)
		for (int width = 20; width <= 120; width++) {
			struct look l = wide(width, width % 2 == 0);
			char *text = draw("latency", docs[i], &l), *line;

			for (line = strtok(text, "\n"); line != NULL;
			    line = strtok(NULL, "\n"))
				if (look_columns(line) > width)
					fail_msg("%d: %s", width, line);
			free(text);
		}
}

/* Every command has a renderer of its own. */
static void
test_render_table(void **state)
{
	for (int i = 0; command_table[i] != NULL; i++) {
		const struct renderer *r = render_table;

		while (r->kind != NULL &&
		    strcmp(r->kind, command_table[i]->name) != 0)
			r++;
		if (r->kind == NULL)
			fail_msg("no renderer of %s", command_table[i]->name);
	}
}

/* The tree is drawn with a branch beside its parent. */
static void
test_render_history(void **state)
{
	check("history", "{\"current\":3,\"states\":["
	    "{\"id\":0,\"parent\":null,\"command\":null,\"bytes\":400},"
	    "{\"id\":1,\"parent\":0,\"command\":\"one\",\"bytes\":300},"
	    "{\"id\":2,\"parent\":1,\"command\":\"two\",\"bytes\":200},"
	    "{\"id\":3,\"parent\":0,\"command\":\"three\",\"bytes\":100}]}",
	    "state  command    bytes\n"
	    "  0    as opened  400 B\n"
	    "  1      one      300 B\n"
	    "  2      two      200 B\n"
	    "* 3      three    100 B\n");
}

static void
test_progress(void **state)
{
	struct look narrow = wide(40, true);
	struct str b = STR_INIT;

	progress_line(&b, &plain, 500, 1000, "samples", 10, 0, false);
	assert_string_equal(b.s, "[##########          ] 500 of 1000 samples"
	    "  50 %  50/s  10 s left");
	str_clear(&b);
	progress_line(&b, &narrow, 500, 1000, "samples", 10, 0, false);
	assert_true(b.n <= 40);
	str_clear(&b);
	progress_line(&b, &plain, 5, 0, "samples", 0, 0, false);
	assert_string_equal(b.s, "5 samples");
	str_free(&b);
}

/* ---- options ---- */

static enum pare_rc
parse(struct options *o, struct pare_err *err, int argc, ...)
{
	char *argv[16] = { "pare" };
	va_list ap;

	va_start(ap, argc);
	for (int i = 1; i <= argc; i++)
		argv[i] = va_arg(ap, char *);
	va_end(ap);
	return options_parse(o, argc + 1, argv, err);
}

static void
test_options(void **state)
{
	struct options o;
	struct pare_err err;

	assert_int_equal(parse(&o, &err, 7, "-c", "info", "M", "-f", "-",
	    "--data=calib=x", "-nq"), PARE_OK);
	assert_string_equal(o.model, "M");
	assert_int_equal(o.nscripts, 2);
	assert_false(o.script[0].is_file);
	assert_true(o.script[1].is_file);
	assert_string_equal(o.data[0], "calib=x");
	assert_true(o.dry_run && o.quiet && !o.json);
	options_free(&o);
	assert_int_equal(parse(&o, &err, 2, "--", "-x"), PARE_OK);
	assert_string_equal(o.model, "-x");
	options_free(&o);
}

static void
test_bad_options(void **state)
{
	static const char *const bad[] = { "--nope", "-Z", "--threads=257",
		"--seed=-1", "--color=", "--ascii=1", "", "-c" };
	struct options o;
	struct pare_err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(&o, &err, 1, bad[i]), PARE_EUSAGE);
		assert_true(err.msg[0] != '\0' && err.hint[0] != '\0');
		options_free(&o);
	}
}

/* ---- pages ---- */

static char *
page(const char *name)
{
	struct str b = STR_INIT;

	for (const struct manpage *m = manpage_table; m->name != NULL; m++)
		if (strcmp(m->name, name) == 0)
			m->write(&b);
	assert_true(b.n > 0);
	return str_detach(&b);
}

static void
test_pages(void **state)
{
	char *commands = page("commands"), *ops = page("ops"), head[128];

	for (int i = 0; command_table[i] != NULL; i++) {
		snprintf(head, sizeof(head), "\n.Ss %s\n",
		    command_table[i]->name);
		assert_non_null(strstr(commands, head));
	}
	for (int i = 0; op_table[i] != NULL; i++) {
		snprintf(head, sizeof(head), "\n.Ss %s%s%s\n",
		    op_table[i]->verb, op_table[i]->method != NULL ? " " : "",
		    op_table[i]->method != NULL ? op_table[i]->method : "");
		assert_non_null(strstr(ops, head));
	}
	free(commands);
	free(ops);
}

static void
test_completions(void **state)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };

	for (int k = 0; k < 3; k++) {
		char *text = page(shells[k]);

		for (int i = 0; i < OPTION_COUNT; i++)
			assert_non_null(strstr(text, option_table[i].name));
		for (int i = 0; command_table[i] != NULL; i++)
			assert_non_null(strstr(text, command_table[i]->name));
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_widths),
		cmocka_unit_test(test_bar),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_render_op),
		cmocka_unit_test(test_render_others),
		cmocka_unit_test(test_render_hostile),
		cmocka_unit_test(test_render_latency),
		cmocka_unit_test(test_render_grid),
		cmocka_unit_test(test_render_latency_widths),
		cmocka_unit_test(test_render_table),
		cmocka_unit_test(test_render_history),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_completions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
