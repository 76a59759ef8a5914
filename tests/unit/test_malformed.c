/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Broken files of decoders, row by row: each gives one clear line that names the
 * file and what is wrong with it. A row changes one thing of a file that opens.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/file.h"
#include "file/gguf.h"
#include "model/arch.h"
#include "text/tokenizer.h"

static char *dir, *path;

static int
make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	dir = str_format("%s/pare-bad-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	path = io_join(dir, "m.gguf");
	return 0;
}

static int
remove_dir(void **state)
{
	(void)unlink(path);
	(void)rmdir(dir);
	free(path);
	free(dir);
	return 0;
}

/* ---- a GGUF file from words ------------------------------------------ */

struct bytes {
	unsigned char p[1 << 15];
	size_t n;
};

static void
put(struct bytes *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		b->p[b->n++] = (unsigned char)(v >> (8 * i));
}

static void
put_text(struct bytes *b, const char *s, size_t n)
{
	put(b, n, 8);
	memcpy(b->p + b->n, s, n);
	b->n += n;
}

static const struct {
	const char *name;
	enum gguf_type type;
	int bytes;
} types[] = {
	{ "u8", GGUF_U8, 1 }, { "i8", GGUF_I8, 1 }, { "u16", GGUF_U16, 2 },
	{ "i32", GGUF_I32, 4 }, { "u32", GGUF_U32, 4 }, { "f32", GGUF_F32, 4 },
	{ "bool", GGUF_BOOL, 1 }, { "text", GGUF_STRING, 0 },
	{ "u64", GGUF_U64, 8 }, { "i64", GGUF_I64, 8 }, { "f64", GGUF_F64, 8 },
};

static void
put_value(struct bytes *b, int t, const char *s, size_t n)
{
	char word[64];
	float f;
	double d;
	uint64_t bits = 0;

	if (types[t].type == GGUF_STRING) {
		put_text(b, s, n);
		return;
	}
	snprintf(word, sizeof(word), "%.*s", (int)n, s);
	f = strtof(word, NULL);
	d = strtod(word, NULL);
	if (types[t].type == GGUF_F32)
		memcpy(&bits, &f, sizeof(f));
	else if (types[t].type == GGUF_F64)
		memcpy(&bits, &d, sizeof(d));
	else
		bits = word[0] == '-' ? (uint64_t)strtoll(word, NULL, 0) :
		    strtoull(word, NULL, 0);
	put(b, bits, types[t].bytes);
}

/* "u32 7", "text[] a b c". */
static void
put_key(struct bytes *b, const char *key, const char *spec)
{
	size_t n = strcspn(spec, " ["), t = 0, at;
	const char *s = spec + n + (spec[n] == '[' ? 2 : 0);
	uint64_t count = 0;

	while (strlen(types[t].name) != n ||
	    memcmp(types[t].name, spec, n) != 0)
		t++;
	put_text(b, key, strlen(key));
	if (spec[n] != '[') {
		put(b, types[t].type, 4);
		put_value(b, (int)t, s + 1, strlen(s + 1));
		return;
	}
	put(b, GGUF_ARRAY, 4);
	put(b, types[t].type, 4);
	at = b->n;
	put(b, 0, 8);
	while (*s != '\0') {
		s++;
		n = strcspn(s, " ");
		put_value(b, (int)t, s, n);
		s += n;
		count++;
	}
	for (int i = 0; i < 8; i++)
		b->p[at + (size_t)i] = (unsigned char)(count >> (8 * i));
}

static const struct {
	const char *key, *spec;
} base_keys[] = {
	{ "general.architecture", "text llama" },
	{ "general.alignment", "u32 32" },
	{ "llama.block_count", "u32 1" },
	{ "llama.context_length", "u32 16" },
	{ "llama.embedding_length", "u32 8" },
	{ "llama.feed_forward_length", "u32 12" },
	{ "llama.attention.head_count", "u32 2" },
	{ "llama.attention.head_count_kv", "u32 1" },
	{ "llama.attention.layer_norm_rms_epsilon", "f32 1e-5" },
	{ "llama.rope.freq_base", "f32 10000" },
	{ "tokenizer.ggml.model", "text llama" },
	{ "tokenizer.ggml.tokens", "text[] <unk> <s> </s> a b ab \xe2\x96\x81" },
	{ "tokenizer.ggml.scores", "f32[] 0 0 0 -3 -4 -1 -2" },
	{ "tokenizer.ggml.token_type", "i32[] 2 3 3 1 1 1 1" },
	{ "tokenizer.ggml.bos_token_id", "u32 1" },
	{ "tokenizer.ggml.eos_token_id", "u32 2" },
};

static const struct shape {
	const char *name;
	uint64_t d0, d1;	/* d1 0: a vector */
	uint32_t type;
} base_tensors[] = {
	{ "token_embd.weight", 8, 7, 0 }, { "output_norm.weight", 8, 0, 0 },
	{ "blk.0.attn_norm.weight", 8, 0, 0 },
	{ "blk.0.ffn_norm.weight", 8, 0, 0 },
	{ "blk.0.attn_q.weight", 8, 8, 0 }, { "blk.0.attn_k.weight", 8, 4, 0 },
	{ "blk.0.attn_v.weight", 8, 4, 0 },
	{ "blk.0.attn_output.weight", 8, 8, 0 },
	{ "blk.0.ffn_gate.weight", 8, 12, 0 },
	{ "blk.0.ffn_up.weight", 8, 12, 0 },
	{ "blk.0.ffn_down.weight", 12, 8, 0 },
};

