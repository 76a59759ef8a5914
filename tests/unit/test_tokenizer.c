/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tokens: small vocabularies written here, and, where the folder of real models
 * and references (PARE_SHARED) is present, every published case token for token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

/* ---- helpers ---- */

static struct tokenizer *
from_text(const char *vocab, bool lower)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("vocab.txt", vocab,
	    strlen(vocab), lower, &err);

	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

/* The pieces of a text in one line, without special tokens; malloc'ed. */
static char *
pieces(const struct tokenizer *t, const char *a, size_t n)
{
	struct pare_err err = { 0 };
	struct str b = STR_INIT;
	struct tokens k;

	if (tokenizer_encode(t, a, n, NULL, 0, 0, false, &k, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	for (int i = 0; i < k.n; i++)
		str_addf(&b, "%s%s", i == 0 ? "" : " ",
		    tokenizer_piece(t, k.id[i]));
	tokens_free(&k);
	return str_detach(&b);
}

static void
expect_pieces(const struct tokenizer *t, const char *text, const char *want)
{
	char *got = pieces(t, text, strlen(text));

	assert_string_equal(got, want);
	free(got);
}

/* Parsing must fail with rc and a message that holds both words. */
static void
expect_bad(const char *name, const char *data, size_t n, enum pare_rc rc,
    const char *word, const char *word2)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse(name, data, n, true, &err);

	assert_null(t);
	if (strstr(err.msg, word) == NULL || strstr(err.msg, word2) == NULL)
		fail_msg("'%s' lacks '%s' or '%s'", err.msg, word, word2);
	assert_int_equal(err.rc, rc);
}

/* ---- vocab.txt ---- */

#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static const char small_vocab[] = SPECIALS "un\n##aff\n##able\nwant\n##ed\n"
    "the\n,\n!\nhello\nworld\na\n##b\ncafe\n[\n]\ncls\nh\n##i\n";

static void
test_wordpiece(void **state)
{
	struct tokenizer *t = from_text(small_vocab, true);

	expect_pieces(t, "Hello, WORLD!", "hello , world !");
	expect_pieces(t, "unaffable wanted", "un ##aff ##able want ##ed");
	expect_pieces(t, "unaffablex the", "[UNK] the");
	expect_pieces(t, "caf\xc3\xa9 CAF\xc3\x89", "cafe cafe");
	expect_pieces(t, "", "");
	expect_pieces(t, "  \t\r\n \xc2\xa0 ", "");
	/* Special tokens written out are kept; other cases of them are not. */
	expect_pieces(t, "the [SEP]hello[MASK]", "the [SEP] hello [MASK]");
	expect_pieces(t, "[cls]", "[ cls ]");
	assert_string_equal(tokenizer_kind(t), "WordPiece");
	assert_int_equal(tokenizer_size(t), 23);
	assert_null(tokenizer_piece(t, 23));
	assert_null(tokenizer_piece(t, -1));
	tokenizer_free(t);
}

static void
test_case_is_kept(void **state)
{
	struct tokenizer *t = from_text(SPECIALS "Hello\nhello\nCaf\xc3\xa9\n",
	    false);

	expect_pieces(t, "Hello hello HELLO", "Hello hello [UNK]");
	expect_pieces(t, "Caf\xc3\xa9", "Caf\xc3\xa9");
	tokenizer_free(t);
}

static void
test_long_words(void **state)
{
	struct tokenizer *t = from_text(SPECIALS "a\n##a\n\xc3\xb8\n"
	    "##\xc3\xb8\n", false);
	char word[2 * 101 + 1];
	struct tokens k;

	/* The limit of 100 counts characters, not bytes. */
	for (int n = 100; n <= 101; n++) {
		for (int i = 0; i < n; i++)
			memcpy(word + 2 * i, "\xc3\xb8", 2);
		assert_int_equal(tokenizer_encode(t, word, 2 * (size_t)n, NULL,
		    0, 0, false, &k, NULL), PARE_OK);
		assert_int_equal(k.n, n == 100 ? 100 : 1);
		assert_int_equal(k.id[0], n == 100 ? 7 : 1);
		tokens_free(&k);
	}
	tokenizer_free(t);
}

static void
test_line_ends(void **state)
{
	struct tokenizer *t;

	/* BOM, CRLF, an empty line in the middle, blank lines at the end. */
	t = from_text("\xef\xbb\xbf[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\r\n"
	    "hello\r\n\r\n\n", true);
	expect_pieces(t, "hello", "hello");
	assert_string_equal(tokenizer_piece(t, 0), "[PAD]");
	assert_string_equal(tokenizer_piece(t, 5), "hello");
	assert_int_equal(tokenizer_size(t), 6);
	tokenizer_free(t);
}

static void
test_duplicate_lines(void **state)
{
	struct tokenizer *t = from_text(SPECIALS "x\ny\nx\nz\n", true);
	struct tokens k;

	assert_int_equal(tokenizer_encode(t, "x y z", 5, NULL, 0, 0, false, &k,
	    NULL), PARE_OK);
	assert_int_equal(k.n, 3);
	assert_int_equal(k.id[0], 7);
	assert_int_equal(k.id[1], 6);
	assert_int_equal(k.id[2], 8);
	tokens_free(&k);
	tokenizer_free(t);
}

static void
test_bad_vocab(void **state)
{
	struct str b = STR_INIT;

	expect_bad("vocab.txt", "", 0, PARE_EFORMAT, "vocab.txt", "empty");
	expect_bad("vocab.txt", "\n\n", 2, PARE_EFORMAT, "vocab.txt", "empty");
	expect_bad("vocab.txt", "[CLS]\n[SEP]\na\n", 14, PARE_EFORMAT,
	    "vocab.txt", "[UNK]");
	expect_bad("vocab.txt", "[UNK]\n[SEP]\na\n", 14, PARE_EFORMAT,
	    "vocab.txt", "[CLS]");
	expect_bad("vocab.txt", "[UNK]\n[CLS]\na\n", 14, PARE_EFORMAT,
	    "vocab.txt", "[SEP]");
	expect_bad("vocab.txt", "\xff\xfe[\0U\0", 6, PARE_EFORMAT, "vocab.txt",
	    "UTF-16");
	expect_bad("vocab.txt", "[UNK]\na\0b\n", 10, PARE_EFORMAT,
	    "vocab.txt:2", "NUL");
	expect_bad("vocab.txt", "[UNK]\n[CLS]\n\xe9t\xe9\n", 16, PARE_EFORMAT,
	    "vocab.txt:3", "UTF-8");
	str_add(&b, SPECIALS);
	for (int i = 0; i < 70000; i++)
		str_addc(&b, 'x');
	expect_bad("vocab.txt", b.s, b.n, PARE_EFORMAT, "vocab.txt:6", "bytes");
	str_free(&b);
}

static void
test_bad_text(void **state)
{
	struct tokenizer *t = from_text(small_vocab, true);
	struct tokens k;
	char *got;

	/* Latin-1, a lone surrogate, a cut character; each is dropped. */
	assert_int_equal(tokenizer_encode(t, "hel\xfflo \xed\xa0\x80the \xe2"
	    "\x82", 16, NULL, 0, 0, false, &k, NULL), PARE_OK);
	assert_int_equal(k.n, 2);
	assert_int_equal(k.id[0], 13);
	assert_int_equal(k.id[1], 10);
	assert_int_equal(k.invalid, 6);
	tokens_free(&k);
	got = pieces(t, "the\0 hel\0lo", 11);
	assert_string_equal(got, "the hello");
	free(got);
	tokenizer_free(t);
}

/* Long input of every awkward kind; a quadratic step would never end. */
static void
test_linear(void **state)
{
	static const char *const unit[] = { "a", "\xcc\x81", "[", "[CLS", " ",
		"\xf0\x9d\x85\xa5\xf0\x9d\x85\xad", "\xff", "," };
	struct tokenizer *t = from_text(small_vocab, true);
	const size_t size = 1 << 21;
	char *s = xmalloc(size + 16);

	for (size_t i = 0; i < sizeof(unit) / sizeof(*unit); i++) {
		size_t k = strlen(unit[i]), n = 0;
		struct tokens out;

		for (; n < size; n += k)
			memcpy(s + n, unit[i], k);
		assert_int_equal(tokenizer_encode(t, s, n, NULL, 0, 64, true,
		    &out, NULL), PARE_OK);
		assert_in_range(out.n, 2, 64);
		assert_int_equal(out.id[0], 2);
		assert_int_equal(out.id[out.n - 1], 3);
		tokens_free(&out);
	}
	free(s);
	tokenizer_free(t);
}

static void
test_normalizer_details(void **state)
{
	struct tokenizer *t = from_text(SPECIALS "i\nistanbul\nx\n\xc7\x86\n"
	    "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\n\xe4\xb8\xad\n"
	    "\xf0\xab\xa0\xa0\xf0\xab\xa0\xa0\n", true);

	/* Dotted capital I; title-case digraph; Hangul is decomposed. */
	expect_pieces(t, "\xc4\xb0stanbul \xc4\xb0 \xc7\x85",
	    "istanbul i \xc7\x86");
	expect_pieces(t, "\xed\x95\x9c", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab");
	/* Format characters vanish, line separators separate. */
	expect_pieces(t, "istan\xe2\x80\x8d" "bul\xe2\x80\xa8x", "istanbul x");
	expect_pieces(t, "x\xc2\x85x", "[UNK]");
	/* Ideographs stand alone, but for the gap the reference has. */
	expect_pieces(t, "x\xe4\xb8\xad\xe4\xb8\xadx",
	    "x \xe4\xb8\xad \xe4\xb8\xad x");
	expect_pieces(t, "\xf0\xab\xa0\xa0\xf0\xab\xa0\xa0",
	    "\xf0\xab\xa0\xa0\xf0\xab\xa0\xa0");
	tokenizer_free(t);
}

static void
test_templates(void **state)
{
	static const int32_t want[] = { 2, 13, 14, 3, 10, 3 };
	static const int32_t type[] = { 0, 0, 0, 0, 1, 1 };
	struct tokenizer *t = from_text(small_vocab, true);
	struct pare_err err = { 0 };
	struct tokens k;

	assert_int_equal(tokenizer_encode(t, "hello world", 11, "the", 3, 0,
	    true, &k, &err), PARE_OK);
	assert_int_equal(k.n, 6);
	assert_memory_equal(k.id, want, sizeof(want));
	assert_memory_equal(k.type, type, sizeof(type));
	assert_false(k.truncated);
	tokens_free(&k);
	/* An empty text, a pair whose second is empty. */
	assert_int_equal(tokenizer_encode(t, "", 0, NULL, 0, 0, true, &k,
	    &err), PARE_OK);
	assert_int_equal(k.n, 2);
	tokens_free(&k);
	assert_int_equal(tokenizer_encode(t, "the", 3, "", 0, 0, true, &k,
	    &err), PARE_OK);
	assert_int_equal(k.n, 4);
	assert_int_equal(k.type[3], 1);
	tokens_free(&k);
	/* No room. */
	assert_int_equal(tokenizer_encode(t, "the", 3, NULL, 0, 1, true, &k,
	    &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "2 special tokens"));
	assert_int_equal(tokenizer_encode(t, "the", 3, NULL, 0, 2, true, &k,
	    &err), PARE_OK);
	assert_int_equal(k.n, 2);
	assert_true(k.truncated);
	tokens_free(&k);
	tokenizer_free(t);
}

/* Lengths by the reference's rule, counted from the ids of a pair. */
static void
expect_truncation(const struct tokenizer *t, int n1, int n2, int budget,
    int want1, int want2)
{
	char a[512], b[512];
	int got[2] = { 0 };
	struct tokens k;

	memset(a, ',', (size_t)n1);
	memset(b, '!', (size_t)n2);
	assert_int_equal(tokenizer_encode(t, a, (size_t)n1, b, (size_t)n2,
	    budget + 3, true, &k, NULL), PARE_OK);
	for (int i = 0; i < k.n; i++) {
		got[0] += k.id[i] == 11;
		got[1] += k.id[i] == 12;
	}
	assert_int_equal(got[0], want1);
	assert_int_equal(got[1], want2);
	assert_int_equal(k.truncated, want1 < n1 || want2 < n2);
	tokens_free(&k);
}

static void
test_truncation(void **state)
{
	struct tokenizer *t = from_text(small_vocab, true);

	expect_truncation(t, 10, 10, 9, 4, 5);
	expect_truncation(t, 10, 3, 9, 6, 3);
	expect_truncation(t, 3, 10, 9, 3, 6);
	expect_truncation(t, 100, 1, 5, 4, 1);
	expect_truncation(t, 6, 5, 8, 4, 4);
	expect_truncation(t, 11, 10, 9, 5, 4);
	expect_truncation(t, 4, 4, 8, 4, 4);
	expect_truncation(t, 5, 0, 3, 3, 0);
	tokenizer_free(t);
}

/* Every allocation of a load and of an encoding fails once. */
static void
test_out_of_memory(void **state)
{
	struct tokenizer *t = NULL;
	struct pare_err err = { 0 };
	struct tokens k = { 0 };
	enum pare_rc rc = PARE_ENOMEM;
	int tries = 0;

	for (long i = 1; t == NULL && i < 100; i++, tries++) {
		mem_fail_at(i);
		t = tokenizer_parse("vocab.txt", small_vocab,
		    sizeof(small_vocab) - 1, true, &err);
		mem_fail_at(0);
		if (t == NULL)
			assert_int_equal(err.rc, PARE_ENOMEM);
	}
	assert_non_null(t);
	assert_in_range(tries, 4, 99);
	for (long i = 1; rc != PARE_OK && i < 100; i++) {
		mem_fail_at(i);
		rc = tokenizer_encode(t, "the caf\xc3\xa9", 9, "a [SEP]", 7, 0,
		    true, &k, &err);
		mem_fail_at(0);
		assert_true(rc == PARE_OK || rc == PARE_ENOMEM);
	}
	assert_int_equal(rc, PARE_OK);
	tokens_free(&k);
	tokenizer_free(t);
}

/* ---- tokenizer.json ---- */

/* A whole file around the parts that a test changes. */
static char *
json_file(const char *normalizer, const char *pre, const char *post,
    const char *added, const char *model)
{
	return str_format("{\"version\":\"1.0\",\"added_tokens\":%s,"
	    "\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,"
	    "\"decoder\":null,\"model\":%s}", added, normalizer, pre, post,
	    model);
}

static const char bert_norm[] = "{\"type\":\"BertNormalizer\","
    "\"clean_text\":true,\"handle_chinese_chars\":true,"
    "\"strip_accents\":null,\"lowercase\":true}";
static const char bert_pre[] = "{\"type\":\"BertPreTokenizer\"}";
static const char bert_post[] = "{\"type\":\"BertProcessing\","
    "\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]}";
static const char bert_added[] = "[{\"id\":1,\"content\":\"[UNK]\","
    "\"special\":true,\"normalized\":false},{\"id\":2,\"content\":\"[CLS]\","
    "\"special\":true},{\"id\":3,\"content\":\"[SEP]\",\"special\":true}]";
static const char bert_model[] = "{\"type\":\"WordPiece\",\"unk_token\":"
    "\"[UNK]\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,"
    "\"[CLS]\":2,\"[SEP]\":3,\"he\":4,\"##llo\":5,\"caf\xc3\xa9\":6,"
    "\"cafe\":7,\",\":8}}";

static struct tokenizer *
from_json(const char *normalizer, const char *post, const char *added)
{
	char *file = json_file(normalizer, bert_pre, post, added, bert_model);
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("tokenizer.json", file,
	    strlen(file), true, &err);

	free(file);
	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

static void
test_json(void **state)
{
	struct tokenizer *t = from_json(bert_norm, bert_post, bert_added);
	struct tokens k;

	expect_pieces(t, "Hello, CAF\xc3\x89 [SEP]x", "he ##llo , cafe [SEP] "
	    "[UNK]");
	assert_int_equal(tokenizer_encode(t, "hello", 5, NULL, 0, 0, true, &k,
	    NULL), PARE_OK);
	assert_int_equal(k.n, 4);
	assert_int_equal(k.id[0], 2);
	assert_int_equal(k.id[3], 3);
	tokens_free(&k);
	tokenizer_free(t);
}

static void
test_json_template(void **state)
{
	static const char post[] = "{\"type\":\"TemplateProcessing\",\"single\":"
	    "[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},"
	    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":"
	    "[{\"Sequence\":{\"id\":\"B\",\"type_id\":1}},"
	    "{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":1}},"
	    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":"
	    "{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[2,3],\"tokens\":"
	    "[\"[CLS]\",\"[SEP]\"]}}}";
	static const int32_t want[] = { 8, 2, 3, 4, 5 };
	static const int32_t type[] = { 1, 1, 1, 0, 0 };
	struct tokenizer *t = from_json(bert_norm, post, bert_added);
	struct tokens k;

	assert_int_equal(tokenizer_encode(t, "hello", 5, ",", 1, 0, true, &k,
	    NULL), PARE_OK);
	assert_int_equal(k.n, 5);
	assert_memory_equal(k.id, want, sizeof(want));
	assert_memory_equal(k.type, type, sizeof(type));
	tokens_free(&k);
	tokenizer_free(t);
}

static void
test_json_settings(void **state)
{
	struct tokenizer *t;

	t = from_json("{\"type\":\"BertNormalizer\",\"lowercase\":true,"
	    "\"strip_accents\":false}", "null", "[]");
	expect_pieces(t, "Caf\xc3\xa9", "caf\xc3\xa9");
	tokenizer_free(t);
	t = from_json("{\"type\":\"BertNormalizer\",\"lowercase\":false,"
	    "\"strip_accents\":true}", "null", "[]");
	expect_pieces(t, "caf\xc3\xa9 Cafe", "cafe [UNK]");
	tokenizer_free(t);
	t = from_json("null", "null", "null");
	expect_pieces(t, "cafe \xef\xbf\xbd Hello", "cafe [UNK] [UNK]");
	tokenizer_free(t);
	t = from_json("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
	    "\"BertNormalizer\"}]}", bert_post, "null");
	expect_pieces(t, "HELLO", "he ##llo");
	tokenizer_free(t);
}

static void
test_added_tokens(void **state)
{
	struct tokenizer *t = from_json(bert_norm, bert_post, "["
	    "{\"id\":9,\"content\":\"<X>\",\"special\":true,\"lstrip\":true,"
	    "\"rstrip\":true},"
	    "{\"id\":10,\"content\":\"CoViD\",\"normalized\":true},"
	    "{\"id\":11,\"content\":\"solo\",\"single_word\":true},"
	    "{\"id\":12,\"content\":\"<X>y\",\"special\":true}]");

	expect_pieces(t, "he <X> , <X>y", "he <X> , <X>y");
	/* Normalised like the text, so that case does not matter. */
	expect_pieces(t, "he COVID,covids", "he CoViD , CoViD [UNK]");
	expect_pieces(t, "solo solos", "solo [UNK]");
	assert_int_equal(tokenizer_size(t), 13);
	assert_string_equal(tokenizer_piece(t, 10), "CoViD");
	tokenizer_free(t);
}

static void
expect_bad_json(char *file, enum pare_rc rc, const char *word)
{
	expect_bad("tokenizer.json", file, strlen(file), rc, word, "");
	free(file);
}

static void
test_bad_json_components(void **state)
{
	expect_bad_json(json_file("{\"type\":\"Precompiled\"}", bert_pre,
	    bert_post, "[]", bert_model), PARE_EUSER, "Precompiled");
	expect_bad_json(json_file("{\"type\":\"Sequence\",\"normalizers\":["
	    "{\"type\":\"NFD\"},{\"type\":\"Lowercase\"}]}", bert_pre,
	    bert_post, "[]", bert_model), PARE_EUSER, "normalizer is Sequence");
	expect_bad_json(json_file(bert_norm, "{\"type\":\"Metaspace\"}",
	    bert_post, "[]", bert_model), PARE_EUSER, "Metaspace");
	expect_bad_json(json_file(bert_norm, "null", bert_post, "[]",
	    bert_model), PARE_EUSER, "pre_tokenizer");
	expect_bad_json(json_file(bert_norm, bert_pre, "{\"type\":\"Odd\"}",
	    "[]", bert_model), PARE_EUSER, "Odd");
	expect_bad_json(json_file(bert_norm, bert_pre, bert_post, "[]",
	    "{\"type\":\"WordLevel\"}"), PARE_EUSER, "WordLevel");
	expect_bad_json(json_file(bert_norm, bert_pre, bert_post, "[]",
	    "{\"type\":\"Unigram\"}"), PARE_EFORMAT, "array of pieces");
	expect_bad_json(json_file(bert_norm, bert_pre, bert_post, "[]",
	    "{\"vocab\":{},\"merges\":[]}"), PARE_EFORMAT, "empty");
	expect_bad_json(json_file("7", bert_pre, bert_post, "[]", bert_model),
	    PARE_EFORMAT, "normalizer");
	expect_bad_json(json_file("{\"type\":\"BertNormalizer\","
	    "\"lowercase\":\"yes\"}", bert_pre, bert_post, "[]", bert_model),
	    PARE_EFORMAT, "lowercase");
}

static void
test_bad_json_parts(void **state)
{
	static const char *const added[][2] = {
		{ "[{\"id\":-1,\"content\":\"x\"}]", "id" },
		{ "[{\"id\":2147483648,\"content\":\"x\"}]", "id" },
		{ "[{\"id\":4,\"content\":\"x\"}]", "'he'" },
		{ "[{\"id\":9,\"content\":\"he\"}]", "'he'" },
		{ "[{\"id\":9,\"content\":\"x\"},{\"id\":9,\"content\":"
		    "\"y\"}]", "the id 9 of 'x'" },
		{ "[{\"id\":9,\"content\":\"x\"},{\"id\":10,\"content\":"
		    "\"x\"}]", "contradicts" },
		{ "[{\"id\":9,\"content\":\"\"}]", "0 bytes" },
		{ "[{\"content\":\"x\"}]", "no id" },
		{ "[5]", "added_tokens" },
		{ "{}", "added_tokens" },
		{ "[{\"id\":9,\"content\":5}]", "content" },
	};
	static const char *const model[][2] = {
		{ "7", "model" },
		{ "{\"type\":\"WordPiece\"}", "vocab" },
		{ "{\"type\":\"WordPiece\",\"vocab\":[]}", "vocab" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{}}", "empty" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}", "[UNK]" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":-1}}",
		    "'[UNK]'" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":\"0\"}}",
		    "'[UNK]'" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":99999999}}",
		    "'[UNK]'" },
		{ "{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0},"
		    "\"max_input_chars_per_word\":-5}", "max_input_chars" },
	};
	static const char *const post[][2] = {
		{ "{\"type\":\"BertProcessing\"}", "cls" },
		{ "{\"type\":\"BertProcessing\",\"cls\":[\"a\",99],\"sep\":"
		    "[\"b\",3]}", "99" },
		{ "{\"type\":\"TemplateProcessing\"}", "single" },
		{ "{\"type\":\"TemplateProcessing\",\"single\":["
		    "{\"SpecialToken\":{\"id\":\"[X]\",\"type_id\":0}}]}",
		    "[X]" },
		{ "{\"type\":\"TemplateProcessing\",\"single\":["
		    "{\"Sequence\":{\"id\":\"C\",\"type_id\":0}}]}", "Sequence" },
	};

	for (size_t i = 0; i < sizeof(added) / sizeof(*added); i++)
		expect_bad_json(json_file(bert_norm, bert_pre, bert_post,
		    added[i][0], bert_model), PARE_EFORMAT, added[i][1]);
	for (size_t i = 0; i < sizeof(model) / sizeof(*model); i++)
		expect_bad_json(json_file(bert_norm, bert_pre, bert_post,
		    "[]", model[i][0]), PARE_EFORMAT, model[i][1]);
	for (size_t i = 0; i < sizeof(post) / sizeof(*post); i++)
		expect_bad_json(json_file(bert_norm, bert_pre, post[i][0],
		    "[]", bert_model), PARE_EFORMAT, post[i][1]);
	expect_bad("tokenizer.json", "[]", 2, PARE_EFORMAT, "tokenizer.json",
	    "object");
	expect_bad("tokenizer.json", "{", 1, PARE_EFORMAT, "tokenizer.json",
	    "JSON");
}

