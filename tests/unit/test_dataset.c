/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sample sets: the formats, the choice of columns, labels, the stratified draw,
 * and every malformed file with the error that names its line. The files of
 * PARE_SHARED (folder of real models and references) are read where present.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/dataset.h"

static const char *const two[] = { "negative", "positive" };
static const char *const six[] = { "ABBR", "DESC", "ENTY", "HUM", "LOC",
	"NUM" };
static const struct dataset_options plain;
static const struct dataset_options binary = { .label_name = two,
	.nlabels = 2 };

static struct dataset *
parse_n(const char *name, const char *data, size_t n,
    const struct dataset_options *o)
{
	struct pare_err err = { 0 };
	struct dataset *d = dataset_parse(name, data, n, o, NULL, &err);

	if (d == NULL)
		fail_msg("%s", err.msg);
	return d;
}

static struct dataset *
parse(const char *name, const char *data, const struct dataset_options *o)
{
	return parse_n(name, data, strlen(data), o);
}

/* Reading must fail with a message that holds both words. */
static void
expect_bad_n(const char *name, const char *data, size_t n,
    const struct dataset_options *o, const char *word, const char *word2)
{
	struct pare_err err = { 0 };
	struct dataset *d = dataset_parse(name, data, n, o, NULL, &err);

	assert_null(d);
	if (strstr(err.msg, word) == NULL || strstr(err.msg, word2) == NULL)
		fail_msg("'%s' lacks '%s' or '%s'", err.msg, word, word2);
	assert_int_equal(err.rc, PARE_EFORMAT);
}

static void
expect_bad(const char *name, const char *data,
    const struct dataset_options *o, const char *word, const char *word2)
{
	expect_bad_n(name, data, strlen(data), o, word, word2);
}

static void
expect_sample(const struct dataset *d, int64_t i, const char *text,
    const char *gold, int label, int64_t line)
{
	assert_in_range(i, 0, d->n - 1);
	assert_string_equal(d->sample[i].text, text);
	if (gold == NULL)
		assert_null(d->sample[i].gold);
	else
		assert_string_equal(d->sample[i].gold, gold);
	assert_int_equal(d->sample[i].label, label);
	assert_int_equal(d->sample[i].line, line);
}

/* ---- formats ---- */

static void
test_tsv(void **state)
{
	struct dataset *d = parse("a.tsv", "sentence\tlabel\nit \"works\t1\n"
	    "or, not\"\t0\n\nempty is next\t1\n\t0\n", &binary);

	assert_int_equal(d->n, 4);
	expect_sample(d, 0, "it \"works", "1", 1, 2);
	expect_sample(d, 1, "or, not\"", "0", 0, 3);
	expect_sample(d, 2, "empty is next", "1", 1, 5);
	expect_sample(d, 3, "", "0", 0, 6);
	assert_string_equal(d->columns, "text=sentence label=label");
	assert_true(d->has_labels);
	assert_false(d->has_pairs);
	assert_null(d->sample[0].pair);
	dataset_free(d);
}

static void
test_csv(void **state)
{
	struct dataset *d = parse("a.csv", "label,text\r\n1,\"a, \"\"b\"\"\r\n"
	    "c\"\r\n0,plain \"quotes\" inside\r\n\r\n\"1\",last", &binary);

	assert_int_equal(d->n, 3);
	expect_sample(d, 0, "a, \"b\"\r\nc", "1", 1, 2);
	expect_sample(d, 1, "plain \"quotes\" inside", "0", 0, 4);
	expect_sample(d, 2, "last", "1", 1, 6);
	dataset_free(d);
	d = parse("a.csv", "text;label\nx, y;1\n;0\n", &binary);
	assert_int_equal(d->n, 2);
	expect_sample(d, 0, "x, y", "1", 1, 2);
	expect_sample(d, 1, "", "0", 0, 3);
	dataset_free(d);
}

static void
test_jsonl(void **state)
{
	struct dataset *d = parse("a.jsonl", "{\"text\": \"one\\ntwo\", "
	    "\"label\": 1}\n\n{\"label\": \"negative\", \"text\": \"x\"}\n"
	    "{\"text\": \"y\", \"label\": null}\n{\"label\": 0}\n"
	    "{\"text\": \"z\\u0000z\", \"label\": true}", &binary);

	assert_int_equal(d->n, 4);
	expect_sample(d, 0, "one\ntwo", "1", 1, 1);
	expect_sample(d, 1, "x", "negative", 0, 3);
	expect_sample(d, 2, "y", NULL, -1, 4);
	expect_sample(d, 3, "z\xef\xbf\xbdz", "true", 1, 6);
	assert_int_equal(d->skipped_rows, 1);
	assert_int_equal(d->unlabelled, 1);
	assert_int_equal(d->bad_bytes, 1);
	dataset_free(d);
}