enum { KEYS = sizeof(base_keys) / sizeof(*base_keys),
	TENSORS = sizeof(base_tensors) / sizeof(*base_tensors) };

/* What is unlike the base: keys (spec NULL: left out; a new key is added), and
 * one tensor (type 99: left out). */
struct change {
	const char *key, *spec;
	const char *key2, *spec2;
	const char *key3, *spec3;
	struct shape tensor;
};

static const char *
spec_of(const struct change *c, const char *key, const char *base)
{
	if (c->key != NULL && strcmp(c->key, key) == 0)
		return c->spec;
	if (c->key2 != NULL && strcmp(c->key2, key) == 0)
		return c->spec2;
	if (c->key3 != NULL && strcmp(c->key3, key) == 0)
		return c->spec3;
	return base;
}

static bool
is_base(const char *key)
{
	for (int i = 0; i < KEYS; i++)
		if (strcmp(base_keys[i].key, key) == 0)
			return true;
	return false;
}

static uint64_t
put_tensor(struct bytes *b, const struct shape *t, uint64_t offset)
{
	uint64_t values = t->d0 * (t->d1 > 0 ? t->d1 : 1);

	put_text(b, t->name, strlen(t->name));
	put(b, t->d1 > 0 ? 2 : 1, 4);
	put(b, t->d0, 8);
	if (t->d1 > 0)
		put(b, t->d1, 8);
	put(b, t->type, 4);
	put(b, offset, 8);
	return (values * 4 + 31) / 32 * 32;
}

static void
make(struct bytes *b, const struct change *c)
{
	const char *keys[] = { c->key, c->key2, c->key3 };
	const char *specs[] = { c->spec, c->spec2, c->spec3 };
	uint64_t nkeys = 0, ntensors = 0, offset = 0;

	memset(b, 0, sizeof(*b));
	memcpy(b->p, "GGUF\3\0\0\0", 8);
	b->n = 24;
	for (int i = 0; i < KEYS; i++) {
		const char *s = spec_of(c, base_keys[i].key,
		    base_keys[i].spec);

		if (s == NULL)
			continue;
		put_key(b, base_keys[i].key, s);
		nkeys++;
	}
	for (int i = 0; i < 3; i++)
		if (keys[i] != NULL && specs[i] != NULL &&
		    !is_base(keys[i])) {
			put_key(b, keys[i], specs[i]);
			nkeys++;
		}
	for (int i = 0; i < TENSORS; i++) {
		const struct shape *t = &base_tensors[i];

		if (c->tensor.name != NULL &&
		    strcmp(t->name, c->tensor.name) == 0)
			t = &c->tensor;
		if (t->type == 99)
			continue;
		offset += put_tensor(b, t, offset);
		ntensors++;
	}
	/* What is too large for a file lies outside it. */
	b->n = (b->n + 31) / 32 * 32 + (offset < 8192 ? offset : 8192);
	for (int i = 0; i < 8; i++) {
		b->p[8 + i] = (unsigned char)(ntensors >> (8 * i));
		b->p[16 + i] = (unsigned char)(nkeys >> (8 * i));
	}
	assert_true(b->n <= sizeof(b->p));
}

static void
write_file(const void *p, size_t n)
{
	FILE *f;

	(void)unlink(path);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	fclose(f);
}

/* One line that can be shown, with the words and the file's name. */
static void
expect_line(const struct pare_err *err, const char *words, const char *file,
    const char *row)
{
	for (const char *s = err->msg; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			fail_msg("%s: a control character in '%s'", row,
			    err->msg);
	if (strstr(err->msg, words) == NULL || strstr(err->msg, file) == NULL)
		fail_msg("%s: '%s' does not say '%s' of '%s'", row, err->msg,
		    words, file);
}

static void
expect_model(const void *p, size_t n, const char *words, const char *row)
{
	struct pare_err err = { 0 };
	struct model *m = NULL;
	enum pare_rc rc;

	write_file(p, n);
	rc = file_open_model(path, NULL, &m, NULL, &err);
	if (words == NULL) {
		if (rc != PARE_OK)
			fail_msg("%s: %s", row, err.msg);
	} else if (rc != PARE_EFORMAT) {
		fail_msg("%s: rc %d", row, (int)rc);
	} else {
		expect_line(&err, words, "m.gguf", row);
	}
	model_unref(m);
}

/* ---- headers: bytes at an offset of the base file --------------------- */

static void
test_headers(void **state)
{
	static const struct {
		const char *row;
		size_t at;
		int bytes;
		uint64_t value;
		const char *words;
	} rows[] = {
		{ "GGML", 0, 4, 0x67676d6c, "before GGUF" },
		{ "ggjt", 0, 4, 0x67676a74, "before GGUF" },
		{ "other magic", 0, 4, 0x46554758, "does not begin with GGUF" },
		{ "version 0", 4, 4, 0, "version 0" },
		{ "version 1", 4, 4, 1, "version 1" },
		{ "version 4", 4, 4, 4, "version 4" },
		{ "big-endian", 4, 4, 0x03000000, "big-endian" },
		{ "tensors 2^64 - 1", 8, 8, UINT64_MAX, "more than the file" },
		{ "tensors 2^62", 8, 8, UINT64_C(1) << 62,
		    "more than the file" },
		{ "keys 2^64 - 1", 16, 8, UINT64_MAX, "more than the file" },
		{ "keys 2^32", 16, 8, UINT64_C(1) << 32,
		    "more than the file" },
		{ "key of 2^64 - 1", 24, 8, UINT64_MAX, "a key at byte 24" },
		{ "key of 2^63", 24, 8, UINT64_C(1) << 63,
		    "a key at byte 24" },
		{ "key past the end", 24, 8, 1 << 20, "a key at byte 24" },
		{ "empty key", 24, 8, 0, "empty key" },
		{ "type 13", 52, 4, 13, "types are 0 to 12" },
		{ "type 255", 52, 4, 255, "types are 0 to 12" },
		{ "type -1", 52, 4, UINT32_MAX, "types are 0 to 12" },
		{ "text of 2^64 - 1", 56, 8, UINT64_MAX, "bytes long" },
		{ "text of 2^63", 56, 8, UINT64_C(1) << 63, "bytes long" },
	};
	struct bytes b;
	struct change none = { 0 };

	make(&b, &none);
	expect_model(b.p, b.n, NULL, "base");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		make(&b, &none);
		for (int k = 0; k < rows[i].bytes; k++)
			b.p[rows[i].at + (size_t)k] = (unsigned char)
			    (rows[i].value >> (8 * k));
		expect_model(b.p, b.n, rows[i].words, rows[i].row);
	}
}