/* ---- folders ---- */

struct folder {
	char path[64];
};

static void
put_file(const struct folder *d, const char *name, const char *text)
{
	char *path = io_join(d->path, name);

	assert_int_equal(io_write(path, text, strlen(text), NULL), PARE_OK);
	free(path);
}

static void
drop_file(const struct folder *d, const char *name)
{
	char *path = io_join(d->path, name);

	unlink(path);
	free(path);
}

static struct folder
make_folder(void)
{
	struct folder d;

	strcpy(d.path, "/tmp/pare-test-XXXXXX");
	assert_non_null(mkdtemp(d.path));
	return d;
}

static void
drop_folder(const struct folder *d)
{
	static const char *const names[] = { "vocab.txt", "tokenizer.json",
		"tokenizer_config.json", "special_tokens_map.json",
		"added_tokens.json", "merges.txt", "spiece.model", NULL };

	for (int i = 0; names[i] != NULL; i++)
		drop_file(d, names[i]);
	assert_int_equal(rmdir(d->path), 0);
}

static void
expect_no_load(const struct folder *d, int64_t rows, enum pare_rc rc,
    const char *word)
{
	struct pare_err err = { 0 };

	assert_null(tokenizer_load(d->path, rows, &err));
	if (strstr(err.msg, word) == NULL)
		fail_msg("'%s' lacks '%s'", err.msg, word);
	assert_int_equal(err.rc, rc);
}