static void
test_json_array(void **state)
{
	struct dataset *d = parse("a.json", "[{\"premise\": \"p\", "
	    "\"hypothesis\": \"h\", \"label\": 0},\n {\"premise\": \"q\", "
	    "\"hypothesis\": \"i\", \"label\": 1}]", &binary);

	assert_int_equal(d->n, 2);
	assert_true(d->has_pairs);
	assert_string_equal(d->sample[1].pair, "i");
	assert_int_equal(d->sample[1].label, 1);
	dataset_free(d);
}

static void
test_text(void **state)
{
	struct dataset *d = parse("a.txt", "one, two\n\n  \nthree\r\n", &plain);

	assert_int_equal(d->n, 2);
	expect_sample(d, 0, "one, two", NULL, -1, 1);
	expect_sample(d, 1, "three", NULL, -1, 4);
	assert_false(d->has_labels);
	assert_int_equal(d->unlabelled, 2);
	dataset_free(d);
}

/* Names that say nothing: the first line decides. */
static void
test_kind_by_content(void **state)
{
	struct dataset *d = parse("data", "text\tlabel\nx\t1\n", &binary);

	expect_sample(d, 0, "x", "1", 1, 2);
	dataset_free(d);
	d = parse("data", "{\"text\":\"x\",\"label\":1}", &binary);
	expect_sample(d, 0, "x", "1", 1, 1);
	dataset_free(d);
	d = parse("data", "text,label\n\"x\",1\n", &binary);
	expect_sample(d, 0, "x", "1", 1, 2);
	dataset_free(d);
	d = parse("msr.txt", "Quality\t#1 String\t#2 String\n1\tx\ty\n",
	    &binary);
	expect_sample(d, 0, "x", "1", 1, 2);
	assert_string_equal(d->sample[0].pair, "y");
	dataset_free(d);
}

/* ---- columns ---- */