/* Wherever the file ends, that is said and nothing else happens. */
static void
test_cut_short(void **state)
{
	struct change none = { 0 };
	struct bytes b;

	make(&b, &none);
	for (size_t n = 0; n < b.n; n += n < 1200 ? 7 : 61)
		expect_model(b.p, n, "", "cut short");
}

/* ---- keys ------------------------------------------------------------ */

static void
test_keys(void **state)
{
	static const struct {
		struct change c;
		const char *words;	/* NULL: opens */
	} rows[] = {
		{ { .key = "general.alignment", .spec = "u32 0" },
		    "general.alignment" },
		{ { .key = "general.alignment", .spec = "u32 1" },
		    "general.alignment" },
		{ { .key = "general.alignment", .spec = "u32 13" },
		    "power of two" },
		{ { .key = "general.alignment", .spec = "u32 0x80000000" },
		    "general.alignment" },
		{ { .key = "general.alignment", .spec = "text 32" },
		    "general.alignment is no u32" },
		{ { .key = "general.alignment", .spec = "u64 32" },
		    "general.alignment is no u32" },
		{ { .key = "general.alignment", .spec = "u32[] 32 32" },
		    "general.alignment" },
		{ { .key = "general.alignment", .spec = NULL }, NULL },
		{ { .key = "general.architecture", .spec = NULL },
		    "general.architecture is missing" },
		{ { .key = "general.architecture", .spec = "u32 1" },
		    "general.architecture is not a string" },
		{ { .key = "general.architecture", .spec = "text[] llama" },
		    "general.architecture is not a string" },
		{ { .key = "general.architecture", .spec = "text foo" },
		    "'foo' is not supported" },
		{ { .key = "general.architecture", .spec = "text a\tb" },
		    "is not supported" },
		{ { .key = "flag", .spec = "bool 2" }, "expected 0 or 1" },
		{ { .key = "flags", .spec = "bool[] 0 1 7" },
		    "expected 0 or 1" },
		{ { .key = "split.count", .spec = "u16 3" }, "one of 3 parts" },
		{ { .key = "split.count", .spec = "text 3" }, "split.count" },
		{ { .key = "llama.block_count", .spec = NULL },
		    "llama.block_count is missing" },
		{ { .key = "llama.block_count", .spec = "u32 0" },
		    "num_hidden_layers" },
		{ { .key = "llama.block_count", .spec = "u32 2" },
		    "num_hidden_layers is 2, but" },
		{ { .key = "llama.block_count", .spec = "u32 0x80000000" },
		    "block_count" },
		{ { .key = "llama.block_count", .spec = "text 1" },
		    "llama.block_count is not an integer" },
		{ { .key = "llama.block_count", .spec = "f32 1" },
		    "llama.block_count is not an integer" },
		{ { .key = "llama.embedding_length", .spec = "u32 0" },
		    "hidden_size" },
		{ { .key = "llama.embedding_length", .spec = "u32 7" },
		    "num_attention_heads 2 does not divide" },
		{ { .key = "llama.embedding_length", .spec = "u32 16" },
		    "embed_tokens" },
		{ { .key = "llama.feed_forward_length", .spec = "u32 13" },
		    "up_proj" },
		{ { .key = "llama.feed_forward_length",
		    .spec = "u32[] 12 12" }, "entries" },
		{ { .key = "llama.feed_forward_length", .spec = "u32[]" },
		    "entries" },
		{ { .key = "llama.feed_forward_length",
		    .spec = "f32[] 12" }, "feed_forward_length" },
		{ { .key = "llama.feed_forward_length",
		    .spec = "u32[] 12" }, NULL },
		{ { .key = "llama.block_count", .spec = "u32[] 1" },
		    "entries" },
		{ { .key = "llama.context_length", .spec = "u32 0" },
		    "max_position_embeddings" },
		{ { .key = "llama.attention.head_count", .spec = "u32 0" },
		    "num_attention_heads" },
		{ { .key = "llama.attention.head_count", .spec = "u32 3" },
		    "num_attention_heads 3 does not divide" },
		{ { .key = "llama.attention.head_count_kv",
		    .spec = "u32 0" }, "num_key_value_heads" },
		{ { .key = "llama.attention.head_count_kv",
		    .spec = "u32 3" }, "num_key_value_heads 3 does not" },
		{ { .key = "llama.attention.layer_norm_rms_epsilon",
		    .spec = "f32 nan" }, "rms_epsilon" },
		{ { .key = "llama.attention.layer_norm_rms_epsilon",
		    .spec = "f32 -1" }, "rms_epsilon" },
		{ { .key = "llama.attention.layer_norm_rms_epsilon",
		    .spec = "text x" }, "rms_epsilon" },
		{ { .key = "llama.rope.freq_base", .spec = "f32 0" },
		    "rope_theta" },
		{ { .key = "llama.rope.freq_base", .spec = "f32 inf" },
		    "rope.freq_base" },
		{ { .key = "llama.rope.scaling.type", .spec = "text odd" },
		    "rope_scaling" },
		{ { .key = "llama.rope.scaling.type", .spec = "u32 1",
		    .key2 = "llama.rope.scaling.factor", .spec2 = "f32 2" },
		    "rope.scaling.type" },
		{ { .key = "llama.rope.scaling.type", .spec = "text linear",
		    .key2 = "llama.rope.scaling.factor", .spec2 = "f32 0" },
		    "rope.scaling.factor" },
	};
	struct bytes b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char row[128];

		snprintf(row, sizeof(row), "%s = %s", rows[i].c.key,
		    rows[i].c.spec != NULL ? rows[i].c.spec : "(none)");
		make(&b, &rows[i].c);
		expect_model(b.p, b.n, rows[i].words, row);
	}
}