static struct tokenizer *
load(const struct folder *d, int64_t rows)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(d->path, rows, &err);

	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

static void
test_folder_config(void **state)
{
	struct folder d = make_folder();
	struct tokenizer *t;

	put_file(&d, "vocab.txt", SPECIALS "Hello\nhello\ncaf\xc3\xa9\ncafe\n");
	t = load(&d, 9);
	expect_pieces(t, "Hello caf\xc3\xa9", "hello cafe");
	assert_int_equal(tokenizer_max_length(t), 0);
	tokenizer_free(t);
	put_file(&d, "tokenizer_config.json", "{\"do_lower_case\":false,"
	    "\"model_max_length\":512,\"tokenizer_class\":"
	    "\"BertTokenizerFast\"}");
	t = load(&d, 100);
	expect_pieces(t, "Hello caf\xc3\xa9", "Hello caf\xc3\xa9");
	assert_int_equal(tokenizer_max_length(t), 512);
	tokenizer_free(t);
	/* How the reference writes "no limit". */
	put_file(&d, "tokenizer_config.json", "{\"strip_accents\":false,"
	    "\"model_max_length\":1000000000000000019884624838656,"
	    "\"unk_token\":{\"content\":\"[UNK]\"},\"mask_token\":null,"
	    "\"added_tokens_decoder\":{\"9\":{\"content\":\"<new>\","
	    "\"special\":true}}}");
	put_file(&d, "added_tokens.json", "{\"<new>\":9}");
	t = load(&d, 10);
	expect_pieces(t, "HELLO<new>caf\xc3\xa9", "hello <new> caf\xc3\xa9");
	assert_int_equal(tokenizer_max_length(t), 0);
	tokenizer_free(t);
	/* Ids past the embedding. */
	expect_no_load(&d, 9, PARE_EFORMAT, "'<new>' has id 9");
	expect_no_load(&d, 8, PARE_EFORMAT, "'cafe' has id 8");
	drop_folder(&d);
}

