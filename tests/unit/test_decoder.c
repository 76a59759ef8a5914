/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decoders against outputs that others published: logits of a small Llama from
 * a checkpoint and from GGUF, a GPT-2 that sorts, ids of GPT-2's and Llama's
 * tokenizers; and the blocks of GGUF files against decoded values.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"
#include "engine/rope.h"
#include "file/file.h"
#include "file/gguf.h"
#include "tensor/block.h"
#include "text/tokenizer.h"

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

static char *
read_shared(const char *name, size_t *n)
{
	struct pare_err err = { 0 };
	char *path = shared(name), *data;

	if (io_read(path, 1 << 28, &data, n, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	free(path);
	return data;
}

static json_t *
json_shared(const char *name)
{
	struct pare_err err = { 0 };
	char *path = shared(name);
	json_t *v = json_read(path, 1 << 28, 0, &err);

	if (v == NULL)
		fail_msg("%s", err.msg);
	free(path);
	return v;
}

/* ---- logits ---- */

static struct model *
open_shared(const char *name)
{
	struct pare_err err = { 0 };
	char *path = shared(name);
	struct model *m = NULL;

	if (file_open_model(path, NULL, &m, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	free(path);
	return m;
}

static float *
run(const struct model *m, int32_t *ids, int n)
{
	int64_t start[2] = { 0, n };
	struct batch b = { .nseq = 1, .start = start, .ids = ids };
	float *out = xcalloc((size_t)n * (size_t)m->hp.vocab, sizeof(*out));
	struct forward f = { .logits = out };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	return out;
}

#define STORIES "real/models/stories260K"

static void
check_stories(const char *name, const char *text, float tolerance)
{
	json_t *all = json_shared(STORIES "/reference/stories260K-hf.json");
	json_t *ids = json_object_get(json_object_get(all, text), "ids");
	struct model *m = open_shared(name);
	int n = (int)json_array_size(ids);
	int32_t *id = xcalloc((size_t)n, sizeof(*id));
	float *have, *want;
	char path[128];
	size_t bytes;

	snprintf(path, sizeof(path),
	    STORIES "/reference/stories260K-hf.%s.logits.f32", text);
	want = (float *)read_shared(path, &bytes);
	for (int i = 0; i < n; i++)
		id[i] = (int32_t)json_integer_value(json_array_get(ids,
		    (size_t)i));
	assert_int_equal(bytes, (size_t)n * 512 * sizeof(float));
	have = run(m, id, n);
	for (int i = 0; i < n * 512; i++)
		if (!(fabsf(have[i] - want[i]) <= tolerance))
			fail_msg("%s, %s: logit %d is %g, not %g", name, text,
			    i, (double)have[i], (double)want[i]);
	free(have);
	free(want);
	free(id);
	model_unref(m);
	json_decref(all);
}

static void
test_llama_logits(void **state)
{
	check_stories(STORIES, "story", 1e-4f);
	check_stories(STORIES, "odd", 1e-4f);
	check_stories(STORIES, "sample", 1e-4f);
	/* Rows of its queries and keys stand in another order. */
	check_stories("real/gguf/stories260K-F32.gguf", "story", 1e-4f);
	check_stories("real/gguf/stories260K-F32.gguf", "odd", 1e-4f);
}

/* Blocks and the floats they stand for give the same logits. */
static void
test_block_logits(void **state)
{
	static const char *const names[] = { "Q2_K", "Q4_K_M", "Q6_K" };
	int32_t id[] = { 1, 403, 407, 261, 378, 432, 383 };

	for (int k = 0; k < 3; k++) {
		char path[64];
		struct model *m;
		float *logits;

		snprintf(path, sizeof(path), "real/gguf/stories260K-%s.gguf",
		    names[k]);
		m = open_shared(path);
		logits = run(m, id, 7);
		/* "Once upon a time, there was" goes on in all of them. */
		for (int i = 0; i + 1 < 6; i++) {
			int best = 0;

			for (int j = 1; j < 512; j++)
				if (logits[i * 512 + j] >
				    logits[i * 512 + best])
					best = j;
			assert_int_equal(best, id[i + 1]);
		}
		free(logits);
		model_unref(m);
	}
}

static void
test_sorting(void **state)
{
	struct model *m = open_shared("real/models/gpt-nano-sort");
	size_t n;
	char *data = read_shared("real/models/gpt-nano-sort/reference/"
	    "gpt-nano-sort.tsv", &n);
	char *line = strchr(data, '\n') + 1;
	int rows = 0;

	for (; *line != '\0'; line = strchr(line, '\n') + 1, rows++) {
		int32_t id[11];
		float *out;

		for (int i = 0; i < 6; i++)
			id[i] = line[i] - 'A';
		for (int i = 0; i < 5; i++)
			id[6 + i] = line[7 + i] - 'A';
		out = run(m, id, 11);
		for (int i = 0; i < 6; i++) {
			const float *p = out + (5 + i) * 3;
			int best = p[1] > p[0] ? 1 : 0;

			best = p[2] > p[best] ? 2 : best;
			assert_int_equal(best, line[7 + i] - 'A');
		}
		free(out);
	}
	assert_int_equal(rows, 729);
	free(data);
	model_unref(m);
}

/* ---- positions ---- */

/* The angle of a pair depends on the distance alone: q(m) k(n) is the same for
 * m - n. */
static void
test_rotation(void **state)
{
	struct rope r = { .kind = ROPE_PLAIN, .theta = 10000.0 };
	float cosine[64 * 4], sine[64 * 4], dot[2];

	rope_table(&r, 8, 0, 64, 64, NULL, cosine, sine);
	assert_true(fabsf(cosine[0] - 1.0f) < 1e-6f);
	assert_true(fabsf(sine[4] - sinf(1.0f)) < 1e-6f);
	assert_true(fabsf(sine[5] - sinf(0.1f)) < 1e-6f);
	for (int mixed = 0; mixed < 2; mixed++) {
		for (int k = 0; k < 2; k++) {
			float a[8] = { 1, -2, 3, 0.5f, 2, 1, -1, 4 };
			float b[8] = { 0.3f, 1, 2, -1, 1, 3, 0.1f, 2 };
			int at = k * 31;

			rope_turn(a, 1, 1, 8, mixed != 0, cosine +
			    (at + 9) * 4, sine + (at + 9) * 4);
			rope_turn(b, 1, 1, 8, mixed != 0, cosine +
			    (at + 2) * 4, sine + (at + 2) * 4);
			dot[k] = 0;
			for (int i = 0; i < 8; i++)
				dot[k] += a[i] * b[i];
		}
		assert_true(fabsf(dot[0] - dot[1]) < 1e-4f);
	}
}

static void
test_stretching(void **state)
{
	struct rope r = { .kind = ROPE_LINEAR, .theta = 10000.0, .factor = 4,
	    .low = 1, .high = 4, .original = 64 };
	float c[2], s[2], plain[2], far[2];

	rope_table(&r, 2, 8, 1, 9, NULL, c, s);
	assert_true(fabsf(s[0] - sinf(2.0f)) < 1e-6f);
	/* A wave of one turn in 6.28 positions is short: llama3 leaves it. */
	r.kind = ROPE_LLAMA3;
	rope_table(&r, 2, 8, 1, 9, NULL, c, s);
	assert_true(fabsf(s[0] - sinf(8.0f)) < 1e-6f);
	/* Beyond the original length dynamic turns slower, within it not. */
	r.kind = ROPE_DYNAMIC;
	rope_table(&r, 4, 8, 1, 64, NULL, c, plain);
	rope_table(&r, 4, 8, 1, 200, NULL, c, far);
	assert_true(fabsf(plain[1] - sinf(0.08f)) < 1e-6f);
	assert_true(far[1] < plain[1]);
}

/* ---- tokenizers ---- */

static const char mark[] = "\n__ggml_vocab_test__\n";

/* Texts between marks, and a line of ids for each. */
static void
check_cases(const char *dir, const char *name)
{
	char in_name[96], out_name[96], *path = shared(dir);
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(path, 0, &err);
	char *in, *out, *p, *q, *end;
	int cases = 0;
	size_t n;

	if (t == NULL)
		fail_msg("%s", err.msg);
	snprintf(in_name, sizeof(in_name), "%s.inp", name);
	snprintf(out_name, sizeof(out_name), "%s.out", name);
	in = p = read_shared(in_name, &n);
	out = q = read_shared(out_name, &n);
	for (; (end = strstr(p, mark)) != NULL; p = end + strlen(mark)) {
		struct tokens k;
		struct str back = STR_INIT;
		char *line = q + strcspn(q, "\n");
		int i = 0;

		assert_int_equal(tokenizer_encode(t, p, (size_t)(end - p),
		    NULL, 0, 0, false, &k, &err), PARE_OK);
		*line = '\0';
		while (*(q += strspn(q, " ")) != '\0') {
			if (i >= k.n || strtol(q, &q, 10) != k.id[i++])
				fail_msg("%s: case %d, id %d differs", name,
				    cases, i);
		}
		assert_int_equal(i, k.n);
		tokenizer_decode(t, k.id, k.n, true, &back);
		assert_int_equal(back.n, end - p);
		assert_memory_equal(back.s, p, back.n);
		str_free(&back);
		tokens_free(&k);
		q = line + 1;
		cases++;
	}
	assert_int_equal(cases, 46);
	free(in);
	free(out);
	free(path);
	tokenizer_free(t);
}

static void
test_tokenizer_cases(void **state)
{
	check_cases("real/tokenizers/gpt2", "real/tokenization/gpt2/gpt2");
	check_cases("real/tokenization/llama/llama-spm.gguf",
	    "real/tokenization/llama/llama-spm");
}

static void
check_ids(const struct tokenizer *t, const char *text, size_t n,
    const json_t *ids, bool special)
{
	struct pare_err err = { 0 };
	struct tokens k;

	assert_int_equal(tokenizer_encode(t, text, n, NULL, 0, 0, special, &k,
	    &err), PARE_OK);
	assert_true(json_array_size(ids) > 0);
	assert_true((size_t)k.n >= json_array_size(ids));
	for (size_t i = 0; i < json_array_size(ids); i++)
		assert_int_equal(k.id[i], json_integer_value(
		    json_array_get(ids, i)));
	tokens_free(&k);
}

static void
test_tokenizer_texts(void **state)
{
	static const char *const dirs[] = { STORIES,
		"real/gguf/stories260K-F32.gguf" };
	struct pare_err err = { 0 };
	char *path = shared("real/tokenizers/gpt2"), *text;
	struct tokenizer *t = tokenizer_load(path, 0, &err);
	json_t *v = json_shared("real/tokenization/gpt2/"
	    "gpt2_encoded_tokens.json"), *all;
	const char *key;
	size_t n;

	free(path);
	assert_non_null(t);
	check_ids(t, json_string_value(json_object_get(v, "text")),
	    json_string_length(json_object_get(v, "text")),
	    json_object_get(v, "token_ids"), false);
	json_decref(v);
	text = read_shared("real/tokenization/gpt2/monty-python-credits.txt",
	    &n);
	v = json_shared("real/tokenization/gpt2/"
	    "monty-python-credits-gpt2.json");
	check_ids(t, text, n, json_object_get(v, "token_ids"), false);
	json_decref(v);
	free(text);
	tokenizer_free(t);
	all = json_shared(STORIES "/reference/stories260K-hf.json");
	for (int i = 0; i < 2; i++) {
		path = shared(dirs[i]);
		t = tokenizer_load(path, 512, &err);
		assert_non_null(t);
		json_object_foreach(all, key, v)
			check_ids(t, json_string_value(json_object_get(v,
			    "text")), json_string_length(json_object_get(v,
			    "text")), json_object_get(v, "ids"), true);
		tokenizer_free(t);
		free(path);
	}
	json_decref(all);
}

/* Invalid bytes are counted and replaced; a long word costs no more than its
 * length times a logarithm. */
static void
test_odd_text(void **state)
{
	char *path = shared(STORIES), *text = xmalloc(400000);
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(path, 512, &err);
	struct tokens k;

	free(path);
	assert_non_null(t);
	assert_int_equal(tokenizer_encode(t, "a\xff\xfe" "b", 4, NULL, 0, 0,
	    false, &k, &err), PARE_OK);
	assert_int_equal(k.invalid, 2);
	tokens_free(&k);
	memset(text, 'a', 400000);
	assert_int_equal(tokenizer_encode(t, text, 400000, NULL, 0, 0, false,
	    &k, &err), PARE_OK);
	assert_true(k.n > 1000);
	tokens_free(&k);
	free(text);
	tokenizer_free(t);
}

/* ---- GGUF ---- */

static void
test_blocks(void **state)
{
	json_t *all = json_shared("reference/gguf_dequant_vectors.json"), *v;
	bool seen[BLOCK_KINDS] = { false };
	size_t i;

	json_array_foreach(all, i, v) {
		const char *hex = json_string_value(json_object_get(v,
		    "block_hex"));
		const json_t *want = json_object_get(v, "expect_f32_hex");
		const char *type = json_string_value(json_object_get(v,
		    "type"));
		uint8_t block[512];
		float have[BLOCK_VALUES_MAX];
		const struct block_facts *f = NULL;

		for (int k = 0; k < BLOCK_KINDS; k++)
			if (strcasecmp(type, block_table[k].name) == 0) {
				f = &block_table[k];
				seen[k] = true;
			}
		assert_non_null(f);
		assert_int_equal(strlen(hex), 2 * f->bytes);
		for (int k = 0; k < f->bytes; k++)
			assert_int_equal(sscanf(hex + 2 * k, "%2hhx",
			    &block[k]), 1);
		f->decode(block, have);
		assert_int_equal(json_array_size(want), f->values);
		for (int k = 0; k < f->values; k++) {
			uint32_t bits;

			memcpy(&bits, &have[k], sizeof(bits));
			assert_int_equal(bits, strtoul(json_string_value(
			    json_array_get(want, (size_t)k)), NULL, 16));
		}
	}
	/* The codebook is tested with whole files. */
	for (int k = 0; k < BLOCK_KINDS; k++)
		assert_true(seen[k] || k == BLOCK_IQ3_S);
	json_decref(all);
}

/* A file under construction. */
struct file {
	unsigned char p[4096];
	size_t n;
};

static void
put(struct file *f, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		f->p[f->n++] = (unsigned char)(v >> (8 * i));
}

static void
put_text(struct file *f, const char *s)
{
	put(f, strlen(s), 8);
	memcpy(f->p + f->n, s, strlen(s));
	f->n += strlen(s);
}

static struct file
header(uint32_t version, uint64_t tensors, uint64_t values)
{
	struct file f = { .n = 0 };

	memcpy(f.p, "GGUF", 4);
	f.n = 4;
	put(&f, version, 4);
	put(&f, tensors, 8);
	put(&f, values, 8);
	return f;
}

static void
refuse(const struct file *f, const char *words)
{
	struct pare_err err = { 0 };
	enum pare_rc rc = gguf_check(f->p, f->n, "m.gguf", &err);

	if (rc != PARE_EFORMAT || strstr(err.msg, words) == NULL)
		fail_msg("rc %d: '%s' lacks '%s'", rc, err.msg, words);
	assert_non_null(strstr(err.msg, "m.gguf"));
}

static void
put_tensor(struct file *f, const char *name, uint32_t ndim, uint64_t d0,
    uint64_t d1, uint32_t type, uint64_t offset)
{
	put_text(f, name);
	put(f, ndim, 4);
	for (uint32_t i = 0; i < ndim && i < 5; i++)
		put(f, i == 0 ? d0 : i == 1 ? d1 : 1, 8);
	put(f, type, 4);
	put(f, offset, 8);
}

static void
test_bad_headers(void **state)
{
	struct file f = header(3, 0, 0);
	struct pare_err err = { 0 };

	assert_int_equal(gguf_check(f.p, f.n, "m.gguf", &err), PARE_OK);
	for (size_t n = 0; n < 24; n++) {
		f.n = n;
		assert_int_equal(gguf_check(f.p, n, "m.gguf", &err),
		    PARE_EFORMAT);
	}
	f = header(1, 0, 0);
	refuse(&f, "version 1");
	f = header(UINT32_C(0x03000000), 0, 0);
	refuse(&f, "big-endian");
	f = header(3, UINT64_MAX, 0);
	refuse(&f, "more than the file can hold");
	f = header(3, 0, UINT64_C(1) << 62);
	refuse(&f, "more than the file can hold");
	memcpy(f.p, "GGXF", 4);
	refuse(&f, "does not begin with GGUF");
}

static void
test_bad_values(void **state)
{
	struct file f = header(3, 0, 1);

	put(&f, UINT64_MAX, 8);
	put(&f, 0, 8);
	refuse(&f, "a key");
	f = header(3, 0, 1);
	put_text(&f, "");
	put(&f, 4, 4);
	put(&f, 4, 4);
	refuse(&f, "empty key");
	f = header(3, 0, 1);
	put_text(&f, "a");
	put(&f, 13, 4);
	put(&f, 0, 8);
	refuse(&f, "types are 0 to 12");
	f = header(3, 0, 1);
	put_text(&f, "a");
	put(&f, GGUF_BOOL, 4);
	put(&f, 2, 1);
	refuse(&f, "expected 0 or 1");
	f = header(3, 0, 1);
	put_text(&f, "a");
	put(&f, GGUF_ARRAY, 4);
	put(&f, GGUF_ARRAY, 4);
	put(&f, 1, 8);
	refuse(&f, "array of arrays");
	f = header(3, 0, 1);
	put_text(&f, "a");
	put(&f, GGUF_ARRAY, 4);
	put(&f, GGUF_F64, 4);
	put(&f, UINT64_C(1) << 61, 8);
	refuse(&f, "more than the file can hold");
	f = header(3, 0, 2);
	for (int i = 0; i < 2; i++) {
		put_text(&f, "a");
		put(&f, GGUF_U8, 4);
		put(&f, 1, 1);
	}
	refuse(&f, "twice");
	f = header(3, 0, 1);
	put_text(&f, "general.alignment");
	put(&f, GGUF_U32, 4);
	put(&f, 13, 4);
	refuse(&f, "power of two");
}

static void
test_bad_tensors(void **state)
{
	static const struct {
		uint32_t ndim, type;
		uint64_t d0, d1, offset;
		const char *words;
	} bad[] = {
		{ 0, 0, 1, 1, 0, "dimensions" },
		{ 5, 0, 1, 1, 0, "dimensions" },
		{ 2, 0, UINT64_MAX, 1, 0, "negative" },
		{ 2, 0, UINT64_C(1) << 40, UINT64_C(1) << 40, 0, "overflow" },
		{ 2, 24, INT64_MAX, 1, 0, "ends inside" },
		{ 1, 4, 32, 1, 0, "does not know" },
		{ 1, 97, 32, 1, 0, "does not know" },
		{ 1, 2, 31, 1, 0, "multiple of 32" },
		{ 1, 0, 1, 1, 4, "right behind" },
		{ 1, 0, 1 << 20, 1, 0, "ends inside" },
	};
	struct pare_err err = { 0 };
	struct file f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		f = header(3, 1, 0);
		put_tensor(&f, "t", bad[i].ndim, bad[i].d0, bad[i].d1,
		    bad[i].type, bad[i].offset);
		f.n += 64;
		refuse(&f, bad[i].words);
	}
	/* A dimension of zero is legal. */
	f = header(3, 1, 0);
	put_tensor(&f, "t", 2, 0, 4, 0, 0);
	f.n += 32;
	assert_int_equal(gguf_check(f.p, f.n, "m.gguf", &err), PARE_OK);
	f = header(3, 2, 0);
	put_tensor(&f, "t", 1, 0, 1, 0, 0);
	put_tensor(&f, "t", 1, 0, 1, 0, 0);
	f.n += 32;
	refuse(&f, "twice");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama_logits),
		cmocka_unit_test(test_block_logits),
		cmocka_unit_test(test_sorting),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_stretching),
		cmocka_unit_test(test_tokenizer_cases),
		cmocka_unit_test(test_tokenizer_texts),
		cmocka_unit_test(test_odd_text),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_bad_tensors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