static void
test_header_names(void **state)
{
	static const struct {
		const char *header, *columns;
	} t[] = {
		{ "index\tsentence\tlabel", "text=sentence label=label" },
		{ "Text\tLabels\tx", "text=Text label=Labels" },
		{ "x\tREVIEW\tStars", "text=REVIEW label=Stars" },
		{ "content\ttarget\tx", "text=content label=target" },
		{ "sentence1\tsentence2\tlabel",
		    "text=sentence1 pair=sentence2 label=label" },
		{ "question\tsentence\tlabel",
		    "text=question pair=sentence label=label" },
		{ "question1\tquestion2\tis_duplicate",
		    "text=question1 pair=question2 label=is_duplicate" },
		{ "#1 String\t#2 String\tQuality",
		    "text='#1 String' pair='#2 String' label=Quality" },
		{ "label1\tsentence1\tsentence2\tgold_label",
		    "text=sentence1 pair=sentence2 label=gold_label" },
		{ "premise\thypothesis\tx", "text=premise pair=hypothesis" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char *file = str_format("%s\n1\t1\t1\t1\n", t[i].header);
		struct dataset *d = parse("a.tsv", file, &binary);

		assert_string_equal(d->columns, t[i].columns);
		assert_int_equal(d->n, 1);
		dataset_free(d);
		free(file);
	}
}

static void
test_given_columns(void **state)
{
	struct dataset_options o = binary;
	struct dataset *d;

	/* By name; the header goes. */
	o.text = "b";
	o.label = "A";
	d = parse("a.tsv", "a\tb\tc\n1\tx\ty\n", &o);
	assert_int_equal(d->n, 1);
	expect_sample(d, 0, "x", "1", 1, 2);
	assert_string_equal(d->columns, "text=b label=a");
	dataset_free(d);
	/* By number, without a header. */
	o.text = "2";
	o.label = "1";
	o.pair = "3";
	d = parse("a.tsv", "1\tx\ty\n0\tz\tw\n", &o);
	assert_int_equal(d->n, 2);
	expect_sample(d, 0, "x", "1", 1, 1);
	assert_string_equal(d->sample[1].pair, "w");
	assert_string_equal(d->columns, "text=2 pair=3 label=1");
	dataset_free(d);
	/* By number; the first label is none, so it is a header. */
	d = parse("a.tsv", "what\tx\ty\n0\tz\tw\n", &o);
	assert_int_equal(d->n, 1);
	expect_sample(d, 0, "z", "0", 0, 2);
	dataset_free(d);
	/* By number; a known name shows the header. */
	o.pair = o.label = NULL;
	d = parse("a.tsv", "label\tsentence\n0\tz\n", &o);
	assert_int_equal(d->n, 1);
	expect_sample(d, 0, "z", "0", 0, 2);
	dataset_free(d);
	d = parse("a.tsv", "1\tx\n0\tz\n", &o);
	assert_int_equal(d->n, 2);
	expect_sample(d, 0, "x", NULL, -1, 1);
	dataset_free(d);
}

static void
test_bad_columns(void **state)
{
	struct dataset_options o = binary;

	expect_bad("a.tsv", "foo\tbar\nx\t1\n", &binary, "a.tsv",
	    "1=foo, 2=bar");
	/* The wrong delimiter shows as one column. */
	expect_bad("a.tsv", "sentence,label\nx,1\n", &binary, "a.tsv",
	    "1=sentence,label");
	o.text = "nothing";
	expect_bad("a.tsv", "foo\tbar\nx\t1\n", &o, "'nothing'", "1=foo");
	o.text = "3";
	expect_bad("a.tsv", "foo\tbar\nx\t1\n", &o, "text=3", "2 columns");
	o.text = "0";
	expect_bad("a.tsv", "foo\tbar\nx\t1\n", &o, "text=0", "2 columns");
	o.text = "99999999999999999999";
	expect_bad("a.tsv", "foo\tbar\nx\t1\n", &o, "99999", "column");
	o.text = NULL;
	o.label = "gone";
	expect_bad("a.tsv", "text\tlabel\nx\t1\n", &o, "'gone'", "label");
}

static void
test_short_rows(void **state)
{
	struct dataset *d = parse("a.tsv", "id\tsentence\tlabel\n1\tx\t1\n2\n"
	    "3\ty\n4\tz\t0\textra\n", &binary);

	assert_int_equal(d->n, 2);
	assert_int_equal(d->skipped_rows, 2);
	expect_sample(d, 1, "z", "0", 0, 5);
	dataset_free(d);
	expect_bad("a.tsv", "sentence\tlabel\nx\ny\n", &binary, "no examples",
	    "lacks");
}

/* ---- labels ---- */

static void
test_labels(void **state)
{
	struct dataset *d = parse("a.tsv", "text\tlabel\na\tpositive\n"
	    "b\tNegative\nc\t 1 \nd\t-1\ne\t-\nf\t\n", &binary);

	assert_int_equal(d->n, 6);
	expect_sample(d, 0, "a", "positive", 1, 2);
	expect_sample(d, 1, "b", "Negative", 0, 3);
	expect_sample(d, 2, "c", "1", 1, 4);
	expect_sample(d, 3, "d", NULL, -1, 5);
	expect_sample(d, 4, "e", NULL, -1, 6);
	expect_sample(d, 5, "f", NULL, -1, 7);
	assert_int_equal(d->unlabelled, 3);
	dataset_free(d);
}

/* A class called "1" is that class, whatever its number. */
static void
test_names_before_numbers(void **state)
{
	static const char *const odd[] = { "1", "0", "Yes", "yes" };
	struct dataset_options o = { .label_name = odd, .nlabels = 4 };
	struct dataset *d = parse("a.tsv", "text\tlabel\na\t1\nb\tyes\nc\t3\n",
	    &o);

	assert_int_equal(d->sample[0].label, 0);
	assert_int_equal(d->sample[1].label, 3);
	assert_int_equal(d->sample[2].label, 3);
	dataset_free(d);
}

static void
test_bad_labels(void **state)
{
	static const char *const bad[] = { "2", "-2", "1.0", "neutral",
		"nan", "0x1", "99999999999999999999" };
	struct dataset_options score = { .regression = true };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char *file = str_format("text\tlabel\na\t0\nb\t%s\n", bad[i]);

		expect_bad("a.tsv", file, &binary, "a.tsv:3",
		    "negative, positive");
		expect_bad("a.tsv", file, &binary, bad[i], "0 to 1");
		free(file);
	}
	expect_bad("a.tsv", "text\tscore\na\t0\nb\tgood\n", &score, "a.tsv:3",
	    "number");
	expect_bad("a.tsv", "text\tscore\na\tnan\n", &score, "a.tsv:2",
	    "number");
	expect_bad("a.tsv", "text\tscore\na\t1e999\n", &score, "a.tsv:2",
	    "number");
}