/* A key twice; arrays in arrays, deep; keys over 64 KiB. */
static void
test_structures(void **state)
{
	static unsigned char deep[200000];
	struct change twice = { .key = "a", .spec = "u8 1", .key2 = "a",
		.spec2 = "u8 1" };
	struct bytes b = { .n = 0 };
	size_t n = 24;

	make(&b, &twice);
	expect_model(b.p, b.n, "the key a is there twice", "twice");
	memcpy(deep, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
	memcpy(deep + n, "\1\0\0\0\0\0\0\0a\11\0\0\0", 13);
	for (n += 13; n + 12 < sizeof(deep); n += 12)
		memcpy(deep + n, "\11\0\0\0\1\0\0\0\0\0\0\0", 12);
	expect_model(deep, n, "array of arrays", "deep");
	memset(deep + 24, 'a', sizeof(deep) - 24);
	memcpy(deep + 24, "\1\0\1\0\0\0\0\0", 8);
	expect_model(deep, sizeof(deep), "at most 65535", "long key");
}

/* ---- tensors --------------------------------------------------------- */

static void
test_tensors(void **state)
{
	static const struct {
		struct shape t;
		const char *words;
	} rows[] = {
		{ { "blk.0.ffn_up.weight", 0, 0, 99 }, "missing" },
		{ { "token_embd.weight", 0, 0, 99 }, "missing" },
		{ { "blk.0.ffn_up.weight", 8, 13, 0 }, "up_proj" },
		{ { "blk.0.ffn_up.weight", 96, 0, 0 }, "up_proj" },
		{ { "output_norm.weight", 8, 1, 0 }, "model.norm" },
		{ { "blk.0.ffn_up.weight", 0, 12, 0 }, "up_proj" },
		{ { "blk.0.ffn_up.weight", UINT64_MAX, 12, 0 }, "negative" },
		{ { "blk.0.ffn_up.weight", UINT64_C(1) << 62, 12, 0 },
		    "overflow" },
		{ { "blk.0.ffn_up.weight", UINT64_C(1) << 61, 1, 0 },
		    "overflow" },
		{ { "blk.0.ffn_up.weight", 8, 12, 2 }, "multiple of 32" },
		{ { "blk.0.ffn_up.weight", 32, 12, 12 }, "multiple of 256" },
		{ { "blk.0.ffn_up.weight", 8, 12, 4 }, "type 4" },
		{ { "blk.0.ffn_up.weight", 8, 12, 31 }, "type 31" },
		{ { "blk.0.ffn_up.weight", 8, 12, 36 }, "type 36" },
		{ { "blk.0.ffn_up.weight", 8, 12, 43 }, "type 43" },
		{ { "blk.0.ffn_up.weight", 8, 12, 97 }, "type 97" },
		{ { "blk.0.ffn_up.weight", 8, 12, 26 }, "up_proj" },
		{ { "blk.0.ffn_down.weight", 1 << 20, 8, 0 }, "ends inside" },
	};
	struct bytes b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct change c = { .tensor = rows[i].t };
		char row[128];

		snprintf(row, sizeof(row), "%s of %llu x %llu, type %u",
		    c.tensor.name, (unsigned long long)c.tensor.d0,
		    (unsigned long long)c.tensor.d1, c.tensor.type);
		make(&b, &c);
		expect_model(b.p, b.n, rows[i].words, row);
	}
}

/* ---- configs of decoders ----------------------------------------------- */