static void
test_folder_refused(void **state)
{
	struct folder d = make_folder();

	expect_no_load(&d, 9, PARE_EUSER, "no tokenizer");
	put_file(&d, "spiece.model", "x");
	expect_no_load(&d, 9, PARE_EFORMAT, "SentencePiece");
	put_file(&d, "vocab.json", "{\"a\":0}");
	put_file(&d, "merges.txt", "x");
	expect_no_load(&d, 9, PARE_EFORMAT, "SentencePiece");
	drop_file(&d, "spiece.model");
	expect_no_load(&d, 9, PARE_EFORMAT, "merges.txt:1");
	drop_file(&d, "vocab.json");
	put_file(&d, "tokenizer.json", "{\"model\":{\"type\":\"BPE\"}}");
	expect_no_load(&d, 9, PARE_EFORMAT, "model.vocab");
	put_file(&d, "vocab.txt", SPECIALS "a\n");
	put_file(&d, "tokenizer_config.json",
	    "{\"tokenizer_class\":\"BertweetTokenizer\"}");
	expect_no_load(&d, 9, PARE_EUSER, "BertweetTokenizer");
	put_file(&d, "tokenizer_config.json", "{\"do_lower_case\":1}");
	expect_no_load(&d, 9, PARE_EFORMAT, "do_lower_case");
	put_file(&d, "tokenizer_config.json", "{\"sep_token\":\"</s>\"}");
	expect_no_load(&d, 9, PARE_EFORMAT, "</s>");
	put_file(&d, "tokenizer_config.json", "{");
	expect_no_load(&d, 9, PARE_EFORMAT, "tokenizer_config.json:1");
	/* A file that is no WordPiece steps back behind vocab.txt. */
	drop_file(&d, "tokenizer_config.json");
	tokenizer_free(load(&d, 9));
	drop_folder(&d);
}