static void
test_regression(void **state)
{
	struct dataset_options o = { .regression = true, .text = "2",
		.pair = "3", .label = "1" };
	struct dataset *d = parse("a.tsv", "3.800\tx\ty\textra\n-\tz\tw\n"
	    "0\tu\tv\n", &o);

	assert_int_equal(d->n, 3);
	assert_true(d->sample[0].score == 3.8);
	assert_true(isnan(d->sample[1].score));
	assert_true(d->sample[2].score == 0.0);
	assert_int_equal(d->sample[0].label, -1);
	assert_int_equal(d->unlabelled, 1);
	dataset_free(d);
}

/* Without names labels are kept as text. */
static void
test_free_labels(void **state)
{
	struct dataset *d = parse("a.tsv", "text\tlabel\na\tgood\nb\t7\n",
	    &plain);

	expect_sample(d, 0, "a", "good", -1, 2);
	expect_sample(d, 1, "b", "7", -1, 3);
	assert_int_equal(d->unlabelled, 0);
	dataset_free(d);
}

/* ---- malformed files ---- */

static void
test_no_examples(void **state)
{
	static const char *const names[] = { "a.tsv", "a.csv", "a.jsonl",
		"a.txt", "a" };

	for (size_t i = 0; i < 5; i++) {
		expect_bad(names[i], "", &binary, names[i], "no examples");
		expect_bad(names[i], "\n\n", &binary, names[i], "no examples");
		expect_bad(names[i], "\xef\xbb\xbf", &binary, names[i],
		    "no examples");
	}
	expect_bad("a.json", "[]", &binary, "a.json", "no examples");
	expect_bad("a.tsv", "sentence\tlabel\n", &binary, "no examples",
	    "header");
	expect_bad("a.csv", "sentence,label", &binary, "no examples",
	    "header");
}

static void
test_encodings(void **state)
{
	struct dataset *d = parse("a.tsv", "\xef\xbb\xbftext\tlabel\r\n"
	    "caf\xe9 \xff\t1\r\n", &binary);

	expect_sample(d, 0, "caf\xef\xbf\xbd \xef\xbf\xbd", "1", 1, 2);
	assert_int_equal(d->bad_bytes, 2);
	dataset_free(d);
	d = parse_n("a.tsv", "text\tlabel\nx\0y\t1\n", 17, &binary);
	expect_sample(d, 0, "x\xef\xbf\xbdy", "1", 1, 2);
	assert_int_equal(d->bad_bytes, 1);
	dataset_free(d);
	d = parse("a.jsonl", "{\"text\":\"caf\xe9\",\"label\":1}\n", &binary);
	expect_sample(d, 0, "caf\xef\xbf\xbd", "1", 1, 1);
	assert_int_equal(d->bad_bytes, 1);
	dataset_free(d);
	expect_bad_n("a.tsv", "\xff\xfet\0e\0x\0t\0", 10, &binary, "a.tsv",
	    "UTF-16");
	expect_bad_n("a.csv", "\xfe\xff\0t\0e\0x\0t", 10, &binary, "a.csv",
	    "UTF-16");
	expect_bad_n("a.tsv", "\x1f\x8b\x08\0\0", 5, &binary, "a.tsv", "gzip");
}

static void
test_bad_csv(void **state)
{
	expect_bad("a.csv", "text,label\nx,1\n\"y\nz,0\nmore", &binary,
	    "a.csv:3", "never closed");
	expect_bad("a.csv", "\"text,label\n", &binary, "a.csv:1",
	    "never closed");
}

static void
test_bad_jsonl(void **state)
{
	struct str deep = STR_INIT, many = STR_INIT;

	for (int i = 1; i < 17; i++)
		str_add(&many, "{\"text\":\"x\",\"label\":1}\n");
	str_add(&many, "{\"text\":\"x\",\"label\":\n");
	expect_bad("a.jsonl", many.s, &binary, "a.jsonl:17", "JSON");
	expect_bad("a.jsonl", "{\"text\":\"x\"}\n[1,2]\n", &binary,
	    "a.jsonl:2", "object");
	expect_bad("a.jsonl", "5\n", &binary, "a.jsonl:1", "");
	expect_bad("a.jsonl", "{\"text\":\"x\",\"text\":\"y\"}\n", &binary,
	    "a.jsonl:1", "duplicate");
	expect_bad("a.jsonl", "{\"text\":\"x\",\"label\":1e999}\n", &binary,
	    "a.jsonl:1", "overflow");
	expect_bad("a.jsonl", "{\"text\":\"x\",\"label\":"
	    "99999999999999999999999}\n", &binary, "a.jsonl:1", "big");
	str_add(&deep, "{\"text\":");
	for (int i = 0; i < 100000; i++)
		str_addc(&deep, '[');
	expect_bad("a.jsonl", deep.s, &binary, "a.jsonl:1", "depth");
	expect_bad("a.json", "[{\"text\":\"x\"},\n{\"text\":}]", &binary,
	    "a.json:2", "JSON");
	expect_bad("a.json", "[{\"text\":\"x\"},\n7]", &binary, "a.json:2",
	    "object");
	str_free(&deep);
	str_free(&many);
}

