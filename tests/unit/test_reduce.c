/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Smaller vocabularies: what has to stay, that texts of kept tokens keep their
 * ids, that every text can still be read, and that the files of a smaller
 * tokenizer make the same one. Small ones are written here; where the folder of
 * real models and references (PARE_SHARED) is present, every kind there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "text/reduce.h"
#include "text/vocabulary.h"

/* ---- helpers ---- */

struct texts {
	int n;
	char **s;
	size_t *len;
};

static void
texts_add(struct texts *x, const char *s, size_t n)
{
	x->s = xrealloc(x->s, (size_t)(x->n + 1) * sizeof(*x->s));
	x->len = xrealloc(x->len, (size_t)(x->n + 1) * sizeof(*x->len));
	x->s[x->n] = xstrndup(s, n);
	x->len[x->n++] = n;
}

static void
texts_free(struct texts *x)
{
	for (int i = 0; i < x->n; i++)
		free(x->s[i]);
	free(x->s);
	free(x->len);
}

static struct tokens
encode(const struct tokenizer *t, const char *s, size_t n, bool special)
{
	struct pare_err err = { 0 };
	struct tokens k;

	if (tokenizer_encode(t, s, n, NULL, 0, 0, special, &k, &err) !=
	    PARE_OK)
		fail_msg("%s", err.msg);
	return k;
}

/* What a list of ids says, without the marks of where words begin: by that
 * WordPiece can be compared too. */
static char *
said(const struct tokenizer *t, const struct tokens *k)
{
	struct str out = STR_INIT;

	if (t->model != TOKENS_WORDPIECE) {
		tokenizer_decode(t, k->id, k->n, true, &out);
		return str_detach(&out);
	}
	for (int i = 0; i < k->n; i++) {
		const char *s = tokenizer_piece(t, k->id[i]);

		str_add(&out, strncmp(s, "##", 2) == 0 ? s + 2 : s);
	}
	return str_detach(&out);
}

static void
keep_id(const struct token_needs *n, bool *keep, int64_t id)
{
	if (keep[id])
		return;
	keep[id] = true;
	for (int i = 0; i < 2; i++)
		if (n->parent[id][i] >= 0)
			keep_id(n, keep, n->parent[id][i]);
}

static void
keep_text(const struct tokenizer *t, const struct token_needs *n, bool *keep,
    const char *s, size_t len)
{
	struct tokens k = encode(t, s, len, true);

	for (int i = 0; i < k.n; i++)
		keep_id(n, keep, k.id[i]);
	tokens_free(&k);
}

/* A tokenizer, and one of the tokens that are marked. */
struct pair {
	const struct tokenizer *whole;
	struct tokenizer *part;
	int64_t rows, n;
	bool *keep;
	int32_t *id, *present;
};

static struct pair
cut(const struct tokenizer *t, int64_t rows, bool *keep)
{
	struct pair p = { .whole = t, .rows = rows, .keep = keep };
	struct pare_err err = { 0 };

	p.id = xcalloc((size_t)rows, sizeof(*p.id));
	p.present = xcalloc((size_t)rows, sizeof(*p.present));
	for (int64_t i = 0; i < rows; i++) {
		p.present[i] = keep[i] ? (int32_t)p.n : -1;
		if (keep[i])
			p.id[p.n++] = (int32_t)i;
	}
	p.part = tokenizer_reduce(t, p.id, p.n, &err);
	if (p.part == NULL)
		fail_msg("%s", err.msg);
	return p;
}

static void
pair_free(struct pair *p)
{
	tokenizer_free(p->part);
	free(p->keep);
	free(p->id);
	free(p->present);
}

/* Whether the text has kept tokens alone; then it must have the same ones. */
static bool
same_ids(const struct pair *p, const char *s, size_t n)
{
	struct tokens a = encode(p->whole, s, n, true), b;
	bool all = true;

	for (int i = 0; i < a.n; i++)
		all = all && p->keep[a.id[i]];
	b = encode(p->part, s, n, true);
	if (all)
		assert_int_equal(a.n, b.n);
	for (int i = 0; i < a.n && all; i++) {
		assert_int_equal(p->present[a.id[i]], b.id[i]);
		assert_int_equal(a.type[i], b.type[i]);
	}
	tokens_free(&a);
	tokens_free(&b);
	return all;
}

static void
expect_lossless(const struct pair *p, const char *s, size_t n)
{
	struct tokens a = encode(p->whole, s, n, false);
	struct tokens b = encode(p->part, s, n, false);
	char *x = said(p->whole, &a), *y = said(p->part, &b);

	assert_string_equal(x, y);
	free(x);
	free(y);
	tokens_free(&a);
	tokens_free(&b);
}