/* The same vocabulary in both files means the same. */
static void
test_folder_prefers_json(void **state)
{
	struct folder d = make_folder();
	char *file = json_file(bert_norm, bert_pre, bert_post, bert_added,
	    bert_model);
	struct tokenizer *t;

	put_file(&d, "tokenizer.json", file);
	put_file(&d, "vocab.txt", SPECIALS "z\n");
	t = load(&d, 9);
	expect_pieces(t, "hello z", "he ##llo [UNK]");
	tokenizer_free(t);
	put_file(&d, "tokenizer_config.json", "{\"do_lower_case\":false}");
	t = load(&d, 9);
	expect_pieces(t, "hello HELLO", "he ##llo [UNK]");
	tokenizer_free(t);
	free(file);
	drop_folder(&d);
}

static void
test_hash(void **state)
{
	struct tokenizer *a = from_text(small_vocab, true);
	struct tokenizer *b = from_text(small_vocab, true);
	struct tokenizer *c = from_text(small_vocab, false);
	struct tokenizer *d = from_text(SPECIALS "x\ny\n", true);
	struct tokenizer *e = from_text(SPECIALS "y\nx\n", true);

	assert_true(tokenizer_hash(a) == tokenizer_hash(b));
	assert_true(tokenizer_hash(a) != tokenizer_hash(c));
	assert_true(tokenizer_hash(d) != tokenizer_hash(e));
	tokenizer_free(a);
	tokenizer_free(b);
	tokenizer_free(c);
	tokenizer_free(d);
	tokenizer_free(e);
}