static void
test_many_columns(void **state)
{
	struct str b = STR_INIT;
	struct dataset *d;

	str_add(&b, "text\tlabel\nx\t1");
	for (int i = 0; i < 100000; i++)
		str_addc(&b, '\t');
	str_add(&b, "\ny\t0\n");
	d = parse("a.tsv", b.s, &binary);
	assert_int_equal(d->n, 2);
	dataset_free(d);
	str_free(&b);
}

/* Rows are read one after the other; the task hears of it and can stop it. */
static void
count_tick(struct task *task, double done, double total, const char *what)
{
	int *left = task->ctx;

	assert_true(done <= total);
	if (--*left == 0)
		atomic_store(&task->cancel, true);
}

static void
test_cancel(void **state)
{
	struct str b = STR_INIT;
	int left = 3;
	struct task task = { .tick = count_tick, .ctx = &left };
	struct pare_err err = { 0 };
	struct dataset *d;

	str_add(&b, "text\tlabel\n");
	for (int i = 0; i < 50000; i++)
		str_add(&b, "some words\t1\n");
	d = dataset_parse("a.tsv", b.s, b.n, &binary, &task, &err);
	assert_null(d);
	assert_int_equal(err.rc, PARE_ECANCELED);
	assert_int_equal(left, 0);
	d = parse("a.tsv", b.s, &binary);
	assert_int_equal(d->n, 50000);
	dataset_free(d);
	str_free(&b);
}

static void
test_out_of_memory(void **state)
{
	struct dataset_options o = binary;
	struct dataset *d = NULL;
	struct pare_err err = { 0 };

	o.limit = 2;
	for (long i = 1; d == NULL && i < 100; i++) {
		mem_fail_at(i);
		d = dataset_parse("a.csv", "text,label\nx,1\ny,0\nz,1\n", 23,
		    &o, NULL, &err);
		mem_fail_at(0);
		assert_true(d == NULL || i > 5);
		if (d == NULL)
			assert_int_equal(err.rc, PARE_ENOMEM);
	}
	assert_non_null(d);
	dataset_free(d);
}

/* ---- the draw ---- */

/* 300 rows: 200 of one class, 90 of the other, 10 without a label. */
static char *
make_classes(void)
{
	struct str b = STR_INIT;

	str_add(&b, "text\tlabel\n");
	for (int i = 0; i < 300; i++)
		str_addf(&b, "row %d\t%s\n", i, i % 30 == 0 ? "-"
		    : i % 10 < 3 ? "1" : "0");
	return str_detach(&b);
}

static void
count_classes(const struct dataset *d, int64_t count[3])
{
	count[0] = count[1] = count[2] = 0;
	for (int64_t i = 0; i < d->n; i++)
		count[d->sample[i].label + 1]++;
}

static void
test_limit(void **state)
{
	struct dataset_options o = binary;
	char *file = make_classes();
	struct dataset *all = parse("a.tsv", file, &o), *a, *b, *c;
	int64_t total[3], count[3];
	int64_t differ = 0;

	count_classes(all, total);
	for (o.limit = 1; o.limit <= 300; o.limit += 23) {
		a = parse("a.tsv", file, &o);
		assert_int_equal(a->n, o.limit);
		count_classes(a, count);
		for (int k = 0; k < 3; k++)
			assert_true(fabs((double)count[k] - (double)total[k] *
			    (double)o.limit / 300.0) < 1.0);
		for (int64_t i = 1; i < a->n; i++)
			assert_true(a->sample[i].line > a->sample[i - 1].line);
		dataset_free(a);
	}
	o.limit = 60;
	o.seed = 7;
	a = parse("a.tsv", file, &o);
	b = parse("a.tsv", file, &o);
	o.seed = 8;
	c = parse("a.tsv", file, &o);
	assert_true(a->hash == b->hash);
	assert_true(a->hash != c->hash);
	for (int64_t i = 0; i < 60; i++) {
		assert_int_equal(a->sample[i].line, b->sample[i].line);
		differ += a->sample[i].line != c->sample[i].line;
	}
	assert_true(differ > 0);
	assert_int_equal(dataset_overlap(a, all), 60);
	assert_int_equal(dataset_overlap(all, a), 60);
	dataset_free(a);
	dataset_free(b);
	dataset_free(c);
	o.limit = 1000;
	a = parse("a.tsv", file, &o);
	assert_int_equal(a->n, 300);
	assert_true(a->hash == all->hash);
	dataset_free(a);
	dataset_free(all);
	free(file);
}