/* Every piece that is joined from others is so still, from the same ones. */
static int
expect_closed(const struct pair *p, const struct token_needs *needs)
{
	int joined = 0;

	for (int64_t i = 0; i < p->n; i++) {
		const int32_t *parent = needs->parent[p->id[i]];
		const char *s = tokenizer_piece(p->part, (int32_t)i);
		int32_t now[2];

		if (parent[0] < 0)
			continue;
		joined++;
		if (!bpe_parents(p->part, s, strlen(s), now))
			fail_msg("'%s' cannot be joined", s);
		assert_int_equal(now[0], p->present[parent[0]]);
		assert_int_equal(now[1], p->present[parent[1]]);
	}
	return joined;
}

/* How many pieces come out of their own texts, before and after. */
static void
expect_reachable(const struct pair *p)
{
	int before = 0, after = 0;

	for (int64_t i = 0; i < p->n; i++) {
		struct str text = STR_INIT;
		struct tokens a, b;

		tokenizer_decode(p->whole, &p->id[i], 1, true, &text);
		a = encode(p->whole, text.s, text.n, false);
		b = encode(p->part, text.s, text.n, false);
		before += a.n == 1 && a.id[0] == p->id[i];
		after += b.n == 1 && b.id[0] == i;
		same_ids(p, text.s, text.n);
		tokens_free(&a);
		tokens_free(&b);
		str_free(&text);
	}
	/* Words that begin with a mark do not come out of a text alone. */
	assert_true(before > 0 || p->whole->model == TOKENS_UNIGRAM);
	assert_true(after >= before);
}

/* ---- files ---- */

static void
put_file(const char *dir, const char *name, const char *data, size_t n)
{
	char *path = io_join(dir, name);
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	free(path);
}

static void
drop_folder(const char *dir)
{
	char *line = str_format("rm -rf '%s'", dir);

	assert_int_equal(system(line), 0);
	free(line);
}

