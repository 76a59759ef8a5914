/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The base room: arguments, strings, errors, JSON, chance, memory, files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arg.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/task.h"

static void
expect_in(const char *text, const char *word)
{
	if (strstr(text, word) == NULL)
		fail_msg("'%s' lacks '%s'", text, word);
}

/* ---- words of a line ---- */

static void
expect_words(const char *line, int n, const char *const *want)
{
	struct pare_err err = { 0 };
	struct arg_words w;

	assert_int_equal(arg_split(line, &w, &err), PARE_OK);
	assert_int_equal(w.n, n);
	for (int i = 0; i < n; i++)
		assert_string_equal(w.word[i], want[i]);
	arg_words_free(&w);
	assert_int_equal(w.n, 0);
}

#define WORDS(...) (const char *const[]){ __VA_ARGS__, NULL }

static void
test_split(void **state)
{
	expect_words("", 0, WORDS(NULL));
	expect_words(" \t\r\n ", 0, WORDS(NULL));
	expect_words("# all of it", 0, WORDS(NULL));
	expect_words("prune  heads\tL0-5", 3, WORDS("prune", "heads",
	    "L0-5"));
	expect_words("a #b c", 1, WORDS("a"));
	expect_words("a#b c", 2, WORDS("a#b", "c"));
	expect_words("a # one\nb # two", 2, WORDS("a", "b"));
	expect_words("'a b' \"c d\"e f\\ g", 3, WORDS("a b", "c de", "f g"));
	expect_words("'a\\b' \"a\\\"b\" \\#x \\\\", 4, WORDS("a\\b", "a\"b",
	    "#x", "\\"));
	expect_words("key='a b' '' \"\"", 3, WORDS("key=a b", "", ""));
	expect_words("end\\", 1, WORDS("end\\"));
}

static void
test_split_quoted(void **state)
{
	struct arg_words w;

	assert_int_equal(arg_split("'a=b' a='b' \"c\" d", &w, NULL), PARE_OK);
	assert_int_equal(w.n, 4);
	assert_true(w.quoted[0]);
	assert_false(w.quoted[1]);
	assert_true(w.quoted[2]);
	assert_false(w.quoted[3]);
	arg_words_free(&w);
}

static void
test_split_refuses(void **state)
{
	static const char *const open[] = { "a 'b", "\"", "a \"b\\\"",
		"x='", "\"a\\" };
	const size_t size = (1 << 20) + 2;
	struct pare_err err = { 0 };
	struct arg_words w;
	char *line = xmalloc(size);

	for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++) {
		assert_int_equal(arg_split(open[i], &w, &err), PARE_EUSER);
		expect_in(err.msg, "quote");
		assert_true(err.hint[0] != '\0');
	}
	memset(line, 'x', size);
	line[size - 1] = '\0';
	assert_int_equal(arg_split(line, &w, &err), PARE_EUSER);
	expect_in(err.msg, "1 MiB");
	line[size - 2] = '\0';
	assert_int_equal(arg_split(line, &w, &err), PARE_OK);
	arg_words_free(&w);
	for (int i = 0; i < 10001; i++)
		memcpy(line + 2 * i, "y ", 3);
	assert_int_equal(arg_split(line, &w, &err), PARE_EUSER);
	expect_in(err.msg, "10,000");
	line[20000] = '\0';
	assert_int_equal(arg_split(line, &w, &err), PARE_OK);
	assert_int_equal(w.n, 10000);
	arg_words_free(&w);
	free(line);
}

/* Quoting and splitting undo each other, for every byte. */
static void
test_quote(void **state)
{
	static const char *const words[] = { "", "a", "a b", "'", "\\", "\"",
		"it's \"so\" \\", "#", "#a", "a#", "a=b", "=", "\t\n\r\v\f",
		"\xc3\xa9", "$x", "''", "\x01" };
	struct arg_words w;
	char one[2] = { 0 };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		char *q = arg_quote(words[i]);

		assert_int_equal(arg_split(q, &w, NULL), PARE_OK);
		assert_int_equal(w.n, 1);
		assert_string_equal(w.word[0], words[i]);
		if (strchr(words[i], '=') != NULL)
			assert_true(w.quoted[0]);
		arg_words_free(&w);
		free(q);
	}
	for (int c = 1; c < 256; c++) {
		char *q;

		one[0] = (char)c;
		q = arg_quote(one);
		assert_int_equal(arg_split(q, &w, NULL), PARE_OK);
		assert_int_equal(w.n, 1);
		assert_string_equal(w.word[0], one);
		arg_words_free(&w);
		free(q);
	}
}

/* ---- arguments ---- */

static const char *const methods[] = { "magnitude", "random", "taylor", NULL };