static void
test_configs(void **state)
{
	static const struct {
		const char *more, *words;	/* NULL: opens */
	} rows[] = {
		{ "", NULL },
		{ "\"pruned_heads\":{},", NULL },
		{ "\"pruned_heads\":{\"0\":[1]},", "which KV heads remain" },
		{ "\"head_dim\":5,", "cannot be rotated in pairs" },
		{ "\"head_dim\":0,", "head_dim" },
		{ "\"rope_theta\":0,", "rope_theta" },
		{ "\"rope_theta\":\"1e4\",", "rope_theta" },
		{ "\"rope_scaling\":3,", "rope_scaling is not an object" },
		{ "\"rope_scaling\":{\"type\":\"odd\"},", "'odd'" },
		{ "\"rope_scaling\":{\"type\":\"linear\"},",
		    "factor is missing" },
		{ "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0},",
		    "factor" },
		{ "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
		    "\"low_freq_factor\":4,\"high_freq_factor\":1},",
		    "not above the low one" },
		{ "\"hidden_act\":\"swiglu_oai\",", "swiglu_oai" },
		{ "\"hidden_act\":[\"silu\"],", "hidden_act" },
		{ "\"rms_norm_eps\":-1,", "rms_norm_eps" },
		{ "\"num_hidden_layers\":1000000000,", "num_hidden_layers" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *text = str_format("{%s\"model_type\":\"llama\","
		    "\"architectures\":[\"LlamaForCausalLM\"],"
		    "\"hidden_size\":16,\"num_attention_heads\":4,"
		    "\"num_key_value_heads\":2,\"intermediate_size\":8%s,"
		    "\"vocab_size\":9}", rows[i].more,
		    strstr(rows[i].more, "layers") != NULL ? "" :
		    ",\"num_hidden_layers\":1");
		struct pare_err err = { 0 };
		struct arch_layout l;
		json_t *config = json_parse(text, strlen(text), 0, "c.json",
		    &err);
		enum pare_rc rc;

		if (config == NULL)
			fail_msg("%s", err.msg);
		rc = arch_read_config(config, "c.json", &l, &err);
		if ((rc == PARE_OK) != (rows[i].words == NULL))
			fail_msg("%s %s", rows[i].more, err.msg);
		if (rc == PARE_OK)
			arch_layout_free(&l);
		else
			expect_line(&err, rows[i].words, "", rows[i].more);
		json_decref(config);
		free(text);
	}
}

/* ---- tokenizers in GGUF files ----------------------------------------- */

#define BPE .key = "tokenizer.ggml.model", .spec = "text gpt2"
#define BERT .key = "tokenizer.ggml.model", .spec = "text bert"

static void
test_gguf_tokens(void **state)
{
	static const struct {
		struct change c;
		enum pare_rc rc;
		const char *words;
	} rows[] = {
		{ { .key = NULL }, PARE_OK, "" },
		{ { .key = "tokenizer.ggml.model", .spec = NULL }, PARE_EUSER,
		    "has no tokenizer" },
		{ { .key = "tokenizer.ggml.model", .spec = "text none" },
		    PARE_EUSER, "has no tokenizer" },
		{ { .key = "tokenizer.ggml.model", .spec = "text rwkv" },
		    PARE_EUSER, "'rwkv', which pare does not know" },
		{ { .key = "tokenizer.ggml.model", .spec = "u32 1" },
		    PARE_EFORMAT, "is not a string" },
		{ { .key = "tokenizer.ggml.tokens", .spec = NULL },
		    PARE_EFORMAT, "missing or empty" },
		{ { .key = "tokenizer.ggml.tokens", .spec = "text[]" },
		    PARE_EFORMAT, "missing or empty" },
		{ { .key = "tokenizer.ggml.tokens",
		    .spec = "u32[] 1 2 3 4 5 6 7" }, PARE_EFORMAT,
		    "tokens is not an array of strings" },
		{ { .key = "tokenizer.ggml.tokens", .spec = "text abc" },
		    PARE_EFORMAT, "tokens is not an array of strings" },
		{ { .key = "tokenizer.ggml.tokens",
		    .spec = "text[] <unk> <s> </s> a b ab" }, PARE_EFORMAT,
		    "scores has 7 entries for 6 tokens" },
		{ { .key = "tokenizer.ggml.scores", .spec = "f32[] 0 0" },
		    PARE_EFORMAT, "scores has 2 entries for 7 tokens" },
		{ { .key = "tokenizer.ggml.scores",
		    .spec = "f32[] 0 0 0 0 0 0 nan" }, PARE_EFORMAT,
		    "score of piece 6 is not finite" },
		{ { .key = "tokenizer.ggml.scores",
		    .spec = "f64[] 0 0 0 0 0 0 0" }, PARE_EFORMAT,
		    "scores is not an array of floats" },
		{ { .key = "tokenizer.ggml.token_type",
		    .spec = "i32[] 1 1 1 1 1 1 1 1" }, PARE_EFORMAT,
		    "token_type has 8 entries for 7 tokens" },
		{ { .key = "tokenizer.ggml.token_type",
		    .spec = "i32[] 2 3 3 1 1 1 9" }, PARE_EFORMAT,
		    "piece 6 has an unknown type" },
		{ { .key = "tokenizer.ggml.token_type",
		    .spec = "f32[] 2 3 3 1 1 1 1" }, PARE_EFORMAT,
		    "token_type is not an array of integers" },
		{ { .key = "tokenizer.ggml.bos_token_id", .spec = "u32 7" },
		    PARE_EFORMAT, "bos_token_id is 7, but there are 7" },
		{ { .key = "tokenizer.ggml.bos_token_id", .spec = "i32 -2" },
		    PARE_EFORMAT, "bos_token_id" },
		{ { .key = "tokenizer.ggml.bos_token_id", .spec = "text a" },
		    PARE_EFORMAT, "bos_token_id is not an integer" },
		{ { .key = "tokenizer.ggml.add_bos_token", .spec = "u32 1" },
		    PARE_EFORMAT, "add_bos_token is not a bool" },
		{ { .key = "tokenizer.ggml.tokens",
		    .spec = "text[] <unk> <s> </s> a \xff\xfe ab c" },
		    PARE_EFORMAT, "piece 4 is empty or no text" },
		/* Bytes as a token: a hole that no text gives. */
		{ { BPE, .key2 = "tokenizer.ggml.tokens",
		    .spec2 = "text[] x y z a \xff\xfe ab c" }, PARE_OK, "" },
		{ { BPE, .key2 = "tokenizer.ggml.pre", .spec2 = "text odd" },
		    PARE_EUSER, "'odd', which pare does not know" },
		{ { BPE, .key2 = "tokenizer.ggml.merges",
		    .spec2 = "text[] ab" }, PARE_EFORMAT,
		    "merge 0 is not two pieces" },
		{ { BPE, .key2 = "tokenizer.ggml.merges", .spec2 = "u8[] 1" },
		    PARE_EFORMAT, "merges is not an array of strings" },
		{ { BERT, .key2 = "tokenizer.ggml.unknown_token_id",
		    .spec2 = "u32 99" }, PARE_EFORMAT, "unknown_token_id" },
		{ { BERT }, PARE_EFORMAT, "no unknown token" },
		{ { BERT, .key2 = "tokenizer.ggml.unknown_token_id",
		    .spec2 = "u32 1" }, PARE_OK, "" },
		/* A role for a token without text. */
		{ { BPE, .key2 = "tokenizer.ggml.tokens",
		    .spec2 = "text[] x \xff z a b ab c",
		    .key3 = "tokenizer.ggml.add_bos_token",
		    .spec3 = "bool 1" }, PARE_EFORMAT, "special token 1 has" },
		{ { .key = "tokenizer.ggml.precompiled_charsmap",
		    .spec = "u8[] 255 255 255 255 0 0 0 0 1" }, PARE_EFORMAT,
		    "precompiled_charsmap" },
	};
	struct bytes b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t;
		char row[128];

		snprintf(row, sizeof(row), "row %zu, %s", i,
		    rows[i].c.key != NULL ? rows[i].c.key : "base");
		make(&b, &rows[i].c);
		write_file(b.p, b.n);
		t = tokenizer_load(path, 7, &err);
		if ((t != NULL) != (rows[i].rc == PARE_OK))
			fail_msg("%s: %s", row, t != NULL ? "opens" : err.msg);
		if (t == NULL) {
			assert_int_equal(err.rc, rows[i].rc);
			expect_line(&err, rows[i].words, "m.gguf", row);
		}
		tokenizer_free(t);
	}
}