static void
test_hash(void **state)
{
	static const char base[] = "text\tlabel\nx\t1\ny\t0\n";
	static const char *const other[] = {
		"text\tlabel\nx\t0\ny\t0\n", "text\tlabel\ny\t0\nx\t1\n",
		"text\tlabel\nx\t1\n", "text\tlabel\nx\t1\nz\t0\n",
		"sentence1\tsentence2\tlabel\nx\ty\t1\ny\ty\t0\n",
	};
	struct dataset *a = parse("a.tsv", base, &binary);
	struct dataset *b = parse("b.csv", "label,text\n1,x\n0,y\n", &binary);

	assert_true(a->hash == b->hash);
	dataset_free(b);
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++) {
		b = parse("a.tsv", other[i], &binary);
		assert_true(a->hash != b->hash);
		dataset_free(b);
	}
	dataset_free(a);
}

/* ---- tokens ---- */

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\ny\nz\n";

static void
test_encode(void **state)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("vocab.txt", vocab,
	    strlen(vocab), true, &err);
	struct dataset *d = parse("a.tsv", "sentence1\tsentence2\tlabel\n"
	    "x y z\tz\t1\nx\t\t0\n", &binary);
	struct task stop = { .cancel = true };
	static const int32_t want[] = { 2, 4, 5, 3, 6, 3 };

	assert_non_null(t);
	assert_int_equal(dataset_encode(d, t, 6, NULL, &err), PARE_OK);
	assert_true(d->encoded);
	assert_int_equal(d->truncated, 1);
	assert_int_equal(d->sample[0].tokens.n, 6);
	assert_memory_equal(d->sample[0].tokens.id, want, sizeof(want));
	assert_int_equal(d->sample[0].tokens.type[4], 1);
	assert_int_equal(d->sample[1].tokens.n, 4);
	/* A failure leaves the tokens that were there. */
	assert_int_equal(dataset_encode(d, t, 2, NULL, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "a.tsv:2"));
	assert_int_equal(dataset_encode(d, t, 6, &stop, &err), PARE_ECANCELED);
	assert_int_equal(d->sample[0].tokens.n, 6);
	assert_int_equal(d->truncated, 1);
	assert_int_equal(dataset_encode(d, t, 0, NULL, &err), PARE_OK);
	assert_int_equal(d->sample[0].tokens.n, 7);
	assert_int_equal(d->truncated, 0);
	dataset_free(d);
	tokenizer_free(t);
}

/* Tokens that a known set has are taken over, for the same text, tokenizer and
 * length alone. The known ones are marked, to be told apart. */