static const struct arg_spec specs[] = {
	{ "amount", ARG_AMOUNT, ARG_WORD | ARG_REQUIRED, 0, 0, NULL, NULL,
	    NULL, "how many" },
	{ "bits", ARG_INT, 0, 1, 16, "8", NULL, "bits", "width" },
	{ "energy", ARG_REAL, 0, 0, 1, NULL, NULL, NULL, "kept" },
	{ "scale", ARG_REAL, 0, 0, INFINITY, NULL, NULL, NULL, "factor" },
	{ "by", ARG_CHOICE, 0, 0, 0, "magnitude", methods, NULL, "order" },
	{ "dry", ARG_BOOL, 0, 0, 0, "off", NULL, NULL, "try" },
	{ "text", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL, "a text" },
	{ "secret", ARG_INT, ARG_HIDDEN, 0, 0, NULL, NULL, NULL, NULL },
	{ "target", ARG_TARGET, ARG_WORD | ARG_REPEAT, 0, 0, "all", NULL,
	    NULL, "where" },
	{ NULL, ARG_INT, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static enum pare_rc
parse(const char *line, struct arg_list *a, struct pare_err *err)
{
	struct arg_words w;
	enum pare_rc rc;

	assert_int_equal(arg_split(line, &w, err), PARE_OK);
	rc = arg_parse(specs, &w, 0, a, err);
	arg_words_free(&w);
	return rc;
}

static struct arg_list
good(const char *line)
{
	struct pare_err err = { 0 };
	struct arg_list a;

	if (parse(line, &a, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	return a;
}

static void
expect_bad(const char *line, const char *word, const char *word2)
{
	struct pare_err err = { 0 };
	struct arg_list a;

	if (parse(line, &a, &err) != PARE_EUSER)
		fail_msg("'%s' was taken", line);
	expect_in(err.msg, word);
	expect_in(err.msg, word2);
}

static void
test_parse(void **state)
{
	struct arg_list a = good("30% L0 L2.ffn bits=4 by=taylor dry "
	    "text='x = y' energy=90%");

	assert_true(arg_get(&a, "amount")->is_share);
	assert_true(arg_get(&a, "amount")->d == 0.3);
	assert_string_equal(arg_text(&a, "target"), "L0 L2.ffn");
	assert_int_equal(arg_int(&a, "bits"), 4);
	assert_string_equal(arg_choice(&a, "by"), "taylor");
	assert_int_equal(arg_get(&a, "by")->i, 2);
	assert_int_equal(arg_int(&a, "dry"), 1);
	assert_string_equal(arg_text(&a, "text"), "x = y");
	assert_true(arg_real(&a, "energy") == 0.9);
	assert_false(arg_get(&a, "scale")->has);
	assert_null(arg_text(&a, "scale"));
	arg_list_free(&a);
}

static void
test_defaults(void **state)
{
	struct arg_list a = good("5");

	assert_false(arg_get(&a, "amount")->is_share);
	assert_int_equal(arg_int(&a, "amount"), 5);
	assert_true(arg_get(&a, "amount")->set);
	assert_int_equal(arg_int(&a, "bits"), 8);
	assert_true(arg_get(&a, "bits")->has);
	assert_false(arg_get(&a, "bits")->set);
	assert_string_equal(arg_choice(&a, "by"), "magnitude");
	assert_int_equal(arg_int(&a, "dry"), 0);
	assert_string_equal(arg_text(&a, "target"), "all");
	arg_list_free(&a);
}

/* Words of unlike types come in any order; names do for positions too. */
static void
test_positions(void **state)
{
	static const char *const lines[] = { "3 L1", "L1 3", "amount=3 L1",
		"target=L1 3", "target=L1 amount=3", "'3' 'L1'" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct arg_list a = good(lines[i]);

		assert_int_equal(arg_int(&a, "amount"), 3);
		assert_string_equal(arg_text(&a, "target"), "L1");
		arg_list_free(&a);
	}
}

static void
test_bools(void **state)
{
	static const char *const on[] = { "dry", "dry=on", "dry=yes",
		"dry=true", "dry=1", "dry=ON" };
	static const char *const off[] = { "dry=off", "dry=no", "dry=false",
		"dry=0", "" };
	struct str b = STR_INIT;

	for (size_t i = 0; i < 11; i++) {
		struct arg_list a;

		str_clear(&b);
		str_addf(&b, "1 %s", i < 6 ? on[i] : off[i - 6]);
		a = good(b.s);
		assert_int_equal(arg_int(&a, "dry"), i < 6);
		arg_list_free(&a);
	}
	str_free(&b);
	expect_bad("1 dry=maybe", "dry", "on or off");
}

static void
test_parse_refuses(void **state)
{
	expect_bad("", "amount", "missing");
	expect_bad("1 bits=0", "bits", "1 to 16");
	expect_bad("1 bits=33", "'33'", "1 to 16");
	expect_bad("1 bits=4.0", "bits", "whole number");
	expect_bad("1 bits=4x", "'4x'", "whole number");
	expect_bad("1 bits=", "bits", "empty");
	expect_bad("1 bits=99999999999999999999", "bits", "whole number");
	expect_bad("1 bits=4 bits=5", "bits", "twice");
	expect_bad("1 energy=1.5", "energy", "0 to 1");
	expect_bad("1 energy=-0.1", "energy", "0 to 1");
	expect_bad("1 energy=nan", "energy", "number");
	expect_bad("1 energy=inf", "energy", "number");
	expect_bad("1 scale=1e999", "scale", "number");
	expect_bad("1 scale=-1", "scale", "at least 0");
	expect_bad("1 energy=150%", "energy", "0% to 100%");
	expect_bad("101%", "amount", "0% to 100%");
	expect_bad("-1%", "amount", "0% to 100%");
	expect_bad("-3", "amount", "count");
	expect_bad("nan", "amount", "count");
	expect_bad("nan%", "amount", "count");
	expect_bad("0.3", "amount", "count");
	expect_bad("%", "amount", "missing");
	expect_bad("1 by=size", "by", "magnitude, random, taylor");
	expect_bad("1 nothing=5", "nothing", "bits");
}

static void
test_parse_suggests(void **state)
{
	struct pare_err err = { 0 };
	struct arg_list a;

	assert_int_equal(parse("1 bit=5", &a, &err), PARE_EUSER);
	expect_in(err.hint, "bits");
	assert_int_equal(parse("1 by=tailor", &a, &err), PARE_EUSER);
	expect_in(err.hint, "by=taylor");
	assert_int_equal(parse("0.3", &a, &err), PARE_EUSER);
	expect_in(err.hint, "amount=30%");
	/* What is hidden is taken but never named. */
	assert_int_equal(parse("1 secre=5", &a, &err), PARE_EUSER);
	assert_null(strstr(err.msg, "secret"));
	assert_null(strstr(err.hint, "secret"));
	a = good("1 secret=5");
	assert_int_equal(arg_int(&a, "secret"), 5);
	arg_list_free(&a);
}

static void
test_choice_words(void **state)
{
	static const char *const which[] = { "last", "every", NULL };
	static const struct arg_spec layers[] = {
		{ "which", ARG_CHOICE, ARG_WORD, 0, 0, NULL, which, NULL, "" },
		{ "n", ARG_INT, ARG_WORD, 1, 1e18, NULL, NULL, NULL, "" },
		{ "target", ARG_TARGET, ARG_WORD, 0, 0, NULL, NULL, NULL, "" },
		{ NULL, ARG_INT, 0, 0, 0, NULL, NULL, NULL, NULL }
	};
	struct arg_words w;
	struct arg_list a;
	struct pare_err err = { 0 };

	assert_int_equal(arg_split("prune layers last 2", &w, NULL), PARE_OK);
	assert_int_equal(arg_parse(layers, &w, 2, &a, &err), PARE_OK);
	assert_string_equal(arg_choice(&a, "which"), "last");
	assert_int_equal(arg_int(&a, "n"), 2);
	assert_null(arg_text(&a, "target"));
	arg_list_free(&a);
	arg_words_free(&w);
	assert_int_equal(arg_split("prune layers L3", &w, NULL), PARE_OK);
	assert_int_equal(arg_parse(layers, &w, 2, &a, &err), PARE_OK);
	assert_null(arg_choice(&a, "which"));
	assert_string_equal(arg_text(&a, "target"), "L3");
	arg_list_free(&a);
	arg_words_free(&w);
	assert_int_equal(arg_split("prune layers last 0", &w, NULL), PARE_OK);
	assert_int_equal(arg_parse(layers, &w, 2, &a, &err), PARE_EUSER);
	expect_in(err.msg, "at least 1");
	arg_words_free(&w);
	assert_int_equal(arg_split("prune layers last 2 L1 L3", &w, NULL),
	    PARE_OK);
	assert_int_equal(arg_parse(layers, &w, 2, &a, &err), PARE_EUSER);
	expect_in(err.msg, "'L3'");
	expect_in(err.hint, "which");
	arg_words_free(&w);
}

static void
test_choice_list(void **state)
{
	static const char *const words[] = { "ab", "a", "bc", NULL };
	static const struct arg_spec spec = { "columns", ARG_CHOICE, ARG_LIST,
		0, 0, NULL, words, NULL, "" };
	static const char *const good[] = { "a", "ab", "bc,a", "a,ab,bc" };
	static const char *const bad[][2] = { { "", "empty" },
		{ "a,", "empty place" }, { ",a", "empty place" },
		{ "a,,bc", "empty place" }, { "abc", "unknown" },
		{ "a,b", "unknown" }, { "a bc", "unknown" },
		{ "a,bc,a", "twice" } };
	struct arg_value v;
	struct pare_err err;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(arg_parse_value(&spec, good[i], &v, &err),
		    PARE_OK);
		assert_string_equal(v.s, good[i]);
		arg_value_free(&v);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(arg_parse_value(&spec, bad[i][0], &v, &err),
		    PARE_EUSER);
		expect_in(err.msg, bad[i][1]);
		expect_in(err.msg, "joined by commas, of ab, a, bc");
	}
}

static void
test_amount(void **state)
{
	static const struct {
		const char *text;
		int64_t total, want;
	} t[] = {
		{ "30%", 10, 3 }, { "50%", 5, 3 }, { "0%", 9, 0 },
		{ "100%", 9, 9 }, { "3", 10, 3 }, { "30", 10, 10 },
		{ "33.3%", 12, 4 }, { "9223372036854775807", 7, 7 },
		{ "1%", 10, 0 }, { "0", 5, 0 }, { "12.5%", 4, 1 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct arg_value v;

		assert_int_equal(arg_parse_value(&specs[0], t[i].text, &v,
		    NULL), PARE_OK);
		assert_int_equal(arg_amount(&v, t[i].total), t[i].want);
		arg_value_free(&v);
		assert_null(v.s);
	}
}

static const struct arg_spec limit_specs[] = {
	{ "bytes", ARG_LIMIT, 0, 0, 0, NULL, NULL, "bytes", "size" },
	{ "macs", ARG_LIMIT, 0, 0, 0, NULL, NULL, "macs", "work" },
	{ "time", ARG_LIMIT, 0, 0, 0, NULL, NULL, "ms", "time" },
	{ "drop", ARG_LIMIT, 0, 0, 0, NULL, NULL, "points", "loss" },
	{ NULL, ARG_INT, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static void
test_limits(void **state)
{
	static const struct {
		const char *line;
		int at;
		double want;
		bool share;
	} good[] = {
		{ "bytes<=20MB", 0, 20e6, false },
		{ "bytes<=600K", 0, 614400, false },
		{ "bytes<=1.5mib", 0, 1572864, false },
		{ "bytes=7", 0, 7, false }, { "bytes<=25%", 0, 0.25, true },
		{ "bytes<=4x", 0, 0.25, true }, { "macs<=1.2G", 1, 1.2e9,
		false }, { "time<=3ms", 2, 3, false }, { "time<=2s", 2, 2000,
		false }, { "time<=2x", 2, 0.5, true }, { "drop<=1.5pt", 3,
		1.5, false }, { "drop<=1%", 3, 1, false }, { "drop<=0", 3, 0,
		false },
	};
	static const char *const bad[] = { "bytes<=", "bytes<=0",
		"bytes<=0x", "bytes<=-4", "bytes<=1zb", "bytes<=4xx",
		"macs<=3MB", "time<=3KiB", "drop<=2x", "bytes<=1e9999",
		"bytes<", "size<=3", "bytes<=1 bytes<=2" };
	struct pare_err err;
	struct arg_words w;
	struct arg_list a;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(arg_split(good[i].line, &w, &err), PARE_OK);
		assert_int_equal(arg_parse(limit_specs, &w, 0, &a, &err),
		    PARE_OK);
		assert_true(fabs(a.v[good[i].at].d - good[i].want) <= 1e-9 *
		    good[i].want);
		assert_int_equal(a.v[good[i].at].is_share, good[i].share);
		arg_list_free(&a);
		arg_words_free(&w);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(arg_split(bad[i], &w, &err), PARE_OK);
		if (arg_parse(limit_specs, &w, 0, &a, &err) != PARE_EUSER)
			fail_msg("'%s' was taken", bad[i]);
		arg_words_free(&w);
	}
}

/* ---- str ---- */

static void
test_str(void **state)
{
	struct str b = STR_INIT;
	char *s;

	assert_string_equal(b.s, "");
	str_clear(&b);
	for (int i = 0; i < 1000; i++)
		str_addf(&b, "%d,", i);
	assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4);
	assert_true(str_has_prefix(b.s, "0,1,2,"));
	assert_true(str_has_suffix(b.s, ",998,999,"));
	assert_false(str_has_prefix("ab", "abc"));
	assert_false(str_has_suffix("bc", "abc"));
	str_clear(&b);
	str_addn(&b, "a\0b", 3);
	str_addc(&b, 'c');
	assert_int_equal(b.n, 4);
	assert_memory_equal(b.s, "a\0bc", 5);
	s = str_detach(&b);
	assert_int_equal(b.n, 0);
	assert_string_equal(b.s, "");
	free(s);
	s = str_detach(&b);
	assert_string_equal(s, "");
	free(s);
	str_free(&b);
	s = str_format("%s-%05.1f", "x", 2.25);
	assert_string_equal(s, "x-002.2");
	free(s);
}

static void
test_numbers(void **state)
{
	static const char *const bad_int[] = { "", " 1", "1 ", "+1", "1.0",
		"0x1", "9223372036854775808", "-9223372036854775809", "1e3",
		"one", "-" };
	static const char *const bad_real[] = { "", " 1", "1 ", "nan", "inf",
		"-inf", "1e999", "+1", "1,5", "-nan", ".", "one" };
	int64_t i = 77;
	double d = 0.5;

	for (size_t k = 0; k < sizeof(bad_int) / sizeof(*bad_int); k++)
		assert_false(str_to_int(bad_int[k], &i));
	assert_int_equal(i, 77);
	assert_true(str_to_int("-9223372036854775808", &i));
	assert_true(i == INT64_MIN);
	assert_true(str_to_int("007", &i));
	assert_int_equal(i, 7);
	for (size_t k = 0; k < sizeof(bad_real) / sizeof(*bad_real); k++)
		assert_false(str_to_double(bad_real[k], &d));
	assert_true(d == 0.5);
	assert_true(str_to_double("-1.5e-3", &d));
	assert_true(d == -1.5e-3);
	assert_true(str_to_double(".5", &d));
	assert_true(d == 0.5);
}

static void
test_units(void **state)
{
	static const struct {
		double v;
		const char *count, *bytes;
	} t[] = {
		{ 0, "0", "0 B" }, { 999, "999", "999 B" },
		{ 1000, "1.00 k", "1000 B" }, { 1210000, "1.21 M", "1.15 MiB" },
		{ 1024, "1.02 k", "1.00 KiB" },
		{ 440e6, "440 M", "420 MiB" }, { 999999, "1.00 M", "977 KiB" },
		{ 12345, "12.3 k", "12.1 KiB" },
	};
	char out[32];

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		str_count(out, sizeof(out), t[i].v);
		assert_string_equal(out, t[i].count);
		str_bytes(out, sizeof(out), t[i].v);
		assert_string_equal(out, t[i].bytes);
	}
}

static void
test_nearest(void **state)
{
	static const char *const list[] = { "quantize", "prune", "share",
		"undo", "by", NULL };
	char word[300];

	assert_string_equal(str_nearest("prnue", list), "prune");
	assert_string_equal(str_nearest("quantise", list), "quantize");
	assert_string_equal(str_nearest("ud", (const char *const[]){ "ux",
	    NULL }), "ux");
	assert_null(str_nearest("xyzzy", list));
	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	assert_null(str_nearest(word, list));
	assert_null(str_nearest("", (const char *const[]){ NULL }));
}

/* ---- err ---- */

static void
test_err(void **state)
{
	struct pare_err err = { 0 };
	char longer[2000];

	assert_int_equal(err_set(&err, PARE_EUSER, "a\n%s", "b\x1b"),
	    PARE_EUSER);
	assert_string_equal(err.msg, "a?b?");
	assert_int_equal(err_hint(&err, "type %d", 5), PARE_EUSER);
	assert_string_equal(err.hint, "type 5");
	assert_int_equal(err_prefix(&err, "in %s", "x"), PARE_EUSER);
	assert_string_equal(err.msg, "in x: a?b?");
	err_set(&err, PARE_EIO, "again");
	assert_string_equal(err.hint, "");
	assert_int_equal(err_set(NULL, PARE_EIO, "none"), PARE_EIO);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, PARE_EIO, "%s", longer);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_prefix(&err, "%s", longer);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static void
test_exit_status(void **state)
{
	static const int want[PARE_RC_COUNT] = { [PARE_OK] = 0,
		[PARE_EUSER] = 1, [PARE_EUSAGE] = 2, [PARE_EIO] = 3,
		[PARE_EFORMAT] = 3, [PARE_EWRITE] = 1, [PARE_EEXPECT] = 4,
		[PARE_ENOMEM] = 5, [PARE_ECANCELED] = 130 };

	for (int i = 0; i < PARE_RC_COUNT; i++) {
		assert_int_equal(err_exit_status((enum pare_rc)i), want[i]);
		assert_true(*err_code_name((enum pare_rc)i) != '\0');
	}
}

/* ---- json ---- */

static json_t *
json_of(const char *text)
{
	struct pare_err err = { 0 };
	json_t *v = json_parse(text, strlen(text), 0, "f.json", &err);

	if (v == NULL)
		fail_msg("%s", err.msg);
	return v;
}

static void
test_json(void **state)
{
	json_t *o = json_of("\xef\xbb\xbf{\"a\": 768.0, \"b\": 7.5, \"c\": "
	    "\"x\", \"d\": null, \"e\": true, \"f\": -3}");
	struct pare_err err = { 0 };
	const char *s;
	double d;
	int64_t i;
	bool b;

	assert_int_equal(json_int(o, "a", 1, 1000, 5, &i, "f", &err), PARE_OK);
	assert_int_equal(i, 768);
	assert_int_equal(json_int(o, "d", 1, 9, 5, &i, "f", &err), PARE_OK);
	assert_int_equal(i, 5);
	assert_int_equal(json_int(o, "z", 1, 9, -6, &i, "f", &err), PARE_OK);
	assert_int_equal(i, -6);
	assert_int_equal(json_int(o, "b", 1, 9, 5, &i, "f.json", &err),
	    PARE_EFORMAT);
	expect_in(err.msg, "f.json: b");
	assert_int_equal(json_int(o, "f", 1, 9, 5, &i, "f", &err),
	    PARE_EFORMAT);
	expect_in(err.msg, "1 to 9");
	assert_int_equal(json_int(o, "c", 1, 9, 5, &i, "f", &err),
	    PARE_EFORMAT);
	expect_in(err.msg, "a string");
	assert_int_equal(json_real_of(o, "b", 0, 10, 1, &d, "f", &err),
	    PARE_OK);
	assert_true(d == 7.5);
	assert_int_equal(json_real_of(o, "b", 0, 1, 1, &d, "f", &err),
	    PARE_EFORMAT);
	assert_int_equal(json_bool_of(o, "e", false, &b, "f", &err), PARE_OK);
	assert_true(b);
	assert_int_equal(json_bool_of(o, "a", false, &b, "f", &err),
	    PARE_EFORMAT);
	assert_int_equal(json_text(o, "c", "y", &s, "f", &err), PARE_OK);
	assert_string_equal(s, "x");
	assert_int_equal(json_text(o, "z", "y", &s, "f", &err), PARE_OK);
	assert_string_equal(s, "y");
	assert_int_equal(json_text(o, "f", "y", &s, "f", &err), PARE_EFORMAT);
	json_decref(o);
}

static void
test_json_refuses(void **state)
{
	static const char *const bad[] = { "", "{", "{\"a\":1,}", "{'a':1}",
		"{\"a\":NaN}", "// x\n{}", "{} {}", "{\"a\":1e999}", "\xff" };
	struct pare_err err = { 0 };
	json_t *v;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_null(json_parse(bad[i], strlen(bad[i]), 0, "f.json",
		    &err));
		assert_int_equal(err.rc, PARE_EFORMAT);
		expect_in(err.msg, "f.json: ");
	}
	assert_null(json_parse("{\n\"a\":x}", 8, 0, "f.json", &err));
	expect_in(err.msg, "f.json: 2:");
	assert_null(json_parse("{\"a\":1,\"a\":2}", 13, JSON_UNIQUE, "f",
	    &err));
	v = json_parse("{\"a\":1,\"a\":2}", 13, 0, "f", &err);
	assert_non_null(v);
	json_decref(v);
}

/* Reals come back bit for bit. */
static void
test_json_round_trip(void **state)
{
	struct rng r;

	rng_seed(&r, 3);
	for (int i = 0; i < 200; i++) {
		double d = (rng_uniform(&r) - 0.5) * pow(10, i - 100);
		json_t *o = json_pack("{s:f}", "x", d), *back;
		char *s = json_text_of(o);

		back = json_of(s);
		assert_true(json_real_value(json_object_get(back, "x")) == d);
		json_decref(back);
		json_decref(o);
		free(s);
	}
}

/* ---- rng ---- */

/* Published outputs of xoshiro256** from the state 1, 2, 3, 4, and of splitmix64
 * from 0, which are the first state for seed 0. */
static void
test_rng_reference(void **state)
{
	static const uint64_t out[] = { 11520, 0, 1509978240,
		UINT64_C(1215971899390074240), UINT64_C(1216172134540287360),
		UINT64_C(607988272756665600), UINT64_C(16172922978634559625),
		UINT64_C(8476171486693032832), UINT64_C(10595114339597558777),
		UINT64_C(2904607092377533576) };
	struct rng r = { { 1, 2, 3, 4 } };

	for (size_t i = 0; i < sizeof(out) / sizeof(*out); i++)
		assert_true(rng_next(&r) == out[i]);
	rng_seed(&r, 0);
	assert_true(r.s[0] == UINT64_C(0xe220a8397b1dcdaf));
	assert_true(r.s[1] == UINT64_C(0x6e789e6aa1b965f4));
	assert_true(r.s[2] == UINT64_C(0x06c45d188009454f));
	assert_true(r.s[3] == UINT64_C(0xf88bb8a8724c81ec));
}

static void
test_rng_moments(void **state)
{
	const int n = 100000;
	double sum = 0, square = 0, mean = 0;
	int64_t bins[7] = { 0 };
	struct rng r;

	rng_seed(&r, 42);
	for (int i = 0; i < n; i++) {
		double u = rng_uniform(&r), v = rng_normal(&r);

		assert_true(u >= 0 && u < 1);
		mean += u / n;
		sum += v / n;
		square += v * v / n;
		bins[rng_below(&r, 7)]++;
	}
	/* Five standard errors. */
	assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / n));
	assert_true(fabs(sum) < 5 * sqrt(1.0 / n));
	assert_true(fabs(square - 1) < 5 * sqrt(2.0 / n));
	for (int i = 0; i < 7; i++)
		assert_true(fabs((double)bins[i] - n / 7.0) <
		    5 * sqrt(n / 7.0));
	assert_true(rng_below(&r, 1) == 0);
}