/* ---- tokenizer.model -------------------------------------------------- */

static void
test_sentencepiece(void **state)
{
	/* Fields by hand: 0a N is a piece, 12 N the trainer. */
#define UNK "\x0a\x09\x0a\x05<unk>\x18\x02"
	static const struct {
		const char *s;
		size_t n;
		const char *words;
	} rows[] = {
#define ROW(s, words) { s, sizeof(s) - 1, words }
		ROW(UNK "\x0a\x03\x0a\x01" "a", NULL),
		ROW("", "the vocabulary is empty"),
		ROW("\x0a", "at byte 0"),
		ROW(UNK "\x0a\x7f\x0a", "at byte 11"),
		ROW(UNK "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		    "at byte 11"),
		ROW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		    "at byte 0"),
		ROW(UNK "\x03", "at byte 11"),
		ROW(UNK "\x00\x00", "at byte 11"),
		ROW(UNK "\x0a\x03\x0a\x05" "a", "no field"),
		ROW(UNK "\x0a\x02\x0a\x00", "piece 1 is empty"),
		ROW(UNK "\x0a\x04\x0a\x02\xff\xfe", "piece 1 is empty or no"),
		ROW(UNK "\x0a\x05\x0a\x01" "a\x18\x07",
		    "piece 1 has an unknown type"),
		ROW(UNK "\x0a\x08\x0a\x01" "a\x15\x00\x00\xc0\x7f",
		    "score of piece 1 is not finite"),
		ROW(UNK "\x12\x02\x18\x03", "type 3"),
		ROW(UNK "\x1a\x04\x12\x02xx", "precompiled_charsmap"),
		ROW("version https://git-lfs.github.com/spec/v1\n", "no field"),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t = tokenizer_parse("tokenizer.model",
		    rows[i].s, rows[i].n, false, &err);
		char row[32];

		snprintf(row, sizeof(row), "model %zu", i);
		if ((t == NULL) != (rows[i].words != NULL))
			fail_msg("%s: %s", row, t != NULL ? "opens" : err.msg);
		if (t == NULL)
			expect_line(&err, rows[i].words, "tokenizer.model",
			    row);
		tokenizer_free(t);
	}
}

/* ---- vocab.json and merges.txt ----------------------------------------- */