/* ---- published cases ---- */

/* A path in the folder of real models and references; skips without it. */
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

static struct tokenizer *
shared_tokenizer(const char *dir, bool lower)
{
	struct pare_err err = { 0 };
	char *path = shared(dir), *file = io_join(path, "vocab.txt"), *data;
	struct tokenizer *t;
	size_t n;

	assert_int_equal(io_read(file, 1 << 26, &data, &n, &err), PARE_OK);
	t = tokenizer_parse("vocab.txt", data, n, lower, &err);
	if (t == NULL)
		fail_msg("%s", err.msg);
	free(data);
	free(file);
	free(path);
	return t;
}

static json_t *
shared_json(const char *name)
{
	struct pare_err err = { 0 };
	char *path = shared(name), *text;
	json_error_t e;
	json_t *v;
	size_t n;

	assert_int_equal(io_read(path, 1 << 26, &text, &n, &err), PARE_OK);
	v = json_loadb(text, n, JSON_ALLOW_NUL, &e);
	assert_non_null(v);
	free(text);
	free(path);
	return v;
}

static void
expect_ids(const struct tokenizer *t, const char *s, size_t n, bool special,
    const json_t *want, const char *name)
{
	struct pare_err err = { 0 };
	struct tokens k;

	assert_int_equal(tokenizer_encode(t, s, n, NULL, 0, 0, special, &k,
	    &err), PARE_OK);
	for (int i = 0; i < k.n && (size_t)i < json_array_size(want); i++)
		if (k.id[i] != json_integer_value(json_array_get(want,
		    (size_t)i)))
			fail_msg("%s: piece %d is %s (%d)", name, i,
			    tokenizer_piece(t, k.id[i]), (int)k.id[i]);
	if ((size_t)k.n != json_array_size(want))
		fail_msg("%s: %d pieces, not %zu", name, k.n,
		    json_array_size(want));
	tokens_free(&k);
}