static void
test_rng_shuffle(void **state)
{
	int64_t a[100], b[100];
	bool seen[100] = { 0 };
	struct rng r;

	for (int i = 0; i < 100; i++)
		a[i] = b[i] = i;
	rng_seed(&r, 9);
	rng_shuffle(&r, a, 100);
	rng_seed(&r, 9);
	rng_shuffle(&r, b, 100);
	assert_memory_equal(a, b, sizeof(a));
	for (int i = 0; i < 100; i++) {
		assert_in_range(a[i], 0, 99);
		assert_false(seen[a[i]]);
		seen[a[i]] = true;
	}
	assert_true(rng_derive(1, 0) != rng_derive(1, 1));
	assert_true(rng_derive(1, 0) != rng_derive(2, 0));
	assert_true(rng_derive(5, 6) == rng_derive(5, 6));
}

/* ---- hash, mem, task ---- */

static void
test_hash(void **state)
{
	char text[17];

	assert_true(hash_bytes("abc", 3, 0) == hash_text("abc", 0));
	assert_true(hash_text("abc", 0) != hash_text("abc", 1));
	assert_true(hash_text("abc", 0) != hash_text("abd", 0));
	assert_true(hash_mix(1, 2) != hash_mix(2, 1));
	/* The published value of XXH3 for no input. */
	assert_true(hash_bytes("", 0, 0) == UINT64_C(0x2d06800538d394c2));
	hash_text_of(UINT64_C(0x00ab0000000000f1), text);
	assert_string_equal(text, "00ab0000000000f1");
}