static void
expect_files(const struct pair *p, const char *dir, const struct texts *x)
{
	char made[] = "/tmp/pare-reduce-XXXXXX";
	struct tokenizer_file file[TOKENIZER_FILES];
	struct pare_err err = { 0 };
	struct tokenizer *back;
	int n;

	assert_non_null(mkdtemp(made));
	if (tokenizer_reduce_files(p->part, dir, file, &n, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_true(n > 0);
	for (int i = 0; i < n; i++)
		put_file(made, file[i].name, file[i].data, file[i].n);
	tokenizer_files_free(file, n);
	back = tokenizer_load(made, p->n, &err);
	if (back == NULL)
		fail_msg("%s", err.msg);
	for (int64_t i = 0; i < p->n; i++) {
		const char *a = tokenizer_piece(p->part, (int32_t)i);
		const char *b = tokenizer_piece(back, (int32_t)i);

		assert_true((a == NULL) == (b == NULL));
		if (a != NULL)
			assert_string_equal(a, b);
	}
	for (int i = 0; i < x->n; i++) {
		struct tokens a = encode(p->part, x->s[i], x->len[i], true);
		struct tokens b = encode(back, x->s[i], x->len[i], true);

		assert_int_equal(a.n, b.n);
		assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof(*a.id));
		tokens_free(&a);
		tokens_free(&b);
	}
	tokenizer_free(back);
	drop_folder(made);
}

/* ---- the laws, of any tokenizer ---- */

/* Keeps what has to stay and what some of the texts use. */
static void
expect_laws(const struct tokenizer *t, const char *dir, const struct texts *x,
    bool pairs)
{
	int64_t rows = tokenizer_size(t) + 3;	/* and ids that mean nothing */
	bool *keep = xcalloc((size_t)rows, sizeof(*keep));
	struct token_needs needs;
	struct pare_err err = { 0 };
	struct pair p;
	int same = 0;

	assert_int_equal(token_needs_find(t, rows, &needs, &err), PARE_OK);
	for (int64_t i = 0; i < rows; i++)
		if (needs.always[i])
			keep_id(&needs, keep, i);
	for (int i = 0; i < x->n; i += 3)
		keep_text(t, &needs, keep, x->s[i], x->len[i]);
	p = cut(t, rows, keep);
	assert_true(p.n < rows - 3);
	assert_true(tokenizer_hash(p.part) != tokenizer_hash(t));
	assert_int_equal(expect_closed(&p, &needs) > 0, pairs);
	for (int i = 0; i < x->n; i++) {
		same += same_ids(&p, x->s[i], x->len[i]);
		expect_lossless(&p, x->s[i], x->len[i]);
	}
	assert_true(same >= (x->n + 2) / 3);
	expect_reachable(&p);
	if (dir != NULL)
		expect_files(&p, dir, x);
	pair_free(&p);
	token_needs_free(&needs);
}

/* ---- small ones ---- */

static const char byte_pairs[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{"
    "\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"ab\":4,\"cd\":5,\"abcd\":6,\"bc\":7,"
    "\"abc\":8,\"da\":9},\"merges\":[\"a b\",\"c d\",\"ab cd\",\"b c\","
    "\"ab c\",\"d a\"]},\"added_tokens\":[{\"id\":10,\"content\":\"<e>\","
    "\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false,\"use_regex\":false},\"decoder\":{\"type\":"
    "\"ByteLevel\"}}";

static struct tokenizer *
parse(const char *name, const char *text)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse(name, text, strlen(text), true,
	    &err);

	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

static void
test_parents(void **state)
{
	struct tokenizer *t = parse("tokenizer.json", byte_pairs);
	struct token_needs n;
	struct pare_err err = { 0 };

	assert_int_equal(token_needs_find(t, 12, &n, &err), PARE_OK);
	/* As joins go: c and d come together before ab meets c. */
	assert_int_equal(n.parent[6][0], 4);
	assert_int_equal(n.parent[6][1], 5);
	assert_int_equal(n.parent[8][0], 4);
	assert_int_equal(n.parent[8][1], 2);
	assert_int_equal(n.parent[0][0], -1);
	for (int i = 0; i < 4; i++)
		assert_true(n.always[i]);
	for (int i = 4; i < 10; i++)
		assert_false(n.always[i]);
	assert_true(n.always[10]);
	assert_true(n.piece[10]);
	assert_false(n.piece[11] || n.always[11]);
	token_needs_free(&n);
	tokenizer_free(t);
}

/* Without a parent the child is out of reach: what the closure is for. */
static void
test_orphan(void **state)
{
	static const int32_t id[] = { 0, 1, 2, 3, 4, 6, 10 };
	struct tokenizer *t = parse("tokenizer.json", byte_pairs);
	struct pare_err err = { 0 };
	struct tokenizer *part = tokenizer_reduce(t, id, 7, &err);
	struct tokens k;
	int32_t parent[2];

	assert_non_null(part);
	assert_false(bpe_parents(part, "abcd", 4, parent));
	k = encode(part, "abcd<e>", 7, true);
	assert_int_equal(k.n, 4);
	assert_int_equal(k.id[0], 4);
	assert_int_equal(k.id[3], 6);
	tokens_free(&k);
	tokenizer_free(part);
	part = tokenizer_reduce(t, id, 6, &err);
	assert_null(part);
	assert_int_equal(err.rc, PARE_EUSER);
	assert_non_null(strstr(err.msg, "<e>"));
	tokenizer_free(t);
}

/* The larger one may go first. */
static void
test_outlives(void **state)
{
	static const int32_t id[] = { 0, 1, 2, 3, 4, 10 };
	struct tokenizer *t = parse("tokenizer.json", byte_pairs);
	struct pare_err err = { 0 };
	struct tokenizer *part = tokenizer_reduce(t, id, 6, &err);
	struct tokens k;

	tokenizer_free(t);
	k = encode(part, "abc", 3, true);
	assert_int_equal(k.n, 2);
	assert_int_equal(k.id[0], 4);
	tokens_free(&k);
	tokenizer_free(part);
}

/* Random texts over the letters of a small tokenizer. */
static struct texts
random_texts(const char *letters)
{
	struct texts x = { 0 };
	struct rng r;

	rng_seed(&r, 3);
	for (int i = 0; i < 60; i++) {
		char s[32];
		size_t n = 1 + rng_below(&r, 30);

		for (size_t k = 0; k < n; k++)
			s[k] = letters[rng_below(&r, strlen(letters))];
		/* Few of them say much, so that something can go. */
		texts_add(&x, s, i % 3 == 0 ? 1 + n % 2 : n);
	}
	return x;
}

static void
in_folder(const char *name, const char *text, const char *letters, bool pairs)
{
	char dir[] = "/tmp/pare-reduce-XXXXXX";
	struct texts x = random_texts(letters);
	struct pare_err err = { 0 };
	struct tokenizer *t;

	assert_non_null(mkdtemp(dir));
	put_file(dir, name, text, strlen(text));
	t = tokenizer_load(dir, 0, &err);
	if (t == NULL)
		fail_msg("%s", err.msg);
	expect_laws(t, dir, &x, pairs);
	tokenizer_free(t);
	texts_free(&x);
	drop_folder(dir);
}

static void
test_small(void **state)
{
	in_folder("tokenizer.json", byte_pairs, "abcd", true);
	in_folder("tokenizer.json", "{\"model\":{\"type\":\"Unigram\","
	    "\"unk_id\":0,\"vocab\":[[\"<unk>\",0.0],[\"\xe2\x96\x81\",-2.0],"
	    "[\"a\",-3.0],[\"b\",-3.5],[\"c\",-4.0],[\"ab\",-4.5],"
	    "[\"abc\",-5.0],[\"bc\",-5.1],[\"\xe2\x96\x81" "ab\",-5.2],"
	    "[\"cab\",-6.0],[\"cc\",-9.0]]},\"pre_tokenizer\":{\"type\":"
	    "\"Metaspace\",\"replacement\":\"\xe2\x96\x81\","
	    "\"prepend_scheme\":\"always\",\"split\":true},\"decoder\":{"
	    "\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}}",
	    "abcx ", false);
	in_folder("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n"
	    "##a\n##b\n##c\nab\n##ab\nabc\n##bc\ncab\n##cab\nbb\n", "abcx ",
	    false);
}

/* ---- real ones ---- */

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

/* The cases of a test of vocabularies, and the lines of an article. */
static void
add_cases(struct texts *x, const char *name, const char *mark)
{
	char *path = shared(name), *data;
	struct pare_err err = { 0 };
	size_t n;

	assert_int_equal(io_read(path, 1 << 24, &data, &n, &err), PARE_OK);
	for (char *p = data; *p != '\0';) {
		char *end = strstr(p, mark);
		size_t k = end != NULL ? (size_t)(end - p) : strlen(p);

		if (k > 0)
			texts_add(x, p, k);
		p += k + (end != NULL ? strlen(mark) : 0);
	}
	free(data);
	free(path);
}

static void
expect_real(const char *name, const char *cases, bool pairs)
{
	char *dir = shared(name);
	struct texts x = { 0 };
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(dir, 0, &err);

	if (t == NULL)
		fail_msg("%s: %s", name, err.msg);
	add_cases(&x, cases, "\n__ggml_vocab_test__\n");
	add_cases(&x, "real/tokenization/bert/Rust_(programming_language).txt",
	    "\n");
	expect_laws(t, dir, &x, pairs);
	tokenizer_free(t);
	texts_free(&x);
	free(dir);
}

#define BERT_CASES "real/tokenization/bert/bert-bge.inp"
#define GPT2_CASES "real/tokenization/gpt2/gpt2.inp"
#define LLAMA_CASES "real/tokenization/llama/llama-spm.inp"

static void
test_real_wordpiece(void **state)
{
	expect_real("real/tokenizers/bert-base-uncased", BERT_CASES, false);
	expect_real("real/tokenizers/bert-base-cased", BERT_CASES, false);
	expect_real("real/tokenizers/minilm", BERT_CASES, false);
	expect_real("real/models/rxnmapper-albert", BERT_CASES, false);
}

static void
test_real_byte_level(void **state)
{
	expect_real("real/tokenizers/gpt2", GPT2_CASES, true);
}

/* Some files of a folder alone: others would be read first. */
static void
expect_some(const char *folder, const char *const *names, const char *cases)
{
	char dir[] = "/tmp/pare-reduce-XXXXXX";
	struct texts x = { 0 };
	struct pare_err err = { 0 };
	struct tokenizer *t;

	free(shared(folder));
	assert_non_null(mkdtemp(dir));
	for (int i = 0; names[i] != NULL; i++) {
		char *name = io_join(folder, names[i]);
		char *path = shared(name), *data;
		size_t n;

		assert_int_equal(io_read(path, 1 << 24, &data, &n, &err),
		    PARE_OK);
		put_file(dir, names[i], data, n);
		free(data);
		free(path);
		free(name);
	}
	add_cases(&x, cases, "\n__ggml_vocab_test__\n");
	t = tokenizer_load(dir, 0, &err);
	assert_non_null(t);
	expect_laws(t, dir, &x, true);
	tokenizer_free(t);
	texts_free(&x);
	drop_folder(dir);
}

static void
test_real_merges(void **state)
{
	static const char *const names[] = { "vocab.json", "merges.txt",
		NULL };

	expect_some("real/tokenizers/gpt2", names, GPT2_CASES);
}

static void
test_real_model(void **state)
{
	static const char *const names[] = { "tokenizer.model",
		"tokenizer_config.json", NULL };

	expect_some("real/models/stories260K", names, LLAMA_CASES);
}

static void
test_real_sentencepiece(void **state)
{
	expect_real("real/tokenization/llama/llama-spm.gguf", LLAMA_CASES,
	    true);
	expect_real("real/models/stories260K", LLAMA_CASES, true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parents),
		cmocka_unit_test(test_orphan),
		cmocka_unit_test(test_outlives),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_real_wordpiece),
		cmocka_unit_test(test_real_byte_level),
		cmocka_unit_test(test_real_merges),
		cmocka_unit_test(test_real_model),
		cmocka_unit_test(test_real_sentencepiece),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