static void
test_real_questions(void **state)
{
	struct tokenizer *t = shared_tokenizer(
	    "real/tokenizers/bert-base-uncased", true);
	json_t *q = shared_json(
	    "real/tokenization/bert/question_tokens.json");
	json_t *ids = shared_json(
	    "real/tokenization/bert/tokenized_questions.json"), *v;
	size_t i, j;

	assert_int_equal(json_array_size(q), 10570);
	assert_int_equal(json_array_size(ids), 10570);
	json_array_foreach(q, i, v) {
		const json_t *text = json_object_get(v, "original");
		const json_t *want = json_object_get(v, "wordpiece"), *w;
		const char *s = json_string_value(text);
		char *got = pieces(t, s, json_string_length(text));
		struct str b = STR_INIT;

		json_array_foreach(want, j, w)
			str_addf(&b, "%s%s", j == 0 ? "" : " ",
			    json_string_value(w));
		assert_string_equal(got, b.s);
		expect_ids(t, s, json_string_length(text), false,
		    json_array_get(ids, i), s);
		str_free(&b);
		free(got);
	}
	json_decref(q);
	json_decref(ids);
	tokenizer_free(t);
}

static void
expect_article(const char *text_name, const char *ids_name, const char *vocab,
    bool lower)
{
	struct tokenizer *t = shared_tokenizer(vocab, lower);
	json_t *v = shared_json(ids_name);
	char *path = shared(text_name), *text;
	size_t n;

	assert_int_equal(io_read(path, 1 << 24, &text, &n, NULL), PARE_OK);
	expect_ids(t, text, n, true, json_object_get(v, "token_ids"), ids_name);
	free(text);
	free(path);
	json_decref(v);
	tokenizer_free(t);
}

#define BERT "real/tokenization/bert/"
#define UNCASED "real/tokenizers/bert-base-uncased"
#define CASED "real/tokenizers/bert-base-cased"

static void
test_real_articles(void **state)
{
	expect_article(BERT "Metal_umlaut.txt",
	    BERT "Metal_umlaut-bert-base-uncased.json", UNCASED, true);
	expect_article(BERT "monty-python-credits.txt",
	    BERT "monty-python-credits-bert-base-uncased.json", UNCASED, true);
	expect_article(BERT "Rust_(programming_language).txt",
	    BERT "Rust_(programming_language)-bert-base-uncased.json",
	    UNCASED, true);
	expect_article(BERT "Rust_(programming_language).txt",
	    BERT "Rust_(programming_language)-bert-base-cased.json", CASED,
	    false);
}

/* Numbers of one line of the .out file. */
static json_t *
numbers_of(const char *line, const char *end)
{
	json_t *v = json_array();

	while (line < end) {
		char *after;
		long n = strtol(line, &after, 10);

		if (after == line || after > end)
			break;
		json_array_append_new(v, json_integer(n));
		line = after;
	}
	return v;
}

static void
test_real_awkward(void **state)
{
	static const char mark[] = "\n__ggml_vocab_test__\n";
	struct tokenizer *t = shared_tokenizer(UNCASED, true);
	char *in_path = shared(BERT "bert-bge.inp"), *in;
	char *out_path = shared(BERT "bert-bge.out"), *out;
	const char *p, *q;
	int cases = 0;
	size_t n;

	assert_int_equal(io_read(in_path, 1 << 20, &in, &n, NULL), PARE_OK);
	assert_int_equal(io_read(out_path, 1 << 20, &out, &n, NULL), PARE_OK);
	for (p = in, q = out; *q != '\0'; cases++) {
		const char *end = strstr(p, mark);
		const char *line = strchr(q, '\n');
		json_t *want;
		char name[32];

		/* The file ends with a marker line or with a line end. */
		if (end == NULL)
			end = p + strlen(p);
		if (line == NULL)
			line = q + strlen(q);
		want = numbers_of(q, line);
		snprintf(name, sizeof(name), "case %d", cases);
		expect_ids(t, p, (size_t)(end - p), false, want, name);
		json_decref(want);
		p = *end == '\0' ? end : end + sizeof(mark) - 1;
		q = *line == '\0' ? line : line + 1;
	}
	assert_int_equal(cases, 46);
	free(in);
	free(out);
	free(in_path);
	free(out_path);
	tokenizer_free(t);
}

/* A vocabulary of exactly the expected words: what is cut elsewhere or otherwise
 * normalised becomes [UNK]. */
static void
expect_words(const json_t *text, const json_t *want, bool lower)
{
	struct str vocab = STR_INIT, line = STR_INIT;
	struct tokenizer *t;
	const json_t *w;
	char *got;
	size_t i;

	str_add(&vocab, SPECIALS);
	json_array_foreach(want, i, w) {
		str_addf(&vocab, "%s\n", json_string_value(w));
		/* Words of over 100 characters are unknown to the model. */
		str_addf(&line, "%s%s", i == 0 ? "" : " ",
		    json_string_length(w) > 100 ? "[UNK]"
		    : json_string_value(w));
	}
	t = from_text(vocab.s, lower);
	got = pieces(t, json_string_value(text), json_string_length(text));
	assert_string_equal(got, line.s);
	free(got);
	str_free(&vocab);
	str_free(&line);
	tokenizer_free(t);
}

/*
 * The vectors come from the slow (Python) classes; pare follows the fast ones.
 * They differ, rightly, where the slow class composes text (NFC) that it does
 * not lower-case: "e" with a combining accent and loose Hangul jamo stay as they
 * are in the fast one. And "[CLS]" as text is a special token of the whole
 * tokenizer, but three words of the bare basic tokenizer.
 */