static void
test_mem(void **state)
{
	struct pare_err err = { 0 };
	int64_t v = -5;
	char *p;

	assert_null(mem_big(SIZE_MAX / 2, 3, &err));
	assert_int_equal(err.rc, PARE_ENOMEM);
	p = mem_big_zero(3, 7, &err);
	assert_int_equal((uintptr_t)p % 64, 0);
	for (int i = 0; i < 21; i++)
		assert_int_equal(p[i], 0);
	free(p);
	p = mem_big(0, 8, &err);
	assert_non_null(p);
	free(p);
	mem_fail_at(2);
	p = mem_big(1, 1, &err);
	assert_non_null(p);
	assert_null(mem_big(1, 1, &err));
	free(p);
	p = mem_big(1, 1, &err);
	assert_non_null(p);
	free(p);
	assert_false(mem_mul(INT64_MAX, 2, &v));
	assert_false(mem_mul(-1, 2, &v));
	assert_false(mem_add(INT64_MAX, 1, &v));
	assert_false(mem_add(1, -1, &v));
	assert_true(mem_mul(3, 5, &v) && v == 15);
	assert_true(mem_add(3, 5, &v) && v == 8);
}

static void
stop_at_half(struct task *task, double done, double total, const char *what)
{
	if (done >= total / 2)
		atomic_store(&task->cancel, true);
}