static void
test_encode_known(void **state)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("vocab.txt", vocab,
	    strlen(vocab), true, &err);
	struct tokenizer *cased = tokenizer_parse("vocab.txt", vocab,
	    strlen(vocab), false, &err);
	const struct dataset *known[3] = { NULL };
	struct dataset *a = parse("a.tsv", "sentence1\tsentence2\tlabel\n"
	    "x y z\tz\t1\nx\t\t0\ny\ty\t1\n", &binary);
	struct dataset *b = parse("b.tsv", "sentence1\tsentence2\tlabel\n"
	    "y\tz\t1\nx y z\tz\t0\ny\ty\t1\nx\t\t1\n", &binary);

	assert_int_equal(dataset_encode(a, t, 6, NULL, &err), PARE_OK);
	for (int64_t i = 0; i < a->n; i++)
		a->sample[i].tokens.id[0] = 90 + (int32_t)i;
	known[1] = a;
	assert_int_equal(dataset_encode_known(b, t, 6, known, 3, NULL, &err),
	    PARE_OK);
	assert_int_equal(b->sample[0].tokens.id[0], 2);
	assert_int_equal(b->sample[1].tokens.id[0], 90);
	assert_int_equal(b->sample[2].tokens.id[0], 92);
	assert_int_equal(b->sample[3].tokens.id[0], 91);
	assert_int_equal(b->sample[1].tokens.n, 6);
	assert_int_equal(b->truncated, 1);
	assert_int_equal(dataset_encode_known(b, t, 5, known, 3, NULL, &err),
	    PARE_OK);
	assert_int_equal(b->sample[1].tokens.id[0], 2);
	assert_int_equal(dataset_encode_known(b, cased, 6, known, 3, NULL,
	    &err), PARE_OK);
	assert_int_equal(b->sample[1].tokens.id[0], 2);
	/* Without memory for the list they are tokenized again. */
	for (int n = 1; n < 4; n++) {
		enum pare_rc rc;

		mem_fail_at(n);
		rc = dataset_encode_known(b, t, 6, known, 3, NULL, &err);
		mem_fail_at(0);
		assert_int_equal(rc, n == 2 ? PARE_OK : PARE_ENOMEM);
		assert_int_equal(b->sample[1].tokens.id[0], 2);
	}
	dataset_free(a);
	dataset_free(b);
	tokenizer_free(t);
	tokenizer_free(cased);
}

/* The hash is that of texts, labels and tokens; encoding twice changes nothing. */
static void
test_encoded_hash(void **state)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("vocab.txt", vocab,
	    strlen(vocab), true, &err);
	struct dataset *d = parse("a.tsv", "text\tlabel\nx y z\t1\nx\t0\n",
	    &binary);
	uint64_t bare = d->hash, whole;

	assert_true(bare == d->content);
	assert_int_equal(dataset_encode(d, t, 0, NULL, &err), PARE_OK);
	whole = d->hash;
	assert_true(whole != bare && d->content == bare);
	assert_int_equal(dataset_encode(d, t, 9, NULL, &err), PARE_OK);
	assert_true(d->hash == whole);
	assert_int_equal(dataset_encode(d, t, 4, NULL, &err), PARE_OK);
	assert_true(d->hash != whole);
	dataset_free(d);
	tokenizer_free(t);
}

/* ---- files ---- */

static void
test_files(void **state)
{
	char dir[] = "/tmp/pare-test-XXXXXX", *path;
	struct pare_err err = { 0 };
	struct dataset *d;

	assert_non_null(mkdtemp(dir));
	assert_null(dataset_read(dir, &binary, NULL, &err));
	assert_int_equal(err.rc, PARE_EIO);
	path = io_join(dir, "x.tsv");
	assert_null(dataset_read(path, &binary, NULL, &err));
	assert_int_equal(err.rc, PARE_EIO);
	assert_int_equal(io_write(path, "text\tlabel\nx\t1\n", 15, &err),
	    PARE_OK);
	d = dataset_read(path, &binary, NULL, &err);
	assert_non_null(d);
	assert_string_equal(d->path, path);
	dataset_free(d);
	unlink(path);
	free(path);
	rmdir(dir);
}

/* ---- real files ---- */

static char *
shared(const char *name)
{
	const char *root = getenv("PARE_SHARED");
	char *path = io_join(root != NULL ? root : "../shared", name);

	if (access(path, R_OK) != 0) {
		free(path);
		skip();
	}
	return path;
}

static struct dataset *
read_shared(const char *name, const struct dataset_options *o)
{
	struct pare_err err = { 0 };
	char *path = shared(name);
	struct dataset *d = dataset_read(path, o, NULL, &err);

	if (d == NULL)
		fail_msg("%s", err.msg);
	free(path);
	return d;
}