static void
test_merges(void **state)
{
	static const struct {
		const char *vocab, *merges, *words;	/* NULL: opens */
	} rows[] = {
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\n", NULL },
		{ "{\"a\":0,\"b\":7,\"ab\":3}", "a b\r\n\r\n", NULL },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "a b\na b c\n", "merges.txt:2" },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "ab\n", "merges.txt:1" },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", " b\n", "merges.txt:1" },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "a \n", "merges.txt:1" },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "a b\nb a\n",
		    "merges.txt:2: the merge 'b a' needs a piece" },
		{ "{\"a\":0,\"b\":1,\"ab\":2}", "a \xff\n", "not UTF-8" },
		{ "{}", "", "vocabulary is empty" },
		{ "[]", "", "not a JSON object" },
		{ "{\"a\":", "", "vocab.json" },
		{ "{\"a\":-1}", "", "the id of 'a'" },
		{ "{\"a\":1.5}", "", "the id of 'a'" },
		{ "{\"a\":\"0\"}", "", "the id of 'a'" },
		{ "{\"a\":4000000000}", "", "the id of 'a'" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t = tokenizer_parse_merges(rows[i].vocab,
		    strlen(rows[i].vocab), rows[i].merges,
		    strlen(rows[i].merges), &err);
		char row[32];

		snprintf(row, sizeof(row), "merges %zu", i);
		if ((t == NULL) != (rows[i].words != NULL))
			fail_msg("%s: %s", row, t != NULL ? "opens" : err.msg);
		if (t == NULL)
			expect_line(&err, rows[i].words, ".", row);
		tokenizer_free(t);
	}
}

/* ---- tokenizer.json ---------------------------------------------------- */

#define BPE_MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1," \
	"\"ab\":2},\"merges\":[\"a b\"]}"
#define UNIGRAM(unk, rest) "{\"model\":{\"type\":\"Unigram\",\"unk_id\":" unk \
	",\"vocab\":[[\"<unk>\",0],[\"a\",-1]" rest "]}}"