static void
test_task(void **state)
{
	struct task task = { .tick = stop_at_half };
	struct pare_err err = { 0 };
	double before = task_now();

	assert_true(task_tick(NULL, 1, 1, "x"));
	assert_false(task_canceled(NULL));
	assert_true(task_tick(&task, 1, 10, "x"));
	assert_false(task_tick(&task, 5, 10, "x"));
	assert_true(task_canceled(&task));
	assert_int_equal(task_error(&err), PARE_ECANCELED);
	assert_true(task_now() >= before);
}

/* ---- files ---- */

static char dir[64];

static int
make_dir(void **state)
{
	strcpy(dir, "/tmp/pare-test-XXXXXX");
	return mkdtemp(dir) == NULL;
}

static int
drop_dir(void **state)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *path = io_join(dir, e->d_name);

		if (e->d_name[0] != '.' && unlink(path) != 0)
			rmdir(path);
		free(path);
	}
	if (d != NULL)
		closedir(d);
	return rmdir(dir);
}

static int
count_files(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void
expect_content(const char *path, const char *want)
{
	struct pare_err err = { 0 };
	char *data;
	size_t n;

	assert_int_equal(io_read(path, 1000, &data, &n, &err), PARE_OK);
	assert_int_equal(n, strlen(want));
	assert_string_equal(data, want);
	free(data);
}

/* Only regular files are replaced; a link stays one, and its target is. */
static void
test_write_over(void **state)
{
	struct pare_err err = { 0 };
	char *path = io_join(dir, "file"), *link = io_join(dir, "link");
	char *fifo = io_join(dir, "fifo");
	struct stat st;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(io_write(fifo, "x", 1, &err), PARE_EWRITE);
	expect_in(err.msg, "a FIFO");
	assert_int_equal(lstat(fifo, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(io_write(path, "one", 3, &err), PARE_OK);
	assert_int_equal(symlink("file", link), 0);
	assert_int_equal(io_write(link, "two", 3, &err), PARE_OK);
	expect_content(path, "two");
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(count_files(), 3);
	unlink(link);
	unlink(fifo);
	unlink(path);
	free(path);
	free(link);
	free(fifo);
}

static void
test_write(void **state)
{
	struct pare_err err = { 0 };
	char *path = io_join(dir, "a"), *sub = io_join(dir, "no/such");
	struct io_out *o;
	struct stat st;

	assert_int_equal(io_write(path, "one", 3, &err), PARE_OK);
	expect_content(path, "one");
	/* Nothing is seen before the commit, nothing left after an abort. */
	o = io_out_open(path, &err);
	assert_non_null(o);
	assert_int_equal(io_out_write(o, "tw", 2, &err), PARE_OK);
	assert_int_equal(io_out_write(o, "o", 1, &err), PARE_OK);
	expect_content(path, "one");
	assert_int_equal(io_out_commit(o, &err), PARE_OK);
	expect_content(path, "two");
	o = io_out_open(path, &err);
	assert_int_equal(io_out_write(o, "three", 5, &err), PARE_OK);
	io_out_abort(o);
	io_out_abort(NULL);
	expect_content(path, "two");
	assert_int_equal(count_files(), 1);
	assert_int_equal(io_write(sub, "x", 1, &err), PARE_EWRITE);
	expect_in(err.msg, "no/such");
	/* The target became a folder: the rename fails and cleans up. */
	o = io_out_open(path, &err);
	assert_non_null(o);
	unlink(path);
	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(io_out_commit(o, &err), PARE_EWRITE);
	assert_int_equal(count_files(), 1);
	assert_int_equal(io_write(path, "x", 1, &err), PARE_EWRITE);
	rmdir(path);
	/* A device or a FIFO is not replaced by a file. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(io_write(path, "x", 1, &err), PARE_EWRITE);
	expect_in(err.msg, "is a FIFO, not a regular file");
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(count_files(), 1);
	unlink(path);
	free(path);
	free(sub);
}

static void
test_read_refuses(void **state)
{
	struct pare_err err = { 0 };
	char *fifo = io_join(dir, "fifo"), *link = io_join(dir, "link");
	char *file = io_join(dir, "file"), *loop = io_join(dir, "loop");
	char *data;
	int64_t size;
	size_t n;
	int fd;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(io_read(fifo, 10, &data, &n, &err), PARE_EIO);
	expect_in(err.msg, "FIFO");
	assert_int_equal(io_read("/dev/zero", 10, &data, &n, &err), PARE_EIO);
	expect_in(err.msg, "not a regular file");
	assert_int_equal(io_read(dir, 10, &data, &n, &err), PARE_EIO);
	expect_in(err.msg, "directory");
	assert_int_equal(io_read(file, 10, &data, &n, &err), PARE_EIO);
	expect_in(err.msg, file);
	assert_int_equal(symlink("loop", loop), 0);
	assert_int_equal(io_read(loop, 10, &data, &n, &err), PARE_EIO);
	assert_int_equal(io_write(file, "0123456789x", 11, &err), PARE_OK);
	assert_int_equal(io_read(file, 10, &data, &n, &err), PARE_EFORMAT);
	expect_in(err.msg, "11");
	assert_int_equal(symlink("file", link), 0);
	expect_content(link, "0123456789x");
	fd = io_open(link, &size, &err);
	assert_true(fd >= 0);
	assert_int_equal(size, 11);
	close(fd);
	free(fifo);
	free(link);
	free(file);
	free(loop);
}

static void
test_paths(void **state)
{
	struct pare_err err = { 0 };
	char *deep = io_join(dir, "p/q/r"), *file = io_join(dir, "plain");
	char *s, *below;

	assert_false(io_is_dir(deep));
	assert_int_equal(io_make_dir(deep, &err), PARE_OK);
	assert_int_equal(io_make_dir(deep, &err), PARE_OK);
	assert_true(io_is_dir(deep));
	assert_false(io_is_file(deep));
	assert_int_equal(io_write(file, "", 0, &err), PARE_OK);
	assert_true(io_is_file(file));
	below = io_join(file, "x");
	assert_int_equal(io_make_dir(below, &err), PARE_EWRITE);
	assert_int_equal(io_make_dir(file, &err), PARE_EWRITE);
	rmdir(deep);
	deep[strlen(deep) - 2] = '\0';
	rmdir(deep);
	free(below);
	free(deep);
	free(file);
	s = io_join("a/", "b");
	assert_string_equal(s, "a/b");
	free(s);
	s = io_base("/x/model//");
	assert_string_equal(s, "model");
	free(s);
	s = io_base("model");
	assert_string_equal(s, "model");
	free(s);
}

static void
test_state_dir(void **state)
{
	char *s;

	setenv("XDG_STATE_HOME", dir, 1);
	s = io_state_dir();
	assert_non_null(s);
	assert_true(str_has_prefix(s, dir));
	assert_true(io_is_dir(s));
	rmdir(s);
	free(s);
	setenv("XDG_STATE_HOME", "relative", 1);
	unsetenv("HOME");
	assert_null(io_state_dir());
	setenv("XDG_STATE_HOME", dir, 1);
	io_state_disable();
	assert_null(io_state_dir());
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, drop_dir)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_quoted),
		cmocka_unit_test(test_split_refuses),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_positions),
		cmocka_unit_test(test_bools),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_parse_suggests),
		cmocka_unit_test(test_choice_words),
		cmocka_unit_test(test_choice_list),
		cmocka_unit_test(test_amount),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_str),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_refuses),
		cmocka_unit_test(test_json_round_trip),
		cmocka_unit_test(test_rng_reference),
		cmocka_unit_test(test_rng_moments),
		cmocka_unit_test(test_rng_shuffle),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_task),
		FILE_TEST(test_write), FILE_TEST(test_write_over),
		FILE_TEST(test_read_refuses),
		FILE_TEST(test_paths),
		FILE_TEST(test_state_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