static void
test_real_tables(void **state)
{
	static const struct {
		const char *name;
		struct dataset_options o;
		int64_t n;
		bool pairs;
	} t[] = {
		{ "sst2.train.tsv", { .label_name = two, .nlabels = 2 },
		    6920, false },
		{ "sst2.dev.tsv", { .label_name = two, .nlabels = 2 },
		    872, false },
		{ "sst2.test.tsv", { .label_name = two, .nlabels = 2 },
		    1821, false },
		{ "trec.train.tsv", { .label_name = six, .nlabels = 6 },
		    5052, false },
		{ "trec.dev.tsv", { .label_name = six, .nlabels = 6 },
		    400, false },
		{ "trec.test.tsv", { .label_name = six, .nlabels = 6 },
		    500, false },
		{ "mrpc/msr_paraphrase_train.txt", { .label_name = two,
		    .nlabels = 2 }, 4076, true },
		{ "mrpc/msr_paraphrase_test.txt", { .label_name = two,
		    .nlabels = 2 }, 1725, true },
		{ "stsb/sts-train.tsv", { .regression = true, .text = "6",
		    .pair = "7", .label = "5" }, 5749, true },
		{ "stsb/sts-dev.tsv", { .regression = true, .text = "6",
		    .pair = "7", .label = "5" }, 1500, true },
		{ "stsb/sts-test.tsv", { .regression = true, .text = "6",
		    .pair = "7", .label = "5" }, 1379, true },
		{ "cola/in_domain_train.tsv", { .label_name = two,
		    .nlabels = 2, .text = "4", .label = "2" }, 8551, false },
		{ "cola/in_domain_dev.tsv", { .label_name = two,
		    .nlabels = 2, .text = "4", .label = "2" }, 527, false },
		{ "cola/out_of_domain_dev.tsv", { .label_name = two,
		    .nlabels = 2, .text = "4", .label = "2" }, 516, false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char name[128];
		struct dataset *d;

		snprintf(name, sizeof(name), "real/data/%s", t[i].name);
		d = read_shared(name, &t[i].o);
		if (d->n != t[i].n || d->skipped_rows != 0 ||
		    d->unlabelled != 0 || d->bad_bytes != 0)
			fail_msg("%s: %lld rows, %lld skipped, %lld unlabelled,"
			    " %lld bad bytes", name, (long long)d->n,
			    (long long)d->skipped_rows,
			    (long long)d->unlabelled, (long long)d->bad_bytes);
		assert_int_equal(d->has_pairs, t[i].pairs);
		dataset_free(d);
	}
}

/* The ids and the gold labels of every published row. */
static void
expect_reference(const char *model, const char *data,
    const struct dataset_options *o, int64_t rows)
{
	char *dir = shared(model);
	char *ref = io_join(dir, "reference_logits.ndjson"), *text, *line;
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(dir, rows, &err);
	struct dataset *d = read_shared(data, o);
	char *rest = NULL;
	int64_t i = 0;
	size_t n;

	assert_non_null(t);
	assert_int_equal(dataset_encode(d, t, tokenizer_max_length(t), NULL,
	    &err), PARE_OK);
	assert_int_equal(io_read(ref, 1 << 26, &text, &n, &err), PARE_OK);
	for (line = strtok_r(text, "\n", &rest); line != NULL;
	    line = strtok_r(NULL, "\n", &rest), i++) {
		json_t *v = json_parse(line, strlen(line), 0, ref, &err);
		const json_t *ids = json_object_get(v, "ids");
		const struct sample *s = &d->sample[i];

		assert_true(i < d->n);
		assert_string_equal(s->gold, json_string_value(
		    json_object_get(v, "gold")));
		assert_true(s->label >= 0);
		assert_int_equal(s->tokens.n, json_array_size(ids));
		for (int k = 0; k < s->tokens.n; k++)
			assert_int_equal(s->tokens.id[k], json_integer_value(
			    json_array_get(ids, (size_t)k)));
		json_decref(v);
	}
	assert_int_equal(i, d->n);
	free(text);
	free(ref);
	free(dir);
	dataset_free(d);
	tokenizer_free(t);
}

static void
test_real_ids(void **state)
{
	struct dataset_options o = { .label_name = six, .nlabels = 6 };

	expect_reference("real/models/sst2-bert", "real/data/sst2.test.tsv",
	    &binary, 30522);
	expect_reference("real/models/trec-bert", "real/data/trec.test.tsv",
	    &o, 30522);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tsv),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_jsonl),
		cmocka_unit_test(test_json_array),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_kind_by_content),
		cmocka_unit_test(test_header_names),
		cmocka_unit_test(test_given_columns),
		cmocka_unit_test(test_bad_columns),
		cmocka_unit_test(test_short_rows),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_names_before_numbers),
		cmocka_unit_test(test_bad_labels),
		cmocka_unit_test(test_regression),
		cmocka_unit_test(test_free_labels),
		cmocka_unit_test(test_no_examples),
		cmocka_unit_test(test_encodings),
		cmocka_unit_test(test_bad_csv),
		cmocka_unit_test(test_bad_jsonl),
		cmocka_unit_test(test_many_columns),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_encode_known),
		cmocka_unit_test(test_encoded_hash),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_real_tables),
		cmocka_unit_test(test_real_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