static void
test_real_basic(void **state)
{
	json_t *all = shared_json("reference/bert_tokenizer_vectors.json"), *v;
	int composed = 0, literal = 0;
	size_t i;

	json_array_foreach(json_object_get(all, "basic"), i, v) {
		const json_t *text = json_object_get(v, "text");
		const char *s = json_string_value(text);

		if (strstr(s, "[CLS]") != NULL) {
			literal++;
			continue;
		}
		expect_words(text, json_object_get(v, "lower"), true);
		if (strstr(s, "e\xcc\x81") != NULL ||
		    strstr(s, "\xe1\x84\x80\xe1\x85\xa1") != NULL) {
			composed++;
			continue;
		}
		expect_words(text, json_object_get(v, "cased"), false);
	}
	assert_int_equal(composed, 2);
	assert_int_equal(literal, 1);
	json_decref(all);
}

static void
test_real_wordpiece(void **state)
{
	json_t *all = shared_json("reference/bert_tokenizer_vectors.json"), *v;
	struct str vocab = STR_INIT;
	struct tokenizer *t;
	size_t i, j;

	json_array_foreach(json_object_get(all, "wordpiece_vocab"), i, v)
		str_addf(&vocab, "%s\n", json_string_value(v));
	t = from_text(vocab.s, true);
	json_array_foreach(json_object_get(all, "wordpiece"), i, v) {
		struct str want = STR_INIT;
		const json_t *w;

		json_array_foreach(json_object_get(v, "pieces"), j, w)
			str_addf(&want, "%s%s", j == 0 ? "" : " ",
			    json_string_value(w));
		expect_pieces(t, json_string_value(json_object_get(v, "word")),
		    want.s);
		str_free(&want);
	}
	tokenizer_free(t);
	t = from_text(small_vocab, true);
	json_array_foreach(json_object_get(all, "longest_first_fast"), i, v) {
		const json_t *fast = json_object_get(v, "fast");

		expect_truncation(t,
		    (int)json_integer_value(json_object_get(v, "n1")),
		    (int)json_integer_value(json_object_get(v, "n2")),
		    (int)json_integer_value(json_object_get(v, "budget")),
		    (int)json_integer_value(json_array_get(fast, 0)),
		    (int)json_integer_value(json_array_get(fast, 1)));
	}
	tokenizer_free(t);
	str_free(&vocab);
	json_decref(all);
}

static void
test_real_json_file(void **state)
{
	char *dir = shared("real/tokenizers/minilm"), *data;
	char *path = shared("real/data/sst2.dev.tsv");
	struct tokenizer *a = shared_tokenizer(UNCASED, true), *b;
	struct pare_err err = { 0 };
	struct tokens x, y;
	size_t n;

	b = tokenizer_load(dir, 30522, &err);
	if (b == NULL)
		fail_msg("%s", err.msg);
	assert_int_equal(tokenizer_size(a), tokenizer_size(b));
	assert_int_equal(io_read(path, 1 << 24, &data, &n, NULL), PARE_OK);
	assert_int_equal(tokenizer_encode(a, data, n, data, n, 0, true, &x,
	    NULL), PARE_OK);
	assert_int_equal(tokenizer_encode(b, data, n, data, n, 0, true, &y,
	    NULL), PARE_OK);
	assert_int_equal(x.n, y.n);
	assert_memory_equal(x.id, y.id, (size_t)x.n * sizeof(*x.id));
	assert_memory_equal(x.type, y.type, (size_t)x.n * sizeof(*x.type));
	tokens_free(&x);
	tokens_free(&y);
	tokenizer_free(a);
	tokenizer_free(b);
	free(data);
	free(path);
	free(dir);
}

/* The models' own folders. */
static void
test_real_folders(void **state)
{
	static const struct {
		const char *dir;
		int64_t rows;
		const char *kind;
	} f[] = {
		{ "real/models/sst2-bert", 30522, "WordPiece" },
		{ "real/models/trec-bert", 30522, "WordPiece" },
		{ "real/models/rxnmapper-albert", 591, "WordPiece" },
		{ "real/models/stories260K", 512, "BPE" },
		{ "real/models/gpt-nano-sort", 3, "byte-level BPE" },
		{ "real/tokenizers/gpt2", 50257, "byte-level BPE" },
	};

	for (size_t i = 0; i < sizeof(f) / sizeof(*f); i++) {
		struct pare_err err = { 0 };
		char *dir = shared(f[i].dir);
		struct tokenizer *t = tokenizer_load(dir, f[i].rows, &err);

		if (t == NULL)
			fail_msg("%s: %s", f[i].dir, err.msg);
		assert_string_equal(tokenizer_kind(t), f[i].kind);
		tokenizer_free(t);
		free(dir);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wordpiece),
		cmocka_unit_test(test_case_is_kept),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_line_ends),
		cmocka_unit_test(test_duplicate_lines),
		cmocka_unit_test(test_bad_vocab),
		cmocka_unit_test(test_bad_text),
		cmocka_unit_test(test_linear),
		cmocka_unit_test(test_normalizer_details),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_template),
		cmocka_unit_test(test_json_settings),
		cmocka_unit_test(test_added_tokens),
		cmocka_unit_test(test_bad_json_components),
		cmocka_unit_test(test_bad_json_parts),
		cmocka_unit_test(test_folder_config),
		cmocka_unit_test(test_folder_refused),
		cmocka_unit_test(test_folder_prefers_json),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_real_questions),
		cmocka_unit_test(test_real_articles),
		cmocka_unit_test(test_real_awkward),
		cmocka_unit_test(test_real_basic),
		cmocka_unit_test(test_real_wordpiece),
		cmocka_unit_test(test_real_json_file),
		cmocka_unit_test(test_real_folders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
