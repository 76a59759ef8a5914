/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GGUF files made by llama.cpp: every tensor of every type decodes to the bits
 * that its own decoder gives (by their SHA-256), and the perplexities of a small
 * model are those that it reports.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"
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

/* ---- SHA-256 (FIPS 180-4) ---- */

static uint32_t
turn(uint32_t v, int by)
{
	return v >> by | v << (32 - by);
}

/* The first bits of the fractions of roots of primes, as the standard wants. */
static uint32_t
root_bits(int prime, double power)
{
	long double root = powl((long double)prime, (long double)power);

	if (power < 0.4)
		root = cbrtl((long double)prime);
	return (uint32_t)((root - floorl(root)) * 4294967296.0L);
}

static void
make_constants(uint32_t h[8], uint32_t k[64])
{
	int n = 0;

	for (int p = 2; n < 64; p++) {
		bool prime = true;

		for (int d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		if (n < 8)
			h[n] = root_bits(p, 0.5);
		k[n++] = root_bits(p, 1.0 / 3);
	}
}

static void
hash_block(const uint8_t *p, const uint32_t k[64], uint32_t h[8])
{
	uint32_t w[64], v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
		    (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^
		    turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
		    (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(v, h, sizeof(v));
	for (int i = 0; i < 64; i++) {
		uint32_t a = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^
		    turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] +
		    w[i];
		uint32_t b = (turn(v[0], 2) ^ turn(v[0], 13) ^
		    turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^
		    (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += a;
		v[0] = a + b;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

/* n is a multiple of 4. */
static void
sha256(const void *data, size_t n, char hex[65])
{
	uint32_t h[8], k[64];
	uint8_t end[128] = { 0 };
	size_t whole = n / 64 * 64, left = n - whole;
	size_t size = left < 56 ? 64 : 128;

	make_constants(h, k);
	for (size_t i = 0; i < whole; i += 64)
		hash_block((const uint8_t *)data + i, k, h);
	memcpy(end, (const uint8_t *)data + whole, left);
	end[left] = 0x80;
	for (int i = 0; i < 8; i++)
		end[size - 1 - (size_t)i] = (uint8_t)(n * 8 >> (8 * i));
	for (size_t i = 0; i < size; i += 64)
		hash_block(end + i, k, h);
	for (int i = 0; i < 8; i++)
		snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

static void
sha256_is_right(void **state)
{
	char hex[65];

	sha256("abcdefgh", 4, hex);
	assert_string_equal(hex, "88d4266fd4e6338d13b845fcf289579d"
	    "209c897823b9217da3e161936f031589");
	sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
	    hex);
	assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039"
	    "a33ce45964ff2167f6ecedd419db06c1");
}

/* ---- decoded values ---- */

static int64_t
count_of(const struct gguf_tensor *t)
{
	return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

/* Floats of a tensor, malloc'ed; NULL where pare has no such type. */
static float *
decode(const struct gguf_tensor *t)
{
	int64_t n = count_of(t);
	float *out = xcalloc((size_t)n, sizeof(*out));
	enum block_kind kind;

	if (block_find(t->type, &kind)) {
		const struct block_facts *f = &block_table[kind];

		assert_int_equal(t->n, n / f->values * f->bytes);
		for (int64_t i = 0; i < n / f->values; i++)
			f->decode(t->p + i * f->bytes, out + i * f->values);
		return out;
	}
	for (int64_t i = 0; i < n; i++) {
		uint16_t h;

		if (t->type == 0) {
			memcpy(out + i, t->p + 4 * i, 4);
			continue;
		}
		memcpy(&h, t->p + 2 * i, 2);
		assert_true(t->type == 1 || t->type == 30);
		out[i] = t->type == 1 ? half_to_float(h) : bfloat_to_float(h);
	}
	return out;
}

static int
check_file(const char *name)
{
	struct pare_err err = { 0 };
	char path[300], *gguf, *json;
	const char *key;
	struct gguf *g;
	json_t *all, *v;
	int tensors = 0;

	snprintf(path, sizeof(path), "real/gguf/%s", name);
	gguf = shared(path);
	snprintf(path, sizeof(path), "real/gguf/dequantized/%s.json", name);
	json = shared(path);
	g = gguf_open(gguf, &err);
	all = json_read(json, 1 << 28, 0, &err);
	if (g == NULL || all == NULL)
		fail_msg("%s", err.msg);
	json_object_foreach(all, key, v) {
		const struct gguf_tensor *t = gguf_tensor_find(g, key);
		char hex[65];
		float *f;

		assert_non_null(t);
		assert_string_equal(gguf_type_table[t->type].name,
		    json_string_value(json_object_get(v, "type")));
		f = decode(t);
		sha256(f, (size_t)count_of(t) * 4, hex);
		free(f);
		if (strcmp(hex, json_string_value(json_object_get(v,
		    "sha256_f32le"))) != 0)
			fail_msg("%s: %s, %s: other values", name, key,
			    gguf_type_table[t->type].name);
		tensors++;
	}
	json_decref(all);
	gguf_close(g);
	free(gguf);
	free(json);
	return tensors;
}

static void
files_decode_exactly(void **state)
{
	char *folder = shared("real/gguf");
	DIR *d = opendir(folder);
	struct dirent *e;
	int files = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);

		if (n < 5 || strcmp(e->d_name + n - 5, ".gguf") != 0)
			continue;
		assert_true(check_file(e->d_name) > 0);
		files++;
	}
	closedir(d);
	free(folder);
	assert_true(files >= 20);
}

/* ---- perplexity ---- */

enum { CONTEXT = 128, VOCAB = 512 };

/* -log of the probability that the softmax of v gives number i. */
static double
surprise(const float *v, int i)
{
	double most = (double)-INFINITY, sum = 0;

	for (int k = 0; k < VOCAB; k++)
		most = fmax(most, (double)v[k]);
	for (int k = 0; k < VOCAB; k++)
		sum += exp((double)v[k] - most);
	return log(sum) - ((double)v[i] - most);
}

/* As llama.cpp counts: chunks of the context, each with a first token of its
 * own, the second half scored. */
static double
perplexity(const struct model *m, const struct tokens *t)
{
	static float logits[CONTEXT * VOCAB];
	int64_t start[2] = { 0, CONTEXT };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	double sum = 0;
	int count = 0;

	for (int c = 0; c + CONTEXT <= t->n; c += CONTEXT) {
		int32_t id[CONTEXT];
		struct batch b = { .nseq = 1, .start = start, .ids = id };
		struct forward f = { .logits = logits };

		memcpy(id, t->id + c, sizeof(id));
		id[0] = t->id[0];
		if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
			fail_msg("%s", err.msg);
		for (int i = CONTEXT / 2; i + 1 < CONTEXT; i++, count++)
			sum += surprise(logits + i * VOCAB, id[i + 1]);
	}
	engine_free(e);
	return exp(sum / count);
}

/* One line of the list: file, context, text, perplexity. */
static void
check_line(const char *line)
{
	char name[100], text[100], path[300], *gguf, *full, *data = NULL;
	struct pare_err err = { 0 };
	struct tokenizer *t = NULL;
	struct tokens k;
	struct model *m;
	double want, have;
	bool blocks;
	size_t n;
	int context;

	assert_int_equal(sscanf(line, "%99s %d %99s %lf", name, &context, text,
	    &want), 4);
	assert_int_equal(context, CONTEXT);
	snprintf(path, sizeof(path), "real/gguf/%s", name);
	gguf = shared(path);
	snprintf(path, sizeof(path), "real/data/text/%s", text);
	full = shared(path);
	if (file_open_model(gguf, NULL, &m, NULL, &err) != PARE_OK ||
	    (t = tokenizer_load(gguf, VOCAB, &err)) == NULL ||
	    io_read(full, 1 << 20, &data, &n, &err) != PARE_OK ||
	    tokenizer_encode(t, data, n, NULL, 0, 1 << 20, true, &k, &err) !=
	    PARE_OK)
		fail_msg("%s", err.msg);
	have = perplexity(m, &k);
	blocks = strstr(name, "_K") != NULL;
	print_message("%s, %s: %.4f, llama.cpp %.4f\n", name, text, have,
	    want);
	if (!(fabs(have / want - 1) <= (blocks ? 0.005 : 0.0005)))
		fail_msg("%s, %s: perplexity %g, not %g", name, text, have,
		    want);
	tokens_free(&k);
	tokenizer_free(t);
	model_unref(m);
	free(data);
	free(full);
	free(gguf);
}

static void
perplexities_agree(void **state)
{
	char *path = shared("real/gguf/perplexity.tsv"), line[300];
	FILE *f = fopen(path, "r");
	int lines = 0;

	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	for (; fgets(line, sizeof(line), f) != NULL; lines++)
		check_line(line);
	fclose(f);
	free(path);
	assert_int_equal(lines, 12);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_is_right),
		cmocka_unit_test(files_decode_exactly),
		cmocka_unit_test(perplexities_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