static void
test_json(void **state)
{
	static const struct {
		const char *text, *words;	/* NULL: opens */
	} rows[] = {
		{ "{" BPE_MODEL "}", NULL },
		{ UNIGRAM("0", ""), NULL },
		{ UNIGRAM("null", ""), NULL },
		{ UNIGRAM("2", ""), "unk_id" },
		{ UNIGRAM("-1", ""), "unk_id" },
		{ UNIGRAM("0", ",[\"b\"]"), "piece 2 is not a text and a" },
		{ UNIGRAM("0", ",[3,-1]"), "piece 2 is not a text and a" },
		{ UNIGRAM("0", ",[\"b\",\"x\"]"), "piece 2 is not a text" },
		{ UNIGRAM("0", ",[\"b\",1e999]"), "tokenizer.json" },
		{ UNIGRAM("0", ",[\"b\",1e300]"), "score of piece 2" },
		{ "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}",
		    "not an array of pieces" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
		    "\"merges\":[\"a a\"]}}", "merge 0 needs a piece" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
		    "\"merges\":[[\"a\"]]}}", "merge 0 is not two pieces" },
		{ "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
		    "\"merges\":[7]}}", "merge 0 is not two pieces" },
		{ "{\"normalizer\":{\"type\":\"Odd\"}," BPE_MODEL "}",
		    "its normalizer is Odd" },
		{ "{\"normalizer\":3," BPE_MODEL "}", "normalizer is not" },
		{ "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
		    "{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}," BPE_MODEL
		    "}", "does not compile" },
		{ "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
		    "{\"Regex\":\"\\\\C\"},\"behavior\":\"Isolated\"},"
		    BPE_MODEL "}", "does not compile" },
		{ "{\"pre_tokenizer\":{\"type\":\"Metaspace\","
		    "\"replacement\":\"______\"}," BPE_MODEL "}",
		    "no single character" },
		{ "{\"normalizer\":{\"type\":\"Precompiled\","
		    "\"precompiled_charsmap\":\"$$$$\"}," BPE_MODEL "}",
		    "precompiled_charsmap" },
		{ "{\"added_tokens\":[{\"id\":0,\"content\":\"x\"},"
		    "{\"id\":1,\"content\":\"x\"}]," BPE_MODEL "}", "x" },
		{ "{\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}],"
		    BPE_MODEL "}", "id" },
		{ "{\"added_tokens\":[{\"id\":2147483648,"
		    "\"content\":\"x\"}]," BPE_MODEL "}", "id" },
		{ "{\"added_tokens\":[{\"id\":1,\"content\":\"\"}],"
		    BPE_MODEL "}", "added" },
		{ "{\"post_processor\":{\"type\":\"RobertaProcessing\","
		    "\"sep\":[\"x\",9],\"cls\":[\"y\",1]}," BPE_MODEL "}",
		    "id 9" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t = tokenizer_parse("tokenizer.json",
		    rows[i].text, strlen(rows[i].text), false, &err);
		char row[32];

		snprintf(row, sizeof(row), "json %zu", i);
		if ((t == NULL) != (rows[i].words != NULL))
			fail_msg("%s: %s", row, t != NULL ? "opens" : err.msg);
		if (t == NULL)
			expect_line(&err, rows[i].words, "tokenizer.json",
			    row);
		tokenizer_free(t);
	}
}

/* Steps that make a text longer and longer, a pattern that never ends: refused
 * when a text comes, not run out of memory. */
static void
test_hostile_steps(void **state)
{
	struct str b = STR_INIT;
	struct pare_err err = { 0 };
	struct tokenizer *t;
	struct tokens k;

	str_add(&b, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
	for (int i = 0; i < 30; i++)
		str_addf(&b, "%s{\"type\":\"Replace\",\"pattern\":{\"String\":"
		    "\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}", i > 0 ? "," :
		    "");
	str_add(&b, "]}," BPE_MODEL "}");
	t = tokenizer_parse("tokenizer.json", b.s, b.n, false, &err);
	assert_non_null(t);
	assert_int_equal(tokenizer_encode(t, "a", 1, NULL, 0, 0, false, &k,
	    &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "times longer"));
	tokenizer_free(t);
	str_free(&b);
	str_add(&b, "{\"pre_tokenizer\":{\"type\":\"Sequence\","
	    "\"pretokenizers\":[");
	for (int i = 0; i < 30; i++)
		str_addf(&b, "%s{\"type\":\"ByteLevel\",\"use_regex\":false,"
		    "\"add_prefix_space\":false}", i > 0 ? "," : "");
	str_add(&b, "]}," BPE_MODEL "}");
	t = tokenizer_parse("tokenizer.json", b.s, b.n, false, &err);
	assert_non_null(t);
	assert_int_equal(tokenizer_encode(t, "\xc3\xa9", 2, NULL, 0, 0, false,
	    &k, &err), PARE_EUSER);
	tokenizer_free(t);
	str_free(&b);
}

/* ---- holes, and text that is no text ------------------------------------ */

/* Ids that no piece has: nothing gives them, and they decode to nothing. */
static void
test_holes(void **state)
{
	static const char vocab[] = "{\"a\":1,\"b\":4,\"ab\":9}";
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse_merges(vocab, strlen(vocab),
	    "a b", 3, &err);
	const int32_t ids[] = { 0, 1, 2, 9, 8, -1, 1000, 4 };
	struct str out = STR_INIT;
	struct tokens k;

	assert_non_null(t);
	assert_int_equal(tokenizer_size(t), 10);
	assert_null(tokenizer_piece(t, 0));
	assert_null(tokenizer_piece(t, 8));
	assert_int_equal(tokenizer_encode(t, "abba", 4, NULL, 0, 0, true, &k,
	    &err), PARE_OK);
	assert_int_equal(k.n, 3);
	assert_int_equal(k.id[0], 9);
	assert_int_equal(k.id[1], 4);
	assert_int_equal(k.id[2], 1);
	tokens_free(&k);
	tokenizer_decode(t, ids, 8, true, &out);
	assert_string_equal(out.s, "aabb");
	str_free(&out);
	tokenizer_free(t);
}

/* One tokenizer of each kind, in files as people have them. */
static const char *const kinds[] = {
	("{\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":"
	    "{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\","
	    "\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0,\"a\":1,"
	    "\"##a\":2}}}"),
	("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false"
	    "},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xc4\xa0\":1,"
	    "\"\xc3\xaf\":2,\"\xc2\xbf\":3,\"\xc2\xbd\":4},\"merges\":[]}}"),
	("{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":"
	    "\"<unk>\",\"vocab\":{\"<unk>\":0,\"a\":1,\"<0xEF>\":2,"
	    "\"<0xBF>\":3,\"<0xBD>\":4},\"merges\":[]}}"),
	("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":"
	    "[[\"<unk>\",0],[\"a\",-1]]}}"),
};

static void
test_invalid_text(void **state)
{
	static const struct {
		const char *s;
		size_t n;
		int invalid;
	} texts[] = {
		{ "a\xff" "a", 3, 1 }, { "\x80", 1, 1 }, { "a\xc3", 2, 1 },
		{ "\xc0\xaf", 2, 2 }, { "\xed\xa0\x80", 3, 3 },
		{ "\xf4\x90\x80\x80", 4, 4 }, { "a\xf0\x9f\x98", 4, 3 },
		{ "a\0a", 3, 0 }, { "", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t = tokenizer_parse("tokenizer.json",
		    kinds[i], strlen(kinds[i]), false, &err);

		if (t == NULL)
			fail_msg("%s", err.msg);
		for (size_t k = 0; k < sizeof(texts) / sizeof(*texts); k++) {
			struct tokens have;
			struct str back = STR_INIT;

			if (tokenizer_encode(t, texts[k].s, texts[k].n, NULL,
			    0, 0, true, &have, &err) != PARE_OK)
				fail_msg("kind %zu, text %zu: %s", i, k,
				    err.msg);
			if (have.invalid != texts[k].invalid)
				fail_msg("kind %zu, text %zu: %d invalid", i,
				    k, have.invalid);
			for (int j = 0; j < have.n; j++)
				assert_non_null(tokenizer_piece(t,
				    have.id[j]));
			tokenizer_decode(t, have.id, have.n, true, &back);
			str_free(&back);
			tokens_free(&have);
		}
		tokenizer_free(t);
	}
}

/* What is no UTF-8 becomes U+FFFD, which goes through the bytes. */
static void
test_byte_fallback(void **state)
{
	for (int i = 1; i <= 2; i++) {
		struct pare_err err = { 0 };
		struct tokenizer *t = tokenizer_parse("tokenizer.json",
		    kinds[i], strlen(kinds[i]), false, &err);
		struct tokens k;

		assert_int_equal(tokenizer_encode(t, "a\xff", 2, NULL, 0, 0,
		    true, &k, &err), PARE_OK);
		assert_int_equal(k.n, 4);
		for (int j = 1; j < 4; j++)
			assert_int_equal(k.id[j], j + 1);
		tokens_free(&k);
		tokenizer_free(t);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_structures),
		cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_configs),
		cmocka_unit_test(test_gguf_tokens),
		cmocka_unit_test(test_sentencepiece),
		cmocka_unit_test(test_merges),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_hostile_steps),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_invalid_text),
		cmocka_unit_test(test_byte_fallback),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
